"""The main job, whole and in process: from the socket to a signed HTTPS POST."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest

from prynt_relay.model.states import DeliveryState
from tests.clock import FakeClock
from tests.integration.receivers import Receiver, Reply
from tests.integration.relays import Publisher, Settlements, local_config, running, subscribe


async def test_an_event_arrives_signed_and_byte_for_byte(tmp_path: Path) -> None:
    """What a publisher writes arrives as the contract's envelope, with a signature that holds."""
    async with Receiver() as receiver, running(local_config(tmp_path)) as relay:
        webhook, secret = await subscribe(relay, receiver, "verdict.block")
        publisher = await Publisher.connect(relay)
        answer = await publisher.send_line(
            b'{"eventType":"verdict.block","data":{"z":1.0, "a":"\\u00e9\xc3\xa9","n":1e400},'
            b'"createdAt":"2026-02-14T11:45:22.341Z","idempotencyKey":"key-1"}'
        )
        (request,) = await receiver.wait_for(1)
        assert answer == {"ok": True, "eventId": answer["eventId"], "duplicate": False}
        body = (
            f'{{"webhookId":"{webhook.id}","eventId":"{answer["eventId"]}",'
            '"eventType":"verdict.block","apiVersion":"2026-01-15",'
            '"createdAt":"2026-02-14T11:45:22.341Z","idempotencyKey":"key-1",'
            '"data":{"z":1.0, "a":"\\u00e9é","n":1e400}}'
        ).encode()
        assert request.body == body
        timestamp = request.header("X-Prynt-Timestamp")
        signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
        assert request.header("X-Prynt-Signature") == f"sha256={signed.hexdigest()}"
        await publisher.close()


async def test_a_duplicate_is_answered_with_the_first_and_not_sent(tmp_path: Path) -> None:
    """The same idempotency key again stores and sends nothing new."""
    async with Receiver() as receiver, running(local_config(tmp_path)) as relay:
        await subscribe(relay, receiver)
        publisher = await Publisher.connect(relay)
        first = await publisher.send("verdict.allow", {}, idempotencyKey="k")
        again = await publisher.send("verdict.allow", {"other": 1}, idempotencyKey="k")
        await publisher.send("verdict.allow", {"last": True})
        requests = await receiver.wait_for(2)
        assert again == {"ok": True, "eventId": first["eventId"], "duplicate": True}
        assert [json.loads(r.body)["data"] for r in requests] == [{}, {"last": True}]
        await publisher.close()


@pytest.mark.parametrize("succeeds_at", [1, 2, 3, None])
async def test_attempts_come_at_0_5_and_35_minutes(tmp_path: Path, succeeds_at: int | None) -> None:
    """Same body, new timestamp and signature each time; a success ends it, else it has failed."""
    clock = FakeClock()
    answers = iter([Reply(status=200 if n == succeeds_at else 503) for n in (1, 2, 3)])
    async with (
        Receiver(respond=lambda _: next(answers)) as receiver,
        running(local_config(tmp_path), clock=clock) as relay,
    ):
        settlements = Settlements(relay)
        _, secret = await subscribe(relay, receiver)
        publisher = await Publisher.connect(relay)
        await publisher.send("verdict.block", {"n": 1})
        started_ms = clock.wall_ms()
        expected = succeeds_at or 3
        for number, wait_s in zip(range(1, expected + 1), (0, 300, 1800), strict=False):
            if wait_s:
                await clock.advance(wait_s - 1)
                assert len(receiver.requests) == number - 1
                await clock.advance(1.05)
            await receiver.wait_for(number)
            await settlements.wait_for(number)
        await clock.jump(3600)
        await clock.advance(2)
        requests = receiver.requests
        assert len(requests) == expected
        assert len({r.body for r in requests}) == 1
        at_s = [int(r.header("X-Prynt-Timestamp") or 0) - started_ms // 1000 for r in requests]
        assert all(
            expected_s <= s <= expected_s + 1
            for s, expected_s in zip(at_s, (0, 300, 2100), strict=False)
        )
        assert len({r.header("X-Prynt-Signature") for r in requests}) == expected
        for request in requests:
            signed = f"{request.header('X-Prynt-Timestamp')}.".encode() + request.body
            signature = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
            assert request.header("X-Prynt-Signature") == f"sha256={signature}"
        last = settlements.all[-1].state
        assert last is (DeliveryState.DELIVERED if succeeds_at else DeliveryState.FAILED)
        await publisher.close()
