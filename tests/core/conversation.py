"""
Sessions of our two ends with anything said in them, and playing them cut and damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Union

from hypothesis import strategies as st

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import RemoteProtocolError
from sodiumtwist.core.events import AuthenticationRequested, DataReceived, Event, PingReceived
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.states import State

from .peers import CLIENT_PAIR, CLOCK, NONCE, NOW, SERVER_PAIR, Connection, flip, new_client, wire_of

MANY_PINGS = Timeouts(outstanding_pongs=100)

#: What a client says: a payload, or the clock of a PING.
Saying = Union[bytes, int]
SAYINGS: st.SearchStrategy[list[Saying]] = st.lists(
    st.one_of(st.binary(max_size=300), st.integers(0, 2**64 * 10**9 - 1)),
    max_size=8,
)
#: Sizes of the pieces that a transport delivers; what they leave over comes whole.
PIECES = st.lists(st.one_of(st.integers(1, 64), st.integers(1, 500)), max_size=50)
PLACES = st.integers(0, 1_000_000)
#: What is done, at which place, and how.
Damage = tuple[str, int, Union[int, bytes, None]]
DAMAGE: st.SearchStrategy[Damage] = st.one_of(
    st.tuples(st.just("flip"), PLACES, st.integers(1, 255)),
    st.tuples(st.just("delete"), PLACES, st.integers(1, 100)),
    st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=100)),
    st.tuples(st.just("truncate"), PLACES, st.none()),
    st.tuples(st.just("duplicate"), PLACES, st.integers(1, 600)),
)


def damage(data: bytes, kind: str, place: int, what: int | bytes | None) -> bytes:
    """Change bytes at one place."""
    place %= len(data)
    if what is None:
        return data[:place]
    if isinstance(what, bytes):
        return data[:place] + what + data[place:]
    if kind == "flip":
        return flip(data, place, what)
    if kind == "delete":
        return data[:place] + data[place + what :]
    return data[: place + what] + data[place:]


class Conversation:
    """
    A session of our two ends: the client says all it has behind its CLIENT_AUTH, the server sends
    each payload back reversed and a PONG for each PING.

    :ivar to_server: the PDUs that the server received; each gave one event.
    :ivar server_events: those events.
    :ivar to_client: the PDUs that the client received.
    :ivar client_events: the events of those.
    """

    def __init__(self, sayings: Sequence[Saying]) -> None:
        self._pings = sum(isinstance(saying, int) for saying in sayings)
        client, server = self._client(), self.new_server()
        self.to_server = [wire_of(client.initiate)]
        for saying in sayings:
            self.to_server.append(
                wire_of(client.send_ping, NOW, saying) if isinstance(saying, int) else wire_of(client.send_data, saying)
            )
        self.to_client = []
        self.server_events: list[Event] = []
        for event in server.receive_data(b"".join(self.to_server), NOW):
            self.server_events.append(event)
            if isinstance(event, AuthenticationRequested):
                self.to_client.append(wire_of(server.accept, NOW, "Hello."))
            elif isinstance(event, PingReceived):
                self.to_client.append(wire_of(server.send_pong, event.timestamp))
            else:
                assert isinstance(event, DataReceived)
                self.to_client.append(wire_of(server.send_data, event.payload[::-1]))
        self.client_events = list(client.receive_data(b"".join(self.to_client), NOW))

    def _client(self) -> ClientConnection:
        return new_client(pair=CLIENT_PAIR, nonce=NONCE, timeouts=MANY_PINGS)

    def new_server(self) -> ServerConnection:
        """A server to play ``to_server`` to."""
        return ServerConnection(SERVER_PAIR, NOW)

    def new_client(self) -> ClientConnection:
        """A client to play ``to_client`` to."""
        client = self._client()
        wire_of(client.initiate)
        for _ in range(self._pings):
            wire_of(client.send_ping, NOW, CLOCK)
        return client

    def directions(self) -> list[tuple[Callable[[], Connection], list[bytes], list[Event]]]:
        """For each side: its fresh end, the PDUs to play to it, and the events they give."""
        return [
            (self.new_server, self.to_server, self.server_events),
            (self.new_client, self.to_client, self.client_events),
        ]


def let_in(connection: Connection, event: Event) -> None:
    """Accept the login when that is what the event is about."""
    if isinstance(event, AuthenticationRequested):
        assert isinstance(connection, ServerConnection)
        wire_of(connection.accept, NOW)


def take_some(connection: Connection, events: Iterable[Event], count: int | None) -> Iterator[Event]:
    """Take as many events, ``None`` for all, and abandon the iterator; every login is let in."""
    for event in islice(events, count):
        let_in(connection, event)
        yield event


def play(
    connection: Connection, pieces: Iterable[bytes]
) -> tuple[list[Event], RemoteProtocolError | None, list[Event]]:
    """
    Feed a connection, letting every login in, on to the last piece even after an error.

    :return: the events, the error or ``None``, and the events after the error. That of an ignored
        handshake comes when time is up.
    """
    events: list[Event] = []
    late: list[Event] = []
    error: RemoteProtocolError | None = None
    for piece in pieces:
        try:
            for event in connection.receive_data(piece, NOW):
                (events if error is None else late).append(event)
                let_in(connection, event)
        except RemoteProtocolError as raised:
            error = error or raised
    if connection.state is State.SILENT:
        try:
            connection.ping_due(connection.deadline())
        except RemoteProtocolError as raised:
            error = raised
    return events, error, late
