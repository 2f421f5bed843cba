"""
Tests of :mod:`sodiumtwist.core.v2.pdus`. Sentences in quotes are the wire document's.
"""

from __future__ import annotations

from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import LocalProtocolError, MalformedPDU
from sodiumtwist.core.v2 import pdus
from sodiumtwist.core.v2.pdus import (
    RULES,
    UNKNOWN,
    BrokenAbort,
    Code,
    PDUType,
    Sender,
    describe_code,
    name_of,
    pack_line,
    pack_padding,
    pack_reason,
    read_body,
    read_line,
    read_reason,
)

from .talk import ROOM, TYPES, pdu, read, reason, shown

#: A right PDU of each type.
RIGHT = {
    "WELCOME": pdu("WELCOME", b"Welcome."),
    "REFUSED": pdu("REFUSED", reason(1, "no")),
    "DATA": pdu("DATA", b"data"),
    "PING": pdu("PING", b"12345678", 7),
    "PONG": pdu("PONG", b"12345678", 7),
    "REQUEST": pdu("REQUEST", b"question", 7),
    "ANSWER": pdu("ANSWER", b"answer", 7),
    "FAILURE": pdu("FAILURE", reason(7, "no such thing"), 7),
    "END": pdu("END"),
    "PADDING": pdu("PADDING", bytes(20)),
    "DRAIN": pdu("DRAIN"),
    "ABORT": pdu("ABORT", reason(4, "stopping")),
    "CANCEL": pdu("CANCEL", b"", 7),
}
NUMBERED = {"PING", "PONG", "REQUEST", "ANSWER", "FAILURE", "CANCEL"}
EMPTY = {"END", "DRAIN", "CANCEL"}
REASONS = {"REFUSED", "FAILURE", "ABORT"}
IN_PARTS = {"REQUEST", "ANSWER"}


class ReadTestCase(SynchronousTestCase):
    def assert_broken(self, broken: bytes, pattern: str) -> None:
        """The PDUs before it count."""
        found, error = read_body(pdu("DATA", b"before") + broken)
        self.assertEqual(shown(found), [("DATA", False, 0, b"before")])
        self.assertIsInstance(error, MalformedPDU)
        self.assertRegex(str(error), pattern)
        self.assertIs(isinstance(error, BrokenAbort), broken[0] == TYPES["ABORT"])


