"""
Tables of figures, and their ratios.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from . import busy
from .plan import GIB

#: What processor time, and what bytes on the wire, are told in.
PER_GIB, PER_PAYLOAD_BYTE = "s per GiB", "bytes per payload byte"


class NotInstalled(Exception):
    """What is to be measured is not installed; the text says what is missing."""


class Failed(Exception):
    """What is to be measured did not work; the text says why."""


@dataclass(frozen=True)
class Figure:
    """
    What was measured once.

    :ivar value: in the unit of its table.
    :ivar cpu: processor time, as its table says; ``None`` where it is not known.
    :ivar wire: bytes on the wire, as its table says; ``None`` where they are not known.
    """

    value: float
    cpu: float | None = None
    wire: float | None = None

    @classmethod
    def of_bytes(cls, size: int, seconds: float, cpu: float | None = None, wire: float | None = None) -> Figure:
        """
        Tell of a transfer, in MB/s, in seconds per GiB, and in bytes per payload byte.

        :param size: bytes of payload.
        :param seconds: that it took.
        :param cpu: processor time that it took, in seconds.
        :param wire: bytes on the wire.
        """
        return cls(size / seconds / 1e6, cpu and cpu / size * GIB, wire and wire / size)

    @classmethod
    def of_pieces(cls, count: int, seconds: float, cpu: float | None = None, wire: float | None = None) -> Figure:
        """
        Tell of requests, or of connections, in pieces per second, in seconds per 1,000 pieces, and in bytes per piece.

        :param count: of pieces.
        :param seconds: that all took.
        :param cpu: processor time that all took, in seconds.
        :param wire: bytes on the wire.
        """
        return cls(count / seconds, cpu and cpu / count * 1000, wire and wire / count)


@dataclass
class Row:
    """
    One figure.

    :ivar name: what was measured.
    :ivar samples: one number for each round.
    :ivar note: why there are no samples, or a remark.
    :ivar key: its name in ``--json``; the name for people, unless told.
    :ivar cpu: processor time, a number for each round; empty where it is not known.
    :ivar wire: bytes on the wire, a number for each round; empty where they are not known.
    """

    name: str
    samples: list[float] = field(default_factory=list)
    note: str = ""
    key: str = ""
    cpu: list[float] = field(default_factory=list)
    wire: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = self.key or self.name

    @property
    def median(self) -> float | None:
        """The median of the samples; ``None`` without any."""
        return median(self.samples) if self.samples else None

    def add(self, figure: Figure) -> None:
        """Add what one round has shown."""
        self.samples.append(figure.value)
        if figure.cpu is not None:
            self.cpu.append(figure.cpu)
        if figure.wire is not None:
            self.wire.append(figure.wire)


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


def ratio_of(above: Sequence[float], below: Sequence[float]) -> Ratio | None:
    """
    Compare figures that were taken in turn.

    :param above: of each round, what is divided.
    :param below: of each round, by what.
    :return: ``None`` when there is nothing to compare.
    """
    ratios = [a / b for a, b in zip(above, below, strict=False) if b]
    if not ratios or not median(below):
        return None
    return Ratio(median(above) / median(below), min(ratios), max(ratios))


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
    :ivar better: ``more`` or ``less``.
    :ivar cpu_unit: what processor time is told in.
    :ivar wire_unit: what bytes on the wire are told in.
    :ivar busy: what else the machine did while the figures were taken; empty when it did nothing.
    """

    key: str
    title: str
    unit: str
    rows: list[Row] = field(default_factory=list)
    upside_down: bool = False
    compared: bool = True
    failed: bool = False
    better: str = "more"
    cpu_unit: str = ""
    wire_unit: str = ""
    busy: str = ""

    def ratio(self, row: Row) -> Ratio | None:
        """
        Compare a row to the first one.

        :return: ``None`` for the first row, and when a figure is missing.
        """
        return self._compare(row, self.rows[0].samples, row.samples)

    def _compare(self, row: Row, first: list[float], other: list[float]) -> Ratio | None:
        if not self.compared or row is self.rows[0]:
            return None
        return ratio_of(other, first) if self.upside_down else ratio_of(first, other)

    def cpu_ratio(self, row: Row) -> Ratio | None:
        """
        Compare processor time, the same way round.

        :return: below 1 when the first row takes less, unless upside down; ``None`` for the first row, and when it is
            not known.
        """
        return self._compare(row, self.rows[0].cpu, row.cpu)

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` writes of the table."""
        rows = [
            {
                "key": row.key,
                "name": row.name,
                "samples": row.samples,
                "median": row.median,
                "ratio": _ratio_as_json(self.ratio(row)),
                "cpu": median(row.cpu) if row.cpu else None,
                "cpu_ratio": _ratio_as_json(self.cpu_ratio(row)),
                "wire": median(row.wire) if row.wire else None,
                "note": row.note,
            }
            for row in self.rows
        ]
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "better": self.better,
            "cpu_unit": self.cpu_unit,
            "wire_unit": self.wire_unit,
            "busy": self.busy,
            "rows": rows,
        }

    def as_text(self) -> str:
        """Write the table for people."""
        units = [self.unit]
        if any(row.cpu for row in self.rows):
            units.append(f"CPU: {self.cpu_unit}")
        if any(row.wire for row in self.rows):
            units.append(f"wire: {self.wire_unit}")
        width = max(len(row.name) for row in self.rows)
        lines = [f"{self.title} ({'; '.join(units)})"]
        lines += [f"  {row.name:{width}}{self._figures(row)}".rstrip() for row in self.rows]
        return "\n".join(lines + [f"  BUSY: {self.busy}"] if self.busy else lines)

    def _figures(self, row: Row) -> str:
        text = ""
        if row.median is not None:
            spread = f"({number(min(row.samples))}..{number(max(row.samples))})"
            text += f"  {number(row.median):>9}  {spread:20}"
        if (ratio := self.ratio(row)) is not None:
            spread = f"({ratio.low:.2f}..{ratio.high:.2f})"
            text += f"  {ratio.median:7.2f} x  {spread:16}"
        elif self.compared and (row.cpu or row.wire):
            text += " " * 29
        if row.cpu:
            cpu = self.cpu_ratio(row)
            text += f"  CPU {number(median(row.cpu)):>6}  " + (f"{cpu.median:5.2f} x" if cpu else " " * 7)
        if row.wire:
            wire = median(row.wire)
            text += f"  wire {number(wire) if wire >= 10 else f'{wire:.4f}':>6}"
        return text + (f"  {row.note}" if row.note else "")


def _ratio_as_json(ratio: Ratio | None) -> dict[str, float] | None:
    return {"median": ratio.median, "min": ratio.low, "max": ratio.high} if ratio else None


def number(value: float) -> str:
    """Write a figure with the digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def in_turn(
    table: Table,
    measure: Mapping[str, Callable[[], float | Figure]],
    rounds: int,
    warm_up: bool,
    names: Mapping[str, str] | None = None,
) -> Table:
    """
    Measure A B C A B C … The first round may be a warm-up, which does not count. What is not installed, or does not
    work, gets a note and is not measured again. What else the machine does meanwhile is noted.

    :param table: the table that gets the rows.
    :param measure: for each row's key, a function that returns its figure.
    :param rounds: how many rounds count.
    :param warm_up: whether there is a warm-up.
    :param names: the rows' names by their keys, where these are others.
    """
    rows = {key: Row((names or {}).get(key, key), key=key) for key in measure}
    table.rows.extend(rows.values())
    before = busy.now()
    for turn in range(0 if warm_up else 1, rounds + 1):
        for key, take in measure.items():
            row = rows[key]
            if row.note:
                continue
            try:
                figure = take()
            except NotInstalled as missing:
                row.note = f"not installed: {missing}"
            except Failed as failure:
                for samples in (row.samples, row.cpu, row.wire):
                    samples.clear()
                row.note = f"failed: {failure}"
                table.failed = True
            else:
                if turn:
                    row.add(figure if isinstance(figure, Figure) else Figure(figure))
    table.busy = busy.describe_others(before, busy.now(), os.cpu_count() or 1)
    return table


def progress(text: str) -> None:
    """Say what is being done now. This is not part of the result."""
    print(text, file=sys.stderr, flush=True)
