"""
ChaCha20-Poly1305 with a counter for its nonce, as Noise has it. The veil counts the same way.
"""

from __future__ import annotations

from struct import Struct

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import DecryptionFailed

#: What sealing adds.
TAG_SIZE = 16

_NONCE = Struct("<4xQ")


def seal(key: bytes, counter: int, plain: bytes, data: bytes | None = None) -> bytes:
    """
    Seal a message.

    :param key: 32 bytes.
    :param counter: one that was never used with this key before.
    :param plain: any number of bytes.
    :param data: what must be the same where it is opened.
    :return: 16 bytes more than ``plain`` has.
    """
    return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plain, data, _NONCE.pack(counter), key)


def open_sealed(key: bytes, counter: int, sealed: bytes, data: bytes | None = None) -> bytes:
    """
    Open what :func:`seal` made.

    :raises DecryptionFailed: when something in it is not as it was.
    """
    if len(sealed) < TAG_SIZE:
        raise DecryptionFailed(f"a sealed message of {len(sealed)} bytes, less than its tag has")
    try:
        return bindings.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, data, _NONCE.pack(counter), key)
    except CryptoError:
        raise DecryptionFailed("a sealed message does not open: another key, or altered on the way") from None
