"""
The veil: what strangers see of a handshake, and what they can't make.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from random import Random
from typing import Any

from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import DecryptionFailed, LocalProtocolError, MalformedPDU, RemoteProtocolError
from sodiumtwist.core.v2 import agreement
from sodiumtwist.core.v2.chacha import Cipher
from sodiumtwist.core.v2.handshake import ClientHandshake
from sodiumtwist.core.v2.veil import MESSAGE_LIMIT, OPENING_SIZE, RecentSalts, Veil, make_salt, opens

from ..peers import CLIENT_PAIR, SERVER_PAIR, flip, new_client, wire_of

KEY = SERVER_PAIR.public


def is_blocked(flight: bytes) -> bool:
    """
    Tell whether a first packet falls under the rule by which fully encrypted traffic is blocked, by Wu et al., "How the
    Great Firewall of China Detects and Blocks Fully Encrypted Traffic", USENIX Security 2023: it does unless one of
    five exemptions holds.
    """
    if re.match(rb"[ -~]{6}|[\x16\x17]\x03[\x00-\x09]|(GET|HEAD|POST|PUT) ", flight):
        return False
    ones = int.from_bytes(flight, "big").bit_count() / len(flight)
    runs = re.findall(rb"[ -~]+", flight)
    return 3.4 < ones < 4.6 and sum(map(len, runs)) <= len(flight) / 2 and max(map(len, runs), default=0) <= 20


class SaltTests(SynchronousTestCase):
    """What a client's first flight begins with."""

    def salts(self, count: int) -> list[bytes]:
        random = Random(1)
        return [make_salt(random.randbytes) for _ in range(count)]

    def test_printable_run(self) -> None:
        """Its length is drawn between 6 and 12, evenly, and each printable byte is as likely."""
        salts = self.salts(7000)
        runs = [0] * 13
        seen = [0] * 256
        for salt in salts:
            self.assertEqual(len(salt), 32)
            run = next(place for place, byte in enumerate(salt) if not 0x20 <= byte <= 0x7E or place == 12)
            runs[min(run, 12)] += 1
            for byte in salt[:6]:
                seen[byte] += 1
        self.assertEqual(sum(runs[:6]), 0)
        # A run goes on by chance with 95 of 256 bytes.
        self.assertTrue(all(400 < count < 1200 for count in runs[6:12]), runs)
        self.assertEqual([byte for byte, count in enumerate(seen) if count], [*range(0x20, 0x7F)])
        self.assertGreater(min(filter(None, seen)), 7000 * 6 / 95 * 0.75)

    def test_random_rest(self) -> None:
        """Of the last 20 bytes each bit is drawn."""
        ones = [0] * 160
        for salt in self.salts(1000):
            rest = int.from_bytes(salt[12:], "big")
            for place in range(160):
                ones[place] += rest >> place & 1
        self.assertTrue(all(400 < count < 600 for count in ones), ones)

    def test_all_different(self) -> None:
        self.assertEqual(len({make_salt() for _ in range(1000)}), 1000)


class BlockingTests(SynchronousTestCase):
    """The first packet under the published rule by which fully encrypted traffic is blocked."""

    def test_rule(self) -> None:
        """The rule, as written down here, knows what it should."""
        random = Random(2).randbytes
        for flight in (b"GET / HTTP/1.1", b"SSH-2.0-OpenSSH", b"\x16\x03\x01" + random(300), bytes(20), b"\xff" * 20):
            self.assertIs(is_blocked(flight), False, flight)
        self.assertIs(is_blocked(b"\x80" + b"a" * 21 + bytes(range(128, 256))), False)
        self.assertGreater(sum(is_blocked(random(400)) for _ in range(200)), 190)

    def test_version_2_passes(self) -> None:
        """Ten thousand first flights: salts and frames as they are made, about messages as long as these can be."""
        random = Random(3)
        self.patch(bindings, "randombytes", random.randbytes)
        self.assertIs(is_blocked(ClientHandshake(CLIENT_PAIR, KEY, "", "", 0).first_flight), False)
        for _ in range(10_000):
            salt = make_salt(random.randbytes)
            # What is sealed looks the same whatever it was, so no keys are made for each.
            flight = salt + Veil(KEY, salt).seal(bytes(1244 + random.randrange(1024)))
            self.assertIs(is_blocked(flight), False, flight[:50])

    def test_version_1_does_not(self) -> None:
        flights = [wire_of(new_client().initiate) for _ in range(100)]
        self.assertGreater(sum(map(is_blocked, flights)), 90)


