"""
The files that endpoint strings name.
"""

from __future__ import annotations

import os

from twisted.internet.endpoints import quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair
from sodiumtwist.keyfiles import write_key_file

from .pair import LOGIN, PASSPHRASE, SERVER_PAIR


class SecretsTestCase(SynchronousTestCase):
    """Has the files that endpoint strings name."""

    def make_secrets(self) -> tuple[str, str]:
        directory = self.mktemp()
        os.mkdir(directory)
        # A name with all that needs to be quoted.
        self.key_file = os.path.join(directory, "k:=\\ey")
        self.passphrase_file = os.path.join(directory, "pass")
        for path, text in ((self.key_file, SERVER_PAIR.secret.hex()), (self.passphrase_file, PASSPHRASE)):
            with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(text + "\n")
        self.key_only = f"keyFile={quoteStringArgument(self.key_file)}"
        self.identity = KeyPair.generate()
        self.identity_file = os.path.join(directory, "identity")
        write_key_file(self.identity_file, self.identity)
        self.list_file = os.path.join(directory, "authorized")
        with open(self.list_file, "w") as file:
            file.write(f"{self.identity.public.hex()}\n")
        secrets = f"login={LOGIN}:passphraseFile={quoteStringArgument(self.passphrase_file)}"
        return (
            f"{secrets}:keyFile={quoteStringArgument(self.key_file)}",
            f"{secrets}:serverKey={SERVER_PAIR.public.hex()}",
        )
