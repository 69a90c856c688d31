"""`prynt webhooks deliveries`, `inspect` and `retry`."""

from collections.abc import Mapping
from typing import Final

import click

from prynt_relay.cli.prynt.api_client import iterate_rows, path_of
from prynt_relay.cli.prynt.attempt_view import show_delivery, write_request
from prynt_relay.cli.prynt.delivery_view import list_deliveries
from prynt_relay.cli.prynt.failures import CommandError
from prynt_relay.cli.prynt.identifiers import (
    DELIVERY,
    EVENT,
    EVENT_TYPE,
    WEBHOOK,
    WEBHOOK_OR_DELIVERY,
)
from prynt_relay.cli.prynt.list_options import WHEN, list_options, tell_of_more, window_options
from prynt_relay.cli.prynt.options import examples, yes_option
from prynt_relay.cli.prynt.session import Session, with_session

_STATES: Final = ("scheduled", "delivered", "failed", "held", "cancelled")
_RETRIED: Final = ("failed", "held", "scheduled")
_COUNTED: Final = 1000  # counting goes through lists; a person needs no more to decide
_LOOKED_AT: Final = 5000  # of them, those that were never tried yet don't count


@click.command(
    epilog=examples(
        "prynt webhooks deliveries wh_3kR8mNqT7xP2v --limit 20",
        "prynt webhooks deliveries wh_3kR8mNqT7xP2v --state failed --since 24h",
        "prynt webhooks deliveries --type verdict.block --since 2026-02-14T11:00:00Z",
    )
)
@click.argument("webhook", type=WEBHOOK, required=False)
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@click.option(
    "--type", "--event", "event_type", type=EVENT_TYPE, metavar="TYPE", help="Only of this type."
)
@click.option("--event-id", type=EVENT, metavar="EVENT", help="Only of this event.")
@window_options
@list_options()
@with_session
def deliveries(
    session: Session,
    webhook: str | None,
    state: str | None,
    event_type: str | None,
    event_id: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List a webhook's deliveries, or all webhooks', the newest first."""
    path = path_of("webhooks", webhook, "deliveries") if webhook else path_of("deliveries")
    params = {
        "state": state,
        "eventType": event_type,
        "eventId": event_id,
        "since": since,
        "until": until,
    }
    answer = session.client.rows(path, params, limit, cursor)
    if session.json:
        session.print_json(answer)
    elif answer.value["data"]:
        list_deliveries(session.terminal, answer.value["data"], of_all=webhook is None)
        tell_of_more(session.terminal, answer.value)
    else:
        narrowed = any(params.values())
        session.terminal.notice(
            "No delivery is like that." if narrowed else "There are no deliveries yet."
        )


@click.command(
    epilog=examples(
        "prynt webhooks inspect del_x9K2mNpR7jT3q",
        "prynt webhooks inspect del_x9K2mNpR7jT3q --raw > body.json",
    )
)
@click.argument("delivery", type=DELIVERY)
@click.option("--show-signature", is_flag=True, help="Show the signature headers' values.")
@click.option(
    "--raw",
    is_flag=True,
    help="Print the last attempt's request body alone, byte for byte as it was sent; with "
    "--show-signature the request's headers too, on standard error.",
)
@with_session
def inspect(session: Session, delivery: str, *, show_signature: bool, raw: bool) -> None:
    """Show a delivery with the request and the response of every attempt."""
    if raw and session.json:
        raise click.UsageError("--raw and --json are two ways to print it; give one of them")
    answer = session.client.get(path_of("deliveries", delivery))
    if raw:
        if not answer.value["attempts"]:
            raise CommandError(f"no attempt has been made of {delivery} yet: nothing was sent")
        write_request(session.terminal, answer.value["attempts"][-1], headers=show_signature)
    elif session.json:
        session.print_json(answer)
    else:
        show_delivery(session.terminal, answer.value, show_signature=show_signature)


@click.command(
    epilog=examples(
        "prynt webhooks retry wh_3kR8mNqT7xP2v --since 24h",
        "prynt webhooks retry wh_3kR8mNqT7xP2v --since 2h --state held --yes",
        "prynt webhooks retry del_x9K2mNpR7jT3q",
    )
)
@click.argument("target", metavar="WEBHOOK|DELIVERY", type=WEBHOOK_OR_DELIVERY)
@click.option(
    "--since",
    type=WHEN,
    metavar="WHEN",
    help="Of a webhook: what came in from then on; 24h, or ISO 8601.",
)
@click.option(
    "--until", type=WHEN, metavar="WHEN", help="Of a webhook: and before then. [default: now]"
)
@click.option(
    "--state",
    "states",
    type=click.Choice((*_RETRIED, "delivered")),
    multiple=True,
    help="Only these; again for more. [default: failed, held, and scheduled after a failure]",
)
@yes_option
@with_session
def retry(
    session: Session,
    target: str,
    since: str | None,
    until: str | None,
    states: tuple[str, ...],
    *,
    yes: bool,
) -> None:
    """Send again: one delivery, or what a webhook failed to get since some time."""
    if target.startswith("del_"):
        if since or until or states:
            raise click.UsageError("--since, --until and --state are for a webhook's deliveries")
        answer = session.client.send("POST", path_of("deliveries", target, "retry"))
        text = f"{target} is being sent again: prynt webhooks inspect {target} shows how it went"
    else:
        if since is None:
            raise click.UsageError("name the window: --since 24h")
        window = {"since": since, **({"until": until} if until else {})}
        if not yes and session.asks():
            question = ""
            # Of a disabled one there is nothing to ask: the API refuses, and says why.
            if session.client.get(path_of("webhooks", target)).value["enabled"]:
                question = _question(session, target, window, states or _RETRIED)
            session.may_go_on(question, yes=not question)
        body = {**window, **({"states": list(states)} if states else {})}
        answer = session.client.send("POST", path_of("webhooks", target, "retry"), body)
        count = answer.value["scheduled"]
        text = f"{count:,} {'delivery is' if count == 1 else 'deliveries are'} being sent again"
    if session.json:
        session.print_json(answer)
    else:
        session.terminal.say(text)


def _question(
    session: Session, webhook: str, window: Mapping[str, str], states: tuple[str, ...]
) -> str:
    """Count what would be sent, up to a bound, for a person to decide; empty where it's nothing."""
    path = path_of("webhooks", webhook, "deliveries")
    count, more = 0, ""
    for state in states:
        params = {"state": state, **window}
        looked_at = counted = 0
        for row in iterate_rows(session.client, path, params, _LOOKED_AT):
            looked_at += 1
            counted += state != "scheduled" or row["attemptCount"] > 0
            if counted > _COUNTED:
                break
        count += counted
        if counted > _COUNTED or looked_at == _LOOKED_AT:
            more = "or more "
    if not count and not more:
        return ""
    return f"Send {count:,} {more}{'delivery' if count == 1 else 'deliveries'} to {webhook} again?"
