"""
The command ``sodiumtwist``: its command line.

What a command does stands in a module of its own, which is imported when the command runs: to import Twisted's reactor
alone takes longer than a whole ``keygen``.
"""

from __future__ import annotations

import sys

from twisted.python import usage

from ..core.errors import SodiumError
from ..describe import describe_os_error
from ..keyfiles import read_server_key
from .exits import EXIT_INTERRUPTED, EXIT_USAGE, CommandFailed
from .options import (
    CLIENT_COMPLETIONS,
    CLIENT_PARAMETERS,
    ProgramOptions,
    check_credentials,
    check_versions,
    protocol_version,
    read_credentials,
)
from .output import prepare_outputs, print_error
from .settings import ConnectSettings, Credentials, PasswdSettings, PingSettings, SendSettings
from .without_tls import load_endpoints

#: Where ``twistd sodium`` listens when nothing is said.
DEFAULT_CONNECT = "tcp:127.0.0.1:5555"

#: The most that ``ping --interval`` takes, in seconds.
INTERVAL_LIMIT = 60.0


def take_arguments(arguments: tuple[str, ...], count: int, names: str = "FILE") -> tuple[str, ...]:
    """
    Check how many arguments there are.

    :param count: how many there should be.
    :param names: what the error calls them.
    :return: the arguments.
    :raises UsageError: when there are too few or too many.
    """
    if len(arguments) < count:
        raise usage.UsageError(f"{names} is missing")
    if len(arguments) > count:
        # Most often it is an option: behind the first argument, Twisted's parser takes all for arguments.
        advice = f"; options come before {names}" if count else ""
        raise usage.UsageError(f"unexpected argument {ascii(arguments[count])}{advice}")
    return arguments


