"""Charts as shapes in a 1000 by 100 field, for templates to draw as SVG.

The field is stretched to whatever room there is, so texts aren't part of it.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from prynt_relay.api.outputs import Interval
from prynt_relay.dashboard.words import NOTHING, OUTCOMES, clock_utc, compact, number, took

WIDTH: Final = 1000.0
HEIGHT: Final = 100.0
GAP: Final = 0.22
"""The share of a slot that stays free beside a bar."""

SUCCESS: Final = "success"


class Shape(msgspec.Struct, frozen=True):
    """A rectangle of a kind that the style sheet gives its colour."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Slot(msgspec.Struct, frozen=True):
    """A minute's or an hour's column: what it says when it is pointed at, and its shapes."""

    x: float
    width: float
    start: str
    says: str
    shapes: tuple[Shape, ...]


class Line(msgspec.Struct, frozen=True):
    """A path through the slots that have a value, level across each."""

    kind: str
    path: str


class Row(msgspec.Struct, frozen=True):
    """A line of the table that says the same as the chart."""

    start: str
    values: tuple[str, ...]


class Chart(msgspec.Struct, frozen=True):
    """One chart: shapes, its scale, and the same as text."""

    id: str
    title: str
    top: str
    """What the upper edge stands for."""
    summary: str
    slots: tuple[Slot, ...]
    lines: tuple[Line, ...]
    legend: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    is_empty: bool


def events_chart(intervals: Sequence[Interval]) -> Chart:
    """Return how many events came in."""
    counts = [each.events for each in intervals]
    top = _ceiling(max(counts, default=0))
    slots = _slots(
        intervals,
        lambda each: f"{number(each.events)} events",
        lambda each: (("accent", float(each.events)),),
        top,
    )
    return Chart(
        id="events",
        title="Events in",
        top=compact(top),
        summary=f"{number(sum(counts))} events in all, at most {number(max(counts, default=0))}.",
        slots=slots,
        lines=(),
        legend=(),
        columns=("Events",),
        rows=tuple(Row(each.start, (number(each.events),)) for each in intervals),
        is_empty=not sum(counts),
    )


def attempts_chart(intervals: Sequence[Interval]) -> Chart:
    """Return attempts by outcome, successes below and each kind of failure above."""
    totals = {name: sum(each.attempts[name] for each in intervals) for name in OUTCOMES}
    seen = [name for name in OUTCOMES if totals[name] or name == SUCCESS]
    most = max((sum(each.attempts.values()) for each in intervals), default=0)
    top = _ceiling(most)

    def says(each: Interval) -> str:
        found = [f"{OUTCOMES[n]}: {number(each.attempts[n])}" for n in seen if each.attempts[n]]
        return ", ".join(found) or "no attempts"

    slots = _slots(
        intervals,
        says,
        lambda each: tuple((name, float(each.attempts[name])) for name in seen),
        top,
    )
    return Chart(
        id="attempts",
        title="Attempts by outcome",
        top=compact(top),
        summary="; ".join(f"{OUTCOMES[name]}: {number(totals[name])}" for name in seen) + ".",
        slots=slots,
        lines=(),
        legend=tuple((name, OUTCOMES[name]) for name in seen),
        columns=tuple(OUTCOMES[name] for name in seen),
        rows=tuple(
            Row(each.start, tuple(number(each.attempts[name]) for name in seen))
            for each in intervals
        ),
        is_empty=not sum(totals.values()),
    )


def success_chart(intervals: Sequence[Interval]) -> Chart:
    """Return which share of the attempts succeeded."""
    ratios = [success_ratio((each,)) for each in intervals]
    overall = success_ratio(intervals)
    return Chart(
        id="success",
        title="Success ratio",
        top="100 %",
        summary="No attempts." if overall is None else f"{percent(overall)} of all attempts.",
        slots=_slots(intervals, lambda each: percent(success_ratio((each,))), lambda _: (), 1.0),
        lines=(Line("success", _path(ratios, 1.0)),),
        legend=(),
        columns=("Success ratio",),
        rows=tuple(
            Row(each.start, (percent(ratio),))
            for each, ratio in zip(intervals, ratios, strict=True)
        ),
        is_empty=overall is None,
    )


