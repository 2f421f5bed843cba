"""
The command lines of the subcommands that connect to a server.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.python import usage

from ..keyfiles import read_server_key
from .command_options import CommandOptions, take_arguments
from .options import (
    CLIENT_COMPLETIONS,
    CLIENT_PARAMETERS,
    check_credentials,
    check_versions,
    protocol_version,
    read_credentials,
)
from .output import print_error
from .settings import (
    ConnectSettings,
    Credentials,
    GetSettings,
    ListSettings,
    PingSettings,
    SendSettings,
)
from .without_tls import load_endpoints

#: Where ``twistd sodium`` listens when nothing is said.
DEFAULT_CONNECT = "tcp:127.0.0.1:5555"

#: The most that ``ping --interval`` takes, in seconds.
INTERVAL_LIMIT = 60.0

#: What may become of a file that is where another one goes: the new one gets another name, or the old one's place, or
#: is refused. The first is the default.
EXISTING = ("rename", "replace", "refuse")


def remote_path(argument: str) -> bytes:
    """
    Read the name of what is on the server: bytes, as the file system there has them. ``.``, ``/`` and nothing are all
    of it.
    """
    path = os.fsencode(argument)
    # As people and shells write names: ./a, a/, a//b. What could lead elsewhere stays, and the server refuses it.
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return (b"/" if parts and path.startswith(b"/") else b"") + b"/".join(parts)


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

    def read_version_2(self, command: str) -> tuple[str, bytes, Credentials, int]:
        """
        Do as :meth:`read_server`, for a subcommand that version 1 of the protocol has nothing for.

        :param command: its name.
        :raises UsageError: for version 1, too.
        """
        server = self.read_server()
        if server[3] == 1:
            raise usage.UsageError(f"{command} needs version 2 of the protocol")
        return server


class FilesOptions(ConnectOptions):
    """
    What the subcommands that send and get files have in common.

    :cvar places: what the arguments are called.
    """

    places: str

    optFlags = [
        ["dry-run", "n", "show what would go, and change nothing"],
        ["json", None, "tell all as JSON, a line each"],
        ["no-resume", None, "use nothing of what is there already"],
        ["quiet", "q", "show no progress"],
        ["verbose", "v", "a line for each file"],
    ]
    compData = usage.Completions(mutuallyExclusive=[("quiet", "verbose")])

    def check_places(self, places: tuple[str, ...]) -> tuple[str, ...]:
        """
        Check the arguments.

        :return: them.
        :raises UsageError: when there is none, and for what was meant as an option.
        """
        if not places:
            raise usage.UsageError(f"{self.places.split()[0]} is missing")
        # Twisted's parser takes a first argument with a dash for one only behind "--". Then all are meant so.
        meant = places[0] != "-" and places[0].startswith("-")
        for place in places:
            # Behind the first argument, it takes all for arguments.
            if place.startswith("-") and place != "-" and not meant:
                raise usage.UsageError(
                    f"unexpected argument {ascii(place)}; options come before {self.places}, and what is called so "
                    f"is ./{place}"
                )
            if not place:
                raise usage.UsageError(f"{self.places.split()[0]} is empty")
        return places

    def told(self) -> dict[str, Any]:
        """
        Give the fields of :class:`FilesSettings`.

        :raises UsageError: when two options contradict each other.
        """
        if self["quiet"] and self["verbose"]:
            raise usage.UsageError("--quiet and --verbose exclude each other")
        flags = {name.replace("-", "_"): bool(self[name]) for name in ("dry-run", "quiet", "verbose", "json")}
        return {**flags, "resume": not self["no-resume"]}


class SendOptions(FilesOptions):
    """``sodiumtwist send``"""

    settings: SendSettings

    synopsis = "send --key PUBLICKEY [options] PATH..."
    purpose = "Sends files and folders (- for standard input) until the server has all."
    examples = ("sodiumtwist send --key PUBLICKEY --endpoint tcp:HOST:5555 photos notes.txt",)
    places = "PATH"
    optParameters = [["name", None, None, "what one PATH is called there"]]
    compData = usage.Completions(extraActions=[usage.CompleteFiles(descr="files and folders to send", repeat=True)])

    def parseArgs(self, *arguments: str) -> None:
        """Take the paths."""
        self["paths"] = self.check_places(arguments)

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError: when paths and options do not go together.
        :raises OSError, SodiumError: as :meth:`read_server` does.
        """
        server = self.read_server()
        paths, name = self["paths"], self["name"]
        if len(paths) > 1 and "-" in paths:
            raise usage.UsageError("- goes alone: standard input is one stream")
        if name is not None:
            if len(paths) > 1:
                raise usage.UsageError("--name goes with one PATH alone")
            if "/" in name or name in ("", ".", ".."):
                raise usage.UsageError(f"--name takes the name of a file, without /, not {ascii(name)}")
        if server[3] == 1:
            for option in ("name", "dry-run"):
                if self[option]:
                    raise usage.UsageError(f"--{option} needs version 2 of the protocol")
            if len(paths) > 1:
                raise usage.UsageError("--protocol 1 sends one file at a time")
        self.settings = SendSettings(*server, paths, name, **self.told())
        names: dict[str, str] = {}
        for path in paths:
            called = self.settings.name_of(path)
            if not called and path != "-":
                raise usage.UsageError(f"{path} has no name; send what is in it")
            if called in names:
                raise usage.UsageError(f"{names[called]} and {path} would both be called {called} there")
            names[called] = path

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
        from .running import run

        if self.settings.version == 1:
            from .streams import send as send_one

            run(send_one, self.settings)
        else:
            from .files import send

            run(send, self.settings)


