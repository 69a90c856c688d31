"""The intake socket: listens, and keeps the connections (contract, section 3)."""

import asyncio
import socket
from pathlib import Path

import structlog

from prynt_relay.intake.acceptor import Acceptor
from prynt_relay.intake.connection import Connection
from prynt_relay.intake.listener import UnixListener
from prynt_relay.intake.pump import Pump

_log = structlog.get_logger(__name__)


class IntakeServer:
    """Serves the intake socket.

    Life: `start()`; `quiesce()` when the daemon begins to drain: nobody new is accepted and every
    line from then on is answered `shutting_down`; `stop()`: what was taken is answered and
    the connections are closed. Each may be called again and then does nothing.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        *,
        path: Path,
        mode: int = 0o660,
        inherited_fd: int | None = None,
        pump: Pump | None = None,
    ) -> None:
        """Listen at `path` with the file mode `mode`, or on `inherited_fd` where it is given."""
        self._acceptor = acceptor
        self._path = path
        self._mode = mode
        self._inherited_fd = inherited_fd
        self._pump = pump or Pump(acceptor)
        self._listener: UnixListener | None = None
        # Bounded by the process's file descriptors.
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._draining = False

    async def start(self) -> None:
        """Begin to accept.

        Raises SocketUnusableError: another process listens there, or nobody can.
        """
        if self._listener is not None:
            return
        if self._inherited_fd is not None:
            self._listener = UnixListener.adopt(self._inherited_fd)
        else:
            self._listener = UnixListener.bind(self._path, self._mode)
        self._listener.start(self._accepted)
        _log.info("listening for events", action="intake_listening", socket=str(self._path))

    @property
    def accepting(self) -> bool:
        """Whether a publisher that connects now is accepted and its events are taken."""
        return not self._draining and self._listener is not None and self._listener.accepting

    @property
    def connections(self) -> int:
        """How many publishers are connected."""
        return len(self._connections)

    def quiesce(self) -> None:
        """Accept nobody new, and answer `shutting_down` to every line from now on."""
        self._draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in self._connections:
            connection.drain()

    async def stop(self, timeout_s: float) -> None:
        """Answer what was taken, close every connection; after `timeout_s` without mercy."""
        self.quiesce()
        try:
            async with asyncio.timeout(timeout_s):
                if self._opening:
                    await asyncio.wait(self._opening)
                for connection in list(self._connections):
                    connection.end()
                while self._connections:
                    await asyncio.wait([connection.closed for connection in self._connections])
        except TimeoutError:
            _log.warning(
                "publishers didn't read their answers in time",
                action="intake_stop_timeout",
                connections=len(self._connections),
            )
            for connection in list(self._connections):
                connection.abort()
            while self._connections:
                await asyncio.wait([connection.closed for connection in self._connections])
        self._pump.stop()

    def _accepted(self, sock: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._open(sock))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket) -> None:
        connection = Connection(self._acceptor, self._pump)
        self._connections.add(connection)
        if self._draining:
            connection.drain()
        connection.closed.add_done_callback(lambda _: self._connections.discard(connection))
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, sock)
        except OSError as error:
            # The publisher's end is gone already, or memory is short: it will connect again.
            _log.warning(
                "a publisher's connection failed", action="intake_open_failed", error=str(error)
            )
            sock.close()
            connection.connection_lost(error)
