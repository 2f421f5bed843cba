"""
Logins verified in threads.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import findCheckerFactory, makeChecker
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.task import Clock, LoopingCall
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from sodiumtwist import LocalProtocolError, SodiumServerFactory, Timeouts
from sodiumtwist.admission import argon2, passwords
from sodiumtwist.admission.argon2 import CONCURRENCY, QUEUE, Argon2File, from_argument
from sodiumtwist.admission.checkers import ClientLogin, LoginNotChecked, LoginRefused, SingleLogin, any_of
from sodiumtwist.admission.passwords import hash_passphrase, verification_cost
from sodiumtwist.admission.watched import GRACE

from ..checkers import AvatarId
from ..logs import logged
from ..pair import SERVER_PAIR, RecordingClient, make_client_factory
from ..ports import port_number
from .test_checkers import spoken
from .test_passwords import cheap


class PasswordFile:
    """
    A file of logins, until the test is over.

    :ivar path: where it is.
    """

    def __init__(self, case: SynchronousTestCase, text: str) -> None:
        directory = tempfile.mkdtemp(prefix="sodiumtwist-test-")
        case.addCleanup(shutil.rmtree, directory)
        self.path = os.path.join(directory, "users")
        self.write(text)

    def write(self, text: str) -> None:
        with open(self.path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)


def from_address(where: str, login: str, passphrase: str) -> ClientLogin:
    credentials = ClientLogin(login.encode(), passphrase.encode())
    credentials.address = IPv4Address("TCP", where, 1)
    return credentials


class HeldThreads:
    """In the place of the reactor and its threads: work is done when the test says so."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[[bool, object], None], functools.partial[object]]] = []

    def getThreadPool(self) -> HeldThreads:
        return self

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, object], None], function: Callable[..., object], *arguments: object
    ) -> None:
        self.work.append((on_result, functools.partial(function, *arguments)))

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        function(*arguments)

    def do(self) -> None:
        """Do the oldest piece of work."""
        on_result, function = self.work[0]
        result = function()
        del self.work[0]
        on_result(True, result)

    def fail(self, error: Exception) -> None:
        """Have the oldest piece of work fail."""
        self.work.pop(0)[0](False, Failure(error))


class CheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = HeldThreads()
        self.verified: list[tuple[str, bytes]] = []
        self.file = PasswordFile(self, "ann:" + cheap("right") + "\nj\u00fcrgen:" + cheap("gr\u00fcn") + "\n")
        matches = passwords.verify_passphrase

        def note(string: str, passphrase: bytes) -> bool:
            self.verified.append((string, passphrase))
            return matches(string, passphrase)

        self.patch(argon2, "verify_passphrase", note)

    def make(self, concurrency: int = CONCURRENCY, queue: int = QUEUE, grace: float = GRACE) -> Argon2File:
        return Argon2File(self.file.path, concurrency, queue, self.threads, grace)

    def ask(
        self, checker: Argon2File, login: str = "ann", passphrase: str = "right", where: str = "192.0.2.9"
    ) -> Deferred[AvatarId]:
        return checker.requestAvatarId(from_address(where, login, passphrase))

    def test_interface(self) -> None:
        checker = self.make()
        self.assertTrue(verifyObject(ICredentialsChecker, checker))
        self.assertEqual(checker.credentialInterfaces, (IUsernamePassword,))
        self.assertNotIn("$argon2", repr(checker))

    def test_right(self) -> None:
        checker = self.make()
        for login, passphrase in (("ann", "right"), ("j\u00fcrgen", "gr\u00fcn")):
            asked = self.ask(checker, login, passphrase)
            self.assertNoResult(asked)
            self.threads.do()
            self.assertEqual(self.successResultOf(asked), login.encode())

    def test_wrong(self) -> None:
        """A wrong passphrase and an unknown login can't be told apart: by words, nor by what is calculated."""
        checker = self.make()
        for login, passphrase in (("ann", "wrong"), ("bob", "right"), ("ann", ""), ("", "right"), ("ANN", "right")):
            asked = self.ask(checker, login, passphrase)
            self.threads.do()
            error = self.failureResultOf(asked, UnauthorizedLogin).value
            self.assertEqual(str(error), "login or passphrase is wrong")
        self.assertEqual({verification_cost(string) for string, _ in self.verified}, {(1, 8)})
        self.assertEqual(len(self.verified), 5)

    def test_marked(self) -> None:
        """
        In version 1, and where no version is told, the right passphrase costs what a wrong one does, its string is
        verified just so, and the answer is the same.
        """
        marked = cheap("right")
        self.file = PasswordFile(self, f"ann:{marked} protocol=2\nbob:{cheap('b')}\n")
        checker = self.make()
        plain = UsernamePassword(b"ann", b"right")
        for credentials in (spoken(1, "ann", "right"), spoken(1, "ann", "wrong"), plain):
            asked = checker.requestAvatarId(credentials)
            self.assertNoResult(asked)
            self.threads.do()
            error = self.failureResultOf(asked, LoginRefused).value
            self.assertEqual(str(error), "the login is not for this version of the protocol")
            self.assertTrue(self.successResultOf(checker.bars(credentials)))
        self.assertEqual([string for string, _ in self.verified], [marked] * 3)
        asked = checker.requestAvatarId(spoken(2, "ann", "right"))
        self.threads.do()
        self.assertEqual(self.successResultOf(asked), b"ann")
        for credentials in (spoken(2, "ann"), spoken(1, "bob"), spoken(1, "nobody")):
            self.assertFalse(self.successResultOf(checker.bars(credentials)))

    def test_by_key(self) -> None:
        """
        A login without a passphrase comes in when its key is bound to it, by version 2, and nothing is verified. Else
        it takes the time of a decoy, and no passphrase is right.
        """
        self.file.write(f"ann:{passwords.BY_KEY} protocol=2\nbob:{cheap('right')}\n")
        checker = Argon2File(self.file.path, reactor=self.threads)
        for login, version, bound, right in (
            ("ann", 2, True, True),
            ("ann", 2, False, False),
            ("ann", 1, True, False),
            ("bob", 2, True, False),
            ("cid", 2, True, False),
        ):
            credentials = ClientLogin(login.encode(), b"wrong")
            credentials.version, credentials.bound_key = version, bound
            came_in = checker.requestAvatarId(credentials)
            self.assertEqual(len(self.threads.work), 0 if right else 1, (login, version, bound))
            if right:
                self.assertEqual(self.successResultOf(came_in), login.encode())
            else:
                self.threads.do()
                self.failureResultOf(came_in, UnauthorizedLogin)
        # What others cost, a decoy costs.
        costs = {verification_cost(string) for string, _ in self.verified}
        self.assertEqual(costs, {verification_cost(cheap("right"))})
        self.assertTrue(checker.file.value.bars(b"ann", 1))

    def test_by_key_alone(self) -> None:
        """A file with such logins alone has decoys at the usual cost."""
        self.file.write(f"ann:{passwords.BY_KEY} protocol=2\n")
        checker = Argon2File(self.file.path, reactor=self.threads)
        self.assertEqual(verification_cost(checker.file.value.string_for(b"ann", 2)[0]), (2, 65536))

    def test_other_form(self) -> None:
        """Clients of version 2 send logins composed. Those of version 1 send them as they are typed."""
        typed, sent = "u\u0308", "\u00fc"
        self.file = PasswordFile(self, f"{typed}:{cheap('1')}\nj{sent}:{cheap('2')}\nj{typed}:{cheap('3')}\n")
        checker = self.make()
        for version, login, passphrase, right in (
            (1, typed, "1", True),
            (1, sent, "1", False),
            (2, sent, "1", True),
            (1, f"j{sent}", "2", True),
            (2, f"j{sent}", "2", True),
            (2, f"j{sent}", "3", False),
            (1, f"j{typed}", "3", True),
        ):
            asked = checker.requestAvatarId(spoken(version, login, passphrase))
            self.threads.do()
            if right:
                self.assertEqual(self.successResultOf(asked), login.encode())
            else:
                self.failureResultOf(asked, UnauthorizedLogin)

    def test_mixed_costs(self) -> None:
        """An unknown login costs what one of the known ones does, always the same: none stands out."""
        dear = cheap("x").replace("m=8,t=1", "m=16,t=3")
        self.file = PasswordFile(self, f"ann:{cheap('right')}\nbob:{dear}\n")
        checker = self.make()
        for login in [f"nobody {number}" for number in range(40)] * 2:
            asked = self.ask(checker, login)
            self.threads.do()
            self.failureResultOf(asked, UnauthorizedLogin)
        costs = [verification_cost(string) for string, _ in self.verified]
        self.assertEqual(set(costs), {(1, 8), (3, 16)})
        self.assertEqual(costs[:40], costs[40:])

    def test_unknown_login_never_gets_in(self) -> None:
        """Whatever verifying its decoy says."""
        self.patch(argon2, "verify_passphrase", lambda string, passphrase: True)
        asked = self.ask(self.make(), "nobody")
        self.threads.do()
        self.failureResultOf(asked, UnauthorizedLogin)

    def test_empty_file(self) -> None:
        self.file = PasswordFile(self, "")
        self.ask(self.make(), "nobody")
        ((_, verify),) = self.threads.work
        self.assertEqual(verification_cost(verify.args[0]), (2, 65536))

    def test_few_at_once(self) -> None:
        """The others wait; as many as may, and no more."""
        checker = self.make(concurrency=2, queue=3)
        asked = [self.ask(checker) for _ in range(7)]
        self.assertEqual(len(self.threads.work), 2)
        for refused in asked[5:]:
            self.failureResultOf(refused, LoginNotChecked)
        for number in range(5):
            self.assertLessEqual(len(self.threads.work), 2)
            self.threads.do()
            self.assertEqual(self.successResultOf(asked[number]), b"ann")
        self.assertEqual(self.threads.work, [])

    def test_cancelled_while_waiting(self) -> None:
        """Its place is free at once, and nothing is verified for it."""
        checker = self.make(concurrency=1, queue=1)
        first, second = self.ask(checker), self.ask(checker)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        third = self.ask(checker)
        self.assertNoResult(third)
        self.threads.do()
        self.threads.do()
        self.assertEqual((self.successResultOf(first), self.successResultOf(third)), (b"ann", b"ann"))
        self.assertEqual(len(self.verified), 2)

    def test_cancelled_while_verified(self) -> None:
        """A thread can't be stopped, so its place is taken until it is done."""
        checker = self.make(concurrency=1)
        first, second = self.ask(checker), self.ask(checker)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(len(self.threads.work), 1)
        self.threads.do()
        self.assertEqual(len(self.threads.work), 1)
        self.threads.do()
        self.assertEqual(self.successResultOf(second), b"ann")

    def test_failures_free_their_place(self) -> None:
        """What fails before or in the thread does not hold up the next one."""
        checker = self.make(concurrency=1)
        with MonkeyPatcher((checker.file, "current", lambda: 1 / 0)):
            self.failureResultOf(self.ask(checker), ZeroDivisionError)
        with MonkeyPatcher((argon2, "verify_passphrase", lambda string, passphrase: 1 / 0)):
            asked = self.ask(checker)
            self.assertRaises(ZeroDivisionError, self.threads.do)
        self.threads.fail(ZeroDivisionError())
        self.failureResultOf(asked, ZeroDivisionError)
        asked = self.ask(checker)
        self.threads.do()
        self.assertEqual(self.successResultOf(asked), b"ann")

    def test_lapsed(self) -> None:
        """When the file can't be used for too long nobody is let in, and it counts against nobody who tries."""
        checker = self.make(concurrency=1, grace=0)
        os.unlink(self.file.path)
        for _ in range(3):
            error = self.failureResultOf(self.ask(checker), LoginNotChecked).value
            self.assertEqual(str(error), "the password file can't be used")
        self.assertEqual(self.threads.work, [])

    def test_all_that_wait_fail(self) -> None:
        """One after the other, not each within the one before."""
        checker = self.make(concurrency=1)
        asked = [self.ask(checker) for _ in range(1 + QUEUE)]
        with MonkeyPatcher((checker.file, "current", lambda: 1 / 0)):
            self.threads.do()
        for failed in asked[1:]:
            self.failureResultOf(failed, ZeroDivisionError)
        self.assertEqual((checker._queue.free, len(checker._queue), self.threads.work), (1, 0, []))

    def test_no_utf8(self) -> None:
        """Bytes that are no UTF-8 are no login, also not the one that shows where something could not be read."""
        self.file = PasswordFile(self, f"\ufffd:{cheap('right')}\n")
        checker = self.make()
        for login, known in ((b"\xff", False), ("\ufffd".encode(), True)):
            asked = checker.requestAvatarId(UsernamePassword(login, b"right"))
            self.threads.do()
            if known:
                self.assertEqual(self.successResultOf(asked), login)
            else:
                self.failureResultOf(asked, UnauthorizedLogin)

    def test_one_gives_way(self) -> None:
        """The log says once that too many wait, and once that none does; the place of who gave way is for others."""
        events = logged(self)
        checker = self.make(concurrency=1, queue=2)
        asked = [self.ask(checker, "mallory\n", where="192.0.2.1") for _ in range(5)]
        ann = self.ask(checker, where="192.0.2.2")
        self.assertEqual([one.called for one in asked], [False, False, True, True, True])
        for refused in asked[2:]:
            self.assertEqual(
                str(self.failureResultOf(refused, LoginNotChecked).value), "too many logins are being verified"
            )
        for _ in range(3):
            self.threads.do()
        self.assertEqual(self.successResultOf(ann), b"ann")
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "2 logins wait to be verified, and that is the limit; of more, those give way that have had most, the "
                r"first from 192.0.2.1 as b'mallory\n'",
                "no more logins wait to be verified than may; 3 gave way",
            ],
        )
        self.failureResultOf(asked[0], UnauthorizedLogin)
        self.failureResultOf(asked[1], UnauthorizedLogin)

    def test_read_again(self) -> None:
        """A changed file counts from the next login on."""
        checker = self.make()
        self.file.write(f"bob:{cheap('new')}\n")
        asked = [self.ask(checker), self.ask(checker, "bob", "new")]
        self.threads.do()
        self.threads.do()
        self.failureResultOf(asked[0], UnauthorizedLogin)
        self.assertEqual(self.successResultOf(asked[1]), b"bob")

    def test_broken_new_version(self) -> None:
        """The old one holds, and the log says once which line is wrong."""
        events = logged(self)
        checker = self.make()
        self.file.write("# hello\nbob:secret\n")
        for _ in range(3):
            asked = self.ask(checker)
            self.threads.do()
            self.assertEqual(self.successResultOf(asked), b"ann")
        (line,) = [formatEvent(event) for event in events]
        self.assertIn(f"{self.file.path}: line 2: no Argon2id string", line)
        self.assertNotIn("secret", line)

    def test_mistakes(self) -> None:
        self.assertRaises(OSError, Argon2File, self.file.path + "x")
        for arguments in ({"concurrency": 0}, {"queue": -1}):
            self.assertRaises(LocalProtocolError, self.make, **arguments)
        os.chmod(self.file.path, 0o644)
        self.assertIn("chmod 600", str(self.assertRaises(LocalProtocolError, self.make)))
        self.file.write("nonsense")
        os.chmod(self.file.path, 0o600)
        self.assertIn("line 1", str(self.assertRaises(LocalProtocolError, self.make)))


