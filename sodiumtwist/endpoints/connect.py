"""
``connect()``, which connects to a server to make requests.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar, overload

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IStreamClientEndpoint,
)

from ..contacts.lookup import can_be_name, check_same_key, look_up, read_identity, read_kept_passphrase
from ..contacts.servers import find_server
from ..core.connection import Bounds
from ..core.errors import LocalProtocolError
from ..core.keepalive import Timeouts
from ..core.keys import KeyPair
from ..describe import describe_bad_endpoint
from ..describe.log import Logger
from ..protocol.answering import CONCURRENCY, Respond
from ..protocol.client_endpoints import client_endpoint
from ..protocol.factories import VERSION, SodiumClientFactory
from ..protocol.requests import REQUEST_LIMIT, RequestClient

_log = Logger()

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


class Introduced(NamedTuple):
    """
    What it takes to connect to a server.

    :ivar endpoint: where it is.
    :ivar server_key: its public key, 32 bytes.
    :ivar login: ours there.
    :ivar passphrase: ours there.
    :ivar pair: our key pair there; ``None`` for a fresh one.
    :ivar version: of the protocol.
    """

    endpoint: IStreamClientEndpoint
    server_key: bytes
    login: str
    passphrase: str
    pair: KeyPair | None
    version: int


def introduce(
    reactor: Any,
    endpoint: str | IStreamClientEndpoint,
    server_key: bytes | None,
    login: str,
    passphrase: str,
    pair: KeyPair | None,
    version: int | None,
) -> Introduced:
    """
    Put together what was given, and what is known of a server with a URL or a name. What was given goes first.

    The parameters are those of :func:`connect`.

    :raises OSError: when a file can't be read.
    :raises InvalidKey: when a known server has another key, and when a key can be none.
    :raises LocalProtocolError: when there is no key, when a file is not as it should be, and for an invitation.
    :raises ValueError: for a wrong string.
    """
    # Who has a key for a host may do without names.
    warn = None if server_key is None else lambda line: _log.warn("{line}", event="client_warning", line=line)
    server = look_up(endpoint, warn) if isinstance(endpoint, str) else None
    if server is None:
        if server_key is None:
            if isinstance(endpoint, str) and can_be_name(endpoint):
                find_server(endpoint)  # raises, and tells which are known
            raise LocalProtocolError(
                "server_key is missing; only an endpoint that is the name or the URL of a server goes without"
            )
        version = VERSION if version is None else version
        where = _client_from_string(reactor, endpoint) if isinstance(endpoint, str) else endpoint
        return Introduced(where, server_key, login, passphrase, pair, version)
    if server_key is not None:
        check_same_key(server, server_key)
    if pair is None:
        pair = read_identity(server)
    if not passphrase:
        kept, warning = read_kept_passphrase(server)
        passphrase = kept or ""
        if warning is not None:
            _log.warn("{line}", event="client_warning", line=warning)
    return Introduced(
        _client_from_string(reactor, server.endpoint),
        server.server_key,
        login or server.login,
        passphrase,
        pair,
        server.protocol if version is None else version,
    )


def _client_from_string(reactor: Any, description: str) -> IStreamClientEndpoint:
    try:
        return client_endpoint(reactor, description)
    except Exception as error:
        raise ValueError(describe_bad_endpoint("endpoint", description, "HOST:PORT", error)) from None


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
    server: Introduced,
    *,
    limit: int,
    timeouts: Timeouts | None,
    bounds: Bounds | None,
    respond: Respond | None,
    concurrency: int,
    protocol: type[RequestClient],
) -> SodiumClientFactory:
    """
    Make what makes the client's ends; the other parameters are those of :func:`connect`.

    :param server: where they connect.

    :raises InvalidKey: for a wrong key.
    :raises LocalProtocolError: for other wrong arguments.
    """

    def make() -> RequestClient:
        if respond is None:
            return protocol(limit=limit)
        return protocol(limit=limit, respond=respond, concurrency=concurrency)

    if respond is not None and server.version == 1:
        raise LocalProtocolError("in version 1 of the protocol a server asks nothing, so respond is never called")
    make()  # says now what is wrong with the limits; the factory makes one only when the transport is there
    return SodiumClientFactory(
        server.server_key,
        server.login,
        server.passphrase,
        make,
        server.pair,
        timeouts,
        reactor,
        version=server.version,
        bounds=bounds,
    )


@overload
def connect(
    reactor: Any,
    endpoint: str | IStreamClientEndpoint,
    server_key: bytes | None = None,
    login: str = "",
    passphrase: str = "",
    *,
    early: bool = False,
    limit: int = REQUEST_LIMIT,
    pair: KeyPair | None = None,
    timeouts: Timeouts | None = None,
    version: int | None = None,
    bounds: Bounds | None = None,
    respond: Respond | None = None,
    concurrency: int = CONCURRENCY,
) -> Connecting[RequestClient]: ...


@overload
def connect(
    reactor: Any,
    endpoint: str | IStreamClientEndpoint,
    server_key: bytes | None = None,
    login: str = "",
    passphrase: str = "",
    *,
    early: bool = False,
    limit: int = REQUEST_LIMIT,
    pair: KeyPair | None = None,
    timeouts: Timeouts | None = None,
    version: int | None = None,
    bounds: Bounds | None = None,
    respond: Respond | None = None,
    concurrency: int = CONCURRENCY,
    protocol: type[Client],
) -> Connecting[Client]: ...


def connect(
    reactor: Any,
    endpoint: str | IStreamClientEndpoint,
    server_key: bytes | None = None,
    login: str = "",
    passphrase: str = "",
    *,
    early: bool = False,
    limit: int = REQUEST_LIMIT,
    pair: KeyPair | None = None,
    timeouts: Timeouts | None = None,
    version: int | None = None,
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
    :param endpoint: a client endpoint or its string, for instance ``tcp:HOST:5555``; HOST:PORT; the URL of a server; or
        the name of one that is known, as ``sodiumtwist servers`` lists them. What is known of a server need not be
        given.
    :param server_key: the server's public key, 32 bytes; :func:`parse_key` reads 64 hex digits.
    :param login: up to 128 bytes of UTF-8, no NUL; in version 2 up to 255.
    :param passphrase: up to 128 bytes of UTF-8, no NUL; in version 2 up to 4096.
    :param early: do not wait for the server's hello.
    :param limit: how many requests may be unanswered at once.
    :param pair: the client's key pair, for servers that know its public key; ``None`` makes a fresh one.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :param version: of the protocol; 1 for servers that are the C program. It never falls back to another one. ``None``
        is that of a known server, else 2.
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
        or :exc:`LocalProtocolError` for wrong arguments, with ``ValueError`` for a wrong string, and with ``OSError``
        when what is known of a server can't be read. To cancel it drops the connection.
    """

    # What is wrong with the arguments is raised in here, so that the Deferred fails with it as with all else.
    async def connecting() -> Any:
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
        if early:
            return await server.endpoint.connect(factory)
        return await _connect_authenticated(server.endpoint, factory)

    running = Deferred.fromCoroutine(connecting())
    result: Connecting[Any] = Connecting(lambda _: running.cancel())
    running.chainDeferred(result)
    return result
