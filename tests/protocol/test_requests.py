"""
Requests and answers of both ends, in memory: what version 2 gives, how they fail, and how they end.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    ClosedByPeer,
    ClosedHere,
    ClosingTimeout,
    ConnectionCut,
    Limits,
    LocalProtocolError,
    NotDone,
    PayloadTooLarge,
    Peer,
    PeerAborted,
    RequestClient,
    RequestError,
    RequestFailed,
    RequestTimeout,
    ServerUnavailable,
    TooManyRequests,
    UnexpectedPDU,
    WindowExceeded,
)
from sodiumtwist.core.connection import Bounds, Code
from sodiumtwist.protocol.base import SodiumProtocol
from sodiumtwist.protocol.requests import Respond, Responder

from ..checkers import Undecided
from ..desk import Desk, RequestPair, clock_of, make_pair
from ..pair import Pair, make_client_factory, make_server_factory
from ..versions import each_version, only, spoken

MIB = 2**20


class RequestsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.desk = Desk()

    def connected(self, respond: Respond | None = None, **arguments: object) -> RequestPair:
        pair = make_pair(respond or self.desk, **arguments)  # type: ignore[arg-type]
        pair.flush()
        return pair

    def ask(self, pair: RequestPair, *payloads: bytes) -> list[Deferred[bytes]]:
        asked = [pair.client.request(payload) for payload in payloads]
        pair.flush()
        return asked

    def assert_failed(
        self, asked: Deferred[bytes] | Deferred[None], kind: type[NotDone], safe: bool, retry: bool | None = None
    ) -> NotDone:
        error = self.failureResultOf(asked, kind).value
        self.assertIs(type(error), kind)
        self.assertIs(error.safe_to_repeat, safe)
        if retry is not None:
            self.assertIs(error.retry_can_help, retry)
        return cast(NotDone, error)

    def assert_lives(self, pair: RequestPair) -> None:
        count = len(self.desk.answering)
        (asked,) = self.ask(pair, b"still there?")
        self.desk.answering[count].callback(b"yes")
        pair.flush()
        self.assertEqual(self.successResultOf(asked), b"yes")


@only(2)
class AnyOrderTests(RequestsTestCase):
    """Answers in any order, of any size, from either end."""

    def test_order(self) -> None:
        """Each answer leaves as it gets ready."""
        pair = self.connected()
        asked = self.ask(pair, *(b"%d" % number for number in range(40)))
        for number in reversed(range(40)):
            self.desk.answering[number].callback(b"answer %d" % number)
            pair.flush()
            self.assertEqual(self.successResultOf(asked[number]), b"answer %d" % number)

    def test_sizes(self) -> None:
        """Requests and answers have up to 16 MiB, or what the bounds say."""
        pair = self.connected(lambda peer, payload: payload, bounds=Bounds(message=3 * MIB))
        payloads = [b"", b"x", bytes(65536), bytes(65537), bytes(3 * MIB)]
        self.assertEqual([self.successResultOf(each) for each in self.ask(pair, *payloads)], payloads)
        error = self.failureResultOf(pair.client.request(bytes(3 * MIB + 1)), PayloadTooLarge).value
        self.assertIn("at most 3145728", str(error))
        self.assertEqual(Bounds().message, 16 * MIB)

    def test_too_large_for_them(self) -> None:
        """What is more than the other end takes fails alone, by its bounds and not by ours."""
        clock = Clock()
        server = make_server_factory(clock, None, respond=self.desk, bounds=Bounds(message=MIB))
        pair: RequestPair = Pair(server, make_client_factory(clock, RequestClient))
        pair.flush()
        (asked,) = self.ask(pair, bytes(2 * MIB))
        error = self.assert_failed(asked, RequestFailed, safe=True, retry=False)
        self.assertEqual(error.code, Code.TOO_LARGE)
        self.assertEqual(self.desk.asked, [])
        self.assert_lives(pair)

    def test_answer_too_large_for_us(self) -> None:
        """An answer beyond our bounds is dropped as it comes; its request fails."""
        clock = Clock()
        server = make_server_factory(clock, None, respond=lambda peer, payload: bytes(2 * MIB) if payload else b"")
        client = make_client_factory(clock, RequestClient, bounds=Bounds(message=MIB))
        pair: RequestPair = Pair(server, client)
        pair.flush()
        large, small = self.ask(pair, b"large", b"")
        # The server has acted on it.
        self.assertEqual(self.assert_failed(large, RequestFailed, safe=False).code, Code.TOO_LARGE)
        self.assertEqual(self.successResultOf(small), b"")

    def test_small_ones_pass(self) -> None:
        """Behind what the transport has, one record leaves at most before a small answer and a PONG."""
        pair = self.connected(lambda peer, payload: bytes(4 * MIB) if payload == b"large" else payload)
        large = [pair.client.request(b"large") for _ in range(3)]
        pair.step()
        self.assertGreater(pair.server._connection.unsent.size, 8 * MIB)
        small, ping = pair.client.request(bytes(100)), pair.client.ping()
        before = pair.client_transport.received + len(pair.server_transport.out)
        while not (small.called and ping.called):
            pair.step()
        self.assertLess(pair.client_transport.received - before, 3 * 131072)
        self.assertNoResult(large[0])
        pair.flush()
        self.assertEqual([len(self.successResultOf(each)) for each in large], [4 * MIB] * 3)

    def test_small_requests_pass(self) -> None:
        """So do requests of ours behind large ones of ours."""
        pair = self.connected(lambda peer, payload: b"%d" % len(payload))
        large = [pair.client.request(bytes(4 * MIB)) for _ in range(3)]
        before = pair.server_transport.received + len(pair.client_transport.out)
        small = pair.client.request(bytes(100))
        while not small.called:
            pair.step()
        self.assertLess(pair.server_transport.received - before, 3 * 131072)
        self.assertNoResult(large[0])
        pair.flush()
        self.assertEqual([self.successResultOf(each) for each in large], [b"4194304"] * 3)

    def test_small_ones_pass_both_ways(self) -> None:
        """So do small ones and PINGs of both ends, while 64 MiB leave in either direction."""
        size = 64 * MIB
        bounds = Bounds(message=size, connection=2 * size)
        large = bytes(size)

        def respond(peer: Peer, payload: bytes) -> bytes:
            return large if payload == b"large" else payload

        pair = self.connected(respond, back=respond, bounds=bounds)
        ends, transports = (pair.client, pair.server), (pair.client_transport, pair.server_transport)
        answers = [end.request(b"large") for end in ends]
        while not all(end._connection.unsent.size > size // 2 for end in ends):
            pair.step()
        small = [asked for end in ends for asked in (end.request(bytes(100)), end.ping())]
        before = [to.received + len(other.out) for to, other in zip(transports, transports[::-1], strict=True)]
        while not all(asked.called for asked in small):
            pair.step()
        for transport, earlier in zip(transports, before, strict=True):
            # A record or two are ahead of what asks, and as many of what answers.
            self.assertLessEqual(transport.received - earlier, 4 * 131072)
        for asked in answers:
            self.assertNoResult(asked)
            asked.addErrback(lambda reason: None)

    def test_server_asks(self) -> None:
        """A responder may ask who asks it, and so may the server later, as long as the connection lives."""
        back = Desk()

        async def respond(peer: Peer, payload: bytes) -> bytes:
            return b"you say " + await peer.request(payload)

        pair = self.connected(respond, back=back)
        asked, behind = self.ask(pair, b"who?", b"what?")
        self.assertEqual(back.payloads, [b"who?", b"what?"])
        self.assertEqual(back.asked[0][0], pair.client.peer)
        back.answering[1].callback(b"that")
        back.answering[0].callback(b"me")
        pair.flush()
        self.assertEqual([self.successResultOf(asked), self.successResultOf(behind)], [b"you say me", b"you say that"])
        later = pair.server.peer.request(b"later", timeout=3)
        pair.flush()
        clock_of(pair).advance(3)
        self.assert_failed(later, RequestTimeout, safe=False)
        pair.flush()
        self.assertEqual(back.cancelled, [b"later"])
        peer = pair.server.peer
        pair.client.abort()
        pair.flush()
        self.assert_failed(peer.request(b"too late"), ConnectionCut, safe=True)

    def test_peer_holds_nothing(self) -> None:
        """Who keeps a peer does not keep its connection, and is told that it is over."""
        gc.disable()
        self.addCleanup(gc.enable)
        peers: list[Peer] = []

        def respond(peer: Peer, payload: bytes) -> bytes:
            peers.append(peer)
            return payload

        pair = self.connected(respond, back=lambda peer, payload: payload)
        self.ask(pair, b"x")
        end = weakref.ref(pair.server)
        pair.client.close()
        pair.flush()
        for transport in (pair.client_transport, pair.server_transport):
            del transport.protocol
        del pair
        self.assertIsNone(end())
        self.assert_failed(peers[0].request(b"x"), ClosedByPeer, safe=True)
        peer = peers[0]
        self.assertEqual(peer, Peer(peer.login, peer.public_key, peer.address, version=2))
        self.assertNotIn("end", repr(peer))

    def test_client_that_answers_nothing(self) -> None:
        pair = self.connected()
        asked = pair.server.peer.request(b"x")
        pair.flush()
        self.assertEqual(self.assert_failed(asked, RequestFailed, safe=True).code, Code.NOT_SUPPORTED)
        self.assert_lives(pair)

    def test_data(self) -> None:
        """A DATA, which is no request in version 2, breaks the protocol; a subclass may take it."""
        pair = self.connected()
        pair.client.send_data(b"x")
        pair.flush()
        error = self.successResultOf(pair.client.when_lost())
        assert isinstance(error, PeerAborted)
        self.assertEqual(error.code, Code.PROTOCOL_BROKEN)
        self.assertIsInstance(self.successResultOf(pair.server.when_lost()), UnexpectedPDU)


@each_version
class FailureTests(RequestsTestCase):
    """Requests that fail alone."""

    @only(2)
    def test_request_error(self) -> None:
        """Its code and text are what the asker gets, at once or later; nothing is logged."""

        def respond(peer: Peer, payload: bytes) -> Deferred[bytes]:
            if payload == b"later":
                return self.desk(peer, payload)
            raise RequestError(0x80000007, "no such file")

        pair = self.connected(respond)
        at_once, later = self.ask(pair, b"at once", b"later")
        self.desk.answering[0].errback(RequestError(Code.STORAGE, "disk full"))
        pair.flush()
        for asked, code, text in ((at_once, 0x80000007, "no such file"), (later, Code.STORAGE, "disk full")):
            error = self.assert_failed(asked, RequestFailed, safe=False, retry=False)
            self.assertEqual((error.code, str(error)), (code, text))
        self.assertEqual(self.flushLoggedErrors(), [])

    @only(2)
    def test_application_failed(self) -> None:
        """Anything else is logged, and the asker told no more than that; the connection lives on."""

        def respond(peer: Peer, payload: bytes) -> bytes:
            raise ZeroDivisionError("secrets of the application")

        async def later(peer: Peer, payload: bytes) -> bytes:
            raise ZeroDivisionError("secrets of the application")

        answers: list[tuple[Respond, type[Exception]]] = [
            (respond, ZeroDivisionError),
            (later, ZeroDivisionError),
            (lambda peer, payload: cast(bytes, "text"), TypeError),
            (lambda peer, payload: succeed(cast(bytes, None)), TypeError),
            (lambda peer, payload: bytes(1001), PayloadTooLarge),
            (lambda peer, payload: succeed(bytes(1001)), PayloadTooLarge),
            (self.raising(RequestError(2**32, "no code")), LocalProtocolError),
            (self.raising(RequestError(1, "x" * 1025)), LocalProtocolError),
        ]
        for answer, kind in answers:
            pair = self.connected(answer, bounds=Bounds(message=1000))
            for asked in self.ask(pair, b"x", b"y"):
                error = self.assert_failed(asked, RequestFailed, safe=False)
                self.assertEqual((error.code, str(error)), (Code.APPLICATION_FAILED, "the application failed"))
            self.assertEqual(len(self.flushLoggedErrors(kind)), 2)
            self.assertFalse(pair.server_transport.disconnected)

    @staticmethod
    def raising(error: Exception) -> Respond:
        def respond(peer: Peer, payload: bytes) -> bytes:
            raise error

        return respond

    @only(2)
    def test_client_failed(self) -> None:
        """So it is where the client answers. What a server can have it log is bounded."""
        pair = self.connected(back=self.raising(ZeroDivisionError()))
        for _ in range(30):
            asked = pair.server.peer.request(b"x")
            pair.flush()
            self.assertEqual(self.assert_failed(asked, RequestFailed, safe=False).code, Code.APPLICATION_FAILED)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), Limits.stranger_lines)

    @only(1)
    def test_version_1(self) -> None:
        """Nothing there can tell that one request failed: the connection is closed."""
        pair = self.connected(self.raising(RequestError(9, "disk full")))
        (asked,) = self.ask(pair, b"x")
        self.assert_failed(asked, ClosedByPeer, safe=False, retry=True)
        self.assertEqual(len(self.flushLoggedErrors(RequestError)), 1)

    @only(1)
    def test_nobody_asks_clients(self) -> None:
        pair = self.connected()
        for asked in (pair.server.peer.request(b"x"), pair.server.request(b"x"), pair.server.ready()):
            self.failureResultOf(asked, LocalProtocolError)
        self.assert_lives(pair)


@each_version
class TimeTests(RequestsTestCase):
    """Requests that take too long, or are not wanted any more."""

    def test_timeout(self) -> None:
        """The asker is told in time, and the connection lives on; the request counts until its answer comes."""
        pair = self.connected(limit=1)
        asked = pair.client.request(b"slow", timeout=5)
        pair.flush()
        clock_of(pair).advance(4.9)
        self.assertNoResult(asked)
        clock_of(pair).advance(0.2)
        self.assert_failed(asked, RequestTimeout, safe=False, retry=False)
        self.failureResultOf(pair.client.request(b"x"), TooManyRequests)
        ready = pair.client.ready()
        pair.flush()
        if not self.desk.cancelled:
            self.desk.answering[0].callback(b"late")
            pair.flush()
        self.successResultOf(ready)
        self.assert_lives(pair)

    def test_fired_by_the_asker(self) -> None:
        """Who fires the Deferred itself wants no answer any more; the one that comes is dropped."""
        pair = self.connected()
        asked = pair.client.request(b"x")
        pair.flush()
        asked.callback(b"mine")
        self.desk.answering[0].callback(b"answer")
        pair.flush()
        self.assertEqual(self.successResultOf(asked), b"mine")
        self.assert_lives(pair)

    def test_in_time(self) -> None:
        """An answer, a failure or the end stops the clock."""
        pair = self.connected()
        asked = [pair.client.request(b"x", timeout=5) for _ in range(2)]
        pair.flush()
        before = len(clock_of(pair).getDelayedCalls())
        self.desk.answering[0].callback(b"answer")
        pair.flush()
        self.assertEqual(self.successResultOf(asked[0]), b"answer")
        asked[1].cancel()
        self.failureResultOf(asked[1], CancelledError)
        self.assertEqual(len(clock_of(pair).getDelayedCalls()), before - 2)
        last = pair.client.request(b"x", timeout=5)
        pair.client.abort()
        pair.flush()
        self.assert_failed(last, ClosedHere, safe=False)
        self.assertEqual(clock_of(pair).getDelayedCalls(), [])

    def test_wrong_time(self) -> None:
        pair = self.connected()
        for seconds in (-1, float("nan"), float("inf")):
            error = self.failureResultOf(pair.client.request(b"x", timeout=seconds), LocalProtocolError).value
            self.assertIn("None for no limit", str(error))
            self.failureResultOf(pair.client.close(timeout=seconds), LocalProtocolError)
        self.assertEqual(len(pair.client._asking.unanswered), 0)  # type: ignore[union-attr]  # it is connected
        self.assert_lives(pair)

    @only(2)
    def test_cancel(self) -> None:
        """The responder is cancelled, at once or where it waits; what it gives then is dropped."""

        async def respond(peer: Peer, payload: bytes) -> bytes:
            try:
                return await self.desk(peer, payload)
            except CancelledError:
                if payload == b"stubborn":
                    return b"all the same"
                if payload == b"clumsy":
                    raise RequestError(1, "too late") from None
                raise

        for respond_to in (self.desk, respond):
            self.desk.__init__()  # type: ignore[misc]  # as good as new
            pair = self.connected(respond_to, limit=4)
            asked = self.ask(pair, b"0", b"stubborn", b"clumsy", b"3")
            for each in asked[:3]:
                each.cancel()
                self.failureResultOf(each, CancelledError)
            self.failureResultOf(pair.client.request(b"x"), TooManyRequests)
            pair.flush()
            self.assertEqual(self.desk.cancelled, [b"0", b"stubborn", b"clumsy"])
            self.assertNoResult(asked[3])
            self.assert_lives(pair)
            self.assertEqual(self.flushLoggedErrors(), [])

    @only(2)
    def test_cancel_handed_on(self) -> None:
        """Nor is it otherwise where a Deferred that has fired waits for another, as one behind a lock may."""
        pair = self.connected(
            lambda peer, payload: succeed(None).addCallback(lambda _: self.desk(peer, payload)), concurrency=2
        )
        asked = self.ask(pair, b"0", b"1", b"2")
        self.assertEqual(self.desk.payloads, [b"0", b"1"])
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        pair.flush()
        self.assertEqual(self.desk.cancelled, [b"0"])
        self.assertEqual(self.desk.payloads, [b"0", b"1", b"2"])
        self.desk.answering[1].callback(b"answer")
        pair.flush()
        self.assertEqual(self.successResultOf(asked[1]), b"answer")
        pair.server.abort()
        pair.flush()
        self.assertEqual(self.desk.cancelled, [b"0", b"2"])
        self.failureResultOf(asked[2], ConnectionCut)

    @only(2)
    def test_cancelled_while_it_waits(self) -> None:
        """One that waits for others to be answered is never begun."""
        pair = self.connected(concurrency=1)
        first, second, third = self.ask(pair, b"0", b"1", b"2")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        pair.flush()
        self.desk.answering[0].callback(b"a")
        pair.flush()
        self.assertEqual(self.desk.payloads, [b"0", b"2"])
        self.assertEqual(self.successResultOf(first), b"a")
        self.assertNoResult(third)

    @only(2)
    def test_cancelled_when_it_is_over(self) -> None:
        """Between abort() and the end nobody can be told."""
        pair = self.connected()
        (asked,) = self.ask(pair, b"x")
        pair.client.abort()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        pair.flush()

    @only(2)
    def test_cancelled_answer(self) -> None:
        """What has not left of a large answer does not leave any more."""
        pair = self.connected(lambda peer, payload: bytes(8 * MIB) if payload else b"")
        asked = pair.client.request(b"large")
        pair.step()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        pair.flush()
        self.assertLess(pair.client_transport.received, 2 * MIB)
        (asked,) = self.ask(pair, b"")
        self.assertEqual(self.successResultOf(asked), b"")

    @only(2)
    def test_too_stubborn(self) -> None:
        """A task that goes on when it is cancelled counts until it ends."""

        async def respond(peer: Peer, payload: bytes) -> bytes:
            for _ in range(2):
                try:
                    return await self.desk(peer, payload)
                except CancelledError:
                    pass
            return b""

        pair = self.connected(respond, concurrency=1)
        first, second = self.ask(pair, b"0", b"1")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        pair.flush()
        self.assertEqual(self.desk.payloads, [b"0", b"0"])
        self.desk.answering[1].callback(b"dropped")
        pair.flush()
        self.assertEqual(self.desk.payloads, [b"0", b"0", b"1"])
        self.assertNoResult(second)


@each_version
class EndTests(RequestsTestCase):
    """How a connection ends, and what those who wait are told: the kinds tell it apart."""

    def assert_end(self, pair: RequestPair, kind: type[NotDone], safe: bool, retry: bool = True) -> None:
        """All that waits, and all that comes later, fails with one kind."""
        asked = [pair.client.request(b"x") for _ in range(2)]
        pair.flush()
        self.end(pair)
        pair.flush()
        for each in asked:
            self.assert_failed(each, kind, safe, retry)
        for later in (pair.client.request(b"later"), pair.client.ready()):
            self.assert_failed(later, kind, True, retry)
        self.assertIs(type(self.successResultOf(pair.client.when_lost())), kind)
        self.assertIsNone(self.successResultOf(pair.client.close()))

    end: Callable[[RequestPair], object]

    def test_aborted_here(self) -> None:
        self.end = lambda pair: pair.client.abort()
        self.assert_end(self.connected(), ClosedHere, safe=False)

    def test_cut(self) -> None:
        """Whatever the transport says is the cause."""
        pair = self.connected()
        lost: Deferred[NotDone | None] = pair.client.when_lost()
        self.end = lambda pair: pair.server.abort()
        self.assert_end(pair, ConnectionCut, safe=False)
        error = self.successResultOf(lost)
        assert error is not None
        self.assertIsInstance(error.__cause__, ConnectionLost)

    @only(2)
    def test_aborted_there(self) -> None:
        self.end = lambda pair: pair.server.abort_with(0x80000001, "out of order")
        pair = self.connected()
        self.assert_end(pair, PeerAborted, safe=False)
        error = self.successResultOf(pair.client.when_lost())
        assert error is not None
        self.assertEqual((error.code, str(error)), (0x80000001, "out of order"))

    def test_timed_out(self) -> None:
        """It is called what the base calls it."""
        pair = self.connected()
        (asked,) = self.ask(pair, b"x")
        clock = clock_of(pair)
        clock.pump([60, 60, 60] + [1] * 10)
        self.assertTrue(pair.client_transport.aborting)
        pair.flush()
        error = self.failureResultOf(asked).value
        assert isinstance(error, NotDone)
        self.assertFalse(error.safe_to_repeat)
        self.assertTrue(error.retry_can_help)

    def test_broken_below(self) -> None:
        """Systems and TLS have errors of their own, which nobody here has caused."""
        self.end = lambda pair: pair.client_transport.lose(OSError(113, "no route to host"))
        self.assert_end(self.connected(), ConnectionCut, safe=False)

    @only(1)
    def test_hello_lost(self) -> None:
        """The server may have let us in, and acted, though its hello did not come."""
        pair = make_pair(self.desk)
        asked = pair.client.request(b"pay")
        pair.client_transport.reading = False
        pair.flush()
        self.assertEqual(self.desk.payloads, [b"pay"])
        pair.client_transport.lose(ConnectionLost())
        self.assert_failed(asked, ServerUnavailable, safe=False, retry=True)

    @only(2)
    def test_one_cancels_another(self) -> None:
        """Who hears that his early request has failed may cancel others."""
        pair = make_pair(self.desk)
        first, second, third = (pair.client.request(b"x") for _ in range(3))
        heard = first.addErrback(lambda reason: second.cancel())
        pair.client.abort()
        pair.flush()
        self.assertIsNone(self.successResultOf(heard))
        self.failureResultOf(second, CancelledError)
        self.assert_failed(third, ClosedHere, safe=True)
        self.assertIs(type(self.successResultOf(pair.client.when_lost())), ClosedHere)

    @only(2)
    def test_early_one_ends_it(self) -> None:
        """Who hears that his early request is too large may close, and the others are answered; or break off."""
        for breaks in (False, True):
            self.desk = Desk()
            pair = make_pair(self.desk, bounds=Bounds(message=1000))
            large, good = (pair.client.request(bytes(size)) for size in (1001, 2))
            end: Callable[[], object] = pair.client.abort if breaks else pair.client.close

            def told(reason: object, end: Callable[[], object] = end) -> None:
                end()

            ended = large.addErrback(told)
            pair.flush()
            self.assertIsNone(self.successResultOf(ended))
            if breaks:
                self.assert_failed(good, ClosedHere, safe=True)
                self.assertIsNone(pair.server.login)
            else:
                self.desk.answering[0].callback(b"answer")
                pair.flush()
                self.assertEqual(self.successResultOf(good), b"answer")
                self.assertIsNone(self.successResultOf(pair.client.when_lost()))

    @only(2)
    def test_not_sent(self) -> None:
        """What has not left is safe to repeat, what may have left is not."""
        pair = self.connected()
        pair.client_transport.reading = pair.server_transport.reading = False
        sent = [pair.client.request(bytes(60000)) for _ in range(4)]
        not_sent = [pair.client.request(bytes(60000)) for _ in range(4)]
        pair.client_transport.lose(ConnectionLost())
        for asked in sent[:2]:
            self.assert_failed(asked, ConnectionCut, safe=False)
        for asked in not_sent:
            self.assert_failed(asked, ConnectionCut, safe=True)
        for asked in sent[2:]:
            self.failureResultOf(asked, ConnectionCut)

    def test_no_room(self) -> None:
        """A server without room has room later. In version 2 it says that it has acted on nothing."""
        clock = Clock()
        server = make_server_factory(clock, None, Undecided(), respond=self.desk)
        pair: RequestPair = Pair(server, make_client_factory(clock, RequestClient))
        asked, ready = pair.client.request(b"early"), pair.client.ready()
        self.successResultOf(ready)
        pair.flush()
        if pair.client._connection.version == 2:
            pair.server.drain()
        else:
            pair.server.abort()
        pair.flush()
        self.assert_failed(asked, ServerUnavailable, safe=spoken() == 2, retry=True)

    @only(2)
    def test_drained(self) -> None:
        """Nothing new can be asked, at once; what was asked is answered, and then all is over in order."""
        pair = self.connected(limit=2)
        asked = self.ask(pair, b"0", b"1")
        waiting = pair.client.ready()
        pair.server.drain()
        pair.flush()
        self.assert_failed(waiting, ClosedByPeer, safe=True, retry=True)
        self.assert_failed(pair.client.request(b"x"), ClosedByPeer, safe=True, retry=True)
        self.assert_failed(pair.client.ready(), ClosedByPeer, safe=True)
        lost = pair.client.when_lost()
        for answering in self.desk.answering:
            self.assertNoResult(lost)
            answering.callback(b"answer")
            pair.flush()
        self.assertEqual([self.successResultOf(each) for each in asked], [b"answer"] * 2)
        self.assertIs(type(self.successResultOf(lost)), ClosedByPeer)
        self.assertTrue(pair.server_transport.disconnected)

    def test_server_closes(self) -> None:
        """It answers what it works on first, and takes nothing more."""
        pair = self.connected()
        asked = self.ask(pair, b"0", b"1")
        closed = pair.server.close()
        pair.flush()
        for answering in self.desk.answering:
            self.assertNoResult(closed)
            answering.callback(b"answer")
            pair.flush()
        self.assertEqual([self.successResultOf(each) for each in asked], [b"answer"] * 2)
        self.assertIsNone(self.successResultOf(closed))
        self.assertIsNone(self.successResultOf(pair.server.when_lost()))
        self.assertIs(type(self.successResultOf(pair.client.when_lost())), ClosedByPeer)
        self.assert_failed(pair.client.request(b"x"), ClosedByPeer, safe=True)

    def test_server_closes_at_once(self) -> None:
        pair = self.connected()
        closed = pair.server.close()
        pair.flush()
        self.assertIsNone(self.successResultOf(closed))
        self.assertIs(type(self.successResultOf(pair.client.when_lost())), ClosedByPeer)

    def test_closing_takes_too_long(self) -> None:
        """Within the time that was given, answers still count; then what is unanswered fails for that."""
        for seconds, patience in ((7.0, 7.0), (None, 180.0)):
            self.desk = Desk()
            pair = self.connected()
            asked = self.ask(pair, b"0", b"1")
            closed = pair.client.close(timeout=seconds)
            pair.flush()
            self.desk.answering[0].callback(b"in time")
            pair.flush()
            self.assertEqual(self.successResultOf(asked[0]), b"in time")
            for _ in range(9):
                clock_of(pair).advance(patience / 10)
                pair.flush()
            self.assertNoResult(closed)
            clock_of(pair).advance(patience / 10)
            pair.flush()
            clock_of(pair).advance(6)
            pair.flush()
            self.assert_failed(asked[1], ClosingTimeout, safe=False)
            self.assert_failed(closed, ClosingTimeout, safe=True)
            self.assertIs(type(self.successResultOf(pair.client.when_lost())), ClosingTimeout)
            self.assertEqual(self.desk.cancelled, [b"1"])

    def test_closing_sooner(self) -> None:
        """Who closes again may have less time."""
        pair = self.connected()
        (asked,) = self.ask(pair, b"x")
        closed = [pair.client.close(timeout) for timeout in (None, 7, 3, 5)]
        pair.flush()
        clock_of(pair).advance(2.9)
        pair.flush()
        self.assertNoResult(asked)
        clock_of(pair).advance(0.1)
        pair.flush()
        clock_of(pair).advance(6)
        pair.flush()
        for each in (asked, *closed):
            self.failureResultOf(each, ClosingTimeout)
        self.assertEqual(clock_of(pair).getDelayedCalls(), [])

    @only(1)
    def test_closing_takes_too_long_and_nothing_is_taken(self) -> None:
        """A server that reads nothing is not waited for again."""
        pair = self.connected()
        pair.client_transport.reading = pair.server_transport.reading = False
        asked = [pair.client.request(bytes(131070)) for _ in range(4)]
        closed = pair.client.close(timeout=7)
        clock_of(pair).advance(7)
        pair.flush()
        for each in (*asked, closed):
            self.failureResultOf(each, ClosingTimeout)

    @only(2)
    def test_closing_takes_too_long_though_it_goes_on(self) -> None:
        """A peer that takes what was sent, but slowly, has no more time than was given."""
        pair = self.connected()
        asked = pair.client.request(bytes(16 * MIB))
        closed = pair.client.close(timeout=7)
        for _ in range(14):
            self.assertNoResult(closed)
            pair.step()
            clock_of(pair).advance(0.5)
        self.assertEqual(self.desk.payloads, [])
        pair.flush()
        self.failureResultOf(asked, ClosingTimeout)
        self.failureResultOf(closed, ClosingTimeout)

    def test_wait_no_longer(self) -> None:
        """Nothing is kept of who has waited for an end, and does so no longer."""
        pair = self.connected()
        for wait in (pair.client.when_lost, pair.client.when_retired):
            first, second = wait(), wait()
            kept = weakref.ref(first)
            first.cancel()
            self.failureResultOf(first, CancelledError)
            del first
            gc.collect()
            self.assertIsNone(kept())
            self.assertNoResult(second)
            second.cancel()
            self.failureResultOf(second, CancelledError)

    def test_when_lost(self) -> None:
        """It may be asked for before there is a connection, and fires once for each."""
        client = RequestClient()
        lost = client.when_lost()
        clock = Clock()
        pair: RequestPair = Pair(
            make_server_factory(clock, None, respond=self.desk), make_client_factory(clock, lambda: client)
        )
        pair.flush()
        self.assertNoResult(lost)
        client.close()
        pair.flush()
        for each in (lost, client.when_lost()):
            self.assertIsNone(self.successResultOf(each))

    def test_not_connected(self) -> None:
        client = RequestClient()
        for deferred in (client.request(b"x"), client.ready(), client.close()):
            self.failureResultOf(deferred, LocalProtocolError)

    def test_aborted_while_closing(self) -> None:
        """Who closes and then breaks off is told of no failure."""
        pair = self.connected()
        (asked,) = self.ask(pair, b"x")
        closed = pair.client.close()
        pair.client.abort()
        pair.flush()
        self.assertIsNone(self.successResultOf(closed))
        self.assert_failed(asked, ClosedHere, safe=False)

    def test_cut_while_closing(self) -> None:
        pair = self.connected()
        (asked,) = self.ask(pair, b"x")
        closed = pair.client.close()
        pair.flush()
        pair.server.abort()
        pair.flush()
        self.assert_failed(closed, ConnectionCut, safe=True)
        self.assert_failed(asked, ConnectionCut, safe=False)

    def test_asked_between(self) -> None:
        """Between abort() and the end of the transport it is over already."""
        pair = self.connected()
        pair.client.abort()
        self.assert_failed(pair.client.request(b"x"), ClosedHere, safe=True)
        self.assert_failed(pair.client.ready(), ClosedHere, safe=True)
        pair.flush()

    @only(2)
    def test_not_let_in_yet(self) -> None:
        """Until a server has let its client in there is nobody to ask."""
        clock = Clock()
        server = make_server_factory(clock, None, Undecided(), respond=self.desk)
        pair: Pair[Responder, RequestClient] = Pair(server, make_client_factory(clock, RequestClient))
        pair.flush()
        for asked in (pair.server.request(b"x"), pair.server.ready()):
            self.assertIn("not let in yet", str(self.failureResultOf(asked, LocalProtocolError).value))
        self.failureResultOf(Peer("me", b"", pair.client_transport.getPeer()).request(b"x"), LocalProtocolError)

    @only(2)
    def test_answered_when_it_is_over(self) -> None:
        """A task that ends in the moment in which its connection does answers nobody; what comes of it is no error."""
        pair = self.connected()
        (asked,) = self.ask(pair, b"x")
        pair.server.abort()
        asked.addErrback(lambda reason: None)
        self.desk.answering[0].callback(b"late")
        pair.flush()
        self.assertEqual(self.flushLoggedErrors(), [])

    @only(2)
    def test_responder_breaks_off(self) -> None:
        """It may do so by any way that it has; what it still works on is cancelled."""

        def respond(peer: Peer, payload: bytes) -> Deferred[bytes]:
            pair.server.abort()
            return self.desk(peer, payload)

        pair = self.connected(respond)
        (asked,) = self.ask(pair, b"x")
        self.assert_failed(asked, ConnectionCut, safe=False)
        self.assertEqual(self.desk.cancelled, [b"x"])
        self.assertEqual(self.flushLoggedErrors(), [])

    @only(2)
    def test_failed_late(self) -> None:
        """What fails when the connection is over is logged, for nobody else hears of it."""

        async def respond(peer: Peer, payload: bytes) -> bytes:
            try:
                return await self.desk(peer, payload)
            except CancelledError:
                raise ZeroDivisionError from None

        pair = self.connected(respond)
        (asked,) = self.ask(pair, b"x")
        pair.server.abort()
        pair.flush()
        self.assert_failed(asked, ConnectionCut, safe=False)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @only(2)
    def test_client_closes_while_it_is_asked(self) -> None:
        """What the server asks is answered behind close(), and what it answers comes."""
        back = Desk()

        async def respond(peer: Peer, payload: bytes) -> bytes:
            return await peer.request(payload)

        pair = self.connected(respond, back=back)
        (asked,) = self.ask(pair, b"x")
        closed = pair.client.close()
        pair.flush()
        self.assertNoResult(closed)
        back.answering[0].callback(b"y")
        pair.flush()
        self.assertEqual(self.successResultOf(asked), b"y")
        self.assertIsNone(self.successResultOf(closed))

    @only(2)
    def test_end_of_early_ones(self) -> None:
        """What waits for the server's key is dropped when it is cancelled, and fails alone when it is too large."""
        pair = make_pair(self.desk, bounds=Bounds(message=1000), limit=3)
        cancelled, large, good = (pair.client.request(bytes(size)) for size in (1, 1001, 2))
        ready = pair.client.ready()
        self.assertNoResult(ready)
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.assertNoResult(good)
        pair.flush()
        self.successResultOf(ready)
        self.failureResultOf(large, PayloadTooLarge)
        self.assertEqual(self.desk.payloads, [bytes(2)])
        pair = make_pair(self.desk)
        slow = pair.client.request(b"x", timeout=1)
        clock_of(pair).advance(1)
        self.assert_failed(slow, RequestTimeout, safe=True)
        early = pair.client.request(b"x")
        pair.client.abort()
        pair.flush()
        self.assert_failed(early, ClosedHere, safe=True)


