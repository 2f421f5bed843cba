"""
What the log of a tunnel has of what its server says, in version 2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist import AuthenticationFailed, SingleLogin, SodiumClientEndpoint
from sodiumtwist.core.connection import Code
from sodiumtwist.core.version import VERSIONS
from sodiumtwist.endpoints.streams import ServerStream, StreamServerFactory
from sodiumtwist.protocol import sockets
from sodiumtwist.tunnel import TunnelFactory

from .applications import Application, Applications
from .logs import logged, unusual
from .memory_sockets import MemoryConnection, MemoryReactor, MemorySocket, has_error, held_by_the_system, socket_pair
from .pair import CLIENT_PAIR, LOGIN, PASSPHRASE, SERVER_PAIR
from .test_tunnel_ends import ADDRESS, Endpoint, Program


@implementer(ICredentialsChecker)
class Refusing:
    """
    Refuses by a code, whatever the login.

    :param refuse: does so.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, refuse: Callable[[], None]) -> None:
        self._refuse = refuse

    def requestAvatarId(self, credentials: UsernamePassword) -> Deferred[bytes | tuple[()]]:
        self._refuse()
        return Deferred()


class ReasonTests(SynchronousTestCase):
    """A program, the tunnel's end beside it, and a server, in memory."""

    def setUp(self) -> None:
        self.patch(sockets, "_kernel_holds", held_by_the_system)
        self.patch(sockets, "_has_error", has_error)
        self.reactor = MemoryReactor()
        self.sockets: list[MemorySocket] = []
        self.events = logged(self)
        self.servers = Applications()

    def start(
        self, checker: ICredentialsChecker | None = None, versions: Collection[int] = VERSIONS, key: bytes | None = None
    ) -> Program:
        self.server = StreamServerFactory(
            self.servers, SERVER_PAIR, checker or SingleLogin(LOGIN, PASSPHRASE), clock=self.reactor, versions=versions
        )
        self.addCleanup(self.server.admission.stop)
        below = Endpoint(self.connect_server)
        endpoint = SodiumClientEndpoint(
            below, key or SERVER_PAIR.public, LOGIN, PASSPHRASE, clock=self.reactor, version=2
        )
        self.tunnels = TunnelFactory(endpoint, "the server", clock=self.reactor)
        return self.enter()

    def enter(self) -> Program:
        mine, its = self.pair()
        self.attach(self.tunnels, its)
        program = Program(mine)
        self.run_all(program)
        return program

    def pair(self) -> tuple[MemorySocket, MemorySocket]:
        pair = socket_pair()
        self.sockets += pair
        return pair

    def attach(self, factory: IProtocolFactory, handle: MemorySocket) -> IProtocol:
        protocol = factory.buildProtocol(ADDRESS)
        assert protocol is not None
        MemoryConnection(handle, protocol, self.reactor)
        return protocol

    def connect_server(self, factory: IProtocolFactory) -> IProtocol:
        mine, its = self.pair()
        self.attach(self.server, its)
        return self.attach(factory, mine)

    def run_all(self, program: Program) -> None:
        moved = True
        while moved:
            moved = any([each.move() for each in self.sockets])
            moved = any([self.reactor.turn(), program.read(), moved])

    def wait(self, program: Program) -> None:
        self.run_all(program)
        for _ in range(10):
            self.reactor.advance(1)
            self.run_all(program)

    @property
    def lines(self) -> list[str]:
        """What the tunnel has logged, but for connections that come, and go as they should."""
        return unusual(event for event in self.events if "tunnel" in str(event.get("log_namespace")))

    def only(self) -> ServerStream:
        (connection,) = self.server.connections
        assert isinstance(connection, ServerStream)
        return connection

    def test_no_answer(self) -> None:
        """A server that speaks version 1 alone, or has another key, says nothing: what that may mean is told."""
        for versions, key in (((1,), SERVER_PAIR.public), (VERSIONS, CLIENT_PAIR.public)):
            self.events.clear()
            program = self.start(versions=versions, key=key)
            for _ in range(2):
                self.wait(program)
            self.assertEqual(program.saw, "reset")
            (line,) = self.lines
            self.assertRegex(line, "cannot connect .* to the server: .*another key.* version 1 .*a day")

    def test_wrong_login(self) -> None:
        program = self.start(SingleLogin(LOGIN, "another"))
        self.wait(program)
        self.assertEqual(program.saw, "reset")
        (line,) = self.lines
        self.assertRegex(line, r"cannot connect 192\.0\.2\.1:4711 to the server: .*login, passphrase or key refused")

    def test_refused(self) -> None:
        """Each reason has its own line."""
        for code, text in (
            (Code.TOO_MANY_FAILURES, "too many tries"),
            (Code.NO_ROOM, "full"),
            (Code.SHUTTING_DOWN, "it stops"),
            (Code.STORAGE, "the disk is full"),
        ):
            self.events.clear()

            def refuse(code: Code = code, text: str = text) -> None:
                connection = self.only()
                connection._connection.reject(code, text)
                connection._close(AuthenticationFailed(text))

            program = self.start(Refusing(refuse))
            self.wait(program)
            self.assertEqual(program.saw, "reset")
            (line,) = self.lines
            self.assertRegex(line, f"cannot connect .* to the server: .*{text}")

    def test_broken_off(self) -> None:
        """Behind an ABORT, too; a server that gives no text has its code told."""
        for code, text, says in (
            (Code.SHUTTING_DOWN, "the server is stopping", "the server is stopping"),
            (Code.NO_ROOM, "", "no room, try again later"),
            (Code.STORAGE, "the disk is full", "the disk is full"),
            (Code.APPLICATION_FAILED, "", "the application failed"),
            (0x80000001, "", "code 2147483649"),
        ):
            self.events.clear()
            program = self.start()
            self.only().abort_with(code, text)
            self.run_all(program)
            self.assertEqual(program.saw, "reset")
            self.assertEqual(
                self.lines,
                [
                    "the server speaks version 2 of the protocol",
                    f"the connection with 192.0.2.1:4711 broke: the other end broke off: {says}",
                ],
            )

    def test_cut(self) -> None:
        program = self.start()
        program.send(10)
        self.run_all(program)
        for each in self.sockets[2:]:
            each.be_reset()
        self.run_all(program)
        self.assertEqual(program.saw, "reset")
        self.assertRegex(self.lines[-1], "the connection with .* broke: the connection was cut")

    def test_version(self) -> None:
        """It is told when it is new."""
        self.start()
        self.enter()
        self.assertEqual(self.lines, ["the server speaks version 2 of the protocol"])

    def test_drain(self) -> None:
        """A server that is about to stop: one line for all connections, which go on to their own end."""
        program = self.start()
        other = self.enter()
        for connection in list(self.server.connections):
            connection.drain()
        self.run_all(program)
        self.assertEqual(self.lines[1:], ["the server is about to stop; 2 connections go on"])
        program.send(100)
        self.run_all(program)
        self.assertEqual(sum(len(application.received) for application in self.servers.built), 100)
        for each in (program, other):
            each.close()
            self.run_all(each)
        self.assertEqual([application.why is None for application in self.servers.built], [False, False])
        self.assertEqual(self.server.connections, set())
        self.assertEqual(len(self.lines), 2)

    def test_why_it_breaks_off(self) -> None:
        """The server's application hears why."""
        for happens, says in (
            (lambda program: program.reset(), "the connection behind it broke"),
            (lambda program: self.tunnels.drop(), "the tunnel is stopping"),
        ):
            program = self.start()
            happens(program)
            self.run_all(program)
            application: Application = self.servers.built[-1]
            assert application.reason is not None
            self.assertIn(f"the other end broke off: {says}", application.reason.getErrorMessage())
