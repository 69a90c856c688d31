"""A clock in the tests' hands."""

import asyncio
import heapq
import itertools
from collections.abc import Callable


class FakeTimer:
    """What `FakeClock.call_later` returns."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """Wall, schedule and monotonic time move only when a test says so, and together."""

    def __init__(self, start_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = float(start_ms)
        self._start_ms = start_ms
        self.wall_offset_ms = 0
        self._timers: list[tuple[float, int, FakeTimer, Callable[[], None]]] = []
        self._order = itertools.count()

    def wall_ms(self) -> int:
        return int(self._now_ms) + self.wall_offset_ms

    def schedule_ms(self) -> int:
        return int(self._now_ms)

    def monotonic(self) -> float:
        return (self._now_ms - self._start_ms) / 1000

    def not_before(self, schedule_ms: int) -> None:
        self._now_ms = max(self._now_ms, float(schedule_ms))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer()
        due = self._now_ms + max(seconds, 0) * 1000
        heapq.heappush(self._timers, (due, next(self._order), timer, callback))
        return timer

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await woken
        finally:
            timer.cancel()

    def next_timer_ms(self) -> float | None:
        """When the next timer is due, or None."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    async def advance(self, seconds: float, settle: Callable[[], object] | None = None) -> None:
        """Let `seconds` pass, firing timers in order and giving the loop turns in between."""
        end_ms = self._now_ms + seconds * 1000
        await turns()
        while (due := self.next_timer_ms()) is not None and due <= end_ms:
            _, _, timer, callback = heapq.heappop(self._timers)
            self._now_ms = max(self._now_ms, due)
            if not timer.cancelled:
                callback()
            await turns()
        self._now_ms = end_ms
        await turns()

    async def jump(self, seconds: float) -> None:
        """Let `seconds` pass at once: what was due in between fires now, each timer once."""
        self._now_ms += seconds * 1000
        due = [heapq.heappop(self._timers) for _ in range(self._count_due())]
        for _, _, timer, callback in due:
            if not timer.cancelled:
                callback()
        await turns()

    def _count_due(self) -> int:
        return sum(due <= self._now_ms for due, *_ in self._timers)


async def turns(count: int = 20) -> None:
    """Let what is ready to run on the loop run.

    Where nothing is ready further turns would be empty ones: a day of a fake clock has a million.
    """
    # asyncio's own loop tells; of another one all turns are taken.
    ready = getattr(asyncio.get_running_loop(), "_ready", True)
    for _ in range(count):
        await asyncio.sleep(0)
        if not ready:
            return
