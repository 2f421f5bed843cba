"""
Tests of :mod:`sodiumtwist.core.keys`.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from random import Random
from typing import Any

from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core import keys
from sodiumtwist.core.errors import InvalidKey
from sodiumtwist.core.keys import (
    KeyPair,
    check_server_key,
    parse_key,
)

from .peers import WEAK_KEYS

# RFC 7748, section 6.1: Bob.
SECRET = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"


class ParseKeyTests(SynchronousTestCase):
    """
    Keys as 64 hex digits.
    """

    def test_digits(self) -> None:
        self.assertEqual(parse_key("0123456789abcdef" * 4), bytes.fromhex("0123456789abcdef" * 4))

    def test_upper_case(self) -> None:
        self.assertEqual(parse_key(SECRET.upper()), bytes.fromhex(SECRET))

    def test_white_space_around(self) -> None:
        self.assertEqual(parse_key(f" \t{SECRET}\r\n"), bytes.fromhex(SECRET))

    def test_wrong_length(self) -> None:
        for text in ("", "ab", SECRET[:-1], SECRET[:-2], SECRET + "0", SECRET + SECRET):
            error = self.assertRaises(InvalidKey, parse_key, text, "server key")
            self.assertIn("server key", str(error))
            self.assertIn("64", str(error))
            self.assertIn(f"{len(text)} ", str(error))

    def test_not_hexadecimal(self) -> None:
        for text in ("g" * 64, "0x" + SECRET[2:], SECRET[:31] + "  " + SECRET[33:], "\u00e9" * 64, "\u0661" * 64):
            error = self.assertRaises(InvalidKey, parse_key, text, "server key")
            self.assertIn("server key", str(error))

    def test_whole_lines(self) -> None:
        """What keygen prints and a server logs may be given as it is."""
        both = f"private key: {SECRET}\npublic key: {PUBLIC}\n"
        for text in (f"public key: {PUBLIC}", f"  Public key:{PUBLIC}\r\n", f"12:00 [-] public key: {PUBLIC}", both):
            self.assertEqual(parse_key(text).hex(), PUBLIC)
        for text in (f"private key: {SECRET}", both):
            self.assertEqual(KeyPair.from_hex(text).secret.hex(), SECRET)

    def test_comments(self) -> None:
        """What a key file says besides is left out, also where it speaks of keys."""
        for text in (f"# a key\n{PUBLIC}\n", f"# private key: {SECRET}\n # more\r\npublic key: {PUBLIC}\n"):
            self.assertEqual(parse_key(text).hex(), PUBLIC)
        self.assertRaises(InvalidKey, parse_key, f"# {PUBLIC}")

    def test_two_keys(self) -> None:
        """Which of two is meant nobody knows. One that stands there twice is one."""
        self.assertEqual(parse_key(f"public key: {PUBLIC}\npublic key: {PUBLIC.upper()}\n").hex(), PUBLIC)
        error = self.assertRaises(InvalidKey, parse_key, f"public key: {PUBLIC}\npublic key: {SECRET}", "server's key")
        self.assertEqual(str(error), "the server's key is given as 2 different public keys; give one")

    def test_the_other_key(self) -> None:
        """One that has its name is not taken for the other."""
        error = self.assertRaises(InvalidKey, parse_key, f"private key: {SECRET}", "server's key")
        self.assertEqual(str(error), "the server's key has to be a public key, not a private one")
        error = self.assertRaises(InvalidKey, KeyPair.from_hex, f"public key: {PUBLIC}")
        self.assertEqual(str(error), "the private key has to be a private key, not a public one")

    def test_no_text(self) -> None:
        wrong: Any
        for wrong in (None, 5, bytearray(64)):
            self.assertRaises(InvalidKey, parse_key, wrong)

    def test_errors_hide_the_text(self) -> None:
        for text in (SECRET[:-1], SECRET[:-1] + "x"):
            error = self.assertRaises(InvalidKey, parse_key, text)
            self.assertNotIn(SECRET[:8], str(error))
            self.assertIsNone(error.__cause__)


class KeyPairTests(SynchronousTestCase):
    """
    Key pairs.
    """

    def test_generate(self) -> None:
        pairs = [KeyPair.generate() for _ in range(3)]
        self.assertEqual(len({pair.secret for pair in pairs}), 3)
        for pair in pairs:
            self.assertEqual((len(pair.public), len(pair.secret)), (32, 32))
            self.assertEqual(KeyPair.from_secret(pair.secret), pair)

    def test_generate_to_keep(self) -> None:
        """A private key that is kept can't be taken for a public one, which 1 of 32 could."""
        kept = [KeyPair.generate_to_keep() for _ in range(200)]
        self.assertFalse([pair for pair in kept if keys.looks_public(pair.secret)])
        self.assertEqual(KeyPair.from_secret(kept[0].secret), kept[0])

    def test_from_secret(self) -> None:
        pair = KeyPair.from_secret(bytes.fromhex(SECRET))
        self.assertEqual(pair.public.hex(), PUBLIC)
        self.assertEqual(pair.secret.hex(), SECRET)

    def test_from_bytearray(self) -> None:
        pair = KeyPair.from_secret(bytearray.fromhex(SECRET))  # type: ignore[arg-type]  # more than is promised
        self.assertEqual(pair.public.hex(), PUBLIC)
        self.assertIs(type(pair.secret), bytes)

    def test_from_hex(self) -> None:
        self.assertEqual(KeyPair.from_hex(SECRET + "\n").public.hex(), PUBLIC)

    def test_wrong_size(self) -> None:
        for size in (0, 31, 33, 64):
            error = self.assertRaises(InvalidKey, KeyPair.from_secret, bytes(size))
            self.assertIn("private key", str(error))
            self.assertIn(f"{size} bytes", str(error))
        self.assertIn("private key", str(self.assertRaises(InvalidKey, KeyPair.from_hex, SECRET[1:])))

    def test_hex_digits_for_bytes(self) -> None:
        """Who forgets to parse is told to, without the digits."""
        error = self.assertRaises(InvalidKey, KeyPair.from_secret, SECRET)
        self.assertIn("of type str; parse_key() makes bytes", str(error))
        self.assertNotIn(SECRET, str(error))

    def test_repr_hides_secret(self) -> None:
        pair = KeyPair.from_hex(SECRET)
        for shown in (repr(pair), str(pair), f"{pair}"):
            self.assertIn(repr(pair.public), shown)
            self.assertNotIn(repr(pair.secret)[2:-1], shown)
            self.assertNotIn(SECRET, shown)
            self.assertNotIn("secret", shown)

    def test_frozen(self) -> None:
        with self.assertRaises(FrozenInstanceError):
            KeyPair.from_hex(SECRET).secret = bytes(32)  # type: ignore[misc]  # that is refused is what is tested


