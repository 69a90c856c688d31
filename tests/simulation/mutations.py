"""Safeguards taken out one at a time, to see that the simulation misses each of them."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast
from unittest import mock

from msgspec.structs import replace

from prynt_relay.daemon import relay as relay_module
from prynt_relay.dispatch.attempt import Consequences
from prynt_relay.dispatch.backlog import Backlog
from prynt_relay.dispatch.lane import Lane
from prynt_relay.dispatch.settling import Settling
from prynt_relay.dispatch.slots import Slots, Turn
from prynt_relay.errors import ShuttingDownError
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.states import DeliveryState
from prynt_relay.schedule.wheel import TimerWheel
from prynt_relay.store import Store, bulk, due, purge, settle
from prynt_relay.store.dedup import Supplied
from prynt_relay.store.transaction import Job
from prynt_relay.store.writer import Writer
from prynt_relay.webhooks import registry
from prynt_relay.webhooks.changes import Changes
from prynt_relay.webhooks.conversions import Conversions

Patch = Callable[[], contextlib.AbstractContextManager[object]]


class Mutation(NamedTuple):
    """How to take a safeguard out, and the invariants of which one must catch that."""

    patch: Patch
    caught_by: tuple[str, ...]


class _Uncommitted:
    """A connection on which a transaction stays open."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def execute(self, sql: str, *values: Any) -> object:
        return None if sql == "COMMIT" else self._raw.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


def _answers_before_the_commit() -> contextlib.AbstractContextManager[object]:
    async def commit(self: Writer, batch: list[Job], size: int) -> None:
        rows, finished = await self._hop(
            lambda raw: self._transaction.run(cast(sqlite3.Connection, _Uncommitted(raw)), batch)
        )
        self._observer.committed(0.0, rows)
        for job in batch:
            self._answer(job)
        for waiting in self._fanouts.pop(finished, ()):
            waiting.fanouts.discard(finished)
            if not waiting.fanouts:
                waiting.future.set_result(waiting.appended)
        await self._clock.sleep(0.05)
        await self._hop(lambda raw: raw.execute("COMMIT"))

    return mock.patch.object(Writer, "_commit", commit)


def _settled_before_the_commit() -> contextlib.AbstractContextManager[object]:
    def flush(self: Settling) -> None:
        batch, self._finished = self._finished, []
        if batch:
            self._store.settle([settlement for settlement, _ in batch])
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            self._settled(batch, done)

    return mock.patch.object(Settling, "flush", flush)


def _no_cap_per_webhook() -> contextlib.AbstractContextManager[object]:
    original = Slots.take

    def take(self: Slots) -> Turn | None:
        self.per_webhook = 1 << 20
        for line in (self._first, self._second):
            for turn in line:
                turn.allowance = 1 << 20
        return original(self)

    return mock.patch.object(Slots, "take", take)


def _no_share_for_slow_webhooks() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(Slots, "_admits", return_value=True)


def _a_slot_is_not_passed_on() -> contextlib.AbstractContextManager[object]:
    """The bug that the simulation found: see test_slots."""
    original = Slots.take

    def take(self: Slots) -> Turn | None:
        if not self._first and not self._second:
            return None
        with mock.patch.object(Slots, "_unpark", return_value=False):
            return original(self)

    return mock.patch.object(Slots, "take", take)


def _busy_rows_are_offered() -> contextlib.AbstractContextManager[object]:
    original = Backlog.offer

    def offer(self: Backlog, delivery: DueDelivery, now_ms: int, *, late: bool = False) -> None:
        turn = self.turn(delivery.webhook_row)
        busy = set(turn.lane.busy) if turn is not None else set()
        if turn is not None:
            turn.lane.busy = set()
        original(self, delivery, now_ms, late=late)
        if turn is not None:
            turn.lane.busy |= busy

    return mock.patch.object(Backlog, "offer", offer)


def _no_overlay() -> contextlib.AbstractContextManager[object]:
    """What changed while a page was read is forgotten."""
    original = Lane.finish_page

    def finish_page(self: Lane, page: list[DueDelivery], now_ms: int) -> list[DueDelivery]:
        self.overlay = {}
        return original(self, page, now_ms)

    return mock.patch.object(Lane, "finish_page", finish_page)


def _manual_attempts_use_up_the_schedule() -> contextlib.AbstractContextManager[object]:
    original = Consequences.settlement

    def settlement(self: Consequences, delivery: DueDelivery, *args: Any, **options: Any) -> Any:
        return original(self, replace(delivery, resume_ms=None), *args, **options)

    return mock.patch.object(Consequences, "settlement", settlement)


def _disabled_webhooks_are_scheduled_for() -> contextlib.AbstractContextManager[object]:
    original = registry._target

    def target(webhook: Any) -> Any:
        return replace(original(webhook), state=DeliveryState.SCHEDULED)

    return mock.patch.object(registry, "_target", target)


def _no_dedup() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(Supplied, "first_of", return_value=None)


def _a_window_takes_samples() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(bulk, "samples_among", return_value=set())


def _samples_count() -> contextlib.AbstractContextManager[object]:
    stored_event = due.stored_event
    return mock.patch.object(
        due, "stored_event", lambda columns: replace(stored_event(columns), is_test=False)
    )


