"""
What a sender finds, on real folders.
"""

from __future__ import annotations

import os
import socket
from unittest.mock import patch

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sodiumtwist.transfer.tree import walking
from sodiumtwist.transfer.tree.folders import OPEN_FOLDERS, Folders
from sodiumtwist.transfer.tree.messages import (
    ANNOUNCEMENT_SIZE,
    ENTRIES,
    FILE,
    FOLDER,
    Announce,
    Entry,
    SetTimes,
    Trouble,
    decode_request,
)
from sodiumtwist.transfer.tree.names import DEPTH_LIMIT, temporary_name
from sodiumtwist.transfer.tree.walking import A_DEVICE, A_LINK, NOT_THERE, UNFINISHED, Root, Walk, open_file

from .senders import all_batches, all_entries, make_tree, write


class WalkTestCase(SynchronousTestCase):
    """Makes a folder."""

    def setUp(self) -> None:
        self.root = self.mktemp()
        make_tree(self.root)

    def path(self, *names: str) -> str:
        return os.path.join(self.root, *names)

    def walk(self) -> Walk:
        """Walk the folder as a person names it."""
        return self.start(Root(b"top", os.fsencode(self.root)))

    def share(self, *parts: bytes) -> Walk:
        """Walk a path in the folder as what is shared."""
        folders = Folders(self.root)
        self.addCleanup(folders.close)
        return self.start(Root.shared(folders, parts))

    def start(self, *roots: Root) -> Walk:
        walk = Walk(roots)
        self.addCleanup(walk.close)
        return walk

    def paths(self, walk: Walk) -> list[bytes]:
        return [entry.path for entry in all_entries(walk)]

    def left_out(self, walk: Walk) -> list[tuple[bytes, str, bool]]:
        return [each for batch in all_batches(walk) for each in batch.left_out]


class TreeTests(WalkTestCase):
    """
    Files and folders.
    """

    def test_order(self) -> None:
        """A folder comes before what is in it, its files before its folders, and each in the order of their names."""
        make_tree(self.path("b"), z=b"", a=b"")
        make_tree(self.path("a"), f=b"")
        make_tree(self.path("b", "inner"))
        write(self.path("y"), b"")
        write(self.path("c"), b"")
        self.assertEqual(
            self.paths(self.walk()),
            [b"top", b"top/c", b"top/y", b"top/a", b"top/a/f", b"top/b", b"top/b/a", b"top/b/z", b"top/b/inner"],
        )

    def test_entries(self) -> None:
        write(self.path("plain"), b"12345")
        write(self.path("program"), b"")
        os.chmod(self.path("program"), 0o700)
        os.utime(self.path("plain"), ns=(5, -1_000_000_007))
        top, plain, program = all_entries(self.walk())
        self.assertEqual(top, Entry(FOLDER, b"top", 0, os.stat(self.root).st_mtime_ns))
        self.assertEqual(plain, Entry(FILE, b"top/plain", 5, -1_000_000_007, False))
        self.assertTrue(program.executable)

    def test_names_are_bytes(self) -> None:
        with open(os.path.join(os.fsencode(self.root), b"n\xff\n"), "wb"):
            pass
        self.assertEqual(self.paths(self.walk()), [b"top", b"top/n\xff\n"])

    def test_counts(self) -> None:
        write(self.path("a"), b"123")
        write(self.path("b"), b"4567")
        (batch,) = all_batches(self.walk())
        self.assertEqual((batch.first, batch.files, batch.size), (0, 2, 7))

    def test_several(self) -> None:
        """One after the other; a file may be named as well as a folder, and be a link then."""
        write(self.path("file"), b"abc")
        make_tree(self.path("folder"), inside=b"")
        os.symlink("file", self.path("link"))
        os.symlink("folder", self.path("way"))
        walk = self.start(
            *(Root(name, os.fsencode(self.path(name.decode()))) for name in (b"link", b"way", b"missing", b"file"))
        )
        entries = all_entries(walk)
        self.assertEqual([entry.path for entry in entries], [b"link", b"way", b"way/inside", b"file"])
        self.assertEqual(entries[0].size, 3)
        self.assertEqual(walk.troubles, [Trouble(b"missing", "No such file or directory")])

    def test_many_folders(self) -> None:
        """Of few of them something is open, and each is found again where it was named."""
        for number in range(10):
            make_tree(self.path(str(number)), a=b"%d" % number)
        before = len(os.listdir("/dev/fd"))
        walk = self.start(*(Root(b"%d" % number, os.fsencode(self.path(str(number)))) for number in range(10)))
        (batch,) = all_batches(walk)
        self.assertLessEqual(len(os.listdir("/dev/fd")), before + walking.OPEN_TREES)
        found = []
        for entry, where in zip(batch.entries, batch.wheres, strict=True):
            if entry.kind == FILE:
                fd = open_file(where, entry.path)
                found.append((entry.path, os.read(fd, 9)))
                os.close(fd)
        self.assertEqual(found, [(b"%d/a" % number, b"%d" % number) for number in range(10)])
        self.assertLessEqual(len(os.listdir("/dev/fd")), before + walking.OPEN_TREES)
        walk.close()
        self.assertEqual(len(os.listdir("/dev/fd")), before)

    def test_temporary_names(self) -> None:
        """What we have begun to store is not sent on, and is told; other names with a dot in front are sent."""
        begun = temporary_name(b"file")
        write(self.path(os.fsdecode(begun)), b"")
        write(self.path(".other"), b"")
        self.assertEqual(self.paths(self.walk()), [b"top", b"top/.other"])
        walk = self.walk()
        self.assertEqual(self.left_out(walk), [(b"top/" + begun, UNFINISHED, False)])
        self.assertEqual((walk.others, walk.links), (1, 0))


