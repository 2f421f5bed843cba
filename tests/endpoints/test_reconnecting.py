"""
The client that connects again, in memory: servers come and go as the tests say, and time with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist import (
    AuthenticationFailed,
    ClosedHere,
    InvalidKey,
    LocalProtocolError,
    NotDone,
    PayloadTooLarge,
    ReconnectingClient,
    RequestClient,
    RequestError,
    RequestFailed,
    RequestTimeout,
    ServerUnavailable,
    SingleLogin,
    SodiumClientFactory,
    SodiumServerFactory,
    TooManyRequests,
)
from sodiumtwist.core.connection import Code
from sodiumtwist.endpoints.reconnecting import QUEUE_LIMIT, STOP_TIMEOUT, WAIT
from sodiumtwist.protocol.requests import Respond, Responder

from ..desk import Desk, RequestPair
from ..logs import logged
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, Pair
from ..versions import each_version, only, spoken


@implementer(IStreamClientEndpoint)
class Port:
    """
    Where servers come and go.

    :ivar server: who listens; ``None`` while nobody does.
    :ivar pairs: the connections that were made.
    :ivar tries: when each try was made.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.server: SodiumServerFactory | None = None
        self.pairs: list[RequestPair] = []
        self.tries: list[float] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        assert isinstance(protocolFactory, SodiumClientFactory)
        self.tries.append(self.clock.seconds())
        if self.server is None:
            return fail(ConnectionRefusedError())
        pair: RequestPair = Pair(self.server, protocolFactory)
        self.pairs.append(pair)
        return succeed(pair.client)


