"""Every bar of the relay's speed in one run; docs/performance.md tells what is measured and why.

python -m tests.bench [--json FILE] [--markdown FILE] [--rounds 5] [--only NAME …] [--dir DIR]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench import backlog, history, large_bodies, latency, many_webhooks, throughput
from tests.bench.report import Report, machine

SCENARIOS: dict[str, Callable[[Path, Report, int], Awaitable[None]]] = {
    "throughput": throughput.run,
    "latency": latency.run,
    "large-bodies": large_bodies.run,
    "many-webhooks": many_webhooks.run,
    "backlog": backlog.run,
    "history": history.run,
}


async def run(options: argparse.Namespace) -> Report:
    report = Report()
    for name in options.only or SCENARIOS:
        started = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=options.dir, prefix="relay-bench-") as folder:
            await SCENARIOS[name](Path(folder), report, options.rounds)
        print(f"  ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
    report.add_lateness()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--rounds", type=int, default=5, help="how often the sides take turns")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, help="these scenarios alone")
    parser.add_argument("--dir", help="where the databases go: a real disk")
    options = parser.parse_args()
    started = time.monotonic()
    report = asyncio.run(run(options))
    seconds = time.monotonic() - started
    table = report.markdown()
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(table)
    print(f"{seconds:.0f} s")
    if options.json:
        options.json.write_text("")
        report.write(options.json, seconds)
    if options.markdown:
        options.markdown.write_text(table + "\n")


if __name__ == "__main__":
    main()
