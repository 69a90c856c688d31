"""What the daemon's two HTTP servers have in common, the API's and the metrics'."""

import asyncio
import errno
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web

from prynt_relay.errors import RelayError

SERVER: Final = "prynt-relay"
"""Not which Python and which library: that helps nobody but an attacker."""

BACKLOG: Final = 128


class Connection(web.RequestHandler):
    """One connection; what aiohttp refuses by itself is answered like the rest."""

    __slots__ = ()

    def refusal(self, status: int, error: BaseException | None) -> web.Response:
        """Return the answer to a malformed request, or with 500 to one that failed."""
        raise NotImplementedError

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer, and close the connection. Only a failure of ours is worth a line in the log."""
        if request.writer is not None and request.writer.output_size > 0:
            raise ConnectionError("the answer had begun; the connection can only be closed")
        if isinstance(exc, ConnectionError) and self._is_gone():
            raise exc  # amid its request: aiohttp ends the connection and says nothing
        if status == 500:
            self.logger.error("a request failed outside of its handler", exc_info=exc)
        response = self.refusal(status, exc)
        response.headers[hdrs.SERVER] = SERVER
        response.force_close()
        return response

    def _is_gone(self) -> bool:
        return self.transport is None or self.transport.is_closing()


async def listen(
    key: str,
    runner: web.AppRunner,
    connect: Callable[[web.Server], Connection],
    address: tuple[str, int],
) -> asyncio.Server:
    """Listen on an address with connections of one's own.

    `runner` is set up already, and cleaned up where that fails: a RelayError that begins with
    `key`, the setting.
    """
    host, port = address
    handler = runner.server
    if handler is None:
        raise RelayError(f"{key}: the server has no handler; it was set up half")
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(lambda: connect(handler), host, port, backlog=BACKLOG)
    except OSError as error:
        await runner.cleanup()
        raise RelayError(f"{key}: {_why(error, f'{host}:{port}')}") from error


def _why(error: OSError, where: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use; stop what listens there, or choose another port"
    if error.errno == errno.EACCES:
        return f"{where} may not be listened on; ports below 1024 need a privilege"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} is not an address of this machine"
    return f"can't listen on {where}: {error.strerror or error}"
