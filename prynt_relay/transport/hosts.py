"""/etc/hosts as getaddrinfo reads it.

c-ares takes the entries that share an address for one host and gives each of their names all
addresses of any of them, so that a name for 127.0.0.1 is ::1 as well where `localhost` is both.
For a guard that refuses a name for any of its addresses that is another answer.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

HOSTS_FILE: Final = Path("/etc/hosts")

HOSTS_MAX: Final = 4 * 1024 * 1024
"""Bytes that are read: more than the long lists of names to be blocked, some 40 MB in memory.

Names beyond are left to c-ares, which reads the file as well.
"""

_Signature = tuple[int, ...]
_Names = Mapping[bytes, tuple[str, ...]]

_log = structlog.get_logger(__name__)


class HostsFile:
    """The file's names; read again, in a thread, whenever it is another than before."""

    def __init__(self, path: Path = HOSTS_FILE) -> None:
        """Read `path`, at the first look-up and not before."""
        self._path = path
        self._signature: _Signature | None = None
        self._names: _Names = {}
        self._reading = asyncio.Lock()

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses that the file gives `host`, in its order; none: it isn't there.

        A file that can't be read names nobody, as for getaddrinfo.
        """
        try:
            if self._has_changed():
                # Hundreds of names may be looked up at once: one of them reads for all.
                async with self._reading:
                    if self._has_changed():
                        self._signature, self._names = await asyncio.to_thread(_read, self._path)
        except OSError:
            self._signature, self._names = None, {}
        return self._names.get(host.encode(errors="replace").lower(), ())

    def _has_changed(self) -> bool:
        return self._signature != _signature(os.stat(self._path))  # noqa: PTH116 - µs


def parse(text: bytes) -> dict[bytes, tuple[str, ...]]:
    """Return the addresses of each name; every line that has the name gives it one more.

    Names are in lower case. A line that doesn't begin with an address says nothing.
    """
    found: dict[bytes, tuple[str, ...]] = {}
    for line in text.split(b"\n"):
        words = line.partition(b"#")[0].lower().split()
        address = _canonical(words[0]) if len(words) > 1 else None
        if address is None:
            continue
        for name in words[1:]:
            known = found.get(name, ())
            if address not in known:
                found[name] = (*known, address)
    return found


def _canonical(word: bytes) -> str | None:
    family = socket.AF_INET6 if b":" in word else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, word.decode("ascii")))
    except (OSError, ValueError):
        return None


def _read(path: Path) -> tuple[_Signature, _Names]:
    with path.open("rb") as file:
        signature = _signature(os.fstat(file.fileno()))
        text = file.read(HOSTS_MAX + 1)
    if len(text) > HOSTS_MAX:
        _log.warning(
            f"{path} is larger than {HOSTS_MAX} bytes; lines beyond may be misread",
            action="hosts_file_too_large",
        )
        text = text[: text.rfind(b"\n", 0, HOSTS_MAX + 1) + 1]
    return signature, parse(text)


def _signature(status: os.stat_result) -> _Signature:
    """What tells one version of a file from the next."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
