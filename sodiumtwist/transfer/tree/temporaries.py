"""
Files that have not their name yet: they grow under a temporary one beside it, or have none at all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from contextlib import suppress

from .folders import Folders, Parts
from .names import random_name, temporary_name
from .spelling import look

#: How often a temporary file is opened again that another session has just put in its place or removed.
ATTEMPTS = 8

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

#: Only Linux has files without names.
_NAMELESS: int | None = getattr(os, "O_TMPFILE", None)


class Temporary:
    """
    A file that has not its name yet. Whoever has it must :meth:`close` or :meth:`remove` it.

    :ivar parts: of the path that it is meant for.
    :ivar fd: its descriptor, to read and write. It holds the lock.
    :ivar name: its temporary one; ``None`` when it has none.
    :ivar lasting: whether it is found again under that name.
    """

    __slots__ = ("fd", "lasting", "name", "parts")

    def __init__(self, parts: Parts, fd: int, name: bytes | None, lasting: bool = False) -> None:
        self.parts = parts
        self.fd = fd
        self.name = name
        self.lasting = lasting

    def close(self) -> None:
        """
        Close it. One that has no name is gone then.

        :raises OSError: when it could not be written after all, which some file systems tell only now. It is closed.
        """
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def remove(self, folders: Folders) -> None:
        """Close it, and remove its temporary name, where that is still its own."""
        try:
            if self.fd >= 0 and self.name is not None:
                with suppress(OSError):
                    folder = folders.open(self.parts[:-1])
                    if self.has(self.name, folder):
                        os.unlink(self.name, dir_fd=folder)
        finally:
            with suppress(OSError):
                self.close()

    def expect_name(self, folder: int) -> None:
        """
        Look whether it still has its temporary name.

        :raises OSError: when somebody has put something else there, or nothing.
        """
        if self.name is None or not self.has(self.name, folder):
            raise OSError(errno.ESTALE, "its temporary file was swapped meanwhile")

    def has(self, name: bytes, folder: int) -> bool:
        """
        Tell whether it is what has a name in a folder. Somebody may have put something else there.

        :raises OSError: when nothing has it.
        """
        ours, found = os.fstat(self.fd), look(name, folder)
        return (ours.st_ino, ours.st_dev) == (found.st_ino, found.st_dev)


def open_nameless(folders: Folders, parts: Parts, executable: bool) -> Temporary | None:
    """
    Make a file that has no name yet, and leaves nothing behind when it gets none.

    :param parts: of the path that it is meant for.
    :return: ``None`` where the system or the file system has no such files.
    :raises OSError: when it can't be made.
    """
    if _NAMELESS is None:
        return None
    flags = _NAMELESS | os.O_RDWR | os.O_CLOEXEC
    mode = 0o700 if executable else 0o600
    try:
        try:
            fd = os.open(b".", flags, mode, dir_fd=folders.open(parts[:-1]))
        except (FileNotFoundError, PermissionError):
            # So is said of a folder that was removed. Perhaps another one is there.
            folders.forget(parts[:-1])
            fd = os.open(b".", flags, mode, dir_fd=folders.open(parts[:-1]))
    except OSError as error:
        # EISDIR comes from systems that do not know the flag, and EINVAL from some file systems.
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP, errno.EISDIR, errno.EINVAL):
            return None
        raise
    return Temporary(parts, fd, None)


def open_temporary(folders: Folders, parts: Parts, executable: bool) -> Temporary:
    """
    Open the temporary file that a path has, or make it. When another session has it, or something is in its place that
    is not ours alone, one with a random name is made.

    :param parts: of the path that it is meant for.
    :return: what is there may have bytes in it already.
    :raises OSError: when it can't be opened or made.
    """
    try:
        return _open_temporary(folders, parts, executable)
    except FileNotFoundError:
        # As above.
        folders.forget(parts[:-1])
        return _open_temporary(folders, parts, executable)


def _open_temporary(folders: Folders, parts: Parts, executable: bool) -> Temporary:
    folder = folders.open(parts[:-1])
    mode = 0o700 if executable else 0o600
    usual = temporary_name(parts[-1])
    for _ in range(ATTEMPTS):
        if not _may_be_ours(usual, folder):
            break
        try:
            fd = os.open(usual, _OPEN, mode, dir_fd=folder)
        except OSError as error:
            # A link, a socket, a folder, another's, swapped in just now. Or it is ours, and was made read-only.
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EACCES, errno.EPERM):
                break
            raise
        found = Temporary(parts, fd, usual, lasting=True)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had the lock before may have renamed or removed it meanwhile.
            if not found.has(usual, folder):
                found.close()
                continue
            if not _is_ours(os.fstat(fd)):
                found.close()
                break
        except FileNotFoundError:
            found.close()
            continue
        except OSError:
            # Another session has it; or there are no locks here, and it can't be told.
            found.close()
            break
        # Some file systems know no modes.
        with suppress(OSError):
            os.fchmod(fd, mode)
        return found
    name = random_name(parts[-1], secrets.token_hex(4))
    fd = os.open(name, _OPEN | os.O_EXCL, mode, dir_fd=folder)
    # Those that remove old ones leave it alone.
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Temporary(parts, fd, name)


def _may_be_ours(name: bytes, folder: int) -> bool:
    """Whether nothing has the name, or a file that we may go on with. To open anything else may have effects."""
    try:
        return _is_ours(look(name, folder))
    except FileNotFoundError:
        return True


def _is_ours(status: os.stat_result) -> bool:
    # With a second name it could be any file of ours, which somebody has put there to be written to.
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """
    Write all of some data.

    :param offset: where in the file.
    :raises OSError: when not all can be written.
    """
    written = os.pwrite(fd, data, offset)
    # It may take a part, as on a disk that is nearly full. The next call then takes more or tells the error.
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], offset + written)


class Written:
    """
    A file of which all is written, and which is not in its place yet.

    :ivar temporary: where it is.
    :ivar parts: the path that it is meant for.
    :ivar size: in bytes.
    :ivar executable: whether its owner may run it.
    :ivar mtime: when it was last written to at its sender, in nanoseconds since the epoch.
    :ivar synced: whether the disk has its bytes.
    :ivar digest: of all its bytes, where it was asked for while it grew; else empty.
    :ivar replaced: how much room the file had taken whose place it has got.
    """

    __slots__ = ("digest", "executable", "mtime", "parts", "replaced", "size", "synced", "temporary")

    def __init__(
        self,
        temporary: Temporary,
        size: int,
        mtime: int,
        executable: bool,
        synced: bool = False,
        digest: bytes = b"",
    ) -> None:
        self.temporary = temporary
        self.parts = temporary.parts
        self.size = size
        self.mtime = mtime
        self.executable = executable
        self.synced = synced
        self.digest = digest
        self.replaced = 0
