import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar, cast

from prynt_relay.clock import Clock
from prynt_relay.store.dedup import Dedup
from prynt_relay.store.numbers import Numbers
from prynt_relay.store.retention import Retention

T = TypeVar("T")

QUEUED_S, HELD_S = 0.5, 0.01


class SpentTime:
    """A clock on which time passes only where somebody spends it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)


async def test_a_pass_that_history_outgrows_takes_more_of_the_writers_time() -> None:
    """It rests for a multiple of what it held the writer, less so the longer it has lasted."""
    clock = SpentTime()

    def write(function: Callable[[sqlite3.Connection], T], rows: int) -> asyncio.Future[T]:
        clock.now_s += QUEUED_S
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.set_result(function(cast(sqlite3.Connection, None)))
        return future

    async def read(_: object) -> tuple[int, int, int]:
        return (0, 0, 4096)

    def step(_: sqlite3.Connection) -> int:
        clock.now_s += HELD_S
        return 0

    retention = Retention(cast(Clock, clock), cast(Numbers, None), cast(Dedup, None), write, read)
    for lasted_s in (1, 100, 1000):
        clock.now_s = lasted_s
        await retention._step(step)
    assert [round(slept_s / HELD_S) for slept_s in clock.slept_s] == [19, 4, 1]
