from pathlib import Path

import pytest

from tests.fuzz.minute import runs_in_a_minute


@pytest.mark.slow
def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    """A minute of coverage-guided input breaks neither the parser nor a connection."""
    assert runs_in_a_minute("tests.fuzz.fuzz_intake", max_len=700, artifacts=tmp_path) > 5000
