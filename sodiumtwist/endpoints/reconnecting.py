"""
A client for requests that connects again whenever it has to. Twisted's ``ClientService`` below it decides when to try.

What a request finds:

=========== ==================================== ============================ =======================================
It is       which ends by                        and then is                  A request
=========== ==================================== ============================ =======================================
searching   being let in                         connected                    waits; or fails, with ``wait=0``
searching   a refusal that no other try changes  refused                      waits; or fails, with ``wait=0``
connected   a server that stops, or is gone      searching                    is asked; or waits for room there
refused     ``stopService()``                    stopped                      fails with why it was refused
stopped     ``startService()``                   searching                    fails with :exc:`ClosedHere`
=========== ==================================== ============================ =======================================

A connection whose server is about to stop is left at once. What was asked there is answered there, beside the next one.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from operator import attrgetter
from typing import Any, cast

from twisted.application.internet import ClientService, backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.connection import Bounds
from ..core.errors import (
    ClosedHere,
    LocalProtocolError,
    NotDone,
    RequestTimeout,
    ServerUnavailable,
    SodiumError,
    TooManyRequests,
)
from ..core.inbox import Buffer, view_of
from ..core.keepalive import Timeouts
from ..core.keys import KeyPair
from ..describe import describe_endpoint_error, printable
from ..describe.log import Logger
from ..protocol.answering import CONCURRENCY, Respond
from ..protocol.asking import REQUEST_LIMIT, check_time
from ..protocol.clock import steady_clock
from ..protocol.factories import SodiumClientFactory
from ..protocol.requests import RequestClient
from ..protocol.sockets import describe_endpoint
from .connect import _connect_authenticated, _request_factory, introduce

#: How many requests may wait for a connection, or for room on it.
QUEUE_LIMIT = 1024

#: Seconds for which a request waits before it is sent.
WAIT = 30.0

#: Seconds that stopping may take: answers that have not come by then are not waited for.
STOP_TIMEOUT = 5.0


_USUAL_POLICY = backoffPolicy()


class _Request:
    """
    One request, until it is answered.

    :ivar until: when it must be answered; ``None`` when it may take any time.
    :ivar timer: while it waits, it fails when this goes off.
    :ivar asking: while it is asked, what the connection gave for it.
    """

    __slots__ = ("answering", "asking", "number", "payload", "timer", "until")

    def __init__(self, number: int, payload: bytes, until: float | None, answering: Deferred[bytes]) -> None:
        self.number = number
        self.payload = payload
        self.until = until
        self.answering = answering
        self.timer: IDelayedCall | None = None
        self.asking: Deferred[bytes] | None = None

    def stop_timer(self) -> None:
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()


_by_number = attrgetter("number")


class _Held:
    """What the ``ClientService`` has for a transport: it can close, and is closed when the connection is gone."""

    def __init__(self, client: RequestClient) -> None:
        self._client = client

    def loseConnection(self) -> None:
        self._client.close().addErrback(lambda reason: None)


@implementer(IStreamClientEndpoint)
class _LetIn:
    """
    Where the ``ClientService`` connects. It is connected when the server has let us in. It is told that it is not any
    more as soon as nothing new can be asked there.

    :param below: where the server is.
    :param factory: makes the client's ends.
    :param owner: who asks there.
    :ivar failure: why the last try failed; ``None`` when it did not, or is the first.
    """

    def __init__(self, below: IStreamClientEndpoint, factory: SodiumClientFactory, owner: ReconnectingClient) -> None:
        self._below = below
        self._factory = factory
        self._owner = owner
        self.failure: Exception | None = None

    def __repr__(self) -> str:
        # ClientService logs that it will try again, and where, but not why.
        why = f"; the last try failed: {printable(describe_endpoint_error(self.failure))}" if self.failure else ""
        return f"<{describe_endpoint(self._below)} with {self._factory.describe()}{why}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, service_factory: IProtocolFactory) -> IProtocol:
        # In turns of the reactor of their own: who hears of it may stop the ClientService, which is in the middle of
        # connecting as long as this runs.
        later = self._owner._clock.callLater
        try:
            client: RequestClient = await _connect_authenticated(self._below, self._factory)
        except CancelledError:
            raise
        except Exception as error:
            self.failure = error
            if not isinstance(error, SodiumError) or error.retry_can_help:
                raise
            telling = later(0, self._owner._refused, error)
            try:
                # No other try: the ClientService waits for this one until it is stopped.
                await Deferred()
            finally:
                if telling.active():
                    telling.cancel()
        self.failure = None
        held = service_factory.buildProtocol(client.transport.getPeer())
        assert held is not None
        held.makeConnection(cast(ITransport, _Held(client)))
        later(0, self._owner._let_in, client, held)
        return held


class ReconnectingClient(Service):
    """
    Makes requests to a server that comes and goes. It is a service: ``startService()`` begins to connect.

    When a connection is lost, or could not be made, it tries again, later each time. When the server says that it is
    about to stop, it connects again at once, and what was asked there gets its answers meanwhile. When the server does
    not let us in, and no other try would change that (``retry_can_help`` of the error is false), it stops trying until
    it is stopped and started anew.

    A request that was not sent, or of which the server says that it did not act on it, is asked again on the next
    connection. One that was sent, and whose outcome is unknown, never is: it fails with the reason.

    :param reactor: an ``IReactorTime``, with what the endpoint needs.
    :param endpoint: as for :func:`~sodiumtwist.connect`, and so is ``server_key``.
    :param login: as for :func:`~sodiumtwist.connect`.
    :param passphrase: as for :func:`~sodiumtwist.connect`.
    :param limit: how many requests of one connection may be unanswered at once.
    :param pair: the client's key pair, for servers that know its public key; ``None`` makes a fresh one each time.
    :param timeouts: the deadlines of each connection; the default is ``Timeouts()``.
    :param version: as for :func:`~sodiumtwist.connect`, and so are ``bounds``, ``respond``, ``concurrency`` and
        ``protocol``.
    :param wait: how many seconds a request waits before it is sent, each time that it has to; ``None`` for as long as
        its own time lasts. With 0 none waits: it fails at once where it can't be sent.
    :param repeat: whether to ask again what was not sent, or not acted on.
    :param queue: how many requests may wait. Those that are asked again are not turned away.
    :param retry_policy: tells how many seconds to wait before a try, see ``ClientService``. Where it raises, or gives
        no such number, this is logged, and the usual one is asked.
    :param stop_timeout: how many seconds stopping may take.
    :raises InvalidKey: when the server's key can't be one.
    :raises LocalProtocolError: for other wrong arguments.
    :raises ValueError: for a wrong string.
    :raises OSError: when what is known of a server can't be read.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        endpoint: str | IStreamClientEndpoint,
        server_key: bytes | None = None,
        login: str = "",
        passphrase: str = "",
        *,
        limit: int = REQUEST_LIMIT,
        pair: KeyPair | None = None,
        timeouts: Timeouts | None = None,
        version: int | None = None,
        bounds: Bounds | None = None,
        respond: Respond | None = None,
        concurrency: int = CONCURRENCY,
        protocol: type[RequestClient] = RequestClient,
        wait: float | None = WAIT,
        repeat: bool = True,
        queue: int = QUEUE_LIMIT,
        retry_policy: Callable[[int], float] | None = None,
        stop_timeout: float = STOP_TIMEOUT,
    ) -> None:
        server = introduce(reactor, endpoint, server_key, login, passphrase, pair, version)
        factory = _request_factory(
            reactor,
            server,
            limit=limit,
            timeouts=timeouts,
            bounds=bounds,
            respond=respond,
            concurrency=concurrency,
            protocol=protocol,
        )
        if queue < 1:
            raise LocalProtocolError(f"a queue of {queue} requests lets none be asked; with wait=0 none waits")
        for seconds in (wait, stop_timeout):
            if seconds is not None:
                check_time(seconds)
        self._clock = steady_clock(reactor)
        self._wait = wait
        self._repeat = repeat
        self._queue = queue
        self._policy = retry_policy or _USUAL_POLICY
        self._stop_timeout = stop_timeout
        self._endpoint = _LetIn(server.endpoint, factory, self)
        self._service = ClientService(self._endpoint, Factory.forProtocol(Protocol), self._delay, self._clock)
        # Why nothing can be asked at all; None while it can.
        self._end: NotDone | None = None
        self._client: RequestClient | None = None
        # All that are connected, also those that are left and finish their answers.
        self._clients: set[RequestClient] = set()
        # Whether the server was about to stop, and when we last moved on for that.
        self._moves = False
        self._moved = float("-inf")
        self._numbers = 0
        # In the order in which they were made.
        self._waiting: list[_Request] = []
        self._feeding: RequestClient | None = None

    @property
    def client(self) -> RequestClient | None:
        """The end that new requests go to; ``None`` while there is no connection."""
        return self._client

    def startService(self) -> None:
        """Begin to connect."""
        if self.running:
            return
        super().startService()  # type: ignore[no-untyped-call]
        self._end = None
        self._service.startService()

    def stopService(self) -> Deferred[None]:
        """
        Stop, in order: requests that wait fail with :exc:`~sodiumtwist.ClosedHere`, those that were sent get their
        answers.

        :return: fires when nothing is connected any more, within 5 seconds (``stop_timeout``). Then what is still
            unanswered fails.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._client = None
        left = set(self._clients)
        stopping = [self._service.stopService(), *(client.close() for client in left)]
        self._finish(ClosedHere("the service is stopped"))

        def abort() -> None:
            for client in list(self._clients):
                # Not those of a new start, which may come before all this is over.
                if client in left or not self.running:
                    client.abort()

        limit = self._clock.callLater(self._stop_timeout, abort)

        def stopped(results: object) -> None:
            if limit.active():
                limit.cancel()

        return DeferredList(stopping, consumeErrors=True).addCallback(stopped)

    def request(self, payload: Buffer, timeout: float | None = None) -> Deferred[bytes]:
        """
        Send a request, now or when there is a connection.

        :param payload: as for :meth:`.RequestClient.request`.
        :param timeout: how many seconds it may take in all; ``None`` for no such limit.
        :return: fires with the answer. Fails with what :meth:`.RequestClient.request` fails with; before it was sent,
            with :exc:`RequestTimeout` when its time, or that to wait, is over, with why there is no connection, with
            :exc:`TooManyRequests` when too many wait already, with what no other try would change, or with
            :exc:`ClosedHere` when the service is stopped. To cancel it takes it back where it was not sent yet.
        :raises TypeError: for anything but contiguous bytes.
        """
        if type(payload) is not bytes:
            payload = bytes(view_of(payload))  # the caller may use the buffer again before it is sent
        if self._end is not None:
            return fail(self._end.of_request(True))
        if len(self._waiting) >= self._queue:
            return fail(TooManyRequests(f"{self._queue} requests wait already"))
        self._numbers += 1
        until = None
        if timeout is not None:
            try:
                check_time(timeout)
            except LocalProtocolError:
                return fail()
            until = self._clock.seconds() + timeout

        def cancel(answering: Deferred[bytes]) -> None:
            if request.asking is not None:
                request.asking.cancel()
            else:
                self._take_back(request)

        request = _Request(self._numbers, payload, until, Deferred(cancel))
        self._find_place(request, None)
        return request.answering

    def _find_place(self, request: _Request, error: NotDone | None) -> None:
        """
        Ask a request, or let it wait, or let it fail.

        :param error: what it has met on an earlier connection; ``None`` for a new one.
        """
        if self._end is not None:
            request.answering.errback(Failure(error or self._end.of_request(True)))
        elif self._wait != 0:
            insort(self._waiting, request, key=_by_number)
            self._feed()
            if request.asking is None and request.timer is None and not request.answering.called:
                left = [] if self._wait is None else [self._wait]
                if request.until is not None:
                    left.append(max(0, request.until - self._clock.seconds()))
                if left:
                    request.timer = self._clock.callLater(min(left), self._waited, request)
        elif self._client is not None:
            self._ask(self._client, request)
        else:
            request.answering.errback(Failure(error or self._no_connection()))

    def _take_back(self, request: _Request) -> None:
        request.stop_timer()
        if request in self._waiting:
            self._waiting.remove(request)

    def _waited(self, request: _Request) -> None:
        self._take_back(request)
        if request.until is not None and request.until <= self._clock.seconds():
            error: NotDone = RequestTimeout("the time for the request is over; it was not sent").of_request(True)
        elif self._client is not None:
            error = RequestTimeout(f"not sent within {self._wait:g} seconds: too many others are unanswered")
        else:
            error = self._no_connection()
        request.answering.errback(Failure(error))

    def _no_connection(self) -> NotDone:
        failure = self._endpoint.failure
        if isinstance(failure, NotDone):
            return failure.of_request(True)
        why = "" if failure is None else f"; the last try failed: {printable(describe_endpoint_error(failure))}"
        error = ServerUnavailable(f"there is no connection{why}")
        error.__cause__ = failure
        return error

    # Connections

    def _let_in(self, client: RequestClient, held: IProtocol) -> None:
        """
        A connection was made.

        :param client: our end.
        :param held: what the ``ClientService`` has of it.
        """

        def left(result: object) -> None:
            if self._client is client:
                self._client = None
            self._moves = client.is_draining
            held.connectionLost(Failure(ConnectionDone()))

        def lost(result: object) -> None:
            self._clients.discard(client)

        self._clients.add(client)
        if self._end is None:
            self._client = client
        client.when_retired().addBoth(left)
        client.when_lost().addBoth(lost)
        self._feed()

    def _refused(self, error: SodiumError) -> None:
        """
        The server does not let us in, or a mistake on this side keeps us out, and no other try would change that.

        :param error: why.
        """
        if not isinstance(error, NotDone):
            mistake, error = error, ClosedHere(f"no connection can be made from here: {error}")
            error.retry_can_help, error.__cause__ = False, mistake
        where = repr(self._endpoint)
        self._log.error("it does not try again until it is started anew: {where}", event="client_failed", where=where)
        self._finish(error)

    def _finish(self, error: NotDone) -> None:
        """From now on nothing can be asked."""
        self._end = error
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            request.stop_timer()
        for request in waiting:
            # What one of them calls may cancel others.
            if not request.answering.called:
                request.answering.errback(Failure(error.of_request(True)))

    def _delay(self, attempt: int) -> float:
        """Tell how many seconds to wait before a try, the first one behind a connection or a later one."""
        try:
            delay = self._policy(attempt)
            check_time(delay)
        except Exception:
            # In there, it would leave the ClientService where it tries no more, and can't be stopped either.
            self._log.failure(
                "the retry policy failed; the usual one tells when to try again", event="retry_policy_failed"
            )
            delay = _USUAL_POLICY(attempt)
        if self._moves:
            # At once. But not again and again, where one server behind a port lets us in only to say that it stops.
            now = self._clock.seconds()
            delay = max(0.0, self._moved + delay - now)
            self._moves, self._moved = False, now + delay
        return delay

    # Asking

    def _feed(self) -> None:
        """Ask what waits, as fast as the connection takes it."""
        client = self._client
        if client is None or self._feeding is client or not self._waiting:
            return
        self._feeding = client
        Deferred.fromCoroutine(self._ask_all(client))

    async def _ask_all(self, client: RequestClient) -> None:
        try:
            while self._waiting and self._client is client:
                await client.ready()
                if self._waiting and self._client is client:
                    self._ask(client, self._waiting.pop(0))
        except SodiumError:
            pass  # it has ended, or was closed; what waits goes on to wait for the next one
        finally:
            if self._feeding is client:
                self._feeding = None

    def _ask(self, client: RequestClient, request: _Request) -> None:
        request.stop_timer()
        left = None
        if request.until is not None:
            left = max(0, request.until - self._clock.seconds())
        request.asking = client.request(request.payload, left)
        request.asking.addCallbacks(request.answering.callback, self._failed, errbackArgs=(request, client))

    def _failed(self, reason: Failure, request: _Request, client: RequestClient) -> None:
        request.asking = None
        error = reason.value
        if not (self._repeat and isinstance(error, NotDone) and error.safe_to_repeat and error.retry_can_help):
            request.answering.errback(reason)
            return
        # It would say the same of the next one.
        if self._client is client:
            self._client = None
            client.close().addErrback(lambda reason: None)
        self._find_place(request, error)
