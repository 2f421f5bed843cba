"""
One login and its verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist import AuthenticationFailed, AuthorizedKeys, AuthorizedKeysFile, Peer, RemoteProtocolError, SingleLogin
from sodiumtwist.admission.checkers import ClientLogin, LoginNotChecked, LoginRefused, any_of
from sodiumtwist.admission.decision import TOO_MANY_FAILED, Decision, Stake, Verdict
from sodiumtwist.admission.replays import IReplayMemory
from sodiumtwist.core.connection import Code
from sodiumtwist.core.errors import ReplayDetected
from sodiumtwist.core.events import AuthenticationRequested
from sodiumtwist.describe.fingerprints import fingerprint as shown
from sodiumtwist.interfaces import ISodiumAvatar

from ..checkers import AnyChecker, AvatarId, LateChecker
from ..logs import logged
from ..pair import Boom
from ..replay_memories import fingerprint

LOGIN, PASSPHRASE, KEY, MARK = "l\u00f6gin", "Pa55phr\u00e4se", b"\x07" * 32, fingerprint(7)
ADDRESS = IPv4Address("TCP", "192.0.2.1", 4711)
CLAIM = AuthenticationRequested(LOGIN, PASSPHRASE, KEY, MARK)
PEER = Peer(LOGIN, KEY, ADDRESS)


@implementer(IReplayMemory)
class Memory:
    """
    Answers what the test says, and notes what it is asked.

    :ivar known: the answer, or what raises or delays it, to ``knows``.
    :ivar new: likewise to ``remember``.
    """

    def __init__(self, asked: list[object]) -> None:
        self._asked = asked
        self.known: Callable[[], Any] = lambda: False
        self.new: Callable[[], Any] = lambda: True

    def knows(self, fingerprint: bytes) -> Any:
        self._asked.append(("knows", fingerprint))
        return self.known()

    def remember(self, fingerprint: bytes) -> Any:
        self._asked.append(("remember", fingerprint))
        return self.new()


class Rules:
    """By what is decided here."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.memory = Memory(self.asked)
        self.replays: IReplayMemory = self.memory
        self.checker: ICredentialsChecker | Portal | None = SingleLogin(LOGIN, PASSPHRASE)
        self.authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None = None


class DecisionTestCase(SynchronousTestCase):
    """Has rules that let the client in."""

    def setUp(self) -> None:
        self.events = logged(self)
        self.clock = Clock()
        self.rules = Rules()
        self.verdicts: list[Verdict] = []

    def start(self, claim: AuthenticationRequested = CLAIM, may_try: bool = True) -> Decision:
        """Begin to decide; the verdict is in ``verdicts`` as soon as there is one."""
        decision = Decision(self.rules, claim, ADDRESS)
        self.assertIs(decision.stake, Stake.NOTHING)
        self.assertFalse(decision.is_open)
        decision.decide(claim, may_try).addCallback(self.verdicts.append)
        return decision

    def remember(self, decision: Decision, seconds: float = 10) -> None:
        """The key is proven."""
        self.verdicts.clear()
        decision.remember(seconds, self.clock).addCallback(self.verdicts.append)

    def verdict(self) -> Verdict:
        """The verdict, of which there is one; nothing was logged."""
        (verdict,) = self.verdicts
        self.assertEqual(self.events, [])
        return verdict

    def assert_in(self, peer: Peer = PEER) -> None:
        self.assertEqual(self.verdict(), Verdict(peer))

    def assert_out(
        self,
        why: str,
        failed: bool = False,
        error: type[RemoteProtocolError] = AuthenticationFailed,
        login_tried: bool = True,
        undecided: bool = False,
        code: Code | None = None,
    ) -> None:
        """Check that the client is kept out for a reason that its end and the log are told."""
        verdict = self.verdict()
        self.assertIs(type(verdict.error), error)
        self.assertEqual(str(verdict.error), why)
        code = code or (Code.NO_ROOM if undecided else Code.REFUSED)
        expected = Verdict(error=verdict.error, failed=failed, login_tried=login_tried, undecided=undecided, code=code)
        self.assertEqual(verdict, expected)


