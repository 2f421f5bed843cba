"""
What both ends say once the handshake is over: requests in any order, their end, the reasons for stopping. It knows
nothing of keys and records; :mod:`~sodiumtwist.core.v2.pdus` reads and lays out what it says.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import LocalProtocolError, PayloadTooLarge, RemoteProtocolError, UnexpectedPDU, WindowExceeded
from ..events import Aborted, Authenticated, DataReceived, DrainReceived, EndReceived, Event, Refused
from ..inbox import Buffer, view_of
from ..unsent import Unsent
from .answerer import Answerer
from .asker import Asker
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
    LINE_SIZE,
    PADDING,
    PDU,
    PING,
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
from .pings import Pings
from .states import ASKED_NOTHING, SAID_DRAIN, SAID_END, SAYING, WELCOMED, Saying


class Dialogue:
    """
    One end of a dialogue.

    What is sent waits in ``unsent``. Of DATA, the connection itself puts the payload there, and counts it and
    the 12 bytes of its header.

    :param unsent: what waits to be sealed.
    :param server: whether this is the server's end.
    :param bounds: how much the peer may make us keep.
    :ivar may_send_data: whether a DATA may be sent now.
    :ivar takes_data: whether one may come.
    :ivar takes_requests: whether a REQUEST may.
    :ivar takes_answers: whether an ANSWER may.
    :ivar incoming: the messages that are being put together.
    :ivar outgoing: what waits, and in which order it leaves.
    :ivar asker: our own requests.
    :ivar answerer: those of the peer.
    """

    may_send_data: bool
    takes_data: bool
    takes_requests: bool
    takes_answers: bool

    def __init__(self, unsent: Unsent, server: bool, bounds: Bounds = Bounds()) -> None:
        self._unsent = unsent
        self._largest = bounds.message
        self.outgoing = outgoing = Outgoing(unsent, bounds.connection)
        self.incoming = incoming = Incoming(bounds)
        self.asker = Asker(outgoing, incoming)
        self.answerer = Answerer(outgoing, incoming, bounds)
        self._pings = Pings(outgoing)
        # How far each side is with what it says. A server looks at what its client said early when it has decided.
        self._ours = Saying.UNDECIDED if server else Saying.EARLY
        self._theirs = Saying.OPEN if server else Saying.UNDECIDED
        self._turn()

    # What can be asked

    @property
    def over(self) -> bool:
        """
        Whether all is done on both sides: END was sent and received, every request is answered, nothing waits to be
        sent. Only then does anyone close in order.
        """
        return self._both_ended and not self._unsent.size and self._all_said() and not self.outgoing.any_needed

    @property
    def settled(self) -> bool:
        """
        Whether the peer may see :attr:`over`: it has all that it needs of us for that, though more may wait.
        """
        return self._all_said() and not self.outgoing.any_needed

    @property
    def peer_ended(self) -> bool:
        """Whether the peer has said that no DATA and no request comes any more."""
        return self._theirs in SAID_END

    @property
    def draining(self) -> bool:
        """Whether one of the two has said that it is about to stop."""
        return self._theirs in SAID_DRAIN or self._ours in SAID_DRAIN

    def _all_said(self) -> bool:
        return self._both_ended and self.asker.idle and self.answerer.idle

    @property
    def unanswered(self) -> tuple[int, ...]:
        """The ids of our own requests whose answer has not come whole."""
        return self.asker.unanswered

    @property
    def not_sent(self) -> frozenset[int]:
        """The ids of our own requests of which nothing has left."""
        return self.asker.not_sent

    @property
    def pongs_owed(self) -> int:
        """How many PINGs came whose PONG has not left. At :attr:`Bounds.pongs` the connection reads no more."""
        return len(self._pings.received) + len(self.outgoing.pongs)

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
        self.outgoing.add_padded(WELCOME, line, padding)

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
        self.outgoing.add_padded(REFUSED, reason, padding)
        self._listen_no_more()

    def request(self, payload: Buffer) -> int:
        """
        Ask the peer. More than 64 KiB leave in parts.

        :return: the id, which the answer or the failure will have.
        :raises PayloadTooLarge: when it is longer than :attr:`Bounds.message`.
        :raises LocalProtocolError: behind our END or the peer's DRAIN, or when nothing can be sent.
        """
        if type(payload) is not bytes or len(payload) > self._largest:
            payload = self._fixed(REQUEST, payload)
        if not self._may_ask:
            raise self._not_asked()
        return self.asker.request(payload)

    def answer(self, id: int, payload: Buffer) -> None:
        """
        Answer a request of the peer. More than 64 KiB leave in parts.

        :raises PayloadTooLarge: when it is longer than :attr:`Bounds.message`.
        :raises LocalProtocolError: when there is no such request, or it has its answer.
        """
        if type(payload) is not bytes or len(payload) > self._largest:
            payload = self._fixed(ANSWER, payload)
        if not self._may_answer:
            raise self._cannot(ANSWER)
        self.answerer.answer(id, payload)

    def fail(self, id: int, code: int, text: str) -> None:
        """
        Answer a request of the peer by a failure. It also takes back an answer, parts of which have not left yet.

        :param code: why.
        :param text: a line, up to 1024 bytes of UTF-8.
        :raises LocalProtocolError: when there is no such request, or its answer has left; or the text is too long.
        """
        reason = pack_reason(code, text)
        self._may(FAILURE)
        self.answerer.fail(id, reason)

    def cancel(self, id: int) -> None:
        """
        Tell the peer that no answer to a request of ours is wanted any more. An answer or a failure comes all the
        same. The second time this does nothing.

        :raises LocalProtocolError: when there is no such request, or its answer came.
        """
        self._may(CANCEL)
        self.asker.cancel(id)

    def ping(self, payload: bytes = b"") -> int:
        """
        Send a PING.

        :param payload: up to 64 bytes, which come back.
        :return: its id.
        :raises LocalProtocolError: when the payload is longer, or nothing can be sent.
        """
        self._may(PING)
        return self._pings.ping(payload)

    def pong(self) -> None:
        """
        Answer the oldest PING that has no PONG.

        :raises LocalProtocolError: when there is none, or nothing can be sent.
        """
        self._may(PONG)
        self._pings.pong()

    def end(self, padding: int | None = None) -> None:
        """
        Say that no DATA and no request comes any more. It leaves behind all of them; answers still can be sent.

        :param padding: the size of a PADDING that goes right behind it, ``None`` for no PADDING.
        :raises LocalProtocolError: the second time, or when nothing can be sent.
        """
        self._say(END)
        self.outgoing.add_padded(END, b"", padding)

    def drain(self) -> None:
        """
        Say that we are about to stop, so that the peer asks nothing new.

        :raises LocalProtocolError: the second time, before WELCOME, or when nothing can be sent.
        """
        self._say(DRAIN)
        self.outgoing.add_padded(DRAIN, b"", None)

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
        if self._ours is Saying.OVER:
            return
        if isinstance(error, BrokenAbort):
            self.outgoing.drop()
            self._listen_no_more()
            return
        code = Code.NO_ROOM if isinstance(error, WindowExceeded) else Code.PROTOCOL_BROKEN
        # Where the server has said something else than WELCOME or REFUSED, it has decided all the same.
        self._abort(pack_reason(code, str(error)[: LINE_SIZE // 4]))

    def _abort(self, reason: bytes) -> None:
        self.outgoing.hurry()
        self.outgoing.add(ABORT, 0, reason)
        self._listen_no_more()

    def padding(self, size: int) -> None:
        """
        Send bytes that say nothing.

        :param size: how many, beyond the header; at most 65536.
        :raises LocalProtocolError: when they are more, or nothing can be sent.
        """
        if size > PART_SIZE:
            raise PayloadTooLarge(f"PADDING of {size} bytes; at most {PART_SIZE} are allowed")
        self._may(PADDING)
        self.outgoing.add(PADDING, 0, bytes(size))

    def take(self, room: int, some: bool = True) -> tuple[list[Buffer], int]:
        """
        Take the pieces of the next record's body off what waits.

        :param room: how many bytes the body may have.
        :param some: whether the first PDU comes alone if it has more; else nothing comes then.
        :return: the pieces, and how many bytes they have; none when nothing waits.
        """
        return self.outgoing.take(room, some)

    def drop_unsent(self, packet: bool = False) -> None:
        """
        Forget what waits to be sealed. If the peer needs some of it, this end is never :attr:`over`.

        :param packet: whether a packet of the handshake is forgotten too.
        """
        self.outgoing.drop()
        self._pings.forget()
        if packet:
            self._unsent.packet = b""
            self._unsent.size = 0

    def _may(self, kind: int) -> None:
        if kind not in SAYING[self._ours]:
            raise self._cannot(kind)

    def _cannot(self, kind: int) -> LocalProtocolError:
        return LocalProtocolError(f"cannot send {name_of(kind)} {_WHEN[self._ours]}")

    def _not_asked(self) -> LocalProtocolError:
        if self._theirs in ASKED_NOTHING and REQUEST in SAYING[self._ours]:
            return LocalProtocolError("the peer is about to stop, so it is asked nothing new")
        return self._cannot(REQUEST)

    def _fixed(self, kind: int, payload: Buffer) -> Buffer:
        """Judge a payload, and copy it if it may be changed before it is sealed."""
        view = view_of(payload)
        if len(view) > self._largest:
            raise PayloadTooLarge(f"{name_of(kind)} of {len(view)} bytes; at most {self._largest} are allowed")
        return view if type(view.obj) is bytes else bytes(view)

    def _say(self, kind: int) -> None:
        self._may(kind)
        self._ours = SAYING[self._ours][kind]
        self._turn()

    def _hear(self, kind: int) -> None:
        self._theirs = SAYING[self._theirs][kind]
        self._turn()

    def _fall_silent(self) -> None:
        """The peer listens no more."""
        self.outgoing.drop()
        self._ours = Saying.OVER
        self._turn()

    def _listen_no_more(self) -> None:
        """We have said our last PDU. What still comes is dropped."""
        self._ours = self._theirs = Saying.OVER
        self._turn()

    def _turn(self) -> None:
        """What may be said has changed. What each PDU asks for is looked up here, once."""
        row = SAYING[self._ours]
        self.may_send_data = DATA in row
        self._may_ask = REQUEST in row and self._theirs not in ASKED_NOTHING
        self._may_answer = ANSWER in row
        self._may_come = SAYING[self._theirs]
        self.takes_data = DATA in self._may_come
        self.takes_requests = REQUEST in self._may_come
        self.takes_answers = ANSWER in self._may_come
        self._both_ended = self._ours in SAID_END and self._theirs in SAID_END

    # Receiving

    def receive(self, pdu: PDU) -> Event | None:
        """
        Take in a PDU.

        :param pdu: as ``read_body`` gives it.
        :return: what it tells the application; ``None`` for nothing, or not yet.
        :raises RemoteProtocolError: when the peer may not send it now; see :meth:`broken`.
        """
        kind, id, payload = pdu
        if kind not in self._may_come:
            return self._not_now(kind)
        if kind == REQUEST:
            return self.answerer.request_received(id, payload)
        if kind == ANSWER:
            return self.asker.answer_received(id, payload)
        if kind == DATA:
            return DataReceived(payload)
        return _RECEIVE[kind](self, id, payload)

    def _not_now(self, kind: int) -> Event | None:
        if self._theirs is Saying.OVER:
            return None  # what follows the last PDU, of either side, is dropped
        if kind == ABORT:
            self._fall_silent()
        raise UnexpectedPDU(f"{name_of(kind)} {_WHEN[self._theirs]}")

    def _welcome(self, id: int, payload: bytes) -> Event:
        self._ours = WELCOMED[self._ours]
        self._hear(WELCOME)
        return Authenticated(read_line(payload))

    def _refused(self, id: int, payload: bytes) -> Event:
        self._hear(REFUSED)
        self._fall_silent()
        return Refused(*read_reason(payload))

    def _end(self, id: int, payload: bytes) -> Event:
        if self.answerer.coming:
            raise UnexpectedPDU("END before the last part of a REQUEST")
        self._hear(END)
        return EndReceived()

    def _drain(self, id: int, payload: bytes) -> Event:
        self._hear(DRAIN)
        return DrainReceived()

    def _aborted(self, id: int, payload: bytes) -> Event:
        self._hear(ABORT)
        self._fall_silent()
        return Aborted(*read_reason(payload))


#: What takes in the PDUs that are not the most frequent ones.
_RECEIVE: dict[int, Callable[[Dialogue, int, bytes], Event | None]] = {
    WELCOME: Dialogue._welcome,
    REFUSED: Dialogue._refused,
    PING: lambda self, id, payload: self._pings.ping_received(id, payload),
    PONG: lambda self, id, payload: self._pings.pong_received(id, payload),
    REQUEST_PART: lambda self, id, payload: self.answerer.part_received(id, payload),
    ANSWER_PART: lambda self, id, payload: self.asker.part_received(id, payload),
    FAILURE: lambda self, id, payload: self.asker.failure_received(id, payload),
    CANCEL: lambda self, id, payload: self.answerer.cancel_received(id),
    END: Dialogue._end,
    DRAIN: Dialogue._drain,
    ABORT: Dialogue._aborted,
    PADDING: lambda self, id, payload: None,
    UNKNOWN: lambda self, id, payload: None,
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
