"""
What the page on performance tells of speed: all of it comes from the figures of one run, and none can
become false.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import os
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.capacity import CONNECTIONS, Machine, Task, capacity, tasks
from benchmarks.pages import PARTS, REASONS, parts
from benchmarks.plot import GROUPS, OTHERS, draw, picture
from benchmarks.tables import Row, Table

from .pages import ROOT, read_page
from .test_docs import from_code

#: A figure of speed, time for a little work, or a ratio of them.
SPEED = re.compile(r"\d\s*(?:[kMGT]i?(?:B|bit)/s|ms\b|µs\b|ns\b|×|times\b|x as\b|(?:requests|connections)?\s?/s\b)")

#: What figures can make false.
CLAIM = re.compile(
    r"\b(?:(?:fast|slow|quick|cheap)(?:er|est)|(?:twice|half|as fast|as quick|as long) as|most of|outruns?|beats?)\b",
    re.I,
)

SVG = "{http://www.w3.org/2000/svg}"


@cache
def from_figures() -> Any:
    """The program of ``docs/``, which is no package."""
    from_code()  # it takes its parts of pages from there
    spec = importlib.util.spec_from_file_location("from_figures", os.path.join(ROOT, "docs", "from_figures.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_hand(page: str) -> str:
    """Return what of a page no program has made."""
    return re.sub(r"^\.\. from \w+: (.*)\n(?:.*\n)*?\.\. end of \1$", "", read_page(page), flags=re.M)


def row(key: str, *samples: float, first: float = 0.0, note: str = "", cpu: float | None = None) -> dict[str, Any]:
    """
    Make a row, with figures that nobody has measured.

    :param first: the figure of the first row, if this is another one.
    """
    median = sorted(samples)[len(samples) // 2] if samples else None
    ratio = {"median": first / median, "min": first / max(samples), "max": first / min(samples)} if median else None
    shown = ratio if first else None
    cpu_ratio = {"median": 0.5, "min": 0.4, "max": 0.6} if first and cpu else None
    values = {"samples": list(samples), "median": median, "ratio": shown, "cpu": cpu, "cpu_ratio": cpu_ratio}
    return {"key": key, "name": f"the {key}", **values, "wire": cpu and 1.0021, "note": note}


def table(key: str, *rows: dict[str, Any], unit: str = "MB/s", title: str = "") -> dict[str, Any]:
    units = {"cpu_unit": "s per GiB", "wire_unit": "bytes per payload byte"}
    return {
        "key": key,
        "title": title or f"title of {key}",
        "unit": unit,
        "better": "more",
        **units,
        "rows": list(rows),
    }


def figures(*tables: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make what ``--json`` writes of a run that has only these tables."""
    return {
        "date": "2024-02-29",
        "machine": {"processor": "Abacus", "cores": "2", "system": "Linux 6.1.2-of-someone x86_64", "load before": "9"},
        "versions": {"Python": "3.11.7", "pyzmq": "not installed"},
        "seed": 1,
        "quick": False,
        "busy": [],
        "tables": list(tables),
        **more,
    }


BULK = table(
    "bulk-65536",
    row("sodiumtwist", 900, 1000, 1200, cpu=0.7),
    row("sodiumtwist-1", 800, first=1000, cpu=1.4),
    row("tls", 400, 500, 600, first=1000, cpu=1.4, note="of a group"),
    row("zeromq", 2000, first=1000),
    row("amp", note="failed: it broke"),
    row("asyncio", 300, first=1000),
    row("transit", 100, first=1000),
    row("tcp", 4000, first=1000),
)


def said(name: str, *tables: dict[str, Any], **more: Any) -> str:
    """Return one part, made of these tables."""
    return "\n".join(parts(figures(*tables, **more))[name]())


