"""
Folders below a root, and what others put into them.
"""

from __future__ import annotations

import errno
import gc
import os
import shutil
import stat
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree import folders as tested, spelling
from sodiumtwist.transfer.tree.descriptors import HELD, Held
from sodiumtwist.transfer.tree.folders import FEW_OPEN_FOLDERS, OPEN_FOLDERS, Folders
from sodiumtwist.transfer.tree.spelling import CaseClash, kind_of, look, other_spellings

from .disks import TreeCase


def mode(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


class FolderTests(TreeCase):
    """What is opened, made and looked at."""

    def test_make(self) -> None:
        """A folder is made where it is missing, for us alone, and not the one above it."""
        self.assertTrue(self.folders.make((b"a",)))
        self.assertTrue(self.folders.make((b"a", b"b")))
        self.assertFalse(self.folders.make((b"a", b"b")))
        self.assertEqual(mode(self.path("a", "b")), 0o700)
        self.assertRaises(FileNotFoundError, self.folders.make, (b"c", b"d"))

    def test_used(self) -> None:
        """One that is there is used as it is."""
        os.mkdir(self.path("a"))
        os.chmod(self.path("a"), 0o755)
        self.assertFalse(self.folders.make((b"a",)))
        self.assertEqual(mode(self.path("a")), 0o755)

    def test_open(self) -> None:
        """The descriptor is that of the folder, and the same while it is open."""
        os.makedirs(self.path("a", "b"))
        fd = self.folders.open((b"a", b"b"))
        self.assertEqual(os.readlink(f"/proc/self/fd/{fd}"), self.path("a", "b"))
        self.assertEqual(self.folders.open((b"a", b"b")), fd)
        self.assertEqual(os.readlink(f"/proc/self/fd/{self.folders.open(())}"), self.root)
        self.assertFalse(os.get_inheritable(fd))

    def test_few_descriptors(self) -> None:
        """However many folders there are, however deep: some are open, and the others are opened again."""
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        before = len(os.listdir("/proc/self/fd"))
        deep = tuple(b"%d" % number for number in range(60))
        os.makedirs(self.path(*map(os.fsdecode, deep)))
        for number in range(100):
            self.folders.make((b"x%d" % number,))
            self.folders.open((b"x%d" % number,))
            self.folders.open(deep)
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before + OPEN_FOLDERS)
        # Others hold too many.
        self.patch(Held, "too_many", True)
        for parts in ((b"x0",), deep, (b"x1",), deep):
            fd = self.folders.open(parts)
            self.assertEqual(os.readlink(f"/proc/self/fd/{fd}"), self.path(*map(os.fsdecode, parts)))
            self.assertLessEqual(len(os.listdir("/proc/self/fd")), before + FEW_OPEN_FOLDERS)
        held = HELD._count
        self.folders.close()
        self.folders.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before - 1)
        self.assertEqual(HELD._count, held - FEW_OPEN_FOLDERS)

    def test_root_by_descriptor(self) -> None:
        """It stays the caller's."""
        os.mkdir(self.path("a"))
        fd = os.open(self.root, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        folders = Folders(fd)
        folders.open((b"a",))
        folders.close()
        os.fstat(fd)

    def test_no_root(self) -> None:
        """What is no folder is none."""
        self.file("f", b"")
        self.assertRaises(FileNotFoundError, Folders, self.path("missing"))
        self.assertRaises(NotADirectoryError, Folders, self.path("f"))

    def test_status(self) -> None:
        """What is there, or that nothing is."""
        os.makedirs(self.path("a", "b"))
        self.file("a/f", b"12345")
        found = self.folders.status((b"a", b"f"))
        assert found is not None
        self.assertEqual(found.st_size, 5)
        os.symlink("f", self.path("a", "link"))
        for path, is_that in [((b"a", b"link"), stat.S_ISLNK), ((b"a", b"b"), stat.S_ISDIR), ((), stat.S_ISDIR)]:
            found = self.folders.status(path)
            assert found is not None
            self.assertTrue(is_that(found.st_mode))
        for missing in ((b"a", b"x"), (b"x", b"y"), (b"a", b"x", b"y")):
            self.assertIsNone(self.folders.status(missing))

    def test_set_time(self) -> None:
        """To the nanosecond."""
        self.folders.make((b"a",))
        for time in (1_700_000_000_123_456_789, 0, -1_500_000_000):
            self.folders.set_time((b"a",), time)
            self.assertEqual(os.stat(self.path("a")).st_mtime_ns, time)

    def test_remove(self) -> None:
        """The file that is meant, and no other one that has got its name."""
        self.file("f", b"1")
        before = os.stat(self.path("f"))
        os.rename(self.path("f"), self.path("g"))
        self.file("f", b"2")
        self.folders.remove((b"f",), before)
        self.assertTrue(os.path.exists(self.path("f")))
        self.folders.remove((b"f",))
        self.assertFalse(os.path.exists(self.path("f")))

    def test_refused_names(self) -> None:
        """What the file system says of a name is told, and nothing stays open for it."""
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        before = os.listdir("/proc/self/fd")
        for number in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):

            def refuse(*arguments: object, number: int = number, **keywords: object) -> None:
                raise OSError(number, "no")

            self.patch(os, "mkdir", refuse)
            error = self.assertRaises(OSError, self.folders.make, (b"a",))
            self.assertEqual(error.errno, number)
        self.assertRaises(OSError, self.folders.status, (b"x" * 256,))
        self.assertRaises(OSError, self.folders.open, (b"x" * 256,))
        self.assertEqual(os.listdir("/proc/self/fd"), before)


