"""
Two dialogues of version 2 with each other, in any order of what both say and of what arrives: each hears what the
other said, and every request has one outcome.
"""

from __future__ import annotations

from collections import deque
from unittest.mock import patch

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

from sodiumtwist.core.events import (
    AnswerReceived,
    Authenticated,
    DataReceived,
    DrainReceived,
    EndReceived,
    Event,
    FailureReceived,
    PingReceived,
    PongReceived,
    RequestCancelled,
    RequestReceived,
)
from sodiumtwist.core.v2 import answerer, outgoing
from sodiumtwist.core.v2.incoming import Bounds

from .talk import ROOM, End

#: Large messages are of several parts of this size here.
PART = 100
SIDES = st.sampled_from(["client", "server"])
SIZES = st.sampled_from([0, 1, 50, PART, PART + 1, 3 * PART, 450, 900])
#: A message may have 500 bytes in the close ones, four parts of two messages may be put together, and so on.
CLOSE = Bounds(message=500, connection=700, requests=3, refused=500)
ROOMS = st.sampled_from([40, 150, 300, 1000, ROOM, ROOM, ROOM])


class Side(End):
    """
    One end, and what it must hear and have heard.

    :ivar coming: the bodies that the other one has sent and that have not come.
    :ivar asked: its requests without an outcome: the payload by id.
    :ivar asks: the peer's requests that it knows and has not answered, by id: whether they are cancelled.
    :ivar answers: what it has answered, by id.
    :ivar cancelled: the ids that it has cancelled, with no outcome yet.
    :ivar sent: the payloads of its DATA.
    """

    def __init__(self, server: bool, bounds: Bounds) -> None:
        super().__init__(server, bounds)
        self.bounds = bounds
        self.coming: deque[bytes] = deque()
        self.asked: dict[int, bytes] = {}
        self.heard_whole: set[int] = set()
        self.asks: dict[int, bool] = {}
        self.answers: dict[int, bytes | None] = {}
        self.cancelled: set[int] = set()
        self.sent: list[bytes] = []
        self.heard: list[bytes] = []
        self.pings: deque[int] = deque()
        self.owed: deque[int] = deque()
        self.welcomed = self.ended = self.drained = self.peer_ended = self.peer_drained = False
        self.counter = 0

    def payload(self, size: int) -> bytes:
        """A payload that no other one is equal to, if it's not too small."""
        self.counter += 1
        return (b"%d %d." % (self.counter, id(self) % 1000) + bytes(range(256)) * 4)[:size]


