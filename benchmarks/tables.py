"""
Tables of figures, and their ratios.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any


class NotInstalled(Exception):
    """What is to be measured is not installed; the text says what is missing."""


class Failed(Exception):
    """What is to be measured did not work; the text says why."""


@dataclass
class Row:
    """
    One figure.

    :ivar name: what was measured.
    :ivar samples: one number for each round.
    :ivar note: why there are no samples, or a remark.
    """

    name: str
    samples: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float | None:
        """The median of the samples; ``None`` without any."""
        return median(self.samples) if self.samples else None


@dataclass(frozen=True)
class Ratio:
    """
    The ratio of two figures.

    :ivar median: the ratio of their medians.
    :ivar low: the smallest ratio of all rounds.
    :ivar high: the largest ratio of all rounds.
    """

    median: float
    low: float
    high: float


@dataclass
class Table:
    """
    Figures that were taken in turn.

    :ivar key: its name in ``--json``.
    :ivar title: what was measured.
    :ivar unit: the unit of the figures.
    :ivar rows: the figures. The others are compared to the first one.
    :ivar upside_down: whether a ratio is that of a row to the first one, and not that of the first one to a row.
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

        :return: ``None`` for the first row, and when a figure is missing.
        """
        first = self.rows[0]
        above, below = (row, first) if self.upside_down else (first, row)
        if not self.compared or row is first or above.median is None or not below.median:
            return None
        ratios = [a / b for a, b in zip(above.samples, below.samples, strict=False) if b]
        return Ratio(above.median / below.median, min(ratios), max(ratios))

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` writes of the table."""
        rows = []
        for row in self.rows:
            ratio = self.ratio(row)
            shown = {"median": ratio.median, "min": ratio.low, "max": ratio.high} if ratio else None
            rows.append(
                {"name": row.name, "samples": row.samples, "median": row.median, "ratio": shown, "note": row.note}
            )
        return {"key": self.key, "title": self.title, "unit": self.unit, "rows": rows}

    def as_text(self) -> str:
        """Write the table for people."""
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
    """Write a figure with the digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def in_turn(table: Table, measure: Mapping[str, Callable[[], float]], rounds: int, warm_up: bool) -> Table:
    """
    Measure A B C A B C … The first round may be a warm-up, which does not count. What is not installed, or does not
    work, gets a note and is not measured again.

    :param table: the table that gets the rows.
    :param measure: for each row's name, a function that returns its figure.
    :param rounds: how many rounds count.
    :param warm_up: whether there is a warm-up.
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
    """Say what is being done now. This is not part of the result."""
    print(text, file=sys.stderr, flush=True)
