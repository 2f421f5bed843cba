"""
Files that get a name, or take the place of another one under it: whose they are, who may use them, and when the disk
has them.

The order matters: a file is synced before it takes its name, and the folder after it. Else a loss of power can leave
an empty file under that name, in place of what stood there before.

This imports no Twisted, so that commands that only write such a file start at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..core.errors import LocalProtocolError

#: Seconds to wait until no other program has the directory of a file locked. To replace a file takes some hundredths.
LOCK_PATIENCE = 5.0

#: Seconds between two tries.
LOCK_POLL = 0.05

#: What a device or a folder says that can't be synced.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)


def status_of_replaced(path: str) -> os.stat_result | None:
    """
    Look at the file that another one will replace.

    :param path: which the new file will get.
    :return: ``None`` when no regular file is there. What a link, a directory or a device says of owner and mode is not
        meant for what takes its place.
    :raises OSError: when that can't be found out.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def take_over(fd: int, replaced: os.stat_result | None, most: int = 0o777) -> str | None:
    """
    Give a new file the owner, group and mode of the one that it will replace, as far as that may be done. Nobody can
    do more with it than with the old one, but for whoever writes it. Access lists and hard links are not kept.

    :param fd: of the new file, which has mode 0600 and is not yet under its name.
    :param replaced: the old file, see :func:`status_of_replaced`; with ``None`` the new file stays as it is.
    :param most: the bits that a mode can have at most. Those that change users are never kept.
    :return: what could not be kept, in words; ``None`` when all was.
    :raises OSError: when the new file can't be looked at, or its mode not be set.
    """
    if replaced is None:
        return None
    mode = replaced.st_mode & 0o777 & most
    # Others than root may give a file to their own groups alone.
    if os.fstat(fd).st_gid != replaced.st_gid:
        _give(fd, -1, replaced.st_gid)
    group = os.fstat(fd).st_gid
    if group != replaced.st_gid:
        # Who is in the new group was among the others before, and who was in the old group may be among them now.
        shared = (mode >> 3) & mode & 0o7
        mode = (mode & 0o700) | shared << 3 | shared
    # Before it has another owner: only root may change it then, and meanwhile nobody can do more than in the end.
    os.fchmod(fd, mode)
    if os.fstat(fd).st_uid != replaced.st_uid:
        _give(fd, replaced.st_uid, -1)
    owner = os.fstat(fd).st_uid
    lost = []
    if owner != replaced.st_uid:
        lost.append(f"owner {replaced.st_uid}, now {owner}")
    if group != replaced.st_gid:
        lost.append(f"group {replaced.st_gid}, now {group}")
    return f"{' and '.join(lost)}, mode {mode:03o}" if lost else None


def _give(fd: int, owner: int, group: int) -> None:
    # It may not be done, or the file system knows no owners. What came of it is looked at afterwards.
    with suppress(OSError):
        os.fchown(fd, owner, group)


def may(path: str, what: int) -> bool:
    """
    Tell whether this process may do something with a file, by its effective user where the system can tell: it may have
    changed that to the one that writes later.

    :param path: of the file or folder.
    :param what: the sum of ``os.R_OK``, ``os.W_OK`` and ``os.X_OK``.
    """
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def sync_if_possible(fd: int) -> None:
    """
    Wait until the disk has what was written, where there is a disk.

    :param fd: of a file, a folder or a device.
    :raises OSError: when the disk can't take it.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync_directory(path: str) -> None:
    """
    Wait until the disk has the names in a folder.

    :param path: of the folder; empty for the one where we are.
    :raises OSError: when the disk can't take them.
    """
    try:
        fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        # Who may make files in a folder need not be allowed to read it. This takes longer, and does it as well.
        os.sync()
        return
    try:
        sync_if_possible(fd)
    finally:
        os.close(fd)


@contextmanager
def locked_folder(path: str) -> Iterator[None]:
    """
    Let only one program at a time replace a file in a folder.

    :param path: of the file, which need not exist.
    :raises LocalProtocolError: when another program has the directory locked for too long.
    """
    directory = os.path.dirname(path) or "."
    # The directory is locked, not the file. The file is replaced, so two programs could each have locked another one.
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                # Without waiting, which would have no end: whoever can read the directory can lock it.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LocalProtocolError(
                        f"{path} was not changed, for another program has its folder locked for {LOCK_PATIENCE:g} "
                        f"seconds; see which: fuser -v {shlex.quote(directory)}"
                    ) from None
            time.sleep(LOCK_POLL)
        yield
    finally:
        # This ends the lock.
        os.close(fd)


def replace_text(path: str, text: str, most: int = 0o600, before: Callable[[], object] = lambda: None) -> str | None:
    """
    Put a new file in the place of the old one, all of it or nothing. It has the old one's owner, and its mode; a first
    one has mode 0600.

    :param most: the bits that the mode can have at most.
    :param before: called when all is ready but the new file's name; what it raises leaves the old file as it is.
    :return: what of the old one it could not keep; ``None`` when it kept all.
    :raises OSError: when it can't be written. The old file is then as it was.
    """
    # Under another name first, so that no server ever reads half of it.
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(6)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(text.encode())
            file.flush()
            # When root changes a server's file, the server must still be able to read it.
            lost = take_over(fd, status_of_replaced(path), most)
            # Before it gets its name: else, when the power goes, the name may stand for an empty file.
            os.fsync(fd)
        before()
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return lost
