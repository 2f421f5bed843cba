"""
The client's end of requests, in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    AuthenticationFailed,
    ClosedByPeer,
    ClosedHere,
    ConnectionCut,
    LocalProtocolError,
    PayloadTooLarge,
    RequestClient,
    SingleLogin,
    SodiumServerFactory,
    TooManyRequests,
    UnexpectedPDU,
)
from sodiumtwist.core.v1.messages import PDU_OVERHEAD, SEALED_CLIENT_AUTH_SIZE
from sodiumtwist.protocol.base import SodiumProtocol
from sodiumtwist.protocol.requests import REQUEST_LIMIT

from ..checkers import Undecided
from ..desk import LARGEST, Desk, RequestPair, make_pair
from ..pair import LOGIN, SERVER_PAIR, EchoServer, Pair, make_client_factory, make_server_factory
from ..versions import each_version, only, spoken


@each_version
class RequestClientTests(SynchronousTestCase):
    """The client's end, in memory."""

    def setUp(self) -> None:
        self.desk = Desk()

    def connected(self, limit: int = REQUEST_LIMIT) -> RequestPair:
        pair = make_pair(self.desk, limit)
        pair.flush()
        return pair

    def answer(self, pair: RequestPair, number: int) -> None:
        pair.flush()
        self.desk.answering[number].callback(b"answer %d" % number)
        pair.flush()

    @only(1)
    def test_too_large(self) -> None:
        """A payload too large for one DATA is refused with what fits; the connection goes on."""
        pair = self.connected()
        failure = self.failureResultOf(pair.client.request(bytes(LARGEST + 1)), PayloadTooLarge)
        self.assertIn("131070", str(failure.value))
        asked = pair.client.request(bytes(LARGEST))
        self.answer(pair, 0)
        self.assertEqual(self.successResultOf(asked), b"answer 0")
        self.assertEqual(self.desk.payloads, [bytes(LARGEST)])

    def test_closed_before_it_is_connected(self) -> None:
        """That is said, and the connection can be used when it is there."""
        client = RequestClient()
        reason = self.failureResultOf(client.close(), LocalProtocolError)
        self.assertIn("there is no connection yet", str(reason.value))
        self.assertIsNone(client._closing)

    def test_no_bytes(self) -> None:
        """A request that is no bytes is the caller's error, and not counted."""
        pair = self.connected()
        wrong: Any = "text"
        error = self.assertRaises(TypeError, pair.client.request, wrong)
        self.assertIn("encode it: text.encode()", str(error))
        asked = pair.client.request(b"x")
        self.answer(pair, 0)
        self.assertEqual(self.successResultOf(asked), b"answer 0")

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
        error = ZeroDivisionError("I changed my mind")
        pair.client.abort(error)
        pair.flush()
        for deferred in (asked, *waiting, pair.client.ready()):
            self.assertIs(self.failureResultOf(deferred, ClosedHere).value.__cause__, error)

    @only(1)
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
        self.assertIsInstance(self.failureResultOf(second, ClosedHere).value.__cause__, ConnectionAborted)

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
        for end, reason in (("client", ClosedHere), ("server", ConnectionCut)):
            pair = self.connected()
            asked = [pair.client.request(b"%d" % number) for number in range(5)]
            pair.flush()
            getattr(pair, end).abort()
            pair.flush()
            for deferred in asked:
                error = self.failureResultOf(deferred, reason).value
                self.assertFalse(error.safe_to_repeat)
                self.assertTrue(error.retry_can_help)

    @only(1)
    def test_server_closes(self) -> None:
        """When the server closes in order without an answer, its log is named."""
        pair = self.connected()
        first, second = pair.client.request(b"0"), pair.client.request(b"1")
        pair.flush()
        self.desk.answering[0].callback(b"answer")
        SodiumProtocol.close(pair.server)
        pair.flush()
        self.assertEqual(self.successResultOf(first), b"answer")
        error = self.failureResultOf(second, ClosedByPeer).value
        self.assertIn("closed the connection, requests unanswered: 1; see its log", str(error))
        self.assertFalse(error.safe_to_repeat)

    def test_close(self) -> None:
        """What was asked is answered first; the Deferred fires at the end."""
        pair = self.connected()
        asked = [pair.client.request(b"%d" % number) for number in range(3)]
        closed, again = pair.client.close(), pair.client.close()
        for number in range(3):
            self.assertNoResult(closed)
            self.assertNoResult(asked[number])
            self.answer(pair, number)
            self.assertEqual(self.successResultOf(asked[number]), b"answer %d" % number)
        self.assertIsNone(self.successResultOf(closed))
        self.assertIsNone(self.successResultOf(again))
        self.assertTrue(pair.client_transport.disconnected and pair.server_transport.disconnected)
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
        for _ in range(2):
            for deferred in (pair.client.request(b""), pair.client.ready()):
                error = self.failureResultOf(deferred, ClosedHere).value
                self.assertTrue(error.safe_to_repeat)
            pair.flush()
            self.successResultOf(closed)
        self.assertEqual(self.desk.payloads, [])

    @only(1)
    def test_unexpected_answer(self) -> None:
        """A DATA that nobody asked for is against the protocol and ends the connection."""
        clock = Clock()
        ends: list[Failure] = []

        class Client(RequestClient):
            def connection_lost(self, reason: Failure) -> None:
                super().connection_lost(reason)
                ends.append(reason)

        pair: Pair[EchoServer, Client] = Pair(
            make_server_factory(clock, EchoServer), make_client_factory(clock, Client)
        )
        asked = pair.client.request(b"a")
        pair.flush()
        self.assertEqual(self.successResultOf(asked), b"a")
        pair.server.send_data(b"b")
        pair.flush()
        (reason,) = ends
        reason.trap(UnexpectedPDU)
        self.failureResultOf(pair.client.ready(), UnexpectedPDU)
        self.assertTrue(pair.server_transport.disconnected)


