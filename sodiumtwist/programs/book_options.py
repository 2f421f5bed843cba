"""
The command lines of the subcommands for servers that have a name.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.python import usage

from ..contacts.keyfiles import read_key_file, read_passphrase_file
from .command_options import CommandOptions, take_arguments
from .completers import CompleteServers
from .options import (
    COMPLETE_PROTOCOL,
    DEFAULT_PROTOCOL,
    TIMEOUT_PARAMETER,
    check_versions,
    connect_timeout,
    protocol_version,
)
from .output import print_error
from .settings import JoinSettings

# To import them takes time, which other commands need not wait for.
if TYPE_CHECKING:
    from ..contacts.servers import KnownServer
    from ..contacts.urls import ServerURL

#: How many characters of an invitation are read from standard input: more than any has.
INVITATION_LIMIT = 4096

#: What people and programs put around a URL: brackets, and quotes, also those that programs for mail and chat make.
AROUND = "'\"`<>()‘’‚“”„‹›«»,;"


def read_invitation() -> str:
    """
    Read an invitation from standard input, where neither the list of processes nor the shell's history has it.

    :raises UsageError: when there is none.
    """
    if sys.stdin is None:
        raise usage.UsageError("standard input is closed; the invitation is to come from there")
    on_terminal = sys.stdin.isatty()
    if on_terminal and sys.stderr is not None:
        print("Invitation: ", end="", file=sys.stderr, flush=True)
    try:
        # From a file or a pipe all of it: a mail program may have folded the line.
        text = sys.stdin.readline(INVITATION_LIMIT) if on_terminal else sys.stdin.read(INVITATION_LIMIT)
    # Without its cause: a UnicodeDecodeError shows what was read.
    except UnicodeDecodeError:
        raise usage.UsageError("what came from standard input is not UTF-8") from None
    if not text.strip():
        raise usage.UsageError("no invitation came from standard input")
    return text


def as_name(text: str) -> str:
    """Read the name of a server, which other commands have a colon behind."""
    return text.removesuffix(":")


def parse_invitation(text: str) -> ServerURL:
    """
    Read an invitation.

    :raises UsageError: when it is something else.
    :raises SodiumError: as :func:`parse_url` does.
    """
    from ..contacts.urls import is_url, parse_url

    # As it may stand in a mail, or behind a command that was copied.
    text = text.strip().strip(AROUND)
    if not is_url(text):
        raise usage.UsageError("an invitation is a URL that begins with sodium://; - reads it from standard input")
    url = parse_url(text)
    if url.secret is None:
        raise usage.UsageError(
            "that URL invites nobody, having no secret; to keep the server by a name run: sodiumtwist add NAME "
            f"{shlex.quote(str(url))}"
        )
    if url.login is None:
        raise usage.UsageError("the invitation names no login before its @; copy all of it, in quotes")
    return url


class JoinOptions(CommandOptions):
    """
    ``sodiumtwist join``

    :ivar settings: what is asked for. It is there when the command line is parsed.
    """

    settings: JoinSettings

    synopsis = "join [options] INVITATION [NAME]"
    purpose = (
        "Makes a key of our own, shows it to the server with the invitation (- for standard input), and keeps both by "
        "NAME. The invitation is then used up."
    )
    examples = ("sodiumtwist join 'sodium://ann@HOST:5555/#PUBLICKEY.SECRET' home",)
    notes = "Exit status as 'sodiumtwist --help' tells."
    optParameters = [TIMEOUT_PARAMETER]
    compData = usage.Completions(
        extraActions=[usage.Completer(descr="invitation"), usage.Completer(descr="name for the server")]
    )

    def parseArgs(self, *arguments: str) -> None:
        """Take the invitation, and the name when one is given."""
        invitation, name = arguments[:1], arguments[1:2]
        (self["invitation"],) = take_arguments(invitation + arguments[2:], 1, "INVITATION")
        (self["name"],) = name or (None,)

    def postOptions(self) -> None:
        """
        Check the invitation and the name, before anything is begun.

        :raises UsageError: when the invitation is none.
        :raises OSError: when a file can't be read.
        :raises SodiumError: when the invitation is not whole, and when the name can't be one.
        """
        text = self["invitation"]
        url = parse_invitation(read_invitation() if text == "-" else text)
        check_versions((2,))
        from ..contacts.servers import check_name, name_for, read_servers

        name = name_for(url.address.host, read_servers()) if self["name"] is None else check_name(as_name(self["name"]))
        assert url.login is not None and url.secret is not None
        self.settings = JoinSettings(url, url.login, url.secret, name, connect_timeout(self["timeout"]))

    def execute(self) -> None:
        from .join import find_joined, join, tell_joined

        joined = find_joined(self.settings)
        if joined is not None:
            tell_joined(joined, before=True)
            return
        from .running import run
        from .without_tls import load_endpoints

        load_endpoints(self.settings.url.endpoint)
        run(join, self.settings)


class AddOptions(CommandOptions):
    """
    ``sodiumtwist add``

    :ivar server: what is to be kept. It is there when the command line is parsed.
    """

    server: KnownServer

    synopsis = "add [options] NAME URL"
    purpose = "Keeps the server that a URL describes by a name."
    examples = ("sodiumtwist add home 'sodium://ann@HOST:5555/#PUBLICKEY'",)
    optParameters = [
        ["user", "U", None, "login [default: that of the URL]"],
        ["identity", None, None, "file with our private key"],
        ["passphrase-file", None, None, "file with our passphrase"],
        ["protocol", None, DEFAULT_PROTOCOL, "version to speak, 1 with C programs"],
    ]
    compData = usage.Completions(
        optActions={
            "identity": usage.CompleteFiles(),
            "passphrase-file": usage.CompleteFiles(),
            "protocol": COMPLETE_PROTOCOL,
        },
        extraActions=[usage.Completer(descr="name for the server"), usage.Completer(descr="URL of the server")],
    )

    def parseArgs(self, *arguments: str) -> None:
        """Take the name and the URL."""
        self["name"], self["url"] = take_arguments(arguments, 2, "NAME URL")

    def postOptions(self) -> None:
        """
        Check what is given.

        :raises UsageError: when the URL is none.
        :raises OSError: when a file can't be read.
        :raises SodiumError: when the URL is not whole, and when a file is not as it should be.
        """
        from ..contacts.servers import KnownServer
        from ..contacts.urls import is_url, parse_card

        if not is_url(self["url"]):
            raise usage.UsageError("a URL of a server begins with sodium://; sodiumtwist url prints it there")
        url = parse_card(self["url"])
        # Read once: a mistake is told now, and not at the first connection.
        warning = None
        if self["identity"] is not None:
            read_key_file(self["identity"])
            self["identity"] = os.path.abspath(self["identity"])
        if self["passphrase-file"] is not None:
            _, warning = read_passphrase_file(self["passphrase-file"])
            self["passphrase-file"] = os.path.abspath(self["passphrase-file"])
        if warning:
            print_error(f"warning: {warning}")
        server = KnownServer.from_url(
            as_name(self["name"]), url, self["identity"], self["passphrase-file"], protocol_version(self["protocol"])
        )
        self.server = replace(server, login=self["user"] or server.login)

    def execute(self) -> None:
        from .book import add

        add(self.server)


class ServersOptions(CommandOptions):
    """``sodiumtwist servers``"""

    synopsis = "servers [--json]"
    purpose = (
        "Lists the servers that have a name: login and address, fingerprint, and the files of our key or passphrase."
    )
    examples = ("sodiumtwist servers",)
    optFlags = [["json", None, "tell all as JSON, a line each"]]

    def parseArgs(self, *arguments: str) -> None:
        """Refuse all arguments."""
        take_arguments(arguments, 0)

    def execute(self) -> None:
        from .book import list_servers

        list_servers(bool(self["json"]))


class ForgetOptions(CommandOptions):
    """``sodiumtwist forget``"""

    synopsis = "forget [--delete-key] NAME"
    purpose = "Forgets a server that has a name. Our key for it stays, as the server may still let it in."
    examples = ("sodiumtwist forget home",)
    optFlags = [["delete-key", None, "delete the key that 'join' has made for it"]]
    compData = usage.Completions(extraActions=[CompleteServers(descr="name of a server")])

    def parseArgs(self, *arguments: str) -> None:
        """Take the name."""
        (self["name"],) = take_arguments(arguments, 1, "NAME")

    def execute(self) -> None:
        from .book import forget

        forget(as_name(self["name"]), bool(self["delete-key"]))
