"""
What the command lines have in common.
"""

from __future__ import annotations

from twisted.python import usage

from .auth import DEFAULT_LOGIN, DEFAULT_PASSPHRASE
from .core.keys import KeyPair
from .keyfiles import PASSPHRASE_VARIABLE, read_key_file

#: What a client tells about itself.
CLIENT_PARAMETERS = [
    ["user", "U", DEFAULT_LOGIN, "login"],
    ["passphrase", "P", None, f"passphrase; visible in ps [default: {DEFAULT_PASSPHRASE}]"],
    ["passphrase-file", None, None, f"file whose first line is the passphrase; or set ${PASSPHRASE_VARIABLE}"],
    ["identity", None, None, "file with our private key, for servers that know its public key [default: a fresh key]"],
]

CLIENT_FILES = {"passphrase-file": usage.CompleteFiles(), "identity": usage.CompleteFiles()}


def read_identity(options: usage.Options) -> KeyPair | None:
    """
    Read what ``--identity`` names; ``None`` when it names nothing.

    :raises OSError, InvalidKey, LocalProtocolError: as :func:`~sodiumtwist.keyfiles.read_key_file`.
    """
    return None if options["identity"] is None else read_key_file(options["identity"])


class ServiceOptions(usage.Options):
    """
    The command line of a twistd service; what is wrong with it ends the program with one line.

    :cvar program: the service's name.
    """

    program = ""

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        :raises SystemExit: with one line, where twistd would print its whole help with it.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            raise SystemExit(f"{self.program}: {error}; see twistd {self.program} --help") from None

    def parseArgs(self, *arguments: str) -> None:
        """
        :raises UsageError: for any argument, there are none.
        """
        if arguments:
            raise usage.UsageError(f"unexpected argument {ascii(arguments[0])}")
