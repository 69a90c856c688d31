"""Reading the envelope (specification, section 4)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from prynt_relay.receiver.errors import MalformedEventError

_NAMES: Final = {
    "webhookId": "webhook_id",
    "eventId": "event_id",
    "eventType": "event_type",
    "apiVersion": "api_version",
    "idempotencyKey": "idempotency_key",
}


@dataclass(frozen=True, slots=True)
class Event:
    """An event as the relay delivers it.

    Handle the types that you know and accept the others: new ones may come (specification,
    section 7). `created_at` is None where it isn't a time. `extra` holds what this version knows
    no name for.
    """

    webhook_id: str
    event_id: str
    event_type: str
    api_version: str
    created_at: datetime | None
    idempotency_key: str
    data: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)


def parse(body: bytes | str) -> Event:
    """Read an event from a body that `verify` has let through.

    Tolerates unknown types, unknown fields and missing ones that nobody can miss. Raises
    `MalformedEventError` where there is no id, type, idempotency key or data.
    """
    envelope = _decode(body)
    if not isinstance(envelope, dict):
        raise MalformedEventError("the body isn't a JSON object")
    texts = {name: envelope.pop(name, "") for name in _NAMES}
    for name in ("eventId", "eventType", "idempotencyKey"):
        if not isinstance(texts[name], str) or not texts[name]:
            raise MalformedEventError(f"{name} is missing or no text")
    data = envelope.pop("data", None)
    if not isinstance(data, dict):
        raise MalformedEventError("data is missing or no object")
    created_at = _moment(envelope.pop("createdAt", None))
    known = {_NAMES[name]: str(value) for name, value in texts.items()}
    return Event(**known, created_at=created_at, data=data, extra=envelope)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 4_000 else float(digits)


def _decode(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        pass
    except RecursionError:
        raise MalformedEventError("the body nests too deep") from None
    try:
        # Python refuses to read integers of thousands of digits; JSON and the relay don't.
        return json.loads(body, parse_int=_integer)
    except ValueError as error:
        raise MalformedEventError(f"the body isn't JSON: {type(error).__name__}") from None


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
