"""
Receiving and sending files, against the other side's core and in memory.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair, RemoteProtocolError, SingleLogin, SodiumClientFactory, UnexpectedPDU, transfer
from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.events import DataReceived
from sodiumtwist.core.wire import PDU_OVERHEAD
from sodiumtwist.sources import Source
from sodiumtwist.transfer import (
    WRITE_BEHIND,
    UploadFactory,
    UploadReceiver,
    UploadSender,
    acknowledgement,
    acknowledges,
)
from sodiumtwist.uploads import Store, Upload

PAIR = KeyPair.from_hex("11" * 32)


class Transport(StringTransportWithDisconnection):
    """A connection whose abrupt end is told apart from an orderly one."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionLost()))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None


class AcknowledgementTests(SynchronousTestCase):
    """The payload that confirms a DATA."""

    def test_format(self) -> None:
        """32 bytes: the text, then only zeros."""
        self.assertEqual(acknowledgement(5), b"DATA OK: RECEIVED 5 BYTES" + bytes(7))
        self.assertEqual(acknowledgement(0), b"DATA OK: RECEIVED 0 BYTES" + bytes(7))
        self.assertEqual(acknowledgement(131070), b"DATA OK: RECEIVED 131070 BYTES" + bytes(2))

    def test_acknowledges(self) -> None:
        """The text counts; the bytes behind its NUL may be anything, as the reference leaves them."""
        self.assertTrue(acknowledges(acknowledgement(5), 5))
        self.assertTrue(acknowledges(b"DATA OK: RECEIVED 5 BYTES\0\x9a\x1b\x0f\x56\0\0", 5))
        for payload in (acknowledgement(6), b"", b"DATA OK: RECEIVED 5 BYTE", b"DATA OK: RECEIVED 05 BYTES", bytes(32)):
            self.assertFalse(acknowledges(payload, 5), payload)


