r"""The intake socket's line protocol: bytes in, an event or a refusal out (contract, section 3).

Pure: no I/O, no clock. The HTTP API checks its events with the same code.

Decisions where the contract leaves room:

* `data` may hold arrays and objects nested 128 levels deep, not counting the object that it is.
* A lone surrogate escape (`\ud800`), a number like `1e999` or of thousands of digits, a key twice
  inside `data` are JSON by RFC 8259: they are passed on as they came. A request's own key given
  twice is refused, since one of the two values would be lost; so is `null` for an optional key.
* `createdAt` is `YYYY-MM-DDTHH:MM:SS`, up to nine digits of a fraction after a point or a comma
  (cut, not rounded, to milliseconds), then `Z` or `+00:00`. Seconds may be left out, as ISO 8601
  allows; its basic format, other offsets and a fraction of a minute are not taken.
* Printable is what Unicode calls so (`str.isprintable`); the only space among it is U+0020.
* `max_payload` bounds the delivered body in the specification's format, counted exactly.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from prynt_relay.errors import RefusedEventError
from prynt_relay.intake import grammar
from prynt_relay.model.event import Appended, NewEvent
from prynt_relay.model.ids import is_id

LINE_SLACK: Final = 65_536
"""How much longer a line may be than the largest body: its keys, escapes and white space."""

MAX_ARRAY: Final = 1000
"""The most events in one array of the HTTP API (contract, section 6)."""

MAX_KEY_LENGTH: Final = 255

_KEYS: Final = ("eventType", "data", "eventId", "idempotencyKey", "createdAt")
_CREATED_AT: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)(?:Z|\+00:00)", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_SHOWN: Final = 64
_LOOKED_FOR: Final = 32

# An envelope with every value but eventType, apiVersion, idempotencyKey and data, which vary in
# length; all the others have the length that they have here (contract, section 4).
_ENVELOPE: Final = (
    b'{"webhookId":"wh_0123456789abc","eventId":"evt_0123456789abc","eventType":,"apiVersion":,'
    b'"createdAt":"2026-02-14T11:45:22.341Z","idempotencyKey":,"data":}'
)
_MADE_KEY: Final = b'"idk_0123456789ab"'


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A request as it stands in its line, before its values are looked at."""

    eventType: str  # noqa: N815 - the protocol's names
    data: msgspec.Raw
    eventId: str | msgspec.UnsetType = msgspec.UNSET  # noqa: N815
    idempotencyKey: str | msgspec.UnsetType = msgspec.UNSET  # noqa: N815
    createdAt: str | msgspec.UnsetType = msgspec.UNSET  # noqa: N815


class EventParser:
    """Checks requests against one configuration: the known types, the size, the API version.

    Immutable; a daemon that reloads its configuration makes a new one.
    """

    def __init__(self, *, event_types: Iterable[str], api_version: str, max_payload: int) -> None:
        """Take the known types, what the envelope's `apiVersion` says and the body's bound."""
        self.max_payload = max_payload
        self.max_line = max_payload + LINE_SLACK
        fixed = len(_ENVELOPE) + len(msgspec.json.encode(api_version))
        self._overhead = {
            name: fixed + len(msgspec.json.encode(name)) + len(_MADE_KEY) for name in event_types
        }
        self._known = ", ".join(self._overhead)
        self._decode = msgspec.json.Decoder(_Request).decode

    def parse(self, line: bytes) -> NewEvent:
        """Read one request, with or without white space (a carriage return too) around it.

        Raises RefusedEventError with one of the contract's codes, looked for in this order:
        `payload_too_large` of the line, `invalid_json`, `invalid_event`, `unknown_event_type`,
        `payload_too_large` of the delivered body.
        """
        if len(line) > self.max_line:
            raise self.line_too_long()
        if not line.isascii():
            grammar.decode_utf8(line)
        try:
            request = self._decode(line)
        except (msgspec.MsgspecError, RecursionError):
            return self._parse_refused(line)
        data = bytes(request.data)
        members = 2
        event_id = idempotency_key = created_at = None
        if request.eventId is not msgspec.UNSET:
            event_id = request.eventId
            members += 1
        if request.idempotencyKey is not msgspec.UNSET:
            idempotency_key = request.idempotencyKey
            members += 1
        if request.createdAt is not msgspec.UNSET:
            created_at = request.createdAt
            members += 1
        if _quotes_around(line, data) != 4 * members - 2:
            # All members but data are strings: four quotes each, and two of data's key. More means
            # an escaped quote, or a key given twice, of which msgspec has kept only the last.
            return self._parse_refused(line)
        return self._event(request.eventType, data, event_id, idempotency_key, created_at)

    def parse_many(self, body: bytes) -> list[NewEvent]:
        """Read one request, or an array of up to 1,000: all of them or none.

        Raises RefusedEventError; of an array's element the message names the index.
        A body of megabytes takes tens of milliseconds: worth a thread.
        """
        if not is_array(body):
            return [self.parse(body)]
        events = []
        for index, element in enumerate(grammar.read_elements(body, MAX_ARRAY)):
            try:
                events.append(self.parse(element))
            except RefusedEventError as error:
                raise RefusedEventError(error.code, f"[{index}]: {error}") from None
        return events

    def line_too_long(self) -> RefusedEventError:
        """The refusal of a line that no acceptable event needs; it needn't be read to its end."""
        return RefusedEventError(
            "payload_too_large",
            f"line: more than {self.max_line} bytes; send less data or raise intake.max_payload",
        )

    def _parse_refused(self, line: bytes) -> NewEvent:
        """Read again what msgspec refused or may have misread, and find the reason."""
        members = grammar.read_members(line)
        for key in members:
            if key not in _KEYS:
                raise _invalid(_shown(key), f"unknown key; the keys are {', '.join(_KEYS)}")
        event_type = _text(members, "eventType")
        if event_type is None:
            raise _invalid("eventType", "missing; give the event's type")
        data = members.get("data")
        if data is None:
            raise _invalid("data", "missing; give the event's payload, an object")
        return self._event(
            event_type,
            data.source.encode(),
            _text(members, "eventId"),
            _text(members, "idempotencyKey"),
            _text(members, "createdAt"),
        )

    def _event(
        self,
        event_type: str,
        data: bytes,
        event_id: str | None,
        idempotency_key: str | None,
        created_at: str | None,
    ) -> NewEvent:
        """Check the values of a well-formed request."""
        if not data.startswith(b"{"):
            raise _invalid("data", "not an object; put the payload into one")
        if grammar.nests_deeper_than(grammar.MAX_DATA_DEPTH + 1, data):
            raise RefusedEventError(
                "invalid_json", f"data: nested deeper than {grammar.MAX_DATA_DEPTH} levels"
            )
        if event_id is not None and not is_id("evt", event_id):
            raise _invalid(
                "eventId",
                f"{_shown(event_id)} isn't evt_ and 13 of base62; correct it or leave it out",
            )
        if idempotency_key is not None:
            _check_key(idempotency_key)
        created_at_ms = None if created_at is None else _created_at_ms(created_at)
        overhead = self._overhead.get(event_type)
        if overhead is None:
            raise RefusedEventError(
                "unknown_event_type",
                f"eventType: {_shown(event_type)} is not a known type; use one of {self._known}, "
                "or add it to extra_event_types",
            )
        size = overhead + len(data)
        if idempotency_key is not None:
            size += len(msgspec.json.encode(idempotency_key)) - len(_MADE_KEY)
        if size > self.max_payload:
            raise RefusedEventError(
                "payload_too_large",
                f"data: the delivered body would be {size} bytes, intake.max_payload allows "
                f"{self.max_payload}; send less",
            )
        return NewEvent(event_type, data, event_id, idempotency_key, created_at_ms)


