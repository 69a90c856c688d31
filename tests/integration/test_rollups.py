"""Counts per minute and hour against what is stored."""

import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.model.states import Outcome
from prynt_relay.store import rollups
from tests.integration.stored_history import PER_EVENT, START_MS, empty_database, fill

EVENTS = 4_000
NOW_MS = START_MS + 40 * EVENTS


@pytest.fixture
def conn(tmp_path: Path) -> sqlite3.Connection:
    path = tmp_path / "relay.db"
    empty_database(path)
    fill(path, EVENTS)
    return sqlite3.connect(path, isolation_level=None)


def catch_up(conn: sqlite3.Connection, now_ms: int = NOW_MS) -> int:
    steps = 0
    while not (step := rollups.scan(conn, now_ms)).is_empty:
        assert rollups.add(conn, step)
        steps += 1
    return steps


@given(st.integers(0, 10_000_000))
def test_a_bucket_stands_for_its_durations_within_seven_percent(duration_ms: int) -> None:
    """What a bucket reports is at most 7 % off the durations that it counts."""
    middle = rollups.bucket_middle_ms(rollups.bucket(duration_ms))
    assert abs(middle - duration_ms) <= 0.07 * duration_ms


@given(st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_buckets_are_in_the_order_of_durations(one: int, other: int) -> None:
    """A longer duration never counts in a lower bucket."""
    assert (one <= other) <= (rollups.bucket(one) <= rollups.bucket(other))


def test_counts_agree_with_what_is_stored(conn: sqlite3.Connection) -> None:
    """After catching up the sums are those of the tables, over all and for one webhook."""
    assert catch_up(conn) > 1
    for webhook in (None, 3):
        minutes = rollups.read(conn, rollups.MINUTE_S, 60, NOW_MS, webhook)
        hours = rollups.read(conn, rollups.HOUR_S, 24, NOW_MS, webhook)
        stored = dict(
            conn.execute(
                "SELECT outcome, count(*) FROM attempts WHERE ?1 IS NULL OR webhook = ?1"
                " GROUP BY outcome",
                (webhook,),
            ).fetchall()
        )
        events = EVENTS if webhook is None else EVENTS * PER_EVENT // 20
        for intervals in (minutes, hours):
            assert sum(interval.events for interval in intervals) == events
            counted = Counter[Outcome]()
            for interval in intervals:
                counted.update(interval.attempts)
            assert {int(key): value for key, value in counted.items() if value} == stored
    assert len(minutes) == 60
    assert minutes[-1].start_ms == NOW_MS // 60_000 * 60_000
    assert len(hours) == 24
    minutes = rollups.read(conn, rollups.MINUTE_S, 60, NOW_MS)
    busy = [interval for interval in minutes if interval.events > 500]
    assert all(20 <= (interval.p50_ms or 0) <= 35 for interval in busy)
    assert all(45 <= (interval.p99_ms or 0) <= 56 for interval in busy)
    assert minutes[0].p50_ms is None


def test_a_step_counts_once_even_when_it_is_written_twice(conn: sqlite3.Connection) -> None:
    """Writing a step again, after a crash or beside another, changes nothing."""
    step = rollups.scan(conn, NOW_MS)
    assert rollups.add(conn, step)
    before = conn.execute("SELECT sum(count) FROM rollups").fetchone()
    assert not rollups.add(conn, step)
    assert conn.execute("SELECT sum(count) FROM rollups").fetchone() == before


def test_nothing_new_is_an_empty_step(conn: sqlite3.Connection) -> None:
    """A scan after catching up has nothing to write."""
    catch_up(conn)
    assert rollups.scan(conn, NOW_MS).is_empty


def test_a_fan_out_that_is_still_being_written_waits(conn: sqlite3.Connection) -> None:
    """Events are counted up to the first whose deliveries aren't all there yet, then the rest."""
    conn.execute("UPDATE events SET fanout_pending = 1 WHERE id = 100")
    catch_up(conn)
    (mark,) = conn.execute("SELECT rolled_up_event_row FROM meta").fetchone()
    assert mark == 99
    conn.execute("UPDATE events SET fanout_pending = 0 WHERE id = 100")
    catch_up(conn)
    hours = rollups.read(conn, rollups.HOUR_S, 24, NOW_MS)
    assert sum(interval.events for interval in hours) == EVENTS


def test_samples_are_no_events(conn: sqlite3.Connection) -> None:
    """What an operator sent with test isn't counted among the events, its attempts are."""
    conn.execute("UPDATE events SET is_test = 1 WHERE id <= 10")
    catch_up(conn)
    hours = rollups.read(conn, rollups.HOUR_S, 24, NOW_MS)
    assert sum(interval.events for interval in hours) == EVENTS - 10


def test_what_is_too_old_for_any_figure_is_skipped_and_purged(conn: sqlite3.Connection) -> None:
    """Counts older than two hours and two days go; nothing that old is counted at all."""
    catch_up(conn)
    later = NOW_MS + 3 * 3_600_000
    while rollups.purge(conn, later):
        pass
    sizes = conn.execute("SELECT DISTINCT size_s FROM rollups").fetchall()
    assert sizes == [(rollups.HOUR_S,)]
    while rollups.purge(conn, NOW_MS + 3 * 86_400_000):
        pass
    assert conn.execute("SELECT count(*) FROM rollups").fetchone() == (0,)
    conn.execute("UPDATE meta SET rolled_up_attempt_row = 0, rolled_up_event_row = 0")
    catch_up(conn, NOW_MS + 3 * 86_400_000)
    assert conn.execute("SELECT count(*) FROM rollups").fetchone() == (0,)


def test_reading_seeks_each_interval(conn: sqlite3.Connection) -> None:
    """Figures are read by the whole key of each interval, however many webhooks there are."""
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    rollups.read(conn, rollups.MINUTE_S, 60, NOW_MS, 3)
    conn.set_trace_callback(None)
    plan = [line[3] for line in conn.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert "SEARCH rollups USING PRIMARY KEY (size_s=? AND start_ms=? AND webhook=?)" in plan
