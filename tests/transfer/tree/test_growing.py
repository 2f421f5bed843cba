"""
Files that grow under a temporary name, and what was there under it.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import stat
from hashlib import blake2b

from sodiumtwist.transfer.tree import growing, temporaries
from sodiumtwist.transfer.tree.digests import DIGEST_STEP, digest_of
from sodiumtwist.transfer.tree.growing import Growing
from sodiumtwist.transfer.tree.names import is_temporary, temporary_name
from sodiumtwist.transfer.tree.spelling import look

from .disks import TreeCase

NAME = b"f"
TEMPORARY = os.fsdecode(temporary_name(NAME))
TIME = 1_700_000_000_123_456_789


def digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=32).digest()


class GrowingCase(TreeCase):
    """Lets files grow, and looks that none of their descriptors stays."""

    def setUp(self) -> None:
        super().setUp()
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        self.before = os.listdir("/proc/self/fd")
        self.addCleanup(self.none_open)

    def none_open(self) -> None:
        self.assertEqual(os.listdir("/proc/self/fd"), self.before)

    def grow(self, executable: bool = False, resume: bool = True, digests: bool = False) -> Growing:
        return Growing(self.folders, (NAME,), executable, resume, digests)

    def with_part(self, data: bytes) -> None:
        """Let an earlier try have left something."""
        grown = self.grow()
        grown.begin(0)
        grown.write(0, data)
        grown.keep()


class GrowingTests(GrowingCase):
    """:class:`~sodiumtwist.transfer.tree.growing.Growing`"""

    def test_beside_its_place(self) -> None:
        """It grows under its temporary name, and has not its own when it is finished."""
        grown = self.grow()
        self.assertEqual(grown.size, 0)
        grown.begin(0)
        grown.write(0, b"abc")
        grown.write(3, b"def")
        self.assertEqual((grown.size, self.there(), self.read(TEMPORARY)), (6, [TEMPORARY], b"abcdef"))
        self.assertEqual(grown.digest(), digest(b"abcdef"))
        written = grown.finish(6, TIME, sync=False)
        self.assertEqual(self.there(), [TEMPORARY])
        status = os.stat(self.path(TEMPORARY))
        self.assertEqual((status.st_mtime_ns, stat.S_IMODE(status.st_mode)), (TIME, 0o600))
        self.assertEqual((written.size, written.parts, written.executable, written.digest), (6, (NAME,), False, b""))
        self.assertFalse(written.synced)
        # It is not its any more.
        grown.keep()
        grown.remove()
        self.assertEqual(self.there(), [TEMPORARY])
        self.assertRaises(ValueError, grown.write, 6, b"g")
        written.temporary.remove(self.folders)
        self.assertEqual(self.there(), [])

    def test_executable(self) -> None:
        """Its owner may run it, also when an earlier try was told otherwise."""
        self.with_part(b"abc")
        grown = self.grow(executable=True)
        self.assertEqual(stat.S_IMODE(os.stat(self.path(TEMPORARY)).st_mode), 0o700)
        grown.remove()

    def test_resumed(self) -> None:
        """What was kept is there again, with its digest; as much of it is used as is wanted."""
        self.with_part(b"abcdef")
        grown = self.grow()
        self.assertEqual((grown.size, grown.digest()), (6, digest(b"abcdef")))
        grown.begin(6)
        grown.write(6, b"ghi")
        self.assertEqual(grown.digest(), digest(b"abcdefghi"))
        grown.keep()
        grown = self.grow()
        grown.digest()
        grown.begin(2)
        grown.write(2, b"xy")
        self.assertEqual((grown.digest(), self.read(TEMPORARY)), (digest(b"abxy"), b"abxy"))
        grown.keep()
        grown = self.grow()
        grown.begin(0)
        self.assertEqual((grown.size, grown.digest(), self.read(TEMPORARY)), (0, digest(b""), b""))
        grown.remove()

    def test_not_resumed(self) -> None:
        """What was kept is dropped at once."""
        self.with_part(b"abcdef")
        grown = self.grow(resume=False)
        self.assertEqual((grown.size, self.read(TEMPORARY)), (0, b""))
        grown.remove()

    def test_nothing_kept(self) -> None:
        """Of an empty one nothing stays."""
        self.grow().keep()
        self.assertEqual(self.there(), [])

    def test_removed(self) -> None:
        """Nothing stays, and to say so twice does nothing."""
        self.with_part(b"abc")
        grown = self.grow()
        grown.remove()
        grown.remove()
        grown.keep()
        self.assertEqual(self.there(), [])

    def test_holes(self) -> None:
        """What lies between is zero and takes no room, also at the end, and digests know."""
        for digests in (False, True):
            grown = self.grow(digests=digests)
            grown.begin(0)
            grown.write(0, b"a")
            grown.write(3_000_000, b"b")
            whole = b"a" + bytes(2_999_999) + b"b"
            self.assertEqual(grown.digest(), digest(whole))
            written = grown.finish(5_000_000, TIME, sync=True)
            status = os.stat(self.path(TEMPORARY))
            self.assertEqual(status.st_size, 5_000_000)
            self.assertLess(status.st_blocks * 512, 1_000_000)
            self.assertEqual(digest_of(written.temporary.fd, 5_000_000), digest(whole + bytes(1_999_999)))
            self.assertEqual(written.digest, digest(whole + bytes(1_999_999)) if digests else b"")
            written.temporary.remove(self.folders)

    def test_digest_while_written(self) -> None:
        """Where it will be asked for it is made from what passes, and nothing is read for it."""
        self.with_part(b"abc")
        grown = self.grow(digests=True)
        self.assertEqual(grown.digest(), digest(b"abc"))
        reads: list[object] = []
        real = os.pread

        def pread(*arguments: int) -> bytes:
            reads.append(arguments)
            return real(*arguments)

        self.patch(os, "pread", pread)
        grown.begin(3)
        grown.write(3, b"d" * DIGEST_STEP)
        written = grown.finish(3 + DIGEST_STEP, TIME, sync=False)
        self.assertEqual((written.digest, reads), (digest(b"abc" + b"d" * DIGEST_STEP), []))
        written.temporary.remove(self.folders)
        # What was there and has not been looked at is read then.
        self.with_part(b"abc")
        grown = self.grow(digests=True)
        grown.begin(2)
        grown.write(2, b"x")
        written = grown.finish(3, TIME, sync=False)
        self.assertEqual(written.digest, digest(b"abx"))
        written.temporary.remove(self.folders)

    def test_empty(self) -> None:
        """A file without bytes is one, too."""
        grown = self.grow(digests=True)
        grown.begin(0)
        written = grown.finish(0, TIME, sync=True)
        self.assertEqual((written.size, written.digest), (0, digest(b"")))
        written.temporary.remove(self.folders)

    def test_no_overlap(self) -> None:
        """Pieces come in order."""
        grown = self.grow()
        grown.begin(0)
        grown.write(0, b"abc")
        self.assertRaises(ValueError, grown.write, 2, b"x")
        grown.remove()

    def test_written_in_parts(self) -> None:
        """All of a piece is written, however little the system takes at once."""
        real = os.pwrite
        self.patch(os, "pwrite", lambda fd, data, offset: real(fd, memoryview(data)[:2], offset))
        grown = self.grow()
        grown.begin(0)
        grown.write(0, b"abc")
        grown.write(3, memoryview(b"defg"))
        self.assertEqual(self.read(TEMPORARY), b"abcdefg")
        grown.remove()

    def test_full_disk(self) -> None:
        """It is told, and what was written stays for whoever keeps it."""
        grown = self.grow()
        grown.begin(0)
        grown.write(0, b"abc")

        def full(*arguments: object) -> int:
            raise OSError(errno.ENOSPC, "full")

        self.patch(os, "pwrite", full)
        self.assertEqual(self.assertRaises(OSError, grown.write, 3, b"d").errno, errno.ENOSPC)
        grown.keep()
        self.assertEqual(self.read(TEMPORARY), b"abc")

    def test_synced(self) -> None:
        """It is synced behind its last change; and what the disk refuses is not kept."""
        calls: list[str] = []
        self.patch(growing, "sync_if_possible", lambda fd: calls.append("sync"))
        grown = self.grow()
        grown.begin(0)
        grown.write(0, b"abc")
        written = grown.finish(3, TIME, sync=True)
        self.assertEqual((calls, written.synced), (["sync"], True))
        written.temporary.remove(self.folders)

        def broken(fd: int) -> None:
            raise OSError(errno.EIO, "broken")

        self.patch(growing, "sync_if_possible", broken)
        grown = self.grow()
        grown.begin(0)
        grown.write(0, b"abc")
        self.assertRaises(OSError, grown.finish, 3, TIME, True)
        self.assertEqual(self.there(), [])
        grown.keep()

    def test_cannot_begin(self) -> None:
        """What can't be dropped is not used."""
        self.with_part(b"abc")

        def broken(*arguments: int) -> None:
            raise OSError(errno.EIO, "broken")

        self.patch(os, "ftruncate", broken)
        self.assertRaises(OSError, self.grow, resume=False)


