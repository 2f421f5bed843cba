"""
The command ``sodiumtwist``: its command line.

What a command does stands in a module of its own, which is imported when the command runs: to import Twisted's reactor
alone takes longer than a whole ``keygen``.
"""

from __future__ import annotations

import sys
from typing import Any, cast

from twisted.python import usage

from ..core.errors import SodiumError
from .book_options import AddOptions, ForgetOptions, JoinOptions, ServersOptions
from .client_options import GetOptions, ListOptions, PingOptions, PipeOptions, SendOptions
from .command_options import CommandOptions, take_arguments, take_optional
from .completers import CompleteWords
from .exits import EXIT_INTERRUPTED, EXIT_USAGE, CommandFailed
from .key_options import InviteOptions, KeygenOptions, PasswdOptions, PubkeyOptions, URLOptions
from .options import describe_file_error, did_you_mean, with_help
from .output import prepare_outputs, print_error

#: The shells that there are scripts for.
SHELLS = ("bash", "zsh", "fish")

#: In their place, what the scripts themselves ask for: the names of the servers that are known.
NAMES = "servers"


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
        self["path"] = take_optional(arguments)

    def execute(self) -> None:
        from .demo import demo
        from .running import run

        run(demo, self["path"])


class CompletionOptions(CommandOptions):
    """``sodiumtwist completion``"""

    synopsis = "completion SHELL"
    purpose = (
        "Prints a script by which a shell, bash, zsh or fish, completes commands, options, files, and names of "
        "servers. Put it into a file where the shell looks for such."
    )
    examples = ("sodiumtwist completion bash",)
    notes = 'In ~/.bashrc, this line does it: eval "$(sodiumtwist completion bash)"'
    compData = usage.Completions(extraActions=[CompleteWords(SHELLS)])

    def parseArgs(self, *arguments: str) -> None:
        """Take the name of the shell."""
        (self["shell"],) = take_arguments(arguments, 1, "SHELL")

    def postOptions(self) -> None:
        """
        Check the name.

        :raises UsageError: when there is no script for it.
        """
        if self["shell"] not in (*SHELLS, NAMES):
            shells = f"{', '.join(SHELLS[:-1])} and {SHELLS[-1]}"
            raise usage.UsageError(f"completion is for {shells}, not {self['shell']!r}")

    def execute(self) -> None:
        from .completion import CommandLine, completion, names_of_servers

        if self["shell"] == NAMES:
            names_of_servers()
            return
        from . import tap, tunneltap

        completion(
            self["shell"],
            CommandLine("sodiumtwist", Options, ""),
            [CommandLine(name, kind, purpose) for name, _, kind, purpose in cast(list[Any], Options.subCommands)],
            [
                CommandLine("sodium", tap.Options, "receive and share files, or forward streams"),
                CommandLine("sodium-tunnel", tunneltap.Options, "carry connections to a server"),
            ],
        )


class Options(CommandOptions):
    """``sodiumtwist``"""

    synopsis = "<command> [options]"
    hidden = ()
    purpose = "Sends files over encrypted TCP to a server started with 'twistd sodium'."
    examples = ("sodiumtwist demo",)
    notes = (
        "Exit status: 0 done, 1 usage, 2 no connection, 3 refused, 4 broken off, 5 not all stored, "
        "7 too many failures, 8 no room, 9 stopping, 10 storage."
    )
    subCommands = [
        ["keygen", None, KeygenOptions, "make a private key"],
        ["pubkey", None, PubkeyOptions, "print a public key"],
        ["passwd", None, PasswdOptions, "change a file of logins"],
        ["invite", None, InviteOptions, "invite to a server"],
        ["url", None, URLOptions, "print a server's URL"],
        ["join", None, JoinOptions, "use an invitation"],
        ["add", None, AddOptions, "keep a server by a name"],
        ["servers", None, ServersOptions, "list servers by name"],
        ["forget", None, ForgetOptions, "forget a server"],
        ["send", None, SendOptions, "send files and folders"],
        ["get", None, GetOptions, "get files and folders"],
        ["list", None, ListOptions, "list what can be got"],
        ["ping", None, PingOptions, "time a server's answers"],
        ["pipe", None, PipeOptions, "stream to a service"],
        ["demo", None, DemoOptions, "try it all here"],
        ["completion", None, CompletionOptions, "complete in a shell"],
    ]

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        Parse the command line.

        :raises UsageError: when something is wrong.
        :raises SodiumError: for an invitation in place of a command.
        """
        words = sys.argv[1:] if options is None else options
        names = [each[0] for each in cast(list[Any], self.subCommands)]
        first = next((word for word in words if not word.startswith("-")), None)
        # Twisted's completion asks what an unfinished word may become.
        if first is not None and first not in names and "--_shell-completion" not in words:
            from ..contacts.urls import is_url, parse_card

            if is_url(first):
                parse_card(first)
                raise usage.UsageError("to keep that server by a name, run: sodiumtwist add NAME 'URL'")
            raise usage.UsageError(f"there is no command {first!r}{did_you_mean(first, names)}")
        super().parseOptions(options)


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
        _fail(EXIT_USAGE, with_help(error, f"sodiumtwist {options.subCommand or ''}".rstrip()))
    except SodiumError as error:
        _fail(EXIT_USAGE, str(error))
    except CommandFailed as failed:
        _fail(failed.status, str(failed))
    except OSError as error:
        _fail(EXIT_USAGE, describe_file_error(getattr(options, "subOptions", {}), error))
    # From passwd, or from the moments before the reactor has Ctrl-C. Anywhere else Ctrl-C ends the process at once.
    except KeyboardInterrupt:
        _fail(EXIT_INTERRUPTED, "interrupted")


def _fail(status: int, line: str) -> None:
    if line:
        print_error(line)
    raise SystemExit(status) from None
