"""
What ``sodiumtwist`` and ``python -m sodiumtwist`` start. It is ready for Ctrl-C before it imports much: imports take
most of a short command's time.
"""

from __future__ import annotations

import gc

from .programs.interrupts import end_at_once


def main() -> None:
    """
    Run the command line of the process.

    :raises SystemExit: with the exit status, unless it is 0.
    """
    # Before the import of the command line, which takes long already.
    end_at_once()
    # What is imported stays: to look for circles in it, again and again while it grows, takes an eighth of a short run.
    # A command that may run for long looks for them from there on.
    gc.disable()
    from .programs.cli import main as run

    try:
        run()
    finally:
        # Before it ends, Python looks for circles in all that was imported. That takes a sixth of a short run.
        gc.freeze()


if __name__ == "__main__":
    main()
