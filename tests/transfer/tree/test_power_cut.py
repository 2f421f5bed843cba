"""
What is left after a loss of power, or a kill, at each moment of storing: the disk has what was synced, and of all else
nothing, or names alone.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable
from typing import Any

from sodiumtwist.transfer.tree import batches, placing, renaming, temporaries
from sodiumtwist.transfer.tree.batches import sync_files
from sodiumtwist.transfer.tree.folders import Folders
from sodiumtwist.transfer.tree.growing import Growing
from sodiumtwist.transfer.tree.names import is_temporary
from sodiumtwist.transfer.tree.placing import REFUSE, RENAME, REPLACE, Placing
from sodiumtwist.transfer.tree.temporaries import Written

from .disks import TreeCase

POLICIES = (RENAME, REPLACE, REFUSE)

YES_NO = (True, False)

TIME = 1_700_000_000_123_456_789

#: The names in each folder, by the folder's number; and of each name whose it is, and whether that is a folder.
Names = dict[int, dict[str, tuple[int, bool]]]


def not_there(*arguments: object) -> None:
    """A call that the system has not."""
    raise OSError(errno.ENOSYS, "no")


class Disk:
    """
    Knows what a disk has for sure, from what is asked of the system.

    :param case: the test, in which the system's calls are watched.
    :param root: the path of all that it has.
    :ivar at: called after each call that changes something.
    """

    def __init__(self, case: TreeCase, root: str) -> None:
        self.root = root
        self.at: Callable[[], None] = lambda: None
        # By the files' numbers.
        self.data: dict[int, bytes] = {}
        self.names: Names = {}
        self._patches = [
            self._watch(case, os, "fsync", self.fsync),
            self._watch(case, batches, "sync_file_system", self.sync_file_system),
        ]
        for owner, name in [
            (os, "link"),
            (os, "replace"),
            (os, "unlink"),
            (os, "mkdir"),
            (os, "pwrite"),
            (os, "ftruncate"),
            (renaming, "rename_new"),
        ]:
            self._patches.append(self._watch(case, owner, name, getattr(owner, name)))

    def end(self) -> None:
        """Watch no more."""
        for patch in reversed(self._patches):
            patch.restore()

    def _watch(self, case: TreeCase, owner: object, name: str, call: Callable[..., Any]) -> Any:
        def watched(*arguments: Any, **keywords: Any) -> Any:
            try:
                return call(*arguments, **keywords)
            finally:
                self.at()

        return case.patch(owner, name, watched)

    def fsync(self, fd: int) -> None:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            self.names[status.st_ino] = self.listed(f"/proc/self/fd/{fd}")
        else:
            self.data[status.st_ino] = os.pread(fd, status.st_size, 0)

    def sync_file_system(self, fd: int) -> None:
        for path, _, files in os.walk(self.root):
            self.names[os.stat(path).st_ino] = self.listed(path)
            for name in files:
                self.take(os.path.join(path, name))
        # What has no name is there, too.
        for each in os.listdir("/proc/self/fd"):
            path = f"/proc/self/fd/{each}"
            if os.path.exists(path) and stat.S_ISREG(os.stat(path).st_mode) and self.root in os.readlink(path):
                self.take(path)

    def take(self, path: str) -> None:
        with open(path, "rb") as file:
            self.data[os.fstat(file.fileno()).st_ino] = file.read()

    def listed(self, path: str) -> dict[str, tuple[int, bool]]:
        with os.scandir(path) as entries:
            return {each.name: (each.inode(), each.is_dir()) for each in entries}

    def after_cut(self) -> dict[str, bytes]:
        """The files that are found again at least."""
        return self._found(self.names, self.data)

    def after_cut_with_names(self) -> dict[str, bytes]:
        """The files that are found again when the disk was quick with names, and slow with what is in files."""
        names = {os.stat(path).st_ino: self.listed(path) for path, _, _ in os.walk(self.root)}
        return self._found(names, self.data)

    def after_kill(self) -> dict[str, bytes]:
        """The files as they are."""
        found = {}
        for path, _, files in os.walk(self.root):
            for name in files:
                with open(os.path.join(path, name), "rb") as file:
                    found[os.path.relpath(os.path.join(path, name), self.root)] = file.read()
        return found

    def _found(self, names: Names, data: dict[int, bytes]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        waiting = [("", os.stat(self.root).st_ino)]
        while waiting:
            path, number = waiting.pop()
            for name, (inner, is_folder) in names.get(number, {}).items():
                if is_folder:
                    waiting.append((os.path.join(path, name), inner))
                else:
                    found[os.path.join(path, name)] = data.get(inner, b"")
        return found


class PowerCutTests(TreeCase):
    """All moments of storing some files, by each way of doing it."""

    def setUp(self) -> None:
        super().setUp()
        #: What files may have in them, by their names without suffixes.
        self.sent: dict[str, set[bytes]] = {}
        #: What was told to be there.
        self.confirmed: dict[str, bytes] = {}
        self.moments = 0
        self.base = self.root
        self.synced = True

    def look(self) -> None:
        """Nothing that was confirmed is missing, and nothing is half."""
        self.moments += 1
        worlds = [self.disk.after_kill()]
        if self.synced:
            least = self.disk.after_cut()
            for path, data in self.confirmed.items():
                self.assertIn(least.get(path), self.allowed(path, data), path)
            worlds += [least, self.disk.after_cut_with_names()]
        for found in worlds:
            for path, data in found.items():
                name = os.path.basename(path)
                if not is_temporary(os.fsencode(name)):
                    self.assertIn(data, self.sent[path.partition(".")[0]], path)

    def allowed(self, path: str, data: bytes) -> set[bytes]:
        # Another one may be about to replace it.
        return self.sent[path] if self.existing == REPLACE else {data}

    def small(self, path: str, data: bytes) -> Written:
        self.sent.setdefault(path, set()).add(data)
        return self.placing.write_small(tuple(os.fsencode(path).split(b"/")), data, TIME, False)

    def large(self, path: str, data: bytes) -> Written:
        self.sent.setdefault(path, set()).add(data)
        grown = Growing(self.folders, tuple(os.fsencode(path).split(b"/")), False, True)
        grown.begin(0)
        grown.write(0, data[:3])
        grown.write(3, data[3:])
        return grown.finish(len(data), TIME, self.synced)

    def commit(self, *files: Written) -> None:
        for number, written in enumerate(files):
            self.placing.add(number, written)
        for number, outcome in self.placing.commit():
            if isinstance(outcome, bytes):
                above = os.path.dirname(os.fsdecode(b"/".join(files[number].parts)))
                path = os.path.join(above, os.fsdecode(outcome))
                self.confirmed[path] = self.disk.after_kill()[path]
            self.look()

    def store(self, existing: str, synced: bool = True) -> None:
        """Store some files, and look at each moment."""
        self.existing, self.synced = existing, synced
        self.placing = Placing(self.folders, existing, synced)
        self.disk = Disk(self, self.root)
        self.disk.at = self.look
        try:
            self.store_all()
        finally:
            self.disk.end()

    def store_all(self) -> None:
        for folder in ("a", "a/b", "c"):
            self.folders.make(tuple(os.fsencode(folder).split(b"/")))
        # In one batch, by one sync; in folders that are new.
        self.commit(*(self.small(f"a/b/{number}", b"small %d" % number) for number in range(5)))
        # A few, each by its own; a large one among them.
        self.commit(self.small("a/few", b"few"), self.large("c/large", b"large file"))
        # Names that are there, and one that is not.
        again = [self.large("c/large", b"another large file"), self.small("a/few", b"other"), self.small("new", b"new")]
        self.commit(*again)
        self.commit(*(self.small(f"a/b/{number}", b"again %d" % number) for number in range(5)))

    def way(self, nameless: bool, renames: bool, together: bool) -> Callable[[], None]:
        """
        Let the system be able to do so much, for the next files in a folder of their own.

        :return: ends that.
        """
        self.root = os.path.join(self.base, str(len(os.listdir(self.base))))
        os.mkdir(self.root)
        self.folders = Folders(self.root)
        self.sent, self.confirmed = {}, {}
        patches = [
            self.patch(temporaries, "_NAMELESS", os.O_TMPFILE if nameless else None),
            self.patch(batches, "can_sync_file_systems", lambda: together),
        ]
        if not renames:
            patches.append(self.patch(renaming, "rename_new", not_there))

        def end() -> None:
            self.folders.close()
            for patch in reversed(patches):
                patch.restore()

        return end

    def test_each_way(self) -> None:
        """Whatever the system can do, and whatever is done with names that are there."""
        for existing, nameless, renames, together in itertools.product(POLICIES, YES_NO, YES_NO, YES_NO):
            end = self.way(nameless, renames, together)
            self.store(existing)
            end()
            self.assertEqual(len(self.confirmed), 15 if existing == RENAME else 8)
        self.assertGreater(self.moments, 500)

    def test_killed(self) -> None:
        """Without syncs a kill does as little harm."""
        for existing, nameless, renames in itertools.product(POLICIES, YES_NO, YES_NO):
            end = self.way(nameless, renames, False)
            self.store(existing, synced=False)
            end()

    def test_noticed(self) -> None:
        """This test would notice if a sync were missing, or too late."""
        end = self.way(True, True, True)
        self.patch(placing, "sync_files", lambda files, folders: {})
        self.assertRaises(self.failureException, self.store, RENAME)
        end()
        end = self.way(True, True, True)
        self.patch(placing, "sync_files", sync_files)
        self.patch(Folders, "sync_changed", lambda folders: {})
        self.assertRaises(self.failureException, self.store, RENAME)
        end()
