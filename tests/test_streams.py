"""
Streams: an application's protocol on an encrypted transport, in memory.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sodiumtwist import ISodiumTransport, SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint, Timeouts, base
from sodiumtwist.base import CHUNK_SIZE, LINGER
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
from .test_requests import Undecided
from .test_tls import Authority


class Boom(Exception):
    """What a faulty application raises."""


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
    def start(
        self,
        server: Any = Application,
        client: Any = Application,
        passphrase: str = PASSPHRASE,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Connect two applications."""
        self.clock = Clock()
        self.servers, self.clients = Applications(server), Applications(client)
        checker = SingleLogin(LOGIN, PASSPHRASE)
        self.pair = Pair(
            StreamServerFactory(self.servers, SERVER_PAIR, checker, clock=self.clock, timeouts=timeouts),
            StreamClientFactory(
                self.clients,
                SERVER_PAIR.public,
                LOGIN,
                passphrase,
                pair=CLIENT_PAIR,
                clock=self.clock,
                timeouts=timeouts,
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
        for odd in ("text", 5, [1, 2], None):
            self.assertRaises(TypeError, self.client.transport.write, odd)
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
        self.assertEqual(producer.calls, ["pause", "stop"])
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

    def test_pull_producer_that_fails(self) -> None:
        """As over a socket: logged, stopped, and the connection is over."""

        class Failing(Producer):
            def resumeProducing(self) -> None:
                raise Boom()

        self.start()
        producer = Failing()
        self.client.transport.registerProducer(producer, False)
        for _ in range(3):
            self.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        self.assertEqual(producer.calls, ["stop"])
        self.assertIs(self.client.reason.type, Boom)
        self.assertIs(self.server.reason.type, ConnectionLost)

    def test_producer_that_gives_up(self) -> None:
        """One that closes when it is paused, inside of a large write, cuts nothing off."""
        self.start()
        transport = self.server.transport

        class Impatient(Producer):
            def pauseProducing(self) -> None:
                if not self.calls:
                    super().pauseProducing()
                    transport.unregisterProducer()
                    transport.loseConnection()

        transport.registerProducer(Impatient(), True)
        transport.write(bytes(500_000))
        self.flush()
        self.assertEqual(len(self.client.received), 500_000)
        self.assertIs(self.client.reason.type, ConnectionDone)
        self.assertIs(self.server.reason.type, ConnectionDone)

    def test_producer_that_writes_when_paused(self) -> None:
        """That comes behind the write in which it was paused."""
        self.start()
        transport = self.server.transport

        class Talkative(Producer):
            def pauseProducing(self) -> None:
                if not self.calls:
                    transport.write(b"B" * 200_000)
                super().pauseProducing()

        transport.registerProducer(Talkative(), True)
        transport.write(b"A" * 500_000)
        self.flush()
        self.assertTrue(self.client.received == b"A" * 500_000 + b"B" * 200_000)

    def test_echo_without_a_producer(self) -> None:
        """A peer that sends all before it reads gets all back, as over a socket."""

        class Echo(Application):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)

        self.start(server=Echo)
        data = bytes(range(256)) * 40_000
        self.client.transport.pauseProducing()
        self.client.transport.write(data)
        self.flush()
        self.assertEqual(bytes(self.pair.client_transport.out), b"")
        self.client.transport.resumeProducing()
        for _ in range(200):
            self.flush()
        self.assertTrue(self.client.received == data)


class ClosingTests(StreamTestCase):
    """How long closing takes, and what it waits for."""

    def test_slow_peer(self) -> None:
        """One that always takes a little gets all, though that takes longer than it may take nothing."""
        self.start(timeouts=Timeouts(inactivity=30, ping_interval=10_000))
        data = bytes(range(256)) * 10_000
        self.server.transport.write(data)
        self.server.transport.loseConnection()
        self.clock.advance(0)
        while self.pair.step():
            self.clock.advance(8)
            self.assertFalse(self.pair.server_transport.aborting)
        self.assertTrue(self.client.received == data)
        self.assertGreater(self.clock.seconds(), 100)
        self.assertIs(self.client.reason.type, ConnectionDone)
        self.assertIs(self.server.reason.type, ConnectionDone)

    def test_peer_that_takes_nothing(self) -> None:
        """Then it is over when inactivity has lasted as long as it may."""
        self.start()
        self.pair.client_transport.pauseProducing()
        self.server.transport.write(bytes(1_000_000))
        self.server.transport.loseConnection()
        self.clock.advance(0)
        self.clock.advance(179)
        self.assertFalse(self.pair.server_transport.aborting)
        self.clock.advance(1)
        self.assertTrue(self.pair.server_transport.aborting)

    def start_half_closing(self) -> None:
        """The server's end has closed its direction, all is sent, and the client's says nothing."""
        self.start()
        self.half_closed: list[None] = []
        self.patch(base, "half_closes", lambda transport: True)
        self.pair.server_transport.loseWriteConnection = lambda: self.half_closed.append(None)
        self.server.transport.loseConnection()
        self.clock.advance(0)
        self.assertEqual(self.half_closed, [None])

    def test_peer_that_has_paused(self) -> None:
        """With nothing left to send, closing waits a few seconds for the peer's end, and is in order all the same."""
        self.start_half_closing()
        self.clock.advance(LINGER - 0.1)
        transport = self.pair.server_transport
        self.assertFalse(transport.disconnecting or transport.aborting)
        self.clock.advance(0.1)
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.aborting)
        transport.lose(ConnectionDone())
        self.assertIs(self.server.reason.type, ConnectionDone)
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.func.__self__ is self.pair.server], [])

    def test_peer_that_goes_on_sending(self) -> None:
        """What it sends is dropped, for as long as inactivity may last."""
        self.start_half_closing()
        for _ in range(35):
            self.pair.server.dataReceived(b"x" * 1000)
            self.clock.advance(LINGER)
            self.assertFalse(self.pair.server_transport.disconnecting or self.pair.server_transport.aborting)
        for _ in range(2):
            self.pair.server.dataReceived(b"x" * 1000)
            self.clock.advance(LINGER)
        self.assertTrue(self.pair.server_transport.aborting)

    def test_nothing_taken_at_the_end(self) -> None:
        """An answer that its reader did not take before it left is no end in order."""

        class Answering(HalfCloseable):
            def readConnectionLost(self) -> None:
                super().readConnectionLost()
                self.transport.write(bytes(5_000_000))
                self.transport.loseWriteConnection()

        self.start(server=Answering, client=HalfCloseable)
        self.client.transport.loseWriteConnection()
        self.clock.advance(0)
        self.pair.client_transport.pauseProducing()
        self.pair.flush()
        self.pair.server_transport.lose(ConnectionDone())
        self.assertIs(self.server.reason.type, ConnectionLost)

    def test_refused_by_the_application(self) -> None:
        """A server without a protocol for a client, or that fails: the client was let in, and is not told otherwise."""

        class Refusing(Application):
            def connectionMade(self) -> None:
                self.transport.abortConnection()

        class Failing(Application):
            def connectionMade(self) -> None:
                raise Boom()

        for server in (lambda: None, Refusing, Failing):
            self.start(server=server)
            self.flush()
            self.assertIsNone(self.successResultOf(self.ready))
            (client,) = self.clients.built
            self.assertIs(client.reason.type, ConnectionLost)
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)

    def test_garbage_behind_a_greeting(self) -> None:
        """A client that breaks the protocol at once, with much written to it, is dropped, and that is the reason."""

        class Talkative(Application):
            def connectionMade(self) -> None:
                self.transport.write(bytes(400_000))

        clock, checker, servers = Clock(), Undecided(), Applications(Talkative)
        pair = Pair(
            StreamServerFactory(servers, SERVER_PAIR, checker, clock=clock),
            make_client_factory(clock),
        )
        pair.client_transport.out += bytes(29)
        pair.flush()
        checker.deciding.callback(b"")
        pair.flush()
        self.assertIs(servers.built[0].reason.type, DecryptionFailed)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_abort_behind_a_greeting(self) -> None:
        """Aborted at once, a connection delivers its hello, nothing of what the application wrote, and is gone soon."""

        class Aborting(Application):
            def connectionMade(self) -> None:
                self.transport.write(bytes(10_000_000))
                self.transport.abortConnection()

        self.start(server=Aborting)
        self.flush()
        (client,) = self.clients.built
        self.assertLess(len(client.received), 300_000)
        self.assertIs(client.reason.type, ConnectionLost)

    def test_abort_while_closing(self) -> None:
        """A producer that aborts when it is paused for closing has its way."""
        self.start()
        transport = self.server.transport

        class Aborting(Producer):
            def pauseProducing(self) -> None:
                super().pauseProducing()
                if len(self.calls) == 2:
                    transport.abortConnection()

        self.pair.client_transport.pauseProducing()
        producer = Aborting()
        transport.registerProducer(producer, True)
        transport.write(bytes(500_000))
        self.pair.server.close()
        self.assertTrue(self.pair.server_transport.aborting)

    def test_cancelled_while_it_is_built(self) -> None:
        """An application that is built too late is not connected."""

        class Late(Applications):
            def buildProtocol(self, address: Any) -> Any:
                ends[0].abort()
                return super().buildProtocol(address)

        ends: list[Any] = []
        clock, applications = Clock(), Late(Application)
        pair = Pair(
            StreamServerFactory(Applications(), SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=clock),
            StreamClientFactory(applications, SERVER_PAIR.public, LOGIN, PASSPHRASE, clock=clock),
        )
        ends.append(pair.client)
        pair.flush()
        self.assertIsNone(applications.built[0].transport)


