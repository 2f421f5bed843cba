"""
What several servers remember together on a real server of Redis.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks, succeed
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyClass, verifyObject

from sodiumtwist import LocalProtocolError
from sodiumtwist.admission.replays import ReplayMemory
from sodiumtwist.admission.shared_store import (
    FailuresTogether,
    ISharedStore,
    SharedReplays,
    StoreDown,
    kept,
    result_of,
)
from sodiumtwist.operation import redis_store
from sodiumtwist.operation.redis_store import RETRY, RETRY_MOST, RedisStore

from ..logs import logged
from ..pages import read_page
from ..processes import PATIENCE
from ..redis_server import RedisServer
from ..replay_memories import fingerprint
from ..shared_stores import StoreAtOnce


class RedisTestCase(SynchronousTestCase):
    """Has a server of Redis, and asks it without a thread."""

    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.redis = RedisServer(*self.options)
        self.addCleanup(self.redis.remove)
        self.clock = Clock()
        self.events = logged(self)

    def open(self, scope: str = "one", *, seconds: float = 5.0, **options: Any) -> StoreAtOnce:
        store = StoreAtOnce(self.redis.url, scope, self.clock, seconds=seconds, **options)
        self.addCleanup(store.stopped)
        return store

    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events if isinstance(event.get("log_source"), RedisStore)]

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for what Redis does by its own clock."""
        limit = time.monotonic() + PATIENCE
        while not true():
            self.assertLess(time.monotonic(), limit)


class RememberingTests(RedisTestCase):
    """What it remembers."""

    def test_interface(self) -> None:
        self.assertTrue(verifyClass(ISharedStore, RedisStore))
        self.assertTrue(verifyObject(ISharedStore, self.open()))

    def test_once(self) -> None:
        """A handshake is new to one server; other scopes have others."""
        one, other, apart = self.open(), self.open(), self.open("two")
        self.assertIs(self.successResultOf(one.knows(fingerprint(1))), False)
        self.assertIs(self.successResultOf(one.remember(fingerprint(1))), True)
        self.assertIs(self.successResultOf(other.remember(fingerprint(1))), False)
        self.assertIs(self.successResultOf(other.knows(fingerprint(1))), True)
        self.assertIs(self.successResultOf(apart.knows(fingerprint(1))), False)

    def test_bound(self) -> None:
        """The oldest are forgotten beyond the limit, also after it was lowered; the log says so once."""
        store = self.open(replays=3)
        for number in range(5):
            self.assertIs(self.successResultOf(store.remember(fingerprint(number))), True)
        known = [self.successResultOf(store.knows(fingerprint(number))) for number in range(5)]
        self.assertEqual(known, [False, False, True, True, True])
        self.assertEqual((self.successResultOf(store.counted()), store.limit), (3, 3))
        self.assertEqual(len(self.lines()), 1)
        self.assertRegex(self.lines()[0], "^more than 3 handshakes are remembered in unix:.*; the oldest are forgotten")
        self.assertIs(self.successResultOf(self.open(replays=1).remember(fingerprint(9))), True)
        known = [self.successResultOf(store.knows(fingerprint(number))) for number in (2, 3, 4, 9)]
        self.assertEqual(known, [False, False, False, True])

    def test_failures(self) -> None:
        """They are counted by address and by login, of any kind."""
        one, other = self.open(), self.open()
        login = "\0 \ud800:" * 60
        self.assertEqual(self.successResultOf(one.failures("192.0.2.1", login)), (0, 0))
        one.failed("192.0.2.1", login)
        other.failed("192.0.2.1", None)
        other.failed(None, login)
        other.failed("192.0.2.1", "other")
        self.assertEqual(self.successResultOf(one.failures("192.0.2.1", login)), (3, 2))
        self.assertEqual(self.successResultOf(one.failures(None, login)), (0, 2))
        self.assertEqual(self.successResultOf(one.failures("192.0.2.1", None)), (3, 0))
        self.assertEqual(self.successResultOf(one.failures("192.0.2.2", "another")), (0, 0))

    def test_forgotten(self) -> None:
        """When the time since the first of them is over, and nothing is left of them then."""
        store = self.open(failure_seconds=0.03)
        for _ in range(2):
            store.failed("a", "l")
        self.until(lambda: self.successResultOf(store.failures("a", "l")) == (0, 0))
        store.failed("a", None)
        self.assertEqual(self.successResultOf(store.failures("a", "l")), (1, 0))
        self.until(lambda: self.successResultOf(store._ask("DBSIZE")) == 0)

    def test_table_full(self) -> None:
        """Who is counted stays counted. Newcomers are not, until there is room."""
        self.patch(redis_store, "FAILURES_SIZE", 2)
        store = self.open(failure_seconds=0.1)
        for address in ("a", "b", "c", "a"):
            store.failed(address, None)
        counts = [self.successResultOf(store.failures(address, None))[0] for address in ("a", "b", "c")]
        self.assertEqual(counts, [2, 1, 0])
        self.until(lambda: self.successResultOf(store.failures("b", None)) == (0, 0))
        store.failed("c", None)
        self.assertEqual(self.successResultOf(store.failures("c", None)), (1, 0))

    def test_rights(self) -> None:
        """Those that the page names are enough for all that is asked."""
        for rule in re.findall(r"ACL SETUSER .*", read_page("docs/explanation/shared-state.rst")):
            self.successResultOf(self.open()._ask(*rule.replace("PASSWORD", "sesame").split()))
        store = StoreAtOnce(self.redis.url.replace("://", "://sodium:sesame@"), "one", self.clock)
        self.addCleanup(store.stopped)
        store.look()
        self.assertTrue(self.successResultOf(store.remember(fingerprint(1))))
        self.assertTrue(self.successResultOf(store.knows(fingerprint(1))))
        store.failed("a", "l")
        self.assertEqual(self.successResultOf(store.failures("a", "l")), (1, 1))
        self.assertEqual(self.successResultOf(store.counted()), 1)
        store._lose("for a test")
        self.clock.advance(RETRY)
        self.assertEqual(store.why_down, "")

    def test_room(self) -> None:
        """What the pages say of its memory there."""
        store = self.open(replays=10)

        def used() -> int:
            return int(self.successResultOf(store._ask("INFO", "memory"))["used_memory"])

        store.remember(fingerprint(0))
        before, count = used(), 2000
        for number in range(count):
            store._ask("ZADD", store._replays[0], number, fingerprint(number))
        self.assertLess((used() - before) / count, 150)


