"""
Which clients' keys get in.
"""

from __future__ import annotations

import os
import time

from hypothesis import given, strategies as st
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import InvalidKey, KeyPair, LocalProtocolError, SodiumError, parse_key
from sodiumtwist.admission.authorized import (
    LINES_LOOKED_AT,
    AuthorizedKeys,
    AuthorizedKeysFile,
    Entry,
    parse_authorized_keys,
)
from sodiumtwist.admission.checkers import LoginNotChecked
from sodiumtwist.admission.marks import MARK

from ..logs import logged

ALICE, BOB, CAROL = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32

LOGINS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), max_size=32)


class AuthorizedKeysTests(SynchronousTestCase):
    """A list in code."""

    def setUp(self) -> None:
        self.keys = AuthorizedKeys([(ALICE, "alice"), (ALICE, "night"), (BOB, None), (CAROL, "carol"), (CAROL, None)])

    def test_allows(self) -> None:
        """With the logins listed, or with any."""
        for key, login, expected in [
            (ALICE, "alice", True),
            (ALICE, "night", True),
            (ALICE, "bob", False),
            (ALICE, "Alice", False),
            (ALICE, "alice ", False),
            (ALICE, "", False),
            (BOB, "alice", True),
            (BOB, "", True),
            (CAROL, "carol", True),
            (CAROL, "alice", True),
            (bytes(32), "alice", False),
            (ALICE[:-1], "alice", False),
            (b"", "", False),
        ]:
            self.assertIs(self.keys.allows(key, login), expected, (key, login))

    def test_nobody(self) -> None:
        """An empty list lets nobody in."""
        self.assertFalse(AuthorizedKeys([]).allows(ALICE, "alice"))

    def test_wrong_entries(self) -> None:
        """What can't be a key or a login is refused."""
        for key in (b"", ALICE[:-1], ALICE + b"x"):
            error = self.assertRaises(InvalidKey, AuthorizedKeys, [(BOB, None), (key, "alice")])
            self.assertIn(f"is {len(key)} bytes long", str(error))
        for login in ("x" * 256, "x\0", "\ud800"):
            error = self.assertRaises(LocalProtocolError, AuthorizedKeys, [(ALICE, login)])
            self.assertIn("the login ", str(error))
        self.assertRaises(LocalProtocolError, AuthorizedKeys, [(ALICE, "x" * 129, [1])])
        for versions in ([], [3], [2, 0]):
            error = self.assertRaises(LocalProtocolError, AuthorizedKeys, [(ALICE, None, versions)])
            self.assertIn("a key is for some of the versions", str(error))

    def test_versions(self) -> None:
        """A key is let in with the versions that its entry names. Who does not say which it speaks, speaks 1."""
        keys = AuthorizedKeys([(ALICE, "alice", [2]), (ALICE, "old", [1]), (BOB, None, {2}), (CAROL, None, (1, 2))])
        for key, login, versions in [
            (ALICE, "alice", [2]),
            (ALICE, "old", [1]),
            (BOB, "any", [2]),
            (CAROL, "any", [1, 2]),
            (ALICE, "any", []),
        ]:
            self.assertEqual([version for version in (1, 2, 3) if keys.allows(key, login, version)], versions)
            self.assertIs(keys.allows(key, login), 1 in versions)

    def test_two_entries(self) -> None:
        """Where several fit, in any order, one without the mark does not take back the promise of another."""
        both: list[list[Entry]] = [
            [(ALICE, "alice", [2]), (ALICE, "alice")],
            [(ALICE, "alice", [2]), (ALICE, None)],
            [(ALICE, None, [2]), (ALICE, "alice")],
        ]
        for entries in both:
            for given_so in (entries, entries[::-1]):
                keys = AuthorizedKeys(given_so)
                self.assertFalse(keys.allows(ALICE, "alice", 1))
                self.assertTrue(keys.allows(ALICE, "alice", 2))
        self.assertTrue(AuthorizedKeys([(ALICE, "alice", [2]), (ALICE, None)]).allows(ALICE, "bob", 1))

    def test_other_form(self) -> None:
        """Clients of version 2 send logins composed. Those of version 1 send them as they are typed."""
        typed, sent = "u\u0308", "\u00fc"
        keys = AuthorizedKeys([(ALICE, typed), (BOB, sent), (CAROL, None)])
        for key, login, versions in [
            (ALICE, typed, [1]),
            (ALICE, sent, [2]),
            (BOB, typed, []),
            (BOB, sent, [1, 2]),
            (CAROL, typed, [1, 2]),
        ]:
            self.assertEqual([version for version in (1, 2) if keys.allows(key, login, version)], versions)


