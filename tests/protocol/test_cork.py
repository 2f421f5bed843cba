"""
What one read brings about leaves in one write.
"""

from __future__ import annotations

from sodiumtwist.core.events import DataReceived
from sodiumtwist.protocol.outbox import CORK_LIMIT

from ..alone import OVERHEAD, PING_SIZE, SERVER_HELO_SIZE, AloneTestCase
from ..core.peers import wire_of
from ..pair import Boom, EchoServer, RecordingClient, RecordingServer
from ..versions import each_version, only


@each_version
class CorkTests(AloneTestCase):
    """What is sent in consequence of one read leaves in one write."""

    @only(1)
    def test_answers(self) -> None:
        self.open_server(EchoServer)
        self.feed(self.peer_data(*[b"0123456789"] * 10))
        self.assertEqual(self.transport.writes, [10 * (10 + OVERHEAD)])
        self.assertEqual(self.read(), [DataReceived(b"0123456789")] * 10)

    @only(1)
    def test_handshake_and_answers(self) -> None:
        """CLIENT_AUTH and ten DATA in one segment: SERVER_HELO and ten answers in one write."""
        self.start_server(EchoServer)
        self.feed(wire_of(self.peer_client.initiate), self.peer_data(*[b"0123456789"] * 10))
        self.assertEqual(self.transport.writes, [SERVER_HELO_SIZE, 10 * (10 + OVERHEAD)])
        self.assertEqual(len(self.read()), 11)

    @only(1)
    def test_data_and_pongs(self) -> None:
        """In the order in which they were caused."""
        self.open_server(EchoServer)
        self.feed(self.peer_ping(), self.peer_data(b"a"), self.peer_ping(), self.peer_data(b"b"))
        self.assertEqual(self.transport.writes, [2 * PING_SIZE + 2 * (1 + OVERHEAD)])
        self.assertEqual(self.read_types(), ["PongReceived", "DataReceived", "PongReceived", "DataReceived"])

    @only(1)
    def test_client(self) -> None:
        class Client(RecordingClient):
            def authenticated(self) -> None:
                self.send_data(b"one")
                self.send_data(b"two")

        self.start_client(Client)
        self.feed(wire_of(self.peer_server.accept, 0), self.peer_ping())
        self.assertEqual(self.transport.writes, [2 * (3 + OVERHEAD) + PING_SIZE])

    @only(1)
    def test_several_sends_in_a_hook(self) -> None:
        class Server(RecordingServer):
            def payload_received(self, payload: bytes) -> None:
                for _ in range(5):
                    self.send_data(payload)
                self.ping()
                self.write(payload)

        self.open_server(Server)
        self.feed(self.peer_data(b"x"))
        self.assertEqual(self.transport.writes, [6 * (1 + OVERHEAD) + PING_SIZE])

    @only(1)
    def test_bounded(self) -> None:
        """Much is handed on in parts: each is full with the PDU that reaches the bound."""
        size = 10_000
        self.open_server(EchoServer)
        self.feed(self.peer_data(*[bytes(size)] * 20))
        self.assertEqual(CORK_LIMIT, 65536)
        self.assertEqual(self.transport.writes, [7 * (size + OVERHEAD), 7 * (size + OVERHEAD), 6 * (size + OVERHEAD)])
        self.assertEqual(self.read(), [DataReceived(bytes(size))] * 20)

    @only(1)
    def test_exactly_the_bound(self) -> None:
        self.open_server(EchoServer)
        half = CORK_LIMIT // 2 - OVERHEAD
        self.feed(self.peer_data(bytes(half), bytes(half), b""))
        self.assertEqual(self.transport.writes, [CORK_LIMIT, OVERHEAD])
        self.read()
        self.feed(self.peer_data(bytes(half), bytes(half - 1), b""))
        self.assertEqual(self.transport.writes, [CORK_LIMIT - 1 + OVERHEAD])

    @only(1)
    def test_outside_a_read(self) -> None:
        """There each send is written at once."""
        self.open_server()
        self.protocol.send_data(b"one")
        self.assertEqual(self.transport.writes, [3 + OVERHEAD])
        self.protocol.send_data(b"two")
        self.protocol.ping()
        self.assertEqual(self.transport.writes, [3 + OVERHEAD, 3 + OVERHEAD, PING_SIZE])

    def test_nothing_to_send(self) -> None:
        self.open_server()
        self.feed(self.peer_data(b"x"))
        self.feed(b"")
        self.assertEqual(self.transport.writes, [])

    @only(1)
    def test_closed_in_the_hook(self) -> None:
        """What was sent before leaves; the rest of the read is not delivered."""

        class Server(EchoServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                if payload == b"2":
                    self.close()

        self.open_server(Server, orderly=False)
        self.feed(self.peer_data(b"1", b"2", b"3"))
        self.assertEqual(self.protocol.payloads, [b"1", b"2"])
        self.assertEqual(self.transport.writes, [2 * (1 + OVERHEAD)])
        self.assertTrue(self.transport.disconnecting)

    def test_aborted_in_the_hook(self) -> None:
        class Server(EchoServer):
            def payload_received(self, payload: bytes) -> None:
                super().payload_received(payload)
                self.abort(Boom("enough"))

        self.open_server(Server)
        self.feed(self.peer_data(b"1", b"2"))
        self.assertEqual(self.protocol.payloads, [b"1"])
        self.assertEqual(self.transport.writes, [])
        self.assert_lost(Boom)
