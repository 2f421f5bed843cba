"""
What the page on performance tells of one run: tables, sentences and reasons, made of what ``--json``
wrote. ``docs/from_figures.py`` puts them there.

No word here claims what a figure could refute: a sentence with a claim is made only where the figures bear it.
"""

from __future__ import annotations

import datetime
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from statistics import mode
from typing import Any

from .plot import GROUPS, choose
from .tables import number

WIDTH = 120

Figures = Mapping[str, Any]

#: Rows that are compared to the first one in another way than to be faster, by the beginning of their table's key.
SHARES = {"scale-throughput": "Share of the first", "start": "Times the first"}

_NO_MESSAGES = "it has no messages, and gives back bytes as they come, many requests in one piece"
_IN_C = "it is a small program in C. Ours has each piece pass through Python, at both ends"
_THREADS = "it works in C++, in threads of its own beside Python's"
_ONE_SIDED = "it knows the server by a certificate, and the client not at all. Ours also has a login"

#: Why another one may be faster, by table and row, or by row alone: said only where it is. TCP without encryption
#: needs no reason.
REASONS: Mapping[tuple[str, str], str] = {
    ("", "rsync"): "it is a program in C, and encrypts nothing",
    ("", "scp"): "it is a program in C, which starts at once and does not import Twisted",
    ("", "stunnel"): _IN_C,
    ("", "spiped"): _IN_C,
    ("", "zeromq"): _THREADS,
    ("", "tls"): "OpenSSL seals and opens in fewer steps of Python",
    ("", "asyncio"): "it has no messages, and its event loop takes fewer steps for a read than Twisted's reactor",
    ("", "transit"): "it has records, but no requests that it could answer in any order",
    ("", "secretstream"): "it only seals and opens, on one core, and moves nothing",
    ("", "uvloop"): "it is the same protocol on an event loop written in C",
    ("", "early"): "the request comes with the login, so it waits for one round trip less",
    ("", "sodiumtwist-1"): "what a small message alone costs version 2 more is not found yet",
    ("in-flight", "tls"): _NO_MESSAGES,
    ("in-flight", "asyncio"): _NO_MESSAGES,
    ("answers", "tls"): _NO_MESSAGES,
    ("answers", "asyncio"): _NO_MESSAGES,
    ("connections", "tls"): _ONE_SIDED,
    ("connections", "amp"): _ONE_SIDED,
    ("connections", "asyncio"): _ONE_SIDED,
    ("connections", "zeromq"): "it agrees on keys by X25519 alone, and that in C++",
    ("connections", "transit"): "both ends know the key before, so they agree on none",
    ("connections", "sodiumtwist-1"): "it has no ML-KEM-768, and makes no keys that are of this connection alone",
}

#: The tables in each part of the page on performance.
PARTS: Mapping[str, Sequence[str]] = {
    "bulk": ("bulk-65536", "bulk-131070"),
    "requests": ("serial", "in-flight", "answers"),
    "connections": ("connections",),
    "send": ("send", "send-memory"),
    "trees": ("trees", "trees-memory"),
    "tunnels": ("tunnel-1", "tunnel-16"),
    "scale": ("scale-throughput-sodium", "scale-throughput-tcp", "scale-memory"),
    "commands": ("ping", "start"),
    "core": ("core-versions-bulk", "core-versions-requests"),
}


def find(figures: Figures, key: str) -> Any:
    """Return a table with at least one figure, by its key; ``None`` where that run has none."""
    for table in figures["tables"]:
        if table["key"] == key and _measured(table):
            return table
    return None


def _measured(table: Figures) -> list[Any]:
    return [row for row in table["rows"] if row["median"] is not None]


def _wrapped(text: str, begin: str = "") -> list[str]:
    """
    Break a text into lines.

    :param begin: what the first one begins with; the others are indented by as much.
    """
    behind = " " * len(begin)
    return textwrap.wrap(
        text, WIDTH, initial_indent=begin, subsequent_indent=behind, break_long_words=False, break_on_hyphens=False
    )


def paragraph(text: str) -> Iterator[str]:
    """Make a paragraph."""
    yield from _wrapped(text)
    yield ""


def simple_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Make a table of reST that is readable as it is. No cell of the first column may be empty."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    yield from (f".. table:: {title}", "   :align: left", "", f"   {rule}")
    for place, line in enumerate(lines):
        # Empty cells would join columns in some readers of reST.
        cells = (f"{cell or '-':{width}}" for cell, width in zip(line, widths, strict=True))
        yield f"   {'  '.join(cells)}".rstrip()
        if not place:
            yield f"   {rule}"
    yield from (f"   {rule}", "")


