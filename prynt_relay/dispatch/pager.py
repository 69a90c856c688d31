"""Reads what is due soon from the database: pages of deliveries, and events that aren't at hand."""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Final

from prynt_relay.clock import Clock
from prynt_relay.dispatch.doors import DeliveryStore
from prynt_relay.dispatch.lane import LEAD_MS, NEVER, PAGE_ROWS, Lane
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.event import StoredEvent

PAGES_AT_ONCE: Final = 4
"""Pages read at the same time; the other webhooks wait their turn, each in line once."""

PREFETCH_ROWS: Final = 32
PREFETCH_MOST_ROWS: Final = 96
PREFETCH_BYTES: Final = 1024 * 1024
"""How much payload a page brings along; the rest is read when its turn comes. The rows bound what
one look may bring where small events are followed by large ones."""

EVENTS_AT_ONCE: Final = 128
"""Most events read in one go."""


class Pager:
    """Notices which lanes need a page and reads it."""

    def __init__(
        self,
        store: DeliveryStore,
        clock: Clock,
        *,
        on_page: Callable[[Lane, list[DueDelivery]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_page = on_page
        # When lanes want their next page; an entry is void once its lane wants another time.
        # Bounded: a lane adds one only when its time moves forward, and old ones are popped.
        self._due: list[tuple[float, int, Lane]] = []
        self._watched: dict[int, float] = {}
        self._order = itertools.count()
        self._waiting: deque[Lane] = deque()
        self._asked: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def watch(self, lane: Lane) -> None:
        """Look at this lane again when the first of what the database has for it is due soon."""
        self._look_at(lane, lane.stored_from_ms)

    def _look_at(self, lane: Lane, when_ms: float) -> None:
        if when_ms == NEVER or lane.paused:
            return
        if self._watched.get(lane.webhook_row, NEVER) > when_ms:
            self._watched[lane.webhook_row] = when_ms
            heapq.heappush(self._due, (when_ms, next(self._order), lane))

    def ask_for_due(self, now_ms: int) -> None:
        """Ask for the pages whose time has come."""
        soon_ms = now_ms + LEAD_MS
        while self._due and self._due[0][0] <= soon_ms:
            when_ms, _, lane = heapq.heappop(self._due)
            if self._watched.get(lane.webhook_row) == when_ms:
                del self._watched[lane.webhook_row]
            self.ask(lane)
            # Its time may have moved since, or memory is full for now: never lose sight of it.
            self._look_at(lane, max(lane.stored_from_ms, soon_ms + 1000))

    def ask(self, lane: Lane) -> None:
        """Read a page for this lane if it wants one; once at a time."""
        if (
            self._stopped
            or id(lane) in self._asked
            or not lane.wants_page(self._clock.schedule_ms())
        ):
            return
        self._asked.add(id(lane))
        self._waiting.append(lane)
        if len(self._tasks) < PAGES_AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._read_pages())
            self._tasks.add(task)
            task.add_done_callback(self._reader_done)

    async def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read_pages(self) -> None:
        while self._waiting:
            lane = self._waiting.popleft()
            if not lane.wants_page(self._clock.schedule_ms()):
                self._asked.discard(id(lane))
                continue
            generation = lane.generation
            try:
                page = await self._store.due_page(lane.webhook_row, lane.start_page(), PAGE_ROWS)
                if lane.prefetch:
                    await self._prefetch(page)
            except BaseException:
                lane.forget()
                raise
            finally:
                self._asked.discard(id(lane))
            if lane.generation == generation:
                self._on_page(lane, page)
            else:
                # Everything changed while it was read: paused, or more than the overlay holds.
                self.watch(lane)

    async def _prefetch(self, page: list[DueDelivery]) -> None:
        """Read the events of what is due now, up to `PREFETCH_BYTES`."""
        now_ms = self._clock.schedule_ms()
        due = [delivery for delivery in page if delivery.due_ms <= now_ms]
        room, rows, start = PREFETCH_BYTES, PREFETCH_ROWS, 0
        while start < len(due) and room > 0:
            part = due[start : start + rows]
            start += rows
            events = await self._store.events(list({delivery.event_row for delivery in part}))
            size = 0
            for delivery in part:
                delivery.event = event = events.get(delivery.event_row)
                size += len(event.data) if event is not None else 0
            room -= size
            # Each look costs a hop to another thread: the next brings as many as there is room
            # for, if they are as large as these.
            rows = max(1, min(PREFETCH_MOST_ROWS, room * len(part) // max(size, 1)))

    def _reader_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "reading due deliveries failed", "exception": error}
            )


class EventLoader:
    """Reads events for attempts, those asked for in one turn of the loop in one go."""

    def __init__(self, store: DeliveryStore) -> None:
        self._store = store
        # Bounded by the slots: each attempt waits for one event.
        self._wanted: dict[int, asyncio.Future[StoredEvent | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, row: int) -> StoredEvent | None:
        """The event in `row`, or None if there is none."""
        future = self._wanted.get(row)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._wanted[row] = loop.create_future()
            if len(self._wanted) == 1:
                task = loop.create_task(self._load())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        # Several deliveries may wait for one event: the first to be cancelled must not take the
        # others' answer away.
        return await asyncio.shield(future)

    async def _load(self) -> None:
        wanted, self._wanted = self._wanted, {}
        rows = list(wanted)
        for start in range(0, len(rows), EVENTS_AT_ONCE):
            part = rows[start : start + EVENTS_AT_ONCE]
            try:
                events = await self._store.events(part)
            except Exception as error:  # noqa: BLE001 - passed on to those who wait
                for row in part:
                    if not wanted[row].done():
                        wanted[row].set_exception(error)
                continue
            for row in part:
                if not wanted[row].done():
                    wanted[row].set_result(events.get(row))
