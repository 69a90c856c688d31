"""Answers to POSTs that came with an Idempotency-Key, so that a repetition gets the same one."""

import sqlite3
from typing import Final

import msgspec

from prynt_relay.store.secret_box import SecretBox

PURGE_ROWS: Final = 200


class StoredAnswer(msgspec.Struct, frozen=True):
    """An answer as it was given; `request_hash` tells whether it was to the same request.

    `response` is sealed under the key named `response_key`, in clear where that is None.
    """

    request_hash: bytes
    status: int
    headers: dict[str, str]
    response: bytes
    response_key: str | None
    created_at_ms: int


def find_answer(conn: sqlite3.Connection, key: str, not_before_ms: int) -> StoredAnswer | None:
    """Return the answer given under `key` since `not_before_ms`, or None."""
    found = conn.execute(
        "SELECT request_hash, status, headers, response, response_key, created_at_ms"
        " FROM api_requests WHERE key = ? AND created_at_ms >= ?",
        (key, not_before_ms),
    ).fetchone()
    if found is None:
        return None
    headers = msgspec.json.decode(found[2], type=dict[str, str])
    return StoredAnswer(found[0], found[1], headers, *found[3:])


def keep_answer(conn: sqlite3.Connection, key: str, answer: StoredAnswer) -> None:
    """Store an answer under its key, in place of one that no longer counts."""
    conn.execute(
        "INSERT OR REPLACE INTO api_requests"
        " (key, request_hash, status, headers, response, response_key, created_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            answer.request_hash,
            answer.status,
            msgspec.json.encode(answer.headers).decode(),
            answer.response,
            answer.response_key,
            answer.created_at_ms,
        ),
    )


def purge_answers(conn: sqlite3.Connection, before_ms: int) -> bool:
    """Drop answers from before that time, a bounded number; True where more are left."""
    cursor = conn.execute(
        "DELETE FROM api_requests WHERE key IN (SELECT key FROM api_requests"
        " INDEXED BY api_requests_by_time WHERE created_at_ms < ? LIMIT ?)",
        (before_ms, PURGE_ROWS),
    )
    return cursor.rowcount == PURGE_ROWS


def reseal_answers(conn: sqlite3.Connection, box: SecretBox) -> int:
    """Put some answers under the key in force; returns how many, 0 when all are.

    One whose key is gone can't be given again and is dropped.
    """
    if box.current is None:
        return 0
    rows = conn.execute(
        "SELECT key, response, response_key FROM api_requests WHERE response_key IS NOT ? LIMIT ?",
        (box.current, PURGE_ROWS),
    ).fetchall()
    for key, response, response_key in rows:
        if response_key is not None and not box.knows(response_key):
            conn.execute("DELETE FROM api_requests WHERE key = ?", (key,))
            continue
        bound_to = f"api_requests {key}"  # as prynt_relay.api.idempotency seals it
        sealed, key_id = box.seal(box.open(response, response_key, bound_to), bound_to)
        conn.execute(
            "UPDATE api_requests SET response = ?, response_key = ? WHERE key = ?",
            (sealed, key_id, key),
        )
    return len(rows)