class CheckedTests(DecisionTestCase):
    """Login and passphrase are checked."""

    def test_let_in(self) -> None:
        """It is remembered before, once; and nothing is at stake any more."""
        decision = self.start()
        self.assert_in()
        self.assertEqual(self.rules.asked, [("knows", MARK), ("remember", MARK)])
        self.assertIs(decision.stake, Stake.NOTHING)
        self.assertIsNone(decision.logout)
        self.assertFalse(decision.is_open)

    def test_credentials(self) -> None:
        """The checker gets them as UTF-8, with the address; also where a portal asks it, or it is one of several."""
        checker = LateChecker()
        several = any_of([SingleLogin("other", PASSPHRASE), checker])
        for asking in (checker, several, Portal(Realm(), [several])):
            checker.asked.clear()
            self.rules.checker = asking
            self.start()
            (credentials,) = checker.asked
            self.assertEqual((credentials.username, credentials.password), (LOGIN.encode(), PASSPHRASE.encode()))
            assert isinstance(credentials, ClientLogin)
            self.assertEqual(credentials.address, ADDRESS)

    def test_wrong_passphrase(self) -> None:
        """It counts as failed, and no replay memory is filled by it."""
        decision = self.start(AuthenticationRequested(LOGIN, "wrong", KEY, MARK))
        self.assert_out("login or passphrase is wrong", failed=True)
        self.assertEqual(self.rules.asked, [("knows", MARK)])
        self.assertIs(decision.stake, Stake.NOTHING)

    def test_what_checkers_say(self) -> None:
        """Only ours may say what is wrong: the text of others might be what the client sent."""
        for error, why in (
            (UnauthorizedLogin("\x1b[2J"), "login or passphrase is wrong"),
            (LoginFailed("x"), "login or passphrase is wrong"),
            (LoginRefused("the login is locked"), "the login is locked"),
        ):
            self.verdicts.clear()
            self.rules.checker = AnyChecker(lambda credentials, error=error: fail(error))  # type: ignore[misc]
            self.start()
            self.assert_out(why, failed=True)

    def test_not_checked(self) -> None:
        """Who could not be checked has not failed."""
        self.rules.checker = AnyChecker(lambda credentials: fail(LoginNotChecked("the file is being read")))
        self.start()
        self.assert_out("the file is being read", undecided=True)

    def test_too_many_failed(self) -> None:
        """Then nobody is asked but the memory, and it does not count as one more."""
        self.rules.checker = checker = LateChecker()
        self.start(may_try=False)
        self.assert_out(TOO_MANY_FAILED, undecided=True, code=Code.TOO_MANY_FAILURES)
        self.assertEqual((checker.asked, self.rules.asked), ([], [("knows", MARK)]))

    def test_os_error(self) -> None:
        """It is told in one line that forges none."""
        self.rules.checker = AnyChecker(lambda credentials: fail(OSError("no\nfile")))
        self.start()
        self.assert_out(r"the login could not be checked: 'no\nfile'", undecided=True)

    def test_any_exception(self) -> None:
        """It is handed on for the log; nothing is logged here, and the client is told nothing of it."""
        for raising in (lambda credentials: fail(Boom("a\nb")), lambda credentials: self.boom()):
            self.verdicts.clear()
            self.rules.checker = AnyChecker(raising)
            decision = self.start()
            verdict = self.verdict()
            self.assertEqual(str(verdict.error), "the login could not be checked")
            assert verdict.failure is not None
            self.assertTrue(verdict.failure.check(Boom))
            self.assertEqual((verdict.peer, verdict.unseen, verdict.failed), (None, False, False))
            self.assertIs(decision.stake, Stake.NOTHING)

    def boom(self) -> bytes:
        raise Boom("a\nb")

    def test_stake(self) -> None:
        """The login is at stake while it is checked, not before and not behind."""
        known: Deferred[bool] = Deferred()
        new: Deferred[bool] = Deferred()
        self.rules.memory.known, self.rules.memory.new = lambda: known, lambda: new
        self.rules.checker = checker = LateChecker()
        decision = self.start()
        stakes = [decision.stake]
        known.callback(False)
        stakes.append(decision.stake)
        checker.answers[0].callback(b"")
        stakes.append(decision.stake)
        self.assertTrue(decision.is_open)
        new.callback(True)
        stakes.append(decision.stake)
        self.assertEqual(stakes, [Stake.NOTHING, Stake.LOGIN, Stake.NOTHING, Stake.NOTHING])
        self.assertFalse(decision.is_open)
        self.assert_in()

    def test_passphrase_is_not_kept(self) -> None:
        """What decides holds it no longer than it must."""
        self.rules.checker = LateChecker()
        decision = self.start()
        kept = [getattr(decision, name, None) for name in Decision.__slots__ if name != "_waiting"]
        self.assertNotIn(PASSPHRASE, repr(kept))
        self.assertNotIn(CLAIM, kept)


