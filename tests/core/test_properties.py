"""
What holds for any session, any damage and any garbage.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import AuthenticationFailed, DecryptionFailed, MalformedPDU, RemoteProtocolError
from sodiumtwist.core.events import (
    Authenticated,
    AuthenticationRequested,
    DataReceived,
    Event,
    PingReceived,
    PongReceived,
)
from sodiumtwist.core.states import State

from .conversation import DAMAGE, PIECES, SAYINGS, Conversation, Damage, Saying, damage, play, take_some
from .peers import (
    CLIENT_PAIR,
    CLOCK,
    NOW,
    SERVER_PAIR,
    Connection,
    cut,
    deciding_server,
    flip,
    open_client,
    open_server,
    take,
    waiting_client,
    wire_of,
)


class CutTests(SynchronousTestCase):
    """
    However a transport cuts, the events are the same.
    """

    def test_conversation(self) -> None:
        """What the other tests here compare with."""
        conversation = Conversation([b"abc", 5, b""])
        self.assertEqual(
            conversation.server_events,
            [
                AuthenticationRequested("username", "passphrase", CLIENT_PAIR.public),
                DataReceived(b"abc"),
                PingReceived(5),
                DataReceived(b""),
            ],
        )
        self.assertEqual(
            conversation.client_events,
            [Authenticated("Hello."), DataReceived(b"cba"), PongReceived(5, 0), DataReceived(b"")],
        )

    @given(SAYINGS)
    def test_events_are_what_was_said(self, sayings: list[Saying]) -> None:
        conversation = Conversation(sayings)
        said: list[Event] = [
            PingReceived(saying) if isinstance(saying, int) else DataReceived(saying) for saying in sayings
        ]
        self.assertEqual(conversation.server_events[1:], said)
        answers = [
            PongReceived(saying, 0) if isinstance(saying, int) else DataReceived(saying[::-1]) for saying in sayings
        ]
        self.assertEqual(conversation.client_events[1:], answers)

    @given(SAYINGS, PIECES)
    @example([b"abc", 5, b""], [1] * 10_000)
    def test_any_cut(self, sayings: list[Saying], sizes: list[int]) -> None:
        for make, pdus, expected in Conversation(sayings).directions():
            connection = make()
            events, error, _ = play(connection, cut(b"".join(pdus), sizes))
            self.assertIsNone(error)
            self.assertEqual(events, expected)
            self.assertEqual(connection.buffered, 0)
            connection.receive_eof()

    @given(SAYINGS, PIECES, st.lists(st.integers(0, 3), max_size=50))
    def test_events_taken_late(self, sayings: list[Saying], sizes: list[int], counts: list[int]) -> None:
        """Some events are taken after each piece, the rest at the end."""
        for make, pdus, expected in Conversation(sayings).directions():
            events: list[Event] = []
            connection, patience = make(), iter(counts)
            for piece in cut(b"".join(pdus), sizes):
                events += take_some(connection, connection.receive_data(piece, NOW), next(patience, 0))
            events += take_some(connection, connection.events(NOW), None)
            self.assertEqual(events, expected)

    @given(SAYINGS, PIECES, st.integers(0, 50))
    def test_login_decided_late(self, sayings: list[Saying], sizes: list[int], patience: int) -> None:
        conversation = Conversation(sayings)
        events: list[Event] = []
        server = conversation.new_server()
        for number, piece in enumerate(cut(b"".join(conversation.to_server), sizes)):
            events += server.receive_data(piece, NOW)
            if number >= patience and server.state is State.DECIDING:
                self.assertEqual(events, conversation.server_events[:1])
                wire_of(server.accept, NOW)
        if server.state is State.DECIDING:
            self.assertEqual(events, conversation.server_events[:1])
            wire_of(server.accept, NOW)
        events += server.events(NOW)
        self.assertEqual(events, conversation.server_events)


class DamageTests(SynchronousTestCase):
    """
    Damaged on the way, a session ends early and never otherwise than it was.
    """

    def check(
        self, connection: Connection, pieces: Iterable[bytes], expected: list[Event]
    ) -> tuple[list[Event], RemoteProtocolError | None]:
        events, error, late = play(connection, pieces)
        self.assertEqual(events, expected[: len(events)])
        self.assertEqual(late, [])
        self.assertIs(connection.state is State.CLOSED, error is not None)
        return events, error

    @given(SAYINGS, st.lists(DAMAGE, min_size=1, max_size=2), PIECES)
    def test_any_damage(self, sayings: list[Saying], damages: list[Damage], sizes: list[int]) -> None:
        for make, pdus, expected in Conversation(sayings).directions():
            damaged = b"".join(pdus)
            for kind, place, what in damages:
                damaged = damage(damaged or b"\0", kind, place, what)
            self.check(make(), cut(damaged, sizes), expected)

    def test_any_byte_flipped(self) -> None:
        """All PDUs before it come, and then the error, wherever it is."""
        for make, pdus, expected in Conversation([b"hello", CLOCK, b""]).directions():
            data, start = b"".join(pdus), 0
            for number, pdu in enumerate(pdus):
                for place in range(start, start + len(pdu)):
                    events, error = self.check(make(), [flip(data, place, 0x20)], expected)
                    self.assertEqual(len(events), number, place)
                    self.assertIs(type(error), DecryptionFailed, place)
                start += len(pdu)

    def test_cut_off_anywhere(self) -> None:
        """All PDUs before it come, and the end is in order only between two PDUs."""
        for make, pdus, expected in Conversation([b"hello", CLOCK, b""]).directions():
            data, start = b"".join(pdus), 0
            for number, pdu in enumerate(pdus):
                for size in range(len(pdu)):
                    connection = make()
                    events, error = self.check(connection, [data[: start + size]], expected)
                    self.assertEqual(len(events), number)
                    self.assertIsNone(error)
                    if isinstance(connection, ClientConnection) and number == 0:
                        with self.assertRaises(AuthenticationFailed):
                            connection.receive_eof()
                    elif size:
                        with self.assertRaises(MalformedPDU):
                            connection.receive_eof()
                    else:
                        connection.receive_eof()
                start += len(pdu)


class GarbageTests(SynchronousTestCase):
    """
    From peers without the keys.
    """

    def check(self, connection: Connection, pieces: Iterable[bytes]) -> None:
        """Nothing comes of it but an error, or waiting for more."""
        events, error, late = play(connection, pieces)
        self.assertEqual(events + late, [])
        if error is not None:
            self.assertIs(type(error), DecryptionFailed)
            self.assertIs(connection.state, State.CLOSED)

    GARBAGE = st.lists(st.one_of(st.binary(max_size=40), st.binary(min_size=200, max_size=450)), max_size=5)

    @given(GARBAGE)
    def test_fresh_server(self, pieces: list[bytes]) -> None:
        self.check(ServerConnection(SERVER_PAIR, NOW), pieces)

    @given(GARBAGE)
    def test_undecided_server(self, pieces: list[bytes]) -> None:
        server, _ = deciding_server()
        self.assertEqual(play(server, pieces), ([], None, []))
        wire_of(server.accept, NOW)
        self.check(server, [b""])

    @given(GARBAGE)
    def test_fresh_client(self, pieces: list[bytes]) -> None:
        self.check(waiting_client()[0], pieces)

    @given(GARBAGE)
    def test_open_server(self, pieces: list[bytes]) -> None:
        self.check(open_server()[0], pieces)

    @given(GARBAGE)
    def test_open_client(self, pieces: list[bytes]) -> None:
        self.check(open_client()[0], pieces)

    def test_it_is_garbage_when_it_is_enough(self) -> None:
        server = ServerConnection(SERVER_PAIR, NOW)
        self.assertEqual(take(server.receive_data(bytes(399), NOW)), ([], None))
        self.assertIs(server.state, State.AWAITING_CLIENT_AUTH)
        self.assertEqual(take(server.receive_data(bytes(1), NOW)), ([], None))
        self.assertIs(server.state, State.SILENT)
        for connection, size in [
            (waiting_client()[0], 236),
            (open_server()[0], 29),
            (open_client()[0], 29),
        ]:
            self.assertEqual(take(connection.receive_data(bytes(size - 1), NOW)), ([], None))
            self.assertIs(type(take(connection.receive_data(bytes(1), NOW))[1]), DecryptionFailed)
