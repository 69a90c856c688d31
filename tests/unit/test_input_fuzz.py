import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT


@pytest.mark.slow
def test_the_fuzzer_of_settings_finds_nothing(tmp_path: Path) -> None:
    """A minute of coverage-guided URLs, headers and configurations breaks no promise."""
    pytest.importorskip("atheris", reason="atheris isn't installed (the extra `fuzz`)")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.fuzz_settings"),
            *("-max_total_time=60", "-max_len=400", f"-artifact_prefix={tmp_path}/"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    runs = int(done.stderr.rsplit("Done ", 1)[1].split()[0])
    assert runs > 3000
