"""
Tests of :mod:`sodiumtwist.core.connection` when it is open, against peers made by hand and each other.
"""

from __future__ import annotations

import array
import math
import struct
import weakref
from typing import TYPE_CHECKING

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    LocalProtocolError,
    MalformedPDU,
    PayloadTooLarge,
    UnexpectedPDU,
)
from sodiumtwist.core.events import DataReceived, PingReceived, PongReceived
from sodiumtwist.core.states import State
from sodiumtwist.core.v1.handshake import ServerHandshake

# By its own name, trial would take BothSides for tests to run.
from . import both_sides
from .assertions import ConnectionTestCase
from .peers import (
    CLOCK,
    CLOCK_BODY,
    DATA,
    NOW,
    PONG,
    SERVER_PAIR,
    Connection,
    Options,
    Peer,
    PlainClient,
    deciding_server,
    new_client,
    open_client,
    open_pair,
    open_server,
    take,
    the_request,
    waiting_client,
    wire_of,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class OpenServerTests(both_sides.BothSides):
    """
    A server with its client authenticated.
    """

    def open(self, **options: Unpack[Options]) -> tuple[Connection, Peer]:
        return open_server(**options)

    def test_eof_before_client_auth(self) -> None:
        server = ServerConnection(SERVER_PAIR, NOW)
        server.receive_eof()
        self.assertOver(server)

    def test_eof_inside_client_auth(self) -> None:
        sealed = PlainClient().client_auth()
        for size in (1, 12, 399):
            server = ServerConnection(SERVER_PAIR, NOW)
            list(server.receive_data(sealed[:size], NOW))
            with self.assertRaises(MalformedPDU):
                server.receive_eof()
            self.assertOver(server)

    def test_eof_while_undecided_with_bytes_behind(self) -> None:
        """Nobody can tell yet whether they end inside a PDU."""
        for size in (1, 29, 50, 51):
            server, client = deciding_server()
            list(server.receive_data(client.push.pdu(DATA, b"early")[:size], NOW))
            server.receive_eof()
            self.assertOver(server)

    def test_eof_while_undecided(self) -> None:
        server, _ = deciding_server()
        server.receive_eof()
        self.assertOver(server)
        with self.assertRaises(LocalProtocolError):
            wire_of(server.accept, NOW)

    def test_authentication_timeout(self) -> None:
        late: Options = {"draw": lambda: 0}
        for make in (lambda: ServerConnection(SERVER_PAIR, NOW, **late), lambda: deciding_server(**late)[0]):
            server = make()
            self.assertEqual(server.deadline(), NOW + 10)
            self.assertIs(server.ping_due(NOW + 9), False)
            with self.assertRaises(AuthenticationTimeout):
                server.ping_due(NOW + 10)
            self.assertOver(server)

    def test_time_begins_at_accept(self) -> None:
        server, _ = deciding_server()
        wire_of(server.accept, NOW + 7)
        self.assertEqual(server.deadline(), NOW + 67)
        self.assertIs(server.ping_due(NOW + 10), False)

    def test_sends_nothing_before_accept(self) -> None:
        for make in (lambda: ServerConnection(SERVER_PAIR, NOW), lambda: deciding_server()[0]):
            self.assertCannotSend(make())

    def test_a_ping_refused_is_not_outstanding(self) -> None:
        server, client = deciding_server()
        for _ in range(5):
            with self.assertRaises(LocalProtocolError):
                wire_of(server.send_ping, NOW, CLOCK)
        wire_of(server.accept, NOW)
        self.assertRefuses(server, client.push.pdu(PONG, CLOCK_BODY), UnexpectedPDU)

    def test_accept_once(self) -> None:
        server, _ = open_server()
        with self.assertRaises(LocalProtocolError):
            wire_of(server.accept, NOW)
        with self.assertRaises(LocalProtocolError):
            server.reject()
        self.assertIs(server.state, State.OPEN)


class OpenClientTests(both_sides.BothSides):
    """
    A client that was let in.
    """

    def open(self, **options: Unpack[Options]) -> tuple[Connection, Peer]:
        return open_client(**options)

    def test_eof_before_initiate(self) -> None:
        client = new_client()
        client.receive_eof()
        self.assertOver(client)

    def test_eof_before_the_hello(self) -> None:
        """That is how a server refuses."""
        for size in (0, 1, 235):
            client, server = waiting_client()
            list(client.receive_data(server.server_helo()[:size], NOW))
            with self.assertRaises(AuthenticationFailed):
                client.receive_eof()
            self.assertOver(client)

    def test_eof_behind_the_hello(self) -> None:
        client, server = waiting_client()
        list(client.receive_data(server.server_helo(), NOW))
        client.receive_eof()
        self.assertOver(client)

    def test_authentication_timeout(self) -> None:
        for make in (new_client, lambda: waiting_client()[0]):
            client = make()
            self.assertEqual(client.deadline(), NOW + 10)
            self.assertIs(client.ping_due(NOW + 9), False)
            with self.assertRaises(AuthenticationTimeout):
                client.ping_due(NOW + 10)
            self.assertOver(client)

    def test_time_begins_at_the_hello(self) -> None:
        client, server = waiting_client()
        list(client.receive_data(server.server_helo(), NOW + 7))
        self.assertEqual(client.deadline(), NOW + 67)

    def test_sends_nothing_before_initiate(self) -> None:
        self.assertCannotSend(new_client())

    def test_initiate_after_close(self) -> None:
        client = new_client()
        client.close()
        with self.assertRaises(LocalProtocolError):
            wire_of(client.initiate)


class PairTests(ConnectionTestCase):
    """
    Our client and our server, with each other.
    """

    def test_conversation(self) -> None:
        client, server = open_pair()
        self.assertEqual(
            list(server.receive_data(wire_of(client.send_data, b"question"), NOW)), [DataReceived(b"question")]
        )
        self.assertEqual(
            list(client.receive_data(wire_of(server.send_data, b"answer"), NOW)), [DataReceived(b"answer")]
        )

    def test_ping_and_pong_each_way(self) -> None:
        for pinger, ponger in (open_pair(), open_pair()[::-1]):
            ping = wire_of(pinger.send_ping, NOW + 1, CLOCK)
            self.assertEqual(list(ponger.receive_data(ping, NOW)), [PingReceived(CLOCK)])
            pong = wire_of(ponger.send_pong, CLOCK + 5)
            self.assertEqual(list(pinger.receive_data(pong, NOW + 1.25)), [PongReceived(CLOCK + 5, 0.25)])

    def test_login(self) -> None:
        client = ClientConnection(SERVER_PAIR.public, "J\u00f6rg", "open sesame", NOW)
        server = ServerConnection(SERVER_PAIR, NOW)
        request = the_request(server.receive_data(wire_of(client.initiate), NOW))
        self.assertIs(request.matches("J\u00f6rg", "open sesame"), True)
        self.assertIs(request.matches("J\u00f6rg", "open sesam"), False)

    def test_nothing_in_clear(self) -> None:
        client, server = new_client(), ServerConnection(SERVER_PAIR, NOW)
        wire = [wire_of(client.initiate), wire_of(client.send_data, b"secret payload" * 10)]
        list(server.receive_data(b"".join(wire), NOW))
        wire += [wire_of(server.accept, NOW, "Hello there"), wire_of(server.send_data, b"secret answer" * 10)]
        for text in (b"username", b"passphrase", b"secret", b"Hello there", bytes.fromhex("baadc0de"), bytes(8)):
            for data in wire:
                self.assertNotIn(text, data)

    def test_buffers_of_other_items(self) -> None:
        """A view of larger items is sent as the bytes that it is; a view with gaps is refused."""
        client, server = open_pair()
        numbers = array.array("I", [1, 2, 3, 4])
        events, _ = take(server.receive_data(wire_of(client.send_data, memoryview(numbers)), 0))
        self.assertEqual(events, [DataReceived(numbers.tobytes())])
        self.assertRaises(TypeError, client.send_data, memoryview(bytes(10))[::2])
        self.assertRaises(PayloadTooLarge, client.send_data, memoryview(array.array("I", bytes(131072))))
        events, _ = take(server.receive_data(wire_of(client.send_data, bytearray(b"next")), 0))
        self.assertEqual(events, [DataReceived(b"next")])

    def test_received_buffer_is_not_kept(self) -> None:
        """The caller may use its buffer again at once."""
        client, server = open_pair()
        wire = wire_of(client.send_data, b"payload")
        for start in range(0, len(wire), 10):
            buffer = bytearray(wire[start : start + 10])
            events, _ = take(server.receive_data(buffer, 0))  # type: ignore[arg-type]  # more than is promised
            buffer[:] = bytes(len(buffer))
        self.assertEqual(events, [DataReceived(b"payload")])

    def test_impossible_timestamp_costs_no_ping(self) -> None:
        """A PING that can't be made is not waited for."""
        client, _ = open_pair()
        for _ in range(3):
            self.assertRaises(struct.error, client.send_ping, 0, -1)
        wire_of(client.send_ping, 0, 0)

    def test_closed_has_no_deadline(self) -> None:
        """Nothing is left to wake up for."""
        for connection in open_pair():
            self.assertLess(connection.deadline(), math.inf)
            connection.close()
            self.assertEqual(connection.deadline(), math.inf)

    def test_rejected_forgets(self) -> None:
        """The passphrase of a rejected login is dropped."""
        server, _ = deciding_server()
        assert isinstance(server._handshake, ServerHandshake)
        auth = weakref.ref(server._handshake._auth)
        self.assertIsNotNone(auth())
        server.reject()
        self.assertIsNone(auth())
