"""
``sodiumtwist keygen`` and ``sodiumtwist pubkey``.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys

from twisted.python.usage import UsageError

from ..admission.files import others_can_read
from ..contacts.keyfiles import PUBLIC_SUFFIX, read_key_file, read_public_key_file, write_key_file
from ..core.keys import KeyPair
from ..describe.fingerprints import fingerprint
from .output import print_error, print_line, tell


def keygen(output: str | None) -> None:
    """
    Make a private key, and print its public key.

    :param output: the path of a new file for the private key, beside which the public key gets its own; ``None`` to
        print both.
    :raises UsageError: when a file exists, and when the key would be printed to nowhere.
    :raises OSError: when a file can't be written.
    :raises OutputLost: when the private key can't be printed.
    """
    pair = KeyPair.generate_to_keep()
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
        print_line(f"fingerprint {fingerprint(pair.public)}")
        return
    public = output + PUBLIC_SUFFIX
    if output.endswith(PUBLIC_SUFFIX):
        raise UsageError(f"--output names the file of the private key; that of the public key gets {PUBLIC_SUFFIX}")
    try:
        write_key_file(output, pair)
    # The old key may be in use: clients know a server by it.
    except FileExistsError as error:
        cure = "choose another name"
        # Of an earlier release, or a power cut came between the two.
        if error.filename == output and os.path.isfile(output) and not os.path.lexists(public):
            cure += (
                f", or: sodiumtwist pubkey {shlex.quote(output)} > {shlex.quote(public)} makes its public key's file"
            )
        raise UsageError(f"{error.filename} exists and is not overwritten; {cure}") from None
    tell(f"private key in {output}, for its owner alone")
    tell(f"public key in {public}, for everybody")
    tell(f"public key: {pair.public.hex()}")
    tell(f"fingerprint {fingerprint(pair.public)}")


def pubkey(path: str) -> None:
    """
    Print the public key of a key file, and its fingerprint to standard error.

    :param path: of a file with a private key, or with a public one.
    :raises OSError: when the file can't be read.
    :raises OutputLost: when the key can't be printed.
    :raises InvalidKey: when it holds something else than a key.
    :raises LocalProtocolError: when others than its owner can read it, and when it is no small text.
    """
    # With its public key, a file shows its fingerprint.
    public = read_public_key_file(path) if path.endswith(PUBLIC_SUFFIX) else read_key_file(path).public
    print_line(public.hex())
    # Not to standard output: scripts take that for the key.
    print_error(f"fingerprint {fingerprint(public)}")
