"""Changes to very many deliveries, a chunk at a time.

Each chunk is a transaction of its own between those of live traffic. What is left to do is in
`bulk_jobs`, so that a job goes on after a restart.
"""

import sqlite3
from collections.abc import Collection
from typing import Any, Final, Literal

import msgspec

from prynt_relay.errors import ConflictError, NotFoundError
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.states import DeliveryState
from prynt_relay.store.due import DUE_COLUMNS, due_delivery
from prynt_relay.store.rows import RowStatement
from prynt_relay.store.samples import NOT_A_SAMPLE, samples_among

_SCHEDULED: Final = int(DeliveryState.SCHEDULED)
_DELIVERED: Final = int(DeliveryState.DELIVERED)
_FAILED: Final = int(DeliveryState.FAILED)
_HELD: Final = int(DeliveryState.HELD)
_CANCELLED: Final = int(DeliveryState.CANCELLED)

EXAMINED: Final = 4
"""A chunk of a retry looks at this many rows for each that it may change."""

HOLD: Final = f"""
UPDATE deliveries SET state = {_HELD}, next_attempt_ms = NULL, resume_ms = NULL, manual = 0
WHERE id IN (SELECT id FROM deliveries WHERE webhook = ? AND next_attempt_ms IS NOT NULL LIMIT ?)
"""  # noqa: S608 - numbers of our own

CANCEL_SCHEDULED: Final = f"""
UPDATE deliveries SET state = {_CANCELLED}, next_attempt_ms = NULL, resume_ms = NULL, manual = 0
WHERE id IN (SELECT id FROM deliveries WHERE webhook = ? AND next_attempt_ms IS NOT NULL LIMIT ?)
"""  # noqa: S608 - numbers of our own

CANCEL_HELD: Final = f"""
UPDATE deliveries SET state = {_CANCELLED}
WHERE id IN (SELECT id FROM deliveries WHERE webhook = ? AND state = {_HELD} LIMIT ?)
"""  # noqa: S608 - numbers of our own

_SETTLED_STATES: Final = {
    # The partial indexes want the state as a constant.
    _FAILED: f"webhook = ? AND state = {_FAILED}",
    _HELD: f"webhook = ? AND state = {_HELD}",
    _DELIVERED: "webhook = ?",
}

SCHEDULED_PAGE: Final = """
SELECT id, next_attempt_ms, created_at_ms, failures, manual, last_attempt FROM deliveries
WHERE webhook = ? AND next_attempt_ms IS NOT NULL AND next_attempt_ms >= ?
  AND (next_attempt_ms > ? OR id >= ?)
ORDER BY next_attempt_ms, id LIMIT ?
"""

SCHEDULED_COUNT: Final = f"""
SELECT count(*) FROM deliveries INDEXED BY deliveries_due
WHERE webhook = ? AND next_attempt_ms IS NOT NULL AND failures > 0 AND id <= ?
  AND created_at_ms >= ? AND created_at_ms < ? AND {NOT_A_SAMPLE}
"""  # noqa: S608 - our own texts

_ANEW: Final = RowStatement(
    "WITH asked (row, now_ms) AS (VALUES ",
    2,
    f""")
    UPDATE deliveries SET state = {_SCHEDULED}, next_attempt_ms = asked.now_ms, resume_ms = NULL,
        manual = 1, failures = 0
    FROM asked WHERE deliveries.id = asked.row""",  # noqa: S608 - numbers of our own
)

_NOW: Final = RowStatement(
    "WITH asked (row, now_ms) AS (VALUES ",
    2,
    """)
    UPDATE deliveries SET next_attempt_ms = asked.now_ms, manual = 1,
        resume_ms = CASE WHEN manual THEN resume_ms ELSE next_attempt_ms END
    FROM asked WHERE deliveries.id = asked.row""",
)

_READ: Final = RowStatement(
    f"SELECT {DUE_COLUMNS} FROM deliveries WHERE id IN (VALUES ",  # noqa: S608 - our own names
    1,
    ")",
)


class BulkJob(msgspec.Struct, frozen=True):
    """What is still to do with a webhook's deliveries.

    A retry takes what was received from `since_ms` on and before `until_ms`, is in one of
    `states` (worked through in order), neither older than `first_row` nor newer than `max_row`, and
    was not attempted since: of an attempt newer than `max_attempt` came what was asked for, and
    whatever state that left it in, it isn't sent a second time. Samples are never part of it.
    """

    row: int
    kind: Literal["hold", "cancel", "retry"]
    webhook_row: int
    since_ms: int = 0
    until_ms: int | None = None
    states: tuple[DeliveryState, ...] = ()
    first_row: int = 0
    max_row: int = 0
    max_attempt: int = 0
    cursor_ms: int = 0
    cursor: int = 0


class RetryChunk(msgspec.Struct, frozen=True):
    """What one chunk of a retry did: rows now due, and the job as it goes on (None: done)."""

    due: list[DueDelivery]
    job: BulkJob | None


