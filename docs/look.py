"""
Looks at every page of the site in headless Chromium, wide and narrow: no page is wider than its screen, no picture is
missing or larger than its place, and in no drawing does a text run out of the drawing or into another one::

    sphinx-build -W -n docs docs/_build/html && python docs/look.py docs/_build/html

It first looks at a page where all of that is wrong, so that it can't miss it unnoticed. ``--pictures FOLDER`` also
writes each page as a PNG, for people to look at. It ends with status 1 when it has found something, and tells where;
where Chromium is not installed it says so, and checks nothing, unless ``CI`` is set.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from browser import Browser, find_browser

#: Names and sizes of the screens: a window on a desk, and a telephone.
SCREENS = (("wide", 1280, 900), ("narrow", 380, 800))

#: What is wrong on a page: what reaches beyond the screen, where nothing around it scrolls or hides that.
PAGE = """() => {
    const wrong = []
    const width = document.documentElement.clientWidth
    if (document.documentElement.scrollWidth > width)
        wrong.push(`the page is ${document.documentElement.scrollWidth} wide, the screen ${width}`)
    const name = element => element.tagName.toLowerCase() + (element.className ? '.' + element.className : '')
    for (const image of document.images) {
        if (!image.naturalWidth) wrong.push(`${image.getAttribute('src')} is not there`)
        const place = image.parentElement.closest('section, figure, article, div').getBoundingClientRect()
        const box = image.getBoundingClientRect()
        if (box.right > place.right + 1) wrong.push(`${image.getAttribute('src')} runs out of its place`)
    }
    const article = document.querySelector('article') || document.body
    for (const element of article.querySelectorAll('*')) {
        const box = element.getBoundingClientRect()
        if (!box.width || box.right <= width + 1) continue
        let around = element.parentElement
        while (around && getComputedStyle(around).overflowX === 'visible') around = around.parentElement
        if (!around || around === document.body || around === document.documentElement)
            wrong.push(`${name(element)} ends at ${Math.round(box.right)}: ${element.textContent.slice(0, 60)}`)
    }
    for (const block of article.querySelectorAll('.highlight-sh pre, .highlight-text pre')) {
        if (width > 1000 && block.scrollWidth > block.clientWidth + 1)
            wrong.push(`a block is too wide: ${block.textContent.slice(0, 60)}`)
    }
    return wrong
}"""

#: What is wrong in a drawing.
DRAWING = """() => {
    const wrong = []
    const [, , width, height] = document.documentElement.getAttribute('viewBox').split(' ').map(Number)
    const texts = [...document.querySelectorAll('text')].map(text => {
        const box = text.getBBox()
        const [left, top] = [box.x, box.y]
        return {what: text.textContent, left, right: left + box.width, top: top + 2, end: top + box.height - 2}
    })
    texts.forEach((one, number) => {
        if (one.left < 2 || one.right > width - 2 || one.top < 0 || one.end > height)
            wrong.push(`'${one.what}' runs out of the drawing`)
        for (const other of texts.slice(number + 1))
            if (one.left < other.right && other.left < one.right && one.top < other.end && other.top < one.end)
                wrong.push(`'${one.what}' runs into '${other.what}'`)
    })
    for (const box of document.querySelectorAll('rect[data-text]')) {
        const {x, y, width, height} = box.getBBox()
        for (const one of texts) {
            const middle = (one.top + one.end) / 2
            if (one.left < x + width && one.right > x && middle > y && middle < y + height)
                if (one.left < x || one.right > x + width) wrong.push(`'${one.what}' runs out of its box`)
        }
    }
    return wrong
}"""


#: What is wrong, as :func:`look` must tell of it, on a page and in a drawing that are.
WRONG = (
    "bad.html, wide: missing.png is not there",
    "bad.html, wide: _images/large.svg runs out of its place",
    "bad.html, wide: a block is too wide: word",
    "bad.html, narrow: the page is 516 wide, the screen 380",
    "bad.html, narrow: p ends at 516: too wide",
    "large.svg: 'far away' runs out of the drawing",
    "large.svg: 'one' runs into 'other'",
    "large.svg: 'a long text' runs out of its box",
)
WRONG_PAGE = """<!doctype html><meta name="viewport" content="width=device-width, initial-scale=1"><article>
<p style="width: 500px; margin: 0 0 0 8px">too wide</p><img src="missing.png">
<div style="width: 100px"><img src="_images/large.svg" alt=""></div>
<div class="highlight-text" style="overflow: auto"><pre style="overflow: auto">word WORDS</pre></div></article>"""
WRONG_DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 100" width="300" height="100">
<text x="280" y="20">far away</text><text x="10" y="50">one</text><text x="15" y="52">other</text>
<rect data-text="" x="100" y="60" width="20" height="30"/><text x="102" y="80">a long text</text></svg>"""


def unseen(browser: Browser) -> list[str]:
    """Return what is wrong and not seen, on a page made for that."""
    with TemporaryDirectory(prefix="sodiumtwist-look-") as folder:
        site = Path(folder)
        (site / "_images").mkdir()
        (site / "bad.html").write_text(WRONG_PAGE.replace("WORDS", "and so on " * 60), encoding="utf-8")
        (site / "_images" / "large.svg").write_text(WRONG_DRAWING, encoding="utf-8")
        seen = "\n".join(look(browser, site, None))
    return [wrong for wrong in WRONG if wrong not in seen]


def look(browser: Browser, site: Path, pictures: Path | None) -> Iterator[str]:
    """
    Look at all pages and drawings.

    :param site: the folder of the pages.
    :param pictures: where pictures of them go.
    :return: what is wrong, a line each.
    """
    for path in sorted(site.rglob("*.html")):
        name = str(path.relative_to(site))
        browser.open(path)
        for screen, width, height in SCREENS:
            browser.set_screen(width, height)
            found: Any = browser.ask(PAGE)
            yield from (f"{name}, {screen}: {what}" for what in found)
            if pictures is not None:
                browser.picture(pictures / f"{name.removesuffix('.html').replace(os.sep, '-')}-{screen}.png")
    browser.set_screen(1280, 900)
    for path in sorted((site / "_images").glob("*.svg")):
        browser.open(path)
        found = browser.ask(DRAWING)
        yield from (f"{path.name}: {what}" for what in found)


def main(arguments: Sequence[str]) -> int:
    """
    Look at a site.

    :return: the exit status.
    """
    parser = argparse.ArgumentParser(description="Look at every page of the site in headless Chromium.")
    parser.add_argument("site", type=Path, help="the folder that sphinx-build has made")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write each page as a picture, too")
    chosen = parser.parse_args(arguments)
    program = find_browser()
    if program is None:
        print("docs/look.py: Chromium is not installed, so nobody has looked (Debian: apt-get install chromium)")
        return 1 if os.environ.get("CI") else 0
    if chosen.pictures is not None:
        chosen.pictures.mkdir(parents=True, exist_ok=True)
    with Browser(program) as browser:
        wrong = [f"docs/look.py does not see: {what}" for what in unseen(browser)]
        wrong += look(browser, chosen.site, chosen.pictures)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
