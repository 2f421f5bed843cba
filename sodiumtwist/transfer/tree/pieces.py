"""
The bytes of files on their way: *pieces*, one behind the other in each DATA of the sender, so that many small files
share one DATA, and a large one takes many.

Each piece has a header of 20 bytes, big-endian, and its data:

====== ==== ===================================================================
offset size
====== ==== ===================================================================
0      4    number of the entry
4      1    flags: 1 LAST, nothing of this file follows; 2 VOID
5      3    zero
8      8    where in the file the data belong, in bytes
16     4    how many bytes of data follow
====== ==== ===================================================================

The pieces of one file come in order, and all of them before those of the next one; files come by their numbers. What
lies between two pieces is zero: the holes of a file are not sent. The first piece tells where the sender begins: behind
what is there already, or at 0. Where something is there, it has exactly one of these offsets, and no data when a hole
follows. LAST may have no data; then its offset is where the file ends. With VOID and LAST the sender takes back what it
has sent of the file, and the data are a line that says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from ...core.errors import RemoteProtocolError
from ...protocol.sockets import CHUNK_SIZE

HEADER = Struct(">IB3sQI")

LAST, VOID = 1, 2

#: How many bytes of one file a DATA takes at most, so that it is as long as other DATA are.
PIECE_SIZE = CHUNK_SIZE - HEADER.size

_ZERO = bytes(3)


def header(number: int, flags: int, offset: int, size: int) -> bytes:
    """
    Make the header of a piece.

    :param number: of the entry.
    :param flags: the sum of :data:`LAST` and :data:`VOID`.
    :param offset: where its data belong, in bytes.
    :param size: of its data, in bytes.
    """
    return HEADER.pack(number, flags, _ZERO, offset, size)


def split(payload: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """
    Take the pieces out of a DATA.

    :return: number, flags, offset and data of each. The data are a view of the payload.
    :raises RemoteProtocolError: when it breaks the rules.
    """
    view = memoryview(payload)
    start = 0
    if not payload:
        raise RemoteProtocolError("a DATA of no piece")
    while start < len(payload):
        begin = start + HEADER.size
        if begin > len(payload):
            raise RemoteProtocolError("the header of a piece is cut short")
        number, flags, zero, offset, size = HEADER.unpack_from(payload, start)
        start = begin + size
        if start > len(payload):
            raise RemoteProtocolError("a piece is cut short")
        if zero != _ZERO or flags not in (0, LAST, LAST | VOID) or offset + size >= 1 << 63:
            raise RemoteProtocolError("the header of a piece breaks the rules")
        yield number, flags, offset, view[begin:start]