class HostileTests(TreeCase):
    """What others put where a folder or file should be."""

    def setUp(self) -> None:
        super().setUp()
        self.outside = self.mktemp()
        os.makedirs(os.path.join(self.outside, "sub"))

    def use(self, parts: tuple[bytes, ...]) -> list[Callable[[], object]]:
        below = (*parts, b"x")
        return [
            lambda: self.folders.open(parts),
            lambda: self.folders.make(parts),
            lambda: self.folders.make(below),
            lambda: self.folders.status(below),
            lambda: self.folders.open_file(below),
            lambda: self.folders.set_time(parts, 0),
        ]

    def test_no_way_through(self) -> None:
        """A link, also to a folder, and whatever else there is: it is named."""
        os.symlink(os.path.abspath(self.outside), self.path("link"))
        os.symlink("nowhere", self.path("dangling"))
        os.mkfifo(self.path("fifo"))
        self.file("file", b"")
        for name, kind in [("link", "a link"), ("dangling", "a link"), ("fifo", "a FIFO"), ("file", "a file")]:
            for work in self.use((os.fsencode(name),)):
                error = self.assertRaises(NotADirectoryError, work)
                self.assertEqual(error.strerror, f"{kind} is there, and no folder")
        # A link on the way is none either.
        self.assertRaises(NotADirectoryError, self.folders.open, (b"link", b"sub"))
        self.assertEqual(os.listdir(self.outside), ["sub"])
        self.assertEqual(os.listdir(os.path.join(self.outside, "sub")), [])

    def test_swapped_while_open(self) -> None:
        """A link that takes a folder's place leads nowhere: the folder stays open, and then it is refused."""
        self.folders.make((b"a",))
        self.folders.open((b"a",))
        os.rename(self.path("a"), self.path("b"))
        os.symlink(os.path.abspath(self.outside), self.path("a"))
        self.folders.make((b"a", b"x"))
        self.assertEqual(os.listdir(self.path("b")), ["x"])
        again = Folders(self.root)
        self.addCleanup(again.close)
        self.assertRaises(NotADirectoryError, again.make, (b"a", b"x"))
        self.assertEqual(os.listdir(self.outside), ["sub"])

    def test_swapped_meanwhile(self) -> None:
        """So does one that comes between the look and the use."""
        self.folders.make((b"a",))
        real = os.mkdir

        def swap(*arguments: object, **keywords: object) -> None:
            os.rmdir(self.path("a"))
            os.symlink(os.path.abspath(self.outside), self.path("a"))
            real(*arguments, **keywords)  # type: ignore[arg-type]

        self.patch(os, "mkdir", swap)
        self.assertRaises(NotADirectoryError, self.folders.make, (b"a",))

    def test_open_file(self) -> None:
        """Regular files alone are opened, and nothing waits for what has no reader."""
        self.file("f", b"123")
        fd = self.folders.open_file((b"f",))
        self.addCleanup(os.close, fd)
        self.assertEqual(os.read(fd, 5), b"123")
        os.symlink("f", self.path("link"))
        os.mkfifo(self.path("fifo"))
        os.mkdir(self.path("d"))
        for name, kind in [(b"link", "a link"), (b"fifo", "a FIFO"), (b"d", "a folder")]:
            error = self.assertRaises(OSError, self.folders.open_file, (name,))
            self.assertEqual(error.strerror, f"{kind} is there, and no file")

    def test_file_swapped_meanwhile(self) -> None:
        """Nor is what has just come in its place."""
        self.file("f", b"")
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        before = os.listdir("/proc/self/fd")
        real = look

        def swap(name: bytes, folder: int) -> os.stat_result:
            found = real(name, folder)
            os.unlink(self.path("f"))
            self.make()
            return found

        self.patch(tested, "look", swap)
        makes = [lambda: os.mkfifo(self.path("f")), lambda: os.symlink("/etc/passwd", self.path("f"))]
        for make in makes:
            self.make = make
            self.assertRaises(OSError, self.folders.open_file, (b"f",))
        self.assertEqual(os.listdir("/proc/self/fd"), before)


