"""
What follows the handshake, behind the interface that both versions have: a dialogue in records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from nacl import bindings

from ..errors import RemoteProtocolError
from ..events import DataReceived, Event
from ..inbox import Inbox
from ..unsent import Unsent
from ..version import PROGRESS, RekeyAfter, Step
from .dialogue import Dialogue
from .handshake import TIME_TOLERANCE, Drawn, Session
from .incoming import Bounds
from .pdus import ANSWER, DATA, HEADER, HEADER_SIZE, LARGEST_PAYLOAD, PDU, PING, REQUEST, pack_padding, read_body
from .records import Opener, Sealer
from .sealing import MAX_BODY, Opener as AnyOpener
from .veil import Salts

#: So much must be left of what is asked for, in bytes, that one more record is begun: small ones cost too much.
LEAST_RECORD = 4096

_TIMESTAMP = Struct(">Q")

_unpack = HEADER.unpack_from

# Most connections have had no record of several PDUs. Nothing is put in here.
_NO_PDUS: list[PDU] = []


def draw_padding() -> int:
    """Draw the size of a PADDING: 0 to 255 bytes."""
    return bindings.randombytes(1)[0]


@dataclass(frozen=True)
class Version2:
    """
    What a connection of version 2 needs that one of version 1 does not.

    :ivar unix_time: tells the seconds since the epoch, by the wall clock.
    :ivar salts: a server's memory of the first flights that came, which all its connections share.
    :ivar tolerance: how many seconds a client's clock may be off, for a server; 0 for any.
    :ivar bounds: how much the peer may make us keep.
    :ivar suites: those to offer, or to choose from; ``None`` for what this end has.
    :ivar drawn: what the handshake draws at random; and
    :ivar padding: the size of the padding in some records; tests alone give something else.
    """

    unix_time: Callable[[], float]
    salts: Salts | None = None
    tolerance: float = TIME_TOLERANCE
    bounds: Bounds = Bounds()
    suites: Sequence[int] | None = None
    drawn: Drawn = field(default=Drawn(), repr=False)
    padding: Callable[[], int] = draw_padding


class V2Records:
    """
    The records of one connection, and the dialogue in them.

    :param session: what the handshake made.
    :param unsent: what waits to be sealed.
    :param server: whether this is the server's end.
    :param settings: of the connection.
    :param rekey_size: after how many bytes a new key is due, see :class:`~sodiumtwist.core.version.RekeyAfter`.
    :ivar choked: whether nothing more is opened until PONGs have left.
    :ivar dialogue: who may say what, and when.
    :ivar channel_binding: 32 bytes that both ends of this connection have, and no other.
    """

    __slots__ = (
        "__weakref__",
        "_broken",
        "_first",
        "_opener",
        "_padding",
        "_pdus",
        "_pongs",
        "_sealer",
        "channel_binding",
        "choked",
        "dialogue",
    )

    largest = LARGEST_PAYLOAD
    overhead = HEADER_SIZE

    def __init__(
        self, session: Session, unsent: Unsent, server: bool, settings: Version2, rekey_size: int = RekeyAfter.size
    ) -> None:
        self.channel_binding = session.channel_binding
        self.dialogue = Dialogue(unsent, server, settings.bounds)
        self._sealer = Sealer(session.suite, session.send, rekey_size)
        self._opener: AnyOpener | None = Opener(session.suite, session.receive)
        self._pongs = settings.bounds.pongs
        self.choked = False
        self._padding = settings.padding
        # A server's first record has its padding behind WELCOME or REFUSED.
        self._first = not server
        # Those of the record that was opened last, the next one at the end; and what is wrong behind them.
        self._pdus = _NO_PDUS
        self._broken: RemoteProtocolError | None = None

    @property
    def over(self) -> bool:
        """Whether both ends have said all, and know it of each other."""
        return self.dialogue.over

    @property
    def ended(self) -> bool:
        """Whether we have said that no DATA comes any more."""
        return not self.dialogue.may_send_data

    @property
    def inside(self) -> bool:
        """Whether the head of a record was opened, or PDUs of one are in no event yet."""
        return bool(self._pdus) or (self._opener is not None and self._opener.inside)

    # Receiving

    def receive(self, inbox: Inbox) -> Event | Step | None:
        """
        Go on to the next PDU that tells something.

        :param inbox: what was received.
        :return: ``None`` when the next record has not come whole, or the peer is owed too many PONGs;
            :data:`~sodiumtwist.core.version.PROGRESS` for what came whole and tells the application nothing.
        :raises DecryptionFailed: when a record was altered, or is not the next one. The peer is told nothing.
        :raises RemoteProtocolError: for anything else that is wrong.
        """
        pdus, dialogue = self._pdus, self.dialogue
        if self.choked and self._still_choked():
            return None
        progress = None
        while True:
            if pdus:
                kind, id, payload = pdus.pop()
                if not pdus and self._broken is None:
                    inbox.opened = 0
                try:
                    # The two of which there are most by themselves, which spares a call for each.
                    if kind == ANSWER and dialogue.takes_answers:
                        return dialogue.asker.answer_received(id, payload)
                    if kind == REQUEST and dialogue.takes_requests:
                        event = dialogue.answerer.request_received(id, payload)
                    else:
                        event = dialogue.receive((kind, id, payload))
                except RemoteProtocolError as error:
                    dialogue.broken(error)
                    raise
                if event is not None:
                    if kind == PING:
                        self.choked = dialogue.pongs_owed >= self._pongs
                    return event
                progress = PROGRESS
            elif self._broken is not None:
                dialogue.broken(self._broken)
                raise self._broken
            else:
                try:
                    body = self._opener.receive(inbox)  # type: ignore[union-attr]  # it is there while we receive
                except RemoteProtocolError:
                    # Who altered it is not to learn how, nor what else there was to say: not the login either, where a
                    # client has opened message 2 and this behind it.
                    dialogue.drop_unsent(packet=True)
                    raise
                if body is None:
                    break
                size = len(body)
                if size >= HEADER_SIZE:
                    kind, id, behind = _unpack(body)
                    if behind == size - HEADER_SIZE:
                        # What streams receive mostly, and who asks one by one: what follows comes to the same for one
                        # PDU alone.
                        if kind == DATA and not id and dialogue.takes_data:
                            inbox.pdus_received += 1
                            return DataReceived(bytes(body[HEADER_SIZE:]))
                        if kind == ANSWER or kind == REQUEST:
                            inbox.pdus_received += 1
                            pdus = self._pdus = [(kind, id, bytes(body[HEADER_SIZE:]))]
                            continue
                inbox.opened = size
                # At once: the body may lie where the next record is opened, of whatever connection.
                pdus, self._broken = read_body(body)
                inbox.pdus_received += len(pdus)
                pdus.reverse()
                self._pdus = pdus
                progress = PROGRESS
        return progress

    def get_buffer(self, inbox: Inbox) -> memoryview | None:
        """Tell where to receive what comes next, see :class:`~sodiumtwist.core.version.Records`."""
        return self._opener.get_buffer(inbox)  # type: ignore[union-attr]  # it is there while we receive

    def received(self, inbox: Inbox, size: int) -> bool:
        """Note that something was received there, see :class:`~sodiumtwist.core.version.Records`."""
        return self._opener.received(inbox, size)  # type: ignore[union-attr]

    def _still_choked(self) -> bool:
        """Whether the peer is owed so many PONGs that no more PINGs of it are to be held."""
        self.choked = self.dialogue.pongs_owed >= self._pongs
        return self.choked

    def receive_no_more(self) -> None:
        """Forget the key to receive with, what was opened, and what is being put together."""
        self._opener = self._broken = None
        self._pdus = _NO_PDUS
        self.dialogue.incoming.clear()

    # Sending

    def ping(self, unsent: Unsent, timestamp: int) -> None:
        """Queue a PING, see :class:`~sodiumtwist.core.version.Records`."""
        self.dialogue.ping(_TIMESTAMP.pack(timestamp))

    def pong(self, unsent: Unsent, timestamp: int) -> None:
        """Queue the PONG of the oldest PING, which brings its own timestamp back."""
        self.dialogue.pong()

    def seal(self, unsent: Unsent, limit: int, passing: bool = False) -> Any:
        """Seal PDUs that wait, see :class:`~sodiumtwist.core.version.Records`."""
        dialogue, sealer, queue = self.dialogue, self._sealer, unsent.queue
        if queue and type(queue[0]) is not tuple and not self._first:
            payload = queue[0]
            size = len(payload)
            if unsent.size == HEADER_SIZE + size and len(queue) == 1:
                # Nothing else waits: what follows comes to the same for it alone.
                queue.clear()
                unsent.size = 0
                unsent.pdus_sent += 1
                unsent.bytes_sent += HEADER_SIZE + size + sealer.overhead
                return sealer.seal((HEADER.pack(DATA, 0, size), payload), HEADER_SIZE + size, passing)
        size = min(limit - sealer.overhead, MAX_BODY)
        if unsent.size <= size and not (self._first or dialogue.outgoing.large):
            pieces, size = dialogue.outgoing.take(size)  # all that waits, as nearly always
            unsent.bytes_sent += size + sealer.overhead
            return sealer.seal(pieces, size, passing)
        records: list[bytes] = []
        left = limit
        while True:
            room = MAX_BODY if passing else min(left - sealer.overhead, MAX_BODY)
            if self._first:
                self._first = False
                padding = self._padding()
                pieces, size = dialogue.take(room - HEADER_SIZE - padding)
                # Where the first PDU alone takes that place, it gets as much as the record holds.
                room = MAX_BODY - size - HEADER_SIZE
                if room >= 0:
                    padded = pack_padding(min(padding, room))
                    pieces.append(padded)
                    size += len(padded)
                    unsent.pdus_sent += 1
            else:
                pieces, size = dialogue.take(room, not records)
                if not size:
                    break
            record = sealer.seal(pieces, size, passing)
            unsent.bytes_sent += size + sealer.overhead
            if passing:
                return record
            records.append(record)
            left -= len(record)
            if not unsent.size or left < LEAST_RECORD:
                break
        return record if len(records) == 1 else b"".join(records)

    def drop_unsent(self, unsent: Unsent) -> None:
        """Forget what waits, see :class:`~sodiumtwist.core.version.Records`."""
        self.dialogue.drop_unsent()

    def rekey(self) -> None:
        """Have the next record bring a new key."""
        self._sealer.rekey()

    # The server's decision

    def welcome(self, text: str) -> None:
        """
        Let the client in.

        :raises LocalProtocolError: for a text that is too long.
        """
        self.dialogue.welcome(text, self._padding())

    def refuse(self, code: int, text: str) -> None:
        """
        Don't let the client in.

        :raises LocalProtocolError: for a text that is too long.
        """
        self.dialogue.refuse(code, text, self._padding())

    def end(self) -> None:
        """
        Say that no DATA and no request comes any more.

        :raises LocalProtocolError: the second time.
        """
        self.dialogue.end(self._padding())
