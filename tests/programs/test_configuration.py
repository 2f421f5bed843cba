"""
The file of ``--config``, and what the command line makes of it.
"""

from __future__ import annotations

import io
import os
import sys
from unittest.mock import patch

from sodiumtwist import KeyPair
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.programs import tap, tunneltap
from sodiumtwist.programs.configuration import CONFIGURATION_LIMIT, shown

from ..processes import PUBLIC, SECRET
from .test_tap import TapTestCase


class ConfigurationTestCase(TapTestCase):
    """Has the file ``config.toml``."""

    def configure(self, *lines: str, mode: int = 0o600) -> None:
        """Write the file."""
        self.write("config.toml", "".join(f"{line}\n" for line in lines), mode)

    def read(self, *words: str) -> tap.Options:
        """Parse a command line of a server that names the file."""
        options = tap.Options()
        options.parseOptions(["--config", "config.toml", *words])
        return options

    def refused(self, *words: str) -> str:
        """What is wrong with it."""
        ended = self.assertRaises(SystemExit, self.read, *words)
        line = str(ended.code)
        self.assertTrue(line.startswith("sodium: "), line)
        self.assertNotIn("\n", line)
        return line.removeprefix("sodium: ").removesuffix("; see twistd sodium --help")

    def assert_refused(self, pattern: str, *lines: str) -> None:
        """A file with these lines is refused with this error."""
        self.configure(*lines)
        self.assertRegex(self.refused("--discard"), rf"\Aconfig\.toml: {pattern}\Z")


class ReadingTests(ConfigurationTestCase):
    """What a file may say."""

    def test_every_kind(self) -> None:
        """Texts, numbers, flags, lists and limits."""
        self.configure(
            "# comments stay",
            'directory = "uploads"',
            'quota = "10G"',
            "max-upload = 1000",
            "inactivity-timeout = 30.5",
            "no-sync = true",
            "share-per-login = false",
            'endpoint = ["127.0.0.1:0", "unix:s"]',
            'message = "--discard"',
            "[limit]",
            "connections = 7",
            "failure-seconds = 0.5",
        )
        settings = self.read().settings
        self.assertEqual((settings.quota, settings.max_upload), (10 << 30, 1000))
        self.assertEqual((settings.sync, settings.share_per_login), (False, False))
        self.assertEqual(settings.endpoints, ("127.0.0.1:0", "unix:s"))
        self.assertEqual((settings.limits.connections, settings.limits.failure_seconds), (7, 0.5))
        self.assertEqual(settings.timeouts.inactivity, 30.5)
        self.assertEqual(settings.message, "--discard")

    def test_one_of_many(self) -> None:
        """What may be repeated may stand alone."""
        self.configure("discard = true", 'endpoint = "127.0.0.1:0"')
        self.assertEqual(self.read().settings.endpoints, ("127.0.0.1:0",))

    def test_empty(self) -> None:
        """A file may say nothing."""
        self.configure()
        self.assertTrue(self.read("--discard").settings.discard)

    def test_paths(self) -> None:
        """They are relative to the folder of the file, or to the home of the user."""
        os.mkdir("etc")
        write_key_file("etc/server.key", KeyPair.from_hex(SECRET))
        self.write("etc/users", "ann:open sesame\n")
        self.write("etc/config.toml", 'directory = "~/uploads"\nkey-file = "server.key"\nauth = "file:users"\n')
        options = tap.Options()
        with patch.dict(os.environ, HOME="/users/ann"):
            options.parseOptions(["--config", "etc/config.toml"])
        self.assertEqual(options.settings.directory, "/users/ann/uploads")
        self.assertEqual(options.settings.pair.public.hex(), PUBLIC)
        self.assertEqual([file.path for file in options.settings.files], [os.path.abspath("etc/users")])

    def test_standard_output(self) -> None:
        """It is no path."""
        self.configure('file = "-"')
        self.assertEqual(self.read().settings.file, "-")

    def test_tunnel(self) -> None:
        """The other service has the same."""
        self.configure(
            "listen = 7000", 'to = "127.0.0.1:5555"', f'server-key = "{PUBLIC}"', "[limit]", "connections = 3"
        )
        options = tunneltap.Options()
        options.parseOptions(["--config", "config.toml"])
        self.assertEqual(options.settings.listen, "7000")
        self.assertEqual(options.settings.server_key.hex(), PUBLIC)
        self.assertEqual(options.settings.limits.connections, 3)

    def test_words(self) -> None:
        """Those of the command line are kept as they were: who parses them again reads the file again."""
        self.configure("discard = true")
        options = self.read("-e", "127.0.0.1:0")
        self.assertEqual(options.words, ("--config", "config.toml", "-e", "127.0.0.1:0"))
        self.configure('directory = "d"')
        again = tap.Options()
        again.parseOptions(list(options.words))
        self.assertEqual((again.settings.directory, again.settings.discard), (os.path.abspath("d"), False))
        self.assertEqual(again.settings.endpoints, ("127.0.0.1:0",))


