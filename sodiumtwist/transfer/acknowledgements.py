"""
The server's answer to each DATA of an upload.
"""

from __future__ import annotations

from functools import lru_cache

#: The size of an acknowledgement's payload in bytes.
ACKNOWLEDGEMENT_SIZE = 32


@lru_cache(maxsize=2)  # nearly all DATA of an upload have one size
def acknowledgement(size: int) -> bytes:
    """
    Make the payload that acknowledges a DATA: a text, then NULs up to 32 bytes, as the reference server does.

    :param size: of the acknowledged payload, in bytes.
    """
    return (b"DATA OK: RECEIVED %d BYTES" % size).ljust(ACKNOWLEDGEMENT_SIZE, b"\0")


def acknowledges(payload: bytes, size: int) -> bool:
    """
    Tell whether a payload acknowledges a DATA.

    :param size: of the DATA's payload, in bytes.
    """
    usual = acknowledgement(size)
    # Only the text: the reference server leaves bytes of its stack behind the NUL.
    return payload == usual or payload.partition(b"\0")[0] == usual.rstrip(b"\0")


def is_acknowledgement(payload: bytes) -> bool:
    """
    Tell whether a payload acknowledges a DATA of any size.
    """
    text, nul, _ = payload.partition(b"\0")
    size = text.removeprefix(b"DATA OK: RECEIVED ").removesuffix(b" BYTES")
    return bool(nul) and size.isdigit() and len(payload) == ACKNOWLEDGEMENT_SIZE and acknowledges(payload, int(size))
