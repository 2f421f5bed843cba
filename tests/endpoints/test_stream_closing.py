"""
How long closing a stream takes, and what it waits for.
"""

from __future__ import annotations

import os

from twisted.internet import reactor
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from sodiumtwist import SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint, Timeouts
from sodiumtwist.core.errors import DecryptionFailed
from sodiumtwist.endpoints.streams import ClientStream, ServerStream, StreamClientFactory, StreamServerFactory
from sodiumtwist.protocol import sockets
from sodiumtwist.protocol.farewell import LINGER

from ..applications import Application, Applications, HalfCloseable, Producer, StreamTestCase
from ..certificates import Authority
from ..checkers import Undecided
from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR, Boom, Pair, make_client_factory
from ..ports import port_number
from ..versions import each_version, only, spoken


@each_version
class ClosingTests(StreamTestCase):
    """How long closing takes, and what it waits for."""

    def test_slow_peer(self) -> None:
        """One that always takes a little gets all, though that takes longer than it may take nothing."""
        # A PONG waits behind what was sent, and version 2 counts how long.
        self.start(timeouts=Timeouts(inactivity=30, outstanding_pongs=100))
        data = bytes(range(256)) * 10_000
        self.server.transport.write(data)
        self.server.transport.loseConnection()
        self.clock.advance(0)
        while self.pair.step():
            self.clock.advance(8)
            self.assertFalse(self.pair.server_transport.aborting)
        self.assertTrue(self.client.received == data)
        self.assertGreater(self.clock.seconds(), 100)
        self.assertIs(self.client.why, ConnectionDone)
        self.assertIs(self.server.why, ConnectionDone)

    def test_peer_that_takes_nothing(self) -> None:
        """Then it is over when inactivity has lasted as long as it may."""
        self.start()
        self.pair.client_transport.pauseProducing()
        self.server.transport.write(bytes(1_000_000))
        self.server.transport.loseConnection()
        self.clock.advance(0)
        self.clock.advance(179)
        self.assertFalse(self.pair.server_transport.aborting)
        self.clock.advance(1)
        self.assertTrue(self.pair.server_transport.aborting)

    def start_half_closing(self) -> None:
        """The server's end has closed its direction, all is sent, and the client's says nothing."""
        self.start()
        self.half_closed: list[None] = []
        self.patch(sockets, "half_closes", lambda transport: True)
        vars(self.pair.server_transport)["loseWriteConnection"] = lambda: self.half_closed.append(None)
        self.server.transport.loseConnection()
        self.clock.advance(0)
        self.assertEqual(self.half_closed, [None])

    @only(1)
    def test_peer_that_has_paused(self) -> None:
        """With nothing left to send, closing waits a few seconds for the peer's end, and is in order all the same."""
        self.start_half_closing()
        self.clock.advance(LINGER - 0.1)
        transport = self.pair.server_transport
        self.assertFalse(transport.disconnecting or transport.aborting)
        self.clock.advance(0.1)
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.aborting)
        transport.lose(ConnectionDone())
        self.assertIs(self.server.why, ConnectionDone)
        for call in self.clock.getDelayedCalls():
            assert isinstance(call, DelayedCall)
            self.assertIsNot(getattr(call.func, "__self__", None), self.pair.server)

    @only(1)
    def test_peer_that_goes_on_sending(self) -> None:
        """What it sends is dropped, for as long as inactivity may last."""
        self.start_half_closing()
        for _ in range(35):
            self.pair.server.dataReceived(b"x" * 1000)
            self.clock.advance(LINGER)
            self.assertFalse(self.pair.server_transport.disconnecting or self.pair.server_transport.aborting)
        for _ in range(2):
            self.pair.server.dataReceived(b"x" * 1000)
            self.clock.advance(LINGER)
        self.assertTrue(self.pair.server_transport.aborting)

    def test_nothing_taken_at_the_end(self) -> None:
        """An answer that its reader did not take before it left is no end in order."""

        class Answering(HalfCloseable):
            def readConnectionLost(self) -> None:
                super().readConnectionLost()
                self.transport.write(bytes(5_000_000))
                self.transport.loseWriteConnection()

        self.start(server=Answering, client=HalfCloseable)
        self.client.transport.loseWriteConnection()
        self.clock.advance(0)
        self.pair.client_transport.pauseProducing()
        self.pair.flush()
        self.pair.server_transport.lose(ConnectionDone())
        self.assertIs(self.server.why, ConnectionLost)

    def test_refused_by_the_application(self) -> None:
        """A server without a protocol for a client, or that fails: the client was let in, and is not told otherwise."""

        class Refusing(Application):
            def connectionMade(self) -> None:
                self.transport.abortConnection()

        class Failing(Application):
            def connectionMade(self) -> None:
                raise Boom()

        for server in (lambda: None, Refusing, Failing):
            self.start(server=server)
            self.flush()
            self.assertIsNone(self.successResultOf(self.ready))
            (client,) = self.clients.built
            self.assertIs(client.why, ConnectionLost)
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)

    def test_garbage_behind_a_greeting(self) -> None:
        """A client that breaks the protocol at once, with much written to it, is dropped, and that is the reason."""

        class Talkative(Application):
            def connectionMade(self) -> None:
                self.transport.write(bytes(400_000))

        clock, checker, servers = Clock(), Undecided(), Applications(Talkative)
        pair = Pair(
            StreamServerFactory(servers, SERVER_PAIR, checker, clock=clock),
            make_client_factory(clock),
        )
        if spoken() == 2:
            pair.flush()  # as long as the handshake takes, it has no "behind"
        pair.client_transport.out += bytes(29 if spoken() == 1 else 100)
        pair.flush()
        checker.deciding.callback(b"")
        pair.flush()
        self.assertIs(servers.built[0].why, DecryptionFailed)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_abort_behind_a_greeting(self) -> None:
        """Aborted at once, a connection delivers its hello, nothing of what the application wrote, and is gone soon."""

        class Aborting(Application):
            def connectionMade(self) -> None:
                self.transport.write(bytes(10_000_000))
                self.transport.abortConnection()

        self.start(server=Aborting)
        self.flush()
        (client,) = self.clients.built
        self.assertLess(len(client.received), 300_000)
        self.assertIs(client.why, ConnectionLost)

    def test_abort_while_closing(self) -> None:
        """A producer that aborts when it is paused for closing has its way."""
        self.start()
        transport = self.server.transport

        class Aborting(Producer):
            def pauseProducing(self) -> None:
                super().pauseProducing()
                if len(self.calls) == 2:
                    transport.abortConnection()

        self.pair.client_transport.pauseProducing()
        producer = Aborting()
        transport.registerProducer(producer, True)
        transport.write(bytes(500_000))
        self.pair.server.close()
        self.assertEqual(producer.calls, ["pause"])
        self.clock.advance(0)
        self.assertTrue(self.pair.server_transport.aborting)

    def test_cancelled_while_it_is_built(self) -> None:
        """An application that is built too late is not connected."""

        class Late(Applications):
            def buildProtocol(self, address: IAddress | None) -> Application | None:
                ends[0].abort()
                return super().buildProtocol(address)

        ends: list[ClientStream] = []
        clock, applications = Clock(), Late(Application)
        pair: Pair[ServerStream, ClientStream] = Pair(
            StreamServerFactory(Applications(), SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=clock),
            StreamClientFactory(applications, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken(), clock=clock),
        )
        ends.append(pair.client)
        pair.flush()
        self.assertIsNone(applications.built[0].transport)


