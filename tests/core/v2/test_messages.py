"""
What the messages of the handshake carry.
"""

from __future__ import annotations

import unicodedata

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import LocalProtocolError, MalformedPDU
from sodiumtwist.core.v2.messages import (
    Offer,
    pack_choice,
    pack_credentials,
    pack_offer,
    unpack_choice,
    unpack_credentials,
    unpack_offer,
)

NO_EXTENSIONS = b"\0\0"

#: Parts for extensions that can't be right: a size beyond the payload; one that does not hold an extension's own
#: fields; a value beyond the part.
BROKEN_EXTENSIONS = [
    b"",
    b"\0",
    b"\0\1",
    b"\0\1\7",
    b"\0\2\7\0",
    b"\0\3\7\0\1x",
    b"\0\5\7\0\1xy",
    b"\0\4\7\0\2x",
    b"\xff\xff",
]
#: And parts that can.
EXTENSIONS = [b"\0\0", b"\0\3\7\0\0", b"\0\4\7\0\1x", b"\0\7\7\0\1x\7\0\0", b"\0\3\xff\0\0"]

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


class OfferTests(SynchronousTestCase):
    """Message 1."""

    def test_layout(self) -> None:
        payload = pack_offer(Offer(1_800_000_000, (1, 2)), 3, [(200, b"xy"), (201, b"")])
        self.assertEqual(payload, bytes.fromhex("000000006b49d200 02 0102 0008 c800027879 c90000 000000"))
        self.assertEqual(unpack_offer(payload), Offer(1_800_000_000, (1, 2)))

    def test_any_suites(self) -> None:
        """Unknown ones are for the handshake to pass over, and any number may be offered."""
        for suites in [(0,), (2, 1, 2, 99), tuple(range(255))]:
            self.assertEqual(unpack_offer(pack_offer(Offer(0, suites))).suites, suites)

    def test_no_suite(self) -> None:
        self.assertRaises(MalformedPDU, unpack_offer, bytes(8) + b"\0" + NO_EXTENSIONS)

    def test_any_time(self) -> None:
        for time in (0, 2**64 - 1):
            self.assertEqual(unpack_offer(pack_offer(Offer(time, (2,)))).time, time)

    def test_cut(self) -> None:
        payload = pack_offer(Offer(1, (1, 2)))
        for size in range(len(payload)):
            self.assertRaises(MalformedPDU, unpack_offer, payload[:size])

    def test_extensions(self) -> None:
        for part in BROKEN_EXTENSIONS:
            self.assertRaises(MalformedPDU, unpack_offer, bytes(8) + b"\1\2" + part)
        for part in EXTENSIONS:
            self.assertEqual(unpack_offer(bytes(8) + b"\1\2" + part), Offer(0, (2,)))

    def test_padding(self) -> None:
        """It is not looked at."""
        for padding in (b"\xff", b"\0" * 1023, b"\1" * 5000):
            self.assertEqual(unpack_offer(pack_offer(Offer(7, (2,))) + padding), Offer(7, (2,)))


class ChoiceTests(SynchronousTestCase):
    """Message 2."""

    def test_layout(self) -> None:
        self.assertEqual(pack_choice(2, 3, [(7, b"x")]), bytes.fromhex("02 0004 07000178 000000"))
        self.assertEqual(unpack_choice(pack_choice(2, 3, [(7, b"x")])), 2)

    def test_cut(self) -> None:
        for size in range(3):
            self.assertRaises(MalformedPDU, unpack_choice, pack_choice(1)[:size])

    def test_extensions(self) -> None:
        for part in BROKEN_EXTENSIONS:
            self.assertRaises(MalformedPDU, unpack_choice, b"\2" + part)
        for part in EXTENSIONS:
            self.assertEqual(unpack_choice(b"\2" + part + b"padding"), 2)


