"""Deliveries as they leave the relay, for software that others wrote."""

import time
from dataclasses import dataclass

import msgspec

from prynt_relay.model.event import StoredEvent
from prynt_relay.model.samples import sample_data
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import Secrets
from prynt_relay.transport import formats, signatures

OLD = "whsec_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6"
NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STRANGER = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@dataclass(frozen=True)
class Delivery:
    """A request's headers and body."""

    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Moment:
    """A moment of a rotation, and the secrets with which a receiver must get by."""

    name: str
    secrets: Secrets
    receiver_secrets: tuple[str, ...]


def moments() -> list[Moment]:
    """Before a rotation, while it is pending, and after the takeover; now is the present."""
    now_ms = time.time_ns() // 1_000_000
    return [
        Moment("before", Secrets(OLD), (OLD,)),
        Moment("pending", Secrets(OLD, NEW, pending_at_ms=now_ms + 3_600_000), (OLD, NEW)),
        Moment("after", Secrets(OLD, NEW, pending_at_ms=now_ms), (NEW,)),
    ]


def delivery(
    format: Format,
    schemes: tuple[SignatureScheme, ...],
    secrets: Secrets,
    *,
    event_type: str = "identification.complete",
    data: bytes | None = None,
    idempotency_key: str = "idk_a7f2c9e1b3d4",
) -> Delivery:
    """A request of this moment."""
    now_ms = time.time_ns() // 1_000_000
    event = StoredEvent(
        row=1,
        event_id="evt_9fJ3kL7mNpR2x",
        event_type=event_type,
        api_version="2026-01-15",
        event_source="urn:prynt-relay",
        created_at_ms=now_ms,
        received_at_ms=now_ms,
        idempotency_key=idempotency_key,
        data=msgspec.json.encode(sample_data(event_type)) if data is None else data,
    )
    body = formats.render(format, event, "wh_3kR8mNqT7xP2v")
    headers, _ = signatures.sign(
        schemes, secrets, wall_ms=now_ms, event_id=event.event_id, body=body
    )
    return Delivery({"Content-Type": formats.content_type(format), **dict(headers)}, body)
