"""
``ping()``.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from sodiumtwist import DecryptionFailed, InactivityTimeout, LocalProtocolError, Timeouts
from sodiumtwist.core.events import PingReceived

from ..alone import AloneTestCase
from ..core.peers import wire_of
from ..pair import Boom, RecordingClient, cut
from ..versions import each_version


@each_version
class ReentrantPingTests(AloneTestCase):
    def test_ping_when_paused(self) -> None:
        """A PING that is sent while another one is keeps its own answer."""
        self.open_client()
        pings: list[Deferred[float]] = []

        @implementer(IPushProducer)
        class Pinging:
            def pauseProducing(self) -> None:
                if len(pings) < 1:
                    pings.append(protocol.ping())

            def resumeProducing(self) -> None:
                pass

            def stopProducing(self) -> None:
                pass

        protocol = self.protocol
        protocol.registerProducer(Pinging(), True)
        self.fill_with_each_write()
        pings.append(protocol.ping())
        self.drain()
        self.drain()
        self.feed(*(wire_of(self.peer.send_pong, 0) for _ in self.read_types()))
        self.assertEqual([self.successResultOf(ping) for ping in pings], [0, 0])


@each_version
class PingTests(AloneTestCase):
    """``ping()``."""

    def pong(self) -> bytes:
        self.read()  # the PING, if it has not been read
        return wire_of(self.peer.send_pong, 0)

    def test_latency(self) -> None:
        for begin in (self.open_server, self.open_client):
            begin()
            latency = self.protocol.ping()
            self.assertEqual(self.read(), [PingReceived(1_000_000_000_000_000_007)])
            self.clock.advance(0.25)
            self.assertNoResult(latency)
            self.feed(self.pong())
            self.assertEqual(self.successResultOf(latency), 0.25)

    def test_several_in_order(self) -> None:
        self.open_client()
        latencies = []
        for _ in range(3):
            latencies.append(self.protocol.ping())
            self.clock.advance(1)
        self.clock.advance(2)
        self.feed(self.pong())
        self.assertEqual(self.successResultOf(latencies[0]), 5)
        self.assertNoResult(latencies[1])
        self.clock.advance(1)
        self.feed(self.pong(), self.pong())
        self.assertEqual(self.successResultOf(latencies[1]), 5)
        self.assertEqual(self.successResultOf(latencies[2]), 4)

    def test_cancelled(self) -> None:
        """Its PONG comes all the same, and is not taken for the next one's."""
        self.open_client()
        latencies = []
        for _ in range(3):
            latencies.append(self.protocol.ping())
            self.clock.advance(1)
        latencies[1].cancel()
        self.failureResultOf(latencies[1], CancelledError)
        for _ in range(3):
            self.feed(self.pong())
            self.clock.advance(10)
        self.assertEqual(self.successResultOf(latencies[0]), 3)
        self.assertEqual(self.successResultOf(latencies[2]), 21)
        self.assert_up()

    def test_cancelled_and_lost(self) -> None:
        self.open_client()
        cancelled, other = self.protocol.ping(), self.protocol.ping()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.transport.lose(ConnectionLost())
        self.failureResultOf(other, cut())
        self.assert_lost(cut())

    def test_with_those_of_the_keepalive(self) -> None:
        """PINGs that nobody asked for stand between, and take their own PONGs."""
        self.open_client(draw=lambda: 0.0)
        self.clock.advance(59)
        first = self.protocol.ping()
        self.clock.advance(1)
        second = self.protocol.ping()
        self.assertEqual(self.read_types(), ["PingReceived"] * 3)
        self.clock.advance(1)
        self.feed(self.pong())
        self.assertEqual(self.successResultOf(first), 2)
        self.clock.advance(1)
        self.feed(self.pong())
        self.assertNoResult(second)
        self.clock.advance(1)
        self.feed(self.pong())
        self.assertEqual(self.successResultOf(second), 3)

    def test_too_many(self) -> None:
        """One too many is the caller's error. Those of the keepalive do not count with them."""
        self.open_client(timeouts=Timeouts(outstanding_pongs=2), draw=lambda: 0.0)
        self.clock.advance(60)
        first, second = self.protocol.ping(), self.protocol.ping()
        self.failureResultOf(self.protocol.ping(), LocalProtocolError)
        self.assertEqual(self.read_types(), ["PingReceived"] * 3)
        self.feed(self.pong(), self.pong(), self.pong())
        self.assertEqual(self.successResultOf(first), 0)
        self.assertEqual(self.successResultOf(second), 0)
        latency = self.protocol.ping()
        self.assert_up()
        self.read()
        self.feed(self.pong())
        self.assertEqual(self.successResultOf(latency), 0)

    def close(self) -> None:
        self.protocol.close()
        self.finish()

    def test_connection_goes(self) -> None:
        """All fail with the reason that the hook gets, and before it."""
        order: list[str] = []

        class Client(RecordingClient):
            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                order.append("hook")

        def note(reason: Failure) -> Failure:
            order.append("ping")
            return reason

        for end, error in [
            (lambda: self.transport.lose(ConnectionLost()), cut()),
            (lambda: self.close(), ConnectionDone),
            (lambda: self.protocol.abort(Boom()), Boom),
            (lambda: self.feed(bytes(100)), DecryptionFailed),
            (lambda: self.clock.pump([60, 120]), InactivityTimeout),
        ]:
            order.clear()
            self.open_client(Client)
            latencies = [self.protocol.ping(), self.protocol.ping()]
            latencies[0].addErrback(note)
            end()
            for latency in latencies:
                self.failureResultOf(latency, error)
            self.assertEqual(order, ["ping", "hook"])

    def test_after_the_end(self) -> None:
        self.open_client(orderly=False)
        self.protocol.close()
        self.failureResultOf(self.protocol.ping(), LocalProtocolError)
        self.read()
        self.transport.lose(ConnectionDone())
        self.failureResultOf(self.protocol.ping(), LocalProtocolError)
        self.assertEqual(self.transport.value(), b"")

    def test_ping_in_a_callback_of_ping(self) -> None:
        self.open_client()
        again: list[Deferred[float]] = []
        self.protocol.ping().addCallback(lambda latency: again.append(self.protocol.ping()))
        self.feed(self.pong())
        self.assertNoResult(again[0])
        self.feed(self.pong())
        self.assertEqual(self.successResultOf(again[0]), 0)
