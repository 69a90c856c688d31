"""Both command lines where standard output can't be written, each as a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.prynt_cli import PRYNT

RELAY = [
    sys.executable,
    "-c",
    "import sys; from prynt_relay.cli.relay import main; sys.exit(main())",
]
COMMANDS = [
    (*PRYNT, "--help"),
    (*PRYNT, "completion", "bash"),
    (*RELAY, "--help"),
    (*RELAY, "check-config"),
    (*RELAY, "print", "alerts"),
]


def ended(tmp_path: Path, command: tuple[str, ...], redirection: str) -> tuple[int, str]:
    run = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirection}', "sh", *command],
        capture_output=True,
        text=True,
        # Python writes a pipe's lines as they come; a buffer would hide who reads them.
        env={
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "HOME": str(tmp_path),
            "XDG_STATE_HOME": str(tmp_path),
        },
        timeout=30,
        check=False,
    )
    return run.returncode, run.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda it: " ".join(it[3:]))
def test_a_full_disk_behind_a_redirection_is_one_line(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """What can't be written is said and fails the command; there is no traceback."""
    code, said = ended(tmp_path, command, ">/dev/full")
    assert code == 1
    assert said.count("\n") == 1
    assert "can't write the output: No space left on device" in said


@pytest.mark.parametrize("lines", [1, 16])
def test_the_demo_ends_when_nobody_reads_it_any_more(tmp_path: Path, lines: int) -> None:
    """`prynt-relay demo | head` stops like any command does, whoever was about to write."""
    _, said = ended(tmp_path, (*RELAY, "demo"), f"| head --lines {lines}")
    assert said == ""


def test_the_demo_ends_where_its_output_is_full(tmp_path: Path) -> None:
    """It says why, in a line, and takes its folder away."""
    code, said = ended(tmp_path, (*RELAY, "demo"), ">/dev/full")
    assert code == 1
    assert said == (
        "prynt-relay: can't write the output: No space left on device; "
        "give it a place that takes it\n"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda it: " ".join(it[3:]))
def test_closed_streams_are_as_good_as_dev_null(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Who closes a stream doesn't want it: the command does its work all the same."""
    assert ended(tmp_path, command, "<&- >&-") == (0, "")
    assert ended(tmp_path, command, "<&- >&- 2>&-") == (0, "")
