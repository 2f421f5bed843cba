"""
Files that say who may come in. They are read again when they have changed.
"""

from __future__ import annotations

import math
import os
import shlex
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.logger import Logger

from ..core.errors import LocalProtocolError, SodiumError
from .checkers import LoginNotChecked
from .files import LIST_FILE_LIMIT, check_file, open_at_once, others_can_read

#: Seconds in which two changes of a file can bear the same time: file systems have coarse clocks.
TIMESTAMP_RESOLUTION = 2.0

#: Seconds for which a file's last good version holds when the file can't be used any more. Long enough for an editor,
#: or for a person who made a mistake; then it lets nobody in.
GRACE = 60.0

Value = TypeVar("Value")


class WatchedFile(Generic[Value]):
    """
    A small text file that is read again when it has changed. Each time the value is asked for, a ``stat`` tells
    whether it has.

    To change the file, it is best to write another one and rename it: then no half of it is ever read.

    When the file is broken, missing or can't be read, its last good version holds on for a while, counted from when
    the file was last seen good. So whoever wants to keep out somebody is obeyed in time, whatever went wrong with the
    file; and the more often it is asked for, the nearer a rename's gap is to no gap.

    :param path: of the file, UTF-8 and at most 1 MiB.
    :param parse: makes the value from the text. It may raise a :class:`~sodiumtwist.SodiumError`, to whose message
        the path is added.
    :param what: what errors and the log call the file.
    :param private: whether a file that others can read is refused.
    :param clock: returns seconds. It must not be set, as the time of day is.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is no small text, when others can write to it, and for a private file when
        others can read it.
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

    def __init__(
        self,
        path: str,
        parse: Callable[[str], Value],
        what: str,
        private: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Absolute, since a daemon changes its directory before it reads again.
        self._path = os.path.abspath(path)
        self._parse = parse
        self._what = what
        self._private = private
        self._clock = clock
        self._grace = GRACE
        #: The version that was read first when it was, and when.
        self._first_read: tuple[tuple[int, ...], float] | None = None
        #: The version of the file that the log last spoke of, and what was wrong with it.
        self._reported: tuple[tuple[int, ...] | None, str | None] = (_identity(os.stat(self._path)), None)
        self._value = self._read()
        self._last_good = clock()

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return self._path

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
        Give the value of the file as it is now. When the file can't be used, the log says why, once for each version
        of it, and the value is that of the last version that was good.

        :raises ~sodiumtwist.admission.checkers.LoginNotChecked: when it has been so for longer than :attr:`grace`. The
            log tells of that once, too. It is nobody's fault who logs in, so it counts against nobody.
        """
        # For a file that is missing the identity stays None: that, too, is a version, and is told once.
        identity = reason = None
        try:
            identity = _identity(os.stat(self._path))
            if identity != self._seen:
                self._value, self._wrong = self._read(), None
            reason = self._wrong
        except SodiumError as error:
            reason = self._wrong = str(error)
        except OSError as error:
            reason = str(error)
            # Another try may go well, though the file stays as it is: a disk or a network failed, or there were no
            # descriptors.
            self._seen = None
        # Out of memory, or a fault in parse(): this must not pass for a version that is good.
        except BaseException:
            self._seen = None
            raise
        now = self._clock()
        if reason is None:
            self._last_good, self._lapsed = now, False
        left = self._last_good + self._grace - now
        lapses = reason is not None and left <= 0 and not self._lapsed
        if (identity, reason) != self._reported:
            again, self._reported = self._reported[1] is not None, (identity, reason)
            self._report(reason, left, again)
        if lapses:
            self._lapsed = True
            self._log.error(
                "the {what} {path} was last good more than {grace:g} seconds ago: it lets nobody in now, until it can "
                "be used again",
                what=self._what,
                path=self._path,
                grace=self._grace,
            )
        if reason is not None and left <= 0:
            raise LoginNotChecked(f"the {self._what} can't be used")
        return self._value

    def look(self) -> None:
        """
        See whether the file can be used, and tell the log when it can't. To be called now and then by whoever has a
        clock: then the log tells it also when nobody logs in.
        """
        try:
            self.current()
        # It was told.
        except LoginNotChecked:
            pass

    def _report(self, reason: str | None, left: float, again: bool) -> None:
        if reason is None:
            how = "can be used again, and was read" if again else "was changed and read again"
            self._log.info("the {what} {path} {how}", what=self._what, path=self._path, how=how)
        elif left > 0:
            self._log.error(
                "the {what} can't be used, so what it said before holds for {left:.0f} more seconds: {reason}",
                what=self._what,
                left=left,
                reason=reason,
            )
        else:
            self._log.error("the {what} can't be used: {reason}", what=self._what, reason=reason)

    def _read(self) -> Value:
        with open_at_once(self._path) as file:
            # Of the file that is open, and before it is read: another one may take the path at any time, and what
            # changes while it is read is then noticed next time.
            status = os.fstat(file.fileno())
            identity = _identity(status)
            # A file that changed a moment ago could change again without a trace in its times. So it is read again
            # each time, until this version has been there for long enough. How long is not taken from its times: the
            # time of day can be set, and another machine's may be another one.
            now = self._clock()
            if self._first_read is None or self._first_read[0] != identity:
                self._first_read = identity, now
            settled = now - self._first_read[1] > TIMESTAMP_RESOLUTION
            # Noted before the checks, so that a version that is refused is not read again at each login.
            self._seen = identity if settled else None
            check_file(self._path, status.st_mode, self._what)
            if self._private and others_can_read(status.st_mode):
                raise LocalProtocolError(
                    f"others can read the {self._what} {self._path}; run: chmod 600 {shlex.quote(self._path)}"
                )
            data = file.read(LIST_FILE_LIMIT + 1)
        if len(data) > LIST_FILE_LIMIT:
            raise LocalProtocolError(f"the {self._what} {self._path} is over {LIST_FILE_LIMIT} bytes long")
        # Only its times have changed, or it is read again because it changed a moment ago. To parse it would cost more.
        if data == self._data:
            return self._value
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise LocalProtocolError(f"{self._path}: line {line}: it is not UTF-8 text") from None
        try:
            value = self._parse(text)
        except SodiumError as error:
            raise type(error)(f"{self._path}: {error}") from None
        self._data = data
        return value


def _identity(status: os.stat_result) -> tuple[int, ...]:
    # With the time of the last chmod (ctime): after one, a file that was refused may be good, and the other way round.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
