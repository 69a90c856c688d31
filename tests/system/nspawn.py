"""A Debian with real systemd as PID 1, booted in a container that a test may break.

The root is made once by mmdebstrap from the machine's own package sources and kept in a cache;
every boot gets a throw-away layer over it. The container has a network of its own with nothing in
it but loopback. It takes root, and a kernel that lets it mount and make namespaces.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "PRYNT_RELAY_NSPAWN_CACHE"
"""Where the root and the wheels are kept; by default a folder under ~/.cache."""

PACKAGES: Final = (
    "ca-certificates",
    "curl",
    "dbus",
    "man-db",
    "openssl",
    "procps",
    "python3",
    "python3-venv",
    "systemd",
    "systemd-sysv",
)
CAP_NET_ADMIN: Final = 12
CAP_SYS_ADMIN: Final = 21
BOOT_TIMEOUT_S: Final = 90.0
COMMAND_TIMEOUT_S: Final = 120.0


def forbidden() -> str | None:
    """Why this process may not boot a container, or None where it may."""
    if os.geteuid() != 0:
        return "booting a container takes root"
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    if not effective >> CAP_NET_ADMIN & effective >> CAP_SYS_ADMIN & 1:
        return "the container that we are in has no CAP_NET_ADMIN or no CAP_SYS_ADMIN"
    namespaces = ("--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup", "--fork")
    probe = ["unshare", *namespaces, "mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        return "this kernel, or the container that we are in, refuses mounts and namespaces"
    return None


def cache_dir() -> Path:
    """The folder for what takes long to make and doesn't change."""
    named = os.environ.get(CACHE_VARIABLE)
    base = Path(named) if named else Path.home() / ".cache" / "prynt-relay-nspawn"
    base.mkdir(parents=True, exist_ok=True)
    return base


def _release() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise RuntimeError("/etc/os-release names no VERSION_CODENAME; is this Debian or Ubuntu?")


def _sources() -> list[Path]:
    """The distribution's own package sources; third parties' would only add ways to fail.

    Where they have other names than usual there is none, and mmdebstrap's own default counts.
    """
    etc = Path("/etc/apt")
    found = [etc / "sources.list"]
    found += [
        *etc.glob("sources.list.d/*debian.sources"),
        *etc.glob("sources.list.d/*ubuntu.sources"),
    ]
    return [path for path in found if path.is_file() and path.read_text().strip()]


def base_root() -> Path:
    """The root folder of a minimal Debian; made on first use, in about half a minute."""
    sources = _sources()
    key = hashlib.sha256()
    for text in (_release(), *PACKAGES, *(path.read_text() for path in sources)):
        key.update(text.encode() + b"\0")
    root = cache_dir() / f"root-{_release()}-{key.hexdigest()[:12]}"
    if root.is_dir():
        return root
    # Made beside and renamed, so that an interrupted run leaves nothing that looks finished.
    making = root.with_name(f"{root.name}.making-{os.getpid()}")
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"]
    command += [f"--include={','.join(PACKAGES)}", _release(), str(making), *map(str, sources)]
    try:
        subprocess.run(command, check=True, timeout=900)
        making.rename(root)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return root


@contextlib.contextmanager
def _own_cgroup(name: str) -> Iterator[list[Path]]:
    """A control group to boot in where no systemd runs outside to provide one.

    Without it two containers, or one and its host, would share a group and fight over it.
    """
    made: list[Path] = []
    if not Path("/run/systemd/system").is_dir():
        cgroup = Path("/sys/fs/cgroup")
        hierarchies = [cgroup / "systemd", cgroup / "unified", cgroup]
        for hierarchy in hierarchies:
            if (hierarchy / "cgroup.procs").is_file():
                group = hierarchy / name
                group.mkdir(exist_ok=True)
                made.append(group)
    try:
        yield made
    finally:
        for group in made:
            _remove_cgroup(group)


def _remove_cgroup(group: Path) -> None:
    folders = [Path(path) for path, _, _ in os.walk(group, topdown=False)]
    deadline = time.monotonic() + 10
    for folder in folders:
        while True:
            try:
                folder.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                # The last process in it may still be on its way out.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


