"""Connections: kept, reused, found dead, dropped, and never leaked."""

import asyncio
import contextlib
import errno
import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.states import Format, Outcome
from prynt_relay.transport import connector
from prynt_relay.transport.sender import Sender
from tests.integration import misbehaving as bad
from tests.integration.attempts import EVENT, sender, webhook
from tests.integration.misbehaving import Misbehaving
from tests.integration.receivers import Receiver, Reply


async def send(one: Sender, url: str, timeout_s: float = 5.0) -> AttemptResult:
    return await one.send(webhook(url, timeout_s=timeout_s), EVENT, Format.PRYNT)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Script:
    """Plays one behaviour per connection, the last one for all that follow."""

    def __init__(self, *behaviours: bad.Behaviour) -> None:
        self.behaviours = list(behaviours)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        await behaviour(reader, writer)


def once_then(then: bad.Behaviour) -> bad.Behaviour:
    """Answer the connection's first request well, then do something else at the second."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bad.read_request(reader)
        writer.write(bad.OK)
        await then(reader, writer)

    return behave


healthy = bad.answers(bad.OK)


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
async def test_a_connection_is_reused_while_its_answers_are_complete(tls: bool) -> None:
    """Whatever the status and however long the body, up to 64 KiB, one connection serves all."""
    replies = [
        Reply(200, b"ok"), Reply(204), Reply(500, b"x" * 30_000), Reply(200, b"y" * 50_000),
        Reply(200), Reply(301, b"", (("Location", "/"),)), Reply(200, b"z"),
    ]  # fmt: skip
    async with Receiver(tls=tls) as receiver, sender() as one:
        for reply in replies:
            receiver.respond = reply
            assert (await send(one, receiver.url)).status == reply.status
        assert len(receiver.requests) == len(replies)
        assert receiver.connections == 1


async def test_attempts_at_once_have_a_connection_each_and_leave_them_to_the_next() -> None:
    """The pool has no bound of its own; dispatch bounds the attempts."""
    async with Receiver() as receiver, sender() as one:
        for _ in range(3):
            results = await asyncio.gather(*(send(one, receiver.url) for _ in range(100)))
            assert {result.outcome for result in results} == {Outcome.SUCCESS}
        assert receiver.connections <= 100


async def test_webhooks_on_one_host_share_connections() -> None:
    """Connections belong to name and port, not to webhooks."""
    async with Receiver() as receiver, sender() as one:
        for path in ("/a", "/b", "/c"):
            assert (await send(one, receiver.url_for(path))).outcome is Outcome.SUCCESS
        assert receiver.connections == 1
        await send(one, receiver.url_for("/d", host="other.receiver.test"))
        assert receiver.connections == 2


@pytest.mark.parametrize(
    "spoiler",
    [
        bad.floods(b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 500 Not yours\r\n\r\n" * 100),
        bad.drips(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b"x" * 99, every_s=0.005),
        bad.answers(bad.OK + b"HTTP/1.1 500 Not yours\r\nContent-Length: 0\r\n\r\n"),
        bad.answers(bad.OK, b"HTTP/1.1 500 Not yours\r\nContent-Length: 0\r\n\r\n"),
    ],
    ids=["endless", "dripping", "two answers at once", "two answers"],
)
async def test_a_spoiled_connection_never_serves_again(spoiler: bad.Behaviour) -> None:
    """What is left of one answer is never taken for the answer to the next request."""
    async with Misbehaving(Script(spoiler, healthy)) as server, sender() as one:
        for _ in range(3):
            result = await send(one, server.url)
            assert (result.outcome, result.status) == (Outcome.SUCCESS, 200)
            await asyncio.sleep(0)
        assert server.connections == 2


async def test_an_unasked_answer_on_an_idle_connection_ends_it() -> None:
    """A server's parting 408 is not the answer to the next request."""
    spoken = asyncio.Event()

    async def parting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await bad.until_closed(reader)
        spoken.set()

    async with Misbehaving(Script(once_then(parting), healthy)) as server, sender() as one:
        assert (await send(one, server.url)).status == 200
        await asyncio.wait_for(spoken.wait(), 2)
        assert (await send(one, server.url)).status == 200
        assert server.connections == 2


