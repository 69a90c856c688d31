"""What a failed attempt is called (contract, section 4), and why, for people.

The texts name the receiver's host at most: neither its URL, which can be a secret, nor anything
that the receiver sent.
"""

import errno
import re
import ssl
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import http_exceptions

from prynt_relay.errors import RelayError
from prynt_relay.model.states import Outcome
from prynt_relay.transport.connector import HandshakeBrokenError
from prynt_relay.transport.protocol import HEADER_LINE_MAX, ResponseTooLargeError
from prynt_relay.transport.resolver import BlockedAddressError, DnsError

Verdict = tuple[Outcome, str]

_UNREACHABLE: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
)
_CLOSED: Final = frozenset({errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE})
_OURS: Final = {
    errno.EMFILE: "the relay has no file descriptors left; raise its limit (LimitNOFILE)",
    errno.ENFILE: "the machine has no file descriptors left",
    errno.EADDRNOTAVAIL: "the relay has no local port left for another connection to this address",
    errno.ENOBUFS: "the machine has no memory left for sockets",
    errno.ENOMEM: "the machine has no memory left",
    errno.EACCES: "the machine doesn't let the relay connect there",
    errno.EPERM: "the machine doesn't let the relay connect there",
}
_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")

_REDIRECTS: Final = frozenset({300, 301, 302, 303, 307, 308})
"""Not all of 3xx: 304 sends nobody elsewhere, and 305 and 306 are of the past."""

_TLS_REASONS: Final = {
    "WRONG_VERSION_NUMBER": "the receiver doesn't speak TLS on this port",
    "HTTP_REQUEST": "the receiver doesn't speak TLS on this port",
    "UNSUPPORTED_PROTOCOL": "the receiver only speaks versions of TLS that are no longer safe",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the receiver speaks no version of TLS that the relay does",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the receiver asks for a client certificate",
}


def failure(error: Exception, host: str) -> Verdict:
    """Return the outcome of an attempt to `host` that ended with `error`, and a text for people.

    For everything but the attempt's own deadline, see `timeout`.
    """
    causes = list(_causes(error))
    for kind, verdict in _KINDS:
        for cause in causes:
            # aiohttp's wrappers pass for TLS errors without having their details.
            if isinstance(cause, kind) and not isinstance(cause, aiohttp.ClientSSLError):
                return verdict(cause, host)
    numbers = {number for cause in causes for number in _error_numbers(cause)}
    if numbers:
        return _socket_failure(numbers, host)
    if isinstance(error, RelayError):
        return Outcome.CONNECTION_ERROR, f"the request can't be made: {error}"
    if is_unexpected(error):
        name = type(error).__name__
        text = f"the relay failed at this for a reason of its own ({name}); its log says where"
        return Outcome.CONNECTION_ERROR, text
    # The event loops and aiohttp have some errors of their own without a number.
    if any(isinstance(cause, ConnectionError) for cause in causes):
        return Outcome.CONNECTION_ERROR, _CLOSED_EARLY.format(host=host)
    return Outcome.CONNECTION_ERROR, f"the connection to {host} failed for no reason given"


def timeout(timeout_s: float, host: str, *, resolved: bool, connected: bool) -> Verdict:
    """Return what to call an attempt whose deadline passed."""
    if connected:
        text = f"no response headers within {timeout_s:g} s"
    elif resolved:
        text = f"no connection to {host} within {timeout_s:g} s"
    else:
        text = f"{host} was not resolved within {timeout_s:g} s"
    return Outcome.TIMEOUT, text


def status_text(status: int, host: str) -> str:
    """Return a text for people about a status that is no success."""
    try:
        name = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        name = str(status)
    redirect = "; redirects are not followed" if status in _REDIRECTS else ""
    return f"{host} answered {name}{redirect}"


