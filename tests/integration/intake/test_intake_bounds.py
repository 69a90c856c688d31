import asyncio
import json
import resource
import socket
import time
from pathlib import Path

import pytest

from prynt_relay.errors import StorageUnavailableError
from prynt_relay.intake import connection, pump
from tests.integration.intake.rig import MAX_PAYLOAD, TARGET, Publisher, Rig, line_of, until
from tests.pace import stretched
from tests.unit.intake_lines import request_line

MB = 1024 * 1024


class PeakMemory:
    """How far the process's resident memory rose above where it stood."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._before = self._peak()

    def _peak(self) -> int:
        status = Path("/proc/self/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    @property
    def growth(self) -> int:
        return self._peak() - self._before


async def in_turns(publisher: Publisher) -> None:
    """Let the server read all that is on its way from this publisher."""
    await publisher.writer.drain()
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_hundred_megabytes_without_a_newline() -> None:
    """They are refused once, skipped to their newline in bounded memory, and all goes on."""
    async with Rig() as rig:
        publisher = await rig.connect()
        publisher.write(line_of(1))
        await publisher.answer()
        memory = PeakMemory()
        chunk = b"x" * MB
        for _ in range(100):
            publisher.write(chunk)
            await publisher.writer.drain()
        publisher.write(b"\n" + line_of(2))
        refused, accepted = await publisher.answers(2)
        assert refused["error"]["code"] == "payload_too_large"
        assert accepted["ok"]
        assert memory.growth < 10 * MB


async def test_an_overlong_line_is_refused_before_its_end_and_in_its_place() -> None:
    """The publisher learns of it at once, after the answers to what it sent before."""
    async with Rig(max_payload=1000) as rig:
        publisher = await rig.connect()
        rig.store.hold()
        publisher.write(line_of(1) + b"x" * 100_000)
        await until(lambda: bool(rig.store.queued))
        rig.store.release()
        accepted, refused = await publisher.answers(2)
        assert accepted["ok"]
        assert refused["error"]["code"] == "payload_too_large"
        publisher.write(b"x" * 300_000 + b"\n" + line_of(2))
        assert (await publisher.answer())["ok"]
        assert rig.counts.rejected == {"payload_too_large": 1}


async def test_an_overlong_line_at_the_end_of_input_is_refused_once() -> None:
    """Its skipped rest is no line of its own."""
    async with Rig(max_payload=1000) as rig:
        publisher = await rig.connect()
        publisher.write(b"x" * 500_000)
        publisher.write_eof()
        (refused,) = await publisher.rest()
        assert refused["error"]["code"] == "payload_too_large"


async def test_the_longest_line_and_one_byte_more() -> None:
    """The line's bound is exact, wherever the socket cuts it."""
    async with Rig(max_payload=1000) as rig:
        publisher = await rig.connect()
        empty = request_line(b"{}")
        longest = empty + b" " * (rig.acceptor.parser.max_line - len(empty))
        for pieces in ([longest], [longest[:70], longest[70:66_000], longest[66_000:]]):
            for excess in (b"", b" "):
                for piece in pieces:
                    publisher.write(piece)
                    await in_turns(publisher)
                publisher.write(excess + b"\n")
                assert (await publisher.answer())["ok"] == (excess == b"")


async def test_a_publisher_that_never_reads_is_eventually_not_read_from() -> None:
    """It sends bad lines without end; at some point its writes find no room any more."""
    async with Rig() as rig:
        memory = PeakMemory()
        sock = rig.connect_socket()
        chunk = b"bad\n" * 16_384
        sent = stalled = 0
        while stalled < 200:
            try:
                sent += sock.send(chunk[sent % 4 :])
                stalled = 0
            except BlockingIOError:
                stalled += 1
                await asyncio.sleep(0.001)
            assert sent < 50 * MB
        assert memory.growth < 20 * MB
        # It is served again as soon as it reads.
        lines = sent // 4
        loop = asyncio.get_running_loop()
        answered = 0
        while answered < lines:
            answered += (await loop.sock_recv(sock, MB)).count(b"\n")
        assert answered == lines


