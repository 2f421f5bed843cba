"""
X25519 keys, and their text form of 64 hex digits.
"""

from __future__ import annotations

from binascii import unhexlify
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


def check_size(key: bytes, what: str) -> bytes:
    """
    Return a key as ``bytes``.

    :param what: what to call it in the error, which never shows the key.
    :raises InvalidKey: when it is not 32 bytes.
    """
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
        secret = check_size(secret, "private key")
        return cls(bindings.crypto_scalarmult_base(secret), secret)

    @classmethod
    def from_hex(cls, text: str) -> KeyPair:
        """
        Make the pair that belongs to a secret key of 64 hex digits.

        :raises InvalidKey: for any other text.
        """
        return cls.from_secret(parse_key(text, "private key"))


def check_server_key(server_key: bytes) -> None:
    """
    See that a secret can be shared with a server's public key, which costs one X25519 the first time.

    :param server_key: the server's public key, 32 bytes.
    :raises InvalidKey: for another size, and for the few points of low order (zero among them)
        with which any two parties would share the same secret.
    """
    if not _is_point(check_size(server_key, "peer's public key")):
        raise weak_point()


@lru_cache(maxsize=64)
def _is_point(key: bytes) -> bool:
    try:
        # Any scalar will do: a point of low order gives zero with each of them, and libsodium refuses that.
        bindings.crypto_scalarmult(bytes(range(KEY_SIZE)), key)
    except CryptoError:
        return False
    return True


def weak_point() -> InvalidKey:
    """Make the error about a key that no real key is."""
    return InvalidKey("the peer's public key is a weak point that no real key is; check it for typing errors")
