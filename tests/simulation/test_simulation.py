"""Simulated days of the real rooms; see docs/reliability.md."""

import os
import subprocess
import sys

import pytest

from tests.simulation.__main__ import describe, results
from tests.simulation.sim_run import Result, simulate

SHORT_SEEDS = 12
TRACE = "from tests.simulation.sim_run import simulate; print(simulate({seed}).trace)"


@pytest.fixture(scope="module")
def first_results() -> dict[int, Result]:
    """Of the first seeds, each made by one of two processes beside each other."""
    return {result.seed: result for result in results(1, SHORT_SEEDS, jobs=2)}


def test_the_first_seeds_break_nothing(first_results: dict[int, Result]) -> None:
    """Three days with bursts, outages, operators, crashes and clock jumps keep every promise."""
    assert sorted(first_results) == list(range(1, SHORT_SEEDS + 1))
    for result in first_results.values():
        assert not result.violations, describe(result)
        assert result.events > 0
        assert result.attempts > 0


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_a_seed_replays_exactly(seed: int, first_results: dict[int, Result]) -> None:
    """The same seed makes the same trace, in this process and in ones that hash otherwise."""
    others = [
        subprocess.Popen(
            [sys.executable, "-c", TRACE.format(seed=seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "2")
    ]
    traces = {simulate(seed).trace, simulate(seed).trace, first_results[seed].trace}
    for other in others:
        made, _ = other.communicate()
        assert other.returncode == 0
        traces.add(made.strip())
    assert len(traces) == 1


def test_other_seeds_are_other_worlds(first_results: dict[int, Result]) -> None:
    """No two seeds have anything in common."""
    assert len({result.trace for result in first_results.values()}) == SHORT_SEEDS
