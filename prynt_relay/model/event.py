"""Events: what a publisher hands in, and what is stored of it."""

from typing import Final

import msgspec

from prynt_relay.model.states import DeliveryState, Format

EVENT_TYPES: Final = (
    "identification.complete",
    "verdict.allow",
    "verdict.block",
    "verdict.challenge",
    "rule.matched",
    "visitor.new",
    "visitor.returning",
    "signal.bot.detected",
    "list.entry.added",
    "list.entry.expired",
    "alert.triggered",
)
"""The specification's eleven, section 3; `extra_event_types` adds to them."""


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that passed every check of intake and isn't stored yet.

    `data` is the publisher's JSON text, byte for byte. What is None the store makes.
    """

    event_type: str
    data: bytes
    event_id: str | None = None
    idempotency_key: str | None = None
    created_at_ms: int | None = None


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as receivers see it; enough to build any delivery's body.

    `is_test` marks a sample where the event was read from the database; what `append` answers
    leaves it unset, since the dispatcher never gets a sample that way.
    """

    row: int
    event_id: str
    event_type: str
    api_version: str
    event_source: str
    created_at_ms: int
    received_at_ms: int
    idempotency_key: str
    data: bytes
    is_test: bool = False


class Target(msgspec.Struct, frozen=True, gc=False):
    """One webhook that an event goes to, as matched at the moment when it came in.

    `state` is SCHEDULED, or HELD where the webhook is disabled. Of a test it is FAILED until its
    one attempt says otherwise, so that a crash in between leaves nothing to be sent.
    """

    webhook_row: int
    state: DeliveryState
    format: Format


class Append(msgspec.Struct, frozen=True, gc=False):
    """An event with the webhooks that it goes to, for the store to write in one piece.

    `is_test` marks a sample that an operator sends: it has exactly one target, and counts in no
    statistics.
    """

    event: NewEvent
    targets: tuple[Target, ...]
    is_test: bool = False


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What became of an `Append`, once it is on disk.

    Of a duplicate only `event_id` is set: the first event's. Otherwise the delivery to
    `targets[i]` is in row `first_delivery_row + i`, due at `due_ms`; `stored` is None without
    targets, since nobody needs it. `late`: it was on disk for some time before this was told, and
    who read what is due may have found it there.
    """

    event_id: str
    duplicate: bool = False
    stored: StoredEvent | None = None
    first_delivery_row: int = 0
    due_ms: int = 0
    late: bool = False
