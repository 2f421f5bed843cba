"""
The producers between a transport and an application.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from sodiumtwist.protocol.producers import Producers, PulledProducer, WriteGate

from ..pair import Boom


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


@implementer(IPullProducer)
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
    def later(self, function: Callable[[], None]) -> IDelayedCall:
        return self.clock.callLater(0, function)

    def make(self, pause_at: int) -> None:
        self.clock = Clock()
        self.pulled = Pulled(pause_at)
        self.failures: list[Failure] = []
        self.producer = self.pulled.membrane = PulledProducer(self.pulled, self.later, self.failures.append)

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


@implementer(IPushProducer)
class Pushing:
    """
    A push producer that notes what it is told.

    :ivar also: what it does when it is told something.
    :ivar raising: raised by each call, if it is set.
    """

    raising: Exception | None = None

    def __init__(self) -> None:
        self.told: list[str] = []
        self.also: dict[str, Callable[[], None]] = {}

    def note(self, what: str) -> None:
        self.told.append(what)
        self.also.get(what, lambda: None)()
        if self.raising is not None:
            raise self.raising

    def resumeProducing(self) -> None:
        self.note("resume")

    def pauseProducing(self) -> None:
        self.note("pause")

    def stopProducing(self) -> None:
        self.note("stop")


class ProducersTests(SynchronousTestCase):
    """The application's producer: one at a time, or none."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.producers = Producers()
        self.failures: list[Failure] = []

    def register(self, producer: Pushing | Pulled, blocked: bool = False) -> None:
        self.producers.check_none()
        self.producers.register(
            producer,
            isinstance(producer, Pushing),
            blocked,
            lambda function: self.clock.callLater(0, function),
            self.failures.append,
        )

    def test_none(self) -> None:
        """There need not be any for all to be called."""
        producers = self.producers
        self.assertIsNone(producers.producer)
        for call in (producers.pause, producers.resume, producers.silence, producers.stop, producers.unregister):
            call()
        producers.check_none()

    def test_one_at_a_time(self) -> None:
        """A second one is an error, until the first is unregistered or stopped."""
        for end in (self.producers.unregister, self.producers.stop):
            self.register(Pushing())
            error = self.assertRaises(RuntimeError, self.producers.check_none)
            self.assertIn("unregister", str(error))
            end()
            self.assertIsNone(self.producers.producer)
            self.producers.check_none()

    def test_push_producer(self) -> None:
        """It starts by itself, unless it has to wait. It is told to pause once, and each time to resume."""
        first, second = Pushing(), Pushing()
        self.register(first)
        self.assertIs(self.producers.producer, first)
        self.assertEqual(first.told, [])
        for call in (self.producers.pause, self.producers.pause, self.producers.resume, self.producers.pause):
            call()
        self.assertEqual(first.told, ["pause", "resume", "pause"])
        self.producers.unregister()
        self.assertEqual(first.told, ["pause", "resume", "pause"])
        self.register(second, blocked=True)
        self.assertEqual(second.told, [])
        self.producers.pause()
        self.assertEqual(second.told, ["pause"])

    def test_paused_anew(self) -> None:
        """That the one before was paused says nothing about the next."""
        self.register(Pushing(), blocked=True)
        self.producers.unregister()
        second = Pushing()
        self.register(second)
        self.producers.pause()
        self.assertEqual(second.told, ["pause"])

    def test_paused_within_its_resuming(self) -> None:
        """What it produces may fill the transport up again: then it is told to pause again."""
        producer = Pushing()
        producer.also = {"resume": self.producers.pause}
        self.register(producer, blocked=True)
        self.producers.pause()
        self.producers.resume()
        self.assertEqual(producer.told, ["pause", "resume", "pause"])

    def test_resumed_without_a_pause(self) -> None:
        """One that came when nothing was taken, and was not told that yet, is not told that more is taken, either."""
        producer = Pushing()
        self.register(producer, blocked=True)
        self.producers.resume()
        self.assertEqual(producer.told, [])

    def test_paused_within_its_pausing(self) -> None:
        """What it still writes then changes nothing: it is told once."""
        producer = Pushing()
        producer.also = {"pause": self.producers.pause}
        self.register(producer)
        self.producers.pause()
        self.assertEqual(producer.told, ["pause"])

    def test_pull_producer(self) -> None:
        """It is asked from the beginning, unless it has to wait; and no more when it is unregistered."""
        for blocked in (False, True):
            self.setUp()
            pulled = Pulled(3)
            self.register(pulled, blocked)
            assert isinstance(self.producers.producer, PulledProducer)
            pulled.membrane = self.producers.producer
            self.clock.advance(0)
            self.assertEqual(pulled.pulls, 0 if blocked else 3)
            pulled.pulls = 0
            self.producers.resume()
            self.clock.advance(0)
            self.assertEqual(pulled.pulls, 3)
            self.producers.resume()
            self.producers.unregister()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertEqual((pulled.pulls, pulled.stops, self.failures), (3, 0, []))

    def test_pull_producer_that_fails(self) -> None:
        """It is asked no more, and whoever registered it is told."""
        pulled = Pulled(3)
        self.patch(pulled, "resumeProducing", lambda: 1 / 0)
        self.register(pulled)
        self.clock.advance(0)
        (failure,) = self.failures
        self.assertTrue(failure.check(ZeroDivisionError))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silence(self) -> None:
        """It is told to pause whether it was told before or not, and stays; it is stopped at the end, once."""
        for paused in (False, True):
            self.setUp()
            producer = Pushing()
            self.register(producer, blocked=paused)
            if paused:
                self.producers.pause()
            self.producers.silence()
            self.assertEqual(producer.told, ["pause"] * (1 + paused))
            self.assertIs(self.producers.producer, producer)
            self.producers.stop()
            self.producers.stop()
            self.assertEqual(producer.told[1 + paused :], ["stop"])

    def test_pull_producer_is_silenced(self) -> None:
        pulled = Pulled(3)
        self.register(pulled)
        self.producers.silence()
        self.clock.advance(0)
        self.assertEqual((pulled.pulls, self.clock.getDelayedCalls()), (0, []))
        self.producers.stop()
        self.assertEqual(pulled.stops, 1)

    def test_silenced_for_good(self) -> None:
        """A consumer that takes more again takes it of nobody whose end was said: to send would raise."""
        for producer in (Pushing(), Pulled(3)):
            self.setUp()
            self.register(producer, blocked=True)
            self.producers.pause()
            self.producers.silence()
            self.producers.resume()
            self.clock.advance(0)
            told = producer.told if isinstance(producer, Pushing) else [producer.pulls]
            self.assertEqual(told, ["pause", "pause"] if isinstance(producer, Pushing) else [0])

    def test_unregisters_as_it_is_stopped(self) -> None:
        """It is no longer there by then."""
        producer = Pushing()
        producer.also = {"stop": self.producers.unregister}
        self.register(producer)
        self.producers.stop()
        self.assertEqual(producer.told, ["stop"])
        self.assertIsNone(self.producers.producer)

    def test_failing_at_the_end(self) -> None:
        """What it raises when nothing more is wanted is logged, and keeps nobody from the rest."""
        for call in (self.producers.silence, self.producers.stop):
            producer = Pushing()
            producer.raising = Boom()
            self.producers.unregister()
            self.register(producer)
            call()
            self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
