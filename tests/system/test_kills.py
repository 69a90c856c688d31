"""Three hundred kills over one database: nothing acknowledged is lost."""

import asyncio
import random
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from prynt_relay.daemon.relay import DATABASE_FILE
from prynt_relay.model.states import DeliveryState, Outcome
from tests.integration.receivers import Receiver
from tests.system.daemons import HOST, Daemon, until

SLOTS = 512


async def publish(daemon: Daemon, number: int, acknowledged: set[str]) -> None:
    """Send events for ever, some of them again after a lost answer, with the same key."""
    key = 0
    while True:
        try:
            async with daemon.publisher() as lines:
                while True:
                    event = {"eventType": "visitor.new", "data": {"n": key}}
                    answer = await lines.send({**event, "idempotencyKey": f"{number}-{key}"})
                    assert answer["ok"], answer
                    acknowledged.add(answer["eventId"])
                    key += 1
        except OSError:
            await asyncio.sleep(0.01)  # between two lives of the daemon


def unknown_states(database: Path) -> int:
    """Rows of a state, or in a condition, that the state machine does not know."""
    with sqlite3.connect(database) as connection:
        count: int = connection.execute(
            """SELECT count(*) FROM deliveries LEFT JOIN (
                       SELECT delivery, count(*) AS logged FROM attempts GROUP BY delivery
                   ) AS log ON log.delivery = deliveries.id
                   WHERE state NOT IN (0, 1, 2, 3, 4)
                   OR (state = ?) <> (next_attempt_ms IS NOT NULL)
                   OR attempts <> coalesce(logged, 0)
                   OR (state = ?) <> coalesce(last_outcome = ?, 0)""",
            (DeliveryState.SCHEDULED, DeliveryState.DELIVERED, Outcome.SUCCESS),
        ).fetchone()[0]
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        assert verdict == "ok"
        return count


async def kill_again_and_again(folder: Path, kills: int) -> str:
    rng = random.Random(5)
    async with Receiver(host=HOST) as receiver:
        daemon = Daemon(folder)
        await daemon.start()
        await daemon.webhook(receiver.url)
        acknowledged: set[str] = set()
        publishers = [
            asyncio.create_task(publish(daemon, number, acknowledged)) for number in range(4)
        ]
        for _ in range(kills):
            await asyncio.sleep(rng.random() * 0.4)  # a random moment is the point
            await daemon.kill()
            await daemon.start()
        for task in publishers:
            task.cancel()
        await asyncio.gather(*publishers, return_exceptions=True)

        async def all_received() -> bool:
            return acknowledged <= {r.header("X-Prynt-Delivery") for r in receiver.requests}

        await until(all_received, "every acknowledged event was delivered", timeout_s=120)
        await daemon.stop()
        assert unknown_states(daemon.state_dir / DATABASE_FILE) == 0
        times = Counter(r.header("X-Prynt-Delivery") for r in receiver.requests)
        repeats = sum(count - 1 for count in times.values())
        # Only what was in flight at a kill may come again.
        assert repeats <= kills * SLOTS
        return f"{kills} kills, {len(acknowledged)} acknowledged, {repeats} sent again"


@pytest.mark.timeout(60)
async def test_some_kills_lose_nothing(tmp_path: Path) -> None:
    """Killed ten times at random moments: every acknowledged event arrives."""
    await kill_again_and_again(tmp_path, 10)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_three_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    """The same three hundred times; no row is left in a state that the machine doesn't know."""
    print(await kill_again_and_again(tmp_path, 300))
