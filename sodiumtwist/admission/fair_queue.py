"""
Who is next, where many wait for what few can have at once.

Whoever has had least lately comes first (least attained service), so nobody's crowd keeps out others: it only has its
turns among itself. What was had is counted by address first. Among those that have had the same, as all that come for
the first time, the larger network decides, and then the login. A login is easily made up, and a known one easily given
by others; an address is what a stranger has few of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from math import inf, log2
from typing import Any, Generic, TypeVar

from .networks import wider_network
from .regulars import Regulars

#: In so many seconds half of what somebody had is forgotten.
HALF_LIFE = 60.0

#: How many addresses, networks and logins, each, are remembered with what they had. Then those are forgotten that had
#: nothing for the longest time.
USAGE_TABLE_SIZE = 10_000

#: A login that comes from where it came in before goes before all strangers, until it has had so many turns lately.
REGULAR_CREDIT = 10

Item = TypeVar("Item")


class _Usage:
    """
    How many turns each has had lately. All that was had decays at the same pace, so two that have no turn keep their
    order. What is kept is therefore one number: its logarithm, plus the time, in half-lives.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Whose last turn is longest ago comes first.
        self._levels: dict[Hashable, float] = {}

    def level(self, key: Hashable) -> float:
        """Whoever's is lower has had less."""
        return self._levels.get(key, -inf)

    def turns(self, keys: Iterable[Hashable]) -> list[float]:
        """How many turns each has had lately."""
        now, levels = self._clock() / HALF_LIFE, self._levels
        return [2.0 ** (levels[key] - now) if key in levels else 0.0 for key in keys]

    def charge(self, key: Hashable) -> None:
        """It has a turn."""
        (turns,) = self.turns([key])
        level = log2(turns + 1) + self._clock() / HALF_LIFE
        self._levels.pop(key, None)
        self._levels[key] = level
        if len(self._levels) > USAGE_TABLE_SIZE:
            del self._levels[next(iter(self._levels))]


@dataclass(frozen=True)
class Asker:
    """
    Who asks for a turn.

    :ivar login: that it gives.
    :ivar where: it comes from there, as :func:`~sodiumtwist.admission.networks.network` tells it. All that have no
        address are as one.
    :ivar regular: whether this login came in from there before. Its turns are then counted by itself, apart from those
        of others at the same address, who may be strangers behind the same router; but together, from wherever it is
        known, so that many addresses are no advantage.
    """

    login: Hashable
    where: str | None
    regular: bool

    @property
    def origin(self) -> Hashable:
        """By what its turns are counted first."""
        return (self.login,) if self.regular else self.where


class _Line(Generic[Item]):
    """
    Those that wait and whose turns are counted together.

    :ivar origin: by what they are counted.
    :ivar regular: whether that is one login.
    :ivar network: the larger one, where they come from one address.
    :ivar count: how many they are.
    :ivar logins: they, by login, those that came first in front.
    """

    __slots__ = ("count", "logins", "network", "origin", "regular")

    def __init__(self, asker: Asker) -> None:
        self.origin, self.regular, self.network = asker.origin, asker.regular, _network_of(asker)
        self.count = 0
        self.logins: dict[Hashable, deque[tuple[Item, Asker]]] = {}


def _network_of(asker: Asker) -> str | None:
    return None if asker.where is None else wider_network(asker.where)


def _greatest_of(lines: list[_Line[Item]], values: list[Any]) -> list[_Line[Item]]:
    greatest = max(values)
    return [line for line, value in zip(lines, values, strict=True) if value == greatest]


