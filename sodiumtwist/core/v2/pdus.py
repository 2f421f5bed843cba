"""
The PDUs of protocol version 2 as bytes, without encryption, state or IO: several of them are the body of a record.
"""

from __future__ import annotations

from ..errors import MalformedPDU
from ..inbox import Buffer

#: A PDU: its kind, which is its type and whether it has MORE; its id; its payload.
PDU = tuple[int, int, bytes]


def read_body(body: Buffer) -> tuple[list[PDU], MalformedPDU | None]:
    """
    Read the body of a record.

    :param body: may be overwritten when this returns.
    :return: its PDUs, and what is wrong with the one behind them; ``None`` when that is nothing.
    """
    raise NotImplementedError
