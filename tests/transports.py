"""
Transports of strings.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure


class Transport(StringTransportWithDisconnection):
    """
    A transport of strings.

    :ivar writes: the size of each write.
    :ivar orderly: whether ``loseConnection`` ends it at once. Twisted's do so when nothing is left to write.
    """

    def __init__(self, protocol: IProtocol, orderly: bool = True) -> None:
        super().__init__()
        self.protocol = protocol
        self.orderly = orderly
        self.writes: list[int] = []

    def write(self, data: bytes) -> None:
        # Twisted's would ignore it. Ours shall not do it at all: what comes behind a close is lost.
        if not self.connected or self.disconnecting:
            raise AssertionError("written after it was closed")
        self.writes.append(len(data))
        super().write(data)

    def loseConnection(self) -> None:
        if self.orderly or self.disconnected:
            super().loseConnection()
        else:
            self.disconnecting = True

    def lose(self, reason: Exception) -> None:
        """End the connection as if the peer or the network did."""
        self.connected = False
        self.protocol.connectionLost(Failure(reason))


class AbortableTransport(StringTransportWithDisconnection):
    """A transport that records whether it was aborted, and not closed in order."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionLost()))

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None
