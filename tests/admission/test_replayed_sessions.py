"""
Recorded sessions that are sent again.
"""

from __future__ import annotations

import os
import random

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from sodiumtwist import (
    AuthenticationFailed,
    DecryptionFailed,
    KeyPair,
    ReplayDatabase,
    ReplayDetected,
    ReplayMemory,
    SingleLogin,
    SodiumServerFactory,
    Timeouts,
)
from sodiumtwist.admission.replays import IReplayMemory
from sodiumtwist.core.connection import RecentSalts, Salts
from sodiumtwist.core.v1.messages import SEALED_SERVER_HELO_SIZE

from ..checkers import LateChecker
from ..observed import ObservedTestCase
from ..pair import (
    EchoServer,
    MemoryTransport,
    Pair,
    RecordingClient,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)
from ..replay_memories import fingerprint
from ..vectors import load_session
from ..versions import only


class RecordedSessionTests(ObservedTestCase):
    """The session that the reference server took is sent again and again."""

    def setUp(self) -> None:
        super().setUp()
        self.session = load_session("server")
        self.pair = KeyPair.from_secret(self.session.server_secret_key)

    def make(self, replays: IReplayMemory | None = None) -> SodiumServerFactory:
        checker = SingleLogin("username", "passphrase")
        return SodiumServerFactory(self.pair, checker, protocol=EchoServer, clock=self.clock, replays=replays)

    def play(self, factory: SodiumServerFactory) -> tuple[RecordingServer, MemoryTransport]:
        end, transport = self.connect(factory)
        end.dataReceived(self.session.wire_to("server"))
        return end, transport

    def test_twice(self) -> None:
        """The second time it gets no answer, reaches nothing, and is not closed before time is up."""
        factory = self.make()
        first, transport = self.play(factory)
        self.assertEqual(len(first.payloads), 6)
        self.assertGreater(len(transport.out), SEALED_SERVER_HELO_SIZE)
        for _ in range(3):
            again, transport = self.play(factory)
            self.assertEqual((again.calls, bytes(transport.out)), ([], b""))
            self.assertTrue(transport.reading)
            self.clock.advance(8.9)
            self.assertFalse(transport.disconnecting or transport.aborting)
            self.clock.advance(1.1)
            self.assertTrue(transport.disconnecting)
            self.settle(transport)
            self.assertIs(again.why, ReplayDetected)
            self.assertEqual((again.payloads, bytes(transport.out)), ([], b""))
        self.assertEqual(
            self.refusals(),
            ["refused 192.0.2.1:4711 as 'username': the handshake was accepted before; "
             "someone sends a recorded session again"] * 3,
        )  # fmt: skip

    def test_refused_login_is_not_remembered(self) -> None:
        """So nobody fills the memory without a login."""
        memory = ReplayMemory()
        factory = self.make(replays=memory)
        factory.checker = SingleLogin("username", "another")
        for _ in range(2):
            end, transport = self.play(factory)
            self.assertTrue(transport.disconnecting)
        self.assertEqual(len(memory._known), 0)

    def test_garbage_is_not_remembered(self) -> None:
        memory = ReplayMemory()
        factory = self.make(replays=memory)
        for seed in range(10):
            end, transport = self.connect(factory)
            end.dataReceived(random.Random(seed).randbytes(400))
        self.assertEqual(len(memory._known), 0)

    def test_late_memory(self) -> None:
        """Both questions may take time; of two at once one gets in."""

        @implementer(IReplayMemory)
        class Late:
            def __init__(self) -> None:
                self.asked: list[tuple[str, Deferred[bool]]] = []

            def knows(self, fingerprint: bytes) -> Deferred[bool]:
                self.asked.append(("knows", Deferred()))
                return self.asked[-1][1]

            def remember(self, fingerprint: bytes) -> Deferred[bool]:
                self.asked.append(("remember", Deferred()))
                return self.asked[-1][1]

        memory = Late()
        factory = self.make(replays=memory)
        ends = [self.play(factory) for _ in range(2)]
        for number in range(2):
            memory.asked[number][1].callback(False)
        self.assertEqual([name for name, _ in memory.asked], ["knows", "knows", "remember", "remember"])
        self.assertEqual([end.calls for end, _ in ends], [[], []])
        memory.asked[2][1].callback(True)
        memory.asked[3][1].callback(False)
        self.assertEqual([len(end.payloads) for end, _ in ends], [6, 0])
        self.assertEqual([bool(transport.out) for _, transport in ends], [True, False])
        self.assertTrue(ends[1][1].reading)

    def test_memory_out_of_order(self) -> None:
        """What can't be remembered is not let in, and the log says why."""

        @implementer(IReplayMemory)
        class Broken:
            def knows(self, fingerprint: bytes) -> bool:
                return False

            def remember(self, fingerprint: bytes) -> bool:
                raise OSError("the disk is full")

        end, transport = self.play(self.make(replays=Broken()))
        self.assertEqual(end.calls, [])
        self.assertTrue(transport.aborting)
        self.settle(transport)
        self.assertIs(end.why, AuthenticationFailed)
        (line,) = self.refusals()
        self.assertIn("as 'username': the login could not be checked: 'the disk is full'", line)

    def test_default(self) -> None:
        """Every server remembers, asked to or not."""
        self.assertIsInstance(self.make().replays, ReplayMemory)


