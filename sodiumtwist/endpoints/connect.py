"""
``connect()``, which connects to a server to make requests.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IStreamClientEndpoint,
)

from ..core.connection import Bounds
from ..core.errors import LocalProtocolError
from ..core.keepalive import Timeouts
from ..core.keys import KeyPair
from ..describe import describe_bad_endpoint
from ..protocol.answering import CONCURRENCY, Respond
from ..protocol.client_endpoints import client_endpoint
from ..protocol.factories import VERSION, SodiumClientFactory
from ..protocol.requests import REQUEST_LIMIT, RequestClient

Client = TypeVar("Client", bound=RequestClient)


class Connecting(Deferred[Client], Generic[Client]):
    """
    What :func:`connect` returns: a Deferred that gives the client, and a context that closes it::

        async with connect(…) as client:
            print(await client.request(b"hello"))

    At its end, what was asked is waited for, and the connection closed in order, see :meth:`RequestClient.close`, whose
    errors come out there. When an exception leaves the block, a cancelling among them, the connection is broken off;
    so it is when the wait at the end is cancelled.
    """

    _client: Client

    async def __aenter__(self) -> Client:
        self._client = await self
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            try:
                await self._client.close()
            except CancelledError:
                self._client.abort()  # nobody waits for it any more
                raise
        else:
            self._client.abort()


def _client_from_string(reactor: Any, description: str) -> IStreamClientEndpoint:
    try:
        return client_endpoint(reactor, description)
    except Exception as error:
        raise ValueError(describe_bad_endpoint("endpoint", description, "tcp:HOST:PORT", error)) from None


async def _connect_authenticated(endpoint: IStreamClientEndpoint, factory: SodiumClientFactory) -> Any:
    """Connect, wait until the server lets us in, and return the protocol."""
    protocol: Any = await endpoint.connect(factory)
    try:
        await protocol.when_authenticated()
    # Nobody else could close it: the caller never gets it.
    except CancelledError:
        protocol.abort()
        raise
    return protocol


def _request_factory(
    reactor: Any,
    server_key: bytes,
    login: str,
    passphrase: str,
    *,
    limit: int,
    pair: KeyPair | None,
    timeouts: Timeouts | None,
    version: int,
    bounds: Bounds | None,
    respond: Respond | None,
    concurrency: int,
    protocol: type[RequestClient],
) -> SodiumClientFactory:
    """
    Make what makes the client's ends; the parameters are those of :func:`connect`.

    :raises InvalidKey: for a wrong key.
    :raises LocalProtocolError: for other wrong arguments.
    """

    def make() -> RequestClient:
        if respond is None:
            return protocol(limit=limit)
        return protocol(limit=limit, respond=respond, concurrency=concurrency)

    if respond is not None and version == 1:
        raise LocalProtocolError("in version 1 of the protocol a server asks nothing, so respond is never called")
    make()  # says now what is wrong with the limits; the factory makes one only when the transport is there
    return SodiumClientFactory(
        server_key, login, passphrase, make, pair, timeouts, reactor, version=version, bounds=bounds
    )


@overload
def connect(
    reactor: Any,
    endpoint: str | IStreamClientEndpoint,
    server_key: bytes,
    login: str = "",
    passphrase: str = "",
    *,
    early: bool = False,
    limit: int = REQUEST_LIMIT,
    pair: KeyPair | None = None,
    timeouts: Timeouts | None = None,
    version: int = VERSION,
    bounds: Bounds | None = None,
    respond: Respond | None = None,
    concurrency: int = CONCURRENCY,
) -> Connecting[RequestClient]: ...


@overload
def connect(
    reactor: Any,
    endpoint: str | IStreamClientEndpoint,
    server_key: bytes,
    login: str = "",
    passphrase: str = "",
    *,
    early: bool = False,
    limit: int = REQUEST_LIMIT,
    pair: KeyPair | None = None,
    timeouts: Timeouts | None = None,
    version: int = VERSION,
    bounds: Bounds | None = None,
    respond: Respond | None = None,
    concurrency: int = CONCURRENCY,
    protocol: type[Client],
) -> Connecting[Client]: ...


def connect(
    reactor: Any,
    endpoint: str | IStreamClientEndpoint,
    server_key: bytes,
    login: str = "",
    passphrase: str = "",
    *,
    early: bool = False,
    limit: int = REQUEST_LIMIT,
    pair: KeyPair | None = None,
    timeouts: Timeouts | None = None,
    version: int = VERSION,
    bounds: Bounds | None = None,
    respond: Respond | None = None,
    concurrency: int = CONCURRENCY,
    protocol: type[RequestClient] = RequestClient,
) -> Connecting[Any]:
    """
    Connect to a server to make requests. The result can be awaited, and used by ``async with``.

    With ``early`` the client is there as soon as the transport is connected, before the server has answered, and a
    request that is made at once saves a round trip. It is as confidential as any other. In version 1 it travels right
    behind the login, before the server has shown that it is there; when somebody records it and sends it again, a
    server that remembers handshakes refuses it. In version 2 it leaves when the server has shown its key, and is of no
    use to who records it. When the server does not let us in, the request fails with the reason.

    :param reactor: an ``IReactorTime``, with what the endpoint needs.
    :param endpoint: a client endpoint or its string, for instance ``tcp:HOST:5555``.
    :param server_key: the server's public key, 32 bytes; :func:`parse_key` reads 64 hex digits.
    :param login: up to 128 bytes of UTF-8, no NUL; in version 2 up to 255.
    :param passphrase: up to 128 bytes of UTF-8, no NUL; in version 2 up to 4096.
    :param early: do not wait for the server's hello.
    :param limit: how many requests may be unanswered at once.
    :param pair: the client's key pair, for servers that know its public key; ``None`` makes a fresh one.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :param version: of the protocol; 1 for servers that are the C program. It never falls back to another one.
    :param bounds: how much the server may make us keep in version 2, and how large a message may be; the default is
        ``Bounds()``.
    :param respond: in version 2, answers requests of the server: it is called with a
        :class:`~sodiumtwist.interfaces.Peer` and a payload, and returns bytes, or a Deferred or coroutine that gives
        them. ``None`` answers none.
    :param concurrency: how many requests of the server ``respond`` may work on at once.
    :param protocol: a subclass of :class:`RequestClient`, which is called with ``limit``, and with ``respond`` and
        ``concurrency`` where there is a ``respond``.
    :return: fires with the client. Fails with what the endpoint raises, with :exc:`AuthenticationFailed` when the
        server refuses, with :exc:`ServerUnavailable` when it has no room, is about to stop or left before it took the
        login, with another :exc:`RemoteProtocolError` when it is silent or breaks the protocol, with :exc:`InvalidKey`
        or :exc:`LocalProtocolError` for wrong arguments, and with ``ValueError`` for a wrong string. To cancel it
        drops the connection.
    """

    # What is wrong with the arguments is raised in here, so that the Deferred fails with it as with all else.
    async def connecting() -> Any:
        factory = _request_factory(
            reactor,
            server_key,
            login,
            passphrase,
            limit=limit,
            pair=pair,
            timeouts=timeouts,
            version=version,
            bounds=bounds,
            respond=respond,
            concurrency=concurrency,
            protocol=protocol,
        )
        where = _client_from_string(reactor, endpoint) if isinstance(endpoint, str) else endpoint
        if early:
            return await where.connect(factory)
        return await _connect_authenticated(where, factory)

    running = Deferred.fromCoroutine(connecting())
    result: Connecting[Any] = Connecting(lambda _: running.cancel())
    running.chainDeferred(result)
    return result
