"""Moments as receivers read them."""

import functools
from datetime import UTC, datetime


@functools.lru_cache(maxsize=256)  # events come in by the second: one formatting serves them all
def _second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat()[:-6]  # without +00:00


def iso_ms(unix_ms: int) -> str:
    """Return `unix_ms` as ISO 8601 in UTC with milliseconds and `Z` (contract, section 4)."""
    seconds, ms = divmod(unix_ms, 1000)
    return f"{_second(seconds)}.{ms:03d}Z"
