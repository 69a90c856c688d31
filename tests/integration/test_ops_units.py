"""The units and the man pages, judged by the tools that will read them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from prynt_relay.cli.print_command import WHAT
from prynt_relay.cli.relay import prynt_relay
from prynt_relay.config.settings import Delivery
from prynt_relay.ops import files
from tests.docs_blocks import ROOT
from tests.programs import program

MAN_PAGES = sorted((ROOT / "docs" / "man").glob("*.1"))


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units in a folder, naming programs that exist."""
    program_file = tmp_path / "prefix" / "current" / "bin" / "prynt-relay"
    program_file.parent.mkdir(parents=True)
    program_file.touch(0o755)
    paths = []
    for name, suffix in (("unit", "service"), ("socket", "socket")):
        path = tmp_path / f"prynt-relay.{suffix}"
        path.write_text(files.text(name, tmp_path / "prefix"))
        paths.append(str(path))
    return paths


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program("systemd-analyze", "systemd"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_verify_prints_nothing(units: list[str]) -> None:
    """`systemd-analyze verify` has nothing to say about service and socket."""
    done = analyze("verify", "--man=no", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verify_would_notice_a_mistake(units: list[str]) -> None:
    """The silence means something: an unknown key is named."""
    service = Path(units[0])
    service.write_text(service.read_text().replace("[Service]\n", "[Service]\nNoSuchKey=1\n"))
    assert "NoSuchKey" in analyze("verify", "--man=no", *units).stderr


def test_the_exposure_is_at_most_one_and_a_half() -> None:
    """`systemd-analyze security --offline` rates the service 1.5 or better."""
    done = analyze("security", "--offline=yes", str(ROOT / "systemd" / "prynt-relay.service"))
    level = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) <= 1.5


def test_the_stop_timeout_is_above_the_drain() -> None:
    """A stop waits longer than the longest time-out that a webhook may have, 30 s."""
    stop = re.search(r"^TimeoutStopSec=(\d+)s$", files.text("unit"), re.MULTILINE)
    assert stop
    assert int(stop[1]) > 30 + 10
    assert Delivery().timeout_s < int(stop[1])


def test_nothing_can_make_systemd_give_up() -> None:
    """Neither start limit nor trigger limit: either would take the socket from publishers."""
    assert "\nStartLimitIntervalSec=0\n" in files.text("unit")
    assert "\nTriggerLimitIntervalSec=0\n" in files.text("socket")


@pytest.mark.parametrize("page", MAN_PAGES, ids=[page.name for page in MAN_PAGES])
def test_a_man_page_formats_without_a_warning(page: Path) -> None:
    """`man --warnings` has nothing to say."""
    done = subprocess.run(
        [program("man", "man-db"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""},
    )
    assert done.returncode == 0
    assert done.stderr == ""


def test_the_man_page_names_every_command_and_file() -> None:
    """prynt-relay(1) has each command of the program, and each file that `print` knows."""
    page = (ROOT / "docs" / "man" / "prynt-relay.1").read_text()
    synopsis, _, rest = page.partition(".Sh DESCRIPTION")
    commands = re.findall(r"^\.Cm (\S+)$", synopsis, re.MULTILINE)
    assert sorted(commands) == sorted(prynt_relay.subcommands)
    assert re.findall(r"^\.It Cm (\S+)$", rest, re.MULTILINE) == commands
    described = rest[rest.index(".It Cm print") : rest.index(".It Cm install")]
    assert re.findall(r"^\.Cm (\S+)", described, re.MULTILINE) == list(WHAT)
