"""
How a command ends: its exit statuses, and the error that carries one.
"""

from __future__ import annotations

import signal

# Scripts act on these numbers, and docs/reference/sodiumtwist.rst promises them: they stay as they are.
EXIT_USAGE = 1
EXIT_NOT_CONNECTED = 2
EXIT_REFUSED = 3
EXIT_BROKEN = 4
#: Some of what was named could not be read, or is not stored; or the server keeps nothing of what it took.
EXIT_NOT_STORED = 5
#: What was to be printed could not be, and was all that there was to do.
EXIT_OUTPUT_LOST = 6
#: The server has seen too many logins fail, and checked this one not.
EXIT_TOO_MANY_FAILURES = 7
#: The server has no room.
EXIT_NO_ROOM = 8
#: The server is about to stop.
EXIT_STOPPING = 9
#: The server can't store what was sent.
EXIT_STORAGE = 10
#: As a shell reports a program that Ctrl-C ended.
EXIT_INTERRUPTED = 128 + signal.SIGINT
#: As a shell reports a program that SIGPIPE ended.
EXIT_OUTPUT_GONE = 128 + signal.SIGPIPE


class CommandFailed(Exception):
    """
    Ends a subcommand.

    :param status: the exit status.
    :param line: the line for standard error; empty for none.
    """

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
