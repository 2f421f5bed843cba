"""
Answers that are some moments old: however many ask, the work is done once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

#: For so many seconds an answer holds.
RECENT_SECONDS = 1.0

Told = TypeVar("Told")


class Recent(Generic[Told]):
    """
    Asks, and gives all who want to know meanwhile, and a moment later, the same answer.

    :param ask: asks. What it fails with all are told as well.
    :param seconds: that the answer may take; then it has failed.
    :param clock: tells the time.
    """

    def __init__(self, ask: Callable[[], Deferred[Told]], seconds: float, clock: IReactorTime) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._waiting: list[Deferred[Told]] = []
        self._told: Any = None
        self._until = clock.seconds()
        self._asking = False

    def get(self) -> Deferred[Told]:
        """
        Get the answer.

        :return: fires with it, or fails as asking did.
        """
        waiting: Deferred[Told] = Deferred()
        if not self._asking and self._clock.seconds() < self._until:
            waiting.callback(self._told)
            return waiting
        self._waiting.append(waiting)
        if not self._asking:
            self._asking = True
            maybeDeferred(self._ask).addTimeout(self._seconds, self._clock).addBoth(self._tell)
        return waiting

    def _tell(self, told: Told | Failure) -> None:
        self._asking = False
        self._told, self._until = told, self._clock.seconds() + RECENT_SECONDS
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(told)  # a failure makes it fail