class OverruledTests(ConfigurationTestCase):
    """The command line goes before the file."""

    def test_options(self) -> None:
        """One at a time; a list as a whole."""
        self.configure("discard = true", 'message = "m"', "auth-timeout = 5", 'endpoint = ["127.0.0.1:1", "unix:s"]')
        settings = self.read("-e", "127.0.0.1:2", "--message", "n").settings
        self.assertEqual((settings.endpoints, settings.message), (("127.0.0.1:2",), "n"))
        self.assertEqual(settings.timeouts.authentication, 5)

    def test_limits(self) -> None:
        """Each by its name."""
        self.configure("discard = true", "[limit]", "connections = 5", "unauthenticated = 3")
        limits = self.read("--limit", "connections=4").settings.limits
        self.assertEqual((limits.connections, limits.unauthenticated), (4, 3))

    def test_what_excludes_each_other(self) -> None:
        """One that is given takes the place of the other, and of all that is said about that."""
        self.configure('directory = "d"', "quota = 5", 'existing = "refuse"', 'share = "s"', "share-per-login = true")
        settings = self.read("--forward", "127.0.0.1:1").settings
        self.assertEqual((settings.directory, settings.quota, settings.share), (None, None, None))
        self.assertEqual(settings.forward, "127.0.0.1:1")
        self.assertFalse(settings.share_per_login)
        self.assertEqual(self.read("--directory", "e").settings.quota, 5)

    def test_what_lacks_the_other(self) -> None:
        """What the file never had is missing, as on the command line."""
        self.configure("quota = 5")
        self.assertEqual(self.refused("--discard"), "config.toml: line 1: --quota goes with --directory")


