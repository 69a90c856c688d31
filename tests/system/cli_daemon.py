"""The installed daemon on free ports, and the installed `prynt` that talks to it."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.integration.prynt_cli import Running

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
    """A running daemon; `prynt(...)` runs a command that finds its key by itself."""

    def __init__(self, folder: Path, api_port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{api_port}"
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.env = {
            **kept,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / ".local/state"),
            "PRYNT_API_URL": self.url,
            "TZ": "UTC",
        }

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
    import socket  # noqa: PLC0415 - here alone

    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def running_daemon(folder: Path, *, retry_schedule: str = '["1h"]') -> Iterator[Daemon]:
    """Serve with an empty state folder below `folder` until the block ends."""
    ports: dict[str, Any] = {"api": free_port(), "metrics": free_port()}
    config = folder / "config.toml"
    config.write_text(_CONFIG.format(**ports, retry_schedule=retry_schedule))
    daemon = Daemon(folder, ports["api"])
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [SERVE, "serve", "--config", str(config)], env=daemon.env, cwd=folder, stderr=stderr
        )
    try:
        _wait_until_ready(daemon, process, log)
        yield daemon
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(daemon: Daemon, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(daemon.url + "/readyz"):  # noqa: S310 - our own daemon
            return
        time.sleep(0.05)
    raise AssertionError(f"the daemon isn't ready:\n{log.read_text()}")
