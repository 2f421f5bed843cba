"""
Written files on their way to their place, in batches that share what takes long: the syncs.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from weakref import WeakValueDictionary

from ...admission.replacing import sync_if_possible, take_over
from .batches import sync_files
from .descriptors import HELD
from .folders import Folders, Parts
from .names import PART_LIMIT, random_name
from .quota import room_of
from .renaming import give_name
from .spelling import kind_of
from .temporaries import Written, open_nameless, open_temporary, write_at

#: How many files a batch has at most.
BATCH = 256

#: Up to which number a suffix is tried, when files of a name are there.
SUFFIXES = 999

#: How many bytes are copied at once.
COPY_STEP = 128 * 1024

#: What there is to do when something has the name already.
RENAME, REPLACE, REFUSE = "rename", "replace", "refuse"

#: What is said when a file without a name can't be given one: there are no hard links, or ``/proc`` is another's.
_STAYS_NAMELESS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.ENOENT, errno.EMLINK)

#: What became of one file of a batch: its number, and the name that it got or why it has none.
Result = tuple[int, "bytes | OSError"]


class _Turn:
    """
    Of those who replace one file, one has it at a time. Others go on.
    """

    def __init__(self) -> None:
        self.lock = Lock()


_turns: WeakValueDictionary[tuple[int, int, bytes], _Turn] = WeakValueDictionary()
_turns_lock = Lock()


@contextmanager
def _turn_of(folder: int, name: bytes) -> Iterator[None]:
    status = os.fstat(folder)
    with _turns_lock:
        turn = _turns.setdefault((status.st_dev, status.st_ino, name), _Turn())
    with turn.lock:
        yield


#: Why a file does not get its name.
NAME_TAKEN = "a file of that name is there"


class Placing:
    """
    Puts written files in their place. Those that were added are there, and the disk has them, when :meth:`commit` has
    told so. Before that they may be there, whole.

    :param folders: where they go.
    :param existing: what to do when something has the name: ``rename`` the new one, ``replace`` the old one or
        ``refuse`` the new one.
    :param sync: whether the disk has them before :meth:`commit` tells of them.
    :param same: whether a file that is like the new one in size, time and bytes is taken for it: its sender may have
        begun anew while another session still put it there.
    """

    def __init__(self, folders: Folders, existing: str, sync: bool, same: bool = False) -> None:
        self._folders = folders
        self._same = same
        self._existing = existing
        self._sync = sync
        # A file without a name gets one through there.
        self._nameless = os.path.isdir("/proc/self/fd")
        self._batch: list[tuple[int, Written]] = []
        self._unsynced: list[tuple[int, Written, bytes | OSError]] = []

    @property
    def full(self) -> bool:
        """Whether the batch has to be committed before more is added."""
        held = len(self._batch)
        return held + len(self._unsynced) >= BATCH or (held > 0 and HELD.too_many)

    def __len__(self) -> int:
        """How many files were added, and are not told of."""
        return len(self._batch) + len(self._unsynced)

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
                # What an earlier try has left.
                os.ftruncate(temporary.fd, 0)
            if data:
                write_at(temporary.fd, data, 0)
            os.utime(temporary.fd, ns=(mtime, mtime))
        except OSError:
            temporary.remove(self._folders)
            raise
        return Written(temporary, len(data), mtime, executable)

    def add(self, number: int, written: Written) -> None:
        """
        Add a file to the batch.

        :param number: by which :meth:`commit` tells of it.
        :param written: the file, which is not the caller's any more.
        """
        if self._sync:
            self._batch.append((number, written))
            HELD.add(1)
        else:
            # It waits for nothing, and so needs no descriptor meanwhile.
            self._unsynced.append((number, written, self._closed(written, self._placed(written))))

    def commit(self) -> list[Result]:
        """
        Put all files of the batch in their place.

        :return: for each one its number, and the last part of the name that it got, or why it is not there. Of such a
            one nothing is left; but one that had replaced another stays when the disk does not take its name.
        """
        if not self._sync:
            unsynced, self._unsynced = self._unsynced, []
            failed = self._folders.forget_changed()
            return [(number, self._unless_failed(written, outcome, failed)) for number, written, outcome in unsynced]
        batch, self._batch = self._batch, []
        try:
            return self._commit(batch)
        finally:
            # Not before: while the disk works on them, others must not take them for closed.
            HELD.add(-len(batch))

    def _commit(self, batch: list[tuple[int, Written]]) -> list[Result]:
        refused = sync_files([written for _, written in batch], self._folders)
        outcomes: list[tuple[int, Written, bytes | OSError]] = []
        for number, written in batch:
            error = refused.get(written)
            if error is None:
                outcome = self._placed(written)
            else:
                written.temporary.remove(self._folders)
                outcome = error
            outcomes.append((number, written, outcome))
        failed = self._folders.sync_changed()
        return [
            (number, self._closed(written, self._unless_failed(written, outcome, failed)))
            for number, written, outcome in outcomes
        ]

    def drop(self) -> None:
        """Remove what was added and is not in its place yet."""
        batch, self._batch = self._batch, []
        for _, written in batch:
            written.temporary.remove(self._folders)
        HELD.add(-len(batch))
        self._unsynced = []

    def _placed(self, written: Written) -> bytes | OSError:
        try:
            name = self._place(written)
        except OSError as error:
            written.temporary.remove(self._folders)
            # The folder may have been removed, and made again since.
            if error.errno == errno.ENOENT:
                self._folders.forget(written.parts[:-1])
            return error
        self._folders.note_changed(written.parts[:-1])
        return name

    def _closed(self, written: Written, outcome: bytes | OSError) -> bytes | OSError:
        try:
            written.temporary.close()
        except OSError as error:
            # Some file systems tell only now what could not be written. What was synced is there for sure.
            if isinstance(outcome, bytes) and not self._sync:
                self._take_back(written, outcome, None)
                return error
        return outcome

    def _unless_failed(
        self, written: Written, outcome: bytes | OSError, failed: dict[Parts, OSError]
    ) -> bytes | OSError:
        """What became of a file when some folders have moved, or the names in them may be lost."""
        if not failed or isinstance(outcome, OSError):
            return outcome
        for length in range(len(written.parts)):
            error = failed.get(written.parts[:length])
            if error is not None:
                # What had the name before is gone in any case. And without its descriptor nobody knows which it is.
                if self._existing != REPLACE and written.temporary.fd >= 0:
                    self._take_back(written, outcome, os.fstat(written.temporary.fd))
                return error
        return outcome

    def _take_back(self, written: Written, name: bytes, status: os.stat_result | None) -> None:
        with suppress(OSError):
            self._folders.remove((*written.parts[:-1], name), status)

    def _place(self, written: Written) -> bytes:
        """
        :return: the name that it got.
        """
        name = written.parts[-1]
        folder = self._folders.open(written.parts[:-1])
        if self._existing == REPLACE:
            if self._existing_file(written) is not None:
                return self._replaced(written, folder)
        try:
            self._give(written, folder, name)
            return name
        except FileExistsError:
            pass
        # It may have come just now.
        self._existing_file(written)
        if self._existing == REPLACE:
            return self._replaced(written, folder)
        if self._is_there(written, name):
            return name
        if self._existing == REFUSE:
            raise FileExistsError(errno.EEXIST, NAME_TAKEN)
        for number in range(1, SUFFIXES + 1):
            other = b"%b.%d" % (name, number)
            if len(other) > PART_LIMIT:
                raise OSError(errno.ENAMETOOLONG, f"{NAME_TAKEN}, and it is too long for a suffix")
            try:
                self._give(written, folder, other)
                return other
            except FileExistsError:
                if self._is_there(written, other):
                    return other
        raise FileExistsError(errno.EEXIST, f"{SUFFIXES} more files of that name are there")

    def _is_there(self, written: Written, name: bytes) -> bool:
        """Whether what has a name is the same file. Then the new one is removed."""
        if not self._same:
            return False
        parts = (*written.parts[:-1], name)
        try:
            status = self._folders.status(parts)
            # As the file system has kept its time, which may be to the second.
            ours = os.fstat(written.temporary.fd)
            if status is None or (status.st_size, status.st_mtime_ns) != (ours.st_size, ours.st_mtime_ns):
                return False
            fd = self._folders.open_file(parts)
            try:
                if not have_same_bytes(fd, written.temporary.fd, written.size, self._folders.check_wanted):
                    return False
            finally:
                os.close(fd)
            written.temporary.remove(self._folders)
            return True
        except OSError as error:
            # It may well be, and must not get another name for that, nor for a session that is over.
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ECANCELED):
                raise
        return False

    def _existing_file(self, written: Written) -> os.stat_result | None:
        """
        :raises OSError: when something else than a file has the name.
        """
        status = self._folders.status(written.parts)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise FileExistsError(errno.EEXIST, f"{kind_of(status.st_mode)} of that name is there")
        return status

    def _replaced(self, written: Written, folder: int) -> bytes:
        name = written.parts[-1]
        if written.temporary.name is None:
            temporary = random_name(name, secrets.token_hex(4))
            self._give(written, folder, temporary)
            written.temporary.name = temporary
        file = written.temporary
        assert file.name is not None
        # Else two of them could both have replaced the same file, and count its room as free.
        with _turn_of(folder, name):
            status = self._existing_file(written)
            if status is not None:
                os.fchmod(file.fd, 0o600)
                # Who may read it may run it, if anybody may.
                mode = status.st_mode & ~0o111
                if written.executable:
                    mode |= (mode & 0o444) >> 2
                take_over(file.fd, os.stat_result((mode, *status[1:10])))
            file.expect_name(folder)
            os.replace(file.name, name, src_dir_fd=folder, dst_dir_fd=folder)
        file.name = None
        written.replaced = 0 if status is None else room_of(status)
        return name

    def _give(self, written: Written, folder: int, name: bytes) -> None:
        """
        Give a file its name, if nothing has it.

        :raises OSError: when that can't be done; a ``FileExistsError`` when something has it.
        """
        if written.temporary.name is None:
            try:
                os.link(f"/proc/self/fd/{written.temporary.fd}", name, dst_dir_fd=folder, follow_symlinks=True)
                return
            except OSError as error:
                if error.errno not in _STAYS_NAMELESS:
                    raise
            self._copy(written)
            self._nameless = False
        file = written.temporary
        file.expect_name(folder)
        assert file.name is not None
        give_name(file.name, folder, name)
        file.name = None

    def _copy(self, written: Written) -> None:
        """Let a file without a name have a temporary one, for there is no other way to its own."""
        source = written.temporary
        copy = open_temporary(self._folders, source.parts, written.executable)
        try:
            os.ftruncate(copy.fd, 0)
            for start in range(0, written.size, COPY_STEP):
                write_at(copy.fd, os.pread(source.fd, COPY_STEP, start), start)
            os.utime(copy.fd, ns=(written.mtime, written.mtime))
            if self._sync:
                sync_if_possible(copy.fd)
        except OSError:
            copy.remove(self._folders)
            raise
        source.close()
        written.temporary = copy


def have_same_bytes(fd: int, other: int, size: int, check: Callable[[], None]) -> bool:
    """
    Compare two open files of the same size.

    :param check: called again and again; it may raise to end that.
    :raises OSError: when one of them can't be read.
    """
    for start in range(0, size, COPY_STEP):
        check()
        if os.pread(fd, COPY_STEP, start) != os.pread(other, COPY_STEP, start):
            return False
    return True
