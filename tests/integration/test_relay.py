"""The main job, whole and in process: from the socket to a signed HTTPS POST."""

import hashlib
import hmac
import json
from pathlib import Path

from tests.integration.receivers import Receiver
from tests.integration.relays import Publisher, local_config, running, subscribe


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
