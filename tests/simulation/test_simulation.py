"""Simulated days of the real rooms; see docs/reliability.md."""

import os
import subprocess
import sys

import pytest

from tests.simulation.__main__ import describe, results
from tests.simulation.sim_run import simulate

SHORT_SEEDS = 12
TRACE = "from tests.simulation.sim_run import simulate; print(simulate({seed}).trace)"


def test_the_first_seeds_break_nothing() -> None:
    """Three days with bursts, outages, operators, crashes and clock jumps keep every promise."""
    for result in results(1, SHORT_SEEDS, jobs=1):
        assert not result.violations, describe(result)
        assert result.events > 0
        assert result.attempts > 0


@pytest.mark.parametrize("seed", [1, 7])
def test_a_seed_replays_exactly(seed: int) -> None:
    """The same seed makes the same trace, in this process and in ones that hash otherwise."""
    traces = {simulate(seed).trace, simulate(seed).trace}
    for hash_seed in ("1", "2"):
        made = subprocess.run(
            [sys.executable, "-c", TRACE.format(seed=seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(made.stdout.strip())
    assert len(traces) == 1


def test_other_seeds_are_other_worlds() -> None:
    """Two seeds have nothing in common."""
    assert simulate(2).trace != simulate(3).trace
