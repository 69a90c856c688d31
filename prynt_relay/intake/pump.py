"""The bounds that all connections share, and whose turn it is when they are reached."""

import asyncio
import contextlib
from collections import deque
from typing import Final, Protocol

from prynt_relay.errors import RelayError

MAX_UNANSWERED_ROWS: Final = 16_384
"""Rows (events and their deliveries) handed in and unanswered, over all connections; at the bound
lines wait. Within the store's own bound, so that publishers never make it refuse."""

MAX_UNANSWERED_BYTES: Final = 32 * 1024 * 1024
"""The same in bytes of the events' lines."""

MAX_PARTIAL_BYTES: Final = 128 * 1024 * 1024
"""Beginnings of lines held, over all connections; at the bound the one that adds is closed."""


class Holder(Protocol):
    """A connection that holds lines which it has read and not taken up."""

    def turn(self) -> bool:
        """Take up some of the lines; returns whether more of them should have a turn."""
        ...


class Room(Protocol):
    """Where lines go to."""

    async def room(self) -> None:
        """Return when there is room for more."""
        ...


class Pump:
    """Gives connections with held lines a turn each, as far as the bounds allow.

    Below the bounds, and while nobody waits, a connection takes up what it reads at once and never
    comes here. A connection waits here at most once, so the queue is bounded by the connections;
    and one that waits doesn't read, so what it holds is bounded by one read.
    """

    def __init__(
        self,
        room: Room,
        *,
        max_unanswered_rows: int = MAX_UNANSWERED_ROWS,
        max_unanswered_bytes: int = MAX_UNANSWERED_BYTES,
        max_partial_bytes: int = MAX_PARTIAL_BYTES,
    ) -> None:
        self._room = room
        self._max_unanswered_rows = max_unanswered_rows
        self._max_unanswered_bytes = max_unanswered_bytes
        self._max_partial_bytes = max_partial_bytes
        self._unanswered_rows = 0
        self._unanswered_bytes = 0
        self._partial_bytes = 0
        self._waiting: deque[Holder] = deque()
        self._task: asyncio.Task[None] | None = None
        self._eased: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        """Whether a connection may take up lines at once."""
        return self._task is None and not self._full

    @property
    def unanswered_rows(self) -> int:
        """How many rows were handed in and aren't answered."""
        return self._unanswered_rows

    def wait(self, holder: Holder) -> None:
        """Give `holder` turns, from later on, until it says that it needs no more."""
        self._waiting.append(holder)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._ended)

    def took(self, rows: int, size: int) -> None:
        """Count what was handed in."""
        self._unanswered_rows += rows
        self._unanswered_bytes += size

    def answered(self, rows: int, size: int) -> None:
        """Count it back."""
        self._unanswered_rows -= rows
        self._unanswered_bytes -= size
        if self._eased is not None and not self._full:
            if not self._eased.done():
                self._eased.set_result(None)
            self._eased = None

    def hold_partial(self, change: int) -> bool:
        """Count bytes of beginnings of lines; returns whether they are within the bound."""
        self._partial_bytes += change
        return self._partial_bytes <= self._max_partial_bytes

    def stop(self) -> None:
        """Give no more turns."""
        if self._task is not None:
            self._task.cancel()

    @property
    def _full(self) -> bool:
        return (
            self._unanswered_rows >= self._max_unanswered_rows
            or self._unanswered_bytes >= self._max_unanswered_bytes
        )

    async def _run(self) -> None:
        while self._waiting:
            if self._full:
                self._eased = asyncio.get_running_loop().create_future()
                await self._eased
            with contextlib.suppress(RelayError):  # handing the lines in gets them this answer
                await self._room.room()
            holder = self._waiting.popleft()
            if holder.turn():
                self._waiting.append(holder)
            await asyncio.sleep(0)
        # In the same breath as the look at the queue: who comes next must start a new task.
        self._task = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            # Nobody would ever read those connections again: as bad as a task that died.
            task.get_loop().call_exception_handler(
                {"message": "intake's pump failed", "exception": error, "task": task}
            )
