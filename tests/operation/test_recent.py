"""
Answers that are some moments old.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.operation.recent import RECENT_SECONDS, Recent


class RecentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[int]] = []
        self.recent = Recent(self.ask, 5.0, self.clock)

    def ask(self) -> Deferred[int]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def test_together(self) -> None:
        """Who asks meanwhile gets the same answer, and so does who asks a moment later."""
        waiting = [self.recent.get(), self.recent.get()]
        self.clock.advance(3)
        waiting.append(self.recent.get())
        self.asked[0].callback(7)
        self.clock.advance(RECENT_SECONDS / 2)
        waiting.append(self.recent.get())
        self.assertEqual([self.successResultOf(each) for each in waiting], [7] * 4)
        self.assertEqual(len(self.asked), 1)

    def test_later(self) -> None:
        """Then somebody is asked again."""
        self.recent.get()
        self.asked[0].callback(7)
        self.clock.advance(RECENT_SECONDS)
        waiting = self.recent.get()
        self.assertNoResult(waiting)
        self.asked[1].callback(8)
        self.assertEqual(self.successResultOf(waiting), 8)

    def test_failure(self) -> None:
        """All hear of it, and it holds no longer than an answer."""
        waiting = [self.recent.get(), self.recent.get()]
        self.asked[0].errback(ValueError("boom"))
        waiting.append(self.recent.get())
        for each in waiting:
            self.failureResultOf(each, ValueError)
        self.clock.advance(RECENT_SECONDS)
        self.recent.get()
        self.assertEqual(len(self.asked), 2)

    def test_late(self) -> None:
        """Nobody waits for ever."""
        waiting = self.recent.get()
        self.clock.advance(5)
        self.failureResultOf(waiting, TimeoutError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
