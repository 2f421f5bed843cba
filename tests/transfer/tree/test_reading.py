"""
Reading files into packs of pieces, on real files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sodiumtwist.protocol.sockets import CHUNK_SIZE
from sodiumtwist.transfer.tree import reading
from sodiumtwist.transfer.tree.messages import FILE, Entry
from sodiumtwist.transfer.tree.pieces import HEADER, LAST, PIECE_SIZE, VOID, split
from sodiumtwist.transfer.tree.reading import Job, Read, Reading

from .senders import make_tree, write

DAY = 86_400_000_000_000


def digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=32).digest()


class ReadingTestCase(SynchronousTestCase):
    """Makes files, and reads them."""

    def setUp(self) -> None:
        self.root = self.mktemp()
        make_tree(self.root)
        self.reading = Reading()
        self.addCleanup(lambda: self.reading.close())

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def entry(self, name: str) -> Entry:
        status = os.stat(self.path(name))
        return Entry(FILE, os.fsencode(name), status.st_size, status.st_mtime_ns)

    def job(self, number: int, name: str, data: bytes | None = None, offset: int = 0, begin: bytes = b"") -> Job:
        """
        Make a file, unless it is there, and what has it read.

        :param begin: what the receiver has of it.
        """
        if data is not None:
            write(self.path(name), data)
        return Job(number, self.entry(name), os.fsencode(self.path(name)), offset, digest(begin) if offset else b"")

    def read(self, *jobs: Job) -> list[Read]:
        """Read all, job by job."""
        for job in jobs:
            self.reading.add(job)
        reads = []
        while self.reading.more:
            reads.append(self.reading.read())
        return reads

    def pieces(self, *jobs: Job) -> list[tuple[int, int, int, bytes]]:
        return [
            (number, flags, offset, bytes(data))
            for read in self.read(*jobs)
            for pack in read.packs
            for number, flags, offset, data in split(pack)
        ]

    def whole(self, *jobs: Job) -> bytes:
        """Read one file, put it together as a receiver does, and see that its pieces are in order."""
        data, last = bytearray(), 0
        for _, last, offset, part in self.pieces(*jobs):
            self.assertFalse(last & VOID, part)
            self.assertGreaterEqual(offset, len(data))
            data += bytes(offset - len(data)) + part
        self.assertEqual(last, LAST)
        return bytes(data)

    def void(self, *jobs: Job) -> str:
        """Read one file that is taken back, and tell why."""
        *_, (_, flags, _, data) = self.pieces(*jobs)
        self.assertEqual(flags, LAST | VOID)
        return data.decode()


class SmallTests(ReadingTestCase):
    """
    Files of one piece, many of which share a DATA.
    """

    def test_one_pack(self) -> None:
        jobs = [self.job(3, "a", b"alpha"), self.job(5, "empty", b""), self.job(6, "b", b"beta")]
        (read,) = self.read(*jobs)
        self.assertEqual(len(read.packs), 1)
        self.assertEqual(
            [(*piece[:3], bytes(piece[3])) for piece in split(read.packs[0])],
            [(3, LAST, 0, b"alpha"), (5, LAST, 0, b""), (6, LAST, 0, b"beta")],
        )
        self.assertEqual(read.size, 9)
        self.assertEqual(read.begun, [(3, 0)])
        self.assertEqual([(ended.number, ended.text) for ended in read.ended], [(3, ""), (5, ""), (6, "")])

    def test_packs_are_no_longer_than_other_data(self) -> None:
        """A file that does not fit what is left of one begins the next."""
        jobs = [self.job(number, str(number), bytes(50_000)) for number in range(5)]
        jobs.append(self.job(5, "exact", bytes(PIECE_SIZE)))
        (read,) = self.read(*jobs)
        self.assertEqual([[piece[0] for piece in split(pack)] for pack in read.packs], [[0, 1], [2, 3], [4], [5]])
        self.assertEqual(max(map(len, read.packs)), CHUNK_SIZE)
        rest = CHUNK_SIZE - 2 * HEADER.size - 50_000
        (read,) = self.read(self.job(6, "6", bytes(50_000)), self.job(7, "fits", bytes(rest)))
        self.assertEqual(len(read.packs), 1)
        (read,) = self.read(self.job(8, "8", bytes(50_000)), self.job(9, "not", bytes(rest + 1)))
        self.assertEqual(len(read.packs), 2)

    def test_jobs_are_bounded(self) -> None:
        """By what they read, and by how many empty files they pack."""
        jobs = [self.job(number, str(number), bytes(1000)) for number in range(10)]
        with patch.object(reading, "JOB_SIZE", 2500):
            reads = self.read(*jobs)
            self.assertEqual([len(read.ended) for read in reads], [3, 3, 3, 1])
            write(self.path("empty"), b"")
            empty = [self.job(number, "empty") for number in range(300)]
            reads = self.read(*empty)
        self.assertEqual([len(read.ended) for read in reads], [125, 125, 50])

    def test_digests(self) -> None:
        self.reading = Reading(digests=True)
        (read,) = self.read(self.job(0, "a", b"alpha"))
        self.assertEqual(read.ended[0].digest, digest(b"alpha"))


class LargeTests(ReadingTestCase):
    """
    Files of several pieces.
    """

    def test_pieces(self) -> None:
        data = os.urandom(2 * PIECE_SIZE + 100)
        pieces = self.pieces(self.job(7, "large", data), self.job(8, "small", b"x"))
        self.assertEqual(
            [(number, flags, offset, len(part)) for number, flags, offset, part in pieces],
            [
                (7, 0, 0, PIECE_SIZE),
                (7, 0, PIECE_SIZE, PIECE_SIZE),
                (7, 0, 2 * PIECE_SIZE, 100),
                (7, LAST, len(data), 0),
                (8, LAST, 0, 1),
            ],
        )
        self.assertEqual(b"".join(piece[3] for piece in pieces[:4]), data)

    def test_packs(self) -> None:
        """What is left at the end shares a DATA with what follows."""
        (read,) = self.read(self.job(7, "large", bytes(2 * PIECE_SIZE + 100)), self.job(8, "small", b"x"))
        self.assertEqual(list(map(len, read.packs)), [CHUNK_SIZE, CHUNK_SIZE, 3 * HEADER.size + 101])

    def test_jobs_are_bounded(self) -> None:
        """One reads no more than it has to, and the next goes on where it was."""
        data = os.urandom(8 * PIECE_SIZE)
        with patch.object(reading, "JOB_SIZE", 2 * CHUNK_SIZE):
            reads = self.read(self.job(0, "large", data))
        self.assertEqual([read.size for read in reads], [2 * PIECE_SIZE] * 4 + [0])
        self.assertEqual([read.begun for read in reads], [[(0, 0)], [], [], [], []])
        self.assertEqual([len(read.ended) for read in reads], [0, 0, 0, 0, 1])

    def test_digests(self) -> None:
        """Of all of it, the holes too, and what was there before."""
        self.reading = Reading(digests=True)
        path = self.path("sparse")
        data = bytes(1 << 20) + b"middle" * 50_000 + bytes(1 << 20)
        with open(path, "wb") as file:
            file.seek(1 << 20)
            file.write(b"middle" * 50_000)
            file.truncate(len(data))
        (*_, read) = self.read(self.job(0, "sparse"))
        self.assertEqual(read.ended[0].digest, digest(data))
        (*_, read) = self.read(self.job(1, "sparse", None, 1000, bytes(1000)))
        self.assertEqual(read.ended[0].digest, digest(data))

    def test_memory_is_kept(self) -> None:
        """It is asked for once a process."""
        before = reading._keep_memory.cache_info().misses
        self.read(self.job(0, "a", bytes(PIECE_SIZE + 1)), self.job(1, "b", bytes(PIECE_SIZE + 1)))
        self.assertLessEqual(reading._keep_memory.cache_info().misses, max(before, 1))


class HoleTests(ReadingTestCase):
    """
    What is not on the disk is not sent.
    """

    SIZE = 5 * 1024**3

    def sparse(self, size: int, *parts: tuple[int, bytes]) -> None:
        with open(self.path("sparse"), "wb") as file:
            for offset, data in parts:
                file.seek(offset)
                file.write(data)
            file.truncate(size)
        if os.stat(self.path("sparse")).st_blocks * 512 >= size:
            raise SkipTest("this file system knows no holes")

    def test_data_between_holes(self) -> None:
        """Where it begins is told, for a hole is first; the end is, where a hole is last."""
        self.sparse(self.SIZE, (1 << 30, b"x" * 4096))
        pieces = self.pieces(self.job(0, "sparse"))
        self.assertEqual(pieces[0], (0, 0, 0, b""))
        self.assertEqual(pieces[-1], (0, LAST, self.SIZE, b""))
        data = b"".join(piece[3] for piece in pieces)
        self.assertEqual(data.strip(b"\0"), b"x" * 4096)
        self.assertLess(len(data), 1 << 20)
        self.assertTrue(all(piece[2] >= (1 << 30) - (1 << 20) for piece in pieces[1:]))

    def test_nothing_but_a_hole(self) -> None:
        self.sparse(self.SIZE)
        self.assertEqual(self.pieces(self.job(0, "sparse")), [(0, 0, 0, b""), (0, LAST, self.SIZE, b"")])

    def test_hole_behind_what_is_there(self) -> None:
        """The first piece tells that what is there is the same, though no data belong there."""
        self.sparse(self.SIZE, (0, b"x" * 65536))
        job = self.job(0, "sparse", None, 1 << 20, b"x" * 65536 + bytes((1 << 20) - 65536))
        self.assertEqual(self.pieces(job), [(0, 0, 1 << 20, b""), (0, LAST, self.SIZE, b"")])

    def test_file_systems_without_holes(self) -> None:
        """They are read through."""

        def fail(fd: int, place: int, how: int) -> int:
            raise OSError(22, "Invalid argument")

        self.sparse(1 << 20, (1 << 19, b"x" * 4096))
        with patch.object(os, "lseek", fail):
            self.assertEqual(self.whole(self.job(0, "sparse")).strip(b"\0"), b"x" * 4096)


class ResumeTests(ReadingTestCase):
    """
    What the receiver has is compared, and sent again only where it differs.
    """

    def test_same_beginning(self) -> None:
        data = os.urandom(3 * PIECE_SIZE)
        pieces = self.pieces(self.job(0, "file", data, 1000, data[:1000]))
        self.assertEqual(pieces[0][2], 1000)
        self.assertEqual(b"".join(piece[3] for piece in pieces), data[1000:])

    def test_small_file(self) -> None:
        self.assertEqual(
            self.pieces(self.job(0, "file", b"alphabet", 5, b"alpha")), [(0, 0, 5, b"bet"), (0, LAST, 8, b"")]
        )

    def test_all_is_there(self) -> None:
        """One piece without data says so."""
        self.assertEqual(self.pieces(self.job(0, "file", b"alpha", 5, b"alpha")), [(0, LAST, 5, b"")])

    def test_another_beginning(self) -> None:
        self.assertEqual(
            self.pieces(self.job(0, "file", b"alphabet", 5, b"gamma")), [(0, 0, 0, b"alphabet"), (0, LAST, 8, b"")]
        )

    def test_begun(self) -> None:
        """Where it begins is known when that is compared."""
        self.assertEqual(self.read(self.job(4, "file", b"alphabet", 5, b"alpha"))[0].begun, [(4, 5)])
        self.assertEqual(self.read(self.job(4, "file", b"alphabet", 5, b"gamma"))[0].begun, [(4, 0)])

    def test_jobs_are_bounded(self) -> None:
        """Comparing leaves the thread to others now and then."""
        data = os.urandom(1000)
        with patch.object(reading, "COMPARED_SIZE", 300):
            reads = self.read(self.job(0, "file", data, 900, data[:900]))
        self.assertEqual([bool(read.packs) for read in reads], [False, False, False, True])

    def test_holes_are_hashed_in_parts(self) -> None:
        self.reading = Reading(digests=True)
        with open(self.path("sparse"), "wb") as file:
            file.truncate(1 << 20)
        with patch.object(reading, "COMPARED_SIZE", 1 << 18):
            reads = self.read(self.job(0, "sparse"))
        self.assertGreaterEqual(len(reads), 4)
        self.assertEqual(reads[-1].ended[0].digest, digest(bytes(1 << 20)))

    def test_file_that_is_shorter_by_now(self) -> None:
        job = self.job(0, "file", b"alphabet", 8, b"alphabet")
        write(self.path("file"), b"alp")
        self.assertIn("changed while it was read: 8 bytes", self.void(job))


class ChangeTests(ReadingTestCase):
    """
    A file that changes is taken back.
    """

    def change(self, job: Job, what: Callable[[], object], name: str = "fstat") -> str:
        """Change a file behind its first look, and tell why it is taken back."""
        called = getattr(os, name)
        calls: list[int] = []

        def call(*arguments: Any) -> Any:
            if not calls:
                calls.append(1)
                result = called(*arguments)
                what()
                return result
            return called(*arguments)

        with patch.object(os, name, call):
            return self.void(job)

    def test_words(self) -> None:
        """Both sizes and times are told."""
        job = self.job(0, "file", b"0123456789")
        entry = job.entry
        os.utime(self.path("file"), ns=(0, DAY + 5))
        text = self.void(Job(0, entry, job.where))
        self.assertRegex(
            text,
            r"\Achanged while it was read: 10 bytes at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9}Z before, "
            r"10 bytes at 1970-01-02 00:00:00\.000000005Z after\Z",
        )

    def test_times_that_no_calendar_has(self) -> None:
        self.assertEqual(reading._when(1 << 62), "2116-02-20 23:53:38.427387904Z")
        self.assertEqual(reading._when(1 << 80), f"{1 << 80} ns")

    def test_growing(self) -> None:
        """A small one, and a large one while its pieces are sent."""
        job = self.job(0, "small", b"1")
        write(self.path("small"), b"12")
        self.assertIn("1 bytes at", self.void(job))
        job = self.job(1, "large", bytes(3 * PIECE_SIZE))
        with patch.object(reading, "JOB_SIZE", 1):
            self.reading.add(job)
            self.reading.read()
            with open(self.path("large"), "ab") as file:
                file.write(b"more")
            self.assertIn(f"{3 * PIECE_SIZE + 4} bytes at", self.void())

    def test_changed_before(self) -> None:
        """Nothing of it is sent."""
        job = self.job(1, "large", bytes(3 * PIECE_SIZE))
        os.utime(self.path("large"), ns=(1, 1))
        self.assertEqual([piece[1] for piece in self.pieces(job)], [LAST | VOID])

    def test_shrinking(self) -> None:
        job = self.job(1, "large", bytes(3 * PIECE_SIZE))
        self.assertIn(" 5 bytes at", self.change(job, lambda: os.truncate(self.path("large"), 5)))

    def test_rewritten_in_place(self) -> None:
        job = self.job(1, "large", bytes(3 * PIECE_SIZE))
        text = self.change(job, lambda: os.utime(self.path("large"), ns=(1, 1)), "pread")
        self.assertIn("at 1970-01-01", text)

    def test_ended(self) -> None:
        """The sender knows why, too."""
        job = self.job(1, "file", b"1")
        write(self.path("file"), b"12")
        (read,) = self.read(job)
        self.assertIn("changed while it was read", read.ended[0].text)

    def test_gone(self) -> None:
        job = self.job(0, "file", b"1")
        os.remove(self.path("file"))
        self.assertEqual(self.void(job), "it can't be read: No such file or directory")

    def test_fifo_in_its_place(self) -> None:
        """Nobody waits for its other end, and it is not taken for an empty file."""
        job = self.job(0, "file", b"")
        os.remove(self.path("file"))
        os.mkfifo(self.path("file"))
        os.utime(self.path("file"), ns=(job.entry.mtime, job.entry.mtime))
        self.assertEqual(self.void(job), "it is no file any more")

    def test_others_go_on(self) -> None:
        """What is before and behind it is sent, in its order."""
        bad = self.job(1, "bad", b"1")
        os.remove(self.path("bad"))
        pieces = self.pieces(self.job(0, "a", b"a"), bad, self.job(2, "b", b"b"))
        self.assertEqual([piece[:2] for piece in pieces], [(0, LAST), (1, LAST | VOID), (2, LAST)])

    def test_error_of_the_disk(self) -> None:
        """In the middle of a file."""
        job = self.job(0, "file", bytes(3 * PIECE_SIZE))
        pread = os.pread

        def fail(fd: int, size: int, place: int) -> bytes:
            if place:
                raise OSError(5, "Input/output error")
            return pread(fd, size, place)

        with patch.object(os, "pread", fail):
            self.assertEqual(self.void(job), "it can't be read: Input/output error")

    def test_link_in_its_place(self) -> None:
        from sodiumtwist.transfer.tree.folders import Folders

        folders = Folders(self.root)
        self.addCleanup(folders.close)
        job = self.job(0, "file", b"1")
        os.rename(self.path("file"), self.path("other"))
        os.symlink("other", self.path("file"))
        self.assertEqual(self.void(Job(0, job.entry, (folders, ()))), "it is a link by now")


class NominalTests(ReadingTestCase):
    """
    Files whose size says nothing, as the system has them.
    """

    def nominal(self, size: int, data: bytes) -> bytes:
        """Read a file that has another size than it says, in all looks."""
        write(self.path("file"), data)
        fstat = os.fstat

        def claim(fd: int) -> os.stat_result:
            status = fstat(fd)
            # What stands in the sequence has no name beside it.
            names = {name for name in dir(status) if name.startswith("st_")} - set(os.stat_result.__match_args__)
            named = {name: getattr(status, name) for name in names}
            return os.stat_result([*status[:6], size, *status[7:]], {**named, "st_blocks": size})

        entry = Entry(FILE, b"file", size, os.stat(self.path("file")).st_mtime_ns)
        with patch.object(os, "fstat", claim):
            return self.whole(Job(0, entry, os.fsencode(self.path("file"))))

    def test_less_than_it_says(self) -> None:
        self.assertEqual(self.nominal(4096, b"short"), b"short")
        self.assertEqual(self.nominal(4096, b""), b"")

    def test_less_than_it_says_with_holes(self) -> None:
        """What is said of them is nominal, too."""

        def extents(*arguments: object) -> Iterator[tuple[int, int]]:
            yield from ((0, 10), (20, 30))

        with patch.object(reading, "_extents", extents):
            self.assertEqual(self.nominal(4096, b"short"), b"short")

    def test_more_than_it_says(self) -> None:
        data = os.urandom(2 * PIECE_SIZE + 5)
        self.assertEqual(self.nominal(0, data), data)
        self.assertEqual(self.nominal(PIECE_SIZE + 1, data), data)

    def test_file_of_the_system(self) -> None:
        """One says that it has nothing, the other that it has a page."""
        for path in (b"/proc/version", b"/sys/kernel/mm/transparent_hugepage/enabled"):
            try:
                status = os.stat(path)
                with open(path, "rb") as file:
                    data = file.read()
            except OSError:
                raise SkipTest("there is no such file here") from None
            self.assertNotEqual(status.st_size, len(data))
            entry = Entry(FILE, b"version", status.st_size, status.st_mtime_ns)
            self.assertEqual(self.whole(Job(0, entry, path)), data)


class UnwantedTests(ReadingTestCase):
    """
    Files that the receiver has given up.
    """

    def test_in_the_middle(self) -> None:
        """No more of it is read, and its end is told."""
        with patch.object(reading, "JOB_SIZE", 1):
            self.reading.add(self.job(0, "large", bytes(10 * PIECE_SIZE)))
            self.reading.add(self.job(1, "next", b"x"))
            self.reading.read()
            self.reading.drop(0)
            pieces = self.pieces()
        self.assertEqual([piece[:2] for piece in pieces], [(0, LAST | VOID), (1, LAST)])

    def test_before_it_begins(self) -> None:
        """The receiver waits for its end all the same."""
        self.reading.drop(0)
        pieces = self.pieces(self.job(0, "a", b"x"), self.job(1, "b", b"x"))
        self.assertEqual([piece[:2] for piece in pieces], [(0, LAST | VOID), (1, LAST)])

    def test_close(self) -> None:
        """What is open is closed, and nothing more is read."""
        with patch.object(reading, "JOB_SIZE", 1), patch.object(os, "close", wraps=os.close) as close:
            self.reading.add(self.job(0, "large", bytes(3 * PIECE_SIZE)))
            self.reading.add(self.job(1, "next", b"x"))
            self.reading.read()
            close.assert_not_called()
            self.reading.close()
        close.assert_called_once()
        self.assertFalse(self.reading.more)
