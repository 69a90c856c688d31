"""Server-Sent Events: live, resumed, filtered, slow readers, the end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from prynt_relay.api import stream_handlers
from prynt_relay.api.hub import Frame, Gap, Hub
from prynt_relay.clock import SystemClock
from prynt_relay.errors import ShuttingDownError
from tests.integration.api_client import Api, serving
from tests.integration.receivers import Receiver, Reply
from tests.integration.stored_history import FileStorage, empty_database, fill


class SseEvent(NamedTuple):
    name: str
    id: int | None
    data: Any


class Stream:
    """Reads a stream of events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments: list[str] = []

    async def next(self) -> SseEvent:
        """Return the next event; raises EOFError at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            while line := (await self.response.content.readline()).decode():
                line = line.rstrip("\n")
                if line.startswith(":"):
                    self.comments.append(line)
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    row = int(fields["id"]) if "id" in fields else None
                    return SseEvent(fields["event"], row, json.loads(fields["data"]))
                else:
                    fields.clear()
        raise EOFError

    async def take(self, count: int) -> list[SseEvent]:
        return [await self.next() for _ in range(count)]


@contextlib.asynccontextmanager
async def following(
    api: Api, path: str = "/v1/stream", last_id: int | None = None
) -> AsyncIterator[Stream]:
    headers = api.headers() if last_id is None else api.headers(**{"Last-Event-ID": str(last_id)})
    async with api.session.get(api.url + path, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        yield Stream(response)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


async def test_attempts_are_streamed_as_they_settle(api: Api, receiver: Receiver) -> None:
    """One `attempt` event per attempt, with what names it, how it went and what comes next."""
    webhook = await api.webhook(receiver)
    async with following(api) as stream:
        first_id = await api.event()
        first = await stream.next()
        receiver.respond = Reply(503)
        await api.event("alert.triggered")
        second = await stream.next()
    assert first.name == second.name == "attempt"
    assert first.id is not None
    assert second.id is not None
    assert first.id < second.id
    data = first.data
    assert (data["webhookId"], data["eventId"]) == (webhook["id"], first_id)
    assert (data["eventType"], data["number"]) == ("verdict.block", 1)
    assert (data["outcome"], data["status"], data["state"]) == ("success", 200, "delivered")
    assert data["nextAttemptAt"] is None
    assert second.data["outcome"] == "http_error"
    assert second.data["nextAttemptAt"] > second.data["startedAt"]
    assert (await api.get(f"/v1/deliveries/{data['deliveryId']}")).status == 200


async def test_a_webhooks_stream_shows_its_own(api: Api, receiver: Receiver) -> None:
    """Other webhooks' attempts are left out; an unknown webhook is 404."""
    mine = await api.webhook(receiver, events=["verdict.block"])
    await api.webhook(receiver, events=["verdict.allow"])
    async with following(api, f"/v1/webhooks/{mine['id']}/stream") as stream:
        for kind in ("verdict.allow", "verdict.block", "verdict.allow", "verdict.block"):
            await api.event(kind)
        events = await stream.take(2)
    assert {event.data["webhookId"] for event in events} == {mine["id"]}
    assert (await api.get("/v1/webhooks/wh_0000000000000/stream")).code == "not_found"


async def test_tests_are_streamed_too(api: Api, receiver: Receiver) -> None:
    """A sample's attempt shows up with its trigger."""
    webhook = await api.webhook(receiver)
    async with following(api) as stream:
        await api.post(f"/v1/webhooks/{webhook['id']}/test")
        event = await stream.next()
    assert event.data["trigger"] == "test"


