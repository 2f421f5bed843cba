"""
Requests and answers, in memory and over loopback.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist import SingleLogin, SodiumServerFactory, connect
from sodiumtwist.core.errors import (
    AuthenticationFailed,
    InvalidKey,
    LocalProtocolError,
    PayloadTooLarge,
    TooManyRequests,
    UnexpectedPDU,
)
from sodiumtwist.interfaces import Peer
from sodiumtwist.requests import RequestClient

from .pair import CLIENT_PAIR, LOGIN, PASSPHRASE, SERVER_PAIR, Pair, RecordingServer, make_client_factory


class Boom(Exception):
    pass


class Desk:
    """
    Answers when it is told to.

    :ivar waiting: the payloads it works on, with the Deferred to fire.
    """

    def __init__(self) -> None:
        self.waiting: dict[bytes, Deferred[bytes]] = {}
        self.peers: list[Peer] = []
        self.cancelled: list[bytes] = []

    def __call__(self, peer: Peer, payload: bytes) -> Deferred[bytes]:
        self.peers.append(peer)
        self.waiting[payload] = Deferred(lambda _: self.cancelled.append(payload))
        return self.waiting[payload]

    def answer(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.waiting.pop(payload).callback(payload.upper())


def make_factory(respond: Any, clock: Any = None, **more: Any) -> SodiumServerFactory:
    return SodiumServerFactory(SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), respond, clock=clock, **more)


class RequestTestCase(SynchronousTestCase):
    def start(self, respond: Any, limit: int = 128, **more: Any) -> None:
        """Connect a client to a server that answers."""
        self.clock = Clock()
        client_factory = make_client_factory(self.clock, lambda: RequestClient(limit))
        self.pair = Pair(make_factory(respond, self.clock, **more), client_factory)
        self.client = self.pair.client
        self.pair.flush()

    def ask(self, *payloads: bytes) -> list[Any]:
        """Make requests and let them arrive."""
        asked = [self.client.request(payload) for payload in payloads]
        self.pair.flush()
        return asked


class AnswerTests(RequestTestCase):
    """The server's side."""

    def test_kinds(self) -> None:
        """Bytes, a Deferred and a coroutine answer, and an empty answer is one."""

        async def later(payload: bytes) -> bytes:
            return payload + b" coroutine"

        answers = {b"a": b"bytes", b"b": Deferred(), b"c": later(b"a"), b"d": b""}
        self.start(lambda peer, payload: answers[payload])
        asked = self.ask(b"a", b"b", b"c", b"d")
        self.assertEqual(self.successResultOf(asked[0]), b"bytes")
        self.assertNoResult(asked[2])
        answers[b"b"].callback(b"a Deferred")
        self.pair.flush()
        self.assertEqual(
            [self.successResultOf(answer) for answer in asked[1:]], [b"a Deferred", b"a coroutine", b""]
        )

    def test_order(self) -> None:
        """Answers leave in the order of the requests, whatever order they are ready in."""
        desk = Desk()
        self.start(desk)
        first, second, third = self.ask(b"a", b"b", b"c")
        desk.answer(b"c", b"b")
        self.pair.flush()
        self.assertNoResult(second)
        desk.answer(b"a")
        self.pair.flush()
        self.assertEqual([self.successResultOf(answer) for answer in (first, second, third)], [b"A", b"B", b"C"])

    def test_peer(self) -> None:
        desk = Desk()
        self.start(desk)
        self.ask(b"a")
        self.assertEqual(desk.peers, [Peer(LOGIN, CLIENT_PAIR.public, self.pair.server_transport.getPeer())])

    def test_concurrency(self) -> None:
        """No more than that are worked on at once; the others are not even read."""
        desk = Desk()
        self.start(desk, concurrency=2)
        asked = self.ask(*(b"%d" % number for number in range(5)))
        self.assertEqual(list(desk.waiting), [b"0", b"1"])
        self.assertFalse(self.pair.server_transport.reading)
        desk.answer(b"1")
        self.pair.flush()
        self.assertEqual(list(desk.waiting), [b"0"])
        desk.answer(b"0")
        self.pair.flush()
        self.assertEqual(list(desk.waiting), [b"2", b"3"])
        desk.answer(b"2", b"3")
        self.pair.flush()
        desk.answer(b"4")
        self.pair.flush()
        self.assertEqual([self.successResultOf(answer) for answer in asked], [b"0", b"1", b"2", b"3", b"4"])
        self.assertTrue(self.pair.server_transport.reading)

    def test_failures(self) -> None:
        """One that fails is logged and ends the connection; earlier answers arrive."""

        def raises() -> bytes:
            raise Boom()

        async def fails() -> bytes:
            raise Boom()

        for answer, error in (
            (raises, Boom),
            (fails, Boom),
            (lambda: "text", TypeError),
            (lambda: None, TypeError),
            (lambda: bytes(131071), PayloadTooLarge),
        ):
            self.start(lambda peer, payload, answer=answer: b"fine" if payload == b"a" else answer())
            first, second, third = self.ask(b"a", b"b", b"c")
            self.assertEqual(self.successResultOf(first), b"fine")
            for lost in (second, third):
                self.failureResultOf(lost, ConnectionDone, ConnectionLost)
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)
            self.assertTrue(self.pair.server_transport.disconnected)

    def test_cancelled_with_the_connection(self) -> None:
        desk = Desk()
        self.start(desk)
        asked = self.ask(b"a", b"b")
        self.client.abort()
        self.pair.flush()
        for lost in asked:
            self.failureResultOf(lost, ConnectionAborted)
        self.assertEqual(desk.cancelled, [b"a", b"b"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_arguments(self) -> None:
        for wrong in ({"concurrency": 0}, {"protocol": RecordingServer}):
            self.assertRaises(LocalProtocolError, make_factory, Desk(), **wrong)


class RequestTests(RequestTestCase):
    """The client's side."""

    def test_payload_too_large(self) -> None:
        desk = Desk()
        self.start(desk)
        (refused,) = self.ask(bytes(131071))
        self.assertIn("131070", str(self.failureResultOf(refused, PayloadTooLarge).value))
        self.assertEqual(desk.waiting, {})
        (asked,) = self.ask(b"a")
        desk.answer(b"a")
        self.pair.flush()
        self.assertEqual(self.successResultOf(asked), b"A")

    def test_limit(self) -> None:
        """Beyond it requests fail, and those who wait may go on one by one."""
        desk = Desk()
        self.start(desk, limit=2)
        self.successResultOf(self.client.ready())
        _, _, refused = self.ask(b"a", b"b", b"c")
        self.failureResultOf(refused, TooManyRequests)
        first, cancelled, second = [self.client.ready() for _ in range(3)]
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.assertNoResult(first)
        desk.answer(b"a")
        self.pair.flush()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.ask(b"d")
        desk.answer(b"b")
        self.pair.flush()
        self.successResultOf(second)

    def test_cancelled(self) -> None:
        """Its answer is dropped, and the others get their own."""
        desk = Desk()
        self.start(desk)
        first, second, third = self.ask(b"a", b"b", b"c")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        desk.answer(b"a", b"b", b"c")
        self.pair.flush()
        self.assertEqual((self.successResultOf(first), self.successResultOf(third)), (b"A", b"C"))

    def test_connection_goes(self) -> None:
        """All that is unanswered fails with the reason, and so does what comes after."""
        self.start(Desk(), limit=2)
        asked = self.ask(b"a", b"b")
        waiting = self.client.ready()
        self.pair.server.abort()
        self.pair.flush()
        for lost in (*asked, waiting, self.client.ready()):
            self.failureResultOf(lost, ConnectionLost)
        self.failureResultOf(self.client.request(b"c"), LocalProtocolError)

    def test_close(self) -> None:
        self.start(Desk())
        (asked,) = self.ask(b"a")
        closed = self.client.close()
        self.assertNoResult(closed)
        self.pair.flush()
        self.successResultOf(closed)
        self.successResultOf(self.client.close())
        self.failureResultOf(asked, ConnectionDone)

    def test_unasked_answer(self) -> None:
        self.start(Desk())
        self.pair.server.send_data(b"unasked")
        self.pair.flush()
        self.failureResultOf(self.client.ready(), UnexpectedPDU)

    def test_arguments(self) -> None:
        self.assertRaises(LocalProtocolError, RequestClient, 0)

    def count_flights(self, early: bool) -> int:
        """Count how often bytes travel one way between connecting and the first answer."""
        clock = Clock()
        pair = Pair(make_factory(lambda peer, payload: payload, clock), make_client_factory(clock, RequestClient))
        if early:
            answer = pair.client.request(b"x")
        else:
            answer = pair.client.when_authenticated().addCallback(lambda _: pair.client.request(b"x"))
        flights = 0
        while not answer.called or isinstance(answer.result, Deferred):
            flights += 1
            sender, receiver = pair.client_transport, pair.server_transport
            if flights % 2 == 0:
                sender, receiver = receiver, sender
            receiver.protocol.dataReceived(sender.take(10_000))
            assert flights < 10
        self.assertEqual(self.successResultOf(answer), b"x")
        return flights

    def test_round_trips(self) -> None:
        """An early request takes one, the others two with the login's."""
        self.assertEqual(self.count_flights(early=True), 2)
        self.assertEqual(self.count_flights(early=False), 4)


class ConnectTests(TestCase):
    """``connect()``, over loopback."""

    async def listen(self, respond: Any = lambda peer, payload: payload.upper()) -> None:
        factory = make_factory(respond, reactor)
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.factory = factory
        self.endpoint = f"tcp:127.0.0.1:{port.getHost().port}"

    def connect(self, passphrase: str = PASSPHRASE, **more: Any) -> Deferred[RequestClient]:
        return connect(reactor, self.endpoint, SERVER_PAIR.public, LOGIN, passphrase, **more)

    async def test_conversation(self) -> None:
        await self.listen()
        client = await self.connect()
        self.assertEqual(client.message, "Welcome.")
        self.assertEqual(await client.request(b"question"), b"QUESTION")
        self.assertGreater(await client.ping(), 0)
        await client.close()
        self.assertEqual(self.factory.connections, set())

    async def test_early(self) -> None:
        """A request behind the login is answered before the client is told of the hello."""
        await self.listen()
        client = await self.connect(early=True)
        self.assertFalse(client.is_authenticated)
        self.assertEqual(await client.request(b"question"), b"QUESTION")
        self.assertTrue(client.is_authenticated)
        await client.close()

    async def test_refused(self) -> None:
        await self.listen()
        await self.assertFailure(self.connect("wrong"), AuthenticationFailed)
        client = await self.connect("wrong", early=True)
        await self.assertFailure(client.request(b"question"), AuthenticationFailed)

    async def test_cancelled(self) -> None:
        """The connection is dropped."""
        asked: Deferred[None] = Deferred()
        lost: Deferred[None] = Deferred()

        class Checker:
            def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
                asked.callback(None)
                return Deferred(lambda _: lost.callback(None))

        await self.listen()
        self.factory.checker = Checker()  # type: ignore[assignment]
        connecting = self.connect()
        await asked
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await lost

    async def test_arguments(self) -> None:
        """What is wrong with them fails the Deferred."""
        self.endpoint = "nonsense:1"
        await self.assertFailure(self.connect(), ValueError)
        self.endpoint = "tcp:127.0.0.1:1"
        await self.assertFailure(self.connect("x" * 129), LocalProtocolError)
        await self.assertFailure(self.connect(limit=0), LocalProtocolError)
        await self.assertFailure(connect(reactor, self.endpoint, b"short", LOGIN, PASSPHRASE), InvalidKey)
