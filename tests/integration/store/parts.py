"""A real store in a folder of the test's, and the things that one puts into it."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from prynt_relay.clock import Clock
from prynt_relay.model.delivery import AttemptResult, DueDelivery, Settlement
from prynt_relay.model.event import Append, NewEvent, Target
from prynt_relay.model.states import DeliveryState, Format, Outcome, Trigger
from prynt_relay.model.webhook import Health, NewWebhook, Secrets, Webhook
from prynt_relay.store import Store
from prynt_relay.store.numbers import numbers_at
from tests.clock import FakeClock

START = (float("-inf"), float("-inf"))
SCHEDULED, DELIVERED, FAILED, HELD, CANCELLED = DeliveryState


def event_row(nth: int) -> int:
    """The number of the nth event in a database that was made when a FakeClock began."""
    return numbers_at(FakeClock().wall_ms())[0] + nth


def delivery_row(nth: int) -> int:
    """The same of a delivery."""
    return numbers_at(FakeClock().wall_ms())[1] + nth


class Heard:
    """What an observer was told."""

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.availability_changes: list[bool] = []
        self.recovered = asyncio.Event()

    def committed(self, duration_s: float, rows: int) -> None:
        self.commits.append(rows)

    def availability(self, available: bool) -> None:
        self.availability_changes.append(available)
        if available:
            self.recovered.set()


async def open_store(folder: Path, clock: Clock | None = None, **settings: Any) -> Store:
    defaults: dict[str, Any] = {
        "api_version": "2026-01-15",
        "event_source": "urn:prynt-relay",
        "dedup_window_s": 86_400.0,
    }
    return await Store.open(
        folder / "relay.db", clock=clock or FakeClock(), **(defaults | settings)
    )


@contextlib.asynccontextmanager
async def opened(folder: Path, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Store]:
    store = await open_store(folder, clock, **settings)
    try:
        yield store
    finally:
        await store.close()


@contextlib.contextmanager
def raw(folder: Path) -> Iterator[sqlite3.Connection]:
    """The file as anybody sees it, for looking and for damage."""
    with contextlib.closing(sqlite3.connect(folder / "relay.db")) as connection:
        yield connection


def rows(folder: Path, sql: str, *values: object) -> list[Any]:
    with raw(folder) as connection:
        return connection.execute(sql, values).fetchall()


def new_webhook(**fields: Any) -> NewWebhook:
    defaults: dict[str, Any] = {
        "url": "https://receiver.test/hook",
        "events": ("*",),
        "secrets": Secrets("whsec_0123456789"),
    }
    return NewWebhook(**(defaults | fields))


async def add_webhook(store: Store, **fields: Any) -> tuple[Webhook, int]:
    webhook = await store.add_webhook(new_webhook(**fields))
    return webhook, await store.set_revision(webhook.row, '{"url":"https://receiver.test/hook"}')


def event(data: bytes = b"{}", **fields: Any) -> NewEvent:
    return NewEvent(fields.pop("event_type", "verdict.block"), data, **fields)


def to(*webhook_rows: int, state: DeliveryState = SCHEDULED) -> tuple[Target, ...]:
    return tuple(Target(row, state, Format.PRYNT) for row in webhook_rows)


def append(*webhook_rows: int, **fields: Any) -> Append:
    return Append(event(**fields), to(*webhook_rows))


def attempt(outcome: Outcome = Outcome.HTTP_ERROR, **fields: Any) -> AttemptResult:
    status = 200 if outcome is Outcome.SUCCESS else 500 if outcome is Outcome.HTTP_ERROR else None
    defaults: dict[str, Any] = {
        "outcome": outcome,
        "started_at_ms": 1_790_000_000_123,
        "duration_ms": 17,
        "slot_s": 0.017,
        "signature": b"\x01\x02",
        "status": status,
    }
    return AttemptResult(**(defaults | fields))


def settlement(
    delivery: DueDelivery,
    revision: int,
    state: DeliveryState,
    *,
    next_attempt_ms: int | None = None,
    health: Health | None = None,
    outcome: Outcome | None = None,
    trigger: Trigger = Trigger.SCHEDULE,
    failures: int | None = None,
) -> Settlement:
    if outcome is None:
        outcome = Outcome.SUCCESS if state is DELIVERED else Outcome.HTTP_ERROR
    return Settlement(
        delivery_row=delivery.row,
        webhook_row=delivery.webhook_row,
        revision_row=revision,
        number=delivery.attempts + 1,
        trigger=trigger,
        result=attempt(outcome),
        state=state,
        failures=delivery.failures + 1 if failures is None else failures,
        next_attempt_ms=next_attempt_ms,
        health=health,
    )


async def due(store: Store, webhook_row: int, limit: int = 10_000) -> list[DueDelivery]:
    return await store.due_page(webhook_row, START, limit)


async def settle_all(store: Store, webhook_row: int, revision: int, state: DeliveryState) -> int:
    """Give every scheduled delivery of a webhook one attempt that ends in `state`."""
    waiting = await due(store, webhook_row)
    await store.settle([settlement(delivery, revision, state) for delivery in waiting])
    return len(waiting)
