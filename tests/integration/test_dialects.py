"""Every dialect through a whole relay: other people's software takes what comes over the wire."""

import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.samples import sample_data
from prynt_relay.model.states import DeliveryState, Format, SignatureScheme
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.transport.signatures import unpack
from tests.clock import FakeClock
from tests.integration.receivers import Receiver, Reply, Request
from tests.integration.relays import Publisher, Settlements, local_config, running, subscribe

EXAMPLES = Path(__file__).parents[2] / "examples" / "receivers"
ALL = tuple(SignatureScheme)


def _headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}


async def test_no_delivery_of_a_rotation_is_refused(tmp_path: Path) -> None:
    """Other people's receivers, each with one secret, accept all of a rotation.

    Those that changed to the new secret do so from the moment when it is shown, those that didn't
    until the moment when it takes over.
    """
    standard = pytest.importorskip("standardwebhooks")
    svix = pytest.importorskip("svix.webhooks")
    fingerprint = pytest.importorskip("fingerprint_server_sdk.webhook_validation")

    def accepted_by(request: Request, secret: str) -> None:
        headers = _headers(request)
        standard.Webhook(secret).verify(request.body, headers)
        svix.Webhook(secret).verify(request.body, headers)
        assert fingerprint.WebhookValidation.is_valid_webhook_signature(
            headers["fpjs-event-signature"], request.body, secret
        )

    clock = FakeClock(start_ms=time.time_ns() // 1_000_000)  # the libraries look at the real time
    async with Receiver() as receiver, running(local_config(tmp_path), clock=clock) as relay:
        webhook, old = await subscribe(relay, receiver, "visitor.new", signatures=ALL)
        publisher = await Publisher.connect(relay)

        async def delivered(count: int) -> Request:
            await publisher.send("visitor.new", sample_data("visitor.new"))
            return (await receiver.wait_for(count))[-1]

        accepted_by(await delivered(1), old)
        new = (await relay.changes.rotate(webhook.id, 60.0)).secret
        pending = await delivered(2)
        accepted_by(pending, old)
        accepted_by(pending, new)
        await clock.advance(61)
        taken_over = await delivered(3)
        accepted_by(taken_over, new)
        with pytest.raises(standard.WebhookVerificationError):
            accepted_by(taken_over, old)
        await publisher.close()


async def test_the_fingerprint_profile_delivers_the_document(tmp_path: Path) -> None:
    """One field of a creation gives the body, the signature, 3 s, one retry and the event type."""
    clock = FakeClock()
    answers = iter([Reply(500), Reply(200)])
    async with (
        Receiver(respond=lambda _: next(answers)) as receiver,
        running(local_config(tmp_path), clock=clock) as relay,
    ):
        webhook, secret = await relay.changes.create(
            WebhookInput(url=receiver.url, profile="fingerprint")
        )
        assert webhook.timeout_s == 3.0
        assert webhook.retry_schedule_s == (300.0,)
        settlements = Settlements(relay)
        publisher = await Publisher.connect(relay)
        data = sample_data("identification.complete") | {"tag": {"yourCustomId": 45321}}
        await publisher.send("verdict.block", {})
        await publisher.send("identification.complete", data)
        await settlements.wait_for(1)
        await clock.advance(300)
        await settlements.wait_for(2)
        first, retry = receiver.requests
        assert first.body == retry.body
        document = json.loads(retry.body)
        assert document["requestId"] == data["requestId"]
        assert document["tag"] == {"yourCustomId": 45321}
        assert "eventId" not in document
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sdk = pytest.importorskip("fingerprint_server_sdk.webhook_validation")
        assert sdk.WebhookValidation.is_valid_webhook_signature(
            _headers(retry)["fpjs-event-signature"], retry.body, secret
        )
        assert "x-prynt-signature" not in _headers(retry)
        await publisher.close()


async def test_a_format_that_can_not_tell_a_type_refuses_to_subscribe_to_it(tmp_path: Path) -> None:
    """Fingerprint's document is for identifications; other types are refused at creation."""
    async with Receiver() as receiver, running(local_config(tmp_path)) as relay:
        for events in (("verdict.block",), ("*",), ("identification.complete", "visitor.new")):
            with pytest.raises(InvalidFieldError):
                await subscribe(relay, receiver, *events, format=Format.FINGERPRINT)


async def test_a_cloud_event_arrives_as_one(tmp_path: Path) -> None:
    """The CloudEvents SDK reads the request as it came over the wire."""
    http = pytest.importorskip("cloudevents.core.bindings.http")
    async with Receiver() as receiver, running(local_config(tmp_path)) as relay:
        await subscribe(relay, receiver, format=Format.CLOUDEVENTS)
        publisher = await Publisher.connect(relay)
        answer = await publisher.send("rule.matched", {"rule": "r"})
        [request] = await receiver.wait_for(1)
        event = http.from_http_event(
            http.HTTPMessage(headers=dict(request.headers), body=request.body)
        )
        assert event.get_id() == answer["eventId"]
        assert event.get_type() == "io.prynt.rule.matched"
        assert event.get_data() == {"rule": "r"}
        await publisher.close()


async def test_the_attempt_log_shows_the_headers_that_were_sent(tmp_path: Path) -> None:
    """From 32 bytes a signature, while a rotation is pending too."""
    async with Receiver() as receiver, running(local_config(tmp_path)) as relay:
        webhook, _ = await subscribe(relay, receiver, signatures=ALL)
        await relay.changes.rotate(webhook.id, 3600.0)
        settlements = Settlements(relay)
        publisher = await Publisher.connect(relay)
        await publisher.send("visitor.new", {})
        [settlement] = await settlements.wait_for(1)
        [request] = receiver.requests
        assert settlement.state is DeliveryState.DELIVERED
        shown = unpack(
            ALL,
            settlement.result.signature,
            wall_ms=settlement.result.started_at_ms,
            event_id=str(json.loads(request.body)["eventId"]),
        )
        assert len(settlement.result.signature) == 5 * 32
        assert {name.lower(): value for name, value in shown}.items() <= _headers(request).items()
        await publisher.close()


async def test_filters_choose_among_the_events(tmp_path: Path) -> None:
    """Each webhook gets what its filter is true of; one that fails gets nothing and is counted."""
    async with Receiver() as receiver, running(local_config(tmp_path)) as relay:
        await subscribe(relay, receiver, path="/high", filter="data.scores.suspect > `50`")
        await subscribe(relay, receiver, path="/all")
        failing, _ = await subscribe(relay, receiver, path="/failing", filter="abs(data.verdict)")
        settlements = Settlements(relay)
        publisher = await Publisher.connect(relay)
        for suspect in (10, 60, 50, 90):
            await publisher.send("verdict.block", {"scores": {"suspect": suspect}, "verdict": "x"})
        await settlements.wait_for(6)
        got: dict[str, list[int]] = {}
        for request in receiver.requests:
            suspect = json.loads(request.body)["data"]["scores"]["suspect"]
            got.setdefault(request.target, []).append(suspect)
        assert {path: sorted(scores) for path, scores in got.items()} == {
            "/high": [60, 90],
            "/all": [10, 50, 60, 90],
        }
        failures = relay.filters.failures(failing.row)
        assert failures is not None
        assert failures.count == 4
        await publisher.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _started(
    command: Sequence[str], port: int, secret: str, folder: Path
) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ
        | {
            "PORT": str(port),
            "PRYNT_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(16)},{secret}",
            "GUARD_FILE": str(folder / "guard.db"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert process.returncode is None
                await asyncio.sleep(0.05)  # another process's start has no event to wait for
            else:
                writer.close()
                return process


async def _processed(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    said: list[str] = []
    try:
        async with asyncio.timeout(30):
            while True:
                line = (await process.stdout.readline()).decode()
                assert line, f"the receiver ended: {said}"
                said.append(line)
                if line.startswith("processed "):
                    return line.split()[1]
    except TimeoutError:
        raise AssertionError(f"the receiver processed nothing, but said: {said}") from None


async def _check_with_the_relay(command: Sequence[str], folder: Path) -> None:
    """A receiver accepts and handles real deliveries, and a repeated one only once."""
    port = _free_port()
    async with running(local_config(folder)) as relay:
        webhook, secret = await relay.changes.create(
            WebhookInput(url=f"http://127.0.0.1:{port}/webhooks/prynt", events=("*",))
        )
        process = await _started(command, port, secret, folder)
        try:
            settlements = Settlements(relay)
            publisher = await Publisher.connect(relay)
            first = await publisher.send("verdict.block", sample_data("verdict.block"))
            assert await _processed(process) == first["eventId"]
            [settled] = await settlements.wait_for(1)
            assert settled.state is DeliveryState.DELIVERED
            await relay.resending.one(settled.delivery_row, webhook.row)
            again = (await settlements.wait_for(2))[1]
            assert again.state is DeliveryState.DELIVERED
            assert json.loads(again.result.response_body or b"") == {"skipped": True}
            last = await publisher.send("visitor.new", {"padding": "x" * 200_000})
            assert await _processed(process) == last["eventId"]
            await publisher.close()
        finally:
            process.terminate()
            await process.wait()


@pytest.mark.parametrize(
    ("name", "module"),
    [("aiohttp", "aiohttp"), ("flask", "flask"), ("fastapi", "uvicorn"), ("django", "django")],
)
async def test_an_example_takes_what_the_relay_sends(
    name: str, module: str, tmp_path: Path
) -> None:
    """Each Python example, as it stands, handles what a relay delivers."""
    pytest.importorskip(module)
    await _check_with_the_relay([sys.executable, str(EXAMPLES / f"{name}_receiver.py")], tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node and npm")
async def test_the_express_example_takes_what_the_relay_sends(tmp_path: Path) -> None:
    """The same for Express, installed as its package.json says."""
    shutil.copytree(
        EXAMPLES / "express", tmp_path / "express", ignore=shutil.ignore_patterns("node_modules")
    )
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund"],
        cwd=tmp_path / "express",
        check=True,
        timeout=400,
    )
    await _check_with_the_relay(["node", str(tmp_path / "express" / "server.js")], tmp_path)
