"""
One end of a connection without IO, which speaks by three calls: ``receive_data`` takes received bytes and gives
events, ``send_…`` takes what is to be said, ``data_to_send`` gives the bytes to write.

Call ``data_to_send`` after any other call, or after several; what was sent meanwhile is sealed together. Any
:exc:`~sodiumtwist.core.errors.RemoteProtocolError` ends the connection: write what ``data_to_send`` still gives, close
the transport, and say nothing more. What is received after that is dropped.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from .base import Connection
from .errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    RemoteProtocolError,
    ReplayDetected,
)
from .keepalive import AUTHENTICATION_JITTER, Keepalive, Timeouts
from .keys import KeyPair
from .states import CLIENT, SERVER, Act, State
from .v1.handshake import ClientHandshake, ServerHandshake
from .v1.messages import PDU_OVERHEAD, WINDOW
from .v1.records import Proof, V1Records
from .version import RekeyAfter

#: How much a caller should let wait behind a CLIENT_AUTH that is not decided on: one PDU of the largest size, in
#: bytes. The caller sees to it; nothing here does.
PENDING_LIMIT = WINDOW + PDU_OVERHEAD


class ServerConnection(Connection):
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

    largest, overhead = V1Records.largest, V1Records.overhead

    def __init__(
        self,
        pair: KeyPair,
        now: float,
        timeouts: Timeouts = Timeouts(),
        draw: Callable[[], float] = random.random,
        rekey: RekeyAfter = RekeyAfter(),
    ) -> None:
        keepalive = Keepalive(timeouts, now, draw, AUTHENTICATION_JITTER)
        self._handshake: ServerHandshake | None = ServerHandshake(pair)
        super().__init__(SERVER, State.AWAITING_CLIENT_AUTH, keepalive, rekey, self._handshake)
        self._ignored: RemoteProtocolError | None = None

    @property
    def wanted(self) -> int | None:
        """How many bytes to read at most the next time: a stranger makes us hold its handshake, and nothing more."""
        if self._state is State.OPEN:
            return None
        # At least one byte: that something came behind its handshake must be seen, and so must its end.
        return max(1, ServerHandshake.wanted - self._inbox.size)

    @property
    def undecided(self) -> bool:
        """Whether there is a login to decide on."""
        return self._state is State.DECIDING

    def _passed_over(self, error: RemoteProtocolError) -> bool:
        # Only a handshake that does not open. What opens was made by one who has our public key and hides nothing.
        if self._state is not State.AWAITING_CLIENT_AUTH or not isinstance(error, DecryptionFailed):
            return False
        self._ignore(Act.RECEIVE_GARBAGE, error)
        return True

    def _ignore(self, act: Act, error: RemoteProtocolError) -> None:
        self._enter(act)
        self._forget()
        self._ignored = error

    def accept(self, now: float, message: str = "Welcome.", prove: bool = False) -> None:
        """
        Let the client in: SERVER_HELO, of 236 bytes, waits for :meth:`data_to_send`. Go on with :meth:`events`:
        PDUs may have come behind its handshake.

        :param now: seconds of the caller's clock.
        :param message: a line for the user, up to 128 bytes of UTF-8, no NUL.
        :param prove: whether the client's public key counts. Anyone can claim any: the time for
            authentication then goes on, and nothing can be sent, until
            :class:`~sodiumtwist.core.events.KeyProven` comes before the client's first PDU.
        :raises LocalProtocolError: when there is no login to decide on, or the message does not
            fit its field.
        :raises DecryptionFailed: when no secret can be shared with the client's public key; the
            connection is then closed.
        """
        act = Act.ACCEPT_UNPROVEN if prove else Act.ACCEPT
        if act not in self._table[self._state]:
            raise self._not_now(act)
        assert self._handshake is not None
        try:
            hello, records = self._handshake.answer(message, self.rekey.size)
        except RemoteProtocolError:
            self.close()
            raise
        self._handshake, self._records = None, records
        self._send_packet(hello)
        self._enter(act)
        if prove:
            self._phase = Proof(records)
        else:
            self._opened(now)

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
        self._handshake = self._ignored = None


class ClientConnection(Connection):
    """
    A client's end of one connection.

    :param server_key: the server's public key, 32 bytes.
    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: up to 128 bytes of UTF-8, no NUL.
    :param now: seconds of the caller's clock; the authentication time-out begins here.
    :param pair: the client's key pair; ``None`` makes a fresh one.
    :param timeouts: the deadlines.
    :param draw: returns a random number from 0 to 1, for the times of PINGs.
    :param nonce: 24 bytes, for tests alone; ``None`` draws them at random.
    :param rekey: when to send with a new key.
    :raises InvalidKey: for a server key that can't be one.
    :raises LocalProtocolError: for a login or passphrase that does not fit its field.
    """

    largest, overhead = V1Records.largest, V1Records.overhead

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
        self._handshake: ClientHandshake | None = ClientHandshake(
            pair or KeyPair.generate(), server_key, login, passphrase, nonce, rekey.size
        )
        super().__init__(CLIENT, State.NEW, Keepalive(timeouts, now, draw), rekey, None)

    def initiate(self) -> None:
        """
        Begin: CLIENT_AUTH, of 400 bytes, waits for :meth:`data_to_send`. PDUs may be sent right behind it, before
        the server has answered.

        :raises LocalProtocolError: when it was called before.
        """
        self._enter(Act.SEND_CLIENT_AUTH)
        assert self._handshake is not None
        self._phase, self._records = self._handshake, self._handshake.records
        self._send_packet(self._handshake.client_auth)

    def _opened(self, now: float) -> None:
        super()._opened(now)
        self._handshake = None

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
