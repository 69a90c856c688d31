"""Does a receiver do what a webhook receiver must? Starts one and finds out.

    PORT=3000 PRYNT_WEBHOOK_SECRET=whsec_... python conformance.py python flask_receiver.py

Everything after `conformance.py` is the command that starts the receiver.

The receiver listens on $PORT of this machine for POSTs to /webhooks/prynt, verifies with
$PRYNT_WEBHOOK_SECRET, works for $WORK_SECONDS on an event after it has answered, and prints
`processed <eventId>` when it is done. Needs nothing but the standard library.
"""

import hashlib
import hmac
import http.client
import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PATH = "/webhooks/prynt"
WORK_S = 1.0
START_S = 30.0
PATIENCE_S = 20.0
KB_256 = 262_144


class Receiver:
    """A running receiver: what to send it, and what it says that it has done."""

    def __init__(self, port: int, secret: str, output: IO[str]) -> None:
        self._port = port
        self._secret = secret
        self._processed: queue.Queue[str] = queue.Queue()
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self.log.append(line)
            words = line.split()
            if words[:1] == ["processed"]:
                self._processed.put(words[1])

    def last_words(self) -> str:
        """What it wrote, to the end where it has ended."""
        self._reader.join(timeout=1)
        return "  ".join(["the receiver's own output:\n", *self.log]).rstrip()

    def headers(self, body: bytes, *, age_s: int = 0, secret: str = "") -> dict[str, str]:
        """The headers of an honest delivery."""
        timestamp = str(int(time.time()) - age_s)
        key = (secret or self._secret).encode()
        digest = hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "X-Prynt-Timestamp": timestamp,
            "X-Prynt-Signature": f"sha256={digest}",
        }

    def post(self, *deliveries: tuple[bytes, dict[str, str]]) -> list[int]:
        """Deliver over one connection, as the relay does, and return the statuses."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        statuses = []
        try:
            for body, headers in deliveries:
                connection.request("POST", PATH, body, headers)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
        finally:
            connection.close()
        return statuses

    def processed(self) -> str:
        """The id of the next event that the receiver is done with."""
        return self._processed.get(timeout=PATIENCE_S)

    def idle(self) -> bool:
        """Whether nothing more was processed in the time that one event takes."""
        time.sleep(2 * WORK_S)
        return self._processed.empty()


def event(event_type: str = "identification.complete", **data: Any) -> tuple[str, bytes]:
    """A fresh event's id and body."""
    event_id = f"evt_{secrets.token_hex(6)}x"
    envelope = {
        "webhookId": "wh_3kR8mNqT7xP2v",
        "eventId": event_id,
        "eventType": event_type,
        "apiVersion": "2026-01-15",
        "createdAt": "2026-02-14T11:45:22.341Z",
        "idempotencyKey": f"idk_{secrets.token_hex(6)}",
        "data": {"requestId": "req_1707832921_a7f2c9", "name": "Zoë 🦊", **data},
    }
    return event_id, json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()


def valid(receiver: Receiver) -> None:
    """A delivery as the relay makes it is accepted, and handled."""
    event_id, body = event()
    check(receiver.post((body, receiver.headers(body))), [200])
    check(receiver.processed(), event_id)


def tampered_body(receiver: Receiver) -> None:
    """A changed body is refused."""
    _, body = event()
    check(receiver.post((body.replace(b"Zo", b"Zu"), receiver.headers(body))), [401])


def tampered_timestamp(receiver: Receiver) -> None:
    """A changed timestamp is refused: it is signed too."""
    _, body = event()
    headers = receiver.headers(body)
    headers["X-Prynt-Timestamp"] = str(int(headers["X-Prynt-Timestamp"]) - 1)
    check(receiver.post((body, headers)), [401])


def other_secret(receiver: Receiver) -> None:
    """A signature with another secret is refused."""
    _, body = event()
    check(receiver.post((body, receiver.headers(body, secret="whsec_" + "A" * 32))), [401])


def old(receiver: Receiver) -> None:
    """A delivery that was signed over five minutes ago, or ahead, is refused; a late one isn't."""
    _, body = event()
    check(receiver.post((body, receiver.headers(body, age_s=330))), [401])
    check(receiver.post((body, receiver.headers(body, age_s=-330))), [401])
    event_id, body = event()
    check(receiver.post((body, receiver.headers(body, age_s=270))), [200])
    check(receiver.processed(), event_id)


