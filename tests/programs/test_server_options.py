"""
Which server a command line means, and who it says we are.
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import InvalidKey, KeyPair
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.contacts.servers import ServerKeyChanged, servers_path
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.describe.fingerprints import fingerprint
from sodiumtwist.programs import asking, client_options, tunneltap
from sodiumtwist.programs.settings import ConnectSettings, PingSettings

from ..endpoint_files import hide_secrets
from ..known_servers import know, write_servers
from ..processes import PUBLIC

OTHER = KeyPair.generate().public.hex()
URL = f"sodium://bob@example.net:7000/#{PUBLIC}"


class OptionsTestCase(SynchronousTestCase):
    """Has a folder of files, and one of servers that are known."""

    def setUp(self) -> None:
        hide_secrets(self)
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        self.us = KeyPair.generate()
        self.identity = os.path.join(self.directory, "home.key")
        write_key_file(self.identity, self.us)
        self.passphrase_file = self.write("pass", "geheim\n")
        know(self, self.directory, **self.home)

    @property
    def home(self) -> dict[str, dict[str, str | int]]:
        return {"home": {"endpoint": "example.org:5555", "login": "ann", "identity": self.identity}}

    @property
    def home_and_work(self) -> dict[str, dict[str, str | int]]:
        work: dict[str, str | int] = {
            "endpoint": "tls:work.example:443",
            "passphrase-file": self.passphrase_file,
            "protocol": 1,
            "server-key": OTHER,
        }
        return {**self.home, "work": work}

    def write(self, name: str, text: str) -> str:
        path = os.path.join(self.directory, name)
        with open(path, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)
        return path

    def ping(self, *words: str) -> PingSettings:
        """What a ``ping`` would do. What it says is in ``self.said``."""
        options = client_options.PingOptions()
        with contextlib.redirect_stderr(io.StringIO()) as said:
            options.parseOptions([*words])
        self.said = said.getvalue()
        return options.settings

    def refused(self, kind: type[Exception] | tuple[type[Exception], ...], *words: str) -> str:
        return str(self.assertRaises(kind, self.ping, *words))


class NamedTests(OptionsTestCase):
    """A server by its name."""

    def assert_home(self, settings: ConnectSettings, endpoint: str = "example.org:5555") -> None:
        us = settings.credentials
        self.assertEqual((settings.endpoint, settings.server_key), (endpoint, bytes.fromhex(PUBLIC)))
        self.assertEqual((us.user, us.passphrase, us.default_passphrase, us.pair), ("ann", "", False, self.us))
        self.assertEqual((settings.version, settings.known_as), (2, "home"))

    def test_each_way(self) -> None:
        """As an argument, by ``--to`` and what that was called before, as an endpoint string, and for its key."""
        for words in (
            ["home"],
            ["home:"],
            ["--to", "home"],
            ["--to", "home:"],
            ["-t", "home"],
            ["--endpoint", "home"],
            ["-e", "home"],
            ["sodium:home"],
            # As send and get have it.
            ["home:"],
            ["--to", "home:"],
            ["--server-key", "home"],
            ["--key", "home"],
            ["-k", "home"],
            ["home", "-k", PUBLIC],
            ["home", "-k", "home"],
            ["home", "-k", URL],
        ):
            self.assert_home(self.ping(*words))
            self.assertEqual(self.said, "", words)

    def test_by_its_address(self) -> None:
        """Who is known there is meant, where no key is given; and it is connected to as it was said."""
        for where in (
            "example.org",
            "tcp:example.org:5555",
            "EXAMPLE.org.:5555",
            "tcp:example.org:5555:timeout=3",
            "tls:example.org:5555",
        ):
            for words in ([where], ["--to", where]):
                self.assert_home(self.ping(*words), where)
        write_servers(**self.home, other=self.home["home"])
        line = self.refused(UsageError, "example.org:5555")
        self.assertEqual(line, "several servers are known there, so name one: home, other")

    def test_another_way_there(self) -> None:
        """With a key by a name or a URL, ``--to`` says where alone."""
        self.assert_home(self.ping("-k", "home", "--to", "localhost:7000"), "localhost:7000")
        settings = self.ping("-k", URL, "--to", "localhost:7000")
        self.assertEqual((settings.endpoint, settings.credentials.user), ("localhost:7000", "bob"))

    def test_options_go_first(self) -> None:
        """What is said counts, and of what is not said, what is known."""
        other = os.path.join(self.directory, "other.key")
        write_key_file(other, pair := KeyPair.generate())
        settings = self.ping("home", "-U", "bob", "-P", "p", "--identity", other, "--protocol", "1")
        us = settings.credentials
        self.assertEqual((us.user, us.passphrase, us.pair, settings.version), ("bob", "p", pair, 1))
        self.assertEqual(self.ping("home", "--passphrase-file", self.passphrase_file).credentials.passphrase, "geheim")
        self.patch(os, "environ", {**os.environ, "SODIUMTWIST_PASSPHRASE": "p"})
        self.assertEqual(self.ping("home").credentials.passphrase, "p")
        self.assertEqual(self.ping("home", "-U", "").credentials.user, "")

    def test_all_that_is_known(self) -> None:
        """A passphrase in a file, another version of the protocol; no login is the usual one."""
        write_servers(**self.home_and_work)
        settings = self.ping("work")
        us = settings.credentials
        self.assertEqual((settings.endpoint, settings.server_key.hex()), ("tls:work.example:443", OTHER))
        self.assertEqual((us.user, us.passphrase, us.pair), ("username", "geheim", None))
        self.assertEqual((settings.version, settings.known_as), (1, "work"))

    def test_warning(self) -> None:
        """Of a passphrase file that others can read, as always."""
        write_servers(**self.home_and_work)
        os.chmod(self.passphrase_file, 0o644)
        self.ping("work")
        self.assertRegex(self.said, "^sodiumtwist: warning: .*chmod 600 .*\n$")

    def test_two_keys(self) -> None:
        """Neither is taken for right, and both fingerprints are told."""
        for words in (["home", "-k", OTHER], ["-k", "home", "--to", URL.replace(PUBLIC, OTHER)]):
            line = self.refused(ServerKeyChanged, *words)
            for key in (PUBLIC, OTHER):
                self.assertIn(fingerprint(bytes.fromhex(key)), line)

    def test_changed_key(self) -> None:
        """Who is known at an address is known there with one key, however address and key are given."""
        url = f"sodium://example.org:5555/#{OTHER}"
        for words in (["--to", "tcp:example.org:5555", "-k", OTHER, "-P", "p"], [url, "-P", "p"]):
            line = self.refused(ServerKeyChanged, *words)
            for key in (PUBLIC, OTHER):
                self.assertIn(fingerprint(bytes.fromhex(key)), line)
        self.ping("--to", "tcp:example.org:5555", "-k", PUBLIC, "-P", "p")

    def test_named_twice(self) -> None:
        line = self.refused(UsageError, "home", "--to", "home")
        self.assertEqual(line, "--to and 'home' both say which server; give one")
        self.assertIn("--to is empty", self.refused(UsageError, ""))

    def test_unknown(self) -> None:
        """The error tells which names there are; and what a host would need."""
        write_servers(**self.home_and_work)
        for words in (["hoem"], ["--to", "hoem"], ["hoem:"]):
            line = self.refused(UsageError, *words)
            self.assertRegex(line, "^no server is known by the name 'hoem', but home, work; if it is a host's name, ")
            self.assertIn("--server-key is missing", line)
        for words in (["tcp:h:1"], ["--to", "h:1"]):
            self.assertRegex(self.refused(UsageError, *words), "^--server-key is missing")

    def test_host_of_that_name(self) -> None:
        """A name that is not known is a host's."""
        settings = self.ping("localhost", "-k", OTHER)
        self.assertEqual((settings.endpoint, settings.known_as), ("localhost", None))

    def test_own_files_that_are_gone(self) -> None:
        os.unlink(self.identity)
        self.assertIn(self.identity, self.refused(FileNotFoundError, "home"))


