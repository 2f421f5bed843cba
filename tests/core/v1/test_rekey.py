"""
New keys for sending.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.core.events import DataReceived
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.v1.records import V1Records
from sodiumtwist.core.version import RekeyAfter

from ..assertions import ConnectionTestCase
from ..peers import (
    NOW,
    TAG_MESSAGE,
    TAG_REKEY,
    Connection,
    Options,
    PlainPull,
    open_client,
    open_pair,
    open_server,
    waiting_client,
    wire_of,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class RekeyTests(ConnectionTestCase):
    """
    A new key for sending, when much was sent under one or it is old.
    """

    def tags(self, pull: PlainPull, wire: bytes) -> list[int]:
        """The tags of the messages of the PDUs in it."""
        tags: list[int] = []
        start = 0
        while start < len(wire):
            header, tag = pull.message(wire[start : start + 29])
            size = int.from_bytes(header[8:], "big")
            tags += [tag, pull.message(wire[start + 29 : start + 46 + size])[1]]
            start += 46 + size
        return tags

    def ends(self, **options: Unpack[Options]) -> Iterator[tuple[Connection, PlainPull]]:
        server, its_client = open_server(**options)
        yield server, its_client.pull
        client, its_server = open_client(**options)
        yield client, its_server.pull

    def test_size(self) -> None:
        """The body that reaches it has the tag, and a reader who knows nothing of it follows."""
        for connection, pull in self.ends(rekey=RekeyAfter(size=100)):
            wire = b"".join(wire_of(connection.send_data, b"x" * size) for size in (7, 0, 54, 53, 200, 1))
            bodies = [TAG_MESSAGE, TAG_MESSAGE, TAG_REKEY, TAG_MESSAGE, TAG_REKEY, TAG_MESSAGE]
            tags = self.tags(pull, wire)
            self.assertEqual(tags[::2], [TAG_MESSAGE] * 6)
            self.assertEqual(tags[1::2], bodies)

    def test_default_size(self) -> None:
        self.assertEqual(RekeyAfter(), RekeyAfter(2**30, 3600))
        server, client = open_server()
        assert isinstance(server._records, V1Records)
        push = server._records._push
        push.rekey_in = 100
        self.assertEqual(self.tags(client.pull, wire_of(server.send_data, bytes(54))), [TAG_MESSAGE, TAG_REKEY])
        self.assertEqual(push.rekey_in, 2**30)

    def test_time(self) -> None:
        """The first PDU after it has the tag, however long that takes."""
        for connection, pull in self.ends(
            rekey=RekeyAfter(seconds=20), draw=lambda: 0, timeouts=Timeouts(inactivity=2000, ping_interval=1000)
        ):
            self.assertEqual(connection.deadline(), NOW + 20)
            self.assertIs(connection.ping_due(NOW + 20), False)
            self.assertEqual(connection.deadline(), NOW + 40)
            self.assertEqual(self.tags(pull, wire_of(connection.send_data, b"x")), [TAG_MESSAGE, TAG_REKEY])
            self.assertEqual(self.tags(pull, wire_of(connection.send_data, b"x")), [TAG_MESSAGE, TAG_MESSAGE])

    def test_pair(self) -> None:
        """Two of our own ends, both with a new key at every PDU."""
        client, server = open_pair(rekey=RekeyAfter(size=1))
        for number in range(100):
            payload = b"%d" % number
            self.assertEqual(
                list(server.receive_data(wire_of(client.send_data, payload), NOW)), [DataReceived(payload)]
            )
            self.assertEqual(
                list(client.receive_data(wire_of(server.send_data, payload), NOW)), [DataReceived(payload)]
            )

    def test_early(self) -> None:
        """A client's stream counts from its beginning."""
        client, server = waiting_client(rekey=RekeyAfter(size=1))
        self.assertEqual(self.tags(server.pull, wire_of(client.send_data, b"early")), [TAG_MESSAGE, TAG_REKEY])

    def test_impossible(self) -> None:
        for arguments in ({"size": 0}, {"seconds": 0}, {"seconds": math.inf}, {"seconds": math.nan}):
            self.assertRaises(LocalProtocolError, RekeyAfter, **arguments)
