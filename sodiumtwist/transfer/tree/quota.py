"""
How much each login may store, and how much stays free of the file system for others. All of this is called in the
threads of sessions, several at once.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Protocol
from weakref import WeakValueDictionary

from ...describe import describe_limit
from .names import login_folder


class Floor(Protocol):
    """What keeps some of a file system free, as :class:`~sodiumtwist.transfer.disk.Room` does."""

    def take(self, size: int) -> None:
        """Ask for room; an ``OSError`` says that too little would stay free."""


#: Where others write, too, what a login has is counted anew behind so many seconds, and behind so many times as long as
#: that takes.
COUNTED_AGAIN = 1.0
COUNTED_AGAIN_SHARE = 20

#: The blocks of nearly all file systems have so many bytes. A hole has none, but those that begin before its end.
BLOCK = 4096


def room_of(status: os.stat_result) -> int:
    """
    Tell how much room a file takes.

    :return: its bytes, but for its holes.
    """
    # The system counts in blocks of 512 bytes here, whatever those of the file system are.
    return min(status.st_size, status.st_blocks * 512)


def room_beside(start: int, end: int) -> int:
    """
    Tell how much room a hole takes after all: the rest of the blocks at its ends, where other bytes are.

    :param start: where in the file it begins.
    :param end: where what is behind it begins.
    """
    return min(end - start, -start % BLOCK + end % BLOCK)


def size_of(folder: str) -> int:
    """
    Find out how much room a folder takes, with all that is in it.

    :return: the bytes of all its files, but for their holes; 0 when it is not there.
    """
    size = 0
    # Somebody may take away what is being looked at; and no link is followed.
    with suppress(FileNotFoundError, NotADirectoryError):
        for _, _, names, fd in os.fwalk(folder):
            for name in names:
                with suppress(OSError):
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        size += room_of(status)
    return size


class Quotas:
    """
    What logins may store.

    :param directory: in which each login has a folder.
    :param limit: how many bytes the files of one login may have together, also those that are not whole; ``None`` for
        no limit.
    :param floor: what keeps some of the file system free; ``None`` for nothing.
    :param alone: whether nobody else writes there. Else what other processes have written meanwhile is found some
        seconds later, and a login may be over its quota by that.
    :param clock: returns seconds, which never go back.
    """

    def __init__(
        self,
        directory: str,
        limit: int | None,
        floor: Floor | None = None,
        alone: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._limit = limit
        self._floor = floor
        self._alone = alone
        self._clock = clock
        self._floor_lock = Lock()
        # Each for as long as a session of that login has it: so they are no more than there are sessions, and what
        # others change in the folders is noticed.
        self._accounts: WeakValueDictionary[str, _Account] = WeakValueDictionary()
        self._lock = Lock()

    def for_login(self, login: str) -> Callable[[int], None]:
        """
        Make what a session asks for room, in its thread, before it writes. It takes how many bytes are to be written,
        and raises an ``OSError`` when there is no room for them; nothing is taken then. With 0 it asks only whether
        there is room for what has no bytes, as a folder. With a number below 0 it takes back what was removed.

        :param login: whose session it is.
        """
        if self._limit is None:
            return self._take_free
        folder = login_folder(login)
        # By folder: if ever two logins share one, they share its quota.
        with self._lock:
            account = self._accounts.get(folder)
            if account is None:
                path = os.path.join(self._directory, folder)
                account = _Account(path, self._limit, None if self._alone else self._clock)
                self._accounts[folder] = account

        def take(size: int) -> None:
            account.take(size)
            try:
                self._take_free(size)
            except OSError:
                account.take(-size)
                raise

        return take

    def _take_free(self, size: int) -> None:
        # What is given back the file system tells by itself.
        if self._floor is not None and size >= 0:
            # A great many small files take more than their bytes, before the floor looks again at what is free.
            with self._floor_lock:
                self._floor.take(size + BLOCK)


class _Account:
    """
    What one login has, over all of its sessions.

    :param clock: tells when to count anew; ``None`` where that is never needed.
    """

    def __init__(self, folder: str, limit: int, clock: Callable[[], float] | None) -> None:
        self._folder = folder
        self._limit = limit
        self._clock = clock
        self._counted_again = math.inf
        # None until it was looked for, in the thread of the first session that needs it.
        self._used: int | None = None
        self._lock = Lock()

    def take(self, size: int) -> None:
        with self._lock:
            if self._clock is not None and self._clock() >= self._counted_again:
                self._used = None
            if self._used is None:
                # What was removed before is not there when it is looked for.
                if size < 0:
                    return
                self._used = self._count()
            if size > 0 and self._used + size > self._limit:
                limit = describe_limit(self._limit)
                raise OSError(errno.EDQUOT, f"this login would have more than {limit}, see --quota")
            self._used = max(0, self._used + size)

    def _count(self) -> int:
        if self._clock is None:
            return size_of(self._folder)
        began = self._clock()
        size = size_of(self._folder)
        ended = self._clock()
        self._counted_again = ended + max(COUNTED_AGAIN, COUNTED_AGAIN_SHARE * (ended - began))
        return size
