"""
X25519 and ML-KEM-768: what is refused, and what is said where one is missing.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

import cryptography
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import asymmetric
from cryptography.hazmat.primitives.asymmetric import mlkem
from kyber_py.ml_kem import ML_KEM_768 as PURE_ML_KEM_768
from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import DecryptionFailed, UnsupportedProtocol
from sodiumtwist.core.sodium import ffi
from sodiumtwist.core.v2 import agreement
from sodiumtwist.core.v2.agreement import (
    ML_KEM_768,
    EphemeralKey,
    check_encapsulation_key,
    check_supported,
    multiply,
)

from ..peers import CLIENT_PAIR, SERVER_PAIR, WEAK_KEYS


class KeyTests(SynchronousTestCase):
    """X25519 keys, with libsodium on memory of ours."""

    def test_both_ways(self) -> None:
        """One for a handshake, and one that is bytes, share the same."""
        ephemeral = EphemeralKey()
        shared = bindings.crypto_scalarmult(SERVER_PAIR.secret, ephemeral.public)
        self.assertEqual(multiply(ephemeral, SERVER_PAIR.public), shared)
        self.assertEqual(multiply(SERVER_PAIR, ephemeral.public), shared)

    def test_given_secret(self) -> None:
        self.assertEqual(EphemeralKey(CLIENT_PAIR.secret).public, CLIENT_PAIR.public)

    def test_fresh(self) -> None:
        self.assertEqual(len({EphemeralKey().public for _ in range(3)}), 3)

    def test_weak_points(self) -> None:
        for point in WEAK_KEYS:
            for key in (SERVER_PAIR, EphemeralKey()):
                self.assertRaises(DecryptionFailed, multiply, key, point)

    def test_no_point(self) -> None:
        """Nothing behind it is read."""
        for size in (0, 31, 33):
            self.assertRaises(DecryptionFailed, multiply, EphemeralKey(), bytes([9] * size))

    def test_not_shown(self) -> None:
        key = EphemeralKey(CLIENT_PAIR.secret)
        for shown in (repr(key), repr(key._key), repr(vars(key))):
            self.assertNotIn(CLIENT_PAIR.secret.hex(), shown)
            self.assertNotIn(repr(CLIENT_PAIR.secret), shown)


class OpenSSLKeyTests(KeyTests):
    """The same where PyNaCl has no inner module."""

    def setUp(self) -> None:
        self.patch(agreement, "lib", None)


class ProductTests(SynchronousTestCase):
    """What comes of a multiplication."""

    def test_overwritten(self) -> None:
        """A secret, when its key is let go."""
        key = EphemeralKey(CLIENT_PAIR.secret)
        assert isinstance(key._key, agreement._LibsodiumKey)
        memory = key._key._secret
        self.assertEqual(bytes(ffi.buffer(memory)), CLIENT_PAIR.secret)
        del key
        self.assertEqual(bytes(ffi.buffer(memory)), bytes(32))

    def test_zero_of_any_library(self) -> None:
        """Also of one that does not refuse such points itself."""
        self.patch(bindings, "crypto_scalarmult", lambda secret, point: bytes(32))
        self.assertRaises(DecryptionFailed, multiply, SERVER_PAIR, CLIENT_PAIR.public)


class MlKemTests(SynchronousTestCase):
    """ML-KEM-768, beside an implementation in pure Python."""

    def test_sizes(self) -> None:
        key = ML_KEM_768.generate()
        ciphertext, shared = ML_KEM_768.encapsulate(key.public)
        self.assertEqual([len(key.public), len(ciphertext), len(shared)], [1184, 1088, 32])
        self.assertEqual(key.decapsulate(ciphertext), shared)

    def test_encapsulated_for_another(self) -> None:
        public, secret = PURE_ML_KEM_768.key_derive(bytes(64))
        ciphertext, shared = ML_KEM_768.encapsulate(public)
        self.assertEqual(PURE_ML_KEM_768.decaps(secret, ciphertext), shared)

    def test_wrong_ciphertext(self) -> None:
        """It gives a secret, only not the same: the tag that does not open shows it."""
        key = ML_KEM_768.generate()
        ciphertext, shared = ML_KEM_768.encapsulate(key.public)
        other = key.decapsulate(ciphertext[:-1] + bytes([ciphertext[-1] ^ 1]))
        self.assertEqual(len(other), 32)
        self.assertNotEqual(other, shared)


class EncapsulationKeyTests(SynchronousTestCase):
    """FIPS 203, section 7.2."""

    def test_real_ones(self) -> None:
        for _ in range(5):
            check_encapsulation_key(ML_KEM_768.generate().public)

    def test_sizes(self) -> None:
        public = ML_KEM_768.generate().public
        for key in (b"", public[:-1], public + b"\0"):
            self.assertRaises(DecryptionFailed, check_encapsulation_key, key)

    def test_each_number(self) -> None:
        """3328 is the largest that is right, in each of the 768 places, whatever stands beside it."""
        for beside in (0, 3328):
            whole = sum(beside << 12 * place for place in range(768))
            for place in range(768):
                for number, right in [(3328, True), (3329, False), (4095, False)]:
                    changed = whole + (number - beside << 12 * place)
                    key = changed.to_bytes(1152, "little") + b"\xff" * 32
                    if right:
                        check_encapsulation_key(key)
                    else:
                        self.assertRaises(DecryptionFailed, check_encapsulation_key, key)

    def test_as_the_library(self) -> None:
        """The library below refuses the same."""
        for place in (0, 1, 767):
            key = (3329 << 12 * place).to_bytes(1152, "little") + bytes(32)
            self.assertRaises(ValueError, ML_KEM_768.encapsulate, key)
            self.assertRaises(ValueError, PURE_ML_KEM_768._encaps_internal, key, bytes(32))


class SupportTests(SynchronousTestCase):
    """What is said where ML-KEM-768 is missing."""

    def setUp(self) -> None:
        for kept in (check_supported, agreement._mlkem):
            kept.cache_clear()
            self.addCleanup(kept.cache_clear)

    def test_supported(self) -> None:
        check_supported()

    def test_asked_once(self) -> None:
        """It makes a key pair, and each handshake asks."""
        check_supported()
        self.patch(agreement, "_mlkem", self.fail)
        check_supported()

    def assertSaid(self) -> None:
        said = str(self.assertRaises(UnsupportedProtocol, check_supported))
        self.assertRegex(said, r"^version 2 needs ML-KEM-768, which is missing from cryptography \S+ with \S+ [^\n]+$")
        self.assertIn(cryptography.__version__, said)

    def test_old_library(self) -> None:
        """A release of ``cryptography`` from before it had ML-KEM."""
        with patch.dict(sys.modules, {"cryptography.hazmat.primitives.asymmetric.mlkem": None}):
            del asymmetric.mlkem
            self.addCleanup(setattr, asymmetric, "mlkem", mlkem)
            self.assertSaid()

    def test_old_openssl(self) -> None:
        class Unsupported:
            @staticmethod
            def from_seed_bytes(seed: bytes) -> None:
                raise UnsupportedAlgorithm("not by this OpenSSL")

        self.patch(mlkem, "MLKEM768PrivateKey", Unsupported)
        self.assertSaid()