class Container:
    """A booted container; `run` executes a command in it as root."""

    def __init__(self, leader: int, nspawn: "subprocess.Popen[bytes]", console: Path) -> None:
        """Use `boot`."""
        self._leader = leader
        self._nspawn = nspawn
        self.console = console

    @classmethod
    @contextlib.contextmanager
    def boot(cls, root: Path, scratch: Path, binds: Mapping[Path, str]) -> Iterator["Container"]:
        """Boot `root` with `binds` (outside to inside, read-only); power it off at the end."""
        console = scratch / "console.log"
        name = f"prynt-relay-{os.getpid()}"
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot"]
        command += [
            "--private-network",
            "--volatile=overlay",
            "--console=pipe",
            f"--machine={name}",
        ]
        command += [f"--directory={root}", "--resolv-conf=off", "--timezone=off"]
        command += [f"--bind-ro={outside}:{inside}" for outside, inside in binds.items()]
        if Path("/run/systemd/system").is_dir():
            command = ["systemd-run", "--quiet", "--scope", "-p", "Delegate=yes", *command]
        with _own_cgroup(name) as groups, console.open("wb") as log:
            # A shell puts itself into the group before it becomes the container's supervisor.
            join = "".join(f"echo $$ > '{group}/cgroup.procs' && " for group in groups)
            nspawn = subprocess.Popen(
                ["/bin/sh", "-c", f'{join}exec "$@"', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                container = cls(_leader_of(nspawn, console), nspawn, console)
                container._wait_booted()
                yield container
            finally:
                _power_off(nspawn)

    def run(
        self,
        *command: str,
        check: bool = True,
        text: str | None = None,
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> "subprocess.CompletedProcess[str]":
        """Run `command` as root inside; raise with its output where it fails and `check`."""
        done = subprocess.run(
            [*self._enter(), *command],
            input=text if text is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def start(self, name: str, *command: str, user: str = "root") -> None:
        """Run `command` in the background as a unit called `name`; it ends with the container."""
        self.run(*("systemd-run", "--quiet", f"--unit={name}", f"--property=User={user}"), *command)

    def wait_ended(self, name: str, timeout_s: float = 90.0) -> None:
        """Return once the unit that `start` made has ended well; AssertionError otherwise."""
        deadline = time.monotonic() + timeout_s
        while True:
            shown = ("systemctl", "show", "--value", "--property=ActiveState", name)
            state = self.run(*shown).stdout.strip()
            if state == "inactive":
                return
            if state == "failed" or time.monotonic() > deadline:
                raise AssertionError(
                    f"{name}: {state}\n{self.run('journalctl', '-u', name).stdout}"
                )
            time.sleep(0.1)

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Put a file of root's into the container."""
        data = content.encode() if isinstance(content, str) else content
        script = 'install -D -m "$2" /dev/stdin "$1"'
        subprocess.run(
            [*self._enter(), "sh", "-c", script, "sh", path, f"{mode:o}"],
            input=data,
            check=True,
            timeout=COMMAND_TIMEOUT_S,
        )

    def read(self, path: str) -> str:
        """The text of a file in the container."""
        return self.run("cat", path).stdout

    def wait_for(self, what: str, *command: str, timeout_s: float = 30.0) -> str:
        """Run `command` until it succeeds; return what it printed. `what` names it in failure."""
        deadline = time.monotonic() + timeout_s
        while True:
            done = self.run(*command, check=False)
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not happen in {timeout_s} s: {done.stderr}")
            time.sleep(0.1)

    def _enter(self) -> list[str]:
        # --cgroup is left out: a process keeps the group outside that it was started in.
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wdns=/"]
        environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]
        return ["nsenter", f"--target={self._leader}", *spaces, *environment]

    def _wait_booted(self) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        state = ""
        while state not in ("running", "degraded"):
            if time.monotonic() > deadline or self._nspawn.poll() is not None:
                console = self.console.read_text(errors="replace")
                raise AssertionError(f"no boot in {BOOT_TIMEOUT_S} s, state {state!r}:\n{console}")
            time.sleep(0.1)
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split()]
    return []


def _leader_of(nspawn: "subprocess.Popen[bytes]", console: Path) -> int:
    """The pid, seen from outside, of the container's PID 1."""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while time.monotonic() < deadline and nspawn.poll() is None:
        for child in _children(nspawn.pid):
            status = Path(f"/proc/{child}/status").read_text()
            comm = Path(f"/proc/{child}/comm").read_text().strip()
            # The last number of NSpid is its pid in the innermost namespace.
            ids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
            if ids[-1] == "1" and len(ids) > 2 and comm == "systemd":
                return child
        time.sleep(0.05)
    raise AssertionError(f"systemd-nspawn started nothing:\n{console.read_text(errors='replace')}")


def _power_off(nspawn: "subprocess.Popen[bytes]") -> None:
    """Halt in order, at worst by force; nspawn ends what is left of the container with itself."""
    if nspawn.poll() is None:
        nspawn.send_signal(signal.SIGTERM)
        try:
            nspawn.wait(30)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait(10)
