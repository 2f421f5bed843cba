"""
The benchmarks run, and what they print has its form. How fast anything is, is not looked at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from types import SimpleNamespace
from typing import IO, Any

from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import __main__ as command_line, processes
from benchmarks.__main__ import NAMES, parse_options
from benchmarks.delay_line import QUEUE_SECONDS, Direction
from benchmarks.loopback import PEERS
from benchmarks.peers.counting import ECHO, SIZE, Asker, Counter
from benchmarks.plan import Plan
from benchmarks.scale import affordable
from benchmarks.tables import Failed, Figure, NotInstalled, Row, Table, in_turn
from benchmarks.workers import busiest

from .forking import Forked, fork
from .pair import MemoryTransport
from .processes import ProcessTestCase, Running, unmeasured

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class RunTests(ProcessTestCase):
    """``python -m benchmarks``"""

    def start(self, *options: str, env: Mapping[str, str] | None = None) -> Running:
        command = [sys.executable, "-m", "benchmarks", *options]
        return self.run_process(command, cwd=ROOT, env=env or unmeasured())

    def run_forked(self, *options: str) -> dict[str, Any]:
        """
        The same in this process, and with processes that have their imports already; return what was written.
        """

        def start(command: list[str], *, stderr: IO[bytes], cwd: str, **keywords: Any) -> Forked:
            self.assertEqual(command[:2], [sys.executable, "-m"])
            self.assertEqual(keywords, {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0})
            return fork(command[2:], subprocess.PIPE, cwd, unmeasured(), stderr=stderr.fileno())

        # The processes of its tiers, and of no other module.
        standin = SimpleNamespace(**vars(subprocess) | {"Popen": start})
        self.patch(processes, "subprocess", standin)
        with redirect_stdout(StringIO()) as said, redirect_stderr(said):
            status = command_line.main(["--quick", "--json", self.path("figures"), *options])
        self.assertEqual(status, 0, said.getvalue())
        figures: dict[str, Any] = json.loads(self.read("figures"))
        return figures

    def run_quickly(self, *options: str, env: Mapping[str, str] | None = None) -> tuple[Running, dict[str, Any]]:
        """Run to a good end; return what was written with ``--json``, too."""
        running = self.start("--quick", "--json", self.path("figures"), *options, env=env)
        self.assertEqual(running.wait(), 0, running.errors)
        return running, json.loads(self.read("figures"))

    def assert_measured(self, table: dict[str, Any]) -> None:
        """Each row has its samples, and all but the first a ratio between its extremes."""
        self.assertIn(table["better"], ("more", "less"))
        for row in table["rows"]:
            # Systems without /proc do not tell them; secretstream alone has no wire.
            for cost in ("cpu", "wire"):
                self.assertTrue(row[cost] is None or (row[cost] > 0 and table[f"{cost}_unit"]), row)
            self.assertEqual(len(row["samples"]), 1, row)
            self.assertGreater(min(row["samples"]), 0, row)
            self.assertTrue(min(row["samples"]) <= row["median"] <= max(row["samples"]))
        for row in table["rows"][1:]:
            if (ratio := row["ratio"]) is not None:
                self.assertTrue(0 < ratio["min"] <= ratio["max"])

    def test_without_processes(self) -> None:
        """The first two tiers: what was measured on, and each table, printed and written."""
        running, figures = self.run_quickly("--only", "crypto", "core")
        keys = [table["key"] for table in figures["tables"]]
        crypto = [f"crypto-{verb}-{size}" for size in (100, 65536, 131070) for verb in ("push", "pull")]
        self.assertEqual(keys[:6], crypto)
        core = [f"core-{kind}-{size}" for size in (100, 131070) for kind in ("pdus", "bytes")]
        self.assertEqual(keys[6:], [*core, "core-versions-bulk", "core-versions-requests"])
        for table in figures["tables"]:
            self.assert_measured(table)
            self.assertIn(f"{table['title']} ({table['unit']})", running.output)
            for row in table["rows"]:
                self.assertTrue(any(line.startswith(f"  {row['name']} ") for line in running.output), row["name"])
        self.assertEqual(figures["seed"], 20240229)
        self.assertIn(f"Python: {figures['versions']['Python']}", running.output)
        self.assertIn(f"cores: {figures['machine']['cores']}", running.output)
        self.assertNotIn(socket.gethostname(), json.dumps(figures["machine"]))

    def run_peers(self, workloads: str, peers: str) -> dict[str, list[str]]:
        """Run the third tier; give, for each table, the keys of the peers in it."""
        figures = self.run_forked("--only", *workloads.split(), "--peers", *peers.split())
        for table in figures["tables"]:
            self.assert_measured(table)
            self.assertTrue(all(row["ratio"] for row in table["rows"][1:]))
        self.notes = {row["key"]: row["note"] for table in figures["tables"] for row in table["rows"]}
        names = {peer.key: peer.name for peer in PEERS}
        for row in (row for table in figures["tables"] for row in table["rows"]):
            self.assertEqual(row["name"], names[row["key"]])
        return {table["key"]: [row["key"] for row in table["rows"]] for table in figures["tables"]}

    def test_bulk(self) -> None:
        """Real processes, with those that need nothing but what sodiumtwist needs."""
        peers = "sodiumtwist sodiumtwist-1 amp asyncio secretstream tcp"
        found = self.run_peers("bulk", peers)
        self.assertEqual(found, {"bulk-65536": peers.split(), "bulk-131070": peers.split()})

    def test_requests(self) -> None:
        peers = "sodiumtwist amp asyncio tcp"
        found = self.run_peers("in-flight answers", peers)
        self.assertEqual(found, {"in-flight": peers.split(), "answers": peers.split()})

    def test_connections(self) -> None:
        """sodiumtwist takes part in two ways. Of TLS it is said how it makes its keys."""
        peers = "sodiumtwist early tls amp asyncio tcp"
        self.assertEqual(self.run_peers("connections", peers), {"connections": peers.split()})
        for key in ("tls", "amp"):
            self.assertRegex(self.notes.pop(key), "^keys by [A-Za-z0-9]+$")
        self.assertEqual(set(self.notes.values()), {""})

    def test_other_peers(self) -> None:
        """Those that may be installed: they are measured, or it is said what is missing."""
        figures = self.run_forked("--only", "bulk", "--peers", "sodiumtwist", "zeromq", "transit")
        for table in figures["tables"]:
            for row, module in zip(table["rows"][1:], ("zmq", "wormhole"), strict=True):
                if importlib.util.find_spec(module) is None:
                    self.assertEqual((row["samples"], row["note"][:15]), ([], "not installed: "))
                else:
                    self.assertEqual((len(row["samples"]), row["note"]), (1, ""))

    def test_not_installed(self) -> None:
        """A peer whose library can't be imported is no error."""
        with open(self.path("zmq.py"), "w") as file:
            file.write("raise ImportError('no such library')\n")
        environment = unmeasured(PYTHONPATH=self.directory)
        running, figures = self.run_quickly("--only", "serial", "--peers", "sodiumtwist", "zeromq", env=environment)
        row = figures["tables"][0]["rows"][1]
        self.assertEqual((row["samples"], row["ratio"], row["note"]), ([], None, "not installed: no such library"))
        # Below it may stand that the machine is busy.
        line = next(line for line in running.output if line.startswith("  ZeroMQ"))
        self.assertRegex(line, "^  ZeroMQ CURVE +not installed: no such library$")

    def test_ping(self) -> None:
        figures = self.run_forked("--only", "ping")
        alone, beside = figures["tables"][0]["rows"]
        self.assertEqual((len(alone["samples"]), len(beside["samples"])), (1, 1), figures)

    def test_start(self) -> None:
        _, figures = self.run_quickly("--only", "start")
        rows = figures["tables"][0]["rows"]
        self.assertEqual([len(row["samples"]) for row in rows], [1] * 5, figures)

    def test_send(self) -> None:
        """A file by whole processes; scp and rsync take part where they can."""
        _, figures = self.run_quickly("--only", "send")
        rows = {row["key"]: row for row in figures["tables"][0]["rows"]}
        self.assertEqual([*rows], ["sodiumtwist", "sodiumtwist-directory", "sodiumtwist-1", "scp", "rsync"])
        for key in ("sodiumtwist", "sodiumtwist-directory", "sodiumtwist-1"):
            self.assertEqual((len(rows[key]["samples"]), rows[key]["note"]), (1, ""))
        for key in ("scp", "rsync"):
            self.assertTrue(rows[key]["samples"] or rows[key]["note"].startswith("not installed: "), rows[key])
        self.assert_memory(figures["tables"][1])

    def test_trees(self) -> None:
        """A folder by whole processes."""
        _, figures = self.run_quickly("--only", "trees", "--peers", "sodiumtwist", "rsync")
        ours, rsync = figures["tables"][0]["rows"]
        self.assertEqual((len(ours["samples"]), ours["note"]), (1, ""))
        self.assertTrue(rsync["samples"] or rsync["note"].startswith("not installed: "), rsync)
        self.assert_memory(figures["tables"][1])

    def assert_memory(self, table: dict[str, Any]) -> None:
        """Both our ends have told theirs, and the others have none."""
        self.assertEqual([row["key"] for row in table["rows"]], ["client", "server"])
        for row in table["rows"]:
            self.assertTrue(row["note"].startswith("not installed: ") or row["median"] > 10, row)
            self.assertIsNone(row["ratio"])

    def test_tunnel(self) -> None:
        """Requests to a redis through pairs of programs, where it is installed."""
        _, figures = self.run_quickly("--only", "tunnel", "--peers", "sodiumtwist", "stunnel", "redis")
        self.assertEqual([table["key"] for table in figures["tables"]], ["tunnel-1", "tunnel-16"])
        for table in figures["tables"]:
            self.assertEqual([row["key"] for row in table["rows"]], ["sodiumtwist", "stunnel", "redis"])
            for row in table["rows"]:
                self.assertTrue(row["samples"] or row["note"].startswith("not installed: "), row)

    def test_distance(self) -> None:
        """Through the proxy nothing is lost, and one DATA at a time takes its round trips."""
        figures = self.run_forked("--only", "distance")
        keys = [f"distance-{kind}-{delay}" for kind in ("open", "link") for delay in (0, 10)]
        self.assertEqual([table["key"] for table in figures["tables"]], keys)
        for table in figures["tables"]:
            self.assert_measured(table)
        for table in figures["tables"][1::2]:
            self.assertLess(table["rows"][1]["median"], 131070 / 0.02 / 1e6)
        for table in figures["tables"][2:]:
            for row in table["rows"]:
                self.assertLess(row["median"], 140)

    def test_plot(self) -> None:
        """The figures that were measured are drawn."""
        self.run_forked("--only", "serial", "--peers", "sodiumtwist", "tcp", "tls", "--plot", self.path("serial.svg"))
        self.assertIn(b">Requests, one at a time (requests/s)</text>", self.read("serial.svg"))

    def test_tell_all_the_same(self) -> None:
        """Where one thing can't even begin, that is said, and the others are measured."""

        def fail(plan: Plan) -> Iterator[Table]:
            raise Failed("it broke")
            yield

        def work(plan: Plan) -> Iterator[Table]:
            yield Table("start", "starts", "ms", [Row(f"{plan.rounds} rounds", [1.0])])

        self.patch(command_line, "SECTIONS", {"ping": fail, "start": work})
        said = StringIO()
        with redirect_stdout(said):
            status = command_line.main(["--only", "start", "ping", "--rounds", "3", "--json", self.path("figures")])
        self.assertEqual(status, 1)
        self.assertIn("\n  all of it  failed: it broke\n", said.getvalue())
        tables = json.loads(self.read("figures"))["tables"]
        self.assertEqual([(table["key"], table["rows"][0]["name"]) for table in tables][1], ("start", "3 rounds"))

    def test_bad_options(self) -> None:
        """An unknown name is refused with those that there are."""
        running = self.start("--only", "everything")
        self.assertEqual(running.wait(), 2)
        for name in NAMES:
            self.assertIn(f"'{name}'", running.errors[-1])
        with redirect_stderr(StringIO()) as said:
            self.assertRaises(SystemExit, parse_options, ["--rounds", "0"])
        self.assertIn("--rounds: takes a number from 1 on, not '0'", said.getvalue())


