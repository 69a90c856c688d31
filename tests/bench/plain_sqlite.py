"""What one SQLite thread reaches with the relay's rows, in a process of its own.

    python -m tests.bench.plain_sqlite FOLDER

Each line on stdin is a job, `COUNT BATCH HOW SIZE`: that many events without deliveries, as rows
that were prepared before the clock starts, a transaction a batch, synced at each. HOW is `many` for
`executemany`, which is what one would write, or `rows` for statements of 256 rows, which is the
fastest that is known. The answer is the number of events a second.
"""

import asyncio
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from prynt_relay.daemon.relay import DATABASE_FILE
from prynt_relay.store.connection import connect_writer, start_wal
from prynt_relay.store.rows import insert
from tests.bench.store_append import open_store
from tests.bench.traffic import payload

COLUMNS = (
    "id", "event_type", "context", "received_at_ms", "created_at_ms", "event_id",
    "idempotency_key", "first_delivery", "delivery_count", "fanout_pending", "is_test", "data",
)  # fmt: skip
_MANY = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608


async def make(folder: Path) -> None:
    store = await open_store(folder)
    await store.close()


def rate(database: Path, count: int, batch: int, how: str, size: int) -> float:
    with closing(connect_writer(database)) as raw:
        start_wal(raw)
        raw.execute("PRAGMA wal_autocheckpoint = 1000")
        first: int = raw.execute("SELECT coalesce(max(id), 0) + 1 FROM events").fetchone()[0]
        now, data = time.time_ns() // 1_000_000, payload(size)
        rows = [
            (row, 1, 1, now, None, None, None, 1, 0, 0, 0, data)
            for row in range(first, first + count)
        ]
        batches = [rows[start : start + batch] for start in range(0, count, batch)]
        flat = [[value for row in part for value in row] for part in batches]
        statement = insert("events", COLUMNS)
        started = time.perf_counter()
        for part, values in zip(batches, flat, strict=True):
            raw.execute("BEGIN IMMEDIATE")
            if how == "many":
                raw.executemany(_MANY, part)
            else:
                statement.run(raw, values)
            raw.execute("COMMIT")
        return count / (time.perf_counter() - started)


def main(folder: Path) -> None:
    asyncio.run(make(folder))
    print(f"ready, SQLite {sqlite3.sqlite_version}", flush=True)
    for line in sys.stdin:
        count, batch, how, size = line.split()
        done = rate(folder / DATABASE_FILE, int(count), int(batch), how, int(size))
        print(done, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
