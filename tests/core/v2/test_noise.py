"""
The Noise machine, by published vectors and beside another implementation.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

from noise.connection import Keypair, NoiseConnection
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import DecryptionFailed, LocalProtocolError
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.core.v2 import agreement, noise
from sodiumtwist.core.v2.agreement import ML_KEM_768, EphemeralKey
from sodiumtwist.core.v2.chacha import Cipher
from sodiumtwist.core.v2.noise import SIZES, XK, XK_HFS, XX_HFS, HandshakeState, Pattern

from ..peers import WEAK_KEYS, flip
from .recorded import PureKem, fixed_key, load

SERVER = KeyPair.from_secret(b"\x11" * 32)
CLIENT = KeyPair.from_secret(b"\x22" * 32)


def both(pattern: Pattern, **server: Any) -> tuple[HandshakeState, HandshakeState]:
    """An initiator and a responder."""
    known = SERVER.public if pattern.known else None
    return HandshakeState(pattern, True, b"same", CLIENT, known), HandshakeState(
        pattern, False, b"same", SERVER, **server
    )


def exchange(initiator: HandshakeState, responder: HandshakeState, count: int) -> None:
    """Exchange so many messages, with nothing in them."""
    for number in range(count):
        writer, reader = (initiator, responder) if number % 2 == 0 else (responder, initiator)
        reader.read_message(writer.write_message(b""))


class CacophonyTests(SynchronousTestCase):
    """XK, by the published vector."""

    def setUp(self) -> None:
        self.vector = load("noise")["XK"]
        self.initiator, self.responder = self.end("init"), self.end("resp")

    def field(self, name: str) -> bytes:
        return bytes.fromhex(self.vector[name])

    def end(self, role: str) -> HandshakeState:
        self.assertEqual(self.vector["protocol_name"].encode(), XK.name)
        return HandshakeState(
            XK,
            role == "init",
            self.field(f"{role}_prologue"),
            KeyPair.from_secret(self.field(f"{role}_static")),
            self.field("init_remote_static") if role == "init" else None,
            new_ephemeral=fixed_key(self.field(f"{role}_ephemeral")),
        )

    def test_both_roles(self) -> None:
        """Each message has the vector's bytes, and is read. What follows is sealed with the keys that come of it."""
        messages = [
            (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
            for message in self.vector["messages"]
        ]
        for number, (payload, wire) in enumerate(messages[:3]):
            writer, reader = self.initiator, self.responder
            if number % 2:
                writer, reader = reader, writer
            self.assertEqual(writer.write_message(payload), wire)
            self.assertEqual(reader.read_message(wire), payload)
        for end in (self.initiator, self.responder):
            self.assertEqual(end.hash, self.field("handshake_hash"))
        to_responder, to_initiator = self.initiator.split()
        self.assertEqual(self.responder.split(), (to_responder, to_initiator))
        # The responder speaks first, for the fourth message of the vector is its.
        ciphers = {key: Cipher(key) for key in (to_initiator, to_responder)}
        for key, (payload, wire) in [
            (to_initiator, messages[3]),
            (to_responder, messages[4]),
            (to_initiator, messages[5]),
        ]:
            self.assertEqual(ciphers[key].seal(payload), wire)


class XXhfsTests(SynchronousTestCase):
    """XXhfs, by the vector of the libp2p proposal."""

    def test_both_roles(self) -> None:
        vector = load("noise")["XXhfs"]

        def field(name: str) -> bytes:
            return bytes.fromhex(vector[name])

        self.assertEqual(vector["protocol_name"].encode(), XX_HFS.name)
        kem = PureKem(field("kem_seed_d_z"), field("kem_m"))
        initiator, responder = (
            HandshakeState(
                XX_HFS,
                role == "init",
                field("prologue"),
                KeyPair.from_secret(field(f"{role}_static")),
                new_ephemeral=fixed_key(field(f"{role}_ephemeral")),
                kem=kem,
            )
            for role in ("init", "resp")
        )
        wires = []
        for writer, reader in [(initiator, responder), (responder, initiator), (initiator, responder)]:
            wires.append(writer.write_message(b""))
            self.assertEqual(reader.read_message(wires[-1]), b"")
        self.assertEqual([len(wire) for wire in wires], vector["message_sizes"])
        self.assertEqual(wires[2], field("msg_c"))
        self.assertEqual(initiator.hash, field("handshake_hash"))
        self.assertEqual(responder.hash, initiator.hash)
        keys = initiator.split()
        self.assertEqual([key.hex() for key in keys], vector["split"])
        self.assertEqual(responder.split(), keys)
        self.assertEqual(initiator.remote_static, KeyPair.from_secret(field("resp_static")).public)
        self.assertEqual(responder.remote_static, KeyPair.from_secret(field("init_static")).public)


class NoiseprotocolTests(SynchronousTestCase):
    """XK with a library that nobody here wrote."""

    def peer(self, secret: bytes) -> NoiseConnection:
        peer = NoiseConnection.from_name(XK.name)
        peer.set_prologue(b"same")
        peer.set_keypair_from_private_bytes(Keypair.STATIC, secret)
        return peer

    def test_initiator(self) -> None:
        peer = self.peer(SERVER.secret)
        peer.set_as_responder()
        peer.start_handshake()
        ours = both(XK)[0]
        self.assertEqual(peer.read_message(ours.write_message(b"one")), b"one")
        self.assertEqual(ours.read_message(bytes(peer.write_message(b"two"))), b"two")
        self.assertEqual(peer.read_message(ours.write_message(b"three")), b"three")
        self.assertSame(peer, ours, ours_first=True)

    def test_responder(self) -> None:
        peer = self.peer(CLIENT.secret)
        peer.set_as_initiator()
        peer.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, SERVER.public)
        peer.start_handshake()
        ours = both(XK)[1]
        self.assertEqual(ours.read_message(bytes(peer.write_message(b"one"))), b"one")
        self.assertEqual(peer.read_message(ours.write_message(b"two")), b"two")
        self.assertEqual(ours.read_message(bytes(peer.write_message(b"three"))), b"three")
        self.assertEqual(ours.remote_static, CLIENT.public)
        self.assertSame(peer, ours, ours_first=False)

    def assertSame(self, peer: NoiseConnection, ours: HandshakeState, ours_first: bool) -> None:
        """Both have the same hash, and the same keys."""
        self.assertEqual(peer.get_handshake_hash(), ours.hash)
        first, second = ours.split()
        send, receive = (first, second) if ours_first else (second, first)
        self.assertEqual(peer.decrypt(Cipher(send).seal(b"there")), b"there")
        self.assertEqual(Cipher(receive).open(bytes(peer.encrypt(b"back"))), b"back")


