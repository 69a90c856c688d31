"""The API's listening socket: bounded requests, errors of HTTP itself as problems, a calm end."""

import asyncio
import logging
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from prynt_relay.api.deps import DEPS
from prynt_relay.api.middleware import REQUEST_ID
from prynt_relay.api.problems import ProblemError
from prynt_relay.http_listener import Connection, listen

KEEPALIVE_S: Final = 75.0
"""How long a connection may wait for its next request, or its first."""

MAX_LINE: Final = 16_384
"""Bytes of a request line: a cursor and some filters fit many times over."""

MAX_FIELD: Final = 8_190
MAX_HEADERS: Final = 64
STOP_S: Final = 10.0
"""How long requests that are being answered may take once the server stops."""

LINGER_S: Final = 3.0
"""How long the rest of a refused body is read and dropped, so that its sender learns why."""

MAX_CONNECTIONS: Final = 1_000
"""Open connections; one more is closed at once."""


class _Connection(Connection):
    """One connection; what aiohttp refuses before any route is asked is a problem document too."""

    __slots__ = ("_is_one_too_many",)

    def __init__(self, manager: web.Server, *, is_one_too_many: bool, **options: Any) -> None:
        super().__init__(manager, **options)
        self._is_one_too_many = is_one_too_many

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        if self._is_one_too_many:
            self.force_close()

    def refusal(self, status: int, error: BaseException | None) -> web.Response:
        """Return a problem document."""
        if isinstance(error, LineTooLong):
            problem = ProblemError(
                431,
                "headers_too_large",
                f"the request line may have {MAX_LINE} bytes and a header {MAX_FIELD}; send less",
            )
        elif status == 500:
            problem = ProblemError(500, "internal_error", "something went wrong; the log has more")
        else:
            problem = ProblemError(400, "malformed_request", "this is not a valid HTTP/1.1 request")
        response = problem.response("")
        response.headers[REQUEST_ID] = ""
        return response


class ApiServer:
    """Serves an application of `make_app` on one address; port 0 is any that is free."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._app = app
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self.address: tuple[str, int] = (host, port)

    async def start(self) -> None:
        """Listen; `address` then holds the real port.

        Raises RelayError where the address can't be listened on.
        """
        runner = web.AppRunner(
            self._app, access_log=None, shutdown_timeout=STOP_S, handle_signals=False
        )
        await runner.setup()
        options: dict[str, Any] = {
            "loop": asyncio.get_running_loop(),
            "keepalive_timeout": KEEPALIVE_S,
            "max_line_size": MAX_LINE,
            "max_field_size": MAX_FIELD,
            "max_headers": MAX_HEADERS,
            "auto_decompress": False,
            "lingering_time": LINGER_S,
            "access_log": None,
            "logger": logging.getLogger("prynt_relay.api"),
        }

        def connect(handler: web.Server) -> _Connection:
            full = len(handler.connections) >= MAX_CONNECTIONS
            return _Connection(handler, is_one_too_many=full, **options)

        self._server = await listen("api.listen", runner, connect, (self._host, self._port))
        self._runner = runner
        host, port, *_ = self._server.sockets[0].getsockname()
        self.address = (host, port)

    async def stop(self) -> None:
        """Accept nothing more, end streams, let requests finish for a while; twice is harmless."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        await self._app[DEPS].hub.close()
        if self._server is not None:
            self._server.close()
        await runner.cleanup()
