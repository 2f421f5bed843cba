"""
What becomes of the upload of one session: a file, bytes in a FIFO or device, or nothing.

An *upload* takes payloads in order and ends once: by ``finish`` when all of it came, else by ``abandon`` or
``remove``. Errors are ``OSError``. After one the upload can only be abandoned or removed.

Files and devices are written in the reactor's thread. Measured, to hand each payload to another thread took more
time than it saved. Only what may wait for the disk, once an upload, is done in another. Pipes are written without
blocking, since their readers may sleep.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from ..admission.replacing import status_of_replaced, sync_directory, sync_if_possible, take_over
from ..describe import describe_size
from ..describe.log import Logger
from .disk import Disk, Room
from .partials import Partials
from .pipes import PipeWriter, may_block
from .turns import Turn

_log = Logger()

#: How many characters of a file's name stand in its temporary name. With all of a long name it would be too long.
NAME_LIMIT = 50

#: Behind the beginning of that name.
_TEMPORARY_END = re.compile(r"\.[0-9a-f]{8}\.part\Z")


def unfinished(directory: str, name: str = "") -> list[str]:
    """
    Find uploads that grow, or were left when their server was killed.

    :param directory: where they become files.
    :param name: of the file that they would become; empty for any.
    :return: their temporary names.
    :raises OSError: when the directory can't be read.
    """
    start = f".{name[:NAME_LIMIT]}"
    with os.scandir(directory) as entries:
        return [
            entry.name
            for entry in entries
            if entry.name.startswith(start)
            and (_TEMPORARY_END.fullmatch(entry.name, len(start)) if name else _TEMPORARY_END.search(entry.name))
        ]


def write_all(fd: int, payloads: Sequence[bytes]) -> None:
    """
    Write all of several payloads.

    :param fd: a descriptor that blocks.
    :raises OSError: when not all can be written, for instance on a full disk.
    """
    for payload in payloads:
        written = os.write(fd, payload) if payload else 0
        # It may take a part, as on a disk that is nearly full. The next call then takes more or tells the error.
        while written < len(payload):
            written += os.write(fd, memoryview(payload)[written:])


class Upload:
    """
    The upload of one session. Its methods are called one after the other, and only :meth:`interrupt` while a write
    is under way.

    :ivar size: bytes written so far.
    :ivar one_by_one: whether to write payloads one at a time, because each may take long.
    :ivar make_way: called with the reason when the upload must end for the sake of others.
    """

    size = 0
    one_by_one = False
    make_way: Callable[[str], object] = staticmethod(lambda why: None)

    def write_now(self, payloads: Sequence[bytes], size: int) -> bool:
        """
        Write payloads behind the earlier ones, where that waits for no reader. This is :meth:`write` without a
        ``Deferred`` for each.

        :param size: how many bytes they have together.
        :return: whether the operating system has all of them. If not, none was written, and is to be by :meth:`write`.
        :raises OSError: when they can't be written.
        """
        return False

    def write(self, payloads: Sequence[bytes]) -> Deferred[None]:
        """
        Write payloads behind the earlier ones.

        :return: fires when the operating system has all of them, which may be before the disk has. Fails with an
            ``OSError``.
        """
        size = sum(map(len, payloads))

        def count(_: object) -> None:
            self.size += size

        try:
            if self.write_now(payloads, size):
                return succeed(None)
        except OSError:
            return fail()
        return self._write(payloads).addCallback(count)

    def _write(self, payloads: Sequence[bytes]) -> Deferred[None]:
        """Write payloads that :meth:`write_now` does not."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Let a write fail that waits for a reader. For one that does not wait, this does nothing."""

    def finish(self) -> Deferred[str]:
        """
        End an upload of which all came.

        :return: fires when it is in its place, with what became of it, for the log. Fails with an ``OSError`` when it
            can't be put there, or the disk does not take it. It must be abandoned then.
        """
        raise NotImplementedError

    def abandon(self) -> Deferred[str]:
        """
        End an upload that broke off, and keep what came of it.

        :return: fires with what became of it, for the log.
        """
        raise NotImplementedError

    def remove(self) -> Deferred[str]:
        """
        End an upload of which nothing may stay, for it took too much room.

        :return: fires with what became of it, for the log.
        """
        return self.abandon()


