import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prynt_relay.daemon import sd_notify


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """What the service manager listens on, and how $NOTIFY_SOCKET writes it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@prynt-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.settimeout(5)
        yield listener, name


def test_every_state_reaches_the_manager(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The messages are those of sd_notify(3), to a path or an abstract name."""
    listener, name = manager
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    assert sd_notify.ready("8 webhooks")
    assert listener.recv(1000) == b"READY=1\nSTATUS=8 webhooks"
    assert sd_notify.notify("WATCHDOG=1")
    assert listener.recv(1000) == b"WATCHDOG=1"
    assert sd_notify.reloading()
    first, second = listener.recv(1000).split(b"\n")
    assert first == b"RELOADING=1"
    assert int(second.removeprefix(b"MONOTONIC_USEC=")) > 0
    assert sd_notify.stopping("draining")
    assert listener.recv(1000) == b"STOPPING=1\nSTATUS=draining"


def test_without_a_manager_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No $NOTIFY_SOCKET, or one that nobody listens on, is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not sd_notify.ready("x")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not sd_notify.ready("x")


def test_a_manager_that_does_not_read_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full queue loses messages rather than time."""
    name = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        results = {sd_notify.notify("WATCHDOG=1") for _ in range(2000)}
    assert results == {True, False}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdogs_period_is_ours_only(
    environ: dict[str, str], expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fed twice as often as asked, where it is meant for this process."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert sd_notify.watchdog_interval_s() == expected


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"},
    ],
)
def test_sockets_for_another_process_are_not_ours(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LISTEN_FDS counts only with our LISTEN_PID, and only if it is a number."""
    for name in ("LISTEN_PID", "LISTEN_FDS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert sd_notify.listen_fd() is None


def test_sockets_that_systemd_passes_are_taken_over() -> None:
    """A process that is started as systemd does it finds its socket in descriptor 3."""
    script = (
        "import os, socket\n"
        "from prynt_relay.daemon import sd_notify\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "fd = sd_notify.listen_fd()\n"
        "print(fd, os.get_inheritable(fd), socket.socket(fileno=fd).family.name)\n"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        shell = f'exec 3<&{listener.fileno()}; exec {sys.executable} -c "$0"'
        result = subprocess.run(
            ["bash", "-c", shell, script],
            env=os.environ | {"LISTEN_FDS": "1"},
            pass_fds=[listener.fileno()],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (result.stdout, result.stderr) == ("3 False AF_UNIX\n", "")
