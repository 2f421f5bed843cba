"""
Sizes as people write them: ``500``, ``64K``, ``10G``.
"""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str) -> int:
    """
    Read a size.

    :param text: a number of bytes, or of KiB, MiB, GiB or TiB with one of K, M, G, T behind it.
    :raises ValueError: when it is something else.
    """
    found = re.fullmatch(r"([0-9]{1,18})([KMGT]?)", text.upper())
    if found is None:
        raise ValueError(text)
    return int(found[1]) * _UNITS[found[2]]