class WorkerTests(ProcessTestCase):
    """Servers of several processes."""

    def test_logins(self) -> None:
        """What the processes take is found, one by one. Here there is one worker."""
        code = (
            "from benchmarks import workers; "
            "figure = workers._measure('logins', ['--workers', '1'], 1, 1, 10); print(figure.value > 0, figure.cpu > 0)"
        )
        running = self.run_process([sys.executable, "-c", code], cwd=ROOT, env=unmeasured())
        self.assertEqual((running.wait(), running.output), (0, ["True True"]), running.errors)

    def test_busiest(self) -> None:
        """The least time is that of the busiest worker; or what all of them take, on all cores."""
        self.assertEqual(busiest(3.0, [1.0, 1.9], 2), 1.9)
        self.assertEqual(busiest(4.0, [1.5, 1.5], 2), 2.0)
        self.assertEqual(busiest(4.0, [], 1), 4.0)


class ScaleTests(ProcessTestCase):
    """Many connections."""

    def test_few(self) -> None:
        """They are held, send, and end."""
        code = (
            "from benchmarks import scale; from benchmarks.plan import Plan; "
            "plan = Plan(rounds=1, crowds=(1, 30), crowd_bytes=4_000_000); scale.MEASURABLE, scale.QUIET = 30, 0.1; "
            "[print(table.as_text()) for table in scale.run(plan)]"
        )
        running = self.run_process([sys.executable, "-c", code], cwd=ROOT, env=unmeasured())
        self.assertEqual(running.wait(), 0, running.errors)
        titles = [line.partition(":")[0] for line in running.output if not line.startswith("  ")]
        self.assertEqual(titles[:2], ["scale, throughput in total"] * 2)
        self.assertRegex(titles[2], "^scale, connections accepted")
        rows = [line for line in running.output if line.startswith("  ") and not line.startswith("  BUSY: ")]
        self.assertEqual(len(rows), 2 * 2 + 4 + (3 if os.path.exists("/proc/self/statm") else 0))
        for row in rows:
            self.assertRegex(row, r"^  .* -?[\d,.]+  \(-?[\d,.]+\.\.-?[\d,.]+\)")

    def test_descriptors(self) -> None:
        """What a process may not open is scaled down, with the reason."""
        import resource

        limits = (resource.RLIM_INFINITY, 500)
        self.patch(resource, "getrlimit", lambda which: limits)
        with tempfile.TemporaryFile("w+") as said:
            self.patch(sys, "stdout", said)
            self.assertEqual(affordable((1, 400, 1_000, 10_000)), [1, 400])
            said.seek(0)
            text = said.read()
        self.assertIn("1,000 connections become 400: a process may open no more", text)
        self.assertIn("10,000 connections become 400", text)


