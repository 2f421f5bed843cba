"""
Figures, and what they say beside each other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any


class NotInstalled(Exception):
    """What is to be measured isn't there; the text says what is missing."""


class Failed(Exception):
    """What is to be measured did not work; the text says what it told."""


@dataclass
class Row:
    """
    One figure.

    :ivar name: what was measured.
    :ivar samples: one for each round.
    :ivar note: why there are none, or what has to be known.
    """

    name: str
    samples: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float | None:
        """The middle one, ``None`` without any."""
        return median(self.samples) if self.samples else None


@dataclass(frozen=True)
class Ratio:
    """
    Of two figures.

    :ivar median: that of their medians.
    :ivar low: the smallest of all rounds.
    :ivar high: the largest.
    """

    median: float
    low: float
    high: float


@dataclass
class Table:
    """
    Figures taken in turn.

    :ivar key: names it in ``--json``.
    :ivar title: what was measured.
    :ivar unit: of the figures.
    :ivar rows: the first one is that which the others are compared to.
    :ivar upside_down: whether ratios are those of a row to the first one, instead of the other way round.
    :ivar compared: whether there are ratios.
    :ivar failed: whether something did not work.
    """

    key: str
    title: str
    unit: str
    rows: list[Row] = field(default_factory=list)
    upside_down: bool = False
    compared: bool = True
    failed: bool = False

    def ratio(self, row: Row) -> Ratio | None:
        """
        Compare a row to the first one.

        :return: ``None`` for the first one, and where a figure is missing.
        """
        first = self.rows[0]
        above, below = (row, first) if self.upside_down else (first, row)
        if not self.compared or row is first or above.median is None or not below.median:
            return None
        ratios = [a / b for a, b in zip(above.samples, below.samples, strict=False) if b]
        return Ratio(above.median / below.median, min(ratios), max(ratios))

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        rows = []
        for row in self.rows:
            ratio = self.ratio(row)
            shown = {"median": ratio.median, "min": ratio.low, "max": ratio.high} if ratio else None
            rows.append(
                {"name": row.name, "samples": row.samples, "median": row.median, "ratio": shown, "note": row.note}
            )
        return {"key": self.key, "title": self.title, "unit": self.unit, "rows": rows}

    def as_text(self) -> str:
        """All of it, for a person."""
        lines = [f"{self.title} ({self.unit})"]
        width = max(len(row.name) for row in self.rows)
        for row in self.rows:
            line = f"  {row.name:{width}}"
            if row.median is not None:
                spread = f"({number(min(row.samples))}..{number(max(row.samples))})"
                line += f"  {number(row.median):>9}  {spread:24}"
            if (ratio := self.ratio(row)) is not None:
                line += f"  {ratio.median:7.2f} x  ({ratio.low:.2f}..{ratio.high:.2f})"
            if row.note:
                line += f"  {row.note}"
            lines.append(line.rstrip())
        return "\n".join(lines)


def number(value: float) -> str:
    """Write a figure with what of it matters."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def in_turn(table: Table, measure: Mapping[str, Callable[[], float]], rounds: int, warm_up: bool) -> Table:
    """
    Measure A B C A B C …, the first time as a warm-up that does not count. What is not there or does
    not work gets a note and no further turn.

    :param table: gets the rows.
    :param measure: for each row's name what returns its figure.
    :param rounds: how many count.
    :param warm_up: whether there is one.
    """
    rows = {name: Row(name) for name in measure}
    table.rows.extend(rows.values())
    for turn in range(0 if warm_up else 1, rounds + 1):
        for name, take in measure.items():
            row = rows[name]
            if row.note:
                continue
            try:
                figure = take()
            except NotInstalled as missing:
                row.note = f"not installed: {missing}"
            except Failed as failure:
                row.samples.clear()
                row.note = f"failed: {failure}"
                table.failed = True
            else:
                if turn:
                    row.samples.append(figure)
    return table


def progress(text: str) -> None:
    """Say what is done now; not part of the result."""
    print(text, file=sys.stderr, flush=True)
