"""
The first packet each way: CLIENT_AUTH sealed to the server's key, SERVER_HELO sealed to the client's; and the
session keys that ``crypto_kx`` makes of both key pairs.

Nothing outside this file knows how the session keys came to be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import DecryptionFailed, LocalProtocolError, NonceMismatch
from ..events import Authenticated, AuthenticationRequested
from ..inbox import Inbox
from ..keys import KEY_SIZE, LOW_ORDER, KeyPair, check_size, weak_point
from ..strangers import describe_answer, describe_first_packet
from ..version import RekeyAfter
from .messages import (
    NONCE_SIZE,
    SEALED_CLIENT_AUTH_SIZE,
    SEALED_SERVER_HELO_SIZE,
    ClientAuth,
    ServerHelo,
    pack_client_auth,
    pack_server_helo,
    unpack_client_auth,
    unpack_server_helo,
)
from .records import PullStream, PushStream, V1Records
from .secretstream import Pull, Push

#: The size of a handshake's fingerprint in bytes.
FINGERPRINT_SIZE = 16


@dataclass(frozen=True)
class SessionKeys:
    """
    What two ends of one connection share: one side's ``receive`` is the other's ``send``.

    :ivar receive: 32 bytes, ``rx`` in ``crypto_kx``.
    :ivar send: 32 bytes, ``tx`` in ``crypto_kx``.
    """

    receive: bytes = field(repr=False)
    send: bytes = field(repr=False)


def _agree(
    exchange: Callable[[bytes, bytes, bytes], tuple[bytes, bytes]], pair: KeyPair, peer_key: bytes
) -> SessionKeys:
    if type(peer_key) is not bytes or len(peer_key) != KEY_SIZE:
        peer_key = check_size(peer_key, "peer's public key")
    try:
        return SessionKeys(*exchange(pair.public, pair.secret, peer_key))
    except CryptoError:
        raise weak_point() from None


def client_session_keys(pair: KeyPair, server_key: bytes) -> SessionKeys:
    """
    The client's half of ``crypto_kx``.

    :param server_key: the server's public key, 32 bytes.
    :raises InvalidKey: for another size, and for the few points of low order (zero among them)
        with which any two parties would share the same secret.
    """
    return _agree(bindings.crypto_kx_client_session_keys, pair, server_key)


def server_session_keys(pair: KeyPair, client_key: bytes) -> SessionKeys:
    """
    The server's half of ``crypto_kx``.

    :param client_key: the client's public key, 32 bytes.
    :raises InvalidKey: for another size, and for points of low order.
    """
    return _agree(bindings.crypto_kx_server_session_keys, pair, client_key)


def _open(pair: KeyPair, sealed: bytes, failure: Callable[[bytes], str]) -> bytes:
    try:
        return bindings.crypto_box_seal_open(sealed, pair.public, pair.secret)
    except CryptoError:
        raise DecryptionFailed(failure(sealed)) from None


def _no_hello(sealed: bytes) -> str:
    return f"the answer is no hello to our key; {describe_answer(sealed)}"


def fingerprint(sealed: bytes) -> bytes:
    """
    Make what tells one CLIENT_AUTH from all others. It need not be kept secret.

    :param sealed: 400 bytes. Each sealed box has a random key of its own, and none can be changed and
        still open.
    :return: 16 bytes.
    """
    return blake2b(sealed, digest_size=FINGERPRINT_SIZE).digest()


class ClientHandshake:
    """
    The client's side.

    :param pair: the client's key pair.
    :param server_key: the server's public key, 32 bytes.
    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: up to 128 bytes of UTF-8, no NUL.
    :param nonce: 24 bytes; ``None`` draws them at random, as anything but a test should.
    :param rekey_size: after how many bytes a new key is due, see :class:`~sodiumtwist.core.version.RekeyAfter`.
    :ivar client_auth: the sealed CLIENT_AUTH, 400 bytes.
    :ivar push: the stream to the server, usable at once.
    :ivar records: to the server usable at once, from it when its hello was opened.
    :raises InvalidKey: for a server key that can't be one.
    :raises LocalProtocolError: for a login or passphrase that does not fit its field.
    """

    def __init__(
        self,
        pair: KeyPair,
        server_key: bytes,
        login: str,
        passphrase: str,
        nonce: bytes | None = None,
        rekey_size: int = RekeyAfter.size,
    ) -> None:
        session_keys = client_session_keys(pair, server_key)
        self._pair = pair
        self._receive_key = session_keys.receive
        self._nonce = bindings.randombytes(NONCE_SIZE) if nonce is None else nonce
        if len(self._nonce) != NONCE_SIZE:
            raise LocalProtocolError(f"a nonce of {len(self._nonce)} bytes; it has {NONCE_SIZE}")
        self.push = PushStream(session_keys.send, rekey_size)
        self.records = V1Records(self.push)
        auth = ClientAuth(self._nonce, self.push.header, pair.public, login, passphrase)
        self.client_auth = bindings.crypto_box_seal(pack_client_auth(auth), bytes(server_key))

    def receive(self, inbox: Inbox) -> Authenticated | None:
        """
        Wait for the server's hello, and have the records receive from then on.

        :param inbox: what was received.
        :return: ``None`` when it has not come whole.
        :raises RemoteProtocolError: as :meth:`open_server_helo`.
        """
        sealed = inbox.take_whole(SEALED_SERVER_HELO_SIZE)
        if sealed is None:
            return None
        helo, self.records.pull = self.open_server_helo(sealed)
        return Authenticated(helo.message)

    def open_server_helo(self, sealed: bytes) -> tuple[ServerHelo, Pull]:
        """
        Open the server's answer.

        :param sealed: 236 bytes.
        :return: the hello, and the stream from the server.
        :raises DecryptionFailed: when it is not sealed to this client's key.
        :raises NonceMismatch: when it answers another CLIENT_AUTH than this one.
        :raises RemoteProtocolError: for anything else in it that is wrong.
        """
        plain = _open(self._pair, sealed, _no_hello)
        helo = unpack_server_helo(plain)
        if helo.nonce != bindings.sodium_increment(self._nonce):
            raise NonceMismatch("the server's hello answers another handshake; someone may have recorded it")
        return helo, PullStream(self._receive_key, helo.stream_header)


def open_client_auth(pair: KeyPair, sealed: bytes) -> ClientAuth:
    """
    Open what a client said first. Nothing in it is proven yet.

    :param pair: the server's key pair.
    :param sealed: 400 bytes.
    :raises DecryptionFailed: when it is not sealed to this server's key, or no secret can be shared with the client's.
    :raises RemoteProtocolError: for anything else in it that is wrong.
    """
    auth = unpack_client_auth(_open(pair, sealed, describe_first_packet))
    # Now, and not when it is let in: whoever lacks a key that can be right must not learn that the rest was right.
    if int.from_bytes(auth.public_key, "little") % 2**255 in LOW_ORDER:
        raise DecryptionFailed("no secret can be shared with the client's public key, which is a weak point")
    return auth


def answer_client_auth(
    pair: KeyPair, auth: ClientAuth, message: str, rekey_size: int = RekeyAfter.size
) -> tuple[bytes, Push, Pull]:
    """
    Let a client in.

    :param pair: the server's key pair.
    :param auth: what :func:`open_client_auth` returned; its passphrase is not needed.
    :param message: a line for the user, up to 128 bytes of UTF-8, no NUL.
    :param rekey_size: after how many bytes a new key is due, see :class:`~sodiumtwist.core.version.RekeyAfter`.
    :return: the sealed SERVER_HELO of 236 bytes, the stream to the client, the stream from it.
    :raises LocalProtocolError: when the message does not fit its field.
    """
    session_keys = server_session_keys(pair, auth.public_key)
    push = PushStream(session_keys.send, rekey_size)
    pull = PullStream(session_keys.receive, auth.stream_header)
    helo = ServerHelo(bindings.sodium_increment(auth.nonce), push.header, message)
    return bindings.crypto_box_seal(pack_server_helo(helo), auth.public_key), push, pull


class ServerHandshake:
    """
    The server's side.

    :param pair: the server's key pair.
    :cvar wanted: how many bytes a client sends before there is anything to decide.
    """

    wanted = SEALED_CLIENT_AUTH_SIZE

    def __init__(self, pair: KeyPair) -> None:
        self._pair = pair
        self._auth: ClientAuth | None = None

    def receive(self, inbox: Inbox) -> AuthenticationRequested | None:
        """
        Wait for the client's first packet.

        :param inbox: what was received.
        :return: ``None`` when it has not come whole, and while it is not decided on.
        :raises RemoteProtocolError: as :func:`open_client_auth`.
        """
        if self._auth is not None:
            return None
        if inbox.part is None and not inbox.offset and len(inbox.data) == SEALED_CLIENT_AUTH_SIZE:
            sealed: bytes | None = inbox.data  # as nearly always: alone, in one read
            inbox.data = b""
        else:
            sealed = inbox.take_whole(SEALED_CLIENT_AUTH_SIZE)
        if sealed is None:
            return None
        mark = fingerprint(sealed)
        auth = open_client_auth(self._pair, sealed)
        request = AuthenticationRequested(auth.login, auth.passphrase, auth.public_key, mark)
        # The passphrase goes to whoever decides; kept here it could be read for as long as deciding takes.
        self._auth = replace(auth, passphrase="")
        return request

    def answer(self, message: str, rekey_size: int = RekeyAfter.size) -> tuple[bytes, V1Records]:
        """
        Let the client in, as :func:`answer_client_auth` does.

        :return: the sealed SERVER_HELO of 236 bytes, and the records of both directions.
        """
        assert self._auth is not None
        sealed, push, pull = answer_client_auth(self._pair, self._auth, message, rekey_size)
        return sealed, V1Records(push, pull)