def read_jobs(connection: sqlite3.Connection) -> list[BulkJob]:
    """All that is unfinished, oldest first."""
    return [
        BulkJob(row, kind, webhook, since_ms, until_ms, _states(states), *progress)
        for row, kind, webhook, since_ms, until_ms, states, *progress in connection.execute(
            """SELECT id, kind, webhook, since_ms, until_ms, states, first_delivery, max_delivery,
                      max_attempt, cursor_ms, cursor
               FROM bulk_jobs ORDER BY id"""
        )
    ]


def add_job(
    connection: sqlite3.Connection, kind: Literal["hold", "cancel"], webhook_row: int, now_ms: int
) -> None:
    """Note that a webhook's deliveries are to be converted; it replaces what was noted before.

    A retry that was going on for the webhook ends: there is nothing that it should send any more.
    """
    end_jobs(connection, webhook_row)
    connection.execute(
        "INSERT INTO bulk_jobs (kind, webhook, created_at_ms) VALUES (?, ?, ?)",
        (kind, webhook_row, now_ms),
    )


def end_jobs(connection: sqlite3.Connection, webhook_row: int, kind: str | None = None) -> None:
    """Nothing is left to do, or it shall not be done any more; None stands for every kind."""
    connection.execute(
        "DELETE FROM bulk_jobs WHERE webhook = ?1 AND (?2 IS NULL OR kind = ?2)",
        (webhook_row, kind),
    )


def hold_chunk(connection: sqlite3.Connection, webhook_row: int, limit: int) -> int:
    """Make scheduled deliveries held; returns how many, 0 when it is done."""
    changed = connection.execute(HOLD, (webhook_row, limit)).rowcount
    if changed == 0:
        end_jobs(connection, webhook_row, "hold")
    return changed


def cancel_chunk(connection: sqlite3.Connection, webhook_row: int, limit: int) -> int:
    """Make scheduled and held deliveries cancelled; returns how many, 0 when it is done."""
    changed = connection.execute(CANCEL_SCHEDULED, (webhook_row, limit)).rowcount
    if changed < limit:
        changed += connection.execute(CANCEL_HELD, (webhook_row, limit - changed)).rowcount
    if changed == 0:
        end_jobs(connection, webhook_row, "cancel")
    return changed


# --- retrying a window ---


FIRST_ROW: Final = """
SELECT first_delivery FROM events
WHERE id = (SELECT min(id) FROM events INDEXED BY events_by_time WHERE received_at_ms >= ?)
"""


def first_row(connection: sqlite3.Connection, since_ms: int) -> int:
    """The first delivery number that may belong to an event received from `since_ms` on.

    Reads all of the window's index (some 50 ms for a million events): over a wall clock that was
    set back the event that was received first has not the lowest number.
    """
    found: tuple[int] | None = connection.execute(FIRST_ROW, (since_ms,)).fetchone()
    return (1 << 62) if found is None else found[0]


