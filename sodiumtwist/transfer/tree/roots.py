"""
The folder that all paths of one session begin in.
"""

from __future__ import annotations

import os

from .folders import Folders


def open_root(path: str | bytes) -> Folders:
    """
    Open a folder that has to be there. A link is followed: whoever named the path may have meant it.

    :param path: of the folder.
    :raises OSError: when it is missing, or can't be opened; a
        :exc:`~sodiumtwist.transfer.tree.spelling.CaseClash` when it is there in other letters, which may be another
        login's.
    """
    folders = Folders(path)
    above = _look_above(path, folders)
    if above is not None:
        above.close()
    return folders


def make_root(path: str | bytes, sync: bool) -> tuple[Folders, bool]:
    """
    Open a folder, which is made where it is missing, with mode 0700, but not the one above it.

    :param path: of the folder.
    :param sync: whether the disk shall have its name with the first of what is in it. Else all of that could be lost.
    :return: and whether it was missing.
    :raises OSError: when it can't be opened or made; a :exc:`~sodiumtwist.transfer.tree.spelling.CaseClash` when it is
        there in other letters, which may be another login's.
    """
    made = False
    try:
        folders = Folders(path)
    except FileNotFoundError:
        try:
            os.mkdir(path, 0o700)
            made = True
        except FileExistsError:
            # Another session was quicker. It may not have synced it yet.
            pass
        folders = Folders(path)
    above = _look_above(path, folders)
    if above is not None:
        # Where it can't be synced alone, everything would be: not for what was there before.
        if sync and (made or above.root_readable):
            folders.sync_with(above)
        else:
            above.close()
    return folders, made


def _look_above(path: str | bytes, folders: Folders) -> Folders | None:
    """
    Look whether a folder has its name as it was given. If not, it is closed.

    :return: the folder above it, where there is one.
    """
    try:
        path, name = os.path.split(os.path.abspath(os.fsencode(path)))
        if not name:
            return None
        above = Folders(path)
        try:
            above.status((name,))
        except OSError:
            above.close()
            raise
        return above
    except OSError:
        folders.close()
        raise