class TurnTests(SynchronousTestCase):
    """Who speaks when."""

    def test_out_of_turn(self) -> None:
        for pattern in (XK, XK_HFS, XX_HFS):
            initiator, responder = both(pattern)
            for count in range(4):
                self.assertRaises(
                    LocalProtocolError, initiator.read_message if count % 2 == 0 else initiator.write_message, b""
                )
                self.assertRaises(
                    LocalProtocolError, responder.write_message if count % 2 == 0 else responder.read_message, b""
                )
                if count == 3:
                    self.assertRaises(LocalProtocolError, initiator.write_message, b"")
                    break
                self.assertRaises(LocalProtocolError, initiator.split)
                if count % 2 == 0:
                    responder.read_message(initiator.write_message(b""))
                else:
                    initiator.read_message(responder.write_message(b""))
            self.assertEqual(initiator.split(), responder.split())


class SecretTests(SynchronousTestCase):
    """Secrets go as soon as they are used up."""

    def setUp(self) -> None:
        self.ephemerals: list[weakref.ref[EphemeralKey]] = []
        self.kem_keys: list[weakref.ref[Any]] = []
        self.initiator = HandshakeState(
            XK_HFS, True, b"", CLIENT, SERVER.public, new_ephemeral=self.new_ephemeral, kem=self
        )
        self.responder = HandshakeState(XK_HFS, False, b"", SERVER, new_ephemeral=self.new_ephemeral, kem=self)

    def new_ephemeral(self) -> EphemeralKey:
        key = EphemeralKey()
        self.ephemerals.append(weakref.ref(key))
        return key

    def generate(self) -> Any:
        key = ML_KEM_768.generate()
        self.kem_keys.append(weakref.ref(key))
        return key

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        return ML_KEM_768.encapsulate(public)

    def alive(self) -> list[bool]:
        return [reference() is not None for reference in self.ephemerals + self.kem_keys]

    def test_ephemeral_keys_and_the_kems(self) -> None:
        """The initiator's both with message 2, the responder's with message 3; the garbage collector is not needed."""
        gc.disable()
        self.addCleanup(gc.enable)
        self.responder.read_message(self.initiator.write_message(b""))
        self.assertEqual(self.alive(), [True, True])
        second = self.responder.write_message(b"")
        self.assertEqual(self.alive(), [True, True, True])
        self.initiator.read_message(second)
        self.assertEqual(self.alive(), [False, True, False])
        self.responder.read_message(self.initiator.write_message(b""))
        self.assertEqual(self.alive(), [False, False, False])

    def test_static_keys(self) -> None:
        """The responder's is taken in message 1 alone, the initiator's in message 3."""
        self.responder.read_message(self.initiator.write_message(b""))
        self.assertEqual([set(self.initiator._secrets), set(self.responder._secrets)], [{"s", "e"}, set()])
        self.initiator.read_message(self.responder.write_message(b""))
        self.assertEqual([set(self.initiator._secrets), set(self.responder._secrets)], [{"s"}, {"e"}])
        self.responder.read_message(self.initiator.write_message(b""))
        self.assertEqual([set(self.initiator._secrets), set(self.responder._secrets)], [set(), set()])

    def test_split(self) -> None:
        exchange(self.initiator, self.responder, 3)
        self.initiator.split()
        symmetric = self.initiator._symmetric
        self.assertEqual((symmetric._chaining_key, symmetric._cipher), (b"", None))


