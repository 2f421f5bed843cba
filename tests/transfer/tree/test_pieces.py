"""
Tests of :mod:`sodiumtwist.transfer.tree.pieces`. Sentences in quotes are those of the page on files.
"""

from __future__ import annotations

from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import RemoteProtocolError
from sodiumtwist.protocol.sockets import CHUNK_SIZE
from sodiumtwist.transfer.tree.pieces import HEADER, LAST, PIECE_SIZE, VOID, header, split

Piece = tuple[int, int, int, bytes]


def join(*pieces: Piece) -> bytes:
    """Make a DATA of pieces."""
    return b"".join(header(number, flags, offset, len(data)) + data for number, flags, offset, data in pieces)


def read(payload: bytes) -> list[Piece]:
    return [(number, flags, offset, bytes(data)) for number, flags, offset, data in split(payload)]


def plainly(payload: bytes) -> tuple[list[Piece], bool]:
    """
    Read a DATA byte by byte, another way than :func:`split` does.

    :return: its pieces, and whether it keeps to the rules. Those before what breaks them are there.
    """
    found: list[Piece] = []
    if not payload:
        return found, False
    while payload:
        if len(payload) < 20:
            return found, False
        number, offset, size = (int.from_bytes(payload[a:b], "big") for a, b in ((0, 4), (8, 16), (16, 20)))
        data = payload[20 : 20 + size]
        if payload[4] not in (0, 1, 3) or any(payload[5:8]) or len(data) != size or offset + size > (1 << 63) - 1:
            return found, False
        found.append((number, payload[4], offset, data))
        payload = payload[20 + size :]
    return found, True


pieces = st.tuples(
    st.integers(0, 0xFFFFFFFF), st.sampled_from([0, LAST, LAST | VOID]), st.integers(0, 1 << 62), st.binary(max_size=30)
)


class PieceTests(SynchronousTestCase):
    """:func:`split` and :func:`header`."""

    def test_layout(self) -> None:
        """“Each piece has a header of 20 bytes.”"""
        piece = bytes.fromhex("01020304 01 000000 1112131415161718 00000002") + b"ab"
        self.assertEqual(join((0x01020304, LAST, 0x1112131415161718, b"ab")), piece)
        self.assertEqual(HEADER.size, 20)
        self.assertEqual(read(piece * 2), [(0x01020304, LAST, 0x1112131415161718, b"ab")] * 2)

    def test_as_long_as_others(self) -> None:
        """“A DATA is as long as others are.”"""
        self.assertEqual(len(join((0, 0, 0, bytes(PIECE_SIZE)))), CHUNK_SIZE)

    def test_views(self) -> None:
        """Data are not copied."""
        payload = join((0, LAST, 0, b"data"))
        ((_, _, _, data),) = split(payload)
        self.assertIs(data.obj, payload)

    @given(st.lists(pieces, min_size=1, max_size=6))
    def test_round_trip(self, several: list[Piece]) -> None:
        self.assertEqual(read(join(*several)), several)

    @given(st.binary(max_size=100))
    def test_garbage(self, payload: bytes) -> None:
        self.compare(payload)

    @given(st.lists(pieces, max_size=4), st.data())
    def test_damage(self, several: list[Piece], data: st.DataObject) -> None:
        """Pieces of which some bytes are others, or that are cut."""
        payload = bytearray(join(*several))
        for place in data.draw(st.lists(st.integers(0, max(0, len(payload) - 1)), max_size=3)):
            payload[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
        self.compare(bytes(payload[: data.draw(st.integers(0, len(payload)))]))
        self.compare(bytes(payload))

    def compare(self, payload: bytes) -> None:
        """“The pieces before it count.”"""
        expected, right = plainly(payload)
        found: list[Piece] = []
        try:
            for number, flags, offset, data in split(payload):
                found.append((number, flags, offset, bytes(data)))
        except RemoteProtocolError:
            self.assertFalse(right)
        else:
            self.assertTrue(right)
        self.assertEqual(found, expected)

    def test_broken(self) -> None:
        """What breaks the rules, one by one."""
        for broken, why in (
            (b"", "a DATA of no piece"),
            (join((0, 0, 0, b""))[:-1], "the header of a piece is cut short"),
            (join((0, 0, 0, b"ab"))[:-1], "a piece is cut short"),
            (join((0, VOID, 0, b"")), "breaks the rules"),
            (join((0, 4, 0, b"")), "breaks the rules"),
            (join((0, 0, (1 << 63) - 1, b"a")), "breaks the rules"),
            (join((0, 0, (1 << 64) - 1, b"")), "breaks the rules"),
            (b"\0\0\0\0\0\0\0\1" + bytes(12), "breaks the rules"),
        ):
            self.assertRegex(str(self.assertRaises(RemoteProtocolError, read, broken)), why)
        # That is where the largest file ends.
        self.assertEqual(read(join((0, LAST, (1 << 63) - 1, b""))), [(0, LAST, (1 << 63) - 1, b"")])
