"""
Records made and opened by hand from the wire document, with none of our own packing: so what ours would refuse to say
can be said, too.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl import bindings
from nacl.exceptions import CryptoError

AEGIS, CHACHA = 1, 2
SUITES = (AEGIS, CHACHA)
TAG_SIZES = {AEGIS: 32, CHACHA: 16}
LARGEST = 135168
REKEY = 0x80000000


class CannotOpen(Exception):
    """A tag is wrong."""


def _nonce(suite: int, number: int) -> bytes:
    counter = number.to_bytes(8, "little")
    return counter + bytes(24) if suite == AEGIS else bytes(4) + counter


class _Plain:
    """One direction: a key, and the number of its next message."""

    def __init__(self, suite: int, key: bytes) -> None:
        self.suite, self.key, self.number = suite, key, 0
        self.tag_size = TAG_SIZES[suite]

    def rekey(self) -> None:
        self.key = hashlib.blake2b(b"", digest_size=32, key=self.key, person=b"sodiumtwist-rkey").digest()
        self.number = 0

    def next_nonce(self) -> bytes:
        self.number += 1
        return _nonce(self.suite, self.number - 1)


class PlainSealer(_Plain):
    """Seals what it is told to."""

    def message(self, plain: bytes) -> bytes:
        """One message, which may be a head or a body."""
        if self.suite == AEGIS:
            return bindings.crypto_aead_aegis256_encrypt(plain, None, self.next_nonce(), self.key)
        sealed: bytes = ChaCha20Poly1305(self.key).encrypt(self.next_nonce(), plain, None)
        return sealed

    def record(self, body: bytes, rekey: bool = False, head: int | None = None) -> bytes:
        """
        One record.

        :param head: what its head says; ``None`` for what is right.
        """
        if head is None:
            head = len(body) | (REKEY if rekey else 0)
        sealed = self.message(head.to_bytes(4, "big")) + self.message(body)
        if rekey:
            self.rekey()
        return sealed


class PlainOpener(_Plain):
    """Opens what it is given."""

    def message(self, sealed: bytes) -> bytes:
        """One message, whole."""
        nonce = self.next_nonce()
        try:
            if self.suite == AEGIS:
                return bindings.crypto_aead_aegis256_decrypt(sealed, None, nonce, self.key)
            opened: bytes = ChaCha20Poly1305(self.key).decrypt(nonce, sealed, None)
        except (CryptoError, InvalidTag):
            raise CannotOpen from None
        return opened

    def records(self, wire: bytes) -> list[tuple[bytes, bool]]:
        """The bodies of whole records, each with whether a new key comes behind it."""
        records = []
        while wire:
            middle = 4 + self.tag_size
            head = int.from_bytes(self.message(wire[:middle]), "big")
            end = middle + (head & ~REKEY) + self.tag_size
            records.append((self.message(wire[middle:end]), bool(head & REKEY)))
            if head & REKEY:
                self.rekey()
            wire = wire[end:]
        return records
