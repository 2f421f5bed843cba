"""
What waits for clients that do not read, over all connections of a server: its sum has a limit, and the connection for
which most waits gives way.

Each connection has limits of its own, and nothing more is read from one that takes nothing. But there may be thousands
of them, and what they asked for was small. To read less would not help any more, so one of them is ended: that for
which most waits, so that those that hold little go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

#: How far beyond its limit the sum may seem to be, as a share of it, before it is counted anew. What a socket has taken
#: since is not known before that.
SEEMING = 0.125


class Holder(Protocol):
    """A connection for which something may wait."""

    def left_unread(self) -> int:
        """Tell how many bytes wait for its client."""

    def give_way(self, waiting: int, limit: int, held: int) -> None:
        """
        Break off, and drop what waits.

        :param waiting: how many bytes wait for all clients.
        :param limit: how many may.
        :param held: how many for this one.
        """


class Unread:
    """
    The sum.

    :param limit: in bytes.
    :param holders: the connections, also in future.
    :ivar seeming: at most so much waits. What a socket takes is noticed late, what is added at once.
    :ivar most: when it seems to be more than that, :meth:`look` is to be called.
    """

    __slots__ = ("_holders", "_limit", "most", "seeming")

    def __init__(self, limit: int, holders: Iterable[Holder]) -> None:
        self._limit = limit
        self._holders = holders
        self.most = limit * (1 + SEEMING)
        self.seeming = 0

    def look(self) -> None:
        """Count what waits. While it is over the limit, the connection for which most waits gives way."""
        holding = sorted(((holder.left_unread(), id(holder), holder) for holder in self._holders), reverse=True)
        self.seeming = sum(held for held, _, _ in holding)
        for held, _, holder in holding:
            if self.seeming <= self._limit:
                break
            waiting = self.seeming
            self.seeming -= held
            holder.give_way(waiting, self._limit, held)
