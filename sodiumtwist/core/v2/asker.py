"""
Our own requests, from the question to the answer.
"""

from __future__ import annotations

from ..errors import LocalProtocolError, UnexpectedPDU
from ..events import AnswerReceived, Event, FailureReceived
from ..inbox import Buffer
from .incoming import Incoming
from .outgoing import PART_SIZE, Outgoing
from .pdus import (
    ANSWER,
    ANSWER_PART,
    CANCEL,
    FAILURE,
    HEADER,
    HEADER_SIZE,
    HIGHEST,
    REQUEST,
    Code,
    name_of,
    read_reason,
)
from .states import ASKER, GIVE_UP, Asked

_WAITING = Asked.WAITING
_pack = HEADER.pack


class Asker:
    """
    Our requests of one connection.

    :param outgoing: has those whose answer has not come whole, and how far they are.
    :param incoming: puts answers together.
    """

    __slots__ = ("_given_up", "_incoming", "_next", "_outgoing")

    def __init__(self, outgoing: Outgoing, incoming: Incoming) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._next = 0
        # Why an answer is dropped as it comes, by id.
        self._given_up: dict[int, Code] = {}

    @property
    def idle(self) -> bool:
        """Whether all are answered."""
        return not self._outgoing.asked and not self._outgoing.requests

    @property
    def unanswered(self) -> tuple[int, ...]:
        """The ids of the requests whose answer has not come whole."""
        return (*self._outgoing.asked, *self._outgoing.requests)

    @property
    def not_sent(self) -> frozenset[int]:
        """The ids of the requests of which nothing has left."""
        return frozenset(self._outgoing.requests)

    def request(self, payload: Buffer) -> int:
        """
        Ask.

        :param payload: it stays as it is until it has left.
        :return: the id.
        """
        outgoing, id = self._outgoing, self._next
        requests = outgoing.requests
        while id in requests or id in outgoing.asked or id in outgoing.closing:
            id = (id + 1) & HIGHEST
        self._next = (id + 1) & HIGHEST
        requests[id] = _WAITING
        size = len(payload)
        if size <= PART_SIZE:
            # What add() comes to, in fewer calls: each request is made here.
            unsent = outgoing.unsent
            unsent.queue.append((_pack(REQUEST, id, size), payload))
            unsent.size += size + HEADER_SIZE
        else:
            outgoing.add(REQUEST, id, payload)
        return id

    def cancel(self, id: int) -> None:
        """
        Tell the peer that an answer is not wanted any more; the second time do nothing.

        :raises LocalProtocolError: when no answer is to come.
        """
        outgoing = self._outgoing
        requests = outgoing.requests if id in outgoing.requests else outgoing.asked
        state = requests.get(id, Asked.DONE)
        after = ASKER[state].get(CANCEL)
        if after is None:
            raise LocalProtocolError(f"there is no request {id} of ours without its answer")
        if after is not state:
            requests[id] = after
            outgoing.add_cancel(id)

    def answer_received(self, id: int, payload: bytes) -> Event:
        """Take in an answer, or its last part."""
        outgoing, incoming = self._outgoing, self._incoming
        state = outgoing.asked.pop(id, None)
        if state is not _WAITING or outgoing.large or incoming.parts or len(payload) > incoming.largest:
            # Otherwise it is whole and answers a whole request, as nearly all do.
            state = self._judged(id, state, ANSWER)
            if state is Asked.DROPPING:
                why = self._given_up.pop(id)
                return FailureReceived(id, why, f"the answer: {incoming.describe(why)}", True)
            message = incoming.finish(ANSWER, id, payload)
            if isinstance(message, Code):
                return FailureReceived(id, message, f"the answer: {incoming.describe(message)}", True)
            payload = message
        return AnswerReceived(id, payload)

    def part_received(self, id: int, payload: bytes) -> None:
        """Take in a part of an answer that is not the last one."""
        asked = self._outgoing.asked
        state = self._judged(id, asked.get(id), ANSWER_PART)
        if state is not Asked.DROPPING:
            why = self._incoming.add(ANSWER, id, payload)
            if why is not None:
                asked[id] = ASKER[state][GIVE_UP]
                self._given_up[id] = why

    def failure_received(self, id: int, payload: bytes) -> Event:
        """Take in a failure, which voids the parts of an answer that came before."""
        self._judged(id, self._outgoing.asked.pop(id, None), FAILURE)
        self._given_up.pop(id, None)
        self._incoming.drop(ANSWER, id)
        return FailureReceived(id, *read_reason(payload))

    def _judged(self, id: int, state: Asked | None, kind: int) -> Asked:
        """Judge whether an answer may come, and ask no further if the question has not left whole."""
        state = state or Asked.DONE
        if kind not in ASKER[state]:
            raise UnexpectedPDU(f"{name_of(kind)} to a request {id}, which has none to come")
        self._outgoing.finish_request(id)
        return state
