"""
Receiving files, against a client's core and in memory.
"""

from __future__ import annotations

import errno

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import SingleLogin
from sodiumtwist.core.connection import ClientConnection
from sodiumtwist.core.events import DataReceived
from sodiumtwist.transfer.acknowledgements import acknowledgement, acknowledges
from sodiumtwist.transfer.receiver import WRITE_BEHIND, UploadFactory, UploadReceiver

from ..core.peers import wire_of
from ..logs import logged
from ..pair import build
from ..transports import AbortableTransport
from ..uploads import PAIR, MemoryStore, MemoryUpload


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


class ReceiverTests(SynchronousTestCase):
    """:class:`UploadReceiver` against a client's core."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.factory = UploadFactory(self.store, PAIR, SingleLogin("l", "p"), clock=self.clock)
        self.connect()

    def connect(self) -> None:
        self.receiver = build(self.factory, UploadReceiver)
        self.transport = AbortableTransport()
        self.transport.protocol = self.receiver
        self.receiver.makeConnection(self.transport)
        self.client = ClientConnection(PAIR.public, "l", "p", 0)
        self.receiver.dataReceived(wire_of(self.client.initiate))
        list(self.client.receive_data(self.transport.value(), 0))
        self.transport.clear()

    def send(self, *payloads: bytes) -> None:
        self.receiver.dataReceived(b"".join(wire_of(self.client.send_data, each) for each in payloads))

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
        events = logged(self)
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
        self.receiver.dataReceived(wire_of(self.client.send_data, b"more")[:-1])
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
