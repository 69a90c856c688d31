"""What answers carry; encoding them and describing them in the OpenAPI document is one."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from prynt_relay.api.schema_types import (
    DeliveryId,
    DeliveryStateLabel,
    DisabledReasonLabel,
    Duration,
    EventId,
    EventType,
    FormatLabel,
    Moment,
    OutcomeLabel,
    SignatureLabel,
    TriggerLabel,
    WebhookId,
)
from prynt_relay.model.states import Outcome


class Output(msgspec.Struct, rename="camel"):
    """What all answers share: camelCase."""

    def __repr__(self) -> str:
        """Name the type alone: some answers hold a secret, many a URL."""
        return f"{type(self).__name__}(***)"


ENCODER: Final = msgspec.json.Encoder()

NextCursor = Annotated[
    str | None,
    Meta(
        description=(
            "What to pass as `cursor` for the next page; null at the end. A page can be short, "
            "even empty, and still have one: then the search goes on there."
        )
    ),
]
Masked = Annotated[dict[str, str], Meta(description="By name; every value masked.")]
Count = Annotated[int, Meta(ge=0)]


class BasicAuthView(Output):
    """HTTP basic authentication, without its password."""

    type: Annotated[str, Meta(extra_json_schema={"const": "basic"})]
    username: str


class FilterFailures(Output):
    """Events that a filter failed on, since the daemon started or the filter was set."""

    count: Annotated[int, Meta(ge=1)]
    last_at: Moment
    last_error: Annotated[str, Meta(description="Tells nothing that the event holds.")]


class WebhookView(Output):
    """A subscription: where events go, and how."""

    id: WebhookId
    url: Annotated[str, Meta(description="Where deliveries go.")]
    events: Annotated[list[str], Meta(description='Event types, or ["*"].')]
    description: str
    enabled: bool
    disabled_reason: Annotated[
        DisabledReasonLabel | None, Meta(description='"failing": all attempts failed for too long.')
    ]
    disabled_at: Moment | None
    failing_since: Annotated[
        Moment | None, Meta(description="The first failure since the last success.")
    ]
    created_at: Moment
    updated_at: Moment
    auth: BasicAuthView | None
    headers: Masked
    format: FormatLabel
    signatures: list[SignatureLabel]
    timeout: Annotated[Duration | None, Meta(description="null: the configuration's.")]
    retry_schedule: Annotated[list[Duration] | None, Meta(description="null: the configuration's.")]
    filter: str | None
    filter_failures: Annotated[
        FilterFailures | None,
        Meta(description="null: it hasn't failed; an event that it fails on is not delivered."),
    ]
    secret_rotates_at: Annotated[
        Moment | None, Meta(description="When a pending signing secret takes over.")
    ]


class CreatedWebhook(WebhookView):
    """A new webhook with its signing secret, which is shown this once."""

    signing_secret: Annotated[str, Meta(extra_json_schema={"pattern": "^whsec_[A-Za-z0-9+/]{32}$"})]


class RotatedSecret(Output):
    """A new signing secret, which is shown this once."""

    signing_secret: Annotated[str, Meta(extra_json_schema={"pattern": "^whsec_[A-Za-z0-9+/]{32}$"})]
    active_from: Annotated[Moment, Meta(description="When it takes over.")]


class WebhookList(Output):
    """Webhooks, newest first."""

    data: list[WebhookView]
    next_cursor: NextCursor


class Delivery(Output):
    """One event on its way to one webhook."""

    id: DeliveryId
    webhook_id: WebhookId
    event_id: EventId
    event_type: EventType
    state: DeliveryStateLabel
    created_at: Annotated[Moment, Meta(description="When the relay received the event.")]
    next_attempt_at: Annotated[
        Moment | None, Meta(description="Set exactly while the state is scheduled.")
    ]
    attempt_count: Count
    last_outcome: OutcomeLabel | None
    last_status: Annotated[int | None, Meta(description="The last attempt's HTTP status.")]


class DeliveryList(Output):
    """Deliveries, newest first."""

    data: list[Delivery]
    next_cursor: NextCursor


class AttemptRequest(Output):
    """What was sent; `Authorization` and custom headers' values are masked."""

    url: str
    headers: dict[str, str]
    body: str


class AttemptResponse(Output):
    """What came back; a body that isn't UTF-8 is shown with replacement characters."""

    status: int
    headers: Annotated[dict[str, str], Meta(description="A repeated one's values are joined.")]
    body: str
    truncated: Annotated[bool, Meta(description="Only the body's beginning was kept.")]


class CarryingMessage(Output):
    """One request that stood for several deliveries: a burst in the format "slack"."""

    delivery_id: Annotated[
        DeliveryId, Meta(description="The first that it carried; the headers name its event.")
    ]
    count: Annotated[int, Meta(ge=2, description="How many deliveries it carried.")]


class Attempt(Output):
    """One try to deliver."""

    number: Annotated[int, Meta(ge=1)]
    trigger: TriggerLabel
    started_at: Moment
    duration_ms: Annotated[Count, Meta(description="Until the response's headers, or the failure.")]
    outcome: OutcomeLabel
    error: Annotated[str | None, Meta(description="What went wrong, for people.")]
    request: AttemptRequest
    response: Annotated[AttemptResponse | None, Meta(description="null: none came.")]
    message: Annotated[
        CarryingMessage | None,
        Meta(description="What carried it together with others; null: it went alone."),
    ]


class DeliveryDetail(Delivery):
    """A delivery with its attempts, oldest first; of very many the newest are shown."""

    attempts: list[Attempt]


