"""
Requests and answers: each DATA of the client is a request, and the server answers it with one DATA. Answers come in
the order of the requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, Union

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from ..core.errors import LocalProtocolError, TooManyRequests, UnexpectedPDU
from ..core.inbox import Buffer, not_bytes
from ..interfaces import Peer
from .client import SodiumClientProtocol
from .context import ServerContext
from .lifecycle import Stage, not_yet
from .server import SodiumServerProtocol

#: How many requests of one connection a server works on at once. While there are so many, it reads no more.
CONCURRENCY = 64

#: How many requests of a client may be unanswered at once.
REQUEST_LIMIT = 128

Answer = Union[bytes, Deferred[bytes], Coroutine[Any, Any, bytes]]

#: Called with who asks, and with the payload of 0 to 131070 bytes.
Respond = Callable[[Peer, bytes], Answer]


class RespondingContext(ServerContext, Protocol):
    """
    What a :class:`Responder` needs of its factory.

    :ivar respond: answers requests.
    :ivar concurrency: how many requests of one connection ``respond`` may work on at once.
    """

    respond: Respond
    concurrency: int


class _Task:
    """A request that is worked on, or that is answered but waits for the answer of an earlier one."""

    answer: bytes | None = None
    working: Deferred[Any] | None = None


class Responder(SodiumServerProtocol):
    """
    A server's end that answers requests. Its factory's ``respond(peer, payload)`` returns the answer: 0 to 131070
    bytes, or a Deferred or coroutine that gives them.

    Answers leave in the order of the requests, in whatever order they get ready. While as many as the factory's
    ``concurrency`` are not sent, nothing more is read. When one fails, this is logged and the connection is closed.
    What is not done at the end of the connection is cancelled.
    """

    factory: RespondingContext
    # Never None here: nobody asks before it is there.
    peer: Peer

    _over = False

    def __init__(self) -> None:
        self._tasks: deque[_Task] = deque()

    def payload_received(self, payload: bytes) -> None:
        try:
            answer = self.factory.respond(self.peer, payload)
            # There is nothing to wait for, so this needs no Deferred.
            if type(answer) is bytes and not self._tasks:
                self.send_data(answer)
                return
        # Also when the answer does not fit one DATA: that is a mistake of the application, not of the client.
        except Exception:
            self._failed(Failure())
            return
        task = _Task()
        self._tasks.append(task)
        # Before the answer is looked at: one that is ready at once has to find this, to read again.
        if len(self._tasks) >= self.factory.concurrency:
            self.pauseProducing()
        working: Deferred[Any] = maybeDeferred(lambda: answer)
        task.working = working
        working.addCallback(self._ready, task)
        working.addErrback(self._failed)

    def _ready(self, answer: bytes, task: _Task) -> None:
        if type(answer) is not bytes:
            raise not_bytes(answer, "an answer is bytes")
        if self._over:
            return
        task.answer = answer
        if self._tasks and self._tasks[0] is not task:
            self._outbox.keep(len(answer))
            return
        # A task may answer although it was cancelled; then nobody waits for it.
        while self._tasks and (ready := self._tasks[0].answer) is not None and not self._lifecycle.over:
            if self._tasks.popleft() is not task:
                self._outbox.keep(-len(ready))
            self.send_data(ready)
        if len(self._tasks) < self.factory.concurrency:
            self.resumeProducing()

    def _failed(self, reason: Failure) -> None:
        # With the connection gone, nobody else hears of it. Tasks that were cancelled have failed for that.
        if self._over and not reason.check(CancelledError) and self._may_log_failure(reason):
            self._log.failure("a request failed after its connection was over", reason)
        # It was logged what closed the connection; the rest follows from that.
        if self._over or self._lifecycle.over:
            return
        if self._may_log_failure(reason):
            self._log.failure(
                "a request of {login} from {peer} failed; the connection is closed",
                reason,
                login=ascii(self.peer.login),
                peer=self._describe_peer(),
            )
        self._close(reason.value)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        # The client has left in order, and requests wait behind those that are worked on. No answer can be sent any
        # more, so these are cancelled, as at any end. That makes room: what was asked before the end is begun.
        while self._lifecycle.stage is Stage.HELD and not self._pumping:
            self._over = True
            self._cancel_tasks()
            self.resumeProducing()

    def connection_lost(self, reason: Failure) -> None:
        self._over = True
        self._cancel_tasks()

    def _cancel_tasks(self) -> None:
        # All are taken out first: what is cancelled may call _ready().
        tasks, self._tasks = self._tasks, deque()
        for task in tasks:
            if task.working is not None:
                task.working.cancel()


class RequestClient(SodiumClientProtocol):
    """
    A client's end that sends requests.

    :param limit: how many requests may be unanswered at once.
    :raises LocalProtocolError: when the limit is below one.
    """

    def __init__(self, limit: int = REQUEST_LIMIT) -> None:
        if limit < 1:
            raise LocalProtocolError(f"a limit of {limit} requests allows none; 1 is the least")
        self._limit = limit
        self._unanswered: deque[Deferred[bytes]] = deque()
        self._waiting_to_ask: deque[Deferred[None]] = deque()
        self._closed: list[Deferred[None]] = []
        self._end: Failure | None = None

    def request(self, payload: Buffer) -> Deferred[bytes]:
        """
        Send a request.

        A request that is cancelled is not taken back: it counts until its answer comes, which is then dropped.

        :param payload: 0 to 131070 bytes.
        :return: fires with the answer, 0 to 131070 bytes. Fails with :exc:`PayloadTooLarge` when the payload is
            longer, with :exc:`TooManyRequests` when as many as the limit are unanswered (:meth:`ready` waits), and
            with :exc:`LocalProtocolError` when the connection is closed. When the connection ends before the answer
            has come, fails with the reason.
        :raises TypeError: for anything but contiguous bytes.
        """
        try:
            if self._closed:
                raise LocalProtocolError("the connection is closed")
            if len(self._unanswered) >= self._limit:
                raise TooManyRequests(f"{self._limit} requests are unanswered; wait with ready() before the next one")
            self.send_data(payload)
        except LocalProtocolError:
            return fail()
        answering: Deferred[bytes] = Deferred()
        self._unanswered.append(answering)
        return answering

    def ready(self) -> Deferred[None]:
        """
        Wait until one more request may be made.

        :return: fires when fewer than the limit are unanswered; make the request at once then. Who waits first is told
            first. Fails with the reason when the connection ends, and with :exc:`LocalProtocolError` where there is
            none yet, or it is closed.
        """
        if self._end is not None:
            return fail(self._end)
        try:
            self._check_usable()
        except LocalProtocolError:
            return fail()
        # Whoever waits already comes first.
        if len(self._unanswered) < self._limit and not self._waiting_to_ask:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._wait_no_longer)
        self._waiting_to_ask.append(waiting)
        return waiting

    def _wait_no_longer(self, waiting: Deferred[None]) -> None:
        if waiting in self._waiting_to_ask:
            self._waiting_to_ask.remove(waiting)

    # Other protocols return nothing. Who can close any of them does not look at the result.
    def close(self) -> Deferred[None]:  # type: ignore[override]
        """
        Close in order. Requests that were made are delivered first; their answers are not waited for.

        :return: fires when the connection is gone, whatever ended it. Fails with :exc:`LocalProtocolError` where there
            is none yet.
        """
        if self._end is not None:
            return succeed(None)
        if self._lifecycle.stage is Stage.UNMADE:
            return fail(not_yet())
        closed: Deferred[None] = Deferred()
        self._closed.append(closed)
        # Else authenticated() closes: to close before the server has answered would cut off the early requests.
        if self.peer is not None or not self._unanswered:
            super().close()
        return closed

    def authenticated(self) -> None:
        if self._closed:
            super().close()

    def payload_received(self, payload: bytes) -> None:
        if not self._unanswered:
            raise UnexpectedPDU("the server answered more than it was asked")
        answering = self._unanswered.popleft()
        answering.callback(payload)
        # One at a time: each makes its request at once, which then counts.
        while self._waiting_to_ask and len(self._unanswered) < self._limit:
            self._waiting_to_ask.popleft().callback(None)

    def connection_lost(self, reason: Failure) -> None:
        # For the requests it was no end in order: they stay unanswered. Whoever closed this end does not wait for them.
        if self._unanswered and not self._closed and reason.check(ConnectionDone):
            text = f"the server closed, requests unanswered: {len(self._unanswered)}; see its log"
            reason = Failure(ConnectionLost(text))
        self._end = reason
        # One by one, since what each of them calls may cancel others.
        for deferreds in (self._unanswered, self._waiting_to_ask):
            while deferreds:
                deferreds.popleft().errback(reason)
        for closed in self._closed:
            closed.callback(None)
