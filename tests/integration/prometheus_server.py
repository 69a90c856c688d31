"""A real Prometheus for tests: scrapes what it is told to, loads the rules, answers queries."""

import contextlib
import http.client
import json
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.programs import program


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Prometheus:
    """A running server; queries raise AssertionError with its reason where it refuses them."""

    def __init__(self, port: int) -> None:
        """Use `run_prometheus`."""
        self.port = port

    def request(self, path: str) -> tuple[int, bytes]:
        """Return the status and the body of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def get(self, path: str, **parameters: str) -> Any:
        """Return the `data` of an API call."""
        status, body = self.request(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        assert status == 200, f"{parameters}: {body.decode()}"
        return json.loads(body)["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the series that `expr` has now; a scalar counts as one."""
        data = self.get("query", query=expr)
        result: list[dict[str, Any]] = (
            data["result"] if data["resultType"] == "vector" else [{"value": data["result"]}]
        )
        return result

    def wait_until(self, expr: str, timeout_s: float = 30.0) -> None:
        """Return once `expr` has a series."""
        deadline = time.monotonic() + timeout_s
        while not self.query(expr):
            if time.monotonic() > deadline:
                raise AssertionError(f"{expr} has no series after {timeout_s} s")
            time.sleep(0.1)


@contextlib.contextmanager
def run_prometheus(folder: Path, target: str, *rule_files: Path) -> Iterator[Prometheus]:
    """Run Prometheus with its data in `folder`, scraping `target` (host:port) every 500 ms."""
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(path) for path in rule_files],
        "scrape_configs": [
            {"job_name": "prynt-relay", "static_configs": [{"targets": [target]}]},
        ],
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = _free_port()
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                program("prometheus", "prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        prometheus = Prometheus(port)
        _wait_ready(prometheus, server, folder / "prometheus.log")
        yield prometheus
    finally:
        server.terminate()
        server.wait(20)


def _wait_ready(prometheus: Prometheus, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError):
            if prometheus.request("/-/ready")[0] == 200:
                return
        if time.monotonic() > deadline or server.poll() is not None:
            raise AssertionError(f"Prometheus isn't ready:\n{log.read_text()}")
        time.sleep(0.05)
