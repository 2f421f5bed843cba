"""
Folders below one root, opened part by part, so that no path leads through a link that somebody has put there.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from contextlib import suppress

from ...replacing import sync_if_possible
from .names import show_path

#: How many folders are kept open.
OPEN_FOLDERS = 16

#: How many folders are remembered of which the disk has the name.
KNOWN_FOLDERS = 4096

Parts = tuple[bytes, ...]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

#: Where a folder may be entered and not be read. Only Linux has it.
_SEARCHED: int | None = getattr(os, "O_PATH", None)

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


class _Folder:
    """
    One that is open.

    :ivar exact: whether it is known to tell letters apart.
    :ivar readable: whether it may be read, and so be synced.
    """

    __slots__ = ("exact", "fd", "readable")

    def __init__(self, fd: int, readable: bool) -> None:
        self.fd = fd
        self.readable = readable
        self.exact = False


def _open(path: str | bytes, flags: int, dir_fd: int | None) -> _Folder:
    try:
        return _Folder(os.open(path, _FOLDER | flags, dir_fd=dir_fd), True)
    except PermissionError:
        # Who may make files in a folder need not be allowed to read it.
        if _SEARCHED is None:
            raise
        return _Folder(os.open(path, _FOLDER | _SEARCHED | flags, dir_fd=dir_fd), False)


class Folders:
    """
    Folders and files below one folder, the *root*, each named by the parts of its path from there. Links are not
    followed, but in the path of the root itself.

    It is for one thread.

    :param root: its path, or its descriptor, which stays the caller's.
    :raises OSError: when it can't be opened.
    :ivar given_up: set by any thread when nobody waits any more for what takes long.
    """

    given_up = False

    def __init__(self, root: str | bytes | int) -> None:
        # Opened anew, and not doubled: an error of the disk is told to each that has opened something there, once.
        self._root = _open(b".", 0, root) if isinstance(root, int) else _open(root, 0, None)
        # The one that was used last stands last.
        self._kept: dict[Parts, _Folder] = {}
        self._changed: set[Parts] = set()
        # Folders of whose names the disk has, or is about to have.
        self._known: set[Parts] = set()
        # The folder above the root, as long as the disk may not have the root's name.
        self._above: Folders | None = None

    def sync_with(self, above: Folders) -> None:
        """
        Let the disk have the root's name, too, once it is to have anything below it.

        :param above: the folder above the root, which is not the caller's any more.
        """
        above.note_changed(())
        self._above = above

    def check_wanted(self) -> None:
        """
        :raises OSError: with ``ECANCELED`` when nobody waits any more.
        """
        if self.given_up:
            raise OSError(errno.ECANCELED, "nobody waits for it any more")

    @property
    def root(self) -> int:
        """The root's descriptor."""
        return self._root.fd

    @property
    def root_readable(self) -> bool:
        """Whether the root may be read, and not only be entered."""
        return self._root.readable

    def open(self, parts: Parts) -> int:
        """
        Open a folder.

        :param parts: of its path; none for the root.
        :return: its descriptor, which stays open until some others were opened. The caller must not close it.
        :raises OSError: when it is missing, or no folder, or can't be opened; a :exc:`CaseClash` when it is there in
            other letters.
        """
        return self._find(parts).fd

    def open_file(self, parts: Parts) -> int:
        """
        Open a regular file to read it.

        :return: a descriptor that is the caller's.
        :raises OSError: when it is missing, or no regular file, or can't be opened.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        folder = self._find(parts[:-1])
        # What opening would wait for, or change something at, is not opened.
        _expect_file(look(parts[-1], folder.fd))
        # Nor when it was swapped just now.
        fd = os.open(parts[-1], flags | os.O_NONBLOCK, dir_fd=folder.fd)
        try:
            _expect_file(os.fstat(fd))
        except OSError:
            os.close(fd)
            raise
        return fd

    def make(self, parts: Parts) -> bool:
        """
        Make a folder where it is missing, with mode 0700, but not the one above it.

        :return: whether it was missing.
        :raises OSError: when something else is there, or it can't be made; a :exc:`CaseClash` when it is there in other
            letters.
        """
        above = self._find(parts[:-1])
        try:
            os.mkdir(parts[-1], 0o700, dir_fd=above.fd)
        except FileExistsError:
            self._find(parts)
            return False
        self._forget(parts)
        self.note_changed(parts[:-1])
        self._known.add(parts)
        return True

    def status(self, parts: Parts) -> os.stat_result | None:
        """
        Look at a file or folder, and follow no link.

        :return: ``None`` when it is missing, or a folder above it is.
        :raises OSError: when that can't be found out; a :exc:`CaseClash` when it is there in other letters.
        """
        if not parts:
            return os.fstat(self._root.fd)
        try:
            folder = self._find(parts[:-1])
            found = look(parts[-1], folder.fd)
        except FileNotFoundError:
            return None
        self._check_case(folder, parts[-1], found)
        return found

    def remove(self, parts: Parts, status: os.stat_result | None = None) -> None:
        """
        Remove a file's name.

        :param status: of the file that is meant, where that is known. Another one under its name stays.
        :raises OSError: when that can't be done.
        """
        folder = self.open(parts[:-1])
        if status is None or _is_same(look(parts[-1], folder), status):
            os.unlink(parts[-1], dir_fd=folder)

    def set_time(self, parts: Parts, mtime: int) -> None:
        """
        Say when a folder was last written to.

        :param mtime: in nanoseconds since the epoch.
        :raises OSError: when that can't be done.
        """
        os.utime(self.open(parts), ns=(mtime, mtime))

    def note_changed(self, parts: Parts) -> None:
        """
        Note that names in a folder have changed, or that what was there is relied on.

        :param parts: of the folder.
        """
        self._changed.add(parts)
        if len(self._known) > KNOWN_FOLDERS:
            self._known.clear()
        # Nor is a file there whose folder is not. Who made the folder may not have come to sync it.
        while parts and parts not in self._known:
            self._known.add(parts)
            parts = parts[:-1]
            self._changed.add(parts)

    def sync_changed(self) -> dict[Parts, OSError]:
        """
        Wait until the disk has the names in all folders where they have changed.

        :return: the folders where that failed. It concerns all that is below them.
        """
        failed: dict[Parts, OSError] = {}
        all_synced = False
        if self._above is not None and self._changed:
            failed = self._above.sync_changed()
            if failed:
                self._above.note_changed(())
            else:
                self._above.close()
                self._above = None
        for parts in self._changed:
            try:
                folder = self._find(parts)
                if folder.readable:
                    sync_if_possible(folder.fd)
                elif not all_synced:
                    # This takes longer, and does it as well.
                    os.sync()
                    all_synced = True
            except OSError as error:
                failed[parts] = error
        self._changed.clear()
        if failed:
            # What was noted of these is not so.
            self._known.clear()
        return failed

    def forget_changed(self) -> None:
        """Do without syncing what has changed."""
        self._changed.clear()

    def close(self) -> None:
        """Close all descriptors. It may be closed twice, and not be used after that."""
        for folder in self._kept.values():
            os.close(folder.fd)
        self._kept.clear()
        if self._above is not None:
            self._above.close()
            self._above = None
        fd, self._root.fd = self._root.fd, -1
        if fd >= 0:
            os.close(fd)

    def _find(self, parts: Parts) -> _Folder:
        if not parts:
            return self._root
        found = self._kept.pop(parts, None)
        if found is None:
            found = self._open_below(self._find(parts[:-1]), parts[-1])
            while len(self._kept) >= OPEN_FOLDERS:
                self._forget(next(iter(self._kept)))
        self._kept[parts] = found
        return found

    def _forget(self, parts: Parts) -> None:
        folder = self._kept.pop(parts, None)
        if folder is not None:
            os.close(folder.fd)

    def _open_below(self, above: _Folder, name: bytes) -> _Folder:
        try:
            folder = _open(name, os.O_NOFOLLOW, above.fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise _no_folder(above, name) from None
            raise
        try:
            self._check_case(above, name, os.fstat(folder.fd))
        except OSError:
            os.close(folder.fd)
            raise
        return folder

    def _check_case(self, folder: _Folder, name: bytes, status: os.stat_result) -> None:
        """
        :raises OSError: a :exc:`CaseClash` when what was found under a name has another one.
        """
        # To list the folder for each name would take long where there are many.
        if folder.exact and name.isascii():
            return
        others = other_spellings(name)
        for other in others:
            try:
                found = look(other, folder.fd)
            except OSError:
                continue
            if not _is_same(found, status):
                continue
            # It is a hard link, or one name.
            there = names_in(folder.fd) if folder.readable else []
            if not there or name in there:
                return
            raise CaseClash(_same(there, status, folder.fd) or other)
        folder.exact = folder.exact or (bool(others) and name.isascii())


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_ino, one.st_dev) == (other.st_ino, other.st_dev)


def _expect_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"{kind_of(status.st_mode)} is there, and no file")


def _no_folder(above: _Folder, name: bytes) -> OSError:
    kind = "something else"
    with suppress(OSError):
        kind = kind_of(look(name, above.fd).st_mode)
    return NotADirectoryError(errno.ENOTDIR, f"{kind} is there, and no folder")


def _same(names: list[bytes], status: os.stat_result, folder: int) -> bytes | None:
    for name in names:
        with suppress(OSError):
            if _is_same(look(name, folder), status):
                return name
    return None
