"""
Streams: an application's protocol on an encrypted transport, in memory.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sodiumtwist import ISodiumTransport, SingleLogin
from sodiumtwist.base import CHUNK_SIZE
from sodiumtwist.core.errors import DecryptionFailed, RemoteProtocolError, UnexpectedPDU
from sodiumtwist.core.wire import PDU_OVERHEAD
from sodiumtwist.streams import StreamClientFactory, StreamServerFactory

from .pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    Pair,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)


class Application(Protocol):
    """Writes down what it gets."""

    def __init__(self) -> None:
        self.received = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        assert self.reason is None
        self.reason = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Application):
    """Goes on when one direction has ended."""

    read_ended = write_ended = False

    def readConnectionLost(self) -> None:
        self.read_ended = True

    def writeConnectionLost(self) -> None:
        self.write_ended = True


class Applications(Factory):
    """
    Builds applications.

    :ivar built: those that were built.
    """

    noisy = False

    def __init__(self, protocol: Any = Application) -> None:
        self.protocol = protocol
        self.built: list[Any] = []

    def buildProtocol(self, address: Any) -> Any:
        protocol = self.protocol()
        self.built.append(protocol)
        return protocol


class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class StreamTestCase(SynchronousTestCase):
    def start(self, server: Any = Application, client: Any = Application, passphrase: str = PASSPHRASE) -> None:
        """Connect two applications."""
        self.clock = Clock()
        self.servers, self.clients = Applications(server), Applications(client)
        checker = SingleLogin(LOGIN, PASSPHRASE)
        self.pair = Pair(
            StreamServerFactory(self.servers, SERVER_PAIR, checker, clock=self.clock),
            StreamClientFactory(
                self.clients, SERVER_PAIR.public, LOGIN, passphrase, pair=CLIENT_PAIR, clock=self.clock
            ),
        )
        self.ready = self.pair.client.when_authenticated()
        self.pair.flush()
        if self.servers.built and self.clients.built:
            (self.server,), (self.client,) = self.servers.built, self.clients.built

    def flush(self) -> None:
        """Let all that is to be sent arrive."""
        self.clock.advance(0)
        self.pair.flush()


class AuthenticationTests(StreamTestCase):
    """Who gets an application."""

    def test_nobody_before_the_login(self) -> None:
        self.clock = Clock()
        self.servers, self.clients = Applications(), Applications()
        server_factory = StreamServerFactory(
            self.servers, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=self.clock
        )
        client_factory = StreamClientFactory(self.clients, SERVER_PAIR.public, LOGIN, PASSPHRASE, clock=self.clock)
        pair = Pair(server_factory, client_factory, read_size=lambda: 399)
        pair.step()
        self.assertEqual((self.servers.built, self.clients.built), ([], []))
        pair.step()
        self.assertEqual((len(self.servers.built), len(self.clients.built)), (1, 1))

    def test_refused(self) -> None:
        self.start(passphrase="wrong")
        self.assertEqual((self.servers.built, self.clients.built), ([], []))
        self.failureResultOf(self.ready, RemoteProtocolError)

    def test_peer(self) -> None:
        """Both ends can tell who the other is."""
        self.start()
        for application, login, key in (
            (self.server, LOGIN, CLIENT_PAIR.public),
            (self.client, None, SERVER_PAIR.public),
        ):
            transport = application.transport
            verifyObject(ITransport, transport)
            self.assertTrue(ISodiumTransport.providedBy(transport))
            self.assertEqual((transport.peer.login, transport.peer.public_key), (login, key))
            self.assertEqual(transport.peer.address, transport.getPeer())
            self.assertEqual(transport.getHost().port, 5555)

    def test_no_protocol(self) -> None:
        """A factory that builds none makes the connection fail."""
        self.start(client=lambda: None)
        self.failureResultOf(self.ready, NoProtocol)

    def test_factories_are_started(self) -> None:
        """The application's factory is told as if it listened itself."""
        calls: list[str] = []
        applications = Applications()
        applications.startFactory = lambda: calls.append("start")  # type: ignore[method-assign]
        applications.stopFactory = lambda: calls.append("stop")  # type: ignore[method-assign]
        factory = StreamServerFactory(applications, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=Clock())
        verifyObject(IProtocolFactory, factory)
        factory.doStart()
        factory.doStop()
        self.assertEqual(calls, ["start", "stop"])


