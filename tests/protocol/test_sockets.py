"""
The protocol over real sockets.
"""

from __future__ import annotations

import os
import random
import socket
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.application.internet import ClientService
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, ISystemHandle, ITCPTransport, ITLSTransport
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist import AuthenticationFailed, SodiumClientFactory, SodiumServerFactory
from sodiumtwist.core.v1.messages import SEALED_CLIENT_AUTH_SIZE
from sodiumtwist.protocol.sockets import TransportBelow

from ..certificates import Authority
from ..checkers import AnyChecker, AvatarId
from ..memory_sockets import MemoryReactor, socket_pair
from ..over_sockets import Signalling, SocketClient, SocketEchoServer, SocketServer, later
from ..pair import (
    CLIENT_PAIR,
    LOGIN,
    Boom,
    ClientArguments,
    MemoryTransport,
    Recorder,
    cut,
    make_client_factory,
    make_server_factory,
)
from ..payload_producers import PullSource
from ..ports import port_number
from ..versions import each_version, only

if TYPE_CHECKING:
    from typing_extensions import Unpack


def has_no_delay(end: Recorder) -> bool:
    return bool(cast(ITCPTransport, end.transport).getTcpNoDelay())


def shrink(end: Recorder) -> None:
    """Have the system buffer little of what is sent."""
    handle = cast(socket.socket, cast(ISystemHandle, end.transport).getHandle())
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


class UnreadTests(SynchronousTestCase):
    """What a transport knows of bytes that came and are not read yet."""

    def test_unread(self) -> None:
        """The system is asked, and nothing is taken from it."""
        one, other = socket.socketpair()
        with one, other:
            transport: Any = Connection(one, Protocol(), MemoryReactor())
            below = TransportBelow(transport)
            self.assertEqual(below.unread(), 0)
            other.sendall(bytes(10))
            self.assertEqual(below.unread(), 10)
            self.assertEqual(one.recv(20), bytes(10))
        self.assertEqual(below.unread(), 0)

    def test_others(self) -> None:
        """Of what is no socket, or has none in the system, it is not known."""
        memory = Connection(socket_pair()[0], Protocol(), MemoryReactor())  # type: ignore[arg-type]
        transports: tuple[Any, ...] = (MemoryTransport(Protocol()), memory)
        for transport in transports:
            self.assertEqual(TransportBelow(transport).unread(), 0)


