"""Bar 4: how long an event takes at a steady rate, and alone."""

import asyncio
from pathlib import Path

from tests.bench.processes import BenchDaemon, Published, Publisher, Receiver
from tests.bench.report import Report, percentile
from tests.bench.throughput import deliver

RATE, STEADY_EVENTS, LONE_RATE, LONE_EVENTS = 500, 1500, 15, 40
STEADY, LONE = "identification.complete", "verdict.block"


async def arrivals(receiver: Receiver, published: Published) -> list[tuple[float, float, float]]:
    """Of each event when it was written, acknowledged and received, in monotonic seconds."""
    times: dict[str, float] = {}
    async with asyncio.timeout(30):
        while not times.keys() >= {event for event, _, _ in published.events}:
            await asyncio.sleep(0.2)
            times |= await receiver.times()
    return [(written, acked, times[event]) for event, written, acked in published.events]


async def run(folder: Path, report: Report, rounds: int) -> None:
    """Measure, steady and alone in turns."""
    acks: list[float] = []
    firsts: list[tuple[float, float]] = []
    lone: list[float] = []
    daemon = BenchDaemon(folder / "latency")
    async with daemon, Receiver(folder) as receiver, Publisher(daemon) as publisher:
        await daemon.webhook(receiver.url("timed"), "*")
        await deliver(daemon, publisher, receiver, 2000, STEADY)
        await receiver.times()
        for _ in range(rounds):
            published = await publisher.run(STEADY_EVENTS, STEADY, rate=RATE)
            seen = await arrivals(receiver, published)
            acks.append(percentile([acked - written for written, acked, _ in seen], 0.99))
            waits = [received - acked for _, acked, received in seen]
            firsts.append((percentile(waits, 0.5), percentile(waits, 0.99)))
            published = await publisher.run(LONE_EVENTS, LONE, rate=LONE_RATE)
            seen = await arrivals(receiver, published)
            lone.append(percentile([received - written for written, _, received in seen], 0.5))
        report.watched("500 events/s", daemon.late())
    what = f"{RATE} events/s: "
    report.add("4", what + "write to ack, p99", "ms", _ms(acks), at_most=10)
    report.add("4", what + "ack to first byte, p50", "ms", _ms(p50 for p50, _ in firsts), at_most=3)
    report.add(
        "4", what + "ack to first byte, p99", "ms", _ms(p99 for _, p99 in firsts), at_most=15
    )
    report.add("4", "a lone event: write to receipt, p50", "ms", _ms(lone), at_most=5)


def _ms(seconds: object) -> list[float]:
    return [one * 1000 for one in seconds]  # type: ignore[attr-defined]
