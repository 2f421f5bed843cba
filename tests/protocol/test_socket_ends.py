"""
How connections over real sockets end: by a reset, or in order.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from twisted.trial.unittest import TestCase

from sodiumtwist import InactivityTimeout, Limits, SingleLogin, SodiumServerFactory, Timeouts
from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.events import Authenticated, AuthenticationRequested, DataReceived
from sodiumtwist.protocol.reading import READ_AHEAD
from sodiumtwist.transfer.acknowledgements import acknowledgement
from sodiumtwist.transfer.receiver import UploadFactory, UploadReceiver
from sodiumtwist.transfer.stores import FileStore

from ..core.peers import wire_of
from ..over_sockets import RawPeer, SocketClient, SocketEchoServer, SocketServer, later
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, make_client_factory, make_server_factory
from ..ports import port_number
from ..uploads import MemoryStore
from ..versions import only


class SocketEndTestCase(TestCase):
    """Has a raw peer. What it does before the reactor's next turn has happened when that comes."""

    timeout = 10

    async def connect_peer(self, factory: SodiumServerFactory) -> RawPeer:
        """Connect a client in the test's hands, which was let in."""
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        transport = socket.create_connection(("127.0.0.1", port_number(port)))
        self.addCleanup(transport.close)
        peer = RawPeer(transport, client := ClientConnection(SERVER_PAIR.public, LOGIN, PASSPHRASE, 0))
        transport.sendall(wire_of(client.initiate))
        (hello,) = await peer.receive()
        self.assertIsInstance(hello, Authenticated)
        return peer


