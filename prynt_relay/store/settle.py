"""Writing what attempts came to: their rows, the deliveries' new states, a webhook's health."""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from prynt_relay.model.delivery import AttemptResult, Settlement
from prynt_relay.model.mail import OutboxMail
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Health
from prynt_relay.store import outbox
from prynt_relay.store.numbers import Numbers
from prynt_relay.store.rows import RowStatement

ROWS: Final = 2
"""What one settlement weighs in a batch: an attempt and a delivery."""

# The join finds the attempt before, and drops a delivery that was purged in the meantime.
ATTEMPTS = RowStatement(
    """WITH made AS (VALUES """,
    15,
    """)
    INSERT INTO attempts (id, delivery, webhook, revision, number, trigger, started_at_ms,
        duration_ms, outcome, status, error, signature, response_headers, response_body,
        truncated, previous)
    SELECT made.*, deliveries.last_attempt
    FROM made CROSS JOIN deliveries ON deliveries.id = made.column2""",
)

# What became held or cancelled while its attempt was made stays so, unless it was delivered.
DELIVERIES = RowStatement(
    """WITH made (delivery, attempt, state, next_attempt_ms, failures, attempts, outcome, status)
    AS (VALUES """,
    8,
    f""")
    UPDATE deliveries SET
        state = CASE WHEN deliveries.state IN ({DeliveryState.HELD:d}, {DeliveryState.CANCELLED:d})
                AND made.state <> {DeliveryState.DELIVERED:d} THEN deliveries.state
                ELSE made.state END,
        next_attempt_ms =
            CASE WHEN deliveries.state NOT IN ({DeliveryState.HELD:d}, {DeliveryState.CANCELLED:d})
                THEN made.next_attempt_ms END,
        resume_ms = NULL,
        manual = 0,
        failures = made.failures,
        attempts = made.attempts,
        last_attempt = made.attempt,
        last_outcome = made.outcome,
        last_status = made.status
    FROM made WHERE deliveries.id = made.delivery""",  # noqa: S608 - numbers of our own
)

_HEALTH = """
UPDATE webhooks SET failing_since_ms = ?, failing_from_ms = ?, excused_ms = ?, failures = ?,
    warned = ?, proven = ?
WHERE id = ?
"""


class SettleJob:
    """One call of `settle`."""

    __slots__ = ("batch", "bytes", "future", "now_ms", "outbox", "rows")

    def __init__(
        self,
        batch: Sequence[Settlement],
        outbox: Sequence[OutboxMail],
        future: asyncio.Future[None],
        *,
        now_ms: int,
    ) -> None:
        for settlement in batch:
            if settlement.revision_row <= 0:
                message = (
                    f"settlement of delivery {settlement.delivery_row} names no revision; "
                    "call set_revision before the webhook's first attempt"
                )
                raise ValueError(message)
        self.batch = batch
        self.outbox = outbox
        self.future = future
        self.now_ms = now_ms
        self.rows = ROWS * len(batch)
        self.bytes = sum(len(item.result.response_body or b"") for item in batch)


class Settler:
    """Turns settle jobs into rows; lives on the writer's thread."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def apply(self, connection: sqlite3.Connection, jobs: Sequence[SettleJob]) -> None:
        """Write the jobs' attempts, states and mails."""
        for batch in _without_repeats(jobs):
            self._write(connection, batch)
        for job in jobs:
            if job.outbox:
                outbox.add(connection, job.outbox, job.now_ms)

    def _write(self, connection: sqlite3.Connection, batch: Sequence[Settlement]) -> None:
        attempts: list[Any] = []
        deliveries: list[Any] = []
        health: dict[int, Health] = {}
        numbers = self._numbers
        for item in batch:
            numbers.attempt += 1
            result = item.result
            add_attempt(attempts, numbers.attempt, item, result)
            deliveries += (
                item.delivery_row,
                numbers.attempt,
                item.state,
                item.next_attempt_ms,
                item.failures,
                item.number,
                result.outcome,
                result.status,
            )
            if item.health is not None:
                health[item.webhook_row] = item.health
        ATTEMPTS.run(connection, attempts)
        DELIVERIES.run(connection, deliveries)
        for webhook_row, state in health.items():
            connection.execute(_HEALTH, (*health_columns(state), webhook_row))


def add_attempt(values: list[Any], row: int, settlement: Settlement, result: AttemptResult) -> None:
    """Add one attempt's columns, in the order of the statement."""
    values += (
        row,
        settlement.delivery_row,
        settlement.webhook_row,
        settlement.revision_row,
        settlement.number,
        settlement.trigger,
        result.started_at_ms,
        result.duration_ms,
        result.outcome,
        result.status,
        result.error,
        result.signature,
        result.response_headers,
        result.response_body,
        result.truncated,
    )


def health_columns(health: Health) -> tuple[Any, ...]:
    """A webhook's health as its six columns."""
    return (
        health.failing_since_ms,
        health.failing_from_ms,
        health.excused_ms,
        health.failures,
        health.warned,
        health.proven,
    )


def _without_repeats(jobs: Sequence[SettleJob]) -> Iterable[list[Settlement]]:
    """The settlements in order, cut wherever one delivery would come twice in a statement."""
    batch: list[Settlement] = []
    seen: set[int] = set()
    for job in jobs:
        for item in job.batch:
            if item.delivery_row in seen:
                yield batch
                batch = []
                seen = set()
            seen.add(item.delivery_row)
            batch.append(item)
    if batch:
        yield batch
