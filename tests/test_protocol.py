"""
The protocol on Twisted: each side alone on a transport of strings, both in memory, both over sockets.
"""

from __future__ import annotations

import datetime
import io
import os
import random
import tempfile
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nacl import bindings
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IProtocol, IPushProducer
from twisted.internet.ssl import PrivateCertificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver, StringTransportWithDisconnection
from twisted.logger import eventAsJSON, eventAsText, formatEvent, globalLogPublisher
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sodiumtwist import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    InactivityTimeout,
    InvalidKey,
    KeyPair,
    LocalProtocolError,
    MalformedPDU,
    NonceMismatch,
    PayloadTooLarge,
    PongTimeout,
    SingleLogin,
    SodiumClientFactory,
    SodiumServerFactory,
    SodiumServerProtocol,
    Timeouts,
    UnexpectedPDU,
    WindowExceeded,
)
from sodiumtwist.base import CORK_LIMIT, PONG_LIMIT
from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.events import AuthenticationRequested, DataReceived, PingReceived, PongReceived
from sodiumtwist.core.handshake import answer_client_auth, open_client_auth
from sodiumtwist.core.wire import ClientAuth, pack_client_auth

from .pair import (
    BUFFER_SIZE,
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    EchoServer,
    MemoryTransport,
    Pair,
    RecordingClient,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)

#: A DATA on the wire is this much longer than its payload; a PING or PONG is as long as said.
OVERHEAD = 46
PING_SIZE = 62
CLIENT_AUTH_SIZE = 400
SERVER_HELO_SIZE = 236


class Boom(Exception):
    """What a faulty application raises."""


class Transport(StringTransportWithDisconnection):
    """
    A transport of strings.

    :ivar writes: the size of each write.
    :ivar orderly: whether ``loseConnection`` ends it at once, as it does where nothing is left to write.
    """

    def __init__(self, protocol: Any, orderly: bool = True) -> None:
        super().__init__()
        self.protocol = protocol
        self.orderly = orderly
        self.writes: list[int] = []

    def write(self, data: bytes) -> None:
        if not self.connected or self.disconnecting:
            raise AssertionError("written after it was closed")
        self.writes.append(len(data))
        super().write(data)

    def loseConnection(self) -> None:
        if self.orderly or self.disconnected:
            super().loseConnection()
        else:
            self.disconnecting = True

    def lose(self, reason: Exception) -> None:
        """The connection ends, and not by our side."""
        self.connected = False
        self.protocol.connectionLost(Failure(reason))


@implementer(ICredentialsChecker)
class LateChecker:
    """
    Decides when the test says so.

    :ivar asked: the credentials, one for each question.
    :ivar answers: the Deferreds to fire.
    :ivar cancelled: those that were cancelled.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: list[Deferred[Any]] = []
        self.cancelled: list[Deferred[Any]] = []

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        self.asked.append(credentials)
        answer: Deferred[Any] = Deferred(self.cancelled.append)
        self.answers.append(answer)
        return answer


@implementer(ICredentialsChecker)
class AnyChecker:
    """Does what a function does."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, decide: Any) -> None:
        self.requestAvatarId = decide


def wide(**arguments: Any) -> Timeouts:
    """Deadlines with as many PINGs under way as the test likes."""
    return Timeouts(**{"outstanding_pongs": 100_000, **arguments})


class AloneTestCase(SynchronousTestCase):
    """
    One side on a transport of strings, and the core of the other side in the test's hands.

    :ivar protocol: the side under test.
    :ivar peer: the other one.
    """

    protocol: Any
    peer: Any

    def _connect(self, factory: Any, orderly: bool) -> None:
        self.factory = factory
        self.factory.wall_clock = lambda: 1_000_000_000_000_000_007
        self.protocol = factory.buildProtocol(None)
        self.transport = Transport(self.protocol, orderly)
        self.protocol.makeConnection(self.transport)

    def start_server(
        self, protocol: Any = RecordingServer, checker: Any = None, orderly: bool = True, **arguments: Any
    ) -> None:
        """Connect a server's side; nothing was received."""
        self.clock = Clock()
        self._connect(make_server_factory(self.clock, protocol, checker, **arguments), orderly)
        self.peer = ClientConnection(SERVER_PAIR.public, LOGIN, PASSPHRASE, 0, CLIENT_PAIR, wide())

    def open_server(self, *arguments: Any, **more: Any) -> None:
        """Connect and authenticate a server's side."""
        self.start_server(*arguments, **more)
        self.feed(self.peer.initiate())
        self.assertTrue(self.protocol.is_authenticated)
        self.read()

    def start_client(self, protocol: Any = RecordingClient, orderly: bool = True, **arguments: Any) -> None:
        """Connect a client's side; its CLIENT_AUTH was received."""
        self.clock = Clock()
        self._connect(make_client_factory(self.clock, protocol, **arguments), orderly)
        self.peer = ServerConnection(SERVER_PAIR, 0, wide())
        (event,) = self.read()
        self.assertIsInstance(event, AuthenticationRequested)

    def open_client(self, *arguments: Any, **more: Any) -> None:
        """Connect and authenticate a client's side."""
        self.start_client(*arguments, **more)
        self.feed(self.peer.accept(0))
        self.assertTrue(self.protocol.is_authenticated)

    def feed(self, *pieces: bytes) -> None:
        """Have them received in one read."""
        self.protocol.dataReceived(b"".join(pieces))

    def read(self) -> list[Any]:
        """What the other side sees in the bytes written since the last call."""
        written = self.transport.value()
        self.transport.clear()
        self.transport.writes.clear()
        return list(self.peer.receive_data(written, self.clock.seconds()))

    def read_types(self) -> list[str]:
        return [type(event).__name__ for event in self.read()]

    def peer_data(self, *payloads: bytes) -> bytes:
        return b"".join(map(self.peer.send_data, payloads))

    def peer_ping(self, count: int = 1) -> bytes:
        return b"".join(self.peer.send_ping(self.clock.seconds(), 0) for _ in range(count))

    def fill(self) -> None:
        """The transport's buffer is full."""
        self.transport.producer.pauseProducing()

    def fill_with_each_write(self) -> None:
        """From now on each write fills the transport's buffer."""
        write = self.transport.write

        def write_and_fill(data: bytes) -> None:
            write(data)
            self.fill()

        self.patch(self.transport, "write", write_and_fill)

    def drain(self) -> None:
        """The transport's buffer is empty."""
        self.transport.producer.resumeProducing()

    def assert_lost(self, error: Any) -> Failure:
        """It is over for this reason, and no delayed call is left behind."""
        reason = self.protocol.reason
        self.assertIsNotNone(reason, "the connection is up")
        self.assertIs(reason.type, error, reason)
        self.assertFalse(self.protocol.is_authenticated)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return reason  # type: ignore[no-any-return]

    def assert_up(self) -> None:
        self.assertIsNone(self.protocol.reason)
        self.assertTrue(self.transport.connected)
        self.assertFalse(self.transport.disconnecting)


class FactoryTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        clock = Clock()
        pair = Pair.make(clock=clock)
        for protocol in (pair.server, pair.client):
            self.assertTrue(verifyObject(IProtocol, protocol))
            self.assertTrue(verifyObject(IConsumer, protocol))
            self.assertTrue(verifyObject(IPushProducer, protocol))

    def test_protocol_as_argument_and_attribute(self) -> None:
        """Either a class or anything that makes one, and ``buildProtocol`` gives it its factory."""
        by_argument = make_server_factory(Clock(), EchoServer)
        self.assertIsInstance(by_argument.buildProtocol(None), EchoServer)
        by_attribute = make_client_factory(Clock(), None)
        made = RecordingClient()
        by_attribute.protocol = lambda: made
        self.assertIs(by_attribute.buildProtocol(None), made)
        self.assertIs(made.factory, by_attribute)

    def test_plain_protocols_by_default(self) -> None:
        """Without a protocol of one's own a factory makes ends whose hooks do nothing."""
        pair = Pair(make_server_factory(Clock(), None), make_client_factory(Clock(), None))
        pair.flush()
        pair.client.send_data(b"unheard")
        pair.flush()
        self.assertTrue(pair.server.is_authenticated)
        pair.client.close()
        pair.flush()
        self.assertFalse(pair.server.is_authenticated)

    def test_clock_of_the_global_reactor(self) -> None:
        self.assertIs(SodiumServerFactory(SERVER_PAIR, SingleLogin("", "")).clock, reactor)
        self.assertIs(SodiumClientFactory(SERVER_PAIR.public, "", "").clock, reactor)

    def test_wrong_arguments(self) -> None:
        """They are refused when the factory is made, not at the first connection."""
        checker = SingleLogin(LOGIN, PASSPHRASE)
        for message in ("m" * 129, "a\0b"):
            self.assertRaises(LocalProtocolError, SodiumServerFactory, SERVER_PAIR, checker, message=message)
        for key in (b"", bytes(31), bytes(32)):
            self.assertRaises(InvalidKey, SodiumClientFactory, key, LOGIN, PASSPHRASE)
        key = SERVER_PAIR.public
        self.assertRaises(LocalProtocolError, SodiumClientFactory, key, "l" * 129, PASSPHRASE)
        error = self.assertRaises(LocalProtocolError, SodiumClientFactory, key, LOGIN, PASSPHRASE + "\0")
        self.assertNotIn(PASSPHRASE, str(error))

    def test_fresh_keys_for_each_connection(self) -> None:
        """A client without a pair of its own is someone else each time."""
        clock = Clock()
        factory = make_client_factory(clock, pair=None)
        keys = set()
        for _ in range(3):
            pair = Pair(make_server_factory(clock), factory)
            pair.flush()
            keys.add(pair.server.peer.public_key)
        self.assertEqual(len(keys), 3)

    def test_connections(self) -> None:
        """A server's factory knows those that are up, authenticated or not."""
        factory = make_server_factory(Clock())
        first = Pair(factory, make_client_factory(Clock()))
        second = Pair(factory, make_client_factory(Clock(), passphrase="wrong"))
        self.assertEqual(factory.connections, {first.server, second.server})
        first.flush()
        second.flush()
        self.assertEqual(factory.connections, {first.server})
        first.client.close()
        first.flush()
        self.assertEqual(factory.connections, set())


