"""A soak of the installed daemon: `python -m tests.system.soak --minutes 30 [--rate R]`.

Events come in at a rate, without one at half of what is measured to be the most; one receiver in
twenty misbehaves; half way the daemon is restarted. Memory, descriptors and the log's size are
sampled every second, after two minutes to warm up. It passes if the first and the last third of
each agree within 5 %, the log stays within its bound and every acknowledged event has been received
and settled. Exits with 1 if not.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NamedTuple

from prynt_relay.daemon.relay import DATABASE_FILE
from tests.system.daemons import HOST, Daemon, until

WEBHOOKS: Final = 200
BAD: Final = ("hang", "drip", "fail", "reset")
BAD_EVERY: Final = 20
CONNECTIONS: Final = 4
TICK_S: Final = 0.02
MEASURED_S: Final = 10.0
WARM_UP_S: Final = 120.0
"""Until keys are forgotten as fast as they come, and the database's caches are full.

With a restart too: what waited meanwhile comes at once, uses every slot, and makes a process as
large as it will ever be. The first third has to have had that as the last one has.
"""
FLAT: Final = 0.05
WAL_BOUND: Final = 32 * 2**20
"""Twice the size from which on the log is begun anew at once (docs/architecture.md)."""
SETTLING_S: Final = 60.0
PAD: Final = b"x" * 700
MOST_PER_S: Final = 20_000.0
"""More than any machine does; makes room for the marks."""


class Sample(NamedTuple):
    """What was seen in one second."""

    at_s: float
    memory_mb: float
    descriptors: int
    wal_bytes: int


class Figures(NamedTuple):
    """What a soak came to."""

    rate: float
    acknowledged: int
    lost: int
    unsettled: float
    memory_mb: tuple[float, float]
    """The median of the first third and of the last."""
    descriptors: tuple[float, float]
    wal_mb: tuple[float, float]
    wal_most_mb: float

    def problems(self) -> list[str]:
        """Why it isn't passed."""
        found = []
        thirds = (
            ("memory", self.memory_mb),
            ("descriptors", self.descriptors),
            ("the log", self.wal_mb),
        )
        for name, (first, last) in thirds:
            if abs(last / first - 1) > FLAT:
                found.append(f"{name} went from {first:.1f} to {last:.1f}")
        if self.wal_most_mb * 2**20 > WAL_BOUND:
            found.append(f"the log grew to {self.wal_most_mb:.1f} MB")
        if self.lost:
            found.append(f"{self.lost} acknowledged events were not received")
        if self.unsettled:
            found.append(f"{self.unsettled:g} deliveries were not settled")
        return found


def behaviours() -> list[str]:
    kinds = itertools.cycle(BAD)
    return ["good" if n % BAD_EVERY else next(kinds) for n in range(WEBHOOKS)]


class Publisher:
    """One connection that sends what wasn't answered again over the next one, by the same keys."""

    def __init__(self, daemon: Daemon, acknowledged: bytearray) -> None:
        self._daemon = daemon
        self._acknowledged = acknowledged
        self._unanswered: dict[int, bytes] = {}
        self._order: deque[int] = deque()
        """What was sent over this connection, in the order in which the answers come."""
        self._writer: asyncio.StreamWriter | None = None

    def send(self, number: int) -> None:
        """Send the event of this number, now or once there is a connection."""
        line = b'{"eventType":"soak.n%d","data":{"n":%d,"pad":"%b"},"idempotencyKey":"soak-%d"}\n'
        written = line % (number % WEBHOOKS, number, PAD, number)
        self._unanswered[number] = written
        if self._writer is not None:
            self._order.append(number)
            self._writer.write(written)

    @property
    def waiting(self) -> int:
        """How many events have no answer yet."""
        return len(self._unanswered)

    async def run(self) -> None:
        """Connect, again and again."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._daemon.socket))
            except OSError:
                await asyncio.sleep(0.05)  # between two lives of the daemon
                continue
            self._order = deque(self._unanswered)
            writer.writelines(self._unanswered.values())
            self._writer = writer
            with contextlib.suppress(OSError):
                await self._read(reader)
            self._writer = None
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (line := await reader.readline()).endswith(b"\n"):
            number = self._order.popleft()
            if line.startswith(b'{"ok":true'):
                self._acknowledged[number] = 1
                del self._unanswered[number]
            elif b"shutting_down" not in line:
                raise AssertionError(line.decode())


@contextlib.asynccontextmanager
async def receivers(marks: Path) -> AsyncIterator[tuple[list[int], Path, Callable[[], None]]]:
    """Gives the ports, the certificate authority's file, and what mends those that misbehave."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.system.soak_receivers", str(marks), *behaviours(),
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        place = json.loads(await process.stdout.readline())
        yield place["ports"], Path(place["ca"]), lambda: process.send_signal(signal.SIGUSR1)
    finally:
        process.kill()
        await process.wait()


