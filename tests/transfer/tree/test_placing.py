"""
Written files on their way to their place.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import resource
import shutil
import stat
from collections.abc import Callable
from typing import Any

from sodiumtwist.transfer.tree import (
    batches,
    folders as tested_folders,
    placing as tested,
    renaming,
    spelling,
    temporaries,
)
from sodiumtwist.transfer.tree.descriptors import Held
from sodiumtwist.transfer.tree.folders import Parts
from sodiumtwist.transfer.tree.growing import Growing
from sodiumtwist.transfer.tree.names import is_temporary, temporary_name
from sodiumtwist.transfer.tree.placing import REFUSE, RENAME, REPLACE, Placing
from sodiumtwist.transfer.tree.temporaries import Written

from .disks import TreeCase

TIME = 1_700_000_000_123_456_789


def failing(number: int) -> Callable[..., None]:
    """A call of the system that fails."""

    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


class PlacingCase(TreeCase):
    """Puts files in their place, and looks that neither their descriptors nor anything else stays."""

    def setUp(self) -> None:
        super().setUp()
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        self.before = os.listdir("/proc/self/fd")
        self.held = Held()
        self.patch(tested, "HELD", self.held)
        self.addCleanup(self.nothing_left)

    def nothing_left(self) -> None:
        for parts in list(self.folders._kept):
            self.folders._forget(parts)
        self.assertEqual(os.listdir("/proc/self/fd"), self.before)
        self.assertEqual([name for name in self.there() if is_temporary(os.fsencode(name))], [])
        self.assertEqual(self.held._count, 0)

    def make(self, existing: str = RENAME, sync: bool = False) -> Placing:
        return Placing(self.folders, existing, sync)

    def small(self, placing: Placing, name: bytes = b"f", data: bytes = b"small", executable: bool = False) -> Written:
        return placing.write_small((name,), data, TIME, executable)

    def large(self, name: bytes = b"f", data: bytes = b"large", sync: bool = False) -> Written:
        grown = Growing(self.folders, (name,), False, True)
        grown.begin(0)
        grown.write(0, data)
        return grown.finish(len(data), TIME, sync)

    def put(self, placing: Placing, *files: Written) -> list[bytes | str | int | None]:
        """The names that files get, or why they get none: words of ours, or the system's number."""
        for number, written in enumerate(files):
            placing.add(number, written)
        results = placing.commit()
        self.assertEqual([number for number, _ in results], list(range(len(files))))
        return [
            outcome
            if not isinstance(outcome, OSError)
            else outcome.errno
            if outcome.strerror == os.strerror(outcome.errno or 0)
            else outcome.strerror
            for _, outcome in results
        ]


