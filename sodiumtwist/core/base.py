"""
What both ends of a connection share: the received bytes, the PDUs of the streams, the deadlines. The ends
themselves are in :mod:`sodiumtwist.core.connection`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .errors import LocalProtocolError, MalformedPDU, PayloadTooLarge, RemoteProtocolError
from .events import DataReceived, Event, PingReceived, PongReceived
from .keepalive import Keepalive
from .states import Act, State, Table
from .v1.messages import (
    ENCRYPTED_HEADER_SIZE,
    HEADER_SIZE,
    PDU_OVERHEAD,
    STREAM_OVERHEAD,
    WINDOW,
    PDUType,
    pack_data_header,
    pack_header,
    pack_timestamp,
    unpack_stream_header,
    unpack_timestamp,
)
from .v1.secretstream import PullStream, PushStream
from .version import Buffer, RekeyAfter

_DATA = PDUType.DATA
_OPEN = State.OPEN


class Connection:
    """What both ends share: the received bytes, the streams, the deadlines."""

    _push: PushStream | None = None
    _pull: PullStream | None = None

    def __init__(self, table: Table, state: State, keepalive: Keepalive, rekey: RekeyAfter) -> None:
        self._table = table
        self._state = state
        self._keepalive = keepalive
        self._rekey = rekey
        self._rekey_at = math.inf
        self._may_send = False
        # What was received lies in here from the offset on, behind the part of a header or body
        # that came before it, if one did.
        self._received = b""
        self._offset = 0
        self._part: bytearray | None = None
        # The type and body size of a PDU whose header was decrypted: that can be done only once.
        self._header: tuple[PDUType, int] | None = None

    @property
    def state(self) -> State:
        """Where the connection stands, see :mod:`sodiumtwist.core.states`."""
        return self._state

    @property
    def buffered(self) -> int:
        """How many received bytes wait to become events."""
        waiting = len(self._received) - self._offset
        return waiting if self._part is None else waiting + len(self._part)

    def _enter(self, act: Act) -> None:
        try:
            self._state = self._table[self._state][act]
        except KeyError:
            raise LocalProtocolError(f"cannot {act.value} when the connection is {self._state.name}") from None
        self._may_send = Act.SEND_STREAM_PDU in self._table[self._state]
        if self._state is State.CLOSED:
            self._forget()

    def _forget(self) -> None:
        """Drop what a closed connection has no use for, secrets first of all."""
        self._received, self._offset, self._part, self._header = b"", 0, None, None
        self._push = self._pull = None

    def close(self) -> None:
        """End the connection: received bytes and session keys are dropped, no event comes any more."""
        self._enter(Act.CLOSE)

    # Receiving

    def receive_data(self, data: bytes, now: float) -> Iterator[Event]:
        """
        Take in bytes as the transport delivers them, cut anywhere.

        They are kept when this returns, whether or not the events are taken from the iterator;
        :meth:`events` goes on where an abandoned one stopped. The caller bounds what waits: it
        stops reading while it takes no events, and while :attr:`buffered` nears
        :data:`~sodiumtwist.core.connection.PENDING_LIMIT` with a login undecided.

        :param data: any number of bytes.
        :param now: seconds of the caller's clock.
        :return: an iterator of events, as :meth:`events`.
        """
        if self._state is State.CLOSED or self._state is State.SILENT:
            return iter(())
        if type(data) is not bytes:
            data = bytes(data)  # the caller may go on to change it
        if self._received:
            # Events were left where they are; otherwise all that came is in events, or in the part.
            data = self._received[self._offset :] + data
        self._received, self._offset = data, 0
        return self.events(now)

    def events(self, now: float) -> Iterator[Event]:
        """
        Iterate over what the bytes received so far say.

        :param now: seconds of the caller's clock.
        :raises RemoteProtocolError: while iterating, at the place of the wrong bytes; the
            connection is then closed.
        """
        try:
            while True:
                while self._state is _OPEN and self._part is None and self._header is None:
                    # As nearly all come: whole, in one read.
                    received, start, pull = self._received, self._offset, self._pull
                    if pull is None or start + PDU_OVERHEAD > len(received):
                        break
                    pdu_type, size, body = pull.pull_pdu(received, start)
                    if body is None:
                        self._header, self._offset = (pdu_type, size), start + ENCRYPTED_HEADER_SIZE
                        break
                    self._offset = start = start + size + PDU_OVERHEAD
                    if start == len(received):
                        self._received, self._offset = b"", 0
                    yield self._event(pdu_type, body, now)
                event = self._next_cut_event(now) if self._state is _OPEN else self._next_handshake_event(now)
                if event is None:
                    return
                yield event
        except RemoteProtocolError:
            self.close()
            raise

    def receive_eof(self) -> None:
        """
        The peer closed its side; the connection is closed.

        :raises MalformedPDU: when that was inside a PDU, or behind some that were not taken yet.
        """
        cut = self._state is not State.DECIDING and (self.buffered or self._header is not None)
        self.close()
        if cut:
            raise MalformedPDU("the peer closed the connection inside a PDU, or before all it sent was taken")

    def _next_handshake_event(self, now: float) -> Event | None:
        raise NotImplementedError

    def _take(self, size: int) -> tuple[Buffer, int] | None:
        """
        Take the next bytes: what they lie in, and where. ``None`` when too few have come; these are
        then in the part.
        """
        received, start, part = self._received, self._offset, self._part
        if part is None:
            end = start + size
            if end <= len(received):
                if end == len(received):
                    self._received, self._offset = b"", 0
                else:
                    self._offset = end
                return received, start
            if start < len(received):
                self._part = bytearray(memoryview(received)[start:])
        else:
            end = start + size - len(part)
            part += memoryview(received)[start:end]
            if end <= len(received):
                self._part = None
                self._offset = end
                if end == len(received):
                    self._received, self._offset = b"", 0
                return part, 0
        self._received, self._offset = b"", 0
        return None

    def _take_whole(self, size: int) -> bytes | None:
        taken = self._take(size)
        return None if taken is None else bytes(memoryview(taken[0])[taken[1] : taken[1] + size])

    def _pull_header(self) -> tuple[PDUType, int] | None:
        taken = self._take(ENCRYPTED_HEADER_SIZE)
        if taken is None:
            return None
        assert self._pull is not None
        self._header = unpack_stream_header(self._pull.pull(*taken, HEADER_SIZE))
        return self._header

    def _next_cut_event(self, now: float) -> Event | None:
        header = self._header or self._pull_header()
        if header is None:
            return None
        pdu_type, size = header
        taken = self._take(size + STREAM_OVERHEAD)
        if taken is None:
            return None
        assert self._pull is not None
        body = self._pull.pull(*taken, size)
        self._header = None
        return self._event(pdu_type, body, now)

    def _event(self, pdu_type: PDUType, body: bytes, now: float) -> Event:
        if pdu_type is _DATA:
            self._keepalive.heard(now)
            return DataReceived(body)
        timestamp = unpack_timestamp(body)
        if pdu_type is PDUType.PING:
            self._keepalive.heard(now)
            return PingReceived(timestamp)
        latency = self._keepalive.pong_received(now)
        self._keepalive.heard(now)
        return PongReceived(timestamp, latency)

    # Sending

    def send_data(self, payload: Buffer) -> bytes:
        """
        Make a DATA.

        :param payload: 0 to 131070 bytes.
        :return: 46 bytes more than that, to write.
        :raises PayloadTooLarge: when it is longer.
        :raises LocalProtocolError: when the connection is not in a state to send it.
        :raises TypeError: for anything but contiguous bytes.
        """
        if type(payload) is not bytes:
            payload = memoryview(payload).cast("B")
        if len(payload) > WINDOW:
            raise PayloadTooLarge(f"a payload of {len(payload)} bytes; at most {WINDOW} fit one DATA, send it in parts")
        return self._send(pack_data_header(len(payload)), payload)

    def send_ping(self, now: float, timestamp: int) -> bytes:
        """
        Make a PING.

        :param now: seconds of the caller's clock.
        :param timestamp: the wall clock in nanoseconds since the epoch.
        :return: 62 bytes to write.
        :raises LocalProtocolError: when the connection is not in a state to send it, or as many
            PINGs are unanswered as are allowed to be.
        """
        self._check(Act.SEND_STREAM_PDU)
        body = pack_timestamp(timestamp)
        self._keepalive.ping_sent(now)
        return self._send(pack_header(PDUType.PING, len(body)), body)

    def send_pong(self, timestamp: int) -> bytes:
        """
        Make the answer to a PING.

        :param timestamp: the wall clock in nanoseconds since the epoch.
        :return: 62 bytes to write.
        :raises LocalProtocolError: when the connection is not in a state to send it.
        """
        body = pack_timestamp(timestamp)
        return self._send(pack_header(PDUType.PONG, len(body)), body)

    def _check(self, act: Act) -> None:
        if act not in self._table[self._state]:
            raise LocalProtocolError(f"cannot {act.value} when the connection is {self._state.name}")

    def _send(self, header: bytes, body: Buffer) -> bytes:
        if not self._may_send:
            self._check(Act.SEND_STREAM_PDU)
        assert self._push is not None
        return self._push.push_pdu(header, body)

    # Time

    def _opened(self, now: float) -> None:
        self._keepalive.authenticated(now)
        self._rekey_at = now + self._rekey.seconds

    def deadline(self) -> float:
        """When to call :meth:`ping_due` next, in seconds of the caller's clock; ``inf`` for never."""
        return math.inf if self._state is State.CLOSED else min(self._keepalive.deadline(), self._rekey_at)

    def ping_due(self, now: float) -> bool:
        """
        Look at the deadlines, that of the sending key among them; to be called when :meth:`deadline` is
        reached.

        :return: whether to call :meth:`send_ping` now.
        :raises AuthenticationTimeout, InactivityTimeout, PongTimeout: when one has passed; the
            connection is then closed.
        """
        if self._state is State.CLOSED:
            return False
        if now >= self._rekey_at:
            assert self._push is not None
            self._push.rekey_in = 0
            self._rekey_at = now + self._rekey.seconds
        try:
            return self._keepalive.ping_due(now)
        except RemoteProtocolError:
            self.close()
            raise

    def reading_paused(self) -> None:
        """The caller reads no more for now: the peer's silence does not count meanwhile."""
        self._keepalive.reading_paused()

    def reading_resumed(self, now: float) -> None:
        """The caller reads again; the time for inactivity begins anew."""
        self._keepalive.reading_resumed(now)

    def writing_blocked(self, now: float) -> None:
        """The transport takes no more for now: this may last as long as inactivity may."""
        self._keepalive.writing_blocked(now)

    def writing_unblocked(self) -> None:
        """The transport takes more again."""
        self._keepalive.writing_unblocked()
