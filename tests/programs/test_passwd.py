"""
``sodiumtwist passwd`` as a process, with a terminal and without.
"""

from __future__ import annotations

import io
import os
import signal
import sys

from sodiumtwist.admission.passwords import read_passwords, verify_passphrase
from sodiumtwist.programs import passwd as passwd_module
from sodiumtwist.programs.key_options import PasswdOptions
from sodiumtwist.programs.passwd import passwd
from sodiumtwist.programs.settings import PasswdSettings

from ..admission.test_passwords import cheap
from ..processes import SODIUMTWIST
from ..signals import as_at_start, come
from ..terminal import on_terminal
from .test_who_processes import WhoTestCase


class PasswdTests(WhoTestCase):
    """What it says, and the status that it ends with."""

    def test_verify(self) -> None:
        self.write("users", f"ann:{cheap('right')}\n")
        self.write("right", "right")
        self.write("wrong", "wrong")
        with open(self.path("users"), "a") as file:
            file.write("key:$key$ protocol=2\n")
        for arguments, status, line in (
            (("--passphrase-file", "right", "users", "ann"), 0, "right"),
            (("--passphrase-file", "wrong", "users", "ann"), 3, "sodiumtwist: login or passphrase is wrong"),
            (("--passphrase-file", "right", "users", "bob"), 3, "sodiumtwist: login or passphrase is wrong"),
            (("users", "key"), 3, "sodiumtwist: 'key' has no passphrase: it comes in by its key alone"),
        ):
            verified = self.passwd("--verify", *arguments)
            self.assertEqual((verified.wait(), verified.output + verified.errors), (status, [line]))

    def test_mistakes(self) -> None:
        """One line each, status 1, and the file as it was."""
        self.write("users", f"ann:{cheap('right')}\n")
        self.write("empty", "\n")
        self.write("broken", "nonsense\n")
        before = read_passwords(self.path("users"))
        mistakes: list[tuple[tuple[str, ...], str]] = [
            ((), "FILE and LOGIN are missing"),
            (("users",), "LOGIN is missing"),
            (("users", "ann", "x"), "unexpected argument 'x'"),
            (("--passphrase-file", "missing", "users", "ann"), "missing: No such file"),
            (("--passphrase-file", "empty", "users", "ann"), "begins with an empty line"),
            (("--passphrase-file", "users", "broken", "ann"), "line 1"),
            (("--passphrase-file", "users", "no/users", "ann"), "no.*: No such file"),
            (("--passphrase-file", "users", "users", "#ann"), "is no login for such a file"),
            (("--delete", "users", "bob"), "has no login 'bob'"),
            (("--delete", "--verify", "users", "ann"), "--delete goes alone"),
            (("--delete", "--protocol", "2", "users", "ann"), "--protocol goes with a new passphrase alone"),
            (("--verify", "--protocol", "2", "users", "ann"), "--protocol goes with a new passphrase alone"),
            (("--protocol", "1", "users", "ann"), "--protocol takes 2; to take that back, --delete the login"),
            (("--verify", "--passphrase-file", "users", "missing", "ann"), "missing: No such file"),
        ]
        as_at_start(self)
        for arguments, words in mistakes:
            status, output, errors = self.call("passwd", *arguments)
            self.assertEqual((status, output), (1, []), arguments)
            self.assert_one_line(errors, f"^sodiumtwist: .*{words}")
        asking = self.passwd("users", "ann")
        self.assertEqual((asking.wait(), asking.output), (1, []))
        words = "there is no terminal to ask for the passphrase; use --passphrase-file"
        self.assert_one_line(asking.errors, f"^sodiumtwist: .*{words}")
        self.assertEqual(read_passwords(self.path("users")), before)

    def test_owner_lost(self) -> None:
        """Who may not give the file back to its owner is warned, and the change is made."""
        self.write("users", f"ann:{cheap('right')}\n")
        old = os.stat(self.path("users"))
        fields = [*old[:4], old.st_uid + 1, old.st_gid, *old[6:10]]
        self.patch(os, "lstat", lambda path: os.stat_result(fields))
        self.patch(os, "fchown", lambda fd, uid, gid: None)
        as_at_start(self)
        said, shown = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", said)
        self.patch(sys, "stdout", shown)
        passwd(PasswdSettings(self.path("users"), "ann", True, False, None))
        self.assertEqual(shown.getvalue(), "deleted 'ann'\n")
        # What ends it from now on has it undone.
        self.assertRaises(SystemExit, come, signal.SIGHUP)
        self.assertRegex(
            said.getvalue(), r"^sodiumtwist: warning: \S+users could not keep owner \d+, now \d+, mode 600; "
        )

    def test_other_letters(self) -> None:
        """A login is shown as it is."""
        self.write("right", "right")
        as_at_start(self)
        shown = io.StringIO()
        self.patch(sys, "stdout", shown)
        for settings in (
            PasswdSettings(self.path("users"), "\u00e9t\u00e9", False, False, self.path("right")),
            PasswdSettings(self.path("users"), "\u00e9t\u00e9", True, False, None),
        ):
            passwd(settings)
        self.assertEqual(shown.getvalue(), "added '\u00e9t\u00e9'\ndeleted '\u00e9t\u00e9'\n")

    def passwd_here(self, passphrase: str, *options: str, login: str = "ann") -> str:
        """Call it without a process; return what it warns of."""
        self.write("pass", passphrase)
        said = io.StringIO()
        self.patch(passwd_module, "hash_passphrase", cheap)
        self.patch(sys, "stderr", said)
        self.patch(sys, "stdout", io.StringIO())
        asked = PasswdOptions()
        asked.parseOptions(["--passphrase-file", self.path("pass"), *options, self.path("users"), login])
        passwd(asked.settings)
        return said.getvalue()

    def test_protocol(self) -> None:
        """It marks the login; to change the passphrase keeps the mark."""
        as_at_start(self)
        self.assertEqual(self.passwd_here("one", "--protocol", "2"), "")
        self.assertEqual(self.passwd_here("two"), "")
        self.assertEqual(self.passwd_here("two", login="bob"), "")
        found = read_passwords(self.path("users"))
        self.assertEqual((list(found), found.marked), (["ann", "bob"], {"ann"}))
        self.passwd_here("two", "--verify")

    def test_what_one_version_can_carry(self) -> None:
        """It warns of what clients of one version can't give, but not where the login is for the other alone."""
        as_at_start(self)
        longest = "x" * 4096
        for login, passphrase, words in (
            ("ann", longest, "the passphrase has 4096 bytes, so only clients of version 2 can give it; 128 fit"),
            ("l" * 255, "x", "the login has 255 bytes, so only clients of version 2 can give it; 128 fit"),
            ("bob", "u\u0308", "the passphrase holds accents apart from their letters, so only clients of version 1"),
        ):
            self.assertIn(f"sodiumtwist: warning: {words}", self.passwd_here(passphrase, login=login))
            self.assertEqual(self.passwd_here(passphrase, "--verify", login=login), "")
            self.assertEqual(self.passwd_here(passphrase, "--protocol", "2", login=login), "")
            self.assertEqual(self.passwd_here(passphrase, "--verify", login=login), "")
        string = read_passwords(self.path("users"))["bob"]
        self.assertTrue(verify_passphrase(string, "\u00fc".encode()))

    def on_terminal(self, *arguments: str, answers: tuple[bytes, ...]) -> tuple[int, bytes]:
        return on_terminal([*SODIUMTWIST, "passwd", *arguments], self.directory, answers)

    def test_terminal(self) -> None:
        """Asked twice, and what is typed is not shown."""
        status, shown = self.on_terminal("users", "ann", answers=(b"secret\n", b"secret\n"))
        self.assertEqual(status, 0, shown)
        self.assertIn(b"added 'ann'", shown)
        self.assertNotIn(b"secret", shown)
        status, shown = self.on_terminal("--verify", "users", "ann", answers=(b"secret\n",))
        self.assertEqual(status, 0, shown)
        status, shown = self.on_terminal("users", "bob", answers=(b"one\n", b"two\n"))
        self.assertEqual(status, 1)
        self.assertIn(b"the two differ", shown)
        for typed, expected, words in (
            (b"one\x03", 130, b"\nsodiumtwist: interrupted"),
            (b"\x04", 1, b"no passphrase was typed"),
            (b"\xff\n", 1, b"what was typed is not UTF-8"),
        ):
            status, shown = self.on_terminal("users", "bob", answers=(typed,))
            self.assertEqual(status, expected, shown)
            self.assertIn(words, shown.replace(b"\r", b""))
            self.assertNotIn(b"Traceback", shown)
        self.assertEqual(list(read_passwords(self.path("users"))), ["ann"])
