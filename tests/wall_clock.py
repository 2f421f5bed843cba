"""
A reactor whose wall clock can be set, beside a clock that nobody sets. No time passes but what a test lets pass.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.python import runtime
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.protocol import clock
from sodiumtwist.protocol.clock import LOOK_INTERVAL, SteadyClock


class Over(Exception):
    """Ends a thread that would run for ever."""


class WallReactor(Clock):
    """
    A reactor that counts by the wall clock, as Twisted's do.

    :ivar steady: the clock of deadlines on it.
    :ivar threads: what was started in threads of their own.
    :ivar woken: how often a thread has woken it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 1_700_000_000.0
        self._passed = 0.0
        self.threads: list[Callable[[], object]] = []
        self.woken = 0
        self.steady = SteadyClock(self, lambda: self._passed, self.threads.append, self._sleep)
        self.steady._wanted.wait = self._wait  # type: ignore[method-assign]

    def be_the_reactor(self, case: SynchronousTestCase) -> None:
        """Be taken for one of Twisted's, whose clock is the wall clock, and have it replaced by ours."""
        self.seconds = self.seconds  # type: ignore[method-assign]  # one object, by which it is known
        case.patch(runtime, "seconds", self.seconds)
        case.patch(clock, "_steady_clock_of", lambda reactor: reactor.steady)

    def set_by(self, seconds: float) -> None:
        """Set the wall clock; as long as nothing wakes it, the reactor does nothing."""
        self.rightNow += seconds

    def set_and_wake(self, seconds: float) -> None:
        """Set the wall clock and do what is due by it, as a reactor does when anything happens."""
        self.set_by(seconds)
        self.advance(0)

    def let_pass(self, seconds: float) -> None:
        """Let time pass by both clocks, piece by piece, with what is due."""
        for _ in range(round(seconds / 0.25)):
            self._passed += 0.25
            self.advance(0.25)

    def callFromThread(self, work: Callable[[], object]) -> None:
        self.woken += 1
        work()

    def watch(self) -> None:
        """Let the thread look once."""
        self._looks = 1
        try:
            self.threads[-1]()
        except Over:
            pass

    def _wait(self, timeout: float | None = None) -> bool:
        if not self.steady._wanted.is_set():
            raise Over
        return True

    def _sleep(self, seconds: float) -> None:
        if not self._looks:
            raise Over
        self._looks -= 1
        assert seconds == LOOK_INTERVAL
        self.let_pass(seconds)
