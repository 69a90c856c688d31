"""Durations as people write them: "10s", "5m", "24h", "30d" (contract, section 2)."""

import re
from typing import Final

MAX_DIGITS: Final = 9
DURATION_PATTERN: Final = r"^[0-9]{1,9}(ms|s|m|h|d)$"
"""The same rule as a regular expression, for schemas."""

_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)\Z")
UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_duration(text: str) -> float:
    """Return the seconds that `text` stands for; ValueError says what is wrong with it."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f'{text[:40]!r} is no duration; write a number and a unit, such as "90s"')
    return int(match[1]) * UNIT_MS[match[2]] / 1000


def format_duration(seconds: float) -> str:
    """Write a duration the short way: "90s", "5m", "24h"; days from two on.

    Rounded to milliseconds; `parse_duration` reads it back.
    """
    milliseconds = round(seconds * 1000)
    for unit, least in (("d", 2), ("h", 1), ("m", 1), ("s", 1)):
        count, rest = divmod(milliseconds, UNIT_MS[unit])
        if rest == 0 and count >= least:
            return f"{count}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"
