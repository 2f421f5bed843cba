"""
The command ``sodiumtwist``: its command line. What a command does is in a module that is imported when the command
runs: Twisted's reactor alone takes longer than a whole ``keygen``.
"""

from __future__ import annotations

import os
import sys

from twisted.python import usage

from ..core.credentials import pack_text
from ..core.errors import SodiumError
from ..core.keys import check_server_key, parse_key
from ..describe import describe_os_error
from .exits import EXIT_INTERRUPTED, EXIT_OUTPUT_GONE, EXIT_USAGE, CommandFailed
from .options import CLIENT_FILES, CLIENT_PARAMETERS, ProgramOptions, read_credentials
from .output import discard_standard_output, flush_standard_output, print_error
from .settings import ConnectSettings, Credentials, PasswdSettings, PingSettings, SendSettings

DEFAULT_CONNECT = "tcp:127.0.0.1:5555"

#: The most that ``ping --interval`` takes, in seconds.
INTERVAL_LIMIT = 60.0


def take_arguments(arguments: tuple[str, ...], count: int, names: str = "FILE") -> tuple[str, ...]:
    """
    Return the arguments when there are as many as there should be.

    :param names: what they are called.
    :raises UsageError: otherwise.
    """
    if len(arguments) < count:
        raise usage.UsageError(f"{names} is missing")
    if len(arguments) > count:
        advice = f"; options come before {names}" if count else ""
        raise usage.UsageError(f"unexpected argument {ascii(arguments[count])}{advice}")
    return arguments


class CommandOptions(ProgramOptions):
    """
    The command line of one subcommand.

    :cvar synopsis: the usage, behind ``sodiumtwist``.
    """

    synopsis: str

    def getSynopsis(self) -> str:
        """The first line of the help."""
        return f"Usage: sodiumtwist {self.synopsis}"

    def execute(self) -> None:
        """
        Do it.

        :raises SystemExit: with the exit status, unless it is 0.
        """
        raise NotImplementedError


class KeygenOptions(CommandOptions):
    """``sodiumtwist keygen``"""

    synopsis = "keygen [--output FILE]"
    purpose = "Makes a private key and prints its public key. Without --output the private key is printed too."
    examples = ("sodiumtwist keygen --output server.key",)
    optParameters = [["output", "o", None, "new file for the private key, readable for you alone"]]
    compData = usage.Completions(optActions={"output": usage.CompleteFiles()})

    def parseArgs(self, *arguments: str) -> None:
        """There are none."""
        take_arguments(arguments, 0)

    def execute(self) -> None:
        from .keys import keygen

        keygen(self["output"])


class PubkeyOptions(CommandOptions):
    """``sodiumtwist pubkey``"""

    synopsis = "pubkey FILE"
    purpose = "Prints the public key of a private key file."
    examples = ("sodiumtwist pubkey server.key",)
    compData = usage.Completions(extraActions=[usage.CompleteFiles(descr="private key file")])

    def parseArgs(self, *arguments: str) -> None:
        """Takes the key file."""
        (self["path"],) = take_arguments(arguments, 1)

    def execute(self) -> None:
        from .keys import pubkey

        pubkey(self["path"])


