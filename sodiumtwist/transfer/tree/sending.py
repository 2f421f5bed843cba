"""
The end that sends files: it announces what is found, sends what is wanted of it, and learns what became of each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...core.connection import Code
from ...core.errors import RemoteProtocolError
from ...protocol.producers import WriteGate
from ..sources import Source
from .channel import Channel
from .disk_thread import DiskThread
from .messages import (
    DIGEST_SIZE,
    ENTRIES,
    FILE,
    FOLDER,
    HAVE,
    REFUSED,
    RESUME,
    SEND,
    STREAM,
    UNSETTLED,
    Done,
    Entry,
    Finish,
    Outcome,
    Settled,
    Verdict,
    Verdicts,
    decode_answer,
    decode_outcome,
    encode,
)
from .pieces import LAST, VOID, header
from .reading import JOB_SIZE, Job, Read, Reading
from .report import FAILED, REFUSED as REFUSED_BEFORE, STORED, THERE, WOULD_RESUME, WOULD_SEND, FileResult, Report
from .walking import Batch, Walk, Where, why_not

#: How many entries are announced at most that are not settled: half of what the receiver takes.
WINDOW = UNSETTLED // 2

#: How many announcements are under way at once, so that their answers need not be waited for one by one.
ANNOUNCEMENTS = 4


class Stream:
    """
    What has no size beforehand, as standard input and FIFOs. It is sent alone.

    :param source: where its bytes come from; it is closed when they are sent, or it fails.
    :param name: under which it is announced; empty when the receiver shall find one.
    :param mtime: in nanoseconds since the epoch.
    """

    def __init__(self, source: Source, name: bytes, mtime: int) -> None:
        self.source = source
        self.entry = Entry(STREAM, name, 0, mtime)


class _Unsettled:
    """
    An entry that is announced.

    :ivar where: where to open it.
    :ivar all_sent: whether nothing of it follows.
    :ivar digest: of all that was sent, where digests are wanted.
    :ivar text: why it was taken back.
    """

    __slots__ = ("all_sent", "digest", "entry", "text", "where")

    def __init__(self, entry: Entry, where: Where) -> None:
        self.entry = entry
        self.where = where
        self.all_sent = False
        self.digest = b""
        self.text = ""


class Sending:
    """
    Sends files over one connection. The disk is used in the thread, and never waited for.

    :param end: of the connection.
    :param thread: where the disk is used; it stays the caller's.
    :param found: what to send: a walk over it, or a stream.
    :param report: is told how it gets on.
    :param dry: whether nothing is sent, and only told what would be.
    :param digests: whether the digests of whole files are wanted. They are compared with the receiver's.
    """

    def __init__(
        self,
        end: Channel,
        thread: DiskThread,
        found: Walk | Stream,
        report: Report | None = None,
        dry: bool = False,
        digests: bool = False,
    ) -> None:
        self._end = end
        self._thread = thread
        self._walk = found if isinstance(found, Walk) else None
        self._stream = found if isinstance(found, Stream) else None
        self._report = report or Report()
        self._dry = dry
        self._digests = digests
        self._reading = Reading(digests)
        self._sent: Deferred[None] = Deferred()
        self._over = False
        # By number, in their order.
        self._unsettled: dict[int, _Unsettled] = {}
        self._refused_folders: set[bytes] = set()
        # Walking: whether the thread is at it, and whether all is found.
        self._walks = False
        self._all_found = False
        # Announcements without an answer, by the number of their first entry; and answers that have overtaken others.
        self._announced: deque[Batch] = deque()
        self._answers: dict[int, Verdicts] = {}
        # Reading: whether the thread is at it, and what was read and is not sent.
        self._reads = False
        self._packs: deque[bytes] = deque()
        self._ahead = 0
        self._full = False
        # How many bytes of files were read, or came from the stream; how many of them the receiver has written.
        self._size = 0
        self._written = 0
        self._place = 0
        self._finishing = False
        self._times: Iterator[bytes] = iter(())

    # For the caller

    def start(self) -> Deferred[None]:
        """
        Begin.

        :return: fires when the receiver has settled all. Fails with why that is not so: what the connection ended with,
            or :exc:`~sodiumtwist.core.errors.RequestFailed` when the receiver does not go on.
        """
        # A transport that is gone takes nothing for good, so stopping is like being full.
        self._end.registerProducer(WriteGate(self._block, self._unblock, self._block), True)
        if self._stream is not None:
            self._stream.source.start(self._stream_read, self._stream_ended)
            self._all_found = True
            self._announce(Batch(0, [self._stream.entry], [b""], 1))
        else:
            self._walk_on()
        return self._sent

    def data_received(self, payload: bytes) -> None:
        """
        Take a DATA of the receiver. When it breaks the rules, the connection ends.
        """
        if self._over:
            return
        try:
            outcome = decode_outcome(payload)
            self._take(outcome)
        except RemoteProtocolError as error:
            self._break(error)
            return
        self._go_on()

    def lost(self, reason: Failure) -> None:
        """
        The connection is over.

        :param reason: why.
        """
        self._fail(reason)

    # Finding and announcing

    def _walk_on(self) -> None:
        if self._walks or self._all_found or self._over or len(self._announced) >= ANNOUNCEMENTS:
            return
        if len(self._unsettled) + ENTRIES > WINDOW:
            return
        assert self._walk is not None
        self._walks = True
        self._thread.call(self._walk.next).addCallback(self._walked).addErrback(self._fail)

    def _walked(self, batch: Batch | None) -> None:
        self._walks = False
        if self._over:
            return
        if batch is None:
            self._all_found = True
        else:
            for path, why, is_trouble in batch.left_out:
                (self._report.trouble if is_trouble else self._report.left_out)(path, why)
            if batch.entries:
                self._announce(batch)
        self._go_on()

    def _announce(self, batch: Batch) -> None:
        self._report.found(batch.files, batch.size)
        for number, (entry, where) in enumerate(zip(batch.entries, batch.wheres, strict=True), batch.first):
            self._unsettled[number] = _Unsettled(entry, where)
        self._announced.append(batch)
        self._end.request(batch.encode()).addCallback(self._answered, batch).addErrback(self._fail)

    def _answered(self, payload: bytes, batch: Batch) -> None:
        if self._over:
            return
        try:
            verdicts = decode_answer(Verdicts, payload)
            if len(verdicts.verdicts) != len(batch.entries):
                raise RemoteProtocolError("an announcement is answered by another number of verdicts")
            self._answers[batch.first] = verdicts
            # Pieces go by their numbers, whatever is answered first.
            while self._announced and self._announced[0].first in self._answers:
                batch = self._announced.popleft()
                for number, verdict in enumerate(self._answers.pop(batch.first).verdicts, batch.first):
                    self._judge(number, verdict)
        except RemoteProtocolError as error:
            self._break(error)
            return
        self._go_on()

    def _judge(self, number: int, verdict: Verdict) -> None:
        waiting = self._unsettled[number]
        entry, what = waiting.entry, verdict.what
        if what == SEND and entry.kind == FILE and not self._dry:
            self._reading.add(Job(number, entry, waiting.where))
        elif what == REFUSED:
            if entry.kind == FOLDER:
                self._refused_folders.add(entry.path)
            self._settle(number, REFUSED_BEFORE, code=verdict.code, text=verdict.text)
        elif entry.kind == FOLDER:
            # It is made, or was there.
            del self._unsettled[number]
        elif what == HAVE:
            self._report.begins(entry.path, entry.size, entry.size)
            self._settle(number, THERE, name=verdict.name or entry.path, size=entry.size, digest=verdict.digest)
        elif what == RESUME and (
            entry.kind != FILE or verdict.offset > entry.size or len(verdict.digest) != DIGEST_SIZE
        ):
            raise RemoteProtocolError("a verdict tells of more than was announced, or of no digest")
        elif self._dry:
            self._settle(number, WOULD_RESUME if what == RESUME else WOULD_SEND, size=entry.size)
        elif self._stream is not None:
            self._report.begins(entry.path, 0, 0)
        else:
            self._reading.add(Job(number, entry, waiting.where, verdict.offset, verdict.digest))

    # Reading and sending

    def _block(self) -> None:
        self._full = True
        if self._stream is not None:
            self._stream.source.pause()

    def _unblock(self) -> None:
        self._full = False
        self._go_on()

    def _go_on(self) -> None:
        """Do what can be done by now."""
        if self._over:
            return
        self._send_on()
        if self._walk is not None:
            self._walk_on()
            self._read_on()
        elif not (self._full or self._announced or self._stream_is_over()):
            assert self._stream is not None
            self._stream.source.resume()
        self._finish_if_all_sent()

    def _stream_is_over(self) -> bool:
        return 0 not in self._unsettled or self._unsettled[0].all_sent

    def _send_on(self) -> None:
        packs = self._packs
        while packs and not self._full:
            pack = packs.popleft()
            self._ahead -= len(pack)
            self._end.send_data(pack)

    def _read_on(self) -> None:
        # While one job is being sent, the next one is read.
        if not self._reads and self._ahead < JOB_SIZE and self._reading.more:
            self._reads = True
            self._thread.call(self._reading.read).addCallback(self._was_read).addErrback(self._fail)

    def _was_read(self, read: Read) -> None:
        self._reads = False
        if self._over:
            return
        self._size += read.size
        for number, offset in read.begun:
            waiting = self._unsettled.get(number)
            if waiting is not None:
                self._report.begins(waiting.entry.path, waiting.entry.size, offset)
        for ended in read.ended:
            waiting = self._unsettled.get(ended.number)
            if waiting is not None:
                waiting.all_sent, waiting.digest, waiting.text = True, ended.digest, ended.text
        self._packs += read.packs
        self._ahead += sum(map(len, read.packs))
        self._go_on()

    def _stream_read(self, chunk: bytes) -> None:
        size = len(chunk)
        self._end.send_data(header(0, 0, self._place, size) + chunk)
        self._place += size
        self._size += size

    def _stream_ended(self, error: OSError | None) -> None:
        assert self._stream is not None
        self._stream.source.close()
        waiting = self._unsettled[0]
        waiting.all_sent = True
        if error is not None:
            waiting.text = why_not(error)
        line = waiting.text.encode()
        self._end.send_data(header(0, LAST if error is None else LAST | VOID, self._place, len(line)) + line)
        self._go_on()

    # What became of them

    def _take(self, outcome: Outcome) -> None:
        if not self._written <= outcome.written <= self._size:
            raise RemoteProtocolError("an outcome tells of less than the last one, or of more than was sent")
        if outcome.written > self._written:
            self._report.written(outcome.written - self._written)
            self._written = outcome.written
        for settled in outcome.files:
            self._take_settled(settled)

    def _take_settled(self, settled: Settled) -> None:
        waiting = self._unsettled.get(settled.number)
        if waiting is None or waiting.entry.kind == FOLDER:
            raise RemoteProtocolError("an outcome tells of a file that does not wait for one")
        if settled.code:
            if not waiting.all_sent:
                self._give_up(settled.number)
            self._settle(settled.number, FAILED, code=settled.code, text=waiting.text or settled.text)
        elif not waiting.all_sent or waiting.text:
            raise RemoteProtocolError("an outcome tells of a file as stored that was not sent whole")
        elif waiting.digest and settled.digest and waiting.digest != settled.digest:
            self._settle(settled.number, FAILED, code=Code.STORAGE, text="what is stored has another digest")
        else:
            self._settle(
                settled.number,
                STORED,
                name=settled.name or waiting.entry.path,
                size=settled.size,
                digest=settled.digest or waiting.digest,
                text=settled.text,
            )

    def _give_up(self, number: int) -> None:
        """Send no more of a file that the receiver does not take."""
        if self._stream is None:
            self._reading.drop(number)
        else:
            self._stream.source.close()
            self._end.send_data(header(number, LAST | VOID, self._place, 0))

    def _settle(
        self,
        number: int,
        outcome: str,
        name: bytes = b"",
        size: int = 0,
        digest: bytes = b"",
        code: int = 0,
        text: str = "",
    ) -> None:
        entry = self._unsettled.pop(number).entry
        self._report.settled(FileResult(entry.path, entry.kind, outcome, name, size, digest.hex(), code, text))

    # The end

    def _finish_if_all_sent(self) -> None:
        if self._finishing or not self._all_found or self._announced or self._packs or self._reads:
            return
        if self._reading.more or (self._stream is not None and not self._stream_is_over()):
            return
        self._finishing = True
        self._end.unregisterProducer()
        self._set_times()

    def _set_times(self) -> None:
        if self._walk is not None and not self._dry:
            self._times = self._walk.times(self._refused_folders)
            for _ in range(ANNOUNCEMENTS - 1):
                self._set_next_times()
        self._set_next_times(last=True)

    def _set_next_times(self, last: bool = False) -> None:
        payload = next(self._times, None)
        if payload is not None:
            setting = self._end.request(payload).addCallback(self._done)
            setting.addCallback(lambda _: None if self._over else self._set_next_times(last)).addErrback(self._fail)
        elif last:
            self._finish()

    def _finish(self) -> None:
        walk = self._walk
        finish = Finish() if walk is None else Finish(walk.links, walk.others, walk.troubles, walk.untold)
        self._end.request(encode(finish)).addCallback(self._finished).addErrback(self._fail)

    def _done(self, payload: bytes) -> None:
        try:
            decode_answer(Done, payload)
        except RemoteProtocolError as error:
            self._break(error)

    def _finished(self, payload: bytes) -> None:
        self._done(payload)
        if self._over:
            return
        if self._unsettled:
            self._break(RemoteProtocolError("the receiver has not said what became of all files, and is done"))
            return
        self._over = True
        self._close()
        self._sent.callback(None)

    def _break(self, error: RemoteProtocolError) -> None:
        """The receiver breaks the rules."""
        self._end.abort_with(Code.PROTOCOL_BROKEN, str(error), error)
        self._fail(Failure(error))

    def _fail(self, reason: Failure) -> None:
        if not self._over:
            self._over = True
            if not self._finishing:
                self._end.unregisterProducer()
            self._close()
            self._sent.errback(reason)

    def _close(self) -> None:
        self._packs.clear()
        if self._stream is not None:
            self._stream.source.close()
        else:
            self._thread.call(self._close_files)

    def _close_files(self) -> None:
        self._reading.close()
        if self._walk is not None:
            self._walk.close()
