"""
The command lines of the subcommands for keys and logins, which connect nowhere.
"""

from __future__ import annotations

from twisted.python import usage

from .command_options import CommandOptions, take_arguments
from .settings import PasswdSettings


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
