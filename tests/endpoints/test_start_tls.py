"""
TLS that begins within a stream, as mail does with STARTTLS.
"""

from __future__ import annotations

from io import BytesIO
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, cast

from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IPullProducer,
    ISSLTransport,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.mail.smtp import ESMTP, ESMTPSenderFactory, IMessageDelivery
from twisted.protocols.amp import AMP, Boolean, Command, StartTLS
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, implementer
from zope.interface.verify import verifyObject

from sodiumtwist import InactivityTimeout, ISodiumTransport, SingleLogin
from sodiumtwist.endpoints.streams import StreamClientFactory, StreamServerFactory
from sodiumtwist.protocol.sockets import half_closes
from sodiumtwist.testing import connect_streams

from ..applications import Application, Drainable, HalfCloseable, Producer, StreamTestCase
from ..certificates import Authority, tls_contexts
from ..pair import CLIENT_PAIR, LOGIN, PASSPHRASE, SERVER_PAIR, Boom, Pair
from ..versions import each_version, only, spoken


@implementer(IHandshakeListener)
class Secure(Application):
    """Counts how often TLS has told it that both ends have agreed."""

    handshakes = 0

    def handshakeCompleted(self) -> None:
        self.handshakes += 1


class StartTLSTestCase(StreamTestCase):
    def start_tls(self, normal: bool = True) -> None:
        """Begin with TLS at both ends, in which nothing has been said yet."""
        for_server, for_client = tls_contexts() if normal else tls_contexts()[::-1]
        self.server.transport.startTLS(for_server, normal)
        self.client.transport.startTLS(for_client, normal)
        self.flush()

    def flush(self) -> None:
        # TLS answers in the middle of a read, and what it writes leaves a turn later.
        for _ in range(6):
            super().flush()

    def seen_below(self, application: Application) -> list[bytes]:
        """A list to which all is added that an end writes into its stream from now on."""
        end = self.pair.server if application is self.server else self.pair.client
        seen: list[bytes] = []
        write = end.write_stream

        def note(data: bytes) -> None:
            seen.append(data)
            write(data)

        self.patch(end, "write_stream", note)
        return seen


