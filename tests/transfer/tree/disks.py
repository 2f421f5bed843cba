"""
A folder to store files in, for tests.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.transfer.tree.folders import Folders


class TreeCase(SynchronousTestCase):
    """
    Has a root.

    :ivar root: its path.
    :ivar folders: the folders below it.
    """

    def setUp(self) -> None:
        self.root = os.path.realpath(tempfile.mkdtemp(prefix="sodiumtwist-test-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.folders = Folders(self.root)
        self.addCleanup(self.folders.close)

    def path(self, *parts: str) -> str:
        """The path of what is below the root."""
        return os.path.join(self.root, *parts)

    def file(self, name: str, data: bytes) -> None:
        """Make a file there."""
        with open(self.path(name), "wb") as file:
            file.write(data)

    def read(self, name: str) -> bytes:
        """What is in a file there."""
        with open(self.path(name), "rb") as file:
            return file.read()

    def there(self, folder: str = ".") -> list[str]:
        """The names in a folder there."""
        return sorted(os.listdir(self.path(folder)))
