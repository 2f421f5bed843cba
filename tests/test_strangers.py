"""
Who gets in and who does not: replays, keys, portals, limits, and what strangers see and cost.
"""

from __future__ import annotations

import base64
import os
import random
from typing import Any

from nacl import bindings
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import eventAsJSON, eventAsText, formatEvent, globalLogPublisher
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
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
    Timeouts,
)
from sodiumtwist.auth import AnyLogin, LoginNotChecked
from sodiumtwist.core import handshake
from sodiumtwist.core.wire import PDU_OVERHEAD, SEALED_CLIENT_AUTH_SIZE, SEALED_SERVER_HELO_SIZE
from sodiumtwist.interfaces import ISodiumAvatar
from sodiumtwist.replays import IReplayMemory

from .pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    EchoServer,
    MemoryTransport,
    Pair,
    RecordingClient,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)
from .vectors import load_session


class ObservedTestCase(SynchronousTestCase):
    """Has a clock, and what was logged."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    def refusals(self) -> list[str]:
        return [formatEvent(event) for event in self.events if "refused" in (event.get("log_format") or "")]

    def connect(self, factory: Any, host: str = "192.0.2.1") -> tuple[Any, MemoryTransport]:
        """A server's end with nobody at the other one."""
        end = factory.buildProtocol(IPv4Address("TCP", host, 4711))
        transport = MemoryTransport(end)
        transport.getPeer = lambda: IPv4Address("TCP", host, 4711)  # type: ignore[method-assign]
        end.makeConnection(transport)
        return end, transport

    def settle(self, transport: MemoryTransport) -> None:
        """Have a transport that is to be closed be so."""
        if transport.disconnecting or transport.aborting:
            transport.lose(transport.farewell)


class RecordedSessionTests(ObservedTestCase):
    """The session that the reference server took is sent again and again."""

    def setUp(self) -> None:
        super().setUp()
        self.session = load_session("server")
        self.pair = KeyPair.from_secret(self.session.server_secret_key)

    def make(self, **arguments: Any) -> SodiumServerFactory:
        checker = SingleLogin("username", "passphrase")
        return SodiumServerFactory(self.pair, checker, protocol=EchoServer, clock=self.clock, **arguments)

    def play(self, factory: Any) -> tuple[Any, MemoryTransport]:
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
            self.assertIs(again.reason.type, ReplayDetected)
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
        self.assertTrue(transport.disconnecting)
        self.settle(transport)
        self.assertIs(end.reason.type, AuthenticationFailed)
        (line,) = self.refusals()
        self.assertIn("as 'username': the login could not be checked: 'the disk is full'", line)

    def test_default(self) -> None:
        """Every server remembers, asked to or not."""
        self.assertIsInstance(self.make().replays, ReplayMemory)


def claim() -> bytes:
    """A handshake with the key of somebody else."""
    impostor = handshake.ClientHandshake(KeyPair.generate(), SERVER_PAIR.public, LOGIN, PASSPHRASE)
    auth = handshake.ClientAuth(bytes(24), impostor.push.header, CLIENT_PAIR.public, LOGIN, PASSPHRASE)
    return bindings.crypto_box_seal(handshake.pack_client_auth(auth), SERVER_PAIR.public)  # type: ignore[no-any-return]


