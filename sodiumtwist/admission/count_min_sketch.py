"""
Counts of more keys than there is memory for.
"""

from __future__ import annotations

import os
from array import array
from hashlib import blake2b

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
    """

    def __init__(self) -> None:
        self._secret = os.urandom(16)
        self._counters = array("I", bytes(4 * ROWS * WIDTH))

    def _places(self, key: str) -> list[int]:
        digest = blake2b(key.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=4 * ROWS).digest()
        return [row * WIDTH + int.from_bytes(digest[4 * row : 4 * row + 4], "big") % WIDTH for row in range(ROWS)]

    def count(self, key: str) -> int:
        """Tell how often a key was counted, or some more."""
        return min(self._counters[place] for place in self._places(key))

    def add(self, key: str, times: int = 1) -> int:
        """
        Count a key.

        :return: how often it was counted by now, or some more.
        """
        places = self._places(key)
        counted = min(self._counters[place] for place in places) + times
        for place in places:
            self._counters[place] = max(self._counters[place], counted)
        return counted
