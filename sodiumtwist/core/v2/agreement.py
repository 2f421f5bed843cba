"""
How two ends come to share secrets: X25519 and ML-KEM-768.

Keys that serve one handshake lie in memory that is overwritten when they are let go. Whoever speaks version 1 needs
none of that, so ``cryptography`` is imported when it is first used.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import DecryptionFailed, UnsupportedProtocol
from ..keys import KEY_SIZE, KeyPair
from ..sodium import ffi, lib

#: Sizes of ML-KEM-768, which FIPS 203 fixes.
ENCAPSULATION_KEY_SIZE = 1184
CIPHERTEXT_SIZE = 1088

#: What ML-KEM calculates modulo, and how many numbers of 12 bits an encapsulation key has.
_MODULUS = 3329
_NUMBERS = 768
# Every second number of the key in a lane of 24 bits, so that a sum in one lane does not reach the next.
_LANES = sum(0xFFF << 24 * lane for lane in range(_NUMBERS // 2))
_TO_OVERFLOW = sum((0x1000 - _MODULUS) << 24 * lane for lane in range(_NUMBERS // 2))
_OVERFLOWN = sum(0x1000 << 24 * lane for lane in range(_NUMBERS // 2))


class _LibsodiumKey:
    """An X25519 key in memory of ours, which is overwritten when the key is let go."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: bytes | None) -> None:
        self._secret = ffi.new("unsigned char[]", KEY_SIZE)
        public = ffi.new("unsigned char[]", KEY_SIZE)
        if secret is None:
            lib.crypto_kx_keypair(public, self._secret)
        else:
            ffi.memmove(self._secret, secret, KEY_SIZE)
            lib.crypto_scalarmult_base(public, self._secret)
        self.public = bytes(ffi.buffer(public))

    def multiply(self, point: bytes) -> bytes:
        shared = ffi.new("unsigned char[]", KEY_SIZE)
        # The C function would read behind a shorter one.
        if len(point) != KEY_SIZE or lib.crypto_scalarmult(shared, self._secret, point):
            raise ValueError("no point, or one of low order")
        return bytes(ffi.buffer(shared))

    def __del__(self) -> None:
        ffi.memmove(self._secret, bytes(KEY_SIZE), KEY_SIZE)


class _OpenSSLKey:
    """The same, which OpenSSL keeps and overwrites."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes | None) -> None:
        keys = _x25519().X25519PrivateKey
        self._key = keys.generate() if secret is None else keys.from_private_bytes(secret)
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def multiply(self, point: bytes) -> bytes:
        shared: bytes = self._key.exchange(_x25519().X25519PublicKey.from_public_bytes(point))
        return shared


class EphemeralKey:
    """
    An X25519 key for one handshake.

    :param secret: 32 bytes, for tests alone; ``None`` makes a fresh key.
    :ivar public: 32 bytes.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        # To make a key takes libsodium half as long as OpenSSL, and to multiply by it about as long. It has both only
        # where its functions work on memory of ours: as an object of Python the secret would not be overwritten.
        self._key = (_OpenSSLKey if lib is None else _LibsodiumKey)(secret)
        self.public = self._key.public

    def multiply(self, point: bytes) -> bytes:
        """Multiply a point by this key, as :func:`multiply` does; ``ValueError`` for a point of low order."""
        return self._key.multiply(point)


@cache
def _x25519() -> Any:
    from cryptography.hazmat.primitives.asymmetric import x25519

    return x25519


def multiply(key: KeyPair | EphemeralKey, point: bytes) -> bytes:
    """
    Multiply a point by a secret key: X25519.

    :param point: the peer's public key, 32 bytes.
    :return: the secret that both share, 32 bytes.
    :raises DecryptionFailed: for a point of low order, with which everybody would share the same secret, zero.
    """
    try:
        if isinstance(key, EphemeralKey):
            shared = key.multiply(point)
        else:
            # Of a key that we have as bytes, libsodium does not calculate the public half again.
            shared = bindings.crypto_scalarmult(key.secret, point)
    except (CryptoError, ValueError):
        shared = bytes(KEY_SIZE)
    # Both libraries refuse such points; that all builds of them do is not ours to believe.
    if not any(shared):
        raise DecryptionFailed("no secret can be shared with the peer's public key, which is a weak point")
    return shared


class DecapsulationKey(Protocol):
    """
    The private half of a KEM's key pair.

    :ivar public: the encapsulation key.
    """

    public: bytes

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """Find the shared secret; of a wrong ciphertext comes a wrong one."""


class Kem(Protocol):
    """A key encapsulation mechanism. Tests have another than :data:`ML_KEM_768`, which draws nothing at random."""

    def generate(self) -> DecapsulationKey:
        """Make a key pair."""

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        """Make a ciphertext and the secret in it."""


class _MlKem768Key:
    """A key pair of ML-KEM-768 for one handshake."""

    def __init__(self) -> None:
        self._key = _mlkem().MLKEM768PrivateKey.generate()
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        shared: bytes = self._key.decapsulate(ciphertext)
        return shared


class _MlKem768:
    """ML-KEM-768 of FIPS 203."""

    def generate(self) -> DecapsulationKey:
        return _MlKem768Key()

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        shared, ciphertext = _mlkem().MLKEM768PublicKey.from_public_bytes(public).encapsulate()
        return ciphertext, shared


ML_KEM_768: Kem = _MlKem768()


@cache
def _mlkem() -> Any:
    from cryptography.hazmat.primitives.asymmetric import mlkem

    return mlkem


def check_encapsulation_key(key: bytes) -> None:
    """
    Check an encapsulation key as FIPS 203, section 7.2, demands: its size, and that each number in it is below the
    modulus.

    :raises DecryptionFailed: when it is no such key.
    """
    # Not left to the library: not every one that may lie below checks this before it encapsulates.
    if len(key) == ENCAPSULATION_KEY_SIZE:
        numbers = int.from_bytes(key[: _NUMBERS * 12 // 8], "little")
        if not any((half & _LANES) + _TO_OVERFLOW & _OVERFLOWN for half in (numbers, numbers >> 12)):
            return
    raise DecryptionFailed("the peer's encapsulation key is not one of ML-KEM-768")


@cache
def check_supported() -> None:
    """
    Check that version 2 can be spoken here. The first time this takes as long as making a key pair.

    :raises UnsupportedProtocol: when ``cryptography``, or the OpenSSL below it, lacks ML-KEM-768.
    """
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        _mlkem().MLKEM768PrivateKey.from_seed_bytes(bytes(64))
    except (ImportError, UnsupportedAlgorithm):
        raise UnsupportedProtocol(f"version 2 needs ML-KEM-768, which is missing from {_library()}") from None


def _library() -> str:
    """Tell what is installed."""
    import cryptography
    from cryptography.hazmat.backends.openssl import backend

    return f"cryptography {cryptography.__version__} with {backend.openssl_version_text()}"
