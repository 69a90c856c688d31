"""What requests may carry; the same types validate it and describe it in the OpenAPI document."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from prynt_relay.api import patterns
from prynt_relay.api.queries import DEFAULT_LIMIT, MAX_LIMIT
from prynt_relay.api.schema_types import (
    MASK,
    Duration,
    EventType,
    FormatName,
    RetryStateName,
    SignatureName,
)
from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.durations import UNIT_MS, parse_duration
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import BasicAuth
from prynt_relay.model.webhook_input import WebhookInput


class Input(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What all bodies share: camelCase, and no field that we don't know."""

    def __repr__(self) -> str:
        """Name the type alone: URLs, passwords and header values can be secrets."""
        return f"{type(self).__name__}(***)"


class BasicAuthInput(Input):
    """HTTP basic authentication towards the receiver."""

    type: Literal["basic"]
    username: Annotated[
        str,
        Meta(
            description="Without a colon.",
            extra_json_schema={
                "minLength": 1,
                "maxLength": 255,
                "pattern": r"^[^:\x00-\x1f\x7f]+$",
            },
        ),
    ]
    password: Annotated[
        str,
        Meta(
            description="Never shown again.",
            extra_json_schema={"maxLength": 1024, "pattern": r"^[^\x00-\x1f\x7f]*$"},
        ),
    ]


Url = Annotated[
    str,
    Meta(
        description=(
            "Where deliveries go: https on a domain name with a dot, without user info or "
            "fragment. The name has at most 253 characters, 63 between dots; one beyond ASCII is "
            "one that IDNA can encode. The configuration can allow http and further addresses."
        ),
        extra_json_schema={"maxLength": 2048, "examples": ["https://yourapp.com/webhooks/prynt"]},
    ),
]
Subscriptions = Annotated[
    list[EventType],
    Meta(description='Event types, or ["*"] for all.', extra_json_schema={"minItems": 1}),
]
Description = Annotated[str, Meta(description="For people.", extra_json_schema={"maxLength": 1000})]
_ENDS: Final = r"[!-~\x80-\x84\x86-\x9f\xa1-\xff]"
HEADER_VALUE: Final = {
    "type": "string",
    "maxLength": 4096,
    "pattern": rf"^({_ENDS}([\t -~\x80-\xff]*{_ENDS})?)?$",
    "not": {"const": MASK},
}
"""What a custom header's value may be; `openapi` puts it where msgspec can't."""

Headers = Annotated[
    dict[str, str],
    Meta(
        description=(
            "Custom headers of every delivery, by name; the whole set. Values are never shown "
            "again. Names that HTTP or the relay sets are refused."
        ),
        extra_json_schema={
            "maxProperties": 32,
            "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"},
        },
    ),
]
Timeout = Annotated[
    str,
    Meta(
        description="How long an attempt may take until the response's headers: 1s to 30s.",
        extra_json_schema={"pattern": patterns.duration(1_000, 30_000), "examples": ["10s"]},
    ),
]
RetrySchedule = Annotated[
    list[
        Annotated[
            str,
            Meta(
                description="A number and a unit (ms, s, m, h or d): from 0s to 30d.",
                extra_json_schema={
                    "pattern": patterns.duration(0, 30 * UNIT_MS["d"]),
                    "examples": ["5m"],
                },
            ),
        ]
    ],
    Meta(
        description="The pauses before the second, third … attempt; [] means no retry.",
        extra_json_schema={"maxItems": 20},
    ),
]
Filter = Annotated[
    str,
    Meta(
        description="A JMESPath expression over the envelope; what makes it true is delivered.",
        extra_json_schema={"format": "jmespath", "examples": ["data.scores.suspect > `50`"]},
    ),
]


class WebhookFields(Input, kw_only=True):
    """What a creation and a change have in common."""

    description: Description | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    auth: BasicAuthInput | UnsetType | None = UNSET
    headers: Headers | UnsetType = UNSET
    format: FormatName | UnsetType = UNSET
    signatures: (
        Annotated[list[SignatureName], Meta(extra_json_schema={"minItems": 1})] | UnsetType
    ) = UNSET
    timeout: Timeout | UnsetType | None = UNSET
    retry_schedule: RetrySchedule | UnsetType | None = UNSET
    filter: Filter | UnsetType | None = UNSET


class CreateWebhook(WebhookFields, kw_only=True):
    """A webhook to create; `events` is required unless `profile` gives them."""

    url: Url
    events: Subscriptions | UnsetType = UNSET
    profile: Literal["fingerprint"] | UnsetType = UNSET

    def wanted(self) -> WebhookInput:
        """Return it as the webhooks room takes it; raises InvalidFieldError."""
        shared: Any = _shared(self)
        return WebhookInput(
            url=self.url, events=_tuple(self.events), profile=self.profile, **shared
        )