class KeyTests(ObservedTestCase):
    """Servers that know their clients' keys."""

    def make(self, entries: Any, protocol: Any = EchoServer, checker: Any = None, **arguments: Any) -> Any:
        return SodiumServerFactory(
            SERVER_PAIR,
            checker,
            protocol=protocol,
            clock=self.clock,
            authorized_keys=AuthorizedKeys(entries),
            **arguments,
        )

    def pair(self, factory: Any, **client: Any) -> Pair:
        pair = Pair(factory, make_client_factory(self.clock, **client))
        pair.flush()
        return pair

    def test_listed(self) -> None:
        """With the key alone; any login and passphrase do."""
        pair = self.pair(self.make([(CLIENT_PAIR.public, None)]), pair=CLIENT_PAIR, login="x", passphrase="y")
        self.assertTrue(pair.server.is_authenticated)
        self.assertEqual((pair.server.peer.login, pair.server.peer.public_key), ("x", CLIENT_PAIR.public))
        pair.client.send_data(b"hello")
        pair.flush()
        self.assertEqual(pair.client.payloads, [b"hello"])

    def test_not_listed(self) -> None:
        """Closed at once; the checker is not asked."""
        asked: list[Any] = []

        @implementer(ICredentialsChecker)
        class Checker:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials: Any) -> bytes:
                asked.append(credentials)
                return b""

        factory = self.make([(KeyPair.generate().public, None)], checker=Checker())
        pair = self.pair(factory, pair=CLIENT_PAIR)
        self.assertIs(pair.client.reason.type, AuthenticationFailed)
        self.assertEqual((asked, pair.server.payloads), ([], []))
        (line,) = self.refusals()
        self.assertIn(f"the key {CLIENT_PAIR.public.hex()} is not authorized", line)

    def test_bound_to_a_login(self) -> None:
        factory = self.make([(CLIENT_PAIR.public, "ann")])
        self.assertTrue(self.pair(factory, pair=CLIENT_PAIR, login="ann").server.is_authenticated)
        refused = self.pair(factory, pair=CLIENT_PAIR, login="bob")
        self.assertIs(refused.client.reason.type, AuthenticationFailed)

    def test_passphrase_counts_too(self) -> None:
        factory = self.make([(CLIENT_PAIR.public, None)], checker=SingleLogin(LOGIN, PASSPHRASE))
        self.assertTrue(self.pair(factory, pair=CLIENT_PAIR).server.is_authenticated)
        refused = self.pair(factory, pair=CLIENT_PAIR, passphrase="wrong")
        self.assertIs(refused.client.reason.type, AuthenticationFailed)

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
            (reason,) = end.calls
            self.assertIn(reason.type, (AuthenticationTimeout, DecryptionFailed))
            self.assertEqual(len(transport.writes), 1)
        self.assertEqual(len(self.refusals()), 3)

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

    def test_late_memory(self) -> None:
        """Nothing is served before the handshake is remembered; of two at once one is."""
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
        slow = Pair(pair.server.factory, make_client_factory(self.clock, pair=CLIENT_PAIR))
        slow.flush()
        self.clock.advance(10)
        slow.flush()
        self.assertEqual(slow.server.reason.getErrorMessage(), "the handshake could not be remembered in time")
        for answer, kind in ((succeed(False), ReplayDetected), (fail(OSError("full")), AuthenticationFailed)):
            pair = Pair(pair.server.factory, make_client_factory(self.clock, pair=CLIENT_PAIR))
            pair.client.send_data(b"early")
            pair.flush()
            answer.chainDeferred(waiting[-1])
            pair.flush()
            self.assertEqual(pair.server.payloads, [])
            self.assertIs(pair.server.reason.type, kind)

    def test_server_speaks_first(self) -> None:
        """Our client shows at once that it has its key, so nobody waits."""

        class Greeter(RecordingServer):
            def authenticated(self) -> None:
                super().authenticated()
                self.send_data(b"welcome")

        pair = Pair(self.make([(CLIENT_PAIR.public, None)], Greeter), make_client_factory(self.clock, pair=CLIENT_PAIR))
        pair.round_trip()
        self.assertEqual(pair.client.calls, ["authenticated", b"welcome"])
        pair.flush()
        self.assertEqual(pair.server.reason, None)

    def test_proof_is_sent_with_a_given_key_alone(self) -> None:
        """A fresh key can't be listed anywhere."""
        ping = 16 + PDU_OVERHEAD
        for given, size in ((CLIENT_PAIR, SEALED_CLIENT_AUTH_SIZE + ping), (None, SEALED_CLIENT_AUTH_SIZE)):
            pair = Pair(make_server_factory(self.clock), make_client_factory(self.clock, pair=given))
            self.assertEqual(len(pair.client_transport.out), size)

    def test_nobody_decides(self) -> None:
        error = self.assertRaises(LocalProtocolError, SodiumServerFactory, SERVER_PAIR, None)
        self.assertIn("anybody would get in", str(error))