class CurrentTests(SynchronousTestCase):
    """The pages as they are."""

    def test_current(self) -> None:
        """They have the figures of ``docs/figures.json``; otherwise run ``python docs/from_figures.py``."""
        texts, stale = from_figures().renewed(Path(ROOT))
        self.assertEqual(stale, [], "python docs/from_figures.py")
        for path, text in texts.items():
            self.assertEqual(read_page(path), text)

    def test_all_parts(self) -> None:
        """Each part that can be made has its place."""
        places = [
            part
            for page in from_figures().PAGES
            for part in re.findall("^.. from figures: (.*)$", read_page(page), re.M)
        ]
        self.assertEqual(sorted(places), sorted([*parts(figures(BULK)), *capacity(figures(BULK))]))

    def test_none_by_hand(self) -> None:
        """No figure of speed stands outside them, in any words."""
        readme = by_hand("README.rst")
        performance = by_hand("docs/explanation/performance.rst")
        self.assertIn("Where time goes", performance)
        on_capacity = by_hand("docs/explanation/capacity.rst")
        for text in (readme, performance, on_capacity):
            self.assertEqual(SPEED.findall(text), [])
        for text in (readme, performance, on_capacity):
            self.assertEqual(CLAIM.findall(text), [])

    def test_would_be_found(self) -> None:
        """These would be seen."""
        for text in ("it makes 1,003 MB/s", "12,538 /s", "in 0.08 ms", "1.3 times", "140,859 requests/s", "0.5 × TLS"):
            self.assertRegex(text, SPEED)
        for text in ("TLS is slower.", "It takes half as long as scp.", "as fast as TCP", "Most of it is the import."):
            self.assertRegex(text, CLAIM)
        for text in ("for 10 s each", "up to 16 MiB", "20 logins may fail in 60 s", "two sealings a record"):
            self.assertNotRegex(text, SPEED)


class TableTests(SynchronousTestCase):
    """The tables of the page."""

    def test_columns(self) -> None:
        """Figures with their spread, ratios with theirs, processor time and bytes on the wire."""
        text = said("bulk", BULK)
        self.assertIn(".. table:: Title of bulk-65536; CPU in s per GiB; wire in bytes per payload byte\n", text)
        cells = [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.startswith("   the ")]
        self.assertEqual(cells[0], ["the sodiumtwist", "1,000 (900–1,200)", "-", "0.7", "1.002"])
        self.assertEqual(cells[1], ["the sodiumtwist-1", "800", "1.25", "1.4 (0.50)", "1.002"])
        self.assertEqual(cells[2], ["the tls", "500 (400–600)", "2.00 (1.67–2.50)", "1.4 (0.50)", "1.002"])
        self.assertEqual(cells[3], ["the zeromq", "2,000", "0.50", "-", "-"])

    def test_no_columns(self) -> None:
        """What no row has takes no column."""
        text = said("bulk", table("bulk-65536", row("sodiumtwist", 1.0)))
        self.assertIn("   What             MB/s\n", text)

    def test_left_out(self) -> None:
        """What was not measured has no row, and there is a word on it."""
        text = said("bulk", BULK)
        self.assertIn("- *the amp* is left out: failed: it broke.\n", text)
        self.assertNotIn("\n   the amp", text)
        self.assertIn("\nThat run has no ``bulk-131070``.\n", text)
        for name in {*PARTS, "distance"} - {"bulk"}:
            self.assertRegex(said(name, BULK), r"^That run has no ``")

    def test_reasons(self) -> None:
        """Why one is ahead is said where it is, and nowhere else."""
        text = said("bulk", BULK)
        self.assertIn(f"- *the zeromq* is ahead (0.50): {REASONS['', 'zeromq']}.", text)
        self.assertEqual(text.count(" is ahead "), 1)
        rows = [row("sodiumtwist", 10), row("transit", 20, first=10), row("early", 5, first=10)]
        text = said("connections", table("connections", *rows))
        self.assertIn(f"*the transit* is ahead (0.50): {REASONS['connections', 'transit']}.", text)
        self.assertNotIn("early* is", text)
        self.assertIn("- *the tls*: of a group.\n", said("bulk", BULK))

    def test_shares(self) -> None:
        """Many connections are held against one, and nobody is ahead there."""
        text = said("scale", table("scale-throughput-sodium", row("1", 9.0), row("many", 3.0, first=1.5)))
        self.assertIn("Share of the first\n", text)
        self.assertNotIn("ahead", text)

    def test_distance(self) -> None:
        """Lines stand beneath each other: first those without a limit, the near ones first."""
        tables = []
        for kind, delay in (("link", 10), ("open", 100), ("open", 0)):
            rows = [row("upload", 700.0), row("one", 35.0, first=700.0)]
            title = f"distance, {delay} ms, {'125 MB/s' if kind == 'link' else 'no limit'}"
            tables.append(table(f"distance-{kind}-{delay}", *rows, title=title))
        tables[1]["rows"].pop()
        text = said("distance", *tables)
        lines = [re.split(r" {2,}", line.strip()) for line in text.splitlines() if " ms, " in line]
        self.assertEqual(
            lines,
            [
                ["0 ms, no limit", "700", "35.0"],
                ["100 ms, no limit", "700", "-"],
                ["10 ms, 125 MB/s", "700", "35.0"],
                ["0 ms, no limit", "20.0"],
                ["10 ms, 125 MB/s", "20.0"],
            ],
        )


