"""
Recorded sessions that are sent again.
"""

from __future__ import annotations

import random

from twisted.internet.defer import Deferred
from zope.interface import implementer

from sodiumtwist import (
    AuthenticationFailed,
    KeyPair,
    ReplayDetected,
    ReplayMemory,
    SingleLogin,
    SodiumServerFactory,
    Timeouts,
)
from sodiumtwist.admission.replays import IReplayMemory
from sodiumtwist.core.v1.messages import SEALED_SERVER_HELO_SIZE

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
from ..vectors import load_session


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