@each_version
class SwitchTests(StartTLSTestCase):
    """What begins with it."""

    def test_encrypted(self) -> None:
        """Both ways, behind what was written before."""

        class Switching(Secure):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                if data == b"before ":
                    self.transport.startTLS(tls_contexts()[0])

        self.start(server=Switching, client=Secure)
        self.client.transport.write(b"before ")
        seen = self.seen_below(self.client)
        self.flush()
        self.client.transport.startTLS(tls_contexts()[1])
        self.client.transport.write(b"behind")
        self.client.transport.writeSequence([b", in ", b"pieces"])
        self.server.transport.write(b"answer")
        self.flush()
        self.assertEqual((self.server.received, self.client.received), (b"before behind, in pieces", b"answer"))
        self.assertNotIn(b"behind", b"".join(seen))
        self.assertEqual([cast(Secure, end).handshakes for end in (self.server, self.client)], [1, 1])

    def test_roles(self) -> None:
        """With ``normal=False`` the stream's server is the client of TLS."""
        for normal in (True, False):
            self.start()
            self.start_tls(normal)
            knows, is_known = (self.client, self.server) if normal else (self.server, self.client)
            certificate = Certificate.peerFromTransport(knows.transport)
            self.assertIn(b"server.example", certificate.getSubject().commonName)
            self.assertIsNotNone(cast(ISSLTransport, knows.transport).getPeerCertificate())
            self.assertIsNone(cast(ISSLTransport, is_known.transport).getPeerCertificate())

    @only(2)
    def test_drain(self) -> None:
        """An application behind TLS hears of it, too, if it wants to."""
        for make, drains in ((Drainable, 1), (Secure, 0)):
            self.start(client=make)
            self.start_tls()
            self.pair.server.drain()
            self.flush()
            self.assertEqual(getattr(self.client, "drains", 0), drains)
            self.client.transport.write(b"goes on")
            self.flush()
            self.assertEqual(self.server.received, b"goes on")

    def test_what_the_transport_says(self) -> None:
        """It stays the same one, and tells that there is TLS now."""
        self.start()
        transport: Any = self.client.transport
        self.assertEqual((transport.TLS, ISSLTransport.providedBy(transport)), (False, False))
        self.assertTrue(half_closes(transport))
        self.assertFalse(hasattr(transport, "getPeerCertificate") or hasattr(transport, "getHandle"))
        self.start_tls()
        self.assertIs(self.client.transport, transport)
        self.assertEqual((transport.TLS, ISSLTransport.providedBy(transport)), (True, True))
        self.assertFalse(half_closes(transport))
        self.assertIs(transport.protocol, self.client)
        self.assertEqual((transport.connected, transport.disconnecting), (True, False))
        self.assertEqual((transport.peer.public_key, transport.getPeer()), (SERVER_PAIR.public, transport.peer.address))
        self.assertEqual(self.server.transport.peer.public_key, CLIENT_PAIR.public)
        self.assertEqual(self.server.transport.peer.login, LOGIN)
        transport.setTcpNoDelay(True)
        self.assertTrue(self.pair.client_transport.no_delay)
        self.assertIsNone(transport.negotiatedProtocol)

    def test_interface(self) -> None:
        """Protocols that look for it find it where what is below is TCP."""
        self.start()
        self.assertFalse(ITLSTransport.providedBy(self.client.transport))
        below = self.pair.client_transport
        for name in ("getTcpNoDelay", "getTcpKeepAlive", "setTcpKeepAlive"):
            setattr(below, name, lambda *arguments: True)
        directlyProvides(below, ITCPTransport)
        self.pair.client.authenticated()
        verifyObject(ITLSTransport, self.client.transport)

    def test_another_protocol(self) -> None:
        """One that is put in place of the application's gets what TLS has opened."""
        self.start()
        self.start_tls()
        other = Application()
        self.server.transport.protocol = other
        other.makeConnection(self.server.transport)
        self.client.transport.write(b"for the other")
        self.flush()
        self.assertEqual((self.server.received, other.received), (b"", b"for the other"))
        self.client.transport.loseConnection()
        self.flush()
        self.assertEqual((self.server.why, other.why), (None, ConnectionDone))

    def test_bad_context(self) -> None:
        """What it raises is raised, and nothing has changed."""

        @implementer(IOpenSSLClientConnectionCreator)
        class Broken:
            def clientConnectionForTLS(self, protocol: object) -> NoReturn:
                raise Boom("no such certificate")

        self.start()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.assertRaises(Boom, self.client.transport.startTLS, Broken())
        self.client.transport.write(b"still plain")
        self.flush()
        self.assertEqual(self.server.received, b"still plain")
        self.assertFalse(ISSLTransport.providedBy(self.client.transport))
        self.client.transport.loseConnection()
        self.client.transport.unregisterProducer()
        self.flush()
        self.assertIs(self.server.why, ConnectionDone)

    def test_too_late(self) -> None:
        """After the application has closed, and when the connection is gone, it does nothing, like a write."""
        self.start()
        self.client.transport.loseConnection()
        self.client.transport.startTLS(tls_contexts()[1])
        self.flush()
        self.server.transport.startTLS(tls_contexts()[0])
        self.assertEqual((self.client.why, self.server.why), (ConnectionDone, ConnectionDone))

    def test_only_bytes(self) -> None:
        self.start()
        self.start_tls()
        self.assertRaises(TypeError, self.client.transport.write, "text")
        self.client.transport.write(bytearray(b"mutable"))  # type: ignore[arg-type]  # more than is promised
        self.flush()
        self.assertEqual(self.server.received, b"mutable")

    def test_within_itself(self) -> None:
        """TLS within TLS is as good as one."""
        self.start()
        self.start_tls()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.start_tls()
        self.client.transport.write(bytes(300_000))
        self.clock.advance(0)
        self.flush()
        self.assertEqual(producer.calls[-2:], ["pause", "resume"])
        self.client.transport.unregisterProducer()
        self.server.received = b""
        self.client.transport.write(b"deep")
        self.server.transport.write(b"below")
        self.flush()
        self.assertEqual((self.server.received, self.client.received), (b"deep", b"below"))
        self.client.transport.loseConnection()
        self.flush()
        self.assertEqual((self.client.why, self.server.why), (ConnectionDone, ConnectionDone))


