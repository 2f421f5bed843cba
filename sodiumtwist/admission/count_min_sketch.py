"""
Counts of more keys than there is memory for.
"""

from __future__ import annotations

import os
from array import array
from hashlib import blake2b
from typing import Any

#: Counters in each of the rows. An estimate is too high by what all keys together were counted, divided by this; seldom
#: by more.
WIDTH = 1 << 16

#: Rows. An estimate is far too high only when it is so in each of them.
ROWS = 4


class CountMinSketch:
    """
    Counts keys in 1 MiB, however many there are. A count is never too low. It can be too high where very many keys are
    counted, see Cormode and Muthukrishnan, "An improved data stream summary", 2005; with their conservative update.
    Nobody can choose keys that share their counters, for that depends on a secret.

    :param secret: 16 bytes; ``None`` for one of its own.
    :param counters: memory for it, of :data:`ROWS` times :data:`WIDTH` numbers; ``None`` for some of its own.
    """

    def __init__(self, secret: bytes | None = None, counters: memoryview | None = None) -> None:
        self._secret = os.urandom(16) if secret is None else secret
        self._counters: Any = array("I", bytes(4 * ROWS * WIDTH)) if counters is None else counters

    def places(self, key: str) -> list[int]:
        """Find the counters of a key. They are the same in all sketches with the same secret."""
        digest = blake2b(key.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=4 * ROWS).digest()
        return [row * WIDTH + int.from_bytes(digest[4 * row : 4 * row + 4], "big") % WIDTH for row in range(ROWS)]

    def count(self, key: str) -> int:
        """Tell how often a key was counted, or some more."""
        return self.count_at(self.places(key))

    def count_at(self, places: list[int]) -> int:
        """The same, by its places."""
        least: int = min([self._counters[place] for place in places])
        return least

    def add(self, key: str, times: int = 1) -> int:
        """
        Count a key.

        :return: how often it was counted by now, or some more.
        """
        places = self.places(key)
        counted = self.count_at(places) + times
        for place in places:
            self._counters[place] = max(self._counters[place], counted)
        return counted

    def change(self, key: str, by: int) -> None:
        """
        Count a key, or no longer. Not for a sketch in which :meth:`add` counts: what that leaves out can't be taken
        back.
        """
        for place in self.places(key):
            self._counters[place] += by

    def clear(self) -> None:
        """Forget all."""
        memoryview(self._counters).cast("B")[:] = bytes(4 * ROWS * WIDTH)
