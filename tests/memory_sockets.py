"""
Sockets in memory, under Twisted's own transports: what a system does with bytes, ends and resets, in the order that a
test wants, with a clock of its own. They do what Linux does with TCP.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocol, IReactorFDSet
from twisted.internet.posixbase import _DisconnectSelectableMixin, _PollLikeMixin
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from zope.interface import implementer

#: How many bytes the system holds for each direction, at the sender and at the receiver. Little, so that a test need
#: not move much to fill it.
ROOM = 2000

#: How many bytes Twisted reads at once, and above how many it takes its buffer for full.
BUFFER_SIZE = 3000

READABLE, WRITABLE, BROKEN = 1, 4, 8


class MemorySocket:
    """
    One end of a connection.

    :ivar received: what has come and was not read yet.
    :ivar sending: what was sent and has not come to the peer yet.
    :ivar delivered: how many bytes have come to the peer so far.
    :ivar dropped: how many bytes were dropped on their way, for the connection was reset.
    :ivar end_sent: whether this direction was shut; its end comes behind what is being sent.
    :ivar end_delivered: whether that has come to the peer.
    :ivar reset_sent: whether a reset is on its way to the peer.
    :ivar error: what the system has yet to tell; it does so once.
    :ivar broken: whether the connection was reset.
    :ivar closed: whether the descriptor is closed. The system may still have something to send.
    """

    peer: MemorySocket
    _numbers = itertools.count(1000)

    def __init__(self) -> None:
        self.number = next(self._numbers)
        self.received, self.sending = bytearray(), bytearray()
        self.delivered = self.dropped = 0
        self.end_sent = self.end_delivered = self.reset_sent = self.broken = self.closed = False
        self.error: int | None = None
        self.drops = False

    # What a socket has

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def setblocking(self, blocking: bool) -> None:
        pass

    def setsockopt(self, level: int, name: int, value: Any) -> None:
        if (level, name) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.drops = struct.unpack("ii", value) == (1, 0)

    def getsockopt(self, level: int, name: int) -> int:
        error, self.error = self.error, None
        return error or 0

    def _tell(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise OSError(error, os.strerror(error))

    def send(self, data: bytes) -> int:
        self._tell()
        if self.broken or self.end_sent:
            raise BrokenPipeError(errno.EPIPE, "broken pipe")
        taken = bytes(data[: ROOM - len(self.sending)])
        if data and not taken:
            raise BlockingIOError(errno.EAGAIN, "full")
        self.sending += taken
        return len(taken)

    def recv(self, size: int) -> bytes:
        if self.received:
            data = bytes(self.received[:size])
            del self.received[:size]
            return data
        if not self.peer.end_delivered:
            self._tell()
            if not self.broken:
                raise BlockingIOError(errno.EAGAIN, "empty")
        return b""

    def recv_into(self, buffer: memoryview) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        if self.broken:
            raise OSError(errno.ENOTCONN, "not connected")
        self.end_sent = True
        # It leaves at once, where nothing is before it: a reset does not take it back.
        self.end_delivered = self.end_delivered or not self.sending

    def close(self) -> None:
        self.closed = True
        over = self.broken or (self.end_delivered and self.peer.end_delivered)
        if over:
            return
        if self.drops or self.received:
            self.reset()
        else:
            self.end_sent = True

    # What the system does

    def reset(self) -> None:
        """Break the connection: what is on its way is dropped, and the peer is told."""
        self.sending.clear()
        self.broken = self.reset_sent = True

    def be_reset(self) -> None:
        """A reset has come. What came before it stays to be read."""
        if not self.broken:
            self.error = errno.EPIPE if self.peer.end_delivered else errno.ECONNRESET
            self.broken = True
            self.dropped = len(self.sending)
            self.sending.clear()

    def move(self) -> bool:
        """
        Let the peer get what was sent.

        :return: whether anything has moved.
        """
        peer = self.peer
        if self.reset_sent:
            self.reset_sent = False
            peer.be_reset()
            return True
        if self.broken:
            return False
        if self.sending and peer.closed:
            # Nobody will read it.
            peer.reset()
            return True
        room = ROOM - len(peer.received)
        if self.sending and room > 0:
            self.delivered += len(self.sending[:room])
            peer.received += self.sending[:room]
            del self.sending[:room]
            return True
        if self.end_sent and not self.sending and not self.end_delivered:
            self.end_delivered = True
            return True
        return False

    @property
    def events(self) -> int:
        """What a poll of it tells."""
        events = 0
        if self.received or self.peer.end_delivered or self.broken:
            events |= READABLE
        if len(self.sending) < ROOM or self.broken:
            events |= WRITABLE
        if self.broken or self.error is not None or (self.end_sent and self.peer.end_delivered):
            events |= BROKEN
        return events


def socket_pair() -> tuple[MemorySocket, MemorySocket]:
    """Connect two sockets."""
    one, other = MemorySocket(), MemorySocket()
    one.peer, other.peer = other, one
    return one, other


def held_by_the_system(handle: MemorySocket) -> int:
    """Tell how much was sent and has not come to the peer; stands in for what asks the system."""
    return len(handle.sending) + handle.dropped + (handle.end_sent and not handle.end_delivered)


def has_error(handle: MemorySocket) -> bool:
    """Tell whether the system has an error to tell of; stands in for what asks it."""
    return handle.error is not None


@implementer(IReactorFDSet)
class MemoryReactor(_DisconnectSelectableMixin, _PollLikeMixin, Clock):
    """Watches sockets as Twisted's reactors do."""

    _POLL_IN, _POLL_OUT, _POLL_DISCONNECTED = READABLE, WRITABLE, BROKEN

    def __init__(self) -> None:
        super().__init__()
        self._reads: dict[int, Any] = {}
        self._writes: dict[int, Any] = {}

    def addReader(self, reader: Any) -> None:
        self._reads[reader.fileno()] = reader

    def addWriter(self, writer: Any) -> None:
        self._writes[writer.fileno()] = writer

    @staticmethod
    def _remove(watched: dict[int, Any], one: Any) -> None:
        for number in [number for number, other in watched.items() if other is one]:
            del watched[number]

    def removeReader(self, reader: Any) -> None:
        self._remove(self._reads, reader)

    def removeWriter(self, writer: Any) -> None:
        self._remove(self._writes, writer)

    def removeAll(self) -> list[Any]:
        return []

    def getReaders(self) -> list[Any]:
        return list(self._reads.values())

    def getWriters(self) -> list[Any]:
        return list(self._writes.values())

    def turn(self) -> bool:
        """
        Do what is due, and look at each socket once.

        :return: whether there was anything.
        """
        told = any(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
        self.advance(0)
        for number, watched in {**self._reads, **self._writes}.items():
            wanted = BROKEN | READABLE * (number in self._reads) | WRITABLE * (number in self._writes)
            events = watched.socket.events & wanted
            if events and (number in self._reads or number in self._writes):
                told = True
                self._doReadOrWrite(watched, number, events)
        return told


class MemoryConnection(Connection):
    """Twisted's transport of a socket, over one in memory."""

    # It stays so whatever size suits sockets.
    bufferSize = property(lambda self: BUFFER_SIZE, lambda self, size: None)

    # For startTLS: in TLS it is a server's.
    _tlsClientDefault = False

    def __init__(self, handle: MemorySocket, protocol: IProtocol, reactor: MemoryReactor) -> None:
        super().__init__(handle, protocol, reactor)  # type: ignore[arg-type]
        self.connected = 1
        self.startReading()
        protocol.makeConnection(self)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 4711)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.2", 5555)
