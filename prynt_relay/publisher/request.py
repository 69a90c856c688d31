"""An event as a line of the intake protocol."""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Data = Mapping[str, Any] | bytes | str
"""An event's payload: a dictionary, or the JSON text of an object, which is sent as it is."""


def new_key() -> str:
    """A fresh idempotency key.

    It begins with the time: the relay's index of keys stays fast when new ones are neighbours. It
    isn't an `idk_` key: those are the relay's own, computed from its rows.
    """
    return f"pub_{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def request_line(
    event_type: str,
    data: Data,
    *,
    event_id: str | None,
    idempotency_key: str,
    created_at: datetime | str | None,
) -> bytes:
    """Encode a request, with its newline.

    Raises ValueError or TypeError for what can't be JSON. Everything else is the relay's to judge.
    """
    request: dict[str, Any] = {"eventType": event_type, "idempotencyKey": idempotency_key}
    if event_id is not None:
        request["eventId"] = event_id
    if created_at is not None:
        request["createdAt"] = _timestamp(created_at)
    # data comes last, so that its text can be put in as it is.
    return _dumps(request)[:-1] + b',"data":' + _payload(data) + b"}\n"


def _payload(data: Data) -> bytes:
    if isinstance(data, Mapping):
        return _dumps(dict(data))
    text = data.decode() if isinstance(data, bytes) else data
    # Text that isn't exactly one object could smuggle other keys into the request.
    parsed = json.loads(text, parse_int=str, parse_float=str)
    if not isinstance(parsed, dict):
        raise TypeError(f"data is a JSON {type(parsed).__name__}, not an object; put it into one")
    # A line ends at its newline. Outside of strings, where JSON allows no newline, it is white
    # space like any other.
    return text.strip().encode().replace(b"\n", b" ")


def _dumps(value: dict[str, Any]) -> bytes:
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can only tell as an escape
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _timestamp(moment: datetime | str) -> str:
    if isinstance(moment, str):
        return moment
    if moment.tzinfo is None:
        raise ValueError("created_at has no time zone; use datetime.now(UTC) or one with tzinfo")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
