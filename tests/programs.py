"""Programs that some tests need beside Python; without one a test is skipped, or fails in CI."""

import os
import shutil
from typing import Final

import pytest

REQUIRE_VARIABLE: Final = "PRYNT_RELAY_REQUIRE_PROGRAMS"
"""Set, a test whose program is missing fails; .ci/run sets it after it has installed them all."""


def unavailable(reason: str) -> None:
    """Skip the test for `reason`, or fail it where skipping isn't allowed."""
    if os.environ.get(REQUIRE_VARIABLE):
        pytest.fail(f"{reason}, and {REQUIRE_VARIABLE} is set")
    pytest.skip(reason)


def program(name: str, package: str) -> str:
    """Return the path of the program `name`, which Debian's `package` installs."""
    path = shutil.which(name)
    if path is None:
        unavailable(f"{name} isn't installed (apt install {package})")
    assert path is not None
    return path