def latency_chart(intervals: Sequence[Interval]) -> Chart:
    """Return the median and the 99th percentile of how long attempts took."""
    p50 = [None if each.duration_ms is None else each.duration_ms.p50 for each in intervals]
    p99 = [None if each.duration_ms is None else each.duration_ms.p99 for each in intervals]
    worst = max((value for value in p99 if value is not None), default=0.0)
    top = _ceiling(worst)

    def says(each: Interval) -> str:
        if each.duration_ms is None:
            return "no attempts"
        return f"p50 {took(each.duration_ms.p50)}, p99 {took(each.duration_ms.p99)}"

    return Chart(
        id="latency",
        title="Latency",
        top=took(top),
        summary=f"99th percentile at most {took(worst)}." if worst else "No attempts.",
        slots=_slots(intervals, says, lambda _: (), top),
        lines=(Line("p99", _path(p99, top)), Line("p50", _path(p50, top))),
        legend=(("p50", "p50"), ("p99", "p99")),
        columns=("p50", "p99"),
        rows=tuple(
            Row(each.start, (took(low), took(high)))
            for each, low, high in zip(intervals, p50, p99, strict=True)
        ),
        is_empty=all(value is None for value in p99),
    )


def spark(intervals: Sequence[Interval]) -> Chart:
    """Return attempts as successes and failures, for a line of a table."""
    ok = sum(each.attempts[SUCCESS] for each in intervals)
    total = sum(sum(each.attempts.values()) for each in intervals)
    top = max((sum(each.attempts.values()) for each in intervals), default=0) or 1
    slots = _slots(
        intervals,
        lambda each: "",
        lambda each: (
            (SUCCESS, float(each.attempts[SUCCESS])),
            ("http_error", float(sum(each.attempts.values()) - each.attempts[SUCCESS])),
        ),
        top,
    )
    return Chart(
        id="spark",
        title="Attempts of the last day",
        top="",
        summary=f"{number(ok)} of {number(total)} attempts succeeded in the last day",
        slots=tuple(slot for slot in slots if slot.shapes),
        lines=(),
        legend=(),
        columns=(),
        rows=(),
        is_empty=not total,
    )


def success_ratio(intervals: Sequence[Interval]) -> float | None:
    """Return which share of the attempts succeeded, None without attempts."""
    total = sum(sum(each.attempts.values()) for each in intervals)
    return sum(each.attempts[SUCCESS] for each in intervals) / total if total else None


def percent(ratio: float | None) -> str:
    """Return a share; never 100 % while something failed."""
    if ratio is None:
        return NOTHING
    if 0.999 < ratio < 1:
        return f"{int(ratio * 100_000) / 1000:.2f} %" if ratio < 0.9999 else "> 99.99 %"
    return f"{ratio * 100:.4g} %" if ratio < 1 else "100 %"


def _slots(
    intervals: Sequence[Interval],
    says: Callable[[Interval], str],
    values: Callable[[Interval], tuple[tuple[str, float], ...]],
    top: float,
) -> tuple[Slot, ...]:
    width = WIDTH / max(len(intervals), 1)
    slots = []
    for index, each in enumerate(intervals):
        x, y = index * width, HEIGHT
        shapes = []
        for kind, value in values(each):
            if value <= 0:
                continue
            # What is there at all can be seen.
            height = max(value / top * HEIGHT, 1.0)
            y = max(y - height, 0.0)
            left = round(x + width * GAP / 2, 2)
            shapes.append(
                Shape(kind, left, round(y, 2), round(width * (1 - GAP), 2), round(height, 2))
            )
        slots.append(
            Slot(
                round(x, 2),
                round(width, 2),
                each.start,
                f"{clock_utc(each.start)} UTC: {says(each)}",
                tuple(shapes),
            )
        )
    return tuple(slots)


def _path(values: Sequence[float | None], top: float) -> str:
    width = WIDTH / max(len(values), 1)
    steps: list[str] = []
    drawing = False
    for index, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        y = round(HEIGHT - min(value / top, 1.0) * HEIGHT, 2)
        steps.append(f"{'V' if drawing else f'M{index * width:.2f} '}{y:g}")
        steps.append(f"H{(index + 1) * width:.2f}")
        drawing = True
    return "".join(steps)


def _ceiling(value: float) -> float:
    """Return a round number that isn't below `value`."""
    for whole in (1, 2, 3, 4, 5, 6, 8):
        if value <= whole:
            return whole
    size = 10.0
    while True:
        for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8):
            if value <= step * size:
                return step * size
        size *= 10
