"""
The other end of a handshake of version 2, made by hand: so it can also say what ours would refuse to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.v2.messages import Offer, pack_offer
from sodiumtwist.core.v2.noise import XK_HFS, HandshakeState
from sodiumtwist.core.v2.veil import Veil

from ..peers import CLIENT_PAIR, SERVER_PAIR

#: When all of this happens.
TIME = 1_800_000_000


class StandInKem:
    """What has the sizes of ML-KEM-768 and none of its strength, for tests that make many."""

    public = bytes(1184)

    def generate(self) -> StandInKem:
        return self

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        return bytes(1088), bytes(32)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        return bytes(32)


class PlainClient:
    """
    A client by hand, which says what ours would not.

    :param offer: the payload of message 1.
    :param alter: what to do with message 1.
    """

    def __init__(
        self,
        offer: bytes = pack_offer(Offer(TIME, (1, 2))),
        alter: Callable[[bytes], bytes] = lambda message: message,
        pair: KeyPair = CLIENT_PAIR,
        **options: Any,
    ) -> None:
        self.salt = bytes(range(32))
        self.noise = HandshakeState(XK_HFS, True, b"sodiumtwist 2" + self.salt, pair, SERVER_PAIR.public, **options)
        self.veil = Veil(SERVER_PAIR.public, self.salt)
        self.first_flight = self.salt + self.veil.seal(alter(self.noise.write_message(offer)))

    def read_answer(self, answer: bytes) -> bytes:
        veil = Veil(SERVER_PAIR.public, self.salt + answer[:32])
        veil.open_size(answer[32:50])
        return self.noise.read_message(veil.open_message(answer[50:]))

    def credentials(self, payload: bytes) -> bytes:
        return self.veil.seal(self.noise.write_message(payload))


class PlainServer:
    """
    A server by hand.

    :param first_flight: what it reads.
    """

    def __init__(self, first_flight: bytes, pair: KeyPair = SERVER_PAIR, **options: Any) -> None:
        self.salt = first_flight[:32]
        self.noise = HandshakeState(XK_HFS, False, b"sodiumtwist 2" + self.salt, pair, **options)
        veil = Veil(SERVER_PAIR.public, self.salt)
        veil.open_size(first_flight[32:50])
        self.offer = self.noise.read_message(veil.open_message(first_flight[50:]))

    def answer(self, payload: bytes, alter: Callable[[bytes], bytes] = lambda message: message) -> bytes:
        salt = bytes(32)
        return salt + Veil(SERVER_PAIR.public, self.salt + salt).seal(alter(self.noise.write_message(payload)))
