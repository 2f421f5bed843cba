"""
Tests of :mod:`sodiumtwist.protocol.no_hello`: what a client says of a server that leaves before its hello. Over sockets
in memory, which close and reset as Linux does.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import fail
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    AuthenticationFailed,
    AuthenticationTimeout,
    AuthorizedKeys,
    DecryptionFailed,
    KeyPair,
    Limits,
    ServerUnavailable,
    Timeouts,
)
from sodiumtwist.core.wire import SEALED_CLIENT_AUTH_SIZE
from sodiumtwist.protocol import sockets
from sodiumtwist.protocol.no_hello import Answer, Ending, explain
from sodiumtwist.protocol.server import REFUSED_CLOSING_TIME
from sodiumtwist.protocol.sockets import TransportBelow

from .. import memory_sockets
from ..checkers import AnyChecker
from ..memory_sockets import MemoryConnection, MemoryReactor, has_error, socket_pair
from ..pair import CLIENT_PAIR, RecordingClient, RecordingServer, make_client_factory, make_server_factory
from ..versions import only
from .test_rest import ADDRESS, RestTestCase

FULL = "the server left before it took the login: it is full, .*; a later try may go well"
REFUSED = "wrong login or passphrase; else no server of this protocol is there, or TLS is .*"
OTHER_KEY = KeyPair.from_secret(bytes(range(2, 34))).public


class Closer(Protocol):
    """What forwards, with nothing behind it."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class Talker(RecordingClient):
    """Sends much behind its login."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.write(bytes(9000))


class LateTalker(RecordingClient):
    """
    Goes on to send, just when its login is refused.

    :cvar times: how often.
    """

    times = 0

    def send_more(self) -> None:
        if self.times and self.why is None:
            self.times -= 1
            self.write(bytes(1000))
            self.factory.clock.callLater(0, self.send_more)

    def connectionMade(self) -> None:
        super().connectionMade()
        self.send_more()


@only(1)
class NoHelloTests(RestTestCase):
    """A client's end, and what it connects to."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(sockets, "_has_error", has_error)
        self.patch(sockets, "_kernel_confirmed", lambda handle: handle.delivered)

    def ask(self, server: IProtocolFactory, kind: Callable[[], RecordingClient] = RecordingClient, **us: Any) -> Any:
        """Connect a client, which is told why it was not let in."""
        client = make_client_factory(self.reactor, kind, **us)
        self.connect(server, client)
        return self.told()

    def told(self) -> Any:
        assert isinstance(self.client, RecordingClient)
        assert self.client.reason is not None
        return self.client.reason.value

    def assert_error(self, error: BaseException, kind: type[BaseException], says: str) -> None:
        self.assertIs(type(error), kind)
        self.assertRegex(str(error), f"^{says}$")

    def test_refused(self) -> None:
        """
        Login or passphrase are wrong. Where the client has a key that may be the reason, too. The server does not read
        what came behind the login, and yet does not close with that unread.
        """
        self.patch(memory_sockets, "BUFFER_SIZE", SEALED_CLIENT_AUTH_SIZE)
        for kind in (RecordingClient, Talker):
            server = make_server_factory(self.reactor)
            self.assert_error(self.ask(server, kind, passphrase="wrong"), AuthenticationFailed, REFUSED)
            server = make_server_factory(self.reactor, authorized_keys=AuthorizedKeys([(bytes(32), None)]))
            self.assert_error(
                self.ask(server, kind, pair=CLIENT_PAIR),
                AuthenticationFailed,
                "wrong login or passphrase, or our key is not listed there for this login; else no server .*",
            )

    def test_refused_while_it_sends(self) -> None:
        """A refusal is not taken for a reset, however much the client sends behind its login, and when."""
        for times in range(1, 12):
            self.patch(LateTalker, "times", times)
            error = self.ask(make_server_factory(self.reactor), LateTalker, passphrase="wrong")
            self.assert_error(error, AuthenticationFailed, REFUSED)

    def test_refused_and_stays(self) -> None:
        """Who was refused is not waited for longer than a second, and a client that goes on to send one more."""

        class Staying(LateTalker):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.pauseProducing()

        for times, looks in ((0, 1), (100, 2)):
            self.patch(LateTalker, "times", times)
            self.connect(make_server_factory(self.reactor), make_client_factory(self.reactor, Staying, passphrase="no"))
            assert isinstance(self.server, RecordingServer)
            for _ in range(looks):
                self.assertIsNone(self.server.why)
                self.reactor.advance(REFUSED_CLOSING_TIME)
                self.run_all()
            self.assertIs(self.server.why, AuthenticationFailed)

    def test_full(self) -> None:
        """A server without room resets, whatever the client has sent."""
        for kind, pair in ((RecordingClient, None), (RecordingClient, CLIENT_PAIR), (Talker, None)):
            server = make_server_factory(self.reactor, limits=Limits(connections=1))
            self.connect(server, make_client_factory(self.reactor))
            self.assert_error(self.ask(server, kind, pair=pair), ServerUnavailable, FULL)

    def test_could_not_be_checked(self) -> None:
        """Nobody knows whether the login is right, so it is not refused."""
        checker = AnyChecker(lambda credentials: fail(OSError("no database")))
        for kind in (RecordingClient, Talker):
            self.assert_error(
                self.ask(make_server_factory(self.reactor, checker=checker), kind), ServerUnavailable, FULL
            )

    def test_closes_at_once(self) -> None:
        """What accepts and closes has not read the login, whichever of both comes first."""
        closer = Factory.forProtocol(Closer)
        for pair in (None, CLIENT_PAIR):
            self.assert_error(self.ask(closer, pair=pair), ServerUnavailable, FULL)
            for login_first in (True, False):
                self.server_socket, self.client_socket = socket_pair()
                client, server = make_client_factory(self.reactor, pair=pair), Closer()
                self.client = client.buildProtocol(ADDRESS)
                assert self.client is not None
                if login_first:
                    MemoryConnection(self.client_socket, self.client, self.reactor)
                    self.client_socket.move()
                MemoryConnection(self.server_socket, server, self.reactor)
                self.reactor.turn()
                if not login_first:
                    MemoryConnection(self.client_socket, self.client, self.reactor)
                self.run_all()
                self.assert_error(self.told(), ServerUnavailable, FULL)

    def test_wrong_server_key(self) -> None:
        """The server is silent. It is the same error whoever's time is up first."""
        server = make_server_factory(self.reactor, timeouts=Timeouts(authentication=10))
        for seconds, says in (
            (5, "not authenticated within 5 seconds: the server is silent; most likely a wrong server key; else .*"),
            (15, "the server was silent for 10 seconds and left; most likely a wrong server key; else .*"),
        ):
            timeouts = Timeouts(authentication=seconds)
            self.connect(server, make_client_factory(self.reactor, server_key=OTHER_KEY, timeouts=timeouts))
            for _ in range(30):
                self.reactor.advance(0.5)
                self.run_all()
            self.assert_error(self.told(), AuthenticationTimeout, says)

    def test_something_else_waits(self) -> None:
        """What has sent something was not silent, also where it waits for more until our time is up."""

        class Greeter(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"SSH-2.0-")

        self.connect(Factory.forProtocol(Greeter), make_client_factory(self.reactor))
        for _ in range(30):
            self.reactor.advance(0.5)
            self.run_all()
        self.assert_error(
            self.told(), DecryptionFailed, "the answer, 8 bytes, is no hello; an SSH server answers at that port"
        )

    def test_wrong_server_key_and_little_time(self) -> None:
        """A server that gives strangers little time closes early. That may be a slow refusal, too."""
        server = make_server_factory(self.reactor, timeouts=Timeouts(authentication=1))
        self.connect(server, make_client_factory(self.reactor, server_key=OTHER_KEY))
        self.reactor.advance(1)
        self.run_all()
        says = REFUSED.replace("wrong login", "wrong server key, login")
        self.assert_error(self.told(), AuthenticationFailed, says)

    def test_tls_handshake(self) -> None:
        """What ends in the handshake of TLS below never saw the login."""
        factory = make_client_factory(self.reactor)
        over_tls = TLSMemoryBIOFactory(optionsForClientTLS("localhost"), True, factory)
        for reason in (ConnectionLost(), ConnectionDone()):
            self.server_socket, self.client_socket = socket_pair()
            layer = over_tls.buildProtocol(ADDRESS)
            assert layer is not None
            self.client = layer.wrappedProtocol
            connection = MemoryConnection(self.client_socket, layer, self.reactor)
            connection.connectionLost(Failure(reason))
            self.assert_error(self.told(), ServerUnavailable, "the connection broke in the TLS handshake; .*")


