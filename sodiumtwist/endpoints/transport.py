"""
What an application's protocol writes to, where it would write to a socket's transport.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet.interfaces import (
    IAddress,
    ILoggingContext,
    IProducer,
    IProtocol,
)
from zope.interface import implementer

from ..describe.log import describe_address
from ..interfaces import ISodiumTransport, IStreamTransport, Peer

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

    :ivar application: the application's protocol.
    :ivar transport: of the socket or what else is below.
    :ivar peer: who is at the other end.
    """

    application: IProtocol | None
    transport: IStreamTransport
    peer: Peer

    def logPrefix(self) -> str:
        """How log lines begin that are about it."""

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


@implementer(ISodiumTransport, ILoggingContext)
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
            return getattr(self._end.transport, name)
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def __repr__(self) -> str:
        # As a socket's: whose it is, by its class, and where it leads.
        below = self._end.transport
        where = "nowhere yet" if below is None else describe_address(below.getPeer())
        return f"<{type(self).__name__} of {type(self._end.application).__name__} with {where}>"

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        return self._end.peer

    def getPeer(self) -> IAddress:
        """The address of the other end, as the transport below tells it."""
        return self._end.transport.getPeer()

    def getHost(self) -> IAddress:
        """The address of this end, as the transport below tells it."""
        return self._end.transport.getHost()

    def logPrefix(self) -> str:
        """How log lines begin that are about the application's protocol."""
        return self._end.logPrefix()

    def write(self, data: bytes) -> None:
        """
        Send bytes. After the stream has ended they are dropped, as sockets' transports do.

        :raises TypeError: for anything but bytes.
        """
        self._end.write_stream(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Send several pieces of bytes.

        :raises TypeError: when one is anything else.
        """
        self.write(b"".join(map(check_bytes, data)))

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

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._end.unregisterProducer()
