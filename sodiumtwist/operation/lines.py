"""
Lines of JSON through a pipe, between a supervisor and its workers.
"""

from __future__ import annotations

from collections.abc import Callable

#: The most bytes of one line. What has more is no line of ours: as many clients as the page shows, with the longest
#: logins and paths, all of whose characters JSON must escape, take half of it.
LINE_LIMIT = 1 << 22


class LineCutter:
    """
    Cuts what comes through a pipe into lines.

    :param take: called with each of them, without its end.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._rest = bytearray()

    def receive(self, data: bytes) -> None:
        """Some bytes have come."""
        begin = len(self._rest)
        self._rest += data
        while (end := self._rest.find(b"\n", begin)) >= 0:
            line, begin = bytes(self._rest[:end]), 0
            del self._rest[: end + 1]
            self._take(line)
        if len(self._rest) > LINE_LIMIT:
            self.end()

    def end(self) -> None:
        """No more will come: what has no end is a line, too."""
        rest = bytes(self._rest)
        self._rest.clear()
        if rest:
            self._take(rest)
