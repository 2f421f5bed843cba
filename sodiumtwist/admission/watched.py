"""
Files that say who may come in: read again whenever they change.
"""

from __future__ import annotations

import os
import shlex
import stat
import time
from collections.abc import Callable
from typing import BinaryIO, Generic, TypeVar

from twisted.logger import Logger

from ..core.errors import LocalProtocolError, SodiumError

#: More bytes than such a file needs; that many are read and parsed in some hundredths of a second.
LIST_FILE_LIMIT = 1 << 20

#: Nanoseconds within which two changes of a file can bear the same time.
TIMESTAMP_RESOLUTION = 2_000_000_000

Value = TypeVar("Value")


def others_can_read(mode: int) -> bool:
    """Tell whether a file of this mode can be read by its group or by anybody."""
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def check_file(path: str, mode: int, what: str) -> None:
    """
    See that a file is one that only its owner can change.

    :param path: of the file.
    :param mode: as ``stat`` gives it.
    :param what: what to call the file in the error.
    :raises LocalProtocolError: when it is no regular file, or others can write to it.
    """
    if not stat.S_ISREG(mode):
        raise LocalProtocolError(f"the {what} {path} is no regular file")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LocalProtocolError(f"others can write to the {what} {path}; run: chmod go-w {shlex.quote(path)}")


def open_at_once(path: str) -> BinaryIO:
    """
    Open a file for reading. For a FIFO this does not wait for its writer; :func:`check_file` refuses it then.

    :raises OSError: when it can't be opened.
    """
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


class WatchedFile(Generic[Value]):
    """
    A small text file, read again when it has changed. Whether it has is looked up each time the
    value is asked for, which costs a ``stat``.

    Whoever changes the file had better write another and rename it: then no half of it is ever read.

    :param path: of the file, UTF-8 and at most 1 MiB.
    :param parse: makes the value of the text; raises a :class:`~sodiumtwist.SodiumError`, to whose
        line the path is added.
    :param what: what to call the file in errors and in the log.
    :param private: whether others must not even read it.
    :param wall_clock: nanoseconds since the epoch.
    :raises OSError: when the file can't be read.
    :raises LocalProtocolError: when it is no small text, or others can write to it.
    :raises SodiumError: what ``parse`` raises.
    """

    _log = Logger()

    #: What the file was when it was last read; ``None`` when it has to be read again in any case.
    _seen: tuple[int, ...] | None = None
    #: What the value was made of.
    _data: bytes | None = None

    def __init__(
        self,
        path: str,
        parse: Callable[[str], Value],
        what: str,
        private: bool = False,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        # A daemon changes its directory before it reads again.
        self._path = os.path.abspath(path)
        self._parse = parse
        self._what = what
        self._private = private
        self._wall_clock = wall_clock
        #: The version that the log last spoke of, and what was wrong with it.
        self._reported: tuple[tuple[int, ...] | None, str | None] = (_identity(os.stat(self._path)), None)
        self._value = self._read()

    def current(self) -> Value:
        """
        Give the value of the file as it is now. When it can't be had, the log says why, once for
        each such version of the file, and the value is that of the last version that was good.
        """
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
            status = os.fstat(file.fileno())
            identity = _identity(status)
            # A file that just changed could change again without a trace in its times.
            settled = self._wall_clock() - status.st_ctime_ns > TIMESTAMP_RESOLUTION
            self._seen = identity if settled else None
            check_file(self._path, status.st_mode, self._what)
            if self._private and others_can_read(status.st_mode):
                raise LocalProtocolError(
                    f"others can read the {self._what} {self._path}; run: chmod 600 {shlex.quote(self._path)}"
                )
            data = file.read(LIST_FILE_LIMIT + 1)
        if len(data) > LIST_FILE_LIMIT:
            raise LocalProtocolError(f"the {self._what} {self._path} is over {LIST_FILE_LIMIT} bytes long")
        if data == self._data:
            return self._value  # only its times have changed, or it may yet change again
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
    # The time of the last chmod counts as well, for that can make or mend the refusal of a file.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
