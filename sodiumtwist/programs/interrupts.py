"""
What Ctrl-C does while there is nothing to undo: above all during imports, which take most of a short command's time.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def _end(number: int, frame: object) -> NoReturn:
    # No exception: one raised in the middle of an import may be swallowed there, or printed by whom it surprises.
    try:
        os.write(2, b"sodiumtwist: interrupted\n")
    except OSError:
        pass
    os._exit(128 + number)


def end_at_once() -> None:
    """From now on Ctrl-C ends the process with a line on standard error, unless Ctrl-C is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """From now on Ctrl-C raises ``KeyboardInterrupt``: something was begun that must be undone, or will be."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
