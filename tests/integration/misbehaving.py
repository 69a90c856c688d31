"""Real servers that misbehave, each in one way, on a loopback port of its own.

    async with Misbehaving(closes_at_once) as server:
        ...  # deliver to server.url

A behaviour is an async function of the connection's reader and writer. `connections` counts how
many there were. TLS comes from `receivers`' authority unless a context is given.
"""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.receivers import HOST, NAMES, shared_authority

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Misbehaving:
    """A server that does one thing to every connection; see the module's docstring."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        tls: bool = True,
        context: ssl.SSLContext | None = None,
        host: str = HOST,
        bind: str = "127.0.0.1",
    ) -> None:
        self.behaviour = behaviour
        self.tls = tls
        self.host = host
        self.bind = bind
        self.port = 0
        self.connections = 0
        self.begun = asyncio.Event()
        """Set whenever there is a new connection."""
        self.ended = asyncio.Event()
        """Set whenever a connection is over, as the server sees it."""
        self._context = (context or _context(*NAMES)) if tls else None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}:{self.port}/hook"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self.bind, 0, ssl=self._context, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.begun.set()
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self.behaviour(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            self.ended.set()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request with its body and return it."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return head + await reader.readexactly(int(value))
    return head


async def until_closed(reader: asyncio.StreamReader) -> None:
    """Read and throw away until the peer is gone."""
    while await reader.read(65_536):
        pass


def answers(*pieces: bytes, then_close: bool = False) -> Behaviour:
    """Answer every request with these bytes, piece by piece."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if then_close:
                await close(writer)
                return

    return behave


async def close(writer: asyncio.StreamWriter) -> None:
    """Close in an orderly way."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await until_closed(reader)


async def closes_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    await close(writer)


async def closes_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await close(writer)


async def half_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End its own side without an answer, but go on reading (plain TCP only)."""
    await read_request(reader)
    writer.write_eof()
    await until_closed(reader)


async def answers_then_half_closes(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await read_request(reader)
    writer.write(OK)
    writer.write_eof()
    await until_closed(reader)


def reset(writer: asyncio.StreamWriter) -> None:
    """Have the kernel send a reset instead of an orderly end."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


def drips(data: bytes, *, every_s: float, then: Behaviour | None = None) -> Behaviour:
    """Answer with one byte at a time."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(every_s)  # the misbehaviour itself: slowness
        if then is not None:
            await then(reader, writer)

    return behave


def floods(head: bytes, piece: bytes) -> Behaviour:
    """Answer with `head` and then `piece` without end."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return behave


async def answers_before_reading(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer before a byte of the request was read, and then never read."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(OK)
    await writer.drain()
    await asyncio.Event().wait()


def _context(*names: str) -> ssl.SSLContext:
    return shared_authority().server_context(*names)


def expired_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = shared_authority().ca.issue_cert(
        *NAMES, not_before=past, not_after=past + dt.timedelta(days=1)
    )
    certificate.configure_cert(context)
    return context


def self_signed_certificate() -> ssl.SSLContext:
    """A server's certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain = trustme.Blob(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with chain.tempfile() as path:
        context.load_cert_chain(path)
    return context


def huge_chain() -> ssl.SSLContext:
    """A good certificate, followed by a thousand that have nothing to do with it."""
    authority = shared_authority().ca
    leaf = authority.issue_cert(*NAMES)
    others = trustme.CA().cert_pem.bytes() * 1000
    pem = leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes() + others
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.Blob(pem).tempfile() as path:
        context.load_cert_chain(path)
    return context


def unknown_authoritys_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(*NAMES).configure_cert(context)
    return context


def other_names_certificate() -> ssl.SSLContext:
    return _context("other.test")
