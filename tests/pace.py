"""How fast this machine is now, so that a bound in milliseconds means the same everywhere.

A bar such as "10 ms of the loop" was set on a quiet machine. Beside busy neighbours the very same
instructions take two or three times as long, as processor time too: caches and hyperthreads are
shared. So a bound is stretched by what a fixed piece of work takes next to what it took there.
"""

import time

_QUIET_MS = 1.0
"""What `_work` took on the machine and in the moment on which the bars were set."""

_TRIES = 5
_MOST = 5.0
"""A machine that is slower still is too slow to tell anything."""


def _work() -> None:
    known: dict[int, str] = {}
    for number in range(20_000):
        known[number & 1023] = str(number)


def stretched(bound: float) -> float:
    """Return the bound, or as many times more as this machine is slower just now."""
    least_ms = float("inf")
    for _ in range(_TRIES):
        started = time.thread_time()
        _work()
        least_ms = min(least_ms, (time.thread_time() - started) * 1000)
    return bound * min(max(least_ms / _QUIET_MS, 1.0), _MOST)
