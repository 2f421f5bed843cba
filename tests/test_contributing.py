"""
What ``CONTRIBUTING.rst`` says works, and what it names is there.
"""

from __future__ import annotations

import os
import re
import shutil

from twisted.trial.unittest import SynchronousTestCase

from .pages import PageTestCase, read_blocks

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def page() -> str:
    with open(os.path.join(ROOT, "CONTRIBUTING.rst"), encoding="utf-8") as file:
        return file.read()


class CommandTests(PageTestCase):
    """Its commands."""

    def test_run(self) -> None:
        """Those that are not marked otherwise end well, in order, in a copy of the repository."""
        run = [block for block in read_blocks(page()) if not block.not_run]
        self.assertGreaterEqual(len(run), 5)
        copied = ["benchmarks", "docs", "newsfragments", "sodiumtwist", "tests", "twisted"]
        left_out = shutil.ignore_patterns("_build")
        for name in os.listdir(ROOT):
            if name in copied:
                shutil.copytree(os.path.join(ROOT, name), self.path(name), ignore=left_out)
            elif os.path.splitext(name)[1] in (".rst", ".toml", ".cfg"):
                shutil.copy(os.path.join(ROOT, name), self.path(name))
        self.environment["PYTHONPATH"] = self.directory
        # The tests that the commands name run with all examples where this one is run, too.
        self.environment["EXAMPLES"] = "again"
        self.read_as_told("CONTRIBUTING.rst")


class NameTests(SynchronousTestCase):
    """What it names."""

    def test_paths(self) -> None:
        """Files exist, and define what is named in them."""
        found = re.findall(r"``((?:sodiumtwist|tests|fuzz|newsfragments)/[\w/]*(?:\.py)?)(?:: (\w+))?``", page())
        self.assertGreater(len(found), 30)
        for path, name in found:
            self.assertTrue(os.path.exists(os.path.join(ROOT, path)), path)
            if name:
                with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                    defined = re.findall(r"^ *(?:class|(?:async )?def) (\w+)|^ *(\w+)(?:: .*)? = ", file.read(), re.M)
                self.assertIn(name, {either for pair in defined for either in pair}, path)

    def test_kinds_of_changes(self) -> None:
        """It lists those that ``pyproject.toml`` has."""
        with open(os.path.join(ROOT, "pyproject.toml"), encoding="utf-8") as file:
            kinds = re.findall(r'\[\[tool\.towncrier\.type\]\]\ndirectory = "(\w+)"', file.read())
        self.assertTrue(kinds)
        listed = re.search(r"where the kind is\n(.*?)\. It holds", page(), re.DOTALL)
        assert listed is not None
        self.assertEqual(sorted(re.findall(r"``(\w+)``", listed[1])), sorted(kinds))
