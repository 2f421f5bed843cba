"""
Our client and our server with a network between them that may do what it likes: whatever happens in whatever
order, an end hears what the other said, or less.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import settings, strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from nacl import bindings
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import LocalProtocolError, PayloadTooLarge, RemoteProtocolError
from sodiumtwist.core.states import State

from .ends import Ends
from .peers import CLIENT_PAIR, CLOCK, NOW, WINDOW, flip, pack_server_helo, wire_of

SIDES = st.sampled_from(["server", "client"])
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([0, 1, 17, 29, 400, WINDOW - 1, WINDOW]).map(lambda size: bytes(range(251)) * (size // 251 + 1)),
).map(lambda payload: payload[:WINDOW])
#: What an end says: payloads, and ``None`` for a PING.
SAYINGS = st.lists(st.one_of(PAYLOADS, st.none()), min_size=1, max_size=4)
#: Bytes that a transport delivers at once, ``None`` for all there are.
PIECES = st.one_of(st.none(), st.integers(1, 64), st.integers(1, 500))
#: Events that are taken at once, ``None`` for all there are.
PATIENCE = st.one_of(st.none(), st.none(), st.integers(0, 2))


class Network(Ends):
    """
    All that can happen between two ends. Of itself the network delays and cuts; where it may do harm, it does
    what somebody in the middle can do who has both public keys.
    """

    @precondition(lambda self: self.server.coming or self.client.coming)
    @rule(side=SIDES, size=PIECES, count=PATIENCE)
    def some_comes(self, side: str, size: int | None, count: int | None) -> None:
        end = self.end(side)
        if not end.coming:
            end = self.other(end)
        self.deliver(end, size, count)

    @precondition(lambda self: self.server.coming or self.client.coming)
    @rule()
    def all_comes(self) -> None:
        for end in (self.server, self.client, self.server):
            self.deliver(end)

    @precondition(lambda self: self.server.ended or self.client.ended)
    @rule(side=SIDES)
    def the_end_comes(self, side: str) -> None:
        end = self.end(side)
        if not end.ended:
            end = self.other(end)
        if not end.coming and not (end.paused and not end.over):
            self.take(end, end.connection.events(self.now))
            self.deliver_end(end)

    @precondition(lambda self: self.server.connection.buffered or self.client.connection.buffered)
    @rule(side=SIDES, count=PATIENCE)
    def events_are_taken(self, side: str, count: int | None) -> None:
        end = self.end(side)
        self.take(end, end.connection.events(self.now), count)

    @precondition(lambda self: self.client.may_send)
    @rule(sayings=SAYINGS, sizes=st.lists(PIECES, max_size=3))
    def client_says(self, sayings: list[bytes | None], sizes: list[int | None]) -> None:
        self.say(self.client, sayings, sizes)

    @precondition(lambda self: self.server.may_send)
    @rule(sayings=SAYINGS, sizes=st.lists(PIECES, max_size=3))
    def server_says(self, sayings: list[bytes | None], sizes: list[int | None]) -> None:
        self.say(self.server, sayings, sizes)

    @precondition(lambda self: self.server.owed or self.client.owed)
    @rule(side=SIDES)
    def answer_pings(self, side: str) -> None:
        end = self.end(side)
        if not end.owed:
            end = self.other(end)
        self.answer(end)

    @rule(side=SIDES)
    def misuse(self, side: str) -> None:
        """What is not allowed is refused, and has no effect."""
        end = self.end(side)
        connection, state, server = end.connection, end.connection.state, self.server.connection
        refused: list[Callable[[], object]] = [lambda: wire_of(connection.send_data, bytes(WINDOW + 1))]
        if not end.may_send:
            refused += [
                lambda: wire_of(connection.send_data, b"no"),
                lambda: wire_of(connection.send_ping, self.now, CLOCK),
                lambda: wire_of(connection.send_pong, CLOCK),
            ]
        elif end.own >= 3:
            refused.append(lambda: wire_of(connection.send_ping, self.now, CLOCK))
        if end is self.client:
            refused.append(self.client.connection.initiate)
        elif state is State.DECIDING:
            refused.append(lambda: wire_of(server.accept, self.now, "x" * 129))
        else:
            refused += [lambda: wire_of(server.accept, self.now), server.reject, server.ignore]
        for number, call in enumerate(refused):
            try:
                call()
            except LocalProtocolError as error:
                assert isinstance(error, PayloadTooLarge) is (number == 0)
            else:
                raise AssertionError(f"call {number} in state {state}")
        assert connection.state is state

    @precondition(lambda self: self.may_close and not (self.server.over and self.client.over))
    @rule(side=SIDES)
    def close(self, side: str) -> None:
        end = self.end(side)
        end.connection.close()
        self.hang_up(end)

    # Time

    @rule(seconds=st.sampled_from([0.25, 1, 5, 10, 30, 60, 120, 180]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(side=SIDES)
    def deadline_is_looked_at(self, side: str) -> None:
        end = self.end(side)
        connection = end.connection
        state, deadline = connection.state, connection.deadline()
        try:
            due = connection.ping_due(self.now)
        except RemoteProtocolError as error:
            assert self.now >= deadline and connection.state is State.CLOSED and not end.over
            self.hang_up(end)
            self.check_time_out(end, state, error)
            return
        assert not due or (self.now >= deadline and state is State.OPEN)
        if state is State.OPEN and self.now >= end.rekey_at:
            end.rekey_at = self.now + self.rekey.seconds
        assert connection.deadline() > self.now
        if state is State.OPEN and self.now >= end.ping_at:
            end.ping_at = self.now + end.until_next_ping()
            assert due is not (end.blocked_at is not None and end.waits)
        if due:
            end.waits = end.blocked_at is not None
            if not end.paused:
                end.unheard.append(self.now)
            self.ping(end, own=False)

    @rule(side=SIDES)
    def reading_pauses_or_resumes(self, side: str) -> None:
        end = self.end(side)
        if end.paused_at is None:
            end.paused_at = self.now
            end.connection.reading_paused(self.now)
            if end.heard_at is not None:
                end.ping_at = min(end.ping_at, self.now + end.until_next_ping())
        else:
            end.connection.reading_resumed(self.now)
            if end.heard_at is not None:
                end.heard_something(self.now)
                end.peer_pings[-1] += self.now - end.paused_at
            end.paused_at = None

    @rule(side=SIDES)
    def writing_blocks_or_goes_on(self, side: str) -> None:
        end = self.end(side)
        if end.blocked_at is None:
            end.blocked_at = self.now
            end.connection.writing_blocked(self.now)
        else:
            end.blocked_at = None
            end.waits = False
            end.connection.writing_unblocked(self.now)
            if end.heard_at is not None:
                end.heard_something(self.now)

    # Harm

    @precondition(lambda self: self.may_harm and (self.server.coming or self.client.coming))
    @rule(
        side=SIDES,
        kind=st.sampled_from(["flip", "delete", "insert", "duplicate"]),
        place=st.integers(0, 1000),
        size=st.integers(1, 255),
    )
    def damage(self, side: str, kind: str, place: int, size: int) -> None:
        end = self.end(side)
        if not end.coming:
            end = self.other(end)
        data = bytes(end.coming)
        place %= len(data)
        if kind == "flip":
            data = flip(data, place, size)
        elif kind == "delete":
            data = data[:place] + data[place + size :]
        elif kind == "insert":
            data = data[:place] + bytes(size) + data[place:]
        else:
            data = data[: place + size] + data[place:]
        end.coming[:] = data
        self.harmed = True

    @precondition(lambda self: self.may_harm)
    @rule(side=SIDES, of=SIDES, start=st.integers(0, 1000), size=PIECES)
    def replay(self, side: str, of: str, start: int, size: int | None) -> None:
        """What was sent before, in this direction or the other, comes again."""
        end, come = self.end(side), bytes(self.end(of).come)
        if come and not end.ended:
            start %= len(come)
            end.coming += come[start:] if size is None else come[start : start + size]
            self.harmed = True

    @precondition(lambda self: self.may_harm)
    @rule(side=SIDES, place=st.integers(0, 1000))
    def cut_off(self, side: str, place: int) -> None:
        end = self.end(side)
        if not end.ended:
            del end.coming[place % (len(end.coming) + 1) :]
            end.ended = self.harmed = True

    @precondition(lambda self: self.may_harm and len(self.client.coming) == len(self.client.come) == 0)
    @rule()
    def forge_server_helo(self) -> None:
        """Somebody else's, who has not seen the nonce."""
        self.client.coming += bindings.crypto_box_seal(
            pack_server_helo(bytes(24), bytes(range(24)), b"Hello."), CLIENT_PAIR.public
        )
        self.harmed = True

    # What always holds

    @invariant()
    def over_is_over(self) -> None:
        for end in (self.server, self.client):
            connection = end.connection
            if end.over:
                assert connection.state is State.CLOSED
                assert connection.deadline() == math.inf
            if connection.state in (State.CLOSED, State.SILENT):
                assert connection.buffered == 0
                assert list(connection.events(self.now)) == []
                assert list(connection.receive_data(b"x" * 500, self.now)) == []
                assert connection.buffered == 0

    @invariant()
    def deadlines(self) -> None:
        for end in (self.server, self.client):
            if end.connection.state is State.OPEN:
                assert end.heard_at is not None
                assert end.connection.deadline() == min(end.rekey_at, end.ping_at, end.gone_at(self.inactivity))
            elif end.connection.state is not State.CLOSED:
                assert end.connection.deadline() == NOW + 10

    def teardown(self) -> None:
        """Where the network did no harm, all that was sent arrives."""
        self.at_once = "accept"
        self.server.paused_at = self.client.paused_at = None
        if self.server.connection.state is State.DECIDING:
            self.decide("accept")
        for _ in range(3):
            self.deliver(self.server)
            self.deliver(self.client)
        if self.harmed:
            return
        for end in (self.server, self.client):
            if not end.over and end.connection.state is not State.SILENT:
                assert end.heard == self.other(end).said
                assert end.connection.buffered == 0


class NetworkTests(SynchronousTestCase):
    """
    Any course of events, see :class:`Network`.
    """

    def test_any_network(self) -> None:
        run_state_machine_as_test(Network, settings=settings(stateful_step_count=60))