class FairQueue(Generic[Item]):
    """
    A bounded queue, and the places for which it waits.

    :param places: how many have a place at once.
    :param size: how many may wait.
    :param clock: returns seconds, which never go back.
    :ivar free: how many places nobody has.
    """

    def __init__(self, places: int, size: int, clock: Callable[[], float]) -> None:
        self.free = places
        self._size = size
        self._by_origin, self._by_network, self._by_login = _Usage(clock), _Usage(clock), _Usage(clock)
        self._regulars = Regulars()
        # By origin. One for which nobody waits is taken out, so those that came first stand in front.
        self._waiting: dict[Hashable, _Line[Item]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def asker(self, login: Hashable, where: str | None) -> Asker:
        """
        Note who asks.

        :param login: that it gives.
        :param where: it comes from there.
        """
        return Asker(login, where, self._regulars.knows(login, where))

    def came_in(self, asker: Asker) -> None:
        """It was let in: it is no stranger any more."""
        if asker.where is not None:
            self._regulars.came_in(asker.login, asker.where)

    def take_place(self, asker: Asker) -> bool:
        """
        Take a place, if one is free.

        :return: whether it has one now.
        """
        if not self.free:
            return False
        self.free -= 1
        self._charge(asker)
        return True

    def join(self, asker: Asker, item: Item) -> tuple[Item, Asker] | None:
        """
        Wait for a place.

        :param item: what :meth:`give_place` shall return.
        :return: whoever gives way, where too many wait, with what stands for it: who has had and waits for most. It
            may be the one that came now.
        """
        line = self._waiting.get(asker.origin)
        if line is None:
            line = self._waiting[asker.origin] = _Line(asker)
        line.logins.setdefault(asker.login, deque()).append((item, asker))
        line.count += 1
        self._count += 1
        if self._count <= self._size:
            return None
        line = self._greatest()
        had = dict(zip(line.logins, self._by_login.turns(line.logins), strict=True))
        return self._take_out(line, max(reversed(line.logins), key=lambda one: had[one] + len(line.logins[one])), -1)

    def _greatest(self) -> _Line[Item]:
        """Find whose share is the greatest. Of several that have the same, it is the one that came last."""
        lines = list(reversed(self._waiting.values()))
        turns = self._by_origin.turns(line.origin for line in lines)
        shares = [
            (not (line.regular and had < REGULAR_CREDIT), had + line.count)
            for line, had in zip(lines, turns, strict=True)
        ]
        lines = _greatest_of(lines, shares)
        lines = _greatest_of(lines, [self._by_network.level(line.network) for line in lines])
        return max(lines, key=lambda line: max(map(self._by_login.level, line.logins)))

    def _rank(self, line: _Line[Item]) -> tuple[bool, float, float, float]:
        """The lower, the sooner it has its turn."""
        (turns,) = self._by_origin.turns([line.origin])
        has_credit = line.regular and turns < REGULAR_CREDIT
        by_login = min(map(self._by_login.level, line.logins))
        return not has_credit, self._by_origin.level(line.origin), self._by_network.level(line.network), by_login

    def give_place(self) -> Item | None:
        """
        A place is free again: give it to whoever is next.

        :return: what stands for that one; ``None`` when nobody waits.
        """
        if not self._waiting:
            self.free += 1
            return None
        line = min(self._waiting.values(), key=self._rank)
        item, asker = self._take_out(line, min(line.logins, key=self._by_login.level), 0)
        self._charge(asker)
        return item

    def leave(self, asker: Asker, item: Item) -> None:
        """It waits no longer."""
        line = self._waiting[asker.origin]
        waiting = line.logins[asker.login]
        self._take_out(line, asker.login, next(at for at, (other, _) in enumerate(waiting) if other is item))

    def _take_out(self, line: _Line[Item], login: Hashable, at: int) -> tuple[Item, Asker]:
        waiting = line.logins[login]
        taken = waiting[at]
        del waiting[at]
        line.count -= 1
        self._count -= 1
        if not waiting:
            del line.logins[login]
        if not line.count:
            del self._waiting[line.origin]
        return taken

    def _charge(self, asker: Asker) -> None:
        self._by_origin.charge(asker.origin)
        self._by_network.charge(_network_of(asker))
        self._by_login.charge(asker.login)