class CaseTests(TreeCase):
    """File systems that take two spellings of a name for one."""

    def fold(self) -> None:
        """Let this file system be such a one, as far as looking and making goes."""
        real = look

        def spelled(name: bytes, folder: int) -> bytes:
            for each in os.listdir(folder):
                if each.casefold() == os.fsdecode(name).casefold():
                    return os.fsencode(each)
            return name

        for module in (tested, spelling):
            self.patch(module, "look", lambda name, folder: real(spelled(name, folder), folder))
        real_mkdir, real_open = os.mkdir, os.open

        def mkdir(path: bytes, mode: int, *, dir_fd: int) -> None:
            real_mkdir(spelled(path, dir_fd), mode, dir_fd=dir_fd)

        def opened(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            return real_open(path if dir_fd is None else spelled(path, dir_fd), flags, mode, dir_fd=dir_fd)

        self.patch(os, "mkdir", mkdir)
        self.patch(os, "open", opened)

    def test_noticed(self) -> None:
        """A file or folder whose name is there in other letters is not taken for it."""
        self.fold()
        self.file("Readme", b"")
        self.file("Ärger", b"")
        self.folders.make((b"Photos",))
        for work in (
            lambda: self.folders.status((b"README",)),
            lambda: self.folders.make((b"photos",)),
            lambda: self.folders.open((b"photos",)),
            lambda: self.folders.make((b"photos", b"a")),
            lambda: self.folders.status((b"photos", b"a")),
            lambda: self.folders.status(("ärger".encode(),)),
        ):
            self.assertRaises(CaseClash, work)
        error = self.assertRaises(CaseClash, self.folders.status, (b"reADME",))
        self.assertEqual(error.strerror, "it differs only in case from 'Readme', which is there")
        self.assertEqual(error.errno, errno.EEXIST)

    def test_exact(self) -> None:
        """By its own name it is found."""
        self.fold()
        self.file("Readme", b"")
        self.folders.make((b"Photos",))
        self.assertIsNotNone(self.folders.status((b"Readme",)))
        self.assertFalse(self.folders.make((b"Photos",)))

    def test_two_files(self) -> None:
        """Where letters count there are two, hard links or not."""
        self.file("a", b"1")
        self.file("A", b"22")
        os.link(self.path("a"), self.path("b"))
        os.link(self.path("a"), self.path("B"))
        for name, size in [("a", 1), ("A", 2), ("b", 1), ("B", 1)]:
            found = self.folders.status((os.fsencode(name),))
            assert found is not None
            self.assertEqual(found.st_size, size)

    def test_listed_seldom(self) -> None:
        """A folder is not listed for each of its files, and where letters count one look for each folder is enough."""
        looks: list[bytes] = []
        real = look

        def noted(name: bytes, folder: int) -> os.stat_result:
            looks.append(name)
            return real(name, folder)

        for name in "abc":
            self.file(name, b"")
        for module in (tested, spelling):
            self.patch(module, "look", noted)
        self.patch(spelling, "names_in", None)
        for parts in ((b"a",), (b"b",), (b"c",)):
            self.folders.status(parts)
        self.assertEqual(looks, [b"a", b"A", b"b", b"c"])

    def test_accents(self) -> None:
        """An accent may be a character of its own. That is one more look for each such name."""
        composed, apart = "é".encode(), "e\u0301".encode()
        self.assertIn(apart, other_spellings(composed))
        self.assertIn(composed, other_spellings(apart))
        self.assertEqual(other_spellings(b"1.2"), [])
        self.assertEqual(other_spellings(b"a\xff"), [b"A\xff"])
        for name in ("a", "é"):
            self.file(name, b"")
        self.assertIsNotNone(self.folders.status((b"a",)))
        looks: list[bytes] = []
        real = look

        def noted(name: bytes, folder: int) -> os.stat_result:
            looks.append(name)
            return real(name, folder)

        for module in (tested, spelling):
            self.patch(module, "look", noted)
        self.assertIsNotNone(self.folders.status((composed,)))
        self.assertIn(apart, looks)

    def test_unlisted(self) -> None:
        """Where the folder can't be listed, nothing is said against its files."""
        self.fold()
        self.file("a", b"")
        self.folders._root.readable = False
        self.assertIsNotNone(self.folders.status((b"a",)))


class SyncTests(TreeCase):
    """Which folders are synced."""

    def setUp(self) -> None:
        super().setUp()
        self.synced: list[str] = []
        self.broken = ""
        self.patch(tested, "sync_if_possible", self.sync)

    def sync(self, fd: int) -> None:
        where = os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), self.root)
        self.synced.append(where)
        if where == self.broken:
            raise OSError(errno.EIO, "broken")

    def test_changed(self) -> None:
        """Those where something was made, once."""
        self.folders.make((b"a",))
        self.folders.make((b"a", b"b"))
        self.folders.make((b"a", b"c"))
        self.folders.note_changed((b"a", b"b"))
        self.assertEqual(self.folders.sync_changed(), {})
        self.assertEqual(sorted(self.synced), [".", "a", "a/b"])
        self.synced.clear()
        self.assertEqual(self.folders.sync_changed(), {})
        self.assertEqual(self.synced, [])

    def test_relied_on(self) -> None:
        """A folder that was there may not be on the disk yet, so those above it are synced, too; once."""
        os.makedirs(self.path("a", "b"))
        self.folders.note_changed((b"a", b"b"))
        self.folders.sync_changed()
        self.assertEqual(sorted(self.synced), [".", "a", "a/b"])
        self.synced.clear()
        self.folders.note_changed((b"a", b"b"))
        self.folders.sync_changed()
        self.assertEqual(self.synced, ["a/b"])

    def test_not_all_remembered(self) -> None:
        """Of a great many folders some are forgotten, and synced again."""
        self.patch(tested, "KNOWN_FOLDERS", 2)
        for name in (b"a", b"b", b"c", b"d"):
            self.folders.make((name,))
        self.folders.sync_changed()
        self.synced.clear()
        self.folders.note_changed((b"a",))
        self.folders.sync_changed()
        self.assertEqual(sorted(self.synced), [".", "a"])

    def test_broken(self) -> None:
        """What fails is told, the others are synced, and the next time nothing is taken for done."""
        for parts in ((b"a",), (b"a", b"b"), (b"c",)):
            self.folders.make(parts)
            self.folders.note_changed(parts)
        self.broken = "a"
        failed = self.folders.sync_changed()
        self.assertEqual({parts: error.errno for parts, error in failed.items()}, {(b"a",): errno.EIO})
        self.assertEqual(sorted(self.synced), [".", "a", "a/b", "c"])
        # It concerns more than what was put there just now, and is remembered for the end.
        self.assertIs(self.folders.sync_error, failed[(b"a",)])
        self.broken = ""
        self.synced.clear()
        self.folders.note_changed((b"a", b"b"))
        self.assertEqual(self.folders.sync_changed(), {})
        self.assertEqual(sorted(self.synced), [".", "a", "a/b"])

    def test_moved(self) -> None:
        """What was done in a folder that has another place by now is not where it should be."""
        for sync in (self.folders.sync_changed, self.folders.forget_changed):
            for parts in ((b"a",), (b"a", b"b"), (b"c",)):
                self.folders.make(parts)
            self.folders.sync_changed()
            for parts in ((b"a",), (b"a", b"b"), (b"c",)):
                self.folders.open(parts)
                self.folders.note_changed(parts)
            self.assertEqual(sync(), {})
            for parts in ((b"a", b"b"), (b"c",)):
                self.folders.note_changed(parts)
            os.rename(self.path("a"), self.path("moved"))
            os.symlink("moved", self.path("a"))
            failed = sync()
            self.assertEqual([*failed], [(b"a", b"b")])
            self.assertEqual(failed[b"a", b"b"].strerror, "a link is there, and no folder")
            # With a folder in its place, that is used from now on.
            os.unlink(self.path("a"))
            self.folders.make((b"a",))
            self.folders.make((b"a", b"b"))
            self.assertEqual(sync(), {})
            self.assertEqual(self.there("a"), ["b"])
            self.folders.open((b"a", b"b"))
            self.folders.note_changed((b"a", b"b"))
            os.rename(self.path("a"), self.path("other"))
            os.rename(self.path("moved"), self.path("a"))
            self.assertEqual(
                [(each, error.strerror) for each, error in sync().items()],
                [((b"a", b"b"), "its folder was moved meanwhile")],
            )
            self.folders.forget(())
            for name in ("a", "other", "c"):
                shutil.rmtree(self.path(name))

    def test_noted_before_opened(self) -> None:
        """What a folder was is known once it is open."""
        os.mkdir(self.path("a"))
        self.folders.note_changed((b"a",))
        self.folders.open((b"a",))
        self.folders.note_changed((b"a",))
        os.rename(self.path("a"), self.path("b"))
        os.mkdir(self.path("a"))
        self.assertEqual([*self.folders.sync_changed()], [(b"a",)])

    def test_forget(self) -> None:
        """A folder is opened anew, and those below it."""
        os.makedirs(self.path("a", "b"))
        self.folders.open((b"a", b"b"))
        os.rename(self.path("a"), self.path("c"))
        os.mkdir(self.path("a"))
        self.folders.forget((b"a",))
        self.assertRaises(FileNotFoundError, self.folders.open, (b"a", b"b"))

    def test_gone(self) -> None:
        """A folder that was taken away has failed."""
        self.folders.note_changed((b"a",))
        self.assertEqual(list(self.folders.sync_changed()), [(b"a",)])

    def test_forgotten(self) -> None:
        """Without syncing nothing piles up."""
        self.folders.make((b"a",))
        self.folders.forget_changed()
        self.folders.sync_changed()
        self.assertEqual(self.synced, [])