class SessionTests(SynchronousTestCase):
    def test_whole_session(self) -> None:
        """The hooks of both sides in order, with what they are told."""
        seen: list[Any] = []

        class Server(EchoServer):
            def authenticated(self) -> None:
                super().authenticated()
                seen.append((self.peer.login, self.peer.public_key, self.is_authenticated))

        class Client(RecordingClient):
            def authenticated(self) -> None:
                super().authenticated()
                seen.append((self.message, self.is_authenticated))

        clock = Clock()
        pair = Pair(
            make_server_factory(clock, Server, message="Gr\u00fc\u00df Gott."),
            make_client_factory(clock, Client, pair=CLIENT_PAIR),
        )
        self.assertEqual((pair.server.peer, pair.client.peer, pair.client.message), (None, None, None))
        self.assertFalse(pair.server.is_authenticated or pair.client.is_authenticated)
        pair.flush()
        self.assertEqual(seen, [(LOGIN, CLIENT_PAIR.public, True), ("Gr\u00fc\u00df Gott.", True)])
        payloads = [b"one", b"", b"three", bytes(131070)]
        for payload in payloads:
            pair.client.send_data(payload)
        pair.flush()
        pair.client.close()
        pair.flush()
        self.assertEqual(pair.server.calls[:-1], ["authenticated", *payloads])
        self.assertEqual(pair.client.calls[:-1], ["authenticated", *payloads])
        self.assertIs(pair.server.reason.type, ConnectionDone)
        self.assertIs(pair.client.reason.type, ConnectionDone)
        self.assertFalse(pair.server.is_authenticated or pair.client.is_authenticated)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_server_closes(self) -> None:
        clock = Clock()
        pair = Pair.make(clock=clock)
        pair.flush()
        pair.server.send_data(b"last words")
        pair.server.close()
        pair.flush()
        self.assertEqual(pair.client.payloads, [b"last words"])
        self.assertIs(pair.client.reason.type, ConnectionDone)
        self.assertIs(pair.server.reason.type, ConnectionDone)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_no_delay(self) -> None:
        pair = Pair.make()
        self.assertIs(pair.server_transport.no_delay, True)
        self.assertIs(pair.client_transport.no_delay, True)

    def test_read_size(self) -> None:
        """A transport that reads in pieces of a size reads in pieces of ours."""
        transport = StringTransportWithDisconnection()
        transport.bufferSize = 65536
        make_client_factory(Clock()).buildProtocol(None).makeConnection(transport)
        self.assertEqual(transport.bufferSize, BUFFER_SIZE)

    def test_transport_without_no_delay(self) -> None:
        """One that has no such method, or, as UNIX sockets of older Twisted, one that fails."""

        class Unable(MemoryTransport):
            def setTcpNoDelay(self, enabled: bool) -> None:
                raise OSError(95, "Operation not supported")

        for transport_class in (StringTransportWithDisconnection, Unable):
            client: Any = make_client_factory(Clock()).buildProtocol(None)
            transport = transport_class(client) if transport_class is Unable else transport_class()
            client.makeConnection(transport)
            written = transport.out if transport_class is Unable else transport.value()
            self.assertEqual(len(written), CLIENT_AUTH_SIZE)

    def test_any_buffer(self) -> None:
        pair = Pair.make()
        pair.flush()
        pair.client.send_data(bytearray(b"mutable"))
        pair.client.send_data(memoryview(b"a view")[2:])
        pair.client.write(bytearray(b"written"))
        pair.flush()
        self.assertEqual(pair.server.payloads, [b"mutable", b"view", b"written"])

    def test_write_splits(self) -> None:
        """300000 bytes are two DATA of the largest size, and the rest."""
        pair = Pair.make()
        pair.flush()
        data = random.Random(1).randbytes(300_000)
        pair.client.write(data)
        pair.client.write(b"")
        pair.flush()
        self.assertEqual(list(map(len, pair.server.payloads)), [130954, 130954, 38092])
        self.assertEqual(b"".join(pair.server.payloads), data)

    def test_cut_anywhere(self) -> None:
        """Byte by byte, at random, or whole: the hooks are the same."""
        draw = random.Random(2)

        def session(read_size: Any) -> tuple[Any, Any]:
            clock = Clock()
            pair = Pair.make(EchoServer, RecordingClient, clock, read_size=read_size)
            pair.client.send_data(b"early")
            pair.flush()
            pongs: list[float] = []
            for payload in (b"", b"x", b"0123456789" * 100):
                pair.client.send_data(payload)
                pair.client.ping().addCallback(pongs.append)
                pair.server.send_data(payload)
            pair.flush()
            pair.server.close()
            pair.flush()
            self.assertEqual(pongs, [0, 0, 0])
            self.assertEqual(clock.getDelayedCalls(), [])
            # The reasons are compared by type: no two Failures are equal.
            return tuple([*end.calls[:-1], end.reason.type] for end in (pair.server, pair.client))  # type: ignore[return-value]

        whole = session(lambda: BUFFER_SIZE)
        self.assertEqual(whole[0][:-1], ["authenticated", b"early", b"", b"x", b"0123456789" * 100])
        self.assertEqual(session(lambda: 1), whole)
        for _ in range(10):
            self.assertEqual(session(lambda: draw.choice((1, 2, 28, 29, 30, 46, 399, 1000))), whole)

    def test_early_data(self) -> None:
        """A client may send right behind its CLIENT_AUTH, before it was let in."""

        class Client(RecordingClient):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.send_data(b"early")
                self.early = self.is_authenticated

        pair = Pair.make(EchoServer, Client)
        self.assertFalse(pair.client.early)
        self.assertEqual(pair.client_transport.writes, [CLIENT_AUTH_SIZE, 5 + OVERHEAD])
        pair.flush()
        self.assertEqual(pair.server.calls, ["authenticated", b"early"])
        self.assertEqual(pair.client.calls, ["authenticated", b"early"])

    def test_early_ping(self) -> None:
        pair = Pair.make()
        latency = pair.client.ping()
        self.assertNoResult(latency)
        pair.flush()
        self.assertEqual(self.successResultOf(latency), 0)

    def test_server_sends_first(self) -> None:
        class Server(RecordingServer):
            def authenticated(self) -> None:
                self.send_data(b"hello")

        pair = Pair.make(Server)
        pair.flush()
        self.assertEqual(pair.client.calls, ["authenticated", b"hello"])

    def test_server_cannot_send_early(self) -> None:
        pair = Pair.make()
        self.assertRaises(LocalProtocolError, pair.server.send_data, b"x")
        self.failureResultOf(pair.server.ping(), LocalProtocolError)
        self.assertEqual(pair.server_transport.writes, [])
        pair.flush()
        pair.server.send_data(b"x")
        pair.flush()
        self.assertEqual(pair.client.payloads, [b"x"])

    def test_nothing_can_be_sent_before_a_connection(self) -> None:
        client = make_client_factory(Clock()).buildProtocol(None)
        self.assertRaises(LocalProtocolError, client.send_data, b"x")
        self.failureResultOf(client.ping(), LocalProtocolError)

    def test_payload_too_large(self) -> None:
        """It is the caller's error: the connection stays, and the stream with it."""
        pair = Pair.make()
        pair.flush()
        error = self.assertRaises(PayloadTooLarge, pair.client.send_data, b"Z" * 131071)
        self.assertIn("131071", str(error))
        self.assertNotIn("ZZ", str(error))
        pair.client.send_data(bytes(131070))
        pair.flush()
        self.assertEqual(list(map(len, pair.server.payloads)), [131070])
        self.assertIsNone(pair.server.reason)


class RefusalTests(SynchronousTestCase):
    """Connections that do not come about."""

    def refuse(self, **arguments: Any) -> Pair:
        clock = Clock()
        pair = Pair(make_server_factory(clock), make_client_factory(clock, **arguments))
        pair.flush()
        self.assertTrue(pair.server_transport.disconnected and pair.client_transport.disconnected)
        self.assertEqual(pair.server_transport.writes, [])
        self.assertEqual((len(pair.server.calls), len(pair.client.calls)), (1, 1))
        self.assertEqual(clock.getDelayedCalls(), [])
        return pair

    def test_wrong_passphrase(self) -> None:
        """Both sides are told, and nobody hears of a passphrase."""
        pair = self.refuse(passphrase="hunter2")
        self.assertIs(pair.server.reason.type, AuthenticationFailed)
        self.assertIs(pair.client.reason.type, AuthenticationFailed)
        self.assertEqual(pair.server.reason.getErrorMessage(), "login or passphrase is wrong")
        for reason in (pair.server.reason, pair.client.reason):
            for text in (str(reason), repr(reason.value), reason.getTraceback(detail="verbose")):
                self.assertNotIn("hunter2", text)
                self.assertNotIn(PASSPHRASE, text)
        self.assertIn("passphrase", pair.client.reason.getErrorMessage())

    def test_wrong_login(self) -> None:
        """What a terminal or a reader of the log would take for something else is escaped."""
        events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        pair = self.refuse(login="nob\nody\x1b[2J\u2028\u202e")
        (line,) = [formatEvent(event) for event in events if "refused" in (event.get("log_format") or "")]
        self.assertTrue(line.isprintable())
        self.assertIn(r"as 'nob\nody\x1b[2J\u2028\u202e': login or passphrase is wrong", line)
        self.assertIs(pair.server.reason.type, AuthenticationFailed)
        self.assertIs(pair.client.reason.type, AuthenticationFailed)
        self.assertIsNone(pair.server.peer)

    def test_wrong_server_key(self) -> None:
        """Nothing is to be seen before the time for authentication is over."""
        clock = Clock()
        pair = Pair(
            make_server_factory(clock),
            make_client_factory(clock, server_key=KeyPair.generate().public, timeouts=Timeouts(authentication=60)),
        )
        pair.client.write(bytes(500_000))
        pair.flush()
        self.assertEqual((pair.server.calls, pair.client.calls), ([], []))
        self.assertEqual(pair.server_transport.received, 400 + 500_000 + 4 * OVERHEAD)
        self.assertEqual(pair.server._connection.buffered, 0)
        clock.advance(10)
        pair.flush()
        self.assertIs(pair.server.reason.type, DecryptionFailed)
        self.assertIs(pair.client.reason.type, AuthenticationFailed)
        self.assertEqual(pair.server_transport.writes, [])

    def test_early_data_of_a_refused_login_is_dropped(self) -> None:
        clock = Clock()
        pair = Pair(make_server_factory(clock), make_client_factory(clock, passphrase="hunter2"))
        pair.client.write(bytes(500_000))
        pair.flush()
        self.assertEqual(pair.server.payloads, [])
        self.assertIs(pair.server.reason.type, AuthenticationFailed)
        # The server left without having read all, so the transport says that the connection was reset.
        self.assertIs(pair.client.reason.type, AuthenticationFailed)

    def test_the_log_says_who_and_why(self) -> None:
        events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        self.refuse(passphrase="hunter2")
        refusals = [formatEvent(event) for event in events if "refused" in (event.get("log_format") or "")]
        self.assertEqual(len(refusals), 1, refusals)
        self.assertIn("192.0.2.1:4711", refusals[0])
        self.assertIn(ascii(LOGIN), refusals[0])

    def test_the_log_says_who_is_let_in(self) -> None:
        events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        Pair.make().flush()
        texts = [formatEvent(event) for event in events]
        self.assertEqual(texts, [f"192.0.2.1:4711 is authenticated as {ascii(LOGIN)}"])