class MemoryUpload(Upload):
    """An upload whose writes end when the test says so."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.content = b""
        self.one_by_one = store.one_by_one
        self.outcome: str | None = None
        self.interrupted = False

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        if self.store.slow:
            writing: Deferred[None] = Deferred()
            writing.addCallback(lambda _: self._take(payloads))
            self.store.writing.append(writing)
            return writing
        self._take(payloads)
        return succeed(None)

    def _take(self, payloads: list[bytes]) -> None:
        self.content += b"".join(payloads)

    def interrupt(self) -> None:
        self.interrupted = True
        if self.store.writing:
            self.store.writing.pop().errback(OSError(errno.ECANCELED, "interrupted"))

    def finish(self) -> str:
        if self.store.finish_error is not None:
            raise self.store.finish_error
        self.outcome = "finished"
        return "finished"

    def abandon(self) -> str:
        self.outcome = "abandoned"
        return "abandoned"


class MemoryStore(Store):
    """
    :ivar uploads: those opened.
    :ivar slow: whether to wait for the test with opening and writing.
    """

    description = "memory"

    def __init__(self) -> None:
        self.uploads: list[MemoryUpload] = []
        self.slow = False
        self.one_by_one = False
        self.opening: list[Deferred[Upload]] = []
        self.writing: list[Deferred[None]] = []
        self.finish_error: OSError | None = None

    def open(self, login: str) -> Deferred[Upload]:
        upload = MemoryUpload(self)
        self.uploads.append(upload)
        if not self.slow:
            return succeed(upload)
        opening: Deferred[Upload] = Deferred()
        self.opening.append(opening)
        return opening.addCallback(lambda _: upload)


class ReceiverTests(SynchronousTestCase):
    """:class:`UploadReceiver` against a client's core."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.factory = UploadFactory(self.store, PAIR, SingleLogin("l", "p"), clock=self.clock)
        self.connect()

    def connect(self) -> None:
        self.receiver: UploadReceiver = self.factory.buildProtocol(None)
        self.transport = Transport()
        self.transport.protocol = self.receiver
        self.receiver.makeConnection(self.transport)
        self.client = ClientConnection(PAIR.public, "l", "p", 0)
        self.receiver.dataReceived(self.client.initiate())
        list(self.client.receive_data(self.transport.value(), 0))
        self.transport.clear()

    def send(self, *payloads: bytes) -> None:
        self.receiver.dataReceived(b"".join(map(self.client.send_data, payloads)))

    def acknowledged(self) -> list[bytes]:
        data = self.transport.value()
        self.transport.clear()
        return [event.payload for event in self.client.receive_data(data, 0) if isinstance(event, DataReceived)]

    @property
    def upload(self) -> MemoryUpload:
        (upload,) = self.store.uploads
        return upload

    def lose(self, reason: Exception) -> None:
        self.transport.connected = False
        self.receiver.connectionLost(Failure(reason))

    def test_nothing_opened_without_data(self) -> None:
        """A session that sends no DATA opens no upload."""
        self.lose(ConnectionDone())
        self.assertEqual(self.store.uploads, [])
        self.assertEqual(self.factory.receiving, set())

    def test_acknowledged_in_order(self) -> None:
        """Each DATA is acknowledged with its size, an empty one too."""
        self.send(b"hello", b"", b"x" * 100)
        self.assertEqual(self.acknowledged(), [acknowledgement(5), acknowledgement(0), acknowledgement(100)])
        self.lose(ConnectionDone())
        self.assertEqual((self.upload.content, self.upload.outcome), (b"hello" + b"x" * 100, "finished"))

    def test_not_acknowledged_before_written(self) -> None:
        """No acknowledgement before the upload has the bytes."""
        self.store.slow = True
        self.send(b"one")
        self.assertEqual(self.acknowledged(), [])
        self.store.opening.pop().callback(None)
        self.assertEqual(self.acknowledged(), [])
        self.store.writing.pop().callback(None)
        self.assertEqual(self.acknowledged(), [acknowledgement(3)])

    def test_waiting_is_written_together(self) -> None:
        """What comes while something is being written makes the next write."""
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.send(b"two", b"three")
        self.assertEqual(len(self.store.writing), 1)
        self.store.writing.pop().callback(None)
        self.store.writing.pop().callback(None)
        self.assertEqual(self.upload.content, b"onetwothree")
        self.assertEqual(self.acknowledged(), [acknowledgement(size) for size in (3, 3, 5)])

    def test_one_by_one(self) -> None:
        """Where writing can take long each DATA is acknowledged by itself, however many wait."""
        self.store.slow = self.store.one_by_one = True
        self.send(b"one", b"two", b"three")
        self.store.opening.pop().callback(None)
        for size in (3, 3, 5):
            self.assertEqual(self.acknowledged(), [])
            self.store.writing.pop().callback(None)
            self.assertEqual(self.acknowledged(), [acknowledgement(size)])
        self.assertEqual(self.upload.content, b"onetwothree")
        self.store.slow = False
        self.send(*[b"x"] * 5000)
        self.assertEqual(len(self.acknowledged()), 5000)

    def test_framed_close_while_writing(self) -> None:
        """A framed upload that its client left is given up at once, whatever still waits."""
        self.store.slow = True
        self.send(b"", b"one")
        self.store.opening.pop().callback(None)
        self.lose(ConnectionDone())
        self.assertEqual((self.upload.interrupted, self.upload.outcome), (True, "abandoned"))

    def test_given_up(self) -> None:
        """A server that stops does not wait for a pipe, and says why."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.lose(ConnectionDone())
        self.assertEqual(self.factory.receiving, {self.receiver})
        self.receiver.give_up("the server is stopping")
        self.assertEqual(self.upload.outcome, "abandoned")
        self.assertEqual(self.factory.receiving, set())
        self.assertIn("broke off: the server is stopping; kept abandoned", formatEvent(events[-1]))

    def test_bounded(self) -> None:
        """With a mebibyte waiting the transport is paused, and resumed when that is written."""
        self.store.slow = True
        self.send(b"first")
        self.store.opening.pop().callback(None)
        sent = 0
        while self.transport.producerState == "producing":
            self.send(bytes(65536))
            sent += 65536
            self.assertLessEqual(sent, WRITE_BEHIND + 65536)
        self.assertGreater(sent, WRITE_BEHIND - 65536)
        self.store.writing.pop().callback(None)
        self.assertEqual(self.transport.producerState, "producing")

    def test_unframed_end(self) -> None:
        """An upload that did not begin with an empty DATA ends when the client closes."""
        self.send(b"all")
        self.assertIsNone(self.upload.outcome)
        self.lose(ConnectionDone())
        self.assertEqual(self.upload.outcome, "finished")

    def test_unframed_close_while_writing(self) -> None:
        """What had come when the client closed is still written."""
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.send(b"two")
        self.lose(ConnectionDone())
        self.assertEqual(self.factory.receiving, {self.receiver})
        self.store.writing.pop().callback(None)
        self.store.writing.pop().callback(None)
        self.assertEqual((self.upload.content, self.upload.outcome), (b"onetwo", "finished"))
        self.assertEqual(self.factory.receiving, set())

    def test_write_fails_after_close(self) -> None:
        """An upload whose last bytes could not be written is not taken for a whole one."""
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.lose(ConnectionDone())
        self.store.writing.pop().errback(OSError(errno.ENOSPC, "full"))
        self.assertEqual(self.upload.outcome, "abandoned")

    def test_framed_end(self) -> None:
        """A framed upload is in its place before its end is acknowledged."""
        self.send(b"", b"all")
        self.assertEqual(self.acknowledged(), [acknowledgement(0), acknowledgement(3)])
        self.assertIsNone(self.upload.outcome)
        self.send(b"")
        self.assertEqual(self.upload.outcome, "finished")
        self.assertEqual(self.acknowledged(), [acknowledgement(0)])
        self.lose(ConnectionLost())
        self.assertEqual(self.upload.outcome, "finished")

    def test_framed_in_one_segment(self) -> None:
        """Begin, content and end may come together."""
        self.send(b"", b"all", b"")
        self.assertEqual((self.upload.content, self.upload.outcome), (b"all", "finished"))
        self.assertEqual(len(self.acknowledged()), 3)

    def test_framed_without_end(self) -> None:
        """A framed upload without its end is broken off, however orderly the connection ended."""
        for payloads in ((b"",), (b"", b"some")):
            self.store.uploads.clear()
            self.connect()
            self.send(*payloads)
            self.lose(ConnectionDone())
            self.assertEqual(self.upload.outcome, "abandoned")

    def test_data_behind_the_end(self) -> None:
        """More DATA after the end is an error, and the upload stays."""
        self.send(b"", b"all", b"")
        self.send(b"more")
        self.assertFalse(self.transport.connected)
        self.assertEqual((self.upload.content, self.upload.outcome), (b"all", "finished"))

    def test_connection_breaks(self) -> None:
        """A connection that breaks leaves a partial upload."""
        self.send(b"some")
        self.lose(ConnectionLost())
        self.assertEqual(self.upload.outcome, "abandoned")

    def test_closed_inside_a_pdu(self) -> None:
        """Neither is an upload whole that ends inside a PDU."""
        self.send(b"some")
        self.receiver.dataReceived(self.client.send_data(b"more")[:-1])
        self.lose(ConnectionDone())
        self.assertEqual((self.upload.content, self.upload.outcome), (b"some", "abandoned"))

    def test_cannot_open(self) -> None:
        """An upload that can't be opened ends the session, without acknowledgement."""
        self.store.slow = True
        self.send(b"some")
        self.store.opening.pop().errback(PermissionError(errno.EACCES, "no", "name"))
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.acknowledged(), [])
        self.assertEqual(self.factory.receiving, set())

    def test_cannot_write(self) -> None:
        """A write that fails ends the session, without acknowledgement; what waits is dropped."""
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.send(b"two")
        self.store.writing.pop().errback(OSError(errno.ENOSPC, "full"))
        self.assertTrue(self.transport.aborted)
        self.assertEqual((self.acknowledged(), self.store.writing), ([], []))
        self.assertEqual(self.upload.outcome, "abandoned")

    def test_cannot_finish(self) -> None:
        """An upload that can't take its place is not acknowledged as whole, framed or not."""
        self.store.finish_error = OSError(errno.EISDIR, "is a directory")
        self.send(b"", b"all")
        self.acknowledged()
        self.send(b"")
        self.assertTrue(self.transport.aborted)
        self.assertEqual((self.acknowledged(), self.upload.outcome), ([], "abandoned"))
        self.store.uploads.clear()
        self.connect()
        self.send(b"all")
        self.lose(ConnectionDone())
        self.assertEqual(self.upload.outcome, "abandoned")

    def test_stuck_writer_is_given_up(self) -> None:
        """When the connection breaks while a pipe takes nothing, nobody waits for it."""
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.lose(ConnectionLost())
        self.assertEqual((self.upload.interrupted, self.upload.outcome), (True, "abandoned"))
        self.assertEqual(self.factory.receiving, set())

    def test_lost_while_opening(self) -> None:
        """When the connection ends before the upload could be opened, it is not opened any more."""
        self.store.slow = True
        self.send(b"one")
        self.lose(ConnectionDone())
        self.store.opening.pop().callback(None)
        self.assertIsNone(self.upload.outcome)
        self.assertEqual(self.factory.receiving, set())


