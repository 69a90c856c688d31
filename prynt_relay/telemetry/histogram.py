"""A histogram that costs one bisection and two additions to observe."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import msgspec
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.utils import floatToGoString


class HistogramReading(msgspec.Struct, frozen=True):
    """What a histogram held at one moment; `counts` has one more entry than `bounds`."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        """Return it as Prometheus shows it: cumulative, the last bucket without a bound."""
        labels = [*map(floatToGoString, self.bounds), "+Inf"]
        buckets = list(zip(labels, map(float, accumulate(self.counts)), strict=True))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self.total)


class Histogram:
    """Counts of observations by size; `bounds` are inclusive upper bounds, ascending."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def read(self) -> HistogramReading:
        """Return a copy that later observations leave alone."""
        return HistogramReading(self._bounds, tuple(self._counts), self._total)
