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
