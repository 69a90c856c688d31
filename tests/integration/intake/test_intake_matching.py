"""Events whose webhooks take several turns of the loop to find."""

import asyncio
from collections import Counter

import pytest

from prynt_relay.intake.acceptor import Unfinished
from prynt_relay.model.event import NewEvent, Target
from tests.integration.intake.rig import TARGET, Registry, Rig, line_of, until


class Slowly:
    """An event that isn't matched before a test lets it."""

    def __init__(self, registry: "SlowRegistry") -> None:
        self.registry = registry

    def go_on(self) -> tuple[Target, ...] | None:
        self.registry.asked += 1
        if self.registry.failure is not None:
            raise self.registry.failure
        return (TARGET,) if self.registry.open else None


class SlowRegistry(Registry):
    """Finds the webhooks of events with "slow" in them when it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open = False
        self.asked = 0
        self.seen: Counter[bytes] = Counter()

    def targets(self, event: NewEvent) -> tuple[Target, ...] | Unfinished:  # type: ignore[override]
        self.seen[event.data] += 1
        return Slowly(self) if b"slow" in event.data else (TARGET,)


class SlowRig(Rig):
    """A rig with such a registry."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = SlowRegistry()
        self.acceptor._registry = self.slow


async def test_lines_behind_a_slow_one_wait_for_it() -> None:
    """Answers stay in order; what was parsed and asked already isn't done again."""
    async with SlowRig() as rig:
        publisher = await rig.connect()
        publisher.write(line_of(1) + line_of("slow 2") + line_of(3) + line_of("slow 4"))
        assert (await publisher.answer())["ok"]
        await until(lambda: rig.slow.asked > 20)
        assert rig.store.numbers == [1]
        publisher.write(line_of(5))
        other = await rig.connect()
        other.write(line_of(6))
        assert (await other.answer())["ok"], "another publisher waits with it"
        rig.slow.open = True
        assert [answer["ok"] for answer in await publisher.answers(4)] == [True] * 4
        assert rig.store.numbers == [1, 6, "slow 2", 3, "slow 4", 5]
        assert set(rig.slow.seen.values()) == {1}


async def test_a_publisher_that_leaves_meanwhile_takes_nothing_with_it() -> None:
    """What was read is stored, as ever."""
    async with SlowRig() as rig:
        publisher = await rig.connect()
        publisher.write(line_of("slow 1") + line_of(2))
        publisher.write_eof()
        await until(lambda: rig.slow.asked > 3)
        await publisher.close()
        rig.slow.open = True
        await until(lambda: rig.store.numbers == ["slow 1", 2])


async def test_a_drain_refuses_what_is_not_matched_yet() -> None:
    """It was not promised anything; the publisher sends it again."""
    async with SlowRig() as rig:
        publisher = await rig.connect()
        publisher.write(line_of("slow 1") + line_of(2))
        await until(lambda: rig.slow.asked > 3)
        stopping = asyncio.create_task(rig.server.stop(5))
        codes = [answer["error"]["code"] for answer in await publisher.answers(2)]
        assert codes == ["shutting_down"] * 2
        await stopping
        assert rig.store.numbers == []


async def test_a_failure_in_the_middle_refuses_that_line_alone() -> None:
    """The lines behind it have their own turn."""
    async with SlowRig() as rig:
        publisher = await rig.connect()
        publisher.write(line_of("slow 1") + line_of(2))
        await until(lambda: rig.slow.asked > 3)
        rig.slow.failure = RuntimeError("broken")
        first, second = await publisher.answers(2)
        assert first["error"]["code"] == "storage_unavailable"
        assert second["ok"]


async def test_a_batch_waits_for_all_of_its_events() -> None:
    """What the API hands in is stored in one piece, brought up to date at the end."""
    rig = SlowRig()
    revised: list[object] = []

    def revise(event: NewEvent, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        revised.append(event.data)
        return ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.slow, "revised", revise)
        parsed = rig.acceptor.parse_many(b"[" + line_of(1) + b"," + line_of("slow 2") + b"]")
        accepting = asyncio.create_task(rig.acceptor.accept(parsed))
        await until(lambda: rig.slow.asked > 3)
        assert rig.store.appends == 0
        rig.slow.open = True
        assert len(await accepting) == 2
        assert rig.store.appends == 1
        assert len(revised) == 2
        await rig.acceptor.accept(parsed[:1])
        assert len(revised) == 2, "nobody waited"
