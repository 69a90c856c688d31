"""The wheel, built and installed: what `prynt-relay print` gives must come from inside it."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from prynt_relay.ops import files
from tests.system.wheel import build_wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment that holds the built wheel, and no trace of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = build_wheel(folder / "dist")
    environment = folder / "venv"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60
    )
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python)]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True, timeout=60)
    # The dependencies are the ones that these tests run with. A .pth that stands in a folder
    # which another .pth names is not read, so an editable installation doesn't come along.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment


def run(installed: Path, *arguments: str) -> str:
    done = subprocess.run(
        [installed / "bin" / "prynt-relay", *arguments],
        cwd=installed,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_what_runs(installed: Path) -> None:
    """The package that the installed program imports lies in its own environment."""
    done = subprocess.run(
        [installed / "bin" / "python", "-c", "import prynt_relay; print(prynt_relay.__file__)"],
        cwd=installed,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith(str(installed))


@pytest.mark.parametrize("name", files.NAMES)
def test_print_gives_what_the_checkout_has(installed: Path, name: str) -> None:
    """Every file that operators put in place is in the wheel, unchanged."""
    assert run(installed, "print", name) == files.text(name)


def test_print_dashboard_gives_json(installed: Path) -> None:
    """The dashboard comes out as JSON that Grafana can import."""
    assert json.loads(run(installed, "print", "dashboard"))["title"] == "prynt-relay"


def test_the_wheel_brings_manual_and_man_pages(installed: Path) -> None:
    """Man pages and the operations manual are installed where such things belong."""
    assert (installed / "share/man/man1/prynt-relay.1").is_file()
    manual = installed / "share/doc/prynt-relay/operations.md"
    assert "## Runbooks" in manual.read_text()


def test_install_stages_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`prynt-relay install --root` works from the wheel alone and links its programs."""
    run(installed, "install", "--root", str(tmp_path))
    assert (tmp_path / "opt/prynt-relay/current").readlink() == installed
    assert (tmp_path / "usr/local/share/man/man1/prynt-relay.1").is_symlink()
    unit = tmp_path / "etc/systemd/system/prynt-relay.service"
    assert unit.read_text() == files.text("unit")
