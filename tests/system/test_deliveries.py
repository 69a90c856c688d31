"""The main job against the installed daemon: over real TLS with a private CA, across crashes."""

import asyncio
import hashlib
import hmac
import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.version import __version__
from tests.integration.receivers import Receiver, Reply, Request
from tests.programs import program
from tests.system.daemons import HOST, Daemon, until

EVENT = {"eventType": "verdict.block", "data": {"visitorId": "pv_1", "n": 1}}


def signed_with(request: Request, secret: str) -> bool:
    """Whether the request's signature is the one that the specification tells to compute."""
    message = (request.header("X-Prynt-Timestamp") or "").encode() + b"." + request.body
    expected = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    return request.header("X-Prynt-Signature") == f"sha256={expected}"


async def test_an_event_arrives_with_the_exact_headers_and_bytes(tmp_path: Path) -> None:
    """Section 4 to the letter: header names, values and order of the body's keys; data verbatim."""
    async with Receiver(host=HOST) as receiver, Daemon(tmp_path) as daemon:
        webhook = await daemon.webhook(receiver.url, "verdict.block")
        async with daemon.publisher() as lines:
            answer = await lines.send_line(
                b'{"data":{"z":1.50, "\\u0061":[1e2,"\xc3\xa9"]},"eventType":"verdict.block"}'
            )
        (request,) = await receiver.wait_for(1)
        event = json.loads(request.body)
        assert re.fullmatch(r"evt_[0-9A-Za-z]{13}", answer["eventId"])
        assert re.fullmatch(r"wh_[0-9A-Za-z]{13}", webhook["id"])
        assert re.fullmatch(r"whsec_[0-9A-Za-z+/]{32}", webhook["signingSecret"])
        assert re.fullmatch(r"idk_[0-9a-f]{12}", event["idempotencyKey"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["createdAt"])
        assert (
            request.body
            == (
                f'{{"webhookId":"{webhook["id"]}","eventId":"{answer["eventId"]}",'
                f'"eventType":"verdict.block","apiVersion":"2026-01-15",'
                f'"createdAt":"{event["createdAt"]}","idempotencyKey":"{event["idempotencyKey"]}",'
                '"data":{"z":1.50, "\\u0061":[1e2,"é"]}}'
            ).encode()
        )
        assert request.method == "POST"
        assert request.header("Content-Type") == "application/json"
        assert request.header("User-Agent") == f"prynt-relay/{__version__}"
        assert request.header("X-Prynt-Event") == "verdict.block"
        assert request.header("X-Prynt-Delivery") == answer["eventId"]
        assert abs(int(request.header("X-Prynt-Timestamp") or 0) - request.wall_s) < 5
        assert request.header("Content-Length") == str(len(request.body))
        assert signed_with(request, webhook["signingSecret"])


async def test_ten_webhooks_get_what_they_subscribed_to(tmp_path: Path) -> None:
    """Ten at once: one subscribed to everything, one to another type, which gets nothing."""
    async with Receiver(host=HOST) as receiver, Daemon(tmp_path) as daemon:
        subscriptions = ["*", "alert.triggered", *["verdict.block"] * 8]
        made = [
            await daemon.webhook(receiver.url_for(f"/{number}"), events)
            for number, events in enumerate(subscriptions)
        ]
        await daemon.publish(EVENT)
        requests = await receiver.wait_for(9)
        assert sorted(r.target for r in requests) == sorted(f"/{n}" for n in range(10) if n != 1)
        for request in requests:
            webhook = made[int(request.target[1:])]
            assert json.loads(request.body)["webhookId"] == webhook["id"]
            assert signed_with(request, webhook["signingSecret"])
        await daemon.publish({"eventType": "alert.triggered", "data": {}})
        requests = await receiver.wait_for(11)
        assert sorted(r.target for r in requests[9:]) == ["/0", "/1"]


async def test_the_schedule_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Failed, killed, started again: the retry comes when it was due, with the same body."""
    async with (
        Receiver(host=HOST, respond=Reply(status=500)) as receiver,
        Daemon(tmp_path, delivery={"retry_schedule": ["3s", "1s"]}) as daemon,
    ):
        webhook = await daemon.webhook(receiver.url)
        await daemon.publish(EVENT)
        (first,) = await receiver.wait_for(1)
        await until(lambda: attempt_count(daemon, webhook), "the attempt is on disk")
        await daemon.kill()
        await daemon.start()
        requests = await receiver.wait_for(3, timeout_s=15)
        gaps = [b.received_at - a.received_at for a, b in itertools.pairwise(requests)]
        assert 2.9 <= gaps[0] <= 6
        assert 0.9 <= gaps[1] <= 3
        assert {r.body for r in requests} == {first.body}
        assert len({r.header("X-Prynt-Signature") for r in requests}) == 3
        assert all(signed_with(r, webhook["signingSecret"]) for r in requests)
        await until(lambda: has_failed(daemon, webhook), "the last attempt is on disk")
        (row,) = await deliveries(daemon, webhook)
        assert (row["attemptCount"], row["lastOutcome"], row["lastStatus"]) == (
            3,
            "http_error",
            500,
        )


async def attempt_count(daemon: Daemon, webhook: dict[str, Any]) -> bool:
    return bool((await deliveries(daemon, webhook))[0]["attemptCount"])


async def has_failed(daemon: Daemon, webhook: dict[str, Any]) -> bool:
    return str((await deliveries(daemon, webhook))[0]["state"]) == "failed"


async def logged(daemon: Daemon, action: str, count: int = 1) -> bool:
    return len([line for line in daemon.log_lines() if line["action"] == action]) >= count


async def deliveries(daemon: Daemon, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        await daemon.api("GET", f"/v1/webhooks/{webhook['id']}/deliveries")
    )["data"]
    return rows


# Each kill costs a start. A handful shows it; twenty are for what only some of them hit.
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
async def test_kills_under_load_lose_nothing(tmp_path: Path, kills: int) -> None:
    """Every acknowledged event is delivered, though the daemon is killed again and again."""
    async with Receiver(host=HOST) as receiver, Daemon(tmp_path) as daemon:
        await daemon.webhook(receiver.url)
        acknowledged: set[str] = set()
        sent = 0

        async def publish() -> None:
            nonlocal sent
            while True:
                try:
                    async with daemon.publisher() as lines:
                        while True:
                            sent += 1
                            answer = await lines.send({**EVENT, "idempotencyKey": f"k{sent}"})
                            assert answer["ok"], answer
                            acknowledged.add(answer["eventId"])
                except OSError:
                    await asyncio.sleep(0.01)  # between two lives of the daemon

        publishers = [asyncio.create_task(publish()) for _ in range(4)]
        for number in range(kills):
            await receiver.wait_for(len(receiver.requests) + 20 + 7 * number, timeout_s=20)
            await daemon.kill()
            await daemon.start()
        for task in publishers:
            task.cancel()
        await asyncio.gather(*publishers, return_exceptions=True)

        async def all_delivered() -> bool:
            return acknowledged <= {r.header("X-Prynt-Delivery") for r in receiver.requests}

        await until(all_delivered, "every acknowledged event was delivered", timeout_s=60)
        assert len(acknowledged) > 20 * kills
        states = set()
        cursor = ""
        while True:
            page = await daemon.api("GET", f"/v1/deliveries?limit=250{cursor}")
            states |= {row["state"] for row in page["data"]}
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"
        assert states <= {"delivered", "scheduled"}


async def test_metrics_say_what_happened(tmp_path: Path) -> None:
    """A scrape is in order for promtool, and its figures are those of what was sent."""
    promtool = program("promtool", "prometheus")
    async with (
        Receiver(host=HOST) as good,
        Receiver(host=HOST, respond=Reply(status=500)) as bad,
        Daemon(tmp_path, delivery={"retry_schedule": ["1h"]}) as daemon,
    ):
        first = await daemon.webhook(good.url)
        second = await daemon.webhook(bad.url, "verdict.block")
        answers = await daemon.publish(
            *[EVENT] * 7,
            {"eventType": "verdict.allow", "data": {}},
            {"eventType": "nope", "data": {}},
        )
        assert [a["ok"] for a in answers] == [True] * 8 + [False]
        await good.wait_for(8)
        await bad.wait_for(7)
        series: dict[str, float] = {}
        while (
            series.get('prynt_relay_deliveries_finished_total{state="delivered"}', 0) < 8
            or series.get("prynt_relay_deliveries_scheduled", 0) > 7
        ):
            series = await daemon.metrics()
        expected = {
            'prynt_relay_events_received_total{event_type="verdict.block"}': 7,
            'prynt_relay_events_received_total{event_type="verdict.allow"}': 1,
            'prynt_relay_events_rejected_total{code="unknown_event_type"}': 1,
            'prynt_relay_delivery_attempts_total{outcome="success"}': 8,
            'prynt_relay_delivery_attempts_total{outcome="http_error"}': 7,
            'prynt_relay_deliveries_finished_total{state="delivered"}': 8,
            "prynt_relay_deliveries_scheduled": 7,
            "prynt_relay_deliveries_held": 0,
            "prynt_relay_deliveries_in_flight": 0,
            'prynt_relay_webhooks{state="enabled"}': 2,
            f'prynt_relay_webhook_attempts_total{{outcome="success",webhook="{first["id"]}"}}': 8,
            'prynt_relay_webhook_attempts_total{outcome="http_error",'
            f'webhook="{second["id"]}"}}': 7,
            "prynt_relay_attempt_duration_seconds_count": 15,
            "prynt_relay_event_to_first_attempt_seconds_count": 15,
        }
        normal = {_sorted_labels(name): value for name, value in series.items()}
        assert {name: normal.get(_sorted_labels(name)) for name in expected} == expected
        scrape = daemon.scrape()
        assert 'prynt_relay_attempt_duration_seconds_bucket{le="10.0"}' in scrape
        checked = await asyncio.to_thread(
            subprocess.run, [promtool, "check", "metrics"], input=scrape, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def _sorted_labels(series: str) -> str:
    name, brace, labels = series.partition("{")
    return name + brace + ",".join(sorted(labels.rstrip("}").split(",")))


async def test_a_second_daemon_is_kept_out(tmp_path: Path) -> None:
    """The state folder has one daemon; another leaves with exit code 3 and a clear message."""
    async with Daemon(tmp_path) as daemon:
        (tmp_path / "other").mkdir()
        other = Daemon(tmp_path / "other")
        other.config_file.write_text(
            other.config_file.read_text().replace(str(other.state_dir), str(daemon.state_dir))
        )
        await other.start(wait=False)
        assert await other.wait() == 3
        assert "another prynt-relay" in other.log()
        await daemon.publish(EVENT)


async def test_a_stop_drains_and_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """SIGTERM finishes what is in flight and answers; a hanging receiver doesn't stop a second."""
    release = asyncio.Event()

    async def slow(_: Request) -> Reply:
        await release.wait()
        return Reply()

    async with Receiver(host=HOST, respond=slow) as receiver, Daemon(tmp_path) as daemon:
        webhook = await daemon.webhook(receiver.url, timeout="30s")
        await daemon.publish(EVENT)
        await receiver.wait_for(1)
        stopping = asyncio.create_task(daemon.stop())
        await until(lambda: logged(daemon, "stopping"), "the signal has arrived")
        release.set()
        assert await stopping == 0
        await daemon.start()
        (row,) = await deliveries(daemon, webhook)
        assert row["state"] == "delivered"
        release.clear()
        await daemon.publish(EVENT)
        await receiver.wait_for(2)
        stopping = asyncio.create_task(daemon.stop())
        await until(lambda: logged(daemon, "stopping", 2), "the signal has arrived")
        assert await daemon.stop(timeout_s=3) != 0
        await stopping
        # It is what was asked for: nothing to page anybody about, nor a database to distrust.
        last = daemon.log_lines()[-1]
        assert last["action"] == "stopping_at_once"
        assert not [line for line in daemon.log_lines() if line["level"] in ("error", "critical")]
        await daemon.start()
        release.set()
        await receiver.wait_for(3)
        rows = await deliveries(daemon, webhook)
        assert rows[0]["attemptCount"] <= 1
