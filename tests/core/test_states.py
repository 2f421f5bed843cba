"""
Tests of :mod:`sodiumtwist.core.states`, and that the connections obey its table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.core.states import CLIENT, CLIENT_2, SERVER, SERVER_2, VERSION, Act, State, Table

from .peers import (
    CLOCK,
    NOW,
    SERVER_PAIR,
    Connection,
    deciding_server,
    new_client,
    open_client,
    open_server,
    silent_server,
    unproven_server,
    waiting_client,
    wire_of,
)

C = TypeVar("C", ServerConnection, ClientConnection)


def closed(connection: C) -> C:
    """Close it."""
    connection.close()
    return connection


#: How to bring a connection into each state.
SERVERS: dict[State, Callable[[], ServerConnection]] = {
    State.AWAITING_CLIENT_AUTH: lambda: ServerConnection(SERVER_PAIR, NOW),
    State.DECIDING: lambda: deciding_server()[0],
    State.SILENT: lambda: silent_server(),
    State.AWAITING_PROOF: lambda: unproven_server()[0],
    State.OPEN: lambda: open_server()[0],
    State.CLOSED: lambda: closed(open_server()[0]),
}
CLIENTS: dict[State, Callable[[], ClientConnection]] = {
    State.NEW: new_client,
    State.AWAITING_SERVER_HELO: lambda: waiting_client()[0],
    State.OPEN: lambda: open_client()[0],
    State.CLOSED: lambda: closed(open_client()[0]),
}

#: The calls by which a caller does what the table speaks of.
CALLS: dict[Act, Sequence[Callable[[Connection], object]]] = {
    Act.SEND_STREAM_PDU: [
        lambda connection: wire_of(connection.send_data, b"payload"),
        lambda connection: wire_of(connection.send_ping, NOW, CLOCK),
        lambda connection: wire_of(connection.send_pong, CLOCK),
    ],
    Act.CLOSE: [lambda connection: connection.close()],
}
SERVER_CALLS: dict[Act, Sequence[Callable[[ServerConnection], object]]] = {
    **CALLS,
    Act.ACCEPT: [lambda connection: wire_of(connection.accept, NOW)],
    Act.ACCEPT_UNPROVEN: [lambda connection: wire_of(connection.accept, NOW, prove=True)],
    Act.REJECT: [lambda connection: connection.reject()],
    Act.IGNORE: [lambda connection: connection.ignore()],
}
CLIENT_CALLS: dict[Act, Sequence[Callable[[ClientConnection], object]]] = {
    **CALLS,
    Act.SEND_CLIENT_AUTH: [lambda connection: wire_of(connection.initiate)],
}


TABLES = (VERSION, SERVER, CLIENT, SERVER_2, CLIENT_2)


class TableTests(SynchronousTestCase):
    """
    The tables in themselves.
    """

    def reachable(self, table: Table, start: State) -> set[State]:
        reached, new = set(), {start}
        while new:
            reached |= new
            new = {following for state in new for following in table.get(state, {}).values()} - reached
        return reached

    def test_every_state_is_reachable(self) -> None:
        self.assertEqual(self.reachable(SERVER, State.AWAITING_CLIENT_AUTH), set(SERVER))
        self.assertEqual(self.reachable(CLIENT, State.NEW), set(CLIENT))
        self.assertEqual(self.reachable(SERVER_2, State.AWAITING_MESSAGE_1), set(SERVER_2))
        self.assertEqual(self.reachable(CLIENT_2, State.NEW), set(CLIENT_2))
        told = self.reachable(VERSION, State.AWAITING_VERSION)
        self.assertEqual(told - set(VERSION), {State.AWAITING_CLIENT_AUTH, State.AWAITING_MESSAGE_1})

    def test_every_state_is_used(self) -> None:
        self.assertEqual({state for table in TABLES for state in table}, set(State))

    def test_every_act_is_used(self) -> None:
        acts = {act for table in TABLES for row in table.values() for act in row}
        self.assertEqual(acts, set(Act))

    def test_every_state_can_close(self) -> None:
        for table in TABLES:
            for row in table.values():
                self.assertIs(row[Act.CLOSE], State.CLOSED)

    def test_closed_is_the_end(self) -> None:
        for table in TABLES:
            self.assertEqual(table[State.CLOSED], {Act.CLOSE: State.CLOSED})

    def allowed(self, table: Table, act: Act) -> list[State]:
        return [state for state in table if act in table[state]]

    def test_a_server_sends_nothing_before_it_accepts(self) -> None:
        for table in (SERVER, SERVER_2):
            self.assertEqual(self.allowed(table, Act.SEND_STREAM_PDU), [State.OPEN])

    def test_a_client_may_send_behind_its_handshake(self) -> None:
        self.assertEqual(self.allowed(CLIENT, Act.SEND_STREAM_PDU), [State.AWAITING_SERVER_HELO, State.OPEN])
        self.assertEqual(self.allowed(CLIENT_2, Act.SEND_STREAM_PDU), [State.AWAITING_WELCOME, State.OPEN])

    def test_stream_pdus_are_received_when_open(self) -> None:
        """Or where the first one is the proof."""
        self.assertEqual(self.allowed(SERVER, Act.RECEIVE_STREAM_PDU), [State.AWAITING_PROOF, State.OPEN])
        self.assertEqual(self.allowed(CLIENT, Act.RECEIVE_STREAM_PDU), [State.OPEN])

    def test_silence_ends_by_closing_alone(self) -> None:
        for table in (SERVER, SERVER_2):
            self.assertEqual(table[State.SILENT], {Act.CLOSE: State.CLOSED})

    def test_each_step_of_the_handshake_has_its_state(self) -> None:
        for table, act, state in [
            (SERVER, Act.RECEIVE_CLIENT_AUTH, State.AWAITING_CLIENT_AUTH),
            (SERVER, Act.ACCEPT, State.DECIDING),
            (SERVER, Act.ACCEPT_UNPROVEN, State.DECIDING),
            (SERVER, Act.REJECT, State.DECIDING),
            (SERVER, Act.IGNORE, State.DECIDING),
            (SERVER, Act.RECEIVE_GARBAGE, State.AWAITING_CLIENT_AUTH),
            (CLIENT, Act.SEND_CLIENT_AUTH, State.NEW),
            (CLIENT, Act.RECEIVE_SERVER_HELO, State.AWAITING_SERVER_HELO),
            (SERVER_2, Act.RECEIVE_MESSAGE_1, State.AWAITING_MESSAGE_1),
            (SERVER_2, Act.RECEIVE_MESSAGE_3, State.AWAITING_MESSAGE_3),
            (SERVER_2, Act.ACCEPT, State.DECIDING),
            (SERVER_2, Act.REJECT, State.DECIDING),
            (CLIENT_2, Act.SEND_MESSAGE_1, State.NEW),
            (CLIENT_2, Act.RECEIVE_MESSAGE_2, State.AWAITING_MESSAGE_2),
            (CLIENT_2, Act.RECEIVE_WELCOME, State.AWAITING_WELCOME),
        ]:
            self.assertEqual(self.allowed(table, act), [state])

    def test_each_side_has_its_own_acts(self) -> None:
        acts = [{act for row in table.values() for act in row} for table in (SERVER, CLIENT)]
        own = {Act.RECEIVE_CLIENT_AUTH, Act.RECEIVE_GARBAGE, Act.ACCEPT, Act.ACCEPT_UNPROVEN, Act.REJECT, Act.IGNORE}
        self.assertEqual(acts[0] - acts[1], own)
        self.assertEqual(acts[1] - acts[0], {Act.SEND_CLIENT_AUTH, Act.RECEIVE_SERVER_HELO})


class ConnectionTests(SynchronousTestCase):
    """
    Every call in every state does what the table says.
    """

    def check(
        self,
        table: Table,
        connections: dict[State, Callable[[], C]],
        calls: dict[Act, Sequence[Callable[[C], object]]],
    ) -> None:
        self.assertEqual(set(connections), set(table))
        for state, make in connections.items():
            for act, ways in calls.items():
                for way in ways:
                    connection = make()
                    self.assertIs(connection.state, state)
                    if act in table[state]:
                        way(connection)
                        self.assertIs(connection.state, table[state][act])
                    else:
                        error = self.assertRaises(LocalProtocolError, way, connection)
                        self.assertIn(act.value, str(error))
                        self.assertIn(state.name, str(error))
                        self.assertIs(connection.state, state)

    def test_server(self) -> None:
        self.check(SERVER, SERVERS, SERVER_CALLS)

    def test_client(self) -> None:
        self.check(CLIENT, CLIENTS, CLIENT_CALLS)
