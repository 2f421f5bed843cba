"""
The command lines of the subcommands for keys and logins, which connect nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python import usage

from .command_options import CommandOptions, take_arguments, take_optional
from .completers import CompleteWords
from .settings import InviteSettings, PasswdSettings

# To import it takes time, which other commands need not wait for.
if TYPE_CHECKING:
    from ..contacts.urls import ServerURL


class KeygenOptions(CommandOptions):
    """``sodiumtwist keygen``"""

    synopsis = "keygen [--output FILE]"
    purpose = (
        "Makes a private key, and prints its public key and fingerprint. --output writes it into FILE, and the public "
        "key into FILE.pub; without --output the private key is printed, too."
    )
    examples = ("sodiumtwist keygen --output server.key",)
    optParameters = [["output", "o", None, "new file for the private key, for you alone"]]
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
    purpose = "Prints the public key of a key file, and its fingerprint on standard error."
    examples = ("sodiumtwist pubkey server.key",)
    compData = usage.Completions(extraActions=[usage.CompleteFiles(descr="key file")])

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
        optActions={"passphrase-file": usage.CompleteFiles(), "protocol": CompleteWords(["2"])},
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


#: What both need that print a URL.
_URL_PARAMETERS = [
    ["key-file", None, None, "file with the server's key"],
    ["endpoint", None, None, "where clients reach the server: HOST:PORT, tls:HOST:PORT"],
]


class _URLOptions(CommandOptions):
    """What ``invite`` and ``url`` have in common."""

    optParameters = _URL_PARAMETERS
    compData = usage.Completions(
        optActions={
            "key-file": usage.CompleteFiles(),
            "endpoint": usage.Completer(descr="where clients reach the server"),
        }
    )

    def server(self, login: str | None) -> ServerURL:
        """
        Make the URL of the server.

        :param login: whom it is for; ``None`` for anybody.
        :raises UsageError: when the options do not tell where it is, or its key.
        :raises OSError: when the key can't be read.
        :raises SodiumError: when it is no key, or others can read it.
        """
        from ..contacts.keyfiles import PUBLIC_SUFFIX, read_key, read_public_key_file
        from ..contacts.urls import ServerURL
        from .reached import parse_reached

        if self["endpoint"] is None:
            raise usage.UsageError("where do clients reach the server? --endpoint HOST:PORT")
        address, tls = parse_reached(self["endpoint"])
        path = self["key-file"]
        # The URL has the public key, so that will do.
        if path is not None and path.endswith(PUBLIC_SUFFIX):
            return ServerURL(address, read_public_key_file(path), login, tls=tls)
        pair = read_key(path, "--key-file")
        if pair is None:
            raise usage.UsageError("which is the server's key? --key-file FILE")
        return ServerURL(address, pair.public, login, tls=tls)


class InviteOptions(_URLOptions):
    """
    ``sodiumtwist invite``

    :ivar settings: what is asked for. It is there when the command line is parsed.
    """

    settings: InviteSettings

    synopsis = "invite [options] LOGIN"
    purpose = (
        "Invites somebody to a server: prints a URL for 'sodiumtwist join', good for one use. That lists the key of "
        "whoever uses it in the file of 'twistd sodium --authorized-keys'."
    )
    examples = ("sodiumtwist invite --key-file server.key --keys keys.txt --endpoint HOST ann",)
    optParameters = [
        *_URL_PARAMETERS,
        ["keys", None, None, "list of clients' keys, of the server's --authorized-keys"],
        ["users", None, None, "file of logins, of the server's --auth argon2:FILE"],
        ["expires", None, "24h", "how long it is good: s, m, h or d, up to 365d"],
    ]
    compData = usage.Completions(
        optActions={
            "keys": usage.CompleteFiles(),
            "users": usage.CompleteFiles(),
            "expires": usage.Completer(descr="how long it is good"),
        },
        extraActions=[usage.Completer(descr="login")],
    )

    def parseArgs(self, *arguments: str) -> None:
        """Take the login."""
        (self["login"],) = take_arguments(arguments, 1, "LOGIN")

    def postOptions(self) -> None:
        """
        Check the options together, and make the settings.

        :raises UsageError: when one is missing or wrong.
        """
        from ..admission.invitations import VALID_LIMIT
        from ..admission.marks import composed
        from ..admission.passwords import check_login
        from .durations import parse_duration

        if self["keys"] is None:
            raise usage.UsageError("where does the server list its clients' keys? --keys FILE")
        try:
            valid = parse_duration(self["expires"])
        except ValueError:
            valid = 0
        if not 0 < valid <= VALID_LIMIT:
            raise usage.UsageError(
                f"--expires takes a time such as 30m, 24h or 7d, up to 365d, not {self['expires']!r}"
            )
        # As its client will send it.
        login = composed(self["login"])
        # What can't be seen, or has a meaning in files, is no good login there either.
        check_login(login)
        self.settings = InviteSettings(login, self.server(login), self["keys"], self["users"], valid)

    def execute(self) -> None:
        from .inviting import invite

        invite(self.settings)


class URLOptions(_URLOptions):
    """``sodiumtwist url``"""

    synopsis = "url [options] [LOGIN]"
    purpose = (
        "Prints the URL of a server: where it is, and its public key. It holds no secret. Give it in the place of a "
        "server's name, endpoint and key, or to 'sodiumtwist add'."
    )
    examples = ("sodiumtwist url --key-file server.key --endpoint HOST:5555",)
    compData = usage.Completions(extraActions=[usage.Completer(descr="login")])

    def parseArgs(self, *arguments: str) -> None:
        """Take the login, when one is given."""
        self["login"] = take_optional(arguments)

    def execute(self) -> None:
        from .inviting import url

        url(self.server(self["login"]))
