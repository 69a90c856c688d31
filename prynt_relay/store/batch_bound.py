"""How large a transaction may be: as large as this disk commits in time. Pure."""

from typing import Final

MOST_ROWS: Final = 4000
MOST_BYTES: Final = 4 * 1024 * 1024
"""Where a batch is cut at the latest; larger ones bring nothing. One larger job is one batch."""

LEAST_SHARE: Final = 0.25
"""Below this share of the most it isn't cut: there a commit takes as long as a sync does, and
smaller batches would only be more of them."""

SLOW_S: Final = 0.04
"""A commit that takes longer makes the next batches smaller. What comes in meanwhile is in the
next one, so an ack waits for two; and no commit should take 100 ms."""

_SMALLER: Final = 0.7
_LARGER: Final = 1.02


class BatchBound:
    """Where a batch is cut. It shrinks at once after a slow commit and grows back slowly."""

    def __init__(self) -> None:
        self._share = 1.0
        self.rows = MOST_ROWS
        self.size = MOST_BYTES

    def committed(self, rows: int, size: int, duration_s: float) -> None:
        """Learn from a commit; one of a batch that wasn't cut tells nothing about the bound."""
        if 2 * rows < self.rows and 2 * size < self.size:
            return
        factor = _SMALLER if duration_s > SLOW_S else _LARGER
        self._share = min(max(self._share * factor, LEAST_SHARE), 1.0)
        self.rows = round(MOST_ROWS * self._share)
        self.size = round(MOST_BYTES * self._share)
