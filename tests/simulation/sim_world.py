"""Simulated time and a loop that runs on it: one thread, no I/O, no chance but the seed's.

Time stands still while anything is ready to run and then moves to the next timer. Everything that
belongs to one run of the relay (its loop, its timers) is dropped at once when that run crashes;
the world and its clocks go on.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Final

from prynt_relay.clock import SystemClock
from prynt_relay.dispatch.dispatcher import Dispatcher
from prynt_relay.dispatch.lane import LEAD_MS

START_MS: Final = 1_790_000_000_000
"""The wall's time at the beginning."""

_TICK: Final = Dispatcher._tick


class WorldTimer:
    """A call that is still to come."""

    __slots__ = ("callback", "owner")

    def __init__(self, callback: Callable[[], None], owner: object) -> None:
        self.callback: Callable[[], None] | None = callback
        self.owner = owner

    def cancel(self) -> None:
        self.callback = None


class World:
    """What time it is, and what happens next. All in milliseconds since the beginning."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wall_offset = 0.0
        self._timers: list[tuple[float, int, WorldTimer]] = []
        self._order = itertools.count()

    def wall_ms(self) -> int:
        return int(START_MS + self.now + self.wall_offset)

    def at(self, due: float, callback: Callable[[], None], owner: object = None) -> WorldTimer:
        timer = WorldTimer(callback, owner)
        heapq.heappush(self._timers, (max(due, self.now), next(self._order), timer))
        return timer

    def forget(self, owner: object) -> None:
        """Drop every timer of a run that ended."""
        for _, _, timer in self._timers:
            if timer.owner is owner:
                timer.callback = None

    def next_ms(self) -> float | None:
        """When the next timer is due, or None."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def fire_next(self) -> None:
        """Move to the next timer and call it."""
        due, _, timer = heapq.heappop(self._timers)
        callback = timer.callback
        if callback is None:
            return
        self.now = due
        if getattr(callback, "__func__", None) is _TICK:
            skip_ms = self._idle_ms(callback.__self__)  # type: ignore[attr-defined]
            if skip_ms > 0:
                heapq.heappush(self._timers, (due + skip_ms, next(self._order), timer))
                return
        timer.callback = None
        callback()

    def _idle_ms(self, dispatcher: Dispatcher) -> float:
        """For how many whole seconds the dispatcher's ticks would find nothing to do.

        It looks around once a second, which nobody sees while nothing is due. Those ticks are
        left out, the last one before anything else happens is not: days pass in little time and
        everything is where it would have been.
        """
        slots = dispatcher._slots
        if slots._first or slots._second or slots._third:
            return 0
        now_ms = dispatcher._clock.schedule_ms()
        until = self.next_ms()
        ahead = 1e12 if until is None else until - self.now
        backlog = dispatcher._backlog
        ahead = min(ahead, (backlog.next_due_ms() - now_ms) / 1.01)
        pages = backlog._pager._due
        if pages:
            ahead = min(ahead, (pages[0][0] - LEAD_MS - now_ms) / 1.01)
        return max((ahead - 1) // 1000, 0) * 1000


class SimClock(SystemClock):
    """The real clock's slewing over the world's time; one for each run of the relay."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read_now = -1.0
        super().__init__()

    def wall_ms(self) -> int:
        return self._world.wall_ms()

    def schedule_ms(self) -> int:
        if self._world.now == self._read_now:  # asked a dozen times before time moves on
            return int(self._schedule_ms)
        self._read_now = self._world.now
        return super().schedule_ms()

    def monotonic(self) -> float:
        return self._world.now / 1000

    def call_later(self, seconds: float, callback: Callable[[], None]) -> WorldTimer:
        return self._world.at(self._world.now + max(seconds, 0) * 1000, callback, self)

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


class SimHandle:
    """A callback that is ready to run; asyncio's own costs a good deal more to make and to run."""

    __slots__ = ("args", "callback", "context")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None


class SimTask(asyncio.Task[Any]):
    """A task whose place in a set is its number's.

    A task hashes by its address, which no seed decides: a set of them that are cancelled one
    after the other would have another order in the next run.
    """

    number = 0

    def __hash__(self) -> int:
        return self.number


class SimLoop(asyncio.AbstractEventLoop):
    """Runs what is ready, first come, first served; one for each run of the relay."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._queue: deque[SimHandle] = deque()
        self._dead = False
        self._tasks_made = 0
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.errors: list[str] = []

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._clock.monotonic()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._dead

    def is_closed(self) -> bool:
        return self._dead

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimHandle:
        handle = SimHandle(callback, args, copy_context() if context is None else context)
        if not self._dead:
            self._queue.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)

        def run() -> None:
            if not handle.cancelled():
                handle._run()

        def ready() -> None:
            if not handle.cancelled():
                self.call_soon(run)

        self._clock.call_later(when - self.time(), ready)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It looks itself when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[Any]:
        self._tasks_made += 1
        task = SimTask(coro, loop=self, name=name or "", context=context)
        task.number = self._tasks_made
        self.tasks[task] = None
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._dead:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    # What the simulation asks.

    @property
    def ready(self) -> bool:
        return bool(self._queue)

    def run_ready(self, most: int) -> int:
        """Run callbacks, each up to its next await, until none is ready or `most` were run.

        Returns how many that were. Most of a simulation's time goes by in here.
        """
        queue, count = self._queue, 0
        while queue and count < most:
            handle = queue.popleft()
            count += 1
            callback = handle.callback
            if callback is not None:
                try:
                    handle.context.run(callback, *handle.args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - as asyncio's own loops do
                    self.call_exception_handler({"message": repr(callback), "exception": error})
        return count

    def kill(self) -> None:
        """Nothing of this run happens any more; nothing is closed or awaited."""
        self._dead = True
        self._queue.clear()
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
