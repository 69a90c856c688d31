"""Reading JSON from outside: the API's answers, streams, and what people hand over."""

import json
from typing import Any, Final


def _integer(digits: str) -> int | float:
    # Python refuses to read integers of more than 4,300 digits; JSON and the relay don't.
    return int(digits) if len(digits) < 4_000 else float(digits)


_DECODER: Final = json.JSONDecoder(parse_int=_integer)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text; an integer of thousands of digits becomes infinite.

    So print the text, not the value, where its digits matter. Raises ValueError where it isn't
    JSON, or nests too deep.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def value_end(text: str, start: int) -> int:
    """Return where the JSON value that begins at `start` ends; raises ValueError without one."""
    try:
        return _DECODER.raw_decode(text, start)[1]
    except RecursionError as error:
        raise ValueError("nested too deep") from error
