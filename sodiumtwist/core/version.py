"""
What every version of the protocol is to the rest of the core, and what it takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Union

from .errors import LocalProtocolError

Buffer = Union[bytes, bytearray, memoryview]


@dataclass(frozen=True)
class RekeyAfter:
    """
    When a sender moves on to a new key that can't be calculated back, by secretstream's tag REKEY on
    the last message under the old one. Receivers, the reference programs' too, follow by themselves.

    :ivar size: bytes sent since the last time, on the wire.
    :ivar seconds: since the last time; the next PDU after that has the tag.
    :raises LocalProtocolError: for a size or a time below 1.
    """

    size: int = 2**30
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        if self.size < 1 or not (math.isfinite(self.seconds) and self.seconds >= 1):
            raise LocalProtocolError(
                f"a new key takes a size from 1 byte and a time from 1 second, not {self.size} and {self.seconds}"
            )
