"""
Receiving files, against a client's core and in memory.
"""

from __future__ import annotations

import errno
import os
import random
import time

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import Limits, SingleLogin
from sodiumtwist.core.connection import ClientConnection, Code, Version2
from sodiumtwist.core.events import Aborted, ConnectionOver, DataReceived, EndReceived
from sodiumtwist.core.wire import PDU_OVERHEAD
from sodiumtwist.protocol.sockets import READ_SIZE, TransportBelow
from sodiumtwist.transfer.acknowledgements import acknowledgement, acknowledges, is_acknowledgement
from sodiumtwist.transfer.receiver import LATEST, TOGETHER, WRITE_BEHIND, UploadFactory, UploadReceiver
from sodiumtwist.transfer.stores import StreamStore

from ..core.peers import wire_of
from ..logs import logged
from ..pair import build
from ..transports import AbortableTransport
from ..uploads import PAIR, MemoryStore, MemoryUpload
from ..versions import each_version, only, spoken
from .test_uploads import PipeReactor


class AcknowledgementTests(SynchronousTestCase):
    """The payload that confirms a DATA."""

    def test_format(self) -> None:
        """32 bytes: the text, then only zeros."""
        self.assertEqual(acknowledgement(5), b"DATA OK: RECEIVED 5 BYTES" + bytes(7))
        self.assertEqual(acknowledgement(0), b"DATA OK: RECEIVED 0 BYTES" + bytes(7))
        self.assertEqual(acknowledgement(131070), b"DATA OK: RECEIVED 131070 BYTES" + bytes(2))

    def test_is_acknowledgement(self) -> None:
        """Of any size, also as the reference server fills it up; what a service says is none."""
        for payload in (acknowledgement(0), acknowledgement(65535), b"DATA OK: RECEIVED 5 BYTES\0\x9a\x1b\x0f\x56\0\0"):
            self.assertTrue(is_acknowledgement(payload), payload)
        for payload in (
            b"",
            bytes(32),
            acknowledgement(5)[:-1],
            acknowledgement(5) * 2,
            b"DATA OK: RECEIVED 5 BYTES".ljust(32),
            b"DATA OK: RECEIVED x BYTES".ljust(32, b"\0"),
            b"DATA OK: RECEIVED 05 BYTES".ljust(32, b"\0"),
            b"DATA OK: RECEIVED \xb2 BYTES".ljust(32, b"\0"),
            b"220 mail.example ESMTP\r\n".ljust(32, b"\0"),
        ):
            self.assertFalse(is_acknowledgement(payload), payload)

    def test_acknowledges(self) -> None:
        """The text counts; the bytes behind its NUL may be anything, as the reference leaves them."""
        self.assertTrue(acknowledges(acknowledgement(5), 5))
        self.assertTrue(acknowledges(b"DATA OK: RECEIVED 5 BYTES\0\x9a\x1b\x0f\x56\0\0", 5))
        for payload in (acknowledgement(6), b"", b"DATA OK: RECEIVED 5 BYTE", b"DATA OK: RECEIVED 05 BYTES", bytes(32)):
            self.assertFalse(acknowledges(payload, 5), payload)