class RunTests(SynchronousTestCase):
    """What is told of the run."""

    def test_machine(self) -> None:
        text = said("run", BULK)
        self.assertIn("of 29 February 2024, on 2 cores of Abacus, with Linux 6.1 x86_64.", " ".join(text.split()))
        self.assertIn("x86_64. The machine", " ".join(text.split()))
        self.assertIn("x86_64. It took 33 minutes. The machine", " ".join(said("run", BULK, minutes=33).split()))
        for fact in ("Python: 3.11.7.\n", "Not installed there: pyzmq.\n"):
            self.assertIn(fact, text)
        self.assertNotIn("someone", text)

    def test_more_of_the_machine(self) -> None:
        """What else the run says of it is told, too."""
        more = figures(BULK)
        more["machine"]["TLS"] = "X25519MLKEM768"
        self.assertIn("TLS: X25519MLKEM768; Python: 3.11.7.", "\n".join(parts(more)["run"]()))

    def test_busy(self) -> None:
        """A machine that was not quiet is told of, wherever its figures are."""
        busy = {**BULK, "busy": "steal 10 %"}
        for name in ("run", "short"):
            self.assertIn("The machine did nothing else meanwhile.", " ".join(said(name, BULK).split()))
            text = " ".join(said(name, busy, BULK, busy=["load 3.5", "bulk-65536: steal 10 %"]).split())
            self.assertIn("not quiet in 1 of 2 tables: so the figures are worth less.", text)
            text = " ".join(said(name, BULK, busy=["the load was 0.7 before the run began"]).split())
            self.assertIn("did nothing else meanwhile; the load was 0.7 before the run began.", text)
        self.assertIn("\n- The machine was not quiet: steal 10 %.\n", said("bulk", busy))
        far = {**table("distance-open-0", row("upload", 700.0), title="distance, 0 ms"), "busy": "load 2"}
        self.assertIn("\n- *distance, 0 ms*: The machine was not quiet: load 2.\n", said("distance", far))

    def test_short(self) -> None:
        """The best other one, whichever it is, and whoever is ahead."""
        text = " ".join(said("short", BULK).split())
        self.assertTrue(text.endswith("version 2 is 0.50 times as fast as ZeroMQ CURVE in bulk."), text)
        slow = copy.deepcopy(BULK)
        del slow["rows"][3]
        text = " ".join(said("short", slow).split())
        self.assertTrue(text.endswith("version 2 is 2.00 (1.67–2.50) times as fast as Twisted TLS in bulk."), text)
        self.assertIn(".. image:: ../performance.svg :alt: Bars for sodiumtwist and others: Bulk,", text)

    def test_quick(self) -> None:
        """A quick run is refused."""
        with self.assertRaisesRegex(ValueError, "a quick run"):
            parts(figures(BULK, quick=True))