class ReplayTests(DecisionTestCase):
    """Handshakes that were accepted before."""

    def test_known(self) -> None:
        """It is to look unseen, whatever else is the case, and nobody else is asked."""
        for may_try in (True, False):
            self.setUp()
            self.rules.memory.known = lambda: True
            self.rules.checker = checker = LateChecker()
            self.rules.authorized_keys = AuthorizedKeys([])
            self.start(may_try=may_try)
            self.assertEqual(self.verdict(), Verdict(unseen=True))
            self.assertEqual((checker.asked, self.rules.asked), ([], [("knows", MARK)]))

    def test_known_a_moment_later(self) -> None:
        """The same handshake was accepted while this one was checked."""
        for answer in (lambda: False, lambda: succeed(False)):
            self.setUp()
            self.rules.memory.new = answer
            self.start()
            self.assertEqual(self.verdict(), Verdict(unseen=True))

    def test_memory_that_fails(self) -> None:
        """Nobody is let in that can't be remembered."""
        for name in ("known", "new"):
            for error, why in ((OSError("full"), "the login could not be checked: 'full'"),):
                self.setUp()
                setattr(self.rules.memory, name, lambda error=error: fail(error))
                self.start()
                self.assert_out(why, undecided=True)
            self.setUp()
            setattr(self.rules.memory, name, lambda: fail(Boom()))
            self.start()
            failure = self.verdict().failure
            assert failure is not None
            self.assertTrue(failure.check(Boom))


class KeyTests(DecisionTestCase):
    """The client's key counts."""

    def setUp(self) -> None:
        super().setUp()
        self.rules.authorized_keys = AuthorizedKeys([(KEY, LOGIN)])

    def test_key_alone(self) -> None:
        """Without a checker it decides. It is remembered when it is proven."""
        self.rules.checker = None
        decision = self.start(AuthenticationRequested(LOGIN, "any", KEY, MARK))
        self.assert_in()
        self.assertIs(decision.stake, Stake.KEY)
        self.assertEqual(self.rules.asked, [("knows", MARK)])
        self.remember(decision)
        self.assert_in()
        self.assertEqual(self.rules.asked, [("knows", MARK), ("remember", MARK)])

    def test_not_authorized(self) -> None:
        """
        The key or its login is none of those: the passphrase is not even checked, and it counts as failed, but not
        for the login.
        """
        for key, login in ((b"\x08" * 32, LOGIN), (KEY, "other")):
            self.setUp()
            self.rules.checker = checker = LateChecker()
            self.start(AuthenticationRequested(login, PASSPHRASE, key, MARK))
            why = f"the key {key.hex()} is not authorized, or not for this login; its fingerprint is {shown(key)}"
            self.assert_out(why, failed=True, login_tried=False)
            self.assertEqual(checker.asked, [])

    def test_passphrase_too(self) -> None:
        """With a checker both must be right."""
        self.start(AuthenticationRequested(LOGIN, "wrong", KEY, MARK))
        self.assert_out("login or passphrase is wrong", failed=True)

    def test_stake(self) -> None:
        """The key is at stake from the verdict until it is remembered; then nothing is."""
        self.rules.checker = checker = LateChecker()
        decision = self.start()
        self.assertIs(decision.stake, Stake.LOGIN)
        checker.answers[0].callback(b"")
        self.assertIs(decision.stake, Stake.KEY)
        self.remember(decision)
        self.assertIs(decision.stake, Stake.NOTHING)

    def test_replayed(self) -> None:
        """Whose key is proven has an answer already, so there is nobody to hide from."""
        decision = self.start()
        self.rules.memory.new = lambda: False
        self.remember(decision)
        self.assert_out("the same handshake was accepted a moment ago", error=ReplayDetected)
        self.assertIs(decision.stake, Stake.NOTHING)

    def test_not_remembered_in_time(self) -> None:
        """Nobody waits for ever, and no timer is left, in time or not."""
        for seconds, in_time in ((9.5, True), (10, False)):
            self.setUp()
            decision = self.start()
            new: Deferred[bool] = Deferred()
            self.rules.memory.new = lambda new=new: new  # type: ignore[misc]
            self.remember(decision, 10)
            self.clock.advance(seconds)
            if in_time:
                self.assertTrue(decision.is_open)
                new.callback(True)
                self.assert_in()
            else:
                self.assert_out("the handshake could not be remembered in time", undecided=True)
                # It may still come to know of it; nobody cares any more.
                new.callback(True)
            self.assertFalse(decision.is_open)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_memory_that_fails(self) -> None:
        decision = self.start()
        self.rules.memory.new = lambda: fail(Boom())
        self.remember(decision)
        verdict = self.verdict()
        self.assertEqual(str(verdict.error), "the login could not be checked")
        self.assertIsNotNone(verdict.failure)


