"""Time, passed in: the wall's, the schedule's and the monotonic one.

Three readings, each for its own use:

* `wall_ms` is what people and receivers read: creation times, signatures' timestamps.
* `schedule_ms` is what retries and the 24-hour rule run on. It starts at the wall's time and then
  follows it by slewing at most `MAX_SLEW`, so a wall that jumps neither stalls the schedule nor
  makes everything due at once. It never goes backwards.
* `monotonic` measures durations.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

MAX_SLEW: Final = 0.01
"""How much faster or slower than real time the schedule may run to meet the wall again: 1 %."""


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """Take it back; harmless when it was made already."""
        ...


class Clock(Protocol):
    """What every room that needs the time is given."""

    def wall_ms(self) -> int:
        """Unix time in milliseconds, as the operating system has it."""
        ...

    def schedule_ms(self) -> int:
        """The schedule's time in milliseconds; near the wall's, never stepping, never back."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; for durations only."""
        ...

    def not_before(self, schedule_ms: int) -> None:
        """Move the schedule's time forward to `schedule_ms` if it is behind.

        A daemon passes the schedule's last known time, so that a wall set back between two runs
        doesn't put off what is scheduled.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed on the monotonic clock."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once `seconds` have passed, unless it is cancelled before."""
        ...


def wall_offset_ms(clock: Clock) -> int:
    """What to add to the schedule's time to tell people when something will be.

    In whole seconds: what was told once isn't told again as a millisecond later.
    """
    return round((clock.wall_ms() - clock.schedule_ms()) / 1000) * 1000


AHEAD_MS: Final = 3_600_000
"""A wall that is further ahead of the schedule than this was set, or the machine was asleep."""

BELIEVED_AFTER_S: Final = 86_400.0
"""How long a wall has to stay ahead until what is kept for a time grows older by it: a day in
which somebody can set it right."""


class Age:
    """What time it is for what goes once it is old enough, and can't be had back.

    A wall that is set forward makes nothing older, until it has stayed so for a day.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_since: float | None = None

    def now_ms(self) -> int:
        """Unix time in milliseconds; to be asked more often than once a day."""
        wall_ms, schedule_ms = self._clock.wall_ms(), self._clock.schedule_ms()
        now = self._clock.monotonic()
        if wall_ms - schedule_ms < AHEAD_MS:
            self._ahead_since = None
            return wall_ms
        if self._ahead_since is None:
            self._ahead_since = now
        return wall_ms if now - self._ahead_since >= BELIEVED_AFTER_S else schedule_ms


async def sleep_unless(clock: Clock, event: asyncio.Event, seconds: float) -> bool:
    """Sleep, but no longer than until `event` is set; returns whether it is."""
    waits = asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return event.is_set()


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._schedule_ms = float(self.wall_ms())
        self._read_at = self.monotonic()

    def wall_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def schedule_ms(self) -> int:
        """Unix time in milliseconds that follows the wall's by slewing."""
        now = self.monotonic()
        elapsed_ms = (now - self._read_at) * 1000
        self._read_at = now
        behind_ms = self.wall_ms() - (self._schedule_ms + elapsed_ms)
        slew_ms = elapsed_ms * MAX_SLEW
        self._schedule_ms += elapsed_ms + min(max(behind_ms, -slew_ms), slew_ms)
        return int(self._schedule_ms)

    def not_before(self, schedule_ms: int) -> None:
        """Move the schedule's time forward if it is behind."""
        self._schedule_ms = max(self._schedule_ms, float(schedule_ms))

    def monotonic(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back from the event loop."""
        return asyncio.get_running_loop().call_later(seconds, callback)
