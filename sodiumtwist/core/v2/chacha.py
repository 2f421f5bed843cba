"""
ChaCha20-Poly1305 with a counter for its nonce, as Noise has it. The veil counts the same way.
"""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import Any

from ..errors import DecryptionFailed

#: What sealing adds.
TAG_SIZE = 16

_NONCE = Struct("<4xQ")


class Cipher:
    """
    Seals the messages of one key, or opens them, in order. OpenSSL has the key, which it overwrites when it is let go.

    :param key: 32 bytes, which no other cipher seals with.
    """

    __slots__ = ("_aead", "_counter")

    def __init__(self, key: bytes) -> None:
        self._aead = _aead()(key)
        self._counter = 0

    def seal(self, plain: bytes, data: bytes | None = None) -> bytes:
        """
        Seal the next message.

        :param plain: any number of bytes.
        :param data: what must be the same where it is opened.
        :return: 16 bytes more than ``plain`` has.
        """
        counter = self._counter
        # Before it is used: whatever is raised then, no second message gets it.
        self._counter = counter + 1
        sealed: bytes = self._aead.encrypt(_NONCE.pack(counter), plain, data)
        return sealed

    def open(self, sealed: bytes, data: bytes | None = None) -> bytes:
        """
        Open what :meth:`seal` made of the next message. When that has failed, no other will open.

        :raises DecryptionFailed: when something in it is not as it was.
        """
        if len(sealed) < TAG_SIZE:
            raise DecryptionFailed(f"a sealed message of {len(sealed)} bytes, less than its tag has")
        counter = self._counter
        self._counter = counter + 1
        try:
            plain: bytes = self._aead.decrypt(_NONCE.pack(counter), sealed, data)
        except _wrong_tag():
            raise DecryptionFailed("a sealed message does not open: another key, or altered on the way") from None
        return plain


def load() -> None:
    """Import what this needs, see :func:`.noise.load`."""
    _aead()
    _wrong_tag()


# Whoever speaks version 1 needs none of that, so it is imported when it is first used. PyNaCl has the same cipher, but
# its ways there cost more than the cipher does.


@cache
def _aead() -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305


@cache
def _wrong_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
