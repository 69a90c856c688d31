"""Keeps one connection to the relay and moves an outbox's events over it. Runs on an event loop."""

import asyncio
import logging
import os
import socket
from typing import Final, cast

from prynt_relay.publisher.outbox import Advice, Item, Outbox, ProtocolError

CHUNK: Final = 65_536
"""Bytes of lines written at once; above the transport's own bound writing waits."""

FIRST_BACKOFF_S: Final = 0.05
LAST_CONNECT_BACKOFF_S: Final = 0.5
LAST_STORE_BACKOFF_S: Final = 2.0
"""Between two attempts to connect, or two to store: doubled from the first to the last. To look
whether a local socket is there costs nothing; to store again costs the relay."""

LEAVE_S: Final = 15.0
"""How long a relay that shuts down may take to answer what it was sent before."""

# The log of the program that publishes, not the relay's: no actions, the program's own format.
_logger = logging.getLogger("prynt_relay.publisher")


class _Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, engine: "Engine") -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.leaving = False
        self._advice_handle: asyncio.TimerHandle | None = None
        self._socket_full = False
        self.told_to_wait = False
        self._engine = engine

    @property
    def writable(self) -> bool:
        return self.transport is not None and not self._socket_full and not self.told_to_wait

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            advice = self._engine.outbox.receive(data)
        except ProtocolError as error:
            self.end(str(error))
            return
        self._engine.heed(self, advice)

    def pause_writing(self) -> None:
        self._socket_full = True

    def resume_writing(self) -> None:
        self._socket_full = False
        self._engine.write()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(f"the connection was lost: {exc or 'closed by the relay'}")

    def wait(self, seconds: float) -> None:
        """Send nothing for some time."""
        self.told_to_wait = True
        self._advice_handle = asyncio.get_running_loop().call_later(seconds, self._go_on)

    def leave(self) -> None:
        """Send nothing more; end when all is answered, or the time for it is over."""
        why = "the relay shut down"
        if not self._engine.outbox.sent:
            self.end(why)
        elif not self.leaving:
            self.leaving = self.told_to_wait = True
            if self._advice_handle is not None:
                self._advice_handle.cancel()
            loop = asyncio.get_running_loop()
            self._advice_handle = loop.call_later(LEAVE_S, self.end, why)

    def end(self, why: str) -> None:
        """Close; a second call does nothing."""
        if self._advice_handle is not None:
            self._advice_handle.cancel()
        if self.transport is not None:
            self.transport.abort()
            self.transport = None
        if not self.ended.done():
            self.ended.set_result(why)

    def _go_on(self) -> None:
        self.told_to_wait = False
        self._engine.write()


class Engine:
    """Sends what is added, as long as `run` runs. All methods belong to one event loop."""

    def __init__(self, path: str) -> None:
        self.outbox = Outbox()
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.Event()
        self._link: _Link | None = None
        self._write_scheduled = False
        self._backoff_s = FIRST_BACKOFF_S
        self._trouble = ""
        self._expiry: asyncio.TimerHandle | None = None

    def add(self, item: Item) -> None:
        """Take an event; its owner bounds how many."""
        self.outbox.add(item)
        if item.deadline is not None:
            self._expire_at(item.deadline)
        if self._link is None:
            self._work.set()
        elif not self._write_scheduled:
            # Later in this turn of the loop: what is published together is written together.
            self._write_scheduled = True
            self._loop.call_soon(self.write)

    def write(self) -> None:
        """Send what can be sent now."""
        self._write_scheduled = False
        link = self._link
        while link is not None and link.writable and self.outbox.sendable:
            chunk = self.outbox.next_chunk(CHUNK)
            if chunk and link.transport is not None:
                link.transport.write(chunk)

    def heed(self, link: _Link, advice: Advice) -> None:
        """Act on what the relay's answers say about it."""
        if advice is Advice.LEAVE or link.leaving:
            link.leave()
        elif advice is Advice.PAUSE:
            self._note("the relay can't store events for now")
            if not link.told_to_wait:
                link.wait(self._next_backoff_s(LAST_STORE_BACKOFF_S))
        else:
            self._backoff_s = FIRST_BACKOFF_S
            if self._trouble:
                _logger.info("the relay takes events again")
                self._trouble = ""

    async def run(self) -> None:
        """Connect whenever there is something to send, until this is cancelled."""
        try:
            while True:
                self._work.clear()
                if not self.outbox.sendable:
                    await self._work.wait()
                elif (link := await self._connect()) is not None:
                    await self._serve(link)
                else:
                    await asyncio.sleep(self._next_backoff_s(LAST_CONNECT_BACKOFF_S))
        finally:
            if self._expiry is not None:
                self._expiry.cancel()
            self.outbox.disconnected()
            self.outbox.give_up("the publisher was closed")

    async def _connect(self) -> _Link | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            # This never takes time with a Unix socket: it is done, refused, or the queue is full.
            sock.connect(self._path)
            link = _Link(self)
            await self._loop.create_unix_connection(lambda: link, sock=sock)
        except OSError as error:
            sock.close()
            self._note(f"can't connect to {self._path}: {error.strerror or error}")
            return None
        except BaseException:
            sock.close()
            raise
        self._link = link
        return link

    async def _serve(self, link: _Link) -> None:
        self.write()
        try:
            why = await link.ended
        finally:
            self._link = None
            link.end("closed")
        self.outbox.disconnected()
        if self.outbox.sendable:
            self._note(why)
            await asyncio.sleep(self._next_backoff_s(LAST_CONNECT_BACKOFF_S))

    def _note(self, trouble: str) -> None:
        """Remember what keeps events from being accepted; say so when it begins."""
        if not self._trouble:
            _logger.warning("%s; %d events wait to be sent again", trouble, len(self.outbox))
        self._trouble = trouble

    def _next_backoff_s(self, last_s: float) -> float:
        """Up to twice the time of before, at random: publishers shouldn't come back in step."""
        backoff_s = min(self._backoff_s, last_s)
        self._backoff_s = 2 * backoff_s
        return backoff_s * (0.5 + os.urandom(1)[0] / 512)

    def _expire_at(self, deadline: float) -> None:
        if self._expiry is not None:
            if self._expiry.when() <= deadline:
                return
            self._expiry.cancel()
        self._expiry = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        why = self._trouble or "the relay didn't answer in time"
        earliest = self.outbox.expire(self._loop.time(), why)
        if earliest is not None:
            self._expire_at(earliest)
