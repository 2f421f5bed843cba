"""
``--metrics`` of both services: the site is there from before they listen until all is over.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import formatEvent
from twisted.python.failure import Failure

from sodiumtwist.programs import tunneltap
from sodiumtwist.programs.status_companion import EXAMPLE_METRICS, SITE_CONNECTIONS, descriptors_beside
from sodiumtwist.programs.tap import makeService
from sodiumtwist.tunnel import TunnelFactory

from ..logs import logged
from ..processes import PUBLIC
from .test_tap import TapTestCase


class Connected(StringTransport):
    """A transport that tells how it was closed."""

    aborting = False

    def abortConnection(self) -> None:
        self.aborting = True


class StatusTests(TapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = MemoryReactorClock()
        self.events = logged(self)

    def serve(self, *arguments: str) -> Any:
        return makeService(self.parse(*arguments), self.reactor)

    @property
    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def start(self, service: Any) -> None:
        service.privilegedStartService()
        service.startService()

    def ask(self, path: str) -> str:
        """Ask the site for something."""
        site: Any = self.reactor.tcpServers[0][1]
        protocol, transport = site.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.reactor.advance(0)
        protocol.connectionLost(Failure(ConnectionDone()))
        value: bytes = transport.value()
        return value.decode()

    def test_places(self) -> None:
        """A port alone is on loopback; a line says where it is."""
        self.start(self.serve("--metrics", "9100", "--endpoint", "5555"))
        places = [(server[0], server[3]) for server in self.reactor.tcpServers]
        self.assertEqual(places, [(9100, "127.0.0.1"), (5555, "127.0.0.1")])
        # The reactor in memory says so of each port.
        self.assertIn("metrics, health and a page are at 0.0.0.0:9100", self.lines)
        self.assertNotIn("whoever can reach", "\n".join(self.lines))

    def test_no_port(self) -> None:
        """The port of sessions, which other addresses have by default, is not for this."""
        for place in "10.0.0.5", "localhost", "9100x", "*", "::1", "[::1]":
            error = self.assertRaises(SystemExit, self.serve, "--metrics", place)
            self.assertEqual(str(error), f"sodium: --metrics {place}: there is no port; give one, as {EXAMPLE_METRICS}")
        for place in "localhost:9100", "*:9100", "[::1]:9100", "tcp:9100", ":9100", "unix:x":
            self.serve("--metrics", place)

    def test_not_asked_for(self) -> None:
        """Without the option nothing counts, and nothing is listened on."""
        service = self.serve()
        self.start(service)
        self.assertEqual((service.companions, len(self.reactor.tcpServers)), ([], 1))
        self.assertIsNone(service._factory.observer)

    def test_from_elsewhere(self) -> None:
        """Who else can read it is told."""
        self.start(self.serve("--metrics", "tcp:9100", "--passphrase", "x"))
        self.assertIn("whoever can reach tcp:9100 sees who is connected", "\n".join(self.lines))

    def test_health(self) -> None:
        """From starting to draining: a balancer learns that no more is to come, while clients finish."""
        service = self.serve("--metrics", "9100")
        service.privilegedStartService()
        self.assertIn("200 OK", self.ask("/healthz"))
        service.startService()
        self.assertIn("\r\nok\n", self.ask("/healthz"))
        left: Deferred[None] = Deferred()
        self.patch(service, "drain", lambda: left)
        stopped = service.stopService()
        self.assertIn("503", self.ask("/healthz"))
        self.assertIn("draining\n", self.ask("/healthz"))
        left.callback(None)
        self.successResultOf(stopped)

    def test_stopped(self) -> None:
        """At the end it is gone, with its connections and its timers."""
        service = self.serve("--metrics", "9100")
        self.start(service)
        site: Any = self.reactor.tcpServers[0][1]
        protocol, transport = site.buildProtocol(None), Connected()
        protocol.makeConnection(transport)
        self.successResultOf(service.stopService())
        self.assertTrue(transport.aborting)

    def test_cannot_listen(self) -> None:
        """A taken port ends the start with one line."""

        def taken(*arguments: Any, **keywords: Any) -> Any:
            raise CannotListenError("127.0.0.1", 9100, OSError(98, "Address already in use"))

        service = self.serve("--metrics", "9100")
        self.patch(self.reactor, "listenTCP", taken)
        self.assertRaises(SystemExit, service.privilegedStartService)
        self.assertIn("sodium: cannot listen on tcp:9100:interface=127.0.0.1: Address already in use", self.lines)

    def test_wrong(self) -> None:
        """A string that is none ends the program with one line, and --check finds it, too."""
        error = self.assertRaises(SystemExit, self.serve, "--metrics", "tcp:x:y=z")
        self.assertRegex(str(error.code), "^sodium: .*--metrics")

    def test_descriptors(self) -> None:
        """They are kept for its connections."""
        self.assertEqual(descriptors_beside(self.parse()), 0)
        self.assertEqual(descriptors_beside(self.parse("--metrics", "9100")), 1 + 2 * SITE_CONNECTIONS)

    def test_forward(self) -> None:
        """What comes out of streams is counted, too."""
        service = self.serve("--metrics", "9100", "--forward", "127.0.0.1:6379")
        tunnels = service._factory.application
        assert isinstance(tunnels, TunnelFactory)
        self.assertIsNotNone(tunnels.observer)
        self.assertIsNotNone(service._factory.observer)

    def test_tunnel(self) -> None:
        options = tunneltap.Options()
        options.parseOptions(
            ["--listen", "7000", "--to", "127.0.0.1:5555", "--server-key", PUBLIC, "-P", "x", "--metrics", "9100"]
        )
        service = tunneltap.makeService(options, self.reactor)
        self.start(service)
        self.assertIn("twistd sodium-tunnel", self.ask("/"))
        self.assertIn("0 connected", self.ask("/"))
