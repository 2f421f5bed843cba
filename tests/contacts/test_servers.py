"""
The user's book of servers.
"""

from __future__ import annotations

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import patch

import platformdirs
import tomlkit
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.contacts import servers_file
from sodiumtwist.contacts.servers import (
    KnownServer,
    ServerKeyChanged,
    add_server,
    check_known_key,
    find_server,
    forget_server,
    identities_folder,
    read_servers,
    servers_path,
)
from sodiumtwist.core.errors import InvalidKey, LocalProtocolError
from sodiumtwist.core.keys import KeyPair
from sodiumtwist.describe.fingerprints import fingerprint

from ..own_folders import use_own_folders

KEY = KeyPair.from_secret(b"\x11" * 32).public
OTHER = KeyPair.from_secret(b"\x22" * 32).public

HOME = KnownServer("home", "example.org:5555", KEY, "ann", "/keys/home.key")
OFFICE = KnownServer("office", "tls:office.example.org:5556", OTHER, passphrase_file="/office.txt", protocol=1)

TEXT = f"""\
# Mine.

[home]  # sweet
endpoint = "example.org:5555"
server-key = "{KEY.hex()}"  # as Ann read it aloud
login = 'ann'
identity = "/keys/home.key"
# the end of home

# The office: see the wiki.
["office"]
protocol = 1
passphrase-file = "/office.txt"
server-key = "{OTHER.hex()}"
endpoint = "tls:office.example.org:5556"
"""


