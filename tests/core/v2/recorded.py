"""
The vectors of version 2, and what makes our ends draw what was drawn for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from kyber_py.ml_kem import ML_KEM_768 as PURE_ML_KEM_768

from sodiumtwist.core.inbox import Inbox
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.v2.agreement import EphemeralKey
from sodiumtwist.core.v2.handshake import ClientHandshake, Drawn, ServerHandshake
from sodiumtwist.core.v2.messages import Extension
from sodiumtwist.core.v2.veil import RecentSalts, Salts

VECTORS = Path(__file__).parents[2] / "vectors"


@cache
def load(name: str) -> Any:
    """Read a file of vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


@cache
def _key_pair(seed: bytes) -> tuple[bytes, bytes]:
    public, secret = PURE_ML_KEM_768.key_derive(seed)
    return public, secret


@cache
def _encapsulate(public: bytes, message: bytes) -> tuple[bytes, bytes]:
    shared, ciphertext = PURE_ML_KEM_768._encaps_internal(public, message)
    return ciphertext, shared


class PureKey:
    """An ML-KEM-768 key pair made from a seed, in pure Python."""

    def __init__(self, seed: bytes) -> None:
        self.public, self._secret = _key_pair(seed)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        shared: bytes = PURE_ML_KEM_768.decaps(self._secret, ciphertext)
        return shared


@dataclass(frozen=True)
class PureKem:
    """
    ML-KEM-768 that draws nothing at random.

    :ivar seed: d and z, 64 bytes.
    :ivar message: m, 32 bytes.
    """

    seed: bytes
    message: bytes

    def generate(self) -> PureKey:
        return PureKey(self.seed)

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        return _encapsulate(public, self.message)


def fixed_key(secret: bytes) -> Callable[[], EphemeralKey]:
    """Draw always the same ephemeral key."""
    return partial(EphemeralKey, secret)


@dataclass(frozen=True)
class Recorded:
    """
    A recorded session of version 2.

    :ivar fields: as the file has them.
    """

    fields: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def bytes_of(self, name: str) -> bytes:
        return bytes.fromhex(self.fields[name])

    @property
    def flights(self) -> tuple[bytes, bytes, bytes]:
        """The three messages of the handshake, as they were sent."""
        first, second, third = (bytes.fromhex(step["wire"]) for step in self.fields["steps"][:3])
        return first, second, third

    @property
    def login(self) -> str:
        return self.fields["credentials"][0] if self.fields["credentials"] else ""

    @property
    def passphrase(self) -> str:
        return self.fields["credentials"][1] if self.fields["credentials"] else ""

    @property
    def server_pair(self) -> KeyPair:
        return KeyPair.from_secret(self.bytes_of("server_secret"))

    @property
    def client_pair(self) -> KeyPair:
        return KeyPair.from_secret(self.bytes_of("client_secret"))

    @property
    def kem(self) -> PureKem:
        return PureKem(self.bytes_of("kem_seed_d_z"), self.bytes_of("kem_m"))

    def _extensions(self, message: int) -> list[Extension]:
        return [(number, bytes.fromhex(value)) for number, value in self.fields["extensions_of_messages"][message]]

    def client(self) -> ClientHandshake:
        """Our client in the place of the recorded one."""
        drawn = Drawn(
            salt=lambda: self.bytes_of("salt"),
            padding=lambda: int(self["padding_of_messages_1_and_2"][0]),
            ephemeral=fixed_key(self.bytes_of("client_ephemeral")),
            kem=self.kem,
            extensions=(self._extensions(0), self._extensions(2)),
        )
        return ClientHandshake(
            self.client_pair,
            self.bytes_of("server_public"),
            self.login,
            self.passphrase,
            self["time"],
            offered=self["suites_offered"],
            drawn=drawn,
        )

    def server(self, salts: Salts | None = None) -> ServerHandshake:
        """Our server in the place of the recorded one."""
        drawn = Drawn(
            salt=lambda: self.bytes_of("server_salt"),
            padding=lambda: int(self["padding_of_messages_1_and_2"][1]),
            ephemeral=fixed_key(self.bytes_of("server_ephemeral")),
            kem=self.kem,
            extensions=(self._extensions(1),),
        )
        return ServerHandshake(
            self.server_pair,
            lambda: float(self["time"]),
            RecentSalts() if salts is None else salts,
            has=[self["suite"]],
            drawn=drawn,
        )


def sessions() -> Iterator[Recorded]:
    """All recorded sessions of version 2."""
    return map(Recorded, load("v2")["sessions"])


def fed(handshake: ClientHandshake | ServerHandshake, pieces: Iterable[bytes]) -> list[Any]:
    """Give a handshake what was received, piece by piece, and list what it made of that."""
    inbox, made = Inbox(), []
    for piece in pieces:
        inbox.put(piece)
        while (result := handshake.receive(inbox)) is not None:
            made.append(result)
    return made
