"""
What applications show of our objects in their logs: where, as whom and with which public key, and no secret.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    clientFromString,
    serverFromString,
)
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist import SingleLogin, SodiumClientEndpoint, SodiumServerEndpoint
from sodiumtwist.endpoints.streams import StreamClientFactory, StreamServerFactory
from sodiumtwist.protocol.sockets import describe_endpoint
from sodiumtwist.tunnel import TunnelFactory

from ..applications import Applications, StreamTestCase
from ..certificates import tls_contexts
from ..endpoint_files import EndpointFiles, hide_secrets
from ..pair import (
    CLIENT_PAIR,
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    RecordingClient,
    build,
    make_client_factory,
    make_server_factory,
)
from ..secret_texts import secrets_in

KEY = SERVER_PAIR.public.hex()


@implementer(IStreamClientEndpoint)
class Talkative:
    """An endpoint of somebody else's, whose repr shows all that it has."""

    def __init__(self, passphrase: str) -> None:
        self.passphrase = passphrase

    def __repr__(self) -> str:
        return f"Talkative({self.passphrase})"

    def connect(self, protocolFactory: IProtocolFactory) -> Any:
        raise NotImplementedError


class PlaceTests(SynchronousTestCase):
    """What is said of an endpoint below ours."""

    def test_classes(self) -> None:
        reactor: Any = MemoryReactorClock()
        for endpoint, described in (
            (TCP4ClientEndpoint(reactor, "192.0.2.1", 5555), "TCP4ClientEndpoint 192.0.2.1:5555"),
            (TCP6ClientEndpoint(reactor, "::1", 5555), "TCP6ClientEndpoint [::1]:5555"),
            (HostnameEndpoint(reactor, "host.example", 5555), "HostnameEndpoint host.example:5555"),
            (UNIXClientEndpoint(reactor, "/run/a\nb"), "UNIXClientEndpoint '/run/a\\nb'"),
            (UNIXServerEndpoint(reactor, "/run/socket"), "UNIXServerEndpoint /run/socket"),
            (TCP4ServerEndpoint(reactor, 0), "TCP4ServerEndpoint *:0"),
            (TCP4ServerEndpoint(reactor, 1, interface="127.0.0.1"), "TCP4ServerEndpoint 127.0.0.1:1"),
            (Talkative("secret"), "Talkative"),
            (Mock(), "Mock"),
            (object(), "object"),
        ):
            self.assertEqual(describe_endpoint(endpoint), described)

    def test_wrapped(self) -> None:
        """The one that TLS and a proxy's header are put around is named, too."""
        reactor: Any = MemoryReactorClock()
        described = describe_endpoint(clientFromString(reactor, "tls:host.example:443"))
        self.assertRegex(described, r"^\w+ of HostnameEndpoint host\.example:443$")
        described = describe_endpoint(serverFromString(reactor, "haproxy:tcp:443"))
        self.assertRegex(described, r"^\w+ of TCP4ServerEndpoint \*:443$")