class HostileClientTests(AloneTestCase):
    """What a server does with what it should never have got."""

    def test_garbage(self) -> None:
        self.start_server()
        self.feed(random.Random(3).randbytes(399))
        self.assert_up()
        for more in (b"x", b"", bytes(5000), b"y"):
            self.feed(more)
            self.assert_up()
            self.assertEqual(self.transport.producerState, "producing")
        self.clock.advance(10)
        self.assert_lost(DecryptionFailed)
        self.assertEqual(self.transport.value(), b"")

    def test_another_protocol(self) -> None:
        """A request that is too short waits for the time-out, and is not answered."""
        self.start_server()
        self.feed(b"GET / HTTP/1.1\r\n\r\n")
        self.clock.advance(10)
        self.assert_lost(AuthenticationTimeout)
        self.assertEqual(self.transport.value(), b"")

    def test_garbage_after_the_handshake(self) -> None:
        self.open_server(EchoServer)
        self.feed(self.peer_data(b"good"), bytes(29))
        self.assert_lost(DecryptionFailed)
        self.assertEqual(self.protocol.payloads, [b"good"])

    def test_answers_to_what_came_before_the_error(self) -> None:
        """They leave before the connection is closed."""
        self.open_server(EchoServer, orderly=False)
        self.feed(self.peer_data(b"good"), bytes(29))
        self.assertEqual(self.transport.writes, [4 + OVERHEAD])
        self.assertTrue(self.transport.disconnecting)

    def test_handshake_twice(self) -> None:
        """A stream PDU of type CLIENT_AUTH."""
        self.open_server()
        self.feed(self.peer._push.push_pdu(b"\xba\xad\xc0\xde\0\0\0\1\0\0\0\0", b""))
        self.assert_lost(UnexpectedPDU)

    def test_too_large_a_body(self) -> None:
        """The header alone is enough to be cut off."""
        self.open_server()
        pdu = self.peer._push.push_pdu(b"\xba\xad\xc0\xde\0\0\0\3" + (131071).to_bytes(4, "big"), b"")
        self.feed(pdu[:28])
        self.assert_up()
        self.feed(pdu[28:29])
        self.assert_lost(WindowExceeded)

    def test_pong_that_no_ping_asked_for(self) -> None:
        self.open_server()
        self.feed(self.peer.send_pong(0))
        self.assert_lost(UnexpectedPDU)

    def weak_client_auth(self) -> bytes:
        auth = ClientAuth(bytes(24), bytes(24), bytes(32), LOGIN, PASSPHRASE)
        return bindings.crypto_box_seal(pack_client_auth(auth), SERVER_PAIR.public)

    def test_weak_client_key(self) -> None:
        """Right login and passphrase, but a public key that shares its secret with everybody."""
        self.start_server()
        self.feed(self.weak_client_auth())
        self.assert_lost(DecryptionFailed)
        self.assertEqual(len(self.protocol.calls), 1)
        self.assertEqual(self.transport.value(), b"")

    def test_weak_client_key_and_a_late_checker(self) -> None:
        checker = LateChecker()
        self.start_server(checker=checker)
        self.feed(self.weak_client_auth())
        checker.answers[0].callback(b"")
        self.assert_lost(DecryptionFailed)
        self.assertEqual(len(self.protocol.calls), 1)

    def test_weak_client_key_is_a_refusal(self) -> None:
        """It is logged as any other, and the client has no login."""
        events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        self.start_server()
        self.feed(self.weak_client_auth())
        self.assertIsNone(self.protocol.peer)
        self.assertEqual([1 for event in events if "refused" in (event.get("log_format") or "")], [1])

    def test_closed_inside_client_auth(self) -> None:
        self.start_server()
        self.feed(self.peer.initiate()[:-1])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)

    def test_closed_inside_a_header(self) -> None:
        self.open_server()
        self.feed(self.peer_data(b"whole", b"cut")[:-40])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)
        self.assertEqual(self.protocol.payloads, [b"whole"])

    def test_closed_inside_a_body(self) -> None:
        self.open_server()
        self.feed(self.peer_data(b"cut")[:-1])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)

    def test_closed_behind_a_header(self) -> None:
        """No byte waits, yet a PDU is cut."""
        self.open_server()
        self.feed(self.peer_data(b"cut")[:29])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)

    def test_closed_between_pdus(self) -> None:
        self.open_server()
        self.feed(self.peer_data(b"whole"))
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    def test_closed_at_once(self) -> None:
        """A port scan is not an error of the protocol."""
        self.start_server()
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    def test_reset_inside_a_pdu(self) -> None:
        """What the transport says goes first."""
        self.open_server()
        self.feed(self.peer_data(b"cut")[:-1])
        self.transport.lose(ConnectionLost())
        self.assert_lost(ConnectionLost)

    def test_bytes_after_the_error_are_dropped(self) -> None:
        self.open_server(orderly=False)
        self.feed(bytes(29))
        self.feed(self.peer_data(b"more"))
        self.assertEqual(self.protocol.payloads, [])


class HostileServerTests(AloneTestCase):
    """What a client does with what it should never have got."""

    def test_garbage(self) -> None:
        self.start_client()
        self.feed(random.Random(4).randbytes(235))
        self.assert_up()
        self.feed(b"x")
        self.assert_lost(DecryptionFailed)
        self.assertEqual(len(self.protocol.calls), 1)

    def test_answer_to_another_client(self) -> None:
        self.clock = Clock()
        self._connect(make_client_factory(self.clock), True)
        auth = open_client_auth(SERVER_PAIR, self.transport.value())
        auth.nonce = bytes(24)
        self.feed(answer_client_auth(SERVER_PAIR, auth, "Welcome.")[0])
        self.assert_lost(NonceMismatch)
        self.assertIsNone(self.protocol.message)

    def test_closed_before_its_hello(self) -> None:
        for received in (b"", bytes(235)):
            for reason in (ConnectionDone(), ConnectionLost()):
                self.start_client()
                self.feed(received)
                self.transport.lose(reason)
                self.assert_lost(AuthenticationFailed)

    def test_closed_inside_a_pdu(self) -> None:
        self.open_client()
        self.feed(self.peer_data(b"cut")[:-1])
        self.transport.lose(ConnectionDone())
        self.assert_lost(MalformedPDU)

    def test_closed_in_order(self) -> None:
        self.open_client()
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    def test_reset(self) -> None:
        self.open_client()
        self.transport.lose(ConnectionLost())
        self.assert_lost(ConnectionLost)