class ParseTests(SynchronousTestCase):
    """The text of a file."""

    def assert_says(self, text: str, *entries: Entry) -> None:
        self.assertEqual(parse_authorized_keys(text)._entries, AuthorizedKeys(entries)._entries)

    def test_lines(self) -> None:
        """Keys, logins, comments."""
        key = ALICE.hex()
        lines: list[tuple[str, Entry]] = [
            (key, (ALICE, None)),
            (f" \t{key} \t\r", (ALICE, None)),
            (f"{bytes([0xAB] * 32).hex().upper()} alice", (b"\xab" * 32, "alice")),
            (f"{key} alice", (ALICE, "alice")),
            (f"{key}\t alice  # at home", (ALICE, "alice")),
            (f"{key} # alice", (ALICE, None)),
            (f"{key} #", (ALICE, None)),
            (f'{key} "alice at home" # "x"', (ALICE, "alice at home")),
            (f'{key} "a#b"', (ALICE, "a#b")),
            (f'{key} " # "', (ALICE, " # ")),
            (f'{key} "say ""aah"""', (ALICE, 'say "aah"')),
            (f'{key} """"', (ALICE, '"')),
            (f'{key} ""', (ALICE, "")),
            (f"{key} a'b\\c", (ALICE, "a'b\\c")),
            (f"{key} j\u00fcrgen", (ALICE, "j\u00fcrgen")),
            (f'{key} "a\u2028b\x0bc"', (ALICE, "a\u2028b\x0bc")),
            (f"{key} {'x' * 255}", (ALICE, "x" * 255)),
            (f"protocol=2 {key}", (ALICE, None, [2])),
            (f" protocol=2\t{key} alice # at home", (ALICE, "alice", [2])),
            (f'protocol=2 {key} "protocol=2"', (ALICE, "protocol=2", [2])),
            (f'{key} "protocol=2"', (ALICE, "protocol=2")),
            (f"{key} # protocol=2", (ALICE, None)),
            (f"protocol=2 public key: {key} alice", (ALICE, "alice", [2])),
        ]
        for line, entry in lines:
            self.assert_says(f"{line}\n", entry)

    def test_file(self) -> None:
        """Many lines, some of them of no account."""
        self.assert_says("")
        self.assert_says("\n \n# nobody\n\t# yet\r\n")
        text = f"# us\r\n\r\n{ALICE.hex()} alice\r\n{ALICE.hex()} night\n\n{BOB.hex()}\n{BOB.hex()}\n"
        self.assert_says(text, (ALICE, "alice"), (ALICE, "night"), (BOB, None))

    def test_line_of_keygen(self) -> None:
        """It may be put in as it is."""
        self.assert_says(f"public key: {ALICE.hex()}\nPublic key:  {BOB.hex()} bob\n", (ALICE, None), (BOB, "bob"))

    def test_no_public_keys(self) -> None:
        """Private keys and typing errors are found, among the first lines; they break nothing."""
        public = KeyPair.from_hex("11" * 32).public.hex()
        keys = parse_authorized_keys(f"# us\n{public} ann\n{'11' * 32} ann\n\nprotocol=2 {'12' * 32}\n")
        self.assertEqual(keys.lines_without_public_key(), [3, 5])
        many = f"{public}\n" * LINES_LOOKED_AT
        self.assertEqual(parse_authorized_keys(f"{many}{'11' * 32}\n").lines_without_public_key(), [])
        self.assertEqual(AuthorizedKeys([(b"\x11" * 32, None)]).lines_without_public_key(), [])

    def test_errors(self) -> None:
        """Each names its line, and shows nothing of it."""
        key = ALICE.hex()
        for line, error, reason in [
            (key[:-1], InvalidKey, "has 63 characters"),
            (f"{key}0", InvalidKey, "has 65 characters"),
            (f"{'xy' * 32} alice", InvalidKey, "holds characters other than"),
            ("alice", InvalidKey, "has 5 characters"),
            (f"alice {key}", InvalidKey, "the key stands before the login"),
            (f"private key: {key}", InvalidKey, "it is a private key, which nobody but its owner may have"),
            (f"protocol=2 Private Key: {key} alice", InvalidKey, "it is a private key"),
            (f'"{key}"', LocalProtocolError, "it is not 64 hex digits, then"),
            (f"{key} alice night", LocalProtocolError, "it is not 64 hex digits, then"),
            (f"{key} alice#1", LocalProtocolError, "in double quotes"),
            (f"{key}# alice", LocalProtocolError, "it is not"),
            (f'{key} "alice', LocalProtocolError, "it is not"),
            (f'{key} alice"', LocalProtocolError, "it is not"),
            (f'{key} "alice"#x', LocalProtocolError, "it is not"),
            (f'{key} "alice"x', LocalProtocolError, "it is not"),
            (f'{key}"alice"', LocalProtocolError, "it is not"),
            (f"{key} al\u00a0ice", LocalProtocolError, "it is not"),
            (f"{key} {'y' * 256}", LocalProtocolError, "the login is 256 bytes long"),
            (f"{key} protocol=2", LocalProtocolError, "protocol=2 stands before the key"),
            (f"{key} alice protocol=2", LocalProtocolError, "it is not 64 hex digits"),
            (f"protocol=1 {key}", InvalidKey, "has 10 characters"),
            (f"protocol=3 {key} alice", LocalProtocolError, "it is not 64 hex digits"),
            ("protocol=2", InvalidKey, "has 10 characters"),
            (f"{key} xx\0xx", LocalProtocolError, "holds a NUL"),
            (f"private key: {key}", InvalidKey, "it is a private key"),
        ]:
            for start, end in [("", ""), ("# us\n\n", f"{BOB.hex()}\nalso wrong\n")]:
                text = f"{start}{line}\n{end}"
                found = self.assertRaises(error, parse_authorized_keys, text)
                number = start.count("\n") + 1
                self.assertRegex(str(found), rf"^line {number}: .*{reason}", line)
                for secret in (key[:8], "xy", "yy", "alice"):
                    self.assertNotIn(secret, str(found))

    def test_cut_off(self) -> None:
        """However a file is cut off, nobody gets in by it who would not by the whole."""
        text = f"{ALICE.hex()} alice # x\n{BOB.hex()} bob\n"
        whole = parse_authorized_keys(text)._entries
        good = 0
        for size in range(len(text)):
            try:
                cut = parse_authorized_keys(text[:size])
            except SodiumError:
                continue
            good += 1
            self.assertLess(cut._entries.items(), whole.items())
        self.assertEqual(good, 2)
        error = self.assertRaises(LocalProtocolError, parse_authorized_keys, text[:-1])
        self.assertEqual(str(error), "line 2: it does not end with a newline, so it may be cut off; add one")

    def test_earlier_releases(self) -> None:
        """They take the first word of a line for the key, and refuse a file where it is none."""
        self.assertRaises(InvalidKey, parse_key, MARK, "client's key")

    @given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.none() | LOGINS)))
    def test_any_login(self, entries: list[tuple[bytes, str | None]]) -> None:
        """Every login without a newline can be written in quotes."""
        lines = [
            key.hex() if login is None else '{} "{}"'.format(key.hex(), login.replace('"', '""'))
            for key, login in entries
        ]
        self.assert_says("".join(f"{line}\n" for line in lines), *entries)

    @given(st.text(st.sampled_from('ab0 \t\r\n"#\0\u00a0') | st.characters()))
    def test_any_text(self, text: str) -> None:
        """Whatever it is, it is read or refused."""
        for start in ("", f"{ALICE.hex()} "):
            try:
                parse_authorized_keys(start + text)
            except SodiumError as error:
                self.assertRegex(str(error), r"\Aline [0-9]+: .+\Z")

    def test_long_line(self) -> None:
        """A comment may be long, but not without end."""
        start = f"{ALICE.hex()} alice #"
        self.assert_says(f"{start:x<4096}\n", (ALICE, "alice"))
        error = self.assertRaises(LocalProtocolError, parse_authorized_keys, f"{start:x<4097}\n")
        self.assertEqual(str(error), "line 1: it has 4097 characters, and 4096 is the limit; shorten its comment")
        # Of blanks alone, too: to take them off stops all threads meanwhile. Of a comment nothing is looked at.
        self.assertRaises(LocalProtocolError, parse_authorized_keys, " " * 4097 + "\n")
        self.assert_says("#" * 10000 + f"\n{ALICE.hex()} alice\n", (ALICE, "alice"))

    def test_time(self) -> None:
        """As much as a file can hold is read in a moment, and nothing in it makes that long."""
        for text in [
            f"{ALICE.hex()} alice\n" * 14_000,
            "\n" * 200_000,
            f"{ALICE.hex()} {' ' * 1_000_000}x y\n",
            f'{ALICE.hex()} "{chr(34) * 1_000_000}\n',
            f"{ALICE.hex()} {'#' * 1_000_000}\n" + "x\n",
        ]:
            before = time.process_time()
            try:
                parse_authorized_keys(text)
            except SodiumError:
                pass
            self.assertLess(time.process_time() - before, 2)


