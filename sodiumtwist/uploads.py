"""
Where a server puts what clients send it: a file, a directory of files, a FIFO or device, nowhere.

A *store* opens one *upload* a session. An upload takes payloads in order and ends once: by
``finish`` when all of it came, else by ``abandon``. Errors are ``OSError``; with one the upload is
of no more use but to be abandoned.

Files and devices are written in the reactor's thread: handing each payload to another one was
measured to take more time than it saved. Pipes, whose readers may sleep, are waited for.
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
from typing import Any

from twisted.internet.defer import (
    Deferred,
    DeferredLock,
    TimeoutError,
    inlineCallbacks,
    maybeDeferred,
    succeed,
)
from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: Seconds between two looks whether a FIFO has got a reader.
READER_POLL = 0.1


def write_all(fd: int, payloads: list[bytes]) -> None:
    """
    Write to a blocking descriptor until all is written.

    :raises OSError: when it isn't, for instance on a full disk.
    """
    for payload in payloads:
        view = memoryview(payload)
        while view:
            view = view[os.write(fd, view) :]


class Upload:
    """
    One session's upload. Its methods are called one after the other, never while a write is
    under way.

    :ivar size: bytes written so far.
    :ivar one_by_one: whether to write payloads singly, because that can take long.
    """

    size = 0
    one_by_one = False

    def write(self, payloads: list[bytes]) -> Deferred[None]:
        """
        Write behind what came before.

        :return: fires when all is written, that is handed to the operating system, or with an
            ``OSError``.
        """

        def count(_: object) -> None:
            self.size += sum(map(len, payloads))

        return self._write(payloads).addCallback(count)

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        raise NotImplementedError

    def interrupt(self) -> None:
        """Fail a write that waits for a reader."""

    def finish(self) -> str:
        """
        All of it came.

        :return: what became of it, for the log.
        :raises OSError: when it can't be put in its place; abandon it then.
        """
        raise NotImplementedError

    def abandon(self) -> str:
        """
        It broke off.

        :return: what became of it, for the log.
        """
        raise NotImplementedError


class FileUpload(Upload):
    """
    Grows under a temporary name beside its target and takes the target's name at the end.

    :param target: the final path. A file that stands there is replaced, and its mode is kept.
    :raises OSError: when the temporary file can't be made.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        directory, name = os.path.split(target)
        self._temporary = os.path.join(directory, f".{name[:50]}.{secrets.token_hex(4)}.part")
        self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        return maybeDeferred(write_all, self._fd, payloads)

    def finish(self) -> str:
        try:
            os.fchmod(self._fd, os.stat(self._target).st_mode & 0o777)
        except FileNotFoundError:
            pass
        self._close()
        os.replace(self._temporary, self._target)
        return f"{self.size} bytes in {self._target}"

    def abandon(self) -> str:
        partial = f"{self._target}.partial"
        if self._fd >= 0:
            self.size = os.fstat(self._fd).st_size
            self._close()
        try:
            os.replace(self._temporary, partial)
        except FileNotFoundError:
            return f"nothing, as {self._temporary} is gone"
        except OSError as error:
            return f"{self.size} bytes in {self._temporary}, as {partial} cannot be made: {error.strerror}"
        return f"{self.size} bytes in {partial}"

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@implementer(IWriteDescriptor)
class _PipeWriter:
    """
    Writes to a pipe or terminal whose reader may be slow, one payload at a time.

    :param fd: a descriptor that does not block.
    :param patience: seconds in which something must be taken.
    :ivar taken: how many bytes were.
    """

    taken = 0

    def __init__(self, fd: int, reactor: Any, patience: float) -> None:
        self._fd = fd
        self._reactor = reactor
        self._patience = patience
        self._timer: IDelayedCall | None = None
        self._rest = memoryview(b"")
        self._written: Deferred[None] | None = None

    def write(self, payload: bytes) -> Deferred[None]:
        """Fires when all of it is in the pipe, or with an ``OSError``."""
        self._rest = memoryview(payload)
        written = self._written = Deferred()
        self._timer = self._reactor.callLater(self._patience, self.interrupt)
        self._reactor.addWriter(self)
        self.doWrite()
        return written

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "upload"

    def doWrite(self) -> None:
        try:
            if self._rest:
                size = os.write(self._fd, self._rest)
                self.taken += size
                self._rest = self._rest[size:]
                if self._timer is not None:
                    self._timer.reset(self._patience)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(Failure(error))
            return
        if not self._rest:
            self._end(None)

    def interrupt(self) -> None:
        self._end(Failure(OSError(errno.ETIMEDOUT, "its reader takes nothing")))

    def connectionLost(self, reason: Failure) -> None:
        self._end(Failure(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))))

    def _end(self, result: Failure | None) -> None:
        if self._fd < 0:
            return
        written, self._written = self._written, None
        self._stop()
        if written is not None:
            written.callback(result)

    def _stop(self) -> None:
        self._reactor.removeWriter(self)
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def close(self) -> None:
        self._written = None
        self._stop()
        fd, self._fd = self._fd, -1
        os.close(fd)