class LateCheckerTests(AloneTestCase):
    """Checkers that take their time."""

    def start_late(self, protocol: Any = EchoServer, early: tuple[bytes, ...] = (), **arguments: Any) -> Deferred[Any]:
        """CLIENT_AUTH and early payloads were received, and the checker was asked."""
        self.checker = LateChecker()
        self.start_server(protocol, self.checker, **arguments)
        self.feed(self.peer.initiate(), self.peer_data(*early))
        self.assertEqual(len(self.checker.answers), 1)
        self.assertEqual((self.protocol.calls, self.transport.writes), ([], []))
        return self.checker.answers[0]

    def test_credentials(self) -> None:
        """The checker gets what the client sent, as UTF-8."""
        self.start_late()
        (credentials,) = self.checker.asked
        self.assertTrue(IUsernamePassword.providedBy(credentials))
        self.assertEqual((credentials.username, credentials.password), (LOGIN.encode(), PASSPHRASE.encode()))

    def test_early_data_waits(self) -> None:
        """Then it is delivered in order, and SERVER_HELO leaves before the answers, which leave together."""
        answer = self.start_late(early=(b"one", b"two"))
        self.feed(self.peer_data(b"three"))
        self.assertEqual(self.protocol.calls, [])
        answer.callback(LOGIN.encode())
        self.assertEqual(self.protocol.calls, ["authenticated", b"one", b"two", b"three"])
        self.assertEqual(self.transport.writes, [SERVER_HELO_SIZE, 11 + 3 * OVERHEAD])
        self.assertEqual([getattr(event, "payload", None) for event in self.read()], [None, b"one", b"two", b"three"])
        self.feed(self.peer_data(b"four"))
        self.assertEqual(self.protocol.payloads[3:], [b"four"])
        self.assert_up()

    def test_paused_when_something_waits(self) -> None:
        """
        Reading stops when something has come behind an undecided login, and goes on after the decision.
        Before, the transport reads on, so that a client that leaves is noticed.
        """
        answer = self.start_late()
        early = self.peer_data(bytes(131070))
        self.assertEqual(self.transport.producerState, "producing")
        self.feed(early[:1])
        self.assertEqual(self.transport.producerState, "paused")
        answer.callback(LOGIN.encode())
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.protocol.payloads, [])
        self.feed(early[1:])
        self.assertEqual(list(map(len, self.protocol.payloads)), [131070])

    def test_never_reads_more_than_it_may(self) -> None:
        """Before it is authenticated, a client makes us hold 400 bytes, however it cuts them."""
        for size in (1, 7, 399, 400, 131000):
            checker, clock = LateChecker(), Clock()
            pair = Pair(make_server_factory(clock, checker=checker), make_client_factory(clock), lambda size=size: size)
            held: list[int] = []
            receive = pair.server.dataReceived

            def receive_and_look(data: bytes, receive: Any = receive, held: Any = held, pair: Any = pair) -> None:
                held.append(len(data) + pair.server._connection.buffered)
                receive(data)

            self.patch(pair.server, "dataReceived", receive_and_look)
            pair.client.write(bytes(1000))
            while not checker.answers:
                self.assertTrue(pair.step())
            pair.flush()
            self.assertLessEqual(max(held), 400)
            checker.answers[0].callback(LOGIN.encode())
            pair.flush()
            self.assertEqual(pair.server.payloads, [bytes(1000)])
            self.assertEqual(pair.server_transport.bufferSize, BUFFER_SIZE)

    def test_a_flood_before_the_decision_is_bounded(self) -> None:
        """Over a transport that reads as sockets do, it stays there."""
        checker = LateChecker()
        clock = Clock()
        pair = Pair(make_server_factory(clock, checker=checker), make_client_factory(clock))
        sent = random.Random(5).randbytes(2_000_000)
        pair.client.write(sent)
        pair.flush()
        self.assertEqual(pair.server_transport.received, 2 * CLIENT_AUTH_SIZE)
        self.assertEqual(pair.server._connection.buffered, CLIENT_AUTH_SIZE)
        checker.answers[0].callback(LOGIN.encode())
        pair.flush()
        self.assertEqual(b"".join(pair.server.payloads), sent)

    def test_still_paused_by_the_application(self) -> None:
        """Pausing while the login is undecided holds the early data back."""
        answer = self.start_late(early=(b"one",))
        self.protocol.pauseProducing()
        answer.callback(LOGIN.encode())
        self.assertEqual(self.protocol.payloads, [])
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.calls, ["authenticated", b"one"])

    def test_paused_in_authenticated(self) -> None:
        """``pauseProducing()`` in the first hook holds the early data back."""

        class Server(EchoServer):
            def authenticated(self) -> None:
                super().authenticated()
                self.pauseProducing()

        answer = self.start_late(Server, early=(b"one", b"two"))
        answer.callback(LOGIN.encode())
        self.assertEqual(self.protocol.calls, ["authenticated"])
        self.assertEqual(self.transport.producerState, "paused")
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"one", b"two"])

    def test_closed_in_authenticated(self) -> None:
        class Server(EchoServer):
            def authenticated(self) -> None:
                super().authenticated()
                self.close()

        answer = self.start_late(Server, early=(b"one",), orderly=False)
        answer.callback(LOGIN.encode())
        self.assertEqual(self.protocol.calls, ["authenticated"])
        self.assertEqual(self.transport.writes, [SERVER_HELO_SIZE])

    def test_unauthorized(self) -> None:
        answer = self.start_late(early=(b"one",))
        answer.errback(UnauthorizedLogin("no"))
        reason = self.assert_lost(AuthenticationFailed)
        self.assertEqual(reason.getErrorMessage(), "login or passphrase is wrong")
        self.assertEqual((len(self.protocol.calls), self.transport.value()), (1, b""))

    def test_checker_out_of_order(self) -> None:
        """Any other exception is logged, and nobody gets in."""
        answer = self.start_late()
        answer.errback(Boom("the database is gone"))
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        self.assert_lost(AuthenticationFailed)
        self.assertEqual((len(self.protocol.calls), self.transport.value()), (1, b""))

    def test_checkers_that_answer_at_once(self) -> None:
        """By returning, raising, or a Deferred that has fired."""

        def returns(credentials: Any) -> Any:
            return credentials.username

        def raises_unauthorized(credentials: Any) -> Any:
            raise UnauthorizedLogin()

        def raises(credentials: Any) -> Any:
            raise Boom()

        for decide, error in [
            (returns, None),
            (lambda credentials: succeed(b""), None),
            (raises_unauthorized, AuthenticationFailed),
            (lambda credentials: fail(UnauthorizedLogin()), AuthenticationFailed),
            (raises, AuthenticationFailed),
            (lambda credentials: fail(Boom()), AuthenticationFailed),
        ]:
            self.start_server(checker=AnyChecker(decide))
            self.feed(self.peer.initiate())
            if error is None:
                self.assertEqual(self.protocol.calls, ["authenticated"])
                self.assertEqual(self.protocol.peer.login, LOGIN)
            else:
                self.assert_lost(error)
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 2)

    def test_cancelled_when_the_client_leaves(self) -> None:
        answer = self.start_late()
        self.transport.lose(ConnectionDone())
        self.assertEqual(self.checker.cancelled, [answer])
        self.assert_lost(ConnectionDone)
        self.assertEqual(self.factory.connections, set())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_leaving_with_whole_pdus_undelivered(self) -> None:
        """A client that sends, closes in order and was not decided on did not close inside a PDU."""
        self.start_late(early=(b"whole",))
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    def test_not_cancelled_after_the_decision(self) -> None:
        answer = self.start_late()
        answer.callback(LOGIN.encode())
        self.transport.lose(ConnectionDone())
        self.assertEqual(self.checker.cancelled, [])

    def test_too_late(self) -> None:
        """The time-out runs on while the checker thinks; what it says later changes nothing."""
        answer = self.start_late(orderly=False)
        self.clock.advance(9.5)
        self.assert_up()
        self.clock.advance(0.5)
        self.assertTrue(self.transport.disconnecting)
        answer.callback(LOGIN.encode())
        self.assertEqual((self.protocol.calls, self.transport.value()), ([], b""))
        self.transport.lose(ConnectionDone())
        self.assert_lost(AuthenticationTimeout)
        self.assertEqual(len(self.protocol.calls), 1)

    def test_refused_too_late(self) -> None:
        answer = self.start_late(orderly=False)
        self.clock.advance(10)
        answer.errback(Boom())
        self.transport.lose(ConnectionDone())
        self.assert_lost(AuthenticationTimeout)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_checker_that_cannot_be_cancelled(self) -> None:
        """Its answer to a client that left is dropped."""
        answer: Deferred[Any] = Deferred()
        self.start_server(checker=AnyChecker(lambda credentials: answer))
        self.feed(self.peer.initiate())
        self.transport.lose(ConnectionDone())
        answer.callback(LOGIN.encode())
        self.assert_lost(ConnectionDone)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_logins_are_decided_apart(self) -> None:
        """One that waits holds up nobody else."""
        checker = LateChecker()
        factory = make_server_factory(Clock(), EchoServer, checker)
        pairs = [Pair(factory, make_client_factory(Clock())) for _ in range(3)]
        for pair in pairs:
            pair.flush()
        checker.answers[1].callback(b"")
        checker.answers[2].errback(UnauthorizedLogin())
        for pair in pairs:
            pair.flush()
        self.assertEqual([pair.client.is_authenticated for pair in pairs], [False, True, False])
        self.assertEqual([pair.client.reason is None for pair in pairs], [True, True, False])


