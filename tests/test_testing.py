"""
The helpers for people who test their own applications.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    AnyLogin,
    AuthenticationFailed,
    AuthorizedKeys,
    ConnectionCut,
    InactivityTimeout,
    KeyPair,
    Limits,
    PayloadTooLarge,
    Peer,
    RequestClient,
    RequestFailed,
    ServerUnavailable,
    SingleLogin,
    SodiumClientFactory,
    SodiumError,
    Timeouts,
)
from sodiumtwist.core.connection import Bounds
from sodiumtwist.protocol.requests import Respond
from sodiumtwist.testing import LOGIN, MemoryPair, Settings, connect_requests, connect_streams

from .versions import each_version, only, spoken

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Sum(amp.Command):
    arguments = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response = [(b"total", amp.Integer())]


class Math(amp.AMP):
    @Sum.responder
    def sum(self, a: int, b: int) -> dict[str, int]:
        return {"total": a + b}


class Recorder(Protocol):
    reason: Failure | None = None
    heard = b""

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


def shout(peer: Peer, payload: bytes) -> bytes:
    return payload.upper()


class PairTestCase(SynchronousTestCase):
    """Has pairs that speak the version of the test."""

    def streams(self, **settings: Unpack[Settings]) -> MemoryPair:
        settings.setdefault("version", spoken())
        return connect_streams(Factory.forProtocol(Recorder), Factory.forProtocol(Recorder), **settings)

    def requests(self, respond: Respond = shout, **settings: Unpack[Settings]) -> MemoryPair:
        settings.setdefault("version", spoken())
        return connect_requests(respond, **settings)

    def assert_answers(self, pair: MemoryPair) -> None:
        asked = pair.client.request(b"question")
        pair.flush()
        self.assertEqual(self.successResultOf(asked), b"QUESTION")

    def assert_refused(self, pair: MemoryPair, error: type[SodiumError]) -> None:
        self.failureResultOf(pair.client_end.when_authenticated(), error)


@each_version
class TestingTests(PairTestCase):
    def test_streams(self) -> None:
        """AMP, unchanged, between two ends in memory."""
        pair = connect_streams(Factory.forProtocol(Math), Factory.forProtocol(amp.AMP), version=spoken())
        self.assertEqual(pair.server.transport.peer.login, LOGIN)
        asked = pair.client.callRemote(Sum, a=1, b=2)
        self.assertNoResult(asked)
        pair.flush()
        self.assertEqual(self.successResultOf(asked), {"total": 3})

    def test_close(self) -> None:
        pair = self.streams()
        pair.client.transport.loseConnection()
        pair.flush()
        for end in (pair.server, pair.client):
            self.assertIs(end.reason.type, ConnectionDone)

    def test_requests(self) -> None:
        """An answer that takes time comes when that has passed."""

        def respond(peer: Peer, payload: bytes) -> Deferred[bytes]:
            return deferLater(pair.clock, 5, lambda: payload.upper())

        pair = self.requests(respond)
        asked = pair.client.request(b"question")
        pair.flush()
        pair.advance(4)
        self.assertNoResult(asked)
        pair.advance(1)
        self.assertEqual(self.successResultOf(asked), b"QUESTION")

    def test_time(self) -> None:
        """PINGs keep two ends connected for hours; when nothing moves, each notices."""
        pair = self.streams()
        for _ in range(200):
            pair.advance(30)
        pair.advance(10_000)
        self.assertEqual(pair.clock.seconds(), 16_000)
        self.assertEqual((pair.client.reason, pair.server.reason), (None, None))
        pair.clock.pump([10] * 18)
        pair.flush()
        self.assertIs(pair.client.reason.type, InactivityTimeout)

    def test_version(self) -> None:
        """The version is that which was asked for, and a server can be told to take one only."""
        self.assertEqual(self.requests().client.peer.version, spoken())
        self.assertEqual(self.requests(versions=[spoken()]).server_end.peer.version, spoken())
        other = self.requests(versions=[3 - spoken()])
        other.advance(20)
        self.failureResultOf(other.client_end.when_authenticated(), SodiumError)


@each_version
class BreakTests(PairTestCase):
    """Ends that are no ends in order."""

    def lost(self, pair: MemoryPair) -> list[type[BaseException]]:
        return [pair.server.reason.type, pair.client.reason.type]

    def test_abort(self) -> None:
        """An abort arrives as sockets say it: what was on its way is lost, and the other end is cut."""
        for aborts in ("server", "client"):
            pair = self.streams()
            ends = {"server": pair.server, "client": pair.client}
            one, other = ends.pop(aborts), *ends.values()
            one.transport.write(b"dropped")
            other.transport.write(b"dropped, too")
            pair.clock.advance(0)  # now they are on their way
            one.transport.abortConnection()
            pair.flush()
            self.assertTrue(issubclass(other.reason.type, (ConnectionLost, ConnectionCut)), other.reason)
            self.assertEqual((one.heard, other.heard), (b"", b""))

    def test_abort_below(self) -> None:
        """What the transports of the two ends say."""
        for aborts in (0, 1):
            pair = self.streams()
            ends = [pair.server_end, pair.client_end]
            reasons: list[list[Failure]] = [[], []]
            for end, told in zip(ends, reasons, strict=True):
                self.patch(end, "connectionLost", told.append)
            ends[aborts].transport.abortConnection()
            ends[aborts].transport.abortConnection()
            pair.flush()
            (one,), (other,) = reasons[aborts], reasons[1 - aborts]
            self.assertEqual((one.type, other.type), (ConnectionAborted, ConnectionLost))

    def test_cut(self) -> None:
        """The link breaks: both ends are told, and what was on its way is lost."""
        pair = self.streams()
        pair.client.transport.write(b"dropped")
        pair.server.transport.write(b"dropped")
        pair.clock.advance(0)  # now they are on their way
        pair.cut()
        for end in (pair.server, pair.client):
            self.assertTrue(issubclass(end.reason.type, (ConnectionLost, ConnectionCut)), end.reason)
            self.assertEqual(end.heard, b"")
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_cut_request(self) -> None:
        """A request whose answer is lost fails."""
        pair = self.requests(lambda peer, payload: Deferred())
        asked = pair.client.request(b"question")
        pair.flush()
        pair.cut()
        self.failureResultOf(asked)

    def test_cut_again(self) -> None:
        """Where it is over nothing more happens."""
        pair = self.streams()
        pair.client.transport.loseConnection()
        pair.flush()
        pair.cut()
        self.assertEqual(self.lost(pair), [ConnectionDone, ConnectionDone])


@each_version
class SettingsTests(PairTestCase):
    """What can be chosen."""

    def test_login(self) -> None:
        """The client logs in with what it is told, and gets in where the checker lets it."""
        checker = SingleLogin("me", "open sesame")
        pair = self.requests(checker=checker, login="me", passphrase="open sesame", message="Hello.")
        self.assertEqual((pair.server.peer.login, pair.client.message), ("me", "Hello."))
        self.assert_answers(pair)
        self.assert_refused(self.requests(checker=checker), AuthenticationFailed)
        self.assert_refused(self.requests(passphrase="guessed"), AuthenticationFailed)

    def test_keys(self) -> None:
        """The client has the key pair that it is told to have."""
        pair = KeyPair.generate()
        keys = AuthorizedKeys([(pair.public, None)])
        let_in = self.requests(authorized_keys=keys, checker=None, key_pair=pair)
        self.assertEqual(let_in.server.peer.public_key, pair.public)
        self.assert_answers(let_in)
        self.assert_refused(self.requests(authorized_keys=keys, checker=None), AuthenticationFailed)

    def test_no_application(self) -> None:
        """A stream that is not let in has no application."""
        pair = self.streams(passphrase="guessed")
        self.assertIsNone(pair.server)
        self.assert_refused(pair, AuthenticationFailed)

    def test_timeouts(self) -> None:
        pair = self.streams(timeouts=Timeouts(ping_interval=10, inactivity=30))
        pair.clock.pump([10] * 4)
        pair.flush()
        self.assertIs(pair.client.reason.type, InactivityTimeout)

    def test_concurrency(self) -> None:
        """The server works on as many requests at once as it is told."""
        asked: list[bytes] = []

        def respond(peer: Peer, payload: bytes) -> Deferred[bytes]:
            asked.append(payload)
            return Deferred()

        pair = self.requests(respond, concurrency=2)
        for number in range(4):
            pair.client.request(b"%d" % number).addErrback(lambda failure: None)
        pair.flush()
        self.assertEqual(asked, [b"0", b"1"])

    def test_client(self) -> None:
        """The client may be a subclass, or one with arguments."""

        class Client(RequestClient):
            pass

        pair = connect_requests(shout, Client, version=spoken())
        self.assertIsInstance(pair.client, Client)
        self.assert_answers(pair)
        self.assert_answers(connect_requests(shout, lambda: RequestClient(3), version=spoken()))

    @only(2)
    def test_bounds(self) -> None:
        """An answer that is larger than they allow fails alone."""
        pair = self.requests(lambda peer, payload: payload * 11, bounds=Bounds(message=1000))
        asked = pair.client.request(bytes(100))
        pair.flush()
        self.failureResultOf(asked, RequestFailed)
        self.assertEqual(len(self.flushLoggedErrors(PayloadTooLarge)), 1)
        pair = self.requests(bounds=Bounds(message=1000))
        self.assert_answers(pair)


@each_version
class SeveralTests(PairTestCase):
    """Several clients of one server."""

    def test_limits(self) -> None:
        """The server has one place, and who leaves makes room."""
        pair = self.requests(limits=Limits(connections=1))
        other = pair.connect_another()
        self.assert_refused(other, ServerUnavailable)
        self.assert_answers(pair)
        pair.client.close()
        pair.flush()
        self.assert_answers(pair.connect_another())

    def test_addresses(self) -> None:
        """Clients have the addresses that they are told to have."""
        pair = self.requests(limits=Limits(per_address=1))
        self.assert_refused(pair.connect_another(), ServerUnavailable)
        other = pair.connect_another(host="198.51.100.7")
        self.assertEqual(other.server.peer.address.host, "198.51.100.7")
        self.assert_answers(other)

    def test_another_client(self) -> None:
        """One client is told apart from the other, and moves when the other does."""
        pair = self.requests(
            lambda peer, payload: f"{peer.login}".encode(),
            checker=AnyLogin([SingleLogin("a", "a"), SingleLogin("b", "b")]),
            login="a",
            passphrase="a",
        )
        key = pair.client_factory.server_key
        factory = SodiumClientFactory(key, "b", "b", RequestClient, clock=pair.clock, version=spoken())
        other = pair.connect_another(factory)
        asked = pair.client.request(b""), other.client.request(b"")
        pair.advance(1)
        self.assertEqual([self.successResultOf(each) for each in asked], [b"a", b"b"])
        self.assertIs(other.server_factory, pair.server_factory)

    def test_one_is_cut(self) -> None:
        pair = self.requests()
        other = pair.connect_another()
        other.cut()
        self.assertFalse(other.client.is_authenticated)
        self.assert_answers(pair)