class TestedAttempt(Attempt):
    """The attempt that a test made, and where it is in the log."""

    webhook_id: WebhookId
    delivery_id: DeliveryId
    event_id: EventId
    event_type: EventType


class RetriedWindow(Output):
    """How many deliveries were scheduled again."""

    scheduled: Count


class Event(Output):
    """An event as it came in."""

    event_id: EventId
    event_type: EventType
    created_at: Annotated[Moment, Meta(description="What the publisher said, or when it came.")]
    received_at: Annotated[Moment, Meta(description="When the relay received it.")]
    idempotency_key: str


class EventList(Output):
    """Events, newest first."""

    data: list[Event]
    next_cursor: NextCursor


class EventDetail(Event):
    """An event with its data, as the publisher wrote it, and its deliveries."""

    data: Annotated[
        msgspec.Raw,
        Meta(description="Byte for byte.", extra_json_schema={"type": "object"}),
    ]
    deliveries: Annotated[
        list[Delivery],
        Meta(description="Newest first, up to 1,000; `GET /v1/deliveries?eventId=` lists all."),
    ]
    delivery_count: Count


class JudgedEvent(Event):
    """An event, and whether a webhook with that filter would get it."""

    matches: bool
    reason: Annotated[str | None, Meta(description="Why not.")]


class JudgedEventList(Output):
    """The newest events that were asked about, newest first."""

    data: list[JudgedEvent]


class AcceptedEvent(Output):
    """The promise that an event and its deliveries are on disk."""

    ok: Annotated[bool, Meta(extra_json_schema={"const": True})]
    event_id: EventId
    duplicate: Annotated[
        bool, Meta(description="It was there already; `eventId` is the first one's.")
    ]


class Durations(Output):
    """Milliseconds from an attempt's start to the response's headers or the failure."""

    p50: float
    p99: float


class Interval(Output):
    """A minute or an hour."""

    start: Moment
    events: Annotated[
        Count, Meta(description="Received; of one webhook: that it got a delivery of.")
    ]
    attempts: Annotated[
        dict[str, Count],
        Meta(
            description="How many came to which outcome.",
            extra_json_schema={"propertyNames": {"enum": [each.label for each in Outcome]}},
        ),
    ]
    duration_ms: Annotated[Durations | None, Meta(description="null without attempts.")]


class BacklogView(Output):
    """What waits now."""

    scheduled: Annotated[Count, Meta(description="Deliveries to be made, those in flight too.")]
    held: Annotated[Count, Meta(description="Deliveries that wait for a disabled webhook.")]
    oldest_due_seconds: Annotated[
        float, Meta(ge=0, description="How long the oldest delivery that is due has waited.")
    ]


class Stats(Output):
    """Figures of the last hour and day; the present minute and hour come last."""

    webhook_id: Annotated[WebhookId | None, Meta(description="null: all webhooks.")]
    minutes: Annotated[list[Interval], Meta(description="The last 60, oldest first.")]
    hours: Annotated[list[Interval], Meta(description="The last 24, oldest first.")]
    backlog: BacklogView


class EventTypeView(Output):
    """What events of a type are about."""

    event_type: EventType
    category: str
    description: str
    sample: Annotated[dict[str, Any], Meta(description="A made-up `data` of such an event.")]


class EventTypeList(Output):
    """All event types that the relay takes."""

    data: list[EventTypeView]


class StreamedAttempt(Output):
    """The data of an `attempt` event of a stream; its id is what `Last-Event-ID` resumes after."""

    webhook_id: WebhookId
    delivery_id: DeliveryId
    event_id: EventId
    event_type: EventType
    number: Annotated[int, Meta(ge=1)]
    trigger: TriggerLabel
    started_at: Moment
    duration_ms: Count
    outcome: OutcomeLabel
    status: int | None
    error: str | None
    state: Annotated[DeliveryStateLabel, Meta(description="The delivery's, by now.")]
    next_attempt_at: Moment | None


class StreamGap(Output):
    """The data of a `gap` event: attempts that this reader was too slow, or came too late, for."""

    missed: Annotated[int | None, Meta(description="How many; null where that wasn't counted.")]


class IpRanges(Output):
    """Where deliveries come from."""

    data: Annotated[list[str], Meta(description="Networks in CIDR form, or addresses.")]


class Health(Output):
    """That the process answers."""

    status: Annotated[str, Meta(extra_json_schema={"const": "ok"})]


class FieldError(Output):
    """What is wrong with one field."""

    field: str
    message: str


class RefusedEvent(Output):
    """Section 3's refusal, so that what reads the socket's answers can read this one."""

    code: str
    message: str


class ProblemDocument(Output, kw_only=True):
    """An error (RFC 9457). `code` is for programs, `detail` for people."""

    type: Annotated[str, Meta(extra_json_schema={"const": "about:blank"})] = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    request_id: Annotated[str, Meta(description="Finds the request in the daemon's log.")]
    errors: (
        Annotated[list[FieldError], Meta(description="The fields that are wrong.")] | UnsetType
    ) = UNSET
    index: (
        Annotated[int, Meta(ge=0, description="Which event of an array was refused.")] | UnsetType
    ) = UNSET
    ok: Annotated[bool, Meta(description="Of a refused event: false.")] | UnsetType = UNSET
    error: RefusedEvent | UnsetType = UNSET
    reasons: Annotated[list[str], Meta(description="Why the daemon isn't ready.")] | UnsetType = (
        UNSET
    )
