"""What types can't say in the OpenAPI document: this installation's names and rules, examples."""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

from prynt_relay.api.inputs import HEADER_VALUE
from prynt_relay.api.operations import Schema
from prynt_relay.api.parameters import MOMENT_SCHEMA
from prynt_relay.api.problems import title_of
from prynt_relay.api.schema_types import EVENT_ID_PATTERN

_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = rf"(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?"
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PORT: Final = (
    "(?::(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?"
)
_REST: Final = r"(?:[/?][^\x00-\x20\x7f\\<>\"^`{|}#]*)?"

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
            "format": "date-time",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|\+00:00)$",
            "description": "In UTC.",
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
    url_pattern = _url_pattern(allow_http=allow_http, allow_addresses=allow_addresses)
    for name in ("CreateWebhook", "ChangeWebhook"):
        fields = schemas[name]["properties"]
        fields["url"]["pattern"] = url_pattern
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


def _url_pattern(*, allow_http: bool, allow_addresses: Sequence[str]) -> str:
    hosts = [_DOMAIN, *(_literal(ipaddress.ip_network(text)) for text in allow_addresses)]
    scheme = "https?" if allow_http else "https"
    return f"^{scheme}://(?:{'|'.join(hosts)}){_PORT}{_REST}$"


def _literal(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Return a pattern of the addresses in a network, exact to whole bytes of IPv4.

    Of IPv6 exact for one address; else anything that looks like one: each has many spellings.
    """
    if isinstance(network, ipaddress.IPv6Network):
        if network.num_addresses == 1:
            return rf"\[{network.network_address}\]"
        return r"\[[0-9A-Fa-f:.]{2,45}\]"
    fixed = network.network_address.packed[: network.prefixlen // 8]
    return r"\.".join([*map(str, fixed), *[_BYTE] * (4 - len(fixed))])


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