class BytesTests(StreamTestCase):
    """What is written arrives."""

    def test_both_ways(self) -> None:
        self.start()
        self.client.transport.write(b"question")
        self.server.transport.writeSequence([b"ans", b"wer"])
        self.flush()
        self.assertEqual((self.server.received, self.client.received), (b"question", b"answer"))

    def test_small_writes_leave_together(self) -> None:
        """A thousand writes of one turn are one PDU."""
        self.start()
        before = len(self.pair.client_transport.writes)
        for _ in range(1000):
            self.client.transport.write(b"x")
        self.flush()
        self.assertEqual(self.pair.client_transport.writes[before:], [1000 + PDU_OVERHEAD])
        self.assertEqual(self.server.received, b"x" * 1000)

    def test_answers_leave_together(self) -> None:
        """So do those of what one read brought, without another turn."""

        class Echo(Application):
            def dataReceived(self, data: bytes) -> None:
                for byte in data:
                    self.transport.write(bytes([byte]))

        self.start(server=Echo)
        self.client.transport.write(b"0123456789")
        self.clock.advance(0)
        before = len(self.pair.server_transport.writes)
        self.pair.flush()
        self.assertEqual(self.pair.server_transport.writes[before:], [10 + PDU_OVERHEAD])
        self.assertEqual(self.client.received, b"0123456789")

    def test_large_write(self) -> None:
        """It is cut into PDUs that fill a read; the rest waits for more of this turn."""
        self.start()
        data = bytes(range(256)) * 2000
        before, sent_by_server = len(self.pair.client_transport.writes), list(self.pair.server_transport.writes)
        self.client.transport.write(data)
        self.pair.flush()
        whole, rest = divmod(len(data), CHUNK_SIZE)
        self.assertEqual(self.pair.client_transport.writes[before:], [CHUNK_SIZE + PDU_OVERHEAD] * whole)
        self.client.transport.write(b"more")
        self.flush()
        self.assertEqual(self.pair.client_transport.writes[before + whole :], [rest + 4 + PDU_OVERHEAD])
        data += b"more"
        self.assertTrue(self.server.received == data)
        # Nothing goes back to acknowledge it.
        self.assertEqual(self.pair.server_transport.writes, sent_by_server)

    @given(st.lists(st.binary(max_size=10) | st.integers(0, 300_000).map(bytes), max_size=10))
    def test_order(self, pieces: list[bytes]) -> None:
        """Whatever the sizes, the bytes arrive once and in order."""
        self.start()
        for number, piece in enumerate(pieces):
            self.client.transport.write(piece)
            if number % 3 == 2:
                self.flush()
        self.client.transport.loseConnection()
        self.flush()
        self.assertTrue(self.server.received == b"".join(pieces))
        self.assertIs(self.server.reason.type, ConnectionDone)

    def test_only_bytes(self) -> None:
        self.start()
        self.assertRaises(TypeError, self.client.transport.write, "text")
        self.client.transport.write(bytearray(b"mutable"))
        self.flush()
        self.assertEqual(self.server.received, b"mutable")

    def test_options_of_the_socket(self) -> None:
        """Those that the transport below has are there."""
        self.start()
        self.pair.client_transport.no_delay = False
        self.client.transport.setTcpNoDelay(True)
        self.assertTrue(self.pair.client_transport.no_delay)
        self.assertFalse(hasattr(self.client.transport, "setTcpKeepAlive"))
        self.assertFalse(hasattr(self.client.transport, "startTLS"))