class SlowThreads:
    """In the place of the reactor and its threads: each piece of work takes as long, by a clock, and as many run."""

    seconds = 0.08

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.running = self.most = 0

    def getThreadPool(self) -> SlowThreads:
        return self

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, object], None], function: Callable[..., object], *arguments: object
    ) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self._clock.callLater(self.seconds, self._done, on_result, function(*arguments))

    def _done(self, on_result: Callable[[bool, object], None], result: object) -> None:
        self.running -= 1
        on_result(True, result)

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        function(*arguments)


class CrowdTests(SynchronousTestCase):
    """
    Attackers ask for more verifications than there can be, and an honest login is served in time. One takes 80 ms, two
    run at once, and 128 may wait, as by default.
    """

    #: What the honest login may wait for its turn, and for being verified.
    patience = 0.2

    def setUp(self) -> None:
        self.clock = Clock()
        self.threads = SlowThreads(self.clock)
        self.patch(argon2, "verify_passphrase", lambda string, passphrase: passphrase == b"right")
        self.file = PasswordFile(self, "".join(f"{login}:{cheap('x')}\n" for login in ("ann", "bob", "mallory")))
        self.checker = Argon2File(self.file.path, CONCURRENCY, QUEUE, self.threads, clock=self.clock.seconds)
        # As in a server with several checkers: what asks them may not lose where a login comes from.
        self.checkers = any_of([SingleLogin("root", "x"), self.checker])
        self.verified: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def ask(self, login: str, where: str, passphrase: str = "right") -> Deferred[AvatarId]:
        return self.checkers.requestAvatarId(from_address(where, login, passphrase))

    def attack(self, where: str, logins: Iterator[str], passphrase: str = "wrong") -> None:
        """Ask, and ask again as soon as there is an answer, or a moment behind a refusal that came at once."""

        def answered(result: object) -> None:
            failed = isinstance(result, Failure) and result.check(LoginNotChecked)
            (self.refused if failed else self.verified)[where] += 1
            self.clock.callLater(0.5 if failed else 0, again)

        def again() -> None:
            self.ask(next(logins), where, passphrase).addBoth(answered)

        again()

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.clock.advance(0.02)

    def assert_served(self, login: str, where: str, tries: int = 5, patience: float = patience) -> None:
        """An honest login gets in each time, soon."""
        for _ in range(tries):
            asked = self.ask(login, where)
            self.advance(patience)
            self.assertTrue(self.successResultOf(asked), where)
            self.advance(0.5)

    def test_one_valid_login_in_a_loop(self) -> None:
        """160 connections from four addresses do not keep others out, from elsewhere or from one of the four."""
        for number in range(160):
            self.attack(f"192.0.2.{number % 4}", itertools.repeat("mallory"), "right")
        self.advance(3)
        self.assert_served("ann", "198.51.100.1")
        # Each of the four has its turn, and there she has the first.
        self.assert_served("ann", "192.0.2.1", patience=0.4)
        self.assertGreater(sum(self.refused.values()), 100)
        # They share evenly what the honest leave, which is most.
        self.assertLess(max(self.verified.values()) - min(self.verified.values()), 10)
        self.assertGreater(sum(self.verified.values()), 0.9 * 25 * self.clock.seconds() - 25)
        self.assertEqual(self.threads.most, CONCURRENCY)

    def test_eighty_addresses(self) -> None:
        """Nor do eighty with three logins at a time each, never the same twice."""
        self.assert_eighty("x{}".format)

    def test_her_login_from_eighty_addresses(self) -> None:
        """Nor do they when it is hers that they give."""
        self.assert_eighty(lambda number: "ann")

    def assert_eighty(self, login: Callable[[int], str]) -> None:
        logins = map(login, itertools.count())
        for number in range(240):
            self.attack(f"192.0.2.{number % 80}", logins)
        self.advance(4)
        self.assert_served("ann", "198.51.100.1")

    def test_new_addresses_for_ever(self) -> None:
        """Nor do thousands, each of which asks once, as long as they are of few networks, or she came in before."""
        self.assert_served("ann", "198.51.100.1", tries=1)
        new = itertools.count()
        self.flood(f"192.0.{number % 16}.{number // 16}" for number in new)
        self.assert_served("ann", "198.51.100.1")
        self.assert_served("bob", "203.0.113.1", tries=1)
        # The same, but each of a network of its own.
        self.flood(f"10.{number // 256 % 256}.{number % 256}.1" for number in new)
        self.assert_served("ann", "198.51.100.1")

    def flood(self, addresses: Iterator[str]) -> None:
        """Fifty a second ask, and go on to."""

        def flood() -> None:
            for where in itertools.islice(addresses, 5):
                self.ask(f"of {where}", where).addErrback(lambda failure: None)

        flooding = LoopingCall(flood)
        flooding.clock = self.clock
        flooding.start(0.1)
        self.addCleanup(flooding.stop)
        self.advance(5)
        self.assertGreater(len(self.checker._queue), QUEUE - 20)


