"""
Where a client reads what it sends: a regular file, a FIFO, standard input.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.errors import LocalProtocolError
from ..protocol.sockets import CHUNK_SIZE
from .pipes import has_left

Deliver = Callable[[bytes], None]
Ended = Callable[["OSError | None"], None]


class Source:
    """
    Reads a descriptor in chunks and hands them on. It reads nothing while it is paused.

    :param fd: what to read; :meth:`close` closes it.
    :ivar size: how many bytes there are to read, or ``None`` when that can't be known.
    :ivar chunk_size: how many bytes are read at once, at most.
    :ivar grown: by how many bytes a file had grown when all of :attr:`size` was read; negative when it had shrunk.
        What was added is not read.
    """

    size: int | None = None
    chunk_size = CHUNK_SIZE
    grown = 0

    _deliver: Deliver
    _ended: Ended
    _started = False
    _reading = False
    #: Whether the reactor tells when there is something to read.
    _waits = False

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def start(self, deliver: Deliver, ended: Ended) -> None:
        """
        Say what to do with the chunks. Nothing is read before :meth:`resume`.

        :param deliver: called with each chunk, of 1 to :attr:`chunk_size` bytes.
        :param ended: called once, with ``None`` at the end of file or with the error of reading.
        """
        self._deliver, self._ended, self._started = deliver, ended, True

    def resume(self) -> None:
        """
        Read until :meth:`pause` or the end. When it is closed, nothing happens.

        :raises LocalProtocolError: before :meth:`start`.
        """
        if not self._started:
            raise LocalProtocolError("nobody has said what to do with what is read; call start() first")
        if self._fd >= 0 and not self._reading:
            self._reading = True
            self._read_on()

    def _read_on(self) -> None:
        """Read, or have the reactor tell when there is something."""
        raise NotImplementedError

    def pause(self) -> None:
        """Read nothing until :meth:`resume`."""
        self._reading = False

    def is_left(self) -> bool:
        """Tell whether nobody is there any more who could write to it: what it has now is all."""
        return self._fd >= 0 and has_left(self._fd)

    def close(self) -> None:
        """Close the descriptor. To call this again does nothing."""
        self.pause()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _read_chunk(self) -> None:
        try:
            chunk = self._read()
        except OSError as error:
            # A pipe has nothing yet, and the reactor will tell. Anything else would be asked again without end.
            if self._waits and isinstance(error, BlockingIOError):
                return
            self.pause()
            self._ended(error)
            return
        if chunk:
            self._deliver(chunk)
        else:
            self.pause()
            self._at_end()

    def _at_end(self) -> None:
        """Nothing is left to read."""
        self._ended(self._wrong_at_end())

    def _read(self) -> bytes:
        """Read a chunk; none at the end."""
        return os.read(self._fd, self.chunk_size)

    def _wrong_at_end(self) -> OSError | None:
        """Tell why what was read is not all of it."""
        return None


class FileSource(Source):
    """
    Something that can be read without waiting for anybody: most devices, and files of the system that have no size.
    """

    def _read_on(self) -> None:
        # What a chunk brings about may call resume() again, which does nothing then; this goes on by itself.
        while self._reading:
            self._read_chunk()


class RegularSource(FileSource):
    """
    A regular file. When it grows, reading stops at the size that it has now: as fast as it is sent, it would never
    end. When its size stays, the end of the file counts: the sizes of ``/sys`` and ``/proc`` are nominal.

    When somebody writes to it in place meanwhile, what was read may be of two versions, so the end is an error. Another
    file that takes its name does no harm: the one that is open stays as it is.

    :param path: its name, if it has one.
    """

    def __init__(self, fd: int, path: str | None = None) -> None:
        super().__init__(fd)
        self._path = path
        self._at_first = os.fstat(fd)
        # Standard input may be a file that another program has read in part.
        self._start = os.lseek(fd, 0, os.SEEK_CUR)
        self._left = max(0, self._at_first.st_size - self._start)
        if self._at_first.st_size:
            self.size = self._left
        #: What was read first.
        self._beginning = b""

    def _read(self) -> bytes:
        if self._left:
            chunk = os.read(self._fd, min(self.chunk_size, self._left))
            self._left -= len(chunk)
            if not self._beginning:
                self._beginning = chunk
            return chunk
        # Most of /proc has more than its size says, which is 0. What has another size by now has only grown.
        chunk = os.read(self._fd, self.chunk_size)
        return chunk if chunk and os.fstat(self._fd).st_size == self._at_first.st_size else b""

    def _wrong_at_end(self) -> OSError | None:
        try:
            now = os.fstat(self._fd)
            growth = now.st_size - self._at_first.st_size
            # One that lost bytes must not be taken for whole. One that ends early and has its size still never had
            # more.
            if self._left and growth:
                return OSError(errno.EIO, "the file was cut short while it was read")
            if self._is_rewritten(now):
                return OSError(
                    errno.EIO,
                    "the file was written to while it was read, so what was sent may be of two versions; send it again",
                )
        except OSError as error:
            return error
        self.grown = growth
        return None

    def _is_rewritten(self, now: os.stat_result) -> bool:
        """Tell whether what was read may be of two versions."""
        before = self._at_first
        if now.st_size != before.st_size:
            # A log that grows, or is emptied when it was read, has its beginning still, as far as it goes. What was
            # read first is the oldest that was read: if another version came meanwhile, it most likely shows there.
            beginning = os.pread(self._fd, len(self._beginning), self._start)
            return beginning != self._beginning[: len(beginning)]
        if now.st_mtime_ns != before.st_mtime_ns:
            return True
        # Somebody may have set that time back, as copying with all times does. The other time changes with the mode,
        # the owner and names, too, which do not touch what is in the file.
        return now.st_ctime_ns != before.st_ctime_ns and self._seems_untouched(now)

    def _seems_untouched(self, now: os.stat_result) -> bool:
        """Tell whether links, mode, owner and name are as they were."""
        fields = ("st_nlink", "st_mode", "st_uid", "st_gid")
        if any(getattr(now, field) != getattr(self._at_first, field) for field in fields):
            return False
        if self._path is None:
            return True
        try:
            return os.path.samestat(os.stat(self._path), now)
        # It was renamed.
        except OSError:
            return False


@implementer(IReadDescriptor)
class PipeSource(Source):
    """
    Something whose writer may be slow: a FIFO, a pipe, a terminal.

    :param fd: what to read.
    :param reactor: tells when there is something to read.
    """

    _waits = True
    _was_read = False

    def __init__(self, fd: int, reactor: Any) -> None:
        super().__init__(fd)
        self._reactor = reactor

    def _read_on(self) -> None:
        if not self._was_read:
            self._reactor.addReader(self)

    def _at_end(self) -> None:
        self._was_read = True
        # Ctrl-C ends the writer of a pipeline, too, so its end may be seen before our own. What is there then is not
        # all of it. A signal stops the reactor at the end of its next turn: the end counts in the turn behind that.
        self._reactor.callLater(0, self._reactor.callLater, 0, self._end)

    def _end(self) -> None:
        # It was closed when this was interrupted.
        if self._fd >= 0:
            self._ended(None)

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


def open_source(path: str, reactor: Any) -> Source:
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
        if not stat.S_ISREG(mode):
            return FileSource(fd)
        return RegularSource(fd, None if path == "-" else path)
    except OSError:
        os.close(fd)
        raise
