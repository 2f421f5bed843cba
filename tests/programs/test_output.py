"""
What becomes of what is printed when nobody takes it.
"""

from __future__ import annotations

import ast
import errno
import io
import os
import sys

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist.programs
from sodiumtwist.programs import output
from sodiumtwist.programs.exits import EXIT_OUTPUT_GONE, EXIT_OUTPUT_LOST
from sodiumtwist.programs.output import (
    NeverFails,
    OutputLost,
    prepare_outputs,
    print_error,
    print_line,
    print_text,
    tell,
)


class Broken(io.StringIO):
    """Takes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def flush(self) -> None:
        raise OSError(self.number, os.strerror(self.number))


class OutputTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.said = io.StringIO()
        self.patch(sys, "stderr", self.said)
        self.discarded = 0

        def discard() -> None:
            self.discarded += 1

        self.patch(output, "discard_standard_output", discard)

    def test_full(self) -> None:
        """A line that names standard output, and a status of its own; what is left is discarded."""
        self.patch(sys, "stdout", Broken(errno.ENOSPC))
        lost = self.assertRaises(OutputLost, print_text, "text")
        self.assertEqual((lost.status, str(lost)), (EXIT_OUTPUT_LOST, "standard output: No space left on device"))
        self.assertEqual(self.discarded, 1)

    def test_reader_gone(self) -> None:
        """No line, and a status as after SIGPIPE."""
        self.patch(sys, "stdout", Broken(errno.EPIPE))
        lost = self.assertRaises(OutputLost, print_text, "text")
        self.assertEqual((lost.status, str(lost), self.discarded), (EXIT_OUTPUT_GONE, "", 1))

    def test_closed(self) -> None:
        """Without the two nothing is printed, and nothing fails."""
        self.patch(sys, "stdout", None)
        self.patch(sys, "stderr", None)
        print_line("text")
        tell("text")
        print_error("text")
        self.assertEqual(self.discarded, 0)

    def test_told(self) -> None:
        """What has been done stays done: a warning at most."""
        for number, said in (
            (errno.ENOSPC, "sodiumtwist: warning: standard output: No space left on device; all is done .*\n"),
            (errno.EPIPE, ""),
        ):
            self.said.truncate(0)
            self.said.seek(0)
            self.patch(sys, "stdout", Broken(number))
            tell("sent 5 bytes")
            self.assertRegex(self.said.getvalue(), f"^{said}$")

    def test_errors_lost(self) -> None:
        """With a full standard error the status alone tells."""
        self.patch(sys, "stderr", Broken(errno.ENOSPC))
        print_error("text")

    def test_any_text(self) -> None:
        """What the terminal's encoding has not is replaced, and so is what a terminal would obey."""
        written = io.BytesIO()
        self.patch(sys, "stdout", io.TextIOWrapper(written, "ascii"))
        prepare_outputs()
        print_line("Gr\u00fc\u00dfe\x1b[2J\nvon \udcff")
        print_text("a\nb")
        self.assertEqual(written.getvalue(), b"Gr\\xfc\\xdfe?[2J?von ?\na\nb\n")

    def test_bar(self) -> None:
        """A terminal that goes ends no progress bar; one that stays shows it."""
        stream = NeverFails(Broken(errno.EIO))
        stream.write("50%")
        stream.flush()
        shown = NeverFails(self.said)
        shown.write("50%")
        self.assertEqual((self.said.getvalue(), shown.isatty()), ("50%", False))


class OnePlaceTests(SynchronousTestCase):
    """All of this holds for each program, as no other module prints to standard output."""

    def test_print(self) -> None:
        (folder,) = sodiumtwist.programs.__path__
        found = []
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".py") or name == "output.py":
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                tree = ast.parse(file.read())
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                    # The help of a command line without a command, and a newline behind a prompt.
                    if [ast.unparse(keyword.value) for keyword in node.keywords] != ["sys.stderr"]:
                        found.append(f"{name}, line {node.lineno}")
        self.assertEqual(found, [])