class DefaultTests(OptionsTestCase):
    """Nothing is said."""

    def test_only_one(self) -> None:
        """It is taken, and a line says so, but where nobody wants any."""
        self.assertEqual(self.ping().known_as, "home")
        self.assertEqual(self.said, "sodiumtwist: to home, the only server that is known\n")
        for make, words, says in (
            (client_options.SendOptions, ["in"], True),
            (client_options.SendOptions, ["in", "--quiet"], False),
            (client_options.SendOptions, ["in", "--json"], False),
            (client_options.GetOptions, ["photos"], True),
            (client_options.ListOptions, [], True),
            (client_options.ListOptions, ["--json"], False),
        ):
            options: Any = make()
            with contextlib.redirect_stderr(io.StringIO()) as said:
                options.parseOptions(words)
            self.assertEqual(options.settings.known_as, "home")
            self.assertEqual(bool(said.getvalue()), says, words)

    def test_several(self) -> None:
        write_servers(**self.home_and_work)
        line = self.refused(UsageError)
        self.assertRegex(line, "home, work.*; or give --to and --server-key$")

    def test_none(self) -> None:
        """All ways to one are told."""
        os.unlink(servers_path())
        line = self.refused(UsageError)
        for said in ("sodiumtwist join 'URL'", "sodiumtwist add NAME 'URL'", "--to and --server-key"):
            self.assertIn(said, line)

    def test_key_alone(self) -> None:
        """That goes to this machine, as it did before there were names."""
        settings = self.ping("--key", OTHER)
        us = settings.credentials
        self.assertEqual((settings.endpoint, settings.known_as), ("127.0.0.1:5555", None))
        self.assertEqual((us.user, us.passphrase, us.default_passphrase), ("username", "passphrase", True))


