"""The wheel, built as a release is, and what it needs, for machines without a network."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_BUILD_TIMEOUT_S: Final = 600


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_TIMEOUT_S,
    )
    assert done.returncode == 0, f"pip {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"


def build_wheel(folder: Path, source: Path = ROOT) -> Path:
    """Build the wheel of `source` into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    _pip("wheel", "--no-deps", f"--wheel-dir={folder}", str(source))
    (wheel,) = set(folder.iterdir()) - before
    return wheel


def build_wheel_as(version: str, folder: Path, scratch: Path) -> Path:
    """Build the wheel of this source under another version, as a later release would be."""
    source = scratch / f"source-{version}"
    left_out = shutil.ignore_patterns(".git", ".venv", "__pycache__", "tests", ".*_cache")
    shutil.copytree(ROOT, source, ignore=left_out, symlinks=True)
    (source / "prynt_relay" / "version.py").write_text(
        f'"""The version, raised by a test."""\n\n__version__ = "{version}"\n'
    )
    return build_wheel(folder, source)


def fetch_dependencies(wheel: Path, folder: Path, python_version: str) -> None:
    """Put the wheels that `wheel` needs under `python_version` ("3.11") into `folder`."""
    _pip(
        "download",
        "--only-binary=:all:",
        f"--python-version={python_version}",
        f"--dest={folder}",
        str(wheel),
    )
