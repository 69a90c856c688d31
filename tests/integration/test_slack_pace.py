"""Slack's burst through a whole relay: what is sent, what the log shows, and a restart."""

import asyncio
import itertools
import json
import re
from pathlib import Path
from typing import Any

from prynt_relay.dispatch.folding import FOLD_MAX
from prynt_relay.model.samples import sample_data
from prynt_relay.model.states import Format
from tests.integration.api_client import Api, serving
from tests.integration.receivers import Receiver, Reply, Request
from tests.integration.relays import Publisher, Settlements, local_config, running, subscribe

ALERTS = 500


def counted(request: Request) -> int:
    """How many events a message says that it stands for."""
    text = json.loads(request.body)["text"]
    folded = re.match(r"⚠️ Prynt: ([\d,]+) alerts", text)
    return int(folded[1].replace(",", "")) if folded else 1


def gaps_s(receiver: Receiver) -> list[float]:
    times = [request.received_at for request in receiver.requests]
    return [b - a for a, b in itertools.pairwise(times)]


async def deliveries(api: Api, count: int) -> list[dict[str, Any]]:
    """The log, oldest first, each with its attempts."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while len(found) < count:
        page = (await api.get(f"/v1/deliveries?limit=250{cursor}")).json
        found += page["data"]
        cursor = f"&cursor={page['nextCursor']}"
    return [(await api.get(f"/v1/deliveries/{row['id']}")).json for row in reversed(found)]


async def test_five_hundred_alerts_become_as_many_messages_as_seconds(tmp_path: Path) -> None:
    """None is lost from the count, all in order; the log of each names its message and its body."""
    async with Receiver() as receiver, serving(tmp_path) as api:
        webhook = await api.webhook(receiver, format="slack", events=["alert.triggered"])
        events = [
            {"eventType": "alert.triggered", "data": sample_data("alert.triggered") | {"n": n}}
            for n in range(ALERTS)
        ]
        for start in range(0, ALERTS, 50):
            assert (await api.post("/v1/events", events[start : start + 50])).status == 200
        await api.settlements.wait_for(ALERTS)
        assert sum(map(counted, receiver.requests)) == ALERTS
        assert len(receiver.requests) <= 1 + -(-ALERTS // FOLD_MAX)
        assert min(gaps_s(receiver)) >= 1
        log = await deliveries(api, ALERTS)
        assert {row["state"] for row in log} == {"delivered"}
        by_body: dict[str, list[dict[str, Any]]] = {}
        for row in log:
            [attempt] = row["attempts"]
            by_body.setdefault(attempt["request"]["body"], []).append(row)
        # In order: the messages cut the log into stretches, one after the other.
        assert [body.encode() for body in by_body] == [r.body for r in receiver.requests]
        assert [row for rows in by_body.values() for row in rows] == log
        for request, rows in zip(receiver.requests, by_body.values(), strict=True):
            assert len(rows) == counted(request)
            for row in rows:
                [attempt] = row["attempts"]
                assert attempt["request"]["headers"].items() <= dict(request.headers).items()
                expected = {"deliveryId": rows[0]["id"], "count": len(rows)}
                assert attempt["message"] == (expected if len(rows) > 1 else None)
            assert request.header("X-Prynt-Delivery") == rows[0]["eventId"]
        assert (await api.get(f"/v1/webhooks/{webhook['id']}")).json["format"] == "slack"


async def test_a_burst_goes_on_after_a_restart(tmp_path: Path) -> None:
    """What waited for its second waits in the database: the next run folds it."""
    config = local_config(tmp_path)
    async with Receiver() as receiver:
        async with running(config) as relay:
            await subscribe(relay, receiver, format=Format.SLACK)
            publisher = await Publisher.connect(relay)
            for _ in range(40):
                await publisher.send("alert.triggered", {})
            await receiver.wait_for(1)
            await publisher.close()
        sent = sum(map(counted, receiver.requests))
        assert sent < 40
        async with running(config) as relay:
            settlements = Settlements(relay)
            await settlements.wait_for(40 - sent)
        assert sum(map(counted, receiver.requests)) == 40
        assert len(receiver.requests) <= 3
        assert min(gaps_s(receiver)) >= 1


async def test_a_refused_burst_is_tried_again_whole(tmp_path: Path) -> None:
    """Each delivery shows the failure, and a manual retry of one makes an attempt of its own."""
    async with (
        Receiver(respond=Reply(429, b"rate_limited", (("Retry-After", "30"),))) as receiver,
        serving(tmp_path) as api,
    ):
        webhook = await api.webhook(receiver, format="slack", retrySchedule=["1s"])
        await api.event("verdict.block")
        await receiver.wait_for(1)
        # Takes the next turn, so that the others and the retry are all due at the one after it.
        await api.post(f"/v1/webhooks/{webhook['id']}/test")
        for _ in range(2):
            await api.event("verdict.block")
        await api.settlements.wait_for(6)
        rows = await deliveries(api, 4)
        assert [attempt["trigger"] for attempt in rows.pop(1)["attempts"]] == ["test"]
        assert {row["state"] for row in rows} == {"failed"}
        # The first one's retry went along with the others' first attempts.
        together = [rows[0]["attempts"][1], rows[1]["attempts"][0], rows[2]["attempts"][0]]
        for attempt in together:
            assert attempt["message"] == {"deliveryId": rows[0]["id"], "count": 3}
            assert attempt["response"]["body"] == "rate_limited"
        assert [attempt["number"] for attempt in together] == [2, 1, 1]
        assert (await api.get(f"/v1/webhooks/{webhook['id']}")).json["failingSince"] is not None
        receiver.respond = Reply(200, b"ok")
        await api.post(f"/v1/deliveries/{rows[1]['id']}/retry")
        await api.settlements.wait_for(7)
        again = (await api.get(f"/v1/deliveries/{rows[1]['id']}")).json
        assert again["state"] == "delivered"
        assert (again["attempts"][-1]["trigger"], again["attempts"][-1]["message"]) == (
            "manual",
            None,
        )
        assert counted(receiver.requests[-1]) == 1
        assert min(gaps_s(receiver)) >= 1


async def test_a_test_message_waits_for_its_second(tmp_path: Path) -> None:
    """Three at a time arrive a second apart, between the messages of the schedule."""
    async with Receiver() as receiver, serving(tmp_path) as api:
        webhook = await api.webhook(receiver, format="slack")
        await api.event("verdict.block")
        path = f"/v1/webhooks/{webhook['id']}/test"
        answers = await asyncio.gather(api.post(path), api.post(path))
        assert [answer.json["outcome"] for answer in answers] == ["success"] * 2
        assert [answer.json["message"] for answer in answers] == [None] * 2
        await receiver.wait_for(3)
        assert min(gaps_s(receiver)) >= 1
