"""
How a receiver stores: the rules of the dialogue, and what becomes of each file. Thread side: all of it is called in one
thread, in order.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b

from ...core.connection import Code
from ...core.errors import RemoteProtocolError
from ..disk import words_for_peer
from .arriving import Arriving
from .deciding import Awaited, Deciding, Rules, refused, too_large
from .folders import Folders
from .growing import Growing
from .messages import (
    DIGEST_SIZE,
    FILE,
    HAVE,
    LINE_LIMIT,
    Announce,
    Outcome,
    SetTimes,
    Settled,
    Verdict,
    Verdicts,
)
from .names import BadName, split_path
from .pieces import LAST, VOID, split
from .placing import NAME_TAKEN, REFUSE, Placing
from .present import is_like
from .quota import room_beside
from .roots import make_root, open_root
from .settling import Settling

__all__ = ["Rules", "Storing"]

#: After how many folders, and files that are there, the names of folders are synced, at the latest: those that have
#: changed are remembered until then.
UNSYNCED_FOLDERS = 4096

#: Of which number no piece may come.
_NONE = -1


class Storing:
    """
    Stores what is sent below a folder.

    :param root: the folder. It is made when the first files are announced, but not the one above it.
    :param rules: how.
    :ivar rules: the same.
    """

    def __init__(self, root: str, rules: Rules) -> None:
        self.rules = self._rules = rules
        self._settling = Settling(rules)
        self._root = root
        self._folders: Folders | None = None
        self._deciding: Deciding | None = None
        self._placing: Placing | None = None
        # Why nothing can be stored.
        self._unusable: OSError | None = None
        self._given_up = False
        self._announced = 0
        # How many folders were announced since names of folders were synced, or files that are there.
        self._unsynced = 0
        # In the order in which they come.
        self._awaited: deque[Awaited] = deque()
        # The file whose pieces come: its number, itself unless it has failed, and what it was announced as.
        self._number = _NONE
        self._arriving: Arriving | None = None
        self._current: Awaited | None = None
        self._end = 0

    # What the sender asks

    def announce(self, message: Announce) -> Verdicts:
        """
        Decide what shall become of files and folders. Folders are made.

        :raises RemoteProtocolError: when the numbers are not the next ones.
        """
        number = message.first
        if number != self._announced:
            raise RemoteProtocolError(f"entry {number} is announced where {self._announced} is the next")
        self._open()
        self._announced += len(message.entries)
        if self._unusable is not None:
            return Verdicts([refused(words_for_peer(self._unusable))] * len(message.entries))
        deciding = self._deciding
        assert deciding is not None
        verdicts: list[Verdict] = []
        for entry in message.entries:
            verdict, awaited = deciding.decide(number, entry)
            verdicts.append(verdict)
            if awaited is not None and not self._rules.dry:
                self._awaited.append(awaited)
            number += 1
            # Also of what is there the folder is synced.
            self._unsynced += verdict.what == HAVE
        if self._unsynced >= UNSYNCED_FOLDERS:
            self._sync_folders()
        return Verdicts(verdicts)

    def set_times(self, message: SetTimes) -> None:
        """
        Say of folders when they were last written to. What is not there any more, or was refused, is passed over.

        :raises RemoteProtocolError: when one has no path that could have been announced.
        """
        if self._rules.dry or self._folders is None:
            return
        for path, mtime in message.folders:
            try:
                parts = split_path(path)
            except BadName as error:
                raise RemoteProtocolError(f"the time of a folder: {error}") from None
            with suppress(OSError):
                self._folders.set_time(parts, mtime)

    def finish(self) -> None:
        """
        All is sent and settled.

        :raises RemoteProtocolError: when it is not.
        :raises OSError: when the disk does not take the names of folders.
        """
        if self._awaited or self._settling or self._current is not None:
            raise RemoteProtocolError("it is finished before all files were sent")
        self._sync_folders()
        if self._folders is not None and self._folders.sync_error is not None:
            # It may be of a folder in which nothing came, or where something was there already.
            raise self._folders.sync_error

    # What the sender sends

    def take(self, payloads: Iterable[bytes]) -> Outcome:
        """
        Take pieces of files, and write them.

        :return: how far it is, with the files that are settled by now.
        :raises RemoteProtocolError: when they break the rules.
        """
        for payload in payloads:
            for number, flags, offset, data in split(payload):
                if number == self._number:
                    self._go_on(flags, offset, data)
                    continue
                awaited = self._next(number)
                if flags == LAST and not offset and awaited.growing is None and awaited.present is None:
                    self._take_whole(awaited, data)
                else:
                    self._begin(awaited, flags, offset, data)
                    self._go_on(flags, offset, data)
        # The payloads are let go now.
        self._write_out()
        return self._settling.outcome()

    def commit(self) -> Outcome:
        """
        Put in their place what is whole.

        :return: how far it is.
        """
        self._settling.place()
        return self._settling.outcome()

    def give_up(self) -> None:
        """
        Nobody waits any more for what takes long and is of no use then, as digests of large files. This may be called
        in any thread.
        """
        self._given_up = True
        folders = self._folders
        if folders is not None:
            folders.given_up = True

    def abandon(self) -> None:
        """Nothing more comes. What has begun is kept to go on with it another time."""
        arriving, self._arriving = self._arriving, None
        if self._current is not None:
            # It may have begun wrongly, which has broken the dialogue.
            self._awaited.append(self._current)
        self._number, self._current = _NONE, None
        if arriving is not None:
            with suppress(OSError):
                arriving.flush()
            arriving.keep()
        for awaited in self._awaited:
            if awaited.growing is not None:
                awaited.growing.keep()
        self._awaited.clear()
        if self._deciding is not None:
            self._deciding.hold(-self._deciding.held)
        self._settling.abandon()
        if self._folders is not None:
            self._folders.close()
        self._folders = self._deciding = self._placing = None
        self._unusable = OSError(errno.EBADF, "it is over")

    # Steps

    def _open(self) -> None:
        if self._deciding is not None or self._unusable is not None:
            return
        try:
            self._folders, new = self._open_root()
        except OSError as error:
            self._unusable = error
            return
        if self._folders is not None:
            self._folders.given_up = self._given_up
        self._deciding = Deciding(self._folders, self._rules, new)
        if self._folders is not None and not self._rules.dry:
            self._placing = self._settling.open(self._folders)

    def _sync_folders(self) -> None:
        """Wait for the names of folders that were made, in which perhaps nothing came."""
        self._unsynced = 0
        if self._folders is None or self._rules.dry:
            return
        if not self._rules.sync:
            self._folders.forget_changed()
        else:
            self._folders.sync_changed()

    def _open_root(self) -> tuple[Folders | None, bool]:
        """Open the folder, which is made where it is missing; and tell whether that was so."""
        if not self._rules.dry:
            return make_root(self._root, self._rules.sync)
        try:
            return open_root(self._root), False
        except FileNotFoundError:
            return None, True

    def _next(self, number: int) -> Awaited:
        """Find the file of a first piece."""
        if self._current is not None:
            raise RemoteProtocolError(f"a piece of file {number} before the last one of file {self._number}")
        if not self._awaited or self._awaited[0].number != number:
            raise RemoteProtocolError(f"a piece of file {number}, which is not the next one")
        return self._awaited.popleft()

    def _take_whole(self, awaited: Awaited, data: memoryview) -> None:
        """Store a file that is one piece, as nearly all are."""
        number, size = awaited.number, len(data)
        rules, entry, placing = self._rules, awaited.entry, self._placing
        assert placing is not None
        mtime = entry.mtime if entry.kind == FILE else time.time_ns()
        try:
            if size > rules.max_size:
                raise _too_large(rules.max_size)
            if rules.room is not None:
                self._settling.charges.take(number, size)
            try:
                written = placing.write_small(awaited.parts, data, mtime, entry.executable)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._settling:
                    raise
                # Those before it may hold descriptors.
                self._settling.place()
                written = placing.write_small(awaited.parts, data, mtime, entry.executable)
        except OSError as error:
            self._settling.fail(number, error)
            return
        self._settling.written += size
        digest = blake2b(data, digest_size=DIGEST_SIZE).digest() if rules.digests else b""
        self._settling.add(awaited, written, digest)

    def _begin(self, awaited: Awaited, flags: int, offset: int, data: memoryview) -> None:
        """Begin with a file of several pieces, or one of which something is there."""
        self._number, self._current, self._end = awaited.number, awaited, 0
        if flags & VOID:
            # What is there of it may be of use another time.
            if awaited.growing is not None:
                self._grow(awaited).keep()
            return
        there = awaited.offset
        # Also where a hole comes first. Else it could be taken for what is there.
        if offset not in (0, there):
            raise RemoteProtocolError(f"file {self._number} begins at {offset}, where {there} bytes are there")
        if awaited.present is not None:
            if offset == there and flags == LAST and not data:
                self._end = offset
                return
            awaited.present = None
            if there and offset:
                self._failed(OSError(errno.EFBIG, "it has more bytes than were announced"))
                return
        self._end = offset
        try:
            if awaited.growing is not None:
                self._settling.charges.begin(awaited.number, awaited.growing.room, offset)
            self._arriving = Arriving(self._grow(awaited), self._end)
        except OSError as error:
            self._failed(error)

    def _grow(self, awaited: Awaited) -> Growing:
        growing, awaited.growing = awaited.growing, None
        if growing is not None:
            assert self._deciding is not None
            self._deciding.hold(-1)
            return growing
        assert self._folders is not None
        rules = self._rules
        if rules.existing == REFUSE:
            status = self._folders.status(awaited.parts)
            # It would be refused in the end; unless another session has just put the same file there.
            if status is not None and not (rules.resume and is_like(status, awaited.entry)):
                raise FileExistsError(errno.EEXIST, NAME_TAKEN)
        return Growing(self._folders, awaited.parts, awaited.entry.executable, False, rules.digests)

    def _go_on(self, flags: int, offset: int, data: memoryview) -> None:
        """Take a piece of the file that has begun."""
        if flags & VOID:
            self._take_back(data)
            return
        if offset < self._end:
            raise RemoteProtocolError(f"a piece of file {self._number} at {offset}, where it has come to {self._end}")
        start, size = self._end, len(data)
        self._end = end = offset + size
        arriving = self._arriving
        if arriving is not None:
            rules = self._rules
            try:
                if end > rules.max_size:
                    raise _too_large(rules.max_size)
                if rules.room is not None and end != start:
                    self._settling.charges.take(self._number, size + room_beside(start, offset))
                if size:
                    arriving.take(offset, data)
                    self._settling.written += size
            except OSError as error:
                self._failed(error)
        if flags:
            self._finish()

    def _write_out(self) -> None:
        """Write what has come of the file that has begun."""
        if self._arriving is not None:
            try:
                self._arriving.flush()
            except OSError as error:
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        """The file that has begun fails. What still comes of it is dropped."""
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            with suppress(OSError):
                if error.errno == errno.ECANCELED:
                    arriving.keep()
                else:
                    arriving.remove()
        assert self._current is not None
        self._current.failed = True
        self._settling.fail(self._number, error)

    def _end_current(self) -> Awaited:
        awaited = self._current
        assert awaited is not None
        self._number, self._current, self._arriving = _NONE, None, None
        return awaited

    def _take_back(self, data: memoryview) -> None:
        """The sender gives the file up."""
        if self._arriving is not None:
            with suppress(OSError):
                self._arriving.remove()
        awaited = self._end_current()
        self._settling.charges.give_back(awaited.number)
        if not awaited.failed:
            text = str(data[:LINE_LIMIT], errors="replace") or "its sender has given it up"
            self._settling.settle(Settled(awaited.number, Code.CANCELLED, text))

    def _finish(self) -> None:
        """The last piece of the file has come."""
        arriving, rules, size = self._arriving, self._rules, self._end
        awaited = self._current
        assert awaited is not None
        mtime = awaited.entry.mtime if awaited.entry.kind == FILE else time.time_ns()
        written = None
        try:
            if awaited.present is not None:
                awaited.present.set_time(mtime, awaited.entry.executable, rules.sync)
                digest = awaited.present.digest if rules.digests else b""
                there = awaited.present.parts
                name = b"" if there == awaited.parts else b"/".join(there)
                self._settling.settle(Settled(awaited.number, name=name, digest=digest, size=size))
            elif arriving is not None:
                written = arriving.finish(size, mtime, rules.sync)
        except OSError as error:
            self._failed(error)
        self._end_current()
        if written is not None:
            self._settling.add(awaited, written, written.digest)


def _too_large(limit: int) -> OSError:
    return OSError(errno.EFBIG, too_large(limit))