def dies(kind: str) -> bad.Behaviour:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bad.read_request(reader)
        if kind == "reset":
            bad.reset(writer)
        else:
            await bad.close(writer)

    return die


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("kind", ["reset", "close"])
async def test_a_kept_connection_found_dead_costs_the_event_nothing(kind: str, tls: bool) -> None:
    """Where a reused connection dies before a byte of the answer, a fresh one gets the request."""
    requests: list[bytes] = []

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await bad.read_request(reader))
        writer.write(bad.OK)
        await bad.until_closed(reader)

    script = Script(once_then(dies(kind)), record)
    async with Misbehaving(script, tls=tls) as server, sender() as one:
        assert (await send(one, server.url)).outcome is Outcome.SUCCESS
        result = await send(one, server.url)
        assert result.outcome is Outcome.SUCCESS
        assert server.connections == 2
    [request] = requests
    assert f"X-Prynt-Timestamp: {result.started_at_ms // 1000}".encode() in request


async def test_the_second_sending_takes_no_other_kept_connection() -> None:
    """Where one kept connection is dead others may be: the resend opens its own."""
    count = 8
    async with Misbehaving(Script(once_then(dies("close")))) as server, sender() as one:
        results = await asyncio.gather(*(send(one, server.url) for _ in range(count)))
        assert {result.outcome for result in results} == {Outcome.SUCCESS}
        assert server.connections == count
        again = await send(one, server.url)
        assert again.outcome is Outcome.SUCCESS
        assert server.connections == count + 1


async def test_there_is_no_third_sending() -> None:
    """A fresh connection that dies as well fails the attempt."""
    script = Script(once_then(dies("close")), bad.closes_after_reading)
    async with Misbehaving(script) as server, sender() as one:
        await send(one, server.url)
        assert (await send(one, server.url)).outcome is Outcome.CONNECTION_ERROR
        assert server.connections == 2