class PasswdOptions(CommandOptions):
    """
    ``sodiumtwist passwd``

    :ivar settings: once parsed.
    """

    settings: PasswdSettings

    synopsis = "passwd [options] FILE LOGIN"
    purpose = (
        "Adds a login to a file for 'twistd sodium --auth argon2:FILE', or changes its passphrase, which is asked "
        "for on the terminal."
    )
    examples = ("sodiumtwist passwd users.txt ann", "sodiumtwist passwd --delete users.txt ann")
    notes = "Exit status: 0 done, 1 usage, 3 --verify says no."
    optFlags = [
        ["delete", None, "take the login out"],
        ["verify", None, "tell whether the passphrase is right, and change nothing"],
    ]
    optParameters = [["passphrase-file", None, None, "file whose first line is the passphrase"]]
    compData = usage.Completions(
        optActions={"passphrase-file": usage.CompleteFiles()},
        mutuallyExclusive=[("delete", "verify"), ("delete", "passphrase-file")],
        extraActions=[usage.CompleteFiles(descr="file of logins"), usage.Completer(descr="login")],
    )

    def parseArgs(self, *arguments: str) -> None:
        """Takes the file and the login."""
        self["path"], self["login"] = take_arguments(arguments, 2, "FILE LOGIN")

    def postOptions(self) -> None:
        """
        Put together what was parsed.

        :raises UsageError: for what excludes each other.
        """
        if self["delete"] and (self["verify"] or self["passphrase-file"]):
            raise usage.UsageError("--delete goes alone")
        self.settings = PasswdSettings(
            self["path"], self["login"], bool(self["delete"]), bool(self["verify"]), self["passphrase-file"]
        )

    def execute(self) -> None:
        from .passwd import passwd

        passwd(self.settings)


class ConnectOptions(CommandOptions):
    """
    What the subcommands that connect to a server have in common.

    :ivar settings: once parsed.
    """

    settings: ConnectSettings

    optParameters = [
        ["key", "k", None, "the server's public key, 64 hex digits (required)"],
        ["endpoint", "e", DEFAULT_CONNECT, "the server's endpoint"],
        *CLIENT_PARAMETERS,
    ]
    compData = usage.Completions(optActions=CLIENT_FILES, mutuallyExclusive=[("passphrase", "passphrase-file")])

    def read_server(self) -> tuple[str, bytes, Credentials]:
        """
        Check and read what the options say of the server and the client.

        :return: the endpoint, the server's public key, and as whom to come.
        :raises UsageError: when there is no key.
        :raises OSError, SodiumError: when something is wrong with what they name.
        """
        if self["key"] is None:
            raise usage.UsageError("--key is missing: the server's public key, which the server logs when it starts")
        server_key = parse_key(self["key"], "server's public key")
        credentials, warning = read_credentials(self)
        if warning:
            print_error(f"warning: {warning}")
        check_server_key(server_key)
        pack_text("login", credentials.user)
        pack_text("passphrase", credentials.passphrase)
        return self["endpoint"], server_key, credentials


class SendOptions(ConnectOptions):
    """``sodiumtwist send``"""

    settings: SendSettings

    synopsis = "send --key PUBLICKEY [options] FILE"
    purpose = "Sends FILE (- for standard input) and ends when the server has confirmed all."
    examples = (
        "sodiumtwist send --key PUBLICKEY --endpoint tcp:HOST:5555 \\\n      --passphrase-file pass.txt backup.tar",
    )
    notes = (
        "Exit status: 0 all confirmed, 1 usage, 2 could not connect, 3 refused, 4 broken on the way, 130 interrupted."
    )
    optFlags = [
        ["quiet", "q", "show no progress"],
        ["json", None, "print the closing line as JSON"],
    ]
    compData = usage.Completions(extraActions=[usage.CompleteFiles(descr="file to send")])

    def parseArgs(self, *arguments: str) -> None:
        """Takes the file."""
        (self["path"],) = take_arguments(arguments, 1)

    def postOptions(self) -> None:
        """
        Check, read and put together what was parsed.

        :raises UsageError, OSError, SodiumError: as :meth:`read_server`.
        """
        self.settings = SendSettings(*self.read_server(), self["path"], bool(self["quiet"]), bool(self["json"]))

    def execute(self) -> None:
        from .commands import send
        from .running import run

        run(send, self.settings)