class PartTests(WalkTestCase):
    """
    Announcements have bounds, and nothing is walked before it is to be announced.
    """

    def test_many(self) -> None:
        for number in range(10):
            write(self.path(str(number)), b"")
        with patch.object(walking, "ENTRIES", 4):
            walk = self.walk()
            batches = all_batches(walk)
        self.assertEqual([len(batch.entries) for batch in batches], [4, 4, 3])
        self.assertEqual([batch.first for batch in batches], [0, 4, 8])
        announced = decode_request(batches[1].encode())
        self.assertEqual(announced, Announce(4, batches[1].entries))
        self.assertEqual(len(batches[1].wheres), 4)

    def test_long_paths(self) -> None:
        """Their bytes are bounded, too."""
        for number in range(6):
            write(self.path(f"{number:0200}"), b"")
        with patch.object(walking, "ANNOUNCEMENT_SIZE", 3 + 2 * 204):
            batches = all_batches(self.walk())
        self.assertEqual([len(batch.entries) for batch in batches], [3, 2, 2])
        self.assertEqual([batch.first for batch in batches], [0, 3, 5])
        self.assertEqual([len(batch.wheres) for batch in batches], [3, 2, 2])

    def test_one_long_path(self) -> None:
        """It goes alone."""
        make_tree(self.path("a" * 200))
        write(self.path("b" * 200), b"")
        with patch.object(walking, "ANNOUNCEMENT_SIZE", 100):
            self.assertEqual([len(batch.entries) for batch in all_batches(self.walk())], [1, 1, 1])

    def test_lazy(self) -> None:
        """What is made behind the place where the walk is, is found."""
        make_tree(self.path("a"))
        make_tree(self.path("b"))
        with patch.object(walking, "ENTRIES", 1):
            walk = self.walk()
            walk.next()
            write(self.path("b", "late"), b"")
            self.assertIn(b"top/b/late", self.paths(walk))

    def test_others_are_opened_meanwhile(self) -> None:
        """
        A folder is walked on although others were opened since, so many that its descriptor is another one's: files of
        the same name there are not taken for those here.
        """
        for number in range(OPEN_FOLDERS + 2):
            make_tree(self.path(f"b{number}"), **{f"file{n}": b"other" for n in range(5)})
        make_tree(self.path("a"), **{f"file{n}": b"" for n in range(5)})
        with patch.object(walking, "ENTRIES", 1):
            walk = self.walk()
            while (batch := walk.next()) is not None and batch.entries[0].path != b"top/a/file0":
                pass
            assert batch is not None
            where = batch.wheres[0]
            assert isinstance(where, tuple)
            for number in range(OPEN_FOLDERS + 2):
                where[0].open((b"b%d" % number,))
            found = all_entries(walk)
        self.assertEqual(
            [(entry.path, entry.size) for entry in found[:4]], [(b"top/a/file%d" % n, 0) for n in (1, 2, 3, 4)]
        )
        self.assertEqual(walk.troubles, [])

    def test_large_folder(self) -> None:
        """It is sorted in parts."""
        for number in range(10):
            write(self.path(str(number)), b"")
        with patch.object(walking, "SORTED_TOGETHER", 3):
            paths = self.paths(self.walk())[1:]
        self.assertEqual(sorted(paths), [b"top/%d" % number for number in range(10)])
        self.assertEqual(paths[:3], sorted(paths[:3]))

    def test_much_that_is_left_out(self) -> None:
        """It takes no more memory than much that is announced."""
        for number in range(10):
            os.symlink("x", self.path(str(number)))
        with patch.object(walking, "ENTRIES", 4):
            walk = self.walk()
            batches = all_batches(walk)
        self.assertEqual([len(batch.left_out) for batch in batches], [4, 4, 2])
        self.assertEqual(walk.links, 10)

    def test_nothing(self) -> None:
        self.assertIsNone(self.start().next())


