"""
What a server remembers of handshakes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Generator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import LoopingCall
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyClass, verifyObject

from sodiumtwist import LocalProtocolError
from sodiumtwist.replays import FORGET_AT_ONCE, IReplayMemory, ReplayDatabase, ReplayMemory

from .processes import PATIENCE, ProcessTestCase, Running

Steps = Generator[Deferred[Any], Any, None]

#: Seconds that a call on a locked database may take here.
SHORT = 0.25

WARNING = (
    "more than {} handshakes were accepted; the oldest are forgotten from now on, "
    "and recordings of them would be let in again"
)


def fingerprint(number: int) -> bytes:
    """A fingerprint like no other number's."""
    return number.to_bytes(8, "big") * 2


class Model:
    """What a memory should do, in the plainest way."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept: list[int] = []

    def remember(self, number: int) -> bool:
        new = number not in self.kept
        if new:
            self.kept = [*self.kept, number][-self.limit :]
        return new


def warnings_of(case: SynchronousTestCase) -> list[str]:
    """Collect what the log warns of from now on."""
    lines: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event["log_namespace"].startswith("sodiumtwist.replays"):
            case.assertEqual(event["log_level"], LogLevel.warn)
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    case.addCleanup(globalLogPublisher.removeObserver, observe)
    return lines


class ReplayMemoryTests(SynchronousTestCase):
    """In memory."""

    def test_interface(self) -> None:
        self.assertTrue(verifyClass(IReplayMemory, ReplayMemory))
        self.assertTrue(verifyObject(IReplayMemory, ReplayMemory()))

    def test_once(self) -> None:
        """New the first time only; looking remembers nothing."""
        memory = ReplayMemory()
        for number in (1, 2):
            self.assertIs(memory.knows(fingerprint(number)), False)
            self.assertIs(memory.knows(fingerprint(number)), False)
            self.assertIs(memory.remember(fingerprint(number)), True)
            self.assertIs(memory.remember(fingerprint(number)), False)
            self.assertIs(memory.knows(fingerprint(number)), True)

    @given(st.integers(1, 6), st.lists(st.integers(0, 9)))
    def test_model(self, limit: int, numbers: list[int]) -> None:
        """The first that came is the first to be forgotten, whatever was sent again meanwhile."""
        memory, model = ReplayMemory(limit), Model(limit)
        for number in numbers:
            self.assertEqual(memory.remember(fingerprint(number)), model.remember(number))
            kept = [number for number in range(10) if memory.knows(fingerprint(number))]
            self.assertEqual(kept, sorted(model.kept))

    def test_full(self) -> None:
        """The log says once what that means."""
        lines = warnings_of(self)
        memory = ReplayMemory(3)
        for number in [0, 1, 2, 2, 1, 0]:
            memory.remember(fingerprint(number))
        self.assertEqual(lines, [])
        for number in range(3, 9):
            self.assertTrue(memory.remember(fingerprint(number)))
        self.assertEqual(lines, [WARNING.format(3)])

    def test_limit(self) -> None:
        for limit in (0, -1):
            error = self.assertRaises(LocalProtocolError, ReplayMemory, limit)
            self.assertIn(f"a limit of {limit} handshakes", str(error))

    def test_size(self) -> None:
        """What 100,000 handshakes take at most, also while others take their places."""
        limit = 100_000
        memory = ReplayMemory(limit)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(2 * limit):
            memory.remember(fingerprint(number))
        peak = tracemalloc.get_traced_memory()[1]
        self.assertLess((peak - before) / limit, 160)

    def test_time(self) -> None:
        """Forgetting takes no longer the more there is."""
        memory = ReplayMemory(100_000)
        before = time.process_time()
        for number in range(300_000):
            memory.remember(fingerprint(number))
        self.assertLess(time.process_time() - before, 3)


class DatabaseTestCase(TestCase):
    """Has a directory of its own."""

    timeout = PATIENCE

    def setUp(self) -> None:
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="sodiumtwist-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = os.path.join(self.directory, "a ?#%41.replays")

    def open(self, **keywords: Any) -> ReplayDatabase:
        database = ReplayDatabase(self.path, **keywords)
        self.addCleanup(database.close)
        return database

    def descriptors(self) -> list[str]:
        """What this process has open in the directory."""
        links = [f"/dev/fd/{name}" for name in os.listdir("/dev/fd")]
        opened = [os.readlink(link) for link in links if os.path.islink(link)]
        return [path for path in opened if path.startswith(self.directory)]

    def other(self) -> sqlite3.Connection:
        """A connection that is not ours."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        return connection


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
        lines = warnings_of(self)
        database = self.open(limit=3)
        for number in [0, 1, 2, 2, 1, 0]:
            yield database.remember(fingerprint(number))
        self.assertEqual(lines, [])
        for number in range(3, 9):
            self.assertTrue((yield database.remember(fingerprint(number))))
        self.assertEqual(lines, [WARNING.format(3)])

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
        reactor.callLater(SHORT, other.execute, "COMMIT")  # type: ignore[attr-defined]
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
        reactor.callLater(SHORT, other.execute, "COMMIT")  # type: ignore[attr-defined]
        self.assertTrue((yield call))

    @inlineCallbacks
    def test_disk_full(self) -> Steps:
        """What could not be written is not remembered, and holds nobody up."""
        database = self.open()
        yield database.knows(fingerprint(1))
        connection = database._connection
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
            yield self.assertFailure(database.remember(wrong), OSError, OverflowError)  # type: ignore[arg-type]
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
        self.refused("is no regular file")
        os.rmdir(self.path)
        os.mkfifo(self.path, 0o600)
        self.refused("is no regular file")

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
        self.refused("cannot remember handshakes there: (unable to open|attempt to write)", OSError)

    def test_unwritable_file(self) -> None:
        ReplayDatabase(self.path)
        os.chmod(self.path, 0o400)
        self.become_nobody(0o700)
        self.refused("Permission denied", PermissionError)


