"""
What is shown of files on their way, and told of them.
"""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import struct
import sys
import termios
from inspect import signature
from typing import Any
from unicodedata import east_asian_width

from tqdm import tqdm
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import Code
from sodiumtwist.programs.bars import shown_by
from sodiumtwist.programs.progress import FAILURES_TOLD, NAME_WIDTH, Bar, Told, ToldAsJSON, shortened
from sodiumtwist.transfer.tree.messages import FILE, STREAM
from sodiumtwist.transfer.tree.report import (
    FAILED,
    REFUSED,
    STORED,
    THERE,
    WOULD_RESUME,
    WOULD_SEND,
    FileResult,
)
from sodiumtwist.transfer.tree.walking import A_DEVICE, A_LINK, UNFINISHED

EVIL = b"a\x1b[2J\nb"


class Terminal(io.StringIO):
    """Standard error, when it is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class ToldTestCase(SynchronousTestCase):
    """Has both outputs in memory."""

    def setUp(self) -> None:
        self.output = io.StringIO()
        self.errors = io.StringIO()
        self.patch(sys, "stdout", self.output)
        self.patch(sys, "stderr", self.errors)

    def lines(self) -> list[str]:
        """Lines of standard output."""
        return self.output.getvalue().splitlines()

    def warnings(self) -> list[str]:
        """Lines of standard error."""
        return self.errors.getvalue().splitlines()


class BarTests(ToldTestCase):
    """The progress bar."""

    def setUp(self) -> None:
        super().setUp()
        self.terminal = Terminal()
        self.patch(sys, "stderr", self.terminal)
        self.bar = Bar()
        self.addCleanup(self.bar.close)

    def shown(self) -> Any:
        return self.bar._bar

    def test_only_on_terminals(self) -> None:
        """Elsewhere nothing is shown, and all goes on."""
        self.patch(sys, "stderr", self.errors)
        self.bar.found(1, 10)
        self.bar.begins(b"a", 10, 5)
        self.bar.written(5)
        self.bar.settled(FileResult(b"a", FILE, STORED, b"a", 10))
        self.bar.clear()
        self.assertIsNone(self.shown())
        self.assertEqual(self.warnings(), [])

    def test_grows(self) -> None:
        """One bar for all: its total grows, and it counts what the receiver has written."""
        for _ in range(2):
            self.bar.found(10, 500)
        self.bar.begins(b"photos/a.jpg", 500, 0)
        self.bar.written(300)
        self.bar.written(100)
        self.assertEqual((self.shown().total, self.shown().n, self.shown().initial), (1000, 400, 0))
        self.assertEqual(self.shown().postfix, "photos/a.jpg")

    def test_there_counts_at_once(self) -> None:
        """Whole files and beginnings that were there are done, and do not count for the rate."""
        self.bar.found(2, 1000)
        self.bar.settled(FileResult(b"a", FILE, THERE, b"a", 600))
        self.assertEqual((self.shown().n, self.shown().initial), (600, 600))
        self.bar.begins(b"b", 400, 100)
        self.assertEqual((self.shown().n, self.shown().initial), (700, 700))
        self.bar.written(300)
        self.bar.settled(FileResult(b"b", FILE, STORED, b"b", 400))
        self.assertEqual((self.shown().n, self.shown().initial), (1000, 700))

    def test_agreed_in_the_end(self) -> None:
        """A file of which all was there, as both ends have found out, counts once."""
        self.bar.found(1, 400)
        self.bar.begins(b"b", 400, 400)
        self.bar.settled(FileResult(b"b", FILE, THERE, b"b", 400))
        self.assertEqual((self.shown().n, self.shown().initial), (400, 400))

    def test_holes(self) -> None:
        """They are not written; when the file is stored, they are done."""
        self.bar.found(2, 1000)
        self.bar.written(10)
        self.bar.settled(FileResult(b"a", FILE, STORED, b"a", 900))
        self.assertEqual(self.shown().n, 900)

    def test_stream(self) -> None:
        """What has no size has no total."""
        self.bar.found(1, 0)
        self.bar.written(300)
        self.assertEqual((self.shown().total, self.shown().n), (None, 300))

    def test_units(self) -> None:
        """Sizes and the rate are in units that people read; without a total there is no bar."""
        bar = {"n": 12_345_678, "initial": 345_678, "total": None, "elapsed": 2.0, "rate": None}
        for changed, expected in (
            ({}, "12.3 MB [00:02, 6.0 MB/s, a]"),
            ({"rate": 500.0}, "12.3 MB [00:02, 500 B/s, a]"),
            ({"elapsed": 0}, "12.3 MB [00:02, ?, a]"),
            ({"total": 24_691_356}, " 50%|=====| 12.3 MB/24.7 MB [00:02<00:03, 6.0 MB/s, a]"),
        ):
            shown = shown_by({**bar, **changed})
            rest = {"elapsed": "00:02", "remaining": "00:03", "postfix": ", a", "l_bar": " 50%|", "bar": "====="}
            self.assertEqual(shown["bar_format"].format(**rest, **shown), expected)

    def test_no_colour(self) -> None:
        """A bar that has a colour, as $TQDM_COLOUR gives it one, has none with $NO_COLOR."""
        self.patch(os, "environ", {**os.environ, "TERM": "xterm"})
        os.environ.pop("NO_COLOR", None)
        # Early releases of tqdm know no colours.
        green = "colour" in signature(tqdm.format_meter).parameters
        for value, coloured in ((None, green), ("", green), ("1", False)):
            if value is not None:
                os.environ["NO_COLOR"] = value
            bar = Bar()
            bar.found(1, 100)
            drawn: Any = bar._bar
            drawn.colour = "green"
            bar.written(50)
            drawn.refresh()
            self.assertEqual("\x1b[32m" in self.terminal.getvalue().rpartition("\r")[2], coloured, value)
            bar.close()

    def test_names(self) -> None:
        """Of long names the end is shown; nothing in them does anything to the terminal."""
        self.assertEqual(shortened(b"photos/a.jpg"), "photos/a.jpg")
        self.assertEqual(shortened(b"\xff"), r"\xff")
        self.assertEqual(shortened(EVIL), "a?[2J?b")
        self.assertEqual(shortened(b"x" * 100 + b"/a.jpg"), "…" + "x" * (NAME_WIDTH - 7) + "/a.jpg")

    def test_narrow(self) -> None:
        """It fits the terminal, also one that is made narrower meanwhile, or the terminal would go on below."""
        ends = os.openpty()
        for each in ends:
            self.addCleanup(os.close, each)
        self.patch(self.terminal, "fileno", lambda: ends[1])
        for width in (60, 30):
            fcntl.ioctl(ends[1], termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
            self.bar.found(1, 10**9)
            self.bar.begins("写真/😀.jpg".encode() * 9, 10**9, 0)
            self.bar.written(10**6)
            self.shown().refresh()
            drawn = self.terminal.getvalue().rpartition("\r")[2].rstrip()
            self.assertIn("1.0 MB/" if width == 60 else "2.0 MB/", drawn)
            self.assertLessEqual(sum(2 if east_asian_width(each) == "W" else 1 for each in drawn), width)

    def test_clear(self) -> None:
        """What is printed meanwhile has a line of its own."""
        self.patch(sys, "stdout", sys.stderr)
        told = Told(verbose=True)
        told.found(1, 1000)
        told.settled(FileResult(b"a", FILE, STORED, b"a", 10))
        told.close()
        self.assertIn(" \rstored a (10 B)\n", self.terminal.getvalue())


class LinesTests(ToldTestCase):
    """What people are told."""

    def test_quiet_by_default(self) -> None:
        """One line in the end, whatever there was."""
        told = Told()
        told.found(3, 500)
        told.begins(b"photos/a", 100, 0)
        told.written(100)
        told.settled(FileResult(b"photos/a", FILE, STORED, b"photos/a", 100))
        self.assertEqual(self.lines(), [])
        told.sum_up(0.5)
        self.assertEqual(self.lines(), ["sent 1 file, 100 B in 0.500 s (200 B/s)"])
        self.assertEqual(self.warnings(), [])

    def test_sum(self) -> None:
        """What was not sent is counted."""
        told = Told()
        for count, outcome, name in ((20, STORED, b"a"), (2, STORED, b"a.1"), (13, THERE, b"a")):
            for _ in range(count):
                told.settled(FileResult(b"a", FILE, outcome, name, 5))
        told.written(3_000_000)
        told.left_out(b"l", A_LINK)
        told.left_out(b"m", A_LINK)
        told.left_out(b"d", UNFINISHED)
        self.assertEqual(
            told.describe(2.0),
            "sent 22 files, 3.0 MB in 2.000 s (1.5 MB/s); 2 have new names; 13 files were there already; "
            "2 links and 1 other were left out",
        )

    def test_one_of_each(self) -> None:
        """Grammar; and the only new name is told."""
        told = Told()
        told.settled(FileResult(b"p/a", FILE, STORED, b"p/a.1", 5))
        told.settled(FileResult(b"p/b", FILE, THERE, b"p/b", 5))
        told.settled(FileResult(b"p/c", FILE, FAILED, text="no"))
        told.left_out(b"l", A_LINK)
        self.assertEqual(
            told.describe(1.0),
            "sent 1 file, 0 B in 1.000 s (0 B/s); stored as p/a.1; 1 file was there already; "
            "1 file failed; 1 link was left out",
        )

    def test_verbose(self) -> None:
        """A line for each."""
        told = Told(verbose=True)
        for result in (
            FileResult(b"photos/a.jpg", FILE, STORED, b"photos/a.jpg", 1234),
            FileResult(b"photos/b.jpg", FILE, STORED, b"photos/b.jpg.1", 12),
            FileResult(b"photos/c.jpg", FILE, THERE, b"", 1),
            FileResult(b"photos/d.jpg", FILE, REFUSED, code=Code.STORAGE, text="too large"),
            FileResult(b"", STREAM, STORED, b"20261128T073930Z", 3),
        ):
            told.settled(result)
        told.left_out(b"photos/l", A_LINK)
        told.trouble(b"photos/e.jpg", "Permission denied")
        self.assertEqual(
            self.lines(),
            [
                "stored photos/a.jpg (1.2 kB)",
                "stored photos/b.jpg (12 B) as photos/b.jpg.1",
                "there photos/c.jpg (1 B)",
                "stored - (3 B) as 20261128T073930Z",
            ],
        )
        self.assertEqual(
            self.warnings(),
            [
                "sodiumtwist: refused photos/d.jpg: too large",
                f"sodiumtwist: left out photos/l: {A_LINK}",
                "sodiumtwist: cannot read photos/e.jpg: Permission denied",
            ],
        )
        self.assertEqual(told.failed, 2)

    def test_failures(self) -> None:
        """Each has a line, but a great many have a number."""
        told = Told()
        for number in range(FAILURES_TOLD + 5):
            told.settled(FileResult(b"%d" % number, FILE, FAILED, text="the disk is full"))
        told.close()
        self.assertEqual(self.warnings()[0], "sodiumtwist: failed 0: the disk is full")
        self.assertEqual(len(self.warnings()), FAILURES_TOLD + 1)
        self.assertEqual(self.warnings()[-1], "sodiumtwist: 5 more like these; --verbose names all")
        self.assertEqual(told.failed, FAILURES_TOLD + 5)
        every = Told(verbose=True)
        self.errors.truncate(self.errors.seek(0))
        for number in range(FAILURES_TOLD + 5):
            every.settled(FileResult(b"%d" % number, FILE, FAILED, text="the disk is full"))
        every.close()
        self.assertEqual(len(self.warnings()), FAILURES_TOLD + 5)

    def test_others(self) -> None:
        """Devices and the like have a line each, and are no failures."""
        told = Told()
        for number in range(FAILURES_TOLD + 5):
            told.left_out(b"%d" % number, A_DEVICE)
        told.close()
        self.assertEqual(self.warnings()[0], f"sodiumtwist: left out 0: {A_DEVICE}")
        self.assertEqual((len(self.warnings()), told.others, told.failed), (FAILURES_TOLD, FAILURES_TOLD + 5, 0))

    def test_what_the_server_adds(self) -> None:
        """A file may be stored, and something is to be told of it."""
        told = Told()
        told.settled(FileResult(b"a", FILE, STORED, b"a", 1, text="its command failed"))
        self.assertEqual(self.warnings(), ["sodiumtwist: warning: a: its command failed"])
        self.assertEqual((told.stored, told.failed), (1, 0))

    def test_dry(self) -> None:
        """Each file has its line, and the sum counts what would be sent."""
        told = Told(dry=True)
        told.found(3, 60)
        told.settled(FileResult(b"a", FILE, WOULD_SEND, b"", 10))
        told.settled(FileResult(b"b", FILE, WOULD_RESUME, b"", 20))
        told.settled(FileResult(b"c", FILE, THERE, b"", 30))
        told.sum_up(1.0)
        self.assertEqual(
            self.lines(),
            [
                "would send a (10 B)",
                "would resume b (20 B)",
                "there c (30 B)",
                "would send 2 files, 30 B; 1 file was there already",
            ],
        )

    def test_get(self) -> None:
        """The other direction has words of its own."""
        told = Told("get", dry=True)
        told.settled(FileResult(b"a", FILE, WOULD_SEND, b"", 10))
        told.sum_up(1.0)
        self.assertEqual(self.lines(), ["would get a (10 B)", "would get 1 file, 10 B"])
        # Nothing is stored, also where it is broken off.
        self.assertEqual(told.so_far(), "1 file looked at")
        self.assertEqual(Told("get").describe(0.0), "got 0 files, 0 B in 0.000 s (0 B/s)")
        self.assertEqual(Told("get").so_far(), "0 files and 0 B stored")

    def test_names(self) -> None:
        """Whatever a name or the server's words hold, it is a line."""
        told = Told(verbose=True)
        told.settled(FileResult(EVIL, FILE, STORED, EVIL + b"\xff", 1))
        told.settled(FileResult(EVIL, FILE, FAILED, text="no\nway"))
        self.assertEqual(self.lines(), [r"stored a?[2J?b (1 B) as a?[2J?b\xff"])
        self.assertEqual(self.warnings(), ["sodiumtwist: failed a?[2J?b: no?way"])


