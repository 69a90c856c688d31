"""What counts as JSON at intake, where msgspec alone isn't the judge. Pure.

msgspec's decoder is strict and fast, but for what it skips unread (`msgspec.Raw`) it doesn't look
at UTF-8, and it refuses what RFC 8259 section 7 allows: escapes of lone surrogates, which
JavaScript's `JSON.stringify` writes. It also stops at the first field that it doesn't like, before
it knows whether the rest is JSON at all. So whatever it refuses is read a second time here, by the
standard library's decoder with its leniences taken away.
"""

import itertools
import json
import json.decoder
import re
from array import array
from typing import Any, Final, NamedTuple, NoReturn

from prynt_relay.errors import RefusedEventError

MAX_DATA_DEPTH: Final = 128
"""Levels of arrays and objects inside `data`; the object that is `data` itself isn't one."""

MAX_DEPTH: Final = MAX_DATA_DEPTH + 3
"""The same for a whole request: an array of requests, the request's object, `data`."""

_SHORT: Final = 4096
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(rb'"[^"]*"')
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'{[}]"'))
_STEP: Final = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")


class Value(NamedTuple):
    """One value of a JSON text: what it is, and the characters that it was read from."""

    value: Any
    source: str


def invalid_json(why: str) -> RefusedEventError:
    """The refusal of what isn't JSON."""
    return RefusedEventError("invalid_json", f"not valid JSON: {why}")


def depth(text: bytes) -> int:
    """How deep arrays and objects nest in a JSON text.

    A quarter of a megabyte of nothing but brackets takes some milliseconds.
    """
    return _deepest(_brackets(text))


def nests_deeper_than(levels: int, text: bytes) -> bool:
    """Whether `depth(text) > levels`, for ordinary texts in a nanosecond per byte."""
    # Brackets in strings count too, so this is a bound; for most texts it is all that is needed.
    if len(text) <= _SHORT:
        # A third of what `count` takes: it jumps from one to the next.
        opened = len(text) - len(text.replace(b"{", b"").replace(b"[", b""))
    else:
        opened = _at_most(levels, text, b"{") + _at_most(levels, text, b"[")
    if opened <= levels:
        return False
    brackets = inner = _brackets(text)
    removed = 0
    # Empty pairs go, up to two levels of them at a time, until what is left can't be too deep. In
    # a wide text they go fast; in a deep one they don't, and there counting is quicker.
    while removed < levels:
        if len(inner) // 2 + removed <= levels:
            return False
        smaller = inner.replace(b"[]", b"").replace(b"{}", b"")
        if 2 * len(smaller) > len(inner):
            break
        inner = smaller
        removed += 2
    return _deepest(brackets) > levels


def _at_most(enough: int, text: bytes, char: bytes) -> int:
    """How often `char` is in `text`; where that is more than `enough`, some number above it."""
    number = 0
    at = text.find(char)
    while at >= 0 and number <= enough:
        number += 1
        at = text.find(char, at + 1)
    return number


def _brackets(text: bytes) -> bytes:
    """The brackets of a JSON text that aren't in its strings."""
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    # Adjacent quotes that go leave every bracket with an odd or even number of them before it.
    structure = text.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    return _STRING.sub(b"", structure) if b'"' in structure else structure


def _deepest(brackets: bytes) -> int:
    steps = array("b", brackets.translate(_STEP))
    return max(itertools.accumulate(steps), default=0)


def decode_utf8(text: bytes) -> str:
    """The characters of `text`; raises RefusedEventError (`invalid_json`) where it isn't UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise invalid_json(f"not UTF-8 (byte {error.start}); encode the text as UTF-8") from None


def read_members(text: bytes) -> dict[str, Value]:
    """Read a JSON object's members with their source.

    Raises RefusedEventError: `invalid_json` unless all of `text` is one JSON value, nested no
    deeper than a request may be; `invalid_event` where it isn't an object or has a key twice.
    """
    source = _checked_text(text)
    start = _skip_space(source, 0)
    if not source.startswith("{", start):
        _read_last_value(source, start)
        raise RefusedEventError(
            "invalid_event", "not an object; send one JSON object with eventType and data"
        )
    members: dict[str, Value] = {}
    twice: str | None = None
    at = _skip_space(source, start + 1)
    if source.startswith("}", at):
        _expect_end(source, at + 1)
        return members
    while True:
        name, at = _read_name(source, at)
        value, end = _read_value(source, at)
        if name in members:
            twice = name
        members[name] = Value(value, source[at:end])
        at = _skip_space(source, end)
        if source.startswith("}", at):
            break
        at = _skip_space(source, _expect(source, at, ",", "',' or '}'"))
    _expect_end(source, at + 1)
    if twice is not None:
        raise RefusedEventError("invalid_event", f"{twice[:64]!a}: key given twice; give it once")
    return members


def read_elements(text: bytes, most: int) -> list[bytes]:
    """Cut a JSON array into its elements' source.

    Raises RefusedEventError: `invalid_json` unless all of `text` is one JSON array,
    `invalid_event` as soon as it turns out to have more than `most` elements.
    """
    source = _checked_text(text)
    at = _skip_space(source, _expect(source, _skip_space(source, 0), "[", "'['"))
    elements: list[bytes] = []
    if source.startswith("]", at):
        _expect_end(source, at + 1)
        return elements
    while True:
        _, end = _read_value(source, at)
        if len(elements) == most:  # no reason to cut up megabytes of `[1,1,1,…`
            raise RefusedEventError(
                "invalid_event", f"more than {most} events in one array; send them in several"
            )
        elements.append(source[at:end].encode())
        at = _skip_space(source, end)
        if source.startswith("]", at):
            break
        at = _skip_space(source, _expect(source, at, ",", "',' or ']'"))
    _expect_end(source, at + 1)
    return elements


def _checked_text(text: bytes) -> str:
    source = decode_utf8(text)
    if source.startswith("\ufeff"):
        raise invalid_json("begins with a byte order mark; leave it out")
    if nests_deeper_than(MAX_DEPTH, text):
        raise invalid_json(f"nested too deep; data may nest {MAX_DATA_DEPTH} levels")
    return source


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _number(_: str) -> float:
    """Stand in for a number: its value is never used, and a long one would cost time."""
    return 0.0


_DECODER: Final = json.JSONDecoder(
    parse_int=_number, parse_float=_number, parse_constant=_refuse_constant
)


def _read_value(source: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(source, at)
    except json.JSONDecodeError as error:
        raise invalid_json(f"{error.msg} (character {error.pos})") from None
    except RecursionError:  # malformed text can hide its depth from the count of brackets
        raise invalid_json("nested too deep") from None
    except ValueError as error:
        raise invalid_json(str(error)) from None


def _read_last_value(source: str, at: int) -> None:
    _, end = _read_value(source, at)
    _expect_end(source, end)


def _read_name(source: str, at: int) -> tuple[str, int]:
    """A member's name, and where its value begins."""
    if not source.startswith('"', at):
        raise invalid_json(f"a key in double quotes was expected (character {at})")
    name, end = _read_value(source, at)
    return name, _skip_space(source, _expect(source, _skip_space(source, end), ":", "':'"))


def _skip_space(source: str, at: int) -> int:
    match = _SPACE.match(source, at)
    return at if match is None else match.end()


def _expect(source: str, at: int, char: str, what: str) -> int:
    if not source.startswith(char, at):
        raise invalid_json(f"{what} was expected (character {at})")
    return at + 1


def _expect_end(source: str, at: int) -> None:
    end = _skip_space(source, at)
    if end != len(source):
        raise invalid_json(f"more text after the value (character {end})")
