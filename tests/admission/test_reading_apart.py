"""
Lists that are read in a thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import AuthorizedKeysFile, InvalidKey
from sodiumtwist.admission import watched
from sodiumtwist.admission.argon2 import Argon2File
from sodiumtwist.admission.authorized import parse_authorized_keys
from sodiumtwist.admission.checkers import LoginNotChecked
from sodiumtwist.admission.files import open_at_once
from sodiumtwist.admission.passwords import parse_passwords
from sodiumtwist.admission.plaintext import PlaintextFile, parse_plaintext
from sodiumtwist.admission.watched import READ_AT_ONCE, TIMESTAMP_RESOLUTION, WatchedFile

from ..logs import logged
from ..pair import CLIENT_PAIR, Pair, make_client_factory, make_server_factory
from .test_passwords import cheap

LARGE = "#" * READ_AT_ONCE + "\n"


class Threads:
    """
    A reactor with a pool of threads that work when the test says so.

    :ivar jobs: what they were given and have not done.
    """

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[..., object], Callable[[], Any]]] = []

    def getThreadPool(self) -> Threads:
        return self

    def callInThreadWithCallback(self, done: Callable[..., object], work: Callable[..., Any], *arguments: Any) -> None:
        self.jobs.append((done, lambda: work(*arguments)))

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        call(*arguments)

    def work(self) -> None:
        """Do the next job, in a thread."""
        done, work = self.jobs.pop(0)
        outcome: list[tuple[bool, Any]] = []

        def working() -> None:
            try:
                outcome.append((True, work()))
            except BaseException as error:
                outcome.append((False, Failure(error)))

        thread = threading.Thread(target=working)
        thread.start()
        thread.join()
        done(*outcome[0])


class ReadingApartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.events = logged(self)
        self.threads, self.clock = Threads(), Clock()
        self.parsed_in: list[threading.Thread] = []
        self.write("one")
        self.watched = WatchedFile(self.path, self.parse, "list", False, self.clock.seconds, self.threads)

    def write(self, contents: str, padding: str = LARGE) -> None:
        with open(f"{self.path}~", "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(padding + contents)
        os.replace(f"{self.path}~", self.path)

    def parse(self, text: str) -> str:
        self.parsed_in.append(threading.current_thread())
        if "bad" in text:
            raise InvalidKey("line 7: it is bad")
        return text.removeprefix(LARGE).upper()

    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events if "log_format" in event]

    def settle(self) -> None:
        """Let the version that is there be read for the last time."""
        self.watched.current()
        self.clock.advance(TIMESTAMP_RESOLUTION + 0.1)
        self.watched.current()

    def test_in_a_thread(self) -> None:
        """What is read and parsed there holds up nobody here. What does not change is not read again."""
        self.settle()
        self.assertEqual(self.successResultOf(self.watched.latest()), "ONE")
        self.write("two")
        waiting = self.watched.latest()
        self.assertNoResult(waiting)
        self.threads.work()
        self.assertEqual(self.successResultOf(waiting), "TWO")
        self.assertIs(self.parsed_in[0], threading.main_thread())
        self.assertEqual(len(self.parsed_in), 2)
        self.assertIsNot(self.parsed_in[1], threading.main_thread())
        self.assertEqual(self.lines(), [f"the list {self.path} was changed and read again"])
        self.settle()
        self.assertEqual(self.successResultOf(self.watched.latest()), "TWO")
        self.assertEqual((self.threads.jobs, len(self.parsed_in)), ([], 2))

    def test_small(self) -> None:
        """A small one takes less time than to hand it to a thread."""
        for padding, apart in (("#" * (READ_AT_ONCE - 3), False), ("#" * (READ_AT_ONCE - 2), True)):
            self.write("two", padding)
            self.watched.latest()
            self.assertEqual(bool(self.threads.jobs), apart)
        self.assertEqual(READ_AT_ONCE, 16_384)

    def test_together(self) -> None:
        """Who asks meanwhile waits for the same reading; the old value is given to nobody, for it may let in more."""
        self.settle()
        self.write("two")
        waiting = [self.watched.latest() for _ in range(3)]
        self.assertEqual(len(self.threads.jobs), 1)
        waiting[1].cancel()
        self.failureResultOf(waiting.pop(1), CancelledError)
        self.threads.work()
        self.clock.advance(TIMESTAMP_RESOLUTION + 0.1)
        # The two that joined read once more: what they joined might have begun before the file was changed.
        for _ in range(len(self.threads.jobs)):
            self.threads.work()
        self.assertEqual([self.successResultOf(each) for each in waiting], ["TWO"] * 2)

    def test_changed_again(self) -> None:
        """Who asks after a second change gets what the file says after that."""
        self.settle()
        self.write("two")
        first = self.watched.latest()
        done, work = self.threads.jobs.pop()
        version = work()
        self.write("three")
        second = self.watched.latest()
        self.assertEqual(self.threads.jobs, [])
        done(True, version)
        self.assertEqual(self.successResultOf(first), "TWO")
        self.assertNoResult(second)
        self.threads.work()
        self.assertEqual(self.successResultOf(second), "THREE")

    def test_read_at_once_meanwhile(self) -> None:
        """What the thread read before does not come back."""
        self.settle()
        self.write("two")
        waiting = self.watched.latest()
        done, work = self.threads.jobs.pop()
        version = work()
        self.write("three")
        self.assertEqual(self.watched.current(), "THREE")
        done(True, version)
        self.assertEqual(self.successResultOf(waiting), "THREE")

    def test_just_changed(self) -> None:
        """How long a version is there counts from when a thread had read it, not from when that was asked for."""
        self.settle()
        self.write("two")
        self.watched.latest()
        self.clock.advance(TIMESTAMP_RESOLUTION)
        self.threads.work()
        for more, again in ((0.1, True), (TIMESTAMP_RESOLUTION, True), (0.1, False)):
            self.clock.advance(more)
            self.watched.latest()
            self.assertEqual(bool(self.threads.jobs), again)
            if again:
                self.threads.work()

    def test_cancelled_by_another(self) -> None:
        """Whoever is told first may end what others wait for."""
        self.settle()
        self.write("two")
        first, second = self.watched.latest(), self.watched.latest()
        first.addCallback(lambda _: second.cancel())
        self.threads.work()
        self.failureResultOf(second, CancelledError)

    def test_broken(self) -> None:
        """What is wrong with it is told once, and the old value holds for its time; as when it is read at once."""
        self.settle()
        self.write("bad")
        for _ in range(2):
            waiting = self.watched.latest()
            self.threads.work()
            self.assertEqual(self.successResultOf(waiting), "ONE")
        line = "the list can't be used, so what it said before holds for 60 more seconds: "
        self.assertEqual(self.lines(), [f"{line}{self.path}: line 7: it is bad"])
        self.clock.advance(60)
        waiting = self.watched.latest()
        self.threads.work()
        self.failureResultOf(waiting, LoginNotChecked)
        self.write("two")
        waiting = self.watched.latest()
        self.threads.work()
        self.assertEqual(self.successResultOf(waiting), "TWO")

    def test_unreadable(self) -> None:
        """So it is with a file that the thread can't read; it is tried again."""
        self.settle()
        self.write("two")
        waiting = self.watched.latest()
        os.rename(self.path, f"{self.path}~")
        self.threads.work()
        self.assertEqual(self.successResultOf(waiting), "ONE")
        self.assertIn("No such file or directory", self.lines()[0])
        os.rename(f"{self.path}~", self.path)
        waiting = self.watched.latest()
        self.threads.work()
        self.assertEqual(self.successResultOf(waiting), "TWO")

    def test_fault(self) -> None:
        """Any other fault goes to who asks, or to the log when nobody does; it is tried again."""
        self.settle()
        self.write("two")
        self.patch(self.watched, "_parse", lambda text: 1 / 0)
        waiting = self.watched.latest()
        self.watched.look()
        self.threads.work()
        self.failureResultOf(waiting, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.patch(self.watched, "_parse", self.parse)
        waiting = self.watched.latest()
        self.threads.work()
        self.assertEqual(self.successResultOf(waiting), "TWO")

    def test_global_reactor(self) -> None:
        """Without a reactor it is the global one, asked for when it is needed."""
        from twisted.internet import reactor

        watched = WatchedFile(self.path, self.parse, "list")
        self.patch(reactor, "getThreadPool", lambda: self.threads)
        self.patch(reactor, "callFromThread", self.threads.callFromThread)
        waiting = watched.latest()
        self.threads.work()
        self.assertEqual(self.successResultOf(waiting), "ONE")


class WhoReadsApartTests(SynchronousTestCase):
    """Each list is read so, and what was taken out of it lets in nobody who logs in after that."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.threads = Threads()
        self.opened_in: list[threading.Thread] = []

        def note(path: str) -> BinaryIO:
            self.opened_in.append(threading.current_thread())
            return open_at_once(path)

        self.patch(watched, "open_at_once", note)

    def write(self, contents: str) -> None:
        with open(self.path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(LARGE + contents)

    def test_logins(self) -> None:
        for kind, line in (
            (Argon2File, f"ann:{cheap('secret')}\n"),
            (PlaintextFile, "ann:secret\n"),
        ):
            self.write(line)
            checker = kind(self.path, reactor=self.threads)
            self.opened_in.clear()
            self.write("")
            login = checker.requestAvatarId(UsernamePassword(b"ann", b"secret"))
            self.assertNoResult(login)
            while self.threads.jobs:
                self.threads.work()
            self.failureResultOf(login, UnauthorizedLogin)
            self.assertEqual((len(self.opened_in), threading.main_thread() in self.opened_in), (1, False))

    def test_keys(self) -> None:
        """A whole connection."""
        line = f"{CLIENT_PAIR.public.hex()}\n"
        for removed in (False, True):
            self.write(line)
            keys = AuthorizedKeysFile(self.path, reactor=self.threads)
            self.write("" if removed else line + line)
            clock = Clock()
            pair = Pair(make_server_factory(clock, authorized_keys=keys), make_client_factory(clock, pair=CLIENT_PAIR))
            pair.flush()
            self.assertFalse(pair.client.is_authenticated)
            self.threads.work()
            pair.flush()
            self.assertEqual(pair.client.is_authenticated, not removed)


class LargeListTests(SynchronousTestCase):
    def test_no_long_call(self) -> None:
        """A million lines are not split at once, which would stop all threads: each is looked at on its own."""
        text = "\n" * 100
        lines: list[int] = []

        class Text(str):
            def split(self, *arguments: object) -> list[str]:
                raise AssertionError("all lines at once")

            def splitlines(self, keepends: bool = False) -> list[str]:
                raise AssertionError("all lines at once")

            def find(self, *arguments: Any) -> int:
                lines.append(1)
                return super().find(*arguments)

        for parse in (parse_authorized_keys, parse_passwords, parse_plaintext):
            lines.clear()
            parse(Text(text))
            self.assertEqual(len(lines), 101)
