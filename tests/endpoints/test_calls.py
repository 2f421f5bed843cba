"""
When the application of a stream is called: by the reactor, as over a socket, never within a call of its own. And under
which name that stands in the log.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ILoggingContext, IProtocolFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python import context, log
from twisted.python.failure import Failure
from zope.interface import implementer

from sodiumtwist import SingleLogin
from sodiumtwist.endpoints.streams import StreamClientFactory, StreamServerFactory
from sodiumtwist.interfaces import IReadListener
from sodiumtwist.protocol.farewell import BrokenOff
from sodiumtwist.protocol.log_names import log_prefix
from sodiumtwist.protocol.sockets import CHUNK_SIZE

from ..applications import Application, Applications, HalfCloseable, Producer, StreamTestCase
from ..certificates import Authority
from ..memory_sockets import ROOM, MemoryConnection
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, Boom
from ..protocol import test_rest
from ..versions import each_version, spoken


def system() -> Any:
    """Tell under which name a line of the log would stand now."""
    return context.get(log.ILogContext)["system"]


class Noting(HalfCloseable):
    """Notes what it is told, and the name in the log."""

    within = False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.systems: set[str] = set()
        self.producer = NotingProducer(self)

    def logPrefix(self) -> str:
        return "Noting, of a test"

    def note(self, what: str) -> None:
        assert not self.within, what
        self.told.append(what)
        self.systems.add(system())

    def dataReceived(self, data: bytes) -> None:
        self.note("data")
        super().dataReceived(data)

    def readConnectionLost(self) -> None:
        self.note("peer's end")
        super().readConnectionLost()

    def writeConnectionLost(self) -> None:
        self.note("own end")
        super().writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.note("over")
        super().connectionLost(reason)

    def call(self, *names: str) -> None:
        """Call methods of the transport, within which nothing is to be told."""
        self.within = True
        for name in names:
            getattr(self.transport, name)()
        self.within = False

    def register(self) -> None:
        self.within = True
        self.transport.registerProducer(self.producer, True)
        self.within = False


class NotingProducer(Producer):
    def __init__(self, application: Noting) -> None:
        super().__init__()
        self.application = application

    def pauseProducing(self) -> None:
        self.application.note("pause")

    def resumeProducing(self) -> None:
        self.application.note("resume")

    def stopProducing(self) -> None:
        self.application.note("stop")


@implementer(IReadListener)
class Listener(Application):
    """Fails when a read is over that has brought something."""

    def read_over(self) -> None:
        if self.received:
            raise Boom()


@each_version
class OwnCallTests(StreamTestCase):
    """The server's application calls its transport, and is told of nothing within that."""

    def begin(self) -> Noting:
        self.start(server=Noting, client=HalfCloseable)
        assert isinstance(self.server, Noting)
        return self.server

    def hold(self) -> Noting:
        """It has paused, and something waits for it."""
        server = self.begin()
        server.transport.pauseProducing()
        self.client.transport.write(b"something")
        self.flush()
        return server

    def assert_nothing_due(self) -> None:
        due = [call for call in self.clock.getDelayedCalls() if call.getTime() <= self.clock.seconds()]
        self.assertEqual(due, [])

    def test_resumed(self) -> None:
        for name in ("resumeProducing", "startReading"):
            server = self.hold()
            server.call(name, name)
            self.clock.advance(0)
            self.assertEqual((server.told, server.received), (["data"], b"something"))

    def test_paused_again(self) -> None:
        """Before the turn in which it would have got what waits."""
        for name in ("pauseProducing", "stopReading"):
            server = self.hold()
            server.call("resumeProducing", name)
            self.clock.advance(0)
            self.assertEqual(server.told, [])
            server.call("resumeProducing")
            self.clock.advance(0)
            self.assertEqual(server.told, ["data"])

    def test_resumed_at_an_end(self) -> None:
        """Whatever waits comes before it, in this turn or the next."""
        for reason in (ConnectionDone, ConnectionLost):
            server = self.hold()
            server.call("resumeProducing")
            self.pair.server_transport.lose(reason())
            self.assertEqual(server.told, [])
            self.clock.advance(0)
            self.assertEqual(server.told, ["data", "over"])
            self.assertIs(server.why, ConnectionLost)
            self.assert_nothing_due()

    def test_closed_behind_an_end(self) -> None:
        """
        The transport has ended already, which it was not told, for it had paused. In version 2 nothing that is done
        here makes an end in order of that: the peer has not said its own.
        """
        closed = ConnectionDone if spoken() == 1 else ConnectionLost
        for name, why in (
            ("loseConnection", closed),
            ("stopConsuming", closed),
            ("abortConnection", closed),
            ("breakConnection", BrokenOff),
            ("resumeProducing", ConnectionLost),
        ):
            server = self.hold()
            self.pair.server_transport.lose(ConnectionDone())
            server.call(name)
            self.assertEqual(server.told, [])
            self.clock.advance(0)
            self.assertEqual(server.told[-1], "over")
            self.assertIs(server.why, why, name)
            self.assert_nothing_due()

    def test_closed_with_a_producer(self) -> None:
        """It pauses in the next turn, unless all is over by then."""
        for name in ("abortConnection", "breakConnection"):
            for soon in (True, False):
                server = self.begin()
                server.register()
                server.call(name)
                if not soon:
                    self.clock.advance(0)
                self.pair.server_transport.lose(ConnectionAborted())
                self.assertEqual(server.told, ["stop", "over"] if soon else ["pause", "stop", "over"])
                self.clock.advance(0)
                self.assertEqual(server.told[-1], "over")

    def fill(self, server: Noting) -> None:
        self.pair.client_transport.pauseProducing()
        server.transport.write(bytes(3 * CHUNK_SIZE))

    def test_registered_when_nothing_is_taken(self) -> None:
        server = self.begin()
        self.fill(server)
        server.register()
        self.assertEqual(server.told, [])
        self.clock.advance(0)
        self.assertEqual(server.told, ["pause"])
        self.pair.client_transport.resumeProducing()
        self.flush()
        self.assertEqual(server.told, ["pause", "resume"])

    def test_registered_and_written_when_nothing_is_taken(self) -> None:
        """One that writes at once hears in its write that this was too much, as over a socket."""
        server = self.begin()
        self.fill(server)
        server.register()
        server.transport.write(bytes(CHUNK_SIZE))
        self.assertEqual(server.told, ["pause"])
        self.clock.advance(0)
        self.assertEqual(server.told, ["pause"])

    def test_registered_just_before_it_is_taken(self) -> None:
        """Then there is nothing to tell."""
        server = self.begin()
        self.fill(server)
        server.register()
        self.pair.client_transport.resumeProducing()
        self.pair.flush()
        self.flush()
        self.assertEqual(server.told, [])

    def test_producer_that_fails_later(self) -> None:
        """Paused in a turn of the reactor's, of which the application's calls know nothing: it ends the connection."""

        def fail(what: str) -> None:
            del server.note
            raise Boom()

        for registered_when_full in (True, False):
            server = self.begin()
            server.note = fail  # type: ignore[method-assign]
            if registered_when_full:
                self.fill(server)
                server.register()
            else:
                self.pair.client_transport.pauseProducing()
                server.register()
                # Each waits for the end of its turn, and the second is too much.
                for _ in range(2):
                    server.transport.write(bytes(CHUNK_SIZE - 1))
                    self.clock.advance(0)
            self.clock.advance(0)
            self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
            self.assertTrue(self.pair.server_transport.aborting)

    def test_own_end(self) -> None:
        """Also when the producer for which it has waited is unregistered."""
        for producing in (False, True):
            server = self.begin()
            if producing:
                server.register()
            server.call("loseWriteConnection")
            if producing:
                self.flush()
                self.assertEqual(server.told, [])
                server.call("unregisterProducer")
            self.assertEqual(server.told, [])
            self.clock.advance(0)
            self.assertEqual(server.told, ["own end"])

    def test_own_end_behind_the_peers(self) -> None:
        """With both directions ended the stream closes, but not before it has told so."""
        server = self.begin()
        self.client.transport.loseWriteConnection()
        self.flush()
        server.call("loseWriteConnection", "loseWriteConnection")
        self.assertFalse(self.pair.server._lifecycle.over)
        self.flush()
        self.assertEqual(server.told, ["peer's end", "own end", "over"])
        self.assertIs(server.why, ConnectionDone)
        self.assertIs(self.client.why, ConnectionDone)

    def test_own_end_and_the_peers_in_one_turn(self) -> None:
        """Both are told, though in version 2 all is over with the second."""
        server = self.begin()
        server.transport.pauseProducing()
        self.client.transport.write(b"something")
        self.client.transport.loseWriteConnection()
        self.flush()
        server.call("resumeProducing", "loseWriteConnection")
        self.flush()
        self.assertEqual(server.told, ["data", "peer's end", "own end", "over"])
        self.assertIs(server.why, ConnectionDone)

    def test_own_end_is_the_last(self) -> None:
        """Who has closed in between is not told of half of it any more, as over a socket."""
        for name in ("loseConnection", "abortConnection", "breakConnection"):
            server = self.begin()
            server.call("loseWriteConnection", name)
            self.flush()
            # In version 2, who closes waits for the peer's end.
            self.client.transport.loseWriteConnection()
            self.flush()
            self.assertEqual(server.told, ["over"])

    def test_ends_that_fail(self) -> None:
        """What they raise is logged, and ends the connection; the caller of the transport does not get it."""

        def fail(*arguments: object) -> None:
            raise Boom()

        for name in ("readConnectionLost", "writeConnectionLost"):
            server = self.begin()
            setattr(server, name, fail)
            server.call("loseWriteConnection")
            self.client.transport.loseWriteConnection()
            self.flush()
            self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
            self.assertIs(server.why, Boom)
            self.assertIs(self.client.why, ConnectionLost)

    def test_end_of_a_read_that_fails(self) -> None:
        """As what else the application raises when it is told of something."""
        listeners: list[Listener] = []

        def listener() -> Listener:
            listeners.append(Listener())
            return listeners[-1]

        self.start(server=listener)
        self.client.transport.write(b"something")
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        self.assertIs(listeners[0].why, Boom)
        self.assertIsNot(self.client.why, None)


