"""
The site of ``--metrics``: what it answers to whom, and how little it takes from anybody.
"""

from __future__ import annotations

import socket
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from sodiumtwist.operation.exposition import process_values
from sodiumtwist.operation.histograms import Histogram
from sodiumtwist.operation.service_status import ServiceStatus
from sodiumtwist.operation.site import (
    SITE_IDLE_SECONDS,
    SITE_SECONDS,
    STATUS_SECONDS,
    ShortConnections,
    StatusSite,
    is_name_of_ours,
)
from sodiumtwist.operation.status import Client, Clients, Health, IStatus
from sodiumtwist.operation.values import Value
from sodiumtwist.operation.workers_status import WorkersStatus
from sodiumtwist.programs.descriptors import opened

from ..ports import port_number
from ..test_work import peak

#: Status, headers and body.
Answer = tuple[int, dict[str, str], str]


@implementer(IStatus)
class Told:
    """
    What a test sets, each or a Deferred of it.

    :ivar numbers: what it tells.
    :ivar state: the same.
    :ivar here: the same.
    :ivar asked: how often it was asked for that.
    """

    def __init__(self) -> None:
        self.numbers: Any = []
        self.state: Any = Health()
        self.here: Any = Clients()
        self.asked = 0

    def metrics(self) -> Deferred[list[Value]]:
        return maybeDeferred(lambda: self.numbers)

    def health(self) -> Deferred[Health]:
        return maybeDeferred(lambda: self.state)

    def clients(self) -> Deferred[Clients]:
        self.asked += 1
        return maybeDeferred(lambda: self.here)


class Ended(StringTransport):
    """A transport that tells how it was closed."""

    aborting = False

    def abortConnection(self) -> None:
        self.aborting = True


class SiteTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.status, self.clock = Told(), Clock()
        site = StatusSite(self.status, self.clock, "sodium", ["Server.Example"])
        self.factory = ShortConnections(site, self.clock, 3)
        site.startFactory()
        self.addCleanup(site.stopFactory)

    def connect(self) -> Ended:
        self.protocol = self.factory.buildProtocol(None)
        transport = Ended()
        if self.protocol is not None:
            self.protocol.makeConnection(transport)
        return transport

    def ask(self, path: str, method: str = "GET", host: str | None = "127.0.0.1:9100") -> Answer:
        """Ask for something; return status, headers and body."""
        self.transport = transport = self.connect()
        header = "" if host is None else f"Host: {host}\r\n"
        version = "1.0" if host is None else "1.1"
        self.protocol.dataReceived(f"{method} {path} HTTP/{version}\r\n{header}\r\n".encode())
        return self.answer(transport)

    def answer(self, transport: Ended) -> Answer:
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.protocol.connectionLost(Failure(ConnectionDone()))
        return int(first.split()[1]), headers, body


class HealthTests(SiteTestCase):
    def test_states(self) -> None:
        """200 while new clients are taken, else 503; in a word."""
        for health, code, word in (
            (Health(), 200, "ok"),
            (Health(listening=False), 503, "not listening"),
            (Health(draining=True), 503, "draining"),
        ):
            self.status.state = health
            found, headers, body = self.ask("/healthz")
            self.assertEqual(found, code)
            self.assertIn(word, body)
            self.assertEqual(headers["content-type"], "text/plain; charset=utf-8")

    def test_balancer(self) -> None:
        """HAProxy asks without a name, by HEAD or OPTIONS or GET; Kubernetes by an address; both need no page."""
        for method, host in (("GET", None), ("GET", "10.1.2.3:9100"), ("GET", "anything.example"), ("HEAD", "x")):
            self.assertEqual(self.ask("/healthz", method, host)[0], 200)


