"""
The peer's requests, from the question to the answer.
"""

from __future__ import annotations

from ..errors import LocalProtocolError, UnexpectedPDU, WindowExceeded
from ..events import Event, RequestCancelled, RequestReceived
from ..inbox import Buffer
from .incoming import Bounds, Incoming
from .outgoing import PART_SIZE, Outgoing
from .pdus import (
    ANSWER,
    ANSWER_PART,
    CANCEL,
    FAILURE,
    HEADER,
    HEADER_SIZE,
    REQUEST,
    REQUEST_PART,
    Code,
    pack_reason,
)
from .states import ANSWERER, GIVE_UP, Received

_WHOLE = Received.WHOLE
_pack = HEADER.pack


class Answerer:
    """
    The peer's requests of one connection.

    :param outgoing: has those whose answer has not left.
    :param incoming: puts questions together.
    :param bounds: how many there may be.
    """

    __slots__ = ("_dropping", "_incoming", "_most", "_most_refused", "_outgoing", "_received")

    def __init__(self, outgoing: Outgoing, incoming: Incoming, bounds: Bounds) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._most = bounds.requests
        self._most_refused = bounds.requests + bounds.refused
        # How far each is that is not answered, or whose last part has not come.
        self._received: dict[int, Received] = {}
        # How many of them have failed already.
        self._dropping = 0

    @property
    def idle(self) -> bool:
        """Whether all that came are answered."""
        return not self._received

    @property
    def coming(self) -> bool:
        """Whether the last part of one has not come."""
        return bool(self._dropping) or self._incoming.has(REQUEST)

    def state_of(self, id: int) -> Received:
        """Tell how far a request is."""
        state = self._received.get(id)
        if state is not None:
            return state
        if self._outgoing.in_parts(ANSWER, id):
            return Received.ANSWERING
        return Received.ANSWERED if id in self._outgoing.answered else Received.FREE

    # Sending

    def answer(self, id: int, payload: Buffer) -> None:
        """
        Answer a request.

        :param payload: it stays as it is until it has left.
        :raises LocalProtocolError: when there is no such request, or it has its answer.
        """
        size, received, outgoing = len(payload), self._received, self._outgoing
        if size <= PART_SIZE and received.get(id) is _WHOLE:
            # What follows comes to the same, in more calls. Nearly each request is answered here.
            del received[id]
            outgoing.answered[id] = None
            unsent = outgoing.unsent
            unsent.queue.append((_pack(ANSWER, id, size), payload))
            unsent.size += size + HEADER_SIZE
            return
        self._answered(id, ANSWER if size <= PART_SIZE else ANSWER_PART)
        outgoing.add(ANSWER, id, payload)

    def fail(self, id: int, reason: bytes) -> None:
        """
        Let a request fail. If parts of its answer have not left, these are taken back.

        :raises LocalProtocolError: when there is no such request, or its answer has left.
        """
        self._answered(id, FAILURE)
        self._outgoing.void_answer(id)
        self._outgoing.add(FAILURE, id, reason)

    def _answered(self, id: int, act: int) -> None:
        state = self._received.get(id)
        if state is not _WHOLE and act not in ANSWERER[self.state_of(id)]:
            raise LocalProtocolError(f"there is no request {id} of the peer without its answer")
        if state is not None:  # otherwise parts of its answer have not left
            del self._received[id]
        self._outgoing.answered[id] = None

    # Receiving

    def request_received(self, id: int, payload: bytes) -> Event | None:
        """Take in a request, or its last part."""
        received, answered = self._received, self._outgoing.answered
        if (
            id in received
            or id in answered
            or len(received) - self._dropping + len(answered) >= self._most
            or len(payload) > self._incoming.largest
        ):
            # Otherwise it is new and whole, and there is room, as nearly always.
            return self._judge(id, payload)
        received[id] = _WHOLE
        return RequestReceived(id, payload)

    def _judge(self, id: int, payload: bytes) -> Event | None:
        state = self._may_come(id, REQUEST)
        if state is Received.DROPPING:
            del self._received[id]
            self._dropping -= 1
            self._incoming.count_refused(-1)
            return None
        message = Code.NO_ROOM if self._full(state) else self._incoming.finish(REQUEST, id, payload)
        if isinstance(message, Code):
            self._fail_early(id, message, last=True)
            return None
        self._received[id] = ANSWERER[state][REQUEST]
        return RequestReceived(id, message)

    def part_received(self, id: int, payload: bytes) -> None:
        """Take in a part of a request that is not the last one."""
        state = self._may_come(id, REQUEST_PART)
        if state is Received.DROPPING:
            return
        why = Code.NO_ROOM if self._full(state) else self._incoming.add(REQUEST, id, payload)
        if why is None:
            self._received[id] = ANSWERER[state][REQUEST_PART]
        else:
            self._fail_early(id, why, last=False)

    def cancel_received(self, id: int) -> Event | None:
        """Take in that an answer is not wanted any more. One to nothing may have crossed the answer."""
        state = self.state_of(id)
        if state is Received.COMING:
            self._fail_early(id, Code.CANCELLED, last=False)
        elif state is Received.ANSWERING:
            self.fail(id, pack_reason(Code.CANCELLED, self._incoming.describe(Code.CANCELLED)))
        elif state is _WHOLE:
            self._received[id] = ANSWERER[state][CANCEL]
            return RequestCancelled(id)
        return None

    def _may_come(self, id: int, kind: int) -> Received:
        state = self.state_of(id)
        if kind not in ANSWERER[state]:
            raise UnexpectedPDU(f"REQUEST with the id {id}, which is in use")
        return state

    def _full(self, state: Received) -> bool:
        """Tell whether there is no room for a request, if it is a new one."""
        waiting = len(self._received) - self._dropping + len(self._outgoing.answered)
        return state is Received.FREE and waiting >= self._most

    def _fail_early(self, id: int, why: Code, last: bool) -> None:
        """Let a request fail of which the application does not know."""
        outgoing = self._outgoing
        if self._dropping + len(outgoing.answered) >= self._most_refused:
            raise WindowExceeded("too many requests, though there was no room for them")
        self._incoming.drop(REQUEST, id)
        if last:
            self._received.pop(id, None)
        else:
            self._received[id] = ANSWERER[self.state_of(id)][GIVE_UP]
            self._dropping += 1
            self._incoming.count_refused(1)
        outgoing.answered[id] = None
        outgoing.add(FAILURE, id, pack_reason(why, self._incoming.describe(why)))
