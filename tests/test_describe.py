"""
Addresses as people read them.
"""

from __future__ import annotations

import socket

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.python.filepath import UnlistableError
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.describe import (
    describe_address,
    describe_bad_endpoint,
    describe_endpoint_error,
    describe_os_error,
    masked,
)


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

    def test_host_on_one_line(self) -> None:
        """A proxy's header may name anything as an address."""
        self.assertEqual(describe_address(IPv4Address("TCP", "a\n\x1b[2J\u2603", 1)), r"'a\n\x1b[2J\u2603':1")

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


class DescribeBadEndpointTests(SynchronousTestCase):
    def test_line(self) -> None:
        """What was wrong, where, and a right one; no secret."""
        line = describe_bad_endpoint("--to", "tcp:key=geheim", "tcp:HOST:5555", ValueError("so."))
        self.assertEqual(
            line, r"--to: bad endpoint string 'tcp:key=\u2026': so; a right one is for instance tcp:HOST:5555"
        )

    def test_secrets(self) -> None:
        """Also of a mistaken name, behind a colon without its backslash, and quoted by what is wrong with it."""
        for keyword in ("passphrase=hunter2", "password=hunter2", "passPhrase=hunter2", "privateKeyhex=hunter2"):
            for string in (f"tcp:5555:{keyword}", f"sodium:tcp:5555:keyFile=k:login=me:{keyword}:a"):
                error: Exception = self.assertRaises(
                    (TypeError, ValueError), serverFromString, MemoryReactorClock(), string
                )
                self.assertNotIn("hunter2", describe_bad_endpoint("", string, "X", error))
        for string in (
            "tcp:key=a:5555:backlog=a\\:b:auth=memory:me:hunter2",
            "sodium:tcp:1:keyFile=k:auth=memory:me:hunter2",
        ):
            error = ValueError("invalid literal for int() with base 10: 'hunter2'")
            line = describe_bad_endpoint("", string, "X", error)
            self.assertIn("'…' is no number", line)
            self.assertNotIn("hunter2", line)
        self.assertIn("passphraseFile=pass.txt", masked("sodium:tcp:1:auth=memory:me:hunter2:passphraseFile=pass.txt"))

    def test_folder_of_plugins_closed(self) -> None:
        """Twisted's error stands for another one, which has a text."""
        error = UnlistableError(PermissionError(13, "Permission denied", "/plugins"))
        self.assertEqual(describe_endpoint_error(error), "'/plugins': Permission denied")
        self.assertEqual(describe_os_error(error), "/plugins: Permission denied")

    def test_one_line(self) -> None:
        self.assertEqual(describe_endpoint_error(ValueError("one\ntwo")), "one two")
        self.assertEqual(describe_endpoint_error("a mere text"), "a mere text")

    def test_reasons(self) -> None:
        """None is in Python's words."""
        colon = r"; a colon within a name or number is written \:"
        for parse, string, why in [
            (clientFromString, "nonsense:1", "there is no type 'nonsense'"),
            (clientFromString, "tcp", "it lacks 'host' and 'port'"),
            (clientFromString, "tcp:host", "it lacks 'port'"),
            (clientFromString, "tcp:host:http", "'http' is no number"),
            (clientFromString, "tcp:::1:5555", f"it lacks 'host' and 'port'{colon}"),
            (clientFromString, "tcp:host:5555:bogus=1", "it takes no bogus="),
            (clientFromString, "tls:host:5555:bogus=1:odd=2", "it takes no bogus=, odd="),
            (clientFromString, "tcp:host:5555\\", "it ends with a backslash"),
            (serverFromString, "tcp:5555:port=1", "it has 'port' twice"),
            (serverFromString, "tcp:5555:backlog=many", "'many' is no number"),
            (serverFromString, "unix:socket:mode=9", "'9' is no octal number"),
            (serverFromString, "systemd:domain=INET:index=7", "there is no socket of that index"),
            (serverFromString, "ssl:443:privateKey=/missing", "'/missing': No such file or directory"),
        ]:
            try:
                parse(MemoryReactorClock(), string)
            except Exception as error:
                line = describe_bad_endpoint("", string, "X", error)
            else:
                self.fail(f"{string} is understood")
            self.assertTrue(line.endswith(f": {why}; a right one is for instance X"), line)

    def test_port_out_of_range(self) -> None:
        """What only connecting or listening finds wrong."""
        with socket.socket() as unbound:
            error = self.assertRaises(OverflowError, unbound.bind, ("127.0.0.1", 65536))
        self.assertEqual(describe_endpoint_error(error), "the port must be 0-65535")
