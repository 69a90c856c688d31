"""Counts per minute and per hour, so that statistics cost the same after a million attempts.

What is counted is derived: `meta` says up to which attempt and event the counts go, `scan` reads
what came after and `add` writes it and moves the mark in one transaction. A crash in between
loses nothing and counts nothing twice.

Durations are counted in buckets that are exact up to 15 ms and 12.5 % wide above, so that a
percentile is right to about 6 %.
"""

import sqlite3
from collections import Counter
from typing import Final, TypeVar

import msgspec

from prynt_relay.model.states import Outcome

T = TypeVar("T")

MINUTE_S: Final = 60
HOUR_S: Final = 3600
ALL_WEBHOOKS: Final = 0
EVENTS: Final = -1
"""What stands for events where an outcome stands for attempts."""

SCAN_ATTEMPTS: Final = 5_000
SCAN_EVENTS: Final = 1_000
SCAN_DELIVERIES: Final = 5_000
"""Bounds of one step, so that no commit grows long. Beyond a single event with more deliveries."""

PURGE_ROWS: Final = 2_000

_KEPT_MS: Final = {MINUTE_S: 2 * 3_600_000, HOUR_S: 2 * 86_400_000}
_EXACT: Final = 16


def bucket(duration_ms: int) -> int:
    """Return the bucket that counts attempts of this duration."""
    if duration_ms < _EXACT:
        return max(duration_ms, 0)
    doubling = duration_ms.bit_length() - 4
    return 8 * doubling + (duration_ms >> doubling)


def bucket_middle_ms(number: int) -> float:
    """Return the duration that stands for a bucket, in milliseconds."""
    if number < _EXACT:
        return float(number)
    doubling = number // 8 - 1
    low = (number - 8 * doubling) << doubling
    return low + ((1 << doubling) - 1) / 2


class Step(msgspec.Struct, frozen=True):
    """What a scan found, for `add`: counts by rollup key, from one pair of marks to another."""

    from_marks: tuple[int, int]
    to_marks: tuple[int, int]
    counts: dict[tuple[int, int, int, int, int], int]

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing new."""
        return self.from_marks == self.to_marks


class _AttemptGroup(msgspec.Struct, array_like=True, gc=False):
    minute: int
    webhook: int
    outcome: int
    duration_ms: int
    count: int


class _EventGroup(msgspec.Struct, array_like=True, gc=False):
    minute: int
    webhook: int
    count: int


_MARKS: Final = "SELECT rolled_up_attempt_row, rolled_up_event_row FROM meta"
_ATTEMPTS_TO: Final = """
SELECT max(id) FROM (SELECT id FROM attempts WHERE id > ? ORDER BY id LIMIT ?)
"""
# Up to the first event whose fan-out is still being written, and up to so many deliveries. Numbers
# have gaps: the next event's can be any.
_EVENTS_TO: Final = """
SELECT max(id) FROM (
    SELECT id, sum(delivery_count) OVER (ORDER BY id) - delivery_count AS before FROM (
        SELECT id, delivery_count FROM events WHERE id > :after AND id < coalesce(
            (SELECT min(id) FROM events INDEXED BY events_fanout_pending
             WHERE fanout_pending = 1 AND id > :after), 9223372036854775807)
        ORDER BY id LIMIT :events)
) WHERE before < :deliveries
"""
_ATTEMPT_GROUPS: Final = """
SELECT json_group_array(json_array(minute, webhook, outcome, duration_ms, n)) FROM (
    SELECT started_at_ms / 60000 AS minute, webhook, outcome, duration_ms, count(*) AS n
    FROM attempts WHERE id > ? AND id <= ? AND started_at_ms >= ? GROUP BY 1, 2, 3, 4)
"""
_EVENT_GROUPS: Final = """
SELECT json_group_array(json_array(minute, 0, n)) FROM (
    SELECT received_at_ms / 60000 AS minute, count(*) AS n
    FROM events WHERE id > ? AND id <= ? AND received_at_ms >= ? AND is_test = 0 GROUP BY 1)
"""
_DELIVERY_GROUPS: Final = """
SELECT json_group_array(json_array(minute, webhook, n)) FROM (
    SELECT e.received_at_ms / 60000 AS minute, d.webhook AS webhook, count(*) AS n
    FROM events e CROSS JOIN deliveries d
      ON d.id >= e.first_delivery AND d.id < e.first_delivery + e.delivery_count
    WHERE e.id > ? AND e.id <= ? AND e.received_at_ms >= ? AND e.is_test = 0 GROUP BY 1, 2)
