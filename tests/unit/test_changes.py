"""Changes of webhooks while attempts are made, and while the disk takes nothing."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from msgspec.structs import replace

from prynt_relay.errors import ShuttingDownError, StorageUnavailableError
from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.event import EVENT_TYPES, NewEvent
from prynt_relay.model.mail import OutboxMail
from prynt_relay.model.states import DisabledReason, Outcome
from prynt_relay.model.webhook import Health, NewWebhook, Webhook
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.schedule.disable import Verdict
from prynt_relay.webhooks.changes import Changes
from prynt_relay.webhooks.doors import Dispatch, Mails, Transport, WebhookStore
from prynt_relay.webhooks.endpoint import EndpointRules
from prynt_relay.webhooks.fields import FieldRules
from prynt_relay.webhooks.registry import Matching, Registry
from tests.clock import FakeClock, turns
from tests.unit.dispatching import webhook

FAILED = AttemptResult(Outcome.TIMEOUT, 0, 10_000, 10.0, b"")
FAILING = Health(failing_since_ms=1, failing_from_ms=1, failures=9)


def nothing_matches(_event: NewEvent, _webhooks: list[Webhook]) -> Matching:
    raise AssertionError("no webhook here has a filter")


class HandStore:
    """Commits one change at a time, when the test says so, in the order of the calls."""

    def __init__(self, *rows: Webhook) -> None:
        self.rows = {each.row: each for each in rows}
        self.queue: list[tuple[asyncio.Future[Any], Any, bool]] = []
        self.full = False
        self.held = 0

    def add_webhook(self, new: NewWebhook, *, template: object) -> "asyncio.Future[Webhook]":
        assert template is not None
        fields = {name: getattr(new, name) for name in new.__struct_fields__}
        added = Webhook(
            row=7, id="wh_7", created_at_ms=0, updated_at_ms=0, revision_row=3, **fields
        )
        return self._later(lambda: self.rows.setdefault(7, added))

    @property
    def available(self) -> bool:
        return not self.full

    def update_webhook(
        self,
        row: int,
        *,
        outbox: Sequence[OutboxMail] = (),
        template: object = None,
        kept: bool = False,
        **new: Any,
    ) -> "asyncio.Future[Webhook]":
        def change() -> Webhook:
            pictured = {} if template is None else {"revision_row": 5}
            self.rows[row] = replace(self.rows[row], **new, **pictured)
            return self.rows[row]

        return self._later(change, kept=kept)

    def hold_chunk(self, _row: int, _limit: int) -> "asyncio.Future[int]":
        self.held += 1
        return self._later(lambda: 0)

    def _later(self, work: Any, *, kept: bool = False) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.queue.append((future, work, kept))
        return future

    async def commit(self) -> None:
        """Write what is queued, in one batch."""
        await turns()
        batch, self.queue = self.queue, []
        for future, work, kept in batch:
            if self.full and kept:
                self.queue.append((future, work, kept))
            elif self.full:
                future.set_exception(StorageUnavailableError("the disk is full"))
            else:
                future.set_result(work())
        await turns()


class Quiet:
    """The rooms around, which have nothing to say."""

    def webhook_changed(self, row: int) -> None:
        pass

    def template(self, webhook: Webhook) -> str:
        return webhook.url

    def warning(self, *_: object) -> OutboxMail:
        return OutboxMail("<w@x>", "", "")

    def disabled(self, *_: object) -> OutboxMail:
        return OutboxMail("<d@x>", "", "")

    def written(self) -> None:
        pass


class World:
    """One webhook and what changes it."""

    def __init__(self, health: Health = FAILING, **fields: Any) -> None:
        self.webhook = replace(webhook(1), health=health, **fields)
        self.store = HandStore(self.webhook)
        self.registry = Registry([self.webhook], matches=nothing_matches)
        self.clock = FakeClock()
        quiet = Quiet()
        self.changes = Changes(
            registry=self.registry,
            store=cast(WebhookStore, self.store),
            dispatch=cast(Dispatch, quiet),
            transport=cast(Transport, quiet),
            rules=FieldRules(
                endpoint=EndpointRules(allow_http=False, allow_addresses=()),
                event_types=EVENT_TYPES,
                check_filter=lambda _: None,
            ),
            mails=cast(Mails, quiet),
            clock=self.clock,
            random_bytes=lambda count: b"x" * count,
        )

    @property
    def now(self) -> Webhook:
        found = self.registry.by_row(1)
        assert found is not None
        return found

    def patch(self, **fields: Any) -> "asyncio.Task[Webhook]":
        return asyncio.ensure_future(self.changes.patch(self.webhook.id, WebhookInput(**fields)))

    def disable(self) -> None:
        self.changes.failing(self.now, Verdict.DISABLE, FAILED)


@pytest.mark.parametrize("fields", [{"description": "x"}, {"url": "https://other.test/"}])
async def test_a_change_does_not_take_back_a_disabling_made_meanwhile(fields: Any) -> None:
    """A webhook that is disabled for failing while it is edited stays disabled, and edited."""
    world = World()
    patching = world.patch(**fields)
    await turns()
    world.disable()
    await world.store.commit()
    changed = await patching
    assert not changed.enabled
    assert not world.now.enabled
    assert world.now.disabled_reason is DisabledReason.FAILING
    assert all(getattr(world.now, name) == value for name, value in fields.items())
    assert replace(world.store.rows[1], updated_at_ms=0) == replace(world.now, updated_at_ms=0)
    await world.store.commit()
    assert world.store.held == 1


async def test_an_attempt_that_fails_while_its_webhook_is_enabled_counts_afresh() -> None:
    """Memory and disk agree on when a webhook, enabled with an attempt in flight, began to fail."""
    world = World(enabled=False, disabled_reason=DisabledReason.FAILING)
    patching = world.patch(enabled=True)
    await turns()
    # The attempt's end: judged by what is in memory, written behind the change.
    assert world.now.health.failing_since_ms is None
    later = replace(world.now.health, failing_since_ms=5, failing_from_ms=5, failures=1)
    world.registry.set_health(1, later)
    world.store.update_webhook(1, health=later)
    await world.store.commit()
    assert (await patching).health == later
    assert world.now.enabled
    assert world.store.rows[1].health == later


async def test_an_enabling_that_the_disk_refuses_changes_nothing() -> None:
    """What was known of a webhook's failures is still known when it could not be enabled."""
    world = World(enabled=False, disabled_reason=DisabledReason.FAILING)
    world.store.full = True
    patching = world.patch(enabled=True)
    await world.store.commit()
    with pytest.raises(StorageUnavailableError):
        await patching
    assert not world.now.enabled
    assert world.now.health == FAILING