def _may_block(fd: int) -> bool:
    """Whether somebody must read what is written there."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


class StreamUpload(Upload):
    """
    Goes to a FIFO, a device or standard output as it comes; what was written stays written.

    :param name: what to call the stream.
    :param fd: the descriptor, closed at the end.
    :param reactor: watches pipes, so that a slow reader blocks only this upload.
    :param patience: seconds in which a pipe must take something.
    :param ended: called at the end.
    """

    def __init__(self, name: str, fd: int, reactor: Any, patience: float, ended: Callable[[], None]) -> None:
        self._name = name
        self._fd = fd
        self._ended = ended
        self._pipe: _PipeWriter | None = None
        if _may_block(fd):
            self._pipe = _PipeWriter(fd, reactor, patience)
            self.one_by_one = True
        else:
            os.set_blocking(fd, True)

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        if self._pipe is None:
            return maybeDeferred(write_all, self._fd, payloads)
        return self._pipe.write(b"".join(payloads))

    def interrupt(self) -> None:
        if self._pipe is not None:
            self._pipe.interrupt()

    def finish(self) -> str:
        self._close()
        return f"{self.size} bytes to {self._name}"

    def abandon(self) -> str:
        self._close()
        return f"{self.size} bytes to {self._name}, where they stay"

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if self._pipe is not None:
                self.size = self._pipe.taken
                self._pipe.close()
            else:
                os.close(fd)
        finally:
            self._ended()


class DiscardedUpload(Upload):
    """Goes nowhere."""

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        return succeed(None)

    def finish(self) -> str:
        return f"{self.size} bytes, discarded"

    abandon = finish


class Store:
    """
    Opens uploads; this one's go nowhere.

    :ivar description: where uploads go, for the log.
    :ivar keeps: whether anything becomes of them.
    """

    keeps = False
    description = "nowhere: they are acknowledged and discarded"

    def open(self, login: str) -> Deferred[Upload]:
        """
        Begin an upload.

        :param login: who sends it.
        :return: fires with the upload, or with an ``OSError``; may be cancelled.
        """
        return succeed(DiscardedUpload())


class FileStore(Store):
    """
    One regular file: each upload replaces it whole, the last one to end stays.

    :param path: the file; links are followed now, so that the file they name is replaced.
    """

    keeps = True

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)
        self.description = f"the file {self._path}"

    def open(self, login: str) -> Deferred[Upload]:
        return maybeDeferred(FileUpload, self._path)


class DirectoryStore(Store):
    """
    A file of its own for each upload, named ``<UTC time>-<login>-<unique>``.

    :param path: the directory; made with mode 0700 when it alone is missing.
    :param wall_clock: seconds since the epoch.
    :raises OSError: when there is no such directory and it can't be made, or it can't be written to.
    """

    keeps = True

    def __init__(self, path: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._path = os.path.realpath(path)
        self._wall_clock = wall_clock
        if not os.path.isdir(self._path):
            os.mkdir(self._path, mode=0o700)
        _check_writable(self._path)
        self.description = f"the directory {self._path}"

    def open(self, login: str) -> Deferred[Upload]:
        utc = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._wall_clock()))
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", login)[:64] or "_"
        name = f"{utc}-{safe}-{secrets.token_hex(4)}"
        return maybeDeferred(FileUpload, os.path.join(self._path, name))


class StreamStore(Store):
    """
    A FIFO, a device or an inherited descriptor. One upload at a time; the others wait their turn.

    A FIFO is opened for each upload, once it has a reader, and closed after it, so that the reader
    sees where the upload ends.

    :param name: the path, or what to call the descriptor.
    :param reactor: watches pipes and looks for a FIFO's reader.
    :param patience: seconds to wait for an upload before, for a FIFO's reader, and for the reader
        to take something, before the upload fails.
    :param fd: an open descriptor to write to in place of opening ``name``; it is kept open.
    """

    _log = Logger()
    keeps = True

    def __init__(self, name: str, reactor: Any, patience: float, fd: int | None = None) -> None:
        self._name = name
        self._reactor = reactor
        self._patience = patience
        self._fd = fd
        self._turn = DeferredLock()
        self.description = name

    @inlineCallbacks
    def open(self, login: str) -> Generator[Deferred[Any], Any, Upload]:
        if self._turn.locked:
            self._log.info("an upload of {login} waits for {name}", login=ascii(login), name=self._name)
        try:
            yield self._turn.acquire().addTimeout(self._patience, self._reactor)
        except TimeoutError:
            raise OSError(errno.EBUSY, f"another upload held it for {self._patience:g} seconds", self._name) from None
        try:
            fd = yield self._open_stream()
            return StreamUpload(self._name, fd, self._reactor, self._patience, self._turn.release)
        except BaseException:
            self._turn.release()
            raise

    @inlineCallbacks
    def _open_stream(self) -> Generator[Deferred[Any], Any, int]:
        if self._fd is not None:
            return self._reopen(self._fd)
        flags = os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK
        if not stat.S_ISFIFO(os.stat(self._name).st_mode):
            return os.open(self._name, flags)
        give_up = self._reactor.seconds() + self._patience
        waits = False
        while True:
            try:
                return os.open(self._name, flags)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            if self._reactor.seconds() >= give_up:
                raise OSError(errno.ENXIO, f"no reader within {self._patience:g} seconds", self._name)
            if not waits:
                waits = True
                self._log.info("{name} has no reader yet; an upload waits for one", name=self._name)
            yield deferLater(self._reactor, READER_POLL)

    def _reopen(self, fd: int) -> int:
        """Another descriptor for what is open; where it may block, one that blocks for nobody else."""
        if not _may_block(fd):
            return os.dup(fd)
        try:
            return os.open(f"/dev/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:  # a socket, or a system without such names
            duplicate = os.dup(fd)
            os.set_blocking(duplicate, False)
            return duplicate


def _check_writable(directory: str) -> None:
    os.stat(directory)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "files can't be made there", directory)


def open_store(
    reactor: Any, patience: float, file: str | None = None, directory: str | None = None, stdout: int = 1
) -> Store:
    """
    Make the store that the command line asks for.

    :param reactor: for streams.
    :param patience: seconds to wait for a FIFO's reader.
    :param file: a path, or ``-`` for the descriptor ``stdout``.
    :param directory: a path.
    :param stdout: taken over for ``-``: what is written to that descriptor later goes to standard error.
    :raises OSError: when the path can't be used.
    """
    if directory is not None:
        return DirectoryStore(directory)
    if file is None:
        return Store()
    if not file:
        raise OSError(errno.ENOENT, "the name is empty", file)
    if file == "-":
        if sys.__stdout__ is None:
            raise OSError(errno.EBADF, "standard output is closed", file)
        # The log of a server in the foreground goes to standard output, where it must not mix with uploads.
        data = os.dup(stdout)
        os.dup2(2 if sys.__stderr__ is not None else os.open(os.devnull, os.O_WRONLY), stdout)
        return StreamStore("standard output", reactor, patience, data)
    try:
        mode = os.stat(file).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory; use --directory", file)
    if not stat.S_ISREG(mode):
        return StreamStore(os.path.abspath(file), reactor, patience)
    _check_writable(os.path.dirname(os.path.realpath(file)))
    return FileStore(file)
