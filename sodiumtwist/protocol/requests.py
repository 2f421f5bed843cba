"""
Requests and answers: the two ends that ask and answer. :mod:`~sodiumtwist.protocol.asking` has our own requests,
:mod:`~sodiumtwist.protocol.answering` those of the peer.

In version 2 either end may ask, and answers come in any order. In version 1 the client asks: each DATA of it is a
request, and the server answers it with one DATA, in the order of the requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from ..admission.limits import Limits
from ..admission.summed_lines import SummedLines
from ..core.connection import Code
from ..core.errors import ClosedByPeer, ClosedHere, ClosingTimeout, LocalProtocolError, NotDone, UnexpectedPDU
from ..core.events import AnswerReceived, Event, FailureReceived, RequestCancelled, RequestReceived
from ..core.inbox import Buffer
from ..core.states import State
from ..interfaces import Peer
from .answering import CONCURRENCY, AnsweringByNumber, AnsweringInOrder, Respond
from .asking import REQUEST_LIMIT, Asking, AskingByNumber, AskingInOrder, check_time, explain_end
from .base import SodiumProtocol
from .client import SodiumClientProtocol
from .context import ServerContext
from .lifecycle import Stage, not_yet
from .observing import Observer
from .server import SodiumServerProtocol

__all__ = ["CONCURRENCY", "REQUEST_LIMIT", "RequestClient", "RequestEnd", "Respond", "RespondingContext", "Responder"]


CLOSED_HERE = "the connection was closed here"
CLOSED_BY_PEER = "the other end has closed the connection"


class RespondingContext(ServerContext, Protocol):
    """
    What a :class:`Responder` needs of its factory.

    :ivar respond: answers requests.
    :ivar concurrency: how many requests of one connection ``respond`` may work on at once.
    """

    respond: Respond
    concurrency: int


class RequestEnd(SodiumProtocol):
    """
    What both ends do.
    """

    # Each is there when its version is known, and it may be needed.
    _asking: Asking | None = None
    _answering: AnsweringInOrder | AnsweringByNumber | None = None
    # Who waits for the end that was asked for here; None before close() was called.
    _closing: list[Deferred[None]] | None = None
    _closing_timer: IDelayedCall | None = None
    # Set where a time was given: then all must be over, whatever goes on still.
    _closing_limit: IDelayedCall | None = None
    _lost: list[Deferred[NotDone | None]] | None = None
    # Whether the Deferred of close() fails where that was not in order. Who stops a server closes all its ends, and
    # looks at none of them.
    _closing_may_fail = True
    _retired: list[Deferred[None]] | None = None
    # Why it has ended; ClosedHere without a cause where that was in order.
    _end: NotDone | None = None

    # For the application to call

    def request(self, payload: Buffer, timeout: float | None = None) -> Deferred[bytes]:
        """
        Ask the peer. The answer may come before those of earlier requests.

        To cancel the Deferred tells the peer that no answer is wanted any more, as does a timeout; in version 1 nothing
        can tell it. The request is not taken back: the peer may have acted on it, and it counts until its answer comes,
        which is then dropped.

        :param payload: up to 16 MiB, or what the bounds say; in version 1 up to 131070 bytes.
        :param timeout: how many seconds to wait for the answer; ``None`` for as long as the connection lives.
        :return: fires with the answer. Fails with :exc:`RequestFailed` when the peer answers that it failed, with
            :exc:`RequestTimeout`, and with another :exc:`NotDone` when the connection ends before the answer has come,
            or is closed, or the peer is about to stop; ``safe_to_repeat`` of each tells whether nobody can have acted
            on the request. Fails with a :exc:`LocalProtocolError` where the call is wrong: :exc:`PayloadTooLarge`,
            and :exc:`TooManyRequests` when as many as the limit are unanswered (:meth:`ready` waits).
        :raises TypeError: for anything but contiguous bytes.
        """
        try:
            if self._asking is None:
                raise self._not_asked()
            return self._asking.request(payload, timeout)
        except NotDone:
            return fail()
        except LocalProtocolError as error:
            return fail(self._misused(error))

    def _misused(self, error: LocalProtocolError) -> LocalProtocolError | NotDone:
        """Tell whether a call is wrong, or has come too late: the connection has ended, or is about to."""
        if type(error) is not LocalProtocolError or self._lifecycle.stage is Stage.UNMADE:
            return error
        if self._lifecycle.over or self._lifecycle.stage is Stage.ENDING:
            if isinstance(self._error, NotDone):
                return self._error.of_request(True)
            if self._closed_by_peer():
                return ClosedByPeer(CLOSED_BY_PEER)
            return ClosedHere(CLOSED_HERE)
        # It has aborted; the application, which has paused, is told behind what came before that.
        return ClosedByPeer(CLOSED_BY_PEER) if self._connection.state is State.CLOSED else error

    def _closed_by_peer(self) -> bool:
        return self._connection.peer_ended and self._closing is None

    def _not_asked(self) -> LocalProtocolError:
        if self._lifecycle.stage is Stage.UNMADE:
            return not_yet()
        if self._connection.version == 1:
            return LocalProtocolError("in version 1 of the protocol a server can't ask; speak version 2")
        return LocalProtocolError("the client is not let in yet; wait for authenticated()")

    def ready(self) -> Deferred[None]:
        """
        Wait until one more request may be made.

        :return: fires when fewer than the limit are unanswered; make the request at once then. Who waits first is told
            first. Fails with a :exc:`NotDone`, as :meth:`request`, when none can be made any more, and with
            :exc:`LocalProtocolError` where there is no connection yet.
        """
        if self._asking is None:
            return fail(self._not_asked())
        if self._lifecycle.over and self._asking.refusal is None:
            return fail(ClosedHere(CLOSED_HERE))
        return self._asking.ready()

    def when_lost(self) -> Deferred[NotDone | None]:
        """
        Wait for the end of the connection. It may be called before there is one, and when it is over.

        :return: fires when the connection is over, behind the failures of what is unanswered: with ``None`` when it
            was closed in order on this side, else with why it has ended. It never fails.
        """
        if self._end is not None:
            return succeed(self._outcome())
        waiting: Deferred[NotDone | None] = Deferred(self._wait_no_longer)
        if self._lost is None:
            self._lost = []
        self._lost.append(waiting)
        return waiting

    def when_retired(self) -> Deferred[None]:
        """
        Wait until nothing new can be asked here: the peer is about to stop or has closed, it was closed here, or it is
        over. What was asked before may still be answered.

        :return: fires then. It never fails.
        """
        if self._end is not None or (self._asking is not None and self._asking.refusal is not None):
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._wait_no_longer)
        if self._retired is None:
            self._retired = []
        self._retired.append(waiting)
        return waiting

    def _wait_no_longer(self, waiting: Deferred[Any]) -> None:
        for each in (self._lost, self._retired):
            if each is not None and waiting in each:
                each.remove(waiting)

    def _asks_no_more(self) -> None:
        retired, self._retired = self._retired, None
        for waiting in retired or ():
            waiting.callback(None)

    def _outcome(self) -> NotDone | None:
        end = self._end
        return None if type(end) is ClosedHere and end.__cause__ is None else end

    # Other protocols return nothing. Who can close any of them does not look at the result.
    def close(self, timeout: float | None = None) -> Deferred[None]:  # type: ignore[override]
        """
        Close in order: nothing more can be asked here, and what was asked, on either side, is answered first.

        In version 1 only requests of this side are waited for; a server, which can't tell its client, reads no more and
        answers what it works on.

        :param timeout: how many seconds all that may take; ``None`` for the time that inactivity may last, which begins
            anew as long as the peer takes some of what was sent. Then the connection ends with :exc:`ClosingTimeout`,
            which also has what is unanswered fail. Called again, a shorter time counts.
        :return: fires when the connection is gone, at once where it is already. Fails with the :exc:`NotDone` that
            ended it when that was not in order, unless :meth:`abort` has done so here, or this is a server's end. Also
            fails with :exc:`LocalProtocolError` where there is no connection yet, or for a wrong time.
        """
        if self._end is not None:
            return succeed(None)
        if self._lifecycle.stage is Stage.UNMADE:
            return fail(not_yet())
        if timeout is not None:
            try:
                check_time(timeout)
            except LocalProtocolError:
                return fail()
        closed: Deferred[None] = Deferred()
        first, self._closing = self._closing is None, self._closing or []
        self._closing.append(closed)
        if first and self._asking is not None:
            self._asking.refuse(ClosedHere(CLOSED_HERE))
        if timeout is not None:
            self._limit_closing(timeout)
        if first and not self._lifecycle.over:
            self._begin_to_close(self.factory.timeouts.inactivity if timeout is None else timeout)
        return closed

    def _limit_closing(self, timeout: float) -> None:
        limit = self._closing_limit
        if self._lifecycle.over or (limit is not None and limit.getTime() <= self._clock.seconds() + timeout):
            return
        if limit is not None:
            limit.cancel()
        self._closing_limit = self._clock.callLater(timeout, self._closing_limit_reached, timeout)

    def _closing_limit_reached(self, timeout: float) -> None:
        self._closing_limit = None
        if self._lifecycle.over:
            return
        if self._closing_timer is not None:
            self._closing_timer.cancel()
            self._too_slow_to_close(timeout)
        else:
            self._closing_too_slow(timeout)

    def _begin_to_close(self, timeout: float) -> None:
        if self._may_close():
            self._close_in_order(timeout)
        else:
            self._closing_timer = self._clock.callLater(timeout, self._too_slow_to_close, timeout)

    def _may_close(self) -> bool:
        """
        Tell whether the base may close. In version 2 it waits for answers itself, once the requests are with it; in
        version 1 it waits for nothing.
        """
        if self._connection.version == 2:
            return self._asking is None or self._asking.handed_over
        answered = self._asking is None or not self._asking.unanswered
        return answered and (self._answering is None or not self._answering.busy)

    def _close_if_answered(self) -> None:
        """Something is answered, or handed over. If close() has waited for that alone, it is time now."""
        timer = self._closing_timer
        if timer is not None and self._may_close():
            self._closing_timer = None
            left = max(0.0, timer.getTime() - self._clock.seconds())
            timer.cancel()
            self._close_in_order(left)

    def _too_slow_to_close(self, timeout: float) -> None:
        self._closing_timer = None
        error = ClosingTimeout(f"closed, and waited {timeout:g} seconds for answers")
        if self._outbox.blocked:
            self.abort(error)  # it takes nothing, so in order it would have to be waited for again
        else:
            self._close(error)

    # What the base calls

    def _take_event(self, event: Event) -> None:
        kind = type(event)
        if kind is AnswerReceived:
            self._asking.answered(event)  # type: ignore[union-attr]  # it was asked
        elif kind is RequestReceived and self._answering is not None:
            self._answering.received(event)  # type: ignore[union-attr,arg-type]  # it speaks version 2
        elif kind is FailureReceived:
            self._asking.failed(event)  # type: ignore[union-attr]
        elif kind is RequestCancelled:
            if self._answering is not None:
                self._answering.cancelled(event.id)  # type: ignore[union-attr]
        else:
            super()._take_event(event)

    def payload_received(self, payload: bytes) -> None:
        why = "a DATA, where requests and answers have PDUs of their own"
        self.abort_with(Code.PROTOCOL_BROKEN, why, UnexpectedPDU(why))

    def drain_received(self) -> None:
        if self._asking is not None:
            self._asking.refuse(ClosedByPeer("the other end is about to stop"))
        self._end_if_idle()

    def _idle(self) -> bool:
        return self._answering is None or not self._answering.busy

    def _say_end(self) -> None:
        super()._say_end()
        if self._asking is not None and self._closed_by_peer():
            self._asking.refuse(ClosedByPeer(CLOSED_BY_PEER))

    def _all_answered(self) -> None:
        if self._connection.version == 1:
            self._close_if_answered()
        elif self._connection.peer_ended or (self._asking is not None and self._asking.refusal is not None):
            self._end_if_idle()

    def _writing_unblocked(self) -> None:
        super()._writing_unblocked()
        if type(self._answering) is AnsweringByNumber and not self._lifecycle.over:
            self._answering.go_on()

    def _not_begun(self, outcome: str) -> None:
        observer: Observer | None = getattr(self.factory, "observer", None)  # a client's factory has none
        if observer is not None:
            observer.request_over(outcome, 0.0)

    def _request_failed(self, reason: Failure, closes: bool) -> None:
        if not self._may_log_failure(reason):
            return
        if self._end is not None:
            self._log.failure("a request failed after its connection was over", reason, event="request_failed")
            return
        closed = "; the connection is closed" if closes else ""
        self._log.failure(
            "a request of {asker} failed{closed}",
            reason,
            event="request_failed",
            asker=self._describe_asker(),
            closed=closed,
        )

    if TYPE_CHECKING:

        def _may_log_failure(self, failure: Failure) -> bool:
            """Tell whether one more failure is to be in the log; if not, it is summed up."""

        def _describe_asker(self) -> str:
            """Say who asks, for the log."""

    def _before_connection_lost(self, reason: Failure, peer_left: bool) -> None:
        super()._before_connection_lost(reason, peer_left)
        timers = self._closing_timer, self._closing_limit
        self._closing_timer = self._closing_limit = None
        for timer in timers:
            if timer is not None:
                timer.cancel()
        asking, answering = self._asking, self._answering
        # In version 2 both have closed when it ends in order.
        closed_here = not peer_left if self._connection.version == 1 else self._closing is not None
        unanswered = 0 if asking is None else len(asking.unanswered)
        self._end = end = explain_end(reason, closed_here, unanswered, peer_left)
        peer: Peer | None = getattr(self, "peer", None)
        if peer is not None:
            peer.ended(end)
        if answering is not None:
            self._answering = None
            answering.over()
        if asking is not None:
            asking.over(end)
        self._tell_who_waits(end)

    def _tell_who_waits(self, end: NotDone) -> None:
        outcome, closing, lost = self._outcome(), self._closing or (), self._lost or ()
        self._closing = self._lost = None
        for closed in closing:
            if outcome is None or isinstance(end, ClosedHere) or not self._closing_may_fail:
                closed.callback(None)
            else:
                closed.errback(end)
        for waiting in lost:
            waiting.callback(outcome)


class Responder(RequestEnd, SodiumServerProtocol):
    """
    A server's end that answers requests. Its factory's ``respond(peer, payload)`` returns the answer, which is bytes:
    up to 16 MiB, or what the bounds say; in version 1 up to 131070. Or it returns a Deferred or coroutine that gives
    them.

    In version 2 answers leave as they get ready. At most ``concurrency`` requests are worked on; others wait in their
    order. One that raises :exc:`RequestError` fails with its code and text. Where it raises anything else, or the
    answer is wrong, this is logged, and the client is told that the application failed. The responder may ask the
    client, too, by ``peer.request()``.

    In version 1 answers leave in the order of the requests. While as many as ``concurrency`` are not sent, nothing more
    is read. When one fails, this is logged and the connection is closed.

    What is not done at the end of the connection is cancelled.
    """

    factory: RespondingContext
    # Never None here: nobody asks before it is there.
    peer: Peer

    _closing_may_fail = False

    def _now_authenticated(self) -> None:
        factory = self.factory
        if self._connection.version != 1:
            self.peer = self.peer.asked_by(self)
            self._asking = asking = AskingByNumber(self, REQUEST_LIMIT)
            asking.may_speak()
            self._answering = AnsweringByNumber(self, self.peer, factory.respond, factory.concurrency)
        else:
            self._answering = AnsweringInOrder(self, self.peer, factory.respond, factory.concurrency)
        super()._now_authenticated()

    def payload_received(self, payload: bytes) -> None:
        if isinstance(self._answering, AnsweringInOrder):
            self._answering.data_received(payload)
        else:
            super().payload_received(payload)

    def _stops_reading_when_blocked(self) -> bool:
        # In version 2 the client might do the same.
        return self._connection.version == 1

    def _begin_to_close(self, timeout: float) -> None:
        super()._begin_to_close(timeout)
        if self._closing_timer is not None and isinstance(self._answering, AnsweringInOrder):
            self._answering.take_no_more()

    def leave_untold(self, error: BaseException) -> None:
        """Version 1: the server is about to stop. What is worked on is still answered, and nothing more is read."""
        if self.is_authenticated:
            self.close()
        else:
            super().leave_untold(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        # The client has left in order, and requests wait behind those that are worked on. No answer can be sent any
        # more, so these are cancelled, as at any end. That makes room: what was asked before the end is begun.
        while isinstance(self._answering, AnsweringInOrder) and self._waits_for_room():
            self._answering.cancel_all()
            self.resumeProducing()

    def _waits_for_room(self) -> bool:
        return self._lifecycle.stage is Stage.HELD and not self._pumping

    def _describe_asker(self) -> str:
        return f"{self.peer.login!r} from {self._describe_peer()}"


class RequestClient(RequestEnd, SodiumClientProtocol):
    """
    A client's end that sends requests, and in version 2 may answer those of the server.

    :param limit: how many requests may be unanswered at once.
    :param respond: answers requests of the server, as a server's does those of its clients; ``None`` to answer none.
    :param concurrency: how many of them are worked on at once.
    :raises LocalProtocolError: when the limit or the concurrency is below one.
    """

    _failures: SummedLines | None = None

    def __init__(
        self, limit: int = REQUEST_LIMIT, respond: Respond | None = None, concurrency: int = CONCURRENCY
    ) -> None:
        if limit < 1:
            raise LocalProtocolError(f"a limit of {limit} requests allows none; 1 is the least")
        if concurrency < 1:
            raise LocalProtocolError(f"a concurrency of {concurrency} requests answers none; 1 is the least")
        self._limit = limit
        self._respond = respond
        self._concurrency = concurrency

    def connectionMade(self) -> None:
        # The transport may bring something at once, and what comes of it ask.
        self._asking = (AskingInOrder if self.factory.version == 1 else AskingByNumber)(self, self._limit)
        super().connectionMade()

    def _may_speak_now(self) -> None:
        assert self._asking is not None
        self._asking.may_speak()
        self._close_if_answered()

    def _make_peer(self) -> Peer:
        peer = super()._make_peer()
        # Also where it was closed meanwhile: what the server asks behind its welcome is still answered.
        if self._connection.version == 2:
            peer = peer.asked_by(self)
            if self._respond is not None:
                self._answering = AnsweringByNumber(self, peer, self._respond, self._concurrency)
        return peer

    def payload_received(self, payload: bytes) -> None:
        if isinstance(self._asking, AskingInOrder):
            self._asking.data_received(payload)
            self._close_if_answered()
        else:
            super().payload_received(payload)

    def _may_log_failure(self, failure: Failure) -> bool:
        if self._failures is None:
            self._failures = SummedLines("failures", Limits.stranger_lines, lambda: self._clock)
        return self._failures.write(repr(failure.getErrorMessage()))

    def _describe_asker(self) -> str:
        return f"the server {self._describe_peer()}"
