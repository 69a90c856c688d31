import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prynt_relay.errors import RefusedEventError
from prynt_relay.intake import grammar
from prynt_relay.intake.protocol import EventParser
from prynt_relay.model.event import EVENT_TYPES, NewEvent
from tests.unit.intake_judge import is_json, outcome
from tests.unit.intake_lines import BAD_LINES, GOOD_DATA, request_line

PARSER = EventParser(event_types=EVENT_TYPES, api_version="2026-01-15", max_payload=2000)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
bits = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"\t", b"\r", b"1", b"-", b"."),
        *(b"e9", b"null", b"true", b"NaN", b"\xff", b"\xc3\xa9", b"\\ud800", b'"eventType"'),
        *(b'"data"', b'"eventId"', b'"idempotencyKey"', b'"createdAt"', b'"visitor.new"'),
        *(b"{}", b'"evt_9fJ3kL7mNpR2x"', b'"2026-02-14T11:45:22Z"', b'{"a":1}', b'"\\u0022"'),
    ]
)
soup = st.lists(bits | st.binary(max_size=3), max_size=30).map(b"".join)
known_lines = st.sampled_from(
    # Those that are refused for their depth have a test of their own.
    [line for line, _ in BAD_LINES if len(line) < 300 and line.count(b"[") < 100]
    + [request_line(data) for data in GOOD_DATA if len(data) < 300]
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A known line with a few bytes cut out, doubled or put in."""
    line = draw(known_lines)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        until = draw(st.integers(at, min(len(line), at + 8)))
        line = line[:at] + draw(bits | st.just(line[at:until] * 2) | st.just(b"")) + line[until:]
    return line.replace(b"\n", b" ")


@given(line=soup | spoilt() | st.binary(max_size=200))
@example(line=b'{"eventType":"visitor.new","data":{},"data":{}}')
@example(line=b'{"eventType":"visitor.new","idempotencyKey":"\\"","data":{}}')
@settings(max_examples=800, deadline=None)
def test_every_line_is_an_event_or_refused_with_its_code(line: bytes) -> None:
    """No bytes make the parser fail; invalid_json means exactly that RFC 8259 says no."""
    found = outcome(PARSER.parse, line)
    assert (found == "invalid_json") == (not is_json(line))
    if isinstance(found, NewEvent):
        members = json.loads(line)
        assert found.event_type == members["eventType"]
        assert json.loads(found.data) == members["data"]
        assert found.data in line


@given(line=soup | spoilt())
@settings(max_examples=600, deadline=None)
def test_both_readings_agree(line: bytes) -> None:
    """The second, exact reading of a line never disagrees with the fast one."""
    assert outcome(PARSER.parse, line) == outcome(PARSER._parse_refused, line)


@given(data=st.dictionaries(st.text(), json_values), space=st.booleans(), ascii_only=st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_data_passes_verbatim(data: dict[str, Any], space: bool, ascii_only: bool) -> None:
    """Every object that a JSON encoder writes comes through byte for byte."""
    separators = (" , ", " : ") if space else (",", ":")
    text = json.dumps(data, ensure_ascii=ascii_only, separators=separators)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which only its escape can tell in UTF-8
        encoded = json.dumps(data, separators=separators).encode()
    parser = EventParser(event_types=EVENT_TYPES, api_version="1", max_payload=1_000_000)
    assert parser.parse(request_line(encoded)).data == encoded


def nesting(value: Any) -> int:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(nesting, inner), default=0)
    return 0


tricky_text = st.text(st.sampled_from('{}[]"\\a')) | st.text()
deep_values = st.recursive(
    st.none() | tricky_text,
    lambda inner: st.lists(inner) | st.dictionaries(tricky_text, inner),
    max_leaves=30,
)


@given(value=deep_values, levels=st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_depth_is_what_a_reader_of_the_values_finds(value: Any, levels: int) -> None:
    """Brackets in strings, escapes and width don't mislead the measuring of depth."""
    text = json.dumps(value).encode()
    assert grammar.depth(text) == nesting(value)
    assert grammar.nests_deeper_than(levels, text) == (nesting(value) > levels)


@given(lines=st.lists(spoilt() | st.just(request_line(b"{}")), max_size=5))
@settings(max_examples=100, deadline=None)
def test_an_array_gives_what_its_elements_give(lines: list[bytes]) -> None:
    """An array is taken exactly when each of its elements would be, and gives the same events."""
    body = b"[" + b",".join(lines) + b"]"
    singly = [outcome(PARSER.parse, line) for line in lines]
    if not is_json(body):
        with pytest.raises(RefusedEventError) as refused:
            PARSER.parse_many(body)
        assert refused.value.code == "invalid_json"
    elif all(isinstance(event, NewEvent) for event in singly):
        assert PARSER.parse_many(body) == singly