class Soak:
    """A daemon with its webhooks, its publishers, and what is seen of it."""

    def __init__(self, daemon: Daemon, events: int, marks: Path, mend: Callable[[], None]) -> None:
        self.daemon = daemon
        self.mend = mend
        self.marks = marks
        self.acknowledged = bytearray(events)
        self.samples: list[Sample] = []
        self.sent = 0
        self._behaviours = behaviours()
        self.publishers = [Publisher(daemon, self.acknowledged) for _ in range(CONNECTIONS)]

    async def subscribe(self, ports: list[int]) -> None:
        """Make a webhook for each receiver, with an event type of its own."""
        for number, port in enumerate(ports):
            await self.daemon.webhook(f"https://{HOST}:{port}/", f"soak.n{number}")

    def send(self) -> None:
        self.publishers[self.sent % CONNECTIONS].send(self.sent)
        self.sent += 1

    @property
    def waiting(self) -> int:
        return sum(publisher.waiting for publisher in self.publishers)

    async def settled(self) -> bool:
        """Whether every event has its answer and every delivery its end."""
        if self.waiting:
            return False
        return (await self.daemon.metrics())["prynt_relay_deliveries_scheduled"] == 0

    async def most_per_s(self) -> float:
        """How many events a second go from the socket to settled when it is kept busy.

        To receivers that are well: what the others leave waiting takes as long as it takes.
        """
        began, count = time.monotonic(), 0
        while time.monotonic() < began + MEASURED_S:
            while self.waiting < 400:
                if self._behaviours[self.sent % WEBHOOKS] == "good":
                    self.send()
                    count += 1
                else:
                    self.sent += 1
            await asyncio.sleep(0.002)
        await until(self.settled, "all was settled", timeout_s=SETTLING_S)
        return count / (time.monotonic() - began)

    async def publish(self, rate: float, seconds: float) -> None:
        """Send events at a steady rate."""
        began, first = time.monotonic(), self.sent
        while (passed := time.monotonic() - began) < seconds:
            for _ in range(first + int(passed * rate) - self.sent):
                self.send()
            await asyncio.sleep(TICK_S)

    async def sample(self, began: float) -> None:
        """Look at the daemon every second, but for the moment in which it is away."""
        for second in itertools.count(1):
            await asyncio.sleep(began + second - time.monotonic())
            with contextlib.suppress(OSError, StopIteration):
                process = Path("/proc") / str(self.daemon.pid)
                wal = self.daemon.state_dir / f"{DATABASE_FILE}-wal"
                self.samples.append(
                    Sample(
                        time.monotonic() - began,
                        self.daemon.memory_mb(),
                        len(list((process / "fd").iterdir())),
                        wal.stat().st_size,
                    )
                )

    async def restart(self, after_s: float) -> None:
        await asyncio.sleep(after_s)  # the moment is the plan's, there is nothing to wait for
        await self.daemon.stop()
        await self.daemon.start()

    async def under_load(self, rate: float, seconds: float) -> None:
        """Publish, and restart half way."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.restart(seconds / 2))
            group.create_task(self.publish(rate, seconds))

    async def run(self, rate: float, seconds: float) -> None:
        """Publish, sample and restart; then mend all receivers, and let it settle.

        Those that hang get one slot each, so that a backlog is left of what they didn't take.
        """
        sampling = asyncio.create_task(self.sample(time.monotonic()))
        try:
            await self.under_load(rate, seconds)
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
        self.mend()
        with contextlib.suppress(AssertionError):  # how many aren't is among the figures
            await until(self.settled, "all was settled", timeout_s=SETTLING_S)
        if not self.daemon.running:
            raise AssertionError(f"the daemon ended:\n{self.daemon.log()[-4000:]}")

    async def figures(self, rate: float) -> Figures:
        received = self.marks.read_bytes()
        length = self.samples[-1].at_s

        def thirds(of: Callable[[Sample], float]) -> tuple[float, float]:
            return (
                statistics.median(of(one) for one in self.samples if one.at_s <= length / 3),
                statistics.median(of(one) for one in self.samples if one.at_s >= length * 2 / 3),
            )

        return Figures(
            rate=rate,
            acknowledged=sum(self.acknowledged),
            lost=sum(
                one and not came for one, came in zip(self.acknowledged, received, strict=True)
            ),
            unsettled=(await self.daemon.metrics())["prynt_relay_deliveries_scheduled"]
            + self.waiting,
            memory_mb=thirds(lambda one: one.memory_mb),
            descriptors=thirds(lambda one: one.descriptors),
            wal_mb=thirds(lambda one: one.wal_bytes / 2**20),
            wal_most_mb=max(one.wal_bytes for one in self.samples) / 2**20,
        )


async def soak(
    folder: Path, minutes: float, rate: float | None, samples: Path | None = None
) -> Figures:
    """Run one, `rate` in events a second; writes its samples as CSV to a file."""
    seconds = minutes * 60
    events = int((rate or MOST_PER_S) * (seconds + MEASURED_S + WARM_UP_S) * 1.1)
    marks = folder / "marks"
    # A byte for each event, set once it has been received.
    with marks.open("wb") as file:
        file.truncate(events)
    async with receivers(marks) as (ports, ca_file, mend):
        daemon = Daemon(
            folder,
            delivery={"timeout": "1s", "retry_schedule": ["1s", "2s"]},
            egress={"ca_file": str(ca_file)},
            # Short enough that keys are forgotten and history is purged all the while.
            intake={"dedup_window": "30s"},
            retention={"history": "1m"},
            log={"level": "warning"},
        )
        daemon.env = {
            "PRYNT_RELAY_EXTRA_EVENT_TYPES": ",".join(f"soak.n{n}" for n in range(WEBHOOKS))
        }
        async with daemon:
            one = Soak(daemon, events, marks, mend)
            await one.subscribe(ports)
            running = [asyncio.create_task(publisher.run()) for publisher in one.publishers]
            try:
                if rate is None:
                    rate = await one.most_per_s() / 2
                await one.under_load(rate, WARM_UP_S)
                await one.run(rate, seconds)
                figures = await one.figures(rate)
            finally:
                for task in running:
                    task.cancel()
                ended = await asyncio.gather(*running, return_exceptions=True)
            for error in ended:
                if isinstance(error, AssertionError):
                    raise error
        if samples is not None:
            rows = [",".join(Sample._fields), *(",".join(map(str, row)) for row in one.samples)]
            samples.write_text("\n".join(rows) + "\n")
        return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, help="events a second; else half of the most")
    parser.add_argument("--samples", type=Path, help="a CSV file for the samples")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(soak(Path(folder), given.minutes, given.rate, given.samples))
    for name, value in figures._asdict().items():
        print(f"{name:14} {value}")
    problems = figures.problems()
    print("\n".join(problems) or "passed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
