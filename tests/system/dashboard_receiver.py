"""A receiver in threads, for tests whose own thread drives a browser."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Endpoint:
    """Answers what a test says, and remembers what came."""

    url: str = ""
    status: int = 200
    body: bytes = b'{"received":true}'
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    keep: int = 1000
    """How many requests to remember: the first ones."""
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int) -> tuple[dict[str, str], bytes]:
        """Return the request with this number once it came."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, 15), self.requests
        return self.requests[count - 1]


@contextlib.contextmanager
def receiving() -> Iterator[Endpoint]:
    """An endpoint that listens until the block ends."""
    endpoint = Endpoint()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            # Read before anybody is told: who waits may change them at once.
            status, answer, headers = endpoint.status, endpoint.body, dict(endpoint.headers)
            with endpoint.arrived:
                if len(endpoint.requests) < endpoint.keep:
                    endpoint.requests.append((dict(self.headers.items()), body))
                endpoint.arrived.notify_all()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/webhooks/prynt"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
