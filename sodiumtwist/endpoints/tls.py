"""
TLS within a stream, for protocols that begin it in the middle of their conversation, as mail does with STARTTLS.

TLS then is to the end of the stream what an application is, with a transport of its own, and to the application's
transport what the end was. So the application keeps its transport.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL.SSL import RECEIVED_SHUTDOWN, SENT_SHUTDOWN
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IProducer,
    IProtocol,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from ..interfaces import IDrainable, Peer
from ..protocol.log_names import log_prefix, rename_in_log
from ..protocol.producers import Producers, PulledProducer
from .transport import PASSED_ON, End, SodiumTransport, check_bytes

_BOTH = RECEIVED_SHUTDOWN | SENT_SHUTDOWN


@implementer(IDrainable)
class TLS(TLSMemoryBIOProtocol):
    """
    One connection of TLS.

    :ivar why: why the stream below has ended; ``None`` before.
    """

    why: Failure | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream has ended."""
        self.why = reason
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def drain_received(self) -> None:
        """The peer of the stream is about to stop."""
        end: Any = self.wrappedProtocol
        end.drain_received()


class TransportOfTLS(SodiumTransport):
    """What TLS writes to."""

    def __init__(self, end: End) -> None:
        super().__init__(end)
        self._left = Producers()

    def loseConnection(self) -> None:
        """
        Close. TLS does so when it is over, in order or not. What a producer still has would not be sent: so it is not
        waited for, and stopped in the reactor's next turn.
        """
        producer: Any = self.producer
        # The end itself stops its producer when it is over, or has refused it.
        if producer is None or self._end.is_over:
            super().loseConnection()
            return
        self.stopConsuming()
        self._left.producer = producer
        self._end.later(self.stop_producer)

    def stop_producer(self) -> None:
        """Stop a producer that was not waited for, if it was not stopped yet."""
        self._left.stop()

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._left.unregister()
        super().unregisterProducer()


