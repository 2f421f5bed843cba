"""
Tunnels: ``twistd sodium --forward`` and ``twistd sodium-tunnel``, with programs that know nothing of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import struct
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from sodiumtwist import LocalProtocolError, SingleLogin, Timeouts
from sodiumtwist.core.connection import ClientConnection
from sodiumtwist.endpoints.streams import StreamServerFactory
from sodiumtwist.programs import tap, tunneltap
from sodiumtwist.programs.tunneltap import AdvisedEndpoint, Options, makeService
from sodiumtwist.tunnel import TunnelEntry, TunnelFactory, TunnelLimits, TurnedAway

from .core.peers import wire_of
from .logs import logged, refusals, unusual
from .outside import find_program
from .pair import LOGIN, PASSPHRASE, SERVER_PAIR, MemoryTransport, Pair, build, make_client_factory
from .ports import port_number
from .processes import (
    PATIENCE,
    PUBLIC,
    SECRET,
    TWISTD,
    ProcessOptions,
    ProcessTestCase,
    Running,
    clean_environment,
    unmeasured,
    wait_until,
)
from .versions import each_version, only

if TYPE_CHECKING:
    from typing_extensions import Unpack


@implementer(IStreamClientEndpoint)
class Backend:
    """An endpoint that connects when it is told to."""

    def __init__(self) -> None:
        self.cancelled = 0

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        self.factory = protocolFactory
        self.connecting: Deferred[IProtocol] = Deferred(self._cancel)
        return self.connecting

    def _cancel(self, connecting: Deferred[IProtocol]) -> None:
        self.cancelled += 1

    def succeed(self) -> MemoryTransport:
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.3", 1))
        assert protocol is not None
        transport = MemoryTransport(protocol)
        protocol.makeConnection(transport)
        self.connecting.callback(protocol)
        return transport


@each_version
class TunnelTests(SynchronousTestCase):
    """Two joined ends, in memory."""

    def setUp(self) -> None:
        self.backend = Backend()
        self.clock = Clock()
        self.factory = TunnelFactory(self.backend, "tcp:backend:1", clock=self.clock)
        self.entry = build(self.factory, TunnelEntry)
        self.inside = MemoryTransport(self.entry)
        self.entry.makeConnection(self.inside)

    def test_reads_nothing_before(self) -> None:
        self.assertFalse(self.inside.reading)
        outside = self.backend.succeed()
        self.assertTrue(self.inside.reading)
        self.entry.dataReceived(b"question")
        self.assertEqual(bytes(outside.out), b"question")
        outside.protocol.dataReceived(b"answer")
        self.assertEqual(bytes(self.inside.out), b"answer")

    def test_behind_haproxy_unreadable(self) -> None:
        """What is no header ends the connection, and leaves no traceback for each."""
        proxy = HAProxyWrappingFactory(self.factory).buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport = MemoryTransport(proxy)
        proxy.makeConnection(transport)
        self.backend.succeed()
        events = logged(self)
        transport.protocol.dataReceived(b"PROXY TCP4 192.0.2.7 192.0.2.1 x 5555\r\n")
        self.assertTrue(transport.disconnecting)
        transport.lose(ConnectionDone())
        self.assertRegex(refusals(events)[0], "refused .*: what came first is no PROXY header")

    def test_cannot_connect(self) -> None:
        """The log says why, and the connection is broken: an end in order would be an answer."""
        self.backend.connecting.errback(ConnectionRefused("no such\nport"))
        self.clock.advance(0)
        self.assertTrue(self.inside.aborting)
        self.inside.lose(ConnectionDone())
        self.assertEqual(self.factory.ends, set())

    def test_leaves_before(self) -> None:
        """Whoever leaves while it is connecting is connected to nobody."""
        self.inside.lose(ConnectionLost())
        self.assertEqual((self.backend.cancelled, self.factory.ends), (1, set()))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_flow(self) -> None:
        """A full end pauses the other."""
        outside = self.backend.succeed()
        self.entry.dataReceived(bytes(200_000))
        self.assertFalse(self.inside.reading)
        outside.take(200_000)
        outside.drained()
        self.assertTrue(self.inside.reading)

    def test_close(self) -> None:
        """What was received is delivered before the other end closes."""
        outside = self.backend.succeed()
        self.entry.dataReceived(bytes(200_000))
        self.inside.lose(ConnectionDone())
        self.assertTrue(outside.disconnecting)
        self.assertEqual((len(outside.out), outside.producer), (200_000, None))
        outside.lose(ConnectionDone())

    def test_break(self) -> None:
        outside = self.backend.succeed()
        outside.lose(ConnectionLost())
        self.clock.advance(0)
        self.assertTrue(self.inside.aborting)

    def test_stream_that_breaks(self) -> None:
        """What broke the encrypted stream breaks the other connection: that is no end in order."""
        for damage in (
            lambda pair, clock: pair.server.dataReceived(bytes(100)),
            lambda pair, clock: clock.pump([60, 120]),
        ):
            clock, backend = Clock(), Backend()
            server_factory = StreamServerFactory(
                TunnelFactory(backend, "tcp:backend:1", clock=clock),
                SERVER_PAIR,
                SingleLogin(LOGIN, PASSPHRASE),
                clock=clock,
            )
            pair = Pair(server_factory, make_client_factory(clock))
            pair.flush()
            outside = backend.succeed()
            pair.client.write(b"a part")
            pair.flush()
            self.assertEqual(bytes(outside.out), b"a part")
            damage(pair, clock)
            pair.flush()
            clock.advance(0)
            self.assertTrue(outside.aborting)

    @only(2)
    def test_client_that_says_nothing(self) -> None:
        """Who closes in order, as ``sodiumtwist ping``, has ended a stream, though an empty one."""
        clock, backend, events = Clock(), Backend(), logged(self)
        tunnels = TunnelFactory(backend, "tcp:backend:1", clock=clock)
        server_factory = StreamServerFactory(tunnels, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=clock)
        pair = Pair(server_factory, make_client_factory(clock))
        pair.flush()
        outside = backend.succeed()
        pair.client.close()
        pair.flush()
        clock.advance(0)
        self.assertEqual((outside.disconnecting, outside.aborting), (True, False))
        self.assertEqual(unusual(events), [])

    def visit(self, clock: Clock, payload: bytes) -> tuple[Pair, Any]:
        """Have a client come, which sends something or nothing while the service speaks; return it, and the service."""
        backend = Backend()
        tunnels = TunnelFactory(backend, "tcp:backend:1", clock=clock)
        server_factory = StreamServerFactory(tunnels, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=clock)
        pair = Pair(server_factory, make_client_factory(clock))
        pair.flush()
        outside = backend.succeed()
        outside.protocol.dataReceived(b"who is there?")
        if payload:
            pair.client.write(payload)
        pair.flush()
        return pair, outside

    @only(1)
    def test_stream_that_only_looks(self) -> None:
        """A client that leaves and has sent nothing, as ``sodiumtwist ping``, has broken nothing."""
        for payload, says in (
            (b"", "left and had sent nothing"),
            (b"a part", "the connection with .* broke: .* without"),
        ):
            clock, events = Clock(), logged(self)
            pair, outside = self.visit(clock, payload)
            pair.client.close()
            pair.flush()
            clock.advance(0)
            self.assertTrue(outside.aborting)
            self.assert_line(events, says)

    def assert_line(self, events: list[Any], says: str) -> None:
        """Check that there is one line, but for what is usual."""
        lines = unusual(events)
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], says)

    @only(2)
    def test_stream_that_only_looks_2(self) -> None:
        """
        Such a client ends, and may be cut while the service goes on; or it breaks off, when it finds that it wants
        something else. Of one that has sent something, both are a break.
        """
        for payload, ends, says in (
            (b"", lambda pair: pair.client.close(), "left and had sent nothing: the service had not ended$"),
            (b"", lambda pair: pair.client.abort_with(8, "wanted files"), "left and had sent nothing: wanted files$"),
            (b"a part", lambda pair: pair.client.close(), "the connection with .* broke: the connection was cut"),
            (
                b"a part",
                lambda pair: pair.client.abort_with(8, "wanted files"),
                "broke: the other end .*: wanted files$",
            ),
        ):
            clock, events = Clock(), logged(self)
            pair, outside = self.visit(clock, payload)
            ends(pair)
            pair.flush()
            pair.server_transport.lose(ConnectionLost())
            clock.advance(0)
            self.assertTrue(outside.aborting)
            self.assert_line([event for event in events if event.get("event") != "client_gone"], says)

    def test_half_close_without_it(self) -> None:
        """A transport that can't end one direction is closed behind what it has to send. Its answer is cut off."""
        outside = self.backend.succeed()
        self.entry.dataReceived(b"all")
        self.entry.readConnectionLost()
        self.assertTrue(outside.disconnecting)
        self.assertEqual(bytes(outside.out), b"all")
        outside.lose(ConnectionDone())
        self.clock.advance(0)
        self.assertTrue(self.inside.aborting)