class Walk:
    """
    Events in a random order for one upload whose store is slow.

    :param test: what it is done in.
    :param seed: which order.
    """

    def __init__(self, test: ReceiverTests, seed: int) -> None:
        self.random = random.Random(seed)
        self.test = test
        self.store = test.store = MemoryStore()
        test.factory = UploadFactory(self.store, PAIR, SingleLogin("l", "p"), clock=Clock())
        test.connect()
        self.store.slow = self.store.slow_end = True
        self.store.one_by_one = self.random.random() < 0.3
        self.sent: list[bytes] = []
        self.framed = self.random.random() < 0.7
        self.ended = self.left = False
        self.lost: Exception | None = None
        self.acknowledged = 0

    def go(self) -> None:
        for _ in range(30):
            self.random.choice([self.send, self.send, self.store_on, self.store_on, self.store_on, self.end])()
            self.check()
        while self.store_on():
            self.check()
        if self.sent:
            self.test.assertEqual(self.test.factory.receiving, set() if self.over else {self.test.receiver})

    @property
    def over(self) -> bool:
        """Whether the upload has come to an end, whole or not."""
        return self.lost is not None or self.ended or self.left or self.test.is_broken_off

    def send(self) -> None:
        if not self.over:
            payload = self.random.randbytes(5) if self.sent or not self.framed else b""
            self.sent.append(payload)
            self.test.send(payload)

    def store_on(self) -> bool:
        """Let what the store is asked for come about, mostly well."""
        for waiting in (self.store.opening, self.store.writing, self.store.ending):
            if waiting:
                if self.random.random() < 0.1:
                    number = self.random.choice([errno.EIO, errno.ENOSPC])
                    waiting.pop(0).errback(OSError(number, "broken"))
                else:
                    waiting.pop(0).callback(None)
                return True
        return False

    def end(self) -> None:
        if self.lost is not None or self.random.random() < 0.6:
            return
        if self.framed and self.sent and not self.over and self.random.random() < 0.5:
            self.ended = True
            self.test.send(b"")
        elif self.random.random() < 0.5:
            if self.random.random() < 0.5 and not self.left and not self.test.is_broken_off:
                self.left = True
                self.test.leave()
                # The transport's end says so.
                self.lost = ConnectionDone() if spoken() == 1 else None
            elif not self.left or self.random.random() < 0.5:
                self.lost = ConnectionLost()
                self.test.lose(self.lost)

    def check(self) -> None:
        self.acknowledged += len(self.test.acknowledged()) if self.lost is None else 0
        expected = b"".join(self.sent)
        uploads = self.store.uploads
        written = uploads[0].content if uploads else b""
        self.test.assertTrue(expected.startswith(written))
        end = self.ended or (not self.framed and self.left)
        finished = bool(uploads) and uploads[0].outcome == "finished"
        if finished:
            self.test.assertTrue(end)
            self.test.assertEqual(written, expected)
        acknowledged = self.acknowledged - (1 if self.acknowledged > len(self.sent) else 0)
        if acknowledged < self.acknowledged:
            self.test.assertTrue(finished and self.ended)
        self.test.assertLessEqual(sum(map(len, self.sent[:acknowledged])), len(written))


