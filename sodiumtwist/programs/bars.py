"""
Progress bars on a terminal. Of all that our programs show, they alone could have a colour.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..describe import describe_rate, describe_size
from .output import NeverFails

if TYPE_CHECKING:
    from tqdm import tqdm


def open_bar(size: int | None, quiet: bool) -> tqdm[Any] | None:
    """
    Show a progress bar when standard error is a terminal.

    :param size: how many bytes there are; ``None`` when that is not known.
    :param quiet: whether to show none.
    """
    # Python has no standard error when that was closed at the start.
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        return None
    # Not at the top: its import takes long, and runs by other programs have no terminal.
    from tqdm import tqdm

    class SizedBar(tqdm):  # type: ignore[misc,unused-ignore]
        """A bar with sizes and rates as all else shows them."""

        @property
        def format_dict(self) -> dict[str, Any]:
            bar = super().format_dict
            return {**bar, **shown_by(bar)}

    return SizedBar(total=size, dynamic_ncols=True, file=NeverFails(sys.stderr))


def shown_by(bar: Mapping[str, Any]) -> dict[str, Any]:
    """
    Say how a bar is to be shown.

    :param bar: how far it is, by tqdm's names.
    :return: what tqdm is to take beside that, or in its place.
    """
    total, rate = bar["total"], bar["rate"]
    if rate is None and bar["elapsed"]:
        rate = (bar["n"] - bar.get("initial", 0)) / bar["elapsed"]
    shown = {
        "done": describe_size(bar["n"]),
        "speed": "?" if rate is None else describe_rate(rate, 1),
        "bar_format": "{done} [{elapsed}, {speed}{postfix}]",
    }
    if total:
        shown["whole"] = describe_size(total)
        shown["bar_format"] = "{l_bar}{bar}| {done}/{whole} [{elapsed}<{remaining}, {speed}{postfix}]"
    # tqdm takes a colour from $TQDM_COLOUR. See https://no-color.org.
    return {**shown, "colour": None} if os.environ.get("NO_COLOR") else shown


@contextmanager
def counted(size: int | None, quiet: bool) -> Iterator[Callable[[int], object]]:
    """
    Show the progress of one stream.

    :param size: as of :func:`open_bar`, and so is ``quiet``.
    :return: a function to call with each number of bytes that are done.
    """
    bar = open_bar(size, quiet)
    if bar is None:
        yield lambda done: None
        return
    with bar:
        yield bar.update