class GetOptions(FilesOptions):
    """``sodiumtwist get``"""

    settings: GetSettings

    synopsis = "get --key PUBLICKEY [options] REMOTE... [INTO]"
    purpose = "Gets files and folders into a folder, the last of two or more arguments."
    examples = ("sodiumtwist get --key PUBLICKEY --endpoint tcp:HOST:5555 photos pictures",)
    places = "REMOTE"
    optParameters = [["existing", None, EXISTING[0], "replace or refuse what is there"]]
    compData = usage.Completions(
        optActions={"existing": usage.CompleteList(list(EXISTING))},
        extraActions=[usage.Completer(descr="file or folder there"), usage.CompleteDirs(descr="folder to get into")],
    )

    def parseArgs(self, *arguments: str) -> None:
        """Take what to get, and where to."""
        self["remotes"] = self.check_places(arguments)

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError: when an option is wrong.
        :raises OSError, SodiumError: as :meth:`read_server` does.
        """
        server = self.read_version_2("get")
        if self["existing"] not in EXISTING:
            raise usage.UsageError(f"--existing takes {', '.join(EXISTING)}, not {ascii(self['existing'])}")
        *remotes, into = self["remotes"] if len(self["remotes"]) > 1 else (*self["remotes"], ".")
        names: dict[str, str] = {}
        for remote in remotes:
            called = os.fsdecode(remote_path(remote).rpartition(b"/")[2]) or "."
            if called in names:
                raise usage.UsageError(f"{names[called]} and {remote} would both be called {called} here")
            names[called] = remote
        self.settings = GetSettings(*server, tuple(map(remote_path, remotes)), into, self["existing"], **self.told())

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
        from .files import get
        from .running import run

        run(get, self.settings)


class ListOptions(ConnectOptions):
    """``sodiumtwist list``"""

    settings: ListSettings

    synopsis = "list --key PUBLICKEY [options] [REMOTE]"
    purpose = "Lists what there is to get: all of it, or what is in the folder REMOTE."
    examples = ("sodiumtwist list --key PUBLICKEY --endpoint tcp:HOST:5555 photos",)
    optFlags = [["json", None, "tell all as JSON, a line each"]]
    compData = usage.Completions(extraActions=[usage.Completer(descr="file or folder there")])

    def parseArgs(self, *arguments: str) -> None:
        """Take the folder, when one is given."""
        (self["remote"],) = take_arguments(arguments, 1, "REMOTE") if arguments else ("",)

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError, OSError, SodiumError: as :meth:`read_server` does.
        """
        self.settings = ListSettings(*self.read_version_2("list"), remote_path(self["remote"]), bool(self["json"]))

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
        from .files import list_files
        from .running import run

        run(list_files, self.settings)


class PingOptions(ConnectOptions):
    """``sodiumtwist ping``"""

    settings: PingSettings

    synopsis = "ping --key PUBLICKEY [options]"
    purpose = "Connects, sends PINGs and prints how long the answers took."
    examples = ("sodiumtwist ping --key PUBLICKEY --endpoint tcp:HOST:5555 --count 10",)
    notes = "Exit status as 'sodiumtwist --help' tells."
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


class PipeOptions(ConnectOptions):
    """``sodiumtwist pipe``"""

    synopsis = "pipe --key PUBLICKEY [options]"
    purpose = (
        "Joins standard input and output with the service behind 'twistd sodium --forward', until both directions "
        "have ended."
    )
    examples = (
        "ssh -o ProxyCommand='sodiumtwist pipe --key PUBLICKEY --endpoint tcp:HOST:5555' HOST",
        "tar c photos | sodiumtwist pipe --key PUBLICKEY --endpoint tcp:HOST:5555",
    )
    notes = "Exit status as 'sodiumtwist --help' tells."

    def parseArgs(self, *arguments: str) -> None:
        """Refuse all arguments."""
        take_arguments(arguments, 0)

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError, OSError, SodiumError: as :meth:`read_server` does.
        """
        self.settings = ConnectSettings(*self.read_server())

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
        from .pipe import pipe
        from .running import run

        run(pipe, self.settings)