class ChangeWebhook(WebhookFields, kw_only=True):
    """What to change; a field that isn't there stays, null takes it back to its default."""

    url: Url | UnsetType = UNSET
    events: Subscriptions | UnsetType = UNSET

    def wanted(self) -> WebhookInput:
        """Return it as the webhooks room takes it; raises InvalidFieldError."""
        shared: Any = _shared(self)
        return WebhookInput(url=self.url, events=_tuple(self.events), **shared)


class RotateSecret(Input):
    """When the new secret takes over; the old one signs until then."""

    activate_in: Annotated[
        Duration,
        Meta(
            description='Up to "30d"; "0s" means at once.',
            extra_json_schema={"pattern": patterns.duration(0, 30 * UNIT_MS["d"])},
        ),
    ] = "24h"


class TestWebhook(Input):
    """Which sample to send; by default one of a type that the webhook is subscribed to."""

    __test__ = False  # no test case, whatever pytest makes of the name

    event_type: EventType | UnsetType = UNSET


class EventsToMatch(Input, kw_only=True):
    """Which of the newest events to try a filter on."""

    event_type: EventType | UnsetType = UNSET
    since: (
        Annotated[str, Meta(description="A duration back from now, or ISO 8601.")] | UnsetType
    ) = UNSET
    until: Annotated[str, Meta(description="The end of the window; default: now.")] | UnsetType = (
        UNSET
    )
    # JSON has one kind of number: 20.0 is an integer.
    limit: Annotated[
        int | float,
        Meta(
            description="How many of the newest.",
            extra_json_schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        ),
    ] = DEFAULT_LIMIT


class MatchWebhook(EventsToMatch, kw_only=True):
    """Which events to ask about; `filter` instead of the webhook's, null: without any."""

    filter: Filter | UnsetType | None = UNSET


class MatchEvents(EventsToMatch, kw_only=True):
    """Which events to ask about, and with which filter."""

    filter: Filter


class RetryWindow(Input):
    """What to send again: what the relay received in a window, by the deliveries' states."""

    since: Annotated[str, Meta(description="A duration back from now, or ISO 8601.")]
    until: Annotated[str, Meta(description="The end of the window; default: now.")] | UnsetType = (
        UNSET
    )
    states: Annotated[
        list[RetryStateName],
        Meta(
            description=(
                'Of "scheduled" only those that have failed at least once. '
                'Default: ["failed", "held", "scheduled"].'
            ),
            extra_json_schema={"minItems": 1},
        ),
    ] = msgspec.field(default_factory=lambda: ["failed", "held", "scheduled"])


class NoBody(Input):
    """Nothing to say."""


def duration_s(field: str, text: str, *, most_s: float | None = None) -> float:
    """Return a duration's seconds; raises InvalidFieldError naming `field`."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise InvalidFieldError(field, str(error)) from None
    if most_s is not None and seconds > most_s:
        raise InvalidFieldError(field, f"must be at most {most_s / 86_400:g}d, not {text!r}")
    return seconds


def _tuple(values: list[str] | UnsetType) -> tuple[str, ...] | UnsetType:
    return UNSET if isinstance(values, UnsetType) else tuple(values)


def _shared(given: WebhookFields) -> dict[str, object]:
    """Return the common fields that were given, as the model has them."""
    found: dict[str, object] = {}
    for name in ("description", "enabled", "filter"):
        found[name] = getattr(given, name)
    if not isinstance(given.auth, UnsetType):
        auth = given.auth
        found["auth"] = None if auth is None else BasicAuth(auth.username, auth.password)
    if not isinstance(given.headers, UnsetType):
        found["headers"] = tuple(given.headers.items())
        for name, value in given.headers.items():
            if value == MASK:
                why = "is what the API shows in a value's place; give the value itself"
                raise InvalidFieldError(f"headers.{name[:128]}", why)
    if not isinstance(given.format, UnsetType):
        found["format"] = Format[given.format.upper()]
    if not isinstance(given.signatures, UnsetType):
        found["signatures"] = tuple(SignatureScheme[name.upper()] for name in given.signatures)
    if not isinstance(given.timeout, UnsetType):
        text = given.timeout
        found["timeout_s"] = None if text is None else duration_s("timeout", text)
    if not isinstance(given.retry_schedule, UnsetType):
        found["retry_schedule_s"] = _schedule_s(given.retry_schedule)
    return found


def _schedule_s(texts: list[str] | None) -> tuple[float, ...] | None:
    if texts is None:
        return None
    return tuple(duration_s(f"retrySchedule[{index}]", text) for index, text in enumerate(texts))
