"""Talking to systemd: sd_notify(3), sd_listen_fds(3) and the watchdog, without its library.

Outside systemd (no `$NOTIFY_SOCKET`) every call does nothing.
"""

import os
import socket
import time
from typing import Final

_FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START."""


def notify(*states: str) -> bool:
    """Send states such as `READY=1` to the service manager; False where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        # An abstract socket: its name begins with a zero byte.
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        # A manager that doesn't read for a while must not hold up the event loop.
        sock.setblocking(False)
        try:
            sock.connect(address)
            sock.sendall("\n".join(states).encode())
        except OSError:
            # The manager is gone or doesn't listen; the daemon's work doesn't depend on it.
            return False
    return True


def ready(status: str) -> bool:
    """Tell that start-up or a reload is done."""
    return notify("READY=1", f"STATUS={status}")


def reloading() -> bool:
    """Tell that a reload begins; `ready` ends it."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping(status: str) -> bool:
    """Tell that the daemon is shutting down."""
    return notify("STOPPING=1", f"STATUS={status}")


def watchdog_interval_s() -> float | None:
    """How often to send `WATCHDOG=1`: half of what the manager allows; None if it doesn't care."""
    pid = os.environ.get("WATCHDOG_PID")
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 2_000_000


def listen_fd() -> int | None:
    """The listening socket that the manager passed (socket activation), or None."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    if not count.isdigit() or int(count) < 1:
        return None
    os.set_inheritable(_FIRST_FD, False)
    return _FIRST_FD