@implementer(IHandshakeListener)
class TLSEnd(Protocol):
    """
    What the application's transport writes to and the application's protocol receives from.

    :param end: of the stream, or of TLS within it.
    :param below: the transport of TLS.
    :param stream: the application's transport.
    """

    transport: TLS
    passed_on = PASSED_ON | {"getHandle", "getPeerCertificate", "negotiatedProtocol"}

    def __init__(self, end: End, below: TransportOfTLS, stream: SodiumTransport) -> None:
        self._end = end
        self._below = below
        self._stream = stream
        self._pulled: PulledProducer | None = None
        self.receiver: IProtocol | None = end.receiver

    def __repr__(self) -> str:
        return f"<TLS in {self._end!r}>"

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        return self._end.peer

    @property
    def is_client(self) -> bool:
        """Whether it is the client's of the stream."""
        return self._end.is_client

    @property
    def is_authenticated(self) -> bool:
        """Whether the connection is not over."""
        return self._end.is_authenticated

    @property
    def is_over(self) -> bool:
        """Whether nothing more is taken from the application, or given to it."""
        return self._end.is_over

    @property
    def clock(self) -> IReactorTime:
        """The clock of all that waits."""
        return self._end.clock

    def later(self, function: Callable[[], None]) -> IDelayedCall:
        """Call something in the reactor's next turn."""
        return self._end.later(function)

    # What TLS calls

    def logPrefix(self) -> str:
        """How log lines begin that are about the application's protocol."""
        return log_prefix(self.receiver)

    def connectionMade(self) -> None:
        """TLS is about to begin: there was nothing wrong with the context."""
        self._end.carry(self._below, self.transport)
        self._stream.carried_by(self)

    def handshakeCompleted(self) -> None:
        """The two ends have agreed."""
        if IHandshakeListener.providedBy(self.receiver):
            self.receiver.handshakeCompleted()

    def drain_received(self) -> None:
        """The other end is about to stop."""
        drainable = IDrainable(self.receiver, None)
        if drainable is not None:
            drainable.drain_received()

    def dataReceived(self, data: bytes) -> None:
        """The other end has sent this."""
        if not self._stream.disconnecting:
            self.receiver.dataReceived(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        if reason.check(ConnectionLost):
            why = self.transport.why
            if self.transport.getHandle().get_shutdown() & _BOTH == _BOTH:
                # Both have said that this was all: however the stream ends behind that, nothing is missing.
                reason = Failure(ConnectionDone())
            elif why is not None and not why.check(ConnectionDone):
                reason = why  # it tells more than that TLS was cut
        self._below.stop_producer()
        self._stream.disconnecting = True
        self._stream.producer = None
        self.receiver.connectionLost(reason)  # type: ignore[union-attr]

    # What the application's transport calls

    def write_stream(self, data: bytes) -> None:
        """Send bytes."""
        self.transport.write(check_bytes(data))

    def write_now(self, data: bytes) -> None:
        """Send bytes. TLS itself waits for more."""
        self.write_stream(data)

    def end_stream(self) -> None:
        """Close, in both directions."""
        self.transport.loseConnection()

    def break_off(self, why: str) -> None:
        """Close behind what was written, without the end of TLS or of the stream."""
        self._below.breakConnection(why)

    def abort(self) -> None:
        """Close at once."""
        self._below.abortConnection()

    def pauseProducing(self) -> None:
        """Deliver nothing more for now."""
        self._below.pauseProducing()

    def resumeProducing(self) -> None:
        """Deliver again."""
        self._below.resumeProducing()

    def stopProducing(self) -> None:
        """Deliver nothing more, and break off unless the application closes within this turn of the reactor."""
        self._below.pauseProducing()
        self.later(self._break_unless_closed)

    def _break_unless_closed(self) -> None:
        if not self._stream.disconnecting:
            self._stream.breakConnection()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Let a producer be paused when no more is taken."""
        pushing: Any = producer
        if not streaming:
            # TLS would have it pulled by the global reactor.
            pushing = PulledProducer(producer, self.later, self.producer_failed)
            pushing.resumeProducing()
        try:
            self.transport.registerProducer(pushing, True)
        except RuntimeError:
            if not streaming:
                pushing.pauseProducing()
            raise
        self._pulled = None if streaming else pushing

    def unregisterProducer(self) -> None:
        """The producer is done."""
        if self._pulled is not None:
            self._pulled.pauseProducing()
            self._pulled = None
        self.transport.unregisterProducer()

    def pause_producer(self) -> None:
        """Pause the producer, if no more is taken."""
        self._end.pause_producer()

    def producer_failed(self, failure: Failure) -> None:
        """A producer has raised."""
        self._end.producer_failed(failure)

    def carry(self, stream: SodiumTransport, receiver: IProtocol) -> None:
        """Put another protocol between this end and the application: TLS within TLS."""
        self._stream = stream
        self.received_by(receiver)

    def received_by(self, receiver: IProtocol) -> None:
        """Give what comes to another protocol from now on."""
        before = self._end.logPrefix()
        self.receiver = receiver
        rename_in_log(self._end.transport, before, self._end.logPrefix())

    def start_tls(self, stream: SodiumTransport, context: Any, as_client: bool) -> None:
        """Put TLS between this end and its transport."""
        start_tls(self, stream, context, as_client)


def start_tls(end: End, stream: SodiumTransport, context: Any, as_client: bool) -> None:
    """
    Put TLS between an end and the application's transport.

    :param end: the end.
    :param stream: the transport.
    :param context: what makes the connection of OpenSSL. What it raises is raised, and nothing has changed then.
    :param as_client: whether this end begins with TLS.
    """
    below = TransportOfTLS(end)
    producer, streaming = stream.producer, stream.streamingProducer
    if producer is not None:
        stream.unregisterProducer()
    try:
        factory = TLSMemoryBIOFactory(context, as_client, Factory(), end.clock)
        TLS(factory, TLSEnd(end, below, stream)).makeConnection(below)
        alsoProvides(stream, ISSLTransport)
    finally:
        if producer is not None:
            stream.registerProducer(producer, streaming)
            # Now, not a turn later: TLS resumes none that it has not paused, and this one may be paused since before.
            end.pause_producer()
