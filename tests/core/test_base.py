"""
What waits to be sent, at either end, whatever was said and however it is taken. What else both ends share is tested
for each of them: see ``both_sides.py``.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable
from typing import Union

from hypothesis import example, given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import LocalProtocolError, MalformedPDU
from sodiumtwist.core.events import Authenticated, DataReceived, PingReceived
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.states import State

from .peers import (
    CLOCK,
    CLOCK_BODY,
    DATA,
    NOW,
    PING,
    PONG,
    Connection,
    Peer,
    PlainServer,
    deciding_server,
    new_client,
    open_client,
    open_server,
    take,
)

#: Any number of PINGs may be unanswered.
PATIENT = Timeouts(outstanding_pongs=10_000)
OPEN: list[Callable[[], tuple[Connection, Peer]]] = [
    lambda: open_server(timeouts=PATIENT),
    lambda: open_client(timeouts=PATIENT),
]

#: A payload is sent, or a PING or PONG; as many bytes as a number says are taken; all are, or what waits is dropped.
Step = Union[bytes, str, int]
STEPS = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(["ping", "pong", "ping", "pong", "all", "drop"]),
        st.integers(0, 250),
    ),
    max_size=30,
)


class Waiting:
    """
    A model of what waits to be sent.

    :ivar first: the size of a packet of the handshake that goes before all.
    :ivar pdus: the others, type and body.
    """

    def __init__(self, first: int = 0) -> None:
        self.first = first
        self.pdus: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        return self.first + sum(46 + len(body) for _, body in self.pdus)

    def take(self, limit: int) -> tuple[int, list[tuple[int, bytes]]]:
        """As many as fit, and one at least. The handshake's packet does not count."""
        taken = self.pdus[:1]
        while len(taken) < len(self.pdus):
            following = self.pdus[: len(taken) + 1]
            if sum(46 + len(body) for _, body in following) > limit:
                break
            taken = following
        del self.pdus[: len(taken)]
        first, self.first = self.first, 0
        return first, taken


class SendingTests(SynchronousTestCase):
    """What is handed out."""

    def play(
        self, connection: Connection, waiting: Waiting, steps: list[Step]
    ) -> tuple[bytes, list[tuple[int, bytes]]]:
        """
        Do the steps, and check after each what waits.

        :return: all bytes that were handed out, and what PDUs must be in them.
        """
        wire, expected = b"", []
        for step in [*steps, "all"]:
            if isinstance(step, bytes):
                connection.send_data(step)
                waiting.pdus.append((DATA, step))
            elif step == "ping":
                connection.send_ping(NOW, CLOCK)
                waiting.pdus.append((PING, CLOCK_BODY))
            elif step == "pong":
                connection.send_pong(CLOCK)
                waiting.pdus.append((PONG, CLOCK_BODY))
            elif step == "drop":
                connection.drop_unsent()
                waiting.pdus.clear()
            elif step == "all":
                size = connection.queued
                wire += (data := connection.data_to_send())
                self.assertEqual(len(data), size)
                expected += waiting.take(1_000_000)[1]
            else:
                assert isinstance(step, int)
                wire += (data := connection.data_to_send(step))
                first, taken = waiting.take(step)
                self.assertEqual(len(data), first + sum(46 + len(body) for _, body in taken))
                expected += taken
            self.assertEqual(connection.queued, waiting.size)
        return wire, expected

    @given(STEPS)
    @example([b"abc", "ping", 49, "drop", b"", "pong", 0, "all", b"x"])
    def test_open(self, steps: list[Step]) -> None:
        """
        The peer opens exactly what was handed out, in order. ``queued`` is always how many bytes ``data_to_send``
        then gives.
        """
        for make in OPEN:
            connection, peer = make()
            wire, expected = self.play(connection, Waiting(), steps)
            self.assertEqual(peer.pull.pdus(wire), expected)

    @given(STEPS)
    @example(["drop", b"abc", "drop", b"d", 1])
    def test_behind_client_auth(self, steps: list[Step]) -> None:
        """A client's first packet goes before all, and whole; it is counted, and never dropped."""
        client, server = new_client(timeouts=PATIENT), PlainServer()
        client.initiate()
        wire, expected = self.play(client, Waiting(400), steps)
        server.read_client_auth(wire[:400])
        self.assertEqual(server.pull.pdus(wire[400:]), expected)

    @given(STEPS)
    @example(["drop", b"abc", "drop", b"d", 1])
    def test_behind_server_helo(self, steps: list[Step]) -> None:
        """So does a server's first packet."""
        server, client = deciding_server(timeouts=PATIENT)
        server.accept(NOW)
        wire, expected = self.play(server, Waiting(236), steps)
        client.read_server_helo(wire[:236])
        self.assertEqual(client.pull.pdus(wire[236:]), expected)

    @given(STEPS, st.lists(st.one_of(st.integers(0, 250), st.sampled_from(["all", "drop"])), max_size=5))
    def test_closed(self, steps: list[Step], later: list[Step]) -> None:
        """What waits when it is closed can be taken or dropped as before. Then nobody holds the keys any more."""
        for make in OPEN:
            connection, peer = make()
            waiting = Waiting()
            wire, expected = self.play(connection, waiting, steps)
            connection.send_data(b"farewell")
            connection.send_ping(NOW, CLOCK)
            waiting.pdus += [(DATA, b"farewell"), (PING, CLOCK_BODY)]
            records = weakref.ref(connection._records)
            connection.close()
            self.assertIsNotNone(records())
            self.assertEqual(connection.queued, waiting.size)
            more, behind = self.play(connection, waiting, later)
            self.assertEqual(peer.pull.pdus(wire + more), expected + behind)
            self.assertIsNone(records())
            self.assertRaises(LocalProtocolError, connection.send_data, b"late")
            self.assertEqual((connection.queued, connection.data_to_send()), (0, b""))

    def test_closed_with_the_first_packet(self) -> None:
        """It is still handed out: without it the other end would not know what became of its own."""
        for drop in (False, True):
            server, client = deciding_server()
            server.accept(NOW)
            server.send_data(b"hello")
            server.close()
            if drop:
                server.drop_unsent()
            self.assertEqual(server.queued, 236 if drop else 236 + 51)
            wire = server.data_to_send()
            client.read_server_helo(wire[:236])
            self.assertEqual(client.pull.pdus(wire[236:]), [] if drop else [(DATA, b"hello")])
            self.assertEqual((server.queued, server._records), (0, None))

    def test_what_is_refused_is_not_queued(self) -> None:
        """Nor does a PING that is refused count as one that is to be answered."""
        for make in (open_server, open_client):
            connection, peer = make(timeouts=Timeouts(outstanding_pongs=1))
            self.assertRaises(struct.error, connection.send_ping, NOW, -1)
            self.assertRaises(TypeError, connection.send_data, "text")
            self.assertEqual((connection.queued, connection.data_to_send()), (0, b""))
            connection.send_ping(NOW, CLOCK)
            self.assertRaises(LocalProtocolError, connection.send_ping, NOW, CLOCK)
            self.assertEqual(connection.queued, 62)
            self.assertEqual(peer.pull.pdus(connection.data_to_send()), [(PING, CLOCK_BODY)])


