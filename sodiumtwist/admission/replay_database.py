"""
The handshakes that a server accepted, in an SQLite database, so that the next server knows them, too. Version 1 needs
them for safety. What version 2 remembers of handshakes is kept in the same file.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import struct
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
from ..core.v2.handshake import TIME_TOLERANCE
from .files import check_file, open_at_once
from .replacing import may
from .replays import IReplayMemory, _LimitedMemory
from .stored_salts import STORED_SALTS, StoredSalts, file_identity, make_table

#: ``Sodm``. It stands in the header of the file and tells our databases from others.
APPLICATION_ID = 0x536F646D

#: Of the tables that every release has in it. Another number is refused.
SCHEMA_VERSION = 1

#: How many handshakes are forgotten at most with one login. When the limit was lowered, no login has to wait until
#: millions are deleted.
FORGET_AT_ONCE = 100

#: How a database of SQLite begins.
_MAGIC = b"SQLite format 3\0"

#: Where in its first bytes the program that made it has its numbers: of the tables, and its own.
_HEADER = struct.Struct(">60xi4xi")

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def check_database(path: str) -> None:
    """
    Look at a database of handshakes, and change nothing: to open one, SQLite makes files beside it.

    :param path: of the file, which may be missing yet.
    :raises OSError: when it can't be read or written, or can't be made.
    :raises LocalProtocolError: when it is something else, or others can write to it.
    """
    path = os.path.abspath(path)
    with suppress(FileNotFoundError), open_at_once(path) as file:
        _check_files(path)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or not header.startswith(_MAGIC):
            raise LocalProtocolError(f"{path} is no database of handshakes; name another file")
        version, application_id = _HEADER.unpack(header)
        _check_numbers(path, application_id, version)
    _check_room(path)


def _check_files(path: str) -> None:
    for each in (path, f"{path}-wal", f"{path}-shm"):
        try:
            status = os.stat(each)
        except FileNotFoundError:
            if each == path:
                raise
            continue
        check_file(each, status, "database of handshakes")
        # SQLite would open it all the same, and fail at the first login, or say no more than that it can't.
        if not may(each, os.W_OK):
            # The files beside it go when the last process that uses it closes it, perhaps just now.
            if each != path and not os.path.lexists(each):
                continue
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), each)
    _check_room(path)


def _check_room(path: str) -> None:
    folder = os.path.dirname(path)
    os.stat(folder)
    if not may(folder, os.W_OK):
        raise PermissionError(errno.EACCES, f"SQLite can't make the files beside {path}", folder)


def _check_numbers(path: str, application_id: int, version: int) -> None:
    if application_id != APPLICATION_ID:
        raise LocalProtocolError(f"{path} is no database of handshakes but another one; name another file")
    if version != SCHEMA_VERSION:
        raise LocalProtocolError(
            f"{path} is a database of handshakes of version {version}, where this program knows {SCHEMA_VERSION} only; "
            "name another file"
        )


@implementer(IReplayMemory)
class ReplayDatabase(_LimitedMemory):
    """
    Remembers handshakes in an SQLite database. It survives restarts and crashes, also of the machine. Several
    processes of one machine may share it, but not over a network file system. When there is no file it is
    made, with mode 0600. While it is in use SQLite puts two more beside it, ``-wal`` and ``-shm``, with the same mode.

    A handshake takes some 55 bytes in the file, so the default limit takes 550 MB. Beyond the limit
    the oldest are forgotten, and the log warns of that once.

    To remember a handshake waits until the disk has it (``synchronous = FULL``). As measured, that takes some 0.2 ms
    a login on a fast disk, most of it for the disk, and milliseconds on a slow one. All calls run
    in one thread, one after the other.

    The database is opened once to check it, and again at the first call, so that a daemon may fork
    in between.

    :param path: of the file.
    :param limit: how many handshakes to remember.
    :param reactor: an ``IReactorFromThreads``; ``None`` for the global one.
    :param timeout: seconds to wait while another process has locked the database. Then a call fails, and so does
        opening the database here.
    :param salt_limit: how many salts to remember, some 90 bytes each.
    :param tolerance: how many seconds the clock of a client of version 2 may be off, as the server's factory has it.
    :ivar salts: what version 2 remembers, a :class:`~sodiumtwist.core.connection.Salts` for ``salts=`` of a server's
        factory. When the database can't be used, that keeps nobody out.
    :raises OSError: when the database can't be opened, made or written.
    :raises LocalProtocolError: when the file is something else, when others can write to it, and when the limit is
        below one.
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
        salt_limit: int = STORED_SALTS,
        tolerance: float = TIME_TOLERANCE,
    ) -> None:
        super().__init__(limit)
        # Absolute, since a daemon changes its directory before it opens the database again.
        self._path = os.path.abspath(path)
        self._reactor = reactor
        self._timeout = timeout
        self.salts = StoredSalts(self._path, self._open, self._call_in_thread, salt_limit, tolerance)
        try:
            if not os.path.exists(self._path):
                self._make()
            self._open(timeout).close()
        except sqlite3.Error as error:
            raise self._explain(error) from None
        # One thread: a connection of SQLite does one thing at a time, and the disk is what takes the time. It starts
        # with the first call, behind a daemon's fork. It is a daemon thread, so that a program can end while a call
        # still waits for a lock.
        self._pool = ThreadPool(0, 1, "replays")
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # it is only called
        self._pool.start()

    def knows(self, fingerprint: bytes) -> Deferred[bool]:
        """
        Tell whether a handshake is remembered, see :meth:`~sodiumtwist.admission.replays.IReplayMemory.knows`.

        :param fingerprint: 16 bytes.
        :return: fires with the answer. It fails with an ``OSError`` when the database can't be read, and with a
            :class:`~sodiumtwist.LocalProtocolError` after :meth:`close`.
        """
        return self._call_in_thread(self._select, fingerprint)

    def remember(self, fingerprint: bytes) -> Deferred[bool]:
        """
        Remember a handshake, see :meth:`~sodiumtwist.admission.replays.IReplayMemory.remember`. To cancel the
        Deferred does not undo it.

        :param fingerprint: 16 bytes.
        :return: fires with whether it was new. It fails with an ``OSError`` when the database can't be written, and
            with a :class:`~sodiumtwist.LocalProtocolError` after :meth:`close`.
        """
        return self._call_in_thread(self._insert, fingerprint).addCallback(self._note_forgetting)

    def counted(self) -> Deferred[int]:
        """
        Count the handshakes that are remembered.

        :return: fires with their number. It fails as that of :meth:`knows`.
        """
        return self._call_in_thread(self._count, None)

    def close(self) -> Deferred[None]:
        """
        Close the database, when a service stops.

        :return: fires when all earlier calls are done and the database is closed.
        """
        # It is closed in the thread, so behind all calls that wait there. Each caller gets a Deferred of its own:
        # one of them may be cancelled.
        if self._closing is None:
            self.salts.close()
            self._closing = self._submit(self._disconnect).addBoth(self._stop_thread)
        closed: Deferred[None] = Deferred()
        self._closing.addBoth(self._pass_on, closed)
        return closed

    def _stop_thread(self, result: object) -> None:
        self._pool.stop()

    @staticmethod
    def _pass_on(result: None, closed: Deferred[None]) -> None:
        closed.callback(None)

    # What runs in the reactor's thread

    def _submit(self, work: Callable[..., Result], *arguments: Any) -> Deferred[Result]:
        # Not at import time: that would install a reactor, and the program may want another one.
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = IReactorFromThreads(reactor)
        return deferToThreadPool(self._reactor, self._pool, work, *arguments)

    def _call_in_thread(
        self, work: Callable[[sqlite3.Connection, Argument], Result], argument: Argument
    ) -> Deferred[Result]:
        if self._closing is not None:
            return fail(Failure(LocalProtocolError("the database of handshakes is closed")))
        return self._submit(self._with_connection, work, argument, time.monotonic() + self._timeout)

    # What runs in the database's thread

    def _with_connection(
        self, work: Callable[[sqlite3.Connection, Argument], Result], argument: Argument, deadline: float
    ) -> Result:
        # The time began when the call was made. Calls behind one that waited for a lock in vain fail soon, too;
        # else the last of many would wait for minutes.
        left = max(0.0, deadline - time.monotonic())
        try:
            # Another file lies there now, or none: what went into the old one would be known to nobody.
            if self._connection is not None and self._identity != file_identity(self._path):
                self._disconnect()
            if self._connection is None:
                self._connection = self._open(left)
                self._identity = file_identity(self._path)
            # In milliseconds.
            self._connection.execute(f"PRAGMA busy_timeout = {int(left * 1000)}")
            return work(self._connection, argument)
        except BaseException as error:
            # To close undoes a transaction that was begun. The next call opens the database anew, whatever was wrong.
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
        # It gets its name when it is whole. Several processes may start at once, and SQLite can't begin one file from
        # all of them.
        temporary = f"{self._path}.{secrets.token_hex(4)}.new"
        try:
            # Not left to SQLite, which would give it the mode that the umask allows. The files beside it get the
            # same mode as it has.
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                # With a log, those who only look do not wait for those who write.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                connection.execute(
                    "CREATE TABLE handshakes (number INTEGER PRIMARY KEY, fingerprint BLOB NOT NULL UNIQUE)"
                )
                make_table(connection)
            # Another process was first; its file is as good. A link, since a rename would replace it.
            with suppress(FileExistsError):
                os.link(temporary, self._path)
        finally:
            os.unlink(temporary)

    def _open(self, timeout: float) -> sqlite3.Connection:
        _check_files(self._path)
        # mode=rw makes no new file: one that was taken away must not become an empty one that knows nothing. Without an
        # isolation level transactions begin and end where the statements below say so. A pool runs one call at a
        # time, but does not promise that it is always the same thread.
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
            make_table(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        try:
            ((application_id,),) = connection.execute("PRAGMA application_id")
            ((version,),) = connection.execute("PRAGMA user_version")
        # A subclass of the next one, but it says nothing about the file: it may only be locked.
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise LocalProtocolError(f"{self._path} is no database of handshakes: {error}; name another file") from None
        _check_numbers(self._path, application_id, version)

    def _select(self, connection: sqlite3.Connection, fingerprint: bytes) -> bool:
        found = connection.execute("SELECT 1 FROM handshakes WHERE fingerprint = ?", (fingerprint,))
        return found.fetchone() is not None

    def _insert(self, connection: sqlite3.Connection, fingerprint: bytes) -> tuple[bool, bool]:
        """
        Remember a handshake, and forget the oldest beyond the limit.

        :return: whether it was new, and whether others were forgotten.
        """
        # Takes the lock for writing at once, so that waiting for another process is over before anything is done.
        connection.execute("BEGIN IMMEDIATE")
        insert = "INSERT OR IGNORE INTO handshakes (fingerprint) VALUES (?)"
        new = connection.execute(insert, (fingerprint,)).rowcount == 1
        excess = 0
        if new:
            # New numbers go up by one and the lowest are deleted, so there are no gaps: this is the count. SQLite's
            # count(*) would walk through all of them.
            ((oldest, newest),) = connection.execute(
                "SELECT (SELECT min(number) FROM handshakes), (SELECT max(number) FROM handshakes)"
            )
            excess = newest - oldest + 1 - self._limit
            if excess > 0:
                connection.execute("DELETE FROM handshakes WHERE number < ?", (oldest + min(excess, FORGET_AT_ONCE),))
        connection.execute("COMMIT")
        return new, excess > 0

    def _count(self, connection: sqlite3.Connection, _: None) -> int:
        # There are no gaps, see _insert().
        ((oldest, newest),) = connection.execute(
            "SELECT (SELECT min(number) FROM handshakes), (SELECT max(number) FROM handshakes)"
        )
        return 0 if newest is None else int(newest) - int(oldest) + 1

    # What runs in the reactor's thread again: it logs

    def _note_forgetting(self, result: tuple[bool, bool]) -> bool:
        new, forgot = result
        if forgot:
            self._warn_of_forgetting()
        return new
