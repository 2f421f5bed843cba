"""
One end of a connection without IO: received bytes go in and events come out, calls go in and
bytes to write come out.

The order of calls is the order on the wire, so write what a call returns before the next one's.
Any :exc:`~sodiumtwist.core.errors.RemoteProtocolError` ends the connection: close the transport
and say nothing. What is received after that is dropped.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

from .errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    LocalProtocolError,
    MalformedPDU,
    PayloadTooLarge,
    RemoteProtocolError,
    ReplayDetected,
)
from .events import Authenticated, AuthenticationRequested, DataReceived, Event, KeyProven, PingReceived, PongReceived
from .handshake import ClientHandshake, answer_client_auth, fingerprint, open_client_auth, without_passphrase
from .keepalive import AUTHENTICATION_JITTER, Keepalive, Timeouts
from .keys import KeyPair
from .secretstream import Buffer, PullStream, PushStream, RekeyAfter
from .states import CLIENT, SERVER, Act, State, Table
from .wire import (
    ENCRYPTED_HEADER_SIZE,
    HEADER_SIZE,
    PDU_OVERHEAD,
    SEALED_CLIENT_AUTH_SIZE,
    SEALED_SERVER_HELO_SIZE,
    STREAM_OVERHEAD,
    WINDOW,
    ClientAuth,
    PDUType,
    pack_data_header,
    pack_header,
    pack_timestamp,
    unpack_stream_header,
    unpack_timestamp,
)

_DATA = PDUType.DATA
_OPEN = State.OPEN

#: What may wait behind a CLIENT_AUTH until it is decided on: one PDU of the largest size, in bytes.
PENDING_LIMIT = WINDOW + PDU_OVERHEAD


class _Connection:
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
        :data:`PENDING_LIMIT` with a login undecided.

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
                    if pdu_type is _DATA:
                        self._keepalive.heard(now)
                        yield DataReceived(body)
                    else:
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
        if not self._may_send:
            self._check(Act.SEND_STREAM_PDU)
        assert self._push is not None
        return self._push.push_pdu(pack_data_header(len(payload)), payload)

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
        return self._send(PDUType.PING, body)

    def send_pong(self, timestamp: int) -> bytes:
        """
        Make the answer to a PING.

        :param timestamp: the wall clock in nanoseconds since the epoch.
        :return: 62 bytes to write.
        :raises LocalProtocolError: when the connection is not in a state to send it.
        """
        return self._send(PDUType.PONG, pack_timestamp(timestamp))

    def _check(self, act: Act) -> None:
        if act not in self._table[self._state]:
            raise LocalProtocolError(f"cannot {act.value} when the connection is {self._state.name}")

    def _send(self, pdu_type: PDUType, body: Buffer) -> bytes:
        if not self._may_send:
            self._check(Act.SEND_STREAM_PDU)
        assert self._push is not None
        return self._push.push_pdu(pack_header(pdu_type, len(body)), body)

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


class ServerConnection(_Connection):
    """
    A server's end of one connection.

    A handshake that does not open gets neither answer nor error before the time for authentication is
    over: the connection is SILENT and drops what comes, so that a prober sees no difference. The
    error is what :meth:`ping_due` and :meth:`receive_eof` raise then.

    :param pair: the server's key pair.
    :param now: seconds of the caller's clock; the authentication time-out begins here.
    :param timeouts: the deadlines.
    :param draw: returns a random number from 0 to 1, for the times of PINGs and of closing.
    :param rekey: when to send with a new key.
    """

    def __init__(
        self,
        pair: KeyPair,
        now: float,
        timeouts: Timeouts = Timeouts(),
        draw: Callable[[], float] = random.random,
        rekey: RekeyAfter = RekeyAfter(),
    ) -> None:
        keepalive = Keepalive(timeouts, now, draw, AUTHENTICATION_JITTER)
        super().__init__(SERVER, State.AWAITING_CLIENT_AUTH, keepalive, rekey)
        self._pair = pair
        self._auth: ClientAuth | None = None
        self._ignored: RemoteProtocolError | None = None

    def _next_handshake_event(self, now: float) -> Event | None:
        if self._state is State.AWAITING_CLIENT_AUTH:
            sealed = self._take_whole(SEALED_CLIENT_AUTH_SIZE)
            return None if sealed is None else self._open_client_auth(sealed)
        if self._state is State.AWAITING_PROOF and self._pull_header() is not None:
            self._enter(Act.RECEIVE_STREAM_PDU)
            self._opened(now)
            return KeyProven()
        return None

    def _open_client_auth(self, sealed: bytes) -> Event | None:
        try:
            auth = open_client_auth(self._pair, sealed)
        except DecryptionFailed as error:
            self._ignore(Act.RECEIVE_GARBAGE, error)
            return None
        self._auth = without_passphrase(auth)
        self._enter(Act.RECEIVE_CLIENT_AUTH)
        return AuthenticationRequested(auth.login, auth.passphrase, auth.public_key, fingerprint(sealed))

    def _ignore(self, act: Act, error: RemoteProtocolError) -> None:
        self._enter(act)
        self._forget()
        self._ignored = error

    def accept(self, now: float, message: str = "Welcome.", prove: bool = False) -> bytes:
        """
        Let the client in. Go on with :meth:`events`: PDUs may have come behind its handshake.

        :param now: seconds of the caller's clock.
        :param message: a line for the user, up to 128 bytes of UTF-8, no NUL.
        :param prove: whether the client's public key counts. Anyone can claim any: the time for
            authentication then goes on, and nothing can be sent, until
            :class:`~sodiumtwist.core.events.KeyProven` comes before the client's first PDU.
        :return: SERVER_HELO, 236 bytes to write.
        :raises LocalProtocolError: when there is no login to decide on, or the message does not
            fit its field.
        :raises DecryptionFailed: when no secret can be shared with the client's public key; the
            connection is then closed.
        """
        act = Act.ACCEPT_UNPROVEN if prove else Act.ACCEPT
        self._check(act)
        assert self._auth is not None
        try:
            sealed, push, pull = answer_client_auth(self._pair, self._auth, message, self._rekey.size)
        except RemoteProtocolError:
            self.close()
            raise
        self._push, self._pull, self._auth = push, pull, None
        self._enter(act)
        if not prove:
            self._opened(now)
        return sealed

    def reject(self) -> None:
        """
        Keep the client out: close the transport, there is nothing to send.

        :raises LocalProtocolError: when there is no login to decide on.
        """
        self._enter(Act.REJECT)

    def ignore(self) -> None:
        """
        Treat the handshake, which was accepted before, like one that does not open: leave the transport
        open and go on receiving, until :meth:`ping_due` raises.

        :raises LocalProtocolError: when there is no login to decide on.
        """
        error = ReplayDetected("the handshake was accepted before; someone sends a recorded session again")
        self._ignore(Act.IGNORE, error)

    def receive_eof(self) -> None:
        """
        The client closed its side; the connection is closed.

        :raises RemoteProtocolError: why its handshake was ignored, if it was.
        :raises AuthenticationFailed: when its key was to be proven and was not.
        :raises MalformedPDU: when that was inside a PDU, or behind some that were not taken yet.
        """
        state, ignored = self._state, self._ignored
        super().receive_eof()
        if ignored is not None:
            raise ignored
        if state is State.AWAITING_PROOF:
            raise AuthenticationFailed("the client left before it showed that it has the key it claims")

    def ping_due(self, now: float) -> bool:
        """
        As for both ends.

        :raises RemoteProtocolError: why the handshake was ignored, where time is up for one that was.
        """
        state, ignored = self._state, self._ignored
        try:
            return super().ping_due(now)
        except AuthenticationTimeout as error:
            if ignored is not None:
                raise ignored from None
            if state is State.AWAITING_PROOF:
                raise AuthenticationTimeout(f"{error}: the client did not show that it has the key it claims") from None
            raise

    def _forget(self) -> None:
        super()._forget()
        self._auth = self._ignored = None


class ClientConnection(_Connection):
    """
    A client's end of one connection.

    :param server_key: the server's public key, 32 bytes.
    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: likewise.
    :param now: seconds of the caller's clock; the authentication time-out begins here.
    :param pair: the client's key pair; ``None`` makes a fresh one.
    :param timeouts: the deadlines.
    :param draw: returns a random number from 0 to 1, for the times of PINGs.
    :param nonce: 24 bytes, for tests alone; ``None`` draws them at random.
    :param rekey: when to send with a new key.
    :raises InvalidKey: for a server key that can't be one.
    :raises LocalProtocolError: for a login or passphrase that does not fit its field.
    """

    def __init__(
        self,
        server_key: bytes,
        login: str,
        passphrase: str,
        now: float,
        pair: KeyPair | None = None,
        timeouts: Timeouts = Timeouts(),
        draw: Callable[[], float] = random.random,
        nonce: bytes | None = None,
        rekey: RekeyAfter = RekeyAfter(),
    ) -> None:
        super().__init__(CLIENT, State.NEW, Keepalive(timeouts, now, draw), rekey)
        self._handshake: ClientHandshake | None = ClientHandshake(
            pair or KeyPair.generate(), server_key, login, passphrase, nonce, rekey.size
        )

    def initiate(self) -> bytes:
        """
        Begin. Stream PDUs may be sent right behind this, before the server has answered.

        :return: CLIENT_AUTH, 400 bytes to write.
        :raises LocalProtocolError: when it was called before.
        """
        self._enter(Act.SEND_CLIENT_AUTH)
        assert self._handshake is not None
        self._push = self._handshake.push
        return self._handshake.client_auth

    def _next_handshake_event(self, now: float) -> Event | None:
        if self._state is not State.AWAITING_SERVER_HELO:
            return None
        sealed = self._take_whole(SEALED_SERVER_HELO_SIZE)
        if sealed is None:
            return None
        assert self._handshake is not None
        helo, self._pull = self._handshake.open_server_helo(sealed)
        self._handshake = None
        self._enter(Act.RECEIVE_SERVER_HELO)
        self._opened(now)
        return Authenticated(helo.message)

    def receive_eof(self) -> None:
        """
        The server closed its side; the connection is closed.

        :raises AuthenticationFailed: when its hello had not come.
        :raises MalformedPDU: when that was inside a PDU.
        """
        if self._state is State.AWAITING_SERVER_HELO:
            self.close()
            raise AuthenticationFailed(
                "the server closed the connection before its hello: wrong server key, login or passphrase"
            )
        super().receive_eof()

    def _forget(self) -> None:
        super()._forget()
        self._handshake = None