class LayoutTests(ReadTestCase):
    """The layout."""

    def test_header(self) -> None:
        """“12 bytes, then size bytes”: type, flags, zero, id, size."""
        body = bytes.fromhex("06 01 0000 01020304 00000002") + b"ab"
        self.assertEqual(read(body), [("REQUEST", True, 0x01020304, b"ab")])

    def test_types(self) -> None:
        """The types have the document's numbers, and each has its rule."""
        self.assertEqual({name: int(number) for name, number in PDUType.__members__.items()}, TYPES)
        self.assertEqual(set(RULES), set(PDUType))

    def test_kinds(self) -> None:
        """A kind is a header's first four bytes."""
        for name in TYPES:
            self.assertEqual(getattr(pdus, name), int.from_bytes(pdu(name)[:4], "big"), name)
            self.assertEqual(name_of(getattr(pdus, name)), name)
        for name in IN_PARTS:
            kind = getattr(pdus, f"{name}_PART")
            self.assertEqual(kind, int.from_bytes(pdu(name, more=True)[:4], "big"))
            self.assertEqual(name_of(kind), name)
        self.assertEqual(name_of(UNKNOWN), "PDU of type 128")

    def test_from(self) -> None:
        """The column “from”."""
        self.assertEqual(
            {name for name in TYPES if RULES[PDUType[name]].sender is Sender.SERVER}, {"WELCOME", "REFUSED"}
        )

    def test_whole_pdus(self) -> None:
        """“The body holds whole PDUs, one behind the other, any number”."""
        names = [name for name in RIGHT if name != "ABORT"]
        found = read(b"".join(RIGHT[name] for name in names))
        self.assertEqual([one[0] for one in found], names)
        for name, one in zip(names, found, strict=True):
            payload = b"" if name == "PADDING" else RIGHT[name][12:]
            self.assertEqual(one, (name, False, 7 if name in NUMBERED else 0, payload))

    def test_none(self) -> None:
        """“... also none”."""
        self.assertEqual(read(b""), [])

    def test_body_may_be_overwritten(self) -> None:
        """What was read stays, however large it is."""
        for size in (0, 1, 100, 5000, ROOM - 12):
            scratch = bytearray(pdu("DATA", b"x" * size))
            found, _ = read_body(memoryview(scratch))
            scratch[:] = bytes(len(scratch))
            self.assertEqual(shown(found), [("DATA", False, 0, b"x" * size)])
            self.assertIs(type(found[0][2]), bytes)

    def test_small_behind_large(self) -> None:
        body = pdu("ANSWER", bytes(65536), 1, more=True) + pdu("PONG", b"x", 2) + pdu("PADDING", bytes(9))
        expected = [("ANSWER", True, 1, bytes(65536)), ("PONG", False, 2, b"x"), ("PADDING", False, 0, b"")]
        for buffer in (body, bytearray(body), memoryview(body)):
            found, error = read_body(buffer)
            self.assertIsNone(error)
            self.assertEqual(shown(found), expected)

    def test_any_id(self) -> None:
        """“0 is legal”, and so is the highest."""
        for name in NUMBERED:
            for id in (0, 2**32 - 1):
                self.assertEqual(read(pdu(name, RIGHT[name][12:], id))[0][2], id)

    def test_sizes(self) -> None:
        """The smallest and the largest payload of each type."""
        for name in TYPES:
            sizes = [0, ROOM - 12]
            if name in EMPTY:
                sizes = [0]
            elif name in REASONS:
                sizes = [4, 4 + 1024]
            elif name == "WELCOME":
                sizes = [0, 1024]
            elif name in ("PING", "PONG"):
                sizes = [0, 64]
            self.assertEqual([RULES[PDUType[name]].smallest, RULES[PDUType[name]].largest], [sizes[0], sizes[-1]])
            for size in sizes:
                self.assertEqual(len(read(pdu(name, bytes(size)))), 1)

    def test_unknown(self) -> None:
        """“Unknown types from 128 on (only their size counts)” are passed over."""
        for number in (128, 131, 255):
            body = pdu(number, b"what", 9, more=True, spare=0xFFFF) + pdu("END")
            self.assertEqual(read(body), [(128, False, 0, b""), ("END", False, 0, b"")])

    def test_behind_an_abort(self) -> None:
        """“What follows it is dropped”, right or wrong."""
        for behind in (pdu("DATA", b"x"), pdu(99), b"\x01"):
            self.assertEqual(read(RIGHT["ABORT"] + behind), [("ABORT", False, 0, reason(4, "stopping"))])


