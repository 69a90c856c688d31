"""What comes from outside, made fit for a terminal; times and JSON as people read them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.cli.prynt.moments import (
    ago,
    exact,
    milliseconds,
    parse_moment,
    rough,
    until,
)
from prynt_relay.cli.prynt.pretty_json import pretty_json
from prynt_relay.escape import safe_block, safe_json, safe_line

NOW = "2026-02-14T12:00:00.000Z"
NOW_S = parse_moment(NOW)

HOSTILE = [
    "\x1b[2J\x1b[31m",  # CSI: clear the screen, colour
    "\x1b]0;title\x07",  # OSC: the window's title
    "\x9b31m",  # CSI as one C1 character
    "\x9d0;title\x9c",  # OSC in C1
    "\x90q\x9c",  # DCS
    "a\rb",  # overwrite the line
    "a\x08b",  # rub out
    "\x0e\x0f",  # other character sets
    "\x7f",
    "\u202egnp.exe",  # right to left override
    "\u2066x\u2069",
    "a\u200bb",
    "\u2028",
    "\ufeff",
    "\ud800",
]


def is_harmless(text: str, allowed: str = "") -> bool:
    return all(
        (char.isprintable() or char in allowed) and not 0x200B <= ord(char) <= 0x200F
        for char in text
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_spelled_out(text: str) -> None:
    """Nothing of a hostile text reaches a terminal as anything but visible characters."""
    assert is_harmless(safe_line(text))
    assert is_harmless(safe_block(text), "\n\t")
    assert "\\" in safe_line(text)


def test_ordinary_text_stays_as_it_is() -> None:
    """Umlauts, other scripts, emoji and backslashes are nobody's harm."""
    text = r"Zürich 日本語 🛑 C:\x1b [red]not markup[/red] :boom:"
    assert safe_line(text) == safe_block(text) == text


def test_a_line_stays_one_line_and_a_block_keeps_its_lines() -> None:
    """Newlines and tabs are spelled out in a line, kept in a block; CRLF ends a line."""
    assert safe_line("a\r\n\tb") == "a\\x0d\\n\\tb"
    assert safe_block("a\r\n\tb") == "a\n\tb"


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
).map(lambda value: (value, json.dumps(value, ensure_ascii=False)))


@given(json_texts)
def test_json_for_a_terminal_means_the_same(pair: tuple[object, str]) -> None:
    """Escaping leaves the value as it was, and no character that drives a terminal."""
    value, text = pair
    assert json.loads(safe_json(text)) == value
    assert not set(safe_json(text)) & {chr(code) for code in (*range(0x7F, 0xA0), 0x202E)}


@given(json_texts)
def test_pretty_json_means_the_same(pair: tuple[object, str]) -> None:
    """Laid-out JSON reads back as the same value; a bare value isn't laid out."""
    value, text = pair
    pretty = pretty_json(text)
    if isinstance(value, dict | list):
        assert pretty is not None
        assert json.loads(pretty) == value
    else:
        assert pretty is None


def test_pretty_json_keeps_digits_and_double_keys() -> None:
    """Numbers are shown as they were sent, and a key that stands twice stands twice."""
    text = '{"a":1.0,"b":1e400,"c":12345678901234567890123,"a":[],"d":{},"e":"é\\u001b"}'
    assert pretty_json(text) == (
        "{\n"
        '  "a": 1.0,\n'
        '  "b": 1e400,\n'
        '  "c": 12345678901234567890123,\n'
        '  "a": [],\n'
        '  "d": {},\n'
        '  "e": "é\\u001b"\n'
        "}"
    )


@pytest.mark.parametrize("text", ["", "hello", "{", "[" * 100_000, '"text"', "12", "<html>"])
def test_what_is_no_json_document_is_not_laid_out(text: str) -> None:
    """Other text, and nesting beyond any stack, comes back as None for the caller to show raw."""
    assert pretty_json(text) is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0s"),
        (59, "59s"),
        (89, "89s"),
        (90, "2m"),
        (300, "5m"),
        (5399, "90m"),
        (5400, "2h"),
        (86_400, "24h"),
        (172_799, "48h"),
        (172_800, "2d"),
        (30 * 86_400, "30d"),
    ],
)
def test_durations_are_told_by_their_largest_unit(seconds: float, told: str) -> None:
    """One unit, coarse enough to be read at a glance."""
    assert rough(seconds) == told


def test_moments_are_told_from_now() -> None:
    """The past, the future and the present each in their words, with the exact time at hand."""
    assert ago("2026-02-14T11:48:00Z", NOW_S) == "12m ago"
    assert ago("2026-02-14T11:48:00Z", NOW_S, suffix="") == "12m"
    assert ago("2026-02-14T12:00:09Z", NOW_S) == "now"
    assert until("2026-02-14T12:04:30Z", NOW_S) == "in 5m"
    assert until("2026-02-14T12:00:01Z", NOW_S) == "in 1s"
    assert until("2026-02-14T12:00:00.100Z", NOW_S) == "in 1s"
    assert until("2026-02-14T12:00:00Z", NOW_S) == "now"
    assert until("2026-02-14T11:59:00Z", NOW_S) == "now"
    assert exact("2026-02-14T14:00:00Z", NOW_S) == "2026-02-14T14:00:00Z (in 2h)"
    assert exact("2026-02-12T12:00:00Z", NOW_S) == "2026-02-12T12:00:00Z (2d ago)"
    assert (milliseconds(12), milliseconds(10_003)) == ("12 ms", "10.0 s")
