"""
Calls of the system that Python lacks.
"""

from __future__ import annotations

import ctypes
import errno
import os

from sodiumtwist.transfer.tree import system_calls as tested
from sodiumtwist.transfer.tree.system_calls import can_sync_file_systems, rename_new, sync_file_system

from .disks import TreeCase


class SystemCallTests(TreeCase):
    """What they do where they are there, and where they are not."""

    def setUp(self) -> None:
        super().setUp()
        can_sync_file_systems.cache_clear()
        self.addCleanup(can_sync_file_systems.cache_clear)

    def release(self, system: str, release: str) -> bool:
        """Whether such a system can sync file systems, and tell of errors."""
        self.patch(os, "uname", lambda: os.uname_result((system, "", release, "", "")))
        can_sync_file_systems.cache_clear()
        return can_sync_file_systems()

    def test_which_systems(self) -> None:
        """Older kernels do not tell of errors, and so are no help."""
        self.patch(tested, "_function", lambda name: print)
        for system, release, can in [
            ("Linux", "5.8.0", True),
            ("Linux", "6.18.44-fc", True),
            ("Linux", "10.0", True),
            ("Linux", "5.7.19", False),
            ("Linux", "4.19", False),
            ("Linux", "odd", False),
            ("Darwin", "23.1.0", False),
        ]:
            self.assertEqual(self.release(system, release), can, release)

    def test_missing(self) -> None:
        """A library without the call, or none at all, is told as a system without it."""
        tested._function.cache_clear()
        self.addCleanup(tested._function.cache_clear)
        self.assertIsNone(tested._function("no_such_call"))
        self.patch(tested, "_function", lambda name: None)
        self.assertFalse(self.release("Linux", "6.0"))
        for call in (lambda: sync_file_system(0), lambda: rename_new(0, b"a", b"b")):
            self.assertEqual(self.assertRaises(OSError, call).errno, errno.ENOSYS)

    def test_no_library(self) -> None:
        """Where the system's library can't be had this way, the calls are missing."""
        tested._function.cache_clear()
        self.addCleanup(tested._function.cache_clear)

        def none(*arguments: object, **keywords: object) -> None:
            raise OSError("no library")

        self.patch(ctypes, "CDLL", none)
        self.assertIsNone(tested._function("syncfs"))

    def test_sync(self) -> None:
        """It is called, and tells what it can't do."""
        if not can_sync_file_systems():
            self.assertRaises(OSError, sync_file_system, -1)
            return
        self.patch(tested, "_function", lambda name: self.failing)
        ctypes.set_errno(errno.EIO)
        self.assertEqual(self.assertRaises(OSError, sync_file_system, 5).errno, errno.EIO)

    def failing(self, *arguments: object) -> int:
        return -1

    def test_bad_descriptor(self) -> None:
        """The system's own answer is an error of the right number."""
        error = self.assertRaises(OSError, sync_file_system, -1)
        self.assertIn(error.errno, (errno.EBADF, errno.ENOSYS))

    def test_rename(self) -> None:
        """What has the name stays."""
        self.file("a", b"a")
        self.file("b", b"b")
        error = self.assertRaises(OSError, rename_new, self.folders.root, b"a", b"b")
        if error.errno in (errno.ENOSYS, errno.EINVAL):
            return  # this system has no such call, or this file system does not know it
        self.assertIsInstance(error, FileExistsError)
        self.assertEqual((self.read("a"), self.read("b")), (b"a", b"b"))
        rename_new(self.folders.root, b"a", b"c")
        self.assertEqual((self.there(), self.read("c")), (["b", "c"], b"a"))
        self.assertRaises(FileNotFoundError, rename_new, self.folders.root, b"a", b"d")