@only(1)
class ServerTests(SocketEndTestCase):
    """A server whose client leaves."""

    async def start(self, protocol: Callable[[], SocketServer] = SocketEchoServer) -> tuple[SocketServer, RawPeer]:
        servers: list[SocketServer] = []

        def make() -> SocketServer:
            servers.append(protocol())
            return servers[-1]

        peer = await self.connect_peer(make_server_factory(Clock(), make))
        return servers[0], peer

    async def test_reset_before_an_answer(self) -> None:
        """It is our own sending that the system tells of it, and the reading that comes next sees an end in order."""
        server, peer = await self.start()
        peer.send(b"one", b"two")
        peer.reset()
        self.assertIs(await server.lost, ConnectionLost)
        self.assertEqual(server.payloads, [b"one", b"two"])

    async def test_reset_with_answers_unread(self) -> None:
        server, peer = await self.start()
        peer.send(b"one")
        await server.want(3)
        peer.send(b"two")
        peer.reset()
        self.assertIs(await server.lost, ConnectionLost)
        self.assertEqual(server.payloads, [b"one", b"two"])

    async def test_reset_before_many_answers(self) -> None:
        """More than leave in one go: those behind the one that failed find a broken pipe."""
        server, peer = await self.start()
        peer.send(*[bytes(1000)] * 20)
        peer.reset()
        self.assertIs(await server.lost, ConnectionLost)
        self.assertEqual(server.payloads, [bytes(1000)] * 20)

    async def test_reset_while_paused(self) -> None:
        """Though the application takes nothing, and no time passes."""

        class Server(SocketServer):
            def authenticated(self) -> None:
                self.pauseProducing()

        server, peer = await self.start(Server)
        peer.send(bytes(1000))
        peer.reset()
        self.assertIs(await server.lost, ConnectionLost)
        self.assertEqual(server.payloads, [])

    async def test_process_that_stood_still(self) -> None:
        """Timers go off before sockets are read. What came meanwhile is read first; then silence counts."""
        timeouts = Timeouts(inactivity=15, ping_interval=2.5, outstanding_pongs=100)
        servers: list[SocketServer] = []
        passed, seconds = 0.0, reactor.seconds
        # No time passes really, so a machine that is slow makes no difference.
        self.patch(reactor, "seconds", lambda: seconds() + passed)

        def make() -> SocketServer:
            servers.append(SocketServer())
            return servers[-1]

        peer = await self.connect_peer(make_server_factory(reactor, make, timeouts=timeouts))
        for number in range(2):
            passed += 5
            await task.deferLater(reactor, 0.1)  # in which it was asked for a PONG
            peer.send(bytes([number]) * 100_000)
            passed += 20
            await task.deferLater(reactor, 0)
        await servers[0].want(200_000)
        passed += 5
        await task.deferLater(reactor, 0.1)
        passed += 20
        self.assertIs(await servers[0].lost, InactivityTimeout)

    test_process_that_stood_still.timeout = 200  # type: ignore[attr-defined]  # trial's; what passes there counts

    async def test_reset_while_the_socket_is_full(self) -> None:
        """Then it is the reactor that finds it."""
        full: Deferred[None] = Deferred()

        class Server(SocketServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                while not self._outbox.blocked:
                    self.send_data(bytes(100_000))
                reactor.callLater(0, full.callback, None)

        server, peer = await self.start(Server)
        peer.send(b"go")
        await full
        peer.reset()
        self.assertIs(await server.lost, ConnectionLost)

    async def test_turned_away(self) -> None:
        """
        The socket of one that is turned away is closed at once: all that wait are accepted before the reactor closes
        any, and would take the descriptors of those that are let in. That of another, which made room, is not.
        """
        made: list[tuple[SocketServer, bool]] = []

        class Arriving(SocketServer):
            def connectionMade(self) -> None:
                super().connectionMade()
                made.append((self, self.transport.getHandle().fileno() < 0))  # type: ignore[attr-defined]

        for limits, closed in ((Limits(per_address=1), [False, True]), (Limits(connections=1), [False, False])):
            made.clear()
            factory = make_server_factory(None, Arriving, limits=limits)
            port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
            self.addCleanup(port.stopListening)
            for _ in range(2):
                peer = socket.socket()
                self.addCleanup(peer.close)
                peer.setblocking(False)
                peer.connect_ex(("127.0.0.1", port_number(port)))
            while len(made) < 2:
                await task.deferLater(reactor, 0)
            self.assertEqual([was for _, was in made], closed)
            gone, stays = (made[1][0], made[0][0]) if closed[1] else (made[0][0], made[1][0])
            await gone.lost
            self.assertEqual(factory.connections, {stays})
            stays.abort()
            await stays.lost

    async def test_end_while_answering(self) -> None:
        """A client that sends no more and reads on gets all its answers, and then the end."""
        server, peer = await self.start()
        payloads = [bytes([number]) * 2000 for number in range(5)]
        peer.send(*payloads)
        peer.end()
        answers = []
        while events := await peer.receive():
            answers += events
        self.assertEqual(answers, [DataReceived(payload) for payload in payloads])
        self.assertIs(await server.lost, ConnectionDone)
        self.assertEqual(server.payloads, payloads)

    async def test_close_before_the_answers(self) -> None:
        """All that was sent is delivered, though nobody is there for the answers; the second finds a broken pipe."""
        server, peer = await self.start()
        payloads = [bytes([number]) * 3000 for number in range(5)]
        peer.send(*payloads)
        peer.close()
        self.assertIs(await server.lost, ConnectionDone)
        self.assertEqual(server.payloads, payloads)


class Receiver(UploadReceiver):
    """Tells when its connection is over."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: Deferred[type[BaseException] | None] = Deferred()

    def connection_lost(self, reason: Failure) -> None:
        super().connection_lost(reason)
        later(self.lost, reason.type)


@only(1)
class UploadTests(SocketEndTestCase):
    """An upload as the reference client makes it, whose end is that of the connection, onto a file that stands."""

    async def begin(self) -> tuple[Receiver, RawPeer]:
        """Have half of it acknowledged."""
        self.directory = FilePath(self.mktemp())
        self.directory.makedirs()
        file = self.directory.child("file")
        file.setContent(b"the old one")
        receiver = Receiver()
        factory = UploadFactory(FileStore(file.path), SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=Clock())
        factory.protocol = lambda: receiver
        peer = await self.connect_peer(factory)
        peer.send(b"one half, ")
        self.assertEqual(await peer.receive(), [DataReceived(acknowledgement(10))])
        return receiver, peer

    def files(self) -> dict[str, bytes]:
        return {path.basename(): path.getContent() for path in self.directory.children()}

    async def test_reset(self) -> None:
        """It is kept as partial, though the acknowledgement was the first to find the connection broken."""
        receiver, peer = await self.begin()
        peer.send(b"a bit")
        peer.reset()
        self.assertIs(await receiver.lost, ConnectionLost)
        self.assertEqual(self.files(), {"file": b"the old one", "file.partial": b"one half, a bit"})

    async def test_end(self) -> None:
        receiver, peer = await self.begin()
        peer.send(b"the other")
        peer.end()
        self.assertIs(await receiver.lost, ConnectionDone)
        self.assertEqual(self.files(), {"file": b"one half, the other"})

    async def test_left_while_it_waits(self) -> None:
        """A client that leaves while it waits for its turn, with more sent than is read ahead, has none any more."""
        store = MemoryStore()
        store.slow = True
        receiver = Receiver()
        factory = UploadFactory(store, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=Clock())
        factory.protocol = lambda: receiver
        peer = await self.connect_peer(factory)
        peer.send(b"some", *[bytes(READ_AHEAD)] * 2)
        while not receiver._reading.paused:
            await task.deferLater(reactor, 0.001)
        peer.close()
        store.slow = False
        store.opening.pop().callback(None)
        await receiver.lost
        self.assertEqual([(upload.content, upload.outcome) for upload in store.uploads], [(b"", "abandoned")])
        self.assertEqual(factory.receiving, set())


@only(1)
class ClientTests(SocketEndTestCase):
    """A client whose server leaves."""

    async def start(self) -> tuple[SocketClient, RawPeer]:
        class Client(SocketClient):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.send_data(payload)

        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        endpoint = TCP4ClientEndpoint(reactor, *listening.getsockname())
        client = await endpoint.connect(make_client_factory(Clock(), Client))
        assert isinstance(client, Client)
        transport, _ = listening.accept()
        self.addCleanup(transport.close)
        peer = RawPeer(transport, server := ServerConnection(SERVER_PAIR, 0))
        (request,) = await peer.receive()
        self.assertIsInstance(request, AuthenticationRequested)
        transport.sendall(wire_of(server.accept, 0))
        await client.opened
        return client, peer

    async def test_reset(self) -> None:
        client, peer = await self.start()
        peer.send(b"one", b"two")
        peer.reset()
        self.assertIs(await client.lost, ConnectionLost)
        self.assertEqual(client.payloads, [b"one", b"two"])

    async def test_end(self) -> None:
        client, peer = await self.start()
        peer.send(b"one", b"two")
        peer.end()
        self.assertEqual(await peer.receive(), [DataReceived(b"one"), DataReceived(b"two")])
        self.assertIs(await client.lost, ConnectionDone)
        self.assertEqual(client.payloads, [b"one", b"two"])
