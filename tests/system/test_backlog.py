"""A million scheduled deliveries cost neither start-up time nor memory."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from prynt_relay.daemon.relay import DATABASE_FILE
from tests.integration.receivers import Receiver
from tests.system.daemons import HOST, Daemon, free_port

EVENTS, WEBHOOKS = 10_000, 100
READY_S = 2.0
MEMORY_MB = 60.0


async def settled_memory_mb(daemon: Daemon) -> float:
    """Resident memory a few seconds after the start."""
    await asyncio.sleep(3)  # for whatever a start may do in the background
    return daemon.memory_mb()


def fill(database: Path) -> None:
    """Schedule every event for every webhook, each after a first failure, due within the hour."""
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        now_ms = int(time.time() * 1000)
        data = b'{"n":1,"text":"' + b"x" * 800 + b'"}'
        connection.execute(
            "INSERT OR IGNORE INTO event_types (id, name) VALUES (900, 'rule.matched')"
        )
        event_type = connection.execute(
            "SELECT id FROM event_types WHERE name = 'rule.matched'"
        ).fetchone()[0]
        context = connection.execute("SELECT min(id) FROM contexts").fetchone()[0]
        dead = "SELECT id FROM webhooks WHERE events LIKE '%rule.matched%' ORDER BY id"
        webhooks = [row for (row,) in connection.execute(dead)]
        assert len(webhooks) == WEBHOOKS
        first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM events").fetchone()[0]
        connection.executemany(
            """INSERT INTO events (id, event_type, context, received_at_ms, first_delivery,
                   delivery_count, data) VALUES (?, ?, ?, ?, ?, ?, ?)""",
            (
                (first + n, event_type, context, now_ms - 1000, 1 + n * WEBHOOKS, WEBHOOKS, data)
                for n in range(EVENTS)
            ),
        )
        connection.executemany(
            """INSERT INTO deliveries (id, webhook, event, event_type, state, format,
                   created_at_ms, next_attempt_ms, failures, attempts)
               VALUES (?, ?, ?, ?, 0, 0, ?, ?, 1, 1)""",
            (
                (1 + n * WEBHOOKS + k, webhook, first + n, event_type, now_ms - 1000,
                 now_ms + 5_000 + (n * WEBHOOKS + k) % 3_600_000)
                for n in range(EVENTS)
                for k, webhook in enumerate(webhooks)
            ),
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_million_scheduled_deliveries(tmp_path: Path) -> None:
    """10,000 events to 100 dead webhooks: ready within 2 s, within 60 MB of an empty daemon."""
    async with Receiver(host=HOST) as receiver:
        daemon = Daemon(tmp_path)
        await daemon.start()
        dead = free_port()
        for number in range(WEBHOOKS):
            await daemon.webhook(f"https://{HOST}:{dead}/{number}", "rule.matched")
        await daemon.webhook(receiver.url, "verdict.allow")
        await daemon.stop()
        await daemon.start()
        empty_mb = await settled_memory_mb(daemon)
        await daemon.stop()
        database = daemon.state_dir / DATABASE_FILE
        await asyncio.to_thread(fill, database)
        started = time.monotonic()
        await daemon.start()
        ready_s = time.monotonic() - started
        full_mb = await settled_memory_mb(daemon)
        (answer,) = await daemon.publish({"eventType": "verdict.allow", "data": {}})
        (request,) = await receiver.wait_for(1)
        scheduled = (await daemon.metrics())["prynt_relay_deliveries_scheduled"]
        await daemon.stop()
        assert request.header("X-Prynt-Delivery") == answer["eventId"]
        assert scheduled >= EVENTS * WEBHOOKS * 0.99
        assert ready_s < READY_S
        assert full_mb - empty_mb < MEMORY_MB
        print(f"ready {ready_s:.2f} s, memory {empty_mb:.0f} MB empty, {full_mb:.0f} MB full")
