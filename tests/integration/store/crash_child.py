"""Appends and settles as fast as it can and says what was acknowledged, until it is killed."""

import asyncio
import sys
from pathlib import Path

from prynt_relay.clock import SystemClock
from prynt_relay.store import Store
from tests.integration.store.parts import DELIVERED, append, due, open_store, settlement


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def publish(store: Store, webhook_row: int, name: str) -> None:
    number = 0
    while True:
        batch = [
            append(webhook_row, idempotency_key=f"{name}-{number + i}", data=b'"%s"' % (b"x" * 500))
            for i in range(20)
        ]
        appended = await store.append(batch)
        say("\n".join(f"event {name}-{number + i} {a.event_id}" for i, a in enumerate(appended)))
        number += 20


async def deliver(store: Store, webhook_row: int, revision: int) -> None:
    while True:
        waiting = await due(store, webhook_row, 50)
        await store.settle([settlement(d, revision, DELIVERED) for d in waiting])
        if waiting:
            say("\n".join(f"settled {d.row}" for d in waiting))
        await asyncio.sleep(0)


async def fan_out(store: Store) -> None:
    """Twenty transactions' worth: most kills come in the middle of it."""
    while True:
        await store.append([append(*[99] * 20_000)])


async def main() -> None:
    folder, name = Path(sys.argv[1]), sys.argv[2]
    store = await open_store(folder, SystemClock())
    (webhook,) = await store.webhooks()
    async with asyncio.TaskGroup() as group:
        for lane in range(3):
            group.create_task(publish(store, webhook.row, f"{name}-{lane}"))
        group.create_task(deliver(store, webhook.row, webhook.revision_row))
        group.create_task(fan_out(store))


if __name__ == "__main__":
    asyncio.run(main())
