"""
Two real ends in memory to which anything may happen, in any order, and what must hold all the while.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from sodiumtwist import (
    AuthorizedKeys,
    ISodiumTransport,
    LocalProtocolError,
    NotDone,
    Peer,
    SodiumClientProtocol,
    SodiumServerProtocol,
)
from sodiumtwist.admission.replays import IReplayMemory
from sodiumtwist.core.connection import Bounds
from sodiumtwist.core.events import AnswerReceived, Event, FailureReceived, RequestReceived
from sodiumtwist.interfaces import BROKEN_OFF
from sodiumtwist.protocol import base
from sodiumtwist.protocol.base import SodiumProtocol
from sodiumtwist.protocol.lifecycle import TABLE, Lifecycle, Stage, Turn
from sodiumtwist.protocol.reading import APPLICATION, CHOKED, WRITING

from ..checkers import LateChecker
from ..logs import Observer
from ..pair import (
    CLIENT_PAIR,
    SERVER_PAIR,
    Boom,
    MemoryTransport,
    Pair,
    build,
    make_client_factory,
    make_server_factory,
    without_padding,
)
from ..versions import spoken

#: How many bytes the transports here hold before they are full: a few small PDUs.
ROOM = 300
#: After a few PINGs that have no PONG nothing more is looked at, in version 2.
FEW_PONGS = Bounds(pongs=3)

#: What an application does by itself or inside a hook.
ACTIONS = (
    "send", "send", "much", "ping", "pause", "resume", "push", "pull", "unregister", "close", "abort", "leave", "stop"
)  # fmt: skip
#: What is added in version 2.
ACTIONS_2 = ("ask", "ask", "answer", "drain", "tell")
#: Inside a hook it may also fail, or do nothing.
REACTIONS = (*ACTIONS, "fail", "nothing", "nothing", "nothing")


#: The same in the version that is spoken. It is asked for with each draw: the rules are made once.
ACTION = st.builds(spoken).flatmap(lambda version: st.sampled_from(ACTIONS if version == 1 else ACTIONS + ACTIONS_2))
REACTION = st.builds(spoken).flatmap(
    lambda version: st.sampled_from(REACTIONS if version == 1 else REACTIONS + ACTIONS_2)
)


class Life:
    """
    What happened to one end.

    :ivar plan: what its application does in its next hooks, one in each.
    :ivar sent: the payloads that it was allowed to send, in order.
    :ivar received: the payloads that it got.
    :ivar authenticated: how often it was.
    :ivar ends: the reasons with which it was told that it is over.
    :ivar ended_by: how the application ended it first: ``"close"`` or ``"abort"``.
    :ivar aborted: whether it has broken it off, first or later.
    :ivar paused: whether it wants nothing for now.
    :ivar pings: how many PINGs have Deferreds that have not fired.
    :ivar asked: the requests of its own that have no answer.
    :ivar open: the requests of the other end that it has not answered.
    :ivar producers: those that it has registered.
    """

    def __init__(self) -> None:
        self.plan: deque[str] = deque()
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.authenticated = 0
        self.ends: list[Failure] = []
        self.ended_by: str | None = None
        self.paused = self.aborted = False
        self.pings = 0
        self.asked: set[int] = set()
        self.open: list[int] = []
        self.producers: list[Source] = []


class Living(SodiumProtocol):
    """An application that does what its plan says."""

    def __init__(self) -> None:
        self.life = Life()

    @property
    def stage(self) -> Stage:
        return self._lifecycle.stage

    # Hooks

    def authenticated(self) -> None:
        life = self.life
        assert not life.ends and life.ended_by is None
        assert self.is_authenticated
        life.authenticated += 1
        assert life.authenticated == 1
        self.react()

    def payload_received(self, payload: bytes) -> None:
        life = self.life
        assert not life.ends and life.ended_by is None
        assert life.authenticated and not life.paused
        life.received.append(payload)
        self.react()

    def connection_lost(self, reason: Failure) -> None:
        self.life.ends.append(reason)
        assert len(self.life.ends) == 1, self.life.ends
        assert not self.is_authenticated
        self.react(may_fail=False)

    def _take_event(self, event: Event) -> None:
        assert not self.life.ends
        if isinstance(event, RequestReceived):
            self.life.open.append(event.id)
            self.react()
        elif isinstance(event, (AnswerReceived, FailureReceived)):
            self.life.asked.remove(event.id)
            self.react()
        else:
            super()._take_event(event)

    def _idle(self) -> bool:
        return not self.life.open

    def react(self, may_fail: bool = True) -> None:
        """Do the next of what is planned."""
        if self.life.plan:
            action = self.life.plan.popleft()
            if action == "fail":
                if may_fail:
                    self.ended("abort")
                    raise Boom
            elif action != "nothing":
                self.act(action)

    # What an application may do at any time

    def ended(self, how: str) -> None:
        """The application ends it, if nothing did before."""
        self.life.aborted = self.life.aborted or how == "abort"
        if self.life.ended_by is None and not self._lifecycle.over:
            self.life.ended_by = how

    def act(self, action: str) -> None:
        if action == "send":
            self.send(20)
        elif action == "much":
            self.send(200)
        elif action == "ping":
            self.life.pings += 1
            self.ping().addBoth(self.answered)
        elif action == "pause":
            self.life.paused = True
            self.pauseProducing()
        elif action == "resume":
            self.life.paused = False
            self.resumeProducing()
        elif action in ("push", "pull"):
            source: Any = PushingSource(self) if action == "push" else PullingSource(self)
            self.life.producers.append(source)
            try:
                self.registerProducer(source, action == "push")
            except RuntimeError:
                self.life.producers.remove(source)
        elif action == "unregister":
            for source in self.life.producers:
                source.registered = False
            self.unregisterProducer()
        elif action == "leave":
            # As whoever has the transport alone does; it must come to the same as close(). Not when it is closed
            # already: the transport is then told to wait for its peer no longer.
            if not self._lifecycle.over:
                self.ended("close")
                self.transport.loseConnection()
        elif action == "stop":
            # It is broken off at the next turn, if it is not closed by then.
            self.life.paused = self.life.aborted = True
            self.stopProducing()
        elif action == "close":
            self.ended("close")
            self.close()
        elif action == "ask":
            self.ask()
        elif action == "answer":
            self.answer()
        elif action == "drain":
            self.drain()
        elif action == "tell":
            self.ended("abort")
            self.abort_with(0x80000001, "enough")
        else:
            self.ended("abort")
            self.abort()

    def send(self, size: int) -> None:
        sent = self.life.sent
        # Before the call: what is sent from within it comes behind.
        payload = len(sent).to_bytes(4, "big").ljust(size, b"\0")
        sent.append(payload)
        try:
            self.send_data(payload)
        except LocalProtocolError:
            assert sent.pop() is payload

    def ask(self) -> None:
        try:
            self.life.asked.add(self._connection.send_request(b"?"))
        except LocalProtocolError:
            return
        self._sent()

    def answer(self) -> None:
        """Answer all that is open; nobody hears it where all is over."""
        while self.life.open:
            try:
                self._connection.send_answer(self.life.open.pop(), b"!")
            except LocalProtocolError:
                continue
            self._sent()
        if self.version == 2 and self._connection.peer_ended:
            self._end_if_idle()

    def answered(self, _: float | Failure) -> None:
        """A PING has its PONG, or never will."""
        self.life.pings -= 1
        self.react(may_fail=False)


class LivingServer(Living, SodiumServerProtocol):
    pass


class LivingClient(Living, SodiumClientProtocol):
    pass


class Source:
    """
    A producer whose application acts as it is paused, resumed and stopped.

    :ivar registered: whether the application has not unregistered it.
    :ivar stops: how often it was stopped.
    """

    def __init__(self, end: Living) -> None:
        self.end = end
        self.registered = True
        self.stops = 0

    def resumeProducing(self) -> None:
        assert not self.stops
        self.end.react(may_fail=False)

    def stopProducing(self) -> None:
        self.stops += 1
        assert self.stops == 1
        self.end.react(may_fail=False)


@implementer(IPushProducer)
class PushingSource(Source):
    def pauseProducing(self) -> None:
        assert not self.stops
        self.end.react(may_fail=False)


@implementer(IPullProducer)
class PullingSource(Source):
    """Sends a little each time it is asked, and has enough when it was asked five times."""

    def __init__(self, end: Living) -> None:
        super().__init__(end)
        self.pulls = 0

    def resumeProducing(self) -> None:
        assert not self.stops
        self.pulls += 1
        if self.pulls == 5:
            self.registered = False
            self.end.unregisterProducer()
        else:
            self.end.react()
            self.end.send(30)


@implementer(IReplayMemory)
class LateMemory:
    """Says that handshakes are new, when the test wants it."""

    def __init__(self, answers: list[Deferred[Any]], late: bool) -> None:
        self._answers = answers
        self._late = late

    def knows(self, fingerprint: bytes) -> bool:
        return False

    def remember(self, fingerprint: bytes) -> bool | Deferred[bool]:
        if not self._late:
            return True
        answer: Deferred[bool] = Deferred()
        self._answers.append(answer)
        return answer


class LivingTransport(MemoryTransport):
    """A transport with little room. As TLS does, it reads on while it closes in order."""

    write_ended = False

    def write(self, data: bytes) -> None:
        if self.write_ended:
            raise AssertionError("written after our direction was shut")
        super().write(data)
        if self.producer is not None and len(self.out) > ROOM and not self.producer_paused:
            self.producer_paused = True
            self.producer.pauseProducing()

    def loseConnection(self) -> None:
        self.disconnecting = True

    def lose(self, reason: Exception) -> None:
        assert not self.disconnected
        super().lose(reason)


@implementer(ISodiumTransport)
class HalfClosingTransport(LivingTransport):
    """It can end one direction alone, and reads nothing when it closes, as a socket's does."""

    peer = Peer(None, SERVER_PAIR.public, IPv4Address("TCP", "192.0.2.1", 4711))

    def loseConnection(self) -> None:
        self.reading = False
        super().loseConnection()

    def loseWriteConnection(self) -> None:
        assert not self.disconnecting and not self.aborting
        self.write_ended = True

    def write_now(self, data: bytes) -> None:
        self.write(data)

    def breakConnection(self, why: str = BROKEN_OFF) -> None:
        self.abortConnection()

    def startTLS(self, contextFactory: object, normal: bool = True) -> None:
        raise NotImplementedError