class Version2Tests(DecisionTestCase):
    """What is another thing in version 2: nothing can be sent again, and the handshake has proven the key."""

    claim = replace(CLAIM, version=2)
    peer = replace(PEER, version=2)

    def test_let_in(self) -> None:
        """The memory of handshakes is not asked, so it can't keep anybody out."""
        self.rules.memory.known = self.rules.memory.new = lambda: fail(OSError("full"))
        for keys in (None, AuthorizedKeys([(KEY, LOGIN)])):
            self.verdicts.clear()
            self.rules.authorized_keys = keys
            decision = self.start(self.claim)
            self.assert_in(self.peer)
            self.assertIs(decision.stake, Stake.NOTHING)
            self.assertFalse(decision.is_open)
        self.assertEqual(self.rules.asked, [])

    def test_key_alone(self) -> None:
        """Whoever has a listed key is in."""
        self.rules.checker, self.rules.authorized_keys = None, AuthorizedKeys([(KEY, None)])
        decision = self.start(replace(self.claim, login="", passphrase=""))
        self.assert_in(replace(self.peer, login=""))
        self.assertIs(decision.stake, Stake.NOTHING)

    def test_version_of_credentials(self) -> None:
        """Checkers are told which version it is, also where a portal asks them; so is its realm."""
        checker, realm = LateChecker(), Realm()
        for version in (1, 2):
            for asking in (checker, any_of([checker, LateChecker()]), Portal(realm, [checker])):
                checker.asked.clear()
                self.rules.checker = asking
                self.start(replace(CLAIM, version=version))
                (credentials,) = checker.asked
                assert isinstance(credentials, ClientLogin)
                self.assertEqual(credentials.version, version)
        checker.answers[-1].callback(LOGIN.encode())
        self.assertEqual(realm.minds, [self.peer])

    def test_leaves_early(self) -> None:
        """Its login is at stake while it is checked, as in version 1."""
        self.rules.checker = checker = LateChecker()
        decision = self.start(self.claim)
        self.assertIs(decision.stake, Stake.LOGIN)
        checker.answers[0].callback(b"")
        self.assertIs(decision.stake, Stake.NOTHING)

    def test_codes(self) -> None:
        """What a client is told does not depend on what is wrong with its login or key."""
        refused = []
        self.rules.checker = any_of([SingleLogin(LOGIN, PASSPHRASE), SingleLogin("old", PASSPHRASE, [1])])
        for login, passphrase, keys in (
            (LOGIN, "wrong", None),
            ("unknown", PASSPHRASE, None),
            ("old", PASSPHRASE, None),
            (LOGIN, PASSPHRASE, AuthorizedKeys([])),
        ):
            self.verdicts.clear()
            self.rules.authorized_keys = keys
            self.start(replace(self.claim, login=login, passphrase=passphrase))
            verdict = self.verdict()
            self.assertTrue(verdict.failed)
            refused.append((verdict.code, verdict.text))
        self.assertEqual(set(refused), {(Code.REFUSED, "login, passphrase or key refused")})
        self.rules.authorized_keys = None
        for error in (OSError("/etc/users"), LoginNotChecked("users.txt can't be used"), Boom("a")):
            self.verdicts.clear()
            self.rules.checker = AnyChecker(lambda credentials, error=error: fail(error))  # type: ignore[misc]
            self.start(self.claim)
            verdict = self.verdict()
            self.assertEqual(
                (verdict.code, verdict.text, verdict.failed),
                (Code.NO_ROOM, "the server could not check the login now; try again later", False),
            )
        self.verdicts.clear()
        self.start(self.claim, may_try=False)
        self.assertEqual(self.verdict().code, Code.TOO_MANY_FAILURES)
        self.assertIn("too many logins have failed", self.verdict().text)

    def test_marked_login(self) -> None:
        """In version 1 it is refused, with the right passphrase as with a wrong one, and counts as failed."""
        self.rules.checker = SingleLogin(LOGIN, PASSPHRASE, [2])
        for passphrase in (PASSPHRASE, "wrong"):
            self.verdicts.clear()
            self.start(replace(CLAIM, passphrase=passphrase))
            self.assert_out("the login is not for this version of the protocol", failed=True)
        self.verdicts.clear()
        self.start(self.claim)
        self.assert_in(self.peer)

    def test_marked_key(self) -> None:
        """In version 1 it is refused as one that is not listed."""
        self.rules.authorized_keys = AuthorizedKeys([(KEY, LOGIN, [2])])
        self.start()
        why = f"the key {KEY.hex()} is not authorized, or not for this login; its fingerprint is {shown(KEY)}"
        self.assert_out(why, True, login_tried=False)
        self.verdicts.clear()
        self.start(self.claim)
        self.assert_in(self.peer)


