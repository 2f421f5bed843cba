"""
How the demonstration compares what arrived with what was sent.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs.demo import compare
from sodiumtwist.programs.exits import CommandFailed


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
