"""
What a socket is given without waiting for the reactor.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist.core.connection import ClientConnection
from sodiumtwist.core.events import DataReceived, Event
from sodiumtwist.protocol import sockets
from sodiumtwist.protocol.outbox import SOCKET_CORK_LIMIT
from sodiumtwist.protocol.sockets import SEND_SIZE, TransportBelow

from ..alone import OVERHEAD, SERVER_HELO_SIZE, AloneTestCase
from ..core.peers import wire_of
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, EchoServer, RecordingServer, build, make_server_factory
from ..payload_producers import PushSource
from ..versions import only


def send_at_once(transport: Any, data: bytes) -> bytes:
    """Give data to a socket."""
    return TransportBelow(transport).send_at_once(data)


class Socket(FileDescriptor):
    """
    A transport whose socket takes as much as the test says, when it is given something.

    :ivar takes: how many bytes it takes at once, at most, or what it fails with, once.
    :ivar sent: what it took.
    :ivar calls: how much of it each time.
    """

    connected = True

    def __init__(self) -> None:
        super().__init__(MemoryReactor())
        self.takes: int | OSError = 10**9
        self.sent = bytearray()
        self.calls: list[int] = []

    def getHandle(self) -> Socket:
        return self

    def send(self, data: bytes) -> int:
        """As a socket's."""
        takes = self.takes
        if isinstance(takes, OSError):
            self.takes = 0
            raise takes
        if not takes:
            raise BlockingIOError(errno.EAGAIN, "it is full")
        taken = data[:takes]
        self.sent += taken
        if taken:  # Twisted writes nothing to find that it has nothing
            self.calls.append(len(taken))
        return len(taken)

    def writeSomeData(self, data: bytes) -> int:
        try:
            return self.send(bytes(data))
        except BlockingIOError:
            return 0

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 4711)

    def wanted(self) -> bool:
        """Whether it waits for the reactor to find it ready."""
        return self in self.reactor.getWriters()


class SendAtOnceTests(SynchronousTestCase):
    """The function."""

    def setUp(self) -> None:
        self.socket = Socket()

    def test_all(self) -> None:
        self.assertEqual(send_at_once(self.socket, b"abc"), b"")
        self.assertEqual((self.socket.sent, self.socket.wanted()), (b"abc", False))

    def test_some(self) -> None:
        self.socket.takes = 2
        self.assertEqual(send_at_once(self.socket, b"abc"), b"c")

    def test_none(self) -> None:
        self.socket.takes = 0
        self.assertEqual(send_at_once(self.socket, b"abc"), b"abc")

    def test_broken(self) -> None:
        """A socket tells it once, so it is told on."""
        self.socket.takes = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        error = self.assertRaises(ConnectionLost, send_at_once, self.socket, b"abc")
        self.assertIn("Connection reset by peer", str(error))

    def test_not_now(self) -> None:
        """Nothing is lost by these, and the reactor tries again or reads the end."""
        for number in (errno.EAGAIN, errno.EINTR, errno.EPIPE, errno.ENOBUFS):
            self.socket.takes = OSError(number, "not now")
            self.assertEqual(send_at_once(self.socket, b"abc"), b"abc")

    def test_not_for_us(self) -> None:
        """Behind ``startTLS``, ``abortConnection`` and a descriptor on its way."""
        for attribute, value in [("TLS", True), ("_aborting", True), ("_sendmsgQueue", [1])]:
            socket = Socket()
            setattr(socket, attribute, value)
            self.assertEqual(send_at_once(socket, b"abc"), b"abc")
            self.assertEqual(socket.calls, [])

    def test_behind_what_was_written(self) -> None:
        """In both places where Twisted keeps it."""
        self.socket.write(b"abc")
        self.assertEqual(send_at_once(self.socket, b"def"), b"def")
        self.socket.takes = 1
        self.socket.doWrite()
        self.assertEqual(send_at_once(self.socket, b"def"), b"def")
        self.assertEqual(self.socket.sent, b"a")

    def test_not_connected(self) -> None:
        self.socket.connected = False
        self.assertEqual(send_at_once(self.socket, b"abc"), b"abc")
        self.assertEqual(self.socket.calls, [])


