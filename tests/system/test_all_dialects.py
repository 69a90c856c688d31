"""Every dialect from the installed daemon, held against software that others wrote."""

import asyncio
import base64
import contextlib
import itertools
import json
import re
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from prynt_relay import receiver as library
from prynt_relay.model.samples import sample_data
from tests.integration.receivers import Receiver, Reply, Request
from tests.system.daemons import HOST, Daemon, until

FORMATS = ("prynt", "fingerprint", "cloudevents", "slack")
SCHEMES = ["prynt", "standard", "fingerprint"]
IDENTIFICATION = "identification.complete"
DATA = sample_data(IDENTIFICATION)
EVENT = {"eventType": IDENTIFICATION, "data": DATA}
ROTATION_S = 4


def headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}


class Verifiers:
    """Each scheme's check by somebody else's library (and by ours), with one secret."""

    def __init__(self) -> None:
        self.standard = pytest.importorskip("standardwebhooks")
        self.svix = pytest.importorskip("svix.webhooks")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the older SDK says that there is a newer one
            self.fingerprint = [
                pytest.importorskip(
                    f"{name}.webhook_validation"
                ).WebhookValidation.is_valid_webhook_signature
                for name in ("fingerprint_pro_server_api_sdk", "fingerprint_server_sdk")
            ]

    def standard_accepts(self, request: Request, secret: str) -> bool:
        found = set()
        for module in (self.standard, self.svix):
            with contextlib.suppress(module.WebhookVerificationError):
                module.Webhook(secret).verify(request.body, headers(request))
                found.add(module)
        assert len(found) in (0, 2), "they disagree"
        return bool(found)

    def fingerprint_accepts(self, request: Request, secret: str) -> bool:
        header = headers(request)["fpjs-event-signature"]
        return all(valid(header, request.body, secret) for valid in self.fingerprint)

    def prynt_accepts(self, request: Request, secret: str) -> bool:
        try:
            library.verify(request.body, headers(request), [secret])
        except library.SignatureMismatchError:
            return False
        return True

    def accepting(self, request: Request, secret: str) -> set[str]:
        """The schemes whose receivers accept a delivery with this secret."""
        checks = {
            "prynt": self.prynt_accepts,
            "standard": self.standard_accepts,
            "fingerprint": self.fingerprint_accepts,
        }
        return {name for name, accepts in checks.items() if accepts(request, secret)}


def check_body(format: str, request: Request, webhook: dict[str, Any], event_id: str) -> None:
    body = json.loads(request.body)
    if format == "prynt":
        assert body["webhookId"] == webhook["id"]
        assert body["data"] == DATA
    elif format == "fingerprint":
        assert body["requestId"] == DATA["requestId"]
        assert body["visitorId"] == DATA["visitorId"]
        assert "data" not in body
    elif format == "cloudevents":
        http = pytest.importorskip("cloudevents.core.bindings.http")
        event = http.from_http_event(
            http.HTTPMessage(headers=dict(request.headers), body=request.body)
        )
        assert (event.get_id(), event.get_type()) == (event_id, f"io.prynt.{IDENTIFICATION}")
        assert event.get_data() == DATA
    else:
        assert body["blocks"][0]["type"] == "section"
        assert len(body["blocks"]) <= 50


async def test_every_format_with_every_signature_through_a_rotation(tmp_path: Path) -> None:
    """Before, while and after a secret is replaced no receiver refuses anything.

    Whoever has the old secret accepts until it is replaced, whoever has the new one from then on;
    where a scheme carries both signatures, meanwhile too.
    """
    verifiers = Verifiers()
    async with Receiver(host=HOST) as receiver, Daemon(tmp_path) as daemon:
        hooks = {
            name: await daemon.webhook(
                receiver.url_for(f"/{name}"), IDENTIFICATION, format=name, signatures=SCHEMES
            )
            for name in FORMATS
        }
        old = {name: hook["signingSecret"] for name, hook in hooks.items()}
        new: dict[str, str] = {}

        async def delivered() -> dict[str, Request]:
            seen = len(receiver.requests)
            [answer] = await daemon.publish(EVENT)
            requests = (await receiver.wait_for(seen + len(FORMATS)))[seen:]
            found = {request.target[1:]: request for request in requests}
            for name, request in found.items():
                check_body(name, request, hooks[name], answer["eventId"])
            return found

        async def rested(since: float) -> None:
            """Slack's own second, so that no two events share a message."""
            await asyncio.sleep(max(0, since + 1.2 - time.monotonic()))

        for name, request in (await delivered()).items():
            assert verifiers.accepting(request, old[name]) == set(SCHEMES), name
        began = time.monotonic()
        for name, hook in hooks.items():
            answer = await daemon.api(
                "POST",
                f"/v1/webhooks/{hook['id']}/rotate-secret",
                {"activateIn": f"{ROTATION_S}s"},
            )
            new[name] = answer["signingSecret"]
        await rested(began)
        for name, request in (await delivered()).items():
            assert time.monotonic() - began < ROTATION_S, "too slow for what is to be shown"
            assert verifiers.accepting(request, old[name]) == set(SCHEMES), name
            assert verifiers.accepting(request, new[name]) == {"standard", "fingerprint"}, name
        await asyncio.sleep(began + ROTATION_S + 0.3 - time.monotonic())
        for name, request in (await delivered()).items():
            assert verifiers.accepting(request, old[name]) == set(), name
            assert verifiers.accepting(request, new[name]) == set(SCHEMES), name