def _quotes_around(line: bytes, data: bytes) -> int:
    """How many quotes `line` has more than `data`, which is a part of it.

    Any place with the same bytes gives the same number, so the first one that looks like it will
    do; counting in all of a large event takes 1 ns a byte, twice.
    """
    start = len(line) - len(data) - 1  # where most publishers write it: last
    if line.startswith(data, start):
        return line.count(b'"', 0, start) + line.count(b'"', -1)
    start = line.find(data[:_LOOKED_FOR])
    if line.startswith(data, start):
        return line.count(b'"', 0, start) + line.count(b'"', start + len(data))
    return line.count(b'"') - data.count(b'"')


def is_array(body: bytes) -> bool:
    """Whether a body of the HTTP API begins like an array of events."""
    return body.lstrip(b" \t\n\r").startswith(b"[")


def render_refusal(error: RefusedEventError) -> bytes:
    """The answer to a refused line, with its newline."""
    return msgspec.json.encode(refusal(error)) + b"\n"


def refusal(error: RefusedEventError) -> dict[str, object]:
    """The answer to a refused event, as an object."""
    return {"ok": False, "error": {"code": error.code, "message": str(error)}}


def acceptance(appended: Appended) -> dict[str, object]:
    """The answer to an accepted event, as an object."""
    return {"ok": True, "eventId": appended.event_id, "duplicate": appended.duplicate}


def render_acceptance(appended: Appended) -> bytes:
    """The answer to an accepted event, with its newline.

    An event id is base62: nothing in it needs escaping.
    """
    if appended.duplicate:
        return b'{"ok":true,"eventId":"%b","duplicate":true}\n' % appended.event_id.encode()
    return b'{"ok":true,"eventId":"%b","duplicate":false}\n' % appended.event_id.encode()


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise _invalid(
            "idempotencyKey",
            f"{len(key)} characters; use 1 to {MAX_KEY_LENGTH}, or leave it out",
        )
    if not key.isprintable():
        at, char = next((i, c) for i, c in enumerate(key) if not c.isprintable())
        raise _invalid(
            "idempotencyKey", f"character {at} (U+{ord(char):04X}) isn't printable; use others"
        )


def _created_at_ms(text: str) -> int:
    match = _CREATED_AT.fullmatch(text)
    if match is None:
        raise _invalid(
            "createdAt",
            f"{_shown(text)} isn't taken; write it in UTC like 2026-02-14T11:45:22.341Z, with or "
            "without the fraction or the seconds",
        )
    try:
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError as error:
        raise _invalid("createdAt", f"{_shown(text)} doesn't exist: {error}") from None
    return (moment - _EPOCH) // _MILLISECOND


def _text(members: dict[str, grammar.Value], key: str) -> str | None:
    member = members.get(key)
    if member is None:
        return None
    if not isinstance(member.value, str):
        raise _invalid(key, f"{_kind(member.source)}, not a string; quote it or leave it out")
    return member.value


def _kind(source: str) -> str:
    return {"{": "an object", "[": "an array", "t": "true", "f": "false", "n": "null"}.get(
        source[0], "a number"
    )


def _invalid(field: str, why: str) -> RefusedEventError:
    return RefusedEventError("invalid_event", f"{field}: {why}")


def _shown(text: str) -> str:
    """The offending value, cut and in ASCII: it comes from outside and goes into messages."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
