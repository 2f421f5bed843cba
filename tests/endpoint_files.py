"""
The files that endpoint strings name.
"""

from __future__ import annotations

import os

from twisted.internet.endpoints import quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair
from sodiumtwist.contacts.keyfiles import write_key_file

from .pair import LOGIN, PASSPHRASE, SERVER_PAIR


class EndpointFiles:
    """
    Keys, a passphrase and a list of keys in files.

    :param directory: a directory to make, in which they are put.
    :ivar for_server: the keywords for a server that lets one login in.
    :ivar for_client: the keywords for a client that logs in there.
    :ivar key_only: the keyword with the server's key, and nothing else.
    :ivar identity: the key pair of a client.
    :ivar identity_file: the file of a client's key, which is listed in ``list_file``.
    """

    def __init__(self, directory: str) -> None:
        os.mkdir(directory)
        # A name with every character that must be quoted.
        self.key_file = os.path.join(directory, "k:=\\ey")
        self.passphrase_file = os.path.join(directory, "pass")
        for path, text in ((self.key_file, SERVER_PAIR.secret.hex()), (self.passphrase_file, PASSPHRASE)):
            with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(text + "\n")
        self.key_only = f"keyFile={quoteStringArgument(self.key_file)}"
        self.identity = identity = KeyPair.generate()
        self.identity_file = os.path.join(directory, "identity")
        write_key_file(self.identity_file, identity)
        self.list_file = os.path.join(directory, "authorized")
        with open(self.list_file, "w") as file:
            file.write(f"{identity.public.hex()}\n")
        secrets = f"login={LOGIN}:passphraseFile={quoteStringArgument(self.passphrase_file)}"
        self.for_server = f"{secrets}:{self.key_only}"
        self.for_client = f"{secrets}:serverKey={SERVER_PAIR.public.hex()}"


def hide_secrets(case: SynchronousTestCase) -> None:
    """Take the variables that endpoint strings read out of the environment, until the test is over."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SODIUMTWIST_")}
    case.patch(os, "environ", kept)
