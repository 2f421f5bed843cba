"""
What the pages on performance and on capacity take from one run of ``python -m benchmarks``, whose figures are in
``docs/figures.json``: all of their figures, and the picture.

A part stands between two comments, as one that ``docs/from_code.py`` writes does::

    .. from figures: NAME

    .. end of NAME

``python docs/from_figures.py`` writes these and the picture anew. With ``--check`` it writes nothing, names what is
stale, and ends with status 1 when anything is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from from_code import ROOT, renew

from benchmarks.capacity import capacity
from benchmarks.pages import parts
from benchmarks.plot import picture

PAGES = ("docs/explanation/performance.rst", "docs/explanation/capacity.rst")
FIGURES, PICTURE = "docs/figures.json", "docs/performance.svg"


def renewed(root: Path) -> tuple[Mapping[str, str], list[str]]:
    """
    Make pages and picture of the figures.

    :param root: of the repository.
    :return: the text of each file by its path, and what in them is stale.
    :raises ValueError: when the figures are no good, or a page has a part that is unknown or has no end.
    """
    figures = json.loads((root / FIGURES).read_text(encoding="utf-8"))
    makers = {**parts(figures), **capacity(figures)}
    texts = {}
    stale = []
    for path in PAGES:
        texts[path], old = renew((root / path).read_text(encoding="utf-8"), makers, "figures")
        stale += [f"{path}: {name}" for name in old]
    texts[PICTURE] = picture(figures["tables"])
    if not (root / PICTURE).exists() or (root / PICTURE).read_text(encoding="utf-8") != texts[PICTURE]:
        stale.append(PICTURE)
    return texts, stale


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """
    Renew the pages and the picture, or with ``--check`` only tell what is stale.

    :return: the exit status: 1 when ``--check`` found anything.
    """
    parser = argparse.ArgumentParser(description=f"Write what docs/ takes from {FIGURES}.")
    parser.add_argument("--check", action="store_true", help="write nothing; end with status 1 when anything is stale")
    check = parser.parse_args(arguments).check
    try:
        texts, stale = renewed(root)
    except ValueError as error:
        parser.error(str(error))
    for name in stale:
        print(f"{name} {'is stale' if check else 'is renewed'}")
    if not check:
        for path, text in texts.items():
            (root / path).write_text(text, encoding="utf-8")
        return 0
    if stale:
        print("to renew it: python docs/from_figures.py")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
