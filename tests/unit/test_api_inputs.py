"""Bodies, query words and cursors, without a server."""

import errno
from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.api import schema_types
from prynt_relay.api.bodies import decode, in_time
from prynt_relay.api.cursors import decode_cursor, encode_cursor
from prynt_relay.api.inputs import ChangeWebhook, CreateWebhook, RetryWindow, duration_s
from prynt_relay.api.problems import ProblemError
from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.durations import format_duration, parse_duration
from prynt_relay.model.moments import parse_moment
from prynt_relay.model.states import DeliveryState, Format, SignatureScheme

NOW_MS = 1_790_000_000_000


@given(st.integers(0, 10**12))
def test_a_written_duration_reads_back(milliseconds: int) -> None:
    """What the API shows of a duration is what it takes, to the millisecond."""
    text = format_duration(milliseconds / 1000)
    if len(text) <= 10:
        assert round(parse_duration(text) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(300, "5m"), (1800, "30m"), (86_400, "24h"), (172_800, "2d"), (3, "3s"), (0, "0s")],
        *[(90, "90s"), (0.25, "250ms"), (604_800, "7d"), (5400, "90m")],
    ],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    """The largest unit without a rest, and hours up to two days."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "text", ["", "5", "m", "-5m", "5 m", "5M", "1.5h", "1h30m", "5m\n", "\u0665m"]
)
def test_what_is_no_duration_is_refused_with_the_value(text: str) -> None:
    """A refusal names the text and what to write instead."""
    with pytest.raises(ValueError, match="is no duration; write a number and a unit"):
        parse_duration(text)
    with pytest.raises(InvalidFieldError, match=r"^timeout: "):
        duration_s("timeout", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", NOW_MS),
        ("24h", NOW_MS - 86_400_000),
        ("999999999d", 0),
        ("2026-02-14T11:45:22.341Z", 1_771_069_522_341),
        ("2026-02-14T11:45:22Z", 1_771_069_522_000),
        ("2026-02-14t11:45:22z", 1_771_069_522_000),
        ("2026-02-14T13:45:22+02:00", 1_771_069_522_000),
        ("2026-02-14T13:45:22 02:00", 1_771_069_522_000),  # "+" in a query that wasn't escaped
        ("2026-02-14T11:45:22", 1_771_069_522_000),
        ("2026-02-14", 1_771_027_200_000),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
    ],
)
def test_moments_are_durations_back_or_iso_8601(text: str, expected: int) -> None:
    """`since` and `until` take both forms; without an offset a moment is in UTC."""
    assert parse_moment("since", text, NOW_MS) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "24", "2026-13-01", "1e9d", "-5m", "12:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    """The refusal names the field and both forms."""
    with pytest.raises(InvalidFieldError, match=r"^until: .* neither a duration .* nor ISO 8601"):
        parse_moment("until", text, NOW_MS)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 - made aware below
def test_every_moment_in_iso_8601_is_taken_to_the_millisecond(moment: datetime) -> None:
    """Rounding goes down, as in what the API shows."""
    aware = moment.replace(tzinfo=UTC)
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_moment("since", aware.isoformat(), NOW_MS) == expected


def test_a_cursor_keeps_its_list_and_place() -> None:
    """Encoding and decoding agree, filters repeated or left out."""
    text = encode_cursor("events", {"eventType": "verdict.block"}, 5, None, (7, 8))
    cursor = decode_cursor(text, "events", {})
    assert (cursor.position, cursor.since_ms, cursor.until_ms) == ((7, 8), 5, None)
    assert decode_cursor(text, "events", {"eventType": "verdict.block"}) == cursor


def test_a_cursor_of_another_list_is_refused() -> None:
    """Another kind of list, or the same with another filter, can't go on from it."""
    text = encode_cursor("events", {"eventType": "verdict.block"}, None, None, (7, 8))
    for kind, given_filters in (
        ("deliveries", {}),
        ("events", {"eventType": "verdict.allow"}),
        ("events", {"since": "24h"}),
    ):
        with pytest.raises(InvalidFieldError, match=r"^cursor: belongs to "):
            decode_cursor(text, kind, given_filters)


@given(st.data())
def test_a_damaged_cursor_is_refused(data: st.DataObject) -> None:
    """One changed, lost or added character is noticed."""
    text = encode_cursor("deliveries", {"state": "failed"}, 1, 2, (123_456,))
    at = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.sampled_from("Aa0-_z!= é"))
    damaged = data.draw(
        st.sampled_from(
            [text[:at], text[:at] + char + text[at + 1 :], text[:at] + char + text[at:]]
        )
    )
    if damaged.rstrip("=") == text:
        return
    with pytest.raises(InvalidFieldError, match=r"^cursor: "):
        decode_cursor(damaged, "deliveries", {})


@given(st.text(max_size=60))
def test_garbage_is_no_cursor(text: str) -> None:
    """Nothing but a refusal comes of any text."""
    with pytest.raises(InvalidFieldError):
        decode_cursor(text, "deliveries", {})