@each_version
class TLSClosingTests(TestCase):
    async def test_blocked_server(self) -> None:
        """Over TLS, too, a server that closes with much to send is done when the client is."""
        authority = Authority("known")
        path = authority.issue(os.path.join(self.mktemp_directory(), "cert"), "localhost")
        with open(path, "rb") as file:
            certificate = PrivateCertificate.loadPEM(file.read())
        lost: Deferred[tuple[type[BaseException] | None]] = Deferred()

        class Sender(Protocol):
            transport: ITransport

            def connectionMade(self) -> None:
                reactor.callLater(0, self.send)

            def send(self) -> None:
                self.transport.write(bytes(2_000_000))
                self.transport.loseConnection()

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                lost.callback((reason.type,))

        below = SSL4ServerEndpoint(reactor, 0, certificate.options(), interface="127.0.0.1")
        timeouts = Timeouts(inactivity=30)
        checker = SingleLogin(LOGIN, PASSPHRASE)
        port = await SodiumServerEndpoint(below, SERVER_PAIR, checker, timeouts=timeouts).listen(
            Factory.forProtocol(Sender)
        )
        self.addCleanup(port.stopListening)
        trust = optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(authority.pem()))
        there = wrapClientTLS(trust, TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port)))
        client = await connectProtocol(
            SodiumClientEndpoint(there, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken()), Application()
        )
        began = reactor.seconds()
        (reason,) = await lost
        self.assertLess(reactor.seconds() - began, timeouts.inactivity)
        self.assertIs(reason, ConnectionDone)
        self.assertEqual(len(client.received), 2_000_000)

    def mktemp_directory(self) -> str:
        path: str = self.mktemp()
        os.mkdir(path)
        return path
