"""
However often somebody does it, the log stays small: every line that a peer can cause at will is summed up.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer

from sodiumtwist import Limits, Peer, SodiumServerFactory, SodiumServerProtocol
from sodiumtwist.admission.summed_lines import LINES_PERIOD
from sodiumtwist.interfaces import ISodiumAvatar
from sodiumtwist.protocol.requests import Responder
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.stores import Store, StreamStore

from ..checkers import AnyChecker
from ..logs import logged
from ..pair import (
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    Boom,
    MemoryTransport,
    Pair,
    build,
    make_client_factory,
    make_server_factory,
)
from ..versions import each_version, spoken

#: How many lines of one kind are allowed here; and how often somebody does what causes one.
FEW = 5
MANY = 40

#: The sums about clients that are let in, and leave.
SERVED = (f"{MANY - FEW} more logins", f"{MANY - FEW} more clients that left")

LIMITS = Limits(stranger_lines=FEW, client_lines=FEW, failures_per_address=1000, failures_per_login=1000)


class Failing(SodiumServerProtocol):
    """An application with a mistake."""

    def payload_received(self, payload: bytes) -> None:
        raise Boom


def fail(*arguments: object) -> bytes:
    raise Boom


@each_version
class FloodTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events = logged(self)

    def factory(self, **more: object) -> SodiumServerFactory:
        return make_server_factory(self.clock, **{"limits": LIMITS, **more})  # type: ignore[arg-type]

    def flood(self, act: Callable[[], object], *others: str, connections: int = MANY) -> list[LogEvent]:
        """
        Do it over and over. Of each kind of line there are few, and a sum a minute later.

        :param others: the sums, but for that of connections.
        :param connections: how many there are in all.
        """
        expected = [*others, f"{connections - FEW} more connections"]
        for _ in range(MANY):
            act()
        self.flushLoggedErrors()
        lines = [formatEvent(event) for event in self.events]
        self.assertLessEqual(len(lines), (FEW + 1) * len(expected), lines)
        self.clock.advance(LINES_PERIOD)
        sums = [formatEvent(event) for event in self.events][len(lines) :]
        self.assertEqual(sorted(line.partition(" in 60")[0] for line in sums), sorted(expected))
        return self.events

    def session(self, factory: SodiumServerFactory, payload: bytes | None = None, **client: str) -> None:
        """A client comes, sends something, and leaves."""
        pair = Pair(factory, make_client_factory(self.clock, **client))  # type: ignore[arg-type]
        pair.flush()
        if payload is not None and factory.protocol is Responder and spoken() == 2:
            pair.client._connection.send_request(payload)
            pair.client._sent()
        elif payload is not None:
            pair.client.send_data(payload)
        pair.client.close()
        pair.flush()
        self.clock.advance(0)
        pair.flush()
        pair.server_transport.lose(pair.server_transport.farewell)

    def test_strangers(self) -> None:
        """That open connections and close them."""
        factory = self.factory()

        def knock() -> None:
            end = build(factory, SodiumServerProtocol)
            transport = MemoryTransport(end)
            end.makeConnection(transport)
            transport.lose(ConnectionDone())

        self.flood(knock, f"{MANY - FEW} more refusals")

    def test_wrong_logins(self) -> None:
        factory = self.factory()
        self.flood(lambda: self.session(factory, passphrase="wrong"), f"{MANY - FEW} more refusals")

    def test_checker_that_fails(self) -> None:
        """Each is a traceback and a refusal."""
        factory = self.factory(checker=AnyChecker(fail))
        self.flood(lambda: self.session(factory), f"{MANY - FEW} more refusals", f"{MANY - FEW} more failures")

    def test_checker_that_refuses(self) -> None:
        def refuse(credentials: object) -> bytes:
            raise UnauthorizedLogin

        factory = self.factory(checker=AnyChecker(refuse))
        self.flood(lambda: self.session(factory), f"{MANY - FEW} more refusals")

    def test_valid_client(self) -> None:
        """One in a loop: its limit is another one."""
        factory = self.factory()
        events = self.flood(lambda: self.session(factory), *SERVED)
        (logins,) = (line for event in events if "more logins" in (line := formatEvent(event)) and "in 60" in line)
        self.assertIn(f"most often: as {LOGIN!r}", logins)

    def test_application_that_fails(self) -> None:
        factory = self.factory(protocol=Failing)
        self.flood(lambda: self.session(factory, b"x"), *SERVED, f"{MANY - FEW} more failures")

    def test_request_that_fails(self) -> None:
        def respond(peer: Peer, payload: bytes) -> bytes:
            raise Boom

        factory = self.factory(protocol=None, respond=respond)
        self.flood(lambda: self.session(factory, b"x"), *SERVED, f"{MANY - FEW} more failures")

    def test_logout_that_fails(self) -> None:
        @implementer(IRealm)
        class Realm:
            def requestAvatar(self, avatar: object, mind: object, *interfaces: type[Interface]) -> Any:
                return ISodiumAvatar, None, fail

        portal = Portal(Realm(), [AnyChecker(lambda credentials: b"")])
        factory = self.factory(checker=portal)
        self.flood(lambda: self.session(factory), *SERVED, f"{MANY - FEW} more failures")

    def test_dropped_clients(self) -> None:
        """That break the protocol once they are in."""
        factory = self.factory()

        def break_off() -> None:
            pair = Pair(factory, make_client_factory(self.clock))
            pair.flush()
            pair.server.dataReceived(bytes(1000))
            pair.server_transport.lose(pair.server_transport.farewell)

        self.flood(break_off, f"{MANY - FEW} more logins", f"{MANY - FEW} more dropped clients")

    def test_uploads(self) -> None:
        factory = UploadFactory(
            Store(), SERVER_PAIR, AnyChecker(lambda _: PASSPHRASE.encode()), clock=self.clock, limits=LIMITS
        )
        self.flood(lambda: self.session(factory, b"x"), *SERVED, f"{MANY - FEW} more lines about uploads")

    def test_uploads_that_wait(self) -> None:
        """For a FIFO's reader, each until its client leaves."""
        fifo = os.path.join(tempfile.mkdtemp(prefix="sodiumtwist-test-"), "fifo")
        self.addCleanup(shutil.rmtree, os.path.dirname(fifo))
        os.mkfifo(fifo)
        factory = UploadFactory(
            StreamStore(fifo, self.clock, 180),
            SERVER_PAIR,
            AnyChecker(lambda _: PASSPHRASE.encode()),
            clock=self.clock,
            limits=LIMITS,
        )
        self.flood(
            lambda: self.session(factory, b"x"),
            f"{MANY - FEW} more logins",
            f"{2 * MANY - FEW} more lines about uploads",
            # Of version 2 it does not close in order: its upload has no end.
            f"{MANY - FEW} more {'dropped clients' if spoken() == 2 else 'clients that left'}",
        )

    def test_blocks(self) -> None:
        """Many logins, each blocked for a while and tried again."""
        factory = self.factory(
            limits=Limits(stranger_lines=FEW, failures_per_login=1, failures_per_address=1000, failure_seconds=600)
        )
        logins = iter(range(MANY))
        self.flood(
            lambda: self.session(factory, login=f"login {next(logins)}"),
            f"{MANY - FEW} more refusals",
            f"{MANY - FEW} more lines about blocked logins",
        )

    def test_limit_that_comes_and_goes(self) -> None:
        factory = self.factory(limits=Limits(stranger_lines=FEW, unauthenticated=1))

        def come_and_go() -> None:
            transports = []
            for _ in range(2):
                end = build(factory, SodiumServerProtocol)
                transports.append(MemoryTransport(end))
                end.makeConnection(transports[-1])
            for transport in transports:
                transport.lose(transport.farewell)

        self.flood(
            come_and_go,
            f"{2 * MANY - FEW} more lines about limits",
            f"{MANY - FEW} more refusals",
            connections=2 * MANY,
        )

    def test_stop(self) -> None:
        """Who is dropped when the server stops is summed up as well; nothing is left behind."""
        factory = self.factory()
        factory.doStart()
        transports = []
        for _ in range(MANY):
            end = build(factory, SodiumServerProtocol)
            transports.append(MemoryTransport(end))
            end.makeConnection(transports[-1])
        factory.doStop()
        for end in list(factory.connections):
            end.abort(Boom())
        for transport in transports:
            transport.lose(transport.farewell)
        lines = [formatEvent(event) or "" for event in self.events]
        self.assertEqual(len(lines), 2 * (FEW + 2))
        for what in ("connections", "refusals"):
            self.assertEqual(sum(f"{MANY - FEW} more {what} in " in line for line in lines), 1, lines)
        self.assertEqual(self.clock.getDelayedCalls(), [])
