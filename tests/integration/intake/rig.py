"""The intake server over a real socket, with a store in memory behind it.

async with Rig() as rig:
    publisher = await rig.connect()
    publisher.write(line_of(1))
    assert (await publisher.answer())["ok"]
"""

import asyncio
import contextlib
import itertools
import json
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prynt_relay.intake.acceptor import Acceptor
from prynt_relay.intake.protocol import EventParser
from prynt_relay.intake.pump import Pump
from prynt_relay.intake.server import IntakeServer
from prynt_relay.model import ids
from prynt_relay.model.event import EVENT_TYPES, Append, Appended, NewEvent, StoredEvent, Target
from prynt_relay.model.states import DeliveryState, Format

MAX_PAYLOAD = 262_144
TARGET = Target(1, DeliveryState.SCHEDULED, Format.PRYNT)


def line_of(number: int | str, **members: Any) -> bytes:
    """A line, with its newline, whose data holds `number`."""
    request = {"eventType": "visitor.new", "data": {"number": number}} | members
    return json.dumps(request).encode() + b"\n"


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    """Give the loop turns until `condition` holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not condition():
        assert loop.time() < deadline, "it didn't come to that"
        await asyncio.sleep(0)


class MemoryStore:
    """Keeps events in a list; answers in the loop's next turn, or when a test lets it.

    Duplicates are told by supplied key or id, and answered after the first, as the store does.
    """

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.held = False
        self.failure: Exception | None = None
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.appends = 0
        self.largest_append = self.largest_queue = 0
        self._queue: list[tuple[Sequence[Append], asyncio.Future[list[Appended]]]] = []
        self._seen: dict[str, str] = {}
        self._rows = itertools.count(1)

    def append(self, batch: Sequence[Append]) -> asyncio.Future[list[Appended]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Appended]] = loop.create_future()
        self._queue.append((batch, future))
        self.appends += 1
        self.largest_append = max(self.largest_append, len(batch))
        self.largest_queue = max(self.largest_queue, self.queued)
        if not self.held:
            loop.call_soon(self.commit)
        return future

    async def room(self) -> None:
        await self.has_room.wait()

    @property
    def queued(self) -> int:
        return sum(len(batch) for batch, _ in self._queue)

    @property
    def numbers(self) -> list[Any]:
        """What the events' data hold, in the order of storing."""
        return [json.loads(event.data)["number"] for event in self.events]

    def hold(self) -> None:
        """Answer nothing until `release`."""
        self.held = True

    def release(self) -> None:
        self.held = False
        self.commit()

    def commit(self, batches: int | None = None) -> None:
        """Answer what is queued, or the oldest batches of it."""
        queue, self._queue = self._queue[:batches], self._queue[len(self._queue[:batches]) :]
        for batch, future in queue:
            if self.failure is not None:
                future.set_exception(self.failure)
            else:
                future.set_result([self._store(append.event) for append in batch])

    def _store(self, event: NewEvent) -> Appended:
        names = [name for name in (event.event_id, event.idempotency_key) if name is not None]
        for name in names:
            if name in self._seen:
                return Appended(self._seen[name], duplicate=True)
        row = next(self._rows)
        event_id = event.event_id or ids.event_id(row, 1_790_000_000_000)
        self._seen.update(dict.fromkeys(names, event_id))
        self.events.append(event)
        stored = StoredEvent(
            row=row,
            event_id=event_id,
            event_type=event.event_type,
            api_version="2026-01-15",
            event_source="urn:prynt-relay",
            created_at_ms=event.created_at_ms or 1_790_000_000_000,
            received_at_ms=1_790_000_000_000,
            idempotency_key=event.idempotency_key or ids.idempotency_key(row),
            data=event.data,
        )
        return Appended(event_id, stored=stored, first_delivery_row=row, due_ms=1)


class Registry:
    """Sends every event to one webhook, or fails."""

    def __init__(self) -> None:
        self.found: tuple[Target, ...] = (TARGET,)
        self.failure: Exception | None = None

    def targets(self, event: NewEvent) -> tuple[Target, ...]:
        if self.failure is not None:
            raise self.failure
        return self.found

    def revised(self, event: NewEvent, targets: Iterable[Target]) -> tuple[Target, ...]:
        return tuple(targets)


class Dispatcher:
    """Remembers what it was handed."""

    def __init__(self) -> None:
        self.handed: list[tuple[Append, Appended]] = []

    def appended(self, batch: Sequence[tuple[Append, Appended]]) -> None:
        self.handed.extend(batch)


class Counts:
    """The metrics, as counters."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()

    def events_received(self, event_type: str, n: int = 1) -> None:
        self.received[event_type] += n

    def event_rejected(self, code: str, n: int = 1) -> None:
        self.rejected[code] += n


class Publisher:
    """The other end of a connection, with nothing clever between the test and the bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def write_eof(self) -> None:
        """Half-close: say that nothing more comes, and go on reading."""
        self.writer.write_eof()

    async def answer(self) -> dict[str, Any]:
        line = await self.reader.readline()
        assert line.endswith(b"\n"), f"the connection ended: {line!r}"
        parsed: dict[str, Any] = json.loads(line)
        return parsed

    async def answers(self, count: int) -> list[dict[str, Any]]:
        return [await self.answer() for _ in range(count)]

    async def rest(self) -> list[dict[str, Any]]:
        """Every answer until the server closes."""
        return [json.loads(line) for line in (await self.reader.read()).splitlines()]

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):  # the server may have closed first
            await self.writer.wait_closed()


class Rig:
    """A server in a folder of its own, and its publishers."""

    def __init__(
        self,
        *,
        max_payload: int = MAX_PAYLOAD,
        inherited_fd: int | None = None,
        start: bool = True,
        path: Path | None = None,
        mode: int = 0o660,
        **bounds: int,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="intake-"))
        self.path = path or self.folder / "events.sock"
        self.store = MemoryStore()
        self.registry = Registry()
        self.dispatcher = Dispatcher()
        self.counts = Counts()
        self.acceptor = Acceptor(
            parser=EventParser(
                event_types=EVENT_TYPES, api_version="2026-01-15", max_payload=max_payload
            ),
            registry=self.registry,
            store=self.store,
            dispatcher=self.dispatcher,
            metrics=self.counts,
        )
        self.pump = Pump(self.acceptor, **bounds)
        self.server = IntakeServer(
            self.acceptor, path=self.path, mode=mode, inherited_fd=inherited_fd, pump=self.pump
        )
        self._start = start
        self._publishers: list[Publisher] = []
        self._sockets: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        if self._start:
            await self.server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.has_room.set()
        self.store.release()
        for publisher in self._publishers:
            await publisher.close()
        for sock in self._sockets:
            sock.close()
        await self.server.stop(5)
        shutil.rmtree(self.folder)

    def connect_socket(self) -> socket.socket:
        """A new connection as a non-blocking socket, closed with the rig."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect(str(self.path))
        self._sockets.append(sock)
        return sock

    async def connect(self) -> Publisher:
        """A new connection with streams."""
        reader, writer = await asyncio.open_unix_connection(sock=self.connect_socket())
        publisher = Publisher(reader, writer)
        self._publishers.append(publisher)
        return publisher
