"""
Assertions about connections.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ServerConnection
from sodiumtwist.core.errors import DecryptionFailed, LocalProtocolError, RemoteProtocolError
from sodiumtwist.core.events import Event
from sodiumtwist.core.states import State

from .peers import CLOCK, NOW, Connection, take, wire_of


class ConnectionTestCase(SynchronousTestCase):
    """
    Assertions about connections.
    """

    def assertCannotSend(self, connection: Connection) -> None:
        """No stream PDU leaves."""
        with self.assertRaises(LocalProtocolError):
            wire_of(connection.send_data, b"")
        with self.assertRaises(LocalProtocolError):
            wire_of(connection.send_ping, NOW, CLOCK)
        with self.assertRaises(LocalProtocolError):
            wire_of(connection.send_pong, CLOCK)

    def assertOver(self, connection: Connection) -> None:
        """Closed, and whatever comes or is asked for now gives nothing."""
        self.assertIs(connection.state, State.CLOSED)
        self.assertEqual(connection.buffered, 0)
        self.assertEqual(list(connection.events(NOW)), [])
        self.assertEqual(list(connection.receive_data(bytes(1000), NOW)), [])
        self.assertEqual(connection.buffered, 0)
        self.assertCannotSend(connection)
        self.assertIs(connection.ping_due(NOW + 1_000_000), False)

    def assertRefuses(
        self, connection: Connection, data: bytes, expected: type[RemoteProtocolError], events: Iterable[Event] = ()
    ) -> RemoteProtocolError:
        """The bytes give these events, then this error, and that is the end."""
        taken, error = take(connection.receive_data(data, NOW))
        self.assertEqual(taken, list(events))
        self.assertOver(connection)
        assert type(error) is expected, error
        return error

    def assertIgnores(
        self, server: ServerConnection, data: bytes, expected: type[RemoteProtocolError] = DecryptionFailed
    ) -> None:
        """Nothing comes of the bytes or of any that follow, and at the deadline the error."""
        taken, error = take(server.receive_data(data, NOW))
        self.assertEqual((taken, error), ([], None))
        self.assertSilent(server, expected)

    def assertSilent(self, server: ServerConnection, expected: type[RemoteProtocolError]) -> None:
        self.assertIs(server.state, State.SILENT)
        for more in (b"", b"x", os.urandom(400), bytes(200_000)):
            self.assertEqual(take(server.receive_data(more, NOW)), ([], None))
            self.assertEqual(server.buffered, 0)
        self.assertCannotSend(server)
        deadline = server.deadline()
        self.assertGreater(deadline, NOW + 8.9)
        self.assertLessEqual(deadline, NOW + 10)
        self.assertIs(server.ping_due(NOW + 8.9), False)
        with self.assertRaises(expected):
            server.ping_due(deadline)
        self.assertOver(server)
