"""
A peer that takes no more for now.
"""

from __future__ import annotations

import io
import random

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.protocols.basic import FileSender

from sodiumtwist import InactivityTimeout, PeerAborted, WindowExceeded
from sodiumtwist.core.connection import Bounds
from sodiumtwist.core.events import DataReceived
from sodiumtwist.protocol.outbox import PONG_LIMIT
from sodiumtwist.protocol.reading import READ_AHEAD

from ..alone import PING_SIZE, AloneTestCase, wide
from ..core.peers import wire_of
from ..pair import BUFFER_SIZE, EchoServer, Pair, RecordingServer, make_client_factory, make_server_factory
from ..payload_producers import PullSource, PushSource
from ..versions import each_version, only

#: How many PONGs may be owed in version 2.
PONGS = Bounds().pongs


@each_version
class WritingPausedTests(AloneTestCase):
    """The peer takes no more for now."""

    def test_push_producer(self) -> None:
        self.open_client()
        source = PushSource(self.protocol)
        self.protocol.registerProducer(source, True)
        self.assertEqual(source.events, [])
        self.fill()
        self.assertEqual(source.events, ["pause"])
        self.drain()
        self.assertEqual(source.events, ["pause", "resume"])
        self.protocol.unregisterProducer()
        self.fill()
        self.drain()
        self.protocol.close()
        self.assertEqual(source.events, ["pause", "resume"])

    def test_push_producer_over_a_slow_peer(self) -> None:
        """It is paused with little more than a full buffer written, and all arrives."""
        for sender, receiver in (("client", "server"), ("server", "client")):
            pair = Pair.make()
            pair.flush()
            sending = getattr(pair, sender)
            transport = getattr(pair, f"{sender}_transport")
            payloads = [random.Random(index).randbytes(10_000) for index in range(100)]
            source = PushSource(sending, payloads)
            sending.registerProducer(source, True)
            source.resumeProducing()
            self.assertTrue(source.paused)
            self.assertTrue(BUFFER_SIZE < len(transport.out) < BUFFER_SIZE + 2 * 10_046)
            pair.flush()
            self.assertEqual(getattr(pair, receiver).payloads, payloads)
            self.assertEqual(source.stops, 0)

    def test_push_producer_registered_while_full(self) -> None:
        self.open_client()
        self.fill()
        source = PushSource(self.protocol)
        self.protocol.registerProducer(source, True)
        self.assertEqual(source.events, ["pause"])
        self.drain()
        self.assertEqual(source.events, ["pause", "resume"])

    @only(1)
    def test_pull_producer(self) -> None:
        """It is asked until the transport is full, and again when it is empty."""
        clock = Clock()
        pair = Pair.make(clock=clock)
        pair.flush()
        payloads = [random.Random(index).randbytes(10_000) for index in range(50)]
        source = PullSource(pair.client, payloads)
        pair.client.registerProducer(source, False)
        clock.advance(0)
        self.assertEqual(source.pulls, BUFFER_SIZE // 10_046 + 1)
        self.assertEqual(len(pair.client_transport.out), source.pulls * 10_046)
        while source.payloads:
            pulls = source.pulls
            pair.flush()
            clock.advance(0)
            self.assertTrue(source.pulls > pulls)
        pair.flush()
        clock.advance(0)
        self.assertEqual(pair.server.payloads, payloads)
        self.assertEqual((source.pulls, source.stops), (51, 0))
        pair.client.close()
        pair.flush()
        self.assertEqual(source.stops, 0)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_pull_producer_registered_while_full(self) -> None:
        self.open_client()
        self.fill()
        source = PullSource(self.protocol, [b"x"])
        self.protocol.registerProducer(source, False)
        self.clock.advance(0)
        self.assertEqual(source.pulls, 0)
        self.drain()
        self.clock.advance(0)
        self.assertEqual((source.pulls, self.read()), (2, [DataReceived(b"x")]))

    def test_file_sender(self) -> None:
        """Twisted's own producer of a file."""

        class Sender(FileSender):
            pulls = 0

            def resumeProducing(self) -> None:
                self.pulls += 1
                if self.pulls > 1000:
                    raise AssertionError("asked without end")
                super().resumeProducing()

        clock = Clock()
        pair = Pair.make(clock=clock)
        pair.flush()
        data = random.Random(6).randbytes(500_000)
        sent = Sender().beginFileTransfer(io.BytesIO(data), pair.client)
        for _ in range(100):
            clock.advance(0)
            pair.flush()
        self.assertEqual(self.successResultOf(sent), data[-1:])
        self.assertEqual(b"".join(pair.server.payloads), data)

    def test_one_producer_only(self) -> None:
        self.open_client()
        self.protocol.registerProducer(PushSource(self.protocol), True)
        self.assertRaises(RuntimeError, self.protocol.registerProducer, PushSource(self.protocol), True)
        self.protocol.unregisterProducer()
        source = PushSource(self.protocol)
        self.protocol.registerProducer(source, True)
        self.fill()
        self.assertEqual(source.events, ["pause"])

    def close(self) -> None:
        self.protocol.close()
        if self.transport.producer is not None:
            self.drain()
        self.finish()

    def test_producers_are_stopped(self) -> None:
        """Once, however the connection ends."""
        for end in (
            lambda: self.close(),
            lambda: self.protocol.abort(),
            lambda: self.transport.lose(ConnectionLost()),
            lambda: self.feed(bytes(100)),
            lambda: self.clock.advance(180),
        ):
            for streaming in (True, False):
                self.open_client()
                self.fill()
                source: PushSource | PullSource = PullSource(self.protocol, [b"x"] * 1000)
                if streaming:
                    source = PushSource(self.protocol)
                self.protocol.registerProducer(source, streaming)
                end()
                self.assertEqual(source.stops, 1)
                self.assertIsNotNone(self.protocol.reason)
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_producer_of_a_closed_connection(self) -> None:
        self.open_client()
        self.protocol.close()
        source = PushSource(self.protocol)
        self.protocol.registerProducer(source, True)
        self.assertEqual(source.events, ["stop"])

    @only(1)
    def test_stopped_in_close_before_the_transport(self) -> None:
        """A producer left with a socket of Twisted's would keep it open."""
        self.open_client(orderly=False)
        self.assertIsNotNone(self.transport.producer)
        self.protocol.close()
        self.assertIsNone(self.transport.producer)

    def test_server_stops_reading(self) -> None:
        """Without a producer, as answers are all it sends; with one, the producer is paused instead."""
        self.open_server()
        self.fill()
        self.feed(self.peer_data(bytes(READ_AHEAD)))
        self.assertEqual(self.protocol.payloads, [])
        self.assertEqual(self.transport.producerState, "paused")
        self.drain()
        self.assertEqual(self.transport.producerState, "producing")
        self.protocol.registerProducer(PushSource(self.protocol), True)
        self.fill()
        self.assertEqual(self.transport.producerState, "producing")
        self.protocol.unregisterProducer()
        self.feed(self.peer_data(bytes(READ_AHEAD)))
        self.assertEqual(self.transport.producerState, "paused")
        self.protocol.registerProducer(PushSource(self.protocol), True)
        self.assertEqual(self.transport.producerState, "producing")

    def test_two_reasons_to_pause(self) -> None:
        """Reading goes on when neither the application nor the full buffer is against it."""
        self.open_server()
        self.protocol.pauseProducing()
        self.fill()
        self.feed(self.peer_data(bytes(READ_AHEAD)))
        self.protocol.resumeProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.protocol.pauseProducing()
        self.drain()
        self.assertEqual(self.transport.producerState, "paused")
        self.protocol.resumeProducing()
        self.assertEqual(self.transport.producerState, "producing")

    def test_client_reads_on(self) -> None:
        """Or two sides that send much would wait for each other for ever."""
        self.open_client()
        self.fill()
        self.assertEqual(self.transport.producerState, "producing")
        self.feed(self.peer_data(b"x"))
        self.assertEqual(self.protocol.payloads, [b"x"])

    def test_large_answers_to_a_client_that_does_not_read(self) -> None:
        """Only a bounded part of them is written, and all the rest when it reads."""

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.send_data(payload * 10_000)

        pair = Pair.make(Server)
        pair.flush()
        pair.client.pauseProducing()
        for index in range(1000):
            pair.client.send_data(b"%04d" % index)
        pair.flush()
        written = sum(pair.server_transport.writes)
        self.assertTrue(BUFFER_SIZE < written < 4 * BUFFER_SIZE, written)
        self.assertTrue(len(pair.server.payloads) < 10)
        pair.client.resumeProducing()
        pair.flush()
        self.assertEqual(pair.client.payloads, [b"%04d" % index * 10_000 for index in range(1000)])

    def test_both_send_much(self) -> None:
        """An echoing server and a client with a producer do not lock each other up."""
        pair = Pair.make(EchoServer)
        pair.flush()
        payloads = [random.Random(index).randbytes(60_000) for index in range(60)]
        source = PushSource(pair.client, payloads)
        pair.client.registerProducer(source, True)
        source.resumeProducing()
        pair.flush()
        self.assertEqual(pair.server.payloads, payloads)
        self.assertEqual(pair.client.payloads, payloads)

    @only(2)
    def test_pings_that_wait(self) -> None:
        """
        With as many PONGs owed as may be, nothing more of the peer is looked at or read; all its PONGs follow when it
        takes them.
        """
        for begin in (self.open_server, self.open_client):
            begin()
            self.fill()
            self.feed(self.peer_ping(PONGS + 1))
            self.assertEqual(self.transport.producerState, "paused")
            self.feed(self.peer_ping(3 * PONGS), self.peer_data(b"behind"))
            self.assertEqual(self.protocol.payloads, [])
            self.assertLess(self.protocol._connection.queued, 100 * PONGS)
            self.drain()
            self.assertEqual(self.transport.producerState, "producing")
            self.assertEqual(self.read_types().count("PongReceived"), 4 * PONGS + 1)
            self.assertEqual(self.protocol.payloads, [b"behind"])

    @only(2)
    def test_broken_off_while_pongs_leave(self) -> None:
        """Then nothing more is looked at, and no PONG that does not leave is waited for."""
        self.open_client(timeouts=wide())
        self.feed(self.peer_ping())
        self.fill()
        self.feed(self.peer_ping(3 * PONGS))
        write = self.transport.write

        def write_and_break(data: bytes) -> None:
            write(data)
            self.protocol.abort()

        self.patch(self.transport, "write", write_and_break)
        self.drain()
        self.assert_lost(ConnectionDone)

    @only(2)
    def test_peer_aborts_behind_many_pings(self) -> None:
        """Also while the application has paused, and does not hear of it yet."""
        self.open_client(timeouts=wide())
        self.protocol.pauseProducing()
        self.feed(self.peer_data(b"1"), self.peer_ping(3 * PONGS), wire_of(self.peer.abort, 8, "no more"))
        self.assertIsNone(self.protocol.reason)
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"1"])
        self.assert_lost(PeerAborted)

    @only(1)
    def test_pings_of_a_peer_that_does_not_read(self) -> None:
        """So many PONGs may be owed at once, and one more ends it; they count anew when the peer has read."""
        self.open_client()
        self.fill()
        self.feed(self.peer_ping(PONG_LIMIT))
        self.assertEqual(self.protocol._connection.queued, 0)
        self.drain()
        self.fill()
        self.feed(self.peer_ping(PONG_LIMIT))
        self.assert_up()
        self.assertEqual(sum(self.transport.writes), PONG_LIMIT * PING_SIZE)
        self.feed(self.peer_ping())
        self.assert_lost(WindowExceeded)

    @only(1)
    def test_pings_of_a_peer_that_is_slow(self) -> None:
        """It takes nothing for hours, and shows life: all its PONGs follow when it reads."""
        for begin in (self.open_server, self.open_client):
            begin(timeouts=wide())
            self.fill()
            for _ in range(1000):
                self.clock.advance(1)
                self.feed(self.peer_ping())
            self.assert_up()
            self.assertLessEqual(self.protocol._connection.queued, PING_SIZE)
            self.drain()
            self.assertEqual(self.read_types().count("PongReceived"), 1000)

    @only(1)
    def test_closed_while_pongs_are_sent(self) -> None:
        """The rest of them is not missing."""
        self.open_client(timeouts=wide())
        self.fill()
        self.clock.advance(100)
        self.feed(self.peer_ping(3 * PONG_LIMIT))
        write = self.transport.write

        def write_and_break(data: bytes) -> None:
            write(data)
            self.protocol.abort()

        self.patch(self.transport, "write", write_and_break)
        self.protocol._connection.drop_unsent()  # a PING of ours
        self.drain()
        self.assert_lost(ConnectionDone)
        self.assertEqual(self.transport.writes, [PONG_LIMIT * PING_SIZE])

    @only(1)
    def test_closed_with_pongs_owed(self) -> None:
        """Nobody waits for them any more."""
        for end in ("close", "abort"):
            self.open_client()
            self.fill()
            self.feed(self.peer_ping(5))
            producer = self.producer
            getattr(self.protocol, end)()
            producer.resumeProducing()
            self.assertEqual(self.transport.writes, [])

    @only(1)
    def test_pings_to_a_server_with_a_producer(self) -> None:
        """It reads on though its buffer is full, so the cap is for it as well."""
        self.open_server()
        self.protocol.registerProducer(PushSource(self.protocol), True)
        self.fill()
        self.feed(self.peer_ping(PONG_LIMIT + 1))
        self.assert_lost(WindowExceeded)

    def test_pings_while_nothing_waits(self) -> None:
        self.open_client()
        self.feed(self.peer_ping(10 * PONG_LIMIT))
        self.assert_up()
        self.assertEqual(len(self.read()), 10 * PONG_LIMIT)

    @only(1)
    def test_a_flood_of_pings_is_bounded(self) -> None:
        """Over a transport that fills up: what is written stays within the buffer, the cork and the cap."""
        clock = Clock()
        pair = Pair(make_server_factory(clock, timeouts=wide()), make_client_factory(clock))
        pair.flush()
        pair.server_transport.pauseProducing()
        for _ in range(20_000):
            pair.server.ping().addErrback(lambda reason: None)
        pair.flush()
        self.assertTrue(sum(pair.client_transport.writes) < 3 * BUFFER_SIZE)
        self.assertTrue(pair.client_transport.received < 4 * BUFFER_SIZE)
        # What was written is still the peer's to take, for as long as inactivity may last.
        clock.pump([60, 120])
        pair.flush()
        self.assertIs(pair.client.why, WindowExceeded)

    @only(1)
    def test_a_flood_of_pings_stops_a_server(self) -> None:
        """It stops, too: PINGs that are found while nothing is delivered count as well."""
        clock = Clock()
        pair = Pair(make_server_factory(clock), make_client_factory(clock, timeouts=wide()))
        pair.flush()
        pair.client_transport.pauseProducing()
        for _ in range(20_000):
            pair.client.ping().addErrback(lambda reason: None)
        pair.flush()
        self.assertTrue(sum(pair.server_transport.writes) < 3 * BUFFER_SIZE)
        self.assertIs(pair.server.why, WindowExceeded)

    def test_blocked_for_the_inactivity_time(self) -> None:
        """It counts from when the buffer was full, or from when the peer was heard last: that one is slow, not gone."""
        self.open_client(timeouts=wide())
        self.clock.advance(30)
        self.fill()
        self.clock.advance(178)
        self.assert_up()
        for _ in range(500):
            self.clock.advance(1)
            self.feed(self.peer_data(b""))
            self.fill()
        self.clock.advance(179.75)
        self.assert_up()
        self.clock.advance(0.25)
        reason = self.assert_lost(InactivityTimeout)
        self.assertIn("took nothing", reason.getErrorMessage())
        self.assertTrue(self.transport.disconnected, "not aborted")

    def test_blocked_for_less(self) -> None:
        self.open_client(timeouts=wide())
        self.fill()
        self.clock.advance(179)
        self.feed(self.peer_data(b""))
        self.drain()
        self.clock.advance(2)
        self.assert_up()
        self.fill()
        self.clock.advance(179.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(InactivityTimeout)

    def test_slow_progress(self) -> None:
        """Much that is taken slowly is delivered: what counts is that some was taken."""
        self.open_client(timeouts=wide())
        self.fill_with_each_write()
        payloads = [b"%02d" % index * 35_000 for index in range(10)]
        for payload in payloads:
            self.protocol.send_data(payload)
        for payload in payloads:
            data = [event for event in self.read() if isinstance(event, DataReceived)]  # PINGs may come with it
            self.assertEqual(data, [DataReceived(payload)])
            self.clock.advance(179)
            self.feed(self.peer_data(b""))
            self.drain()
        self.assert_up()

    def test_producer_waits_for_the_queue(self) -> None:
        """While something still waits for the transport, the producer stays paused, and is paused once."""
        self.open_client()
        source = PushSource(self.protocol)
        self.protocol.registerProducer(source, True)
        self.fill()
        self.protocol.send_data(b"waits")
        self.fill_with_each_write()
        self.drain()
        self.assertEqual(source.events, ["pause"])
        self.drain()
        self.assertEqual(source.events, ["pause", "resume"])

    def test_closing_delivers_what_waits(self) -> None:
        """close() hands over all that the full transport kept waiting."""
        self.open_client()
        self.fill()
        for index in range(3):
            self.protocol.send_data(b"%d" % index)
        self.assertEqual(self.read(), [])
        self.protocol.close()
        self.drain()
        self.assertEqual(self.read()[:3], [DataReceived(b"0"), DataReceived(b"1"), DataReceived(b"2")])

    def test_blocked_while_the_application_reads_nothing(self) -> None:
        """As long as we read, silence tells. When nothing is read any more, nothing can be known."""
        self.open_client()
        self.protocol.pauseProducing()
        self.fill()
        self.clock.advance(179.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(InactivityTimeout)
        self.open_client()
        self.protocol.pauseProducing()
        self.feed(self.peer_data(bytes(READ_AHEAD)))
        self.fill()
        self.clock.pump([60] * 100)
        self.assert_up()
        self.assertLessEqual(self.protocol._connection.queued, PING_SIZE)
        self.protocol.resumeProducing()
        self.clock.advance(179.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(InactivityTimeout)

    def test_blocked_server_without_producer(self) -> None:
        """It reads nothing, so the peer's silence is not what ends it."""
        self.open_server()
        self.fill()
        self.clock.advance(179.75)
        self.assert_up()
        self.clock.advance(0.25)
        reason = self.assert_lost(InactivityTimeout)
        self.assertIn("took nothing", reason.getErrorMessage())
