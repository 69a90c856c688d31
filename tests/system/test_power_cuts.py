"""Power cuts: what was not synced is thrown away, and every acknowledged event is there.

The daemon's real writes and syncs are recorded, the record is cut at random points, and a daemon is
started on what could be left of the disk there.
"""

import asyncio
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prynt_relay.daemon.relay import DATABASE_FILE
from prynt_relay.model import ids
from tests.integration.receivers import Receiver
from tests.programs import program
from tests.system.daemons import HOST, Daemon
from tests.system.power.disk import Disk, Record, read_records

SOURCE = Path(__file__).parent / "power" / "record.c"
DATA = {"text": "x" * 900}
DAEMONS = 2
"""How many are started beside each other."""
UNSAFE = (sys.executable, "-m", "tests.system.power.unsafe_daemon")


class Recording:
    """A daemon's run under load, with what it wrote and what it acknowledged when."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemon = Daemon(folder, delivery={"retry_schedule": ["1s"]})
        self.base = folder / "base"
        self.trace = folder / "trace"
        self.acknowledged: list[tuple[int, str]] = []
        """How much had been recorded when an ack was read, and the event's id."""

    async def make(self, receiver: Receiver, events: int, program: tuple[str, ...] = ()) -> None:
        daemon = self.daemon
        await daemon.start()
        await daemon.webhook(receiver.url)
        await daemon.stop()
        shutil.copytree(daemon.state_dir, self.base)
        library = self.folder / "record.so"
        compiler = _compiler()
        await asyncio.to_thread(
            subprocess.run,
            [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"],
            check=True,
        )
        daemon.env = {
            "LD_PRELOAD": str(library),
            "RECORD_FOLDER": str(daemon.state_dir),
            "RECORD_TO": str(self.trace),
        }
        await daemon.start(program=program)
        await asyncio.gather(*(self._publish(events // 4, number) for number in range(4)))
        await daemon.kill()
        daemon.env = {}

    async def _publish(self, count: int, number: int) -> None:
        async with self.daemon.publisher() as lines:
            sent = 0
            while sent < count:
                burst = random.Random(sent * 7 + number).randrange(1, 40)
                for _ in range(burst):
                    lines.writer.write(_line(f"{number}-{sent}"))
                    sent += 1
                for _ in range(burst):
                    answer = await lines.answer()
                    assert answer["ok"], answer
                    self.acknowledged.append((self.trace.stat().st_size, answer["eventId"]))


def _line(key: str) -> bytes:
    text = '{"eventType":"verdict.block","data":{"text":"%s"},"idempotencyKey":"%s"}\n'
    return (text % (DATA["text"], key)).encode()


def _compiler() -> str:
    return program("gcc", "gcc")


def cuts(recording: Recording, count: int, seed: int) -> Iterator[tuple[int, Path]]:
    """What is left of the disk at random points, and how much had been recorded at each.

    Made one at a time: hundreds of databases beside each other would need gigabytes.
    """
    rng = random.Random(seed)
    records: list[Record] = list(read_records(recording.trace))
    chosen = sorted(rng.sample(range(len(records)), min(count, len(records))))
    disk = Disk(recording.base)
    done = 0
    for number in chosen:
        while done < number:
            disk.apply(records[done])
            done += 1
        target = recording.folder / f"cut-{number}"
        disk.after_a_cut(target, rng)
        yield records[number].position, target


def event_ids(state_dir: Path) -> set[str]:
    """The events in a database, with the check that SQLite makes of it."""
    with sqlite3.connect(state_dir / DATABASE_FILE) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        assert verdict == "ok"
        orphans = connection.execute(
            """SELECT count(*) FROM events WHERE delivery_count <>
                   (SELECT count(*) FROM deliveries WHERE event = events.id)"""
        ).fetchone()[0]
        assert orphans == 0
        rows = connection.execute("SELECT id, received_at_ms FROM events").fetchall()
    return {ids.event_id(row, received_at_ms) for row, received_at_ms in rows}


async def lost_after(recording: Recording, cut: tuple[int, Path]) -> tuple[int, str]:
    """Start a daemon on a cut; returns how many acknowledged events are missing, or why not."""
    position, state_dir = cut
    folder = recording.folder / f"start-{state_dir.name}"
    folder.mkdir()
    daemon = Daemon(folder)
    shutil.move(state_dir, daemon.state_dir)
    try:
        await daemon.start()
    except AssertionError as error:
        return 0, str(error)
    finally:
        await daemon.kill()
    found = await asyncio.to_thread(event_ids, daemon.state_dir)
    acknowledged = {event for at, event in recording.acknowledged if at <= position}
    shutil.rmtree(folder)
    return len(acknowledged - found), ""


async def run(
    folder: Path, *, events: int, count: int, seed: int = 1, program: tuple[str, ...] = ()
) -> list[int]:
    """Record a run, cut it `count` times; returns what each cut lost."""
    async with Receiver(host=HOST) as receiver:
        recording = Recording(folder)
        await recording.make(receiver, events, program)
    made = cuts(recording, count, seed)
    losses: list[int] = []

    async def start_after_each() -> None:
        for cut in made:  # whoever is free takes the next one
            lost, why = await lost_after(recording, cut)
            assert not why, f"the database does not open after a cut: {why}"
            losses.append(lost)

    async with asyncio.TaskGroup() as group:
        for _ in range(DAEMONS):
            group.create_task(start_after_each())
    return losses


@pytest.mark.timeout(120)
async def test_some_power_cuts_lose_nothing(tmp_path: Path) -> None:
    """After each of eight cuts the database opens and has every acknowledged event."""
    assert await run(tmp_path, events=600, count=8) == [0] * 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.timeout(600)
async def test_five_hundred_power_cuts_lose_nothing(tmp_path: Path, seed: int) -> None:
    """The same with five times a hundred, over checkpoints and settling attempts."""
    lost = await run(tmp_path, events=4_000, count=100, seed=seed)
    print(f"{len(lost)} cuts, {sum(lost)} acknowledged events lost")
    assert lost == [0] * 100


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_without_syncs_the_same_cuts_do_lose(tmp_path: Path) -> None:
    """With `synchronous=OFF` acknowledged events are lost, which shows that the cuts can tell."""
    lost = 0
    try:
        lost = sum(await run(tmp_path, events=2_000, count=40, program=UNSAFE))
    except* (AssertionError, sqlite3.DatabaseError):
        lost = 1  # worse than lost: a database that doesn't open or isn't whole
    assert lost > 0