class TableTests(SynchronousTestCase):
    """Figures in turn."""

    def measure(self, *turns: Any, rounds: int = 3, warm_up: bool = True) -> tuple[Table, list[str]]:
        """Measure 'a' and 'b'; give what 'b' does at each turn."""
        calls: list[str] = []
        figures = iter(turns)

        def ours() -> float:
            calls.append("a")
            return 10.0 * len(calls)

        def theirs() -> float:
            calls.append("b")
            figure = next(figures)
            if isinstance(figure, Exception):
                raise figure
            return float(figure)

        return in_turn(Table("k", "t", "u"), {"a": ours, "b": theirs}, rounds, warm_up), calls

    def test_alternation(self) -> None:
        """A B A B, the first of which does not count."""
        table, calls = self.measure(1, 2, 2, 5)
        self.assertEqual(calls, ["a", "b"] * 4)
        self.assertEqual([row.samples for row in table.rows], [[30.0, 50.0, 70.0], [2.0, 2.0, 5.0]])
        ratio = table.ratio(table.rows[1])
        assert ratio is not None
        self.assertEqual((ratio.median, ratio.low, ratio.high), (25.0, 14.0, 25.0))
        self.assertIsNone(table.ratio(table.rows[0]))
        table.upside_down = True
        ratio = table.ratio(table.rows[1])
        assert ratio is not None
        self.assertEqual(ratio.median, 0.04)

    def test_no_warm_up(self) -> None:
        """The first counts."""
        table, calls = self.measure(5, rounds=1, warm_up=False)
        self.assertEqual(calls, ["a", "b"])
        self.assertEqual([row.samples for row in table.rows], [[10.0], [5.0]])

    def test_missing(self) -> None:
        """What isn't there is asked once; others go on."""
        table, calls = self.measure(NotInstalled("zmq"))
        self.assertEqual(calls, ["a", "b", "a", "a", "a"])
        self.assertEqual((table.rows[1].note, table.failed), ("not installed: zmq", False))
        self.assertRegex(table.as_text(), "(?m)^  b  not installed: zmq$")

    def test_failed(self) -> None:
        """What breaks has no figure, and the table says so."""
        table, calls = self.measure(1, 2, Failed("it broke"))
        self.assertEqual(calls, ["a", "b"] * 3 + ["a"])
        self.assertEqual((table.rows[1].samples, table.rows[1].note), ([], "failed: it broke"))
        self.assertTrue(table.failed)

    def test_costs(self) -> None:
        """Processor time and bytes on the wire stand beside each figure, the former as a ratio as well."""
        figures = {"a": Figure(2.0, 0.5, 1.0625), "b": Figure(1.0, 2.0), "c": Figure(1.0, None, 100.0)}
        table = Table("k", "t", "u", cpu_unit="s", wire_unit="bytes")
        in_turn(
            table, {key: partial(figures.__getitem__, key) for key in figures}, 2, False, {"a": "ours", "b": "theirs"}
        )
        found = table.as_json()
        rows = found.pop("rows")
        units = {"cpu_unit": "s", "wire_unit": "bytes", "better": "more", "busy": table.busy}
        self.assertEqual(found, {"key": "k", "title": "t", "unit": "u", **units})
        self.assertEqual([row["name"] for row in rows], ["ours", "theirs", "c"])
        self.assertEqual([row["key"] for row in rows], ["a", "b", "c"])
        self.assertEqual([row["cpu"] for row in rows], [0.5, 2.0, None])
        self.assertEqual([row["wire"] for row in rows], [1.0625, None, 100.0])
        self.assertEqual([row["cpu_ratio"] for row in rows], [None, {"median": 0.25, "min": 0.25, "max": 0.25}, None])
        table.busy = "somebody plays"
        title, ours, theirs, other, busy = table.as_text().splitlines()
        self.assertEqual((title, busy), ("t (u; CPU: s; wire: bytes)", "  BUSY: somebody plays"))
        self.assertRegex(ours, "^  ours  .* CPU    0.5 +wire 1.0625$")
        self.assertRegex(theirs, r"^  theirs  .* 2.00 x  \(2.00..2.00\) +CPU      2   0.25 x$")
        self.assertRegex(other, r"^  c  .* 2.00 x  \(2.00..2.00\) +wire    100$")

    def test_units(self) -> None:
        """Costs of a transfer are for each byte, those of requests for each of them."""
        self.assertEqual(Figure.of_bytes(2**29, 0.5, 3.0, 2**30), Figure(2**30 / 1e6, 6.0, 2.0))
        self.assertEqual(Figure.of_pieces(50, 0.5, 3.0, 150), Figure(100.0, 60.0, 3.0))
        self.assertEqual(Figure.of_pieces(50, 0.5), Figure(100.0))

    def test_options(self) -> None:
        """Without options all is measured."""
        self.assertEqual(tuple(parse_options([]).only), NAMES)


