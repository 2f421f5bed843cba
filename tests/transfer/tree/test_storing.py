"""
The thread side of a receiver: the rules of the dialogue, and what becomes of files.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from hashlib import blake2b
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.connection import Code
from sodiumtwist.core.errors import RemoteProtocolError
from sodiumtwist.transfer.tree import arriving, deciding, placing, storing
from sodiumtwist.transfer.tree.descriptors import HELD, Held
from sodiumtwist.transfer.tree.folders import Folders
from sodiumtwist.transfer.tree.growing import Growing
from sodiumtwist.transfer.tree.messages import (
    FILE,
    FOLDER,
    HAVE,
    REFUSED,
    RESUME,
    SEND,
    STREAM,
    Announce,
    Entry,
    Outcome,
    SetTimes,
    Settled,
    Verdict,
)
from sodiumtwist.transfer.tree.names import temporary_name
from sodiumtwist.transfer.tree.pieces import LAST, PIECE_SIZE, VOID, header
from sodiumtwist.transfer.tree.storing import Rules, Storing

TIME = 1_700_000_000_123_456_789


def piece(number: int, data: bytes = b"", offset: int = 0, flags: int = LAST) -> bytes:
    """Make one piece with its header."""
    return header(number, flags, offset, len(data)) + data


def digest(data: bytes) -> bytes:
    """Make the digest of a file."""
    return blake2b(data, digest_size=32).digest()


class StoringTestCase(SynchronousTestCase):
    """
    A folder in which a test stores.
    """

    def setUp(self) -> None:
        self.root = self.mktemp()
        self.storing = self.store()

    def store(self, **rules: object) -> Storing:
        """Begin a session."""
        self.storing = Storing(self.root, Rules(**rules))  # type: ignore[arg-type]
        self.addCleanup(self.storing.abandon)
        return self.storing

    def announce(self, *entries: Entry, first: int = 0) -> Sequence[Verdict]:
        return self.storing.announce(Announce(first, list(entries))).verdicts

    def announce_files(self, **sizes: int) -> None:
        verdicts = self.announce(*[Entry(FILE, name.encode(), size, TIME) for name, size in sizes.items()])
        self.assertEqual([verdict.what for verdict in verdicts], [SEND] * len(sizes))

    def take(self, *payloads: bytes) -> list[Settled]:
        """Take payloads, and settle what can be."""
        return [*self.storing.take(payloads).files, *self.storing.commit().files]

    def write(self, path: str, data: bytes, mtime: int = TIME) -> str:
        """Put a file there."""
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.utime(path, ns=(mtime, mtime))
        return path

    def read(self, path: str) -> bytes:
        with open(os.path.join(self.root, path), "rb") as file:
            return file.read()

    def note_synced(self) -> list[int]:
        """Note the inodes of what is synced, and do nothing."""
        synced: list[int] = []
        self.patch(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
        return synced

    def inode(self, path: str = "") -> int:
        return os.stat(os.path.join(self.root, path)).st_ino

    def names(self) -> list[str]:
        return sorted(os.listdir(self.root))

    def assert_broken(self, words: str, *payloads: bytes) -> None:
        error = self.assertRaises(RemoteProtocolError, self.storing.take, payloads)
        self.assertIn(words, str(error))


def partial_name(name: str) -> str:
    """The temporary name of a file."""
    return os.fsdecode(temporary_name(os.fsencode(name)))


class WholeTests(StoringTestCase):
    """Files that come from the beginning."""

    def test_tree(self) -> None:
        """Folders, small files of which several come in one DATA, an empty one, and names that are not UTF-8."""
        odd = b"\xff \n"
        verdicts = self.announce(
            Entry(FOLDER, b"a"),
            Entry(FILE, b"a/b", 3, TIME, True),
            Entry(FILE, b"a/empty", 0, TIME),
            Entry(FILE, odd, 2, TIME),
        )
        self.assertEqual([verdict.what for verdict in verdicts], [HAVE, SEND, SEND, SEND])
        settled = self.take(piece(1, b"one") + piece(2) + piece(3, b"22"))
        self.assertEqual(settled, [Settled(1, size=3), Settled(2), Settled(3, size=2)])
        self.storing.finish()
        self.assertEqual(self.read("a/b"), b"one")
        self.assertEqual(self.read("a/empty"), b"")
        self.assertEqual(self.read(os.fsdecode(odd)), b"22")
        status = os.stat(os.path.join(self.root, "a/b"))
        self.assertEqual(status.st_mtime_ns, TIME)
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.root, "a/empty")).st_mode), 0o600)
        for folder in ("", "a"):
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.root, folder)).st_mode), 0o700)

    def test_large(self) -> None:
        """A large file comes in many pieces, which few calls write; what came is told before it is whole."""
        data = os.urandom(5 * PIECE_SIZE + 1)
        self.announce_files(large=len(data))
        calls = []
        pwritev = os.pwritev

        def write(fd: int, pieces: list[memoryview], offset: int) -> int:
            calls.append(len(pieces))
            return pwritev(fd, pieces, offset)

        self.patch(os, "pwritev", write)
        payloads = [
            piece(0, data[offset : offset + PIECE_SIZE], offset, 0) for offset in range(0, len(data), PIECE_SIZE)
        ]
        outcome = self.storing.take(payloads[:4])
        self.assertEqual(outcome, Outcome(4 * PIECE_SIZE))
        self.assertEqual(self.names(), [partial_name("large")])
        self.assertEqual(self.take(*payloads[4:], piece(0, b"", len(data))), [Settled(0, size=len(data))])
        self.assertEqual(calls, [4, 2])
        self.assertEqual(self.read("large"), data)
        self.assertEqual(self.names(), ["large"])

    def test_written_together(self) -> None:
        """No call has more pieces than the bound."""
        self.patch(arriving, "WRITTEN_TOGETHER", 2)
        self.announce_files(many=5)
        pieces = [piece(0, b"x", offset, LAST if offset == 4 else 0) for offset in range(5)]
        calls = []
        write_all = Growing.write_all

        def write(growing: Growing, offset: int, pieces: list[memoryview]) -> None:
            calls.append(len(pieces))
            write_all(growing, offset, pieces)

        self.patch(Growing, "write_all", write)
        self.assertEqual(self.take(*pieces), [Settled(0, size=5)])
        self.assertEqual(calls, [2, 2, 1])
        self.assertEqual(self.read("many"), b"xxxxx")

    def test_holes(self) -> None:
        """What lies between pieces, before the first bytes and behind the last, is zero, and not on the disk."""
        size = 1 << 33
        self.announce_files(sparse=size)
        settled = self.take(
            piece(0, b"", 0, 0),
            piece(0, b"one", 1 << 32, 0),
            piece(0, b"two", (1 << 32) + 4096, 0),
            piece(0, b"", size),
        )
        self.assertEqual(settled, [Settled(0, size=size)])
        path = os.path.join(self.root, "sparse")
        status = os.stat(path)
        self.assertEqual(status.st_size, size)
        self.assertLess(status.st_blocks * 512, 1 << 20)
        with open(path, "rb") as file:
            file.seek((1 << 32) - 1)
            self.assertEqual(file.read(5), b"\0one\0")

    def test_digests(self) -> None:
        """Of small files, of large ones, of holes."""
        self.store(digests=True)
        self.announce_files(small=3, large=6, sparse=10)
        settled = self.take(
            piece(0, b"one"),
            piece(1, b"abc", 0, 0),
            piece(1, b"def", 3),
            piece(2, b"", 0, 0),
            piece(2, b"x", 4, 0),
            piece(2, b"", 10),
        )
        self.assertEqual(
            [each.digest for each in settled], list(map(digest, (b"one", b"abcdef", b"\0\0\0\0x" + bytes(5))))
        )

    def test_batches(self) -> None:
        """A full batch is settled while others come."""
        self.patch(placing, "BATCH", 2)
        self.announce_files(a=1, b=1, c=1)
        outcome = self.storing.take([piece(0, b"a") + piece(1, b"b") + piece(2, b"c")])
        self.assertEqual(outcome, Outcome(3, [Settled(0, size=1), Settled(1, size=1)]))
        self.assertEqual(self.storing.commit(), Outcome(3, [Settled(2, size=1)]))
        self.assertEqual(self.storing.commit(), Outcome(3))

    def test_not_synced(self) -> None:
        """Without sync nothing waits for the disk."""
        self.store(sync=False)
        for name in ("fsync", "fdatasync", "sync"):
            self.patch(os, name, lambda *_: self.fail("the disk is waited for"))
        self.announce(Entry(FOLDER, b"a"), Entry(FILE, b"a/b", 3, TIME), Entry(FILE, b"c", 4, TIME))
        settled = self.take(piece(1, b"one") + piece(2, b"ab", 0, 0) + piece(2, b"cd", 2))
        self.storing.finish()
        self.assertEqual(settled, [Settled(1, size=3), Settled(2, size=4)])

    def test_folders_synced(self) -> None:
        """Names of folders are synced in the end, and when a great many were announced; without sync never."""
        self.patch(storing, "UNSYNCED_FOLDERS", 2)
        synced = self.note_synced()
        self.announce(Entry(FOLDER, b"a"))
        self.assertEqual(synced, [])
        self.announce(Entry(FOLDER, b"b"), first=1)
        self.assertEqual(synced.count(self.inode()), 1)
        self.announce(Entry(FOLDER, b"c"), first=2)
        self.storing.finish()
        self.assertEqual(synced.count(self.inode()), 2)
        self.store()
        for name in ("a/f", "b/f"):
            self.write(name, b"one")
        self.announce(Entry(FILE, b"a/f", 3, TIME), Entry(FILE, b"b/f", 3, TIME))
        self.assertEqual(synced.count(self.inode()), 3)
        self.store(sync=False)
        self.announce(Entry(FOLDER, b"d"), Entry(FOLDER, b"e"))
        self.storing.finish()
        self.assertEqual(synced.count(self.inode()), 3)

    def test_new_folder(self) -> None:
        """In a folder that was made just now nothing is looked for, which takes long where files are many."""
        self.announce(Entry(FOLDER, b"a"), Entry(FILE, b"a/b", 1), Entry(FILE, b"c", 1))
        self.store()
        self.announce(Entry(FOLDER, b"a"), Entry(FOLDER, b"new"))
        looked: list[object] = []
        status = Folders.status

        def look(folders: Folders, parts: tuple[bytes, ...]) -> os.stat_result | None:
            looked.append(parts[:-1])
            return status(folders, parts)

        self.patch(Folders, "status", look)
        self.announce(Entry(FILE, b"a/b", 1), Entry(FILE, b"new/b", 1), first=2)
        self.assertEqual(set(looked), {(b"a",)})

    def test_suffix_in_folder(self) -> None:
        """Under which path a file is stored is told as a whole."""
        self.write("f/a", b"other")
        self.announce(Entry(FOLDER, b"f"), Entry(FILE, b"f/a", 3, TIME))
        self.assertEqual(self.take(piece(1, b"one")), [Settled(1, name=b"f/a.1", size=3)])

    def test_stream(self) -> None:
        """A stream is stored as it comes; its time is now, and it gets a name where it has none."""
        verdicts = self.announce(Entry(STREAM, b""), Entry(STREAM, b"named"))
        self.assertEqual([verdict.what for verdict in verdicts], [SEND, SEND])
        settled = self.take(piece(0, b"ab", 0, 0), piece(0, b"cd", 2, 0), piece(0, b"", 4), piece(1, b"xyz"))
        self.assertEqual([each.size for each in settled], [4, 3])
        name = settled[0].name.decode()
        self.assertRegex(name, r"\A\d{8}T\d{6}Z-[0-9a-f]{8}\Z")
        self.assertEqual(self.read(name), b"abcd")
        self.assertGreater(os.stat(os.path.join(self.root, name)).st_mtime_ns, TIME)
        self.assertEqual(settled[1].name, b"")
        self.assertGreater(os.stat(os.path.join(self.root, "named")).st_mtime_ns, TIME)

    def test_folder_times(self) -> None:
        """They are set in the end; what is not there is passed over."""
        self.announce(Entry(FOLDER, b"a"), Entry(FOLDER, b"a/b"), Entry(FILE, b"a/b/c", 1, TIME))
        self.take(piece(2, b"x"))
        self.storing.set_times(SetTimes([(b"a/b", TIME), (b"a", TIME + 1), (b"missing", TIME)]))
        self.assertEqual(os.stat(os.path.join(self.root, "a/b")).st_mtime_ns, TIME)
        self.assertEqual(os.stat(os.path.join(self.root, "a")).st_mtime_ns, TIME + 1)
        error = self.assertRaises(RemoteProtocolError, self.storing.set_times, SetTimes([(b"../x", TIME)]))
        self.assertEqual(str(error), "the time of a folder: it has '.' or '..' in it")


class ThereTests(StoringTestCase):
    """What is there already."""

    def test_same(self) -> None:
        """A file of the same size and time is not sent again, also under a name that it got when it was stored."""
        self.write("a", b"one")
        self.write("b", b"other")
        self.write("b.1", b"another")
        self.write("b.2", b"two")
        verdicts = self.announce(Entry(FILE, b"a", 3, TIME), Entry(FILE, b"b", 3, TIME))
        self.assertEqual(verdicts, [Verdict(HAVE), Verdict(HAVE, name=b"b.2")])
        # Who has stored it may not have come to that.
        synced = self.note_synced()
        self.storing.finish()
        self.assertIn(self.inode(), synced)

    def test_about_to_be_replaced(self) -> None:
        """Where files are replaced, another name is another file, whatever it is like: its own may come next."""
        self.store(existing="replace")
        self.write("a", b"one")
        self.write("a.1", b"two", TIME + 1)
        # Their names were swapped.
        verdicts = self.announce(Entry(FILE, b"a", 3, TIME + 1), Entry(FILE, b"a.1", 3, TIME))
        self.assertEqual(verdicts, [Verdict(RESUME, 3, digest(b"one")), Verdict(RESUME, 3, digest(b"two"))])
        self.assertEqual(self.take(piece(0, b"two"), piece(1, b"one")), [Settled(0, size=3), Settled(1, size=3)])
        self.assertEqual((self.read("a"), self.read("a.1")), (b"two", b"one"))

    def test_suffix_and_other_time(self) -> None:
        """
        A file that got another name when it was stored, and has another time by now, gets that and no more names. Of
        several it is the one whose time is nearest, as where times are kept to the second.
        """
        self.write("a", b"other")
        for number, data in enumerate((b"one", b"two", b"six"), 1):
            self.write(f"a.{number}", data, TIME + number * 1000)
        (verdict,) = self.announce(Entry(FILE, b"a", 3, TIME + 2001))
        self.assertEqual(verdict, Verdict(RESUME, 3, digest(b"two")))
        self.assertEqual(self.take(piece(0, b"", 3)), [Settled(0, name=b"a.2", size=3)])
        self.assertEqual(os.stat(os.path.join(self.root, "a.2")).st_mtime_ns, TIME + 2001)
        # Where it is another one after all, it is stored.
        self.announce(Entry(FILE, b"a", 3, TIME + 2002), first=1)
        self.assertEqual(self.take(piece(1, b"ten")), [Settled(1, name=b"a.4", size=3)])

    def test_two_set_the_time(self) -> None:
        """Another session of the same sender may have set the time already."""
        self.write("a", b"one", TIME - 1)
        self.announce(Entry(FILE, b"a", 3, TIME))
        self.write("a", b"one")
        self.assertEqual(self.take(piece(0, b"", 3)), [Settled(0, size=3)])

    def test_not_ours_to_change(self) -> None:
        """Who may run a file that is there stays where it can't be changed; the file is there all the same."""
        self.write("a", b"one")
        self.write("b", b"two", TIME - 1)

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        self.patch(os, "fchmod", refuse)
        verdicts = self.announce(Entry(FILE, b"a", 3, TIME, True), Entry(FILE, b"b", 3, TIME, True))
        self.assertEqual([verdict.what for verdict in verdicts], [HAVE, RESUME])
        self.assertEqual(self.take(piece(1, b"", 3)), [Settled(1, size=3)])

    def test_partial(self) -> None:
        """An unfinished file goes on where its sender has the same bytes, and begins anew where it has not."""
        for agreed in (True, False):
            self.write(partial_name("a"), b"abc")
            self.store(digests=True)
            verdicts = self.announce(Entry(FILE, b"a", 6, TIME))
            self.assertEqual(verdicts, [Verdict(RESUME, 3, digest(b"abc"))])
            data = b"abcdef" if agreed else b"ghijkl"
            settled = self.take(piece(0, data[3:], 3) if agreed else piece(0, data))
            self.assertEqual(settled, [Settled(0, digest=digest(data), size=6)])
            self.assertEqual(self.read("a"), data)
            self.assertEqual(self.names(), ["a"])
            os.unlink(os.path.join(self.root, "a"))

    def test_partial_with_nothing_left(self) -> None:
        """All of an unfinished file is there: one piece without data ends it."""
        self.write(partial_name("a"), b"abc")
        self.announce(Entry(FILE, b"a", 3, TIME))
        self.assertEqual(self.take(piece(0, b"", 3)), [Settled(0, size=3)])
        self.assertEqual(self.read("a"), b"abc")

    def test_partial_before_hole(self) -> None:
        """A piece without data tells whether it goes on or begins anew, where a hole follows."""
        for offset, data in ((3, b"abc\0\0f"), (0, b"\0\0\0\0\0f")):
            self.write(partial_name("a"), b"abc")
            self.store()
            self.announce(Entry(FILE, b"a", 6, TIME))
            self.assertEqual(self.take(piece(0, b"", offset, 0), piece(0, b"f", 5)), [Settled(0, size=6)])
            self.assertEqual(self.read("a"), data)
            os.unlink(os.path.join(self.root, "a"))

    def test_useless_partial(self) -> None:
        """One that is longer than the file, or not wanted, is dropped."""
        for rules, data in (({}, b"longer"), ({"resume": False}, b"ab")):
            self.write(partial_name("a"), data)
            self.store(**rules)
            self.announce_files(a=3)
            self.assertEqual(self.names(), [])

    def test_few_held(self) -> None:
        """Only so many unfinished files are kept open; others begin anew."""
        self.patch(deciding, "HELD", 1)
        for name in ("a", "b"):
            self.write(partial_name(name), b"x")
        verdicts = self.announce(Entry(FILE, b"a", 3, TIME), Entry(FILE, b"b", 3, TIME))
        self.assertEqual([verdict.what for verdict in verdicts], [RESUME, SEND])
        settled = self.take(piece(0, b"yz", 1), piece(1, b"ab", 0, 0), piece(1, b"c", 2))
        self.assertEqual(settled, [Settled(0, size=3), Settled(1, size=3)])
        self.assertEqual((self.read("a"), self.read("b")), (b"xyz", b"abc"))
        self.write(partial_name("c"), b"x")
        (verdict,) = self.announce(Entry(FILE, b"c", 3, TIME), first=2)
        self.assertEqual(verdict.what, RESUME)

    def test_few_descriptors(self) -> None:
        """So it is where all sessions together hold too many descriptors; but each may have one such file."""
        self.patch(Held, "too_many", True)
        held = HELD._count
        for name in ("a", "b"):
            self.write(partial_name(name), b"x")
        verdicts = self.announce(Entry(FILE, b"a", 3, TIME), Entry(FILE, b"b", 3, TIME))
        self.assertEqual([verdict.what for verdict in verdicts], [RESUME, SEND])
        self.assertGreater(HELD._count, held)
        self.storing.abandon()
        self.assertEqual(HELD._count, held)

    def test_other_time(self) -> None:
        """Of a file that has the same bytes only the time is set."""
        path = self.write("a", b"abc", TIME - 1)
        verdicts = self.announce(Entry(FILE, b"a", 3, TIME))
        self.assertEqual(verdicts, [Verdict(RESUME, 3, digest(b"abc"))])
        inode = os.stat(path).st_ino
        synced = self.note_synced()
        self.assertEqual(self.take(piece(0, b"", 3)), [Settled(0, size=3)])
        # And its name, since who has stored it may not have come to that.
        self.assertEqual((synced[0], synced[-1]), (inode, self.inode()))
        self.assertEqual((os.stat(path).st_ino, os.stat(path).st_mtime_ns), (inode, TIME))
        self.assertEqual(self.names(), ["a"])

    def test_other_bytes(self) -> None:
        """A file of the same size that has others is stored beside what is there, in place of it, or not at all."""
        for existing, name, time in (("rename", b"a.1", TIME), ("replace", b"", TIME + 1)):
            self.write("a", b"abc", TIME - 1)
            self.store(existing=existing)
            self.announce(Entry(FILE, b"a", 3, time))
            self.assertEqual(self.take(piece(0, b"def")), [Settled(0, name=name, size=3)])
        self.write("a", b"ghi", TIME - 1)
        self.store(existing="refuse")
        self.announce(Entry(FILE, b"a", 3, TIME + 2))
        outcome = self.storing.take([piece(0, b"d", 0, 0), piece(0, b"ef", 1)])
        (settled,) = outcome.files
        self.assertEqual((settled.code, settled.text), (Code.STORAGE, "a file of that name is there"))
        self.assertEqual(outcome.written, 0)
        self.assertEqual(self.names(), ["a", "a.1"])

    def test_empty_of_other_time(self) -> None:
        """There is nothing to compare of an empty file: its time is set."""
        path = self.write("a", b"", TIME - 1)
        self.announce_files(a=0)
        self.assertEqual(self.take(piece(0)), [Settled(0)])
        self.assertEqual(os.stat(path).st_mtime_ns, TIME)
        self.assertEqual(self.names(), ["a"])

    def test_nominal_size(self) -> None:
        """A file of the system has more bytes than it says; it is stored as any other."""
        self.write("a", b"", TIME - 1)
        self.announce_files(a=0)
        self.assertEqual(self.take(piece(0, b"more")), [Settled(0, name=b"a.1", size=4)])
        self.assertEqual(self.read("a.1"), b"more")

    def test_more_behind_the_end(self) -> None:
        """What is there of the same size can't go on."""
        self.write("a", b"abc", TIME - 1)
        self.announce(Entry(FILE, b"a", 3, TIME))
        (settled,) = self.take(piece(0, b"d", 3, 0), piece(0, b"e", 4))
        self.assertEqual((settled.code, settled.text), (Code.TOO_LARGE, "it has more bytes than were announced"))
        self.assertEqual(self.read("a"), b"abc")

    def test_changed_meanwhile(self) -> None:
        """What was compared and then changed is not taken for the sender's file."""
        self.write("a", b"abc", TIME - 1)
        self.announce(Entry(FILE, b"a", 3, TIME))
        self.write("a", b"xyz", TIME - 1)
        (settled,) = self.take(piece(0, b"", 3))
        self.assertEqual((settled.code, settled.text), (Code.STORAGE, "what was there of it has changed meanwhile"))

    def test_no_resume(self) -> None:
        """Everything is stored by the policy where what is there shall not be used."""
        self.write("a", b"one")
        self.store(resume=False)
        self.announce_files(a=3)
        self.assertEqual(self.take(piece(0, b"one")), [Settled(0, name=b"a.1", size=3)])

    def test_refused_at_once(self) -> None:
        """Where files of a name are refused, one that is there with another size is refused before it is sent."""
        self.write("a", b"other")
        self.write("a.1", b"two", TIME + 1)
        self.store(existing="refuse")
        (verdict,) = self.announce(Entry(FILE, b"a", 3, TIME))
        self.assertEqual(verdict, Verdict(REFUSED, code=Code.STORAGE, text="a file of that name is there"))

    def test_not_refused(self) -> None:
        """The same file, which another session has put there just now, is no reason to refuse this one."""
        for theirs, code in ((b"one", 0), (b"two", Code.STORAGE)):
            self.store(existing="refuse")
            (verdict,) = self.announce(Entry(FILE, theirs, 3, TIME))
            self.assertEqual(verdict.what, SEND)
            self.write(os.fsdecode(theirs), theirs, TIME)
            (settled,) = self.take(piece(0, b"on", 0, 0), piece(0, b"e", 2))
            self.assertEqual(settled.code, code, settled.text)
        self.assertEqual(self.names(), ["one", "two"])

    def test_dry(self) -> None:
        """Nothing is made or changed: verdicts alone, also where the folder itself is missing."""
        self.store(dry=True)
        verdicts = self.announce(Entry(FOLDER, b"f"), Entry(FILE, b"f/a", 3, TIME))
        self.assertEqual([verdict.what for verdict in verdicts], [HAVE, SEND])
        self.assertFalse(os.path.exists(self.root))
        self.write("a", b"one")
        self.write("file", b"")
        partials = [self.write(partial_name("b"), b"ab"), self.write(partial_name("c"), b"longer")]
        before, changed = self.names(), [os.stat(path).st_ctime_ns for path in partials]
        self.store(dry=True)
        verdicts = self.announce(
            Entry(FILE, b"a", 3, TIME),
            Entry(FILE, b"b", 3, TIME),
            Entry(FOLDER, b"f"),
            Entry(FILE, b"f/c", 3, TIME),
            Entry(FOLDER, b"file"),
            Entry(FILE, b"c", 3, TIME),
        )
        self.assertEqual([verdict.what for verdict in verdicts], [HAVE, RESUME, HAVE, SEND, REFUSED, SEND])
        self.storing.set_times(SetTimes([(b"f", TIME)]))
        self.storing.finish()
        self.assertEqual(self.names(), before)
        self.assertEqual([os.stat(path).st_ctime_ns for path in partials], changed)
        self.assert_broken("not the next one", piece(0, b"one"))


