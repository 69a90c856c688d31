"""`prynt webhooks stream`."""

import http
from typing import Any
from urllib.parse import urlsplit

import click

from prynt_relay.cli.prynt.api_client import ApiClient, path_of
from prynt_relay.cli.prynt.event_stream import IDLE_S, StreamEvent, follow
from prynt_relay.cli.prynt.failures import CommandError
from prynt_relay.cli.prynt.identifiers import WEBHOOK
from prynt_relay.cli.prynt.json_text import parse_json
from prynt_relay.cli.prynt.options import examples
from prynt_relay.cli.prynt.session import Session, with_session, write_json
from prynt_relay.cli.prynt.stream_view import show_attempt


@click.command(
    epilog=examples("prynt webhooks stream wh_3kR8mNqT7xP2v", "prynt webhooks stream --json")
)
@click.argument("webhook", type=WEBHOOK, required=False)
@with_session
def stream(session: Session, webhook: str | None) -> int:
    """Show the attempts of a webhook, or of all, as they happen, until Ctrl-C.

    A connection that breaks is made again, and goes on where it broke off.
    """
    path = path_of("webhooks", webhook, "stream") if webhook else path_of("stream")
    notice = session.terminal.notice
    hosts = _Hosts(session.client)
    try:
        events = follow(
            session.connect(IDLE_S),
            path,
            lost=lambda why, wait_s: notice(
                f"The connection was lost ({why}); trying again in {wait_s:.0f} s."
            ),
            opened=lambda again, resumed: notice(_opened(again, resumed)),
        )
        for event in events:
            _show(session, event, hosts, of_all=webhook is None)
    except KeyboardInterrupt:
        return 0  # how a stream is ended
    return 0


def _opened(again: bool, resumed: bool) -> str:
    if not again:
        return "Waiting for attempts; Ctrl-C ends it."
    if resumed:
        return "Connected again; going on where it broke off."
    return "Connected again; what was attempted meanwhile is in prynt webhooks deliveries."


class _Hosts:
    """The hosts of the webhooks that were seen, asked for once each; a whole URL can be secret.

    A webhook whose host can't be had for now goes by its id.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._known: dict[str, str] = {}

    def of(self, webhook_id: str) -> str:
        if webhook_id not in self._known:
            try:
                url = str(self._client.get(path_of("webhooks", webhook_id)).value["url"])
                self._known[webhook_id] = urlsplit(url).netloc
            except CommandError as error:
                if error.status != http.HTTPStatus.NOT_FOUND:
                    return webhook_id
                self._known[webhook_id] = "(deleted)"
            except ValueError:  # stored before brackets around no IPv6 address were refused
                self._known[webhook_id] = webhook_id
        return self._known[webhook_id]


def _show(session: Session, event: StreamEvent, hosts: _Hosts, *, of_all: bool) -> None:
    if event.name == "gap":
        session.terminal.notice(_gap(event.data))
    elif event.name == "attempt":
        if session.json:
            write_json(event.data)
        else:
            attempt = parse_json(event.data)
            webhook = attempt["webhookId"]
            show_attempt(
                session.terminal, attempt, hosts.of(webhook), whose=webhook if of_all else ""
            )


def _gap(text: str) -> str:
    try:
        data: Any = parse_json(text)
    except ValueError:
        data = None
    missed = data.get("missed") if isinstance(data, dict) else None
    count = f"{missed:,} attempts were" if isinstance(missed, int) else "Some attempts were"
    return f"{count} missed here; prynt webhooks deliveries shows them."
