"""
What reaches the log.
"""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.describe.log import Logger, describe_address

from ..logs import logged
from ..pair import Boom
from ..test_layering import PACKAGE

#: What a peer could say to forge a line, or to have a terminal obey.
NASTY = "\x1b[2J\n\r\x9b1m\u202e\u2028\udc80evil"


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


class LoggerTests(SynchronousTestCase):
    """Whatever a field is, it makes no line and no command."""

    log = Logger()

    def setUp(self) -> None:
        self.events = logged(self)

    def line(self) -> str:
        return formatEvent(self.events[-1])

    def test_any_field(self) -> None:
        class Thing:
            def __str__(self) -> str:
                return NASTY

        for value in (NASTY, Thing(), OSError(5, NASTY), [NASTY], NASTY.encode("utf-8", "surrogateescape"), None):
            for level in LogLevel.iterconstants():
                self.log.emit(level, "it is {what}", what=value)
                self.assertTrue(self.line().isprintable(), self.line())

    def test_what_is_fine_stays(self) -> None:
        self.log.info("{a} {b:.2f} {c} {d}", a="text", b=1.5, c=7, d=True)
        self.assertEqual(self.line(), "text 1.50 7 True")
        self.assertEqual(self.events[-1]["log_namespace"], "tests.describe.test_log.LoggerTests")

    def test_long(self) -> None:
        self.log.info("{what}", what="x" * 3000)
        self.assertTrue(self.line().endswith("x\u2026 (1000 characters more)"))

    def test_failure(self) -> None:
        """Its traceback has lines of its own, and none that its text brought."""
        try:
            raise Boom(NASTY)
        except Boom:
            self.log.failure("it failed for {whom}", whom=NASTY)
        (failure,) = self.flushLoggedErrors(Boom)
        traceback = failure.getTraceback()
        self.assertIn(ascii(NASTY), traceback)
        self.assertTrue(all(line.isprintable() for line in traceback.split("\n")))
        self.log.failure("a failure without a text", Failure(Boom()))
        self.flushLoggedErrors(Boom)

    def test_failure_whose_text_is_short_or_long(self) -> None:
        """What stands before it stays as it is, and it is cut."""
        for said, shown in (("e", "'e'"), ("x" * 3000, f"'{'x' * 2000}'… (1000 characters more)")):
            self.log.failure("it failed", Failure(Boom(said)))
            (failure,) = self.flushLoggedErrors(Boom)
            self.assertTrue(failure.getTraceback().startswith("Traceback (most recent call last)"))
            self.assertEqual(failure.getTraceback().split("Boom: ")[1].rstrip("\n"), shown)

    def test_without_a_text(self) -> None:
        """What has none, as its ``__str__`` fails, is logged all the same: a line of the log never raises."""

        class Mute(Boom):
            def __str__(self) -> str:
                raise TypeError("no text")

            __repr__ = __str__

        self.log.info("it is {what}", what=Mute())
        self.assertTrue(self.line().startswith("it is <Mute instance at ") and self.line().isprintable(), self.line())
        self.log.failure("it failed", Failure(Mute()))
        (failure,) = self.flushLoggedErrors(Mute)
        self.assertIn("<Mute instance at ", failure.getTraceback())


@cache
def all_nodes() -> list[tuple[str, Any]]:
    """The imports, calls and assignments of all modules, each with its place."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kinds = ast.Import, ast.ImportFrom, ast.Call, ast.Assign
        found += [(f"{where}:{node.lineno}", node) for node in ast.walk(tree) if isinstance(node, kinds)]
    return found


class AllLinesTests(SynchronousTestCase):
    """No module can forget it."""

    def nodes(self, kind: type[Any]) -> list[tuple[str, Any]]:
        return [(where, node) for where, node in all_nodes() if isinstance(node, kind)]

    def test_one_logger(self) -> None:
        """Only the module of our logger knows Twisted's, and nobody writes around both."""
        for where, node in self.nodes(ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if (node.module or "").startswith("twisted") and not where.startswith("describe/log.py:"):
                self.assertEqual(names & {"Logger", "logger"}, set(), where)
        for where, node in self.nodes(ast.Call):
            # Who listens to it writes nothing. What a worker has written is written once more by that module alone.
            if "globalLogPublisher" in ast.unparse(node.func) and not where.startswith("describe/log.py:"):
                self.assertIn(ast.unparse(node.func).rpartition(".")[2], ("addObserver", "removeObserver"), where)
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("msg", "err", "callWithLogger"):
                self.assertNotEqual(ast.unparse(node.func.value), "log", where)
        for where, node in self.nodes(ast.Import):
            for alias in node.names:
                self.assertNotIn(alias.name, ("logging", "syslog", "twisted.logger", "twisted.python.log"), where)

    def test_lines_are_ours(self) -> None:
        """A line is a text in the code, with braces for the fields; what comes from outside is a field."""
        calls = 0
        for where, node in self.nodes(ast.Call):
            function = node.func
            if not isinstance(function, ast.Attribute) or function.attr not in (
                "debug",
                "info",
                "warn",
                "error",
                "critical",
                "failure",
            ):
                continue
            if ast.unparse(function.value).rpartition(".")[2] not in ("_log", "log"):
                continue
            calls += 1
            line = node.args[0]
            # One is handed on by the name of a parameter, and its callers are looked at below.
            if ast.unparse(line) != "line":
                self.assertIsInstance(line, ast.Constant, f"{where}: {ast.unparse(line)}")
        self.assertGreater(calls, 30)
        for where, node in self.nodes(ast.Assign):
            if ast.unparse(node.targets[0]) == "line" and isinstance(node.value, ast.JoinedStr):
                self.assertFalse(where.startswith(("transfer/", "admission/", "protocol/")), where)