class ConnectionRefused(Exception):
    pass


class LimitTests(SynchronousTestCase):
    """How many connections a tunnel joins, and how many lines it logs."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.backend = Backend()
        self.events = logged(self)
        self.factory = TunnelFactory(self.backend, "tcp:backend:1", TunnelLimits(2, 3), self.clock)

    def enter(self) -> MemoryTransport | None:
        """A local program connects; return its transport if it may stay."""
        entry = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport = MemoryTransport(entry)
        entry.makeConnection(transport)
        return None if transport.aborting else transport

    def log(self) -> list[str]:
        return unusual(self.events)

    def join(self) -> tuple[MemoryTransport, MemoryTransport]:
        inside = self.enter()
        assert inside is not None
        return inside, self.backend.succeed()

    def test_lines(self) -> None:
        """A connection is told of once when it is joined, and once when it is over: how, how long, how much."""
        inside = self.enter()
        assert inside is not None
        self.clock.advance(0.5)
        outside = self.backend.succeed()
        self.clock.advance(2)
        inside.protocol.dataReceived(b"ask")
        outside.protocol.dataReceived(b"answer")
        inside.lose(ConnectionDone())
        outside.lose(ConnectionDone())
        opened, gone = self.events
        self.assertEqual(
            [opened[name] for name in ("event", "client", "where", "seconds")],
            ["tunnel_opened", "192.0.2.1:4711", "tcp:backend:1", 0.5],
        )
        self.assertEqual(
            [gone[name] for name in ("event", "client", "outcome", "seconds", "bytes_received", "bytes_sent")],
            ["tunnel_gone", "192.0.2.1:4711", "closed", 2.5, 3, 6],
        )
        self.assertEqual(
            formatEvent(gone),
            "the connection of 192.0.2.1:4711 to tcp:backend:1 is over after 2.5 s, 3 bytes in, 6 out",
        )

    def test_lines_of_breaks(self) -> None:
        """One that breaks, or is cut off since the tunnel stops, has one line, too."""
        for end, outcome in (
            (lambda inside, outside: inside.lose(ConnectionLost()), "broken"),
            (lambda inside, outside: outside.lose(ConnectionLost()), "broken"),
            (lambda inside, outside: self.factory.drop(), "stopped"),
        ):
            self.events.clear()
            inside, outside = self.join()
            end(inside, outside)
            for each in (inside, outside):
                if each.aborting:
                    each.lose(ConnectionLost())
            self.assertEqual([event["event"] for event in self.events], ["tunnel_opened", "tunnel_gone"])
            self.assertEqual(self.events[-1]["outcome"], outcome)
            self.factory.entries.clear()
            self.factory.leaving.clear()

    def test_many_that_come_and_go(self) -> None:
        """Their lines have a bound of their own."""
        self.factory = TunnelFactory(self.backend, "tcp:backend:1", TunnelLimits(2, 3, client_lines=4), self.clock)
        for _ in range(20):
            inside, outside = self.join()
            inside.lose(ConnectionDone())
            outside.lose(ConnectionDone())
        self.clock.advance(60)
        names = [event["event"] for event in self.events]
        self.assertEqual([names.count(name) for name in ("tunnel_opened", "tunnel_gone")], [4, 4])
        sums = [formatEvent(event) for event in self.events if "count" in event]
        self.assertEqual(
            [line.partition(" in 60")[0] for line in sums], ["16 more connections", "16 more ends of connections"]
        )

    def test_impossible(self) -> None:
        for name in ("connections", "lines", "client_lines"):
            error = self.assertRaises(LocalProtocolError, TunnelLimits, **{name: 0})
            self.assertIn(name.replace("_", "-"), str(error))

    def test_connections(self) -> None:
        """One more is reset at once, those that are connected or wait to be stay, and one that leaves makes room."""
        first, second = self.enter(), self.enter()
        outside = self.backend.succeed()
        assert first is not None and second is not None
        self.assertIsNone(self.enter())
        self.assertIsNone(self.enter())
        self.assertEqual(self.log(), ["2 connections: that is the limit, more are turned away"])
        second.protocol.dataReceived(b"goes on")
        self.assertEqual(bytes(outside.out), b"goes on")
        first.lose(ConnectionDone())
        self.assertEqual(self.log()[1:], ["no longer 2 connections; 2 were turned away"])
        self.assertIsNotNone(self.enter())

    def test_left_behind(self) -> None:
        """An end that went out and can't close yet counts: its descriptor is not free."""
        for _ in range(2):
            inside = self.enter()
            outside = self.backend.succeed()
            assert inside is not None
            inside.lose(ConnectionDone())
            self.assertTrue(outside.disconnecting)
        self.assertEqual(self.factory.entries, set())
        self.assertIsNone(self.enter())
        outside.lose(ConnectionDone())
        self.assertIsNotNone(self.enter())
        # One that was cancelled, or that broke, leaves nothing behind.
        self.assertEqual(len(self.factory.leaving), 1)

    def test_cannot_connect(self) -> None:
        """Over and over, which whoever reaches the port can have: the log has the first, and sums."""
        for _ in range(20):
            inside = self.enter()
            self.backend.connecting.errback(ConnectionRefused("down"))
            assert inside is not None
            inside.lose(ConnectionDone())
        self.assertEqual(len(self.log()), 4)
        self.clock.advance(60)
        self.assertEqual(
            self.log()[4:],
            [
                "17 more connections that failed in 60.0 s, from 1 address; most often: cannot connect to "
                "tcp:backend:1: down"
            ],
        )

    def test_broken(self) -> None:
        """The same for what breaks, also when the tunnel stops."""
        # It listens on two ports, one of which stops early.
        self.factory.doStart()
        self.factory.doStart()
        for at in range(20):
            if at == 10:
                self.factory.doStop()
            inside = self.enter()
            outside = self.backend.succeed()
            outside.lose(ConnectionLost())
            assert inside is not None
            inside.lose(ConnectionDone())
        self.assertEqual(len(self.log()), 4)
        inside = self.enter()
        outside = self.backend.succeed()
        self.factory.doStop()
        self.assertIn("17 more connections that failed", self.log()[4])
        assert inside is not None
        inside.lose(ConnectionLost())
        outside.lose(ConnectionLost())
        self.assertIn("1 more connections that failed", self.log()[-1])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TurnedAwayTests(TestCase):
    timeout = 10

    async def test_descriptor(self) -> None:
        """It is free at once: all that wait are accepted before the reactor closes any."""
        factory = TunnelFactory(Backend(), "tcp:backend:1", TunnelLimits(connections=1))
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        made: list[int] = []
        connection_made = TurnedAway.connectionMade

        def note(end: TurnedAway) -> None:
            connection_made(end)
            made.append(end.transport.getHandle().fileno())

        self.patch(TurnedAway, "connectionMade", note)
        peers = [socket.socket(), socket.socket()]
        for peer in peers:
            self.addCleanup(peer.close)
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", port_number(port)))
        while not made:
            await deferLater(reactor, 0)
        self.assertEqual(made, [-1])
        factory.drop()
        peers[0].close()
        while factory.entries:
            await deferLater(reactor, 0)


