"""
What Ctrl-C does while there is nothing to undo: above all during imports, which take most of a short command's time.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def _end(number: int, frame: object) -> NoReturn:
    # No exception: in the middle of an import it could get lost, or be shown as a traceback.
    try:
        os.write(2, b"sodiumtwist: interrupted\n")
    # With standard error closed, the status alone has to tell.
    except OSError:
        pass
    # Without the interpreter's own end: nothing was begun that must be undone.
    os._exit(128 + number)


def end_at_once() -> None:
    """Have Ctrl-C end the process at once, with a line on standard error. Where Ctrl-C is ignored, it stays so."""
    # nohup and shells have it ignored in what runs in the background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Have Ctrl-C raise ``KeyboardInterrupt``. To be called before something begins that must be undone."""
    # Only what end_at_once() did is taken back: where Ctrl-C is ignored, or somebody else's, it stays so.
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