class CountingTests(SynchronousTestCase):
    """The protocol for streams of bytes."""

    def test_cut_anywhere(self) -> None:
        """Two rounds of bulk and some requests, whole and in pieces of any size."""
        requests: list[bytes] = []
        Asker(requests.append, b"ask", 3, 2, lambda: None)
        wire = SIZE.pack(5) + b"abcde" + SIZE.pack(2) + b"fg" + ECHO + b"".join(requests)
        expected = SIZE.pack(5) + SIZE.pack(2) + b"".join(requests)
        for size in range(1, len(wire) + 1):
            said: list[bytes] = []
            counter = Counter(said.append)
            for start in range(0, len(wire), size):
                counter.receive(wire[start : start + size])
            self.assertEqual(b"".join(said), expected)

    def test_answers(self) -> None:
        """A server that has been given an answer gives it to each request; large ones are put together from pieces."""
        requests: list[bytes] = []
        done: list[bool] = []
        asker = Asker(requests.append, b"ask", 3, 3, lambda: done.append(True))
        said: list[bytes] = []
        counter = Counter(said.append, b"answer" * 100)
        counter.receive(ECHO + requests[0])
        self.assertEqual(said, [(b"\0\0\2\x58" + b"answer" * 100) * 3])
        for start in range(0, len(said[0]), 7):
            self.assertEqual(done, [])
            asker.receive(said[0][start : start + 7])
        self.assertEqual(done, [True])

    def test_window(self) -> None:
        """As many requests are unanswered as may be, until all are answered."""
        asked: list[bytes] = []
        done: list[bool] = []
        asker = Asker(asked.append, b"ask", 3, 2, lambda: done.append(True))
        self.assertEqual(asked, [b"\0\0\0\3ask" * 2])
        asker.receive(b"\0\0\0\3as")
        self.assertEqual(len(asked), 1)
        asker.receive(b"k")
        self.assertEqual(asked[1:], [b"\0\0\0\3ask"])
        asker.receive(b"\0\0\0\3ask" * 2)
        self.assertEqual((len(asked), done), (2, [True]))


