"""
A store or fetch that is under way on a server: what both have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...describe import describe_size, printable
from .channel import Channel
from .disk_thread import DiskThread
from .names import show_path
from .report import FAILED, STORED, THERE, WOULD_RESUME, WOULD_SEND, FileResult, Report


class ServingEnd(Channel, Protocol):
    """
    What a :class:`FileSession` needs of the connection's end.
    """

    @property
    def is_stopping(self) -> bool:
        """Whether nothing new is begun any more."""

    @property
    def is_draining(self) -> bool:
        """Whether the server is about to stop, and the client has been told."""

    def break_off(self, code: int, text: str, error: BaseException) -> None:
        """Close the connection and tell the client why, unless it is over."""

    def files_over(self, line: str, warns: bool, **fields: object) -> None:
        """Say in the log what became of files, with fields ``login`` and ``peer``."""

    def files_counted(self, done: str, outcome: str, count: int, size: int) -> None:
        """
        Count what became of files.

        :param done: what was done with them: ``stored`` or ``sent``.
        :param outcome: of so many of them; the same, ``there`` or ``failed``.
        :param count: how many.
        :param size: how many bytes those have that it was done with.
        """

    def files_failed(self, reason: Failure) -> None:
        """Something went wrong that never should: show where, in the log."""

    def files_changed(self) -> None:
        """The session has become busy, or no longer is."""


class Tally(Report):
    """
    What became of the files of one store or fetch, for the log.
    """

    def __init__(self) -> None:
        self._done = self._size = self._there = self._failed = self._would = 0
        self._name, self._why = b"", ""

    def settled(self, result: FileResult) -> None:
        if result.outcome == STORED:
            self._done += 1
            self._size += result.size
            self._name = result.name or result.path
        elif result.outcome == THERE:
            self._there += 1
        elif result.outcome in (WOULD_SEND, WOULD_RESUME):
            self._would += 1
        else:
            self._failed += 1
            self._why = result.text

    def count(self, done: str) -> Iterator[tuple[str, int, int]]:
        """
        Tell the same in numbers.

        :return: an iterator of each outcome, of how many files, and how many bytes they have that it was done with.
        """
        counted = (done, self._done, self._size), (THERE, self._there, 0), (FAILED, self._failed, 0)
        return (each for each in counted if each[1])

    def numbers(self) -> dict[str, int]:
        """Give them as fields of the log."""
        return {"files": self._done, "bytes": self._size, "failed": self._failed}

    def describe(self, done: str) -> str:
        """Say it in a line; ``done`` is what was done with them."""
        what = show_path(self._name) if self._done == 1 else f"{self._done} files"
        parts = [f"{done} {what}, {describe_size(self._size)}"]
        if self._there:
            parts.append(f"{_were(self._there)} there already")
        if self._would:
            parts.append(f"{self._would} would have been")
        if self._failed:
            parts.append(f"{_were(self._failed)} not, the last one for: {printable(self._why)}")
        return "; ".join(parts)


def _were(count: int) -> str:
    return f"{count} {'was' if count == 1 else 'were'}"


class Holder(Protocol):
    """
    What :class:`Work` needs of the session that it is done for.
    """

    end: ServingEnd

    def over(self, work: Work) -> None:
        """It is over; the disk may still work for it. The next one may begin."""

    def closed(self) -> None:
        """The disk has done all for it."""


class Work:
    """
    A store or a fetch.

    :param session: whose.
    :param thread: for the disk; it stays the session's.
    :param where: the folder that it is about.
    """

    #: For the log, with a field ``outcome``, and what was done with files for that.
    line, done = "", ""

    def __init__(self, session: Holder, thread: DiskThread, where: str) -> None:
        self.session = session
        self.thread = thread
        self.where = where
        self.tally = Tally()
        self.is_over = False

    def data_received(self, payload: bytes) -> None:
        """Take in a DATA."""
        raise NotImplementedError

    def lost(self, reason: Failure) -> None:
        """Nothing more comes."""
        self.close(reason.getErrorMessage())

    def close(self, why: str) -> None:
        """
        It is over. To call this again does nothing.

        :param why: it has ended too early; nothing when it has not.
        """
        if not self.is_over:
            self.is_over = True
            self.session.over(self)
            self._end_disk_work().addBoth(self._closed, why)

    def _end_disk_work(self) -> Deferred[None]:
        """Have the disk do what is left to do, and no more."""
        raise NotImplementedError

    def _closed(self, result: Failure | None, why: str) -> None:
        end = self.session.end
        if isinstance(result, Failure):
            end.files_failed(result)
        outcome, broke_off = self.tally.describe(self.done), f"; it broke off: {printable(why)}" if why else ""
        numbers = self.tally.numbers()
        end.files_over(
            self.line + "{broke_off}", bool(why), outcome=outcome, **numbers, where=self.where, broke_off=broke_off
        )
        for counted in self.tally.count(self.done):
            end.files_counted(self.done, *counted)
        self.session.closed()
