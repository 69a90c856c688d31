"""One connection's protocol: aiohttp's own, with bounds and with an eye on what has arrived.

This and `connector` are the seam to aiohttp. A delivery doesn't go through `ClientSession`: its
request and response objects, cookies, redirects and timers cost twice what the rest of a delivery
does, and none of them is wanted here (tests/bench/transport_send.py measures it). What is used is
the connection pool (`TCPConnector.connect`) and, per connection, aiohttp's `ResponseHandler` with
its parser; tests/integration/test_transport_seam.py holds the seam against the installed aiohttp.
"""

import asyncio
from typing import Final

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

HEAD_MAX: Final = 65_536
"""Bytes of a response up to the end of its headers, interim responses included."""

HEADERS_MAX: Final = 256
HEADER_LINE_MAX: Final = 16_384
INTERIM_MAX: Final = 16
"""Interim (1xx) responses before the final one."""

BODY_BUFFER: Final = 16_384
"""Reading pauses when twice this is waiting to be read."""

CLOSE_GRACE_S: Final = 1.0
"""How long a peer may take over the end of TLS before the connection is dropped."""

_SLICE: Final = 16_384
_END_OF_HEAD: Final = b"\r\n\r\n"


class ResponseTooLargeError(Exception):
    """A response's head is beyond the bounds; the message says which."""


# What may arrive next; plain numbers, since they are looked at several times per request.
_IDLE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2


class ResponseProtocol(ResponseHandler):
    """`ResponseHandler` for one exchange after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.exchanges = 0
        """How many requests this connection has carried."""
        self.received = 0
        """Bytes that have arrived since the present request was begun."""
        self._interim = 0
        self._stage = _IDLE

    def begin(self) -> None:
        """Get ready for the response to a new request."""
        self.exchanges += 1
        self.received = 0
        self._interim = 0
        self._stage = _HEAD
        self.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=BODY_BUFFER,
            max_line_size=HEADER_LINE_MAX,
            max_field_size=HEADER_LINE_MAX,
            max_headers=HEADERS_MAX,
        )

    def is_sent(self) -> bool:
        """Whether all that was written has left for the system, or never will."""
        transport = self.transport
        return transport is None or transport.is_closing() or not transport.get_write_buffer_size()

    async def sent(self) -> None:
        """Wait until all that was written has left; raises where the connection is lost."""
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=0)
            await self._drain_helper()

    def finish(self) -> None:
        """Note that the response has been read; nothing may arrive until the next request."""
        self._stage = _IDLE

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Pass the final response on; count and drop interim ones (RFC 9110, section 15.2)."""
        if self._stage != _HEAD and self.exchanges:
            self.drop()  # a second answer to one request; nothing from here on makes sense
            return
        code = data[0].code
        if 100 <= code < 200 and code != 101:
            self._interim += 1
            if self._interim > INTERIM_MAX:
                self._refuse(f"more than {INTERIM_MAX} interim responses")
            return
        self._stage = _BODY
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, the head apart from what follows it.

        Apart, because a body that is broken (longer than announced, say) must not take the
        headers that came with it along; in slices, so that the head's bound holds.
        """
        self.received += len(data)
        if self._stage == _HEAD:
            self._head_received(data)
        elif self._stage == _BODY or not self.exchanges:
            # A server that answers before it was asked has it kept until it is.
            self._feed(data)
        elif data:
            # An answer that nobody asked for, such as an idle server's 408: it must not pass for
            # the answer to the next request.
            self.abort()

    def _head_received(self, data: bytes) -> None:
        before = self.received - len(data)
        start = 0
        while self._stage == _HEAD and start < len(data):
            end = data.find(_END_OF_HEAD, start, start + _SLICE)
            end = min(start + _SLICE, len(data)) if end < 0 else end + len(_END_OF_HEAD)
            super().data_received(data if end - start == len(data) else data[start:end])
            start = end
            if self._exception is not None or self.transport is None:
                return
            if self._stage == _HEAD and before + start > HEAD_MAX:
                self._refuse(f"headers of more than {HEAD_MAX} bytes")
                return
        if start < len(data):
            self._feed(data[start:])

    def _feed(self, data: bytes) -> None:
        """Parse in slices, so that a flood of answers is noticed before all of it was parsed."""
        if len(data) <= _SLICE:
            super().data_received(data)
            return
        for start in range(0, len(data), _SLICE):
            if self.transport is None or self.transport.is_closing():
                return
            super().data_received(data[start : start + _SLICE])

    def _refuse(self, why: str) -> None:
        self.set_exception(ResponseTooLargeError(why))
        self.drop()

    def drop(self) -> None:
        """Close at once, without waiting for anything; what was thrown stays thrown."""
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Close; a peer that doesn't take part in the end of TLS is not waited for long."""
        transport = self.transport
        super().close()
        if transport is not None:
            self._loop.call_later(CLOSE_GRACE_S, transport.abort)
