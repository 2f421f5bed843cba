"""
Giving a file a name that nothing has, in one step where the system can do that.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from .system_calls import rename_new

#: What is said where it can't be renamed so.
_CANNOT_RENAME = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)

#: What is said where there are no hard links.
_CANNOT_LINK = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EMLINK)


def give_name(temporary: bytes, folder: int, name: bytes) -> None:
    """
    Rename a file, and replace nothing.

    :param temporary: the name that it has.
    :param folder: the descriptor of its folder.
    :param name: the name that it gets.
    :raises OSError: when it can't be renamed; a ``FileExistsError`` when something has that.
    """
    try:
        rename_new(folder, temporary, name)
        return
    except OSError as error:
        if error.errno not in _CANNOT_RENAME:
            raise
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        _reserve_and_replace(temporary, folder, name)
    else:
        os.unlink(temporary, dir_fd=folder)


def _reserve_and_replace(temporary: bytes, folder: int, name: bytes) -> None:
    # Between these two an empty file has the name. Where neither of the others can be done there is no better way.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o600, dir_fd=folder))
    try:
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
