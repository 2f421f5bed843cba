"""
What a server remembers of first flights in a file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent

from sodiumtwist import LocalProtocolError
from sodiumtwist.admission.replay_database import SCHEMA_VERSION
from sodiumtwist.admission.stored_salts import FORGET_AT_ONCE, RETRY_AFTER, StoredSalts, make_table

from ..logs import logged
from ..replay_memories import DatabaseTestCase, Steps, fingerprint

Work = Callable[[sqlite3.Connection, "list[bytes]"], None]

NOW = 1_800_000_000


def salt(number: int) -> bytes:
    """Make a salt that belongs to this number alone."""
    return number.to_bytes(8, "big") * 4


class StoredSaltsTests(DatabaseTestCase):
    """With a connection to a file, and a thread that works when the test says so."""

    def setUp(self) -> None:
        super().setUp()
        self.events = logged(self)
        self.clock = Clock()
        self.now = float(NOW)
        #: What the thread has to do.
        self.work: list[Callable[[], None]] = []
        #: What is wrong with the file.
        self.wrong: Exception | None = None
        self.connected = 0

    def connect(self, timeout: float) -> sqlite3.Connection:
        self.connected += 1
        if self.wrong is not None:
            raise self.wrong
        connection = sqlite3.connect(self.path, timeout, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        make_table(connection)
        return connection

    def make(self, limit: int = 1000, tolerance: float = 100) -> StoredSalts:
        writer = self.connect(0)

        def call(work: Work, salts: list[bytes]) -> Deferred[None]:
            done: Deferred[None] = Deferred()

            def do() -> None:
                if self.wrong is not None:
                    done.errback(self.wrong)
                else:
                    work(writer, salts)
                    done.callback(None)

            self.work.append(do)
            return done

        return StoredSalts(self.path, self.connect, call, limit, tolerance, self.clock.seconds, lambda: self.now)

    def write(self) -> None:
        """Let the thread do all that it has to do."""
        while self.work:
            self.work.pop(0)()

    def stored(self) -> list[int]:
        rows = self.other().execute("SELECT salt FROM salts ORDER BY number")
        return [int.from_bytes(row[:8], "big") for (row,) in rows]

    def said(self) -> list[tuple[LogLevel, str]]:
        return [(event["log_level"], formatEvent(event)) for event in self.events]

    def test_one_server(self) -> None:
        """What it remembers it has seen, written or not."""
        salts = self.make()
        self.assertFalse(salts.seen(salt(1)))
        salts.remember(salt(1))
        self.assertTrue(salts.seen(salt(1)))
        self.write()
        self.assertTrue(salts.seen(salt(1)))
        self.assertFalse(salts.seen(salt(2)))
        self.assertEqual(self.stored(), [1])

    def test_two_servers(self) -> None:
        """One knows what the other has written. Until then a first flight may get an answer of each."""
        one, other = self.make(), self.make()
        one.remember(salt(1))
        self.assertFalse(other.seen(salt(1)))
        self.write()
        self.assertTrue(other.seen(salt(1)))
        other.remember(salt(1))
        one.remember(salt(2))
        self.write()
        self.assertEqual(self.stored(), [1, 2])

    def test_written_together(self) -> None:
        """What comes while the thread writes is written next, all of it at once."""
        salts = self.make()
        for number in range(20):
            salts.remember(salt(number))
        self.assertEqual(len(self.work), 1)
        self.work.pop()()
        self.assertEqual((len(self.work), self.stored()), (1, [0]))
        self.work.pop()()
        self.assertEqual((self.work, self.stored()), ([], list(range(20))))

    def test_limit(self) -> None:
        """The oldest go first, a bounded number each time."""
        salts = self.make(limit=1000)
        for number in range(FORGET_AT_ONCE + 50):
            salts.remember(salt(number))
        self.write()
        salts = self.make(limit=10)
        left = []
        for number in range(1000, 1003):
            salts.remember(salt(number))
            self.write()
            left.append(len(self.stored()))
        self.assertEqual(left, [50, 10, 10])
        self.assertEqual(self.stored()[-3:], [1000, 1001, 1002])
        for limit in (0, -1):
            error = self.assertRaises(LocalProtocolError, self.make, limit=limit)
            self.assertIn(f"a limit of {limit} salts", str(error))

    def test_age(self) -> None:
        """
        A flight from a clock that is fast is in time for as long as one from a clock that is slow and then some: only
        when that is over, too, is its salt forgotten.
        """
        for tolerance, kept in ((100, [2, 3]), (0, [1, 2, 3])):
            self.path += "x"
            salts = self.make(tolerance=tolerance)
            for number, now in ((1, NOW), (2, NOW + 1), (3, NOW + 201)):
                self.now = now
                salts.remember(salt(number))
                self.write()
            self.assertEqual(self.stored(), kept)

    def test_can_not_be_read(self) -> None:
        """Nobody is kept out, the log says so once, and it is tried again some time later."""
        salts = self.make()
        salts.remember(salt(1))
        self.write()
        self.connected, self.wrong = 0, OSError("no\x1b disk")
        for _ in range(3):
            self.assertTrue(salts.seen(salt(1)))
            self.assertFalse(salts.seen(salt(2)))
        self.assertEqual(self.connected, 1)
        salts.remember(salt(2))
        self.assertTrue(salts.seen(salt(2)))
        self.write()
        self.clock.advance(RETRY_AFTER)
        self.assertFalse(salts.seen(salt(3)))
        self.assertEqual(self.connected, 2)
        ((level, line),) = self.said()
        self.assertIs(level, LogLevel.warn)
        self.assertIn("clients of version 2 come in all the same", line)
        self.wrong = None
        self.clock.advance(RETRY_AFTER - 0.1)
        self.assertFalse(salts.seen(salt(3)))
        self.clock.advance(0.1)
        self.assertFalse(salts.seen(salt(3)))
        self.assertEqual((self.connected, len(self.said())), (3, 1))
        # It can be read, and now written, too.
        salts.remember(salt(4))
        self.write()
        self.assertEqual([level for level, _ in self.said()], [LogLevel.warn, LogLevel.info])
        self.assertEqual(self.stored(), [1, 4])

    def test_can_not_be_written(self) -> None:
        """What waits meanwhile is bounded, known, and written when that can be done again."""
        salts = self.make()
        self.assertFalse(salts.seen(salt(9)))
        self.wrong = LocalProtocolError("it is closed")
        salts.remember(salt(1))
        self.write()
        for number in (2, 3):
            salts.remember(salt(number))
        self.assertEqual(self.work, [])
        self.assertTrue(all(salts.seen(salt(number)) for number in (1, 2, 3)))
        self.wrong = None
        self.clock.advance(RETRY_AFTER)
        salts.remember(salt(4))
        self.write()
        self.assertEqual(self.stored(), [2, 3, 4])
        self.assertEqual([level for level, _ in self.said()], [LogLevel.warn, LogLevel.info])

    def test_another_file(self) -> None:
        """One that was put in the place of the first is looked at."""
        salts = self.make()
        salts.remember(salt(1))
        self.write()
        self.assertTrue(self.make().seen(salt(1)))
        fresh = self.make()
        self.assertFalse(fresh.seen(salt(2)))
        os.rename(self.path, self.path + ".old")
        other = self.make()
        other.remember(salt(2))
        self.write()
        self.assertTrue(fresh.seen(salt(2)))
        self.assertFalse(fresh.seen(salt(1)))

    def test_close(self) -> None:
        """What waits is written, also behind what is being written; what comes later stays in memory."""
        salts = self.make()
        self.assertFalse(salts.seen(salt(9)))
        for number in (1, 2):
            salts.remember(salt(number))
        salts.close()
        salts.close()
        self.assertEqual(len(self.work), 2)
        salts.remember(salt(3))
        self.write()
        self.assertEqual(self.stored(), [1, 2])
        self.assertTrue(salts.seen(salt(3)))
        self.assertFalse(salts.seen(salt(4)))
        self.assertEqual(self.said(), [])


class DatabaseTests(DatabaseTestCase):
    """The database of handshakes has them, too."""

    @inlineCallbacks
    def test_survives(self) -> Steps:
        """Another object knows what one remembered, during its life and after it. What waits at its end is written."""
        database, other = self.open(), self.open()
        self.assertFalse(other.salts.seen(salt(1)))
        database.salts.remember(salt(1))
        yield database.remember(fingerprint(1))  # behind it, in the same thread
        self.assertTrue(other.salts.seen(salt(1)))
        for number in (2, 3):
            database.salts.remember(salt(number))
        yield database.close()
        yield other.close()
        self.assertEqual(self.descriptors(), [])
        self.assertEqual(os.listdir(self.directory), [os.path.basename(self.path)])
        again = self.open()
        self.assertEqual([number for number in range(9) if again.salts.seen(salt(number))], [1, 2, 3])
        self.assertTrue((yield again.knows(fingerprint(1))))

    @inlineCallbacks
    def test_of_an_earlier_release(self) -> Steps:
        """It gets the table, keeps its handshakes, and the earlier release can go on with it."""
        database = self.open()
        yield database.remember(fingerprint(1))
        yield database.close()
        self.other().execute("DROP TABLE salts")
        database = self.open()
        self.assertFalse(database.salts.seen(salt(1)))
        database.salts.remember(salt(1))
        self.assertTrue((yield database.knows(fingerprint(1))))
        self.assertTrue(self.open().salts.seen(salt(1)))
        self.assertEqual(self.other().execute("PRAGMA user_version").fetchall(), [(1,)])
        self.assertEqual(SCHEMA_VERSION, 1)

    @inlineCallbacks
    def test_while_others_write(self) -> Steps:
        """To look for one waits for nobody."""
        database = self.open()
        database.salts.remember(salt(1))
        yield database.knows(fingerprint(1))
        self.other().execute("BEGIN IMMEDIATE")
        self.assertTrue(self.open().salts.seen(salt(1)))

    @inlineCallbacks
    def test_gone(self) -> Steps:
        """A file that is gone keeps out whoever speaks version 1, and nobody else; the log says so once."""
        events = logged(self)
        database = self.open()
        os.unlink(self.path)
        for number in range(3):
            self.assertFalse(database.salts.seen(salt(number)))
            database.salts.remember(salt(number))
            self.assertTrue(database.salts.seen(salt(number)))
        yield self.assertFailure(database.knows(fingerprint(1)), FileNotFoundError)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.warn])
        self.assertEqual(os.listdir(self.directory), [])
