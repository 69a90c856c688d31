"""What a crash left half done is finished by the next start."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from prynt_relay.daemon.relay import DATABASE_FILE
from prynt_relay.model.event import Target
from prynt_relay.model.states import DeliveryState, Format
from prynt_relay.store import fanout
from tests.integration.receivers import Receiver
from tests.integration.relays import Publisher, local_config, running, subscribe

TARGETS = 60


async def test_what_was_left_of_a_large_fan_out_is_sent_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries that are written only after a crash are due like those from before it."""
    monkeypatch.setattr(fanout, "CHUNK", 1)  # so that the start has to wait for many commits
    config = local_config(tmp_path)
    async with Receiver() as receiver:
        async with running(config) as relay:
            webhook, _ = await subscribe(relay, receiver)
            publisher = await Publisher.connect(relay)
            answer = await publisher.send("verdict.block", {})
            await receiver.wait_for(1)
            await publisher.close()
        with closing(sqlite3.connect(config.state_dir / DATABASE_FILE)) as database:
            # As if the event had many targets, and none of its deliveries had been written yet.
            to_one = Target(webhook.row, DeliveryState.SCHEDULED, Format.PRYNT)
            database.execute("DELETE FROM attempts")
            database.execute("DELETE FROM deliveries")
            database.execute("UPDATE events SET delivery_count = ?, fanout_pending = 1", (TARGETS,))
            database.execute(
                "INSERT INTO fanouts SELECT id, received_at_ms, ? FROM events",
                (fanout.pack_targets([to_one] * TARGETS),),
            )
            database.commit()
        async with running(config):
            requests = await receiver.wait_for(1 + TARGETS)
    assert Counter(r.header("X-Prynt-Delivery") for r in requests) == {
        answer["eventId"]: 1 + TARGETS
    }


async def test_a_stored_webhook_that_no_request_fits_keeps_no_other_from_being_sent(
    tmp_path: Path,
) -> None:
    """After an upgrade one URL that is refused now fails by itself; the daemon starts."""
    config = local_config(tmp_path)
    async with Receiver() as receiver:
        async with running(config) as relay:
            unfit, _ = await subscribe(relay, receiver)
            await subscribe(relay, receiver)
        with closing(sqlite3.connect(config.state_dir / DATABASE_FILE)) as database:
            database.execute(
                "UPDATE webhooks SET url = 'https://[fe80::1%2' WHERE id = ?", (unfit.row,)
            )
            database.commit()
        async with running(config) as relay:
            publisher = await Publisher.connect(relay)
            await publisher.send("verdict.block", {})
            await receiver.wait_for(1)
            await publisher.close()
    assert len(receiver.requests) == 1
