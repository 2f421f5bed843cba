"""
X25519 keys, and their text form of 64 hex digits.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from dataclasses import dataclass, field
from functools import lru_cache

from nacl import bindings
from nacl.exceptions import CryptoError

from .errors import InvalidKey

#: The size of a key, public or private, in bytes.
KEY_SIZE = 32

#: The prime of Curve25519.
_PRIME = 2**255 - 19
#: The points of low order on Curve25519 and its twist, with which everybody would share the same secret. They are
#: written as the little-endian numbers that keys are, in all spellings but for the highest bit, which X25519 does not
#: look at. libsodium has the same list.
LOW_ORDER = frozenset(
    (
        0,
        1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
        _PRIME - 1,
        _PRIME,
        _PRIME + 1,
    )
)

#: What ``keygen`` and a server's log write before a key, and somebody may have copied with it.
_LABELLED = re.compile(r"\b(public|private) key:[ \t]*(\S+)", re.IGNORECASE)

#: A line of a key file that says what the file is.
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)


class WrongKind(InvalidKey):
    """A public key where a private one is due, or the other way: the text says which it is."""


def is_labelled(text: str) -> bool:
    """Tell whether a text says of a key in it if it is public or private."""
    return _LABELLED.search(_COMMENT.sub("", text)) is not None


def parse_key(text: str, what: str = "key") -> bytes:
    """
    Read a public key from its text form.

    :param text: 64 hex digits; white space around them is allowed, and so is the line of ``sodiumtwist keygen`` or of a
        server's log that they stand in, and all that is in a ``.pub`` file.
    :param what: what the error calls the key. The error never shows the text.
    :return: 32 bytes.
    :raises InvalidKey: for any other text.
    """
    return _parse(text, what, "public")


def _parse(text: str, what: str, kind: str) -> bytes:
    """
    Read a key of either kind.

    :param kind: which, where the text holds keys with their names.
    """
    if not isinstance(text, (str, bytes)):
        raise InvalidKey(f"the {what} is of type {type(text).__name__}; give it as text")
    # A file's line ends with a newline, and what was copied from a terminal may have blanks.
    digits = text.strip()
    # A long list has many keys, of which most are digits alone.
    if isinstance(text, str) and len(digits) != 2 * KEY_SIZE:
        # Before it is looked for keys: a comment may speak of them.
        text = _COMMENT.sub("", text)
        digits = text.strip()
        if labelled := {(name.lower(), key.lower()) for name, key in _LABELLED.findall(text)}:
            found = {key for name, key in labelled if name == kind}
            if not found:
                other = "public" if kind == "private" else "private"
                raise WrongKind(f"the {what} has to be a {kind} key, not a {other} one")
            # Which of them is meant, nobody can know.
            if len(found) > 1:
                raise InvalidKey(f"the {what} is given as {len(found)} different {kind} keys; give one")
            (digits,) = found
    if len(digits) != 2 * KEY_SIZE:
        raise InvalidKey(f"the {what} has {len(digits)} characters; it is {2 * KEY_SIZE} hex digits")
    try:
        # bytes.fromhex() would skip white space between the digits, so that a shorter key could pass.
        return unhexlify(digits)
    except ValueError:
        raise InvalidKey(f"the {what} holds characters other than 0-9 and a-f") from None


def check_size(key: bytes, what: str) -> bytes:
    """
    Return a key as ``bytes``.

    :param what: what to call it in the error, which never shows the key.
    :raises InvalidKey: when it is not 32 bytes.
    """
    # A str of 32 characters would pass a check of the size alone.
    if not isinstance(key, (bytes, bytearray, memoryview)):
        raise InvalidKey(f"the {what} is of type {type(key).__name__}; parse_key() makes bytes of 64 hex digits")
    if len(key) != KEY_SIZE:
        raise InvalidKey(f"the {what} is {len(key)} bytes long; it is {KEY_SIZE}")
    # The caller may change a bytearray later, and PyNaCl takes nothing but bytes.
    return bytes(key)


@dataclass(frozen=True)
class KeyPair:
    """
    An X25519 key pair, kept for long or made for one run.

    :ivar public: 32 bytes.
    :ivar secret: 32 bytes; ``repr`` does not show them.
    """

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> KeyPair:
        """Make a new pair from the operating system's random numbers."""
        return cls(*bindings.crypto_kx_keypair())

    @classmethod
    def generate_to_keep(cls) -> KeyPair:
        """
        Make a new pair for a file. Of other private keys, 1 in 32 could pass for a public one; this one can't, so where
        it is given in place of a public key, that is always noticed.
        """
        pair = cls.generate()
        # Not by the function that remembers: a private key stays nowhere. Where it can't be known, any pair will do.
        while bindings.has_crypto_core_ed25519 and looks_public(pair.secret):
            pair = cls.generate()
        return pair

    @classmethod
    def from_secret(cls, secret: bytes) -> KeyPair:
        """
        Make the pair that belongs to a secret key.

        :param secret: 32 bytes.
        :raises InvalidKey: when it has another size.
        """
        secret = check_size(secret, "private key")
        return cls(bindings.crypto_scalarmult_base(secret), secret)

    @classmethod
    def from_hex(cls, text: str) -> KeyPair:
        """
        Make the pair that belongs to a secret key in its text form.

        :param text: as of :func:`parse_key`.
        :raises InvalidKey: for any other text.
        """
        return cls.from_secret(_parse(text, "private key", "private"))


def check_server_key(server_key: bytes) -> None:
    """
    Check that a server's public key can be one. The first time for a key, this costs a field inversion and a look at
    the curve.

    All public keys are multiples of one point. Of 32 random numbers one is, so nearly every private key that was taken
    for a public one is noticed, and most typing errors are. So are the few points of low order, zero among them, with
    which everybody would share the same secret.

    :param server_key: the server's public key, 32 bytes.
    :raises InvalidKey: for another size, and for what is no public key.
    """
    key = check_size(server_key, "peer's public key")
    if not _is_point(key):
        raise weak_point()
    if not _is_multiple(key):
        raise InvalidKey(
            "the peer's public key is none: a private key was given in its place, or it has typing errors; "
            "sodiumtwist pubkey FILE prints the public key of a private one"
        )


# A factory asks, and clients that connect again and again make many, often for one server. So it is calculated once for
# a key, not at each connection.
@lru_cache(maxsize=64)
def _is_point(key: bytes) -> bool:
    try:
        # Any scalar will do: a point of low order gives zero with each of them, and libsodium refuses that.
        bindings.crypto_scalarmult(bytes(range(KEY_SIZE)), key)
    except CryptoError:
        return False
    return True


@lru_cache(maxsize=64)
def _is_multiple(key: bytes) -> bool:
    return looks_public(key)


def looks_public(key: bytes) -> bool:
    """
    Tell whether a key can be a public one, as all public keys and 1 of 32 private ones can.

    :param key: 32 bytes.
    """
    if not bindings.has_crypto_core_ed25519:
        return True  # it can't be known
    u = int.from_bytes(key, "little")
    if u + 1 >= _PRIME:
        return False  # also with the highest bit, which no program sets
    # The same point in the other form of the curve (RFC 7748, section 4.1), which libsodium can judge.
    y = (u - 1) * pow(u + 1, -1, _PRIME) % _PRIME
    return bindings.crypto_core_ed25519_is_valid_point(y.to_bytes(KEY_SIZE, "little"))


def weak_point() -> InvalidKey:
    """Make the error about a key that no real key is."""
    return InvalidKey("the peer's public key is a weak point that no real key is; check it for typing errors")