#: Remembers what standard input names, and says what was new.
REMEMBER = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from sodiumtwist.replays import ReplayDatabase

@inlineCallbacks
def main():
    for line in sys.stdin:
        if (yield database.remember(bytes.fromhex(line))):
            print("new", line, end="")
    print("done")

print("ready")
sys.stdin.readline()
database = ReplayDatabase(sys.argv[1])
reactor.callWhenRunning(main)
reactor.run()
"""

#: Does as a daemon does: goes elsewhere and forks, between the start and the first login.
FORK = """
import os, sys
from sodiumtwist.replays import ReplayDatabase
database = ReplayDatabase(sys.argv[1])
assert "twisted.internet.reactor" not in sys.modules
os.chdir("/")
if os.fork():
    os._exit(0)
from twisted.internet import reactor

def tell(new):
    print("new", new)
    return database.close().addCallback(lambda closed: reactor.stop())

reactor.callWhenRunning(lambda: database.remember(bytes(16)).addCallback(tell))
reactor.run()
print("stopped")
"""

#: Ends in the midst of a call.
END = """
import sqlite3, sys
from twisted.internet import reactor
from sodiumtwist.replays import ReplayDatabase
database = ReplayDatabase(sys.argv[1], timeout=600)
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
database.remember(bytes(16))
if sys.argv[2] == "run":
    reactor.callLater(0.1, reactor.stop)
    reactor.run()
print("the end")
"""


class ProcessTests(ProcessTestCase):
    """Real processes."""

    def start(self, program: str, *arguments: str, **keywords: Any) -> Running:
        return self.run_process([sys.executable, "-c", program, *arguments], **keywords)

    def give(self, running: Running, *numbers: int) -> None:
        lines = "".join(f"{fingerprint(number).hex()}\n" for number in numbers)
        running.process.stdin.write(b"go\n" + lines.encode())
        running.process.stdin.close()

    def test_race(self) -> None:
        """Of several processes that want the same, at the same time, one gets it. They also make the file at once."""
        numbers = range(200)
        processes = [self.start(REMEMBER, self.path("replays"), stdin=-1) for _ in range(4)]
        for process in processes:
            process.wait_for("^ready$")
        for process in processes:
            self.give(process, *numbers)
        won = []
        for process in processes:
            process.wait_for("^done$")
            won += [line for line in process.output if line.startswith("new")]
            self.assertEqual(process.errors, [])
        self.assertEqual(sorted(won), sorted(f"new {fingerprint(number).hex()}" for number in numbers))

    def test_killed(self) -> None:
        """What a process remembered before it was killed is remembered."""
        process = self.start(REMEMBER, self.path("replays"), stdin=-1)
        self.give(process, 1, 2)
        process.wait_for("^done$")
        process.stop(signal.SIGKILL)
        again = self.start(REMEMBER, self.path("replays"), stdin=-1)
        self.give(again, 2, 3, 1)
        again.wait_for("^done$")
        self.assertEqual(again.output, ["ready", f"new {fingerprint(3).hex()}", "done"])

    def test_daemon(self) -> None:
        """It is well after a fork, from another directory, and installs no reactor before."""
        process = self.start(FORK, "replays")
        process.wait_for("^stopped$")
        self.assertEqual((process.output, process.errors), (["new True", "stopped"], []))
        self.assertEqual(os.listdir(self.directory), ["replays"])

    def test_end(self) -> None:
        """Nothing waits for the thread when a program ends, however it does."""
        for how in ("run", "fall off"):
            process = self.start(END, self.path("replays"), how)
            self.assertEqual(process.wait(), 0, process.errors)
            self.assertEqual((process.output, process.errors), (["the end"], []))
