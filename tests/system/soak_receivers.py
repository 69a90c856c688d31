"""The receivers of a soak, in a process of their own, each at a port of its own.

    python -m tests.system.soak_receivers MARKS BEHAVIOUR...

Prints one line of JSON with the ports and the certificate authority's file, and serves until it is
killed. Behaviours: `good`, `hang` (never answers), `drip` (200, then a byte now and then), `fail`
(500), `reset`; after SIGUSR1 all are good. The n-th byte of the file MARKS is set once the event
whose data begins with `{"n":n` came.
"""

import asyncio
import functools
import json
import mmap
import re
import signal
import sys
from pathlib import Path
from typing import Final, cast

import uvloop

from tests.integration.receivers import shared_authority

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FAILED: Final = b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\noops"
DRIPPING: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
DRIP_S: Final = 0.2
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_NUMBER: Final = re.compile(rb'"data":\{"n":([0-9]+)')


class Receiver(asyncio.Protocol):
    """One connection."""

    mended = False
    """Whether all of them are well from now on."""

    def __init__(self, behaviour: str, marks: mmap.mmap) -> None:
        self._behaviour = behaviour
        self._marks = marks
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._buffer, 0, end)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < size:
                return
            number = _NUMBER.search(self._buffer, end)
            if number is not None:
                self._marks[int(number[1])] = 1
            self._buffer = self._buffer[size:]
            self._answer()

    def _answer(self) -> None:
        if self._behaviour == "good" or Receiver.mended:
            self._transport.write(OK)
        elif self._behaviour == "fail":
            self._transport.write(FAILED)
        elif self._behaviour == "reset":
            self._transport.abort()
        elif self._behaviour == "drip":
            self._transport.write(DRIPPING)
            self._drip()

    def _drip(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"x")
            asyncio.get_running_loop().call_later(DRIP_S, self._drip)


async def main(file: Path, behaviours: list[str]) -> None:
    with file.open("r+b") as opened:
        marks = mmap.mmap(opened.fileno(), 0)
    context = shared_authority().server_context()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, setattr, Receiver, "mended", True)
    servers = [
        await loop.create_server(
            functools.partial(Receiver, behaviour, marks), "127.0.0.1", 0, ssl=context
        )
        for behaviour in behaviours
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(json.dumps({"ports": ports, "ca": str(shared_authority().ca_file)}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2:]))
