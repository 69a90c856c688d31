"""A sample event sent straight to a URL, without a daemon: `prynt webhooks test --url`."""

import contextlib
import http.client
import json
import secrets
import socket
import ssl
import threading
import time
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import click

from prynt_relay.cli.prynt.signatures import sign
from prynt_relay.escape import safe_line
from prynt_relay.model.ids import BASE62
from prynt_relay.version import __version__

TIMEOUT_S: Final = 10.0
"""The specification's deadline (section 6), over everything up to the response's headers."""

_KEPT: Final = 16 * 1024
_API_VERSION: Final = "2026-01-15"


class Sample(NamedTuple):
    """A request that is ready to be sent."""

    event_id: str
    event_type: str
    body: bytes
    headers: dict[str, str]


def sample_request(event_type: str, data: str, secret: str, now_s: float) -> Sample:
    """Return the request that the relay would make for `data` (JSON text, kept as it is)."""
    created = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds")
    event_id = "evt_" + _fresh(13, BASE62)
    head = {
        "webhookId": "wh_" + _fresh(13, BASE62),
        "eventId": event_id,
        "eventType": event_type,
        "apiVersion": _API_VERSION,
        "createdAt": created.replace("+00:00", "Z"),
        "idempotencyKey": "idk_" + _fresh(12, "0123456789abcdef"),
    }
    text = json.dumps(head, separators=(",", ":"))[:-1] + ',"data":' + data + "}"
    body = text.encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"prynt-relay/{__version__}",
        "X-Prynt-Event": event_type,
        "X-Prynt-Delivery": event_id,
        "X-Prynt-Timestamp": str(int(now_s)),
        "X-Prynt-Signature": sign(secret, int(now_s), body),
    }
    return Sample(event_id, event_type, body, headers)


def check_url(url: str) -> SplitResult:
    """Return the parts of a URL to test; click.UsageError where nothing can be sent there."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable:
        raise click.UsageError(f"--url: {safe_line(url)!r} is no http or https URL")
    if parts.username is not None or parts.password is not None:
        raise click.UsageError("--url: the relay takes no user info in a URL; leave it out")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise click.UsageError("--url: write it in printable ASCII, percent-encoded where needed")
    return parts


class _Exchange:
    """One request on a thread of its own, so that the deadline holds for lookups too."""

    def __init__(self, parts: SplitResult, sample: Sample, timeout_s: float) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.whole = False
        self.failure: Exception | None = None
        self.answered_s: float | None = None
        self.done = threading.Event()
        self._sample = sample
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)

    def run(self) -> None:
        try:
            self._send()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.failure = error
        finally:
            self._connection.close()
            self.done.set()

    def give_up(self) -> None:
        """Make whatever still waits for the receiver fail."""
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)

    def _send(self) -> None:
        connection, sample = self._connection, self._sample
        connection.putrequest("POST", self._path, skip_accept_encoding=True)
        for name, value in sample.headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(sample.body)))
        connection.endheaders(sample.body)
        with connection.getresponse() as response:
            self.answered_s = time.monotonic()
            for name, value in response.getheaders():
                known = self.headers.get(name)
                self.headers[name] = value if known is None else f"{known}, {value}"
            self.status = response.status
            while len(self.body) <= _KEPT:
                chunk = response.read1(_KEPT)
                if not chunk:
                    self.whole = True
                    break
                self.body += chunk


def send_sample(url: str, sample: Sample, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """POST a sample and return the attempt in the shape in which the API answers one.

    Never raises for what the network or the receiver does.
    """
    started_s, begun = time.time(), time.monotonic()
    exchange = _Exchange(check_url(url), sample, timeout_s)
    threading.Thread(target=exchange.run, daemon=True).start()
    exchange.done.wait(timeout_s)
    ended = exchange.answered_s or time.monotonic()
    status, failure = exchange.status, exchange.failure
    exchange.give_up()  # only now: a response that it cuts off must not count as one
    if status is not None:
        outcome, error = ("success", None) if 200 <= status < 300 else ("http_error", None)
    else:
        outcome, error = _failed(failure, timeout_s)
    started = datetime.fromtimestamp(started_s, UTC).isoformat(timespec="milliseconds")
    return {
        "eventId": sample.event_id,
        "eventType": sample.event_type,
        "number": 1,
        "trigger": "test",
        "startedAt": started.replace("+00:00", "Z"),
        "durationMs": round((ended - begun) * 1000),
        "outcome": outcome,
        "error": error,
        "request": {"url": url, "headers": sample.headers, "body": sample.body.decode()},
        "response": None
        if status is None
        else {
            "status": status,
            "headers": exchange.headers,
            "body": bytes(exchange.body[:_KEPT]).decode("utf-8", "replace"),
            "truncated": len(exchange.body) > _KEPT or not exchange.whole,
        },
    }


_FAILURES: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (ConnectionRefusedError, "connection_refused", "nothing listens there"),
    (socket.gaierror, "dns_error", "the name can't be resolved"),
    (ssl.SSLError, "tls_error", ""),
    (
        http.client.RemoteDisconnected,
        "connection_error",
        "it closed the connection without a response",
    ),
    (http.client.HTTPException, "connection_error", "its response isn't HTTP"),
)


def _failed(failure: Exception | None, timeout_s: float) -> tuple[str, str]:
    """Return the outcome's name (contract, section 4) and what happened, for people."""
    if failure is None or isinstance(failure, TimeoutError):
        return "timeout", f"no response within {timeout_s:.0f} s"
    told = getattr(failure, "verify_message", "") or getattr(failure, "strerror", "")
    for kind, outcome, why in _FAILURES:
        if isinstance(failure, kind):
            return outcome, why or told or str(failure)
    return "connection_error", told or str(failure)


def _fresh(length: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