class MistakeTests(ConfigurationTestCase):
    """Each has one line, with its place."""

    def test_unknown(self) -> None:
        """What was meant is named."""
        self.assert_refused("line 1: there is no option 'mesage'; did you mean message", 'mesage = "a"')
        self.assert_refused("line 2: there is no option 'x'", "", "x = 1")
        self.assert_refused("line 1: listen is called endpoint here", "listen = 7000")
        self.assert_refused(
            r"line 1: there is no table \[sodium\] but \[limit\] alone; options .*", "[sodium]", "a = 1"
        )
        self.assert_refused(
            "line 2: there is no limit 'conections'; did you mean connections", "[limit]", "conections = 1"
        )

    def test_misplaced(self) -> None:
        """The right place is told."""
        self.assert_refused("line 1: connections is a limit; write it below .*", "connections = 1")
        self.assert_refused("line 2: message is no limit but an option; write it above .*", "[limit]", 'message = "m"')
        self.assert_refused("line 1: limits stand in a table, .*", 'limit = "connections=5"')
        for name in ("config", "check", "help", "version"):
            self.assert_refused(f"line 1: --{name} is for command lines alone", f"{name} = true")

    def test_kinds(self) -> None:
        """A value of the wrong kind."""
        for line, said in {
            "message = true": "message takes a text in quotes, or a number, not true or false",
            "message = ['a']": "message takes a text in quotes, or a number, not a list",
            "message = 2020-01-01": "message takes a text in quotes, or a number, not a time",
            "endpoint = [['a']]": "endpoint takes a text in quotes, or a number, or a list of them, not a list",
            "endpoint = []": "endpoint is an empty list; leave it out",
            "message = {a = 1}": "message takes a text in quotes, or a number, not a table",
            "no-sync = 1": "no-sync takes true or false, not a number",
            "no-sync = 'yes'": "no-sync takes true or false, not a text",
            'message = "a\\u0000"': "message has a NUL in it",
        }.items():
            self.assert_refused(f"line 1: {said}", line)
        self.assert_refused("line 2: the limit connections takes a number, not a text", "[limit]", 'connections = "9"')

    def test_values(self) -> None:
        """What an option says is wrong has the line, too; of what the command line says it has none."""
        self.assert_refused("line 2: --max-upload takes a size .*", "no-sync = true", 'max-upload = "x"')
        self.assertRegex(self.refused("--discard", "--max-upload=y"), "^--max-upload takes a size")
        self.assert_refused("line 3: the limit per-address takes .*", "[limit]", "connections = 5", "per-address = 0")
        self.assert_refused("line 2: --limit connections= takes a number, .*", "[limit]", "connections = 0.5")
        self.assert_refused("line 1: --key-file is empty; .*", 'key-file = ""')

    def test_no_toml(self) -> None:
        """It can't be read at all."""
        quotes = "line 2: it is no TOML: .*; a line is NAME = VALUE, with texts in quotes"
        self.assert_refused(quotes, "discard = true", "message = hello")
        self.assert_refused(quotes, "discard = true", "max-upload = 10GB")
        self.assert_refused("line 2: it is no TOML: .*; it stands there twice", "quota = 1", "quota = 2")
        self.configure()
        with open("config.toml", "wb") as file:
            file.write(b"a = 1\n\xff")
        self.assertEqual(self.refused(), "config.toml: line 2: it is not UTF-8 text")
        with open("config.toml", "wb") as file:
            file.write(b"#" * (CONFIGURATION_LIMIT + 1))
        self.assertEqual(self.refused(), "config.toml is over 1 MiB long; that is no configuration file")

    def test_no_file(self) -> None:
        """There is none."""
        self.assertEqual(self.refused(), "config.toml: No such file or directory")
        os.mkfifo("config.toml", 0o600)
        self.assertEqual(self.refused(), "the configuration file config.toml is no regular file but a FIFO")
        self.assertRegex(self.refused("--config="), "^--config is empty")

    def test_help(self) -> None:
        """It is printed, however broken the file is."""
        self.configure("broken")
        for word in ("--help", "--version"):
            self.patch(sys, "stdout", output := io.StringIO())
            self.assertIn(self.assertRaises(SystemExit, self.read, word).code, (None, 0))
            self.assertTrue(output.getvalue())


class SecretTests(ConfigurationTestCase):
    """A file may hold what nobody else may read."""

    def test_others_can_write(self) -> None:
        """Such a file is never taken."""
        self.configure("discard = true", mode=0o666)
        self.assertRegex(self.refused(), "^others can write to the configuration file config.toml .*chmod go-w")

    def test_others_can_read(self) -> None:
        """One with a secret is not taken then, and any other is."""
        self.configure("discard = true", 'auth = "file:/dev/null"', mode=0o644)
        self.assertRegex(self.refused(), "/dev/null")
        for line in (f'key = "{SECRET}"', 'passphrase = "open sesame"', 'auth = "memory:ann:open sesame"'):
            self.configure("discard = true", line, mode=0o644)
            said = self.refused()
            self.assertRegex(
                said, "^others can read the configuration file, which holds a secret .*chmod 600 config.toml$"
            )
            self.assertNotIn("sesame", said)
            os.chmod("config.toml", 0o600)
            self.assertTrue(self.read().settings.discard)

    def test_shown(self) -> None:
        """What may be a secret is not."""
        for name, value, expected in (
            ("key", SECRET, "…"),
            ("passphrase", "p", "…"),
            ("auth", "memory:ann:p", "memory:…"),
            ("auth", "argon2:/etc/users", "argon2:/etc/users"),
            ("auth", "none", "none"),
            ("message", "key=5", "key=5"),
            ("endpoint", "sodium:5555:passphrase=p", "sodium:5555:passphrase=…"),
            ("shared-store", "redis://:p@h/0", "redis://:…@h/0"),
        ):
            self.assertEqual(shown(name, value), expected)
