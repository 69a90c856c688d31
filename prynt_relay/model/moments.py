"""Moments as people name them in requests: a duration back from now, or ISO 8601."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.durations import parse_duration

_DURATION: Final = re.compile(r"[0-9]+(?:ms|s|m|h|d)\Z")
# A "+" that was not escaped in a query arrives as a blank.
_BLANK_OFFSET: Final = re.compile(r" (\d\d:?\d\d)\Z")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def parse_moment(field: str, text: str, now_ms: int) -> int:
    """Return the wall's milliseconds that `text` means; raises InvalidFieldError.

    A moment without an offset is in UTC; a date alone is its midnight. What lies before 1970 is
    the same as 1970.
    """
    if _DURATION.match(text):
        try:
            back_ms = parse_duration(text) * 1000
        except ValueError as error:
            raise InvalidFieldError(field, str(error)) from None
        return max(0, now_ms - int(back_ms))
    try:
        moment = datetime.fromisoformat(_BLANK_OFFSET.sub(r"+\1", text.upper()))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, (moment - _EPOCH) // _MILLISECOND)
    except (ValueError, OverflowError):
        raise InvalidFieldError(
            field,
            f'{text[:40]!r} is neither a duration back from now ("24h") nor ISO 8601 '
            '("2026-02-14T11:45:22Z")',
        ) from None