def missing_headers(receiver: Receiver) -> None:
    """Without either header, or with nonsense in one, a delivery is refused."""
    _, body = event()
    for name in ("X-Prynt-Timestamp", "X-Prynt-Signature"):
        headers = receiver.headers(body)
        del headers[name]
        check(receiver.post((body, headers)), [401])
        for nonsense in ("", "nonsense", "sha256=", "sha256=" + "é" * 64, "9" * 400):
            check(receiver.post((body, {**headers, name: nonsense})), [401])


def repeated(receiver: Receiver) -> None:
    """The same event again is accepted, and handled once."""
    event_id, body = event()
    for _ in range(3):
        check(receiver.post((body, receiver.headers(body))), [200])
    check(receiver.processed(), event_id)
    check(receiver.idle(), True)


def large(receiver: Receiver) -> None:
    """A body of 256 KB is accepted."""
    event_id, body = event(padding="")
    padding = b"x" * (KB_256 - len(body))
    body = body.replace(b'"padding":""', b'"padding":"' + padding + b'"')
    check(len(body), KB_256)
    check(receiver.post((body, receiver.headers(body))), [200])
    check(receiver.processed(), event_id)


def unknown_type(receiver: Receiver) -> None:
    """An event type of the future, with fields of the future, is accepted."""
    event_id, body = event("visitor.teleported")
    body = body[:-1] + b',"fieldOfTheFuture":{"a":[1]}}'
    check(receiver.post((body, receiver.headers(body))), [200])
    check(receiver.processed(), event_id)


def slow_work(receiver: Receiver) -> None:
    """The answer doesn't wait for the work, nor one delivery for another's work."""
    events = [event() for _ in range(3)]
    started = time.monotonic()
    check(receiver.post(*((body, receiver.headers(body)) for _, body in events)), [200] * 3)
    if time.monotonic() - started > WORK_S:
        raise AssertionError(f"three answers took longer than the {WORK_S} s of one's work")
    check({receiver.processed() for _ in events}, {event_id for event_id, _ in events})


CHECKS: tuple[Callable[[Receiver], None], ...] = (
    valid,
    tampered_body,
    tampered_timestamp,
    other_secret,
    old,
    missing_headers,
    repeated,
    large,
    unknown_type,
    slow_work,
)


def check(found: object, expected: object) -> None:
    """Raise AssertionError unless they are equal."""
    if found != expected:
        raise AssertionError(f"expected {expected!r}, got {found!r}")


@contextmanager
def running(command: list[str], port: int, secret: str) -> Iterator[Receiver]:
    """Start a receiver, wait until it listens, and end it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "PORT": str(port),
            "PRYNT_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(16)},{secret}",
            "WORK_SECONDS": str(WORK_S),
            "GUARD_FILE": str(Path(folder) / "webhooks.db"),
        }
        try:
            process = subprocess.Popen(  # noqa: S603 - the caller's own command
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except OSError as error:
            raise SystemExit(f"{command[0]} can't be started: {error.strerror}") from error
        try:
            if process.stdout is None:
                raise RuntimeError("the receiver has no output to read")
            receiver = Receiver(port, secret, process.stdout)
            wait_until_listening(process, receiver, port)
            yield receiver
        finally:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_listening(process: subprocess.Popen[str], receiver: Receiver, port: int) -> None:
    """Return once the port takes connections; ends the script where it never does."""
    deadline = time.monotonic() + START_S
    while True:
        if process.poll() is not None:
            raise SystemExit(f"The receiver ended; {receiver.last_words()}")
        if is_taken(port):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"Nothing listens on port {port} of $PORT; {receiver.last_words()}")
        time.sleep(0.05)


def is_taken(port: int) -> bool:
    """Whether something listens on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def main(command: list[str]) -> int:
    """Run every check, print how it went, and return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the receiver must end too
    if not command:
        print("usage: python conformance.py COMMAND...\n\nCOMMAND starts the receiver.")
        return 2
    port = int(os.environ.get("PORT", "3000"))
    if is_taken(port):
        print(f"Something else listens on port {port}; choose another with $PORT.")
        return 1
    secret = os.environ.get("PRYNT_WEBHOOK_SECRET", "whsec_" + secrets.token_hex(16))
    failed = 0
    with running(command, port, secret) as receiver:
        for run in CHECKS:
            try:
                run(receiver)
            except (AssertionError, OSError, queue.Empty) as error:
                failed += 1
                print(f"FAILED {run.__name__}: {error!r}")
            else:
                print(f"ok     {run.__name__}: {run.__doc__}")
        if failed:
            print(receiver.last_words())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
