import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from prynt_relay.errors import RefusedEventError
from prynt_relay.intake import grammar
from prynt_relay.intake.protocol import (
    LINE_SLACK,
    EventParser,
    acceptance,
    is_array,
    refusal,
    render_acceptance,
    render_refusal,
)
from prynt_relay.model.event import EVENT_TYPES, Appended, NewEvent, StoredEvent
from prynt_relay.model.states import Format
from prynt_relay.transport import formats
from tests.unit.intake_lines import BAD_LINES, GOOD_DATA, MAX_PAYLOAD, request_line

API_VERSION = "2026-01-15"
EVENT_ID = "evt_9fJ3kL7mNpR2x"


@pytest.fixture
def parser() -> EventParser:
    return EventParser(
        event_types=(*EVENT_TYPES, "extra.ünusual"),
        api_version=API_VERSION,
        max_payload=MAX_PAYLOAD,
    )


def body_of(event: NewEvent, api_version: str = API_VERSION) -> bytes:
    """The delivered body as the transport builds it, independently of intake's arithmetic."""
    stored = StoredEvent(
        row=1,
        event_id=event.event_id or EVENT_ID,
        event_type=event.event_type,
        api_version=api_version,
        event_source="urn:prynt-relay",
        created_at_ms=event.created_at_ms or 1_790_000_000_000,
        received_at_ms=1_790_000_000_000,
        idempotency_key=event.idempotency_key or "idk_a7f2c9e1b3d4",
        data=event.data,
    )
    return formats.render(Format.PRYNT, stored, "wh_3kR8mNqT7xP2v")


def test_an_event_with_everything_given(parser: EventParser) -> None:
    """Every key of the contract reaches the event, createdAt as milliseconds."""
    event = parser.parse(
        b'{"eventType":"verdict.block","data":{"a":1},"eventId":"evt_9fJ3kL7mNpR2x",'
        b'"idempotencyKey":"idk_a7f2c9e1b3d4","createdAt":"2026-02-14T11:45:22.341Z"}'
    )
    assert event == NewEvent(
        "verdict.block",
        b'{"a":1}',
        EVENT_ID,
        "idk_a7f2c9e1b3d4",
        int(datetime(2026, 2, 14, 11, 45, 22, tzinfo=UTC).timestamp()) * 1000 + 341,
    )


def test_an_event_with_the_least(parser: EventParser) -> None:
    """What is optional and missing is None: the store makes it."""
    assert parser.parse(b'{"data":{},"eventType":"visitor.new"}') == NewEvent("visitor.new", b"{}")


@pytest.mark.parametrize("data", GOOD_DATA, ids=lambda data: repr(data[:40]))
def test_data_is_kept_byte_for_byte(parser: EventParser, data: bytes) -> None:
    """Whatever RFC 8259 calls an object passes unchanged, however unusual."""
    assert parser.parse(request_line(data)).data == data
    assert parser.parse(request_line(b" \t" + data + b" \r") + b"\r").data == data


@pytest.mark.parametrize(("line", "code"), BAD_LINES, ids=lambda value: repr(value[:50]))
def test_a_bad_line_gets_its_code(parser: EventParser, line: bytes, code: str) -> None:
    """Each kind of bad line is refused with its code, and a message for people."""
    with pytest.raises(RefusedEventError) as refused:
        parser.parse(line)
    assert refused.value.code == code
    message = str(refused.value)
    assert message.isprintable()
    assert 10 < len(message) < 1000
    answer = json.loads(render_refusal(refused.value))
    assert answer == {"ok": False, "error": {"code": code, "message": message}}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b'{"eventType":"a","data":{},"eventID":"x"}', ["'eventID'", "idempotencyKey"]),
        (b'{"eventType":"verdict.blok","data":{}}', ["verdict.blok", "verdict.block"]),
        (b'{"data":{}}', ["eventType"]),
        (b'{"eventType":"visitor.new"}', ["data"]),
        (b'{"eventType":"visitor.new","data":[]}', ["data", "object"]),
        (b'{"eventType":"visitor.new","data":{},"eventId":"evt_x"}', ["eventId", "evt_x"]),
        (b'{"eventType":"visitor.new","data":{},"idempotencyKey":"a\\tb"}', ["U+0009"]),
        (b'{"eventType":"visitor.new","data":{},"createdAt":"now"}', ["createdAt", "now"]),
        (
            b'{"eventType":"visitor.new","data":{},"createdAt":"20260214T114522Z"}',
            ["createdAt", "20260214T114522Z", "write it in UTC like 2026-02-14T11:45:22.341Z"],
        ),
        (b'{"eventType":"visitor.new","data":{},"createdAt":5}', ["createdAt", "number"]),
    ],
)
def test_a_message_names_the_key_and_the_value(
    parser: EventParser, line: bytes, names: list[str]
) -> None:
    """The person who reads a refusal learns what to change."""
    with pytest.raises(RefusedEventError) as refused:
        parser.parse(line)
    assert [name for name in names if name not in str(refused.value)] == []


