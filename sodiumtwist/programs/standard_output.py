"""
Standard output for a stream of bytes: a pipe, a terminal, a socket or a file, whose reader may be slow.

It is most often shared: with a shell, whose terminal it is, or with standard error. So it is never set not to block.
Left so, it would break whoever writes to it next.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import sys
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed

from ..transfer.pipes import PipeWriter, has_left, may_block
from .output import discard_standard_output


class Output(Protocol):
    """What takes one payload at a time."""

    def write(self, payload: bytes) -> Deferred[None]:
        """
        Write a payload.

        :return: fires when all of it is written; fails with an ``OSError``.
        """

    def close(self) -> None:
        """
        End it, so that its reader sees the end.

        :raises OSError: when it can't be closed.
        """


class FileOutput:
    """
    A file or a device, which takes all at once.

    :param fd: what to write to; :meth:`close` closes it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, payload: bytes) -> Deferred[None]:
        """Write a payload."""
        rest = memoryview(payload)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            return fail(error)
        return succeed(None)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


class SharedOutput(PipeWriter):
    """A pipe or terminal that may block, for others share it."""

    def _take(self, data: memoryview) -> int:
        room = select.poll()
        room.register(self._fd, select.POLLOUT)
        size = 0
        # A pipe that is ready takes so much without blocking, and no more.
        while size < len(data) and room.poll(0):
            size += os.write(self._fd, data[size : size + select.PIPE_BUF])
        if not size:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return size


class SocketOutput(PipeWriter):
    """A socket, which can be told with each call not to block."""

    def __init__(self, fd: int, reactor: Any) -> None:
        super().__init__(fd, reactor, None)
        self._socket = socket.socket(fileno=os.dup(fd))

    def _take(self, data: memoryview) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT)

    def close(self) -> None:
        """End this direction: standard input, which is most often the same socket, goes on."""
        with self._socket, suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)  # its reader may be gone
        super().close()


def open_output(fd: int, reactor: Any) -> Output:
    """
    Make what writes to a descriptor, which stays open and as it is.

    :param fd: what to write to.
    :param reactor: tells when there is room.
    :raises OSError: when it is closed.
    """
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        return SocketOutput(os.dup(fd), reactor)
    if not may_block(fd):
        return FileOutput(os.dup(fd))
    # What is opened anew is not shared, so it may be set not to block. Not all systems have that, nor is it allowed to
    # all users.
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return PipeWriter(os.open(f"/proc/self/fd/{fd}", flags), reactor, None)
    return SharedOutput(os.dup(fd), reactor, None)


class StreamOutput:
    """
    Standard output. When it is closed, it leads nowhere.

    :param reactor: tells when there is room.
    :raises OSError: when it was closed at the start, or is not for writing.
    """

    def __init__(self, reactor: Any) -> None:
        # Descriptor 1 leads nowhere then: what comes would be lost without a word.
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed; >/dev/null drops what comes")
        self._output = open_output(1, reactor)
        self._closed = False

    def write(self, payload: bytes) -> Deferred[None]:
        """
        Write a payload. Only one is written at a time.

        :return: fires when all of it is written; fails with an ``OSError``.
        """
        return self._output.write(payload)

    def is_over(self) -> bool:
        """Tell whether nobody is there who may still read it."""
        return self._closed or has_left(1)

    def close(self) -> None:
        """
        End it, so that its reader sees the end.

        :raises OSError: when what was written can't be stored.
        """
        self._closed = True
        discard_standard_output()
        self._output.close()
