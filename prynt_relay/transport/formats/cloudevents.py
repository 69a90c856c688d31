"""The `cloudevents` format: CloudEvents 1.0 in structured JSON (contract, section 9).

`source` and `id` together tell an event from every other, so they are what receivers deduplicate
by. `data` is spliced in byte for byte.
"""

from typing import Final

import msgspec

from prynt_relay.model.event import StoredEvent
from prynt_relay.model.timestamps import iso_ms

CONTENT_TYPE: Final = "application/cloudevents+json"


class _Attributes(msgspec.Struct):
    """The context attributes, in the order of the CloudEvents specification."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    datacontenttype: str


def accepts(event_type: str) -> bool:
    """True: every event is a CloudEvent."""
    del event_type
    return True


def render(event: StoredEvent, webhook_id: str) -> bytes:
    """The event in CloudEvents' JSON format; the same for every webhook."""
    del webhook_id
    attributes = _Attributes(
        "1.0",
        event.event_id,
        event.event_source,
        f"io.prynt.{event.event_type}",
        iso_ms(event.created_at_ms),
        "application/json",
    )
    return b'%b,"data":%b}' % (msgspec.json.encode(attributes)[:-1], event.data)
