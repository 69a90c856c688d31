"""`prynt listen`."""

import json
import os

import click

from prynt_relay.cli.prynt.listener import Listener, Received
from prynt_relay.cli.prynt.options import examples
from prynt_relay.cli.prynt.pretty_json import pretty_json
from prynt_relay.cli.prynt.session import Session, with_session, write_json
from prynt_relay.cli.prynt.terminal import Cell
from prynt_relay.escape import safe_block


@click.command(
    epilog=examples(
        "prynt listen --port 3000 --secret whsec_…",
        "prynt webhooks test --url http://localhost:3000/ --secret whsec_…",
        "prynt listen --port 3000 --status 503      # to see the retries",
    )
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=3000,
    show_default=True,
    metavar="PORT",
    help="The port to listen on; 0 takes any that is free.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address to listen on.",
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="SECRET",
    help="A secret that may have signed; again for more. [$PRYNT_WEBHOOK_SECRET]",
)
@click.option(
    "--status",
    type=click.IntRange(200, 599),
    default=200,
    show_default=True,
    metavar="STATUS",
    help="What to answer; what fails its verification gets 401.",
)
@click.option("--body", is_flag=True, help="Print the bodies too.")
@with_session
def listen(
    session: Session,
    port: int,
    host: str,
    secrets: tuple[str, ...],
    status: int,
    *,
    body: bool,
) -> int:
    """Receive webhooks here, verify their signatures and print what comes, until Ctrl-C.

    Needs no daemon. Without a secret nothing is verified.
    """
    from_environment = os.environ.get("PRYNT_WEBHOOK_SECRET")
    keys = secrets or ((from_environment,) if from_environment else ())
    listener = Listener(host, port, keys, status)
    how = "verifying signatures" if keys else "not verifying: no --secret, no $PRYNT_WEBHOOK_SECRET"
    try:
        session.terminal.notice(
            f"Listening on {listener.address} (any path), {how}; Ctrl-C ends it."
        )
        for received in listener.requests():
            if session.json:
                write_json(json.dumps(received.as_json(), ensure_ascii=False))
            else:
                _show(session, received, with_body=body)
    except KeyboardInterrupt:
        pass  # how it is ended
    finally:
        listener.close()
    return 0


def _show(session: Session, received: Received, *, with_body: bool) -> None:
    terminal = session.terminal
    if received.verified is None:
        text, style = f"refused: {received.why}" if received.why else "not verified", "yellow"
    elif received.verified:
        text, style = "verified", "green"
    else:
        text, style = f"NOT VERIFIED: {received.why}", "red"
    event = f" [{received.event_id}]" if received.event_id else ""
    terminal.say(
        Cell(received.time_of_day + "  ", "dim"),
        Cell("--> ", "dim"),
        Cell(received.event_type or received.method, "bold"),
        f"{event} ",
        Cell(text, style),
    )
    if with_body and received.body:
        for line in safe_block(pretty_json(received.body) or received.body).split("\n"):
            terminal.say("    " + line.expandtabs(4))
    ok = 200 <= received.status < 300
    terminal.say(
        Cell(received.time_of_day + "  ", "dim"),
        Cell("<-- ", "dim"),
        Cell(f"[{received.status}]", "green" if ok else "red"),
        f" {received.method} {received.path}{event}",
    )
