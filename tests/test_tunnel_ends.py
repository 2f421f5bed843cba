"""
How connections through a tunnel end, whatever happens to which of its sockets and in which order.
"""

from __future__ import annotations

import errno
import itertools
import random
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist import SingleLogin
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.endpoints.streams import ClientStream, StreamClientFactory, StreamServerFactory
from sodiumtwist.protocol import base, sockets
from sodiumtwist.tunnel import UNREAD_LOOK, TunnelEntry, TunnelFactory

from .alone import OVERHEAD
from .applications import Application, Applications
from .certificates import Authority
from .memory_sockets import (
    ROOM,
    MemoryConnection,
    MemoryReactor,
    MemorySocket,
    has_error,
    held_by_the_system,
    socket_pair,
)
from .pair import LOGIN, PASSPHRASE, SERVER_PAIR, Boom
from .versions import each_version, spoken

ADDRESS = IPv4Address("TCP", "192.0.2.1", 4711)

#: How many bytes a DATA of version 2 that leaves alone takes at most beyond its payload.
OVERHEAD_2 = 80

#: More than all buffers on the way hold together.
FLOOD = 40_000

#: What each program sends, as far as it comes. It does not repeat itself.
STREAM = b"".join(number.to_bytes(4, "big") for number in range(3 * FLOOD))


