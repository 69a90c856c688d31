import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from prynt_relay.errors import StorageUnavailableError
from prynt_relay.publisher import (
    Accepted,
    AsyncPublisher,
    BufferFullError,
    ClosedError,
    PublishError,
    RefusedError,
    UnansweredError,
)
from tests.integration.intake.rig import Rig, until
from tests.integration.publisher.chaos import ChaosProxy


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig() as rig:
        yield rig


@pytest.fixture
async def publisher(rig: Rig) -> AsyncIterator[AsyncPublisher]:
    async with AsyncPublisher(rig.path) as publisher:
        yield publisher


async def test_an_event_is_accepted(rig: Rig, publisher: AsyncPublisher) -> None:
    """The caller gets the relay's id once the event is stored."""
    accepted = await publisher.publish("visitor.new", {"number": 1})
    event_id = rig.dispatcher.handed[0][1].event_id
    key = rig.store.events[0].idempotency_key
    assert accepted == Accepted(event_id, duplicate=False, idempotency_key=key or "", resent=False)
    assert rig.store.numbers == [1]


async def test_everything_that_is_given_arrives(rig: Rig, publisher: AsyncPublisher) -> None:
    """Id, key and creation time are the caller's where given, whatever its time zone."""
    moment = datetime(2026, 2, 14, 13, 45, 22, 341999, tzinfo=timezone(timedelta(hours=2)))
    for created_at in (moment, "2026-02-14T11:45:22.341Z"):
        await publisher.publish(
            "verdict.block",
            {"a": 1},
            event_id="evt_9fJ3kL7mNpR2x" if created_at is moment else None,
            idempotency_key=f"key {created_at}",
            created_at=created_at,
        )
    first, second = rig.store.events
    assert (first.event_type, first.event_id) == ("verdict.block", "evt_9fJ3kL7mNpR2x")
    assert first.idempotency_key == f"key {moment}"
    assert first.created_at_ms == second.created_at_ms == 1_771_069_522_341


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        ({"ключ": "🔑", "n": 1.5}, '{"ключ":"🔑","n":1.5}'.encode()),
        ({"a": "\ud800"}, b'{"a":"\\ud800"}'),
        (b'{ "a" : 1.0,\n  "b": "\\n" }\n', b'{ "a" : 1.0,   "b": "\\n" }'),
        ('{"a":1e999}', b'{"a":1e999}'),
        ({}, b"{}"),
    ],
)
async def test_data_is_a_dictionary_or_json_text(
    rig: Rig, publisher: AsyncPublisher, data: dict[str, object] | bytes | str, stored: bytes
) -> None:
    """Text goes as it is, but for newlines, which JSON has only as white space."""
    await publisher.publish("visitor.new", data)
    assert rig.store.events[0].data == stored


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1},"eventType":"verdict.allow","x":{}',
        b"[]",
        b"5",
        "nonsense",
        b'{"a":"\xff"}',
        {"a": float("nan")},
        {"a": object()},
    ],
)
async def test_data_that_is_no_object_is_the_callers_error(
    rig: Rig, publisher: AsyncPublisher, data: bytes | str
) -> None:
    """It never gets to the socket; nothing in it can pose as another key of the request."""
    with pytest.raises((ValueError, TypeError)):
        await publisher.publish("visitor.new", data)
    with pytest.raises(ValueError, match="time zone"):
        await publisher.publish("visitor.new", {}, created_at=datetime(2026, 2, 14))  # noqa: DTZ001 - what is refused
    await publisher.publish("visitor.new", {"number": 1}, created_at=datetime.now(UTC))
    assert rig.store.numbers == [1]


async def test_a_refusal_says_what_is_wrong(rig: Rig, publisher: AsyncPublisher) -> None:
    """The relay's code and message reach the caller, and the next event goes on."""
    with pytest.raises(RefusedError, match=r"verdict\.blok") as refused:
        await publisher.publish("verdict.blok", {})
    assert refused.value.code == "unknown_event_type"
    assert (await publisher.publish("verdict.block", {"number": 1})).event_id