@each_version
class EndTests(StartTLSTestCase):
    """How it ends."""

    def test_in_order(self) -> None:
        """Each end's last words arrive, whichever closes."""
        for closes_first in ("client", "server"):
            self.start()
            self.start_tls()
            first = getattr(self, closes_first)
            first.transport.write(bytes(300_000))
            first.transport.loseConnection()
            self.assertTrue(first.transport.disconnecting)
            first.transport.write(b"too late")
            self.flush()
            self.assertEqual((self.client.why, self.server.why), (ConnectionDone, ConnectionDone))
            self.assertEqual(len(self.client.received + self.server.received), 300_000)

    def test_words_in_the_handshake(self) -> None:
        """What is written and closed at once waits for the handshake, and goes out."""
        self.start()
        for_server, for_client = tls_contexts()
        self.client.transport.startTLS(for_client)
        self.client.transport.write(b"last words")
        self.client.transport.loseConnection()
        self.server.transport.startTLS(for_server)
        self.flush()
        self.assertEqual(self.server.received, b"last words")
        self.assertEqual((self.client.why, self.server.why), (ConnectionDone, ConnectionDone))

    def test_nothing_after_closing(self) -> None:
        """As without TLS, an application that has closed gets nothing."""
        self.start()
        self.start_tls()
        self.server.transport.write(b"on its way")
        self.client.transport.loseConnection()
        self.flush()
        self.assertEqual((self.client.received, self.client.why), (b"", ConnectionDone))

    def test_half_close(self) -> None:
        """TLS ends both directions; until the other end has answered, what it sends is taken."""
        self.start(client=HalfCloseable)
        self.assertTrue(IHalfCloseableProtocol.providedBy(self.client))
        self.start_tls()
        self.server.transport.write(b"on its way")
        self.client.transport.write(b"all")
        self.client.transport.loseWriteConnection()
        self.flush()
        self.assertEqual((self.server.received, self.client.received), (b"all", b"on its way"))
        self.assertEqual((self.client.why, self.server.why), (ConnectionDone, ConnectionDone))

    def test_cut(self) -> None:
        """A stream that ends in order, where TLS within it did not, was cut: its end may be a lie of who stands
        between."""
        self.start()
        self.start_tls()
        self.pair.client.end_stream()
        self.pair.client.close()
        self.flush()
        self.assertIs(self.server.why, ConnectionLost)

    def test_abort(self) -> None:
        self.start()
        self.start_tls()
        self.client.transport.write(b"dropped")
        self.client.transport.abortConnection()
        self.flush()
        self.assertEqual((self.client.why, self.server.why), (ConnectionAborted, ConnectionLost))
        self.assertEqual(self.server.received, b"")

    def test_break(self) -> None:
        """What was written arrives, and the end shows that it was none."""
        self.start()
        self.start_tls()
        self.client.transport.write(b"so far")
        self.client.transport.breakConnection()
        self.flush()
        self.assertEqual((self.server.received, self.server.why), (b"so far", ConnectionLost))

    def test_consumer_gone(self) -> None:
        """``stopProducing`` comes to that, unless the application closes in this turn."""
        for closes, why in ((True, ConnectionDone), (False, ConnectionLost)):
            self.start()
            self.start_tls()
            self.client.transport.stopProducing()
            if closes:
                self.client.transport.loseConnection()
            self.flush()
            self.assertIs(self.server.why, why)
            self.assertEqual(self.client.why is ConnectionDone, closes)

    def test_reason_travels(self) -> None:
        """Why the stream was lost is what the application hears, not that TLS was cut."""
        self.start()
        self.start_tls()
        self.pair.client.abort(InactivityTimeout("nothing came"))
        self.flush()
        self.assertEqual((self.client.why, self.server.why), (InactivityTimeout, ConnectionLost))

    def test_refused_certificate(self) -> None:
        """A certificate for another name: the application hears why."""
        self.start()
        for_server, for_client = tls_contexts("other.example")
        self.server.transport.startTLS(for_server)
        self.client.transport.startTLS(for_client)
        self.flush()
        self.assertIs(self.client.why, VerificationError)
        self.assertIs(self.server.why, ConnectionLost)

    def test_garbage(self) -> None:
        """What is no TLS ends it at both ends."""
        self.start()
        self.server.transport.startTLS(tls_contexts()[0])
        self.client.transport.write(b"this is no TLS" * 100)
        self.flush()
        self.assertIs(self.server.why, TLSError)
        self.assertIsNotNone(self.client.why)

    def fail_with_producers(self) -> Producer:
        """Let both ends produce, and TLS fail: the client does not know who has signed the server's certificate."""

        class Last(Producer, Application):
            """The client's application and its producer: it notes when it is over, too."""

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                super().connectionLost(reason)
                self.calls.append("over")

            def __init__(self) -> None:
                Producer.__init__(self)
                Application.__init__(self)

        self.start(client=Last)
        assert isinstance(self.client, Last)
        self.server.transport.registerProducer(Producer(), True)
        self.client.transport.registerProducer(self.client, True)
        self.server.transport.startTLS(tls_contexts()[0])
        self.client.transport.startTLS(optionsForClientTLS("server.example"))
        return self.client

    def until_tls_fails(self) -> None:
        """Go on until the client's TLS has closed its transport, and not further."""
        while not self.pair.client._stream.disconnecting:
            if not self.pair.step():
                self.clock.advance(0)

    def test_failed_with_producers(self) -> None:
        """Where TLS has failed nothing of a producer is sent any more, so neither end waits for one."""
        client = self.fail_with_producers()
        self.flush()
        self.assertEqual((self.client.why, self.server.why), (TLSError, TLSError))
        self.assertEqual(client.calls, ["stop", "over"])

    def test_failed_and_lost(self) -> None:
        """A producer is stopped before the application hears of the end, also where that comes in the same turn."""
        client = self.fail_with_producers()
        self.until_tls_fails()
        self.pair.client_transport.lose(ConnectionLost())
        self.flush()
        self.assertEqual(client.calls, ["stop", "over"])

    def test_refused_producer(self) -> None:
        """One that came too late was stopped for that, and is not once more."""
        producer = Producer()

        class Late(Application):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                end.close()
                self.transport.registerProducer(producer, True)

        self.start(client=Late)
        end = self.pair.client
        self.start_tls()
        self.server.transport.write(b"with the end of TLS behind it")
        self.server.transport.loseConnection()
        self.flush()
        self.assertIsNotNone(self.client.why)
        self.assertEqual(producer.calls, ["stop"])

    def test_failed_and_unregistered(self) -> None:
        """A producer that is done by then is not stopped."""
        client = self.fail_with_producers()
        self.until_tls_fails()
        self.client.transport.unregisterProducer()
        self.flush()
        self.assertEqual(client.calls, ["over"])

    def test_held_back(self) -> None:
        """What came before the end is delivered, through TLS, when an application that has paused goes on."""
        self.start()
        self.start_tls()
        self.server.transport.pauseProducing()
        self.client.transport.write(b"while it paused")
        self.client.transport.loseConnection()
        self.flush()
        self.assertEqual((self.server.received, self.server.why), (b"", None))
        self.server.transport.resumeProducing()
        self.flush()
        self.assertEqual((self.server.received, self.server.why), (b"while it paused", ConnectionDone))

    def test_closed_while_held_back(self) -> None:
        """An application that has paused closes in the middle of the handshake, when the other end has left."""
        self.start()
        self.server.transport.startTLS(tls_contexts()[0])
        self.server.transport.pauseProducing()
        self.client.transport.write(b"x")
        self.client.transport.loseConnection()
        self.flush()
        self.server.transport.loseConnection()
        self.flush()
        self.assertIsNotNone(self.server.why)


