"""
What an application's protocol writes to, where it would write to a socket's transport.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet.interfaces import (
    IAddress,
    IProducer,
    IProtocol,
)
from zope.interface import implementer

from ..core.inbox import not_bytes
from ..interfaces import ISodiumTransport, IStreamTransport, Peer
from ..protocol.lifecycle import not_yet

#: Methods that a socket's transport may have, and ours then has, too.
PASSED_ON = frozenset({"getTcpKeepAlive", "getTcpNoDelay", "setTcpKeepAlive", "setTcpNoDelay"})


class End(Protocol):
    """
    The end of a stream that a transport is of.

    :ivar application: the application's protocol.
    :ivar transport: of the socket or what else is below.
    :ivar peer: who is at the other end.
    """

    application: IProtocol | None
    transport: IStreamTransport
    peer: Peer

    def write_stream(self, data: bytes) -> None:
        """Send bytes of the stream."""

    def end_stream(self) -> None:
        """Tell the peer that no more follows."""

    def break_off(self) -> None:
        """Close behind what was written, without the end of the stream."""

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


@implementer(ISodiumTransport)
class SodiumTransport:
    """
    What the application's protocol writes to. Small writes of one turn of the reactor leave
    together, large ones in PDUs of 130954 bytes.

    :ivar disconnecting: true from ``loseConnection``, ``breakConnection`` or ``abortConnection`` on.
    """

    disconnecting = False

    def __init__(self, end: End) -> None:
        self._end = end

    def __getattr__(self, name: str) -> Any:
        if name in PASSED_ON:
            return getattr(self._below, name)
        raise AttributeError(f"{type(self).__name__} has no {name}")

    @property
    def _below(self) -> IStreamTransport:
        below: IStreamTransport | None = self._end.transport
        if below is None:
            raise not_yet()
        return below

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
        return type(self._end.application).__name__

    def write(self, data: bytes) -> None:
        """
        Send bytes. After the stream has ended they are dropped, as sockets' transports do.

        :raises TypeError: for anything but bytes.
        """
        self._end.write_stream(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Send several pieces of bytes.

        :raises TypeError: for anything but bytes.
        """
        pieces = [data] if isinstance(data, str) else list(data)
        for piece in pieces:
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                raise not_bytes(piece, "a transport takes bytes")
        self.write(b"".join(pieces))

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

    def breakConnection(self) -> None:
        """
        Close when all is sent that was written, without the end of the stream: the peer gets all of it, and then sees a
        lost connection. Nothing more is received, and a registered producer is not waited for.
        """
        self.disconnecting = True
        self._end.break_off()

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

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Let a producer be paused when the transport below takes no more.

        :param producer: an ``IPushProducer`` if ``streaming``, else an ``IPullProducer``.
        :raises RuntimeError: when there is one already.
        """
        self._end.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._end.unregisterProducer()
