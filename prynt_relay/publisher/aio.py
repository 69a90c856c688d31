"""The publisher for asyncio."""

import asyncio
import os
from collections import deque
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from prynt_relay.publisher.engine import Engine
from prynt_relay.publisher.outbox import Item
from prynt_relay.publisher.outcomes import (
    Accepted,
    BufferFullError,
    ClosedError,
    UnansweredError,
)
from prynt_relay.publisher.request import Data, new_key, request_line

DEFAULT_PATH: Final = Path("/run/prynt-relay/events.sock")


class AsyncPublisher:
    """Publishes events to the relay from an asyncio program.

        async with AsyncPublisher() as publisher:
            accepted = await publisher.publish("visitor.new", {"visitorId": "pv_8kX2mNqR3jT7p"})

    Many `publish` calls may run at once; their events share one connection and are sent, and first
    tried to be stored, in the order of the calls. All methods belong to one event loop.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = DEFAULT_PATH,
        *,
        timeout_s: float | None = 60.0,
        max_events: int = 10_000,
        max_bytes: int = 32 * 1024 * 1024,
        when_full: Literal["wait", "raise"] = "wait",
    ) -> None:
        """Publish to the socket at `path`; the connection is made when the first event comes.

        `timeout_s` is an event's time from the call to the answer, all tries included; None tries
        for ever. `max_events` and `max_bytes` bound what is taken and unanswered; at the bound
        `submit` and `publish` wait, or raise BufferFullError, as `when_full` says.
        """
        self._path = os.fspath(path)
        self._timeout_s = timeout_s
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._events = 0
        self._bytes = 0
        self._waiters: deque[tuple[asyncio.Future[None], int]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def publish(
        self,
        event_type: str,
        data: Data,
        *,
        event_id: str | None = None,
        idempotency_key: str | None = None,
        created_at: datetime | str | None = None,
        timeout_s: float | None = None,
    ) -> Accepted:
        """Publish an event; returns once the relay has it on disk.

        Raises RefusedError (the relay has nothing of it), UnansweredError (its time was over; see
        there), BufferFullError, ClosedError; ValueError or TypeError for data that isn't a JSON
        object. Cancelled, it leaves open whether the event is accepted, as long as it may have
        been sent.
        """
        return await (
            await self.submit(
                event_type,
                data,
                event_id=event_id,
                idempotency_key=idempotency_key,
                created_at=created_at,
                timeout_s=timeout_s,
            )
        )

    async def submit(
        self,
        event_type: str,
        data: Data,
        *,
        event_id: str | None = None,
        idempotency_key: str | None = None,
        created_at: datetime | str | None = None,
        timeout_s: float | None = None,
    ) -> asyncio.Future[Accepted]:
        """Take an event, waiting only for room; the future has what `publish` returns or raises."""
        loop = asyncio.get_running_loop()
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = None if limit_s is None else loop.time() + limit_s
        key = new_key() if idempotency_key is None else idempotency_key
        line = request_line(
            event_type, data, event_id=event_id, idempotency_key=key, created_at=created_at
        )
        await self._take_room(len(line), deadline, key)
        outcome: asyncio.Future[Accepted] = loop.create_future()
        engine = self._running_engine()
        engine.add(Item(line, key, outcome, deadline, self._release))
        return outcome

    async def flush(self) -> None:
        """Return when everything that was taken is answered or has run out of time."""
        await self._idle.wait()

    async def close(self, timeout_s: float = 10.0) -> None:
        """Take nothing more, wait for answers for up to `timeout_s`, and close the connection.

        What is unanswered then ends with UnansweredError. A second call does nothing.
        """
        self._closed = True
        for waiter, _ in self._waiters:
            if not waiter.done():
                waiter.set_exception(ClosedError("the publisher was closed"))
        self._waiters.clear()
        if self._task is None:
            return
        task, self._task = self._task, None
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _running_engine(self) -> Engine:
        if self._engine is None:
            self._engine = Engine(self._path)
            self._task = asyncio.get_running_loop().create_task(self._engine.run())
            self._task.add_done_callback(self._ended)
        return self._engine

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._closed = True

    def _fits(self, size: int) -> bool:
        # One event alone always fits, or it never would.
        return self._events == 0 or (
            self._events < self._max_events and self._bytes + size <= self._max_bytes
        )

    async def _take_room(self, size: int, deadline: float | None, key: str) -> None:
        if self._closed:
            raise ClosedError("the publisher is closed")
        if not self._fits(size) and self._engine is not None:
            self._engine.outbox.prune()
        if self._waiters or not self._fits(size):
            await self._wait_for_room(size, deadline, key)
        else:
            self._hold(size)

    async def _wait_for_room(self, size: int, deadline: float | None, key: str) -> None:
        if self._when_full == "raise":
            raise BufferFullError(f"{self._events} events of {self._bytes} bytes wait already")
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.append((waiter, size))
        try:
            async with asyncio.timeout_at(deadline):
                await waiter  # whoever wakes it has taken the room for it
        except TimeoutError:
            raise UnansweredError(
                "the buffer was full all the time", maybe_accepted=False, idempotency_key=key
            ) from None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release(size)
            raise

    def _hold(self, size: int) -> None:
        self._events += 1
        self._bytes += size
        self._idle.clear()

    def _release(self, size: int) -> None:
        self._events -= 1
        self._bytes -= size
        while self._waiters and (self._waiters[0][0].done() or self._fits(self._waiters[0][1])):
            waiter, waiting_size = self._waiters.popleft()
            if not waiter.done():
                self._hold(waiting_size)
                waiter.set_result(None)
        if self._events == 0:
            self._idle.set()
