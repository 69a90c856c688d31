"""The processes of a benchmark: daemon, receiver, publisher, bare loop."""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from prynt_relay.daemon.relay import DATABASE_FILE
from tests.bench.receiving import COUNT, Counter
from tests.system.daemons import PROGRAM, Daemon

ROOT = Path(__file__).parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Processor time of a process and all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int, which: str = "VmRSS") -> float:
    """Resident memory now, or with `VmHWM` at its most since `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    raise ValueError(which)


def forget_peak(pid: int) -> None:
    """Begin a new `VmHWM`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class Child:
    """A module of this package as a process that answers lines with lines."""

    def __init__(self, module: str, *args: str) -> None:
        self._command = (sys.executable, "-m", f"tests.bench.{module}", *args)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=ROOT, limit=2**26,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.greeting = await self._line()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _line(self) -> str:
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode()
        if not line:
            raise AssertionError(f"{self._command} ended")
        return line

    async def ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return await self._line()


class Receiver(Child):
    """Counts what it gets."""

    def __init__(self, folder: Path) -> None:
        file = folder / "received"
        file.write_bytes(bytes(COUNT.size))
        super().__init__("receiving", str(file))
        self._counter = Counter(file)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{int(self.greeting)}/{path}"

    def received(self) -> int:
        return self._counter.read()

    async def times(self) -> dict[str, float]:
        """When the first byte of each timed event came."""
        times: dict[str, float] = json.loads(await self.ask("times"))
        return times


class BareLoop(Child):
    """Posts by itself."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__("bare_loop", receiver.url("bare"))

    async def run(self, count: int, size: int = 0) -> tuple[float, float]:
        """Requests a second, and CPU microseconds for each."""
        answer = json.loads(await self.ask(f"{count} {size}"))
        return count / answer["seconds"], answer["cpu_s"] / count * 1e6


class Published(NamedTuple):
    """What a publisher saw: monotonic seconds, and at a rate each event's id and its two times."""

    started: float
    acked: float
    events: list[tuple[str, float, float]]


class Publisher(Child):
    """Publishes on one connection."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__("publishing", str(daemon.socket))

    async def run(self, count: int, event_type: str, **job: Any) -> Published:
        answer = json.loads(await self.ask(json.dumps({"count": count, "type": event_type, **job})))
        return Published(answer["started"], answer["acked"], answer["events"])


class Late(NamedTuple):
    """A call that the loop made late: when and by how much.

    `waited_ms` of it the loop's thread could have run and had no processor, `cpu_ms` it ran.
    """

    at: float
    late_ms: float
    waited_ms: float
    cpu_ms: float

    @property
    def blocked_ms(self) -> float:
        """For how long the loop was held up by what the daemon does, not by the machine."""
        return self.late_ms - self.waited_ms


class BenchDaemon(Daemon):
    """The installed daemon with a watchdog in its loop, and figures read from outside."""

    def __init__(self, folder: Path, *, retention_s: float | None = None, **sections: Any) -> None:
        self.lateness_file = folder / "lateness"
        env = {"BENCH_LATENESS": str(self.lateness_file), "PYTHONPATH": str(ROOT)}
        if retention_s is not None:
            env["BENCH_RETENTION_S"] = str(retention_s)
        folder.mkdir(exist_ok=True)
        sections.setdefault("delivery", {"timeout": "10s", "retry_schedule": ["5m", "30m"]})
        sections["egress"] = {"allow_addresses": ["127.0.0.0/8"], "allow_http": True}
        super().__init__(folder, env=env, **sections)
        self._reading: sqlite3.Connection | None = None

    async def start(
        self, *, wait: bool = True, prefix: Sequence[str] = (), program: Sequence[str] = ()
    ) -> None:
        watched = (sys.executable, "-m", "tests.bench.watched", str(PROGRAM))
        await super().start(wait=wait, prefix=prefix, program=program or watched)

    async def __aexit__(self, *error: object) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None
        await super().__aexit__(*error)  # type: ignore[arg-type]

    @property
    def database(self) -> Path:
        return self.state_dir / DATABASE_FILE

    def ask(self, sql: str) -> Any:
        """The first column of the first row, over a connection that can't write."""
        if self._reading is None:
            uri = f"file:{self.database}?mode=ro"
            self._reading = sqlite3.connect(uri, uri=True, isolation_level=None)
        return self._reading.execute(sql).fetchone()[0]

    def attempts(self) -> int:
        """How many attempts are on disk; they are numbered from one."""
        return self.ask("SELECT coalesce(max(id), 0) FROM attempts")  # type: ignore[no-any-return]

    def used_bytes(self) -> int:
        """Bytes of the database in use, what is still in its log included."""
        free: int = self.ask("PRAGMA freelist_count")
        pages: int = self.ask("PRAGMA page_count")
        page_bytes: int = self.ask("PRAGMA page_size")
        return (pages - free) * page_bytes

    async def settled(self, count: int, receiver: Receiver, received: int) -> float:
        """Wait until `received` requests have come and `count` attempts are on disk; returns when.

        The receiver's count is looked at first, since that costs the machine nothing.
        """
        deadline = time.monotonic() + 120
        while receiver.received() < received or self.attempts() < count:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{receiver.received()} of {received} received, {self.attempts()} of {count}"
                    f" settled\n{self.log()[-2000:]}"
                )
            await asyncio.sleep(0.004)
        return time.monotonic()

    def late(self, since: float = 0.0) -> list[Late]:
        """What the watchdog noted from `since` on."""
        if not self.lateness_file.exists():
            return []
        lines = (line.split() for line in self.lateness_file.read_text().splitlines())
        noted = [Late(*map(float, line)) for line in lines if len(line) == 4]
        return [late for late in noted if late.at >= since]