class TwoSessionsTests(GrowingCase):
    """Two that send the same file."""

    def test_apart(self) -> None:
        """The second one has a name of its own, and nothing of it is kept when it breaks off."""
        self.with_part(b"abc")
        first, second = self.grow(), self.grow()
        self.assertEqual((first.size, second.size), (3, 0))
        second.begin(0)
        second.write(0, b"second")
        self.assertEqual(self.read(TEMPORARY), b"abc")
        others = [name for name in self.there() if name != TEMPORARY]
        self.assertEqual(len(others), 1)
        self.assertTrue(is_temporary(os.fsencode(others[0])))
        second.keep()
        first.keep()
        self.assertEqual(self.there(), [TEMPORARY])
        third = self.grow()
        self.assertEqual(third.size, 3)
        third.remove()

    def test_renamed_while_it_waits(self) -> None:
        """Between opening and locking it may have become the file: then it is nobody's part any more."""
        self.with_part(b"abc")
        real = fcntl.flock

        def late(fd: int, operation: int) -> None:
            self.patch(fcntl, "flock", real)
            os.rename(self.path(TEMPORARY), self.path("f"))
            real(fd, operation)

        self.patch(fcntl, "flock", late)
        grown = self.grow()
        grown.begin(0)
        grown.write(0, b"x")
        self.assertEqual((self.read("f"), self.read(TEMPORARY)), (b"abc", b"x"))
        grown.remove()

    def test_replaced_again_and_again(self) -> None:
        """Who loses each race takes another name."""
        self.with_part(b"abc")
        real = fcntl.flock

        def late(fd: int, operation: int) -> None:
            os.unlink(self.path(TEMPORARY))
            self.file(TEMPORARY, b"other")
            real(fd, operation)

        self.patch(fcntl, "flock", late)
        self.with_size(0)

    def test_no_locks(self) -> None:
        """Where there are none, nothing is shared."""
        self.with_part(b"abc")

        def none(*arguments: int) -> None:
            raise OSError(errno.ENOLCK, "no locks")

        self.patch(fcntl, "flock", none)
        self.with_size(0)
        self.assertEqual(self.there(), [TEMPORARY])

    def with_size(self, size: int) -> None:
        grown = self.grow()
        self.assertEqual(grown.size, size)
        grown.keep()