class JSONTests(ToldTestCase):
    """``--json``"""

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def test_files(self) -> None:
        """Each has an object: name sent, name stored, bytes, digest."""
        told = ToldAsJSON()
        told.settled(FileResult(b"p/a", FILE, STORED, b"p/a.1", 12, "ab" * 32))
        told.settled(FileResult(b"p/b", FILE, THERE, b"", 5, text="odd"))
        file = {"event": "file", "name": "p/a", "stored_as": "p/a.1", "bytes": 12, "digest": "ab" * 32}
        there = {"event": "file", "name": "p/b", "stored_as": "p/b", "bytes": 5, "digest": "", "text": "odd"}
        self.assertEqual(self.events(), [{**file, "outcome": "stored"}, {**there, "outcome": "there"}])
        self.assertEqual(self.warnings(), [])

    def test_not_utf_8(self) -> None:
        """Such a name is there twice: to be read, and with its bytes. However long it is, it is whole."""
        told = ToldAsJSON()
        name = b"\xff/" * 2000
        told.settled(FileResult(name, FILE, STORED, name, 12))
        (event,) = self.events()
        for field in ("name", "stored_as"):
            self.assertEqual(event[field], r"\xff/" * 2000)
            self.assertEqual(base64.b64decode(event[f"{field}_base64"]), name)

    def test_errors(self) -> None:
        """They are JSON, too, besides the lines on standard error: all of them."""
        told = ToldAsJSON()
        told.settled(FileResult(b"a", FILE, REFUSED, code=Code.STORAGE, text="full"))
        told.trouble(b"b", "Permission denied")
        told.left_out(b"l", A_LINK)
        told.left_out(b"d", A_DEVICE)
        told.fails(2, "cannot connect")
        summary = self.events()[-1]
        self.assertEqual((summary["event"], summary["stored"], summary["failed"]), ("summary", False, 2))
        told.fails(2, "not twice")
        self.assertEqual(
            self.events()[:-1],
            [
                {"event": "error", "name": "a", "outcome": "refused", "code": Code.STORAGE, "text": "full"},
                {"event": "error", "name": "b", "outcome": "cannot read", "code": 0, "text": "Permission denied"},
                {"event": "error", "name": "l", "outcome": "left out", "code": 0, "text": A_LINK},
                {"event": "error", "name": "d", "outcome": "left out", "code": 0, "text": A_DEVICE},
                {"event": "error", "status": 2, "text": "cannot connect"},
            ],
        )
        self.assertEqual(
            self.warnings(), ["sodiumtwist: refused a: full", "sodiumtwist: cannot read b: Permission denied"]
        )

    def test_sum(self) -> None:
        """It has what the closing line of older releases had."""
        told = ToldAsJSON()
        told.settled(FileResult(b"a", FILE, STORED, b"a", 100))
        told.written(100)
        told.sum_up(0.5)
        summary = self.events()[-1]
        counts = {"files": 1, "there": 0, "renamed": 0, "failed": 0, "links": 0, "others": 0}
        old = {"bytes": 100, "seconds": 0.5, "bytes_per_second": 200.0, "stored": True, "grown": 0, "protocol": 2}
        self.assertEqual(summary, {"event": "summary", **counts, **old})

    def test_sum_of_a_dry_run(self) -> None:
        """Nothing is stored, and a script must not take it for that."""
        told = ToldAsJSON(dry=True)
        told.settled(FileResult(b"a", FILE, WOULD_SEND, b"", 100))
        told.sum_up(0.5)
        self.assertIs(self.events()[-1]["stored"], False)