async def test_a_change_of_the_request_and_its_picture_are_one_write() -> None:
    """A new URL comes into force with its revision: the disk takes both or none."""
    world = World(health=Health())
    patching = world.patch(url="https://other.test/")
    await world.store.commit()
    assert (await patching).revision_row == 5
    creating = asyncio.ensure_future(
        world.changes.create(WebhookInput(url="https://new.test/", events=("*",)))
    )
    await world.store.commit()
    created, _ = await creating
    assert created.revision_row == 3
    assert world.store.queue == []


async def test_leaving_does_not_wait_for_a_full_disk() -> None:
    """A disabling that can't be written doesn't keep the daemon; it is decided again later."""
    world = World()
    world.store.full = True
    world.disable()
    await world.store.commit()
    async with asyncio.timeout(5):
        await world.changes.finish()
    ((written, _, _),) = world.store.queue
    written.set_exception(ShuttingDownError("the store is closing"))
    await turns()
    assert world.changes._tasks == {}


async def test_a_disabling_waits_for_the_disk_and_is_written_once() -> None:
    """What a failure led to is kept in its place before the attempt, not asked for again later."""
    world = World()
    world.store.full = True
    world.disable()
    await world.store.commit()
    await world.clock.advance(60)
    assert len(world.store.queue) == 1
    assert world.store.rows[1] is world.webhook
    world.store.full = False
    await world.store.commit()
    await world.store.commit()
    assert not world.store.rows[1].enabled
    assert world.store.held == 1