async def test_one_signature_alone_and_basic_authentication(tmp_path: Path) -> None:
    """Only what was asked for is sent; the log shows it, without what is secret."""
    auth = {"type": "basic", "username": "bob", "password": "builder"}
    async with Receiver(host=HOST) as receiver, Daemon(tmp_path) as daemon:
        hook = await daemon.webhook(receiver.url, "*", signatures=["standard"], auth=auth)
        await daemon.publish(EVENT)
        [request] = await receiver.wait_for(1)
        sent = headers(request)
        assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= sent.keys()
        assert not {"x-prynt-signature", "fpjs-event-signature"} & sent.keys()
        assert base64.b64decode(sent["authorization"].removeprefix("Basic ")) == b"bob:builder"
        [row] = await settled(daemon, hook, 1)
        [attempt] = (await daemon.api("GET", f"/v1/deliveries/{row['id']}"))["attempts"]
        assert attempt["request"]["headers"].pop("Authorization") == "***"
        assert attempt["request"]["headers"].items() <= dict(request.headers).items()
        assert attempt["request"]["body"].encode() == request.body


async def settled(daemon: Daemon, hook: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A webhook's deliveries, oldest first, once `count` are at rest."""
    rows: list[dict[str, Any]] = []

    async def done() -> bool:
        nonlocal rows
        rows = []
        cursor: str | None = ""
        while cursor is not None:
            path = f"/v1/webhooks/{hook['id']}/deliveries?limit=250&cursor={cursor}"
            page = await daemon.api("GET", path)
            rows += page["data"]
            cursor = page["nextCursor"]
        return bool(sum(row["state"] != "scheduled" for row in rows) == count)

    await until(done, f"{count} deliveries are at rest")
    return rows[::-1]


async def test_a_webhooks_own_timeout_and_schedule(tmp_path: Path) -> None:
    """They replace the configuration's: 1 s, and retries after 1 s and 2 s."""

    async def hang(_: Request) -> None:
        await asyncio.sleep(3600)

    settings = {"timeout": "30s", "retry_schedule": ["1h"]}
    async with (
        Receiver(host=HOST, respond=hang) as receiver,
        Daemon(tmp_path, delivery=settings) as daemon,
    ):
        hook = await daemon.webhook(receiver.url, timeout="1s", retrySchedule=["1s", "2s"])
        await daemon.publish(EVENT)
        [row] = await settled(daemon, hook, 1)
        assert (row["state"], row["attemptCount"], row["lastOutcome"]) == ("failed", 3, "timeout")
        attempts = (await daemon.api("GET", f"/v1/deliveries/{row['id']}"))["attempts"]
        assert all(990 <= attempt["durationMs"] < 2000 for attempt in attempts), attempts
        gaps = [b.received_at - a.received_at for a, b in itertools.pairwise(receiver.requests)]
        # A tenth less: a busy receiver may have taken note of the first of two late.
        assert 1.9 <= gaps[0] < 4
        assert 2.9 <= gaps[1] < 5


async def test_the_fingerprint_profile(tmp_path: Path) -> None:
    """3 s, one retry with the same request id and body, the flat object and its signature."""
    calls = itertools.count()

    async def respond(_: Request) -> Reply:
        if next(calls) == 0:
            await asyncio.sleep(3600)
        return Reply()

    async with Receiver(host=HOST, respond=respond) as receiver, Daemon(tmp_path) as daemon:
        plain = await daemon.api(
            "POST", "/v1/webhooks", {"url": receiver.url_for("/plain"), "profile": "fingerprint"}
        )
        assert {name: plain[name] for name in ("format", "signatures", "timeout")} == {
            "format": "fingerprint", "signatures": ["fingerprint"], "timeout": "3s",
        }  # fmt: skip
        assert (plain["retrySchedule"], plain["events"]) == (["5m"], [IDENTIFICATION])
        await daemon.api("DELETE", f"/v1/webhooks/{plain['id']}")
        hook = await daemon.api(
            "POST",
            "/v1/webhooks",
            {"url": receiver.url, "profile": "fingerprint", "retrySchedule": ["1s"]},
        )
        await daemon.publish({"eventType": "verdict.block", "data": {}}, EVENT)
        first, retry = await receiver.wait_for(2)
        assert 3.9 <= retry.received_at - first.received_at < 6
        assert first.body == retry.body
        assert json.loads(retry.body)["requestId"] == DATA["requestId"]
        [row] = await settled(daemon, hook, 1)
        detail = await daemon.api("GET", f"/v1/deliveries/{row['id']}")
        assert [attempt["outcome"] for attempt in detail["attempts"]] == ["timeout", "success"]
        assert 2990 <= detail["attempts"][0]["durationMs"] < 4000
        for request in (first, retry):
            assert Verifiers().fingerprint_accepts(request, hook["signingSecret"])


async def test_the_fingerprint_format_refuses_what_it_can_not_tell(tmp_path: Path) -> None:
    """Other event types, at creation and at a change, each with the field that is wrong."""
    async with Daemon(tmp_path) as daemon:
        url = f"https://{HOST}/hook"
        for events in (["*"], ["verdict.block"], [IDENTIFICATION, "visitor.new"]):
            status, problem = await daemon.request(
                "POST", "/v1/webhooks", {"url": url, "events": events, "format": "fingerprint"}
            )
            assert (status, problem["errors"][0]["field"]) == (400, "events")
        hook = await daemon.webhook(url, IDENTIFICATION, format="fingerprint")
        path = f"/v1/webhooks/{hook['id']}"
        assert (await daemon.request("PATCH", path, {"events": ["*"]}))[0] == 409
        tested = await daemon.request("POST", f"{path}/test", {"eventType": "visitor.new"})
        assert tested[0] == 409
        other = await daemon.webhook(url, "visitor.new")
        changed = await daemon.request(
            "PATCH", f"/v1/webhooks/{other['id']}", {"format": "fingerprint"}
        )
        assert changed[0] == 409


async def test_filters_choose_and_their_failures_are_shown(tmp_path: Path) -> None:
    """Over a restart too; a dry run tells beforehand what a filter would let through."""
    suspects = [10, 60, "high", 90]
    async with Receiver(host=HOST) as receiver, Daemon(tmp_path) as daemon:
        high = await daemon.webhook(receiver.url, filter="data.suspect > `50`")
        broken = await daemon.webhook(receiver.url_for("/broken"), filter="abs(data.suspect)>`0`")
        await daemon.kill()
        await daemon.start()
        await daemon.publish(
            *({"eventType": "visitor.new", "data": {"suspect": each}} for each in suspects)
        )
        await receiver.wait_for(5)
        await settled(daemon, high, 2)
        got = [json.loads(r.body)["data"]["suspect"] for r in receiver.requests]
        assert sorted(got) == [10, 60, 60, 90, 90]
        failures = (await daemon.api("GET", f"/v1/webhooks/{broken['id']}"))["filterFailures"]
        assert (failures["count"], failures["lastError"]) == (
            1,
            "abs() takes number, but got string",
        )
        assert (await daemon.metrics())["prynt_relay_filter_failures_total"] == 1
        asked = {"filter": "data.suspect == `10` || data.suspect == 'high'"}
        judged = await daemon.api("POST", f"/v1/webhooks/{high['id']}/match", asked)
        assert [row["matches"] for row in judged["data"]] == [False, True, False, True]
        await daemon.api("PATCH", f"/v1/webhooks/{broken['id']}", {"filter": None})
        shown = await daemon.api("GET", f"/v1/webhooks/{broken['id']}")
        assert shown["filterFailures"] is None


def alerts_told(request: Request) -> int:
    told = re.match(r"⚠️ Prynt: ([\d,]+) alerts", json.loads(request.body)["text"])
    return int(told[1].replace(",", "")) if told else 1


async def test_slack_gets_a_message_a_second_through_a_kill(tmp_path: Path) -> None:
    """500 alerts at once: in order, all counted; what a killed daemon sent may be told again."""
    alert = {"eventType": "alert.triggered", "data": sample_data("alert.triggered")}
    async with Receiver(host=HOST) as receiver, Daemon(tmp_path) as daemon:
        hook = await daemon.webhook(receiver.url, "alert.triggered", format="slack")
        await daemon.api("POST", "/v1/events", [alert] * 500)
        await receiver.wait_for(2)
        await daemon.kill()
        await daemon.start()
        rows = await settled(daemon, hook, 500)
        assert {row["state"] for row in rows} == {"delivered"}
        times = [request.received_at for request in receiver.requests]
        assert min(b - a for a, b in itertools.pairwise(times)) >= 1
        assert len(times) <= 5
        assert 500 <= sum(map(alerts_told, receiver.requests)) <= 750
        sent = {request.body: alerts_told(request) for request in receiver.requests}
        for row in rows[::50]:
            detail = await daemon.api("GET", f"/v1/deliveries/{row['id']}")
            attempt = detail["attempts"][-1]
            count = sent[attempt["request"]["body"].encode()]
            assert count == (attempt["message"]["count"] if attempt["message"] else 1)