class DownTests(RedisTestCase):
    """It is down, and comes back."""

    def test_killed(self) -> None:
        """Whoever asks hears so; from then on at once. It is tried now and then, and the log says both once."""
        store = self.open()
        told: list[bool] = []
        store.when_back(lambda: told.append(True))
        self.successResultOf(store.remember(fingerprint(1)))
        self.redis.kill()
        failure = self.failureResultOf(store.knows(fingerprint(1)), StoreDown)
        self.assertRegex(str(failure.value), r"^the shared store unix:\S* is down: ")
        # Nobody is waited for any more.
        self.patch(store, "_in_thread", lambda *work: self.fail("asked"))
        self.assertEqual(str(self.failureResultOf(store.remember(b""), StoreDown).value), store.why_down)
        del store._in_thread
        self.clock.advance(RETRY)
        self.assertTrue(store.why_down)
        self.redis.start()
        self.clock.advance(RETRY)
        self.assertEqual((store.why_down, told), ("", [True]))
        self.assertIs(self.successResultOf(store.knows(fingerprint(1))), False)
        self.assertEqual(
            [line.rpartition(": ")[0] or line for line in self.lines()][1:],
            [f"the shared store {self.redis.url} answers again"],
        )
        self.assertIn("is down", self.lines()[0])

    def test_paused(self) -> None:
        """One that answers nothing is down within the time."""
        store = self.open(seconds=0.1)
        self.successResultOf(store.remember(fingerprint(1)))
        self.redis.pause()
        self.failureResultOf(store.knows(fingerprint(1)), StoreDown)
        self.redis.go_on()
        while store.why_down:
            self.clock.advance(RETRY)
        self.assertIs(self.successResultOf(store.knows(fingerprint(1))), True)

    def test_up_and_down(self) -> None:
        """Where it goes down again soon each time, it is tried less often, up to a bound."""
        store = self.open()
        pauses = []
        for _ in range(9):
            self.redis.kill()
            self.failureResultOf(store.knows(fingerprint(1)), StoreDown)
            pauses.append(store._pause)
            self.redis.start()
            self.clock.advance(store._pause)
            self.assertEqual(store.why_down, "")
        self.assertEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60])
        self.clock.advance(RETRY_MOST)
        self.redis.kill()
        self.failureResultOf(store.knows(fingerprint(1)), StoreDown)
        self.assertEqual(store._pause, RETRY)

    def test_takes_nothing(self) -> None:
        """One that answers, and remembers nothing, is as good as none."""
        store = self.open()
        self.successResultOf(store._ask("CONFIG", "SET", "maxmemory", "1"))
        self.failureResultOf(store.remember(fingerprint(1)), StoreDown)
        self.assertIn("maxmemory", store.why_down)
        self.clock.advance(RETRY)
        self.assertIn("maxmemory", store.why_down)
        self.assertEqual(len(self.lines()), 1)

    def test_nonsense(self) -> None:
        """Something else that answers is as good as none, too."""
        for answer in (None, [b"abc"], [1]):
            store = self.open()
            self.patch(store, "_talk", lambda commands, answer=answer: [answer])
            self.failureResultOf(store.failures("192.0.2.1", "'ann'"), StoreDown)
            self.assertIn("does not answer as Redis does", store.why_down)
        store = self.open()
        self.patch(store, "_talk", lambda commands: [None])
        self.failureResultOf(store.remember(fingerprint(1)), StoreDown)

    def test_no_trace(self) -> None:
        """Looking whether it is back leaves nothing there."""
        store = self.open()
        store._lose("for a test")
        self.clock.advance(RETRY)
        self.assertEqual(store.why_down, "")
        self.assertEqual(self.successResultOf(store._ask("DBSIZE")), 0)