class CountTests(SynchronousTestCase):
    """How many points are multiplied."""

    def setUp(self) -> None:
        self.done: list[str] = []
        self.patch(noise, "multiply", self.counted("multiply", agreement.multiply))

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            self.done.append(name)
            return function(*arguments)

        return count

    def new_ephemeral(self) -> EphemeralKey:
        self.done.append("e")
        return EphemeralKey()

    def test_responder(self) -> None:
        """One for message 1, of which it makes no key; two for message 2, one for message 3."""
        initiator, responder = both(XK_HFS, new_ephemeral=self.new_ephemeral)
        first = initiator.write_message(b"")
        self.done.clear()
        responder.read_message(first)
        self.assertEqual(self.done, ["multiply"])
        second = responder.write_message(b"")
        self.assertEqual(self.done, ["multiply", "e", "multiply"])
        initiator.read_message(second)
        third = initiator.write_message(b"")
        self.done.clear()
        responder.read_message(third)
        self.assertEqual(self.done, ["multiply"])


class MutationTests(SynchronousTestCase):
    """What is wrong does not pass."""

    def message(self, number: int) -> tuple[HandshakeState, bytes]:
        """Who waits for a message, and the message."""
        initiator, responder = both(XK_HFS)
        exchange(initiator, responder, number)
        writer, reader = (responder, initiator) if number == 1 else (initiator, responder)
        return reader, writer.write_message(b"payload")

    def test_any_byte(self) -> None:
        """One bit changed, in each part of each message."""
        for number, places in [
            (0, [0, 31, 32, 1215, 1216, 1231, 1232, 1238, -1]),
            (1, [0, 31, 32, 1119, 1120, 1135, 1136, 1142, -1]),
            (2, [0, 31, 32, 47, 48, 54, -1]),
        ]:
            for place in places:
                reader, message = self.message(number)
                self.assertRaises(DecryptionFailed, reader.read_message, flip(message, place))

    def test_cut(self) -> None:
        for number, sizes in [(0, [0, 31, 32, 1231, 1232, 1247]), (1, [0, 31, 32, 1135, 1151]), (2, [0, 47, 48, 63])]:
            for size in sizes:
                reader, message = self.message(number)
                self.assertRaises(DecryptionFailed, reader.read_message, message[:size])

    def test_other_prologue(self) -> None:
        initiator, _ = both(XK_HFS)
        responder = HandshakeState(XK_HFS, False, b"other", SERVER)
        self.assertRaises(DecryptionFailed, responder.read_message, initiator.write_message(b""))

    def test_other_server_key(self) -> None:
        initiator = HandshakeState(XK_HFS, True, b"same", CLIENT, CLIENT.public)
        self.assertRaises(DecryptionFailed, both(XK_HFS)[1].read_message, initiator.write_message(b""))

    def test_weak_points(self) -> None:
        """A shared secret that is zero is a failure, whoever sends such a point."""
        for key in WEAK_KEYS:
            initiator, responder = both(XK_HFS)
            message = initiator.write_message(b"")
            self.assertRaises(DecryptionFailed, responder.read_message, key + message[32:])
            weak = HandshakeState(XK_HFS, True, b"same", CLIENT, key)
            self.assertRaises(DecryptionFailed, weak.write_message, b"")

    def test_weak_static_key(self) -> None:
        """A client without a key of its own can't claim to have one that everybody has."""
        for key in WEAK_KEYS:
            initiator, responder = both(XK_HFS)
            exchange(initiator, responder, 2)
            symmetric = initiator._symmetric
            sealed = symmetric.encrypt_and_hash(key)
            symmetric.mix_key(bytes(32))
            message = sealed + symmetric.encrypt_and_hash(b"")
            self.assertRaises(DecryptionFailed, responder.read_message, message)

    def test_weak_answer(self) -> None:
        for key in WEAK_KEYS:
            initiator, responder = both(XK_HFS)
            exchange(initiator, responder, 1)
            message = responder.write_message(b"")
            self.assertRaises(DecryptionFailed, initiator.read_message, key + message[32:])

    def test_unreduced_kem_key(self) -> None:
        """It is noticed before the server makes a key."""
        initiator, responder = both(XK_HFS, new_ephemeral=self.fail)

        class Unreduced:
            public = b"\xff" * SIZES["e1"]

        self.patch(initiator, "_kem", self)
        self.generate = Unreduced
        self.assertRaises(DecryptionFailed, responder.read_message, initiator.write_message(b""))


class TableTests(SynchronousTestCase):
    def test_known_tokens(self) -> None:
        """Each sends something, or multiplies what has been sent or is known."""
        for pattern in (XK, XK_HFS, XX_HFS):
            there = {("responder", "s")} if pattern.known else set()
            for number, tokens in enumerate(pattern.messages):
                writer = "initiator" if number % 2 == 0 else "responder"
                for token in tokens:
                    if token in SIZES:
                        there.add((writer, token))
                        continue
                    self.assertIn(("initiator", token[0]), there)
                    self.assertIn(("responder", token[1]), there)
