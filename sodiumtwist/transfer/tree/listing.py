"""
What is in a folder that is shared, for those who ask. Thread side.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from heapq import nsmallest

from .messages import ENTRIES, FILE, FOLDER, Listed, Listing
from .names import is_temporary, split_path
from .roots import open_root
from .spelling import look
from .walking import NOT_THERE, what_is_wrong, why_not


def list_folder(root: str | bytes, path: bytes, after: bytes = b"") -> Listing:
    """
    List a part of a folder, or one file. Links, devices and the like are not told, nor files that are not whole.

    :param root: what is shared.
    :param path: of the folder or file, relative to that; empty for all.
    :param after: the last name of the part before this one; empty for the first part.
    :return: up to :data:`~sodiumtwist.transfer.tree.messages.ENTRIES` entries, sorted by the bytes of their names.
    :raises ValueError: when the path is none of a file or folder below the root.
    :raises OSError: when there is none, or it can't be read. Its text names no path of this side.
    """
    parts = split_path(path) if path else ()
    folders = open_root(root)
    try:
        status = folders.status(parts)
        if status is None:
            raise FileNotFoundError(errno.ENOENT, NOT_THERE)
        wrong = what_is_wrong(status)
        if wrong:
            raise OSError(errno.EINVAL, wrong)
        if not stat.S_ISDIR(status.st_mode):
            return Listing([_listed(parts[-1], status)], folder=False)
        try:
            return _list(folders.open(parts), after)
        except OSError as error:
            raise OSError(error.errno, why_not(error)) from None
    finally:
        folders.close()


def _list(fd: int, after: bytes) -> Listing:
    # One more shows whether there are more.
    names = nsmallest(ENTRIES + 1, _names(fd, after))
    entries = []
    for name in names[:ENTRIES]:
        try:
            status = look(name, fd)
        except OSError:
            continue  # it is gone
        entries.append(_listed(name, status))
    return Listing(entries, more=len(names) > ENTRIES)


def _names(fd: int, after: bytes) -> Iterator[bytes]:
    with os.scandir(fd) as found:
        for each in found:
            name = os.fsencode(each.name)
            if name > after and not is_temporary(name):
                if each.is_file(follow_symlinks=False) or each.is_dir(follow_symlinks=False):
                    yield name


def _listed(name: bytes, status: os.stat_result) -> Listed:
    if stat.S_ISDIR(status.st_mode):
        return Listed(FOLDER, name, 0, status.st_mtime_ns)
    return Listed(FILE, name, status.st_size, status.st_mtime_ns, bool(status.st_mode & stat.S_IXUSR))
