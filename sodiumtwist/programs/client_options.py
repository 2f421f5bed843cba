"""
The command lines of the subcommands that connect to a server.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.python import usage

from .command_options import CommandOptions, take_arguments, take_optional
from .completers import CompleteFilesAndPlaces, CompletePlaces, CompleteServers, CompleteWords
from .options import CLIENT_ALIASES, CLIENT_COMPLETIONS, SERVER_PARAMETERS
from .output import print_error
from .settings import (
    ConnectSettings,
    GetSettings,
    ListSettings,
    PingSettings,
    SendSettings,
)
from .without_tls import load_endpoints

if TYPE_CHECKING:
    from .server_arguments import Place

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

    aliases = CLIENT_ALIASES
    optParameters = SERVER_PARAMETERS
    compData = usage.Completions(optActions=CLIENT_COMPLETIONS, mutuallyExclusive=[("passphrase", "passphrase-file")])

    @property
    def names_server(self) -> bool:
        """Whether an option says which server it is."""
        return self["to"] is not None or self["server-key"] is not None

    def read_server(self, argument: str | None = None) -> ConnectSettings:
        """
        Check what the options, and an argument, say about the server and the client, and read the files that they name.

        :param argument: which server an argument names, in the words of ``--to``; ``None`` when none does.
        :raises UsageError, OSError, SodiumError: as :func:`~sodiumtwist.programs.server_options.read_server` does.
        """
        # Here, as below: the other commands, and all help, need nothing of what is known of servers.
        from .server_options import read_server

        asked = read_server(self, argument)
        for warning in asked.warnings:
            print_error(f"warning: {warning}")
        if asked.by_default and not (self.get("quiet") or self.get("json")):
            print_error(f"to {asked.settings.known_as}, the only server that is known")
        return asked.settings

    def read_version_2(self, command: str, argument: str | None = None) -> ConnectSettings:
        """
        Do as :meth:`read_server`, for a subcommand that version 1 of the protocol has nothing for.

        :param command: its name.
        :param argument: as there.
        :raises UsageError: for version 1, too.
        """
        server = self.read_server(argument)
        if server.version == 1:
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
        :raises UsageError: when there is none, or an empty one.
        """
        if not places:
            raise usage.UsageError(f"{self.places.split()[0]} is missing")
        if "" in places:
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

    synopsis = "send [options] PATH... [SERVER:[NAME]]"
    purpose = "Sends files and folders (- for standard input) until the server has all."
    examples = ("sodiumtwist send photos notes.txt home:",)
    places = "PATH"
    optParameters = [["name", None, None, "what one PATH is called there"]]
    compData = usage.Completions(extraActions=[CompleteFilesAndPlaces(descr="files and folders to send", repeat=True)])

    def parseArgs(self, *arguments: str) -> None:
        """Take the paths."""
        self["paths"] = self.check_places(arguments)

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError: when paths and options do not go together.
        :raises OSError, SodiumError: as :meth:`read_server` does.
        """
        from .server_arguments import split_destination

        paths, place = split_destination(self["paths"], self.names_server)
        name = self["name"] = self._name_there(place, paths)
        if len(paths) > 1 and "-" in paths:
            raise usage.UsageError("- goes alone: standard input is one stream")
        if name is not None:
            if len(paths) > 1:
                raise usage.UsageError("--name goes with one PATH alone")
            if "/" in name or name in ("", ".", ".."):
                said = "--name takes" if place is None or not place.path else f"what stands behind {place.server}: is"
                raise usage.UsageError(f"{said} the name of a file, without /, not {name!r}")
        told = self.told()
        # Behind what can be wrong without it: a passphrase may be asked for.
        server = self.read_server(None if place is None else place.server)
        if server.version == 1:
            for option in ("name", "dry-run"):
                if self[option]:
                    raise usage.UsageError(f"--{option} needs version 2 of the protocol")
            if len(paths) > 1:
                raise usage.UsageError("--protocol 1 sends one file at a time; without it, all go")
        self.settings = SendSettings(**vars(server), paths=paths, name=name, **told)
        names: dict[str, str] = {}
        for path in paths:
            called = self.settings.name_of(path)
            if not called and path != "-":
                raise usage.UsageError(f"{path} has no name; send what is in it")
            if called in names:
                raise usage.UsageError(f"{names[called]} and {path} would both be called {called} there")
            names[called] = path

    def _name_there(self, place: Place | None, paths: tuple[str, ...]) -> str | None:
        name: str | None = self["name"]
        if place is None or not remote_path(place.path):
            return name
        if name is not None:
            raise usage.UsageError(f"--name and {place.server}:{place.path} both say a name; give one")
        if len(paths) > 1:
            raise usage.UsageError(
                f"{place.server}:{place.path} would be the name of one PATH there; for several write {place.server}:"
            )
        if place.path.endswith("/") and os.path.isfile(paths[0]):
            raise usage.UsageError(
                f"{place.server}:{place.path} is the name of a folder, and {paths[0]} is none; what stands behind "
                f"{place.server}: is what it is called there"
            )
        return os.fsdecode(remote_path(place.path))

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

    synopsis = "get [options] [SERVER:]REMOTE... [INTO]"
    purpose = "Gets files and folders into a folder, the last of two or more arguments."
    examples = ("sodiumtwist get home:photos pictures",)
    places = "REMOTE"
    optParameters = [["existing", None, EXISTING[0], "replace or refuse what is there"]]
    compData = usage.Completions(
        optActions={"existing": CompleteWords(EXISTING)},
        extraActions=[CompletePlaces(descr="file or folder there"), usage.CompleteDirs(descr="folder to get into")],
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
        from .server_arguments import split_remotes

        named, remotes = split_remotes(self["remotes"], self.names_server)
        if self["existing"] not in EXISTING:
            raise usage.UsageError(f"--existing takes {', '.join(EXISTING)}, not {self['existing']!r}")
        if not remotes:
            raise usage.UsageError("REMOTE is missing: what to get from there; . is all of it")
        *wanted, into = remotes if len(remotes) > 1 else (*remotes, ".")
        names: dict[str, str] = {}
        for remote in wanted:
            called = os.fsdecode(remote_path(remote).rpartition(b"/")[2]) or "."
            if called in names:
                raise usage.UsageError(f"{names[called]} and {remote} would both be called {called} here")
            names[called] = remote
        told = self.told()
        server = self.read_version_2("get", named)
        self.settings = GetSettings(
            **vars(server),
            remotes=tuple(map(remote_path, wanted)),
            into=into,
            existing=self["existing"],
            **told,
        )

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
        from .files import get
        from .running import run

        run(get, self.settings)


class ListOptions(ConnectOptions):
    """``sodiumtwist list``"""

    settings: ListSettings

    synopsis = "list [options] [SERVER:][REMOTE]"
    purpose = "Lists what there is to get: all of it, or what is in the folder REMOTE."
    examples = ("sodiumtwist list home:photos", "sodiumtwist list --to HOST:5555 --server-key PUBLICKEY")
    optFlags = [["json", None, "tell all as JSON, a line each"]]
    compData = usage.Completions(extraActions=[CompletePlaces(descr="file or folder there")])

    def parseArgs(self, *arguments: str) -> None:
        """Take the folder, when one is given."""
        self["arguments"] = arguments

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError, OSError, SodiumError: as :meth:`read_server` does.
        """
        from .server_arguments import split_remotes

        named, remotes = split_remotes(self["arguments"], self.names_server) if self["arguments"] else (None, ())
        (remote,) = take_arguments(remotes, 1, "REMOTE") if remotes else ("",)
        server = self.read_version_2("list", named)
        self.settings = ListSettings(**vars(server), remote=remote_path(remote), json=bool(self["json"]))

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
        from .files import list_files
        from .running import run

        run(list_files, self.settings)