class RefusedTests(StoringTestCase):
    """What is not stored, and fails alone."""

    def assert_refused(self, words: str, *entries: Entry) -> None:
        verdict = self.announce(*entries)[-1]
        self.assertEqual((verdict.what, verdict.code), (REFUSED, Code.STORAGE))
        self.assertIn(words, verdict.text)
        self.assertNotIn(self.root, verdict.text)
        self.store()

    def test_names(self) -> None:
        """Paths are data."""
        for path in (b"", b"/a", b"../a", b"a/../b", b"a//b", b"a\0b", b"x" * 256, b"/".join([b"a"] * 65)):
            self.assert_refused("more than 255 bytes" if path[:1] == b"x" else "it ", Entry(FILE, path, 1))
        self.assert_refused("unfinished files", Entry(FILE, temporary_name(b"a"), 1))

    def test_missing_folder(self) -> None:
        self.assert_refused("its folder is missing", Entry(FILE, b"a/b", 1))

    def test_something_else_is_there(self) -> None:
        """A link, a FIFO or a folder where a file should be; a file where a folder should be."""
        self.announce_files(first=1)
        os.symlink("/etc", os.path.join(self.root, "link"))
        os.mkfifo(os.path.join(self.root, "fifo"))
        os.mkdir(os.path.join(self.root, "folder"))
        self.write("file", b"")
        self.store()
        for name, kind in ((b"link", "a link"), (b"fifo", "a FIFO"), (b"folder", "a folder")):
            self.assert_refused(f"{kind} is there", Entry(FILE, name, 1))
        for name, kind in ((b"link", "a link"), (b"fifo", "a FIFO"), (b"file", "a file")):
            self.assert_refused(f"{kind} is there", Entry(FOLDER, name))
        self.assert_refused("a link is there", Entry(FILE, b"link/passwd", 1))
        self.assert_refused("its folder was refused", Entry(FOLDER, b"link"), Entry(FILE, b"link/passwd", 1))

    def test_link_swapped_in(self) -> None:
        """A folder becomes a link while files come: nothing is written through it."""
        outside = self.mktemp()
        os.mkdir(outside)
        self.announce(
            Entry(FOLDER, b"a"), Entry(FILE, b"a/b", 1, TIME), Entry(FOLDER, b"c"), Entry(FILE, b"c/d", 1, TIME)
        )
        folder = os.path.join(self.root, "c")
        # Not the one that is open: as after many others.
        assert self.storing._folders is not None
        self.storing._folders._forget((b"c",))
        os.rmdir(folder)
        os.symlink(os.path.abspath(outside), folder)
        settled = self.take(piece(1, b"x"), piece(3, b"y"))
        self.assertEqual(settled[0].code, Code.STORAGE)
        self.assertEqual(settled[0].number, 3)
        self.assertEqual(settled[1], Settled(1, size=1))
        self.assertEqual(os.listdir(outside), [])

    def test_no_rights(self) -> None:
        """Where the folder can't be made or opened, each file is refused and named."""
        self.root = os.path.join(self.write("file", b""), "below")
        self.store()
        verdicts = self.announce(Entry(FILE, b"a", 1), Entry(FILE, b"b", 1))
        self.assertEqual([verdict.what for verdict in verdicts], [REFUSED, REFUSED])
        self.assertEqual(verdicts[0].text, os.strerror(errno.ENOTDIR))
        self.storing.finish()

    def test_too_large(self) -> None:
        """By its announced size; or by what comes, of a stream or of a file with a nominal size."""
        self.store(max_size=3)
        verdicts = self.announce(Entry(FILE, b"a", 4), Entry(FILE, b"b", 0), Entry(STREAM, b"c"), Entry(FILE, b"d", 3))
        self.assertEqual(verdicts[0], Verdict(REFUSED, code=Code.TOO_LARGE, text="it is larger than 3 B"))
        settled = self.take(piece(1, b"four"), piece(2, b"ab", 0, 0))
        # What was written of it goes.
        self.assertEqual(len(self.names()), 1)
        settled += self.take(piece(2, b"cd", 2, 0), piece(2, b"ef", 4), piece(3, b"one"))
        words = "it is larger than 3 B"
        self.assertEqual(
            settled, [Settled(1, Code.TOO_LARGE, words), Settled(2, Code.TOO_LARGE, words), Settled(3, size=3)]
        )
        self.assertEqual(self.names(), ["d"])

    def test_no_room(self) -> None:
        """A quota, a floor of free space or a full disk fails one file; the rest goes on."""
        room = 5

        def take(size: int) -> None:
            nonlocal room
            if size > room:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            room -= size

        self.store(room=take)
        self.announce_files(a=6, b=6, c=2)
        settled = self.take(piece(0, b"sixsix"), piece(1, b"abc", 0, 0), piece(1, b"def", 3), piece(2, b"22"))
        words = "the disk quota is used up"
        self.assertEqual(
            settled, [Settled(0, Code.STORAGE, words), Settled(1, Code.STORAGE, words), Settled(2, size=2)]
        )
        self.assertEqual(self.names(), ["c"])

    def test_room_given_back(self) -> None:
        """What is counted in the end is what is there: of what fails, is taken back or replaced nothing is."""
        for sync in (True, False):
            taken: list[int] = []
            self.root = self.mktemp()
            self.write("a", b"eight888", TIME - 1)
            self.write(partial_name("r"), b"abc")
            self.store(existing="replace", sync=sync, room=taken.append, max_size=9)
            # Two of one name in one batch: the second takes the place of the first.
            paths = (b"a", b"a", b"big", b"void", b"r", b"new", b"part")
            self.announce(*[Entry(FILE, path, 6 if path == b"r" else 0, TIME + 1) for path in paths])
            self.take(
                piece(0, b"two22") + piece(1, b"one") + piece(2, b"big", 0, 0) + piece(2, b"7 bytes", 3),
                piece(3, b"void", 0, 0) + piece(3, b"", 4, LAST | VOID),
                piece(4, b"xyz-", 0, 0) + piece(4, b"", 4) + piece(5, b"new"),
            )
            self.storing.take([piece(6, b"kept", 0, 0)])
            self.storing.abandon()
            there = sum(os.stat(os.path.join(self.root, name)).st_size for name in self.names())
            self.assertEqual(self.names(), sorted(["a", "new", "r", partial_name("part")]))
            self.assertEqual(8 + 3 + sum(taken), there)

    def test_room_of_a_dropped_batch(self) -> None:
        """So is that of files that had not got their names."""
        taken: list[int] = []
        self.store(room=taken.append)
        self.announce_files(a=3)
        self.storing.take([piece(0, b"one")])
        self.storing.abandon()
        self.assertEqual((sum(taken), self.names()), (0, []))

    def test_full_disk(self) -> None:
        """The disk is full in the middle of a file, small or large: nothing of it stays, and the rest goes on."""
        self.announce_files(small=3, large=6, last=1)
        pwrite, pwritev = os.pwrite, os.pwritev
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def refuse(*_: object) -> int:
            raise full

        self.patch(os, "pwrite", refuse)
        self.patch(os, "pwritev", refuse)
        settled = self.take(piece(0, b"one"), piece(1, b"abc", 0, 0))
        self.patch(os, "pwrite", pwrite)
        self.patch(os, "pwritev", pwritev)
        settled += self.take(piece(1, b"def", 3), piece(2, b"x"))
        words = "the disk is full"
        self.assertEqual(
            settled, [Settled(0, Code.STORAGE, words), Settled(1, Code.STORAGE, words), Settled(2, size=1)]
        )
        self.assertEqual(self.names(), ["last"])

    def test_no_descriptors(self) -> None:
        """Where no more files can be open, those that wait for their names make room."""
        self.announce_files(a=1, b=1)
        self.storing.take([piece(0, b"a")])
        at = self.storing._placing
        assert at is not None
        write_small = at.write_small
        failures = [OSError(errno.EMFILE, "too many open files")]

        def write(*arguments: object) -> object:
            if failures:
                raise failures.pop()
            return write_small(*arguments)  # type: ignore[arg-type]

        self.patch(at, "write_small", write)
        self.assertEqual(self.storing.take([piece(1, b"b")]).files, [Settled(0, size=1)])
        self.assertEqual(self.storing.commit().files, [Settled(1, size=1)])

    def test_sync_fails(self) -> None:
        """What the disk does not take is not confirmed, and goes."""
        self.announce_files(large=2)

        def refuse(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "fsync", refuse)
        self.assertEqual(
            self.take(piece(0, b"a", 0, 0), piece(0, b"b", 1)), [Settled(0, Code.STORAGE, "Input/output error")]
        )
        self.assertEqual(self.names(), [])

    def test_folder_sync_fails(self) -> None:
        """That a folder may be lost is told in the end."""
        self.announce(Entry(FOLDER, b"a"))

        def refuse(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "fsync", refuse)
        self.assertRaises(OSError, self.storing.finish)

    def test_folder_sync_failed(self) -> None:
        """So it is when that failed before, in a batch of files that are not in it."""
        self.announce(Entry(FOLDER, b"a"), Entry(FOLDER, b"b"), Entry(FOLDER, b"a/empty"), Entry(FILE, b"b/f", 1))
        real = os.fsync

        def refuse(fd: int) -> None:
            if os.readlink(f"/proc/self/fd/{fd}").endswith("/a"):
                raise OSError(errno.EIO, "Input/output error")
            real(fd)

        patched = self.patch(os, "fsync", refuse)
        self.assertEqual(self.take(piece(3, b"x")), [Settled(3, size=1)])
        patched.restore()
        self.assertRaises(OSError, self.storing.finish)

    def test_taken_back(self) -> None:
        """The sender takes a file back: what came of it goes, and its line is told."""
        self.announce_files(a=4, b=1, c=1)
        settled = self.take(piece(0, b"ab", 0, 0), piece(0, b"changed", 2, LAST | VOID), piece(1, b"", 0, LAST | VOID))
        self.assertEqual(
            settled,
            [Settled(0, Code.CANCELLED, "changed"), Settled(1, Code.CANCELLED, "its sender has given it up")],
        )
        self.assertEqual(self.names(), [])
        self.assertEqual(self.take(piece(2, b"x")), [Settled(2, size=1)])

    def test_taken_back_before_it_began(self) -> None:
        """What is there of a file that can't be read now stays for another time."""
        self.write(partial_name("a"), b"abc")
        self.announce(Entry(FILE, b"a", 6, TIME))
        self.take(piece(0, b"no", 0, LAST | VOID))
        self.assertEqual(self.read(partial_name("a")), b"abc")

    def test_failed_and_taken_back(self) -> None:
        """A file is settled once, though its sender gives it up when it hears of that."""
        self.store(max_size=1)
        self.announce(Entry(STREAM, b"a"))
        settled = self.take(piece(0, b"ab", 0, 0), piece(0, b"", 2, LAST | VOID))
        self.assertEqual([each.code for each in settled], [Code.TOO_LARGE])

    def test_nearly_full_disk(self) -> None:
        """The disk takes a part of several pieces, and then the rest."""
        self.announce_files(a=9)
        pwritev = os.pwritev
        self.patch(os, "pwritev", lambda fd, pieces, offset: pwritev(fd, [pieces[0], pieces[1][:1]], offset))
        self.assertEqual(
            self.take(piece(0, b"abc", 0, 0) + piece(0, b"def", 3, 0) + piece(0, b"ghi", 6)), [Settled(0, size=9)]
        )
        self.assertEqual(self.read("a"), b"abcdefghi")


