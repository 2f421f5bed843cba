"""
Endpoints that wrap others, over loopback.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

from twisted.application.internet import ClientService
from twisted.cred.credentials import UsernamePassword
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IListeningPort, IProtocol, ISSLTransport, ITLSTransport, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.wire import Echo
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from sodiumtwist import SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint
from sodiumtwist.core.errors import AuthenticationFailed, LocalProtocolError
from sodiumtwist.endpoints.streams import ServerStream, StreamServerFactory

from ..certificates import tls_contexts
from ..checkers import Undecided
from ..lines import Lines, connect_lines
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR
from ..ports import port_number
from ..versions import each_version, spoken


@each_version
class WrapperTests(TestCase):
    """Endpoints that wrap others, with real sockets."""

    async def listen(self, protocol: type[Protocol], where: str = "tcp:0:interface=127.0.0.1") -> IListeningPort:
        self.checker = SingleLogin(LOGIN, PASSPHRASE)
        below = serverFromString(reactor, where)
        port = await SodiumServerEndpoint(below, SERVER_PAIR, self.checker).listen(Factory.forProtocol(protocol))
        self.addCleanup(port.stopListening)
        return port

    def client(self, where: str, passphrase: str = PASSPHRASE) -> SodiumClientEndpoint:
        return SodiumClientEndpoint(
            clientFromString(reactor, where), SERVER_PAIR.public, LOGIN, passphrase, version=spoken()
        )

    def note(self, built: list[Echo]) -> Callable[[], Echo]:
        """Makes applications, and notes those that it made."""

        def build() -> Echo:
            built.append(Echo())
            return built[-1]

        return build

    def test_no_such_version(self) -> None:
        """It is told at once, not when somebody connects."""
        below, there = serverFromString(reactor, "tcp:0"), clientFromString(reactor, "tcp:host:1")
        login = SingleLogin(LOGIN, PASSPHRASE)
        for versions in ((), (3,), (1, 3)):
            with self.assertRaisesRegex(LocalProtocolError, "a server speaks some of the versions"):
                SodiumServerEndpoint(below, SERVER_PAIR, login, versions=versions)
        with self.assertRaisesRegex(LocalProtocolError, "a client speaks some of the versions"):
            SodiumClientEndpoint(there, SERVER_PAIR.public, version=3)

    async def test_sockets(self) -> None:
        """A line there and back, over TCP and a UNIX socket; closing is seen as such at both ends."""
        path = os.path.join(self.mktemp())
        for where in ("tcp:0:interface=127.0.0.1", f"unix:{path}"):
            port = await self.listen(Echo, where)
            there = f"tcp:127.0.0.1:{port_number(port)}" if where.startswith("tcp") else where
            lines = await connect_lines(self.client(there))
            lines.sendLine(b"hello")
            self.assertEqual(await lines.answered, b"hello")
            lines.transport.loseConnection()
            self.assertIs(await lines.lost, ConnectionDone)

    async def test_start_tls(self) -> None:
        """Applications that begin with TLS at once: the endpoint gives the application, whatever is between."""
        for_server, for_client = tls_contexts()

        class SecureEcho(Echo):
            def connectionMade(self) -> None:
                cast(ITLSTransport, self.transport).startTLS(for_server)

        class SecureLines(Lines):
            def connectionMade(self) -> None:
                verifyObject(ITLSTransport, self.transport)
                cast(ITLSTransport, self.transport).startTLS(for_client)
                verifyObject(ISSLTransport, self.transport)

        port = await self.listen(SecureEcho)
        lines = await self.client(f"tcp:127.0.0.1:{port_number(port)}").connect(Factory.forProtocol(SecureLines))
        assert isinstance(lines, SecureLines)
        lines.sendLine(b"hello")
        self.assertEqual(await lines.answered, b"hello")
        lines.transport.loseConnection()
        self.assertIs(await lines.lost, ConnectionDone)

    async def test_refused(self) -> None:
        """It is a failure to connect, and no application is built."""
        port = await self.listen(Echo)
        built: list[Echo] = []
        factory = Factory.forProtocol(self.note(built))
        endpoint = self.client(f"tcp:127.0.0.1:{port_number(port)}", "wrong")
        why = await self.assertFailure(endpoint.connect(factory), AuthenticationFailed)
        self.assertEqual(built, [])
        # What tries again logs the endpoint, and not why.
        self.assertTrue(repr(endpoint).endswith(f"; the last try failed: {why}>"), repr(endpoint))

    async def test_failure_is_forgotten(self) -> None:
        """When a later try succeeds, the endpoint no longer shows why one before it failed."""
        port = await self.listen(Echo)
        endpoint = self.client("tcp:127.0.0.1:1")
        untried = repr(endpoint)
        await self.assertFailure(endpoint.connect(Factory.forProtocol(Echo)), ConnectError)
        self.assertIn("; the last try failed: nothing listens there", repr(endpoint))
        self.patch(endpoint, "_endpoint", clientFromString(reactor, f"tcp:127.0.0.1:{port_number(port)}"))
        lines = await connect_lines(endpoint)
        self.assertEqual(repr(endpoint), untried.replace(":1,", f":{port_number(port)},"))
        lines.transport.loseConnection()
        await lines.lost

    async def test_cancel(self) -> None:
        """A connection that waits for the server's hello is dropped, and no application is built."""
        built: list[Echo] = []
        checker = Undecided()
        lost: Deferred[None] = Deferred()

        class Watched(ServerStream):
            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                lost.callback(None)

        self.patch(StreamServerFactory, "protocol", Watched)
        below = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port = await SodiumServerEndpoint(below, SERVER_PAIR, checker).listen(Factory.forProtocol(Echo))
        self.addCleanup(port.stopListening)
        factory = Factory.forProtocol(self.note(built))
        endpoint = self.client(f"tcp:127.0.0.1:{port_number(port)}")
        connecting = endpoint.connect(factory)
        await checker.asked
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await lost
        self.assertEqual(built, [])
        self.assertNotIn("failed", repr(endpoint))

    async def test_large_answer_before_close(self) -> None:
        """All of it arrives, though the other end was still sending."""

        class Flood(Protocol):
            transport: ITransport

            def dataReceived(self, data: bytes) -> None:
                self.transport.write(bytes(5_000_000))
                self.transport.loseConnection()

        class Sink(Protocol):
            transport: ITransport
            received = 0

            def connectionMade(self) -> None:
                self.lost: Deferred[type[BaseException] | None] = Deferred()
                self.transport.write(bytes(3_000_000))

            def dataReceived(self, data: bytes) -> None:
                self.received += len(data)

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                self.lost.callback(reason.type)

        port = await self.listen(Flood)
        sink = await self.client(f"tcp:127.0.0.1:{port_number(port)}").connect(Factory.forProtocol(Sink))
        assert isinstance(sink, Sink)
        self.assertIs(await sink.lost, ConnectionDone)
        self.assertEqual(sink.received, 5_000_000)

    async def test_client_service_after_a_refusal(self) -> None:
        """It tries again, and gets in when the server has changed its mind."""
        port = await self.listen(Echo)
        refusals: list[None] = []
        checker = self.checker
        letting_in = checker.requestAvatarId

        def decide(credentials: UsernamePassword) -> bytes:
            if len(refusals) < 2:
                refusals.append(None)
                return SingleLogin(LOGIN, "another").requestAvatarId(credentials)
            return letting_in(credentials)

        self.patch(checker, "requestAvatarId", decide)
        endpoint = self.client(f"tcp:127.0.0.1:{port_number(port)}")
        attempts: list[int] = []

        def policy(attempt: int) -> float:
            attempts.append(attempt)
            return 0.0

        service = ClientService(endpoint, Factory.forProtocol(Lines), retryPolicy=policy)
        service.startService()
        self.addCleanup(service.stopService)
        await self.assertFailure(service.whenConnected(failAfterFailures=1), AuthenticationFailed)
        connected: Deferred[IProtocol] = Deferred()
        reactor.callLater(0, lambda: service.whenConnected().chainDeferred(connected))
        lines = await connected
        assert isinstance(lines, Lines)
        self.assertEqual(len(refusals), 2)
        self.assertEqual(attempts, [1, 2])
        lines.sendLine(b"hello")
        self.assertEqual(await lines.answered, b"hello")
