"""Whole pages as one row.

Every row that sqlite3 hands over costs a turn of the GIL, which a reader's thread must win back
from a busy event loop: two hundred rows can take two hundred times five milliseconds. So SQLite
packs the rows of a page into one JSON text, and msgspec unpacks it.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def fetch_packed(
    conn: sqlite3.Connection,
    columns: str,
    source: str,
    values: Mapping[str, Any],
    row_type: type[T],
) -> list[T]:
    """Run `SELECT columns FROM source`; each row becomes a `row_type`, an array-like struct.

    In any order: SQLite promises none inside an aggregate. No column may be a BLOB, which JSON
    can't hold.
    """
    query = f"SELECT json_group_array(json_array({columns})) FROM {source}"  # noqa: S608 - the store's own text
    (packed,) = conn.execute(query, values).fetchone()
    return msgspec.json.decode(packed, type=list[row_type])  # type: ignore[valid-type]
