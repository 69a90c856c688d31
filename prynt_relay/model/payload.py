"""An event's `data` as Python objects, for what has to look inside.

Intake lets in every JSON object (RFC 8259), and some of those can't be told in Python objects or
in UTF-8: numbers beyond a double, integers of thousands of digits, lone surrogates. What only
looks inside must not fail on them: such numbers become infinite, such characters U+FFFD.
"""

import json
from typing import Any

import msgspec


def _integer(digits: str) -> int | float:
    # Python refuses to read integers of more than 4,300 digits; as doubles they are infinite.
    return int(digits) if len(digits) < 400 else float(digits)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {_clean(key): _clean(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_clean(member) for member in value]
    return value


def parse(data: bytes | msgspec.Raw, *, encodable: bool = True) -> Any:
    """The value of a JSON text that intake let in.

    With `encodable` every text in it can be written as UTF-8 again; seeing to that can take ten
    times as long where a lone surrogate stands anywhere.
    """
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        value = json.loads(bytes(data), parse_int=_integer)
        return _clean(value) if encodable else value


def members(data: bytes) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, each as its own JSON text, byte for byte."""
    try:
        return msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in parse(data).items()}
