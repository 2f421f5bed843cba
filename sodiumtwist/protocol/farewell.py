"""
How a connection ends: in order, with all delivered that was sent, or at once.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..core.errors import RemoteProtocolError
from ..core.keepalive import Timeouts
from .context import ClientContext, ServerContext
from .outbox import SendingProtocol
from .sockets import half_closes, unsent

#: Seconds after which a connection that was closed in order, with all sent and nothing more received,
#: waits no longer for the peer to close, too.
LINGER = 5.0


class ClosingProtocol(SendingProtocol):
    """
    One that ends.

    :ivar is_authenticated: true from ``authenticated()`` to ``connection_lost()``.
    """

    factory: ServerContext | ClientContext
    is_authenticated = False

    _clock: IReactorTime
    # Why it ends; None when it ends in order.
    _error: BaseException | None = None
    # The end of a transport that ended with bytes left that the application has not taken yet.
    _held_end: Failure | None = None
    _gone = False
    _transport_paused = False
    # True until all is handed over to the transport that is to be delivered.
    _handing_over = False
    _closing: IDelayedCall | None = None
    _heard_closing = False
    _left_unsent = 0
    _linger_until = 0.0

    def close(self) -> None:
        """
        Close in order: what was sent is delivered first, for as long as inactivity may last;
        nothing more is received, and what still comes is dropped until the peer closes, too.
        """
        self._close(None)

    def abort(self, error: BaseException | None = None) -> None:
        """
        Close at once: what was not delivered yet is dropped.

        :param error: what ``connection_lost`` shall give as the reason.
        """
        if self._done and self._closing is None and not self._handing_over:
            return
        self._error = error
        self._finish()
        if self._held_end is not None:
            self._end_now()
        else:
            self._abort_transport()

    def _finish(self) -> None:
        """From here on nothing is received, produced or timed."""
        raise NotImplementedError

    def _end_now(self) -> None:
        """Let in the end of the transport that was held back."""
        reason, self._held_end = self._held_end, None
        assert reason is not None
        self.connectionLost(reason)

    def _close(self, error: BaseException | None) -> None:
        if self._done:
            return
        self._flush()
        if self._done:
            return  # a producer that was paused by that has closed
        if self._write_blocked and isinstance(error, RemoteProtocolError):
            self.abort(error)  # nothing waits for a peer that breaks the protocol
            return
        self._error = error
        self._handing_over = True
        self._finish()
        if self._held_end is not None:
            self._end_now()
            return
        if self._transport_paused and self._handing_over:
            # Over TLS the end comes by reading; and a peer that waits to be read must go on to read.
            self._transport_paused = False
            self.transport.resumeProducing()
        self._go_on_closing()

    def _go_on_closing(self) -> None:
        """Hand over what is left, as fast as the peer takes it, and then close."""
        if not self._handing_over or self._gone:
            return
        self._time_closing(self._closing_time(), self._abort_transport)
        self._drain()
        if self._outgoing or not self._handing_over or self._gone:
            return
        self._handing_over = False
        self._open_gate()
        if self._error is None and self.is_authenticated and half_closes(self.transport):
            # Closed with bytes unread, a socket resets the connection, and what the peer has not
            # read yet is lost to it.
            self.transport.loseWriteConnection()
            self.transport.resumeProducing()
            self._left_unsent = unsent(self.transport)
            self._linger_until = self._clock.seconds() + self._closing_time()
            self._time_closing(LINGER, self._linger)
        else:
            self.transport.loseConnection()

    def _closing_time(self) -> float:
        """How many seconds may pass without progress while closing in order."""
        timeouts: Timeouts = self.factory.timeouts
        return timeouts.inactivity

    def _time_closing(self, seconds: float, over: Callable[[], None]) -> None:
        if self._gone:
            return
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self._closing = self._clock.callLater(seconds, over)

    def _linger(self) -> None:
        """Look how closing goes on: the peer may still take what a socket holds, or send what is dropped."""
        now, left = self._clock.seconds(), unsent(self.transport)
        if left < self._left_unsent:
            self._linger_until = now + self._closing_time()
        quiet, self._heard_closing, self._left_unsent = not self._heard_closing, False, left
        if quiet and not left:
            self._time_closing(self._closing_time(), self._abort_transport)
            self.transport.loseConnection()
        elif now >= self._linger_until:
            self._abort_transport()
        else:
            self._time_closing(LINGER, self._linger)

    def _abort_transport(self) -> None:
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self._closing = None
        self._handing_over = False
        self._outgoing.clear()
        self._open_gate()
        abort = getattr(self.transport, "abortConnection", None) or self.transport.loseConnection
        abort()
