"""
A server's end of one connection.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from .asking import AskingConnection
from .errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    LocalProtocolError,
    MalformedPDU,
    RemoteProtocolError,
    ReplayDetected,
)
from .events import AuthenticationRequested, Event
from .inbox import Inbox
from .keepalive import AUTHENTICATION_JITTER, Keepalive, Timeouts
from .keys import KeyPair
from .states import SERVER, SERVER_2, VERSION, Act, State
from .v1.handshake import ServerHandshake
from .v1.messages import PDU_OVERHEAD, WINDOW
from .v1.records import Proof, V1Records
from .v2 import handshake as v2, veil
from .v2.agreement import check_supported
from .v2.pdus import Code
from .v2.session import V2Records, Version2
from .version import VERSIONS, Phase, Refusal, RekeyAfter, Step, Told, check_known

#: How much a caller should let wait behind a CLIENT_AUTH that is not decided on: one PDU of the largest size, in
#: bytes. The caller sees to it; nothing here does.
PENDING_LIMIT = WINDOW + PDU_OVERHEAD

#: The same for version 2, in bytes; what waits behind it stays with the transport.
PENDING_LIMIT_2 = 256 * 1024


class _FirstBytes:
    """
    Waits for as many bytes as tell the versions apart.

    :param server_key: the server's public key.
    """

    def __init__(self, server_key: bytes) -> None:
        self._server_key = server_key

    def receive(self, inbox: Inbox) -> Told | None:
        """Look at them. Both versions open what they expect, so they stay where they are."""
        opening = inbox.peek(veil.OPENING_SIZE)
        if opening is None:
            return None
        return Told(2 if veil.opens(self._server_key, opening) else 1)


class ServerConnection(AskingConnection):
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
    :param versions: which versions of the protocol the client may speak.
    :param version_2: what version 2 needs, where it may be spoken.
    :raises LocalProtocolError: for no version, one that there is not, and for version 2 without what it needs.
    :raises UnsupportedProtocol: for version 2 where ML-KEM-768 is missing.
    """

    # Until another version is known to be spoken.
    largest, overhead = V1Records.largest, V1Records.overhead

    def __init__(
        self,
        pair: KeyPair,
        now: float,
        timeouts: Timeouts = Timeouts(),
        draw: Callable[[], float] = random.random,
        rekey: RekeyAfter = RekeyAfter(),
        versions: Collection[int] = (1,),
        version_2: Version2 | None = None,
    ) -> None:
        check_known("a server speaks", versions)
        spoken = set(versions)
        self._pair = pair
        self._handshake: ServerHandshake | v2.ServerHandshake | None = None
        self._version_2 = None
        if 2 in spoken:
            if version_2 is None or version_2.salts is None:
                raise LocalProtocolError("for version 2, a server needs the time and a memory of first flights")
            check_supported()
            self._version_2 = version_2
        keepalive = Keepalive(timeouts, now, draw, AUTHENTICATION_JITTER)
        super().__init__(VERSION, State.AWAITING_VERSION, keepalive, rekey, _FirstBytes(pair.public))
        self.version = None
        if len(spoken) == 1:
            self._told(spoken.pop())
        self._ignored: RemoteProtocolError | None = None

    @property
    def wanted(self) -> int | None:
        """How many bytes to read at most the next time: a stranger makes us hold its handshake, and nothing more."""
        state, size = self._state, self._inbox.size
        if state is State.OPEN:
            return None
        handshake = self._handshake
        if state is State.AWAITING_VERSION:
            wanted = veil.OPENING_SIZE
        elif isinstance(handshake, v2.ServerHandshake):
            wanted = handshake.wanted
        elif self.version == 2 and state is State.DECIDING:
            wanted = PENDING_LIMIT_2
        else:
            wanted = ServerHandshake.wanted
        # At least one byte: that something came behind its handshake must be seen, and so must its end.
        return max(1, wanted - size)

    @property
    def undecided(self) -> bool:
        """Whether there is a login to decide on."""
        return self._state is State.DECIDING

    def _told(self, version: int) -> None:
        """The client speaks this version."""
        self.version = version
        phase: Phase
        if version == 1:
            self._enter(Act.RECEIVE_VERSION_1, SERVER)
            self._handshake = phase = ServerHandshake(self._pair)
        else:
            settings = self._version_2
            assert settings is not None and settings.salts is not None
            self._enter(Act.RECEIVE_VERSION_2, SERVER_2)
            self._handshake = phase = v2.ServerHandshake(
                self._pair,
                settings.unix_time,
                settings.salts,
                has=settings.suites,
                tolerance=settings.tolerance,
                drawn=settings.drawn,
            )
            self.largest, self.overhead = V2Records.largest, V2Records.overhead
        self._phase = phase

    def _went_on(self, event: Event | Step, now: float) -> Event | None:
        if isinstance(event, Told):
            self._told(event.version)
        elif isinstance(event, bytes):
            self._enter(Act.RECEIVE_MESSAGE_1)
            self._send_packet(event)
        elif isinstance(event, Refusal):
            records = self._handshaken()
            records.refuse(event.code, event.text)
            self._enter(Act.RECEIVE_MALFORMED_MESSAGE_3)
            raise MalformedPDU(event.text)
        else:
            assert isinstance(event, AuthenticationRequested)
            self._enter(Act.RECEIVE_MESSAGE_3)
            self._handshaken()
            return event
        return None

    def _handshaken(self) -> V2Records:
        """The handshake of version 2 is over. What comes behind it waits for the decision, unopened."""
        assert isinstance(self._handshake, v2.ServerHandshake) and self._version_2 is not None
        records = V2Records(self._handshake.session, self.unsent, True, self._version_2, self.rekey.size)
        self._records, self._handshake, self._phase = records, None, None
        self.incoming = records.dialogue.incoming
        return records

    def _passed_over(self, error: RemoteProtocolError) -> bool:
        # Whatever is wrong, so that nobody learns from it what would be right.
        if Act.RECEIVE_GARBAGE not in self._table[self._state]:
            return False
        self._ignore(Act.RECEIVE_GARBAGE, error)
        return True

    def _ignore(self, act: Act, error: RemoteProtocolError) -> None:
        self._enter(act)
        self._forget()
        # Not the frames that it came through: what was opened there, a passphrase perhaps, would stay with them.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        self._ignored = error

    def accept(
        self, now: float, message: str = "Welcome.", prove: bool = False, versions: Collection[int] = VERSIONS
    ) -> bool:
        """
        Let the client in: the server's hello waits for :meth:`data_to_send`. Go on with :meth:`events`:
        PDUs may have come behind its handshake.

        :param now: seconds of the caller's clock.
        :param message: a line for the user, up to 128 bytes of UTF-8, no NUL; in version 2 up to 1024 bytes.
        :param prove: whether the client's public key counts. In version 1 anyone can claim any: the time for
            authentication then goes on, and nothing can be sent, until
            :class:`~sodiumtwist.core.events.KeyProven` comes before the client's first PDU.
        :param versions: which versions this login and key may speak. To a client that speaks another one it is as
            if its passphrase were wrong.
        :return: whether it is let in; else it was refused, as by :meth:`reject`.
        :raises LocalProtocolError: when there is no login to decide on, or the message does not
            fit its field.
        """
        # In version 2 the handshake has proven it.
        act = Act.ACCEPT_UNPROVEN if prove and self.version != 2 else Act.ACCEPT
        if act not in self._table[self._state]:
            raise self._not_now(act)
        if self.version not in versions:
            self.reject()
            return False
        if isinstance(self._records, V2Records):
            self._records.welcome(message)
        else:
            assert isinstance(self._handshake, ServerHandshake)
            hello, records = self._handshake.answer(message, self.rekey.size)
            self._handshake, self._records = None, records
            self._send_packet(hello)
        self._enter(act)
        if act is Act.ACCEPT_UNPROVEN:
            self._phase = Proof(records)
        else:
            self._opened(now)
        return True

    def reject(self, code: int = Code.REFUSED, text: str = "login, passphrase or key refused") -> None:
        """
        Keep the client out. In version 2 it is told why, so take what :meth:`data_to_send` has, and let the client
        read it before the transport is closed; in version 1 there is nothing to send.

        :param code: why, see :class:`~sodiumtwist.core.v2.pdus.Code`.
        :param text: a line for the user, up to 1024 bytes of UTF-8.
        :raises LocalProtocolError: when there is no login to decide on, or the text is too long.
        """
        if Act.REJECT not in self._table[self._state]:
            raise self._not_now(Act.REJECT)
        if isinstance(self._records, V2Records):
            self._records.refuse(code, text)
        self._enter(Act.REJECT)

    def ignore(self) -> None:
        """
        Version 1: treat the handshake, which was accepted before, like one that does not open: leave the transport
        open and go on receiving, until :meth:`ping_due` raises.

        :raises LocalProtocolError: when there is no login to decide on; and in version 2, where nobody can send a
            handshake again.
        """
        error = ReplayDetected("the handshake was accepted before; someone sends a recorded session again")
        self._ignore(Act.IGNORE, error)

    def receive_eof(self) -> None:
        """
        The client closed its side; the connection is closed.

        :raises RemoteProtocolError: why its handshake was ignored, if it was.
        :raises AuthenticationFailed: when its key was to be proven and was not; and in version 2, when it left in the
            middle of the handshake.
        :raises MalformedPDU, ConnectionCut: as for both ends.
        """
        state, ignored = self._state, self._ignored
        super().receive_eof()
        if ignored is not None:
            raise ignored
        if state is State.AWAITING_PROOF:
            raise AuthenticationFailed("the client left before it showed that it has the key it claims")
        if state is State.AWAITING_MESSAGE_3:
            raise AuthenticationFailed("the client left before it said who it is, in the middle of the handshake")

    def ping_due(self, now: float) -> bool:
        """
        As for both ends. Of version 2, a client on whose login nobody has decided in time is told so: take what
        :meth:`data_to_send` has.

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

    def _out_of_time(self) -> None:
        if self._state is State.DECIDING and isinstance(self._records, V2Records):
            self._records.refuse(Code.NO_ROOM, "the server could not decide in time; try again later")

    def _forget(self) -> None:
        super()._forget()
        self._handshake = self._ignored = None
