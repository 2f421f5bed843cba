"""
Tunnels: for each connection that comes in, another one is made through an endpoint, and the two are joined.

What one end receives the other end sends, no faster than it can: an end that is full pauses the other.
When an end has received all, the other end tells its peer so, and the other direction goes on. Where the transport
can't end one direction alone, both ends close. When one connection breaks, the other one is broken as well.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .admission.limits import ReportedLimit
from .admission.networks import network
from .admission.summed_lines import SummedLines
from .core.errors import LocalProtocolError
from .core.keepalive import Timeouts
from .describe import describe_address, describe_tls_error
from .protocol.clock import global_clock, steady_clock
from .protocol.sockets import half_closes, keep_alive


@dataclass(frozen=True)
class TunnelLimits:
    """
    What one tunnel takes.

    :ivar connections: that came in, at once, joined or about to be; one more is closed at once. The default is what a
        server takes from one address.
    :ivar lines: how many lines in a minute connections that fail may cause in the log. More are summed up, a line a
        minute.
    :raises LocalProtocolError: for a number below 1.
    """

    connections: int = 1_000
    lines: int = 20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise LocalProtocolError(f"the limit {field.name} takes a whole number from 1, not {value}")


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
    #: Of the factory whose connections are joined.
    tunnels: TunnelFactory

    #: Whether the peer has said that it sends no more.
    _all_received = False

    #: The end that went out for this one, until this one is gone.
    outgoing: TunnelEnd | None = None

    def __init__(self, other: TunnelEnd | None = None) -> None:
        self._other = other
        if other is not None:
            self.tunnels = other.tunnels

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
        other.outgoing = self
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
        self._leave_other(reason)
        self.tunnels.left(self)

    def _leave_other(self, reason: Failure) -> None:
        other = self._other
        if other is None:
            return
        self._unjoin()
        # An end in order and a break must stay different: what was cut off must not look whole to the other peer.
        if reason.check(ConnectionDone):
            other.transport.loseConnection()
        else:
            why = reason.getErrorMessage()
            peer = self.transport.getPeer()
            if self.tunnels.lines.write(f"a connection broke: {why}", network(peer)):
                self._log.info("the connection with {peer} broke: {reason}", peer=describe_address(peer), reason=why)
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
        self.tunnels = self.factory
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
        why = describe_tls_error(result.value) or result.getErrorMessage().rstrip(".")
        peer = self.transport.getPeer()
        if self.factory.lines.write(f"cannot connect to {self.factory.where}: {why}", network(peer)):
            self.factory.log.error(
                "cannot connect {peer} to {where}: {reason}",
                peer=describe_address(peer),
                where=self.factory.where,
                reason=why,
            )
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self._connecting is not None:
            self._connecting.cancel()


class TunnelFactory(Factory):
    """
    Makes the ends that come in.

    :param endpoint: where the ends that go out connect.
    :param where: what the log calls that endpoint.
    :param limits: how many; the default is ``TunnelLimits()``.
    :param clock: an ``IReactorTime``; ``None`` for the global reactor.
    :param timeouts: of which those of TCP keepalive count, see :func:`~sodiumtwist.protocol.sockets.keep_alive`.
        Nothing else would tell that a machine at either end is gone: the ends may be silent for as long as they like.
    :ivar entries: the ends that came in and are connected.
    :ivar leaving: the ends that went out and are still connected, though those that came in are gone.
    """

    protocol = TunnelEntry
    noisy = False
    log = Logger()

    _stopped = False

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        where: str,
        limits: TunnelLimits | None = None,
        clock: IReactorTime | None = None,
        timeouts: Timeouts = Timeouts(),
    ) -> None:
        limits = limits or TunnelLimits()
        self.tcp_keepalive = timeouts.tcp_keepalive
        self.endpoint = endpoint
        self.where = where
        self.entries: set[TunnelEntry] = set()
        self.leaving: set[TunnelEnd] = set()
        self._clock = None if clock is None else steady_clock(clock)
        self.lines = SummedLines("connections that failed", limits.lines, self._find_clock)
        self._limit_lines = SummedLines("lines about limits", limits.lines, self._find_clock)
        self._limit = ReportedLimit("connections", limits.connections, self._limit_lines)

    def _find_clock(self) -> IReactorTime:
        if self._clock is None:
            self._clock = global_clock()
        return self._clock

    def _count(self) -> int:
        # What went out may outlive what came in: a peer that does not read must not be a way past the limit.
        return len(self.entries) + len(self.leaving)

    def buildProtocol(self, addr: Any) -> Any:
        """Make the end of a connection that came in; ``None``, which closes it, where there is no room for it."""
        if self._count() >= self._limit.limit:
            self._limit.reached()
            return None
        return super().buildProtocol(addr)

    def left(self, end: TunnelEnd) -> None:
        """The connection of an end is over."""
        self.leaving.discard(end)
        if isinstance(end, TunnelEntry):
            self.entries.discard(end)
            outgoing, end.outgoing = end.outgoing, None
            if outgoing is not None and not outgoing.gone:
                self.leaving.add(outgoing)
        self._limit.ease(self._count())
        if self._stopped and not self._count():
            self._sum_up()

    def doStart(self) -> None:
        """Called when the first port listens."""
        self._stopped = False
        self.lines.start()
        self._limit_lines.start()
        super().doStart()  # type: ignore[no-untyped-call]

    def doStop(self) -> None:
        """Called when the last port stops listening."""
        self._stopped = True
        self._sum_up()
        super().doStop()  # type: ignore[no-untyped-call]

    def _sum_up(self) -> None:
        self.lines.stop()
        self._limit_lines.stop()
