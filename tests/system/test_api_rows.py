"""Every row of the HTTP API against the installed daemon, from outside."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.receivers import Receiver, Reply, Request
from tests.system.daemons import HOST, Daemon, until

ROOT = Path(__file__).parents[2]
EVENT = {"eventType": "verdict.block", "data": {"visitorId": "pv_1"}}


@contextlib.asynccontextmanager
async def relayed(folder: Path, **sections: Any) -> AsyncIterator[tuple[Daemon, Receiver]]:
    """A daemon and a receiver that it may deliver to."""
    async with Receiver(host=HOST) as receiver, Daemon(folder, **sections) as daemon:
        yield daemon, receiver


def signed_by(request: Request, secret: str) -> bool:
    message = f"{request.header('X-Prynt-Timestamp')}.".encode() + request.body
    expected = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    return request.header("X-Prynt-Signature") == f"sha256={expected}"


async def in_state(daemon: Daemon, state: str, count: int) -> list[dict[str, Any]]:
    """Return the deliveries in a state once there are `count`."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = (await daemon.api("GET", f"/v1/deliveries?state={state}"))["data"]
        return len(found) == count

    await until(there, f"{count} deliveries {state}")
    return found


async def test_what_all_requests_have_in_common(tmp_path: Path) -> None:
    """The key, problem documents, unknown fields and parameters, repetitions with a key."""
    async with Daemon(tmp_path) as daemon:
        for key in (None, "sk_live_wrong"):
            status, problem = await daemon.request("GET", "/v1/webhooks", key=key)
            assert (status, problem["code"]) == (401, "unauthorized")
        assert (daemon.state_dir / "api-key").stat().st_mode & 0o777 == 0o600
        for method, path, body, expected in (
            ("GET", "/v1/nothing", None, (404, "not_found")),
            ("PUT", "/v1/webhooks", {}, (405, "method_not_allowed")),
            ("GET", "/v1/webhooks?page=2", None, (400, "invalid_request")),
            ("POST", "/v1/webhooks", {"colour": 1}, (400, "invalid_request")),
            (
                "POST",
                "/v1/events",
                {"eventType": "no.such", "data": {}},
                (400, "unknown_event_type"),
            ),
            ("GET", "/v1/deliveries?cursor=garbage", None, (400, "invalid_request")),
        ):
            status, problem = await daemon.request(method, path, body)
            assert (status, problem["code"]) == expected
            assert problem["status"] == status
        once = {"url": "https://yourapp.com/hook", "events": ["*"]}
        first = await daemon.api("POST", "/v1/webhooks", once, Idempotency_Key="k")
        assert await daemon.api("POST", "/v1/webhooks", once, Idempotency_Key="k") == first
        other = {**once, "description": "x"}
        status, _ = await daemon.request("POST", "/v1/webhooks", other, Idempotency_Key="k")
        assert status == 422
        await daemon.kill()
        await daemon.start()
        assert await daemon.api("POST", "/v1/webhooks", once, Idempotency_Key="k") == first
        assert len((await daemon.api("GET", "/v1/webhooks"))["data"]) == 1


async def test_a_webhooks_life(tmp_path: Path) -> None:
    """Created, read, changed, disabled, enabled, deleted, with every field; no secret twice."""
    async with relayed(tmp_path) as (daemon, receiver):
        given = {
            "url": receiver.url,
            "events": ["verdict.block"],
            "description": "alerts",
            "headers": {"X-Team": "blue-s3cret"},
            "auth": {"type": "basic", "username": "u", "password": "p-s3cret"},
            "signatures": ["prynt", "standard"],
            "timeout": "5s",
            "retrySchedule": ["1s", "1m"],
            "filter": "data.visitorId == 'pv_1'",
        }
        made = await daemon.api("POST", "/v1/webhooks", given)
        secret = made.pop("signingSecret")
        path = f"/v1/webhooks/{made['id']}"
        read = await daemon.api("GET", path)
        assert read == made
        for name in ("url", "events", "signatures", "timeout", "retrySchedule", "filter"):
            assert read[name] == given[name]
        assert "s3cret" not in json.dumps(read)
        await daemon.api("POST", "/v1/events", EVENT)
        await daemon.api("POST", "/v1/events", {**EVENT, "data": {"visitorId": "pv_2"}})
        [request] = await receiver.wait_for(1)
        assert signed_by(request, secret)
        assert request.header("X-Team") == "blue-s3cret"
        assert request.header("webhook-id") == request.header("X-Prynt-Delivery")
        off = await daemon.api("PATCH", path, {"enabled": False, "filter": None})
        assert (off["disabledReason"], off["filter"]) == ("manual", None)
        await daemon.api("POST", "/v1/events", EVENT)
        [held] = await in_state(daemon, "held", 1)
        on = await daemon.api("PATCH", path, {"enabled": True})
        assert (on["disabledReason"], on["disabledAt"]) == (None, None)
        assert await daemon.api("DELETE", path) is None
        assert (await daemon.request("GET", path))[0] == 404
        [cancelled] = await in_state(daemon, "cancelled", 1)
        assert cancelled["id"] == held["id"]
        profiled = {"url": receiver.url, "profile": "fingerprint"}
        assert (await daemon.api("POST", "/v1/webhooks", profiled))["timeout"] == "3s"


