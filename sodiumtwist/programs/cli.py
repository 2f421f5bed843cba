"""
The command ``sodiumtwist``: its command line. What the subcommands that talk to a server do is in
:mod:`sodiumtwist.programs.commands`.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
import warnings
from typing import Any

from twisted.internet.endpoints import clientFromString
from twisted.python import usage

from ..admission.checkers import DEFAULT_PASSPHRASE
from ..admission.files import others_can_read
from ..admission.passwords import (
    check_login,
    delete_password,
    hash_passphrase,
    read_passwords,
    set_password,
    verify_passphrase,
)
from ..core.errors import SodiumError
from ..core.keys import KeyPair, parse_key
from ..describe import describe_bad_endpoint, describe_os_error
from ..keyfiles import read_key_file, read_passphrase, read_passphrase_file, write_key_file
from ..protocol.factories import SodiumClientFactory
from .commands import ping, send
from .demo import demo
from .options import CLIENT_FILES, CLIENT_PARAMETERS, ProgramOptions, read_identity
from .output import discard_standard_output, flush_standard_output, print_error
from .running import EXIT_INTERRUPTED, EXIT_OUTPUT_GONE, EXIT_REFUSED, EXIT_USAGE, CommandFailed, run

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
        pair = KeyPair.generate()
        if self["output"] is None:
            if sys.stdout is None:
                raise usage.UsageError("standard output is closed, and the private key would be lost; use --output")
            mode = os.fstat(1).st_mode
            if stat.S_ISREG(mode) and others_can_read(mode):
                print_error("warning: others can read the file that the private key goes to; use --output FILE")
            print(f"private key: {pair.secret.hex()}")
        else:
            try:
                write_key_file(self["output"], pair)
            except FileExistsError:
                raise usage.UsageError(f"{self['output']} exists and is not overwritten; choose another name") from None
        print(f"public key: {pair.public.hex()}")


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
        print(read_key_file(self["path"]).public.hex())


class PasswdOptions(CommandOptions):
    """``sodiumtwist passwd``"""

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

    def _passphrase(self) -> str:
        if self["passphrase-file"] is not None:
            passphrase, warning = read_passphrase_file(self["passphrase-file"])
            if warning:
                print_error(f"warning: {warning}")
            return passphrase
        passphrase = self._ask("Passphrase: ")
        if not self["verify"] and self._ask("Again: ") != passphrase:
            raise usage.UsageError("the two differ")
        return passphrase

    def _ask(self, prompt: str) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", getpass.GetPassWarning)
                return getpass.getpass(prompt)
        except getpass.GetPassWarning:
            raise usage.UsageError("there is no terminal to ask for the passphrase; use --passphrase-file") from None
        except EOFError:
            raise usage.UsageError("no passphrase was typed") from None
        except UnicodeDecodeError:
            raise usage.UsageError("what was typed is not UTF-8") from None
        except KeyboardInterrupt:
            print(file=sys.stderr)
            raise

    def execute(self) -> None:
        path, login = self["path"], self["login"]
        if self["delete"]:
            if self["verify"] or self["passphrase-file"]:
                raise usage.UsageError("--delete goes alone")
            delete_password(path, login)
            print(f"deleted {ascii(login)}")
        elif self["verify"]:
            string = read_passwords(path).get(login)
            if string is None or not verify_passphrase(string, self._passphrase().encode()):
                raise CommandFailed(EXIT_REFUSED, "login or passphrase is wrong")
            print("right")
        else:
            check_login(login)
            if os.path.exists(path):
                read_passwords(path)  # says what is wrong with it before anything is asked
            changed = set_password(path, login, hash_passphrase(self._passphrase()))
            print(f"{'changed' if changed else 'added'} {ascii(login)}")


class ConnectOptions(CommandOptions):
    """What the subcommands that connect to a server have in common."""

    optParameters = [
        ["key", "k", None, "the server's public key, 64 hex digits (required)"],
        ["endpoint", "e", DEFAULT_CONNECT, "the server's endpoint"],
        *CLIENT_PARAMETERS,
    ]
    compData = usage.Completions(optActions=CLIENT_FILES, mutuallyExclusive=[("passphrase", "passphrase-file")])

    def postOptions(self) -> None:
        """
        Check and read what the options name.

        :raises UsageError: when something in it is wrong.
        """
        if self["key"] is None:
            raise usage.UsageError("--key is missing: the server's public key, which the server logs when it starts")
        self["server_key"] = parse_key(self["key"], "server's public key")
        self["default-passphrase"] = False
        self["passphrase"], warning = read_passphrase(
            self["passphrase-file"], "--passphrase-file", self["passphrase"], "--passphrase"
        )
        if warning:
            print_error(f"warning: {warning}")
        if self["passphrase"] is None:
            self["passphrase"] = DEFAULT_PASSPHRASE
            self["default-passphrase"] = True
        self["pair"] = read_identity(self)
        # Says what is wrong with any of them.
        SodiumClientFactory(self["server_key"], self["user"], self["passphrase"])

    def make_endpoint(self, reactor: Any) -> Any:
        """
        Make the endpoint to connect to.

        :raises UsageError: when its string is not understood.
        """
        try:
            return clientFromString(reactor, self["endpoint"])
        except Exception as error:
            line = describe_bad_endpoint("--endpoint", self["endpoint"], "tcp:HOST:5555", error)
            raise usage.UsageError(line) from None


class SendOptions(ConnectOptions):
    """``sodiumtwist send``"""

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

    def execute(self) -> None:
        run(send, self)


class PingOptions(ConnectOptions):
    """``sodiumtwist ping``"""

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
        super().postOptions()
        try:
            self["count"] = int(self["count"])
        except ValueError:
            self["count"] = 0
        if self["count"] < 1:
            raise usage.UsageError("--count takes a whole number from 1")
        try:
            self["interval"] = float(self["interval"])
        except ValueError:
            self["interval"] = -1
        if not 0 <= self["interval"] <= INTERVAL_LIMIT:
            raise usage.UsageError(f"--interval takes a number of seconds from 0 to {INTERVAL_LIMIT:g}")

    def execute(self) -> None:
        run(ping, self)


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
        run(demo, self)


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
