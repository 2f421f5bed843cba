"""
Where a session's paths begin.
"""

from __future__ import annotations

import errno
import gc
import os
import stat

from sodiumtwist.transfer.tree import folders, spelling
from sodiumtwist.transfer.tree.roots import make_root, open_root
from sodiumtwist.transfer.tree.spelling import CaseClash, look

from .disks import TreeCase


class RootTests(TreeCase):
    """:func:`make_root` and :func:`open_root`"""

    def setUp(self) -> None:
        super().setUp()
        self.synced: list[str] = []
        self.patch(os, "fsync", lambda fd: self.synced.append(os.readlink(f"/proc/self/fd/{fd}")))
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        self.before = os.listdir("/proc/self/fd")
        self.addCleanup(lambda: self.assertEqual(os.listdir("/proc/self/fd"), self.before))

    def made(self, path: str, sync: bool = True) -> bool:
        folders, made = make_root(path, sync)
        self.assertTrue(os.path.samestat(os.stat(path), os.fstat(folders.root)))
        self.assertEqual(folders.sync_changed(), {})
        self.assertEqual(self.synced, [])
        for _ in range(2):
            folders.note_changed(())
            self.assertEqual(folders.sync_changed(), {})
        folders.close()
        return made

    def test_made(self) -> None:
        """It is made for us alone, and the disk has its name, too, when it has what is in it."""
        path = self.path("login")
        self.assertTrue(self.made(path))
        self.assertEqual((stat.S_IMODE(os.stat(path).st_mode), self.synced), (0o700, [self.root, path, path]))
        self.synced.clear()
        # Whoever has made it may have been killed before he synced it.
        self.assertFalse(self.made(path))
        self.assertEqual(self.synced, [self.root, path, path])
        self.synced.clear()
        self.assertTrue(self.made(self.path("other"), sync=False))
        self.assertEqual(self.synced, [self.path("other")] * 2)

    def test_not_above(self) -> None:
        """The one above it has to be there."""
        self.assertRaises(FileNotFoundError, make_root, self.path("a", "b"), True)
        self.assertRaises(FileNotFoundError, open_root, self.path("a"))
        self.file("f", b"")
        self.assertRaises(NotADirectoryError, make_root, self.path("f"), True)

    def test_link(self) -> None:
        """A link is followed: it is not a client's."""
        os.mkdir(self.path("a"))
        os.symlink("a", self.path("b"))
        self.assertFalse(self.made(self.path("b")))
        open_root(self.path("b")).close()

    def test_anywhere(self) -> None:
        """Any path will do."""
        for path in ("/", ".", "..", self.root + "/"):
            open_root(path).close()
            open_root(os.fsencode(path)).close()

    def test_quicker(self) -> None:
        """Of two sessions that make it one is quicker."""
        real = os.mkdir

        def late(path: str, mode: int) -> None:
            real(path, mode)
            real(path, mode)

        self.patch(os, "mkdir", late)
        self.assertFalse(self.made(self.path("a")))

    def test_case(self) -> None:
        """Two logins that differ in case have no folder together, where the file system takes them for one."""
        for name in ("bob", "Bob"):
            os.mkdir(self.path(name))
        for module in (folders, spelling):
            self.patch(module, "look", lambda name, folder: look(name.lower(), folder))
        self.patch(spelling, "names_in", lambda folder: [b"bob"])
        for work in (lambda: open_root(self.path("Bob")), lambda: make_root(self.path("Bob"), True)):
            self.assertRaises(CaseClash, work)
        open_root(self.path("bob")).close()

    def test_broken(self) -> None:
        """When the disk does not take its name, that concerns all below it, and is tried again."""
        folders, _ = make_root(self.path("a"), True)
        self.addCleanup(folders.close)
        real = os.fsync

        def broken(fd: int) -> None:
            real(fd)
            if self.synced[-1] == self.root:
                raise OSError(errno.EIO, "broken")

        self.patch(os, "fsync", broken)
        for _ in range(2):
            folders.note_changed(())
            self.assertEqual([*folders.sync_changed()], [()])
        self.assertIsNotNone(folders.sync_error)
        self.patch(os, "fsync", real)
        folders.note_changed(())
        self.assertEqual(folders.sync_changed(), {})
        self.assertEqual(self.synced, [self.root] * 3 + [self.path("a")])

    def test_unreadable_above(self) -> None:
        """Where the folder above may not be read, everything is synced; but not for what was there before."""
        self.patch(os, "sync", lambda: self.synced.append("everything"))
        real = os.open

        def no_reading(path: bytes, flags: int, *, dir_fd: int | None) -> int:
            if flags & os.O_DIRECTORY and not flags & os.O_PATH and os.fsencode(path) == os.fsencode(self.root):
                raise PermissionError(errno.EACCES, "no")
            return real(path, flags, dir_fd=dir_fd)

        self.patch(os, "open", no_reading)
        path = self.path("a")
        self.made(path)
        self.assertEqual(self.synced, ["everything", path, path])
        self.synced.clear()
        self.made(path)
        self.assertEqual(self.synced, [path, path])