class EndTests(StreamTestCase):
    """How streams end."""

    def test_close_delivers_first(self) -> None:
        self.start()
        self.server.transport.write(b"x" * 500_000)
        self.server.transport.loseConnection()
        self.server.transport.write(b"too late")
        self.assertTrue(self.server.transport.disconnecting)
        self.flush()
        self.assertEqual(len(self.client.received), 500_000)
        self.assertIs(self.client.reason.type, ConnectionDone)
        self.assertIs(self.server.reason.type, ConnectionDone)

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
        self.assertIs(self.server.reason.type, ConnectionDone)
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
        self.assertEqual((self.client.write_ended, self.server.read_ended), (True, True))
        self.client.transport.write(b"dropped")
        self.server.transport.write(b"an answer ")
        self.flush()
        self.server.transport.write(b"in two parts")
        self.server.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(self.server.received, b"all of the question")
        self.assertEqual(self.client.received, b"an answer in two parts")
        self.assertIs(self.server.reason.type, ConnectionDone)
        self.assertIs(self.client.reason.type, ConnectionDone)

    def test_application_that_needs_both(self) -> None:
        """One direction ends both; what it had written arrives."""

        class Late(Application):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"an answer")

        self.start(server=Late, client=HalfCloseable)
        producer = Producer()
        self.server.transport.registerProducer(producer, True)
        self.client.transport.write(b"question")
        self.client.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(self.client.received, b"an answer")
        self.assertEqual(producer.calls, ["stop"])
        self.assertIs(self.client.reason.type, ConnectionDone)
        self.assertIs(self.server.reason.type, ConnectionDone)

    def test_abort(self) -> None:
        self.start()
        self.client.transport.write(b"x" * 1000)
        self.client.transport.abortConnection()
        self.flush()
        self.assertEqual(self.server.received, b"")
        self.assertIs(self.client.reason.type, ConnectionAborted)
        self.assertIs(self.server.reason.type, ConnectionLost)

    def test_cut(self) -> None:
        """A connection that closes without the end of its stream was cut."""
        self.start()
        self.client.transport.write(b"all?")
        self.clock.advance(0)
        self.pair.client_transport.loseConnection()
        self.flush()
        self.assertEqual(self.server.received, b"all?")
        self.assertIs(self.server.reason.type, ConnectionLost)
        self.assertIn("without the end", self.server.reason.getErrorMessage())

    def test_more_after_the_end(self) -> None:
        self.start(server=HalfCloseable)
        self.pair.client.send_data(b"")
        self.pair.client.send_data(b"more")
        self.flush()
        self.assertIs(self.server.reason.type, UnexpectedPDU)

    def test_reason(self) -> None:
        """What went wrong reaches the application."""
        self.start()
        self.pair.client_transport.write(bytes(100))
        self.flush()
        self.assertIs(self.server.reason.type, DecryptionFailed)

    def test_failing_application(self) -> None:
        class Failing(Application):
            def dataReceived(self, data: bytes) -> None:
                raise KeyError("in the application")

        self.start(server=Failing)
        self.client.transport.write(b"x")
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertIs(self.server.reason.type, KeyError)
        self.assertIs(self.client.reason.type, ConnectionLost)


class FlowTests(StreamTestCase):
    """Who waits for whom."""

    def test_reading_pauses(self) -> None:
        self.start()
        self.server.transport.pauseProducing()
        self.client.transport.write(b"later")
        self.flush()
        self.assertEqual(self.server.received, b"")
        self.assertFalse(self.pair.server_transport.reading)
        self.server.transport.resumeProducing()
        self.flush()
        self.assertEqual(self.server.received, b"later")

    def test_close_behind_a_pause(self) -> None:
        """A paused application that closes is done with what still comes."""
        self.start()
        self.server.transport.pauseProducing()
        self.client.transport.write(b"never")
        self.flush()
        self.server.transport.loseConnection()
        self.server.transport.pauseProducing()
        self.flush()
        self.assertEqual(self.server.received, b"")
        self.assertIs(self.server.reason.type, ConnectionDone)
        self.assertIs(self.client.reason.type, ConnectionDone)

    def test_push_producer(self) -> None:
        self.start()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.pair.server_transport.pauseProducing()
        self.client.transport.write(bytes(3 * CHUNK_SIZE))
        self.assertEqual(producer.calls, ["pause"])
        self.pair.server_transport.resumeProducing()
        self.flush()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_pull_producer(self) -> None:
        self.start()
        transport, asked = self.client.transport, []

        class Pulled(Producer):
            def resumeProducing(self) -> None:
                asked.append(None)
                transport.write(b"piece")
                if len(asked) == 3:
                    transport.unregisterProducer()
                    transport.loseConnection()

        transport.registerProducer(Pulled(), False)
        for _ in range(5):
            self.flush()
        self.assertEqual(self.server.received, b"piece" * 3)
        self.assertIs(self.server.reason.type, ConnectionDone)


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
        self.assertIs(self.server.reason.type, ConnectionDone)

    def test_closed_meanwhile(self) -> None:
        for close in ("close", "abort"):
            self.start()
            getattr(self.server, close)()
            self.assertEqual(self.server.payloads, [b"0"])
            self.assertIs(self.server.reason.type, ConnectionDone)
            self.assertEqual(self.server.factory.connections, set())