@only(1)
class AtOnceTests(AloneTestCase):
    """A server on a socket."""

    def start(self, protocol: Callable[[], RecordingServer] = EchoServer) -> None:
        self.clock = Clock()
        self.socket = Socket()
        self.protocol = build(make_server_factory(self.clock, protocol), RecordingServer)
        self.protocol.makeConnection(self.socket)
        self.peer = self.peer_client = ClientConnection(SERVER_PAIR.public, LOGIN, PASSPHRASE, 0)

    def open(self, protocol: Callable[[], RecordingServer] = EchoServer) -> None:
        self.start(protocol)
        self.feed(wire_of(self.peer_client.initiate))
        self.read()
        self.socket.calls.clear()

    def drain(self) -> None:
        while self.socket.wanted():
            self.socket.doWrite()

    def read(self) -> list[Event]:
        sent = bytes(self.socket.sent)
        self.socket.sent.clear()
        return list(self.peer.receive_data(sent, self.clock.seconds()))

    def test_answers(self) -> None:
        """Those to one read leave in one go."""
        self.open()
        self.feed(self.peer_data(*[b"0123456789"] * 10))
        self.assertEqual((self.socket.calls, self.socket.wanted()), ([10 * (10 + OVERHEAD)], False))
        self.assertEqual(self.read(), [DataReceived(b"0123456789")] * 10)

    def test_many(self) -> None:
        """Of many the first leave while the others are made."""
        self.open()
        self.feed(self.peer_data(*[bytes(100)] * 128))
        each = 15 * (100 + OVERHEAD)
        self.assertTrue(each - (100 + OVERHEAD) < SOCKET_CORK_LIMIT <= each)
        self.assertEqual(self.socket.calls, [each] * 8 + [8 * (100 + OVERHEAD)])
        self.assertEqual(self.read(), [DataReceived(bytes(100))] * 128)

    def test_slow_peer(self) -> None:
        """What a full socket does not take goes through the reactor, and so does all behind it."""
        self.open()
        self.socket.takes = 100
        payloads = [bytes([number]) * 1000 for number in range(10)]
        self.feed(self.peer_data(*payloads))
        self.assertEqual((self.socket.calls, self.socket.wanted()), ([100], True))
        self.drain()
        self.assertEqual(self.read(), [DataReceived(payload) for payload in payloads])

    def test_others_are_served(self) -> None:
        """Without its turn, the reactor leaves us so much, and what reaches it is the last."""
        size, most = 100_000, SEND_SIZE // 100_000 + 1

        class Generous(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                for _ in range(most + 2):
                    self.send_data(bytes(size))

        self.open(Generous)
        for _ in range(2):
            self.feed(self.peer_data(b""))
            self.assertEqual(self.socket.calls, [size + OVERHEAD] * most)
            self.drain()
            self.assertEqual(self.read(), [DataReceived(bytes(size))] * (most + 2))
            self.socket.calls.clear()

    def test_producer(self) -> None:
        """One that never ends is paused, again and again, though its peer takes all at once."""
        self.open(RecordingServer)
        protocol, counts = self.protocol, [0]

        @implementer(IPushProducer)
        class Endless:
            def resumeProducing(self) -> None:
                self.paused = False
                while not self.paused:
                    counts[-1] += 1
                    protocol.send_data(bytes(65536))

            def pauseProducing(self) -> None:
                self.paused = True

            def stopProducing(self) -> None:
                self.paused = True

        producer = Endless()
        protocol.registerProducer(producer, True)
        producer.resumeProducing()
        for _ in range(3):
            counts.append(0)
            self.socket.doWrite()
        self.assertTrue(all(0 < count * 65536 <= 2 * SEND_SIZE for count in counts), counts)

    def test_broken(self) -> None:
        """What the socket said once is the reason, though the reactor reads an end in order."""
        self.open()
        self.socket.takes = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        self.feed(self.peer_data(b"a", b"b"))
        self.protocol.connectionLost(Failure(ConnectionDone()))
        reason = self.protocol.reason
        assert reason is not None
        self.assertIs(reason.type, ConnectionLost)
        self.assertEqual(self.socket.calls, [])

    def test_outside_a_read(self) -> None:
        """There what comes alone does not wait, and what comes behind it leaves together."""
        self.open()
        for payload in (b"one", b"two", b"three"):
            self.protocol.send_data(payload)
        self.assertEqual((self.socket.calls, self.socket.wanted()), ([3 + OVERHEAD], True))
        self.drain()
        self.assertEqual(self.socket.calls, [3 + OVERHEAD, 3 + 5 + 2 * OVERHEAD])
        self.feed(self.peer_data(b"x"))
        self.protocol.send_data(b"one")
        self.assertFalse(self.socket.wanted())

    def test_sealed_when_it_leaves(self) -> None:
        """What waits for the reactor is not sealed before, and a producer may send as much as one read takes."""
        self.open(RecordingServer)
        source = PushSource(self.protocol)
        self.protocol.registerProducer(source, True)
        for _ in range(3):
            self.assertEqual(source.events, [])
            self.protocol.send_data(bytes(65536))
        self.assertEqual(source.events, ["pause"])
        self.assertEqual(self.protocol._connection.queued, 2 * (65536 + OVERHEAD))
        self.assertEqual((self.socket.calls, self.protocol._below.held()), ([65536 + OVERHEAD], 0))
        self.socket.doWrite()
        self.assertEqual(self.socket.calls[1:], [65536 + OVERHEAD] * 2)
        self.assertEqual(source.events, ["pause", "resume"])

    def test_closed_behind_what_waits(self) -> None:
        """Closing in order delivers what waits for the reactor, and breaking off drops it."""
        self.patch(sockets, "_kernel_holds", lambda handle: 0)
        for close, sent in (("close", [1, 2]), ("abort", [1])):
            self.open(RecordingServer)
            self.protocol.send_data(bytes(1))
            self.protocol.send_data(bytes(2))
            getattr(self.protocol, close)()
            self.drain()
            self.assertEqual(self.socket.calls, [size + OVERHEAD for size in sent])

    def test_small_pdus_of_a_producer(self) -> None:
        """What it sends when it may leaves together."""
        self.open(RecordingServer)
        protocol = self.protocol

        @implementer(IPushProducer)
        class Hundred:
            def resumeProducing(self) -> None:
                for _ in range(100):
                    protocol.send_data(bytes(100))

            def pauseProducing(self) -> None:
                pass

            stopProducing = pauseProducing

        protocol.registerProducer(Hundred(), True)
        protocol._writing_blocked()
        protocol._writing_unblocked()
        self.assertEqual(self.socket.calls, [100 * (100 + OVERHEAD)])

    def test_behind_a_producer(self) -> None:
        """What comes right behind its own does not wait for the reactor: a stream sends the end of a chunk so."""
        self.open(RecordingServer)
        self.protocol.registerProducer(PushSource(self.protocol, [b"one", b"two"]), True)
        self.protocol._writing_blocked()
        self.protocol._writing_unblocked()
        self.protocol.send_data(b"three")
        self.assertEqual(self.socket.calls, [2 * (3 + OVERHEAD), 5 + OVERHEAD])

    def test_written_while_full(self) -> None:
        """While the socket is full, what one read causes is kept in one piece."""
        self.open()
        self.socket.takes = 0
        self.protocol.registerProducer(PushSource(self.protocol), True)
        self.protocol._writing_blocked()
        self.feed(self.peer_data(*[bytes(100)] * 128))
        self.assertEqual(len(self.protocol._connection.data_to_send()), 128 * (100 + OVERHEAD))

    def test_hello(self) -> None:
        """SERVER_HELO does not wait for what the application does first."""
        self.start()
        self.feed(wire_of(self.peer_client.initiate), self.peer_data(b"early"))
        self.assertEqual(self.socket.calls, [SERVER_HELO_SIZE, 5 + OVERHEAD])