class AuthorizedKeysFileTests(SynchronousTestCase):
    """A list in a file."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.events = logged(self)

    def write(self, contents: str, mode: int = 0o644) -> None:
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(contents)
        os.chmod(self.path, mode)

    def test_follows_the_file(self) -> None:
        """A key comes, gets another login, and goes."""
        self.write("")
        keys = AuthorizedKeysFile(self.path)
        self.assertFalse(keys.allows(ALICE, "alice"))
        self.write(f"{ALICE.hex()}\n")
        self.assertTrue(keys.allows(ALICE, "alice"))
        self.write(f"{ALICE.hex()} alice\n")
        self.assertTrue(keys.allows(ALICE, "alice"))
        self.assertFalse(keys.allows(ALICE, "other"))
        self.write("# gone\n")
        self.assertFalse(keys.allows(ALICE, "alice"))

    def test_broken(self) -> None:
        """What was good holds, and the log names path and line once."""
        self.write(f"{ALICE.hex()} alice\n")
        keys = AuthorizedKeysFile(self.path)
        self.write(f"{BOB.hex()} bob\nnonsense\n")
        for _ in range(3):
            self.assertTrue(keys.allows(ALICE, "alice"))
            self.assertFalse(keys.allows(BOB, "bob"))
        told = [event for event in self.events if event["log_namespace"].startswith("sodiumtwist.admission.watched")]
        (line,) = map(formatEvent, told)
        self.assertRegex(line, f"^the list of clients' keys can't be used, .* {self.path}: line 2: ")
        self.write(f"{BOB.hex()} bob\n")
        self.assertTrue(keys.allows(BOB, "bob"))

    def test_lapsed(self) -> None:
        """When it can't be used for too long nobody is let in, and it counts against nobody who tries."""
        self.write(f"{ALICE.hex()} alice\n")
        keys = AuthorizedKeysFile(self.path, grace=0)
        self.assertTrue(keys.allows(ALICE, "alice"))
        os.unlink(self.path)
        self.assertRaises(LoginNotChecked, keys.allows, ALICE, "alice")
        self.assertEqual(AuthorizedKeysFile.__init__.__defaults__, (60.0,))

    def test_at_first(self) -> None:
        """What is wrong with it is an error at once."""
        self.assertRaises(FileNotFoundError, AuthorizedKeysFile, self.path)
        self.write("\nnonsense\n")
        error = self.assertRaises(InvalidKey, AuthorizedKeysFile, self.path)
        self.assertRegex(str(error), f"^{self.path}: line 2: the client's key has 8 characters")
        self.write(f"{ALICE.hex()}\n", 0o664)
        error = self.assertRaises(LocalProtocolError, AuthorizedKeysFile, self.path)
        self.assertIn(f"run: chmod go-w {self.path}", str(error))
