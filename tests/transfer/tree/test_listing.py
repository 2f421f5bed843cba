"""
Listing what is shared, on real folders.
"""

from __future__ import annotations

import errno
import gc
import os
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree import listing, spelling
from sodiumtwist.transfer.tree.listing import list_folder
from sodiumtwist.transfer.tree.messages import FILE, FOLDER, Listed, Listing
from sodiumtwist.transfer.tree.names import BadName, temporary_name
from sodiumtwist.transfer.tree.walking import A_DEVICE, A_LINK, NOT_THERE

from .senders import make_tree, write


class ListingTests(SynchronousTestCase):
    """
    Folders and files below a root.
    """

    def setUp(self) -> None:
        self.root = self.mktemp()
        make_tree(self.root)

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def names(self, path: bytes = b"", after: bytes = b"") -> list[bytes]:
        return [entry.name for entry in list_folder(self.root, path, after).entries]

    def assert_refused(self, path: bytes, text: str) -> None:
        error = self.assertRaises(OSError, list_folder, self.root, path)
        self.assertEqual((error.strerror, error.filename), (text, None))

    def test_folder(self) -> None:
        make_tree(self.path("inner"), file=b"12345")
        os.chmod(self.path("inner/file"), 0o700)
        os.utime(self.path("inner/file"), ns=(7, 7))
        os.utime(self.path("inner"), ns=(9, 9))
        self.assertEqual(list_folder(self.root, b""), Listing([Listed(FOLDER, b"inner", 0, 9)]))
        self.assertEqual(list_folder(self.root, b"inner"), Listing([Listed(FILE, b"file", 5, 7, True)]))

    def test_file(self) -> None:
        make_tree(self.path("inner"), file=b"12345")
        os.utime(self.path("inner/file"), ns=(7, 7))
        self.assertEqual(list_folder(self.root, b"inner/file"), Listing([Listed(FILE, b"file", 5, 7)], folder=False))

    def test_order(self) -> None:
        """By the bytes of the names, whatever these are."""
        for name in (b"b", b"\xff", b"a", b"\xc3\xa4"):
            with open(os.path.join(os.fsencode(self.root), name), "wb"):
                pass
        self.assertEqual(self.names(), [b"a", b"b", b"\xc3\xa4", b"\xff"])

    def test_parts(self) -> None:
        for number in range(7):
            write(self.path(str(number)), b"")
        with patch.object(listing, "ENTRIES", 3):
            self.assertEqual(self.names(), [b"0", b"1", b"2"])
            self.assertTrue(list_folder(self.root, b"", b"2").more)
            self.assertEqual(self.names(b"", b"2"), [b"3", b"4", b"5"])
            rest = list_folder(self.root, b"", b"5")
        self.assertEqual([entry.name for entry in rest.entries], [b"6"])
        self.assertFalse(rest.more)

    def test_not_told(self) -> None:
        """Links, what is no file, and what is not whole."""
        write(self.path("file"), b"")
        write(self.path(os.fsdecode(temporary_name(b"file"))), b"")
        os.symlink("file", self.path("link"))
        os.symlink(".", self.path("link to a folder"))
        os.mkfifo(self.path("fifo"))
        self.assertEqual(self.names(), [b"file"])

    def test_gone_meanwhile(self) -> None:
        write(self.path("a"), b"")
        write(self.path("b"), b"")

        def missing(name: bytes, folder: int) -> os.stat_result:
            return spelling.look(b"gone" if name == b"a" else name, folder)

        with patch.object(listing, "look", missing):
            self.assertEqual(self.names(), [b"b"])

    def test_refused(self) -> None:
        """No path of this side is told, and no link leads anywhere."""
        write(self.path("file"), b"")
        os.symlink("/etc", self.path("link"))
        os.mkfifo(self.path("fifo"))
        self.assert_refused(b"gone", NOT_THERE)
        self.assert_refused(b"link", A_LINK)
        self.assert_refused(b"link/passwd", "a link is there, and no folder")
        self.assert_refused(b"file/x", "a file is there, and no folder")
        self.assert_refused(b"fifo", A_DEVICE)
        self.assertRaises(BadName, list_folder, self.root, b"../x")
        self.assertRaises(BadName, list_folder, self.root, b"/etc")

    def test_not_readable(self) -> None:
        """A folder that may be entered and not read is told as one that may not be read."""
        real = os.open

        def no_reading(path: bytes, flags: int, *, dir_fd: int | None) -> int:
            if flags & os.O_DIRECTORY and not flags & os.O_PATH:
                raise PermissionError(errno.EACCES, "no")
            return real(path, flags, dir_fd=dir_fd)

        with patch.object(os, "open", no_reading):
            self.assert_refused(b"", os.strerror(errno.EACCES))

    def test_nothing_stays_open(self) -> None:
        # What others have left must not be closed meanwhile.
        gc.disable()
        self.addCleanup(gc.enable)
        before = len(os.listdir("/dev/fd"))
        make_tree(self.path("inner"))
        list_folder(self.root, b"inner")
        self.assertRaises(OSError, list_folder, self.root, b"gone/x")
        self.assertEqual(len(os.listdir("/dev/fd")), before)
