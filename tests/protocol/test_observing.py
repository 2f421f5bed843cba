"""
What ends count of their traffic, and what they tell an observer.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    AuthenticationFailed,
    AuthenticationTimeout,
    ConnectionCut,
    InactivityTimeout,
    Limits,
    LocalProtocolError,
    PeerAborted,
    RequestClient,
    SodiumServerProtocol,
    Timeouts,
    WindowExceeded,
)
from sodiumtwist.core.base import Traffic
from sodiumtwist.core.connection import Code
from sodiumtwist.core.errors import MalformedPDU
from sodiumtwist.protocol import observing
from sodiumtwist.protocol.observing import Observer, name_end, name_refusal
from sodiumtwist.protocol.requests import Responder

from ..checkers import LateChecker
from ..pair import CLIENT_PAIR, MemoryTransport, Pair, RecordingServer, build, make_client_factory, make_server_factory
from ..versions import each_version, only


class Notes(Observer):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def arrived(self, end: SodiumServerProtocol) -> None:
        self.told.append(("arrived", end))

    def decided(self, end: SodiumServerProtocol, outcome: str, reason: str, seconds: float) -> None:
        self.told.append(("decided", end, outcome, reason, seconds))

    def over(self, end: SodiumServerProtocol, outcome: str, seconds: float) -> None:
        self.told.append(("over", end, outcome, seconds))

    @property
    def words(self) -> list[tuple[Any, ...]]:
        """Without the ends."""
        return [(name, *rest) for name, _, *rest in self.told]


@each_version
class TrafficTests(SynchronousTestCase):
    """What each end counts is what the other one does."""

    def assert_same(self, pair: Pair[Any, Any]) -> None:
        here, there = pair.server.traffic, pair.client.traffic
        self.assertEqual(here, Traffic(there.bytes_sent, there.bytes_received, there.pdus_sent, there.pdus_received))
        self.assertEqual(here.bytes_received, pair.server_transport.received)
        self.assertEqual(here.bytes_sent, pair.client_transport.received)

    def test_data(self) -> None:
        """DATA, alone and many together, PINGs and PONGs."""
        pair = Pair.make()
        pair.flush()
        self.assert_same(pair)
        pair.client.send_data(bytes(100))
        pair.flush()
        # Behind the first record, which brings padding.
        before = pair.server.traffic
        pair.client.send_data(bytes(100))
        pair.flush()
        self.assertEqual(pair.server.traffic.pdus_received, before.pdus_received + 1)
        self.assert_same(pair)
        for _ in range(5):
            pair.client.write(bytes(300_000))
            pair.server.write(b"some")
        pair.server.ping()
        pair.client.ping()
        pair.flush()
        self.assert_same(pair)

    def test_over(self) -> None:
        """They stay when the connection is over."""
        pair = Pair.make()
        pair.flush()
        pair.client.close()
        pair.flush()
        self.assertIsNotNone(pair.server.reason)
        self.assert_same(pair)
        self.assertGreater(pair.server.traffic.bytes_received, 0)

    @only(2)
    def test_requests(self) -> None:
        """Small ones together, large ones in parts."""
        factory = make_server_factory(Clock(), None, respond=lambda peer, payload: payload)
        pair: Pair[Responder, RequestClient] = Pair(factory, make_client_factory(Clock(), RequestClient))
        pair.flush()
        answers = [pair.client.request(bytes(size)) for size in (1, 10, 100_000, 300_000)]
        pair.client.request(bytes(200_000)).addErrback(lambda _: None).cancel()
        pair.flush()
        self.assertEqual([len(self.successResultOf(each)) for each in answers], [1, 10, 100_000, 300_000])
        pair.client.close()
        pair.flush()
        self.assert_same(pair)

    def test_began(self) -> None:
        """When the transport was made, by the clock of the factory."""
        clock = Clock()
        clock.advance(7)
        pair = Pair.make(clock=clock)
        clock.advance(5)
        self.assertEqual((pair.server.began, pair.client.began), (7, 7))

    def test_not_made(self) -> None:
        """Before there is a transport there is nothing to count."""
        server = build(make_server_factory(Clock()), RecordingServer)
        self.assertRaises(LocalProtocolError, lambda: server.traffic)
        self.assertRaises(LocalProtocolError, lambda: server.began)


@each_version
class ObserverTests(SynchronousTestCase):
    """What a server's ends tell, once each."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.notes = Notes()

    def connect(self, **arguments: Any) -> Pair[Any, Any]:
        client = {name: arguments.pop(name) for name in ("login", "passphrase", "server_key") if name in arguments}
        factory = make_server_factory(self.clock, **arguments)
        factory.observer = self.notes
        self.pair: Pair[Any, Any] = Pair(factory, make_client_factory(self.clock, **client))
        return self.pair

    def test_session(self) -> None:
        """A client comes, is let in, and leaves in order."""
        pair = self.connect()
        self.clock.advance(0.25)
        pair.flush()
        self.clock.advance(2)
        pair.client.close()
        pair.flush()
        self.assertEqual(self.notes.words, [("arrived",), ("decided", "admitted", "", 0.25), ("over", "closed", 2.25)])
        self.assertEqual({told[1] for told in self.notes.told}, {pair.server})

    def test_cut(self) -> None:
        """Its connection breaks."""
        pair = self.connect()
        pair.flush()
        pair.server_transport.lose(ConnectionLost())
        self.assertEqual(self.notes.words[-1], ("over", "cut", 0))

    def test_application_fails(self) -> None:
        """The server's application breaks off."""
        pair = self.connect()
        pair.flush()
        pair.server.abort(ValueError("boom"))
        pair.flush()
        self.assertEqual(self.notes.words[-1], ("over", "broken_off", 0))

    def test_wrong_passphrase(self) -> None:
        pair = self.connect(passphrase="wrong")
        pair.flush()
        pair.client_transport.lose(ConnectionDone())
        pair.flush()
        self.clock.pump([1] * 200)
        self.assertEqual(
            [words[:3] for words in self.notes.words], [("arrived",), ("decided", "refused", "credentials")]
        )

    def test_other_key(self) -> None:
        """The handshake is for another server: the client waits in vain."""
        pair = self.connect(server_key=CLIENT_PAIR.public)
        pair.flush()
        self.clock.advance(20)
        pair.flush()
        self.clock.pump([1] * 3)
        pair.flush()
        self.assertEqual([words[:3] for words in self.notes.words], [("arrived",), ("decided", "refused", "handshake")])

    def test_nothing_comes(self) -> None:
        factory = make_server_factory(self.clock, timeouts=Timeouts(authentication=3))
        factory.observer = self.notes
        server = build(factory, RecordingServer)
        transport = MemoryTransport(server)
        server.makeConnection(transport)
        self.clock.pump([1] * 10)
        transport.lose(ConnectionDone())
        self.assertEqual(self.notes.words[1][:3], ("decided", "refused", "timeout"))

    def test_left(self) -> None:
        """Somebody connects and leaves."""
        factory = make_server_factory(self.clock)
        factory.observer = self.notes
        server = build(factory, RecordingServer)
        server.makeConnection(MemoryTransport(server))
        server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.notes.words, [("arrived",), ("decided", "left", "left", 0)])

    def test_no_room(self) -> None:
        """Who is turned away for a limit has arrived, too."""
        factory = make_server_factory(self.clock, limits=Limits(per_address=1))
        factory.observer = self.notes
        for _ in range(2):
            server = build(factory, RecordingServer)
            transport = MemoryTransport(server)
            server.makeConnection(transport)
        transport.lose(ConnectionLost())
        self.assertEqual(self.notes.words, [("arrived",), ("arrived",), ("decided", "refused", "no_room", 0)])

    def test_too_many_failures(self) -> None:
        """The login is not even looked at."""
        factory = make_server_factory(self.clock, limits=Limits(failures_per_address=1))
        factory.observer = self.notes
        for _ in range(2):
            pair: Pair[Any, Any] = Pair(factory, make_client_factory(self.clock, passphrase="wrong"))
            pair.flush()
            self.clock.pump([1] * 3)
            pair.server_transport.lose(ConnectionDone())
        self.assertEqual([words[2] for words in self.notes.words[1::2]], ["credentials", "too_many_failures"])

    def test_draining(self) -> None:
        """A login that comes when the server is about to stop."""
        pair = self.connect(checker=LateChecker())
        pair.flush()
        pair.server.factory.drain()
        pair.flush()
        self.clock.pump([1] * 3)
        pair.flush()
        self.assertEqual(self.notes.words[-1][1:3], ("refused", "draining"))


class NamesTests(SynchronousTestCase):
    """One word for each error."""

    def test_refusals(self) -> None:
        stored, undecided = AuthenticationFailed("storage"), AuthenticationFailed("late")
        stored.code, undecided.code = Code.STORAGE, Code.NO_ROOM
        for error, word in (
            (stored, "not_checked"),
            (undecided, "not_checked"),
            (AuthenticationTimeout("late"), "timeout"),
            (MalformedPDU("wrong"), "protocol"),
            (AuthenticationFailed("left"), "left"),
            (ValueError("boom"), "broken_off"),
        ):
            self.assertEqual(name_refusal(error), word)
            self.assertIn(word, observing.REFUSALS)

    def test_ends(self) -> None:
        for error, peer_left, word in (
            (PeerAborted(1, "no"), True, "aborted"),
            (InactivityTimeout("gone"), False, "timeout"),
            (ConnectionCut("cut"), True, "cut"),
            (WindowExceeded("much"), False, "unread"),
            (MalformedPDU("wrong"), False, "protocol"),
            (ConnectionLost(), True, "cut"),
            (ConnectionLost(), False, "broken_off"),
        ):
            self.assertEqual(name_end(error, peer_left), word)
            self.assertIn(word, observing.ENDS)