class Program:
    """
    A program at one end of a tunnel, which knows nothing of it.

    :param handle: its socket.
    :ivar sent: how many bytes the system has taken from it; each tells where it stands.
    :ivar got: what it has read.
    :ivar saw: what it has read behind that: ``"end"`` or ``"reset"``; ``None`` as long as it may read more.
    :ivar ended: whether it has ended its direction in order.
    :ivar left: whether it has closed its socket, in order or not.
    :ivar broke: whether it has reset its connection.
    :ivar stalls: whether it reads nothing, though it is there.
    :ivar told: whether it could not send, and knows for that that the connection is broken.
    """

    def __init__(self, handle: MemorySocket) -> None:
        self.socket = handle
        self.sent = 0
        self.got = bytearray()
        self.saw: str | None = None
        self.ended = self.left = self.broke = self.stalls = self.told = False

    def send(self, size: int) -> None:
        """Send as much as the system takes."""
        data = STREAM[self.sent : self.sent + size]
        try:
            self.sent += self.socket.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self.told = True

    def read(self) -> bool:
        """
        Read what is there.

        :return: whether there was something.
        """
        if self.saw is not None or self.left or self.stalls:
            return False
        try:
            data = self.socket.recv(ROOM)
        except BlockingIOError:
            return False
        except OSError:
            self.saw = "reset"
        else:
            self.got += data
            if not data:
                # The system tells of a reset once.
                self.saw = "reset" if self.told else "end"
        return True

    def half_close(self) -> None:
        if not (self.left or self.socket.broken):
            self.socket.shutdown(1)
            self.ended = True

    def close(self) -> None:
        if not self.left:
            self.left = True
            self.socket.close()
            self.ended = self.ended or not self.socket.broken

    def reset(self) -> None:
        if not self.left:
            self.left = self.broke = True
            self.socket.drops = True
            self.socket.close()


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects at once, by a function that is given the factory."""

    def __init__(self, connect: Callable[[IProtocolFactory], IProtocol]) -> None:
        self._connect = connect

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return succeed(self._connect(protocolFactory))


class Tunnel:
    """
    A program, the tunnel's end beside it, the server, and the service beside that.

    :ivar program: the program.
    :ivar service: the service.
    """

    def __init__(self) -> None:
        self.reactor = MemoryReactor()
        self.sockets: list[MemorySocket] = []
        self.silent = self.disturbed = False
        self.far = TunnelFactory(Endpoint(self._connect_service), "service", clock=self.reactor)
        self.server = StreamServerFactory(
            self.far, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=self.reactor, draw=lambda: 0
        )
        self.near = TunnelFactory(Endpoint(self._connect_server), "server", clock=self.reactor)
        mine, its = self._pair()
        self.program = Program(mine)
        # Until there is one.
        self.service = Program(socket_pair()[0])
        self._attach(self.near, its)
        self.run()

    def _pair(self) -> tuple[MemorySocket, MemorySocket]:
        pair = socket_pair()
        self.sockets += pair
        return pair

    def _attach(self, factory: IProtocolFactory, handle: MemorySocket) -> IProtocol:
        protocol = factory.buildProtocol(ADDRESS)
        assert protocol is not None
        MemoryConnection(handle, protocol, self.reactor)
        return protocol

    def _connect_server(self, factory: IProtocolFactory) -> IProtocol:
        self.leg = self._pair()
        self._attach(self.server, self.leg[1])
        client = StreamClientFactory(
            factory, SERVER_PAIR.public, LOGIN, PASSPHRASE, version=spoken(), clock=self.reactor, draw=lambda: 0
        )
        return self._attach(client, self.leg[0])

    def _connect_service(self, factory: IProtocolFactory) -> IProtocol:
        its, mine = self._pair()
        self.service = Program(mine)
        return self._attach(factory, its)

    # What can happen

    def step(self) -> bool:
        """Let each socket move something, and each program of ours look once."""
        moved = False
        for each in self.sockets:
            if not (self.silent and each in self.leg):
                moved = each.move() or moved
        return self.reactor.turn() or moved

    def run(self) -> None:
        """Let all happen that can happen without time, while both read what comes."""
        for _ in range(2000):
            moved = self.step()
            if not (self.program.read() or self.service.read() or moved):
                return
        raise AssertionError("it goes on and on")

    def wait(self, seconds: float) -> None:
        """Let time pass, while both read what comes."""
        self.run()
        end = self.reactor.seconds() + seconds
        while self.reactor.seconds() < end and self.reactor.getDelayedCalls():
            soonest = min(call.getTime() for call in self.reactor.getDelayedCalls())
            self.reactor.advance(soonest - self.reactor.seconds())
            self.run()

    def stall(self, program: Program) -> None:
        program.stalls = self.disturbed = True

    def cut(self) -> None:
        """Somebody on the way resets the encrypted connection."""
        self.disturbed = True
        for each in self.leg:
            each.be_reset()

    def silence(self) -> None:
        """Nothing comes through any more, and in the end that is noticed."""
        self.disturbed = self.silent = True

    def drop_near(self) -> None:
        self.disturbed = True
        self.near.drop()

    def drop_far(self) -> None:
        self.disturbed = True
        for connection in list(self.server.connections):
            connection.abort(LocalProtocolError("the server is stopping"))


EVENTS: dict[str, Callable[[Tunnel], None]] = {
    "nothing": lambda tunnel: None,
    "the program ends": lambda tunnel: tunnel.program.half_close(),
    "the program closes": lambda tunnel: tunnel.program.close(),
    "the program resets": lambda tunnel: tunnel.program.reset(),
    "the service ends": lambda tunnel: tunnel.service.half_close(),
    "the service closes": lambda tunnel: tunnel.service.close(),
    "the service resets": lambda tunnel: tunnel.service.reset(),
    "the program reads no more": lambda tunnel: tunnel.stall(tunnel.program),
    "the service reads no more": lambda tunnel: tunnel.stall(tunnel.service),
    "the connection is cut": Tunnel.cut,
    "the connection is silent": Tunnel.silence,
    "the tunnel stops": Tunnel.drop_near,
    "the server stops": Tunnel.drop_far,
}


def flood(sender: Program, tunnel: Tunnel) -> None:
    for _ in range(FLOOD // ROOM):
        sender.send(ROOM)
        tunnel.step()


def talk(tunnel: Tunnel) -> None:
    """Both send a little, some of which is on its way."""
    for size in (700, 1900):
        tunnel.program.send(size)
        tunnel.service.send(size)
        tunnel.step()


TRAFFIC: dict[str, Callable[[Tunnel], None]] = {
    "none": lambda tunnel: None,
    "a little": talk,
    "more than the service takes": lambda tunnel: flood(tunnel.program, tunnel),
    "more than the program takes": lambda tunnel: flood(tunnel.service, tunnel),
}


@each_version
class EndsTests(SynchronousTestCase):
    """In memory, through Twisted's own transports."""

    def setUp(self) -> None:
        # Else the ends of the stream take all that is under way, and hold up nobody.
        self.patch(base, "READ_AHEAD", ROOM)
        self.patch(sockets, "_kernel_holds", held_by_the_system)
        self.patch(sockets, "_has_error", has_error)

    def test_pairs(self) -> None:
        """Each event, then each other, with each traffic; the second at once, or when the first has come some way."""
        for numbers in itertools.product(range(len(TRAFFIC)), range(len(EVENTS)), range(len(EVENTS))):
            traffic, first, second = numbers
            self.play(
                list(TRAFFIC)[traffic], [(list(EVENTS)[first], 3 * (sum(numbers) % 2)), (list(EVENTS)[second], 0)]
            )

    def test_stories(self) -> None:
        """Several events, with more traffic in between."""
        for steps in range(8):
            self.play("more than the program takes", [("a little", steps), ("the program resets", 0)])
            self.play("more than the service takes", [("a little", steps), ("the service resets", 0)])
        for number in range(100):
            draw = random.Random(number)
            events = [(draw.choice([*EVENTS, *TRAFFIC]), draw.randrange(12)) for _ in range(draw.randrange(3, 7))]
            self.play(draw.choice([*TRAFFIC]), events)

    def play(self, traffic: str, events: list[tuple[str, int]]) -> None:
        """
        Let something happen to a tunnel, and see how it ends.

        :param traffic: what is under way before.
        :param events: what happens, each with how many steps it has before the next one.
        """
        what = f"{traffic}; {events}"
        tunnel = Tunnel()
        TRAFFIC[traffic](tunnel)
        self.assertLess(max(tunnel.program.sent, tunnel.service.sent), FLOOD, "nothing holds it up")
        for event, steps in events:
            (EVENTS.get(event) or TRAFFIC[event])(tunnel)
            for _ in range(steps):
                tunnel.step()
        program, service = tunnel.program, tunnel.service
        tunnel.wait(400 if tunnel.silent else 30)
        for sender, receiver in ((program, service), (service, program)):
            self.check(tunnel, sender, receiver, what)
        # Where one end has broken, nothing waits for good for another that takes nothing.
        tunnel.wait(400)
        if (program.left and not program.ended) or (service.left and not service.ended):
            self.assertEqual(
                (tunnel.near.ends, tunnel.far.ends, tunnel.server.connections), (set(), set(), set()), what
            )
        program.close()
        service.close()
        tunnel.wait(1000)
        self.assertEqual((tunnel.near.ends, tunnel.far.ends, tunnel.server.connections), (set(), set(), set()), what)
        tunnel.server.admission.stop()
        self.assertEqual(tunnel.reactor.getDelayedCalls(), [], what)

    def check(self, tunnel: Tunnel, sender: Program, receiver: Program, what: str) -> None:
        if receiver.left or receiver.stalls:
            return
        what = f"{what}; {'service' if receiver is tunnel.service else 'program'}"
        self.assertEqual(receiver.got, STREAM[: len(receiver.got)], what)
        # A clean end is seen only where one was made, and all that was sent before has come.
        if receiver.saw == "end":
            self.assertTrue(sender.ended, f"{what}: an end that nobody made")
            self.assertEqual(len(receiver.got), sender.sent, what)
        # A reset is seen where something was cut.
        if sender.left and not sender.ended:
            self.assertEqual(receiver.saw, "reset", what)
        if sender.broke and not receiver.ended:
            self.assertTrue(receiver.socket.broken, what)
        # It does not overtake what came before it.
        if not tunnel.disturbed and (sender.left or sender.ended):
            self.assertEqual(len(receiver.got), sender.socket.delivered, what)
            self.assertIsNotNone(receiver.saw, what)