class OptionsTests(SynchronousTestCase):
    """The command line of the tunnel's end."""

    def test_mistakes(self) -> None:
        right = ["--listen", "tcp:127.0.0.1:7000", "--to", "tcp:127.0.0.1:1", "--server-key", PUBLIC]
        self.assert_refused(right[2:], "--listen is missing")
        self.assert_refused(right[:4], "--server-key is missing")
        self.assert_refused([*right, "--server-key", "12"], "key")
        self.assert_refused([*right, "--listen", "non:sense"], "--listen: bad endpoint string 'non:sense'")
        self.assert_refused(
            [*right, "-P", "x", "--to", "tcp:host"], "--to: bad endpoint string 'tcp:host': it lacks 'port'"
        )
        secret = ["--to", "sodium:tcp:h:1:passphrase=hunter2"]
        self.assertNotIn("hunter2", self.assert_refused([*right, *secret], "use passphraseFile="))
        self.assert_refused([*right, "--passphrase-file", "missing"], "missing: No such file")
        self.assert_refused([*right, "--user", "x" * 256], "the login is 256 bytes long")
        self.assert_refused([*right, "--protocol", "1", "--user", "x" * 129], "the login is 129 bytes long")
        self.assert_refused([*right, "stray"], "unexpected argument 'stray'")
        self.assert_refused(
            [*right, "--limit", "people=3"],
            "--limit takes one of connections, lines, client-lines, log-size, log-files, twisted-lines, not 'people'",
        )
        self.assert_refused([*right, "--limit", "lines=0"], "the limit lines takes a whole number from 1, not 0")
        self.assert_refused([*right, "--tcp-keepalive", "soon"], "--tcp-keepalive takes a number of seconds, not")
        self.assert_refused([*right, "--tcp-keepalive", "-1"], "TCP keepalive takes 1 to 32767 seconds, or 0 for none")
        self.assert_refused([*right, "--ping-interval", "often"], "--ping-interval takes a number of seconds, not")
        contradiction = ["--inactivity-timeout", "3", "--ping-interval", "2"]
        self.assert_refused([*right, *contradiction], "take an inactivity time of at least 4 or a PING interval of at")

    def test_times(self) -> None:
        """They are those of each connection to the server."""
        right = ["--listen", "tcp:127.0.0.1:7000", "--to", "tcp:127.0.0.1:1", "--server-key", PUBLIC]
        made: list[Timeouts] = []

        def make(*arguments: Any, **more: object) -> Backend:
            made.append(arguments[5])
            return Backend()

        self.patch(tunneltap, "SodiumClientEndpoint", make)
        for arguments, timeouts in (
            ([], Timeouts(15)),
            (["--timeout", "4", "--inactivity-timeout", "3"], Timeouts(4, inactivity=3)),
            (["--inactivity-timeout", "9", "--ping-interval", "2"], Timeouts(15, inactivity=9, ping_interval=2)),
        ):
            options = Options()
            options.parseOptions([*right, *arguments])
            self.assertEqual(options.settings.timeouts, timeouts)
            makeService(options, Clock())
            self.assertEqual(made.pop(), timeouts)

    def test_limits(self) -> None:
        options = Options()
        where = ["--listen", "tcp:0", "--to", "tcp:127.0.0.1:1", "--server-key", PUBLIC]
        options.parseOptions([*where, "--limit", "connections=3", "--limit", "lines=4"])
        self.assertEqual(options.settings.limits, TunnelLimits(3, 4))

    def test_tcp_keepalive(self) -> None:
        """What both services are told is asked of the legs outside and of the encrypted connections."""
        for given, seconds in (([], 60), (["--tcp-keepalive", "8"], 8), (["--tcp-keepalive", "0"], 0)):
            options = Options()
            options.parseOptions(["--listen", "tcp:0", "--to", "tcp:127.0.0.1:1", "--server-key", PUBLIC, *given])
            outside = makeService(options, Clock())._factory
            assert isinstance(outside.endpoint, AdvisedEndpoint)
            inside = outside.endpoint._endpoint._make_factory(outside)
            self.assertEqual((outside.tcp_keepalive, inside.timeouts.tcp_keepalive), (seconds, seconds))
            server_options = tap.Options()
            server_options.parseOptions(["--key", SECRET, "--forward", "tcp:host:1", *given])
            streams = tap.makeService(server_options, Clock())._factory
            assert isinstance(streams, StreamServerFactory) and isinstance(streams.application, TunnelFactory)
            self.assertEqual((streams.application.tcp_keepalive, streams.timeouts.tcp_keepalive), (seconds, seconds))

    def assert_refused(self, arguments: list[str], line: str) -> str:
        def make() -> None:
            options = Options()
            options.parseOptions(arguments)
            makeService(options, Clock())

        error = str(self.assertRaises(SystemExit, make))
        self.assertIn(line, error)
        self.assertTrue(error.startswith("sodium-tunnel: "), error)
        self.assertNotIn("\n", error)
        return error


