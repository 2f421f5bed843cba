"""
Streams whose server is about to stop, over loopback sockets.
"""

from __future__ import annotations

from typing import Any

from twisted.application.internet import ClientService
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IListeningPort, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sodiumtwist import IDrainable, PeerAborted, SingleLogin, SodiumServerEndpoint
from sodiumtwist.core.connection import Code

from ..endpoint_files import EndpointFiles
from ..over_sockets import later
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR
from ..ports import port_number


class Greeted(LineReceiver):
    """Notes who greets it."""

    transport: ITransport

    def __init__(self, test: MovingOnTests) -> None:
        self.test = test

    def lineReceived(self, line: bytes) -> None:
        later(self.test.greeted.pop(0), line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.test.ends.append(reason.value)


@implementer(IDrainable)
class Leaving(Greeted):
    """Ends its stream as soon as it hears that the server stops."""

    def drain_received(self) -> None:
        self.transport.loseConnection()


class MovingOnTests(TestCase):
    """A ``ClientService`` with an endpoint string, and servers one behind the other at one port."""

    timeout = 10

    def setUp(self) -> None:
        self.greeted: list[Deferred[bytes]] = [Deferred(), Deferred()]
        self.ends: list[BaseException | None] = []

    async def serve(self, name: bytes, where: str) -> tuple[SodiumServerEndpoint, IListeningPort]:
        class Greeter(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(name + b"\r\n")

        below = serverFromString(reactor, f"tcp:{where}:interface=127.0.0.1")
        server = SodiumServerEndpoint(below, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE))
        port = await server.listen(Factory.forProtocol(Greeter))
        self.addCleanup(port.stopListening)
        return server, port

    async def move_on(self, application: type[Greeted], timeout: float) -> None:
        """Replace a server; the application is at the next one behind that."""
        greetings = list(self.greeted)
        first, port = await self.serve(b"first", "0")
        number = port_number(port)
        keywords = EndpointFiles(self.mktemp()).for_client
        endpoint = clientFromString(reactor, f"sodium:tcp:127.0.0.1:{number}:{keywords}")

        applications: Any = Factory()
        applications.protocol = lambda: application(self)
        service = ClientService(endpoint, applications, retryPolicy=lambda attempt: 0.01)
        service.startService()
        self.addCleanup(service.stopService)
        self.assertEqual(await greetings[0], b"first")
        await maybeDeferred(port.stopListening)
        drained = first.drain(timeout)
        second, _ = await self.serve(b"second", str(number))
        self.assertEqual(await greetings[1], b"second")
        await drained
        await service.stopService()
        await second.drain()

    async def test_told(self) -> None:
        """An application that wants to know is told, ends its stream in order, and comes to the next server."""
        await self.move_on(Leaving, 5)
        self.assertIsInstance(self.ends[0], ConnectionDone)

    async def test_not_told(self) -> None:
        """Another one goes on until the server's time is over. It hears why, and comes to the next server, too."""
        await self.move_on(Greeted, 0.05)
        assert isinstance(self.ends[0], ConnectionLost)
        cause = self.ends[0].__cause__
        assert isinstance(cause, PeerAborted), cause
        self.assertEqual(cause.code, Code.SHUTTING_DOWN)
