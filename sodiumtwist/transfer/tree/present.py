"""
What is there already of a file that is announced. Thread side.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ...admission.replacing import sync_if_possible
from .digests import digest_of
from .folders import Folders, Parts
from .messages import Entry
from .names import PART_LIMIT

#: How many names of the form ``name.1`` are looked at, at most.
LOOKED_AT = 100


def find_like(
    folders: Folders, parts: Parts, entry: Entry, status: os.stat_result, alone: bool
) -> tuple[Parts, os.stat_result] | None:
    """
    Find a file that has the announced size and time, so that nothing need be sent; or else one that has the size, to be
    compared.

    :param status: of the file that is there under the announced name.
    :param alone: whether no other name is looked at: what is there under these may be about to be replaced.
    :return: the parts of its path: as announced, or with ``.1``, ``.2`` … behind them; and what it is.
    :raises OSError: when that can't be found out.
    """
    there = (parts, status) if status.st_size == entry.size else None
    if alone or is_like(status, entry):
        return there
    above, name = parts[:-1], parts[-1]
    nearest: tuple[Parts, os.stat_result] | None = None
    for number in range(1, LOOKED_AT + 1):
        other = (*above, name + b".%d" % number)
        found = folders.status(other) if len(other[-1]) <= PART_LIMIT else None
        if found is None:
            break
        if is_like(found, entry):
            return other, found
        # Times are kept as well as the file system can, which may be to the second.
        if _has_size(found, entry) and (nearest is None or _apart(found, entry) <= _apart(nearest[1], entry)):
            nearest = other, found
    return there or nearest


def is_like(status: os.stat_result, entry: Entry) -> bool:
    """Whether it is a file that has the announced size and time."""
    return status.st_mtime_ns == entry.mtime and _has_size(status, entry)


def _has_size(status: os.stat_result, entry: Entry) -> bool:
    return status.st_size == entry.size and stat.S_ISREG(status.st_mode)


def _apart(status: os.stat_result, entry: Entry) -> int:
    return abs(status.st_mtime_ns - entry.mtime)


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
    :ivar parts: of its path.
    :ivar digest: of its bytes.
    """

    def __init__(self, folders: Folders, parts: Parts) -> None:
        self._folders = folders
        self.parts = parts
        fd = folders.open_file(parts)
        try:
            status = os.fstat(fd)
            self.digest = digest_of(fd, status.st_size, folders.check_wanted)
        finally:
            os.close(fd)
        self._seen, self._size = _state(status), status.st_size

    def set_time(self, mtime: int, executable: bool, sync: bool) -> None:
        """
        It is the announced file.

        :param mtime: in nanoseconds since the epoch.
        :param executable: whether its owner may run it.
        :param sync: whether the disk shall have it.
        :raises OSError: when it is another one by now, or that can't be done.
        """
        fd = self._folders.open_file(self.parts)
        try:
            status = os.fstat(fd)
            # Another session may have come to the same, which may have put another one there.
            came_to_it = (status.st_size, status.st_mtime_ns) == (self._size, mtime)
            if _state(status) != self._seen and not came_to_it:
                raise OSError(errno.ESTALE, "what was there of it has changed meanwhile")
            if is_executable(status) != executable:
                _set_executable(fd, executable)
            os.utime(fd, ns=(mtime, mtime))
            if sync:
                sync_if_possible(fd)
        finally:
            os.close(fd)
        self._folders.note_changed(self.parts[:-1])
        # Whoever has put it there may not have come to sync its name.
        if sync:
            failed = self._folders.sync_changed()
            for length in range(len(self.parts)):
                if self.parts[:length] in failed:
                    raise failed[self.parts[:length]]


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns, status.st_ctime_ns
