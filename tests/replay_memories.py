"""
For tests of what remembers handshakes: fingerprints, a model to compare with, and a directory for databases.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.trial.unittest import TestCase

from sodiumtwist.admission.replay_database import ReplayDatabase

from .processes import PATIENCE

Steps = Generator[Deferred[Any], Any, None]

#: A short ``timeout=`` of a database in seconds, for tests in which it is locked.
SHORT = 0.25
WARNING = (
    "more than {} handshakes were accepted; the oldest are forgotten from now on, "
    "and recordings of them would be let in again"
)


def fingerprint(number: int) -> bytes:
    """Make a fingerprint that belongs to this number alone."""
    return number.to_bytes(8, "big") * 2


class Model:
    """Does what a memory must do, in the simplest way."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept: list[int] = []

    def remember(self, number: int) -> bool:
        new = number not in self.kept
        if new:
            self.kept = [*self.kept, number][-self.limit :]
        return new


def warnings_in(events: Iterable[LogEvent]) -> list[str]:
    """Return the warnings of memories. They must log nothing else."""
    ours = [event for event in events if event["log_namespace"].startswith("sodiumtwist.admission.replay")]
    assert all(event["log_level"] is LogLevel.warn for event in ours), ours
    return [formatEvent(event) for event in ours]


class DatabaseTestCase(TestCase):
    """Has a directory of its own."""

    timeout = PATIENCE

    def setUp(self) -> None:
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="sodiumtwist-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        # SQLite is given a URI; each of these characters would mean something in it.
        self.path = os.path.join(self.directory, "a ?#%41.replays")

    def open(self, limit: int = 10_000_000, timeout: float = 5.0) -> ReplayDatabase:
        database = ReplayDatabase(self.path, limit, timeout=timeout)
        self.addCleanup(database.close)
        return database

    def descriptors(self) -> list[str]:
        """Return the files in the directory that this process has open."""
        links = [f"/dev/fd/{name}" for name in os.listdir("/dev/fd")]
        opened = [os.readlink(link) for link in links if os.path.islink(link)]
        return [path for path in opened if path.startswith(self.directory)]

    def other(self) -> sqlite3.Connection:
        """Open a second connection to the database, as another process would."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        return connection