class CancelTests(DecisionTestCase):
    """Nobody is to decide any longer."""

    def test_while_checking(self) -> None:
        """Too many have failed meanwhile. The checker is told; it does not count as one more."""
        self.rules.checker = checker = LateChecker()
        decision = self.start()
        decision.cancel()
        self.assert_out(TOO_MANY_FAILED, undecided=True, code=Code.TOO_MANY_FAILURES)
        self.assertEqual(checker.cancelled, checker.answers)
        self.assertIs(decision.stake, Stake.NOTHING)
        self.assertFalse(decision.is_open)
        decision.cancel()
        self.assertEqual(len(self.verdicts), 1)

    def test_while_the_memory_is_asked(self) -> None:
        """Before the login is checked, or when it is to be remembered."""
        for name in ("known", "new"):
            self.setUp()
            setattr(self.rules.memory, name, lambda: Deferred())
            decision = self.start()
            self.assertTrue(decision.is_open)
            decision.cancel()
            self.assert_out(TOO_MANY_FAILED, undecided=True, code=Code.TOO_MANY_FAILURES)

    def test_before(self) -> None:
        decision = Decision(self.rules, CLAIM, ADDRESS)
        decision.cancel()
        decision.decide(CLAIM, True).addCallback(self.verdicts.append)
        self.assert_in()

    def test_after(self) -> None:
        """The verdict stays what it was."""
        decision = self.start()
        decision.cancel()
        self.assert_in()

    def test_while_remembering(self) -> None:
        self.rules.authorized_keys = AuthorizedKeys([(KEY, None)])
        decision = self.start()
        self.rules.memory.new = lambda: Deferred()
        self.remember(decision)
        decision.cancel()
        self.assert_out(TOO_MANY_FAILED, undecided=True, code=Code.TOO_MANY_FAILURES)
        self.assertEqual(self.clock.getDelayedCalls(), [])