class PortalTests(ObservedTestCase):
    """``twisted.cred`` whole."""

    def setUp(self) -> None:
        super().setUp()
        self.logged_out: list[str] = []
        test = self

        @implementer(IRealm)
        class Realm:
            def requestAvatar(self, avatar_id: bytes, mind: Any, *interfaces: Any) -> Any:
                test.assertEqual(interfaces, (ISodiumAvatar,))
                name = avatar_id.decode()
                return ISodiumAvatar, f"avatar of {name} at {mind.address.host}", lambda: test.logged_out.append(name)

        database = InMemoryUsernamePasswordDatabaseDontUse()
        database.addUser(LOGIN.encode(), PASSPHRASE.encode())
        self.factory = make_server_factory(self.clock, checker=Portal(Realm(), [database]))

    def test_avatar(self) -> None:
        """The application finds it at its peer, and it is logged out at the end, once."""
        pair = Pair(self.factory, make_client_factory(self.clock))
        pair.flush()
        self.assertEqual(pair.server.peer.avatar, f"avatar of {LOGIN} at 192.0.2.1")
        self.assertEqual(self.logged_out, [])
        pair.client.close()
        pair.flush()
        self.assertEqual(self.logged_out, [LOGIN])

    def test_refused(self) -> None:
        pair = Pair(self.factory, make_client_factory(self.clock, passphrase="wrong"))
        pair.flush()
        self.assertIs(pair.client.reason.type, AuthenticationFailed)
        self.assertEqual(self.logged_out, [])

    def test_late_realm(self) -> None:
        """One that answers when the client has left is told that it has; a logout that fails hurts nobody."""
        waiting: Deferred[Any] = Deferred()
        self.patch(self.factory.checker.realm, "requestAvatar", lambda *arguments: waiting)
        pair = Pair(self.factory, make_client_factory(self.clock))
        pair.flush()
        pair.client.abort()
        pair.flush()
        self.assertEqual(len(pair.server.calls), 1)
        waiting.callback((ISodiumAvatar, None, lambda: self.logged_out.append("late")))
        self.assertEqual(self.logged_out, ["late"])

    def test_realm_that_answers_wrongly(self) -> None:
        """It is logged, and the client is not let in, nor held up."""
        self.patch(self.factory.checker.realm, "requestAvatar", lambda *arguments: None)
        pair = Pair(self.factory, make_client_factory(self.clock))
        pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertIs(pair.client.reason.type, AuthenticationFailed)

    def test_logout_that_fails(self) -> None:
        """It is logged, and the application hears of the end all the same."""
        self.patch(self.factory.checker.realm, "requestAvatar", lambda *arguments: (ISodiumAvatar, None, lambda: 1 / 0))
        pair = Pair(self.factory, make_client_factory(self.clock))
        pair.flush()
        pair.client.close()
        pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(pair.server.reason.type, ConnectionDone)

    def test_logged_out_when_replayed(self) -> None:
        """Who was let in by the realm and is kept out after all is logged out."""
        pair = Pair(self.factory, make_client_factory(self.clock))
        self.factory.replays.remember = lambda fingerprint: False
        pair.flush()
        self.clock.advance(10)
        pair.flush()
        self.assertIs(pair.server.reason.type, ReplayDetected)
        self.assertEqual(self.logged_out, [LOGIN])


