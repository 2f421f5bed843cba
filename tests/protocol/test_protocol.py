"""
Sessions of both ends in memory, and those that do not come about.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import formatEvent
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import AuthenticationFailed, DecryptionFailed, KeyPair, LocalProtocolError, PayloadTooLarge, Timeouts

from ..alone import CLIENT_AUTH_SIZE, OVERHEAD
from ..logs import logged, refusals
from ..pair import (
    BUFFER_SIZE,
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    ClientArguments,
    EchoServer,
    MemoryTransport,
    Pair,
    Recorder,
    RecordingClient,
    RecordingServer,
    build,
    make_client_factory,
    make_server_factory,
)
from ..payload_producers import PullSource
from ..versions import each_version, only, spoken

if TYPE_CHECKING:
    from typing_extensions import Unpack


@each_version
class SessionTests(SynchronousTestCase):
    def test_whole_session(self) -> None:
        """The hooks of both sides in order, with what they are told."""
        seen: list[tuple[str | bytes | bool | None, ...]] = []

        class Server(EchoServer):
            def authenticated(self) -> None:
                super().authenticated()
                assert self.peer is not None
                seen.append((self.peer.login, self.peer.public_key, self.is_authenticated))

        class Client(RecordingClient):
            def authenticated(self) -> None:
                super().authenticated()
                seen.append((self.message, self.is_authenticated))

        clock = Clock()
        pair = Pair(
            make_server_factory(clock, Server, message="Gr\u00fc\u00df Gott."),
            make_client_factory(clock, Client, pair=CLIENT_PAIR),
        )
        self.assertEqual((pair.server.peer, pair.client.peer, pair.client.message), (None, None, None))
        self.assertFalse(pair.server.is_authenticated or pair.client.is_authenticated)
        pair.flush()
        self.assertEqual(seen, [(LOGIN, CLIENT_PAIR.public, True), ("Gr\u00fc\u00df Gott.", True)])
        payloads = [b"one", b"", b"three", bytes(131070)]
        for payload in payloads:
            pair.client.send_data(payload)
        pair.flush()
        pair.client.close()
        pair.flush()
        self.assertEqual(pair.server.calls[:-1], ["authenticated", *payloads])
        self.assertEqual(pair.client.calls[:-1], ["authenticated", *payloads])
        self.assertIs(pair.server.why, ConnectionDone)
        self.assertIs(pair.client.why, ConnectionDone)
        self.assertFalse(pair.server.is_authenticated or pair.client.is_authenticated)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_server_closes(self) -> None:
        clock = Clock()
        pair = Pair.make(clock=clock)
        pair.flush()
        pair.server.send_data(b"last words")
        pair.server.close()
        pair.flush()
        self.assertEqual(pair.client.payloads, [b"last words"])
        self.assertIs(pair.client.why, ConnectionDone)
        self.assertIs(pair.server.why, ConnectionDone)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_no_delay(self) -> None:
        pair = Pair.make()
        self.assertIs(pair.server_transport.no_delay, True)
        self.assertIs(pair.client_transport.no_delay, True)

    @only(1)
    def test_read_size(self) -> None:
        """A transport that reads in pieces of a size reads in pieces of ours."""
        client = build(make_client_factory(Clock()), RecordingClient)
        transport = MemoryTransport(client)
        client.makeConnection(transport)
        self.assertEqual(transport.bufferSize, BUFFER_SIZE)

    @only(1)
    def test_transport_without_no_delay(self) -> None:
        """One that has no such method, or, as UNIX sockets of older Twisted, one that fails."""

        class Unable(MemoryTransport):
            def setTcpNoDelay(self, enabled: bool) -> None:
                raise OSError(95, "Operation not supported")

        client = build(make_client_factory(Clock()), RecordingClient)
        without = StringTransportWithDisconnection()
        client.makeConnection(without)
        self.assertEqual(len(without.value()), CLIENT_AUTH_SIZE)
        client = build(make_client_factory(Clock()), RecordingClient)
        unable = Unable(client)
        client.makeConnection(unable)
        self.assertEqual(len(unable.out), CLIENT_AUTH_SIZE)

    def test_any_buffer(self) -> None:
        pair = Pair.make()
        pair.flush()
        pair.client.send_data(bytearray(b"mutable"))
        pair.client.send_data(memoryview(b"a view")[2:])
        pair.client.write(bytearray(b"written"))
        pair.flush()
        self.assertEqual(pair.server.payloads, [b"mutable", b"view", b"written"])

    def test_write_splits(self) -> None:
        """300000 bytes are two DATA of the largest size, and the rest."""
        pair = Pair.make()
        pair.flush()
        data = random.Random(1).randbytes(300_000)
        pair.client.write(data)
        pair.client.write(b"")
        pair.flush()
        self.assertEqual(list(map(len, pair.server.payloads)), [130920, 130920, 38160])
        self.assertEqual(b"".join(pair.server.payloads), data)

    def test_cut_anywhere(self) -> None:
        """Byte by byte, at random, or whole: the hooks are the same."""
        draw = random.Random(2)

        def session(read_size: Callable[[], int]) -> list[list[object]]:
            clock = Clock()
            pair = Pair.make(EchoServer, RecordingClient, clock, read_size=read_size)
            pair.client.send_data(b"early")
            pair.flush()
            pongs: list[float] = []
            for payload in (b"", b"x", b"0123456789" * 100):
                pair.client.send_data(payload)
                pair.client.ping().addCallback(pongs.append)
                pair.server.send_data(payload)
            pair.flush()
            pair.server.close()
            pair.flush()
            self.assertEqual(pongs, [0, 0, 0])
            self.assertEqual(clock.getDelayedCalls(), [])
            # The reasons are compared by type: no two Failures are equal.
            ends: list[Recorder] = [pair.server, pair.client]
            return [[*end.calls[:-1], end.why] for end in ends]

        whole = session(lambda: BUFFER_SIZE)
        self.assertEqual(whole[0][:-1], ["authenticated", b"early", b"", b"x", b"0123456789" * 100])
        self.assertEqual(session(lambda: 1), whole)
        for _ in range(10):
            self.assertEqual(session(lambda: draw.choice((1, 2, 28, 29, 30, 46, 399, 1000))), whole)

    @only(1)
    def test_early_data(self) -> None:
        """A client may send right behind its CLIENT_AUTH, before it was let in."""

        class Client(RecordingClient):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.send_data(b"early")
                self.early = self.is_authenticated

        pair = Pair.make(EchoServer, Client)
        self.assertFalse(pair.client.early)
        self.assertEqual(pair.client_transport.writes, [CLIENT_AUTH_SIZE, 5 + OVERHEAD])
        pair.flush()
        self.assertEqual(pair.server.calls, ["authenticated", b"early"])
        self.assertEqual(pair.client.calls, ["authenticated", b"early"])

    def test_early_ping(self) -> None:
        pair = Pair.make()
        latency = pair.client.ping()
        self.assertNoResult(latency)
        pair.flush()
        self.assertEqual(self.successResultOf(latency), 0)

    def test_server_sends_first(self) -> None:
        class Server(RecordingServer):
            def authenticated(self) -> None:
                self.send_data(b"hello")

        pair = Pair.make(Server)
        pair.flush()
        self.assertEqual(pair.client.calls, ["authenticated", b"hello"])

    def test_server_cannot_send_early(self) -> None:
        pair = Pair.make()
        self.assertRaises(LocalProtocolError, pair.server.send_data, b"x")
        self.failureResultOf(pair.server.ping(), LocalProtocolError)
        if spoken() == 1:
            self.assertEqual(pair.server_transport.writes, [])
        pair.flush()
        pair.server.send_data(b"x")
        pair.flush()
        self.assertEqual(pair.client.payloads, [b"x"])

    def test_nothing_can_be_sent_before_a_connection(self) -> None:
        client = build(make_client_factory(Clock()), RecordingClient)
        error = self.assertRaises(LocalProtocolError, client.send_data, b"x")
        self.assertEqual(str(error), "there is no connection yet; wait for connectionMade() or authenticated()")
        self.failureResultOf(client.ping(), LocalProtocolError)

    def test_payload_too_large(self) -> None:
        """It is the caller's error: the connection stays, and the stream with it."""
        pair = Pair.make()
        pair.flush()
        size = 131071 if spoken() == 1 else 135157
        error = self.assertRaises(PayloadTooLarge, pair.client.send_data, b"Z" * size)
        self.assertIn(str(size), str(error))
        self.assertNotIn("ZZ", str(error))
        pair.client.send_data(bytes(131070))
        pair.flush()
        self.assertEqual(list(map(len, pair.server.payloads)), [131070])
        self.assertIsNone(pair.server.reason)

    def test_no_bytes(self) -> None:
        """So is anything but contiguous bytes."""
        pair = Pair.make()
        pair.flush()
        wrong: Any
        for wrong, says in (
            ("text", "contiguous bytes are taken, not str; encode it: text.encode()"),
            (None, "contiguous bytes are taken, not NoneType"),
            (5, "contiguous bytes are taken, not int"),
            (memoryview(bytes(10))[::2], "contiguous bytes are taken, not a view with gaps"),
        ):
            for call in (pair.client.send_data, pair.client.write):
                self.assertEqual(str(self.assertRaises(TypeError, call, wrong)), says)
        pair.client.send_data(b"x")
        pair.flush()
        self.assertEqual(pair.server.payloads, [b"x"])


