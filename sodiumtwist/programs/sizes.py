"""
Sizes as people write them: ``500``, ``64K``, ``10G``, and as our programs show them: ``10 GiB``, ``12 MB``.
"""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str) -> int:
    """
    Read a size.

    :param text: a number of bytes, or of KiB, MiB, GiB or TiB with one of K, M, G, T behind it, or the unit's whole
        name. In kB, MB, GB and TB a thousand of one unit are one of the next.
    :raises ValueError: when it is something else.
    """
    found = re.fullmatch(r"([0-9]{1,18}) ?([KMGT]?)(IB|B|)", text.upper())
    if found is None or (found[3] == "IB" and not found[2]):
        raise ValueError(text)
    unit = _UNITS[found[2]]
    return int(found[1]) * (1000 ** (unit.bit_length() // 10) if found[3] == "B" else unit)
