"""Attempts as they happen, for any number of readers up to a bound.

Streams are read from the database, in the order of settling, so that what a stream shows and what
it resumes from is one thing. The hub reads what is new once for all readers and keeps the last
of it; a reader who is further behind reads its own pages from the database, at its own pace. So
no reader has a buffer that could grow: it has a position. One that is more than `REPLAY` attempts
behind is told that it missed some (`Gap`) and goes on from there.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from prynt_relay.api.doors import Storage
from prynt_relay.api.outputs import ENCODER
from prynt_relay.api.presenters import streamed
from prynt_relay.api.problems import ProblemError
from prynt_relay.clock import Clock, wall_offset_ms
from prynt_relay.errors import ShuttingDownError
from prynt_relay.store.history_stream import StreamedAttempt, attempts_between, newest_attempt

REPLAY: Final = 10_000
"""How many attempts back a reader may resume."""

MAX_READERS: Final = 100
"""Open streams; one more is refused with 503."""

_PAGE: Final = 500
_KEPT: Final = 2_000
"""Attempts kept for all readers, about 1 MB; beyond, a reader goes to the database itself."""

_PAUSE_S: Final = 0.1
"""Between two reads, so that a busy relay reads ten times a second and not at every commit."""

_POLL_S: Final = 1.0
"""With readers there, look for news this often even if nobody told of any."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One attempt, encoded for the wire."""

    row: int
    webhook_row: int
    data: bytes


class Gap(msgspec.Struct, frozen=True):
    """Attempts up to `last_row` that a reader will not get; how many, if that is known."""

    last_row: int
    missed: int | None


class Hub:
    """Tells readers of attempts; costs next to nothing while there are none."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        replay: int = REPLAY,
        max_readers: int = MAX_READERS,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._replay = replay
        self._max_readers = max_readers
        self._readers = 0
        self._wake = asyncio.Event()
        self._news: asyncio.Future[None] | None = None
        self._kept: deque[Frame] = deque(maxlen=_KEPT)
        # All attempts up to `tail` were looked at; those after `start` are in `_kept`.
        self._start = self._tail = 0
        self._closed = False

    def publish(self, batch: Sequence[object]) -> None:
        """Take note that attempts were settled and are on disk."""
        if self._readers and batch:
            self._wake.set()

    async def run(self) -> None:
        """Read what is new whenever there is some, for ever; to be supervised."""
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 that can swallow a cancellation.
                async with asyncio.timeout(_POLL_S if self._readers else None):
                    await self._wake.wait()
            self._wake.clear()
            if self._readers:
                await self._read_news()
                await self._clock.sleep(_PAUSE_S)

    async def close(self) -> None:
        """End all streams; new ones are refused."""
        self._closed = True
        self._tell()

    @property
    def closed(self) -> bool:
        """Whether streams are to end."""
        return self._closed

    @property
    def tail(self) -> int:
        """The newest attempt that readers are told of."""
        return self._tail

    @asynccontextmanager
    async def reader(
        self, webhook_row: int | None, after_row: int | None
    ) -> AsyncIterator["Reader"]:
        """Follow the attempts of one webhook or all, after `after_row` or from now on.

        Raises ProblemError (503) when there are too many readers, ShuttingDownError at the end.
        """
        if self._closed:
            raise ShuttingDownError("the relay is shutting down; connect again later")
        if self._readers >= self._max_readers:
            raise ProblemError(
                503,
                "too_many_streams",
                f"{self._max_readers} streams are open already; close one, or try again later",
                headers={"Retry-After": "30"},
            )
        self._readers += 1
        try:
            newest = await self._storage.read(newest_attempt)
            if self._readers == 1 or newest - self._tail > _KEPT:
                self._restart(newest)
            self._wake.set()  # what was settled since that read
            yield Reader(self, webhook_row, newest if after_row is None else after_row, newest)
        finally:
            self._readers -= 1
            if not self._readers:
                self._restart(self._tail)

    def _restart(self, row: int) -> None:
        """Forget what is kept and go on after `row`."""
        self._kept.clear()
        self._start = self._tail = max(row, self._tail)

    async def _read_news(self) -> None:
        newest = await self._storage.read(newest_attempt)
        if newest - self._tail > _KEPT:
            self._restart(newest - _KEPT)
        while self._tail < newest:
            after, up_to = self._tail, min(self._tail + _PAGE, newest)
            frames = await self.frames(after, up_to)
            if after != self._tail:
                return  # begun anew meanwhile
            for frame in frames:
                if len(self._kept) == _KEPT:
                    self._start = self._kept[0].row
                self._kept.append(frame)
            self._tail = up_to
            self._tell()

    async def frames(self, after_row: int, up_to_row: int) -> list[Frame]:
        """Read the attempts in `(after_row, up_to_row]`."""
        found = await self._storage.read(lambda conn: attempts_between(conn, after_row, up_to_row))
        offset_ms = wall_offset_ms(self._clock)
        return [_frame(attempt, offset_ms) for attempt in found]

    def kept_after(self, row: int) -> list[Frame] | None:
        """Return the kept attempts after `row`; None where some of them are no longer kept."""
        if row < self._start:
            return None
        return [frame for frame in self._kept if frame.row > row]

    @property
    def start(self) -> int:
        """Attempts after this one are kept."""
        return self._start

    @property
    def replay(self) -> int:
        """How many attempts back a reader may be."""
        return self._replay

    def now(self) -> float:
        """Seconds on a clock for durations."""
        return asyncio.get_running_loop().time()

    async def news(self, timeout_s: float) -> None:
        """Return when there is something new, at the end, or after `timeout_s`."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._news], timeout=timeout_s)

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set_result(None)
            self._news = None