@only(2)
class BoundsTests(RequestsTestCase):
    """What waits is bounded: of each connection, and of all of a server."""

    def test_concurrency(self) -> None:
        """So many are worked on at once; the others wait in their order, and the connection goes on being read."""
        pair = self.connected(concurrency=3)
        asked = self.ask(pair, *(b"%d" % number for number in range(8)))
        self.assertEqual(self.desk.payloads, [b"0", b"1", b"2"])
        ping = pair.client.ping()
        pair.flush()
        self.successResultOf(ping)
        self.desk.answering[1].callback(b"1")
        pair.flush()
        self.assertEqual(self.desk.payloads, [b"0", b"1", b"2", b"3"])
        for number in (0, 2, 3, 4, 5, 6, 7):
            self.desk.answering[number].callback(b"%d" % number)
            pair.flush()
        self.assertEqual([self.successResultOf(each) for each in asked], [b"%d" % number for number in range(8)])

    def test_ready_at_once(self) -> None:
        """Those that wait are no nest of calls when each is answered at once."""
        first: list[Deferred[bytes]] = []

        def respond(peer: Peer, payload: bytes) -> Deferred[bytes]:
            if not first:
                first.append(Deferred())
                return first[0]
            return succeed(payload)

        pair = self.connected(respond, limit=1000, concurrency=1)
        asked = self.ask(pair, *[b"x"] * 1000)
        first[0].callback(b"x")
        pair.flush()
        self.assertEqual([self.successResultOf(each) for each in asked], [b"x"] * 1000)

    def test_one_ends_another(self) -> None:
        """Nor are they where each lets one before it end."""
        tasks: list[Deferred[bytes]] = []

        def respond(peer: Peer, payload: bytes) -> Deferred[bytes]:
            number = int(payload)
            if number > 2 and number % 2:
                tasks[-1].callback(b"")
                return succeed(b"")
            tasks.append(Deferred())
            return tasks[-1]

        pair = self.connected(respond, limit=1000, concurrency=2)
        asked = self.ask(pair, *(b"%d" % number for number in range(1000)))
        tasks[0].callback(b"")
        tasks[1].callback(b"")
        pair.flush()
        self.assertEqual([self.successResultOf(each) for each in asked], [b""] * 1000)

    def test_requests(self) -> None:
        """The core's bound holds for those that wait, too."""
        pair = self.connected(concurrency=3, bounds=Bounds(requests=5))
        asked = self.ask(pair, *[b"x"] * 7)
        for each in asked[5:]:
            self.assertEqual(self.assert_failed(each, RequestFailed, safe=True).code, Code.NO_ROOM)
        for each in asked[:5]:
            self.assertNoResult(each)

    def test_bytes(self) -> None:
        """What is unanswered has so many bytes at most; what is answered or cancelled makes room."""
        pair = self.connected(concurrency=1, bounds=Bounds(message=1000, connection=2000))
        first, second, third = self.ask(pair, *[bytes(1000)] * 3)
        self.assertEqual(self.assert_failed(third, RequestFailed, safe=True).code, Code.NO_ROOM)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        pair.flush()
        (fourth,) = self.ask(pair, bytes(1000))
        self.assertNoResult(fourth)
        self.desk.answering[0].callback(b"")
        pair.flush()
        (fifth,) = self.ask(pair, bytes(1000))
        self.assertNoResult(fifth)
        self.assertEqual(pair.server._answering._held, 2000)  # type: ignore[union-attr]
        self.successResultOf(first)

    def test_nobody_reads(self) -> None:
        """With much that is not read, nothing more is begun; when it is read, all goes on."""
        begun: list[bytes] = []

        def respond(peer: Peer, payload: bytes) -> bytes:
            begun.append(payload)
            return bytes(MIB)

        pair = self.connected(respond, bounds=Bounds(message=MIB, connection=4 * MIB), limit=1024)
        pair.client_transport.reading = False
        asked = self.ask(pair, *[b"x"] * 100)
        self.assertLess(len(begun), 9)
        self.assertLess(pair.server._connection.unsent.size, 7 * MIB)
        # Room is never made by not reading.
        self.assertTrue(pair.server._outbox.blocked)
        self.assertEqual((pair.server_transport.reading, pair.server._reading.reasons), (True, 0))
        self.assertEqual(len(begun) + len(pair.server._answering._waiting), 100)  # type: ignore[union-attr]
        ping = pair.client.ping()
        pair.flush()
        pair.client_transport.reading = True
        pair.flush()
        self.assertEqual([len(self.successResultOf(each)) for each in asked], [MIB] * 100)
        self.successResultOf(ping)

    def test_nobody_reads_what_is_late(self) -> None:
        """What was begun before that may bring as much again; then answers are dropped, and their asker is told."""
        pair = self.connected(bounds=Bounds(message=MIB, connection=MIB))
        pair.client_transport.reading = False
        asked = self.ask(pair, *[b"x"] * 20)
        for answering in self.desk.answering:
            answering.callback(bytes(MIB))
        self.assertLess(pair.server._connection.unsent.size, 5 * MIB)
        pair.client_transport.reading = True
        pair.flush()
        results = [each.result for each in asked if isinstance(each.result, bytes)]
        self.assertIn(len(results), range(3, 6))
        dropped = [each for each in asked if not isinstance(each.result, bytes)]
        for each in dropped:
            error = self.failureResultOf(each, RequestFailed).value
            self.assertFalse(error.safe_to_repeat)

    def assert_in_sum(self, pair: RequestPair, size: int) -> None:
        unread = pair.server.factory.unread
        assert unread is not None
        unread.look()
        self.assertIn(unread.seeming - size, range(-1, 40000))

    def test_sum(self) -> None:
        """Requests without answer, and messages of which parts came, are in the server's sum."""
        pair = self.connected()
        (asked,) = self.ask(pair, bytes(MIB))
        self.assert_in_sum(pair, MIB)
        self.desk.answering[0].callback(b"")
        pair.flush()
        self.successResultOf(asked)
        self.assert_in_sum(pair, 0)
        pair.client.request(bytes(3 * MIB)).addErrback(lambda reason: None)
        while pair.server_transport.received < 3 * MIB:
            pair.step()
        held = pair.server._connection.incoming.held
        self.assertGreater(held, MIB)
        self.assert_in_sum(pair, held)
        pair.flush()
        self.assert_in_sum(pair, 3 * MIB)
        pair.client.abort()
        pair.flush()
        self.assert_in_sum(pair, 0)

    def test_give_way(self) -> None:
        """Who makes a server hold too much of either gives way."""
        for size, count in ((60000, 60), (3 * MIB, 2)):
            for whole in (True, False):
                pair = self.connected(limits=Limits(unread=2 * MIB))
                for _ in range(count):
                    pair.client.request(bytes(size)).addErrback(lambda reason: None)
                if whole:
                    pair.flush()
                else:
                    while pair.server_transport.received < 3 * MIB and not pair.server_transport.disconnected:
                        if not pair.step():
                            break
                self.assertIsInstance(self.successResultOf(pair.server.when_lost()), WindowExceeded)
                self.desk = Desk()

    def test_stopped(self) -> None:
        """A connection that is closed while it delivers keeps nothing of what it received."""
        pair = self.connected(lambda peer, payload: bytes(MIB))
        pair.client.request(b"x").addErrback(lambda reason: None)
        pair.client.request(bytes(2 * MIB)).addErrback(lambda reason: None)
        while pair.server_transport.received < MIB:
            pair.step()
        SodiumProtocol._close(pair.server, None)
        self.assertEqual(pair.server._connection.incoming.held, 0)