@each_version
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
        version_2 = Version2(time.time, padding=lambda: 0)
        self.client = ClientConnection(PAIR.public, "l", "p", 0, version=spoken(), version_2=version_2)
        self.payloads: list[bytes] = []
        self.told: tuple[int, str] | None = None
        self.client.initiate()
        while said := self.client.data_to_send():
            self.receiver.dataReceived(said)
            self.read()

    def read(self) -> None:
        """Take what the receiver has sent."""
        data = self.transport.value()
        self.transport.clear()
        for event in self.client.receive_data(data, 0):
            if isinstance(event, DataReceived):
                self.payloads.append(event.payload)
            elif isinstance(event, Aborted):
                self.told = event.code, event.text
            self.ended = isinstance(event, EndReceived)

    def send(self, *payloads: bytes) -> None:
        self.receiver.dataReceived(b"".join(wire_of(self.client.send_data, each) for each in payloads))

    def acknowledged(self) -> list[bytes]:
        self.read()
        payloads, self.payloads = self.payloads, []
        return payloads

    @property
    def upload(self) -> MemoryUpload:
        (upload,) = self.store.uploads
        return upload

    def lose(self, reason: Exception) -> None:
        self.transport.connected = False
        self.receiver.connectionLost(Failure(reason))

    def leave(self) -> None:
        """Let the client end in order: in version 1 all that says so is the end of the transport."""
        if spoken() == 1:
            self.lose(ConnectionDone())
        else:
            self.receiver.dataReceived(wire_of(self.client.send_end))

    @property
    def is_broken_off(self) -> bool:
        """Whether the receiver has ended the session."""
        return self.transport.aborted if spoken() == 1 else not self.transport.connected

    def assert_broken_off(self, code: int, text: str) -> None:
        """The receiver has ended the session, and in version 2 has said why."""
        self.assertTrue(self.is_broken_off)
        self.read()
        self.assertEqual(self.told, (code, text) if spoken() == 2 else None)

    def test_nothing_opened_without_data(self) -> None:
        """A session that sends no DATA opens no upload."""
        self.lose(ConnectionDone())
        self.assertEqual(self.store.uploads, [])
        self.assertEqual(self.factory.receiving, set())

    def test_acknowledged_in_order(self) -> None:
        """Each DATA is acknowledged with its size, an empty one too."""
        self.send(b"hello", b"", b"x" * 100)
        self.assertEqual(self.acknowledged(), [acknowledgement(5), acknowledgement(0), acknowledgement(100)])
        self.leave()
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

    def hold_unread(self) -> None:
        """From now on the system says that more is there to be read, until :attr:`unread` says otherwise."""
        self.unread = True
        self.patch(TransportBelow, "unread", lambda below: READ_SIZE if self.unread else 0)

    def test_acknowledged_together(self) -> None:
        """As long as more is there to be read, several are acknowledged by one write, and each is stored at once."""
        self.hold_unread()
        sizes = [0, *range(1, TOGETHER)]
        for size in sizes:
            self.assertEqual(self.transport.value(), b"")
            self.send(bytes(size))
        self.assertEqual(self.upload.content, bytes(sum(sizes)))
        self.assertEqual(self.acknowledged(), [acknowledgement(size) for size in sizes])

    def test_looks_seldom(self) -> None:
        """The system is not asked again before what it has told of is read; when that was less, all is acknowledged."""
        waiting = [3, 2, 0]
        self.patch(TransportBelow, "unread", lambda below: waiting.pop(0) * READ_SIZE)
        for size in range(6):
            self.send(bytes(size))
            self.assertEqual(len(waiting), 2 if size < 3 else 1 if size < 5 else 0)
        self.assertEqual(self.acknowledged(), [acknowledgement(size) for size in range(6)])
        waiting[:] = [TOGETHER + 1, 0]
        self.send(*[b"x"] * TOGETHER, b"last")
        self.assertEqual(self.acknowledged(), [acknowledgement(1)] * TOGETHER + [acknowledgement(4)])
        self.assertEqual(waiting, [])

    def test_last_is_acknowledged(self) -> None:
        """When nothing more is there to be read, all are acknowledged that are stored."""
        self.hold_unread()
        self.send(b"one")
        self.assertEqual(self.acknowledged(), [])
        self.unread = False
        self.send(b"three")
        self.assertEqual(self.acknowledged(), [acknowledgement(3), acknowledgement(5)])

    def test_no_data_behind(self) -> None:
        """When what is there to be read is none to store, what is stored is acknowledged all the same."""
        clock = self.factory.clock
        assert isinstance(clock, Clock)
        self.hold_unread()
        self.send(b"one")
        self.receiver.dataReceived(wire_of(self.client.send_ping, 0, 0))
        clock.advance(LATEST / 2)
        self.assertEqual(self.acknowledged(), [])
        clock.advance(LATEST / 2)
        self.assertEqual(self.acknowledged(), [acknowledgement(3)])
        self.send(b"three")
        self.leave()
        if spoken() == 2:
            self.lose(ConnectionDone())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_end_leaves_none(self) -> None:
        """The end of an upload, framed or not, acknowledges all of it."""
        self.hold_unread()
        self.send(b"", b"one", b"")
        self.assertEqual(self.acknowledged(), [acknowledgement(size) for size in (0, 3, 0)])
        if spoken() == 2:
            self.connect()
            self.send(b"one")
            self.leave()
            self.assertEqual(self.acknowledged(), [acknowledgement(3)])

    def test_slow_pipe_holds_none_up(self) -> None:
        """Where the next write can take long, none waits for it."""
        self.store.one_by_one = True
        self.hold_unread()
        self.send(b"one")
        self.assertEqual(self.acknowledged(), [acknowledgement(3)])

    def test_told_how_far_it_came(self) -> None:
        """What is stored is acknowledged before the client is told that no more will be."""
        self.hold_unread()
        self.send(b"one")
        self.factory.store.max_upload = 4
        self.send(b"two")
        self.assert_broken_off(Code.STORAGE, "it is larger than 4 B")
        # In version 1 the connection is cut, which drops what has not left.
        self.assertEqual(self.acknowledged(), [acknowledgement(3)] if spoken() == 2 else [])

    def test_given_up_behind_what_is_stored(self) -> None:
        """An upload that is given up has acknowledged what is stored."""
        self.hold_unread()
        self.send(b"one")
        self.receiver.give_up("stopping")
        self.assertEqual(self.acknowledged(), [acknowledgement(3)])

    def test_framed_close_while_writing(self) -> None:
        """A framed upload that its client left is given up at once, whatever still waits."""
        self.store.slow = True
        self.send(b"", b"one")
        self.store.opening.pop().callback(None)
        self.leave()
        self.assertEqual((self.upload.interrupted, self.upload.outcome), (True, "abandoned"))

    def test_given_up(self) -> None:
        """A server that stops does not wait for a pipe, and says why."""
        events = logged(self)
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.leave()
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
        self.leave()
        self.assertEqual(self.upload.outcome, "finished")

    def test_unframed_close_while_writing(self) -> None:
        """What had come when the client closed is still written."""
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.send(b"two")
        self.leave()
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
        self.leave()
        self.store.writing.pop().errback(OSError(errno.EIO, "broken"))
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
            self.leave()
            self.assertEqual(self.upload.outcome, "abandoned")

    def test_data_behind_the_end(self) -> None:
        """More DATA after the end is an error, and the upload stays."""
        self.send(b"", b"all", b"")
        self.send(b"more")
        self.assertFalse(self.transport.connected)
        self.assertEqual((self.upload.content, self.upload.outcome), (b"all", "finished"))

    def test_summed_up_at_the_stop(self) -> None:
        """Uploads that break off when the server stops are in a sum, the last one as well."""
        events = logged(self)
        self.factory = UploadFactory(
            self.store, PAIR, SingleLogin("l", "p"), clock=self.clock, limits=Limits(client_lines=1)
        )
        self.factory.doStart()
        receivers = []
        for _ in range(3):
            self.connect()
            self.send(b"", b"some")
            receivers.append(self.receiver)
        self.factory.doStop()
        for receiver in receivers:
            receiver.connectionLost(Failure(ConnectionLost()))
        texts = [formatEvent(event) for event in events]
        self.assertEqual(sum("1 more lines about uploads" in text for text in texts), 2, texts)

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
        self.assert_broken_off(Code.STORAGE, "no")
        self.assertEqual(self.acknowledged(), [])
        self.assertEqual(self.factory.receiving, set())

    def test_cannot_write(self) -> None:
        """A write that fails ends the session, without acknowledgement; what waits is dropped."""
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.send(b"two")
        self.store.writing.pop().errback(OSError(errno.EIO, "broken"))
        self.assert_broken_off(Code.STORAGE, "broken")
        self.assertEqual((self.acknowledged(), self.store.writing), ([], []))
        self.assertEqual(self.upload.outcome, "abandoned")

    def test_cannot_finish(self) -> None:
        """An upload that can't take its place is not acknowledged as whole, framed or not."""
        self.store.finish_error = OSError(errno.EISDIR, "is a directory")
        self.send(b"", b"all")
        self.acknowledged()
        self.send(b"")
        self.assert_broken_off(Code.STORAGE, "is a directory")
        self.assertEqual((self.acknowledged(), self.upload.outcome), ([], "abandoned"))
        self.store.uploads.clear()
        self.connect()
        self.send(b"all")
        self.leave()
        self.assertEqual(self.upload.outcome, "abandoned")

    def test_confirmed_by_the_disk(self) -> None:
        """The last acknowledgement waits until the upload is in its place, however long that takes."""
        self.store.slow_end = True
        self.send(b"", b"all", b"")
        self.assertEqual(self.acknowledged(), [acknowledgement(0), acknowledgement(3)])
        self.store.ending.pop().callback(None)
        self.assertEqual(self.acknowledged(), [acknowledgement(0)])

    def test_disk_refuses(self) -> None:
        """What the disk does not take in the end is not confirmed; what it says afterwards counts no more."""
        events = logged(self)
        self.store.slow_end = True
        self.send(b"", b"all", b"")
        self.acknowledged()
        self.store.ending.pop().errback(OSError(errno.EIO, "broken"))
        self.assert_broken_off(Code.STORAGE, "broken")
        self.store.ending.pop().callback(None)
        self.assertEqual((self.acknowledged(), self.upload.outcome), ([], "abandoned"))
        told = [formatEvent(event) for event in events]
        self.assertTrue(
            any(line.endswith("cannot store an upload of 'l' from 192.168.1.1:54321: broken") for line in told)
        )

    def test_lost_while_it_ends(self) -> None:
        """Whatever becomes of the connection, an upload of which all came takes its place."""
        for reason in (ConnectionDone(), ConnectionLost()):
            self.store.uploads.clear()
            self.connect()
            self.store.slow_end = True
            self.send(b"", b"all", b"")
            self.lose(reason)
            self.receiver.give_up("the server is stopping")
            self.assertEqual((self.factory.receiving, self.upload.interrupted), ({self.receiver}, False))
            self.store.ending.pop().callback(None)
            self.assertEqual((self.upload.outcome, self.factory.receiving), ("finished", set()))

    def test_cannot_finish_after_loss(self) -> None:
        """Nor can one be taken for whole that fails to, when nobody is there to hear it."""
        events = logged(self)
        self.store.slow_end = True
        for payloads, reason in (([b"all"], None), ([b"", b"all", b""], ConnectionLost())):
            self.store.uploads.clear()
            self.connect()
            self.send(*payloads)
            if reason is None:
                self.leave()
                self.lose(ConnectionDone())
            else:
                self.lose(reason)
            self.store.ending.pop().errback(OSError(errno.EIO, "broken"))
            self.store.ending.pop().callback(None)
            self.assertEqual(self.upload.outcome, "abandoned")
            self.assertIn("broke off: broken; kept abandoned", formatEvent(events[-1]))

    def test_cannot_abandon(self) -> None:
        """An upload that can't even be put away in order is over, and the log says so."""
        events = logged(self)
        self.store.slow_end = True
        self.send(b"some")
        self.lose(ConnectionLost())
        self.store.ending.pop().errback(OSError(errno.EIO, "broken"))
        self.assertEqual(self.factory.receiving, set())
        self.assertIn("kept what there is, for it cannot be put in order: broken", formatEvent(events[-1]))

    def test_too_large(self) -> None:
        """An upload may have so many bytes. Of a larger one nothing is confirmed beyond them, and nothing stays."""
        events = logged(self)
        self.store.max_upload = 10
        self.send(b"", b"x" * 10)
        self.assertEqual(len(self.acknowledged()), 2)
        self.send(b"x")
        self.assert_broken_off(Code.STORAGE, "it is larger than 10 B")
        self.assertEqual((self.acknowledged(), self.upload.outcome), ([], "removed"))
        self.assertIn("it is larger than 10 B, see --max-upload; kept removed", formatEvent(events[-1]))
        self.store.uploads.clear()
        self.connect()
        self.send(b"", b"x" * 10, b"")
        self.assertEqual(self.upload.outcome, "finished")

    def test_no_room(self) -> None:
        """What came of an upload that fills the disk does not stay there."""
        for number, text in ((errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk quota is used up")):
            self.store.uploads.clear()
            self.store.slow = False
            self.connect()
            self.send(b"one")
            self.store.slow = True
            self.send(b"two")
            self.acknowledged()
            self.store.writing.pop().errback(OSError(number, "full"))
            self.assertEqual((self.acknowledged(), self.upload.outcome), ([], "removed"))
            self.assert_broken_off(Code.STORAGE, text)

    def test_waits_unread(self) -> None:
        """While an upload is not opened, for others are before it, nothing is read behind its first DATA."""
        self.store.slow = True
        self.send(*[bytes(10_000)] * 10)
        self.assertEqual(self.transport.producerState, "paused")
        self.assertEqual(self.receiver._waiting_size, 10_000 + PDU_OVERHEAD)
        self.store.opening.pop().callback(None)
        self.assertEqual(self.transport.producerState, "producing")
        self.store.slow = False
        self.store.writing.pop().callback(None)
        self.assertEqual(len(self.acknowledged()), 10)
        self.assertEqual(self.upload.content, bytes(100_000))

    def test_left_unread(self) -> None:
        """A client that leaves while it waits unread waits no longer, and nothing of it is stored."""
        events = logged(self)
        for payloads in ([b"", b"some"], [b"so", b"me"], [b"some"]):
            self.store = self.factory.store = MemoryStore()
            self.store.slow = True
            self.connect()
            self.send(*payloads)
            given_up = self.store.opening[0]
            self.lose(ConnectionDone())
            self.assertTrue(given_up.called)
            self.assertIn(
                "broke off: the connection was cut: "
                if spoken() == 2
                else "broke off: the client left before its end; kept ",
                str(formatEvent(events[-1])),
            )
            self.assertEqual((self.upload.content, self.upload.outcome), (b"", None))
            self.assertEqual(self.factory.receiving, set())
            self.assertNotIn(self.receiver, self.factory.connections)

    def test_makes_way(self) -> None:
        """An upload that holds what others wait for breaks off; its client is cut off, and the log says why."""
        events = logged(self)
        self.send(b"some")
        self.upload.make_way("others wait")
        self.assert_broken_off(Code.STORAGE, "others wait")
        self.assertEqual((self.upload.outcome, self.factory.receiving), ("abandoned", set()))
        told = [formatEvent(event) for event in events[-3:]]
        self.assertIn("cannot store an upload of 'l' from 192.168.1.1:54321: others wait", told[0])
        self.assertIn("192.168.1.1:54321 as 'l' is gone after", told[1])
        self.assertIn("broke off: others wait; kept abandoned", told[2])

    def test_makes_way_for_others(self) -> None:
        """Of a FIFO, after half a minute: one byte and PONGs do not hold it for ever."""
        fifo = self.mktemp()
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.clock = reactor = PipeReactor()
        store = StreamStore(fifo, reactor, 180)
        self.factory = UploadFactory(store, PAIR, SingleLogin("l", "p"), clock=reactor)
        self.connect()
        first = self.transport
        self.send(b"", b"x")
        self.connect()
        self.send(b"", b"y", b"")
        reactor.advance(29)
        self.assertTrue(first.connected)
        reactor.advance(1)
        self.assertFalse(first.connected)
        self.assertEqual(self.acknowledged(), [acknowledgement(size) for size in (0, 1, 0)])
        self.assertEqual((os.read(reader, 9), self.factory.receiving), (b"xy", set()))

    def test_mistaken_store(self) -> None:
        """A store that fails in a way of its own ends the session, and the log shows where."""
        self.patch(self.store, "open", lambda login: 1 / 0)
        self.send(b"some")
        self.assert_broken_off(Code.APPLICATION_FAILED, "the application failed")
        self.assertEqual(self.factory.receiving, set())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_mistaken_answer(self) -> None:
        """So does a mistake of ours behind a write."""
        self.store.slow = True
        self.send(b"some")
        self.store.opening.pop().callback(None)
        self.patch(self.receiver, "send_data", lambda payload: 1 / 0)
        self.store.writing.pop().callback(None)
        self.assert_broken_off(Code.APPLICATION_FAILED, "the application failed")
        self.assertEqual(self.upload.outcome, "abandoned")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_no_circle(self) -> None:
        """An upload that is over is let go."""
        self.send(b"", b"all", b"")
        self.assertIsNone(self.receiver._upload)

    def test_any_order(self) -> None:
        """
        Whatever comes in whatever order: an upload is finished only when all of it came and was written, nothing is
        acknowledged before, and each ends once.
        """
        for seed in range(300):
            Walk(self, seed).go()

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

    @only(2)
    def test_ended_by_end(self) -> None:
        """The receiver says its end behind the last step, and then all is over."""
        self.store.slow = self.store.slow_end = True
        self.send(b"one")
        self.leave()
        self.store.opening.pop().callback(None)
        self.store.writing.pop().callback(None)
        self.assertEqual((self.acknowledged(), self.ended), ([acknowledgement(3)], False))
        self.store.ending.pop().callback(None)
        self.assertEqual(self.upload.outcome, "finished")
        self.assertEqual(
            [type(event) for event in self.client.receive_data(self.transport.value(), 0)][-1:], [ConnectionOver]
        )

    @only(2)
    def test_framed_and_ended(self) -> None:
        """A client that says its end behind that of its upload still gets the last acknowledgement."""
        self.store.slow_end = True
        self.send(b"", b"all", b"")
        self.leave()
        self.acknowledged()
        self.store.ending.pop().callback(None)
        self.assertEqual((self.acknowledged(), self.upload.outcome), ([acknowledgement(0)], "finished"))
        self.assertFalse(self.transport.connected)

    @only(2)
    def test_cut(self) -> None:
        """A transport that ends without END, however orderly, leaves a partial upload, framed or not."""
        for payloads in ((b"some",), (b"", b"some")):
            self.store.uploads.clear()
            self.connect()
            self.send(*payloads)
            self.lose(ConnectionDone())
            self.assertEqual(self.upload.outcome, "abandoned")

    @only(2)
    def test_lost_behind_the_end(self) -> None:
        """Behind END all has come: what becomes of the transport changes nothing."""
        self.store.slow = True
        self.send(b"one")
        self.store.opening.pop().callback(None)
        self.leave()
        self.lose(ConnectionLost())
        self.store.writing.pop().callback(None)
        self.assertEqual(self.upload.outcome, "finished")

    @only(2)
    def test_closed_here(self) -> None:
        """When it is closed here, DATA are dropped: the client's end makes no whole upload of what had come."""
        self.send(b"some")
        self.receiver.close()
        self.send(b"more")
        self.leave()
        self.assertEqual((self.upload.content, self.upload.outcome), (b"some", "abandoned"))
        self.assertEqual(self.factory.receiving, set())

    @only(2)
    def test_closed_here_while_writing(self) -> None:
        """What is written then can't be acknowledged any more, which is no mistake of anybody's."""
        self.store.slow = True
        self.send(b"some")
        self.store.opening.pop().callback(None)
        self.receiver.close()
        self.store.writing.pop().callback(None)
        self.assertEqual(self.acknowledged(), [])
        self.leave()
        self.assertEqual((self.upload.outcome, self.told), ("abandoned", None))

    @only(2)
    def test_names_no_paths(self) -> None:
        """What the client is told of an error has no path in it, and no option of the server's."""
        for error, code, text in (
            (
                OSError(errno.ENOSPC, "less than 5 B would stay free, see --min-free", "/srv/up"),
                9,
                "the disk is full",
            ),
            (OSError(errno.EBUSY, "32 uploads wait for it already", "/srv/fifo"), 3, "32 uploads wait for it already"),
            (OSError("/srv/secret"), 9, "it cannot be stored"),
            (FileNotFoundError(errno.ENOENT, "No such file", "/srv/up"), 9, "No such file"),
        ):
            self.store = self.factory.store = MemoryStore()
            self.store.slow = True
            self.connect()
            self.send(b"some")
            self.store.opening.pop().errback(error)
            self.assert_broken_off(code, text)
