"""What stops the daemon, and what is one connection's trouble."""

import asyncio
import ssl
from typing import Any

import pytest

from prynt_relay.daemon.supervisor import Supervisor


class Broken(asyncio.Protocol):
    """Fails at the first byte, as a bug would."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        raise RuntimeError("the handler is closed")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


async def test_what_breaks_one_connection_stops_only_that() -> None:
    """An error that the loop reports of a transport closes it, and the daemon goes on."""
    loop = asyncio.get_running_loop()
    supervisor = Supervisor()
    reported: list[dict[str, Any]] = []

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        reported.append(context)
        supervisor.handle_loop_exception(_loop, context)

    loop.set_exception_handler(handle)
    broken = Broken()
    server = await loop.create_server(lambda: broken, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"x")
    await writer.drain()
    async with asyncio.timeout(5):
        await broken.lost
    assert [type(context["exception"]) for context in reported] == [RuntimeError]
    assert not supervisor.failed.done()
    writer.close()
    server.close()


@pytest.mark.parametrize(
    "error", [RuntimeError("unable to perform operation on <TCPTransport closed=True>"), None]
)
async def test_a_fatal_error_of_tls_stops_only_its_connection(error: Exception | None) -> None:
    """A receiver that resets its connection at a bad moment makes uvloop report this."""
    supervisor = Supervisor()
    context = {"message": "Fatal error on SSL protocol", "transport": None, "protocol": object()}
    if error is not None:
        context["exception"] = error
    supervisor.handle_loop_exception(asyncio.get_running_loop(), context)
    assert not supervisor.failed.done()


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "reset"),
        ssl.SSLError(1, "application data after close notify"),
    ],
)
async def test_a_peers_broken_connection_stops_nothing(error: Exception) -> None:
    """What a peer does to its connection while it closes is nobody's failure."""
    supervisor = Supervisor()
    context = {"message": "Exception in callback", "exception": error}
    supervisor.handle_loop_exception(asyncio.get_running_loop(), context)
    assert not supervisor.failed.done()


async def test_any_other_error_that_nobody_handles_stops_the_daemon() -> None:
    """A callback of the daemon's own that failed leaves it half alive, which it must not be."""
    supervisor = Supervisor()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(supervisor.handle_loop_exception)
    loop.call_soon("".index, "x")
    async with asyncio.timeout(5):
        assert "callback" in await supervisor.failed