class RightsTests(TreeCase):
    """Folders that may not be read, or not be written to. No test needs root, nor must have another user."""

    def test_entered_only(self) -> None:
        """One that may be entered and not be read is a good place; to sync it, everything is."""
        os.mkdir(self.path("a"))
        real = os.open

        def no_reading(path: bytes, flags: int, *, dir_fd: int | None) -> int:
            if flags & os.O_DIRECTORY and not flags & os.O_PATH:
                raise PermissionError(errno.EACCES, "no")
            return real(path, flags, dir_fd=dir_fd)

        self.patch(os, "open", no_reading)
        folders = Folders(self.root)
        self.addCleanup(folders.close)
        self.assertFalse(folders.root_readable)
        self.assertTrue(folders.make((b"a", b"b")))
        calls: list[str] = []
        self.patch(os, "sync", lambda: calls.append("sync"))
        self.assertEqual(folders.sync_changed(), {})
        self.assertEqual(calls, ["sync"])
        self.patch(tested, "_SEARCHED", None)
        self.assertRaises(PermissionError, Folders, self.root)

    def test_read_only(self) -> None:
        """What the system refuses is told as it is."""

        def refuse(*arguments: object, **keywords: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        self.patch(os, "mkdir", refuse)
        self.assertEqual(self.assertRaises(OSError, self.folders.make, (b"a",)).errno, errno.EROFS)


class KindTests(SynchronousTestCase):
    """:func:`~sodiumtwist.transfer.tree.spelling.kind_of`"""

    def test_kinds(self) -> None:
        """Each has a name."""
        for kind, name in [
            (stat.S_IFREG, "a file"),
            (stat.S_IFDIR, "a folder"),
            (stat.S_IFLNK, "a link"),
            (stat.S_IFIFO, "a FIFO"),
            (stat.S_IFSOCK, "a socket"),
            (stat.S_IFCHR, "a device"),
            (stat.S_IFBLK, "a device"),
        ]:
            self.assertEqual(kind_of(kind | 0o644), name)
