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
    end_at_once()
    from .programs.cli import main as run

    try:
        run()
    finally:
        # Else Python looks through all that was imported for circles before it ends, a sixth of a short run.
        gc.freeze()


if __name__ == "__main__":
    main()
