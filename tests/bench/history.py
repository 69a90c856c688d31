"""Bar 7: two million settled deliveries, and retention at work all the while."""

import asyncio
from pathlib import Path

from tests.bench.processes import BenchDaemon, Publisher, Receiver
from tests.bench.report import Report, ratios
from tests.bench.stored import add_history
from tests.bench.throughput import deliver, take_in

EVENTS, LIVE_EVENTS, INTAKE_EVENTS = 2_000_000, 12_000, 30_000
LIVE, NONE = "identification.complete", "visitor.new"
COMMITS = "prynt_relay_commit_duration_seconds"


async def run(folder: Path, report: Report, rounds: int) -> None:
    """Measure, a daemon without history and one with it in turns."""
    empty = BenchDaemon(folder / "empty", retention_s=0.5)
    full = BenchDaemon(folder / "full", retention_s=0.5)
    async with Receiver(folder) as receiver:
        for daemon in (empty, full):
            async with daemon:
                await daemon.webhook(receiver.url("live"), LIVE)
        await asyncio.to_thread(add_history, full.database, LIVE, events=EVENTS)
        async with empty, full, Publisher(empty) as one, Publisher(full) as other:
            sides = {empty: one, full: other}
            for daemon, publisher in sides.items():
                await deliver(daemon, publisher, receiver, 2000, LIVE)
            before = {daemon: await daemon.metrics() for daemon in sides}
            purged: list[float] = []
            for keys in (False, True):
                rates: dict[BenchDaemon, list[float]] = {empty: [], full: []}
                intakes: dict[BenchDaemon, list[float]] = {empty: [], full: []}
                cpu_us: dict[BenchDaemon, list[float]] = {empty: [], full: []}
                for _ in range(rounds):
                    oldest = full.ask("SELECT min(id) FROM events")
                    for daemon, publisher in sides.items():
                        run, _ = await deliver(
                            daemon, publisher, receiver, LIVE_EVENTS, LIVE, keys=keys
                        )
                        rates[daemon].append(run.per_s)
                        cpu_us[daemon].append(run.cpu_us)
                        intake, _ = await take_in(daemon, publisher, INTAKE_EVENTS, NONE, keys=keys)
                        intakes[daemon].append(intake)
                    purged.append(full.ask("SELECT min(id) FROM events") - oldest)
                suffix = ", random keys" if keys else ""
                report.add(
                    "", f"2 M settled: CPU of an event / empty{suffix}", "ratio",
                    ratios(cpu_us[full], cpu_us[empty]),
                )  # fmt: skip
                for what, sets in (("socket to settled", rates), ("intake", intakes)):
                    report.add("", f"no history: {what}{suffix}", "events/s", sets[empty])
                    report.add(
                        "7", f"2 M settled: {what} / empty{suffix}", "ratio",
                        ratios(sets[full], sets[empty]), at_least=0.9,
                    )  # fmt: skip
            after = {daemon: await daemon.metrics() for daemon in sides}
            assert min(purged) > 0, "retention did not purge all the while"
            report.watched("2 M settled, purging", full.late())
    report.add("", "purged meanwhile", "events/round", purged)
    slow = {daemon: _slow(before[daemon], after[daemon]) for daemon in sides}
    report.add("", "no history: commits over 100 ms", "per 1,000", [slow[empty]])
    report.add("7", "commits over 100 ms", "per 1,000", [slow[full]], at_most=1)


def _slow(before: dict[str, float], after: dict[str, float]) -> float:
    """How many commits of a thousand took longer than 100 ms."""

    def grown(series: str) -> float:
        return after[COMMITS + series] - before[COMMITS + series]

    return (1 - grown('_bucket{le="0.1"}') / grown("_count")) * 1000
