"""
``close()`` and ``abort()``.
"""

from __future__ import annotations

import random

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sodiumtwist import ClosingTimeout, ConnectionCut, LocalProtocolError, PeerAborted, Timeouts, UnexpectedPDU
from sodiumtwist.core.events import Aborted, ConnectionOver, DataReceived, EndReceived
from sodiumtwist.protocol import sockets

from ..alone import AloneTestCase
from ..core.peers import wire_of
from ..pair import BUFFER_SIZE, Boom, EchoServer, Pair, RecordingServer, cut, make_client_factory, make_server_factory
from ..payload_producers import PullSource, PushSource
from ..versions import each_version, only, spoken


@each_version
class EndingTests(AloneTestCase):
    """``close()`` and ``abort()``."""

    def test_close_delivers_what_was_sent(self) -> None:
        clock = Clock()
        pair = Pair.make(clock=clock)
        pair.flush()
        data = random.Random(7).randbytes(1_000_000)
        pair.client.write(data)
        pair.client.close()
        self.assertIsNone(pair.client.reason)
        pair.flush()
        self.assertEqual(b"".join(pair.server.payloads), data)
        self.assertIs(pair.server.why, ConnectionDone)
        self.assertIs(pair.client.why, ConnectionDone)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_close_to_a_peer_that_never_reads(self) -> None:
        """It is aborted after the inactivity time."""
        for inactivity in (180.0, 20.0):
            clock = Clock()
            client_factory = make_client_factory(clock, timeouts=Timeouts(inactivity=inactivity))
            pair = Pair(make_server_factory(clock), client_factory)
            pair.flush()
            pair.server.pauseProducing()
            pair.client.write(bytes(300_000))
            clock.advance(10)
            pair.client.close()
            pair.flush()
            clock.advance(inactivity - 0.25)
            pair.flush()
            self.assertIsNone(pair.client.reason)
            clock.advance(0.25)
            pair.flush()
            self.assertIs(pair.client.why, ConnectionAborted if spoken() == 1 else ClosingTimeout)

    def test_close_gives_the_peer_its_time(self) -> None:
        """A slow reader that does read gets all."""
        pair = Pair.make(clock=(clock := Clock()))
        pair.flush()
        pair.server.pauseProducing()
        pair.client.write(bytes(300_000))
        pair.client.close()
        pair.flush()
        clock.advance(170)
        pair.server.resumeProducing()
        pair.flush()
        self.assertEqual(sum(map(len, pair.server.payloads)), 300_000)
        self.assertIs(pair.client.why, ConnectionDone)

    def test_nothing_is_received_after_close(self) -> None:
        self.open_server(EchoServer, orderly=False)
        self.protocol.close()
        self.read()
        self.feed(self.peer_data(b"late"))
        if spoken() == 1:
            self.feed(bytes(1000))
        self.assertEqual(self.protocol.payloads, [])
        self.assertEqual(self.transport.writes, [])
        self.finish()
        self.assert_lost(ConnectionDone)

    @only(1)
    def test_no_ping_and_no_inactivity_after_close(self) -> None:
        self.open_server(orderly=False)
        self.clock.advance(50)
        self.protocol.close()
        self.clock.advance(100)
        self.assertEqual(self.transport.writes, [])
        self.assertFalse(self.transport.disconnected)
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    @only(2)
    def test_waiting_for_the_end(self) -> None:
        """Who has closed goes on to show that it lives, and waits for the peer's end as long as inactivity may last."""
        self.open_server(orderly=False)
        self.protocol.close()
        self.assertEqual(self.read_types(), ["EndReceived"])
        self.clock.advance(100)
        self.clock.advance(0)
        self.assertEqual(self.read_types(), ["PingReceived"])
        self.feed(self.peer_data(b"late"))
        self.assert_up()
        self.clock.advance(80)
        self.clock.advance(0)
        (event,) = self.read()
        assert isinstance(event, Aborted), event
        self.assertEqual(event.code, 10)
        self.transport.lose(ConnectionDone())
        self.assert_lost(ClosingTimeout)

    @only(2)
    def test_cut_after_close(self) -> None:
        """Nobody knows what became of the rest where the peer goes without its end."""
        self.open_server(orderly=False)
        self.protocol.close()
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionCut)

    @only(2)
    def test_the_peer_ends(self) -> None:
        """Then this end does so, too, as soon as it has taken what came before."""
        self.open_server(EchoServer)
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1", b"2"), wire_of(self.peer.send_end))
        self.assertEqual(self.read(), [])
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])
        self.assertEqual(self.read(), [DataReceived(b"1"), DataReceived(b"2"), EndReceived(), ConnectionOver()])
        self.assert_lost(ConnectionDone)

    @only(2)
    def test_the_peer_ends_while_a_producer_produces(self) -> None:
        """It is stopped, as where a peer of version 1 closes: nobody will get what it produces."""
        self.open_server()
        source = PushSource(self.protocol)
        self.protocol.registerProducer(source, True)
        self.feed(wire_of(self.peer.send_end))
        self.assertEqual(source.events[-1:], ["stop"])
        self.assertEqual(self.read_types(), ["EndReceived", "ConnectionOver"])
        self.assert_lost(ConnectionDone)
        # Also where the end can't leave yet: what is asked for more then would fail.
        self.open_server()
        pulled = PullSource(self.protocol, [b"x"] * 3)
        self.protocol.registerProducer(pulled, False)
        self.fill()
        self.protocol.send_data(b"1")
        self.feed(wire_of(self.peer.send_end))
        pulls = pulled.pulls
        self.drain()
        self.clock.pump([0] * 5)
        self.assertEqual((pulled.pulls, pulled.stops), (pulls, 1))
        self.assertEqual(self.read_types(), ["DataReceived", "EndReceived", "ConnectionOver"])
        self.assert_lost(ConnectionDone)

    @only(2)
    def test_the_peer_aborts(self) -> None:
        """Its reason arrives behind what it had sent, also where the application has paused."""
        for paused in (False, True):
            self.open_server()
            if paused:
                self.protocol.pauseProducing()
            self.feed(self.peer_data(b"1"), wire_of(self.peer.abort, 0x80000007, "enough\x1b[0m"))
            if paused:
                self.assertIsNone(self.protocol.reason)
                self.protocol.resumeProducing()
            self.assertEqual(self.protocol.payloads, [b"1"])
            error = self.assert_lost(PeerAborted).value
            assert isinstance(error, PeerAborted)
            self.assertEqual(error.code, 0x80000007)
            self.assertNotIn("\x1b", str(error))
            self.assertEqual(self.read(), [])

    @only(2)
    def test_closed_behind_an_abort(self) -> None:
        """The application, which has paused, does not know yet that the peer has aborted; it may close all the same."""
        for ended in (False, True):
            for call in ("close", "abort", "drain", "abort_with"):
                self.open_server()
                self.protocol.pauseProducing()
                data = self.peer_data(b"1")
                end = wire_of(self.peer.send_end) if ended else b""
                self.feed(data, end, wire_of(self.peer.abort, 8, "enough"))
                arguments = [9, "the disk is full"] if call == "abort_with" else []
                getattr(self.protocol, call)(*arguments)
                self.protocol.resumeProducing()
                self.assertIsNotNone(self.protocol.reason, (ended, call))
                self.assertEqual(self.clock.getDelayedCalls(), [])
                self.assertEqual(self.protocol.payloads, [b"1"] if call == "drain" else [])

    @only(2)
    def test_abort_with(self) -> None:
        """The peer is told why, behind what was sent."""
        self.open_server()
        self.protocol.send_data(b"1")
        self.protocol.abort_with(9, "the disk is full", Boom())
        self.assertEqual(self.read(), [DataReceived(b"1"), Aborted(9, "the disk is full")])
        self.assert_lost(Boom)

    def test_send_after_close(self) -> None:
        self.open_server(orderly=False)
        self.protocol.close()
        self.read()
        self.assertRaises(LocalProtocolError, self.protocol.send_data, b"x")
        self.assertRaises(LocalProtocolError, self.protocol.write, b"x")
        self.transport.lose(ConnectionDone())
        self.assertRaises(LocalProtocolError, self.protocol.send_data, b"x")
        self.assertRaises(LocalProtocolError, self.protocol.write, b"x")
        self.assertEqual(self.transport.writes, [])

    def test_close_twice(self) -> None:
        self.open_server(orderly=False)
        self.protocol.close()
        calls = self.clock.getDelayedCalls()
        self.protocol.close()
        self.assertEqual(self.clock.getDelayedCalls(), calls)
        self.finish()
        self.protocol.close()
        self.assert_lost(ConnectionDone)

    def test_abort_with_an_error(self) -> None:
        """It is what the hook gets as the reason."""
        for begin in (self.open_server, self.open_client, self.start_server, self.start_client):
            begin()
            error = Boom("that is enough")
            self.protocol.abort(error)
            self.assertTrue(self.transport.disconnected)
            self.assertIs(self.assert_lost(Boom).value, error)

    def test_abort_without_an_error(self) -> None:
        pair = Pair.make()
        pair.flush()
        pair.client.write(bytes(300_000))
        pair.client.abort()
        pair.flush()
        self.assertIs(pair.client.why, ConnectionAborted)
        self.assertIs(pair.server.why, cut())
        self.assertEqual(pair.server.payloads, [])

    def test_abort_before_the_hello(self) -> None:
        """Our own leaving is not taken for a refusal."""
        pair = Pair.make()
        pair.client.abort()
        pair.flush()
        self.assertIs(pair.client.why, ConnectionAborted)

    def test_close_before_the_hello(self) -> None:
        pair = Pair.make()
        pair.client.close()
        pair.flush()
        self.assertIs(pair.client.why, ConnectionDone)

    def test_abort_after_close(self) -> None:
        self.open_server(orderly=False)
        self.protocol.close()
        self.protocol.abort(Boom())
        self.assertTrue(self.transport.disconnected)
        self.assert_lost(Boom)

    def test_abort_after_the_end(self) -> None:
        self.open_server()
        self.protocol.close()
        self.finish()
        self.protocol.abort(Boom())
        self.assertFalse(self.transport.disconnected)
        self.assert_lost(ConnectionDone)

    def test_abort_in_the_last_hook(self) -> None:
        class Server(RecordingServer):
            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                self.abort(Boom())
                self.close()

        self.open_server(Server)
        self.transport.lose(ConnectionLost())
        self.assert_lost(cut())

    def test_abort_within_close(self) -> None:
        """A producer may abort when closing silences it: nothing goes on behind that, and nothing is kept."""

        class Aborting(PushSource):
            def pauseProducing(self) -> None:
                self.consumer.abort(Boom())

        self.open_server()
        self.protocol.registerProducer(Aborting(self.protocol), True)
        self.protocol.pauseProducing()
        resumed: list[None] = []
        self.patch(self.transport, "resumeProducing", lambda: resumed.append(None))
        self.protocol.close()
        self.assert_lost(Boom)
        self.assertEqual(resumed, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.protocol._farewell)

    def test_unblocked_within_close(self) -> None:
        """The transport may take more again while closing silences a producer."""
        self.open_server()

        class Draining(PushSource):
            def pauseProducing(drainer) -> None:
                super().pauseProducing()
                if len(drainer.events) == 2:
                    self.drain()

        self.protocol.registerProducer(Draining(self.protocol), True)
        self.fill()
        self.protocol.send_data(b"the last")
        self.protocol.close()
        self.assertEqual(self.read()[0], DataReceived(b"the last"))
        self.finish()
        self.assert_lost(ConnectionDone)

    @only(1)  # of version 2 it waits for the peer's end, and for a peer that breaks the protocol nothing waits
    def test_close_within_a_protocol_error(self) -> None:
        """A producer that is paused by the last answers may send more and close: that is delivered."""

        class Closing(PushSource):
            def pauseProducing(self) -> None:
                if not self.paused:
                    self.paused = True
                    self.consumer.send_data(b"farewell")
                    self.consumer.close()

        class Server(EchoServer):
            def payload_received(self, payload: bytes) -> None:
                if not payload:
                    raise UnexpectedPDU("not that")
                super().payload_received(payload)

        pair = Pair.make(Server)
        pair.flush()
        source = Closing(pair.server)
        pair.server.registerProducer(source, True)
        source.resumeProducing()
        for size in (BUFFER_SIZE // 2 - 100, BUFFER_SIZE // 2 - 100, 1000, 0):
            pair.client.send_data(bytes(size))
        said = pair.client_transport.take(2 * BUFFER_SIZE)
        pair.client_transport.drained()
        pair.server.dataReceived(said + pair.client_transport.take(2 * BUFFER_SIZE))
        pair.flush()
        self.assertEqual(pair.client.payloads[-1], b"farewell")
        self.assertIs(pair.server.why, ConnectionDone)

    def test_transport_that_ends_as_it_is_half_closed(self) -> None:
        self.open_server(orderly=False)
        self.patch(sockets, "half_closes", lambda transport: True)
        self.transport.loseWriteConnection = lambda: self.transport.lose(ConnectionDone())  # type: ignore[attr-defined]
        self.protocol.close()
        self.finish()
        self.assert_lost(ConnectionDone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abort_as_the_first_answers_leave(self) -> None:
        """The hello is delivered also where the application aborts while the rest of that read is written."""

        class Aborting(PushSource):
            def pauseProducing(self) -> None:
                if not self.paused:
                    self.paused = True
                    self.consumer.abort(Boom())

        class Server(RecordingServer):
            def authenticated(self) -> None:
                super().authenticated()
                source = Aborting(self)
                self.registerProducer(source, True)
                source.resumeProducing()
                for size in (BUFFER_SIZE // 2 - 500, BUFFER_SIZE // 2 - 500, 2000):
                    self.send_data(bytes(size))

        pair = Pair.make(Server)
        pair.flush()
        self.assertEqual(pair.client.calls[0], "authenticated")
        self.assertIs(pair.server.why, Boom)

    def test_transport_that_cannot_abort(self) -> None:
        """Then it is closed as well as it can be."""
        self.open_server()
        self.patch(self.transport, "abortConnection", None)
        self.protocol.abort(Boom())
        self.assert_lost(Boom)
