"""
Counts the logins that fail, for each address or for each login. When one has too many, its logins are not checked
for a time.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .summed_lines import SummedLines

#: How many addresses, and how many logins, are remembered with what failed; then the oldest are forgotten. Without
#: a bound, whoever tries new logins for ever would fill the memory.
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


class FailedLogins:
    """
    Counts the logins that fail. A *key* is what they are counted by, an address or a login.

    :param what: the word for the log: ``from`` an address, ``as`` a login.
    :param limit: how many failures block a key.
    :param seconds: the time for that many, from the first failure. A block ends with that time.
    :param clock: returns the clock.
    :param lines: what may be logged of blocks.
    :ivar blocked: the keys that are blocked.
    """

    _log = Logger()

    def __init__(
        self,
        what: str,
        limit: int,
        seconds: float,
        clock: Callable[[], IReactorTime],
        lines: SummedLines,
    ) -> None:
        self._what = what
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._lines = lines
        # All have the same time, so they stand in the order in which they end. Those that are blocked stand apart:
        # else enough failures of others would push them out and so end their block.
        self._tallies: dict[str, _Tally] = {}
        self.blocked: dict[str, _Tally] = {}

    def _forget_old(self) -> None:
        now = self._clock().seconds()
        while self._tallies:
            key, tally = next(iter(self._tallies.items()))
            # When the table is full, the oldest goes before its time, to make room.
            if tally.ends > now and len(self._tallies) < FAILURE_TABLE_SIZE:
                return
            del self._tallies[key]

    def _unblock(self, key: str) -> None:
        tally = self.blocked.pop(key)
        assert tally.unblocking is not None
        # It is over when the timer itself calls this, and not when the block ends early.
        if tally.unblocking.active():
            tally.unblocking.cancel()
        if self._lines.write(f"logins {self._what} {key}"):
            self._log.info(
                "logins {what} {key} are checked again; {count} were refused",
                what=self._what,
                key=key,
                count=tally.refused,
            )

    def refuse(self, key: str) -> None:
        """A blocked key was tried. Its login is not checked, and counts as one more refused."""
        self.blocked[key].refused += 1

    def failed(self, key: str) -> bool:
        """
        Note that one more login failed.

        :return: whether the key gets blocked by that.
        """
        # It was being checked when the others failed.
        if key in self.blocked:
            return False
        self._forget_old()
        now = self._clock().seconds()
        tally = self._tallies.setdefault(key, _Tally(now + self._seconds))
        tally.failures += 1
        if tally.failures < self._limit:
            return False
        del self._tallies[key]
        # This table has its bound, too. The block that ends first ends now.
        if len(self.blocked) >= FAILURE_TABLE_SIZE:
            self._unblock(next(iter(self.blocked)))
        self.blocked[key] = tally
        tally.unblocking = self._clock().callLater(tally.ends - now, self._unblock, key)
        if self._lines.write(f"logins {self._what} {key}"):
            self._log.warn(
                "{limit} logins {what} {key} failed; more are refused for {seconds} s",
                limit=self._limit,
                what=self._what,
                key=key,
                seconds=round(tally.ends - now, 1),
            )
        return True

    def stop(self) -> None:
        """Forget all, so that no timer is left."""
        for tally in self.blocked.values():
            if tally.unblocking is not None and tally.unblocking.active():
                tally.unblocking.cancel()
        self._tallies.clear()
        self.blocked.clear()
