"""The listening socket: made or inherited, its file, and accepting from it."""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from prynt_relay.errors import SocketUnusableError

BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the kernel's net.core.somaxconn caps it."""

ACCEPTS_PER_TURN: Final = 64
"""Connections accepted before the loop gets its turn again."""

MAX_PATH: Final = 107
"""Bytes in a Unix socket's path, by the kernel's `sockaddr_un`."""

_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = structlog.get_logger(__name__)


class UnixListener:
    """A listening Unix socket.

    One that this object made has its file removed at the end, if the file is still that socket's.
    An inherited one (systemd's) outlives us: its file is never touched.
    """

    def __init__(self, sock: socket.socket, path: Path, identity: tuple[int, int] | None) -> None:
        self.path = path
        self._sock = sock
        self._identity = identity
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading = False
        self._resume: asyncio.TimerHandle | None = None
        self._backing_off = False

    @classmethod
    def bind(cls, path: Path, mode: int) -> "UnixListener":
        """Listen at `path`, with the file mode `mode`; replaces a socket that nobody listens on.

        Raises SocketUnusableError where that can't be, and leaves what is there as it is.
        """
        if len(os.fsencode(path)) > MAX_PATH:
            raise SocketUnusableError(
                f"intake.socket: {path} is longer than {MAX_PATH} bytes; choose a shorter path"
            )
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _clear_stale(path)
            sock.bind(str(path))
            # Nobody can connect before listen(), so nobody sees the mode that the umask gave.
            path.chmod(mode)
            status = path.stat()
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            raise SocketUnusableError(
                f"intake.socket: can't listen at {path}: {error.strerror or error}; its folder "
                "must exist and be writable for the relay"
            ) from error
        except SocketUnusableError:
            sock.close()
            raise
        return cls(sock, path, (status.st_dev, status.st_ino))

    @classmethod
    def adopt(cls, fd: int) -> "UnixListener":
        """Take over a listening Unix stream socket, such as systemd passes in.

        Raises SocketUnusableError where `fd` isn't one.
        """
        try:
            sock = socket.socket(fileno=fd)
        except OSError as error:
            raise SocketUnusableError(f"file descriptor {fd} is not a socket: {error}") from error
        if (
            sock.family != socket.AF_UNIX
            or sock.type != socket.SOCK_STREAM
            or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            sock.detach()
            raise SocketUnusableError(
                f"file descriptor {fd} is not a listening Unix stream socket; "
                "set ListenStream= to a path in the socket unit"
            )
        sock.setblocking(False)
        sock.set_inheritable(False)
        return cls(sock, Path(os.fsdecode(sock.getsockname())), None)

    @property
    def accepting(self) -> bool:
        """Whether a publisher that connects to the path now is accepted."""
        return self._reading and (self._identity is None or self._file_is_ours())

    def start(
        self, on_connection: Callable[[socket.socket], None], *, backoff_s: float = 0.2
    ) -> None:
        """Accept, and hand each connection over as a non-blocking socket."""
        self._loop = asyncio.get_running_loop()
        self._on_connection = on_connection
        self._backoff_s = backoff_s
        self._listen()

    def close(self) -> None:
        """Stop accepting and remove the file if it is ours; a second call does nothing.

        Whoever is in the queue of a socket that ends here is accepted still, rather than reset;
        an inherited socket keeps its queue for the next daemon.
        """
        accepting = self._reading
        self._ignore()
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        if self._sock.fileno() < 0:
            return
        if self._file_is_ours():
            self.path.unlink(missing_ok=True)
        if accepting and self._identity is not None:
            self._accept_rest()
        self._sock.close()

    def _listen(self) -> None:
        assert self._loop is not None  # noqa: S101 - for the type checker: start() set it
        self._resume = None
        self._reading = True
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def _ignore(self) -> None:
        if self._reading and self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
        self._reading = False

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._back_off(error)
                return
            if self._backing_off:
                self._backing_off = False
                _log.info("accepting publishers again", action="intake_accept_resumed")
            connection.setblocking(False)
            self._on_connection(connection)

    def _accept_rest(self) -> None:
        for _ in range(BACKLOG):
            try:
                connection, _ = self._sock.accept()
            except OSError:
                return  # empty, or out of resources: those left are reset, as they must be
            connection.setblocking(False)
            self._on_connection(connection)

    def _back_off(self, error: OSError) -> None:
        """Leave connections in the kernel's queue for a moment: they wait there and fail nothing.

        Not leaving them would spin: the socket stays readable.
        """
        assert self._loop is not None  # noqa: S101 - for the type checker: start() set it
        if not self._backing_off:
            self._backing_off = True
            _log.error(
                "can't accept publishers for now"
                + ("; raise LimitNOFILE" if error.errno in _OUT_OF_RESOURCES else ""),
                action="intake_accept_failed",
                error=str(error),
            )
        self._ignore()
        self._resume = self._loop.call_later(self._backoff_s, self._listen)

    def _file_is_ours(self) -> bool:
        if self._identity is None:
            return False
        try:
            status = self.path.lstat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity


def _clear_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on; raises where there is something else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketUnusableError(
            f"intake.socket: {path} is there and isn't a socket; remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its queue is full, so somebody listens
    raise SocketUnusableError(
        f"intake.socket: another process listens at {path}; stop it or choose another path"
    )