async def test_a_stream_goes_on_after_the_last_id(api: Api, receiver: Receiver) -> None:
    """`Last-Event-ID` brings what was missed, then what is new, each once."""
    webhook = await api.webhook(receiver)
    async with following(api) as stream:
        await api.event()
        seen = await stream.next()
    for _ in range(5):
        await api.event()
    await api.settlements.wait_for(6)
    for path in ("/v1/stream", f"/v1/webhooks/{webhook['id']}/stream"):
        async with following(api, path, seen.id) as stream:
            missed = await stream.take(5)
            await api.event()
            missed.append(await stream.next())
        numbers = [event.id or 0 for event in missed]
        assert numbers == sorted(set(numbers))
        assert numbers[0] == (seen.id or 0) + 1
        assert all(event.name == "attempt" for event in missed)


async def test_a_malformed_last_id_is_refused(api: Api) -> None:
    """400 that names the header; an empty one is none."""
    for given in ("x", "-1", "1.5", "9" * 30):
        answer = await api.get("/v1/stream", **{"Last-Event-ID": given})
        assert answer.json["errors"][0]["field"] == "Last-Event-ID"
    assert (await api.get("/v1/stream?since=1h")).code == "invalid_request"


async def test_head_of_a_stream_ends(api: Api) -> None:
    """HEAD answers the headers and does not stay."""
    answer = await api.ask("HEAD", "/v1/stream")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")


