"""
What waits for clients that do not read, over all connections of a server: its sum has a limit, and a connection
of the client for which most waits gives way.

Each connection has limits of its own, and nothing more is read from one that takes nothing. But there may be thousands
of them, and what they asked for was small. To read less would not help any more, so one of them is ended, and those
that hold little go on. What counts is how much waits for one login, and then from one address: else a crowd of one
client's connections, with a little less for each, would have those of all others ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeVar

#: How far beyond its limit the sum may seem to be, as a share of it, before it is counted anew. What a socket has taken
#: since is not known before that.
SEEMING = 0.125


class Holder(Protocol):
    """A connection for which something may wait."""

    def left_unread(self) -> int:
        """Tell how many bytes wait for its client."""

    def held_by(self) -> tuple[Hashable, Hashable]:
        """Tell whose it is, and from where."""

    def give_way(self, waiting: int, limit: int, held: int) -> None:
        """
        Break off, and drop what waits.

        :param waiting: how many bytes wait for all clients.
        :param limit: how many may.
        :param held: how many for this one.
        """


Held = TypeVar("Held", bound=tuple[int, Holder])


def _by_share(holding: list[Held], whose: Callable[[Held], Hashable]) -> list[Held]:
    """
    Put in order who gives way: always one of those that together hold most, of which less is left each time.

    :param holding: those that are together are in this order already.
    :param whose: tells which are together.
    """
    left: Counter[Hashable] = Counter()
    shares = []
    # From behind, since a share is what is left with all that are in front gone.
    for held in reversed(holding):
        left[whose(held)] += held[0]
        shares.append((left[whose(held)], held))
    shares.reverse()
    return [held for _, held in sorted(shares, key=lambda share: share[0], reverse=True)]


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

    @property
    def limit(self) -> int:
        """How many bytes may wait."""
        return self._limit

    def change(self, limit: int) -> None:
        """Have so many bytes be the limit from now on."""
        self._limit = limit
        self.most = limit * (1 + SEEMING)

    def look(self) -> None:
        """Count what waits. While it is over the limit, somebody of those for whom most waits gives way."""
        holding = [(holder.left_unread(), holder) for holder in self._holders]
        self.seeming = sum(held for held, _ in holding)
        if self.seeming <= self._limit:
            return
        # Of one login those from the address that has most, and of these that with most.
        whose = {holder: holder.held_by() for _, holder in holding}
        holding.sort(key=lambda one: one[0], reverse=True)
        for depth in (2, 1):
            holding = _by_share(holding, lambda one, depth=depth: whose[one[1]][:depth])  # type: ignore[misc]
        for held, holder in holding:
            if self.seeming <= self._limit:
                break
            waiting = self.seeming
            self.seeming -= held
            holder.give_way(waiting, self._limit, held)
