"""
Invitations, one by one: their secrets, their lines, and when they can be used.
"""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import InvalidKey, LocalProtocolError, SodiumError
from sodiumtwist.admission.authorized import parse_authorized_keys
from sodiumtwist.admission.invitations import (
    AGAIN,
    INVITATION,
    KEPT,
    Invitation,
    hash_secret,
    make_secret,
    parse_invitation,
    passphrase_of,
    secret_of,
    shown_time,
)

SECRET, ALICE, BOB = bytes(range(16)), bytes([1]) * 32, bytes([2]) * 32
DIGEST = hash_secret(SECRET)

#: 2026-11-29 08:00 UTC
THEN = 1795939200

OPEN = Invitation(DIGEST, "ann", THEN)
USED = Invitation(DIGEST, "ann", THEN, ALICE)

# What a login in a file of keys can be.
LOGINS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40)


class SecretTests(SynchronousTestCase):
    def test_hash(self) -> None:
        """BLAKE2b of 32 bytes, by which no other hash of ours can be mistaken for it."""
        self.assertEqual(DIGEST, blake2b(SECRET, digest_size=32, person=b"sodiumtwist-inv\0").digest())
        self.assertNotEqual(DIGEST, blake2b(SECRET, digest_size=32).digest())

    def test_made(self) -> None:
        """128 bits, each time others."""
        self.assertEqual(len({make_secret() for _ in range(100)}), 100)
        self.assertEqual(len(make_secret()), 16)

    def test_passphrase(self) -> None:
        self.assertEqual(passphrase_of(SECRET), "invitation:000102030405060708090a0b0c0d0e0f")
        self.assertEqual(secret_of(passphrase_of(SECRET)), SECRET)
        for other in (
            "",
            "invitation:",
            SECRET.hex(),
            passphrase_of(SECRET) + "0",
            passphrase_of(SECRET) + "\n",
            passphrase_of(SECRET)[:-1],
            "Invitation:" + SECRET.hex(),
            "invitation:" + "\u0661" * 32,
        ):
            self.assertIsNone(secret_of(other), other)


class LineTests(SynchronousTestCase):
    """Lines of a file of keys."""

    def test_lines(self) -> None:
        self.assertEqual(OPEN.line, f"invitation={DIGEST.hex()} expires=2026-11-29T08:00:00Z ann")
        self.assertEqual(USED.line, f"invitation={DIGEST.hex()} used=2026-11-29T08:00:00Z {ALICE.hex()} ann")
        for invitation in (OPEN, USED):
            self.assertTrue(invitation.line.startswith(INVITATION))
            for line in (invitation.line, invitation.line + "  # a comment", invitation.line.replace(" ", " \t ")):
                self.assertEqual(parse_invitation(line), invitation)
        self.assertEqual(parse_invitation(OPEN.line.replace(DIGEST.hex(), DIGEST.hex().upper())), OPEN)

    @given(LOGINS, st.integers(0, 250_000_000_000), st.sampled_from([None, ALICE]))
    def test_any_login(self, login: str, time: int, key: bytes | None) -> None:
        """What is written is read as the same; nothing in a login makes another line."""
        invitation = Invitation(DIGEST, login, time, key)
        found = parse_authorized_keys(f"{invitation.line}  # invited\n")
        self.assertEqual((found._entries, found.invitations), ({}, {DIGEST: invitation}))

    def test_quotes(self) -> None:
        """A login that a line could be misread for stands in quotes."""
        for login, written in (
            ("ann at night", '"ann at night"'),
            ('a"b', '"a""b"'),
            ("#1", '"#1"'),
            ("protocol=2", '"protocol=2"'),
            ("\u00e9t\u00e9", "\u00e9t\u00e9"),
        ):
            self.assertTrue(Invitation(DIGEST, login, THEN).line.endswith(f"Z {written}"))

    def test_mistakes(self) -> None:
        """Each is refused with the number of its line, and the file with it."""
        digest, key = DIGEST.hex(), ALICE.hex()
        mistakes: list[tuple[str, type[SodiumError], str]] = [
            ("invitation=", LocalProtocolError, "it is no invitation"),
            (f"invitation={digest}", LocalProtocolError, "it is no invitation"),
            (f"invitation={digest[:-1]} expires=2026-11-29T08:00:00Z ann", LocalProtocolError, "it is no invitation"),
            (f"invitation={digest} expires=2026-11-29T08:00:00Z", LocalProtocolError, "it is no invitation"),
            (f"invitation={digest} expires=2026-11-29T08:00:00Z ann bob", LocalProtocolError, "it is no invitation"),
            (f"invitation={digest} expires=2026-11-29T08:00:00Z ann# x", LocalProtocolError, "it is no invitation"),
            (f"invitation={digest} used=2026-11-29T08:00:00Z ann", LocalProtocolError, "it is no invitation"),
            (f"invitation={digest} used=2026-11-29T08:00:00Z {key[:-1]} ann", InvalidKey, "client's key"),
            (f"invitation={digest} expires=2026-11-29 ann", LocalProtocolError, "is no time such as"),
            (f"invitation={digest} expires=2026-02-30T08:00:00Z ann", LocalProtocolError, "is no time such as"),
            (f"invitation={digest} expires=2026-11-29T08:00:60Z ann", LocalProtocolError, "is no time such as"),
            (f"invitation={digest} expires=0000-11-29T08:00:00Z ann", LocalProtocolError, "is no time such as"),
            (f'invitation={digest} expires=2026-11-29T08:00:00Z "{"x" * 256}"', LocalProtocolError, "the login"),
            (USED.line, LocalProtocolError, "the same invitation stands in an earlier line"),
        ]
        for line, kind, words in mistakes:
            error = self.assertRaises(kind, parse_authorized_keys, f"{OPEN.line}\n# x\n{line}\n")
            self.assertRegex(str(error), rf"^line 3: .*{words}", line)


class StateTests(SynchronousTestCase):
    """When one can be used."""

    def test_open(self) -> None:
        self.assertIsNone(OPEN.why_not(THEN - 1))
        self.assertTrue(OPEN.is_open(THEN - 1))
        self.assertFalse(OPEN.is_open(THEN))
        self.assertEqual(OPEN.why_not(THEN), "the invitation expired on 2026-11-29 08:00 UTC; ask for a new one")

    def test_used(self) -> None:
        self.assertFalse(USED.is_open(THEN))
        self.assertEqual(USED.why_not(THEN + 1), "the invitation was used on 2026-11-29 08:00 UTC; ask for a new one")
        for now, expected in ((THEN - 60, True), (THEN + AGAIN - 1, True), (THEN + AGAIN, False)):
            self.assertIs(USED.is_recent(now), expected)

    def test_over(self) -> None:
        """Its line stays for a month."""
        for invitation in (OPEN, USED):
            self.assertFalse(invitation.is_over(THEN + KEPT - 1))
            self.assertTrue(invitation.is_over(THEN + KEPT))

    def test_login(self) -> None:
        """Clients send its letters composed, however the line has them."""
        self.assertTrue(Invitation(DIGEST, "e\u0301", THEN).is_for("\u00e9"))
        self.assertFalse(OPEN.is_for("bob"))

    def test_shown(self) -> None:
        self.assertEqual(shown_time(THEN + 59.9), "2026-11-29 08:00 UTC")
