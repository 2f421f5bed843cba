"""
The end that sends files: it announces what is found, sends what is wanted of it, and learns what became of each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...core.connection import Code
from ...core.errors import NotDone, RemoteProtocolError
from .channel import Channel
from .disk_thread import DiskThread
from .feeding import Feed, FileFeed, Stream, StreamFeed
from .messages import (
    ANNOUNCEMENT_SIZE,
    DIGEST_SIZE,
    ENTRIES,
    FILE,
    FOLDER,
    HAVE,
    REFUSED,
    RESUME,
    SEND,
    UNSETTLED,
    UNSETTLED_SIZE,
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
from .reading import End, Job, Reading
from .report import FAILED, REFUSED as REFUSED_BEFORE, STORED, THERE, WOULD_RESUME, WOULD_SEND, FileResult, Report
from .walking import Batch, Walk, Where

__all__ = ["ANNOUNCEMENTS", "PATHS_WINDOW", "WINDOW", "Sending", "Stream"]

#: How many entries are announced at most that are not settled: half of what the receiver takes.
WINDOW = UNSETTLED // 2

#: How many bytes the paths of these have together at most: half of what the receiver takes, too.
PATHS_WINDOW = UNSETTLED_SIZE // 2

#: How many announcements are under way at once, so that their answers need not be waited for one by one.
ANNOUNCEMENTS = 4


class _Unsettled:
    """
    An entry that is announced.

    :ivar where: where to open it.
    :ivar wanted: whether the receiver has said that it wants it.
    :ivar all_sent: whether nothing of it follows.
    :ivar size: of all that was sent, with what was there and holes.
    :ivar digest: of all that was sent, where digests are wanted.
    :ivar text: why it was taken back.
    """

    __slots__ = ("all_sent", "digest", "entry", "size", "text", "wanted", "where")

    def __init__(self, entry: Entry, where: Where) -> None:
        self.entry = entry
        self.where = where
        self.wanted = self.all_sent = False
        self.size = 0
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
    :param resume: whether what the receiver has already may be used.
    """

    def __init__(
        self,
        end: Channel,
        thread: DiskThread,
        found: Walk | Stream,
        report: Report | None = None,
        dry: bool = False,
        digests: bool = False,
        resume: bool = True,
    ) -> None:
        self._end = end
        self._thread = thread
        self._report = report or Report()
        self._dry = dry
        self._resumes = resume
        self._sent: Deferred[None] = Deferred()
        self._over = False
        # By number, in their order.
        self._unsettled: dict[int, _Unsettled] = {}
        self._paths_size = 0
        self._refused_folders: set[bytes] = set()
        # Announcements without an answer; and answers that have overtaken others, by the number of their first entry.
        self._announced: deque[Batch] = deque()
        self._answers: dict[int, Verdicts] = {}
        # Whether the thread walks, and whether all is found.
        self._walks = self._all_found = False
        # Why nothing more can be asked; and whether nothing more is to be asked, or need be.
        self._winds_up: NotDone | None = None
        self._asked_all = self._is_enough = False
        # How many bytes the receiver has written.
        self._written = 0
        self._finishing = False
        self._times: Iterator[bytes] = iter(())
        self._found = found
        self._reading = Reading(digests)
        self._feed: Feed

    # For the caller

    def start(self) -> Deferred[None]:
        """
        Begin.

        :return: fires when the receiver has settled all. Fails with why that is not so: what the connection ended with,
            or :exc:`~sodiumtwist.core.errors.RequestFailed` when the receiver does not go on.
        """
        found = self._found
        if isinstance(found, Stream):
            self._feed = StreamFeed(self._end, self, found.source)
            self._all_found = True
            self._announce(Batch(0, [found.entry], [b""], 1))
        else:
            self._feed = FileFeed(self._end, self, self._thread, self._reading)
            self._walk_on(found)
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
        self.go_on()

    def lost(self, reason: Failure) -> None:
        """
        The connection is over.

        :param reason: why.
        """
        self.fail(reason)

    def wind_up(self, why: NotDone) -> None:
        """
        The receiver is about to stop, and may be asked nothing more. What was announced is still sent and settled.

        :param why: what :meth:`start` fails with when that is done; unless the receiver was asked for the last time, or
            all was announced and there are no folders whose times are to be set.
        """
        if not (self._over or self._asked_all):
            folders = isinstance(self._found, Walk) and self._found.has_folders
            self._is_enough = self._all_found and not folders
            self._all_found, self._winds_up = True, why
            self.go_on()

    # Finding and announcing

    def _walk_on(self, walk: Walk) -> None:
        if self._walks or self._all_found or self._over or len(self._announced) >= ANNOUNCEMENTS:
            return
        if len(self._unsettled) + ENTRIES > WINDOW or self._paths_size + ANNOUNCEMENT_SIZE > PATHS_WINDOW:
            return
        self._walks = True
        self._thread.call(walk.next).addCallback(self._walked).addErrback(self.fail)

    def _walked(self, batch: Batch | None) -> None:
        self._walks = False
        if self._over or self._winds_up is not None:
            return
        if batch is None:
            self._all_found = True
        else:
            for path, why, is_trouble in batch.left_out:
                (self._report.trouble if is_trouble else self._report.left_out)(path, why)
            if batch.entries:
                self._announce(batch)
        self.go_on()

    def _announce(self, batch: Batch) -> None:
        self._report.found(batch.files, batch.size)
        for number, (entry, where) in enumerate(zip(batch.entries, batch.wheres, strict=True), batch.first):
            self._unsettled[number] = _Unsettled(entry, where)
            self._paths_size += len(entry.path)
        self._announced.append(batch)
        self._end.request(batch.encode()).addCallback(self._answered, batch).addErrback(self.fail)

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
        self.go_on()

    def _judge(self, number: int, verdict: Verdict) -> None:
        waiting = self._unsettled[number]
        entry, what = waiting.entry, verdict.what
        if what == SEND and entry.kind == FILE and not self._dry:
            waiting.wanted = True
            self._feed.add(Job(number, entry, waiting.where))
        elif what == REFUSED:
            if entry.kind == FOLDER:
                self._refused_folders.add(entry.path)
            self._settle(number, REFUSED_BEFORE, code=verdict.code, text=verdict.text)
        elif entry.kind == FOLDER:
            self._take_out(number)  # it is made, or was there
        elif (what == HAVE or what == RESUME) and (entry.kind != FILE or not self._resumes):
            raise RemoteProtocolError("a verdict tells of what is there, where nothing can be or shall be used")
        elif what == HAVE:
            self._report.begins(entry.path, entry.size, entry.size)
            self._settle(number, THERE, name=verdict.name or entry.path, size=entry.size, digest=verdict.digest)
        elif what == RESUME and (verdict.offset > entry.size or len(verdict.digest) != DIGEST_SIZE):
            raise RemoteProtocolError("a verdict tells of more than was announced, or of no digest")
        elif self._dry:
            self._settle(number, WOULD_RESUME if what == RESUME else WOULD_SEND, size=entry.size)
        else:
            waiting.wanted = True
            self._feed.add(Job(number, entry, waiting.where, verdict.offset, verdict.digest))

    # What the feed tells

    def begins(self, number: int, offset: int) -> None:
        waiting = self._unsettled.get(number)
        if waiting is not None:
            self._report.begins(waiting.entry.path, waiting.entry.size, offset)

    def all_sent(self, ended: End) -> None:
        waiting = self._unsettled.get(ended.number)
        if waiting is not None:
            waiting.all_sent, waiting.size, waiting.digest, waiting.text = True, ended.size, ended.digest, ended.text

    def go_on(self) -> None:
        """Do what can be done by now."""
        if self._over:
            return
        self._feed.go_on()
        if isinstance(self._found, Walk):
            self._walk_on(self._found)
        if self._winds_up is not None:
            if self._unsettled:
                return
            if self._is_enough:
                self._end_all()
                self._sent.callback(None)
            else:
                self.fail(Failure(self._winds_up))
        elif self._all_found and not self._announced and not self._finishing and self._feed.idle:
            self._finishing = True
            self._feed.close()
            self._set_times()

    def fail(self, reason: Failure) -> None:
        if not self._over:
            self._end_all()
            self._sent.errback(reason)

    # What became of them

    def _take(self, outcome: Outcome) -> None:
        if not self._written <= outcome.written <= self._feed.size:
            raise RemoteProtocolError("an outcome tells of less than the last one, or of more than was sent")
        if outcome.written > self._written:
            self._report.written(outcome.written - self._written)
            self._written = outcome.written
        for settled in outcome.files:
            self._take_settled(settled)

    def _take_settled(self, settled: Settled) -> None:
        number = settled.number
        waiting = self._unsettled.get(number)
        if waiting is None or not waiting.wanted:
            raise RemoteProtocolError("an outcome tells of a file that does not wait for one")
        if settled.code:
            self._settle(number, FAILED, code=settled.code, text=waiting.text or settled.text)
            if not waiting.all_sent:
                self._feed.drop(number)
        elif not waiting.all_sent or waiting.text:
            raise RemoteProtocolError("an outcome tells of a file as stored that was not sent whole")
        elif settled.size != waiting.size:
            text = f"{waiting.size} bytes were sent, and what is stored has {settled.size}"
            self._settle(settled.number, FAILED, code=Code.STORAGE, text=text)
        elif waiting.digest and settled.digest and waiting.digest != settled.digest:
            self._settle(number, FAILED, code=Code.STORAGE, text="what is stored has another digest")
        else:
            digest = settled.digest or waiting.digest
            self._settle(number, STORED, settled.name or waiting.entry.path, settled.size, digest, 0, settled.text)

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
        entry = self._take_out(number)
        hexadecimal = digest.hex() if digest else ""
        self._report.settled(FileResult(entry.path, entry.kind, outcome, name, size, hexadecimal, code, text))

    def _take_out(self, number: int) -> Entry:
        entry = self._unsettled.pop(number).entry
        self._paths_size -= len(entry.path)
        return entry

    # The end

    def _set_times(self) -> None:
        if isinstance(self._found, Walk) and not self._dry:
            self._times = self._found.times(self._refused_folders)
            for _ in range(ANNOUNCEMENTS - 1):
                self._set_next_times()
        self._set_next_times(last=True)

    def _set_next_times(self, last: bool = False) -> None:
        if self._winds_up is not None:
            return
        payload = next(self._times, None)
        if payload is not None:
            setting = self._end.request(payload).addCallback(self._done)
            setting.addCallback(lambda _: None if self._over else self._set_next_times(last)).addErrback(self.fail)
        elif last:
            self._finish()

    def _finish(self) -> None:
        walk, finish = self._found, Finish()
        if isinstance(walk, Walk):
            finish = Finish(walk.links, walk.others, walk.troubles, walk.untold)
        self._asked_all = True
        self._end.request(encode(finish)).addCallback(self._finished).addErrback(self.fail)

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
        self._end_all()
        self._sent.callback(None)

    def _break(self, error: RemoteProtocolError) -> None:
        """The receiver breaks the rules."""
        self._end.abort_with(Code.PROTOCOL_BROKEN, str(error), error)
        self.fail(Failure(error))

    def _end_all(self) -> None:
        self._over = True
        self._feed.close()
        if isinstance(self._found, Walk):
            # Behind what is under way there.
            self._thread.call(self._reading.close)
            self._thread.call(self._found.close)
