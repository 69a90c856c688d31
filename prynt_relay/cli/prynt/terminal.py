"""Writing for people: styled where a terminal shows it, plain and whole where it doesn't."""

import functools
import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from prynt_relay.escape import safe_line

_WHOLE: Final = 1_000_000  # off a terminal nothing is cut: what reads it has no width
_GAP: Final = 2


class Cell(NamedTuple):
    """A table's cell: a line of text from anywhere, and a rich style."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """A table's column. One that may shrink does, with `…`, down to `least` cells.

    `middle` keeps the end too: what differs in an URL is often its last part.
    """

    title: str
    cells: Sequence[Cell]
    least: int | None = None
    right: bool = False
    middle: bool = False


class Terminal:
    """Standard output and error as a person sees them."""

    @functools.cached_property
    def out(self) -> Console:
        """Standard output; no width of its own off a terminal, unless $COLUMNS gives one."""
        return _console(sys.stdout)

    @functools.cached_property
    def err(self) -> Console:
        """Standard error."""
        return _console(sys.stderr)

    def say(self, *parts: str | Text | Cell) -> None:
        """Print a line to stdout, wrapped by nobody: it can be copied as it is."""
        self.out.print(_line(parts), soft_wrap=True)

    def blank(self) -> None:
        """Print an empty line to stdout."""
        self.out.print()

    def notice(self, text: str) -> None:
        """Print a remark to stderr."""
        self.err.print(_line([text]), soft_wrap=True)

    def table(self, layouts: Sequence[Sequence[Column]]) -> None:
        """Print the first layout that fits the width once shrunk, else the last one."""
        width = self.out.width
        chosen = next((it for it in layouts if _least_width(it) <= width), layouts[-1])
        widths = _fit(chosen, width)
        titles = [Cell(column.title, "bold") for column in chosen]
        self.out.print(_row(titles, chosen, widths), soft_wrap=True)
        for cells in zip(*(column.cells for column in chosen), strict=True):
            self.out.print(_row(cells, chosen, widths), soft_wrap=True)


def cut(text: str, width: int) -> str:
    """Return a safe line cut to `width` cells, with `…` where something is missing."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…"


def cut_middle(text: str, width: int) -> str:
    """Return a safe line cut to `width` cells, with `…` for what its middle lacks."""
    if cell_len(text) <= width:
        return text
    end_width = width // 2
    at = len(text)
    while at and cell_len(text[at - 1 :]) <= end_width:
        at -= 1
    return set_cell_size(text, max(width - 1 - end_width, 0)).rstrip() + "…" + text[at:]


def _console(file: object) -> Console:
    terminal = file.isatty()  # type: ignore[attr-defined]  # a text stream, or a test's
    return Console(
        file=file,  # type: ignore[arg-type]
        width=None if terminal or os.environ.get("COLUMNS") else _WHOLE,
        markup=False,
        highlight=False,
        emoji=False,
    )


def _line(parts: Sequence[str | Text | Cell]) -> Text:
    line = Text()
    for part in parts:
        if isinstance(part, Text):
            line.append_text(part)
        elif isinstance(part, Cell):
            line.append(safe_line(part.text), part.style)
        else:
            line.append(safe_line(part))
    return line


def _least_width(columns: Sequence[Column]) -> int:
    least = [
        natural if column.least is None else min(natural, column.least)
        for natural, column in zip(_natural(columns), columns, strict=True)
    ]
    return sum(least) + _GAP * (len(columns) - 1)


def _natural(columns: Sequence[Column]) -> list[int]:
    return [
        max(cell_len(column.title), *(cell_len(safe_line(cell.text)) for cell in column.cells), 0)
        for column in columns
    ]


def _fit(columns: Sequence[Column], width: int) -> list[int]:
    """Take what is too much from the columns that may shrink, the widest first."""
    widths = _natural(columns)
    excess = sum(widths) + _GAP * (len(columns) - 1) - width
    while excess > 0:
        spare = [
            (widths[i] - (column.least or 0), i)
            for i, column in enumerate(columns)
            if column.least is not None and widths[i] > column.least
        ]
        if not spare:
            break  # a terminal this narrow wraps the lines: nothing that matters is left out
        widest = max(spare, key=lambda pair: (widths[pair[1]], pair[0]))[1]
        widths[widest] -= 1
        excess -= 1
    return widths


def _row(cells: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int]) -> Text:
    row = Text()
    for i, (cell, column, width) in enumerate(zip(cells, columns, widths, strict=True)):
        if i:
            row.append(" " * _GAP)
        text = (cut_middle if column.middle else cut)(safe_line(cell.text), width)
        padding = " " * (width - cell_len(text))
        row.append(padding if column.right else "")
        row.append(text, cell.style)
        row.append("" if column.right else padding)
    row.rstrip()
    return row
