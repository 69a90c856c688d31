"""Connections: the pool, the guard at the socket, TLS.

Two connectors: one keeps connections alive for reuse, the other never reuses. Neither has a limit
of its own, since dispatch bounds the attempts in flight, and each attempt holds one connection.
"""

import asyncio
import functools
import socket
import ssl
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from yarl import URL

from prynt_relay.errors import InvalidFieldError
from prynt_relay.transport.addresses import AddressPolicy
from prynt_relay.transport.protocol import ResponseProtocol
from prynt_relay.transport.resolver import BlockedAddressError, Resolver, blocked_text

KEEP_ALIVE_S: Final = 2.4
"""How long an idle connection may be reused. aiohttp closes it within twice that: under the 5 s
after which Node's servers, the quickest that are common, close theirs."""

_NO_TIMEOUTS: Final = aiohttp.ClientTimeout(total=None, sock_connect=None)
"""The attempt's one deadline covers everything."""

_ENDS_OF_CONNECTIONS: Final = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)

_AddrInfo = tuple[
    int | socket.AddressFamily,
    int | socket.SocketKind,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int],
]


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the TLS settings for all connections: the system's trust, and `ca_file` on top.

    Raises `InvalidFieldError` where `ca_file` can't be used.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one too
        why = error.strerror or type(error).__name__
        raise InvalidFieldError(
            "egress.ca_file", f"{str(ca_file)!r} can't be used as PEM certificates ({why})"
        ) from None
    return context


class ConnectRequest(ClientRequest):
    """The part of a request that a connector looks at, made once per endpoint.

    It leaves out what `ClientRequest` prepares for sending: headers and body are written by
    `exchange`.
    """

    proxy = None
    proxy_headers = None
    server_hostname = None
    connection_key = cast(ConnectionKey, None)  # computed once, not each time

    def __init__(self, url: URL) -> None:
        self.url = self.original_url = url
        self._ssl = True
        self.connection_key = ConnectionKey(
            url.raw_host or "", url.port, url.scheme == "https", True, None, None, None
        )


class HandshakeBrokenError(aiohttp.ClientConnectorError):
    """A connection that had been made ended in the middle of the TLS handshake."""


class _GuardedConnector(aiohttp.TCPConnector):
    def __init__(
        self,
        *,
        policy: AddressPolicy,
        resolver: Resolver,
        context: ssl.SSLContext,
        reuse: bool,
    ) -> None:
        keep_alive = {"keepalive_timeout": KEEP_ALIVE_S} if reuse else {"force_close": True}
        super().__init__(
            resolver=resolver,
            use_dns_cache=False,  # the resolver has its own, guarded one
            ssl=context,
            limit=0,
            socket_factory=functools.partial(_guarded_socket, policy),
            **keep_alive,
        )
        make = functools.partial(ResponseProtocol, self._loop)
        self._factory = cast(functools.partial[ResponseHandler], make)

    async def _wrap_create_connection(
        self, *args: Any, **kwargs: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        """Tell a connection that broke during the TLS handshake from one that wasn't made.

        Both end in the same errors. aiohttp connects the socket first and hands it to the event
        loop then, which makes a protocol at once and shakes hands.
        """
        factory, *others = args
        made = False

        def make() -> ResponseHandler:
            nonlocal made
            made = True
            return cast(ResponseHandler, factory())

        try:
            return await super()._wrap_create_connection(make, *others, **kwargs)
        except aiohttp.ClientConnectorError as error:
            if made and kwargs["ssl"] and isinstance(error.os_error, _ENDS_OF_CONNECTIONS):
                raise HandshakeBrokenError(error._conn_key, error.os_error) from error  # noqa: SLF001
            raise

    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        """Keep the connection for the next request, before those that have been idle for longer.

        aiohttp takes the oldest first, so that all that a burst has opened are used in turn and
        stay for as long as there is traffic.
        """
        super()._release(key, protocol, should_close=should_close)
        idle = self._conns.get(key)
        if idle and idle[-1][0] is protocol:
            idle.rotate()


def _guarded_socket(policy: AddressPolicy, address: _AddrInfo) -> socket.socket:
    """Open a socket for one address, the last moment at which it can be refused.

    aiohttp asks no resolver about IP literals, so this is what guards those.
    """
    family, kind, protocol, _, where = address
    if (refusal := policy.refusal(where[0])) is not None:
        raise BlockedAddressError(blocked_text(where[0], where[0], refusal))
    return socket.socket(family, kind, protocol)


class Pool:
    """Where exchanges get their connections; made in the running loop."""

    def __init__(self, policy: AddressPolicy, resolver: Resolver, context: ssl.SSLContext) -> None:
        self.loop = asyncio.get_running_loop()
        self._reusing, self._fresh = (
            _GuardedConnector(policy=policy, resolver=resolver, context=context, reuse=reuse)
            for reuse in (True, False)
        )

    async def connect(self, request: ConnectRequest, *, fresh: bool = False) -> Connection:
        """Return an idle connection to the request's host, or a new one.

        With `fresh` always a new one, which isn't kept. Its `protocol` is a `ResponseProtocol`.
        Raises what aiohttp and the resolver raise. The caller releases or closes it.
        """
        connector = self._fresh if fresh else self._reusing
        while True:
            connection = await connector.connect(request, [], _NO_TIMEOUTS)
            protocol = cast(ResponseProtocol, connection.protocol)
            if not (protocol.exchanges and protocol.should_close):
                return connection
            connection.close()  # it went bad while it was idle

    async def close(self) -> None:
        """Drop all connections, idle or not."""
        await self._reusing.close()
        await self._fresh.close()