class LivingPair(Pair[LivingServer, LivingClient]):
    """Ends a direction where the other end has shut it."""

    def __init__(self, server: LivingServer, client: LivingClient, transport: type[LivingTransport]) -> None:
        self.size = 1000
        self._read_size = lambda: self.size
        self.server, self.client = server, client
        self.server_transport: LivingTransport = transport(server)
        self.client_transport: LivingTransport = transport(client)
        server.makeConnection(self.server_transport)
        client.makeConnection(self.client_transport)

    def _move(self, sender: MemoryTransport, receiver: MemoryTransport) -> bool:
        if super()._move(sender, receiver):
            return True
        assert isinstance(sender, LivingTransport)
        if sender.write_ended and not sender.out and not sender.disconnected:
            if receiver.reading and not receiver.disconnected:
                receiver.lose(ConnectionDone())
                return True
        return False


SIDES = st.sampled_from(["server", "client"])


@dataclass
class Circumstances:
    """
    In which two ends are connected.

    :ivar keys: whether the client has to prove its key.
    :ivar late_checker: whether it takes time to check its login.
    :ivar late_memory: whether it takes time to remember its handshake.
    :ivar half_closes: whether the transports are as those of sockets, or as those of TLS.
    :ivar begun: whether they know each other before anything else happens.
    :ivar perils: what may end it. Not everything can every time, or no life would be a long one.
    :ivar paused: whose application has paused from the beginning.
    :ivar read_ahead: how many bytes are read ahead for one that has.
    """

    keys: bool
    late_checker: bool
    late_memory: bool
    half_closes: bool
    begun: bool
    perils: set[str]
    paused: str
    read_ahead: int


