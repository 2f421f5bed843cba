"""
What came before a connection broke, and what was sent before it was closed: over sockets in memory, so that each moment
can be had.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import ClosedByPeer, Peer, RequestClient, SingleLogin, SodiumServerFactory
from sodiumtwist.core.errors import AuthenticationFailed
from sodiumtwist.protocol import sockets
from sodiumtwist.protocol.requests import Responder
from sodiumtwist.protocol.sockets import TransportBelow
from sodiumtwist.transfer.receiver import CLOSED_HERE, UploadFactory, UploadReceiver

from ..applications import Producer
from ..certificates import tls_contexts
from ..logs import logged
from ..memory_sockets import ROOM, MemoryConnection, MemoryReactor, held_by_the_system, socket_pair
from ..pair import (
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    Boom,
    RecordingClient,
    RecordingServer,
    cut,
    make_client_factory,
    make_server_factory,
)
from ..uploads import MemoryStore
from ..versions import each_version, only

ADDRESS = IPv4Address("TCP", "192.0.2.1", 4711)


class RestTestCase(SynchronousTestCase):
    """Has a server's and a client's end."""

    def setUp(self) -> None:
        self.patch(sockets, "_kernel_holds", held_by_the_system)
        self.reactor = MemoryReactor()

    def connect(self, server: IProtocolFactory, client: IProtocolFactory) -> None:
        self.server_socket, self.client_socket = socket_pair()
        self.server, self.client = server.buildProtocol(ADDRESS), client.buildProtocol(ADDRESS)
        assert self.server is not None and self.client is not None
        for handle, protocol in ((self.server_socket, self.server), (self.client_socket, self.client)):
            MemoryConnection(handle, protocol, self.reactor)
        self.run_all()

    def run_all(self) -> None:
        for _ in range(1000):
            moved = [self.server_socket.move(), self.client_socket.move(), self.reactor.turn()]
            if not any(moved):
                return
        raise AssertionError("it goes on and on")


@each_version
class BreakTests(RestTestCase):
    """What came before a reset."""

    def start(self) -> None:
        self.connect(
            make_server_factory(self.reactor, RecordingServer), make_client_factory(self.reactor, RecordingClient)
        )
        assert isinstance(self.server, RecordingServer) and isinstance(self.client, RecordingClient)
        self.ends: tuple[RecordingServer, RecordingClient] = self.server, self.client

    def test_write_that_fails_first(self) -> None:
        """Of the two things that the reactor finds at once, one read and one write, the write does not end it."""
        self.start()
        server, client = self.ends
        # It sends more than is taken, and its producer can be paused, so it reads on.
        server.registerProducer(Producer(), True)
        for _ in range(20):
            server.send_data(bytes(ROOM))
        self.server_socket.move()
        payloads = [bytes([number]) * 300 for number in range(4)]
        for payload in payloads:
            client.send_data(payload)
        self.reactor.removeReader(client.transport)
        self.reactor.removeReader(server.transport)
        self.reactor.turn()
        self.client_socket.move()
        self.client_socket.reset()
        self.client_socket.move()
        self.assertEqual(server.payloads, [])
        self.reactor.turn()
        self.assertIs(server.why, cut())
        self.assertEqual(server.payloads, payloads)

    def test_paused(self) -> None:
        """Who takes single PDUs and has paused gets none of those of a peer that is gone: it waits for no answer."""
        self.start()
        server, client = self.ends
        server.pauseProducing()
        client.send_data(b"a request")
        self.run_all()
        self.client_socket.reset()
        self.client_socket.move()
        server.send_data(b"x")
        self.run_all()
        self.assertEqual((server.payloads, server.why), ([], cut()))

    def test_stranger(self) -> None:
        """Nobody makes us hold more by breaking off."""
        self.server_socket, self.client_socket = socket_pair()
        factory = make_server_factory(self.reactor, RecordingServer)
        server = factory.buildProtocol(ADDRESS)
        assert isinstance(server, RecordingServer)
        transport = MemoryConnection(self.server_socket, server, self.reactor)
        self.client_socket.send(bytes(ROOM))
        self.client_socket.move()
        transport.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(len(self.server_socket.received), ROOM)
        factory.admission.stop()

    @only(1)
    def test_hello_before_a_reset(self) -> None:
        """A server that lets the client in, and breaks off, has not refused it."""
        self.server_socket, self.client_socket = socket_pair()
        server = make_server_factory(self.reactor, RecordingServer).buildProtocol(ADDRESS)
        client = make_client_factory(self.reactor, RecordingClient).buildProtocol(ADDRESS)
        assert isinstance(server, RecordingServer) and isinstance(client, RecordingClient)
        MemoryConnection(self.server_socket, server, self.reactor)
        transport = MemoryConnection(self.client_socket, client, self.reactor)
        self.reactor.turn()
        self.client_socket.move()
        self.reactor.turn()
        self.server_socket.move()
        self.client_socket.be_reset()
        transport.writeSomeData(b"")  # tells of the reset, so that reading would find an end in order
        transport.write(b"x")
        self.reactor.removeReader(transport)
        self.run_all()
        self.assertFalse(client.reason is not None and client.reason.check(AuthenticationFailed))
        self.assertEqual(client.calls[0], "authenticated")
        self.assertIs(client.why, ConnectionLost)


@only(1)
class ClosingTests(RestTestCase):
    """What was sent before it was closed."""

    def test_failed_request(self) -> None:
        """The answers to those before it arrive, though the server has not read those behind it."""

        def respond(peer: Peer, payload: bytes) -> bytes:
            if payload == b"bad":
                raise Boom()
            return payload

        server = SodiumServerFactory(SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), respond, clock=self.reactor)
        self.connect(server, make_client_factory(self.reactor, RequestClient))
        client = self.client
        assert isinstance(client, RequestClient) and isinstance(self.server, Responder)
        good, bad = client.request(bytes(1000)), client.request(b"bad")
        self.reactor.turn()
        self.client_socket.move()
        self.reactor.turn()
        behind = client.request(b"behind it")
        assert isinstance(client.transport, MemoryConnection)
        client.transport.doWrite()
        self.client_socket.move()
        self.reactor.turn()
        self.run_all()
        self.assertEqual(self.successResultOf(good), bytes(1000))
        for request in (bad, behind):
            self.failureResultOf(request, ClosedByPeer)
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)

    def test_closed_once_more(self) -> None:
        """Who has only the transport, as ``ClientService``, does not cut off what a closed end still delivers."""
        self.connect(
            make_server_factory(self.reactor, RecordingServer), make_client_factory(self.reactor, RecordingClient)
        )
        server, client = self.server, self.client
        assert isinstance(server, RecordingServer) and isinstance(client, RecordingClient)
        server.send_data(b"x" * (ROOM // 2))
        server.close()
        self.reactor.turn()
        client.send_data(b"nobody reads it")
        self.reactor.turn()
        self.client_socket.move()
        assert server.transport is not None
        server.transport.loseConnection()
        self.run_all()
        self.assertEqual(client.payloads, [b"x" * (ROOM // 2)])
        self.assertEqual((client.why, server.why), (ConnectionDone, ConnectionDone))


class UploadTests(RestTestCase):
    """An upload whose end is that of its connection."""

    def test_closed_here(self) -> None:
        """Only its client ends it, not what closes the transport on this side."""
        for slow in (False, True):
            for close in ("close", "lose"):
                events, store = logged(self), MemoryStore()
                factory = UploadFactory(store, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=self.reactor)
                self.connect(factory, make_client_factory(self.reactor, RecordingClient))
                server, client = self.server, self.client
                assert isinstance(server, UploadReceiver) and isinstance(client, RecordingClient)
                client.send_data(b"half of it")
                self.run_all()
                store.slow = slow
                client.send_data(b", and a bit")
                self.run_all()
                if close == "close":
                    server.close()
                else:
                    assert server.transport is not None
                    server.transport.loseConnection()
                self.run_all()
                (upload,) = store.uploads
                self.assertEqual(upload.outcome, "abandoned", (slow, close))
                self.assertEqual(
                    [event["reason"] for event in events if "broke off" in event["log_format"]], [CLOSED_HERE]
                )
                factory.admission.stop()


@each_version
class TLSTests(RestTestCase):
    """Under TLS, what is at the socket counts."""

    def start(self) -> tuple[RecordingServer, RecordingClient]:
        """Connect two ends over TLS."""
        for_server, for_client = tls_contexts()
        server, client = make_server_factory(self.reactor), make_client_factory(self.reactor)
        self.connect(
            TLSMemoryBIOFactory(for_server, False, server, self.reactor),
            TLSMemoryBIOFactory(for_client, True, client, self.reactor),
        )
        ends = self.server.wrappedProtocol, self.client.wrappedProtocol  # type: ignore[union-attr]
        assert isinstance(ends[0], RecordingServer) and isinstance(ends[1], RecordingClient)
        self.assertTrue(ends[1].is_authenticated)
        return ends

    def test_peer_closes_while_writing_is_blocked(self) -> None:
        """Who has more to send hears of it at once, and not when it has heard nothing for long."""
        server, client = self.start()
        for _ in range(50):
            client.send_data(bytes(ROOM))
        self.reactor.turn()
        server.close()
        self.run_all()
        self.assertEqual((server.why, client.why), (ConnectionDone, ConnectionDone))

    def test_unsent_and_rest(self) -> None:
        server, client = self.start()
        below = TransportBelow(client.transport)
        self.assertTrue(sockets.is_tls(client.transport))
        self.assertEqual(below.unsent(), 0)
        client.send_data(bytes(500))
        self.reactor.turn()
        self.assertGreater(below.unsent(), 500)
        self.client_socket.move()
        self.assertEqual(below.unsent(), 0)
        # It has come, and a write of the server's fails before it is read.
        self.client_socket.reset()
        self.client_socket.move()
        self.server_socket.getsockopt(0, 0)
        server.transport.transport.connectionLost(Failure(ConnectionLost()))  # type: ignore[attr-defined]
        self.assertEqual(server.payloads, [bytes(500)])
