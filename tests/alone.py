"""
One end of the protocol alone, on a transport of strings. The test itself holds the core of the other end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import SodiumClientFactory, SodiumServerFactory, Timeouts
from sodiumtwist.core.connection import ClientConnection, RecentSalts, ServerConnection, Version2
from sodiumtwist.core.events import AuthenticationRequested, Event, HandshakeComplete
from sodiumtwist.core.v2.session import V2Records
from sodiumtwist.core.version import VERSIONS

from .core.peers import Connection, wire_of
from .pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    ClientArguments,
    Recorder,
    RecordingClient,
    RecordingServer,
    ServerArguments,
    build,
    make_client_factory,
    make_server_factory,
)
from .transports import Transport
from .versions import spoken

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Sizes on the wire, written out as the wire document has them and not taken from the code under test. A DATA takes
#: so many bytes beyond its payload; the others are the whole size.
OVERHEAD = 46
PING_SIZE = 62
CLIENT_AUTH_SIZE = 400
SERVER_HELO_SIZE = 236

#: What the wall clock of both ends tells, in nanoseconds.
WALL_CLOCK = 1_000_000_000_000_000_007


def wide(ping_interval: float = Timeouts.ping_interval, inactivity: float = Timeouts.inactivity) -> Timeouts:
    """Make deadlines that allow any number of unanswered PINGs."""
    return Timeouts(ping_interval=ping_interval, inactivity=inactivity, outstanding_pongs=100_000)


def unix_time() -> float:
    """The time by the wall clock of both ends."""
    return WALL_CLOCK / 1e9


def new_peer_client(unix_time: Callable[[], float] = unix_time) -> ClientConnection:
    """Make the core of a client that speaks the version of the test."""
    key, version_2 = SERVER_PAIR.public, Version2(unix_time, padding=lambda: 0)
    return ClientConnection(key, LOGIN, PASSPHRASE, 0, CLIENT_PAIR, wide(), version=spoken(), version_2=version_2)


def new_peer_server() -> ServerConnection:
    """Make the core of a server that takes both versions."""
    return ServerConnection(
        SERVER_PAIR, 0, wide(), versions=VERSIONS, version_2=Version2(unix_time, RecentSalts(), padding=lambda: 0)
    )


class AloneTestCase(SynchronousTestCase):
    """
    Has one end on a transport of strings, and the core of the other end.

    :ivar protocol: the end under test.
    :ivar peer: the core of the other end: ``peer_client`` or ``peer_server``.
    """

    protocol: Recorder
    peer: Connection
    peer_client: ClientConnection
    peer_server: ServerConnection

    def _connect(self, factory: SodiumServerFactory | SodiumClientFactory, orderly: bool) -> None:
        self.factory = factory
        self.patch(factory, "wall_clock", lambda: WALL_CLOCK)
        self.protocol = build(factory, Recorder)
        self.transport = Transport(self.protocol, orderly)
        self.protocol.makeConnection(self.transport)

    def start_server(
        self,
        protocol: Callable[[], RecordingServer] = RecordingServer,
        checker: ICredentialsChecker | None = None,
        orderly: bool = True,
        **arguments: Unpack[ServerArguments],
    ) -> None:
        """Connect a server's end. It has received nothing yet."""
        self.clock = Clock()
        self._connect(make_server_factory(self.clock, protocol, checker, **arguments), orderly)
        self.peer = self.peer_client = new_peer_client()

    def open_server(
        self,
        protocol: Callable[[], RecordingServer] = RecordingServer,
        orderly: bool = True,
        **arguments: Unpack[ServerArguments],
    ) -> None:
        """Connect and authenticate a server's end."""
        self.start_server(protocol, orderly=orderly, **arguments)
        self.log_in()
        self.assertTrue(self.protocol.is_authenticated)
        self.read()

    def say_hello(self) -> None:
        """Let a server's end know its client, but for the login, which waits at the client."""
        self.peer_client.initiate()
        if self.peer_client.version == 2:
            self.feed(self.peer.data_to_send())
            (event,) = self.read()
            self.assertIsInstance(event, HandshakeComplete)

    def log_in(self, *payloads: bytes) -> None:
        """
        Let a server's end receive the login of its client, in one read with what comes behind it.

        :param payloads: of DATA.
        """
        self.say_hello()
        for payload in payloads:
            self.peer.send_data(payload)
        self.feed(self.peer.data_to_send())

    def start_client(
        self,
        protocol: Callable[[], RecordingClient] = RecordingClient,
        orderly: bool = True,
        **arguments: Unpack[ClientArguments],
    ) -> None:
        """Connect a client's end. The peer has received its login."""
        self.clock = Clock()
        self._connect(make_client_factory(self.clock, protocol, **arguments), orderly)
        self.peer = self.peer_server = new_peer_server()
        events = self.read()
        if self.peer.version == 2:
            self.assertEqual(events, [])
            self.feed(self.peer.data_to_send())
            events = self.read()
        (event,) = events
        self.assertIsInstance(event, AuthenticationRequested)

    def open_client(
        self,
        protocol: Callable[[], RecordingClient] = RecordingClient,
        orderly: bool = True,
        **arguments: Unpack[ClientArguments],
    ) -> None:
        """Connect and authenticate a client's end."""
        self.start_client(protocol, orderly, **arguments)
        self.feed(wire_of(self.peer_server.accept, 0))
        self.assertTrue(self.protocol.is_authenticated)

    def feed(self, *pieces: bytes) -> None:
        """Let the protocol receive all the pieces in one read."""
        self.protocol.dataReceived(b"".join(pieces))

    def read(self) -> list[Event]:
        """Return the events that the peer finds in what was written since the last call."""
        written = self.transport.value()
        self.transport.clear()
        self.transport.writes.clear()
        return list(self.peer.receive_data(written, self.clock.seconds()))

    def read_types(self) -> list[str]:
        return [type(event).__name__ for event in self.read()]

    def peer_data(self, *payloads: bytes) -> bytes:
        return b"".join(wire_of(self.peer.send_data, each) for each in payloads)

    def peer_ping(self, count: int = 1) -> bytes:
        return b"".join(wire_of(self.peer.send_ping, self.clock.seconds(), 0) for _ in range(count))

    def finish(self) -> None:
        """Let the other end close in order."""
        if self.transport.connected and self.peer.version == 2:
            self.read()
            self.feed(wire_of(self.peer.send_end))
        if self.transport.connected:
            self.transport.lose(ConnectionDone())

    @property
    def ping_size(self) -> int:
        """How many bytes a PING, or a PONG, takes on the wire when it leaves alone."""
        if self.peer.version == 1:
            return PING_SIZE
        assert isinstance(self.peer._records, V2Records)
        return 12 + 8 + self.peer._records._sealer.overhead

    @property
    def producer(self) -> IPushProducer:
        """The producer that the transport pauses and resumes."""
        assert self.transport.producer is not None
        return cast(IPushProducer, self.transport.producer)

    def fill(self) -> None:
        """Fill the transport's buffer."""
        self.producer.pauseProducing()

    def fill_with_each_write(self) -> None:
        """Let each write from now on fill the transport's buffer."""
        write = self.transport.write

        def write_and_fill(data: bytes) -> None:
            write(data)
            self.fill()

        self.patch(self.transport, "write", write_and_fill)

    def drain(self) -> None:
        """Empty the transport's buffer."""
        self.producer.resumeProducing()

    def assert_lost(self, error: type[BaseException]) -> Failure:
        """
        Check that the connection ended for this reason, and that no delayed call is left.

        :return: the reason.
        """
        reason = self.protocol.reason
        assert reason is not None, "the connection is up"
        self.assertIs(reason.type, error, reason)
        self.assertFalse(self.protocol.is_authenticated)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return reason

    def assert_up(self) -> None:
        self.assertIsNone(self.protocol.reason)
        self.assertTrue(self.transport.connected)
        self.assertFalse(self.transport.disconnecting)
