"""
Draws the picture: for each workload that decides, bars for both versions of sodiumtwist and for the best of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from .tables import Table, number

#: So many of the others are drawn, the best ones.
OTHERS = 3

#: Our own rows, and their names in the picture.
OURS = {"sodiumtwist": "sodiumtwist", "sodiumtwist-1": "… with version 1"}


@dataclass(frozen=True)
class Group:
    """
    The bars of one workload.

    :ivar table: the key of its table.
    :ivar title: what stands above them.
    :ivar where: how a sentence names it.
    :ivar others: keys of the rows that may be drawn beside our own, with their names: those that do the same work.
    """

    table: str
    title: str
    where: str
    others: Mapping[str, str]


TLS = {"tls": "Twisted TLS", "amp": "AMP over TLS", "asyncio": "asyncio TLS"}
ZEROMQ = {"zeromq": "ZeroMQ CURVE"}
TRANSIT = {"transit": "wormhole transit"}

#: What is drawn, column by column in each line. TCP without encryption is left out, which does less.
GROUPS = (
    Group("bulk-65536", "Bulk, 64 KiB payloads", "in bulk", {**TLS, **ZEROMQ, **TRANSIT}),
    Group("send", "A file, by whole programs", "with a file", {"scp": "scp", "rsync": "plain rsync"}),
    Group(
        "trees", "10,000 small files, by whole programs", "with small files", {"scp": "scp -r", "rsync": "plain rsync"}
    ),
    Group("serial", "Requests, one at a time", "with requests one at a time", {**TLS, **ZEROMQ, **TRANSIT}),
    # TLS alone has no messages: it gives back bytes as they come, many requests in one piece.
    Group("in-flight", "Requests, 128 at once", "with 128 requests at once", {"amp": TLS["amp"], **ZEROMQ, **TRANSIT}),
    # The transit's ends know their key before: they agree on none.
    Group("connections", "Fresh connections", "with fresh connections", {**TLS, **ZEROMQ}),
    Group(
        "tunnel-16",
        "A tunnel, redis-benchmark -P 16",
        "as a tunnel for redis",
        {"stunnel": "stunnel", "spiped": "spiped"},
    ),
)

#: In pixels, at the width of a page of GitHub's. The sizes of the text are for that width.
WIDTH, MARGIN = 800, 14
COLUMN = (WIDTH - 3 * MARGIN) // 2
NAMES, FIGURES = 132, 66
BARS = COLUMN - NAMES - FIGURES
TITLE, PITCH, BAR, BELOW = 26, 20, 13, 14

# The background is part of the picture: it is readable on any page, light or dark.
STYLE = """
text { font: 13px sans-serif; fill: #1f2328 }
.title { font-weight: bold }
.note { font-size: 12px; fill: #59636e }
.page { fill: #ffffff; stroke: #d1d9e0 }
.ours { fill: #0969da }
.first { fill: #80b7f5 }
.others { fill: #b1bac4 }
.spread { stroke: #59636e }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  .page { fill: #0d1117; stroke: #3d444d }
  .ours { fill: #4493f8 }
  .first { fill: #2a5a9c }
  .others { fill: #656c76 }
  .spread { stroke: #b7bdc8 }
}
"""

NOTE = "Longer bars are faster. A bar is the median; the line in it goes from the slowest round to the fastest."

Rows = list[tuple[str, dict[str, Any]]]


def choose(group: Group, tables: Iterable[Mapping[str, Any]]) -> Rows:
    """
    Choose what is drawn of a workload.

    :param tables: what :meth:`~benchmarks.tables.Table.as_json` makes of all tables.
    :return: names and rows: ours, then the best of the others.
    """
    rows = [row for table in tables if table["key"] == group.table for row in table["rows"] if row["median"]]
    ours = [(name, row) for key, name in OURS.items() for row in rows if row["key"] == key]
    others = [(group.others[row["key"]], row) for row in rows if row["key"] in group.others]
    return [*ours, *sorted(others, key=lambda other: -other[1]["median"])[:OTHERS]]


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    kind = f' class="{kind}"' if kind else ""
    anchor = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}"{kind}{anchor}>{escape(text)}</text>'


def _bars(left: float, top: float, title: str, rows: Rows) -> Iterator[str]:
    """Draw one group, at its place."""
    yield _text(left, top + 14, title, "title")
    longest = max(max(row["samples"]) for _, row in rows)
    begin = left + NAMES
    for place, (name, row) in enumerate(rows):
        y = top + TITLE + place * PITCH
        kind = {"sodiumtwist": "ours", "sodiumtwist-1": "first"}.get(row["key"], "others")
        low, middle, high = (
            round(BARS * figure / longest, 1) for figure in (min(row["samples"]), row["median"], max(row["samples"]))
        )
        yield _text(begin - 8, y + 11, name, anchor="end")
        yield f'<rect class="{kind}" x="{begin}" y="{y}" width="{middle:g}" height="{BAR}"/>'
        yield f'<path class="spread" d="M{begin + low:g} {y + BAR / 2:g}H{begin + high:g}"/>'
        yield _text(begin + max(middle, high) + 6, y + 11, number(row["median"]))


def picture(tables: Iterable[Mapping[str, Any]]) -> str:
    """
    Draw the picture. The same figures make the same SVG.

    :param tables: what :meth:`~benchmarks.tables.Table.as_json` makes of all tables; the picture shows some of them.
    :raises ValueError: when none of what it shows was measured beside something else.
    """
    tables = list(tables)
    units = {table["key"]: table["unit"] for table in tables}
    chosen = [(group, rows) for group in GROUPS if len(rows := choose(group, tables)) > 1]
    if not chosen:
        raise ValueError("nothing of what was measured can be drawn")
    drawn: list[str] = []
    top = MARGIN
    for start in range(0, len(chosen), 2):
        line = chosen[start : start + 2]
        for column, (group, rows) in enumerate(line):
            title = f"{group.title} ({units[group.table]})"
            drawn += _bars(MARGIN + column * (COLUMN + MARGIN), top, title, rows)
        top += TITLE + PITCH * max(len(rows) for _, rows in line) + BELOW
    drawn.append(_text(MARGIN, top + 6, NOTE, "note"))
    height = top + 6 + MARGIN
    size = f'width="{WIDTH}" height="{height}"'
    what = escape("; ".join(group.title for group, _ in chosen))
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {size}>',
            f"<title>sodiumtwist beside others: {what}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
            *drawn,
            "</svg>\n",
        )
    )


def draw(tables: list[Table], path: str) -> None:
    """
    Write the picture as an SVG.

    :param tables: all tables; the picture shows some of them.
    :param path: of the file.
    """
    try:
        drawn = picture([table.as_json() for table in tables])
    except ValueError as nothing:
        raise SystemExit(f"benchmarks: {nothing}") from None
    with open(path, "w", encoding="utf-8") as file:
        file.write(drawn)
