"""Moments and durations as people read them."""

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = ((86_400, "d", 172_800), (3600, "h", 5400), (60, "m", 90), (1, "s", 0))


def parse_moment(text: str) -> float:
    """Return the Unix time of an ISO 8601 moment; ValueError where it isn't one."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def rough(seconds: float) -> str:
    """Return a duration to its largest fitting unit: `45s`, `12m`, `3h`, `9d`."""
    for unit_s, name, from_s in _UNITS:
        if seconds >= from_s:
            return f"{int(seconds / unit_s + 0.5)}{name}"
    return "0s"


def ago(moment: str, now_s: float, *, suffix: str = " ago") -> str:
    """Return how long ago an ISO 8601 `moment` was; `now` within a second of it."""
    passed_s = now_s - parse_moment(moment)
    return "now" if passed_s < 1 else rough(passed_s) + suffix


def until(moment: str, now_s: float) -> str:
    """Return how far ahead an ISO 8601 `moment` lies, at least a second; `now` once it has come."""
    left_s = parse_moment(moment) - now_s
    return "now" if left_s <= 0 else "in " + rough(max(left_s, 1))


def exact(moment: str, now_s: float) -> str:
    """Return a moment as it is, with the distance from now behind it."""
    ahead = parse_moment(moment) > now_s
    return f"{moment} ({until(moment, now_s) if ahead else ago(moment, now_s)})"


def milliseconds(duration_ms: float) -> str:
    """Return a measured duration: `12 ms`, `10.0 s`."""
    return f"{duration_ms / 1000:.1f} s" if duration_ms >= 1000 else f"{duration_ms:.0f} ms"


def clock_time(moment: str) -> str:
    """Return the time of day of `moment` in the reader's zone: `11:45:22`."""
    return datetime.fromtimestamp(parse_moment(moment)).astimezone().strftime("%H:%M:%S")
