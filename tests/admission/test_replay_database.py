"""
What a server remembers of handshakes in a file.
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults, inlineCallbacks
from twisted.internet.task import LoopingCall
from zope.interface.verify import verifyClass, verifyObject

from sodiumtwist import LocalProtocolError
from sodiumtwist.admission import replay_database
from sodiumtwist.admission.replay_database import FORGET_AT_ONCE, ReplayDatabase
from sodiumtwist.admission.replays import IReplayMemory

from ..logs import logged
from ..replay_memories import SHORT, WARNING, DatabaseTestCase, Model, Steps, fingerprint, warnings_in


class ReplayDatabaseTests(DatabaseTestCase):
    """In a file."""

    def threads(self) -> list[threading.Thread]:
        """Those of databases, of other tests' too."""
        return [thread for thread in threading.enumerate() if "replays" in thread.name]

    def test_interface(self) -> None:
        self.assertTrue(verifyClass(IReplayMemory, ReplayDatabase))
        self.assertTrue(verifyObject(IReplayMemory, self.open()))

    @inlineCallbacks
    def test_once(self) -> Steps:
        """New the first time only; looking remembers nothing."""
        database = self.open()
        for number in (1, 2):
            self.assertIs((yield database.knows(fingerprint(number))), False)
            self.assertIs((yield database.knows(fingerprint(number))), False)
            self.assertIs((yield database.remember(fingerprint(number))), True)
            self.assertIs((yield database.remember(fingerprint(number))), False)
            self.assertIs((yield database.knows(fingerprint(number))), True)

    @inlineCallbacks
    def test_survives(self) -> Steps:
        """Another object knows what one remembered, during its life and after it."""
        database, other = self.open(), self.open()
        yield database.remember(fingerprint(1))
        self.assertTrue((yield other.knows(fingerprint(1))))
        yield database.close()
        yield other.close()
        self.assertEqual(os.listdir(self.directory), [os.path.basename(self.path)])
        again = self.open()
        self.assertTrue((yield again.knows(fingerprint(1))))
        self.assertFalse((yield again.remember(fingerprint(1))))
        self.assertTrue((yield again.remember(fingerprint(2))))

    @inlineCallbacks
    def test_waits_for_the_disk(self) -> Steps:
        """What was remembered must survive a loss of power."""
        database = self.open()
        yield database.remember(fingerprint(1))
        connection = database._connection
        assert connection is not None
        self.assertEqual(connection.execute("PRAGMA journal_mode").fetchall(), [("wal",)])
        self.assertEqual(connection.execute("PRAGMA synchronous").fetchall(), [(2,)])

    @inlineCallbacks
    def test_modes(self) -> Steps:
        """Others can't read or write any of its files, whatever the umask allows."""
        self.addCleanup(os.umask, os.umask(0))
        database = self.open()
        yield database.remember(fingerprint(1))
        names = sorted(os.listdir(self.directory))
        base = os.path.basename(self.path)
        self.assertEqual(names, [base, f"{base}-shm", f"{base}-wal"])
        for name in names:
            self.assertEqual(os.stat(os.path.join(self.directory, name)).st_mode & 0o777, 0o600, name)

    def test_closed_by_others_meanwhile(self) -> None:
        """The files beside it go when the last process closes it, at any moment; that is no reason to refuse it."""
        self.open()
        for name in (f"{self.path}-wal", f"{self.path}-shm"):
            with open(name, "w"):
                pass
            os.chmod(name, 0o600)

        def may(path: str, mode: int) -> bool:
            if path == self.path or os.path.isdir(path):
                return True
            os.remove(path)
            return False

        self.patch(replay_database, "may", may)
        self.open()

    @inlineCallbacks
    def test_model(self) -> Steps:
        """The first that came is the first to be forgotten, whatever was sent again meanwhile."""
        chance = random.Random(7)
        for limit in (1, 2, 5):
            self.path = os.path.join(self.directory, str(limit))
            database, model = self.open(limit=limit), Model(limit)
            for _ in range(60):
                number = chance.randrange(9)
                self.assertEqual((yield database.remember(fingerprint(number))), model.remember(number))
                known = yield gatherResults([database.knows(fingerprint(number)) for number in range(9)])
                self.assertEqual([number for number in range(9) if known[number]], sorted(model.kept))

    @inlineCallbacks
    def test_full(self) -> Steps:
        """The log says once what that means."""
        events = logged(self)
        database = self.open(limit=3)
        for number in [0, 1, 2, 2, 1, 0]:
            yield database.remember(fingerprint(number))
        self.assertEqual(warnings_in(events), [])
        for number in range(3, 9):
            self.assertTrue((yield database.remember(fingerprint(number))))
        self.assertEqual(warnings_in(events), [WARNING.format(3)])

    @inlineCallbacks
    def test_lower_limit(self) -> Steps:
        """It is reached step by step, so that no login has to wait for all of it."""
        database = self.open()
        count = FORGET_AT_ONCE + 50
        yield gatherResults([database.remember(fingerprint(number)) for number in range(count)])
        yield database.close()
        database = self.open(limit=10)
        left = []
        for number in range(count, count + 3):
            yield database.remember(fingerprint(number))
            left += self.other().execute("SELECT count(*) FROM handshakes").fetchone()
        self.assertEqual(left, [51, 10, 10])
        self.assertTrue((yield database.knows(fingerprint(count - 7))))
        self.assertFalse((yield database.knows(fingerprint(count - 8))))

    def test_limit(self) -> None:
        for limit in (0, -1):
            error = self.assertRaises(LocalProtocolError, self.open, limit=limit)
            self.assertIn(f"a limit of {limit} handshakes", str(error))
        self.assertEqual(os.listdir(self.directory), [])

    @inlineCallbacks
    def test_size(self) -> Steps:
        """What handshakes take in the file."""
        database = self.open()
        count = 5_000
        yield gatherResults([database.remember(os.urandom(16)) for _ in range(count)])
        yield database.close()
        self.assertLess(os.path.getsize(self.path) / count, 75)

    @inlineCallbacks
    def test_race(self) -> Steps:
        """Of two that want the same, at the same time, one gets it."""
        databases = [self.open(), self.open()]
        for start in range(0, 300, 30):
            calls = [database.remember(fingerprint(start + n)) for n in range(30) for database in databases]
            results = yield gatherResults(calls)
            for n in range(30):
                self.assertEqual(sorted(results[2 * n : 2 * n + 2]), [False, True])

    @inlineCallbacks
    def test_cancelled(self) -> Steps:
        """That is no error, and undoes nothing."""
        database = self.open()
        calls = [database.remember(fingerprint(1)), database.knows(fingerprint(1))]
        for call in calls:
            call.cancel()
            self.failureResultOf(call, CancelledError)
        self.assertFalse((yield database.remember(fingerprint(1))))

    @inlineCallbacks
    def test_locked(self) -> Steps:
        """Calls fail in time while another process writes, the reactor runs on, and later calls are well."""
        database = self.open(timeout=SHORT)
        yield database.remember(fingerprint(1))
        other = self.other()
        other.execute("BEGIN IMMEDIATE")
        ticks: list[float] = []
        ticking = LoopingCall(lambda: ticks.append(time.monotonic()))
        ticking.start(SHORT / 25)
        before = time.monotonic()
        calls = [database.remember(fingerprint(number)) for number in (1, 2, 3, 4, 5)]
        for call in calls:
            error = yield self.assertFailure(call, OSError)
            self.assertEqual(error.filename, self.path)
            self.assertIn("database is locked", str(error))
        yield self.assertFailure(database.remember(fingerprint(6)), OSError)
        took = time.monotonic() - before
        ticking.stop()
        self.assertGreater(took, 2 * SHORT * 0.8)
        self.assertLess(took, 4 * SHORT)
        self.assertGreater(len(ticks), 10)
        self.assertTrue((yield database.knows(fingerprint(1))))
        other.execute("COMMIT")
        self.assertFalse((yield database.remember(fingerprint(1))))
        self.assertTrue((yield database.remember(fingerprint(2))))

    @inlineCallbacks
    def test_locked_for_a_while(self) -> Steps:
        """A call waits for a lock that goes in time."""
        database = self.open()
        yield database.knows(fingerprint(1))
        other = self.other()
        other.execute("BEGIN IMMEDIATE")
        call = database.remember(fingerprint(1))
        reactor.callLater(SHORT, other.execute, "COMMIT")
        self.assertTrue((yield call))

    @inlineCallbacks
    def test_late_calls(self) -> Steps:
        """A call that began late is done if it can be, and those after it have the whole time again."""
        database = self.open(timeout=2 * SHORT)
        other = self.other()
        yield database.knows(fingerprint(1))
        other.execute("BEGIN IMMEDIATE")
        waiting, late = database.remember(fingerprint(1)), database.knows(fingerprint(1))
        yield self.assertFailure(waiting, OSError)
        self.assertFalse((yield late))
        call = database.remember(fingerprint(1))
        reactor.callLater(SHORT, other.execute, "COMMIT")
        self.assertTrue((yield call))

    @inlineCallbacks
    def test_disk_full(self) -> Steps:
        """What could not be written is not remembered, and holds nobody up."""
        database = self.open()
        yield database.knows(fingerprint(1))
        connection = database._connection
        assert connection is not None
        ((pages,),) = connection.execute("PRAGMA page_count")
        connection.execute(f"PRAGMA max_page_count = {pages}")
        number = 0
        while database._connection is connection:
            call = database.remember(fingerprint(number))
            try:
                self.assertTrue((yield call))
            except OSError as error:
                self.assertIn("full", str(error))
            else:
                number += 1
        self.assertGreater(number, 0)
        other = self.open(timeout=SHORT)
        self.assertFalse((yield other.knows(fingerprint(number))))
        self.assertTrue((yield other.remember(fingerprint(number))))
        self.assertFalse((yield database.remember(fingerprint(number))))
        self.assertTrue((yield database.remember(fingerprint(number + 1))))

    @inlineCallbacks
    def test_no_fingerprint(self) -> Steps:
        """A mistake of the caller's holds nobody up, either."""
        database = self.open()
        for wrong in (object(), 1 << 99):
            yield self.assertFailure(database.remember(cast(bytes, wrong)), OSError, OverflowError)
            self.assertIsNone(database._connection)
        self.assertTrue((yield database.remember(fingerprint(1))))

    def test_locked_at_first(self) -> None:
        """A database that can't even be read is an error at once."""
        self.open()
        other = self.other()
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        before = time.monotonic()
        error = self.assertRaises(OSError, self.open, timeout=SHORT)
        self.assertLess(time.monotonic() - before, 8 * SHORT)
        self.assertEqual(error.filename, self.path)
        self.assertIn("locked", str(error))

    @inlineCallbacks
    def test_close(self) -> Steps:
        """Calls before it are done, later ones fail, and no thread or descriptor stays."""
        before = self.threads()
        database = self.open()
        yield database.remember(fingerprint(100))
        self.assertEqual(len(self.descriptors()), 3)
        calls = [database.remember(fingerprint(number)) for number in range(20)]
        first, second = database.close(), database.close()
        late = database.remember(fingerprint(99))
        self.assertEqual(str(self.failureResultOf(late, LocalProtocolError).value).count("closed"), 1)
        self.failureResultOf(database.knows(fingerprint(1)), LocalProtocolError)
        self.assertEqual((yield gatherResults(calls)), [True] * 20)
        self.assertEqual((yield gatherResults([first, second, database.close()])), [None] * 3)
        self.assertEqual(self.threads(), before)
        self.assertEqual(self.descriptors(), [])
        again = self.open()
        self.assertFalse((yield again.knows(fingerprint(99))))

    @inlineCallbacks
    def test_close_unused(self) -> Steps:
        """The same for one that was never asked."""
        before = self.threads()
        database = self.open()
        self.assertEqual(self.threads(), before)
        yield database.close()
        self.assertEqual(self.threads(), before)

    @inlineCallbacks
    def test_close_while_locked(self) -> Steps:
        """Stopping waits no longer than the calls under way."""
        database = self.open(timeout=SHORT)
        yield database.remember(fingerprint(1))
        self.other().execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        calls = [self.assertFailure(database.remember(fingerprint(number)), OSError) for number in range(9)]
        yield database.close()
        self.assertLess(time.monotonic() - before, 4 * SHORT)
        yield gatherResults(calls)

    @inlineCallbacks
    def test_gone(self) -> Steps:
        """A file that was taken away before the first call is no new, empty one."""
        database = self.open()
        os.unlink(self.path)
        yield self.assertFailure(database.knows(fingerprint(1)), FileNotFoundError)
        yield self.assertFailure(database.remember(fingerprint(1)), FileNotFoundError)
        self.assertEqual(os.listdir(self.directory), [])