def _wrapped(factory: IProtocolFactory) -> IProtocolFactory:
    made: IProtocolFactory = WrappingFactory(factory)
    return made


class SocketTestCase(test_rest.RestTestCase):
    """Streams over sockets in memory, and over what may be in between."""

    def start(self, below: Callable[[IProtocolFactory, bool], IProtocolFactory] = lambda factory, _: factory) -> None:
        self.servers, self.clients = Applications(Noting), Applications(Noting)
        self.connect(below(self.of_server(self.servers), True), below(self.of_client(self.clients), False))
        (noting,), (other,) = self.servers.built, self.clients.built
        assert isinstance(noting, Noting) and isinstance(other, Noting)
        self.noting, self.other = noting, other

    def of_server(self, application: Factory) -> StreamServerFactory:
        return StreamServerFactory(application, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=self.reactor)

    def of_client(self, application: Factory) -> StreamClientFactory:
        return StreamClientFactory(
            application, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken(), clock=self.reactor
        )

    def in_tls(self) -> Callable[[IProtocolFactory, bool], IProtocolFactory]:
        authority, path = Authority("known"), self.mktemp()
        with open(authority.issue(path, "localhost"), "rb") as file:
            certificate = PrivateCertificate.loadPEM(file.read())
        os.unlink(path)
        trust = optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(authority.pem()))
        return lambda factory, server: TLSMemoryBIOFactory(
            certificate.options() if server else trust, not server, factory, self.reactor
        )

    def in_another(self, factory: Any, server: bool) -> IProtocolFactory:
        return self.of_server(factory) if server else self.of_client(factory)