@each_version
class RefusalTests(SynchronousTestCase):
    """Connections that do not come about."""

    def refuse(self, **arguments: Unpack[ClientArguments]) -> Pair:
        clock = Clock()
        pair = Pair(make_server_factory(clock), make_client_factory(clock, **arguments))
        pair.flush()
        self.assertTrue(pair.server_transport.disconnected and pair.client_transport.disconnected)
        # In version 2 it sends the second part of the handshake, and that the client is refused.
        self.assertEqual(len(pair.server_transport.writes), 0 if spoken() == 1 else 2)
        self.assertEqual((len(pair.server.calls), len(pair.client.calls)), (1, 1))
        self.assertEqual(clock.getDelayedCalls(), [])
        return pair

    def test_wrong_passphrase(self) -> None:
        """Both sides are told, and nobody hears of a passphrase."""
        pair = self.refuse(passphrase="hunter2")
        self.assertIs(pair.server.why, AuthenticationFailed)
        self.assertIs(pair.client.why, AuthenticationFailed)
        assert pair.server.reason is not None and pair.client.reason is not None
        self.assertEqual(pair.server.reason.getErrorMessage(), "login or passphrase is wrong")
        for reason in (pair.server.reason, pair.client.reason):
            for text in (str(reason), repr(reason.value), reason.getTraceback(detail="verbose")):
                self.assertNotIn("hunter2", text)
                self.assertNotIn(PASSPHRASE, text)
        self.assertIn("passphrase", pair.client.reason.getErrorMessage())

    def test_wrong_login(self) -> None:
        """What a terminal or a reader of the log would take for something else is escaped."""
        events = logged(self)
        pair = self.refuse(login="nob\nody\x1b[2J\u2028\u202e")
        (line,) = refusals(events)
        self.assertTrue(line.isprintable())
        self.assertIn(r"as 'nob\nody\x1b[2J\u2028\u202e': login or passphrase is wrong", line)
        self.assertIs(pair.server.why, AuthenticationFailed)
        self.assertIs(pair.client.why, AuthenticationFailed)
        self.assertIsNone(pair.server.peer)

    @only(1)
    def test_wrong_server_key(self) -> None:
        """Nothing is to be seen before the time for authentication is over."""
        clock = Clock()
        pair = Pair(
            make_server_factory(clock),
            make_client_factory(clock, server_key=KeyPair.generate().public, timeouts=Timeouts(authentication=60)),
        )
        pair.client.write(bytes(500_000))
        pair.flush()
        self.assertEqual((pair.server.calls, pair.client.calls), ([], []))
        self.assertEqual(pair.server_transport.received, 400 + 500_000 + 4 * OVERHEAD)
        self.assertEqual(pair.server._connection.buffered, 0)
        clock.advance(10)
        pair.flush()
        self.assertIs(pair.server.why, DecryptionFailed)
        self.assertIs(pair.client.why, AuthenticationFailed)
        self.assertEqual(pair.server_transport.writes, [])

    def test_early_data_of_a_refused_login_is_dropped(self) -> None:
        clock = Clock()
        pair = Pair(make_server_factory(clock), make_client_factory(clock, passphrase="hunter2"))
        pair.client.write(bytes(500_000))
        pair.flush()
        self.assertEqual(pair.server.payloads, [])
        self.assertIs(pair.server.why, AuthenticationFailed)
        # The server left without having read all, so the transport says that the connection was reset.
        self.assertIs(pair.client.why, AuthenticationFailed)

    def test_the_log_says_who_and_why(self) -> None:
        events = logged(self)
        self.refuse(passphrase="hunter2")
        (line,) = refusals(events)
        self.assertIn("192.0.2.1:4711", line)
        self.assertIn(repr(LOGIN), line)

    def test_the_log_says_who_is_let_in(self) -> None:
        events = logged(self)
        Pair.make().flush()
        texts = [formatEvent(event) for event in events]
        self.assertEqual(
            texts,
            [
                "192.0.2.1:4711 has connected",
                f"192.0.2.1:4711 is authenticated as {LOGIN!r}, version {spoken()}",
            ],
        )


