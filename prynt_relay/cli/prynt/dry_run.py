"""What a webhook or a filter would match among recent events: `prynt webhooks test --dry-run`.

The daemon judges, with the code that judges events when they come in: nothing is stored or sent.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from prynt_relay.cli.prynt.api_client import path_of
from prynt_relay.cli.prynt.moments import ago
from prynt_relay.cli.prynt.session import Session, write_json
from prynt_relay.cli.prynt.terminal import Cell, Column


def dry_run(
    session: Session,
    webhook: str | None,
    expression: str | None,
    event_type: str | None,
    since: str | None,
    limit: int,
) -> None:
    """Have the newest `limit` events judged and print the verdicts.

    `expression` replaces the webhook's filter, an empty one asks without any; without a webhook it
    stands alone.
    """
    path = "/v1/match" if webhook is None else path_of("webhooks", webhook, "match")
    asked: dict[str, Any] = {
        "filter": expression,
        "eventType": event_type,
        "since": since,
        "limit": limit,
    }
    body = {name: value for name, value in asked.items() if value is not None}
    if webhook is not None and expression == "":
        body["filter"] = None
    answer = session.client.send("POST", path, body)
    if session.json:
        write_json(answer.text)
    else:
        _show(session, answer.value["data"])


def _show(session: Session, judged: Sequence[Mapping[str, Any]]) -> None:
    if not judged:
        session.terminal.notice("No event is like that; there is nothing to try it on.")
        return
    now_s = time.time()
    verdicts = [
        Cell("delivered", "green") if each["matches"] else Cell(each["reason"] or "", "dim")
        for each in judged
    ]
    session.terminal.table(
        [
            [
                Column("EVENT", [Cell(each["eventId"]) for each in judged]),
                Column("TYPE", [Cell(each["eventType"]) for each in judged]),
                Column("AGE", [Cell(_age(each, now_s), "dim") for each in judged]),
                Column("WOULD BE", verdicts, 20),
            ]
        ]
    )
    count = sum(each["matches"] for each in judged)
    session.terminal.notice(
        f"{count:,} of these {len(judged):,} events would be delivered. Nothing was sent."
    )


def _age(judged: Mapping[str, Any], now_s: float) -> str:
    return ago(judged["receivedAt"], now_s, suffix="")