class StartTests(RedisTestCase):
    """Before anybody logs in."""

    options = ("--requirepass", "open-sesame")

    def store(self, url: str) -> StoreAtOnce:
        store = StoreAtOnce(url, "one", self.clock, seconds=0.5)
        self.addCleanup(store.stopped)
        return store

    def test_password(self) -> None:
        """With the right one all is well; without it, or with a wrong one, waiting would not help."""
        right = self.redis.url.replace("unix://", "unix://:open-sesame@")
        store = self.store(right)
        store.look()
        self.assertEqual(self.lines(), [])
        self.assertNotIn("sesame", repr(store))
        for url in (self.redis.url, right.replace("sesame", "sesam")):
            error = self.assertRaises(LocalProtocolError, self.store(url).look)
            self.assertNotIn("sesam", str(error))
            self.assertRegex(str(error), "^--shared-store: unix://.*: .*[Pp]assw|^--shared-store: .*uthentication")

    def test_not_there(self) -> None:
        """It may come later, so a server starts, with a warning."""
        self.redis.kill()
        self.store(self.redis.url).look()
        self.assertRegex(self.lines()[0], r"^the shared store unix:\S* is down: ")

    def test_url(self) -> None:
        """What is none is told before anything is asked; no password is."""
        for url, why in (
            ("http://:sesame@h", "one of the following schemes"),
            ("redis://:sesame@h:x", "[Pp]ort"),
            # Marks that end a password for a parser.
            ("redis://:sesame/sesame@h:1", "'…'; in a password, / "),
            ("redis://:sesame#sesame@h:1", "'…'; in a password, / "),
            ("redis://:sesame[x@h:1", "IPv6"),
            (":sesame@h:1", "^--shared-store …@h:1: .*one of the following schemes"),
            ("h:6379", "one of the following schemes"),
        ):
            error = self.assertRaises(LocalProtocolError, self.store, url)
            self.assertRegex(str(error), why)
            self.assertNotIn("sesame", str(error))

    def test_no_package(self) -> None:
        """It is told how to get it."""
        loaded = [name for name in sys.modules if name.partition(".")[0] == "redis"]
        # As for what can't be imported.
        with patch.dict(sys.modules, dict.fromkeys(["redis", *loaded])):
            error = self.assertRaises(LocalProtocolError, self.store, self.redis.url)
        self.assertEqual(str(error), "--shared-store needs the package redis: pip install redis")


Steps = Generator[Deferred[Any], Any, None]


