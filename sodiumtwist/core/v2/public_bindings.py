"""
Records over PyNaCl's public bindings, which copy each message more often and take only ``bytes``. They are there with
every PyNaCl.

An old key is let go here, and not overwritten: ``bytes`` can't be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from nacl import bindings
from nacl.exceptions import CryptoError

from ..inbox import Buffer
from ..keys import KEY_SIZE
from ..version import RekeyAfter
from .sealing import HEAD_SIZE, MAX_BODY, REKEY, REKEY_PERSON, Opener, Sealer
from .suites import AEGIS_256, CHACHA20_POLY1305

_ENCRYPT = {
    AEGIS_256: bindings.crypto_aead_aegis256_encrypt,
    CHACHA20_POLY1305: bindings.crypto_aead_chacha20poly1305_ietf_encrypt,
}
_DECRYPT = {
    AEGIS_256: bindings.crypto_aead_aegis256_decrypt,
    CHACHA20_POLY1305: bindings.crypto_aead_chacha20poly1305_ietf_decrypt,
}


def _next_key(key: bytes) -> bytes:
    return hashlib.blake2b(digest_size=KEY_SIZE, key=key, person=REKEY_PERSON).digest()


class PublicSealer(Sealer):
    __doc__ = f"Over PyNaCl's public bindings.\n{Sealer.__doc__}"
    __slots__ = ("_encrypt", "_key")

    def __init__(self, suite: int, key: bytes, rekey_size: int = RekeyAfter.size) -> None:
        super().__init__(suite, key, rekey_size)
        self._encrypt = _ENCRYPT[suite]
        self._key = bytes(key)

    def seal(self, pieces: Sequence[Buffer], size: int, passing: bool = False) -> Any:
        body = b"".join(pieces)
        if len(body) != size or size > MAX_BODY:
            raise ValueError(f"a record of {size} bytes from {len(body)}")
        number = self._nonce
        self._nonce = number + self._stride  # first: whatever is raised, no number is used twice
        head = self._head(size)
        sealed = self._sealed(number, head.to_bytes(HEAD_SIZE, "big")) + self._sealed(number + self._step, body)
        if head & REKEY:
            self._next_key()
        return sealed

    def _sealed(self, nonce: int, message: bytes) -> bytes:
        return self._encrypt(message, None, nonce.to_bytes(self._nonce_size, "little"), self._key)

    def _next_key(self) -> None:
        self._key, self._nonce = _next_key(self._key), 0


class PublicOpener(Opener):
    __doc__ = f"Over PyNaCl's public bindings.\n{Opener.__doc__}"
    __slots__ = ("_decrypt", "_key")

    def __init__(self, suite: int, key: bytes) -> None:
        super().__init__(suite, key)
        self._decrypt = _DECRYPT[suite]
        self._key = bytes(key)

    def _open(self, nonce: int, data: Buffer, offset: int, size: int) -> Buffer:
        sealed = bytes(memoryview(data)[offset : offset + size + self._tag_size])
        try:
            return self._decrypt(sealed, None, nonce.to_bytes(self._nonce_size, "little"), self._key)
        except CryptoError:
            raise self._failed() from None

    def _next_key(self) -> None:
        self._key, self._nonce = _next_key(self._key), 0
