"""Runs the installed daemon with a watchdog inside its event loop.

    python -m tests.bench.watched PROGRAM serve …

Every 5 ms the loop is asked to call back. A call that comes more than 5 ms late is a line in the
file `$BENCH_LATENESS`: when (monotonic seconds), how late, for how long of that the loop's thread
was runnable but had no processor, which is the machine's doing, and for how long it ran (all ms).
`$BENCH_RETENTION_S` makes retention's passes follow each other sooner than once a minute.
"""

import asyncio
import os
import runpy
import sys
import time

import uvloop

from prynt_relay.daemon import housekeeping

EVERY_S = 0.005
NOTED_S = 0.005


class Watchdog:
    """Notices how long the loop keeps a timer waiting."""

    def __init__(self, loop: asyncio.AbstractEventLoop, file: str) -> None:
        self._loop = loop
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._statistics = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        loop.call_soon(self._arm)

    def _waited_s(self) -> float:
        """For how long this thread has waited for a processor so far."""
        return int(os.pread(self._statistics, 100, 0).split()[1]) / 1e9

    def _arm(self) -> None:
        self._waited = self._waited_s()
        self._ran = time.thread_time()
        self._due = self._loop.time() + EVERY_S
        self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        late_s = self._loop.time() - self._due
        if late_s > NOTED_S:
            waited_s = min(self._waited_s() - self._waited, late_s)
            ran_s = time.thread_time() - self._ran
            figures = (time.monotonic(), late_s * 1000, waited_s * 1000, ran_s * 1000)
            line = " ".join(f"{figure:.3f}" for figure in figures)
            os.write(self._file, f"{line}\n".encode())
        self._arm()


def main() -> None:
    make = uvloop.new_event_loop
    file = os.environ["BENCH_LATENESS"]

    def watched() -> uvloop.Loop:
        loop = make()
        Watchdog(loop, file)
        return loop

    uvloop.new_event_loop = watched
    if retention_s := os.environ.get("BENCH_RETENTION_S"):
        housekeeping.RETENTION_S = float(retention_s)  # type: ignore[misc]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
