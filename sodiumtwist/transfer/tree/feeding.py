"""
What puts the bytes of files on their way as fast as the transport takes them: those of files that the thread reads, or
those of one stream.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.python.failure import Failure

from ...core.errors import LocalProtocolError
from ...protocol.producers import WriteGate
from ..sources import Source
from .channel import Channel
from .disk_thread import DiskThread
from .messages import STREAM, Entry
from .pieces import LAST, PIECE_SIZE, VOID, header
from .reading import JOB_SIZE, End, Job, Read, Reading
from .walking import why_not


class Fed(Protocol):
    """
    Whoever is told how it goes on.
    """

    def begins(self, number: int, offset: int) -> None:
        """A file begins, so many bytes from its beginning."""

    def all_sent(self, ended: End) -> None:
        """Nothing follows of a file."""

    def go_on(self) -> None:
        """Something has changed."""

    def fail(self, reason: Failure) -> None:
        """It does not go on."""


class Feed:
    """
    :param end: of the connection. The feed is its producer until it is closed.
    :param fed: who is told how it goes on.
    :ivar size: how many bytes of files were read so far.
    :ivar full: whether the transport takes no more.
    """

    def __init__(self, end: Channel, fed: Fed) -> None:
        self.size = 0
        self.full = False
        self._end = end
        self._fed = fed
        self._registered = True
        # A transport that is gone takes nothing for good, so stopping is like being full.
        end.registerProducer(WriteGate(self._block, self._unblock, self._block), True)

    def _block(self) -> None:
        self.full = True

    def _unblock(self) -> None:
        self.full = False
        self._fed.go_on()

    @property
    def idle(self) -> bool:
        """Whether all has been sent that was asked for."""
        raise NotImplementedError

    def add(self, job: Job) -> None:
        """Send a file behind those before it."""
        raise NotImplementedError

    def drop(self, number: int) -> None:
        """The receiver has given a file up; no more of it is sent."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Send and read what can be by now."""
        raise NotImplementedError

    def _send(self, payload: bytes) -> None:
        try:
            self._end.send_data(payload)
        except LocalProtocolError:
            # The connection is about to be over. Why, is told then.
            self._block()

    def close(self) -> None:
        """Send nothing more. It may be called again."""
        if self._registered:
            self._registered = False
            self._end.unregisterProducer()


class FileFeed(Feed):
    """
    Sends files. While one job's packs are being sent, the next ones are read: so at most twice as many bytes wait.

    :param thread: where they are read.
    :param reading: what reads them.
    """

    def __init__(self, end: Channel, fed: Fed, thread: DiskThread, reading: Reading) -> None:
        super().__init__(end, fed)
        self._thread = thread
        self._reading = reading
        self._reads = False
        self._packs: deque[bytes] = deque()
        self._ahead = 0

    @property
    def idle(self) -> bool:
        return not (self._packs or self._reads or self._reading.more)

    def add(self, job: Job) -> None:
        self._reading.add(job)

    def drop(self, number: int) -> None:
        self._reading.drop(number)

    def go_on(self) -> None:
        packs = self._packs
        while packs and not self.full:
            pack = packs.popleft()
            self._ahead -= len(pack)
            self._send(pack)
        if not self._reads and self._ahead < JOB_SIZE and self._registered and self._reading.more:
            self._reads = True
            self._thread.call(self._reading.read).addCallback(self._was_read).addErrback(self._fed.fail)

    def _was_read(self, read: Read) -> None:
        self._reads = False
        if not self._registered:
            return
        self.size += read.size
        fed = self._fed
        for number, offset in read.begun:
            fed.begins(number, offset)
        for ended in read.ended:
            fed.all_sent(ended)
        self._packs += read.packs
        self._ahead += sum(map(len, read.packs))
        fed.go_on()

    def close(self) -> None:
        super().close()
        self._packs.clear()
        self._ahead = 0


class Stream:
    """
    What has no size beforehand, as standard input and FIFOs. It is sent alone.

    :param source: where its bytes come from; it is closed when they are sent, or it fails.
    :param name: under which it is announced; empty when the receiver shall find one.
    """

    def __init__(self, source: Source, name: bytes) -> None:
        # So that a DATA is as long as others are.
        source.chunk_size = PIECE_SIZE
        self.source = source
        self.entry = Entry(STREAM, name)


class StreamFeed(Feed):
    """
    Sends one stream, as it comes.
    """

    def __init__(self, end: Channel, fed: Fed, source: Source) -> None:
        super().__init__(end, fed)
        self._source = source
        self._number: int | None = None
        source.start(self._take, self._ended)

    def _block(self) -> None:
        super()._block()
        self._source.pause()

    @property
    def idle(self) -> bool:
        return self._number is None

    def add(self, job: Job) -> None:
        self._number = job.number
        self._fed.begins(job.number, 0)

    def drop(self, number: int) -> None:
        self._finish("the receiver does not take it")

    def go_on(self) -> None:
        if self._number is not None and not self.full:
            self._source.resume()

    def _take(self, chunk: bytes) -> None:
        assert self._number is not None
        size = len(chunk)
        self._send(header(self._number, 0, self.size, size) + chunk)
        self.size += size

    def _ended(self, error: OSError | None) -> None:
        self._finish("" if error is None else f"it can't be read: {why_not(error)}")
        self._fed.go_on()

    def _finish(self, text: str) -> None:
        number, self._number = self._number, None
        assert number is not None
        line = text.encode()
        self._send(header(number, LAST | VOID if text else LAST, self.size, len(line)) + line)
        self._fed.all_sent(End(number, self.size, text=text))

    def close(self) -> None:
        super().close()
        self._source.close()
