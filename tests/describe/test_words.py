"""
Words for people.
"""

from __future__ import annotations

import socket

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import TimeoutError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.filepath import UnlistableError
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.describe import describe_bad_endpoint, describe_endpoint_error, describe_os_error, masked, printable


class DescribeBadEndpointTests(SynchronousTestCase):
    def test_line(self) -> None:
        """What was wrong, where, and a right one; no secret."""
        line = describe_bad_endpoint("--to", "tcp:key=geheim", "tcp:HOST:5555", ValueError("so."))
        self.assertEqual(line, "--to: bad endpoint string 'tcp:key=…': so; a right one is for instance tcp:HOST:5555")

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

    def test_urls(self) -> None:
        """Nothing of a password is shown, whatever is in it."""
        for url, shown in (
            ("redis://:hunter2@host:1/0", "redis://:…@host:1/0"),
            ("redis://:hun@ter2@host", "redis://:…@host"),
            ("redis://me:hun/ter2@host", "redis://me:…@host"),
            ("redis://hunter2@host", "redis://…@host"),
            ("curl http://a:hunter2@b http://c:1/ me@d", "curl http://a:…@b http://c:1/ me@d"),
            ("redis://host:1/0", "redis://host:1/0"),
        ):
            self.assertEqual(masked(url), shown)

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
        brackets = "; an IPv6 address stands in brackets, as in [::1]:5555"
        for parse, string, why in [
            (clientFromString, "nonsense:x", "there is no type 'nonsense'"),
            (clientFromString, "host:99999", "there is no type 'host'; a port is a number from 1 to 65535"),
            (clientFromString, "ann@host:1", "there is no type 'ann@host'; a login is given with --user"),
            (clientFromString, "./sock", "there is no type './sock'; a UNIX socket is unix:PATH"),
            (clientFromString, "tcp6:host:1", "there is no type 'tcp6'; HOST:PORT connects by IPv6 and IPv4"),
            (clientFromString, "::1:5555", f"there is no type ''{brackets}"),
            (clientFromString, "tcp", "it lacks 'host' and 'port'"),
            (clientFromString, "tcp:host", "it lacks 'port'"),
            (clientFromString, "tcp:host:http", "'http' is no number"),
            (clientFromString, "tcp:::1:5555", f"it lacks 'host' and 'port'{brackets}"),
            (clientFromString, "tcp:a:b:c", f"it lacks 'host' and 'port'{colon}"),
            (clientFromString, "tcp:host:5555:bogus=1", "it takes no bogus="),
            (clientFromString, "tls:host:5555:bogus=1:odd=2", "it takes no bogus=, odd="),
            (clientFromString, "tcp:host:5555\\", "it ends with a backslash"),
            (serverFromString, "tcp:5555:port=1", "it has 'port' twice"),
            (serverFromString, "tcp:5555:interface=::1", f"it has 'interface' twice{brackets}"),
            (serverFromString, "tcp:::1:5555", f"it has too many parts{brackets}"),
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

    def test_time_is_over(self) -> None:
        """Twisted's word for a host that does not answer blames the user."""
        self.assertRegex(describe_endpoint_error(TimeoutError()), "^there was no answer in time: the host is gone, or ")


class PrintableTests(SynchronousTestCase):
    def test_what_can_not_be_printed(self) -> None:
        """A control character, a newline, a mark that turns the direction, half a character, an odd blank."""
        for mark in "\0\a\b\t\n\r\x1b\x7f\x85\x9b\u00a0\u2028\u2029\u202e\u2066\u200b\ufeff\udc80\ue000\U000e0001":
            self.assertEqual(printable(f"a{mark}b"), "a?b", ascii(mark))

    def test_what_can(self) -> None:
        """Other letters than ours stay."""
        text = "h\u00e4user, \u65e5\u672c, \U0001f600"
        self.assertEqual(printable(text), text)

    def test_invitation(self) -> None:
        """Its secret stays out, also where it was not copied right, or the key in it is none."""
        for key in ("ab" * 32, f"publickey:{'AB' * 32}", "ab" * 20):
            for secret in ("cd" * 16, "CD" * 16, "cd" * 15, "cd" * 17):
                shown = printable(f"there is no sodium://ann@h:1/#{key}.{secret}, is there?")
                self.assertEqual(shown, f"there is no sodium://ann@h:1/#{key}.\u2026, is there?")
        for name in (f"{'ab' * 32}.{'cd' * 16}", f"a#{'ab' * 32}.{'cd' * 16}", "/#1.2.3"):
            self.assertEqual(printable(name), name)

    def test_long(self) -> None:
        self.assertEqual(printable("x" * 2000), "x" * 2000)
        self.assertEqual(printable("x" * 2007), "x" * 2000 + "\u2026 (7 characters more)")
