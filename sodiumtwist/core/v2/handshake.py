"""
The handshake of both ends: three messages of Noise, each in a frame under the veil.

Nothing outside this folder knows how the keys of a session came to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Generic, TypeVar, Union

from nacl import bindings

from ..errors import (
    DecryptionFailed,
    MalformedPDU,
    RemoteProtocolError,
    ReplayDetected,
    VersionMismatch,
)
from ..events import AuthenticationRequested
from ..inbox import Inbox
from ..keys import KeyPair, check_size, weak_point
from ..strangers import describe_answer, describe_first_packet
from ..version import Refusal
from . import messages, suites
from .agreement import ML_KEM_768, EphemeralKey, Kem, check_supported
from .messages import PADDING_LIMIT, Extension, Offer
from .noise import XK_HFS, HandshakeState
from .veil import OPENING_SIZE, SALT_SIZE, SEALED_SIZE_SIZE, Salts, Veil, make_salt

#: How far the time in a client's first message may be off, in seconds.
TIME_TOLERANCE = 86_400.0
#: The size of a handshake's fingerprint in bytes.
FINGERPRINT_SIZE = 16
#: How many bytes the first flight of a client has at least.
SMALLEST_FLIGHT = 1326


@dataclass(frozen=True)
class Session:
    """
    What a handshake makes.

    :ivar suite: the number of the suite that seals the records.
    :ivar send: the key of the records that this end sends, 32 bytes.
    :ivar receive: the key of those that it receives, 32 bytes.
    :ivar channel_binding: the handshake hash, 32 bytes, which both ends of this connection have and no other has.
    """

    suite: int
    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)
    channel_binding: bytes


def _draw_padding() -> int:
    return int.from_bytes(bindings.randombytes(2), "big") % PADDING_LIMIT


@dataclass(frozen=True)
class Drawn:
    """
    What a handshake draws at random; tests alone give something else.

    :ivar salt: makes 32 bytes; ``None`` makes what the end in question needs.
    :ivar padding: makes the number of bytes of padding in the first message of this end.
    :ivar ephemeral: makes an X25519 key.
    :ivar kem: makes KEM keys and ciphertexts.
    :ivar extensions: what to send in each message of this end.
    """

    salt: Callable[[], bytes] | None = None
    padding: Callable[[], int] = _draw_padding
    ephemeral: Callable[[], EphemeralKey] = EphemeralKey
    kem: Kem = ML_KEM_768
    extensions: Sequence[Sequence[Extension]] = ((), ())


Result = TypeVar("Result")


class _Handshake(Generic[Result]):
    """
    What both ends have in common: they wait for one part of a frame after the other.

    :ivar wanted: how many bytes the part has that is waited for; 0 when the handshake is over. Before they are here,
        read nothing behind them.
    :ivar session: what was made; set when the last message was read or, by the client, written.
    """

    #: What reads each part, in the order in which they come. It sets how many bytes the next one has.
    _parts: tuple[Callable[[Any, bytes], Result | None], ...]
    session: Session

    def __init__(self) -> None:
        self.wanted = OPENING_SIZE
        self._next = 0

    def receive(self, inbox: Inbox) -> Result | None:
        """
        Wait for what comes next.

        :param inbox: what was received.
        :return: ``None`` when more bytes are needed.
        :raises RemoteProtocolError: for bytes that can't be right. The handshake is over then.
        """
        while self.wanted and (part := inbox.take_whole(self.wanted)) is not None:
            read = self._parts[self._next]
            self._next += 1
            try:
                result = read(self, part)
            except RemoteProtocolError as error:
                self._finish()
                # The frames that it came through hold secrets, and a server keeps the error until the deadline.
                error.__context__ = None
                raise error.with_traceback(None) from None
            if result is not None:
                return result
        return None

    @property
    def in_frame(self) -> bool:
        """Whether the front of a frame was read, and its rest is waited for."""
        # They take turns.
        return bool(self.wanted) and self._next % 2 == 1

    def _finish(self, session: Session | None = None) -> None:
        """Drop all secrets but the session's."""
        vars(self).clear()
        self.wanted = 0
        if session is not None:
            self.session = session


