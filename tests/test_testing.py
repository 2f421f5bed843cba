"""
The helpers for people who test their own applications.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import InactivityTimeout, Peer
from sodiumtwist.testing import LOGIN, connect_requests, connect_streams


class Sum(amp.Command):
    arguments = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response = [(b"total", amp.Integer())]


class Math(amp.AMP):
    @Sum.responder
    def sum(self, a: int, b: int) -> dict[str, int]:
        return {"total": a + b}


class Recorder(Protocol):
    reason: Failure | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class TestingTests(SynchronousTestCase):
    def test_streams(self) -> None:
        """AMP, unchanged, between two ends in memory."""
        pair = connect_streams(Factory.forProtocol(Math), Factory.forProtocol(amp.AMP))
        self.assertEqual(pair.server.transport.peer.login, LOGIN)
        asked = pair.client.callRemote(Sum, a=1, b=2)
        self.assertNoResult(asked)
        pair.flush()
        self.assertEqual(self.successResultOf(asked), {"total": 3})

    def test_close(self) -> None:
        pair = connect_streams(Factory.forProtocol(Recorder), Factory.forProtocol(Recorder))
        pair.client.transport.loseConnection()
        pair.flush()
        for end in (pair.server, pair.client):
            self.assertIs(end.reason.type, ConnectionDone)

    def test_requests(self) -> None:
        """An answer that takes time comes when that has passed."""

        def respond(peer: Peer, payload: bytes) -> Deferred[bytes]:
            return deferLater(pair.clock, 5, lambda: payload.upper())

        pair = connect_requests(respond)
        asked = pair.client.request(b"question")
        pair.flush()
        pair.advance(4)
        self.assertNoResult(asked)
        pair.advance(1)
        self.assertEqual(self.successResultOf(asked), b"QUESTION")

    def test_time(self) -> None:
        """PINGs keep two ends connected for hours; when nothing moves, each notices."""
        pair = connect_streams(Factory.forProtocol(Recorder), Factory.forProtocol(Recorder))
        for _ in range(200):
            pair.advance(30)
        pair.advance(10_000)
        self.assertEqual(pair.clock.seconds(), 16_000)
        self.assertEqual((pair.client.reason, pair.server.reason), (None, None))
        pair.clock.pump([10] * 18)
        pair.flush()
        self.assertIs(pair.client.reason.type, InactivityTimeout)
