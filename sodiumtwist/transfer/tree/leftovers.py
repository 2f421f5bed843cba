"""
What broken transfers have left behind, and nobody has gone on with.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from .folders import Folders, Parts
from .names import DEPTH_LIMIT, is_temporary, show_path
from .spelling import look


def remove_old(directory: str, age: float, now: float) -> list[str]:
    """
    Remove the temporary files in a folder, and in those below it, that have not changed for some time. Those that are
    being written stay, and so does what is not ours or no file. Links are not followed. It may take long, and blocks.

    :param directory: the path of the folder.
    :param age: for how many seconds they have not changed.
    :param now: seconds since the epoch.
    :return: which were removed: their paths in the folder, fit to be shown.
    :raises OSError: when the folder can't be opened. What can't be read below it, or removed, is passed over.
    """
    folders = Folders(directory)
    removed = []
    try:
        waiting: list[Parts] = [()]
        while waiting:
            parts = waiting.pop()
            # Somebody may have taken it away, or it may not be read.
            with suppress(OSError):
                with os.scandir(folders.open(parts)) as entries:
                    found = [(os.fsencode(each.name), each.is_dir(follow_symlinks=False)) for each in entries]
                for name, is_folder in found:
                    path = (*parts, name)
                    if is_folder:
                        # No path of ours goes deeper.
                        if len(path) <= DEPTH_LIMIT:
                            waiting.append(path)
                    elif is_temporary(name) and _remove_if_old(folders, path, now - age):
                        removed.append(show_path(b"/".join(path)))
    finally:
        folders.close()
    return removed


def _remove_if_old(folders: Folders, path: Parts, before: float) -> bool:
    with suppress(OSError):
        status = look(path[-1], folders.open(path[:-1]))
        # Its other time may be the sender's.
        if status.st_uid != os.geteuid() or status.st_ctime >= before:
            return False
        fd = folders.open_file(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folders.remove(path, os.fstat(fd))
            return True
        finally:
            os.close(fd)
    return False
