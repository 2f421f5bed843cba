"""
How commands start: what they load.
"""

from __future__ import annotations

import os
import sys

from ..processes import PUBLIC, SECRET, ProcessTestCase

#: Runs the command line, and tells on standard error what was loaded at its end.
TELLING = [
    sys.executable,
    "-c",
    "import atexit, sys; atexit.register(lambda: print('loaded', *sys.modules, file=sys.stderr)); "
    "from sodiumtwist.__main__ import main; main()",
]

#: What no command needs that does not connect: each takes long to load.
OF_CONNECTIONS = """
    asyncio cryptography OpenSSL service_identity sqlite3 tqdm twisted.application twisted.cred twisted.internet
    twisted.logger twisted.plugin zope sodiumtwist.endpoints sodiumtwist.protocol sodiumtwist.transfer
    sodiumtwist.programs.commands sodiumtwist.programs.listening sodiumtwist.programs.running
"""

#: What a client that sends does not need: the other commands, the services, what draws on a terminal.
OF_OTHERS = """
    getpass sqlite3 tqdm nacl.pwhash twisted.application sodiumtwist.admission.argon2 sodiumtwist.admission.passwords
    sodiumtwist.admission.replay_database sodiumtwist.endpoints sodiumtwist.tunnel sodiumtwist.transfer.receiver
    sodiumtwist.transfer.stores sodiumtwist.programs.demo sodiumtwist.programs.keys sodiumtwist.programs.listening
    sodiumtwist.programs.passwd sodiumtwist.programs.services sodiumtwist.programs.tap
"""


class LoadedTests(ProcessTestCase):
    """What commands load. It is counted, since time depends on the machine."""

    def loaded(self, *arguments: str) -> set[str]:
        """The modules of a command that ends well."""
        command = self.run_process([*TELLING, *arguments])
        self.assertEqual(command.wait(), 0, command.errors)
        return set(command.wait_for("^loaded (.*)")[1].split())

    def assert_without(self, modules: set[str], packages: str) -> None:
        """None of the packages is loaded, nor anything in them."""
        self.assertIn("sodiumtwist.programs.cli", modules)
        for package in packages.split():
            found = {name for name in modules if name == package or name.startswith(f"{package}.")}
            self.assertEqual(found, set(), package)

    def test_without_connection(self) -> None:
        """What connects nowhere loads neither the reactor nor anything around it."""
        with open(os.open(self.path("k"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(SECRET)
        with open(os.open(self.path("p"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("open sesame")
        for arguments in (
            ["--version"],
            ["--help"],
            ["send", "--help"],
            ["keygen"],
            ["pubkey", "k"],
            ["passwd", "--passphrase-file", "p", "users", "ann"],
        ):
            self.assert_without(self.loaded(*arguments), OF_CONNECTIONS)

    def test_send(self) -> None:
        """What sends loads the reactor, and nothing that only others need."""
        self.start_server()
        modules = self.loaded("send", "--key", PUBLIC, "--endpoint", self.endpoint, self.make_file("in", 2))
        self.assertIn("twisted.internet.reactor", modules)
        self.assert_without(modules, OF_OTHERS)