class ExplainTests(SynchronousTestCase):
    """The judgement itself."""

    def test_no_socket(self) -> None:
        """Then what the transport says counts."""
        self.assertIs(type(explain(None, True, Answer(), 0, 10, False, 1)), AuthenticationFailed)
        self.assertIs(type(explain(None, False, Answer(), 0, 10, False, 1)), ServerUnavailable)

    def test_something_else_answers(self) -> None:
        for in_order in (True, False):
            for first, says in (
                (b"220 host", "is there a server of this protocol"),
                (b"HTTP/1.1", "a web server answers at that port"),
                (b"\x15\x03\x03\0\2\2\x46", "TLS is spoken at that port: connect by an endpoint with TLS, tls:"),
            ):
                error = explain(Ending(True, True), in_order, Answer(7, first), 9, 10, True, 1)
                self.assertIs(type(error), DecryptionFailed)
                self.assertRegex(str(error), f"^the answer, 7 bytes, is no hello; {says}")

    def test_leaves_at_once(self) -> None:
        """So do servers of TLS, most of them without a word."""
        for version in (1, 2):
            for over_tls in (False, True):
                error = explain(Ending(False, False), True, Answer(), 0, 10, False, version, over_tls)
                self.assertEqual("TLS is spoken at that port" in str(error), not over_tls)

    def test_leaves_at_once_in_version_2(self) -> None:
        """
        No server of ours does so, but what a proxy makes of one that was full, or killed. So another try can help, and
        clients that connect again go on.
        """
        for ending in (Ending(False, False), None):
            error = explain(ending, True, Answer(), 0.1, 10, True, 2)
            self.assertIs(type(error), ServerUnavailable)
            self.assertTrue(error.retry_can_help)
            self.assertIn("behind a proxy it may be full", str(error))

    def test_after_silence(self) -> None:
        for waited, kind in ((4.9, AuthenticationFailed), (5, AuthenticationTimeout)):
            self.assertIs(type(explain(Ending(False, False), True, Answer(), waited, 10, False, 1)), kind)
        self.assertIs(type(explain(Ending(False, True), True, Answer(), 9, 10, False, 1)), ServerUnavailable)


