"""What the OpenAPI document says of texts, held against what the API makes of them."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prynt_relay.api.openapi import build
from prynt_relay.api.webhook_handlers import MAX_ROTATION_S
from prynt_relay.errors import InvalidFieldError, RefusedEventError
from prynt_relay.intake.protocol import EventParser
from prynt_relay.model.catalogue import catalogue
from prynt_relay.model.durations import UNIT_MS, parse_duration
from prynt_relay.webhooks import fields
from prynt_relay.webhooks.endpoint import EndpointRules
from tests.unit.test_endpoint_rules import REFUSED, TAKEN

Admits = Callable[[str], bool]


def _document(*, allow_http: bool = False, allow_addresses: Sequence[str] = ()) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        build(catalogue(()), allow_http=allow_http, allow_addresses=allow_addresses)
    )
    return document


def _field(schema: str, name: str, **rules: Any) -> dict[str, Any]:
    found: dict[str, Any] = _document(**rules)["components"]["schemas"][schema]["properties"][name]
    return next((each for each in found.get("anyOf", ()) if each["type"] != "null"), found)


def _admits(schema: dict[str, Any]) -> Admits:
    """Whether a schema has a text; of the keywords that our texts have."""
    assert schema["type"] == "string"
    assert "format" not in schema
    wanted = re.compile(schema["pattern"])
    unwanted = re.compile(schema["not"]["pattern"]) if "not" in schema else None
    most = schema.get("maxLength", 10**9)

    def admits(text: str) -> bool:
        if len(text) > most or text.endswith("\n"):  # `$` of ECMA's is before no newline
            return False
        return bool(wanted.search(text)) and not (unwanted and unwanted.search(text))

    return admits


DURATIONS: Final = {
    "timeout": (
        _admits(_field("CreateWebhook", "timeout")),
        (fields.TIMEOUT_MIN_S, fields.TIMEOUT_MAX_S),
    ),
    "retrySchedule": (
        _admits(_field("CreateWebhook", "retrySchedule")["items"]),
        (0.0, fields.RETRY_MAX_S),
    ),
    "activateIn": (_admits(_field("RotateSecret", "activateIn")), (0.0, MAX_ROTATION_S)),
}
NUMBERS: Final = st.one_of(
    st.integers(0, 10**10),
    st.builds(
        lambda bound, more: max(0, bound + more),
        st.sampled_from([1, 7, 30, 168, 720, 1000, 10_080, 30_000, 43_200, 604_800, 604_800_000]),
        st.integers(-2, 2),
    ),
)


@pytest.mark.parametrize("field", DURATIONS)
@given(NUMBERS, st.sampled_from(["", "0", "000", "0" * 8]), st.sampled_from(list(UNIT_MS)))
@example(1500, "", "ms")
@example(168, "", "h")
@example(1, "0", "s")
def test_the_document_has_the_durations_that_are_taken(
    field: str, number: int, zeros: str, unit: str
) -> None:
    """In every unit, with zeros before it or without, and no others."""
    admits, (least_s, most_s) = DURATIONS[field]
    text = f"{zeros}{number}{unit}"
    try:
        taken = least_s <= parse_duration(text) <= most_s
    except ValueError:
        taken = False
    assert admits(text) is taken


@pytest.mark.parametrize("field", DURATIONS)
@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "5M", "1.5h", "1h30m", "5m\n", "5m "])
def test_the_document_has_nothing_that_is_no_duration(field: str, text: str) -> None:
    """What `parse_duration` refuses the document doesn't allow."""
    assert not DURATIONS[field][0](text)


RULES: Final[tuple[dict[str, Any], ...]] = (
    {"allow_http": False, "allow_addresses": ()},
    {"allow_http": True, "allow_addresses": ("127.0.0.0/8", "::1/128")},
)
URLS: Final = [(_admits(_field("CreateWebhook", "url", **rules)), rules) for rules in RULES]
ODD_URLS: Final = (
    "HTTPS://A.Example.com/x",
    "https://a_b.example.com/",
    "https://_a.example.com/",
    "https://a.example.com./",
    "https://a.example.com:/",
    "https://a.example.com:080/",
    "https://a.1x/",
    "https://a.1-x/",
    "https://a.0xg?q",
    "https://bücher。example/",
    "https://" + "a." * 125 + "com/",
    "https://" + "a." * 125 + "com./",
)
PIECES: Final = (
    *("https://", "http://", "HTTPS://", "a", "example", ".", "..", "-", "_", "0", "1", "0x", "f"),
    *("localhost", "127.0.0.1", "10.0.0.1", "127", "[::1]", "[0:0::1]", "[::2]", "[", "]", ":"),
    *("443", "0", "65535", "65536", "/", "?", "#", "@", "%41", " ", "\\", "é"),
    *("a" * 63, "a." * 120),
)