class PingOptions(ConnectOptions):
    """``sodiumtwist ping``"""

    settings: PingSettings

    synopsis = "ping --key PUBLICKEY [options]"
    purpose = "Connects, sends PINGs and prints how long the answers took."
    examples = ("sodiumtwist ping --key PUBLICKEY --endpoint tcp:HOST:5555 --count 10",)
    notes = "Exit status as of 'sodiumtwist send'."
    optParameters = [
        ["count", "c", "4", "how many PINGs to send"],
        ["interval", "i", "1", "seconds between two PINGs"],
    ]

    def parseArgs(self, *arguments: str) -> None:
        """There are none."""
        take_arguments(arguments, 0)

    def postOptions(self) -> None:
        """
        Check, read and put together what was parsed.

        :raises UsageError: for numbers that are none or out of range.
        :raises OSError, SodiumError: as :meth:`read_server`.
        """
        server = self.read_server()
        try:
            count = int(self["count"])
        except ValueError:
            count = 0
        if count < 1:
            raise usage.UsageError("--count takes a whole number from 1")
        try:
            interval = float(self["interval"])
        except ValueError:
            interval = -1
        if not 0 <= interval <= INTERVAL_LIMIT:
            raise usage.UsageError(f"--interval takes a number of seconds from 0 to {INTERVAL_LIMIT:g}")
        self.settings = PingSettings(*server, count, interval)

    def execute(self) -> None:
        from .commands import ping
        from .running import run

        run(ping, self.settings)


class DemoOptions(CommandOptions):
    """``sodiumtwist demo``"""

    synopsis = "demo [FILE]"
    purpose = (
        "Shows the whole thing on this machine: starts a server with a fresh key on a free loopback "
        "port, sends it FILE (or a sample of its own), compares, and cleans up."
    )
    examples = ("sodiumtwist demo",)
    compData = usage.Completions(extraActions=[usage.CompleteFiles(descr="file to send")])

    def parseArgs(self, *arguments: str) -> None:
        """Takes the file, if there is one."""
        (self["path"],) = take_arguments(arguments, 1) if arguments else (None,)

    def execute(self) -> None:
        from .demo import demo
        from .running import run

        run(demo, self["path"])


class Options(CommandOptions):
    """``sodiumtwist``"""

    synopsis = "<command> [options]"
    purpose = "Sends files over encrypted TCP to a server started with 'twistd sodium'."
    examples = ("sodiumtwist demo", "sodiumtwist send --help")
    subCommands = [
        ["keygen", None, KeygenOptions, "make a private key"],
        ["pubkey", None, PubkeyOptions, "print the public key of a private key"],
        ["passwd", None, PasswdOptions, "change a file of logins for the server"],
        ["send", None, SendOptions, "send a file"],
        ["ping", None, PingOptions, "measure the time to a server and back"],
        ["demo", None, DemoOptions, "try it all on this machine"],
    ]


def main(arguments: list[str] | None = None) -> None:
    """
    Run the command line.

    :param arguments: without the program's name; ``None`` for the process's.
    :raises SystemExit: with the exit status, unless it is 0.
    """
    for descriptor in range(3):
        # A closed one would be given to the next file or socket, to be taken for what it is not.
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    options = Options()
    try:
        options.parseOptions(arguments)
        if options.subCommand is None:
            print(options, file=sys.stderr)
            raise SystemExit(EXIT_USAGE)
        options.subOptions.execute()
        flush_standard_output()
    except usage.UsageError as error:
        _fail(EXIT_USAGE, f"{error}; see sodiumtwist {options.subCommand or ''} --help".replace("  ", " "))
    except SodiumError as error:
        _fail(EXIT_USAGE, str(error))
    except CommandFailed as failed:
        _fail(failed.status, str(failed))
    except BrokenPipeError:
        discard_standard_output()
        raise SystemExit(EXIT_OUTPUT_GONE) from None
    except OSError as error:
        discard_standard_output()
        _fail(EXIT_USAGE, describe_os_error(error))
    except KeyboardInterrupt:
        _fail(EXIT_INTERRUPTED, "interrupted")


def _fail(status: int, line: str) -> None:
    print_error(line)
    raise SystemExit(status) from None
