"""
What does not wait for the reactor's next turn: the rest of a frame of the handshake, and the end of a direction.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.v2.veil import OPENING_SIZE
from sodiumtwist.protocol import sockets
from sodiumtwist.protocol.sockets import READ_SIZE

from .. import memory_sockets
from ..memory_sockets import MemoryConnection, MemoryReactor, held_by_the_system, socket_pair
from ..pair import RecordingClient, RecordingServer, build, make_client_factory, make_server_factory


class SizedConnection(MemoryConnection):
    """Reads as much at once as it is told."""

    bufferSize = READ_SIZE


class ReadingOnTests(SynchronousTestCase):
    """A login over sockets in memory."""

    def setUp(self) -> None:
        self.patch(sockets, "_kernel_holds", held_by_the_system)
        self.patch(memory_sockets, "ROOM", 100_000)
        self.reactor = MemoryReactor()
        self.factory = make_server_factory(self.reactor, RecordingServer)
        self.addCleanup(self.factory.admission.stop)
        self.server = build(self.factory, RecordingServer)
        self.client = build(make_client_factory(self.reactor, RecordingClient), RecordingClient)
        self.server_socket, self.client_socket = socket_pair()
        self.transports = [
            SizedConnection(self.server_socket, self.server, self.reactor),
            SizedConnection(self.client_socket, self.client, self.reactor),
        ]

    def move(self) -> None:
        """Let all that was sent arrive."""
        while self.server_socket.move() or self.client_socket.move():
            pass

    def test_reads(self) -> None:
        """Each message of the handshake takes one read of the reactor, though its front is read alone."""
        reads: Counter[str] = Counter()
        real = SizedConnection.doRead

        def count(transport: SizedConnection) -> object:
            reads["server" if transport is self.transports[0] else "client"] += 1
            return real(transport)

        self.patch(SizedConnection, "doRead", count)
        for _ in range(4):
            self.move()
            self.reactor.turn()
        self.assertEqual((self.server.calls, self.client.calls), (["authenticated"], ["authenticated"]))
        self.assertEqual(reads, {"server": 2, "client": 2})

    def test_no_more_than_the_frame(self) -> None:
        """What came behind it stays with the system."""
        self.client_socket.send(bytes(5000))
        self.move()
        flight = len(self.server_socket.received) - 5000
        self.reactor.turn()
        self.assertEqual(len(self.server_socket.received), 5000)
        self.assertGreater(flight, 1300)

    def test_front_alone(self) -> None:
        """The rest is waited for, however it is cut."""
        self.move()
        flight = bytes(self.server_socket.received)
        self.server_socket.received[:] = b""
        for piece in (flight[:OPENING_SIZE], flight[OPENING_SIZE:700], flight[700:701], flight[701:]):
            self.assertEqual(self.server_socket.sending, b"")
            self.server_socket.received += piece
            self.reactor.turn()
        for _ in range(4):
            self.move()
            self.reactor.turn()
        self.assertEqual((self.server.calls, self.client.calls), (["authenticated"], ["authenticated"]))

    def test_one_read(self) -> None:
        """It reads on once, however much comes meanwhile in small pieces: nobody keeps us from the others."""
        self.move()
        flight = bytes(self.server_socket.received)
        self.server_socket.received[:] = flight[:OPENING_SIZE]
        rest = iter(flight[OPENING_SIZE:])
        received = self.server_socket.recv
        sizes = []

        def drip(size: int) -> bytes:
            data = received(size)
            sizes.append(len(data))
            self.server_socket.received.append(next(rest))
            return data

        self.patch(self.server_socket, "recv", drip)
        self.reactor.turn()
        self.assertEqual(sizes, [OPENING_SIZE, 1])

    def test_reset_behind_the_front(self) -> None:
        """A socket tells of it once, to whoever reads first. The end is no end in order for that."""
        self.move()
        del self.server_socket.received[OPENING_SIZE:]
        self.client_socket.reset()
        self.client_socket.move()
        self.reactor.turn()
        self.reactor.turn()
        self.assertIs(self.server.why, ConnectionLost)

    def test_end_behind_the_front(self) -> None:
        self.move()
        del self.server_socket.received[OPENING_SIZE:]
        self.client_socket.shutdown(1)
        self.move()
        self.reactor.turn()
        self.reactor.turn()
        self.assertIs(self.server.why, ConnectionDone)

    def log_in(self) -> None:
        for _ in range(4):
            self.move()
            self.reactor.turn()

    def test_end_of_a_direction(self) -> None:
        """It follows what was said last at once."""
        self.log_in()
        self.client.close()
        self.move()
        self.reactor.turn()
        # The server has answered END by END, and has nothing more to say.
        self.assertIs(self.server_socket.end_sent, True)
        self.move()
        self.reactor.turn()
        self.assertIs(self.client_socket.end_sent, True)
        self.move()
        self.reactor.turn()
        self.assertEqual((self.server.why, self.client.why), (ConnectionDone, ConnectionDone))

    def test_end_behind_what_waits(self) -> None:
        """Where the system has not taken all, it comes behind that."""
        self.log_in()
        self.client.close()
        self.move()
        self.patch(memory_sockets, "ROOM", 10)
        self.reactor.turn()
        self.assertIs(self.server_socket.end_sent, False)
        self.patch(memory_sockets, "ROOM", 100_000)
        for _ in range(5):
            self.move()
            self.reactor.turn()
        self.assertEqual((self.server.why, self.client.why), (ConnectionDone, ConnectionDone))
