"""
Lines of JSON through a pipe, between a supervisor and its workers.
"""

from __future__ import annotations

from collections.abc import Callable

#: The most bytes of one line. What has more is no line of ours: the longest has the clients for the page, whose logins
#: take six times their size in JSON where they are of control characters.
LINE_LIMIT = 1 << 22


class Lines:
    """
    Cuts what comes through a pipe into lines.

    :param take: called with each of them, without its end.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._rest = b""

    def receive(self, data: bytes) -> None:
        """Some bytes have come."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > LINE_LIMIT:
            self.end()

    def end(self) -> None:
        """No more will come: what has no end is a line, too."""
        rest, self._rest = self._rest, b""
        if rest:
            self._take(rest)