class Reader:
    """One stream's position; see `Hub.reader`."""

    def __init__(self, hub: Hub, webhook_row: int | None, after_row: int, newest: int) -> None:
        self._hub = hub
        self._webhook_row = webhook_row
        self._position = after_row
        self._ahead = after_row > newest

    async def next(self, timeout_s: float) -> list[Frame] | Gap | None:
        """Return what comes next: attempts, a gap, `[]` after `timeout_s`, None at the end."""
        deadline = self._hub.now() + timeout_s
        while not self._hub.closed:
            gap = self._gap()
            if gap is not None:
                return gap
            left_s = deadline - self._hub.now()
            if self._position >= self._hub.tail and left_s > 0:
                await self._hub.news(left_s)
                continue
            if left_s <= 0:
                return []
            frames = await self._behind()
            if self._webhook_row is not None:
                frames = [frame for frame in frames if frame.webhook_row == self._webhook_row]
            if frames:
                return frames
        return None

    def _gap(self) -> Gap | None:
        if self._ahead:
            # The database is older than what this reader saw: a backup was restored.
            self._ahead = False
            self._position = self._hub.tail
            return Gap(self._position, None)
        missed = self._hub.tail - self._position - self._hub.replay
        if missed <= 0:
            return None
        self._position += missed
        # Of one webhook's, counting would mean reading them.
        return Gap(self._position, missed if self._webhook_row is None else None)

    async def _behind(self) -> list[Frame]:
        """Return the next attempts after the position, and move it."""
        tail = self._hub.tail
        frames = self._hub.kept_after(self._position)
        if frames is None:
            tail = min(self._position + _PAGE, self._hub.start)
            frames = await self._hub.frames(self._position, tail)
        self._position = tail
        return frames


def _frame(attempt: StreamedAttempt, offset_ms: int) -> Frame:
    data = b"id: %d\nevent: attempt\ndata: %b\n\n" % (
        attempt.row,
        ENCODER.encode(streamed(attempt, offset_ms)),
    )
    return Frame(attempt.row, attempt.webhook_row, data)
