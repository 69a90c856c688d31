"""The door of the body formats, the envelope and CloudEvents."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.model.event import EVENT_TYPES, StoredEvent
from prynt_relay.model.states import Format
from prynt_relay.transport import formats
from tests.unit.json_objects import event, objects

WEBHOOK_ID = "wh_3kR8mNqT7xP2v"


def test_the_envelope_is_compact_json_in_the_contract_order() -> None:
    """The prynt body has the seven fields in order, no blanks, and milliseconds with Z."""
    body = formats.render(Format.PRYNT, event(b'{"a": 1}'), WEBHOOK_ID)
    assert body == (
        b'{"webhookId":"wh_3kR8mNqT7xP2v","eventId":"evt_9fJ3kL7mNpR2x",'
        b'"eventType":"identification.complete","apiVersion":"2026-01-15",'
        b'"createdAt":"2026-02-14T11:45:22.341Z","idempotencyKey":"idk_a7f2c9e1b3d4",'
        b'"data":{"a": 1}}'
    )


@given(objects(), st.sampled_from([Format.PRYNT, Format.CLOUDEVENTS]))
def test_data_is_passed_on_byte_for_byte(data: bytes, format: Format) -> None:
    """No number, escape or blank of `data` is rewritten."""
    body = formats.render(format, event(data), WEBHOOK_ID)
    assert body.endswith(b'"data":' + data + b"}")


@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255),
    version=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    created_at_ms=st.integers(-62_135_596_800_000, 253_402_300_799_999),
)
def test_the_envelope_escapes_what_people_supply(
    key: str, version: str, created_at_ms: int
) -> None:
    """Whatever characters a key or version has, the envelope is JSON that says the same."""
    stored = StoredEvent(
        1, "evt_1", "x", version, "urn:x", created_at_ms, created_at_ms, key, b"{}"
    )
    envelope = json.loads(formats.render(Format.PRYNT, stored, WEBHOOK_ID))
    assert envelope["idempotencyKey"] == key
    assert envelope["apiVersion"] == version
    assert len(envelope["createdAt"]) == len("2026-02-14T11:45:22.341Z")


def test_events_rendered_in_turn_keep_their_own_envelopes() -> None:
    """What is kept of the event rendered last never shows in another's body."""
    first, second = event({"n": 1}, "visitor.new"), event({"n": 2}, "verdict.block")
    bodies = [
        json.loads(formats.render(Format.PRYNT, stored, webhook_id))
        for stored in (first, second, first)
        for webhook_id in ("wh_1", "wh_2")
    ]
    assert [(body["webhookId"], body["eventType"], body["data"]["n"]) for body in bodies] == [
        (webhook_id, event_type, n)
        for event_type, n in (("visitor.new", 1), ("verdict.block", 2), ("visitor.new", 1))
        for webhook_id in ("wh_1", "wh_2")
    ]


@given(data=objects("visitorId", "geo", "alert", "signals"), format=st.sampled_from(Format))
def test_rendering_never_fails_and_repeats_itself(data: bytes, format: Format) -> None:
    """Every JSON object becomes a JSON body in every format, the same on every attempt."""
    body = formats.render(format, event(data), WEBHOOK_ID)
    assert isinstance(json.loads(body, parse_int=float), dict)
    assert formats.render(format, event(data), WEBHOOK_ID) == body


def test_a_cloud_event_has_the_attributes_of_the_contract() -> None:
    """Structured CloudEvents 1.0: id, source, type with prefix, time, and the data."""
    body = formats.render(Format.CLOUDEVENTS, event({"a": 1}, "verdict.block"), WEBHOOK_ID)
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": "evt_9fJ3kL7mNpR2x",
        "source": "urn:prynt-relay",
        "type": "io.prynt.verdict.block",
        "time": "2026-02-14T11:45:22.341Z",
        "datacontenttype": "application/json",
        "data": {"a": 1},
    }


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        (Format.PRYNT, "application/json"),
        (Format.FINGERPRINT, "application/json"),
        (Format.CLOUDEVENTS, "application/cloudevents+json"),
        (Format.SLACK, "application/json"),
    ],
)
def test_content_types(format: Format, expected: str) -> None:
    """Each format names its own content type."""
    assert formats.content_type(format) == expected


@pytest.mark.parametrize("event_type", [*EVENT_TYPES, "custom.type"])
@pytest.mark.parametrize("format", list(Format))
def test_only_fingerprint_is_choosy(format: Format, event_type: str) -> None:
    """Fingerprint's document tells identifications alone; the others tell every event."""
    expected = format is not Format.FINGERPRINT or event_type == "identification.complete"
    assert formats.accepts(format, event_type) is expected
