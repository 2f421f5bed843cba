"""
What one session has taken of the room of its login, so that it can give back what it did not need in the end. Thread
side.
"""

from __future__ import annotations

from collections.abc import Callable


class Charges:
    """
    Files that have not their names yet, by their numbers, and the bytes that were taken for each.

    :param room: asked before so many bytes are written; raises an ``OSError`` when there is no room for them. It takes
        back what is below 0. ``None`` where nobody counts.
    """

    def __init__(self, room: Callable[[int], None] | None) -> None:
        self._room = room
        self._taken: dict[int, int] = {}

    @property
    def counts(self) -> bool:
        """Whether anybody counts."""
        return self._room is not None

    def take(self, number: int, size: int) -> None:
        """
        So many bytes more of a file are to be written.

        :raises OSError: when there is no room for them.
        """
        if self._room is not None:
            self._room(size)
            self._taken[number] = self._taken.get(number, 0) + size

    def begin(self, number: int, there: int, offset: int) -> None:
        """
        A file begins of which something is there.

        :param there: how much room that takes, which was taken before.
        :param offset: how many of them are kept: all, or none.
        """
        if self._room is not None:
            self._taken[number] = there
            if not offset:
                self.give_back(number)

    def taken(self, number: int) -> int:
        """Tell how much room was taken for a file."""
        return self._taken.get(number, 0)

    def give_back(self, number: int) -> None:
        """Nothing is left of a file."""
        taken = self._taken.pop(number, 0)
        if taken and self._room is not None:
            self._room(-taken)

    def placed(self, number: int, replaced: int) -> None:
        """
        A file has its name.

        :param replaced: how much room another one had taken, whose place it took.
        """
        self._taken.pop(number, None)
        if replaced and self._room is not None:
            self._room(-replaced)
