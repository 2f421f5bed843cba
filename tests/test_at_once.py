"""
What a socket is given without waiting for the reactor.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist.core.connection import ClientConnection
from sodiumtwist.core.events import DataReceived, Event
from sodiumtwist.sending import SOCKET_CORK_LIMIT
from sodiumtwist.sockets import SEND_SIZE, send_at_once

from .alone import OVERHEAD, SERVER_HELO_SIZE, AloneTestCase
from .pair import LOGIN, PASSPHRASE, SERVER_PAIR, EchoServer, RecordingServer, build, make_server_factory


class Socket(FileDescriptor):
    """
    A transport that takes as much as the test says, when it is given something.

    :ivar takes: how many bytes it takes at once, at most, or what it fails with.
    :ivar sent: what it took.
    :ivar calls: how much of it each time.
    """

    connected = True

    def __init__(self) -> None:
        super().__init__(MemoryReactor())
        self.takes: int | Exception = 10**9
        self.sent = bytearray()
        self.calls: list[int] = []

    def writeSomeData(self, data: bytes) -> int | Exception:
        if isinstance(self.takes, Exception):
            return self.takes
        taken = data[: self.takes]
        self.sent += taken
        self.calls.append(len(taken))
        return len(taken)

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

    def test_error(self) -> None:
        """The reactor will meet it, too."""
        self.socket.takes = ConnectionLost()
        self.assertEqual(send_at_once(self.socket, b"abc"), b"abc")
        self.assertEqual(self.socket.sent, b"")

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
        self.feed(self.peer_client.initiate())
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

    def test_lost(self) -> None:
        """An error of the socket is met by the reactor, not by us."""
        self.open()
        self.socket.takes = ConnectionLost()
        self.feed(self.peer_data(b"a"))
        self.assertTrue(self.socket.wanted())
        self.assertIsInstance(self.socket.doWrite(), ConnectionLost)

    def test_outside_a_read(self) -> None:
        """There, too, each by itself."""
        self.open()
        self.protocol.send_data(b"one")
        self.protocol.send_data(b"two")
        self.assertEqual((self.socket.calls, self.socket.wanted()), ([3 + OVERHEAD] * 2, False))

    def test_hello(self) -> None:
        """SERVER_HELO does not wait for what the application does first."""
        self.start()
        self.feed(self.peer_client.initiate(), self.peer_data(b"early"))
        self.assertEqual(self.socket.calls, [SERVER_HELO_SIZE, 5 + OVERHEAD])
