"""
For people who test their own applications: two authenticated ends in memory, without a reactor,
sockets or waiting.

The transports are those of ``twisted.test.iosim``. They take everything at once and are never full,
so backpressure is not seen here. Nothing moves until you call :meth:`MemoryPair.flush`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, connect

from .admission.checkers import SingleLogin
from .core.keys import KeyPair
from .endpoints.streams import StreamClientFactory, StreamServerFactory
from .protocol.factories import SodiumClientFactory, SodiumServerFactory
from .protocol.requests import RequestClient, Respond

__all__ = [
    "connect_requests",
    "connect_streams",
    "LOGIN",
    "MemoryPair",
    "PASSPHRASE",
]

#: The login and the passphrase that the client is let in with.
LOGIN = "tester"
PASSPHRASE = "passphrase of tests"


class MemoryPair:
    """
    Two ends in memory. The client is let in already.

    :ivar clock: the clock of both ends. Time passes only when it is advanced.
    :ivar server: the application's protocol at the server's end; the end itself when there is no other protocol.
    :ivar client: the application's protocol at the client's end; the end itself when there is no other protocol.
    """

    def __init__(self, clock: Clock, server_factory: SodiumServerFactory, client_factory: SodiumClientFactory) -> None:
        self.clock = clock
        server: Any = server_factory.buildProtocol(None)
        client: Any = client_factory.buildProtocol(None)
        self._pump: IOPump = connect(
            server, FakeTransport(server, isServer=True), client, FakeTransport(client, isServer=False), greet=False
        )
        # The handshake. The applications are made in it, so they can't be asked for earlier.
        self.flush()
        self.server = getattr(server, "application", server)
        self.client = getattr(client, "application", client)

    def flush(self) -> None:
        """Move bytes both ways until nothing is left to move."""
        # What was put off to the reactor's next turn happens first, and again behind each move: it may send more.
        self.clock.advance(0)
        while self._pump.pump():
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


def connect_streams(server: IProtocolFactory, client: IProtocolFactory) -> MemoryPair:
    """
    Connect two applications as :class:`~sodiumtwist.endpoints.wrappers.SodiumServerEndpoint` and
    :class:`~sodiumtwist.endpoints.wrappers.SodiumClientEndpoint` would.

    :param server: builds the application's protocol at the server's end.
    :param client: builds the application's protocol at the client's end.
    """
    clock, pair = Clock(), KeyPair.generate()
    return MemoryPair(
        clock,
        StreamServerFactory(server, pair, SingleLogin(LOGIN, PASSPHRASE), clock=clock),
        StreamClientFactory(client, pair.public, LOGIN, PASSPHRASE, clock=clock),
    )


def connect_requests(respond: Respond) -> MemoryPair:
    """
    Connect a :class:`~sodiumtwist.protocol.requests.RequestClient` to a server that answers.

    :param respond: the function that answers, see :class:`~sodiumtwist.protocol.factories.SodiumServerFactory`.
    """
    clock, pair = Clock(), KeyPair.generate()
    return MemoryPair(
        clock,
        SodiumServerFactory(pair, SingleLogin(LOGIN, PASSPHRASE), respond, clock=clock),
        SodiumClientFactory(pair.public, LOGIN, PASSPHRASE, RequestClient, clock=clock),
    )
