"""The simulation notices when a safeguard is missing."""

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.simulation.sim_run import simulate

SEEDS = range(1, 251)
"""Most are found by the tenth; one needs a stop in the middle of two other things, and dozens."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("safeguard", MUTATIONS)
def test_a_missing_safeguard_is_noticed(safeguard: str) -> None:
    """Without it, one of the first seeds breaks an invariant that it stands for."""
    mutation = MUTATIONS[safeguard]
    with mutation.patch():
        for seed in SEEDS:
            violations = simulate(seed).violations
            if violations:
                break
    broken = {violation.split(":")[0] for violation in violations}
    print(f"{safeguard}: seed {seed}, {sorted(broken)}")  # for docs/reliability.md
    assert broken & set(mutation.caught_by), (seed, violations)
    assert not simulate(seed).violations, "the seed fails with the safeguard too"