class ReconnectingTestCase(SynchronousTestCase):
    """
    Has a port, and a client that waits 5 seconds before it tries again, 10 before the second time, and so on.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.port = Port(self.clock)
        self.desk = Desk()

    def serve(self, respond: Respond | None = None, passphrase: str = PASSPHRASE) -> SodiumServerFactory:
        """Have a new server listen."""
        checker = SingleLogin(LOGIN, passphrase)
        self.port.server = SodiumServerFactory(SERVER_PAIR, checker, respond or self.desk, clock=self.clock)
        return self.port.server

    def start(self, **arguments: Any) -> ReconnectingClient:
        """Start a client."""
        arguments.setdefault("retry_policy", lambda attempt: 5.0 * attempt)
        client = ReconnectingClient(
            self.clock, self.port, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken(), **arguments
        )
        client.startService()
        self.flush()
        return client

    def flush(self) -> None:
        """Let happen what can happen without time."""
        moved = True
        while moved:
            self.clock.advance(0)
            moved = any([pair.step() for pair in self.port.pairs])

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.flush()

    def answer(self, number: int, answer: bytes = b"answer") -> None:
        """Let the server answer a request."""
        self.desk.answering[number].callback(answer)
        self.flush()

    def cut(self, number: int = -1) -> None:
        """Cut a connection, as a cable that is pulled."""
        self.port.pairs[number].server_transport.abortConnection()
        self.flush()


@each_version
class WaitingTests(ReconnectingTestCase):
    """Requests that wait, and their ends."""

    def test_asks(self) -> None:
        """What is asked before there is a connection waits, and is answered."""
        self.serve()
        client = self.start()
        asked = [client.request(b"one"), client.request(bytearray(b"two"))]
        self.flush()
        self.assertEqual(self.desk.payloads, [b"one", b"two"])
        self.assertIs(client.client, self.port.pairs[0].client)
        self.answer(0)
        self.answer(1, b"other")
        self.assertEqual([self.successResultOf(each) for each in asked], [b"answer", b"other"])

    def test_buffer(self) -> None:
        """The caller may use its buffer again at once."""
        client = self.start()
        buffer = bytearray(b"before")
        client.request(buffer)
        buffer[:] = b"behind"
        self.serve()
        self.advance(5)
        self.assertEqual(self.desk.payloads, [b"before"])

    def test_waits_for_server(self) -> None:
        """Requests wait for the server, which is tried later each time, and leave in their order."""
        client = self.start()
        for each in (b"one", b"two", b"three"):
            client.request(each)
        self.advance(5)
        self.advance(9)
        self.assertEqual(self.port.tries, [0, 5])
        self.serve()
        self.advance(1)
        self.assertEqual(self.port.tries, [0, 5, 15])
        self.assertEqual(self.desk.payloads, [b"one", b"two", b"three"])

    def test_policy_fails(self) -> None:
        """A retry policy that raises, or gives no time, is logged; it tries again, and can be stopped."""

        def raises(attempt: int) -> float:
            raise ZeroDivisionError

        for policy, kind in ((raises, ZeroDivisionError), (lambda attempt: -1.0, LocalProtocolError)):
            for answers in (False, True):
                self.setUp()
                if answers:
                    self.serve()
                client = self.start(retry_policy=policy)
                if answers:
                    self.cut()
                self.assertEqual(len(self.flushLoggedErrors(kind)), 1)
                asked = client.request(b"x")
                self.serve()
                self.advance(5)
                self.answer(0)
                self.assertEqual(self.successResultOf(asked), b"answer")
                stopped = client.stopService()
                self.advance(1)
                self.assertIsNone(self.successResultOf(stopped))

    def test_waits_too_long(self) -> None:
        """It fails behind its wait, with why there is no connection; what would come too late was not sent."""
        client = self.start()
        asked = client.request(b"x")
        self.advance(WAIT - 1)
        self.assertNoResult(asked)
        self.advance(1)
        error = self.failureResultOf(asked, ServerUnavailable).value
        self.assertIn("nothing listens there", str(error))
        self.assertIsInstance(error.__cause__, ConnectionRefusedError)
        self.assertTrue(error.safe_to_repeat)
        self.assertTrue(error.retry_can_help)
        self.serve()
        self.advance(100)
        self.assertEqual(self.desk.payloads, [])

    def test_times_out(self) -> None:
        """It fails when its own time is over, of which waiting is a part."""
        client = self.start()
        asked = client.request(b"x", timeout=3)
        self.advance(3)
        error = self.failureResultOf(asked, RequestTimeout).value
        self.assertTrue(error.safe_to_repeat)
        asked = client.request(b"x", timeout=4)
        self.serve()
        self.advance(2)
        self.assertEqual(self.desk.payloads, [b"x"])
        self.advance(1.9)
        self.assertNoResult(asked)
        self.advance(0.2)
        error = self.failureResultOf(asked, RequestTimeout).value
        self.assertFalse(error.safe_to_repeat)

    def test_waits_for_ever(self) -> None:
        """Without a limit to its wait it waits as long as it takes, and leaves no timer."""
        client = self.start(wait=None)
        client.request(b"x")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.advance(1000)
        self.serve()
        self.advance(1000)
        self.assertEqual(self.desk.payloads, [b"x"])

    def test_fails_at_once(self) -> None:
        """Told to wait for nothing, it fails where there is no connection; where there is one, it asks."""
        client = self.start(wait=0)
        self.failureResultOf(client.request(b"x"), ServerUnavailable)
        self.serve()
        self.advance(5)
        client.request(b"y")
        self.flush()
        self.assertEqual(self.desk.payloads, [b"y"])

    def test_bounded(self) -> None:
        """No more than the limit may wait; a place is free again with who leaves."""
        client = self.start(queue=2)
        waiting = [client.request(b"one"), client.request(b"two")]
        self.failureResultOf(client.request(b"three"), TooManyRequests)
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        client.request(b"four")
        self.serve()
        self.advance(5)
        self.assertEqual(self.desk.payloads, [b"two", b"four"])
        self.assertEqual(ReconnectingClient(self.clock, self.port, SERVER_PAIR.public)._queue, QUEUE_LIMIT)

    def test_room(self) -> None:
        """Where a connection has no room, they wait for it, and may be cancelled, or get too old for it."""
        self.serve()
        client = self.start(limit=2)
        asked = [client.request(b"%d" % number) for number in range(5)]
        old = client.request(b"old", 1)
        self.flush()
        self.assertEqual(self.desk.payloads, [b"0", b"1"])
        asked[2].cancel()
        self.failureResultOf(asked[2], CancelledError)
        self.answer(0)
        self.assertEqual(self.desk.payloads, [b"0", b"1", b"3"])
        self.advance(WAIT)
        for late in (asked[4], old):
            error = self.failureResultOf(late, RequestTimeout).value
            self.assertTrue(error.safe_to_repeat)
        self.answer(1)
        self.answer(2)
        self.assertEqual(self.desk.payloads, [b"0", b"1", b"3"])

    def test_cancelled(self) -> None:
        """What was sent is cancelled there."""
        self.serve()
        client = self.start()
        asked = client.request(b"x")
        self.flush()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.flush()
        self.assertEqual(self.desk.cancelled, [b"x"] if spoken() == 2 else [])

    def test_wrong(self) -> None:
        """Mistakes of the caller are told, and no connection is to blame."""
        self.serve()
        client = self.start()
        for wrong, what in (("text", "encode it"), (5, "int")):
            error = self.assertRaises(TypeError, client.request, wrong)
            self.assertIn(what, str(error))
        self.flush()
        if spoken() == 1:
            self.failureResultOf(client.request(bytes(131071)), PayloadTooLarge)
        self.assertEqual(len(self.port.pairs), 1)

        def make(**arguments: Any) -> ReconnectingClient:
            return ReconnectingClient(
                self.clock, **{"endpoint": self.port, "server_key": SERVER_PAIR.public, **arguments}
            )

        self.assertRaises(InvalidKey, make, server_key=b"short")
        for mistake in ({"login": "x" * 300}, {"queue": 0}, {"wait": -1}, {"stop_timeout": -1}, {"limit": 0}):
            self.assertRaises(LocalProtocolError, make, **mistake)
        self.failureResultOf(client.request(b"", timeout=-1), LocalProtocolError)
        self.assertRaises(ValueError, make, endpoint="nonsense:")


@each_version
class LostTests(ReconnectingTestCase):
    """Connections that are lost, refused, or drained, and what becomes of requests."""

    def test_outcome_unknown(self) -> None:
        """A request whose connection is cut fails, and is never asked again; later ones go to the next connection."""
        self.serve()
        client = self.start()
        asked = client.request(b"one")
        self.flush()
        self.cut()
        error = self.failureResultOf(asked, NotDone).value
        self.assertFalse(error.safe_to_repeat)
        self.assertTrue(error.retry_can_help)
        client.request(b"two")
        self.flush()
        self.assertIsNone(client.client)
        self.advance(5)
        self.assertEqual(self.desk.payloads, [b"one", b"two"])

    def test_comes_and_goes(self) -> None:
        """Servers come and go: every request is asked once, and has its answer or an error."""
        client = self.start(wait=None)
        answered = []
        for number in range(5):
            self.serve(lambda peer, payload: payload.upper())
            asked = client.request(b"x%d" % number)
            self.advance(20)
            answered.append(self.successResultOf(asked))
            self.port.server = None
            self.cut()
            self.advance(20)
        self.assertEqual(answered, [b"X%d" % number for number in range(5)])

    def test_refused(self) -> None:
        """A wrong passphrase stays wrong: no other try, and all requests fail with that until it is started anew."""
        self.serve(passphrase="another")
        events = logged(self)
        client = self.start()
        waiting = client.request(b"x")
        self.advance(2)
        error = self.failureResultOf(waiting, AuthenticationFailed).value
        self.assertTrue(error.safe_to_repeat)
        self.failureResultOf(client.request(b"y"), AuthenticationFailed)
        self.advance(1000)
        self.assertEqual(self.port.tries, [0])
        self.assertEqual(len([event for event in events if event["log_level"].name == "error"]), 1)
        self.successResultOf(client.stopService())
        self.failureResultOf(client.request(b"y"), ClosedHere)
        self.serve()
        client.startService()
        client.request(b"z")
        self.flush()
        self.assertEqual(self.desk.payloads, [b"z"])

    def test_mistake(self) -> None:
        """A mistake of the application's on each connection is no better at the next try, and all are told so."""

        class Client(RequestClient):
            def authenticated(self) -> None:
                raise PayloadTooLarge("too large")

        self.serve()
        client = self.start(protocol=Client)
        waiting = client.request(b"x")
        self.advance(2)
        self.assertEqual(len(self.flushLoggedErrors(PayloadTooLarge)), 1)
        for asked in (waiting, client.request(b"y")):
            error = self.failureResultOf(asked, ClosedHere).value
            self.assertEqual((error.safe_to_repeat, error.retry_can_help), (True, False))
            self.assertIsInstance(error.__cause__, PayloadTooLarge)
        self.advance(1000)
        self.assertEqual(self.port.tries, [0])
        self.assertIsNone(self.successResultOf(client.stopService()))

    def test_stopped_when_refused(self) -> None:
        """Who hears of the refusal may stop the service at once."""
        self.serve(passphrase="another")
        client = self.start()
        stopped = client.request(b"x").addErrback(lambda reason: client.stopService())
        self.advance(2)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @only(2)
    def test_drained(self) -> None:
        """
        The server is about to stop: new requests go to the next one at once, old ones get their answers where they
        were asked, and the connection ends behind them.
        """
        first = self.serve()
        client = self.start()
        old = client.request(b"old")
        self.flush()
        drained = first.drain()
        self.serve()
        self.flush()
        self.assertEqual(len(self.port.pairs), 2)
        new = client.request(b"new")
        self.flush()
        self.assertEqual([peer for peer, _ in self.desk.asked][0].login, LOGIN)
        self.answer(1, b"of the second")
        self.assertEqual(self.successResultOf(new), b"of the second")
        self.assertNoResult(old)
        self.answer(0, b"of the first")
        self.assertEqual(self.successResultOf(old), b"of the first")
        self.advance(0.1)
        self.successResultOf(drained)
        self.assertEqual(first.connections, set())
        self.assertEqual(len(client._clients), 1)

    @only(2)
    def test_crosses_drain(self) -> None:
        """What crosses the word that the server stops is answered there, or asked again on the next connection."""
        first = self.serve()
        client = self.start()
        first.drain()
        asked = client.request(b"x")
        self.serve()
        self.flush()
        self.answer(0)
        self.assertEqual(self.successResultOf(asked), b"answer")

    @only(2)
    def test_not_acted_on(self) -> None:
        """A server that says it did not act, for it stops, is left, and the request asked again on the next one."""
        answers: list[Any] = [RequestError(Code.SHUTTING_DOWN, "not now"), b"done"]

        def respond(peer: object, payload: bytes) -> bytes:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return bytes(answer)

        self.serve(respond)
        client = self.start()
        asked = client.request(b"x")
        self.flush()
        self.assertNoResult(asked)
        self.advance(5)
        self.assertEqual(self.successResultOf(asked), b"done")
        self.assertEqual(len(self.port.pairs), 2)

    @only(2)
    def test_not_repeated(self) -> None:
        """Not told to repeat, it lets that fail; and what would fail again fails in any case."""
        codes: list[int] = [Code.SHUTTING_DOWN, Code.TOO_LARGE, Code.NOT_SUPPORTED, Code.NO_ROOM, 0x80000001]

        def respond(peer: object, payload: bytes) -> bytes:
            raise RequestError(codes[0], "not now")

        self.serve(respond)
        client = self.start(repeat=False)
        while codes:
            asked = client.request(b"x")
            self.flush()
            error = self.failureResultOf(asked, RequestFailed).value
            self.assertEqual(error.code, codes.pop(0))
            if len(codes) == 4:
                client = self.start()

    @only(2)
    def test_not_acted_on_behind(self) -> None:
        """A server that stops may say so of what it has begun: the next one, which has nothing to do with it, stays."""
        first = self.serve()
        client = self.start()
        asked = client.request(b"x")
        self.flush()
        first.drain()
        self.serve()
        self.flush()
        second = client.client
        self.desk.answering[0].errback(RequestError(Code.SHUTTING_DOWN, "not now"))
        self.flush()
        self.answer(1)
        self.assertEqual(self.successResultOf(asked), b"answer")
        self.assertIs(client.client, second)

    def test_no_room(self) -> None:
        """A server that can't let us in now is tried again; who waited too long for it is told what it said."""
        self.serve().is_draining = True
        client = self.start(wait=7, retry_policy=lambda attempt: 5)
        asked = client.request(b"x", 20)
        self.advance(5)
        self.assertEqual(self.port.tries, [0, 5])
        self.advance(2)
        error = self.failureResultOf(asked, ServerUnavailable).value
        self.assertEqual(error.code, Code.SHUTTING_DOWN if spoken() == 2 else None)
        self.assertTrue(error.safe_to_repeat and error.retry_can_help)

    @only(2)
    def test_drains_each_time(self) -> None:
        """A server that lets us in only to say that it stops is not asked all the time."""

        class Drains(Responder):
            def authenticated(self) -> None:
                super().authenticated()
                self.drain()

        self.serve().protocol = Drains
        self.start()
        for _ in range(30):
            self.advance(1)
        self.assertEqual(self.port.tries, [0, 0, 5, 10, 15, 20, 25, 30])


