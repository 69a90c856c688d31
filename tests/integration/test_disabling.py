"""The 24-hour rule, whole: failures, both e-mails, held deliveries, a restart in between."""

import asyncio
from pathlib import Path

from prynt_relay.config.settings import Config, Email
from prynt_relay.daemon.relay import Relay
from prynt_relay.model.states import DeliveryState, DisabledReason, Trigger
from prynt_relay.model.webhook import Webhook
from prynt_relay.model.webhook_input import WebhookInput
from tests.clock import FakeClock
from tests.integration.mail_servers import MailBox, Received
from tests.integration.receivers import Receiver, Reply
from tests.integration.relays import Publisher, Settlements, local_config, running, subscribe

HOUR_S = 3600
ONCE = (7 * 86_400.0,)
"""A retry schedule that leaves one attempt per event within these tests' time."""


def config_with_mail(folder: Path, box: MailBox) -> Config:
    email = Email(
        host="127.0.0.1", port=box.port, tls="none", sender="relay@example.com",
        recipients=("ops@example.com",),
    )  # fmt: skip
    return local_config(folder, email=email)


async def event(relay: Relay) -> None:
    """Send one event and wait until its first attempt is on disk."""
    settlements = Settlements(relay)
    publisher = await Publisher.connect(relay)
    await publisher.send("verdict.block", {"n": 1})
    await settlements.wait_for(1)
    await publisher.close()


def only(relay: Relay) -> Webhook:
    (webhook,) = relay.registry
    return webhook


async def mail(box: MailBox) -> Received:
    async with asyncio.timeout(10):
        return await box.received.get()


async def test_a_day_of_failures_disables_with_a_warning_at_half_time(tmp_path: Path) -> None:
    """Warned at 12 h, disabled at 24 h and not before, each with one mail; then held, not lost."""
    clock = FakeClock()
    status = "500"
    async with (
        MailBox() as box,
        Receiver(respond=lambda _: Reply(status=int(status))) as receiver,
        running(config_with_mail(tmp_path, box), clock=clock) as relay,
    ):
        await subscribe(relay, receiver, retry_schedule_s=ONCE)
        for hour in range(24):
            await event(relay)
            assert only(relay).enabled
            assert only(relay).health.warned is (hour >= 12)
            await clock.jump(HOUR_S)
        warning = (await mail(box)).message
        assert only(relay).id in str(warning["Subject"])
        await event(relay)
        webhook = only(relay)
        assert not webhook.enabled
        assert webhook.disabled_reason is DisabledReason.FAILING
        notice = (await mail(box)).message
        for text in (webhook.id, "127.0.0.1" if "127" in receiver.url else receiver.host,
                     "25", f"prynt webhooks enable {webhook.id}"):  # fmt: skip
            assert text in notice.get_content()
        assert receiver.path not in notice.get_content()
        await relay.changes.conversions.finished(webhook.row)
        publisher = await Publisher.connect(relay)
        await publisher.send("verdict.block", {"n": 2})
        backlog = await relay.store.backlog()
        assert (backlog.scheduled, backlog.held) == (0, 26)
        status = "200"
        await relay.changes.patch(webhook.id, WebhookInput(enabled=True))
        assert only(relay).health.failing_since_ms is None
        settlements = Settlements(relay)
        count = await relay.resending.window(webhook.id, 0, None, frozenset({DeliveryState.HELD}))
        assert count == 26
        await settlements.wait_for(26)
        assert {s.state for s in settlements.all} == {DeliveryState.DELIVERED}
        assert (await relay.store.backlog()).held == 0
        assert box.received.empty()
        await publisher.close()


async def test_a_success_in_between_starts_afresh(tmp_path: Path) -> None:
    """A success after 23 h gives a failing webhook another 24 h."""
    clock = FakeClock()
    status = "500"
    async with (
        Receiver(respond=lambda _: Reply(status=int(status))) as receiver,
        running(local_config(tmp_path), clock=clock) as relay,
    ):
        await subscribe(relay, receiver, retry_schedule_s=ONCE)
        await event(relay)
        await clock.jump(23 * HOUR_S)
        status = "200"
        await event(relay)
        assert only(relay).health.failing_since_ms is None
        status = "500"
        await event(relay)
        await clock.jump(23 * HOUR_S)
        await event(relay)
        assert only(relay).enabled
        await clock.jump(HOUR_S)
        await event(relay)
        assert not only(relay).enabled


