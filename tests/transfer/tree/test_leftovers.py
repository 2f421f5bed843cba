"""
What broken transfers have left behind.
"""

from __future__ import annotations

import gc
import os
import time

from sodiumtwist.transfer.tree.folders import Folders
from sodiumtwist.transfer.tree.growing import Growing
from sodiumtwist.transfer.tree.leftovers import remove_old
from sodiumtwist.transfer.tree.names import temporary_name

from .disks import TreeCase


class LeftoverTests(TreeCase):
    """:func:`~sodiumtwist.transfer.tree.leftovers.remove_old`"""

    def leave(self, *names: bytes) -> str:
        """Let a transfer break off; the last name is the file's."""
        for length in range(1, len(names)):
            self.folders.make(names[:length])
        grown = Growing(self.folders, names, False, True)
        grown.begin(0)
        grown.write(0, b"part")
        grown.keep()
        return os.fsdecode(b"/".join((*names[:-1], temporary_name(names[-1]))))

    def remove(self, age: float = 10, later: float = 1000) -> list[str]:
        return sorted(remove_old(self.root, age, time.time() + later))

    def test_any_depth(self) -> None:
        """They go wherever they are, and are named; whole files and folders stay."""
        deep = [b"%d" % number for number in range(40)]
        left = sorted([self.leave(b"f"), self.leave(b"a", b"f"), self.leave(*deep, b"f"), self.leave(b"a", b"x" * 255)])
        self.file("a/whole", b"")
        self.file(".hidden.part", b"")
        self.assertEqual(self.remove(), left)
        self.assertEqual(self.there("a"), ["whole"])
        self.assertEqual(self.there(), [".hidden.part", "0", "a"])
        self.assertEqual(self.remove(), [])

    def test_young(self) -> None:
        """Those that are not so old stay."""
        left = self.leave(b"f")
        self.assertEqual(self.remove(age=2000), [])
        self.assertEqual(self.there(), [left])

    def test_time_of_the_sender(self) -> None:
        """What counts is when it has changed here, and not what a sender says of its file."""
        left = self.leave(b"f")
        os.utime(self.path(left), (0, 0))
        self.assertEqual(self.remove(age=2000), [])

    def test_being_written(self) -> None:
        """One that grows stays, however slowly."""
        self.leave(b"f")
        growing = Growing(self.folders, (b"f",), False, True)
        self.assertEqual(self.remove(), [])
        growing.keep()
        self.assertEqual(len(self.remove()), 1)

    def test_not_ours(self) -> None:
        """What is another user's stays, and what is no file, also when it is swapped in."""
        left = self.leave(b"f")
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        self.assertEqual(self.remove(), [])
        self.patch(os, "geteuid", os.getuid)
        os.unlink(self.path(left))
        for make, name in [
            (os.mkfifo, ".fifo.01234567.part"),
            (os.mkdir, ".folder.01234567.part"),
            (lambda path: os.symlink("/etc/passwd", path), ".link.01234567.part"),
        ]:
            make(self.path(name))
        self.assertEqual(self.remove(), [])
        self.assertEqual(len(self.there()), 3)

    def test_links_not_followed(self) -> None:
        """Nothing outside is looked at."""
        outside = self.mktemp()
        os.mkdir(outside)
        left = os.path.join(outside, os.path.basename(self.leave(b"f")))
        os.rename(self.path(os.path.basename(left)), left)
        os.symlink(os.path.abspath(outside), self.path("link"))
        self.assertEqual(self.remove(), [])
        self.assertTrue(os.path.exists(left))

    def test_shown(self) -> None:
        """Odd names are fit for a log."""
        self.leave(b"a\n\xff")
        [shown] = self.remove()
        self.assertRegex(shown, r"\A\.a\\n\\xff\.[0-9a-f]{8}\.part\Z")

    def test_unreadable(self) -> None:
        """What can't be read or removed is passed over; without the folder itself there is an error."""
        left = [self.leave(b"a", b"f"), self.leave(b"b", b"f")]
        real = Folders.open

        def refuse(folders: Folders, parts: tuple[bytes, ...]) -> int:
            if parts == (b"a",):
                raise PermissionError
            return real(folders, parts)

        self.patch(Folders, "open", refuse)
        self.assertEqual(self.remove(), left[1:])
        self.assertRaises(FileNotFoundError, remove_old, self.path("missing"), 0, 0)

    def test_few_descriptors(self) -> None:
        """All are closed."""
        for number in range(50):
            self.leave(b"%d" % number, b"f")
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        before = os.listdir("/proc/self/fd")
        self.assertEqual(len(self.remove()), 50)
        self.assertEqual(os.listdir("/proc/self/fd"), before)
