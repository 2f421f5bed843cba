"""
Tests of :mod:`sodiumtwist.describe.fingerprints`.
"""

from __future__ import annotations

from base64 import b32decode
from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.describe.fingerprints import fingerprint, is_fingerprint

from ..processes import PUBLIC


class FingerprintTests(SynchronousTestCase):
    """Short forms of public keys."""

    def test_fingerprint(self) -> None:
        """It stays the same in all releases: people have written it down. It is the beginning of the key's hash."""
        shown = fingerprint(bytes.fromhex(PUBLIC))
        self.assertEqual(shown, "2gn7-h4ec-pawi-pn4d-7zyt")
        bits = b32decode(shown.replace("-", "").upper() + "====")
        self.assertEqual(bits, sha256(bytes.fromhex(PUBLIC)).digest()[: len(bits)])
        self.assertNotEqual(fingerprint(bytes(32)), shown)

    def test_is_fingerprint(self) -> None:
        """What programs show, and people copy, with the word before it or without."""
        shown = fingerprint(bytes(32))
        for text in (shown, f" {shown}\n", f"fingerprint {shown}"):
            self.assertTrue(is_fingerprint(text), text)
        for text in ("", "home", shown[:-1], f"{shown}a", shown.replace("-", ""), shown.upper(), PUBLIC):
            self.assertFalse(is_fingerprint(text), text)
