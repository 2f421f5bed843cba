"""
Files that say who may come in. They are read again when they have changed.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.logger import Logger

from ..core.errors import LocalProtocolError, SodiumError
from .files import LIST_FILE_LIMIT, check_file, open_at_once, others_can_read

#: Nanoseconds in which two changes of a file can bear the same time: file systems have coarse clocks.
TIMESTAMP_RESOLUTION = 2_000_000_000

Value = TypeVar("Value")


class WatchedFile(Generic[Value]):
    """
    A small text file that is read again when it has changed. Each time the value is asked for, a ``stat`` tells
    whether it has.

    To change the file, it is best to write another one and rename it: then no half of it is ever read.

    :param path: of the file, UTF-8 and at most 1 MiB.
    :param parse: makes the value from the text. It may raise a :class:`~sodiumtwist.SodiumError`, to whose message
        the path is added.
    :param what: what errors and the log call the file.
    :param private: whether a file that others can read is refused.
    :param wall_clock: returns nanoseconds since the epoch.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is no small text, when others can write to it, and for a private file when
        others can read it.
    :raises SodiumError: what ``parse`` raises.
    """

    _log = Logger()

    #: The identity of the file when it was last read; ``None`` when it has to be read again in any case.
    _seen: tuple[int, ...] | None = None
    #: The bytes that the value was made from.
    _data: bytes | None = None

    def __init__(
        self,
        path: str,
        parse: Callable[[str], Value],
        what: str,
        private: bool = False,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        # Absolute, since a daemon changes its directory before it reads again.
        self._path = os.path.abspath(path)
        self._parse = parse
        self._what = what
        self._private = private
        self._wall_clock = wall_clock
        #: The version of the file that the log last spoke of, and what was wrong with it.
        self._reported: tuple[tuple[int, ...] | None, str | None] = (_identity(os.stat(self._path)), None)
        self._value = self._read()

    def current(self) -> Value:
        """
        Give the value of the file as it is now. When the file can't be used, the log says why, once for
        each version of it, and the value is that of the last version that was good.
        """
        # For a file that is missing the identity stays None: that, too, is a version, and is told once.
        identity = reason = None
        try:
            identity = _identity(os.stat(self._path))
            if identity == self._seen:
                return self._value
            self._value = self._read()
        except (OSError, SodiumError) as error:
            reason = str(error)
        if (identity, reason) != self._reported:
            self._reported = (identity, reason)
            self._report(reason)
        return self._value

    def _report(self, reason: str | None) -> None:
        if reason is None:
            self._log.info("the {what} {path} was changed and read again", what=self._what, path=self._path)
        else:
            self._log.error(
                "the {what} was changed and can't be used, so what it said before holds: {reason}",
                what=self._what,
                reason=reason,
            )

    def _read(self) -> Value:
        with open_at_once(self._path) as file:
            # Of the file that is open, and before it is read: another one may take the path at any time, and what
            # changes while it is read is then noticed next time.
            status = os.fstat(file.fileno())
            identity = _identity(status)
            # A file that changed a moment ago could change again without a trace in its times. So it is read again
            # each time, until its times are old enough.
            settled = self._wall_clock() - status.st_ctime_ns > TIMESTAMP_RESOLUTION
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
