"""
The first packet each way: CLIENT_AUTH sealed to the server's key, SERVER_HELO sealed to the client's.

Nothing outside this file knows how the session keys came to be, and the protocol version is read
in one place (:func:`~sodiumtwist.core.v1.messages.unpack_client_auth`).
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import DecryptionFailed, InvalidKey, LocalProtocolError, NonceMismatch
from ..keys import KeyPair, client_session_keys, server_session_keys
from ..version import RekeyAfter
from .messages import (
    NONCE_SIZE,
    ClientAuth,
    ServerHelo,
    pack_client_auth,
    pack_server_helo,
    unpack_client_auth,
    unpack_server_helo,
)
from .secretstream import PullStream, PushStream


def _open(pair: KeyPair, sealed: bytes, failure: str) -> bytes:
    try:
        return bindings.crypto_box_seal_open(sealed, pair.public, pair.secret)
    except CryptoError:
        raise DecryptionFailed(failure) from None


class ClientHandshake:
    """
    The client's side.

    :param pair: the client's key pair.
    :param server_key: the server's public key, 32 bytes.
    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: likewise.
    :param nonce: 24 bytes; ``None`` draws them at random, as anything but a test should.
    :param rekey_size: see :class:`~sodiumtwist.core.v1.secretstream.PushStream`.
    :ivar client_auth: the sealed CLIENT_AUTH, 400 bytes.
    :ivar push: the stream to the server, usable at once.
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
        auth = ClientAuth(self._nonce, self.push.header, pair.public, login, passphrase)
        self.client_auth = bindings.crypto_box_seal(pack_client_auth(auth), bytes(server_key))

    def open_server_helo(self, sealed: bytes) -> tuple[ServerHelo, PullStream]:
        """
        Open the server's answer.

        :param sealed: 236 bytes.
        :return: the hello, and the stream from the server.
        :raises DecryptionFailed: when it is not sealed to this client's key.
        :raises NonceMismatch: when it answers another CLIENT_AUTH than this one.
        :raises RemoteProtocolError: for anything else in it that is wrong.
        """
        plain = _open(self._pair, sealed, "the answer is no hello to our key; is there a server of this protocol?")
        helo = unpack_server_helo(plain)
        if helo.nonce != bindings.sodium_increment(self._nonce):
            raise NonceMismatch("the server's hello answers another handshake; someone may have recorded it")
        return helo, PullStream(self._receive_key, helo.stream_header)


#: The size of a handshake's fingerprint in bytes.
FINGERPRINT_SIZE = 16


def fingerprint(sealed: bytes) -> bytes:
    """
    Make what tells one CLIENT_AUTH from all others. It need not be kept secret.

    :param sealed: 400 bytes. Each sealed box has a random key of its own, and none can be changed and
        still open.
    :return: 16 bytes.
    """
    return blake2b(sealed, digest_size=FINGERPRINT_SIZE).digest()


def without_passphrase(auth: ClientAuth) -> ClientAuth:
    """Keep what :func:`answer_client_auth` needs."""
    return replace(auth, passphrase="")


def open_client_auth(pair: KeyPair, sealed: bytes) -> ClientAuth:
    """
    Open what a client said first. Nothing in it is proven yet.

    :param pair: the server's key pair.
    :param sealed: 400 bytes.
    :raises DecryptionFailed: when it is not sealed to this server's key.
    :raises RemoteProtocolError: for anything else in it that is wrong.
    """
    failure = "the first packet does not open; the peer has another server key, or does not speak this protocol"
    return unpack_client_auth(_open(pair, sealed, failure))


def answer_client_auth(
    pair: KeyPair, auth: ClientAuth, message: str, rekey_size: int = RekeyAfter.size
) -> tuple[bytes, PushStream, PullStream]:
    """
    Let a client in.

    :param pair: the server's key pair.
    :param auth: what :func:`open_client_auth` returned.
    :param message: a line for the user, up to 128 bytes of UTF-8, no NUL.
    :param rekey_size: see :class:`~sodiumtwist.core.v1.secretstream.PushStream`.
    :return: the sealed SERVER_HELO of 236 bytes, the stream to the client, the stream from it.
    :raises LocalProtocolError: when the message does not fit its field.
    :raises DecryptionFailed: when no secret can be shared with the client's public key.
    """
    try:
        session_keys = server_session_keys(pair, auth.public_key)
    except InvalidKey:
        raise DecryptionFailed("no secret can be shared with the client's public key, which is a weak point") from None
    push = PushStream(session_keys.send, rekey_size)
    helo = ServerHelo(bindings.sodium_increment(auth.nonce), push.header, message)
    sealed = bindings.crypto_box_seal(pack_server_helo(helo), auth.public_key)
    return sealed, push, PullStream(session_keys.receive, auth.stream_header)
