"""
What is printed, and what becomes of it when nobody takes it.
"""

from __future__ import annotations

import ast
import errno
import io
import os
import sys

from twisted.trial.unittest import SynchronousTestCase

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
from sodiumtwist.programs.tap import Options

from ..describe.test_log import NASTY
from ..test_layering import PACKAGE

#: Calls that print texts of ours, of several lines, and nothing from outside: help, and what the demo ends with.
TEXTS = {
    "cli.py: print(options, file=sys.stderr)",
    "options.py: print_text(text)",
    # Each line of it is TOML, whose texts hold no more than may be printed.
    "service_options.py: print_text(shown)",
    "completion.py: print_text(script, end='')",
    "demo.py: print_text(BETWEEN_TWO_MACHINES)",
    "files.py: print_text(entry_as_json(entry))",
    "files.py: tell_as_it_is(error_as_json(failed.status, str(failed)))",
    "streams.py: tell_as_it_is(error_as_json(failed.status, str(failed)))",
    "streams.py: tell_as_it_is(error_as_json(lost.status, str(lost)))",
    "progress.py: tell_as_it_is(json.dumps(event))",
    "asking.py: print(file=sys.stderr)",
    "book.py: print_text(_as_json(server))",
    "inviting.py: print_text(replace(settings.server, secret=secret).whole)",
    "book_options.py: print('Invitation: ', end='', file=sys.stderr, flush=True)",
}


class Broken(io.StringIO):
    """Takes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def flush(self) -> None:
        raise OSError(self.number, os.strerror(self.number))


class LostTests(SynchronousTestCase):
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

    def test_help_of_services(self) -> None:
        """Whoever prints it, Twisted as well, a service ends with a line and the status."""
        self.patch(sys, "stdout", Broken(errno.ENOSPC))
        for arguments in (["--help"], ["--version"], ["--help-auth"], ["--help-auth-type", "argon2"]):
            self.said.truncate(0)
            self.said.seek(0)
            ended = self.assertRaises(SystemExit, Options().parseOptions, arguments)
            self.assertEqual(ended.code, EXIT_OUTPUT_LOST)
            self.assertEqual(self.said.getvalue(), "sodium: standard output: No space left on device\n")

    def test_errors_lost(self) -> None:
        """With a full standard error the status alone tells."""
        self.patch(sys, "stderr", Broken(errno.ENOSPC))
        print_error("text")

    def test_bar(self) -> None:
        """A terminal that goes ends no progress bar; one that stays shows it."""
        stream = NeverFails(Broken(errno.EIO))
        stream.write("50%")
        stream.flush()
        shown = NeverFails(self.said)
        shown.write("50%")
        self.assertEqual((self.said.getvalue(), shown.isatty()), ("50%", False))


class OutputTests(SynchronousTestCase):
    def printed(self, text: str, encoding: str) -> str:
        for stream, show in (("stdout", print_line), ("stderr", print_error)):
            shown = io.BytesIO()
            self.patch(sys, stream, io.TextIOWrapper(shown, encoding, write_through=True))
            show(text)
        return shown.getvalue().decode(encoding).removeprefix("sodiumtwist: ")

    def test_one_line(self) -> None:
        """Nothing from outside makes a line or a command."""
        self.assertEqual(self.printed(f"a {NASTY}", "utf-8"), "a ?[2J???1m???evil\n")

    def test_letters(self) -> None:
        """A terminal gets the letters that it has."""
        self.assertEqual(self.printed("\u00e9t\u00e9", "utf-8"), "\u00e9t\u00e9\n")
        shown = io.BytesIO()
        self.patch(sys, "stdout", io.TextIOWrapper(shown, "ascii", write_through=True))
        prepare_outputs()
        print_line("\u00e9t\u00e9")
        self.assertEqual(shown.getvalue(), b"\\xe9t\\xe9\n")

    def test_all_lines(self) -> None:
        """Whatever is printed passes there; so does what a process ends with."""
        found = set()
        for path in sorted((PACKAGE / "programs").glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                where = f"{path.name}: {ast.unparse(node)}"
                if called in ("print", "print_text", "tell_as_it_is") and path.name != "output.py":
                    found.add(where)
                elif called == "SystemExit" and isinstance(node.args[0], (ast.Constant, ast.JoinedStr)):
                    self.assertIsInstance(ast.literal_eval(node.args[0]), int, where)
                self.assertNotIn(called, ("sys.stdout.write", "sys.stderr.write"), where)
        self.assertEqual(found, TEXTS)