def test_no_message_shows_data(parser: EventParser) -> None:
    """Payloads never get into messages, whatever is wrong with them."""
    for data in (b'{"secret":hush}', b'["hush"]', b'"hush"', b'{"hush"}', b'{"a":"hush\x01"}'):
        with pytest.raises(RefusedEventError) as refused:
            parser.parse(request_line(data))
        assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-02-14T11:45:22Z", 0),
        ("2026-02-14T11:45:22+00:00", 0),
        ("2026-02-14T11:45:22.3Z", 300),
        ("2026-02-14T11:45:22.34+00:00", 340),
        ("2026-02-14T11:45:22.341Z", 341),
        ("2026-02-14T11:45:22.3419Z", 341),
        ("2026-02-14T11:45:22.341999999Z", 341),
        ("2026-02-14T11:45:22.000000001Z", 0),
        ("2026-02-14T11:45:22,3419Z", 341),
        ("2026-02-14T11:45Z", -22_000),
        ("2026-02-14T11:45+00:00", -22_000),
    ],
)
def test_created_at_is_utc_with_any_fraction(parser: EventParser, text: str, ms: int) -> None:
    """Seconds may be left out, the decimal sign is either; digits beyond milliseconds are cut."""
    event = parser.parse(b'{"eventType":"visitor.new","data":{},"createdAt":"%b"}' % text.encode())
    assert event.created_at_ms == 1_771_069_522_000 + ms


@pytest.mark.parametrize("year", [1, 1969, 1970, 9999])
def test_created_at_in_any_year(parser: EventParser, year: int) -> None:
    """Years from 1 to 9999 come out as they went in."""
    text = f"{year:04d}-12-31T23:59:59.999Z"
    event = parser.parse(b'{"eventType":"visitor.new","data":{},"createdAt":"%b"}' % text.encode())
    assert event.created_at_ms is not None
    assert text.encode() in body_of(event)


@pytest.mark.parametrize("key", ["a", "x" * 255, "with space", "ключ", "🔑" * 255, '"', "\\"])
def test_printable_keys_are_taken(parser: EventParser, key: str) -> None:
    """An idempotency key is 1 to 255 printable characters, of whatever script."""
    for quoted in (json.dumps(key), json.dumps(key, ensure_ascii=False)):
        line = b'{"eventType":"visitor.new","data":{},"idempotencyKey":%b}' % quoted.encode()
        assert parser.parse(line).idempotency_key == key


@pytest.mark.parametrize("key", [None, "k", "🔑" * 255, '"quoted"' * 10])
@pytest.mark.parametrize("event_type", ["visitor.new", "identification.complete", "extra.ünusual"])
@pytest.mark.parametrize("api_version", [API_VERSION, 'v"1'])
def test_the_body_may_have_max_payload_bytes_and_not_one_more(
    key: str | None, event_type: str, api_version: str
) -> None:
    """max_payload bounds the delivered body exactly, whatever the other values take of it."""
    parser = EventParser(event_types=[event_type], api_version=api_version, max_payload=MAX_PAYLOAD)

    def line(size: int) -> bytes:
        members: dict[str, object] = {
            "eventType": event_type,
            "data": msgspec.Raw(b'{"x":"%b"}' % (b"x" * (size - 8))),
        }
        if key is not None:
            members["idempotencyKey"] = key
        return msgspec.json.encode(members)

    small = parser.parse(line(8))
    room = MAX_PAYLOAD - len(body_of(small, api_version)) + 8
    assert len(body_of(parser.parse(line(room)), api_version)) == MAX_PAYLOAD
    with pytest.raises(RefusedEventError, match=f"{MAX_PAYLOAD + 1} bytes") as refused:
        parser.parse(line(room + 1))
    assert refused.value.code == "payload_too_large"


def test_a_line_may_be_longer_than_the_body(parser: EventParser) -> None:
    """White space around data counts for the line's own bound only."""
    padding = parser.max_line - len(request_line(b"{}"))
    assert parser.max_line == MAX_PAYLOAD + LINE_SLACK
    assert parser.parse(request_line(b" " * padding + b"{}")).data == b"{}"
    with pytest.raises(RefusedEventError) as refused:
        parser.parse(request_line(b" " * (padding + 1) + b"{}"))
    assert refused.value.code == "payload_too_large"