class PictureTests(SynchronousTestCase):
    """The picture."""

    def texts(self, *tables: dict[str, Any]) -> list[str]:
        root = ElementTree.fromstring(picture(tables))
        return [text.text or "" for text in root.iter(f"{SVG}text")]

    def test_few(self) -> None:
        """Our two versions, and the best three others that do the same work and encrypt."""
        names = self.texts(BULK)[:-1]
        self.assertEqual(
            names,
            ["Bulk, 64 KiB payloads (MB/s)", "sodiumtwist", "1,000", "… with version 1", "800"]
            + ["ZeroMQ CURVE", "2,000", "Twisted TLS", "500", "asyncio TLS", "300"],
        )

    def test_lengths(self) -> None:
        """Bars are as long as their figures, and none is longer than the room for them."""
        root = ElementTree.fromstring(picture([BULK]))
        widths = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect")][1:]
        longest = max(widths)
        self.assertEqual([round(width / longest * 2000, -1) for width in widths], [1000, 800, 2000, 500, 300])

    def test_all_groups(self) -> None:
        """A group for each workload, two in a line, each with few bars; text has the size of a page's."""
        tables = [
            table(group.table, row("sodiumtwist", 2.0), *(row(key, 1.0, first=2.0) for key in group.others))
            for group in GROUPS
        ]
        root = ElementTree.fromstring(picture(tables))
        bars = [bar for bar in root.iter(f"{SVG}rect") if bar.get("class") != "page"]
        self.assertEqual(len(bars), sum(1 + min(OTHERS, len(group.others)) for group in GROUPS))
        self.assertLess(len(bars), 28)
        self.assertEqual(root.get("width"), "800")
        for bar in bars:
            self.assertLess(float(bar.attrib["x"]) + float(bar.attrib["width"]), 800)
            self.assertLess(float(bar.attrib["y"]), float(root.attrib["height"]) - 30)

    def test_same(self) -> None:
        """The same figures make the same file."""
        tables = [Table("serial", "requests", "requests/s")]
        tables[0].rows += [Row("ours", [2.0, 3.0]), Row("theirs", [1.0, 1.0])]
        path = self.mktemp()
        with self.assertRaises(SystemExit) as nothing:
            draw(tables, path)
        self.assertEqual(str(nothing.exception), "benchmarks: nothing of what was measured can be drawn")
        self.assertFalse(os.path.exists(path))
        self.assertEqual(picture([BULK]), picture([copy.deepcopy(BULK)]))


class ProgramTests(SynchronousTestCase):
    """``docs/from_figures.py``"""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        for path in (*from_figures().PAGES, from_figures().FIGURES, from_figures().PICTURE):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.join(ROOT, path), self.root / path)

    def run_program(self, *arguments: str) -> tuple[int, str]:
        printed = io.StringIO()
        with redirect_stdout(printed):
            status = from_figures().main(arguments, self.root)
        return status, printed.getvalue()

    def test_renewed(self) -> None:
        """With other figures all is stale until it is written anew; ``--check`` writes nothing."""
        self.assertEqual(self.run_program("--check"), (0, ""))
        (self.root / "docs/figures.json").write_text(json.dumps(figures(BULK)), encoding="utf-8")
        status, printed = self.run_program("--check")
        self.assertEqual(status, 1)
        for stale in (
            "docs/explanation/performance.rst: short",
            "docs/explanation/performance.rst: bulk",
            "docs/performance.svg",
        ):
            self.assertIn(f"{stale} is stale\n", printed)
        self.assertTrue(printed.endswith("to renew it: python docs/from_figures.py\n"))
        page = "docs/explanation/performance.rst"
        self.assertEqual((self.root / page).read_text(encoding="utf-8"), read_page(page))
        status, printed = self.run_program()
        self.assertEqual(status, 0)
        self.assertIn("docs/performance.svg is renewed\n", printed)
        self.assertIn("2.00", (self.root / "docs/explanation/performance.rst").read_text(encoding="utf-8"))
        self.assertEqual(self.run_program("--check"), (0, ""))

    def test_refused(self) -> None:
        """A quick run changes nothing."""
        (self.root / "docs/figures.json").write_text(json.dumps(figures(BULK, quick=True)), encoding="utf-8")
        printed = io.StringIO()
        with redirect_stderr(printed), self.assertRaises(SystemExit):
            from_figures().main([], self.root)
        self.assertIn("a quick run shows that all works, and not how fast it is", printed.getvalue())
        page = "docs/explanation/performance.rst"
        self.assertEqual((self.root / page).read_text(encoding="utf-8"), read_page(page))


