"""
What counts as one address.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.admission.networks import counted_address, network, wider_network

PROXY = IPv4Address("TCP", "192.0.2.99", 1)


def v6(host: str) -> IPv6Address:
    return IPv6Address("TCP", host, 1)


class NetworkTests(SynchronousTestCase):
    def test_network(self) -> None:
        """One IPv6 customer has 64 bits of addresses; what cannot be told apart is not counted."""
        for address, expected in [
            (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1"),
            (v6("2001:db8::1"), "2001:db8::/64"),
            (v6("2001:db8::ffff:0:0:1"), "2001:db8::/64"),
            (v6("2001:db8:0:1::1"), "2001:db8:0:1::/64"),
            (v6("fe80::1%eth0"), "fe80::/64"),
            (UNIXAddress("/x"), None),
            (None, None),
            (IPv4Address("TCP", "no address\n", 1), r"'no address\n'"),
        ]:
            self.assertEqual(network(address), expected)

    def test_stands_for_ipv4(self) -> None:
        """Many behind one prefix are many, and one with many prefixes is one."""
        for host, expected in [
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:0:192.0.2.1", "192.0.2.1"),
            ("64:ff9b::192.0.2.1", "192.0.2.1"),
            ("64:ff9b::c000:202", "192.0.2.2"),
            ("64:ff9b::1:c000:201", "64:ff9b::/64"),
            ("2002:c000:201::1", "192.0.2.1"),
            ("2002:c000:201:ffff::1", "192.0.2.1"),
            ("2001::3fff:fdfe", "192.0.2.1"),
            ("2001:0:c000:299:8000:63bf:3fff:fdfe", "192.0.2.1"),
            ("2001:0:c000:299:8000:63bf:3fff:fdfd", "192.0.2.2"),
        ]:
            self.assertEqual(network(v6(host)), expected, host)

    def test_local_translators(self) -> None:
        """Where the IPv4 address stands is theirs to know, but two have two addresses."""
        for host in ("64:ff9b:1::c000:201", "64:ff9b:1::c000:202", "64:ff9b:1:c000:2:100::", "64:ff9b:1:c000:2:200::"):
            self.assertEqual(network(v6(host)), host)

    def test_wider(self) -> None:
        for where, expected in [
            ("192.0.2.1", "192.0.2.0/24"),
            ("2001:db8:1:2::/64", "2001:db8:1::/48"),
            ("64:ff9b:1::c000:201", "64:ff9b:1::/48"),
            (r"'no address\n'", r"'no address\n'"),
        ]:
            self.assertEqual(wider_network(where), expected)


class CountedAddressTests(SynchronousTestCase):
    def over(self, wrapper: ProtocolWrapper, address: IAddress = PROXY) -> ITransport:
        wrapper.transport = StringTransport(peerAddress=address)
        # It provides all that a transport does, though its class does not say so.
        return cast(ITransport, wrapper)

    def proxied(self, header: bytes) -> ITransport:
        wrapper = HAProxyProtocolWrapper(WrappingFactory(Factory()), Protocol())
        transport = self.over(wrapper)
        wrapper.dataReceived(header)
        return transport

    def test_plain(self) -> None:
        for address in (PROXY, UNIXAddress("/x")):
            self.assertEqual(counted_address(StringTransport(peerAddress=address)), address)

    def test_what_a_proxy_says(self) -> None:
        """A client's address counts. For clients that have none, also by a lie, the proxy's does."""
        unix = b"\r\n\r\n\0\r\nQUIT\n\x21\x31" + (216).to_bytes(2, "big") + b"/x".ljust(216, b"\0")
        for header, expected in (
            (b"PROXY TCP4 198.51.100.1 192.0.2.5 1 2\r\n", IPv4Address("TCP", "198.51.100.1", 1)),
            (b"PROXY UNKNOWN\r\n", PROXY),
            (unix, PROXY),
        ):
            transport = self.proxied(header)
            self.assertEqual(counted_address(transport), expected)
        self.assertEqual(type(transport.getPeer()), UNIXAddress)

    def test_nothing_has_an_address(self) -> None:
        """As with a proxy behind a UNIX socket."""
        wrapper = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
        self.assertEqual(counted_address(self.over(wrapper, UNIXAddress("/x"))), UNIXAddress("/x"))
