"""
How a server stops: what it lets its clients finish, and what it tells the others.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import LocalProtocolError, PeerAborted, RequestClient, ServerUnavailable, SodiumServerFactory
from sodiumtwist.core.connection import Code
from sodiumtwist.protocol.draining import CUT_TIME, DRAIN_TIMEOUT
from sodiumtwist.protocol.requests import Responder

from ..checkers import LateChecker
from ..desk import Desk
from ..pair import EchoServer, Pair, RecordingClient, make_client_factory, make_server_factory
from ..versions import only


class Drained(RecordingClient):
    """
    Records that the server stops.

    :ivar drains: how often it was told.
    """

    drains = 0

    def drain_received(self) -> None:
        self.drains += 1


DrainPair = Pair[EchoServer, Drained]


@only(2)
class DrainingTests(SynchronousTestCase):
    """A factory that drains, in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = make_server_factory(self.clock, EchoServer)
        self.pairs: list[DrainPair] = []

    def connect(self, factory: SodiumServerFactory | None = None, version: int = 2) -> DrainPair:
        """Connect, and move all that moves."""
        client_factory = make_client_factory(self.clock, Drained, version=version)
        pair: DrainPair = Pair(factory or self.factory, client_factory)
        self.pairs.append(pair)
        self.flush()
        return pair

    def flush(self) -> None:
        while any([pair.step() for pair in self.pairs]):
            pass

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.flush()

    def test_finishes(self) -> None:
        """Clients are told, go on until they have closed, and then it is over."""
        first, second = self.connect(), self.connect()
        drained = self.factory.drain()
        self.flush()
        for pair in (first, second):
            self.assertEqual((pair.client.drains, pair.client.is_draining), (1, True))
        first.client.send_data(b"the last")
        self.advance(5)
        self.assertEqual(first.client.payloads, [b"the last"])
        for pair in (first, second):
            self.assertNoResult(drained)
            pair.client.close()
            self.advance(0.1)
            self.assertIs(pair.client.why, ConnectionDone)
            self.assertIs(pair.server.why, ConnectionDone)
        self.assertIsNone(self.successResultOf(drained))

    def test_nobody(self) -> None:
        """Where nobody is there, it is over at once."""
        self.assertIsNone(self.successResultOf(self.factory.drain()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_slow(self) -> None:
        """Who does not finish in time is told why it ends."""
        pair = self.connect()
        drained = self.factory.drain()
        self.advance(DRAIN_TIMEOUT - 0.1)
        self.assertIsNone(pair.client.reason)
        self.advance(0.2)
        reason = pair.client.reason
        assert reason is not None
        error = reason.value
        assert isinstance(error, PeerAborted)
        self.assertEqual(error.code, Code.SHUTTING_DOWN)
        self.assertTrue(error.retry_can_help)
        self.assertIs(pair.server.why, LocalProtocolError)
        self.assertIsNone(self.successResultOf(drained))

    def test_takes_nothing(self) -> None:
        """Who does not even read that is broken off a second later."""
        pair = self.connect()
        drained = self.factory.drain(timeout=3)
        self.clock.pump([0.05] * round(3 / 0.05 + 1))
        self.clock.advance(CUT_TIME - 0.1)
        self.assertNoResult(drained)
        self.clock.advance(0.2)
        self.assertIsNone(self.successResultOf(drained))
        self.assertTrue(pair.server_transport.aborting)

    def test_cancelled(self) -> None:
        """To cancel it is to wait no longer."""
        pair = self.connect()
        drained = self.factory.drain()
        drained.cancel()
        self.failureResultOf(drained, CancelledError)
        self.advance(0.1)
        self.assertIs(pair.client.why, PeerAborted)
        self.advance(1)
        self.assertEqual(self.factory.connections, set())
        assert self.factory.draining is not None
        self.factory.draining.cut()  # it is over, and nothing comes of it

    def test_undecided(self) -> None:
        """Who waits for a decision on its login is refused, with the reason."""
        checker = LateChecker()
        factory = make_server_factory(self.clock, EchoServer, checker)
        pair = self.connect(factory)
        self.assertEqual(len(checker.asked), 1)
        drained = factory.drain()
        self.advance(0.1)
        self.refused(pair)
        self.assertIsNone(self.successResultOf(drained))

    def refused(self, pair: DrainPair) -> None:
        reason = pair.client.reason
        assert reason is not None
        error = reason.value
        assert isinstance(error, ServerUnavailable), error
        self.assertEqual(error.code, Code.SHUTTING_DOWN)
        self.assertTrue(error.retry_can_help and error.safe_to_repeat)

    def test_comes_too_late(self) -> None:
        """Who logs in while others finish is refused so, too; it does not come to be checked."""
        self.connect()
        late: DrainPair = Pair(self.factory, make_client_factory(self.clock, Drained, version=2))
        drained = self.factory.drain()
        self.pairs.append(late)
        self.advance(0.1)
        self.refused(late)
        self.assertEqual(late.server.calls[0], late.server.reason)
        self.assertNoResult(drained)

    def test_strangers(self) -> None:
        """Nobody waits for those who have said nothing."""
        stranger: DrainPair = Pair(self.factory, make_client_factory(self.clock, Drained, version=2))
        drained = self.factory.drain()
        self.assertIsNone(self.successResultOf(drained))
        self.assertTrue(stranger.server_transport.aborting)

    def test_requests_of_version_1(self) -> None:
        """What is worked on is answered, behind which the connection is closed; who is idle is closed at once."""
        desk = Desk()
        factory = make_server_factory(self.clock, None, respond=desk)
        busy, idle = (
            Pair[Responder, RequestClient](factory, make_client_factory(self.clock, RequestClient, version=1))
            for _ in range(2)
        )
        self.pairs += [busy, idle]  # type: ignore[list-item]  # only their bytes are moved
        self.flush()
        asked = busy.client.request(b"?")
        self.flush()
        drained = factory.drain()
        self.advance(0.1)
        self.assertIs(idle.client.is_authenticated, False)
        self.assertNoResult(drained)
        desk.answering[0].callback(b"!")
        self.flush()
        self.assertEqual(self.successResultOf(asked), b"!")
        self.advance(6)
        self.assertIsNone(self.successResultOf(drained))

    def test_version_1(self) -> None:
        """In version 1 there is no word for it: it is broken off at once, also where it comes too late."""
        old, new = self.connect(version=1), self.connect()
        drained = self.factory.drain()
        self.assertTrue(old.server_transport.aborting)
        late = self.connect(version=1)
        self.assertIs(late.client.why, ServerUnavailable)
        new.client.close()
        self.advance(0.1)
        self.assertIsNone(self.successResultOf(drained))

    def test_listens_again(self) -> None:
        """When it listens again, clients get in again."""
        self.factory.doStart()
        self.successResultOf(self.factory.drain())
        self.factory.doStop()
        self.factory.doStart()
        self.addCleanup(self.factory.doStop)
        self.assertEqual(self.connect().client.calls, ["authenticated"])