class BrokenTests(StoringTestCase):
    """What breaks the rules of the dialogue."""

    def test_numbers(self) -> None:
        """Entries have consecutive numbers."""
        self.announce_files(a=1)
        for first in (0, 2):
            error = self.assertRaises(RemoteProtocolError, self.announce, Entry(FILE, b"b", 1), first=first)
            self.assertIn(f"entry {first} is announced where 1 is the next", str(error))

    def test_not_announced(self) -> None:
        self.assert_broken("file 0, which is not the next one", piece(0, b"x"))

    def test_not_the_next(self) -> None:
        self.announce_files(a=1, b=1)
        self.assert_broken("file 1, which is not the next one", piece(1, b"x"))

    def test_settled(self) -> None:
        """Nothing comes of a file behind its last piece, nor of one that is refused or there."""
        self.announce_files(a=1, b=1)
        self.take(piece(0, b"x"))
        self.assert_broken("file 0, which is not the next one", piece(0, b"x"))
        self.store()
        self.announce(Entry(FILE, b"..", 1), Entry(FILE, b"a", 1, TIME), Entry(FOLDER, b"c"), Entry(FILE, b"d", 1))
        for number in range(3):
            self.assert_broken("which is not the next one", piece(number, b"x"))

    def test_before_the_last_piece(self) -> None:
        self.announce_files(a=2, b=1)
        self.assert_broken("file 1 before the last one of file 0", piece(0, b"x", 0, 0), piece(1, b"x"))

    def test_overlap(self) -> None:
        self.announce_files(a=3)
        self.assert_broken("at 1, where it has come to 2", piece(0, b"xy", 0, 0), piece(0, b"z", 1))

    def test_elsewhere(self) -> None:
        """A sender goes on exactly behind what is there, or begins anew, also where a hole comes first."""
        self.announce_files(a=6)
        self.assert_broken("file 0 begins at 2, where 0 bytes are there", piece(0, b"x", 2))
        self.storing.abandon()
        self.write(partial_name("a"), b"abc")
        self.store()
        self.announce(Entry(FILE, b"a", 6, TIME))
        self.assert_broken("file 0 begins at 2, where 3 bytes are there", piece(0, b"x", 2))

    def test_cut_short(self) -> None:
        self.announce_files(a=3)
        self.assert_broken("cut short", piece(0, b"abc")[:-1])

    def test_finished_early(self) -> None:
        """All files have to be sent before the end."""
        for payloads in ((), (piece(0, b"x", 0, 0),), (piece(0, b"xy"),)):
            self.store()
            self.announce(Entry(FILE, b"a", 2, TIME))
            self.storing.take(payloads)
            error = self.assertRaises(RemoteProtocolError, self.storing.finish)
            self.assertIn("finished before all files were sent", str(error))
            self.storing.abandon()


