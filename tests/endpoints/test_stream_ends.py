"""
How streams end.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import SingleLogin, Timeouts
from sodiumtwist.core.connection import Code
from sodiumtwist.core.errors import (
    ClosingTimeout,
    ConnectionCut,
    DecryptionFailed,
    LocalProtocolError,
    PeerAborted,
    UnexpectedPDU,
)
from sodiumtwist.endpoints.streams import ClientStream, ServerStream, StreamClientFactory, StreamServerFactory
from sodiumtwist.endpoints.transport import SodiumTransport
from sodiumtwist.protocol.farewell import BrokenOff

from ..applications import Application, Applications, Drainable, HalfCloseable, Producer, StreamTestCase
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, Boom, Pair, RecordingServer, make_client_factory, make_server_factory
from ..versions import each_version, only, spoken


@each_version
class EndTests(StreamTestCase):
    """How streams end."""

    def test_close_delivers_first(self) -> None:
        self.start()
        self.server.transport.write(b"x" * 500_000)
        self.server.transport.loseConnection()
        self.server.transport.write(b"too late")
        transport = self.server.transport
        assert isinstance(transport, SodiumTransport)
        self.assertTrue(transport.disconnecting)
        self.flush()
        self.assertEqual(len(self.client.received), 500_000)
        self.assertIs(self.client.why, ConnectionDone)
        self.assertIs(self.server.why, ConnectionDone)

    def test_end_that_is_closed_delivers_first(self) -> None:
        """Also when it is not the application that closes: what it wrote in this turn of the reactor is delivered."""
        self.start()
        self.server.transport.write(b"all of it")
        self.pair.server.close()
        self.flush()
        self.assertEqual(self.client.received, b"all of it")
        # But that it was all, only the application can tell.
        self.assertIs(self.client.why, ConnectionLost)
        self.assertIs(self.server.why, ConnectionLost if spoken() == 1 else BrokenOff)

    def test_close_waits_for_a_producer(self) -> None:
        self.start()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.client.transport.loseConnection()
        self.flush()
        self.assertIsNone(self.server.reason)
        self.client.transport.write(b"the last")
        self.client.transport.unregisterProducer()
        self.flush()
        self.assertEqual(self.server.received, b"the last")
        self.assertIs(self.server.why, ConnectionDone)
        self.assertEqual(producer.calls, [])

    def test_nothing_received_after_close(self) -> None:
        self.start()
        self.client.transport.registerProducer(Producer(), True)
        self.client.transport.loseConnection()
        self.server.transport.write(b"nobody listens")
        self.flush()
        self.assertEqual(self.client.received, b"")

    def test_one_direction(self) -> None:
        """It ends alone when the application can take that; when both have ended, that is the end."""
        self.start(server=HalfCloseable, client=HalfCloseable)
        self.client.transport.write(b"all of the question")
        self.client.transport.loseWriteConnection()
        self.flush()
        assert isinstance(self.client, HalfCloseable) and isinstance(self.server, HalfCloseable)
        self.assertEqual((self.client.write_ended, self.server.read_ended), (True, True))
        self.client.transport.write(b"dropped")
        self.server.transport.write(b"an answer ")
        self.flush()
        self.server.transport.write(b"in two parts")
        self.server.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(self.server.received, b"all of the question")
        self.assertEqual(self.client.received, b"an answer in two parts")
        self.assertIs(self.server.why, ConnectionDone)
        self.assertIs(self.client.why, ConnectionDone)

    def test_application_that_needs_both(self) -> None:
        """One direction ends both; what it had written arrives."""
        self.ask_and_end()
        self.flush()
        self.assertEqual(self.client.received, b"an answer")
        self.assertIs(self.client.why, ConnectionDone)
        self.assertIs(self.server.why, ConnectionDone)

    def ask_and_end(self) -> None:
        class Answering(Application):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"an answer")

        self.start(server=Answering, client=HalfCloseable)
        self.client.transport.write(b"question")
        self.client.transport.loseWriteConnection()

    def test_application_that_needs_both_and_has_more(self) -> None:
        """What its producer has not sent yet is cut off, and that must not look like the end."""
        self.ask_and_end()
        producer = Producer()
        self.server.transport.registerProducer(producer, True)
        self.flush()
        assert isinstance(self.client, HalfCloseable)
        self.assertEqual((self.client.received, self.client.read_ended), (b"an answer", False))
        self.assertEqual(producer.calls, ["stop"])
        self.assertIs(self.client.why, ConnectionLost)
        self.assertIs(self.server.why, BrokenOff)

    def test_application_that_needs_both_and_writes_late(self) -> None:
        """Its direction has ended, and it was not told yet. So it must hear that something did not arrive."""
        self.ask_and_end()
        self.clock.advance(0)
        self.pair.step()
        self.assertIsNone(self.server.reason)
        self.server.transport.write(b"more")
        self.server.transport.loseConnection()
        self.flush()
        self.assertEqual(self.client.received, b"an answer")
        self.assertIs(self.client.why, ConnectionDone)
        self.assertIs(self.server.why, ConnectionLost)

    def test_abort(self) -> None:
        self.start()
        self.client.transport.write(b"x" * 1000)
        self.client.transport.abortConnection()
        self.flush()
        self.assertEqual(self.server.received, b"")
        self.assertIs(self.client.why, ConnectionAborted)
        self.assertIs(self.server.why, ConnectionLost)

    def test_break(self) -> None:
        """What was written arrives, though its end does not; no producer is waited for."""
        self.start()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.client.transport.loseConnection()
        self.client.transport.write(b"x" * 500_000)
        self.client.transport.breakConnection()
        self.client.transport.breakConnection()
        self.client.transport.write(b"too late")
        self.flush()
        self.assertEqual(self.server.received, b"x" * 500_000)
        self.assertIs(self.client.why, BrokenOff)
        self.assertIs(self.server.why, ConnectionLost)
        self.assertEqual(producer.calls[-1], "stop")

    def test_break_behind_an_end(self) -> None:
        """One that has ended its direction, and then breaks, has not received all. The other must learn of that."""
        self.start(server=HalfCloseable, client=HalfCloseable)
        self.client.transport.write(b"all of it")
        self.client.transport.loseWriteConnection()
        self.client.transport.breakConnection()
        self.pair.flush()  # this transport does not tell what it has not sent yet
        self.clock.advance(0)
        self.flush()
        assert isinstance(self.server, HalfCloseable)
        self.assertEqual((self.server.received, self.server.read_ended), (b"all of it", True))
        self.assertIs(self.server.why, ConnectionLost)

    def test_consumer_that_is_gone(self) -> None:
        """When it is a transport that was lost, nobody knows yet whether that is an end. So it is none."""
        self.start(server=HalfCloseable)
        self.client.transport.write(b"half of it")
        self.client.transport.stopProducing()
        self.server.transport.write(b"for nobody")
        self.flush()
        self.flush()
        assert isinstance(self.server, HalfCloseable)
        self.assertEqual((self.server.received, self.server.read_ended), (b"half of it", False))
        self.assertEqual(self.client.received, b"")
        self.assertIs(self.server.why, ConnectionLost)
        self.assertIs(self.client.why, BrokenOff)

    def test_consumer_that_is_gone_in_order(self) -> None:
        """The application that hears of it next, and closes, has decided, also when its producer is not done."""
        self.start()
        self.client.transport.stopProducing()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.client.transport.loseConnection()
        self.client.transport.stopProducing()
        self.flush()
        self.client.transport.write(b"the rest")
        self.client.transport.unregisterProducer()
        self.flush()
        self.assertEqual(self.server.received, b"the rest")
        self.assertIs(self.server.why, ConnectionDone)

    def test_cut(self) -> None:
        """A connection that closes without the end of its stream was cut."""
        self.start()
        self.client.transport.write(b"all?")
        self.flush()
        self.pair.client_transport.lose(ConnectionDone())
        self.flush()
        self.assertEqual(self.server.received, b"all?")
        self.assertIs(self.server.why, ConnectionLost)
        assert self.server.reason is not None
        says = "without the end" if spoken() == 1 else "it ended before both ends had said that all was sent"
        self.assertIn(says, self.server.reason.getErrorMessage())

    @only(1)
    def test_more_after_the_end(self) -> None:
        self.start(server=HalfCloseable)
        self.pair.client.send_data(b"")
        self.pair.client.send_data(b"more")
        self.flush()
        self.assertIs(self.server.why, UnexpectedPDU)

    def test_reason(self) -> None:
        """What went wrong reaches the application."""
        self.start()
        self.pair.client_transport.write(bytes(100))
        self.flush()
        self.assertIs(self.server.why, DecryptionFailed)

    def test_failing_application(self) -> None:
        class Failing(Application):
            def dataReceived(self, data: bytes) -> None:
                raise KeyError("in the application")

        self.start(server=Failing)
        self.client.transport.write(b"x")
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertIs(self.server.why, KeyError)
        self.assertIs(self.client.why, ConnectionLost)


@only(2)
class ToldEndTests(StreamTestCase):
    """What version 2 alone can tell."""

    def assert_lost(self, application: Application, why: str, cause: type[BaseException]) -> None:
        """See that it was told of a lost connection, why in words, and by an error of ours that knows more."""
        reason = application.reason
        assert reason is not None
        self.assertIs(reason.type, ConnectionLost)
        self.assertIn(why, reason.getErrorMessage())
        error = reason.value
        assert error is not None
        self.assertIsInstance(error.__cause__, cause)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.flush()

    def test_empty_data(self) -> None:
        """It is no end, and no stream has it: who sends it, as an upload does, is told that it is wrong here."""
        chunks: list[bytes] = []

        class Noting(HalfCloseable):
            def dataReceived(self, data: bytes) -> None:
                chunks.append(data)

        self.start(server=Noting)
        self.pair.client.send_data(b"")
        self.pair.client.send_data(b"more")
        self.flush()
        assert isinstance(self.server, Noting)
        self.assertEqual((chunks, self.server.read_ended), ([], False))
        self.assert_lost(self.client, "no files are received", PeerAborted)

    def test_end_without_the_other(self) -> None:
        """Who has closed, and whose peer then goes without its own end, has no end in order, however that looks."""
        for reason in (ConnectionDone, ConnectionLost):
            self.start(server=HalfCloseable)
            self.client.transport.write(b"all of it")
            self.client.transport.loseConnection()
            self.flush()
            self.assertIsNone(self.client.reason)
            self.pair.client_transport.lose(reason())
            self.assert_lost(self.client, "cut", ConnectionCut)
            self.flush()
            self.assert_lost(self.server, "cut", ConnectionCut)

    def test_reset_behind_both_ends(self) -> None:
        """When both ends were said, and came, nothing is missing any more."""
        self.start(server=HalfCloseable, client=HalfCloseable)
        self.client.transport.loseWriteConnection()
        self.flush()
        self.server.transport.loseWriteConnection()
        self.flush()
        self.assertEqual((self.client.why, self.server.why), (ConnectionDone, ConnectionDone))
        self.start(server=HalfCloseable, client=HalfCloseable)
        self.client.transport.loseWriteConnection()
        self.flush()
        self.server.transport.loseWriteConnection()
        self.clock.advance(0)
        self.pair.round_trip()
        self.pair.client_transport.lose(ConnectionLost())
        self.assertIs(self.client.why, ConnectionDone)

    def test_held_back(self) -> None:
        """The peer's end waits behind what an application has yet to take, also when the transport has gone."""
        self.start(server=HalfCloseable, client=HalfCloseable)
        self.server.transport.loseWriteConnection()
        self.flush()
        self.server.transport.pauseProducing()
        self.client.transport.write(b"all of it")
        self.client.transport.loseWriteConnection()
        self.flush()
        assert isinstance(self.server, HalfCloseable)
        self.assertEqual((self.server.received, self.server.read_ended), (b"", False))
        self.assertIs(self.client.why, ConnectionDone)
        self.server.transport.resumeProducing()
        self.flush()
        self.assertEqual((self.server.received, self.server.read_ended), (b"all of it", True))
        self.assertIs(self.server.why, ConnectionDone)

    def test_why_it_is_broken_off(self) -> None:
        """What was written comes first, also to a peer that takes it late, and then the reason."""
        self.start()
        self.pair.server_transport.pauseProducing()
        self.client.transport.write(b"x" * 500_000)
        self.client.transport.breakConnection("the disk is full\x1b")
        self.flush()
        self.pair.server_transport.resumeProducing()
        self.flush()
        self.assertEqual(len(self.server.received), 500_000)
        self.assert_lost(self.server, "the other end broke off: the disk is full?", PeerAborted)
        self.assertIs(self.client.why, BrokenOff)

    def test_reason_that_is_too_long(self) -> None:
        self.start()
        self.assertRaises(LocalProtocolError, self.client.transport.breakConnection, "x" * 1025)
        self.assertFalse(self.pair.client._lifecycle.over)

    def test_broken_off_by_the_server(self) -> None:
        """A server that stops says so."""
        self.start()
        self.server.transport.write(b"half of it")
        self.pair.server.abort_with(Code.SHUTTING_DOWN, "")
        self.flush()
        self.assertEqual(self.client.received, b"half of it")
        self.assert_lost(self.client, "the other end broke off: shutting down", PeerAborted)

    def test_broken_off_while_held_back(self) -> None:
        """An application that has paused takes what came before, and hears that it was broken off, whatever it does."""
        for call in ("resumeProducing", "breakConnection"):
            self.start()
            self.server.transport.pauseProducing()
            self.client.transport.write(b"half of it")
            self.client.transport.breakConnection()
            self.flush()
            self.assertEqual(self.server.received, b"")
            getattr(self.server.transport, call)()
            self.flush()
            if call == "resumeProducing":
                self.assertEqual(self.server.received, b"half of it")
                self.assert_lost(self.server, "the stream was broken off", PeerAborted)
            else:
                self.assertIs(self.server.why, BrokenOff)

    def test_no_protocol_for_it(self) -> None:
        self.start(server=lambda: None)
        (client,) = self.clients.built
        self.flush()
        self.assert_lost(client, "the application takes no connection now", PeerAborted)

    def test_failing_application(self) -> None:
        """The peer hears that it was the application, not what is wrong with it."""

        class Failing(Application):
            def dataReceived(self, data: bytes) -> None:
                raise Boom("a secret")

        self.start(server=Failing)
        self.client.transport.write(b"x")
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        self.assert_lost(self.client, "the application failed", PeerAborted)
        self.assertNotIn("secret", str(self.client.reason))

    def test_peer_that_never_ends(self) -> None:
        """Who has closed waits for the peer's end as long as inactivity may last; what comes meanwhile is dropped."""
        self.start(server=HalfCloseable, timeouts=Timeouts(inactivity=30, ping_interval=10))
        self.client.transport.loseConnection()
        self.flush()
        self.server.transport.write(b"for nobody")
        self.pass_time(29)
        self.assertEqual((self.client.received, self.client.reason), (b"", None))
        # The END was taken after five seconds, at the latest.
        self.pass_time(7)
        self.assert_lost(self.client, "waited 30 seconds", ClosingTimeout)
        self.assert_lost(self.server, "waited 30 seconds", PeerAborted)

    def test_close_with_a_producer(self) -> None:
        """A peer that has closed, too, waits for the end as long as it may; what the producer has is sent meanwhile."""
        self.start(timeouts=Timeouts(inactivity=30, ping_interval=10))
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.client.transport.loseConnection()
        self.server.transport.loseConnection()
        self.flush()
        self.assertEqual((self.client.reason, producer.calls), (None, []))
        self.client.transport.write(b"the rest")
        self.pass_time(40)
        self.assert_lost(self.server, "waited 30 seconds", ClosingTimeout)
        self.assert_lost(self.client, "waited 30 seconds", PeerAborted)
        self.assertEqual(producer.calls[-1], "stop")

    def test_drain(self) -> None:
        """An application may be told that the peer is about to stop. Its stream goes on, to its own end."""
        self.start(client=Drainable)
        self.pair.server.drain()
        self.pair.server.drain()
        self.flush()
        assert isinstance(self.client, Drainable)
        self.assertEqual((self.client.drains, self.pair.client.is_draining), (1, True))
        self.client.transport.write(b"goes on")
        self.flush()
        self.assertEqual(self.server.received, b"goes on")
        self.client.transport.loseConnection()
        self.flush()
        self.assertEqual((self.client.why, self.server.why), (ConnectionDone, ConnectionDone))

    def test_drain_of_no_concern(self) -> None:
        """An application that knows nothing of it is not told; nor is one that has closed."""
        self.start(server=HalfCloseable)
        self.pair.server.drain()
        self.flush()
        self.client.transport.write(b"goes on")
        self.flush()
        self.assertEqual(self.server.received, b"goes on")
        self.assertIsNone(self.client.reason)


