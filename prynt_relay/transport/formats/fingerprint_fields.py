"""Every field of Fingerprint's webhook document, and where an event of ours has it.

The table is the mapping: `fingerprint.render` builds bodies from it, and the table in
docs/migrating-from-fingerprint.md is generated from it. Fields stand in the order of
Fingerprint's own page; nullability and limits are that page's.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from prynt_relay.model.event import StoredEvent
from prynt_relay.transport.formats.countries import COUNTRIES
from prynt_relay.transport.formats.fingerprint_values import Kind, unix_ms


class Source(NamedTuple):
    """A place where a value may be found; `label` names it in the docs."""

    label: str
    find: Callable[[StoredEvent, Any], Any]
    """Of the event and its parsed `data` (or a list's element); None if it isn't there."""


class Field(NamedTuple):
    """One field of the document. The first source whose value fits the field gives it."""

    path: str
    """Dotted; `[]` after a list whose every element has the field."""
    kind: Kind
    nullable: bool
    max_length: int | None
    """In characters; None where the specification sets no limit."""
    sources: tuple[Source, ...]
    never_cut: bool = False
    """Whether it stands whole even over its limit."""


def _at(path: str) -> Callable[[Any], Any]:
    """A function that finds what stands at a dotted path of nested objects, or None."""
    *parents, last = path.split(".")

    def find(value: Any) -> Any:
        for name in parents:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value.get(last) if isinstance(value, dict) else None

    return find


def _data(path: str) -> Source:
    find = _at(path)
    return Source(f"`{path}`", lambda _, data: find(data))


def _derived(path: str, how: str, derive: Callable[[Any], Any]) -> Source:
    """A value computed from the text at `path`."""
    find = _at(path)

    def find_and_derive(_: StoredEvent, data: Any) -> Any:
        value = find(data)
        return derive(value) if isinstance(value, str) else None

    return Source(f"`{path}`{how}", find_and_derive)


def _unless_empty(path: str) -> Source:
    find = _at(path)

    def find_more_than_nothing(_: StoredEvent, data: Any) -> Any:
        value = find(data)
        return None if value == "" else value

    return Source(f"`{path}` unless it is empty", find_more_than_nothing)


def _envelope(label: str, find: Callable[[StoredEvent], Any]) -> Source:
    return Source(f"{label} of the envelope", lambda event, _: find(event))


def _browser(text: str) -> tuple[str, str | None]:
    """Split "Chrome 121" or "Mobile Safari 17.2" into name and version."""
    name, _, version = text.rpartition(" ")
    return (name, version) if name and version[:1].isdigit() else (text, None)


def _country(member: str) -> Callable[[str], str | None]:
    def find(code: str) -> str | None:
        country = COUNTRIES.get(code.upper())
        return None if country is None else str(getattr(country, member))

    return find


_region: Final = _at("geo.region")
_region_code: Final = _at("geo.regionCode")


def _subdivision(_: StoredEvent, data: Any) -> list[Any] | None:
    region, code = _region(data), _region_code(data)
    return None if region is None and code is None else [{"isoCode": code, "name": region}]


def _required(path: str, kind: Kind, max_length: int | None, *sources: Source) -> Field:
    return Field(path, kind, False, max_length, sources)


def _nullable(path: str, kind: Kind, max_length: int | None, *sources: Source) -> Field:
    return Field(path, kind, True, max_length, sources)


def _seen_at(name: str) -> tuple[Field, Field]:
    """What all of Fingerprint's customers saw, and this one: an event's one history is both."""
    return (
        _nullable(f"{name}.global", Kind.TIME, None, _data(f"{name}.global"), _data(name)),
        _nullable(
            f"{name}.subscription", Kind.TIME, None, _data(f"{name}.subscription"), _data(name)
        ),
    )


LISTS: Final[dict[str, tuple[Source, ...]]] = {
    "ipLocation.subdivisions": (
        _data("ipLocation.subdivisions"),
        Source("one from `geo.region` and `geo.regionCode`", _subdivision),
    )
}
"""Where the elements of each list come from: the first list with anything of use, or empty.

An empty list that is carried passes through, too (contract, section 9): it says that there are
none, and isn't unknown.
"""

NULLABLE_OBJECTS: Final = frozenset(
    {
        "ipLocation.city",
        "ipLocation.continent",
        "ipLocation.country",
        "ipLocation.subdivisions",
        "confidence",
    }
)
"""Objects and lists that are null where nothing is known of them; the others always stand."""

_BROWSER: Final = "device.browser"
_COUNTRY: Final = "geo.country"

FIELDS: Final = (
    Field(
        "requestId",
        Kind.TEXT,
        nullable=False,
        max_length=20,
        # Receivers tell retries by it, so an event without one lends its own id.
        sources=(
            _unless_empty("requestId"),
            _envelope("`eventId`", lambda event: event.event_id),
        ),
        never_cut=True,
    ),
    _nullable("tag", Kind.JSON, 4096, _data("tag")),
    _nullable("linkedId", Kind.SCALAR, 4096, _data("linkedId")),
    _required("visitorId", Kind.TEXT, 20, _data("visitorId")),
    _nullable("visitorFound", Kind.BOOLEAN, None, _data("visitorFound")),
    _required(
        "timestamp",
        Kind.MILLISECONDS,
        None,
        _data("timestamp"),
        _derived("time", ", as milliseconds", unix_ms),
        _envelope("`createdAt`", lambda event: event.created_at_ms),
    ),
    _required(
        "time",
        Kind.TIME,
        None,
        _data("time"),
        _data("timestamp"),
        _envelope("`createdAt`", lambda event: event.created_at_ms),
    ),
    _required("incognito", Kind.BOOLEAN, None, _data("incognito"), _data("signals.incognito")),
    _required("url", Kind.TEXT, 4096, _data("url")),
    _nullable("clientReferrer", Kind.TEXT, 4096, _data("clientReferrer")),
    _required("ip", Kind.TEXT, 40, _data("ip")),
    _nullable(
        "ipLocation.accuracyRadius",
        Kind.NUMBER,
        None,
        _data("ipLocation.accuracyRadius"),
        _data("geo.accuracyRadius"),
    ),
    _nullable(
        "ipLocation.city.name",
        Kind.TEXT,
        4096,
        _data("ipLocation.city.name"),
        _data("geo.city"),
    ),
    _nullable(
        "ipLocation.continent.code",
        Kind.TEXT,
        2,
        _data("ipLocation.continent.code"),
        _data("geo.continentCode"),
        _derived(_COUNTRY, ", the continent of a two-letter code", _country("continent_code")),
    ),
    _nullable(
        "ipLocation.continent.name",
        Kind.TEXT,
        40,
        _data("ipLocation.continent.name"),
        _data("geo.continent"),
        _derived(_COUNTRY, ", the continent of a two-letter code", _country("continent")),
    ),
    _nullable(
        "ipLocation.country.code",
        Kind.TEXT,
        2,
        _data("ipLocation.country.code"),
        _data("geo.countryCode"),
        _derived(_COUNTRY, " if it has two letters", lambda text: text if len(text) == 2 else None),
    ),
    _nullable(
        "ipLocation.country.name",
        Kind.TEXT,
        250,
        _data("ipLocation.country.name"),
        _data("geo.countryName"),
        _derived(_COUNTRY, ", the name of a two-letter code", _country("name")),
        _derived(_COUNTRY, " if it is longer", lambda text: text if len(text) > 2 else None),
    ),
    _nullable(
        "ipLocation.latitude",
        Kind.NUMBER,
        None,
        _data("ipLocation.latitude"),
        _data("geo.latitude"),
    ),
    _nullable(
        "ipLocation.longitude",
        Kind.NUMBER,
        None,
        _data("ipLocation.longitude"),
        _data("geo.longitude"),
    ),
    _nullable(
        "ipLocation.postalCode",
        Kind.TEXT,
        40,
        _data("ipLocation.postalCode"),
        _data("geo.postalCode"),
    ),
    _nullable("ipLocation.subdivisions[].isoCode", Kind.TEXT, 250, _data("isoCode")),
    _nullable("ipLocation.subdivisions[].name", Kind.TEXT, 250, _data("name")),
    _nullable(
        "ipLocation.timezone",
        Kind.TEXT,
        250,
        _data("ipLocation.timezone"),
        _data("geo.timezone"),
    ),
    _nullable(
        "browserDetails.browserName",
        Kind.TEXT,
        250,
        _data("browserDetails.browserName"),
        _derived(_BROWSER, " without its version", lambda text: _browser(text)[0]),
    ),
    _nullable(
        "browserDetails.browserFullVersion",
        Kind.TEXT,
        250,
        _data("browserDetails.browserFullVersion"),
        _data("device.browserVersion"),
        _derived(_BROWSER, ", its version", lambda text: _browser(text)[1]),
    ),
    _nullable(
        "browserDetails.browserMajorVersion",
        Kind.TEXT,
        250,
        _data("browserDetails.browserMajorVersion"),
        _derived(
            "device.browserVersion", " up to its first dot", lambda text: text.split(".")[0] or None
        ),
        _derived(
            _BROWSER,
            ", its version up to the first dot",
            lambda text: (_browser(text)[1] or "").split(".")[0] or None,
        ),
    ),
    _nullable(
        "browserDetails.os",
        Kind.TEXT,
        250,
        _data("browserDetails.os"),
        _data("device.os"),
        _data("device.platform"),
    ),
    _nullable(
        "browserDetails.osVersion",
        Kind.TEXT,
        250,
        _data("browserDetails.osVersion"),
        _data("device.osVersion"),
    ),
    _nullable(
        "browserDetails.device",
        Kind.TEXT,
        250,
        _data("browserDetails.device"),
        _data("device.model"),
        _data("device.type"),
    ),
    _nullable(
        "browserDetails.userAgent",
        Kind.TEXT,
        4096,
        _data("browserDetails.userAgent"),
        _data("device.userAgent"),
        _data("userAgent"),
    ),
    _required(
        "confidence.score", Kind.NUMBER, None, _data("confidence.score"), _data("confidence")
    ),
    *_seen_at("firstSeenAt"),
    *_seen_at("lastSeenAt"),
)

PASSED_THROUGH: Final = (
    "sdk",
    "environmentId",
    "replayed",
    "components",
    "bot",
    "userAgent",
    "rootApps",
    "emulator",
    "ipInfo",
    "ipBlocklist",
    "tor",
    "vpn",
    "proxy",
    "tampering",
    "clonedApp",
    "factoryReset",
    "jailbroken",
    "frida",
    "privacySettings",
    "virtualMachine",
    "rawDeviceAttributes",
    "highActivity",
    "locationSpoofing",
    "suspectScore",
    "remoteControl",
    "velocity",
    "developerTools",
    "mitmAttack",
    "rareDevice",
    "supplementaryIds",
    "proximity",
)
"""What Fingerprint's server SDKs know of a webhook beyond the document: there if carried."""