class TimeTests(AloneTestCase):
    """Deadlines, to the second."""

    def live(self, seconds: float, step: float = 1.0, answering: bool = True, data: bool = False) -> list[float]:
        """
        Let time go by with a peer that answers PINGs, or sends DATA, or both.

        :return: when PINGs came.
        """
        pings = []
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end and self.protocol.reason is None:
            self.clock.advance(step)
            for event in self.read():
                if isinstance(event, PingReceived):
                    pings.append(self.clock.seconds())
                    if answering:
                        self.feed(self.peer.send_pong(0))
            if data and self.protocol.reason is None:
                self.feed(self.peer_data(b""))
        return pings

    def test_server_authentication_timeout(self) -> None:
        for received in (b"", bytes(399)):
            self.start_server()
            self.feed(received)
            self.clock.advance(9.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(AuthenticationTimeout)
            self.assertEqual(self.transport.value(), b"")

    def test_trickling_does_not_put_authentication_off(self) -> None:
        self.start_server()
        auth = self.peer.initiate()
        for index in range(10):
            self.assert_up()
            self.feed(auth[index : index + 1])
            self.clock.advance(1)
        self.assert_lost(AuthenticationTimeout)

    def test_client_authentication_timeout(self) -> None:
        self.start_client()
        self.clock.advance(9.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(AuthenticationTimeout)

    def test_authenticated_in_time(self) -> None:
        self.start_server()
        self.clock.advance(9.75)
        self.feed(self.peer.initiate())
        self.clock.advance(0.25)
        self.assert_up()
        self.clock.advance(20)
        self.assert_up()

    def test_clock_that_began_long_ago(self) -> None:
        """Deadlines count from the connection, not from the clock's beginning."""
        clock = Clock()
        clock.advance(1e6)
        pair = Pair(make_server_factory(clock), make_client_factory(clock))
        clock.advance(9.75)
        pair.flush()
        self.assertTrue(pair.client.is_authenticated)
        clock.advance(59.75)
        self.assertEqual((pair.server_transport.writes, pair.client_transport.writes), ([236], [400]))
        clock.advance(0.25)
        self.assertEqual((pair.server_transport.writes, pair.client_transport.writes), ([236, 62], [400, 62]))

    def test_inactivity(self) -> None:
        """PINGs of ours are no activity."""
        for begin in (self.open_server, self.open_client):
            begin()
            self.clock.advance(60)
            self.clock.advance(119.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(InactivityTimeout)
            self.assertTrue(self.transport.disconnected, "not aborted")

    def test_inactivity_counts_from_authentication(self) -> None:
        self.start_server()
        self.clock.advance(5)
        self.feed(self.peer.initiate())
        self.clock.advance(179.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(InactivityTimeout)

    def test_every_pdu_is_activity(self) -> None:
        """DATA, PING and PONG alike."""

        def pong() -> bytes:
            self.protocol.ping().addErrback(lambda reason: None)
            return self.peer.send_pong(0)  # type: ignore[no-any-return]

        for make in (lambda: self.peer_data(b""), lambda: self.peer_ping(), pong):
            self.open_server(timeouts=wide())
            self.clock.advance(100)
            self.feed(make())
            self.clock.advance(179.75)
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(InactivityTimeout)

    def test_bytes_of_a_pdu_are_no_activity(self) -> None:
        """A PDU that trickles in does not keep the connection, however often a byte comes."""
        self.open_server()
        pdu = self.peer_data(bytes(1000))
        for index in range(180):
            self.assert_up()
            self.feed(pdu[index : index + 1])
            self.clock.advance(1)
        self.assert_lost(InactivityTimeout)

    def test_first_ping(self) -> None:
        for begin in (self.open_server, self.open_client):
            begin()
            self.clock.advance(59.75)
            self.assertEqual(self.transport.writes, [])
            self.clock.advance(0.25)
            self.assertEqual(self.transport.writes, [PING_SIZE])
            (ping,) = self.read()
            self.assertEqual(ping, PingReceived(1_000_000_000_000_000_007))

    def test_pings_without_jitter(self) -> None:
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 0.0)
            self.assertEqual(self.live(400, 0.25), [60, 120, 180, 240, 300, 360])
            self.assert_up()

    def test_pings_with_the_largest_jitter(self) -> None:
        """The first comes after 60 seconds, later ones after 119."""
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 1.0)
            pings = self.live(400, 0.25)
            self.assertEqual(len(pings), 3)
            for ping, expected in zip(pings, (60, 179, 298), strict=True):
                # The sum of floats may fall a moment behind the second.
                self.assertTrue(expected <= ping <= expected + 0.25, pings)

    def test_jitter_is_drawn_each_time(self) -> None:
        draws = iter([0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])  # the first for the time to authenticate
        self.open_server(draw=lambda: next(draws))
        self.assertEqual(self.live(480, 0.5), [60, 120, 239, 299, 418, 478])

    def test_pongs_outstanding(self) -> None:
        """A peer that sends but answers three PINGs not at all is gone when the fourth is due."""
        for begin in (self.open_server, self.open_client):
            begin(draw=lambda: 0.0)
            self.assertEqual(self.live(239.75, 0.25, answering=False, data=True), [60, 120, 180])
            self.assert_up()
            self.clock.advance(0.25)
            self.assert_lost(PongTimeout)
            self.assertTrue(self.transport.disconnected, "not aborted")

    def test_one_pong_late(self) -> None:
        """Two outstanding are allowed for ever."""
        self.open_server(draw=lambda: 0.0)
        self.live(120, answering=False, data=True)
        for _ in range(5):
            self.live(60, answering=True, data=True)
        self.assert_up()

    def test_all_times_can_be_set(self) -> None:
        self.start_server(timeouts=Timeouts(authentication=2.5))
        self.clock.advance(2.25)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(AuthenticationTimeout)

        self.start_client(timeouts=Timeouts(authentication=2.5))
        self.clock.advance(2.5)
        self.assert_lost(AuthenticationTimeout)

        self.open_server(timeouts=Timeouts(inactivity=7))
        self.clock.advance(6.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(InactivityTimeout)

        self.open_client(timeouts=Timeouts(ping_interval=6), draw=lambda: 0.5)
        self.assertEqual(self.live(30, 0.25), [6, 15, 24])

        self.open_client(timeouts=Timeouts(ping_interval=6, outstanding_pongs=1), draw=lambda: 0.0)
        self.assertEqual(self.live(11.75, 0.25, answering=False), [6])
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(PongTimeout)

    def test_pings_are_answered_with_our_clock(self) -> None:
        """Both sides, at once, and with the wall clock of the factory."""
        for begin in (self.open_server, self.open_client):
            begin()
            self.feed(self.peer_ping())
            self.assertEqual(self.transport.writes, [PING_SIZE])
            (pong,) = self.read()
            self.assertEqual(pong, PongReceived(1_000_000_000_000_000_007, 0.0))

    def test_ends_leave_no_delayed_call(self) -> None:
        """However it ends, at whatever moment."""

        def refuse() -> None:
            self.start_server()
            self.feed(bytes(400))
            self.clock.advance(10)

        def close(begin: Any) -> Any:
            return lambda: (begin(), self.protocol.close())

        def abort(begin: Any) -> Any:
            return lambda: (begin(), self.protocol.abort())

        def lose(begin: Any) -> Any:
            return lambda: (begin(), self.transport.lose(ConnectionLost()))

        begins = (self.start_server, self.open_server, self.start_client, self.open_client)
        for end in [refuse, *(how(begin) for how in (close, abort, lose) for begin in begins)]:
            end()
            self.assertIsNotNone(self.protocol.reason)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_delayed_call_at_most(self) -> None:
        """However much comes and goes, one timer is enough for a connection."""
        self.open_server(EchoServer)
        for _ in range(20):
            self.feed(self.peer_data(b"x"))
            self.protocol.pauseProducing()
            self.protocol.resumeProducing()
            self.fill()
            self.drain()
            self.clock.advance(1)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)


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
        self.feed(self.peer.initiate(), self.peer_data(b"early"))
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
        self.assertIs(pair.server.reason.type, ConnectionDone)

    def test_stop_producing_closes(self) -> None:
        self.open_server()
        self.protocol.stopProducing()
        self.assert_lost(ConnectionDone)
        self.assertFalse(self.transport.disconnected, "aborted")


@implementer(IPushProducer)
class PushSource:
    """
    A push producer of payloads.

    :ivar events: what it was told.
    """

    def __init__(self, consumer: Any, payloads: Any = ()) -> None:
        self.consumer = consumer
        self.payloads = list(payloads)
        self.paused = True
        self.stops = 0
        self.events: list[str] = []

    def resumeProducing(self) -> None:
        self.events.append("resume")
        self.paused = False
        while self.payloads and not self.paused:
            self.consumer.send_data(self.payloads.pop(0))

    def pauseProducing(self) -> None:
        self.events.append("pause")
        self.paused = True

    def stopProducing(self) -> None:
        self.events.append("stop")
        self.paused = True
        self.stops += 1


class PullSource:
    """A pull producer: one payload for each question, then it unregisters itself."""

    def __init__(self, consumer: Any, payloads: Any) -> None:
        self.consumer = consumer
        self.payloads = list(payloads)
        self.pulls = 0
        self.stops = 0

    def resumeProducing(self) -> None:
        self.pulls += 1
        if self.pulls > 10_000:
            raise AssertionError("asked without end")
        if self.payloads:
            self.consumer.write(self.payloads.pop(0))
        else:
            self.consumer.unregisterProducer()

    def stopProducing(self) -> None:
        self.stops += 1


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

    def test_producers_are_stopped(self) -> None:
        """Once, however the connection ends."""
        for end in (
            lambda: self.protocol.close(),
            lambda: self.protocol.abort(),
            lambda: self.transport.lose(ConnectionLost()),
            lambda: self.feed(bytes(29)),
            lambda: self.clock.advance(180),
        ):
            for streaming in (True, False):
                self.open_client()
                self.fill()
                source: Any = PushSource(self.protocol) if streaming else PullSource(self.protocol, [b"x"] * 1000)
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
        self.assertEqual(self.transport.producerState, "paused")
        self.drain()
        self.assertEqual(self.transport.producerState, "producing")
        self.protocol.registerProducer(PushSource(self.protocol), True)
        self.fill()
        self.assertEqual(self.transport.producerState, "producing")
        self.protocol.unregisterProducer()
        self.assertEqual(self.transport.producerState, "paused")
        self.protocol.registerProducer(PushSource(self.protocol), True)
        self.assertEqual(self.transport.producerState, "producing")

    def test_two_reasons_to_pause(self) -> None:
        """Reading goes on when neither the application nor the full buffer is against it."""
        self.open_server()
        self.protocol.pauseProducing()
        self.fill()
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

    def test_pings_of_a_peer_that_does_not_read(self) -> None:
        """So many PONGs may wait, and one more ends it; they count anew when the peer has read."""
        self.open_client()
        self.fill()
        self.feed(self.peer_ping(PONG_LIMIT))
        self.drain()
        self.fill()
        self.feed(self.peer_ping(PONG_LIMIT))
        self.assert_up()
        self.assertEqual(sum(self.transport.writes), PONG_LIMIT * PING_SIZE)
        self.feed(self.peer_ping())
        self.assert_lost(WindowExceeded)

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

    def test_a_flood_of_pings_is_bounded(self) -> None:
        """Over a transport that fills up: what is written stays within the buffer, the cork and the cap."""
        clock = Clock()
        pair = Pair(make_server_factory(clock, timeouts=wide()), make_client_factory(clock))
        pair.flush()
        pair.server.pauseProducing()
        for _ in range(20_000):
            pair.server.ping().addErrback(lambda reason: None)
        pair.flush()
        self.assertTrue(sum(pair.client_transport.writes) < 3 * BUFFER_SIZE)
        self.assertTrue(pair.client_transport.received < 4 * BUFFER_SIZE)
        # What was written is still the peer's to take, for as long as inactivity may last.
        clock.advance(180)
        pair.flush()
        self.assertIs(pair.client.reason.type, WindowExceeded)

    def test_a_flood_of_pings_stops_a_server(self) -> None:
        """It stops reading; when the client takes nothing for the inactivity time, it is cut off."""
        clock = Clock()
        pair = Pair(make_server_factory(clock), make_client_factory(clock, timeouts=wide()))
        pair.flush()
        pair.client.pauseProducing()
        for _ in range(20_000):
            pair.client.ping().addErrback(lambda reason: None)
        pair.flush()
        self.assertTrue(sum(pair.server_transport.writes) < 3 * BUFFER_SIZE)
        clock.advance(179.75)
        self.assertIsNone(pair.server.reason)
        clock.advance(0.25)
        pair.flush()
        self.assertIs(pair.server.reason.type, InactivityTimeout)

    def test_blocked_for_the_inactivity_time(self) -> None:
        """It counts from when the buffer was full, though the peer goes on sending."""
        self.open_client(timeouts=wide())
        self.clock.advance(30)
        self.fill()
        for _ in range(179):
            self.clock.advance(1)
            self.feed(self.peer_data(b""))
            self.fill()
        self.assert_up()
        self.clock.advance(1)
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
        self.clock.advance(170)
        self.feed(self.peer_data(b""))
        self.clock.advance(9.75)
        self.assert_up()
        self.clock.advance(0.25)
        self.assert_lost(InactivityTimeout)

    def test_slow_progress(self) -> None:
        """Much that is taken slowly is delivered: what counts is that some was taken."""
        self.open_client(timeouts=wide())
        self.fill_with_each_write()
        payloads = [b"%02d" % index * 30_000 for index in range(10)]
        for payload in payloads:
            self.protocol.send_data(payload)
        for payload in payloads:
            self.assertEqual([event.payload for event in self.read()], [payload])
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
        self.assertEqual([event.payload for event in self.read()], [b"0", b"1", b"2"])

    def test_blocked_while_the_application_reads_nothing(self) -> None:
        """Then nothing else is left to wake up for."""
        self.open_client()
        self.protocol.pauseProducing()
        self.clock.advance(60)
        self.clock.advance(1000)
        self.fill()
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


class CorkTests(AloneTestCase):
    """What is sent in consequence of one read leaves in one write."""

    def test_answers(self) -> None:
        self.open_server(EchoServer)
        self.feed(self.peer_data(*[b"0123456789"] * 10))
        self.assertEqual(self.transport.writes, [10 * (10 + OVERHEAD)])
        self.assertEqual(self.read(), [DataReceived(b"0123456789")] * 10)

    def test_handshake_and_answers(self) -> None:
        """CLIENT_AUTH and ten DATA in one segment: SERVER_HELO and ten answers in one write."""
        self.start_server(EchoServer)
        self.feed(self.peer.initiate(), self.peer_data(*[b"0123456789"] * 10))
        self.assertEqual(self.transport.writes, [SERVER_HELO_SIZE, 10 * (10 + OVERHEAD)])
        self.assertEqual(len(self.read()), 11)

    def test_data_and_pongs(self) -> None:
        """In the order in which they were caused."""
        self.open_server(EchoServer)
        self.feed(self.peer_ping(), self.peer_data(b"a"), self.peer_ping(), self.peer_data(b"b"))
        self.assertEqual(self.transport.writes, [2 * PING_SIZE + 2 * (1 + OVERHEAD)])
        self.assertEqual(self.read_types(), ["PongReceived", "DataReceived", "PongReceived", "DataReceived"])

    def test_client(self) -> None:
        class Client(RecordingClient):
            def authenticated(self) -> None:
                self.send_data(b"one")
                self.send_data(b"two")

        self.start_client(Client)
        self.feed(self.peer.accept(0), self.peer_ping())
        self.assertEqual(self.transport.writes, [2 * (3 + OVERHEAD) + PING_SIZE])

    def test_several_sends_in_a_hook(self) -> None:
        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                for _ in range(5):
                    self.send_data(payload)
                self.ping()
                self.write(payload)

        self.open_server(Server)
        self.feed(self.peer_data(b"x"))
        self.assertEqual(self.transport.writes, [6 * (1 + OVERHEAD) + PING_SIZE])

    def test_bounded(self) -> None:
        """Much is handed on in parts: each is full with the PDU that reaches the bound."""
        size = 10_000
        self.open_server(EchoServer)
        self.feed(self.peer_data(*[bytes(size)] * 20))
        self.assertEqual(CORK_LIMIT, 65536)
        self.assertEqual(self.transport.writes, [7 * (size + OVERHEAD), 7 * (size + OVERHEAD), 6 * (size + OVERHEAD)])
        self.assertEqual(self.read(), [DataReceived(bytes(size))] * 20)

    def test_exactly_the_bound(self) -> None:
        self.open_server(EchoServer)
        half = CORK_LIMIT // 2 - OVERHEAD
        self.feed(self.peer_data(bytes(half), bytes(half), b""))
        self.assertEqual(self.transport.writes, [CORK_LIMIT, OVERHEAD])
        self.read()
        self.feed(self.peer_data(bytes(half), bytes(half - 1), b""))
        self.assertEqual(self.transport.writes, [CORK_LIMIT - 1 + OVERHEAD])

    def test_outside_a_read(self) -> None:
        """There each send is written at once."""
        self.open_server()
        self.protocol.send_data(b"one")
        self.assertEqual(self.transport.writes, [3 + OVERHEAD])
        self.protocol.send_data(b"two")
        self.protocol.ping()
        self.assertEqual(self.transport.writes, [3 + OVERHEAD, 3 + OVERHEAD, PING_SIZE])

    def test_nothing_to_send(self) -> None:
        self.open_server()
        self.feed(self.peer_data(b"x"))
        self.feed(b"")
        self.assertEqual(self.transport.writes, [])

    def test_closed_in_the_hook(self) -> None:
        """What was sent before leaves; the rest of the read is not delivered."""

        class Server(EchoServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if payload == b"2":
                    self.close()

        self.open_server(Server, orderly=False)
        self.feed(self.peer_data(b"1", b"2", b"3"))
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])
        self.assertEqual(self.transport.writes, [2 * (1 + OVERHEAD)])
        self.assertTrue(self.transport.disconnecting)

    def test_aborted_in_the_hook(self) -> None:
        class Server(EchoServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.abort(Boom("enough"))

        self.open_server(Server)
        self.feed(self.peer_data(b"1", b"2"))
        self.assertEqual(self.protocol.payloads, [b"1"])
        self.assertEqual(self.transport.writes, [])
        self.assert_lost(Boom)


class ReentrantPingTests(AloneTestCase):
    def test_ping_when_paused(self) -> None:
        """A PING that is sent while another one is keeps its own answer."""
        self.open_client()
        pings: list[Any] = []

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
        self.feed(*(self.peer.send_pong(0) for _ in self.read_types()))
        self.assertEqual([self.successResultOf(ping) for ping in pings], [0, 0])


class PingTests(AloneTestCase):
    """``ping()``."""

    def pong(self) -> bytes:
        return self.peer.send_pong(0)  # type: ignore[no-any-return]

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
        self.failureResultOf(other, ConnectionLost)
        self.assert_lost(ConnectionLost)

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
        """They count with those of the keepalive; one too many is the caller's error."""
        self.open_client(timeouts=Timeouts(outstanding_pongs=2), draw=lambda: 0.0)
        self.clock.advance(60)
        first = self.protocol.ping()
        self.failureResultOf(self.protocol.ping(), LocalProtocolError)
        self.assertEqual(self.read_types(), ["PingReceived"] * 2)
        self.feed(self.pong(), self.pong())
        self.assertEqual(self.successResultOf(first), 0)
        latency = self.protocol.ping()
        self.assert_up()
        self.read()
        self.feed(self.pong())
        self.assertEqual(self.successResultOf(latency), 0)

    def test_connection_goes(self) -> None:
        """All fail with the reason that the hook gets, and before it."""
        order: list[str] = []

        class Client(RecordingClient):
            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                order.append("hook")

        for end, error in [
            (lambda: self.transport.lose(ConnectionLost()), ConnectionLost),
            (lambda: self.protocol.close(), ConnectionDone),
            (lambda: self.protocol.abort(Boom()), Boom),
            (lambda: self.feed(bytes(29)), DecryptionFailed),
            (lambda: self.clock.advance(180), InactivityTimeout),
        ]:
            order.clear()
            self.open_client(Client)
            latencies = [self.protocol.ping(), self.protocol.ping()]
            latencies[0].addErrback(lambda reason: order.append("ping") or reason)  # type: ignore[func-returns-value]
            end()
            for latency in latencies:
                self.failureResultOf(latency, error)
            self.assertEqual(order, ["ping", "hook"])

    def test_after_the_end(self) -> None:
        self.open_client(orderly=False)
        self.protocol.close()
        self.failureResultOf(self.protocol.ping(), LocalProtocolError)
        self.transport.lose(ConnectionDone())
        self.failureResultOf(self.protocol.ping(), LocalProtocolError)
        self.assertEqual(self.transport.value(), b"")

    def test_ping_in_a_callback_of_ping(self) -> None:
        self.open_client()
        again: list[Any] = []
        self.protocol.ping().addCallback(lambda latency: again.append(self.protocol.ping()))
        self.feed(self.pong())
        self.assertNoResult(again[0])
        self.feed(self.pong())
        self.assertEqual(self.successResultOf(again[0]), 0)


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
        self.assertIs(pair.server.reason.type, ConnectionDone)
        self.assertIs(pair.client.reason.type, ConnectionDone)
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
            self.assertIs(pair.client.reason.type, ConnectionAborted)

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
        self.assertIs(pair.client.reason.type, ConnectionDone)

    def test_nothing_is_received_after_close(self) -> None:
        self.open_server(EchoServer, orderly=False)
        self.protocol.close()
        self.feed(self.peer_data(b"late"))
        self.feed(bytes(1000))
        self.assertEqual(self.protocol.payloads, [])
        self.assertEqual(self.transport.writes, [])
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    def test_no_ping_and_no_inactivity_after_close(self) -> None:
        self.open_server(orderly=False)
        self.clock.advance(50)
        self.protocol.close()
        self.clock.advance(100)
        self.assertEqual(self.transport.writes, [])
        self.assertFalse(self.transport.disconnected)
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    def test_send_after_close(self) -> None:
        self.open_server(orderly=False)
        self.protocol.close()
        self.assertRaises(LocalProtocolError, self.protocol.send_data, b"x")
        self.assertRaises(LocalProtocolError, self.protocol.write, b"x")
        self.transport.lose(ConnectionDone())
        self.assertRaises(LocalProtocolError, self.protocol.send_data, b"x")
        self.assertRaises(LocalProtocolError, self.protocol.write, b"x")
        self.assertEqual(self.transport.writes, [])

    def test_close_twice(self) -> None:
        self.open_server(orderly=False)
        self.protocol.close()
        self.protocol.close()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.transport.lose(ConnectionDone())
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
        self.assertIs(pair.client.reason.type, ConnectionAborted)
        self.assertIs(pair.server.reason.type, ConnectionLost)
        self.assertEqual(pair.server.payloads, [])

    def test_abort_before_the_hello(self) -> None:
        """Our own leaving is not taken for a refusal."""
        pair = Pair.make()
        pair.client.abort()
        pair.flush()
        self.assertIs(pair.client.reason.type, ConnectionAborted)

    def test_close_before_the_hello(self) -> None:
        pair = Pair.make()
        pair.client.close()
        pair.flush()
        self.assertIs(pair.client.reason.type, ConnectionDone)

    def test_abort_after_close(self) -> None:
        self.open_server(orderly=False)
        self.protocol.close()
        self.protocol.abort(Boom())
        self.assertTrue(self.transport.disconnected)
        self.assert_lost(Boom)

    def test_abort_after_the_end(self) -> None:
        self.open_server()
        self.protocol.close()
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
        self.assert_lost(ConnectionLost)

    def test_transport_that_cannot_abort(self) -> None:
        """Then it is closed as well as it can be."""
        self.open_server()
        self.transport.abortConnection = None  # type: ignore[assignment,method-assign]
        self.protocol.abort(Boom())
        self.assert_lost(Boom)


class ApplicationFailureTests(SynchronousTestCase):
    """An exception in a hook ends that connection and no other."""

    def fail_in(self, server: Any = RecordingServer, client: Any = RecordingClient, checker: Any = None) -> Pair:
        clock = Clock()
        factory = make_server_factory(clock, server, checker)
        other = Pair(factory, make_client_factory(clock, login="other"))
        pair = Pair(factory, make_client_factory(clock, client))
        other.flush()
        pair.flush()
        for answer in getattr(checker, "answers", ()):
            answer.callback(b"")
            pair.flush()
        if pair.client.is_authenticated:
            pair.client.send_data(b"1")
            pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        other.flush()
        other.client.send_data(b"still there")
        other.flush()
        self.assertEqual(other.server.calls, ["authenticated", b"still there"])
        other.client.close()
        other.flush()
        self.assertEqual(clock.getDelayedCalls(), [])
        return pair

    def any_login(self) -> Any:
        return AnyChecker(lambda credentials: credentials.username)

    def test_payload_received_of_a_server(self) -> None:
        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if self.peer.login == LOGIN:
                    raise Boom("in the hook")

        pair = self.fail_in(Server, checker=self.any_login())
        self.assertIs(pair.server.reason.type, Boom)
        self.assertIs(pair.client.reason.type, ConnectionLost)

    def test_authenticated_of_a_server(self) -> None:
        class Server(RecordingServer):
            def authenticated(self) -> None:
                super().authenticated()
                if self.peer.login == LOGIN:
                    raise Boom("in the hook")

        for checker in (self.any_login(), LateChecker()):
            pair = self.fail_in(Server, checker=checker)
            self.assertIs(pair.server.reason.type, Boom)
            self.assertEqual(pair.server.payloads, [])
            # The login was right, and the client is not told otherwise.
            self.assertEqual(pair.client.calls[0], "authenticated")
            self.assertIs(pair.client.reason.type, ConnectionDone)

    def test_hooks_of_a_client(self) -> None:
        class InAuthenticated(RecordingClient):
            def authenticated(self) -> None:
                raise Boom("in the hook")

        class InPayload(RecordingClient):
            def payload_received(self, payload: bytes) -> None:
                raise Boom("in the hook")

        class Server(RecordingServer):
            def authenticated(self) -> None:
                super().authenticated()
                self.send_data(b"greeting")

        for client in (InAuthenticated, InPayload):
            with self.subTest(client):
                clock = Clock()
                pair = Pair.make(Server, client, clock)
                pair.flush()
                self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
                self.assertIs(pair.client.reason.type, Boom)
                self.assertIs(pair.server.reason.type, ConnectionLost)
                self.assertEqual(clock.getDelayedCalls(), [])

    def test_misuse_in_a_hook(self) -> None:
        """An error of ours that the application does not catch is the application's."""

        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                self.send_data(bytes(200_000))

        pair = Pair.make(Server)
        pair.flush()
        pair.client.send_data(b"x")
        pair.flush()
        self.assertIs(pair.server.reason.type, PayloadTooLarge)
        self.assertEqual(len(self.flushLoggedErrors(PayloadTooLarge)), 1)

    def test_the_log_says_whose_connection(self) -> None:
        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                raise Boom("in the hook")

        events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        pair = Pair.make(Server)
        pair.client.send_data(b"x")
        pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        (event,) = [event for event in events if "log_failure" in event]
        self.assertIn("192.0.2.1:4711", formatEvent(event) or "")

    def test_callback_of_ping(self) -> None:
        """It is the Deferred's to tell, and the connection lives on."""
        pair = Pair.make()
        pair.flush()

        def callback(latency: float) -> None:
            raise Boom("in the callback")

        latency = pair.client.ping().addCallback(callback)
        pair.flush()
        self.failureResultOf(latency, Boom)
        self.assertIsNone(pair.client.reason)


class SecretsTests(SynchronousTestCase):
    """What must not be seen anywhere."""

    wrong = "Wr0ng-p\u00e4ssphrase"
    secrets = (PASSPHRASE.encode(), wrong.encode(), SERVER_PAIR.secret, CLIENT_PAIR.secret)

    def assert_no_secrets(self, text: str | None) -> None:
        assert text is not None
        for secret in self.secrets:
            spellings = {secret.hex(), secret.hex().upper(), repr(secret)[2:-1], repr(list(secret))[1:-1]}
            try:
                spellings |= {secret.decode(), ascii(secret.decode())[1:-1]}
            except UnicodeDecodeError:
                pass
            for spelling in spellings:
                self.assertNotIn(spelling, text)

    def test_the_test(self) -> None:
        """It finds what it looks for."""
        for text in (PASSPHRASE, f"{SERVER_PAIR.secret!r}", CLIENT_PAIR.secret.hex(), ascii(self.wrong)):
            self.assertRaises(self.failureException, self.assert_no_secrets, text)

    def test_repr(self) -> None:
        """At every moment of a session."""
        clock = Clock()
        checker = SingleLogin(LOGIN, PASSPHRASE)
        server_factory = make_server_factory(clock, checker=checker)
        client_factory = make_client_factory(clock)
        pair = Pair(server_factory, client_factory)
        things = [
            SERVER_PAIR, CLIENT_PAIR, checker, server_factory, client_factory, pair.server, pair.client,
            pair.server._connection, pair.client._connection,
        ]  # fmt: skip

        def look() -> None:
            for thing in things:
                self.assert_no_secrets(f"{thing!r} {thing} {[thing]}")

        look()
        pair.flush()
        look()
        pair.client.close()
        pair.flush()
        look()
        self.assertIn(repr(SERVER_PAIR.public), repr(SERVER_PAIR))

    def test_log(self) -> None:
        """Whole sessions, good and bad ones, in every form in which their events can be written."""
        events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

        class Faulty(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                raise Boom("in the hook")

        def raises(credentials: Any) -> Any:
            raise Boom("in the checker")

        def session(server: Any = RecordingServer, checker: Any = None, **client: Any) -> None:
            clock = Clock()
            pair = Pair(make_server_factory(clock, server, checker), make_client_factory(clock, **client))
            pair.flush()
            if pair.client.is_authenticated:
                pair.client.send_data(b"payload")
                pair.client.ping().addErrback(lambda reason: None)
                pair.flush()
            clock.advance(10)
            pair.client.close()
            pair.flush()

        session()
        session(passphrase=self.wrong)
        session(checker=AnyChecker(raises))
        session(checker=LateChecker())
        session(Faulty)
        session(server_key=KeyPair.generate().public)
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 2)
        ours = [event for event in events if isinstance(event["log_source"], SodiumServerProtocol)]
        self.assertEqual(len(ours), 8)
        for event in events:
            self.assert_no_secrets(formatEvent(event))
            self.assert_no_secrets(eventAsText(event))
            self.assert_no_secrets(eventAsJSON(event))
            for value in event.values():
                self.assert_no_secrets(f"{value} {value!r}")

    def test_reasons(self) -> None:
        """Those of a refusal, with their tracebacks."""
        clock = Clock()
        pair = Pair(make_server_factory(clock), make_client_factory(clock, passphrase=self.wrong))
        pair.flush()
        for reason in (pair.server.reason, pair.client.reason):
            self.assertIs(reason.type, AuthenticationFailed)
            self.assert_no_secrets(f"{reason} {reason!r} {reason.value!r}")
            for detail in ("default", "verbose"):
                self.assert_no_secrets(reason.getTraceback(detail=detail))


class IosimTests(SynchronousTestCase):
    """Over Twisted's own simulation of a network."""

    def connect(self, server: Any, client: Any) -> tuple[Any, Any, Any]:
        clock = Clock()
        server_end: Any = make_server_factory(clock, server).buildProtocol(None)
        client_end: Any = make_client_factory(clock, client).buildProtocol(None)
        pump = iosim.connect(
            server_end,
            iosim.makeFakeServer(server_end),
            client_end,
            iosim.makeFakeClient(client_end),
            clock=clock,
        )
        return server_end, client_end, pump

    def test_session(self) -> None:
        server, client, pump = self.connect(EchoServer, RecordingClient)
        self.assertEqual((server.peer.login, client.message), (LOGIN, "Welcome."))
        client.send_data(b"ping?")
        pump.flush()
        self.assertEqual(client.payloads, [b"ping?"])
        client.close()
        pump.flush()
        self.assertIs(server.reason.type, ConnectionDone)
        self.assertIs(client.reason.type, ConnectionDone)
        self.assertEqual(pump.clock.getDelayedCalls(), [])

    def test_both_directions_at_once(self) -> None:
        """Large amounts in DATA of all sizes, pulled and pushed, with PINGs between."""
        server, client, pump = self.connect(RecordingServer, RecordingClient)
        draw = random.Random(8)
        blocks = random.Random(9).randbytes(131_070)
        to_server, to_client = (
            [blocks[: draw.choice((0, 1, 1000, 65_536, 131_070))] for _ in range(100)] for _ in range(2)
        )
        latencies = []
        while to_server[len(server.payloads) :] or to_client[len(client.payloads) :]:
            for payload in to_server[len(server.payloads) :][:7]:
                client.send_data(payload)
            for payload in to_client[len(client.payloads) :][:5]:
                server.send_data(payload)
            latencies += [client.ping(), server.ping()]
            pump.flush()
        self.assertEqual(server.payloads, to_server)
        self.assertEqual(client.payloads, to_client)
        self.assertEqual({self.successResultOf(latency) for latency in latencies}, {0})

    def test_pull_producers_both_ways(self) -> None:
        """Over transports that fill up, each side reads on while it sends."""
        clock = Clock()
        pair = Pair.make(clock=clock)
        pair.flush()
        to_server, to_client = ([random.Random(n).randbytes(20_000) for _ in range(100)] for n in (10, 11))
        pair.client.registerProducer(PullSource(pair.client, to_server), False)
        pair.server.registerProducer(PullSource(pair.server, to_client), False)
        for _ in range(200):
            clock.advance(0)
            pair.flush()
        self.assertEqual(pair.server.payloads, to_server)
        self.assertEqual(pair.client.payloads, to_client)


def _later(deferred: Deferred[Any], result: Any) -> None:
    """Fire it when the hook that says so is over."""
    reactor.callLater(0, deferred.callback, result)  # type: ignore[attr-defined]


class Signalling:
    """Tells by Deferreds what a test over sockets waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[Any] = Deferred()
        self.lost: Deferred[type[BaseException]] = Deferred()
        self._wanted: tuple[int, Deferred[None]] | None = None
        self._size = 0

    def want(self, size: int) -> Deferred[None]:
        """Fires when payloads of so many bytes were received in all."""
        wanted: Deferred[None] = Deferred()
        self._wanted = size, wanted
        self._check()
        return wanted

    def _check(self) -> None:
        if self._wanted is not None and self._size >= self._wanted[0]:
            wanted, self._wanted = self._wanted[1], None
            _later(wanted, None)

    def authenticated(self) -> None:
        super().authenticated()  # type: ignore[misc]
        _later(self.opened, self)

    def payload_received(self, payload: bytes) -> None:
        super().payload_received(payload)  # type: ignore[misc]
        self._size += len(payload)
        self._check()

    def connection_lost(self, reason: Failure) -> None:
        super().connection_lost(reason)  # type: ignore[misc]
        _later(self.lost, reason.type)


def make_certificate() -> PrivateCertificate:
    """A self-signed one for ``localhost``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return PrivateCertificate.loadPEM(certificate.public_bytes(encoding) + private)


class SocketServer(Signalling, RecordingServer):
    pass


class SocketEchoServer(Signalling, EchoServer):
    pass


class SocketClient(Signalling, RecordingClient):
    pass


class SocketTests(TestCase):
    """
    Over real sockets. Time is the test's own, but for producers, which ask the reactor.
    """

    timeout = 10

    async def start(
        self, server: Any = SocketServer, client: Any = SocketClient, real_time: bool = False, **arguments: Any
    ) -> tuple[Any, Any]:
        """
        Connect over TCP.

        :return: both ends, or ``None`` for a server that the client's login was refused by.
        """
        clock = reactor if real_time else Clock()
        ends: list[Any] = []

        def make() -> Any:
            ends.append(server())
            return ends[-1]

        factory = make_server_factory(clock, make)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client_end = await endpoint.connect(make_client_factory(clock, client, **arguments))
        self.addCleanup(self._end, client_end, ends)
        if "passphrase" not in arguments:
            await client_end.opened
        return ends[0] if ends else None, client_end

    def _end(self, client_end: Any, ends: list[Any]) -> Deferred[Any]:
        """Leave no socket to the next test."""
        both = [client_end, *ends]
        for end in both:
            end.abort()
        return gatherResults([end.lost for end in both])

    async def test_session(self) -> None:
        server, client = await self.start(SocketEchoServer, pair=CLIENT_PAIR)
        self.assertEqual((server.peer.login, server.peer.public_key), (LOGIN, CLIENT_PAIR.public))
        client.send_data(b"hello")
        await client.want(5)
        latency = client.ping()
        self.assertEqual(await latency, 0)
        client.close()
        self.assertIs(await client.lost, ConnectionDone)
        self.assertIs(await server.lost, ConnectionDone)
        self.assertEqual(client.payloads, [b"hello"])

    async def test_no_delay(self) -> None:
        server, client = await self.start()
        self.assertTrue(server.transport.getTcpNoDelay())
        self.assertTrue(client.transport.getTcpNoDelay())

    async def test_refused(self) -> None:
        server, client = await self.start(passphrase="wrong")
        self.assertIs(await client.lost, AuthenticationFailed)

    async def test_refused_with_much_early_data(self) -> None:
        """Whether the system says that the connection was closed or reset."""

        class Client(SocketClient):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.write(bytes(3_000_000))

        server, client = await self.start(client=Client, passphrase="wrong")
        self.assertIs(await client.lost, AuthenticationFailed)

    async def test_abort(self) -> None:
        """The peer sees a reset."""
        server, client = await self.start()
        client.abort(Boom("enough"))
        self.assertIs(await client.lost, Boom)
        self.assertIs(await server.lost, ConnectionLost)

    async def test_close_delivers_much(self) -> None:
        server, client = await self.start()
        client.write(bytes(3_000_000))
        client.close()
        self.assertIs(await server.lost, ConnectionDone)
        self.assertEqual(sum(map(len, server.payloads)), 3_000_000)

    async def test_both_directions(self) -> None:
        """A pull producer over a real socket, to a server that echoes."""
        server, client = await self.start(SocketEchoServer, real_time=True)
        payloads = [random.Random(index).randbytes(100_000) for index in range(30)]
        source = PullSource(client, payloads)
        client.registerProducer(source, False)
        await client.want(3_000_000)
        self.assertEqual(b"".join(client.payloads), b"".join(payloads))

    async def test_paused_reader(self) -> None:
        """A server that stops at the first payload gets the rest, and the end behind it, when it goes on."""

        class Server(SocketServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if len(self.payloads) == 1:
                    self.pauseProducing()

        server, client = await self.start(Server)
        for index in range(500):
            client.send_data(b"%d" % index * 100)
        client.close()
        await server.want(1)
        self.assertEqual(server.payloads, [b"0" * 100])
        server.resumeProducing()
        self.assertIs(await server.lost, ConnectionDone)
        self.assertIs(await client.lost, ConnectionDone)
        self.assertEqual(server.payloads, [b"%d" % index * 100 for index in range(500)])

    async def test_failure_in_the_last_hook(self) -> None:
        """It is logged, and the server goes on without that connection."""

        class Server(SocketServer):
            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                raise Boom("in the last hook")

        server, client = await self.start(Server)
        client.close()
        await server.lost
        self.assertEqual(server.factory.connections, set())
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)

    async def start_tls(self, server: Any, client: Any) -> tuple[Any, Any]:
        """Connect over TLS, whose transport is a protocol on another one."""
        certificate = make_certificate()
        ends: list[Any] = []

        def make() -> Any:
            ends.append(server())
            return ends[-1]

        listening = SSL4ServerEndpoint(reactor, 0, certificate.options(), interface="127.0.0.1")
        port = await listening.listen(make_server_factory(Clock(), make))
        self.addCleanup(port.stopListening)
        endpoint = wrapClientTLS(
            optionsForClientTLS("localhost", trustRoot=certificate),
            TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port),
        )
        client_end: Any = await endpoint.connect(make_client_factory(Clock(), client))
        self.addCleanup(self._end, client_end, ends)
        await client_end.opened
        return ends[0], client_end

    async def test_tls(self) -> None:
        server, client = await self.start_tls(SocketEchoServer, SocketClient)
        self.assertTrue(server.transport.getTcpNoDelay())
        data = random.Random(12).randbytes(1_000_000)
        client.write(data)
        await client.want(len(data))
        self.assertEqual(b"".join(client.payloads), data)
        client.close()
        self.assertIs(await server.lost, ConnectionDone)
        self.assertIs(await client.lost, ConnectionDone)

    async def test_paused_over_tls(self) -> None:
        """One payload at a time, though this transport goes on to deliver what it has decrypted."""

        class Server(SocketServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.pauseProducing()

        class Client(SocketClient):
            def authenticated(self) -> None:
                super().authenticated()
                for _ in range(10):
                    self.send_data(bytes(10_000))

        server, client = await self.start_tls(Server, Client)
        for count in range(1, 11):
            await server.want(count * 10_000)
            self.assertEqual(len(server.payloads), count)
            server.resumeProducing()
        self.assertEqual(server.payloads, [bytes(10_000)] * 10)

    async def test_unix_socket(self) -> None:
        """With a protocol made beforehand, over a transport that has no use for TCP_NODELAY."""
        directory = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, directory)
        path = os.path.join(directory, "socket")
        clock = Clock()
        ends: list[Any] = []

        def make() -> Any:
            ends.append(SocketEchoServer())
            return ends[-1]

        port = await UNIXServerEndpoint(reactor, path).listen(make_server_factory(clock, make))
        self.addCleanup(port.stopListening)
        client = SocketClient()
        client.factory = make_client_factory(clock)
        await connectProtocol(UNIXClientEndpoint(reactor, path), client)
        await client.opened
        client.send_data(b"over a UNIX socket")
        await client.want(18)
        self.assertEqual(client.payloads, [b"over a UNIX socket"])
        client.close()
        self.assertIs(await ends[0].lost, ConnectionDone)
        await client.lost
        self.assertEqual(clock.getDelayedCalls(), [])
