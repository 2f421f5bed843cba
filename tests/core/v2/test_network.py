"""
Two ends of version 2 with a network between them that may do what it likes: whatever happens in whatever order, an end
hears what the other said, or less, and never takes a part for the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import ClientConnection, ServerConnection
from sodiumtwist.core.errors import (
    AuthenticationFailed,
    ConnectionCut,
    LocalProtocolError,
    MalformedPDU,
    RemoteProtocolError,
)
from sodiumtwist.core.events import (
    Aborted,
    AnswerReceived,
    Authenticated,
    AuthenticationRequested,
    ConnectionOver,
    DataReceived,
    DrainReceived,
    EndReceived,
    Event,
    FailureReceived,
    HandshakeComplete,
    PingReceived,
    PongReceived,
    Refused,
    RequestCancelled,
    RequestReceived,
)
from sodiumtwist.core.states import State
from sodiumtwist.core.v2.incoming import Bounds
from sodiumtwist.core.v2.pdus import Code
from sodiumtwist.core.version import RekeyAfter

from ..peers import NOW, flip
from .ends import new_client, new_server

SIDES = st.sampled_from(["server", "client"])
#: Sizes of messages: some leave in parts, and some of these fill more than a record.
SIZES = st.sampled_from([0, 1, 100, 3000, 65536, 65537, 150_000])
#: Bytes that a transport delivers at once; ``None`` for all there are.
PIECES = st.one_of(st.none(), st.none(), st.integers(1, 500), st.integers(1, 100_000))
#: Events that are taken at once; ``None`` for all there are.
PATIENCE = st.one_of(st.none(), st.none(), st.integers(0, 2))
#: So few that they are met.
BOUNDS = Bounds(message=150_000, connection=250_000, requests=6)


class End:
    """
    One end.

    :ivar coming: the bytes on the way to it.
    :ivar ended: whether the end of its input comes behind them.
    :ivar data: the payloads of all DATA that it sent.
    :ivar taken: how many of the other's it has heard.
    :ivar asked: its requests that are under way, by id.
    :ivar cancelled: those of them whose answer it does not want any more.
    :ivar open_requests: what it was asked and has not answered, by id.
    :ivar seen: the ids of the other's requests that it has heard, and whose answer the other has not.
    :ivar answers: what it has answered and the other has not heard, by id: the payload, or the code of a failure.
    :ivar has_ended, has_drained: whether it has sent END, and DRAIN.
    :ivar heard_end, heard_drain: whether it has heard the other's.
    :ivar over: whether its transport is closed.
    :ivar owed, pings: how many PONGs it owes, and how many PINGs of it have none.
    """

    def __init__(self, connection: ServerConnection | ClientConnection) -> None:
        self.connection = connection
        self.coming = bytearray()
        self.ended = False
        self.data: list[bytes] = []
        self.taken = 0
        self.asked: dict[int, bytes] = {}
        self.open_requests: dict[int, bytes] = {}
        self.seen: set[int] = set()
        self.cancelled: set[int] = set()
        self.answers: dict[int, bytes | int] = {}
        self.has_ended = self.has_drained = self.heard_end = self.heard_drain = self.over = False
        self.owed = self.pings = 0

    @property
    def may_send(self) -> bool:
        return self.connection.state in (State.OPEN, State.AWAITING_WELCOME)

    @property
    def may_say(self) -> bool:
        """DATA, PINGs and END of a client wait until it has a key for them."""
        return self.may_send or self.connection.state is State.AWAITING_MESSAGE_2

    @property
    def may_ask(self) -> bool:
        return self.may_send and not self.has_ended and not self.heard_drain


class Network(RuleBasedStateMachine):
    """
    All that can happen. Of itself the network delays and cuts; where it may do harm, it alters bytes, and ends.
    """

    @initialize(
        may_harm=st.sampled_from([False, False, True]),
        accepts=st.sampled_from([True, True, True, False]),
        later=st.booleans(),
        rekey=st.sampled_from([RekeyAfter(), RekeyAfter(size=1), RekeyAfter(size=100_000)]),
    )
    def begin(self, may_harm: bool, accepts: bool, later: bool, rekey: RekeyAfter) -> None:
        self.may_harm, self.accepts, self.later = may_harm, accepts, later
        self.harmed = self.aborted = False
        self.client = End(new_client(bounds=BOUNDS))
        self.server = End(new_server(bounds=BOUNDS))
        self.client.connection.rekey = self.server.connection.rekey = rekey
        self.number = 0
        self.write(self.client)

    def end(self, side: str) -> End:
        return self.server if side == "server" else self.client

    def other(self, end: End) -> End:
        return self.client if end is self.server else self.server

    def write(self, end: End, limit: int = 1 << 62) -> None:
        """Put what an end has to say on the way to the other one."""
        self.other(end).coming += end.connection.data_to_send(limit)

    def hang_up(self, end: End) -> None:
        """An end closes its transport, when all it has to say was taken."""
        self.write(end)
        end.over = True
        self.other(end).ended = True

    def payload(self, size: int) -> bytes:
        """No two of them are alike."""
        self.number += 1
        return self.number.to_bytes(4, "big")[:size].ljust(size, b".")

    # What an end hears

    def take(self, end: End, events: Iterable[Event], count: int | None = None) -> None:
        try:
            for event in islice(events, count):
                self.hear(end, event)
        except RemoteProtocolError:
            assert self.harmed, "nobody did any harm"
            assert end.connection.state is State.CLOSED
            self.hang_up(end)

    def hear(self, end: End, event: Event) -> None:
        other = self.other(end)
        assert not end.over
        if isinstance(event, AuthenticationRequested):
            assert (event.login, event.passphrase) == ("username", "passphrase")
            if not self.later:
                self.decide()
        elif isinstance(event, Refused):
            assert not self.accepts and event.code == Code.REFUSED
            self.hang_up(end)
        elif isinstance(event, DataReceived):
            assert event.payload == other.data[end.taken]
            end.taken += 1
        elif isinstance(event, RequestReceived):
            assert event.payload == other.asked[event.id] and event.id not in end.open_requests
            assert not end.heard_end
            end.open_requests[event.id] = event.payload
            end.seen.add(event.id)
        elif isinstance(event, AnswerReceived):
            del end.asked[event.id]
            end.cancelled.discard(event.id)
            assert other.answers.pop(event.id) == event.payload
            other.seen.discard(event.id)
        elif isinstance(event, FailureReceived):
            del end.asked[event.id]
            answer = other.answers.pop(event.id, None)
            if event.code == Code.CANCELLED:
                # Its core fails what is not whole yet, the question or the answer, when that is not wanted any more.
                assert event.id in end.cancelled
            elif event.id in other.seen:
                assert answer == event.code
            else:
                assert event.code == Code.NO_ROOM  # its core has turned it away
            other.seen.discard(event.id)
            end.cancelled.discard(event.id)
        elif isinstance(event, RequestCancelled):
            assert event.id in end.open_requests or event.id in end.answers
        elif isinstance(event, EndReceived):
            assert other.has_ended and not end.heard_end
            assert end.taken == len(other.data)
            end.heard_end = True
        elif isinstance(event, DrainReceived):
            assert other.has_drained
            end.heard_drain = True
        elif isinstance(event, PingReceived):
            end.owed += 1
        elif isinstance(event, PongReceived):
            end.pings -= 1
        elif isinstance(event, ConnectionOver):
            assert end.has_ended and end.heard_end and not end.asked and not end.open_requests
            assert end.taken == len(other.data)
            self.hang_up(end)
        elif isinstance(event, Aborted):
            assert self.aborted or self.harmed
            self.hang_up(end)
        else:
            assert isinstance(event, (HandshakeComplete, Authenticated))

    # What the network does

    @rule(side=SIDES, size=PIECES, count=PATIENCE)
    def some_comes(self, side: str, size: int | None, count: int | None) -> None:
        self.deliver(self.end(side), size, count)

    @rule()
    def all_comes(self) -> None:
        for end in (self.server, self.client, self.server):
            self.write(end)
            self.deliver(self.other(end))

    def deliver(self, end: End, size: int | None = None, count: int | None = None) -> None:
        piece = bytes(end.coming[:size])
        del end.coming[: len(piece)]
        self.take(end, end.connection.receive_data(piece, NOW), count)
        if not end.over:
            self.take(end, end.connection.events(NOW), count)

    @precondition(lambda self: self.server.ended or self.client.ended)
    @rule(side=SIDES)
    def the_end_comes(self, side: str) -> None:
        end = self.end(side)
        if not end.ended or end.coming:
            return
        if not end.over:
            self.take(end, end.connection.events(NOW))
        if end.over:
            return
        state = end.connection.state
        try:
            end.connection.receive_eof()
        except ConnectionCut:
            assert state in (State.OPEN, State.AWAITING_WELCOME)
            assert self.harmed or self.aborted or end.asked or not (end.heard_end and end.has_ended) or end.answers
        except (AuthenticationFailed, MalformedPDU, RemoteProtocolError):
            assert self.harmed or state is not State.OPEN
        else:
            # It is taken for whole only when it was.
            whole = end.heard_end and end.has_ended and not end.asked and not end.open_requests
            assert whole or state in (State.DECIDING, State.CLOSED, State.AWAITING_VERSION, State.AWAITING_MESSAGE_3)
        assert end.connection.state is State.CLOSED
        self.hang_up(end)

    @precondition(lambda self: self.may_harm and (self.server.coming or self.client.coming))
    @rule(side=SIDES, place=st.integers(0, 1 << 30), mask=st.integers(1, 255))
    def alter(self, side: str, place: int, mask: int) -> None:
        end = self.end(side)
        if end.coming:
            end.coming[:] = flip(bytes(end.coming), place % len(end.coming), mask)
            self.harmed = True

    @precondition(lambda self: self.may_harm)
    @rule(side=SIDES, place=st.integers(0, 1 << 30))
    def cut_off(self, side: str, place: int) -> None:
        end = self.end(side)
        if not end.ended:
            del end.coming[place % (len(end.coming) + 1) :]
            end.ended = self.harmed = True

    @precondition(lambda self: self.may_harm)
    @rule(side=SIDES, count=st.integers(1, 200))
    def repeat(self, side: str, count: int) -> None:
        """Some of what is on the way comes twice."""
        end = self.end(side)
        if end.coming:
            end.coming += end.coming[-count:]
            self.harmed = True

    # What the ends do

    @precondition(lambda self: self.server.connection.state is State.DECIDING)
    @rule()
    def decide(self) -> None:
        server = self.server.connection
        assert isinstance(server, ServerConnection)
        if self.accepts:
            assert server.accept(NOW) is True
        else:
            server.reject()
            self.hang_up(self.server)

    @rule(side=SIDES, size=SIZES.filter(lambda size: size < 135_157), limit=st.sampled_from([1, 70_000, 1 << 62]))
    def say(self, side: str, size: int, limit: int) -> None:
        end, payload = self.end(side), self.payload(size)
        if end.may_say and not end.has_ended:
            end.connection.send_data(payload)
            end.data.append(payload)
            self.write(end, limit)
        else:
            self.refused(end.connection.send_data, payload)

    @rule(side=SIDES, size=SIZES, written=st.booleans())
    def ask(self, side: str, size: int, written: bool) -> None:
        end, payload = self.end(side), self.payload(size)
        if end.may_ask:
            asked = end.connection.send_request(payload)
            assert asked not in end.asked
            end.asked[asked] = payload
            if written:
                self.write(end, 70_000)
        else:
            self.refused(end.connection.send_request, payload)

    @precondition(lambda self: self.server.open_requests or self.client.open_requests)
    @rule(side=SIDES, which=st.integers(0, 5), size=SIZES, fails=st.booleans())
    def answer(self, side: str, which: int, size: int, fails: bool) -> None:
        end = self.end(side)
        if end.open_requests and end.may_send:
            asked = list(end.open_requests)[which % len(end.open_requests)]
            del end.open_requests[asked]
            if fails:
                end.answers[asked] = 0x80000000 + which
                end.connection.send_failure(asked, 0x80000000 + which, "")
            else:
                end.answers[asked] = payload = self.payload(size)
                end.connection.send_answer(asked, payload)
            self.refused(end.connection.send_answer, asked, b"twice")

    @precondition(lambda self: self.server.asked or self.client.asked)
    @rule(side=SIDES, which=st.integers(0, 5))
    def cancel(self, side: str, which: int) -> None:
        end = self.end(side)
        if end.asked and end.may_send:
            asked = list(end.asked)[which % len(end.asked)]
            end.connection.send_cancel(asked)
            end.cancelled.add(asked)

    @rule(side=SIDES)
    def ping(self, side: str) -> None:
        end = self.end(side)
        if end.may_say and end.pings < 3:
            end.connection.send_ping(NOW, end.pings)
            end.pings += 1
        while end.owed and end.may_send:
            end.connection.send_pong(0)
            end.owed -= 1

    @precondition(lambda self: self.number > 5)
    @rule(side=SIDES)
    def say_end(self, side: str) -> None:
        end = self.end(side)
        if end.may_say and not end.has_ended:
            end.connection.send_end()
            end.has_ended = True
        else:
            self.refused(end.connection.send_end)

    @precondition(lambda self: self.number > 5)
    @rule(side=SIDES)
    def drain(self, side: str) -> None:
        end = self.end(side)
        if end.connection.state is State.OPEN and not end.has_drained:
            end.connection.send_drain()
            end.has_drained = True

    @precondition(lambda self: self.may_harm and self.number > 10)
    @rule(side=SIDES)
    def abort(self, side: str) -> None:
        end = self.end(side)
        if end.connection.state is State.OPEN:
            self.aborted = True
            end.connection.abort(Code.SHUTTING_DOWN, "")
            self.hang_up(end)

    def refused(self, call: object, *arguments: object) -> None:
        """What is not allowed is refused, and has no effect."""
        assert callable(call)
        connection = getattr(call, "__self__")  # noqa: B009  # of any bound method, as types do not know
        before = connection.queued, connection.state
        try:
            call(*arguments)
        except LocalProtocolError:
            assert (connection.queued, connection.state) == before
        else:
            raise AssertionError(f"{call} in {connection.state}")

    @invariant()
    def over_is_over(self) -> None:
        for end in (self.server, self.client):
            if end.over or end.connection.state is State.CLOSED:
                assert end.connection.buffered == 0
                assert list(end.connection.receive_data(b"x" * 500, NOW)) == []

    @invariant()
    def bounded(self) -> None:
        for end in (self.server, self.client):
            assert len(end.open_requests) <= BOUNDS.requests

    def teardown(self) -> None:
        """Where the network did no harm, all that was said arrives, and in the end it is over in order."""
        if self.harmed or self.aborted:
            return
        self.later = False
        if self.server.connection.state is State.DECIDING:
            self.decide()
        for _ in range(8):
            for side in ("server", "client"):
                end = self.end(side)
                self.ping(side)
                while end.open_requests and end.may_send:
                    self.answer(side, 0, 1, False)
            self.all_comes()
        if not self.accepts:
            return
        for end in (self.server, self.client):
            assert end.taken == len(self.other(end).data)
            assert not end.asked
        for side in ("server", "client"):
            if not self.end(side).has_ended:
                self.say_end(side)
        for _ in range(3):
            self.all_comes()
        assert self.server.over and self.client.over


class NetworkTests(SynchronousTestCase):
    """
    Any course of events, see :class:`Network`.
    """

    def test_any_network(self) -> None:
        run_state_machine_as_test(Network, settings=settings(stateful_step_count=50))