@each_version
class IosimTests(SynchronousTestCase):
    """Over Twisted's own simulation of a network."""

    def connect(self, server: type[RecordingServer]) -> tuple[RecordingServer, RecordingClient, iosim.IOPump]:
        clock = Clock()
        server_end = build(make_server_factory(clock, server), RecordingServer)
        client_end = build(make_client_factory(clock), RecordingClient)
        pump = iosim.connect(
            server_end,
            iosim.makeFakeServer(server_end),
            client_end,
            iosim.makeFakeClient(client_end),
            clock=clock,
        )
        return server_end, client_end, pump

    def test_session(self) -> None:
        server, client, pump = self.connect(EchoServer)
        assert server.peer is not None
        self.assertEqual((server.peer.login, client.message), (LOGIN, "Welcome."))
        client.send_data(b"ping?")
        pump.flush()
        self.assertEqual(client.payloads, [b"ping?"])
        client.close()
        pump.flush()
        self.assertIs(server.why, ConnectionDone)
        self.assertIs(client.why, ConnectionDone)
        self.assertEqual(pump.clock.getDelayedCalls(), [])

    def test_both_directions_at_once(self) -> None:
        """Large amounts in DATA of all sizes, pulled and pushed, with PINGs between."""
        server, client, pump = self.connect(RecordingServer)
        draw = random.Random(8)
        blocks = random.Random(9).randbytes(131_070)
        to_server, to_client = (
            [blocks[: draw.choice((0, 1, 1000, 65_536, 131_070))] for _ in range(100)] for _ in range(2)
        )
        latencies = []
        while to_server[len(server.payloads) :] or to_client[len(client.payloads) :]:
            for payload in to_server[len(server.payloads) :][:7]:
                client.send_data(payload)
            for payload in to_client[len(client.payloads) :][:5]:
                server.send_data(payload)
            latencies += [client.ping(), server.ping()]
            pump.flush()
        self.assertEqual(server.payloads, to_server)
        self.assertEqual(client.payloads, to_client)
        self.assertEqual({self.successResultOf(latency) for latency in latencies}, {0})

    def test_pull_producers_both_ways(self) -> None:
        """Over transports that fill up, each side reads on while it sends."""
        clock = Clock()
        pair = Pair.make(clock=clock)
        pair.flush()
        to_server, to_client = ([random.Random(n).randbytes(20_000) for _ in range(100)] for n in (10, 11))
        pair.client.registerProducer(PullSource(pair.client, to_server), False)
        pair.server.registerProducer(PullSource(pair.server, to_client), False)
        for _ in range(200):
            clock.advance(0)
            pair.flush()
        self.assertEqual(pair.server.payloads, to_server)
        self.assertEqual(pair.client.payloads, to_client)
