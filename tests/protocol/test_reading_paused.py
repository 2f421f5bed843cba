"""
An application that wants no more for now.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from sodiumtwist import AuthenticationTimeout, DecryptionFailed, InactivityTimeout, Timeouts
from sodiumtwist.protocol.farewell import BrokenOff
from sodiumtwist.protocol.reading import READ_AHEAD

from ..alone import OVERHEAD, AloneTestCase
from ..core.peers import wire_of
from ..pair import BUFFER_SIZE, EchoServer, Pair, RecordingServer, cut, make_client_factory, make_server_factory, over
from ..payload_producers import PushSource
from ..transports import Transport
from ..versions import each_version, only


@each_version
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
            self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, sent)

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
        self.log_in(b"early")
        self.assertEqual(self.protocol.calls, ["authenticated"])
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.calls, ["authenticated", b"early"])

    def test_paused_outside_a_hook(self) -> None:
        self.open_server()
        self.protocol.pauseProducing()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1"))
        self.assertEqual(self.protocol.payloads, [])
        self.protocol.resumeProducing()
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"1"])
        self.feed(self.peer_data(b"2"))
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])

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
        """After the pause a little more is read; the sender feels it and is paused as well."""

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
        self.assertTrue(pair.server_transport.received - received <= BUFFER_SIZE + READ_AHEAD)
        self.assertTrue(source.paused)
        self.assertTrue(sum(pair.client_transport.writes) < 3 * BUFFER_SIZE)
        pair.server.resumeProducing()
        pair.flush()
        self.assertEqual(len(pair.server.payloads), 1000)

    def stop_reading(self) -> None:
        """The application pauses, and as much comes as is read ahead."""
        self.protocol.pauseProducing()
        self.feed(self.peer_data(bytes(READ_AHEAD)))
        self.assertEqual(self.transport.producerState, "paused")

    def test_silence_does_not_count(self) -> None:
        """While we read nothing PINGs go on, and the peer is not inactive; afterwards all counts anew."""
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 0.0)
            self.clock.advance(59.75)
            self.stop_reading()
            for _ in range(10):
                self.clock.advance(100)
            self.assert_up()
            self.assertEqual(self.transport.writes[1:], [self.ping_size] * 9)
            self.protocol.resumeProducing()
            self.assertEqual(self.transport.producerState, "producing")
            self.clock.advance(60)
            self.clock.advance(119.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(InactivityTimeout)

    def test_silence_counts_while_we_read_ahead(self) -> None:
        """A peer that is gone behind a pause is missed in the inactivity time."""
        for begin in (self.open_server, self.open_client):
            begin()
            self.protocol.pauseProducing()
            self.clock.advance(60)
            self.feed(self.peer_data(bytes(1000)))
            self.clock.advance(60)
            self.clock.advance(119.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(InactivityTimeout)
            self.assertEqual(self.protocol.payloads, [])

    def test_reset_while_we_read_ahead(self) -> None:
        """It is told at once: what waits, nobody can answer any more."""
        self.open_server()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1"))
        self.transport.lose(ConnectionLost())
        self.assert_lost(cut())
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [])

    def test_control_pdus_do_not_wait(self) -> None:
        """PINGs between DATA that wait are answered at once, and PONGs tell at once."""
        for begin in (self.open_server, self.open_client):
            begin()
            latency = self.protocol.ping()
            self.read()
            self.protocol.pauseProducing()
            self.feed(self.peer_data(b"1"), self.peer_ping(), self.peer_data(b"2"), wire_of(self.peer.send_pong, 0))
            self.assertEqual(self.read_types(), ["PongReceived"])
            self.assertEqual(self.successResultOf(latency), 0)
            self.assertEqual(self.protocol.payloads, [])
            self.protocol.resumeProducing()
            self.assertEqual(self.protocol.payloads, [b"1", b"2"])

    def test_resumed_by_what_was_read_ahead(self) -> None:
        """The callback of a PING lets the application go on: in order, with all that came before it."""
        self.open_client()
        self.protocol.ping().addCallback(lambda latency: self.protocol.resumeProducing())
        self.read()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1", b"2"), wire_of(self.peer.send_pong, 0), self.peer_data(b"3"))
        self.assertEqual(self.protocol.payloads, [b"1", b"2", b"3"])

    def test_how_much_is_read_ahead(self) -> None:
        """The DATA that fills it up is the last. What was read with it waits as it came, and is looked at later."""
        self.open_server()
        self.protocol.pauseProducing()
        sent = [bytes([number]) * 10_000 for number in range(12)]
        count = READ_AHEAD // (10_000 + OVERHEAD) + 1
        self.feed(*(self.peer_data(payload) + self.peer_ping() for payload in sent))
        self.assertEqual(self.transport.producerState, "paused")
        self.assertEqual(self.read_types(), ["PongReceived"] * (count - 1))
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, sent)
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.read_types(), ["PongReceived"] * (12 - count + 1))

    @only(1)
    def test_empty_data_fill_it_up(self) -> None:
        """They take memory, too."""
        self.open_server()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(*[b""] * (READ_AHEAD // OVERHEAD + 2)))
        self.assertEqual(self.transport.producerState, "paused")
        self.assertEqual(self.protocol._connection.buffered, OVERHEAD)

    def test_nothing_is_read_ahead_before_authentication(self) -> None:
        self.start_server()
        self.protocol.pauseProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.start_client()
        self.protocol.pauseProducing()
        self.assertEqual(self.transport.producerState, "paused")

    def test_wrong_bytes_read_ahead(self) -> None:
        """They end it at once."""
        self.open_server()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1"), bytes(100))
        self.assert_lost(DecryptionFailed)
        self.assertEqual(self.protocol.payloads, [])

    def test_as_often_as_the_peer(self) -> None:
        """An end that reads nothing gives its peer no PONGs, and so it PINGs as often as the peer does."""
        self.open_server()
        for _ in range(2):
            self.clock.advance(5)
            self.feed(self.peer_ping())
        self.stop_reading()
        self.read()
        self.clock.pump([1] * 30)
        self.assertEqual(self.transport.writes, [self.ping_size] * 6)

    def test_both_pause_for_hours(self) -> None:
        """Two ends with much on its way between them, both slow: neither gives up, and all arrives."""
        clock = Clock()
        timeouts = Timeouts(inactivity=4, ping_interval=1)
        pair = Pair(make_server_factory(clock, timeouts=timeouts), make_client_factory(clock))
        pair.flush()
        sent = [bytes([number]) * 30_000 for number in range(20)]
        for end in (pair.server, pair.client):
            end.pauseProducing()
            for payload in sent:
                end.send_data(payload)
        for _ in range(2000):
            pair.flush()
            clock.advance(1)
        self.assertFalse(pair.server_transport.reading or pair.client_transport.reading)
        # The client first: a server like this one delivers nothing while its client takes nothing.
        for end in (pair.client, pair.server):
            end.resumeProducing()
            for _ in range(10):
                pair.flush()
                clock.advance(1)
            self.assertIsNone(end.reason)
            self.assertTrue(end.payloads == sent)

    @only(1)
    def test_one_pauses_for_hours(self) -> None:
        """A peer with little patience hears PINGs all the while, and owes PONGs, which it sends afterwards."""
        clock = Clock()
        timeouts = Timeouts(inactivity=4, ping_interval=1)
        for much in (False, True):
            pair = Pair(make_server_factory(clock, timeouts=timeouts), make_client_factory(clock))
            pair.flush()
            pair.client.pauseProducing()
            # As much as is read, and no more; or so much that the server's transport is full.
            sent = [bytes(READ_AHEAD)] * (20 if much else 2)
            for payload in sent:
                pair.server.send_data(payload)
                pair.flush()
            for _ in range(3600 if much else 300):
                pair.flush()
                clock.advance(1)
            self.assertIs(pair.server_transport.producer_paused, much)
            self.assertEqual(pair.server._outbox.owed_pongs > 3000, much)
            pair.client.resumeProducing()
            pair.flush()
            self.assertTrue(pair.client.payloads == sent)
            self.assertEqual(pair.server._outbox.owed_pongs, 0)
            self.assertEqual(pair.client._connection._keepalive._unanswered, ())
            self.assertIsNone(pair.server.reason)

    @only(2)
    def test_one_pauses_all_day(self) -> None:
        """
        A peer hears PINGs all the while, and later PADDING: it owes no more PONGs than make it stop reading, whether it
        can send or not, and waits for no PONG of an end whose application takes nothing.
        """
        clock = Clock()
        for much in (False, True):
            pair = Pair(make_server_factory(clock), make_client_factory(clock))
            pair.flush()
            pair.client.pauseProducing()
            sent = [bytes(READ_AHEAD)] * (20 if much else 1) + [b"more"]
            for payload in sent:
                pair.server.send_data(payload)
                pair.flush()
            for _ in range(24 * 60):
                clock.advance(60)
                pair.flush()
            self.assertIs(pair.server_transport.producer_paused, much)
            pair.client.resumeProducing()
            pair.flush()
            self.assertTrue(pair.client.payloads == sent)
            for _ in range(10):
                clock.advance(60)
                pair.flush()
            self.assertIsNone(pair.server.reason)
            self.assertEqual(pair.client._connection._keepalive._unanswered, ())

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
                self.finish()
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
        self.assertIs(pair.server.why, over())

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
        self.assert_lost(over())

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
        self.some_turns(pair, clock)
        self.assertEqual((pair.server.payloads, pair.client.payloads), ([], [b"some of it"]))
        self.assertEqual((pair.server.why, pair.client.why), (BrokenOff, cut()))

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
            self.some_turns(pair, clock)
            self.assertEqual((pair.server.why, pair.client.why), (ConnectionDone, ConnectionDone))

    def some_turns(self, pair: Pair, clock: Clock) -> None:
        """Let a few turns of the reactor pass."""
        for _ in range(5):
            clock.advance(0)
            pair.flush()
