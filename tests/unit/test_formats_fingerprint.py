"""Fingerprint's document, field by field."""

import json
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import given

from prynt_relay.model.samples import sample_data
from prynt_relay.model.states import Format
from prynt_relay.transport import formats
from prynt_relay.transport.formats.fingerprint_fields import FIELDS, PASSED_THROUGH
from tests.unit.json_objects import event, objects

UNKNOWN: Final = object()

SPECIFICATION_EXAMPLE: Final[dict[str, Any]] = {
    "requestId": "Px6VxbRC6WBkA39yeNH3",
    "tag": {"requestType": "signup", "yourCustomId": 45321},
    "linkedId": "any-string",
    "visitorId": "3HNey93AkBW6CRbxV6xP",
    "visitorFound": True,
    "timestamp": 1554910997788,
    "time": "2019-10-12T07:20:50.52Z",
    "incognito": False,
    "url": "https://banking.example.com/signup",
    "clientReferrer": "https://google.com?search=banking+services",
    "ip": "216.3.128.12",
    "ipLocation": {
        "accuracyRadius": 1,
        "city": {"name": "Bolingbrook"},
        "continent": {"code": "NA", "name": "North America"},
        "country": {"code": "US", "name": "United States"},
        "latitude": 41.12933,
        "longitude": -88.9954,
        "postalCode": "60547",
        "subdivisions": [{"isoCode": "IL", "name": "Illinois"}],
        "timezone": "America/Chicago",
    },
    "browserDetails": {
        "browserName": "Chrome",
        "browserFullVersion": "73.0.3683.86",
        "browserMajorVersion": "73",
        "os": "Mac OS X",
        "osVersion": "10.14.3",
        "device": "Other",
        "userAgent": "(Macintosh; Intel Mac OS X 10_14_3) Chrome/73.0.3683.86",
    },
    "confidence": {"score": 0.97},
    "firstSeenAt": {
        "global": "2022-03-16T11:26:45.362Z",
        "subscription": "2022-03-16T11:31:01.101Z",
    },
    "lastSeenAt": {"global": "2022-03-16T11:28:34.023Z", "subscription": None},
}
"""The document as Fingerprint's page shows it."""


@dataclass(frozen=True)
class Row:
    """What the specification and the contract say of one field."""

    path: str
    data: dict[str, Any]
    """Where an event of ours has it, under our own name."""
    expected: Any
    """The field's value of that event."""
    unknown: Any
    """Its value where the event knows nothing of it."""
    limit: int | None = None
    never_cut: bool = False


def _geo(name: str, value: Any) -> dict[str, Any]:
    return {"geo": {name: value}}


def _device(name: str, value: Any) -> dict[str, Any]:
    return {"device": {name: value}}


SEEN: Final = "2025-09-14T08:12:33Z"
CREATED_MS: Final = 1_771_069_522_341
CREATED: Final = "2026-02-14T11:45:22.341Z"