class ListSource(Source):
    """
    Delivers given chunks while it is not paused.

    :ivar delivered: how many it has.
    """

    def __init__(self, chunks: list[bytes], error: OSError | None = None) -> None:
        super().__init__(os.open(os.devnull, os.O_RDONLY))
        self.chunks = chunks
        self.error = error
        self.delivered = 0

    def resume(self) -> None:
        if self._reading:
            return
        self._reading = True
        while self._reading:
            if self.delivered == len(self.chunks):
                self._reading = False
                self._ended(self.error)
            else:
                self.delivered += 1
                self._deliver(self.chunks[self.delivered - 1])


class SenderTests(SynchronousTestCase):
    """:class:`UploadSender` against a server's core."""

    def start(self, source: ListSource) -> None:
        self.source = source
        self.progress: list[int] = []
        self.sender = UploadSender(source, self.progress.append)
        factory = SodiumClientFactory(PAIR.public, "l", "p", lambda: self.sender, clock=Clock())
        self.transport = Transport()
        self.transport.protocol = factory.buildProtocol(None)
        self.sender.makeConnection(self.transport)
        self.server = ServerConnection(PAIR, 0)
        list(self.server.receive_data(self.take(), 0))
        self.sender.dataReceived(self.server.accept(0))

    def take(self) -> bytes:
        data = self.transport.value()
        self.transport.clear()
        return data

    def sent(self) -> list[bytes]:
        return [event.payload for event in self.server.receive_data(self.take(), 0)]

    def acknowledge(self, *sizes: int) -> None:
        self.sender.dataReceived(b"".join(self.server.send_data(acknowledgement(size)) for size in sizes))

    def test_framed(self) -> None:
        """The content stands between two empty DATA, and the end is only where all is acknowledged."""
        self.start(ListSource([b"one", b"two!"]))
        self.assertEqual(self.sent(), [b"", b"one", b"two!", b""])
        self.acknowledge(0, 3, 4)
        self.assertNoResult(self.sender.finished)
        self.assertTrue(self.transport.connected)
        self.acknowledge(0)
        self.assertIsNone(self.successResultOf(self.sender.finished))
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
        self.patch(transfer, "FIRST_WINDOW", 10_000)
        self.patch(transfer, "LARGEST_WINDOW", 50_000)
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

    def test_window_that_does_not_hold_up(self) -> None:
        """Where little of it is used it stays as it is."""
        self.patch(transfer, "FIRST_WINDOW", 10_000)
        source = ListSource([b"x"] * 10)
        self.start(source)
        self.acknowledge(0, *[1] * 10)
        self.assertEqual(self.sender._window, 10_000)

    def test_transport_full(self) -> None:
        """While the transport is full nothing is read."""
        self.patch(transfer, "FIRST_WINDOW", 64 * (PDU_OVERHEAD + 1))
        self.start(ListSource([b"x"] * 1000))
        self.sent()
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
        self.failureResultOf(self.sender.finished, ConnectionLost)
        self.assertIsNone(self.successResultOf(self.sender.lost))
        self.assertEqual(self.source._fd, -1)
