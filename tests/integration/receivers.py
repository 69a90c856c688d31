"""A real HTTPS receiver for tests: own CA, every request recorded as it came, scripted answers.

    async with Receiver() as receiver:
        ...                                  # deliver to receiver.url, trusting receiver.ca_file
        [request] = await receiver.wait_for(1)
        assert request.header("X-Prynt-Event") == "verdict.block"

What it answers is `receiver.respond`: a `Reply`, or a function of the request that returns one
(or None: never answer), async if it likes. Change it at any time.

Its certificate is good for `receiver.test`, names below it, `receiver.localhost` (which c-ares
resolves to the loopback by itself), `localhost` and the loopback addresses.
"""

import asyncio
import atexit
import functools
import inspect
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import trustme

HOST = "receiver.test"
NAMES = (HOST, f"*.{HOST}", "receiver.localhost", "localhost", "127.0.0.1", "::1")


class Authority:
    """A certificate authority of the tests' own, and its certificate as a PEM file."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        folder = tempfile.mkdtemp(prefix="prynt-relay-test-ca-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self.ca_file = Path(folder) / "ca.pem"
        self.ca.cert_pem.write_to_path(os.fspath(self.ca_file))

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Make a server's TLS context with a fresh certificate for `names`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or NAMES)).configure_cert(context)
        return context


@functools.cache
def shared_authority() -> Authority:
    """Return the authority that every receiver of this test process uses unless told otherwise."""
    return Authority()


@functools.cache
def small_trust_store() -> Path:
    """A file with one authority, which has signed nothing, in place of what the machine trusts.

    Reading the machine's own takes longer than most tests, and nothing on a loopback is signed by
    any of its authorities. For `SSL_CERT_FILE`.
    """
    return Authority().ca_file


@functools.cache
def _shared_context() -> ssl.SSLContext:
    return shared_authority().server_context()


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came over the wire."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    """In the order and spelling of the wire."""
    body: bytes
    head: bytes
    """The request line and headers, raw, up to and with the empty line."""
    received_at: float
    """Monotonic seconds at which the request was complete."""
    wall_s: float
    """Unix time of the same moment."""
    connection: int
    """Which connection it came on; they count from 1."""

    def header(self, name: str) -> str | None:
        """Return the value of the first header called `name`, in any case, or None."""
        name = name.lower()
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. `close` ends the connection after it; `reason` may be empty."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    reason: str = "-"

    def encode(self) -> bytes:
        """Return the bytes on the wire."""
        lines = [f"HTTP/1.1 {self.status} {self.reason}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if not any(name.lower() == "content-length" for name, _ in self.headers) and (
            self.status >= 200 and self.status != 204
        ):
            lines.append(f"Content-Length: {len(self.body)}")
        if self.close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


Respond = Reply | Callable[[Request], Reply | Awaitable[Reply | None] | None]


class Receiver:
    """An HTTP/1.1 server on a loopback port of its own; see the module's docstring."""

    def __init__(
        self,
        *,
        respond: Respond | None = None,
        tls: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        host: str = HOST,
        path: str = "/hook",
        bind: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.respond: Respond = respond if respond is not None else Reply()
        self.host = host
        self.path = path
        self.bind = bind
        self.port = port
        self.tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        """How many connections were ever opened."""
        self.open_connections: set[_Connection] = set()
        self._ssl_context = ssl_context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()
        self.errors: list[BaseException] = []
        """What a `respond` function raised; leaving the context raises the first."""

    @property
    def ca_file(self) -> Path:
        """The PEM file that makes the certificate verify (`egress.ca_file`)."""
        return shared_authority().ca_file

    @property
    def url(self) -> str:
        """Where to deliver to."""
        return self.url_for(self.path)

    def url_for(self, path: str = "/", *, host: str | None = None) -> str:
        """Return the URL of `path`, by another name of the receiver's if `host` is given."""
        host = host or self.host
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{path}"

    async def lookup(self, host: str) -> Sequence[str]:
        """Resolve every name to this receiver's address, for resolvers that take a function."""
        del host
        return [self.bind]

    async def wait_for(self, count: int, timeout_s: float = 5.0) -> list[Request]:
        """Return all requests once `count` have come; raise TimeoutError if they don't."""
        try:
            async with asyncio.timeout(timeout_s), self._arrived:
                await self._arrived.wait_for(lambda: len(self.requests) >= count)
        except TimeoutError:
            msg = f"{len(self.requests)} of {count} requests within {timeout_s} s"
            raise TimeoutError(msg) from None
        return list(self.requests)

    async def start(self) -> None:
        """Listen; `port` and `url` are good from here on."""
        context = (self._ssl_context or _shared_context()) if self.tls else None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), self.bind, self.port, ssl=context, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection; the port stays known, to start again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_connections()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def drop_connections(self) -> None:
        """Abort every open connection."""
        for connection in list(self.open_connections):
            connection.abort()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        if self.errors and exc is None:
            raise self.errors[0]

    def _record(self, connection: "_Connection", request: Request) -> None:
        self.requests.append(request)
        task = asyncio.get_running_loop().create_task(self._answer(connection, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, connection: "_Connection", request: Request) -> None:
        async with self._arrived:
            self._arrived.notify_all()
        try:
            reply = self.respond if isinstance(self.respond, Reply) else self.respond(request)
            if inspect.isawaitable(reply):
                reply = await reply
        except Exception as error:  # noqa: BLE001 - handed on: leaving the context raises it
            self.errors.append(error)
            connection.abort()
            return
        if reply is not None:
            connection.send(reply)


@dataclass(eq=False)
class _Connection(asyncio.Protocol):
    """Reads requests one after the other; the next is answered after the one before."""

    receiver: Receiver
    number: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    transport: asyncio.Transport | None = None
    busy: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop has classes of its own
        self.receiver.connections += 1
        self.number = self.receiver.connections
        self.receiver.open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.receiver.open_connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._read()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def send(self, reply: Reply) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(reply.encode())
        if reply.close:
            self.transport.close()
            return
        self.busy = False
        self._read()

    def _read(self) -> None:
        if self.busy or (end := self.buffer.find(b"\r\n\r\n")) < 0:
            return
        head = bytes(self.buffer[: end + 4])
        request_line, *lines = head[:-4].decode("latin-1").split("\r\n")
        method, target, version = request_line.split(" ")
        headers = tuple(
            (name, value.strip()) for name, _, value in (x.partition(":") for x in lines)
        )
        length = next((int(v) for n, v in headers if n.lower() == "content-length"), 0)
        if len(self.buffer) < end + 4 + length:
            return
        body = bytes(self.buffer[end + 4 : end + 4 + length])
        del self.buffer[: end + 4 + length]
        self.busy = True
        self.receiver._record(
            self,
            Request(
                method, target, version, headers, body, head,
                time.monotonic(), time.time(), self.number,
            ),
        )  # fmt: skip