async def test_a_rotation_takes_over_when_it_says(tmp_path: Path) -> None:
    """The old secret signs until then, then only the new; "0s" is at once."""
    async with relayed(tmp_path) as (daemon, receiver):
        made = await daemon.webhook(receiver.url)
        path = f"/v1/webhooks/{made['id']}/rotate-secret"
        later = await daemon.api("POST", path)
        await daemon.api("POST", "/v1/events", EVENT)
        requests = await receiver.wait_for(1)
        assert signed_by(requests[0], made["signingSecret"])
        soon = await daemon.api("POST", path, {"activateIn": "1s"})
        assert soon["signingSecret"] != later["signingSecret"]

        async def taken_over() -> bool:
            webhook = await daemon.api("GET", f"/v1/webhooks/{made['id']}")
            return webhook["secretRotatesAt"] is None

        await until(taken_over, "the new secret took over")
        await daemon.api("POST", "/v1/events", EVENT)
        requests = await receiver.wait_for(2)
        assert signed_by(requests[1], soon["signingSecret"])
        now = await daemon.api("POST", path, {"activateIn": "0s"})
        await daemon.api("POST", "/v1/events", EVENT)
        requests = await receiver.wait_for(3)
        assert signed_by(requests[2], now["signingSecret"])


async def test_a_test_and_retries(tmp_path: Path) -> None:
    """A test answers its attempt; a failed delivery is sent again alone and with its window."""
    delivery: dict[str, list[str]] = {"retry_schedule": []}
    async with relayed(tmp_path, delivery=delivery) as (daemon, receiver):
        receiver.respond = Reply(500, b"out of order")
        made = await daemon.webhook(receiver.url)
        path = f"/v1/webhooks/{made['id']}"
        tested = await daemon.api("POST", f"{path}/test", {"eventType": "alert.triggered"})
        assert (tested["trigger"], tested["outcome"]) == ("test", "http_error")
        assert tested["response"]["body"] == "out of order"
        assert json.loads(tested["request"]["body"])["eventType"] == "alert.triggered"
        for _ in range(3):
            await daemon.api("POST", "/v1/events", EVENT)
        failed = await in_state(daemon, "failed", 4)
        receiver.respond = Reply(200)
        one = await daemon.api("POST", f"/v1/deliveries/{failed[0]['id']}/retry")
        assert one["id"] == failed[0]["id"]
        await in_state(daemon, "delivered", 1)
        shown = await daemon.api("GET", f"/v1/deliveries/{one['id']}")
        assert [attempt["trigger"] for attempt in shown["attempts"]] == ["schedule", "manual"]
        assert shown["attempts"][0]["response"]["status"] == 500
        scheduled = (await daemon.api("POST", f"{path}/retry", {"since": "1h"}))["scheduled"]
        assert scheduled >= 2
        await in_state(daemon, "delivered", 1 + scheduled)
        nothing = {"since": "1h", "states": ["held"]}
        assert await daemon.api("POST", f"{path}/retry", nothing) == {"scheduled": 0}


async def test_lists_page_and_filter(tmp_path: Path) -> None:
    """Deliveries and events, of one webhook and all, newest first, each once, by every filter."""
    async with relayed(tmp_path) as (daemon, receiver):
        made = await daemon.webhook(receiver.url)
        events = [
            (await daemon.api("POST", "/v1/events", {**EVENT, "eventType": kind}))["eventId"]
            for kind in ("verdict.block", "verdict.allow", "verdict.block") * 3
        ]
        await in_state(daemon, "delivered", 9)
        of_one = f"/v1/webhooks/{made['id']}/deliveries"
        for path, expected in (
            ("/v1/deliveries?", events),
            ("/v1/events?", events),
            (f"{of_one}?", events),
            ("/v1/deliveries?eventType=verdict.allow", events[1::3]),
            ("/v1/events?eventType=verdict.allow", events[1::3]),
            (f"{of_one}?state=delivered&since=1h&until=0s", events),
            (f"{of_one}?state=failed", []),
            ("/v1/events?until=1h", []),
            (f"/v1/deliveries?eventId={events[4]}", [events[4]]),
        ):
            seen: list[str] = []
            cursor: str | None = ""
            while cursor is not None:
                page = await daemon.api("GET", f"{path}&limit=2&cursor={cursor}")
                seen += [row["eventId"] for row in page["data"]]
                cursor = page["nextCursor"]
            assert seen == expected[::-1], path
        shown = await daemon.api("GET", f"/v1/events/{events[0]}")
        assert shown["data"] == EVENT["data"]
        assert [row["eventId"] for row in shown["deliveries"]] == [events[0]]


