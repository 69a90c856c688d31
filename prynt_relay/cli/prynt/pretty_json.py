"""JSON laid out for reading, with every number and key as it was sent."""

import json
from collections.abc import Iterator
from typing import Any

_INDENT = "  "


class _Number(str):
    """A number's own digits: 1.0, 1e2 and 12345678901234567890 stay what they are."""

    __slots__ = ()


class _Pairs(list[tuple[str, Any]]):
    """An object with its keys in order, doubles too."""

    __slots__ = ()


def parse_verbatim(text: str) -> Any:
    """Return JSON with numbers as their own digits and objects as lists of pairs.

    Raises ValueError where it isn't JSON, or nests too deep.
    """
    try:
        return json.loads(
            text,
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=_Number,
            object_pairs_hook=_Pairs,
        )
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def pretty_json(text: str) -> str | None:
    """Return a JSON object or array over several lines, or None where `text` is neither."""
    try:
        value = parse_verbatim(text)
        return lay_out(value) if isinstance(value, list) else None
    except (ValueError, RecursionError):
        return None


def lay_out(value: Any) -> str:
    """Return what `parse_verbatim` gave as text over several lines."""
    return "".join(_lay_out(value, "\n"))


def _lay_out(value: Any, newline: str) -> Iterator[str]:
    if isinstance(value, _Number):
        yield value
    elif not isinstance(value, list):
        yield json.dumps(value, ensure_ascii=False)
    elif not value:
        yield "{}" if isinstance(value, _Pairs) else "[]"
    else:
        opening, closing = "{}" if isinstance(value, _Pairs) else "[]"
        inner = newline + _INDENT
        yield opening
        for i, item in enumerate(value):
            yield ("," if i else "") + inner
            if isinstance(value, _Pairs):
                yield json.dumps(item[0], ensure_ascii=False) + ": "
                item = item[1]  # noqa: PLW2901 - the value that goes with the key
            yield from _lay_out(item, inner)
        yield newline + closing
