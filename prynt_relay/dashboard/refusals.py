"""How many events were refused of late, from counters that only know of all time."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

SAMPLE_S: Final = 60.0
SAMPLES: Final = 61
"""A minute apart: an hour."""


class Refusals:
    """Looks at the counters once a minute and tells what the last hour added."""

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        """`read` returns refusals since the start, by code."""
        self._read = read
        self._samples: deque[Mapping[str, int]] = deque([read()], maxlen=SAMPLES)

    def sample(self) -> None:
        """Remember the counters as they are now."""
        self._samples.append(self._read())

    def last_hour(self) -> dict[str, int]:
        """Return what was refused in the last hour by code, the most frequent first."""
        grown = Counter(self._read())
        grown.subtract(self._samples[0])
        return {code: count for code, count in grown.most_common() if count > 0}
