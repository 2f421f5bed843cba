"""
What the handshake looks like on the wire: random bytes, to who lacks the server's public key.

Such a one can't make a frame that opens, so a server knows strangers by 50 bytes, before it multiplies any point.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol

from nacl import bindings

from ..errors import DecryptionFailed, LocalProtocolError, MalformedPDU
from .chacha import TAG_SIZE, Cipher

SALT_SIZE = 32
#: The largest message of the handshake, before it is put into a frame.
MESSAGE_LIMIT = 8192
#: The sealed size of a message, which goes before it.
SEALED_SIZE_SIZE = 2 + TAG_SIZE
#: What each end sends first: its salt, and the size of a message.
OPENING_SIZE = SALT_SIZE + SEALED_SIZE_SIZE
#: How many salts a server remembers, where it has no better memory.
REMEMBERED_SALTS = 100_000

#: How long the printable run may be with which a salt begins. A rule by which flows of random bytes
#: are blocked lets those pass that begin with six printable bytes: "How the Great Firewall of China Detects and Blocks
#: Fully Encrypted Traffic", USENIX Security 2023. At least 20 bytes of a salt stay wholly random.
_RUNS = range(6, 13)
_PRINTABLE = range(0x20, 0x7F)


def _evenly(values: Sequence[int]) -> tuple[bytes, bytes]:
    """Return what makes such values of random bytes, each as often as the others; and the bytes that it drops."""
    count = len(values)
    return bytes(values[byte % count] for byte in range(256)), bytes(range(256 - 256 % count, 256))


_RUN, _CHARACTER = _evenly(_RUNS), _evenly(_PRINTABLE)


def _draw(count: int, evenly: tuple[bytes, bytes], random: Callable[[int], bytes]) -> bytes:
    drawn = b""
    while len(drawn) < count:
        # As many as nearly always are enough: each call asks the system.
        drawn += random(3 * count).translate(*evenly)
    return drawn[:count]


def make_salt(random: Callable[[int], bytes] = bindings.randombytes) -> bytes:
    """
    Make the 32 bytes with which a client begins.

    :param random: makes so many random bytes.
    """
    run = _draw(1, _RUN, random)[0]
    return _draw(run, _CHARACTER, random) + random(SALT_SIZE - run)


class Veil:
    """
    Seals the frames of one direction, or opens them.

    :param server_key: the server's public key, 32 bytes.
    :param salts: the client's salt; for frames from the server, its own salt behind it.
    :ivar open_message: opens what is behind the front: as many bytes as :meth:`open_size` returned. It raises
        :exc:`DecryptionFailed` when that was sealed with another key.
    """

    def __init__(self, server_key: bytes, salts: bytes) -> None:
        self._cipher = cipher = Cipher(
            blake2b(salts, digest_size=32, key=server_key, person=b"sodiumtwist2veil").digest()
        )
        self.open_message = cipher.open

    def seal(self, message: bytes) -> bytes:
        """
        Make a frame.

        :param message: 1 to 8192 bytes.
        :return: 34 bytes more.
        """
        seal = self._cipher.seal
        return seal(len(message).to_bytes(2, "big")) + seal(message)

    def open_size(self, sealed: bytes) -> int:
        """
        Open the front of a frame.

        :param sealed: 18 bytes.
        :return: how many bytes are still to come of it.
        :raises DecryptionFailed: when it was sealed with another key.
        :raises MalformedPDU: when the message is none of 1 to 8192 bytes.
        """
        size = int.from_bytes(self._cipher.open(sealed), "big")
        if not 1 <= size <= MESSAGE_LIMIT:
            raise MalformedPDU(f"a handshake message of {size} bytes; it has 1 to {MESSAGE_LIMIT}")
        return size + TAG_SIZE


def opens(server_key: bytes, opening: bytes) -> bool:
    """
    Tell whether a client speaks version 2 with the server of this key. It takes no multiplication.

    :param server_key: the server's public key, 32 bytes.
    :param opening: the first 50 bytes of what came.
    """
    veil = Veil(server_key, opening[:SALT_SIZE])
    try:
        veil.open_size(opening[SALT_SIZE:OPENING_SIZE])
    except DecryptionFailed:
        return False
    except MalformedPDU:
        pass  # it is sealed, only not with what it should be
    return True


class Salts(Protocol):
    """
    Remembers the salts of clients, so that a recorded first flight gets no second answer.
    """

    def seen(self, salt: bytes) -> bool:
        """
        Tell whether a salt is remembered. It is asked before anything is multiplied.

        :param salt: 32 bytes.
        """

    def remember(self, salt: bytes) -> None:
        """
        Remember a salt, whose client has sent what nobody else could have made.

        :param salt: 32 bytes.
        """


class RecentSalts:
    """
    Remembers salts until the process ends. Beyond the limit the oldest are forgotten. A salt takes some 120 bytes, so
    the default limit takes at most 12 MB.

    :param limit: how many to remember.
    :raises LocalProtocolError: when that is less than one.
    """

    def __init__(self, limit: int = REMEMBERED_SALTS) -> None:
        if limit < 1:
            raise LocalProtocolError(f"a limit of {limit} salts remembers none; 1 is the least")
        self._limit = limit
        self._salts: set[bytes] = set()
        self._order: deque[bytes] = deque()

    def seen(self, salt: bytes) -> bool:
        """As :class:`Salts` has it."""
        return salt in self._salts

    def remember(self, salt: bytes) -> None:
        """As :class:`Salts` has it."""
        if salt not in self._salts:
            self._salts.add(salt)
            self._order.append(salt)
            if len(self._order) > self._limit:
                self._salts.remove(self._order.popleft())