URL = "https://yourapp.com/webhooks/prynt"
BAD_BODIES = [
    (b'{"events":["*"]}', "url", "is required"),
    (b'{"url":5}', "url", "must be a string, not an integer"),
    (b'{"url":null}', "url", "must be a string, not null"),
    (b'{"url":"x","colour":1}', "colour", "is not a known field; known are "),
    (b'{"url":"x","events":"*"}', "events", "must be an array, not a string"),
    (b'{"url":"x","events":[1]}', "events[0]", "must be a string, not an integer"),
    (b'{"url":"x","enabled":"yes"}', "enabled", "must be true or false, not a string"),
    (b'{"url":"x","auth":{"type":"basic","username":"u"}}', "auth.password", "is required"),
    (b'{"url":"x","auth":{"type":"oauth","username":"u","password":"p"}}', "auth.type", "must be"),
    (b'{"url":"x","auth":{"type":"basic","user":"u"}}', "auth.user", "is not a known field"),
    (b'{"url":"x","headers":["a"]}', "headers", "must be an object, not an array"),
    (b'{"url":"x","headers":{"a":1}}', "headers[...]", "must be a string, not an integer"),
    (b'{"url":"x","format":"xml"}', "format", 'must be one of "cloudevents", "fingerprint"'),
    (b'{"url":"x","signatures":["md5"]}', "signatures[0]", 'must be one of "fingerprint"'),
    (b'{"url":"x","timeout":10}', "timeout", "must be a string or null, not an integer"),
    (b'{"url":"x","profile":"svix"}', "profile", 'must be one of "fingerprint"'),
    (b"[]", "(body)", "must be an object, not an array"),
    (b"null", "(body)", "must be an object, not null"),
]


@pytest.mark.parametrize(("body", "field", "why"), BAD_BODIES)
def test_a_refused_body_names_its_field(body: bytes, field: str, why: str) -> None:
    """The field is named as the caller wrote it, with what it must be and what it was."""
    with pytest.raises(InvalidFieldError) as refused:
        decode(body, CreateWebhook)
    assert refused.value.field == field
    assert refused.value.reason.startswith(why)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"{'a':1}",
        b'{"url":"\xff"}',
        b'{"url":"x"} x',
        b"[" * 100_000,
        b'{"nope":1,',
        b"\0",
    ],
)
def test_what_is_not_json_says_so(body: bytes) -> None:
    """Broken JSON is `invalid_json`, also behind a field that would be refused."""
    with pytest.raises(ProblemError) as refused:
        decode(body, CreateWebhook)
    assert refused.value.code == "invalid_json"
    assert refused.value.status == 400


def test_a_creation_becomes_what_the_webhooks_room_takes() -> None:
    """Every field arrives, durations in seconds, names as the model's numbers."""
    body = decode(
        msgspec.json.encode(
            {
                "url": URL,
                "events": ["verdict.block"],
                "auth": {"type": "basic", "username": "u", "password": "p"},
                "headers": {"X-Team": "blue"},
                "format": "slack",
                "signatures": ["prynt", "standard"],
                "timeout": "3s",
                "retrySchedule": ["5m", "1h"],
                "filter": "data.x",
                "enabled": False,
                "description": "d",
            }
        ),
        CreateWebhook,
    )
    wanted = body.wanted()
    assert wanted.format is Format.SLACK
    assert wanted.signatures == (SignatureScheme.PRYNT, SignatureScheme.STANDARD)
    assert (wanted.timeout_s, wanted.retry_schedule_s) == (3.0, (300.0, 3600.0))
    assert wanted.headers == (("X-Team", "blue"),)
    assert wanted.profile is msgspec.UNSET


def test_a_change_leaves_what_it_does_not_mention() -> None:
    """A missing field stays, null takes it back to its default."""
    wanted = decode(b'{"timeout":null,"auth":null}', ChangeWebhook).wanted()
    assert wanted.timeout_s is None
    assert wanted.auth is None
    assert wanted.url is msgspec.UNSET
    assert wanted.filter is msgspec.UNSET
    assert wanted.headers is msgspec.UNSET


def test_the_mask_is_no_header_value() -> None:
    """Sending back what the API showed would overwrite the secret with stars."""
    with pytest.raises(InvalidFieldError, match=r"^headers\.X-Key: is what the API shows"):
        decode(b'{"headers":{"X-Key":"***"}}', ChangeWebhook).wanted()


def test_a_bad_duration_names_its_place() -> None:
    """In a list the index is named."""
    with pytest.raises(InvalidFieldError, match=r"^retrySchedule\[1\]: 'soon' is no duration"):
        decode(b'{"retrySchedule":["5m","soon"]}', ChangeWebhook).wanted()


def test_a_retry_defaults_to_what_needs_one() -> None:
    """Without states a retry takes the contract's."""
    assert decode(b'{"since":"24h"}', RetryWindow).states == ["failed", "held", "scheduled"]


def test_the_words_are_the_models() -> None:
    """What requests may say is exactly what the model knows."""
    assert set(get_args(schema_types.FormatName)) == {each.label for each in Format}
    assert set(get_args(schema_types.SignatureName)) == {each.label for each in SignatureScheme}
    states = {each.label for each in DeliveryState} - {"cancelled"}
    assert set(get_args(schema_types.RetryStateName)) == states


def test_a_webhook_to_be_shows_no_secret_in_its_repr() -> None:
    """An input that reaches a log or a traceback names its fields alone."""
    body = decode(b'{"url":"https://a.b/s3cret","headers":{"X":"s3cret"}}', CreateWebhook)
    assert "s3cret" not in repr(body.wanted())
    assert "s3cret" not in repr(body)


@pytest.mark.parametrize("code", [errno.EHOSTUNREACH, errno.ECONNRESET, errno.EPIPE])
async def test_a_body_whose_sender_is_lost_ends_as_a_lost_connection(code: int) -> None:
    """Whatever ended the connection, it is a ConnectionError: nothing that failed here."""

    async def read() -> bytes:
        raise OSError(code, "gone")

    with pytest.raises(ConnectionError):
        await in_time(read(), "not in {} s")
