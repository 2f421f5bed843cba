"""
Writing to a pipe or terminal whose reader may be slow.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from ..protocol.clock import steady_clock


@implementer(IWriteDescriptor)
class PipeWriter:
    """
    Writes to a pipe or terminal whose reader may be slow, one payload at a time.

    :param fd: a descriptor that does not block; :meth:`close` closes it.
    :param reactor: tells when the pipe has room.
    :param patience: seconds in which the reader must take something; ``None`` for as long as it wants.
    :ivar taken: how many bytes the pipe has taken so far.
    """

    taken = 0

    def __init__(self, fd: int, reactor: Any, patience: float | None) -> None:
        self._fd = fd
        self._reactor = reactor
        self._clock = steady_clock(reactor)
        self._patience = patience
        self._timer: IDelayedCall | None = None
        self._rest = memoryview(b"")
        self._written: Deferred[None] | None = None

    def write(self, payload: bytes) -> Deferred[None]:
        """
        Write a payload. Only one is written at a time.

        :return: fires when all of it is in the pipe; fails with an ``OSError``.
        """
        self._rest = memoryview(payload)
        written = self._written = Deferred()
        if self._patience is not None:
            self._timer = self._clock.callLater(self._patience, self._patience_over)
        self._reactor.addWriter(self)
        # Most pipes have room; this saves them a turn of the reactor.
        self.doWrite()
        return written

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "upload"

    def doWrite(self) -> None:
        try:
            # An empty payload is done at once.
            if self._rest:
                size = self._take(self._rest)
                self.taken += size
                self._rest = self._rest[size:]
                # Patience counts from the last byte that was taken: a slow reader is fine.
                if self._timer is not None:
                    self._timer.reset(self._patience)  # type: ignore[arg-type]  # there is no timer without it
        # Full; the reactor calls again when there is room.
        except BlockingIOError:
            return
        except OSError as error:
            self._end_write(Failure(error))
            return
        if not self._rest:
            self._end_write(None)

    def _take(self, data: memoryview) -> int:
        """
        Write what there is room for now, or raise ``BlockingIOError`` where there is none.

        :return: how many bytes that was.
        """
        return os.write(self._fd, data)

    def _patience_over(self) -> None:
        # The process may have stood still, and not the reader: look once more whether there is room.
        self._timer = self._clock.callLater(self._patience, self._patience_over)  # type: ignore[arg-type]
        taken = self.taken
        self.doWrite()
        if self.taken == taken:
            self.interrupt()

    def interrupt(self) -> None:
        """Fail the write under way, if there is one."""
        self._end_write(Failure(OSError(errno.ETIMEDOUT, "its reader takes nothing")))

    def connectionLost(self, reason: Failure) -> None:
        """The reader left. Some reactors notice that by polling, before a write fails."""
        self._end_write(Failure(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))))

    def _end_write(self, result: Failure | None) -> None:
        # The reactor may still tell of a pipe that was closed.
        if self._fd < 0:
            return
        written, self._written = self._written, None
        # Before the callback, which may begin the next write.
        self._stop_waiting()
        if written is not None:
            written.callback(result)

    def _stop_waiting(self) -> None:
        self._reactor.removeWriter(self)
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def close(self) -> None:
        """
        Close the descriptor. A write under way is dropped, and its Deferred never fires.

        :raises OSError: when closing fails; the descriptor is not used again.
        """
        self._written = None
        self._stop_waiting()
        fd, self._fd = self._fd, -1
        os.close(fd)


def may_block(fd: int) -> bool:
    """
    Tell whether writing to a descriptor may wait for somebody who reads.

    :param fd: a descriptor.
    """
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


def has_left(fd: int) -> bool:
    """
    Tell whether nobody is at the other end of a pipe or socket any more.

    :param fd: a descriptor.
    """
    look = select.poll()
    look.register(fd, 0)
    return any(found & (select.POLLHUP | select.POLLERR) for _, found in look.poll(0))
