"""
Where a client reads what it sends: a regular file, a FIFO, standard input.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from ..protocol.sockets import CHUNK_SIZE

Deliver = Callable[[bytes], None]
Ended = Callable[["OSError | None"], None]


class Source:
    """
    Reads a descriptor in chunks and hands them on. It reads nothing while it is paused.

    :param fd: what to read; :meth:`close` closes it.
    :ivar size: how many bytes there are to read, or ``None`` when that can't be known.
    """

    size: int | None = None

    _deliver: Deliver
    _ended: Ended
    _reading = False
    #: How many bytes a regular file must still have.
    _size_left = 0
    #: Whether the reactor tells when there is something to read.
    _waits = False

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def start(self, deliver: Deliver, ended: Ended) -> None:
        """
        Say what to do with the chunks. Nothing is read before :meth:`resume`.

        :param deliver: called with each chunk, of 1 to 130954 bytes.
        :param ended: called once, with ``None`` at the end of file or with the error of reading.
        """
        self._deliver, self._ended = deliver, ended

    def resume(self) -> None:
        """Read until :meth:`pause` or the end."""
        raise NotImplementedError

    def pause(self) -> None:
        """Read nothing until :meth:`resume`."""
        self._reading = False

    def close(self) -> None:
        """Close the descriptor. To call this again does nothing."""
        self.pause()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _read_chunk(self) -> None:
        try:
            chunk = os.read(self._fd, CHUNK_SIZE)
        except OSError as error:
            # A pipe has nothing yet, and the reactor will tell. Anything else would be asked again without end.
            if self._waits and isinstance(error, BlockingIOError):
                return
            self.pause()
            self._ended(error)
            return
        self._size_left -= len(chunk)
        if chunk:
            self._deliver(chunk)
        else:
            self.pause()
            # A file that lost bytes must not be taken for whole. One that grew is sent as it is now.
            cut_short = self._size_left > 0
            self._ended(OSError(errno.EIO, "the file was cut short while it was read") if cut_short else None)


class FileSource(Source):
    """Something that can be read without waiting for anybody: a regular file, most devices."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            # Standard input may be a file that another program has read in part.
            self.size = self._size_left = max(0, status.st_size - os.lseek(fd, 0, os.SEEK_CUR))

    def resume(self) -> None:
        # What a chunk brings about may call this again; the loop below goes on by itself.
        if self._reading:
            return
        self._reading = True
        while self._reading:
            self._read_chunk()


@implementer(IReadDescriptor)
class PipeSource(Source):
    """
    Something whose writer may be slow: a FIFO, a pipe, a terminal.

    :param fd: what to read.
    :param reactor: tells when there is something to read.
    """

    _waits = True

    def __init__(self, fd: int, reactor: IReactorFDSet) -> None:
        super().__init__(fd)
        self._reactor = reactor

    def resume(self) -> None:
        self._reading = True
        self._reactor.addReader(self)

    def pause(self) -> None:
        super().pause()
        self._reactor.removeReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "source"

    def doRead(self) -> None:
        self._read_chunk()

    def connectionLost(self, reason: Failure) -> None:
        """The writer closed, and the reactor no longer watches. The pipe may still hold something: read to the end."""
        if not reason.check(ConnectionDone, ConnectionLost):
            # What was read is lost to an error in what takes it. So this is not the end of all.
            self.pause()
            self._ended(OSError(errno.EIO, reason.getErrorMessage()))
            return
        self._read_chunk()
        if self._reading:
            self._reactor.addReader(self)


def open_source(path: str, reactor: IReactorFDSet) -> Source:
    """
    Open what is to be sent.

    :param path: a file, FIFO or device, or ``-`` for standard input.
    :param reactor: for what has to be waited for.
    :raises OSError: when it can't be opened or is a directory.
    """
    # Descriptor 0 may then be something else that was opened since.
    if path == "-" and sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed", path)
    # A blocking open would wait for the writer of a FIFO. Standard input stays as it is, for others share it: it is
    # read only when the reactor says so, which does not block. O_NOCTTY: a terminal that is sent must not become ours.
    fd = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd):
            return PipeSource(fd, reactor)
        return FileSource(fd)
    except OSError:
        os.close(fd)
        raise
