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
from sodiumtwist.admission.checkers import AnyLogin, ClientLogin, LoginNotChecked, LoginRefused, LoginUnknown

from ..checkers import AnyChecker, AvatarId, LateChecker

LOGIN = "j\u00fcrgen"
PASSPHRASE = "correct h\u00f6rse"


def spoken(version: int, login: str = LOGIN, passphrase: str = PASSPHRASE) -> ClientLogin:
    """What a client that speaks a version logs in with."""
    credentials = ClientLogin(login.encode(), passphrase.encode())
    credentials.version = version
    return credentials


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
        for login, passphrase in (("x" * 129, "y"), ("x", "y" * 129)):
            self.assertRaises(LocalProtocolError, SingleLogin, login, passphrase, [1])

    def test_longest_of_version_2(self) -> None:
        """Logins of 255 bytes, passphrases of 4096, all of them compared."""
        for versions in ([1, 2], [2]):
            checker = SingleLogin("x" * 255, "y" * 4096, versions)
            self.assertEqual(checker.requestAvatarId(spoken(2, "x" * 255, "y" * 4096)), b"x" * 255)
            self.assertRaises(UnauthorizedLogin, checker.requestAvatarId, spoken(2, "x" * 255, "y" * 4095 + "z"))

    def test_versions(self) -> None:
        """In another version, the right passphrase and a wrong one are refused alike; and where none is told."""
        checker = SingleLogin(LOGIN, PASSPHRASE, [2])
        self.assertEqual(checker.requestAvatarId(spoken(2)), LOGIN.encode())
        for credentials in (spoken(1), UsernamePassword(LOGIN.encode(), PASSPHRASE.encode())):
            self.assertTrue(checker.bars(credentials))
            for passphrase in (credentials.password, b"wrong"):
                credentials.password = passphrase
                error = self.assertRaises(LoginRefused, checker.requestAvatarId, credentials)
                self.assertEqual(str(error), "the login is not for this version of the protocol")
        self.assertFalse(checker.bars(spoken(2)))
        self.assertFalse(checker.bars(spoken(1, "other")))
        self.assertRaises(LoginUnknown, checker.requestAvatarId, spoken(1, "other"))
        self.assertEqual(SingleLogin(LOGIN, PASSPHRASE, [1]).requestAvatarId(spoken(1)), LOGIN.encode())
        self.assertRaises(LoginRefused, SingleLogin(LOGIN, PASSPHRASE, [1]).requestAvatarId, spoken(2))
        for versions in ([], [0], [1, 2, 3]):
            self.assertRaises(LocalProtocolError, SingleLogin, LOGIN, PASSPHRASE, versions)

    def test_other_form(self) -> None:
        """Clients of version 2 send texts composed. Those of version 1 send them as they are typed."""
        typed, sent = "u\u0308", "\u00fc"
        for stored in (typed, sent):
            checker = SingleLogin(stored, stored)
            self.assertEqual(checker.requestAvatarId(spoken(2, sent, sent)), sent.encode())
            for version, given, right in ((1, typed, stored == typed), (1, sent, stored == sent), (2, typed, False)):
                if right:
                    self.assertEqual(checker.requestAvatarId(spoken(version, given, given)), given.encode())
                else:
                    self.assertRaises(UnauthorizedLogin, checker.requestAvatarId, spoken(version, given, given))

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

    def test_version(self) -> None:
        """
        A login that one checker has for version 2 alone is refused in version 1, whatever another says. All are asked,
        as with a wrong passphrase, and so it counts.
        """
        marked = SingleLogin(LOGIN, PASSPHRASE, [2])
        for order in (1, -1):
            other = LateChecker()
            checkers: list[ICredentialsChecker] = [marked, other]
            for asking in (AnyLogin(checkers[::order]), AnyLogin([AnyLogin(checkers[::order]), SingleLogin("a", "b")])):
                for answer in (LOGIN.encode(), UnauthorizedLogin(), LoginUnknown()):
                    asked = asking.requestAvatarId(spoken(1, passphrase="that of the other"))
                    if isinstance(answer, bytes):
                        other.answers[-1].callback(answer)
                    else:
                        other.answers[-1].errback(answer)
                    error = self.failureResultOf(asked, LoginRefused).value
                    self.assertEqual(str(error), "the login is not for this version of the protocol")
            asked = AnyLogin(checkers[::order]).requestAvatarId(spoken(2))
            if order < 0:
                other.answers[-1].errback(UnauthorizedLogin())
            self.assertEqual(self.successResultOf(asked), LOGIN.encode())
        self.assertTrue(self.successResultOf(AnyLogin([marked]).bars(spoken(1))))
        self.assertFalse(self.successResultOf(AnyLogin([marked]).bars(spoken(2))))

    def test_not_known_what_is_marked(self) -> None:
        """A checker that can't tell has no logins, and keeps nobody out."""
        checker = AnyChecker(lambda credentials: fail(LoginNotChecked()))
        checker.bars = lambda credentials: fail(LoginNotChecked())  # type: ignore[attr-defined]
        asked = AnyLogin([checker, SingleLogin(LOGIN, PASSPHRASE)]).requestAvatarId(spoken(1))
        self.assertEqual(self.successResultOf(asked), LOGIN.encode())

    def test_cancelled_before(self) -> None:
        """Nobody is asked when nobody waits any more."""
        checker, waiting = LateChecker(), Deferred[bool]()
        checker.bars = lambda credentials: waiting  # type: ignore[attr-defined]
        asked = AnyLogin([checker]).requestAvatarId(spoken(1))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(checker.asked, [])
