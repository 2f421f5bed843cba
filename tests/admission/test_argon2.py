"""
Logins verified in threads.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import findCheckerFactory, makeChecker
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from sodiumtwist import LocalProtocolError, SodiumServerFactory, Timeouts
from sodiumtwist.admission import argon2, passwords
from sodiumtwist.admission.argon2 import CONCURRENCY, QUEUE, Argon2File, from_argument
from sodiumtwist.admission.checkers import LoginNotChecked
from sodiumtwist.admission.passwords import hash_passphrase, verification_cost
from sodiumtwist.admission.watched import GRACE

from ..checkers import AvatarId
from ..logs import logged
from ..pair import SERVER_PAIR, RecordingClient, make_client_factory
from ..ports import port_number
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

    def ask(self, checker: Argon2File, login: str = "ann", passphrase: str = "right") -> Deferred[AvatarId]:
        return checker.requestAvatarId(UsernamePassword(login.encode(), passphrase.encode()))

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
            self.assertEqual((checker._semaphore.limit, checker._queue), expected)
        self.assertRaises(LocalProtocolError, from_argument, "")
        for settings in (":concurrency=0", ":queue=1:queue=2"):
            self.assertRaises(LocalProtocolError, from_argument, odd + settings)


class ReactorTests(TestCase):
    """With real threads."""

    async def test_reactor_goes_on(self) -> None:
        """PINGs are answered while 50 logins are being verified."""
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
        others = [await connect() for _ in range(50)]
        answered = 0
        while not all(client.is_authenticated for client in others):
            await first.ping()
            if not all(client.is_authenticated for client in others):
                answered += 1
        # One that blocks the reactor would let one in with each turn of it, at most.
        self.assertGreater(answered, 100)
        self.assertEqual(most, 2)
