"""
Sending files, against a server's core and in memory.
"""

from __future__ import annotations

import errno
import time

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    ClosedByPeer,
    ConnectionCut,
    PeerAborted,
    RemoteProtocolError,
    SodiumClientFactory,
    UnexpectedPDU,
)
from sodiumtwist.core.connection import Code, RecentSalts, ServerConnection, Version2
from sodiumtwist.core.events import DataReceived
from sodiumtwist.core.v1.messages import PDU_OVERHEAD
from sodiumtwist.transfer import sender
from sodiumtwist.transfer.acknowledgements import acknowledgement
from sodiumtwist.transfer.sender import UploadSender

from ..core.peers import wire_of
from ..pair import build
from ..transports import AbortableTransport
from ..uploads import PAIR, ListSource
from ..versions import each_version, only, spoken


@each_version
class SenderTests(SynchronousTestCase):
    """:class:`UploadSender` against a server's core."""

    def start(self, source: ListSource) -> None:
        self.source = source
        self.progress: list[int] = []
        self.sender = UploadSender(source, self.progress.append)
        factory = SodiumClientFactory(PAIR.public, "l", "p", lambda: self.sender, clock=Clock(), version=spoken())
        self.transport = AbortableTransport()
        self.transport.protocol = build(factory, UploadSender)
        self.sender.makeConnection(self.transport)
        version_2 = Version2(time.time, RecentSalts(), padding=lambda: 0)
        self.server = ServerConnection(PAIR, 0, versions=(1, 2), version_2=version_2)
        list(self.server.receive_data(self.take(), 0))
        if spoken() == 2:
            self.sender.dataReceived(self.server.data_to_send())
            list(self.server.receive_data(self.take(), 0))
        self.sender.dataReceived(wire_of(self.server.accept, 0))

    def take(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def sent(self) -> list[bytes]:
        return [event.payload for event in self.server.receive_data(self.take(), 0) if isinstance(event, DataReceived)]

    def acknowledge(self, *sizes: int) -> None:
        self.sender.dataReceived(b"".join(wire_of(self.server.send_data, acknowledgement(size)) for size in sizes))

    def test_framed(self) -> None:
        """The content stands between two empty DATA, and the end is only where all is acknowledged."""
        self.start(ListSource([b"one", b"two!"]))
        self.assertEqual(self.sent(), [b"", b"one", b"two!", b""])
        self.acknowledge(0, 3, 4)
        self.assertNoResult(self.sender.finished)
        self.assertTrue(self.transport.connected)
        self.acknowledge(0)
        self.assertIsNone(self.successResultOf(self.sender.finished))
        if spoken() == 2:
            self.assertEqual((self.sent(), self.server.peer_ended), ([], True))
            self.sender.dataReceived(wire_of(self.server.send_end))
        self.assertFalse(self.transport.connected)
        self.assertEqual((self.sender.acknowledged, self.progress), (7, [0, 3, 4, 0]))

    def test_empty(self) -> None:
        """An empty file is sent as well."""
        self.start(ListSource([]))
        self.assertEqual(self.sent(), [b"", b""])
        self.acknowledge(0, 0)
        self.assertIsNone(self.successResultOf(self.sender.finished))

    def test_window(self) -> None:
        """So many bytes may be on their way, and twice as many after each round trip in which that held it up."""
        self.patch(sender, "FIRST_WINDOW", 10_000)
        self.patch(sender, "LARGEST_WINDOW", 50_000)
        size = 1000 - PDU_OVERHEAD
        self.start(ListSource([bytes(size)] * 1000))
        flights = [len(self.sent())]
        self.acknowledge(0, *[size] * (flights[0] - 1))
        for _ in range(6):
            flights.append(len(self.sent()))
            self.acknowledge(*[size] * flights[-1])
        self.assertEqual(flights[0], 11)
        self.assertTrue(18 <= flights[1] <= 21, flights)
        self.assertTrue(35 <= flights[2] <= 42, flights)
        self.assertEqual(flights[4:], [50] * 3)

    def test_window_with_a_transport_that_fills(self) -> None:
        """It holds up as well where the transport is full now and then, also when acknowledgements come."""
        self.patch(sender, "FIRST_WINDOW", 10_000)
        size = 1000 - PDU_OVERHEAD
        self.start(ListSource([bytes(size)] * 1000))
        gate = self.transport.producer
        assert gate is not None
        flights = [len(self.sent())]
        self.acknowledge(0, *[size] * (flights[0] - 1))
        for _ in range(3):
            flights.append(len(self.sent()))
            gate.pauseProducing()
            self.acknowledge(*[size] * flights[-1])
            gate.resumeProducing()
        self.assertTrue(flights[3] >= 35, flights)

    def test_window_of_a_transport_that_stays_full(self) -> None:
        """Where the transport took no more before the window was reached, the window is enough."""
        self.patch(sender, "FIRST_WINDOW", 10_000)
        size = 1000 - PDU_OVERHEAD
        self.start(ListSource([bytes(size)] * 8))
        gate = self.transport.producer
        assert gate is not None
        gate.pauseProducing()
        self.acknowledge(0, size, size)
        self.assertEqual(self.sender._window, 10_000)

    def test_window_that_does_not_hold_up(self) -> None:
        """Where little of it is used it stays as it is."""
        self.patch(sender, "FIRST_WINDOW", 10_000)
        source = ListSource([b"x"] * 10)
        self.start(source)
        self.acknowledge(0, *[1] * 10)
        self.assertEqual(self.sender._window, 10_000)

    def test_transport_full(self) -> None:
        """While the transport is full nothing is read."""
        self.patch(sender, "FIRST_WINDOW", 64 * (PDU_OVERHEAD + 1))
        self.patch(sender, "LARGEST_WINDOW", sender.FIRST_WINDOW)
        self.start(ListSource([b"x"] * 1000))
        self.sent()
        assert self.transport.producer is not None
        self.transport.producer.pauseProducing()
        before = self.source.delivered
        self.acknowledge(0, *[1] * 50)
        self.assertEqual((self.source.delivered, self.sent()), (before, []))
        self.transport.producer.resumeProducing()
        self.assertTrue(50 <= len(self.sent()) <= 52)

    def test_wrong_acknowledgement(self) -> None:
        """An acknowledgement of another size, or of nothing that was sent, ends it."""
        self.start(ListSource([b"one"]))
        self.acknowledge(0, 4)
        self.failureResultOf(self.sender.finished, RemoteProtocolError)
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.sender.acknowledged, 0)

    def test_too_many_acknowledgements(self) -> None:
        """So does one more than was sent."""
        self.start(ListSource([b"one"] * 1000))
        self.acknowledge(0, *[3] * 1001)
        self.failureResultOf(self.sender.finished, RemoteProtocolError, UnexpectedPDU)

    def test_read_error(self) -> None:
        """A source that can't be read on ends it without the closing DATA."""
        self.start(ListSource([bytes(65536)], OSError(errno.EIO, "broken")))
        self.assertEqual(self.sent(), [b"", bytes(65536)])
        self.assertTrue(self.transport.aborted)
        self.failureResultOf(self.sender.finished, OSError)

    def test_lost(self) -> None:
        """The reason of the loss is the reason of the failure; the source is closed."""
        self.start(ListSource([b"x"] * 1000))
        self.sender.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(self.sender.finished, ConnectionLost if spoken() == 1 else ConnectionCut)
        self.assertIsNone(self.successResultOf(self.sender.lost))
        self.assertEqual(self.source._fd, -1)

    @only(2)
    def test_server_says_why(self) -> None:
        """What an ABORT says is the reason of the failure."""
        self.start(ListSource([b"one"]))
        self.sender.dataReceived(wire_of(self.server.abort, Code.STORAGE, "the disk is full"))
        error = self.failureResultOf(self.sender.finished, PeerAborted).value
        self.assertEqual((error.code, str(error)), (Code.STORAGE, "the disk is full"))

    @only(2)
    def test_server_ends(self) -> None:
        """A server that says its end acknowledges nothing more; behind the last acknowledgement that is in order."""
        for acknowledged in (False, True):
            self.start(ListSource([b"one"]))
            if acknowledged:
                self.acknowledge(0, 3, 0)
            self.sender.dataReceived(wire_of(self.server.send_end))
            if acknowledged:
                self.successResultOf(self.sender.finished)
            else:
                self.failureResultOf(self.sender.finished, ClosedByPeer)

    @only(2)
    def test_server_drains(self) -> None:
        """When the server is about to stop, what is under way goes on."""
        self.start(ListSource([b"one"]))
        self.sender.dataReceived(wire_of(self.server.send_drain))
        self.assertTrue(self.sender.stopping)
        self.acknowledge(0, 3, 0)
        self.successResultOf(self.sender.finished)