class BrokenTests(ReadTestCase):
    """What rule 7 has of PDUs by themselves."""

    def test_cut(self) -> None:
        """“A PDU cut by its record's end”."""
        for name, right in RIGHT.items():
            for place in range(1, len(right)):
                if place < 12:
                    found, error = read_body(right[:place])
                    self.assertEqual((found, str(error)), ([], "the header of a PDU cut by the end of its record"))
                else:
                    self.assert_broken(right[:place], f"{name} cut by the end")
        self.assert_broken(pdu(200, b"ab")[:-1], "PDU of type 200 cut by the end")

    def test_unknown(self) -> None:
        """“An unknown type below 128”."""
        for number in (0, 14, 127):
            self.assert_broken(pdu(number), f"PDU of type {number}, which is not known")

    def test_more(self) -> None:
        """“MORE on another type”."""
        for name in set(TYPES) - IN_PARTS:
            self.assert_broken(pdu(name, RIGHT[name][12:], more=True), f"{name} in parts")

    def test_empty_part(self) -> None:
        """“An empty part with MORE”."""
        for name in IN_PARTS:
            self.assert_broken(pdu(name, b"", 7, more=True), f"{name} with an empty part")
            self.assertEqual(read(pdu(name, b"x", 7, more=True)), [(name, True, 7, b"x")])

    def test_flags_and_spare_bits(self) -> None:
        """“Any flag or spare bit”."""
        for name, right in RIGHT.items():
            for bit in [*range(1, 8), *range(8, 24)]:
                word = int.from_bytes(right[:4], "big")
                word |= 1 << (16 + bit if bit < 8 else bit - 8)
                self.assert_broken(word.to_bytes(4, "big") + right[4:], f"{name} with flags and spare bits")

    def test_id(self) -> None:
        """“An id where there is none”."""
        for name in set(TYPES) - NUMBERED:
            self.assert_broken(pdu(name, RIGHT[name][12:], 1), f"{name} with the id 1")

    def test_payload(self) -> None:
        """“A payload where there is none”."""
        for name in EMPTY:
            self.assert_broken(pdu(name, b"x"), f"{name} of 1 bytes; it has 0 to 0")

    def test_code(self) -> None:
        """“A code cut short”."""
        for name in REASONS:
            for size in range(4):
                self.assert_broken(pdu(name, bytes(size)), f"{name} of {size} bytes; it has 4 to 1028")

    def test_line(self) -> None:
        """“A line over 1024 bytes”."""
        self.assert_broken(pdu("WELCOME", bytes(1025)), "WELCOME of 1025 bytes; it has 0 to 1024")
        for name in REASONS:
            self.assert_broken(pdu(name, bytes(1029)), f"{name} of 1029 bytes")

    def test_ping(self) -> None:
        """“A PING over 64”."""
        for name in ("PING", "PONG"):
            self.assert_broken(pdu(name, bytes(65)), f"{name} of 65 bytes; it has 0 to 64")

    @given(st.binary(max_size=100))
    def test_anything(self, body: bytes) -> None:
        """Whatever comes is PDUs, and perhaps an error; and PDUs are of whole bytes that came."""
        found, error = read_body(body)
        self.assertLessEqual(sum(12 + len(payload) for _, _, payload in found), len(body))
        self.assertIn(type(error), (type(None), MalformedPDU, BrokenAbort))


class LineTests(SynchronousTestCase):
    """Lines, codes and what is made of them."""

    def test_line(self) -> None:
        """“A line is UTF-8 of at most 1024 bytes”."""
        for text in ("", "Welcome.", "☃" * 341):
            self.assertEqual(read_line(pack_line(text)), text)
        self.assertRaisesRegex(LocalProtocolError, "1026 bytes; at most 1024", pack_line, "☃" * 342)
        self.assertRaisesRegex(LocalProtocolError, "can't be UTF-8", pack_line, "\ud800")

    def test_read_line(self) -> None:
        """Invalid bytes are replaced; control characters stay for whoever shows it."""
        self.assertEqual(read_line(b"a\xffb\x1b[0m\n"), "a\ufffdb\x1b[0m\n")

    def test_reason(self) -> None:
        """“code (4), line”."""
        self.assertEqual(pack_reason(Code.APPLICATION_FAILED, "no"), bytes.fromhex("00000007 6e6f"))
        self.assertEqual(read_reason(bytes.fromhex("80000000 ff")), (0x80000000, "\ufffd"))
        for code in (-1, 2**32):
            self.assertRaisesRegex(LocalProtocolError, f"not {code}", pack_reason, code, "")

    def test_codes(self) -> None:
        """The codes are the document's; “unknown ones are shown as numbers”."""
        self.assertEqual([int(code) for code in Code], list(range(1, 11)))
        words = [describe_code(code) for code in range(1, 11)]
        self.assertEqual(len(set(words)), 10)
        self.assertEqual(describe_code(5), "too large")
        self.assertEqual(describe_code(11), "code 11")
        self.assertEqual(describe_code(0x80000001), "code 2147483649")

    def test_padding(self) -> None:
        for size in (0, 1, 255):
            self.assertEqual(pack_padding(size), pdu("PADDING", bytes(size)))
