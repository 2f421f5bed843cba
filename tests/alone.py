"""
One side of the protocol alone on a transport of strings, with the core of the other side in the test's hands.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import Timeouts
from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.events import AuthenticationRequested

from .pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    RecordingClient,
    RecordingServer,
    make_client_factory,
    make_server_factory,
)
from .transports import Transport

#: A DATA on the wire is this much longer than its payload; a PING or PONG is as long as said.
OVERHEAD = 46
PING_SIZE = 62
CLIENT_AUTH_SIZE = 400
SERVER_HELO_SIZE = 236


def wide(**arguments: Any) -> Timeouts:
    """Deadlines with as many PINGs under way as the test likes."""
    return Timeouts(**{"outstanding_pongs": 100_000, **arguments})


class AloneTestCase(SynchronousTestCase):
    """
    One side on a transport of strings, and the core of the other side in the test's hands.

    :ivar protocol: the side under test.
    :ivar peer: the other one.
    """

    protocol: Any
    peer: Any

    def _connect(self, factory: Any, orderly: bool) -> None:
        self.factory = factory
        self.factory.wall_clock = lambda: 1_000_000_000_000_000_007
        self.protocol = factory.buildProtocol(None)
        self.transport = Transport(self.protocol, orderly)
        self.protocol.makeConnection(self.transport)

    def start_server(
        self, protocol: Any = RecordingServer, checker: Any = None, orderly: bool = True, **arguments: Any
    ) -> None:
        """Connect a server's side; nothing was received."""
        self.clock = Clock()
        self._connect(make_server_factory(self.clock, protocol, checker, **arguments), orderly)
        self.peer = ClientConnection(SERVER_PAIR.public, LOGIN, PASSPHRASE, 0, CLIENT_PAIR, wide())

    def open_server(self, *arguments: Any, **more: Any) -> None:
        """Connect and authenticate a server's side."""
        self.start_server(*arguments, **more)
        self.feed(self.peer.initiate())
        self.assertTrue(self.protocol.is_authenticated)
        self.read()

    def start_client(self, protocol: Any = RecordingClient, orderly: bool = True, **arguments: Any) -> None:
        """Connect a client's side; its CLIENT_AUTH was received."""
        self.clock = Clock()
        self._connect(make_client_factory(self.clock, protocol, **arguments), orderly)
        self.peer = ServerConnection(SERVER_PAIR, 0, wide())
        (event,) = self.read()
        self.assertIsInstance(event, AuthenticationRequested)

    def open_client(self, *arguments: Any, **more: Any) -> None:
        """Connect and authenticate a client's side."""
        self.start_client(*arguments, **more)
        self.feed(self.peer.accept(0))
        self.assertTrue(self.protocol.is_authenticated)

    def feed(self, *pieces: bytes) -> None:
        """Have them received in one read."""
        self.protocol.dataReceived(b"".join(pieces))

    def read(self) -> list[Any]:
        """What the other side sees in the bytes written since the last call."""
        written = self.transport.value()
        self.transport.clear()
        self.transport.writes.clear()
        return list(self.peer.receive_data(written, self.clock.seconds()))

    def read_types(self) -> list[str]:
        return [type(event).__name__ for event in self.read()]

    def peer_data(self, *payloads: bytes) -> bytes:
        return b"".join(map(self.peer.send_data, payloads))

    def peer_ping(self, count: int = 1) -> bytes:
        return b"".join(self.peer.send_ping(self.clock.seconds(), 0) for _ in range(count))

    def fill(self) -> None:
        """The transport's buffer is full."""
        self.transport.producer.pauseProducing()

    def fill_with_each_write(self) -> None:
        """From now on each write fills the transport's buffer."""
        write = self.transport.write

        def write_and_fill(data: bytes) -> None:
            write(data)
            self.fill()

        self.patch(self.transport, "write", write_and_fill)

    def drain(self) -> None:
        """The transport's buffer is empty."""
        self.transport.producer.resumeProducing()

    def assert_lost(self, error: Any) -> Failure:
        """It is over for this reason, and no delayed call is left behind."""
        reason = self.protocol.reason
        self.assertIsNotNone(reason, "the connection is up")
        self.assertIs(reason.type, error, reason)
        self.assertFalse(self.protocol.is_authenticated)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return reason  # type: ignore[no-any-return]

    def assert_up(self) -> None:
        self.assertIsNone(self.protocol.reason)
        self.assertTrue(self.transport.connected)
        self.assertFalse(self.transport.disconnecting)
