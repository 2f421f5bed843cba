"""
A stream between two authenticated ends, for protocols that know nothing of PDUs: each gets a
:class:`SodiumTransport` where it would get a socket's transport.

DATA carries the bytes of the stream, cut anywhere. An empty DATA carries none and means that no
more follow in its direction. So the end of a stream is as well protected as its bytes, and one
direction can end before the other. A connection that closes without it was cut, by whomever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
)
from twisted.python.failure import Failure

from ..core.errors import UnexpectedPDU
from ..core.inbox import not_bytes
from ..interfaces import Peer
from ..protocol.base import SodiumProtocol
from ..protocol.client import SodiumClientProtocol
from ..protocol.factories import SodiumClientFactory, SodiumServerFactory
from ..protocol.farewell import NO_END
from ..protocol.lifecycle import not_yet
from ..protocol.server import SodiumServerProtocol
from ..protocol.sockets import CHUNK_SIZE
from .transport import SodiumTransport


class StreamEnd(SodiumProtocol):
    """
    One end of a stream. Its factory's ``application`` builds the application's protocol when the
    peer is authenticated, not before.

    :ivar application: that protocol; ``None`` before.
    :ivar peer: who is at the other end.
    """

    factory: StreamServerFactory | StreamClientFactory
    application: IProtocol | None = None
    peer: Peer

    _sending: IDelayedCall | None = None
    _wants_end = False
    _ended = False
    _peer_ended = False
    #: Whether the application has written when the peer's end had ended its own direction as well.
    _written_late = False

    def __init__(self) -> None:
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._stream = SodiumTransport(self)

    def authenticated(self) -> None:
        application = self.factory.application.buildProtocol(self.transport.getPeer())
        if application is None:
            self._close(NoProtocol())
            return
        if self._lifecycle.over:
            return
        self.application = application
        application.makeConnection(self._stream)

    # Sending

    def write_stream(self, data: bytes) -> None:
        """Send bytes of the stream, soon."""
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise not_bytes(data, "a transport takes bytes")
            data = bytes(data)
        if not data or self._ended or self._lifecycle.over:
            # An application that the peer's end has ended may not know that yet.
            self._written_late = self._written_late or bool(data and self._peer_ended and not self._wants_end)
            return
        if self.application is None:
            raise not_yet()
        self._unsent.append(data)
        self._unsent_size += len(data)
        if self._unsent_size >= CHUNK_SIZE:
            self._send_unsent(whole_chunks=True)
        if self._unsent and self._sending is None and not self._pumping:
            self._sending = self._clock.callLater(0, self._send_later)

    def _send_later(self) -> None:
        self._sending = None
        self._send_unsent()

    def _send_unsent(self, whole_chunks: bool = False) -> None:
        """Send what waits; of ``whole_chunks`` the rest goes on waiting."""
        if not self._unsent or self._lifecycle.over:
            return
        view = memoryview(self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent))
        end = len(view) - len(view) % CHUNK_SIZE if whole_chunks else len(view)
        self._unsent, self._unsent_size = ([bytes(view[end:])] if end < len(view) else []), len(view) - end
        super().write(view[:end])

    def _pump(self, data: bytes = b"", begin: Callable[[], None] | None = None) -> None:
        super()._pump(data, begin)
        self._send_unsent()

    def _close(self, error: BaseException | None, patience: float | None = None) -> None:
        if not self._pumping:
            self._send_unsent()  # whoever closes: it was written before
        super()._close(error, patience)

    def _writing_unblocked(self) -> None:
        super()._writing_unblocked()
        if self._producers.producer is not None:
            self._send_unsent()  # what it has written since

    def end_stream(self) -> None:
        """Tell the peer that no more follows, as soon as no producer is registered; close when both have."""
        if self.application is None and not self._lifecycle.over:
            raise not_yet()
        self._wants_end = True
        if self._producers.producer is not None or self._lifecycle.over:
            return
        if not self._ended:
            self._end_stream_now()
            half_closeable = IHalfCloseableProtocol(self.application, None)
            if half_closeable is not None and not self._stream.disconnecting:
                half_closeable.writeConnectionLost()
        if self._stream.disconnecting or self._peer_ended:
            self.close()

    def break_off(self) -> None:
        """Close behind what was written, without the end of the stream."""
        self._wants_end = False
        self._send_unsent()
        super()._break_off()

    def _break_off(self) -> None:
        # The application may have closed since its consumer was gone, and wait for its producer.
        if not self._stream.disconnecting:
            self._stream.breakConnection()

    def _resets(self) -> bool:
        # Where the end of the stream is not sent, the connection need not be reset to show that it was cut: in order,
        # nothing is lost that the peer has not read.
        return super()._resets() and self._ended

    def _end_stream_now(self) -> None:
        self._send_unsent()
        # A peer that has closed before we took its end waits for none of ours, so it is not missing either.
        if not self._outbox.ended:
            self.send_data(b"")
        self._ended = True

    def unregisterProducer(self) -> None:
        super().unregisterProducer()
        if self._wants_end:
            self.end_stream()

    # Receiving

    def _keeps_rest(self) -> bool:
        return True

    def payload_received(self, payload: bytes) -> None:
        if self._peer_ended:
            raise UnexpectedPDU("a DATA after the end of its stream")
        if not payload:
            self._peer_ended = True
            self._peer_has_ended()
        elif not self._stream.disconnecting:
            self.application.dataReceived(payload)  # type: ignore[union-attr]  # it is there when data is

    def _peer_has_ended(self) -> None:
        if self._stream.disconnecting:
            return
        half_closeable = IHalfCloseableProtocol(self.application, None)
        if half_closeable is not None:
            half_closeable.readConnectionLost()
            if self._ended:
                self.close()
        elif self._ended or self._producers.producer is None:
            # To such an application one direction is not more than both.
            if not self._ended:
                self._end_stream_now()
            self.close()
        else:
            # Nor can it go on to send. But what its producer has not sent yet must not look as if it were all.
            self.break_off()

    def connection_lost(self, reason: Failure) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        self._unsent.clear()
        if self.application is None:
            return
        unsent = self._outbox.left_unsent or self._written_late
        whole = self._ended and not unsent
        if whole and self._peer_ended and reason.check(ConnectionLost):
            # Our end was answered by a peer that had closed already: nothing is missing.
            reason = Failure(ConnectionDone())
        elif reason.check(ConnectionDone):
            if unsent:
                reason = Failure(ConnectionLost("the peer closed before it took all that was sent to it"))
            elif not (self._peer_ended or self._stream.disconnecting):
                reason = Failure(ConnectionLost(NO_END))
        self._stream.disconnecting = True
        self.application.connectionLost(reason)


class ServerStream(StreamEnd, SodiumServerProtocol):
    """The server's end."""

    factory: StreamServerFactory
    peer: Peer

    def _stops_reading_when_blocked(self) -> bool:
        # As over a socket: who sends without a producer is buffered, and goes on receiving.
        return self.peer is None


class ClientStream(StreamEnd, SodiumClientProtocol):
    """The client's end."""

    factory: StreamClientFactory
    peer: Peer


class _StreamFactory:
    """
    What both factories do with the application's.

    :ivar application: it builds the application's protocols.
    """

    def __init__(self, application: IProtocolFactory, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.application = application

    def doStart(self) -> None:
        self.application.doStart()
        super().doStart()  # type: ignore[misc]

    def doStop(self) -> None:
        self.application.doStop()
        super().doStop()  # type: ignore[misc]


class StreamServerFactory(_StreamFactory, SodiumServerFactory):
    """
    Makes the server's ends of streams.

    The arguments are those of :class:`~sodiumtwist.protocol.factories.SodiumServerFactory`, behind the first.

    :param application: builds the application's protocols.
    """

    protocol = ServerStream


class StreamClientFactory(_StreamFactory, SodiumClientFactory):
    """
    Makes the client's ends of streams.

    The arguments are those of :class:`~sodiumtwist.protocol.factories.SodiumClientFactory`, behind the first.

    :param application: builds the application's protocols.
    """

    protocol = ClientStream