@each_version
class LeavingTests(SocketTestCase):
    """The application is told of its own end when all that it has written, and the end, has left."""

    def test_what_was_written_has_left(self) -> None:
        """Whether it was more than what fills the transport, or less."""
        for size in (100_000, 2 * ROOM, 10):
            for below in (lambda factory, _: factory, self.in_tls()):
                self.start(below)
                before = self.server_socket.delivered
                self.noting.transport.write(bytes(size))
                self.noting.call("loseWriteConnection")
                turns = 0
                while not self.noting.write_ended:
                    turns += 1
                    self.assertLess(turns, 500)
                    self.server_socket.move()
                    self.client_socket.move()
                    self.reactor.turn()
                left = self.server_socket.delivered + len(self.server_socket.sending) - before
                self.assertGreaterEqual(left, size + 2 * 46)
                self.run_all()
                self.assertEqual(len(self.other.received), size)
                self.assertTrue(self.other.read_ended)

    def test_peer_that_takes_nothing(self) -> None:
        """It is not told as long as the transport holds some of it."""
        self.start()
        self.noting.transport.write(bytes(2 * ROOM))
        self.noting.call("loseWriteConnection")
        for _ in range(50):
            self.reactor.turn()
        self.assertEqual(self.noting.told, [])
        self.run_all()
        self.assertEqual(self.noting.told, ["own end"])

    def test_within_a_read(self) -> None:
        """What is sent within one leaves behind it."""
        left: list[int] = []

        class Answering(Noting):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.write(bytes(1000))
                self.call("loseWriteConnection")

            def writeConnectionLost(this) -> None:
                super().writeConnectionLost()
                left.append(self.server_socket.delivered + len(self.server_socket.sending) - before)

        for below in (lambda factory, _: factory, self.in_tls()):
            self.start(below)
            self.noting.__class__ = Answering
            before = self.server_socket.delivered
            self.other.transport.write(b"question")
            self.run_all()
            self.assertEqual(self.noting.told, ["data", "own end"])
            self.assertGreater(left.pop(), 1000)
            self.assertEqual(len(self.other.received), 1000)


