"""
What becomes of one session's upload: a file, bytes in a FIFO or device, nothing.

An *upload* takes payloads in order and ends once: by ``finish`` when all of it came, else by ``abandon``. Errors are
``OSError``; with one the upload is of no more use but to be abandoned.

Files and devices are written in the reactor's thread: handing each payload to another one was
measured to take more time than it saved. Pipes, whose readers may sleep, are waited for.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from .pipes import PipeWriter, may_block

#: How many characters of a file's name its temporary name has: with all of a long one it would be too long.
NAME_LIMIT = 50


def write_all(fd: int, payloads: list[bytes]) -> None:
    """
    Write to a blocking descriptor until all is written.

    :raises OSError: when it isn't, for instance on a full disk.
    """
    for payload in payloads:
        view = memoryview(payload)
        while view:
            view = view[os.write(fd, view) :]


class Upload:
    """
    One session's upload. Its methods are called one after the other, never while a write is
    under way.

    :ivar size: bytes written so far.
    :ivar one_by_one: whether to write payloads singly, because that can take long.
    """

    size = 0
    one_by_one = False

    def write(self, payloads: list[bytes]) -> Deferred[None]:
        """
        Write behind what came before.

        :return: fires when all is written, that is handed to the operating system, or with an
            ``OSError``.
        """

        def count(_: object) -> None:
            self.size += sum(map(len, payloads))

        return self._write(payloads).addCallback(count)

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        raise NotImplementedError

    def interrupt(self) -> None:
        """Fail a write that waits for a reader."""

    def finish(self) -> str:
        """
        All of it came.

        :return: what became of it, for the log.
        :raises OSError: when it can't be put in its place; abandon it then.
        """
        raise NotImplementedError

    def abandon(self) -> str:
        """
        It broke off.

        :return: what became of it, for the log.
        """
        raise NotImplementedError


class FileUpload(Upload):
    """
    Grows under a temporary name beside its target and takes the target's name at the end.

    :param target: the final path. A file that stands there is replaced, and its mode is kept.
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
        try:
            os.fchmod(self._fd, os.stat(self._target).st_mode & 0o777)
        except FileNotFoundError:
            pass
        self._close()
        os.replace(self._temporary, self._target)
        return f"{self.size} bytes in {self._target}"

    def abandon(self) -> str:
        partial = f"{self._target}.partial"
        if self._fd >= 0:
            self.size = os.fstat(self._fd).st_size
            self._close()
        try:
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
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class StreamUpload(Upload):
    """
    Goes to a FIFO, a device or standard output as it comes; what was written stays written.

    :param name: what to call the stream.
    :param fd: the descriptor, closed at the end.
    :param reactor: watches pipes, so that a slow reader blocks only this upload.
    :param patience: seconds in which a pipe must take something.
    :param ended: called at the end.
    """

    def __init__(self, name: str, fd: int, reactor: Any, patience: float, ended: Callable[[], None]) -> None:
        self._name = name
        self._fd = fd
        self._ended = ended
        self._pipe: PipeWriter | None = None
        if may_block(fd):
            self._pipe = PipeWriter(fd, reactor, patience)
            self.one_by_one = True
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
                self.size = self._pipe.taken
                self._pipe.close()
            else:
                os.close(fd)
        finally:
            self._ended()


class DiscardedUpload(Upload):
    """Goes nowhere."""

    def _write(self, payloads: list[bytes]) -> Deferred[None]:
        return succeed(None)

    def finish(self) -> str:
        return f"{self.size} bytes, discarded"

    def abandon(self) -> str:
        return "nothing"