async def test_events_without_end_and_without_reading() -> None:
    """The same with events: what is taken is bounded, and every one of it is answered."""
    async with Rig() as rig:
        sock = rig.connect_socket()
        chunk = b"".join(map(line_of, range(1000)))
        sent = stalled = 0
        while stalled < 200:
            try:
                sent += sock.send(chunk[sent % len(chunk) :])
                stalled = 0
            except BlockingIOError:
                stalled += 1
                await asyncio.sleep(0.001)
            assert sent < 50 * MB
        taken = len(rig.store.events)
        assert taken < 50_000
        loop = asyncio.get_running_loop()
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while part := await loop.sock_recv(sock, MB):
            received += part
        whole, rest = divmod(sent, len(chunk))
        expected = whole * 1000 + chunk[:rest].count(b"\n")
        answers = [json.loads(line)["ok"] for line in received.splitlines()]
        # The last line may have been cut in the middle.
        assert answers[:expected] == [True] * expected
        assert len(answers) - expected in (0, 1)


async def test_a_slow_store_stops_the_reading_of_a_connection() -> None:
    """While the store doesn't answer, one connection hands in no more than its share."""
    async with Rig() as rig:
        publisher = await rig.connect()
        rig.store.hold()
        total = 30_000
        publisher.write(b"".join(map(line_of, range(total))))
        publisher.write_eof()
        for _ in range(300):
            await asyncio.sleep(0)
        one_read = 262_144 // len(line_of(1))
        assert rig.store.queued < connection.MAX_UNANSWERED_ROWS // 2 + one_read + 1
        rig.store.release()
        assert [answer["ok"] for answer in await publisher.rest()] == [True] * total
        assert rig.store.numbers == list(range(total))


async def test_large_events_are_bounded_by_their_bytes() -> None:
    """A connection's unanswered lines are bounded in bytes too."""
    async with Rig() as rig:
        publisher = await rig.connect()
        rig.store.hold()
        line = line_of("x" * 200_000)
        publisher.write(line * 100)
        publisher.write_eof()
        for _ in range(500):
            await asyncio.sleep(0)
        assert rig.store.queued * len(line) <= connection.MAX_UNANSWERED_BYTES + len(line) + 262_144
        rig.store.release()
        assert len(await publisher.rest()) == 100


async def test_all_connections_together_are_bounded() -> None:
    """Many publishers can't add up to what one may not; all are served in the end."""
    async with Rig(max_unanswered_rows=1000) as rig:
        rig.store.hold()
        publishers = [await rig.connect() for _ in range(40)]
        for publisher in publishers:
            publisher.write(b"".join(map(line_of, range(500))))
            publisher.write_eof()
        for _ in range(200):
            await asyncio.sleep(0)
        # An event and its delivery are two rows.
        assert rig.pump.unanswered_rows == 2 * rig.store.queued
        assert 1000 <= rig.pump.unanswered_rows <= 1000 + 2 * connection.LINES_PER_TURN
        rests = [asyncio.ensure_future(publisher.rest()) for publisher in publishers]
        while not all(rest.done() for rest in rests):
            rig.store.commit(1)
            await asyncio.sleep(0)
        assert len(rig.store.events) == 40 * 500
        assert 2 * rig.store.largest_queue <= 1000 + 2 * connection.LINES_PER_TURN
        assert rig.pump.unanswered_rows == 0


async def test_a_large_fan_out_is_handed_in_in_small_pieces() -> None:
    """What is bounded is rows: events that go to a thousand webhooks are taken few at a time."""
    async with Rig() as rig:
        rig.registry.found = (TARGET,) * 1000
        publisher = await rig.connect()
        rig.store.hold()
        publisher.write(b"".join(map(line_of, range(200))))
        publisher.write_eof()
        for _ in range(300):
            await asyncio.sleep(0)
        assert rig.store.largest_append <= 3
        assert 1000 * rig.store.queued < pump.MAX_UNANSWERED_ROWS + connection.ROWS_PER_TURN + 1000
        rest = asyncio.ensure_future(publisher.rest())
        while not rest.done():
            rig.store.commit(1)
            await asyncio.sleep(0)
        assert [answer["ok"] for answer in await rest] == [True] * 200
        assert rig.store.numbers == list(range(200))


