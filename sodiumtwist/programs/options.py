"""
What the command lines have in common.
"""

from __future__ import annotations

import getopt
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Collection, Mapping
from itertools import zip_longest
from typing import Any

from twisted.python import usage

from .. import __version__
from ..contacts.keyfiles import PASSPHRASE_VARIABLE
from ..core.credentials import PASSPHRASE_SIZE, pack_credentials, pad_credentials
from ..core.errors import LocalProtocolError, UnsupportedProtocol
from ..core.v2.agreement import check_supported
from ..core.v2.noise import load
from ..core.version import VERSIONS, version_of
from ..describe import describe_os_error
from .completers import CompleteServers, CompleteWords
from .output import print_text
from .settings import CONNECT_TIMEOUT

#: What both ends take when nothing is said. The C programs take the same, so all of them work together as they are.
DEFAULT_LOGIN = "username"
DEFAULT_PASSPHRASE = "passphrase"

#: The version of the protocol that our clients speak when nothing is said, as those in code do.
DEFAULT_PROTOCOL = "2"

#: Of all that connect.
TIMEOUT_PARAMETER = ["timeout", None, f"{CONNECT_TIMEOUT:g}", "seconds for connecting"]

#: What a client tells about itself. Nothing has a default here: it must be known what was given, since of a server that
#: is known by name the rest is known, too.
CLIENT_PARAMETERS = [
    ["user", "U", None, f"login [default: {DEFAULT_LOGIN}]"],
    ["passphrase", "P", None, "passphrase; visible in ps [default: asked for]"],
    ["passphrase-file", None, None, f"passphrase in a file; or ${PASSPHRASE_VARIABLE}"],
    ["identity", None, None, "file with our private key [default: a fresh key]"],
    ["protocol", None, None, f"version to speak, 1 with C programs [default: {DEFAULT_PROTOCOL}]"],
    TIMEOUT_PARAMETER,
]

#: What a client tells about the server, and about itself.
SERVER_PARAMETERS = [
    ["to", "t", None, "the server: NAME, URL, HOST:PORT or endpoint"],
    ["server-key", "k", None, "its public key, where --to has none"],
    *CLIENT_PARAMETERS,
]

#: The most that ``--timeout`` takes, in seconds: an hour. More is a mistake, in milliseconds for instance.
TIMEOUT_LIMIT = 3600.0

#: What the options of clients were called: ``--to`` and ``--server-key``. Commands and tunnel had each their own names.
CLIENT_ALIASES = {"endpoint": "to", "e": "to", "key": "server-key"}

#: What shells complete behind ``--protocol``.
COMPLETE_PROTOCOL = CompleteWords(map(str, VERSIONS))

CLIENT_COMPLETIONS = {
    "to": CompleteServers(),
    "server-key": usage.CompleteFiles(),
    "passphrase-file": usage.CompleteFiles(),
    "identity": usage.CompleteFiles(),
    "protocol": COMPLETE_PROTOCOL,
}


#: What makes the file that an option names.
MAKING = {
    "key-file": "sodiumtwist keygen --output FILE",
    "identity": "sodiumtwist keygen --output FILE",
    "passphrase-file": "(umask 077 && cat > FILE), with the passphrase on its first line",
}


def protocol_version(text: str) -> int:
    """
    Read the value of ``--protocol``.

    :return: a version of the protocol.
    :raises UsageError: when it is none.
    """
    version = version_of(text)
    if version is None:
        raise usage.UsageError(f"--protocol takes {' or '.join(map(str, VERSIONS))}, not {text!r}")
    return version


