"""
X25519 keys: their text form of 64 hex digits, and the session keys that ``crypto_kx`` makes from two pairs.
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
    :param what: what the error calls the key. The error never shows the text.
    :return: 32 bytes.
    :raises InvalidKey: for any other text.
    """
    # A file's line ends with a newline, and what was copied from a terminal may have blanks.
    digits = text.strip()
    if len(digits) != 2 * KEY_SIZE:
        raise InvalidKey(f"the {what} has {len(digits)} characters; it is {2 * KEY_SIZE} hex digits")
    try:
        # bytes.fromhex() would skip white space between the digits, so that a shorter key could pass.
        return unhexlify(digits)
    except ValueError:
        raise InvalidKey(f"the {what} holds characters other than 0-9 and a-f") from None


def _check_size(key: bytes, what: str) -> bytes:
    # A str of 32 characters would pass a check of the size alone.
    if not isinstance(key, (bytes, bytearray, memoryview)):
        raise InvalidKey(f"the {what} is of type {type(key).__name__}; parse_key() makes bytes of 64 hex digits")
    if len(key) != KEY_SIZE:
        raise InvalidKey(f"the {what} is {len(key)} bytes long; it is {KEY_SIZE}")
    # The caller may change a bytearray later, and PyNaCl takes nothing but bytes.
    return bytes(key)


@dataclass(frozen=True)
class KeyPair:
    """
    An X25519 key pair, kept for long or made for one run.

    :ivar public: 32 bytes.
    :ivar secret: 32 bytes; ``repr`` does not show them.
    """

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> KeyPair:
        """Make a new pair from the operating system's random numbers."""
        return cls(*bindings.crypto_kx_keypair())

    @classmethod
    def from_secret(cls, secret: bytes) -> KeyPair:
        """
        Make the pair that belongs to a secret key.

        :param secret: 32 bytes.
        :raises InvalidKey: when it has another size.
        """
        secret = _check_size(secret, "private key")
        return cls(bindings.crypto_scalarmult_base(secret), secret)

    @classmethod
    def from_hex(cls, text: str) -> KeyPair:
        """
        Make the pair that belongs to a secret key in its text form.

        :param text: 64 hex digits; white space around them is allowed.
        :raises InvalidKey: for any other text.
        """
        return cls.from_secret(parse_key(text, "private key"))


@dataclass(frozen=True)
class SessionKeys:
    """
    The two keys that both ends of a connection share. What one end calls ``receive`` the other calls ``send``.

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


# A factory asks, and clients that connect again and again make many, often for one server. So the X25519 is
# calculated once for a key, not at each connection.
@lru_cache(maxsize=64)
def check_server_key(server_key: bytes) -> None:
    """
    Check that a secret can be shared with a server's public key. The first time for a key, this costs one X25519.

    :param server_key: the server's public key, 32 bytes.
    :raises InvalidKey: for another size, and for a point of low order, see :func:`client_session_keys`.
    """
    # Any pair will do: a point of low order fails with each of them.
    client_session_keys(KeyPair.generate(), server_key)


def client_session_keys(pair: KeyPair, server_key: bytes) -> SessionKeys:
    """
    Make a client's session keys: its half of ``crypto_kx``.

    :param pair: the client's key pair.
    :param server_key: the server's public key, 32 bytes.
    :raises InvalidKey: for another size, and for the few points of low order (zero is one of them). With such a
        point everybody would share the same secret.
    """
    return _agree(bindings.crypto_kx_client_session_keys, pair, server_key)


def server_session_keys(pair: KeyPair, client_key: bytes) -> SessionKeys:
    """
    Make a server's session keys: its half of ``crypto_kx``.

    :param pair: the server's key pair.
    :param client_key: the client's public key, 32 bytes.
    :raises InvalidKey: for another size, and for a point of low order, see :func:`client_session_keys`.
    """
    return _agree(bindings.crypto_kx_server_session_keys, pair, client_key)
