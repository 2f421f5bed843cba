"""
Waiting until the disk has a file, and the name that it stands under.

The order matters: a file is synced before it takes its name, and the folder after it. Else a loss of power can leave
an empty file under that name, in place of what stood there before.
"""

from __future__ import annotations

import errno
import os

#: What a device or a folder says that can't be synced.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)


def sync_if_possible(fd: int) -> None:
    """
    Wait until the disk has what was written, where there is a disk.

    :param fd: of a file, a folder or a device.
    :raises OSError: when the disk can't take it.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync_directory(path: str) -> None:
    """
    Wait until the disk has the names in a folder.

    :param path: of the folder; empty for the one where we are.
    :raises OSError: when the disk can't take them.
    """
    try:
        fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        # Who may make files in a folder need not be allowed to read it. This takes longer, and does it as well.
        os.sync()
        return
    try:
        sync_if_possible(fd)
    finally:
        os.close(fd)
