"""How a request looked, for the delivery log, rebuilt from what little the log keeps of it.

Per webhook revision the log keeps a template (URL, headers, schemes), per attempt its time and 32
bytes per signature, per event its data. Secret values are masked in the template already.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from prynt_relay.errors import StorageError
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import Webhook
from prynt_relay.transport import formats, signatures
from prynt_relay.transport.endpoint import (
    Endpoint,
    event_headers,
    leading_headers,
    secret_headers,
    timestamp_headers,
)

MASK: Final = "***"


class _Template(msgspec.Struct, frozen=True):
    url: str
    host: str
    leading: tuple[tuple[str, str], ...]
    secret: tuple[str, ...]
    """Names only."""
    schemes: tuple[SignatureScheme, ...]
    format: Format


class RequestPicture(msgspec.Struct, frozen=True):
    """A request as it was sent, with what is secret masked; headers in the order of sending."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def template(webhook: Webhook) -> str:
    """Return what the log keeps of how this webhook's requests look: JSON, no secret in it.

    Raises `InvalidFieldError` for a webhook whose requests can't be sent.
    """
    picture = _Template(
        url=webhook.url,
        host=Endpoint(webhook).host_header,
        leading=tuple(leading_headers(webhook.format)),
        secret=tuple(name for name, _ in secret_headers(webhook)),
        schemes=webhook.signatures,
        format=webhook.format,
    )
    return msgspec.json.encode(picture).decode()


def describe(
    template: str,
    event: StoredEvent,
    started_at_ms: int,
    signature: bytes,
    body: bytes,
    *,
    format: Format | None = None,
) -> RequestPicture:
    """Return the request of an attempt, from its webhook's `template` at the time.

    `started_at_ms` and `signature` are the attempt's, `body` what `formats.render` makes of the
    event, `format` the delivery's where it isn't the template's. Raises `StorageError` for a
    template or signature that is damaged.
    """
    try:
        kept = msgspec.json.decode(template, type=_Template)
    except msgspec.DecodeError as error:
        raise StorageError(f"a webhook revision's template is damaged: {error}") from None
    headers = [("Host", kept.host), *kept.leading, *event_headers(event)]
    headers += timestamp_headers(kept.schemes, started_at_ms)
    headers += signatures.unpack(
        kept.schemes, signature, wall_ms=started_at_ms, event_id=event.event_id
    )
    headers += [(name, MASK) for name in kept.secret]
    headers.append(("Content-Length", str(len(body))))
    shown = dict(headers)
    if format is not None:
        shown["Content-Type"] = formats.content_type(format)
    return RequestPicture(kept.url, shown, body)
