"""How large a transaction may be: as large as this disk commits in time. Pure."""

from typing import Final

MOST_ROWS: Final = 4000
MOST_BYTES: Final = 4 * 1024 * 1024
"""Where a batch is cut at the latest; larger ones bring nothing. One larger job is one batch."""

LEAST_SHARE: Final = 0.25
"""Below this share of the most it isn't cut."""

SLOW_S: Final = 0.04
"""What a batch may add to the time that its commit takes however small it is. What comes in
meanwhile is in the next one, so an ack waits for two; and no commit should take 100 ms."""

_WEIGHT: Final = 1 / 16
"""Of the newest commit among those that are learnt from."""

_LEAST_SPREAD: Final = 0.0025
"""Variance of the batches' shares below which they are too alike to tell what size costs."""


class BatchBound:
    """Where a batch is cut, from how long commits of various sizes took.

    A line through them tells what size costs from what a sync costs anyway: smaller batches would
    only make more of the latter.
    """

    def __init__(self) -> None:
        self.rows = MOST_ROWS
        self.size = MOST_BYTES
        self._share = self._time_s = self._share_2 = self._product = 0.0

    def committed(self, rows: int, size: int, duration_s: float) -> None:
        """Learn from a commit of a batch of so many rows and bytes."""
        share = min(max(rows / MOST_ROWS, size / MOST_BYTES), 1.0)
        self._share += _WEIGHT * (share - self._share)
        self._time_s += _WEIGHT * (duration_s - self._time_s)
        self._share_2 += _WEIGHT * (share * share - self._share_2)
        self._product += _WEIGHT * (share * duration_s - self._product)
        spread = self._share_2 - self._share**2
        if spread < _LEAST_SPREAD:
            return
        slope_s = (self._product - self._share * self._time_s) / spread
        allowed = 1.0 if slope_s <= SLOW_S else max(SLOW_S / slope_s, LEAST_SHARE)
        self.rows = round(MOST_ROWS * allowed)
        self.size = round(MOST_BYTES * allowed)
