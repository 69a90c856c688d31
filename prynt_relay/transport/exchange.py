"""One request and its response, on a connection from the pool."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage

from prynt_relay.transport.connector import ConnectRequest, Pool
from prynt_relay.transport.protocol import ResponseProtocol

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

HEADERS_KEPT: Final = 16_384
"""Bytes of response headers kept for the log; whole lines beyond it are left out."""

RESPONSE_DRAINED: Final = 65_536
"""Bytes of a response read to keep its connection; a longer one costs the connection instead."""


class Exchange:
    """A request in flight. `respond` first, then `read_body`, and `end` whatever happens."""

    __slots__ = ("_connection", "_payload", "_pool", "_protocol", "_request", "message")

    message: RawResponseMessage
    """The response's status and headers, once `respond` has returned."""

    def __init__(self, pool: Pool, request: ConnectRequest) -> None:
        self._pool = pool
        self._request = request
        self._connection: Connection | None = None
        self._protocol: ResponseProtocol | None = None
        self._payload: StreamReader | None = None

    @property
    def connected(self) -> bool:
        """Whether there is (or was) a connection to the receiver."""
        return self._protocol is not None

    async def respond(self, request: Sequence[bytes], deadline: float) -> None:
        """Send the request, in parts, and wait for the response's headers, at most to `deadline`.

        A connection that was kept alive may turn out to have been closed by the receiver just as
        we sent. If it dies before a single byte of a response, the request is sent once more on a
        fresh one. Raises what aiohttp and the resolver raise, TimeoutError at the deadline.
        """
        # What `asyncio.timeout_at` does, without its two coroutines: 2 µs of every delivery.
        task = cast("asyncio.Task[object]", asyncio.current_task())
        cancelling = task.cancelling()
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = self._pool.loop.call_at(deadline, expire)
        try:
            await self._respond(request)
        except BaseException as error:
            if (
                expired
                and task.uncancel() <= cancelling
                and isinstance(error, asyncio.CancelledError)
            ):
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()

    async def _respond(self, request: Sequence[bytes]) -> None:
        connection = await self._pool.connect(self._request)
        reused = cast(ResponseProtocol, connection.protocol).exchanges > 0
        try:
            await self._ask(connection, request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            if not reused or cast(ResponseProtocol, self._protocol).received:
                raise
            connection.close()
            await self._ask(await self._pool.connect(self._request, fresh=True), request)

    async def _ask(self, connection: Connection, request: Sequence[bytes]) -> None:
        self._connection = connection
        protocol = self._protocol = cast(ResponseProtocol, connection.protocol)
        transport = protocol.transport
        if transport is None:
            raise protocol.exception() or aiohttp.ServerDisconnectedError
        protocol.begin()
        transport.writelines(request)
        self.message, self._payload = await protocol.read()

    def headers(self) -> tuple[bytes, bool]:
        """Return the response's headers as lines, and whether some had to be left out."""
        lines: list[bytes] = []
        size = 0
        for name, value in self.message.raw_headers:
            size += len(name) + len(value) + 4
            if size > HEADERS_KEPT:
                return b"\r\n".join(lines), True
            lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines), False

    def body_at_hand(self, keep: int) -> tuple[bytes, bool, bool] | None:
        """Return what `read_body` does, if all of the body has come and the request gone out.

        None if there is more to wait for.
        """
        payload, protocol = self._payload, self._protocol
        assert payload is not None and protocol is not None  # noqa: S101, PT018 - after respond
        if not payload.is_eof() or not protocol.is_sent():
            return None
        return payload.read_nowait(keep), payload.total_bytes > keep, True

    async def read_body(
        self, keep: int, *, until: float, send_until: float
    ) -> tuple[bytes, bool, bool]:
        """Return up to `keep` bytes of the body, whether there was more, and whether it ended.

        Waits for the body up to `until`, and for the request to have gone out as a whole up to
        `send_until` (a receiver may answer before it has read everything), both in loop time.
        """
        payload, protocol = self._payload, self._protocol
        assert payload is not None and protocol is not None  # noqa: S101, PT018 - after respond
        kept = bytearray()
        size = 0
        try:
            async with asyncio.timeout_at(until):
                while not payload.at_eof():
                    chunk = await payload.readany()
                    size += len(chunk)
                    kept += chunk[: keep - len(kept)]
                    if protocol.received > RESPONSE_DRAINED:
                        break
                    # Thousands of tiny chunks may be at hand; others get their turns in between.
                    await asyncio.sleep(0)
            if not protocol.is_sent():
                async with asyncio.timeout_at(send_until):
                    await protocol.sent()
        except (TimeoutError, aiohttp.ClientError, OSError):
            # The response counts by its status; its body is for the log only.
            pass
        ended = payload.at_eof()
        return bytes(kept), size > keep or not ended, ended

    def end(self) -> None:
        """Give the connection back if it can serve again, else drop it. May be called twice."""
        connection, protocol = self._connection, self._protocol
        if connection is None or protocol is None:
            return
        self._connection = None
        payload = self._payload
        if payload is not None and payload.is_eof() and protocol.is_sent():
            protocol.finish()
            connection.release()
        else:
            protocol.drop()
            connection.close()