@each_version
class EarlyTests(SynchronousTestCase):
    """Requests that do not wait for the server's hello, and round trips counted."""

    @only(1)
    def test_early(self) -> None:
        """A request made at once travels with the login; its answer is there after one round trip."""
        pair = make_pair(lambda peer, payload: payload.upper())
        asked = pair.client.request(b"hello")
        first = SEALED_CLIENT_AUTH_SIZE + len(b"hello") + PDU_OVERHEAD
        self.assertEqual(len(pair.client_transport.out), first)
        pair.round_trip()
        self.assertEqual(pair.server_transport.received, first)
        self.assertEqual(self.successResultOf(asked), b"HELLO")

    @only(1)
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
        for _ in range(spoken()):
            pair.round_trip()
        self.assertEqual([self.successResultOf(d) for d in asked], [b"%d" % n for n in range(REQUEST_LIMIT)])

    def test_close_at_once(self) -> None:
        """Early requests are answered, though the login takes time."""
        clock, desk, checker = Clock(), Desk(), Undecided()
        pair: RequestPair = Pair(
            SodiumServerFactory(SERVER_PAIR, checker, desk, clock=clock), make_client_factory(clock, RequestClient)
        )
        asked = [pair.client.request(b"%d" % number) for number in range(50)]
        closed = pair.client.close()
        self.failureResultOf(pair.client.request(b"late"), ClosedHere)
        pair.flush()
        self.assertNoResult(closed)
        checker.deciding.callback(b"")
        pair.flush()
        self.assertEqual(desk.payloads, [b"%d" % number for number in range(50)])
        self.assertNoResult(closed)
        for answering in desk.answering:
            answering.callback(b"answer")
        pair.flush()
        self.assertEqual([self.successResultOf(each) for each in asked], [b"answer"] * 50)
        self.assertIsNone(self.successResultOf(closed))

    def test_refused(self) -> None:
        """When the login is refused, the early request fails with that, and was not worked on."""
        clock, desk = Clock(), Desk()
        server_factory = SodiumServerFactory(SERVER_PAIR, SingleLogin(LOGIN, "other"), desk, clock=clock)
        pair: RequestPair = Pair(server_factory, make_client_factory(clock, RequestClient))
        asked = pair.client.request(b"hello")
        pair.flush()
        error = self.failureResultOf(asked, AuthenticationFailed).value
        self.assertTrue(error.safe_to_repeat)
        self.assertFalse(error.retry_can_help)
        self.assertIsInstance(self.successResultOf(pair.client.when_lost()), AuthenticationFailed)
        self.assertEqual(desk.asked, [])