@pytest.mark.parametrize("wide", [b"", b'"x":[' + b"[]," * 500 + b"[]],"])
@pytest.mark.parametrize("tricky", [b"", b'"y":"{[\\"{[",'])
@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_data_may_nest_128_levels(
    parser: EventParser, wide: bytes, tricky: bytes, opening: bytes, closing: bytes
) -> None:
    """128 levels inside data pass, one more is refused as invalid_json; strings don't count."""

    def data(levels: int) -> bytes:
        return b'{%b%b"a":%b1%b}' % (wide, tricky, opening * levels, closing * levels)

    assert parser.parse(request_line(data(128))).data == data(128)
    for levels in (129, 130, 500, 5000):
        with pytest.raises(RefusedEventError) as refused:
            parser.parse(request_line(data(levels)))
        assert refused.value.code == "invalid_json"


def test_depth_of_a_hostile_text_is_found_in_milliseconds() -> None:
    """A quarter of a megabyte of brackets is measured right, shallow or deep."""
    shallow = b"[" + b"[]," * 87_000 + b"[]]"
    assert grammar.depth(shallow) == 2
    assert grammar.depth(b"[" * 131_000 + b"]" * 131_000) == 131_000
    assert not grammar.nests_deeper_than(128, shallow)
    assert grammar.nests_deeper_than(128, b"[" * 131_000 + b"]" * 131_000)
    comb = (b"[" * 100 + b"]" * 100) * 1300
    assert not grammar.nests_deeper_than(100, comb)
    assert grammar.nests_deeper_than(99, comb)


def test_known_types_are_those_given() -> None:
    """A type beyond the specification's is known once it is configured, else refused."""
    line = b'{"eventType":"shop.order","data":{}}'
    plain = EventParser(event_types=EVENT_TYPES, api_version=API_VERSION, max_payload=MAX_PAYLOAD)
    with pytest.raises(RefusedEventError) as refused:
        plain.parse(line)
    assert refused.value.code == "unknown_event_type"
    extended = EventParser(
        event_types=(*EVENT_TYPES, "shop.order"), api_version=API_VERSION, max_payload=MAX_PAYLOAD
    )
    assert extended.parse(line).event_type == "shop.order"


def test_an_array_is_taken_whole(parser: EventParser) -> None:
    """A body may hold one request or an array of them; data is verbatim in both."""
    one = request_line(b'{"a" : 1.0}')
    assert not is_array(one)
    assert [event.data for event in parser.parse_many(one)] == [b'{"a" : 1.0}']
    many = b" [%b,\n%b ] " % (one, request_line(b'{"b":"\\ud800"}'))
    assert is_array(many)
    assert [event.data for event in parser.parse_many(many)] == [b'{"a" : 1.0}', b'{"b":"\\ud800"}']
    assert parser.parse_many(b"[]") == []


def test_an_array_with_one_bad_event_is_refused_whole(parser: EventParser) -> None:
    """The message names the index of the first that is refused."""
    good = request_line(b"{}")
    with pytest.raises(RefusedEventError, match=r"^\[2\]: eventType") as refused:
        parser.parse_many(b"[%b,%b,%b,5]" % (good, good, good.replace(b"visitor.new", b"x")))
    assert refused.value.code == "unknown_event_type"


@pytest.mark.parametrize(
    "body",
    [b"[", b"[,]", b"[{}", b"[{}]]", b"[1,]", b"[1 2]", b"[\xff]", b"[" * 100_000, b"[NaN]"],
    ids=lambda body: repr(body[:20]),
)
def test_an_array_that_is_not_json(parser: EventParser, body: bytes) -> None:
    """What isn't JSON is refused as such, whatever its elements are."""
    with pytest.raises(RefusedEventError) as refused:
        parser.parse_many(body)
    assert refused.value.code == "invalid_json"


def test_an_array_has_at_most_a_thousand_events(parser: EventParser) -> None:
    """A thousand pass; more are refused without cutting up all of them."""
    line = request_line(b"{}")
    assert len(parser.parse_many(b"[" + b",".join([line] * 1000) + b"]")) == 1000
    with pytest.raises(RefusedEventError, match="1000") as refused:
        parser.parse_many(b"[" + b",".join([line] * 1001) + b"]")
    assert refused.value.code == "invalid_event"


def test_answers_are_the_contracts() -> None:
    """The bytes on the socket and the objects of the API say the same."""
    assert (
        render_acceptance(Appended(EVENT_ID))
        == b'{"ok":true,"eventId":"evt_9fJ3kL7mNpR2x","duplicate":false}\n'
    )
    for appended in (Appended(EVENT_ID), Appended(EVENT_ID, duplicate=True)):
        assert json.loads(render_acceptance(appended)) == acceptance(appended)
    error = RefusedEventError("invalid_json", 'a "quoted" why')
    assert json.loads(render_refusal(error)) == refusal(error)


def test_the_protocol_is_pure() -> None:
    """Neither module of the line protocol does I/O or asks for the time."""
    for module in ("protocol", "grammar"):
        source = Path(grammar.__file__).with_name(f"{module}.py").read_text()
        for name in ("asyncio", "socket", "os", "time", "structlog"):
            assert f"import {name}\n" not in source