async def test_silence_is_broken_by_comments(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat comes after so much silence, and the time to reconnect at the start."""
    monkeypatch.setattr(stream_handlers, "HEARTBEAT_S", 0.02)
    async with following(api) as stream:
        lines: list[str] = []
        async with asyncio.timeout(10):
            while len(lines) < 6:
                lines.append((await stream.response.content.readline()).decode())
    assert lines == ["retry: 2000\n", "\n", ": still here\n", "\n", ": still here\n", "\n"]


async def test_streams_end_when_the_daemon_leaves(tmp_path: Path) -> None:
    """Shutting down ends open streams at once, with a word."""
    async with serving(tmp_path) as api, following(api) as stream:
        stopping = asyncio.create_task(api.relay.api.stop())
        with pytest.raises(EOFError):
            await stream.next()
        async with asyncio.timeout(5):
            await stopping
    assert stream.comments[-1] == ": the relay is shutting down"


async def test_there_is_a_bound_on_streams(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stream too many is 503 with Retry-After; one that ends makes room."""
    monkeypatch.setattr(api.relay.api._hub, "_max_readers", 2)
    monkeypatch.setattr(stream_handlers, "LOOK_S", 0.02)
    async with following(api):
        async with following(api):
            refused = await api.get("/v1/stream")
            assert refused.status == 503
            assert refused.code == "too_many_streams"
            assert refused.headers["Retry-After"]
        async with asyncio.timeout(10):
            while not await opens(api):
                pass


async def opens(api: Api) -> bool:
    """Whether a stream can be opened; it is closed again."""
    async with api.session.get(f"{api.url}/v1/stream", headers=api.headers()) as response:
        return response.status == 200


# --- the hub by itself, over stored attempts


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[FileStorage]:
    path = tmp_path / "relay.db"
    empty_database(path)
    fill(path, 2_000)
    with FileStorage(path) as storage:
        yield storage


async def add_attempts(storage: FileStorage, count: int) -> None:
    """Settle again what was settled first."""
    await storage.write(
        lambda conn: conn.execute(
            "INSERT INTO attempts (delivery, webhook, revision, number, trigger, started_at_ms,"
            " duration_ms, outcome, signature) SELECT delivery, webhook, 1, 2, 1, 0, 1, 0, x'00'"
            " FROM attempts ORDER BY id LIMIT ?",
            (count,),
        )
    )


@contextlib.asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    task = asyncio.create_task(hub.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def drain(reader: Any, up_to: int) -> list[int]:
    """Read until attempt `up_to`; returns the numbers."""
    rows: list[int] = []
    while not rows or rows[-1] < up_to:
        found = await reader.next(5)
        assert isinstance(found, list)
        assert found
        rows += [frame.row for frame in found]
    return rows


async def test_a_reader_far_behind_reads_on_its_own(stored: FileStorage) -> None:
    """A resumption over more than is kept comes whole and in order, then goes on live."""
    hub = Hub(stored, SystemClock())
    async with running(hub), hub.reader(None, 0) as reader:
        newest = await stored.read(
            lambda conn: conn.execute("SELECT max(id) FROM attempts").fetchone()[0]
        )
        expected = await stored.read(
            lambda conn: [row for (row,) in conn.execute("SELECT id FROM attempts ORDER BY id")]
        )
        assert await drain(reader, newest) == expected
        await add_attempts(stored, 3)
        hub.publish([object()])
        assert await drain(reader, newest + 3) == [newest + 1, newest + 2, newest + 3]


async def test_a_slow_reader_is_told_what_it_missed(stored: FileStorage) -> None:
    """A reader more than the bound behind gets a gap with the count, then the rest, once each."""
    hub = Hub(stored, SystemClock(), replay=100)
    async with running(hub), hub.reader(None, None) as slow, hub.reader(None, None) as quick:
        start = hub.tail
        await add_attempts(stored, 1_000)
        hub.publish([object()])
        seen = await drain(quick, start + 1_000) if hub.replay >= 1_000 else None
        assert seen is None
        async with asyncio.timeout(5):
            while hub.tail < start + 1_000:
                await hub.news(5)
        gap = await slow.next(5)
        assert gap == Gap(start + 900, 900)
        assert await drain(slow, start + 1_000) == list(range(start + 901, start + 1_001))


async def test_a_gap_of_one_webhooks_stream_is_not_counted(stored: FileStorage) -> None:
    """How many of the missed were its own is not known, and said so."""
    hub = Hub(stored, SystemClock(), replay=10)
    async with running(hub), hub.reader(3, 1) as reader:
        gap = await reader.next(5)
        assert isinstance(gap, Gap)
        assert gap.missed is None


async def test_an_id_from_the_future_is_a_gap(stored: FileStorage) -> None:
    """After a restored backup a reader's last id may lie ahead: it is told, and goes on live."""
    hub = Hub(stored, SystemClock())
    async with running(hub), hub.reader(None, 10**9) as reader:
        assert await reader.next(5) == Gap(hub.tail, None)
        await add_attempts(stored, 1)
        hub.publish([object()])
        [frame] = await reader.next(5)  # type: ignore[misc]
        assert isinstance(frame, Frame)


async def test_readers_share_one_reading(
    stored: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many follow, what is new is read and encoded once."""
    hub = Hub(stored, SystemClock())
    async with running(hub), contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(hub.reader(None, None)) for _ in range(50)]
        start = hub.tail
        reads = 0
        read = stored.read

        async def counted(function: Any) -> Any:
            nonlocal reads
            reads += 1
            return await read(function)

        monkeypatch.setattr(stored, "read", counted)
        await add_attempts(stored, 200)
        hub.publish([object()])
        frames = [await reader.next(5) for reader in readers]
        assert all(found == frames[0] for found in frames)
        assert isinstance(frames[0], list)
        assert frames[0][-1].row == start + 200
        assert reads == 2


async def test_nobody_listening_costs_no_reading(stored: FileStorage) -> None:
    """Without readers nothing is read; the first reader begins where it came in."""
    hub = Hub(stored, SystemClock())
    async with running(hub):
        await add_attempts(stored, 10)
        hub.publish([object()])
        await asyncio.sleep(0)
        assert hub.tail == 0
        async with hub.reader(None, None) as reader:
            assert await reader.next(0.01) == []


async def test_a_closed_hub_takes_no_readers(stored: FileStorage) -> None:
    """After the end a stream is refused as shutting down."""
    hub = Hub(stored, SystemClock())
    async with hub.reader(None, None) as reader:
        await hub.close()
        assert await reader.next(5) is None
    with pytest.raises(ShuttingDownError):
        async with hub.reader(None, None):
            pass
