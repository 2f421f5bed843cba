"""
Where a server puts what clients send it: one file, a directory of files, a FIFO or device, nowhere.

A *store* opens an *upload* for each session that sends one, see :mod:`sodiumtwist.transfer.uploads`.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, fail, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.task import deferLater

from ..admission.replacing import may, sync_directory
from ..admission.summed_lines import SummedLines
from ..core.errors import LocalProtocolError
from ..describe.log import Logger
from ..protocol.clock import steady_clock
from .disk import Disk
from .partials import Partials
from .pipes import may_block
from .shared_turn import SharedTurn
from .turns import Turn, Turns
from .uploads import DiscardedUpload, FileUpload, StreamUpload, Upload

#: Seconds after which a FIFO is tried again when it has no reader. Nothing tells when one comes.
READER_POLL = 0.1

#: How many characters of the login stand in the name of its upload: file names have a limit.
LOGIN_LIMIT = 64

#: What the names match of what a directory keeps of broken uploads.
PARTIAL_NAME = rf"\d{{8}}T\d{{6}}Z-(?P<login>[A-Za-z0-9_-]{{1,{LOGIN_LIMIT}}})-[0-9a-f]{{8}}\.partial"

#: The largest upload in bytes, where nothing else is said: larger than what people send, smaller than any endless one.
MAX_UPLOAD = 1 << 40


class Store:
    """
    Opens uploads. This one discards them; the subclasses do not.

    :ivar description: where uploads go, for the log.
    :ivar keeps: whether uploads are kept anywhere.
    :ivar takes: whether there is a place for them; else each is refused.
    :ivar max_upload: how many bytes an upload may have. A larger one is broken off, and nothing of it is kept.
    :ivar lines: what may be logged of uploads that wait; ``None`` for all. A server's factory sets it to its own.
    :ivar on_stored: called with login, path, ``None`` and size when an upload has become a file, and is in its place;
        ``None`` when nobody is to know.
    """

    keeps = False
    takes = True
    max_upload = MAX_UPLOAD
    lines: SummedLines | None = None
    on_stored: Callable[[str, str, None, int], object] | None = None
    description = "nowhere: they are acknowledged and discarded"

    def open(self, login: str) -> Deferred[Upload]:
        """
        Begin an upload.

        :param login: who sends it.
        :return: fires with the upload; fails with an ``OSError``. It may be cancelled.
        """
        return succeed(DiscardedUpload())

    def _stored(self, login: str) -> Callable[[str, int], object] | None:
        """Make what an upload calls that has become a file."""
        on_stored = self.on_stored
        return None if on_stored is None else lambda path, size: on_stored(login, path, None, size)


class ClosedStore(Store):
    """No place for uploads: each of them is refused."""

    keeps = True  # nothing is thrown away
    takes = False
    description = "nowhere: they are refused"

    def open(self, login: str) -> Deferred[Upload]:
        return fail(OSError(errno.EROFS, "this server takes no files"))


class FileStore(Store):
    """
    One regular file. Each upload replaces it as a whole; of several at once, the last one to end stays.

    :param path: the file. A link is followed now, so that the file that it names is replaced, and not the link.
    :param disk: how the disk is treated.
    """

    keeps = True

    def __init__(self, path: str, disk: Disk | None = None) -> None:
        self._path = os.path.realpath(path)
        self._disk = disk or Disk()
        self._room = self._disk.room(os.path.dirname(self._path))
        self.description = f"the file {self._path}"

    def open(self, login: str) -> Deferred[Upload]:
        return maybeDeferred(FileUpload, self._path, self._disk, self._room, stored=self._stored(login))


class DirectoryStore(Store):
    """
    A new file for each upload, named ``<UTC time>-<login>-<unique>``.

    :param path: the directory. When it is missing it is made, with mode 0700, but not the one above it.
    :param wall_clock: returns seconds since the epoch.
    :param disk: how the disk is treated.
    :raises OSError: when the directory can't be made or written to, or is no directory.
    """

    keeps = True

    def __init__(self, path: str, wall_clock: Callable[[], float] = time.time, disk: Disk | None = None) -> None:
        self._path = os.path.realpath(path)
        self._wall_clock = wall_clock
        self._disk = disk or Disk()
        self._room = self._disk.room(self._path)
        self._partials = Partials(self._path, PARTIAL_NAME)
        if not os.path.exists(self._path):
            _check_writable(os.path.dirname(self._path))
            os.mkdir(self._path, mode=0o700)
            # Or the directory could be lost with all that was confirmed in it.
            if self._disk.sync:
                sync_directory(os.path.dirname(self._path))
        elif not os.path.isdir(self._path):
            raise NotADirectoryError(errno.ENOTDIR, "it is no directory; use --file", self._path)
        _check_writable(self._path)
        self.description = f"the directory {self._path}"

    def open(self, login: str) -> Deferred[Upload]:
        utc = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._wall_clock()))
        # Logins may hold slashes, dots and worse.
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", login)[:LOGIN_LIMIT] or "_"
        name = f"{utc}-{safe}-{secrets.token_hex(4)}"
        path = os.path.join(self._path, name)
        return maybeDeferred(FileUpload, path, self._disk, self._room, self._partials, self._stored(login))


class StreamStore(Store):
    """
    A FIFO, a device or a descriptor that was inherited. One upload at a time; the others wait for their turn.

    A FIFO is opened anew for each upload, when it has a reader, and closed after it. So the reader
    sees where the upload ends.

    :param name: the path, or what the log calls the descriptor.
    :param reactor: watches pipes, and has the clock.
    :param patience: seconds after which an upload fails, for each of these: its turn does not come, a FIFO has no
        reader, the reader takes nothing.
    :param fd: an open descriptor to write to, in place of opening ``name``. It stays open.
    :param disk: how a disk is treated, where there is one behind the stream.
    :param shared: the turn of this process among those that write there, too; ``None`` where there are none.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        reactor: Any,
        patience: float,
        fd: int | None = None,
        disk: Disk | None = None,
        shared: SharedTurn | None = None,
    ) -> None:
        # What goes there is gone, whatever the option was called that named it.
        self.keeps = not _keeps_nothing(name if fd is None else fd)
        self._name = name
        self._reactor = reactor
        self._clock = steady_clock(reactor)
        self._patience = patience
        self._fd = fd
        self._disk = disk or Disk()
        self._shared = shared
        elsewhere = None if shared is None else shared.waiting_elsewhere
        self._turns = Turns(name, self._clock, patience, elsewhere)
        # Standard output may be a file, which fills a disk as any other does.
        self._room = None
        if fd is not None and stat.S_ISREG(os.fstat(fd).st_mode):
            self._room = self._disk.room(fd)
        self.description = name if self.keeps else f"to {name}: they are acknowledged and discarded"

    @inlineCallbacks
    def open(self, login: str) -> Generator[Deferred[Any], Any, Upload]:
        if self._turns.taken:
            self._tell("an upload of {login} waits for {name}", login=repr(login))
        turn = yield self._turns.take(login)
        release = self._turns.release
        try:
            if self._shared is not None:
                yield self._shared.take(self._name, self._clock, self._patience)
                release = self._release_both
            fd = yield self._open_stream()
            return StreamUpload(self._name, fd, self._reactor, self._patience, turn, release, self._disk, self._room)
        # Also when it is cancelled, or the next upload would wait in vain.
        except BaseException:
            release(turn)
            raise

    def _release_both(self, turn: Turn) -> None:
        assert self._shared is not None
        self._shared.release()
        self._turns.release(turn)

    def _tell(self, line: str, **fields: object) -> None:
        if self.lines is None or self.lines.write(f"uploads wait for {self._name}"):
            self._log.info(line, event="upload_waits", name=self._name, **fields)

    @inlineCallbacks
    def _open_stream(self) -> Generator[Deferred[Any], Any, int]:
        if self._fd is not None:
            return self._reopen(self._fd)
        # Without waiting for a reader, which would stop the reactor; and a terminal must not become ours.
        flags = os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK
        if not stat.S_ISFIFO(os.stat(self._name).st_mode):
            return self._open_now(flags)
        give_up = self._clock.seconds() + self._patience
        waits = False
        while True:
            try:
                return self._open_now(flags)
            except OSError as error:
                # ENXIO says: no reader yet.
                if error.errno != errno.ENXIO:
                    raise
            if self._clock.seconds() >= give_up:
                raise OSError(errno.ENXIO, f"no reader within {self._patience:g} seconds", self._name)
            if not waits:
                waits = True
                self._tell("{name} has no reader yet; an upload waits for one")
            yield deferLater(self._clock, READER_POLL)

    def _open_now(self, flags: int) -> int:
        fd = os.open(self._name, flags)
        # As a shell makes one that writes to a FIFO that was removed. Written in place, it could keep the end of what
        # was longer, and nobody would read it as it comes.
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(
                errno.EEXIST, "a regular file has taken its place; remove it, or start the server again", self._name
            )
        return fd

    def _reopen(self, fd: int) -> int:
        """
        Make another descriptor for what is open, since an upload closes its own at the end. Where writing may block,
        the new one does not.
        """
        if not may_block(fd):
            return os.dup(fd)
        try:
            # Opened anew, not duplicated: duplicates share whether they block, and other programs that have this pipe
            # rely on it.
            return os.open(f"/dev/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        # A socket, or a system without such names: then all of them share it.
        except OSError:
            duplicate = os.dup(fd)
            os.set_blocking(duplicate, False)
            return duplicate


#: Devices that take everything and keep nothing.
_KEEP_NOTHING = (os.devnull, "/dev/zero", "/dev/random", "/dev/urandom")


def _keeps_nothing(stream: str | int) -> bool:
    for device in _KEEP_NOTHING:
        # Whatever is wrong with it, the first upload will tell.
        with suppress(OSError):
            status = os.stat(stream)
            # By number: it may be a copy elsewhere, in a container for instance.
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(device).st_rdev:
                return True
    return False


def _check_writable(directory: str) -> None:
    """
    Check that files can be made in a directory, so that a server fails at its start and not at its first upload.
    """
    # It says when there is no such directory; access() would not.
    os.stat(directory)
    if not may(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "files can't be made there", directory)


def _check_replaceable(path: str) -> None:
    """Check that a file can be replaced by another one under its name."""
    directory = os.path.dirname(path)
    _check_writable(directory)
    above = os.stat(directory)
    # As in /tmp: there only their owners may replace files.
    if above.st_mode & stat.S_ISVTX and os.path.exists(path):
        if os.geteuid() not in (0, above.st_uid, os.stat(path).st_uid):
            raise PermissionError(errno.EPERM, "only its owner can replace it in such a directory", path)


def open_store(
    reactor: Any,
    patience: float,
    file: str | None = None,
    directory: str | None = None,
    stdout: int = 1,
    discard: bool = False,
    disk: Disk | None = None,
    shared: SharedTurn | None = None,
) -> Store:
    """
    Make the store that the command line asks for.

    :param reactor: for streams.
    :param patience: in seconds, see :class:`StreamStore`.
    :param file: a path, or ``-`` for the descriptor ``stdout``.
    :param directory: a path.
    :param stdout: for ``-`` uploads take this descriptor over. What is written to it later goes to standard error.
    :param discard: whether to keep nothing. Nobody else throws uploads away by leaving something out.
    :param disk: how the disk is treated.
    :param shared: the turn of this process among those that write to the same FIFO or device.
    :raises OSError: when the path can't be used.
    :raises LocalProtocolError: unless exactly one of ``file``, ``directory`` and ``discard`` is given.
    """
    if (file is not None) + (directory is not None) + discard != 1:
        raise LocalProtocolError("uploads go to a file, into a directory, or are discarded; choose one of them")
    if discard:
        return Store()
    if directory is not None:
        return DirectoryStore(directory, disk=disk)
    assert file is not None
    if not file:
        raise OSError(errno.ENOENT, "the name is empty", file)
    if file == "-":
        if sys.__stdout__ is None:
            raise OSError(errno.EBADF, "standard output is closed", file)
        # The log of a server in the foreground goes to standard output, and must not mix with uploads. Without a
        # standard error its number may be something else by now, so the log goes to /dev/null.
        data = os.dup(stdout)
        if sys.__stderr__ is not None:
            os.dup2(2, stdout)
        else:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stdout)
            os.close(null)
        return StreamStore("standard output", reactor, patience, data, disk)
    try:
        mode = os.stat(file).st_mode
    # The first upload makes the file.
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory; use --directory", file)
    if not stat.S_ISREG(mode):
        if not may(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)
        # Absolute, since a daemon changes its directory before the first upload.
        return StreamStore(os.path.abspath(file), reactor, patience, disk=disk, shared=shared)
    _check_replaceable(os.path.realpath(file))
    return FileStore(file, disk)
