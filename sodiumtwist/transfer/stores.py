"""
Where a server puts what clients send it: one file, a directory of files, a FIFO or device, nowhere.

A *store* opens one *upload* a session, see :mod:`sodiumtwist.transfer.uploads`.
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
from twisted.internet.task import deferLater
from twisted.logger import Logger

from .pipes import may_block
from .uploads import DiscardedUpload, FileUpload, StreamUpload, Upload

#: Seconds between two looks whether a FIFO has got a reader.
READER_POLL = 0.1

#: How many characters of a login the name of its upload has.
LOGIN_LIMIT = 64


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
        if not os.path.exists(self._path):
            _check_writable(os.path.dirname(self._path))
            os.mkdir(self._path, mode=0o700)
        elif not os.path.isdir(self._path):
            raise NotADirectoryError(errno.ENOTDIR, "it is no directory; use --file", self._path)
        _check_writable(self._path)
        self.description = f"the directory {self._path}"

    def open(self, login: str) -> Deferred[Upload]:
        utc = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._wall_clock()))
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", login)[:LOGIN_LIMIT] or "_"
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
        if not may_block(fd):
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
