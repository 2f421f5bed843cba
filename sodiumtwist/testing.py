"""
For people who test their own applications: authenticated ends in memory, without a reactor, sockets or waiting.

The transports are those of ``twisted.test.iosim``. They take everything at once and are never full,
so backpressure is not seen here. Nothing moves until you call :meth:`MemoryPair.flush`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypedDict

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, connect

from .admission.authorized import AuthorizedKeys, AuthorizedKeysFile
from .admission.checkers import SingleLogin
from .admission.limits import Limits
from .core.connection import Bounds
from .core.keepalive import Timeouts
from .core.keys import KeyPair
from .core.version import VERSIONS
from .endpoints.streams import StreamClientFactory, StreamServerFactory
from .protocol.factories import VERSION, SodiumClientFactory, SodiumServerFactory
from .protocol.requests import CONCURRENCY, RequestClient, Respond

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "connect_requests",
    "connect_streams",
    "LOGIN",
    "MemoryPair",
    "PASSPHRASE",
    "Settings",
]

#: The login and the passphrase that the client is let in with.
LOGIN = "tester"
PASSPHRASE = "passphrase of tests"


class _Transport(FakeTransport):
    """
    Aborts as sockets do: what was not delivered is dropped, and the other end sees a lost connection.

    :ivar other: the transport of the other end.
    """

    other: _Transport
    disconnectReason: Any

    def abortConnection(self) -> None:
        if not self.disconnected:
            self.other.disconnectReason = ConnectionLost()
            self.disconnectReason = ConnectionAborted()
            self.stream.clear()
            self.disconnecting = True


class MemoryPair:
    """
    Two ends in memory: any server's, and any client's that knows its key. Unless the server has something against it,
    or takes its time to decide, the client is let in already.

    :param clock: the clock that the factories have.
    :param server_factory: makes the server's end.
    :param client_factory: makes the client's end.
    :param host: the client's address; the server limits how many connections one has.
    :param beside: another pair with the same clock. What one of the two flushes or advances, both do.
    :ivar clock: the clock of both ends. Time passes only when it is advanced.
    :ivar server_factory: as it was given.
    :ivar client_factory: as it was given.
    :ivar server_end: the server's end of the connection.
    :ivar client_end: the client's end of the connection.
    """

    def __init__(
        self,
        clock: Clock,
        server_factory: SodiumServerFactory,
        client_factory: SodiumClientFactory,
        host: str = "192.0.2.1",
        beside: MemoryPair | None = None,
    ) -> None:
        self.clock = clock
        self.server_factory = server_factory
        self.client_factory = client_factory
        here, there = IPv4Address("TCP", host, 4711), IPv4Address("TCP", "192.0.2.2", 5555)
        self.server_end: Any = server_factory.buildProtocol(here)
        self.client_end: Any = client_factory.buildProtocol(there)
        server = _Transport(self.server_end, True, there, here)
        client = _Transport(self.client_end, False, here, there)
        server.other, client.other = client, server
        self._transports = server, client
        # Those of all pairs that share a server.
        self._pumps: list[IOPump] = [] if beside is None else beside._pumps
        self._pumps.append(connect(self.server_end, server, self.client_end, client, greet=False))
        # The handshake. The applications are made in it, so they can't be asked for earlier.
        self.flush()

    @property
    def server(self) -> Any:
        """The application's protocol at the server's end; the end itself when there is no other protocol."""
        return getattr(self.server_end, "application", self.server_end)

    @property
    def client(self) -> Any:
        """The application's protocol at the client's end; the end itself when there is no other protocol."""
        return getattr(self.client_end, "application", self.client_end)

    def connect_another(self, client_factory: SodiumClientFactory | None = None, host: str = "192.0.2.1") -> MemoryPair:
        """
        Connect one more client to the same server, on the same clock. What one pair flushes or advances, all of them
        do.

        :param client_factory: makes the client's end; ``None`` for the factory that this pair has.
        :param host: the client's address.
        """
        return MemoryPair(self.clock, self.server_factory, client_factory or self.client_factory, host, self)

    def flush(self) -> None:
        """Move bytes both ways until nothing is left to move."""
        # What was put off to the reactor's next turn happens first, and again behind each move: it may send more.
        self.clock.advance(0)
        while any([pump.pump() for pump in self._pumps]):
            self.clock.advance(0)

    def advance(self, seconds: float) -> None:
        """
        Let time pass. What timers send meanwhile is moved.

        :param seconds: how long.
        """
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 0:
            # From one timer to the next: what one sends must arrive before the next one goes off, as it would between
            # real ends. At least a millisecond, so that timers that are due at once do not keep time from passing.
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            self.clock.advance(min(left, max(0.001, due - self.clock.seconds())))
            self.flush()

    def cut(self) -> None:
        """Break the link: what is on its way is dropped, and both ends see a lost connection at once."""
        for transport in self._transports:
            transport.stream.clear()
            transport.disconnectReason = ConnectionLost()
            transport.disconnecting = True
        self.flush()


class Settings(TypedDict, total=False):
    """
    How two ends are connected; what is left out is as it is by default. Timeouts and bounds are the same for both; to
    have them differ, make the factories yourself, for a :class:`MemoryPair`.

    :ivar login: what the client logs in with; LOGIN by default.
    :ivar passphrase: what the client logs in with; PASSPHRASE by default.
    :ivar key_pair: the client's key pair; a fresh one by default.
    :ivar version: the version of the protocol that the client speaks.
    :ivar versions: those that the server takes.
    :ivar checker: decides on logins; by default it takes LOGIN with PASSPHRASE.
    :ivar authorized_keys: the clients' public keys that get in.
    :ivar message: the line that the client gets.
    :ivar limits: how many connections and how many tries the server takes.
    :ivar concurrency: how many requests the server works on at once.
    :ivar timeouts: the deadlines of both ends.
    :ivar bounds: how much each end may make the other keep, in version 2.
    """

    login: str
    passphrase: str
    key_pair: KeyPair | None
    version: int
    versions: Collection[int]
    checker: ICredentialsChecker | Portal | None
    authorized_keys: AuthorizedKeys | AuthorizedKeysFile | None
    message: str
    limits: Limits | None
    concurrency: int
    timeouts: Timeouts | None
    bounds: Bounds | None


def _arguments(settings: Settings) -> tuple[Clock, dict[str, Any], dict[str, Any]]:
    """
    Make what both ends have in common.

    :return: their clock, and the arguments of the server's and of the client's factory.
    """
    clock, pair = Clock(), KeyPair.generate()
    both = {"clock": clock, "timeouts": settings.get("timeouts"), "bounds": settings.get("bounds")}
    server = {
        "pair": pair,
        "checker": settings.get("checker", SingleLogin(LOGIN, PASSPHRASE)),
        "authorized_keys": settings.get("authorized_keys"),
        "message": settings.get("message", "Welcome."),
        "limits": settings.get("limits"),
        "concurrency": settings.get("concurrency", CONCURRENCY),
        "versions": settings.get("versions", VERSIONS),
    }
    client = {
        "server_key": pair.public,
        "login": settings.get("login", LOGIN),
        "passphrase": settings.get("passphrase", PASSPHRASE),
        "pair": settings.get("key_pair"),
        "version": settings.get("version", VERSION),
    }
    return clock, {**server, **both}, {**client, **both}


def connect_streams(server: IProtocolFactory, client: IProtocolFactory, **settings: Unpack[Settings]) -> MemoryPair:
    """
    Connect two applications as :class:`~sodiumtwist.endpoints.wrappers.SodiumServerEndpoint` and
    :class:`~sodiumtwist.endpoints.wrappers.SodiumClientEndpoint` would.

    :param server: builds the application's protocol at the server's end.
    :param client: builds the application's protocol at the client's end.
    :param settings: see :class:`Settings`.
    """
    clock, of_server, of_client = _arguments(settings)
    return MemoryPair(clock, StreamServerFactory(server, **of_server), StreamClientFactory(client, **of_client))


def connect_requests(
    respond: Respond, client: Callable[[], RequestClient] = RequestClient, **settings: Unpack[Settings]
) -> MemoryPair:
    """
    Connect a :class:`~sodiumtwist.protocol.requests.RequestClient` to a server that answers.

    :param respond: the function that answers, see :class:`~sodiumtwist.protocol.factories.SodiumServerFactory`.
    :param client: makes the client's end.
    :param settings: see :class:`Settings`.
    """
    clock, of_server, of_client = _arguments(settings)
    return MemoryPair(
        clock,
        SodiumServerFactory(respond=respond, **of_server),
        SodiumClientFactory(protocol=client, **of_client),
    )
