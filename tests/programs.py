"""Programs that some tests need beside Python; without one a test is skipped, or fails in CI."""

import os
import shutil
from typing import Final, NoReturn

import pytest

REQUIRE_VARIABLE: Final = "PRYNT_RELAY_REQUIRE_PROGRAMS"
"""Set, a test whose program is missing fails; .ci/run sets it after it has installed them all."""


def unavailable(reason: str) -> NoReturn:
    """Skip the test for `reason`, or fail it where skipping isn't allowed."""
    if os.environ.get(REQUIRE_VARIABLE):
        pytest.fail(f"{reason}, and {REQUIRE_VARIABLE} is set")
    pytest.skip(reason)


def program(name: str, package: str) -> str:
    """Return the path of the program `name`, which Debian's `package` installs.

    Without it the test is skipped, or fails where skipping isn't allowed.
    """
    path = shutil.which(name)
    if path is None:
        unavailable(f"{name} isn't installed (apt install {package})")
    return path
