"""
Our own requests of one connection: whom to tell when their answers come, how many there may be, who waits to make one,
and when they are over.

Which version is spoken makes two classes of it. In version 1 each DATA is a request or an answer, and answers come in
the order of the requests; in version 2 they have numbers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sized
from typing import Any, Protocol

from twisted.internet.defer import AlreadyCalledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..core.errors import (
    ClosedByPeer,
    ClosedHere,
    ConnectionCut,
    LocalProtocolError,
    NotDone,
    NotLetIn,
    PayloadTooLarge,
    RequestFailed,
    RequestTimeout,
    ServerUnavailable,
    TooManyRequests,
    UnexpectedPDU,
)
from ..core.events import AnswerReceived, FailureReceived
from ..core.inbox import Buffer, view_of
from ..core.unsent import Unsent
from ..core.v2.outgoing import PART_SIZE
from .outbox import Outbox

#: How many requests of one end may be unanswered at once.
REQUEST_LIMIT = 128


class AskingEnd(Protocol):
    """
    What :class:`Asking` needs of the end whose requests they are.
    """

    _connection: Any
    _outbox: Outbox
    _clock: IReactorTime

    def send_data(self, payload: Buffer) -> None:
        """Send one DATA."""

    def _sent(self) -> None:
        """Let leave what was sent."""

    def _asks_no_more(self) -> None:
        """No more requests can be made."""


def check_time(seconds: float) -> None:
    """
    Check a time that a caller gives.

    :raises LocalProtocolError: for less than 0, and for what is no number.
    """
    if not 0 <= seconds < math.inf:
        raise LocalProtocolError(f"a time of {seconds} seconds; give a number from 0, or None for no limit")


def explain_end(reason: Failure, closed_here: bool, unanswered: int = 0, broken_below: bool = False) -> NotDone:
    """
    Tell in our own terms why a connection has ended.

    :param reason: what ``connection_lost`` gets.
    :param closed_here: whether it was closed on this side.
    :param unanswered: how many requests have no answer.
    :param broken_below: whether it is what the transport says, and nothing on this side had ended it before. TLS and
        systems have errors of their own for that.
    """
    value = reason.value
    error: NotDone
    if isinstance(value, NotDone):
        return value
    if reason.check(ConnectionDone):
        if closed_here:
            return ClosedHere("the connection was closed here")
        left = f", requests unanswered: {unanswered}; see its log" if unanswered else ""
        return ClosedByPeer(f"the other end closed the connection{left}")
    if (broken_below or isinstance(value, ConnectionLost)) and not isinstance(value, ConnectionAborted):
        error = ConnectionCut(f"the connection was cut: {reason.getErrorMessage()}")
    else:
        # What the application gave to abort(), or what has failed in it.
        error = ClosedHere(f"the connection was broken off here: {reason.getErrorMessage()}")
    error.__cause__ = value
    return error


class Question(Deferred[bytes]):
    """
    A request that was made: what the asker waits for.

    :ivar asking: whose it is.
    :ivar id: by which its answer is known, in version 2; below 0 while it waits until something may be sent.
    :ivar payload: of one that waits so.
    """

    asking: Asking
    id = -1
    payload = b""

    # Not a canceller: that would be an object more for each request.
    def cancel(self) -> None:
        if not self.called:
            self.asking.give_up(self)
            if self.called:
                return  # it was over by that
        super().cancel()

    def settle(self, result: bytes | Exception) -> None:
        """Tell who waits, unless it was cancelled, or took too long."""
        if self.called:
            return
        if isinstance(result, Exception):
            self.errback(result)
        else:
            self.callback(result)


class TimedQuestion(Question):
    """
    One that has a time.

    :ivar timer: ends it when that has passed.
    """

    timer: IDelayedCall | None = None

    def callback(self, result: bytes | Failure) -> None:
        self._stop()
        super().callback(result)

    def errback(self, fail: Failure | BaseException | None = None) -> None:
        self._stop()
        super().errback(fail)

    def _stop(self) -> None:
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()


class Asking:
    """
    Our requests of one connection.

    :param end: whose requests they are; it is let go when the connection is over.
    :param limit: how many may be unanswered at once.
    :ivar unanswered: those without an answer; those that are not wanted any more are there, too.
    :ivar refusal: why none can be made any more; ``None`` while they can.
    :raises LocalProtocolError: when the limit is below one.
    """

    unanswered: Sized

    def __init__(self, end: AskingEnd, limit: int) -> None:
        self._end = end
        self._limit = limit
        self._waiting: deque[Deferred[None]] = deque()
        self.refusal: NotDone | None = None

    # For each version

    def _ask(self, question: Question, payload: Buffer) -> None:
        """Send one."""
        raise NotImplementedError

    def give_up(self, question: Question) -> bool:
        """
        The asker wants no answer any more.

        :return: whether the request was not sent, nor is.
        """
        raise NotImplementedError

    def _take_all(self) -> Iterator[tuple[Question, bool]]:
        """Take out all of them, and tell of each whether it was not sent. What follows from one may cancel others."""
        raise NotImplementedError

    def may_speak(self) -> None:
        """Requests can be sent from now on. Those that were made before are."""

    @property
    def handed_over(self) -> bool:
        """Whether none waits until it may be sent."""
        return True

    # The same for both

    def request(self, payload: Buffer, timeout: float | None) -> Question:
        """
        Ask the peer.

        :param payload: bytes.
        :param timeout: how many seconds to wait for the answer; ``None`` for as long as the connection lives.
        :return: fires with the answer.
        :raises NotDone: when none can be made any more.
        :raises LocalProtocolError: for a call that is wrong.
        """
        if self.refusal is not None:
            raise self.refusal.of_request(True)
        if len(self.unanswered) >= self._limit:
            raise TooManyRequests(f"{self._limit} requests are unanswered; wait with ready() before the next one")
        if timeout is None:
            question = Question()
            question.asking = self
            self._ask(question, payload)
            return question
        check_time(timeout)
        timed = TimedQuestion()
        timed.asking = self
        self._ask(timed, payload)
        timed.timer = self._end._clock.callLater(timeout, self._timed_out, timed, timeout)
        return timed

    def _timed_out(self, question: TimedQuestion, timeout: float) -> None:
        question.timer = None
        not_sent = self.give_up(question)
        question.settle(RequestTimeout(f"no answer came in {timeout:g} seconds").of_request(not_sent))
        self._wake()

    def ready(self) -> Deferred[None]:
        """
        Wait until one more request may be made.

        :return: fires when fewer than the limit are unanswered. Who waits first is told first.
        """
        if self.refusal is not None:
            return fail(self.refusal.of_request(True))
        # Whoever waits already comes first.
        if len(self.unanswered) < self._limit and not self._waiting:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._wait_no_longer)
        self._waiting.append(waiting)
        return waiting

    def _wait_no_longer(self, waiting: Deferred[None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _wake(self) -> None:
        # One at a time: each makes its request at once, which then counts.
        while self._waiting and len(self.unanswered) < self._limit:
            self._waiting.popleft().callback(None)

    def refuse(self, why: NotDone) -> None:
        """
        No more requests can be made. Those that were made are still answered.

        :param why: what who wants to make one is told; only the first time counts.
        """
        if self.refusal is None:
            self.refusal = why
        # One by one, since what each of them calls may cancel others.
        while self._waiting:
            self._waiting.popleft().errback(self.refusal.of_request(True))
        self._end._asks_no_more()

    def over(self, why: NotDone) -> None:
        """
        The connection is over: what is unanswered fails.

        :param why: it ended.
        """
        self.refusal = why
        # A server that left without a word may have let us in: then its hello was lost.
        refused = isinstance(why, NotLetIn) and not (type(why) is ServerUnavailable and why.code is None)
        for question, not_sent in self._take_all():
            question.settle(why.of_request(not_sent or refused))
        self.refuse(why)
        del self._end


class AskingInOrder(Asking):
    """Those of version 1."""

    def __init__(self, end: AskingEnd, limit: int) -> None:
        super().__init__(end, limit)
        self.unanswered: deque[Question] = deque()

    def _ask(self, question: Question, payload: Buffer) -> None:
        self._end.send_data(payload)
        self.unanswered.append(question)

    def give_up(self, question: Question) -> bool:
        return False  # it keeps its place: its answer will come all the same

    def _take_all(self) -> Iterator[tuple[Question, bool]]:
        while self.unanswered:
            yield self.unanswered.popleft(), False

    def data_received(self, payload: bytes) -> None:
        """
        Take in an answer, to the oldest request.

        :raises UnexpectedPDU: when there is none.
        """
        if not self.unanswered:
            raise UnexpectedPDU("the server answered more than it was asked")
        self.unanswered.popleft().settle(payload)
        if self._waiting:
            self._wake()


class AskingByNumber(Asking):
    """Those of version 2. Until anything may be sent they wait here."""

    def __init__(self, end: AskingEnd, limit: int) -> None:
        super().__init__(end, limit)
        self.unanswered: dict[int, Question] = {}
        # While requests wait here, the number of the next one.
        self._early: int | None = -1
        self._unsent: Unsent

    def request(self, payload: Buffer, timeout: float | None) -> Question:
        unanswered = self.unanswered
        if timeout is not None or self._early is not None or self.refusal is not None or len(unanswered) >= self._limit:
            return super().request(payload, timeout)
        # What that comes to, in fewer calls, for nearly all.
        question = Question()
        question.asking = self
        end = self._end
        question.id = id = end._connection.send_request(payload)
        unanswered[id] = question
        outbox, size = end._outbox, self._unsent.size
        if size > PART_SIZE and len(payload) > PART_SIZE:
            outbox.share()
        # What is corked leaves by itself. This spares two calls for each of many small requests.
        if not outbox.corked or size >= outbox.limit:
            end._sent()
        return question

    def _ask(self, question: Question, payload: Buffer) -> None:
        if self._early is None:
            question.id = id = self._end._connection.send_request(payload)
            self.unanswered[id] = question
            if self._unsent.size > PART_SIZE and len(payload) > PART_SIZE:
                self._end._outbox.share()
            self._end._sent()
            return
        question.payload = bytes(view_of(payload))
        question.id = self._early
        self.unanswered[self._early] = question
        self._early -= 1

    def may_speak(self) -> None:
        end = self._end
        self._unsent = end._connection.unsent
        # One by one, since what becomes of one may cancel others, ask more, and close or break off.
        while (early := next((id for id in self.unanswered if id < 0), None)) is not None:
            question = self.unanswered[early]
            try:
                question.id = id = end._connection.send_request(question.payload)
            except PayloadTooLarge as error:
                del self.unanswered[early]
                question.settle(error)
            except LocalProtocolError:
                return  # it was broken off; they are told when it is over
            else:
                del self.unanswered[early]
                self.unanswered[id] = question
                question.payload = b""
        self._early = None
        if self.unanswered:
            end._sent()
        self._wake()

    @property
    def handed_over(self) -> bool:
        return self._early is None or not self.unanswered

    def give_up(self, question: Question) -> bool:
        if question.id < 0:
            self.unanswered.pop(question.id, None)
            return True
        # One answer or failure still comes. Until then it counts.
        try:
            self._end._connection.send_cancel(question.id)
        except LocalProtocolError:
            return False  # it was broken off just now
        self._end._sent()
        return False

    def _take_all(self) -> Iterator[tuple[Question, bool]]:
        not_sent = self._end._connection.not_sent
        while self.unanswered:
            id = next(iter(self.unanswered))
            yield self.unanswered.pop(id), id < 0 or id in not_sent

    def answered(self, event: AnswerReceived) -> None:
        """Take in an answer."""
        try:
            self.unanswered.pop(event.id).callback(event.payload)
        except AlreadyCalledError:
            pass  # the answer is not wanted any more
        if self._waiting:
            self._wake()

    def failed(self, event: FailureReceived) -> None:
        """Take in a failure."""
        error = RequestFailed(event.code, event.text)
        # What it says of requests that were not acted on says nothing of an answer that we have dropped.
        self.unanswered.pop(event.id).settle(error.of_request(False) if event.answered else error)
        self._wake()