class LoginLimitTests(ObservedTestCase):
    """Too many wrong logins."""

    def attempt(self, factory: Any, **client: Any) -> Any:
        pair = Pair(factory, make_client_factory(self.clock, **client))
        pair.flush()
        return pair.server.reason and pair.server.reason.getErrorMessage()

    def test_refused_unseen(self) -> None:
        """When too many failed, not even the right one is checked, until time has passed."""
        factory = make_server_factory(self.clock, limits=Limits(failures_per_address=3, failure_seconds=30))
        why = [self.attempt(factory, passphrase="wrong") for _ in range(4)]
        self.assertEqual(
            why, ["login or passphrase is wrong"] * 3 + ["too many logins failed, and none is checked for now"]
        )
        self.assertEqual(self.attempt(factory), why[3])
        self.clock.advance(30)
        self.assertIsNone(self.attempt(factory))

    def test_who_does_not_wait_to_hear(self) -> None:
        """Leaving while the login is checked counts as a failure: nobody guesses for free. Our being slow does not."""

        @implementer(ICredentialsChecker)
        class Slow:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
                return Deferred()

        for leave, counts in ((lambda pair: pair.client.abort(), True), (lambda pair: self.clock.advance(10), False)):
            limits = Limits(failures_per_login=2, failure_seconds=1000)
            factory = make_server_factory(self.clock, checker=Slow(), limits=limits)
            for _ in range(2):
                pair = Pair(factory, make_client_factory(self.clock))
                pair.flush()
                self.assertIsNone(pair.server.reason)
                leave(pair)
                pair.flush()
            refused = "too many logins failed, and none is checked for now" if counts else None
            self.assertEqual(self.attempt(factory), refused)

    def test_evicted(self) -> None:
        """Whom we turn away to make room has not failed."""
        factory = make_server_factory(
            self.clock,
            authorized_keys=AuthorizedKeys([(CLIENT_PAIR.public, None)]),
            limits=Limits(failures_per_address=1, unauthenticated=1),
        )
        for _ in range(3):
            end, transport = self.connect(factory)
            end.dataReceived(claim())
            _, newcomer = self.connect(factory)
            self.assertTrue(transport.aborting)
            transport.lose(transport.farewell)
            newcomer.lose(newcomer.farewell)
        self.assertIsNone(self.attempt(factory, pair=CLIENT_PAIR))

    def test_nothing_is_timed_after_the_stop(self) -> None:
        factory = make_server_factory(self.clock, limits=Limits(failures_per_login=1))
        factory.doStart()
        factory.doStop()
        self.attempt(factory, passphrase="wrong")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_burst(self) -> None:
        """Many at once are no more tries than one after the other."""
        waiting: list[Deferred[bytes]] = []

        @implementer(ICredentialsChecker)
        class Late:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
                waiting.append(Deferred())
                return waiting[-1]

        factory = make_server_factory(self.clock, checker=Late(), limits=Limits(failures_per_address=3))
        pairs = [Pair(factory, make_client_factory(self.clock)) for _ in range(20)]
        for pair in pairs:
            pair.flush()
        for number in range(3):
            waiting[number].errback(UnauthorizedLogin())
        for pair in pairs:
            pair.flush()
        self.assertEqual([pair.server.is_authenticated for pair in pairs], [False] * 20)
        self.assertEqual(
            [pair.server.reason.getErrorMessage() for pair in pairs],
            ["login or passphrase is wrong"] * 3 + ["too many logins failed, and none is checked for now"] * 17,
        )

    def test_claimed_keys(self) -> None:
        """Claiming keys in vain counts, too, for the address."""
        factory = make_server_factory(
            self.clock,
            authorized_keys=AuthorizedKeys([(CLIENT_PAIR.public, None)]),
            limits=Limits(failures_per_address=2, failure_seconds=1000),
        )
        for _ in range(2):
            end, transport = self.connect(factory)
            end.dataReceived(claim())
            transport.lose(transport.farewell)
        self.assertEqual(self.attempt(factory, pair=CLIENT_PAIR), "too many logins failed, and none is checked for now")

    def test_errors_do_not_count(self) -> None:
        """Only wrong ones do."""

        @implementer(ICredentialsChecker)
        class Checker:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials: Any) -> bytes:
                raise LoginNotChecked("too many logins are being verified")

        factory = make_server_factory(self.clock, checker=Checker(), limits=Limits(failures_per_address=1))
        for _ in range(3):
            self.assertEqual(self.attempt(factory), "too many logins are being verified")

    def test_error_that_quotes_its_login(self) -> None:
        """What a checker raises can't forge lines of the log: its text is escaped, its place is told."""

        @implementer(ICredentialsChecker)
        class Quoting:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials: Any) -> bytes:
                raise ValueError(f"no such login: {credentials.username.decode()}")

        self.attempt(make_server_factory(self.clock, checker=Quoting()), login="x\n2026 fake line\r\x1b[2J")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        (event,) = [event for event in self.events if "log_failure" in event]
        text = eventAsText(event)
        self.assertIn(r"no such login: x\n2026 fake line\r\x1b[2J", text)
        self.assertIn("requestAvatarId", text)
        self.assertTrue(all(line.isprintable() and not line.startswith("2026 fake") for line in text.split("\n")))

    def test_forgotten_when_nothing_is_listened_on(self) -> None:
        """No timer is left behind."""
        factory = make_server_factory(self.clock, limits=Limits(failures_per_login=1))
        factory.doStart()
        self.attempt(factory, passphrase="wrong")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        factory.doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AnyLoginTests(SynchronousTestCase):
    """Several checkers."""

    def make(self, *answers: Any) -> Any:
        @implementer(ICredentialsChecker)
        class Checker:
            credentialInterfaces = (IUsernamePassword,)

            def __init__(self, answer: Any) -> None:
                self.answer = answer

            def requestAvatarId(self, credentials: Any) -> Any:
                if isinstance(self.answer, Exception):
                    raise self.answer
                return self.answer

        return AnyLogin([Checker(answer) for answer in answers]).requestAvatarId(None)

    def test_first_that_accepts(self) -> None:
        for answers in [(b"a", b"b"), (UnauthorizedLogin(), succeed(b"a")), (ValueError(), LoginNotChecked(), b"a")]:
            self.assertEqual(self.successResultOf(self.make(*answers)), b"a")

    def test_none(self) -> None:
        self.failureResultOf(self.make(UnauthorizedLogin(), UnauthorizedLogin()), UnauthorizedLogin)

    def test_one_could_not_decide(self) -> None:
        self.failureResultOf(self.make(ValueError(), LoginNotChecked()), LoginNotChecked)
        self.failureResultOf(self.make(LoginNotChecked(), ValueError()), ValueError)

    def test_refusal_among_others(self) -> None:
        """It counts as one, or who makes another checker fail could guess for free."""
        for others in ([ValueError(), UnauthorizedLogin()], [LoginDenied(), LoginNotChecked()]):
            self.failureResultOf(self.make(*others), UnauthorizedLogin)

    def test_cancelled(self) -> None:
        """No further checker is asked."""
        waiting: Deferred[bytes] = Deferred()
        asked = self.make(waiting, b"b")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)


