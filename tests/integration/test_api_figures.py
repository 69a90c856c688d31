"""Statistics, the catalogue, and what needs no key."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prynt_relay.api.routes import OPERATIONS
from prynt_relay.config.settings import Egress
from prynt_relay.model.event import EVENT_TYPES
from tests.integration.api_client import Api, serving
from tests.integration.receivers import Receiver, Reply, shared_authority


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def test_figures_count_what_happened(api: Api) -> None:
    """Events, attempts by outcome and durations of the present minute and hour, at once."""
    async with Receiver() as receiver:
        good = await api.webhook(receiver)
        bad = await api.webhook(events=["verdict.block"], retrySchedule=["5m"])
        off = await api.webhook(enabled=False, events=["verdict.allow"])
        for _ in range(4):
            await api.event("verdict.block")
        await api.event("verdict.allow")
        await api.settlements.wait_for(9)
        stats = (await api.get("/v1/stats")).json
        assert len(stats["minutes"]) == 60
        assert len(stats["hours"]) == 24
        assert stats["webhookId"] is None
        starts = [minute["start"] for minute in stats["minutes"]]
        assert starts == sorted(starts)
        for intervals in (stats["minutes"], stats["hours"]):
            assert sum(each["events"] for each in intervals) == 5
            assert sum(each["attempts"]["success"] for each in intervals) == 5
            assert sum(each["attempts"]["connection_refused"] for each in intervals) == 4
        busy = [minute for minute in stats["minutes"] if sum(minute["attempts"].values())]
        assert all(0 <= m["durationMs"]["p50"] <= m["durationMs"]["p99"] for m in busy)
        assert stats["minutes"][0]["durationMs"] is None
        assert (stats["backlog"]["scheduled"], stats["backlog"]["held"]) == (4, 1)
        for webhook, events, outcome, attempts, waiting in (
            (good, 5, "success", 5, (0, 0)),
            (bad, 4, "connection_refused", 4, (4, 0)),
            (off, 1, "success", 0, (0, 1)),
        ):
            of_one = (await api.get(f"/v1/stats?webhook={webhook['id']}")).json
            assert of_one["webhookId"] == webhook["id"]
            assert sum(hour["events"] for hour in of_one["hours"]) == events
            assert sum(hour["attempts"][outcome] for hour in of_one["hours"]) == attempts
            assert (of_one["backlog"]["scheduled"], of_one["backlog"]["held"]) == waiting
            assert of_one["backlog"]["oldestDueSeconds"] == 0
    assert (await api.get("/v1/stats?webhook=wh_0000000000000")).code == "not_found"
    assert (await api.get("/v1/stats?since=1h")).code == "invalid_request"


async def test_figures_survive_a_restart(tmp_path: Path) -> None:
    """What was counted or not yet counted when the daemon ended is there once, not twice."""
    async with Receiver() as receiver:
        async with serving(tmp_path) as api:
            await api.webhook(receiver)
            for _ in range(3):
                await api.event()
            await api.settlements.wait_for(3)
            await api.get("/v1/stats")
            await api.event()
            await api.settlements.wait_for(4)
        async with serving(tmp_path) as api:
            stats = (await api.get("/v1/stats")).json
    assert sum(hour["events"] for hour in stats["hours"]) == 4
    assert sum(hour["attempts"]["success"] for hour in stats["hours"]) == 4


async def test_the_oldest_due_grows_with_waiting(api: Api) -> None:
    """What is due and not delivered shows how long it has waited."""

    async def never(_: object) -> Reply | None:
        return None

    async with Receiver(respond=never) as receiver:
        await api.webhook(receiver)
        await api.event()
        await receiver.wait_for(1)
        stats = (await api.get("/v1/stats")).json
        assert stats["backlog"]["scheduled"] == 1
        assert stats["backlog"]["oldestDueSeconds"] >= 0


async def test_event_types_come_with_samples(tmp_path: Path) -> None:
    """All eleven and the configured ones, each with category, description and a sample."""
    async with serving(tmp_path, extra_event_types=("order.paid",)) as api:
        listed = (await api.get("/v1/event-types")).json["data"]
        assert [info["eventType"] for info in listed] == [*EVENT_TYPES, "order.paid"]
        for info in listed:
            assert info["category"]
            assert info["description"]
            assert isinstance(info["sample"], dict)
        created = await api.post(
            "/v1/webhooks", {"url": "https://yourapp.com/x", "events": ["order.paid"]}
        )
        assert created.status == 201
        await api.event("order.paid")
        found = await api.get("/v1/deliveries?eventType=order.paid")
        assert len(found.json["data"]) == 1


async def test_published_ips_are_shown_to_anyone(tmp_path: Path) -> None:
    """The configured networks, without a key."""
    egress = Egress(published_ips=("203.0.113.0/24",), ca_file=shared_authority().ca_file)
    async with serving(tmp_path, egress=egress) as api:
        answer = await api.ask("GET", "/.well-known/webhook-ips", key=False)
        assert answer.json == {"data": ["203.0.113.0/24"]}


async def test_readiness_says_why_not(api: Api) -> None:
    """Alive and ready are 200; not ready is 503 with the reasons, while it still is alive."""
    assert (await api.ask("GET", "/readyz", key=False)).json == {"status": "ok"}
    await api.relay.intake.stop(1.0)
    answer = await api.ask("GET", "/readyz", key=False)
    assert answer.status == 503
    assert answer.code == "not_ready"
    assert answer.json["reasons"]
    assert (await api.ask("GET", "/healthz", key=False)).json == {"status": "ok"}


async def test_the_document_speaks_of_this_installation(tmp_path: Path) -> None:
    """OpenAPI 3.1 with every operation, this daemon's event types and its endpoint rules."""
    async with serving(tmp_path, extra_event_types=("order.paid",)) as api:
        answer = await api.ask("GET", "/openapi.json", key=False)
    document = json.loads(answer.body)
    assert document["openapi"].startswith("3.1.")
    events = document["components"]["schemas"]["CreateWebhook"]["properties"]["events"]
    assert set(events["items"]["enum"]) == {"*", *EVENT_TYPES, "order.paid"}
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert len(operations) == len(OPERATIONS)
    assert {operation["operationId"] for operation in operations.values()} == {
        operation.id for operation in OPERATIONS
    }
    for (_, path), operation in operations.items():
        assert operation["summary"]
        assert ("401" in operation["responses"]) == path.startswith("/v1/")
    for schema in ("CreateWebhook", "Delivery", "StreamedAttempt", "EventInput"):
        assert document["components"]["schemas"][schema]["examples"]
