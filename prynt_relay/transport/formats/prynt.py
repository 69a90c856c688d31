"""The `prynt` format: the specification's envelope, section 4, as compact JSON.

`data` is spliced in byte for byte. This is the hot path: the envelope differs between webhooks
only in `webhookId`, so what stands between it and `data` is built once per event.
"""

from typing import Final

import msgspec

from prynt_relay.model.event import StoredEvent
from prynt_relay.model.timestamps import iso_ms

CONTENT_TYPE: Final = "application/json"


class _Head(msgspec.Struct):
    """The envelope without `webhookId` and `data`, in the contract's order."""

    eventId: str  # noqa: N815 - the name on the wire
    eventType: str  # noqa: N815 - the name on the wire
    apiVersion: str  # noqa: N815 - the name on the wire
    createdAt: str  # noqa: N815 - the name on the wire
    idempotencyKey: str  # noqa: N815 - the name on the wire


_encode: Final = msgspec.json.Encoder().encode


class _LastHead:
    """The head of the event that was rendered last: a fan-out renders one event many times."""

    __slots__ = ("_event", "_head")

    def __init__(self) -> None:
        self._event: StoredEvent | None = None
        self._head = b""

    def of(self, event: StoredEvent) -> bytes:
        if event is not self._event:
            fields = _Head(
                event.event_id,
                event.event_type,
                event.api_version,
                iso_ms(event.created_at_ms),
                event.idempotency_key,
            )
            self._head = b'",%b,"data":' % _encode(fields)[1:-1]
            self._event = event
        return self._head


_last_head: Final = _LastHead()


def render(event: StoredEvent, webhook_id: str) -> bytes:
    """Return the envelope of `event` for one webhook."""
    return b'{"webhookId":"%b%b%b}' % (webhook_id.encode(), _last_head.of(event), event.data)


def accepts(event_type: str) -> bool:
    """Return True: every event has an envelope."""
    return True
