"""
The handshakes that a server accepted, in an SQLite database that survives it.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from ..core.errors import LocalProtocolError
from .replays import IReplayMemory, _LimitedMemory
from .watched import check_file

#: ``Sodm``, by which SQLite's header tells our databases from others.
APPLICATION_ID = 0x536F646D


SCHEMA_VERSION = 1


#: Handshakes that one login has forgotten at most, so that a lowered limit holds nobody up.
FORGET_AT_ONCE = 100


Result = TypeVar("Result")


def _identify(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@implementer(IReplayMemory)
class ReplayDatabase(_LimitedMemory):
    """
    Remembers handshakes in an SQLite database, which survives restarts and crashes, of the machine
    as well, and may be shared by several processes of one machine (not over a network file
    system). The file is made with mode 0600 when there is none, and so are the two that SQLite
    puts beside it while it is in use, ``-wal`` and ``-shm``.

    A handshake takes some 55 bytes in the file, so the default limit takes 550 MB. Beyond the limit
    the oldest are forgotten, of which the log warns once.

    Remembering waits until the disk has it (``synchronous = FULL``). Measured, it takes some 0.2 ms a
    login on a fast disk, most of it for that wait, and milliseconds on a slow one. All of it is done
    in a thread, one call after the other.

    The database is opened once to check it, and again at the first call, so that a daemon may fork
    in between.

    :param path: of the file.
    :param limit: how many handshakes to remember.
    :param reactor: an ``IReactorFromThreads``; ``None`` for the global one.
    :param timeout: seconds that a call, and opening the database here, waits for another process
        that has locked it; after them it fails.
    :raises OSError: when the database can't be opened, made or written.
    :raises LocalProtocolError: when the file is something else, when others can write to it, and
        for a limit below one.
    """

    _connection: sqlite3.Connection | None = None
    _identity: tuple[int, int] | None = None
    _closing: Deferred[None] | None = None

    def __init__(
        self,
        path: str,
        limit: int = 10_000_000,
        reactor: IReactorFromThreads | None = None,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(limit)
        # A daemon changes its directory before it opens the database again.
        self._path = os.path.abspath(path)
        self._reactor = reactor
        self._timeout = timeout
        try:
            if not os.path.exists(self._path):
                self._make()
            self._open(timeout).close()
        except sqlite3.Error as error:
            raise self._explain(error) from None
        # The thread starts with the first call, and no end of the program waits for it.
        self._pool = ThreadPool(0, 1, "replays")
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # it is only called
        self._pool.start()

    def knows(self, fingerprint: bytes) -> Deferred[bool]:
        """
        As :meth:`~sodiumtwist.admission.replays.IReplayMemory.knows`.

        :return: fails with an ``OSError`` when the database can't be read, and with a
            :class:`~sodiumtwist.LocalProtocolError` after :meth:`close`.
        """
        return self._in_thread(self._knows, fingerprint)

    def remember(self, fingerprint: bytes) -> Deferred[bool]:
        """
        As :meth:`~sodiumtwist.admission.replays.IReplayMemory.remember`. To cancel the Deferred does not undo it.

        :return: fails with an ``OSError`` when the database can't be written, and with a
            :class:`~sodiumtwist.LocalProtocolError` after :meth:`close`.
        """
        return self._in_thread(self._remember, fingerprint).addCallback(self._remembered)

    def close(self) -> Deferred[None]:
        """
        Close the database, for the stop of a service.

        :return: fires when the calls before it are done and the database is closed.
        """
        if self._closing is None:
            self._closing = self._submit(self._disconnect).addBoth(self._stop_thread)
        closed: Deferred[None] = Deferred()
        self._closing.addBoth(self._pass_on, closed)
        return closed

    def _stop_thread(self, result: object) -> None:
        self._pool.stop()

    @staticmethod
    def _pass_on(result: None, closed: Deferred[None]) -> None:
        closed.callback(None)

    def _submit(self, work: Callable[..., Result], *arguments: Any) -> Deferred[Result]:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = IReactorFromThreads(reactor)
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)

    def _in_thread(self, work: Callable[[sqlite3.Connection, bytes], Result], fingerprint: bytes) -> Deferred[Result]:
        if self._closing is not None:
            return fail(Failure(LocalProtocolError("the database of handshakes is closed")))
        return self._submit(self._work, work, fingerprint, time.monotonic() + self._timeout)

    def _work(self, work: Callable[[sqlite3.Connection, bytes], Result], fingerprint: bytes, deadline: float) -> Result:
        # When one call waited for a lock in vain, those behind it do not begin to wait anew.
        left = max(0.0, deadline - time.monotonic())
        try:
            if self._connection is not None and self._identity != _identify(self._path):
                self._disconnect()  # another file, or none, lies there now
            if self._connection is None:
                self._connection = self._open(left)
                self._identity = _identify(self._path)
            self._connection.execute(f"PRAGMA busy_timeout = {int(left * 1000)}")
            return work(self._connection, fingerprint)
        except BaseException as error:
            # This undoes what was begun, and the next call may find better times.
            self._disconnect()
            if isinstance(error, sqlite3.Error):
                raise self._explain(error) from None
            raise

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _explain(self, error: sqlite3.Error) -> OSError:
        return OSError(errno.EIO, f"cannot remember handshakes there: {error}", self._path)

    def _make(self) -> None:
        # It gets its name when it is whole: SQLite does not let several processes begin one file at once.
        temporary = f"{self._path}.{secrets.token_hex(4)}.new"
        try:
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                connection.execute(
                    "CREATE TABLE handshakes (number INTEGER PRIMARY KEY, fingerprint BLOB NOT NULL UNIQUE)"
                )
            with suppress(FileExistsError):
                os.link(temporary, self._path)
        finally:
            os.unlink(temporary)

    def _open(self, timeout: float) -> sqlite3.Connection:
        check_file(self._path, os.stat(self._path).st_mode, "database of handshakes")
        # SQLite would open it none the less, to fail at the first login.
        if not os.access(self._path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self._path)
        connection = sqlite3.connect(
            f"{Path(self._path).as_uri()}?mode=rw",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._check(connection)
            # Anything less would lose the last handshakes with the machine's power.
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        try:
            ((application_id,),) = connection.execute("PRAGMA application_id")
            ((version,),) = connection.execute("PRAGMA user_version")
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise LocalProtocolError(f"{self._path} is no database of handshakes: {error}; name another file") from None
        if application_id != APPLICATION_ID:
            raise LocalProtocolError(f"{self._path} is no database of handshakes but another one; name another file")
        if version != SCHEMA_VERSION:
            raise LocalProtocolError(
                f"{self._path} is a database of handshakes of version {version}, where this program knows "
                f"{SCHEMA_VERSION} only; name another file"
            )

    def _knows(self, connection: sqlite3.Connection, fingerprint: bytes) -> bool:
        found = connection.execute("SELECT 1 FROM handshakes WHERE fingerprint = ?", (fingerprint,))
        return found.fetchone() is not None

    def _remember(self, connection: sqlite3.Connection, fingerprint: bytes) -> tuple[bool, bool]:
        connection.execute("BEGIN IMMEDIATE")
        insert = "INSERT OR IGNORE INTO handshakes (fingerprint) VALUES (?)"
        new = connection.execute(insert, (fingerprint,)).rowcount == 1
        excess = 0
        if new:
            # Numbers follow each other without gaps, so they count what the database would have to walk.
            ((oldest, newest),) = connection.execute(
                "SELECT (SELECT min(number) FROM handshakes), (SELECT max(number) FROM handshakes)"
            )
            excess = newest - oldest + 1 - self._limit
            if excess > 0:
                connection.execute("DELETE FROM handshakes WHERE number < ?", (oldest + min(excess, FORGET_AT_ONCE),))
        connection.execute("COMMIT")
        return new, excess > 0

    def _remembered(self, result: tuple[bool, bool]) -> bool:
        new, forgot = result
        if forgot:
            self._forgot()
        return new
