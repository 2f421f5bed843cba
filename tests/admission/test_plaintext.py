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

from sodiumtwist import LocalProtocolError
from sodiumtwist.admission.checkers import LoginNotChecked, LoginRefused, LoginUnknown
from sodiumtwist.admission.plaintext import PlaintextFile, parse_plaintext

from .test_checkers import spoken

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

    def test_marked(self) -> None:
        """It is for version 2 alone. Twisted's checker, and earlier releases, have no such login."""
        marked = 'protocol=2 eve a "b" c\nprotocol=2 \t"eve ""e"" x"\tsecret \r\n'
        self.write("ann:secret\n" + marked)
        for login, passphrase in ((b"eve", b'a "b" c'), (b'eve "e" x', b"secret")):
            asked = self.checker.requestAvatarId(spoken(2, login.decode(), passphrase.decode()))
            self.assertEqual(self.successResultOf(asked), login)
            wrong = self.checker.requestAvatarId(spoken(2, login.decode(), "wrong"))
            self.assertIs(self.failureResultOf(wrong).type, UnauthorizedLogin)
            for credentials in (spoken(1, login.decode()), UsernamePassword(login, passphrase)):
                self.assertTrue(self.successResultOf(self.checker.bars(credentials)))
                for given in (passphrase, b"wrong"):
                    credentials.password = given
                    self.failureResultOf(self.checker.requestAvatarId(credentials), LoginRefused)
        for version in (1, 2):
            asked = self.checker.requestAvatarId(spoken(version, "ann", "secret"))
            self.assertEqual(self.successResultOf(asked), b"ann")
            self.assertFalse(self.successResultOf(self.checker.bars(spoken(version, "ann"))))
            self.assertFalse(self.successResultOf(self.checker.bars(spoken(version, "zoe"))))
        self.write(marked)
        theirs = FilePasswordDB(self.path)
        for login in (b"eve", b'eve "e" x', b"protocol=2", b"protocol=2 eve", b""):
            self.failureResultOf(theirs.requestAvatarId(UsernamePassword(login, b"secret")), UnauthorizedLogin)
        self.assertEqual(list(theirs._loadCredentials()), [])

    def test_wrong_marks(self) -> None:
        """Each is told with its line, and shows no passphrase."""
        for line in (
            "protocol=2 eve:secret",
            "protocol=2 eve secret:x",
            "protocol=2 eve",
            'protocol=2 "eve secret',
            'protocol=2 "eve"secret',
            "protocol=2 ann secret",
        ):
            for text in (f"ann:other\n{line}\n", f"ann:other\nzoe:x\n{line}\n"):
                error = self.assertRaises(LocalProtocolError, parse_plaintext, text)
                self.assertRegex(str(error), f"^line {text.count(chr(10))}: ")
                self.assertNotIn("secret", str(error))
        error = self.assertRaises(LocalProtocolError, parse_plaintext, "protocol=2 ann secret\nann:other\n")
        self.assertEqual(str(error), "line 2: a line with protocol=2 has that login already")
        self.assertEqual(parse_plaintext("protocol=2:secret\nprotocol=22 a b\n").by_login, {b"protocol=2": b"secret"})

    def test_by_key(self) -> None:
        """What invite adds to the other kind of file is no passphrase."""
        error = self.assertRaises(LocalProtocolError, parse_plaintext, "eve:x\nann:$key$ protocol=2\r\n")
        self.assertEqual(str(error), "line 2: a login that comes in by its key alone stands in a file for argon2:FILE")
        self.assertEqual(parse_plaintext("ann:$key$\n").by_login, {b"ann": b"$key$"})

    def test_other_form(self) -> None:
        """Clients of version 2 send texts composed. Those of version 1 send them as they are typed."""
        typed, sent = "u\u0308", "\u00fc"
        self.write(f"{typed}:{typed}\nj{sent}:{typed}\nprotocol=2 e{typed} {typed}\n")
        for version, login, passphrase, right in (
            (1, typed, typed, True),
            (1, sent, typed, False),
            (2, sent, sent, True),
            (2, sent, typed, False),
            (1, f"j{sent}", typed, True),
            (2, f"j{sent}", sent, True),
            (2, f"e{sent}", sent, True),
        ):
            asked = self.checker.requestAvatarId(spoken(version, login, passphrase))
            if right:
                self.assertEqual(self.successResultOf(asked), login.encode())
            else:
                self.failureResultOf(asked, UnauthorizedLogin)

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
        self.assertEqual(parse_plaintext(text).by_login, {b"ann": b"secret"})
        # The line, and parts of it. A list of its parts has 8 bytes for each.
        self.assertLess(tracemalloc.get_traced_memory()[1], 5 * len(text))
