"""A relay that stops in trouble, and what it counts and says while it changes."""

import asyncio
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from prynt_relay.config.settings import Api, Listen
from prynt_relay.daemon.relay import Relay
from prynt_relay.errors import RelayError, StorageUnavailableError
from prynt_relay.model.states import DeliveryState, Outcome
from prynt_relay.store.lock import StateFolder
from tests.clock import FakeClock
from tests.integration.mail_servers import MailBox
from tests.integration.receivers import Receiver, Reply
from tests.integration.relays import (
    Publisher,
    Settlements,
    local_config,
    loopback,
    running,
    subscribe,
)
from tests.integration.test_disabling import HOUR_S, ONCE, config_with_mail, event, mail


async def test_a_sample_under_way_does_not_outlast_the_drain(tmp_path: Path) -> None:
    """A stop waits for a test delivery no longer than for the others, and cuts it off then."""
    async with (
        Receiver(respond=lambda _: None) as receiver,
        running(local_config(tmp_path), drain_s=0.05) as relay,
    ):
        webhook, _ = await subscribe(relay, receiver, timeout_s=30.0)
        testing = asyncio.ensure_future(relay.sampling.test(webhook.id, None))
        await receiver.wait_for(1)
        async with asyncio.timeout(5):
            await relay.stop(0.05)
        with pytest.raises(asyncio.CancelledError):
            await testing


async def test_a_disk_that_fills_up_during_the_stop_keeps_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last heartbeat may be refused: the database is closed and the folder given back."""
    relay = Relay(local_config(tmp_path))
    await relay.start()

    def refused(_schedule_ms: int) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(StorageUnavailableError("the disk is full"))
        return future

    monkeypatch.setattr(relay.store, "heartbeat", refused)
    await relay.stop(0.0)
    StateFolder(relay.config.state_dir).release()


async def test_what_a_deletion_cancels_is_counted(tmp_path: Path) -> None:
    """A deleted webhook's deliveries are finished, as cancelled; its own series are gone."""
    async with (
        Receiver(respond=Reply(status=500)) as receiver,
        running(local_config(tmp_path)) as relay,
    ):
        webhook, _ = await subscribe(relay, receiver)
        await event(relay)
        await event(relay)
        await relay.changes.delete(webhook.id)
        await relay.changes.conversions.finished(webhook.row)
        assert relay.metrics.snapshot({}).finished[DeliveryState.CANCELLED] == 2
        assert webhook.id not in relay.metrics.snapshot({}).webhook_attempts


async def test_an_attempt_that_ends_after_the_deletion_is_not_counted_twice(
    tmp_path: Path,
) -> None:
    """What was in flight when its webhook was deleted, and failed then, was cancelled once."""
    answered = asyncio.Event()

    async def answer(_: object) -> Reply:
        await answered.wait()
        return Reply(status=500)

    async with Receiver(respond=answer) as receiver, running(local_config(tmp_path)) as relay:
        webhook, _ = await subscribe(relay, receiver)
        settlements = Settlements(relay)
        publisher = await Publisher.connect(relay)
        await publisher.send("verdict.block", {})
        await receiver.wait_for(1)
        await relay.changes.delete(webhook.id)
        await relay.changes.conversions.finished(webhook.row)
        answered.set()
        (settlement,) = await settlements.wait_for(1)
        assert settlement.state is DeliveryState.CANCELLED
        assert relay.metrics.snapshot({}).finished[DeliveryState.CANCELLED] == 1
        assert webhook.id not in relay.metrics.snapshot({}).webhook_attempts
        await publisher.close()


async def test_a_warning_goes_by_the_time_that_a_reload_set(tmp_path: Path) -> None:
    """After `delivery.disable_after` was reloaded the mail names the moment that follows."""
    clock = FakeClock()
    async with (
        MailBox() as box,
        Receiver(respond=Reply(status=500)) as receiver,
        running(config_with_mail(tmp_path, box), clock=clock) as relay,
    ):
        await subscribe(relay, receiver, retry_schedule_s=ONCE)
        delivery = replace(relay.config.delivery, disable_after_s=2.0 * HOUR_S)
        relay.reload(replace(relay.config, delivery=delivery))
        await event(relay)
        await clock.jump(HOUR_S)
        moment = clock.wall_ms() + HOUR_S * 1000
        await event(relay)
        minute = f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%d %H:%M}"
        assert minute in str((await mail(box)).message["Subject"])


async def test_a_sample_counts_as_an_attempt(tmp_path: Path) -> None:
    """What a test sent is in the sums and the webhook's series, as in the API's figures."""
    async with (
        Receiver(respond=Reply(status=500)) as receiver,
        running(local_config(tmp_path)) as relay,
    ):
        webhook, _ = await subscribe(relay, receiver)
        await relay.sampling.test(webhook.id, None)
        counted = relay.metrics.snapshot({})
        assert counted.attempts[Outcome.HTTP_ERROR] == 1
        assert counted.webhook_attempts[webhook.id][Outcome.HTTP_ERROR] == 1
        assert counted.finished[DeliveryState.FAILED] == 0


async def test_a_start_that_fails_has_sent_nothing(tmp_path: Path) -> None:
    """Where an address is taken the daemon leaves at once, before what is due goes out."""
    clock = FakeClock()
    async with Receiver(respond=Reply(status=500)) as receiver:
        async with running(local_config(tmp_path), clock=clock) as relay:
            await subscribe(relay, receiver)
            await event(relay)
        await clock.jump(HOUR_S)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            listen = Listen(host="127.0.0.1", port=taken.getsockname()[1])
            with pytest.raises(RelayError, match=r"api\.listen"):
                await Relay(
                    local_config(tmp_path, api=Api(listen=listen)), clock=clock, lookup=loopback
                ).start()
        assert len(receiver.requests) == 1
        async with running(local_config(tmp_path), clock=clock) as relay:
            await Settlements(relay).wait_for(1)
        assert len(receiver.requests) == 2
