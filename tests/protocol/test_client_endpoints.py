"""
Client endpoints from strings and addresses.
"""

from __future__ import annotations

import warnings
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.protocol.client_endpoints import client_endpoint


class ClientEndpointTests(SynchronousTestCase):
    def test_names(self) -> None:
        """A name in an address is tried by IPv6 and IPv4; what Twisted makes of its own strings it makes of them."""
        for text, kind in (
            ("example.org:7000", HostnameEndpoint),
            ("localhost", HostnameEndpoint),
            ("127.0.0.1:7000", TCP4ClientEndpoint),
            ("[::1]:7000", TCP4ClientEndpoint),
            ("7000", TCP4ClientEndpoint),
            ("tcp:example.org:7000", TCP4ClientEndpoint),
            ("unix:/tmp/x", UNIXClientEndpoint),
        ):
            self.assertIs(type(client_endpoint(reactor, text)), kind, text)

    def test_timeout(self) -> None:
        """Twisted gives up later than who watches the time."""
        for text in ("example.org:7000", "127.0.0.1:7000", "tcp:example.org:7000"):
            made: list[Any] = [client_endpoint(reactor, text), client_endpoint(reactor, text, 60)]
            self.assertEqual([endpoint._timeout for endpoint in made], [30, 61], text)

    def test_stand_in(self) -> None:
        """Of a reactor that looks up no names nothing is asked that it does not have."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertIs(type(client_endpoint(Clock(), "example.org:7000")), TCP4ClientEndpoint)

    def test_no_name(self) -> None:
        """One that none can have is told at once; Twisted would wait until the time is over."""
        for text in ("a..b:1", "tcp:a..b:1", f"{'x' * 64}:1"):
            error = self.assertRaises(ValueError, client_endpoint, reactor, text)
            self.assertIn("can't be a host's name", str(error))
