"""The publisher for programs with threads."""

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from prynt_relay.publisher.aio import DEFAULT_PATH
from prynt_relay.publisher.engine import Engine
from prynt_relay.publisher.outbox import Item
from prynt_relay.publisher.outcomes import (
    Accepted,
    BufferFullError,
    ClosedError,
    UnansweredError,
)
from prynt_relay.publisher.request import Data, new_key, request_line


class Publisher:
    """Publishes events to the relay; every method may be called from every thread.

        with Publisher() as publisher:
            accepted = publisher.publish("visitor.new", {"visitorId": "pv_8kX2mNqR3jT7p"})

    A thread of its own keeps the connection. It doesn't survive a fork: make the publisher in the
    process that uses it. A program that ends without `close` waits for answers as `close` does.
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
        """Publish to the socket at `path`; see `AsyncPublisher` for the settings."""
        self._path = os.fspath(path)
        self._timeout_s = timeout_s
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._pid = os.getpid()
        # Everything below belongs to whoever holds the condition.
        self._changed = threading.Condition()
        self._events = 0
        self._bytes = 0
        self._closed = False
        self._inbox: deque[Item] = deque()
        self._thread: threading.Thread | None = None
        # The thread's own, from when it is ready.
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._engine: Engine
        self._stop: asyncio.Event

    def publish(
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
        object.
        """
        return self.submit(
            event_type,
            data,
            event_id=event_id,
            idempotency_key=idempotency_key,
            created_at=created_at,
            timeout_s=timeout_s,
        ).result()

    def submit(
        self,
        event_type: str,
        data: Data,
        *,
        event_id: str | None = None,
        idempotency_key: str | None = None,
        created_at: datetime | str | None = None,
        timeout_s: float | None = None,
    ) -> "Future[Accepted]":
        """Take an event, waiting only for room; the future has what `publish` returns or raises.

        The future can't be cancelled.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = None if limit_s is None else time.monotonic() + limit_s
        key = new_key() if idempotency_key is None else idempotency_key
        line = request_line(
            event_type, data, event_id=event_id, idempotency_key=key, created_at=created_at
        )
        outcome: Future[Accepted] = Future()
        outcome.set_running_or_notify_cancel()
        item = Item(line, key, outcome, deadline, self._release)
        with self._changed:
            self._take_room(item)
            self._inbox.append(item)
            if self._thread is None:
                self._start()
            elif len(self._inbox) == 1 and self._ready.is_set():
                self._loop.call_soon_threadsafe(self._take_in)
        return outcome

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until everything that was taken is answered or has run out of time.

        Returns False where that took longer than `timeout_s`.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._events == 0, timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Take nothing more, wait for answers for up to `timeout_s`, and close the connection.

        What is unanswered then ends with UnansweredError. A second call does nothing.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._pid != os.getpid():
            return
        self.flush(timeout_s)
        with self._changed:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._ready.wait()
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take_room(self, item: Item) -> None:
        """Count the event in, waiting for room; the caller holds the condition."""

        def fits() -> bool:
            # One event alone always fits, or it never would.
            return self._events == 0 or (
                self._events < self._max_events and self._bytes + item.size <= self._max_bytes
            )

        if self._pid != os.getpid():
            raise ClosedError("the publisher was made by another process; make one after the fork")
        if not self._closed and not fits():
            if self._when_full == "raise":
                raise BufferFullError(f"{self._events} events of {self._bytes} bytes wait already")
            left_s = None if item.deadline is None else item.deadline - time.monotonic()
            if not self._changed.wait_for(lambda: self._closed or fits(), left_s):
                raise UnansweredError(
                    "the buffer was full all the time",
                    maybe_accepted=False,
                    idempotency_key=item.idempotency_key,
                )
        if self._closed:
            raise ClosedError("the publisher is closed")
        self._events += 1
        self._bytes += item.size

    def _release(self, size: int) -> None:
        with self._changed:
            self._events -= 1
            self._bytes -= size
            self._changed.notify_all()

    # In the publisher's own thread.

    def _start(self) -> None:
        _running.add(self)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="prynt-publisher", daemon=True
        )
        self._thread.start()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._engine = Engine(self._path)
        self._ready.set()
        self._take_in()
        running = asyncio.create_task(self._engine.run())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            with self._changed:
                self._closed = True
            self._take_in()
            stopped.cancel()
            running.cancel()
            await asyncio.wait([running, stopped])

    def _take_in(self) -> None:
        with self._changed:
            while self._inbox:
                self._engine.add(self._inbox.popleft())


# Those with a thread: at the end of the program they deliver what they hold, within a bound.
_running: "weakref.WeakSet[Publisher]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for publisher in list(_running):
        publisher.close()
