"""
Reading from a socket below Twisted's transport, into memory that all connections share. A large record then lies in
one piece where it is opened, and nothing is allocated or copied for it before that.

This is a part of :mod:`~sodiumtwist.protocol.sockets`: it reaches into Twisted's objects as only that does.
"""

from __future__ import annotations

import errno
import sys
import weakref
from typing import Any, Protocol

from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

from ..core.connection import ClientConnection, ServerConnection


class Reader(Protocol):
    """An end, for whose connection is read."""

    def take_events(self) -> None:
        """Something was received for the connection."""


def read_directly(transport: Any, end: Reader, connection: ServerConnection | ClientConnection) -> None:
    """
    Have what comes for an end received into the core's memory, where its transport is the socket of one of Twisted's
    own classes. For all others nothing changes. Nothing does, either, while the connection wants ``bytes``, or somebody
    else is the transport's protocol, as TLS is after ``startTLS``.

    :param transport: its transport.
    :param end: it; it has overridden nothing of how it gets what was read.
    :param connection: the core's end.
    """
    # Not imported here: whoever has such a transport has it.
    tcp: Any = sys.modules.get("twisted.internet.tcp")
    own: Any = getattr(type(transport), "doRead", None)
    if tcp is not None and own is tcp.Connection.doRead and "doRead" not in vars(transport):
        # No circle, lest each connection be garbage that only the collector finds.
        transport.doRead = _Reading(weakref.ref(transport), weakref.ref(end), connection)


class _Reading:
    """
    Stands in for ``tcp.Connection.doRead`` of one transport.

    :param transport: its transport.
    :param end: its protocol, unless somebody comes in between.
    :param connection: the core's end.
    """

    __slots__ = ("_connection", "_end", "_transport")

    def __init__(
        self, transport: weakref.ref[Any], end: weakref.ref[Any], connection: ServerConnection | ClientConnection
    ) -> None:
        self._transport = transport
        self._end = end
        self._connection = connection

    def __call__(self) -> BaseException | None:
        """
        Read once, as much as is best.

        :return: how the connection has ended; ``None`` when it has not.
        """
        transport: Any = self._transport()
        end: Any = self._end()
        connection = self._connection
        buffer = connection.get_buffer() if transport.protocol is end else None
        if buffer is None:
            if connection.version == 1:
                del transport.doRead  # it will never want anything else
            ended: BaseException | None = type(transport).doRead(transport)
            return ended
        try:
            size = transport.socket.recv_into(buffer)
        except OSError as error:
            return None if error.errno == errno.EWOULDBLOCK else CONNECTION_LOST
        if not size:
            return CONNECTION_DONE
        if connection.buffer_updated(size):
            end.take_events()
        return None
