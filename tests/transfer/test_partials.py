"""
What a directory keeps of uploads that broke off.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer import partials
from sodiumtwist.transfer.partials import Partials


class PartialTests(SynchronousTestCase):
    """:class:`Partials`"""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="sodiumtwist-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.patch(partials, "PARTIALS", 3)
        self.patch(partials, "PARTIALS_SIZE", 100)
        self.kept = Partials(self.directory, r"\d+\.partial")

    def make(self, name: str, size: int = 1, time: int = 0) -> str:
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(bytes(size))
        os.utime(path, (time, time))
        return name

    def add(self, name: str, size: int = 1) -> list[str]:
        return self.kept.add(self.make(name, size), size)

    def there(self) -> list[str]:
        return sorted(os.listdir(self.directory))

    def test_number(self) -> None:
        """The oldest go first."""
        for name in ("3.partial", "2.partial", "1.partial"):
            self.assertEqual(self.add(name), [])
        self.assertEqual(self.add("4.partial"), ["3.partial"])
        self.assertEqual(self.there(), ["1.partial", "2.partial", "4.partial"])

    def test_sum(self) -> None:
        """As many go as it takes."""
        for name in ("1.partial", "2.partial", "3.partial"):
            self.add(name, 30)
        self.assertEqual(self.add("4.partial", 70), ["1.partial", "2.partial"])
        self.assertEqual(self.there(), ["3.partial", "4.partial"])

    def test_too_large(self) -> None:
        """One that is too large by itself is not kept, and no other goes for it."""
        self.add("1.partial", 30)
        self.assertEqual(self.add("2.partial", 101), ["2.partial"])
        self.assertEqual(self.there(), ["1.partial"])
        self.assertEqual(self.add("3.partial", 70), [])

    def test_not_readable(self) -> None:
        """In a directory that may be written to and not be read, what is made from now on is bounded all the same."""

        def refuse(path: str) -> None:
            raise PermissionError(errno.EACCES, "no")

        self.make("0.partial")
        self.patch(os, "scandir", refuse)
        for name in ("1.partial", "2.partial", "3.partial"):
            self.assertEqual(self.add(name), [])
        self.assertEqual(self.add("4.partial"), ["1.partial"])
        self.assertEqual(self.there(), ["0.partial", "2.partial", "3.partial", "4.partial"])

    def test_others(self) -> None:
        """Nobody has those of others removed, neither by many nor by a large one."""
        self.kept = Partials(self.directory, r"(?P<login>[ab])\d+\.partial")
        self.assertEqual(self.add("a1.partial", 50), [])
        self.assertEqual(
            [self.add(f"b{number}.partial") for number in range(4)], [[], [], ["b0.partial"], ["b1.partial"]]
        )
        self.assertEqual(self.add("b9.partial", 60), ["b2.partial", "b3.partial", "b9.partial"])
        self.assertEqual(self.there(), ["a1.partial"])
        # Where both have the same, the oldest goes.
        self.assertEqual(self.add("b5.partial", 50), [])
        self.assertEqual(self.add("a6.partial", 0), [])
        self.assertEqual(self.add("b7.partial", 0), ["a1.partial"])

    def test_found(self) -> None:
        """Those of earlier runs count, by their age; other files do not, and stay."""
        self.make("5.partial", time=100)
        self.make("6.partial", time=50)
        self.make("7.partial", time=75)
        os.mkdir(os.path.join(self.directory, "8.partial"))
        for name in ("a.partial", "1.partially", "1"):
            self.make(name, 1000)
        self.assertEqual(self.add("9.partial"), ["6.partial"])
        self.assertEqual(len(self.there()), 7)

    def test_taken_away(self) -> None:
        """What somebody has taken away is no longer counted."""
        for name in ("1.partial", "2.partial", "3.partial"):
            self.add(name)
        os.unlink(os.path.join(self.directory, "2.partial"))
        self.assertEqual(self.add("4.partial"), [])
        self.assertEqual(self.add("5.partial"), ["1.partial"])

    def test_cannot_remove(self) -> None:
        """What can't be removed is not said to be."""
        for name in ("1.partial", "2.partial", "3.partial"):
            self.add(name)
        os.unlink(os.path.join(self.directory, "1.partial"))
        os.mkdir(os.path.join(self.directory, "1.partial"))
        self.assertEqual(self.add("4.partial"), [])
        self.assertEqual(self.add("5.partial"), ["2.partial"])

    def test_same_name(self) -> None:
        """One that takes the place of an earlier one counts once, as new."""
        for name in ("1.partial", "2.partial", "3.partial", "1.partial"):
            self.add(name)
        self.assertEqual(self.add("4.partial"), ["2.partial"])
