"""
What the document leaves to chance or to settings, as whole connections of version 2 do it.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import InactivityTimeout, PongTimeout
from sodiumtwist.core.events import DataReceived, EndReceived, PingReceived
from sodiumtwist.core.v2.session import Version2, draw_padding
from sodiumtwist.core.version import RekeyAfter

from ..peers import CLOCK, NOW
from .ends import new_client, new_server, open_pair, pump


class PaddingTests(SynchronousTestCase):
    """“Senders put a PADDING of random size (0 to 255) into their first record and into the one with END”."""

    def growth(self, size_of: Callable[[int], int]) -> list[int]:
        """How much larger a record is with more padding."""
        return [size_of(padding) - size_of(0) for padding in (1, 100, 255)]

    def test_any_size(self) -> None:
        drawn = {draw_padding() for _ in range(10_000)}
        self.assertEqual((min(drawn), max(drawn)), (0, 255))
        self.assertIs(Version2(lambda: 0.0).padding, draw_padding)

    def test_first_of_the_client(self) -> None:
        def size(padding: int) -> int:
            client, server = new_client(padding=lambda: padding), new_server()
            list(server.receive_data(client.data_to_send(), NOW))
            list(client.receive_data(server.data_to_send(), NOW))
            handshake = client.queued
            client.send_data(b"")
            first = len(client.data_to_send()) - handshake
            client.send_data(b"")
            self.assertEqual(len(client.data_to_send()), first - padding - 12)
            return first

        self.assertEqual(self.growth(size), [1, 100, 255])

    def test_behind_the_decision(self) -> None:
        """Of WELCOME and REFUSED alike."""
        decisions: list[Callable[[ServerConnection], object]] = [
            lambda server: server.accept(NOW, ""),
            lambda server: server.reject(1, ""),
            lambda server: server.ping_due(server.deadline()),
        ]
        for decide in decisions:

            def size(padding: int, decide: Callable[[ServerConnection], object] = decide) -> int:
                client, server = new_client(), new_server(padding=lambda: padding)
                list(server.receive_data(client.data_to_send(), NOW))
                list(client.receive_data(server.data_to_send(), NOW))
                list(server.receive_data(client.data_to_send(), NOW))
                try:
                    decide(server)
                except Exception as error:  # out of time
                    self.assertIn("not authenticated", str(error))
                return len(server.data_to_send())

            self.assertEqual(self.growth(size), [1, 100, 255])

    def test_with_the_end(self) -> None:
        """Of both ends."""
        for of_server in (False, True):

            def size(padding: int, of_server: bool = of_server) -> int:
                client, server = new_client(padding=lambda: padding), new_server(padding=lambda: padding)
                pump(client, server)
                end = server if of_server else client
                end.send_data(b"")
                end.data_to_send()
                end.send_end()
                return len(end.data_to_send())

            self.assertEqual(self.growth(size), [1, 100, 255])


class KeyTests(SynchronousTestCase):
    """“On the record with which 2^30 bytes have left, and on its next record after 3600 s (both settable)”."""

    def keys(self, end: ClientConnection | ServerConnection) -> bytes:
        """The key that an end seals with; it is only compared."""
        return bytes(end._records._sealer._key)  # type: ignore[union-attr]

    def test_by_time(self) -> None:
        """A record brings it, whatever time passes: an end that says nothing needs none."""
        for setting, seconds in ((RekeyAfter(), 3600), (RekeyAfter(seconds=100), 100)):
            client, server = new_client(), new_server()
            client.rekey = server.rekey = setting
            pump(client, server)
            for one, other in ((client, server), (server, client)):
                one.send_data(b"first")
                self.assertEqual(list(other.receive_data(one.data_to_send(), NOW)), [DataReceived(b"first")])
                key = self.keys(one)
                for now in range(10, seconds, 10):  # both are well
                    other._keepalive.heard_at = one._keepalive.heard_at = NOW + now
                    one._keepalive._ping_at = NOW + seconds + 1
                    one.ping_due(NOW + now)
                    one.send_data(b"")
                    list(other.receive_data(one.data_to_send(), NOW))
                self.assertEqual(self.keys(one), key)
                one.ping_due(NOW + seconds)
                self.assertEqual(self.keys(one), key)
                one.send_data(b"last")
                list(other.receive_data(one.data_to_send(), NOW))
                self.assertNotEqual(self.keys(one), key)
                key = self.keys(one)
                one.send_data(b"next")
                self.assertEqual(list(other.receive_data(one.data_to_send(), NOW)), [DataReceived(b"next")])
                self.assertEqual(self.keys(one), key)

    def test_by_size(self) -> None:
        client, server = new_client(), new_server()
        client.rekey = RekeyAfter(size=5000)
        pump(client, server)
        keys = []
        for _ in range(20):
            client.send_data(bytes(1000))
            self.assertEqual(list(server.receive_data(client.data_to_send(), NOW)), [DataReceived(bytes(1000))])
            keys.append(self.keys(client))
        self.assertEqual(len(set(keys)), 5)


class LifeTests(SynchronousTestCase):
    """“A PING after 60 s and then every 60 s plus up to 59 s, 180 s without a valid record”."""

    def test_pings(self) -> None:
        client, server = open_pair()
        client._keepalive._draw = lambda: 1.0
        self.assertEqual(client.deadline(), NOW + 60)
        self.assertIs(client.ping_due(NOW + 60), True)
        client.send_ping(NOW + 60, CLOCK)
        self.assertEqual(list(server.receive_data(client.data_to_send(), NOW + 60)), [PingReceived(CLOCK)])
        server.send_pong(0)
        list(client.receive_data(server.data_to_send(), NOW + 60))
        self.assertEqual(client.deadline(), NOW + 60 + 119)

    def test_silence(self) -> None:
        """Bytes that are no whole record are no life."""
        client, server = open_pair()
        client._keepalive._draw = lambda: 1.0
        server.send_data(bytes(1000))
        record = server.data_to_send()
        self.assertIs(client.ping_due(NOW + 60), True)
        client.send_ping(NOW + 60, CLOCK)
        for second in range(61, 180):
            at = second - 61
            self.assertEqual(list(client.receive_data(record[at : at + 1], NOW + second)), [])
            if client.ping_due(NOW + second):
                client.send_ping(NOW + second, CLOCK)
        self.assertRaises(InactivityTimeout, client.ping_due, NOW + 180)

    def test_pong_that_never_comes(self) -> None:
        """Whatever else does."""
        client, server = open_pair()
        self.assertIs(client.ping_due(NOW + 60), True)
        client.send_ping(NOW + 60, CLOCK)
        for second in range(61, 240):
            server.send_data(b"alive")
            self.assertEqual(len(list(client.receive_data(server.data_to_send(), NOW + second))), 1)
            client.ping_due(NOW + second)
        self.assertRaises(PongTimeout, client.ping_due, NOW + 240)

    def test_behind_the_end(self) -> None:
        """PINGs are part of “all else may come” behind END, and so are their PONGs."""
        client, server = open_pair()
        client.send_end()
        client.send_ping(NOW, CLOCK)
        heard = list(server.receive_data(client.data_to_send(), NOW))
        self.assertEqual(heard, [EndReceived(), PingReceived(CLOCK)])
        server.send_pong(0)
        self.assertEqual(len(list(client.receive_data(server.data_to_send(), NOW))), 1)