async def test_a_duplicate_is_told(publisher: AsyncPublisher) -> None:
    """The caller's own key makes the second publishing a duplicate of the first."""
    first = await publisher.publish("visitor.new", {}, idempotency_key="k")
    second = await publisher.publish("visitor.new", {}, idempotency_key="k")
    assert (first.duplicate, second.duplicate, second.resent) == (False, True, False)
    assert second.event_id == first.event_id


async def test_events_are_pipelined_in_their_order(rig: Rig, publisher: AsyncPublisher) -> None:
    """A thousand at once share batches, and are stored in the order of the calls."""
    results = await asyncio.gather(
        *(publisher.publish("visitor.new", {"number": number}) for number in range(1000))
    )
    assert rig.store.numbers == list(range(1000))
    assert rig.store.appends < 100
    assert rig.server.connections == 1
    ids = {appended.event_id for _, appended in rig.dispatcher.handed}
    assert {accepted.event_id for accepted in results} == ids


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_lost_when_connections_are_cut(rig: Rig, seed: int) -> None:
    """Cut anywhere, in lines and in answers: every event is stored once and every caller told."""
    chaos_path = rig.folder / "chaos.sock"
    rng = random.Random(seed)
    async with (
        ChaosProxy(chaos_path, rig.path, seed=seed, most=60_000) as chaos,
        AsyncPublisher(chaos_path, max_events=50) as publisher,
    ):

        async def publish(number: int) -> tuple[int, Accepted]:
            data = {"number": number, "padding": "x" * rng.randint(0, 600)}
            return number, await publisher.publish("visitor.new", data)

        results = await asyncio.gather(*map(publish, range(400)))
    stored = {
        json.loads(append.event.data)["number"]: appended.event_id
        for append, appended in rig.dispatcher.handed
    }
    assert sorted(rig.store.numbers) == list(range(400))
    assert {number: accepted.event_id for number, accepted in results} == stored
    assert chaos.connections > 5
    assert any(accepted.resent and accepted.duplicate for _, accepted in results)


async def test_the_relay_restarts(tmp_path: Path) -> None:
    """Events published while it is away wait for it."""
    path = tmp_path / "events.sock"
    async with AsyncPublisher(path) as publisher:
        early = await publisher.submit("visitor.new", {"number": 0})
        for number in range(1, 4):
            async with Rig(path=path) as rig:
                accepted = await publisher.publish("visitor.new", {"number": number})
                assert accepted.event_id
                assert number in rig.store.numbers
        assert (await early).event_id


async def test_a_relay_that_shuts_down_is_tried_again(tmp_path: Path) -> None:
    """`shutting_down` is not the end of an event: the next daemon gets it."""
    path = tmp_path / "events.sock"
    async with AsyncPublisher(path) as publisher:
        async with Rig(path=path) as first:
            await publisher.publish("visitor.new", {"number": 1})
            first.server.quiesce()
            pending = [await publisher.submit("visitor.new", {"number": n}) for n in (2, 3, 4)]
            await until(lambda: first.counts.rejected["shutting_down"] == 3)
        async with Rig(path=path) as second:
            results = [await outcome for outcome in pending]
            assert second.store.numbers == [2, 3, 4]
        assert not any(accepted.duplicate for accepted in results)


async def test_a_relay_whose_disk_is_full_is_tried_again(
    rig: Rig, publisher: AsyncPublisher
) -> None:
    """`storage_unavailable` is tried again, in order, until the disk has room."""
    rig.store.failure = StorageUnavailableError("the disk is full")
    pending = [await publisher.submit("visitor.new", {"number": n}) for n in range(5)]
    await until(lambda: rig.counts.rejected["storage_unavailable"] >= 10)
    rig.store.failure = None
    assert all([(await outcome).resent for outcome in pending])
    assert rig.store.numbers == [0, 1, 2, 3, 4]


