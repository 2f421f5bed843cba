"""
Files that say who may come in. They are read again when they have changed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from ..core.errors import LocalProtocolError, SodiumError
from ..describe.log import Logger
from .checkers import LoginNotChecked
from .files import LIST_FILE_LIMIT, check_file, check_size, open_at_once

#: Seconds in which two changes of a file can bear the same time: file systems have coarse clocks.
TIMESTAMP_RESOLUTION = 2.0

#: Seconds for which a file's last good version holds when the file can't be used any more. Long enough for an editor,
#: or for a person who made a mistake; then it lets nobody in.
GRACE = 60.0

#: The largest size in bytes of a list that is read without a thread. That takes a millisecond or two, hardly more than
#: to hand it to a thread and back.
READ_AT_ONCE = 16 * 1024

Value = TypeVar("Value")


@dataclass
class _Version(Generic[Value]):
    """
    What was read of a file.

    :ivar identity: of the version.
    :ivar value: what was made of it, or the value that there was.
    :ivar data: what is in it; ``None`` when it can't be used.
    :ivar wrong: why it can't.
    :ivar error: the same, to be raised.
    """

    identity: tuple[int, ...]
    value: Value
    data: bytes | None = None
    wrong: str | None = None
    error: SodiumError | None = None


class WatchedFile(Generic[Value]):
    """
    A small text file that is read again when it has changed. Each time the value is asked for, a ``stat`` tells
    whether it has.

    Large files are read in a thread where :meth:`latest` is used, so that the reactor goes on. What is parsed there
    must not be split at once: the interpreter does nothing else meanwhile.

    To change the file, it is best to write another one and rename it: then no half of it is ever read.

    When the file is broken, missing or can't be read, its last good version holds on for a while, counted from when
    the file was last seen good. So whoever wants to keep out somebody is obeyed in time, whatever went wrong with the
    file; and the more often it is asked for, the nearer a rename's gap is to no gap.

    :param path: of the file, UTF-8 and at most 32 MiB.
    :param parse: makes the value from the text, perhaps in a thread. It may raise a :class:`~sodiumtwist.SodiumError`,
        to whose message the path is added.
    :param what: what errors and the log call the file.
    :param private: whether a file that others can read is refused.
    :param clock: returns seconds. It must not be set, as the time of day is.
    :param reactor: an ``IReactorThreads``; ``None`` for the global one.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is no small text, when others can write to it or replace it, or own it, and for
        a private file when others can read it.
    :raises SodiumError: what ``parse`` raises.
    """

    _log = Logger()

    #: The identity of the file when it was last read; ``None`` when it has to be read again in any case.
    _seen: tuple[int, ...] | None = None
    #: What was wrong with that version.
    _wrong: str | None = None
    #: The bytes that the value was made from.
    _data: bytes | None = None
    #: Whether the log has told that nobody gets in.
    _lapsed = False
    #: Whether the file could not be used when it was last looked at.
    _unusable = False
    #: How many versions were used.
    _taken = 0
    #: Fires when the thread has read the file; ``None`` when none does.
    _reading: Deferred[Any] | None = None

    def __init__(
        self,
        path: str,
        parse: Callable[[str], Value],
        what: str,
        private: bool = False,
        clock: Callable[[], float] = time.monotonic,
        reactor: Any = None,
    ) -> None:
        # Absolute, since a daemon changes its directory before it reads again.
        self._path = os.path.abspath(path)
        self._parse = parse
        self._what = what
        self._private = private
        self._clock = clock
        self._reactor = reactor
        #: Who waits for the thread.
        self._waiting: list[Deferred[None]] = []
        self._grace = GRACE
        #: The version that was read first when it was, and when.
        self._first_read: tuple[tuple[int, ...], float] | None = None
        #: The version of the file that the log last spoke of, and what was wrong with it.
        self._reported: tuple[tuple[int, ...] | None, str | None] = (_identity(os.stat(self._path)), None)
        # There is no value yet, and none is used.
        version = self._read(None, None)  # type: ignore[arg-type]
        if version.error is not None:
            raise version.error
        self._take(version, clock())
        self._last_good = clock()

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return self._path

    @property
    def value(self) -> Value:
        """What was read last. It may be out of date, or hold no longer."""
        return self._value

    @property
    def read_last(self) -> tuple[bytes | None, Value]:
        """What was in the file when it was last good, and what was made of that."""
        return self._data, self._value

    @property
    def grace(self) -> float:
        """
        For how many seconds the last good version holds when the file can't be used. With 0 it does not.

        :raises LocalProtocolError: when it is set to what is no time.
        """
        return self._grace

    @grace.setter
    def grace(self, seconds: float) -> None:
        if not (0 <= seconds and math.isfinite(seconds)):
            raise LocalProtocolError(f"the grace of a file is {seconds:g} seconds; it is 0 or more")
        self._grace = seconds

    def current(self) -> Value:
        """
        Give the value of the file as it is now. When it has changed, it is read and parsed now, while the caller waits.
        When the file can't be used, the log says why, once for each version of it, and the value is that of the last
        version that was good.

        :raises ~sodiumtwist.admission.checkers.LoginNotChecked: when it has been so for longer than :attr:`grace`. The
            log tells of that once, too. It is nobody's fault who logs in, so it counts against nobody.
        """
        # For a file that is missing the identity stays None: that, too, is a version, and is told once.
        identity = reason = None
        try:
            identity = _identity(os.stat(self._path))
            if identity != self._seen:
                began = self._clock()
                self._take(self._read(self._data, self._value), began)
            reason = self._wrong
        except OSError as error:
            reason = self._failed(error)
        # Out of memory, or a fault in parse(): this must not pass for a version that is good.
        except BaseException:
            self._seen = None
            raise
        self._note(identity, reason)
        return self._give()

    def latest(self) -> Deferred[Value]:
        """
        Give the value of the file as it is now, as :meth:`current` does, but let the reactor go on: a file that is not
        small is read and parsed in a thread. Who asks while that is under way waits for it, for nobody who was taken
        out of the file is to come in after that. So nobody ever sees half of a file.

        :return: fires with the value; fails with what :meth:`current` raises. It may be cancelled.
        """
        if self._reads_at_once():
            return maybeDeferred(self.current)
        return Deferred.fromCoroutine(self._after_reading())

    def _reads_at_once(self) -> bool:
        try:
            status = os.stat(self._path)
        # current() tells, and that does not take long.
        except OSError:
            return True
        return status.st_size <= READ_AT_ONCE or (_identity(status) == self._seen and self._reading is None)

    async def _after_reading(self) -> Value:
        # What was begun earlier may have read what the file said before. The next one has not.
        again = self._reading is not None
        await self._reading_apart()
        if again and not self._reads_at_once():
            await self._reading_apart()
        return self._give()

    def _reading_apart(self) -> Deferred[None]:
        """
        Read the file in a thread, or wait for the reading that is under way.

        :return: fires when the value is the one that was read. Fails when there is no value of a file that can be read.
        """
        if self._reading is None:
            # Not at import time: that would install a reactor, and the program may want another one.
            if self._reactor is None:
                from twisted.internet import reactor

                self._reactor = reactor
            pool = self._reactor.getThreadPool()
            self._reading = deferToThreadPool(self._reactor, pool, self._read, self._data, self._value)
            self._reading.addCallback(self._read_apart, self._clock(), self._taken).addErrback(self._failed_apart)
            self._reading.addBoth(self._tell_waiting)
        # Each has one of its own, which may be cancelled.
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _read_apart(self, version: _Version[Value], began: float, taken: int) -> None:
        # Somebody has called current() meanwhile, and read what may be newer.
        if self._taken == taken:
            self._take(version, began)
            self._note(version.identity, self._wrong)

    def _failed_apart(self, failure: Failure) -> Failure | None:
        if isinstance(failure.value, OSError):
            self._note(None, self._failed(failure.value))
            return None
        self._seen = None
        return failure

    def _tell_waiting(self, result: Any) -> None:
        self._reading = None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(result)

    def look(self) -> None:
        """
        See whether the file can be used, and tell the log when it can't. To be called now and then by whoever has a
        clock: then the log tells it also when nobody logs in.
        """
        self.latest().addErrback(self._told)

    def _told(self, failure: Failure) -> None:
        if not failure.check(LoginNotChecked):
            self._log.failure(
                "the {what} {path} could not be read", failure, event="file_failed", what=self._what, path=self._path
            )

    def _take(self, version: _Version[Value], began: float) -> None:
        """
        Use what was read.

        :param began: when reading began.
        """
        # A file that changed a moment ago could change again without a trace in its times. So it is read again
        # each time, until this version has been there for long enough. How long is not taken from its times: the
        # time of day can be set, and another machine's may be another one.
        if self._first_read is None or self._first_read[0] != version.identity:
            # When it was read, at the latest: a thread may have had to wait.
            self._first_read = version.identity, self._clock()
        settled = began - self._first_read[1] > TIMESTAMP_RESOLUTION
        # Noted for a version that is refused, too: it is not read again at each login.
        self._seen = version.identity if settled else None
        self._wrong = version.wrong
        self._taken += 1
        if version.data is not None:
            self._value, self._data = version.value, version.data

    def _failed(self, error: OSError) -> str:
        # Another try may go well, though the file stays as it is: a disk or a network failed, or there were no
        # descriptors.
        self._seen = None
        return str(error)

    def _note(self, identity: tuple[int, ...] | None, reason: str | None) -> None:
        """Note what was found, and tell the log what is new in that."""
        self._unusable = reason is not None
        now = self._clock()
        if reason is None:
            self._last_good, self._lapsed = now, False
        left = self._last_good + self._grace - now
        if (identity, reason) != self._reported:
            again, self._reported = self._reported[1] is not None, (identity, reason)
            self._report(reason, left, again)
        if reason is not None and left <= 0 and not self._lapsed:
            self._lapsed = True
            self._log.error(
                "the {what} {path} was last good more than {grace:g} seconds ago: it lets nobody in now, until it can "
                "be used again",
                event="file_expired",
                what=self._what,
                path=self._path,
                grace=self._grace,
            )

    def _give(self) -> Value:
        if self._unusable and self._last_good + self._grace <= self._clock():
            raise LoginNotChecked(f"the {self._what} can't be used")
        return self._value

    def _report(self, reason: str | None, left: float, again: bool) -> None:
        if reason is None:
            how = "can be used again, and was read" if again else "was changed and read again"
            self._log.info("the {what} {path} {how}", event="file_read", what=self._what, path=self._path, how=how)
        elif left > 0:
            self._log.error(
                "the {what} can't be used, so what it said before holds for {left:.0f} more seconds: {reason}",
                event="file_broken",
                what=self._what,
                left=left,
                reason=reason,
            )
        else:
            self._log.error("the {what} can't be used: {reason}", event="file_broken", what=self._what, reason=reason)

    def _read(self, known: bytes | None, value: Value) -> _Version[Value]:
        """
        Read the file and parse it. This may run in a thread, so it changes nothing here.

        :param known: what was read last.
        :param value: what was made of that.
        :raises OSError: when it can't be read.
        """
        with open_at_once(self._path) as file:
            # Of the file that is open, and before it is read: another one may take the path at any time, and what
            # changes while it is read is then noticed next time.
            status = os.fstat(file.fileno())
            identity = _identity(status)
            try:
                check_file(self._path, status, self._what, secret=self._private)
                check_size(self._path, status.st_size, self._what)
                data = file.read(LIST_FILE_LIMIT + 1)
                # It may have grown.
                check_size(self._path, len(data), self._what)
                # Only its times have changed, or it is read again because it changed a moment ago. To parse it would
                # cost more.
                if data != known:
                    value = self._parsed(data)
            except SodiumError as error:
                return _Version(identity, value, wrong=str(error), error=error)
        return _Version(identity, value, data)

    def _parsed(self, data: bytes) -> Value:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise LocalProtocolError(f"{self._path}: line {line}: it is not UTF-8 text") from None
        try:
            return self._parse(text)
        except SodiumError as error:
            raise type(error)(f"{self._path}: {error}") from None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    # With the time of the last chmod (ctime): after one, a file that was refused may be good, and the other way round.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
