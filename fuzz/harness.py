"""
What the targets have in common: they read their input, and watch a connection while bytes come to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Union

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import LocalProtocolError, RemoteProtocolError
from sodiumtwist.core.events import AuthenticationRequested, Event
from sodiumtwist.core.states import State
from tests.core.peers import CLOCK, NOW, WINDOW, wire_of

Connection = Union[ClientConnection, ServerConnection]

#: How many received bytes may wait when all events are taken. What comes behind an undecided login does wait.
BOUNDS = {
    State.AWAITING_CLIENT_AUTH: 399,
    State.DECIDING: math.inf,
    State.SILENT: 0,
    State.AWAITING_PROOF: 28,
    State.AWAITING_SERVER_HELO: 235,
    State.OPEN: WINDOW + 16,
    State.CLOSED: 0,
}


class Input:
    """Reads an input from its start. Behind its end it reads zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def __bool__(self) -> bool:
        return self._offset < len(self._data)

    def take(self, size: int) -> bytes:
        """Read so many bytes, or all that are left."""
        taken = self._data[self._offset : self._offset + size]
        self._offset += len(taken)
        return taken

    def number(self, size: int = 1) -> int:
        """Read a number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def over(self, plain: bytes) -> bytes:
        """Read what to change of a plaintext: each bit that is set in the input turns one bit of it over."""
        mask = self.take(len(plain)).ljust(len(plain), b"\0")
        return (int.from_bytes(plain, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(plain), "big")

    def sizes(self) -> list[int]:
        """Read the sizes of up to 7 pieces, of up to 256 bytes each, into which to cut what comes."""
        return [self.number() + 1 for _ in range(self.number() & 7)]

    def rest(self) -> bytes:
        return self.take(len(self._data))


class Watched:
    """
    A connection, with the events and the error that it gave.

    :param decide: what to do about a login when the connection asks.
    :ivar events: the events, in order.
    :ivar error: what ended it, or ``None``.
    """

    def __init__(self, connection: Connection, decide: Callable[[], None] = lambda: None) -> None:
        self.connection = connection
        self._decide = decide
        self.events: list[Event] = []
        self.error: RemoteProtocolError | None = None

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Receive pieces, and take all events."""
        for piece in pieces:
            self._take(self.connection.receive_data(piece, NOW))

    def decide_now(self, decide: Callable[[], None]) -> None:
        """Decide on a login, and take the events that waited for that."""
        try:
            decide()
        except RemoteProtocolError as error:
            self.error = error
        self._take(self.connection.events(NOW))

    def _take(self, events: Iterable[Event]) -> None:
        try:
            for event in events:
                assert self.error is None, "an event after an error"
                self.events.append(event)
                if isinstance(event, AuthenticationRequested):
                    self._decide()
        except RemoteProtocolError as error:
            assert self.error is None, "an error after an error"
            self.error = error
        self.check()

    def check(self) -> None:
        """Check what must be true whenever all events are taken."""
        connection = self.connection
        assert self.error is None or connection.state is State.CLOSED, connection.state
        assert connection.buffered <= BOUNDS[connection.state], (connection.state, connection.buffered)
        if connection.state in (State.SILENT, State.CLOSED):
            assert not list(connection.events(NOW)) and not list(connection.receive_data(bytes(500), NOW))
            assert connection.buffered == 0

    def finish(self, at_the_end_of_time: bool) -> RemoteProtocolError | None:
        """
        End the connection.

        :param at_the_end_of_time: whether it ends by a deadline; otherwise the peer leaves.
        :return: the error that ended it, or ``None``.
        """
        connection, state, error = self.connection, self.connection.state, None
        try:
            if at_the_end_of_time:
                due = connection.ping_due(connection.deadline())
                assert due is (state is State.OPEN), "a PING at the wrong time"
                connection.close()
            else:
                connection.receive_eof()
        except RemoteProtocolError as raised:
            error = raised
        assert connection.state is State.CLOSED and connection.deadline() == math.inf
        assert self.error is None or error is None, "an error after an error"
        assert state is not State.SILENT or error is not None, "an ignored handshake without its error"
        self.check()
        try:
            wire_of(connection.send_ping, NOW, CLOCK)
        except LocalProtocolError:
            return error
        raise AssertionError("a PING from a closed connection")
