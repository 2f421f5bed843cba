"""
Records: what both ways of calling libsodium share. These are :mod:`~sodiumtwist.core.v2.inner_bindings`, which is
quick, and :mod:`~sodiumtwist.core.v2.public_bindings`, which is always there.

A record is a head of 4 bytes and a body, each sealed with a tag. Nonces count, so records open in the order in which
they were sealed, each once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import DecryptionFailed, MalformedPDU
from ..inbox import Buffer, Inbox
from ..keys import KEY_SIZE
from ..version import RekeyAfter
from .suites import AEGIS_256, CHACHA20_POLY1305

#: The most bytes in a body: 128 KiB of payload, and 4 KiB of small PDUs beside it.
MAX_BODY = 135168

HEAD_SIZE = 4

#: In a head: this record is the last one under its key.
REKEY = 1 << 31

#: How a new key is told from all else that is made of the old one.
REKEY_PERSON = b"sodiumtwist-rkey"

TAG_SIZES = {AEGIS_256: 32, CHACHA20_POLY1305: 16}
NONCE_SIZES = {AEGIS_256: 32, CHACHA20_POLY1305: 12}

#: The number that a nonce is, read as little-endian, grows by so much a message: that of ChaCha20-Poly1305 begins with
#: 4 bytes that stay zero.
STEPS = {AEGIS_256: 1, CHACHA20_POLY1305: 1 << 32}


class _Direction:
    """
    What a sealer and an opener both are: a key, and a nonce that counts.

    :param suite: the number of a cipher, see :mod:`~sodiumtwist.core.v2.suites`.
    :param key: 32 bytes.
    :raises ValueError: for other numbers and sizes.
    :ivar overhead: how many bytes a record takes on the wire beyond its body.
    """

    __slots__ = ("_nonce", "_nonce_size", "_sealed_head_size", "_step", "_stride", "_tag_size", "overhead")

    def __init__(self, suite: int, key: bytes) -> None:
        if suite not in TAG_SIZES or len(key) != KEY_SIZE:
            raise ValueError(f"a key of {len(key)} bytes for suite {suite}")
        self._tag_size = TAG_SIZES[suite]
        self._nonce_size = NONCE_SIZES[suite]
        self._step = STEPS[suite]
        self._stride = 2 * self._step
        self._sealed_head_size = HEAD_SIZE + self._tag_size
        self.overhead = self._sealed_head_size + self._tag_size
        # Of the next head; that of its body is a step further.
        self._nonce = 0

    def _next_key(self) -> None:
        """Put the next key in the place of the old one, which it does not lead back to, and begin to count again."""
        raise NotImplementedError


class Sealer(_Direction):
    """
    Seals records, and moves on to a new key where one is due.

    :param suite: the number of a cipher, see :mod:`~sodiumtwist.core.v2.suites`.
    :param key: 32 bytes, the record key to send with.
    :param rekey_size: the record with which so many bytes have left under one key is the last one under it.
    :raises ValueError: for other numbers and sizes.
    :ivar overhead: how many bytes a record takes on the wire beyond its body.
    """

    __slots__ = ("_rekey_in", "_rekey_size")

    def __init__(self, suite: int, key: bytes, rekey_size: int = RekeyAfter.size) -> None:
        super().__init__(suite, key)
        self._rekey_in = self._rekey_size = rekey_size

    def seal(self, pieces: Sequence[Buffer], size: int, passing: bool = False) -> Any:
        """
        Seal one record.

        :param pieces: what its body is made of, in order.
        :param size: how many bytes they have together, at most 135168.
        :param passing: whether a view will do of memory in which the next record of this thread is sealed.
        :return: ``size + overhead`` bytes for the wire, as ``bytes`` unless such a view will do.
        :raises ValueError: when they have more, or not as many as it says.
        """
        raise NotImplementedError

    def rekey(self) -> None:
        """Have the next record be the last one under its key."""
        self._rekey_in = 0

    def _head(self, size: int) -> int:
        """Count a record, and make its head."""
        self._rekey_in -= size + self.overhead
        if self._rekey_in > 0:
            return size
        self._rekey_in = self._rekey_size
        return size | REKEY


class Opener(_Direction):
    """
    Opens records, in order, and follows the sender to its new keys.

    :param suite: the number of a cipher, see :mod:`~sodiumtwist.core.v2.suites`.
    :param key: 32 bytes, the record key to receive with.
    :raises ValueError: for other numbers and sizes.
    """

    __slots__ = ("_head",)

    def __init__(self, suite: int, key: bytes) -> None:
        super().__init__(suite, key)
        # That of a record whose body has not come whole: it can be opened only once.
        self._head: int | None = None

    @property
    def inside(self) -> bool:
        """Whether the head of a record was opened, and its body has not come whole."""
        return self._head is not None

    def get_buffer(self, inbox: Inbox) -> memoryview | None:
        """
        Tell where to receive what comes next.

        :param inbox: what was received, and is not opened yet.
        :return: of memory that all connections of this thread share; ``None`` where there is none.
        """
        return None

    def received(self, inbox: Inbox, size: int) -> bool:
        """
        Note that something was received where :meth:`get_buffer` has told.

        :param inbox: for which.
        :param size: how many bytes.
        :return: whether there may be something to open.
        """
        raise NotImplementedError

    def receive(self, inbox: Inbox) -> Buffer | None:
        """
        Open the next record. When this has failed, the connection is over.

        :param inbox: what was received.
        :return: its body, which may be empty; ``None`` when it has not come whole. A large one is a view of memory
            in which the next record of this thread is opened: take out of it at once what is to stay.
        :raises DecryptionFailed: when it was altered, or is not the next one.
        :raises MalformedPDU: when it is too large, or a spare bit of its head is set; its body need not have come.
        """
        head = self._head
        if head is None:
            taken = inbox.take(self._sealed_head_size)
            if taken is None:
                return None
            sealed_head = self._open(self._nonce, *taken, HEAD_SIZE)
            self._head = head = self._judged(int.from_bytes(sealed_head, "big"))
        size = head & ~REKEY
        taken = inbox.take(size + self._tag_size)
        if taken is None:
            return None
        body = self._open(self._nonce + self._step, *taken, size)
        self._head = None
        if head & REKEY:
            self._next_key()
        else:
            self._nonce += self._stride
        return body

    def _open(self, nonce: int, data: Buffer, offset: int, size: int) -> Buffer:
        """
        Open one message where it lies.

        :param nonce: its number.
        :param data: what was received.
        :param offset: where in ``data`` the sealed message begins; it is there whole.
        :param size: its plaintext's size.
        :raises DecryptionFailed: when it was altered, or is not the one of this number.
        """
        raise NotImplementedError

    @staticmethod
    def _judged(head: int) -> int:
        """
        Look at a head before the body comes.

        :return: the same.
        :raises MalformedPDU: when the body is too large, or a spare bit is set.
        """
        size = head & ~REKEY
        if size > MAX_BODY:
            if size >> 24:
                raise MalformedPDU(f"a record whose head has a spare bit set: {head:#010x}")
            raise MalformedPDU(f"a record of {size} bytes; at most {MAX_BODY} are allowed")
        return head

    @staticmethod
    def _failed() -> DecryptionFailed:
        return DecryptionFailed("a record does not open; it was altered on the way or sent out of order")