class PolicyTests(PlacingCase):
    """What there is to do when something has the name; large files and small ones, with sync and without."""

    def each(self, existing: str) -> list[tuple[Placing, Callable[[bytes], Written]]]:
        made: list[tuple[Placing, Callable[[bytes], Written]]] = []
        for sync in (False, True):
            placing = self.make(existing, sync)
            made.append((placing, lambda data, placing=placing: self.small(placing, data=data)))  # type: ignore[misc]
            made.append((placing, lambda data, sync=sync: self.large(data=data, sync=sync)))  # type: ignore[misc]
        return made

    def test_free(self) -> None:
        """With the name free, the file gets it, with its time and mode."""
        for existing in (RENAME, REPLACE, REFUSE):
            for placing, write in self.each(existing):
                self.assertEqual(self.put(placing, write(b"data")), [b"f"])
                status = os.stat(self.path("f"))
                self.assertEqual((status.st_mtime_ns, stat.S_IMODE(status.st_mode)), (TIME, 0o600))
                self.assertEqual((self.there(), self.read("f"), status.st_nlink), (["f"], b"data", 1))
                os.unlink(self.path("f"))

    def test_rename(self) -> None:
        """The next number that is free stands behind the whole name; what is there stays."""
        self.file("f", b"old")
        self.file("f.2", b"old 2")
        names = []
        for placing, write in self.each(RENAME):
            names += self.put(placing, write(b"new"))
        self.assertEqual(names, [b"f.1", b"f.3", b"f.4", b"f.5"])
        self.assertEqual((self.read("f"), self.read("f.2"), self.read("f.5")), (b"old", b"old 2", b"new"))

    def test_same(self) -> None:
        """
        What another session of the same sender has just put there is the file, where that may be used: with its size,
        its time and its bytes, and nothing less.
        """
        self.file("f", b"same")
        path = self.path("f")
        for sync in (False, True):
            for existing in (RENAME, REFUSE):
                placing = Placing(self.folders, existing, sync, same=True)
                os.utime(path, ns=(TIME, TIME))
                self.assertEqual(self.put(placing, self.small(placing, data=b"same")), [b"f"])
                self.assertEqual(self.put(placing, self.large(data=b"same", sync=sync)), [b"f"])
                self.assertEqual(self.there(), ["f"])
            placing = Placing(self.folders, RENAME, sync, same=True)
            self.assertEqual(self.put(placing, self.small(placing, data=b"othr")), [b"f.1"])
            self.assertEqual(self.put(placing, self.small(placing, data=b"othr")), [b"f.1"])
            os.utime(path, ns=(TIME + 1, TIME + 1))
            self.assertEqual(self.put(placing, self.small(placing, data=b"same")), [b"f.2"])
            for name in ("f.1", "f.2"):
                os.unlink(self.path(name))

    def test_same_and_no_descriptors(self) -> None:
        """When it can't be told, for want of descriptors, the file fails, and gets no other name."""
        self.file("f", b"small")
        os.utime(self.path("f"), ns=(TIME, TIME))
        placing = Placing(self.folders, RENAME, False, same=True)
        written = self.small(placing)
        self.patch(self.folders, "open_file", failing(errno.EMFILE))
        self.assertEqual(self.put(placing, written), [errno.EMFILE])
        self.assertEqual(self.there(), ["f"])

    def test_same_and_nobody_waits(self) -> None:
        """When the session is over, nothing is compared any more, and no file gets another name for that."""
        self.file("f", b"small")
        os.utime(self.path("f"), ns=(TIME, TIME))
        placing = Placing(self.folders, RENAME, False, same=True)
        written = self.small(placing)
        self.folders.given_up = True
        self.assertEqual(self.put(placing, written), ["nobody waits for it any more"])
        self.assertEqual(self.there(), ["f"])

    def test_same_to_the_second(self) -> None:
        """A file system that does not keep times as they are tells the same of both."""
        utime = os.utime
        self.patch(os, "utime", lambda fd, ns: utime(fd, ns=(ns[0] // 10**9 * 10**9,) * 2))
        self.file("f", b"old")
        placing = Placing(self.folders, RENAME, True, same=True)
        for _ in range(2):
            self.assertEqual(self.put(placing, self.small(placing)), [b"f.1"])

    def test_replace(self) -> None:
        """The old one is replaced."""
        for placing, write in self.each(REPLACE):
            self.file("f", b"old")
            self.assertEqual(self.put(placing, write(b"new")), [b"f"])
            self.assertEqual((self.there(), self.read("f")), (["f"], b"new"))

    def test_refuse(self) -> None:
        """The new one is refused, and nothing of it stays."""
        self.file("f", b"old")
        for placing, write in self.each(REFUSE):
            self.assertEqual(self.put(placing, write(b"new")), ["a file of that name is there"])
            self.assertEqual((self.there(), self.read("f")), (["f"], b"old"))

    def test_no_file(self) -> None:
        """What is there and is no file is not replaced, and no other name is taken."""
        os.mkdir(self.path("d"))
        for make, kind in [
            (lambda: os.symlink("d", self.path("f")), "a link"),
            (lambda: os.mkdir(self.path("f")), "a folder"),
            (lambda: os.mkfifo(self.path("f")), "a FIFO"),
        ]:
            make()
            for existing in (RENAME, REPLACE, REFUSE):
                for placing, write in self.each(existing):
                    self.assertEqual(self.put(placing, write(b"new")), [f"{kind} of that name is there"])
                    self.assertEqual(self.there(), ["d", "f"])
            (os.rmdir if kind == "a folder" else os.unlink)(self.path("f"))
        self.assertEqual(self.there("d"), [])

    def test_came_meanwhile(self) -> None:
        """What comes after the look is seen, too."""
        real = self.folders.status

        def late(parts: Parts) -> os.stat_result | None:
            self.patch(self.folders, "status", real)
            found = real(parts)
            self.file("f", b"other")
            return found

        for placing, write in self.each(REPLACE):
            written = write(b"new")
            self.patch(self.folders, "status", late)
            self.assertEqual(self.put(placing, written), [b"f"])
            self.assertEqual((self.there(), self.read("f")), (["f"], b"new"))
            os.unlink(self.path("f"))

    def test_same_batch(self) -> None:
        """Two of one name in a batch are two files."""
        placing = self.make(sync=True)
        self.assertEqual(self.put(placing, self.small(placing), self.small(placing)), [b"f", b"f.1"])

    def test_long_name(self) -> None:
        """A suffix that would make the name too long is not tried, and the name not cut."""
        name = b"x" * 254
        placing = self.make()
        self.assertEqual(self.put(placing, self.small(placing, name)), [name])
        why = "a file of that name is there, and it is too long for a suffix"
        self.assertEqual(self.put(placing, self.small(placing, name)), [why])

    def test_many(self) -> None:
        """There is an end to suffixes."""
        self.patch(tested, "SUFFIXES", 2)
        placing = self.make()
        for expected in (b"f", b"f.1", b"f.2", "2 more files of that name are there"):
            self.assertEqual(self.put(placing, self.small(placing)), [expected])

    def test_case(self) -> None:
        """A name that is there in other letters is not replaced, nor is another name taken."""
        self.file("F", b"old")
        os.link(self.path("F"), self.path("f"))
        self.patch(spelling, "names_in", lambda folder: [b"F"])
        for existing in (RENAME, REPLACE, REFUSE):
            for placing, write in self.each(existing):
                self.assertEqual(self.put(placing, write(b"new")), ["it differs only in case from 'F', which is there"])
        self.assertEqual(self.there(), ["F", "f"])


class ReplacedTests(PlacingCase):
    """What a file takes over from the one that it replaces."""

    def replaced(self, mode: int, executable: bool) -> int:
        self.file("f", b"old")
        os.chmod(self.path("f"), mode)
        placing = self.make(REPLACE)
        self.assertEqual(self.put(placing, self.small(placing, executable=executable)), [b"f"])
        return stat.S_IMODE(os.stat(self.path("f")).st_mode)

    def test_mode(self) -> None:
        """Its mode; but who may run it is said by the sender."""
        for mode, executable, expected in [
            (0o640, False, 0o640),
            (0o644, True, 0o755),
            (0o755, False, 0o644),
            (0o600, True, 0o700),
            (0o4755, True, 0o755),
        ]:
            self.assertEqual(self.replaced(mode, executable), expected, oct(mode))

    def test_owner(self) -> None:
        """Its owner, as far as may be."""
        asked: list[tuple[int, os.stat_result | None]] = []
        self.patch(tested, "take_over", lambda fd, status: asked.append((fd, status)))
        self.replaced(0o644, True)
        [(_, status)] = asked
        assert status is not None
        found = os.stat(self.root)
        self.assertEqual((status.st_uid, status.st_gid), (found.st_uid, found.st_gid))


class SmallTests(PlacingCase):
    """Files that come in one piece."""

    def test_nameless(self) -> None:
        """One has no name before its own, and so leaves nothing behind."""
        for sync in (False, True):
            placing = self.make(sync=sync)
            written = self.small(placing)
            self.assertEqual(self.there(), [])
            written.temporary.close()
            self.assertEqual(self.there(), [])

    def test_few_calls(self) -> None:
        """There may be a great many of them, so the system is called as seldom as it can be."""
        placing = self.make()
        self.put(placing, self.small(placing))
        calls: list[str] = []

        def count(name: str) -> None:
            real = getattr(os, name)

            def counted(*arguments: Any, **keywords: Any) -> Any:
                calls.append(name)
                return real(*arguments, **keywords)

            self.patch(os, name, counted)

        for name in ("open", "pwrite", "utime", "link", "close", "fstat", "stat", "mkdir", "fsync", "unlink"):
            count(name)
        placing.add(0, self.small(placing, b"other"))
        self.assertEqual(calls, ["open", "pwrite", "utime", "link", "close"])
        self.assertEqual(placing.commit(), [(0, b"other")])

    def test_executable(self) -> None:
        """Its owner may run it."""
        placing = self.make()
        self.put(placing, self.small(placing, executable=True))
        self.assertEqual(stat.S_IMODE(os.stat(self.path("f")).st_mode), 0o700)

    def test_empty(self) -> None:
        """A file without bytes is one, too."""
        for sync in (False, True):
            placing = self.make(sync=sync)
            self.put(placing, self.small(placing, b"%d" % sync, b""))
            self.assertEqual(self.read(str(int(sync))), b"")

    def test_full_disk(self) -> None:
        """It is told, and nothing stays."""
        for nameless in (True, False):
            if not nameless:
                self.patch(temporaries, "_NAMELESS", None)
            with_error = self.make()
            self.patch(os, "pwrite", failing(errno.EDQUOT))
            self.assertEqual(self.assertRaises(OSError, self.small, with_error).errno, errno.EDQUOT)
            self.assertEqual(self.there(), [])

    def test_no_nameless(self) -> None:
        """Where there are none, its temporary name is used; what an earlier try left there is not mixed in."""
        real = os.open
        for number in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            with open(self.path(os.fsdecode(temporary_name(b"f"))), "wb") as file:
                file.write(b"left by an earlier try")

            def opened(
                path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None, number: int = number
            ) -> int:
                if flags & os.O_TMPFILE == os.O_TMPFILE:
                    raise OSError(number, "no")
                return real(path, flags, mode, dir_fd=dir_fd)

            self.patch(os, "open", opened)
            for sync in (False, True):
                placing = self.make(sync=sync)
                written = self.small(placing)
                self.assertEqual(self.there(), [os.fsdecode(temporary_name(b"f"))])
                self.assertEqual(self.put(placing, written), [b"f"])
                self.assertEqual((self.there(), self.read("f")), (["f"], b"small"))
                os.unlink(self.path("f"))
            self.patch(os, "open", real)

    def test_cannot_be_made(self) -> None:
        """What can't be made is told."""
        real = os.open

        def no(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if flags & os.O_ACCMODE:
                raise OSError(errno.EROFS, "no")
            return real(path, flags, mode, dir_fd=dir_fd)

        self.patch(os, "open", no)
        self.assertEqual(self.assertRaises(OSError, self.small, self.make()).errno, errno.EROFS)

    def test_without_proc(self) -> None:
        """Without the folder through which it would get its name there is no file without one."""
        self.patch(os.path, "isdir", lambda path: False)
        placing = self.make()
        written = self.small(placing)
        self.assertIsNotNone(written.temporary.name)
        self.assertEqual(self.put(placing, written), [b"f"])

    def test_close_fails(self) -> None:
        """Some file systems tell only then what could not be written."""
        placing = self.make()
        written = self.small(placing)
        real = os.close

        def close(fd: int) -> None:
            real(fd)
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        self.patch(os, "close", close)
        self.assertEqual(self.put(placing, written), [errno.EDQUOT])
        self.assertEqual(self.there(), [])
        # What was synced is there whatever closing says.
        placing = self.make(sync=True)
        self.assertEqual(self.put(placing, self.small(placing)), [b"f"])
        self.patch(os, "close", real)


class NoLinksTests(PlacingCase):
    """File systems and systems that can't do everything."""

    def test_no_links(self) -> None:
        """Where hard links are not, a small file is copied to a temporary name, and goes on from there."""
        for number in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            self.patch(os, "link", failing(number))
            for sync in (False, True):
                placing = self.make(sync=sync)
                data = b"x" * (tested.COPY_STEP + 1)
                self.assertEqual(self.put(placing, self.small(placing, data=data, executable=True)), [b"f"])
                status = os.stat(self.path("f"))
                self.assertEqual((status.st_mtime_ns, stat.S_IMODE(status.st_mode)), (TIME, 0o700))
                self.assertEqual(self.read("f"), data)
                # The next ones have a name from the beginning.
                self.assertIsNotNone((again := self.small(placing)).temporary.name)
                self.assertEqual(self.put(placing, again), [b"f.1"])
                os.unlink(self.path("f"))
                os.unlink(self.path("f.1"))

    def test_no_links_and_no_room(self) -> None:
        """When there is no room for the copy, nothing stays."""
        self.patch(os, "link", failing(errno.EPERM))
        placing = self.make()
        written = self.small(placing)
        self.patch(os, "pwrite", failing(errno.ENOSPC))
        self.assertEqual(self.put(placing, written), [errno.ENOSPC])

    def test_copy_is_synced(self) -> None:
        """The disk has the copy before it has its name."""
        self.patch(os, "link", failing(errno.EPERM))
        placing = self.make(sync=True)
        written = self.small(placing)
        self.patch(batches, "sync_if_possible", lambda fd: None)
        self.patch(tested, "sync_if_possible", failing(errno.EIO))
        self.assertEqual(self.put(placing, written), [errno.EIO])

    def test_old_system(self) -> None:
        """Without the call that renames and replaces nothing it takes a link, and without that a reservation."""
        self.file("f", b"old")
        for number in (errno.ENOSYS, errno.EINVAL):
            self.patch(renaming, "rename_new", failing(number))
            for sync in (False, True):
                self.assertEqual(self.put(self.make(sync=sync), self.large(sync=sync)), [b"f.1"])
                self.assertEqual((self.there(), self.read("f.1")), (["f", "f.1"], b"large"))
                self.assertEqual(os.stat(self.path("f.1")).st_nlink, 1)
                os.unlink(self.path("f.1"))
        self.patch(os, "link", failing(errno.EPERM))
        self.assertEqual(self.put(self.make(), self.large()), [b"f.1"])
        self.assertEqual((self.there(), self.read("f.1")), (["f", "f.1"], b"large"))

    def test_reservation_given_up(self) -> None:
        """When the file can't take the name that was reserved for it, nobody has it."""
        self.patch(renaming, "rename_new", failing(errno.ENOSYS))
        self.patch(os, "link", failing(errno.EPERM))
        self.patch(os, "replace", failing(errno.EIO))
        self.assertEqual(self.put(self.make(), self.large()), [errno.EIO])
        self.assertEqual(self.there(), [])

    def test_refused_names(self) -> None:
        """What the file system says of a name is told of that file, and the others go on."""
        real = os.link

        def link(source: str, name: bytes, *, dst_dir_fd: int, follow_symlinks: bool) -> None:
            if name == b"bad":
                raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ))
            real(source, name, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

        self.patch(os, "link", link)
        for sync in (False, True):
            placing = self.make(REPLACE, sync)
            files = [self.small(placing, name) for name in (b"a", b"bad", b"c")]
            self.assertEqual(self.put(placing, *files), [b"a", errno.EILSEQ, b"c"])
        placing = self.make()
        self.patch(renaming, "rename_new", failing(errno.EIO))
        self.assertEqual(self.put(placing, self.large(b"large")), [errno.EIO])
        self.patch(renaming, "rename_new", failing(errno.ENOSYS))
        self.patch(os, "link", failing(errno.ENOSPC))
        self.assertEqual(self.put(placing, self.large(b"large")), [errno.ENOSPC])


class HostileTests(PlacingCase):
    """What others do meanwhile."""

    def test_swapped(self) -> None:
        """A link that takes the place of a temporary file gets no name."""
        temporary = self.path(os.fsdecode(temporary_name(b"f")))
        for existing in (RENAME, REPLACE):
            for sync in (False, True):
                self.file("f", b"old")
                written = self.large(sync=sync)
                os.unlink(temporary)
                os.symlink("/etc/passwd", temporary)
                self.assertEqual(
                    self.put(self.make(existing, sync), written), ["its temporary file was swapped meanwhile"]
                )
                self.assertEqual(self.read("f"), b"old")
                # It is not ours to remove.
                os.unlink(temporary)

    def test_folder_swapped(self) -> None:
        """A link that takes a folder's place leads nowhere."""
        outside = os.path.abspath(self.mktemp())
        os.mkdir(outside)
        for sync in (False, True):
            self.folders.make((b"d",))
            placing = self.make(sync=sync)
            written = placing.write_small((b"d", b"f"), b"data", TIME, False)
            os.rename(self.path("d"), self.path("moved"))
            os.symlink(outside, self.path("d"))
            # Opened long ago.
            self.folders._forget((b"d",))
            self.assertEqual(self.put(placing, written), ["a link is there, and no folder"])
            self.assertEqual((os.listdir(outside), self.there("moved")), ([], []))
            os.unlink(self.path("d"))
            os.rmdir(self.path("moved"))

    def test_folder_moved(self) -> None:
        """What got its name in a folder that was moved at that time is not told to be there."""
        for existing in (RENAME, REPLACE):
            for sync in (False, True):
                self.folders.make((b"d",))
                placing = self.make(existing, sync)
                files = [placing.write_small((b"d", b"f"), b"data", TIME, False), self.small(placing)]
                os.rename(self.path("d"), self.path("moved"))
                os.mkdir(self.path("d"))
                self.file("d/f", b"another one")
                self.assertEqual(self.put(placing, *files), ["its folder was moved meanwhile", b"f"])
                self.assertEqual(self.read("d/f"), b"another one")
                # The next one goes to the folder that is there now.
                files = [placing.write_small((b"d", b"g"), b"data", TIME, False)]
                self.assertEqual(self.put(placing, *files), [b"g"])
                self.assertEqual(self.there("d"), ["f", "g"])
                self.folders.forget(())
                os.unlink(self.path("f"))
                for name in ("d", "moved"):
                    shutil.rmtree(self.path(name))

    def test_folder_removed(self) -> None:
        """One that is gone takes nothing, and is looked for again."""
        self.folders.make((b"d",))
        placing = self.make()
        written = placing.write_small((b"d", b"f"), b"data", TIME, False)
        os.rmdir(self.path("d"))
        self.assertEqual(self.put(placing, written), [errno.ENOENT])
        os.mkdir(self.path("d"))
        for nameless in (os.O_TMPFILE, None):
            self.patch(temporaries, "_NAMELESS", nameless)
            self.assertEqual(self.put(placing, placing.write_small((b"d", b"f"), b"data", TIME, False)), [b"f"])
            # When it is written already.
            os.unlink(self.path("d", "f"))
            os.rmdir(self.path("d"))
            self.assertRaises(FileNotFoundError, placing.write_small, (b"d", b"f"), b"data", TIME, False)
            os.mkdir(self.path("d"))


class BatchTests(PlacingCase):
    """Files that share syncs."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[str] = []
        #: What the disk refuses: of files by what is in them, of folders by their path.
        self.broken: set[bytes | str] = set()
        self.patch(os, "fsync", self.fsync)
        self.patch(batches, "sync_file_system", self.sync_file_system)
        self.patch(batches, "can_sync_file_systems", lambda: True)

    def fsync(self, fd: int) -> None:
        what: bytes | str
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            what = os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), self.root)
        else:
            what = os.pread(fd, 100, 0)
        self.calls.append(f"{what!r} with {len(self.there())}")
        if what in self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync_file_system(self, fd: int) -> None:
        self.assertEqual(os.readlink(f"/proc/self/fd/{fd}"), self.root)
        self.calls.append(f"all with {len(self.there())}")
        if "all" in self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def batch(self, placing: Placing, count: int) -> list[Written]:
        return [self.small(placing, b"%d" % number, b"data %d" % number) for number in range(count)]

    def test_together(self) -> None:
        """All bytes by one call, then the names, then the folder once."""
        placing = self.make(sync=True)
        self.assertEqual(self.put(placing, *self.batch(placing, 6)), [b"%d" % number for number in range(6)])
        self.assertEqual(self.calls, ["all with 0", "'.' with 6"])

    def test_few(self) -> None:
        """A few are synced each for itself: others may have much to be written."""
        placing = self.make(sync=True)
        self.put(placing, *self.batch(placing, 2))
        self.assertEqual(self.calls, ["b'data 0' with 0", "b'data 1' with 0", "'.' with 2"])

    def test_large(self) -> None:
        """What was synced when it was finished is not synced again."""
        placing = self.make(sync=True)
        self.assertEqual(self.put(placing, self.large(sync=True)), [b"f"])
        self.assertEqual(self.calls, ["b'large' with 1", "'.' with 1"])

    def test_not_synced(self) -> None:
        """Without sync nothing is."""
        placing = self.make(sync=False)
        self.put(placing, *self.batch(placing, 6))
        self.assertEqual(self.calls, [])

    def test_old_system(self) -> None:
        """Where the call is missing, or tells of no errors, each is synced."""
        self.patch(batches, "can_sync_file_systems", lambda: False)
        placing = self.make(sync=True)
        self.put(placing, *self.batch(placing, 6))
        self.assertEqual(len(self.calls), 7)

    def test_other_file_system(self) -> None:
        """What is on another one below is not in the call."""
        placing = self.make(sync=True)
        files = self.batch(placing, 6)
        real, elsewhere = os.fstat, files[3].temporary.fd

        def fstat(fd: int) -> os.stat_result:
            found = list(real(fd))
            found[2] += fd == elsewhere
            return os.stat_result(found)

        self.patch(os, "fstat", fstat)
        self.put(placing, *files)
        self.assertEqual(self.calls, ["all with 0", "b'data 3' with 0", "'.' with 6"])

    def test_broken_files(self) -> None:
        """What the disk refuses is told, and gone; the others are in their place. Which it is each file tells."""
        for count in (2, 6):
            self.broken = {"all", b"data 1"}
            placing = self.make(sync=True)
            outcomes = self.put(placing, *self.batch(placing, count))
            self.assertEqual(outcomes, [b"%d" % number if number != 1 else errno.EIO for number in range(count)])
            self.assertEqual(len(self.there()), count - 1)
            self.assertNotIn("1", self.there())
            for name in self.there():
                os.unlink(self.path(name))
        # It was another's.
        self.broken = {"all"}
        placing = self.make(sync=True)
        self.assertEqual(self.put(placing, *self.batch(placing, 6)), [b"%d" % number for number in range(6)])

    def test_broken_folder(self) -> None:
        """When its names may be lost, all that is below it is; what has replaced another stays."""
        for parts in ((b"a",), (b"a", b"b"), (b"c",)):
            self.folders.make(parts)
        self.broken = {"a"}
        for existing in (RENAME, REPLACE):
            placing = self.make(existing, sync=True)
            paths = [(b"a", b"f"), (b"a", b"b", b"f"), (b"c", b"f"), (b"f",)]
            files = [placing.write_small(parts, b"data", TIME, False) for parts in paths]
            self.assertEqual(self.put(placing, *files), [errno.EIO, errno.EIO, b"f", b"f"])
            kept = existing == REPLACE
            self.assertEqual("f" in self.there("a"), kept)
            self.assertEqual("f" in self.there("a/b"), kept)
            self.assertEqual((self.there("c"), self.there()), (["f"], ["a", "c", "f"]))

    def test_not_another_one(self) -> None:
        """What has got the name since is not removed with it."""
        placing = self.make(sync=True)
        placing.add(0, self.small(placing))

        def swap(fd: int) -> None:
            os.unlink(self.path("f"))
            self.file("f", b"other")
            raise OSError(errno.EIO, "broken")

        self.patch(tested_folders, "sync_if_possible", swap)
        [(_, outcome)] = placing.commit()
        self.assertIsInstance(outcome, OSError)
        self.assertEqual(self.read("f"), b"other")

    def test_full(self) -> None:
        """It is full with so many; and earlier when all batches together hold too many descriptors."""
        for sync in (False, True):
            self.patch(tested, "BATCH", 3)
            placing = self.make(sync=sync)
            for number in range(3):
                self.assertFalse(placing.full)
                placing.add(number, self.small(placing, b"%d" % number))
            self.assertTrue(placing.full)
            self.assertEqual(len(placing), 3)
            self.assertEqual(len(placing.commit()), 3)
            self.assertFalse(placing.full)
            self.assertEqual(placing.commit(), [])

    def test_few_descriptors(self) -> None:
        """However few there are, each batch may have one file."""
        self.patch(resource, "getrlimit", lambda which: (8, 8))
        one, other = self.make(sync=True), self.make(sync=True)
        one.add(0, self.small(one))
        self.assertFalse(one.full)
        one.add(1, self.small(one))
        self.assertTrue(one.full)
        self.assertFalse(other.full)
        other.add(0, self.small(other))
        self.assertTrue(other.full)
        one.commit()
        self.assertFalse(other.full)
        self.patch(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
        other.add(1, self.small(other))
        self.assertFalse(other.full)
        other.drop()

    def test_held_while_synced(self) -> None:
        """A batch that the disk works on still has its descriptors."""
        seen: list[int] = []
        placing = self.make(sync=True)
        self.patch(os, "fsync", lambda fd: seen.append(self.held._count))
        placing.add(0, self.small(placing))
        placing.commit()
        self.assertEqual((seen, self.held._count), ([1, 1], 0))

    def test_none_held(self) -> None:
        """Without sync none waits."""
        placing = self.make()
        for number in range(10):
            placing.add(number, self.small(placing))
        self.assertEqual(os.listdir("/proc/self/fd"), self.before)
        placing.commit()

    def test_drop(self) -> None:
        """What is not in its place is gone, and tells nothing more."""
        placing = self.make(sync=True)
        placing.add(0, self.small(placing))
        placing.add(1, self.large(b"g"))
        placing.drop()
        self.assertEqual((self.there(), placing.commit(), len(placing)), ([], [], 0))

    def test_locked_until_placed(self) -> None:
        """Nobody goes on with a file that waits in a batch."""
        placing = self.make(sync=True)
        written = self.large()
        placing.add(0, written)
        other = Growing(self.folders, (b"f",), False, True)
        self.assertEqual(other.size, 0)
        other.remove()
        self.assertRaises(
            OSError,
            fcntl.flock,
            fd := os.open(self.path(os.fsdecode(temporary_name(b"f"))), os.O_RDONLY),
            fcntl.LOCK_SH | fcntl.LOCK_NB,
        )
        os.close(fd)
        self.assertEqual(placing.commit(), [(0, b"f")])