"""
_ADD: Final = """
INSERT INTO rollups (size_s, start_ms, webhook, outcome, duration_bucket, count)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET count = count + excluded.count
"""


def scan(conn: sqlite3.Connection, now_ms: int) -> Step:
    """Count the attempts and events after the marks, a bounded number of them."""
    attempt, event = conn.execute(_MARKS).fetchone()
    (attempt_to,) = conn.execute(_ATTEMPTS_TO, (attempt, SCAN_ATTEMPTS)).fetchone()
    (event_to,) = conn.execute(
        _EVENTS_TO, {"after": event, "events": SCAN_EVENTS, "deliveries": SCAN_DELIVERIES}
    ).fetchone()
    counts: Counter[tuple[int, int, int, int, int]] = Counter()
    oldest_ms = now_ms - _KEPT_MS[HOUR_S]
    if attempt_to is not None:
        groups = _fetch(conn, _ATTEMPT_GROUPS, (attempt, attempt_to, oldest_ms), _AttemptGroup)
        for group in groups:
            for webhook in (ALL_WEBHOOKS, group.webhook):
                slot = (webhook, group.outcome, bucket(group.duration_ms))
                _count(counts, group.minute, slot, group.count)
    if event_to is not None:
        for query in (_EVENT_GROUPS, _DELIVERY_GROUPS):
            for found in _fetch(conn, query, (event, event_to, oldest_ms), _EventGroup):
                _count(counts, found.minute, (found.webhook, EVENTS, 0), found.count)
    marks = (attempt_to or attempt, event_to or event)
    return Step((attempt, event), marks, dict(counts))


def _count(
    counts: Counter[tuple[int, int, int, int, int]], minute: int, slot: tuple[int, int, int], n: int
) -> None:
    counts[MINUTE_S, minute * 60_000, *slot] += n
    counts[HOUR_S, minute // 60 * 3_600_000, *slot] += n


def _fetch(
    conn: sqlite3.Connection, query: str, values: tuple[int, int, int], kind: type[T]
) -> list[T]:
    packed = conn.execute(query, values).fetchone()[0]
    return msgspec.json.decode(packed, type=list[kind])  # type: ignore[valid-type]


def add(conn: sqlite3.Connection, step: Step) -> bool:
    """Write a step's counts; False, and nothing done, where another did so meanwhile."""
    if conn.execute(_MARKS).fetchone() != step.from_marks:
        return False
    if step.counts:
        rows = [(*key, count) for key, count in step.counts.items()]
        conn.execute(_ADD, (msgspec.json.encode(rows).decode(),))
    conn.execute(
        "UPDATE meta SET rolled_up_attempt_row = ?, rolled_up_event_row = ?", step.to_marks
    )
    return True


def purge(conn: sqlite3.Connection, now_ms: int) -> bool:
    """Drop counts of long ago, a bounded number; True where more are left."""
    for size_s, kept_ms in _KEPT_MS.items():
        cursor = conn.execute(
            "DELETE FROM rollups WHERE (size_s, start_ms, webhook, outcome, duration_bucket) IN"
            " (SELECT size_s, start_ms, webhook, outcome, duration_bucket FROM rollups"
            " WHERE size_s = ? AND start_ms < ? LIMIT ?)",
            (size_s, now_ms - kept_ms, PURGE_ROWS),
        )
        if cursor.rowcount == PURGE_ROWS:
            return True
    return False


class Interval(msgspec.Struct, frozen=True):
    """A minute or an hour: events, attempts by outcome, durations in ms (None without any)."""

    start_ms: int
    events: int
    attempts: dict[Outcome, int]
    p50_ms: float | None
    p99_ms: float | None


class _Count(msgspec.Struct, array_like=True, gc=False):
    start_ms: int
    outcome: int
    bucket: int
    count: int


_READ: Final = """
SELECT json_group_array(json_array(start_ms, outcome, duration_bucket, count)) FROM rollups
WHERE size_s = ? AND start_ms IN (SELECT value FROM json_each(?)) AND webhook = ?
"""


def read(
    conn: sqlite3.Connection, size_s: int, count: int, now_ms: int, webhook_row: int | None = None
) -> list[Interval]:
    """Return the last `count` intervals, oldest first, the present one last.

    With `webhook_row` events are those that the webhook got a delivery of.
    """
    size_ms = size_s * 1000
    last_ms = now_ms // size_ms * size_ms
    starts = [last_ms - size_ms * back for back in range(count - 1, -1, -1)]
    values = (size_s, msgspec.json.encode(starts).decode(), webhook_row or ALL_WEBHOOKS)
    found = msgspec.json.decode(conn.execute(_READ, values).fetchone()[0], type=list[_Count])
    by_start: dict[int, list[_Count]] = {start: [] for start in starts}
    for each in found:
        by_start[each.start_ms].append(each)
    return [_interval(start, counts) for start, counts in by_start.items()]


def _interval(start_ms: int, counts: list[_Count]) -> Interval:
    events = 0
    attempts = dict.fromkeys(Outcome, 0)
    durations: Counter[int] = Counter()
    for each in counts:
        if each.outcome == EVENTS:
            events += each.count
        else:
            attempts[Outcome(each.outcome)] += each.count
            durations[each.bucket] += each.count
    return Interval(
        start_ms, events, attempts, percentile_ms(durations, 0.5), percentile_ms(durations, 0.99)
    )


def percentile_ms(durations: Counter[int], share: float) -> float | None:
    """Return the duration that `share` of the counted attempts stayed within; None without any."""
    rank = share * durations.total()
    seen = 0
    for number in sorted(durations):
        seen += durations[number]
        if seen >= rank:
            return bucket_middle_ms(number)
    return None
