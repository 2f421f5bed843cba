"""
Reading from a socket below Twisted's transport, into memory that all connections share. A large record then lies in
one piece where it is opened, and nothing is allocated or copied for it before that. And what becomes of all that when
TLS begins on the socket.

This is a part of :mod:`~sodiumtwist.protocol.sockets`: it reaches into Twisted's objects as only that does.
"""

from __future__ import annotations

import errno
import weakref
from typing import Any, Union

from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

from ..core.connection import ClientConnection, ServerConnection

#: So many bytes are read at most of a connection that brings little: into memory of their own, which costs such a read
#: less. It is less than a packet of a network, so that what comes packet by packet is no such thing.
SMALL_READ = 1024

CoreConnection = Union[ServerConnection, ClientConnection]


def start_tls(this: weakref.ref[Any], *arguments: Any, **named: Any) -> None:
    """
    Stand in for ``startTLS`` of one transport: what waits for the socket, and is not sealed yet, leaves before TLS
    begins. Nobody would ask for it then.

    :param this: its protocol.
    """
    end: Any = this()
    end.hand_over()
    type(end.transport).startTLS(end.transport, *arguments, **named)


class DirectReading:
    """
    Stands in for ``tcp.Connection.doRead`` of one transport. It leaves all to that while the connection wants
    ``bytes``, and when somebody else is the transport's protocol, as TLS is after ``startTLS``.

    :param transport: it. No circle, lest each connection be garbage that only the collector finds.
    :param end: its protocol, which has overridden nothing of how it gets what was read.
    :param connection: the core's end.
    """

    __slots__ = ("_brings_little", "_connection", "_end", "_transport")

    def __init__(self, transport: weakref.ref[Any], end: weakref.ref[Any], connection: CoreConnection) -> None:
        self._transport = transport
        self._end = end
        self._connection = connection
        # Whether the last read did, and nothing of it waits for more.
        self._brings_little = False

    def __call__(self) -> BaseException | None:
        """
        Read once, as much as is best.

        :return: how the connection has ended; ``None`` when it has not.
        """
        transport: Any = self._transport()
        end: Any = self._end()
        if self._brings_little and transport.protocol is end:
            try:
                data = transport.socket.recv(SMALL_READ)
            except OSError as error:
                return _judge(error)
            if not data:
                return CONNECTION_DONE
            self._brings_little = len(data) < SMALL_READ
            end.dataReceived(data)
            return None
        connection = self._connection
        buffer = connection.get_buffer() if transport.protocol is end else None
        if buffer is None:
            if connection.version == 1 and vars(transport).get("doRead") is self:
                del transport.doRead  # it will never want anything else
            ended: BaseException | None = type(transport).doRead(transport)
            return ended
        try:
            size = transport.socket.recv_into(buffer)
        except OSError as error:
            return _judge(error)
        if not size:
            return CONNECTION_DONE
        if connection.buffer_updated(size):
            end.take_events()
            self._brings_little = size < SMALL_READ and not connection.buffered
        return None


def _judge(error: OSError) -> BaseException | None:
    """Tell how a connection has ended of which nothing can be read."""
    return None if error.errno == errno.EWOULDBLOCK else CONNECTION_LOST