class FileUpload(Upload):
    """
    A file that grows under a temporary name beside its target and gets the target's name at the end. So nobody
    finds half an upload under that name.

    :param target: the final path. A file with that path is replaced, and its owner, group and mode are kept, see
        :func:`~sodiumtwist.admission.replacing.take_over`.
    :param disk: how the disk is treated.
    :param room: what keeps some of the file system free; ``None`` for one of its own.
    :param partials: what bounds the broken uploads of its directory; ``None`` where there is at most one.
    :param stored: called with path and size when it is in its place.
    :raises OSError: when the temporary file can't be made, and when there is no room for it.
    """

    def __init__(
        self,
        target: str,
        disk: Disk | None = None,
        room: Room | None = None,
        partials: Partials | None = None,
        stored: Callable[[str, int], object] | None = None,
    ) -> None:
        self._target = target
        self._disk = disk or Disk()
        self._room = room or self._disk.room(os.path.dirname(target))
        self._partials = partials
        self._stored = stored
        # Whether it has its name.
        self._placed = False
        # Why the disk may not have all of it.
        self._not_synced = ""
        directory, name = os.path.split(target)
        self._temporary = os.path.join(directory, f".{name[:NAME_LIMIT]}.{secrets.token_hex(4)}.part")
        self._room.take(0)
        self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write_now(self, payloads: Sequence[bytes], size: int) -> bool:
        self._room.take(size)
        write_all(self._fd, payloads)
        self.size += size
        return True

    def finish(self) -> Deferred[str]:
        finished: Deferred[str] = self._disk.call(self._put_in_place)
        return finished if self._stored is None else finished.addCallback(self._tell, self._stored)

    def _tell(self, outcome: str, stored: Callable[[str, int], object]) -> str:
        try:
            stored(self._target, self.size)
        except Exception:
            # The upload stays what it is.
            _log.failure("what is called for stored files failed", event="stored_callback_failed")
        return outcome

    # These three run in a thread, one of them at a time.

    def _put_in_place(self) -> str:
        lost = take_over(self._fd, status_of_replaced(self._target))
        self._sync()
        self._close()
        os.replace(self._temporary, self._target)
        self._placed = True
        if self._disk.sync:
            sync_directory(os.path.dirname(self._target))
        kept = f"; of the file that it replaces it could not keep {lost}" if lost else ""
        return f"{describe_size(self.size)} in {self._target}{kept}"

    def abandon(self) -> Deferred[str]:
        abandoned: Deferred[str] = self._disk.call(self._keep_partial)
        return abandoned

    def remove(self) -> Deferred[str]:
        removed: Deferred[str] = self._disk.call(self._remove)
        return removed

    def _keep_partial(self) -> str:
        # It is too late to take the name back: what stood there before is gone.
        if self._placed:
            return f"{describe_size(self.size)} in {self._target}, where they may be lost with the power"
        partial = f"{self._target}.partial"
        # finish() may have closed it before it failed. Else the size is what is in the file: a write that failed
        # may have written a part.
        if self._fd >= 0:
            self.size = os.fstat(self._fd).st_size
            # An earlier part that it replaces. What fails here would fail once more below, where it is told.
            with suppress(OSError):
                take_over(self._fd, status_of_replaced(partial))
            try:
                # An earlier part may be in its place, and what takes that must not be empty after a loss of power. But
                # what the disk has refused once it does not take by being asked again, whatever it says then.
                if self.size and not self._not_synced:
                    self._sync()
            except OSError:
                pass  # the outcome tells
            self._close()
        try:
            # An empty file would be of no use, and could take the place of an earlier part that is.
            if not self.size:
                os.unlink(self._temporary)
                return "nothing, for nothing came"
            os.replace(self._temporary, partial)
        except FileNotFoundError:
            return f"nothing, as {self._temporary} is gone"
        except OSError as error:
            why = f"as {partial} cannot be made: {error.strerror}"
            # It has a name that no other upload takes over, so each one that breaks off would leave one more.
            try:
                os.unlink(self._temporary)
            except OSError:
                return f"{describe_size(self.size)} in {self._temporary}, {why}"
            return f"nothing, {why}"
        outcome = f"{describe_size(self.size)} in {partial}{self._not_synced}"
        return outcome if self._partials is None else self._bound(self._partials, partial, outcome)

    def _bound(self, partials: Partials, partial: str, outcome: str) -> str:
        name = os.path.basename(partial)
        try:
            removed = partials.add(name, self.size)
        except OSError as error:
            return f"{outcome}; what else is kept there can't be looked at: {error.strerror}"
        if name in removed:
            return f"nothing, as {describe_size(self.size)} are more than is kept of broken uploads"
        return outcome + (f", and removed the oldest: {', '.join(removed)}" if removed else "")

    def _remove(self) -> str:
        if self._placed:
            return self._keep_partial()
        self._close()
        try:
            os.unlink(self._temporary)
        except FileNotFoundError:
            pass
        except OSError as error:
            return f"{self._temporary}, which cannot be removed: {error.strerror}"
        return "nothing, to make room"

    def _sync(self) -> None:
        if not self._disk.sync:
            return
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._not_synced = f", which the disk may not have: {error.strerror}"
            raise

    def _close(self) -> None:
        # Cleared first: a descriptor must not be closed again after an error, when its number may be another's.
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class StreamUpload(Upload):
    """
    An upload that goes to a FIFO, a device or standard output as it comes. What was written stays written.

    :param name: what the log calls the stream.
    :param fd: the descriptor, which is closed at the end.
    :param reactor: watches pipes, so that a slow reader holds up only this upload.
    :param patience: seconds in which a pipe must take something.
    :param turn: the upload's turn, which knows when it must end for others.
    :param ended: called at the end, whether closing succeeds or not.
    :param disk: how a disk is treated, where there is one behind the stream.
    :param room: what keeps some of that disk free.
    """

    def __init__(
        self,
        name: str,
        fd: int,
        reactor: Any,
        patience: float,
        turn: Turn,
        ended: Callable[[Turn], None],
        disk: Disk | None = None,
        room: Room | None = None,
    ) -> None:
        self._name = name
        self._fd = fd
        self._turn = turn
        self._ended = ended
        self._disk = disk or Disk()
        self._room = room
        turn.busy = False
        turn.give_way = lambda why: self.make_way(why)
        self._pipe: PipeWriter | None = None
        if may_block(fd):
            self._pipe = PipeWriter(fd, reactor, patience)
            self.one_by_one = True
        # It was opened without blocking, so as not to wait for a reader. What has none is written with blocking.
        else:
            os.set_blocking(fd, True)

    def write_now(self, payloads: Sequence[bytes], size: int) -> bool:
        if self._pipe is not None:
            return False
        self._turn.size += size
        if self._room is not None:
            self._room.take(size)
        write_all(self._fd, payloads)
        self.size += size
        return True

    def _write(self, payloads: Sequence[bytes]) -> Deferred[None]:
        assert self._pipe is not None
        payload = b"".join(payloads)
        self._turn.busy = True
        return self._pipe.write(payload).addCallback(self._taken, len(payload))

    def _taken(self, _: None, size: int) -> None:
        self._turn.busy = False
        self._turn.size += size

    def interrupt(self) -> None:
        if self._pipe is not None:
            self._pipe.interrupt()

    def finish(self) -> Deferred[str]:
        # Others that wait meanwhile wait for the disk.
        self._turn.busy = True
        synced: Deferred[None] = succeed(None)
        # Standard output may be a file, and a device a disk. A pipe has none.
        if self._pipe is None and self._disk.sync:
            fd = self._fd
            synced = self._disk.call(lambda: sync_if_possible(fd))
        return synced.addCallback(self._finished)

    def _finished(self, _: None) -> str:
        self._close()
        return f"{describe_size(self.size)} to {self._name}"

    def abandon(self) -> Deferred[str]:
        return maybeDeferred(self._abandon)

    def _abandon(self) -> str:
        self._close()
        return f"{describe_size(self.size)} to {self._name}, where they stay"

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if self._pipe is not None:
                # With the part that was taken of a payload whose write failed.
                self.size = self._pipe.taken
                self._pipe.close()
            else:
                os.close(fd)
        # Whatever closing says, or the stream would never be free for the next upload.
        finally:
            self._ended(self._turn)


class DiscardedUpload(Upload):
    """An upload that goes nowhere."""

    def write_now(self, payloads: Sequence[bytes], size: int) -> bool:
        self.size += size
        return True

    def finish(self) -> Deferred[str]:
        return succeed(f"{describe_size(self.size)}, discarded")

    def abandon(self) -> Deferred[str]:
        return succeed("nothing")
