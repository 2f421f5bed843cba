"""
A stream between two authenticated ends, for protocols that know nothing of PDUs: each gets a
:class:`SodiumTransport` where it would get a socket's transport.

DATA carries the bytes of the stream, cut anywhere. What means that no more follow in its direction is a PDU, too, see
:mod:`~sodiumtwist.endpoints.ends`. So the end of a stream is as well protected as its bytes, and one direction can end
before the other. A connection that closes without it was cut, by whomever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import alsoProvides

from ..core.connection import Code
from ..core.errors import LocalProtocolError, UnexpectedPDU
from ..interfaces import BROKEN_OFF, IDrainable, IReadListener, Peer
from ..protocol.base import SodiumProtocol
from ..protocol.client import SodiumClientProtocol
from ..protocol.factories import SodiumClientFactory, SodiumServerFactory
from ..protocol.lifecycle import Stage, not_yet
from ..protocol.log_names import call_as, log_prefix, rename_in_log
from ..protocol.reading import APPLICATION
from ..protocol.server import SodiumServerProtocol
from ..protocol.sockets import CHUNK_SIZE
from .ends import ENDINGS, Course, Ending
from .transport import PASSED_ON, SodiumTransport, check_bytes


def _carried(application: IProtocol | IProtocolFactory) -> str:
    # As Twisted's wrappers do, a TLS factory for instance.
    return f"{log_prefix(application)} (sodium)"


class StreamEnd(SodiumProtocol):
    """
    One end of a stream. Its factory's ``application`` builds the application's protocol when the
    peer is authenticated, not before.

    :ivar application: that protocol; ``None`` before.
    :ivar receiver: the protocol that gets what comes: that one, until the application puts another one in its place,
        or TLS.
    :ivar peer: who is at the other end.
    """

    factory: StreamServerFactory | StreamClientFactory
    application: IProtocol | None = None
    receiver: IProtocol | None = None
    passed_on = PASSED_ON
    answers_nothing = "it hands streams on, and has no files; sodiumtwist pipe and twistd sodium-tunnel are for it"
    is_client = False
    peer: Peer

    #: What says the end, and what is one. Nobody asks before the stream opens.
    _ends: Ending = ENDINGS[1]

    #: The receiver, where it wants to know when a read is over.
    _listener: IReadListener | None = None
    _sending: IDelayedCall | None = None
    _delivering: IDelayedCall | None = None
    _wants_end = False
    _ended = False
    #: Whether the application is to be told that its end, and all before it, has left.
    _leaving = False
    _peer_ended = False
    #: Whether the application has written when the peer's end had ended its own direction as well.
    _written_late = False

    def __init__(self) -> None:
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._stream = SodiumTransport(self)

    def authenticated(self) -> None:
        self._ends = ENDINGS[self._connection.version or 1]
        application = self.factory.application.buildProtocol(self.transport.getPeer())
        if application is None:
            self._ends.turn_away(self)
            return
        if self._lifecycle.over:
            return
        before = self.logPrefix()
        self.application = self.receiver = application
        self._listener = IReadListener(application, None)
        rename_in_log(self.transport, before, self.logPrefix())
        if ITCPTransport.providedBy(self.transport):
            alsoProvides(self._stream, ITLSTransport)
        application.makeConnection(self._stream)

    def logPrefix(self) -> str:
        """How log lines begin that are about this end: as who receives what comes says, the factory before."""
        return _carried(self.factory.application if self.receiver is None else self.receiver)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is taken from the application, or given to it."""
        return self._lifecycle.over

    @property
    def clock(self) -> IReactorTime:
        """The clock of all that waits."""
        return self._clock

    def later(self, function: Callable[[], None]) -> IDelayedCall:
        """Call something in the reactor's next turn."""
        return self._later(function)

    # Sending

    def write_stream(self, data: bytes) -> None:
        """Send bytes of the stream, soon."""
        if type(data) is not bytes:
            data = check_bytes(data)
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

    def write_now(self, data: bytes) -> None:
        """Send bytes of the stream, and what was written before, in this turn of the reactor."""
        if (
            self._unsent
            or self._pumping
            or not 0 < len(data) <= CHUNK_SIZE
            or type(data) is not bytes
            or self._ended
            or self.application is None
            or self._lifecycle.over
        ):
            self.write_stream(data)
            if not self._pumping:
                self._send_unsent()
            return
        outbox = self._outbox
        outbox.at_once = outbox.allowance
        if outbox.corked:
            self.send_data(data)
        else:
            # The same, without two calls: it runs for every read of a tunnel.
            try:
                self._connection.send_data(data)
            except LocalProtocolError as error:
                self._drop_unsendable(error)
                return
            outbox.flush()
            outbox.at_once = 0
        if outbox.blocked:
            self._producers.pause()

    def _send_later(self) -> None:
        self._sending = None
        if self._producers.producer is None:
            self._send_unsent()
        else:
            call_as(self.transport, self, lambda: self._guard_producer(self._send_unsent))  # it may pause it

    def _send_unsent(self, whole_chunks: bool = False) -> None:
        """Send what waits; of ``whole_chunks`` the rest goes on waiting."""
        if not self._unsent or self._lifecycle.over:
            return
        view = memoryview(self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent))
        end = len(view) - len(view) % CHUNK_SIZE if whole_chunks else len(view)
        self._unsent, self._unsent_size = ([bytes(view[end:])] if end < len(view) else []), len(view) - end
        super().write(view[:end])
        if self._outbox.blocked:
            self._producers.pause()  # one that came when nothing was taken was not told yet

    def _pump(self, data: bytes = b"", begin: Callable[[], None] | None = None) -> None:
        super()._pump(data, begin)
        if self._listener is not None:
            try:
                self._listener.read_over()
            except Exception as error:
                self._application_failed(Failure(), error)
        if self._unsent:
            self._send_unsent()
        if self._leaving:
            self._later(self._tell_left)  # not before what was sent within leaves the pump

    def _close(self, error: BaseException | None, patience: float | None = None) -> None:
        if not self._pumping:
            self._send_unsent()  # whoever closes: it was written before
        super()._close(error, patience)

    def _writing_unblocked(self) -> None:
        super()._writing_unblocked()
        if self._producers.producer is not None:
            self._send_unsent()  # what it has written since
        if self._leaving:
            self._tell_left()

    def end_stream(self) -> None:
        """Tell the peer that no more follows, as soon as no producer is registered; close when both have."""
        if self.application is None and not self._lifecycle.over:
            raise not_yet()
        self._wants_end = True
        if self._producers.producer is not None or self._lifecycle.over:
            return
        if not self._ended:
            self._end_stream_now()
            if not self._stream.disconnecting and IHalfCloseableProtocol(self.receiver, None) is not None:
                self._leaving = True
                if not self._pumping:
                    self._later(self._tell_left)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._stream.disconnecting or (self._ended and self._peer_ended and not self._leaving):
            self.close()

    def _tell_left(self) -> None:
        """Tell the application that its end has left, as soon as it has. The reactor has called us."""
        if not self._leaving or self._stream.disconnecting or self._lifecycle.over or self._outbox.left_unsent:
            return
        if self._connection.queued or self._outbox.blocked or self._below.tells_when_empty():
            return  # _writing_unblocked() comes here again
        self._tell_end_left()
        self._close_if_done()

    def _tell_end_left(self) -> None:
        self._leaving = False
        half_closeable = IHalfCloseableProtocol(self.receiver, None)
        if half_closeable is not None:
            try:
                half_closeable.writeConnectionLost()
            except Exception as error:
                self._application_failed(Failure(), error)

    def break_off(self, why: str = BROKEN_OFF) -> None:
        """
        Close behind what was written, without the end of the stream.

        :param why: what to tell the peer, where the version has a word for it.
        """
        self._wants_end = False
        self._send_unsent()
        self._ends.break_off(self, why)

    def close(self) -> None:
        """
        Close. Only the application ends its stream: where it has not, version 1 closes without the end, and version 2
        breaks off.
        """
        if self._ends.close(self, self._ended):
            super().close()
        else:
            self.break_off()

    def abort_with(self, code: int, text: str, error: BaseException | None = None) -> None:
        """Close now and say why, behind what was written."""
        self._send_unsent()
        super().abort_with(code, text, error)

    def _break_off(self) -> None:
        # The application may have closed since its consumer was gone, and wait for its producer.
        if not self._stream.disconnecting:
            self._stream.breakConnection()

    def _resets(self) -> bool:
        # Where the end of the stream is not sent, the connection need not be reset to show that it was cut: in order,
        # nothing is lost that the peer has not read.
        return self._ends.resets and super()._resets() and self._ended

    def _end_stream_now(self) -> None:
        self._send_unsent()
        self._ended = True
        self._ends.say_end(self)

    # A producer hears of nothing within its own call but that it has written too much.

    def _pause_registered(self) -> None:
        self._later(self.pause_producer)

    def pause_producer(self) -> None:
        """Pause the producer, if no more is taken."""
        if self._takes_nothing() and not self._lifecycle.over:
            self._guard_producer(self._producers.pause)

    def _silence_producer(self) -> None:
        if self._producers.is_pulled:
            self._producers.silence()
        elif self._producers.producer is not None and self._lifecycle.stage is not Stage.GONE:
            self._later(self._producers.silence)  # what it writes until then is dropped

    def unregisterProducer(self) -> None:
        super().unregisterProducer()
        if self._wants_end:
            self.end_stream()

    # Receiving. Who writes for sockets' transports is called by the reactor, never within its own call.

    def _go_on_delivering(self) -> None:
        if self._delivering is None:
            self._delivering = self._later(self._deliver)

    def _deliver(self) -> None:
        self._delivering = None
        if not self._lifecycle.over and not self._pumping:
            self._pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # What it takes in the next turn is as good as what it does not take yet: it comes before the end.
        put_off = self._delivering is not None
        if put_off:
            self._reading.stop(APPLICATION)
        super().connectionLost(reason)
        if put_off:
            self._reading.allow(APPLICATION)

    def _tell_closed(self) -> None:
        self._later(super()._tell_closed)

    def _keeps_rest(self) -> bool:
        return True

    def payload_received(self, payload: bytes) -> None:
        if self._peer_ended:
            raise UnexpectedPDU("a DATA after the end of its stream")
        if not payload:
            if self._ends.empty_is_end:
                self.end_received()
            else:
                self._refuse_empty()
        elif not self._stream.disconnecting:
            self.receiver.dataReceived(payload)  # type: ignore[union-attr]  # it is there when data is

    def _refuse_empty(self) -> None:
        # No stream of version 2 has one. An upload begins with it, and its client would wait for an answer for ever.
        error = UnexpectedPDU("an empty DATA, with which an upload begins, and no stream")
        self.abort_with(Code.NOT_SUPPORTED, "streams are handed on here, and no files are received", error)

    def end_received(self) -> None:
        """The peer sends no more."""
        self._peer_ended = True
        if self._stream.disconnecting:
            return
        half_closeable = IHalfCloseableProtocol(self.receiver, None)
        if half_closeable is not None:
            half_closeable.readConnectionLost()
            self._close_if_done()
        elif self._ended or self._producers.producer is None:
            # To such an application one direction is not more than both.
            if not self._ended:
                self._end_stream_now()
            self.close()
        else:
            # Nor can it go on to send. But what its producer has not sent yet must not look as if it were all.
            self.break_off()

    def drain_received(self) -> None:
        """The peer is about to stop. The stream goes on; the application may be told, and end it."""
        drainable = IDrainable(self.receiver, None)
        if drainable is not None and not self._stream.disconnecting:
            drainable.drain_received()

    def connection_lost(self, reason: Failure) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        if self._delivering is not None:
            self._delivering.cancel()
            self._delivering = None
        self._unsent.clear()
        if self.receiver is None:
            return
        reason = self._ends.judge(
            reason,
            Course(
                self._ended,
                self._peer_ended,
                self._stream.disconnecting,
                self._outbox.left_unsent,
                self._written_late,
            ),
        )
        if self._leaving and not self._stream.disconnecting and reason.check(ConnectionDone):
            # In version 2 both ends close at once when the second end has come, in the same turn perhaps.
            self._tell_end_left()
        self._stream.disconnecting = True
        self._stream.producer = None
        self.receiver.connectionLost(reason)

    # TLS within the stream

    def start_tls(self, stream: SodiumTransport, context: Any, as_client: bool) -> None:
        """Put TLS between this end and its transport."""
        # Not imported before: that brings in OpenSSL, which most programs need not load.
        from .tls import start_tls

        start_tls(self, stream, context, as_client)

    def carry(self, stream: SodiumTransport, receiver: IProtocol) -> None:
        """
        Put another protocol between this end and the application.

        :param stream: its transport.
        :param receiver: the protocol.
        """
        self._stream = stream
        self.received_by(receiver)

    def received_by(self, receiver: IProtocol) -> None:
        """
        Give what comes to another protocol from now on.

        :param receiver: that one.
        """
        before = self.logPrefix()
        self.receiver = receiver
        self._listener = IReadListener(receiver, None)
        rename_in_log(self.transport, before, self.logPrefix())

    def producer_failed(self, failure: Failure) -> None:
        """A producer has raised."""
        self._producer_failed(failure)


class ServerStream(StreamEnd, SodiumServerProtocol):
    """The server's end."""

    factory: StreamServerFactory
    peer: Peer

    def _stops_reading_when_blocked(self) -> bool:
        # As over a socket: who sends without a producer is buffered, and goes on receiving.
        return self.peer is None


class ClientStream(StreamEnd, SodiumClientProtocol):
    """The client's end."""

    is_client = True
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

    def __repr__(self) -> str:
        of = type(self.application).__name__
        return f"<{type(self).__name__} of {of} with {self.describe()}>"  # type: ignore[attr-defined]

    def logPrefix(self) -> str:
        """How log lines begin that are about the application's factory: a port says so when it starts."""
        return _carried(self.application)

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