class CredentialsTests(SynchronousTestCase):
    """Message 3."""

    def test_layout(self) -> None:
        payload = pack_credentials("ann", "j\u00f6rg", [(9, b"x")])
        self.assertEqual(payload, bytes.fromhex("01 03 616e6e 0005 6ac3b67267 0004 09000178").ljust(512, b"\0"))
        self.assertEqual(unpack_credentials(payload), ("ann", "j\u00f6rg"))

    def test_none(self) -> None:
        """Both empty: kind 0."""
        self.assertEqual(pack_credentials("", ""), bytes(512))
        self.assertEqual(unpack_credentials(bytes(512)), ("", ""))
        self.assertEqual(unpack_credentials(bytes(3)), ("", ""))

    def test_one_empty(self) -> None:
        for pair in [("ann", ""), ("", "secret")]:
            self.assertEqual(pack_credentials(*pair)[0], 1)
            self.assertEqual(unpack_credentials(pack_credentials(*pair)), pair)

    def test_sizes_tell_nothing(self) -> None:
        """All that fit 512 bytes have the same size, and so on in steps of 512."""
        sizes = {len(pack_credentials("l" * login, "p" * size)) for login in (0, 1, 100, 255) for size in range(0, 250)}
        self.assertEqual(sizes, {512})
        self.assertEqual(
            [len(pack_credentials("", "p" * size)) for size in (506, 507, 1018, 1019)], [512, 1024, 1024, 1536]
        )
        self.assertEqual(len(pack_credentials("l" * 255, "p" * 4096)), 4608)

    def test_longest(self) -> None:
        pair = ("\u00e9" * 127 + "l", "\u20ac" * 1365 + "p")
        self.assertEqual([len(text.encode()) for text in pair], [255, 4096])
        self.assertEqual(unpack_credentials(pack_credentials(*pair)), pair)

    def test_what_does_not_fit(self) -> None:
        for login, passphrase, name, reason in [
            ("l" * 256, "", "login", "at most 255 bytes"),
            ("\u00e9" * 128, "", "login", "at most 255 bytes"),
            ("", "p" * 4097, "passphrase", "at most 4096 bytes"),
            ("a\0", "", "login", "NUL"),
            ("", "\0", "passphrase", "NUL"),
            ("\ud800", "", "login", "UTF-8"),
            (b"ann", "", "login", "of type bytes"),
            ("", None, "passphrase", "of type NoneType"),
        ]:
            error = self.assertRaises(LocalProtocolError, pack_credentials, login, passphrase)
            self.assertIn(name, str(error))
            self.assertIn(reason, str(error))

    def test_normalized(self) -> None:
        """Clients send NFC, before it is measured; servers leave what came as it is."""
        for text in ("jo\u0308rg", "\u212b", "e\u0301" * 127):
            sent = unpack_credentials(pack_credentials(text, text))
            self.assertEqual(sent, (unicodedata.normalize("NFC", text),) * 2)
            self.assertNotEqual(sent[0], text)
        decomposed = "jo\u0308rg".encode()
        payload = b"\1" + bytes([len(decomposed)]) + decomposed + b"\0\0" + NO_EXTENSIONS
        self.assertEqual(unpack_credentials(payload), ("jo\u0308rg", ""))

    def test_any_size(self) -> None:
        """One that is no multiple of 512 is accepted."""
        payload = pack_credentials("ann", "secret")
        for size in (len(payload.rstrip(b"\0")) + 2, 100, 511):
            self.assertEqual(unpack_credentials(payload[:size]), ("ann", "secret"))
        self.assertEqual(unpack_credentials(payload + b"x"), ("ann", "secret"))

    def test_malformed(self) -> None:
        login, end = b"\1\3ann\0\6secret", NO_EXTENSIONS
        self.assertEqual(unpack_credentials(login + end), ("ann", "secret"))
        for payload in [
            b"",
            b"\2" + end,  # kinds
            b"\xff" + end,
            b"\0",
            *((login + end)[:size] for size in range(len(login + end))),
            b"\1\4ann",  # lengths
            b"\1\3ann\0\7secret",
            b"\1\0\x10\1" + b"p" * 4097 + end,
            b"\1\0\xff\xff" + b"p" * 65535 + end,
            b"\1\3a\0n\0\6secret" + end,  # NULs
            b"\1\3ann\0\6secre\0" + end,
            b"\1\3an\xff\0\6secret" + end,  # no UTF-8
            b"\1\3ann\0\6secre\xc3" + end,
            b"\1\3ann\0\3\xed\xa0\x80" + end,
        ]:
            self.assertRaises(MalformedPDU, unpack_credentials, payload)

    def test_extensions(self) -> None:
        for fields in (b"\0", b"\1\0\0\0"):
            for part in BROKEN_EXTENSIONS:
                self.assertRaises(MalformedPDU, unpack_credentials, fields + part)
            for part in EXTENSIONS:
                self.assertEqual(unpack_credentials(fields + part), ("", ""))

    def test_errors_show_nothing(self) -> None:
        for payload in (b"\1\3an\xff\0\6secret\0\0", b"\1\3ann\0\6secre\xff\0\0", b"\1\3ann\0\6secre\0\0\0"):
            error = self.assertRaises(MalformedPDU, unpack_credentials, payload)
            self.assertNotRegex(str(error), "an|secre")
            self.assertIsNone(error.__cause__)

    @settings(max_examples=100)
    @given(TEXTS, TEXTS)
    def test_any_texts(self, login: str, passphrase: str) -> None:
        expected = (unicodedata.normalize("NFC", login), unicodedata.normalize("NFC", passphrase))
        self.assertEqual(unpack_credentials(pack_credentials(login, passphrase)), expected)

    @settings(max_examples=100)
    @given(st.binary(max_size=60))
    def test_any_bytes(self, payload: bytes) -> None:
        """Garbage is malformed, or read."""
        for read in (unpack_offer, unpack_choice, unpack_credentials):
            try:
                read(payload)
            except MalformedPDU:
                pass
