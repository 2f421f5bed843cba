"""
What an application's protocol writes to, where it would write to a socket's transport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    ILoggingContext,
    IProducer,
    IProtocol,
    IReactorTime,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.v2.pdus import pack_line
from ..interfaces import BROKEN_OFF, ISodiumTransport, IStreamTransport, Peer
from ..protocol.lifecycle import not_yet

#: Methods that a socket's transport may have, and ours then has, too.
PASSED_ON = frozenset({"getTcpKeepAlive", "getTcpNoDelay", "setTcpKeepAlive", "setTcpNoDelay"})


def check_bytes(data: Any) -> bytes:
    """
    See that something is bytes.

    :return: it, as ``bytes``.
    :raises TypeError: for anything else, in the words of sockets' transports.
    """
    if type(data) is bytes:
        return data
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError("Data must be bytes")
    return bytes(data)


class End(Protocol):
    """
    The end of a stream that a transport is of.

    :ivar receiver: the protocol that gets what comes.
    :ivar passed_on: names that the transport takes from the one below, if that has them.
    """

    receiver: IProtocol | None
    passed_on: frozenset[str]

    # Properties, as some ends find out only when they are asked.
    @property
    def transport(self) -> Any:
        """What is below."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""

    @property
    def is_client(self) -> bool:
        """Whether it is the client's."""

    @property
    def is_authenticated(self) -> bool:
        """Whether the other end is authenticated, and the connection not over."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more is taken from the application, or given to it."""

    @property
    def clock(self) -> IReactorTime:
        """The clock of all that waits."""

    def later(self, function: Callable[[], None]) -> IDelayedCall:
        """Call something in the reactor's next turn."""

    def logPrefix(self) -> str:
        """How log lines begin that are about it."""

    def write_stream(self, data: bytes) -> None:
        """Send bytes of the stream."""

    def write_now(self, data: bytes) -> None:
        """Send bytes of the stream in this turn of the reactor."""

    def end_stream(self) -> None:
        """Tell the peer that no more follows."""

    def break_off(self, why: str) -> None:
        """Close behind what was written, without the end of the stream, and tell the peer why."""

    def abort(self) -> None:
        """Close at once."""

    def pauseProducing(self) -> None:
        """Deliver nothing more for now."""

    def resumeProducing(self) -> None:
        """Deliver again."""

    def stopProducing(self) -> None:
        """Deliver nothing more."""

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Let a producer be paused when no more is taken."""

    def unregisterProducer(self) -> None:
        """The producer is done."""

    def pause_producer(self) -> None:
        """Pause the producer, if no more is taken."""

    def producer_failed(self, failure: Failure) -> None:
        """A producer has raised."""

    def carry(self, stream: SodiumTransport, receiver: IProtocol) -> None:
        """Put another protocol, with a transport of its own, between this end and the application."""

    def received_by(self, receiver: IProtocol) -> None:
        """Give what comes to another protocol from now on."""

    def start_tls(self, stream: SodiumTransport, context: Any, as_client: bool) -> None:
        """Put TLS between this end and its transport."""


@implementer(ISodiumTransport, ILoggingContext)
class SodiumTransport:
    """
    What the application's protocol writes to. Small writes of one turn of the reactor leave
    together, large ones in PDUs of 130920 bytes.

    :ivar disconnecting: true from ``loseConnection``, ``breakConnection`` or ``abortConnection`` on.
    :ivar TLS: whether ``startTLS`` was called.
    :ivar producer: the producer that is registered; ``None`` when there is none.
    :ivar streamingProducer: whether that is an ``IPushProducer``.
    """

    disconnecting = False
    TLS = False
    producer: IProducer | None = None
    streamingProducer = False

    def __init__(self, end: End) -> None:
        self._end = end

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {type(self.protocol).__name__} in {self._end!r}>"

    def __getattr__(self, name: str) -> Any:
        if name in self._end.passed_on:
            return getattr(self._below, name)
        raise AttributeError(f"{type(self).__name__} has no {name}")

    @property
    def _below(self) -> IStreamTransport:
        below: IStreamTransport | None = self._end.transport
        if below is None:
            raise not_yet()
        return below

    @property
    def protocol(self) -> IProtocol | None:
        """The protocol that gets what comes. Another one can be put in its place, which then gets the rest."""
        return self._end.receiver

    @protocol.setter
    def protocol(self, protocol: IProtocol) -> None:
        self._end.received_by(protocol)

    @property
    def connected(self) -> bool:
        """Whether the protocol has yet to be told that the connection is lost."""
        return self._end.is_authenticated

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        return self._end.peer

    def getPeer(self) -> IAddress:
        """The address of the other end, as the transport below tells it."""
        return self._below.getPeer()

    def getHost(self) -> IAddress:
        """The address of this end, as the transport below tells it."""
        return self._below.getHost()

    def logPrefix(self) -> str:
        """How log lines begin that are about the application's protocol."""
        return self._end.logPrefix()

    def write(self, data: bytes) -> None:
        """
        Send bytes. After the stream has ended they are dropped, as sockets' transports do.

        :raises TypeError: for anything but bytes.
        """
        self._end.write_stream(data)

    def write_now(self, data: bytes) -> None:
        """
        Send bytes, and what was written before, without waiting for more that may be written in this turn of the
        reactor. For whoever has all of it. A producer may be paused within this call.

        :raises TypeError: for anything but bytes.
        """
        self._end.write_now(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Send several pieces of bytes.

        :raises TypeError: for anything but bytes.
        """
        pieces = [data] if isinstance(data, str) else data
        self.write(b"".join(map(check_bytes, pieces)))

    def loseConnection(self) -> None:
        """
        Close, when a registered producer has ended and all is sent. Nothing more is received.
        """
        if not self.disconnecting:
            self.disconnecting = True
            self._end.resumeProducing()
            self._end.end_stream()

    def loseWriteConnection(self) -> None:
        """
        Tell the peer that no more follows, when a registered producer has ended, and go on receiving.
        """
        self._end.end_stream()

    def breakConnection(self, why: str = BROKEN_OFF) -> None:
        """
        Close when all is sent that was written, without the end of the stream: the peer gets all of it, and then sees a
        lost connection. Nothing more is received, and a registered producer is not waited for.

        :param why: a line for a person, up to 1024 bytes of UTF-8, which the peer sees in version 2.
        :raises LocalProtocolError: when it is longer.
        """
        pack_line(why)
        self.disconnecting = True
        self._end.break_off(why)

    def abortConnection(self) -> None:
        """Close at once; what was not sent yet is dropped, and the peer sees a lost connection."""
        self.disconnecting = True
        self._end.abort()

    def pauseProducing(self) -> None:
        """Deliver nothing more until ``resumeProducing``; the transport below stops reading."""
        if not self.disconnecting:
            self._end.pauseProducing()

    def resumeProducing(self) -> None:
        """Deliver again."""
        self._end.resumeProducing()

    def stopProducing(self) -> None:
        """
        Deliver nothing more: the consumer is gone. This is no end of the stream, for whoever calls it need not know
        why: a socket's transport calls it when its own connection breaks. If the application does not close within
        this turn of the reactor, this comes to ``breakConnection()``.
        """
        if not self.disconnecting:
            self._end.stopProducing()

    def stopConsuming(self) -> None:
        """Close: the producer has nothing more to give, and need not unregister itself."""
        self.unregisterProducer()
        self.loseConnection()

    # Sockets' transports have them, and no interface of Twisted's.

    def stopReading(self) -> None:
        """The same as ``pauseProducing``."""
        self.pauseProducing()

    def startReading(self) -> None:
        """The same as ``resumeProducing``."""
        self.resumeProducing()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Let a producer be paused when the transport below takes no more.

        :param producer: an ``IPushProducer`` if ``streaming``, else an ``IPullProducer``.
        :raises RuntimeError: when there is one already.
        """
        self._end.registerProducer(producer, streaming)
        self.producer, self.streamingProducer = producer, streaming

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self.producer = None
        self._end.unregisterProducer()

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """
        From here on speak TLS within the stream. What was written before goes before it, and what is written from now
        on is encrypted once more. Both ends have to call it, at the same place of their conversation.

        TLS ends both directions at once: from here on ``loseWriteConnection()`` does that, too. What comes until the
        other end has answered is still delivered. And ``breakConnection()`` drops what waits for TLS to begin.

        :param contextFactory: as for a socket's transport: on a client what ``optionsForClientTLS`` returns, on a
            server ``CertificateOptions``, or an ``IOpenSSLContextFactory``.
        :param normal: whether the client of the stream is that of TLS; else its server is.
        :raises LocalProtocolError: before there is a stream.
        """
        if self.disconnecting:
            return
        if not self._end.is_authenticated:
            raise not_yet()
        self._end.start_tls(self, contextFactory, self._end.is_client is bool(normal))

    def carried_by(self, end: End) -> None:
        """
        Go on at another end, which is TLS's.

        :param end: that one.
        """
        self._end = end
        self.TLS = True
