"""`prynt webhooks list`, `get`, `enable`, `disable`, `delete` and `rotate-secret`."""

import time

import click

from prynt_relay.cli.prynt.api_client import path_of
from prynt_relay.cli.prynt.identifiers import WEBHOOK
from prynt_relay.cli.prynt.list_options import list_options, tell_of_more
from prynt_relay.cli.prynt.moments import exact
from prynt_relay.cli.prynt.options import examples, yes_option
from prynt_relay.cli.prynt.session import Session, with_session
from prynt_relay.cli.prynt.terminal import Cell
from prynt_relay.cli.prynt.webhook_view import list_webhooks as show_list
from prynt_relay.cli.prynt.webhook_view import show_secret, show_webhook, shown_url


@click.command(name="list")
@list_options(default=100)
@with_session
def list_webhooks(session: Session, limit: int, cursor: str | None) -> None:
    """List the webhooks, the newest first."""
    answer = session.client.rows(path_of("webhooks"), {}, limit, cursor)
    if session.json:
        session.print_json(answer)
    elif answer.value["data"]:
        show_list(session.terminal, answer.value["data"])
        tell_of_more(session.terminal, answer.value)
    else:
        session.terminal.notice(
            "There are no webhooks yet: prynt webhooks create URL --events TYPE,…"
        )


@click.command()
@click.argument("webhook", type=WEBHOOK)
@with_session
def get(session: Session, webhook: str) -> None:
    """Show one webhook. Its secret and its password are never shown again."""
    answer = session.client.get(path_of("webhooks", webhook))
    if session.json:
        session.print_json(answer)
        return
    show_webhook(session.terminal, answer.value)
    if answer.value.get("failingSince"):
        session.terminal.notice(f"How its attempts went: prynt webhooks deliveries {webhook}")


@click.command()
@click.argument("webhook", type=WEBHOOK)
@with_session
def enable(session: Session, webhook: str) -> None:
    """Enable a webhook; what was held stays held until it is retried."""
    answer = session.client.send("PATCH", path_of("webhooks", webhook), {"enabled": True})
    if session.json:
        session.print_json(answer)
        return
    show_webhook(session.terminal, answer.value)
    path = path_of("webhooks", webhook, "deliveries")
    if session.client.get(path, {"state": "held", "limit": 1}).value["data"]:
        session.terminal.notice(
            f"Deliveries are held: prynt webhooks retry {webhook} --since 24h sends the last day's"
        )


@click.command()
@click.argument("webhook", type=WEBHOOK)
@with_session
def disable(session: Session, webhook: str) -> None:
    """Disable a webhook; its events are kept as held deliveries and not sent."""
    answer = session.client.send("PATCH", path_of("webhooks", webhook), {"enabled": False})
    if session.json:
        session.print_json(answer)
    else:
        show_webhook(session.terminal, answer.value)


@click.command()
@click.argument("webhook", type=WEBHOOK)
@yes_option
@with_session
def delete(session: Session, webhook: str, *, yes: bool) -> None:
    """Delete a webhook; its unfinished deliveries are cancelled, its history stays."""
    path = path_of("webhooks", webhook)
    if not yes and session.asks():
        url = shown_url(session.client.get(path).value)
        session.may_go_on(
            f"Delete {webhook} ({url}) and cancel its unfinished deliveries?", yes=yes
        )
    answer = session.client.send("DELETE", path)
    if session.json:
        session.print_json(answer)
    else:
        session.terminal.say(f"{webhook} is deleted; its unfinished deliveries are cancelled")


@click.command(
    name="rotate-secret",
    epilog=examples(
        "prynt webhooks rotate-secret wh_3kR8mNqT7xP2v",
        "prynt webhooks rotate-secret wh_3kR8mNqT7xP2v --activate-in 0s --yes",
    ),
)
@click.argument("webhook", type=WEBHOOK)
@click.option(
    "--activate-in",
    metavar="DURATION",
    help="How long the old secret goes on signing; 0s: not at all. [default: 24h]",
)
@yes_option
@with_session
def rotate_secret(session: Session, webhook: str, activate_in: str | None, *, yes: bool) -> None:
    """Make a new signing secret and show it, this once.

    The old one signs until the new one takes over: give the receiver both meanwhile. Again while
    one is pending replaces the pending one.
    """
    session.may_go_on(
        f"Make a new signing secret for {webhook}, to sign from {activate_in or '24h'} on?", yes=yes
    )
    body = {} if activate_in is None else {"activateIn": activate_in}
    answer = session.client.send("POST", path_of("webhooks", webhook, "rotate-secret"), body)
    if session.json:
        session.print_json(answer)
        return
    terminal = session.terminal
    terminal.say(Cell(webhook, "bold"))
    show_secret(terminal, answer.value["signingSecret"])
    active_from = exact(answer.value["activeFrom"], time.time())
    terminal.say(Cell(f"  {'Signs from':<16}", "dim"), active_from)
