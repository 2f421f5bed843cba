"""
Logins with their passphrases as they are.
"""

from __future__ import annotations

import os
import tracemalloc

from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sodiumtwist.admission.checkers import LoginNotChecked, LoginUnknown
from sodiumtwist.admission.plaintext import PlaintextFile, parse_plaintext

TEXT = "ann:secret\nbob:a b : more\nann:other\nno colon\n:nobody\n eve:x \nempty:\n\n#ghost:boo\r\n"


class PlaintextFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.write(TEXT)
        self.checker = PlaintextFile(self.path)

    def write(self, text: str) -> None:
        with open(self.path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)

    def test_as_of_twisted(self) -> None:
        """It lets in whom Twisted's checker lets in, by the same file."""
        verifyObject(ICredentialsChecker, self.checker)
        theirs = FilePasswordDB(self.path)
        for login in (b"ann", b"bob", b"no colon", b"", b" eve", b"eve", b"empty", b"#ghost", b"ghost", b"\xff"):
            for passphrase in (b"secret", b"a b ", b"other", b"nobody", b"x", b"", b"boo", b"\xff"):
                credentials = UsernamePassword(login, passphrase)
                expected = theirs.requestAvatarId(credentials)
                found = self.checker.requestAvatarId(credentials)
                if isinstance(getattr(expected, "result", None), bytes):
                    self.assertEqual(self.successResultOf(found), self.successResultOf(expected))
                else:
                    self.failureResultOf(expected, UnauthorizedLogin)
                    self.failureResultOf(found, UnauthorizedLogin)

    def test_unknown(self) -> None:
        """Only a login that is there has failed."""
        wrong = self.checker.requestAvatarId(UsernamePassword(b"zoe", b"x"))
        self.failureResultOf(wrong, LoginUnknown)
        wrong = self.checker.requestAvatarId(UsernamePassword(b"ann", b"x"))
        self.assertIs(self.failureResultOf(wrong).type, UnauthorizedLogin)

    def test_follows_the_file(self) -> None:
        """What changes counts at once, and what can't be used lets nobody in after its time."""
        self.write("zoe:new\n")
        self.assertEqual(self.successResultOf(self.checker.requestAvatarId(UsernamePassword(b"zoe", b"new"))), b"zoe")
        self.checker.file.grace = 0
        os.chmod(self.path, 0o620)
        self.failureResultOf(self.checker.requestAvatarId(UsernamePassword(b"zoe", b"new")), LoginNotChecked)

    def test_many_colons(self) -> None:
        """What stands behind the second one is not taken apart, which would stop all threads meanwhile."""
        text = "ann:secret" + ":" * 500_000 + "\n"
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertEqual(parse_plaintext(text), {b"ann": b"secret"})
        # The line, and parts of it. A list of its parts has 8 bytes for each.
        self.assertLess(tracemalloc.get_traced_memory()[1], 5 * len(text))