@each_version
class StoppingTests(ReconnectingTestCase):
    """The end of the service."""

    def test_stop(self) -> None:
        """What waits fails, what was sent gets its answer; then nothing is left."""
        self.serve()
        client = self.start(limit=1)
        asked, waits = client.request(b"one"), client.request(b"two")
        self.flush()
        stopped = client.stopService()
        error = self.failureResultOf(waits, ClosedHere).value
        self.assertTrue(error.safe_to_repeat)
        self.failureResultOf(client.request(b"three"), ClosedHere)
        self.flush()
        self.assertNoResult(stopped)
        self.answer(0)
        self.assertEqual(self.successResultOf(asked), b"answer")
        self.advance(0)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertIsNone(client.client)
        self.advance(100)
        self.assertEqual(len(self.port.pairs), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_in_time(self) -> None:
        """An answer that does not come is not waited for for ever."""
        self.serve()
        client = self.start()
        asked = client.request(b"one")
        self.flush()
        stopped = client.stopService()
        self.advance(STOP_TIMEOUT - 0.1)
        self.assertNoResult(stopped)
        self.advance(0.1)
        self.assertIsNone(self.successResultOf(stopped))
        error = self.failureResultOf(asked, NotDone).value
        self.assertFalse(error.safe_to_repeat)

    @only(2)
    def test_not_acted_on(self) -> None:
        """When it is stopped, nothing is asked again."""
        self.serve()
        client = self.start()
        asked = client.request(b"x")
        self.flush()
        client.stopService()
        self.desk.answering[0].errback(RequestError(Code.SHUTTING_DOWN, "not now"))
        self.flush()
        error = self.failureResultOf(asked, RequestFailed).value
        self.assertTrue(error.safe_to_repeat)
        self.advance(100)
        self.assertEqual(self.desk.payloads, [b"x"])

    def test_one_cancels_another(self) -> None:
        """Who hears that what he asked has failed may cancel the rest."""
        client = self.start()
        first, second, third = (client.request(b"x") for _ in range(3))
        heard = first.addErrback(lambda reason: second.cancel())
        self.assertIsNone(self.successResultOf(client.stopService()))
        self.assertIsNone(self.successResultOf(heard))
        self.failureResultOf(second, CancelledError)
        self.failureResultOf(third, ClosedHere)

    def test_started_anew(self) -> None:
        """When the time to stop is over, a connection that was made since is left alone."""
        self.serve()
        client = self.start()
        late = client.request(b"late")
        self.flush()
        stopped = client.stopService()
        client.startService()
        self.flush()
        asked = client.request(b"new")
        self.flush()
        self.advance(STOP_TIMEOUT)
        self.assertIsNone(self.successResultOf(stopped))
        self.failureResultOf(late, ClosedHere)
        self.assertNoResult(asked)
        self.answer(1)
        self.assertEqual(self.successResultOf(asked), b"answer")

    @only(2)
    def test_stop_before_refusal_is_told(self) -> None:
        """It is stopped in the moment in which the server refuses."""
        self.serve(passphrase="another")
        client = self.start()
        client.stopService()
        client.startService()
        self.port.pairs[-1].flush()
        self.assertIsNone(self.successResultOf(client.stopService()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_between(self) -> None:
        """It is stopped while it waits, before it has begun, and twice."""
        client = self.start()
        waits = client.request(b"x")
        client.startService()
        self.successResultOf(client.stopService())
        self.failureResultOf(waits, ClosedHere)
        self.successResultOf(client.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        client = ReconnectingClient(self.clock, self.port, SERVER_PAIR.public)
        self.successResultOf(client.stopService())

    def test_stop_while_connecting(self) -> None:
        """It is stopped before the server has let it in, or in the moment in which it has."""
        self.serve()
        moments: list[Callable[[], object]] = [lambda: None, lambda: self.port.pairs[-1].flush()]
        for moment in moments:
            client = ReconnectingClient(
                self.clock, self.port, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken(), retry_policy=lambda n: 5
            )
            client.startService()
            waits = client.request(b"x")
            moment()
            stopped = client.stopService()
            self.flush()
            self.advance(1)
            self.failureResultOf(waits, ClosedHere)
            self.assertIsNone(self.successResultOf(stopped))
            self.assertEqual(client._clients, set())
        self.assertEqual(self.desk.payloads, [])

    def test_repr(self) -> None:
        """The log, in which the service below says that it tries again, tells where, and why the last try failed."""
        events = logged(self)
        self.start()
        (line,) = [str(event["endpoint"]) for event in events if "endpoint" in event]
        self.assertIn(f"server key {SERVER_PAIR.public.hex()}", line)
        self.assertIn("the last try failed: nothing listens there", line)
        self.assertNotIn(PASSPHRASE, line)
