"""
What is there already of a file that is announced. Thread side.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ...replacing import sync_if_possible
from .digests import digest_of
from .folders import Folders, Parts
from .messages import Entry
from .names import PART_LIMIT

#: How many names of the form ``name.1`` are looked at, at most.
LOOKED_AT = 100


def find_same(
    folders: Folders, parts: Parts, entry: Entry, status: os.stat_result
) -> tuple[Parts, os.stat_result] | None:
    """
    Find a file that has the announced size and time, so that nothing need be sent.

    :param status: of what is there under the announced name.
    :return: the parts of its path: as announced, or with ``.1``, ``.2`` … behind them; and what it is.
    :raises OSError: when that can't be found out.
    """
    above, name = parts[:-1], parts[-1]
    found: os.stat_result | None = status
    for number in range(1, LOOKED_AT + 1):
        if found is None:
            return None
        if is_like(found, entry):
            return parts, found
        parts = (*above, name + b".%d" % number)
        found = folders.status(parts) if len(parts[-1]) <= PART_LIMIT else None
    return None


def is_like(status: os.stat_result, entry: Entry) -> bool:
    """Whether a file has the announced size and time."""
    same = status.st_size == entry.size and status.st_mtime_ns == entry.mtime
    return same and stat.S_ISREG(status.st_mode)


def is_executable(status: os.stat_result) -> bool:
    """Whether the owner of a file may run it."""
    return bool(status.st_mode & stat.S_IXUSR)


def set_executable(folders: Folders, parts: Parts, executable: bool) -> None:
    """
    Let those run a file who may read it, or nobody, where the file system knows that and the file is ours.

    :raises OSError: when it can't be opened.
    """
    fd = folders.open_file(parts)
    try:
        _set_executable(fd, executable)
    finally:
        os.close(fd)


def _set_executable(fd: int, executable: bool) -> None:
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    readers = (mode & 0o444) >> 2 if executable else 0
    with suppress(OSError):
        os.fchmod(fd, mode & ~0o111 | readers)


class Present:
    """
    A file that has the announced size, and another time. When it has the same bytes, only its time is set, and who
    may run it.

    :raises OSError: when it can't be read.
    :ivar digest: of its bytes.
    """

    def __init__(self, folders: Folders, parts: Parts) -> None:
        self._folders = folders
        self._parts = parts
        fd = folders.open_file(parts)
        try:
            status = os.fstat(fd)
            self.digest = digest_of(fd, status.st_size, folders.check_wanted)
        finally:
            os.close(fd)
        self._seen = _state(status)

    def set_time(self, mtime: int, executable: bool, sync: bool) -> None:
        """
        It is the announced file.

        :param mtime: in nanoseconds since the epoch.
        :param executable: whether its owner may run it.
        :param sync: whether the disk shall have it.
        :raises OSError: when it is another one by now, or that can't be done.
        """
        fd = self._folders.open_file(self._parts)
        try:
            status = os.fstat(fd)
            if _state(status) != self._seen:
                raise OSError(errno.ESTALE, "what was there of it has changed meanwhile")
            if is_executable(status) != executable:
                _set_executable(fd, executable)
            os.utime(fd, ns=(mtime, mtime))
            if sync:
                sync_if_possible(fd)
        finally:
            os.close(fd)
        self._folders.note_changed(self._parts[:-1])
        # Whoever has put it there may not have come to sync its name.
        if sync:
            failed = self._folders.sync_changed()
            for length in range(len(self._parts)):
                if self._parts[:length] in failed:
                    raise failed[self._parts[:length]]


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns, status.st_ctime_ns
