"""What one SQLite thread reaches with the relay's rows, in a process of its own.

    python -m tests.bench.plain_sqlite FOLDER

Each line on stdin is a job, `COUNT BATCH`: that many events without deliveries, prepared before the
clock starts, written with multi-row statements, a transaction a batch, synced at each. The answer
is the number of events a second.
"""

import asyncio
import sys
from pathlib import Path

from tests.bench.store_append import open_store, plain_side
from tests.bench.traffic import payload


async def make(folder: Path) -> None:
    store = await open_store(folder)
    await store.close()


def main(folder: Path) -> None:
    asyncio.run(make(folder))
    print("ready", flush=True)
    for line in sys.stdin:
        count, batch = map(int, line.split())
        rate = plain_side(folder / "relay.db", count, batch, 0, payload())
        print(rate, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
