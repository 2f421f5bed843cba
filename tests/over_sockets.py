"""
Ends over real sockets: our own, with Deferreds that a test can wait for, and a peer that the test moves.
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
    """Fire a Deferred at the reactor's next turn, so that the hook that calls this is over by then."""
    reactor.callLater(0, deferred.callback, result)


class Signalling(Recorder):
    """
    Has Deferreds that a test over sockets can wait for.

    :ivar opened: fires when it is authenticated.
    :ivar lost: fires with the type of the reason when the connection is gone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[None] = Deferred()
        self.lost: Deferred[type[BaseException] | None] = Deferred()
        self._wanted: tuple[int, Deferred[None]] | None = None
        self._size = 0

    def want(self, size: int) -> Deferred[None]:
        """
        Wait for payloads.

        :param size: how many bytes of payload, counted from the start of the connection.
        :return: fires when they have come.
        """
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
    The core of the other end, on a socket that the test reads, leaves unread or breaks.
    """

    def __init__(self, transport: socket.socket, connection: Connection) -> None:
        self.transport = transport
        self.connection = connection
        transport.settimeout(10)

    async def receive(self) -> list[Event]:
        """
        Read until events have come.

        :return: the events; none when the other end has closed.
        """
        while data := await deferToThread(self.transport.recv, 65536):
            if events := list(self.connection.receive_data(data, 0)):
                return events
        return []

    def send(self, *payloads: bytes) -> None:
        """Send payloads. Together they must fit the system's buffers, or this waits for ever."""
        self.transport.sendall(b"".join(wire_of(self.connection.send_data, each) for each in payloads))

    def end(self) -> None:
        """End the direction in which this sends; it can still read."""
        self.transport.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        """Break the connection: what the system has received is dropped, and the other end sees a reset."""
        self.transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.close()
