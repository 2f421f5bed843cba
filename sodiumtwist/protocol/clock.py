"""
The clock of deadlines: one that nobody sets.

Twisted's reactors count by the wall clock (``time.time``), and so do their timers. When somebody sets it, or a network
time server does, all timers go off at once, or none does for as long as it was set back. What must wait for so many
seconds waits for them by :class:`SteadyClock`; and our programs give their reactor such a clock, see
:func:`count_steadily`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python import runtime
from zope.interface import implementer

#: Seconds between two looks whether a reactor's clock was set back. So much later than it should a timer may go off.
LOOK_INTERVAL = 1.0

#: By how many seconds a reactor's clock must have been set back for its timers to be set again. A clock that is
#: slowed down a little, as network time servers do it, needs nothing.
SET_BACK = 0.5


def _start_thread(work: Callable[[], object]) -> None:
    # A daemon: it waits for ever, and must not keep the program from its end.
    threading.Thread(target=work, name="sodiumtwist clock", daemon=True).start()


@implementer(IReactorTime)
class SteadyClock:
    """
    Counts by the monotonic clock, and has its timers go off by that, on a reactor that counts by the wall clock.

    A timer that the reactor calls too early, after a step forward, is set again. After a step back the reactor would
    call all timers too late, and when nothing else happens it sleeps until then. So a thread looks whether the
    reactor's clock was set back while timers wait, and wakes it.

    :param reactor: with ``callFromThread``.
    :param seconds: the monotonic clock.
    :param start: starts a thread.
    :param sleep: lets that thread wait.
    """

    def __init__(
        self,
        reactor: Any,
        seconds: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], object]], object] = _start_thread,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._reactor = reactor
        # Not a method that calls it: each read of a connection asks for the time.
        self.seconds = seconds
        self._start = start
        self._sleep = sleep
        # Each timer with the reactor's own one for it.
        self._waiting: dict[DelayedCall, IDelayedCall] = {}
        # How far the reactor's clock was ahead of ours when it was the farthest, of all times at which a timer was
        # set. When it is less far ahead now, that timer would be late.
        self._ahead = self._now_ahead()
        # Says to the thread that timers wait.
        self._wanted = threading.Event()
        # The process that has the thread: a fork has no copy of it.
        self._process: int | None = None

    def _now_ahead(self) -> float:
        return float(self._reactor.seconds() - self.seconds())

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> DelayedCall:
        """Call something after so many seconds, see ``IReactorTime``."""
        call = DelayedCall(self.seconds() + delay, callable, args, kw, self._forget, self._set, self.seconds)
        self._set(call)
        if self._process != os.getpid():
            self._process = os.getpid()
            self._start(self._watch)
        # Behind the timer: the thread looks for timers once more when it has taken this back.
        if not self._wanted.is_set():
            self._wanted.set()
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        """Return the timers that wait."""
        return list(self._waiting)

    def _set(self, call: DelayedCall) -> None:
        """Have the reactor call us when a timer is due."""
        before = self._waiting.get(call)
        if before is not None and before.active():
            before.cancel()
        self._waiting[call] = self._reactor.callLater(max(0, call.time - self.seconds()), self._due, call)
        # Behind it: a step between the two is then noticed once too often, and not once too rarely.
        ahead = self._now_ahead()
        if ahead > self._ahead:
            self._ahead = ahead
        elif self._ahead - ahead > SET_BACK:
            self._look()

    def _forget(self, call: DelayedCall) -> None:
        self._waiting.pop(call).cancel()

    def _due(self, call: DelayedCall) -> None:
        # It was put off meanwhile. Twisted's timers note that, and do nothing about it until they are due.
        call.activate_delay()
        if call.time > self.seconds():
            self._set(call)
            return
        del self._waiting[call]
        call.called = 1
        call.func(*call.args, **call.kw)

    def _set_back(self) -> bool:
        return self._ahead - self._now_ahead() > SET_BACK

    def _look(self) -> None:
        """Set all timers again when the reactor would be late with them."""
        if self._set_back():
            self._ahead = self._now_ahead()
            for call in list(self._waiting):
                self._set(call)

    def _watch(self) -> None:
        """In a thread of its own: look in the reactor's place, which may sleep."""
        while True:
            self._wanted.wait()
            self._sleep(LOOK_INTERVAL)
            if self._set_back():
                self._reactor.callFromThread(self._look)
            elif not self._waiting:
                self._wanted.clear()
                # A timer that was set while this was still true has not set it.
                if self._waiting:
                    self._wanted.set()


def _counts_by_wall_clock(clock: Any) -> bool:
    # A reactor has it as a static method, so that this is the function itself.
    return getattr(clock, "seconds", None) is runtime.seconds


# One for each reactor, of which a process has one. So it has one thread, too.
_steady_clock_of = cache(SteadyClock)


def steady_clock(clock: Any) -> IReactorTime:
    """
    Make the clock of deadlines.

    :param clock: a reactor, or another ``IReactorTime``; ``None`` for the global reactor. Whoever may have to ask for
        that one asks late: it is installed by that.
    :return: a :class:`SteadyClock` for a reactor that counts by the wall clock; anything else as it is.
    """
    if clock is None:
        # Not at the top: the program may want another one.
        from twisted.internet import reactor

        clock = reactor
    made: IReactorTime = _steady_clock_of(clock) if _counts_by_wall_clock(clock) else clock
    return made


def count_steadily(reactor: Any, seconds: Callable[[], float] = time.monotonic) -> None:
    """
    Have a reactor count by the monotonic clock, for all that uses it. For programs, whose reactor is theirs; and
    before it runs. One that runs already stays as it is, since whoever runs it may reckon with the wall clock.

    :param reactor: any of Twisted's. All of them ask their own ``seconds()`` for the time.
    :param seconds: the monotonic clock.
    """
    if not _counts_by_wall_clock(reactor) or reactor.running:
        return
    calls, earlier = reactor.getDelayedCalls(), seconds() - reactor.seconds()
    reactor.seconds = seconds
    # What was set by then goes on by the new clock.
    for call in calls:
        call.seconds = seconds
        call.delay(earlier)
