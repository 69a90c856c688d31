import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.store.rows import MAX_ROWS, RowStatement, insert


@given(st.integers(min_value=0, max_value=3 * MAX_ROWS + 5))
def test_every_row_goes_in_once_and_in_order(count: int) -> None:
    """However many rows there are, they are written in order by few statements of few sizes."""
    statement = insert("t", ("a", "b"))
    executed: list[str] = []
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a, b)")
        connection.set_trace_callback(executed.append)
        statement.run(connection, [x for n in range(count) for x in (n, str(n))])
        connection.set_trace_callback(None)
        written = connection.execute("SELECT a, b FROM t ORDER BY rowid").fetchall()
    assert written == [(n, str(n)) for n in range(count)]
    sizes = [sql.count("(") - 1 for sql in executed if sql.startswith("INSERT")]
    assert sum(sizes) == count
    assert all(size & (size - 1) == 0 and size <= MAX_ROWS for size in sizes)
    assert len(sizes) <= count // MAX_ROWS + MAX_ROWS.bit_length()


def test_results_of_all_pieces_come_back() -> None:
    """A query over many given rows answers for all of them."""
    statement = RowStatement("WITH v (x) AS (VALUES ", 1, ") SELECT x * 2 FROM v")
    with closing(sqlite3.connect(":memory:")) as connection:
        found = statement.fetch(connection, list(range(700)))
    assert sorted(row for (row,) in found) == [2 * n for n in range(700)]


@pytest.mark.parametrize("size", [1, MAX_ROWS])
def test_a_text_is_made_once(size: int) -> None:
    """The same size is the same text, so that its statement stays prepared."""
    statement = insert("t", ("a",))
    assert statement.text(size) is statement.text(size)