class CapacityTests(SynchronousTestCase):
    """The page on capacity."""

    MEASURED = (
        table("connections", row("sodiumtwist", 200.0), unit="connections/s"),
        table("serial", row("sodiumtwist", 10_000.0, cpu=0.12), unit="requests/s"),
        table("scale-throughput-sodium", row("1", 2000.0), row(str(CONNECTIONS), 500.0)),
        table("scale-memory", row(f"sodiumtwist-{CONNECTIONS}", 8.0), unit="KiB"),
    )

    def said(self, name: str, *tables: dict[str, Any]) -> str:
        return "\n".join(capacity(figures(*tables))[name]())

    def test_core(self) -> None:
        """What a core does is what the tables say; what was not measured has no row."""
        text = self.said("capacity-core", *self.MEASURED)
        cells = [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.startswith("   ")]
        rows = {cell[0]: cell[1] for cell in cells if len(cell) == 4}
        self.assertEqual(
            [rows[name] for name in ("Fresh logins", "Bytes of many connections", "Memory of an idle connection")],
            ["200 /s", "500 MB/s", "8 KiB"],
        )
        self.assertNotIn("Files", rows)
        self.assertIn("That run has none of it.", self.said("capacity-core", table("start")))

    def test_processor_time(self) -> None:
        """Where the server's own processor time was measured, that counts. How workers share the work is told."""
        more = table("workers-logins", row("one process", 400.0), row("2 workers", 760.0, first=400.0))
        text = self.said("capacity-core", *self.MEASURED, more)
        self.assertRegex(text, r"Fresh logins +400 /s +.* workers-logins\n")
        self.assertIn("Two workers on two cores did 1.90 times as many logins as one process.", text)

    def test_tasks(self) -> None:
        """What each keeps busy."""
        by_name = {task.what: task for task in tasks(figures(*self.MEASURED))}
        idle = by_name["1,000,000 clients that are idle"]
        self.assertAlmostEqual(idle.cores, 1_000_000 / 60 * 0.00012)
        self.assertEqual((idle.processes, idle.memory), (100, 1_000_000 * 8 * 1024))
        self.assertAlmostEqual(by_name["They all log in within a minute"].cores, 1_000_000 / 60 / 200)
        self.assertAlmostEqual(by_name["Each has a request every 10 s"].cores, 10)
        many = by_name["100 Gbit/s of many connections"]
        self.assertEqual((many.cores, many.processes, many.network), (25, 25, 100e9))
        self.assertNotIn("100 Gbit/s of few connections", by_name)

    def test_machines(self) -> None:
        """As many as the scarcest of their parts asks for."""
        machine = Machine(cores=10, memory=1e9, network=1e9)
        for task, expected in {
            Task("", 10.5, 0, 0): (2, "cores"),
            Task("", 1.0, 11 * 10 * CONNECTIONS, 0): (11, "processes"),
            Task("", 1.0, 1, 2.5e9): (3, "memory"),
            Task("", 1.0, 1, 1, 7.1e9): (8, "network"),
        }.items():
            self.assertEqual(task.machines(machine), expected)
        text = self.said("capacity-machines", *self.MEASURED)
        self.assertRegex(text, r"100 Gbit/s of many connections +25.0 +25 +0.0763 GiB +4 +network\n")
        self.assertIn("That run has no figures for it.", self.said("capacity-machines", table("start")))