@each_version
class FlowTests(StartTLSTestCase):
    """Producers, and who pauses."""

    def fill(self) -> None:
        """Write until the client's transport takes no more."""
        self.client.transport.write(bytes(300_000))
        self.clock.advance(0)

    def test_producer_goes_along(self) -> None:
        """One that was registered before is paused by TLS, and resumed."""
        self.start()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.start_tls()
        self.assertRaises(RuntimeError, self.client.transport.registerProducer, Producer(), True)
        self.assertRaises(RuntimeError, self.client.transport.registerProducer, Producer(), False)
        producer.calls.clear()
        self.fill()
        self.assertEqual(producer.calls, ["pause"])
        self.flush()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.client.transport.loseConnection()
        self.flush()
        self.assertIsNone(self.server.why)
        self.client.transport.write(b"the last of it")
        self.client.transport.unregisterProducer()
        self.flush()
        self.assertTrue(self.server.received.endswith(b"the last of it"))
        self.assertEqual((self.client.why, self.server.why), (ConnectionDone, ConnectionDone))

    def test_paused_producer_goes_along(self) -> None:
        """One that is paused when TLS begins is resumed as soon as there is room."""
        self.start()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.fill()
        self.client.transport.startTLS(tls_contexts()[1])
        self.assertEqual((producer.calls[0], producer.calls[-1]), ("pause", "pause"))
        self.pair.flush()
        self.server.transport.startTLS(tls_contexts()[0])
        self.flush()
        self.assertEqual(producer.calls[-1], "resume")

    def test_pulled(self) -> None:
        """A pull producer, registered before or behind, is asked by the clock of the connection, as far as the other
        end takes it."""

        @implementer(IPullProducer)
        class Pulled:
            left = 40

            def __init__(self, consumer: ISodiumTransport) -> None:
                self.consumer = consumer

            def resumeProducing(self) -> None:
                self.consumer.write(bytes(10_000))
                self.left -= 1
                if not self.left:
                    self.consumer.unregisterProducer()

            def stopProducing(self) -> None:
                raise AssertionError("nothing stops it")

        for before in (True, False):
            self.start()
            if before:
                self.client.transport.registerProducer(Pulled(self.client.transport), False)
            self.start_tls()
            if not before:
                self.client.transport.registerProducer(Pulled(self.client.transport), False)
            self.client.transport.loseConnection()
            for _ in range(100):
                self.clock.advance(0)
            self.assertLess(len(self.pair.client_transport.out), 200_000)
            for _ in range(20):
                self.flush()
            self.assertEqual((len(self.server.received), self.server.why), (400_000, ConnectionDone))

    def test_failing_producer(self) -> None:
        """What it raises ends the connection, as without TLS."""

        class Failing(Producer):
            def resumeProducing(self) -> None:
                raise Boom("no more of that")

        self.start()
        self.start_tls()
        self.client.transport.registerProducer(Failing(), False)
        self.flush()
        self.assertIs(self.client.why, Boom)
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)

    def test_stopped_when_lost(self) -> None:
        self.start()
        self.start_tls()
        producer, late = Producer(), Producer()
        self.client.transport.registerProducer(producer, True)
        self.server.transport.abortConnection()
        self.flush()
        self.assertEqual(producer.calls[-1], "stop")
        transport: Any = self.client.transport
        self.assertEqual((transport.producer, transport.connected, transport.disconnecting), (None, False, True))
        self.client.transport.registerProducer(late, True)
        self.assertEqual(late.calls, ["stop"])

    def test_pause(self) -> None:
        """An application that has paused gets nothing until it goes on."""
        self.start()
        self.start_tls()
        self.server.transport.pauseProducing()
        self.client.transport.write(b"waits")
        self.flush()
        self.assertEqual(self.server.received, b"")
        self.server.transport.resumeProducing()
        self.flush()
        self.assertEqual(self.server.received, b"waits")