class CostTests(ObservedTestCase):
    """What somebody without a login costs."""

    def test_one_opening(self) -> None:
        """One X25519 for a connection, whatever comes."""
        opened: list[int] = []
        seal_open = bindings.crypto_box_seal_open

        def count(sealed: bytes, *keys: bytes) -> bytes:
            opened.append(len(sealed))
            return seal_open(sealed, *keys)

        self.patch(handshake.bindings, "crypto_box_seal_open", count)
        factory = make_server_factory(self.clock)
        for size in (1, 399, 400, 401, 5000):
            end, transport = self.connect(factory)
            for _ in range(3):
                end.dataReceived(os.urandom(size))
            opened.append(-size)
        self.assertEqual(opened, [-1, 400, -399, 400, -400, 400, -401, 400, -5000])

    def test_one_line(self) -> None:
        """However many bytes and reads, a stranger is one event in the log, and none before its end."""
        factory = make_server_factory(self.clock)
        end, transport = self.connect(factory)
        for _ in range(1000):
            end.dataReceived(os.urandom(400))
        self.assertEqual(len(self.events), 0)
        self.clock.advance(10)
        self.settle(transport)
        self.assertEqual(len(self.events), 1)

    def test_structured(self) -> None:
        """A refusal's event has address, reason, and the login if it was read, made printable."""
        pair = Pair(make_server_factory(self.clock), make_client_factory(self.clock, login="n\no"))
        pair.flush()
        end, transport = self.connect(make_server_factory(self.clock))
        transport.lose(transport.farewell)
        known, unknown = (event for event in self.events if "refused" in (event.get("log_format") or ""))
        self.assertEqual(
            (known["peer"], known["login"], known["reason"]),
            ("192.0.2.1:4711", r"'n\no'", "login or passphrase is wrong"),
        )
        self.assertEqual(unknown["peer"], "192.0.2.1:4711")
        self.assertNotIn("login", unknown)

    def test_turned_away(self) -> None:
        """One beyond a limit is closed at once, at no cost but that; lines in the log do not grow with them."""
        factory = make_server_factory(self.clock, limits=Limits(connections=5))
        for _ in range(5):
            pair = Pair(factory, make_client_factory(self.clock))
            pair.flush()
        lines, calls = len(self.events), len(self.clock.getDelayedCalls())
        transports = [self.connect(factory)[1] for _ in range(50)]
        self.assertEqual([transport.aborting for transport in transports], [True] * 50)
        for transport in transports:
            transport.lose(transport.farewell)
        self.assertEqual(len(self.events), lines + 1)
        self.assertEqual(len(factory.connections), 5)
        self.assertEqual(len(self.clock.getDelayedCalls()), calls)

    def test_only_the_unauthenticated_count(self) -> None:
        """Those who are in take no place of others; one that is being decided on keeps its place."""

        @implementer(ICredentialsChecker)
        class Checker(SingleLogin):
            late: Deferred[bytes] | None = None

            def requestAvatarId(self, credentials: Any) -> Any:
                return self.late or super().requestAvatarId(credentials)

        checker = Checker(LOGIN, PASSPHRASE)
        factory = make_server_factory(self.clock, checker=checker, limits=Limits(unauthenticated=1))
        pairs = [Pair(factory, make_client_factory(self.clock)) for _ in range(2)]
        for pair in pairs[1:]:
            pair.flush()
            pairs.append(Pair(factory, make_client_factory(self.clock)))
        self.assertTrue(pairs[0].server_transport.aborting)
        self.assertTrue(pairs[1].server.is_authenticated)
        checker.late = Deferred()
        pairs[-1].flush()
        turned_away = Pair(factory, make_client_factory(self.clock))
        self.assertTrue(turned_away.server_transport.aborting)
        checker.late.callback(b"")
        pairs[-1].flush()
        self.assertTrue(pairs[-1].server.is_authenticated)

    def test_slots_are_given_back(self) -> None:
        """However a connection ends."""
        factory = make_server_factory(self.clock, limits=Limits(connections=1))
        for data in (b"", os.urandom(400)):
            end, transport = self.connect(factory)
            end.dataReceived(data)
            self.assertFalse(transport.aborting)
            self.clock.advance(10)
            self.settle(transport)
        for client in ({}, {"passphrase": "wrong"}):
            pair = Pair(factory, make_client_factory(self.clock, **client))
            pair.flush()
            pair.client.abort()
            pair.flush()
            self.assertEqual(len(factory.connections), 0)

    def test_closing_over_a_slow_transport(self) -> None:
        """A stranger can't hold a connection by not taking its end, as over TLS it could."""
        factory = make_server_factory(self.clock)
        end, transport = self.connect(factory)
        self.clock.advance(10)
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.aborting)
        self.clock.advance(1)
        self.assertTrue(transport.aborting)

    def test_behind_haproxy(self) -> None:
        """The address is the client's: in the log, and for the limits."""
        limits = Limits(per_address=1, failures_per_address=1)
        factory = HAProxyWrappingFactory(make_server_factory(self.clock, limits=limits))
        ends = []
        for host in ("192.0.2.77", "192.0.2.78", "192.0.2.77"):
            end = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
            transport = MemoryTransport(end)
            end.makeConnection(transport)
            end.dataReceived(b"PROXY TCP4 %s 192.0.2.1 4711 5555\r\n" % host.encode())
            ends.append(transport)
        # Silent ones, too, do not count for the proxy.
        self.assertEqual([transport.aborting for transport in ends], [False] * 3)
        for transport in ends:
            transport.protocol.dataReceived(b"x")
        self.assertEqual([transport.aborting for transport in ends], [False, False, True])
        for transport in ends:
            transport.lose(transport.farewell)
        self.assertIn("refused 192.0.2.77:4711: ", self.refusals()[0])


