"""What may stand in a field of Fingerprint's document, and how a found value is made to fit it."""

import enum
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from prynt_relay.model.timestamps import is_rfc3339, iso_ms


class Kind(enum.Enum):
    """The type of a field; the value is its name in the docs."""

    TEXT = "text"
    SCALAR = "text, number or boolean"
    BOOLEAN = "boolean"
    NUMBER = "number"
    MILLISECONDS = "integer"
    TIME = "RFC 3339 text"
    JSON = "any JSON"


EMPTY: Final[dict[Kind, Any]] = {Kind.TEXT: "", Kind.BOOLEAN: False}
"""What stands for the unknown where the specification doesn't allow null."""


def _is_number(value: Any) -> bool:
    # bool is Python's int; JSON has no NaN and no infinity.
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no double holds is as unknown as 1e999 is
        return False


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if _is_number(value) else None


def _time(value: Any) -> str | None:
    """Texts as they stand; numbers are milliseconds since 1970."""
    if isinstance(value, str):
        return value if is_rfc3339(value) else None
    if not _is_number(value):
        return None
    try:
        return iso_ms(int(value))
    except (OverflowError, OSError, ValueError):
        return None


def unix_ms(text: str) -> int | None:
    """Milliseconds since 1970 of an RFC 3339 text, or None if it isn't one."""
    if not is_rfc3339(text):
        return None
    since_1970 = datetime.fromisoformat(text.upper()) - datetime.fromtimestamp(0, UTC)
    return since_1970 // timedelta(milliseconds=1)


def _cut(text: str | None, max_length: int | None) -> str | None:
    return text if text is None else text[:max_length]


def _json(value: Any, max_length: int | None) -> Any:
    """Any value as it stands; one that is too long is cut if it is a text, else unknown.

    Half of an object would say something that its author didn't.
    """
    if isinstance(value, str):
        return _cut(value, max_length)
    if max_length is not None and len(msgspec.json.encode(value).decode()) > max_length:
        return None
    return value


def _scalar(value: Any, max_length: int | None) -> Any:
    if isinstance(value, str):
        return _cut(value, max_length)
    return value if isinstance(value, bool) or _is_number(value) else None


_FIT: Final[dict[Kind, Callable[[Any, int | None], Any]]] = {
    Kind.TEXT: lambda value, max_length: _cut(_text(value), max_length),
    Kind.SCALAR: _scalar,
    Kind.BOOLEAN: lambda value, _: value if isinstance(value, bool) else None,
    Kind.NUMBER: lambda value, _: value if _is_number(value) else None,
    # A moment within the years 1 to 9999, so that it can be told as text too.
    Kind.MILLISECONDS: lambda value, _: (
        int(value) if _is_number(value) and _time(value) is not None else None
    ),
    Kind.TIME: lambda value, _: _time(value),
    Kind.JSON: _json,
}


def fit(value: Any, kind: Kind, max_length: int | None) -> Any:
    """`value` as a field of this kind holds it, or None where it can't be one.

    `max_length` is in characters.
    """
    return _FIT[kind](value, max_length)