class URLTests(OptionsTestCase):
    """A server by its URL."""

    def test_each_way(self) -> None:
        for words in ([URL], ["--to", URL], ["--server-key", URL]):
            settings = self.ping(*words, "-P", "p")
            self.assertEqual(settings.endpoint, "example.net:7000")
            self.assertEqual(settings.server_key, bytes.fromhex(PUBLIC))
            self.assertEqual((settings.credentials.user, settings.known_as), ("bob", None))

    def test_invitation(self) -> None:
        """Anywhere but at ``join`` it is refused, and its secret shown nowhere."""
        secret = "0123456789abcdef" * 2
        for words in ([], ["--to"], ["--server-key"], ["--to", "h:1", "--key"]):
            line = self.refused(LocalProtocolError, *words, f"{URL}.{secret}")
            self.assertIn("is an invitation; run: sodiumtwist join 'URL'", line)
            self.assertNotIn(secret, line)

    def test_mistakes(self) -> None:
        self.assertRegex(self.refused(LocalProtocolError, URL[:-5]), "^the URL is not whole")
        self.refused(InvalidKey, f"sodium://h:1/#{'0' * 64}")


class PassphraseTests(OptionsTestCase):
    """Which passphrase goes where."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[str] = []

        def ask(prompt: str, *instead: str) -> str:
            self.asked.append(prompt)
            return "typed"

        self.patch(asking, "ask_passphrase", ask)

    def test_asked_for(self) -> None:
        """The default one goes to no other machine."""
        write_servers(home={"endpoint": "example.org:5555", "login": "ann"})
        self.assertEqual(self.ping("home").credentials.passphrase, "typed")
        self.assertEqual(self.ping(URL).credentials.passphrase, "typed")
        self.assertEqual(self.ping("--to", "example.net", "-k", OTHER).credentials.passphrase, "typed")
        self.assertEqual(len(self.asked), 3)
        self.assertIn("ann", self.asked[0])
        self.assertIn("example.org:5555", self.asked[0])

    def test_not_asked_for(self) -> None:
        """On this machine, and where our key is known."""
        self.assertTrue(self.ping("--to", "unix:socket", "-k", OTHER).credentials.default_passphrase)
        self.assertEqual(self.ping("home").credentials.passphrase, "")
        away = ["--to", "example.net", "-k", OTHER]
        self.assertEqual(self.ping(*away, "--identity", self.identity).credentials.passphrase, "")
        self.assertEqual(self.asked, [])

    def test_mistakes_first(self) -> None:
        """Nobody types one for a command that fails anyway."""
        self.refused(InvalidKey, "--to", "example.net", "-k", "abc")
        away = ["--to", "example.net", "-k", OTHER]
        self.refused(UsageError, *away, "--protocol", "3")
        self.refused(UsageError, *away, "--count", "0")
        self.refused(UsageError, *away, "--interval", "x")
        for make, words in (
            (client_options.SendOptions, ["a", "b", "--name", "c"]),
            (client_options.SendOptions, ["a", "-"]),
            (client_options.SendOptions, ["a", "--quiet", "--verbose"]),
            (client_options.GetOptions, ["a", "b/a", "into"]),
            (client_options.GetOptions, ["a", "--existing", "odd"]),
            (client_options.GetOptions, ["a", "--quiet", "--verbose"]),
        ):
            self.assertRaises(UsageError, make().parseOptions, [*away, *words])
        self.assertEqual(self.asked, [])


class PipeTests(OptionsTestCase):
    """What ``pipe`` asks is the same."""

    def test_names(self) -> None:
        """By its name and by options; alone it is the default, and that is said."""
        for words, said in ((["home"], ""), (["--to", "home"], ""), ([], "to home, the only server that is known\n")):
            options = client_options.PipeOptions()
            with contextlib.redirect_stderr(io.StringIO()) as shown:
                options.parseOptions([*words])
            self.assertEqual((options.settings.endpoint, options.settings.known_as), ("example.org:5555", "home"))
            self.assertIn(said, shown.getvalue())
        self.assertRaisesRegex(
            UsageError, "unexpected argument 'there'", client_options.PipeOptions().parseOptions, ["home", "there"]
        )


class MistakesTests(OptionsTestCase):
    """A file of servers with mistakes."""

    def setUp(self) -> None:
        super().setUp()
        with open(servers_path(), "a") as file:
            file.write("nonsense\n")

    def test_not_needed(self) -> None:
        """Who needs no name is warned, and helped."""
        for words in (["--to", "tcp:localhost:1"], ["--to", "localhost"], []):
            settings = self.ping("--server-key", OTHER, *words)
            self.assertEqual(settings.server_key.hex(), OTHER)
            self.assertRegex(self.said, r"^sodiumtwist: warning: .*servers\.toml: line \d+: .*\n$")
            self.assertEqual(self.said.count("\n"), 1)

    def test_needed(self) -> None:
        """The line with the mistake is told."""
        for words in ([], ["home"], ["--to", "home"], ["--to", "example.org:5555"]):
            self.assertRegex(self.refused((UsageError, LocalProtocolError), *words), r"servers\.toml: line \d+: ")


class TunnelTests(OptionsTestCase):
    """The same for the tunnel."""

    def tunnel(self, *words: str) -> tunneltap.Options:
        options = tunneltap.Options()
        options.parseOptions(["--listen", "127.0.0.1:7000", *words])
        return options

    def test_names(self) -> None:
        """By both names of each option; alone it is the default."""
        for words in (["--to", "home"], ["--endpoint", "home"], ["--key", "home"], ["--server-key", "home"], []):
            settings = self.tunnel(*words).settings
            self.assertEqual((settings.endpoint, settings.known_as), ("example.org:5555", "home"))
            self.assertEqual((settings.credentials.user, settings.credentials.pair), ("ann", self.us))
        self.assertEqual(self.tunnel("--to", URL, "-P", "p").settings.endpoint, "example.net:7000")

    def test_log(self) -> None:
        """It says which one it is."""
        service = tunneltap.makeService(self.tunnel("--to", "home"), MemoryReactorClock())
        self.assertEqual(service._factory.where, "home (example.org:5555)")

    def test_mistakes(self) -> None:
        """One line, without a traceback."""
        write_servers(**self.home_and_work)
        for words, said in (
            ([], "home, work"),
            (["--to", "hoem"], "no server is known by the name 'hoem'"),
            (["--to", f"{URL}.{'ab' * 16}"], "this is an invitation"),
            (["--to", "home", "--key", OTHER], fingerprint(bytes.fromhex(OTHER))),
        ):
            error = self.assertRaises(SystemExit, self.tunnel, *words)
            self.assertIn(said, str(error))
            self.assertNotIn("\n", str(error))
