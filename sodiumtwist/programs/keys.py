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
from .output import print_error


def keygen(output: str | None) -> None:
    """
    Make a private key, and print its public key.

    :param output: the new file for the private key; ``None`` to print it.
    :raises UsageError: when the file exists, or what is printed would be lost.
    :raises OSError: when the file can't be written.
    """
    pair = KeyPair.generate()
    if output is None:
        if sys.stdout is None:
            raise UsageError("standard output is closed, and the private key would be lost; use --output")
        mode = os.fstat(1).st_mode
        if stat.S_ISREG(mode) and others_can_read(mode):
            print_error("warning: others can read the file that the private key goes to; use --output FILE")
        print(f"private key: {pair.secret.hex()}")
    else:
        try:
            write_key_file(output, pair)
        except FileExistsError:
            raise UsageError(f"{output} exists and is not overwritten; choose another name") from None
    print(f"public key: {pair.public.hex()}")


def pubkey(path: str) -> None:
    """
    Print the public key of a private key file.

    :raises OSError, InvalidKey, LocalProtocolError: as :func:`~sodiumtwist.keyfiles.read_key_file`.
    """
    print(read_key_file(path).public.hex())
