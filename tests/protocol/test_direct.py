"""
Reading from a socket below Twisted's transport.
"""

from __future__ import annotations

import errno
import os
import weakref
from typing import Any, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITLSTransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.protocols import tls

from sodiumtwist.protocol.direct import SMALL_READ, DirectReading

from ..certificates import tls_contexts
from ..memory_sockets import MemoryConnection, socket_pair
from ..pair import RecordingClient, RecordingServer, cut, make_client_factory, make_server_factory
from .test_rest import ADDRESS, RestTestCase


class DirectTests(RestTestCase):
    """A server whose client sends much, over sockets in memory."""

    version = 2
    server: Any
    client: Any

    def start(self, server: type[RecordingServer] = RecordingServer) -> None:
        self.connect(
            make_server_factory(self.reactor, server),
            make_client_factory(self.reactor, RecordingClient, version=self.version),
        )
        self.transport: Any = self.server.transport
        # How much was received into memory, and how much in bytes of its own.
        self.into: list[int] = []
        self.apart: list[int] = []
        handle: Any = self.server_socket
        recv = handle.recv

        def count(size: int) -> bytes:
            data: bytes = recv(size)
            self.apart.append(len(data))
            return data

        def count_into(buffer: memoryview) -> int:
            data = recv(len(buffer))
            buffer[: len(data)] = data
            self.into.append(len(data))
            return len(data)

        handle.recv, handle.recv_into = count, count_into

    def test_data(self) -> None:
        """All that is much comes into memory that is shared, and out of it in bytes that stay."""
        self.start()
        payloads = [os.urandom(size) for size in (10, 0, 5000, 70000, 1, 131070)]
        for payload in payloads:
            self.client.send_data(payload)
            self.run_all()
        self.assertTrue(self.server.payloads == payloads)
        self.assertEqual({type(payload) for payload in self.server.payloads}, {bytes})
        self.assertGreater(sum(self.into), 200000)
        self.assertTrue(all(size <= SMALL_READ for size in self.apart), self.apart)

    def test_little(self) -> None:
        """Of a connection that brings little, little is read at once, until it brings more."""
        self.start()
        # What was read of each, into shared memory and apart.
        for size, into, apart in (
            (10, 1, 0),
            (20, 0, 1),
            (1200, 1, 1),
            (30, 0, 1),
            (40, 0, 1),
            (1800, 1, 1),
            (50, 0, 1),
        ):
            self.into.clear()
            self.apart.clear()
            self.client.send_data(bytes(size))
            self.run_all()
            self.assertEqual((len(self.into), len(self.apart)), (into, apart), size)
            self.assertEqual(len(self.server.payloads.pop()), size)
        self.client.abort()
        self.run_all()
        self.assertEqual(self.server.why, cut())

    def test_little_ends(self) -> None:
        """A connection that brings little ends as any other; that there is nothing to read does not end it."""
        self.start()
        self.client.send_data(bytes(10))
        self.run_all()
        self.assertIsNone(self.transport.doRead())
        handle: Any = self.server_socket

        def fail(size: int) -> bytes:
            raise OSError(errno.ECONNRESET, "broken")

        recv, handle.recv = handle.recv, fail
        self.assertIs(self.transport.doRead(), CONNECTION_LOST)
        handle.recv = recv
        self.client_socket.shutdown(1)
        self.client_socket.move()
        self.assertIs(self.transport.doRead(), CONNECTION_DONE)

    def test_end(self) -> None:
        self.start()
        self.client.send_data(bytes(5000))
        self.client.close()
        self.run_all()
        self.assertEqual((self.server.payloads, self.server.why), ([bytes(5000)], ConnectionDone))

    def test_broken(self) -> None:
        """A socket's error ends it, and that there is nothing to read does not."""
        self.start()
        handle: Any = self.server_socket

        def fail(buffer: memoryview) -> int:
            raise OSError(number, os.strerror(number))

        handle.recv_into = fail
        number = errno.EWOULDBLOCK
        self.assertIsNone(self.transport.doRead())
        number = errno.ECONNRESET
        self.assertIs(self.transport.doRead(), CONNECTION_LOST)

    def test_cut(self) -> None:
        """A record that has not come whole makes no payload, and says what became of the connection."""
        self.start()
        self.client.send_data(bytes(70000))
        self.client_socket.move()
        self.reactor.turn()
        self.assertEqual((self.into, self.server.payloads), ([2000], []))
        self.assertGreater(self.server._connection.buffered, 1900)
        self.client_socket.reset()
        self.run_all()
        self.assertEqual((self.server.payloads, self.server.why), ([], cut()))

    def test_version_1(self) -> None:
        """There Twisted reads, as always."""
        self.version = 1
        self.start()
        self.client.send_data(bytes(5000))
        self.run_all()
        self.assertEqual(self.server.payloads, [bytes(5000)])
        self.assertEqual(self.into, [])
        self.assertNotIn("doRead", vars(self.transport))

    def test_version_1_wrapped(self) -> None:
        """Who has put something of its own before our reading keeps it."""
        self.version = 1
        self.start()
        reading = DirectReading(weakref.ref(self.transport), weakref.ref(self.server), self.server._connection)
        self.transport.doRead = lambda: reading()
        wrapped = self.transport.doRead
        for _ in range(2):
            self.client.send_data(b"more")
            self.run_all()
        self.assertEqual((self.server.payloads, self.transport.doRead), ([b"more"] * 2, wrapped))

    def start_tls_later(self) -> tuple[Any, Any]:
        """What to give to startTLS() of a server and a client, where the reactor is ours."""
        self.patch(tls, "_get_default_clock", lambda: self.reactor)
        return tls_contexts()

    def test_start_tls(self) -> None:
        """What was sent before TLS begins leaves before, though it waits for the socket."""
        for version in (1, 2):
            self.version = version
            self.start()
            for_server, for_client = self.start_tls_later()
            for payload in (b"at once", b"waits for the socket"):
                self.server.send_data(payload)
            self.transport.startTLS(for_server)
            self.run_all()
            self.assertEqual(self.client.payloads, [b"at once", b"waits for the socket"])
            self.client.transport.startTLS(for_client, normal=False)
            self.server.send_data(b"encrypted")
            self.client.send_data(b"there, too")
            self.run_all()
            self.assertEqual((self.client.payloads[2:], self.server.payloads), ([b"encrypted"], [b"there, too"]))

    def test_start_tls_within_a_read(self) -> None:
        """What an application answers there goes through TLS, as it does when it begins that behind."""

        class Answering(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if payload == b"begin":
                    self.send_data(b"begun")
                    cast(ITLSTransport, self.transport).startTLS(for_server)

        for_server, for_client = self.start_tls_later()
        self.start(Answering)
        self.client.send_data(b"begin")
        self.client.transport.startTLS(for_client, normal=False)
        self.run_all()
        self.assertEqual(self.client.payloads, [b"begun"])

    def test_paused(self) -> None:
        """What an application that pauses in the middle has not taken waits, whoever uses the memory meanwhile."""

        class Pausing(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.pauseProducing()

        self.start(Pausing)
        first, payloads = self.server, [bytes([number]) * 400 for number in range(20)]
        client = self.client
        for payload in payloads:
            client.send_data(payload)
        self.run_all()
        sockets = self.server_socket, self.client_socket
        self.start()
        self.client.send_data(bytes(70000))
        self.run_all()
        self.assertEqual((len(first.payloads), self.server.payloads), (1, [bytes(70000)]))
        self.server_socket, self.client_socket = sockets
        for _ in payloads:
            first.resumeProducing()
            self.run_all()
        self.assertEqual(first.payloads, payloads)

    def test_aborted_meanwhile(self) -> None:
        """Nothing is read, or delivered, any more."""

        class Aborting(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.abort()

        self.start(Aborting)
        for _ in range(5):
            self.client.send_data(bytes(500))
        self.run_all()
        self.assertEqual(len(self.server.payloads), 1)
        self.assertIsNone(self.transport.doRead())

    def test_answered_meanwhile(self) -> None:
        """What is sealed while something is received does not touch it."""

        class Echo(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.send_data(payload[::-1])

        self.start(Echo)
        payloads = [os.urandom(70000) for _ in range(3)]
        for payload in payloads:
            self.client.send_data(payload)
        self.run_all()
        self.assertTrue(self.server.payloads == payloads)
        self.assertTrue(self.client.payloads == [payload[::-1] for payload in payloads])

    def test_overridden(self) -> None:
        """Who looks at what was read gets it, in bytes."""
        seen: list[type] = []

        class Looking(RecordingServer):
            def dataReceived(self, data: bytes) -> None:
                seen.append(type(data))
                super().dataReceived(data)

        self.start(Looking)
        self.client.send_data(bytes(5000))
        self.run_all()
        self.assertEqual((self.server.payloads, set(seen), self.into), ([bytes(5000)], {bytes}, []))

    def test_somebody_between(self) -> None:
        """Who has become the transport's protocol, as TLS does, gets what comes."""
        self.start()
        seen: list[bytes] = []

        class Between:
            def dataReceived(self, data: bytes) -> None:
                seen.append(data)

        self.transport.protocol = Between()
        self.client_socket.send(b"hello")
        self.client_socket.move()
        self.assertIsNone(self.transport.doRead())
        self.assertEqual((seen, self.into), ([b"hello"], []))

    def test_other_transports(self) -> None:
        """Those that read in a way of their own go on to."""

        class Own(MemoryConnection):
            def doRead(self) -> None:
                pass

        server = make_server_factory(self.reactor, RecordingServer).buildProtocol(ADDRESS)
        assert server is not None
        transport = Own(socket_pair()[0], server, self.reactor)
        self.assertNotIn("doRead", vars(transport))