class AbandonedTests(StoringTestCase):
    """A session that breaks off."""

    def test_kept(self) -> None:
        """What came of a file is kept, also what was not written yet; it is no file yet, and can go on."""
        self.write(partial_name("b"), b"abc")
        self.announce(Entry(FILE, b"a", 6, TIME), Entry(FILE, b"b", 6, TIME))
        self.storing.take([piece(0, b"abc", 0, 0)])
        self.storing.abandon()
        self.assertEqual(self.names(), sorted([partial_name("a"), partial_name("b")]))
        self.store()
        verdicts = self.announce(Entry(FILE, b"a", 6, TIME), Entry(FILE, b"b", 6, TIME))
        self.assertEqual(verdicts, [Verdict(RESUME, 3, digest(b"abc"))] * 2)

    def test_kept_when_broken(self) -> None:
        """So is what came before something that breaks the rules."""
        self.announce_files(a=6)
        self.assert_broken("at 1,", piece(0, b"abc", 0, 0) + piece(0, b"x", 1))
        self.storing.abandon()
        self.assertEqual(self.read(partial_name("a")), b"abc")

    def test_batch_dropped(self) -> None:
        """What has not got its name is not there."""
        self.announce_files(a=1)
        self.storing.take([piece(0, b"a")])
        self.storing.abandon()
        self.assertEqual(self.names(), [])

    def test_given_up(self) -> None:
        """When nobody waits, no large file is read for its digest, and no hole. What came of it is kept."""
        self.store(digests=True)
        self.announce(Entry(FILE, b"a", 1 << 40, TIME))
        self.storing.take([piece(0, b"abc", 0, 0)])
        self.storing.give_up()
        (settled,) = self.storing.take([piece(0, b"d", 1 << 40)]).files
        self.assertEqual(settled.code, Code.STORAGE)
        self.storing.abandon()
        self.storing.give_up()
        self.assertEqual(self.names(), [partial_name("a")])
        self.store()
        self.announce(Entry(FILE, b"b", 1, TIME))
        self.storing.give_up()
        (verdict,) = self.announce(Entry(FILE, b"a", 1 << 41, TIME), first=1)
        self.assertEqual((verdict.what, verdict.text), (REFUSED, "nobody waits for it any more"))
        self.store().give_up()
        (verdict,) = self.announce(Entry(FILE, b"a", 1 << 41, TIME))
        self.assertEqual((verdict.what, verdict.text), (REFUSED, "nobody waits for it any more"))
        self.assertEqual(self.names(), [partial_name("a")])

    def test_given_up_comparing(self) -> None:
        """Nor are two files compared. The new one gets no other name for that: it may well be the same."""
        stores = [self.store(), self.store()]
        for self.storing in stores:
            self.announce(Entry(FILE, b"a", 1 << 40, TIME))
        for self.storing in stores:
            if self.storing is stores[1]:
                self.storing.give_up()
            files = self.take(piece(0, b"", 0, 0), piece(0, b"", 1 << 40))
        self.assertEqual([settled.text for settled in files], ["nobody waits for it any more"])
        self.assertEqual(self.names(), ["a"])

    def test_over(self) -> None:
        """Behind that nothing is taken any more, and it may be called again."""
        self.announce_files(a=1)
        self.storing.abandon()
        self.storing.abandon()
        (verdict,) = self.announce(Entry(FILE, b"b", 1), first=1)
        self.assertEqual(verdict.what, REFUSED)
        self.storing.set_times(SetTimes([(b"a", TIME)]))
        self.assertEqual(self.storing.commit(), Outcome())

    def test_no_descriptor_left(self) -> None:
        """All that was opened is closed."""
        before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        self.write(partial_name("b"), b"abc")
        self.write(partial_name("void"), b"abc")
        self.announce(
            Entry(FOLDER, b"f"),
            Entry(FILE, b"f/a", 6),
            Entry(FILE, b"void", 6),
            Entry(FILE, b"b", 6),
            Entry(FILE, b"c", 6),
        )
        self.storing.take([piece(1, b"abcdef"), piece(2, b"", 0, LAST | VOID), piece(3, b"", 3, 0)])
        self.storing.abandon()
        self.store()
        self.announce(Entry(FILE, b"b", 6))
        self.assert_broken("file 0 begins at 2", piece(0, b"", 2))
        self.storing.abandon()
        after = os.listdir("/proc/self/fd") if before else []
        self.assertEqual(len(before), len(after))

    def test_two_sessions(self) -> None:
        """Two send the same name at once: both are stored whole, under two names."""
        first = self.storing
        self.announce_files(a=4)
        first.take([piece(0, b"ab", 0, 0)])
        second = self.store()
        self.announce(Entry(FILE, b"a", 4, TIME + 1))
        second.take([piece(0, b"xy", 0, 0)])
        first.take([piece(0, b"cd", 2)])
        second.take([piece(0, b"zz", 2)])
        self.assertEqual(first.commit().files, [Settled(0, size=4)])
        self.assertEqual(second.commit().files, [Settled(0, name=b"a.1", size=4)])
        self.assertEqual((self.read("a"), self.read("a.1")), (b"abcd", b"xyzz"))
        self.assertEqual(self.names(), ["a", "a.1"])


