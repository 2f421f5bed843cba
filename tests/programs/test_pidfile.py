"""
A pid file that is there when a server starts.
"""

from __future__ import annotations

import io
import os
import sys

from twisted.python import usage

from sodiumtwist.programs.pidfile import describe_pid_file
from sodiumtwist.programs.tap import Options

from .test_tap import TapTestCase


class PidFileTests(TapTestCase):
    def parse_with(self, text: str) -> str:
        """Parse a command line of twistd with a pid file that holds this; return what is said."""
        self.write("twistd.pid", text)
        options = Options()
        options.parent = usage.Options()
        options.parent["pidfile"] = "twistd.pid"
        self.patch(sys, "stderr", said := io.StringIO())
        options.parseOptions(["--discard"])
        return said.getvalue()

    def test_own(self) -> None:
        """In a container that is started again, the server has the number of the one before: the file goes."""
        said = self.parse_with(f"{os.getpid()}\n")
        self.assertEqual(said, "sodium: warning: removed twistd.pid, the pid file of a server that is gone\n")
        self.assertFalse(os.path.exists("twistd.pid"))

    def test_own_stays(self) -> None:
        """Who may not remove it is told of it."""

        def remove(path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

        self.patch(os, "remove", remove)
        error = self.assertRaises(SystemExit, self.parse_with, str(os.getpid()))
        self.assertRegex(str(error), "^sodium: .*twistd.pid: Permission denied")

    def test_other(self) -> None:
        """Another process with that number may be the server: which it is, and what to do."""
        error = self.assertRaises(SystemExit, self.parse_with, f"{os.getppid()}")
        self.assertRegex(
            str(error), rf"^sodium: the pid file twistd.pid names process {os.getppid()}\b.*, which runs; .*--pidfile= "
        )
        self.assertNotIn("\n", str(error))
        self.assertTrue(os.path.exists("twistd.pid"))

    def test_of_another_user(self) -> None:
        """A process that may not be asked runs all the same."""

        def kill(pid: int, number: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(os, "kill", kill)
        self.write("twistd.pid", "1")
        self.assertIn("names process 1", describe_pid_file("twistd.pid") or "")

    def test_left_to_twistd(self) -> None:
        """A process that is gone, and what is no number."""

        def kill(pid: int, number: int) -> None:
            if pid > 0:  # all others are groups, in which there is somebody
                raise ProcessLookupError(3, "No such process")

        self.patch(os, "kill", kill)
        for text in ("4711", "nonsense", "", "-1", "0"):
            self.assertEqual(self.parse_with(text), "")
        self.assertIsNone(describe_pid_file(""))
        self.assertIsNone(describe_pid_file("missing"))

    def test_never_a_pid_file(self) -> None:
        """What twistd would end with a traceback for."""
        error = self.assertRaises(SystemExit, self.parse_with, "9" * 20)
        self.assertIn("twistd.pid holds a number that no process has; remove it", str(error))
        os.mkdir("folder")
        self.assertEqual(describe_pid_file("folder"), "the pid file folder is a folder; give another --pidfile")
