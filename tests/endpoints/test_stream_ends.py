"""
How streams end.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import SingleLogin
from sodiumtwist.core.errors import DecryptionFailed, UnexpectedPDU
from sodiumtwist.endpoints.streams import ClientStream, ServerStream, StreamClientFactory, StreamServerFactory
from sodiumtwist.endpoints.transport import SodiumTransport
from sodiumtwist.protocol.farewell import BrokenOff

from ..applications import Application, Applications, HalfCloseable, Producer, StreamTestCase
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, Pair, RecordingServer, make_client_factory, make_server_factory


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
        self.assertEqual((self.client.why, self.server.why), (ConnectionLost, ConnectionLost))

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
        self.clock.advance(0)
        self.pair.client_transport.loseConnection()
        self.flush()
        self.assertEqual(self.server.received, b"all?")
        self.assertIs(self.server.why, ConnectionLost)
        assert self.server.reason is not None
        self.assertIn("without the end", self.server.reason.getErrorMessage())

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
        self.assertIs(self.server.why, ConnectionDone)

    def test_closed_meanwhile(self) -> None:
        for close in ("close", "abort"):
            self.start()
            getattr(self.server, close)()
            self.assertEqual(self.server.payloads, [b"0"])
            self.assertIs(self.server.why, ConnectionDone)
            self.assertEqual(self.server.factory.connections, set())


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
            StreamClientFactory(StreamClientFactory(clients, *login, clock=clock), *login, clock=clock),
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
        self.assertEqual((server.received == b"x" * 500_000, server.read_ended), (True, True))
        self.assertIs(server.why, ConnectionLost)