def _prologue(salt: bytes) -> bytes:
    return b"sodiumtwist 2" + salt


def _split(suite: int, noise: HandshakeState, as_client: bool) -> Session:
    """Make the keys of the records."""
    channel_binding = noise.hash
    to_server, to_client = (
        blake2b(channel_binding + bytes((suite,)), digest_size=32, key=key, person=b"sodiumtwist-data").digest()
        for key in noise.split()
    )
    send, receive = (to_server, to_client) if as_client else (to_client, to_server)
    return Session(suite, send, receive, channel_binding)


class ClientHandshake(_Handshake[bytes]):
    """
    The client's side.

    :param pair: the client's key pair; ``None`` makes a fresh one, see :meth:`prepare`.
    :param server_key: the server's public key, 32 bytes.
    :param login: up to 255 bytes of UTF-8, no NUL.
    :param passphrase: up to 4096 bytes of UTF-8, no NUL; with both empty the client gives no credentials.
    :param unix_time: seconds since the epoch, by the wall clock.
    :param offered: the suites to offer; ``None`` offers what this end has.
    :param drawn: what to draw at random, for tests alone.
    :ivar first_flight: what to send first, 1326 to 2350 bytes.
    :raises InvalidKey: for a server key that can't be one.
    :raises LocalProtocolError: for a login or passphrase that can't be sent.
    :raises UnsupportedProtocol: where ML-KEM-768 is missing.
    """

    def __init__(
        self,
        pair: KeyPair | None,
        server_key: bytes,
        login: str,
        passphrase: str,
        unix_time: int,
        *,
        offered: Sequence[int] | None = None,
        drawn: Drawn = Drawn(),
    ) -> None:
        super().__init__()
        check_supported()
        server_key = check_size(server_key, "peer's public key")
        self._offered = tuple(suites.available() if offered is None else offered)
        self._credentials = messages.pack_credentials(login, passphrase, drawn.extensions[-1])
        self._salt = (drawn.salt or make_salt)()
        self._noise = HandshakeState(
            XK_HFS, True, _prologue(self._salt), pair, server_key, new_ephemeral=drawn.ephemeral, kem=drawn.kem
        )
        self._lacks_pair = pair is None
        self._server_key = server_key
        self._sending = Veil(server_key, self._salt)
        offer = messages.pack_offer(Offer(max(0, int(unix_time)), self._offered), drawn.padding(), drawn.extensions[0])
        try:
            message = self._noise.write_message(offer)
        except DecryptionFailed:
            raise weak_point() from None
        self.first_flight = self._salt + self._sending.seal(message)

    def prepare(self) -> None:
        """
        Make what message 3 takes and can be made before message 2 has come. Whoever calls this while the server works
        on its answer waits less for that; otherwise it is made then.
        """
        if self._lacks_pair:
            self._lacks_pair = False
            self._noise.give_static(KeyPair.generate())

    def _open_answer(self, opening: bytes) -> None:
        self._receiving = Veil(self._server_key, self._salt + opening[:SALT_SIZE])
        try:
            self.wanted = self._receiving.open_size(opening[SALT_SIZE:])
        # Somebody who does not know this protocol, most likely: who does is silent to what he can't open.
        except DecryptionFailed:
            raise DecryptionFailed(f"the answer is no hello of that key; {describe_answer(opening)}") from None

    def _read_answer(self, sealed: bytes) -> bytes:
        """Read message 2, and make message 3."""
        suite = messages.unpack_choice(self._noise.read_message(self._receiving.open_message(sealed)))
        if suite not in self._offered:
            raise MalformedPDU(f"the server chose suite {suite}, which was not offered")
        if self._lacks_pair:
            self.prepare()
        frame = self._sending.seal(self._noise.write_message(self._credentials))
        self._finish(_split(suite, self._noise, as_client=True))
        return frame

    _parts = (_open_answer, _read_answer)


