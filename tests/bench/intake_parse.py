"""What one event costs at intake: parsing its line, rendering its answer, the connection between.

Run `python -m tests.bench.intake_parse`. It prints microseconds of CPU per event, the best of
several rounds, on the event loop that the daemon uses. The socket's other end is a process of its
own and not in the figures; the store is one that answers at once.
"""

import asyncio
import contextlib
import functools
import json
import multiprocessing
import resource
import socket
import tempfile
import time
import timeit
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import uvloop

from prynt_relay.errors import RefusedEventError
from prynt_relay.intake.acceptor import Acceptor
from prynt_relay.intake.protocol import EventParser, render_acceptance
from prynt_relay.intake.server import IntakeServer
from prynt_relay.model.event import EVENT_TYPES, Append, Appended, NewEvent, Target
from prynt_relay.model.samples import sample_data

ROUNDS = 5
EVENTS = 40_000
EVENT_ID = "evt_9fJ3kL7mNpR2x"


class InstantStore:
    """Answers without a disk; also the registry, the dispatcher and the metrics."""

    def __init__(self) -> None:
        self.events = 0
        self._awaited = 0
        self._reached = asyncio.Event()

    async def reached(self, events: int) -> None:
        self._awaited = events
        self._reached.clear()
        if self.events < events:
            await self._reached.wait()

    def targets(self, event: NewEvent) -> tuple[Target, ...]:
        return ()

    def revised(self, event: NewEvent, targets: Iterable[Target]) -> tuple[Target, ...]:
        return tuple(targets)

    def append(self, batch: Sequence[Append]) -> asyncio.Future[list[Appended]]:
        self.events += len(batch)
        if self.events >= self._awaited:
            self._reached.set()
        future: asyncio.Future[list[Appended]] = asyncio.get_running_loop().create_future()
        future.set_result([Appended(EVENT_ID)] * len(batch))
        return future

    async def room(self) -> None:
        """Return at once."""

    def appended(self, batch: Sequence[tuple[Append, Appended]]) -> None:
        """Drop it."""

    def events_received(self, event_type: str, n: int = 1) -> None:
        """Count nothing."""

    def event_rejected(self, code: str, n: int = 1) -> None:
        """Count nothing."""


def lines() -> dict[str, bytes]:
    """The lines to measure, by what they are."""
    event_type = "identification.complete"
    data = json.dumps(sample_data(event_type), separators=(",", ":"), ensure_ascii=False).encode()
    plain = b'{"eventType":"%b","data":%b}' % (event_type.encode(), data)
    given = plain[:-1] + (
        b',"eventId":"%b","idempotencyKey":"idk_a7f2c9e1b3d4",'
        b'"createdAt":"2026-02-14T11:45:22.341Z"}' % EVENT_ID.encode()
    )
    return {
        "1 KB": plain,
        "1 KB, every key given": given,
        "1 KB, not ASCII": plain.replace(b"San Francisco", "Сан-Франциско".encode()),
        "1 KB, a lone surrogate": plain.replace(b"San Francisco", b"San\\ud800"),
        "1 KB, refused": plain[:-1],
        "100 KB": b'{"eventType":"%b","data":{"a":[%b]}}'
        % (event_type.encode(), b",".join([data] * (100_000 // len(data)))),
    }


def per_call_us(call: Callable[[], object], number: int) -> float:
    return min(timeit.repeat(call, number=number, repeat=ROUNDS)) / number * 1e6


def bench_parse() -> None:
    parser = EventParser(event_types=EVENT_TYPES, api_version="2026-01-15", max_payload=262_144)
    metrics = InstantStore()
    acceptor = Acceptor(
        parser=parser, registry=metrics, store=metrics, dispatcher=metrics, metrics=metrics
    )

    def attempt(line: bytes) -> None:
        with contextlib.suppress(RefusedEventError):
            acceptor.parse(line)

    for name, line in lines().items():
        number = 20_000 if len(line) < 9000 else 200
        spent = per_call_us(functools.partial(attempt, line), number)
        print(f"parse, {name:24} {len(line):7} bytes {spent:8.2f} us")
    answer = Appended(EVENT_ID)
    print(f"render an answer {per_call_us(lambda: render_acceptance(answer), 100_000):41.2f} us")


def publish(path: str, line: bytes, rounds: int) -> None:
    """Pipeline EVENTS events over one connection, again and again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)
        chunk = (line + b"\n") * 200
        for _ in range(rounds):
            unanswered = 0
            for _ in range(EVENTS // 200):
                sock.sendall(chunk)
                unanswered += 200
                while unanswered > 1000:
                    unanswered -= sock.recv(65_536).count(b"\n")
            while unanswered:
                unanswered -= sock.recv(65_536).count(b"\n")


async def bench_server() -> None:
    store = InstantStore()
    parser = EventParser(event_types=EVENT_TYPES, api_version="2026-01-15", max_payload=262_144)
    acceptor = Acceptor(parser=parser, registry=store, store=store, dispatcher=store, metrics=store)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.sock"
        server = IntakeServer(acceptor, path=path)
        await server.start()
        spawn = multiprocessing.get_context("spawn")
        publisher = spawn.Process(target=publish, args=(str(path), lines()["1 KB"], ROUNDS))
        publisher.start()
        figures = []
        done = 0
        while done < EVENTS * ROUNDS:
            done += EVENTS
            await store.reached(done - EVENTS + 1)
            wall, before, first = time.monotonic(), resource.getrusage(0), store.events
            await store.reached(done)
            after = resource.getrusage(0)
            cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            events = store.events - first
            figures.append((cpu_s / events * 1e6, events / (time.monotonic() - wall)))
        await asyncio.to_thread(publisher.join)
        await server.stop(5)
    cpu_us, per_s = min(figures)
    print(f"read, parse, hand in, answer; CPU in all {cpu_us:17.2f} us  ({per_s:,.0f} events/s)")


def main() -> None:
    bench_parse()
    uvloop.run(bench_server())


if __name__ == "__main__":
    main()
