"""The receiver, a process of its own: answers a fixed 200 and counts.

    python -m tests.bench.receiving COUNTER

It writes its port to stdout and its count of complete requests into the file COUNTER, which the
benchmark maps. What a request's path begins with says how it is treated: `/timed` notes when its
first byte came, `/slow` answers after 0.4 s, anything else is answered at once. A line on stdin
asks for the times that were noted, as JSON from event id to seconds of the monotonic clock.
"""

import asyncio
import json
import mmap
import struct
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SLOW_S = 0.4
COUNT = struct.Struct("Q")


class Counter:
    """A number in a file that another process can look at."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), COUNT.size)
        self._count = 0

    def add(self) -> None:
        self._count += 1
        COUNT.pack_into(self._map, 0, self._count)

    def read(self) -> int:
        count: int = COUNT.unpack_from(self._map, 0)[0]
        return count


class Receiver(asyncio.Protocol):
    """One connection: a request after the other, each with its length announced."""

    def __init__(self, counter: Counter, times: dict[str, float]) -> None:
        self._counter = counter
        self._times = times
        self._head = b""
        self._missing = 0
        self._slow = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            data = self._head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            self._head = b""
            self._begin(data[:end].lower(), data)
            self._missing += end + 4 - len(data)
        if self._missing:
            return
        self._counter.add()
        if self._slow:
            asyncio.get_running_loop().call_later(SLOW_S, self._transport.write, ANSWER)
        else:
            self._transport.write(ANSWER)

    def _begin(self, head: bytes, data: bytes) -> None:
        at = head.find(b"\r\ncontent-length:") + 17
        end = head.find(b"\r\n", at)
        self._missing = int(head[at:] if end < 0 else head[at:end])
        self._slow = head.startswith(b"post /slow")
        if head.startswith(b"post /timed"):
            at = head.find(b"\r\nx-prynt-delivery: ") + 20
            self._times[data[at : at + 17].decode()] = time.monotonic()


async def main(counter: Counter) -> None:
    loop = asyncio.get_running_loop()
    times: dict[str, float] = {}
    server = await loop.create_server(
        lambda: Receiver(counter, times), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(times), flush=True)
        times.clear()


if __name__ == "__main__":
    uvloop.run(main(Counter(Path(sys.argv[1]))))
