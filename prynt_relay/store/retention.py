"""The retention pass: decides what goes, step by step between the batches of live traffic."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from prynt_relay.clock import Age, Clock
from prynt_relay.store import outbox, purge
from prynt_relay.store.dedup import Dedup
from prynt_relay.store.numbers import Numbers
from prynt_relay.store.purge import Purged

T = TypeVar("T")

STEP_ROWS: Final = 500
"""Rows that one step deletes: a few milliseconds."""

RESTS: Final = ((60.0, 19), (300.0, 4))
"""Until a pass has lasted so many seconds it rests after each step for so many times as long as the
step held the writer: it takes a twentieth of the writer's time, some 5,000 events a second."""

REST_BEHIND: Final = 1
"""The same from then on. A pass that goes on and on is one that history outgrows: without more of
the writer's time the database would grow for as long as that much comes in."""

_NO_LIMIT_MS: Final = 1 << 62


class BulkWrites(Protocol):
    """Runs a function in a transaction of its own, in the writer's order."""

    def __call__(self, function: Callable[[sqlite3.Connection], T], rows: int) -> asyncio.Future[T]:
        """Enqueue it."""
        ...


class Retention:
    """Remembers from pass to pass which free pages nobody needed."""

    def __init__(
        self,
        clock: Clock,
        numbers: Numbers,
        dedup: Dedup,
        write: BulkWrites,
        read: Callable[
            [Callable[[sqlite3.Connection], tuple[int, int, int]]], Awaitable[tuple[int, int, int]]
        ],
    ) -> None:
        self._clock = clock
        self._age = Age(clock)
        self._numbers = numbers
        self._dedup = dedup
        self._write = write
        self._read = read
        self._free_after_pass = 0
        self._began = clock.monotonic()

    async def run(
        self, history_s: float, max_size: int, on_step: Callable[[Purged], None]
    ) -> Purged:
        """One pass; see `Store.purge`."""
        self._began = self._clock.monotonic()
        now_ms = self._age.now_ms()
        cutoff_ms = now_ms - int(history_s * 1000)
        _, free_before, _ = await self._read(purge.page_counts)
        purged = await self._purge(cutoff_ms, on_step, max_pages=None)
        pages, free, page_bytes = await self._read(purge.page_counts)
        max_pages = max_size // page_bytes
        if pages - free > max_pages:
            purged.add(await self._purge(_NO_LIMIT_MS, on_step, max_pages=max_pages))
        await self._steps(lambda raw: self._dedup.forget(raw, now_ms))
        await self._steps(purge.purge_webhooks)
        await self._steps(lambda raw: outbox.purge(raw, cutoff_ms, STEP_ROWS))
        await self._give_back(free_before, max_pages)
        return purged

    async def _purge(
        self, before_ms: int, on_step: Callable[[Purged], None], max_pages: int | None
    ) -> Purged:
        """Delete settled history until none is left, or until no more than `max_pages` are used."""
        purged = Purged()
        after: purge.Position | None = purge.START
        while after is not None:
            step = await self._step(
                partial(
                    purge.purge_step,
                    numbers=self._numbers,
                    after=after,
                    before_ms=before_ms,
                    limit=STEP_ROWS,
                )
            )
            on_step(step.purged)
            purged.add(step.purged)
            after = step.after
            if max_pages is not None and step.used_pages <= max_pages:
                break
        return purged

    async def _give_back(self, free_before: int, max_pages: int) -> None:
        """Shorten the file by the pages that were free all through the time between two passes.

        What was freed just now the coming events will fill: giving it back would only move
        pages about. Beyond `max_size` everything free goes.
        """
        pages, free, _ = await self._read(purge.page_counts)
        surplus = min(self._free_after_pass, free_before)
        keep = 0 if pages > max_pages else max(0, free - surplus)
        while free > keep:
            wanted = min(purge.VACUUM_PAGES, free - keep)
            left = await self._step(partial(purge.vacuum_step, pages=wanted))
            if left >= free:
                break
            free = left
        self._free_after_pass = free

    async def _steps(self, function: Callable[[sqlite3.Connection], int]) -> None:
        """Repeat until there is nothing to do."""
        while await self._step(function):
            pass

    async def _step(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """One step and the rest after it, which counts from when the writer had time for it."""
        began = self._clock.monotonic()

        def timed(connection: sqlite3.Connection) -> T:
            nonlocal began
            began = self._clock.monotonic()
            return function(connection)

        result = await self._write(timed, STEP_ROWS)
        ended = self._clock.monotonic()
        if ended > began:
            await self._clock.sleep(self._rest(ended - self._began) * (ended - began))
        return result

    @staticmethod
    def _rest(pass_lasted_s: float) -> int:
        for until_s, rest in RESTS:
            if pass_lasted_s < until_s:
                return rest
        return REST_BEHIND
