"""
Messages that come in parts, put together within bounds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """
    How much a peer may make us keep.

    :ivar message: bytes of one REQUEST or ANSWER.
    :ivar connection: bytes of all messages of a connection that are not put together yet. Those in one part do not
        count.
    :ivar requests: REQUESTs that are not answered, counted from their first part until the answer has left.
    :ivar refused: REQUESTs beyond those, whose FAILURE has not left or whose last part has not come.
    :ivar pongs: PINGs whose PONG has not left; then reading stops.
    """

    message: int = 16 * 2**20
    connection: int = 64 * 2**20
    requests: int = 1024
    refused: int = 65536
    pongs: int = 64