class PageTests(SiteTestCase):
    def test_page(self) -> None:
        self.status.here = Clients(1, [Client("anna", "192.0.2.1:1", 2, 0.0, 1, 2)])
        transport = self.connect()
        self.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.clock.advance(0)
        code, headers, body = self.answer(transport)
        self.assertEqual((code, headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("<!DOCTYPE html>", body)
        self.assertIn("anna", body)

    def test_headers(self) -> None:
        """A browser loads nothing, keeps nothing, and is told not what serves it; of each path, also of none."""
        for path in ("/", "/healthz", "/nothing"):
            _, headers, _ = self.ask(path)
            self.assertEqual(
                headers["content-security-policy"],
                "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
                "frame-ancestors 'none'",
            )
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["cache-control"], "no-store")
            self.assertEqual(headers["connection"], "close")
            self.assertNotIn("server", headers)

    def test_names(self) -> None:
        """A page on the web must not have a browser read it by a name of its own that leads here."""
        for host in (
            "127.0.0.1",
            "127.0.0.1:9100",
            "[::1]:9100",
            "[::1]",
            "::1",
            "localhost:9100",
            "LOCALHOST",
            "localhost.",
            "server.example:1",
            socket.gethostname(),
            None,
        ):
            self.assertEqual(self.ask("/", host=host)[0], 200, host)
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:9100", "[evil]", "a:b:c"):
            code, _, body = self.ask("/", host=host)
            self.assertEqual(code, 403, host)
            self.assertIn("ask for this page by an address", body)

    def test_name_of_ours(self) -> None:
        self.assertTrue(is_name_of_ours("a.example:80", {"a.example"}))
        self.assertFalse(is_name_of_ours("b.example:80", {"a.example"}))


class BoundTests(SiteTestCase):
    """How little it takes."""

    def test_methods(self) -> None:
        """It is only read."""
        for path in ("/", "/metrics", "/healthz"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
                self.assertIn(self.ask(path, method)[0], (405, 501), method)
        self.assertEqual(self.ask("/", "HEAD")[2], "")
        self.assertEqual(self.ask("/nothing")[0], 404)
        self.assertEqual(self.ask("/metrics/more")[0], 404)

    def test_together(self) -> None:
        """However many ask for the page at once, it is made once."""
        waiting: Deferred[Clients] = Deferred()
        self.status.here = waiting
        self.factory = ShortConnections(StatusSite(self.status, self.clock, "sodium"), self.clock, 64)
        transports = []
        for _ in range(20):
            transports.append(self.connect())
            self.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.assertEqual(self.status.asked, 1)
        waiting.callback(Clients())
        for transport in transports:
            self.assertIn(b"0 connected", transport.value())
        self.factory.drop()

    def test_body(self) -> None:
        """What somebody sends with a request is dropped as it comes."""
        transport = self.connect()
        before = opened()
        self.protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        self.assertEqual(opened(), before)
        kept = peak(lambda: [self.protocol.dataReceived(bytes(10_000)) for _ in range(49)])
        self.assertLess(kept, 100_000)
        self.protocol.dataReceived(bytes(20_000))
        self.assertEqual(self.answer(transport)[0], 200)

    def test_connections(self) -> None:
        """A few at once; one more takes the place of the oldest, so nobody can keep health checks out."""
        transports = [self.connect() for _ in range(3)]
        self.assertEqual(self.ask("/healthz")[0], 200)
        self.assertEqual([transport.aborting for transport in transports], [True, False, False])

    def test_connections_that_leave(self) -> None:
        """Those that had to go have descriptors until they are gone, and count."""
        for _ in range(6):
            self.connect()
            self.assertIsNotNone(self.protocol)
        first = next(iter(self.factory.protocols))
        self.connect()
        self.assertIsNone(self.protocol)
        first.connectionLost(Failure(ConnectionDone()))
        self.connect()
        self.assertIsNotNone(self.protocol)
        self.factory.drop()

    def test_one_request(self) -> None:
        """A connection is closed behind its answer, as that says, whatever stands behind the request."""
        transport = self.connect()
        self.protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        self.assertEqual(transport.value().count(b"200 OK"), 1)
        self.assertTrue(transport.disconnecting)

    def test_times(self) -> None:
        """Each for a short time, whatever it sends; and for less where nothing comes."""
        quiet = self.connect()
        self.clock.advance(SITE_IDLE_SECONDS)
        self.assertTrue(quiet.disconnecting)
        slow = self.connect()
        self.protocol.dataReceived(b"GET / HTTP/1.1\r\n")
        for _ in range(int(SITE_SECONDS)):
            self.assertFalse(slow.aborting)
            self.clock.advance(1)
            self.protocol.dataReceived(b"X: y\r\n")
        self.assertTrue(slow.aborting)

    def test_dropped(self) -> None:
        """When the service stops, so do they, and no timer is left."""
        before = self.clock.getDelayedCalls()
        transports = [self.connect(), self.connect()]
        protocols = list(self.factory.protocols)
        self.factory.drop()
        self.assertTrue(all(transport.aborting for transport in transports))
        for protocol in protocols:
            protocol.connectionLost(connectionDone)
        self.assertEqual(self.clock.getDelayedCalls(), before)


class TroubleTests(SiteTestCase):
    """What becomes of it where the service can't tell."""

    def test_fails(self) -> None:
        self.status.state = fail(ValueError("boom"))
        self.assertEqual(self.ask("/healthz")[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_late(self) -> None:
        """Workers that do not answer keep nobody waiting for ever."""
        self.status.numbers = Deferred()
        transport = self.connect()
        self.protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.answer(transport)[0], 500)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_gone(self) -> None:
        """Who has left meanwhile gets no answer."""
        for result in (Health(), Failure(ValueError("boom"))):
            waiting: Deferred[Any] = Deferred()
            self.status.state = waiting
            transport = self.connect()
            self.protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            self.protocol.connectionLost(Failure(ConnectionDone()))
            waiting.callback(result)
            self.assertEqual(transport.value(), b"")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class Reading(Protocol):
    """Keeps what comes until the end."""

    def __init__(self) -> None:
        self.came = b""
        self.over: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.came += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over.callback(self.came)


class ScrapeTests(TestCase):
    """Prometheus' own resource, in a thread, over a socket; and its own parser."""

    async def scrape(self, status: Told, *headers: str) -> str:
        site = ShortConnections(StatusSite(status, reactor, "sodium"), reactor, 3)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(site)
        self.addCleanup(port.stopListening)
        asking: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", port_number(port)).connect(
            Factory.forProtocol(Reading)
        )
        lines = "".join(f"{header}\r\n" for header in headers)
        asking.transport.write(f"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n".encode())
        came = await asking.over
        self.head, _, body = came.decode().partition("\r\n\r\n")
        return "".join(body.split("\r\n")[1::2])  # without the sizes of chunks

    def test_scrape(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._test_scrape())

    async def _test_scrape(self) -> None:
        histogram = Histogram((0.1, 1.0))
        histogram.note(0.5)
        status = Told()
        values = [
            Value("sodiumtwist_connections_accepted_total", (), 3),
            Value("sodiumtwist_sessions", (("version", "2"), ("state", "open")), 2),
            *histogram.values("sodiumtwist_request_seconds", (("outcome", "answered"),)),
            *process_values(),
        ]
        status.numbers = values
        text = await self.scrape(status)
        self.assertIn("text/plain; version=0.0.4", self.head)
        families = {family.name: family for family in text_string_to_metric_families(text)}
        kinds = {name: family.type for name, family in families.items()}
        self.assertEqual(kinds["sodiumtwist_connections_accepted"], "counter")
        self.assertEqual(kinds["sodiumtwist_sessions"], "gauge")
        self.assertEqual(kinds["sodiumtwist_request_seconds"], "histogram")
        samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families.values() for s in f.samples}
        self.assertEqual(samples, {(value.name, tuple(sorted(value.labels))): value.number for value in values})
        self.assertEqual(families["sodiumtwist_sessions"].documentation[:11], "Connections")
        # As newer ones of Prometheus ask.
        open_text = await self.scrape(status, "Accept: application/openmetrics-text; version=1.0.0")
        self.assertIn("application/openmetrics-text", self.head)
        self.assertTrue(open_text.endswith("# EOF\n"))


class StatusTests(SynchronousTestCase):
    def test_interface(self) -> None:
        """What the site takes here, and in a service of one process or several, can be asked the same."""
        self.assertTrue(verifyObject(IStatus, Told()))
        for kind in (ServiceStatus, WorkersStatus):
            self.assertTrue(verifyClass(IStatus, kind))
