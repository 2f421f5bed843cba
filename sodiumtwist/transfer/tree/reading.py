"""
How a sender reads: in the thread, in jobs of about a megabyte, and packed into DATA as
:mod:`~sodiumtwist.transfer.tree.pieces` has them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from hashlib import blake2b
from typing import NamedTuple

from ...protocol.sockets import CHUNK_SIZE
from .digests import RunningDigest
from .messages import DIGEST_SIZE, Entry
from .pieces import HEADER, LAST, PIECE_SIZE, VOID, header
from .walking import Where, open_file, why_not

#: About how many bytes one job reads: a change of threads for each of the small files would take longer than reading.
JOB_SIZE = 1024 * 1024

#: About how many bytes one job compares with what is there, or skips and hashes, before others have their turn.
COMPARED_SIZE = 16 * 1024 * 1024

_ZERO = bytes(3)
_HEADER_SIZE = HEADER.size


class Job(NamedTuple):
    """
    A file to be read.

    :ivar number: of its entry.
    :ivar where: where to open it.
    :ivar offset: how many bytes of it the receiver has.
    :ivar digest: of these.
    """

    number: int
    entry: Entry
    where: Where
    offset: int = 0
    digest: bytes = b""


class End(NamedTuple):
    """
    A file that was read.

    :ivar number: of its entry.
    :ivar size: where it ends, in bytes.
    :ivar digest: of all of it, where digests were asked for.
    :ivar text: why it is taken back; else empty.
    """

    number: int
    size: int
    digest: bytes = b""
    text: str = ""


@dataclass
class Read:
    """
    What one job has brought.

    :ivar packs: what goes into one DATA each.
    :ivar size: how many bytes of files these have.
    :ivar begun: numbers of files that begin, and from where; of small ones that leave together the first is enough.
    :ivar ended: those of which nothing follows.
    """

    packs: list[bytes] = field(default_factory=list)
    size: int = 0
    begun: list[tuple[int, int]] = field(default_factory=list)
    ended: list[End] = field(default_factory=list)


class Reading:
    """
    Reads files in their order.

    :param digests: whether those of whole files are wanted.
    """

    def __init__(self, digests: bool = False) -> None:
        self._digests = digests
        self._jobs: deque[Job] = deque()
        self._unwanted: set[int] = set()
        self._now: Generator[None, None, None] | None = None
        # What waits to become a pack.
        self._parts: list[bytes] = []
        self._room = CHUNK_SIZE
        self._read = Read()
        # How many bytes this job has packed, headers among them: of empty files there is nothing else.
        self._packed = 0
        self._compared = 0

    # From the reactor

    def add(self, job: Job) -> None:
        """Read a file behind those before it."""
        self._jobs.append(job)

    @property
    def more(self) -> bool:
        """Whether something is left to be read. To be asked while no job is under way."""
        return bool(self._jobs) or self._now is not None

    def drop(self, number: int) -> None:
        """The receiver has given a file up; no more of it is read."""
        self._unwanted.add(number)

    # In the thread

    def read(self) -> Read:
        """Do a job."""
        read = self._read = Read()
        self._packed = self._compared = 0
        jobs = self._jobs
        while self._packed < JOB_SIZE and self._compared < COMPARED_SIZE:
            if self._now is None:
                if not jobs:
                    break
                job = jobs.popleft()
                if job.offset or job.entry.size > PIECE_SIZE or not self._read_small(job):
                    self._now = self._read_large(job)
            elif next(self._now, True):
                self._now = None
        self._flush()
        self._read = Read()
        return read

    def close(self) -> None:
        """Close what is open; nothing more is read."""
        self._jobs.clear()
        if self._now is not None:
            self._now.close()
            self._now = None

    def _read_small(self, job: Job) -> bool:
        """
        Read a file that is one piece. As nearly all are of this kind, it has few calls.

        :return: whether it is that.
        """
        number, entry = job.number, job.entry
        if self._unwanted and number in self._unwanted:
            return False
        size = entry.size
        try:
            fd = open_file(job.where, entry.path)
            try:
                # One byte more shows that it ends there.
                data = os.read(fd, size + 1)
                status = os.fstat(fd)
            finally:
                os.close(fd)
        except OSError:
            return False
        if (
            len(data) != size
            or status.st_size != size
            or status.st_mtime_ns != entry.mtime
            or not stat.S_ISREG(status.st_mode)
        ):
            return False
        taken = _HEADER_SIZE + size
        if taken > self._room:
            self._flush()
        self._room -= taken
        read = self._read
        if not self._parts:
            # Nobody can see each of those that leave together.
            read.begun.append((number, 0))
        self._parts += (HEADER.pack(number, LAST, _ZERO, 0, size), data)
        self._packed += taken
        read.size += size
        read.ended.append(End(number, size, blake2b(data, digest_size=DIGEST_SIZE).digest() if self._digests else b""))
        return True

    def _read_large(self, job: Job) -> Generator[None, None, None]:
        """Read any file, and look at all that may be wrong with it. It yields wherever a job may end."""
        number = job.number
        self._place = 0
        digest, text = b"", ""
        if number in self._unwanted:
            text = "it is not wanted"
        else:
            try:
                fd = open_file(job.where, job.entry.path)
                try:
                    digest = yield from self._read_open(job, fd)
                finally:
                    os.close(fd)
            except _Changed as error:
                text = str(error)
            except OSError as error:
                text = "it is a link by now" if error.errno == errno.ELOOP else f"it can't be read: {why_not(error)}"
        line = text.encode()
        self._put(header(number, LAST | VOID if text else LAST, self._place, len(line)), line)
        self._unwanted.discard(number)
        self._read.ended.append(End(number, self._place, digest, text))

    def _read_open(self, job: Job, fd: int) -> Generator[None, None, bytes]:
        """
        Send what is in an open file.

        :return: its digest.
        """
        number, entry = job.number, job.entry
        _keep_memory()
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _Changed("it is no file any more")
        _check_unchanged(status, entry)
        digest = RunningDigest()
        offset = job.offset
        if offset:
            yield from self._compare(fd, offset, digest)
            if digest.digest() != job.digest:
                offset, digest = 0, RunningDigest()
        self._place, self._told = offset, False
        self._read.begun.append((number, offset))
        end = entry.size
        for start, stop in _extents(fd, offset, status):
            yield from self._skip(number, start, digest)
            while self._place < stop:
                if not self._read_piece(number, fd, min(PIECE_SIZE, stop - self._place), digest):
                    # It ends early: so do files of the system, whose sizes are nominal.
                    end = self._place
                    break
                yield
                if number in self._unwanted:
                    raise _Changed("it is not wanted")
            if end != entry.size:
                break
        yield from self._skip(number, end, digest)
        if end == entry.size:
            # Those have more than they say, too, without growing. What grows has another size by now.
            while os.pread(fd, 1, self._place):
                _check_unchanged(os.fstat(fd), entry)
                self._read_piece(number, fd, PIECE_SIZE, digest)
                yield
        _check_unchanged(os.fstat(fd), entry)
        return digest.digest() if self._digests else b""

    def _read_piece(self, number: int, fd: int, size: int, digest: RunningDigest) -> bool:
        place = self._place
        data = os.pread(fd, size, place)
        size = len(data)
        if not size:
            return False
        if self._digests:
            digest.update(data)
        self._put(HEADER.pack(number, 0, _ZERO, place, size), data)
        self._told = True
        self._read.size += size
        self._place = place + size
        return True

    def _compare(self, fd: int, size: int, digest: RunningDigest) -> Generator[None, None, None]:
        """Hash the beginning of a file."""
        while digest.size < size:
            before = digest.size
            digest.read(fd, min(size, before + COMPARED_SIZE))
            if digest.size == before:
                return  # it ends early
            self._compared += digest.size - before
            yield

    def _skip(self, number: int, place: int, digest: RunningDigest) -> Generator[None, None, None]:
        """Pass over a hole, if there is one before a place."""
        if place != self._place and not self._told:
            # Else the receiver would take the place behind the hole for the one where this begins.
            self._put(header(number, 0, self._place, 0), b"")
            self._told = True
        while self._digests and digest.size < place:
            part = min(COMPARED_SIZE, place - digest.size)
            digest.update_zeros(part)
            self._compared += part
            yield
        self._place = place

    def _put(self, head: bytes, data: bytes) -> None:
        taken = _HEADER_SIZE + len(data)
        if taken > self._room:
            self._flush()
        self._room -= taken
        self._packed += taken
        self._parts += (head, data)

    def _flush(self) -> None:
        if self._parts:
            self._read.packs.append(b"".join(self._parts))
            self._parts = []
            self._room = CHUNK_SIZE


@cache
def _keep_memory() -> None:
    """
    Have the allocator keep the memory of what was sent for what is read next.

    glibc gives it back to the system each time, which has to clear it for the next piece: that takes as long as to read
    does. Once a larger block is freed it no longer does.
    """
    bytes(2 * JOB_SIZE)


class _Changed(Exception):
    """What was sent is not one version of the file."""


def _check_unchanged(status: os.stat_result, entry: Entry) -> None:
    if status.st_size != entry.size or status.st_mtime_ns != entry.mtime:
        raise _Changed(
            f"changed while it was read: {entry.size} bytes at {_when(entry.mtime)} before, "
            f"{status.st_size} bytes at {_when(status.st_mtime_ns)} after"
        )


def _when(time: int) -> str:
    """Say when, of nanoseconds since the epoch."""
    try:
        moment = datetime.fromtimestamp(time // 1_000_000_000, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return f"{time} ns"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time % 1_000_000_000:09d}Z"


def _extents(fd: int, start: int, status: os.stat_result) -> Generator[tuple[int, int], None, None]:
    """
    Tell where a file has data: from where to where, from an offset on.
    """
    size = status.st_size
    if status.st_blocks * 512 >= size:
        yield start, size
        return
    while start < size:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
            stop = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            # ENXIO: nothing but a hole is left. Others do not know holes.
            if error.errno != errno.ENXIO:
                yield start, size
            return
        yield start, min(stop, size)
        start = stop
