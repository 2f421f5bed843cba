"""
Ends over real sockets: ours, which tell what a test waits for, and a peer in the test's hands.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from sodiumtwist.core.events import Event

from .core.peers import Connection, wire_of
from .pair import EchoServer, Recorder, RecordingClient, RecordingServer

T = TypeVar("T")


def later(deferred: Deferred[T], result: T) -> None:
    """Fire it when the hook that says so is over."""
    reactor.callLater(0, deferred.callback, result)


class Signalling(Recorder):
    """Tells by Deferreds what a test over sockets waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[None] = Deferred()
        self.lost: Deferred[type[BaseException] | None] = Deferred()
        self._wanted: tuple[int, Deferred[None]] | None = None
        self._size = 0

    def want(self, size: int) -> Deferred[None]:
        """Fires when payloads of so many bytes were received in all."""
        wanted: Deferred[None] = Deferred()
        self._wanted = size, wanted
        self._check()
        return wanted

    def _check(self) -> None:
        if self._wanted is not None and self._size >= self._wanted[0]:
            wanted, self._wanted = self._wanted[1], None
            later(wanted, None)

    def authenticated(self) -> None:
        super().authenticated()
        later(self.opened, None)

    def payload_received(self, payload: bytes) -> None:
        super().payload_received(payload)
        self._size += len(payload)
        self._check()

    def connection_lost(self, reason: Failure) -> None:
        super().connection_lost(reason)
        later(self.lost, reason.type)


class SocketServer(Signalling, RecordingServer):
    pass


class SocketEchoServer(SocketServer, EchoServer):
    pass


class SocketClient(Signalling, RecordingClient):
    pass


class RawPeer:
    """
    The core of the other side on a socket that the test reads, or leaves unread, and breaks.
    """

    def __init__(self, transport: socket.socket, connection: Connection) -> None:
        self.transport = transport
        self.connection = connection
        transport.settimeout(10)

    async def receive(self) -> list[Event]:
        """Read until there is something to tell; nothing is at the end."""
        while data := await deferToThread(self.transport.recv, 65536):
            if events := list(self.connection.receive_data(data, 0)):
                return events
        return []

    def send(self, *payloads: bytes) -> None:
        """Have the system send them; together they must fit its buffers."""
        self.transport.sendall(b"".join(wire_of(self.connection.send_data, each) for each in payloads))

    def end(self) -> None:
        """Send no more, and go on reading."""
        self.transport.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        """Break it: what the system has received is dropped, and the other end sees a reset."""
        self.transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.close()
