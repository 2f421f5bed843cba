"""
What has a name in a folder, and whether it has it in those letters: some file systems take two spellings for one name.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from contextlib import suppress

from .names import show_path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)


class CaseClash(OSError):
    """The name is there in other letters, and the file system takes both for the same."""

    def __init__(self, there: bytes) -> None:
        super().__init__(errno.EEXIST, f"it differs only in case from '{show_path(there)}', which is there")


def kind_of(mode: int) -> str:
    """
    Name what something is, for people.

    :param mode: its ``st_mode``.
    """
    return next((name for is_that, name in _KINDS if is_that(mode)), "a device")


def look(name: bytes, folder: int) -> os.stat_result:
    """
    Look at what has a name in a folder, and follow no link.

    :param folder: its descriptor.
    :raises OSError: when nothing has it, or that can't be found out.
    """
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def names_in(folder: int) -> list[bytes]:
    """
    List a folder.

    :param folder: its descriptor.
    :raises OSError: when it can't be read.
    """
    return [os.fsencode(name) for name in os.listdir(folder)]


def other_spellings(name: bytes) -> list[bytes]:
    """
    Give what a file system may take for the same name: in other letters, or with accents written otherwise.
    """
    if name.isascii():
        others = {name.swapcase()}
    else:
        try:
            text = name.decode()
        except UnicodeDecodeError:
            others = {name.swapcase()}
        else:
            forms = (text.swapcase(), unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))
            others = {each.encode() for each in forms}
    return sorted(others - {name})


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """
    Tell whether two looks were at the same file or folder.
    """
    return (one.st_ino, one.st_dev) == (other.st_ino, other.st_dev)


def check_spelling(name: bytes, status: os.stat_result, folder: int, readable: bool) -> bool:
    """
    Look whether what was found under a name has that name.

    :param status: of what was found.
    :param folder: the descriptor of its folder.
    :param readable: whether that may be listed. If not, nothing is said against the name.
    :return: whether the folder is known now to tell letters apart, so that other names in ASCII need no look.
    :raises OSError: a :exc:`CaseClash` when it has another one.
    """
    others = other_spellings(name)
    for other in others:
        try:
            found = look(other, folder)
        except OSError:
            continue
        if not is_same(found, status):
            continue
        # It is a hard link, or one name. Only now, since to list the folder takes long where there are many.
        there = names_in(folder) if readable else []
        if not there or name in there:
            return False
        raise CaseClash(_find_same(there, status, folder) or other)
    return bool(others) and name.isascii()


def _find_same(names: list[bytes], status: os.stat_result, folder: int) -> bytes | None:
    for name in names:
        with suppress(OSError):
            if is_same(look(name, folder), status):
                return name
    return None