class TunnelProcessTests(ProcessTestCase):
    """Real processes, from a local port through both services to a backend."""

    def start_tunnel(self, backend: str, **keywords: Unpack[ProcessOptions]) -> tuple[Running, Running]:
        """Start both services; ``port`` is then the local one."""
        server = self.start_server("--forward", backend, **keywords)
        tunnel = self.run_process(
            [*TWISTD, "-n", "--pidfile=", "sodium-tunnel", "--listen", "tcp:127.0.0.1:0"]
            + ["--to", self.endpoint, "--server-key", PUBLIC],
            **keywords,
        )
        self.port = int(tunnel.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
        return server, tunnel

    def listen(self) -> socket.socket:
        backend = socket.create_server(("127.0.0.1", 0))
        backend.settimeout(PATIENCE)
        self.addCleanup(backend.close)
        return backend

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def start_with_socket(self, **keywords: Unpack[ProcessOptions]) -> tuple[socket.socket, Running, Running]:
        backend = self.listen()
        return backend, *self.start_tunnel(f"tcp:127.0.0.1:{backend.getsockname()[1]}", **keywords)

    def send_all(self, connection: socket.socket, data: bytes) -> None:
        """Send, and end that direction."""
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    def read_all(self, connection: socket.socket) -> bytes:
        return b"".join(iter(lambda: connection.recv(65536), b""))

    def test_half_close(self) -> None:
        """Each direction ends for itself: an answer may follow the end of its question."""
        backend, *_ = self.start_with_socket()
        client = self.connect()
        question = os.urandom(3_000_000)
        threading.Thread(target=self.send_all, args=(client, question)).start()
        accepted, _ = backend.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            self.assertTrue(self.read_all(accepted) == question)
            answer = os.urandom(3_000_000)
            threading.Thread(target=self.send_all, args=(accepted, answer)).start()
            self.assertTrue(self.read_all(client) == answer)

    def test_full_close(self) -> None:
        """All bytes sent before a close arrive, in both directions."""
        backend, *_ = self.start_with_socket()
        for sender_is_client in (True, False):
            client = self.connect()
            accepted, _ = backend.accept()
            accepted.settimeout(PATIENCE)
            sender, receiver = (client, accepted) if sender_is_client else (accepted, client)
            data = os.urandom(2_000_000)

            def send(sender: socket.socket = sender, data: bytes = data) -> None:
                sender.sendall(data)
                sender.close()

            threading.Thread(target=send).start()
            self.assertTrue(self.read_all(receiver) == data)
            receiver.close()

    def reset(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def join(self, backend: socket.socket) -> tuple[socket.socket, socket.socket]:
        """Connect a program to the service, and let both say something."""
        client = self.connect()
        accepted, _ = backend.accept()
        accepted.settimeout(PATIENCE)
        self.addCleanup(accepted.close)
        client.sendall(b"half a question")
        self.assertEqual(accepted.recv(100), b"half a question")
        accepted.sendall(b"half an answer")
        self.assertEqual(client.recv(100), b"half an answer")
        return client, accepted

    def test_resets(self) -> None:
        """A reset at one end is one at the other, behind what came before it. The death of a process of ours is one."""
        backend, server, tunnel = self.start_with_socket()
        for number in (0, 1):
            ends = self.join(backend)
            ends[number].sendall(b"the last of it")
            self.reset(ends[number])
            # It may have overtaken that in the system that has sent it.
            with self.assertRaises(ConnectionResetError):
                self.assertIn(ends[1 - number].recv(100), b"the last of it")
                ends[1 - number].recv(100)
        for _ in range(5):
            client = self.connect()
            sending = threading.Thread(target=self.send_what_is_taken, args=(client,))
            sending.start()
            accepted, _ = backend.accept()
            with accepted:
                accepted.recv(1000)
                accepted.sendall(b"too large")
            # Closed with bytes unread, it is reset.
            sending.join()
            self.assertEqual(client.recv(100), b"too large")
        client, accepted = self.join(backend)
        tunnel.stop(signal.SIGKILL)
        self.assertRaises(ConnectionResetError, client.recv, 1)
        self.assertRaises(ConnectionResetError, accepted.recv, 1)
        raw = socket.create_connection(("127.0.0.1", int(self.endpoint.rpartition(":")[2])), PATIENCE)
        self.addCleanup(raw.close)
        core = ClientConnection(bytes.fromhex(PUBLIC), "username", "passphrase", 0)
        raw.sendall(wire_of(core.initiate) + wire_of(core.send_data, b"x"))
        accepted, _ = backend.accept()
        accepted.settimeout(PATIENCE)
        self.assertEqual(accepted.recv(1), b"x")
        server.stop(signal.SIGKILL)
        self.assertRaises(ConnectionResetError, accepted.recv, 1)
        accepted.close()

    def send_what_is_taken(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(bytes(8_000_000))

    def test_backend_down(self) -> None:
        """The connection is reset at once and the log says why."""
        with self.listen() as backend:
            address = f"tcp:127.0.0.1:{backend.getsockname()[1]}"
        server, _ = self.start_tunnel(address)
        client = self.connect()
        client.settimeout(5)  # at once, that is, and long before anything times out
        self.assertRaises(ConnectionResetError, client.recv, 1)
        server.wait_for(rf"cannot connect 127\.0\.0\.1:\d+ to {address}: .*refused")

    def test_refused_login(self) -> None:
        """No backend connection is made, and the tunnel's log says why."""
        backend, server, _ = self.start_with_socket()
        tunnel = self.run_process(
            [*TWISTD, "-n", "--pidfile=", "sodium-tunnel", "--listen", "tcp:127.0.0.1:0", "--to", self.endpoint]
            + ["--server-key", PUBLIC, "--passphrase", "wrong"]
        )
        self.port = int(tunnel.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
        self.assertRaises(ConnectionResetError, self.connect().recv, 1)
        tunnel.wait_for(
            "cannot connect .*: the server refuses: login, passphrase or key refused; no --identity was given"
        )
        backend.setblocking(False)
        self.assertRaises(BlockingIOError, backend.accept)
        self.assertFalse([line for line in server.output + tunnel.output if "Traceback" in line])

    def test_large(self) -> None:
        """What is much larger than the processes' memory passes through it."""
        backend, server, tunnel = self.start_with_socket(env=unmeasured())
        client = self.connect()
        rest = os.urandom((1 << 20) - 8)
        count = 320
        sent = hashlib.sha256()

        def send() -> None:
            for number in range(count):
                block = number.to_bytes(8, "big") + rest
                client.sendall(block)
                sent.update(block)
            client.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        accepted, _ = backend.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            received, size = hashlib.sha256(), 0
            while data := accepted.recv(1 << 20):
                received.update(data)
                size += len(data)
        sending.join(PATIENCE)
        self.assertEqual(size, count << 20)
        self.assertEqual(received.digest(), sent.digest())
        for process in (server, tunnel):
            self.assertLess(process.peak_memory(), 100_000_000)

    def fill(self, sender: socket.socket, data: bytes) -> int:
        """
        Send until nothing is taken for a while.

        :return: how many bytes were taken.
        """
        sender.settimeout(2)
        sent = 0
        try:
            while sent < len(data):
                sent += sender.send(memoryview(data)[sent : sent + (1 << 20)])
        except TimeoutError:
            pass
        sender.settimeout(PATIENCE)
        return sent

    def test_slow_reader(self) -> None:
        """Nobody reads at either end: it stops there, in little memory, and other connections go on."""
        backend, server, tunnel = self.start_with_socket(env=unmeasured())
        client = self.connect()
        accepted, _ = backend.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            data = os.urandom(150 << 20)
            taken = []
            for sender in (client, accepted):
                taken.append(self.fill(sender, data))
                self.assertLess(taken[-1], 64 << 20)
                for process in (server, tunnel):
                    self.assertLess(process.peak_memory(), 100_000_000)
            other = self.connect()
            accepted_other, _ = backend.accept()
            with accepted_other:
                other.sendall(b"question")
                self.assertEqual(accepted_other.recv(8, socket.MSG_WAITALL), b"question")
            for receiver, size in ((accepted, taken[0]), (client, taken[1])):
                received = bytearray()
                while len(received) < size:
                    received += receiver.recv(1 << 20)
                self.assertTrue(received == data[:size])

    def is_refused(self) -> bool:
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    def test_stops_in_order(self) -> None:
        """Streams that are open go on to their end, then both services end, without a traceback. Nobody new comes."""
        backend, server, tunnel = self.start_with_socket()
        client = self.connect()
        accepted, _ = backend.accept()
        with accepted:
            for byte in (b"x", b"y"):
                client.sendall(byte)
                self.assertEqual(accepted.recv(1), byte)
                if byte == b"x":
                    for process in (tunnel, server):
                        process.process.send_signal(signal.SIGTERM)
                        process.wait_for("stopping; .* that get 10 seconds")
                    wait_until(self.is_refused, "the port to close")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(accepted.recv(1), b"")
        for process in (tunnel, server):
            self.assertEqual(process.wait(), -signal.SIGTERM)
            process.wait_for("Server Shut Down")
            self.assertFalse([line for line in process.output + process.errors if "Traceback" in line])

    def start_redis(self) -> str:
        program = find_program("redis-server", "redis-server")
        path = self.path("redis.sock")
        redis = self.run_process([program, "--port", "0", "--unixsocket", path, "--save", ""])
        redis.wait_for("Ready to accept connections|now ready to accept connections")
        return f"unix:{path}"

    def redis(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [program, "-p", str(self.port), *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=clean_environment(),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_redis(self) -> None:
        """An unmodified server and its clients, 200 connections at once among them."""
        server, tunnel = self.start_tunnel(self.start_redis(), env=unmeasured())
        self.assertEqual(self.redis("redis-cli", "set", "key", "value"), "OK\n")
        self.assertEqual(self.redis("redis-cli", "get", "key"), "value\n")
        figures = self.redis("redis-benchmark", "-q", "-c", "200", "-n", "5000", "-t", "set,get")
        self.assertRegex(figures, r"SET: [\d.]+ requests per second")
        self.assertRegex(figures, r"GET: [\d.]+ requests per second")
        clients = [self.connect() for _ in range(200)]
        for client in clients:
            client.sendall(b"GET key\r\n")
        for client in clients:
            self.assertEqual(client.recv(100), b"$5\r\nvalue\r\n")
        for process in (server, tunnel):
            self.assertLess(process.peak_memory(), 100_000_000)
            self.assertFalse([line for line in process.output if "Traceback" in line])