class StrcredTests(SynchronousTestCase):
    """``--auth argon2:…``, in every program that has ``--auth``."""

    def test_plugin(self) -> None:
        self.file = PasswordFile(self, f"ann:{cheap('right')}\n")
        self.assertEqual(findCheckerFactory("argon2").credentialInterfaces, (IUsernamePassword,))
        self.assertIsInstance(makeChecker(f"argon2:{self.file.path}"), Argon2File)

    def test_settings(self) -> None:
        """They stand at the end, so that paths may have colons."""
        self.file = PasswordFile(self, f"ann:{cheap('right')}\n")
        odd = f"{self.file.path}:queue=x"
        os.rename(self.file.path, odd)
        for argument, expected in [
            (odd, (2, 128)),
            (f"{odd}:concurrency=3", (3, 128)),
            (f"{odd}:queue=5:concurrency=1", (1, 5)),
        ]:
            checker = from_argument(argument)
            self.assertEqual((checker._queue.free, checker._queue._size), expected)
        self.assertRaises(LocalProtocolError, from_argument, "")
        for settings in (":concurrency=0", ":queue=1:queue=2"):
            self.assertRaises(LocalProtocolError, from_argument, odd + settings)


class ReactorTests(TestCase):
    """With real threads."""

    async def test_reactor_goes_on(self) -> None:
        """PINGs are answered while 15 logins are being verified."""
        self.file = PasswordFile(self, f"username:{hash_passphrase('passphrase')}\n")
        checker = Argon2File(self.file.path)
        running, most = 0, 0
        lock = threading.Lock()
        matches = passwords.verify_passphrase

        def count(string: str, passphrase: bytes) -> bool:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            try:
                return matches(string, passphrase)
            finally:
                with lock:
                    running -= 1

        self.patch(argon2, "verify_passphrase", count)
        patient = Timeouts(authentication=600)  # a busy machine is no failure
        factory = SodiumServerFactory(SERVER_PAIR, checker, timeouts=patient)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        where = TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port))

        class Client(RecordingClient):
            def __init__(self) -> None:
                super().__init__()
                self.lost: Deferred[None] = Deferred()

            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                self.lost.callback(None)

        clients: list[Client] = []
        client_factory = make_client_factory(None, Client, login="username", passphrase="passphrase", timeouts=patient)

        async def connect() -> Client:
            client = await where.connect(client_factory)
            assert isinstance(client, Client)
            clients.append(client)
            return client

        def close() -> Deferred[list[None]]:
            for client in clients:
                client.abort()
            return gatherResults([client.lost for client in clients])

        self.addCleanup(close)
        first = await connect()
        await first.when_authenticated()
        others = [await connect() for _ in range(15)]
        answered = 0
        while not all(client.is_authenticated for client in others):
            await first.ping()
            if not all(client.is_authenticated for client in others):
                answered += 1
        # One that blocks the reactor would let one in with each turn of it, at most.
        self.assertGreater(answered, 2 * len(others))
        self.assertEqual(most, 2)
