"""
What command lines leave when they are parsed.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.errors import UnsupportedProtocol
from sodiumtwist.programs import client_options, key_options, options, server_options, tap, tunneltap
from sodiumtwist.programs.settings import Credentials, SendSettings
from sodiumtwist.protocol.factories import VERSION

from .. import NO_FOLDERS
from ..processes import PUBLIC, SECRET
from .test_tap import lacks_ml_kem

US = Credentials("", "", True, None)

KEYS = ["--key", PUBLIC, "--passphrase", "geheim"]


class SettingsTests(SynchronousTestCase):
    """The settings of every command and service that has some."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": os.environ["PATH"], **NO_FOLDERS})

    def parsed(self) -> list[Any]:
        made: list[tuple[Any, list[str]]] = [
            (client_options.SendOptions(), [*KEYS, "--endpoint", "sodium:tcp:h:1:passphrase=geheim", "in"]),
            (client_options.GetOptions(), [*KEYS, "photos", "into"]),
            (client_options.ListOptions(), [*KEYS, "photos"]),
            (client_options.PingOptions(), KEYS),
            (key_options.PasswdOptions(), ["users", "ann"]),
            (
                tap.Options(),
                ["--key", SECRET, "--passphrase", "geheim", "--forward", "sodium:tcp:h:1:passphrase=geheim"],
            ),
            (
                tunneltap.Options(),
                [
                    "--listen",
                    "tcp:1",
                    "--to",
                    "sodium:tcp:h:1:passphrase=geheim",
                    "--server-key",
                    PUBLIC,
                    "-P",
                    "geheim",
                ],
            ),
        ]
        for parsed, arguments in made:
            parsed.parseOptions(arguments)
        return [parsed.settings for parsed, _ in made]

    def test_frozen(self) -> None:
        """Nothing changes them after."""
        for settings in self.parsed():
            for field in dataclasses.fields(settings):
                self.assertRaises(dataclasses.FrozenInstanceError, setattr, settings, field.name, None)

    def test_no_secrets(self) -> None:
        """What is shown of them may stand in a log."""
        for settings in self.parsed():
            self.assertNotIn("geheim", repr(settings))
            self.assertNotIn(SECRET, repr(settings))
            self.assertNotIn(repr(bytes.fromhex(SECRET)), repr(settings))

    def test_version(self) -> None:
        """Clients speak what those in code speak, unless they are told."""
        self.assertEqual(options.DEFAULT_PROTOCOL, str(VERSION))
        tunnel = ["--listen", "tcp:1", "--to", "tcp:h:1", "--server-key", PUBLIC, "-P", "geheim"]
        for make, arguments in (
            (lambda: client_options.SendOptions(), (*KEYS, "in")),
            (lambda: client_options.PingOptions(), KEYS),
            (lambda: tunneltap.Options(), tunnel),
        ):
            for given, version in (((), VERSION), (("--protocol", "1"), 1), (("--protocol", "2"), 2)):
                parsed: Any = make()
                parsed.parseOptions([*given, *arguments])
                self.assertEqual(parsed.settings.version, version)

    def test_no_ml_kem(self) -> None:
        """Where it is missing, the one line tells the way out."""
        self.patch(options, "check_supported", lacks_ml_kem)
        ping = client_options.PingOptions()
        error = self.assertRaises(UnsupportedProtocol, ping.parseOptions, ["--protocol", "2", *KEYS])
        self.assertIn("give --protocol 1, ", str(error))
        ping.parseOptions(["--protocol", "1", *KEYS])
        tunnel = tunneltap.Options()
        words = ["--protocol", "2", "--listen", "tcp:1", "--to", "tcp:h:1", "--server-key", PUBLIC]
        failed = self.assertRaises(SystemExit, tunnel.parseOptions, words)
        self.assertRegex(str(failed), r"^sodium-tunnel: version 2 needs [^\n]*give --protocol 1, ")

    def test_send(self) -> None:
        """What was said, in the types that it is used in."""
        send = client_options.SendOptions()
        send.parseOptions(["--key", PUBLIC, "--user", "ann", "--quiet", "in", "a/b"])
        settings = send.settings
        self.assertEqual(settings.endpoint, server_options.DEFAULT_CONNECT)
        self.assertEqual(settings.server_key, bytes.fromhex(PUBLIC))
        self.assertEqual((settings.paths, settings.name), (("in", "a/b"), None))
        self.assertEqual((settings.quiet, settings.verbose, settings.json), (True, False, False))
        self.assertEqual((settings.resume, settings.dry_run), (True, False))
        credentials = settings.credentials
        self.assertEqual((credentials.user, credentials.passphrase, credentials.pair), ("ann", "passphrase", None))
        self.assertTrue(credentials.default_passphrase)

    def test_get(self) -> None:
        """The last of two arguments or more is where it goes; names are bytes, as the command line has them."""
        for words, remotes, into in (
            (["photos"], [b"photos"], "."),
            (["photos/", "there"], [b"photos"], "there"),
            (["a", "b/c", "there/"], [b"a", b"b/c"], "there/"),
            ([".", "there"], [b""], "there"),
            (["\udcff", "."], [b"\xff"], "."),
            (["./-x", "a//b/./c", "/", "/d/", "../e", "there"], [b"-x", b"a/b/c", b"", b"/d", b"../e"], "there"),
            (["--", "-x", "-y"], [b"-x"], "-y"),
        ):
            get = client_options.GetOptions()
            get.parseOptions([*KEYS, "--no-resume", "-n", "-v", "--existing", "refuse", *words])
            settings = get.settings
            self.assertEqual((settings.remotes, settings.into), (tuple(remotes), into))
            self.assertEqual((settings.resume, settings.dry_run, settings.verbose), (False, True, True))
            self.assertEqual(settings.existing, "refuse")

    def test_list(self) -> None:
        """Without an argument it is all that there is."""
        for words, remote in (([], b""), (["."], b""), (["a/b/"], b"a/b"), (["./a"], b"a")):
            listing = client_options.ListOptions()
            listing.parseOptions([*KEYS, *words])
            self.assertEqual(listing.settings.remote, remote)

    def test_names(self) -> None:
        """What is sent has the last part of its absolute path for its name; one name goes to one file alone."""
        here = os.path.basename(os.getcwd())
        for path, name in (("a/b", "b"), ("a/b/", "b"), (".", here), ("a/../c", "c"), ("-", ""), ("/", "")):
            settings = SendSettings("", b"", US, 2, (path,))
            self.assertEqual(settings.name_of(path), name)
        self.assertEqual(SendSettings("", b"", US, 2, ("-",), "it").name_of("-"), "it")

    def test_behind_two_dashes(self) -> None:
        """There, a dash begins a name, as with other programs; behind a name it is taken for an option, as ever."""
        send = client_options.SendOptions()
        send.parseOptions([*KEYS, "--", "-x", "a"])
        self.assertEqual(send.settings.paths, ("-x", "a"))

    def test_mistakes(self) -> None:
        """Each is told before anything is loaded or opened."""
        for kind, words, line in (
            (client_options.SendOptions, [], "PATH is missing"),
            (client_options.SendOptions, ["a/in", "b/in"], "a/in and b/in would both be called in there"),
            (client_options.GetOptions, ["a/in", "b/in/", "."], "a/in and b/in/ would both be called in here"),
            (client_options.GetOptions, [".", "in", ".", "."], ". and . would both be called . here"),
            (client_options.SendOptions, ["/"], "/ has no name"),
            (client_options.SendOptions, ["in", "-"], "- goes alone"),
            (client_options.SendOptions, [""], "PATH is empty"),
            (client_options.SendOptions, ["in", "-x"], "there is no option -x"),
            (client_options.SendOptions, ["-q", "-v", "in"], "--quiet and --verbose exclude each other"),
            (client_options.SendOptions, ["--name", "a", "in", "out"], "--name goes with one PATH alone"),
            (client_options.SendOptions, ["--name", "a/b", "in"], "--name takes the name of a file, without /"),
            (client_options.SendOptions, ["--name", "..", "in"], "--name takes the name of a file"),
            (client_options.SendOptions, ["--protocol", "1", "in", "out"], "--protocol 1 sends one file at a time"),
            (client_options.SendOptions, ["--protocol", "1", "--name", "a", "in"], "--name needs version 2"),
            (client_options.SendOptions, ["--protocol", "1", "-n", "in"], "--dry-run needs version 2"),
            (client_options.GetOptions, [], "REMOTE is missing"),
            (client_options.GetOptions, ["--existing", "keep", "a"], "--existing takes rename, replace, refuse, not "),
            (client_options.GetOptions, ["--protocol", "1", "a"], "get needs version 2 of the protocol"),
            (client_options.ListOptions, ["--protocol", "1"], "list needs version 2 of the protocol"),
            (client_options.ListOptions, ["a", "b"], "unexpected argument 'b'"),
        ):
            error = self.assertRaises(UsageError, kind().parseOptions, [*KEYS, *words])
            self.assertTrue(str(error).startswith(line), error)
