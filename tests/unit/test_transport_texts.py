"""Errors become outcomes and texts for people, without a URL or a secret in them."""

import errno
import ssl

import aiohttp
import pytest
from aiohttp import http_exceptions
from aiohttp.client_reqrep import ConnectionKey

from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.states import Outcome
from prynt_relay.transport import outcomes
from prynt_relay.transport.connector import HandshakeBrokenError
from prynt_relay.transport.protocol import ResponseTooLargeError
from prynt_relay.transport.resolver import BlockedAddressError, DnsError

HOST = "receiver.test"
KEY = ConnectionKey(HOST, 443, True, True, None, None, None)


def connecting(error: OSError) -> Exception:
    """As aiohttp wraps what goes wrong while it connects."""
    wrapped = aiohttp.ClientConnectorError(KEY, error)
    wrapped.__cause__ = error
    return wrapped


def broken_handshake(error: OSError) -> Exception:
    """As our connector tells it, around aiohttp's."""
    wrapped = HandshakeBrokenError(KEY, error)
    wrapped.__cause__ = connecting(error)
    return wrapped


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (connecting(BlockedAddressError("not public")), Outcome.BLOCKED_ADDRESS, "not public"),
        (BlockedAddressError("not public"), Outcome.BLOCKED_ADDRESS, "not public"),
        (connecting(DnsError("no such name")), Outcome.DNS_ERROR, "no such name"),
        (connecting(ConnectionRefusedError(111, "")), Outcome.CONNECTION_REFUSED, "refuses"),
        (connecting(OSError(errno.ENETUNREACH, "")), Outcome.CONNECTION_ERROR, "unreachable"),
        (connecting(OSError(errno.EHOSTUNREACH, "")), Outcome.CONNECTION_ERROR, "unreachable"),
        (connecting(OSError(errno.ECONNRESET, "")), Outcome.CONNECTION_ERROR, "reset"),
        (connecting(OSError(errno.EMFILE, "")), Outcome.CONNECTION_ERROR, "LimitNOFILE"),
        (connecting(OSError(errno.ENFILE, "")), Outcome.CONNECTION_ERROR, "descriptors"),
        (connecting(OSError(errno.EADDRNOTAVAIL, "")), Outcome.CONNECTION_ERROR, "local port"),
        (connecting(OSError(errno.EPERM, "")), Outcome.CONNECTION_ERROR, "doesn't let"),
        (connecting(OSError(errno.ETIMEDOUT, "")), Outcome.TIMEOUT, "stopped answering"),
        (connecting(OSError(errno.EXDEV, "")), Outcome.CONNECTION_ERROR, "EXDEV"),
        (
            connecting(OSError("Multiple exceptions: [Errno 101] Connect, [Errno 111] Connect")),
            Outcome.CONNECTION_REFUSED,
            "refuses",
        ),
        (
            connecting(OSError("Multiple exceptions: [Errno 101] Connect, [Errno 113] Connect")),
            Outcome.CONNECTION_ERROR,
            "unreachable",
        ),
        (aiohttp.ServerDisconnectedError(), Outcome.CONNECTION_ERROR, "closed the connection"),
        (aiohttp.ClientOSError(errno.EPIPE, ""), Outcome.CONNECTION_ERROR, "reset"),
        (
            caused(aiohttp.ClientOSError(1, "x"), ssl.SSLError(1, "[SSL: BAD] x")),
            Outcome.TLS_ERROR,
            "TLS",
        ),
        (
            broken_handshake(ConnectionResetError()),
            Outcome.CONNECTION_ERROR,
            f"{HOST} closed the conn",
        ),
        (
            broken_handshake(ConnectionResetError(104, "")),
            Outcome.CONNECTION_ERROR,
            f"{HOST} reset the",
        ),
        (
            broken_handshake(ssl.SSLEOFError(8, "eof")),
            Outcome.CONNECTION_ERROR,
            "during the TLS hands",
        ),
        (connecting(ConnectionResetError()), Outcome.CONNECTION_ERROR, f"{HOST} closed"),
        (aiohttp.ClientConnectionResetError("x"), Outcome.CONNECTION_ERROR, f"{HOST} closed"),
        (aiohttp.ClientConnectionError("x"), Outcome.CONNECTION_ERROR, f"connection to {HOST} fai"),
        (OSError("x"), Outcome.CONNECTION_ERROR, f"the connection to {HOST} failed"),
        (ssl.SSLEOFError(8, "eof"), Outcome.CONNECTION_ERROR, "closed"),
        (ssl.SSLZeroReturnError(6, "closed"), Outcome.CONNECTION_ERROR, "closed"),
        (
            caused(
                http_exceptions.HttpProcessingError(),
                http_exceptions.LineTooLong(b"secret", "9", "10"),
            ),
            Outcome.CONNECTION_ERROR,
            "header line",
        ),
        (http_exceptions.BadHttpMessage("secret"), Outcome.CONNECTION_ERROR, "not valid HTTP"),
        (ResponseTooLargeError("too many"), Outcome.CONNECTION_ERROR, "too many"),
        (InvalidFieldError("headers", "odd"), Outcome.CONNECTION_ERROR, "headers: odd"),
        (ValueError("secret"), Outcome.CONNECTION_ERROR, "ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_has_its_outcome(error: Exception, outcome: Outcome, words: str) -> None:
    """The cause that tells most decides, wherever in the chain it stands."""
    found, text = outcomes.failure(error, HOST)
    assert found is outcome
    assert words in text
    assert "secret" not in text


def test_a_ring_of_causes_ends() -> None:
    """Errors that name each other as their cause are looked at once."""
    one, two = ValueError(), TypeError()
    one.__cause__, two.__cause__ = two, one
    assert outcomes.failure(one, HOST)[0] is Outcome.CONNECTION_ERROR


@pytest.mark.parametrize(
    ("resolved", "connected", "words"),
    [
        (False, False, "was not resolved within 2.5 s"),
        (True, False, "no connection to receiver.test within 2.5 s"),
        (True, True, "no response headers within 2.5 s"),
    ],
)
def test_a_timeout_says_how_far_the_attempt_got(
    resolved: bool, connected: bool, words: str
) -> None:
    """Name, connection or answer: what was missing when time was up."""
    outcome, text = outcomes.timeout(2.5, HOST, resolved=resolved, connected=connected)
    assert outcome is Outcome.TIMEOUT
    assert words in text


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "receiver.test answered 500 Internal Server Error"),
        (301, "receiver.test answered 301 Moved Permanently; redirects are not followed"),
        (304, "receiver.test answered 304 Not Modified"),
        (308, "receiver.test answered 308 Permanent Redirect; redirects are not followed"),
        (799, "receiver.test answered 799"),
    ],
)
def test_a_status_is_told_with_its_name(status: int, text: str) -> None:
    """The standard's name for it, not what the receiver calls it."""
    assert outcomes.status_text(status, HOST) == text


def test_only_the_relays_own_faults_are_unexpected() -> None:
    """What the network and the receiver do is expected; a bug is not."""
    assert outcomes.is_unexpected(KeyError("x"))
    assert outcomes.is_unexpected(RuntimeError())
    for error in (OSError(), InvalidFieldError("a", "b"), aiohttp.ClientError()):
        assert not outcomes.is_unexpected(error)
