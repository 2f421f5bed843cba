"""
What both sides do with Twisted: one core connection between a transport and an application, with
timers, producers and Deferreds. How it sends is in :mod:`sodiumtwist.protocol.outbox`, and how it ends in
:mod:`sodiumtwist.protocol.farewell`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProducer, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.errors import LocalProtocolError, RemoteProtocolError, WindowExceeded
from ..core.events import DataReceived, Event, PingReceived, PongReceived
from ..describe import describe_address
from .farewell import ClosingProtocol
from .outbox import CORK_LIMIT
from .producers import PulledProducer
from .sockets import READ_SIZE

#: How many PONGs may wait for a peer that sends PINGs and does not read.
PONG_LIMIT = 64


@implementer(IPushProducer, IConsumer)
class SodiumProtocol(ClosingProtocol):
    """
    What both sides do. For applications it is a consumer (``send_data``, ``write``) and a producer
    (``pauseProducing`` stops ``payload_received`` and, behind it, the transport).
    """

    _log = Logger()

    _first_read = READ_SIZE

    _timer: IDelayedCall | None = None
    _producer: IPushProducer | None = None
    _paused = False
    _pumping = False
    _unblocking = False
    _unread_pongs = 0
    _unsent_at_end = False
    _peer_left = False

    # Hooks for the application

    def authenticated(self) -> None:
        """The handshake is over: ``send_data`` may be called. For subclasses."""

    def payload_received(self, payload: bytes) -> None:
        """
        A DATA came. For subclasses.

        :param payload: 0 to 131070 bytes.
        """

    def connection_lost(self, reason: Failure) -> None:
        """
        It is over. For subclasses.

        :param reason: one of :mod:`sodiumtwist.core.errors` when the protocol decided, else what
            the transport said (``ConnectionDone`` when the peer or we closed in order).
        """

    # For the application to call

    def ping(self) -> Deferred[float]:
        """
        Send a PING.

        :return: fires with the seconds until its PONG, or with the reason when the connection goes.
        """
        deferred: Deferred[float] = Deferred()
        try:
            self._check_usable()
            self._send_ping(deferred)
        except LocalProtocolError:
            return fail()
        return deferred

    def pauseProducing(self) -> None:
        """Deliver nothing more until ``resumeProducing``; the transport stops reading."""
        self._paused = True
        self._regulate()

    def resumeProducing(self) -> None:
        """Deliver again, first what had come already."""
        self._paused = False
        self._regulate()

    def stopProducing(self) -> None:
        """``close()``, by the name that producers have for it."""
        self.close()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Let a producer be paused when the transport takes no more.

        :param producer: an ``IPushProducer`` if ``streaming``, else an ``IPullProducer``.
        :raises RuntimeError: when there is one already.
        """
        if self._producer is not None:
            raise RuntimeError("a producer is registered already; unregister it first")
        if self._done:
            producer.stopProducing()
            return
        pushing: Any = producer if streaming else PulledProducer(producer, self._clock, self._producer_failed)
        self._producer = pushing
        if self._write_blocked:
            pushing.pauseProducing()
            self._regulate()
        elif not streaming:
            pushing.resumeProducing()

    def unregisterProducer(self) -> None:
        """The producer is done."""
        producer, self._producer = self._producer, None
        if isinstance(producer, PulledProducer):
            producer.pauseProducing()
        self._regulate()

    # What the transport calls

    def connectionMade(self) -> None:
        """Begin; ``authenticated`` comes later."""
        self._clock = self.factory.clock
        # One for each PING on its way: the Deferred to tell, or None for those of our own.
        self._pings: deque[Deferred[float] | None] = deque()
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            with suppress(OSError):  # some Twisted versions have it for UNIX sockets, which have not
                set_no_delay(True)
        self._read_up_to(self._first_read)
        self._connection = self.factory.make_connection(self._clock.seconds())
        self._paused = False
        self._begin_to_send()
        self._arm_timer()

    def _read_up_to(self, size: int) -> None:
        """Let a socket's transport read no more than this at once, in bytes."""
        if hasattr(self.transport, "bufferSize"):
            self.transport.bufferSize = size

    def dataReceived(self, data: bytes) -> None:
        """Bytes came, cut anywhere."""
        if self._done:
            self._heard_closing = True
            return
        self._pump(self._connection.receive_data(data, self._clock.seconds()))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone; ``connection_lost`` follows, at once unless the application has paused."""
        if self._send_error is not None and reason.check(ConnectionDone):
            reason = Failure(self._send_error)
        if self._paused and not self._done and reason.check(ConnectionDone) and self._connection.buffered:
            # Transports like TLS deliver what they hold and the end, paused or not.
            self._held_end = reason
            self._note_unsent()
            self._write_blocked = False
            self._outgoing.clear()
            self._quiet_producer()
            if self._timer is not None:  # there is nobody to be too slow
                self._timer.cancel()
                self._timer = None
            return
        self._gone = True
        self._peer_left = not self._done
        if self._error is None and not self._done:
            self._error = self._explain(reason)
        self._note_unsent()
        self._finish()
        self._outgoing.clear()
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if self._error is not None:
            reason = Failure(self._error)
        self.is_authenticated = False
        pings, self._pings = self._pings, deque()
        for ping in pings:
            if ping is not None:
                ping.errback(reason)
        # Not earlier: a producer whose own end this is must not take it for an end in order.
        self._stop_producer()
        self._lost(reason)
        self.connection_lost(reason)

    def _note_unsent(self) -> None:
        self._unsent_at_end = self._unsent_at_end or self._write_blocked or bool(self._outgoing)

    def _explain(self, reason: Failure) -> BaseException | None:
        if reason.check(ConnectionDone):
            try:
                self._connection.receive_eof()
            except RemoteProtocolError as error:
                return error
        return None

    def _lost(self, reason: Failure) -> None:
        """For the two sides: called before ``connection_lost``."""

    # Receiving

    def _pump(self, events: Iterable[Event], begin: Callable[[], None] | None = None) -> None:
        """
        Hand events to the application until they end or reading must pause; what is sent
        meanwhile leaves together.

        :param begin: called before the first event.
        """
        self._pumping = self._corking = True
        self._cork_limit = CORK_LIMIT if self._write_blocked else self._early_limit
        self._at_once = self._at_once_limit
        try:
            if begin is not None:
                begin()
            if not self._done and not self._must_pause():
                for event in events:
                    if type(event) is DataReceived:
                        self.payload_received(event.payload)
                    else:
                        self._dispatch(event)
                    if self._done or self._must_pause():
                        break
        except RemoteProtocolError as error:
            self._close(error)
        except Exception as error:
            self._application_failed(Failure(), error)
        finally:
            self._pumping = self._corking = False
            self._flush()
        if self._held_end is not None and not self._paused:
            self._end_now()
        else:
            self._regulate_transport()

    def _application_failed(self, failure: Failure, error: BaseException | None) -> None:
        self._log.failure("the application failed; its connection with {peer} is closed", failure, peer=self._peer())
        self.abort(error)

    def _producer_failed(self, failure: Failure) -> None:
        self._application_failed(failure, failure.value)

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, PingReceived):
            self._answer_ping()
        elif isinstance(event, PongReceived):
            ping = self._pings.popleft()
            if ping is not None:
                ping.callback(event.latency)
        else:
            self._handshake_event(event)

    def _handshake_event(self, event: Event) -> None:
        raise NotImplementedError

    def _now_authenticated(self) -> None:
        self.is_authenticated = True
        self._arm_timer()
        self.authenticated()

    def _answer_ping(self) -> None:
        if self._write_blocked:
            self._unread_pongs += 1
            if self._unread_pongs > PONG_LIMIT:
                raise WindowExceeded(f"the peer sends PINGs and left {PONG_LIMIT} PONGs unread")
        self._write([self._connection.send_pong(self.factory.wall_clock())])

    def _must_pause(self) -> bool:
        return self._paused

    def _regulate(self) -> None:
        """Something that pauses reading, or did, has changed. Inside the loop, the loop will see."""
        if self._done or self._pumping:
            return
        if not self._must_pause() and (self._transport_paused or self._connection.buffered):
            self._pump(self._connection.events(self._clock.seconds()))
        else:
            self._regulate_transport()

    def _regulate_transport(self) -> None:
        if self._done or self._transport_paused == self._must_pause():
            return
        self._transport_paused = not self._transport_paused
        if self._transport_paused:
            self._connection.reading_paused()
            self.transport.pauseProducing()
        else:
            self._connection.reading_resumed(self._clock.seconds())
            self.transport.resumeProducing()
            self._arm_timer()

    # Sending

    def _send_ping(self, deferred: Deferred[float] | None = None) -> None:
        ping = self._connection.send_ping(self._clock.seconds(), self.factory.wall_clock())
        # A cancelled one keeps its place in the queue: its PONG will come all the same.
        self._pings.append(deferred)
        self._write([ping])

    def _writing_blocked(self) -> None:
        self._write_blocked = True
        self._cork_limit = CORK_LIMIT
        if self._done:
            return
        self._connection.writing_blocked(self._clock.seconds())
        self._arm_timer()
        if self._unblocking:
            return  # the producer is paused already
        if self._producer is not None:
            self._producer.pauseProducing()
        self._regulate()

    def _writing_unblocked(self) -> None:
        self._write_blocked = False
        self._at_once = self._at_once_limit
        self._unread_pongs = 0
        if self._done:
            self._go_on_closing()
            return
        self._connection.writing_unblocked()
        self._unblocking = True
        try:
            self._drain()
        finally:
            self._unblocking = False
        if self._write_blocked or self._done:
            return
        if getattr(self.transport, "disconnecting", False):
            # Somebody closed the transport itself, and all is written.
            self._open_gate()
            return
        if self._producer is not None:
            self._corking = True
            try:
                self._producer.resumeProducing()
            finally:
                self._corking = self._pumping
                self._flush()
        self._regulate()

    # Time

    def _arm_timer(self) -> None:
        """Have ``_deadline_reached`` called in time. Later deadlines are noticed when it is called."""
        if self._done:
            return
        deadline = self._connection.deadline()
        if self._timer is not None:
            if self._timer.getTime() <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline != float("inf"):
            self._timer = self._clock.callLater(max(0, deadline - self._clock.seconds()), self._deadline_reached)

    def _deadline_reached(self) -> None:
        self._timer = None
        try:
            if self._connection.ping_due(self._clock.seconds()):
                self._send_ping()
        except RemoteProtocolError as error:
            if self.is_authenticated:
                self.abort(error)
            else:
                self._close(error)
        self._arm_timer()

    # Ending

    def _finish(self) -> None:
        """From here on nothing is received, produced or timed."""
        if self._done:
            return
        self._done = True
        self._corked, self._corked_size = [], 0
        self._connection.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._quiet_producer()

    def _quiet_producer(self) -> None:
        """Have the producer produce no more. It is stopped when all is over."""
        if self._producer is not None:
            try:
                self._producer.pauseProducing()
            except Exception:
                self._log.failure("a producer failed when it was paused")

    def _stop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception:
                self._log.failure("a producer failed when it was stopped")

    def _peer(self) -> str:
        return describe_address(self.transport.getPeer())
