"""
What a server that was killed has left, and the next one names.
"""

from __future__ import annotations

import os
import time

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.admission.replacing import replace_text
from sodiumtwist.admission.replay_database import ReplayDatabase
from sodiumtwist.programs.leftovers import NAMED, clean_directory, note_cleaned, note_database, note_list, note_uploads
from sodiumtwist.transfer.stores import DirectoryStore, FileStore
from sodiumtwist.transfer.tree.names import temporary_name

from ..logs import logged


class LeftoverTests(SynchronousTestCase):
    """Each kind has one line; nothing is taken away."""

    def setUp(self) -> None:
        self.where = os.path.realpath(self.mktemp())
        os.mkdir(self.where)
        self.events = logged(self)

    def path(self, name: str) -> str:
        return os.path.join(self.where, name)

    def said(self) -> list[str]:
        """What was logged since it was asked last."""
        events = [event for event in self.events if event["log_namespace"].endswith("leftovers")]
        self.events.clear()
        return [formatEvent(event) for event in events]

    def test_files_of_logins(self) -> None:
        """What is old goes; of the rest that counts which is in the folder of a login."""
        os.makedirs(self.path("ann/photos"))
        for folder in ("", "ann", "ann/photos"):
            for name in (temporary_name(b"x"), b"whole", b".hidden.part"):
                with open(os.path.join(os.fsencode(self.path(folder)), name), "w"):
                    pass
        now = time.time()
        self.assertEqual(clean_directory(self.where, 100, now + 50), ([], 2))
        removed, kept = clean_directory(self.where, 100, now + 200)
        left = os.fsdecode(temporary_name(b"x"))
        self.assertEqual((sorted(removed), kept), (sorted([left, f"ann/{left}", f"ann/photos/{left}"]), 0))
        self.assertEqual(sorted(os.listdir(self.path("ann/photos"))), [".hidden.part", "whole"])

    def test_files_of_logins_told(self) -> None:
        """A line for what was removed, which names not more than a line can hold, and one for the rest."""
        note_cleaned(self.where, 3.5, [], 0)
        self.assertEqual(self.said(), [])
        note_cleaned(self.where, 3.5, ["b", "a\n"], 7)
        begin = f"unfinished files in {self.where}, with which nobody has gone on for 3.5 seconds:"
        self.assertEqual(
            self.said(),
            [
                f"removed 2 {begin} a?, b",
                f"7 unfinished files of logins are in {self.where}; their clients can go on with them",
            ],
        )
        note_cleaned(self.where, 3.5, [str(number) for number in range(NAMED + 3)], 0)
        (line,) = self.said()
        self.assertTrue(line.startswith(f"removed {NAMED + 3} {begin} 0, 1, 10, "), line)
        self.assertTrue(line.endswith(", and 3 others"), line)

    def test_uploads(self) -> None:
        """Those that stand unfinished are counted, in the directory, or beside the file."""
        note_uploads(None, self.where)
        note_uploads(self.path("out"), None)
        self.assertEqual(self.said(), [])
        for _ in range(3):
            self.successResultOf(DirectoryStore(self.where).open("ann"))
        self.successResultOf(FileStore(self.path("out")).open("ann"))
        before = sorted(os.listdir(self.where))
        note_uploads(None, self.where)
        (line,) = self.said()
        self.assertIn(f"4 unfinished uploads in {self.where}, for instance '{before[0]}': of a server that was", line)
        note_uploads(self.path("out"), None)
        (line,) = self.said()
        self.assertIn("1 unfinished uploads in ", line)
        self.assertEqual(sorted(os.listdir(self.where)), before)

    def test_folder_that_is_not_for_reading(self) -> None:
        """Uploads can be made there all the same; of a database's folder its opening tells."""

        def refuse(path: str) -> None:
            raise PermissionError

        self.patch(os, "scandir", refuse)
        note_uploads(None, self.where)
        note_database(self.path("db"))
        self.assertEqual(self.said(), [])

    def test_streams(self) -> None:
        """Beside them nothing grows."""
        self.successResultOf(FileStore(self.path("fifo")).open("ann"))
        os.mkfifo(self.path("fifo"))
        for file in (self.path("fifo"), "-", "/dev/null", None):
            note_uploads(file, None)
        self.assertEqual(self.said(), [])

    def test_lists(self) -> None:
        """Changes of one that were broken off have a line; other files have none."""
        for name in ("keys.0123456789ab", ".keys.0123456789abc", ".other.0123456789ab", ".keys.swp"):
            with open(self.path(name), "w"):
                pass
        note_list(self.path("keys"))
        note_list(self.path("missing/keys"))
        self.assertEqual(self.said(), [])
        with self.assertRaises(KeyboardInterrupt):
            replace_text(self.path("keys"), "", before=self.killed)
        os.symlink(self.path("keys"), self.path("link"))
        note_list(self.path("link"))
        (line,) = self.said()
        self.assertRegex(
            line, rf"^1 changes of keys that were never finished in {self.where}, .*'\.keys\.[0-9a-f]{{12}}'"
        )

    def killed(self) -> None:
        """Break off as SIGKILL does, which undoes nothing."""
        self.patch(os, "unlink", lambda path: None)
        raise KeyboardInterrupt

    def test_database(self) -> None:
        """One that was not closed, and ones that were never finished."""
        path = self.path("db")
        note_database(path)
        ReplayDatabase(path)
        note_database(path)
        self.assertEqual(self.said(), [])
        for name in ("db.0123abcd.new", "db.0123abcd.new-journal", "db.other.new", "db-wal"):
            with open(self.path(name), "w"):
                pass
        note_database(path)
        (line,) = self.said()
        self.assertIn(f"2 files of databases that were never finished in {self.where}, for instance 'db.0123a", line)
        with open(self.path("db-wal"), "w") as file:
            file.write("some")
        note_database(path)
        self.assertIn(f"{path} was not closed", self.said()[1])