class DelayLineTests(SynchronousTestCase):
    """One way through the proxy."""

    def make(self, delay: float, rate: float = 0.0) -> tuple[Clock, MemoryTransport, MemoryTransport, Direction]:
        clock = Clock()
        source, sink = MemoryTransport(Protocol()), MemoryTransport(Protocol())
        return clock, source, sink, Direction(clock, source, sink, delay, rate)

    def drain(self, sink: MemoryTransport) -> None:
        sink.take(len(sink.out))
        sink.drained()

    def test_delay(self) -> None:
        """What comes leaves after the delay, in order, and none of it holds up what comes next."""
        clock, source, sink, way = self.make(0.5)
        way.take(b"a")
        clock.advance(0.25)
        way.take(b"b")
        self.assertEqual((bytes(sink.out), source.reading), (b"", True))
        clock.advance(0.25)
        self.assertEqual(bytes(sink.out), b"a")
        clock.advance(0.25)
        self.assertEqual(bytes(sink.out), b"ab")

    def test_end(self) -> None:
        """The end comes behind what is on its way."""
        clock, _, sink, way = self.make(0.5)
        way.take(b"a")
        way.end()
        self.assertFalse(sink.disconnecting)
        clock.advance(0.5)
        self.assertEqual((bytes(sink.out), sink.disconnecting), (b"a", True))

    def test_backpressure(self) -> None:
        """A receiver that takes no more holds up the sender."""
        clock, source, sink, way = self.make(0.5)
        for _ in range(2):
            way.take(bytes(150_000))
        clock.advance(0.5)
        self.assertEqual((len(sink.out), source.reading), (150_000, False))
        self.drain(sink)
        self.assertEqual((len(sink.out), source.reading), (150_000, False))
        self.drain(sink)
        self.assertTrue(source.reading)

    def test_rate(self) -> None:
        """A link lets through what it can, and takes no more than it lets wait."""
        clock, source, sink, way = self.make(0.0, rate=1e6)
        size = int(1e6 * QUEUE_SECONDS)
        way.take(bytes(size))
        self.assertTrue(source.reading)
        way.take(bytes(size))
        self.assertFalse(source.reading)
        clock.advance(QUEUE_SECONDS)
        self.assertEqual(len(sink.out), size)
        clock.advance(QUEUE_SECONDS / 2)
        self.assertTrue(source.reading)
        clock.advance(QUEUE_SECONDS / 2)
        self.assertEqual(len(sink.out), 2 * size)