def answer_for_ever(listening: socket.socket) -> None:
    """Be a server of Redis that sends a bit of an answer again and again."""
    with contextlib.suppress(OSError), listening.accept()[0] as connection:
        connection.sendall(b"+OK\r\n+OK\r\n+OK\r\n$1000000\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)


class ThreadTests(TestCase):
    """As a server asks it."""

    def setUp(self) -> None:
        self.redis = RedisServer()
        self.addCleanup(self.redis.remove)

    def open(self, seconds: float = PATIENCE) -> RedisStore:
        store = RedisStore(self.redis.url, "one", reactor, seconds=seconds)
        self.addCleanup(store.stopped)
        return store

    @inlineCallbacks
    def test_many_at_once(self) -> Steps:
        """What is asked while an answer is on its way goes out together."""
        store = self.open()
        sent: list[int] = []
        talk = store._talk

        def counted(commands: list[tuple[Any, ...]]) -> list[Any]:
            sent.append(len(commands))
            return talk(commands)

        store._talk = counted  # type: ignore[method-assign]
        answers = yield gatherResults([store.remember(fingerprint(number % 700)) for number in range(1400)])
        self.assertEqual(sum(answers), 700)
        self.assertEqual(sent, [1, 500, 500, 399])

    @inlineCallbacks
    def test_too_many(self) -> Steps:
        """There is a bound for those that wait."""
        self.patch(redis_store, "QUEUE", 20)
        store = self.open()
        # One is on its way.
        asked = [store.knows(fingerprint(1)) for _ in range(1 + 20 + 1)]
        yield self.assertFailure(asked[-1], StoreDown)
        self.assertFalse(store.why_down)
        yield gatherResults(asked[:-1])

    @inlineCallbacks
    def test_no_answer(self) -> Steps:
        """The reactor does not wait meanwhile, and all that wait hear so at the same time."""
        store = self.open(0.1)
        yield store.knows(fingerprint(1))
        self.redis.pause()
        said: list[str] = []
        turn = deferLater(reactor, 0, said.append, "turn")
        waiting = [self.assertFailure(store.knows(fingerprint(1)), StoreDown) for _ in range(600)]
        for asked in waiting:
            asked.addCallback(lambda error: said.append("down"))
        yield gatherResults([turn, *waiting])
        self.assertEqual(said, ["turn", *["down"] * 600])
        self.redis.go_on()

    @inlineCallbacks
    def test_no_answer_to_a_login(self) -> Steps:
        """What a login asks fails together; each server goes on by itself where it may."""
        store = self.open(0.1)
        replays, failures = SharedReplays(store, ReplayMemory(), True), FailuresTogether(store, True)

        async def decide() -> tuple[bool, bool]:
            allowed = kept(failures.allow("192.0.2.1", "'ann'", 3, 3))
            return await replays.knows(fingerprint(1)), result_of(await allowed)

        self.redis.pause()
        self.assertEqual((yield Deferred.fromCoroutine(decide())), (False, True))
        self.redis.go_on()

    @inlineCallbacks
    def test_no_end(self) -> Steps:
        """An answer that goes on for ever keeps neither the thread nor the end of the service."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            threading.Thread(target=answer_for_ever, args=(listening,), daemon=True).start()
            store = RedisStore(f"redis://127.0.0.1:{listening.getsockname()[1]}", "one", reactor, seconds=0.5)
            talk, ended = store._talk, threading.Event()

            def talk_and_end(commands: list[tuple[Any, ...]]) -> list[Any]:
                try:
                    return talk(commands)
                finally:
                    ended.set()

            store._talk = talk_and_end  # type: ignore[method-assign]
            yield self.assertFailure(store.knows(fingerprint(1)), StoreDown)
            self.assertTrue(ended.wait(PATIENCE))
            yield store.stopped() or succeed(None)

    @inlineCallbacks
    def test_thread_hangs(self) -> Steps:
        """As while it looks for the address of a name. Nor is that waited for."""
        store, going_on = self.open(0.1), threading.Event()
        self.addCleanup(store._pool.stop)
        self.addCleanup(going_on.set)
        store._talk = lambda commands: [going_on.wait(PATIENCE)]  # type: ignore[method-assign]
        yield self.assertFailure(store.knows(fingerprint(1)), StoreDown)
        yield store.stopped() or succeed(None)
        self.assertFalse(going_on.is_set())

    @inlineCallbacks
    def test_cancelled(self) -> Steps:
        """Who does not wait any more is not asked for; that says nothing about the store."""
        store = self.open()
        first, second = store.remember(fingerprint(1)), store.remember(fingerprint(2))
        for asked in (first, second):
            asked.cancel()
            yield self.assertFailure(asked, CancelledError)
        self.assertFalse((yield store.remember(fingerprint(1))))
        self.assertTrue((yield store.remember(fingerprint(2))))
        self.assertFalse(store.why_down)

    @inlineCallbacks
    def test_stopped(self) -> Steps:
        """Those that wait hear so, and nothing is asked any more."""
        store = self.open()
        first, second = store.remember(fingerprint(1)), store.remember(fingerprint(2))
        stopping = store.stopped()
        assert stopping is not None
        yield self.assertFailure(second, StoreDown)
        yield self.assertFailure(store.knows(fingerprint(1)), StoreDown)
        self.assertTrue((yield first))
        yield stopping