@each_version
class RareTests(SynchronousTestCase):
    """What it takes several things at once to bring about."""

    def setUp(self) -> None:
        self.patch(sockets, "_kernel_holds", held_by_the_system)
        self.patch(sockets, "_has_error", has_error)

    def cut_behind_a_stalled_service(self) -> Tunnel:
        """Cut the encrypted connection, with more under way than the service takes, and let the server notice that."""
        tunnel = Tunnel()
        tunnel.service.stalls = True
        before = tunnel.leg[0].delivered
        for _ in range(100):
            tunnel.program.send(200)
            tunnel.run()
        # What has come through, in whole PDUs: it is the last one at most that is not whole.
        overhead = OVERHEAD if spoken() == 1 else OVERHEAD_2
        self.arrived = (tunnel.leg[0].delivered - before) * 200 // (200 + overhead) - 1000
        self.assertGreater(self.arrived, 5000)
        tunnel.cut()
        tunnel.service.send(100)
        tunnel.run()
        return tunnel

    def test_reset_while_paused(self) -> None:
        """What came before is delivered, when it is taken; the encrypted end does not wait for that."""
        tunnel = self.cut_behind_a_stalled_service()
        self.assertEqual(tunnel.server.connections, set())
        tunnel.reactor.advance(100)
        tunnel.service.stalls = False
        tunnel.wait(10)
        self.assertGreater(len(tunnel.service.got), self.arrived)
        self.assertEqual(tunnel.service.saw, "reset")

    def test_reset_while_paused_for_good(self) -> None:
        tunnel = self.cut_behind_a_stalled_service()
        tunnel.reactor.advance(179)
        self.assertEqual(len(tunnel.far.ends), 1)
        tunnel.wait(5)
        self.assertEqual(tunnel.far.ends, set())

    def test_reset_of_an_end_that_is_being_broken(self) -> None:
        """It is noticed, though nothing was read there any more, and nothing is to be written."""
        tunnel = Tunnel()
        tunnel.program.stalls = tunnel.service.stalls = True
        flood(tunnel.program, tunnel)
        tunnel.service.send(ROOM)
        tunnel.run()
        tunnel.service.send(ROOM)
        tunnel.run()
        tunnel.cut()
        tunnel.near.drop()
        tunnel.run()
        self.assertEqual(len(tunnel.near.ends), 1)
        tunnel.program.reset()
        tunnel.run()
        self.assertEqual(tunnel.near.ends, set())

    def start_without_encryption(self) -> Tunnel:
        """Join a program and a service by one end each."""
        tunnel = Tunnel()
        near = TunnelFactory(Endpoint(tunnel._connect_service), "service", clock=tunnel.reactor)
        mine, its = tunnel._pair()
        tunnel.program = Program(mine)
        self.entry = tunnel._attach(near, its)
        tunnel.run()
        return tunnel

    def test_reset_while_it_is_not_read(self) -> None:
        """The system is asked, for the reactor tells only of what is read or written. What came before is delivered."""
        tunnel = self.start_without_encryption()
        tunnel.service.stalls = True
        flood(tunnel.program, tunnel)
        tunnel.run()
        self.assertEqual(len(tunnel.program.socket.sending), ROOM)
        tunnel.program.reset()
        tunnel.run()
        assert isinstance(self.entry, TunnelEntry)
        self.assertFalse(self.entry.gone)
        tunnel.reactor.advance(UNREAD_LOOK)
        tunnel.run()
        self.assertTrue(self.entry.gone)
        tunnel.service.stalls = False
        tunnel.wait(10)
        delivered = tunnel.program.socket.delivered
        self.assertEqual((tunnel.service.got, tunnel.service.saw), (STREAM[:delivered], "reset"))

    def test_end_behind_more_than_an_end_takes(self) -> None:
        """A transport may tell of the end though it was paused. The other one is told, when it has room again."""
        tunnel = self.start_without_encryption()
        tunnel.service.stalls = True
        self.entry.dataReceived(STREAM[:FLOOD])
        assert isinstance(self.entry, TunnelEntry)
        self.entry.readConnectionLost()
        tunnel.run()
        tunnel.service.stalls = False
        tunnel.run()
        self.assertEqual(tunnel.service.got, STREAM[:FLOOD])
        self.assertEqual(tunnel.service.saw, "end")
        tunnel.service.send(100)
        tunnel.service.close()
        tunnel.run()
        self.assertEqual(tunnel.program.got, STREAM[:100])
        self.assertEqual(tunnel.program.saw, "end")

    def test_end_of_a_broken_connection(self) -> None:
        """A system that tells of a reset as of an end is asked once more."""
        tunnel = self.start_without_encryption()
        tunnel.program.socket.peer.error = errno.ECONNRESET
        assert isinstance(self.entry, TunnelEntry)
        self.entry.readConnectionLost()
        tunnel.run()
        self.assertEqual(tunnel.service.saw, "reset")

    def test_end_and_reset_at_once(self) -> None:
        """A program that has closed, and gets more, has ended first."""
        tunnel = self.start_without_encryption()
        program, service = tunnel.program.socket, tunnel.service
        tunnel.program.send(100)
        tunnel.program.close()
        program.move()
        program.move()
        program.peer.send(b"too late")
        program.peer.move()
        program.move()
        self.assertEqual(program.peer.error, errno.EPIPE)
        tunnel.wait(1)
        self.assertEqual((service.got, service.saw), (STREAM[:100], "end"))
        self.assertTrue(service.socket.broken)

    def test_exception(self) -> None:
        """A mistake of ours, or a reactor that stops, ends nothing in order."""
        tunnel = self.start_without_encryption()

        def fail(data: bytes) -> None:
            raise Boom

        self.entry.dataReceived = fail  # type: ignore[method-assign]
        tunnel.program.send(100)
        tunnel.run()
        self.assertEqual(len(self.flushLoggedErrors(Boom)), 1)
        self.assertEqual((tunnel.program.saw, tunnel.service.saw), ("reset", "reset"))

    def test_client_that_closes(self) -> None:
        """What it has sent is delivered, then the end, also to a service that takes it late, and goes on sending."""
        for then in ("takes it", "resets", "does nothing"):
            tunnel = Tunnel()
            tunnel.service.stalls = True
            client = Factory.forProtocol(Protocol)
            end = tunnel._connect_server(client)
            assert isinstance(end, ClientStream)
            tunnel.run()
            tunnel.service.stalls = True
            application = cast(Protocol, end.application)
            assert application.transport is not None
            # More than the system takes, and not so much that the server would stop to read.
            for start in (0, ROOM // 2, ROOM):
                application.transport.write(STREAM[start : start + ROOM // 2])
                tunnel.run()
            application.transport.loseConnection()
            for _ in range(3):
                tunnel.service.send(ROOM)
                tunnel.run()
            for _ in range(3):
                tunnel.reactor.advance(5)
                tunnel.run()
            # In version 2 it waits for the service's end.
            self.assertEqual(tunnel.leg[0].closed, spoken() == 1)
            if then == "takes it":
                tunnel.service.stalls = False
            elif then == "resets":
                tunnel.service.reset()
            tunnel.run()
            self.assertEqual(tunnel.service.socket.peer.closed, then == "resets")
            # In version 2 the client breaks off when its time for that is up, and the service has its own behind it.
            tunnel.wait(200 if spoken() == 1 else 400)
            if then == "takes it":
                self.assertEqual(tunnel.service.got, STREAM[: 3 * ROOM // 2])
                self.assertEqual(tunnel.service.saw, "end")
            self.assertTrue(tunnel.service.socket.peer.closed)


def prepare_tls(test: SynchronousTestCase) -> tuple[PrivateCertificate, Any]:
    """
    Have a test's sockets tell what the system does.

    :return: a certificate, and what a client needs to trust it.
    """
    test.patch(sockets, "_kernel_holds", held_by_the_system)
    test.patch(sockets, "_has_error", has_error)
    authority = Authority("known")
    path = test.mktemp()
    with open(authority.issue(path, "localhost"), "rb") as file:
        certificate = PrivateCertificate.loadPEM(file.read())
    return certificate, optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(authority.pem()))


@each_version
class TLSWithinTests(SynchronousTestCase):
    """Ends that TLS carries, which a stream of ours carries in turn: nothing goes past TLS, and nothing is kept."""

    def test_both_directions(self) -> None:
        certificate, trust = prepare_tls(self)
        tunnel = Tunnel()
        reactor, service = tunnel.reactor, Application()
        server = StreamServerFactory(
            TLSMemoryBIOFactory(certificate.options(), False, Applications(lambda: service), reactor),
            SERVER_PAIR,
            SingleLogin(LOGIN, PASSPHRASE),
            clock=reactor,
            draw=lambda: 0,
        )

        def connect(factory: IProtocolFactory) -> IProtocol:
            one, other = tunnel._pair()
            tunnel._attach(server, other)
            client = StreamClientFactory(
                TLSMemoryBIOFactory(trust, True, factory, reactor),
                SERVER_PAIR.public,
                LOGIN,
                PASSPHRASE,
                version=spoken(),
                clock=reactor,
                draw=lambda: 0,
            )
            return tunnel._attach(client, one)

        mine, its = tunnel._pair()
        program = tunnel.program = Program(mine)
        tunnel._attach(TunnelFactory(Endpoint(connect), "service", clock=reactor), its)
        tunnel.run()
        program.send(500)
        tunnel.run()
        self.assertEqual(service.received, STREAM[:500])
        service.transport.write(b"an answer")
        tunnel.run()
        self.assertEqual(bytes(program.got), b"an answer")


@each_version
class TLSTests(SynchronousTestCase):
    """An end that TLS carries, which can't end one direction alone. It is in order where the peer has said so."""

    def setUp(self) -> None:
        certificate, trust = prepare_tls(self)
        self.tunnel = Tunnel()
        reactor = self.tunnel.reactor
        self.service = Application()
        self.handle, _ = self.tunnel._pair()
        service = TLSMemoryBIOFactory(certificate.options(), False, Applications(lambda: self.service), reactor)

        def connect(factory: IProtocolFactory) -> IProtocol:
            self.tunnel._attach(service, self.handle)
            return self.tunnel._attach(TLSMemoryBIOFactory(trust, True, factory, reactor), self.handle.peer)

        self.near = TunnelFactory(Endpoint(connect), "service", clock=reactor)
        mine, its = self.tunnel._pair()
        self.program = self.tunnel.program = Program(mine)
        self.tunnel._attach(self.near, its)
        self.tunnel.run()
        self.program.send(500)
        self.tunnel.run()
        self.assertEqual(self.service.received, STREAM[:500])

    def test_program_ends(self) -> None:
        """The service is told. What it has answered by then arrives, and that it has closed."""
        self.service.transport.write(b"an answer")
        self.program.half_close()
        self.tunnel.run()
        self.assertEqual(self.service.why, ConnectionDone)
        self.assertEqual((bytes(self.program.got), self.program.saw), (b"an answer", "end"))
        self.tunnel.wait(1)
        self.assertEqual(self.near.ends, set())

    def test_service_closes(self) -> None:
        self.service.transport.write(b"an answer")
        self.service.transport.loseConnection()
        self.tunnel.run()
        self.assertEqual((bytes(self.program.got), self.program.saw), (b"an answer", "end"))
        self.program.close()
        self.tunnel.wait(10)
        self.assertEqual(self.near.ends, set())

    def test_service_closes_while_it_is_full(self) -> None:
        """The program hears of it, though the service has not taken all, and the tunnel is free again."""
        self.service.transport.pauseProducing()
        for _ in range(20):
            self.program.send(ROOM)
            self.tunnel.run()
        self.service.transport.write(b"enough")
        self.service.transport.loseConnection()
        self.service.transport.resumeProducing()
        self.tunnel.run()
        self.assertEqual((bytes(self.program.got), self.program.saw), (b"enough", "end"))
        self.program.close()
        self.tunnel.wait(10)
        self.assertEqual(self.near.ends, set())

    def test_service_is_cut(self) -> None:
        """An end of the socket that the service has not announced is none."""
        self.service.transport.write(b"half of it")
        self.tunnel.run()
        self.handle.end_sent = True
        self.tunnel.run()
        self.assertEqual((bytes(self.program.got), self.program.saw), (b"half of it", "reset"))
        self.assertEqual(self.near.ends, set())

    def test_service_never_closes(self) -> None:
        """It is waited for as long as it goes on to send, and has its patience behind that."""
        self.tunnel.reactor.removeReader(self.service.transport.transport)  # type: ignore[attr-defined]
        self.program.half_close()
        self.tunnel.run()
        for _ in range(3):
            self.tunnel.reactor.advance(170)
            self.service.transport.write(b"x")
            self.tunnel.run()
            self.assertIsNone(self.program.saw)
        self.tunnel.wait(200)
        self.assertEqual((bytes(self.program.got), self.program.saw), (b"xxx", "reset"))
        self.assertEqual(self.near.ends, set())

    def test_program_resets(self) -> None:
        self.program.reset()
        self.tunnel.wait(1)
        self.assertEqual(self.service.why, ConnectionLost)
        self.assertEqual(self.near.ends, set())

    def test_program_resets_behind_its_end(self) -> None:
        """While the service is asked to close, too."""
        self.tunnel.reactor.removeReader(self.service.transport.transport)  # type: ignore[attr-defined]
        self.program.half_close()
        self.tunnel.run()
        self.program.reset()
        self.tunnel.wait(10)
        self.assertEqual(self.near.ends, set())

    def test_drop(self) -> None:
        """Also in the middle of an end."""
        for ends in (False, True):
            self.setUp()
            if ends:
                self.tunnel.reactor.removeReader(self.service.transport.transport)  # type: ignore[attr-defined]
                self.program.half_close()
                self.tunnel.run()
            self.near.drop()
            self.near.drop()
            self.tunnel.wait(1)
            self.assertEqual((self.program.saw, self.near.ends), ("reset", set()))
