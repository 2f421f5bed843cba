"""
How the demonstration compares what arrived with what was sent.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs.demo import BETWEEN_TWO_MACHINES, compare
from sodiumtwist.programs.exits import CommandFailed


class AdviceTests(SynchronousTestCase):
    """What is told at the end."""

    def test_the_commands_of_the_readme(self) -> None:
        """Who goes on from there can send, list and get, as one who has read it there."""
        readme = " ".join(Path(__file__).parents[2].joinpath("README.rst").read_text().replace("\\\n", " ").split())
        told = BETWEEN_TWO_MACHINES.replace("\\\n", " ").splitlines()
        commands = [" ".join(line.split()) for line in told if line.startswith("   ")]
        self.assertEqual(len(commands), 5)
        for command in commands[:3]:
            self.assertIn(command, readme)


class CompareTests(SynchronousTestCase):
    """:func:`compare`"""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="sodiumtwist-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.patch(sys, "stdout", io.StringIO())

    def compare(self, sent: bytes, arrived: bytes, size: int) -> None:
        uploads = os.path.join(self.directory, "uploads")
        os.makedirs(uploads, exist_ok=True)
        for name, content in (("in", sent), ("uploads/one", arrived)):
            with open(os.path.join(self.directory, name), "wb") as file:
                file.write(content)
        compare(os.path.join(self.directory, "in"), uploads, size)

    def test_same(self) -> None:
        """What was sent counts; a file that grew meanwhile is no fault."""
        self.compare(b"some", b"some", 4)
        self.compare(b"some more", b"some", 4)
        self.compare(b"", b"", 0)

    def test_different(self) -> None:
        """Anything else is."""
        for sent, arrived, size in ((b"some", b"sum ", 4), (b"some", b"som", 4), (b"some", b"some more", 4)):
            self.assertRaises(CommandFailed, self.compare, sent, arrived, size)
        with open(os.path.join(self.directory, "uploads", "two"), "w"):
            pass
        self.assertRaises(CommandFailed, self.compare, b"some", b"some", 4)
