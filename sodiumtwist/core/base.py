"""
What both ends of a connection share: received bytes that become events, PDUs that wait to be sealed, the
deadlines. The ends themselves are in :mod:`sodiumtwist.core.connection`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .errors import ConnectionCut, LocalProtocolError, MalformedPDU, PayloadTooLarge, RemoteProtocolError
from .events import (
    Aborted,
    AnswerReceived,
    Authenticated,
    AuthenticationRequested,
    ConnectionOver,
    DataReceived,
    Event,
    KeyProven,
    PingReceived,
    PongReceived,
    RequestReceived,
)
from .inbox import Buffer, Inbox, view_of
from .keepalive import Keepalive
from .states import Act, State, Table
from .unsent import Unsent
from .version import PROGRESS, Phase, Records, RekeyAfter, Step

_OPEN, _CLOSED, _SILENT = State.OPEN, State.CLOSED, State.SILENT

#: What most events are, of which the connection itself takes no note.
_NOTHING_TO_NOTE = frozenset((DataReceived, RequestReceived, AnswerReceived))

#: What an event of version 1's handshake does to the state.
_ACTS: dict[type, Act] = {
    AuthenticationRequested: Act.RECEIVE_CLIENT_AUTH,
    KeyProven: Act.RECEIVE_STREAM_PDU,
    Authenticated: Act.RECEIVE_SERVER_HELO,
}


class Traffic(NamedTuple):
    """
    What has come and left on a connection, counted where it is sealed and opened.

    :ivar bytes_received: on the wire, the handshake included.
    :ivar bytes_sent: likewise; what the transport still holds is among them.
    :ivar pdus_received: those that follow the handshake.
    :ivar pdus_sent: likewise.
    """

    bytes_received: int = 0
    bytes_sent: int = 0
    pdus_received: int = 0
    pdus_sent: int = 0


def sum_traffic(connections: Iterable[Connection], traffic: Traffic = Traffic()) -> Traffic:
    """
    Add up what has come and left on many connections, in as little time as that takes.

    :param connections: those.
    :param traffic: what is added to that.
    """
    received, sent, pdus_received, pdus_sent = traffic
    for connection in connections:
        inbox, unsent = connection._inbox, connection.unsent
        received += inbox.bytes_received
        sent += unsent.bytes_sent
        pdus_received += inbox.pdus_received
        pdus_sent += unsent.pdus_sent
    return Traffic(received, sent, pdus_received, pdus_sent)


class _NoMessages:
    """Nothing is being put together."""

    held = 0


#: A limit for :meth:`Connection.data_to_send` that is none.
ALL = 1 << 62


class Connection:
    """
    What both ends share.

    :ivar rekey: when to send with a new key.
    :ivar unsent: what :meth:`data_to_send` has to give; only to be looked at.
    :ivar version: which version of the protocol is spoken; ``None`` until a server of both is told.
    :ivar incoming: has, as ``held``, how many bytes of messages are being put together.
    :ivar largest: the most bytes that one DATA carries.
    :ivar overhead: how many bytes a PDU takes beyond its payload, where it is counted.
    :ivar began: when it was made, in seconds of the caller's clock.
    :ivar choked: version 2: whether the peer is owed so many PONGs that :meth:`events` makes none of what has come.
        Send them, take :meth:`data_to_send`, and ask for events again.
    """

    version: int | None = 1
    incoming: Any = _NoMessages
    choked = False

    largest: int
    overhead: int

    def __init__(
        self, table: Table, state: State, keepalive: Keepalive, rekey: RekeyAfter, phase: Phase | None
    ) -> None:
        self._table = table
        self._state = state
        self._keepalive = keepalive
        self.began = keepalive.heard_at
        self.rekey = rekey
        self._rekey_at = math.inf
        self._inbox = Inbox()
        # What makes events of received bytes now.
        self._phase = phase
        self._records: Records | None = None
        # Whether PDUs may be sent, and DATA among them.
        self._may_speak = self._may_send = False
        self.unsent = Unsent()

    @property
    def state(self) -> State:
        """Where the connection stands, see :mod:`sodiumtwist.core.states`."""
        return self._state

    @property
    def queued(self) -> int:
        """How many bytes :meth:`data_to_send` has to give, but for what it adds to seal them."""
        return self.unsent.size

    @property
    def traffic(self) -> Traffic:
        """How much has come, and how much has left, by now."""
        inbox, unsent = self._inbox, self.unsent
        return Traffic(inbox.bytes_received, unsent.bytes_sent, inbox.pdus_received, unsent.pdus_sent)

    @property
    def buffered(self) -> int:
        """How many received bytes wait to become events."""
        return self._inbox.size

    def first_bytes(self, size: int) -> bytes:
        """
        Look at what was received first, where nothing of it has become an event.

        :param size: how many bytes, at most.
        """
        return self._inbox.peek(min(size, self._inbox.size)) or b""

    @property
    def wanted(self) -> int | None:
        """
        How many bytes to read at most the next time, so that nobody can make us hold more before we know
        who it is; ``None`` when it does not matter.
        """
        raise NotImplementedError

    @property
    def in_frame(self) -> bool:
        """
        Whether the front of a frame of the handshake has come, and nothing of the rest, which left with it: to read on
        at once saves a round of waiting.
        """
        return not self._inbox.size and getattr(self._phase, "in_frame", False)

    def _enter(self, act: Act, table: Table | None = None) -> None:
        try:
            self._state = self._table[self._state][act]
        except KeyError:
            raise self._not_now(act) from None
        if table is not None:
            self._table = table
        self._may_speak = self._may_send = Act.SEND_STREAM_PDU in self._table[self._state]
        if self._state is _CLOSED:
            self._forget()

    def _not_now(self, act: Act) -> LocalProtocolError:
        return LocalProtocolError(f"cannot {act.value} when the connection is {self._state.name}")

    def _forget(self) -> None:
        """Drop what a closed connection has no use for, secrets first of all."""
        self._inbox.clear()
        self._phase = None
        self.choked = False  # whoever goes on as long as PONGs leave would go on for ever
        if not self.unsent.size:
            self._records = None
        elif self._records is not None:
            self._records.receive_no_more()

    def close(self) -> None:
        """
        End the connection: received bytes and the key to receive are dropped, no event comes any more, and
        nothing more can be sent. What was sent before can still be taken, see :meth:`data_to_send`.
        """
        self._enter(Act.CLOSE)

    # Receiving

    def receive_data(self, data: bytes, now: float) -> Iterator[Event]:
        """
        Take in bytes as the transport delivers them, cut anywhere.

        They are kept when this returns, whether or not the events are taken from the iterator;
        :meth:`events` goes on where an abandoned one stopped. The caller bounds what waits: it
        stops reading while it takes no events, reads no more at once than :attr:`wanted` while that is a
        number, and stops while :attr:`buffered` nears :data:`~sodiumtwist.core.connection.PENDING_LIMIT` with a
        login undecided.

        :param data: any number of bytes.
        :param now: seconds of the caller's clock, which never goes back.
        :return: an iterator of events, as :meth:`events`.
        """
        state = self._state
        if state is _CLOSED or state is _SILENT:
            return iter(())
        if type(data) is not bytes:
            data = bytes(view_of(data))  # the caller may go on to change it
        inbox = self._inbox
        inbox.bytes_received += len(data)
        if inbox.data:
            inbox.put(data)
        else:
            inbox.data = data  # as nearly always: all that came before is in events, or in the part
        return self.events(now)

    def get_buffer(self) -> memoryview | None:
        """
        Tell where to receive what comes next, for whoever can receive into memory; as
        ``asyncio.BufferedProtocol`` has it. It is shared by all connections of this thread, so it is filled at
        once, before anything else is called here, and :meth:`buffer_updated` then. Whoever does so stays in one thread.

        :return: some of it, as much as is best received at once; ``None`` where :meth:`receive_data` is to be called.
        """
        # Before that, there is a limit to what is received.
        return self._records.get_buffer(self._inbox) if self._state is _OPEN else None  # type: ignore[union-attr]

    def buffer_updated(self, size: int) -> bool:
        """
        Take in bytes that were received where :meth:`get_buffer` has told.

        :param size: how many.
        :return: whether to look for :meth:`events`; there may be none.
        """
        self._inbox.bytes_received += size
        return self._records.received(self._inbox, size)  # type: ignore[union-attr]

    def events(self, now: float) -> Iterator[Event]:
        """
        Iterate over what the bytes received so far say.

        :param now: seconds of the caller's clock.
        :raises RemoteProtocolError: while iterating, at the place of the wrong bytes; the
            connection is then closed.
        """
        inbox = self._inbox
        try:
            # Whoever takes an event may close the connection, or decide about it, before the next one is made.
            while (inbox.data or inbox.opened) and self._phase is not None:
                event = self._phase.receive(inbox)
                if event is None:
                    break
                if self._state is _OPEN:
                    self._keepalive.heard_at = now
                    if type(event) not in _NOTHING_TO_NOTE and not self._note_control(event, now):
                        continue
                elif self.version == 1:
                    # The tables allow each of these wherever its phase can make it.
                    self._state = self._table[self._state][_ACTS[type(event)]]
                    if self._state is _OPEN:
                        self._opened(now)
                else:
                    event = self._went_on(event, now)
                    if event is None:
                        continue
                yield event  # type: ignore[misc]  # all steps were taken
            if self._state is _OPEN:
                records = self._records
                self.choked = records.choked and inbox.size > 0  # type: ignore[union-attr]  # it is there by now
                # Who may send DATA has not said END, so that to ask further would tell nothing.
                if not self._may_send and records.over:  # type: ignore[union-attr]
                    self._enter(Act.FINISH)
                    yield ConnectionOver()
        except RemoteProtocolError as error:
            if not self._passed_over(error):
                self.close()
                raise

    def _note_control(self, event: Event | Step, now: float) -> bool:
        """Note what is no content, and tell whether it is for the application."""
        if isinstance(event, PongReceived):
            event.latency, event.asked = self._keepalive.pong_received(now, event.passed_over)
        elif isinstance(event, PingReceived):
            self._keepalive.ping_received(now)
        elif event is PROGRESS:
            self._keepalive.life_received(now)
        elif isinstance(event, Aborted):
            # No answer to that: the peer takes nothing more.
            self.drop_unsent()
            self.close()
        return event is not PROGRESS

    def _went_on(self, event: Event | Step, now: float) -> Event | None:
        """
        Take a step towards being open, for which there is no act of version 1.

        :param event: what has led to it.
        :return: what is for the application.
        """
        raise NotImplementedError

    def _passed_over(self, error: RemoteProtocolError) -> bool:
        """Tell whether the peer is to see nothing of its error yet."""
        return False

    def receive_eof(self) -> None:
        """
        The peer closed its side; the connection is closed.

        :raises MalformedPDU: version 1, when that was inside a PDU, or behind some that were not taken yet.
        :raises ConnectionCut: version 2, when not all was said on both sides, as far as we know.
        """
        state, records = self._state, self._records
        cut = state is not State.DECIDING and (self._inbox.size or (records is not None and records.inside))
        dialogue = None if records is None else records.dialogue
        unfinished = state is _OPEN and dialogue is not None and not dialogue.settled
        self.close()
        if unfinished:
            raise ConnectionCut(
                "the connection was cut: it ended before both ends had said that all was sent and answered"
            )
        if cut:
            raise MalformedPDU("the peer closed the connection inside a PDU, or before all it sent was taken")

    # Sending

    def send_data(self, payload: Buffer) -> None:
        """
        Send a DATA. It waits for :meth:`data_to_send`, with what was sent before.

        :param payload: 0 to 131070 bytes, in version 2 up to 135156. It is copied unless it is ``bytes``, or a view of
            ``bytes``.
        :raises PayloadTooLarge: when it is longer.
        :raises LocalProtocolError: when the connection is not in a state to send it.
        :raises TypeError: for anything but contiguous bytes.
        """
        if type(payload) is not bytes:
            view = view_of(payload)
            # Others may be changed before they are sealed.
            payload = view if type(view.obj) is bytes else bytes(view)
        size = len(payload)
        if size > self.largest:
            raise PayloadTooLarge(f"a payload of {size} bytes; at most {self.largest} fit one DATA, send it in parts")
        if not self._may_send:
            self._keep_early(payload)
            return
        unsent = self.unsent
        unsent.queue.append(payload)
        unsent.size += size + self.overhead

    def _keep_early(self, payload: Buffer) -> None:
        """
        Take a DATA that can't be sent now.

        :param payload: it does not change.
        :raises LocalProtocolError: when it never can be.
        """
        if self._may_speak:
            raise LocalProtocolError("no DATA goes behind END: this end has said that it sends no more")
        raise self._not_now(Act.SEND_STREAM_PDU)

    def send_ping(self, now: float, timestamp: int) -> None:
        """
        Send a PING. It waits for :meth:`data_to_send`. The first one after :meth:`ping_due` has asked for it shows
        that we live. The others are the caller's own, and are counted apart from those.

        :param now: seconds of the caller's clock.
        :param timestamp: the wall clock in nanoseconds since the epoch.
        :raises LocalProtocolError: when the connection is not in a state to send it, or as many
            PINGs of the caller's own are unanswered as are allowed to be.
        """
        self._check_speaking()
        assert self._records is not None
        self._keepalive.check_ping()
        self._records.ping(self.unsent, timestamp)  # first, for it may refuse the timestamp
        self._keepalive.ping_sent(now)

    def show_life(self, now: float, timestamp: int) -> None:
        """
        Send what :meth:`ping_due` has asked for: a PING, or PADDING where the peer owes PONGs enough, which we don't
        read.

        :param now: seconds of the caller's clock.
        :param timestamp: the wall clock in nanoseconds since the epoch.
        :raises LocalProtocolError: when the connection is not in a state to send it.
        """
        if not self._keepalive.has_pings_enough:
            self.send_ping(now, timestamp)
            return
        self._check_speaking()
        self._records.dialogue.padding(0)  # type: ignore[union-attr]  # it speaks version 2
        self._keepalive.life_sent()

    def send_pong(self, timestamp: int) -> None:
        """
        Send the answer to a PING. It waits for :meth:`data_to_send`.

        :param timestamp: the wall clock in nanoseconds since the epoch.
        :raises LocalProtocolError: when the connection is not in a state to send it.
        """
        self._check_speaking()
        assert self._records is not None
        self._records.pong(self.unsent, timestamp)

    def _check_speaking(self) -> None:
        if not self._may_speak:
            raise self._not_now(Act.SEND_STREAM_PDU)

    def _send_packet(self, packet: bytes) -> None:
        self.unsent.packet += packet
        self.unsent.size += len(packet)

    def data_to_send(self, limit: int = ALL) -> bytes:
        """
        Seal what was sent, and hand out the bytes to write, in the order of the calls.

        :param limit: take no more PDUs than fit so many bytes, but at least one.
        :return: the bytes; none when nothing waits.
        """
        unsent = self.unsent
        packet = unsent.packet
        if packet:
            unsent.packet = b""
            size = len(packet)
            unsent.size -= size
            unsent.bytes_sent += size
        sealed = b""
        if unsent.size:
            sealed = self._records.seal(unsent, limit)  # type: ignore[union-attr]  # there are PDUs, so there are records
        if not unsent.size and self._state is _CLOSED:
            self._records = None
        return packet + sealed if packet else sealed

    def data_passing(self, limit: int = ALL) -> Buffer:
        """
        Do as :meth:`data_to_send`, for whoever writes at once: what is handed out may be a view of memory in which
        this thread seals again, for this connection or another. It is written, or copied, before anything else is
        called here.

        :param limit: take no more PDUs than fit so many bytes, but at least one; in version 2, those of one record.
        :return: the bytes; none when nothing waits.
        """
        unsent = self.unsent
        if unsent.packet or not unsent.size or self._state is _CLOSED:
            return self.data_to_send(limit)
        passing: Buffer = self._records.seal(unsent, limit, True)  # type: ignore[union-attr]  # as there are PDUs
        return passing

    def drop_unsent(self) -> None:
        """
        Forget the PDUs that were not handed out yet; a packet of the handshake stays. In version 2 the connection then
        can't end in order any more, unless all of them were signs of life.
        """
        if self._records is not None:
            self._records.drop_unsent(self.unsent)
            if self._state is _CLOSED:
                self._records = None

    # Time

    def _opened(self, now: float) -> None:
        assert self._records is not None
        self._may_speak, self._may_send = True, not self._records.ended
        self._phase = self._records
        self._keepalive.authenticated(now, strict=self.version == 2)
        self._rekey_at = now + self.rekey.seconds

    def deadline(self) -> float:
        """When to call :meth:`ping_due` next, in seconds of the caller's clock; ``inf`` for never."""
        return math.inf if self._state is _CLOSED else min(self._keepalive.deadline(), self._rekey_at)

    def ping_due(self, now: float) -> bool:
        """
        Look at the deadlines, that of the sending key among them; to be called when :meth:`deadline` is
        reached. Whoever comes late, because the process stood still, reads first: what the peer has sent meanwhile
        shows that it lives.

        :param now: seconds of the caller's clock.
        :return: whether to call :meth:`show_life` now.
        :raises AuthenticationTimeout, InactivityTimeout, PongTimeout: when one has passed; the
            connection is then closed.
        """
        if self._state is _CLOSED:
            return False
        if now >= self._rekey_at:
            assert self._records is not None
            self._records.rekey()
            self._rekey_at = now + self.rekey.seconds
        try:
            return self._keepalive.ping_due(now)
        except RemoteProtocolError:
            self._out_of_time()
            self.close()
            raise

    def _out_of_time(self) -> None:
        """A deadline has passed: the last moment to say something."""

    def reading_paused(self, now: float) -> None:
        """
        The caller reads nothing for now, because its application takes nothing: the peer's silence does not count
        meanwhile, also where it takes nothing. PINGs go on, as often as the peer's own.
        """
        self._keepalive.reading_paused(now)

    def reading_resumed(self, now: float) -> None:
        """The caller reads again; the time for inactivity begins anew."""
        self._keepalive.reading_resumed(now)

    def writing_blocked(self, now: float) -> None:
        """The transport takes no more for now: this may last for the inactivity time after the peer was last heard."""
        self._keepalive.writing_blocked(now)

    def writing_unblocked(self, now: float) -> None:
        """The transport takes more again."""
        self._keepalive.writing_unblocked(now)