class KernelTests(SynchronousTestCase):
    """What this machine's system tells."""

    def test_confirmed(self) -> None:
        """On Linux, of TCP, also when the peer has closed; of others nothing."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            with socket.create_connection(listening.getsockname()) as client, listening.accept()[0] as server:
                client.sendall(bytes(400))
                self.assertEqual(len(server.recv(400, socket.MSG_WAITALL)), 400)
                server.close()
                self.assertEqual(client.recv(1), b"")
                self.assertEqual(sockets._kernel_confirmed(client), 400 if sys.platform == "linux" else None)
        one, other = socket.socketpair()
        with one, other:
            self.assertIsNone(sockets._kernel_confirmed(one))

    def test_unix(self) -> None:
        """A UNIX socket takes bytes as long as its peer is there, whether that has read the login or not."""
        one, other = socket.socketpair()
        one.setblocking(False)
        with one, other:
            connection: Any = Connection(one, Protocol(), MemoryReactor())
            connection.connected = True
            below = TransportBelow(connection)
            self.assertEqual(below.send_at_once(bytes(1000)), b"")
            self.assertEqual(below.confirmed(), (None, 0))
            connection.write(bytes(1000))
            self.assertEqual(below.confirmed(), (None, 0))
            connection.dataBuffer, connection._tempDataBuffer, connection._tempDataLen = b"", [], 0
            other.close()
            connection.write(below.send_at_once(bytes(400)))
            self.assertEqual(below.confirmed(), (None, 400))
