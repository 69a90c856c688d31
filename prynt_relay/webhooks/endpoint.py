"""Which URLs and headers a webhook may have (contract, section 5)."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from prynt_relay.errors import FieldConflictError, InvalidFieldError
from prynt_relay.model.webhook import BasicAuth

URL_MAX: Final = 2048
HEADERS_MAX: Final = 32
HEADER_NAME_MAX: Final = 128
HEADER_VALUE_MAX: Final = 4096
USERNAME_MAX: Final = 255
PASSWORD_MAX: Final = 1024

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_NUMBER: Final = re.compile(r"([0-9]+|0[xX][0-9a-fA-F]*)\Z")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
"""RFC 9110, section 5.6.2."""
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")
"""RFC 9110, section 5.5: no control characters but the tab, and only what fits latin-1."""
_BRACKETED: Final = re.compile(r"\[[0-9A-Fa-f:.]+(?:%[^\[\]]*)?\](?::[0-9]*)?\Z")
_NOT_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f\\<>\"^`{|}]")

RESERVED_HEADERS: Final = frozenset(
    {
        # Ours, or the HTTP library's.
        "accept",
        "accept-encoding",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "expect",
        "host",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "fpjs-event-signature",
        # Hop by hop: RFC 9110, section 7.6.1.
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
RESERVED_PREFIXES: Final = ("x-prynt-", "ce-", "svix-")


class EndpointRules:
    """The rules as the configuration has them."""

    def __init__(self, *, allow_http: bool, allow_addresses: Iterable[str]) -> None:
        self._allow_http = allow_http
        self._allowed = [ipaddress.ip_network(text) for text in allow_addresses]

    def check_url(self, url: str) -> str:
        """Return `url` if a webhook may have it; raise `InvalidFieldError` for `url` if not.

        Whether its name resolves to public addresses only shows when it is connected to.
        """
        if len(url) > URL_MAX:
            raise _bad_url(f"is {len(url)} characters long, at most {URL_MAX} are allowed")
        if _NOT_IN_A_URL.search(url):
            raise _bad_url("contains a space, a control character or one that must be %-encoded")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _bad_url(f"is not a valid URL ({error})") from None
        if port == 0:
            raise _bad_url("has port 0, which can't be connected to")
        self._check_scheme(parts)
        if parts.username is not None or parts.password is not None:
            raise _bad_url("must not carry user info; use `auth` for basic authentication")
        if parts.fragment or url.endswith("#"):
            raise _bad_url("must not have a fragment (#…): it is never sent")
        if not parts.hostname:
            raise _bad_url("has no host name")
        if "[" in parts.netloc and not _BRACKETED.match(parts.netloc):
            raise _bad_url("has brackets around what is no IPv6 address")
        self._check_host(parts.hostname, parts.scheme, port)
        return url

    def _check_scheme(self, parts: SplitResult) -> None:
        if parts.scheme == "https" or (parts.scheme == "http" and self._allow_http):
            return
        if parts.scheme == "http":
            raise _bad_url("must use https (egress.allow_http admits http for development)")
        allowed = "https:// or http://" if self._allow_http else "https://"
        raise _bad_url(f"must begin with {allowed}")

    def _check_host(self, host: str, scheme: str, port: int | None) -> None:
        address = _literal(host)
        if address is not None:
            if not self._is_allowed(address):
                raise _bad_url(
                    f"must name a domain, not the IP address {address}"
                    " (egress.allow_addresses admits addresses, for development)"
                )
            return
        if not host.isprintable():
            # Encoding leaves some of them out: the name would be another than it seems.
            raise _bad_url(f"has invisible characters in its host name: {host!a}")
        try:
            name = host.encode("idna").decode() if not host.isascii() else host
        except UnicodeError:
            raise _bad_url(f"has a host name that can't be encoded: {host!r}") from None
        name = name.removesuffix(".")
        labels = name.split(".")
        if labels[-1].lower() == "localhost":
            self._check_localhost(labels, scheme, port)
        if len(labels) < 2:
            raise _bad_url(f"must have a domain name with a dot, not {host!r}")
        if len(name) > 253 or not all(_LABEL.match(label) for label in labels):
            raise _bad_url(f"has a host name that is not a valid domain name: {host!r}")
        if _NUMBER.match(labels[-1]):
            # The WHATWG URL standard and inet_aton() read such hosts as IPv4 addresses.
            raise _bad_url(f"must name a domain, not an IP address: {host!r}")

    def _check_localhost(self, labels: list[str], scheme: str, port: int | None) -> None:
        if not self._is_allowed(ipaddress.ip_address("127.0.0.1")):
            raise _bad_url(
                "must not be on localhost; use a public domain name"
                " (egress.allow_addresses admits 127.0.0.0/8, for development)"
            )
        if len(labels) == 1:
            meant = f"{scheme}://127.0.0.1" + (f":{port}" if port is not None else "")
            raise _bad_url(f"must not name localhost, which has no dot; write {meant} instead")

    def _is_allowed(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address.version == n.version and address in n for n in self._allowed)


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    address, _, zone = host.partition("%")
    try:
        # Zones are of IPv6; behind anything else a percent sign is no part of a host.
        return ipaddress.IPv6Address(address) if zone else ipaddress.ip_address(host)
    except ValueError:
        return None


def _bad_url(why: str) -> InvalidFieldError:
    # Never the URL itself: it can be a secret, and this message can reach a log.
    return InvalidFieldError("url", why)


def check_auth(auth: BasicAuth) -> BasicAuth:
    """Return `auth` if it can be sent as basic authentication (RFC 7617)."""
    if not 1 <= len(auth.username) <= USERNAME_MAX:
        raise InvalidFieldError("auth.username", f"must have 1 to {USERNAME_MAX} characters")
    if ":" in auth.username:
        raise InvalidFieldError("auth.username", "must not contain a colon (RFC 7617)")
    if len(auth.password) > PASSWORD_MAX:
        raise InvalidFieldError("auth.password", f"must have at most {PASSWORD_MAX} characters")
    for field, text in (("username", auth.username), ("password", auth.password)):
        if any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise InvalidFieldError(f"auth.{field}", "must not contain control characters")
    return auth


def check_headers(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return custom headers in the order given; raise `InvalidFieldError` for one that can't be."""
    if len(headers) > HEADERS_MAX:
        raise InvalidFieldError(
            "headers", f"has {len(headers)} entries, at most {HEADERS_MAX} are allowed"
        )
    seen: set[str] = set()
    for name, value in headers:
        field = f"headers.{name[:HEADER_NAME_MAX]}"
        if not _TOKEN.match(name) or len(name) > HEADER_NAME_MAX:
            raise InvalidFieldError(field, "is not a valid header name (RFC 9110, section 5.1)")
        lower = name.lower()
        if lower in seen:
            raise InvalidFieldError(field, "is given twice")
        seen.add(lower)
        if lower in RESERVED_HEADERS or lower.startswith(RESERVED_PREFIXES):
            raise InvalidFieldError(field, "is reserved: the relay or HTTP itself sets it")
        if len(value) > HEADER_VALUE_MAX:
            raise InvalidFieldError(field, f"must have at most {HEADER_VALUE_MAX} characters")
        if not _HEADER_VALUE.match(value) or value != value.strip():
            raise InvalidFieldError(
                field, "must be latin-1 text without control characters or outer spaces"
            )
    return tuple(headers)


def check_one_authorization(headers: Sequence[tuple[str, str]]) -> None:
    """Raise `FieldConflictError` where a custom header would stand beside that of `auth`."""
    for name, _ in headers:
        if name.lower() == "authorization":
            field = f"headers.{name}"
            raise FieldConflictError(field, "auth", "can't stand beside `auth`, which sets it")


def check_events(events: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the subscribed types without repetitions; `*` stands for all of them."""
    if not events:
        raise InvalidFieldError("events", 'must name at least one event type, or be ["*"]')
    unknown = [name for name in events if name != "*" and name not in known]
    if unknown:
        raise InvalidFieldError(
            "events",
            f"{unknown[0][:100]!r} is not a known event type; known are {', '.join(known)}",
        )
    return ("*",) if "*" in events else tuple(dict.fromkeys(events))
