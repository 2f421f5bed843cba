"""
Calls of the system that Python's :mod:`os` lacks.
"""

from __future__ import annotations

import errno
import os
import re
from functools import cache
from typing import Any

#: Do not replace what has the name: a flag of ``renameat2``.
_NO_REPLACE = 1

#: Since this release of Linux ``syncfs`` tells of what could not be written.
_TELLS_ERRORS = (5, 8)


@cache
def _function(name: str) -> Any:
    # Imported when it is needed, which is once some files are stored.
    import ctypes

    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError):
        return None


def _call(name: str, *arguments: object) -> None:
    import ctypes

    function = _function(name)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def can_sync_file_systems() -> bool:
    """Tell whether :func:`sync_file_system` is there, and tells of errors."""
    system = os.uname()
    release = re.match(r"(\d+)\.(\d+)", system.release)
    if system.sysname != "Linux" or release is None:
        return False
    return (int(release[1]), int(release[2])) >= _TELLS_ERRORS and _function("syncfs") is not None


def sync_file_system(fd: int) -> None:
    """
    Wait until the disk has all that was written to a file system.

    :param fd: of a file or folder there, opened before what is to be synced was written. Of errors since then it is
        told.
    :raises OSError: when the disk can't take something, which may be another's.
    """
    _call("syncfs", fd)


def rename_new(folder: int, old: bytes, new: bytes) -> None:
    """
    Rename a file within its folder, and replace nothing.

    :param folder: its descriptor.
    :raises OSError: when it can't be renamed, with ``ENOSYS`` or ``EINVAL`` when the system or the file system can't do
        so; a ``FileExistsError`` when something has the new name.
    """
    _call("renameat2", folder, old, folder, new, _NO_REPLACE)
