"""
Two ends of a connection with bytes on the way between them, and what each must hear of the other.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Generic, TypeVar, Union

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from nacl import bindings

from sodiumtwist.core.connection import PENDING_LIMIT, ClientConnection, ServerConnection
from sodiumtwist.core.errors import (
    AuthenticationFailed,
    AuthenticationTimeout,
    DecryptionFailed,
    InactivityTimeout,
    MalformedPDU,
    NonceMismatch,
    PongTimeout,
    RemoteProtocolError,
    ReplayDetected,
)
from sodiumtwist.core.events import (
    Authenticated,
    AuthenticationRequested,
    DataReceived,
    Event,
    KeyProven,
    PingReceived,
    PongReceived,
)
from sodiumtwist.core.keepalive import Timeouts
from sodiumtwist.core.states import State
from sodiumtwist.core.version import RekeyAfter

from .peers import CLIENT_PAIR, CLOCK, DATA, NOW, PING, PONG, SERVER_PAIR, WINDOW, Options, pack_client_auth, wire_of

#: How many received bytes may wait when all events were taken.
BOUNDS = {
    State.NEW: 0,
    State.AWAITING_CLIENT_AUTH: 399,
    State.AWAITING_SERVER_HELO: 235,
    State.AWAITING_PROOF: 28,
    State.OPEN: WINDOW + 16,
    State.SILENT: 0,
    State.CLOSED: 0,
}

#: The states in which the time for authentication runs, but for SILENT, where it ends otherwise.
BEFORE_OPEN = {
    State.NEW,
    State.AWAITING_CLIENT_AUTH,
    State.DECIDING,
    State.AWAITING_PROOF,
    State.AWAITING_SERVER_HELO,
}

DECISIONS = st.sampled_from(["accept", "prove", "accept", "prove", "ignore", "reject"])
REKEY = st.sampled_from([RekeyAfter(), RekeyAfter(size=1), RekeyAfter(size=200), RekeyAfter(seconds=20)])


C = TypeVar("C", ServerConnection, ClientConnection)


class End(Generic[C]):
    """
    One end of the connection.

    :ivar coming: the bytes on the way to it.
    :ivar come: all that were ever on the way to it, as they were sent.
    :ivar ended: whether the end of its input comes behind them.
    :ivar said: type and content of each PDU that it sent.
    :ivar heard: type and content of each PDU that it received.
    :ivar pings: when its unanswered PINGs left, and whether they were its own.
    :ivar unheard: when those that it had to send left since it heard anything.
    :ivar waits: whether one of these waits for its transport.
    :ivar peer_pings: when it could hear PINGs first, and when it heard them.
    :ivar gaps: the times between those.
    :ivar ping_interval: how long it waits between its PINGs.
    :ivar owed: how many PONGs it owes.
    :ivar heard_at: when what it last received came, ``None`` before it is open.
    :ivar ping_at: when its next PING is due.
    :ivar rekey_at: when its next key is due.
    :ivar over: whether its transport is closed.
    :ivar paused_at: since when it reads nothing, ``None`` when it does.
    :ivar blocked_at: since when its transport takes nothing, ``None`` when it does.
    """

    def __init__(self, connection: C) -> None:
        self.connection: C = connection
        self.coming = bytearray()
        self.come = bytearray()
        self.ended = False
        self.said: list[tuple[int, bytes | int]] = []
        self.heard: list[tuple[int, bytes | int]] = []
        self.pings: deque[tuple[float, bool]] = deque()
        self.unheard: list[float] = []
        self.waits = False
        self.peer_pings: list[float] = []
        self.gaps: list[float] = []
        self.ping_interval = math.inf
        self.owed = 0
        self.heard_at: float | None = None
        self.ping_at = self.rekey_at = math.inf
        self.over = False
        self.paused_at: float | None = None
        self.blocked_at: float | None = None

    @property
    def paused(self) -> bool:
        return self.paused_at is not None

    @property
    def own(self) -> int:
        """How many PINGs of its own are unanswered."""
        return sum(own for _, own in self.pings)

    def heard_something(self, now: float) -> None:
        self.heard_at = now
        self.unheard = [sent_at for sent_at in self.unheard if sent_at >= now]

    def until_next_ping(self) -> float:
        """How long it waits, with no jitter, before the next PING that it has to send."""
        if self.paused_at is None:
            return self.ping_interval
        return min(self.ping_interval, max(min(self.gaps, default=self.paused_at - self.peer_pings[-1]), 1))

    def gone_at(self, inactivity: float) -> float:
        """When the other counts as gone."""
        assert self.heard_at is not None
        if self.paused_at is not None:
            return math.inf
        if self.blocked_at is not None:
            return max(self.blocked_at, self.heard_at) + inactivity
        if not self.unheard:
            return math.inf
        return max(self.heard_at + inactivity, self.unheard[0] + (1 - 2 / 3) * inactivity)

    @property
    def may_send(self) -> bool:
        return self.connection.state in (State.OPEN, State.AWAITING_SERVER_HELO)


AnyEnd = Union[End[ServerConnection], End[ClientConnection]]


class Ends(RuleBasedStateMachine):
    """
    What the ends do, each step checked against what the other said.
    """

    @initialize(
        may_harm=st.sampled_from([False, False, True]),
        may_close=st.sampled_from([False, False, True]),
        begun=st.sampled_from(["open", "proving", "open", "proving", "nothing", "undecided", "stranger"]),
        at_once=st.one_of(DECISIONS, st.none()),
        rekey=REKEY,
        inactivity=st.sampled_from([180, 30]),
        answers_late=st.sampled_from([False, False, True]),
    )
    def begin(
        self,
        may_harm: bool,
        may_close: bool,
        begun: str,
        at_once: str | None,
        rekey: RekeyAfter,
        inactivity: int,
        answers_late: bool,
    ) -> None:
        """
        :param begun: what has happened before anything else can.
        :param at_once: how the server decides inside its iteration; ``None`` for later.
        :param answers_late: whether PINGs are answered later than inside the iteration.
        """
        self.now = NOW
        self.may_harm = may_harm
        self.may_close = may_close
        self.harmed = self.forged = False
        self.at_once = None if begun == "undecided" else at_once
        self.decision: str | None = None
        self.proven = False
        self.rekey = rekey
        self.inactivity = inactivity
        self.answers_late = answers_late
        timeouts = Timeouts(inactivity=inactivity)
        options: Options = {"timeouts": timeouts, "draw": lambda: 0, "rekey": rekey}
        client = ClientConnection(SERVER_PAIR.public, "username", "passphrase", NOW, CLIENT_PAIR, **options)
        self.client = End(client)
        self.server = End(ServerConnection(SERVER_PAIR, NOW, **options))
        self.server.ping_interval = self.client.ping_interval = min(60.0, inactivity / 3)
        self.write(self.client, wire_of(client.initiate))
        if begun == "stranger":
            self.forge_client_auth()
        elif begun == "undecided":
            self.say(self.client, [b"early", None], [None])
        elif begun != "nothing":
            self.at_once = "prove" if begun == "proving" else "accept"
            self.deliver(self.server)
            self.deliver(self.client)

    def forge_client_auth(self) -> None:
        """A stranger's handshake in the name of the client's key, and what he seals with another, come first."""
        forged = pack_client_auth(CLIENT_PAIR.public, bytes(range(24)), login=b"forged")
        self.server.coming[:] = bindings.crypto_box_seal(forged, SERVER_PAIR.public) + bytes(46)
        self.harmed = True

    def end(self, side: str) -> AnyEnd:
        return self.server if side == "server" else self.client

    def other(self, end: AnyEnd) -> AnyEnd:
        return self.client if end is self.server else self.server

    def write(self, end: AnyEnd, data: bytes) -> None:
        """Put bytes on the way to the other end."""
        other = self.other(end)
        if not other.ended:
            other.coming += data
            other.come += data

    def hang_up(self, end: AnyEnd) -> None:
        """The transport of an end is closed."""
        end.over = True
        self.other(end).ended = True

    def opened(self, end: AnyEnd) -> None:
        end.heard_at = self.now
        end.ping_at = self.now + end.ping_interval
        end.peer_pings = [self.now]
        end.rekey_at = self.now + self.rekey.seconds

    def hear(self, end: AnyEnd, event: Event) -> None:
        assert not end.over
        if isinstance(event, AuthenticationRequested):
            assert end is self.server and self.decision is None and end.connection.state is State.DECIDING
            self.forged = self.harmed and event.login == "forged"
            login = "forged" if self.forged else "username"
            assert (event.login, event.passphrase, event.public_key) == (login, "passphrase", CLIENT_PAIR.public)
            if self.at_once is not None:
                self.decide(self.at_once)
            return
        if isinstance(event, Authenticated):
            assert end is self.client and end.heard_at is None and event.message == "Hello."
            assert not self.forged and self.decision in ("accept", "prove")
            self.opened(end)
            return
        if isinstance(event, KeyProven):
            assert end is self.server and self.decision == "prove" and not self.proven and not self.forged
            self.proven = True
            self.opened(end)
            return
        # Nobody reaches a server that has not let him in.
        assert end is self.client or self.decision == "accept" or (self.decision == "prove" and self.proven)
        assert end.heard_at is not None
        end.heard_something(self.now)
        heard: tuple[int, bytes | int]
        if isinstance(event, DataReceived):
            heard = DATA, event.payload
        elif isinstance(event, PingReceived):
            heard = PING, event.timestamp
            end.owed += 1
            end.gaps.append(self.now - end.peer_pings[-1])
            end.peer_pings.append(self.now)
        else:
            assert isinstance(event, PongReceived)
            heard = PONG, event.timestamp
            sent_at, own = end.pings.popleft()
            assert event.asked is own
            # More of those that it had to send than are told apart have the time of an earlier one.
            assert event.latency == self.now - sent_at or (not own and event.latency > self.now - sent_at)
        said = self.other(end).said
        assert len(end.heard) < len(said) and heard == said[len(end.heard)]
        end.heard.append(heard)
        if not self.answers_late:
            self.answer(end)

    def take(self, end: AnyEnd, events: Iterable[Event], count: int | None = None) -> None:
        """Take as many events, ``None`` for all there are."""
        try:
            for event in islice(events, count):
                self.hear(end, event)
        except RemoteProtocolError as error:
            assert self.harmed and not end.over
            assert type(error) in (DecryptionFailed, NonceMismatch), error
            assert end.connection.state is State.CLOSED
            self.hang_up(end)
            return
        connection = end.connection
        if count is None and connection.state is not State.DECIDING:
            assert connection.buffered <= BOUNDS[connection.state]
        if connection.state is State.SILENT:
            assert self.harmed or self.decision == "ignore"

    def deliver(self, end: AnyEnd, size: int | None = None, count: int | None = None) -> None:
        if end.paused and not end.over:
            return
        if end.connection.state is State.DECIDING:
            room = max(PENDING_LIMIT - end.connection.buffered, 0)
            size = room if size is None else min(size, room)
        piece = bytes(end.coming[:size])
        del end.coming[: len(piece)]
        before = end.connection.buffered
        events = end.connection.receive_data(piece, self.now)
        if end.connection.state in (State.CLOSED, State.SILENT):
            assert end.connection.buffered == 0
        else:
            assert end.connection.buffered == before + len(piece)
        self.take(end, events, count)

    def deliver_end(self, end: AnyEnd) -> None:
        """All that was on the way has come, and now the end of it."""
        connection = end.connection
        state, waits = connection.state, connection.buffered
        error = None
        try:
            connection.receive_eof()
        except RemoteProtocolError as raised:
            error = raised
        assert connection.state is State.CLOSED
        if end.over:
            assert error is None
            return
        self.hang_up(end)
        if state is State.SILENT:
            assert type(error) is (ReplayDetected if self.decision == "ignore" else DecryptionFailed)
        elif state is State.DECIDING:
            assert error is None
        elif state is State.AWAITING_SERVER_HELO:
            assert type(error) is AuthenticationFailed
        elif waits:
            assert self.harmed and type(error) is MalformedPDU
        elif state is State.AWAITING_PROOF:
            assert type(error) is AuthenticationFailed
        else:
            # The header of a PDU may have come, and been taken from what waits.
            assert error is None or (self.harmed and type(error) is MalformedPDU)
            assert self.harmed or end.heard == self.other(end).said

    @precondition(lambda self: self.server.connection.state is State.DECIDING)
    @rule(decision=DECISIONS)
    def decide(self, decision: str) -> None:
        server = self.server.connection
        self.decision = decision
        if decision == "reject":
            server.reject()
            assert server.state is State.CLOSED
            self.hang_up(self.server)
        elif decision == "ignore":
            server.ignore()
            assert server.state is State.SILENT
        else:
            self.write(self.server, wire_of(server.accept, self.now, "Hello.", prove=decision == "prove"))
            if decision == "accept":
                self.opened(self.server)

    def say(self, end: AnyEnd, sayings: Iterable[bytes | None], sizes: Iterable[int | None]) -> None:
        """Send payloads, and a PING for each ``None``; some of it comes at once, in pieces of these sizes."""
        for saying in sayings:
            if saying is not None:
                self.write(end, wire_of(end.connection.send_data, saying))
                end.said.append((DATA, saying))
            elif end.own < 3:
                self.ping(end)
        for size in sizes:
            self.deliver(self.other(end), size)

    def ping(self, end: AnyEnd, own: bool = True) -> None:
        timestamp = CLOCK + len(end.said)
        self.write(end, wire_of(end.connection.send_ping, self.now, timestamp))
        end.said.append((PING, timestamp))
        end.pings.append((self.now, own))

    def answer(self, end: AnyEnd) -> None:
        while end.owed and end.may_send:
            timestamp = CLOCK - end.owed
            self.write(end, wire_of(end.connection.send_pong, timestamp))
            end.said.append((PONG, timestamp))
            end.owed -= 1

    def check_time_out(self, end: AnyEnd, state: State, error: RemoteProtocolError) -> None:
        if state is State.SILENT:
            assert type(error) is (ReplayDetected if self.decision == "ignore" else DecryptionFailed)
        elif state in BEFORE_OPEN:
            assert type(error) is AuthenticationTimeout
        elif type(error) is PongTimeout:
            assert len(end.unheard) == 3 and not end.paused and end.blocked_at is None
        else:
            assert type(error) is InactivityTimeout
            assert self.now >= end.gone_at(self.inactivity)
        if state in BEFORE_OPEN:
            assert self.now >= NOW + 10
