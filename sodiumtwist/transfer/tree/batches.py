"""
What batches of small files share: one sync of all their bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...admission.replacing import sync_if_possible
from .folders import Folders
from .system_calls import can_sync_file_systems, sync_file_system
from .temporaries import Written

#: From how many files on the disk is asked to take all that it has to, and not one after the other.
SYNCED_TOGETHER = 4


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