class Prober(Protocol):
    """Sends bytes and looks what comes of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.received = b""
        self.ended: Deferred[tuple[str, float]] = Deferred()

    def connectionMade(self) -> None:
        self._began = reactor.seconds()  # type: ignore[attr-defined]
        self.transport.write(self._data)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.ended.callback((reason.type.__name__, reactor.seconds() - self._began))  # type: ignore[attr-defined]


class ProbeTests(TestCase):
    """What a prober sees, over sockets."""

    async def test_no_difference(self) -> None:
        """For any number of random bytes, and for a replay: no answer, and the same end at the same time."""
        seconds = 1.0
        factory = make_server_factory(None, draw=random.random, timeouts=Timeouts(authentication=seconds))
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        where = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        recorded = handshake.ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, LOGIN, PASSPHRASE).client_auth
        factory.replays.remember(handshake.fingerprint(recorded))
        probes = [os.urandom(size) for size in (1, 399, 400, 401, 5000)] * 4 + [recorded, recorded + bytes(100)]
        probers = [await connectProtocol(where, Prober(data)) for data in probes]
        seen = [await prober.ended for prober in probers]
        self.assertEqual([prober.received for prober in probers], [b""] * len(probes))
        self.assertEqual({how for how, _ in seen}, {"ConnectionDone"})
        for _, when in seen:
            # Not before the earliest time; how late depends on the machine alone.
            self.assertGreater(when, seconds * 0.9 - 0.05)
        for protocol in list(factory.connections):
            protocol.abort()


class SecretTests(ObservedTestCase):
    """What must not be seen anywhere, and not be kept."""

    def forms(self, secret: bytes) -> list[str]:
        return [
            secret.decode("latin-1"),
            repr(secret)[2:-1],
            secret.hex(),
            base64.b64encode(secret).decode().rstrip("="),
        ]

    def note_session_keys(self) -> list[bytes]:
        """A list to which the session keys of all that connect from now on are added."""
        keys: list[bytes] = []
        for name in ("client_session_keys", "server_session_keys"):
            make = getattr(handshake, name)

            def note(pair: KeyPair, key: bytes, make: Any = make) -> Any:
                made = make(pair, key)
                keys.extend((made.receive, made.send))
                return made

            self.patch(handshake, name, note)
        return keys

    def test_log(self) -> None:
        """A whole day of a server, with all that is refused, in every field of every event."""
        session_keys = self.note_session_keys()
        factory = make_server_factory(
            self.clock, EchoServer, authorized_keys=AuthorizedKeys([(CLIENT_PAIR.public, None)])
        )
        wrong = "Wr0ng-passphrase"
        for client in (
            {"pair": CLIENT_PAIR},
            {"pair": CLIENT_PAIR, "passphrase": wrong},
            {},
            {"server_key": KeyPair.generate().public},
        ):
            pair = Pair(factory, make_client_factory(self.clock, **client))
            pair.flush()
            if pair.client.is_authenticated:
                pair.client.send_data(b"Payl0ad-of-tests")
                pair.flush()
                pair.server.transport.out += b"x" * 46
                pair.flush()
            self.clock.advance(10)
            pair.flush()
        self.assertGreater(len(self.events), 3)
        text = "\n".join(
            [formatEvent(event) for event in self.events]
            + [eventAsJSON(event) for event in self.events]
            + [repr(event) for event in self.events]
        )
        secrets = [PASSPHRASE.encode(), wrong.encode(), SERVER_PAIR.secret, CLIENT_PAIR.secret, b"Payl0ad-of-tests"]
        self.assertGreaterEqual(len(session_keys), 4)
        for secret in [*secrets, *session_keys]:
            for form in self.forms(secret):
                self.assertNotIn(form, text)

    def test_dropped_when_used_up(self) -> None:
        """With the session up, no object that hangs on either end holds a passphrase or a session key."""
        keys = self.note_session_keys()
        pair = Pair(make_server_factory(self.clock), make_client_factory(self.clock))
        # Only the factories know the passphrase from then on.
        pair.flush()
        self.assertTrue(pair.server.is_authenticated)
        for end in (pair.server, pair.client):
            held = self.reach(end._connection) + self.reach({k: v for k, v in vars(end).items() if k != "factory"})
            for secret in (PASSPHRASE, PASSPHRASE.encode(), *keys):
                self.assertNotIn(secret, held)

    def reach(self, start: Any) -> list[Any]:
        """The texts and bytes that hang on an object, by attributes and items."""
        found, todo, seen = [], [start], set()
        while todo:
            thing = todo.pop()
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, (str, bytes, bytearray)):
                found.append(bytes(thing) if isinstance(thing, bytearray) else thing)
            elif isinstance(thing, dict):
                todo += [*thing.keys(), *thing.values()]
            elif isinstance(thing, (list, tuple, set, frozenset)) or type(thing).__name__ == "deque":
                todo += list(thing)
            elif type(thing).__module__.startswith("sodiumtwist") and not isinstance(thing, type):
                if type(thing).__name__.endswith("Factory"):
                    continue
                todo.append(getattr(thing, "__dict__", {}))
        return found


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
        self.assertIs(pair.client.reason.type, AuthenticationFailed)