async def test_an_event_that_could_never_be_stored_is_refused(
    rig: Rig, publisher: AsyncPublisher
) -> None:
    """Its time over, a refusal to every try is known to be one."""
    rig.store.failure = StorageUnavailableError("the disk is full")
    with pytest.raises(RefusedError, match="disk is full") as refused:
        await publisher.publish("visitor.new", {}, timeout_s=0.2)
    assert refused.value.code == "storage_unavailable"


async def test_an_event_that_was_never_sent_is_known_not_to_be_accepted(tmp_path: Path) -> None:
    """Without a relay the caller learns that nothing happened, and why."""
    async with AsyncPublisher(tmp_path / "nobody.sock", timeout_s=0.2) as publisher:
        with pytest.raises(UnansweredError, match=r"not sent: .*nobody\.sock") as unanswered:
            await publisher.publish("visitor.new", {}, idempotency_key="k")
        assert not unanswered.value.maybe_accepted
        assert unanswered.value.idempotency_key == "k"


async def test_an_event_that_was_sent_and_not_answered_may_be_accepted(
    rig: Rig, publisher: AsyncPublisher
) -> None:
    """Nobody knows, and that is what the caller is told; the late answer disturbs nothing."""
    rig.store.hold()
    outcome = await publisher.submit("visitor.new", {"number": 1}, timeout_s=0.2)
    with pytest.raises(UnansweredError, match="not answered") as unanswered:
        await outcome
    assert unanswered.value.maybe_accepted
    rig.store.release()
    key = unanswered.value.idempotency_key
    again = await publisher.publish("visitor.new", {"number": 1}, idempotency_key=key)
    assert again.duplicate
    assert rig.store.numbers == [1]


async def test_an_event_lost_once_stays_possibly_accepted(rig: Rig) -> None:
    """Sent, its connection cut, then refused for now: the first sending may have been stored."""
    async with AsyncPublisher(rig.path) as publisher:
        rig.store.hold()
        outcome = await publisher.submit("visitor.new", {"number": 1}, timeout_s=0.6)
        await until(lambda: rig.store.queued == 1)
        rig.store.commit()
        rig.store.failure = StorageUnavailableError("the disk is full")
        for connection in list(rig.server._connections):
            connection.abort()  # before the answer is written
        rig.store.held = False
        with pytest.raises(UnansweredError) as unanswered:
            await outcome
        assert unanswered.value.maybe_accepted
        assert rig.store.numbers == [1]


async def test_at_the_bound_the_caller_waits(rig: Rig) -> None:
    """No more than max_events are taken; the others get in one by one, in order."""
    async with AsyncPublisher(rig.path, max_events=10) as publisher:
        rig.store.hold()
        tasks = [
            asyncio.create_task(publisher.publish("visitor.new", {"number": number}))
            for number in range(25)
        ]
        await until(lambda: rig.store.queued == 10)
        for _ in range(50):
            await asyncio.sleep(0)
        assert rig.store.queued == 10
        rig.store.release()
        await asyncio.gather(*tasks)
        assert rig.store.numbers == list(range(25))
        assert rig.store.largest_queue == 10


async def test_at_the_bound_the_caller_is_told(rig: Rig) -> None:
    """With when_full="raise" nobody waits; what was refused room is not taken."""
    async with AsyncPublisher(rig.path, max_bytes=2000, when_full="raise") as publisher:
        rig.store.hold()
        taken = [await publisher.submit("visitor.new", {"number": n}) for n in range(3)]
        with pytest.raises(BufferFullError):
            await publisher.submit("visitor.new", {"number": "x" * 2000})
        rig.store.release()
        await asyncio.gather(*taken)
        # An event that alone is larger than the bound is taken when there is nothing else.
        await publisher.publish("visitor.new", {"number": "x" * 2000})
        assert rig.store.numbers == [0, 1, 2, "x" * 2000]


