"""
Lines of the log that others can cause at will: the first ones are written, the rest is summed up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import nlargest

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..describe.log import Logger
from .networks import network

#: Seconds in which lines of one kind are counted, and after which a line sums up those that were not written.
LINES_PERIOD = 60.0

#: How many addresses, and how many reasons, one sum tells apart. Without a bound, who makes us count could fill the
#: memory.
SUMMED_APART = 1_000

#: How many reasons one sum names.
SUMMED_REASONS = 3


class SummedLines:
    """
    Lines of one kind. So many of them are written in a minute. What goes beyond is counted, and each minute one line
    sums it up, until a minute has no more than may be written.

    :param what: what the lines tell of, in the plural, for the sum.
    :param limit: how many are written.
    :param clock: returns the clock.
    :ivar left: how many may be written before :meth:`write` has to look at the clock.
    """

    __slots__ = (
        "_addresses",
        "_alike",
        "_began",
        "_clock",
        "_count",
        "_limit",
        "_reasons",
        "_stopped",
        "_timer",
        "_what",
        "left",
    )

    _log = Logger()

    def __init__(self, what: str, limit: int, clock: Callable[[], IReactorTime]) -> None:
        self._what = what
        self._limit = limit
        self._clock = clock
        # When the minute began, in seconds of the clock.
        self._began = -math.inf
        self._timer: IDelayedCall | None = None
        self._stopped = False
        self.left = 0
        # None while lines are written one by one.
        self._count: int | None = None
        self._addresses: set[str] = set()
        self._reasons: dict[str, int] = {}
        # Whether all say the same.
        self._alike = False

    def change(self, limit: int) -> None:
        """Have another number of lines be written from now on."""
        self.left = min(self.left, limit)
        self._limit = limit

    def write(self, reason: str | None, where: object = None) -> bool:
        """
        One more line is to be written.

        :param reason: what it says, without what differs from line to line; ``None`` where all lines of the kind say
            the same.
        :param where: the address that it speaks of, if it does: as :func:`~.networks.network` returns it, or takes it.
        :return: whether to write it; if not, it is in the sum.
        """
        if self.left:
            self.left -= 1
            return True
        now = self._clock().seconds()
        # Also when the clock was set back, or when there is no timer any more.
        over = not self._began <= now <= self._began + LINES_PERIOD
        if over and self._count is not None:
            self._period_over()
        if self._count is None:
            if over:
                self._began = now
                self.left = self._limit - 1
                return True
            self._log.warn(
                "more than {limit} {what} in a minute: from here on a line a minute sums them up",
                event="lines_summed",
                limit=self._limit,
                what=self._what,
            )
            self._begin_to_count()
        self._add(reason, where)
        return False

    def _begin_to_count(self) -> None:
        self._count = 0
        self._began = self._clock().seconds()
        if not self._stopped:
            # Only while there is something to sum up, so that nothing is left behind where all is quiet.
            self._timer = self._clock().callLater(LINES_PERIOD, self._period_over)

    def _add(self, reason: str | None, where: object) -> None:
        assert self._count is not None
        self._count += 1
        if where is not None and len(self._addresses) < SUMMED_APART:
            # Only here: most lines are written, and need it not.
            shown = where if isinstance(where, str) else network(where)
            if shown is not None:
                self._addresses.add(shown)
        if reason is None:
            self._alike = True
        elif reason in self._reasons or len(self._reasons) < SUMMED_APART:
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        else:
            # Each loses one, so that what comes often outlives any number of others that come once.
            self._reasons = {each: count - 1 for each, count in self._reasons.items() if count > 1}

    def _period_over(self) -> None:
        count = self._count or 0
        self._say()
        if count > self._limit:
            self._begin_to_count()

    def _say(self) -> None:
        """Write the sum, and count no longer."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        count, self._count = self._count, None
        if not count:
            return
        where = ""
        if self._addresses:
            count_apart = len(self._addresses)
            some, plural = "at least " * (count_apart == SUMMED_APART), "es" * (count_apart > 1)
            where = f", from {some}{count_apart} address{plural}"
        # More than one: what many strangers do must not hide what few clients have trouble with.
        reasons = nlargest(SUMMED_REASONS, self._reasons, key=lambda each: self._reasons[each])
        reason = "; then: ".join(reasons) or "of many kinds"
        line = "{count} more {what} in {seconds} s{where}"
        if not self._alike:
            line += "; most often: {reason}"
        self._log.warn(
            line,
            event="lines_summed",
            count=count,
            what=self._what,
            seconds=round(self._clock().seconds() - self._began, 1),
            where=where,
            reason="" if self._alike else reason,
        )
        self._addresses.clear()
        self._reasons.clear()

    def start(self) -> None:
        """Timers may be set again."""
        self._stopped = False

    def stop(self) -> None:
        """Write the sum of what there is, and set no more timers. What comes later is summed up by another call."""
        self._stopped = True
        self._say()
