"""The publisher, a process of its own.

    python -m tests.bench.publishing SOCKET

Each line on stdin is a job, a JSON object: `count` events of `type`; `size` (bytes of the body,
absent for the specification's example); `keys` for a random idempotency key with each; `rate`
events a second, absent for as fast as they are taken. The answer, a line of JSON, has `started`,
`acked` (monotonic seconds of the first write and the last answer) and, at a rate, `events` with
`[event id, written at, acknowledged at]` of each.
"""

import asyncio
import json
import os
import sys
import time
from collections import deque
from typing import Any, cast

import uvloop

from tests.bench.traffic import payload

CHUNK = 50
"""Events written at once where no rate is asked for."""


class Publisher(asyncio.Protocol):
    """One connection to the intake socket."""

    def __init__(self) -> None:
        self.events: list[tuple[str, float, float]] = []
        self.timed = False
        self._written: deque[float] = deque()
        self._partial = b""
        self._left = 0
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.done = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left:
            sys.exit("the relay closed the connection")

    def begin(self, count: int) -> None:
        self._left = count
        self.events = []
        self.done.clear()

    async def write(self, lines: bytes) -> None:
        if self.timed:
            self._written.append(time.monotonic())
        self._transport.write(lines)
        await self._may_write.wait()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        answers = (self._partial + data).split(b"\n")
        self._partial = answers.pop()
        for answer in answers:
            if not answer.startswith(b'{"ok":true'):
                sys.exit(f"refused: {answer.decode()}")
            if self.timed:
                self.events.append((json.loads(answer)["eventId"], self._written.popleft(), now))
        self._left -= len(answers)
        if self._left <= 0:
            self.done.set()


def lines(job: dict[str, Any]) -> list[bytes]:
    """The job's events, in the pieces in which they are written."""
    data = payload(job.get("size", 0))
    start = b'{"eventType":"%b","data":%b' % (job["type"].encode(), data)
    chunk = 1 if job.get("rate") or job.get("size") else CHUNK
    sizes = [min(chunk, job["count"] - at) for at in range(0, job["count"], chunk)]
    if not job.get("keys"):
        whole = start + b"}\n"
        return [whole * size for size in sizes]
    return [
        b"".join(
            b'%b,"idempotencyKey":"%b"}\n' % (start, os.urandom(12).hex().encode())
            for _ in range(size)
        )
        for size in sizes
    ]


async def main(socket: str) -> None:
    loop = asyncio.get_running_loop()
    _, publisher = await loop.create_unix_connection(Publisher, socket)
    print("connected", flush=True)
    while job_line := await asyncio.to_thread(sys.stdin.readline):
        job = json.loads(job_line)
        pieces = lines(job)
        publisher.timed = bool(job.get("rate"))
        publisher.begin(job["count"])
        started = time.monotonic()
        for number, piece in enumerate(pieces):
            if publisher.timed:
                await asyncio.sleep(started + number / job["rate"] - time.monotonic())
            await publisher.write(piece)
        await publisher.done.wait()
        answer = {"started": started, "acked": time.monotonic(), "events": publisher.events}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