async def test_a_full_store_makes_the_others_wait_for_room() -> None:
    """Under load lines are handed in only when the store says that there is room."""
    async with Rig(max_unanswered_rows=100) as rig:
        first = await rig.connect()
        second = await rig.connect()
        rig.store.hold()
        rig.store.has_room.clear()
        first.write(b"".join(map(line_of, range(50))))
        await until(lambda: rig.store.queued >= 50)
        second.write(line_of("second"))
        await in_turns(second)
        rig.store.release()
        await first.answers(50)
        assert "second" not in rig.store.numbers
        rig.store.has_room.set()
        assert (await second.answer())["ok"]


async def test_a_store_that_has_failed_does_not_silence_publishers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where waiting for room fails, lines are handed in to get their refusals."""

    async def no_room() -> None:
        raise StorageUnavailableError("the store is closed")

    async with Rig() as rig:
        monkeypatch.setattr(rig.store, "room", no_room)
        rig.store.failure = StorageUnavailableError("the store is closed")
        publisher = await rig.connect()
        publisher.write(b"".join(map(line_of, range(600))))
        codes = {answer["error"]["code"] for answer in await publisher.answers(600)}
        assert codes == {"storage_unavailable"}


async def test_a_busy_publisher_does_not_starve_a_quiet_one() -> None:
    """One that keeps the relay busy without pause leaves every other its turn."""
    async with Rig() as rig:
        busy = await rig.connect()
        quiet = await rig.connect()
        busy.write(b"bad\n" * 500_000)
        rounds = 0
        while rounds < 20:
            quiet.write(line_of(rounds))
            assert (await quiet.answer())["ok"]
            rounds += 1
        assert sum(rig.counts.rejected.values()) < 500_000
        busy.writer.transport.abort()


async def test_unfinished_lines_are_bounded_over_all_connections() -> None:
    """Past the bound the connection that adds to them is closed; the others go on."""
    async with Rig(max_partial_bytes=100_000) as rig:
        publishers = [await rig.connect() for _ in range(3)]
        beginning = request_line(b'{"a":"' + b"x" * 40_000)
        for publisher in publishers[:2]:
            publisher.write(beginning)
            await in_turns(publisher)
        publishers[2].write(beginning)
        assert await publishers[2].reader.read() == b""
        for publisher in publishers[:2]:
            publisher.write(b'"}}\n')
            assert (await publisher.answer())["ok"]
        fresh = await rig.connect()
        fresh.write(beginning[:-1])
        await in_turns(fresh)
        fresh.write(b'"}}\n')
        assert (await fresh.answer())["ok"]


async def test_a_line_that_comes_byte_by_byte() -> None:
    """Its cost grows with its length, not with the square of it."""
    async with Rig() as rig:
        alone = connection.Connection(rig.acceptor, rig.pump)
        started = time.process_time()
        for _ in range(MAX_PAYLOAD):  # copied anew for every byte they would be 34 GB
            alone.data_received(b"x")
        assert time.process_time() - started < stretched(3)
        alone.connection_lost(None)


async def test_thousands_of_idle_connections() -> None:
    """They cost some kilobytes each, and a publisher among them is served as ever."""
    memory = PeakMemory()
    async with Rig() as rig:
        idle = []
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # both ends of all are ours
        for number in range(min(10_000, files // 2 - 500)):
            idle.append(rig.connect_socket())
            if number % 100 == 0:  # before the queue of those to be accepted is full
                await until(lambda: rig.server.connections == len(idle))
        await until(lambda: rig.server.connections == len(idle))
        publisher = await rig.connect()
        publisher.write(line_of(1))
        assert (await publisher.answer())["ok"]
        assert memory.growth < 100 * MB
        for sock in idle:
            sock.close()
        await until(lambda: rig.server.connections <= 1)
