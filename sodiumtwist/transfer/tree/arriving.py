"""
One large file whose pieces arrive, and are written by few calls. Thread side.
"""

from __future__ import annotations

from .growing import Growing
from .temporaries import Written

#: How many pieces are written by one call, at most. Each call may wait for the interpreter's lock, which the reactor's
#: thread takes in turns with this one.
WRITTEN_TOGETHER = 64


class Arriving:
    """
    A file that grows.

    :param growing: where it is written; it is let go by :meth:`finish`, :meth:`keep` or :meth:`remove`.
    :param offset: where the sender begins: 0, or behind what is there.
    :raises OSError: when it can't be begun.
    """

    def __init__(self, growing: Growing, offset: int) -> None:
        self._growing = growing
        # What is to be written, where the first of it belongs, and where the next piece would.
        self._pieces: list[memoryview] = []
        self._start = self._end = offset
        growing.begin(offset)

    def take(self, offset: int, data: memoryview) -> None:
        """
        Take a piece. It is written with others, at the latest by :meth:`flush`.

        :param offset: where it belongs, not before the end of the one before.
        :raises OSError: when the disk does not take it, or one before it.
        """
        if offset != self._end:
            self.flush()
            self._start = offset
        self._pieces.append(data)
        self._end = offset + len(data)
        if len(self._pieces) >= WRITTEN_TOGETHER:
            self.flush()

    def flush(self) -> None:
        """
        Write what has arrived.

        :raises OSError: when the disk does not take it.
        """
        pieces = self._pieces
        if pieces:
            self._pieces = []
            self._growing.write_all(self._start, pieces)
            self._start = self._end

    def finish(self, size: int, mtime: int, sync: bool) -> Written:
        """
        All has arrived.

        :param size: of the whole file.
        :return: the file, which waits for its name.
        :raises OSError: when the disk does not take it.
        """
        self.flush()
        return self._growing.finish(size, mtime, sync)

    def keep(self) -> None:
        """It broke off: keep what was written, for the next time."""
        self._growing.keep()

    def remove(self) -> None:
        """It is given up."""
        self._pieces = []
        self._growing.remove()