@each_version
class NameTests(SocketTestCase):
    """Lines of the log name the application's protocol, by what it says, and its factory before it is there."""

    FIRST = "Applications (sodium)"

    def named(self) -> list[str]:
        """Tell the names of both transports at the sockets."""
        return [transport.logstr for transport in self.transports]

    def connect(self, server: IProtocolFactory, client: IProtocolFactory) -> None:
        self.transports: list[Any] = []

        class Named(MemoryConnection):
            """Asks its protocol for its name once, as Twisted's do."""

            def __init__(this, handle: Any, protocol: Any, reactor: Any) -> None:
                this.logstr = f"{protocol.logPrefix()},7,192.0.2.1"
                self.transports.append(this)
                self.before.add(this.logstr)
                super().__init__(handle, protocol, reactor)

        self.before: set[str] = set()
        self.patch(test_rest, "MemoryConnection", Named)
        super().connect(server, client)

    def test_named(self) -> None:
        tls = TLSMemoryBIOFactory.protocol.__name__
        for below, before, behind in (
            (lambda factory, _: factory, "Applications (sodium)", " (sodium)"),
            (self.in_another, "Applications (sodium) (sodium)", " (sodium) (sodium)"),
            (self.in_tls(), f"Applications (sodium) ({tls})", f" (sodium) ({tls})"),
            (
                lambda factory, _: _wrapped(factory),
                "Applications (sodium) (ProtocolWrapper)",
                " (sodium) (ProtocolWrapper)",
            ),
        ):
            self.start(below)
            self.assertEqual(self.before, {f"{before},7,192.0.2.1"})
            self.assertEqual(self.named(), [f"Noting, of a test{behind},7,192.0.2.1"] * 2)
            assert ILoggingContext.providedBy(self.noting.transport)
            self.assertEqual(log_prefix(self.noting.transport), "Noting, of a test (sodium)")

    def test_from_timers(self) -> None:
        """What is put off to the next turn stands under the same name as what a read causes."""
        # In version 2, both ends at once would close the connection, and tell of that.
        for peer_ends, calls, told in (
            (True, ("resumeProducing",), ["data", "peer's end"]),
            (False, ("resumeProducing", "loseWriteConnection"), ["data", "own end"]),
            (True, ("resumeProducing", "loseWriteConnection"), ["data", "peer's end", "own end"]),
        )[: 3 if spoken() == 1 else 2]:
            self.start()
            self.noting.transport.pauseProducing()
            self.other.transport.write(b"something")
            if peer_ends:
                self.other.transport.loseWriteConnection()
            self.run_all()
            self.noting.call(*calls)
            self.reactor.turn()
            self.assertEqual(self.noting.told, told)
            self.assertEqual(self.noting.systems, {"Noting, of a test (sodium),7,192.0.2.1"})

    def test_pull_producer(self) -> None:
        self.start()
        systems: list[Any] = []

        transport = self.noting.transport

        class Pulled(Producer):
            def resumeProducing(self) -> None:
                systems.append(system())
                transport.unregisterProducer()

        transport.registerProducer(Pulled(), False)
        self.reactor.turn()
        self.assertEqual(set(systems), {"Noting, of a test (sodium),7,192.0.2.1"})

    def test_factories(self) -> None:
        """A port names the application's factory when it starts, by what that says, else by its class."""

        class Named(Factory):
            def logPrefix(self) -> str:
                return "a name"

        self.assertEqual(self.of_server(Named()).logPrefix(), "a name (sodium)")
        self.assertEqual(self.of_client(Applications()).logPrefix(), "Applications (sodium)")