ROWS: Final = (
    Row("requestId", {"requestId": "req_1"}, "req_1", "evt_9fJ3kL7mNpR2x", 20, never_cut=True),
    Row("tag", {"tag": {"a": [1]}}, {"a": [1]}, None, 4096),
    Row("linkedId", {"linkedId": "order-1"}, "order-1", None, 4096),
    Row("visitorId", {"visitorId": "pv_8kX2mNqR3jT7p"}, "pv_8kX2mNqR3jT7p", "", 20),
    Row("visitorFound", {"visitorFound": True}, True, None),
    Row("timestamp", {}, CREATED_MS, CREATED_MS),
    Row("time", {}, CREATED, CREATED),
    Row("incognito", {"signals": {"incognito": True}}, True, False),
    Row("url", {"url": "https://a.example/"}, "https://a.example/", "", 4096),
    Row("clientReferrer", {"clientReferrer": "https://b.example"}, "https://b.example", None, 4096),
    Row("ip", {"ip": "203.0.113.42"}, "203.0.113.42", "", 40),
    Row("ipLocation.accuracyRadius", _geo("accuracyRadius", 20), 20, None),
    Row("ipLocation.city.name", _geo("city", "Oslo"), "Oslo", UNKNOWN, 4096),
    Row("ipLocation.continent.code", _geo("country", "US"), "NA", UNKNOWN, 2),
    Row("ipLocation.continent.name", _geo("country", "NO"), "Europe", UNKNOWN, 40),
    Row("ipLocation.country.code", _geo("country", "US"), "US", UNKNOWN, 2),
    Row("ipLocation.country.name", _geo("country", "US"), "United States", UNKNOWN, 250),
    Row("ipLocation.latitude", _geo("latitude", 37.7749), 37.7749, None),
    Row("ipLocation.longitude", _geo("longitude", -122.4194), -122.4194, None),
    Row("ipLocation.postalCode", _geo("postalCode", "94103"), "94103", None, 40),
    Row("ipLocation.subdivisions[].isoCode", _geo("regionCode", "CA"), "CA", UNKNOWN, 250),
    Row("ipLocation.subdivisions[].name", _geo("region", "California"), "California", UNKNOWN, 250),
    Row("ipLocation.timezone", _geo("timezone", "Europe/Oslo"), "Europe/Oslo", None, 250),
    Row("browserDetails.browserName", _device("browser", "Chrome 121"), "Chrome", None, 250),
    Row(
        "browserDetails.browserFullVersion", _device("browser", "Chrome 121.0"), "121.0", None, 250
    ),
    Row("browserDetails.browserMajorVersion", _device("browser", "Chrome 121.0"), "121", None, 250),
    Row("browserDetails.os", _device("platform", "macOS"), "macOS", None, 250),
    Row("browserDetails.osVersion", _device("osVersion", "14.3"), "14.3", None, 250),
    Row("browserDetails.device", _device("type", "desktop"), "desktop", None, 250),
    Row("browserDetails.userAgent", {"userAgent": "Mozilla/5.0"}, "Mozilla/5.0", None, 4096),
    Row("confidence.score", {"confidence": 0.995}, 0.995, UNKNOWN),
    Row("firstSeenAt.global", {"firstSeenAt": SEEN}, SEEN, None),
    Row("firstSeenAt.subscription", {"firstSeenAt": SEEN}, SEEN, None),
    Row("lastSeenAt.global", {"lastSeenAt": SEEN}, SEEN, None),
    Row("lastSeenAt.subscription", {"lastSeenAt": SEEN}, SEEN, None),
)
IDS: Final = [row.path for row in ROWS]
SHAPED: Final = [row for row in ROWS if row.path != "tag"]  # any JSON may be a tag
LIMITED: Final = [row for row in ROWS if row.limit is not None]


def _render(data: dict[str, Any] | bytes) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(
        formats.render(Format.FINGERPRINT, event(data), "wh_3kR8mNqT7xP2v"), parse_int=float
    )
    return body


def _find(document: Any, path: str) -> Any:
    """The value at a path; UNKNOWN where an object on the way is null."""
    for name in path.split("."):
        if document is None:
            return UNKNOWN
        document = document[name.removesuffix("[]")]
        if name.endswith("[]") and document is not None:
            [document] = document
    return document


def _carried(path: str, value: Any) -> dict[str, Any]:
    """An event that carries a field under the document's own name."""
    for name in reversed(path.split(".")):
        value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
    return dict(value)


def _leaves(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict) and path != "tag":
        return [
            leaf
            for key, inner in value.items()
            for leaf in _leaves(inner, f"{path}.{key}"[path == "" :])
        ]
    if isinstance(value, list):
        return _leaves(value[0], path + "[]")
    return [path]


def test_every_field_of_the_document_has_a_row() -> None:
    """The rows below and the table in the code both hold the document's fields, in its order."""
    assert _leaves(SPECIFICATION_EXAMPLE) == IDS
    assert [field.path for field in FIELDS] == IDS


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_field_comes_from_where_the_event_has_it(row: Row) -> None:
    """What an event knows under its own name is mapped, with its type."""
    found = _find(_render(row.data), row.path)
    assert found == row.expected
    assert isinstance(found, bool) is isinstance(row.expected, bool)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_field_under_its_own_name_passes_through(row: Row) -> None:
    """What an event carries as Fingerprint names it wins over what could be mapped."""
    value = _find(SPECIFICATION_EXAMPLE, row.path)
    if value is None:
        value = "2022-03-16T11:31:01.101Z"
    assert _find(_render({**row.data, **_carried(row.path, value)}), row.path) == value


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_an_unknown_field_is_null_where_that_is_allowed_else_empty(row: Row) -> None:
    """An event that knows nothing gives null, or the empty value of the type."""
    assert _find(_render({}), row.path) == row.unknown


@pytest.mark.parametrize("value", [None, [], {}, [{}], {"a": 1}], ids=str)
@pytest.mark.parametrize("row", SHAPED, ids=[row.path for row in SHAPED])
def test_a_value_of_the_wrong_type_counts_as_unknown(row: Row, value: Any) -> None:
    """An object or list where the document has a scalar is as good as nothing."""
    assert _find(_render(_carried(row.path, value)), row.path) == row.unknown


