"""
Too many wrong logins.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.logger import eventAsText, formatEvent

from sodiumtwist import (
    AuthenticationFailed,
    AuthorizedKeys,
    KeyPair,
    Limits,
    ServerUnavailable,
    SingleLogin,
    SodiumServerFactory,
)
from sodiumtwist.admission.checkers import LoginNotChecked
from sodiumtwist.core.connection import ClientConnection, Code, Version2
from sodiumtwist.core.errors import TooManyFailures
from sodiumtwist.core.v1.handshake import ClientHandshake

from ..checkers import AnyChecker, LateChecker
from ..impostor import claim
from ..logs import logged
from ..observed import ObservedTestCase
from ..pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    ClientArguments,
    MemoryTransport,
    Pair,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)
from ..versions import each_version, only, spoken

if TYPE_CHECKING:
    from typing_extensions import Unpack


def new_client(pair: KeyPair, passphrase: str = "wrong") -> ClientConnection:
    """Make the core of a client."""
    key, version_2 = SERVER_PAIR.public, Version2(time.time)
    return ClientConnection(key, LOGIN, passphrase, 0, pair, version=spoken(), version_2=version_2)


@each_version
class LoginLimitTests(ObservedTestCase):
    """Too many wrong logins."""

    def attempt(self, factory: SodiumServerFactory, **client: Unpack[ClientArguments]) -> str | None:
        """Try to log in; return why that failed."""
        pair = Pair(factory, make_client_factory(self.clock, **client))
        pair.flush()
        return self.message(pair)

    def message(self, pair: Pair) -> str | None:
        reason = pair.server.reason
        return None if reason is None else reason.getErrorMessage()

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

    @only(1)
    def test_recording(self) -> None:
        """One that is sent again is nobody's try: it is not among those that were refused unchecked."""
        events = logged(self)
        limits = Limits(failures_per_address=1, failure_seconds=30)
        factory = make_server_factory(self.clock, limits=limits)
        client = ClientConnection(SERVER_PAIR.public, LOGIN, PASSPHRASE, 0.0)
        client.initiate()
        packet = client.data_to_send()
        self.connect(factory)[0].dataReceived(packet)
        self.attempt(factory, passphrase="wrong")
        self.attempt(factory)
        for _ in range(5):
            self.connect(factory)[0].dataReceived(packet)
        self.clock.advance(30)
        lines = [formatEvent(event) for event in events]
        self.assertIn("logins from 192.0.2.1 are checked again; 1 were refused", lines)

    def test_who_does_not_wait_to_hear(self) -> None:
        """Leaving while the login is checked counts as a failure: nobody guesses for free. Our being slow does not."""

        slow = AnyChecker(lambda credentials: Deferred())
        ways: list[tuple[Callable[[Pair], None], bool]] = [
            (lambda pair: pair.client.abort(), True),
            (lambda pair: self.clock.advance(10), False),
        ]
        for leave, counts in ways:
            limits = Limits(failures_per_login=2, failure_seconds=1000)
            factory = make_server_factory(self.clock, checker=slow, limits=limits)
            for _ in range(2):
                pair = Pair(factory, make_client_factory(self.clock))
                pair.flush()
                self.assertIsNone(pair.server.reason)
                leave(pair)
                pair.flush()
            refused = "too many logins failed, and none is checked for now" if counts else None
            self.assertEqual(self.attempt(factory), refused)

    @only(1)
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

    @only(2)
    def test_in_the_middle(self) -> None:
        """Who leaves, loses its place or stalls before it has said who it is, has tried no login."""
        limits = Limits(failures_per_address=1, failures_per_login=1, unauthenticated=1)
        factory = make_server_factory(self.clock, limits=limits)

        def leave(transport: MemoryTransport) -> None:
            transport.lose(transport.farewell)

        def crowd_out(transport: MemoryTransport) -> None:
            # What is no handshake makes a stranger of it again.
            transport.protocol.dataReceived(bytes(4000))
            _, newcomer = self.connect(factory)
            self.assertTrue(transport.aborting)
            self.settle(transport)
            newcomer.lose(newcomer.farewell)

        def stall(transport: MemoryTransport) -> None:
            self.clock.advance(10)
            self.settle(transport)

        for ending in (leave, crowd_out, stall):
            end, transport = self.connect(factory)
            client = new_client(CLIENT_PAIR)
            client.initiate()
            end.dataReceived(client.data_to_send())
            self.assertTrue(transport.out)
            ending(transport)
            self.assertIsNotNone(end.reason)
        self.assertIsNone(self.attempt(factory))

    @only(2)
    def test_both_versions(self) -> None:
        """What fails in one version counts for the other, too."""
        factory = make_server_factory(self.clock, limits=Limits(failures_per_login=2, failure_seconds=30))
        self.attempt(factory, passphrase="wrong", version=1)
        self.attempt(factory, passphrase="wrong", version=2)
        for version in (1, 2):
            refused = self.attempt(factory, version=version)
            self.assertEqual(refused, "too many logins failed, and none is checked for now")
        self.clock.advance(30)
        for version in (1, 2):
            self.assertIsNone(self.attempt(factory, version=version))

    @only(2)
    def test_told(self) -> None:
        """A client hears whether its login is wrong, or is not checked for now."""
        factory = make_server_factory(self.clock, limits=Limits(failures_per_login=1))
        told = []
        for _ in range(2):
            pair = Pair(factory, make_client_factory(self.clock, passphrase="wrong"))
            pair.flush()
            assert pair.client.reason is not None and isinstance(pair.client.reason.value, AuthenticationFailed)
            told.append((type(pair.client.reason.value), pair.client.reason.value.code))
        self.assertEqual(told, [(AuthenticationFailed, Code.REFUSED), (TooManyFailures, Code.TOO_MANY_FAILURES)])

    @only(1)
    def test_marked(self) -> None:
        """A login for version 2 alone fails as with a wrong passphrase, and counts."""
        checker = SingleLogin(LOGIN, PASSPHRASE, [2])
        factory = make_server_factory(self.clock, checker=checker, limits=Limits(failures_per_login=2))
        whys: list[str | None] = []
        for passphrase in (PASSPHRASE, "wrong", PASSPHRASE):
            pair = Pair(factory, make_client_factory(self.clock, passphrase=passphrase))
            pair.flush()
            self.assertEqual(pair.client.why, AuthenticationFailed if len(whys) < 2 else ServerUnavailable)
            whys.append(self.message(pair))
        refused = "the login is not for this version of the protocol"
        self.assertEqual(whys, [refused, refused, "too many logins failed, and none is checked for now"])
        self.clock.advance(60)
        self.assertIsNone(self.attempt(factory, version=2))

    def test_nothing_is_timed_after_the_stop(self) -> None:
        factory = make_server_factory(self.clock, limits=Limits(failures_per_login=1))
        factory.doStart()
        factory.doStop()
        self.attempt(factory, passphrase="wrong")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_port_of_two_stops(self) -> None:
        """Failures go on to count for the other, and none is forgotten."""
        factory = make_server_factory(self.clock, limits=Limits(failures_per_login=2))
        factory.doStart()
        factory.doStart()
        self.attempt(factory, passphrase="wrong")
        factory.doStop()
        self.attempt(factory, passphrase="wrong")
        self.assertIsNotNone(self.attempt(factory))
        factory.doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_burst(self) -> None:
        """Many at once are no more tries than one after the other."""
        checker = LateChecker()
        factory = make_server_factory(self.clock, checker=checker, limits=Limits(failures_per_address=3))
        pairs = [Pair(factory, make_client_factory(self.clock)) for _ in range(20)]
        for pair in pairs:
            pair.flush()
        for number in range(3):
            checker.answers[number].errback(UnauthorizedLogin())
        for pair in pairs:
            pair.flush()
        self.assertEqual([pair.server.is_authenticated for pair in pairs], [False] * 20)
        self.assertEqual(
            [self.message(pair) for pair in pairs],
            ["login or passphrase is wrong"] * 3 + ["too many logins failed, and none is checked for now"] * 17,
        )

    @only(1)
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

    def test_keys_that_are_not_listed(self) -> None:
        """They count for the address. Who can't even try a passphrase can't have a login blocked for others."""
        for checker in (None, SingleLogin(LOGIN, PASSPHRASE)):
            factory = SodiumServerFactory(
                SERVER_PAIR,
                checker,
                protocol=RecordingServer,
                clock=self.clock,
                authorized_keys=AuthorizedKeys([(CLIENT_PAIR.public, None)]),
                limits=Limits(failures_per_address=3, failures_per_login=2),
            )
            for number in range(5):
                self.fail_from(f"198.51.100.{number}", factory)
            self.assertIsNone(self.attempt(factory, pair=CLIENT_PAIR))
            for _ in range(3):
                self.fail_from("192.0.2.1", factory)
            refused = self.attempt(factory, pair=CLIENT_PAIR)
            self.assertEqual(refused, "too many logins failed, and none is checked for now")

    def test_wrong_passphrase_with_a_listed_key(self) -> None:
        """It counts for the login, too: whose public key is listed is no secret, so this can be a guess."""
        factory = SodiumServerFactory(
            SERVER_PAIR,
            SingleLogin(LOGIN, PASSPHRASE),
            protocol=RecordingServer,
            clock=self.clock,
            authorized_keys=AuthorizedKeys([(CLIENT_PAIR.public, None)]),
            limits=Limits(failures_per_login=2),
        )
        for number in range(2):
            self.fail_from(f"198.51.100.{number}", factory, CLIENT_PAIR)
        refused = self.attempt(factory, pair=CLIENT_PAIR)
        self.assertEqual(refused, "too many logins failed, and none is checked for now")

    def test_where_it_came_in_before(self) -> None:
        """A login that strangers have blocked is checked there all the same."""
        factory = make_server_factory(self.clock, limits=Limits(failures_per_login=2))
        self.assertIsNone(self.attempt(factory))
        for number in range(2):
            self.fail_from(f"198.51.100.{number}", factory)
        self.assertEqual(list(factory.admission.blocked_logins), [repr(LOGIN)])
        self.assertIsNone(self.attempt(factory))
        self.fail_from("198.51.100.9", factory)
        self.assertIn("none is checked for now", self.refusals()[-1])

    @only(1)
    def test_recorded_failure(self) -> None:
        """Who sends one again tries nothing new: that counts for the address, and can't have the login blocked."""
        limits = Limits(failures_per_address=3, failures_per_login=2)
        slow = AnyChecker(lambda credentials: Deferred())
        for checker in (SingleLogin(LOGIN, PASSPHRASE), slow):
            factory = make_server_factory(self.clock, RecordingServer, checker=checker, limits=limits)
            recorded = ClientHandshake(CLIENT_PAIR, SERVER_PAIR.public, LOGIN, "wrong").client_auth
            for number in range(5):
                end, transport = self.connect(factory, f"198.51.100.{number // 3}")
                end.dataReceived(recorded)
                self.assertFalse(end.is_authenticated)
                transport.lose(transport.farewell)
            self.assertEqual(list(factory.admission.blocked_logins), [])
            self.assertEqual(list(factory.admission.blocked_addresses), ["198.51.100.0"])
            self.fail_from("198.51.100.2", factory)
            self.assertEqual(list(factory.admission.blocked_logins), [repr(LOGIN)])

    def fail_from(self, host: str, factory: SodiumServerFactory, pair: KeyPair | None = None) -> None:
        """A stranger gives the login, with a key of its own or one that is listed, and a wrong passphrase."""
        end, transport = self.connect(factory, host)
        client = new_client(pair or KeyPair.generate())
        client.initiate()
        end.dataReceived(client.data_to_send())
        if spoken() == 2:
            list(client.receive_data(transport.take(10_000), 0))
            end.dataReceived(client.data_to_send())
        self.assertFalse(end.is_authenticated)
        transport.lose(transport.farewell)

    def test_errors_do_not_count(self) -> None:
        """Only wrong ones do."""

        def decide(credentials: UsernamePassword) -> NoReturn:
            raise LoginNotChecked("too many logins are being verified")

        factory = make_server_factory(self.clock, checker=AnyChecker(decide), limits=Limits(failures_per_address=1))
        for _ in range(3):
            self.assertEqual(self.attempt(factory), "too many logins are being verified")

    def test_error_that_quotes_its_login(self) -> None:
        """What a checker raises can't forge lines of the log: its text is escaped, its place is told."""

        def quote(credentials: UsernamePassword) -> NoReturn:
            raise ValueError(f"no such login: {credentials.username.decode()}")

        self.attempt(make_server_factory(self.clock, checker=AnyChecker(quote)), login="x\n2026 fake line\r\x1b[2J")
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