class CommandOptions(ProgramOptions):
    """
    The command line of one subcommand.

    :cvar synopsis: what the usage line says behind ``sodiumtwist``.
    """

    synopsis: str

    def getSynopsis(self) -> str:
        """Return the first line of the help."""
        return f"Usage: sodiumtwist {self.synopsis}"

    def execute(self) -> None:
        """
        Run the command.

        :raises SystemExit: with the exit status. A command that needs no reactor returns instead when all went well.
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
        """Refuse all arguments."""
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
        """Take the path of the key file."""
        (self["path"],) = take_arguments(arguments, 1)

    def execute(self) -> None:
        from .keys import pubkey

        pubkey(self["path"])


class PasswdOptions(CommandOptions):
    """
    ``sodiumtwist passwd``

    :ivar settings: what is asked for. It is there when the command line is parsed.
    """

    settings: PasswdSettings

    synopsis = "passwd [options] FILE LOGIN"
    purpose = (
        "Adds a login to a file for 'twistd sodium --auth argon2:FILE', or changes its passphrase, which is asked "
        "for on the terminal."
    )
    examples = (
        "sodiumtwist passwd users.txt ann",
        "sodiumtwist passwd --protocol 2 users.txt bob",
        "sodiumtwist passwd --delete users.txt ann",
    )
    notes = "Exit status: 0 done, 1 usage, 3 --verify says no."
    optFlags = [
        ["delete", None, "take the login out"],
        ["verify", None, "tell whether the passphrase is right, and change nothing"],
    ]
    optParameters = [
        ["passphrase-file", None, None, "file whose first line is the passphrase"],
        ["protocol", None, None, "2: let the login in with version 2 alone"],
    ]
    compData = usage.Completions(
        optActions={"passphrase-file": usage.CompleteFiles(), "protocol": usage.CompleteList(["2"])},
        mutuallyExclusive=[
            ("delete", "verify"),
            ("delete", "passphrase-file"),
            ("delete", "protocol"),
            ("verify", "protocol"),
        ],
        extraActions=[usage.CompleteFiles(descr="file of logins"), usage.Completer(descr="login")],
    )

    def parseArgs(self, *arguments: str) -> None:
        """Take the path of the file, and the login."""
        self["path"], self["login"] = take_arguments(arguments, 2, "FILE LOGIN")

    def postOptions(self) -> None:
        """
        Check the options together, and make the settings.

        :raises UsageError: when two options exclude each other.
        """
        # To delete needs no passphrase, and --verify promises to change nothing.
        if self["delete"] and (self["verify"] or self["passphrase-file"]):
            raise usage.UsageError("--delete goes alone")
        if self["protocol"] is not None:
            if self["delete"] or self["verify"]:
                raise usage.UsageError("--protocol goes with a new passphrase alone")
            # Whoever takes a promise back does so on purpose.
            if self["protocol"] != "2":
                raise usage.UsageError("--protocol takes 2; to take that back, --delete the login and add it again")
        self.settings = PasswdSettings(
            self["path"],
            self["login"],
            bool(self["delete"]),
            bool(self["verify"]),
            self["passphrase-file"],
            self["protocol"] is not None,
        )

    def execute(self) -> None:
        from .passwd import passwd

        passwd(self.settings)


class ConnectOptions(CommandOptions):
    """
    What the subcommands that connect to a server have in common.

    :ivar settings: what is asked for. It is there when the command line is parsed.
    """

    settings: ConnectSettings

    optParameters = [
        ["key", "k", None, "the server's public key, 64 hex digits (required)"],
        ["endpoint", "e", DEFAULT_CONNECT, "the server's endpoint"],
        *CLIENT_PARAMETERS,
    ]
    compData = usage.Completions(optActions=CLIENT_COMPLETIONS, mutuallyExclusive=[("passphrase", "passphrase-file")])

    def read_server(self) -> tuple[str, bytes, Credentials, int]:
        """
        Check what the options say about the server and the client, and read the files that they name.

        :return: the endpoint string, the server's public key of 32 bytes, who the client says it is, and the version
            of the protocol.
        :raises UsageError: when there is no key, and for a version that there is not.
        :raises OSError: when a file can't be read.
        :raises SodiumError: when a key, a file, the login or the passphrase is wrong.
        """
        if self["key"] is None:
            raise usage.UsageError("--key is missing: the server's public key, which the server logs when it starts")
        version = protocol_version(self["protocol"])
        credentials, warning = read_credentials(self)
        if warning:
            print_error(f"warning: {warning}")
        # The factory checks these again. Here the mistake is told before the reactor is loaded and a file opened.
        server_key = read_server_key(self["key"], "server's public key", credentials.pair)
        check_credentials(credentials.user, credentials.passphrase, (version,))
        check_versions((version,))
        return self["endpoint"], server_key, credentials, version


class SendOptions(ConnectOptions):
    """``sodiumtwist send``"""

    settings: SendSettings

    synopsis = "send --key PUBLICKEY [options] FILE"
    purpose = "Sends FILE (- for standard input) and ends when the server has confirmed all."
    examples = (
        "sodiumtwist send --key PUBLICKEY --endpoint tcp:HOST:5555 \\\n      --passphrase-file pass.txt backup.tar",
    )
    notes = (
        "Exit status: 0 all confirmed, 1 usage, 2 no connection, 3 refused, 4 broken off, 5 not stored, "
        "7 too many failures, 8 no room, 9 stopping, 10 storage."
    )
    optFlags = [
        ["quiet", "q", "show no progress"],
        ["json", None, "print the closing line as JSON"],
    ]
    compData = usage.Completions(extraActions=[usage.CompleteFiles(descr="file to send")])

    def parseArgs(self, *arguments: str) -> None:
        """Take the path of the file."""
        (self["path"],) = take_arguments(arguments, 1)

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError, OSError, SodiumError: as :meth:`read_server` does.
        """
        self.settings = SendSettings(*self.read_server(), self["path"], bool(self["quiet"]), bool(self["json"]))

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
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
        """Refuse all arguments."""
        take_arguments(arguments, 0)

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError: when a number is out of its range, or is no number.
        :raises OSError, SodiumError: as :meth:`read_server` does.
        """
        server = self.read_server()
        # What is no number is answered as a number out of range is: with what would be right.
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
        # Not "interval < 0 or …": NaN is neither smaller nor larger than anything, and would get through.
        if not 0 <= interval <= INTERVAL_LIMIT:
            raise usage.UsageError(f"--interval takes a number of seconds from 0 to {INTERVAL_LIMIT:g}")
        self.settings = PingSettings(*server, count, interval)

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
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
        """Take the path of the file, when one is given."""
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
    prepare_outputs()
    options = Options()
    try:
        options.parseOptions(arguments)
        # Nobody has asked for help: standard output stays empty, and the status says that nothing was done.
        if options.subCommand is None:
            # None when it was closed at the start; print() would take standard output then.
            if sys.stderr is not None:
                print(options, file=sys.stderr)
            raise SystemExit(EXIT_USAGE)
        options.subOptions.execute()
    except usage.UsageError as error:
        # Without a subcommand there would be two blanks.
        _fail(EXIT_USAGE, f"{error}; see sodiumtwist {options.subCommand or ''} --help".replace("  ", " "))
    except SodiumError as error:
        _fail(EXIT_USAGE, str(error))
    except CommandFailed as failed:
        _fail(failed.status, str(failed))
    except OSError as error:
        _fail(EXIT_USAGE, describe_os_error(error))
    # From passwd, or from the moments before the reactor has Ctrl-C. Anywhere else Ctrl-C ends the process at once.
    except KeyboardInterrupt:
        _fail(EXIT_INTERRUPTED, "interrupted")


def _fail(status: int, line: str) -> None:
    if line:
        print_error(line)
    raise SystemExit(status) from None
