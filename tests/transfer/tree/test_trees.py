"""
The trees that other tests compare: what :mod:`.trees` makes has all that it should, and no difference is overlooked.
"""

from __future__ import annotations

import os
import shutil
import stat

from twisted.trial.unittest import SynchronousTestCase

from .trees import DEEPEST, ODD_NAMES, differences, files_below, make_tree


class TreeTests(SynchronousTestCase):
    """:func:`make_tree` and :func:`differences`"""

    def setUp(self) -> None:
        self.tree = self.mktemp()
        make_tree(self.tree, 600)

    def test_all_kinds(self) -> None:
        """It has each odd name, and files and folders of all kinds."""
        files = dict(files_below(self.tree))
        self.assertEqual(len(files), 600)
        parts = {part for path in files for part in path.split(b"/")}
        self.assertEqual(set(ODD_NAMES) - parts, set())
        self.assertEqual(max(path.count(b"/") for path in files), DEEPEST - 1)
        self.assertLess(max(map(len, files)), 2_000)
        kinds = [os.lstat(os.path.join(os.fsencode(self.tree), path)) for path in files]
        self.assertGreater(sum(kind.st_size == 0 for kind in kinds), 20)
        self.assertGreater(sum(bool(kind.st_mode & stat.S_IXUSR) for kind in kinds), 20)
        self.assertGreater(sum(kind.st_mtime_ns < 0 for kind in kinds), 20)
        self.assertGreater(max(files.values()), 500_000)
        self.assertLess(sum(files.values()), 10_000_000)
        empty = [folder for folder, folders, names in os.walk(self.tree) if not folders and not names]
        self.assertEqual(len(empty), 3)

    def test_same(self) -> None:
        """The same numbers make the same tree."""
        other = self.mktemp()
        make_tree(other, 600)
        self.assertEqual(differences(self.tree, other), [])

    def test_differences(self) -> None:
        """What differs is found, one by one."""
        copied = self.mktemp()
        shutil.copytree(self.tree, copied)
        self.assertEqual(differences(self.tree, copied), [])
        path, size = next((path, size) for path, size in files_below(copied) if size and b"/" in path)
        changed = os.path.join(os.fsencode(copied), path)
        status = os.lstat(changed)

        def put_back() -> None:
            os.chmod(changed, status.st_mode)
            shutil.copy2(os.path.join(os.fsencode(self.tree), path), changed)

        def change_byte() -> None:
            with open(changed, "r+b") as file:
                first = file.read(1)
                file.seek(0)
                file.write(bytes([first[0] ^ 1]))
            os.utime(changed, ns=(0, status.st_mtime_ns))

        for change, what in (
            (lambda: os.utime(changed, ns=(0, status.st_mtime_ns + 1)), "written at"),
            (lambda: os.chmod(changed, status.st_mode ^ stat.S_IXUSR), "another executable bit"),
            (change_byte, "other contents"),
        ):
            change()
            (found,) = differences(self.tree, copied)
            self.assertTrue(found.startswith(f"{path!r}: {what}"), found)
            put_back()
        os.unlink(changed)
        self.assertIn(f"{path!r}: missing", differences(self.tree, copied))
        self.assertIn(f"{path!r}: too much", differences(copied, self.tree))
        os.mkdir(changed)
        self.assertIn(f"{path!r}: another kind", differences(self.tree, copied))
