"""
Addresses as people write them.
"""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, strategies as st
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.contacts.addresses import (
    ENDPOINT_TYPES,
    Address,
    client_description,
    has_timeout,
    is_local_client,
    parse_address,
    server_description,
    split_description,
    with_timeout,
)
from sodiumtwist.protocol.client_endpoints import client_endpoint

from ..texts import UTF8


class AddressTests(SynchronousTestCase):
    """A host and a port."""

    def test_read(self) -> None:
        for text, address in (
            ("example.org", Address("example.org")),
            ("example.org:7000", Address("example.org", 7000)),
            ("127.0.0.1:7000", Address("127.0.0.1", 7000)),
            ("[::1]", Address("::1")),
            ("[::1]:7000", Address("::1", 7000)),
            ("[fe80::1%eth0]:7000", Address("fe80::1%eth0", 7000)),
            ("::1", Address("::1")),
            ("1:2:3:4:5:6:7:8", Address("1:2:3:4:5:6:7:8")),
            ("2001:db8::7", Address("2001:db8::7")),
            ("b\u00fccher.example:1", Address("b\u00fccher.example", 1)),
        ):
            self.assertEqual(parse_address(text), address, text)

    def test_none(self) -> None:
        """What is no host and port."""
        for text in (
            "",
            ":",
            ":5555",
            "5555",
            "1234:5555",
            "host:",
            "host:0",
            "host:65536",
            "host:port",
            "[::1]:",
            "::1:5555",
            "[::1]5555",
            "[dead]:5555",
            "[example.org]:5555",
            "a b:1",
            "a/b",
            "ann@host:1",
            "*:5555",
            "unix:/tmp/x",
            "tcp:host:5555",
            "host:5555\n",
        ):
            self.assertIs(parse_address(text), None, text)

    def test_shown(self) -> None:
        """As it is read."""
        for text in ("example.org:5555", "[::1]:5555"):
            self.assertEqual(str(parse_address(text)), text)


class ClientTests(SynchronousTestCase):
    """Where a client connects to."""

    def test_descriptions(self) -> None:
        for text, description in (
            ("example.org", "tcp:example.org:5555"),
            ("example.org:7000", "tcp:example.org:7000"),
            ("home", "tcp:home:5555"),
            ("[::1]:7000", r"tcp:\:\:1:7000"),
            ("::1", r"tcp:\:\:1:5555"),
            ("7000", "tcp:127.0.0.1:7000"),
            (":7000", "tcp:127.0.0.1:7000"),
            ("tcp://example.org:7000", "tcp:example.org:7000"),
            ("tls://example.org:7000/", "tls:example.org:7000"),
            ("tcp:[::1]:7000", r"tcp:\:\:1:7000"),
            ("tcp6:[::1]:7000:timeout=3", r"tcp:\:\:1:7000:timeout=3"),
            (r"tcp6:\:\:1:7000", r"tcp:\:\:1:7000"),
            ("tcp:host=[2001:db8::7]:port=7000", r"tcp:host=2001\:db8\:\:7:port=7000"),
            ("tls:[::1]:7000:trustRoots=/etc", r"tls:\:\:1:7000:trustRoots=/etc"),
            ("sodium:tcp:[::1]:7000:login=ann", r"sodium:tcp:\:\:1:7000:login=ann"),
        ):
            self.assertEqual(client_description(text), description, text)
            self.assertEqual(client_description(description), description, text)

    def test_strings(self) -> None:
        """What is no address stays as it is, be it right or wrong."""
        for text in (
            "tcp:5555",
            "TCP:5555",
            "tcp",
            "tcp:host:5555",
            "tcp:host=example.org:port=1",
            "unix:/tmp/x",
            "unix:[x]",
            "onion:80",
            "tcp6:example.org:7000",
            "host:0",
            "",
        ):
            self.assertEqual(client_description(text), text)

    def test_understood(self) -> None:
        """Twisted makes an endpoint of each."""
        for text in ("example.org", "[::1]:7000", "tcp6:[::1]:7000", "7000", "tcp:host=[::1]:port=7000"):
            clientFromString(MemoryReactorClock(), client_description(text))

    def test_is_local(self) -> None:
        """This machine, as far as that is known before a name is looked up."""
        for text in (
            "5555",
            "localhost",
            "LOCALHOST:7000",
            "127.0.0.1:7000",
            "127.9.9.9",
            "[::1]:7000",
            "[::1%lo]:7000",
            r"tcp:\:\:1:7000:timeout=3",
            "tcp:host=127.0.0.1:port=7000",
            "tcp:port=7000:host=localhost",
            "tls:localhost:7000",
            "ssl:host=127.0.0.1:port=1",
            "unix:/tmp/x",
            "unix:path=/tmp/x",
        ):
            self.assertTrue(is_local_client(text), text)
        for text in (
            "example.org",
            "0.0.0.0:7000",
            "[::]:7000",
            "127.1:7000",
            "10.0.0.1",
            "localhost.example.org",
            "127.0.0.1.example.org",
            # Looked up, as any name: a percent sign ends an address of IPv6 alone.
            "127.0.0.1%x.example.org",
            "tcp:127.0.0.1%x.example.org:7000",
            "tls:localhost:7000:endpoint=tcp\\:example.org\\:1",
            "tcp:example.org:5555:host=127.0.0.1",
            "tcp:host=127.0.0.1:port=1:host=example.org",
            "tls:127.0.0.1:443:30:x:x:x:x:tcp\\:example.org\\:1",
            "haproxy:tcp:127.0.0.1:5555",
            "onion:127.0.0.1:80",
            "tcp:example.org:5555:bindAddress=127.0.0.1",
            "tcp:port=5555",
            "tcp",
            "",
        ):
            self.assertFalse(is_local_client(text), text)


