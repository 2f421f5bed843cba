"""
Checkers by their descriptions.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.cred import strcred
from twisted.python.filepath import UnlistableError
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import LocalProtocolError
from sodiumtwist.admission.checker_strings import checker_from_string


class PluginTests(SynchronousTestCase):
    def test_folder_of_plugins_closed(self) -> None:
        """Twisted's error has no text. What is behind it is told."""

        def get_plugins(*arguments: Any) -> Any:
            raise UnlistableError(PermissionError(errno.EACCES, "Permission denied", "/plugins"))

        self.patch(strcred, "getPlugins", get_plugins)
        error = self.assertRaises(LocalProtocolError, checker_from_string, "memory:ann:secret")
        self.assertEqual(
            str(error), "authentication by 'memory': Twisted can't look for plugins: /plugins: Permission denied"
        )

    def test_files(self) -> None:
        """What is wrong with a file is told in words."""
        for kind, cure in (("argon2", "; to make it: sodiumtwist passwd /missing LOGIN"), ("file", "")):
            error = self.assertRaises(LocalProtocolError, checker_from_string, f"{kind}:/missing")
            self.assertEqual(str(error), f"authentication by '{kind}': /missing: No such file or directory{cure}")
