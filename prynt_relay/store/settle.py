"""Writing what attempts came to: their rows, the deliveries' new states, a webhook's health."""

import asyncio
import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from prynt_relay.model.delivery import AttemptResult, Message, Settlement
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
# Written as an insert that always conflicts: at 351,000 rows/s against 136,000 for UPDATE FROM,
# which goes through a temporary table, and 310,000 for executemany.
DELIVERIES = RowStatement(
    """INSERT INTO deliveries (id, last_attempt, state, next_attempt_ms, failures, attempts,
        last_outcome, last_status, webhook, event, event_type, format, created_at_ms)
    VALUES """,
    8,
    f"""
    ON CONFLICT (id) DO UPDATE SET
        state = CASE WHEN state IN ({DeliveryState.HELD:d}, {DeliveryState.CANCELLED:d})
                AND excluded.state <> {DeliveryState.DELIVERED:d} THEN state
                ELSE excluded.state END,
        next_attempt_ms =
            CASE WHEN state NOT IN ({DeliveryState.HELD:d}, {DeliveryState.CANCELLED:d})
                THEN excluded.next_attempt_ms END,
        resume_ms = NULL,
        manual = 0,
        failures = excluded.failures,
        attempts = excluded.attempts,
        last_attempt = excluded.last_attempt,
        last_outcome = excluded.last_outcome,
        last_status = excluded.last_status""",
    # The columns that may not be NULL; a conflict leaves them as they are.
    constant=", 0, 0, 0, 0, 0",
)
EXISTING = RowStatement("SELECT id FROM deliveries WHERE id IN (VALUES ", 1, ")")

_MESSAGE = """
INSERT INTO messages (first_delivery, last_delivery, delivery_count, event_id, event_type, body)
VALUES (?, ?, ?, ?, ?, ?)
"""

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
        # The messages of this transaction, each with its row: its attempts follow each other, but
        # a repeated delivery may cut between them. They are alive as long as the jobs are.
        messages: dict[int, int] = {}
        for batch in _without_repeats(jobs):
            self._write(connection, batch, messages)
        for job in jobs:
            if job.outbox:
                outbox.add(connection, job.outbox, job.now_ms)

    def _write(
        self,
        connection: sqlite3.Connection,
        batch: Sequence[Settlement],
        messages: dict[int, int],
    ) -> None:
        attempts: list[Any] = []
        carried: list[tuple[int, Message]] = []
        health: dict[int, Health] = {}
        first = self._numbers.attempt + 1
        for row, item in enumerate(batch, start=first):
            add_attempt(attempts, row, item, item.result)
            if item.health is not None:
                health[item.webhook_row] = item.health
            if item.message is not None:
                carried.append((row, item.message))
        self._numbers.attempt += len(batch)
        before = connection.total_changes
        ATTEMPTS.run(connection, attempts)
        made = list(enumerate(batch, start=first))
        if connection.total_changes - before < len(batch):
            # Retention took some of the deliveries: they mustn't come back as empty rows.
            rows = [item.delivery_row for item in batch]
            left = {row for (row,) in EXISTING.fetch(connection, rows)}
            made = [(row, item) for row, item in made if item.delivery_row in left]
        deliveries: list[Any] = []
        for row, item in made:
            add_delivery(deliveries, row, item)
        DELIVERIES.run(connection, deliveries)
        for webhook_row, state in health.items():
            connection.execute(_HEALTH, (*health_columns(state), webhook_row))
        if carried:
            _name_messages(connection, carried, messages)


def _name_messages(
    connection: sqlite3.Connection, carried: list[tuple[int, Message]], messages: dict[int, int]
) -> None:
    """Store messages, and name them in the attempts that they stand for."""
    for _, group in itertools.groupby(carried, key=lambda each: id(each[1])):
        rows = list(group)
        message = rows[0][1]
        row = messages.get(id(message))
        if row is None:
            row = connection.execute(
                _MESSAGE,
                (
                    message.first_row,
                    message.last_row,
                    message.count,
                    message.event_id,
                    message.event_type,
                    message.body,
                ),
            ).lastrowid
            messages[id(message)] = row or 0
        connection.execute(
            "UPDATE attempts SET message = ? WHERE id BETWEEN ? AND ?",
            (row, rows[0][0], rows[-1][0]),
        )


def add_delivery(values: list[Any], attempt_row: int, settlement: Settlement) -> None:
    """Add a delivery's columns, in the order of the statement."""
    values += (
        settlement.delivery_row,
        attempt_row,
        settlement.state,
        settlement.next_attempt_ms,
        settlement.failures,
        settlement.number,
        settlement.result.outcome,
        settlement.result.status,
    )


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
