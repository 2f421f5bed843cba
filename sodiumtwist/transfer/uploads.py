"""
What becomes of the upload of one session: a file, bytes in a FIFO or device, or nothing.

An *upload* takes payloads in order and ends once: by ``finish`` when all of it came, else by ``abandon``. Errors are
``OSError``. After one the upload can only be abandoned.

Files and devices are written in the reactor's thread. Measured, to hand each payload to another thread took more
time than it saved. Pipes are written without blocking, since their readers may sleep.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from ..replacing import status_of_replaced, take_over
from .pipes import PipeWriter, may_block

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


def write_all(fd: int, payloads: list[bytes]) -> None:
    """
    Write all of several payloads.

    :param fd: a descriptor that blocks.
    :raises OSError: when not all can be written, for instance on a full disk.
    """
    for payload in payloads:
        # write() may take a part, as on a disk that is nearly full. The next call then takes more or tells the error.
        view = memoryview(payload)
        while view:
            view = view[os.write(fd, view) :]


class Upload:
    """
    The upload of one session. Its methods are called one after the other, and only :meth:`interrupt` while a write
    is under way.

    :ivar size: bytes written so far.
    :ivar one_by_one: whether to write payloads one at a time, because each may take long.
    """

    size = 0
    one_by_one = False

    def write(self, payloads: list[bytes]) -> Deferred[None]:
        """
        Write payloads behind the earlier ones.

        :return: fires when the operating system has all of them, which may be before the disk has. Fails with an
            ``OSError``.
        """

        def count(_: object) -> None:
            self.size += sum(map(len, payloads))

        return self._write(payloads).addCallback(count)

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        raise NotImplementedError

    def interrupt(self) -> None:
        """Let a write fail that waits for a reader. For one that does not wait, this does nothing."""

    def finish(self) -> str:
        """
        End an upload of which all came.

        :return: what became of it, for the log.
        :raises OSError: when it can't be put in its place. It must be abandoned then.
        """
        raise NotImplementedError

    def abandon(self) -> str:
        """
        End an upload that broke off.

        :return: what became of it, for the log.
        """
        raise NotImplementedError


class FileUpload(Upload):
    """
    A file that grows under a temporary name beside its target and gets the target's name at the end. So nobody
    finds half an upload under that name.

    :param target: the final path. A file with that path is replaced, and its owner, group and mode are kept, see
        :func:`~sodiumtwist.replacing.take_over`.
    :raises OSError: when the temporary file can't be made.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        directory, name = os.path.split(target)
        self._temporary = os.path.join(directory, f".{name[:NAME_LIMIT]}.{secrets.token_hex(4)}.part")
        self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        return maybeDeferred(write_all, self._fd, payloads)

    def finish(self) -> str:
        lost = take_over(self._fd, status_of_replaced(self._target))
        self._close()
        os.replace(self._temporary, self._target)
        kept = f"; of the file that it replaces it could not keep {lost}" if lost else ""
        return f"{self.size} bytes in {self._target}{kept}"

    def abandon(self) -> str:
        partial = f"{self._target}.partial"
        # finish() may have closed it before it failed. Else the size is what is in the file: a write that failed
        # may have written a part.
        if self._fd >= 0:
            self.size = os.fstat(self._fd).st_size
            # An earlier part that it replaces. What fails here would fail once more below, where it is told.
            with suppress(OSError):
                take_over(self._fd, status_of_replaced(partial))
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
            return f"{self.size} bytes in {self._temporary}, as {partial} cannot be made: {error.strerror}"
        return f"{self.size} bytes in {partial}"

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
    :param ended: called at the end, whether closing succeeds or not.
    """

    def __init__(self, name: str, fd: int, reactor: Any, patience: float, ended: Callable[[], None]) -> None:
        self._name = name
        self._fd = fd
        self._ended = ended
        self._pipe: PipeWriter | None = None
        if may_block(fd):
            self._pipe = PipeWriter(fd, reactor, patience)
            self.one_by_one = True
        # It was opened without blocking, so as not to wait for a reader. What has none is written with blocking.
        else:
            os.set_blocking(fd, True)

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        if self._pipe is None:
            return maybeDeferred(write_all, self._fd, payloads)
        return self._pipe.write(b"".join(payloads))

    def interrupt(self) -> None:
        if self._pipe is not None:
            self._pipe.interrupt()

    def finish(self) -> str:
        self._close()
        return f"{self.size} bytes to {self._name}"

    def abandon(self) -> str:
        self._close()
        return f"{self.size} bytes to {self._name}, where they stay"

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
            self._ended()


class DiscardedUpload(Upload):
    """An upload that goes nowhere."""

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        return succeed(None)

    def finish(self) -> str:
        return f"{self.size} bytes, discarded"

    def abandon(self) -> str:
        return "nothing"
