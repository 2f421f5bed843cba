"""
The Noise handshake, by the Noise Protocol Framework (revision 34) and its extension for hybrid forward secrecy,
driven by a table of tokens.

Of the three patterns version 2 speaks one. The others have published vectors, which test this machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

from ..errors import DecryptionFailed, LocalProtocolError
from ..keys import KEY_SIZE, KeyPair
from . import chacha
from .agreement import (
    CIPHERTEXT_SIZE,
    ENCAPSULATION_KEY_SIZE,
    ML_KEM_768,
    DecapsulationKey,
    EphemeralKey,
    Kem,
    check_encapsulation_key,
    multiply,
)
from .chacha import TAG_SIZE, Cipher


@dataclass(frozen=True)
class Pattern:
    """
    Who sends what.

    :ivar name: the whole name of the protocol.
    :ivar known: whether the initiator knows the responder's static key before.
    :ivar messages: the tokens of each message; the initiator sends the first, and so on in turn.
    """

    name: bytes
    known: bool
    messages: tuple[tuple[str, ...], ...]


XK = Pattern(b"Noise_XK_25519_ChaChaPoly_SHA256", True, (("e", "es"), ("e", "ee"), ("s", "se")))

#: What version 2 speaks.
XK_HFS = Pattern(
    b"Noise_XKhfs_25519+MLKEM768_ChaChaPoly_SHA256",
    True,
    (("e", "es", "e1"), ("e", "ee", "ekem1"), ("s", "se")),
)

XX_HFS = Pattern(
    b"Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256",
    False,
    (("e", "e1"), ("e", "ee", "ekem1", "s", "es"), ("s", "se")),
)

#: What the tokens that send something send, before it is sealed, in bytes. The others multiply a point, and are named
#: by whose keys they take: ``es`` is the initiator's ephemeral and the responder's static one.
SIZES = {"e": KEY_SIZE, "s": KEY_SIZE, "e1": ENCAPSULATION_KEY_SIZE, "ekem1": CIPHERTEXT_SIZE}


@cache
def _keys_of(token: str, initiator: bool) -> tuple[str, str]:
    """Tell which key of ours and which of the peer a multiplication takes."""
    return (token[0], token[1]) if initiator else (token[1], token[0])


@cache
def _uses(pattern: Pattern, initiator: bool) -> Counter[str]:
    """Tell how often each of our secrets is taken."""
    return Counter(
        _keys_of(token, initiator)[0] for tokens in pattern.messages for token in tokens if token not in SIZES
    )


@cache  # imported when it is first used, as all of cryptography
def _imported() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF, SHA256()


def load() -> None:
    """
    Import all that is imported when it is first used. By then a service may run as another user, or behind another
    root, and not find it.
    """
    _imported()
    chacha.load()


class SymmetricState:
    """
    What both ends have put in so far, as a chaining key, a hash and a key to seal with.

    :param name: the whole name of the protocol.
    :ivar hash: 32 bytes; both ends have the same when they have seen the same.
    """

    def __init__(self, name: bytes) -> None:
        self.hash = name.ljust(32, b"\0") if len(name) <= 32 else sha256(name).digest()
        self._chaining_key = self.hash
        self._cipher: Cipher | None = None

    def mix_hash(self, data: bytes) -> None:
        self.hash = sha256(self.hash + data).digest()

    def _derive(self, secret: bytes) -> tuple[bytes, bytes]:
        """HKDF of the specification with two outputs, which is that of RFC 5869 with 64 bytes and no info."""
        hkdf, hash = _imported()
        outputs: bytes = hkdf(hash, 64, self._chaining_key, None).derive(secret)
        return outputs[:32], outputs[32:]

    def mix_key(self, secret: bytes) -> None:
        self._chaining_key, key = self._derive(secret)
        self._cipher = Cipher(key)

    @property
    def overhead(self) -> int:
        """How many bytes :meth:`encrypt_and_hash` adds."""
        return 0 if self._cipher is None else TAG_SIZE

    def encrypt_and_hash(self, plain: bytes) -> bytes:
        sealed = plain if self._cipher is None else self._cipher.seal(plain, self.hash)
        self.hash = sha256(self.hash + sealed).digest()
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        plain = sealed if self._cipher is None else self._cipher.open(sealed, self.hash)
        self.hash = sha256(self.hash + sealed).digest()
        return plain

    def split(self) -> tuple[bytes, bytes]:
        """Make the keys of both directions, the initiator's first, and forget what made them."""
        keys = self._derive(b"")
        self._chaining_key, self._cipher = b"", None
        return keys


