"""Figures, the bars that they are held against, and the table."""

import json
import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prynt_relay.version import __version__
from tests.bench.processes import Late


class Figure(NamedTuple):
    """One measured thing, once per round; `bar` is a bar's number, or empty for a remark."""

    bar: str
    what: str
    unit: str
    runs: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def bound(self) -> str:
        if self.at_least is not None:
            return f"≥ {_shown(self.at_least)}"
        return "" if self.at_most is None else f"≤ {_shown(self.at_most)}"

    @property
    def verdict(self) -> str:
        if self.at_least is not None:
            return "met" if self.median >= self.at_least else "**not met**"
        if self.at_most is not None:
            return "met" if self.median <= self.at_most else "**not met**"
        return ""


class Report:
    """Collects figures as they come."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self._late: dict[str, list[Late]] = {}

    def add(
        self,
        bar: str,
        what: str,
        unit: str,
        runs: Sequence[float],
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Take in a figure, and show it at once to whoever watches."""
        figure = Figure(bar, what, unit, tuple(runs), at_least, at_most)
        self.figures.append(figure)
        print(f"  {' | '.join(_cells(figure))}", file=sys.stderr, flush=True)

    def watched(self, scenario: str, late: Sequence[Late]) -> None:
        """Take in what the watchdog noted of a daemon while it was measured."""
        self._late.setdefault(scenario, []).extend(late)

    def add_lateness(self) -> None:
        """The loop's worst moments, without the time in which it had no processor."""
        for scenario, late in self._late.items():
            blocked = max((one.blocked_ms for one in late), default=0.0)
            self.add("10", f"loop blocked, {scenario}: longest", "ms", [blocked], at_most=50)

    def markdown(self) -> str:
        """The table."""
        rows: list[tuple[str, ...]] = [
            ("bar", "what", "median", "least … most", "unit", "asked", "")
        ]
        figures = sorted(self.figures, key=lambda f: int(f.bar) if f.bar else 99)
        rows += [_cells(figure) for figure in figures]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            + " |"
            for row in rows
        ]  # fmt: skip
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join(lines)

    def write(self, file: Path, seconds: float) -> None:
        """Everything as JSON."""
        figures = [
            {**figure._asdict(), "median": figure.median, "verdict": figure.verdict.strip("*")}
            for figure in self.figures
        ]
        document: dict[str, Any] = {
            "machine": machine(),
            "seconds": round(seconds, 1),
            "figures": figures,
            "late": {
                name: [
                    late._asdict() for late in sorted(noted, key=lambda one: -one.blocked_ms)[:20]
                ]
                for name, noted in self._late.items()
            },
        }
        file.write_text(json.dumps(document, indent=1) + "\n")


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    return {
        "relay": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "kernel": platform.release(),
        "processors": f"{os.cpu_count()} x {model}",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def _cells(figure: Figure) -> tuple[str, ...]:
    spread = f"{_shown(min(figure.runs))} … {_shown(max(figure.runs))}"
    return (
        figure.bar, figure.what, _shown(figure.median), spread if len(figure.runs) > 1 else "",
        figure.unit, figure.bound, figure.verdict,
    )  # fmt: skip


def _shown(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of all are."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Each round's ratio."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]
