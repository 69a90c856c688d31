"""The seam to aiohttp: what the transport uses of it beyond its documented interface.

When one of these fails after an upgrade of aiohttp, look at `connector`, `protocol` and `exchange`
before anything else.
"""

import asyncio
import functools
import inspect
from collections import deque

import aiohttp
from aiohttp import http_parser
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from prynt_relay.transport.addresses import AddressPolicy
from prynt_relay.transport.connector import ConnectRequest, Pool, tls_context
from prynt_relay.transport.protocol import ResponseProtocol
from prynt_relay.transport.resolver import Resolver
from tests.integration.attempts import loopback
from tests.integration.receivers import Receiver, Reply, shared_authority


def parameters(function: object) -> set[str]:
    assert callable(function)
    return set(inspect.signature(function).parameters)


async def test_the_parts_that_are_used_are_there() -> None:
    """Names and parameters, so that a change says what it was."""
    assert parameters(aiohttp.TCPConnector.connect) == {"self", "req", "traces", "timeout"}
    assert parameters(aiohttp.TCPConnector.__init__) >= {
        "resolver", "use_dns_cache", "ssl", "limit", "socket_factory", "keepalive_timeout",
        "force_close",
    }  # fmt: skip
    assert parameters(aiohttp.TCPConnector._release) == {"self", "key", "protocol", "should_close"}
    assert parameters(ResponseHandler.set_response_params) >= {
        "read_until_eof", "auto_decompress", "read_bufsize", "max_line_size", "max_field_size",
        "max_headers",
    }  # fmt: skip
    assert parameters(ResponseHandler.__init__) == {"self", "loop"}
    assert parameters(ResponseHandler.feed_data) == {"self", "data", "size"}
    assert inspect.iscoroutinefunction(ResponseHandler.read)
    assert inspect.iscoroutinefunction(BaseProtocol._drain_helper)
    assert isinstance(inspect.getattr_static(ResponseHandler, "should_close"), property)
    connector = aiohttp.TCPConnector()
    assert isinstance(connector._factory, functools.partial)
    assert connector._factory.func is ResponseHandler
    assert connector._conns.default_factory is deque
    await connector.close()


def test_the_parser_is_the_compiled_one() -> None:
    """Without aiohttp's extension deliveries cost several times as much."""
    assert http_parser.HttpResponseParser is not http_parser.HttpResponseParserPy


async def test_a_connect_request_is_all_that_a_connector_needs() -> None:
    """The pool connects, keeps and finds again by what `ConnectRequest` offers."""
    policy = AddressPolicy(["127.0.0.0/8"])
    resolver = Resolver(policy, loopback)
    pool = Pool(policy, resolver, tls_context(shared_authority().ca_file))
    async with Receiver(respond=Reply(202, b"hello")) as receiver:
        request = ConnectRequest(URL(receiver.url).origin())
        real = aiohttp.ClientRequest("POST", URL(receiver.url), loop=asyncio.get_running_loop())
        assert request.connection_key == real.connection_key
        assert (request.host, request.port, request.is_ssl()) == (real.host, real.port, True)

        connection = await pool.connect(request)
        protocol = connection.protocol
        assert isinstance(protocol, ResponseProtocol)
        assert protocol.exchanges == 0
        protocol.begin()
        assert protocol.transport is not None
        protocol.transport.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        message, payload = await protocol.read()
        assert message.code == 202
        assert (b"Content-Length", b"5") in message.raw_headers
        assert await payload.read() == b"hello"
        assert payload.total_bytes == 5
        assert not protocol.should_close
        protocol.finish()
        connection.release()

        again = await pool.connect(request)
        assert again.protocol is protocol
        fresh = await pool.connect(request, fresh=True)
        assert fresh.protocol is not protocol
        again.close()
        fresh.close()
    await pool.close()
    await resolver.close()
