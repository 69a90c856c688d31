"""What types can't say in the OpenAPI document: this installation's names and rules, examples."""

from collections.abc import Sequence
from typing import Any, Final

from prynt_relay.api import patterns
from prynt_relay.api.inputs import HEADER_VALUE
from prynt_relay.api.operations import Schema
from prynt_relay.api.parameters import MOMENT_SCHEMA
from prynt_relay.api.problems import title_of
from prynt_relay.api.schema_types import EVENT_ID_PATTERN

_EVENT_INPUT: Final[Schema] = {
    "title": "EventInput",
    "description": "An event as a publisher hands it in; what is missing the relay makes.",
    "type": "object",
    "properties": {
        "data": {
            "type": "object",
            "description": "Passed on byte for byte; may nest 128 levels deep.",
        },
        "eventId": {"type": "string", "pattern": EVENT_ID_PATTERN},
        "idempotencyKey": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "format": "printable",
            "description": "The same again within the dedup window stores nothing new.",
        },
        "createdAt": {
            "type": "string",
            # Not date-time: RFC 3339 has neither a comma nor a time without seconds.
            "pattern": patterns.CREATED_AT,
            "description": (
                "ISO 8601 in its extended format, in UTC (`Z` or `+00:00`); seconds may be left "
                "out. Digits beyond the milliseconds are cut."
            ),
            "examples": ["2026-02-14T11:45:22.341Z"],
        },
    },
    "required": ["eventType", "data"],
    "additionalProperties": False,
}
_EXAMPLES: Final[dict[str, Schema]] = {
    "CreateWebhook": {
        "url": "https://yourapp.com/webhooks/prynt",
        "events": ["verdict.block", "alert.triggered"],
        "description": "Production fraud alerts",
    },
    "ChangeWebhook": {"enabled": False, "description": "Paused for the migration"},
    "RotateSecret": {"activateIn": "24h"},
    "TestWebhook": {"eventType": "identification.complete"},
    "RetryWindow": {"since": "24h", "states": ["failed"]},
    "MatchEvents": {"filter": "data.scores.suspect > `50`", "since": "24h"},
    "EventInput": {
        "eventType": "verdict.block",
        "data": {"visitorId": "pv_8kX2mNqR3jT7p", "verdict": "block"},
        "idempotencyKey": "order 4711",
    },
    "AcceptedEvent": {"ok": True, "eventId": "evt_9fJ3kL7mNpR2x", "duplicate": False},
    "Delivery": {
        "id": "del_9K2mNpR7jT3qA",
        "webhookId": "wh_3kR8mNqT7xP2v",
        "eventId": "evt_9fJ3kL7mNpR2x",
        "eventType": "verdict.block",
        "state": "scheduled",
        "createdAt": "2026-02-14T11:45:22.341Z",
        "nextAttemptAt": "2026-02-14T11:50:23.102Z",
        "attemptCount": 1,
        "lastOutcome": "http_error",
        "lastStatus": 503,
    },
    "Event": {
        "eventId": "evt_9fJ3kL7mNpR2x",
        "eventType": "verdict.block",
        "createdAt": "2026-02-14T11:45:22.341Z",
        "receivedAt": "2026-02-14T11:45:22.343Z",
        "idempotencyKey": "idk_a7f2c9e1b3d4",
    },
    "StreamedAttempt": {
        "webhookId": "wh_3kR8mNqT7xP2v",
        "deliveryId": "del_9K2mNpR7jT3qA",
        "eventId": "evt_9fJ3kL7mNpR2x",
        "eventType": "verdict.block",
        "number": 1,
        "trigger": "schedule",
        "startedAt": "2026-02-14T11:45:22.345Z",
        "durationMs": 41,
        "outcome": "success",
        "status": 200,
        "error": None,
        "state": "delivered",
        "nextAttemptAt": None,
    },
}
_CODES: Final = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    408: "request_timeout",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "idempotency_key_reused",
    500: "internal_error",
    503: "storage_unavailable",
}


def refine(
    schemas: dict[str, Any],
    event_types: Sequence[str],
    *,
    allow_http: bool,
    allow_addresses: Sequence[str],
) -> None:
    """Complete the components that msgspec made of the types."""
    url = patterns.url(allow_http=allow_http, allow_addresses=allow_addresses)
    for name in ("CreateWebhook", "ChangeWebhook"):
        fields = schemas[name]["properties"]
        fields["url"] |= url
        fields["events"]["items"] = {"type": "string", "enum": ["*", *event_types]}
        # msgspec's own description of a mapping's values takes the place of ours.
        fields["headers"]["additionalProperties"] = dict(HEADER_VALUE)
    _relate_fields(schemas["CreateWebhook"], schemas["ChangeWebhook"])
    schemas["TestWebhook"]["properties"]["eventType"]["enum"] = list(event_types)
    for name in ("MatchWebhook", "MatchEvents"):
        schemas[name]["properties"]["eventType"]["enum"] = list(event_types)
    for name in ("RetryWindow", "MatchWebhook", "MatchEvents"):
        for field in ("since", "until"):
            schemas[name]["properties"][field] |= MOMENT_SCHEMA
    kind = {"eventType": {"type": "string", "enum": list(event_types)}}
    schemas["EventInput"] = {**_EVENT_INPUT, "properties": kind | _EVENT_INPUT["properties"]}
    for name, example in _EXAMPLES.items():
        schemas[name]["examples"] = [example]


def _relate_fields(create: Schema, change: Schema) -> None:
    """Say which fields depend on each other (contract, section 9).

    With if and then alone: client generators leave those aside, where anyOf would lead them to
    make a union of what is one type.
    """
    only = {
        "properties": {"events": {"type": "array", "items": {"const": "identification.complete"}}}
    }
    # True of no format at all, too: then the profile sets it.
    not_another = {"properties": {"format": {"const": "fingerprint"}}}
    in_format = {**not_another, "required": ["format"]}
    create["if"] = {"required": ["profile"]}
    create["then"] = {"if": not_another, "then": only}
    create["else"] = {"required": ["events"], "if": in_format, "then": only}
    change["if"] = in_format
    change["then"] = only


def problem_example(status: int, description: str) -> Schema:
    """Return an example of an error."""
    code = _CODES[status]
    example: Schema = {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "code": code,
        "detail": description,
        "requestId": "req_5f0c9d2e7a1b4c38",
    }
    if code == "invalid_request":
        example["detail"] = "limit: must be from 1 to 250, not '0'"
        example["errors"] = [{"field": "limit", "message": "must be from 1 to 250, not '0'"}]
    return example