def _span(low: float, high: float, write: Callable[[float], str]) -> str:
    return f"({write(low)}–{write(high)})"


def _figure(row: Figures) -> str:
    text = number(row["median"])
    return text if len(row["samples"]) == 1 else f"{text} {_span(min(row['samples']), max(row['samples']), number)}"


def _times(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _ratio(row: Figures) -> str:
    ratio = row["ratio"]
    if ratio is None:
        return ""
    text = _times(ratio["median"])
    return text if len(row["samples"]) == 1 else f"{text} {_span(ratio['min'], ratio['max'], _times)}"


def _cpu(row: Figures) -> str:
    if row["cpu"] is None:
        return ""
    ratio = row.get("cpu_ratio")
    return number(row["cpu"]) + (f" ({_times(ratio['median'])})" if ratio else "")


def _wire(row: Figures) -> str:
    """Write bytes, of which small differences matter."""
    if row["wire"] is None:
        return ""
    return f"{row['wire']:,.0f}" if row["wire"] >= 1000 else f"{row['wire']:.4g}"


def _capital(text: str) -> str:
    """Begin with a capital letter, unless that is the name of a program."""
    return text if "-" in text.partition(" ")[0] else text[0].upper() + text[1:]


def _table(table: Figures) -> Iterator[str]:
    """Make one table of that run, and say below it what is not in it, what is to know, and why others are faster."""
    rows = _measured(table)
    share = next((name for begin, name in SHARES.items() if table["key"].startswith(begin)), "")
    columns: list[tuple[str, Callable[[Any], str]]] = [("What", lambda row: str(row["name"])), (table["unit"], _figure)]
    title = _capital(table["title"])
    if any(row["ratio"] for row in rows):
        columns.append((share or "Ratio", _ratio))
    if any(row["cpu"] is not None for row in rows):
        columns.append(("CPU", _cpu))
        title += f"; CPU in {table['cpu_unit']}"
    if any(row["wire"] is not None for row in rows):
        columns.append(("Wire", _wire))
        title += f"; wire in {table['wire_unit']}"
    head = [name for name, _ in columns]
    yield from simple_table(title, head, [[write(row) for _, write in columns] for row in rows])
    said = [*_remark(table), *(f"*{row['name']}*: {row['note']}." for row in rows if row["note"])]
    for row in table["rows"]:
        if row["median"] is None:
            said.append(f"*{row['name']}* is left out: {row['note'] or 'it was not measured'}.")
        elif row["ratio"] and row["ratio"]["median"] < 1:
            key = row["key"]
            if reason := REASONS.get((table["key"], key), REASONS.get(("", key))):
                said.append(f"*{row['name']}* is ahead ({_times(row['ratio']['median'])}): {reason}.")
    yield from _items(said)


def _items(said: Iterable[str]) -> Iterator[str]:
    """Make a list."""
    lines = [line for item in said for line in _wrapped(item, "- ")]
    if lines:
        yield from (*lines, "")


def _tables(figures: Figures, keys: Sequence[str]) -> Iterator[str]:
    missing = []
    for key in keys:
        if (table := find(figures, key)) is None:
            missing.append(f"``{key}``")
        else:
            yield from _table(table)
    if missing:
        yield from paragraph(f"That run has no {' and no '.join(missing)}.")


def _distance(figures: Figures) -> Iterator[str]:
    """Put the lines beneath each other: each is a table of that run."""
    found = []
    for table in figures["tables"]:
        if (key := re.fullmatch(r"distance-(open|link)-([\d.]+)", table["key"])) and _measured(table):
            found.append((key[1] == "link", float(key[2]), table))
    if not found:
        yield from paragraph("That run has no ``distance``.")
        return
    names = list(dict.fromkeys(row["name"] for *_, table in found for row in table["rows"]))
    lines = []
    for _, _, table in sorted(found, key=lambda line: line[:2]):
        rows = {row["name"]: row for row in _measured(table)}
        cells = [_figure(rows[name]) if name in rows else "" for name in names]
        lines.append([_capital(table["title"].removeprefix("distance, ")), *cells])
    yield from simple_table(f"Uploads over a line, in {found[0][2]['unit']}", ["Line", *names], lines)
    lines = []
    for _, _, table in sorted(found, key=lambda line: line[:2]):
        rows = {row["name"]: row for row in _measured(table)}
        if any(rows[name]["ratio"] for name in names[1:] if name in rows):
            ratios = [_ratio(rows[name]) if name in rows else "" for name in names[1:]]
            lines.append([_capital(table["title"].removeprefix("distance, ")), *ratios])
    if lines:
        yield from simple_table("The ratio to others over the same line", ["Line", *names[1:]], lines)
    yield from _items(f"*{table['title']}*: {text}" for *_, table in found for text in _remark(table))


def _date(figures: Figures) -> str:
    if "date" not in figures:
        return "a day that was not written down"
    day = datetime.date.fromisoformat(figures["date"][:10])
    return f"{day.day} {day:%B %Y}"


def _where(figures: Figures) -> str:
    machine = figures["machine"]
    return f"{machine['cores']} cores of {machine['processor']}"


def _quiet(figures: Figures) -> str:
    if not figures["busy"]:
        return "The machine did nothing else meanwhile."
    tables = figures["tables"]
    busy = sum(bool(table.get("busy")) for table in tables)
    if not busy:
        return f"The machine did nothing else meanwhile; {'; '.join(figures['busy'])}."
    return f"The machine was not quiet in {busy} of {len(tables)} tables: so the figures are worth less."


def _remark(table: Figures) -> list[str]:
    """Tell what else the machine did while a table was measured."""
    return [f"The machine was not quiet: {table['busy']}."] if table.get("busy") else []


def _took(figures: Figures) -> str:
    return f"It took {figures['minutes']} minutes. " if "minutes" in figures else ""


def _run(figures: Figures) -> Iterator[str]:
    """Tell of what run all figures are, and how to read them."""
    system = re.sub(r"^(\w+ \d+\.\d+)\S*", r"\1", figures["machine"]["system"])
    yield from paragraph(
        f"All figures on this page are of one run, of {_date(figures)}, on {_where(figures)}, with {system}. "
        f"{_took(figures)}{_quiet(figures)}"
    )
    more = [
        f"{name}: {value}"
        for name, value in figures["machine"].items()
        if name not in ("cores", "processor", "system", "load before")
    ]
    versions = figures["versions"]
    installed = [f"{name}: {value}" for name, value in versions.items() if not value.startswith("not installed")]
    yield from paragraph(f"{'; '.join([*more, *installed])}.")
    if missing := [name for name in versions if versions[name].startswith("not installed")]:
        yield from paragraph(f"Not installed there: {', '.join(missing)}.")
    rounds = mode(len(row["samples"]) for table in figures["tables"] for row in _measured(table))
    yield from paragraph(
        f"A figure is the median of its rounds, mostly {rounds}, with the lowest and the highest in parentheses. "
        "*Ratio* is how many times as fast the first row is as this one, with the worst and the best round: above 1, "
        "the first row is faster. That row is sodiumtwist with version 2 of the protocol. *CPU* is user and system "
        "time of both ends together, and in parentheses how many times as much the first row takes. *Wire* is what "
        "goes there and back. TCP without encryption, and a redis without a tunnel, show what there is to be had."
    )


def _picture(figures: Figures) -> Iterator[str]:
    """Show the picture."""
    titles = [group.title for group in GROUPS if len(choose(group, figures["tables"])) > 1]
    yield ".. image:: ../performance.svg"
    yield from _wrapped(f"Bars for sodiumtwist and others: {'; '.join(titles)}", "   :alt: ")
    yield ""


def _short(figures: Figures) -> Iterator[str]:
    """The short of it: the picture, and for each group of it how the first one is to the best other one."""
    yield from paragraph(
        f"One run of {_date(figures)}, on {_where(figures)}, gave this. {_quiet(figures)} What is compared was "
        "measured in turn, as processes of their own, over loopback."
    )
    yield from _picture(figures)
    said = []
    for group in GROUPS:
        rows = choose(group, figures["tables"])
        others = [(name, row) for name, row in rows if not row["key"].startswith("sodiumtwist") and row["ratio"]]
        if rows and rows[0][1]["key"] == "sodiumtwist" and others:
            name, row = others[0]
            ratio = row["ratio"]
            spread = _span(ratio["min"], ratio["max"], _times) + " " if len(row["samples"]) > 1 else ""
            said.append(f"{_times(ratio['median'])} {spread}times as fast as {name} {group.where}")
    if said:
        yield from paragraph(f"Beside the best of the others there, version 2 is {'; '.join(said)}.")


def parts(figures: Figures) -> dict[str, Callable[[], Iterable[str]]]:
    """
    Make all that pages take from one run.

    :param figures: what ``--json`` wrote.
    :return: for each part's name what makes its lines.
    :raises ValueError: when it was a quick run, whose figures say nothing.
    """
    if figures["quick"]:
        raise ValueError("a quick run shows that all works, and not how fast it is")
    return {
        "short": partial(_short, figures),
        "run": partial(_run, figures),
        **{name: partial(_tables, figures, keys) for name, keys in PARTS.items()},
        "distance": partial(_distance, figures),
    }