def _is_taken(url: str, rules: dict[str, Any]) -> bool:
    try:
        EndpointRules(**rules).check_url(url)
    except InvalidFieldError:
        return False
    return True


@pytest.mark.parametrize("url", [*TAKEN, *ODD_URLS])
def test_the_document_has_the_urls_that_a_webhook_may_have(url: str) -> None:
    """A client made from the document refuses none, however it is spelt."""
    for admits, rules in URLS:
        assert _is_taken(url, rules)
        assert admits(url)


@pytest.mark.parametrize("url", [url for url in REFUSED if url.isascii()])
def test_the_document_has_no_url_that_is_refused(url: str) -> None:
    """Also of names that are too long, on localhost, or addresses in disguise."""
    assert not URLS[0][0](url)


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "http://[0:0::1]:80/", "http://x.localhost"])
def test_the_document_has_the_addresses_that_are_allowed(url: str) -> None:
    """Of an installation that allows them, IPv6 in any spelling."""
    assert [admits(url) for admits, _ in URLS] == [False, True]
    assert _is_taken(url, RULES[1])


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.booleans())
def test_the_document_has_exactly_the_urls_that_are_taken(text: str, is_whole: bool) -> None:
    """Of ASCII, IPv6 apart, no more and no less; of the rest no less."""
    url = text if is_whole else f"https://a{text}"
    for admits, rules in URLS:
        if _is_taken(url, rules):
            assert admits(url)
        elif url.isascii() and "[" not in url:
            assert not admits(url)


CREATED_AT: Final = _admits(_field("EventInput", "createdAt"))
PARSER: Final = EventParser(event_types=["visitor.new"], api_version="1", max_payload=9999)


def _is_moment(text: str) -> bool:
    line = {"eventType": "visitor.new", "data": {}, "createdAt": text}
    try:
        PARSER.parse(json.dumps(line).encode())
    except RefusedEventError:
        return False
    return True


@given(
    st.sampled_from(["0000", "0001", "1900", "2000", "2023", "2024", "9999"]),
    *(st.integers(0, most) for most in (13, 32, 25, 61, 61)),
    st.sampled_from(["", ".", ".3", ",341", ".123456789", ".0123456789", ":00"]),
    st.sampled_from(["Z", "+00:00", "-00:00", "+01:00", "", "z"]),
)
def test_the_document_has_exactly_the_moments_that_an_event_may_have(
    year: str, month: int, day: int, hour: int, minute: int, second: int, more: str, zone: str
) -> None:
    """Days and times that exist, with seconds or without, in UTC."""
    start = f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}"
    for text in (f"{start}:{second:02}{more}{zone}", f"{start}{zone}", f"{start}{more}{zone}"):
        assert CREATED_AT(text) is _is_moment(text)


def _schemas(value: Any) -> Iterator[dict[str, Any]]:
    """Everything in the document that may be a schema."""
    if isinstance(value, dict):
        yield value
    for member in value.values() if isinstance(value, dict) else value:
        if isinstance(member, dict | list):
            yield from _schemas(member)


def test_patterns_are_of_every_dialect_and_examples_fit_them() -> None:
    """No lookaround (RE2 has none), and no escape that ECMAScript's Unicode mode refuses."""
    patterns = 0
    for schema in _schemas(_document(**RULES[1])):
        if not isinstance(pattern := schema.get("pattern"), str):
            continue
        patterns += 1
        assert "(?=" not in pattern
        assert "(?!" not in pattern
        assert "(?<" not in pattern
        assert set(re.findall(r"\\(.)", pattern)) <= set(r"\.[]+$^?*(){}|/xt")
        for sample in schema.get("examples", ()):
            assert re.search(pattern, sample), (sample, pattern)
    assert patterns > 20


@pytest.mark.parametrize("kind", ["GET", "POST", "PATCH", "DELETE"])
def test_only_reading_takes_a_session(kind: str) -> None:
    """The dashboard's cookie stands beside the key at what reads, and nowhere else."""
    made = build(catalogue(()), allow_http=False, allow_addresses=(), session_cookie="a_cookie")
    document = json.loads(made)
    schemes = document["components"]["securitySchemes"]
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "a_cookie")
    found = [
        methods[kind.lower()].get("security", document["security"])
        for path, methods in document["paths"].items()
        if kind.lower() in methods and path.startswith("/v1/")
    ]
    both: list[dict[str, list[str]]] = [{"apiKey": []}, {"session": []}]
    assert found
    assert all(each == (both if kind == "GET" else both[:1]) for each in found)
    assert "session" not in _document()["components"]["securitySchemes"]
