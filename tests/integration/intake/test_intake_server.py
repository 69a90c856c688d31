import asyncio
import json
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prynt_relay.errors import StorageUnavailableError
from prynt_relay.intake.protocol import EventParser
from tests.integration.intake.rig import MAX_PAYLOAD, Rig, line_of, until
from tests.unit.intake_lines import BAD_LINES, GOOD_DATA, request_line


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig() as rig:
        yield rig


async def test_an_event_is_answered_once_it_is_stored(rig: Rig) -> None:
    """The contract's example: one line in, one line out, with an id, and not before the commit."""
    publisher = await rig.connect()
    rig.store.hold()
    publisher.write(
        b'{"eventType":"identification.complete","data":{"a":1},'
        b'"idempotencyKey":"idk_a7f2c9e1b3d4"}\n'
    )
    answer = asyncio.ensure_future(publisher.answer())
    await until(lambda: bool(rig.store.queued))
    done, _ = await asyncio.wait([answer], timeout=0.05)
    assert not done
    rig.store.release()
    stored = rig.dispatcher
    assert await answer == {
        "ok": True,
        "eventId": stored.handed[0][1].event_id,
        "duplicate": False,
    }
    assert stored.handed[0][0].event.data == b'{"a":1}'
    assert rig.counts.received == {"identification.complete": 1}


async def test_a_duplicate_is_answered_with_the_first_id(rig: Rig) -> None:
    """It is no event that was received and nothing is dispatched for it."""
    publisher = await rig.connect()
    publisher.write(line_of(1, idempotencyKey="k") + line_of(2, idempotencyKey="k"))
    first, second = await publisher.answers(2)
    assert second == {"ok": True, "eventId": first["eventId"], "duplicate": True}
    assert rig.store.numbers == [1]
    assert len(rig.dispatcher.handed) == 1
    assert rig.counts.received == {"visitor.new": 1}


async def test_every_bad_line_gets_its_code_and_the_connection_goes_on(rig: Rig) -> None:
    """The whole table over one connection, a good line after each bad one."""
    publisher = await rig.connect()
    for number, (line, code) in enumerate(BAD_LINES):
        publisher.write(line + b"\n" + line_of(number))
        refused, accepted = await publisher.answers(2)
        assert refused["ok"] is False
        assert set(refused) == {"ok", "error"}
        assert set(refused["error"]) == {"code", "message"}
        assert refused["error"]["code"] == code, line[:80]
        assert accepted["ok"] is True
    assert sum(rig.counts.rejected.values()) == len(BAD_LINES)
    assert len(rig.store.events) == len(BAD_LINES)


async def test_data_goes_to_the_store_byte_for_byte(rig: Rig) -> None:
    """Nothing on the way from the socket rewrites a number, a key or an escape."""
    publisher = await rig.connect()
    for data in GOOD_DATA:
        publisher.write(request_line(data) + b"\n")
        assert (await publisher.answer())["ok"]
    assert [event.data for event in rig.store.events] == GOOD_DATA


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b" \t\n"])
async def test_line_endings(rig: Rig, ending: bytes) -> None:
    """A carriage return or white space before the newline does no harm."""
    publisher = await rig.connect()
    publisher.write(request_line(b'{"a":1}') + ending)
    assert (await publisher.answer())["ok"]
    assert rig.store.events[0].data == b'{"a":1}'


async def test_an_empty_line_is_ignored(rig: Rig) -> None:
    """Nothing is answered to it, before, between and after events."""
    publisher = await rig.connect()
    publisher.write(b"\n\r\n\n" + line_of(1) + b"\n\n" + line_of(2) + b"\n" * 100_000)
    publisher.write_eof()
    assert [answer["ok"] for answer in await publisher.rest()] == [True, True]


async def test_answers_come_in_the_order_of_the_lines(rig: Rig) -> None:
    """Refusals wait for the events before them, and batches for each other."""
    publisher = await rig.connect()
    rig.store.hold()
    publisher.write(line_of(1) + b"bad\n" + line_of(2))
    await until(lambda: rig.store.appends >= 1)
    publisher.write(b"worse\n")
    publisher.write(line_of(3))
    await until(lambda: rig.store.appends >= 2)
    rig.store.release()
    answers = await publisher.answers(5)
    assert [answer["ok"] for answer in answers] == [True, False, True, False, True]
    ids = [appended.event_id for _, appended in rig.dispatcher.handed]
    assert [answer["eventId"] for answer in answers if answer["ok"]] == ids
    assert rig.store.numbers == [1, 2, 3]


