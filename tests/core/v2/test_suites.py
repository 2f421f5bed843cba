"""
Which suites an end has.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist.core.v2 import suites

ROOT = Path(sodiumtwist.__file__).parents[1]


class Library:
    """Stands in for libsodium."""

    def __init__(self, aes: int) -> None:
        self.aes = aes

    def crypto_aead_aes256gcm_is_available(self) -> int:
        return self.aes

    def crypto_aead_aegis256_encrypt(self) -> None:
        raise NotImplementedError


class AvailableTests(SynchronousTestCase):
    """AEGIS-256 only where it is fast."""

    def test_aes(self) -> None:
        self.patch(suites, "lib", Library(1))
        self.assertEqual(suites.available(), (1, 2))

    def test_no_aes(self) -> None:
        self.patch(suites, "lib", Library(0))
        self.assertEqual(suites.available(), (2,))

    def test_no_aegis(self) -> None:
        """Of an older libsodium, and where PyNaCl has no inner module."""
        for library in (None, object()):
            self.patch(suites, "lib", library)
            self.assertEqual(suites.available(), (2,))

    def test_this_machine(self) -> None:
        """Both, or the one that every end has; PyNaCl can speak both."""
        self.assertIn(suites.available(), [(1, 2), (2,)])
        self.assertEqual((suites.AEGIS_256, suites.CHACHA20_POLY1305), (1, 2))
        self.assertTrue(callable(bindings.crypto_aead_aegis256_encrypt))


class StartTests(SynchronousTestCase):
    """What a fresh process has."""

    def said(self, program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return done.stdout.strip()

    def test_initialised(self) -> None:
        """
        Importing us initialises libsodium, which says 1 when it was done before. Without that AEGIS would run without
        the processor's instructions, hundreds of times as slow. And ``cryptography`` waits until version 2 is spoken.
        """
        program = (
            "import sys; from sodiumtwist.core.sodium import lib; print(lib.sodium_init());"
            "import sodiumtwist.core.v2.handshake; print('cryptography' in sys.modules)"
        )
        self.assertEqual(self.said(program).split(), ["1", "False"])