@only(2)
class SubclassTests(RequestsTestCase):
    def test_hooks(self) -> None:
        """Who overrides the hooks, and calls none of ours, still gets its answers and its end."""
        told: list[str] = []

        class Client(RequestClient):
            def authenticated(self) -> None:
                told.append("authenticated")

            def connection_lost(self, reason: object) -> None:
                told.append("lost")

        class Server(Responder):
            def authenticated(self) -> None:
                self.asked = self.peer.request(b"right behind WELCOME")

            def connection_lost(self, reason: object) -> None:
                pass

        clock = Clock()
        factory = make_server_factory(clock, None, respond=self.desk)
        factory.protocol = Server
        pair: Pair[Server, Client] = Pair(
            factory, make_client_factory(clock, lambda: Client(respond=lambda peer, payload: payload.upper()))
        )
        asked = pair.client.request(b"x")
        pair.flush()
        self.assertEqual(self.successResultOf(pair.server.asked), b"RIGHT BEHIND WELCOME")
        pair.server.abort()
        pair.flush()
        self.assert_failed(asked, ConnectionCut, safe=False)
        self.assertEqual(told, ["authenticated", "lost"])
        self.assertEqual(self.desk.cancelled, [b"x"])

    def test_peer_is_asked_at_once(self) -> None:
        """Whom the client knows when it is let in may be asked then, and stays the same."""

        class Client(RequestClient):
            def authenticated(self) -> None:
                assert self.peer is not None
                self.known, self.asked = self.peer, self.peer.request(b"x")

        clock = Clock()
        pair: Pair[Responder, Client] = Pair(
            make_server_factory(clock, None, respond=lambda peer, payload: payload), make_client_factory(clock, Client)
        )
        pair.flush()
        self.assertEqual(self.successResultOf(pair.client.asked), b"x")
        self.assertIs(pair.client.known, pair.client.peer)
