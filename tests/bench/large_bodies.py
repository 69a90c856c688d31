"""Bar 9: bodies of 100 KB."""

import asyncio
from pathlib import Path

from tests.bench.processes import (
    BareLoop,
    BenchDaemon,
    Child,
    Publisher,
    Receiver,
    forget_peak,
    memory_mb,
)
from tests.bench.report import Report, ratios
from tests.bench.throughput import deliver
from tests.bench.traffic import body

SIZE, EVENTS = 100_000, 2000
ONE, SLOW = "identification.complete", "verdict.block"
STORED_AT_ONCE = 40
"""Events of a transaction: the writer's 4 MiB."""
SLOW_WEBHOOKS, SLOW_EVENTS, CONCURRENCY = 16, 150, 512


async def run(folder: Path, report: Report, rounds: int) -> None:
    """Measure, the sides in turns; then with as much in flight as may be."""
    bare: list[float] = []
    ours: list[float] = []
    stored: list[float] = []
    (folder / "plain").mkdir()
    megabytes = len(body(SIZE)) / 1e6
    daemon = BenchDaemon(folder / "large")
    async with (
        daemon,
        Receiver(folder) as receiver,
        BareLoop(receiver) as loop,
        Child("plain_sqlite", str(folder / "plain")) as plain,
        Publisher(daemon) as publisher,
    ):
        await daemon.webhook(receiver.url("one"), ONE)
        await deliver(daemon, publisher, receiver, 500, ONE, size=SIZE)
        for _ in range(rounds):
            per_s, _ = await loop.run(EVENTS, SIZE)
            bare.append(per_s * megabytes)
            run, _ = await deliver(daemon, publisher, receiver, EVENTS, ONE, size=SIZE)
            ours.append(run.per_s * megabytes)
            job = f"{EVENTS} {STORED_AT_ONCE} rows {SIZE}"
            stored.append(float(await plain.ask(job)) * megabytes)
        flood_mb = memory_mb(daemon.pid, "VmHWM")
        for number in range(SLOW_WEBHOOKS):
            await daemon.webhook(receiver.url(f"slow/{number}"), SLOW)
        await deliver(daemon, publisher, receiver, 50, SLOW, fanout=SLOW_WEBHOOKS)
        forget_peak(daemon.pid)
        sending = asyncio.ensure_future(
            deliver(daemon, publisher, receiver, SLOW_EVENTS, SLOW, fanout=SLOW_WEBHOOKS, size=SIZE)
        )
        in_flight = 0.0
        while not sending.done():
            figures = await daemon.metrics()
            in_flight = max(in_flight, figures["prynt_relay_deliveries_in_flight"])
            await asyncio.sleep(0.1)
        sending.result()
        report.watched("bodies of 100 KB", daemon.late())
        report.add("", "100 KB: bare loop", "MB/s", bare)
        report.add("", "100 KB: socket to settled", "MB/s", ours)
        report.add("", "100 KB: one SQLite thread that only stores them", "MB/s", stored)
        report.add(
            "9", "100 KB: socket to settled / bare loop", "ratio", ratios(ours, bare), at_least=0.8
        )
        report.add("9", "100 KB: memory, as fast as it goes", "MB", [flood_mb], at_most=300)
        assert in_flight >= CONCURRENCY - 12, in_flight
        report.add(
            "9", f"100 KB: memory, {in_flight:.0f} in flight", "MB",
            [memory_mb(daemon.pid, "VmHWM")], at_most=300,
        )  # fmt: skip
