"""The database on a real file, each call taking its time, and what a killed process leaves."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.simulation.sim_world import SimClock

T = TypeVar("T")


class Disk:
    """Where the database of the present run is."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder = folder
        self._rng = rng
        self._number = 0
        self._connections: list[sqlite3.Connection] = []
        self.transitions: set[tuple[int, int]] = set()
        (folder / "0").mkdir()

    @property
    def state_dir(self) -> Path:
        """The state folder of the present run."""
        return self._folder / str(self._number)

    async def open(
        self, connect: Callable[[], sqlite3.Connection], clock: SimClock
    ) -> "SimConnection":
        """Connect, as `Store.open` wants it."""
        raw = connect()
        self._connections.append(raw)
        return SimConnection(raw, self._rng, clock)

    def watch_states(self, raw: sqlite3.Connection) -> None:
        """Note every change of a delivery's state but those of samples."""
        raw.create_function("sim_transition", 2, lambda old, new: self.transitions.add((old, new)))
        raw.execute(
            """CREATE TEMP TRIGGER sim_states AFTER UPDATE OF state ON main.deliveries
               WHEN old.state <> new.state
                   AND (SELECT is_test FROM main.events WHERE id = old.event) = 0
               BEGIN SELECT sim_transition(old.state, new.state); END"""
        )

    def crash(self) -> None:
        """Go on with a copy of the files as the killed process left them."""
        before = self.state_dir
        self._number += 1
        self.state_dir.mkdir()
        for name in ("relay.db", "relay.db-wal"):
            if (before / name).exists():
                shutil.copyfile(before / name, self.state_dir / name)
        self.drop()
        shutil.rmtree(before)

    def drop(self) -> None:
        """Let go of the connections of a run that is over."""
        for raw in self._connections:
            raw.close()
        self._connections.clear()


class SimConnection:
    """A connection whose thread answers now and then at once, mostly a little later.

    Like a thread, it does one thing after the other, and does it even if nobody waits any more.
    """

    def __init__(self, raw: sqlite3.Connection, rng: random.Random, clock: SimClock) -> None:
        self.raw = raw
        self._rng = rng
        self._clock = clock
        self._turn = asyncio.Lock()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        async with self._turn:
            await self._pause()
            result = function(self.raw)
            await self._pause()
            return result

    async def _pause(self) -> None:
        """Some turns of the loop or some milliseconds; now and then the disk is really slow."""
        chance = self._rng.random()
        if chance < 0.8:
            await asyncio.sleep(0)
        elif chance < 0.998:
            await self._clock.sleep((chance - 0.799) / 10)  # up to 20 ms
        else:
            await self._clock.sleep(self._rng.uniform(0.2, 0.9))

    async def close(self) -> None:
        async with self._turn:
            self.raw.close()
