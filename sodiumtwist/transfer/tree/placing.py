"""
Written files on their way to their place, in batches that share what takes long: the syncs.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress

from ...replacing import sync_if_possible, take_over
from .folders import Folders, Parts, kind_of
from .names import PART_LIMIT, random_name
from .system_calls import can_sync_file_systems, rename_new, sync_file_system
from .temporaries import Temporary, Written, open_nameless, open_temporary, write_at

#: How many files a batch has at most.
BATCH = 256

#: From how many files on the disk is asked to take all there is, and not one after the other.
SYNCED_TOGETHER = 4

#: Up to which number a suffix is tried, when files of a name are there.
SUFFIXES = 999

#: What there is to do when something has the name already.
RENAME, REPLACE, REFUSE = "rename", "replace", "refuse"

#: What is said by file systems that have no hard links, or not of this file.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV)


class Placing:
    """
    Puts written files in their place. Those that were added are *in* when :meth:`commit` has told so, and not before.

    :param folders: where they go.
    :param existing: what to do when something has the name: ``rename`` the new one, ``replace`` the old one or
        ``refuse`` the new one.
    :param sync: whether the disk has them before they are in.
    """

    def __init__(self, folders: Folders, existing: str, sync: bool) -> None:
        self._folders = folders
        self._existing = existing
        self._sync = sync
        self._nameless = os.path.isdir("/proc/self/fd")
        self._batch: list[tuple[int, Written]] = []
        self._results: list[tuple[int, bytes | OSError]] = []

    @property
    def full(self) -> bool:
        """Whether the batch is to be committed before more is added."""
        return len(self._batch) + len(self._results) >= BATCH

    def __len__(self) -> int:
        """How many files were added, and are not told of."""
        return len(self._batch) + len(self._results)

    def write_small(self, parts: Parts, data: bytes | memoryview, mtime: int, executable: bool) -> Written:
        """
        Write a file of which all is there.

        :param parts: of its path.
        :param data: all of it.
        :param mtime: when it was last written to at its sender, in nanoseconds since the epoch.
        :param executable: whether its owner may run it.
        :raises OSError: when that can't be done. Then nothing is left of it.
        """
        temporary = open_nameless(self._folders, parts, executable) if self._nameless else None
        if temporary is None:
            self._nameless = False
            temporary = open_temporary(self._folders, parts, executable)
        try:
            if temporary.lasting:
                os.ftruncate(temporary.fd, 0)
            if data:
                write_at(temporary.fd, data, 0)
            os.utime(temporary.fd, ns=(mtime, mtime))
        except OSError:
            temporary.remove(self._folders)
            raise
        return Written(temporary, len(data), executable, synced=False)

    def add(self, number: int, written: Written) -> None:
        """
        Add a file to the batch.

        :param number: by which :meth:`commit` tells of it.
        :param written: the file, which is not the caller's any more.
        """
        if self._sync:
            self._batch.append((number, written))
            return
        # It waits for nothing, and so needs no descriptor meanwhile.
        self._results.append((number, self._placed(written)))
        written.temporary.close()

    def commit(self) -> list[tuple[int, bytes | OSError]]:
        """
        Put all files of the batch in their place.

        :return: for each one its number, and the last part of the name that it got, or why it is not there. Of such a
            one nothing is left.
        """
        batch, self._batch = self._batch, []
        results, self._results = self._results, []
        if not self._sync:
            self._folders.forget_changed()
            return results
        refused = self._sync_data([written for _, written in batch])
        placed: list[tuple[int, Written, bytes | OSError]] = []
        for number, written in batch:
            error = refused.get(written)
            if error is None:
                placed.append((number, written, self._placed(written)))
            else:
                written.temporary.remove(self._folders)
                placed.append((number, written, error))
        failed = self._folders.sync_changed()
        for number, written, outcome in placed:
            if failed and not isinstance(outcome, OSError):
                outcome = self._unless_failed(written, outcome, failed)
            results.append((number, outcome))
            written.temporary.close()
        return results

    def drop(self) -> None:
        """Remove what was added and is not in."""
        batch, self._batch = self._batch, []
        for _, written in batch:
            written.temporary.remove(self._folders)
        self._results = []

    def _sync_data(self, files: list[Written]) -> dict[Written, OSError]:
        waiting = [written for written in files if not written.synced]
        if len(waiting) >= SYNCED_TOGETHER and can_sync_file_systems() and self._folders.root_readable:
            device = os.fstat(self._folders.root).st_dev
            together = [each for each in waiting if os.fstat(each.temporary.fd).st_dev == device]
            try:
                sync_file_system(self._folders.root)
            except OSError as error:
                return dict.fromkeys(waiting, error)
            waiting = [each for each in waiting if each not in together]
        refused = {}
        for written in waiting:
            try:
                sync_if_possible(written.temporary.fd)
            except OSError as error:
                refused[written] = error
        return refused

    def _unless_failed(self, written: Written, name: bytes, failed: dict[Parts, OSError]) -> bytes | OSError:
        """What became of a file when names in some folders may be lost."""
        parts = written.parts
        for length in range(len(parts)):
            error = failed.get(parts[:length])
            if error is not None:
                # One that has replaced another stays: nothing else is there any more.
                if self._existing != REPLACE:
                    with suppress(OSError):
                        folder = self._folders.open(parts[:-1])
                        if written.temporary.has(name, folder):
                            os.unlink(name, dir_fd=folder)
                return error
        return name

    def _placed(self, written: Written) -> bytes | OSError:
        try:
            name = self._place(written)
        except OSError as error:
            written.temporary.remove(self._folders)
            return error
        self._folders.note_changed(written.parts[:-1])
        return name

    def _place(self, written: Written) -> bytes:
        file, name = written.temporary, written.parts[-1]
        folder = self._folders.open(written.parts[:-1])
        if self._existing == REPLACE:
            status = self._folders.status(written.parts)
            if status is not None:
                _expect_file(status)
                self._replace(written, folder, status)
                return name
        try:
            _give_name(file, folder, name)
            return name
        except FileExistsError:
            pass
        # Something is there, or has come just now.
        status = self._folders.status(written.parts)
        if status is not None:
            _expect_file(status)
        if self._existing == REPLACE:
            self._replace(written, folder, status)
            return name
        if self._existing == REFUSE:
            raise FileExistsError(errno.EEXIST, "a file of that name is there")
        return self._with_suffix(file, folder, name)

    def _with_suffix(self, file: Temporary, folder: int, name: bytes) -> bytes:
        for number in range(1, SUFFIXES + 1):
            other = b"%b.%d" % (name, number)
            if len(other) > PART_LIMIT:
                raise OSError(errno.ENAMETOOLONG, "a file of that name is there, and it is too long for a suffix")
            try:
                _give_name(file, folder, other)
                return other
            except FileExistsError:
                continue
        raise FileExistsError(errno.EEXIST, f"{SUFFIXES} files of that name are there")

    def _replace(self, written: Written, folder: int, status: os.stat_result | None) -> None:
        file, name = written.temporary, written.parts[-1]
        if status is not None:
            os.fchmod(file.fd, 0o600)
            # What may run it are those who may read it, if anybody.
            mode = status.st_mode & ~0o111
            if written.executable:
                mode |= (mode & 0o444) >> 2
            take_over(file.fd, os.stat_result((mode, *status[1:10])))
        if file.name is None:
            temporary = random_name(name, secrets.token_hex(4))
            _give_name(file, folder, temporary)
            file.name = temporary
        os.replace(file.name, name, src_dir_fd=folder, dst_dir_fd=folder)
        file.name = None


def _expect_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileExistsError(errno.EEXIST, f"{kind_of(status.st_mode)} of that name is there")


def _give_name(file: Temporary, folder: int, name: bytes) -> None:
    """
    Give a file its name, if nothing has it.

    :raises FileExistsError: when something has it.
    :raises OSError: when it can't have it.
    """
    if file.name is None:
        os.link(f"/proc/self/fd/{file.fd}", name, dst_dir_fd=folder, follow_symlinks=True)
        return
    if not file.has(file.name, folder):
        raise OSError(errno.ESTALE, "its temporary file was swapped meanwhile")
    try:
        rename_new(folder, file.name, name)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        _link_or_reserve(file.name, folder, name)
    file.name = None


def _link_or_reserve(temporary: bytes, folder: int, name: bytes) -> None:
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        os.unlink(temporary, dir_fd=folder)
        return
    # Between these two an empty file has the name. There is no other way here.
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder))
    try:
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
