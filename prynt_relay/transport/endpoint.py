"""A webhook's requests: what of them is the same each time, prepared once."""

import base64
import re
from typing import Final
from urllib.parse import quote

from yarl import URL

from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import Webhook
from prynt_relay.transport import formats
from prynt_relay.transport.connector import ConnectRequest
from prynt_relay.transport.resolver import BlockedAddressError
from prynt_relay.version import __version__

Headers = list[tuple[str, str]]

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")

_OURS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "fpjs-event-signature",
        "x-prynt-delivery",
        "x-prynt-event",
        "x-prynt-signature",
        "x-prynt-timestamp",
    }
)
"""Never taken from a webhook's custom headers, whatever let them in."""

ENDPOINTS_MAX: Final = 8192
"""Endpoints kept prepared; beyond it the oldest goes and is prepared again when needed."""


def leading_headers(format: Format) -> Headers:
    """Return what every request of this format begins with (contract, section 4)."""
    return [
        ("Content-Type", formats.content_type(format)),
        ("User-Agent", f"prynt-relay/{__version__}"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),  # responses are logged as they come
    ]


def event_headers(event: StoredEvent) -> Headers:
    """Return what tells which event a request is about."""
    return [("X-Prynt-Event", event.event_type), ("X-Prynt-Delivery", event.event_id)]


def timestamp_headers(schemes: tuple[SignatureScheme, ...], wall_ms: int) -> Headers:
    """Return the attempt's time, unless the `prynt` signature brings it along."""
    if SignatureScheme.PRYNT in schemes:
        return []
    return [("X-Prynt-Timestamp", str(wall_ms // 1000))]


def secret_headers(webhook: Webhook) -> Headers:
    """Return the headers whose values are secrets: authentication and the webhook's own."""
    headers: Headers = []
    if webhook.auth is not None:
        credentials = f"{webhook.auth.username}:{webhook.auth.password}".encode()
        headers.append(("Authorization", "Basic " + base64.b64encode(credentials).decode()))
    for name, value in webhook.headers:
        lower = name.lower()
        if lower not in _OURS and not (webhook.auth is not None and lower == "authorization"):
            headers.append((name, value))
    return headers


class Endpoint:
    """Where a webhook's requests go and what they begin and end with."""

    __slots__ = ("_end", "_starts", "_target", "connect_request", "host", "webhook")

    def __init__(self, webhook: Webhook) -> None:
        """Prepare; raises `InvalidFieldError` for what can't be sent in an HTTP request."""
        self.webhook = webhook
        try:
            url = URL(webhook.url)
        except ValueError:  # its text can hold more of the URL than anybody may see
            raise InvalidFieldError("url", "is no URL that can be connected to") from None
        self.host = _shown_host(url)
        self.connect_request = ConnectRequest(url.origin())
        self._target = _checked("url", _request_target(webhook.url))
        self._end = "".join(
            _checked("headers", f"{name}: {value}") + "\r\n"
            for name, value in secret_headers(webhook)
        )
        self._starts: dict[int, str] = {}

    @property
    def is_secure(self) -> bool:
        """Whether it is reached by https."""
        return self.connect_request.url.scheme == "https"

    @property
    def host_header(self) -> str:
        """The request's `Host`: name, and port where it isn't the scheme's."""
        return self.connect_request.url.host_port_subcomponent or ""

    def is_for(self, webhook: Webhook) -> bool:
        """Whether `webhook` still sends what this was prepared for; its health may differ."""
        known = self.webhook
        return known is webhook or (
            known.url == webhook.url
            and known.headers == webhook.headers
            and known.auth == webhook.auth
        )

    def head(self, format: Format, event: StoredEvent, signed: Headers, length: int) -> bytes:
        """Return the request's head for a body of `length` bytes."""
        start = self._starts.get(format.value) or self._start(format)
        return (
            f"{start}X-Prynt-Event: {event.event_type}\r\nX-Prynt-Delivery: {event.event_id}\r\n"
            + "".join([f"{name}: {value}\r\n" for name, value in signed])
            + f"{self._end}Content-Length: {length}\r\n\r\n"
        ).encode("latin-1")

    def _start(self, format: Format) -> str:
        lines = [f"POST {self._target} HTTP/1.1", f"Host: {self.host_header}"]
        lines += [f"{name}: {value}" for name, value in leading_headers(format)]
        start = self._starts[format.value] = "\r\n".join([*lines, ""])
        return start


def _shown_host(url: URL) -> str:
    """Return the host as people write it; as DNS knows it where that is no encoded name."""
    try:
        return url.host or ""
    except UnicodeError:
        return url.raw_host or ""


def _request_target(url: str) -> str:
    """Return path and query as they were given: in a unique URL every byte can count.

    Only what isn't ASCII is encoded, as it must be: valid escapes and others stay as they are.
    """
    _, _, rest = url.partition("://")
    rest = rest.partition("#")[0]
    begin = re.search("[/?]", rest)
    if begin is None:
        return "/"
    target = _NOT_ASCII.sub(lambda match: quote(match[0], errors="replace"), rest[begin.start() :])
    return target if target.startswith("/") else "/" + target


def _checked(field: str, text: str) -> str:
    """Refuse what would break out of its line; the rules for webhooks let none of it in."""
    if any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in text):
        raise InvalidFieldError(field, "contains control characters, which can't be sent")
    if field == "url" and " " in text:
        raise InvalidFieldError(field, "contains a space, which can't be sent")
    return text


class Endpoints:
    """The endpoints in use, prepared."""

    def __init__(self, *, allow_http: bool) -> None:
        self._allow_http = allow_http
        self._by_row: dict[int, Endpoint] = {}

    def get(self, webhook: Webhook) -> Endpoint:
        """Return the webhook's endpoint as it is now; raises as `Endpoint` does.

        Raises BlockedAddressError for one from when http was allowed.
        """
        endpoint = self._by_row.get(webhook.row)
        if endpoint is not None and endpoint.is_for(webhook):
            return endpoint
        endpoint = Endpoint(webhook)
        if not (endpoint.is_secure or self._allow_http):
            raise BlockedAddressError(
                f"{endpoint.host} is to be reached by http, which egress.allow_http doesn't allow"
                " any more; change its URL to https"
            )
        self._by_row.pop(webhook.row, None)
        if len(self._by_row) >= ENDPOINTS_MAX:
            del self._by_row[next(iter(self._by_row))]
        self._by_row[webhook.row] = endpoint
        return endpoint