class TimeoutTests(SynchronousTestCase):
    """How long Twisted tries to connect, where the client watches the time itself."""

    def test_longer_than_ours(self) -> None:
        for text, seconds, description in (
            ("host:1", 15, "tcp:host:1:timeout=16"),
            ("host:1", 0.5, "tcp:host:1:timeout=2"),
            ("tls:host:1", 60.0, "tls:host:1:timeout=61"),
            ("unix:/tmp/x", 60, "unix:/tmp/x:timeout=61"),
        ):
            self.assertFalse(has_timeout(text))
            self.assertEqual(with_timeout(text, seconds), description)
            self.assertTrue(has_timeout(description))

    def test_own(self) -> None:
        """One that is there stays; others' endpoints may know none."""
        for text in ("tcp:host:1:timeout=60", "onion:80", "sodium:tcp:host:1", "tcp:host:1\\"):
            self.assertEqual(with_timeout(text, 15), text)


class ServerTests(SynchronousTestCase):
    """Where a server listens."""

    def test_descriptions(self) -> None:
        for text, description in (
            ("127.0.0.1:7000", "tcp:7000:interface=127.0.0.1"),
            ("example.org:7000", "tcp:7000:interface=example.org"),
            ("10.1.2.3", "tcp:5555:interface=10.1.2.3"),
            ("0.0.0.0:7000", "tcp:7000:interface=0.0.0.0"),
            ("127.0.0.1:0", "tcp:0:interface=127.0.0.1"),
            ("[::1]:7000", r"tcp:7000:interface=\:\:1"),
            ("[::]:7000", r"tcp:7000:interface=\:\:"),
            ("::1", r"tcp:5555:interface=\:\:1"),
            ("[fe80::1%eth0]:7000", r"tcp:7000:interface=fe80\:\:1%eth0"),
            ("*:7000", "tcp:7000"),
            ("*", "tcp:5555"),
            ("tcp:127.0.0.1:7000", "tcp:7000:interface=127.0.0.1"),
            ("tcp://127.0.0.1:7000", "tcp:7000:interface=127.0.0.1"),
            ("tcp:localhost:7000", "tcp:7000:interface=localhost"),
            ("tcp:example.org:7000", "tcp:7000:interface=example.org"),
            ("tcp:[::1]:7000", r"tcp:7000:interface=\:\:1"),
            (r"tcp:\:\:1:7000", r"tcp:7000:interface=\:\:1"),
            ("tcp6:[::1]:7000", r"tcp6:7000:interface=\:\:1"),
            ("tcp:*:7000", "tcp:7000"),
            ("tcp:127.0.0.1:7000:backlog=5", "tcp:7000:interface=127.0.0.1:backlog=5"),
            ("tcp:7000:interface=[::1]", r"tcp:7000:interface=\:\:1"),
            ("ssl:127.0.0.1:7000:privateKey=a", "ssl:7000:interface=127.0.0.1:privateKey=a"),
        ):
            self.assertEqual(server_description(text), description, text)
            self.assertEqual(server_description(description), description, text)
            if not description.startswith("ssl"):
                serverFromString(MemoryReactorClock(), description)

    def test_port_alone(self) -> None:
        """It opens nothing to others."""
        for text in ("7000", ":7000"):
            self.assertEqual(server_description(text), "tcp:7000:interface=127.0.0.1")

    def test_strings(self) -> None:
        """What is no address stays as it is, be it right or wrong."""
        for text in (
            "tcp:7000",
            "tcp6:7000",
            "tcp:7000:interface=127.0.0.1",
            "tcp:7000:127.0.0.1",
            "tcp:7000:127.0.0.1:50",
            "tcp:port=7000",
            "unix:/tmp/x",
            "systemd:domain=INET:index=0",
            "stdio:",
            "sodium:tcp:7000",
            "host:65536",
            "65536",
            "::1:5555",
            "",
        ):
            self.assertEqual(server_description(text), text)


