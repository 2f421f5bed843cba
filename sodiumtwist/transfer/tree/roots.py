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
    :raises CaseClash: when it is there in other letters. Those may be another login's.
    :raises OSError: when it is missing, or can't be opened.
    """
    folders = Folders(path)
    try:
        _look_above(path, sync=False, made=False)
    except OSError:
        folders.close()
        raise
    return folders


def make_root(path: str | bytes, sync: bool) -> tuple[Folders, bool]:
    """
    Open a folder, which is made where it is missing, with mode 0700, but not the one above it.

    :param path: of the folder.
    :param sync: whether the disk has its name then. Else all that is in it could be lost.
    :return: and whether it was missing.
    :raises CaseClash: when it is there in other letters. Those may be another login's.
    :raises OSError: when it can't be opened or made, or the disk does not take its name.
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
    try:
        _look_above(path, sync, made)
    except OSError:
        folders.close()
        raise
    return folders, made


def _look_above(path: str | bytes, sync: bool, made: bool) -> None:
    path, name = os.path.split(os.path.abspath(os.fsencode(path)))
    # Nothing is above the root of all.
    if not name:
        return
    above = Folders(path)
    try:
        above.status((name,))
        # Where it can't be synced alone, everything would be: not for what was there before.
        if sync and (made or above.root_readable):
            above.note_changed(())
            for error in above.sync_changed().values():
                raise error
    finally:
        above.close()
