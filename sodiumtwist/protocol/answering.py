"""
The peer's requests of one connection: which are worked on, which wait for that, and what becomes of them.

Which version is spoken makes two classes of it. In version 1 answers leave in the order of the requests, and nothing
more is read while there are many; in version 2 each has its number, and room is never made by not reading.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, Union

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from ..core.connection import Code, describe_code
from ..core.errors import RequestError
from ..core.events import RequestReceived
from ..core.inbox import not_bytes
from ..core.states import State
from ..core.v2.outgoing import PART_SIZE
from ..interfaces import Peer
from .lifecycle import Lifecycle
from .outbox import Outbox

#: How many requests of one connection are worked on at once.
CONCURRENCY = 64

#: In which steps, in bytes, requests that wait for their answers are put into the sum of what waits. To count each of
#: them there would cost more than it tells.
COUNTED_STEP = 16384

#: What an asker is told of a failure that is none of its business.
FAILED = "the application failed"

Answer = Union[bytes, Deferred[bytes], Coroutine[Any, Any, bytes]]

#: Called with who asks, and with the payload.
Respond = Callable[[Peer, bytes], Answer]


class AnsweringEnd(Protocol):
    """
    What :class:`Answering` needs of the end that answers.
    """

    _connection: Any
    _lifecycle: Lifecycle
    _outbox: Outbox

    def pauseProducing(self) -> None:
        """Deliver nothing more."""

    def resumeProducing(self) -> None:
        """Deliver again."""

    def send_data(self, payload: bytes) -> None:
        """Send one DATA."""

    def _sent(self) -> None:
        """Let leave what was sent."""

    def _request_failed(self, reason: Failure, closes: bool) -> None:
        """A request has failed: say so in the log."""

    def _not_begun(self, outcome: str) -> None:
        """A request is over that the application has not seen: tell whoever counts."""

    def _close(self, error: BaseException | None) -> None:
        """Close in order."""

    def _all_answered(self) -> None:
        """Nothing is worked on any more, nor waits for that."""


class Answering:
    """
    What both versions do.

    :param end: the end that answers; it is let go when the connection is over.
    :param peer: who asks.
    :param respond: answers requests.
    :param concurrency: how many it works on at once.
    """

    def __init__(self, end: AnsweringEnd, peer: Peer, respond: Respond, concurrency: int) -> None:
        self._end = end
        self._peer = peer
        self._respond = respond
        self._concurrency = concurrency
        self._over = False

    @property
    def busy(self) -> bool:
        """Whether something is worked on, or waits for that."""
        raise NotImplementedError

    def over(self) -> None:
        """No answer can be sent any more: what is worked on is cancelled."""
        self._over = True

    def _failed_late(self, reason: Failure) -> bool:
        """
        Tell whether the connection is over, so that nobody else hears of a failure.

        :param reason: of a task; those that were cancelled have failed for that.
        """
        end = self._end
        if self._over and not reason.check(CancelledError):
            end._request_failed(reason, False)
        # It was logged what closed the connection; the rest follows from that.
        return self._over or end._lifecycle.over


class _Task:
    """A request that is worked on, or that is answered but waits for the answer of an earlier one."""

    answer: bytes | None = None
    working: Deferred[Any] | None = None


class AnsweringInOrder(Answering):
    """
    Those of version 1. A failure closes the connection: nothing can tell it, and the next answer would be taken for
    that of the one which has failed.
    """

    def __init__(self, end: AnsweringEnd, peer: Peer, respond: Respond, concurrency: int) -> None:
        super().__init__(end, peer, respond, concurrency)
        self._tasks: deque[_Task] = deque()
        self._closing = False

    def take_no_more(self) -> None:
        """It is closed when what is worked on is answered."""
        self._closing = True
        self._end.pauseProducing()

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    def data_received(self, payload: bytes) -> None:
        """Take in a request."""
        end = self._end
        try:
            answer = self._respond(self._peer, payload)
            # There is nothing to wait for, so this needs no Deferred.
            if type(answer) is bytes and not self._tasks:
                end.send_data(answer)
                return
        # Also when the answer does not fit one DATA: that is a mistake of the application, not of the client.
        except Exception:
            self._failed(Failure())
            return
        task = _Task()
        self._tasks.append(task)
        # Before the answer is looked at: one that is ready at once has to find this, to read again.
        if len(self._tasks) >= self._concurrency:
            end.pauseProducing()
        working: Deferred[Any] = maybeDeferred(lambda: answer)
        task.working = working
        working.addCallback(self._ready, task)
        working.addErrback(self._failed)

    def _ready(self, answer: bytes, task: _Task) -> None:
        if type(answer) is not bytes:
            raise not_bytes(answer, "an answer is bytes")
        if self._over:
            return
        end = self._end
        task.answer = answer
        if self._tasks and self._tasks[0] is not task:
            end._outbox.keep(len(answer))
            return
        # A task may answer although it was cancelled; then nobody waits for it.
        while self._tasks and (ready := self._tasks[0].answer) is not None and not end._lifecycle.over:
            if self._tasks.popleft() is not task:
                end._outbox.keep(-len(ready))
            end.send_data(ready)
        if not self._tasks:
            end._all_answered()
        if len(self._tasks) < self._concurrency and not self._closing:
            end.resumeProducing()

    def _failed(self, reason: Failure) -> None:
        if self._failed_late(reason):
            return
        self._end._request_failed(reason, True)
        self._end._close(reason.value)

    def cancel_all(self) -> None:
        """No answer can be sent any more. More may still come, which is begun, and cancelled in its turn."""
        self._over = True
        # All are taken out first: what is cancelled may call _ready().
        tasks, self._tasks = self._tasks, deque()
        for task in tasks:
            if task.working is not None:
                task.working.cancel()

    def over(self) -> None:
        self.cancel_all()


class AnsweringByNumber(Answering):
    """
    Those of version 2. A failure answers the one request.

    At most as many as the concurrency are worked on. Others wait in their order, and all do while too much waits for a
    peer that does not read: as many bytes as :attr:`Bounds.connection` and :attr:`Bounds.message` together. What comes
    behind twice as many is dropped, and its request fails. How many requests there are without answer is bounded by the
    core, by :attr:`Bounds.requests`; how many bytes they have by :attr:`Bounds.connection`, here. One beyond that fails
    for lack of room.
    """

    def __init__(self, end: AnsweringEnd, peer: Peer, respond: Respond, concurrency: int) -> None:
        super().__init__(end, peer, respond, concurrency)
        bounds = end._connection.bounds
        self._most_held = bounds.connection
        self._most_unsent = bounds.connection + bounds.message
        self._unsent = end._connection.unsent
        # What is worked on, and the size of the request, by its number; until it has ended, also when it is cancelled.
        self._tasks: dict[int, tuple[Deferred[Any], int]] = {}
        self._cancelled: set[int] = set()
        self._waiting: OrderedDict[int, bytes] = OrderedDict()
        # How many bytes the requests have that wait or are worked on, and how many are counted for them in the sum.
        self._held = self._counted = 0
        self._beginning = False

    @property
    def busy(self) -> bool:
        return bool(self._tasks or self._waiting)

    def received(self, event: RequestReceived) -> None:
        """Take in a request."""
        payload = event.payload
        if self._held and self._held + len(payload) > self._most_held:
            self._end._not_begun("no_room")
            self._fail(event.id, Code.NO_ROOM)
        elif self._waiting or len(self._tasks) >= self._concurrency or self._unsent.size > self._most_unsent:
            self._waiting[event.id] = payload
            self._hold(len(payload))
        else:
            # What _begin() does with an answer that is there at once, as nearly all are, in fewer calls.
            end = self._end
            try:
                answer = self._respond(self._peer, payload)
                if type(answer) is bytes:
                    end._connection.send_answer(event.id, answer)
                    outbox = end._outbox
                    if self._unsent.size > PART_SIZE and len(answer) > PART_SIZE:
                        outbox.share()
                    if not outbox.corked or self._unsent.size >= outbox.limit:
                        end._sent()
                    return
            except Exception:
                self._failed(Failure(), event.id)
                return
            self._work(event.id, answer, len(payload))

    def cancelled(self, id: int) -> None:
        """The peer wants no answer to a request any more. What is worked on is told so, and may take its time."""
        payload = self._waiting.pop(id, None)
        if payload is not None:
            self._hold(-len(payload))
            self._end._not_begun("cancelled")
            self._fail(id, Code.CANCELLED)
            self._look_if_done()
        elif id in self._tasks:
            self._cancelled.add(id)
            self._tasks[id][0].cancel()

    def go_on(self) -> None:
        """Begin requests that wait, as many as may be worked on."""
        if self._beginning:
            return
        outbox = self._end._outbox
        corked, outbox.corked, self._beginning = outbox.corked, True, True
        try:
            while self._waiting and len(self._tasks) < self._concurrency and self._unsent.size <= self._most_unsent:
                id, payload = self._waiting.popitem(last=False)
                self._hold(-len(payload))
                self._begin(id, payload)
        finally:
            outbox.corked, self._beginning = corked, False
        if not corked:
            outbox.send()
        self._look_if_done()

    def over(self) -> None:
        super().over()
        self._waiting.clear()
        # All are taken out first: what is cancelled may call _ready().
        tasks, self._tasks = self._tasks, {}
        for working, _ in tasks.values():
            working.cancel()

    def _begin(self, id: int, payload: bytes) -> None:
        try:
            answer = self._respond(self._peer, payload)
        except Exception:
            self._failed(Failure(), id)
        else:
            self._work(id, answer, len(payload))

    def _work(self, id: int, answer: Answer, size: int) -> None:
        """
        Wait for an answer.

        :param size: how many bytes the request has.
        """
        working: Deferred[Any] = maybeDeferred(lambda: answer)
        # One that has fired may still wait for another, to which a callback of the application has handed it on.
        if not working.called or working.paused:
            self._tasks[id] = working, size
            self._hold(size)
        working.addCallbacks(self._ready, self._failed, callbackArgs=(id,), errbackArgs=(id,))
        if self._ended:
            working.cancel()  # the application has broken off meanwhile

    def _ready(self, answer: bytes, id: int) -> None:
        try:
            if not self._ended:
                self._answer(id, answer)
        except Exception:
            self._failed(Failure(), id)
        else:
            self._done(id)

    def _answer(self, id: int, answer: bytes) -> None:
        if type(answer) is not bytes:
            raise not_bytes(answer, "an answer is bytes")
        if id in self._cancelled:
            self._fail(id, Code.CANCELLED)
        elif self._unsent.size + len(answer) > 2 * self._most_unsent:
            # Not for lack of room, which would say that nothing was done.
            self._fail(id, Code.APPLICATION_FAILED, "the answer was dropped, for too much waits that is not read")
        else:
            self._end._connection.send_answer(id, answer)
            if len(answer) > PART_SIZE:
                self._end._outbox.share()
            self._end._sent()

    def _failed(self, reason: Failure, id: int) -> None:
        if not self._failed_late(reason) and not self._ended:
            self._tell_failure(reason, id)
        self._done(id)

    def _tell_failure(self, reason: Failure, id: int) -> None:
        error = reason.value
        if id in self._cancelled and isinstance(error, (CancelledError, RequestError)):
            self._fail(id, Code.CANCELLED)
            return
        if isinstance(error, RequestError):
            try:
                self._fail(id, error.code, error.text)
                return
            except Exception:  # the application's code is none, or its text too long
                reason = Failure()
        self._end._request_failed(reason, False)
        self._fail(id, Code.APPLICATION_FAILED, FAILED)

    @property
    def _ended(self) -> bool:
        # The core's has ended earlier where the peer has aborted, and the application, which has paused, is to hear of
        # it behind what came before.
        end = self._end
        return self._over or end._lifecycle.over or end._connection.state is State.CLOSED

    def _fail(self, id: int, code: int, text: str | None = None) -> None:
        if self._ended:
            return  # to count what waits may have ended it
        self._end._connection.send_failure(id, code, describe_code(code) if text is None else text)
        self._end._sent()

    def _done(self, id: int) -> None:
        task = self._tasks.pop(id, None)
        if task is not None:
            self._cancelled.discard(id)
            self._hold(-task[1])
            self.go_on()

    def _look_if_done(self) -> None:
        if not self._tasks and not self._waiting and not self._over:
            self._end._all_answered()

    def _hold(self, size: int) -> None:
        """
        Count a request that waits or is worked on.

        :param size: how many bytes it has; below 0 when it does no longer.
        """
        self._held = held = self._held + size
        if held > self._counted or held < self._counted - 2 * COUNTED_STEP:
            counted = -(-held // COUNTED_STEP) * COUNTED_STEP
            change, self._counted = counted - self._counted, counted
            self._end._outbox.keep(change)
