"""
Endpoints that have another endpoint inside, and encrypt what goes through it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from zope.interface import implementer

from ..admission.authorized import AuthorizedKeys, AuthorizedKeysFile
from ..admission.limits import Limits
from ..admission.replays import IReplayMemory
from ..core.connection import Bounds, Salts
from ..core.keepalive import Timeouts
from ..core.keys import KeyPair
from ..core.v2.handshake import TIME_TOLERANCE
from ..core.version import VERSIONS, RekeyAfter
from ..describe import describe_endpoint_error, printable
from ..protocol.draining import DRAIN_TIMEOUT
from ..protocol.factories import VERSION
from ..protocol.sockets import describe_endpoint
from .connect import _connect_authenticated
from .streams import ClientStream, StreamClientFactory, StreamServerFactory


def _describe(endpoint: object) -> str:
    ours = isinstance(endpoint, (SodiumServerEndpoint, SodiumClientEndpoint))
    return repr(endpoint) if ours else describe_endpoint(endpoint)


@implementer(IStreamServerEndpoint)
class SodiumServerEndpoint:
    """
    Listens where another endpoint listens. Applications see only clients that are authenticated.

    The parameters behind ``endpoint`` are those of :class:`~sodiumtwist.protocol.factories.SodiumServerFactory`.

    :param endpoint: where to listen.
    :param pair: the server's key pair.
    :param checker: decides on logins.
    :raises LocalProtocolError: when the message does not fit its field, and when neither ``checker`` nor
        ``authorized_keys`` is given.
    """

    def __init__(
        self,
        endpoint: IStreamServerEndpoint,
        pair: KeyPair,
        checker: ICredentialsChecker | Portal | None,
        message: str = "Welcome.",
        timeouts: Timeouts | None = None,
        clock: IReactorTime | None = None,
        authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None = None,
        replays: IReplayMemory | None = None,
        limits: Limits | None = None,
        rekey: RekeyAfter | None = None,
        versions: Collection[int] = VERSIONS,
        bounds: Bounds | None = None,
        salts: Salts | None = None,
        tolerance: float = TIME_TOLERANCE,
    ) -> None:
        self._endpoint = endpoint

        def make_factory(application: IProtocolFactory) -> StreamServerFactory:
            return StreamServerFactory(
                application,
                pair,
                checker,
                message=message,
                timeouts=timeouts,
                clock=clock,
                authorized_keys=authorized_keys,
                replays=replays,
                limits=limits,
                rekey=rekey,
                versions=versions,
                bounds=bounds,
                salts=salts,
                tolerance=tolerance,
            )

        self._make_factory = make_factory
        self._factories: list[StreamServerFactory] = []
        # Says now what is wrong with the arguments, not when somebody listens.
        self._with = make_factory(Factory()).describe()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {_describe(self._endpoint)}, {self._with}>"

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Listen.

        :param protocolFactory: makes the application's protocols. Their transport is an
            :class:`~sodiumtwist.interfaces.ISodiumTransport`.
        :return: what the endpoint below returns: fires with its port, or fails with what it raises.
        """
        factory = self._make_factory(protocolFactory)
        self._factories.append(factory)
        return self._endpoint.listen(factory)

    def drain(self, timeout: float = DRAIN_TIMEOUT) -> Deferred[None]:
        """
        Stop in order. Stop listening before that. Applications of clients go on to their own end, and may be told, see
        :class:`~sodiumtwist.interfaces.IDrainable`.

        :param timeout: how many seconds they get.
        :return: as that of :meth:`.SodiumServerFactory.drain`.
        """
        return gatherResults([factory.drain(timeout) for factory in self._factories]).addCallback(lambda drained: None)


@implementer(IStreamClientEndpoint)
class SodiumClientEndpoint:
    """
    Connects where another endpoint connects. Applications see the server when it has let us in.

    :param endpoint: where to connect.
    :param server_key: the server's public key, 32 bytes.
    :param login: up to 128 bytes of UTF-8, no NUL; in version 2 up to 255.
    :param passphrase: up to 128 bytes of UTF-8, no NUL; in version 2 up to 4096.
    :param pair: the client's key pair, for servers that know its public key; ``None`` makes a fresh one
        for each connection.
    :param timeouts: the deadlines; the default is ``Timeouts()``.
    :param clock: an ``IReactorTime``; ``None`` for the global reactor. Of a reactor that counts by the wall clock only
        the timers are used, with a monotonic clock; anything else is used as it is.
    :param rekey: when to send with a new key; the default is ``RekeyAfter()``.
    :param version: of the protocol; 1 for servers that are the C program. It never falls back to another one.
    :param bounds: how much a server of version 2 may make us keep; the default is ``Bounds()``.
    :raises InvalidKey: when the server's key can't be one.
    :raises LocalProtocolError: when the login or the passphrase does not fit its field, and when there is no such
        version.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        server_key: bytes,
        login: str = "",
        passphrase: str = "",
        pair: KeyPair | None = None,
        timeouts: Timeouts | None = None,
        clock: IReactorTime | None = None,
        rekey: RekeyAfter | None = None,
        version: int = VERSION,
        bounds: Bounds | None = None,
    ) -> None:
        self._endpoint = endpoint

        def make_factory(application: IProtocolFactory) -> StreamClientFactory:
            return StreamClientFactory(
                application,
                server_key,
                login,
                passphrase,
                pair=pair,
                timeouts=timeouts,
                clock=clock,
                rekey=rekey,
                version=version,
                bounds=bounds,
            )

        self._make_factory = make_factory
        # Says now what is wrong with the arguments, not when somebody connects.
        self._with = make_factory(Factory()).describe()
        self._failure = ""

    def __repr__(self) -> str:
        # ClientService and others log that they will try again, and where, but not why.
        why = f"; the last try failed: {self._failure}" if self._failure else ""
        return f"<{type(self).__name__} to {_describe(self._endpoint)}, {self._with}{why}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.

        :param protocolFactory: makes the application's protocol. Its transport is an
            :class:`~sodiumtwist.interfaces.ISodiumTransport`.
        :return: fires with the protocol when the server has let us in. Fails with what the endpoint below raises,
            with :exc:`AuthenticationFailed` when the server refuses, with :exc:`ServerUnavailable` when it left before
            it took the login, and with another :exc:`RemoteProtocolError` when it is silent or breaks the protocol. To
            cancel it drops the connection.
        """

        async def connecting() -> IProtocol:
            try:
                stream: ClientStream = await _connect_authenticated(self._endpoint, self._make_factory(protocolFactory))
            except CancelledError:
                raise
            except Exception as error:
                self._failure = printable(describe_endpoint_error(error))
                raise
            self._failure = ""
            return cast(IProtocol, stream.application)

        return Deferred.fromCoroutine(connecting())
