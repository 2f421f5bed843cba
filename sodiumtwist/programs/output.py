"""
Printing, and what becomes of it when nobody takes it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ..describe import printable


def flush_standard_output() -> None:
    """
    Deliver what was printed.

    :raises OSError: when it can't be delivered.
    """
    # Python has no standard output when that was closed at the start.
    if sys.stdout is not None:
        sys.stdout.flush()


def print_line(line: str, flush: bool = False) -> None:
    """
    Print one line to standard output, if there is one. What it can't show is replaced.

    :param line: the line. A login, a file's name or a server's words in it can't make another one, or a command.
    :param flush: whether a reader at the end of a pipe is to see it at once.
    :raises OSError: when it can't be written.
    """
    if sys.stdout is not None:
        # Not every terminal has all letters.
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        shown = printable(line).encode(encoding, "backslashreplace").decode(encoding)
        print(shown, flush=flush)


def print_error(line: str) -> None:
    """Print one line to standard error, if there is one."""
    if sys.stderr is not None:
        # There is no place left to tell of it; the exit status has to.
        with suppress(OSError):
            # A file's name or a server's words could hold what a terminal takes for a command.
            print(f"sodiumtwist: {printable(line)}", file=sys.stderr)


def discard_standard_output() -> None:
    """Let standard output lead nowhere, when what was printed can't be delivered."""
    # The interpreter flushes at its end, and would complain then.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