class TLSClosingTests(TestCase):
    async def test_blocked_server(self) -> None:
        """Over TLS, too, a server that closes with much to send is done when the client is."""
        authority = Authority("known")
        path = authority.issue(os.path.join(self.mktemp_directory(), "cert"), "localhost")
        with open(path, "rb") as file:
            certificate = PrivateCertificate.loadPEM(file.read())
        lost: Deferred[Any] = Deferred()

        class Sender(Protocol):
            def connectionMade(self) -> None:
                reactor.callLater(0, self.send)  # type: ignore[attr-defined]

            def send(self) -> None:
                self.transport.write(bytes(2_000_000))
                self.transport.loseConnection()

            def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
                lost.callback((reason.type,))

        below = SSL4ServerEndpoint(reactor, 0, certificate.options(), interface="127.0.0.1")
        timeouts = Timeouts(inactivity=30)
        checker = SingleLogin(LOGIN, PASSPHRASE)
        port = await SodiumServerEndpoint(below, SERVER_PAIR, checker, timeouts=timeouts).listen(
            Factory.forProtocol(Sender)
        )
        self.addCleanup(port.stopListening)
        trust = optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(authority.pem()))
        there = wrapClientTLS(trust, TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port))
        client: Any = await connectProtocol(
            SodiumClientEndpoint(there, SERVER_PAIR.public, LOGIN, PASSPHRASE), Application()
        )
        began = reactor.seconds()  # type: ignore[attr-defined]
        (reason,) = await lost
        self.assertLess(reactor.seconds() - began, timeouts.inactivity)  # type: ignore[attr-defined]
        self.assertIs(reason, ConnectionDone)
        self.assertEqual(len(client.received), 2_000_000)

    def mktemp_directory(self) -> str:
        path = self.mktemp()
        os.mkdir(path)
        return path


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