@each_version
class SocketTests(TestCase):
    """
    Over real sockets. Time is the test's own, but for producers, which ask the reactor.
    """

    timeout = 10

    def setUp(self) -> None:
        self.servers: list[SocketServer] = []

    def server_factory(self, server: Callable[[], SocketServer], clock: IReactorTime) -> SodiumServerFactory:
        """Makes servers' ends, which are then in ``servers``."""

        def make() -> SocketServer:
            self.servers.append(server())
            return self.servers[-1]

        return make_server_factory(clock, make)

    async def listen(self, factory: SodiumServerFactory) -> TCP4ClientEndpoint:
        """Listen over TCP, and tell where to connect."""
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port))

    async def connect_to(self, endpoint: IStreamClientEndpoint, factory: SodiumClientFactory) -> SocketClient:
        """Connect a client, until the test is over."""
        client = await endpoint.connect(factory)
        assert isinstance(client, SocketClient)
        self.addCleanup(self._end, client)
        return client

    def _end(self, client: SocketClient) -> Deferred[list[type[BaseException] | None]]:
        """Leave no socket to the next test."""
        ends: list[Signalling] = [client, *self.servers]
        for end in ends:
            end.abort()
        return gatherResults([end.lost for end in ends])

    async def connect(
        self,
        server: Callable[[], SocketServer] = SocketServer,
        client: Callable[[], SocketClient] = SocketClient,
        clock: IReactorTime | None = None,
        **arguments: Unpack[ClientArguments],
    ) -> SocketClient:
        """Connect over TCP; nobody has been let in yet."""
        clock = clock or Clock()
        endpoint = await self.listen(self.server_factory(server, clock))
        return await self.connect_to(endpoint, make_client_factory(clock, client, **arguments))

    async def start(
        self,
        server: Callable[[], SocketServer] = SocketServer,
        clock: IReactorTime | None = None,
        **arguments: Unpack[ClientArguments],
    ) -> tuple[SocketServer, SocketClient]:
        """Connect over TCP, and have the client let in."""
        client = await self.connect(server, clock=clock, **arguments)
        await client.opened
        return self.servers[0], client

    async def test_session(self) -> None:
        server, client = await self.start(SocketEchoServer, pair=CLIENT_PAIR)
        assert server.peer is not None
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
        self.assertTrue(has_no_delay(server))
        self.assertTrue(has_no_delay(client))

    async def test_refused(self) -> None:
        client = await self.connect(passphrase="wrong")
        self.assertIs(await client.lost, AuthenticationFailed)

    async def test_refused_with_much_early_data(self) -> None:
        """Whether the system says that the connection was closed or reset."""

        class Client(SocketClient):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.write(bytes(3_000_000))

        client = await self.connect(client=Client, passphrase="wrong")
        self.assertIs(await client.lost, AuthenticationFailed)

    async def test_abort(self) -> None:
        """The peer sees a reset."""
        server, client = await self.start()
        client.abort(Boom("enough"))
        self.assertIs(await client.lost, Boom)
        self.assertIs(await server.lost, cut())

    async def test_close_delivers_much(self) -> None:
        server, client = await self.start()
        client.write(bytes(3_000_000))
        client.close()
        self.assertIs(await server.lost, ConnectionDone)
        self.assertEqual(sum(map(len, server.payloads)), 3_000_000)

    async def test_both_directions(self) -> None:
        """A pull producer over a real socket, to a server that echoes."""
        server, client = await self.start(SocketEchoServer, reactor)
        payloads = [random.Random(index).randbytes(100_000) for index in range(30)]
        source = PullSource(client, payloads)
        client.registerProducer(source, False)
        await client.want(3_000_000)
        self.assertEqual(b"".join(client.payloads), b"".join(payloads))

    async def test_small_buffers(self) -> None:
        """Of what they are given at once, sockets take a part: the rest keeps its order."""

        class Client(SocketClient):
            def connectionMade(self) -> None:
                super().connectionMade()
                shrink(self)

        class Server(SocketEchoServer):
            def connectionMade(self) -> None:
                super().connectionMade()
                shrink(self)

        client = await self.connect(Server, Client, reactor)
        await client.opened
        noise = random.Random(11)
        payloads = [noise.randbytes(noise.choice([0, 10, 1000, 10_000, 60_000])) for _ in range(60)]
        for payload in payloads[:30]:
            client.send_data(payload)
        client.registerProducer(PullSource(client, payloads[30:]), False)
        await client.want(sum(map(len, payloads)))
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

    async def listen_tls(self, server: Callable[[], SocketServer]) -> IStreamClientEndpoint:
        """Listen over TLS, whose transport is a protocol on another one, and tell where to connect."""
        authority = Authority("known")
        directory = self.mktemp()
        os.mkdir(directory)
        with open(authority.issue(os.path.join(directory, "certificate"), "localhost"), "rb") as file:
            certificate = PrivateCertificate.loadPEM(file.read())
        listening = SSL4ServerEndpoint(reactor, 0, certificate.options(), interface="127.0.0.1")
        port = await listening.listen(self.server_factory(server, Clock()))
        self.addCleanup(port.stopListening)
        return wrapClientTLS(
            optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(authority.pem())),
            TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port)),
        )

    async def start_tls(
        self, server: Callable[[], SocketServer], client: Callable[[], SocketClient]
    ) -> tuple[SocketServer, SocketClient]:
        """Connect over TLS."""
        client_end = await self.connect_to(await self.listen_tls(server), make_client_factory(Clock(), client))
        await client_end.opened
        return self.servers[0], client_end

    @only(1)
    async def test_flood_before_the_decision(self) -> None:
        """A client that sends much and is not decided on makes us hold 400 bytes, while another one is served."""
        held: list[int] = []
        flooded: Deferred[None] = Deferred()

        class Server(SocketEchoServer):
            def dataReceived(self, data: bytes) -> None:
                if not self.is_authenticated:
                    held.append(len(data) + self._connection.buffered)
                super().dataReceived(data)
                if not flooded.called and self.login is not None and self._connection.buffered:
                    later(flooded, None)

        late: Deferred[AvatarId] = Deferred()
        decisions: list[bytes | Deferred[AvatarId]] = [LOGIN.encode(), late]
        factory = self.server_factory(Server, Clock())
        factory.checker = AnyChecker(lambda credentials: decisions.pop())
        endpoint = await self.listen(factory)
        first = await self.connect_to(endpoint, make_client_factory(Clock(), SocketClient))
        flood = random.Random(3).randbytes(3_000_000)
        first.write(flood)
        await flooded
        second = await self.connect_to(endpoint, make_client_factory(Clock(), SocketClient))
        await second.opened
        second.send_data(b"served")
        await second.want(6)
        self.assertEqual(max(held), SEALED_CLIENT_AUTH_SIZE)
        late.callback(LOGIN.encode())
        await first.want(len(flood))
        self.assertEqual(b"".join(first.payloads), flood)
        self.assertEqual(max(held), SEALED_CLIENT_AUTH_SIZE)

    async def test_unsent(self) -> None:
        """What a socket holds can be told, and can no longer when TLS was begun on it."""
        server, client = await self.start()
        client.write(bytes(1_000_000))
        self.assertGreater(TransportBelow(client.transport).unsent(), 0)
        cast(ITLSTransport, client.transport).startTLS(optionsForClientTLS("localhost"))
        self.assertEqual(TransportBelow(client.transport).unsent(), 0)

    async def test_broken_unread(self) -> None:
        """
        A socket tells that it is broken also where nothing is read, and tells it again to whoever reads, behind what
        came before. An end in order is not a break.
        """
        for resets in (True, False):
            server, client = await self.start()
            below = TransportBelow(client.transport)
            client.transport.pauseProducing()
            here, there = (
                cast(socket.socket, cast(ISystemHandle, end.transport).getHandle()) for end in (client, server)
            )
            there.send(b"before")
            if resets:
                server.abort()
            else:
                server._below.close()  # and says no end before that
            await server.lost
            self.assertEqual([below.is_broken, below.is_broken], [resets, resets])
            self.assertEqual(here.recv(100), b"before")
            if resets:
                self.assertRaises(ConnectionResetError, here.recv, 100)
            client.abort()
            await client.lost
            self.servers.clear()

    async def assert_closes(self, server: SocketServer, client: SocketClient, lose: Callable[[], None]) -> None:
        """With much on its way, all of which arrives."""
        data = random.Random(13).randbytes(3_000_000)
        client.write(data)
        lose()
        self.assertIs(await server.lost, ConnectionDone)
        self.assertEqual(b"".join(server.payloads), data)
        self.assertIs(await client.lost, ConnectionDone)

    async def test_lose_connection(self) -> None:
        server, client = await self.start()
        assert client.transport is not None
        await self.assert_closes(server, client, client.transport.loseConnection)

    async def test_lose_connection_over_tls(self) -> None:
        server, client = await self.start_tls(SocketServer, SocketClient)
        assert client.transport is not None
        await self.assert_closes(server, client, client.transport.loseConnection)

    async def test_client_service_stops(self) -> None:
        """Over TLS, too, whose own ``loseConnection`` waits for the producer that we are; idle, or with much unsent."""
        tcp = await self.listen(self.server_factory(SocketServer, Clock()))
        tls = await self.listen_tls(SocketServer)
        for endpoint, size in ((tcp, 0), (tls, 0), (tcp, 3_000_000), (tls, 3_000_000)):
            service = ClientService(endpoint, make_client_factory(Clock(), SocketClient))
            service.startService()
            client = await service.whenConnected()
            assert isinstance(client, SocketClient)
            await client.opened
            client.write(bytes(size))
            await service.stopService()
            server = self.servers.pop()
            self.assertIs(await server.lost, ConnectionDone)
            self.assertEqual(b"".join(server.payloads), bytes(size))
            self.assertIs(await client.lost, ConnectionDone)

    async def test_tls(self) -> None:
        server, client = await self.start_tls(SocketEchoServer, SocketClient)
        self.assertTrue(has_no_delay(server))
        for end in (server, client):
            below = cast(ISystemHandle, cast(ProtocolWrapper, end.transport).transport)
            handle = cast(socket.socket, below.getHandle())
            self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
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
        port = await UNIXServerEndpoint(reactor, path).listen(self.server_factory(SocketEchoServer, clock))
        self.addCleanup(port.stopListening)
        client = SocketClient()
        client.factory = make_client_factory(clock)
        await connectProtocol(UNIXClientEndpoint(reactor, path), client)
        await client.opened
        client.send_data(b"over a UNIX socket")
        await client.want(18)
        self.assertEqual(client.payloads, [b"over a UNIX socket"])
        client.close()
        self.assertIs(await self.servers[0].lost, ConnectionDone)
        await client.lost
        self.assertEqual(clock.getDelayedCalls(), [])
