"""
Durations as people write them: ``90s``, ``30m``, ``24h``, ``7d``.
"""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


def parse_duration(text: str) -> int:
    """
    Read a duration.

    :param text: a number, and behind it one of s, m, h, d.
    :return: seconds.
    :raises ValueError: when it is something else.
    """
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text.lower())
    if found is None:
        raise ValueError(text)
    return int(found[1]) * _UNITS[found[2]]
