"""
Files that are read again when they change.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent
from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import InvalidKey, LocalProtocolError
from sodiumtwist.admission import files, watched as watching
from sodiumtwist.admission.checkers import LoginNotChecked
from sodiumtwist.admission.files import LIST_FILE_LIMIT, open_at_once
from sodiumtwist.admission.watched import GRACE, TIMESTAMP_RESOLUTION, WatchedFile

from ..logs import logged


class WatchedFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.events = logged(self)
        self.parsed: list[str] = []
        self.clock = Clock()

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
        return WatchedFile(self.path, self.parse, "list", private, self.clock.seconds)

    def settle(self, watched: WatchedFile[str]) -> None:
        """Let the version that is there be read for the last time."""
        watched.look()
        self.clock.advance(TIMESTAMP_RESOLUTION + 0.1)
        watched.look()

    @contextmanager
    def forbidden(self) -> Iterator[None]:
        """Let the file not be read."""

        def fail(path: str) -> BinaryIO:
            raise AssertionError(f"{path} was read")

        with MonkeyPatcher((watching, "open_at_once", fail)):
            yield

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
        self.settle(watched)
        with self.forbidden():
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
        frozen = os.stat(self.path)
        # What a file system with a coarse clock would say.
        self.patch(os, "stat", lambda path: frozen)
        self.patch(os, "fstat", lambda fd: frozen)
        for contents in (b"two", b"six"):
            with open(self.path, "wb") as file:
                file.write(contents)
            self.clock.advance(TIMESTAMP_RESOLUTION / 4)
            self.assertEqual([watched.current(), watched.current()], [contents.decode().upper()] * 2)
        # What is the same is not worked on again.
        self.assertEqual(self.parsed, ["one", "two", "six"])
        self.settle(watched)
        with self.forbidden():
            self.assertEqual([watched.current(), watched.current()], ["SIX", "SIX"])

    def test_time_of_day(self) -> None:
        """A file from tomorrow, and a clock that was set, are no reason to read it each time, or too seldom."""
        self.write(b"one")
        self.touch(4_000_000_000 * 1_000_000_000)
        watched = self.watch()
        self.settle(watched)
        with self.forbidden():
            self.assertEqual(watched.current(), "ONE")
        self.write(b"two")
        self.touch(4_000_000_000 * 1_000_000_000)
        self.assertEqual(watched.current(), "TWO")

    def test_broken(self) -> None:
        """The last good one holds, and the log tells of each broken one once."""
        self.write(b"one")
        watched = self.watch()
        for time_of_change in (1_000, 2_000):
            self.write(b"bad")
            self.touch(time_of_change)
            self.settle(watched)
            with self.forbidden():
                self.assertEqual([watched.current() for _ in range(3)], ["ONE"] * 3)
        reason = f"{self.path}: line 7: it is bad"
        self.assertEqual(
            self.logged(),
            [
                (LogLevel.error, f"the list can't be used, so what it said before holds for 60 more seconds: {reason}"),
                (LogLevel.error, f"the list can't be used, so what it said before holds for 58 more seconds: {reason}"),
            ],
        )
        self.write(b"good")
        self.assertEqual(watched.current(), "GOOD")
        self.assertEqual(self.logged()[2:], [(LogLevel.info, f"the list {self.path} can be used again, and was read")])

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

    def spoil(self) -> list[tuple[str, Callable[[], object]]]:
        """Ways in which a file stops being of use."""

        def replace(make: Callable[[str], object]) -> None:
            os.unlink(self.path)
            make(self.path)

        def refuse(path: str) -> BinaryIO:
            raise PermissionError(errno.EACCES, "no", path)

        def take_away() -> None:
            os.utime(self.path)
            self.patch(watching, "open_at_once", refuse)

        return [
            ("deleted", lambda: os.unlink(self.path)),
            ("broken", lambda: self.write(b"bad")),
            ("too large", lambda: os.truncate(self.path, LIST_FILE_LIMIT + 1)),
            ("no text", lambda: self.write(b"\xff")),
            ("others can write", lambda: os.chmod(self.path, 0o666)),
            ("others can read", lambda: os.chmod(self.path, 0o640)),
            ("a directory", lambda: replace(os.mkdir)),
            ("a FIFO", lambda: replace(os.mkfifo)),
            ("not ours any more", take_away),
        ]

    def test_grace(self) -> None:
        """Whatever it is: for a minute the last good version holds, and then none. The log tells both, once."""
        for number, (how, _) in enumerate(self.spoil()):
            self.path = os.path.abspath(self.mktemp())
            self.write(b"one")
            watched = self.watch(private=True)
            self.settle(watched)
            self.events.clear()
            self.spoil()[number][1]()
            for _ in range(60):
                self.assertEqual(watched.current(), "ONE", how)
                self.clock.advance(1)
            for _ in range(3):
                self.assertRaises(LoginNotChecked, watched.current)
                watched.look()
                self.clock.advance(1)
            told = self.logged()
            self.assertEqual([level for level, _ in told], [LogLevel.error] * 2, how)
            self.assertIn("holds for 60 more seconds: ", told[0][1])
            self.assertEqual(
                told[1][1],
                f"the list {self.path} was last good more than 60 seconds ago: it lets nobody in now, until it can be "
                "used again",
            )
        self.assertEqual(GRACE, 60.0)

    def test_after_the_grace(self) -> None:
        """When it is good again it holds at once, and a later fault has a grace of its own."""
        self.write(b"one")
        watched = self.watch()
        for _ in range(2):
            os.unlink(self.path)
            self.clock.advance(59)
            self.assertEqual(watched.current(), "ONE")
            self.clock.advance(1)
            self.assertRaises(LoginNotChecked, watched.current)
            self.write(b"one")
            self.assertEqual(watched.current(), "ONE")
        self.assertEqual(len(self.logged()), 6)

    def test_grace_of_a_file_that_nobody_asked_for(self) -> None:
        """It counts from when the file was last seen good: what was deleted an hour ago lets nobody in."""
        self.write(b"one")
        watched = self.watch()
        self.clock.advance(3600)
        os.unlink(self.path)
        self.assertRaises(LoginNotChecked, watched.current)
        self.assertEqual([level for level, _ in self.logged()], [LogLevel.error] * 2)

    def test_other_grace(self) -> None:
        """It can be set, also to none; to what is no time it can't."""
        self.write(b"one")
        watched = self.watch()
        for grace in (5.0, 0.5):
            watched.grace = grace
            os.rename(self.path, f"{self.path}~")
            self.clock.advance(grace - 0.1)
            self.assertEqual(watched.current(), "ONE")
            self.clock.advance(0.1)
            self.assertRaises(LoginNotChecked, watched.current)
            os.rename(f"{self.path}~", self.path)
            self.assertEqual((watched.current(), watched.grace), ("ONE", grace))
        watched.grace = 0
        os.unlink(self.path)
        self.assertRaises(LoginNotChecked, watched.current)
        for wrong in (-1.0, float("nan"), float("inf")):
            self.assertRaises(LocalProtocolError, setattr, watched, "grace", wrong)

    def test_fault_of_the_disk(self) -> None:
        """What fails once to read a file that does not change is tried again; so is what ran out of memory."""

        class Faulty:
            def __init__(self, file: BinaryIO, error: BaseException) -> None:
                self.file = file
                self.error = error

            def __enter__(self) -> Faulty:
                return self

            def __exit__(self, *reason: object) -> None:
                self.file.close()

            def fileno(self) -> int:
                return self.file.fileno()

            def read(self, size: int) -> bytes:
                raise self.error

        for error in (OSError(errno.EIO, "a fault"), OSError(errno.ESTALE, "stale"), MemoryError()):
            self.write(b"one")
            watched = self.watch()
            self.settle(watched)
            # As somebody would who lets in others now.
            os.rename(self.path, f"{self.path}~")
            self.write(b"two")
            self.touch(1_000)
            watched._first_read = watching._identity(os.stat(self.path)), 0.0
            faulty = Faulty(open_at_once(self.path), error)
            with MonkeyPatcher((watching, "open_at_once", lambda path, faulty=faulty: faulty)):
                if isinstance(error, OSError):
                    self.assertEqual(watched.current(), "ONE")
                else:
                    self.assertRaises(MemoryError, watched.current)
            self.assertEqual(watched.current(), "TWO", error)

    def test_others_can_write(self) -> None:
        """Refused, with the command that mends it; to mend it is a change."""
        self.write(b"one", 0o602)
        error = self.assertRaises(LocalProtocolError, self.watch)
        self.assertEqual(
            str(error), f"others can write to the list {self.path} (mode 602); run: chmod go-w {self.path}"
        )
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
        self.assertEqual(str(error), f"the list {self.path} is no regular file but a FIFO")

    def test_size(self) -> None:
        """At most 32 MiB. Whoever meets the limit hears how much that is, and what to do."""
        self.assertEqual(LIST_FILE_LIMIT, 33_554_432)
        self.patch(watching, "LIST_FILE_LIMIT", 100)
        self.patch(files, "LIST_FILE_LIMIT", 100)
        self.write(b"x" * 100)
        self.assertEqual(len(self.watch().current()), 100)
        self.write(b"x" * 101)
        said = f"the list {self.path} has 101 B, and the limit for such a list is 100 B; "
        said += "take out lines that nobody needs"
        self.assertEqual(str(self.assertRaises(LocalProtocolError, self.watch)), said)
        # One that grew after its size was looked at.
        small = os.stat(self.path)
        self.patch(os, "fstat", lambda fd: os.stat_result((*small[:6], 1, *small[7:])))
        self.assertEqual(str(self.assertRaises(LocalProtocolError, self.watch)), said)

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