class Conversation(RuleBasedStateMachine):
    """What can happen between two ends that keep to the rules."""

    @initialize(close=st.sets(SIDES), reuse=st.booleans())
    def start(self, close: set[str], reuse: bool) -> None:
        self.patches = [patch.object(outgoing, "PART_SIZE", PART), patch.object(answerer, "PART_SIZE", PART)]
        for one in self.patches:
            one.start()
        self.client = Side(False, CLOSE if "client" in close else Bounds())
        self.server = Side(True, CLOSE if "server" in close else Bounds())
        # What one may send does not depend on what the other takes.
        self.client.dialogue._largest = self.server.dialogue._largest = Bounds.message
        self.reuse = reuse

    def side(self, name: str) -> Side:
        return self.client if name == "client" else self.server

    def other(self, side: Side) -> Side:
        return self.client if side is self.server else self.server

    # What is said

    @precondition(lambda self: not self.server.welcomed)
    @rule()
    def welcome(self) -> None:
        self.server.dialogue.welcome("Welcome.", 5)
        self.server.welcomed = True

    @rule(name=SIDES, size=SIZES)
    def request(self, name: str, size: int) -> None:
        side = self.side(name)
        if self.may_speak(side) and not side.ended and not side.peer_drained:
            if self.reuse:
                side.dialogue.asker._next = 0
            payload = side.payload(size)
            id = side.dialogue.request(payload)
            assert id not in side.asked
            side.asked[id] = payload

    @rule(name=SIDES, size=SIZES, which=st.integers(0, 100), fails=st.booleans())
    def answer(self, name: str, size: int, which: int, fails: bool) -> None:
        side = self.side(name)
        if side.asks:
            id = list(side.asks)[which % len(side.asks)]
            del side.asks[id]
            if fails:
                side.dialogue.fail(id, 7, "no")
                side.answers[id] = None
            else:
                side.answers[id] = side.payload(size)
                side.dialogue.answer(id, side.answers[id])  # type: ignore[arg-type]

    @rule(name=SIDES, which=st.integers(0, 100))
    def take_back(self, name: str, which: int) -> None:
        """An answer fails while parts of it have not left."""
        side = self.side(name)
        out = side.dialogue.outgoing
        large = [id for kind, id in (*out.large, *out.later) if kind >> 24 == 7]
        if large:
            id = large[which % len(large)]
            side.dialogue.fail(id, 9, "taken back")
            side.answers[id] = None

    @rule(name=SIDES, which=st.integers(0, 100))
    def cancel(self, name: str, which: int) -> None:
        side = self.side(name)
        if side.asked:
            id = list(side.asked)[which % len(side.asked)]
            side.dialogue.cancel(id)
            side.cancelled.add(id)

    @rule(name=SIDES, size=SIZES)
    def data(self, name: str, size: int) -> None:
        side = self.side(name)
        assert side.dialogue.may_send_data is (self.may_speak(side) and not side.ended)
        if side.dialogue.may_send_data:
            payload = side.payload(size)
            side.data(payload)
            side.sent.append(payload)

    @rule(name=SIDES, pongs=st.booleans())
    def ping_or_pong(self, name: str, pongs: bool) -> None:
        side = self.side(name)
        if pongs and side.owed:
            side.dialogue.pong()
            side.owed.popleft()
        elif self.may_speak(side):
            side.pings.append(side.counter)
            side.dialogue.ping(side.counter.to_bytes(8, "big"))
            side.counter += 1

    @rule(name=SIDES, rare=st.integers(0, 3))
    def end_or_drain(self, name: str, rare: int) -> None:
        side = self.side(name)
        if rare == 0 and self.may_speak(side) and not side.ended:
            side.dialogue.end(3)
            side.ended = True
        elif rare == 1 and side.welcomed and not side.drained:
            side.dialogue.drain()
            side.drained = True

    def may_speak(self, side: Side) -> bool:
        return side is self.client or side.welcomed

    # What leaves, and what arrives

    @rule(name=SIDES, room=ROOMS)
    def some_leaves(self, name: str, room: int) -> None:
        side = self.side(name)
        body = side.take(room)
        if body:
            self.other(side).coming.append(body)

    @rule(name=SIDES)
    def some_arrives(self, name: str) -> None:
        side = self.side(name)
        # A server looks at nothing before it has decided.
        if side.coming and (side is self.client or side.welcomed):
            for event in side.hear(side.coming.popleft()):
                self.check(side, self.other(side), event)

    def check(self, side: Side, other: Side, event: Event) -> None:
        """Check an event against what the other end has said."""
        if isinstance(event, RequestReceived):
            assert event.id not in side.asks
            assert other.asked[event.id] == event.payload
            side.asks[event.id] = False
            side.heard_whole.add(event.id)
        elif isinstance(event, AnswerReceived):
            assert other.answers.pop(event.id) == event.payload
            self.outcome(side, event.id)
        elif isinstance(event, FailureReceived):
            payload = side.asked[event.id]
            if event.code in (7, 9):
                assert other.answers.pop(event.id) is None
            elif event.code == 10:
                assert event.id in side.cancelled
                other.answers.pop(event.id, None)
            elif event.text.startswith("the answer"):
                answer = other.answers.pop(event.id)
                assert answer is not None and side.bounds is CLOSE
                assert (event.code == 5) is (len(answer) > 500)
            else:
                assert event.code in (3, 5) and other.bounds is CLOSE
                assert event.code == 3 or len(payload) > 500
            self.outcome(side, event.id)
        elif isinstance(event, RequestCancelled):
            assert event.id in other.cancelled and side.asks[event.id] is False
            side.asks[event.id] = True
        elif isinstance(event, DataReceived):
            side.heard.append(event.payload)
        elif isinstance(event, PingReceived):
            side.owed.append(event.timestamp)
        elif isinstance(event, PongReceived):
            assert event.timestamp == side.pings.popleft()
        elif isinstance(event, EndReceived):
            assert other.ended and side.heard == other.sent
            side.peer_ended = True
        elif isinstance(event, DrainReceived):
            assert other.drained
            side.peer_drained = True
        else:
            assert isinstance(event, Authenticated) and not side.welcomed
            side.welcomed = True

    def outcome(self, side: Side, id: int) -> None:
        """A request has its outcome: the only one."""
        del side.asked[id]
        side.cancelled.discard(id)
        self.other(side).heard_whole.discard(id)

    # What always holds

    @invariant()
    def counted(self) -> None:
        for side in (self.client, self.server):
            waiting = sum(sum(map(len, item)) if type(item) is tuple else 12 + len(item) for item in side.unsent.queue)
            out = side.dialogue.outgoing
            waiting += sum(large.size for large in (*out.large.values(), *out.later.values()))
            waiting += sum(len(piece) for item in side.dialogue.outgoing._behind_requests for piece in item)
            assert side.unsent.size == waiting
            assert side.heard == self.other(side).sent[: len(side.heard)]
            assert sorted(side.dialogue.unanswered) == sorted(side.asked)
            assert not side.dialogue.over or (side.ended and side.peer_ended and not side.asked and not side.asks)

    def teardown(self) -> None:
        if hasattr(self, "patches"):
            try:
                self.finish()
            finally:
                for one in self.patches:
                    one.stop()

    def finish(self) -> None:
        """In the end all has come, and it is over in order."""
        if not self.server.welcomed:
            self.welcome()
        for _ in range(2000):
            for side in (self.client, self.server):
                while side.asks:
                    self.answer("client" if side is self.client else "server", 50, 0, False)
                while side.owed:
                    side.dialogue.pong()
                    side.owed.popleft()
                if not side.ended:
                    side.dialogue.end()
                    side.ended = True
                name = "client" if side is self.client else "server"
                self.some_leaves(name, ROOM)
                self.some_arrives(name)
                self.counted()
            ends = (self.client, self.server)
            if all(end.dialogue.over and not (end.coming or end.owed or end.pings) for end in ends):
                break
        for side in (self.client, self.server):
            assert side.dialogue.over and side.dialogue.settled
            assert not side.asked and not side.pings and not side.coming
            assert side.heard == self.other(side).sent
            assert side.dialogue.pongs_owed == 0
            assert not side.dialogue.incoming.parts and not side.dialogue.incoming.held
            assert not side.dialogue.answerer._dropping


class ConversationTests(SynchronousTestCase):
    """
    Any course of a conversation, see :class:`Conversation`.
    """

    def test_any_conversation(self) -> None:
        run_state_machine_as_test(Conversation, settings=settings(max_examples=50, stateful_step_count=60))