class HandshakeState:
    """
    One end of a handshake. Each secret is dropped with the last token that takes it.

    :param pattern: who sends what.
    :param initiator: whether this end speaks first.
    :param prologue: what both ends must know the same of.
    :param static: our static key pair.
    :param remote_static: the responder's static public key, where the initiator knows it before: 32 bytes.
    :param new_ephemeral: makes our ephemeral key; given by tests alone.
    :param kem: makes KEM keys and ciphertexts; given by tests alone.
    """

    def __init__(
        self,
        pattern: Pattern,
        initiator: bool,
        prologue: bytes,
        static: KeyPair | None,
        remote_static: bytes | None = None,
        *,
        new_ephemeral: Callable[[], EphemeralKey] = EphemeralKey,
        kem: Kem = ML_KEM_768,
    ) -> None:
        self._initiator = initiator
        self._messages = pattern.messages
        self._done = 0
        self._new_ephemeral, self._kem = new_ephemeral, kem
        # By the letters that multiplications are named with, as are the peer's public keys; its e1 is among these.
        self._secrets: dict[str, KeyPair | EphemeralKey] = {}
        if static is not None:
            self._public, self._secrets["s"] = static.public, static
        self._remote: dict[str, bytes] = {}
        self._kem_key: DecapsulationKey | None = None
        #: How often each of our secrets will be taken yet.
        self._uses = dict(_uses(pattern, initiator))
        self._symmetric = SymmetricState(pattern.name)
        self._symmetric.mix_hash(prologue)
        if pattern.known:
            if remote_static is not None:
                self._remote["s"] = remote_static
            self._symmetric.mix_hash(self._remote["s"] if initiator else self._public)

    def give_static(self, static: KeyPair) -> None:
        """
        Give our static key, where it was not there at first. It must be before it is sent.

        :param static: the key pair.
        """
        self._public, self._secrets["s"] = static.public, static

    @property
    def hash(self) -> bytes:
        """The handshake hash, 32 bytes. When all messages have come, both ends have the same, and nobody else."""
        return self._symmetric.hash

    @property
    def remote_static(self) -> bytes:
        """The peer's static public key, 32 bytes; known when it has come."""
        return self._remote["s"]

    def write_message(self, payload: bytes) -> bytes:
        """
        Make our next message.

        :param payload: what it carries. How well that is sealed in each message, the pattern tells.
        :raises LocalProtocolError: when it is not our turn.
        :raises DecryptionFailed: when a key of the peer is a weak point.
        """
        parts = []
        for token in self._take_turn(self._initiator):
            if token in SIZES:
                parts.append(self._write(token))
            else:
                self._agree(token)
        parts.append(self._symmetric.encrypt_and_hash(payload))
        return b"".join(parts)

    def read_message(self, message: bytes) -> bytes:
        """
        Read the peer's next message.

        :return: the payload.
        :raises LocalProtocolError: when it is not the peer's turn.
        :raises DecryptionFailed: when something in it can't be right.
        """
        for token in self._take_turn(not self._initiator):
            if token in SIZES:
                message = self._read(token, message)
            else:
                self._agree(token)
        return self._symmetric.decrypt_and_hash(message)

    def split(self) -> tuple[bytes, bytes]:
        """
        Make the keys of both directions, the initiator's first, and forget what they were made from.

        :return: 32 bytes each.
        :raises LocalProtocolError: before the last message.
        """
        if self._done < len(self._messages):
            raise LocalProtocolError("not all messages of the handshake were exchanged")
        return self._symmetric.split()

    def _take_turn(self, as_initiator: bool) -> tuple[str, ...]:
        if self._done == len(self._messages) or as_initiator is not (self._done % 2 == 0):
            raise LocalProtocolError("it is the other end's turn, or all messages were exchanged")
        self._done += 1
        return self._messages[self._done - 1]

    def _write(self, token: str) -> bytes:
        """Make what a token sends."""
        symmetric = self._symmetric
        if token == "e":
            ephemeral = self._secrets["e"] = self._new_ephemeral()
            symmetric.mix_hash(ephemeral.public)
            return ephemeral.public
        if token == "s":
            return symmetric.encrypt_and_hash(self._public)
        if token == "e1":
            self._kem_key = self._kem.generate()
            return symmetric.encrypt_and_hash(self._kem_key.public)
        ciphertext, shared = self._kem.encapsulate(self._remote.pop("e1"))
        sealed = symmetric.encrypt_and_hash(ciphertext)
        symmetric.mix_key(shared)
        return sealed

    def _read(self, token: str, message: bytes) -> bytes:
        """Take what a token sends from the front of a message, and return the rest."""
        symmetric = self._symmetric
        size = SIZES[token]
        if token != "e":
            size += symmetric.overhead
        if len(message) < size:
            raise DecryptionFailed(f"a handshake message of {len(message)} bytes ends within its {token}")
        part, rest = message[:size], message[size:]
        if token == "e":
            self._remote["e"] = part
            symmetric.mix_hash(part)
            return rest
        plain = symmetric.decrypt_and_hash(part)
        if token == "ekem1":
            key, self._kem_key = self._kem_key, None
            assert key is not None
            symmetric.mix_key(key.decapsulate(plain))
            return rest
        if token == "e1":
            # Before our own keys are made: what can't be answered should cost nothing.
            check_encapsulation_key(plain)
        self._remote[token] = plain
        return rest

    def _agree(self, token: str) -> None:
        """Mix in what a secret key of ours and a public key of the peer share."""
        ours, theirs = _keys_of(token, self._initiator)
        shared = multiply(self._secrets[ours], self._remote[theirs])
        self._uses[ours] -= 1
        if not self._uses[ours]:
            del self._secrets[ours]
        self._symmetric.mix_key(shared)
