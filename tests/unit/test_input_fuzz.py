from pathlib import Path

import pytest

from tests.fuzz.minute import runs_in_a_minute


@pytest.mark.slow
def test_the_fuzzer_of_settings_finds_nothing(tmp_path: Path) -> None:
    """A minute of coverage-guided URLs, headers and configurations breaks no promise."""
    assert runs_in_a_minute("tests.fuzz.fuzz_settings", max_len=400, artifacts=tmp_path) > 3000
