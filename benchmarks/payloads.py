"""
What is sent.
"""

from __future__ import annotations

import random

from .plan import SEED


def payload(size: int) -> bytes:
    """
    Make random bytes that are the same in every run.

    :param size: how many.
    """
    return random.Random(SEED).randbytes(size)