class HostileTests(GrowingCase):
    """What others put under the temporary name."""

    def setUp(self) -> None:
        super().setUp()
        self.outside = os.path.abspath(self.mktemp())
        with open(self.outside, "wb") as file:
            file.write(b"secret")

    def left_alone(self) -> None:
        """Let a file grow; what is there is not touched."""
        before = os.lstat(self.path(TEMPORARY))
        grown = self.grow(executable=True, resume=False)
        self.assertEqual(grown.size, 0)
        grown.begin(0)
        grown.write(0, b"new")
        written = grown.finish(3, TIME, sync=False)
        written.temporary.remove(self.folders)
        after = os.lstat(self.path(TEMPORARY))
        self.assertEqual(
            (before.st_ino, before.st_mtime_ns, before.st_mode), (after.st_ino, after.st_mtime_ns, after.st_mode)
        )
        self.assertEqual(self.there(), [TEMPORARY])
        with open(self.outside, "rb") as file:
            self.assertEqual(file.read(), b"secret")

    def test_link(self) -> None:
        """A link is not followed."""
        os.symlink(self.outside, self.path(TEMPORARY))
        self.left_alone()

    def test_hard_link(self) -> None:
        """What has a second name may be any file of ours."""
        os.link(self.outside, self.path(TEMPORARY))
        self.left_alone()
        self.assertEqual(os.stat(self.outside).st_mode & 0o777, os.stat(self.path(TEMPORARY)).st_mode & 0o777)

    def test_no_file(self) -> None:
        """A FIFO is not waited for, and a folder is none."""
        os.mkfifo(self.path(TEMPORARY))
        self.left_alone()
        os.unlink(self.path(TEMPORARY))
        os.mkdir(self.path(TEMPORARY))
        self.left_alone()

    def test_others_file(self) -> None:
        """What is another user's would stay his."""
        self.file(TEMPORARY, b"his")
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        self.left_alone()

    def test_swapped_in(self) -> None:
        """So it is with what comes between the look and the opening."""
        real = look
        makes = {
            "dangling link": lambda: os.symlink(f"{self.outside}.new", self.path(TEMPORARY)),
            "link": lambda: os.symlink(self.outside, self.path(TEMPORARY)),
            "hard link": lambda: os.link(self.outside, self.path(TEMPORARY)),
            "FIFO": lambda: os.mkfifo(self.path(TEMPORARY)),
            "folder": lambda: os.mkdir(self.path(TEMPORARY)),
        }
        for kind, make in makes.items():

            def swap(name: bytes, folder: int) -> os.stat_result:
                self.patch(temporaries, "look", real)
                make()  # noqa: B023
                raise FileNotFoundError

            self.patch(temporaries, "look", swap)
            grown = self.grow()
            grown.begin(0)
            grown.write(0, b"new")
            grown.keep()
            self.assertEqual(self.there(), [TEMPORARY], kind)
            with open(self.outside, "rb") as file:
                self.assertEqual(file.read(), b"secret")
            self.assertFalse(os.path.exists(f"{self.outside}.new"))
            (os.rmdir if kind == "folder" else os.unlink)(self.path(TEMPORARY))

    def test_unwritable_part(self) -> None:
        """One that was made read-only is left; where nothing can be made, that is told."""
        self.file(TEMPORARY, b"old")
        real = os.open
        refused = [TEMPORARY]

        def no(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if not refused or os.fsdecode(path) in refused:
                raise PermissionError(errno.EACCES, "no")
            return real(path, flags, mode, dir_fd=dir_fd)

        self.patch(os, "open", no)
        self.left_alone()
        refused.clear()
        self.assertRaises(PermissionError, self.grow)

    def test_swapped_while_it_grows(self) -> None:
        """What has its name then is not removed for it."""
        grown = self.grow()
        grown.begin(0)
        grown.write(0, b"abc")
        os.unlink(self.path(TEMPORARY))
        self.file(TEMPORARY, b"other")
        grown.remove()
        self.assertEqual(self.read(TEMPORARY), b"other")

    def test_folder_gone(self) -> None:
        """Nothing is done in a folder that is another one now."""
        self.folders.make((b"a",))
        grown = Growing(self.folders, (b"a", NAME), False, True)
        grown.begin(0)
        grown.write(0, b"abc")
        os.rename(self.path("a"), self.path("b"))
        grown.remove()
        self.assertEqual(self.there(), ["b"])
        self.folders.close()
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        self.before = os.listdir("/proc/self/fd")

    def test_folder_made_again(self) -> None:
        """A folder that was removed and made again is found."""
        self.folders.make((b"a",))
        self.folders.open((b"a",))
        os.rmdir(self.path("a"))
        os.mkdir(self.path("a"))
        grown = Growing(self.folders, (b"a", NAME), False, True)
        grown.begin(0)
        grown.write(0, b"abc")
        grown.keep()
        self.assertEqual(self.there("a"), [TEMPORARY])
        self.folders.forget(())


class NameTests(GrowingCase):
    """Names that are hard to store."""

    def test_long(self) -> None:
        """The longest name has a temporary one."""
        grown = Growing(self.folders, (b"x" * 255,), False, True)
        grown.begin(0)
        grown.remove()

    def test_refused(self) -> None:
        """What the file system says of a name is told."""
        real = os.open

        def no(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if b"*" in os.fsencode(path):
                raise OSError(errno.EINVAL, "no")
            return real(path, flags, mode, dir_fd=dir_fd)

        self.patch(os, "open", no)
        error = self.assertRaises(OSError, Growing, self.folders, (b"a*b",), False, True)
        self.assertEqual(error.errno, errno.EINVAL)
