"""The words that requests and answers are made of, with what the OpenAPI document says of them.

What is in `extra_json_schema` describes and isn't enforced by decoding: those rules belong to the
webhooks room, which words its refusals better than a pattern could.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from prynt_relay.model.durations import DURATION_PATTERN
from prynt_relay.model.states import (
    DeliveryState,
    DisabledReason,
    Format,
    Outcome,
    SignatureScheme,
    Trigger,
)


def _described(description: str, **schema: Any) -> Meta:
    return Meta(description=description, extra_json_schema=schema)


_ID: Final = "[0-9A-Za-z]{13}$"
WEBHOOK_ID_PATTERN: Final = f"^wh_{_ID}"
DELIVERY_ID_PATTERN: Final = f"^del_{_ID}"
EVENT_ID_PATTERN: Final = f"^evt_{_ID}"

WebhookId = Annotated[
    str, _described("The webhook's id.", pattern=WEBHOOK_ID_PATTERN, examples=["wh_3kR8mNqT7xP2v"])
]
DeliveryId = Annotated[
    str,
    _described("The delivery's id.", pattern=DELIVERY_ID_PATTERN, examples=["del_x9K2mNpR7jT3q"]),
]
EventId = Annotated[
    str, _described("The event's id.", pattern=EVENT_ID_PATTERN, examples=["evt_9fJ3kL7mNpR2x"])
]
EventType = Annotated[
    str,
    _described("The event's type.", examples=["verdict.block"]),
]
Moment = Annotated[
    str,
    _described(
        "A moment in UTC, with milliseconds.",
        format="date-time",
        examples=["2026-02-14T11:45:22.341Z"],
    ),
]
Duration = Annotated[
    str,
    _described(
        "A number and a unit: ms, s, m, h or d.", pattern=DURATION_PATTERN, examples=["24h"]
    ),
]

# What requests may say is checked by decoding, hence Literal.
RetryStateName = Literal["failed", "held", "scheduled", "delivered"]
FormatName = Literal["prynt", "fingerprint", "cloudevents", "slack"]
SignatureName = Literal["prynt", "standard", "fingerprint"]


def _labels(kind: type[DeliveryState | Outcome | Trigger | Format | SignatureScheme]) -> Meta:
    return Meta(extra_json_schema={"enum": [each.label for each in kind]})


DeliveryStateLabel = Annotated[str, _labels(DeliveryState)]
OutcomeLabel = Annotated[str, _labels(Outcome)]
TriggerLabel = Annotated[str, _labels(Trigger)]
FormatLabel = Annotated[str, _labels(Format)]
SignatureLabel = Annotated[str, _labels(SignatureScheme)]
DisabledReasonLabel = Annotated[
    str, Meta(extra_json_schema={"enum": [each.value for each in DisabledReason]})
]

MASK: Final = "***"
