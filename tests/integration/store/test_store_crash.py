import asyncio
import random
import signal
import sys
from pathlib import Path

from prynt_relay.clock import SystemClock
from tests.integration.store.parts import DELIVERED, add_webhook, append, opened, rows

KILLS = 6


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Whenever the process is killed, every acknowledged event and attempt is in the file."""
    chance = random.Random(20)
    async with opened(tmp_path, SystemClock()) as store:
        await add_webhook(store)
    events: dict[str, str] = {}
    settled: set[int] = set()
    for run in range(KILLS):
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.store.crash_child",
            str(tmp_path),
            f"run{run}",
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 22,
            cwd=Path(__file__).parents[3],
        )
        assert child.stdout is not None
        lines_before = chance.randrange(1, 3000)
        heard: list[bytes] = []
        while len(heard) < lines_before and (line := await child.stdout.readline()):
            heard.append(line)
        child.send_signal(signal.SIGKILL)
        heard += (await child.stdout.read()).splitlines(keepends=True)
        await child.wait()
        assert child.returncode == -signal.SIGKILL
        for line in heard:
            words = line.decode().split()
            if not line.endswith(b"\n") or not words:
                continue  # cut off by the kill
            if words[0] == "event":
                events[words[1]] = words[2]
            else:
                settled.add(int(words[1]))
    assert len(events) > 100
    assert settled
    async with opened(tmp_path, SystemClock()) as store:
        answers = [
            (key, answer.event_id, answer.duplicate)
            for key in events
            for answer in await store.append([append(idempotency_key=key)])
        ]
        await store.hold_chunk(0)  # behind every fan-out that was cut short
    assert answers == [(key, event_id, True) for key, event_id in events.items()]
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    states = dict(rows(tmp_path, "SELECT id, state FROM deliveries WHERE webhook <> 99"))
    assert {states[row] for row in settled} == {DELIVERED}
    assert rows(
        tmp_path,
        """SELECT count(*) FROM events WHERE delivery_count <> (SELECT count(*) FROM deliveries
           WHERE deliveries.id BETWEEN first_delivery AND first_delivery + delivery_count - 1
             AND deliveries.event = events.id)""",
    ) == [(0,)]
    assert rows(tmp_path, "SELECT count(*) FROM fanouts") == [(0,)]


OPENING = """
import asyncio, sys
from pathlib import Path
from tests.integration.store.parts import open_store

async def main():
    print("begin", flush=True)
    await open_store(Path(sys.argv[1]))
    print("end", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_first_start_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    """Whenever the making of the database is cut off, the next start makes or finishes it."""
    chance = random.Random(21)
    for run in range(8):
        folder = tmp_path / str(run)
        folder.mkdir()
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            OPENING,
            str(folder),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"begin\n"
        # The moment is what varies here, so nothing but time can choose it.
        await asyncio.sleep(chance.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        await child.communicate()
        async with opened(folder, SystemClock()) as store:
            assert len(await store.append([append()])) == 1
        assert [path.name for path in folder.iterdir()] == ["relay.db"]