class LeftOutTests(WalkTestCase):
    """
    What is not sent.
    """

    def test_links(self) -> None:
        write(self.path("file"), b"")
        for target in ("file", ".", "missing"):
            os.symlink(target, self.path(f"link-{target}"))
        walk = self.walk()
        left_out = self.left_out(walk)
        self.assertEqual(walk.links, 3)
        self.assertEqual(left_out[0], (b"top/link-.", A_LINK, False))
        self.assertEqual(walk.troubles, [])

    def test_others(self) -> None:
        os.mkfifo(self.path("fifo"))
        bound = socket.socket(socket.AF_UNIX)
        self.addCleanup(bound.close)
        here = os.open(self.root, os.O_RDONLY)
        self.addCleanup(os.close, here)
        # The path of a socket must be short.
        bound.bind(f"/proc/self/fd/{here}/socket")
        walk = self.walk()
        self.assertEqual(self.left_out(walk), [(b"top/fifo", A_DEVICE, False), (b"top/socket", A_DEVICE, False)])
        self.assertEqual((walk.others, walk.links), (2, 0))

    def test_device_that_was_named(self) -> None:
        walk = self.start(Root(b"null", b"/dev/null"))
        self.assertEqual(self.left_out(walk), [(b"null", A_DEVICE, False)])
        self.assertEqual(walk.others, 1)

    def test_unreadable_folder(self) -> None:
        """It is trouble, and the rest goes on."""
        make_tree(self.path("a"), inside=b"")
        make_tree(self.path("b"), inside=b"")
        opened = Folders.open

        def refuse(folders: Folders, parts: tuple[bytes, ...]) -> int:
            if parts == (b"a",):
                raise PermissionError(13, "Permission denied", "/secret/path")
            return opened(folders, parts)

        with patch.object(Folders, "open", refuse):
            walk = self.walk()
            batches = all_batches(walk)
        self.assertEqual(batches[0].left_out, [(b"top/a", "Permission denied", True)])
        self.assertIn(b"top/b/inside", [entry.path for entry in batches[0].entries])
        self.assertEqual(walk.troubles, [Trouble(b"top/a", "Permission denied")])

    def test_folder_that_may_only_be_entered(self) -> None:
        """Its names can't be read."""
        if os.geteuid() == 0:
            # The root may read it all the same, but not by such a descriptor.
            opened = os.open(self.root, getattr(os, "O_PATH", 0))
            if not getattr(os, "O_PATH", 0):
                os.close(opened)
                raise SkipTest("there are no such descriptors here")
            self.addCleanup(os.close, opened)
            self.patch(Folders, "open", lambda folders, parts: opened)
        else:
            os.chmod(self.root, 0o100)
            self.addCleanup(os.chmod, self.root, 0o700)
        self.assertEqual(self.left_out(self.walk()), [(b"top", "Permission denied", True)])

    def test_file_that_is_gone(self) -> None:
        write(self.path("gone"), b"")
        walk = self.walk()
        with patch.object(walking, "_scan", lambda fd: [Gone()]):
            self.assertEqual(self.left_out(walk), [(b"top/gone", "No such file or directory", True)])

    def test_too_deep(self) -> None:
        """The receiver takes no more parts, and its messages no longer paths."""
        path = os.fsencode(self.root)
        for _ in range(DEPTH_LIMIT + 1):
            path += b"/d"
            os.mkdir(path)
        walk = self.walk()
        paths = self.paths(walk)
        self.assertEqual(paths[-1].count(b"/") + 1, DEPTH_LIMIT)
        self.assertEqual(walk.troubles[0].text, f"deeper than {DEPTH_LIMIT} folders")

    def test_much_trouble(self) -> None:
        """Of much, a part is told, as one message takes it."""
        walk = self.start(*(Root(b"%d" % number, b"/missing") for number in range(ENTRIES + 5)))
        left_out = self.left_out(walk)
        self.assertEqual((len(left_out), len(walk.troubles), walk.untold), (ENTRIES + 5, ENTRIES, 5))
        long = b"x" * (ANNOUNCEMENT_SIZE // 3)
        walk = self.start(*(Root(long, b"/missing") for number in range(5)))
        self.left_out(walk)
        self.assertEqual((len(walk.troubles), walk.untold), (2, 3))


class Gone:
    """An entry of a folder whose file is not there any more."""

    name = "gone"

    def is_symlink(self) -> bool:
        return False

    def is_dir(self, follow_symlinks: bool) -> bool:
        return False

    def is_file(self, follow_symlinks: bool) -> bool:
        return True

    def stat(self, follow_symlinks: bool) -> os.stat_result:
        raise FileNotFoundError(2, "No such file or directory")


class ShareTests(WalkTestCase):
    """
    What a server shares.
    """

    def test_all(self) -> None:
        """The paths are relative to it, and it is no entry itself."""
        make_tree(self.path("photos"), a=b"")
        write(self.path("file"), b"")
        self.assertEqual(self.paths(self.share()), [b"file", b"photos", b"photos/a"])

    def test_last_part_of_the_path(self) -> None:
        make_tree(self.path("a", "b"), c=b"")
        self.assertEqual(self.paths(self.share(b"a", b"b")), [b"b", b"b/c"])
        self.assertEqual(self.paths(self.share(b"a", b"b", b"c")), [b"c"])

    def test_missing(self) -> None:
        """What can't be sent is told beforehand, and is no trouble then."""
        write(self.path("file"), b"")
        os.symlink("file", self.path("link"))
        os.mkfifo(self.path("fifo"))
        folders = Folders(self.root)
        self.addCleanup(folders.close)
        names = (b"link", b"file", b"gone", b"fifo", b"link/x")
        walk = self.start(*(Root.shared(folders, tuple(name.split(b"/"))) for name in names))
        self.assertEqual(
            walk.missing(),
            [
                Trouble(b"link", A_LINK),
                Trouble(b"gone", NOT_THERE),
                Trouble(b"fifo", A_DEVICE),
                Trouble(b"link/x", "a link is there, and no folder"),
            ],
        )
        self.assertEqual(self.paths(walk), [b"file"])
        self.assertEqual((walk.troubles, walk.links, walk.others), ([], 0, 0))

    def test_link_that_came_later(self) -> None:
        """It is left out, whatever it was when it was asked for."""
        write(self.path("file"), b"")
        walk = self.share(b"file")
        self.assertEqual(walk.missing(), [])
        os.rename(self.path("file"), self.path("other"))
        os.symlink("other", self.path("file"))
        self.assertEqual(self.left_out(walk), [(b"file", A_LINK, False)])

    def test_links_are_not_opened(self) -> None:
        """A file, or a folder on the way to it, that has become a link after it was found, leads nowhere."""
        make_tree(self.path("folder"), file=b"secret")
        walk = self.share(b"folder")
        (batch,) = all_batches(walk)
        entry, where = batch.entries[1], batch.wheres[1]
        os.close(open_file(where, entry.path))
        os.rename(self.path("folder", "file"), self.path("folder", "other"))
        os.symlink("other", self.path("folder", "file"))
        self.assertRaises(OSError, open_file, where, entry.path)
        os.rename(self.path("folder"), self.path("moved"))
        os.symlink("moved", self.path("folder"))
        write(self.path("moved", "plain"), b"")
        fresh = Folders(self.root)
        self.addCleanup(fresh.close)
        self.assertRaises(OSError, open_file, (fresh, (b"folder",)), b"folder/plain")


class TimeTests(WalkTestCase):
    """
    When folders were last written to, which is told at the end.
    """

    def times(self, walk: Walk, but: set[bytes]) -> list[SetTimes]:
        requests = [decode_request(payload) for payload in walk.times(but)]
        return [request for request in requests if isinstance(request, SetTimes)]

    def test_times(self) -> None:
        """From the deepest up, and none of what was refused."""
        make_tree(self.path("a", "b"))
        make_tree(self.path("c"))
        os.utime(self.path("a"), ns=(7, 7))
        walk = self.walk()
        all_batches(walk)
        (times,) = self.times(walk, {b"top/c"})
        self.assertEqual([path for path, _ in times.folders], [b"top/a/b", b"top/a", b"top"])
        self.assertEqual(times.folders[1][1], 7)
        self.assertEqual(self.times(walk, {b"top", b"top/a", b"top/a/b", b"top/c"}), [])

    def test_parts(self) -> None:
        for number in range(6):
            make_tree(self.path(str(number)))
        walk = self.walk()
        all_batches(walk)
        with patch.object(walking, "ENTRIES", 3):
            self.assertEqual([len(times.folders) for times in self.times(walk, set())], [3, 3, 1])
        with patch.object(walking, "ANNOUNCEMENT_SIZE", 10):
            self.assertEqual([len(times.folders) for times in self.times(walk, set())], [2, 2, 2, 1])
