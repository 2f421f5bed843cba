"""
Folders below one root, opened part by part, so that no path leads through a link that somebody has put there.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ...admission.replacing import sync_if_possible
from .descriptors import HELD
from .spelling import check_spelling, is_same, kind_of, look

#: How many folders are kept open.
OPEN_FOLDERS = 16

#: How many where descriptors are scarce.
FEW_OPEN_FOLDERS = 2

#: How many folders are remembered of which the disk has the name.
KNOWN_FOLDERS = 4096

Parts = tuple[bytes, ...]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

#: Where a folder may be entered and not be read. Only Linux has it.
_SEARCHED: int | None = getattr(os, "O_PATH", None)


class _Folder:
    """
    One that is open.

    :ivar exact: whether it is known to tell letters apart.
    :ivar readable: whether it may be read, and so be synced.
    :ivar status: its own, from when it was opened.
    """

    __slots__ = ("exact", "fd", "readable", "status")

    def __init__(self, fd: int, readable: bool) -> None:
        self.fd = fd
        self.readable = readable
        self.status = os.fstat(fd)
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
    :ivar sync_error: what the disk has said last when it did not take names.
    :ivar given_up: set by any thread when nobody waits any more for what takes long.
    """

    sync_error: OSError | None = None
    given_up = False

    def __init__(self, root: str | bytes | int) -> None:
        # Opened anew, and not doubled: an error of the disk is told to each that has opened something there, once.
        self._root = _open(b".", 0, root) if isinstance(root, int) else _open(root, 0, None)
        # The one that was used last stands last. It is looked for without its hash, which takes longer: nearly always
        # it is used again.
        self._kept: dict[Parts, _Folder] = {}
        self._latest: Parts = ()
        self._latest_folder = self._root
        # What the folder was, where that is known.
        self._changed: dict[Parts, os.stat_result | None] = {}
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
        self.forget(parts)
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
        _check_case(folder, parts[-1], found)
        return found

    def remove(self, parts: Parts, status: os.stat_result | None = None) -> None:
        """
        Remove a file's name.

        :param status: of the file that is meant, where that is known. Another one under its name stays.
        :raises OSError: when that can't be done.
        """
        folder = self.open(parts[:-1])
        if status is None or is_same(look(parts[-1], folder), status):
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
        if self._changed.get(parts) is not None and parts in self._known:
            return
        self._note(parts)
        if len(self._known) > KNOWN_FOLDERS:
            self._known.clear()
        # Nor is a file there whose folder is not. Who made the folder may not have come to sync it.
        while parts and parts not in self._known:
            self._known.add(parts)
            parts = parts[:-1]
            self._note(parts)

    def sync_changed(self) -> dict[Parts, OSError]:
        """
        Wait until the disk has the names in all folders where they have changed.

        :return: the folders where that failed, or that are not where they were. It concerns all that is below them.
        """
        failed = self._moved()
        all_synced = False
        if self._above is not None and self._changed:
            not_above = self._above.sync_changed()
            if not_above:
                self._above.note_changed(())
                failed[()] = self.sync_error = not_above[()]
            else:
                self._above.close()
                self._above = None
        for parts in self._changed:
            if parts in failed:
                continue
            try:
                folder = self._find(parts)
                if folder.readable:
                    sync_if_possible(folder.fd)
                elif not all_synced:
                    # This takes longer, and does it as well.
                    os.sync()
                    all_synced = True
            except OSError as error:
                failed[parts] = self.sync_error = error
        self._changed.clear()
        if failed:
            # What was noted of these is not so.
            self._known.clear()
        return failed

    def forget_changed(self) -> dict[Parts, OSError]:
        """
        Do without syncing what has changed.

        :return: the folders that are not where they were. It concerns all that is below them.
        """
        failed = self._moved()
        self._changed.clear()
        return failed

    def forget(self, parts: Parts) -> None:
        """
        Open a folder anew the next time, and what is below it: it may be gone, and another one be in its place.
        """
        for each in [each for each in self._kept if each[: len(parts)] == parts]:
            self._forget(each)

    def close(self) -> None:
        """Close all descriptors. It may be closed twice, and not be used after that."""
        for parts in list(self._kept):
            self._forget(parts)
        if self._above is not None:
            self._above.close()
            self._above = None
        fd, self._root.fd = self._root.fd, -1
        if fd >= 0:
            os.close(fd)

    def _note(self, parts: Parts) -> None:
        if self._changed.get(parts) is None:
            folder = self._kept.get(parts) if parts else self._root
            self._changed[parts] = None if folder is None else folder.status

    def _moved(self) -> dict[Parts, OSError]:
        """Look which of the changed folders have another place by now, so that nothing is taken to be there."""
        failed: dict[Parts, OSError] = {}
        seen: set[Parts] = set()
        for parts, status in self._changed.items():
            if status is None:
                continue
            try:
                if not is_same(self._find_anew(parts, seen).status, status):
                    failed[parts] = OSError(errno.ESTALE, "its folder was moved meanwhile")
            except OSError as error:
                failed[parts] = error
        return failed

    def _find_anew(self, parts: Parts, seen: set[Parts]) -> _Folder:
        if parts and parts not in seen:
            above = self._find_anew(parts[:-1], seen)
            kept = self._kept.get(parts)
            try:
                if kept is not None and not is_same(look(parts[-1], above.fd), kept.status):
                    self.forget(parts)
            except FileNotFoundError:
                self.forget(parts)
                raise
            seen.add(parts)
        return self._find(parts)

    def _find(self, parts: Parts) -> _Folder:
        if parts == self._latest:
            return self._latest_folder
        if not parts:
            return self._root
        found = self._kept.pop(parts, None)
        if found is None:
            found = self._open_below(self._find(parts[:-1]), parts[-1])
            HELD.add(1)
            most = FEW_OPEN_FOLDERS if HELD.too_many else OPEN_FOLDERS
            while len(self._kept) >= most:
                self._forget(next(iter(self._kept)))
        self._kept[parts] = found
        self._latest, self._latest_folder = parts, found
        return found

    def _forget(self, parts: Parts) -> None:
        folder = self._kept.pop(parts, None)
        if folder is not None:
            self._latest, self._latest_folder = (), self._root
            HELD.add(-1)
            os.close(folder.fd)

    def _open_below(self, above: _Folder, name: bytes) -> _Folder:
        try:
            folder = _open(name, os.O_NOFOLLOW, above.fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise _no_folder(above, name) from None
            raise
        try:
            _check_case(above, name, folder.status)
        except OSError:
            os.close(folder.fd)
            raise
        return folder


def _check_case(folder: _Folder, name: bytes, status: os.stat_result) -> None:
    if not (folder.exact and name.isascii()):
        folder.exact = check_spelling(name, status, folder.fd, folder.readable) or folder.exact


def _expect_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"{kind_of(status.st_mode)} is there, and no file")


def _no_folder(above: _Folder, name: bytes) -> OSError:
    kind = "something else"
    with suppress(OSError):
        kind = kind_of(look(name, above.fd).st_mode)
    return NotADirectoryError(errno.ENOTDIR, f"{kind} is there, and no folder")
