"""
Requests and answers, in memory and over loopback sockets.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from sodiumtwist import (
    AuthenticationFailed,
    InvalidKey,
    LocalProtocolError,
    PayloadTooLarge,
    Peer,
    RequestClient,
    SingleLogin,
    SodiumServerFactory,
    TooManyRequests,
    UnexpectedPDU,
    connect,
)
from sodiumtwist.core.wire import PDU_OVERHEAD, SEALED_CLIENT_AUTH_SIZE
from sodiumtwist.requests import CONCURRENCY, REQUEST_LIMIT, Responder

from .pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    EchoServer,
    Pair,
    make_client_factory,
    make_server_factory,
)

LARGEST = 131070


class Desk:
    """
    A ``respond`` whose answers come when the test says so.

    :ivar asked: who asked what, in order.
    :ivar answering: the Deferreds that were returned, likewise.
    :ivar cancelled: the payloads whose tasks were cancelled.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Peer, bytes]] = []
        self.answering: list[Deferred[bytes]] = []
        self.cancelled: list[bytes] = []

    def __call__(self, peer: Peer, payload: bytes) -> Deferred[bytes]:
        self.asked.append((peer, payload))
        answering: Deferred[bytes] = Deferred(lambda _: self.cancelled.append(payload))
        self.answering.append(answering)
        return answering

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.asked]


def make_pair(respond: Any, limit: int = REQUEST_LIMIT, **arguments: Any) -> Pair:
    clock = Clock()
    checker = SingleLogin(LOGIN, PASSPHRASE)
    server_factory = SodiumServerFactory(SERVER_PAIR, checker, respond, clock=clock, **arguments)
    return Pair(server_factory, make_client_factory(clock, lambda: RequestClient(limit)))