@each_version
class HeldEndTests(SynchronousTestCase):
    """A transport, like TLS, that tells its end though the application has paused."""

    def start(self, payloads: int = 3) -> None:
        self.clock = Clock()

        class Pausing(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.pauseProducing()

        self.pair = Pair(make_server_factory(self.clock, Pausing), make_client_factory(self.clock))
        self.pair.flush()
        for number in range(payloads):
            self.pair.client.send_data(b"%d" % number)
        self.pair.flush()
        self.server = self.pair.server
        self.pair.server_transport.lose(ConnectionDone())

    def test_all_is_taken_first(self) -> None:
        self.start()
        self.assertEqual((self.server.payloads, self.server.reason), ([b"0"], None))
        self.server.resumeProducing()
        self.assertEqual((self.server.payloads, self.server.reason), ([b"0", b"1"], None))
        self.server.resumeProducing()
        self.server.resumeProducing()
        self.assertEqual(self.server.payloads, [b"0", b"1", b"2"])
        self.assertIs(self.server.why, ConnectionDone if spoken() == 1 else ConnectionCut)

    def test_closed_meanwhile(self) -> None:
        for close in ("close", "abort"):
            self.start()
            getattr(self.server, close)()
            self.assertEqual(self.server.payloads, [b"0"])
            self.assertIs(self.server.why, ConnectionDone)
            self.assertEqual(self.server.factory.connections, set())


@each_version
class NestedTests(SynchronousTestCase):
    """A stream within a stream."""

    def test_break_behind_an_end(self) -> None:
        """What the outer stream was given, it delivers before it is broken, too."""
        clock, servers, clients = Clock(), Applications(HalfCloseable), Applications(HalfCloseable)
        checker = SingleLogin(LOGIN, PASSPHRASE)
        login = (SERVER_PAIR.public, LOGIN, PASSPHRASE)
        pair: Pair[ServerStream, ClientStream] = Pair(
            StreamServerFactory(
                StreamServerFactory(servers, SERVER_PAIR, checker, clock=clock), SERVER_PAIR, checker, clock=clock
            ),
            StreamClientFactory(
                StreamClientFactory(clients, *login, clock=clock, version=spoken()),
                *login,
                clock=clock,
                version=spoken(),
            ),
        )

        def run() -> None:
            for _ in range(20):
                clock.advance(0)
                pair.flush()

        run()
        (server,), (client,) = servers.built, clients.built
        client.transport.write(b"x" * 500_000)
        client.transport.loseWriteConnection()
        client.transport.breakConnection()
        run()
        assert isinstance(server, HalfCloseable)
        # An ABORT takes the place of an END that has not left.
        self.assertEqual((server.received == b"x" * 500_000, server.read_ended), (True, spoken() == 1))
        self.assertIs(server.why, ConnectionLost)