def _no_time_is_excused() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(relay_module, "excused", return_value={})


def _health_is_forgotten() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(settle, "_HEALTH", settle._HEALTH + " AND 0")


def _enabling_does_not_wait() -> contextlib.AbstractContextManager[object]:
    async def written(_self: Changes, _row: int) -> None:
        return

    return mock.patch.object(Changes, "_written", written)


def _conversions_end_with_a_crash() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(Conversions, "resume", return_value=None)


def _retention_takes_what_is_scheduled() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(purge, "BLOCKED", purge.BLOCKED + " AND 0")


def _a_start_does_not_wait_for_fanouts() -> contextlib.AbstractContextManager[object]:
    async def fanouts_written(_self: Store) -> None:
        return

    return mock.patch.object(Store, "fanouts_written", fanouts_written)


def _a_page_is_not_asked_again() -> contextlib.AbstractContextManager[object]:
    """The bug that the simulation found: see test_dispatcher."""
    original = Lane.takes

    def takes(self: Lane, delivery: DueDelivery, now_ms: int, *, late: bool = False) -> bool:
        return original(self, delivery, now_ms)

    return mock.patch.object(Lane, "takes", takes)


def _a_window_takes_what_it_sent() -> contextlib.AbstractContextManager[object]:
    """The bug that the simulation found: see test_store_bulk."""
    original = bulk.retry_chunk

    def retry_chunk(connection: sqlite3.Connection, job: bulk.BulkJob, **options: Any) -> Any:
        return original(connection, replace(job, max_attempt=1 << 62), **options)

    return mock.patch.object(bulk, "retry_chunk", retry_chunk)


def _what_is_held_is_forgotten_at_a_stop() -> contextlib.AbstractContextManager[object]:
    """The bug that the simulation found: see test_conversions."""
    original = Conversions.finished

    async def finished(self: Conversions, webhook_row: int) -> None:
        with contextlib.suppress(ShuttingDownError):
            await original(self, webhook_row)

    return mock.patch.object(Conversions, "finished", finished)


def _early_wheel() -> contextlib.AbstractContextManager[object]:
    original = TimerWheel.add

    def add(self: TimerWheel[Any], due_ms: int, item: Any) -> None:
        original(self, due_ms - 500, item)

    return mock.patch.object(TimerWheel, "add", add)


MUTATIONS: Final = {
    "answer after the commit": Mutation(
        # What is answered and not yet stored isn't sent either.
        _answers_before_the_commit,
        ("nothing lost", "same bytes", "the log", "not late"),
    ),
    "settle, then go on": Mutation(
        _settled_before_the_commit,
        ("24-hour rule", "one at a time", "never more attempts", "not late", "the log"),
    ),
    "cap per webhook": Mutation(_no_cap_per_webhook, ("caps",)),
    "share of slow webhooks": Mutation(_no_share_for_slow_webhooks, ("caps", "never starved")),
    "a free slot is passed on": Mutation(_a_slot_is_not_passed_on, ("not late",)),
    "rows in flight are left alone": Mutation(
        _busy_rows_are_offered, ("in flight", "one at a time", "never more attempts")
    ),
    "changes beside a page": Mutation(
        _no_overlay, ("not late", "never more attempts", "one at a time", "nothing lost", "the log")
    ),
    "a manual attempt leaves the schedule": Mutation(
        _manual_attempts_use_up_the_schedule,
        ("not late", "never more attempts", "not before its time"),
    ),
    "held while disabled": Mutation(_disabled_webhooks_are_scheduled_for, ("never more attempts",)),
    "dedup": Mutation(_no_dedup, ("dedup",)),
    "time away is excused": Mutation(_no_time_is_excused, ("24-hour rule",)),
    "health is stored with results": Mutation(_health_is_forgotten, ("24-hour rule",)),
    "enabling waits for a disabling": Mutation(
        _enabling_does_not_wait,
        ("24-hour rule", "never more attempts", "not late", "the log", "nothing lost"),
    ),
    "never before its time": Mutation(_early_wheel, ("not before its time",)),
    "conversions go on after a crash": Mutation(
        _conversions_end_with_a_crash,
        ("not late", "the log", "nothing lost", "never more attempts"),
    ),
    "retention spares what is scheduled": Mutation(
        _retention_takes_what_is_scheduled, ("no error", "nothing lost", "not late")
    ),
    "a start waits for large fan-outs": Mutation(
        _a_start_does_not_wait_for_fanouts, ("the log", "not late", "nothing lost")
    ),
    "what a page brought is asked for again": Mutation(
        _a_page_is_not_asked_again, ("never more attempts", "the log")
    ),
    "a window sends each once": Mutation(
        _a_window_takes_what_it_sent, ("never more attempts", "not before its time")
    ),
    "a window leaves samples out": Mutation(_a_window_takes_samples, ("never more attempts",)),
    "samples have no part in the 24-hour rule": Mutation(_samples_count, ("24-hour rule",)),
    "enabling needs the end of the holding": Mutation(
        _what_is_held_is_forgotten_at_a_stop, ("never more attempts",)
    ),
}
