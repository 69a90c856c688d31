"""The manual page, which is made from the commands."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from prynt_relay.cli.prynt.man_page import man_page

PAGE = Path(__file__).parents[2] / "docs/man/prynt.1"


def test_the_page_in_the_repository_is_what_the_commands_say() -> None:
    """A changed option that the page doesn't tell of shows here, with how to make it again."""
    made = "python -m prynt_relay.cli.prynt.man_page > docs/man/prynt.1"
    assert PAGE.read_text() == man_page(), f"out of date; run: {made}"


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_the_page_is_without_fault_for_man() -> None:
    """`man` renders it without a warning, options and examples as one types them."""
    done = subprocess.run(
        ["man", "--warnings", "-l", str(PAGE)],
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANPAGER": "cat"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    for text in (
        "prynt webhooks rotate-secret",
        "--retry-schedule DURATION,...",
        "--events verdict.block --filter 'data.scores.suspect > `50`'",
        "PRYNT_API_KEY_FILE",
        "~/.config/prynt/api-key",
        "EXIT STATUS",
    ):
        assert text in done.stdout