class Ask(Command):
    arguments = [(b"secure", Boolean())]
    response = [(b"secure", Boolean())]


@each_version
class AMPTests(SynchronousTestCase):
    """AMP's ``StartTLS``, as it is."""

    def test_amp(self) -> None:
        """It checks the certificates of both ends, and goes on within TLS."""
        authority = Authority("known")
        trusted = Certificate.loadPEM(authority.pem())
        with TemporaryDirectory() as directory, open(authority.issue(f"{directory}/pem", "peer.example")) as file:
            own = PrivateCertificate.loadPEM(file.read())

        class Server(AMP):
            @StartTLS.responder
            def start(self) -> dict[str, Any]:
                return {"tls_localCertificate": own, "tls_verifyAuthorities": [trusted]}

            @Ask.responder
            def ask(self, secure: bool) -> dict[str, bool]:
                return {"secure": secure and ISSLTransport.providedBy(self.transport)}

        pair = connect_streams(Factory.forProtocol(Server), Factory.forProtocol(AMP))
        started = pair.client.callRemote(StartTLS, tls_localCertificate=own, tls_verifyAuthorities=[trusted])
        pair.flush()
        self.successResultOf(started)
        asked = pair.client.callRemote(Ask, secure=True)
        pair.flush()
        self.assertEqual(self.successResultOf(asked), {"secure": True})
        for end in (pair.client, pair.server):
            self.assertEqual(end.peerCertificate.getSubject().commonName, b"peer.example")
        pair.client.transport.loseConnection()
        pair.flush()


