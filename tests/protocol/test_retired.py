"""
When nothing new can be asked on a connection.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from ..desk import Desk, RequestPair, make_pair
from ..versions import each_version, only


@each_version
class RetiredTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.desk = Desk()
        self.pair: RequestPair = make_pair(self.desk)
        # Also before there is anything else.
        self.early = self.pair.client.when_retired()
        self.pair.flush()
        self.assertNoResult(self.early)
        self.asked = self.pair.client.request(b"x")
        self.pair.flush()

    def retired(self) -> None:
        """Check that all are told, also who asks later."""
        self.assertIsNone(self.successResultOf(self.early))
        self.assertIsNone(self.successResultOf(self.pair.client.when_retired()))

    def answered(self) -> None:
        """Check that what was asked before is answered all the same."""
        self.assertNoResult(self.asked)
        self.desk.answering[0].callback(b"answer")
        self.pair.flush()
        self.assertEqual(self.successResultOf(self.asked), b"answer")

    def test_closed_here(self) -> None:
        self.pair.client.close()
        self.retired()
        self.answered()

    @only(2)
    def test_drained(self) -> None:
        self.pair.server.drain()
        self.pair.flush()
        self.retired()
        self.answered()

    @only(2)
    def test_closed_by_peer(self) -> None:
        self.pair.server.close()
        self.pair.flush()
        self.retired()
        self.answered()

    def test_lost(self) -> None:
        """It is over: who waits is told behind the failures of what is unanswered."""
        told: list[str] = []
        self.early.addCallback(lambda _: told.append("retired"))
        self.asked.addErrback(lambda reason: told.append("failed"))
        self.pair.server.abort()
        self.pair.flush()
        self.assertEqual(told, ["failed", "retired"])
        self.retired()
