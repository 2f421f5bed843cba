"""
Logins that failed, of one address or as one login: when there are too many, none is checked for a time.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: How many addresses, and how many logins, are remembered for what failed; beyond it the oldest go.
FAILURE_TABLE_SIZE = 10_000


class _Tally:
    """What failed for one address or login since its first failure."""

    call: IDelayedCall | None = None

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.failures = 0
        self.refused = 0


class FailedLogins:
    """
    Logins that failed, by address or by login.

    :param what: how the log calls them: ``from`` an address, ``as`` a login.
    :param limit: how many may fail.
    :param seconds: in which they may, from the first one on.
    :param clock: returns the clock.
    :ivar blocked: the addresses or logins of which so many have failed that none is checked any more.
    """

    _log = Logger()

    def __init__(
        self,
        what: str,
        limit: int,
        seconds: float,
        clock: Callable[[], IReactorTime],
    ) -> None:
        self._what = what
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        # In the order in which they end. Those that are blocked stand apart, so that others can't push them out.
        self._tallies: dict[str, _Tally] = {}
        self.blocked: dict[str, _Tally] = {}

    def _forget_old(self) -> None:
        now = self._clock().seconds()
        while self._tallies:
            key, tally = next(iter(self._tallies.items()))
            if tally.ends > now and len(self._tallies) < FAILURE_TABLE_SIZE:
                return
            del self._tallies[key]

    def _unblock(self, key: str) -> None:
        tally = self.blocked.pop(key)
        assert tally.call is not None
        if tally.call.active():
            tally.call.cancel()
        self._log.info(
            "logins {what} {key} are checked again; {count} were refused",
            what=self._what,
            key=key,
            count=tally.refused,
        )

    def refuse(self, key: str) -> None:
        """One that is blocked was tried, and is not checked."""
        self.blocked[key].refused += 1

    def failed(self, key: str) -> bool:
        """
        One more failed.

        :return: whether these are too many now, and were not before.
        """
        if key in self.blocked:
            return False
        self._forget_old()
        now = self._clock().seconds()
        tally = self._tallies.setdefault(key, _Tally(now + self._seconds))
        tally.failures += 1
        if tally.failures < self._limit:
            return False
        del self._tallies[key]
        if len(self.blocked) >= FAILURE_TABLE_SIZE:
            self._unblock(next(iter(self.blocked)))
        self.blocked[key] = tally
        tally.call = self._clock().callLater(tally.ends - now, self._unblock, key)
        self._log.warn(
            "{limit} logins {what} {key} failed; more are refused for {seconds} s",
            limit=self._limit,
            what=self._what,
            key=key,
            seconds=round(tally.ends - now, 1),
        )
        return True

    def stop(self) -> None:
        """Forget all."""
        for tally in self.blocked.values():
            if tally.call is not None and tally.call.active():
                tally.call.cancel()
        self._tallies.clear()
        self.blocked.clear()
