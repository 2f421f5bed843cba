"""
Logins that take time to decide on.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import NoReturn

from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from sodiumtwist import AuthenticationFailed, AuthenticationTimeout, SodiumServerFactory
from sodiumtwist.admission.checkers import ClientLogin, SingleLogin, any_of
from sodiumtwist.core.connection import PENDING_LIMIT_2, ClientConnection, Code, Version2
from sodiumtwist.core.events import Refused

from ..alone import CLIENT_AUTH_SIZE, OVERHEAD, SERVER_HELO_SIZE, AloneTestCase, unix_time
from ..checkers import AnyChecker, AvatarId, LateChecker
from ..pair import (
    BUFFER_SIZE,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    Boom,
    EchoServer,
    Pair,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)
from ..versions import each_version, only, spoken


@each_version
class LateCheckerTests(AloneTestCase):
    """Checkers that take their time."""

    def start_late(
        self, protocol: type[RecordingServer] = EchoServer, early: tuple[bytes, ...] = (), orderly: bool = True
    ) -> Deferred[AvatarId]:
        """The login and early payloads were received, and the checker was asked."""
        self.checker = LateChecker()
        self.start_server(protocol, self.checker, orderly)
        self.log_in(*early)
        self.assertEqual(len(self.checker.answers), 1)
        self.assertEqual((self.protocol.calls, self.transport.writes), ([], []))
        return self.checker.answers[0]

    def assert_told(self, code: Code) -> None:
        """In version 1 nothing was said to the client; in version 2 why it is not let in, and nothing more."""
        if spoken() == 1:
            self.assertEqual(self.transport.value(), b"")
        else:
            (event,) = self.read()
            assert isinstance(event, Refused)
            self.assertEqual(event.code, code)

    def test_credentials(self) -> None:
        """The checker gets what the client sent, as UTF-8."""
        self.start_late()
        (credentials,) = self.checker.asked
        self.assertTrue(IUsernamePassword.providedBy(credentials))
        self.assertEqual((credentials.username, credentials.password), (LOGIN.encode(), PASSPHRASE.encode()))

    @only(2)
    def test_longest_credentials(self) -> None:
        """Checkers see a long login, and a token for a passphrase, like any other; with the version."""
        for text in ("x", "\u00fc"):
            login, passphrase = (text * 255).encode()[:254].decode(), (text * 4096).encode()[:4096].decode()
            checker = LateChecker()
            several = any_of([SingleLogin(LOGIN, PASSPHRASE), checker])
            self.start_server(checker=several)
            self.peer = self.peer_client = ClientConnection(
                SERVER_PAIR.public, login, passphrase, 0, version=2, version_2=Version2(unix_time)
            )
            self.log_in()
            (credentials,) = checker.asked
            assert isinstance(credentials, ClientLogin)
            self.assertEqual((credentials.username, credentials.password), (login.encode(), passphrase.encode()))
            self.assertEqual(credentials.version, 2)
            checker.answers[0].callback(login.encode())
            self.assertTrue(self.protocol.is_authenticated)

    def test_early_data_waits(self) -> None:
        """Then it is delivered in order, and the welcome leaves before the answers, which leave together."""
        answer = self.start_late(early=(b"one", b"two"))
        self.feed(self.peer_data(b"three"))
        self.assertEqual(self.protocol.calls, [])
        answer.callback(LOGIN.encode())
        self.assertEqual(self.protocol.calls, ["authenticated", b"one", b"two", b"three"])
        self.assertEqual(len(self.transport.writes), 2)
        if spoken() == 1:
            self.assertEqual(self.transport.writes, [SERVER_HELO_SIZE, 11 + 3 * OVERHEAD])
        self.assertEqual([getattr(event, "payload", None) for event in self.read()], [None, b"one", b"two", b"three"])
        self.feed(self.peer_data(b"four"))
        self.assertEqual(self.protocol.payloads[3:], [b"four"])
        self.assert_up()

    @only(2)
    def test_paused_when_enough_waits(self) -> None:
        """Reading stops when 256 KiB have come behind an undecided login, and goes on after the decision."""
        answer = self.start_late()
        early = self.peer_data(*[bytes(100_000)] * 3)
        self.feed(early[: PENDING_LIMIT_2 - 1])
        self.assertEqual(self.transport.producerState, "producing")
        self.feed(early[PENDING_LIMIT_2 - 1 : PENDING_LIMIT_2])
        self.assertEqual((self.transport.producerState, self.protocol.calls), ("paused", []))
        answer.callback(LOGIN.encode())
        self.assertEqual(self.transport.producerState, "producing")
        self.feed(early[PENDING_LIMIT_2:])
        self.assertEqual(list(map(len, self.protocol.payloads)), [100_000] * 3)

    @only(1)
    def test_paused_when_something_waits(self) -> None:
        """
        Reading stops when something has come behind an undecided login, and goes on after the decision.
        Before, the transport reads on, so that a client that leaves is noticed.
        """
        answer = self.start_late()
        early = self.peer_data(bytes(131070))
        self.assertEqual(self.transport.producerState, "producing")
        self.feed(early[:1])
        self.assertEqual(self.transport.producerState, "paused")
        answer.callback(LOGIN.encode())
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.protocol.payloads, [])
        self.feed(early[1:])
        self.assertEqual(list(map(len, self.protocol.payloads)), [131070])

    def test_never_reads_more_than_it_may(self) -> None:
        """Before its login has come, a client makes us hold one packet of its handshake, however it cuts them."""
        largest = {1: 400, 2: 2350}[spoken()]
        for size in (1, 7, 399, 400, 131000):
            checker, clock = LateChecker(), Clock()
            held: list[int] = []

            class Server(RecordingServer):
                def dataReceived(self, data: bytes, held: list[int] = held) -> None:
                    held.append(len(data) + self._connection.buffered)
                    super().dataReceived(data)

            server_factory = make_server_factory(clock, Server, checker)
            pair = Pair(server_factory, make_client_factory(clock), functools.partial(int, size))
            pair.client.write(bytes(1000))
            while not checker.answers:
                self.assertTrue(pair.step())
            pair.flush()
            self.assertLessEqual(max(held), largest)
            checker.answers[0].callback(LOGIN.encode())
            pair.flush()
            self.assertEqual(pair.server.payloads, [bytes(1000)])
            self.assertEqual(pair.server_transport.bufferSize, BUFFER_SIZE)

    def test_a_flood_before_the_decision_is_bounded(self) -> None:
        """Over a transport that reads as sockets do, it stays there."""
        checker = LateChecker()
        clock = Clock()
        pair = Pair(make_server_factory(clock, checker=checker), make_client_factory(clock))
        sent = random.Random(5).randbytes(2_000_000)
        pair.client.write(sent)
        pair.flush()
        self.assertEqual(pair.server._connection.buffered, {1: CLIENT_AUTH_SIZE, 2: PENDING_LIMIT_2}[spoken()])
        self.assertLess(pair.server_transport.received, 2 * CLIENT_AUTH_SIZE + PENDING_LIMIT_2 + 4000)
        checker.answers[0].callback(LOGIN.encode())
        pair.flush()
        self.assertEqual(b"".join(pair.server.payloads), sent)

    def test_still_paused_by_the_application(self) -> None:
        """Pausing while the login is undecided holds the early data back."""
        answer = self.start_late(early=(b"one",))
        self.protocol.pauseProducing()
        answer.callback(LOGIN.encode())
        self.assertEqual(self.protocol.payloads, [])
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.calls, ["authenticated", b"one"])

    def test_paused_in_authenticated(self) -> None:
        """``pauseProducing()`` in the first hook holds the early data back."""

        class Server(EchoServer):
            def authenticated(self) -> None:
                super().authenticated()
                self.pauseProducing()

        answer = self.start_late(Server, early=(b"one", b"two"))
        answer.callback(LOGIN.encode())
        self.assertEqual(self.protocol.calls, ["authenticated"])
        self.assertEqual(self.protocol.payloads, [])
        # The client is known by now, so a little more may be read ahead.
        self.assertEqual(self.transport.producerState, "producing")
        self.protocol.resumeProducing()
        self.assertEqual(self.protocol.payloads, [b"one", b"two"])

    def test_closed_in_authenticated(self) -> None:
        class Server(EchoServer):
            def authenticated(self) -> None:
                super().authenticated()
                self.close()

        answer = self.start_late(Server, early=(b"one",), orderly=False)
        answer.callback(LOGIN.encode())
        self.assertEqual(self.protocol.calls, ["authenticated"])
        if spoken() == 1:
            self.assertEqual(self.transport.writes, [SERVER_HELO_SIZE])
        else:
            self.assertEqual(self.read_types(), ["Authenticated", "EndReceived"])

    def test_unauthorized(self) -> None:
        answer = self.start_late(early=(b"one",))
        answer.errback(UnauthorizedLogin("no"))
        reason = self.assert_lost(AuthenticationFailed)
        self.assertEqual(reason.getErrorMessage(), "login or passphrase is wrong")
        self.assertEqual(len(self.protocol.calls), 1)
        self.assert_told(Code.REFUSED)

    def test_checker_out_of_order(self) -> None:
        """Any other exception is logged, and nobody gets in."""
        answer = self.start_late()
        answer.errback(Boom("the database is gone"))
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        self.assert_lost(AuthenticationFailed)
        self.assertEqual(len(self.protocol.calls), 1)
        self.assert_told(Code.NO_ROOM)

    def test_checkers_that_answer_at_once(self) -> None:
        """By returning, raising, or a Deferred that has fired."""

        def returns(credentials: UsernamePassword) -> bytes:
            return credentials.username

        def raises_unauthorized(credentials: UsernamePassword) -> NoReturn:
            raise UnauthorizedLogin()

        def raises(credentials: UsernamePassword) -> NoReturn:
            raise Boom()

        ways: list[tuple[Callable[[UsernamePassword], bytes | Deferred[AvatarId]], type[Exception] | None]] = [
            (returns, None),
            (lambda credentials: succeed(b""), None),
            (raises_unauthorized, AuthenticationFailed),
            (lambda credentials: fail(UnauthorizedLogin()), AuthenticationFailed),
            (raises, AuthenticationFailed),
            (lambda credentials: fail(Boom()), AuthenticationFailed),
        ]
        for decide, error in ways:
            self.start_server(checker=AnyChecker(decide))
            self.log_in()
            if error is None:
                self.assertEqual(self.protocol.calls, ["authenticated"])
                assert isinstance(self.protocol, RecordingServer) and self.protocol.peer is not None
                self.assertEqual(self.protocol.peer.login, LOGIN)
            else:
                self.assert_lost(error)
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 2)

    def test_cancelled_when_the_client_leaves(self) -> None:
        answer = self.start_late()
        self.transport.lose(ConnectionDone())
        self.assertEqual(self.checker.cancelled, [answer])
        self.assert_lost(ConnectionDone)
        assert isinstance(self.factory, SodiumServerFactory)
        self.assertEqual(self.factory.connections, set())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_leaving_with_whole_pdus_undelivered(self) -> None:
        """A client that sends, closes in order and was not decided on did not close inside a PDU."""
        self.start_late(early=(b"whole",))
        self.transport.lose(ConnectionDone())
        self.assert_lost(ConnectionDone)

    def test_not_cancelled_after_the_decision(self) -> None:
        answer = self.start_late()
        answer.callback(LOGIN.encode())
        self.transport.lose(ConnectionDone())
        self.assertEqual(self.checker.cancelled, [])

    def test_too_late(self) -> None:
        """The time-out runs on while the checker thinks; what it says later changes nothing."""
        answer = self.start_late(orderly=False)
        self.clock.advance(9.5)
        self.assert_up()
        self.clock.advance(0.5)
        self.assertTrue(self.transport.disconnecting)
        answer.callback(LOGIN.encode())
        self.assertEqual(self.protocol.calls, [])
        self.assert_told(Code.NO_ROOM)
        self.transport.lose(ConnectionDone())
        self.assert_lost(AuthenticationTimeout)
        self.assertEqual(len(self.protocol.calls), 1)

    def test_refused_too_late(self) -> None:
        answer = self.start_late(orderly=False)
        self.clock.advance(10)
        answer.errback(Boom())
        self.transport.lose(ConnectionDone())
        self.assert_lost(AuthenticationTimeout)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_checker_that_cannot_be_cancelled(self) -> None:
        """Its answer to a client that left is dropped."""
        answer: Deferred[AvatarId] = Deferred()
        self.start_server(checker=AnyChecker(lambda credentials: answer))
        self.log_in()
        self.transport.lose(ConnectionDone())
        answer.callback(LOGIN.encode())
        self.assert_lost(ConnectionDone)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_logins_are_decided_apart(self) -> None:
        """One that waits holds up nobody else."""
        checker = LateChecker()
        factory = make_server_factory(Clock(), EchoServer, checker)
        pairs = [Pair(factory, make_client_factory(Clock())) for _ in range(3)]
        for pair in pairs:
            pair.flush()
        checker.answers[1].callback(b"")
        checker.answers[2].errback(UnauthorizedLogin())
        for pair in pairs:
            pair.flush()
        self.assertEqual([pair.client.is_authenticated for pair in pairs], [False, True, False])
        self.assertEqual([pair.client.reason is None for pair in pairs], [True, True, False])
