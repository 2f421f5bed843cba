"""
Tunnels: each connection that comes in is joined to one of its own that goes out through an endpoint.

What one end receives the other sends, and no faster than it can: a full end pauses the other.
When one end has received all, the other says so to its peer and goes on the other way, if its
transport can do that, and closes otherwise. A connection that breaks breaks the other one.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .describe import describe_address, describe_tls_error
from .protocol.sockets import half_closes


@implementer(IHalfCloseableProtocol)
class TunnelEnd(Protocol):
    """
    One of two joined ends.

    :param other: the end to join when this one is connected.
    :ivar gone: whether it is over.
    """

    _log = Logger()

    transport: Any
    gone = False

    _ended = False

    def __init__(self, other: TunnelEnd | None = None) -> None:
        self._other = other

    def connectionMade(self) -> None:
        """Join the two: each is paused while the other's transport is full."""
        other = self._other
        if other is None:
            return
        if other.gone:
            self._other = None
            self.transport.abortConnection()
            return
        other._other = self
        self.transport.registerProducer(other.transport, True)
        other.transport.registerProducer(self.transport, True)
        other.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Hand on."""
        if self._other is not None:
            self._other.transport.write(data)

    def writeConnectionLost(self) -> None:
        """All that the other end received was sent."""

    def readConnectionLost(self) -> None:
        """All was received: say so at the other end."""
        self._ended = True
        other = self._other
        if other is None:
            self.transport.loseConnection()
            return
        other.transport.unregisterProducer()
        if other._ended or not half_closes(other.transport):
            self._part()
            other.transport.loseConnection()
            self.transport.loseConnection()
        else:
            other.transport.loseWriteConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close the other end behind what was received, or break it when this one broke."""
        self.gone = True
        other = self._other
        if other is None:
            return
        self._part()
        if reason.check(ConnectionDone):
            other.transport.loseConnection()
        else:
            self._log.info(
                "the connection with {peer} broke: {reason}",
                peer=describe_address(self.transport.getPeer()),
                reason=reason.getErrorMessage(),
            )
            other.transport.abortConnection()

    def _part(self) -> None:
        other = self._other
        assert other is not None
        self._other = other._other = None
        self.transport.unregisterProducer()
        other.transport.unregisterProducer()


class TunnelEntry(TunnelEnd):
    """The end that came in. It reads nothing before the one that goes out is connected."""

    _connecting: Deferred[Any] | None = None

    def connectionMade(self) -> None:
        self.factory.entries.add(self)
        self.transport.pauseProducing()
        leaving = Factory.forProtocol(lambda: TunnelEnd(self))
        leaving.noisy = False
        self._connecting = maybeDeferred(self.factory.endpoint.connect, leaving)
        self._connecting.addBoth(self._connected)

    def _connected(self, result: object) -> None:
        self._connecting = None
        if not isinstance(result, Failure) or result.check(CancelledError) or self.gone:
            return
        self.factory.log.error(
            "cannot connect {peer} to {where}: {reason}",
            peer=describe_address(self.transport.getPeer()),
            where=self.factory.where,
            reason=describe_tls_error(result.value) or result.getErrorMessage().rstrip("."),
        )
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.entries.discard(self)
        super().connectionLost(reason)
        if self._connecting is not None:
            self._connecting.cancel()


class TunnelFactory(Factory):
    """
    Makes the ends that come in.

    :param endpoint: where the ends that go out connect.
    :param where: its name in the log.
    :ivar entries: the ends that are connected.
    """

    protocol = TunnelEntry
    noisy = False
    log = Logger()

    def __init__(self, endpoint: IStreamClientEndpoint, where: str) -> None:
        self.endpoint = endpoint
        self.where = where
        self.entries: set[TunnelEntry] = set()
