"""
The log of a service: its two forms, its file, its bounds, and what it has of each client.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
import time
from typing import Any, NoReturn
from unittest.mock import Mock, patch

from twisted.application.service import Application
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, Logger as TwistedLogger, LogLevel, formatEventAsClassicLogText
from twisted.python import logfile, usage
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import Limits
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.describe.events import EVENTS
from sodiumtwist.describe.log import Logger
from sodiumtwist.operation import logs
from sodiumtwist.operation.logs import (
    LOG_OBSERVER,
    BoundedObserver,
    LogLimits,
    json_line,
    make_observer,
    open_log,
    reopen_logs,
    rotate_logs,
    text_line,
)
from sodiumtwist.programs import tap, tunneltap
from sodiumtwist.programs.service_options import ServiceOptions

from ..describe.test_log import NASTY
from ..logs import Observer, logged
from ..observed import ObservedTestCase
from ..pair import LOGIN, Pair, make_client_factory, make_server_factory
from ..processes import PUBLIC, SECRET
from ..versions import each_version, spoken

#: A line of ours.
LINE = {"log_time": 0.0, "log_level": LogLevel.info, "log_format": "a line", "log_namespace": "sodiumtwist.x"}


class Boom(Exception):
    """Raised on purpose."""


class LineTests(SynchronousTestCase):
    """What a line is made of."""

    def setUp(self) -> None:
        self.observer = Observer()
        self.log = Logger(namespace="sodiumtwist.somewhere", observer=self.observer)
        self.twisted = TwistedLogger(namespace="twisted.somewhere", observer=self.observer)

    def last(self) -> dict[str, Any]:
        """The last event, as JSON has it."""
        line = json_line(self.observer.events[-1])
        self.assertTrue(line.isascii() and line.endswith("\n") and "\n" not in line[:-1])
        shown: dict[str, Any] = json.loads(line)
        return shown

    def test_json(self) -> None:
        """The same five things in each line, and then the fields of its event."""
        self.log.info(
            "{peer} is here as {login}", event="client_admitted", peer="192.0.2.1:4711", login=repr("it's"), version=2
        )
        self.observer.events[-1]["log_time"] = 1.5
        # Wherever it runs.
        self.addCleanup(time.tzset)
        os.putenv("TZ", "JST-9")
        self.addCleanup(os.unsetenv, "TZ")
        time.tzset()
        self.assertEqual(
            list(self.last().items()),
            [
                ("time", "1970-01-01T00:00:01.500000Z"),
                ("level", "info"),
                ("event", "client_admitted"),
                ("system", "sodiumtwist.somewhere"),
                ("message", '192.0.2.1:4711 is here as "it\'s"'),
                ("peer", "192.0.2.1:4711"),
                ("login", "it's"),
                ("version", 2),
            ],
        )

    def test_others(self) -> None:
        """Lines that are not ours have a line and no fields; one can't take a name of ours by its own."""
        self.twisted.warn("{what} came", what="it", event="nothing", peer="1")
        self.assertEqual(
            {name: value for name, value in self.last().items() if name != "time"},
            {"level": "warn", "event": "other", "system": "twisted.somewhere", "message": "it came"},
        )
        self.observer({"log_time": 0.0, "log_level": LogLevel.info, "log_text": "text of old", "log_system": "-"})
        self.assertEqual((self.last()["message"], self.last()["system"]), ("text of old", "-"))
        self.observer({"log_time": 0.0})
        self.assertEqual((self.last()["message"], self.last()["level"]), ("", "info"))

    def test_failure(self) -> None:
        """Has its traceback, of which the end is shown."""
        try:
            raise Boom("x" * 1500)
        except Boom:
            self.log.failure("it failed at {peer}", event="application_failed", peer="1")
        shown = self.last()
        self.assertEqual((shown["message"], shown["level"]), ("it failed at 1", "critical"))
        self.assertTrue(shown["traceback"].startswith("Traceback (most recent call last)"))
        failure = Failure(Boom())
        failure.getTraceback = lambda *_: "y" * 50_000 + "the end"  # type: ignore[method-assign]
        self.twisted.failure("it failed", failure)
        self.assertRegex(self.last()["traceback"], r"\A\(40007 characters more\) …y+the end\Z")

    def test_nothing_forged(self) -> None:
        """However it is said, and by whom: one line, with no command for a terminal, and not long."""
        for log in (self.log, self.twisted):
            for text in (NASTY, "\x1b[2J\n{}", "x" * 100_000):
                log.info("{peer} came", event="client_connected", peer=text)
                shown = self.last()
                self.assertLess(len(shown["message"]), 2100)
                self.assertTrue(shown["message"].replace("\n", "").replace("\t", "").isprintable())
                line = text_line(self.observer.events[-1])
                assert line is not None
                self.assertLess(len(line), 10_100)
                first, *others = line.removesuffix("\n").split("\n")
                self.assertTrue(all(other.startswith("\t") for other in others), line)
                self.assertTrue(first.replace("\t", "").isprintable())

    def test_login_as_it_is(self) -> None:
        """In the text it is quoted, here it is not; one that is no text in quotes stays as it is."""
        for given, shown in ((repr("n\no"), "n\no"), (repr("'\""), "'\""), ("bare", "bare"), ("'cut… (9 more)", None)):
            self.log.info("{login}", event="client_admitted", login=given)
            self.assertEqual(self.last()["login"], given if shown is None else shown)
        # That of which too many failed, too; but no key of a client, and no address.
        for given, shown in ((repr("ann"), "ann"), ("1" * 64, "1" * 64), ("192.0.2.1", "192.0.2.1")):
            self.log.info("{key}", event="logins_blocked", key=given)
            self.assertEqual(self.last()["key"], shown)

    def test_text(self) -> None:
        """It is as Twisted's."""
        self.log.info("{peer} came", event="client_connected", peer="192.0.2.1:4711")
        self.assertEqual(text_line(self.observer.events[-1]), formatEventAsClassicLogText(self.observer.events[-1]))
        self.observer({"log_time": 0.0})
        self.assertIsNone(text_line(self.observer.events[-1]))


