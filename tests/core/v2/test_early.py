"""
What a client of version 2 sends before it has a key to send it with, and what the two ends can be asked of their end.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import Bounds
from sodiumtwist.core.errors import LocalProtocolError, PayloadTooLarge
from sodiumtwist.core.events import (
    AuthenticationRequested,
    ConnectionOver,
    DataReceived,
    EndReceived,
    PingReceived,
    PongReceived,
)
from sodiumtwist.core.states import State

from ..peers import NOW
from .ends import new_client, new_server, open_pair, pump


class EarlyTests(SynchronousTestCase):
    """Before the server has shown that it has its key."""

    def setUp(self) -> None:
        self.client, self.server = new_client(), new_server()

    def test_waits(self) -> None:
        """DATA, PINGs and END wait, in order; nothing of them is in the first flight."""
        first_flight = self.client.queued
        self.assertIs(self.client.said_nothing, True)
        self.client.send_data(b"one")
        self.client.send_ping(NOW, 7)
        self.client.send_data(bytearray(b"two"))
        self.client.send_end()
        self.assertEqual(self.client.queued, first_flight)
        self.assertIs(self.client.said_nothing, False)
        _, heard = pump(self.client, self.server)
        self.assertEqual(type(heard.pop(0)), AuthenticationRequested)
        self.assertEqual(heard, [DataReceived(b"one"), PingReceived(7), DataReceived(b"two"), EndReceived()])

    def test_counts(self) -> None:
        """Each PING counts when it is asked for."""
        for _ in range(3):
            self.client.send_ping(NOW, 0)
        self.assertRaises(LocalProtocolError, self.client.send_ping, NOW, 0)
        pump(self.client, self.server)
        for _ in range(3):
            self.server.send_pong(0)
        heard, _ = pump(self.client, self.server)
        self.assertEqual([(type(event), event.asked) for event in heard], [(PongReceived, True)] * 3)  # type: ignore[union-attr]

    def test_end_is_the_last(self) -> None:
        """Nothing goes behind an early END, which can be said once."""
        self.client.send_end()
        self.assertRaises(LocalProtocolError, self.client.send_end)
        self.assertRaises(LocalProtocolError, self.client.send_data, b"late")

    def test_judged_at_once(self) -> None:
        self.assertRaises(PayloadTooLarge, self.client.send_data, bytes(135_157))
        self.assertRaises(TypeError, self.client.send_data, "text")

    def test_closed(self) -> None:
        """What waits goes with the connection."""
        self.client.send_data(b"early")
        self.client.close()
        self.assertIs(self.client.said_nothing, True)
        self.assertRaises(LocalProtocolError, self.client.send_data, b"late")

    def test_nothing_else(self) -> None:
        """Requests have ids, which are known when they leave."""
        self.assertRaises(LocalProtocolError, self.client.send_request, b"?")
        self.assertRaises(LocalProtocolError, self.client.send_drain)


class AskedTests(SynchronousTestCase):
    """Of its end and the peer's an end can be asked at any time."""

    def test_course(self) -> None:
        client, server = open_pair()

        def told() -> list[tuple[bool, bool, bool, bool]]:
            return [(end.ended, end.peer_ended, end.settled, end.over) for end in (client, server)]

        self.assertEqual(told(), [(False, False, False, False)] * 2)
        client.send_end()
        self.assertEqual(told(), [(True, False, False, False), (False, False, False, False)])
        pump(client, server)
        self.assertEqual(told(), [(True, False, False, False), (False, True, False, False)])
        server.send_end()
        self.assertEqual(told()[1], (True, True, False, False))
        list(client.receive_data(server.data_to_send(), NOW))
        self.assertEqual(server.over, True)
        self.assertEqual(list(server.events(NOW)), [ConnectionOver()])
        self.assertEqual(client.state, State.CLOSED)

    def test_behind_end(self) -> None:
        client, _ = open_pair()
        client.send_end()
        error = self.assertRaises(LocalProtocolError, client.send_data, b"late")
        self.assertIn("END", str(error))

    def test_draining(self) -> None:
        """Both ends know of it."""
        client, server = open_pair()
        self.assertEqual((client.draining, server.draining), (False, False))
        server.send_drain()
        self.assertEqual((client.draining, server.draining), (False, True))
        pump(client, server)
        self.assertEqual((client.draining, server.draining), (True, True))

    def test_new(self) -> None:
        client, server = new_client(), new_server()
        for end in (client, server):
            self.assertEqual((end.ended, end.peer_ended, end.settled, end.over, end.draining), (False,) * 5)


class ChokedTests(SynchronousTestCase):
    """A peer that is owed many PONGs."""

    def test_choked(self) -> None:
        """The end says so while more of it waits, and no longer when they have left."""
        client, server = open_pair()
        server = new_server(bounds=Bounds(pongs=2))
        client = new_client()
        pump(client, server)
        for _ in range(3):
            client.send_ping(NOW, 1)
        heard = list(server.receive_data(client.data_to_send(), NOW))
        self.assertEqual(len(heard), 2)
        self.assertIs(server.choked, True)
        self.assertEqual(list(server.events(NOW)), [])
        server.send_pong(0)
        server.send_pong(0)
        server.data_to_send()
        self.assertEqual(list(server.events(NOW)), [PingReceived(1)])
        self.assertIs(server.choked, False)
