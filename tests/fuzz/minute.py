"""A minute of a fuzzer, for the tests that run them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT


def runs_in_a_minute(module: str, *, max_len: int, artifacts: Path) -> int:
    """How many inputs `module` tried; fails where one of them broke something."""
    pytest.importorskip("atheris", reason="atheris isn't installed (the extra `fuzz`)")
    done = subprocess.run(
        [
            *(sys.executable, "-m", module, "-max_total_time=60"),
            *(f"-max_len={max_len}", f"-artifact_prefix={artifacts}/"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return int(done.stderr.rsplit("Done ", 1)[1].split()[0])
