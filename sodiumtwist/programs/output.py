"""
What programs print, and what becomes of it when nobody takes it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ..describe import printable


def flush_standard_output() -> None:
    """
    :raises OSError: when what was printed can't be delivered.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def print_error(line: str) -> None:
    """Print one line to standard error, if there is one."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"sodiumtwist: {printable(line)}", file=sys.stderr)


def discard_standard_output() -> None:
    """Our output can't be delivered; keep the interpreter from complaining when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