#: What addresses and endpoint strings are made of, and what may stand between.
PIECES = (
    "tcp tls ssl tcp6 unix sodium : : : = host= port= interface= timeout=3 127.0.0.1 localhost ::1 [::1] example.org "
    "[2001:db8::7] 5555 0 * / // @ \\ \\: % x"
).split()


class AnyTextTests(SynchronousTestCase):
    """Whatever is written."""

    @given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(UTF8, max_size=20))
    def test_any_text(self, text: str) -> None:
        """It becomes a description, which stays what it is."""
        for describe in (client_description, server_description):
            self.assertEqual(describe(describe(text)), describe(text))

    def test_local(self) -> None:
        """What counts as this machine connects nowhere else: the default passphrase depends on it."""
        here, elsewhere = "127.0.0.1", "example.org"
        named = [[], [here], [elsewhere], [here, elsewhere], [elsewhere, here]]
        counted = 0
        for unnamed, hosts in itertools.product((["5555"], [here, "5555"], [elsewhere, "5555"]), named):
            text = ":".join(["tcp", *unnamed, *(f"host={host}" for host in hosts)])
            if is_local_client(text):
                counted += 1
                endpoint: Any = client_endpoint(Clock(), text)
                self.assertEqual(endpoint._host, here, text)
        self.assertEqual(counted, 2)


class PartsTests(SynchronousTestCase):
    """The parts of an endpoint string."""

    def test_split(self) -> None:
        for text, parts in (
            ("", [""]),
            ("tcp", ["tcp"]),
            ("tcp:", ["tcp", ""]),
            (r"tcp:\:\:1:5555", ["tcp", r"\:\:1", "5555"]),
            ("a::b", ["a", "", "b"]),
            ("unix:/a\nb", ["unix", "/a\nb"]),
        ):
            self.assertEqual(split_description(text), parts)

    def test_types(self) -> None:
        """Those of Twisted and ours are known."""
        self.assertLessEqual(
            {"tcp", "tcp6", "ssl", "tls", "unix", "stdio", "systemd", "haproxy", "sodium"}, ENDPOINT_TYPES
        )
