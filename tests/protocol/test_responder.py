"""
The server's end of requests, asked by a client in memory.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import (
    ClosedByPeer,
    ClosedHere,
    ConnectionCut,
    LocalProtocolError,
    PayloadTooLarge,
    Peer,
    RequestClient,
    SingleLogin,
    SodiumServerFactory,
)
from sodiumtwist.protocol.base import SodiumProtocol
from sodiumtwist.protocol.requests import CONCURRENCY, REQUEST_LIMIT, Respond, Responder

from ..desk import LARGEST, Desk, RequestPair, make_pair
from ..pair import CLIENT_PAIR, LOGIN, PASSPHRASE, SERVER_PAIR, Pair, make_client_factory
from ..versions import each_version, only, spoken


@each_version
class ResponderTests(SynchronousTestCase):
    """The server's end, asked by a client in memory."""

    def ask(self, pair: RequestPair, *payloads: bytes) -> list[Deferred[bytes]]:
        asked = [pair.client.request(payload) for payload in payloads]
        pair.flush()
        return asked

    @only(1)
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

    @only(1)
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

    @only(1)
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
        pair: RequestPair = Pair(
            SodiumServerFactory(SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), desk, clock=clock),
            make_client_factory(clock, RequestClient, pair=CLIENT_PAIR),
        )
        self.ask(pair, b"who am I?")
        ((peer, payload),) = desk.asked
        self.assertEqual(payload, b"who am I?")
        self.assertEqual(peer, Peer(LOGIN, CLIENT_PAIR.public, pair.server_transport.getPeer(), version=spoken()))

    @only(1)
    def test_concurrency(self) -> None:
        """No more tasks than allowed run at once; then no other is begun until an answer leaves."""
        desk = Desk()
        pair = make_pair(desk, concurrency=3)
        asked = self.ask(pair, *(b"%d" % number for number in range(8)))
        self.assertEqual(desk.payloads, [b"0", b"1", b"2"])
        # An answer that must wait for an earlier one makes no room.
        desk.answering[1].callback(b"b")
        pair.flush()
        self.assertEqual(len(desk.asked), 3)
        desk.answering[0].callback(b"a")
        pair.flush()
        self.assertEqual(desk.payloads, [b"0", b"1", b"2", b"3", b"4"])
        for number in range(2, 8):
            desk.answering[number].callback(b"abcdefgh"[number : number + 1])
            pair.flush()
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

    @only(1)
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

    def assert_dropped(self, pair: RequestPair, asked: Deferred[bytes], error: type[Exception], *told: str) -> None:
        """The error was logged once, with the login, and the connection is gone at both ends."""
        pair.flush()
        (logged,) = self.flushLoggedErrors()
        self.assertIsInstance(logged.value, error)
        for words in told:
            self.assertIn(words, str(logged.value))
        self.assertTrue(pair.server_transport.disconnected)
        self.assertTrue(pair.client_transport.disconnected)
        self.failureResultOf(asked, ClosedByPeer)

    @only(1)
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
        self.failureResultOf(behind, ClosedByPeer)

    @only(1)
    def test_fails(self) -> None:
        """When a task fails later, that is logged, earlier answers are delivered and later tasks cancelled."""
        desk = Desk()
        pair = make_pair(desk)
        good, bad, _ = asked = self.ask(pair, b"good", b"bad", b"behind")
        desk.answering[0].callback(b"fine")
        desk.answering[1].errback(ZeroDivisionError("oops"))
        self.assert_dropped(pair, bad, ZeroDivisionError, "oops")
        self.assertEqual(self.successResultOf(good), b"fine")
        self.failureResultOf(asked[2], ClosedByPeer)
        self.assertEqual(desk.cancelled, [b"behind"])

    @only(1)
    def test_fails_before_earlier(self) -> None:
        """When a task fails while an earlier one runs, the earlier one is cancelled with the connection."""
        desk = Desk()
        pair = make_pair(desk)
        first, second = self.ask(pair, b"first", b"second")
        desk.answering[1].errback(ZeroDivisionError())
        self.assert_dropped(pair, first, ZeroDivisionError)
        self.failureResultOf(second, ClosedByPeer)
        self.assertEqual(desk.cancelled, [b"first"])

    @only(1)
    def test_coroutine_raises(self) -> None:
        """A coroutine that raises closes the connection, as any failure does."""

        async def respond(peer: Peer, payload: bytes) -> bytes:
            raise ZeroDivisionError("oops")

        pair = make_pair(respond)
        (asked,) = self.ask(pair, b"")
        self.assert_dropped(pair, asked, ZeroDivisionError, "oops")

    @only(1)
    def test_second_failure(self) -> None:
        """One failure of a connection is logged, not those that follow from its end."""
        desk = Desk()
        pair = make_pair(desk)
        first, _ = asked = self.ask(pair, b"first", b"second")
        desk.answering[0].errback(ZeroDivisionError())
        desk.answering[1].errback(KeyError())
        self.assert_dropped(pair, first, ZeroDivisionError)
        self.failureResultOf(asked[1], ClosedByPeer)

    def test_failure_after_the_end(self) -> None:
        """It is logged, since nobody else hears of it."""
        desk = Desk()
        pair = make_pair(desk)
        (asked,) = self.ask(pair, b"question")
        self.patch(desk.answering[0], "cancel", lambda: None)
        pair.client.abort()
        pair.flush()
        self.failureResultOf(asked, ClosedHere)
        desk.answering[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @only(1)
    def test_answer_after_failure(self) -> None:
        """What is answered after the failure, before the connection is gone, is dropped."""
        desk = Desk()
        pair = make_pair(desk)
        first, second = self.ask(pair, b"first", b"second")
        desk.answering[1].errback(ZeroDivisionError())
        desk.answering[0].callback(b"late")
        self.assert_dropped(pair, first, ZeroDivisionError)
        self.failureResultOf(second, ClosedByPeer)

    def odd(self, answer: object) -> Respond:
        """Answers so to all but an empty payload."""

        def respond(peer: Peer, payload: bytes) -> bytes:
            return cast(bytes, answer) if payload else b""

        return respond

    @only(1)
    def test_wrong_type(self) -> None:
        """An answer that is not bytes is the application's error, which names the type it has."""
        for answer, told in (
            ("text", "str; encode it: text.encode()"),
            (None, "NoneType"),
            (bytearray(b"mutable"), "bytearray"),
            (succeed("text"), "str"),
            (succeed(None), "NoneType"),
        ):
            pair = make_pair(self.odd(answer))
            good, bad = self.ask(pair, b"", b"bad")
            self.assert_dropped(pair, bad, TypeError, told, "an answer is bytes")
            self.assertEqual(self.successResultOf(good), b"")

    @only(1)
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
                self.failureResultOf(deferred, ClosedHere)

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
        self.failureResultOf(asked, ConnectionCut)
        self.assertEqual(self.flushLoggedErrors(), [])

    @only(1)
    def test_client_leaves_while_full(self) -> None:
        """With more requests made than are worked on: those are begun, too, and all are cancelled, at once."""
        for count in (2, 3, 8):
            desk = Desk()
            pair = make_pair(desk, concurrency=3)
            asked = self.ask(pair, *(b"%d" % number for number in range(count)))
            SodiumProtocol.close(pair.client)  # as the C programs do, which wait for nothing
            pair.flush()
            self.assertEqual(desk.payloads, [b"%d" % number for number in range(count)])
            self.assertEqual(desk.cancelled, desk.payloads)
            self.assertEqual(pair.server.factory.connections, set())
            self.assertEqual(self.flushLoggedErrors(), [])
            for deferred in asked:
                self.failureResultOf(deferred, ClosedHere)

    @only(1)
    def test_client_leaves_and_a_request_fails(self) -> None:
        """That is logged, and keeps none of the others from being begun."""
        begun = []

        def respond(peer: Peer, payload: bytes) -> Deferred[bytes]:
            begun.append(payload)
            if payload == b"1":
                raise ZeroDivisionError
            return Deferred()

        pair = make_pair(respond, concurrency=1)
        asked = self.ask(pair, b"0", b"1", b"2")
        SodiumProtocol.close(pair.client)
        pair.flush()
        self.assertEqual(begun, [b"0", b"1", b"2"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        for deferred in asked:
            self.failureResultOf(deferred, ClosedHere)

    def test_client_breaks_off_while_full(self) -> None:
        """It has reset the connection: what is worked on is cancelled, and nothing more is begun."""
        desk = Desk()
        pair = make_pair(desk, concurrency=3)
        for deferred in self.ask(pair, *(b"%d" % number for number in range(8))):
            deferred.addErrback(lambda reason: None)
        self.assertTrue(pair.server_transport.reading)
        pair.client.abort()
        pair.flush()
        self.assertEqual(desk.cancelled, [b"0", b"1", b"2"])
        self.assertEqual(desk.payloads, desk.cancelled)
        self.assertEqual(pair.server.factory.connections, set())

    def test_client_vanishes_while_full(self) -> None:
        """Not a byte comes any more. In the inactivity time that is noticed, and the tasks are cancelled."""
        desk = Desk()
        pair = make_pair(desk, concurrency=3)
        for deferred in self.ask(pair, *(b"%d" % number for number in range(8))):
            deferred.addErrback(lambda reason: None)
        clock = pair.server._clock
        assert isinstance(clock, Clock)
        clock.pump([60, 119.75])
        self.assertEqual(desk.cancelled, [])
        clock.advance(0.25)
        self.assertTrue(pair.server_transport.aborting)
        pair.flush()
        self.assertEqual(desk.cancelled, [b"0", b"1", b"2"])

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
