"""
What all command lines take: options anywhere, one name each, and those that they had before.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.programs import cli, client_options, tap, tunneltap
from sodiumtwist.programs.command_options import CommandOptions

from .. import NO_FOLDERS
from ..processes import PUBLIC, SECRET
from .test_help import SUBCOMMANDS


class Some(CommandOptions):
    """A command with options of each kind."""

    synopsis = "some"
    optFlags = [["quiet", "q", "a flag"], ["quick", None, "a flag"]]
    optParameters = [["to", "t", None, "takes a value"], ["name-of", None, None, "takes a value"]]
    aliases = {"into": "to", "i": "to", "still": "quiet", "s": "quiet", "named": "to"}

    def __init__(self) -> None:
        super().__init__()
        self.arguments: tuple[str, ...] = ()
        self.each: list[str] = []

    def opt_each(self, value: str) -> None:
        """may be repeated"""
        self.each.append(value)

    def parseArgs(self, *arguments: str) -> None:
        self.arguments = arguments


def parse(*words: str) -> Some:
    options = Some()
    options.parseOptions(list(words))
    return options


class OrderTests(SynchronousTestCase):
    """Options before, between and behind arguments."""

    def test_anywhere(self) -> None:
        for words in (
            ("-q", "--to", "x", "a", "b"),
            ("a", "-q", "b", "--to", "x"),
            ("a", "b", "-qtx"),
            ("a", "--to=x", "b", "--quiet"),
            ("--to", "x", "a", "-q", "--", "b"),
        ):
            options = parse(*words)
            self.assertEqual((options["to"], options["quiet"], options.arguments), ("x", 1, ("a", "b")), words)

    def test_end_of_options(self) -> None:
        """Behind ``--`` nothing is an option; and a dash alone is none anywhere."""
        for words, arguments in (
            (("--", "-q", "--to"), ("-q", "--to")),
            (("a", "--", "-q"), ("a", "-q")),
            (("-", "a"), ("-", "a")),
            (("a", "-"), ("a", "-")),
            (("--", "--", "a"), ("--", "a")),
            ((), ()),
        ):
            options = parse(*words)
            self.assertEqual((options.arguments, options["quiet"]), (arguments, 0), words)

    def test_values(self) -> None:
        """A value may look like an option, or be empty; an option may come twice."""
        for words, value in (
            (("a", "--to", "-q"), "-q"),
            (("a", "--to", "--"), "--"),
            (("a", "--to="), ""),
            (("--to", "", "a"), ""),
            (("-tx", "a", "-t", "y"), "y"),
        ):
            options = parse(*words)
            self.assertEqual((options["to"], options.arguments), (value, ("a",)), words)
        self.assertEqual(parse("--each", "1", "a", "--each", "2").each, ["1", "2"])

    def test_mistakes(self) -> None:
        """They are told behind arguments, too."""
        for words, line in (
            (("a", "--nonsense"), "there is no option --nonsense"),
            (("a", "-x"), "there is no option -x"),
            (("a", "--to"), "--to needs a value"),
            (("a", "-t"), "-t needs a value"),
            (("a", "--quiet=yes"), "--quiet takes no value"),
            (("a", "--qui"), "--qui may be --quick or --quiet"),
        ):
            self.assertEqual(str(self.assertRaises(UsageError, parse, *words)), line)

    def test_beginnings(self) -> None:
        """The beginning of a name will do, where it is one name's alone."""
        options = parse("a", "--name", "x", "--quie")
        self.assertEqual((options["name-of"], options["quiet"]), ("x", 1))
        # Of an option and another's alias, the option: whoever has written it knew nothing of the alias.
        self.assertEqual(parse("a", "--name", "x", "-q")["name-of"], "x")
        self.assertEqual(parse("a", "--named", "x")["to"], "x")
        service = tap.Options()
        service.parseOptions(["--li", "connections=5", "--key", SECRET, "--discard"])
        self.assertEqual(service.settings.limits.connections, 5)

    def test_posix(self) -> None:
        """Who wants all behind the first argument to be arguments says so, as for other programs."""
        self.patch(os, "environ", {"POSIXLY_CORRECT": "1"})
        self.assertEqual(parse("-q", "a", "-t", "x").arguments, ("a", "-t", "x"))


class AliasTests(SynchronousTestCase):
    """Names that options had before."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": os.environ["PATH"], **NO_FOLDERS})

    def test_same_option(self) -> None:
        for words in (("--into", "x"), ("--into=x",), ("-i", "x"), ("-ix",), ("-six",)):
            options = parse("a", *words)
            self.assertEqual((options["to"], options.arguments), ("x", ("a",)), words)
            self.assertNotIn("into", options)
        for words in (("--still",), ("-s",)):
            self.assertEqual(parse(*words)["quiet"], 1)

    def test_not_shown(self) -> None:
        """Neither are they in the help, nor is --version in that of a subcommand, where it works."""
        text = str(parse())
        for name in ("into", "still", "-i", "-s,", "version"):
            self.assertNotIn(name, text)
        self.assertIn("version", str(cli.Options()))

    def test_clients(self) -> None:
        """Commands and the tunnel take all that one of them has taken."""
        made: list[tuple[Any, list[str]]] = [
            (client_options.SendOptions, ["in"]),
            (client_options.GetOptions, ["photos"]),
            (client_options.ListOptions, []),
            (client_options.PingOptions, []),
            (tunneltap.Options, ["--listen", "7000"]),
        ]
        for kind, words in made:
            for to in ("--to", "--endpoint", "-t", "-e"):
                for key in ("--server-key", "--key", "-k"):
                    options = kind()
                    options.parseOptions([*words, to, "127.0.0.1:7000", key, PUBLIC])
                    settings = options.settings
                    where = settings.endpoint
                    self.assertEqual((where, settings.server_key.hex()), ("127.0.0.1:7000", PUBLIC))

    def test_server(self) -> None:
        """Where it listens is said as for the tunnel, too; its --key is its own."""
        options = tap.Options()
        options.parseOptions(["--discard", "--listen", "7000", "--endpoint", "7001", "--key", SECRET])
        self.assertEqual(options.settings.endpoints, ("7000", "7001"))
        self.assertEqual(options.settings.pair.secret.hex(), SECRET)

    def test_free(self) -> None:
        """No alias is an option's own name, and each stands for one."""
        classes: list[type[Any]] = [kind for _, _, kind, _ in SUBCOMMANDS] + [tap.Options, tunneltap.Options]
        for kind in classes:
            own = {name.rstrip("=") for name in kind().longOpt} | set(kind().shortOpt)
            self.assertEqual(own & set(kind.aliases), set(), kind)
            self.assertLessEqual(set(kind.aliases.values()), own, kind)
