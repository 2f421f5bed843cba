"""
X25519 keys, their text form of 64 hex digits, and the session keys that ``crypto_kx`` makes of them.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from nacl import bindings
from nacl.exceptions import CryptoError

from .errors import InvalidKey

#: The size of a key, public or private, in bytes.
KEY_SIZE = 32


def parse_key(text: str, what: str = "key") -> bytes:
    """
    Read a key from its text form.

    :param text: 64 hex digits; white space around them is allowed.
    :param what: what to call it in the error, which never shows the text.
    :return: 32 bytes.
    :raises InvalidKey: for any other text.
    """
    digits = text.strip()
    if len(digits) != 2 * KEY_SIZE:
        raise InvalidKey(f"the {what} has {len(digits)} characters; it is {2 * KEY_SIZE} hex digits")
    try:
        return unhexlify(digits)
    except ValueError:
        raise InvalidKey(f"the {what} holds characters other than 0-9 and a-f") from None


def _check_size(key: bytes, what: str) -> bytes:
    if not isinstance(key, (bytes, bytearray, memoryview)):
        raise InvalidKey(f"the {what} is of type {type(key).__name__}; parse_key() makes bytes of 64 hex digits")
    if len(key) != KEY_SIZE:
        raise InvalidKey(f"the {what} is {len(key)} bytes long; it is {KEY_SIZE}")
    return bytes(key)


@dataclass(frozen=True)
class KeyPair:
    """
    A long-term or per-run X25519 key pair.

    :ivar public: 32 bytes.
    :ivar secret: 32 bytes; not shown by ``repr``.
    """

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> KeyPair:
        """Make a fresh pair from the operating system's randomness."""
        return cls(*bindings.crypto_kx_keypair())

    @classmethod
    def from_secret(cls, secret: bytes) -> KeyPair:
        """
        Make the pair that belongs to a secret key.

        :param secret: 32 bytes.
        :raises InvalidKey: when the size is another.
        """
        secret = _check_size(secret, "private key")
        return cls(bindings.crypto_scalarmult_base(secret), secret)

    @classmethod
    def from_hex(cls, text: str) -> KeyPair:
        """
        Make the pair that belongs to a secret key of 64 hex digits.

        :raises InvalidKey: for any other text.
        """
        return cls.from_secret(parse_key(text, "private key"))


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
    peer_key = _check_size(peer_key, "peer's public key")
    try:
        return SessionKeys(*exchange(pair.public, pair.secret, peer_key))
    except CryptoError:
        raise InvalidKey(
            "the peer's public key is a weak point that no real key is; check it for typing errors"
        ) from None


@lru_cache(maxsize=64)
def check_server_key(server_key: bytes) -> None:
    """
    See that a secret can be shared with a server's public key, which costs one X25519 the first time.

    :raises InvalidKey: as :func:`client_session_keys`.
    """
    client_session_keys(KeyPair.generate(), server_key)


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
    :raises InvalidKey: as :func:`client_session_keys`.
    """
    return _agree(bindings.crypto_kx_server_session_keys, pair, client_key)
