"""
No test knows the folders of who runs it.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.contacts.servers import identities_folder, servers_path

from .own_folders import use_own_folders
from .processes import clean_environment


class OwnFoldersTests(SynchronousTestCase):
    """
    Where our programs look for the user's own folders.
    """

    def test_nowhere(self) -> None:
        """Neither here nor in the processes that tests start is there anything, nor can be."""
        for path in (servers_path(), identities_folder()):
            self.assertTrue(path.startswith(f"{os.devnull}/"), path)
            self.assertRaises(NotADirectoryError, os.makedirs, path)
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            self.assertTrue(clean_environment()[name].startswith(f"{os.devnull}/"))

    def test_own(self) -> None:
        """A test that needs them has its own."""
        home = os.path.abspath(self.mktemp())
        use_own_folders(self, home)
        for path in (servers_path(), identities_folder(), clean_environment()["XDG_DATA_HOME"]):
            self.assertTrue(path.startswith(f"{home}/"), path)
