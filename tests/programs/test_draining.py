"""
How long connections get when a service is stopped: ``--drain-timeout`` of both services.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import SodiumClientFactory, SodiumServerProtocol
from sodiumtwist.programs import tap, tunneltap
from sodiumtwist.programs.door import DOOR_POLL, DOOR_TIME
from sodiumtwist.programs.listening import STOP_TIMEOUT, ListeningService
from sodiumtwist.programs.tunneltap import TunnelService
from sodiumtwist.protocol.draining import CUT_TIME

from ..logs import logged
from ..pair import MemoryTransport, Pair, RecordingClient
from ..processes import PUBLIC, SECRET
from ..test_tunnel import Backend

TUNNEL = ("--listen", "tcp:0", "--to", "tcp:127.0.0.1:1", "--server-key", PUBLIC)


class DrainTimeoutTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.events = logged(self)

    def log(self) -> list[str | None]:
        return [formatEvent(event) for event in self.events if event.get("event") == "draining"]

    def until_stopped(self, service: ListeningService, flush: Callable[[], object] = lambda: None) -> float:
        """Stop it; tell how many seconds that took."""
        took = self.until(service.stopService(), flush)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return took

    def until(self, stopped: Deferred[None], flush: Callable[[], object] = lambda: None) -> float:
        """Wait until it has stopped; tell how many seconds that took."""
        began = self.reactor.seconds()
        while not stopped.called:
            flush()
            self.reactor.advance(0.05)
            self.assertLess(self.reactor.seconds() - began, 100)
        return self.reactor.seconds() - began

    def test_refused(self) -> None:
        """What is no time, or too long, is refused in one line."""
        for seconds in ("-1", "nan", "inf", "3601", "long"):
            for options, given in ((tap.Options(), ("-k", SECRET, "--discard")), (tunneltap.Options(), TUNNEL)):
                error = self.assertRaises(SystemExit, options.parseOptions, [*given, "--drain-timeout", seconds])
                self.assertRegex(str(error.code), "--drain-timeout takes a number of seconds[^\n]*not '?[a-z0-9-]+'?")

    def test_server(self) -> None:
        """Its clients get that time, and a moment more to read that it is over."""
        for given, seconds in ((("--drain-timeout", "3"), 3), (("--drain-timeout", "0"), 0)):
            options = tap.Options()
            options.parseOptions(["-k", SECRET, "--discard", *given])
            service = tap.makeService(options, self.reactor)
            service.startService()
            self.assertFalse(service.is_draining)
            client_factory = SodiumClientFactory(
                bytes.fromhex(PUBLIC), "username", "passphrase", RecordingClient, clock=self.reactor
            )
            pair: Pair[SodiumServerProtocol, RecordingClient] = Pair(service._factory, client_factory)
            pair.flush()
            took = self.until_stopped(service, pair.flush)
            self.assertTrue(seconds <= took <= seconds + CUT_TIME + 0.5, took)
            self.assertTrue(service.is_draining)
            line = f"stopping; clients that get {seconds} seconds to finish, unless SIGTERM or Ctrl-C comes again: 1"
            self.assertEqual(self.log().pop(), line)

    def knocked(self, *given: str) -> tuple[ListeningService, Pair[SodiumServerProtocol, RecordingClient]]:
        """Start a server at which somebody has just connected."""
        options = tap.Options()
        options.parseOptions(["-k", SECRET, "--discard", *given])
        service = tap.makeService(options, self.reactor)
        service.startService()
        client_factory = SodiumClientFactory(
            bytes.fromhex(PUBLIC), "username", "passphrase", RecordingClient, clock=self.reactor
        )
        return service, Pair(service._factory, client_factory)

    def test_at_the_door(self) -> None:
        """Who had connected is let in, and told that the server stops, as those are who came before."""
        service, pair = self.knocked()
        stopped = service.stopService()
        self.assertFalse(pair.client.is_authenticated)
        self.reactor.advance(DOOR_TIME - 0.1)
        pair.flush()
        self.assertTrue(pair.client.is_authenticated)
        self.assertFalse(pair.client.is_draining)
        self.reactor.advance(DOOR_POLL)
        pair.flush()
        self.assertTrue(pair.client.is_draining)
        pair.client.close()
        self.until(stopped, pair.flush)

    def test_silent_at_the_door(self) -> None:
        """Who says nothing has no business there; nor has anybody when it is to go fast, or all will be broken off."""
        for given, signal_at, ends in ((), 99, DOOR_TIME), ((), 0.5, 0.5), (("--drain-timeout", "0"), 99, 0):
            service, pair = self.knocked(*given)
            transport: Any = pair.server.transport
            service.stopService()
            for seconds in range(10):
                if seconds / 4 == signal_at:
                    service.hurry()
                if transport.aborting:
                    break
                self.reactor.advance(0.25)
            self.assertEqual(seconds / 4, ends)
            for call in self.reactor.getDelayedCalls():
                call.cancel()

    def tunnel(self, *given: str) -> tuple[TunnelService, MemoryTransport, MemoryTransport]:
        """Start one, with a connection; give the transports of both ends."""
        options = tunneltap.Options()
        options.parseOptions([*TUNNEL, *given])
        service = tunneltap.makeService(options, self.reactor)
        service.startService()
        service._factory.endpoint = backend = Backend()
        entry = service._factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        inside = MemoryTransport(entry)
        entry.makeConnection(inside)
        return service, inside, backend.succeed()

    def test_tunnel(self) -> None:
        """It takes no new connections, and those that are there go on to their end."""
        service, inside, outside = self.tunnel()
        stopped = service.stopService()
        self.assertTrue(service.is_draining)
        self.assertEqual(service._ports, [])
        line = "stopping; connections that get 10 seconds to end, unless SIGTERM or Ctrl-C comes again: 1"
        self.assertEqual(self.log(), [line])
        self.reactor.advance(9)
        inside.protocol.dataReceived(b"still")
        self.assertEqual(bytes(outside.out), b"still")
        self.assertFalse(inside.aborting or outside.aborting)
        self.assertNoResult(stopped)
        for end in (inside, outside):
            end.lose(ConnectionDone())
        self.reactor.advance(0.01)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_tunnel_in_time(self) -> None:
        """Who takes longer is broken off when the time is over, or when another signal comes."""
        for given, signal_at, ends in (
            (("--drain-timeout", "3"), 99, 3),
            ((), 2, 2),
            (("--drain-timeout", "0"), 99, 0),
        ):
            service, inside, outside = self.tunnel(*given)
            self.reactor.callLater(signal_at, service._note_another)
            stopped = service.stopService()
            self.reactor.advance(max(0, ends - 0.1))
            self.assertEqual(inside.aborting, ends == 0)
            self.reactor.advance(0.2)
            self.assertTrue(inside.aborting and outside.aborting, given)
            self.reactor.advance(STOP_TIMEOUT)
            self.assertIsNone(self.successResultOf(stopped))
            for end in (inside, outside):
                end.lose(ConnectionDone())

    def test_idle_tunnel(self) -> None:
        """Where nothing is connected nothing is waited for, and nothing said."""
        options = tunneltap.Options()
        options.parseOptions([*TUNNEL])
        service = tunneltap.makeService(options, self.reactor)
        service.startService()
        self.assertEqual(self.until_stopped(service), 0)
        self.assertEqual(self.log(), [])
