"""
The user's folders of configuration and data, as a test needs them: none of who runs it.
"""

from __future__ import annotations

import os
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase


def folders(home: str) -> dict[str, str]:
    """The variables of the environment for the user whose home is a directory. Nothing need be there."""
    home = os.path.abspath(home)
    return {"XDG_CONFIG_HOME": os.path.join(home, "config"), "XDG_DATA_HOME": os.path.join(home, "data")}


def use_own_folders(test: SynchronousTestCase, home: str) -> None:
    """Let this process, and those that the test starts, have the folders of that user until the test is over."""
    patched = patch.dict(os.environ, folders(home))
    patched.start()
    test.addCleanup(patched.stop)