async def test_answers_keep_their_order_when_the_store_answers_out_of_order(rig: Rig) -> None:
    """A later batch that is stored first waits for the one before."""
    publisher = await rig.connect()
    rig.store.hold()

    async def send(number: int) -> None:
        publisher.write(line_of(number))
        await until(lambda: rig.store.appends == number + 1)

    for number in range(3):
        await send(number)
    queue = rig.store._queue
    queue.reverse()
    rig.store.release()
    await publisher.answers(3)
    assert rig.store.numbers == [2, 1, 0]
    by_number = {
        json.loads(append.event.data)["number"]: appended.event_id
        for append, appended in rig.dispatcher.handed
    }
    publisher.write(line_of(0, eventId=by_number[0]))
    assert (await publisher.answer())["ok"]


async def test_many_publishers_at_once_each_get_their_own_answers(rig: Rig) -> None:
    """Fifty connections pipeline; each sees its own events' ids in its own order."""

    async def publish(name: int) -> None:
        publisher = await rig.connect()
        ids = [f"evt_{name:05d}{number:08d}" for number in range(100)]
        rng = random.Random(name)
        stream = b"".join(line_of(number, eventId=ids[number]) for number in range(100))
        while stream:
            size = rng.randint(1, 2000)
            publisher.write(stream[:size])
            stream = stream[size:]
            await asyncio.sleep(0)
        assert [answer["eventId"] for answer in await publisher.answers(100)] == ids

    await asyncio.gather(*(publish(name) for name in range(50)))
    assert len(rig.store.events) == 5000


async def test_all_lines_of_one_read_are_one_batch(rig: Rig) -> None:
    """Pipelined events share a transaction."""
    publisher = await rig.connect()
    publisher.write(b"".join(map(line_of, range(200))))
    await publisher.answers(200)
    assert rig.store.appends < 20


async def test_a_half_closed_publisher_gets_all_its_answers(rig: Rig) -> None:
    """Its end of input is no reason to forget it; then the server closes too."""
    publisher = await rig.connect()
    rig.store.hold()
    publisher.write(b"".join(map(line_of, range(1000))))
    publisher.write_eof()
    rest = asyncio.ensure_future(publisher.rest())
    await until(lambda: rig.store.queued >= 1000)
    rig.store.release()
    assert [answer["ok"] for answer in await rest] == [True] * 1000
    await until(lambda: not rig.server.connections)


@pytest.mark.parametrize("last", [request_line(b"{}"), request_line(b"{}") + b"\r"])
async def test_a_last_line_needs_no_newline(rig: Rig, last: bytes) -> None:
    """At the end of input what is there is a line: an object shows by itself that it is whole."""
    publisher = await rig.connect()
    publisher.write(line_of(1) + last)
    publisher.write_eof()
    assert [answer["ok"] for answer in await publisher.rest()] == [True, True]


async def test_half_a_line_at_the_end_of_input_is_refused(rig: Rig) -> None:
    """A publisher that died in the middle of a line leaves no event."""
    publisher = await rig.connect()
    publisher.write(line_of(1) + line_of(2)[:20])
    publisher.write_eof()
    answers = await publisher.rest()
    assert [answer["ok"] for answer in answers] == [True, False]
    assert answers[1]["error"]["code"] == "invalid_json"
    assert rig.store.numbers == [1]


async def test_a_publisher_that_leaves_without_reading_has_its_events_taken(rig: Rig) -> None:
    """What was read is handed in, though nobody is there for the answer."""
    publisher = await rig.connect()
    rig.store.hold()
    publisher.write(b"".join(map(line_of, range(50))))
    await until(lambda: rig.store.queued >= 50)
    await publisher.close()
    rig.store.release()
    await until(lambda: not rig.server.connections)
    assert rig.store.numbers == list(range(50))
    assert len(rig.dispatcher.handed) == 50


