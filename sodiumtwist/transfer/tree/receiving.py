"""
How a receiver follows the dialogue. Reactor side: what takes time is handed to the session's thread, and what comes
meanwhile waits, bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TypeVar, Union

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

from ...core.connection import Code
from ...core.errors import LocalProtocolError, RemoteProtocolError, RequestError
from ...core.v2.pdus import HEADER_SIZE
from ...describe.log import Logger
from ..disk import words_for_peer
from .channel import Channel
from .disk_thread import DiskThread
from .messages import (
    FOLDER,
    HAVE,
    LINE_LIMIT,
    REFUSED,
    UNSETTLED,
    UNSETTLED_SIZE,
    Announce,
    Done,
    Entry,
    Finish,
    Outcome,
    SetTimes,
    Settled,
    Verdict,
    Verdicts,
    encode,
)
from .pieces import HEADER
from .report import Report
from .storing import Storing
from .telling import parts, report_settled, report_verdict

#: How many bytes may wait for the disk, roughly. Then nothing more is received.
WAITING_LIMIT = 4 * 1024 * 1024

#: How many bytes the thread is given at once, at most, unless a single DATA has more.
TURN_SIZE = 1024 * 1024

#: How many bytes are gathered for a turn of the middle of a large file, in which others follow in any case: each turn
#: is two changes of threads.
GATHERED_SIZE = 512 * 1024

#: For how many seconds after the last turn, so that nothing waits of what comes slowly.
GATHERED_TIME = 0.01

#: After how many bytes that were written the sender is told of them, when no file is settled.
PROGRESS_SIZE = 1024 * 1024

#: After how many seconds it is told of fewer.
PROGRESS_TIME = 1.0

T = TypeVar("T")

_log = Logger()


class Receiving:
    """
    Receives files.

    :param end: the connection. Whoever has this object calls :meth:`asked` and :meth:`data_received` with what comes,
        and :meth:`lost` when it is over.
    :param thread: where the disk work is done; nothing else may be under way there with the same ``storing``.
    :param storing: does it.
    :param stored: called for each file that is stored, with what is known of it and the path that it has below the
        folder, before the sender is told. Fires with what is to be told of it beside that, or an empty text.
    :param report: is told how files get on.
    :param takes_nothing: whether all is refused that would be stored: of a dry run the sender may not know.
    :param seconds: a clock.
    """

    def __init__(
        self,
        end: Channel,
        thread: DiskThread,
        storing: Storing,
        stored: Callable[[Settled, bytes], Deferred[str]] | None = None,
        report: Report | None = None,
        takes_nothing: bool = False,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._end = end
        self._thread = thread
        self._storing = storing
        self._stored = stored
        self._report = report
        self._takes_nothing = takes_nothing
        self._seconds = seconds
        # What was announced and is not settled; and the number of the next entry.
        self._unsettled: dict[int, Entry] = {}
        self._next = 0
        self._paths_size = 0
        # What waits for the thread, and how much that is together with what the thread works on.
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0
        self._paused = False
        self._busy = False
        # When the last turn began.
        self._turned_at = seconds() - GATHERED_TIME
        # Who waits until all is done that has come so far.
        self._quiet: list[Deferred[None]] = []
        # Files that wait for what is called when they are stored; and what is to be told.
        self._calling: dict[int, Settled] = {}
        self._ready: list[Settled] = []
        self._collects = False
        self._written = self._told = 0
        self._told_at = seconds()
        # Why nothing more is taken; and who waits for the end of the disk work.
        self._broken: BaseException | None = None
        self._over: Deferred[None] | None = None
        self._abandoned = False
        # Of which file the report knows.
        self._shown = -1

    @property
    def is_settled(self) -> bool:
        """Whether all is settled that was announced."""
        return not self._unsettled

    # From the connection

    def asked(self, message: Union[Announce, SetTimes, Finish]) -> Deferred[bytes]:
        """
        Answer what the sender asks.

        :return: fires with the answer. Fails with :exc:`RequestError` when too much is announced and not settled. What
            breaks the rules ends the connection.
        """
        if self._broken is not None or self._over is not None:
            return fail(RequestError(Code.SHUTTING_DOWN, "the dialogue is over"))
        # Of its own: the connection cancels it when it likes, and what is under way goes on.
        answer: Deferred[bytes] = Deferred()
        if isinstance(message, Announce):
            entries = message.entries
            size = sum([len(entry.path) for entry in entries])
            if len(self._unsettled) + len(entries) > UNSETTLED or self._paths_size + size > UNSETTLED_SIZE:
                return fail(RequestError(Code.NO_ROOM, "too much is announced and not settled"))
            if message.first != self._next:
                # In the thread it comes too late: a file that is stored just now would be told of under another path.
                why = f"entry {message.first} is announced where {self._next} is the next"
                self._failed(Failure(RemoteProtocolError(why)))
                return answer
            self._next += len(entries)
            self._paths_size += size
            self._unsettled.update(enumerate(entries, message.first))
            self._in_thread(partial(self._storing.announce, message), self._decided, message, answer)
        elif isinstance(message, SetTimes):
            size = sum([len(path) for path, _ in message.folders])
            if self._paths_size + size > UNSETTLED_SIZE:
                return fail(RequestError(Code.NO_ROOM, "too many times of folders wait to be set"))
            self._paths_size += size
            # What comes into a folder changes its time.
            self._when_quiet(self._set_times, message, size, answer)
        else:
            if self._report is not None:
                for trouble in message.troubles:
                    self._report.trouble(trouble.path, trouble.text)
            self._when_quiet(self._finish, answer)
        return answer

    def data_received(self, payload: bytes) -> None:
        """
        Take a DATA of the sender: pieces of files.
        """
        if self._broken is not None or self._over is not None:
            return
        if self._report is not None:
            self._show(self._report, payload)
        self._waiting.append(payload)
        # With the overhead, so that a great many tiny payloads are bounded, too.
        self._waiting_size += len(payload) + HEADER_SIZE
        if not self._busy:
            self._go_on()
        elif self._waiting_size >= WAITING_LIMIT and not self._paused:
            self._paused = True
            self._end.pauseProducing()

    def lost(self) -> Deferred[None]:
        """
        The connection is over. What has come is written, and what is not whole is kept to go on with it another time.

        :return: fires when the disk work is done. It never fails.
        """
        over: Deferred[None] = Deferred()
        if self._over is not None:
            self._over.chainDeferred(over)
            return over
        self._over = Deferred()
        self._over.chainDeferred(over)
        self._storing.give_up()
        if not self._busy:
            self._go_on()
        return over

    # Turns of the thread

    def _gathers(self) -> bool:
        """Whether what waits can wait for more: it ends in the middle of a file, and not long after the last turn."""
        if not self._waiting or self._over is not None or self._waiting_size >= GATHERED_SIZE:
            return False
        payload = self._waiting[-1]
        if len(payload) < HEADER.size:
            return False
        _, flags, _, _, size = HEADER.unpack_from(payload)
        in_the_middle = not flags and len(payload) == HEADER.size + size
        return in_the_middle and 0 <= self._seconds() - self._turned_at < GATHERED_TIME

    def _in_thread(self, work: Callable[[], T], then: Callable[..., None], *arguments: object) -> None:
        called: Deferred[T] = self._thread.call(work)
        called.addCallback(then, *arguments)
        called.addErrback(self._failed)

    def _go_on(self) -> None:
        """Begin the next turn, if there is something to do."""
        if self._gathers():
            return
        if self._waiting:
            self._busy = True
            self._turned_at = self._seconds()
            payloads, size = self._next_payloads()
            called: Deferred[Outcome] = self._thread.call(partial(self._take, payloads))
            self._follow(called, size)
        elif self._over is not None and not self._abandoned:
            self._busy = self._abandoned = True
            self._follow(self._thread.call(self._abandon), 0)
        else:
            self._tell_quiet()

    def _follow(self, called: Deferred[Outcome], size: int) -> None:
        called.addCallbacks(self._taken, self._turn_failed, callbackArgs=(size,))
        called.addErrback(self._failed)

    def _next_payloads(self) -> tuple[list[bytes], int]:
        waiting = self._waiting
        payloads = [waiting.popleft()]
        taken = len(payloads[0])
        while waiting and taken + len(waiting[0]) <= TURN_SIZE:
            payloads.append(waiting.popleft())
            taken += len(payloads[-1])
        return payloads, taken + len(payloads) * HEADER_SIZE

    def _take(self, payloads: list[bytes]) -> Outcome:
        """In the thread."""
        outcome = self._storing.take(payloads)
        # Files share what waits for the disk with those that have come meanwhile.
        if self._waiting:
            return outcome
        rest = self._storing.commit()
        return Outcome(rest.written, outcome.files + rest.files)

    def _abandon(self) -> Outcome:
        """In the thread."""
        try:
            return self._storing.commit()
        finally:
            self._storing.abandon()

    def _taken(self, outcome: Outcome, size: int) -> None:
        self._busy = False
        self._waiting_size -= size
        if self._paused and self._waiting_size < WAITING_LIMIT // 2:
            self._paused = False
            if self._over is None and self._broken is None:
                self._end.resumeProducing()
        # What came with the resuming has begun a turn already.
        if self._waiting and not self._busy:
            # The thread need not wait for what is told now.
            self._go_on()
        self._settle(outcome)
        if not self._busy:
            self._go_on()

    def _turn_failed(self, reason: Failure) -> None:
        self._busy = False
        self._failed(reason)
        if self._over is not None:
            self._go_on()

    def _failed(self, reason: Failure) -> None:
        """Something is wrong with the dialogue itself, and not with a file."""
        error = reason.value
        if not isinstance(error, RemoteProtocolError):
            _log.failure("cannot store files", reason, event="storage_failed")
        if self._broken is not None:
            return
        self._broken = error
        self._waiting.clear()
        self._quiet.clear()
        if self._over is None:
            if isinstance(error, RemoteProtocolError):
                self._end.abort_with(Code.PROTOCOL_BROKEN, str(error)[:LINE_LIMIT], error)
            else:
                self._end.abort_with(Code.APPLICATION_FAILED, "the application failed", error)

    # Answers

    def _decided(self, verdicts: Verdicts, message: Announce, answer: Deferred[bytes]) -> None:
        decided = verdicts.verdicts
        dry = self._storing.rules.dry
        report = self._report
        if report is not None:
            files = [entry for entry in message.entries if entry.kind != FOLDER]
            report.found(len(files), sum([entry.size for entry in files]))
        for number, verdict in enumerate(decided, message.first):
            what = verdict.what
            if dry or what == HAVE or what == REFUSED:
                entry = self._unsettled.pop(number)
                self._paths_size -= len(entry.path)
                # Behind the end a refusal may only say that nobody waits for a verdict.
                if report is not None and (self._over is None or what != REFUSED):
                    report_verdict(report, entry, verdict)
        if self._takes_nothing:
            nothing = Verdict(REFUSED, code=Code.CANCELLED, text="dry run")
            verdicts = Verdicts([each if each.what in (HAVE, REFUSED) else nothing for each in decided])
        answer.callback(encode(verdicts))
        self._tell_quiet()

    def _set_times(self, message: SetTimes, size: int, answer: Deferred[bytes]) -> None:
        self._in_thread(partial(self._storing.set_times, message), self._times_set, size, answer)

    def _times_set(self, _: None, size: int, answer: Deferred[bytes]) -> None:
        self._paths_size -= size
        answer.callback(encode(Done()))

    def _finish(self, answer: Deferred[bytes]) -> None:
        self._in_thread(self._finish_storing, self._finished, answer)

    def _finish_storing(self) -> OSError | None:
        """In the thread."""
        try:
            self._storing.finish()
        except OSError as error:
            return error
        return None

    def _finished(self, error: OSError | None, answer: Deferred[bytes]) -> None:
        if error is None:
            answer.callback(encode(Done()))
        else:
            answer.errback(RequestError(Code.STORAGE, words_for_peer(error)[:LINE_LIMIT]))

    def _when_quiet(self, then: Callable[..., None], *arguments: object) -> None:
        quiet: Deferred[None] = Deferred()
        quiet.addCallback(lambda _: then(*arguments))
        quiet.addErrback(self._failed)
        self._quiet.append(quiet)
        self._tell_quiet()

    def _tell_quiet(self) -> None:
        if self._busy or self._waiting:
            return
        if self._over is None:
            # Requests overtake DATA for which nothing is read now. What was announced and is not settled is among them.
            if self._unsettled:
                return
            quiet, self._quiet = self._quiet, []
            for waiting in quiet:
                waiting.callback(None)
        elif self._abandoned and not self._over.called:
            # What is called for files may take long, and nobody is told. The thread's place is for others meanwhile.
            self._ready += self._calling.values()
            self._calling.clear()
            self._tell()
            self._over.callback(None)

    # What became of files

    def _settle(self, outcome: Outcome) -> None:
        size = outcome.written - self._written
        self._written = outcome.written
        if self._report is not None and size:
            self._report.written(size)
        if self._stored is None:
            self._ready += outcome.files
        else:
            self._collects = True
            for settled in outcome.files:
                if settled.code:
                    self._ready.append(settled)
                else:
                    self._call_stored(self._stored, settled)
            self._collects = False
        now = self._seconds()
        unsaid = self._written - self._told
        if self._ready or unsaid >= PROGRESS_SIZE or (unsaid and now - self._told_at >= PROGRESS_TIME):
            self._told_at = now
            self._tell()

    def _call_stored(self, stored: Callable[[Settled, bytes], Deferred[str]], settled: Settled) -> None:
        self._calling[settled.number] = settled
        path = settled.name or self._unsettled[settled.number].path
        called = maybeDeferred(stored, settled, path)
        called.addErrback(self._call_failed)
        called.addCallback(self._called, settled)

    def _call_failed(self, reason: Failure) -> str:
        _log.failure("what is called for stored files failed", reason, event="stored_callback_failed")
        return ""

    def _called(self, text: str, settled: Settled) -> None:
        if self._calling.pop(settled.number, None) is None:
            return
        self._ready.append(replace(settled, text=text[:LINE_LIMIT]) if text else settled)
        if not self._collects:
            self._tell()
            self._tell_quiet()

    def _tell(self) -> None:
        """Tell the sender how far it is."""
        ready, self._ready = self._ready, []
        self._told = self._written
        for settled in ready:
            entry = self._unsettled.pop(settled.number)
            self._paths_size -= len(entry.path)
            if self._report is not None:
                report_settled(self._report, entry, settled)
        if self._over is not None or self._broken is not None:
            return
        try:
            for files in parts(ready):
                self._end.send_data(encode(Outcome(self._written, files)))
        except LocalProtocolError:
            # It is about to be over.
            pass

    def _show(self, report: Report, payload: bytes) -> None:
        """Tell the report which file comes; of several small ones in a DATA the first is enough."""
        if len(payload) >= HEADER.size:
            number, _, _, offset, _ = HEADER.unpack_from(payload)
            entry = self._unsettled.get(number)
            if number != self._shown and entry is not None:
                self._shown = number
                report.begins(entry.path, entry.size, offset)
