"""
Tests of :mod:`sodiumtwist.core.v1.messages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core import credentials
from sodiumtwist.core.errors import (
    InvalidKey,
    LocalProtocolError,
    MalformedPDU,
    RemoteProtocolError,
    UnexpectedPDU,
    VersionMismatch,
    WindowExceeded,
)
from sodiumtwist.core.keys import parse_key
from sodiumtwist.core.v1 import messages
from sodiumtwist.core.v1.messages import ClientAuth, PDUType, ServerHelo

from ...texts import UTF8
from .. import peers
from ..peers import (
    CLIENT_AUTH,
    CLOCK,
    CLOCK_BODY,
    DATA,
    NONCE,
    PING,
    PONG,
    SERVER_HELO,
    WINDOW,
    AuthFields,
    HeloFields,
    pack_header,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

STREAM_HEADER = bytes(range(100, 124))
PUBLIC_KEY = bytes(range(200, 232))


def client_auth(**fields: Unpack[AuthFields]) -> bytes:
    """A CLIENT_AUTH by hand."""
    fields.setdefault("public_key", PUBLIC_KEY)
    fields.setdefault("stream_header", STREAM_HEADER)
    return peers.pack_client_auth(**fields)


def server_helo(**fields: Unpack[HeloFields]) -> bytes:
    """A SERVER_HELO by hand."""
    fields.setdefault("nonce", NONCE)
    fields.setdefault("stream_header", STREAM_HEADER)
    return peers.pack_server_helo(**fields)


class SizeTests(SynchronousTestCase):
    """
    The sizes on the wire, in bytes.
    """

    def test_sizes(self) -> None:
        self.assertEqual(messages.HEADER_SIZE, 12)
        self.assertEqual(messages.CLIENT_AUTH_SIZE, 352)
        self.assertEqual(messages.SEALED_CLIENT_AUTH_SIZE, 400)
        self.assertEqual(messages.SERVER_HELO_SIZE, 188)
        self.assertEqual(messages.SEALED_SERVER_HELO_SIZE, 236)
        self.assertEqual(messages.ENCRYPTED_HEADER_SIZE, 29)
        self.assertEqual(messages.STREAM_OVERHEAD, 17)
        self.assertEqual(messages.PDU_OVERHEAD, 46)
        self.assertEqual(messages.WINDOW, 131070)
        self.assertEqual(credentials.TEXT_SIZE, 128)
        self.assertEqual(sorted(messages.TIMESTAMP_SIZES), [12, 16])

    def test_numbers(self) -> None:
        self.assertEqual(messages.MAGIC, 0xBAADC0DE)
        self.assertEqual(messages.VERSION, 0xDEADCAFE)
        self.assertEqual(
            {pdu_type.name: pdu_type.value for pdu_type in PDUType},
            {"CLIENT_AUTH": 1, "SERVER_HELO": 2, "DATA": 3, "PING": 4, "PONG": 5},
        )


class HeaderTests(SynchronousTestCase):
    """
    The 12 bytes before every body.
    """

    def test_pack(self) -> None:
        self.assertEqual(messages.pack_header(PDUType.DATA, 0x01F2E3), bytes.fromhex("baadc0de 00000003 0001f2e3"))

    def test_unpack(self) -> None:
        for pdu_type, size in [(DATA, 0), (DATA, 1), (DATA, 131070), (PING, 16), (PING, 12), (PONG, 16), (PONG, 12)]:
            unpacked = messages.unpack_stream_header(peers.pack_header(pdu_type, size))
            self.assertEqual(unpacked, (PDUType(pdu_type), size))
            self.assertIsInstance(unpacked[0], PDUType)

    def test_wrong_magic(self) -> None:
        for magic in (0, 0xBAADC0DF, 0xDEC0ADBA):
            with self.assertRaises(MalformedPDU):
                messages.unpack_stream_header(peers.pack_header(DATA, 0, magic))

    def test_unknown_type(self) -> None:
        for pdu_type in (0, 6, 0x03000000, 0xFFFFFFFF):
            error = self.assertRaises(MalformedPDU, messages.unpack_stream_header, peers.pack_header(pdu_type, 0))
            self.assertIn(str(pdu_type), str(error))

    def test_handshake_types(self) -> None:
        for pdu_type, size in [(CLIENT_AUTH, 340), (SERVER_HELO, 176), (CLIENT_AUTH, 0), (SERVER_HELO, 16)]:
            with self.assertRaises(UnexpectedPDU):
                messages.unpack_stream_header(peers.pack_header(pdu_type, size))

    def test_window(self) -> None:
        for pdu_type in (CLIENT_AUTH, SERVER_HELO, DATA, PING, PONG):
            for size in (131071, 2**32 - 1):
                header = peers.pack_header(pdu_type, size)
                error = self.assertRaises(WindowExceeded, messages.unpack_stream_header, header)
                self.assertIn("131070", str(error))

    def test_odd_size_of_ping(self) -> None:
        for pdu_type in (PING, PONG):
            for size in (0, 11, 13, 14, 15, 17, 28, 131070):
                with self.assertRaises(MalformedPDU):
                    messages.unpack_stream_header(peers.pack_header(pdu_type, size))


class ClientAuthTests(SynchronousTestCase):
    """
    CLIENT_AUTH, 352 bytes.
    """

    def test_layout(self) -> None:
        packed = messages.pack_client_auth(ClientAuth(NONCE, STREAM_HEADER, PUBLIC_KEY, "login", "pass phrase"))
        self.assertEqual(len(packed), 352)
        self.assertEqual(packed[:12], bytes.fromhex("baadc0de 00000001 00000154"))
        self.assertEqual(packed[12:16], bytes.fromhex("deadcafe"))
        self.assertEqual(packed[16:40], NONCE)
        self.assertEqual(packed[40:64], STREAM_HEADER)
        self.assertEqual(packed[64:96], PUBLIC_KEY)
        self.assertEqual(packed[96:224], b"login" + bytes(123))
        self.assertEqual(packed[224:352], b"pass phrase" + bytes(117))

    def test_unpack(self) -> None:
        self.assertEqual(
            messages.unpack_client_auth(client_auth(login="d\u00e9j\u00e0 vu \u2603".encode(), passphrase=b"")),
            ClientAuth(NONCE, STREAM_HEADER, PUBLIC_KEY, "d\u00e9j\u00e0 vu \u2603", ""),
        )

    def test_text_without_nul(self) -> None:
        auth = messages.unpack_client_auth(client_auth(login=b"l" * 128, passphrase=b"p" * 128))
        self.assertEqual((auth.login, auth.passphrase), ("l" * 128, "p" * 128))

    def test_text_ends_at_first_nul(self) -> None:
        auth = messages.unpack_client_auth(client_auth(login=b"me\0you\0", passphrase=b"\0\xff\xfe"))
        self.assertEqual((auth.login, auth.passphrase), ("me", ""))

    def test_text_not_utf8(self) -> None:
        for text in (b"\xff", b"caf\xe9", b"\xc0\xaf", b"\xed\xa0\x80", "\u20ac".encode()[:2]):
            error = self.assertRaises(MalformedPDU, messages.unpack_client_auth, client_auth(login=text))
            self.assertIn("login", str(error))
            error = self.assertRaises(MalformedPDU, messages.unpack_client_auth, client_auth(passphrase=text))
            self.assertIn("passphrase", str(error))

    def test_text_cut_inside_a_character(self) -> None:
        with self.assertRaises(MalformedPDU):
            messages.unpack_client_auth(client_auth(login=b"x" * 127 + b"\xc3"))

    def test_version(self) -> None:
        for version in (0, 1, 0xDEADCAFF, 0xFECAADDE):
            error = self.assertRaises(VersionMismatch, messages.unpack_client_auth, client_auth(version=version))
            self.assertIn(f"{version:08x}", str(error))
            self.assertIn("deadcafe", str(error))

    def test_wrong_header(self) -> None:
        wrong: list[tuple[AuthFields, type[RemoteProtocolError]]] = [
            ({"magic": 0xDEADBEEF}, MalformedPDU),
            ({"pdu_type": 9}, MalformedPDU),
            ({"pdu_type": SERVER_HELO}, UnexpectedPDU),
            ({"pdu_type": DATA}, UnexpectedPDU),
            ({"pdu_type": PING}, UnexpectedPDU),
            ({"pdu_type": PONG}, UnexpectedPDU),
            ({"size": 339}, MalformedPDU),
            ({"size": 341}, MalformedPDU),
            ({"size": 352}, MalformedPDU),
            ({"size": 0}, MalformedPDU),
            ({"size": 131071}, WindowExceeded),
        ]
        for fields, expected in wrong:
            with self.assertRaises(expected):
                messages.unpack_client_auth(client_auth(**fields))

    def test_wrong_length(self) -> None:
        for data in (client_auth()[:-1], client_auth() + b"\0"):
            with self.assertRaises(MalformedPDU):
                messages.unpack_client_auth(data)

    def test_repr_hides_passphrase(self) -> None:
        shown = repr(ClientAuth(NONCE, STREAM_HEADER, PUBLIC_KEY, "login", "open sesame"))
        self.assertIn("login", shown)
        self.assertNotIn("sesame", shown)


class ServerHeloTests(SynchronousTestCase):
    """
    SERVER_HELO, 188 bytes.
    """

    def test_layout(self) -> None:
        packed = messages.pack_server_helo(ServerHelo(NONCE, STREAM_HEADER, "Welcome."))
        self.assertEqual(len(packed), 188)
        self.assertEqual(packed[:12], bytes.fromhex("baadc0de 00000002 000000b0"))
        self.assertEqual(packed[12:36], NONCE)
        self.assertEqual(packed[36:60], STREAM_HEADER)
        self.assertEqual(packed[60:188], b"Welcome." + bytes(120))

    def test_unpack(self) -> None:
        for field, message in [
            (b"Welcome.", "Welcome."),
            (b"", ""),
            (b"m" * 128, "m" * 128),
            (b"now\0then", "now"),
            ("\u00dcber".encode(), "\u00dcber"),
        ]:
            self.assertEqual(
                messages.unpack_server_helo(server_helo(message=field)), ServerHelo(NONCE, STREAM_HEADER, message)
            )

    def test_message_not_utf8_is_replaced(self) -> None:
        self.assertEqual(messages.unpack_server_helo(server_helo(message=b"caf\xe9!")).message, "caf\ufffd!")

    def test_wrong_header(self) -> None:
        wrong: list[tuple[HeloFields, type[RemoteProtocolError]]] = [
            ({"magic": 0}, MalformedPDU),
            ({"pdu_type": 0}, MalformedPDU),
            ({"pdu_type": CLIENT_AUTH}, UnexpectedPDU),
            ({"pdu_type": DATA}, UnexpectedPDU),
            ({"size": 175}, MalformedPDU),
            ({"size": 177}, MalformedPDU),
            ({"size": 131071}, WindowExceeded),
        ]
        for fields, expected in wrong:
            with self.assertRaises(expected):
                messages.unpack_server_helo(server_helo(**fields))

    def test_wrong_length(self) -> None:
        for data in (server_helo()[:-1], server_helo() + b"\0"):
            with self.assertRaises(MalformedPDU):
                messages.unpack_server_helo(data)


class PackTextTests(SynchronousTestCase):
    """
    A text as a field of 128 bytes.
    """

    def test_pads_with_nul(self) -> None:
        self.assertEqual(credentials.pack_text("login", "me"), b"me" + bytes(126))
        self.assertEqual(credentials.pack_text("login", ""), bytes(128))

    def test_longest(self) -> None:
        self.assertEqual(credentials.pack_text("login", "x" * 128), b"x" * 128)
        self.assertEqual(credentials.pack_text("login", "\u00e9" * 64), "\u00e9".encode() * 64)

    def test_too_long(self) -> None:
        for text, size in [("x" * 129, 129), ("\u00e9" * 65, 130), ("y" * 5000, 5000)]:
            error = self.assertRaises(LocalProtocolError, credentials.pack_text, "login", text)
            self.assertIn("login", str(error))
            self.assertIn(f"{size} bytes", str(error))
            self.assertIn("128", str(error))

    def test_nul(self) -> None:
        for text in ("\0", "a\0b", "tail\0"):
            error = self.assertRaises(LocalProtocolError, credentials.pack_text, "passphrase", text)
            self.assertIn("passphrase", str(error))
            self.assertIn("NUL", str(error))

    def test_lone_surrogate(self) -> None:
        error = self.assertRaises(LocalProtocolError, credentials.pack_text, "login", "\udc80")
        self.assertIn("UTF-8", str(error))

    def test_bytes(self) -> None:
        error = self.assertRaises(LocalProtocolError, credentials.pack_text, "passphrase", b"sesame")
        self.assertEqual(str(error), "the passphrase is of type bytes; give it as str")

    def test_errors_hide_the_text(self) -> None:
        for text in ("sesame\0", "sesame" * 50, "sesame\udc80"):
            error = self.assertRaises(LocalProtocolError, credentials.pack_text, "passphrase", text)
            self.assertNotIn("sesame", str(error))
            self.assertIsNone(error.__cause__)
            self.assertTrue(error.__suppress_context__ or error.__context__ is None)

    def test_every_text_names_its_field(self) -> None:
        for fields, name in [((("x" * 129), ""), "login"), (("", "x" * 129), "passphrase")]:
            auth = ClientAuth(NONCE, STREAM_HEADER, PUBLIC_KEY, *fields)
            self.assertIn(f"the {name} ", str(self.assertRaises(LocalProtocolError, messages.pack_client_auth, auth)))
        helo = ServerHelo(NONCE, STREAM_HEADER, "x" * 129)
        self.assertIn("the message ", str(self.assertRaises(LocalProtocolError, messages.pack_server_helo, helo)))


class TimestampTests(SynchronousTestCase):
    """
    The body of PING and PONG.
    """

    def test_pack(self) -> None:
        self.assertEqual(messages.pack_timestamp(CLOCK), CLOCK_BODY)
        self.assertEqual(len(CLOCK_BODY), 16)
        self.assertEqual(messages.pack_timestamp(999_999_999), bytes(8) + bytes.fromhex("3b9ac9ff") + bytes(4))
        self.assertEqual(messages.pack_timestamp(0), bytes(16))

    def test_unpack_16(self) -> None:
        self.assertEqual(messages.unpack_timestamp(CLOCK_BODY), CLOCK)

    def test_unpack_12(self) -> None:
        self.assertEqual(messages.unpack_timestamp(CLOCK_BODY[:12]), CLOCK)

    def test_padding_is_not_looked_at(self) -> None:
        self.assertEqual(messages.unpack_timestamp(CLOCK_BODY[:12] + b"\xcc\xcc\x5b\x07"), CLOCK)

    def test_a_clock_may_say_anything(self) -> None:
        largest = (2**64 - 1) * 1_000_000_000 + 2**32 - 1
        self.assertEqual(messages.unpack_timestamp(b"\xff" * 12), largest)


class WireTests(SynchronousTestCase):
    """
    Structures, there and back.
    """

    # Lone surrogates among them.
    TEXTS = st.text(st.characters(), max_size=140)

    def fits(self, text: str) -> bool:
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            return False
        return len(encoded) <= 128 and b"\0" not in encoded

    @given(TEXTS, TEXTS)
    def test_client_auth(self, login: str, passphrase: str) -> None:
        auth = messages.ClientAuth(NONCE, bytes(24), bytes(32), login, passphrase)
        if self.fits(login) and self.fits(passphrase):
            self.assertEqual(messages.unpack_client_auth(messages.pack_client_auth(auth)), auth)
        else:
            with self.assertRaises(LocalProtocolError):
                messages.pack_client_auth(auth)

    @given(TEXTS)
    def test_server_helo(self, message: str) -> None:
        helo = messages.ServerHelo(NONCE, bytes(24), message)
        if self.fits(message):
            self.assertEqual(messages.unpack_server_helo(messages.pack_server_helo(helo)), helo)
        else:
            with self.assertRaises(LocalProtocolError):
                messages.pack_server_helo(helo)

    @given(st.integers(0, 2**64 * 10**9 - 1))
    def test_timestamp(self, nanoseconds: int) -> None:
        packed = messages.pack_timestamp(nanoseconds)
        self.assertEqual(len(packed), 16)
        self.assertEqual(packed[12:], bytes(4))
        self.assertEqual(messages.unpack_timestamp(packed), nanoseconds)
        self.assertEqual(messages.unpack_timestamp(packed[:12]), nanoseconds)

    @given(
        st.one_of(st.binary(min_size=12, max_size=12), st.builds(pack_header, st.integers(0, 7), st.integers(0, 2**18)))
    )
    def test_stream_header(self, data: bytes) -> None:
        try:
            pdu_type, size = messages.unpack_stream_header(data)
        except RemoteProtocolError:
            return
        self.assertEqual(data, pack_header(pdu_type, size))
        self.assertTrue(pdu_type == DATA or size in (12, 16))
        self.assertLessEqual(size, WINDOW)

    @given(
        st.one_of(
            st.text(UTF8),
            st.text(UTF8, min_size=64, max_size=64),
            st.text("0123456789abcdefABCDEF", min_size=60, max_size=68),
        )
    )
    def test_parse_key(self, text: str) -> None:
        try:
            key = parse_key(text)
        except InvalidKey:
            return
        self.assertEqual(key.hex(), text.strip().lower())
