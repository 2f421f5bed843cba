"""
An application that wants no more for now.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from sodiumtwist import AuthenticationTimeout, InactivityTimeout
from sodiumtwist.protocol.farewell import BrokenOff

from ..alone import OVERHEAD, PING_SIZE, AloneTestCase
from ..core.peers import wire_of
from ..pair import BUFFER_SIZE, EchoServer, Pair, RecordingServer
from ..payload_producers import PushSource
from ..transports import Transport


class ReadingPausedTests(AloneTestCase):
    """The application wants no more for now."""

    def test_stops_at_once(self) -> None:
        """What came in the same read waits, and is delivered first and in order."""

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if payload == b"2":
                    self.pauseProducing()

        self.open_server(Server)
        self.feed(self.peer_data(b"1", b"2", b"3", b"4"), self.peer_data(b"5")[:20])
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])
        self.assertEqual(self.transport.producerState, "paused")
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"1", b"2", b"3", b"4"])
        self.assertEqual(self.transport.producerState, "producing")

    def test_one_at_a_time(self) -> None:
        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.pauseProducing()

        self.open_server(Server)
        sent = [b"1", b"2", b"3", b"4"]
        self.feed(self.peer_data(*sent))
        for count in range(1, 4):
            self.assertEqual(self.protocol.payloads, sent[:count])
            self.assertEqual(self.transport.producerState, "paused")
            self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, sent)
        self.assertEqual(self.transport.producerState, "paused")

    def test_paused_and_resumed_within_the_hook(self) -> None:
        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.pauseProducing()
                self.resumeProducing()

        self.open_server(Server)
        self.feed(self.peer_data(b"1", b"2", b"3"))
        self.assertEqual(self.protocol.payloads, [b"1", b"2", b"3"])
        self.assertEqual(self.transport.producerState, "producing")

    def test_paused_in_authenticated(self) -> None:
        class Server(RecordingServer):
            def authenticated(self) -> None:
                super().authenticated()
                self.pauseProducing()

        self.start_server(Server)
        self.feed(wire_of(self.peer_client.initiate), self.peer_data(b"early"))
        self.assertEqual(self.protocol.calls, ["authenticated"])
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.calls, ["authenticated", b"early"])

    def test_paused_outside_a_hook(self) -> None:
        self.open_server()
        self.protocol.pauseProducing()
        self.protocol.pauseProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.protocol.resumeProducing()
        self.protocol.resumeProducing()
        self.assertEqual(self.transport.producerState, "producing")
        self.feed(self.peer_data(b"1"))
        self.assertEqual(self.protocol.payloads, [b"1"])

    def test_bytes_that_come_all_the_same(self) -> None:
        """A transport over another one, such as TLS, may still deliver what it had read already."""
        self.open_server()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1", b"2"))
        self.feed(self.peer_data(b"3"))
        self.assertEqual(self.protocol.payloads, [])
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"1", b"2", b"3"])

    def test_answers_of_the_resumed_leave_together(self) -> None:
        class Server(EchoServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if payload == b"1":
                    self.pauseProducing()

        self.open_server(Server)
        self.feed(self.peer_data(b"1", b"2", b"3"))
        self.read()
        self.protocol.resumeProducing()
        self.assertEqual(self.transport.writes, [2 * (1 + OVERHEAD)])

    def test_what_waits_is_bounded(self) -> None:
        """After the pause nothing is read; the sender feels it and is paused as well."""

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if len(self.payloads) == 1:
                    self.pauseProducing()

        pair = Pair.make(Server)
        pair.flush()
        received = pair.server_transport.received
        source = PushSource(pair.client, [bytes(1000)] * 1000)
        pair.client.registerProducer(source, True)
        source.resumeProducing()
        pair.flush()
        self.assertEqual(len(pair.server.payloads), 1)
        self.assertTrue(pair.server_transport.received - received <= BUFFER_SIZE)
        self.assertTrue(source.paused)
        self.assertTrue(sum(pair.client_transport.writes) < 3 * BUFFER_SIZE)
        pair.server.resumeProducing()
        pair.flush()
        self.assertEqual(len(pair.server.payloads), 1000)

    def test_silence_does_not_count(self) -> None:
        """While we do not read, no PING is sent and the peer is not inactive; afterwards all counts anew."""
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 0.0)
            self.clock.advance(59.75)
            self.protocol.pauseProducing()
            for _ in range(10):
                self.clock.advance(100)
            self.assert_up()
            self.assertEqual(self.transport.writes, [])
            self.protocol.resumeProducing()
            self.clock.advance(0)
            self.assertEqual(self.transport.writes, [PING_SIZE])
            self.clock.advance(179.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(InactivityTimeout)

    def test_authentication_time_runs_on(self) -> None:
        self.start_server()
        self.protocol.pauseProducing()
        self.clock.advance(10)
        self.assert_lost(AuthenticationTimeout)

    def test_closed_while_paused(self) -> None:
        """What waited is dropped, and resuming does nothing."""
        for end in ("close", "abort"):
            self.open_server(orderly=False)
            self.protocol.pauseProducing()
            getattr(self.protocol, end)()
            self.protocol.resumeProducing()
            if self.protocol.reason is None:
                self.transport.lose(ConnectionDone())
            self.protocol.resumeProducing()
            self.protocol.pauseProducing()
            self.assert_lost(ConnectionDone)

    def test_peer_closes_while_paused(self) -> None:
        """The end is noticed behind what waits, so nothing is lost."""

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if len(self.payloads) == 1:
                    self.pauseProducing()

        pair = Pair.make(Server)
        pair.flush()
        for _ in range(300):
            pair.client.send_data(bytes(1000))
        pair.client.close()
        pair.flush()
        self.assertEqual(len(pair.server.payloads), 1)
        self.assertIsNone(pair.server.reason)
        pair.server.resumeProducing()
        pair.flush()
        self.assertEqual(len(pair.server.payloads), 300)
        self.assertIs(pair.server.why, ConnectionDone)

    def test_transport_ends_while_nothing_is_taken(self) -> None:
        """What a peer said before it left is delivered, though it left without taking what was sent to it."""
        pair = Pair.make()
        pair.flush()
        pair.server.pauseProducing()
        pair.server.write(bytes(2 * BUFFER_SIZE))
        self.assertTrue(pair.server_transport.producer_paused)
        pair.client.send_data(b"last")
        pair.server.dataReceived(pair.client_transport.take(1000))
        pair.server_transport.lose(ConnectionDone())
        self.assertEqual(pair.server.payloads, [])
        pair.server.resumeProducing()
        self.assertEqual(pair.server.payloads, [b"last"])
        self.assertIs(pair.server.why, ConnectionDone)

    def test_transport_ends_in_the_hook_that_pauses(self) -> None:
        """The application hears of the end when it has taken all, also where the transport was never told to pause."""

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.pauseProducing()
                if payload == b"1":
                    assert isinstance(self.transport, Transport)
                    self.transport.lose(ConnectionDone())

        self.open_server(Server)
        self.feed(self.peer_data(b"1", b"2"))
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])
        self.assertIsNone(self.protocol.reason)
        self.protocol.resumeProducing()
        self.assert_lost(ConnectionDone)

    def test_stop_producing_is_no_end(self) -> None:
        """Nothing more is delivered, and what was sent is, but then the connection is broken off."""
        clock = Clock()
        pair = Pair.make(clock=clock)
        pair.flush()
        pair.server.send_data(b"some of it")
        pair.server.stopProducing()
        pair.client.send_data(b"nobody takes it")
        pair.flush()
        self.assertEqual((pair.server.payloads, pair.server.reason), ([], None))
        self.finish(pair, clock)
        self.assertEqual((pair.server.payloads, pair.client.payloads), ([], [b"some of it"]))
        self.assertEqual((pair.server.why, pair.client.why), (BrokenOff, ConnectionLost))

    def test_stop_producing_before_an_end(self) -> None:
        """The application that closes in the same turn has decided."""
        for stop_again in (False, True):
            clock = Clock()
            pair = Pair.make(clock=clock)
            pair.flush()
            pair.server.stopProducing()
            pair.server.close()
            if stop_again:
                pair.server.stopProducing()
            self.finish(pair, clock)
            self.assertEqual((pair.server.why, pair.client.why), (ConnectionDone, ConnectionDone))

    def finish(self, pair: Pair, clock: Clock) -> None:
        """Let a few turns of the reactor pass."""
        for _ in range(5):
            clock.advance(0)
            pair.flush()