class EndpointTests(SynchronousTestCase):
    """Our endpoints, made in code and from strings."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()

    def make_client(self, below: Any) -> SodiumClientEndpoint:
        return SodiumClientEndpoint(below, SERVER_PAIR.public, LOGIN, PASSPHRASE, CLIENT_PAIR)

    def test_client(self) -> None:
        below = TCP4ClientEndpoint(self.reactor, "192.0.2.1", 5555)
        expected = f"<SodiumClientEndpoint to TCP4ClientEndpoint 192.0.2.1:5555, login 'lögin', server key {KEY}>"
        self.assertEqual(repr(self.make_client(below)), expected)
        self.assertEqual(str(self.make_client(below)), expected)

    def test_client_without_login(self) -> None:
        endpoint = SodiumClientEndpoint(TCP4ClientEndpoint(self.reactor, "192.0.2.1", 5555), SERVER_PAIR.public)
        self.assertNotIn("login", repr(endpoint))

    def test_server(self) -> None:
        endpoint = SodiumServerEndpoint(
            TCP4ServerEndpoint(self.reactor, 5555), SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE)
        )
        self.assertEqual(repr(endpoint), f"<SodiumServerEndpoint on TCP4ServerEndpoint *:5555, key {KEY}>")

    def test_nested(self) -> None:
        """One of ours within one of ours is shown as it is."""
        inner = self.make_client(TCP4ClientEndpoint(self.reactor, "192.0.2.1", 5555))
        self.assertEqual(
            repr(SodiumClientEndpoint(inner, CLIENT_PAIR.public)),
            f"<SodiumClientEndpoint to {inner!r}, server key {CLIENT_PAIR.public.hex()}>",
        )

    def test_strings(self) -> None:
        """Those that strings make, whatever they wrap, show no secret."""
        hide_secrets(self)
        files = EndpointFiles(self.mktemp())
        client = clientFromString(self.reactor, f"sodium:tcp:host.example:5555:{files.for_client}")
        server = serverFromString(self.reactor, f"sodium:haproxy:tcp:5555:{files.for_server}")
        self.assertIn("host.example:5555", repr(client))
        self.assertIn("TCP4ServerEndpoint *:5555", repr(server))
        for endpoint in (client, server):
            self.assertIn(KEY, repr(endpoint))
            self.assertEqual(secrets_in(repr(endpoint)), [])
            self.assertNotIn(files.passphrase_file, repr(endpoint))

    def test_no_secret_of_what_is_wrapped(self) -> None:
        """Nor does the repr of somebody else's endpoint get in."""
        self.assertEqual(secrets_in(repr(self.make_client(Talkative(PASSPHRASE)))), [])


class ConnectionTests(StreamTestCase):
    """Factories, ends and transports."""

    def test_factories(self) -> None:
        checker = SingleLogin(LOGIN, PASSPHRASE)
        streams = (
            StreamServerFactory(Applications(), SERVER_PAIR, checker),
            StreamClientFactory(Applications(), SERVER_PAIR.public, LOGIN, PASSPHRASE),
        )
        login = "login 'lögin', "
        for factory, shown in (
            (make_server_factory(None), f"<SodiumServerFactory with key {KEY}>"),
            (make_client_factory(None, pair=CLIENT_PAIR), f"<SodiumClientFactory with {login}server key {KEY}>"),
            (streams[0], f"<StreamServerFactory of Applications with key {KEY}>"),
            (streams[1], f"<StreamClientFactory of Applications with {login}server key {KEY}>"),
            (TunnelFactory(Talkative(PASSPHRASE), "tcp:8080"), "<TunnelFactory to tcp:8080>"),
        ):
            self.assertEqual(repr(factory), shown)

    def test_ends(self) -> None:
        """Before the connection, while it is open and when it is gone; with its transport."""
        self.assertEqual(repr(build(make_client_factory(None), RecordingClient)), "<RecordingClient>")
        self.start()
        end = "<ServerStream with 192.0.2.1:4711 as 'lögin'>"
        for _ in range(2):
            self.assertEqual(repr(self.pair.server), end)
            self.assertEqual(repr(self.server.transport), f"<SodiumTransport of Application in {end}>")
            self.assertEqual(
                repr(self.client.transport),
                "<SodiumTransport of Application in <ClientStream with 192.0.2.1:4711>>",
            )
            self.client.transport.loseConnection()
            self.flush()

    def test_within_tls(self) -> None:
        self.start()
        self.client.transport.startTLS(tls_contexts()[1])
        self.assertEqual(
            repr(self.client.transport),
            "<SodiumTransport of Application in <TLS in <ClientStream with 192.0.2.1:4711>>>",
        )

    def test_no_secrets(self) -> None:
        """In none of them, nor in what an application learns of its peer."""
        self.start()
        for application, end in ((self.server, self.pair.server), (self.client, self.pair.client)):
            peer = application.transport.peer
            self.assertEqual(secrets_in(repr([application, application.transport, peer, end, end.factory])), [])
