"""
The public names.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
import sodiumtwist.core
import sodiumtwist.testing

NAMES = [
    "AnyLogin",
    "AuthenticationFailed",
    "AuthenticationTimeout",
    "AuthorizedKeys",
    "AuthorizedKeysFile",
    "Bounds",
    "ClosedByPeer",
    "ClosedHere",
    "ClosingTimeout",
    "Code",
    "ConnectionCut",
    "DecryptionFailed",
    "IDrainable",
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
    "NotDone",
    "NotLetIn",
    "PayloadTooLarge",
    "Peer",
    "PeerAborted",
    "PongTimeout",
    "ReconnectingClient",
    "RekeyAfter",
    "RemoteProtocolError",
    "ReplayDatabase",
    "ReplayDetected",
    "ReplayMemory",
    "RequestClient",
    "RequestError",
    "RequestFailed",
    "RequestTimeout",
    "ServerUnavailable",
    "SingleLogin",
    "SodiumClientEndpoint",
    "SodiumClientFactory",
    "SodiumClientProtocol",
    "SodiumError",
    "SodiumServerEndpoint",
    "SodiumServerFactory",
    "SodiumServerProtocol",
    "TimedOut",
    "Timeouts",
    "TooManyFailures",
    "TooManyRequests",
    "UnexpectedPDU",
    "UnsupportedProtocol",
    "VersionMismatch",
    "WindowExceeded",
    "connect",
    "parse_key",
]

#: The modules that the core has for everybody.
CORE = ["connection", "errors", "events", "keepalive", "keys", "states", "wire"]

TESTING = ["LOGIN", "MemoryPair", "PASSPHRASE", "Settings", "connect_requests", "connect_streams"]


class ExportsTests(SynchronousTestCase):
    """The package's names; the classes below look at those of other modules."""

    module: ModuleType = sodiumtwist
    public: Sequence[str] = sodiumtwist.__all__
    names = NAMES

    def test_names(self) -> None:
        """Taking a name away breaks whoever imports it; adding one is a promise."""
        self.assertEqual(sorted(self.public), self.names)

    def test_order(self) -> None:
        """They stand in the order of the alphabet, whatever their case, and each once."""
        self.assertEqual(list(self.public), sorted(set(self.public), key=str.lower))

    def test_every_name_is_there_and_described(self) -> None:
        for name in self.public:
            value = getattr(self.module, name)
            if not isinstance(value, str):  # those have comments
                self.assertTrue((value.__doc__ or "").strip(), name)

    def test_star(self) -> None:
        namespace: dict[str, object] = {}
        exec(f"from {self.module.__name__} import *", namespace)
        self.assertEqual(sorted(set(namespace) - {"__builtins__"}), self.names)

    def bound(self) -> set[str]:
        """Collect what users may take for public, modules apart."""
        named = {name: getattr(self.module, name) for name in dir(self.module)}.items()
        return {name for name, value in named if not name.startswith("_") and not isinstance(value, ModuleType)}

    def test_nothing_else(self) -> None:
        self.assertEqual(self.bound() - set(self.names), set())


class CoreExportsTests(ExportsTests):
    module, public, names = sodiumtwist.core, sodiumtwist.core.__all__, CORE


class TestingExportsTests(ExportsTests):
    module, public, names = sodiumtwist.testing, sodiumtwist.testing.__all__, TESTING

    def bound(self) -> set[str]:
        tree = ast.parse(inspect.getsource(self.module))
        imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
        return super().bound() - {alias.asname or alias.name for node in imports for alias in node.names}


class ImportTests(SynchronousTestCase):
    def test_version(self) -> None:
        self.assertRegex(sodiumtwist.__version__, r"^\d+\.\d+\.\d+")