class BookTestCase(SynchronousTestCase):
    """Has an empty folder of configuration."""

    def setUp(self) -> None:
        self.home = os.path.abspath(self.mktemp())
        use_own_folders(self, self.home)

    def write(self, text: str, mode: int = 0o600) -> None:
        os.makedirs(os.path.dirname(servers_path()), exist_ok=True)
        with open(servers_path(), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(servers_path(), mode)

    def text(self) -> str:
        with open(servers_path(), encoding="utf-8") as file:
            return file.read()


class ReadTests(BookTestCase):
    """
    What people write is read.
    """

    def test_none(self) -> None:
        """Without a file no server is known; nor where there can be none."""
        self.assertEqual(read_servers(), {})
        self.write("")
        self.assertEqual(read_servers(), {})
        with patch.dict(os.environ, XDG_CONFIG_HOME=os.devnull):
            self.assertEqual(read_servers(), {})

    def test_read(self) -> None:
        """In the order of the file."""
        self.write(TEXT)
        self.assertEqual(list(read_servers().values()), [HOME, OFFICE])

    def test_before_tomllib(self) -> None:
        """Where Python has no parser of its own, it is the same."""
        self.patch(sys, "version_info", (3, 10))
        self.write(TEXT)
        self.assertEqual(list(read_servers().values()), [HOME, OFFICE])
        self.assert_broken("[home]\nendpoint = example\n", "line 2: it is no TOML: .*")
        self.assert_broken("[home]\n[home]\n", "(line 2: )?it is no TOML: .*")
        self.assert_broken("[home]\na = 1\na = 2\n", "(line 3: )?it is no TOML: .*")

    def test_paths(self) -> None:
        """A path may begin with the home of the user; others are relative to the folder of the file."""
        lines = f'[a]\nendpoint = "h"\nserver-key = "{KEY.hex()}"\nidentity = "~/i"\npassphrase-file = "p"\n'
        self.write(lines)
        with patch.dict(os.environ, HOME="/users/ann"):
            found = read_servers()["a"]
        self.assertEqual(found.identity, "/users/ann/i")
        self.assertEqual(found.passphrase_file, os.path.join(os.path.dirname(servers_path()), "p"))

    def assert_broken(self, text: str, pattern: str) -> None:
        self.write(text)
        error = self.assertRaises(LocalProtocolError, read_servers)
        self.assertRegex(str(error), rf"\A{servers_path()}: {pattern}\Z")
        self.assertNotIn("\n", str(error))

    def test_broken(self) -> None:
        """What is wrong is told with its line, also when it is not what TOML is about."""
        key = f'server-key = "{KEY.hex()}"\n'
        table = f'# x\n[home]\nendpoint = "h"\n{key}'
        for text, pattern in {
            "[home]\nendpoint = h\n": "line 2: it is no TOML: .*",
            "[home]\nendpoint =": "line 2: it is no TOML: .*",
            f"{table}{key}": "(line 5: )?it is no TOML: .*",
            "a = " + "[" * 100_000: "(line 1: )?it is no TOML: .*",
            # Python reads no number that is so long; not all releases say so.
            "a = " + "9" * 5000: "(it is no TOML: .*|'a' stands in no table; .*)",
            "a = 1\n": "'a' stands in no table; each server begins with a line .NAME.",
            f"{table}passphrase_file = 1\n": "line 5: there is no 'passphrase_file', but endpoint, server-key, .*",
            f"{table}protocol = true\n": "line 5: protocol takes a number",
            f"{table}protocol = 3\n": "line 5: protocol takes 1 or 2",
            f"{table}login = ''\n": "line 5: login takes a text in quotes",
            f'{table}"login"  = 5\n': "line 5: login takes a text in quotes",
            f'{table}login="{"x" * 256}"\n': "line 5: the login is 256 bytes long as UTF-8; at most 255 bytes fit",
            f"{table}[home.x]\n": r"line 2: there is no 'x', but .*, and a NAME with a dot stands in quotes",
            f'[home]\n{key}endpoint = "sodium://h"': "line 3: endpoint takes HOST:PORT or an endpoint string; .*",
            f"[home]\n{key}": "line 1: home lacks endpoint",
            '[home]\nendpoint="h"\n': "line 1: home lacks server-key",
            '[home]\nendpoint="h"\nserver-key="00"\n': "line 3: the server-key has 2 characters; it is 64 hex digits",
            f'["a b"]\nendpoint="h"\n{key}': "line 1: a server can't be called 'a b': .*",
            f'[tls]\nendpoint="h"\n{key}': "line 1: a server can't be called tls: endpoint strings begin so; .*",
            "[home]\n# \udce4\n": "line 2: it is not UTF-8 text",
        }.items():
            if "\udce4" in text:
                self.write("")
                with open(servers_path(), "wb") as file:
                    file.write(text.encode("utf-8", "surrogateescape"))
                error = self.assertRaises(LocalProtocolError, read_servers)
                self.assertRegex(str(error), f"{pattern}$")
            else:
                self.assert_broken(text, pattern)

    def test_files(self) -> None:
        """What others can change is not believed, and what is no small file is not read."""
        self.write(TEXT, 0o620)
        self.assertRaisesRegex(LocalProtocolError, "others can write to the list of servers", read_servers)
        os.chmod(servers_path(), 0o644)
        read_servers()
        self.write("#" * (servers_file.SERVERS_FILE_LIMIT + 1))
        self.assertRaisesRegex(LocalProtocolError, "over 1 MiB long", read_servers)
        os.unlink(servers_path())
        os.mkfifo(servers_path())
        self.assertRaisesRegex(LocalProtocolError, "no regular file but a FIFO", read_servers)

    def assertRaisesRegex(self, kind: type[Exception], pattern: str, function: object) -> None:  # type: ignore[override]
        error = self.assertRaises(kind, function)
        self.assertRegex(str(error), pattern)


class FindTests(BookTestCase):
    """
    A server is found by its name.
    """

    def find(self, name: str | None) -> str:
        return str(self.assertRaises(LocalProtocolError, find_server, name))

    def test_find(self) -> None:
        self.write(TEXT)
        self.assertEqual(find_server("office"), OFFICE)

    def test_default(self) -> None:
        """The only one needs no name."""
        add_server(HOME)
        self.assertEqual(find_server(None), HOME)

    def test_not_known(self) -> None:
        """The error lists the names that are known, or how one becomes known."""
        self.assertRegex(self.find(None), "no server is known by a name; .*sodiumtwist join.*sodiumtwist add")
        self.assertEqual(self.find("home"), self.find(None))
        self.write(TEXT)
        self.assertEqual(self.find(None), "several servers are known, so name one: home, office")
        self.assertEqual(self.find("hom\n"), r"no server is known by the name 'hom\n', but home, office")

    def test_many(self) -> None:
        """Of many names some are told."""
        for number in range(12):
            add_server(replace(HOME, name=f"s{number}"))
        self.assertRegex(self.find("t"), "but s0, .*s9 and 2 more$")


class ChangeTests(BookTestCase):
    """
    Servers come and go.
    """

    def test_first(self) -> None:
        """The file is made, for its user alone, and so is its folder."""
        add_server(HOME)
        self.assertEqual(read_servers(), {"home": HOME})
        self.assertEqual(stat.S_IMODE(os.stat(servers_path()).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(servers_path())).st_mode), 0o700)
        self.assertEqual(os.listdir(os.path.dirname(servers_path())), ["servers.toml"])
        self.assertTrue(self.text().startswith("# "))

    def test_add(self) -> None:
        """What stands there stays as it is."""
        self.write(TEXT.rstrip())
        third = KnownServer("example.org", "[::1]:5555", KEY, 'an"n\\ \u00e9')
        add_server(third)
        self.assertTrue(self.text().startswith(f"{TEXT}\n["))
        self.assertEqual(list(read_servers().values()), [HOME, OFFICE, third])

    def test_again(self) -> None:
        """To add the same once more changes nothing."""
        self.write(TEXT)
        add_server(HOME)
        self.assertEqual(self.text(), TEXT)

    def test_forget(self) -> None:
        """What is taken out is that table alone."""
        self.write(TEXT)
        self.assertEqual(forget_server("home"), HOME)
        self.assertEqual(read_servers(), {"office": OFFICE})
        start, end = TEXT.index("\n[home]"), TEXT.index("# the end of home")
        self.assertEqual(self.text(), TEXT[:start] + "\n" + TEXT[end:])
        forget_server("office")
        self.assertEqual(self.text(), "# Mine.\n\n# the end of home\n\n# The office: see the wiki.\n")
        self.assertEqual(read_servers(), {})

    def test_forget_what_was_added(self) -> None:
        """Nothing of it stays."""
        self.write(TEXT)
        add_server(replace(HOME, name="third"))
        forget_server("third")
        self.assertEqual(self.text(), TEXT)

    def test_forget_however_it_is_written(self) -> None:
        self.write(f'# mine\nhome = {{endpoint = "h", server-key = "{KEY.hex()}"}}\n# end\n')
        forget_server("home")
        self.assertEqual(self.text(), "# mine\n# end\n")

    def test_forget_with_a_text_like_a_header(self) -> None:
        """No line within a text is taken for one of another table."""
        self.write(f'{TEXT}[third]\nendpoint = """h\n[home]\n"""\nserver-key = "{KEY.hex()}"\n')
        forget_server("third")
        self.assertEqual(list(read_servers()), ["home", "office"])
        self.assertNotIn('"""', self.text())

    def test_forget_by_hand(self) -> None:
        """What nothing can take out without harm to the rest is left to who has written it."""
        self.write(text := f'home = {{endpoint = "h", server-key = "{KEY.hex()}"}}\n')

        def unable(document: tomlkit.TOMLDocument, name: str) -> None:
            raise ValueError

        self.patch(tomlkit.TOMLDocument, "remove", unable)
        error = self.assertRaises(LocalProtocolError, forget_server, "home")
        self.assertEqual(str(error), f"{servers_path()}: home is written in an unusual way; take it out by hand")
        self.assertEqual(self.text(), text)

    def test_windows_lines(self) -> None:
        self.write("")
        with open(servers_path(), "w", newline="\r\n") as file:
            file.write(TEXT)
        forget_server("home")
        add_server(HOME)
        self.assertEqual(list(read_servers().values()), [OFFICE, HOME])

    def test_unknown(self) -> None:
        """A server that is not known can't be forgotten, and no file is made for it."""
        self.assertRaises(LocalProtocolError, forget_server, "home")
        self.assertFalse(os.path.exists(self.home))

    def test_taken(self) -> None:
        """A name is not given to another server, and of a known one nothing is changed."""
        add_server(HOME)
        before = self.text()
        for server, pattern in (
            (
                KnownServer("home", "h:1", OTHER),
                "the name home is taken, by ann@example.org:5555; choose another one",
            ),
            (
                replace(HOME, login="bob"),
                "home is known, as ann@example.org:5555; to change it run first: sodiumtwist forget home",
            ),
        ):
            error = self.assertRaises(LocalProtocolError, add_server, server)
            self.assertEqual(str(error), pattern)
        self.assertEqual(self.text(), before)

    def test_names(self) -> None:
        """Not all can be names."""
        for name in ("", "a b", "-a", ".a", "a/b", "a:b", "\u00e9", "a\n", "x" * 65, "0a" * 32, "tcp", "TLS", "sodium"):
            error = self.assertRaises(LocalProtocolError, add_server, replace(HOME, name=name))
            self.assertRegex(str(error), "^a server can't be called ")
        for name in ("x" * 64, "0", "example.org", "a_b-c", "192.168.1.5"):
            add_server(replace(HOME, name=name))
            self.assertEqual(find_server(name).name, name)

    def test_no_key(self) -> None:
        """A key that can be none of a server gets no name."""
        self.assertRaises(InvalidKey, add_server, replace(HOME, server_key=bytes(32)))

    def test_broken_file(self) -> None:
        """It is left to who has written it."""
        self.write("[home\n")
        self.assertRaises(LocalProtocolError, add_server, HOME)
        self.assertRaises(LocalProtocolError, forget_server, "home")
        self.assertEqual(self.text(), "[home\n")

    def test_at_once(self) -> None:
        """Several programs may change the file at once, and nothing is lost. Threads are locked out as they are."""
        names = [f"s{number}" for number in range(12)]
        add_server(replace(HOME, name="old"))

        def change(name: str) -> None:
            add_server(replace(HOME, name=name))
            if name == "s0":
                forget_server("old")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(change, names))
        self.assertEqual(sorted(read_servers()), sorted(names))
        self.assertEqual(os.listdir(os.path.dirname(servers_path())), ["servers.toml"])

    def test_link(self) -> None:
        """A link stays one, as those have it who keep such files elsewhere."""
        self.write("")
        os.rename(servers_path(), elsewhere := os.path.join(self.home, "elsewhere"))
        os.symlink(elsewhere, servers_path())
        add_server(HOME)
        self.assertTrue(os.path.islink(servers_path()))
        self.assertEqual(read_servers(), {"home": HOME})

    def test_disk_full(self) -> None:
        """The file is as it was, and the error names it."""
        self.write(TEXT)

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        error = self.assertRaises(OSError, add_server, replace(HOME, name="third"))
        self.assertEqual(
            (error.filename, error.strerror), (servers_path(), "it can't be written: No space left on device")
        )
        self.assertEqual(self.text(), TEXT)
        self.assertEqual(os.listdir(os.path.dirname(servers_path())), ["servers.toml"])

    def test_bytes_that_are_no_text(self) -> None:
        """A path that is no UTF-8 can't stand in the file."""
        error = self.assertRaises(LocalProtocolError, add_server, replace(HOME, identity="/\udce4"))
        self.assertRegex(str(error), "was not changed: a name or path can't be written as UTF-8")

    def test_too_many(self) -> None:
        """The file stays one that is read."""
        self.patch(servers_file, "SERVERS_FILE_LIMIT", 500)
        for number in range(2):
            add_server(replace(HOME, name=f"s{number}"))
        error = self.assertRaises(LocalProtocolError, add_server, replace(HOME, name="s2"))
        self.assertRegex(str(error), "would have [0-9]+ B, and 500 B is the limit; forget servers")

    def test_no_home(self) -> None:
        """Without a folder of the user nothing is known, and nothing can be kept."""

        def raises(program: str) -> str:
            raise RuntimeError("could not determine the home directory")

        # As releases of the library have it.
        for find in (raises, "~/{}".format):
            self.patch(platformdirs, "user_config_dir", find)
            self.patch(platformdirs, "user_data_dir", find)
            self.assertEqual(read_servers(), {})
            check_known_key("h", KEY)
            for function in (lambda: add_server(HOME), identities_folder):
                error = self.assertRaises(LocalProtocolError, function)
                self.assertRegex(str(error), r"no folder for what sodiumtwist keeps; set \$HOME, or \$XDG_")


