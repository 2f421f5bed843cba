"""
Draws what pages show: who says what to whom, the fields of what is sent, states, and boxes that lead to each other.
What is drawn and where it comes from stands in :mod:`drawings`. The same facts make the same SVG.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

#: In pixels, of all drawings: so much has room on a page, and can still be read on a telephone.
WIDTH, MARGIN = 620, 16
LINE = 17

#: So wide is a character at most, on average: of the text, and of the names in code.
CHARACTER, CODE_CHARACTER = 7.4, 7.3

#: Colours of arrows that must be told apart, for a light page and a dark one.
COLOURS = (
    ("#0969da", "#4493f8"),
    ("#1a7f37", "#3fb950"),
    ("#8250df", "#ab7df8"),
    ("#bc4c00", "#db6d28"),
    ("#bf3989", "#db61a2"),
    ("#1b7c83", "#39c5cf"),
    ("#cf222e", "#f85149"),
    ("#57606a", "#9198a1"),
)

# The background is part of the picture: it is readable on any page, light or dark.
STYLE = """
text { font: 13px sans-serif; fill: #1f2328 }
.name { font-weight: bold }
.code { font: 12px monospace }
.note { font-size: 12px; fill: #59636e }
.page { fill: #ffffff; stroke: #d1d9e0 }
.box { fill: #f6f8fa; stroke: #818b98 }
.head { fill: #ddf4ff; stroke: #818b98 }
.line { stroke: #818b98; fill: none }
.dashed { stroke: #818b98; fill: none; stroke-dasharray: 4 4 }
.arrow { stroke: #0969da; fill: none; stroke-width: 1.5 }
.point { fill: #0969da }
.pipe { fill: #ddf4ff; stroke: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  .page { fill: #0d1117; stroke: #3d444d }
  .box { fill: #151b23; stroke: #656c76 }
  .head { fill: #12263f; stroke: #656c76 }
  .line, .dashed { stroke: #656c76 }
  .arrow { stroke: #4493f8 }
  .point { fill: #4493f8 }
  .pipe { fill: #12263f; stroke: #4493f8 }
}
"""


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start", style: str = "") -> str:
    """Write one line; ``y`` is where its letters stand."""
    more = f' class="{kind}"' if kind else ""
    more += "" if anchor == "start" else f' text-anchor="{anchor}"'
    more += f' style="{style}"' if style else ""
    return f'<text x="{x:g}" y="{y:g}"{more}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str = "box", corner: int = 4) -> str:
    return (
        f'<rect class="{kind}" data-text="" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{corner}"/>'
    )


def path(way: str, kind: str = "line", style: str = "") -> str:
    more = f' style="{style}"' if style else ""
    return f'<path class="{kind}" d="{way}"{more}/>'


def arrow(begin: float, y: float, end: float, kind: str = "arrow", style: str = "") -> list[str]:
    """Draw an arrow from left to right, or from right to left."""
    back = 7 if end < begin else -7
    point = f"M{end:g} {y:g}l{back} -4v8z"
    filled = f"{style.replace('stroke', 'fill')}" if style else ""
    return [path(f"M{begin:g} {y:g}H{end + back:g}", kind, style), path(point, "point", filled)]


def wrapped(words: str, room: float, character: float = CHARACTER) -> list[str]:
    """Break a text into lines that have room."""
    return textwrap.wrap(words, max(8, int(room / character)), break_on_hyphens=False, break_long_words=False)


@dataclass(frozen=True)
class Drawing:
    """
    A drawing, for those who see it and those who do not.

    :ivar svg: the file.
    :ivar told: the same in words.
    """

    svg: str
    told: str


def finish(title: str, drawn: Iterable[str], height: float, told: str, style: str = "") -> Drawing:
    """
    Make the SVG.

    :param title: what it shows, in a few words.
    :param told: all of it, in words.
    :param style: what this kind of drawing adds to the styles.
    """
    size = f'width="{WIDTH}" height="{height:g}"'
    svg = "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" {size}>',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}{style}</style>",
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1:g}" rx="6"/>',
            *drawn,
            "</svg>\n",
        )
    )
    return Drawing(svg, f"{title}. {told}")


@dataclass(frozen=True)
class Step:
    """
    What one end sends, or does.

    :ivar way: ``>`` from the left one to the right one, ``<`` the other way; ``-`` for nobody: what may follow.
    :ivar lines: what stands above the arrow.
    :ivar then: what the receiver does with it.
    """

    way: str
    lines: tuple[str, ...]
    then: str = ""


def exchange(title: str, ends: tuple[str, str], steps: Sequence[Step]) -> Drawing:
    """Draw who says what to whom, one below the other."""
    left, right = MARGIN + 30, WIDTH - MARGIN - 150
    y: float = MARGIN + 34
    drawn: list[str] = []
    for step in steps:
        lines = [one for line in step.lines for one in wrapped(line, right - left - 24)]
        anchor, x = ("end", right - 12) if step.way == "<" else ("start", left + 12)
        for line in lines:
            y += LINE
            drawn.append(text(x, y, line, anchor=anchor))
        y += 9
        if step.way != "-":
            begin, end = (left, right) if step.way == ">" else (right, left)
            drawn += arrow(begin, y, end)
        notes = wrapped(step.then, WIDTH - right - MARGIN - 10)
        drawn += [text(right + 12, y + 4 + 15 * number, line, "note") for number, line in enumerate(notes)]
        y += max(6.0, 15.0 * (len(notes) - 1))
    bottom = y + 14
    heads = [text(MARGIN, MARGIN + 12, ends[0], "name"), text(right, MARGIN + 12, ends[1], "name", "middle")]
    lives = [path(f"M{x:g} {MARGIN + 22}V{bottom:g}") for x in (left, right)]
    told = []
    for step in steps:
        words = ". ".join(step.lines)
        if step.way != "-":
            words = f"{ends[0 if step.way == '>' else 1]}: {words}"
        told.append(f"{words} ({ends[1]}: {step.then})" if step.then else words)
    return finish(title, [*heads, *lives, *drawn], bottom + MARGIN, f"{'. '.join(told)}.")


@dataclass(frozen=True)
class Field:
    """
    A field of what is sent.

    :ivar name: what stands in it.
    :ivar size: how wide it is drawn, in parts of the line.
    :ivar above: its size or its bits, above it.
    :ivar at: where it begins, at its left.
    :ivar below: what it may hold, below it.
    """

    name: str
    size: float
    above: str = ""
    at: str = ""
    below: str = ""


@dataclass(frozen=True)
class Row:
    """
    Fields, one behind the other.

    :ivar what: what they are.
    :ivar skip: how far to the right the first one begins, in the same parts.
    """

    what: str
    fields: tuple[Field, ...]
    skip: float = 0


def layout(title: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> Drawing:
    """Draw fields. All rows have the same scale."""
    whole = max(row.skip + sum(field.size for field in row.fields) for row in rows)
    scale = (WIDTH - 2 * MARGIN) / whole
    y: float = MARGIN
    drawn = []
    for row in rows:
        if row.what:
            drawn.append(text(MARGIN + row.skip * scale, y + 12, row.what, "note"))
            y += 22
        if any(field.above or field.at for field in row.fields):
            y += 16
        x = MARGIN + row.skip * scale
        height = 32
        for field in row.fields:
            width = field.size * scale
            drawn.append(box(x, y, width, height, corner=0))
            drawn.append(text(x + width / 2, y + 21, field.name, anchor="middle"))
            if field.above:
                drawn.append(text(x + width / 2, y - 6, field.above, "note", "middle"))
            if field.at:
                drawn.append(text(x, y - 6, field.at, "note"))
            if field.below:
                drawn.append(text(x + width / 2, y + height + 15, field.below, "note", "middle"))
            x += width
        y += height + (22 if any(field.below for field in row.fields) else 0) + 14
    for note in notes:
        for line in wrapped(note, WIDTH - 2 * MARGIN, 6.8):
            drawn.append(text(MARGIN, y + 8, line, "note"))
            y += 16
    told = []
    for row in rows:
        fields = []
        for field in row.fields:
            about = [f"from {field.at}" if field.at else "", field.above, field.below]
            more = ", ".join(filter(None, about))
            fields.append(f"{field.name} ({more})" if more else field.name)
        told.append((f"{row.what}: " if row.what else "") + "; ".join(fields))
    return finish(title, drawn, y + MARGIN - 10, f"{'. '.join([*told, *notes])}.")


#: Acts of a state, with the names of the states that they lead to.
Machine = Mapping[str, Sequence[tuple[str, str]]]


def machine(title: str, states: Machine) -> Drawing:
    """
    Draw how states lead to each other. Each is a box with its acts; a line leads from an act to the next state, and all
    that lead to one state are one line of one colour. States without acts of their own may be missing.
    """
    targets = {following for state, acts in states.items() for _, following in acts if following != state}
    others = sorted(targets - states.keys())
    drawn_states: Machine = {**states, **{name: () for name in others}}
    right = WIDTH - MARGIN - 14 * len(targets) - 22
    longest = max(len(name) for name in {*targets, "stays"}) * CODE_CHARACTER
    room = right - MARGIN - longest - 36
    y: float = MARGIN
    drawn: list[str] = []
    heads: dict[str, float] = {}
    leaving: dict[str, list[float]] = {}
    rows: list[tuple[float, str, str, str]] = []
    for state, acts in drawn_states.items():
        top = y
        heads[state] = y + 13
        y += 26
        for act, following in acts:
            lines = wrapped(act, room, 7.0)
            rows.append((y, state, act, following))
            leaving.setdefault(following if following != state else "", []).append(y + 10)
            y += 17 * len(lines) + 4
        if not any(following != state for _, following in acts):
            acts = ()
        height = max(y - top, 26.0) + (4 if y - top > 26 else 0)
        drawn.append(box(MARGIN, top, right - MARGIN, height))
        drawn.append(box(MARGIN, top, right - MARGIN, 26, "head"))
        drawn.append(text(MARGIN + 10, top + 17, state, "code", style="font-weight: bold"))
        mark = "here it begins" if state == next(iter(states)) else "" if acts else "the end"
        mark = "another drawing goes on" if state in others else mark
        if mark:
            drawn.append(text(right - 14, top + 17, mark, "note", "end"))
        y = top + height + 14
    # Those that go the shortest way stand nearest, so fewer lines cross.
    tracks = {name: ys for name, ys in leaving.items() if name}
    order = sorted(tracks, key=lambda name: max(abs(one - heads[name]) for one in tracks[name]))
    colour = {name: number % len(COLOURS) for number, name in enumerate(order)}
    place = {name: right + 18 + 14 * number for number, name in enumerate(order)}
    for row, state, act, following in rows:
        data = f"data-from={quoteattr(state)} data-act={quoteattr(act)} data-to={quoteattr(following)}"
        drawn.append(f'<g class="act" {data}>')
        for number, line in enumerate(wrapped(act, room, 7.0)):
            drawn.append(text(MARGIN + 10, row + 14 + 17 * number, line))
        if following == state:
            drawn.append(text(right - 14, row + 14, "stays", "note", "end"))
        else:
            kind = f"to{colour[following]}"
            drawn.append(text(right - 14, row + 14, following, f"code {kind}", "end"))
            drawn.append(path(f"M{right:g} {row + 10:g}H{place[following]:g}", f"way {kind}"))
            drawn.append(f'<circle class="{kind}" cx="{place[following]:g}" cy="{row + 10:g}" r="2.5"/>')
        drawn.append("</g>")
    for name in order:
        kind, x, head = f"to{colour[name]}", place[name], heads[name]
        ends = [*tracks[name], head]
        drawn.append(path(f"M{x:g} {min(ends):g}V{max(ends):g}", f"way {kind}"))
        drawn.append(path(f"M{x:g} {head:g}H{right + 7:g}", f"way {kind}"))
        drawn.append(path(f"M{right:g} {head:g}l7 -4v8z", kind))
    light = "".join(
        f".to{number} {{ fill: {one} }} .way.to{number} {{ stroke: {one} }}\n"
        for number, (one, _) in enumerate(COLOURS)
    )
    dark = "".join(
        f".to{number} {{ fill: {one} }} .way.to{number} {{ stroke: {one} }}\n"
        for number, (_, one) in enumerate(COLOURS)
    )
    style = f"text.code {{ font: 12px monospace }}\n{light}.way {{ fill: none; stroke-width: 1.5 }}\n"
    style += f"@media (prefers-color-scheme: dark) {{\n{dark}}}\n.way {{ fill: none !important }}\n"
    return finish(title, drawn, y - 14 + MARGIN, _told(states), style)


def _told(states: Machine) -> str:
    sentences = []
    for state, acts in states.items():
        leading = [f"{act}: {'stays' if following == state else following}" for act, following in acts]
        ended = not any(following != state for _, following in acts)
        sentences.append(f"{state} is the end." if ended else f"{state}: {'; '.join(leading)}.")
    return " ".join(sentences)


def layers(title: str, rows: Sequence[tuple[str, str]], note: str) -> Drawing:
    """Draw boxes one on the other, each with its name and what is in it."""
    y: float = MARGIN
    drawn = []
    for name, what in rows:
        lines = wrapped(what, WIDTH - 2 * MARGIN - 190, 6.9)
        height = 16 + 17 * len(lines)
        drawn.append(box(MARGIN, y, WIDTH - 2 * MARGIN - 46, height))
        drawn.append(text(MARGIN + 12, y + 21, name, "name"))
        drawn += [text(MARGIN + 118, y + 21 + 17 * number, line, "note") for number, line in enumerate(lines)]
        y += height + 6
    x = WIDTH - MARGIN - 22
    drawn.append(path(f"M{x} {MARGIN + 4}V{y - 16:g}", "arrow"))
    drawn.append(path(f"M{x} {y - 8:g}l-4 -8h8z", "point"))
    drawn.append(text(MARGIN, y + 14, note, "note"))
    told = "; ".join(f"{name}: {what}" for name, what in rows)
    return finish(title, drawn, y + 14 + MARGIN, f"{told}. {note}")


@dataclass(frozen=True)
class Place:
    """
    A box at a place.

    :ivar x, y, width: where, in pixels.
    :ivar lines: what stands in it, the first line as its name.
    """

    x: float
    y: float
    width: float
    lines: tuple[str, ...]
    kind: str = "box"

    @property
    def height(self) -> float:
        return 16 + 17 * len(self.lines)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    def drawn(self) -> list[str]:
        found = [box(self.x, self.y, self.width, self.height, self.kind)]
        for number, line in enumerate(self.lines):
            kind = "note" if number else "name"
            found.append(text(self.x + self.width / 2, self.y + 21 + 17 * number, line, kind, "middle"))
        return found
