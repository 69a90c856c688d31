import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from prynt_relay.store import bulk, due, migrate, outbox, purge, samples, settle, supplied
from prynt_relay.store.numbers import first_event
from prynt_relay.store.rows import RowStatement

SCAN_ALLOWED = re.compile(r"SCAN ([0-9]+ CONSTANT ROWS?|CONSTANT ROW|asked|made|chain|buckets)$")
"""What is scanned on purpose: the rows that a statement was given."""

SAMPLES_ONCE = ["LIST SUBQUERY 1", "SCAN events USING COVERING INDEX events_samples"]
"""The list of samples, made once for a statement from the index of them alone."""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The present schema with enough of everything that the planner could choose badly."""
    connection = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
    migrate.migrate(
        connection,
        tmp_path / "relay.db",
        migrate.migrations(),
        lambda _: None,
    )
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, sql: str, values: object = None) -> list[str]:
    count = sql.count("?") if values is None else 0
    given = [1] * count if values is None else values
    return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, given)]  # type: ignore[arg-type]


def searches(steps: list[str], wanted: str) -> bool:
    return any(wanted in step for step in steps)


def assert_no_scan(steps: list[str]) -> None:
    for step in steps:
        assert not step.startswith("SCAN") or SCAN_ALLOWED.match(step), steps
        assert "USE TEMP B-TREE" not in step, steps


class TestDispatch:
    def test_a_page_of_due_deliveries(self, connection: sqlite3.Connection) -> None:
        """A page is a range of one webhook's part of the due index, already in order."""
        same = plan(connection, due.DUE_PAGE, (1, 2, 3, 4))
        searched = "SEARCH deliveries USING INDEX deliveries_due"
        assert same == [f"{searched} (webhook=? AND next_attempt_ms=? AND rowid>?)"]
        after = plan(connection, due.DUE_PAGE_AFTER, (1, 2, 3))
        assert after == [f"{searched} (webhook=? AND next_attempt_ms>?)"]

    def test_the_earliest_of_each_webhook(self, connection: sqlite3.Connection) -> None:
        """One look into the due index for each webhook, however long its backlog is."""
        steps = plan(connection, due.EARLIEST_DUE)
        assert steps[0].startswith("SCAN webhooks")
        assert searches(steps, "USING COVERING INDEX deliveries_due (webhook=? AND next_attempt_ms")
        assert not searches(steps, "SCAN deliveries")

    def test_events_by_row(self, connection: sqlite3.Connection) -> None:
        """Events are found by their numbers."""
        steps = plan(connection, due.EVENTS.text(4))
        assert searches(steps, "SEARCH events USING INTEGER PRIMARY KEY")
        assert_no_scan([step for step in steps if "LIST SUBQUERY" not in step])


class TestHotPath:
    @pytest.mark.parametrize("statement", [settle.ATTEMPTS, settle.EXISTING])
    def test_settlements_find_deliveries_by_row(
        self, connection: sqlite3.Connection, statement: RowStatement
    ) -> None:
        """The given rows drive, and each delivery is found by its number."""
        steps = plan(connection, statement.text(8))
        assert searches(steps, "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)")
        assert_no_scan(steps)

    def test_new_states_are_written_without_looking(self, connection: sqlite3.Connection) -> None:
        """Writing new states goes straight to the rows."""
        assert plan(connection, settle.DELIVERIES.text(8)) == ["SCAN 8 CONSTANT ROWS"]

    def test_supplied_keys_are_looked_up_in_their_bucket(
        self, connection: sqlite3.Connection
    ) -> None:
        """A look for a key is one search in one bucket."""
        texts = supplied.SuppliedTexts("supplied_keys", b"seed")
        steps = plan(connection, texts._probe.text(8))
        assert searches(steps, "SEARCH found USING PRIMARY KEY (bucket=? AND hash=?)")
        assert_no_scan(steps)


