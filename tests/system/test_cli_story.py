"""What an operator lives through, with the installed `prynt` alone against the installed daemon."""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.integration.prynt_cli import Running
from tests.system.cli_daemon import Daemon, free_port, running_daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path) as daemon:
        yield daemon


class Receiver:
    """`prynt listen`, told of the secrets that it accepts."""

    def __init__(self, daemon: Daemon, port: int, *secrets: str) -> None:
        given = [word for secret in secrets for word in ("--secret", secret)]
        self._running = daemon.running("listen", "--port", str(port), "--json", *given)

    def __enter__(self) -> Self:
        self._running.__enter__()
        assert "Listening on" in self._running.err.get(timeout=20)
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.__exit__(*exception)

    def next(self) -> dict[str, Any]:
        """The next request, as `listen --json` tells it."""
        told: dict[str, Any] = json.loads(self._running.out.get(timeout=20))
        return told


def streamed(stream: Running) -> dict[str, Any]:
    attempt: dict[str, Any] = json.loads(stream.out.get(timeout=20))
    return attempt


def signed_with(request: dict[str, Any], secret: str) -> bool:
    """Whether this very secret signed, computed here."""
    headers = request["headers"]
    signed = f"{headers['X-Prynt-Timestamp']}.{request['body']}".encode()
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return bool(headers["X-Prynt-Signature"] == f"sha256={expected}")


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[0]


def test_from_the_first_webhook_to_a_rotated_secret(daemon: Daemon) -> None:
    """Create, test, an outage seen and explained, a window retried, streamed, a secret rotated."""
    prynt, port = daemon.prynt, free_port()
    assert "There are no webhooks yet" in prynt("webhooks", "list")

    created = prynt(
        "webhooks", "create", f"http://127.0.0.1:{port}/webhooks/prynt",
        "--events", "verdict.block,alert.triggered", "--description", "Fraud alerts",
    )  # fmt: skip
    hook = found(r"wh_\w{13}", created)
    secret = found(r"whsec_[A-Za-z0-9+/]{32}", created)
    assert "not shown again" in created
    assert secret not in prynt("webhooks", "get", hook)
    assert secret not in prynt("webhooks", "get", hook, "--json")

    with daemon.running("webhooks", "stream", hook, "--json") as stream:
        assert "Waiting for attempts" in stream.err.get(timeout=20)

        with Receiver(daemon, port, secret) as receiver:
            tested = prynt("webhooks", "test", hook, "--event", "verdict.block")
            assert "--> verdict.block [evt_" in tested
            assert f"<-- [200] POST http://127.0.0.1:{port}/webhooks/prynt" in tested
            request = receiver.next()
            assert request["verified"] is True
            assert streamed(stream)["trigger"] == "test"

        # The receiver is down: events come in, and fail.
        events = [found(r"evt_\w{13}", prynt("events", "send", "verdict.block", "--sample"))
                  for _ in range(3)]  # fmt: skip
        assert [streamed(stream)["outcome"] for _ in events] == ["connection_refused"] * 3
        assert re.search(r"failing \d+s", prynt("webhooks", "list"))
        listed = prynt("webhooks", "deliveries", hook, "--state", "scheduled", "--since", "1h")
        rows = listed.splitlines()[1:]
        assert [event for event in events if event in listed] == events
        assert all("connection_refused  in 60m" in row for row in rows)
        failing = found(r"del_\w{13}", rows[0])

        inspected = prynt("webhooks", "inspect", failing)
        assert "Next attempt" in inspected
        assert "(in 60m)" in inspected
        assert "connection_refused" in inspected
        assert '"eventType": "verdict.block"' in inspected
        assert "X-Prynt-Signature: (redacted" in inspected
        assert "No response" in inspected
        exact = json.loads(prynt("webhooks", "inspect", failing, "--json"))
        assert exact["attempts"][0]["response"] is None
        assert exact["nextAttemptAt"] > exact["attempts"][0]["startedAt"]

        # It is back: the window is sent again, and arrives.
        with Receiver(daemon, port, secret) as receiver:
            retried = prynt("webhooks", "retry", hook, "--since", "1h")
            assert "3 deliveries are being sent again" in retried
            arrived = [receiver.next() for _ in events]
            assert {request["eventId"] for request in arrived} == set(events)
            assert [request["verified"] for request in arrived] == [True] * 3
            again = [streamed(stream) for _ in events]
            assert {(each["outcome"], each["trigger"], each["number"]) for each in again} == {
                ("success", "manual", 2)
            }
            delivered = prynt("webhooks", "deliveries", hook, "--state", "delivered")
            assert [event for event in events if event in delivered] == events
            assert "delivered" in prynt("webhooks", "inspect", failing)
            assert "enabled" in prynt("webhooks", "list")

        # The secret is rotated under way, with a receiver that accepts both.
        rotated = prynt("webhooks", "rotate-secret", hook, "--activate-in", "2s")
        new = found(r"whsec_[A-Za-z0-9+/]{32}", rotated)
        assert new != secret
        with Receiver(daemon, port, secret, new) as receiver:
            signers: list[str] = []
            while signers[-3:] != ["new"] * 3:
                assert len(signers) < 200, "the new secret never took over"
                prynt("events", "send", "verdict.block", "--sample")
                request = receiver.next()
                assert request["verified"] is True, request["reason"]
                assert request["status"] == 200
                assert streamed(stream)["outcome"] == "success"
                old_signs = signed_with(request["request"], secret)
                assert old_signs != signed_with(request["request"], new)
                signers.append("old" if old_signs else "new")
        assert signers == sorted(signers, reverse=True), "the old secret signed after the new one"
        assert "old" in signers
        assert stream.interrupt() == 0
    assert "No delivery is like that" in prynt("webhooks", "deliveries", "--state", "failed")


def test_a_stream_outlives_the_daemon(daemon: Daemon) -> None:
    """Across a restart it connects again and goes on after the last attempt that it showed."""
    port = free_port()
    created = daemon.prynt("webhooks", "create", f"http://127.0.0.1:{port}/", "--events", "*")
    hook = found(r"wh_\w{13}", created)
    with daemon.running("webhooks", "stream") as stream:
        assert "Waiting for attempts" in stream.err.get(timeout=20)
        daemon.prynt("webhooks", "test", hook, code=1)
        first = stream.out.get(timeout=20)
        assert re.search(rf"--> \S+ \[evt_\w{{13}}\] {hook}", first)
        assert "<-- [connection_refused] POST 127.0.0.1" in stream.out.get(timeout=20)
        daemon.stop()
        assert "The connection was lost" in stream.err.get(timeout=20)
        daemon.start()
        sent = daemon.prynt("events", "send", "visitor.new", "--sample")
        event = found(r"evt_\w{13}", sent)
        assert f"--> visitor.new [{event}] {hook}" in stream.out.get(timeout=20)
        assert "retry in 60m" in stream.out.get(timeout=20)
        notices = []
        while "Connected again; going on where it broke off." not in notices:
            notices.append(stream.err.get(timeout=20))
        assert stream.interrupt() == 0