class ServerKeyTests(SynchronousTestCase):
    """
    Whether a key can be a server's.
    """

    def test_check_server_key(self) -> None:
        """A real one passes, the weak are refused each time."""
        check_server_key(bytes.fromhex(PUBLIC))
        for key in [*WEAK_KEYS, WEAK_KEYS[0], b""]:
            self.assertRaises(InvalidKey, check_server_key, key)

    def test_private_key(self) -> None:
        """In the place of a public one it is noticed, nearly always; a public key is never taken for one."""
        numbers = Random(1)
        noticed = 0
        for _ in range(100):
            pair = KeyPair.from_secret(numbers.randbytes(32))
            check_server_key(pair.public)
            try:
                check_server_key(pair.secret)
            except InvalidKey as error:
                noticed += 1
                self.assertIn("a private key was given in its place", str(error))
        self.assertGreater(noticed, 90)

    def test_typing_errors(self) -> None:
        """Most are noticed, and so is each form of a point that no program writes."""
        public = bytes.fromhex(PUBLIC)
        altered = [public[:at] + bytes([public[at] ^ 1]) + public[at + 1 :] for at in range(32)]
        altered_and_taken = [key for key in altered if keys._is_multiple(key)]
        self.assertLess(len(altered_and_taken), 8)
        # From the prime less one on: -1, which has no such point, then what stands for a smaller number.
        for number in (2**255 - 20, 2**255 - 19 + 9, 9 + 2**255):
            self.assertFalse(keys._is_multiple(number.to_bytes(32, "little")))
        self.assertTrue(keys._is_multiple((9).to_bytes(32, "little")))

    def test_without_the_other_curve(self) -> None:
        """Where libsodium was built without it, only the weak points are known."""
        keys._is_multiple.cache_clear()
        self.addCleanup(keys._is_multiple.cache_clear)
        self.patch(bindings, "has_crypto_core_ed25519", False)
        check_server_key(bytes.fromhex(SECRET))
        self.assertRaises(InvalidKey, check_server_key, WEAK_KEYS[0])
        self.assertIsInstance(KeyPair.generate_to_keep(), KeyPair)

    def test_wrong_size(self) -> None:
        for size in (0, 31, 33):
            error = self.assertRaises(InvalidKey, check_server_key, b"\x09" * size)
            self.assertIn(f"public key is {size} bytes", str(error))
