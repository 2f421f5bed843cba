"""
A turn among processes: of several that write to one stream, one does at a time.
"""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater

from ..admission.shared_counts import SharedCounts

#: Seconds between two looks whether it is free. Nothing tells.
TURN_POLL = 0.1

#: For so many looks whoever has had it leaves it to the others, if they wait for it.
LOOKS_LEFT = 3


class SharedTurn:
    """
    A lock that the system takes back from a process that is killed.

    :param descriptor: of a file that all processes have, and for no other locks.
    :param counts: in which each says that it waits.
    """

    def __init__(self, descriptor: int, counts: SharedCounts) -> None:
        self._descriptor = descriptor
        self._counts = counts
        self._had = False

    def waiting_elsewhere(self) -> int:
        """Count those that wait in other processes."""
        return self._counts.waiting_elsewhere()

    @inlineCallbacks
    def take(self, name: str, clock: Any, patience: float) -> Generator[Deferred[Any], Any, None]:
        """
        Take it, when it is free. It may be cancelled.

        :param name: of the stream, for the error.
        :param clock: an ``IReactorTime``.
        :param patience: seconds after which waiting fails.
        :raises OSError: when it was not free in that time.
        """
        give_up = clock.seconds() + patience
        self._counts.note_waiting(1)
        try:
            if self._had and self.waiting_elsewhere():
                yield deferLater(clock, LOOKS_LEFT * TURN_POLL)
            while not self._try():
                if clock.seconds() >= give_up:
                    raise OSError(errno.EBUSY, f"another upload held it for {patience:g} seconds", name)
                yield deferLater(clock, TURN_POLL)
        finally:
            self._counts.note_waiting(0)
        self._had = True

    def _try(self) -> bool:
        try:
            # Not flock(): a lock of that kind belongs to the file that was opened, and all have inherited that one.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self) -> None:
        """Leave it to others."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1)
