"""Multi-row statements.

Every sqlite3 step gives up the GIL and must win it back from a busy event loop, so that one
statement with many rows is several times cheaper than `executemany`. Rows go out in powers of
two, so that a handful of prepared statements serves every batch.
"""

import functools
import sqlite3
from typing import Any, Final

MAX_ROWS: Final = 256
"""Rows in the longest statement; longer ones gain nothing more."""


class RowStatement:
    """A statement over `(?, …)` rows: `head`, the rows, `tail`.

    `constant` are values at the end of each row that are always the same, as SQL: binding one
    holds the interpreter.
    """

    def __init__(self, head: str, width: int, tail: str = "", *, constant: str = "") -> None:
        self.width = width
        row = "(" + ", ".join("?" * width) + constant + ")"

        @functools.cache
        def text(rows: int) -> str:
            return f"{head}{', '.join([row] * rows)}{tail}"

        self.text = text

    def run(self, connection: sqlite3.Connection, values: list[Any]) -> None:
        """Execute for the rows that `values` holds one after another."""
        for start, rows in self._pieces(len(values) // self.width):
            piece = values[start * self.width : (start + rows) * self.width]
            connection.execute(self.text(rows), piece)

    def fetch(self, connection: sqlite3.Connection, values: list[Any]) -> list[Any]:
        """Execute for the rows in `values` and return all result rows."""
        found: list[Any] = []
        for start, rows in self._pieces(len(values) // self.width):
            piece = values[start * self.width : (start + rows) * self.width]
            found += connection.execute(self.text(rows), piece).fetchall()
        return found

    @staticmethod
    def _pieces(count: int) -> list[tuple[int, int]]:
        pieces = []
        start = 0
        size = MAX_ROWS
        while start < count:
            while size > count - start:
                size >>= 1
            pieces.append((start, size))
            start += size
        return pieces


def insert(table: str, columns: tuple[str, ...]) -> RowStatement:
    """An INSERT into `table`; both names are this package's own."""
    return RowStatement(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ",  # noqa: S608 - our own names
        len(columns),
    )
