"""
Whoever supervises workers: how they are started, replaced, asked and ended. No process is started here.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import tempfile
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import Logger, LogPublisher, formatEvent, globalLogPublisher, jsonFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist.describe.log import Logger as OurLogger, describe_address
from sodiumtwist.operation import folders, lines
from sodiumtwist.operation.logs import json_line, text_line
from sodiumtwist.operation.orders import FIRST_SOCKET, SHARED, read_orders
from sodiumtwist.operation.status import SHOWN_CLIENTS, Client, Clients, Health, IStatus
from sodiumtwist.operation.values import Value
from sodiumtwist.operation.workers import (
    ANSWER_TIME,
    FIRST_PAUSE,
    HURRY_TIME,
    LEAVE_TIME,
    LONGEST_PAUSE,
    STEADY_TIME,
    Workers,
)
from sodiumtwist.operation.workers_status import WorkersStatus, tell
from sodiumtwist.programs.worker import log_observer

from ..logs import logged
from .standins import FakeProcess, ProcessReactor


class FakeSocket:
    family = 2


class FakePort:
    """A port that would listen."""

    def __init__(self) -> None:
        self.reads, self.socket = True, FakeSocket()

    def stopReading(self) -> None:
        self.reads = False

    def fileno(self) -> int:
        return 77


class WorkersTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ProcessReactor()
        self.events = logged(self)
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.patch(tempfile, "tempdir", self.folder)

    def start(self, count: int = 2, remembers: bool = False) -> Workers:
        read = {"key": "11" * 32, "passphrase": "geheim"}
        workers = Workers(
            "sodium", ("--discard",), count, read, self.reactor, {}, drain_timeout=10, remembers=remembers
        )
        self.port = FakePort()
        port: Any = self.port
        workers.take("haproxy:systemd\\:domain=INET\\:index=3", port)
        workers.prepare()
        workers.start()
        return workers

    @property
    def processes(self) -> list[FakeProcess]:
        return self.reactor.processes

    def lines(self) -> list[str]:
        return [str(formatEvent(event)) for event in self.events]


class StartTests(WorkersTestCase):
    def test_orders(self) -> None:
        """What is secret goes through a pipe alone, and the port is theirs."""
        with patch.dict(os.environ, SODIUMTWIST_PASSPHRASE="geheim", SODIUMTWIST_KEY="22" * 32):
            self.start()
        self.assertFalse(self.port.reads)
        for number, process in enumerate(self.processes, 1):
            self.assertEqual(process.command[1:], ["-m", "sodiumtwist.programs.worker", "sodium", str(number)])
            self.assertNotIn("geheim", repr(process.environment))
            self.assertNotIn("SODIUMTWIST_KEY", process.environment)
            self.assertEqual(process.descriptors[FIRST_SOCKET], 77)
            self.assertIsInstance(process.descriptors[SHARED], int)
            assert process.orders is not None
            reading, writing = os.pipe()
            os.write(writing, repr(process.orders).replace("'", '"').replace("None", "null").encode())
            os.close(writing)
            orders = read_orders(reading)
            self.assertEqual((orders.words, orders.number, orders.count), (("--discard",), number, 2))
            self.assertEqual((orders.endpoints, orders.families), (("haproxy:tcp\\:0",), (2,)))
            self.assertEqual(orders.read["passphrase"], "geheim")
            self.assertNotIn("geheim", repr(orders))

    def test_no_orders(self) -> None:
        """Who was to give them is gone."""
        reading, writing = os.pipe()
        os.close(writing)
        self.assertRaises(ValueError, read_orders, reading)

    def test_reactor(self) -> None:
        """Workers have the same one: twistd has its name, and twist itself."""
        selecting = SelectReactor.__new__(SelectReactor)
        for given, name in ((None, None), ("poll", "poll"), (selecting, "select"), (object(), None)):
            workers = Workers("sodium", (), 1, {}, self.reactor, {"reactor": given}, 10)
            workers.prepare()
            workers.start()
            orders = self.processes[-1].orders
            assert orders is not None
            self.assertEqual(orders["reactor"], name)

    def test_ready(self) -> None:
        """When each has served once."""
        workers = self.start()
        self.processes[0].answer(serves=True)
        self.assertNoResult(workers.ready)
        self.assertEqual(workers.serving, 1)
        self.processes[1].answer(serves=True)
        self.successResultOf(workers.ready)

    def test_folder(self) -> None:
        """It is there for as long as they run, for them alone; what a killed server left is taken away."""
        left = os.path.join(self.folder, "sodiumtwist-workers-4194999-x")
        others = [f"sodiumtwist-workers-{os.getpid()}-x", "sodiumtwist-workers-1-x", "something"]
        os.mkdir(left)
        for name in others:
            os.mkdir(os.path.join(self.folder, name))
        # Of a process in a container, which has another number here.
        with patch.object(os, "getpid", lambda: 4194998):
            elsewhere = folders.Folder()
        self.patch(folders, "_is_alive", lambda process: process not in (4194998, 4194999))
        others.append(os.path.basename(elsewhere.path))
        workers = self.start(remembers=True)
        self.assertIn(f"removed {left}, which a server left behind that was killed", self.lines())
        assert self.processes[0].orders is not None
        above, name = os.path.split(self.processes[0].orders["replays"])
        self.assertEqual((name, os.stat(above).st_mode & 0o777), ("replays", 0o700))
        workers.stop()
        for process in self.processes:
            process.end()
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(others))
        elsewhere.remove()

    def test_alive(self) -> None:
        self.assertTrue(folders._is_alive(os.getpid()))
        self.assertTrue(folders._is_alive(1 << 80))


class LogTests(WorkersTestCase):
    def test_lines(self) -> None:
        """Those of a worker are in the one log, with its number; nothing breaks by what is none."""
        self.start()
        written = io.StringIO()
        Logger(namespace="sodiumtwist.somewhere", observer=LogPublisher(jsonFileLogObserver(written, ""))).warn(
            "{who} came within {seconds:.3g} s", who="ann", seconds=1 / 3, event="client_admitted"
        )
        data = written.getvalue().encode()
        self.events.clear()
        self.processes[1].log(b"no JSON\n" + data[:10])
        self.processes[1].log(data[10:])
        (event,) = self.events
        self.assertEqual((event["event"], event["worker"]), ("client_admitted", 2))
        self.assertEqual(formatEvent(event), "ann came within 0.333 s")
        self.assertEqual((event["log_system"], event["log_level"].name), ("worker 2, sodiumtwist.somewhere", "warn"))

    def test_failures(self) -> None:
        """A traceback of a worker is in the one log as one of this process is, in text and in JSON."""
        self.start()
        written = io.StringIO()
        patched = patch.object(globalLogPublisher, "_observers", [log_observer(written)])
        try:
            raise ValueError("no\nsuch thing" + "x" * 100_000)
        except ValueError:
            with patched:
                OurLogger().failure("{peer} has failed", Failure(), event="application_failed", peer="192.0.2.1:1")
        self.assertLess(len(written.getvalue()), 30_000)
        self.events.clear()
        self.processes[0].log(written.getvalue().encode())
        (event,) = self.events
        shown = json.loads(json_line(event))
        self.assertEqual((shown["event"], shown["message"]), ("application_failed", "192.0.2.1:1 has failed"))
        for text in (text_line(event) or "", shown["traceback"]):
            self.assertIn("Traceback (most recent call last):", text)
            self.assertIn("builtins.ValueError: 'no\\nsuch thing", text)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_said(self) -> None:
        """What a library or the interpreter says is there, too, also what has no end or is too long."""
        self.start()
        self.patch(lines, "LINE_LIMIT", 5)
        self.processes[0].say(b"one\ntwo")
        self.processes[0].say(b" three")
        self.processes[0].say(b"four")
        self.processes[0].end(1)
        said = [line for line in self.lines() if "says" in line]
        self.assertEqual(said, [f"worker 1 says: {line}" for line in ("one", "two three", "four")])


class LossTests(WorkersTestCase):
    def test_another(self) -> None:
        """It comes soon; later where none runs for long; and soon again when one did."""
        workers = self.start(1)
        pause, pauses = FIRST_PAUSE, []
        for _ in range(12):
            self.processes[-1].end(signal=signal.SIGKILL)
            pauses.append(pause)
            self.reactor.advance(pause * 0.99)
            count = len(self.processes)
            self.reactor.advance(pause * 0.011)
            self.assertEqual(len(self.processes), count + 1)
            pause = min(2 * pause, LONGEST_PAUSE)
        self.assertEqual(pauses[-1], LONGEST_PAUSE)
        self.reactor.advance(STEADY_TIME)
        self.processes[-1].end(3)
        self.reactor.advance(FIRST_PAUSE)
        self.assertEqual(len(self.processes), 14)
        self.assertEqual(workers.lost, 13)
        lost = [line for line in self.lines() if "is lost" in line]
        self.assertIn("it was ended by SIGKILL; another one starts in 0.1 seconds", lost[0])
        self.assertIn("it ended with status 3; another one starts in 0.1 seconds", lost[-1])

    def test_none_to_be_had(self) -> None:
        """What the system has no room for is tried again, ever less often; in the end nothing is left to do."""
        self.reactor.error = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        workers = self.start(1)
        self.assertIn(f"worker 1 can't be started: {os.strerror(errno.EAGAIN)}", self.lines())
        self.reactor.advance(FIRST_PAUSE)
        self.reactor.error = None
        self.reactor.advance(FIRST_PAUSE)
        self.assertEqual(self.processes, [])
        self.reactor.advance(FIRST_PAUSE)
        self.processes[0].end(1)
        self.successResultOf(workers.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_signal_without_name(self) -> None:
        self.start(1)
        self.processes[0].end(signal=63)
        self.assertIn("it was ended by signal 63", self.lines()[-1])

    def test_same_place(self) -> None:
        """The new one is what the lost one was, and the others stay."""
        self.start(3)
        self.processes[1].end(1)
        self.reactor.advance(FIRST_PAUSE)
        self.assertEqual(len(self.processes), 4)
        assert self.processes[3].orders is not None
        self.assertEqual(self.processes[3].orders["number"], 2)


class ReloadTests(WorkersTestCase):
    def test_told(self) -> None:
        """Those that run are told, and those that come later have it from the start."""
        workers = self.start(2)
        workers.reload(("--discard", "--message", "new"), {"passphrase": "other"}, 20)
        words, read = ["--discard", "--message", "new"], {"passphrase": "other"}
        for process in self.processes:
            self.assertEqual(process.heard, [{"do": "reload", "words": words, "read": read}])
        self.processes[0].end(1)
        self.reactor.advance(FIRST_PAUSE)
        orders = self.processes[2].orders
        assert orders is not None
        self.assertEqual((orders["words"], orders["read"]), (words, read))
        workers.stop()
        self.reactor.advance(20 + LEAVE_TIME - 0.1)
        self.assertEqual(self.processes[1].signals, [])
        for process in self.processes[1:]:
            process.end()

    def test_sessions(self) -> None:
        """None are counted before there are workers."""
        workers = Workers("sodium", (), 1, {}, self.reactor, {}, 10)
        self.assertEqual(workers.sessions(), 0)
        workers.prepare()
        self.assertEqual(workers.sessions(), 0)


class StopTests(WorkersTestCase):
    def test_in_order(self) -> None:
        """Each is told, and waited for. None comes in the place of another."""
        workers = self.start(3)
        self.processes[0].end(1)
        stopping = workers.stop()
        self.assertEqual([process.heard for process in self.processes], [[], [{"do": "stop"}], [{"do": "stop"}]])
        workers.hurry()
        self.assertEqual(self.processes[1].heard[-1], {"do": "hurry"})
        self.processes[1].end()
        self.assertNoResult(stopping)
        self.processes[2].end()
        self.successResultOf(stopping)
        self.assertEqual((len(self.processes), self.reactor.getDelayedCalls()), (3, []))

    def test_one_hangs(self) -> None:
        """It is killed when its time is up."""
        workers = self.start(1)
        stopping = workers.stop()
        self.assertIs(workers.stop(), stopping)
        self.reactor.advance(10 + LEAVE_TIME)
        self.assertEqual(self.processes[0].signals, ["KILL"])
        self.assertIn("worker 1 does not end, and is killed", self.lines())
        self.processes[0].end(signal=signal.SIGKILL)
        self.successResultOf(stopping)

    def test_one_hangs_in_a_hurry(self) -> None:
        """When all are to end at once, one that does not hear is not given the time of its connections."""
        workers = self.start(1)
        workers.stop()
        for _ in range(3):
            workers.hurry()
            self.reactor.advance(HURRY_TIME / 3)
        self.assertEqual(self.processes[0].signals, ["KILL"])
        workers.hurry()
        self.processes[0].end(signal=signal.SIGKILL)


@implementer(IStatus)
class OwnStatus:
    """The status of the process that supervises."""

    def metrics(self) -> Deferred[list[Value]]:
        return succeed([Value("process_cpu_seconds_total", (), 1), Value("sodiumtwist_unread_bytes_limit", (), 99)])

    def health(self) -> Deferred[Health]:
        raise AssertionError("that is asked of the service")

    def clients(self) -> Deferred[Clients]:
        return succeed(Clients(1, [Client("ann", "192.0.2.1", 2, 5.0, 1, 2)]))


class StatusTests(WorkersTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.workers = self.start()
        self.own: Any = OwnStatus()
        self.status = WorkersStatus(self.workers, self.own, lambda: Health())
        for process in self.processes:
            process.answer(serves=True)

    def metrics(self, *told: Sequence[object] | None) -> dict[str, float]:
        """Ask, and have the last processes tell so much; one that tells nothing is waited for."""
        asked = self.status.metrics()
        for process, values in zip(self.processes[-len(told) :], told, strict=True):
            assert process.heard[-1]["what"] == "metrics"
            if values is not None:
                process.answer(reply=process.heard[-1]["number"], told=values)
        self.reactor.advance(ANSWER_TIME)
        return {value.name: value.number for value in self.successResultOf(asked)}

    def test_sums(self) -> None:
        """By the rule of each; of the own process only what it takes of the machine."""
        told: list[object] = [
            ("sodiumtwist_connections_accepted_total", [], 3),
            ("sodiumtwist_connections_limit", [], 10),
        ]
        self.assertEqual(
            self.metrics([*told, ("process_cpu_seconds_total", [], 2)], [*told]),
            {
                "process_cpu_seconds_total": 3,
                "sodiumtwist_workers": 2,
                "sodiumtwist_workers_lost_total": 0,
                "sodiumtwist_connections_accepted_total": 6,
                "sodiumtwist_connections_limit": 10,
            },
        )

    def test_longest(self) -> None:
        """As many clients as the page shows, with the longest logins and addresses, get through the pipe in pieces."""
        client = Client("\1" * 255, describe_address(UNIXAddress(b"\1" * 107)), 2, 1e9, 1 << 60, 1 << 60)
        self.own.clients = lambda: succeed(Clients(SHOWN_CLIENTS, [client] * SHOWN_CLIENTS))
        asked = self.status.clients()
        for process in self.processes:
            told = self.successResultOf(Deferred.fromCoroutine(tell(self.own, "clients")))
            line = json.dumps({"reply": process.heard[-1]["number"], "told": told}).encode() + b"\n"
            for start in range(0, len(line), 1 << 16):
                process.answer_badly(line[start : start + (1 << 16)])
        clients = self.successResultOf(asked)
        self.assertEqual((clients.count, clients.shown), (2 * SHOWN_CLIENTS, [client] * SHOWN_CLIENTS))

    def test_silent(self) -> None:
        """One that does not answer in time is told of as before."""
        self.metrics(
            [("sodiumtwist_connections_accepted_total", [], 3)], [("sodiumtwist_connections_accepted_total", [], 4)]
        )
        values = self.metrics([("sodiumtwist_connections_accepted_total", [], 5)], None)
        self.assertEqual(values["sodiumtwist_connections_accepted_total"], 9)
        # Too late.
        self.processes[1].answer(reply=self.processes[1].heard[-1]["number"], told=[])
        self.processes[1].answer_badly(b"no JSON\n")

    def test_lost(self) -> None:
        """What it has counted still counts, and what it had is gone."""
        before: list[object] = [("sodiumtwist_connections_accepted_total", [], 3), ("sodiumtwist_connections", [], 2)]
        self.metrics([*before], [*before])
        self.processes[0].end(signal=signal.SIGKILL)
        self.reactor.advance(FIRST_PAUSE)
        self.processes[2].answer(serves=True)
        for _ in range(2):
            values = self.metrics([*before], [("sodiumtwist_connections_accepted_total", [], 1)])
            self.assertEqual(
                (values["sodiumtwist_connections_accepted_total"], values["sodiumtwist_connections"]), (7, 2)
            )
        self.assertEqual(values["sodiumtwist_workers_lost_total"], 1)

    def test_clients(self) -> None:
        """Those of all, the oldest first."""
        asked = self.status.clients()
        for process, since in zip(self.processes, (7.0, 6.0), strict=True):
            shown = [vars(Client("ann", "192.0.2.1", 2, since, 1, 2))]
            process.answer(reply=process.heard[-1]["number"], told={"count": 5, "shown": shown})
        clients = self.successResultOf(asked)
        self.assertEqual((clients.count, [client.since for client in clients.shown]), (10, [6.0, 7.0]))

    def test_told(self) -> None:
        """What a worker tells can be sent, and read again."""
        told = self.successResultOf(Deferred.fromCoroutine(tell(self.own, "clients")))
        self.assertEqual(told, {"count": 1, "shown": [vars(Client("ann", "192.0.2.1", 2, 5.0, 1, 2))]})
        values: Any = self.successResultOf(Deferred.fromCoroutine(tell(self.own, "metrics")))
        self.assertEqual([Value.read(value) for value in values][0], Value("process_cpu_seconds_total", (), 1.0))

    def test_health(self) -> None:
        self.assertTrue(self.successResultOf(self.status.health()).is_ready)