async def test_events_are_handed_in(tmp_path: Path) -> None:
    """One, an array, a repetition, and all or nothing; the same event as on the socket."""
    async with Daemon(tmp_path) as daemon:
        first = await daemon.api("POST", "/v1/events", {**EVENT, "idempotencyKey": "once"})
        assert first == {"ok": True, "eventId": first["eventId"], "duplicate": False}
        [again] = await daemon.publish({**EVENT, "idempotencyKey": "once"})
        assert again == {**first, "duplicate": True}
        answers = await daemon.api("POST", "/v1/events", [EVENT] * 1000)
        assert len({answer["eventId"] for answer in answers}) == 1000
        bad = [EVENT, {**EVENT, "data": 7}]
        status, problem = await daemon.request("POST", "/v1/events", bad)
        assert (status, problem["code"], problem["index"]) == (400, "invalid_event", 1)
        stats = await daemon.api("GET", "/v1/stats")
        assert sum(hour["events"] for hour in stats["hours"]) == 1001


async def test_a_stream_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Attempts are streamed with ids, and what was missed across a kill comes with the last id."""
    async with relayed(tmp_path) as (daemon, receiver), aiohttp.ClientSession() as session:
        made = await daemon.webhook(receiver.url)

        async def attempts(path: str, count: int, last_id: str = "") -> list[tuple[str, Any]]:
            headers = {"Authorization": f"Bearer {daemon.key}", "Last-Event-ID": last_id}
            url = f"http://127.0.0.1:{daemon.api_port}{path}"
            found: list[tuple[str, Any]] = []
            number = ""
            async with asyncio.timeout(20), session.get(url, headers=headers) as response:
                assert response.content_type == "text/event-stream"
                if not last_id:
                    await daemon.api("POST", "/v1/events", EVENT)
                while len(found) < count:
                    name, _, value = (await response.content.readline()).decode().partition(": ")
                    if name == "id":
                        number = value.strip()
                    elif name == "data":
                        found.append((number, json.loads(value)))
            return found

        [(number, seen)] = await attempts("/v1/stream", 1)
        assert (seen["webhookId"], seen["outcome"]) == (made["id"], "success")
        for _ in range(3):
            await daemon.api("POST", "/v1/events", EVENT)
        await in_state(daemon, "delivered", 4)
        await daemon.kill()
        await daemon.start()
        missed = await attempts(f"/v1/webhooks/{made['id']}/stream", 3, number)
        assert len({data["deliveryId"] for _, data in [*missed, (number, seen)]}) == 4


async def test_figures_survive_a_kill(tmp_path: Path) -> None:
    """After a SIGKILL every event and attempt is counted, and none twice."""
    async with relayed(tmp_path) as (daemon, receiver):
        made = await daemon.webhook(receiver.url)
        for _ in range(2):
            for _ in range(5):
                await daemon.api("POST", "/v1/events", EVENT)
            await daemon.api("GET", "/v1/stats")
        await in_state(daemon, "delivered", 10)
        await daemon.kill()
        await daemon.start()
        for path in ("/v1/stats", f"/v1/stats?webhook={made['id']}"):
            stats = await daemon.api("GET", path)
            assert sum(hour["events"] for hour in stats["hours"]) == 10
            assert sum(hour["attempts"]["success"] for hour in stats["hours"]) == 10
            assert (len(stats["minutes"]), len(stats["hours"])) == (60, 24)
            assert stats["backlog"] == {"scheduled": 0, "held": 0, "oldestDueSeconds": 0}


async def test_what_needs_no_key(tmp_path: Path) -> None:
    """Health, readiness, published addresses and the document are for anyone; types need a key."""
    egress = {"published_ips": ["203.0.113.0/24"]}
    async with Daemon(tmp_path, egress=egress) as daemon:
        for path, member in (
            ("/healthz", "status"),
            ("/readyz", "status"),
            ("/.well-known/webhook-ips", "data"),
            ("/openapi.json", "openapi"),
        ):
            status, answer = await daemon.request("GET", path, key=None)
            assert status == 200
            assert answer[member]
        assert answer["openapi"].startswith("3.1")
        types = (await daemon.api("GET", "/v1/event-types"))["data"]
        assert len(types) == 11
        for info in types:
            sample = {"eventType": info["eventType"], "data": info["sample"]}
            assert (await daemon.api("POST", "/v1/events", sample))["ok"] is True


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_document_holds_from_outside(tmp_path: Path) -> None:
    """schemathesis, all checks and phases, at least 2,000 cases: no 5xx, nothing undescribed."""
    async with relayed(tmp_path) as (daemon, receiver):
        await daemon.webhook(receiver.url)
        await daemon.publish(*[EVENT] * 3)
        done = await asyncio.to_thread(
            subprocess.run,
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run"),
                f"http://127.0.0.1:{daemon.api_port}/openapi.json",
                *("--header", f"Authorization: Bearer {daemon.key}", "--checks", "all"),
                *("--exclude-path-regex", r"/stream$", "--max-examples", "150"),
                *("--seed", "3", "--generation-database", "none", "--no-color"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.integration.fuzz_hooks",
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        made = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
        assert made is not None
        assert int(made[2]) >= 2_000
        assert not [line for line in daemon.log_lines() if line["action"] == "api_error"]
