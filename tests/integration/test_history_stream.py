"""Attempts in order, the backlog's figures and kept answers, from a real file."""

import sqlite3
from pathlib import Path

import pytest

from prynt_relay.model.states import DeliveryState
from prynt_relay.store.api_requests import StoredAnswer, find_answer, keep_answer, purge_answers
from prynt_relay.store.history_backlog import Backlog, count_backlog
from prynt_relay.store.history_stream import attempts_between, newest_attempt
from tests.integration.stored_history import START_MS, empty_database, fill


@pytest.fixture
def conn(tmp_path: Path) -> sqlite3.Connection:
    path = tmp_path / "relay.db"
    empty_database(path)
    fill(path, 1_000)
    return sqlite3.connect(path, isolation_level=None)


def test_attempts_come_in_the_order_of_settling(conn: sqlite3.Connection) -> None:
    """A range of attempts is read in order, each with what names it."""
    attempts = attempts_between(conn, 100, 200)
    stored = conn.execute(
        "SELECT id, delivery FROM attempts WHERE id > 100 AND id <= 200 ORDER BY id"
    ).fetchall()
    assert [(attempt.row, attempt.delivery_row) for attempt in attempts] == stored
    assert attempts[0].webhook_id.startswith("wh_")
    assert attempts[0].event_id.startswith("evt_")
    assert attempts[0].state in (DeliveryState.DELIVERED, DeliveryState.FAILED)


def test_the_newest_attempt_counts_those_that_were_purged(conn: sqlite3.Connection) -> None:
    """Where a stream begins never goes back, even when the newest attempts are gone."""
    newest = newest_attempt(conn)
    assert newest == conn.execute("SELECT max(id) FROM attempts").fetchone()[0]
    conn.execute("DELETE FROM attempts WHERE id > 50")
    assert newest_attempt(conn) == newest


def test_the_backlog_is_counted(conn: sqlite3.Connection) -> None:
    """Scheduled and held deliveries and the oldest due, over all and of one webhook."""
    for webhook in (None, 5):
        scheduled, oldest = conn.execute(
            "SELECT count(*), min(next_attempt_ms) FROM deliveries"
            " WHERE state = 0 AND (?1 IS NULL OR webhook = ?1)",
            (webhook,),
        ).fetchone()
        (held,) = conn.execute(
            "SELECT count(*) FROM deliveries WHERE state = 3 AND (?1 IS NULL OR webhook = ?1)",
            (webhook,),
        ).fetchone()
        assert scheduled
        assert held
        assert count_backlog(conn, webhook) == Backlog(scheduled, held, oldest)
    conn.execute("UPDATE deliveries SET state = 1, next_attempt_ms = NULL")
    assert count_backlog(conn) == Backlog(0, 0, None)


def test_the_backlog_is_read_from_indexes_alone(conn: sqlite3.Connection) -> None:
    """Counting what waits never reads a delivery."""
    for webhook in (None, 5):
        statements: list[str] = []
        conn.set_trace_callback(statements.append)
        count_backlog(conn, webhook)
        conn.set_trace_callback(None)
        plan = [line[3] for line in conn.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
        reads = [line for line in plan if " deliveries " in line]
        assert reads
        # The index of what one webhook holds has no column for the state, which it implies.
        assert all("COVERING INDEX" in line or "deliveries_held" in line for line in reads)


def test_an_answer_is_found_until_it_is_too_old(conn: sqlite3.Connection) -> None:
    """A kept answer comes back as it was; a newer one replaces it; the old ones are purged."""
    answer = StoredAnswer(b"hash", 201, {"Location": "/v1/x"}, b'{"a":1}', None, START_MS)
    keep_answer(conn, "key", answer)
    assert find_answer(conn, "key", START_MS) == answer
    assert find_answer(conn, "key", START_MS + 1) is None
    assert find_answer(conn, "other", START_MS) is None
    newer = StoredAnswer(b"h2", 200, {}, b"{}", "key-id", START_MS + 5)
    keep_answer(conn, "key", newer)
    assert find_answer(conn, "key", 0) == newer
    for number in range(450):
        keep_answer(conn, f"old {number}", answer)
    rounds = 1
    while purge_answers(conn, START_MS + 1):
        rounds += 1
    assert rounds == 3
    assert conn.execute("SELECT key FROM api_requests").fetchall() == [("key",)]
