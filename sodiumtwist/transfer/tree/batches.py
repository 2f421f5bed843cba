"""
What batches of small files share: one sync of all their bytes, and the descriptors of the process.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from threading import Lock

from ...replacing import sync_if_possible
from .folders import Folders
from .system_calls import can_sync_file_systems, sync_file_system
from .temporaries import Written

#: From how many files on the disk is asked to take all that it has to, and not one after the other.
SYNCED_TOGETHER = 4

#: The share of the descriptors that the process may have which all batches together hold.
HELD_SHARE = 0.25


class Held:
    """
    Counts the descriptors that the batches of all sessions hold. Sessions have threads of their own.
    """

    def __init__(self) -> None:
        self._count = 0
        self._lock = Lock()

    @property
    def too_many(self) -> bool:
        """Whether batches should end before they are full."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return limit != resource.RLIM_INFINITY and self._count >= limit * HELD_SHARE

    def add(self, count: int) -> None:
        """
        Note that a batch has more of them.

        :param count: how many; negative when it has fewer.
        """
        with self._lock:
            self._count += count


#: Those of this process.
HELD = Held()


def sync_files(files: Sequence[Written], folders: Folders) -> dict[Written, OSError]:
    """
    Wait until the disk has the bytes of files.

    :param folders: where they are, opened before they were written.
    :return: those that it has not taken, and why.
    """
    waiting = [each for each in files if not each.synced]
    if len(waiting) >= SYNCED_TOGETHER and folders.root_readable and can_sync_file_systems():
        device = os.fstat(folders.root).st_dev
        try:
            sync_file_system(folders.root)
            # Another file system may be mounted below.
            waiting = [each for each in waiting if os.fstat(each.temporary.fd).st_dev != device]
        except OSError:
            # It may be another's file. Each of ours tells.
            pass
    refused = {}
    for written in waiting:
        try:
            sync_if_possible(written.temporary.fd)
        except OSError as error:
            refused[written] = error
    return refused