@implementer(IRealm)
class Realm:
    """
    Gives avatars, at once or when the test fires its answer.

    :ivar logouts: how often the logout was called.
    """

    def __init__(self) -> None:
        self.answer: Any = None
        self.minds: list[Any] = []
        self.logouts = 0

    def made(self) -> tuple[object, str, Callable[[], None]]:
        return ISodiumAvatar, "avatar", self.log_out

    def log_out(self) -> None:
        self.logouts += 1

    def requestAvatar(self, avatarId: AvatarId, mind: object, *interfaces: object) -> Any:
        assert interfaces == (ISodiumAvatar,)
        self.minds.append(mind)
        return self.made() if self.answer is None else self.answer


class PortalTests(DecisionTestCase):
    """A portal decides, and has an avatar for the client."""

    def setUp(self) -> None:
        super().setUp()
        self.realm = Realm()
        self.rules.checker = Portal(self.realm, [SingleLogin(LOGIN, PASSPHRASE)])

    def test_let_in(self) -> None:
        """The avatar is the peer's, and the realm was told who it is for. It is logged out once."""
        decision = self.start()
        self.assert_in()
        peer = self.verdicts[0].peer
        assert peer is not None
        self.assertEqual(peer.avatar, "avatar")
        self.assertEqual(self.realm.minds, [PEER])
        self.assertEqual(self.realm.logouts, 0)
        decision.log_out()
        decision.log_out()
        self.assertEqual(self.realm.logouts, 1)
        self.assertIsNone(decision.logout)

    def test_avatar_of_a_proven_key(self) -> None:
        """It is the one that was made when the login was checked."""
        self.rules.authorized_keys = AuthorizedKeys([(KEY, None)])
        decision = self.start()
        self.remember(decision)
        peer = self.verdict().peer
        assert peer is not None
        self.assertEqual((peer.avatar, len(self.realm.minds)), ("avatar", 1))

    def test_refused(self) -> None:
        decision = self.start(AuthenticationRequested(LOGIN, "wrong", KEY, MARK))
        self.assert_out("login or passphrase is wrong", failed=True)
        decision.log_out()
        self.assertEqual(self.realm.logouts, 0)

    def test_late(self) -> None:
        """The login is at stake meanwhile."""
        answer: Deferred[Any] = Deferred()
        self.realm.answer = answer
        decision = self.start()
        self.assertIs(decision.stake, Stake.LOGIN)
        answer.callback(self.realm.made())
        self.assert_in()
        self.assertIsNotNone(decision.logout)

    def test_too_late(self) -> None:
        """Who is in when nobody waits any more is logged out at once."""
        answer: Deferred[Any] = Deferred()
        self.realm.answer = answer
        decision = self.start()
        decision.cancel()
        self.assert_out(TOO_MANY_FAILED, undecided=True, code=Code.TOO_MANY_FAILURES)
        # The portal is not told, for what it has begun may need its end.
        self.assertFalse(answer.called)
        answer.callback(self.realm.made())
        self.assertEqual(self.realm.logouts, 1)
        decision.log_out()
        self.assertEqual(self.realm.logouts, 1)

    def test_fails_too_late(self) -> None:
        """That is nobody's error any more."""
        answer: Deferred[Any] = Deferred()
        self.realm.answer = answer
        self.start().cancel()
        answer.errback(Failure(Boom()))
        self.assert_out(TOO_MANY_FAILED, undecided=True, code=Code.TOO_MANY_FAILURES)

    def test_answers_wrongly(self) -> None:
        """Not with an interface, an avatar and a logout: it can't be checked."""
        self.realm.answer = "nonsense"
        self.start()
        failure = self.verdict().failure
        assert failure is not None
        self.assertTrue(failure.check(ValueError))

    def test_logout_that_fails(self) -> None:
        """It is logged, at once or later."""
        for logout in (self.boom, lambda: fail(Boom())):
            self.realm.answer = (ISodiumAvatar, None, logout)
            decision = self.start()
            decision.log_out()
            self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
            self.assertIsNone(decision.logout)

    def boom(self) -> None:
        raise Boom

    def test_replayed(self) -> None:
        """Who was let in by the portal and not by the memory has yet to be logged out."""
        self.rules.memory.new = lambda: False
        decision = self.start()
        self.assertEqual(self.verdict(), Verdict(unseen=True))
        decision.log_out()
        self.assertEqual(self.realm.logouts, 1)