@pytest.mark.parametrize("row", LIMITED, ids=[row.path for row in LIMITED])
def test_text_over_its_limit_is_cut(row: Row) -> None:
    """Limits count characters, not bytes; a text at its limit stands whole."""
    limit = row.limit or 0
    at_limit, over = "é" * limit, "é" * (limit + 1)
    assert _find(_render(_carried(row.path, at_limit)), row.path) == at_limit
    found = _find(_render(_carried(row.path, over)), row.path)
    assert found == (over if row.never_cut else at_limit)


@pytest.mark.parametrize("geo", [{}, {"region": "California"}], ids=["unknown", "known"])
def test_an_empty_list_passes_through(geo: dict[str, Any]) -> None:
    """An event that carries no subdivisions says that there are none, whatever else it knows."""
    data = {"ipLocation": {"subdivisions": []}, "geo": geo}
    assert _render(data)["ipLocation"]["subdivisions"] == []


@pytest.mark.parametrize(
    "carried", [[{}], [5], [{"isoCode": []}], "CA", {"isoCode": "CA"}], ids=str
)
def test_a_list_without_anything_of_use_gives_way_to_what_is_known(carried: Any) -> None:
    """As of every field the first source with a value of the right type is taken."""
    data = {"ipLocation": {"subdivisions": carried}, "geo": {"region": "California"}}
    found = _render(data)["ipLocation"]["subdivisions"]
    assert found == [{"isoCode": None, "name": "California"}]


def test_an_empty_request_id_is_none() -> None:
    """Receivers tell retries by it, and all events with an empty one would be the same to them."""
    assert _render({"requestId": ""})["requestId"] == _render({})["requestId"] != ""
    assert _render({"requestId": 0})["requestId"] == "0"


def test_the_specification_example_comes_back_as_it_is() -> None:
    """An event that carries the whole document is the document, in its order."""
    body = formats.render(Format.FINGERPRINT, event(SPECIFICATION_EXAMPLE), "wh_1")
    document = json.loads(body)
    expected = dict(SPECIFICATION_EXAMPLE)
    # Null is no knowledge: the other scope's time isn't taken for it.
    assert document == expected
    assert list(document) == list(expected)


def test_the_usual_event_becomes_a_full_document() -> None:
    """The relay's own identification, as far as it knows what the document asks."""
    data = sample_data("identification.complete")
    document = _render(data)
    assert document["requestId"] == data["requestId"]
    assert document["ipLocation"] == {
        "accuracyRadius": None,
        "city": {"name": data["geo"]["city"]},
        "continent": {"code": "NA", "name": "North America"},
        "country": {"code": "US", "name": "United States"},
        "latitude": data["geo"]["latitude"],
        "longitude": data["geo"]["longitude"],
        "postalCode": None,
        "subdivisions": [{"isoCode": None, "name": data["geo"]["region"]}],
        "timezone": data["geo"]["timezone"],
    }
    assert document["firstSeenAt"] == dict.fromkeys(("global", "subscription"), data["firstSeenAt"])


def test_a_scalar_tag_of_any_kind_passes() -> None:
    """The page's own curl example sends a number."""
    for tag in (2718281828, "text", True, 0, [1]):
        assert _render({"tag": tag})["tag"] == tag


def test_an_object_over_the_limit_of_tag_is_null() -> None:
    """Half of an object would say something that its author didn't."""
    fits = {"k": "x" * (4096 - len('{"k":""}'))}
    assert _render({"tag": fits})["tag"] == fits
    assert _render({"tag": {"k": fits["k"] + "x"}})["tag"] is None


def test_what_passes_through_whole_keeps_its_own_text() -> None:
    """Numbers and the order of keys in `tag` and `sdk` are not rewritten."""
    data = b'{"tag":{"z":1.10,"a":12345678901234567890123},"sdk":{"version":1.0, "x":1e400}}'
    body = formats.render(Format.FINGERPRINT, event(data), "wh_1")
    assert b'"tag":{"z":1.10,"a":12345678901234567890123}' in body
    assert b'"sdk":{"version":1.0, "x":1e400}' in body


@pytest.mark.parametrize("digits", [310, 401, 5_001])
def test_an_integer_that_no_double_holds_is_unknown(digits: int) -> None:
    """However many digits a number has, the rest of the document is delivered."""
    number = "1" + "0" * (digits - 1)
    names = ("linkedId", "visitorId", "confidence", "timestamp", "time", "ip", "lastSeenAt", "geo")
    data = ",".join(f'"{name}":{number}' for name in names)
    body = formats.render(Format.FINGERPRINT, event(f"{{{data}}}".encode()), "wh_1")
    document = json.loads(body)
    assert document["linkedId"] is None
    assert document["visitorId"] == ""
    assert document["timestamp"] == CREATED_MS


