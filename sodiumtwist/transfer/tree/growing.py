"""
One file that grows under its temporary name, and what an earlier try has left of it.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ...admission.replacing import sync_if_possible
from .digests import RunningDigest
from .folders import Folders, Parts
from .quota import room_of
from .temporaries import Temporary, Written, open_temporary, write_at


class Growing:
    """
    A file that grows. It ends by :meth:`finish`, :meth:`keep` or :meth:`remove`; what is called behind these does
    nothing.

    :param folders: where it is.
    :param parts: of its path.
    :param executable: whether its owner may run it.
    :param resume: whether what is there of it may be used; else that is dropped.
    :param digests: whether the digest of all of it will be asked for, so that it is best made while it is written.
    :raises OSError: when it can't be made.
    :ivar size: how many bytes are there.
    """

    def __init__(self, folders: Folders, parts: Parts, executable: bool, resume: bool, digests: bool = False) -> None:
        self._folders = folders
        self._executable = executable
        self._digests = digests
        self._digest = RunningDigest(folders.check_wanted)
        self._temporary: Temporary | None = open_temporary(folders, parts, executable)
        self.size = 0
        try:
            if resume:
                self.size = os.fstat(self._file.fd).st_size
            else:
                os.ftruncate(self._file.fd, 0)
        except OSError:
            self.remove()
            raise

    @property
    def _file(self) -> Temporary:
        if self._temporary is None:
            raise ValueError("this file grows no more")
        return self._temporary

    @property
    def room(self) -> int:
        """
        How much room it takes, without its holes.

        :raises OSError: when that can't be found out.
        """
        return room_of(os.fstat(self._file.fd))

    def digest(self) -> bytes:
        """
        Make the BLAKE2b digest of all that is there.

        :raises OSError: when it can't be read.
        """
        self._digest.read(self._file.fd, self.size)
        return self._digest.digest()

    def begin(self, offset: int) -> None:
        """
        Keep the beginning, and nothing behind that.

        :param offset: how many bytes of it.
        :raises OSError: when that can't be done.
        """
        os.ftruncate(self._file.fd, offset)
        self.size = offset
        if self._digest.size > offset:
            self._digest = RunningDigest(self._folders.check_wanted)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """
        Write what follows.

        :param offset: where it belongs, not before the end. What is between is a hole.
        :raises OSError: when it can't be written. Some of it may be.
        """
        self.write_all(offset, [memoryview(data)])

    def write_all(self, offset: int, pieces: list[memoryview]) -> None:
        """
        Write what follows, which came in pieces, by one call where the system can do so.

        :param offset: where the first of them belongs, not before the end. The others follow it.
        :raises OSError: when not all can be written. Some of it may be.
        """
        if offset < self.size:
            raise ValueError("pieces of a file overlap")
        size = sum(map(len, pieces))
        written = os.pwritev(self._file.fd, pieces, offset) if len(pieces) > 1 else 0
        if written < size:
            # As on a disk that is nearly full.
            rest = pieces[0] if len(pieces) == 1 else b"".join(pieces)[written:]
            write_at(self._file.fd, rest, offset + written)
        # Only as long as all before it is in it. It would have to be read for that, and may never be asked for.
        if self._digests and self._digest.size == self.size:
            self._digest.update_zeros(offset - self.size)
            for piece in pieces:
                self._digest.update(piece)
        self.size = offset + size

    def finish(self, size: int, mtime: int, sync: bool) -> Written:
        """
        End a file of which all came.

        :param size: how many bytes it has. What is behind the last one that was written is a hole.
        :param mtime: when it was last written to at its sender, in nanoseconds since the epoch.
        :param sync: whether to wait until the disk has it.
        :return: what is to be put in its place now, with the digest of all of it where that was wanted.
        :raises OSError: when that can't be done. When it is the disk that has not taken it, nothing is left.
        """
        file = self._file
        os.ftruncate(file.fd, size)
        digest = b""
        if self._digests:
            # Some of it may have been there before, and its end may be a hole.
            self._digest.read(file.fd, size)
            digest = self._digest.digest()
        self.size = size
        os.utime(file.fd, ns=(mtime, mtime))
        if sync:
            try:
                sync_if_possible(file.fd)
            except OSError:
                # What the disk has refused once may look whole, and is not.
                self.remove()
                raise
        self._temporary = None
        return Written(file, size, mtime, self._executable, synced=sync, digest=digest)

    def keep(self) -> None:
        """End a file that broke off, so that what is there of it can be used later. Nothing is kept of an empty one."""
        if self._temporary is None:
            return
        if not self.size or not self._temporary.lasting:
            self.remove()
            return
        file, self._temporary = self._temporary, None
        # What could not be written shows in the digest.
        with suppress(OSError):
            file.close()

    def remove(self) -> None:
        """End a file of which nothing may stay."""
        file, self._temporary = self._temporary, None
        if file is not None:
            file.remove(self._folders)
