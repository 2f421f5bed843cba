"""
Progress bars on a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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

    return tqdm(total=size, unit="B", unit_scale=True, dynamic_ncols=True, file=NeverFails(sys.stderr))


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
