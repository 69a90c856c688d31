"""Run inside the container: an HTTPS receiver that writes down what it gets. Standard library only.

    receiver.py PORT CERTIFICATE LOG [SLOW_FLAG]

Appends one JSON line per request to LOG before it answers 200: the event's id, its headers and its
body. While the file SLOW_FLAG exists, an answer takes as many seconds as are written in it.
"""

import contextlib
import http.server
import json
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

LOCK = threading.Lock()


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 200 to every POST."""

    protocol_version = "HTTP/1.1"
    log_file: Path
    slow_flag: Path | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        line = json.dumps(
            {
                "event": self.headers["X-Prynt-Delivery"],
                "timestamp": self.headers["X-Prynt-Timestamp"],
                "signature": self.headers["X-Prynt-Signature"],
                "body": body.decode(),
            }
        )
        with LOCK, self.log_file.open("a") as log:
            log.write(line + "\n")
        if self.slow_flag is not None:
            with contextlib.suppress(FileNotFoundError):
                time.sleep(float(self.slow_flag.read_text()))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """Does the TLS handshake in the connection's thread, so that one can't hold up the others."""

    daemon_threads = True
    request_queue_size = 128
    tls: ssl.SSLContext

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            secured = self.tls.wrap_socket(request, server_side=True)
        except OSError:
            self.shutdown_request(request)
            return
        super().process_request_thread(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle is none of our business."""


def main() -> None:
    port, certificate, log, *slow = sys.argv[1:]
    Receiver.log_file = Path(log)
    Receiver.slow_flag = Path(slow[0]) if slow else None
    server = Server(("127.0.0.1", int(port)), Receiver)
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate)
    server.serve_forever()


if __name__ == "__main__":
    main()
