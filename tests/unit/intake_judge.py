"""What a line must come to, by another reading of RFC 8259 than the relay's."""

import json
from typing import Any

from prynt_relay.errors import RefusedEventError
from prynt_relay.model.event import NewEvent

CODES = {"invalid_json", "invalid_event", "unknown_event_type", "payload_too_large"}


def outcome(parse: Any, line: bytes) -> NewEvent | str:
    try:
        event: NewEvent = parse(line)
    except RefusedEventError as error:
        refused = error
    else:
        return event
    assert refused.code in CODES
    assert str(refused).isprintable()
    return refused.code


def is_json(text: bytes) -> bool:
    """Whether RFC 8259 calls it JSON, by another implementation."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text.decode(), parse_constant=refuse, parse_int=str, parse_float=str)
    except ValueError:
        return False
    return True
