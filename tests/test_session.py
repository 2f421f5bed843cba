"""
The recorded session of the README: it is drawn from what the programs printed, and shows the README's own commands.
``python docs/record.py --check``, which CI runs, tells whether they still print the same.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from functools import cache
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from .pages import ROOT, read_blocks, read_page
from .test_docs import from_code


@cache
def record() -> Any:
    """The program of ``docs/``, which is no package."""
    from_code()  # it lets modules of that folder be imported
    spec = importlib.util.spec_from_file_location("record", os.path.join(ROOT, "docs", "record.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["record"] = module  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


class SessionTests(SynchronousTestCase):
    def test_drawn(self) -> None:
        """The picture is that of the record."""
        self.assertEqual(read_page("docs/images/session.svg"), record().draw(record().read()))

    def test_shown(self) -> None:
        """All that was printed is in the picture, each line whole."""
        root = ElementTree.fromstring(read_page("docs/images/session.svg"))
        shown = "".join("".join(text.itertext()) for text in root.iterfind("{*}text"))
        for typed in record().read():
            self.assertIn(f"${typed.command}", shown)
            for line in typed.lines:
                self.assertIn(line, shown)

    def test_readme(self) -> None:
        """These are the commands that the README tells, in that order, with names in the place of words."""
        commands = [line for block in read_blocks(read_page("README.rst")) for line in block.commands()]
        at = -1
        for _, command in record().SESSION[:-1]:
            told = command.replace(record().ADDRESS, "HOST:5555").replace("INVITATION", "sodium://ann@HOST:5555/#…")
            self.assertIn(told, commands)
            self.assertGreater(commands.index(told), at)
            at = commands.index(told)

    def test_recorded(self) -> None:
        """The record is of these commands."""
        url = next(line for line in record().read()[1].lines if line.startswith("sodium://"))
        self.assertEqual(
            [(typed.machine, typed.command.replace(url, "INVITATION")) for typed in record().read()],
            list(record().SESSION),
        )

    def test_what_counts(self) -> None:
        """Keys, times and rates may differ, and nothing else."""
        typed = record().read()
        for pattern, other in (
            (r"[0-9a-f]{64}", "a" * 64),
            (r"\.[0-9a-f]{32}", "." + "b" * 32),
            (r"(?:[a-z2-7]{4}-){4}[a-z2-7]{4}", "aaaa-bbbb-cccc-dddd-eeee"),
            (r"\d{4}-\d\d-\d\d", "2031-01-01"),
            (r"in [\d.]+ ", "in 9.999 "),
        ):
            changed = [
                record().Typed(
                    one.machine,
                    re.sub(pattern, other, one.command),
                    [re.sub(pattern, other, line) for line in one.lines],
                )
                for one in typed
            ]
            self.assertNotEqual(changed, typed, pattern)
            self.assertEqual(record().same(changed), record().same(typed))
        for one in typed:
            for number in range(len(one.lines)):
                lines = [*one.lines[:number], *one.lines[number + 1 :]]
                fewer = [record().Typed(one.machine, one.command, lines) if other is one else other for other in typed]
                self.assertNotEqual(record().same(fewer), record().same(typed))
