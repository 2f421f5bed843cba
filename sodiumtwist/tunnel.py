"""
Tunnels: for each connection that comes in, another one is made through an endpoint, and the two are joined.

What one end receives the other end sends, no faster than it can: an end that is full pauses the other.
When an end has received all, the other end tells its peer so, and the other direction goes on. When one connection
breaks, the other one is broken as well, behind what came before.

An end in order and a break stay different: what was cut off must not look whole. Only an end in order that was received
is passed on as one, never what a transport calls while it is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .core.keepalive import Timeouts
from .describe import describe_address, describe_tls_error
from .interfaces import ISodiumTransport
from .protocol.farewell import Farewell
from .protocol.sockets import TransportBelow, half_closes, is_bare_socket, is_tls

#: Seconds between two looks whether a socket is broken whose peer has ended its direction.
HALF_CLOSED_LOOK = 5.0


@implementer(IPushProducer)
class Feed:
    """
    What one end reads, as the producer of what the other end writes. The transports themselves are not registered with
    each other: one that is lost would close the other one, before anybody knows why it is lost.

    :param source: the end that reads.
    :param sink: the end that writes.
    """

    __slots__ = ("_sink", "_source")

    def __init__(self, source: TunnelEnd, sink: TunnelEnd) -> None:
        self._source = source
        self._sink = sink

    def pauseProducing(self) -> None:
        # What is left of a connection that is over is taken at once. It is bounded, and nothing comes behind it.
        if not self._source.is_over:
            self._source.transport.pauseProducing()

    def resumeProducing(self) -> None:
        if self._source.all_received:
            # A socket's transport that was full when it was told of the end goes on here, and forgets it.
            self._sink.transport.loseWriteConnection()
        else:
            self._source.transport.resumeProducing()

    def stopProducing(self) -> None:
        self._sink.take_rest()


@implementer(IHalfCloseableProtocol)
class TunnelEnd(Protocol):
    """
    One of two joined ends.

    :param other: the end to join when this one is connected.
    :ivar all_received: whether the peer has said that it sends no more.
    :ivar is_over: whether its connection is over, but for what is still to be read.
    :ivar gone: whether all is over.
    """

    _log = Logger()

    transport: Any
    factory: Any
    all_received = is_over = gone = False

    #: Whether the peer was told that no more follows.
    _all_sent = False
    #: Whether it is being closed though the peer has not ended its direction.
    _closing = False
    _farewell: Farewell | None = None
    _look: IDelayedCall | None = None

    def __init__(self, other: TunnelEnd | None = None) -> None:
        self._other = other

    def connectionMade(self) -> None:
        """Join the two ends. Each is paused while the other's transport is full."""
        self._arrive()
        other = self._other
        assert other is not None
        # It left while this one was being connected.
        if other.gone:
            self._other = None
            self.transport.abortConnection()
            return
        other._other = self
        for source, sink in ((self, other), (other, self)):
            sink.transport.registerProducer(Feed(source, sink), True)
        # It has waited for this, see TunnelEntry. Last, so that what it reads now has somewhere to go.
        other.transport.resumeProducing()

    def _arrive(self) -> None:
        self.factory.ends.add(self)
        self._below = TransportBelow(self.transport)
        # When this process is killed, what was cut must not look whole either.
        self._below.reset_when_dropped(True)

    def dataReceived(self, data: bytes) -> None:
        """Hand the bytes on to the other end."""
        # An end that is closing may still receive.
        if self._other is not None:
            self._other.transport.write(data)
            if self._farewell is not None:
                self._farewell.wait()

    def take_rest(self) -> None:
        """The connection is over, and what came before is still to be read, though the other end may be full."""
        self.is_over = True
        if ISodiumTransport.providedBy(self.transport):
            self.transport.resumeProducing()
        else:
            self._below.read_rest(lambda: self._other is not None)

    # One direction

    def readConnectionLost(self) -> None:
        """The peer sends no more: say so at the other end."""
        other = self._other
        if self.all_received or other is None:
            return
        if self._below.is_broken:
            # Some systems tell of the end of a connection that is broken before they tell that it is.
            self.transport.abortConnection()
            return
        self.all_received = True
        other._end()
        self._leave_if_done()
        self._look_whether_broken()

    def _look_whether_broken(self) -> None:
        """Nothing is read any more from a socket whose peer has ended. So the reactor does not tell of a reset."""
        self._look = None
        if self._other is None:
            return
        if self._below.is_broken:
            self.transport.abortConnection()
        elif is_bare_socket(self.transport):
            self._look = self.factory.clock.callLater(HALF_CLOSED_LOOK, self._look_whether_broken)

    def _end(self) -> None:
        """Tell the peer that no more follows, behind what it has yet to take."""
        transport = self.transport
        # A transport that has paused its producer may wait for it before it ends, and this one produces nothing more.
        transport.unregisterProducer()
        if half_closes(transport):
            transport.loseWriteConnection()
            if self._other is not None:
                transport.registerProducer(Feed(self._other, self), True)
        else:
            # TLS goes on receiving, until the peer has ended, too.
            self._closing = True
            self._wait(transport.loseConnection).wait()
            transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """The peer was told that no more follows."""
        self._all_sent = True
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        # Both directions have ended in order.
        if self.all_received and self._all_sent and self._farewell is None:
            self._leave()

    def _leave(self) -> None:
        self._below.reset_when_dropped(False)
        self.transport.loseConnection()

    # Both directions

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close the other end behind all that was received. When this one broke, break the other one there."""
        self.gone = True
        self.factory.ends.discard(self)
        if self._farewell is not None:
            self._farewell.end()
        if self._look is not None:
            self._look.cancel()
        other = self._other
        if other is None:
            return
        self._unjoin()
        # A transport that was closed here ends in order, whatever its peer was about to say; not so TLS.
        in_order = reason.check(ConnectionDone) and (not self._closing or is_tls(self.transport))
        if in_order:
            other._close()
            return
        if not reason.check(ConnectionDone):
            self._log.info(
                "the connection with {peer} broke: {reason}",
                peer=describe_address(self.transport.getPeer()),
                reason=reason.getErrorMessage(),
            )
        other.break_off()

    def _unjoin(self) -> None:
        other = self._other
        assert other is not None
        # Both forget the other: when the second one is lost, the first must not be closed again. And neither stays a
        # producer, for which closing might wait.
        self._other = other._other = None
        self.transport.unregisterProducer()
        other.transport.unregisterProducer()

    def _close(self) -> None:
        """Close behind what the peer has yet to take. Nothing more that it sends goes anywhere."""
        transport = self.transport
        if ISodiumTransport.providedBy(transport):
            transport.loseConnection()
        elif half_closes(transport):
            if not self._all_sent:
                transport.loseWriteConnection()
            # It notices when the peer has broken it.
            transport.resumeProducing()
            # Closed with bytes unread, a socket drops what its peer has not taken.
            self._wait(self._leave).deliver()
        else:
            self._wait(transport.loseConnection).wait()
            transport.loseConnection()

    def break_off(self) -> None:
        """Break the connection behind what the peer has yet to take."""
        if ISodiumTransport.providedBy(self.transport):
            self.transport.breakConnection()
        else:
            # It notices when the peer has broken it, or waits to send more before it takes any.
            self.transport.resumeProducing()
            self._wait(self.transport.abortConnection).deliver()

    def drop(self) -> None:
        """Break this connection and the one it is joined with, unless they are on their way to an end already."""
        other = self._other
        if other is not None:
            self._unjoin()
            other.break_off()
            self.break_off()
        elif self._farewell is None:
            self.break_off()

    def _wait(self, leave: Callable[[], None]) -> Farewell:
        """Wait for the peer with the usual patience, then break the connection."""
        if self._farewell is not None:
            self._farewell.end()
        factory = self.factory
        self._farewell = Farewell(factory.clock, self._below, factory.patience, leave, self.transport.abortConnection)
        return self._farewell


class TunnelEntry(TunnelEnd):
    """The end that came in. It reads nothing until the end that goes out is connected."""

    _connecting: Deferred[Any] | None = None

    def connectionMade(self) -> None:
        self._arrive()
        # What it read now would have to be kept somewhere. TunnelEnd.connectionMade() resumes it.
        self.transport.pauseProducing()
        # An endpoint may raise in place of giving a Deferred that fails.
        self._connecting = maybeDeferred(self.factory.endpoint.connect, _OutgoingFactory(self))
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
        # No end in order: that would be an answer, though an empty one.
        self.break_off()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self._connecting is not None:
            self._connecting.cancel()


class _OutgoingFactory(Factory):
    """
    Makes the end that goes out.

    :param entry: the end to join it with.
    """

    noisy = False

    def __init__(self, entry: TunnelEntry) -> None:
        self._entry = entry

    def buildProtocol(self, addr: object) -> TunnelEnd:
        end = TunnelEnd(self._entry)
        end.factory = self._entry.factory
        return end


class TunnelFactory(Factory):
    """
    Makes the ends that come in.

    :param endpoint: where the ends that go out connect.
    :param where: what the log calls that endpoint.
    :param clock: an ``IReactorTime``; ``None`` for the global reactor.
    :param patience: for how many seconds an end that closes may take nothing of what is left for it.
    :ivar ends: the ends that are connected, those that came in and those that go out.
    """

    protocol = TunnelEntry
    noisy = False
    log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        where: str,
        clock: IReactorTime | None = None,
        patience: float = Timeouts.inactivity,
    ) -> None:
        self.endpoint = endpoint
        self.where = where
        self.patience = patience
        self._clock = clock
        self.ends: set[TunnelEnd] = set()

    @property
    def clock(self) -> IReactorTime:
        """The clock. Not looked for earlier: to import the reactor installs it."""
        if self._clock is None:
            from twisted.internet import reactor

            self._clock = reactor
        return self._clock

    def drop(self) -> None:
        """Break all connections, behind what their peers have yet to take."""
        # A copy: each end leaves the set when it is gone.
        for end in list(self.ends):
            end.drop()