@implementer(IMessageDelivery)
class Delivery:
    """
    Takes every mail.

    :ivar lines: of the mail.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        return b"Received: in a test"

    def validateFrom(self, helo: object, origin: object) -> object:
        return origin

    def validateTo(self, user: object) -> Any:
        return lambda: self

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        return succeed(None)


class SMTPTests(StartTLSTestCase):
    """STARTTLS of Twisted's mail, as it is: it looks for the interface, so what is below is TCP here."""

    def test_mail(self) -> None:
        delivery = Delivery()
        server = ESMTP()
        server.ctx, server.delivery, server.host = tls_contexts()[0], delivery, "server.example"
        sent: Deferred[Any] = Deferred()
        client = ESMTPSenderFactory(
            None, None, "a@client.example", "b@server.example", BytesIO(b"Hello.\n"), sent,
            contextFactory=tls_contexts()[1], requireTransportSecurity=True, requireAuthentication=False,
        )  # fmt: skip
        self.clock = Clock()
        checker = SingleLogin(LOGIN, PASSPHRASE)
        self.pair = Pair(
            StreamServerFactory(Factory.forProtocol(lambda: server), SERVER_PAIR, checker, clock=self.clock),
            StreamClientFactory(client, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken(), clock=self.clock),
        )
        for transport in (self.pair.server_transport, self.pair.client_transport):
            directlyProvides(transport, ITCPTransport)
        for _ in range(4):
            self.flush()
        self.successResultOf(sent)
        self.assertTrue(server.startedTLS)
        self.assertIn(b"Hello.", delivery.lines)