class FrameTests(SynchronousTestCase):
    """Frames."""

    def setUp(self) -> None:
        self.salt = bytes(range(32))

    def test_layout(self) -> None:
        """Two sealings each, counted on: the size, the message."""
        key = blake2b(self.salt, digest_size=32, key=KEY, person=b"sodiumtwist2veil").digest()
        veil = Veil(KEY, self.salt)
        for counter, message in [(0, b"one"), (2, b"another")]:
            size = len(message).to_bytes(2, "big")
            nonces = [bytes(4) + number.to_bytes(8, "little") for number in (counter, counter + 1)]
            expected = [
                bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plain, None, nonce, key)
                for plain, nonce in ((size, nonces[0]), (message, nonces[1]))
            ]
            self.assertEqual(veil.seal(message), b"".join(expected))

    def test_opened(self) -> None:
        sealing, opening = Veil(KEY, self.salt), Veil(KEY, self.salt)
        for message in (b"x", bytes(MESSAGE_LIMIT), b"y" * 100):
            frame = sealing.seal(message)
            self.assertEqual(len(frame), len(message) + 34)
            self.assertEqual(opening.open_size(frame[:18]), len(message) + 16)
            self.assertEqual(opening.open_message(frame[18:]), message)

    def test_sizes(self) -> None:
        """A message has 1 to 8192 bytes."""
        for size in (0, MESSAGE_LIMIT + 1, 65535):
            front = Veil(KEY, self.salt)._cipher.seal(size.to_bytes(2, "big"))
            self.assertRaises(MalformedPDU, Veil(KEY, self.salt).open_size, front)

    def test_any_bit(self) -> None:
        frame = Veil(KEY, self.salt).seal(b"message")
        for place in range(len(frame)):
            veil = Veil(KEY, self.salt)
            altered = flip(frame, place, 1 << place % 8)
            with self.assertRaises(RemoteProtocolError):
                veil.open_message(altered[18 : 18 + veil.open_size(altered[:18])])

    def test_other_direction(self) -> None:
        """What one end sent does not open as what the other sent, nor a second time."""
        frame = Veil(KEY, self.salt).seal(b"message")
        self.assertRaises(DecryptionFailed, Veil(KEY, self.salt + bytes(32)).open_size, frame[:18])
        veil = Veil(KEY, self.salt)
        veil.open_size(frame[:18])
        veil.open_message(frame[18:])
        self.assertRaises(DecryptionFailed, veil.open_size, frame[:18])


class OpensTests(SynchronousTestCase):
    """How a server tells the versions apart."""

    def test_ours(self) -> None:
        flight = ClientHandshake(CLIENT_PAIR, KEY, "", "", 0).first_flight
        self.assertIs(opens(KEY, flight[:OPENING_SIZE]), True)
        self.assertIs(opens(CLIENT_PAIR.public, flight[:OPENING_SIZE]), False)
        for place in range(OPENING_SIZE):
            self.assertIs(opens(KEY, flip(flight[:OPENING_SIZE], place)), False)

    def test_wrong_sizes(self) -> None:
        """What is sealed with this key is version 2, and a wrong size is then its mistake."""
        salt = bytes(32)
        front = Veil(KEY, salt)._cipher.seal(b"\xff\xff")
        self.assertIs(opens(KEY, salt + front), True)

    def test_version_1(self) -> None:
        self.assertIs(opens(KEY, wire_of(new_client().initiate)[:OPENING_SIZE]), False)

    def test_too_little(self) -> None:
        for size in (0, 31, 32, 47):
            self.assertIs(opens(KEY, bytes(size)), False)

    def test_no_multiplication(self) -> None:
        """A stranger costs one keyed hash and one attempt to open 18 bytes."""
        self.patch(agreement, "multiply", self.fail)
        self.patch(bindings, "crypto_scalarmult", self.fail)
        attempts = []
        real = Cipher.open

        def attempt(cipher: Cipher, sealed: bytes, *others: Any) -> bytes:
            attempts.append(len(sealed))
            return real(cipher, sealed, *others)

        self.patch(Cipher, "open", attempt)
        self.assertIs(opens(KEY, b"GET / HTTP/1.1".ljust(OPENING_SIZE)), False)
        self.assertEqual(attempts, [18])


class RecentSaltsTests(SynchronousTestCase):
    """The memory of a server without a database."""

    def test_remembered(self) -> None:
        salts = RecentSalts()
        self.assertIs(salts.seen(b"a"), False)
        salts.remember(b"a")
        self.assertIs(salts.seen(b"a"), True)
        self.assertIs(salts.seen(b"b"), False)

    def test_the_oldest_go_first(self) -> None:
        salts = RecentSalts(3)
        for salt in (b"a", b"b", b"b", b"c", b"d", b"e"):
            salts.remember(salt)
        self.assertEqual(
            [salts.seen(salt) for salt in (b"a", b"b", b"c", b"d", b"e")], [False, False, True, True, True]
        )
        self.assertEqual((len(salts._salts), len(salts._order)), (3, 3))

    def test_no_room(self) -> None:
        self.assertRaises(LocalProtocolError, RecentSalts, 0)
