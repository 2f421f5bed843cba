"""
What is printed.
"""

from __future__ import annotations

import ast
import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs.output import print_error, print_line

from ..describe.test_log import NASTY
from ..test_layering import PACKAGE

#: Calls that print texts of ours, of several lines, and nothing from outside: help, and what the demo ends with.
TEXTS = {
    "cli.py: print(options, file=sys.stderr)",
    "options.py: print(text)",
    "demo.py: print(BETWEEN_TWO_MACHINES)",
    "passwd.py: print(file=sys.stderr)",
}


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
        print_line("\u00e9t\u00e9")
        self.assertEqual(shown.getvalue(), b"\\xe9t\\xe9\n")

    def test_closed(self) -> None:
        self.patch(sys, "stdout", None)
        print_line("to nobody")

    def test_all_lines(self) -> None:
        """Whatever is printed passes there; so does what a process ends with."""
        found = set()
        for path in sorted((PACKAGE / "programs").glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                where = f"{path.name}: {ast.unparse(node)}"
                if called == "print" and path.name != "output.py":
                    found.add(where)
                elif called == "SystemExit" and isinstance(node.args[0], (ast.Constant, ast.JoinedStr)):
                    self.assertIsInstance(ast.literal_eval(node.args[0]), int, where)
                self.assertNotIn(called, ("sys.stdout.write", "sys.stderr.write"), where)
        self.assertEqual(found, TEXTS)