@pytest.mark.parametrize("name", PASSED_THROUGH)
def test_what_the_server_sdks_know_beyond_the_document_is_there_if_carried(name: str) -> None:
    """Such a member passes through, and is absent rather than null otherwise."""
    assert _render({name: {"result": True}})[name] == {"result": True}
    assert name not in _render({})


def test_nothing_else_of_the_event_shows() -> None:
    """The document is flat and has no member that Fingerprint's doesn't have."""
    assert set(_render(sample_data("identification.complete"))) == set(SPECIFICATION_EXAMPLE)


@pytest.mark.parametrize(
    ("data", "timestamp", "time"),
    [
        ({"timestamp": 1554910997788}, 1554910997788, "2019-04-10T15:43:17.788Z"),
        ({"time": "2019-10-12T07:20:50.52Z"}, 1570864850520, "2019-10-12T07:20:50.52Z"),
        ({"time": "2019-10-12T09:20:50+02:00"}, 1570864850000, "2019-10-12T09:20:50+02:00"),
        ({"time": "yesterday", "timestamp": -1e300}, CREATED_MS, CREATED),
        ({"time": "2019-02-30T00:00:00Z", "timestamp": "5"}, CREATED_MS, CREATED),
    ],
)
def test_timestamp_and_time_tell_the_same_moment(
    data: dict[str, Any], timestamp: int, time: str
) -> None:
    """Each is made from the other where only one is carried; else both from createdAt."""
    document = _render(data)
    assert (document["timestamp"], document["time"]) == (timestamp, time)


@pytest.mark.parametrize(
    ("browser", "name", "full", "major"),
    [
        ("Chrome 121", "Chrome", "121", "121"),
        ("Mobile Safari 17.2.1", "Mobile Safari", "17.2.1", "17"),
        ("Firefox", "Firefox", None, None),
        ("Samsung Internet", "Samsung Internet", None, None),
        ("", "", None, None),
    ],
)
def test_a_browser_is_split_into_name_and_version(
    browser: str, name: str, full: str | None, major: str | None
) -> None:
    """The version is the last word, if that begins with a digit."""
    details = _render({"device": {"browser": browser}})["browserDetails"]
    found = [details[f"browser{part}"] for part in ("Name", "FullVersion", "MajorVersion")]
    assert found == [name, full, major]


@pytest.mark.parametrize(
    ("geo", "country", "continent"),
    [
        ({"country": "de"}, {"code": "de", "name": "Germany"}, "Europe"),
        ({"country": "Norway"}, {"code": None, "name": "Norway"}, None),
        ({"country": "Norway", "countryCode": "NO"}, {"code": "NO", "name": "Norway"}, None),
        ({"country": "ZZ"}, {"code": "ZZ", "name": None}, None),
        ({"country": 7}, None, None),
    ],
)
def test_a_country_is_known_by_code_or_name(
    geo: dict[str, Any], country: dict[str, Any] | None, continent: str | None
) -> None:
    """Two letters are a code, which also gives the name and the continent; more are a name."""
    location = _render({"geo": geo})["ipLocation"]
    assert location["country"] == country
    assert (location["continent"] or {}).get("name") == continent


def test_the_retry_and_another_webhook_get_the_same_body() -> None:
    """The document depends on the event alone, so the requestId is the same on the retry."""
    bodies = {formats.render(Format.FINGERPRINT, event({"a": 1}), f"wh_{n}") for n in range(3)}
    assert len(bodies) == 1


@given(objects(*IDS, "geo", "device", "signals", "ipLocation", "browserDetails", "confidence"))
def test_any_event_gives_a_document_within_its_types_and_limits(data: bytes) -> None:
    """Whatever `data` holds, every field has its type, its nullability and its limit."""
    document = _render(data)
    assert list(document)[: len(SPECIFICATION_EXAMPLE)] == list(SPECIFICATION_EXAMPLE)
    for name in ("requestId", "visitorId", "url", "ip", "time"):
        assert isinstance(document[name], str)
    assert isinstance(document["incognito"], bool)
    assert isinstance(document["timestamp"], float)  # all integers, as `_render` reads them
    assert document["visitorFound"] in (True, False, None)
    for name in ("ipLocation", "browserDetails", "firstSeenAt", "lastSeenAt"):
        assert isinstance(document[name], dict)
    assert len(document["visitorId"]) <= 20
    assert len(document["ip"]) <= 40
    assert document["confidence"] is None or isinstance(document["confidence"]["score"], float)
