"""
Tunnels: for each connection that comes in, another one is made through an endpoint, and the two are joined.

What one end receives the other end sends, no faster than it can: an end that is full pauses the other.
When an end has received all, the other end tells its peer so, and the other direction goes on. When one connection
breaks, the other one is broken as well, behind what came before.

An end in order and a break stay different: what was cut off must not look whole. Only an end in order that was received
is passed on as one, never what a transport calls while it is lost.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from .admission.limits import check_limits
from .admission.networks import network
from .admission.reported import ReportedLimit
from .admission.summed_lines import SummedLines
from .core.base import Traffic
from .core.errors import ConnectionCut, PeerAborted, SodiumError
from .core.keepalive import Timeouts
from .describe import describe_tls_error
from .describe.log import Logger, describe_address
from .interfaces import IDrainable, IReadListener, ISodiumTransport
from .protocol.clock import steady_clock
from .protocol.farewell import NO_END, Farewell
from .protocol.observing import Observer
from .protocol.proxy_header import describe_missing_header, read_proxy_header
from .protocol.sockets import (
    TransportBelow,
    half_closes,
    is_tls,
    keep_alive,
)

#: Seconds between two looks whether a socket is broken from which nothing is read: its peer has ended its direction,
#: or the other end is full.
UNREAD_LOOK = 5.0


#: What the peer is told of an encrypted connection that is broken off.
JOINED_BROKE = "the connection behind it broke"
UNREACHABLE = "there is no connection to what is behind it"
STOPPING = "the tunnel is stopping"

#: How joined connections end: in order; its client only looked; one of the two broke; the tunnel stops.
CLOSED, LOOKED, BROKEN, STOPPED = "closed", "looked", "broken", "stopped"

# What the log says of that.
_PARTED = {
    CLOSED: (
        "the connection of {client} to {where} is over after {seconds} s, {bytes_received} bytes in, {bytes_sent} out"
    ),
    LOOKED: "{peer} left and had sent nothing: {reason}",
    BROKEN: "the connection with {peer} broke: {reason}",
    STOPPED: "the connection of {client} to {where} is cut off after {seconds} s: {reason}",
}


def _describe_loss(reason: Failure) -> str:
    # Where the other end has said why, or we know more than that a connection was lost, that says it all.
    error: Any = reason.value
    known = isinstance(error.__cause__, SodiumError)
    return str(error.args[0]) if known else reason.getErrorMessage()


@dataclass(frozen=True)
class TunnelLimits:
    """
    What one tunnel takes.

    :ivar connections: that came in, at once, joined or about to be; one more is reset at once. The default is what a
        server takes from one address.
    :ivar lines: how many lines in a minute connections that fail may cause in the log. More are summed up, a line a
        minute.
    :ivar client_lines: the same for connections that come and go as they should.
    :raises LocalProtocolError: for a number below 1.
    """

    connections: int = 1_000
    lines: int = 20
    client_lines: int = 600

    def __post_init__(self) -> None:
        check_limits(self)


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
            self._source.pause()

    def resumeProducing(self) -> None:
        if self._source.all_received:
            # A socket's transport that was full when it was told of the end goes on here, and forgets it.
            self._sink.transport.loseWriteConnection()
        elif self._sink.takes_nothing:
            self._sink.transport.unregisterProducer()
        else:
            self._source.resume()

    def stopProducing(self) -> None:
        self._sink.take_rest()


@implementer(IHalfCloseableProtocol, IDrainable, IReadListener)
class TunnelEnd(Protocol):
    """
    One of two joined ends.

    :param other: the end to join when this one is connected.
    :ivar all_received: whether the peer has said that it sends no more.
    :ivar began: when its transport was made, in seconds of the factory's clock.
    :ivar is_over: whether its connection is over, but for what is still to be read.
    :ivar gone: whether all is over.
    """

    _log = Logger()

    transport: Any
    tunnels: TunnelFactory
    #: Writes to the other end.
    _hand_on: Callable[[bytes], None]
    began: float
    all_received = is_over = gone = False
    #: Whether it came in, and was not made for one that did.
    came_in = False

    #: Whether the peer was told that no more follows.
    _all_sent = False
    #: Whether it is being closed though the peer has not ended its direction.
    _closing = False
    #: Whether nothing is read because the other end is full.
    _paused = False
    #: How much has come from its peer, and was handed on to it, by now; of an encrypted connection what it carries.
    bytes_received = bytes_sent = 0
    #: Whether the socket has told, when it was written to, that the connection is broken.
    _broken = False
    _farewell: Farewell | None = None
    _look: IDelayedCall | None = None

    #: The end that went out for this one, until this one is gone.
    outgoing: TunnelEnd | None = None

    def __init__(self, other: TunnelEnd | None = None) -> None:
        self._other = other
        if other is not None:
            self.tunnels = other.tunnels

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
        other.outgoing = self
        for source, sink in ((self, other), (other, self)):
            source._hand_on = sink._way_in(source._gathers or source._below.is_bare_socket)
            sink.transport.registerProducer(Feed(source, sink), True)
        if ISodiumTransport.providedBy(self.transport):
            self.tunnels.speaks(self.transport.peer.version)
        other._log_joined()
        # It has waited for this, see TunnelEntry. Last, so that what it reads now has somewhere to go.
        other.transport.resumeProducing()

    def _arrive(self) -> None:
        self.began = self.tunnels.clock.seconds()
        self._below = TransportBelow(self.transport)
        self._below.send_small_packets()
        # What wraps a stream of ours, as TLS does, has its interfaces, too, but tells of no read; nor may it be passed.
        self._gathers = ISodiumTransport.providedBy(self.transport) and self.transport.protocol is self
        self._gathered: list[bytes] = []
        # When this process is killed, what was cut must not look whole either.
        self._below.reset_when_dropped(True)
        keep_alive(self.transport, self.tunnels.tcp_keepalive)

    def dataReceived(self, data: bytes) -> None:
        """Hand the bytes on to the other end."""
        size = len(data)
        self.bytes_received += size
        # An end that is closing may still receive.
        if self._other is not None:
            self._other.bytes_sent += size
            if self._gathers:
                self._gathered.append(data)
            else:
                self._hand_on(data)
            if self._farewell is not None:
                self._farewell.wait()

    def read_over(self) -> None:
        """Hand on in one piece what came together."""
        gathered = self._gathered
        if gathered:
            data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
            gathered.clear()
            if self._other is not None:
                self._hand_on(data)

    def _way_in(self, whole: bool) -> Callable[[bytes], None]:
        """
        Tell how to write to this end.

        :param whole: whether all is written at once that came together.
        """
        if self._below.is_bare_socket:
            return self._write_socket
        write: Callable[[bytes], None] = self.transport.write_now if whole and self._gathers else self.transport.write
        return write

    def _write_socket(self, data: bytes) -> None:
        # Without waiting for the reactor to find the socket ready, which it nearly always is.
        try:
            data = self._below.send_at_once(data)
        except ConnectionLost:
            # The socket tells it once. The reactor finds the same out when it writes, but may read first.
            self._broken = True
        if data:
            self.transport.write(data)

    def pause(self) -> None:
        """Read nothing: the other end is full."""
        self._paused = True
        self.transport.pauseProducing()
        if self._look is None:
            self._look_later()

    def resume(self) -> None:
        """Read again."""
        # The look goes on till it finds that: this is done too often to set a timer each time.
        self._paused = False
        self.transport.resumeProducing()

    @property
    def traffic(self) -> Traffic:
        """How much has come from its peer, and was handed on to it, by now; PDUs are counted where they are sealed."""
        return Traffic(self.bytes_received, self.bytes_sent)

    @property
    def takes_nothing(self) -> bool:
        """Whether TLS here was ended by its peer. It is lost when no producer is registered any more."""
        return self._below.is_over_above

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
        self.read_over()
        other = self._other
        if self.all_received or other is None:
            return
        error = errno.ECONNRESET if self._broken else self._below.take_error()
        # A reactor may take a reset for an end. That the pipe is broken is told of a peer that has ended before.
        if error not in (0, errno.EPIPE):
            self.transport.abortConnection()
            return
        self.all_received = True
        other._end()
        if error:
            self.transport.abortConnection()
        else:
            self._leave_if_done()
            if self._look is None:
                self._look_later()

    def _look_whether_broken(self) -> None:
        """The reactor does not tell of a reset while nothing is read."""
        self._look = None
        if self._other is None or not (self._paused or self.all_received):
            return
        if self.all_received and self._below.take_error():
            self.transport.abortConnection()
        elif not self.all_received and self._below.is_broken:
            # What came before is read, and then the reactor tells.
            self.is_over = True
            self.resume()
        else:
            self._look_later()

    def _look_later(self) -> None:
        # A stream of ours sends PINGs, and so it notices.
        if not ISodiumTransport.providedBy(self.transport):
            self._look = self.tunnels.clock.callLater(UNREAD_LOOK, self._look_whether_broken)

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

    def drain_received(self) -> None:
        """The other end of the encrypted connection is about to stop. What is under way goes on while it may."""
        self.tunnels.drains()

    # Both directions

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close the other end behind all that was received. When this one broke, break the other one there."""
        self.read_over()
        self.gone = True
        if self._farewell is not None:
            self._farewell.end()
        if self._look is not None:
            self._look.cancel()
        self._leave_other(reason)
        self.tunnels.left(self)

    def _leave_other(self, reason: Failure) -> None:
        other = self._other
        if other is None:
            return
        self._unjoin()
        # A transport that was closed here ends in order, whatever its peer was about to say; not so TLS.
        in_order = reason.check(ConnectionDone) and (not self._closing or is_tls(self.transport))
        if in_order:
            self._log_parted(other, CLOSED)
            other._close()
            return
        if self._only_looked(reason):
            self._log_parted(other, LOOKED, self._describe_leaving(reason))
        elif not reason.check(ConnectionDone):
            self._log_parted(other, BROKEN, _describe_loss(reason))
        else:
            self._log_parted(other, CLOSED)
        other.break_off(JOINED_BROKE)

    def _log_joined(self) -> None:
        if self._is_logged_above or not self.tunnels.joined_lines.write(None, self.transport.getPeer()):
            return
        self._log.info(
            "{client} is connected to {where}",
            event="tunnel_opened",
            client=describe_address(self.transport.getPeer()),
            where=self.tunnels.where,
            seconds=round(self.tunnels.clock.seconds() - self.began, 3),
        )

    @property
    def _is_logged_above(self) -> bool:
        """Whether a server's log has when its client came and went."""
        return ISodiumTransport.providedBy(self.transport)

    def _log_parted(self, other: TunnelEnd, outcome: str, reason: str = "") -> None:
        """
        Say that two ends are no longer joined, since this one is over.

        :param other: the other one.
        :param outcome: how this one ended.
        :param reason: what more is known of that.
        """
        entry, peer, tunnels = self if self.came_in else other, self.transport.getPeer(), self.tunnels
        usual = outcome in (CLOSED, STOPPED)
        if usual and entry._is_logged_above:
            return
        line = _PARTED[outcome] if reason else _PARTED[outcome].removesuffix(": {reason}")
        if (tunnels.parted_lines if usual else tunnels.lines).write(reason or outcome, network(peer)):
            self._log.info(
                line,
                event="tunnel_gone",
                peer=describe_address(peer),
                client=describe_address(entry.transport.getPeer()),
                where=tunnels.where,
                outcome=outcome,
                reason=reason,
                seconds=round(tunnels.clock.seconds() - entry.began, 3),
                bytes_received=entry.bytes_received,
                bytes_sent=entry.bytes_sent,
            )

    def _describe_leaving(self, reason: Failure) -> str:
        error = reason.value and reason.value.__cause__
        if isinstance(error, PeerAborted):
            return error.text
        # It may have been there to receive.
        return "the service had not ended" if isinstance(error, ConnectionCut) else ""

    def _only_looked(self, reason: Failure) -> bool:
        """
        Tell whether it only came to see whether somebody is there, as ``sodiumtwist ping`` does, or to ask for files:
        nothing of it was cut.
        """
        error: Any = reason.value
        if self.bytes_received:
            return False
        return error.args == (NO_END,) or (self.came_in and isinstance(error.__cause__, (ConnectionCut, PeerAborted)))

    def _unjoin(self) -> None:
        other = self._other
        assert other is not None
        # Both forget the other: when the second one is lost, the first must not be closed again. And neither stays a
        # producer, for which closing might wait.
        self._other = other._other = None
        del self._hand_on, other._hand_on
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

    def break_off(self, why: str) -> None:
        """
        Break the connection behind what the peer has yet to take.

        :param why: what to tell the peer, where there is a word for it.
        """
        if ISodiumTransport.providedBy(self.transport):
            self.transport.breakConnection(why)
        else:
            # It notices when the peer has broken it, or waits to send more before it takes any.
            self.transport.resumeProducing()
            self._wait(self.transport.abortConnection).deliver()

    def drop(self) -> None:
        """Break this connection and the one it is joined with, unless they are on their way to an end already."""
        other = self._other
        if other is not None:
            self._unjoin()
            self._log_parted(other, STOPPED, STOPPING)
            other.break_off(STOPPING)
            self.break_off(STOPPING)
        elif self._farewell is None:
            self.break_off(STOPPING)

    def _wait(self, leave: Callable[[], None]) -> Farewell:
        """Wait for the peer with the usual patience, then break the connection."""
        if self._farewell is not None:
            self._farewell.end()
        tunnels = self.tunnels
        self._farewell = Farewell(tunnels.clock, self._below, tunnels.patience, leave, self.transport.abortConnection)
        return self._farewell


