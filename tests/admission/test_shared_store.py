"""
What several servers remember together, and what becomes of logins while that is down.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from sodiumtwist import KeyPair, Limits, SingleLogin, SodiumServerFactory
from sodiumtwist.admission.replays import IReplayMemory, ReplayMemory
from sodiumtwist.admission.shared_store import (
    SAID_TOGETHER,
    UNSAID,
    FailuresTogether,
    ISharedStore,
    SharedReplays,
    StoreDown,
)
from sodiumtwist.core.errors import ServerUnavailable, TooManyFailures

from ..observed import ObservedTestCase
from ..pair import (
    PASSPHRASE,
    EchoServer,
    MemoryTransport,
    Pair,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)
from ..replay_memories import fingerprint
from ..shared_stores import StoreInMemory
from ..vectors import load_session
from ..versions import each_version, only, spoken


class SharedReplaysTests(SynchronousTestCase):
    """Handshakes of version 1."""

    def setUp(self) -> None:
        self.store = StoreInMemory()
        self.memories = [ReplayMemory(), ReplayMemory()]

    def servers(self, local: bool = False) -> list[SharedReplays]:
        return [SharedReplays(self.store, memory, local) for memory in self.memories]

    def test_interfaces(self) -> None:
        self.assertTrue(verifyClass(ISharedStore, StoreInMemory))
        self.assertTrue(verifyObject(IReplayMemory, self.servers()[0]))

    def test_once(self) -> None:
        """What one accepted, no other does."""
        one, other = self.servers()
        self.assertIs(self.successResultOf(one.knows(fingerprint(1))), False)
        self.assertIs(self.successResultOf(one.remember(fingerprint(1))), True)
        for server in (one, other):
            self.assertIs(self.successResultOf(server.knows(fingerprint(1))), True)
            self.assertIs(self.successResultOf(server.remember(fingerprint(1))), False)
        self.assertIs(self.successResultOf(other.knows(fingerprint(2))), False)
        self.assertEqual((self.successResultOf(other.counted()), other.limit), (1, 1000))

    def test_forgetful_store(self) -> None:
        """One that lost what it had lets nothing in that came to the same server before."""
        one, other = self.servers()
        self.successResultOf(one.remember(fingerprint(1)))
        self.store.known.clear()
        self.assertIs(self.successResultOf(one.knows(fingerprint(1))), True)
        self.assertIs(self.successResultOf(one.remember(fingerprint(1))), False)
        self.assertIs(self.successResultOf(other.knows(fingerprint(1))), False)

    def test_deny(self) -> None:
        """While it is down nobody is let in."""
        one, _ = self.servers()
        self.store.down = True
        self.failureResultOf(one.knows(fingerprint(1)), StoreDown)
        self.failureResultOf(one.remember(fingerprint(1)), StoreDown)
        # That was known here before.
        self.assertIs(self.successResultOf(one.knows(fingerprint(1))), True)

    def test_local(self) -> None:
        """While it is down each server remembers alone, and tells the store later."""
        one, other = self.servers(local=True)
        self.store.down = True
        self.assertIs(self.successResultOf(one.knows(fingerprint(1))), False)
        self.assertIs(self.successResultOf(one.remember(fingerprint(1))), True)
        self.assertIs(self.successResultOf(one.knows(fingerprint(1))), True)
        self.assertIs(self.successResultOf(other.knows(fingerprint(1))), False)
        self.store.come_back()
        self.assertEqual(self.store.known, {fingerprint(1)})
        self.assertIs(self.successResultOf(other.knows(fingerprint(1))), True)

    def test_down_again(self) -> None:
        """What it could not be told, it is told the next time; the bound holds."""
        one, _ = self.servers(local=True)
        self.store.down = True
        for number in range(UNSAID + 1):
            one.remember(fingerprint(number))
        for call in self.store.calls:
            call()
        self.assertEqual(self.store.known, set())
        self.store.come_back()
        self.assertEqual(self.store.known, {fingerprint(number) for number in range(1, UNSAID + 1)})

    def test_back_and_slow(self) -> None:
        """It is told a few at a time, so that who logs in is heard meanwhile, and each has its answer in time."""
        server, _ = self.servers(local=True)
        self.store.down = True
        for number in range(2 * SAID_TOGETHER + 1):
            self.successResultOf(server.remember(fingerprint(number)))
        asked: list[Deferred[bool]] = []

        def later(fingerprint: bytes) -> Deferred[bool]:
            asked.append(Deferred())
            return asked[-1]

        self.patch(self.store, "remember", later)
        for count in (SAID_TOGETHER, SAID_TOGETHER):
            # The second time because it went down again.
            server._say()
            self.assertEqual(len(asked), count)
            for each in asked[1:]:
                each.callback(True)
            self.assertEqual(len(asked), count)
            asked.pop(0).errback(StoreDown("down again"))
            asked.clear()
        server._say()
        self.assertEqual(len(asked), 3)

    def test_failures_of_ours(self) -> None:
        """What fails here is no matter of the store; and nobody hears of an answer that came for nothing."""

        @implementer(IReplayMemory)
        class Broken:
            def knows(self, fingerprint: bytes) -> bool:
                raise ValueError

            def remember(self, fingerprint: bytes) -> bool:
                raise ValueError

        self.store.down = True
        broken = SharedReplays(self.store, Broken(), True)
        self.failureResultOf(broken.knows(b""), ValueError)
        self.failureResultOf(broken.remember(b""), ValueError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_close(self) -> None:
        """A database here is closed."""

        class Closing(ReplayMemory):
            closed = False

            def close(self) -> Deferred[None]:
                self.closed = True
                return succeed(None)

        here = Closing()
        self.successResultOf(SharedReplays(self.store, here, True).close())
        self.assertTrue(here.closed)
        self.successResultOf(self.servers()[0].close())


class SharedFailuresTests(SynchronousTestCase):
    """Logins that failed."""

    def test_limits(self) -> None:
        """Each of both."""
        store = StoreInMemory()
        shared = FailuresTogether(store, False)
        for login in ("l", "l", None):
            self.assertIs(self.successResultOf(shared.allow("a", None, 3, 2)), True)
            shared.failed("a", login)
        self.assertIs(self.successResultOf(shared.allow("b", "l", 3, 2)), False)
        self.assertIs(self.successResultOf(shared.allow("b", None, 3, 2)), True)
        self.assertIs(self.successResultOf(shared.allow("b", "m", 3, 2)), True)
        self.assertIs(self.successResultOf(shared.allow("a", None, 3, 2)), False)

    def test_down(self) -> None:
        """As was chosen. Nobody hears of what was not counted."""
        store = StoreInMemory()
        store.down = True
        self.failureResultOf(FailuresTogether(store, False).allow("a", "l", 1, 1), StoreDown)
        self.assertIs(self.successResultOf(FailuresTogether(store, True).allow("a", "l", 1, 1)), True)
        FailuresTogether(store, True).failed("a", "l")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_nothing_to_say(self) -> None:
        """A client without an address whose login is no matter."""
        store = StoreInMemory()
        FailuresTogether(store, True).failed(None, None)
        self.assertFalse(store.counts)


@each_version
class LoginTests(ObservedTestCase):
    """Logins at two servers that share a store."""

    def setUp(self) -> None:
        super().setUp()
        self.store: Any = StoreInMemory()

    def make(
        self, local: bool = False, limits: Limits = Limits(failures_per_address=9, failures_per_login=3)
    ) -> SodiumServerFactory:
        factory = make_server_factory(self.clock, limits=limits)
        factory.replays = SharedReplays(self.store, ReplayMemory(), local)
        factory.admission.others = FailuresTogether(self.store, local)
        return factory

    def attempt(self, factory: SodiumServerFactory, passphrase: str = PASSPHRASE) -> Pair:
        pair = Pair(factory, make_client_factory(self.clock, passphrase=passphrase))
        pair.flush()
        return pair

    def why(self, pair: Pair) -> str | None:
        return None if pair.server.reason is None else pair.server.reason.getErrorMessage()

    def test_counted_together(self) -> None:
        """What failed at one counts at the other."""
        one, other = self.make(), self.make()
        for factory in (one, other, one):
            self.assertEqual(self.why(self.attempt(factory, "wrong")), "login or passphrase is wrong")
        for factory in (one, other):
            self.assertFalse(factory.admission.blocked_logins)
            pair = self.attempt(factory)
            self.assertEqual(self.why(pair), "too many logins failed, and none is checked for now")
            if spoken() == 2:
                self.assertIs(pair.client.why, TooManyFailures)

    def test_regular(self) -> None:
        """Who came in from there before may still come in there, however often others failed."""
        one, other = self.make(), self.make()
        self.assertIsNone(self.why(self.attempt(one)))
        for _ in range(3):
            self.attempt(other, "wrong")
        self.assertIsNone(self.why(self.attempt(one)))
        self.assertEqual(self.why(self.attempt(other)), "too many logins failed, and none is checked for now")

    def test_blocked_here(self) -> None:
        """Whom this server refuses by itself, it asks nobody about."""
        one = self.make(limits=Limits(failures_per_login=1))
        self.attempt(one, "wrong")
        self.store.failures = lambda *asked: self.fail("asked")
        self.assertEqual(self.why(self.attempt(one)), "too many logins failed, and none is checked for now")

    def test_deny(self) -> None:
        """While the store is down no login is checked. Clients hear that it may go well later."""
        one = self.make()
        self.store.down = True
        pair = self.attempt(one)
        self.assertEqual(self.why(pair), "the login could not be checked: 'the store is down'")
        if spoken() == 2:
            self.assertIs(pair.client.why, ServerUnavailable)
        self.store.come_back()
        self.assertIsNone(self.why(self.attempt(one)))

    def test_local(self) -> None:
        """While the store is down each counts alone."""
        one, other = self.make(local=True), self.make(local=True)
        self.store.down = True
        for _ in range(3):
            self.attempt(one, "wrong")
        self.assertEqual(self.why(self.attempt(one)), "too many logins failed, and none is checked for now")
        self.assertIsNone(self.why(self.attempt(other)))

    def test_late(self) -> None:
        """The answer may take time; a client that leaves meanwhile has tried nothing."""
        answers: list[Deferred[tuple[int, int]]] = []

        def failures(*asked: object) -> Deferred[tuple[int, int]]:
            answers.append(Deferred())
            return answers[-1]

        self.store.failures = failures
        one = self.make()
        pairs = [self.attempt(one), self.attempt(one)]
        self.assertEqual([pair.server.calls for pair in pairs], [[], []])
        pairs[0].client.abort()
        pairs[0].flush()
        answers[1].callback((0, 0))
        pairs[1].flush()
        self.assertEqual(pairs[1].server.calls, ["authenticated"])
        self.assertFalse(self.store.counts)

    @only(1)
    def test_asked_together(self) -> None:
        """What is known of the handshake and of failures is asked in one turn."""
        asked: list[str] = []
        answers: list[Deferred[Any]] = []

        def later(name: str) -> Any:
            def ask(*arguments: object) -> Deferred[Any]:
                asked.append(name)
                answers.append(Deferred())
                return answers[-1]

            return ask

        self.store.knows, self.store.failures = later("knows"), later("failures")
        pair = self.attempt(self.make())
        self.assertEqual(asked, ["failures", "knows"])
        answers[1].callback(False)
        self.assertEqual(pair.server.calls, [])
        answers[0].callback((0, 0))
        pair.flush()
        self.assertEqual(pair.server.calls, ["authenticated"])


class RecordedSessionTests(ObservedTestCase):
    """A recorded session of version 1, at two servers."""

    def setUp(self) -> None:
        super().setUp()
        self.session = load_session("server")
        self.store = StoreInMemory()

    def make(self, local: bool = False) -> SodiumServerFactory:
        pair = KeyPair.from_secret(self.session.server_secret_key)
        replays = SharedReplays(self.store, ReplayMemory(), local)
        checker = SingleLogin("username", "passphrase")
        return SodiumServerFactory(pair, checker, protocol=EchoServer, clock=self.clock, replays=replays)

    def play(self, factory: SodiumServerFactory) -> tuple[RecordingServer, MemoryTransport]:
        end, transport = self.connect(factory)
        end.dataReceived(self.session.wire_to("server"))
        return end, transport

    def test_at_another(self) -> None:
        """It gets no answer there, and reaches nothing."""
        _, transport = self.play(self.make())
        self.assertTrue(transport.out)
        end, transport = self.play(self.make())
        self.assertEqual((end.calls, bytes(transport.out)), ([], b""))

    def test_down(self) -> None:
        """It is refused, or let in by servers that do not know it, as was chosen."""
        self.store.down = True
        end, transport = self.play(self.make())
        self.assertEqual((end.payloads, bytes(transport.out)), ([], b""))
        end, transport = self.play(self.make(local=True))
        self.assertTrue(end.payloads)
