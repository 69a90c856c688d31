"""What a webhook or a filter would match among recent events: `prynt webhooks test --dry-run`.

The daemon's own filter code judges, over events from the API: nothing is stored or sent.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from prynt_relay.cli.prynt.api_client import iterate_rows, path_of
from prynt_relay.cli.prynt.moments import ago, parse_moment
from prynt_relay.cli.prynt.session import Session, write_json
from prynt_relay.cli.prynt.terminal import Cell, Column
from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.payload import members
from prynt_relay.webhooks.filters import Candidate, Filter, FilterError, compile_filter

_ANY_WEBHOOK = "wh_0000000000000"


class Judged(NamedTuple):
    """An event with whether it would be delivered, and why not."""

    event: Mapping[str, Any]
    matches: bool
    reason: str | None


def dry_run(
    session: Session,
    webhook: str | None,
    expression: str | None,
    event_type: str | None,
    since: str | None,
    limit: int,
) -> None:
    """Judge the newest `limit` events and print the verdicts.

    `expression` replaces the webhook's filter; without a webhook it stands alone. Raises
    click.UsageError where it is no filter.
    """
    subscribed: list[str] = ["*"]
    if webhook is not None:
        row = session.client.get(path_of("webhooks", webhook)).value
        subscribed = row["events"]
        expression = row.get("filter") if expression is None else expression
    try:
        chosen = compile_filter(expression) if expression else None
    except InvalidFieldError as error:
        raise click.UsageError(f"--filter: {error.reason}") from error
    params = {"eventType": event_type, "since": since}
    rows = iterate_rows(session.client, path_of("events"), params, limit)
    judged = [_judge(session, event, subscribed, chosen, webhook) for event in rows]
    if session.json:
        write_json(json.dumps({"data": [_as_json(each) for each in judged]}))
    else:
        _show(session, judged)


def _judge(
    session: Session,
    event: Mapping[str, Any],
    subscribed: list[str],
    chosen: Filter | None,
    webhook: str | None,
) -> Judged:
    if "*" not in subscribed and event["eventType"] not in subscribed:
        return Judged(event, False, "not subscribed to its type")
    if chosen is None:
        return Judged(event, True, None)
    text = session.client.get(path_of("events", event["eventId"])).text
    candidate = Candidate(
        event_type=event["eventType"],
        data=bytes(members(text.encode())["data"]),
        api_version="",  # the API doesn't tell an event's; a filter that asks for it is rare
        created_at_ms=round(parse_moment(event["createdAt"]) * 1000),
        event_id=event["eventId"],
        idempotency_key=event["idempotencyKey"],
    )
    found = candidate.matches(chosen, webhook or _ANY_WEBHOOK)
    if isinstance(found, FilterError):
        return Judged(event, False, f"the filter fails: {found}")
    return Judged(event, found, None if found else "the filter isn't true")


def _as_json(judged: Judged) -> dict[str, Any]:
    return {**judged.event, "matches": judged.matches, "reason": judged.reason}


def _show(session: Session, judged: list[Judged]) -> None:
    if not judged:
        session.terminal.notice("No event is like that; there is nothing to try it on.")
        return
    now_s = time.time()
    verdicts = [
        Cell("delivered", "green") if each.matches else Cell(each.reason or "", "dim")
        for each in judged
    ]
    session.terminal.table(
        [
            [
                Column("EVENT", [Cell(each.event["eventId"]) for each in judged]),
                Column("TYPE", [Cell(each.event["eventType"]) for each in judged]),
                Column("AGE", [Cell(_age(each, now_s), "dim") for each in judged]),
                Column("WOULD BE", verdicts, 20),
            ]
        ]
    )
    count = sum(each.matches for each in judged)
    session.terminal.notice(
        f"{count:,} of these {len(judged):,} events would be delivered. Nothing was sent."
    )


def _age(judged: Judged, now_s: float) -> str:
    return ago(judged.event["receivedAt"], now_s, suffix="")