class TunnelEntry(TunnelEnd):
    """The end that came in. It reads nothing until the end that goes out is connected."""

    factory: Any
    came_in = True

    _connecting: Deferred[Any] | None = None

    def connectionMade(self) -> None:
        self.tunnels = self.factory
        self.factory.entries.add(self)
        self._arrive()
        read_proxy_header(self.transport)
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
                event="tunnel_failed",
                peer=describe_address(peer),
                where=self.factory.where,
                reason=why,
            )
        # No end in order: that would be an answer, though an empty one. Why it is so is for the log here alone.
        self.break_off(UNREACHABLE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        why = describe_missing_header(self.transport, reason)
        if why is not None and self.factory.lines.write(f"no header: {why}", network(self.transport.getPeer())):
            where = describe_address(self.transport.getPeer())
            self._log.info("refused {peer}: {reason}", event="tunnel_refused", peer=where, reason=why)
        observer, outcome = self.factory.observer, self._name_end(reason)
        super().connectionLost(reason)
        if observer is not None:
            observer.parted(self, outcome, self.tunnels.clock.seconds() - self.began)
        if self._connecting is not None:
            self._connecting.cancel()

    def _name_end(self, reason: Failure) -> str:
        if self.outgoing is None:
            return "unreachable" if self._connecting is None else "left"
        return "closed" if reason.check(ConnectionDone) else "broken"


class TurnedAway(Protocol):
    """Resets a connection that came in. Closed in order, it would look like an empty answer."""

    transport: Any
    traffic = Traffic()

    def connectionMade(self) -> None:
        self.transport.abortConnection()
        TransportBelow(self.transport).free_descriptor()


class TunnelFactory(Factory):
    """
    Makes the ends that come in.

    :param endpoint: where the ends that go out connect.
    :param where: what the log calls that endpoint.
    :param limits: how many; the default is ``TunnelLimits()``.
    :param clock: an ``IReactorTime``; ``None`` for the global reactor.
    :param timeouts: of which those of TCP keepalive count, see :func:`~sodiumtwist.protocol.sockets.keep_alive`, and
        that of inactivity: for so long an end that closes may take nothing of what is left for it. Nothing else would
        tell that a machine at either end is gone: the ends may be silent for as long as they like.
    :ivar entries: the ends that came in and are connected.
    :ivar lines: of connections that failed, in the log.
    :ivar joined_lines: of those that were made.
    :ivar parted_lines: of those that ended as they should.
    :ivar leaving: the ends that went out and are still connected, though those that came in are gone.
    """

    protocol = TunnelEntry
    noisy = False
    log = Logger()

    #: Is told how connections end; ``None`` where nobody counts them.
    observer: Observer | None = None

    _stopped = False
    #: Which version of the protocol was spoken last.
    _version: int | None = None
    #: Whether the log has that the other side is about to stop, and no connection was made since.
    _drains = False
    #: Fires when all connections have ended; ``None`` when nobody waits for that.
    _finished: Deferred[None] | None = None

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        where: str,
        limits: TunnelLimits | None = None,
        clock: IReactorTime | None = None,
        timeouts: Timeouts = Timeouts(),
    ) -> None:
        limits = limits or TunnelLimits()
        self._take(endpoint, where, timeouts)
        self.entries: set[TunnelEntry] = set()
        self.leaving: set[TunnelEnd] = set()
        self._clock = clock
        self.lines = SummedLines("connections that failed", limits.lines, lambda: self.clock)
        usual = limits.client_lines
        self.joined_lines = SummedLines("connections", usual, lambda: self.clock)
        self.parted_lines = SummedLines("ends of connections", usual, lambda: self.clock)
        self._limit_lines = SummedLines("lines about limits", limits.lines, lambda: self.clock)
        self._limit = ReportedLimit("connections", limits.connections, self._limit_lines)

    def _take(self, endpoint: IStreamClientEndpoint, where: str, timeouts: Timeouts) -> None:
        self.tcp_keepalive = timeouts.tcp_keepalive
        self.patience = timeouts.inactivity
        self.endpoint = endpoint
        self.where = where

    def change(self, endpoint: IStreamClientEndpoint, where: str, limits: TunnelLimits, timeouts: Timeouts) -> None:
        """
        Take others of what the factory was made with, for connections from now on. The parameters are those of the
        factory.
        """
        self._take(endpoint, where, timeouts)
        for lines in (self.lines, self._limit_lines):
            lines.change(limits.lines)
        for lines in (self.joined_lines, self.parted_lines):
            lines.change(limits.client_lines)
        self._limit.limit = limits.connections

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.where}>"

    @cached_property
    def clock(self) -> IReactorTime:
        """The clock."""
        return steady_clock(self._clock)

    @property
    def limit(self) -> int:
        """How many connections there may be at once."""
        return self._limit.limit

    def speaks(self, version: int) -> None:
        """
        A connection through the endpoint is there.

        :param version: of the protocol that is spoken.
        """
        self._drains = False
        if version != self._version:
            self._version = version
            self.log.info(
                "{where} speaks version {version} of the protocol",
                event="server_version",
                where=self.where,
                version=version,
            )

    def drains(self) -> None:
        """A connection has told that the other side is about to stop."""
        if not self._drains:
            self._drains = True
            self.log.info(
                "{where} is about to stop; {count} connections go on",
                event="server_stopping",
                where=self.where,
                count=self._count(),
            )

    def _count(self) -> int:
        # What went out may outlive what came in: a peer that does not read must not be a way past the limit.
        return len(self.entries) + len(self.leaving)

    def buildProtocol(self, addr: Any) -> Any:
        """Make the end of a connection that came in, or what resets it where there is no room for it."""
        if self._count() >= self._limit.limit:
            self._limit.reached()
            if self.observer is not None:
                self.observer.parted(TurnedAway(), "no_room", 0.0)
            return TurnedAway()
        return super().buildProtocol(addr)

    @property
    def ends(self) -> set[TunnelEnd]:
        """All ends that are connected."""
        joined = {entry.outgoing for entry in self.entries if entry.outgoing is not None and not entry.outgoing.gone}
        return {*self.entries, *joined, *self.leaving}

    def finish(self, timeout: float) -> Deferred[None]:
        """
        Wait for connections to end. Stop listening before that.

        :param timeout: how many seconds they get.
        :return: fires when all have ended, or their time is over. To cancel it is to wait no longer.
        """
        finished: Deferred[None] = Deferred(lambda waiting: waiting.callback(None))
        self._finished = finished
        if not self._count():
            finished.callback(None)
            return finished
        return finished.addTimeout(timeout, self.clock, lambda result, seconds: None)

    def drop(self) -> None:
        """Break all connections, behind what their peers have yet to take."""
        for end in self.ends:
            end.drop()

    def left(self, end: TunnelEnd) -> None:
        """The connection of an end is over."""
        self.leaving.discard(end)
        if isinstance(end, TunnelEntry):
            self.entries.discard(end)
            outgoing, end.outgoing = end.outgoing, None
            if outgoing is not None and not outgoing.gone:
                self.leaving.add(outgoing)
        self._limit.ease(self._count())
        if self._count():
            return
        if self._stopped:
            self._sum_up()
        if self._finished is not None and not self._finished.called:
            self._finished.callback(None)

    def doStart(self) -> None:
        """Called for each port that listens."""
        self._stopped = False
        self.lines.start()
        self.joined_lines.start()
        self.parted_lines.start()
        self._limit_lines.start()
        super().doStart()  # type: ignore[no-untyped-call]

    def doStop(self) -> None:
        """Called for each port that stops listening."""
        super().doStop()  # type: ignore[no-untyped-call]
        if not self.numPorts:
            self._stopped = True
            self._sum_up()

    def _sum_up(self) -> None:
        self.lines.stop()
        self.joined_lines.stop()
        self.parted_lines.stop()
        self._limit_lines.stop()