class AnythingTests(StoringTestCase):
    """Whatever a sender does."""

    RUNS = 80

    def test_anything(self) -> None:
        """It breaks the rules or not: nothing else is raised, no file is settled twice, all is closed in the end."""
        random = Random(20)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        broken = 0
        for run in range(self.RUNS):
            self.root = self.mktemp()
            for name in "abc":
                if random.random() < 0.4:
                    data = b"x" * random.choice((0, 3, 4, 6))
                    self.write(random.choice((name, partial_name(name))), data, TIME + random.randrange(2))
            self.store(
                existing=random.choice(("rename", "replace", "refuse")),
                sync=False,
                digests=random.random() < 0.5,
                resume=random.random() < 0.8,
                max_size=random.choice((5, 1 << 40)),
            )
            try:
                self.send_anything(random)
                self.storing.finish()
            except RemoteProtocolError:
                broken += 1
            self.storing.commit()
            self.storing.abandon()
            if before:
                self.assertEqual(len(os.listdir("/proc/self/fd")), before, run)
        self.assertTrue(self.RUNS // 10 < broken < self.RUNS * 9 // 10, broken)

    def send_anything(self, random: Random) -> None:
        kinds, paths, sizes = (
            (FILE, FILE, FILE, FOLDER, STREAM),
            (b"a", b"b", b"c", b"d", b"d/e", b"..", b""),
            (0, 3, 4, 6),
        )
        awaited: dict[int, int] = {}
        settled: set[int] = set()
        first = 0
        for _ in range(random.randint(1, 5)):
            entries = [
                Entry(random.choice(kinds), random.choice(paths), random.choice(sizes), TIME)
                for _ in range(random.randint(1, 3))
            ]
            for number, verdict in enumerate(self.announce(*entries, first=first), first):
                if verdict.what in (SEND, RESUME):
                    awaited[number] = verdict.offset
            first += len(entries)
            payloads: list[bytes] = []
            while awaited and random.random() < 0.7:
                number = min(awaited)
                offset = random.choice((0, awaited.pop(number)))
                flags = 0
                while not flags:
                    # Now and then something is wrong.
                    strayed = random.random() < 0.05
                    flags = random.choice((0, LAST, LAST, LAST | VOID))
                    data = b"y" * random.choice((0, 1, 3))
                    payloads.append(piece(number + (strayed and random.randrange(2)), data, offset + strayed, flags))
                    offset += len(data)
            for outcome in (self.storing.take(payloads), self.storing.commit()):
                for each in outcome.files:
                    self.assertNotIn(each.number, settled)
                    settled.add(each.number)
            self.assertEqual(settled & set(awaited), set())
