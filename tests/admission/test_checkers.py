"""
Who may come in.
"""

from __future__ import annotations

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from sodiumtwist import LocalProtocolError, SingleLogin
from sodiumtwist.admission.checkers import AnyLogin, LoginNotChecked, LoginUnknown

from ..checkers import AnyChecker, AvatarId

LOGIN = "j\u00fcrgen"
PASSPHRASE = "correct h\u00f6rse"


class SingleLoginTests(SynchronousTestCase):
    def ask(self, login: str, passphrase: str, checker: SingleLogin | None = None) -> bytes:
        checker = checker or SingleLogin(LOGIN, PASSPHRASE)
        return checker.requestAvatarId(UsernamePassword(login.encode(), passphrase.encode()))

    def test_interface(self) -> None:
        self.assertTrue(verifyClass(ICredentialsChecker, SingleLogin))
        self.assertTrue(verifyObject(ICredentialsChecker, SingleLogin(LOGIN, PASSPHRASE)))
        self.assertEqual(list(SingleLogin.credentialInterfaces), [IUsernamePassword])

    def test_right(self) -> None:
        self.assertEqual(self.ask(LOGIN, PASSPHRASE), LOGIN.encode())

    def test_wrong(self) -> None:
        """Either one wrong, in case, in length, by what the padding looks like, or both exchanged."""
        for login, passphrase in [
            (LOGIN, "wrong"),
            ("wrong", PASSPHRASE),
            (LOGIN, ""),
            ("", PASSPHRASE),
            ("", ""),
            (LOGIN.upper(), PASSPHRASE),
            (LOGIN, PASSPHRASE.upper()),
            (LOGIN, PASSPHRASE + " "),
            (LOGIN, PASSPHRASE[:-1]),
            (LOGIN + "x", PASSPHRASE),
            (PASSPHRASE, LOGIN),
            (LOGIN + PASSPHRASE, ""),
        ]:
            error = self.assertRaises(UnauthorizedLogin, self.ask, login, passphrase)
            self.assertEqual(str(error), "login or passphrase is wrong")

    def test_empty_texts(self) -> None:
        """They are allowed; then only they are right."""
        checker = SingleLogin("", "")
        self.assertEqual(self.ask("", "", checker), b"")
        self.assertRaises(UnauthorizedLogin, self.ask, "", "x", checker)

    def test_longest_texts(self) -> None:
        for login, other_login, passphrase, other_passphrase in (
            ("\u00e4" * 64, "\u00e4" * 63 + "\u00f6", "\u00e4" * 64, "\u00e4" * 63 + "\u00f6"),
            ("x" * 255, "x" * 254 + "y", "y" * 4096, "y" * 4095 + "x"),
        ):
            checker = SingleLogin(login, passphrase)
            self.assertEqual(self.ask(login, passphrase, checker), login.encode())
            self.assertRaises(UnauthorizedLogin, self.ask, other_login, passphrase, checker)
            self.assertRaises(UnauthorizedLogin, self.ask, login, other_passphrase, checker)

    def test_texts_that_do_not_fit(self) -> None:
        for login, passphrase, what in [
            ("x" * 256, "y", "login"),
            ("\u00e4" * 128, "y", "login"),
            ("x", "y" * 4097, "passphrase"),
            ("x\0", "y", "login"),
            ("x", "y\0", "passphrase"),
            ("x", "\ud800", "passphrase"),
        ]:
            error = self.assertRaises(LocalProtocolError, SingleLogin, login, passphrase)
            self.assertIn(f"the {what} ", str(error))
            self.assertNotIn("yy", str(error))

    def test_the_passphrase_is_not_shown(self) -> None:
        checker = SingleLogin(LOGIN, PASSPHRASE)
        for text in (repr(checker), str(checker), f"{checker}"):
            self.assertNotIn("correct", text)
        error = self.assertRaises(UnauthorizedLogin, self.ask, LOGIN, "close but wrong", checker)
        self.assertNotIn("correct", repr(error))
        self.assertNotIn("close", repr(error))


class AnyLoginTests(SynchronousTestCase):
    """Several checkers."""

    def make(self, *answers: bytes | Deferred[AvatarId] | Exception) -> Deferred[bytes]:
        """What several that answer so say together."""

        def checker(answer: bytes | Deferred[AvatarId] | Exception) -> AnyChecker:
            def decide(credentials: UsernamePassword) -> bytes | Deferred[AvatarId]:
                if isinstance(answer, Exception):
                    raise answer
                return answer

            return AnyChecker(decide)

        return AnyLogin([checker(answer) for answer in answers]).requestAvatarId(UsernamePassword(b"", b""))

    def test_first_that_accepts(self) -> None:
        late: Deferred[AvatarId] = succeed(b"a")
        for asked in [
            self.make(b"a", b"b"),
            self.make(UnauthorizedLogin(), late),
            self.make(ValueError(), LoginNotChecked(), b"a"),
        ]:
            self.assertEqual(self.successResultOf(asked), b"a")

    def test_none(self) -> None:
        self.failureResultOf(self.make(UnauthorizedLogin(), UnauthorizedLogin()), UnauthorizedLogin)

    def test_one_could_not_decide(self) -> None:
        self.failureResultOf(self.make(ValueError(), LoginNotChecked()), LoginNotChecked)
        self.failureResultOf(self.make(LoginNotChecked(), ValueError()), ValueError)

    def test_refusal_among_others(self) -> None:
        """It counts as one, or who makes another checker fail could guess for free."""
        for others in ([ValueError(), UnauthorizedLogin()], [LoginDenied(), LoginNotChecked()]):
            self.failureResultOf(self.make(*others), UnauthorizedLogin)

    def test_none_has_it(self) -> None:
        """That is a refusal like any other; but where a checker could not decide, nobody has refused."""
        self.assertIs(self.failureResultOf(self.make(LoginUnknown(), LoginUnknown())).type, UnauthorizedLogin)
        for others in ([LoginUnknown(), LoginNotChecked()], [LoginNotChecked(), LoginUnknown()]):
            self.failureResultOf(self.make(*others), LoginNotChecked)
        self.failureResultOf(self.make(LoginUnknown(), LoginNotChecked(), UnauthorizedLogin()), UnauthorizedLogin)
        only_here = AnyLogin([SingleLogin(LOGIN, PASSPHRASE), AnyChecker(lambda credentials: fail(LoginNotChecked()))])
        for login, kind in ((LOGIN, UnauthorizedLogin), ("ann", LoginNotChecked)):
            asked = only_here.requestAvatarId(UsernamePassword(login.encode(), b"x"))
            self.assertIs(self.failureResultOf(asked).type, kind)

    def test_cancelled(self) -> None:
        """No further checker is asked."""
        waiting: Deferred[AvatarId] = Deferred()
        asked = self.make(waiting, b"b")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
