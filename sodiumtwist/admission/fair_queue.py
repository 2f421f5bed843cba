"""
Who is next, where many wait for what few can have at once.

Whoever has had least lately comes first (least attained service), so nobody's crowd keeps out others: it only has its
turns among itself. What was had is counted by address first and by login second. A login is easily made up, and a
known one easily given by others; an address is what a stranger has few of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import inf, log2
from typing import Generic, TypeVar

from .regulars import Regulars

#: In so many seconds half of what somebody had is forgotten.
HALF_LIFE = 60.0

#: How many addresses, and how many logins, are remembered with what they had. Then those are forgotten that had
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

    def turns(self, key: Hashable) -> float:
        """How many turns it has had lately."""
        level = self._levels.get(key)
        return 0.0 if level is None else 2.0 ** (level - self._clock() / HALF_LIFE)

    def charge(self, key: Hashable) -> None:
        """It has a turn."""
        level = log2(self.turns(key) + 1) + self._clock() / HALF_LIFE
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


# What waits of one origin, by login.
_Logins = dict[Hashable, deque[tuple[Item, Asker]]]


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
        self._by_origin, self._by_login = _Usage(clock), _Usage(clock)
        self._regulars = Regulars()
        # By origin, then by login, then as they came. What is empty is taken out, so those that came first stand first.
        self._waiting: dict[Hashable, _Logins[Item]] = {}
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
        self._waiting.setdefault(asker.origin, {}).setdefault(asker.login, deque()).append((item, asker))
        self._count += 1
        if self._count <= self._size:
            return None
        # Of several that have the same, the one that came last gives way.
        origin, logins = max(reversed(self._waiting.items()), key=self._load)
        login = max(reversed(logins), key=lambda one: self._by_login.turns(one) + len(logins[one]))
        return self._take_out(origin, login, -1)

    def _load(self, waiting: tuple[Hashable, _Logins[Item]]) -> tuple[bool, float, float]:
        """The greater, the sooner it gives way."""
        origin, logins = waiting
        load = self._by_origin.turns(origin) + sum(map(len, logins.values()))
        return not self._has_credit(origin, logins), load, max(map(self._by_login.level, logins))

    def _rank(self, waiting: tuple[Hashable, _Logins[Item]]) -> tuple[bool, float, float]:
        """The lower, the sooner it has its turn."""
        origin, logins = waiting
        level = self._by_origin.level(origin)
        return not self._has_credit(origin, logins), level, min(map(self._by_login.level, logins))

    def _has_credit(self, origin: Hashable, logins: _Logins[Item]) -> bool:
        # All that wait there are the same one's, where it is a regular's.
        _, asker = next(iter(logins.values()))[0]
        return asker.regular and self._by_origin.turns(origin) < REGULAR_CREDIT

    def give_place(self) -> Item | None:
        """
        A place is free again: give it to whoever is next.

        :return: what stands for that one; ``None`` when nobody waits.
        """
        if not self._waiting:
            self.free += 1
            return None
        origin, logins = min(self._waiting.items(), key=self._rank)
        item, asker = self._take_out(origin, min(logins, key=self._by_login.level), 0)
        self._charge(asker)
        return item

    def leave(self, asker: Asker, item: Item) -> None:
        """It waits no longer."""
        turns = self._waiting[asker.origin][asker.login]
        self._take_out(asker.origin, asker.login, next(at for at, (other, _) in enumerate(turns) if other is item))

    def _take_out(self, origin: Hashable, login: Hashable, at: int) -> tuple[Item, Asker]:
        logins = self._waiting[origin]
        turns = logins[login]
        taken = turns[at]
        del turns[at]
        if not turns:
            del logins[login]
        if not logins:
            del self._waiting[origin]
        self._count -= 1
        return taken

    def _charge(self, asker: Asker) -> None:
        self._by_origin.charge(asker.origin)
        self._by_login.charge(asker.login)
