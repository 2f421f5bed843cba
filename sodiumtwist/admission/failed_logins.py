"""
Counts the logins that fail, for each address or for each login. When one has too many, its logins are not checked
for a time.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..describe.log import Logger
from .count_min_sketch import CountMinSketch
from .shared_counts import SharedFailures
from .summed_lines import SummedLines

#: How many addresses, and how many logins, are remembered with what failed, and how many that are blocked. Without a
#: bound, whoever tries new logins for ever would fill the memory. More are counted in sketches, which forget none of
#: them before its time, so nobody can be pushed out.
FAILURE_TABLE_SIZE = 10_000


class _Tally:
    """
    What failed for one address or login since its first failure.

    :ivar ends: when it is forgotten, in seconds of the clock.
    :ivar refused: how many logins were not checked while it was blocked.
    :ivar unblocking: the timer that ends the block; ``None`` when it is not blocked.
    """

    unblocking: IDelayedCall | None = None

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.failures = 0
        self.refused = 0


class _Crowd:
    """
    Counts the failures of those for whom the table has no room. Each is forgotten after one to two times the time of a
    tally, all of that time together.

    :ivar seconds: the time of a tally.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # Each with the time at which it began, the older first. At most two: the older is forgotten before there would
        # be a third.
        self._sketches: list[tuple[float, CountMinSketch]] = []

    def forget_old(self, now: float) -> bool:
        """
        Forget what is too old.

        :return: whether nothing is left.
        """
        while self._sketches and now - self._sketches[0][0] >= 2 * self.seconds:
            del self._sketches[0]
        return not self._sketches

    def add(self, key: str, now: float, failures: int) -> None:
        """Some more failed."""
        if not self._sketches or now - self._sketches[-1][0] >= self.seconds:
            self._sketches.append((now, CountMinSketch()))
        self._sketches[-1][1].add(key, failures)

    def count(self, key: str) -> int:
        """Tell how many failed. It may be some more, and is never fewer."""
        return sum(sketch.count(key) for _, sketch in self._sketches)


class FailedLogins:
    """
    Counts the logins that fail. A *key* is what they are counted by, an address or a login.

    :param what: the word for the log: ``from`` an address, ``as`` a login.
    :param limit: how many failures block a key.
    :param seconds: the time for that many, from the first failure. A block ends with that time.
    :param clock: returns the clock.
    :param lines: what may be logged of blocks.
    :param elsewhere: what other processes count for the same limit; ``None`` where there are none. Their failures count
        for up to a quarter of that time more.
    :ivar blocked: the keys that are blocked by what failed here.
    """

    _log = Logger()

    #: How many are blocked for whom ``blocked`` has no room. While there are, the crowd tells who is.
    _beyond = 0

    def __init__(
        self,
        what: str,
        limit: int,
        seconds: float,
        clock: Callable[[], IReactorTime],
        lines: SummedLines,
        elsewhere: SharedFailures | None = None,
    ) -> None:
        self._what = what
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._lines = lines
        self._elsewhere = elsewhere
        # All have the same time, so they stand in the order in which they end. Those that are blocked stand apart.
        self._tallies: dict[str, _Tally] = {}
        self.blocked: dict[str, _Tally] = {}
        self._crowd = _Crowd(seconds)

    def change(self, limit: int, seconds: float) -> None:
        """
        Count by other numbers from now on. What has failed counts on, and who is blocked stays so for its time.

        :param limit: how many failures block a key.
        :param seconds: the time for that many.
        """
        self._limit = limit
        self._seconds = self._crowd.seconds = seconds
        # So that they go on to stand in the order in which they end, before those that are to come.
        latest = self._clock().seconds() + seconds
        for tally in self._tallies.values():
            tally.ends = min(tally.ends, latest)

    def _forget_old(self, now: float) -> None:
        while self._tallies:
            key, tally = next(iter(self._tallies.items()))
            if tally.ends > now:
                break
            del self._tallies[key]
        if self._crowd.forget_old(now) and self._beyond:
            self._log.info(
                "logins {what} all others are checked again; {count} had no line of their own",
                event="logins_unblocked",
                what=self._what,
                count=self._beyond,
            )
            self._beyond = 0

    def _unblock(self, key: str) -> None:
        tally = self.blocked.pop(key)
        if self._lines.write(f"logins {self._what} {key}"):
            self._log.info(
                "logins {what} {key} are checked again; {count} were refused",
                event="logins_unblocked",
                what=self._what,
                key=key,
                count=tally.refused,
            )

    def blocks(self, key: str) -> bool:
        """Tell whether a key is blocked."""
        if key in self.blocked:
            return True
        if self._beyond:
            self._forget_old(self._clock().seconds())
        if self._beyond > 0 and self._crowd.count(key) >= self._limit:
            return True
        return self._elsewhere is not None and self._blocked_elsewhere(key, self._elsewhere)

    def _blocked_elsewhere(self, key: str, elsewhere: SharedFailures) -> bool:
        """Tell whether too many have failed in all processes together."""
        now = self._clock().seconds()
        others = elsewhere.count(key, now, self._seconds)
        if not others:
            return False
        self._forget_old(now)
        tally = self._tallies.get(key)
        return others + (self._crowd.count(key) if tally is None else tally.failures) >= self._limit

    def refuse(self, key: str) -> None:
        """A blocked key was tried. Its login is not checked, and counts as one more refused."""
        if key in self.blocked:
            self.blocked[key].refused += 1

    def failed(self, key: str) -> bool:
        """
        Note that one more login failed.

        :return: whether the key gets blocked by that.
        """
        now = self._clock().seconds()
        self._forget_old(now)
        # It was being checked when the others failed.
        if self.blocks(key):
            return False
        tally = self._tallies.get(key)
        if tally is None:
            tally = _Tally(now + self._seconds)
            # What failed while there was no room for it goes on to count when there is.
            tally.failures = self._crowd.count(key)
            # Nobody is forgotten for it: that is what others would try new logins for.
            if len(self._tallies) < FAILURE_TABLE_SIZE:
                self._tallies[key] = tally
            else:
                self._crowd.add(key, now, 1)
        tally.failures += 1
        failures = tally.failures
        if self._elsewhere is not None:
            self._elsewhere.add(key, now, self._seconds)
            failures += self._elsewhere.count(key, now, self._seconds)
        if failures < self._limit:
            return False
        self._tallies.pop(key, None)
        self._block(key, tally, now)
        return True

    def _block(self, key: str, tally: _Tally, now: float) -> None:
        if len(self.blocked) >= FAILURE_TABLE_SIZE:
            if not self._beyond:
                self._log.warn(
                    "logins {what} {count} others are refused already; those {what} more are, too, without a line each",
                    event="logins_blocked",
                    what=self._what,
                    count=len(self.blocked),
                )
            self._beyond += 1
            self._crowd.add(key, now, max(0, self._limit - self._crowd.count(key)))
            return
        self.blocked[key] = tally
        tally.unblocking = self._clock().callLater(tally.ends - now, self._unblock, key)
        if self._lines.write(f"logins {self._what} {key}"):
            self._log.warn(
                "{limit} logins {what} {key} failed; more are refused for {seconds} s",
                event="logins_blocked",
                limit=self._limit,
                what=self._what,
                key=key,
                seconds=round(tally.ends - now, 1),
            )

    def stop(self) -> None:
        """Forget all, so that no timer is left."""
        for tally in self.blocked.values():
            if tally.unblocking is not None and tally.unblocking.active():
                tally.unblocking.cancel()
        self._tallies.clear()
        self.blocked.clear()
        self._crowd = _Crowd(self._seconds)
        self._beyond = 0