class TestBulkWork:
    @pytest.mark.parametrize(
        ("sql", "index"),
        [
            (bulk.HOLD, "deliveries_due"),
            (bulk.CANCEL_SCHEDULED, "deliveries_due"),
            (bulk.CANCEL_HELD, "deliveries_held"),
        ],
    )
    def test_conversions_use_the_partial_indexes(
        self, connection: sqlite3.Connection, sql: str, index: str
    ) -> None:
        """A chunk reads only rows that it converts."""
        steps = plan(connection, sql)
        assert searches(steps, f"INDEX {index} (webhook=?")
        assert_no_scan(steps)

    @pytest.mark.parametrize(
        ("state", "index"),
        [
            (2, "COVERING INDEX deliveries_failed (webhook=? AND id>? AND id<?)"),
            (3, "COVERING INDEX deliveries_held (webhook=? AND id>? AND id<?)"),
            (1, "INDEX deliveries_by_webhook (webhook=? AND rowid>? AND rowid<?)"),
        ],
    )
    def test_a_retry_reads_its_states_in_order(
        self, connection: sqlite3.Connection, state: int, index: str
    ) -> None:
        """Walking failed and held deliveries is a range of an index; counting needs no more."""
        steps = plan(connection, bulk.settled_page(state), (1, 0, 9, 9))
        assert steps == [f"SEARCH deliveries USING {index.removeprefix('COVERING ')}"]
        steps = plan(connection, bulk.settled_count(state), (1, state, 0, 9, 0, 9))
        assert steps == [f"SEARCH deliveries USING {index}", *SAMPLES_ONCE]

    def test_a_retry_counts_what_fails_by_the_due_index(
        self, connection: sqlite3.Connection
    ) -> None:
        """Counting scheduled deliveries reads one webhook's part of the due index."""
        steps = plan(connection, bulk.SCHEDULED_COUNT)
        due_index = "INDEX deliveries_due (webhook=? AND next_attempt_ms>?)"
        assert steps == [f"SEARCH deliveries USING {due_index}", *SAMPLES_ONCE]

    def test_samples_are_told_by_their_index(self, connection: sqlite3.Connection) -> None:
        """Whether deliveries are samples' is asked of the index of samples alone."""
        steps = plan(connection, samples.SAMPLES.text(8))
        index = "COVERING INDEX events_samples (first_delivery=? AND is_test=?)"
        assert steps[0] == f"SEARCH events USING {index}"

    def test_a_retry_walks_the_due_index(self, connection: sqlite3.Connection) -> None:
        """Scheduled deliveries are walked in the due index's order, without sorting."""
        steps = plan(connection, bulk.SCHEDULED_PAGE)
        assert steps == [
            "SEARCH deliveries USING INDEX deliveries_due (webhook=? AND next_attempt_ms>?)"
        ]

    def test_the_first_event_of_a_window(self, connection: sqlite3.Connection) -> None:
        """Where a window begins is found by the index over time."""
        traced: list[str] = []
        connection.set_trace_callback(traced.append)
        first_event(connection, 1, 2)
        connection.set_trace_callback(None)
        steps = plan(connection, traced[0], ())
        assert_no_scan([s for s in steps if s != "SCAN CONSTANT ROW"])
        assert sum("events_by_time (received_at_ms>?)" in step for step in steps) == 2


class TestRetention:
    def test_candidates_come_by_time(self, connection: sqlite3.Connection) -> None:
        """A step's events are a range of the index over time, already in order."""
        steps = plan(connection, purge.CANDIDATES)
        assert steps == [
            "SEARCH events USING INDEX events_by_time (received_at_ms>? AND received_at_ms<?)"
        ]

    @pytest.mark.parametrize("sql", [purge.BLOCKED, purge.ATTEMPTS])
    def test_deliveries_are_a_range(self, connection: sqlite3.Connection, sql: str) -> None:
        """Deliveries of neighbouring events are read by their numbers, attempts by theirs."""
        steps = plan(connection, sql)
        assert searches(steps, "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)")
        assert not searches(steps, "SCAN deliveries")
        assert not searches(steps, "SCAN attempts")

    def test_due_mails(self, connection: sqlite3.Connection) -> None:
        """Mails that are done cost nothing."""
        traced: list[str] = []
        connection.set_trace_callback(traced.append)
        outbox.due(connection, 1, 2)
        connection.set_trace_callback(None)
        assert searches(plan(connection, traced[0], ()), "INDEX outbox_due (next_try_ms<?)")
