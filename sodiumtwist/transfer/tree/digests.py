"""
Digests of what is in a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b

from .messages import DIGEST_SIZE

#: How many bytes of a file are read at once for its digest.
DIGEST_STEP = 256 * 1024

_ZEROS = bytes(DIGEST_STEP)


class RunningDigest:
    """
    The digest of a file from its beginning: BLAKE2b.

    :param check: called again and again in what takes long; it may raise to end that.
    :ivar size: of how many bytes.
    """

    def __init__(self, check: Callable[[], None] | None = None) -> None:
        self.size = 0
        self._check = check
        self._hash = blake2b(digest_size=DIGEST_SIZE)

    def update(self, data: bytes | memoryview) -> None:
        """Go on with what follows."""
        self._hash.update(data)
        self.size += len(data)

    def update_zeros(self, size: int) -> None:
        """
        Go on with a hole.

        :param size: in bytes.
        """
        for start in range(0, size, DIGEST_STEP):
            if self._check is not None:
                self._check()
            self.update(memoryview(_ZEROS)[: size - start])

    def read(self, fd: int, size: int) -> None:
        """
        Go on with what is in a file.

        :param size: up to where, in bytes. When the file ends before, so does this.
        :raises OSError: when it can't be read.
        """
        while self.size < size:
            if self._check is not None:
                self._check()
            data = os.pread(fd, min(DIGEST_STEP, size - self.size), self.size)
            if not data:
                return
            self.update(data)

    def digest(self) -> bytes:
        """Give the digest so far."""
        return self._hash.digest()


def digest_of(fd: int, size: int, check: Callable[[], None] | None = None) -> bytes:
    """
    Make the digest of the beginning of a file.

    :param size: how many bytes of it. When the file has fewer, it is the digest of these.
    :param check: called again and again; it may raise to end that.
    :raises OSError: when it can't be read.
    """
    digest = RunningDigest(check)
    digest.read(fd, size)
    return digest.digest()
