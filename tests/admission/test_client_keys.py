"""
Servers that know their clients' keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from sodiumtwist import (
    AuthenticationFailed,
    AuthenticationTimeout,
    AuthorizedKeys,
    DecryptionFailed,
    KeyPair,
    Limits,
    LocalProtocolError,
    ReplayDetected,
    ReplayMemory,
    SingleLogin,
    SodiumServerFactory,
    SodiumServerProtocol,
)
from sodiumtwist.admission.replays import IReplayMemory
from sodiumtwist.core.v1.messages import (
    ENCRYPTED_HEADER_SIZE,
    PDU_OVERHEAD,
    SEALED_CLIENT_AUTH_SIZE,
    SEALED_SERVER_HELO_SIZE,
)

from ..checkers import AnyChecker, LateChecker
from ..impostor import claim
from ..observed import ObservedTestCase
from ..pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    ClientArguments,
    EchoServer,
    Pair,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)
from ..versions import each_version, only, spoken

if TYPE_CHECKING:
    from typing_extensions import Unpack


@each_version
class KeyTests(ObservedTestCase):
    """Servers that know their clients' keys."""

    def make(
        self,
        entries: Iterable[tuple[bytes, str | None]],
        protocol: Callable[[], SodiumServerProtocol] = EchoServer,
        checker: ICredentialsChecker | None = None,
        replays: IReplayMemory | None = None,
    ) -> SodiumServerFactory:
        return SodiumServerFactory(
            SERVER_PAIR,
            checker,
            protocol=protocol,
            clock=self.clock,
            authorized_keys=AuthorizedKeys(entries),
            replays=replays,
        )

    def pair(self, factory: SodiumServerFactory, **client: Unpack[ClientArguments]) -> Pair:
        pair = Pair(factory, make_client_factory(self.clock, **client))
        pair.flush()
        return pair

    def test_listed(self) -> None:
        """With the key alone; any login and passphrase do."""
        pair = self.pair(self.make([(CLIENT_PAIR.public, None)]), pair=CLIENT_PAIR, login="x", passphrase="y")
        self.assertTrue(pair.server.is_authenticated)
        assert pair.server.peer is not None
        self.assertEqual((pair.server.peer.login, pair.server.peer.public_key), ("x", CLIENT_PAIR.public))
        pair.client.send_data(b"hello")
        pair.flush()
        self.assertEqual(pair.client.payloads, [b"hello"])

    def test_not_listed(self) -> None:
        """Closed at once; the checker is not asked."""
        asked: list[UsernamePassword] = []

        def note(credentials: UsernamePassword) -> bytes:
            asked.append(credentials)
            return b""

        factory = self.make([(KeyPair.generate().public, None)], checker=AnyChecker(note))
        pair = self.pair(factory, pair=CLIENT_PAIR)
        self.assertIs(pair.client.why, AuthenticationFailed)
        self.assertEqual((asked, pair.server.payloads), ([], []))
        (line,) = self.refusals()
        self.assertIn(f"the key {CLIENT_PAIR.public.hex()} is not authorized", line)

    def test_bound_to_a_login(self) -> None:
        factory = self.make([(CLIENT_PAIR.public, "ann")])
        self.assertTrue(self.pair(factory, pair=CLIENT_PAIR, login="ann").server.is_authenticated)
        refused = self.pair(factory, pair=CLIENT_PAIR, login="bob")
        self.assertIs(refused.client.why, AuthenticationFailed)

    def test_passphrase_counts_too(self) -> None:
        factory = self.make([(CLIENT_PAIR.public, None)], checker=SingleLogin(LOGIN, PASSPHRASE))
        self.assertTrue(self.pair(factory, pair=CLIENT_PAIR).server.is_authenticated)
        refused = self.pair(factory, pair=CLIENT_PAIR, passphrase="wrong")
        self.assertIs(refused.client.why, AuthenticationFailed)

    @only(1)
    def test_somebody_elses_key(self) -> None:
        """
        Who claims a listed key gets a hello that only its owner can open, and no further: the
        application hears of nothing, and time for authentication runs out.
        """
        for after in (b"", bytes(29), bytes(5000)):
            end, transport = self.connect(self.make([(CLIENT_PAIR.public, None)]))
            end.dataReceived(claim())
            self.assertEqual((end.calls, len(transport.out)), ([], SEALED_SERVER_HELO_SIZE))
            self.assertRaises(LocalProtocolError, end.send_data, b"")
            self.assertFalse(end.is_authenticated)
            end.dataReceived(after)
            self.clock.advance(10)
            self.settle(transport)
            self.assertEqual(len(end.calls), 1)
            self.assertIn(end.why, (AuthenticationTimeout, DecryptionFailed))
            self.assertEqual(len(transport.writes), 1)
        self.assertEqual(len(self.refusals()), 3)

    @only(1)
    def test_claims_are_not_remembered(self) -> None:
        """Who only knows a listed key can't fill the memory of handshakes, and so have a recording let in."""
        memory = ReplayMemory(limit=3)
        factory = self.make([(CLIENT_PAIR.public, None)], replays=memory)
        pair = Pair(factory, make_client_factory(self.clock, pair=CLIENT_PAIR))
        recording = bytes(pair.client_transport.out)
        pair.flush()
        self.assertTrue(pair.server.is_authenticated)
        for _ in range(5):
            end, transport = self.connect(factory)
            end.dataReceived(claim())
        self.assertEqual(len(memory._known), 1)
        again, transport = self.connect(factory)
        again.dataReceived(recording)
        self.assertEqual((again.calls, bytes(transport.out)), ([], b""))

    @only(1)
    def test_late_memory(self) -> None:
        """Nothing is read or served before the handshake is remembered; of two at once one is."""
        waiting: list[Deferred[bool]] = []

        @implementer(IReplayMemory)
        class Late:
            def knows(self, fingerprint: bytes) -> bool:
                return False

            def remember(self, fingerprint: bytes) -> Deferred[bool]:
                waiting.append(Deferred())
                return waiting[-1]

        pair = Pair(
            self.make([(CLIENT_PAIR.public, None)], replays=Late()), make_client_factory(self.clock, pair=CLIENT_PAIR)
        )
        pair.client.send_data(b"early")
        pair.flush()
        self.assertEqual((pair.server.calls, pair.client.calls), ([], ["authenticated"]))
        waiting[0].callback(True)
        pair.flush()
        self.assertEqual(pair.server.calls, ["authenticated", b"early"])
        # What proves the key is the header of the first PDU: with nothing behind it, nothing is held either.
        cut, transport = self.connect(pair.server.factory)
        sent = bytes(Pair(pair.server.factory, make_client_factory(self.clock, pair=CLIENT_PAIR)).client_transport.out)
        cut.dataReceived(sent[: SEALED_CLIENT_AUTH_SIZE + ENCRYPTED_HEADER_SIZE])
        self.assertFalse(transport.reading)
        waiting[-1].callback(True)
        self.assertTrue(transport.reading)
        cut.dataReceived(sent[SEALED_CLIENT_AUTH_SIZE + ENCRYPTED_HEADER_SIZE :])
        self.assertEqual(cut.calls, ["authenticated"])
        slow = Pair(pair.server.factory, make_client_factory(self.clock, pair=CLIENT_PAIR))
        slow.flush()
        self.clock.advance(10)
        slow.flush()
        assert slow.server.reason is not None
        self.assertEqual(slow.server.reason.getErrorMessage(), "the handshake could not be remembered in time")
        for answer, kind in ((succeed(False), ReplayDetected), (fail(OSError("full")), AuthenticationFailed)):
            pair = Pair(pair.server.factory, make_client_factory(self.clock, pair=CLIENT_PAIR))
            pair.client.send_data(b"early")
            pair.flush()
            answer.chainDeferred(waiting[-1])
            pair.flush()
            self.assertEqual(pair.server.payloads, [])
            self.assertIs(pair.server.why, kind)

    @only(2)
    def test_claimed_key(self) -> None:
        """Who claims a listed key gets no answer to that, and reaches no login. It is no login that failed."""
        checker = LateChecker()
        limits = Limits(failures_per_address=1, failures_per_login=1)
        keys = AuthorizedKeys([(CLIENT_PAIR.public, None)])
        factory = make_server_factory(self.clock, EchoServer, checker, authorized_keys=keys, limits=limits)
        own = KeyPair.generate()
        pair = Pair(factory, make_client_factory(self.clock, pair=KeyPair(own.secret, CLIENT_PAIR.public)))
        pair.flush()
        self.clock.advance(10)
        pair.flush()
        self.assertEqual((checker.asked, len(pair.server.calls), pair.client.payloads), ([], 1, []))
        self.assertEqual((factory.admission.blocked_addresses, factory.admission.blocked_logins), ({}, {}))

    @only(2)
    def test_not_remembered(self) -> None:
        """Nothing needs to be, so no memory can keep anybody out."""

        @implementer(IReplayMemory)
        class Broken:
            def knows(self, fingerprint: bytes) -> bool:
                raise OSError("full")

            remember = knows

        pair = self.pair(self.make([(CLIENT_PAIR.public, None)], replays=Broken()), pair=CLIENT_PAIR)
        self.assertTrue(pair.server.is_authenticated)

    def test_marked(self) -> None:
        """A key for version 2 alone is in version 1 one that is not listed: closed at once, and counted."""
        keys = AuthorizedKeys([(CLIENT_PAIR.public, None, [2])])
        limits = Limits(failures_per_address=1)
        factory = make_server_factory(self.clock, EchoServer, authorized_keys=keys, limits=limits)
        pair = self.pair(factory, pair=CLIENT_PAIR)
        self.assertIs(pair.server.is_authenticated, spoken() == 2)
        if spoken() == 1:
            self.assertIs(pair.client.why, AuthenticationFailed)
            self.assertIn(f"the key {CLIENT_PAIR.public.hex()} is not authorized", self.refusals()[-1])
        self.assertEqual(list(factory.admission.blocked_addresses), [] if spoken() == 2 else ["192.0.2.1"])

    def test_server_speaks_first(self) -> None:
        """Our client shows at once that it has its key, so nobody waits."""

        class Greeter(RecordingServer):
            def authenticated(self) -> None:
                super().authenticated()
                self.send_data(b"welcome")

        pair = Pair(self.make([(CLIENT_PAIR.public, None)], Greeter), make_client_factory(self.clock, pair=CLIENT_PAIR))
        for _ in range(spoken()):  # of which the handshake of version 2 takes one
            pair.round_trip()
        self.assertEqual(pair.client.calls, ["authenticated", b"welcome"])
        pair.flush()
        self.assertEqual(pair.server.reason, None)

    @only(1)
    def test_proof_is_sent_with_a_given_key_alone(self) -> None:
        """A fresh key can't be listed anywhere."""
        ping = 16 + PDU_OVERHEAD
        for given, size in ((CLIENT_PAIR, SEALED_CLIENT_AUTH_SIZE + ping), (None, SEALED_CLIENT_AUTH_SIZE)):
            pair = Pair(make_server_factory(self.clock), make_client_factory(self.clock, pair=given))
            self.assertEqual(len(pair.client_transport.out), size)

    def test_nobody_decides(self) -> None:
        error = self.assertRaises(LocalProtocolError, SodiumServerFactory, SERVER_PAIR, None)
        self.assertIn("anybody would get in", str(error))
