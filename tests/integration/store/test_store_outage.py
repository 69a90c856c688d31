"""What waits, what is refused and what goes on while the disk takes no writes."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from prynt_relay.errors import StorageUnavailableError
from prynt_relay.model.mail import OutboxMail
from prynt_relay.store import checkpoint, writer
from prynt_relay.store.checkpoint import Checkpointer
from tests.clock import FakeClock, turns
from tests.integration.store.parts import (
    DELIVERED,
    Heard,
    add_webhook,
    append,
    due,
    opened,
    rows,
    settlement,
)
from tests.integration.store.test_store_faults import Gates, advanced, sqlite_error

FULL = (13, "SQLITE_FULL")
LARGE = b"x" * 200_000


async def test_a_kept_change_is_written_with_the_attempt_behind_it(tmp_path: Path) -> None:
    """What an attempt led to never comes to the disk later than the attempt does."""
    clock, gates = FakeClock(), Gates()
    async with opened(tmp_path, clock, opener=gates.open) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)])
        (delivery,) = await due(store, webhook.row)
        gates.writer.error = sqlite_error(*FULL)
        mail = OutboxMail("<disabled@relay.test>", "subject", "body")
        changed = store.update_webhook(webhook.row, kept=True, outbox=(mail,), enabled=False)
        plain = store.update_webhook(webhook.row, description="x")
        settled = store.settle([settlement(delivery, revision, DELIVERED)])
        with pytest.raises(StorageUnavailableError):
            await advanced(clock, plain)
        await clock.advance(60)
        assert not changed.done()
        assert not settled.done()
        gates.writer.error = None
        await advanced(clock, settled)
        assert changed.done()
        assert not (await changed).enabled
    assert rows(tmp_path, "SELECT count(*) FROM outbox") == [(1,)]
    assert rows(tmp_path, "SELECT count(*) FROM attempts") == [(1,)]


async def test_a_full_queue_of_results_keeps_no_publisher_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many results wait for the disk, who sends an event is told that it isn't taken."""
    monkeypatch.setattr(writer, "QUEUE_ROWS", 1_500)
    clock, gates, heard = FakeClock(), Gates(), Heard()
    async with opened(tmp_path, clock, opener=gates.open, observer=heard) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)] * 2_000)
        waiting = await due(store, webhook.row)
        gates.writer.error = sqlite_error(*FULL)
        kept = [store.settle([settlement(each, revision, DELIVERED)]) for each in waiting]
        room = asyncio.ensure_future(store.room())
        behind = store.append([append()])
        with pytest.raises(StorageUnavailableError, match="not stored"):
            await advanced(clock, behind)
        await advanced(clock, room)
        with pytest.raises(StorageUnavailableError, match="not stored"):
            await advanced(clock, store.append([append()]))
        gates.writer.error = None
        for each in kept:
            await advanced(clock, each)
    assert heard.availability_changes == [False, True]
    assert rows(tmp_path, "SELECT count(*) FROM attempts") == [(len(kept),)]


async def test_one_write_that_fails_costs_only_those_in_it(tmp_path: Path) -> None:
    """What waits behind it has its own try before anybody is told to come again."""
    clock, gates = FakeClock(), Gates()
    async with opened(tmp_path, clock, opener=gates.open) as store:
        gates.writer.error = sqlite_error(*FULL)
        gates.writer.gate.clear()
        first = store.append([append()])
        gates.writer.waiting.clear()
        await gates.writer.waiting.wait()
        behind = store.append([append()])
        gates.writer.gate.set()
        with pytest.raises(StorageUnavailableError):
            await first
        gates.writer.error = None
        await advanced(clock, behind)
    assert rows(tmp_path, "SELECT count(*) FROM events") == [(1,)]


async def test_a_checkpoint_that_fails_is_not_tried_at_every_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While only the log can be written, moving it is tried again as it grows."""
    tried = 0

    def run(self: Checkpointer, connection: sqlite3.Connection) -> None:
        nonlocal tried
        tried += 1
        raise sqlite_error(*FULL)

    monkeypatch.setattr(Checkpointer, "run", run)
    monkeypatch.setattr(checkpoint, "CHECKPOINT_BYTES", 1_000_000)
    async with opened(tmp_path, FakeClock()) as store:
        for _ in range(20):
            await store.append([append(data=LARGE)])
            await turns()
        assert store.available
    assert 2 <= tried <= 10