async def test_when_the_store_fails_the_publisher_is_told(rig: Rig) -> None:
    """Every event of a batch that wasn't written is refused, and the connection goes on."""
    publisher = await rig.connect()
    rig.store.failure = StorageUnavailableError("the disk is full; free some space")
    publisher.write(line_of(1) + b"bad\n" + line_of(2))
    answers = await publisher.answers(3)
    codes = [answer["error"]["code"] for answer in answers]
    assert codes == ["storage_unavailable", "invalid_json", "storage_unavailable"]
    assert "the disk is full" in answers[0]["error"]["message"]
    assert rig.counts.rejected == {"storage_unavailable": 2, "invalid_json": 1}
    assert rig.dispatcher.handed == []
    rig.store.failure = None
    publisher.write(line_of(3))
    assert (await publisher.answer())["ok"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            "not stored: database or disk is full (SQLITE_FULL); send it again later",
            "not stored: database or disk is full (SQLITE_FULL); send it again later",
        ),
        (
            "the database failed; the daemon must be restarted",
            (
                "not stored: the database failed; the daemon must be restarted; "
                "send the event again later"
            ),
        ),
    ],
)
async def test_a_refusal_of_the_store_says_each_thing_once(
    told: str, message: str, rig: Rig
) -> None:
    """What was not done and what to do about it stand in it, whoever says so, and not twice."""
    publisher = await rig.connect()
    rig.store.failure = StorageUnavailableError(told)
    publisher.write(line_of(1))
    assert (await publisher.answer())["error"]["message"] == message


async def test_a_fault_within_is_answered_and_told_apart_from_the_disk(rig: Rig) -> None:
    """One event that the relay fails on doesn't take down the connection of all others."""
    publisher = await rig.connect()
    rig.registry.failure = RuntimeError("secret detail")
    publisher.write(line_of(1))
    answer = await publisher.answer()
    assert answer["error"]["code"] == "storage_unavailable"
    assert "secret detail" not in answer["error"]["message"]
    rig.registry.failure = None
    publisher.write(line_of(2))
    assert (await publisher.answer())["ok"]


async def test_rules_can_be_replaced_while_publishers_are_connected(rig: Rig) -> None:
    """After a reload the same connection's lines obey the new rules."""
    publisher = await rig.connect()
    publisher.write(request_line(b"{}", b"shop.order") + b"\n")
    assert (await publisher.answer())["error"]["code"] == "unknown_event_type"
    rig.acceptor.parser = EventParser(
        event_types=["shop.order"], api_version="1", max_payload=MAX_PAYLOAD
    )
    publisher.write(request_line(b"{}", b"shop.order") + b"\n")
    assert (await publisher.answer())["ok"]


stream_bits = st.sampled_from(
    [b"\n", b"\r\n", b"bad", request_line(b"{}"), request_line(b'{"a":"\xff"}'), b"{", b" "]
)
streams = st.lists(stream_bits | st.binary(max_size=20), max_size=12).map(b"".join)


@given(stream=streams, cuts=st.lists(st.integers(0, 300), max_size=6), small=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_bytes_get_an_answer_per_line_however_they_are_cut(
    stream: bytes, cuts: list[int], small: bool
) -> None:
    """The answers depend on the bytes alone, not on how the socket hands them over."""

    async def answers(pieces: list[bytes]) -> list[bytes]:
        async with Rig(max_payload=-65_400 if small else MAX_PAYLOAD) as rig:
            publisher = await rig.connect()
            for piece in pieces:
                publisher.write(piece)
                await publisher.writer.drain()
                await asyncio.sleep(0)
            publisher.write_eof()
            return (await publisher.reader.read()).splitlines()

    places = sorted({cut for cut in cuts if cut < len(stream)})
    starts = [0, *places]
    pieces = [stream[start:end] for start, end in zip(starts, [*places, len(stream)], strict=True)]
    whole = asyncio.run(answers([stream]))
    lines = [line for line in stream.split(b"\n") if line not in {b"", b"\r"}]
    assert len(whole) == len(lines)
    kinds = [json.loads(line).get("error", {}).get("code") for line in whole]
    split = asyncio.run(answers(pieces))
    assert [json.loads(line).get("error", {}).get("code") for line in split] == kinds
