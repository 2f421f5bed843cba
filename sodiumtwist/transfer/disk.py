"""
What uploads ask of the disk: to be synced without holding up the reactor, and room.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore, maybeDeferred
from twisted.internet.threads import deferToThreadPool

from ..describe import describe_limit

T = TypeVar("T")

#: How many calls may wait for the disk at once. The reactor has ten threads, and looks up names in them, too.
DISK_CALLS = 4

#: The floor of free space, in bytes, where nothing else is said; less on a small file system.
LEAST_FREE = 1 << 30

#: How much of a small file system that is at most.
LEAST_FREE_SHARE = 0.05

#: How many bytes all uploads of a store may write together before the free space is looked at again.
ROOM_STEP = 16 * 1024 * 1024

#: What peers are told when there is no room. The system's words may be in the server's language.
_NO_ROOM_WORDS = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def words_for_peer(error: OSError) -> str:
    """
    Say to the other end why something can't be stored: no paths of ours, no names of options.
    """
    text = _NO_ROOM_WORDS.get(error.errno or 0) or error.strerror or "it cannot be stored"
    return text.partition(", see --")[0]


class DiskThreads:
    """
    Calls what may wait for the disk in the reactor's threads.

    :param reactor: an ``IReactorThreads``.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._places = DeferredSemaphore(DISK_CALLS)

    def __call__(self, work: Callable[[], T]) -> Deferred[T]:
        """
        Call a function.

        :return: fires with its result, or fails with what it raises.
        """
        # Asked for now: a daemon has its threads behind its fork.
        pool = self._reactor.getThreadPool()
        called: Deferred[T] = self._places.run(deferToThreadPool, self._reactor, pool, work)
        return called


class Room:
    """
    Keeps some of a file system free.

    :param place: a path on it, or the descriptor of a file there.
    :param least: how many bytes shall stay free; ``None`` for the smaller of 1 GiB and 5 % of it.
    """

    def __init__(self, place: str | int, least: int | None = None) -> None:
        self._place = place
        self._least = least
        # What may be written before the next look.
        self._allowance = 0

    def take(self, size: int) -> None:
        """
        Ask for room. All uploads of a store ask the same object, so that a great many of them are bounded, too.

        :param size: how many bytes are to be written.
        :raises OSError: when too little would stay free.
        """
        if size >= self._allowance:
            self._look(size)
        self._allowance -= size

    def _look(self, size: int) -> None:
        self._allowance = 0
        status = os.statvfs(self._place)
        least = self._least
        if least is None:
            least = min(LEAST_FREE, int(status.f_blocks * status.f_frsize * LEAST_FREE_SHARE))
        # Some file systems know nothing of themselves, and a floor of 0 is none.
        if not status.f_blocks or not least:
            self._allowance = max(size, ROOM_STEP)
            return
        spare = status.f_bavail * status.f_frsize - least
        if size > spare:
            where = self._place if isinstance(self._place, str) else None
            raise OSError(errno.ENOSPC, f"less than {describe_limit(least)} would stay free, see --min-free", where)
        self._allowance = min(spare, max(size, ROOM_STEP))


class Disk:
    """
    How a store treats its disk.

    :param call: calls what may wait for the disk, as :class:`DiskThreads` does. Without one that is done at once,
        while everything else waits.
    :param sync: whether an upload is on the disk before it is confirmed.
    :param min_free: how many bytes of its file system shall stay free; ``None`` for the smaller of 1 GiB and 5 %.
    """

    def __init__(
        self,
        call: Callable[[Callable[[], T]], Deferred[T]] = maybeDeferred,
        sync: bool = True,
        min_free: int | None = None,
    ) -> None:
        self.call: Any = call
        self.sync = sync
        self._min_free = min_free

    def room(self, place: str | int) -> Room:
        """Make what keeps some of a file system free; ``place`` is on it, see :class:`Room`."""
        return Room(place, self._min_free)
