"""
What a server counts of its connections, whatever happens to them: it holds all the while, and nothing is left of it
when they are gone.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import AuthorizedKeys, Limits, SodiumServerProtocol
from sodiumtwist.core.states import State
from sodiumtwist.protocol.lifecycle import Stage

from ..checkers import LateChecker
from ..desk import Desk
from ..logs import logged
from ..pair import (
    CLIENT_PAIR,
    LOGIN,
    Boom,
    MemoryTransport,
    make_client_factory,
    make_server_factory,
)
from ..versions import each_version, spoken

#: Few enough to be reached by chance.
LIMITS = Limits(
    connections=5,
    unauthenticated=3,
    per_address=3,
    failures_per_address=3,
    failures_per_login=3,
    stranger_lines=2,
    client_lines=2,
    unread=300_000,
)

HOSTS = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])
#: One of the last few: those that came earlier are mostly gone.
ANY = st.integers(1, 4)


class Link:
    """A client, and a transport of the server for each of the two."""

    def __init__(self, factory: Any, client: Any, host: str) -> None:
        self.client = client
        protocol = factory.buildProtocol(IPv4Address("TCP", host, 4711))
        self.client_transport = MemoryTransport(client)
        client.makeConnection(self.client_transport)
        self.transport = MemoryTransport(protocol, host)
        # A proxy's lies between the two.
        self.above: Any = protocol
        protocol.makeConnection(self.transport)

    def move(self) -> None:
        """Bytes go both ways until none can."""
        moved = True
        while moved:
            moved = False
            for sender, receiver in (
                (self.client_transport, self.transport),
                (self.transport, self.client_transport),
            ):
                if sender.out and receiver.reading and not receiver.disconnected:
                    receiver.protocol.dataReceived(sender.take(receiver.bufferSize))
                    sender.drained()
                    moved = True

    def settle(self) -> None:
        """What is closed ends, as the reactor sees to it."""
        if self.transport.disconnected:
            return
        if self.transport.aborting or (self.transport.disconnecting and not self.transport.out):
            self.transport.lose(self.transport.farewell)


class Counters(RuleBasedStateMachine):
    """A server, and all that clients, strangers, its application and the time can do to it."""

    @initialize(keys=st.booleans(), proxied=st.booleans())
    def begin(self, keys: bool, proxied: bool) -> None:
        self.clock, self.checker, self.desk = Clock(), LateChecker(), Desk()
        self.server = make_server_factory(
            self.clock,
            None,
            checker=self.checker,
            respond=self.desk,
            limits=LIMITS,
            authorized_keys=AuthorizedKeys([(CLIENT_PAIR.public, None)]) if keys else None,
        )
        self.proxied = proxied
        self.factory = HAProxyWrappingFactory(self.server) if proxied else self.server
        self.factory.doStart()
        self.links: list[Link] = []
        self.answered = 0

    def pick(self, number: int) -> Link:
        return self.links[-min(number, len(self.links))]

    @rule(host=HOSTS, listed=st.booleans())
    def connect(self, host: str, listed: bool) -> None:
        client = make_client_factory(self.clock, pair=CLIENT_PAIR if listed else None)
        protocol = client.buildProtocol(IPv4Address("TCP", "192.0.2.9", 1))
        link = Link(self.factory, protocol, host)
        if self.proxied:
            family = b"TCP6" if ":" in host else b"TCP4"
            header = b"PROXY %s %s 192.0.2.9 4711 5555\r\n" % (family, host.encode())
            link.client_transport.out[:0] = header
        self.links.append(link)

    @rule(host=HOSTS)
    def come_in(self, host: str) -> None:
        """Connect and be let in, as far as there is a place."""
        self.connect(host, listed=True)
        asked = len(self.checker.answers)
        self.links[-1].move()
        for answer in self.checker.answers[asked:]:
            answer.callback(LOGIN.encode())
        self.links[-1].move()

    @precondition(lambda self: self.links)
    @rule(number=ANY)
    def move(self, number: int) -> None:
        self.pick(number).move()

    @precondition(lambda self: self.links)
    @rule(number=ANY, size=st.sampled_from([1, 400, 5000]))
    def garbage(self, number: int, size: int) -> None:
        transport = self.pick(number).transport
        if transport.reading and not transport.disconnected:
            transport.protocol.dataReceived(os.urandom(size))

    @precondition(lambda self: self.answered < len(self.checker.answers))
    @rule(good=st.sampled_from([True, True, False, None]))
    def decide(self, good: bool | None) -> None:
        answer = self.checker.answers[self.answered]
        self.answered += 1
        if not answer.called:
            if good:
                answer.callback(LOGIN.encode())
            else:
                answer.errback(UnauthorizedLogin() if good is False else OSError("down"))

    @precondition(lambda self: self.links)
    @rule(number=ANY, count=st.integers(1, 8))
    def ask(self, number: int, count: int) -> None:
        link = self.pick(number)
        client = link.client
        if client._lifecycle.stage is Stage.OPEN and client._connection.state is State.OPEN:
            for _ in range(count):
                if spoken() == 1:
                    client.send_data(b"?")
                else:
                    client._connection.send_request(b"?")
            client._sent()
            link.move()

    @precondition(lambda self: self.desk.answering)
    @rule(number=ANY, size=st.sampled_from([0, 1000, 100_000]), good=st.sampled_from([True, True, True, False]))
    def answer(self, number: int, size: int, good: bool) -> None:
        answering = self.desk.answering.pop(number % len(self.desk.answering))
        if not answering.called:
            if good:
                answering.callback(bytes(size))
            else:
                answering.errback(Boom())

    @precondition(lambda self: self.links)
    @rule(number=ANY, action=st.sampled_from(["pause", "resume", "close", "abort", "server close", "server abort"]))
    def act(self, number: int, action: str) -> None:
        link = self.pick(number)
        ends = [end for end in self.server.connections if end._below.transport in (link.transport, link.above)]
        if action.startswith("server"):
            for end in ends:
                end.close() if action == "server close" else end.abort(Boom())
        elif action == "pause":
            link.client_transport.reading = False
        elif action == "resume":
            link.client_transport.resumeProducing()
        elif action == "close":
            link.client.close()
        else:
            link.client.abort()

    @precondition(lambda self: self.links)
    @rule(number=ANY, in_order=st.booleans())
    def lose(self, number: int, in_order: bool) -> None:
        link = self.pick(number)
        if not link.transport.disconnected:
            link.transport.lose(ConnectionDone() if in_order else ConnectionLost())

    @precondition(lambda self: self.links)
    @rule(number=ANY)
    def settle(self, number: int) -> None:
        self.pick(number).settle()

    @rule(seconds=st.sampled_from([0, 0, 1, 5, 30]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def counts(self) -> None:
        if not hasattr(self, "server"):
            return
        admission = self.server.admission
        places: dict[SodiumServerProtocol, str | None] = admission._addresses
        known = [where for where in places.values() if where is not None]
        assert admission._counts == {where: known.count(where) for where in known}
        assert all(count <= LIMITS.per_address for count in admission._counts.values())
        assert set(places) <= self.server.connections
        assert len(places) <= LIMITS.connections
        strangers, deciding = set(admission._strangers), set(admission._deciding)
        assert not strangers & deciding and strangers | deciding <= set(places)
        # Who was admitted is no stranger; all others that have a place are.
        assert {end for end in places if end.peer is None} == strangers | deciding
        assert len(strangers | deciding) <= LIMITS.unauthenticated

    @invariant()
    def unread(self) -> None:
        if not hasattr(self, "server"):
            return
        unread = self.server.unread
        assert unread is not None
        outboxes = [end._outbox for end in self.server.connections if end._outbox._unread is not None]
        assert 0 <= sum(outbox._noted for outbox in outboxes) <= unread.seeming
        assert all(outbox._kept >= 0 for outbox in outboxes)
        assert sum(outbox._measure() for outbox in outboxes) <= unread.seeming
        assert unread.seeming <= unread.most

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        for link in self.links:
            for transport in (link.transport, link.client_transport):
                if not transport.disconnected:
                    transport.lose(ConnectionLost())
        self.factory.doStop()
        admission, unread = self.server.admission, self.server.unread
        assert unread is not None
        unread.look()
        assert unread.seeming == 0
        left = (admission._addresses, admission._strangers, admission._deciding, admission._counts)
        assert left == ({}, {}, {}, {}), left
        assert (self.server.connections, admission._per_address) == (set(), {})
        assert all(kind._count is None for kind in vars(admission.lines).values())
        assert admission._connections.turned_away == admission._unauthenticated.turned_away == 0
        assert self.clock.getDelayedCalls() == [], self.clock.getDelayedCalls()


@each_version
class CountersTests(SynchronousTestCase):
    def test_whatever_happens(self) -> None:
        logged(self)
        run_state_machine_as_test(Counters, settings=settings(max_examples=40, stateful_step_count=50))
        self.flushLoggedErrors(Boom)
