"""
What ``CONTRIBUTING.rst`` says works, and what it names is there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import textwrap

from twisted.trial.unittest import SynchronousTestCase

from .processes import ProcessTestCase, clean_environment

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def page() -> str:
    with open(os.path.join(ROOT, "CONTRIBUTING.rst"), encoding="utf-8") as file:
        return file.read()


class CommandTests(ProcessTestCase):
    """Its commands."""

    def test_run(self) -> None:
        """Those that are not marked otherwise end well, in order, in a copy of the repository."""
        pattern = r"((?:\.\. not run: .+\n\n)?)\.\. code-block:: sh\n\n((?:    .*\n|\n)+)"
        blocks = re.findall(pattern, page())
        self.assertEqual(len(blocks), page().count("code-block::"))
        run = [textwrap.dedent(block) for mark, block in blocks if not mark]
        self.assertGreaterEqual(len(run), 5)
        copied = ["sodiumtwist", "twisted", "tests", "newsfragments"]
        for name in os.listdir(ROOT):
            if name in copied:
                shutil.copytree(os.path.join(ROOT, name), self.path(name), ignore=shutil.ignore_patterns("__pycache__"))
            elif os.path.splitext(name)[1] in (".rst", ".toml", ".cfg"):
                shutil.copy(os.path.join(ROOT, name), self.path(name))
        os.mkdir(self.path("bin"))
        with open(self.path("bin", "trial"), "w") as file:
            file.write(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m twisted.trial "$@"\n')
        os.chmod(self.path("bin", "trial"), 0o755)
        path = f"{self.path('bin')}{os.pathsep}{os.environ['PATH']}"
        for command in "\n".join(run).splitlines():
            if command:
                process = self.run_process(
                    ["sh", "-c", command], env=clean_environment(PATH=path, PYTHONPATH=self.directory)
                )
                self.assertEqual(process.wait(), 0, f"{command}\n{process.output}\n{process.errors}")


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