def full(*arguments: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


class FileTests(SynchronousTestCase):
    """The file of a log."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        self.events = logged(self)

    def open(self, **limits: int) -> logs.ServiceLog:
        log = open_log(os.path.join(self.directory, "log"), LogLimits(**limits))
        self.addCleanup(log.close)
        return log

    def read(self) -> dict[str, str]:
        """What each file has."""
        found = {}
        for name in sorted(os.listdir(self.directory)):
            with open(os.path.join(self.directory, name), encoding="utf-8") as file:
                found[name] = file.read()
        return found

    def test_rotated_by_size(self) -> None:
        """In bytes; so many are kept."""
        log = self.open(size=4, files=2)
        for line in ("é1\n", "é2\n", "é3\n", "é4\n"):
            log.write(line)
        self.assertEqual(self.read(), {"log": "é4\n", "log.1": "é3\n", "log.2": "é2\n"})

    def test_never_by_itself(self) -> None:
        log = self.open(size=0)
        log.write("x" * 3_000_000)
        log.write("y")
        self.assertEqual(list(self.read()), ["log"])

    def test_asked_to_rotate(self) -> None:
        self.open().write("first\n")
        rotate_logs()
        self.assertEqual(self.read(), {"log": "", "log.1": "first\n"})

    def test_moved_by_others(self) -> None:
        """It goes on in the file of its name, which was made meanwhile or is made now; a line there says so."""
        log = self.open()
        for number, made in enumerate((False, True)):
            log.write(f"{number}\n")
            os.rename(log.path, f"{log.path}.old{number}")
            log.write("still there\n")
            if made:
                os.close(os.open(log.path, os.O_CREAT | os.O_WRONLY, 0o640))
            reopen_logs()
            log.write("new\n")
            self.assertEqual(self.read()[f"log.old{number}"].splitlines()[-2:], [f"{number}", "still there"])
            self.assertEqual(self.read()["log"], "new\n")
        self.assertEqual(os.stat(log.path).st_mode & 0o777, 0o640)
        self.assertEqual([event["event"] for event in self.events], 2 * ["logs_reopened"])

    def test_cannot_be_opened_anew(self) -> None:
        """Then the old one goes on, and nothing is lost."""
        log = self.open()
        os.rename(log.path, f"{log.path}.old")
        os.mkdir(log.path)
        reopen_logs()
        log.write("goes on\n")
        with open(f"{log.path}.old") as file:
            self.assertEqual(file.read(), "goes on\n")
        (event,) = self.events
        self.assertEqual((event["event"], event["reason"]), ("logs_kept", f"{log.path}: Is a directory"))

    def test_could_not_begin_another(self) -> None:
        """As on a full disk: what comes when there is room again is written."""
        log = self.open()
        log.write("before\n")
        with patch.object(logfile, "open", full, create=True):
            self.assertRaises(OSError, log._file.rotate)
            self.assertRaises(OSError, log.write, "lost\n")
        log.write("after\n")
        self.assertEqual(self.read(), {"log": "after\n", "log.1": "before\n"})

    def test_part_of_a_line(self) -> None:
        """What was written of a line until the disk was full spoils no other one."""
        log = self.open()
        log.write("before\n")
        part = log._file._file.write
        for written in (b"lo", b""):

            def write_a_part(data: bytes, written: bytes = written) -> NoReturn:
                part(written)
                full()

            with patch.object(log._file, "_file", Mock(write=write_a_part)):
                self.assertRaises(OSError, log.write, "lost\n")
        log.write("after\n")
        log.write("again\n")
        with patch.object(log._file, "_file", Mock(write=full)):
            self.assertRaises(OSError, log.write, "lost\n")
        log.write("last\n")
        self.assertEqual(self.read(), {"log": "before\nlo\nafter\nagain\nlast\n"})

    def test_closed(self) -> None:
        self.open().close()
        reopen_logs()
        self.assertEqual(self.events, [])

    def test_limits(self) -> None:
        for name, said in (("size", "log-size"), ("files", "log-files"), ("lines", "twisted-lines")):
            error = self.assertRaises(LocalProtocolError, LogLimits, **{name: -1})
            self.assertIn(f"the limit {said} takes", str(error))


class ObserverTests(SynchronousTestCase):
    """What twistd gets."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.patch(sys, "stdout", output := io.StringIO())
        self.output = output
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

    def make(self, log_format: str = "text", **twistd: object) -> ILogObserver:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        observer = make_observer(log_format, twistd, LogLimits(), self.reactor)
        for log in list(logs._open_logs.values()):
            self.addCleanup(log.close)
        return observer

    def test_standard_output(self) -> None:
        for twistd in ({"nodaemon": True}, {"nodaemon": True, "logfile": "-"}):
            self.make(**twistd)(LINE)
        self.assertEqual(self.output.getvalue().count("[sodiumtwist.x#info] a line\n"), 2)

    def test_file(self) -> None:
        """Of the name that was given, or twistd's own; in the other form, too."""
        path = self.mktemp()
        self.make("json", logfile=path)(LINE)
        with open(path) as file:
            self.assertEqual(json.loads(file.read())["message"], "a line")
        self.patch(logs, "DEFAULT_FILE", default := self.mktemp())
        self.make()
        self.assertTrue(os.path.exists(default))

    def test_daemon(self) -> None:
        self.assertRaises(SystemExit, self.make, logfile="-")

    def test_signal(self) -> None:
        """SIGUSR1 begins another file; where somebody has taken it, it is left to them."""
        path = self.mktemp()
        self.make(logfile=path)
        self.assertTrue(callable(signal.getsignal(signal.SIGUSR1)))
        taken = signal.getsignal(signal.SIGUSR1)
        make_observer("text", {"nodaemon": True}, LogLimits(), self.reactor)
        self.assertIs(signal.getsignal(signal.SIGUSR1), taken)

    def test_end(self) -> None:
        """What was not written is summed up behind all else."""
        self.make(nodaemon=True)
        ((phase, event),) = self.reactor.triggers.items()
        self.assertEqual((phase, list(event)), ("after", ["shutdown"]))


class OptionTests(SynchronousTestCase):
    """What the command lines of both services make of it."""

    def parse(self, *words: str, **parent: object) -> ServiceOptions:
        tunnel = ["--listen", "127.0.0.1:7000", "--to", "127.0.0.1:1", "--server-key", PUBLIC]
        for options, needed in ((tap.Options(), ["--discard"]), (tunneltap.Options(), tunnel)):
            options.parent = usage.Options()
            options.parent.update(parent)
            options.parseOptions([*needed, *words])
        return options

    def refuse(self, *words: str, **parent: object) -> str:
        return str(self.assertRaises(SystemExit, self.parse, *words, **parent).code)

    def test_mistakes(self) -> None:
        self.assertIn("--log-format takes text or json, not 'xml'", self.refuse("--log-format", "xml"))
        self.assertIn("the limit log-files takes a whole number from 1", self.refuse("--limit", "log-files=0"))
        for option in ("syslog", "logger"):
            said = self.refuse("--log-format", "json", **{option: "something"})
            self.assertIn(f"--log-format json and twistd --{option} exclude each other", said)

    def test_left_to_twistd(self) -> None:
        for option in ("syslog", "logger"):
            parent = self.parse(**{option: "something"}).parent
            self.assertNotIn(LOG_OBSERVER, parent)

    def test_twist(self) -> None:
        """What its own option says holds, unless ours asks for JSON."""
        chosen = object()
        self.assertIs(self.parse(fileLogObserverFactory=chosen).twistd["fileLogObserverFactory"], chosen)
        factory = self.parse("--log-format", "json", fileLogObserverFactory=chosen).twistd["fileLogObserverFactory"]
        factory(out := io.StringIO())(LINE)
        self.assertEqual(json.loads(out.getvalue())["message"], "a line")

    def test_service(self) -> None:
        """It gives twistd what writes its log; where that can't be, there is one line."""
        options = tap.Options()
        options.parent = usage.Options()
        options.parent.update(nodaemon=True, logfile=self.mktemp())
        reactor = MemoryReactorClock()
        options.parseOptions(["--discard", "--key", SECRET, "--log-format", "json"])
        application: Any = Application("sodium")
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        tap.makeService(options, reactor).setServiceParent(application)
        for log in list(logs._open_logs.values()):
            self.addCleanup(log.close)
        application.getComponent(ILogObserver)(LINE)
        with open(options.parent["logfile"]) as file:
            self.assertEqual(json.loads(file.read())["message"], "a line")
        options.parent["logfile"] = os.path.join(self.mktemp(), "log")
        ended = self.assertRaises(SystemExit, tap.makeService(options, reactor).setServiceParent, application)
        self.assertRegex(str(ended.code), r"\Asodium: the log file: .*/log: No such file or directory\Z")


class BoundTests(SynchronousTestCase):
    """Lines that are not ours."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events = logged(self)
        self.written = Observer()
        self.observer = BoundedObserver(self.written, 3, self.clock, self)
        self.patch(logs, "isInIOThread", lambda: True)
        self.running = True
        self.in_thread: list[tuple[Any, ...]] = []

    def callFromThread(self, *call: Any) -> None:
        self.in_thread.append(call)

    def say(self, namespace: str, line: str, count: int = 1) -> None:
        for _ in range(count):
            self.observer({"log_time": 0.0, "log_namespace": namespace, "log_format": line})

    def test_each_kind(self) -> None:
        """So many of one kind are written in a minute; the rest is a line. Ours have bounds of their own."""
        self.say("twisted.internet.tcp", "Could not accept", 100)
        self.say("twisted.internet.tcp", "another", 2)
        self.say("sodiumtwist.protocol.server", "ours", 50)
        said = [event["log_format"] for event in self.written.events]
        self.assertEqual(said, 3 * ["Could not accept"] + 2 * ["another"] + 50 * ["ours"])
        self.clock.advance(60)
        begun, summed = self.events
        self.assertEqual((begun["limit"], summed["count"]), (3, 97))
        self.assertEqual((begun["what"], summed["reason"]), ("lines of twisted.internet.tcp", "Could not accept"))

    def test_kinds_are_bounded(self) -> None:
        """Whoever has a new line each time has them counted together."""
        for number in range(1000):
            self.say("twisted", f"line {number}")
        self.assertLess(len(self.written.events), 110)
        self.assertEqual([event["what"] for event in self.events], ["other lines"])
        # Those that were there before are still told apart.
        self.written.events.clear()
        self.say("twisted", "line 1", 5)
        self.assertEqual([event["log_format"] for event in self.written.events], ["line 1"] * 2)

    def test_threads(self) -> None:
        """What other threads say is bounded by the reactor, whose timers are needed for that, while it runs."""
        with patch.object(logs, "isInIOThread", lambda: False):
            self.say("twisted", "line", 10)
            self.say("sodiumtwist.somewhere", "ours", 2)
        self.assertEqual([event["log_format"] for event in self.written.events], ["ours"] * 2)
        for call, event in self.in_thread:
            call(event)
        self.assertEqual([event["log_format"] for event in self.written.events], ["ours"] * 2 + ["line"] * 3)
        self.running = False
        with patch.object(logs, "isInIOThread", lambda: False):
            self.say("twisted", "line", 10)
        self.assertEqual(len(self.written.events), 15)

    def test_stop(self) -> None:
        self.say("twisted", "line", 10)
        self.observer.stop()
        self.assertEqual(self.events[-1]["count"], 7)
        self.assertEqual(self.clock.getDelayedCalls(), [])


@each_version
class ClientLineTests(ObservedTestCase):
    """What the log has of one client."""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(json_line(event)) for event in self.events if event.get("event") in EVENTS]

    def test_in_order(self) -> None:
        """That it came, that it was let in, and that it left: once each, with how long and how much."""
        pair = Pair(make_server_factory(self.clock), make_client_factory(self.clock))
        self.clock.advance(0.25)
        pair.flush()
        self.clock.advance(2)
        pair.client.send_data(bytes(1000))
        pair.flush()
        traffic = pair.server.traffic
        pair.client.close()
        pair.flush()
        came, admitted, gone = self.lines()
        self.assertEqual((came["event"], came["peer"]), ("client_connected", "192.0.2.1:4711"))
        self.assertEqual(
            (admitted["event"], admitted["login"], admitted["version"], admitted["seconds"]),
            ("client_admitted", LOGIN, spoken(), 0.25),
        )
        self.assertEqual(
            [gone[name] for name in ("event", "peer", "login", "version", "outcome", "reason", "seconds")],
            ["client_gone", "192.0.2.1:4711", LOGIN, spoken(), "closed", "in order", 2.25],
        )
        self.assertGreaterEqual(gone["bytes_received"], traffic.bytes_received)
        self.assertGreaterEqual(gone["bytes_sent"], traffic.bytes_sent)
        self.assertGreater(traffic.bytes_received, 1000)

    def test_refused(self) -> None:
        factory = make_server_factory(self.clock)
        Pair(factory, make_client_factory(self.clock, passphrase="wrong")).flush()
        self.clock.advance(5)
        came, refused = self.lines()
        self.assertEqual(came["event"], "client_connected")
        self.assertEqual(
            [refused[name] for name in ("event", "login", "outcome", "reason")],
            ["client_refused", LOGIN, "credentials", "login or passphrase is wrong"],
        )
        self.assertGreater(refused["bytes_received"], 100)

    def test_never_logged_in(self) -> None:
        """It has no login."""
        end, transport = self.connect(make_server_factory(self.clock))
        end.dataReceived(b"GET / HTTP/1.1")
        self.clock.advance(11)
        self.settle(transport)
        _, refused = self.lines()
        self.assertEqual(
            [refused[name] for name in ("event", "outcome", "seconds", "bytes_received")],
            ["client_refused", "timeout", 11.0, 14],
        )
        self.assertNotIn("login", refused)

    def test_dropped(self) -> None:
        pair = Pair(make_server_factory(self.clock), make_client_factory(self.clock))
        pair.flush()
        pair.server.dataReceived(bytes(1000))
        pair.flush()
        gone = self.lines()[-1]
        self.assertEqual((gone["event"], gone["outcome"]), ("client_gone", "protocol"))
        self.assertIn("dropped 192.0.2.1:4711 as ", gone["message"])

    def test_bounds(self) -> None:
        """Connections are bounded as strangers, and those that were let in as clients."""
        limits = Limits(stranger_lines=3, client_lines=5, per_address=100)
        factory = make_server_factory(self.clock, limits=limits)
        for _ in range(20):
            pair = Pair(factory, make_client_factory(self.clock))
            pair.flush()
            pair.client.close()
            pair.flush()
        names = [line["event"] for line in self.lines()]
        counts = {name: names.count(name) for name in names}
        self.assertEqual(
            counts, {"client_connected": 3, "client_admitted": 5, "client_gone": 5, "lines_summed": 3}, names
        )
        self.clock.advance(60)
        sums = [line["message"] for line in self.lines() if line.get("count")]
        self.assertEqual(
            sorted(sums),
            [
                "15 more clients that left in 60.0 s, from 1 address; most often: in order",
                f"15 more logins in 60.0 s, from 1 address; most often: as {LOGIN!r}",
                "17 more connections in 60.0 s, from 1 address",
            ],
        )
