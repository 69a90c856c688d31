"""Run many seeds: `python -m tests.simulation --count 2000 --seed 1 --jobs 2`.

Prints every seed that breaks an invariant, with what it broke, and how to run it again. Exits
with 1 if one did. With `--within-s` a slow machine runs fewer, and the last line says how many.
"""

import argparse
import gc
import multiprocessing
import sys
import time
from collections.abc import Iterator

from tests.simulation.sim_run import Result, simulate

RUNS_PER_PROCESS = 100
"""A process starts anew after so many runs, so that a run leaks into few others."""


def results(first: int, count: int, jobs: int) -> Iterator[Result]:
    """The results of `count` seeds from `first` on, as they come."""
    seeds = range(first, first + count)
    # What is imported by now stays, and each run's clearing away needn't look at it.
    if jobs == 1:
        gc.freeze()
        yield from map(simulate, seeds)
        return
    # Processes are forks of one that has everything imported and no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([simulate.__module__])
    with context.Pool(jobs, gc.freeze, maxtasksperchild=RUNS_PER_PROCESS) as pool:
        yield from pool.imap_unordered(simulate, seeds)


def describe(result: Result) -> str:
    """What went wrong with a seed, and how to see it again."""
    lines = [f"seed {result.seed} (trace {result.trace}):"]
    lines += [f"  {violation}" for violation in result.violations]
    lines.append(f"  again: python -m tests.simulation --seed {result.seed} --count 1 --jobs 1")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="how many seeds")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--within-s", type=float, help="stop after so many seconds, and say so")
    options = parser.parse_args()
    started = time.monotonic()
    runs = events = attempts = crashes = 0
    failed: list[int] = []
    for result in results(options.seed, options.count, options.jobs):
        runs += 1
        events += result.events
        attempts += result.attempts
        crashes += result.crashes
        if result.violations:
            failed.append(result.seed)
            print(describe(result), flush=True)
        if options.within_s is not None and time.monotonic() - started > options.within_s:
            break
    took_s = time.monotonic() - started
    print(
        f"{runs} runs of 72 simulated hours and more in {took_s:.0f} s ({runs / took_s:.1f}/s): "
        f"{events} events acknowledged, {attempts} attempts, {crashes} crashes; "
        f"{len(failed)} seeds failed{f': {sorted(failed)}' if failed else ''}"
        f"{f'; {options.count - runs} of {options.count} not run in time' * (runs < options.count)}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
