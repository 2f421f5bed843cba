"""
What the log says of limits, and of all that others can cause.

What a limit turns away is counted and not logged one by one: a line says that a limit is reached, and another that it
no longer is, with the number. What others can have logged is summed up beyond a rate.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ..describe.log import Logger
from .summed_lines import SummedLines

#: A limit on connections is logged as no longer reached when this share of it is left. Not as soon as one leaves:
#: where they come and go at the limit, that would be two lines for each.
EASE_SHARE = 0.9


class ReportedLimit:
    """
    Says once when a limit on connections is reached, and once when that is over.

    :param what: of what there are so many.
    :param lines: what may be logged of it.
    :ivar limit: how many there may be.
    :ivar turned_away: how many were, since it is reached.
    """

    _log = Logger()

    def __init__(self, what: str, limit: int, lines: SummedLines) -> None:
        self.limit = limit
        self._what = what
        self._lines = lines
        self.turned_away = 0

    def reached(self) -> str:
        """One more is turned away; return why."""
        if not self.turned_away and self._lines.write(f"{self.limit} {self._what}"):
            self._log.warn(
                "{limit} {what}: that is the limit, more are turned away",
                event="limit_reached",
                limit=self.limit,
                what=self._what,
            )
        self.turned_away += 1
        return f"there are {self.limit} {self._what} already"

    def ease(self, count: int) -> bool:
        """
        Look whether it is over.

        :param count: how many there are.
        """
        if not self.turned_away or count > self.limit * EASE_SHARE:
            return False
        if self._lines.write(f"{self.limit} {self._what}"):
            self._log.info(
                "no longer {limit} {what}; {count} were turned away",
                event="limit_eased",
                limit=self.limit,
                what=self._what,
                count=self.turned_away,
            )
        self.turned_away = 0
        return True


class Lines:
    """
    The lines of the log that others can cause at a server, by kind.

    :param few: how many in a minute of each kind that strangers can cause.
    :param many: how many of the others.
    :param clock: returns the clock.
    :ivar refusals: of who was not let in.
    :ivar limits: of limits that are reached, and no longer are.
    :ivar blocks: of logins and addresses that are blocked, and no longer are.
    :ivar failures: of what went wrong here, with tracebacks.
    :ivar connections: of who has connected.
    :ivar logins: of who was let in.
    :ivar leavings: of clients that left, or were lost.
    :ivar ends: of clients that were dropped.
    :ivar uploads: of uploads, whole or broken off.
    """

    def __init__(self, few: int, many: int, clock: Callable[[], IReactorTime]) -> None:
        self.connections = SummedLines("connections", few, clock)
        self.refusals = SummedLines("refusals", few, clock)
        self.limits = SummedLines("lines about limits", few, clock)
        self.blocks = SummedLines("lines about blocked logins", few, clock)
        self.failures = SummedLines("failures", few, clock)
        self.logins = SummedLines("logins", many, clock)
        self.leavings = SummedLines("clients that left", many, clock)
        self.ends = SummedLines("dropped clients", many, clock)
        self.uploads = SummedLines("lines about uploads", many, clock)

    def change(self, few: int, many: int) -> None:
        """Have other numbers of lines be written from now on. The parameters are those of the class."""
        for kind in (self.connections, self.refusals, self.limits, self.blocks, self.failures):
            kind.change(few)
        for kind in (self.logins, self.leavings, self.ends, self.uploads):
            kind.change(many)

    def start(self) -> None:
        """Timers may be set."""
        for kind in vars(self).values():
            kind.start()

    def stop(self) -> None:
        """Write what was summed up, and set no more timers."""
        for kind in vars(self).values():
            kind.stop()