class ServerHandshake(_Handshake[Union[bytes, AuthenticationRequested, Refusal]]):
    """
    The server's side. What :meth:`receive` returns:

    - ``bytes`` to send at once, and then it goes on;
    - at last :class:`~sodiumtwist.core.events.AuthenticationRequested`, or a :class:`Refusal` when the credentials
      can't be right.

    Of all that is wrong before, the client must not learn: whoever lacks the server's key should not find out what this
    server speaks, and a recording should not tell whether it is one.

    :param pair: the server's key pair.
    :param unix_time: tells the seconds since the epoch, by the wall clock.
    :param salts: which first flights came before.
    :param has: the suites to choose from, the best first; ``None`` for what this end has.
    :param tolerance: how many seconds the client's time may be off; 0 for any.
    :param drawn: what to draw at random, for tests alone.
    :raises UnsupportedProtocol: where ML-KEM-768 is missing.
    """

    def __init__(
        self,
        pair: KeyPair,
        unix_time: Callable[[], float],
        salts: Salts,
        *,
        has: Sequence[int] | None = None,
        tolerance: float = TIME_TOLERANCE,
        drawn: Drawn = Drawn(),
    ) -> None:
        super().__init__()
        check_supported()
        self._pair = pair
        self._unix_time, self._salts, self._tolerance = unix_time, salts, tolerance
        self._has = suites.available() if has is None else has
        self._drawn = drawn

    def _open_flight(self, opening: bytes) -> None:
        self._salt = opening[:SALT_SIZE]
        self._receiving = Veil(self._pair.public, self._salt)
        try:
            self.wanted = self._receiving.open_size(opening[SALT_SIZE:])
        except DecryptionFailed:
            raise DecryptionFailed(describe_first_packet(opening)) from None

    def _answer_flight(self, sealed: bytes) -> bytes:
        """Read message 1, and make message 2. What costs least is checked first."""
        message = self._receiving.open_message(sealed)
        if self._salts.seen(self._salt):
            raise ReplayDetected("the first flight came before; someone sends a recorded session again")
        drawn = self._drawn
        self._noise = noise = HandshakeState(
            XK_HFS, False, _prologue(self._salt), self._pair, new_ephemeral=drawn.ephemeral, kem=drawn.kem
        )
        offer = messages.unpack_offer(noise.read_message(message))
        self._check_time(offer.time)
        self._suite = self._choose(offer.suites)
        self._salts.remember(self._salt)
        choice = messages.pack_choice(self._suite, drawn.padding(), drawn.extensions[0])
        salt = bindings.randombytes(SALT_SIZE) if drawn.salt is None else drawn.salt()
        frame = Veil(self._pair.public, self._salt + salt).seal(noise.write_message(choice))
        self.wanted = SEALED_SIZE_SIZE
        return salt + frame

    def _check_time(self, time: int) -> None:
        off = abs(time - self._unix_time())
        if off > self._tolerance > 0:
            raise ReplayDetected(
                f"by the client's clock the first flight is off by {off:.0f} s: it is sent again, or a clock is wrong"
            )

    def _choose(self, offered: Sequence[int]) -> int:
        for suite in self._has:
            if suite in offered:
                return suite
        raise VersionMismatch(f"the client has no suite that this server has; it offers {list(offered)}")

    def _open_size(self, sealed: bytes) -> None:
        self.wanted = self._receiving.open_size(sealed)

    def _read_credentials(self, sealed: bytes) -> AuthenticationRequested | Refusal:
        """Read message 3."""
        noise = self._noise
        payload = noise.read_message(self._receiving.open_message(sealed))
        public_key = noise.remote_static
        session = _split(self._suite, noise, as_client=False)
        self._finish(session)
        try:
            login, passphrase = messages.unpack_credentials(payload)
        except MalformedPDU as error:
            return Refusal(6, str(error))  # "protocol broken"
        # No two handshakes have the same hash, and none can be sent again.
        mark = session.channel_binding[:FINGERPRINT_SIZE]
        return AuthenticationRequested(login, passphrase, public_key, mark, version=2)

    _parts = (_open_flight, _answer_flight, _open_size, _read_credentials)
