"""Bar 6: a million scheduled deliveries, first later, then all at once."""

import asyncio
import time
from pathlib import Path

from tests.bench.latency import arrivals
from tests.bench.processes import BenchDaemon, Publisher, Receiver, forget_peak, memory_mb
from tests.bench.report import Report, percentile, ratios
from tests.bench.stored import add_backlog, make_due
from tests.bench.throughput import deliver

EVENTS, WEBHOOKS, LIVE_EVENTS = 10_000, 100, 12_000
LATE, LIVE, TIMED = "verdict.block", "identification.complete", "verdict.allow"
DUE_IN_S, TIMED_RATE, TIMED_EVENTS = 4.0, 200, 600


async def prepare(daemon: BenchDaemon, receiver: Receiver) -> None:
    """Create the webhooks."""
    async with daemon:
        for number in range(WEBHOOKS):
            await daemon.webhook(receiver.url(f"late/{number}"), LATE)
        await daemon.webhook(receiver.url("live"), LIVE)
        await daemon.webhook(receiver.url("timed"), TIMED)


async def started(daemon: BenchDaemon) -> tuple[float, float]:
    """Start it; seconds until it is ready, and resident memory a second later."""
    before = time.monotonic()
    await daemon.start()
    ready_s = time.monotonic() - before
    await asyncio.sleep(1)
    return ready_s, daemon.memory_mb()


async def run(folder: Path, report: Report, rounds: int) -> None:
    """Measure, an empty daemon and a full one in turns."""
    empty, full = BenchDaemon(folder / "empty"), BenchDaemon(folder / "full")
    ready_s: list[float] = []
    grown_mb: list[float] = []
    rates: dict[BenchDaemon, list[float]] = {empty: [], full: []}
    cpu_us: dict[BenchDaemon, list[float]] = {empty: [], full: []}
    async with Receiver(folder) as receiver:
        for daemon in (empty, full):
            await prepare(daemon, receiver)
        await asyncio.to_thread(add_backlog, full.database, LATE, events=EVENTS, due_in_s=600)
        for _ in range(rounds):
            memory = {}
            for daemon in (empty, full):
                seconds, memory[daemon] = await started(daemon)
                async with Publisher(daemon) as publisher:
                    await deliver(daemon, publisher, receiver, 1000, LIVE)
                    run, _ = await deliver(daemon, publisher, receiver, LIVE_EVENTS, LIVE)
                rates[daemon].append(run.per_s)
                cpu_us[daemon].append(run.cpu_us)
                await daemon.stop()
            ready_s.append(seconds)
            grown_mb.append(memory[full] - memory[empty])
        report.watched("a million scheduled", full.late())
        report.add("6", "ready with a million scheduled", "s", ready_s, at_most=2)
        report.add("6", "memory over empty", "MB", grown_mb, at_most=60)
        report.add(
            "6", "socket to settled / empty", "ratio", ratios(rates[full], rates[empty]),
            at_least=0.9,
        )  # fmt: skip
        report.add(
            "", "a million scheduled: CPU of an event / empty", "ratio",
            ratios(cpu_us[full], cpu_us[empty]),
        )  # fmt: skip
        await at_once(full, receiver, report, rounds)


async def at_once(daemon: BenchDaemon, receiver: Receiver, report: Report, rounds: int) -> None:
    """All of them fall due; another webhook's events come in beside them."""
    await asyncio.to_thread(make_due, daemon.database, DUE_IN_S)
    due_at = time.monotonic() + DUE_IN_S
    async with daemon, Publisher(daemon) as publisher:
        forget_peak(daemon.pid)
        since = time.monotonic()
        await asyncio.sleep(due_at - time.monotonic() - 1)
        served: list[float] = []
        rates: list[float] = []
        for _ in range(rounds):
            attempts, begun = daemon.attempts(), time.monotonic()
            published = await publisher.run(TIMED_EVENTS, TIMED, rate=TIMED_RATE)
            rates.append((daemon.attempts() - attempts) / (time.monotonic() - begun))
            await asyncio.sleep(0.5)
            seen = await arrivals(receiver, published)
            waits = [received - written for written, _, received in seen]
            served.append(percentile(waits, 0.99) * 1000)
        assert receiver.received() > TIMED_EVENTS * rounds, "nothing was due"
        report.watched("a million due at once", daemon.late(since))
        peak_mb = memory_mb(daemon.pid, "VmHWM")
        # What is left would take a minute; a crash is what a backlog has to survive anyway.
        await daemon.kill()
    report.add("6", "all due at once: memory", "MB", [peak_mb], at_most=300)
    report.add("", "all due at once: sent meanwhile", "deliveries/s", rates)
    report.add(
        "6", "all due at once: another webhook, write to receipt, p99", "ms", served, at_most=250
    )
