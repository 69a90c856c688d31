"""What the benchmarks send: the specification's example, and large bodies."""

import json

from prynt_relay.model.catalogue import sample_data
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format
from prynt_relay.transport import formats

EXAMPLE = "identification.complete"


def payload(size: int = 0) -> bytes:
    """An event's `data`: the specification's example, or an object of about `size` bytes."""
    if not size:
        return json.dumps(sample_data(EXAMPLE), separators=(",", ":")).encode()
    return b'{"text":"' + b"x" * (size - 240) + b'"}'


def body(size: int = 0) -> bytes:
    """The delivered body of such an event."""
    event = StoredEvent(
        1, "evt_0123456789abc", EXAMPLE, "2026-01-15", "urn:prynt-relay", 0, 0,
        "idk_0123456789ab", payload(size),
    )  # fmt: skip
    return formats.render(Format.PRYNT, event, "wh_0123456789abc")