class ResponderTests(SynchronousTestCase):
    """The server's end, asked by a client in memory."""

    def ask(self, pair: Pair, *payloads: bytes) -> list[Deferred[bytes]]:
        asked = [pair.client.request(payload) for payload in payloads]
        pair.flush()
        return asked

    def test_order(self) -> None:
        """Many requests are answered in their order, though the tasks end in the opposite one."""
        desk = Desk()
        pair = make_pair(desk)
        payloads = [b"%d" % number for number in range(40)]
        asked = self.ask(pair, *payloads)
        self.assertEqual(desk.payloads, payloads)
        for number in reversed(range(1, 40)):
            desk.answering[number].callback(b"answer %d" % number)
        pair.flush()
        for deferred in asked:
            self.assertNoResult(deferred)
        desk.answering[0].callback(b"answer 0")
        pair.flush()
        self.assertEqual([self.successResultOf(d) for d in asked], [b"answer %d" % n for n in range(40)])

    def test_sent_as_soon_as_possible(self) -> None:
        """An answer leaves when those before it have left, and does not wait for those behind it."""
        desk = Desk()
        pair = make_pair(desk)
        first, second, third = self.ask(pair, b"1", b"2", b"3")
        desk.answering[1].callback(b"two")
        pair.flush()
        self.assertNoResult(second)
        desk.answering[0].callback(b"one")
        pair.flush()
        self.assertEqual(self.successResultOf(first), b"one")
        self.assertEqual(self.successResultOf(second), b"two")
        self.assertNoResult(third)
        desk.answering[2].callback(b"three")
        pair.flush()
        self.assertEqual(self.successResultOf(third), b"three")

    def test_bytes(self) -> None:
        """``respond`` may return the answer itself, empty or as large as fits, for such requests, too."""
        pair = make_pair(lambda peer, payload: payload[::-1])
        payloads = [b"", b"abc", bytes(range(256)) * 511 + bytes(254)]
        self.assertEqual(len(payloads[2]), LARGEST)
        asked = self.ask(pair, *payloads)
        self.assertEqual([self.successResultOf(d) for d in asked], [payload[::-1] for payload in payloads])

    def test_deferred(self) -> None:
        """``respond`` may return a Deferred that has fired."""
        pair = make_pair(lambda peer, payload: succeed(payload + b"!"))
        (asked,) = self.ask(pair, b"a")
        self.assertEqual(self.successResultOf(asked), b"a!")

    def test_coroutine(self) -> None:
        """``respond`` may be a coroutine function, whether its coroutines wait or not."""
        waiting: list[Deferred[bytes]] = []

        async def respond(peer: Peer, payload: bytes) -> bytes:
            if payload == b"wait":
                waiting.append(Deferred())
                return await waiting[-1]
            return payload

        pair = make_pair(respond)
        first, second = self.ask(pair, b"wait", b"go")
        self.assertNoResult(second)
        waiting[0].callback(b"waited")
        pair.flush()
        self.assertEqual(self.successResultOf(first), b"waited")
        self.assertEqual(self.successResultOf(second), b"go")

    def test_peer(self) -> None:
        """``respond`` learns who asks: login, public key and address."""
        desk = Desk()
        clock = Clock()
        pair = Pair(
            SodiumServerFactory(SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), desk, clock=clock),
            make_client_factory(clock, RequestClient, pair=CLIENT_PAIR),
        )
        self.ask(pair, b"who am I?")
        ((peer, payload),) = desk.asked
        self.assertEqual(payload, b"who am I?")
        self.assertEqual(peer, Peer(LOGIN, CLIENT_PAIR.public, pair.server_transport.getPeer()))

    def test_concurrency(self) -> None:
        """No more tasks than allowed run at once; then nothing is read until an answer leaves."""
        desk = Desk()
        pair = make_pair(desk, concurrency=3)
        asked = self.ask(pair, *(b"%d" % number for number in range(8)))
        self.assertEqual(desk.payloads, [b"0", b"1", b"2"])
        self.assertFalse(pair.server_transport.reading)
        # An answer that must wait for an earlier one makes no room.
        desk.answering[1].callback(b"b")
        pair.flush()
        self.assertEqual(len(desk.asked), 3)
        self.assertFalse(pair.server_transport.reading)
        desk.answering[0].callback(b"a")
        pair.flush()
        self.assertEqual(desk.payloads, [b"0", b"1", b"2", b"3", b"4"])
        self.assertFalse(pair.server_transport.reading)
        for number in range(2, 8):
            desk.answering[number].callback(b"abcdefgh"[number : number + 1])
            pair.flush()
        self.assertTrue(pair.server_transport.reading)
        self.assertEqual(b"".join(self.successResultOf(d) for d in asked), b"abcdefgh")

    def test_concurrency_of_one(self) -> None:
        """With a concurrency of one, requests are worked on one after the other, at once or later."""
        desk = Desk()
        pair = make_pair(desk, concurrency=1)
        asked = self.ask(pair, b"0", b"1", b"2")
        for number in range(3):
            self.assertEqual(len(desk.asked), number + 1)
            desk.answering[number].callback(b"%d" % number)
            pair.flush()
        self.assertEqual([self.successResultOf(d) for d in asked], [b"0", b"1", b"2"])
        pair = make_pair(lambda peer, payload: payload, concurrency=1)
        asked = self.ask(pair, *[b"x"] * 50)
        self.assertEqual([self.successResultOf(d) for d in asked], [b"x"] * 50)

    def test_default_concurrency(self) -> None:
        """Unless told otherwise, 64 tasks run at once."""
        desk = Desk()
        pair = make_pair(desk)
        self.ask(pair, *[b""] * REQUEST_LIMIT)
        self.assertEqual(CONCURRENCY, 64)
        self.assertEqual(len(desk.asked), CONCURRENCY)

    def test_nobody_reads(self) -> None:
        """Answers to a client that does not read do not pile up: nothing more is worked on meanwhile."""
        asked: list[bytes] = []

        def respond(peer: Peer, payload: bytes) -> bytes:
            asked.append(payload)
            return bytes(LARGEST)

        pair = make_pair(respond)
        pair.flush()
        pair.client.pauseProducing()
        answers = self.ask(pair, *[b"x"] * 50)
        self.assertLess(len(asked), 10)
        pair.client.resumeProducing()
        pair.flush()
        self.assertEqual([self.successResultOf(d) for d in answers], [bytes(LARGEST)] * 50)

    def assert_dropped(self, pair: Pair, asked: Deferred[bytes], error: type[Exception], *told: str) -> None:
        """The error was logged once, with the login, and the connection is gone at both ends."""
        pair.flush()
        (logged,) = self.flushLoggedErrors()
        self.assertIsInstance(logged.value, error)
        for words in told:
            self.assertIn(words, str(logged.value))
        self.assertTrue(pair.server_transport.disconnected)
        self.assertTrue(pair.client_transport.disconnected)
        self.failureResultOf(asked, ConnectionLost)

    def test_raises(self) -> None:
        """When ``respond`` raises, that is logged, and the connection closed behind earlier answers."""

        def respond(peer: Peer, payload: bytes) -> bytes:
            if payload == b"bad":
                raise ZeroDivisionError("oops")
            return payload

        pair = make_pair(respond)
        good, bad, behind = self.ask(pair, b"good", b"bad", b"behind")
        self.assert_dropped(pair, bad, ZeroDivisionError, "oops")
        self.assertEqual(self.successResultOf(good), b"good")
        self.failureResultOf(behind, ConnectionLost)

    def test_fails(self) -> None:
        """When a task fails later, that is logged, earlier answers are delivered and later tasks cancelled."""
        desk = Desk()
        pair = make_pair(desk)
        good, bad, _ = asked = self.ask(pair, b"good", b"bad", b"behind")
        desk.answering[0].callback(b"fine")
        desk.answering[1].errback(ZeroDivisionError("oops"))
        self.assert_dropped(pair, bad, ZeroDivisionError, "oops")
        self.assertEqual(self.successResultOf(good), b"fine")
        self.failureResultOf(asked[2], ConnectionLost)
        self.assertEqual(desk.cancelled, [b"behind"])

    def test_fails_before_earlier(self) -> None:
        """When a task fails while an earlier one runs, the earlier one is cancelled with the connection."""
        desk = Desk()
        pair = make_pair(desk)
        first, second = self.ask(pair, b"first", b"second")
        desk.answering[1].errback(ZeroDivisionError())
        self.assert_dropped(pair, first, ZeroDivisionError)
        self.failureResultOf(second, ConnectionLost)
        self.assertEqual(desk.cancelled, [b"first"])

    def test_coroutine_raises(self) -> None:
        """A coroutine that raises closes the connection likewise."""

        async def respond(peer: Peer, payload: bytes) -> bytes:
            raise ZeroDivisionError("oops")

        pair = make_pair(respond)
        (asked,) = self.ask(pair, b"")
        self.assert_dropped(pair, asked, ZeroDivisionError, "oops")

    def test_second_failure(self) -> None:
        """One failure of a connection is logged, not those that follow from its end."""
        desk = Desk()
        pair = make_pair(desk)
        first, _ = asked = self.ask(pair, b"first", b"second")
        desk.answering[0].errback(ZeroDivisionError())
        desk.answering[1].errback(KeyError())
        self.assert_dropped(pair, first, ZeroDivisionError)
        self.failureResultOf(asked[1], ConnectionLost)

    def test_failure_after_the_end(self) -> None:
        """It is logged, since nobody else hears of it."""
        desk = Desk()
        pair = make_pair(desk)
        (asked,) = self.ask(pair, b"question")
        self.patch(desk.answering[0], "cancel", lambda: None)
        pair.client.abort()
        pair.flush()
        self.failureResultOf(asked, ConnectionAborted)
        desk.answering[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_answer_after_failure(self) -> None:
        """What is answered after the failure, before the connection is gone, is dropped."""
        desk = Desk()
        pair = make_pair(desk)
        first, second = self.ask(pair, b"first", b"second")
        desk.answering[1].errback(ZeroDivisionError())
        desk.answering[0].callback(b"late")
        self.assert_dropped(pair, first, ZeroDivisionError)
        self.failureResultOf(second, ConnectionLost)

    def test_wrong_type(self) -> None:
        """An answer that is not bytes is the application's error, which names the type it has."""
        for answer, told in (
            ("text", "str"),
            (None, "NoneType"),
            (bytearray(b"mutable"), "bytearray"),
            (succeed("text"), "str"),
            (succeed(None), "NoneType"),
        ):
            pair = make_pair(lambda peer, payload, answer=answer: answer if payload else b"")
            good, bad = self.ask(pair, b"", b"bad")
            self.assert_dropped(pair, bad, TypeError, told, "an answer is bytes")
            self.assertEqual(self.successResultOf(good), b"")

    def test_too_large(self) -> None:
        """An answer that does not fit one DATA is the application's error, at once or later."""
        pair = make_pair(lambda peer, payload: bytes(LARGEST + 1) if payload else b"")
        good, bad = self.ask(pair, b"", b"bad")
        self.assert_dropped(pair, bad, PayloadTooLarge, "131071", "131070")
        self.assertEqual(self.successResultOf(good), b"")
        desk = Desk()
        pair = make_pair(desk)
        good, bad = self.ask(pair, b"", b"bad")
        desk.answering[1].callback(bytes(LARGEST + 1))
        desk.answering[0].callback(b"")
        self.assert_dropped(pair, bad, PayloadTooLarge, "131071", "131070")
        self.assertEqual(self.successResultOf(good), b"")

    def test_connection_lost(self) -> None:
        """The tasks that still run when the connection goes are cancelled, silently, coroutines as well."""

        async def respond(peer: Peer, payload: bytes) -> bytes:
            return await desk(peer, payload)

        for is_coroutine in (False, True):
            desk = Desk()
            pair = make_pair(respond if is_coroutine else desk)
            asked = self.ask(pair, b"0", b"1", b"2")
            desk.answering[1].callback(b"never sent")
            pair.client.abort()
            pair.flush()
            self.assertEqual(desk.cancelled, [b"0", b"2"])
            self.assertEqual(self.flushLoggedErrors(), [])
            for deferred in asked:
                self.failureResultOf(deferred, ConnectionAborted)

    def test_connection_lost_while_full(self) -> None:
        """A task that does not mind being cancelled answers nobody, and harms nothing."""

        async def respond(peer: Peer, payload: bytes) -> bytes:
            try:
                await Deferred()
            except CancelledError:
                pass
            return b"too late"

        pair = make_pair(respond, concurrency=1)
        (asked,) = self.ask(pair, b"")
        pair.server.abort()
        pair.flush()
        self.failureResultOf(asked, ConnectionLost)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_wrong_arguments(self) -> None:
        """A concurrency below one is refused, and so are ``respond`` and ``protocol`` together."""
        checker = SingleLogin(LOGIN, PASSPHRASE)
        for concurrency in (0, -1):
            error = self.assertRaises(
                LocalProtocolError, SodiumServerFactory, SERVER_PAIR, checker, Desk(), concurrency=concurrency
            )
            self.assertIn(str(concurrency), str(error))
        error = self.assertRaises(LocalProtocolError, SodiumServerFactory, SERVER_PAIR, checker, Desk(), Responder)
        self.assertIn("respond and protocol", str(error))


class RequestClientTests(SynchronousTestCase):
    """The client's end, in memory."""

    def setUp(self) -> None:
        self.desk = Desk()

    def connected(self, limit: int = REQUEST_LIMIT) -> Pair:
        pair = make_pair(self.desk, limit)
        pair.flush()
        return pair

    def answer(self, pair: Pair, number: int) -> None:
        pair.flush()
        self.desk.answering[number].callback(b"answer %d" % number)
        pair.flush()

    def test_too_large(self) -> None:
        """A payload too large for one DATA is refused with what fits; the connection goes on."""
        pair = self.connected()
        failure = self.failureResultOf(pair.client.request(bytes(LARGEST + 1)), PayloadTooLarge)
        self.assertIn("131070", str(failure.value))
        asked = pair.client.request(bytes(LARGEST))
        self.answer(pair, 0)
        self.assertEqual(self.successResultOf(asked), b"answer 0")
        self.assertEqual(self.desk.payloads, [bytes(LARGEST)])

    def test_buffers(self) -> None:
        """A payload may be any buffer."""
        pair = self.connected()
        for payload in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
            pair.client.request(payload)
        pair.flush()
        self.assertEqual(self.desk.payloads, [b"abc"] * 3)

    def test_too_many(self) -> None:
        """Beyond the limit a request is refused and not sent; an answer makes room for one more."""
        pair = self.connected(2)
        first = pair.client.request(b"0")
        pair.client.request(b"1")
        failure = self.failureResultOf(pair.client.request(b"refused"), TooManyRequests)
        self.assertIn("2 requests", str(failure.value))
        self.assertIn("ready()", str(failure.value))
        self.answer(pair, 0)
        self.assertEqual(self.successResultOf(first), b"answer 0")
        self.assertNoResult(pair.client.request(b"2"))
        self.failureResultOf(pair.client.request(b"refused"), TooManyRequests)
        pair.flush()
        self.assertEqual(self.desk.payloads, [b"0", b"1", b"2"])

    def test_wrong_limit(self) -> None:
        """A limit below one is refused."""
        for limit in (0, -1):
            self.assertIn(str(limit), str(self.assertRaises(LocalProtocolError, RequestClient, limit)))

    def test_ready_at_once(self) -> None:
        """While fewer than the limit are unanswered, nobody waits."""
        pair = self.connected(2)
        self.successResultOf(pair.client.ready())
        pair.client.request(b"0")
        self.successResultOf(pair.client.ready())
        pair.client.request(b"1")
        waiting = pair.client.ready()
        self.assertNoResult(waiting)
        self.answer(pair, 0)
        self.assertIsNone(self.successResultOf(waiting))

    def test_ready_in_order(self) -> None:
        """Those who wait are woken one by one, in their order, each with room for its request."""
        pair = self.connected(1)
        woken: list[int] = []
        asked = [pair.client.request(b"first")]

        def ask(_: None, number: int) -> None:
            woken.append(number)
            asked.append(pair.client.request(b"%d" % number))

        for number in range(3):
            pair.client.ready().addCallback(ask, number)
        for number in range(4):
            self.assertEqual(woken, list(range(number)))
            self.answer(pair, number)
        self.assertEqual([self.successResultOf(d) for d in asked], [b"answer %d" % n for n in range(4)])
        self.assertEqual(self.desk.payloads, [b"first", b"0", b"1", b"2"])

    def test_ready_cancelled(self) -> None:
        """A wait that was cancelled is not woken; the one behind it is."""
        pair = self.connected(1)
        pair.client.request(b"")
        first, second = pair.client.ready(), pair.client.ready()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.answer(pair, 0)
        self.successResultOf(second)

    def test_ready_connection_lost(self) -> None:
        """Those who wait when the connection goes learn its reason, and so do those who come later."""
        pair = self.connected(1)
        asked = pair.client.request(b"")
        waiting = [pair.client.ready(), pair.client.ready()]
        error = LocalProtocolError("I changed my mind")
        pair.client.abort(error)
        pair.flush()
        for deferred in (asked, *waiting, pair.client.ready()):
            self.assertIs(self.failureResultOf(deferred).value, error)

    def test_cancelled(self) -> None:
        """The answer of a cancelled request is dropped; others get theirs. Until then it counts."""
        pair = self.connected(3)
        first, second, third = (pair.client.request(b"%d" % number) for number in range(3))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.failureResultOf(pair.client.request(b"refused"), TooManyRequests)
        self.answer(pair, 0)
        self.answer(pair, 1)
        self.assertNoResult(third)
        self.answer(pair, 2)
        self.assertEqual(self.successResultOf(first), b"answer 0")
        self.assertEqual(self.successResultOf(third), b"answer 2")
        self.assertFalse(pair.client_transport.disconnected)

    def test_cancelled_connection_lost(self) -> None:
        """A cancelled request is not failed once more when the connection goes."""
        pair = self.connected()
        first, second = pair.client.request(b"0"), pair.client.request(b"1")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        pair.client.abort()
        pair.flush()
        self.failureResultOf(second, ConnectionAborted)

    def test_request_from_callback(self) -> None:
        """What gets an answer may ask again at once, though the limit was reached."""
        pair = self.connected(1)
        again = pair.client.request(b"0").addCallback(lambda answer: pair.client.request(b"after " + answer))
        self.answer(pair, 0)
        self.answer(pair, 1)
        self.assertEqual(self.successResultOf(again), b"answer 1")
        self.assertEqual(self.desk.payloads, [b"0", b"after answer 0"])

    def test_connection_lost(self) -> None:
        """All that is unanswered fails with the reason, whichever end drops the connection."""
        for end, reason in (("client", ConnectionAborted), ("server", ConnectionLost)):
            pair = self.connected()
            asked = [pair.client.request(b"%d" % number) for number in range(5)]
            pair.flush()
            getattr(pair, end).abort()
            pair.flush()
            for deferred in asked:
                self.failureResultOf(deferred, reason)

    def test_server_closes(self) -> None:
        """When the server closes in order, answers that it sent come first; the rest fails."""
        pair = self.connected()
        first, second = pair.client.request(b"0"), pair.client.request(b"1")
        pair.flush()
        self.desk.answering[0].callback(b"answer")
        pair.server.close()
        pair.flush()
        self.assertEqual(self.successResultOf(first), b"answer")
        reason = self.failureResultOf(second, ConnectionLost)
        self.assertIn("the server closed, requests unanswered: 1; see its log", reason.getErrorMessage())

    def test_close(self) -> None:
        """What was asked is delivered first, but not waited for; the Deferred fires at the end."""
        pair = self.connected()
        asked = [pair.client.request(b"%d" % number) for number in range(3)]
        closed, again = pair.client.close(), pair.client.close()
        self.assertNoResult(closed)
        self.assertNoResult(asked[0])
        pair.flush()
        self.assertEqual(self.desk.payloads, [b"0", b"1", b"2"])
        self.assertIsNone(self.successResultOf(closed))
        self.assertIsNone(self.successResultOf(again))
        for deferred in asked:
            self.failureResultOf(deferred, ConnectionDone)
        self.assertIsNone(self.successResultOf(pair.client.close()))

    def test_close_aborted(self) -> None:
        """``close()`` is content with an abrupt end, too."""
        pair = self.connected()
        closed = pair.client.close()
        pair.client.abort()
        pair.flush()
        self.assertIsNone(self.successResultOf(closed))

    def test_request_after_close(self) -> None:
        """After ``close()`` nothing can be asked, neither before nor after the end."""
        pair = self.connected()
        closed = pair.client.close()
        self.failureResultOf(pair.client.request(b""), LocalProtocolError)
        pair.flush()
        self.successResultOf(closed)
        self.failureResultOf(pair.client.request(b""), LocalProtocolError)
        self.assertEqual(self.desk.payloads, [])

    def test_unexpected_answer(self) -> None:
        """A DATA that nobody asked for is against the protocol and ends the connection."""
        clock = Clock()
        ends: list[Failure] = []

        class Client(RequestClient):
            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                ends.append(reason)

        pair = Pair(make_server_factory(clock, EchoServer), make_client_factory(clock, Client))
        asked = pair.client.request(b"a")
        pair.flush()
        self.assertEqual(self.successResultOf(asked), b"a")
        pair.server.send_data(b"b")
        pair.flush()
        (reason,) = ends
        reason.trap(UnexpectedPDU)
        self.failureResultOf(pair.client.ready(), UnexpectedPDU)
        self.assertTrue(pair.server_transport.disconnected)


class EarlyTests(SynchronousTestCase):
    """Requests that do not wait for the server's hello, and round trips counted."""

    def test_early(self) -> None:
        """A request made at once travels with the login; its answer is there after one round trip."""
        pair = make_pair(lambda peer, payload: payload.upper())
        asked = pair.client.request(b"hello")
        first = SEALED_CLIENT_AUTH_SIZE + len(b"hello") + PDU_OVERHEAD
        self.assertEqual(len(pair.client_transport.out), first)
        pair.round_trip()
        self.assertEqual(pair.server_transport.received, first)
        self.assertEqual(self.successResultOf(asked), b"HELLO")

    def test_not_early(self) -> None:
        """A request made when the server has let us in needs a second round trip."""
        pair = make_pair(lambda peer, payload: payload.upper())
        asked: list[Deferred[bytes]] = []
        pair.client.when_authenticated().addCallback(lambda _: asked.append(pair.client.request(b"hello")))
        self.assertEqual(len(pair.client_transport.out), SEALED_CLIENT_AUTH_SIZE)
        pair.round_trip()
        self.assertNoResult(asked[0])
        pair.round_trip()
        self.assertEqual(self.successResultOf(asked[0]), b"HELLO")

    def test_many(self) -> None:
        """As many requests as the limit may be early."""
        pair = make_pair(lambda peer, payload: payload)
        asked = [pair.client.request(b"%d" % number) for number in range(REQUEST_LIMIT)]
        pair.round_trip()
        self.assertEqual([self.successResultOf(d) for d in asked], [b"%d" % n for n in range(REQUEST_LIMIT)])

    def test_close_at_once(self) -> None:
        """Early requests are delivered, though the login takes time and nobody waits for answers."""
        clock, desk, checker = Clock(), Desk(), Undecided()
        pair = Pair(
            SodiumServerFactory(SERVER_PAIR, checker, desk, clock=clock), make_client_factory(clock, RequestClient)
        )
        for number in range(50):
            pair.client.request(b"%d" % number).addErrback(lambda reason: None)
        closed = pair.client.close()
        self.failureResultOf(pair.client.request(b"late"), LocalProtocolError)
        pair.flush()
        self.assertNoResult(closed)
        checker.deciding.callback(b"")
        pair.flush()
        self.assertEqual(desk.payloads, [b"%d" % number for number in range(50)])
        self.assertIsNone(self.successResultOf(closed))

    def test_refused(self) -> None:
        """When the login is refused, the early request fails with that, and was not worked on."""
        clock, desk = Clock(), Desk()
        server_factory = SodiumServerFactory(SERVER_PAIR, SingleLogin(LOGIN, "other"), desk, clock=clock)
        pair = Pair(server_factory, make_client_factory(clock, RequestClient))
        asked = pair.client.request(b"hello")
        pair.flush()
        self.failureResultOf(asked, AuthenticationFailed)
        self.assertEqual(desk.asked, [])


class Undecided:
    """A checker that never decides, and says when it was asked."""

    credentialInterfaces = SingleLogin.credentialInterfaces

    def __init__(self) -> None:
        self.asked: Deferred[None] = Deferred()
        self.deciding: Deferred[bytes] = Deferred()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        self.asked.callback(None)
        return self.deciding


class ConnectTests(TestCase):
    """:func:`sodiumtwist.connect` over loopback sockets."""

    timeout = 10

    async def listen(self, respond: Any, checker: Any = None) -> str:
        """
        Listen until the test is over.

        :return: the endpoint string to connect to. ``self.gone`` fires when the first connection has gone.
        """
        gone: Deferred[None] = Deferred()
        self.gone = gone

        class Watched(Responder):
            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                gone.callback(None)

        checker = checker or SingleLogin(LOGIN, PASSPHRASE)
        factory = SodiumServerFactory(SERVER_PAIR, checker, respond)
        factory.protocol = Watched
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return f"tcp:127.0.0.1:{port.getHost().port}"

    async def test_connect(self) -> None:
        """A client connects, asks, pings and closes; the server learns who it is."""
        peers: list[Peer] = []

        async def respond(peer: Peer, payload: bytes) -> bytes:
            peers.append(peer)
            return payload.upper()

        where = await self.listen(respond)
        client = await connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE, pair=CLIENT_PAIR)
        self.assertTrue(client.is_authenticated)
        self.assertEqual(client.message, "Welcome.")
        asked = [client.request(b"abc"), client.request(bytes(LARGEST))]
        self.assertEqual(await asked[0], b"ABC")
        self.assertEqual(await asked[1], bytes(LARGEST))
        self.assertGreaterEqual(await client.ping(), 0)
        self.assertEqual(peers, [Peer(LOGIN, CLIENT_PAIR.public, client.transport.getHost())] * 2)
        await client.close()
        await self.gone

    async def test_limit(self) -> None:
        """The limit that was given holds."""
        where = await self.listen(Desk())
        client = await connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE, limit=1)
        asked = client.request(b"")
        await self.assertFailure(client.request(b""), TooManyRequests)
        client.abort()
        await self.assertFailure(asked, ConnectionAborted)
        await self.gone

    async def test_early(self) -> None:
        """With ``early`` the client is there before the server has answered, and may ask at once."""
        where = await self.listen(lambda peer, payload: payload)
        client = await connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE, early=True)
        self.assertFalse(client.is_authenticated)
        self.assertEqual(await client.request(b"early"), b"early")
        self.assertTrue(client.is_authenticated)
        await client.close()
        await self.gone

    def connect_in_memory(self, respond: Any, early: bool) -> tuple[Pair, Deferred[bytes], int]:
        """
        Connect with :func:`connect` and ask at once when it is there.

        :return: the pair, the answer, and how many bytes the client had written before anything moved.
        """
        clock = Clock()
        server_factory = SodiumServerFactory(SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), respond, clock=clock)
        pairs: list[Pair] = []

        @implementer(IStreamClientEndpoint)
        class Memory:
            def connect(self, factory: Any) -> Deferred[Any]:
                pairs.append(Pair(server_factory, factory))
                return succeed(pairs[0].client)

        connecting = connect(clock, Memory(), SERVER_PAIR.public, LOGIN, PASSPHRASE, early=early)
        asked: Deferred[bytes] = connecting.addCallback(lambda client: client.request(b"hello"))
        return pairs[0], asked, len(pairs[0].client_transport.out)

    def test_round_trips(self) -> None:
        """One to the first answer with ``early``, in the segment of the login; two without. Counted."""
        pdu = len(b"hello") + PDU_OVERHEAD
        for early, written, trips in ((True, SEALED_CLIENT_AUTH_SIZE + pdu, 1), (False, SEALED_CLIENT_AUTH_SIZE, 2)):
            pair, asked, size = self.connect_in_memory(lambda peer, payload: payload.upper(), early)
            self.assertEqual(size, written)
            for _ in range(trips):
                self.assertNoResult(asked)
                pair.round_trip()
            self.assertEqual(self.successResultOf(asked), b"HELLO")

    async def test_wrong_passphrase(self) -> None:
        """A refused login fails the connecting."""
        where = await self.listen(Desk())
        await self.assertFailure(connect(reactor, where, SERVER_PAIR.public, LOGIN, "wrong"), AuthenticationFailed)
        await self.gone

    async def test_early_refused(self) -> None:
        """With ``early`` a refused login fails the request, which nobody works on."""
        desk = Desk()
        where = await self.listen(desk)
        client = await connect(reactor, where, SERVER_PAIR.public, LOGIN, "wrong", early=True)
        await self.assertFailure(client.request(b"early"), AuthenticationFailed)
        await self.gone
        self.assertEqual(desk.asked, [])

    async def test_cancel(self) -> None:
        """Cancelling drops the connection that waits for the server's hello."""
        checker = Undecided()
        where = await self.listen(Desk(), checker)
        connecting = connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE)
        await checker.asked
        self.assertNoResult(connecting)
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await self.gone

    def test_wrong_arguments(self) -> None:
        """What is wrong with the arguments fails the Deferred, before anything is connected."""
        where = "tcp:127.0.0.1:1"
        for endpoint in ("", "nonsense:127.0.0.1:1", "tcp:127.0.0.1:http-ish"):
            self.failureResultOf(connect(reactor, endpoint, SERVER_PAIR.public, LOGIN, PASSPHRASE), ValueError)
        self.failureResultOf(connect(reactor, where, b"short", LOGIN, PASSPHRASE), InvalidKey)
        self.failureResultOf(connect(reactor, where, SERVER_PAIR.public, "l" * 129, PASSPHRASE), LocalProtocolError)
        self.failureResultOf(
            connect(reactor, where, SERVER_PAIR.public, LOGIN, PASSPHRASE, limit=0), LocalProtocolError
        )
