"""
The two producers between a transport and an application.
"""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from sodiumtwist.protocol.producers import PulledProducer, WriteGate


class WriteGateTests(SynchronousTestCase):
    def test_tells(self) -> None:
        told: list[str] = []
        gate = WriteGate(lambda: told.append("full"), lambda: told.append("free"), lambda: told.append("gone"))
        self.assertTrue(verifyObject(IPushProducer, gate))
        gate.pauseProducing()
        gate.resumeProducing()
        gate.stopProducing()
        self.assertEqual(told, ["full", "free", "gone"])

    def test_the_end_need_not_be_told(self) -> None:
        told: list[str] = []
        gate = WriteGate(lambda: told.append("full"), lambda: told.append("free"))
        gate.stopProducing()
        self.assertEqual(told, [])


class Pulled:
    """
    A pull producer that counts.

    :ivar membrane: what it pauses after ``pause_at`` pulls.
    """

    membrane: PulledProducer | None = None
    pulls = 0
    stops = 0

    def __init__(self, pause_at: int) -> None:
        self.pause_at = pause_at

    def resumeProducing(self) -> None:
        self.pulls += 1
        if self.pulls > 100:
            raise AssertionError("asked without end")
        if self.pulls == self.pause_at:
            assert self.membrane is not None
            self.membrane.pauseProducing()

    def stopProducing(self) -> None:
        self.stops += 1


class PulledProducerTests(SynchronousTestCase):
    def make(self, pause_at: int) -> None:
        self.clock = Clock()
        self.pulled = Pulled(pause_at)
        self.failures: list[Failure] = []
        self.producer = self.pulled.membrane = PulledProducer(self.pulled, self.clock, self.failures.append)

    def test_interface(self) -> None:
        self.make(1)
        self.assertTrue(verifyClass(IPushProducer, PulledProducer))
        self.assertTrue(verifyObject(IPushProducer, self.producer))

    def test_asks_nothing_by_itself(self) -> None:
        self.make(1)
        self.clock.advance(1)
        self.assertEqual(self.pulled.pulls, 0)

    def test_asks_until_paused(self) -> None:
        """Never within the call of ``resumeProducing``: the caller may be about to write."""
        self.make(3)
        self.producer.resumeProducing()
        self.assertEqual(self.pulled.pulls, 0)
        self.clock.advance(0)
        self.assertEqual(self.pulled.pulls, 3)
        self.clock.advance(1)
        self.assertEqual(self.pulled.pulls, 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_asks_again_when_resumed(self) -> None:
        self.make(3)
        self.producer.resumeProducing()
        self.clock.advance(0)
        self.pulled.pause_at = 5
        self.producer.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(self.pulled.pulls, 5)

    def test_lets_others_run_between(self) -> None:
        """Each question is a call of its own to the clock."""
        self.make(2)
        self.producer.resumeProducing()
        order: list[int] = []
        self.clock.callLater(0, lambda: order.append(self.pulled.pulls))
        self.clock.advance(0)
        self.assertEqual(order, [1])

    def test_resumed_twice(self) -> None:
        self.make(1)
        self.producer.resumeProducing()
        self.producer.resumeProducing()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_paused_before_it_was_asked(self) -> None:
        self.make(1)
        self.producer.resumeProducing()
        self.producer.pauseProducing()
        self.producer.pauseProducing()
        self.clock.advance(1)
        self.assertEqual(self.pulled.pulls, 0)

    def test_stopped(self) -> None:
        self.make(1)
        self.producer.resumeProducing()
        self.producer.stopProducing()
        self.clock.advance(1)
        self.assertEqual((self.pulled.pulls, self.pulled.stops), (0, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])