def connect_timeout(text: str) -> float:
    """
    Read the value of ``--timeout``.

    :return: seconds.
    :raises UsageError: when it is no time that makes sense.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    # Not "seconds <= 0 or …": NaN is neither smaller nor larger than anything, and would get through.
    if not 0 < seconds <= TIMEOUT_LIMIT:
        raise usage.UsageError(f"--timeout takes a number of seconds up to {TIMEOUT_LIMIT:g}, not {text!r}")
    return seconds


def check_versions(versions: Collection[int]) -> None:
    """
    Check, before anything is begun, that versions of the protocol can be spoken here. What that needs is there then,
    also behind ``twistd --chroot``.

    :raises UnsupportedProtocol: when something is missing for version 2.
    """
    if 2 in versions:
        try:
            check_supported()
            load()
        except UnsupportedProtocol as error:
            raise UnsupportedProtocol(
                f"{error}; install what has it, or give --protocol 1, whose sessions can be read later by whoever gets "
                "hold of a key"
            ) from None


def check_credentials(login: str, passphrase: str, versions: Collection[int]) -> None:
    """
    Check, before anything is begun, that a login and a passphrase fit.

    :param versions: of the protocol, one of which they must fit.
    :raises LocalProtocolError: when they do not.
    """
    pad_credentials(login, passphrase)
    if 2 in versions:
        return
    try:
        pack_credentials(login, passphrase)
    except LocalProtocolError as error:
        raise LocalProtocolError(
            f"{error} with --protocol 1; version 2 takes passphrases of up to {PASSPHRASE_SIZE} bytes"
        ) from None


def with_help(error: usage.UsageError, command: str) -> str:
    """
    Say on one line what is wrong with a command line, and which help tells more.

    :param command: whose help.
    """
    line = str(error)
    if "--help" in line:
        return line  # it names a page of its own
    return f"{line}{'' if line.endswith('?') else ';'} see {command} --help"


def did_you_mean(said: str, known: Collection[str]) -> str:
    """
    Name what somebody may have meant; nothing when nothing is near.

    :param known: what there is.
    """
    # Not at the top: nearly all command lines are right.
    from difflib import get_close_matches

    near = get_close_matches(said, known, 1, 0.75)
    return f"; did you mean {near[0]}" if near else ""


def _explain(error: getopt.GetoptError, names: Collection[str]) -> str:
    """
    Say what is wrong with an option.

    :param names: the long ones that there are.
    """
    option = f"-{error.opt}" if len(error.opt) == 1 else f"--{error.opt}"
    if "not recognized" in error.msg:
        return f"there is no option {option}{did_you_mean(option, [f'--{name}' for name in names])}"
    if "unique prefix" in error.msg:
        return f"{option} may be {' or '.join(sorted(f'--{name}' for name in names if name.startswith(error.opt)))}"
    return f"{option} {'needs a value' if 'requires' in error.msg else 'takes no value'}"


def describe_file_error(options: Mapping[str, Any], error: OSError) -> str:
    """
    Say on one line what is wrong with a file, and of one that is not there what makes it.

    :param options: of the command line, which may name the file.
    """
    why = describe_os_error(error)
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        missing = os.path.abspath(os.fsdecode(error.filename))
        for name, command in MAKING.items():
            path = options.get(name)
            if path and os.path.abspath(path) == missing:
                return f"{why}; to make it: {command.replace('FILE', shlex.quote(path))}"
    return why


def _in_two_columns(text: str, width: int) -> str:
    """Set short lines side by side, so that a long list fits a screen: the first half, and the second beside it."""
    # Twisted sets what a command does far from its name.
    pairs = [line.split(None, 1) for line in text.splitlines()]
    if any(len(pair) < 2 for pair in pairs):
        return text  # wrapped, as it is where a screen is narrow
    longest = max((len(name) for name, _ in pairs), default=0)
    lines = [f"  {name:{longest}}  {purpose}" for name, purpose in pairs]
    half = (len(lines) + 1) // 2
    left = max(map(len, lines[:half]), default=0)
    rows = [f"{line:{left}}{other}" for line, other in zip_longest(lines[:half], lines[half:], fillvalue="")]
    return text if max(map(len, rows), default=0) > width else "\n".join(map(str.rstrip, rows))


class ProgramOptions(usage.Options):
    """
    A command line whose help begins with what the program is for, and how to call it.

    :cvar purpose: what the program does, in one paragraph.
    :cvar examples: commands to copy; ``PUBLICKEY`` and ``HOST`` stand in for what only the reader knows.
    :cvar notes: what else there is to say, below the options.
    :cvar hidden: options that work, and that the help does not name.
    :cvar aliases: other names of options, which the help does not name: a name of one letter or more, and which option
        it stands for. An option has one name; these are what it was called before, or is called elsewhere.
    """

    purpose = ""
    examples: tuple[str, ...] = ()
    notes = ""
    hidden: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}

    # Without one, Twisted shows the docstring of the program that was started.
    longdesc = ""

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        Parse the command line. Options may stand anywhere, also behind arguments; ``--`` ends them.

        :param options: the words; ``None`` for those of the process.
        :raises UsageError: when something is wrong.
        """
        words = sys.argv[1:] if options is None else options
        # A subcommand's options are its own; and Twisted's completion knows its words by their places.
        if not hasattr(self, "subCommands") and "--_shell-completion" not in words[-2:-1]:
            words = self._in_order(words)
        super().parseOptions(words)  # type: ignore[no-untyped-call]

    def _in_order(self, words: list[str]) -> list[str]:
        """
        Put the options first, as Twisted's parser wants them, each by its own name.

        :raises UsageError: for an option that there is not, or that lacks its value.
        """
        # Each name with "=" behind it when it takes a value, as getopt has it.
        names = {name.rstrip("="): name for name in self.longOpt}
        letters = self.shortOpt
        taking = {name for name in names if names[name].endswith("=")}
        meant = {}
        for alias, name in self.aliases.items():
            if len(alias) == 1:
                letters += f"{alias}:" if name in taking else alias
            else:
                names[alias] = f"{alias}=" if name in taking else alias
            meant[f"-{alias}" if len(alias) == 1 else f"--{alias}"] = f"--{name}"
        taking |= {letter for letter, mark in zip(letters, letters[1:] + " ", strict=True) if mark == ":"}
        try:
            options, arguments = getopt.gnu_getopt(words, letters, list(names.values()))
        except getopt.GetoptError as error:
            try:
                if "unique prefix" not in error.msg:
                    raise
                # What begins an option may begin an alias, too. The option is meant.
                options, arguments = getopt.gnu_getopt(words, letters, self.longOpt)
            except getopt.GetoptError:
                raise usage.UsageError(_explain(error, names)) from None
        ordered: list[str] = []
        for option, value in options:
            own = meant.get(option, option)
            if not value:
                self._check_empty(option, self.synonyms.get(own.lstrip("-"), ""))
            ordered += [own, value] if own.lstrip("-") in taking else [own]
        return [*ordered, "--", *arguments]

    def _check_empty(self, option: str, name: str) -> None:
        """
        Refuse an empty value of an option that takes a file: it may come from a variable of the shell that is not set.
        To take it for "not given" could leave a door open.
        """
        for kind, what in ((usage.CompleteDirs, "folder"), (usage.CompleteFiles, "file")):
            if isinstance(self.completers().get(name), kind):
                raise usage.UsageError(f"{option} is empty; give the name of a {what}, or leave it out")

    def completers(self) -> dict[str, usage.Completer]:
        """Give what shells complete as the values of options, by their names."""
        found: dict[str, usage.Completer] = {}
        for kind in reversed(type(self).__mro__):
            data = vars(kind).get("compData")
            if isinstance(data, usage.Completions):
                found.update(data.optActions)
        return found

    def getUsage(self, width: int | None = None) -> str:
        """
        Make the help, without its first line.

        :param width: in columns; ``None`` for that of the terminal, but from 40 to 80.
        """
        # A terminal may say that it has no columns, or very many. Help stays readable in both.
        if width is None:
            width = max(40, min(80, shutil.get_terminal_size().columns))
        # Twisted puts the commands last, below all options. Here they come first.
        options, commands_title, commands = self._whole_usage(width).partition("Commands:\n")
        examples = "".join(f"  {example}\n" for example in self.examples)
        parts = [
            textwrap.fill(self.purpose, width),
            f"{'Example' if len(self.examples) == 1 else 'Examples'}:\n{examples}",
            commands_title + _in_two_columns(commands, width),
            options,
            textwrap.fill(self.notes, width),
        ]
        return "\n" + "\n\n".join(part.strip("\n") for part in parts if part)

    def _whole_usage(self, width: int) -> str:
        every = self.longOpt
        self.longOpt = [name for name in every if name.rstrip("=") not in self.hidden]
        try:
            return super().getUsage(width)
        finally:
            self.longOpt = every

    def opt_help(self) -> None:
        """Display this help and exit."""
        self._show(str(self))

    # Twisted leaves -h free.
    opt_h = opt_help

    def opt_version(self) -> None:
        """Display the version and exit."""
        self._show(f"sodiumtwist {__version__}")

    def _show(self, text: str) -> None:
        print_text(text)
        sys.exit(0)
