"""
Draws the picture: ratios as bars, and throughput over distance.
"""

from __future__ import annotations

from io import StringIO

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .distance import ONE_BY_ONE, TCP, UPLOADING
from .plan import SEED
from .tables import Table

#: Tables whose ratios are drawn.
RATIOS = ("bulk-65536", "bulk-131070", "serial", "in-flight", "connections", "send")

#: The longest bar. A longer one is cut off, with its ratio written beside it.
WIDEST = 6.0


def _draw_ratios(axes: Axes, tables: list[Table]) -> None:
    labels, values, low, high, colours = [], [], [], [], []
    for index, table in enumerate(tables):
        for row in table.rows:
            if (ratio := table.ratio(row)) is not None:
                labels.append(f"{table.title}: {row.name}")
                values.append(ratio.median)
                low.append(max(0.0, ratio.median - ratio.low))
                high.append(max(0.0, ratio.high - ratio.median))
                colours.append(f"C{index}")
    places = range(len(values))
    axes.barh(places, values, xerr=(low, high), color=colours, capsize=2, ecolor="0.3")
    for place, value in zip(places, values, strict=True):
        axes.text(min(value, WIDEST) + 0.08, place - 0.32, f"{value:.2f}", va="center", fontsize=7, clip_on=True)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(places, labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, min(WIDEST + 0.6, max([1.2, *values]) * 1.2))
    axes.set_xlabel("sodiumtwist is so many times as fast (bars to the right of 1: faster)", fontsize=8)


def _draw_distance(axes: Axes, tables: list[Table]) -> None:
    for kind, style, what in (("open", "-", ""), ("link", "--", ", link of 125 MB/s")):
        chosen = [table for table in tables if table.key.startswith(f"distance-{kind}-")]
        for index, name in enumerate((UPLOADING, ONE_BY_ONE, TCP)):
            points = [
                (float(table.key.rpartition("-")[2]), row.median)
                for table in chosen
                for row in table.rows
                if row.name == name and row.median
            ]
            if points:
                axes.plot(*zip(*points, strict=True), style, marker="o", color=f"C{index}", label=name + what)
    axes.set_yscale("log")
    axes.set_xlabel("delay each way (ms)", fontsize=8)
    axes.set_ylabel("MB/s", fontsize=8)
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize=7, handlelength=4, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def draw(tables: list[Table], path: str) -> None:
    """
    Write the picture as an SVG. The same figures make the same file.

    :param tables: all tables; the picture shows some of them.
    :param path: of the file.
    """
    matplotlib.rcParams.update({"svg.hashsalt": str(SEED), "svg.fonttype": "none"})
    compared = [table for key in RATIOS for table in tables if table.key == key and len(table.rows) > 1]
    far = [table for table in tables if table.key.startswith("distance-")]
    bars = sum(len(table.rows) - 1 for table in compared)
    heights = [height for height, wanted in ((1 + 0.2 * bars, compared), (3.5, far)) if wanted]
    if not heights:
        raise SystemExit("benchmarks: nothing of what was measured can be drawn")
    figure, all_axes = plt.subplots(
        len(heights), figsize=(9, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    places = list(all_axes[:, 0])
    if compared:
        _draw_ratios(places.pop(0), compared)
    if far:
        _draw_distance(places.pop(0), far)
    drawn = StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    with open(path, "w", encoding="utf-8") as file:
        # matplotlib writes spaces at the ends of lines. A file of the repository should have none.
        file.writelines(f"{line.rstrip()}\n" for line in drawn.getvalue().splitlines())
