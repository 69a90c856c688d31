"""Moments as receivers read them."""

import functools
import re
from datetime import UTC, datetime
from typing import Final

_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


@functools.lru_cache(maxsize=256)  # events come in by the second: one formatting serves them all
def _second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat()[:-6]  # without +00:00


def iso_ms(unix_ms: int) -> str:
    """`unix_ms` as ISO 8601 in UTC with milliseconds and `Z` (contract, section 4).

    Raises `OverflowError`, `OSError` or `ValueError` outside the years 1 to 9999.
    """
    seconds, ms = divmod(unix_ms, 1000)
    return f"{_second(seconds)}.{ms:03d}Z"


def is_rfc3339(text: str) -> bool:
    """Whether `text` is a date and time of RFC 3339, and one that exists."""
    if _RFC3339.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True
