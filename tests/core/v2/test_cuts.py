"""
Connections of version 2 that are cut: what is told of them, and what of an end in order is not enough.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import ConnectionCut, InactivityTimeout, RemoteProtocolError
from sodiumtwist.core.events import (
    AuthenticationRequested,
    ConnectionOver,
    DataReceived,
    HandshakeComplete,
    PingReceived,
)

from ..peers import CLOCK, NOW, take
from .ends import new_client, new_server, open_pair, pump


def ended_by(one: ClientConnection | ServerConnection, other: ClientConnection | ServerConnection) -> None:
    """Let one end say END, and the other hear it."""
    one.send_end()
    list(other.receive_data(one.data_to_send(), NOW))


class UnansweredTests(SynchronousTestCase):
    """“Every unanswered REQUEST fails with its outcome unknown”: who is told of the end can ask which."""

    def assert_unanswered(self, end: Callable[[ClientConnection, ServerConnection], object]) -> None:
        for left in (True, False):
            client, server = open_pair()
            ids = tuple(client.send_request(b"what?") for _ in range(3))
            if left:
                list(server.receive_data(client.data_to_send(), NOW))
                server.send_answer(ids[1], b"that")
                list(client.receive_data(server.data_to_send(), NOW))
                ids = (ids[0], ids[2])
            end(client, server)
            self.assertEqual(client.unanswered, ids)
            client.data_to_send()
            client.close()
            self.assertEqual(client.unanswered, ids)

    def test_cut(self) -> None:
        self.assert_unanswered(lambda client, _: self.assertRaises(ConnectionCut, client.receive_eof))

    def test_altered(self) -> None:
        self.assert_unanswered(
            lambda client, _: self.assertRaises(RemoteProtocolError, list, client.receive_data(bytes(99), NOW))
        )

    def test_aborted(self) -> None:
        def abort(client: ClientConnection, server: ServerConnection) -> None:
            server.abort(7, "")
            list(client.receive_data(server.data_to_send(), NOW))

        self.assert_unanswered(abort)

    def test_out_of_time(self) -> None:
        def wait(client: ClientConnection, _: ServerConnection) -> None:
            client.writing_blocked(NOW)
            self.assertRaises(InactivityTimeout, client.ping_due, NOW + 1000)

        self.assert_unanswered(wait)

    def test_closed_here(self) -> None:
        self.assert_unanswered(lambda client, _: client.close())

    def test_over(self) -> None:
        """Then there are none."""
        client, server = open_pair()
        asked = client.send_request(b"what?")
        ended_by(client, server)
        server.send_answer(asked, b"that")
        server.send_end()
        self.assertIn(ConnectionOver(), pump(client, server)[0])
        self.assertEqual(client.unanswered, ())


class DroppedTests(SynchronousTestCase):
    """“A connection is over in order when nothing is left to send”, and nothing was thrown away instead."""

    def test_end_dropped(self) -> None:
        """The peer never heard it."""
        client, server = open_pair()
        ended_by(server, client)
        client.send_data(b"last words")
        client.send_end()
        client.drop_unsent()
        self.assertEqual(list(client.events(NOW)), [])
        self.assertRaises(ConnectionCut, client.receive_eof)

    def test_answer_dropped(self) -> None:
        """Also where it left in part."""
        for size in (1, 1_000_000):
            client, server = open_pair()
            asked = client.send_request(b"what?")
            ended_by(client, server)
            ended_by(server, client)
            server.send_answer(asked, bytes(size))
            if size > 1:
                server.data_to_send(100_000)
            server.drop_unsent()
            self.assertEqual(list(server.events(NOW)), [])
            self.assertRaises(ConnectionCut, server.receive_eof)

    def test_sign_of_life_dropped(self) -> None:
        """Nobody needs it."""
        client, server = open_pair()
        ended_by(server, client)
        client.send_end()
        client.data_to_send()
        client.send_ping(NOW, CLOCK)
        client.drop_unsent()
        self.assertEqual(list(client.events(NOW)), [ConnectionOver()])

    def test_pongs_dropped(self) -> None:
        """“64 PONGs unsent, then reading stops”: until they are dropped, for the rest came as well."""
        client, server = open_pair()
        for number in range(70):
            client._keepalive._asked = 0
            client.send_ping(NOW, number)
        client.send_data(b"behind")
        self.assertEqual(len(list(server.receive_data(client.data_to_send(), NOW))), 64)
        for _ in range(64):
            server.send_pong(0)
        self.assertEqual(list(server.events(NOW)), [])
        server.drop_unsent()
        rest = [PingReceived(number) for number in range(64, 70)]
        self.assertEqual(list(server.events(NOW)), [*rest, DataReceived(b"behind")])


class AlteredTests(SynchronousTestCase):
    def test_behind_message_2(self) -> None:
        """“A record that does not open: close, send nothing”, not the login either, which waits to be taken then."""
        client, server = new_client(), new_server()
        list(server.receive_data(client.data_to_send(), NOW))
        events, error = take(client.receive_data(server.data_to_send() + bytes(99), NOW))
        self.assertEqual(events, [HandshakeComplete()])
        self.assertIsInstance(error, RemoteProtocolError)
        self.assertEqual((client.queued, client.data_to_send()), (0, b""))

    def test_behind_early(self) -> None:
        """A server that finds it when it has let the client in says nothing either."""
        client, server = new_client(), new_server()
        list(server.receive_data(client.data_to_send(), NOW))
        list(client.receive_data(server.data_to_send(), NOW))
        (event,) = server.receive_data(client.data_to_send() + bytes(99), NOW)
        self.assertIsInstance(event, AuthenticationRequested)
        server.accept(NOW)
        self.assertRaises(RemoteProtocolError, list, server.events(NOW))
        self.assertEqual(server.data_to_send(), b"")
