"""
``sodiumtwist keygen`` and ``sodiumtwist pubkey``.
"""

from __future__ import annotations

import os
import stat
import sys

from twisted.python.usage import UsageError

from ..admission.files import others_can_read
from ..core.keys import KeyPair
from ..keyfiles import read_key_file, write_key_file
from .output import print_error, print_line, tell


def keygen(output: str | None) -> None:
    """
    Make a private key, and print its public key.

    :param output: the path of a new file for the private key; ``None`` to print the key.
    :raises UsageError: when the file exists, and when the key would be printed to nowhere.
    :raises OSError: when the file can't be written.
    :raises OutputLost: when the private key can't be printed.
    """
    pair = KeyPair.generate()
    if output is None:
        if sys.stdout is None:
            raise UsageError("standard output is closed, and the private key would be lost; use --output")
        # A file that the shell makes for ">" gets a usual mode, which lets others read it. What a terminal or a pipe
        # gets is not kept.
        mode = os.fstat(1).st_mode
        if stat.S_ISREG(mode) and others_can_read(mode):
            print_error("warning: others can read the file that the private key goes to; use --output FILE")
        print_line(f"private key: {pair.secret.hex()}")
        print_line(f"public key: {pair.public.hex()}")
    else:
        try:
            write_key_file(output, pair)
        # The old key may be in use: clients know a server by it.
        except FileExistsError:
            raise UsageError(f"{output} exists and is not overwritten; choose another name") from None
        tell(f"public key: {pair.public.hex()}")


def pubkey(path: str) -> None:
    """
    Print the public key of a private key file.

    :param path: of the file.
    :raises OSError: when the file can't be read.
    :raises OutputLost: when the key can't be printed.
    :raises InvalidKey: when it holds something else than a key.
    :raises LocalProtocolError: when others than its owner can read it, and when it is no small text.
    """
    print_line(read_key_file(path).public.hex())
