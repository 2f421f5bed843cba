"""
Writing to a pipe or terminal whose reader may be slow.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IWriteDescriptor)
class PipeWriter:
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


def may_block(fd: int) -> bool:
    """Whether somebody must read what is written there."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)
