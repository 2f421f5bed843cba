"""
The public names, and that importing them costs little.
"""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist

NAMES = [
    "AnyLogin",
    "AuthenticationFailed",
    "AuthenticationTimeout",
    "AuthorizedKeys",
    "AuthorizedKeysFile",
    "DecryptionFailed",
    "IReplayMemory",
    "ISodiumAvatar",
    "ISodiumTransport",
    "InactivityTimeout",
    "InvalidKey",
    "KeyPair",
    "Limits",
    "LocalProtocolError",
    "MalformedPDU",
    "NonceMismatch",
    "PayloadTooLarge",
    "Peer",
    "PongTimeout",
    "RekeyAfter",
    "RemoteProtocolError",
    "ReplayDatabase",
    "ReplayDetected",
    "ReplayMemory",
    "RequestClient",
    "SingleLogin",
    "SodiumClientEndpoint",
    "SodiumClientFactory",
    "SodiumClientProtocol",
    "SodiumError",
    "SodiumServerEndpoint",
    "SodiumServerFactory",
    "SodiumServerProtocol",
    "Timeouts",
    "TooManyRequests",
    "UnexpectedPDU",
    "VersionMismatch",
    "WindowExceeded",
    "connect",
    "parse_key",
]


class ExportsTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Taking a name away breaks whoever imports it; adding one is a promise."""
        self.assertEqual(sorted(sodiumtwist.__all__), NAMES)

    def test_every_name_is_there_and_described(self) -> None:
        for name in sodiumtwist.__all__:
            self.assertTrue((getattr(sodiumtwist, name).__doc__ or "").strip(), name)

    def test_star(self) -> None:
        namespace: dict[str, object] = {}
        exec("from sodiumtwist import *", namespace)
        self.assertEqual(sorted(set(namespace) - {"__builtins__"}), NAMES)

    def test_version(self) -> None:
        self.assertRegex(sodiumtwist.__version__, r"^\d+\.\d+\.\d+")

    def test_importing_installs_no_reactor(self) -> None:
        program = "import sodiumtwist, sys; sys.exit('twisted.internet.reactor' in sys.modules)"
        root = os.path.dirname(os.path.dirname(os.path.abspath(sodiumtwist.__file__)))
        done = subprocess.run([sys.executable, "-c", program], cwd=root)
        self.assertEqual(done.returncode, 0)