async def test_what_was_updated_when_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """A warning changes nothing that is seen; disabling is an update, at its own moment."""
    clock = FakeClock()
    async with (
        MailBox() as box,
        Receiver(respond=Reply(status=500)) as receiver,
    ):
        async with running(config_with_mail(tmp_path, box), clock=clock) as relay:
            created, _ = await subscribe(relay, receiver, retry_schedule_s=ONCE)
            await event(relay)
            await clock.jump(13 * HOUR_S)
            await event(relay)
            await mail(box)
            assert only(relay).updated_at_ms == created.updated_at_ms
        async with running(config_with_mail(tmp_path, box), clock=clock) as relay:
            assert only(relay).updated_at_ms == created.updated_at_ms
            await clock.jump(12 * HOUR_S)
            await event(relay)
            disabled = only(relay)
            assert disabled.disabled_at_ms is not None
            assert disabled.updated_at_ms == disabled.disabled_at_ms
            await mail(box)
        async with running(config_with_mail(tmp_path, box), clock=clock) as relay:
            assert only(relay).updated_at_ms == disabled.updated_at_ms


async def test_the_rule_survives_a_restart_and_excuses_the_outage(tmp_path: Path) -> None:
    """What failed before a restart counts after it; the time in between doesn't."""
    clock = FakeClock()
    async with Receiver(respond=Reply(status=500)) as receiver:
        async with running(local_config(tmp_path), clock=clock) as relay:
            await subscribe(relay, receiver, retry_schedule_s=ONCE)
            await event(relay)
            await clock.jump(20 * HOUR_S)
        await clock.jump(100 * HOUR_S)
        async with running(local_config(tmp_path), clock=clock) as relay:
            await clock.jump(3.5 * HOUR_S)
            await event(relay)
            assert only(relay).enabled
            assert only(relay).health.failures == 2
            await clock.jump(0.6 * HOUR_S)
            await event(relay)
            assert not only(relay).enabled
        async with running(local_config(tmp_path), clock=clock) as relay:
            assert only(relay).disabled_reason is DisabledReason.FAILING
            await relay.changes.conversions.finished(only(relay).row)
            assert (await relay.store.backlog()).held == 3


async def test_a_sample_that_is_sent_again_has_no_part_in_the_rule(tmp_path: Path) -> None:
    """A test delivery retried by hand is sent; neither its failures nor its success count."""
    clock = FakeClock()
    status = "500"
    async with (
        MailBox() as box,
        Receiver(respond=lambda _: Reply(status=int(status))) as receiver,
        running(config_with_mail(tmp_path, box), clock=clock) as relay,
    ):
        webhook, _ = await subscribe(relay, receiver, retry_schedule_s=ONCE)
        sample = await relay.sampling.test(webhook.id, None)
        for hours in (0, 13, 12, 48):
            await clock.jump(hours * HOUR_S)
            settlements = Settlements(relay)
            await relay.resending.one(sample, webhook.row)
            (settled,) = await settlements.wait_for(1)
            assert (settled.trigger, settled.health) == (Trigger.MANUAL, None)
            assert only(relay).enabled
            assert only(relay).health == webhook.health
        await event(relay)
        failing = only(relay).health
        assert failing.failing_since_ms == clock.wall_ms()
        status = "200"
        settlements = Settlements(relay)
        await relay.resending.one(sample, webhook.row)
        (settled,) = await settlements.wait_for(1)
        assert settled.state is DeliveryState.DELIVERED
        assert only(relay).health == failing
        assert box.received.empty()
    async with running(local_config(tmp_path), clock=clock) as relay:
        assert only(relay).health.failing_since_ms == failing.failing_since_ms


async def test_mails_wait_for_a_server_that_is_away(tmp_path: Path) -> None:
    """A mail server that is down at first gets each mail once when it is back."""
    clock = FakeClock()
    async with MailBox() as box:
        port = box.port
    async with Receiver(respond=Reply(status=500)) as receiver:
        config = config_with_mail(tmp_path, box)
        async with running(config, clock=clock) as relay:
            await subscribe(relay, receiver, retry_schedule_s=ONCE)
            await event(relay)
            await clock.jump(24 * HOUR_S)
            await event(relay)
            assert not only(relay).enabled
            async with MailBox(port=port) as back:
                for _ in range(400):
                    if not back.received.empty():
                        break
                    await clock.jump(60)
                    await asyncio.sleep(0.005)  # real I/O, with the clock in our hands
                got = await mail(back)
                assert "disabled" in str(got.message["Subject"])
                await clock.jump(2 * HOUR_S)
                assert back.received.empty()


async def test_what_an_operator_disabled_is_held_and_stays_so(
    tmp_path: Path,
) -> None:
    """Disabling by hand holds what waits; enabling alone sends none of it."""
    clock = FakeClock()
    async with (
        Receiver(respond=Reply(status=500)) as receiver,
        running(local_config(tmp_path), clock=clock) as relay,
    ):
        webhook, _ = await subscribe(relay, receiver)
        await event(relay)
        await relay.changes.patch(webhook.id, WebhookInput(enabled=False))
        await relay.changes.conversions.finished(webhook.row)
        assert (await relay.store.backlog()).held == 1
        await relay.changes.patch(webhook.id, WebhookInput(enabled=True))
        await clock.jump(HOUR_S)
        assert len(receiver.requests) == 1
        assert only(relay).disabled_reason is None
