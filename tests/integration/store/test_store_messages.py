"""Attempts that one request stood for: they name the message, which keeps what was sent."""

import asyncio
from pathlib import Path

from msgspec.structs import replace

from prynt_relay.model.delivery import DueDelivery, Message, Settlement
from prynt_relay.store import Store
from prynt_relay.store.history_detail import MessageRow, delivery_detail
from tests.clock import FakeClock
from tests.integration.store.parts import (
    DELIVERED,
    SCHEDULED,
    add_webhook,
    append,
    delivery_row,
    due,
    opened,
    rows,
    settlement,
)

NO_LIMIT = 10**12


def folded(deliveries: list[DueDelivery], revision: int, body: bytes) -> list[Settlement]:
    """One message's settlements."""
    message = Message(
        deliveries[0].row, deliveries[-1].row, len(deliveries), "evt_1", "verdict.block", body
    )
    return [
        replace(settlement(delivery, revision, DELIVERED), message=message)
        for delivery in deliveries
    ]


async def messages(store: Store, count: int) -> list[MessageRow | None]:
    """The message of the last attempt of each of the first `count` deliveries."""

    async def of(row: int) -> MessageRow | None:
        found = await store.read(lambda conn: delivery_detail(conn, row))
        assert found is not None
        return found.attempts[-1].message

    return [await of(delivery_row(nth)) for nth in range(1, count + 1)]


async def test_every_delivery_of_a_message_names_it(tmp_path: Path) -> None:
    """Two messages and an attempt alone in one transaction: each is told from the others."""
    async with opened(tmp_path) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)] * 6)
        waiting = await due(store, webhook.row)
        await asyncio.gather(
            store.settle(folded(waiting[:3], revision, b"one")),
            store.settle([settlement(waiting[3], revision, DELIVERED)]),
            store.settle(folded(waiting[4:], revision, b"two")),
        )
        first = MessageRow(delivery_row(1), 3, "evt_1", "verdict.block", b"one")
        second = MessageRow(delivery_row(5), 2, "evt_1", "verdict.block", b"two")
        assert await messages(store, 6) == [first, first, first, None, second, second]
    assert rows(tmp_path, "SELECT message FROM attempts") == [(1,), (1,), (1,), (None,), (2,), (2,)]


async def test_a_message_is_stored_once_though_a_repetition_cuts_it(tmp_path: Path) -> None:
    """A delivery that is settled twice in a transaction splits its rows, not the message."""
    async with opened(tmp_path) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)] * 3)
        waiting = await due(store, webhook.row)
        before = settlement(waiting[1], revision, SCHEDULED, next_attempt_ms=1)
        waiting[1].attempts = 1
        await asyncio.gather(
            store.settle([before]), store.settle(folded(waiting, revision, b"body"))
        )
        found = await messages(store, 3)
        assert found == [MessageRow(delivery_row(1), 3, "evt_1", "verdict.block", b"body")] * 3
    assert rows(tmp_path, "SELECT delivery, number, message FROM attempts") == [
        (delivery_row(2), 1, None),
        (delivery_row(1), 1, 1),
        (delivery_row(2), 2, 1),
        (delivery_row(3), 1, 1),
    ]
    assert rows(tmp_path, "SELECT count(*) FROM messages") == [(1,)]


async def test_a_message_goes_with_the_last_of_its_deliveries(tmp_path: Path) -> None:
    """Retention takes the oldest first: until the newest goes, the others' message is whole."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        webhook, revision = await add_webhook(store)
        for _ in range(2):
            await store.append([append(webhook.row)] * 2)
            await clock.advance(100)
        await store.settle(folded(await due(store, webhook.row), revision, b"body"))
        await store.purge(history_s=150, max_size=NO_LIMIT)
        assert rows(tmp_path, "SELECT delivery, message FROM attempts") == [
            (delivery_row(3), 1),
            (delivery_row(4), 1),
        ]
        assert rows(tmp_path, "SELECT delivery_count, body FROM messages") == [(4, b"body")]
        await store.purge(history_s=10, max_size=NO_LIMIT)
    assert rows(tmp_path, "SELECT count(*) FROM attempts") == [(0,)]
    assert rows(tmp_path, "SELECT count(*) FROM messages") == [(0,)]
