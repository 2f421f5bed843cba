"""
The server's answer to each DATA of an upload.
"""

from __future__ import annotations

#: The size of an acknowledgement's payload in bytes.
ACKNOWLEDGEMENT_SIZE = 32


def acknowledgement(size: int) -> bytes:
    """
    Make the payload that acknowledges a DATA: a line of text, then NUL up to 32 bytes.

    :param size: of the acknowledged payload, in bytes.
    """
    return (b"DATA OK: RECEIVED %d BYTES" % size).ljust(ACKNOWLEDGEMENT_SIZE, b"\0")


def acknowledges(payload: bytes, size: int) -> bool:
    """
    Tell whether a payload acknowledges a DATA of ``size`` bytes. What follows the text's NUL is
    not looked at: the reference server leaves arbitrary bytes there.
    """
    return payload.partition(b"\0")[0] == acknowledgement(size).rstrip(b"\0")
