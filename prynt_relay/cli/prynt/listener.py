"""A receiver for development: takes webhooks, verifies them, answers, and hands them on."""

import http.server
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from prynt_relay.cli.prynt.failures import CommandError
from prynt_relay.cli.prynt.signatures import verify
from prynt_relay.version import __version__

_MAX_BODY: Final = 1024 * 1024  # four times what the relay sends; more is answered 413
_IDLE_S: Final = 30.0
_CONNECTIONS: Final = 128  # at once; the next wait in the backlog
_UNSHOWN: Final = 1024  # requests whose lines wait for a slow terminal; then answers wait too


class Received(NamedTuple):
    """A request with what was made of it. `verified` is None where there was no secret."""

    at_s: float
    method: str
    path: str
    headers: dict[str, str]
    body: str
    event_type: str
    event_id: str
    verified: bool | None
    why: str
    status: int

    @property
    def time_of_day(self) -> str:
        """When it came, in the reader's zone."""
        return datetime.fromtimestamp(self.at_s).astimezone().strftime("%H:%M:%S")

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        received = datetime.fromtimestamp(self.at_s, UTC).isoformat(timespec="milliseconds")
        return {
            "receivedAt": received.replace("+00:00", "Z"),
            "eventType": self.event_type or None,
            "eventId": self.event_id or None,
            "verified": self.verified,
            "reason": None if self.verified in (True, None) else self.why,
            "request": {
                "method": self.method,
                "path": self.path,
                "headers": self.headers,
                "body": self.body,
            },
            "status": self.status,
        }


class Listener:
    """An HTTP server on its own threads; `requests` yields what it has answered."""

    def __init__(self, host: str, port: int, keys: Sequence[str], status: int) -> None:
        """Listen. Raises CommandError where the address can't be listened on."""
        self._queue: queue.Queue[Received] = queue.Queue(_UNSHOWN)
        try:
            self._server = _Server((host, port), keys, status, self._queue)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise CommandError(
                f"can't listen on {host}:{port}: {why}; choose another with --port or --host"
            ) from error
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens; with port 0 the system chose."""
        host, port = self._server.server_address[:2]
        text = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{text}]' if ':' in text else text}:{port}"

    def requests(self) -> Iterator[Received]:
        """Yield the requests in the order in which they were answered, for ever."""
        while True:
            yield self._queue.get()

    def close(self) -> None:
        """Stop listening; what is under way is dropped."""
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        keys: Sequence[str],
        status: int,
        shown: "queue.Queue[Received]",
    ) -> None:
        self.keys, self.status, self.shown = keys, status, shown
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._free.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a sender that hangs up is no news, and a traceback none to a person."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server: _Server

    def version_string(self) -> str:
        """Return what `Server` says; http.server's own would end in a blank without Python's."""
        return f"prynt-listen/{__version__}"

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._finish(b"", HTTPStatus.LENGTH_REQUIRED, None, "it has no Content-Length")
        elif len(length) > 9 or int(length) > _MAX_BODY:
            self._finish(b"", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, None, "its body is too long")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                self._judge(body)

    def _other(self) -> None:
        self._finish(b"", HTTPStatus.METHOD_NOT_ALLOWED, None, "only POST is a webhook")

    do_GET = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _other  # noqa: N815 - http.server's names

    def _judge(self, body: bytes) -> None:
        keys, status = self.server.keys, self.server.status
        if not keys:
            self._finish(body, status, None, "")
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        verdict = verify(keys, headers, body, time.time())
        answer = status if verdict.verified else HTTPStatus.UNAUTHORIZED
        self._finish(body, answer, verdict.verified, verdict.why)

    def _finish(self, body: bytes, answer: int, verified: bool | None, why: str) -> None:
        refused = verified is False or (verified is None and why)
        content = b"" if answer in (204, 205, 304) else b'{"received": true}'
        if refused:
            content = b'{"received": false}'
        self.send_response(answer)
        self.send_header("Content-Type", "application/json")
        if answer != 204:
            self.send_header("Content-Length", str(len(content)))
        if answer in (405, 411, 413):
            self.send_header("Connection", "close")  # what follows may be a body left unread
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()
        self.server.shown.put(self._received(body, answer, verified, why))

    def _received(self, body: bytes, answer: int, verified: bool | None, why: str) -> Received:
        return Received(
            at_s=time.time(),
            method=self.command,
            path=self.path,
            headers=dict(self.headers.items()),
            body=body.decode("utf-8", "replace"),
            event_type=self.headers.get("X-Prynt-Event", ""),
            event_id=self.headers.get("X-Prynt-Delivery", self.headers.get("webhook-id", "")),
            verified=verified,
            why=why,
            status=int(answer),
        )

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the requests are printed elsewhere."""
