"""Bars 1, 2, 3 and 5: one webhook, no webhook, a hundred webhooks, against the bare loop."""

from pathlib import Path
from typing import NamedTuple

from tests.bench.processes import (
    BareLoop,
    BenchDaemon,
    Child,
    Published,
    Publisher,
    Receiver,
    cpu_s,
)
from tests.bench.report import Report, ratios

EVENTS, INTAKE_EVENTS, WIDE_EVENTS, WIDE = 20_000, 60_000, 200, 100
ONE, NONE, MANY = "identification.complete", "visitor.new", "verdict.block"


class Delivered(NamedTuple):
    """One run from the socket to settled on disk."""

    per_s: float
    cpu_us: float
    receiver_busy: float
    """The receiver's processor time over the run's: near 1 it would be the limit."""


async def deliver(
    daemon: BenchDaemon,
    publisher: Publisher,
    receiver: Receiver,
    events: int,
    event_type: str,
    *,
    fanout: int = 1,
    **job: object,
) -> tuple[Delivered, Published]:
    """Publish, and wait until every delivery is received and settled."""
    count = events * fanout
    attempts, received = daemon.attempts() + count, receiver.received() + count
    cpu, receiver_cpu = cpu_s(daemon.pid), cpu_s(receiver.pid)
    published = await publisher.run(events, event_type, **job)
    seconds = await daemon.settled(attempts, receiver, received) - published.started
    return Delivered(
        count / seconds,
        (cpu_s(daemon.pid) - cpu) / count * 1e6,
        (cpu_s(receiver.pid) - receiver_cpu) / seconds,
    ), published


async def take_in(
    daemon: BenchDaemon, publisher: Publisher, events: int, event_type: str, **job: object
) -> tuple[float, float]:
    """Publish what nobody gets; events a second and CPU microseconds for each."""
    cpu = cpu_s(daemon.pid)
    published = await publisher.run(events, event_type, **job)
    return (
        events / (published.acked - published.started),
        (cpu_s(daemon.pid) - cpu) / events * 1e6,
    )


class Runs(NamedTuple):
    """What the rounds gave, in their order."""

    bare: list[tuple[float, float]]
    one: list[Delivered]
    intake: list[tuple[float, float]]
    plain: list[float]
    fastest: list[float]
    wide: list[Delivered]
    narrow_bytes: list[float]
    wide_bytes: list[float]


async def batch_size(daemon: BenchDaemon, before: dict[str, float]) -> int:
    """How many events one commit took on average since `before`."""
    after = await daemon.metrics()
    name = "prynt_relay_commit_batch_size"
    rows = after[f"{name}_sum"] - before[f"{name}_sum"]
    return max(round(rows / (after[f"{name}_count"] - before[f"{name}_count"])), 1)


async def run(folder: Path, report: Report, rounds: int) -> None:
    """Measure, the sides in turns."""
    runs = Runs([], [], [], [], [], [], [], [])
    batches: list[float] = []
    (folder / "plain").mkdir()
    daemon = BenchDaemon(folder / "throughput")
    async with (
        daemon,
        Receiver(folder) as receiver,
        BareLoop(receiver) as bare,
        Child("plain_sqlite", str(folder / "plain")) as plain,
        Publisher(daemon) as publisher,
    ):
        await daemon.webhook(receiver.url("one"), ONE)
        for number in range(WIDE):
            await daemon.webhook(receiver.url(f"many/{number}"), MANY)
        await deliver(daemon, publisher, receiver, 3000, ONE)  # proven, connected, warm
        await deliver(daemon, publisher, receiver, 50, MANY, fanout=WIDE)
        for _ in range(rounds):
            runs.bare.append(await bare.run(EVENTS))
            used = daemon.used_bytes()
            runs.one.append((await deliver(daemon, publisher, receiver, EVENTS, ONE))[0])
            narrow_bytes = (daemon.used_bytes() - used) / EVENTS
            before = await daemon.metrics()
            runs.intake.append(await take_in(daemon, publisher, INTAKE_EVENTS, NONE))
            batch = await batch_size(daemon, before)
            for how, rates in (("many", runs.plain), ("rows", runs.fastest)):
                rates.append(float(await plain.ask(f"{INTAKE_EVENTS} {batch} {how} 0")))
            batches.append(batch)
            used = daemon.used_bytes()
            wide, _ = await deliver(daemon, publisher, receiver, WIDE_EVENTS, MANY, fanout=WIDE)
            runs.wide.append(wide)
            wide_bytes = (daemon.used_bytes() - used) / WIDE_EVENTS
            runs.narrow_bytes.append(narrow_bytes)
            runs.wide_bytes.append((wide_bytes - narrow_bytes) / (WIDE - 1))
        report.watched("throughput, intake, fan-out", daemon.late())
    report.add("", "intake alone: events a commit", "events", batches)
    _tell(report, runs)


def _tell(report: Report, runs: Runs) -> None:
    bare = [per_s for per_s, _ in runs.bare]
    bare_us = [cpu_us for _, cpu_us in runs.bare]
    one, wide = [run.per_s for run in runs.one], [run.per_s for run in runs.wide]
    intake = [per_s for per_s, _ in runs.intake]
    report.add("", "bare loop", "requests/s", bare)
    report.add("", "bare loop: CPU", "µs/request", bare_us)
    report.add("", "socket to settled, one webhook", "events/s", one)
    report.add("", "the daemon's CPU, one webhook", "µs/event", [run.cpu_us for run in runs.one])
    report.add("", "the receiver's CPU meanwhile", "cores", [run.receiver_busy for run in runs.one])
    report.add("1", "socket to settled / bare loop", "ratio", ratios(one, bare), at_least=0.85)
    report.add(
        "2", "CPU of an event / of a bare request", "ratio",
        ratios([run.cpu_us for run in runs.one], bare_us), at_most=1.4,
    )  # fmt: skip
    report.add("", "intake alone", "events/s", intake)
    report.add("", "intake alone: the daemon's CPU", "µs/event", [cpu for _, cpu in runs.intake])
    report.add("", "one SQLite thread, same batches: executemany", "events/s", runs.plain)
    report.add("", "one SQLite thread: 256 rows a statement", "events/s", runs.fastest)
    report.add(
        "3",
        "intake / SQLite thread, executemany",
        "ratio",
        ratios(intake, runs.plain),
        at_least=0.6,
    )
    report.add(
        "3",
        "intake / SQLite thread, 256 rows a statement",
        "ratio",
        ratios(intake, runs.fastest),
        at_least=0.6,
    )
    report.add("3", "intake / bare loop", "ratio", ratios(intake, bare), at_least=3)
    report.add("", "disk per event and its one delivery", "bytes", runs.narrow_bytes)
    report.add("", "100 webhooks each", "deliveries/s", wide)
    report.add("", "100 webhooks: CPU", "µs/delivery", [run.cpu_us for run in runs.wide])
    report.add("5", "100 webhooks / one webhook", "ratio", ratios(wide, one), at_least=0.95)
    report.add(
        "5", "disk per extra delivery, with 19 bytes of response", "bytes", runs.wide_bytes,
        at_most=300,
    )  # fmt: skip