class ChangedKeyTests(BookTestCase):
    """
    A server that is known has one key.
    """

    def test_changed(self) -> None:
        """Another one is refused, with both fingerprints, however its address is written."""
        add_server(HOME)
        add_server(replace(HOME, name="six", endpoint="[::1]:5555"))
        for endpoint in (
            "example.org:5555",
            "example.org",
            "Example.Org.:5555",
            "tcp:example.org:5555",
            "tcp:example.org:5555:timeout=3",
            "tls:example.org:5555",
            "tcp:port=5555:host=example.org",
            "tcp:host=example.org:5555",
            "::1",
            "[0:0::1]:5555",
            r"tcp:\:\:1:5555",
        ):
            error = self.assertRaises(ServerKeyChanged, check_known_key, endpoint, OTHER)
            for key in (KEY, OTHER):
                self.assertIn(f"fingerprint {fingerprint(key)}".removeprefix("fingerprint "), str(error))
            self.assertRegex(str(error), r"is known as (home|six) with another key: .* run: sodiumtwist forget \1$")
            check_known_key(endpoint, KEY)
            self.assertRaises(ServerKeyChanged, add_server, KnownServer("new", endpoint, OTHER))

    def test_other_places(self) -> None:
        """Elsewhere there is another server."""
        add_server(HOME)
        for endpoint in ("example.org:5556", "example.com", "unix:/s", "tcp:example.org", "tcp:", "x", "a=b:c:d"):
            check_known_key(endpoint, OTHER)

    def test_socket(self) -> None:
        """An endpoint string of any other kind is compared as it is."""
        add_server(replace(HOME, endpoint="unix:/run/sodium"))
        self.assertRaises(ServerKeyChanged, check_known_key, "unix:/run/sodium", OTHER)
        check_known_key("unix:/run/other", OTHER)
