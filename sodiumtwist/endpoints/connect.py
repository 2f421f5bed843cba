"""
``connect()``, which connects to a server to make requests.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IStreamClientEndpoint,
)

from ..core.keepalive import Timeouts
from ..core.keys import KeyPair
from ..describe import describe_bad_endpoint
from ..protocol.client_endpoints import client_endpoint
from ..protocol.factories import SodiumClientFactory
from ..protocol.requests import REQUEST_LIMIT, RequestClient


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
) -> Deferred[RequestClient]:
    """
    Connect to a server to make requests.

    With ``early`` the client is there as soon as the transport is connected, before the server has answered. A request
    that is made at once then travels right behind the login, in the same segment, and saves a round trip. It is as
    confidential as any other. When somebody records it and sends it again, a server that remembers handshakes refuses
    it. But it is made before the server has shown that it is there and lets us in. When the server does not, the
    request fails with the reason.

    :param reactor: an ``IReactorTime``, with what the endpoint needs.
    :param endpoint: a client endpoint or its string, for instance ``tcp:HOST:5555``.
    :param server_key: the server's public key, 32 bytes; :func:`parse_key` reads 64 hex digits.
    :param login: up to 128 bytes of UTF-8, no NUL.
    :param passphrase: up to 128 bytes of UTF-8, no NUL.
    :param early: do not wait for the server's hello.
    :param limit: how many requests may be unanswered at once.
    :param pair: the client's key pair, for servers that know its public key; ``None`` makes a fresh one.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :return: fires with the client. Fails with what the endpoint raises, with :exc:`AuthenticationFailed` when the
        server refuses, with :exc:`ServerUnavailable` when it left before it took the login, with another
        :exc:`RemoteProtocolError` when it is silent or breaks the protocol, with :exc:`InvalidKey` or
        :exc:`LocalProtocolError` for wrong arguments, and with ``ValueError`` for a wrong string. To cancel it drops
        the connection.
    """

    # What is wrong with the arguments is raised in here, so that the Deferred fails with it as with all else.
    async def connecting() -> RequestClient:
        factory = SodiumClientFactory(
            server_key, login, passphrase, lambda: RequestClient(limit), pair, timeouts, reactor
        )
        # Says now what is wrong with the limit. The factory makes one only when the transport is there.
        RequestClient(limit)
        where = _client_from_string(reactor, endpoint) if isinstance(endpoint, str) else endpoint
        if early:
            return cast(RequestClient, await where.connect(factory))
        client: RequestClient = await _connect_authenticated(where, factory)
        return client

    return Deferred.fromCoroutine(connecting())
