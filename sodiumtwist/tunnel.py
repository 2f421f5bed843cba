"""
Tunnels: for each connection that comes in, another one is made through an endpoint, and the two are joined.

What one end receives the other end sends, no faster than it can: an end that is full pauses the other.
When an end has received all, the other end tells its peer so, and the other direction goes on. Where the transport
can't end one direction alone, both ends close. When one connection breaks, the other one is broken as well.
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

from .core.keepalive import Timeouts
from .describe import describe_address, describe_tls_error
from .protocol.sockets import half_closes, keep_alive


@implementer(IHalfCloseableProtocol)
class TunnelEnd(Protocol):
    """
    One of two joined ends.

    :param other: the end to join when this one is connected.
    :ivar gone: whether its connection is over.
    """

    _log = Logger()

    transport: Any
    gone = False

    #: Whether the peer has said that it sends no more.
    _all_received = False

    def __init__(self, other: TunnelEnd | None = None) -> None:
        self._other = other

    def connectionMade(self) -> None:
        """Join the two ends. Each is paused while the other's transport is full."""
        other = self._other
        if other is None:
            return
        # It left while this one was being connected.
        if other.gone:
            self._other = None
            self.transport.abortConnection()
            return
        keep_alive(self.transport, other.factory.tcp_keepalive)
        other._other = self
        self.transport.registerProducer(other.transport, True)
        other.transport.registerProducer(self.transport, True)
        # It has waited for this, see TunnelEntry. Last, so that what it reads now has somewhere to go.
        other.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Hand the bytes on to the other end."""
        # An end that is closing may still receive.
        if self._other is not None:
            self._other.transport.write(data)

    def writeConnectionLost(self) -> None:
        """All that the other end received was sent. Reading goes on, so there is nothing to do."""

    def readConnectionLost(self) -> None:
        """The peer sends no more: say so at the other end."""
        self._all_received = True
        other = self._other
        if other is None:
            self.transport.loseConnection()
            return
        # A transport that has paused its producer may wait for it before it ends, and this one produces nothing more.
        other.transport.unregisterProducer()
        # Both directions have ended, or they can only end together.
        if other._all_received or not half_closes(other.transport):
            self._unjoin()
            other.transport.loseConnection()
            self.transport.loseConnection()
        else:
            other.transport.loseWriteConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close the other end when all that was received is sent. When this one broke, break it at once."""
        self.gone = True
        other = self._other
        if other is None:
            return
        self._unjoin()
        # An end in order and a break must stay different: what was cut off must not look whole to the other peer.
        if reason.check(ConnectionDone):
            other.transport.loseConnection()
        else:
            self._log.info(
                "the connection with {peer} broke: {reason}",
                peer=describe_address(self.transport.getPeer()),
                reason=reason.getErrorMessage(),
            )
            other.transport.abortConnection()

    def _unjoin(self) -> None:
        other = self._other
        assert other is not None
        # Both forget the other: when the second one is lost, the first must not be closed again. And neither stays a
        # producer, for which closing might wait.
        self._other = other._other = None
        self.transport.unregisterProducer()
        other.transport.unregisterProducer()


class TunnelEntry(TunnelEnd):
    """The end that came in. It reads nothing until the end that goes out is connected."""

    _connecting: Deferred[Any] | None = None

    def connectionMade(self) -> None:
        self.factory.entries.add(self)
        keep_alive(self.transport, self.factory.tcp_keepalive)
        # What it read now would have to be kept somewhere. TunnelEnd.connectionMade() resumes it.
        self.transport.pauseProducing()
        outgoing = Factory.forProtocol(lambda: TunnelEnd(self))
        outgoing.noisy = False
        # An endpoint may raise in place of giving a Deferred that fails.
        self._connecting = maybeDeferred(self.factory.endpoint.connect, outgoing)
        self._connecting.addBoth(self._connecting_over)

    def _connecting_over(self, result: object) -> None:
        self._connecting = None
        # Success is TunnelEnd.connectionMade()'s. And when this end has left, nobody wants to know of a failure.
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
    :param where: what the log calls that endpoint.
    :param tcp_keepalive: seconds after which the system asks whether a machine at either end is still there, see
        :func:`~sodiumtwist.protocol.sockets.keep_alive`. Nothing else would tell: the ends may be silent for as long
        as they like.
    :ivar entries: the ends that came in and are connected.
    """

    protocol = TunnelEntry
    noisy = False
    log = Logger()

    def __init__(
        self, endpoint: IStreamClientEndpoint, where: str, tcp_keepalive: float = Timeouts.tcp_keepalive
    ) -> None:
        self.tcp_keepalive = tcp_keepalive
        self.endpoint = endpoint
        self.where = where
        self.entries: set[TunnelEntry] = set()