class ReceivingTests(SynchronousTestCase):
    """Events that are taken up again where they were abandoned, also behind those of the handshake."""

    def test_behind_authenticated(self) -> None:
        """A client that stops at the server's hello finds what came with it later."""
        client, server = new_client(), PlainServer()
        client.initiate()
        server.read_client_auth(client.data_to_send())
        segment = server.server_helo() + server.push.pdu(DATA, b"one") + server.push.pdu(PING, CLOCK_BODY)
        self.assertEqual(next(client.receive_data(segment, NOW)), Authenticated("Welcome."))
        self.assertIs(client.state, State.OPEN)
        self.assertEqual(client.buffered, 49 + 62)
        self.assertEqual(next(client.events(NOW)), DataReceived(b"one"))
        self.assertEqual(client.buffered, 62)
        client.receive_data(server.push.pdu(DATA, b"two"), NOW)
        self.assertEqual(list(client.events(NOW)), [PingReceived(CLOCK), DataReceived(b"two")])

    def test_abandoned_inside_a_pdu(self) -> None:
        """The header that was opened is not opened again."""
        for make in OPEN:
            connection, peer = make()
            sealed = peer.push.pdu(DATA, b"hello")
            for start, end in ((0, 10), (10, 35), (35, 50)):
                self.assertEqual(list(connection.receive_data(sealed[start:end], NOW)), [])
                self.assertEqual(list(connection.events(NOW)), [])
            segment = sealed[50:] + peer.push.pdu(DATA, b"next")
            self.assertEqual(next(connection.receive_data(segment, NOW)), DataReceived(b"hello"))
            self.assertEqual(next(connection.events(NOW)), DataReceived(b"next"))

    def test_error_found_later(self) -> None:
        """What is wrong behind events that were not taken shows when its turn comes."""
        for make in OPEN:
            connection, peer = make()
            segment = peer.push.pdu(DATA, b"good") + peer.push.pdu(6)
            self.assertEqual(next(connection.receive_data(segment, NOW)), DataReceived(b"good"))
            self.assertIs(connection.state, State.OPEN)
            events, error = take(connection.events(NOW))
            self.assertEqual((events, type(error)), ([], MalformedPDU))
            self.assertIs(connection.state, State.CLOSED)
            self.assertEqual(connection.buffered, 0)

    def test_no_copy_of_a_read(self) -> None:
        """Bytes are kept as they came; what the caller may change is copied."""
        for make in OPEN:
            connection, peer = make()
            sealed = peer.push.pdu(DATA, b"hello")
            connection.receive_data(sealed, NOW)
            self.assertIs(connection._inbox.data, sealed)
            self.assertEqual(list(connection.events(NOW)), [DataReceived(b"hello")])
            changing = bytearray(peer.push.pdu(DATA, b"world"))
            events = connection.receive_data(changing, NOW)  # type: ignore[arg-type]  # as some callers have them
            changing[:] = bytes(len(changing))
            self.assertEqual(list(events), [DataReceived(b"world")])
