"""The installed daemon as a black box: a process, its socket, its API, its metrics.

async with Daemon(folder) as daemon:
    webhook = await daemon.api("POST", "/v1/webhooks", {"url": ..., "events": ["*"]})
    await daemon.publish({"eventType": "verdict.block", "data": {}})
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.receivers import shared_authority, small_trust_store

PROGRAM = Path(sys.executable).with_name("prynt-relay")
START_S = 15.0
HOST = "receiver.localhost"
"""A name with a dot that resolves to this machine everywhere."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until(
    holds: Callable[[], Awaitable[bool]], what: str, *, timeout_s: float = 15.0
) -> None:
    """Return once `holds` does; from outside a process there is nothing to wait on but to look."""
    deadline = time.monotonic() + timeout_s
    while not await holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(0.02)


class Daemon:
    """One state folder and the daemon that runs in it, which may be started again and again."""

    def __init__(
        self, folder: Path, *, env: Mapping[str, str] | None = None, **sections: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.socket = folder / "events.sock"
        self.log_file = folder / "daemon.log"
        self.api_port, self.metrics_port = free_port(), free_port()
        self.config_file = folder / "config.toml"
        self.env = dict(env or {})
        self._always_env = {"SSL_CERT_FILE": str(small_trust_store())}
        self._process: asyncio.subprocess.Process | None = None
        defaults: dict[str, dict[str, Any]] = {
            "intake": {"socket": str(self.socket)},
            "delivery": {"timeout": "2s", "retry_schedule": ["1s", "2s"]},
            "egress": {
                "allow_addresses": ["127.0.0.0/8", "::1/128"],
                "ca_file": str(shared_authority().ca_file),
            },
            "api": {"listen": f"127.0.0.1:{self.api_port}"},
            "metrics": {"listen": f"127.0.0.1:{self.metrics_port}"},
            "log": {"format": "json"},
        }
        for name, values in sections.items():
            defaults[name] = {**defaults.get(name, {}), **values}
        self.write_config(defaults)

    def write_config(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        lines = [f"state_dir = {json.dumps(str(self.state_dir))}"]
        for name, values in sections.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        self.config_file.write_text("\n".join(lines) + "\n")

    # --- life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and hasn't ended."""
        return self._process is not None and self._process.returncode is None

    async def start(
        self, *, wait: bool = True, prefix: Sequence[str] = (), program: Sequence[str] = ()
    ) -> None:
        """Start the daemon; `prefix` is a command that runs it, `program` another one."""
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *prefix, *(program or (str(PROGRAM),)), "serve", "--config", str(self.config_file),
                stderr=log, stdout=log, stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **self._always_env, **self.env}, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        if wait:
            await self.ready()

    async def ready(self) -> None:
        """Return once `readyz` says so; fails with the log if the daemon ends before."""
        assert self._process is not None
        async with asyncio.timeout(START_S):
            while True:
                if self._process.returncode is not None:
                    raise AssertionError(f"the daemon ended:\n{self.log()}")
                with contextlib.suppress(OSError):
                    status, _ = await self.request("GET", "/readyz", key=None)
                    if status == 200:
                        return
                # Nothing tells from outside when a process begins to listen.
                await asyncio.sleep(0.02)

    async def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 20.0) -> int:
        """Send a signal and return the exit code."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL, as a crash would."""
        await self.stop(signal.SIGKILL)

    async def wait(self, timeout_s: float = 20.0) -> int:
        """Return the exit code once it ends by itself."""
        assert self._process is not None
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()

    # --- what it shows

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    @property
    def key(self) -> str:
        return (self.state_dir / "api-key").read_text().strip()

    async def request(
        self, method: str, path: str, body: object = None, *, key: str | None = "", **headers: str
    ) -> tuple[int, Any]:
        """One request to the API; returns the status and the decoded JSON."""
        if key == "":
            key = self.key
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            given["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            given["Content-Type"] = "application/json"
        url = f"http://127.0.0.1:{self.api_port}{path}"
        request = urllib.request.Request(url, data=data, headers=given, method=method)
        return await asyncio.to_thread(_send, request)

    async def api(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """A request that must succeed; returns the decoded JSON."""
        status, answer = await self.request(method, path, body, **headers)
        assert 200 <= status < 300, (status, answer)
        return answer

    async def webhook(self, url: str, *events: str, **fields: Any) -> dict[str, Any]:
        """Create a webhook."""
        made: dict[str, Any] = await self.api(
            "POST", "/v1/webhooks", {"url": url, "events": list(events or ("*",)), **fields}
        )
        return made

    async def metrics(self) -> dict[str, float]:
        """A scrape, as series to value."""
        text = await asyncio.to_thread(self.scrape)
        return {
            line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line and not line.startswith("#")
        }

    def scrape(self) -> str:
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def memory_mb(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    @contextlib.asynccontextmanager
    async def publisher(self) -> AsyncIterator["Lines"]:
        """A connection to the intake socket."""
        lines = Lines(*await asyncio.open_unix_connection(str(self.socket), limit=2**20))
        try:
            yield lines
        finally:
            await lines.close()

    async def publish(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """Send events over a connection of their own; returns the answers."""
        async with self.publisher() as lines:
            return [await lines.send(request) for request in requests]


class Lines:
    """A client of the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self.send_line(json.dumps(request).encode())

    async def send_line(self, line: bytes) -> dict[str, Any]:
        self.writer.write(line + b"\n")
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        line = await self.reader.readline()
        if not line:
            raise ConnectionResetError("the daemon closed the connection")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def _send(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, _decode(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _decode(error.read())


def _decode(body: bytes) -> Any:
    return json.loads(body) if body else None
