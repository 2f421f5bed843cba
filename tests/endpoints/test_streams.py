"""
Streams: who gets an application, and that what is written arrives.
"""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, NoProtocol
from twisted.internet.interfaces import IProtocolFactory, ITCPTransport, ITransport
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from sodiumtwist import ISodiumTransport, SingleLogin
from sodiumtwist.core.errors import RemoteProtocolError
from sodiumtwist.endpoints.streams import StreamClientFactory, StreamServerFactory
from sodiumtwist.protocol.sockets import CHUNK_SIZE

from ..applications import Application, Applications, StreamTestCase
from ..pair import CLIENT_PAIR, LOGIN, PASSPHRASE, SERVER_PAIR, Pair
from ..versions import each_version, spoken


@each_version
class AuthenticationTests(StreamTestCase):
    """Who gets an application."""

    def test_nobody_before_the_login(self) -> None:
        self.clock = Clock()
        self.servers, self.clients = Applications(), Applications()
        server_factory = StreamServerFactory(
            self.servers, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=self.clock
        )
        client_factory = StreamClientFactory(
            self.clients, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken(), clock=self.clock
        )
        pair = Pair(server_factory, client_factory, read_size=lambda: 399)
        pair.step()
        self.assertEqual((self.servers.built, self.clients.built), ([], []))
        if spoken() == 1:
            pair.step()
        else:
            pair.flush()
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
            self.assertEqual(transport.getHost(), IPv4Address("TCP", "192.0.2.2", 5555))

    def test_no_protocol(self) -> None:
        """A factory that builds none makes the connection fail."""
        self.start(client=lambda: None)
        self.failureResultOf(self.ready, NoProtocol)

    def test_factories_are_started(self) -> None:
        """The application's factory is told as if it listened itself."""
        calls: list[str] = []
        applications = Applications()
        self.patch(applications, "startFactory", lambda: calls.append("start"))
        self.patch(applications, "stopFactory", lambda: calls.append("stop"))
        factory = StreamServerFactory(applications, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=Clock())
        verifyObject(IProtocolFactory, factory)
        factory.doStart()
        factory.doStop()
        self.assertEqual(calls, ["start", "stop"])


@each_version
class BytesTests(StreamTestCase):
    """What is written arrives."""

    def test_both_ways(self) -> None:
        self.start()
        self.client.transport.write(b"question")
        self.server.transport.writeSequence([b"ans", b"wer"])
        self.flush()
        self.assertEqual((self.server.received, self.client.received), (b"question", b"answer"))

    def begin(self) -> None:
        """Let the client send its first record, which has padding in version 2."""
        self.pair.client.ping()
        self.flush()

    def test_small_writes_leave_together(self) -> None:
        """A thousand writes of one turn are one PDU."""
        self.start()
        self.begin()
        before = len(self.pair.client_transport.writes)
        for _ in range(1000):
            self.client.transport.write(b"x")
        self.flush()
        self.assertEqual(self.pair.client_transport.writes[before:], [1000 + self.overhead])
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
        self.assertEqual(self.pair.server_transport.writes[before:], [10 + self.overhead])
        self.assertEqual(self.client.received, b"0123456789")

    def test_large_write(self) -> None:
        """It is cut into PDUs that fill a read; the rest waits for more of this turn."""
        self.start()
        self.begin()
        data = bytes(range(256)) * 2000
        before, sent_by_server = len(self.pair.client_transport.writes), list(self.pair.server_transport.writes)
        self.client.transport.write(data)
        self.pair.flush()
        whole, rest = divmod(len(data), CHUNK_SIZE)
        self.assertEqual(self.pair.client_transport.writes[before:], [CHUNK_SIZE + self.overhead] * whole)
        self.client.transport.write(b"more")
        self.flush()
        self.assertEqual(self.pair.client_transport.writes[before + whole :], [rest + 4 + self.overhead])
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
        self.assertIs(self.server.why, ConnectionDone)

    def test_only_bytes(self) -> None:
        self.start()
        transport: Any = self.client.transport
        for odd in ("text", 5, [1, 2], None):
            self.assertRaises(TypeError, transport.write, odd)
            self.assertRaises(TypeError, transport.writeSequence, [b"x", odd])
        for call in (lambda: transport.write("text"), lambda: transport.writeSequence("text")):
            self.assertEqual(str(self.assertRaises(TypeError, call)), "Data must be bytes")  # as sockets say it
        self.client.transport.write(bytearray(b"mutable"))  # type: ignore[arg-type]  # more than is promised
        self.flush()
        self.assertEqual(self.server.received, b"mutable")

    def test_options_of_the_socket(self) -> None:
        """Those that the transport below has are there."""
        self.start()
        self.pair.client_transport.no_delay = False
        cast(ITCPTransport, self.client.transport).setTcpNoDelay(True)
        self.assertTrue(self.pair.client_transport.no_delay)
        self.assertFalse(hasattr(self.client.transport, "setTcpKeepAlive"))
