"""
What both ends do with Twisted: one core connection between a transport and an application.

An end owns parts, each with a state of its own and no knowledge of the others: :mod:`~sodiumtwist.protocol.outbox`
sends, :mod:`~sodiumtwist.protocol.reading` knows why nothing is read, :mod:`~sodiumtwist.protocol.producers` has the
application's producer, :mod:`~sodiumtwist.protocol.farewell` waits while it closes, and
:mod:`~sodiumtwist.protocol.lifecycle` says what may happen when. Here is what ties them together: the pump from
received bytes to the application, the timer, PINGs, and how it ends.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProducer, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.base import Traffic
from ..core.connection import ClientConnection, Code, ServerConnection
from ..core.errors import (
    ClosingTimeout,
    ConnectionCut,
    DecryptionFailed,
    LocalProtocolError,
    PayloadTooLarge,
    PeerAborted,
    RemoteProtocolError,
    TimedOut,
)
from ..core.events import (
    Aborted,
    ConnectionOver,
    DataReceived,
    DrainReceived,
    EndReceived,
    Event,
    PingReceived,
    PongReceived,
    RequestReceived,
)
from ..core.inbox import Buffer, view_of
from ..core.states import State
from ..describe import printable
from ..describe.log import Logger, describe_address
from ..interfaces import ISodiumTransport, IStreamTransport
from .context import ClientContext, ServerContext
from .farewell import BrokenOff, Farewell
from .lifecycle import UNMADE, Lifecycle, Stage, Turn, not_yet
from .log_names import call_as
from .outbox import CORK_LIMIT, RECORD_LIMIT, Outbox
from .producers import NO_PRODUCER, Producers
from .reading import APPLICATION, BEHIND, CHOKED, CLOSED, OVER, READ_AHEAD, WRITING, Reading
from .sockets import CHUNK_SIZE, READ_SIZE, TransportBelow, keep_alive

#: When a deadline is reached, the reactor gets a turn to read before it is judged: the process may have stood still,
#: and what the peer sent meanwhile waits. As long as more of a PDU comes it gets so many turns; a PDU of the largest
#: size takes three reads of Twisted's usual size.
GRANTED_READS = 8

#: What a peer is told that asks where nothing is answered.
ANSWERS_NOTHING = "this application answers no requests"

_OPEN = Stage.OPEN

#: What must not overtake DATA that wait for an application that has paused.
_BEHIND_DATA = (EndReceived, Aborted, ConnectionOver)


@implementer(IPushProducer)
class _Gate:
    """
    What an end registers with its transport, whose ``loseConnection`` it is, too. A WriteGate would keep three bound
    methods for each connection.

    :param end: it. No circle, lest each connection be garbage that only the collector finds.
    """

    __slots__ = ("_end",)

    def __init__(self, end: weakref.ref[SodiumProtocol]) -> None:
        self._end = end

    def pauseProducing(self) -> None:
        end = self._end()
        if end is not None:
            end._writing_blocked()

    def resumeProducing(self) -> None:
        end = self._end()
        if end is not None:
            end._writing_unblocked()

    def stopProducing(self) -> None:
        end = self._end()
        if end is not None:
            end._breaking()

    def __call__(self) -> None:
        """Close in order."""
        end = self._end()
        if end is not None:
            end._closed_below()


@implementer(IPushProducer, IConsumer)
class SodiumProtocol(Protocol):
    """
    What both sides do. For applications it is a consumer (``send_data``, ``write``) and a producer
    (``pauseProducing`` stops ``payload_received`` and, behind it, the transport).

    Any call may come at any time. Before the transport is there, each raises :exc:`LocalProtocolError`, or its Deferred
    fails with it. When it is over, to send does so, too; the others do nothing.

    :ivar is_authenticated: true from ``authenticated()`` to ``connection_lost()``.
    """

    factory: ServerContext | ClientContext
    transport: IStreamTransport

    _log = Logger()

    is_authenticated = False

    #: What a peer is told that asks it something, where nothing answers.
    answers_nothing = ANSWERS_NOTHING

    # Each end has its own from connectionMade() on. These say that there is no transport yet.
    _lifecycle = Lifecycle()
    _connection: ServerConnection | ClientConnection = UNMADE
    _outbox: Outbox = UNMADE
    _reading: Reading = UNMADE
    _producers: Producers = UNMADE
    _below: TransportBelow = UNMADE
    _clock: IReactorTime = UNMADE

    _timer: IDelayedCall | None = None
    _farewell: Farewell | None = None
    # Why it ends; None when it ends in order.
    _error: BaseException | None = None
    # Events are being taken: what is sent waits, and what changes is looked at when they are.
    _pumping = False

    def __repr__(self) -> str:
        with_whom = "" if self.transport is None else f" with {self._describe_peer()}"
        peer = getattr(self, "peer", None)
        login = "" if peer is None or peer.login is None else f" as {peer.login!r}"
        return f"<{type(self).__name__}{with_whom}{login}>"

    # Hooks for the application

    def authenticated(self) -> None:
        """The handshake is over: ``send_data`` may be called. For subclasses."""

    def payload_received(self, payload: bytes) -> None:
        """
        A DATA came. For subclasses.

        :param payload: 0 to 131070 bytes; in version 2 up to 135156.
        """

    def end_received(self) -> None:
        """
        Version 2: the peer sends no more DATA and asks nothing any more. As long as nothing is under way here, this end
        then says so, too, and all is over. For subclasses.
        """
        self._end_if_idle()

    def drain_received(self) -> None:
        """
        Version 2: the peer is about to stop. Ask it nothing new here, and close when all is done, before it breaks off.
        For subclasses.
        """

    def connection_lost(self, reason: Failure) -> None:
        """
        It is over. For subclasses.

        :param reason: ``ConnectionDone`` when it was closed in order. Else one of :mod:`sodiumtwist.core.errors`; in
            version 1, where only the transport has ended, what that said.
        """

    # For the application to call

    @property
    def version(self) -> int | None:
        """Which version of the protocol is spoken; ``None`` on a server that does not know yet."""
        return self._connection.version

    @property
    def traffic(self) -> Traffic:
        """How much has come on this connection and left, sealed, by now; it stays when the connection is over."""
        return self._connection.traffic

    @property
    def stage(self) -> Stage:
        """How far the connection is, one of the stages of ``sodiumtwist/protocol/lifecycle.py``."""
        return self._lifecycle.stage

    @property
    def began(self) -> float:
        """When the transport was made, in seconds of the factory's clock."""
        return self._connection.began

    @property
    def is_draining(self) -> bool:
        """Version 2: whether this end or the peer has said that it is about to stop."""
        return self._connection.draining

    def send_data(self, payload: Buffer) -> None:
        """
        Send one DATA.

        :param payload: 0 to 131070 bytes; in version 2 up to 135156.
        :raises PayloadTooLarge: when it is longer.
        :raises LocalProtocolError: before ``authenticated()`` on a server, and when it is over.
        :raises TypeError: for anything but contiguous bytes.
        """
        lifecycle = self._lifecycle
        if lifecycle.over or lifecycle.stage is Stage.UNMADE:
            self._check_usable()
        connection, outbox = self._connection, self._outbox
        try:
            connection.send_data(payload)
        except LocalProtocolError as error:
            self._drop_unsendable(error)
            return
        # What outbox.send() does, without the call: this runs for every DATA.
        if not outbox.corked:
            outbox.send()
        elif connection.unsent.size >= outbox.limit:
            outbox.flush()

    def _drop_unsendable(self, error: LocalProtocolError) -> None:
        if not self._peer_finished() or isinstance(error, PayloadTooLarge):
            raise error
        self._outbox.left_unsent = True

    def _peer_finished(self) -> bool:
        """
        Whether the peer has aborted, or both ends have said all, and the application, which has paused, does not know
        that yet.
        """
        connection = self._connection
        return connection.version == 2 and connection.state is State.CLOSED and not self._lifecycle.over

    def write(self, data: Buffer) -> None:
        """
        Send bytes in as many DATA as they need (``IConsumer``).

        :param data: any number of bytes.
        :raises LocalProtocolError: before ``authenticated()`` on a server, and when it is over.
        :raises TypeError: for anything but contiguous bytes.
        """
        self._check_usable()
        view = view_of(data)
        # All of it is there before any is handed over: a producer that is paused meanwhile may write
        # more, which comes behind.
        try:
            for start in range(0, len(view), CHUNK_SIZE):
                self._connection.send_data(view[start : start + CHUNK_SIZE])
        except LocalProtocolError as error:
            self._drop_unsendable(error)
        self._outbox.send()

    def _check_usable(self) -> None:
        if self._lifecycle.stage is Stage.UNMADE:
            raise not_yet()
        if self._lifecycle.over or self._reading.reasons & CLOSED:
            raise LocalProtocolError("the connection is closed")

    def _sent(self) -> None:
        """Something was given to the connection to send. All may be over with it."""
        self._outbox.send()
        if self._lifecycle.stage is Stage.ENDING and self._connection.over:
            self._regulate()

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
        """
        Deliver nothing more until ``resumeProducing``. When a little more has come, the transport stops reading; up to
        there PINGs are answered, and the peer's end is seen.
        """
        self._reading.stop(APPLICATION)
        self._regulate()

    def resumeProducing(self) -> None:
        """Deliver again, first what had come already."""
        self._reading.allow(APPLICATION)
        self._regulate()

    def stopProducing(self) -> None:
        """
        Deliver nothing more: the consumer is gone.

        Whoever calls this need not know why. A transport, for instance, that this was registered with as a producer
        calls it when it is lost, in order or not, and only then tells its protocol. So this is no end in order. If the
        application does not close within this turn of the reactor, the connection is broken off behind what was sent.
        """
        if not self._lifecycle.over:
            self.pauseProducing()
            self._clock.callLater(0, self._break_off)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Let a producer be paused when the transport takes no more.

        :param producer: an ``IPushProducer`` if ``streaming``, else an ``IPullProducer``.
        :raises RuntimeError: when there is one already.
        """
        self._producers.check_none()
        if self._lifecycle.over or self._reading.reasons & CLOSED:
            producer.stopProducing()
            return
        if self._producers is NO_PRODUCER:
            self._producers = Producers()
        blocked = self._takes_nothing()
        self._producers.register(producer, streaming, blocked, self._later, self._producer_failed)
        if blocked:
            self._pause_registered()
            self._writing_changed()

    def _takes_nothing(self) -> bool:
        # Nor when the transport has ended: a pull producer would be asked again and again.
        return self._outbox.blocked or self._lifecycle.stage is Stage.HELD

    def _pause_registered(self) -> None:
        """A producer was registered when nothing is taken, and may be in the middle of its call."""
        self._producers.pause()

    def _silence_producer(self) -> None:
        """Nothing will ever be taken. The producer may be in the middle of its call to close."""
        self._producers.silence()

    def _guard_producer(self, call: Callable[[], None]) -> None:
        """Call a producer where no call of the application's is under way that would raise what it raises."""
        try:
            call()
        except Exception:
            # The reactor would close the transport in order for that, or log it and go on.
            self._producer_failed(Failure())

    def unregisterProducer(self) -> None:
        """The producer is done. Where there is none, nothing happens."""
        self._producers.unregister()
        self._writing_changed()

    def close(self) -> None:
        """
        Close in order: what was sent is delivered first, for as long as inactivity may last; nothing more is received.

        Version 1: what still comes is dropped until the peer closes, too. Version 2: this end says that it sends no
        more. What the two have asked each other is still answered, then the peer is waited for to say the same; of what
        it sends, DATA are dropped. If all that takes longer than inactivity may last, the peer is told so, and it ends
        with :exc:`ClosingTimeout`.
        """
        self._close_in_order()

    def _close_in_order(self, patience: float | None = None) -> None:
        """
        Close in order.

        :param patience: how many seconds the peer has for it in version 2; ``None`` for as long as inactivity may last.
        """
        if not self._says_end():
            self._close(None)
        elif not self._reading.reasons & CLOSED:
            held = self._reading.close()
            self._silence_producer()
            if self._lifecycle.over:
                return  # it has aborted
            seconds = self.factory.timeouts.inactivity if patience is None else patience
            self._farewell = Farewell(
                self._clock, self._below, seconds, self._leave_transport, lambda: self._closing_too_slow(seconds)
            )
            self._farewell.expect(self._outbox.not_taken)
            self._say_end()
            for event in held:
                self._take_event(event)
            self._regulate()

    def _closed_below(self) -> None:
        """Somebody who has only the transport closes that. In version 1 a socket's own way will do."""
        if self._below.is_bare_socket and self._connection.version != 2:
            self._below.close()
        else:
            self.close()

    def _says_end(self) -> bool:
        """Tell whether closing in order takes the peer's end."""
        return self._connection.version == 2 and self._lifecycle.stage in (Stage.OPEN, Stage.ENDING)

    def _say_end(self) -> None:
        """Say that no DATA and no request comes any more."""
        self._lifecycle.take(Turn.END)
        if not self._connection.ended and self._connection.state is not State.CLOSED:  # else the peer has aborted
            self._connection.send_end()
            self._sent()

    def _idle(self) -> bool:
        """Tell whether the application has nothing under way that may need more than answers."""
        return True

    def _end_if_idle(self) -> None:
        """The peer has said its end: say ours as soon as nothing is under way."""
        if self._lifecycle.stage is _OPEN and self._idle():
            self._say_end()

    def _closing_too_slow(self, patience: float) -> None:
        why = f"closed, and waited {patience:g} seconds for the other end to finish"
        self.abort_with(Code.CANCELLED, why, ClosingTimeout(why))

    def drain(self) -> None:
        """
        Version 2: tell the peer that this end is about to stop, so that it asks nothing new and closes when all is
        done. The second time, before the peer is let in, and in version 1, this does nothing.
        """
        if self._lifecycle.stage is Stage.UNMADE:
            raise not_yet()
        if self.is_authenticated and self._connection.version == 2 and not self._lifecycle.over:
            try:
                self._connection.send_drain()
            except LocalProtocolError:
                return
            self._sent()

    def abort_with(self, code: int, text: str, error: BaseException | None = None) -> None:
        """
        Close now, and tell the peer why: in version 2 what was sent as DATA goes before that. In version 1, or where
        the peer takes nothing, this is :meth:`abort`.

        :param code: why, see :class:`~sodiumtwist.core.v2.pdus.Code`; from 0x80000000 on it is the application's.
        :param text: the same for a person, a line of up to 1024 bytes of UTF-8.
        :param error: what ``connection_lost`` shall give as the reason.
        :raises LocalProtocolError: for a longer text.
        """
        lifecycle = self._lifecycle
        speaks = self.is_authenticated and self._connection.version == 2 and not lifecycle.over
        aborted = self._connection.state is State.CLOSED  # by the peer, which the application does not know yet
        if not speaks or aborted or self._outbox.blocked or lifecycle.stage is Stage.HELD:
            self.abort(error)
            return
        self._connection.abort(code, text)
        self._close(error or ConnectionAborted())

    def abort(self, error: BaseException | None = None) -> None:
        """
        Close at once: what was not delivered yet is dropped.

        :param error: what ``connection_lost`` shall give as the reason.
        """
        stage = self._lifecycle.stage
        if not self._lifecycle.take(Turn.ABORT):
            if stage is Stage.UNMADE:
                raise not_yet()
            return
        self._error = error
        self._finish()
        self._connection.drop_unsent()
        if stage is Stage.HELD:
            self._tell_closed()
        else:
            self._abort_transport()

    # What the transport calls

    def connectionMade(self) -> None:
        """Begin; ``authenticated`` comes later."""
        self._clock = self.factory.clock
        self._lifecycle = Lifecycle()
        self._reading = Reading()
        self._producers = NO_PRODUCER
        self._below = TransportBelow(self.transport)
        self._below.send_small_packets()
        # Where the peer's silence is allowed, since we read nothing, PINGs don't tell whether it is there.
        keep_alive(self.transport, self.factory.timeouts.tcp_keepalive)
        self._connection = self.factory.make_connection(self._clock.seconds())
        self._below.read_up_to(self._connection.wanted or READ_SIZE)
        self._outbox = Outbox(self._connection, self._below, self.factory.unread)
        self._lifecycle.take(Turn.MADE)
        # Whoever has overridden it looks at what was read.
        looks = type(self).dataReceived is not SodiumProtocol.dataReceived or "dataReceived" in vars(self)
        this = weakref.ref(self)
        gate = _Gate(this)
        self._below.open_gate(gate, gate, this, None if looks else self._connection)
        self._arm_timer()

    def dataReceived(self, data: bytes) -> None:
        """Bytes came, cut anywhere."""
        if self._below.unplaced:
            self._below.unplaced = False
            self._find_place()
        if self._lifecycle.over:
            if self._farewell is not None:
                self._farewell.heard = True
            return
        self._pump(data)

    def take_events(self) -> None:
        """Bytes were received for the connection, below the transport."""
        self._pump()

    def hand_over(self) -> None:
        """TLS is about to begin on the transport."""
        self._outbox.hand_over()

    def _find_place(self) -> None:
        """The first bytes came through a proxy: it is known now whom it speaks for."""

    def _breaking(self) -> None:
        """The transport ends, and may not have read all that came before."""
        # A stranger makes us hold no more than its handshake.
        if self._lifecycle.stage in (_OPEN, Stage.HANDSHAKE) and self._connection.wanted is None:
            self._outbox.transport_ended()
            self._below.read_rest(self._takes_rest)

    def _takes_rest(self) -> bool:
        return not self._lifecycle.over and (self._keeps_rest() or not self._reading.reasons)

    def _keeps_rest(self) -> bool:
        """Tell whether what came before a break is kept for an application that has paused."""
        return False

    def _waits_for_rest(self) -> bool:
        """Tell whether an application that has paused is to take what came before an end in order."""
        return True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone; ``connection_lost`` follows, at once unless the application has paused."""
        if self._outbox.error is not None and reason.check(ConnectionDone):
            # The socket told us, and Twisted's next look at it found nothing but its end.
            reason = Failure(self._outbox.error)
        reasons = self._reading.reasons
        broken = reason.value if isinstance(reason.value, ConnectionLost) else None
        if (
            reasons & (APPLICATION | WRITING)
            and (
                reason.check(ConnectionDone)
                # What the peer has said last tells how it ended, and not what became of the transport then.
                or (broken is not None and (self._keeps_rest() or self._peer_finished()))
            )
            and (reasons & BEHIND or self._connection.buffered)
            and self._waits_for_rest()
            and self._lifecycle.take(Turn.HELD_BACK)
        ):
            # The end was seen by reading ahead. Or it came over TLS or the like, which deliver what they hold, and the
            # end behind it, although they were paused.
            if broken is not None:
                self._outbox.error = broken  # that is how it ends, when all is taken
            self._outbox.transport_ended()
            self._reading.allow(WRITING)  # nothing is sent any more: that must not keep the rest from being taken
            self._cancel_timer()  # there is nobody to be too slow
            self._producers.stop()  # it may be what has paused
            if broken is not None:
                self._wait_for_application()
            if not reasons & APPLICATION:
                self._regulate()
            return
        peer_left = not self._lifecycle.over
        if self._lifecycle.take(Turn.LOST):
            self._tell_end(reason, peer_left)

    def _wait_for_application(self) -> None:
        """
        The connection broke while the application takes nothing. What came before is its, but not for ever: it must
        also hear of the break. Time begins anew with each DATA that it takes.
        """
        self._cancel_timer()
        self._timer = self._clock.callLater(self.factory.timeouts.inactivity, self._application_too_slow)

    def _application_too_slow(self) -> None:
        self._timer = None
        if self._lifecycle.take(Turn.LOST):
            assert self._outbox.error is not None
            self._tell_end(Failure(self._outbox.error), peer_left=True)

    def _tell_closed(self) -> None:
        """It was closed or broken off here when the transport had ended already."""
        self._tell_end(Failure(ConnectionDone()), peer_left=False)

    def _tell_end(self, reason: Failure, peer_left: bool) -> None:
        """
        The last that happens.

        :param reason: what the transport says.
        :param peer_left: whether nothing had ended it on our side.
        """
        if self._error is None and peer_left:
            self._error = self._explain(reason)
        self._outbox.transport_ended()
        self._finish()
        if self._farewell is not None:
            self._farewell.end()
            self._farewell = None
        if self._error is not None:
            reason = Failure(self._error)
        self.is_authenticated = False
        pings, self._outbox.pings = self._outbox.pings, None
        for ping in pings or ():
            if ping is not None:
                ping.errback(reason)
        self._producers.stop()
        self._before_connection_lost(reason, peer_left)
        self.connection_lost(reason)

    def _end_is_said(self) -> bool:
        """Tell whether what the two ends have said tells how it ended, whatever the transport says of it."""
        return self.is_authenticated and self._connection.version == 2

    def _explain(self, reason: Failure) -> BaseException | None:
        """Tell how it ended. An end in order may have come too early; in version 2 what the ends have said decides."""
        decided = self._end_is_said()
        # Who was passed over in silence is told apart by what it has sent, however it leaves.
        if not (decided or reason.check(ConnectionDone) or self._connection.state is State.SILENT):
            return None
        settled = self._connection.settled
        try:
            self._connection.receive_eof()
        except RemoteProtocolError as error:
            if decided:
                error.__cause__ = reason.value
            return error.with_traceback(None)  # else each connection that was cut would be garbage of the collector's
        if settled:
            return ConnectionDone()
        return self._explain_untaken() if decided and not reason.check(ConnectionDone) else None

    def _explain_untaken(self) -> BaseException:
        """Tell how it ended where the application has not taken what the peer has said last."""
        last = self._reading.last
        if isinstance(last, Aborted):
            return PeerAborted(last.code, printable(last.text))
        return ConnectionCut("the connection broke before the application had taken all that came")

    def _before_connection_lost(self, reason: Failure, peer_left: bool) -> None:
        """
        For the two sides.

        :param reason: what ``connection_lost`` will get.
        :param peer_left: whether nothing had ended it on our side.
        """

    # Receiving

    def _pump(self, data: bytes = b"", begin: Callable[[], None] | None = None) -> None:
        """
        Hand events to the application until they end or there is a reason to stop; what is sent
        meanwhile leaves together.

        :param data: was received; nothing where what came before waits.
        :param begin: called before the first event.
        """
        connection, reading, outbox = self._connection, self._reading, self._outbox
        now = self._clock.seconds()
        events = connection.receive_data(data, now) if data else connection.events(now)
        self._pumping = outbox.corked = True
        outbox.at_once = outbox.allowance
        outbox.limit = CORK_LIMIT if outbox.blocked else outbox.early_limit
        try:
            if begin is not None:
                begin()
            while True:
                if not reading.reasons:
                    for event in events:
                        if type(event) is DataReceived:
                            self.payload_received(event.payload)
                        else:
                            self._take_event(event)
                        if reading.reasons:
                            break
                    else:
                        if not (connection.choked and self._choke()):
                            break
                        events = connection.events(now)
                if not self._take_while_stopped(events):
                    # What is not looked at can't be choked: more PONGs that leave would change nothing.
                    if not (connection.choked and reading.may_read_ahead and self._choke()):
                        break
                    events = connection.events(now)
        except RemoteProtocolError as error:
            self._close(error.with_traceback(None))  # which has us, as we have the error
        except Exception as error:
            self._application_failed(Failure(), error)
        finally:
            self._pumping = outbox.corked = False
            if connection.incoming.held != outbox.incoming:
                outbox.count_incoming()
            if connection.unsent.size:
                outbox.flush()
            outbox.greeting = False
        if self._lifecycle.stage is not _OPEN:
            self._not_open()
        elif reading.reasons or reading.paused:
            self._regulate_transport()

    def _take_while_stopped(self, events: Iterator[Event]) -> bool:
        """
        Deliver what was read ahead, if the application takes it. Read ahead, if it does not.

        :param events: where more comes from.
        :return: whether the application gets what comes as it comes.
        """
        reading = self._reading
        while reading.reasons:
            if not reading.stopped:
                held = reading.release()
                if type(held) is bytes:
                    self.payload_received(held)
                else:
                    self._take_event(held)  # type: ignore[arg-type]  # it is an event
                continue
            event = next(events, None) if reading.may_read_ahead else None
            if event is None:
                return False
            if type(event) is DataReceived:
                if not reading.reasons & CLOSED:
                    reading.hold(event.payload)
            elif type(event) in _BEHIND_DATA and not reading.reasons & CLOSED:
                reading.hold_event(event)
            else:
                # What waits for no application: with a PONG, for instance, the peer sees that we live.
                self._take_event(event)
        return True

    def _choke(self) -> bool:
        """
        The peer is owed so many PONGs that nothing more of it is looked at.

        :return: whether they have left by now.
        """
        self._outbox.flush()
        if not self._outbox.blocked:
            return True
        self._reading.stop(CHOKED)
        return False

    def _not_open(self) -> None:
        """Events were taken, and the connection is not open yet, or no longer."""
        if self._lifecycle.stage is Stage.ENDING and self._connection.over:
            self._pump()
        elif self._lifecycle.stage is not Stage.HELD:
            if self._reading.reasons or self._reading.paused:
                self._regulate_transport()
        elif self._reading.reasons & APPLICATION:
            if self._timer is not None:
                self._wait_for_application()
        else:
            # All that was held back is taken.
            self.connectionLost(Failure(ConnectionDone()))

    def _read_handshake(self) -> None:
        """Read on, no more than the handshake needs next."""
        self._below.read_up_to(self._connection.wanted or READ_SIZE)
        if self._connection.in_frame and not self._reading.paused:
            try:
                data = self._below.read_at_once()
            except ConnectionLost as error:
                self._outbox.error = error
                return
            if data:
                self._pump(data)

    def _take_event(self, event: Event) -> None:
        if isinstance(event, PingReceived):
            self._answer_ping()
        elif isinstance(event, PongReceived) and event.asked:
            ping = self._outbox.pings.pop(0)  # type: ignore[union-attr]  # it was sent
            if ping is not None:
                ping.callback(event.latency)
        elif isinstance(event, EndReceived):
            self.end_received()
        elif isinstance(event, DrainReceived):
            self.drain_received()
        elif isinstance(event, ConnectionOver):
            # Whatever the transport still says, both ends have said all.
            self._close(ConnectionDone())
        elif isinstance(event, Aborted):
            self._close(PeerAborted(event.code, printable(event.text)))
        elif isinstance(event, RequestReceived):
            self._connection.send_failure(event.id, Code.NOT_SUPPORTED, self.answers_nothing)
            self._sent()

    def _application_failed(self, failure: Failure, error: BaseException | None) -> None:
        where = self._describe_peer()
        self._log.failure(
            "the application failed; its connection with {peer} is closed",
            failure,
            event="application_failed",
            peer=where,
        )
        self.abort_with(Code.APPLICATION_FAILED, "the application failed", error)

    def _producer_failed(self, failure: Failure) -> None:
        self._application_failed(failure, failure.value)

    def _now_authenticated(self) -> None:
        self._lifecycle.take(Turn.AUTHENTICATED)
        self.is_authenticated = True
        self._reading.room = READ_AHEAD
        timeouts = self.factory.timeouts
        soonest = min(timeouts.ping_interval, self._connection.rekey.seconds)
        if soonest < timeouts.authentication:
            # Otherwise the timer of the handshake, which is still set, goes off first. It then finds out what is next.
            self._arm_timer()
        self.authenticated()

    def _answer_ping(self) -> None:
        if self._outbox.ended:
            return  # nobody waits for it, so it is not missing either
        if self._outbox.blocked and self._connection.version == 1:
            self._outbox.owe_pong(self._clock.seconds())
            return
        self._connection.send_pong(self.factory.wall_clock())
        self._outbox.send()

    def _regulate(self) -> None:
        """A reason not to read has come or gone. Inside the pump, the pump will see."""
        if self._lifecycle.over or self._pumping:
            return
        # Where the transport has ended, the pump tells the application so, also when nothing is left to take.
        held = self._lifecycle.stage is Stage.HELD
        reading = self._reading
        over = self._lifecycle.stage is Stage.ENDING and self._connection.over
        if over or (not reading.stopped and (reading.paused or reading.reasons or self._connection.buffered or held)):
            self._go_on_delivering()
        else:
            self._regulate_transport()

    def _go_on_delivering(self) -> None:
        """The application takes again. It may be in the middle of its call to resume."""
        self._pump()

    def _later(self, function: Callable[[], None]) -> IDelayedCall:
        """
        Call something in the reactor's next turn, under the name that what a read causes has in the log.

        :param function: what to call.
        """
        return self._clock.callLater(0, call_as, self.transport, self, function)

    def _regulate_transport(self) -> None:
        reading = self._reading
        if not reading.regulate():
            return
        if reading.deaf:
            self._connection.reading_paused(self._clock.seconds())
        else:
            self._connection.reading_resumed(self._clock.seconds())
        if reading.paused:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()
        self._arm_timer()

    # Sending

    def _send_ping(self, deferred: Deferred[float] | None = None) -> None:
        self._connection.send_ping(self._clock.seconds(), self.factory.wall_clock())
        # A cancelled one keeps its place in the queue: its PONG will come all the same.
        if self._outbox.pings is None:
            self._outbox.pings = []
        self._outbox.pings.append(deferred)
        self._outbox.send()

    def _show_life(self) -> None:
        self._connection.show_life(self._clock.seconds(), self.factory.wall_clock())
        self._outbox.send()

    def _stops_reading_when_blocked(self) -> bool:
        """Tell whether nothing is to be read while the peer takes nothing and there is no producer to pause."""
        return False

    def _writing_blocked(self) -> None:
        now = self._clock.seconds()
        self._outbox.block(now)
        if self._lifecycle.over:
            return
        self._connection.writing_blocked(now)
        self._arm_timer()
        self._producers.pause()
        self._writing_changed()

    def _writing_unblocked(self) -> None:
        outbox = self._outbox
        outbox.unblock()
        if self._lifecycle.over:
            self._go_on_closing()
            return
        if self._below.is_over_above:
            outbox.transport_ended()
            outbox.close_gate()
            return
        self._connection.writing_unblocked(self._clock.seconds())
        outbox.flush()
        if outbox.owed_pongs:
            outbox.pay_pongs(self.factory.wall_clock)
        if self._lifecycle.over:
            return
        if self._farewell is not None:
            self._farewell.note_progress()
        if outbox.blocked:
            return
        self._reading.allow(CHOKED)
        if self._below.is_closing:
            # Somebody closed the transport itself, and all is written.
            self._outbox.close_gate()
            return
        outbox.corked = True
        outbox.limit = max(outbox.limit, RECORD_LIMIT)
        try:
            self._guard_producer(self._producers.resume)
        finally:
            outbox.corked = self._pumping
            outbox.flush()
        self._writing_changed()

    def _writing_changed(self) -> None:
        """Writing was blocked or no longer is, or there is a producer or no longer is."""
        # Answers would pile up where nothing can be paused that makes them.
        unstoppable = self._outbox.blocked and self._producers.producer is None
        if unstoppable and self._stops_reading_when_blocked():
            self._reading.stop(WRITING)
        else:
            self._reading.allow(WRITING)
        self._regulate()

    # Time

    def _arm_timer(self) -> None:
        """Have the deadline judged in time, behind a read. Later ones are noticed when that is done."""
        if self._lifecycle.over:
            return
        deadline = self._connection.deadline()
        if self._timer is not None:
            # Nor is one that is judged in the next turn put off.
            if self._timer.getTime() <= max(deadline, self._clock.seconds()):
                return
            self._cancel_timer()
        if deadline != float("inf"):
            seconds = max(0, deadline - self._clock.seconds())
            self._timer = self._clock.callLater(seconds, self._grant_read, GRANTED_READS)

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _grant_read(self, left: int) -> None:
        """
        Let the reactor read before the deadline is judged.

        :param left: how many turns it gets at most.
        """
        self._timer = self._clock.callLater(0, self._judge, self._connection.buffered, left - 1)

    def _judge(self, buffered: int, left: int) -> None:
        if left and self._connection.buffered != buffered:
            self._grant_read(left)  # a PDU is coming
            return
        self._timer = None
        try:
            if self._connection.ping_due(self._clock.seconds()):
                self._show_life()
        except RemoteProtocolError as error:
            if self.is_authenticated:
                self.abort(error)
            else:
                self._close(error)
        self._arm_timer()

    # Ending

    def _close(self, error: BaseException | None, patience: float | None = None) -> None:
        """
        Close in order.

        :param error: why; ``None`` when nothing is wrong.
        :param patience: how many seconds may pass without progress; ``None`` for what is usual.
        """
        if self._lifecycle.over:
            return
        says_more = self._connection.version == 2 and (self._connection.unsent.size > 0 or self._says_more(error))
        self._outbox.flush()
        if self._lifecycle.over:
            return  # a producer that was paused by that has closed
        if self._outbox.blocked and isinstance(error, RemoteProtocolError):
            self.abort(error)  # nothing waits for a peer that breaks the protocol
            return
        held = self._lifecycle.stage is Stage.HELD
        self._lifecycle.take(Turn.CLOSE)
        self._error = error
        if held:
            self._finish()
            self._tell_closed()
            return
        patience = self._closing_time() if patience is None else patience
        leave = self._reset_transport if self._resets() else self._leave_transport
        if self._farewell is not None:
            self._farewell.end()
        self._farewell = Farewell(self._clock, self._below, patience, leave, self._abort_transport)
        self._farewell.lingers = says_more
        self._finish()
        if self._lifecycle.stage is not Stage.DELIVERING:
            return  # a producer that was silenced has aborted, or has had the rest handed over
        if self._reading.read_on():
            # Over TLS the end comes by reading; and a peer that waits to be read must go on to read.
            self.transport.resumeProducing()
        self._go_on_closing()

    def _go_on_closing(self) -> None:
        """Hand over what is left, as fast as the peer takes it, and then close."""
        if self._lifecycle.stage is not Stage.DELIVERING:
            return
        assert self._farewell is not None
        self._outbox.flush()
        if self._lifecycle.stage is not Stage.DELIVERING:
            return
        if self._connection.unsent.size:
            self._farewell.wait()
            return
        self._outbox.close_gate()
        if self._resets():
            self._farewell.deliver()
        elif (self._farewell.lingers or self._lingers()) and self._below.half_closes():
            # Closed with bytes unread, a socket resets the connection, and what the peer has not
            # read yet is lost to it.
            self._below.end_writing()
            self._below.read_up_to(READ_SIZE)
            self.transport.resumeProducing()
            if self._lifecycle.take(Turn.DELIVERED):  # else it has ended by that
                self._below.close_later()
                self._farewell.linger(1)  # the end of our direction counts for one
        else:
            self._farewell.wait()
            self._leave_transport()

    def _break_off(self) -> None:
        """
        Close behind what was sent, but not in order: nothing here says that this was all. The peer sees a lost
        connection.
        """
        if not self._reading.reasons & CLOSED:  # else it was closed in this turn, and that is what counts
            self._close(BrokenOff())

    def _resets(self) -> bool:
        """Tell whether closing resets the connection, where its end would be one in order."""
        return isinstance(self._error, BrokenOff)

    def _lingers(self) -> bool:
        """Tell whether closing in order waits for the peer to close, too, and drops what it sends until then."""
        return (
            self._connection.version != 2 and self.is_authenticated and not isinstance(self._error, RemoteProtocolError)
        )

    def _says_more(self, error: BaseException | None) -> bool:
        """
        Version 2: tell whether the peer may still send, or has what we said last to read. With something unread, to
        close would be a reset.

        :param error: why it ends.
        """
        return self.is_authenticated and not isinstance(error, (DecryptionFailed, TimedOut))

    def _closing_time(self) -> float:
        """How many seconds may pass without progress while closing in order."""
        return self.factory.timeouts.inactivity

    def _leave_transport(self) -> None:
        if self._lifecycle.take(Turn.LEAVE):
            self._below.close()

    def _reset_transport(self) -> None:
        """Break off where all is delivered."""
        if ISodiumTransport.providedBy(self.transport):
            self.transport.breakConnection()  # what it was given it still has to deliver itself
        else:
            self._abort_transport()

    def _abort_transport(self) -> None:
        """Break off, whether the application has done so or the farewell took too long."""
        self._lifecycle.take(Turn.ABORT)
        if self._farewell is not None:
            self._farewell.end()
        self._connection.drop_unsent()
        self._outbox.ended = True  # a packet of the handshake, which stays, is not to leave either
        self._outbox.close_gate()
        self._below.abort()

    def _finish(self) -> None:
        """From here on nothing is received, produced or timed."""
        if self._reading.reasons & OVER:
            return
        self._reading.finish()
        self._connection.close()
        self._outbox.owed_pongs = 0
        self._cancel_timer()
        self._silence_producer()

    def _describe_peer(self) -> str:
        return describe_address(self.transport.getPeer())
