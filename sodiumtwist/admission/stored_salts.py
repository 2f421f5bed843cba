"""
The salts of version 2 in a database, so that the next server knows them, too, and the others with the same key.

A salt begins a client's first flight. A server that has seen it is silent: so whoever sends a recording of one again
does not even learn that it is a server. Nobody gets in by a recording in any case. So nothing here keeps a client out:
when the database can't be used, the salts are remembered in memory, and the log says so once.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..core.connection import RecentSalts
from ..core.errors import LocalProtocolError, SodiumError
from ..core.v2.handshake import TIME_TOLERANCE
from ..core.v2.veil import REMEMBERED_SALTS
from ..describe.log import Logger

#: How many salts are kept. Each takes some 90 bytes in the file. Whoever has the server's key can have it keep some,
#: without a login; so this is less than for handshakes.
STORED_SALTS = 1_000_000

#: How many salts are forgotten at most beyond those that come, each time some are written.
FORGET_AT_ONCE = 100

#: Seconds in which a database that could not be used is left alone. To try takes a millisecond, and the reactor waits.
RETRY_AFTER = 60.0

_TABLE = """
    CREATE TABLE IF NOT EXISTS salts (number INTEGER PRIMARY KEY, salt BLOB NOT NULL UNIQUE, time INTEGER NOT NULL)
"""


def make_table(connection: sqlite3.Connection) -> None:
    """
    Make the table in a new database, and in one of an earlier release. Those go on to use it, and do not look at this.

    :raises sqlite3.Error: when it can't be made.
    """
    connection.execute(_TABLE)


def file_identity(path: str) -> tuple[int, int] | None:
    """
    Tell which file has a path now.

    :return: ``None`` for no file.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class StoredSalts:
    """
    Remembers salts in a database, see :class:`~sodiumtwist.core.connection.Salts`.

    To look for one takes 10 to 20 µs, and waits for nobody who writes: it is done at once, a small part of what the
    handshake takes. To write one waits for the disk: a thread does it, with all that came meanwhile. What is not
    written yet is known from memory, to this process; what others have not written yet is not known.

    :param path: of the database.
    :param connect: opens a connection of our own, and waits so many seconds for whoever has it locked. It raises an
        ``sqlite3.Error``, an ``OSError`` or a :class:`~sodiumtwist.SodiumError`.
    :param call: has some work done in the database's thread, with a connection and the argument behind it.
    :param limit: how many. Beyond it the oldest are forgotten.
    :param tolerance: how many seconds the clock of a client may be off; 0 for any. As a clock may be off in both
        directions, a first flight is of use to nobody when it is twice as old, and its salt is forgotten.
    :param clock: returns seconds, which never go back.
    :param unix_time: tells the seconds since the epoch.
    :raises LocalProtocolError: when the limit is below one.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        connect: Callable[[float], sqlite3.Connection],
        call: Callable[[Callable[[sqlite3.Connection, list[bytes]], None], list[bytes]], Deferred[Any]],
        limit: int = STORED_SALTS,
        tolerance: float = TIME_TOLERANCE,
        clock: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        if limit < 1:
            raise LocalProtocolError(f"a limit of {limit} salts remembers none; 1 is the least")
        self._path, self._connect, self._call = path, connect, call
        self._limit = limit
        self._age = 2 * tolerance
        self._clock, self._unix_time = clock, unix_time
        self._recent = RecentSalts()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._waiting: deque[bytes] = deque(maxlen=REMEMBERED_SALTS)
        self._writing = self._closed = False
        #: What can't be done, and until when it is not tried.
        self._failing: dict[str, float] = {}

    def seen(self, salt: bytes) -> bool:
        """As :class:`~sodiumtwist.core.connection.Salts` has it."""
        return self._recent.seen(salt) or self._is_stored(salt)

    def remember(self, salt: bytes) -> None:
        """As :class:`~sodiumtwist.core.connection.Salts` has it."""
        self._recent.remember(salt)
        if not self._closed:
            self._waiting.append(salt)
            if not self._writing and self._may_try("write"):
                self._write()

    def close(self) -> None:
        """Write what waits, and let go of the file. What comes later is remembered in memory."""
        if not self._closed:
            if self._waiting:
                self._write()
            self._closed = True
            self._disconnect()

    def _is_stored(self, salt: bytes) -> bool:
        if self._closed or not self._may_try("read"):
            return False
        try:
            identity = file_identity(self._path)
            # Another file lies there now, or none.
            if self._connection is None or identity != self._identity:
                self._disconnect()
                # Whoever has it locked is not waited for.
                self._connection, self._identity = self._connect(0), identity
            found = self._connection.execute("SELECT 1 FROM salts WHERE salt = ?", (salt,)).fetchone()
        except (sqlite3.Error, OSError, SodiumError) as error:
            self._disconnect()
            self._failed("read", error)
            return False
        self._worked("read")
        return found is not None

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _write(self) -> None:
        self._writing = True
        salts = list(self._waiting)
        self._waiting.clear()
        self._call(self._insert, salts).addCallbacks(self._written, self._not_written)

    def _written(self, result: None) -> None:
        self._writing = False
        self._worked("write")
        if self._waiting and not self._closed:
            self._write()

    def _not_written(self, failure: Failure) -> None:
        # They are not tried again. This process knows them, and the next one does not need them.
        self._writing = False
        self._failed("write", failure.value)

    def _may_try(self, what: str) -> bool:
        until = self._failing.get(what)
        return until is None or until <= self._clock()

    def _failed(self, what: str, error: BaseException | None) -> None:
        if not self._failing:
            self._log.warn(
                "the first flights of clients can't be remembered in {path}, so they are in memory alone; clients of "
                "version 2 come in all the same: {reason}",
                event="salts_in_memory",
                path=self._path,
                reason=str(error),
            )
        self._failing[what] = self._clock() + RETRY_AFTER

    def _worked(self, what: str) -> None:
        if self._failing.pop(what, None) is not None and not self._failing:
            self._log.info(
                "first flights of clients are remembered in {path} again", event="salts_stored", path=self._path
            )

    # What runs in the database's thread

    def _insert(self, connection: sqlite3.Connection, salts: list[bytes]) -> None:
        now = int(self._unix_time())
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT OR IGNORE INTO salts (salt, time) VALUES (?, ?)", ((salt, now) for salt in salts)
        )
        # New numbers go up by one and the lowest are deleted, so this is the count. No login waits for this, but the
        # handshakes of others do: only so many are deleted that the oldest are gone some day.
        ((oldest, newest),) = connection.execute("SELECT min(number), max(number) FROM salts")
        some = oldest + len(salts) + FORGET_AT_ONCE
        if self._age:
            connection.execute("DELETE FROM salts WHERE number < ? AND time < ?", (some, now - self._age))
        connection.execute("DELETE FROM salts WHERE number < ?", (min(some, newest + 1 - self._limit),))
        connection.execute("COMMIT")
