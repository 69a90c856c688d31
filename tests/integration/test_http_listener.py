"""What the daemon's HTTP listeners say in the log of requests that end without an answer."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from prynt_relay.http_listener import Connection, listen

Address = tuple[str, int]


class _Plain(Connection):
    """Refuses with a status alone."""

    __slots__ = ()

    def refusal(self, status: int, error: BaseException | None) -> web.Response:
        return web.Response(status=status)


async def _read(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def _fail(_: web.Request) -> web.Response:
    raise ConnectionRefusedError("somebody else doesn't listen")


async def _fail_with_the_client_gone(request: web.Request) -> web.Response:
    with contextlib.suppress(ConnectionError):
        await request.read()
    raise ValueError("a mistake of ours")


@contextlib.asynccontextmanager
async def _listening() -> AsyncIterator[Address]:
    """A listener whose requests have all come to their end when this does."""
    app = web.Application()
    app.router.add_post("/read", _read)
    app.router.add_post("/fail", _fail)
    app.router.add_post("/fail-late", _fail_with_the_client_gone)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=10.0)
    await runner.setup()

    options: dict[str, Any] = {
        "loop": asyncio.get_running_loop(),
        "access_log": None,
        "logger": logging.getLogger("listener"),
    }
    server = await listen(
        "test.listen", runner, lambda handler: _Plain(handler, **options), ("127.0.0.1", 0)
    )
    try:
        host, port, *_ = server.sockets[0].getsockname()
        yield host, port
    finally:
        server.close()
        await runner.cleanup()


async def _go_away(address: Address, path: str, framing: bytes) -> None:
    """Begin a request's body, and leave once the handler is asked."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n".encode() + framing + b"\r\n"
    )
    async with asyncio.timeout(10):
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.write(b"1\r\nx\r\n")
    writer.transport.abort()


@pytest.mark.parametrize("framing", [b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_client_that_leaves_amid_its_body_is_no_error(
    framing: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that ends before the body does leaves no line of a failure in the log."""
    async with _listening() as address:
        await _go_away(address, "/read", framing)
    assert [each for each in caplog.records if each.levelno > logging.DEBUG] == []


async def test_a_mistake_is_told_though_the_client_left(caplog: pytest.LogCaptureFixture) -> None:
    """What fails for a reason of its own is logged, whoever is still there."""
    async with _listening() as address:
        await _go_away(address, "/fail-late", b"Content-Length: 99\r\n")
    (line,) = caplog.records
    assert line.message == "a request failed outside of its handler"
    assert "a mistake of ours" in caplog.text


async def test_a_connection_of_ours_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that the handler itself couldn't make is a failure: 500, and a traceback."""
    async with _listening() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /fail HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert "somebody else doesn't listen" in caplog.text
