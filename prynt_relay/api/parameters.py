"""The parameters of the API's operations."""

from typing import Any, Final

from prynt_relay.api.idempotency import HEADER as IDEMPOTENCY_KEY
from prynt_relay.api.idempotency import KEY_PATTERN
from prynt_relay.api.operations import Parameter, Schema
from prynt_relay.api.queries import DEFAULT_LIMIT, MAX_LIMIT
from prynt_relay.api.schema_types import (
    DELIVERY_ID_PATTERN,
    EVENT_ID_PATTERN,
    WEBHOOK_ID_PATTERN,
)
from prynt_relay.api.stream_handlers import LAST_EVENT_ID, LAST_EVENT_ID_PATTERN
from prynt_relay.model.states import DeliveryState

MOMENT_SCHEMA: Final[Schema] = {
    "type": "string",
    # Neither date-time nor a pattern: ISO 8601 has weeks, and times with fewer parts and offsets.
    "format": "moment",
    "examples": ["24h", "2026-02-14T11:45:22Z", "2026-02-14"],
}


def _path(name: str, pattern: str, what: str) -> Parameter:
    return Parameter(name, "path", what, {"type": "string", "pattern": pattern})


def _query(name: str, description: str, **schema: Any) -> Parameter:
    return Parameter(name, "query", description, schema)


WEBHOOK: Final = _path("webhookId", WEBHOOK_ID_PATTERN, "The webhook's id.")
DELIVERY: Final = _path("deliveryId", DELIVERY_ID_PATTERN, "The delivery's id.")
EVENT: Final = _path("eventId", EVENT_ID_PATTERN, "The event's id.")
LIST: Final = (
    _query(
        "limit",
        "How many rows at most.",
        type="integer",
        minimum=1,
        maximum=MAX_LIMIT,
        default=DEFAULT_LIMIT,
    ),
    _query("cursor", "The `nextCursor` of the page before.", type="string", format="cursor"),
)
WINDOW: Final = (
    Parameter(
        "since",
        "query",
        "Received from then on: a duration back from now, or ISO 8601.",
        MOMENT_SCHEMA,
    ),
    Parameter("until", "query", "Received before then; as `since`.", MOMENT_SCHEMA),
)
TYPE: Final = _query(
    "eventType",
    "Of this type: one that the relay takes, or took when something came in.",
    type="string",
    format="event-type",
    examples=["verdict.block"],
)
DELIVERIES: Final = (
    *LIST,
    _query("state", "In this state.", type="string", enum=[state.label for state in DeliveryState]),
    TYPE,
    _query("eventId", "Of this event.", type="string", pattern=EVENT_ID_PATTERN),
    *WINDOW,
)
ONCE: Final = Parameter(
    IDEMPOTENCY_KEY,
    "header",
    "For 24 h a repetition with this key gets the first answer instead of a second effect.",
    {"type": "string", "pattern": KEY_PATTERN},
)
RESUME: Final = Parameter(
    LAST_EVENT_ID,
    "header",
    "Go on after the event with this id; up to 10,000 attempts back.",
    {"type": "string", "pattern": LAST_EVENT_ID_PATTERN},
)
STATS: Final = (
    _query("webhook", "Of this webhook alone.", type="string", pattern=WEBHOOK_ID_PATTERN),
)
