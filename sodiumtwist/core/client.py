"""
A client's end of one connection.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from .asking import AskingConnection
from .errors import AuthenticationFailed, AuthenticationTimeout, ConnectionCut, LocalProtocolError, ServerUnavailable
from .events import Authenticated, Event, HandshakeComplete, Refused
from .inbox import Buffer
from .keepalive import Keepalive, Timeouts
from .keys import KeyPair
from .states import CLIENT, CLIENT_2, Act, State
from .v1.handshake import ClientHandshake
from .v1.records import V1Records
from .v2 import handshake as v2
from .v2.session import V2Records, Version2
from .version import VERSIONS, RekeyAfter, Step

#: What a client of version 2 can know when it gets no answer to its first flight, and what to try. It must not try
#: another version by itself: whoever stands between could make it.
NO_ANSWER = (
    "the server says nothing to version 2 of the protocol: it may have another key, speak version 1 alone as the C "
    "programs do, or its clock and ours differ by more than a day; compare the key with what its log shows, and both "
    "clocks; only to a C program, speak version 1"
)


class ClientConnection(AskingConnection):
    """
    A client's end of one connection.

    :param server_key: the server's public key, 32 bytes.
    :param login: up to 128 bytes of UTF-8, no NUL; in version 2 up to 255.
    :param passphrase: up to 128 bytes of UTF-8, no NUL; in version 2 up to 4096.
    :param now: seconds of the caller's clock; the authentication time-out begins here.
    :param pair: the client's key pair; ``None`` makes a fresh one.
    :param timeouts: the deadlines.
    :param draw: returns a random number from 0 to 1, for the times of PINGs.
    :param nonce: 24 bytes, of version 1, for tests alone; ``None`` draws them at random.
    :param rekey: when to send with a new key.
    :param version: the version of the protocol to speak. It never falls back to another one.
    :param version_2: what version 2 needs, where it is spoken.
    :raises InvalidKey: for a server key that can't be one.
    :raises LocalProtocolError: for a login or passphrase that does not fit its field, a version that there is not, and
        for version 2 without what it needs.
    :raises UnsupportedProtocol: for version 2 where ML-KEM-768 is missing.
    """

    # Until another version is known to be spoken.
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
        version: int = 1,
        version_2: Version2 | None = None,
    ) -> None:
        self._version_2 = version_2
        # What was sent in version 2 before there was a key for it.
        self._early: list[Callable[[], None]] | None = None
        self._ends_early = False
        self._handshake: ClientHandshake | v2.ClientHandshake | None
        if version == 1:
            self._handshake = ClientHandshake(
                pair or KeyPair.generate(), server_key, login, passphrase, nonce, rekey.size
            )
        elif version == 2:
            if version_2 is None:
                raise LocalProtocolError("for version 2, a client needs the time")
            self._handshake = v2.ClientHandshake(
                pair,
                server_key,
                login,
                passphrase,
                int(version_2.unix_time()),
                offered=version_2.suites,
                drawn=version_2.drawn,
            )
            self.largest, self.overhead = V2Records.largest, V2Records.overhead
        else:
            raise LocalProtocolError(f"a client speaks one of the versions {VERSIONS}, not {version}")
        self.version = version
        table = CLIENT if version == 1 else CLIENT_2
        super().__init__(table, State.NEW, Keepalive(timeouts, now, draw), rekey, None)

    @property
    def wanted(self) -> int | None:
        """How many bytes to read at most the next time: in the handshake of version 2 not more than it needs."""
        if isinstance(self._handshake, v2.ClientHandshake):
            return max(1, self._handshake.wanted - self._inbox.size)
        return None

    def initiate(self) -> None:
        """
        Begin: the first packet waits for :meth:`data_to_send`. In version 1 it has 400 bytes, and PDUs may be sent
        right behind it, before the server has answered. In version 2 it has 1326 to 2350 bytes; DATA and PINGs that
        are sent then wait until :class:`~sodiumtwist.core.events.HandshakeComplete` has come, and requests may be
        sent from there on.

        :raises LocalProtocolError: when it was called before.
        """
        handshake = self._handshake
        if isinstance(handshake, v2.ClientHandshake):
            self._enter(Act.SEND_MESSAGE_1)
            self._phase = handshake
            self._send_packet(handshake.first_flight)
            return
        self._enter(Act.SEND_CLIENT_AUTH)
        assert handshake is not None
        self._phase, self._records = handshake, handshake.records
        self._send_packet(handshake.client_auth)

    def prepare(self) -> None:
        """
        Make what the handshake needs next, as far as it can be known. To be called, or not, when the first packet has
        left: the server works on its answer meanwhile.
        """
        if isinstance(self._handshake, v2.ClientHandshake):
            self._handshake.prepare()

    def _went_on(self, event: Event | Step, now: float) -> Event | None:
        if isinstance(event, bytes):
            handshake = self._handshake
            assert isinstance(handshake, v2.ClientHandshake) and self._version_2 is not None
            self._send_packet(event)
            self._records = V2Records(handshake.session, self.unsent, False, self._version_2, self.rekey.size)
            self._handshake, self._phase = None, self._records
            self.incoming = self._records.dialogue.incoming
            self._enter(Act.RECEIVE_MESSAGE_2)
            early, self._early = self._early, None
            for send in early or ():
                send()
            return HandshakeComplete()
        if isinstance(event, Authenticated):
            self._enter(Act.RECEIVE_WELCOME)
            self._opened(now)
            return event
        if isinstance(event, Refused):
            self.drop_unsent()
            self._enter(Act.RECEIVE_REFUSED)
            return event
        return None  # a record with nothing in it

    def _opened(self, now: float) -> None:
        super()._opened(now)
        self._handshake = None

    # What is sent before the server has shown its key

    @property
    def said_nothing(self) -> bool:
        """Whether the server got, and gets, nothing that it might act on once it has let us in."""
        return not self._early and self._state is not State.AWAITING_WELCOME

    def _keep_early(self, payload: Buffer) -> None:
        if self._state is not State.AWAITING_MESSAGE_2 or self._ends_early:
            super()._keep_early(payload)
        self._send_early(partial(self.send_data, payload))

    def _send_early(self, send: Callable[[], None]) -> None:
        if self._early is None:
            self._early = []
        self._early.append(send)

    def send_end(self) -> None:
        """As for both ends. It waits as DATA do; nothing may be sent behind it."""
        if self._state is State.AWAITING_MESSAGE_2 and not self._ends_early:
            self._ends_early = True
            self._send_early(super().send_end)
        else:
            super().send_end()

    def send_ping(self, now: float, timestamp: int) -> None:
        """
        As for both ends. In version 2 it waits until the server has shown that it has its key, as DATA do.
        """
        if self._state is State.AWAITING_MESSAGE_2:
            self._keepalive.check_ping()
            self._keepalive.ping_sent(now)
            self._send_early(partial(self._ping_early, timestamp))
        else:
            super().send_ping(now, timestamp)

    def _ping_early(self, timestamp: int) -> None:
        assert self._records is not None
        self._records.ping(self.unsent, timestamp)

    def receive_eof(self) -> None:
        """
        The server closed its side; the connection is closed.

        :raises AuthenticationFailed: when its hello had not come, in version 1.
        :raises ServerUnavailable: the same in version 2, where it is no refusal.
        :raises MalformedPDU, ConnectionCut: as for both ends.
        """
        state = self._state
        if state is State.AWAITING_SERVER_HELO:
            self.close()
            raise AuthenticationFailed(
                "the server closed the connection before its hello: wrong login or passphrase, or another key expected"
            )
        if state is State.AWAITING_MESSAGE_2:
            self.close()
            raise ServerUnavailable(NO_ANSWER)
        if state is State.AWAITING_WELCOME:
            self.close()
            raise ConnectionCut("the connection was cut before the server had said whether it lets us in")
        super().receive_eof()

    def ping_due(self, now: float) -> bool:
        """
        As for both ends.
        """
        state = self._state
        try:
            return super().ping_due(now)
        except AuthenticationTimeout as error:
            if state is State.AWAITING_MESSAGE_2:
                raise AuthenticationTimeout(f"{error}: {NO_ANSWER}") from None
            raise

    def _forget(self) -> None:
        super()._forget()
        self._handshake = self._early = None