@only(1)
class RecordingTests(ObservedTestCase):
    def test_client_sees_it_as_any_refusal(self) -> None:
        """A client whose handshake was sent before by somebody waits, and is told that it was refused."""
        factory = make_server_factory(self.clock)
        pair = Pair(factory, make_client_factory(self.clock, RecordingClient, timeouts=Timeouts(authentication=60)))
        recording = bytes(pair.client_transport.out)
        end, transport = self.connect(factory)
        end.dataReceived(recording)
        self.assertTrue(end.is_authenticated)
        pair.flush()
        self.clock.advance(10)
        pair.flush()
        self.assertIs(pair.client.why, AuthenticationFailed)


@only(2)
class FirstFlightTests(ObservedTestCase):
    """What a client of version 2 sent is sent again. It reaches no login; a server that remembers it is silent."""

    def setUp(self) -> None:
        super().setUp()
        self.checker = LateChecker()

    def make(self, salts: Salts | None = None) -> SodiumServerFactory:
        return make_server_factory(self.clock, checker=self.checker, salts=salts)

    def record(self, factory: SodiumServerFactory) -> list[bytes]:
        """A session, in the pieces in which the client sent it."""
        pair = Pair(factory, make_client_factory(self.clock))
        sent = [bytes(pair.client_transport.out)]
        pair.server.dataReceived(pair.client_transport.take(10_000))
        pair.client.dataReceived(pair.server_transport.take(10_000))
        sent.append(bytes(pair.client_transport.out))
        pair.flush()
        self.checker.answers.pop().callback(b"")
        pair.flush()
        self.assertTrue(pair.server.is_authenticated)
        return sent

    def play(self, factory: SodiumServerFactory, sent: list[bytes]) -> tuple[RecordingServer, int]:
        """Send it again, to the end; return how many bytes were answered."""
        end, transport = self.connect(factory)
        for piece in sent:
            end.dataReceived(piece)
        answered = len(transport.out)
        self.clock.advance(10)
        self.settle(transport)
        self.assertEqual((end.login, end.payloads, self.checker.answers), (None, [], []))
        return end, answered

    def test_twice(self) -> None:
        """It gets no answer, also of another server with the same memory. Nobody else's login is touched by it."""
        salts = RecentSalts()
        factory = self.make(salts)
        sent = self.record(factory)
        for other in (factory, self.make(salts)):
            end, answered = self.play(other, sent)
            self.assertEqual(answered, 0)
            self.assertIs(end.why, ReplayDetected)
        self.record(factory)

    def test_forgotten(self) -> None:
        """A server that does not know it answers the first flight alone, which tells that it is a server."""
        sent = self.record(self.make())
        end, answered = self.play(self.make(), sent)
        self.assertGreater(answered, 0)
        self.assertIs(end.why, DecryptionFailed)

    def test_database(self) -> None:
        """With a database, one of the server's successor is silent, too."""
        path = os.path.abspath(self.mktemp())
        database = ReplayDatabase(path)
        self.patch(database, "_submit", lambda work, *arguments: maybeDeferred(work, *arguments))
        sent = self.record(self.make(database.salts))
        self.successResultOf(database.remember(fingerprint(1)))
        again = ReplayDatabase(path)
        self.addCleanup(database._disconnect)
        self.addCleanup(again.salts.close)
        self.addCleanup(database.salts.close)
        self.assertEqual(self.play(self.make(again.salts), sent)[1], 0)
