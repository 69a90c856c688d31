"""Talking to systemd: sd_notify(3) and sd_listen_fds(3), without its library.

Outside systemd ($NOTIFY_SOCKET unset) every message is a quiet no-op.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final

LISTEN_FDS_START: Final = 3


class SystemdNotifier:
    """Sends the service's state to the service manager."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the abstract namespace, whose names begin with a zero byte (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(environ)

    def ready(self, status: str = "") -> None:
        """Say that the start, or a reload, is done."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it."""
        self._send("RELOADING=1", "", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the service drains."""
        self._send("STOPPING=1", "draining")

    def watchdog(self) -> None:
        """Say that the service is alive; due within every `watchdog_s`."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send("", text)

    def _send(self, state: str, status: str = "", more: str = "") -> None:
        if not self._address:
            return
        lines = [state, f"STATUS={' '.join(status.split())}" if status else "", more]
        message = "\n".join(line for line in lines if line)
        # A manager that is busy or gone must not hold up or end the service: the watchdog's next
        # message follows, and a missed READY ends in the manager's own time-out.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.setblocking(False)
            channel.sendto(message.encode(), self._address)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """The watchdog's period, None where there is none for this process."""
    usec = environ.get("WATCHDOG_USEC", "")
    meant_for = environ.get("WATCHDOG_PID", str(os.getpid()))
    if not usec.isdecimal() or int(usec) == 0 or meant_for != str(os.getpid()):
        return None
    return int(usec) / 1_000_000


def listen_fds(environ: MutableMapping[str, str] = os.environ) -> list[int]:
    """The sockets that systemd opened for us; none, if they are meant for another process.

    The variables are removed, so that no child takes them for its own, and the descriptors are
    closed in children.
    """
    meant_for = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if meant_for != str(os.getpid()) or not count.isdecimal():
        return []
    descriptors = list(range(LISTEN_FDS_START, LISTEN_FDS_START + int(count)))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return descriptors
