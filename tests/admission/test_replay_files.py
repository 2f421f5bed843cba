"""
Files that are no database of handshakes, or can't be one.
"""

from __future__ import annotations

import os
import sqlite3

from sodiumtwist import LocalProtocolError
from sodiumtwist.admission.replay_database import ReplayDatabase

from ..replay_memories import DatabaseTestCase


class WrongFileTests(DatabaseTestCase):
    """What is refused at once."""

    def refused(self, pattern: str, error: type[Exception] = LocalProtocolError) -> None:
        """Nothing is changed of what was there."""
        names = sorted(os.listdir(self.directory))
        before = os.stat(self.path)
        found = self.assertRaises(error, self.open)
        self.assertRegex(str(found), pattern)
        self.assertIn(self.path, str(found))
        self.assertNotIn("\n", str(found))
        after = os.stat(self.path)
        self.assertEqual(sorted(os.listdir(self.directory)), names)
        self.assertEqual((after.st_size, after.st_mtime_ns), (before.st_size, before.st_mtime_ns))

    def write(self, contents: bytes) -> None:
        with open(self.path, "wb") as file:
            file.write(contents)
        os.chmod(self.path, 0o600)

    def make(self, *statements: str) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()
        os.chmod(self.path, 0o600)

    def test_no_database(self) -> None:
        for size in (0, 1, 65, 100, 511, 512, 513, 4095, 4096, 70_000):
            self.write(b"x" * size)
            self.refused("is no database of handshakes.*; name another file")
            with open(self.path, "rb") as file:
                self.assertEqual(file.read(), b"x" * size)

    def test_other_database(self) -> None:
        """With tables, with the mark of another program, with a later version of ours."""
        self.make("CREATE TABLE guests (name TEXT)")
        self.refused("is no database of handshakes but another one")
        os.unlink(self.path)
        self.make("PRAGMA user_version = 1")
        self.refused("is no database of handshakes but another one")
        os.unlink(self.path)
        self.make("PRAGMA application_id = 77")
        self.refused("is no database of handshakes but another one")
        os.unlink(self.path)
        ReplayDatabase(self.path)
        self.make("PRAGMA user_version = 2")
        self.refused("of version 2, where this program knows 1 only")

    def test_others_can_write(self) -> None:
        ReplayDatabase(self.path)
        for mode in (0o620, 0o602, 0o666):
            os.chmod(self.path, mode)
            self.refused(r"^others can write to the database of handshakes .*; run: chmod go-w '/")
        os.chmod(self.path, 0o644)
        self.open()

    def test_no_file(self) -> None:
        os.mkdir(self.path)
        self.refused("is no regular file but a ")
        os.rmdir(self.path)
        os.mkfifo(self.path, 0o600)
        self.refused("is no regular file but a ")

    def test_no_directory(self) -> None:
        self.path = os.path.join(self.directory, "missing", "file")
        self.assertEqual(self.assertRaises(FileNotFoundError, self.open).filename, self.path)

    def become_nobody(self, directory_mode: int) -> None:
        """Root may write anywhere."""
        if os.geteuid() == 0:
            os.chmod(self.directory, directory_mode | 0o055)
            if directory_mode & 0o200:
                os.chown(self.directory, 65534, 65534)
            if os.path.exists(self.path):
                os.chown(self.path, 65534, 65534)
            self.addCleanup(os.seteuid, 0)
            os.seteuid(65534)
        else:
            self.addCleanup(os.chmod, self.directory, 0o700)
            os.chmod(self.directory, directory_mode)

    def test_unwritable_directory(self) -> None:
        self.become_nobody(0o500)
        self.assertEqual(self.assertRaises(PermissionError, self.open).filename, self.path)
        self.assertEqual(os.listdir(self.directory), [])

    def test_unwritable_directory_with_database(self) -> None:
        """SQLite could not make the files beside it."""
        ReplayDatabase(self.path)
        self.become_nobody(0o500)
        self.refused("SQLite can't make the files beside ", OSError)

    def test_unwritable_file(self) -> None:
        ReplayDatabase(self.path)
        os.chmod(self.path, 0o400)
        self.become_nobody(0o700)
        self.refused("Permission denied", PermissionError)