class PingOptions(ConnectOptions):
    """``sodiumtwist ping``"""

    settings: PingSettings

    synopsis = "ping [options] [SERVER]"
    purpose = "Connects, sends PINGs and prints how long the answers took."
    examples = ("sodiumtwist ping home", "sodiumtwist ping --to HOST:5555 --server-key PUBLICKEY")
    notes = "Exit status as 'sodiumtwist --help' tells."
    optParameters = [
        ["count", "c", "4", "how many PINGs to send"],
        ["interval", "i", "1", "seconds between two PINGs"],
    ]
    compData = usage.Completions(extraActions=[CompleteServers(descr="server")])

    def parseArgs(self, *arguments: str) -> None:
        """Take the server, when one is given."""
        self["server"] = take_optional(arguments, "SERVER")

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError: when a number is out of its range, or is no number.
        :raises OSError, SodiumError: as :meth:`read_server` does.
        """
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
        server = self.read_server(self["server"])
        self.settings = PingSettings(**vars(server), count=count, interval=interval)

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
        from .commands import ping
        from .running import run

        run(ping, self.settings)


class PipeOptions(ConnectOptions):
    """``sodiumtwist pipe``"""

    synopsis = "pipe [options] [SERVER]"
    purpose = (
        "Joins standard input and output with the service behind 'twistd sodium --forward', until both directions "
        "have ended."
    )
    examples = (
        "sodiumtwist pipe home",
        "sodiumtwist pipe --to HOST:5555 --server-key PUBLICKEY",
    )
    compData = usage.Completions(extraActions=[CompleteServers(descr="server")])
    notes = "With ssh: ssh -o ProxyCommand='sodiumtwist pipe home' HOST. Exit status as 'sodiumtwist --help' tells."

    def parseArgs(self, *arguments: str) -> None:
        """Take the server, when one is named."""
        self["server"] = take_optional(arguments, "SERVER")

    def postOptions(self) -> None:
        """
        Check the options, read the files that they name, and make the settings.

        :raises UsageError, OSError, SodiumError: as :meth:`read_server` does.
        """
        self.settings = self.read_server(self["server"])

    def execute(self) -> None:
        load_endpoints(self.settings.endpoint)
        from .pipe import pipe
        from .running import run

        run(pipe, self.settings)
