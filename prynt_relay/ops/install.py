"""Putting an installed version into place on a machine with systemd; running it twice is harmless.

The version that runs this becomes `<prefix>/current`. Versions stand side by side, each in a
virtual environment of its own, so an upgrade or a rollback is one link that changes.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prynt_relay.errors import RelayError
from prynt_relay.ops import files

PROGRAMS: Final = ("prynt-relay", "prynt")
CONFIG: Final = """\
# prynt-relay's configuration. Every key has a default that works; `prynt-relay print config` prints
# them all, each with what it means. Secrets are better as credentials, see prynt-relay(1).
# After a change: systemctl reload prynt-relay

# Named here so that commands run by hand find what the service uses.
state_dir = "/var/lib/prynt-relay"

[intake]
socket = "/run/prynt-relay/events.sock"
"""
BACKOFF_SINCE: Final = 254
"""The first systemd that knows RestartSteps."""

_PACKAGE: Final = Path(__file__).parents[1]
# The unit's ProtectHome and PrivateTmp hide these from the daemon.
_HIDDEN: Final = (Path("/home"), Path("/root"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - named, not used


def check_reachable(environment: Path) -> None:
    """Raise RelayError where the confined daemon could not read its own program.

    `environment` is the virtual environment (`sys.prefix`); its base interpreter counts too, and
    so does a umask that kept other users out when it was made.
    """
    base = Path(os.path.realpath(environment / "bin" / "python"))
    for path in (environment.resolve(), base):
        for hidden in _HIDDEN:
            if path.is_relative_to(hidden):
                raise RelayError(
                    f"{path} lies in {hidden}, which the service can't see; make the virtual "
                    "environment under /opt with the system's Python "
                    "(/usr/bin/python3 -m venv /opt/prynt-relay/VERSION)"
                )
    for folder in (_PACKAGE, *_PACKAGE.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise RelayError(
                f"{folder} is closed to the user prynt-relay (was it made under umask 077?); open "
                f"it with chmod -R o+rX {folder}"
            )


def put_in_place(prefix: Path, root: Path, environment: Path) -> Iterator[str]:
    """Write the files and links below `root`; yield one line for each, and whether it changed.

    What an administrator writes is kept: config.toml once it exists, and every drop-in.
    """
    if root != Path("/") and environment.is_relative_to(root):
        environment = Path("/") / environment.relative_to(root)
    etc, local = root / "etc", root / "usr/local"
    units = etc / "systemd/system"
    yield _link(_below(root, prefix) / "current", environment)
    for program in PROGRAMS:
        yield _link(local / "bin" / program, prefix / "current/bin" / program)
        page = f"share/man/man1/{program}.1"
        if (Path(sys.prefix) / page).is_file():
            yield _link(local / page, prefix / "current" / page)
    yield _write(units / "prynt-relay.service", files.text("unit", prefix))
    yield _write(units / "prynt-relay.socket", files.text("socket", prefix))
    yield _write(etc / "sysusers.d/prynt-relay.conf", files.text("sysusers", prefix))
    yield _write(etc / "tmpfiles.d/prynt-relay.conf", files.text("tmpfiles", prefix))
    drop_in = units / "prynt-relay.service.d/10-backoff.conf"
    if systemd_version() >= BACKOFF_SINCE:
        yield _write(drop_in, files.text("backoff", prefix))
    config = etc / "prynt-relay/config.toml"
    yield f"kept       {config}" if config.exists() else _write(config, CONFIG)


def apply() -> Iterator[str]:
    """Make the user, the group and the folders, and have systemd read the units.

    Yields each command line that ran. Raises RelayError, with what the command said, where one
    fails.
    """
    commands = [
        ["systemd-sysusers", "prynt-relay.conf"],
        ["systemd-tmpfiles", "--create", "prynt-relay.conf"],
    ]
    # Without a running systemd, as in an image that is being built, there is nobody to tell.
    if Path("/run/systemd/system").is_dir():
        commands.append(["systemctl", "daemon-reload"])
    for command in commands:
        _run(command)
        yield f"ran        {' '.join(command)}"


def systemd_version() -> int:
    """The number of the systemd on this machine; 0 where there is none."""
    if shutil.which("systemctl") is None:
        return 0
    found = re.match(r"systemd (\d+)", _run(["systemctl", "--version"]))
    return int(found[1]) if found else 0


def current_environment() -> Path:
    """The virtual environment that runs this; RelayError where it is none."""
    if sys.prefix == sys.base_prefix:
        raise RelayError(
            f"{sys.executable} isn't in a virtual environment; make one "
            "(/usr/bin/python3 -m venv /opt/prynt-relay/VERSION), install the wheel into it, and "
            "run its bin/prynt-relay install"
        )
    return Path(sys.prefix)


def _run(command: list[str]) -> str:
    program = shutil.which(command[0])
    if program is None:
        raise RelayError(f"{command[0]} isn't installed; prynt-relay install needs systemd")
    # Fixed command lines, nothing from outside.
    done = subprocess.run(  # noqa: S603
        [program, *command[1:]], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise RelayError(f"{' '.join(command)} exited {done.returncode}: {said}")
    return done.stdout


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _write(path: Path, content: str) -> str:
    if path.is_file() and not path.is_symlink() and path.read_text(encoding="utf-8") == content:
        return f"unchanged  {path}"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: whoever reads it meanwhile sees the old file or the new one.
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        file.write(content)
        os.fchmod(file.fileno(), 0o644)
    Path(file.name).replace(path)
    return f"wrote      {path}"


def _link(path: Path, target: Path) -> str:
    if path.is_symlink() and path.readlink() == target:
        return f"unchanged  {path} -> {target}"
    if path.exists() and not path.is_symlink():
        raise RelayError(f"{path} exists and isn't a link of ours; move it away and try again")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.symlink_to(target)
    beside.replace(path)
    return f"linked     {path} -> {target}"
