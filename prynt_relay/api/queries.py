"""Query parameters: known ones only, each once, with refusals that name them."""

import re
from collections.abc import Collection
from typing import Final

from aiohttp import web

from prynt_relay.api.cursors import Cursor, decode_cursor, encode_cursor, position_of
from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.ids import is_id
from prynt_relay.model.moments import parse_moment
from prynt_relay.model.states import DeliveryState

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 250
"""Contract, section 6."""

_LIMIT: Final = re.compile(r"[0-9]{1,4}\Z")


def read_query(request: web.Request, known: Collection[str]) -> dict[str, str]:
    """Return the parameters; raises InvalidFieldError for an unknown or repeated one."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known:
            hint = f"known are {', '.join(known)}" if known else "there are none here"
            raise InvalidFieldError(name[:100], f"is not a parameter of this request; {hint}")
        if name in given:
            raise InvalidFieldError(name, "is given twice")
        given[name] = value
    return given


def read_limit(given: dict[str, str]) -> int:
    """Return `limit`; raises InvalidFieldError."""
    text = given.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not _LIMIT.match(text) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidFieldError("limit", f"must be from 1 to {MAX_LIMIT}, not {text[:20]!r}")
    return int(text)


def read_state(given: dict[str, str]) -> DeliveryState | None:
    """Return the `state` to filter by; raises InvalidFieldError."""
    text = given.get("state")
    if text is None:
        return None
    for state in DeliveryState:
        if state.label == text:
            return state
    allowed = ", ".join(state.label for state in DeliveryState)
    raise InvalidFieldError("state", f"must be one of {allowed}, not {text[:40]!r}")


def read_event_id(given: dict[str, str]) -> str | None:
    """Return the `eventId` to filter by; raises InvalidFieldError."""
    text = given.get("eventId")
    if text is not None and not is_id("evt", text):
        raise InvalidFieldError("eventId", f"must be evt_ and 13 of base62, not {text[:40]!r}")
    return text


class ListQuery:
    """What every list takes: `limit`, `cursor`, and a window where it has one."""

    def __init__(
        self, request: web.Request, kind: str, filters: Collection[str], now_ms: int
    ) -> None:
        """Read the parameters of the list `kind`; raises InvalidFieldError.

        An empty cursor is none: the first page.
        """
        given = read_query(request, ("limit", "cursor", *filters))
        self.kind = kind
        self.limit = read_limit(given)
        self.given = {name: given[name] for name in filters if name in given}
        self._cursor: Cursor | None = None
        if given.get("cursor"):
            self._cursor = decode_cursor(given["cursor"], kind, self.given)
            self.given = self._cursor.given
            self.since_ms, self.until_ms = self._cursor.since_ms, self._cursor.until_ms
            return
        self.since_ms = self._moment("since", now_ms)
        self.until_ms = self._moment("until", now_ms)

    def _moment(self, name: str, now_ms: int) -> int | None:
        text = self.given.get(name)
        return None if text is None else parse_moment(name, text, now_ms)

    def position(self, length: int) -> tuple[int, ...] | None:
        """Return where the cursor stands, None without one; raises InvalidFieldError."""
        return None if self._cursor is None else position_of(self._cursor, length)

    def next_cursor(self, position: tuple[int, ...] | None) -> str | None:
        """Return the cursor for the page from `position` on; None at the end."""
        if position is None:
            return None
        return encode_cursor(self.kind, self.given, self.since_ms, self.until_ms, position)