def is_unexpected(error: Exception) -> bool:
    """Whether this error is a fault of the relay's own, worth a traceback in the log."""
    return not isinstance(error, OSError | RelayError | aiohttp.ClientError) and not isinstance(
        error, http_exceptions.HttpProcessingError | ResponseTooLargeError
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it was made from, the outermost first."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [cause.__cause__, getattr(cause, "os_error", None)]
        waiting.append(getattr(cause, "certificate_error", None))


def _error_numbers(error: BaseException) -> set[int]:
    if not isinstance(error, OSError):
        return set()
    if error.errno is not None:
        return {error.errno}
    # Several addresses, each with an error of its own, come as one error with all of their texts.
    return {int(number) for number in _ERRNO.findall(str(error))}


def _socket_failure(numbers: set[int], host: str) -> Verdict:
    for number in _OURS.keys() & numbers:
        return Outcome.CONNECTION_ERROR, _OURS[number]
    if errno.ECONNREFUSED in numbers:
        return Outcome.CONNECTION_REFUSED, f"{host} refuses connections on this port"
    if errno.ETIMEDOUT in numbers:
        return Outcome.TIMEOUT, f"{host} stopped answering"
    if numbers & _CLOSED:
        return Outcome.CONNECTION_ERROR, f"{host} reset the connection before it answered"
    if numbers & _UNREACHABLE:
        return Outcome.CONNECTION_ERROR, f"{host} is unreachable from here"
    names = ", ".join(sorted(errno.errorcode.get(number, str(number)) for number in numbers))
    return Outcome.CONNECTION_ERROR, f"the connection to {host} failed ({names})"


def _tls_text(error: BaseException, host: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {host} does not verify: {error.verify_message}"
    reason = getattr(error, "reason", None) or ""
    if reason in _TLS_REASONS:
        return _TLS_REASONS[reason]
    words = reason.replace("_", " ").lower() or "no reason given"
    return f"TLS with {host} failed: {words}"


_CLOSED_EARLY: Final = "{host} closed the connection before it answered"


def _handshake_broken(error: BaseException, host: str) -> Verdict:
    # A TLS error is what one side objects to. Who just closes or resets has said nothing of TLS:
    # contract, section 4, has that among the connection errors, wherever it happens.
    numbers = {number for cause in _causes(error) for number in _error_numbers(cause)}
    how = "reset" if numbers & _CLOSED else "closed"
    return Outcome.CONNECTION_ERROR, f"{host} {how} the connection during the TLS handshake"


def _broken(text: str) -> Callable[[BaseException, str], Verdict]:
    return lambda _, host: (Outcome.CONNECTION_ERROR, text.format(host=host))


_KINDS: Final[tuple[tuple[type[BaseException], Callable[[BaseException, str], Verdict]], ...]] = (
    (BlockedAddressError, lambda cause, _: (Outcome.BLOCKED_ADDRESS, str(cause))),
    (DnsError, lambda cause, host: (Outcome.DNS_ERROR, f"{host} can't be resolved: {cause}")),
    (aiohttp.InvalidURL, lambda _, host: (Outcome.DNS_ERROR, f"{host} is not a valid name")),
    (HandshakeBrokenError, _handshake_broken),
    (ssl.SSLZeroReturnError, _broken(_CLOSED_EARLY)),
    (ssl.SSLEOFError, _broken(_CLOSED_EARLY)),
    (ssl.SSLError, lambda cause, host: (Outcome.TLS_ERROR, _tls_text(cause, host))),
    (aiohttp.ServerDisconnectedError, _broken(_CLOSED_EARLY)),
    (
        ResponseTooLargeError,
        lambda cause, host: (Outcome.CONNECTION_ERROR, f"the response of {host} has {cause}"),
    ),
    (
        http_exceptions.LineTooLong,
        _broken(f"the response of {{host}} has a header line of more than {HEADER_LINE_MAX} bytes"),
    ),
    (http_exceptions.HttpProcessingError, _broken("the response of {host} is not valid HTTP/1.1")),
)
"""What to look for among an error's causes, the most telling first."""