async def test_an_answer_that_had_begun_is_not_asked_for_twice() -> None:
    """One byte of a response means that the receiver had the request."""

    async def begins(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bad.read_request(reader)
        writer.write(b"H")
        await bad.close(writer)

    async with Misbehaving(Script(once_then(begins), healthy)) as server, sender() as one:
        await send(one, server.url)
        assert (await send(one, server.url)).outcome is Outcome.CONNECTION_ERROR
        assert server.connections == 1


async def test_a_silent_kept_connection_is_a_timeout_not_a_resend() -> None:
    """Silence is no sign of a dead connection: the receiver may be working on it."""
    script = Script(once_then(bad.never_answers), healthy)
    async with Misbehaving(script) as server, sender() as one:
        await send(one, server.url)
        assert (await send(one, server.url, timeout_s=0.3)).outcome is Outcome.TIMEOUT
        assert server.connections == 1


async def test_the_second_sending_has_the_rest_of_the_same_deadline() -> None:
    """Two sendings are one attempt with one deadline."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bad.read_request(reader)
        await asyncio.sleep(0.3)  # the misbehaviour itself
        await bad.close(writer)

    script = Script(once_then(late), bad.never_answers)
    async with Misbehaving(script) as server, sender() as one:
        await send(one, server.url)
        result = await send(one, server.url, timeout_s=0.5)
        assert result.outcome is Outcome.TIMEOUT
        assert 450 <= result.duration_ms < 750
        assert server.connections == 2


async def test_idle_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection is closed within twice the time for which it may be reused."""
    assert 2 * connector.KEEP_ALIVE_S < 5
    monkeypatch.setattr(connector, "KEEP_ALIVE_S", 0.1)
    ended = asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bad.read_request(reader)
        writer.write(bad.OK)
        await bad.until_closed(reader)
        ended.set()

    async with Misbehaving(watch) as server, sender() as one:
        await send(one, server.url)
        await asyncio.wait_for(ended.wait(), 1)


async def test_what_a_burst_opened_is_closed_while_traffic_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The newest connection is used again first, so that the others can grow old."""
    monkeypatch.setattr(connector, "KEEP_ALIVE_S", 0.2)
    async with Receiver() as receiver, sender() as one:
        await asyncio.gather(*(send(one, receiver.url) for _ in range(20)))
        assert len(receiver.open_connections) > 10
        async with asyncio.timeout(5):
            while len(receiver.open_connections) > 1:
                await send(one, receiver.url)


async def test_a_connection_idle_for_too_long_is_not_reused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past the time for reuse a new connection is opened, though the old one still stands."""
    monkeypatch.setattr(connector, "KEEP_ALIVE_S", 0.0)
    async with Misbehaving(healthy) as server, sender() as one:
        for _ in range(3):
            assert (await send(one, server.url)).outcome is Outcome.SUCCESS
        assert server.connections == 3


async def test_hundreds_of_hosts_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host has connections of its own only while they are used."""
    monkeypatch.setattr(connector, "KEEP_ALIVE_S", 0.1)
    async with Receiver(tls=False) as receiver, sender() as one:
        before = open_descriptors()
        urls = [receiver.url_for("/", host=f"host-{i}.test") for i in range(300)]
        results = await asyncio.gather(*(send(one, url) for url in urls))
        assert {result.outcome for result in results} == {Outcome.SUCCESS}
        assert receiver.connections == 300
        async with asyncio.timeout(3):
            while open_descriptors() > before:  # noqa: ASYNC110 - only the kernel knows
                await asyncio.sleep(0.02)


async def test_no_attempt_leaks_a_descriptor_however_it_ends() -> None:
    """Attempts that end in every way, and at any moment, close what they opened."""
    chance = random.Random(4)
    behaviours = [
        bad.never_answers, bad.closes_at_once, bad.resets, healthy,
        bad.drips(bad.OK, every_s=0.01), bad.floods(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000),
        bad.answers(b"garbage\r\n\r\n"),
    ]  # fmt: skip

    async def any_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await chance.choice(behaviours)(reader, writer)

    async def cancelled(one: Sender, url: str, after_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                await send(one, url, timeout_s=0.2)

    before = open_descriptors()
    async with (
        Misbehaving(any_way) as server,
        Misbehaving(bad.never_answers, tls=False) as deaf,
        Misbehaving(any_way, tls=False) as plain,
        sender() as one,
    ):
        await asyncio.gather(*(send(one, server.url, timeout_s=0.2) for _ in range(60)))
        await asyncio.gather(*(send(one, plain.url, timeout_s=0.2) for _ in range(60)))
        urls = [server.url, plain.url, deaf.url.replace("http:", "https:")]
        await asyncio.gather(
            *(cancelled(one, chance.choice(urls), chance.uniform(0, 0.05)) for _ in range(100))
        )
    async with asyncio.timeout(3):
        while open_descriptors() > before + 2:  # noqa: ASYNC110 - only the kernel knows
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Lower the limit to what is open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 3, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_an_attempt_fails_clearly_and_the_next_can_succeed() -> None:
    """The limit on open files costs the attempt, with a text that says so, and nothing else."""
    async with Receiver() as receiver, sender() as one:
        await one._resolver.addresses("receiver.test")
        with no_descriptors_left():
            result = await send(one, receiver.url)
        assert result.outcome is Outcome.CONNECTION_ERROR
        assert result.error is not None
        assert "file descriptors" in result.error
        assert errno.errorcode[errno.EMFILE] not in result.error
        assert (await send(one, receiver.url)).outcome is Outcome.SUCCESS


async def test_closing_the_sender_closes_its_connections() -> None:
    """Nothing stays open once the sender is closed."""
    async with Receiver() as receiver:
        async with sender() as one:
            await send(one, receiver.url)
            assert receiver.open_connections
        async with asyncio.timeout(2):
            while receiver.open_connections:  # noqa: ASYNC110 - the receiver's side ends later
                await asyncio.sleep(0.01)
