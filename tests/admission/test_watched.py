"""
Files that are read again when they change.
"""

from __future__ import annotations

import os
import time

from twisted.logger import LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import InvalidKey, LocalProtocolError
from sodiumtwist.admission.files import LIST_FILE_LIMIT
from sodiumtwist.admission.watched import TIMESTAMP_RESOLUTION, WatchedFile

from ..logs import logged


class WatchedFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.events = logged(self)
        self.parsed: list[str] = []
        self.later = 0

    def write(self, contents: bytes, mode: int = 0o600) -> None:
        with open(self.path, "wb") as file:
            file.write(contents)
        os.chmod(self.path, mode)

    def touch(self, nanoseconds: int) -> None:
        """Give the file a time of change that it did not have before."""
        os.utime(self.path, ns=(nanoseconds, nanoseconds))

    def parse(self, text: str) -> str:
        self.parsed.append(text)
        if "bad" in text:
            raise InvalidKey("line 7: it is bad")
        return text.upper()

    def watch(self, private: bool = False) -> WatchedFile[str]:
        """Watch with a clock that is far enough from now for each version to have settled."""
        self.later = TIMESTAMP_RESOLUTION + 60_000_000_000
        return WatchedFile(self.path, self.parse, "list", private, lambda: time.time_ns() + self.later)

    def logged(self) -> list[tuple[LogLevel, str]]:
        return [
            (event["log_level"], formatEvent(event))
            for event in self.events
            if event["log_namespace"].startswith("sodiumtwist.admission.watched")
        ]

    def test_reads_once(self) -> None:
        """What did not change is not read again."""
        self.write(b"one")
        watched = self.watch()
        self.assertEqual([watched.current() for _ in range(3)], ["ONE"] * 3)
        self.assertEqual((self.parsed, self.logged()), (["one"], []))

    def test_changes(self) -> None:
        """Another size, another time, another file of the same size and time: each is read, once."""
        self.write(b"one")
        watched = self.watch()
        self.write(b"three")
        self.assertEqual([watched.current(), watched.current()], ["THREE", "THREE"])
        self.write(b"seven")
        self.touch(1_000)
        self.assertEqual([watched.current(), watched.current()], ["SEVEN", "SEVEN"])
        with open(f"{self.path}.new", "w") as file:
            file.write("eight")
        os.utime(f"{self.path}.new", ns=(1_000, 1_000))
        os.replace(f"{self.path}.new", self.path)
        self.assertEqual([watched.current(), watched.current()], ["EIGHT", "EIGHT"])
        self.assertEqual(self.parsed, ["one", "three", "seven", "eight"])
        line = (LogLevel.info, f"the list {self.path} was changed and read again")
        self.assertEqual(self.logged(), [line] * 3)

    def test_just_changed(self) -> None:
        """What changed a moment ago is read again: it could change once more at the same time, to the same size."""
        self.write(b"one")
        watched = self.watch()
        self.later = 0
        self.write(b"two")
        self.touch(1_000)
        self.assertEqual([watched.current(), watched.current()], ["TWO", "TWO"])
        self.write(b"six")
        self.touch(1_000)
        self.assertEqual([watched.current(), watched.current()], ["SIX", "SIX"])
        # What is the same is not worked on again.
        self.assertEqual(self.parsed, ["one", "two", "six"])
        self.later = 2 * TIMESTAMP_RESOLUTION
        self.assertEqual([watched.current(), watched.current()], ["SIX", "SIX"])
        self.assertEqual(self.parsed, ["one", "two", "six"])

    def test_broken(self) -> None:
        """The last good one holds, and the log tells of each broken one once."""
        self.write(b"one")
        watched = self.watch()
        for time_of_change in (1_000, 2_000):
            self.write(b"bad")
            self.touch(time_of_change)
            self.assertEqual([watched.current() for _ in range(3)], ["ONE"] * 3)
        self.assertEqual(self.parsed, ["one", "bad", "bad"])
        line = f"the list was changed and can't be used, so what it said before holds: {self.path}: line 7: it is bad"
        self.assertEqual(self.logged(), [(LogLevel.error, line)] * 2)
        self.write(b"good")
        self.assertEqual(watched.current(), "GOOD")
        self.assertEqual(len(self.logged()), 3)

    def test_broken_a_moment_ago(self) -> None:
        """That is read again as well, and told once."""
        self.write(b"one")
        watched = self.watch()
        self.later = 0
        self.write(b"bad")
        self.assertEqual([watched.current() for _ in range(3)], ["ONE"] * 3)
        self.assertEqual(self.parsed, ["one", "bad", "bad", "bad"])
        self.assertEqual(len(self.logged()), 1)

    def test_missing(self) -> None:
        """So it is with a file that has gone, until it is there again."""
        self.write(b"one")
        watched = self.watch()
        for _ in range(2):
            os.unlink(self.path)
            self.assertEqual([watched.current(), watched.current()], ["ONE", "ONE"])
            self.write(b"one")
            self.assertEqual(watched.current(), "ONE")
        missing, again = self.logged()[::2], self.logged()[1::2]
        self.assertEqual([len(missing), len(again)], [2, 2])
        for level, line in missing:
            self.assertEqual(level, LogLevel.error)
            self.assertRegex(line, f"No such file or directory: '{self.path}'$")

    def test_others_can_write(self) -> None:
        """Refused, with the command that mends it; to mend it is a change."""
        for mode in (0o620, 0o602):
            self.write(b"one", mode)
            error = self.assertRaises(LocalProtocolError, self.watch)
            self.assertEqual(str(error), f"others can write to the list {self.path}; run: chmod go-w {self.path}")
        os.chmod(self.path, 0o644)
        watched = self.watch()
        self.write(b"two", 0o664)
        self.assertEqual(watched.current(), "ONE")
        self.assertIn("chmod go-w", self.logged()[0][1])
        os.chmod(self.path, 0o644)
        self.assertEqual(watched.current(), "TWO")

    def test_private(self) -> None:
        """Where others must not even read, they can't."""
        for mode in (0o640, 0o604):
            self.write(b"one", mode)
            error = self.assertRaises(LocalProtocolError, self.watch, private=True)
            self.assertIn(f"run: chmod 600 {self.path}", str(error))
        os.chmod(self.path, 0o600)
        self.assertEqual(self.watch(private=True).current(), "ONE")

    def test_at_first(self) -> None:
        """A broken or missing file is an error at once, which names it."""
        error = self.assertRaises(FileNotFoundError, self.watch)
        self.assertEqual(error.filename, self.path)
        self.write(b"bad")
        error = self.assertRaises(InvalidKey, self.watch)
        self.assertEqual(str(error), f"{self.path}: line 7: it is bad")
        self.write(b"fine\nfine\n\xe4\n")
        error = self.assertRaises(LocalProtocolError, self.watch)
        self.assertEqual(str(error), f"{self.path}: line 3: it is not UTF-8 text")

    def test_no_regular_file(self) -> None:
        """Nothing waits for a FIFO's writer."""
        os.mkfifo(self.path, 0o600)
        error = self.assertRaises(LocalProtocolError, self.watch)
        self.assertEqual(str(error), f"the list {self.path} is no regular file")

    def test_size(self) -> None:
        """At most 1 MiB."""
        self.assertEqual(LIST_FILE_LIMIT, 1_048_576)
        self.write(b"x" * LIST_FILE_LIMIT)
        self.assertEqual(len(self.watch().current()), LIST_FILE_LIMIT)
        self.write(b"x" * (LIST_FILE_LIMIT + 1))
        error = self.assertRaises(LocalProtocolError, self.watch)
        self.assertIn(f"{self.path} is over 1048576 bytes long", str(error))

    def test_descriptors(self) -> None:
        """None stays open."""
        before = os.listdir("/dev/fd")
        self.write(b"one")
        watched = self.watch()
        self.write(b"bad")
        watched.current()
        self.write(b"one", 0o666)
        self.assertRaises(LocalProtocolError, self.watch)
        self.assertEqual(os.listdir("/dev/fd"), before)

    def test_another_directory(self) -> None:
        """A relative path means the same file after the daemon went elsewhere."""
        self.write(b"one")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(os.path.dirname(self.path))
        self.path = os.path.basename(self.path)
        watched = self.watch()
        self.write(b"three")
        os.chdir("/")
        self.assertEqual(watched.current(), "THREE")