def add_retry(connection: sqlite3.Connection, job: BulkJob, now_ms: int) -> BulkJob:
    """Write a retry down; everything after that may happen later.

    Raises ConflictError where the webhook is disabled, or deleted: it may have become so after the
    retry was asked for, and the conversion that follows from that may be over already.
    """
    enabled = connection.execute(
        "SELECT enabled FROM webhooks WHERE id = ? AND deleted_at_ms IS NULL", (job.webhook_row,)
    ).fetchone()
    if enabled is None or not enabled[0]:
        raise ConflictError(
            "the webhook was disabled or deleted just now; enable it first, then retry"
        )
    row = connection.execute(
        """INSERT INTO bulk_jobs (kind, webhook, since_ms, until_ms, states, first_delivery,
                                  max_delivery, max_attempt, created_at_ms)
           VALUES ('retry', ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            job.webhook_row,
            job.since_ms,
            job.until_ms,
            _json(job.states),
            job.first_row,
            job.max_row,
            job.max_attempt,
            now_ms,
        ),
    ).lastrowid
    return msgspec.structs.replace(job, row=row)


def settled_count(state: int) -> str:
    """Count what a retry takes of a settled state."""
    return f"""SELECT count(*) FROM deliveries
        WHERE {_SETTLED_STATES[state]} AND state = ? AND id >= ? AND id <= ?
          AND created_at_ms >= ? AND created_at_ms < ? AND {NOT_A_SAMPLE}"""  # noqa: S608 - our own texts


def settled_page(state: int) -> str:
    """Walk what a retry looks at of a settled state."""
    return f"""SELECT id, state, created_at_ms, last_attempt FROM deliveries
        WHERE {_SETTLED_STATES[state]} AND id >= ? AND id <= ? ORDER BY id LIMIT ?"""  # noqa: S608


def count_retry(connection: sqlite3.Connection, job: BulkJob) -> int:
    """How many deliveries a retry that hasn't begun will make due."""
    count = 0
    for state in job.states:
        if state == _SCHEDULED:
            found = connection.execute(
                SCHEDULED_COUNT,
                (job.webhook_row, job.max_row, job.since_ms, _until(job)),
            )
        else:
            found = connection.execute(
                settled_count(state),
                (job.webhook_row, state, job.first_row, job.max_row, job.since_ms, _until(job)),
            )
        count += found.fetchone()[0]
    return count


def retry_chunk(
    connection: sqlite3.Connection,
    job: BulkJob,
    *,
    limit: int,
    busy_rows: Collection[int],
    now_ms: int,
) -> RetryChunk:
    """Make up to `limit` of a retry's deliveries due now, and note how far it came.

    `busy_rows` are in flight: their attempt is the one that was asked for.
    """
    if (
        connection.execute("SELECT 1 FROM bulk_jobs WHERE id = ?", (job.row,)).fetchone() is None
        or not job.states
    ):
        return RetryChunk([], None)
    if job.states[0] == _SCHEDULED:
        rows, after = _scheduled_rows(connection, job, limit, busy_rows)
        statement = _NOW
    else:
        rows, after = _settled_rows(connection, job, limit, busy_rows)
        statement = _ANEW
    samples = samples_among(connection, rows)
    rows = [row for row in rows if row not in samples]
    asked: list[int] = []
    for row in rows:
        asked += (row, now_ms)
    statement.run(connection, asked)
    due = [due_delivery(found) for found in _READ.fetch(connection, rows)]
    if after is None:
        after = msgspec.structs.replace(job, states=job.states[1:], cursor_ms=0, cursor=0)
    if not after.states:
        connection.execute("DELETE FROM bulk_jobs WHERE id = ?", (job.row,))
        return RetryChunk(due, None)
    connection.execute(
        "UPDATE bulk_jobs SET states = ?, cursor_ms = ?, cursor = ? WHERE id = ?",
        (_json(after.states), after.cursor_ms, after.cursor, job.row),
    )
    return RetryChunk(due, after)


def _settled_rows(
    connection: sqlite3.Connection, job: BulkJob, limit: int, busy_rows: Collection[int]
) -> tuple[list[int], BulkJob | None]:
    state = job.states[0]
    found = connection.execute(
        settled_page(state),
        (job.webhook_row, max(job.cursor, job.first_row), job.max_row, EXAMINED * limit),
    ).fetchall()
    rows: list[int] = []
    for row, its_state, created_at_ms, last_attempt in found:
        if len(rows) == limit:
            return rows, msgspec.structs.replace(job, cursor=row)
        if (
            its_state == state
            and (last_attempt or 0) <= job.max_attempt
            and job.since_ms <= created_at_ms < _until(job)
            and row not in busy_rows
        ):
            rows.append(row)
    if len(found) < EXAMINED * limit:
        return rows, None
    return rows, msgspec.structs.replace(job, cursor=found[-1][0] + 1)


def _scheduled_rows(
    connection: sqlite3.Connection, job: BulkJob, limit: int, busy_rows: Collection[int]
) -> tuple[list[int], BulkJob | None]:
    """Along the due index. Rows that were moved to now may come again: they are manual by then."""
    found = connection.execute(
        SCHEDULED_PAGE,
        (job.webhook_row, job.cursor_ms, job.cursor_ms, job.cursor, EXAMINED * limit),
    ).fetchall()
    rows: list[int] = []
    for row, next_ms, created_at_ms, failures, manual, last_attempt in found:
        if len(rows) == limit:
            return rows, msgspec.structs.replace(job, cursor_ms=next_ms, cursor=row)
        if (
            failures > 0
            and not manual
            and (last_attempt or 0) <= job.max_attempt
            and row <= job.max_row
            and job.since_ms <= created_at_ms < _until(job)
            and row not in busy_rows
        ):
            rows.append(row)
    if len(found) < EXAMINED * limit:
        return rows, None
    return rows, msgspec.structs.replace(job, cursor_ms=found[-1][1], cursor=found[-1][0] + 1)


def retry_one(connection: sqlite3.Connection, row: int, now_ms: int) -> DueDelivery:
    """Make one delivery due now (contract, section 4's manual retry).

    Raises NotFoundError, or ConflictError of a cancelled one.
    """
    found = connection.execute("SELECT state FROM deliveries WHERE id = ?", (row,)).fetchone()
    if found is None:
        raise NotFoundError("there is no such delivery; it may be older than the retention")
    if found[0] == _CANCELLED:
        raise ConflictError("the delivery was cancelled: its webhook is deleted")
    (_NOW if found[0] == _SCHEDULED else _ANEW).run(connection, [row, now_ms])
    return due_delivery(_READ.fetch(connection, [row])[0])


def _until(job: BulkJob) -> int:
    return 1 << 62 if job.until_ms is None else job.until_ms


def _states(text: str) -> tuple[DeliveryState, ...]:
    return msgspec.json.decode(text, type=tuple[DeliveryState, ...])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
