"""The installed daemon on free ports, and the installed `prynt` that talks to it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.integration.prynt_cli import Running
from tests.integration.receivers import small_trust_store

SERVE: Final = Path(sys.executable).with_name("prynt-relay")
PRYNT: Final = Path(sys.executable).with_name("prynt")

_CONFIG: Final = """
[api]
listen = "127.0.0.1:{api}"
[metrics]
listen = "127.0.0.1:{metrics}"
[egress]
allow_http = true
allow_addresses = ["127.0.0.0/8"]
[delivery]
retry_schedule = {retry_schedule}
"""


class Daemon:
    """A daemon with a folder and ports of its own; `prynt(...)` finds its key by itself."""

    def __init__(self, folder: Path, retry_schedule: str = '["1h"]') -> None:
        self.folder = folder
        ports = {"api": free_port(), "metrics": free_port()}
        self._config = folder / "config.toml"
        self._config.write_text(_CONFIG.format(**ports, retry_schedule=retry_schedule))
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{ports['api']}"
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.env = {
            **kept,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / ".local/state"),
            "PRYNT_API_URL": self.url,
            "TZ": "UTC",
            "SSL_CERT_FILE": str(small_trust_store()),
        }

    def start(self) -> None:
        """Serve, and return once it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [SERVE, "serve", "--config", str(self._config)],
                env=self.env,
                cwd=self.folder,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.url}/readyz"),  # noqa: S310 - our own daemon
            ):
                return
            time.sleep(0.05)  # it has no other way to tell a stranger
        raise AssertionError(f"the daemon isn't ready:\n{self._log.read_text()}")

    def stop(self) -> None:
        """Ask it to drain and leave."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def prynt(self, *args: str, code: int = 0, **env: str) -> str:
        """Run a command; returns what it wrote to stdout and stderr."""
        done = subprocess.run(
            [PRYNT, *args],
            env={**self.env, **env},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{args} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def running(self, *args: str) -> Running:
        """Start a command that goes on until it is interrupted."""
        return Running(*args, program=[str(PRYNT)], **self.env)


def free_port() -> int:
    """A port that nothing listens on for now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def running_daemon(folder: Path) -> Iterator[Daemon]:
    """Serve with an empty state folder below `folder` until the block ends."""
    daemon = Daemon(folder)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
