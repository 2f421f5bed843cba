"""
Sockets that systemd hands over.
"""

from __future__ import annotations

import os
import socket

from twisted.internet import endpoints
from twisted.python import usage
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs import endpoint_strings, renewing, tap, tunneltap
from sodiumtwist.programs.endpoint_strings import is_local, path_of_socket
from sodiumtwist.programs.inherited import inherited_beside, inherited_endpoints

from ..processes import PUBLIC


class InheritedTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(inherited_endpoints.cache_clear)
        self.addCleanup(endpoint_strings._handed_over.clear)

    def hand_over(self, *sockets: socket.socket) -> None:
        """Have Twisted find these, as when it was imported within a service that has them."""
        inherited_endpoints.cache_clear()
        endpoint_strings._handed_over.clear()
        for each in sockets:
            self.addCleanup(each.close)
        numbers = [each.fileno() for each in sockets]
        self.patch(endpoints._SystemdParser, "_sddaemon", ListenFDs(numbers, ["a"] * len(numbers)))

    def listening(self, address: str, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        made = socket.socket(family)
        made.bind((address, 0))
        made.listen()
        return made


class InheritedTests(InheritedTestCase):
    def test_endpoints(self) -> None:
        """Each has its string, with its own family. They stay what they were when they are adopted."""
        self.hand_over()
        self.assertEqual(inherited_endpoints(), ())
        four, six = self.listening("127.0.0.1"), self.listening("::1", socket.AF_INET6)
        self.hand_over(four, six)
        expected = ("systemd:domain=INET:index=0", "systemd:domain=INET6:index=1")
        self.assertEqual(inherited_endpoints(), expected)
        four.close()
        self.assertEqual(inherited_endpoints(), expected)

    def test_beside_metrics(self) -> None:
        """What --metrics listens on is for it alone."""
        first, second = self.listening("127.0.0.1"), self.listening("127.0.0.1")
        self.hand_over(first, second)
        both = inherited_endpoints()
        for metrics, left in (
            (None, both),
            ("9100", both),
            ("systemd:domain=INET:index=1", both[:1]),
            ("systemd:INET:index=0", both[1:]),
            ("systemd:domain=INET:index=7", both),
        ):
            self.assertEqual(inherited_beside(metrics), left)
        options = tap.Options()
        options.parseOptions(["--discard", "--passphrase", "x", "--metrics", both[1]])
        self.assertEqual(options.settings.endpoints, both[:1])

    def test_what_twisted_takes_away(self) -> None:
        """A UNIX socket would not outlive a restart, and datagrams are none of ours."""
        for made in socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
            self.hand_over(made)
            with self.assertRaisesRegex(usage.UsageError, "systemd hands over AF_[A-Z]+ SOCK_[A-Z]+, and only sockets"):
                inherited_endpoints()

    def test_is_local(self) -> None:
        """What they listen on says so. To ask leaves them as they are, and the answer is the same later on."""
        four, everywhere, unix = self.listening("127.0.0.1"), self.listening("0.0.0.0"), socket.socket(socket.AF_UNIX)
        self.hand_over(four, everywhere, unix)
        for _ in range(2):
            self.assertTrue(is_local("systemd:domain=INET:index=0"))
            self.assertFalse(is_local("haproxy:systemd:domain=INET:index=1"))
            self.assertTrue(is_local("systemd:domain=UNIX:index=2"))
            self.assertFalse(is_local("systemd:domain=INET:index=3"))
            self.assertIsNone(path_of_socket("systemd:domain=INET:index=0"))
        os.fstat(four.fileno())
        four.close()
        self.assertTrue(is_local("systemd:domain=INET:index=0"))

    def test_no_socket(self) -> None:
        """Another kind of file leaves no descriptor behind."""
        with open(os.devnull) as other:
            with self.assertRaises(OSError):
                endpoint_strings.inherited_socket(other.fileno())
            before = os.dup(other.fileno())
            os.close(before)
            with self.assertRaises(OSError):
                endpoint_strings.inherited_socket(other.fileno())
            after = os.dup(other.fileno())
            os.close(after)
        self.assertEqual(before, after)


class DefaultTests(InheritedTestCase):
    """Where services listen when nothing is said."""

    def server(self, *words: str) -> tuple[str, ...]:
        options = tap.Options()
        options.parseOptions(["--discard", *words])
        return options.settings.endpoints

    def tunnel(self, *words: str) -> str:
        options = tunneltap.Options()
        options.parseOptions(["--to", "127.0.0.1", "--key", PUBLIC, "--user", "u", "--passphrase", "p", *words])
        return options.settings.listen

    def test_server(self) -> None:
        """On all that was handed over; what is said is in place of that."""
        self.hand_over(self.listening("127.0.0.1"), self.listening("127.0.0.1"))
        self.assertEqual(self.server(), ("systemd:domain=INET:index=0", "systemd:domain=INET:index=1"))
        self.assertEqual(self.server("--endpoint", "127.0.0.1:7"), ("127.0.0.1:7",))
        self.hand_over()
        self.assertEqual(self.server(), (renewing.DEFAULT_LISTEN,))

    def test_tunnel(self) -> None:
        """It has one socket."""
        self.hand_over(self.listening("127.0.0.1"))
        self.assertEqual(self.tunnel(), "systemd:domain=INET:index=0")
        self.assertEqual(self.tunnel("--listen", "7000"), "7000")
        self.hand_over(self.listening("127.0.0.1"), self.listening("127.0.0.1"))
        with self.assertRaisesRegex(SystemExit, "a tunnel listens on one socket, and systemd hands over 2"):
            self.tunnel()
        self.hand_over()
        with self.assertRaisesRegex(SystemExit, "--listen is missing"):
            self.tunnel()