CIRCUMSTANCES = st.builds(
    Circumstances,
    begun=st.sampled_from([True, True, False]),
    perils=st.sets(st.sampled_from(["close", "abort", "lose", "time", "refuse"]), min_size=1, max_size=3),
    paused=st.sampled_from(["", "", "server", "client"]),
    read_ahead=st.sampled_from([0, 1, 100, 1000]),
)


class Lives(RuleBasedStateMachine):
    """
    Everything that an application, a peer, a network and the time can do to two ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self.observer = Observer()
        globalLogPublisher.addObserver(self.observer)
        # Every change of a stage is a turn of the table, and nothing else changes one.
        self.stages: dict[int, tuple[Lifecycle, Stage]] = {}
        self.really_take = Lifecycle.take
        machine = self

        def take(lifecycle: Lifecycle, turn: Turn) -> bool:
            return machine.take(lifecycle, turn)

        self.really_ahead: int = vars(base)["READ_AHEAD"]
        Lifecycle.take = take  # type: ignore[method-assign,assignment]  # its parameter has a name of its own

    def take(self, lifecycle: Lifecycle, turn: Turn) -> bool:
        before = lifecycle.stage
        _, known = self.stages.get(id(lifecycle), (lifecycle, Stage.UNMADE))
        assert before is known
        taken = self.really_take(lifecycle, turn)
        after = TABLE[before].get(turn)
        assert taken is (after is not None)
        assert lifecycle.stage is (before if after is None else after)
        self.stages[id(lifecycle)] = (lifecycle, lifecycle.stage)
        return taken

    @initialize(circumstances=CIRCUMSTANCES)
    def begin(self, circumstances: Circumstances) -> None:
        self.perils = circumstances.perils
        self.half_closes = circumstances.half_closes
        self.read_ahead = vars(base)["READ_AHEAD"] = circumstances.read_ahead
        self.disturbed = False
        self.clock = Clock()
        self.checker = LateChecker() if circumstances.late_checker else None
        self.late: list[Deferred[Any]] = []
        self.server_factory = make_server_factory(
            self.clock,
            LivingServer,
            self.checker,
            authorized_keys=AuthorizedKeys([(CLIENT_PAIR.public, None)]) if circumstances.keys else None,
            replays=LateMemory(self.late, circumstances.late_memory),
            bounds=FEW_PONGS,
        )
        client_factory = make_client_factory(self.clock, LivingClient, pair=CLIENT_PAIR, bounds=FEW_PONGS)
        # No size is drawn: a life that went wrong goes wrong again.
        for factory in (self.server_factory, client_factory):
            without_padding(factory)
        server, client = build(self.server_factory, LivingServer), build(client_factory, LivingClient)
        self.pair = LivingPair(server, client, HalfClosingTransport if self.half_closes else LivingTransport)
        if circumstances.begun:
            self.meet()
        if circumstances.paused:
            self.end(circumstances.paused)[0].act("pause")

    @precondition(lambda self: all(end.stage is Stage.GONE for end, _ in self.ends))
    @rule(circumstances=CIRCUMSTANCES)
    def begin_again(self, circumstances: Circumstances) -> None:
        """Two others are connected, when those before are gone."""
        self.finish()
        self.begin(circumstances)

    def meet(self) -> None:
        self.pair.flush()
        while self.undecided():
            self.undecided()[0].callback(True)
            self.pair.flush()

    def undecided(self) -> list[Deferred[Any]]:
        """What a checker or a memory has not answered."""
        answers = [*(self.checker.answers if self.checker is not None else ()), *self.late]
        return [answer for answer in answers if not answer.called]

    def end(self, side: str) -> tuple[Living, LivingTransport]:
        if side == "server":
            return self.pair.server, self.pair.server_transport
        return self.pair.client, self.pair.client_transport

    def other_end(self, side: str) -> tuple[Living, LivingTransport]:
        return self.end("client" if side == "server" else "server")

    @property
    def ends(self) -> list[tuple[Living, LivingTransport]]:
        return [self.end("server"), self.end("client")]

    # What can happen

    def allowed(self, action: str) -> str:
        """What ends a connection is done only where it may be."""
        peril = {"leave": "close", "fail": "abort", "stop": "abort", "tell": "abort"}.get(action, action)
        return "send" if peril in ("close", "abort") and peril not in self.perils else action

    @rule(side=SIDES, actions=st.lists(ACTION, min_size=1, max_size=4))
    def act(self, side: str, actions: list[str]) -> None:
        for action in map(self.allowed, actions):
            self.end(side)[0].act(action)

    @rule(side=SIDES, count=st.integers(1, 5), plan=st.lists(REACTION, max_size=4))
    def say(self, side: str, count: int, plan: list[str]) -> None:
        """An end sends, and the other reads that at once, and does what it has planned."""
        (end, transport), (other, receiving) = self.end(side), self.other_end(side)
        other.life.plan.extend(map(self.allowed, plan))
        for _ in range(count):
            end.act("send")
        self.pair._move(transport, receiving)

    @rule(side=SIDES, plan=st.lists(REACTION, min_size=1, max_size=5))
    def plan(self, side: str, plan: list[str]) -> None:
        self.end(side)[0].life.plan.extend(map(self.allowed, plan))

    @rule(side=SIDES, size=st.sampled_from([1, 30, 60, 200, 1000]))
    def read(self, side: str, size: int) -> None:
        """An end reads once."""
        (_, receiver), (_, sender) = self.end(side), self.other_end(side)
        self.pair.size = size
        self.pair._move(sender, receiver)
        self.pair.size = 1000

    @rule()
    def flush(self) -> None:
        self.pair.flush()

    @rule(side=SIDES)
    def pour(self, side: str) -> None:
        """A transport delivers what has come, paused or not, as TLS does."""
        (end, transport), (_, other) = self.end(side), self.other_end(side)
        if other.out and not (transport.disconnected or transport.disconnecting or transport.aborting):
            end.dataReceived(other.take(10_000))
            other.drained()

    @rule(seconds=st.sampled_from([0, 0.1, 0.5]))
    def wait_a_little(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: "time" in self.perils)
    @rule(seconds=st.sampled_from([1, 5, 60, 181]))
    def wait(self, seconds: float) -> None:
        self.disturbed = True
        self.clock.advance(seconds)

    @precondition(lambda self: self.undecided())
    @rule()
    def let_in(self) -> None:
        """What was asked longest ago is answered."""
        self.undecided()[0].callback(True)

    @precondition(lambda self: "refuse" in self.perils and self.undecided())
    @rule(answer=st.sampled_from([None, False, UnauthorizedLogin(), Boom(), OSError("no")]))
    def keep_out(self, answer: bool | Exception | None) -> None:
        """The answer is no, or there is none: too many logins have failed elsewhere."""
        self.disturbed = True
        if answer is None:
            self.pair.server.stop_checking()
        elif isinstance(answer, Exception):
            self.undecided()[0].errback(Failure(answer))
        else:
            self.undecided()[0].callback(answer)

    @precondition(lambda self: "lose" in self.perils)
    @rule(side=SIDES, reason=st.sampled_from([ConnectionDone, ConnectionDone, ConnectionLost]))
    def lose(self, side: str, reason: type[Exception]) -> None:
        """A transport ends, of whatever cause, paused or not."""
        _, transport = self.end(side)
        if not transport.disconnected:
            self.disturbed = True
            transport.lose(reason())

    # What must hold

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "pair"):
            return
        server, client = self.pair.server, self.pair.client
        for end, transport in self.ends:
            life = end.life
            if transport.disconnected:
                assert len(life.ends) == 1 or end.stage is Stage.HELD
            else:
                assert not life.ends
            # Nobody but its application keeps it.
            assert end.stage is not Stage.HELD or end._reading.reasons & APPLICATION
            assert (end.stage is Stage.GONE) is (len(life.ends) == 1)
            assert end._lifecycle.over or end.stage is Stage.ENDING or life.ended_by is None
            assert len(life.asked) == len(end._connection.unanswered)
            assert not transport.disconnected or not transport.out or end.stage is not Stage.OPEN
            self.holds_while_paused(end, transport)
        for sender, receiver in ((server, client), (client, server)):
            assert receiver.life.received == sender.life.sent[: len(receiver.life.received)]
            self.is_complete(sender, receiver)
        for event in self.observer.events:
            if (failure := event.get("log_failure")) is not None:
                assert failure.check(Boom), failure.getTraceback()

    def is_complete(self, sender: Living, receiver: Living) -> None:
        """An end of version 2 that is told of an end in order, and has not closed itself, has got all that was sent."""
        life = receiver.life
        if spoken() == 2 and life.ended_by is None and not life.aborted and life.authenticated and life.ends:
            (reason,) = life.ends
            assert reason.check(ConnectionDone, NotDone), reason
            if reason.check(ConnectionDone):
                assert life.received == sender.life.sent
                assert not life.asked

    def holds_while_paused(self, end: Living, transport: LivingTransport) -> None:
        """No more is read ahead than may be, nothing waits for an application that takes it, and all is read for it."""
        reading = end._reading
        if end.stage is not Stage.OPEN:
            return
        # The DATA that fills it up is the last.
        assert reading.room > -200 - 46
        if not end.life.paused and not reading.reasons & WRITING:
            assert not reading.reasons & ~CHOKED and reading.room == self.read_ahead
        choked = bool(reading.reasons & CHOKED)
        assert not choked or end._outbox.blocked
        stopped = reading.stopped and (reading.room <= 0 or choked)
        assert reading.paused is stopped
        assert transport.reading is not stopped or transport.disconnecting

    def must_deliver(self, sender: Living, receiver: Living) -> bool:
        """Tell whether all that was sent must have arrived: the sender closed in order, and nothing came between."""
        closed = sender.life.ended_by == "close" and not sender.life.aborted
        # Who closes earlier has heard nothing: its transport is closed at once, and what crosses that resets it.
        known = sender.life.authenticated > 0
        stays = receiver.life.ended_by is None and not receiver.life.aborted
        return closed and known and stays and not self.disturbed

    def teardown(self) -> None:
        try:
            if hasattr(self, "pair"):
                self.finish()
        finally:
            Lifecycle.take = self.really_take  # type: ignore[method-assign]
            vars(base)["READ_AHEAD"] = self.really_ahead
            globalLogPublisher.removeObserver(self.observer)

    def finish(self) -> None:
        """Let all come to its end: nothing more is done, and nobody pauses."""
        server, client = self.pair.server, self.pair.client
        for end, _ in self.ends:
            end.life.plan.clear()
            end.act("resume")
            end.act("answer")
        self.meet()
        for _ in range(4):
            for end, _transport in self.ends:
                end.act("answer")  # what has come meanwhile
            self.clock.advance(5)
            self.pair.flush()
        for sender, receiver in ((server, client), (client, server)):
            if self.must_deliver(sender, receiver):
                (reason,) = receiver.life.ends
                # Without half-closing, bytes that cross the end of version 1 reset the connection, and what was not
                # read is lost.
                if spoken() == 1 and not self.half_closes and reason.check(ConnectionLost):
                    continue
                assert reason.check(ConnectionDone), reason
                assert receiver.life.received == sender.life.sent
        for end, transport in self.ends:
            if not transport.disconnected:
                transport.lose(ConnectionDone())
            assert len(end.life.ends) == 1
            assert end.life.pings == 0
            for source in end.life.producers:
                assert not source.registered or source.stops == 1
        self.holds()
        self.server_factory.admission.stop()
        assert self.clock.getDelayedCalls() == [], self.clock.getDelayedCalls()
        assert not self.server_factory.connections