async def test_waiting_for_room_ends_with_the_events_time(tmp_path: Path) -> None:
    """Nobody waits longer for room than the event may take."""
    async with AsyncPublisher(tmp_path / "nobody.sock", max_events=1) as publisher:
        first = await publisher.submit("visitor.new", {}, timeout_s=0.3)
        with pytest.raises(UnansweredError, match="buffer was full") as unanswered:
            await publisher.submit("visitor.new", {}, timeout_s=0.1)
        assert not unanswered.value.maybe_accepted
        # The room of one that expired is free for the next.
        with pytest.raises(UnansweredError, match=r"nobody\.sock"):
            await publisher.publish("visitor.new", {}, timeout_s=0.5)
        assert isinstance(first.exception(), UnansweredError)


async def test_a_caller_may_give_up(rig: Rig) -> None:
    """A cancelled event that wasn't sent never is; one that waits for room takes none."""
    path = rig.folder / "later.sock"
    async with AsyncPublisher(path, max_events=2) as publisher:
        kept = await publisher.submit("visitor.new", {"number": "kept"})
        given_up = asyncio.create_task(publisher.publish("visitor.new", {"number": "given up"}))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(publisher.publish("visitor.new", {"number": "waiting"}))
        await asyncio.sleep(0)
        for task in (given_up, waiting):
            task.cancel()
        await asyncio.wait([given_up, waiting])
        instead = await publisher.submit("visitor.new", {"number": "instead"})
        path.symlink_to(rig.path)
        await asyncio.gather(kept, instead)
        assert rig.store.numbers == ["kept", "instead"]


async def test_close_waits_for_answers_within_bounds(rig: Rig) -> None:
    """What is answered in time is; what isn't ends honestly; afterwards nothing is taken."""
    publisher = AsyncPublisher(rig.path)
    rig.store.hold()
    outcome = await publisher.submit("visitor.new", {"number": 1})
    await until(lambda: rig.store.queued == 1)
    closing = asyncio.create_task(publisher.close())
    await asyncio.sleep(0)
    rig.store.release()
    await closing
    assert (await outcome).event_id
    with pytest.raises(ClosedError):
        await publisher.publish("visitor.new", {})
    await publisher.close()

    publisher = AsyncPublisher(rig.path, max_events=1)
    rig.store.hold()
    outcome = await publisher.submit("visitor.new", {"number": 2})
    full = asyncio.create_task(publisher.publish("visitor.new", {"number": 3}))
    await until(lambda: rig.store.queued == 1)
    await publisher.close(timeout_s=0.05)
    with pytest.raises(UnansweredError, match="closed") as unanswered:
        await outcome
    assert unanswered.value.maybe_accepted
    with pytest.raises(ClosedError):
        await full
    rig.store.release()
    await until(lambda: rig.server.connections == 0)


async def test_a_peer_that_is_no_relay(tmp_path: Path) -> None:
    """Answers that can't be answers are no acceptance; the event ends as unanswered."""
    answers = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b'{"ok":true}\n',
        b"[]\n",
        b'{"ok":false}\n{}\n',
    ]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answers[0] if len(answers) == 1 else answers.pop())
        writer.close()

    path = tmp_path / "other.sock"
    server = await asyncio.start_unix_server(answer, path)
    async with AsyncPublisher(path) as publisher:
        with pytest.raises(UnansweredError, match="not an answer") as unanswered:
            await publisher.publish("visitor.new", {}, timeout_s=1.5)
    assert unanswered.value.maybe_accepted
    assert len(answers) == 1
    server.close()


async def test_flush_waits_for_all(rig: Rig, publisher: AsyncPublisher) -> None:
    """After it everything that was submitted is answered."""
    await publisher.flush()
    outcomes = [await publisher.submit("visitor.new", {"number": n}) for n in range(100)]
    await publisher.flush()
    assert all(outcome.done() for outcome in outcomes)
    assert len(rig.store.events) == 100


async def test_every_error_is_a_publish_error() -> None:
    """A caller that doesn't care about the difference catches one class."""
    for error in (RefusedError, UnansweredError, BufferFullError, ClosedError):
        assert issubclass(error, PublishError)
