"""
Addresses as people read them.
"""

from __future__ import annotations

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.addresses import describe_address


class Unknown:
    def __str__(self) -> str:
        return "somewhere\nelse \u2603"


class DescribeAddressTests(SynchronousTestCase):
    def test_ipv4(self) -> None:
        self.assertEqual(describe_address(IPv4Address("TCP", "127.0.0.1", 5555)), "127.0.0.1:5555")

    def test_port_zero(self) -> None:
        self.assertEqual(describe_address(IPv4Address("TCP", "127.0.0.1", 0)), "127.0.0.1:0")

    def test_ipv6(self) -> None:
        self.assertEqual(describe_address(IPv6Address("TCP", "::1", 5555)), "[::1]:5555")

    def test_unix(self) -> None:
        self.assertEqual(describe_address(UNIXAddress("/run/sodium.socket")), "'/run/sodium.socket'")

    def test_unix_on_one_line(self) -> None:
        """What a path may hold, up to bytes that are no UTF-8, cannot break a log line."""
        described = describe_address(UNIXAddress(b"/tmp/a\nb\x1b[31m\xff"))
        self.assertTrue(described.isprintable(), described)
        self.assertTrue(described.isascii(), described)
        self.assertIn("/tmp/a", described)

    def test_unix_in_the_abstract_namespace(self) -> None:
        described = describe_address(UNIXAddress(b"\0sodium"))
        self.assertTrue(described.isprintable(), described)
        self.assertIn("sodium", described)

    def test_unix_client_without_a_name(self) -> None:
        self.assertEqual(describe_address(UNIXAddress(None)), "a UNIX socket")

    def test_host_name(self) -> None:
        described = describe_address(HostnameAddress(b"example.org", 5555))
        self.assertIn("example.org", described)
        self.assertIn("5555", described)

    def test_anything_else(self) -> None:
        self.assertEqual(describe_address(Unknown()), r"'somewhere\nelse \u2603'")
        self.assertEqual(describe_address(None), "'None'")
