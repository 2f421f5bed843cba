"""
What both ends say once the handshake is over: requests in any order, their end, the reasons for stopping. It knows
nothing of keys and records; :mod:`~sodiumtwist.core.v2.pdus` reads and lays out what it says.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import LocalProtocolError, PayloadTooLarge, RemoteProtocolError, UnexpectedPDU, WindowExceeded
from ..events import (
    Aborted,
    AnswerReceived,
    Authenticated,
    DataReceived,
    DrainReceived,
    EndReceived,
    Event,
    FailureReceived,
    PingReceived,
    PongReceived,
    Refused,
    RequestCancelled,
    RequestReceived,
)
from ..inbox import Buffer
from ..unsent import Unsent
from .incoming import Bounds, Incoming
from .outgoing import PART_SIZE, Outgoing
from .pdus import (
    ABORT,
    ANSWER,
    ANSWER_PART,
    CANCEL,
    DATA,
    DRAIN,
    END,
    FAILURE,
    HIGHEST,
    LINE_SIZE,
    PADDING,
    PDU,
    PING,
    PING_SIZE,
    PONG,
    REFUSED,
    REQUEST,
    REQUEST_PART,
    UNKNOWN,
    WELCOME,
    BrokenAbort,
    Code,
    name_of,
    pack_line,
    pack_reason,
    read_line,
    read_reason,
)
from .states import (
    ANSWERER,
    ASKED_NOTHING,
    ASKER,
    GIVE_UP,
    SAID_END,
    SAYING,
    WELCOMED,
    Asked,
    Received,
    Saying,
)

_WHOLE = Received.WHOLE
_DROPPING = Received.DROPPING


class Dialogue:
    """
    One end of a dialogue.

    What is sent waits in ``unsent``. Of DATA, the connection itself puts the payload there, and counts it and
    the 12 bytes of its header.

    :param unsent: what waits to be sealed.
    :param server: whether this is the server's end.
    :param bounds: how much the peer may make us keep.
    :ivar may_send_data: whether a DATA may be sent now.
    """

    may_send_data: bool

    def __init__(self, unsent: Unsent, server: bool, bounds: Bounds = Bounds()) -> None:
        self._unsent = unsent
        self._bounds = bounds
        self._outgoing = Outgoing(unsent)
        self._incoming = Incoming(bounds)
        # What either side says.
        self._ours = Saying.UNDECIDED if server else Saying.EARLY
        # A server looks at what its client said early only when it has decided.
        self._theirs = Saying.OPEN if server else Saying.UNDECIDED
        self._receivers = _RECEIVERS[self._theirs]
        self.may_send_data = not server
        # Our requests, and the peer's; of those the ones that have their answer are in Outgoing.
        self._asked: dict[int, Asked] = {}
        self._received: dict[int, Received] = {}
        # How many of the peer's have their failure, and parts to come.
        self._dropping = 0
        # Why an answer is not kept, by id.
        self._given_up: dict[int, Code] = {}
        self._pings: dict[int, bytes] = {}
        self._pings_received: dict[int, bytes] = {}
        self._next_request = self._next_ping = 0

    # What can be asked

    @property
    def over(self) -> bool:
        """
        Whether all is done on both sides: END was sent and received, every request is answered, nothing waits to be
        sent. Only then does anyone close in order.
        """
        return (
            self._ours in SAID_END
            and self._theirs in SAID_END
            and not self._asked
            and not self._received
            and not self._unsent.size
        )

    @property
    def unanswered(self) -> tuple[int, ...]:
        """The ids of our own requests whose answer has not come whole."""
        return tuple(self._asked)

    @property
    def pongs_owed(self) -> int:
        """How many PINGs came whose PONG has not left. At :attr:`Bounds.pongs` the connection reads no more."""
        return len(self._pings_received) + len(self._outgoing.pongs)

    # Sending

    def welcome(self, text: str, padding: int | None = None) -> None:
        """
        Server: let the client in. It goes before all else.

        :param text: a line, up to 1024 bytes of UTF-8.
        :param padding: the size of a PADDING that goes right behind it, ``None`` for no PADDING.
        :raises LocalProtocolError: when the client was let in or refused before, or the text is too long.
        """
        line = pack_line(text)
        self._say(WELCOME)
        self._outgoing.add_padded(WELCOME, line, padding)

    def refuse(self, code: int, text: str, padding: int | None = None) -> None:
        """
        Server: don't let the client in. Nothing can be sent behind it.

        :param code: why.
        :param text: a line, up to 1024 bytes of UTF-8.
        :param padding: as for :meth:`welcome`.
        :raises LocalProtocolError: when the client was let in or refused before, or the text is too long.
        """
        reason = pack_reason(code, text)
        self._say(REFUSED)
        self._outgoing.add_padded(REFUSED, reason, padding)

    def request(self, payload: Buffer) -> int:
        """
        Ask the peer. More than 64 KiB leave in parts.

        :return: the id, which the answer or the failure will have.
        :raises PayloadTooLarge: when it is longer than :attr:`Bounds.message`.
        :raises LocalProtocolError: behind our END or the peer's DRAIN, or when nothing can be sent.
        """
        payload = self._message(REQUEST, payload)
        if self._theirs in ASKED_NOTHING:
            raise LocalProtocolError("the peer is about to stop; it takes no new request")
        asked, id = self._asked, self._next_request
        while id in asked:
            id = (id + 1) & HIGHEST
        self._next_request = (id + 1) & HIGHEST
        asked[id] = Asked.WAITING
        self._outgoing.requests.add(id)
        self._outgoing.add(REQUEST, id, payload)
        return id

    def answer(self, id: int, payload: Buffer) -> None:
        """
        Answer a request of the peer. More than 64 KiB leave in parts.

        :raises PayloadTooLarge: when it is longer than :attr:`Bounds.message`.
        :raises LocalProtocolError: when there is no such request, or it has its answer.
        """
        payload = self._message(ANSWER, payload)
        self._answer(id, ANSWER if len(payload) <= PART_SIZE else ANSWER_PART)
        self._outgoing.add(ANSWER, id, payload)

    def fail(self, id: int, code: int, text: str) -> None:
        """
        Answer a request of the peer by a failure. It also takes back an answer, parts of which have not left yet.

        :param code: why.
        :param text: a line, up to 1024 bytes of UTF-8.
        :raises LocalProtocolError: when there is no such request, or its answer has left; or the text is too long.
        """
        reason = pack_reason(code, text)
        self._may(FAILURE)
        self._answer(id, FAILURE)
        self._outgoing.void_answer(id)
        self._outgoing.add(FAILURE, id, reason)

    def cancel(self, id: int) -> None:
        """
        Tell the peer that no answer to a request of ours is wanted any more. An answer or a failure comes all the
        same. The second time this does nothing.

        :raises LocalProtocolError: when there is no such request, or its answer came.
        """
        self._may(CANCEL)
        state = self._asked.get(id, Asked.DONE)
        after = ASKER[state].get(CANCEL)
        if after is None:
            raise LocalProtocolError(f"there is no request {id} of ours without an answer")
        if after is not state:
            self._asked[id] = after
            self._outgoing.add_cancel(id)

    def ping(self, payload: bytes = b"") -> int:
        """
        Send a PING.

        :param payload: up to 64 bytes, which come back.
        :return: its id.
        :raises LocalProtocolError: when the payload is longer, or nothing can be sent.
        """
        if len(payload) > PING_SIZE:
            raise PayloadTooLarge(f"a PING of {len(payload)} bytes; at most {PING_SIZE} fit")
        self._may(PING)
        pings, id = self._pings, self._next_ping
        while id in pings:
            id = (id + 1) & HIGHEST
        self._next_ping = (id + 1) & HIGHEST
        pings[id] = payload
        self._outgoing.pings.add(id)
        self._outgoing.add(PING, id, payload)
        return id

    def pong(self) -> None:
        """
        Answer the oldest PING that has no PONG.

        :raises LocalProtocolError: when there is none, or nothing can be sent.
        """
        self._may(PONG)
        if not self._pings_received:
            raise LocalProtocolError("no PING waits for its PONG")
        id = next(iter(self._pings_received))
        payload = self._pings_received.pop(id)
        self._outgoing.pongs.add(id)
        self._outgoing.add(PONG, id, payload)

    def end(self, padding: int | None = None) -> None:
        """
        Say that no DATA and no request comes any more. It leaves behind all of them; answers still can be sent.

        :param padding: the size of a PADDING that goes right behind it, ``None`` for no PADDING.
        :raises LocalProtocolError: the second time, or when nothing can be sent.
        """
        self._say(END)
        self._outgoing.add_padded(END, b"", padding)

    def drain(self) -> None:
        """
        Say that we are about to stop, so that the peer asks nothing new.

        :raises LocalProtocolError: the second time, before WELCOME, or when nothing can be sent.
        """
        self._say(DRAIN)
        self._outgoing.add_padded(DRAIN, b"", None)

    def abort(self, code: int, text: str) -> None:
        """
        Say why we close now. What waits of large messages is dropped, and nothing can be sent behind it.

        :param code: why.
        :param text: a line, up to 1024 bytes of UTF-8.
        :raises LocalProtocolError: before WELCOME, when nothing can be sent, or the text is too long.
        """
        reason = pack_reason(code, text)
        self._may(ABORT)
        self._abort(reason)

    def broken(self, error: RemoteProtocolError) -> None:
        """
        Say that the peer broke the protocol, by an ABORT, unless it may not be answered: not behind its own ABORT,
        even a broken one, nor behind REFUSED. What waits of large messages is dropped, and nothing can be sent
        behind it.

        :param error: what :meth:`receive` raised, or ``read_body`` returned.
        """
        if self._ours is Saying.OVER or isinstance(error, BrokenAbort):
            return
        code = Code.NO_ROOM if isinstance(error, WindowExceeded) else Code.PROTOCOL_BROKEN
        # Where the server has said something else than WELCOME or REFUSED, it has decided all the same.
        self._abort(pack_reason(code, str(error)[: LINE_SIZE // 4]))

    def _abort(self, reason: bytes) -> None:
        self._outgoing.hurry()
        self._outgoing.add(ABORT, 0, reason)
        self._enter_ours(Saying.OVER)

    def padding(self, size: int) -> None:
        """
        Send bytes that say nothing.

        :param size: how many, beyond the header.
        :raises LocalProtocolError: when nothing can be sent.
        """
        self._may(PADDING)
        self._outgoing.add(PADDING, 0, bytes(size))

    def take(self, room: int) -> tuple[list[Buffer], int]:
        """
        Take the pieces of the next record's body off what waits.

        :param room: how many bytes the body may have; if the first PDU has more, it comes alone all the same.
        :return: the pieces, and how many bytes they have; none when nothing waits.
        """
        return self._outgoing.take(room)

    def drop_unsent(self) -> None:
        """Forget what waits to be sealed, but for a packet of the handshake."""
        self._outgoing.drop()

    def _may(self, kind: int) -> None:
        if kind not in SAYING[self._ours]:
            raise LocalProtocolError(f"cannot send {name_of(kind)} {_WHEN[self._ours]}")

    def _say(self, kind: int) -> None:
        self._may(kind)
        self._enter_ours(SAYING[self._ours][kind])

    def _enter_ours(self, state: Saying) -> None:
        self._ours = state
        self.may_send_data = DATA in SAYING[state]

    def _message(self, kind: int, payload: Buffer) -> Buffer:
        """See to it that a payload can be sent, and stays as it is until it has left."""
        if type(payload) is not bytes:
            view = memoryview(payload).cast("B")
            payload = view if type(view.obj) is bytes else bytes(view)
        if len(payload) > self._bounds.message:
            raise PayloadTooLarge(
                f"a {name_of(kind)} of {len(payload)} bytes; at most {self._bounds.message} are allowed"
            )
        if kind not in SAYING[self._ours]:
            self._may(kind)
        return payload

    def _answer(self, id: int, act: int) -> None:
        """Note that a request of the peer gets its answer now."""
        received = self._received
        if act not in ANSWERER[received.get(id) or self._state_of(id)]:
            raise LocalProtocolError(f"there is no request {id} of the peer without an answer")
        received.pop(id, None)  # it's not there if parts of its answer have not left
        self._outgoing.answered.add(id)

    def _state_of(self, id: int) -> Received:
        """Tell how far a request of the peer is."""
        if id in self._received:
            return self._received[id]
        if self._outgoing.in_parts(ANSWER, id):
            return Received.ANSWERING
        return Received.ANSWERED if id in self._outgoing.answered else Received.FREE

    # Receiving

    def receive(self, pdu: PDU) -> Event | None:
        """
        Take in a PDU.

        :param pdu: as ``read_body`` gives it.
        :return: what it tells the application; ``None`` for nothing, or not yet.
        :raises RemoteProtocolError: when the peer may not send it now; see :meth:`broken`.
        """
        kind, id, payload = pdu
        receive = self._receivers.get(kind)
        if receive is None:
            if kind == ABORT:
                self._fall_silent()
            raise UnexpectedPDU(f"{name_of(kind)} {_WHEN[self._theirs]}")
        return receive(self, id, payload)

    def _hear(self, kind: int) -> None:
        self._theirs = SAYING[self._theirs][kind]
        self._receivers = _RECEIVERS[self._theirs]

    def _fall_silent(self) -> None:
        """The peer listens no more."""
        self._outgoing.drop()
        self._enter_ours(Saying.OVER)

    def _welcome(self, id: int, payload: bytes) -> Event:
        self._hear(WELCOME)
        self._enter_ours(WELCOMED[self._ours])
        return Authenticated(read_line(payload))

    def _refused(self, id: int, payload: bytes) -> Event:
        self._hear(REFUSED)
        self._fall_silent()
        return Refused(*read_reason(payload))

    def _data(self, id: int, payload: bytes) -> Event:
        return DataReceived(payload)

    def _ping(self, id: int, payload: bytes) -> Event:
        if id in self._pings_received or id in self._outgoing.pongs:
            raise UnexpectedPDU(f"a PING with the id {id}, which is in use")
        self._pings_received[id] = payload
        return PingReceived(int.from_bytes(payload, "big") if len(payload) == 8 else 0)

    def _pong(self, id: int, payload: bytes) -> Event:
        if self._pings.get(id) != payload or id in self._outgoing.pings:
            raise UnexpectedPDU(f"a PONG with the id {id} to no PING, or with other bytes than that had")
        del self._pings[id]
        return PongReceived(int.from_bytes(payload, "big") if len(payload) == 8 else 0, 0.0)

    def _request(self, id: int, payload: bytes) -> Event | None:
        received = self._received
        state = received.get(id) or self._state_of(id)
        after = ANSWERER[state].get(REQUEST)
        if after is None:
            raise UnexpectedPDU(f"a REQUEST with the id {id}, which is in use")
        if state is _DROPPING:
            del received[id]
            self._dropping -= 1
            return None
        if state is Received.FREE and self._full():
            self._fail_early(id, Code.NO_ROOM, last=True)
            return None
        message = self._incoming.finish(REQUEST, id, payload)
        if isinstance(message, Code):
            self._fail_early(id, message, last=True)
            return None
        received[id] = after
        return RequestReceived(id, message)

    def _request_part(self, id: int, payload: bytes) -> None:
        state = self._state_of(id)
        after = ANSWERER[state].get(REQUEST_PART)
        if after is None:
            raise UnexpectedPDU(f"a REQUEST with the id {id}, which is in use")
        if after is _DROPPING:
            return
        why = Code.NO_ROOM if state is Received.FREE and self._full() else None
        why = why or self._incoming.add(REQUEST, id, payload)
        if why is None:
            self._received[id] = after
        else:
            self._fail_early(id, why, last=False)

    def _full(self) -> bool:
        """Tell whether the peer has as many requests without an answer that has left as it may have."""
        return len(self._received) - self._dropping + len(self._outgoing.answered) >= self._bounds.requests

    def _fail_early(self, id: int, why: Code, last: bool) -> None:
        """Let a request fail that the application does not get."""
        outgoing, bounds = self._outgoing, self._bounds
        if self._dropping + len(outgoing.answered) >= bounds.requests + bounds.refused:
            raise WindowExceeded("too many requests, though there was no room for them")
        self._incoming.drop(REQUEST, id)
        if last:
            self._received.pop(id, None)
        else:
            self._received[id] = _DROPPING
            self._dropping += 1
        outgoing.answered.add(id)
        outgoing.add(FAILURE, id, pack_reason(why, self._why(why)))

    def _why(self, why: Code) -> str:
        if why is Code.TOO_LARGE:
            return f"more than {self._bounds.message} bytes"
        return "cancelled" if why is Code.CANCELLED else "no room for more; ask again later"

    def _answer_received(self, id: int, payload: bytes) -> Event:
        state = self._answer_to(id, ANSWER)
        del self._asked[id]
        message = self._given_up.pop(id) if state is Asked.DROPPING else self._incoming.finish(ANSWER, id, payload)
        if isinstance(message, Code):
            return FailureReceived(id, message, f"the answer: {self._why(message)}")
        return AnswerReceived(id, message)

    def _answer_part(self, id: int, payload: bytes) -> None:
        state = self._answer_to(id, ANSWER_PART)
        if state is not Asked.DROPPING and (why := self._incoming.add(ANSWER, id, payload)) is not None:
            self._asked[id] = ASKER[state][GIVE_UP]
            self._given_up[id] = why

    def _failure(self, id: int, payload: bytes) -> Event:
        self._answer_to(id, FAILURE)
        del self._asked[id]
        self._given_up.pop(id, None)
        self._incoming.drop(ANSWER, id)
        return FailureReceived(id, *read_reason(payload))

    def _answer_to(self, id: int, kind: int) -> Asked:
        """Note that an answer comes to a request of ours, and return how far that is."""
        state = self._asked.get(id, Asked.DONE)
        if kind not in ASKER[state] or id in self._outgoing.requests:
            raise UnexpectedPDU(f"{name_of(kind)} to a request {id}, which there is not")
        self._outgoing.finish_request(id)
        return state

    def _cancel(self, id: int, payload: bytes) -> Event | None:
        state = self._state_of(id)
        if state is _WHOLE:
            self._received[id] = ANSWERER[state][CANCEL]
            return RequestCancelled(id)
        if state is Received.COMING:
            self._fail_early(id, Code.CANCELLED, last=False)
        elif state is Received.ANSWERING:
            self.fail(id, Code.CANCELLED, "cancelled")
        return None

    def _end(self, id: int, payload: bytes) -> Event:
        if self._dropping or self._incoming.count(REQUEST):
            raise UnexpectedPDU("an END before the last part of a REQUEST")
        self._hear(END)
        return EndReceived()

    def _drain(self, id: int, payload: bytes) -> Event:
        self._hear(DRAIN)
        return DrainReceived()

    def _aborted(self, id: int, payload: bytes) -> Event:
        self._hear(ABORT)
        self._fall_silent()
        return Aborted(*read_reason(payload))

    def _pass_over(self, id: int, payload: bytes) -> None:
        pass


#: What takes in a PDU of a kind.
_BY_KIND: dict[int, Callable[[Dialogue, int, bytes], Event | None]] = {
    WELCOME: Dialogue._welcome,
    REFUSED: Dialogue._refused,
    DATA: Dialogue._data,
    PING: Dialogue._ping,
    PONG: Dialogue._pong,
    REQUEST: Dialogue._request,
    REQUEST_PART: Dialogue._request_part,
    ANSWER: Dialogue._answer_received,
    ANSWER_PART: Dialogue._answer_part,
    FAILURE: Dialogue._failure,
    END: Dialogue._end,
    PADDING: Dialogue._pass_over,
    DRAIN: Dialogue._drain,
    ABORT: Dialogue._aborted,
    CANCEL: Dialogue._cancel,
    UNKNOWN: Dialogue._pass_over,
}

#: The same for each state of the peer. What comes when all is over is dropped, whatever it is.
_RECEIVERS = {
    state: {kind: _BY_KIND[kind] for kind in row} if row else dict.fromkeys(_BY_KIND, Dialogue._pass_over)
    for state, row in SAYING.items()
}

_WHEN = {
    Saying.UNDECIDED: "before WELCOME or REFUSED",
    Saying.EARLY: "before WELCOME",
    Saying.EARLY_ENDED: "before WELCOME, behind END",
    Saying.OPEN: "behind WELCOME",
    Saying.DRAINING: "behind DRAIN",
    Saying.ENDED: "behind END",
    Saying.ENDED_DRAINING: "behind END and DRAIN",
    Saying.OVER: "when all is over",
}
