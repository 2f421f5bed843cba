"""
``sodiumtwist add``, ``servers`` and ``forget``.
"""

from __future__ import annotations

import json
import os
from unittest.mock import patch

from sodiumtwist import KeyPair
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.contacts.servers import KnownServer, add_server, identities_folder, read_servers, servers_path
from sodiumtwist.describe.fingerprints import fingerprint

from ..own_folders import use_own_folders
from ..processes import PUBLIC, ProcessTestCase

KEY = bytes.fromhex(PUBLIC)
OTHER = KeyPair.from_secret(b"\x22" * 32).public
URL = f"sodium://ann@example.org:5555/#{PUBLIC}"


class BookTestCase(ProcessTestCase):
    """Has an empty folder of configuration, and runs commands in this process."""

    def setUp(self) -> None:
        super().setUp()
        use_own_folders(self, self.directory)

    def run_it(self, *arguments: str) -> list[str]:
        """What a command prints that does its work."""
        status, printed, said = self.call(*arguments)
        self.assertEqual((status, said), (0, []))
        return printed

    def fails(self, *arguments: str) -> str:
        """What a command says that does not."""
        status, printed, said = self.call(*arguments)
        self.assertEqual((status, printed, len(said)), (1, [], 1), said)
        return said[0]


class AddTests(BookTestCase):
    """``sodiumtwist add``"""

    def test_add(self) -> None:
        self.assertEqual(
            self.run_it("add", "home", URL),
            [f"added home: ann@example.org:5555, fingerprint {fingerprint(KEY)}"],
        )
        self.assertEqual(read_servers(), {"home": KnownServer("home", "example.org:5555", KEY, "ann")})

    def test_all(self) -> None:
        """Besides the URL, what of us it has not: in any order. Paths hold from anywhere."""
        write_key_file(self.path("me.key"), KeyPair.generate())
        with open(os.open(self.path("p.txt"), os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write("geheim\n")
        url = f"sodium+tls://[::1]:5556/#{PUBLIC}"
        self.run_it(
            *("add", "six", "--identity", "me.key", url, "--user", "bob", "--protocol=1", "--passphrase-file", "p.txt")
        )
        self.assertEqual(
            read_servers()["six"],
            KnownServer("six", r"tls:\:\:1:5556", KEY, "bob", self.path("me.key"), self.path("p.txt"), 1),
        )

    def test_readable_passphrase(self) -> None:
        """That others can read the passphrase is warned of, as everywhere."""
        with open(os.open(self.path("p.txt"), os.O_CREAT | os.O_WRONLY, 0o644), "w") as file:
            file.write("geheim\n")
        os.chmod(self.path("p.txt"), 0o644)
        status, _, said = self.call("add", "home", URL, "--passphrase-file", "p.txt")
        self.assertEqual(status, 0)
        self.assert_one_line(
            said, "^sodiumtwist: warning: others can read the passphrase file p.txt .* chmod 600 p.txt$"
        )

    def test_refused(self) -> None:
        """What is wrong is told at once, and nothing is written. The secret of an invitation is not shown."""
        invitation = f"{URL}.{'5e' * 16}"
        for arguments, says in (
            (("home",), "URL is missing"),
            (("home", "example.org:5555"), "a URL of a server begins with sodium://"),
            (("home", invitation), "this is an invitation; run: sodiumtwist join 'URL'"),
            (("a b", URL), "a server can't be called 'a b'"),
            (("home", URL, "--identity", "gone.key"), "gone.key: No such file or directory"),
            (("home", URL, "--passphrase-file", "gone.txt"), "gone.txt: No such file or directory"),
            (("home", URL, "--protocol", "3"), "--protocol takes 1 or 2"),
            (("home", URL, "--user", "x" * 256), "the login is 256 bytes long"),
            (("home", URL[:-1]), "the URL is not whole"),
        ):
            said = self.fails("add", *arguments)
            self.assertIn(says, said)
            self.assertNotIn("5e5e", said)
        self.assertFalse(os.path.exists(servers_path()))

    def test_changed_key(self) -> None:
        """A server that is known with another key is refused, with both fingerprints."""
        self.run_it("add", "home", URL)
        said = self.fails("add", "new", URL.replace(PUBLIC, OTHER.hex()))
        self.assertIn(f"{fingerprint(KEY)} is kept, {fingerprint(OTHER)} was given", said)

    def test_taken(self) -> None:
        self.run_it("add", "home", URL)
        self.assertIn("the name home is taken", self.fails("add", "home", f"sodium://example.com/#{OTHER.hex()}"))
        self.assertIn("run first: sodiumtwist forget home", self.fails("add", "home", URL.replace("ann", "bob")))

    def test_read_only(self) -> None:
        """Where nothing can be written, that is told with the file's name."""
        with open(self.path("file"), "w"), patch.dict(os.environ, XDG_CONFIG_HOME=self.path("file")):
            self.assertRegex(self.fails("add", "home", URL), f"^sodiumtwist: {self.path('file')}.*: Not a directory$")


class ServersTests(BookTestCase):
    """``sodiumtwist servers``"""

    def test_none(self) -> None:
        """Without any, it is told how one becomes known."""
        status, printed, said = self.call("servers")
        self.assertEqual((status, printed), (0, []))
        self.assert_one_line(said, "no server is known by a name; sodiumtwist join and sodiumtwist add make them known")

    def test_list(self) -> None:
        """A line each, in columns: what it is called, who we are there, the fingerprint, and our files."""
        add_server(KnownServer("home", "example.org:5555", KEY, "ann", "/k"))
        add_server(KnownServer("b", "unix:/s", OTHER, "", "/i", "/p", 1))
        self.assertEqual(
            self.run_it("servers"),
            [
                f"home  ann@example.org:5555  {fingerprint(KEY)}  /k",
                f"b     unix:/s               {fingerprint(OTHER)}  /i, /p",
            ],
        )

    def test_json(self) -> None:
        add_server(KnownServer("home", "example.org:5555", KEY, "ann", "/k"))
        add_server(KnownServer("b", "h:1", OTHER))
        first, second = map(json.loads, self.run_it("servers", "--json"))
        self.assertEqual(
            first,
            {
                "event": "server",
                "name": "home",
                "endpoint": "example.org:5555",
                "login": "ann",
                "server_key": PUBLIC,
                "fingerprint": fingerprint(KEY),
                "identity": "/k",
                "passphrase_file": None,
                "protocol": 2,
            },
        )
        self.assertEqual((second["login"], second["identity"]), (None, None))

    def test_shown(self) -> None:
        """What a terminal could take for a command is not shown to it."""
        add_server(KnownServer("home", "h:1", KEY, "a\x1b[2J"))
        self.assertRegex(self.run_it("servers")[0], r"^home  a\?\[2J@h:1 ")

    def test_broken(self) -> None:
        os.makedirs(os.path.dirname(servers_path()))
        with open(servers_path(), "w") as file:
            file.write("\n[home]\nendpoint = 5\n")
        self.assertEqual(
            self.fails("servers"), f"sodiumtwist: {servers_path()}: line 3: endpoint takes a text in quotes"
        )


class ForgetTests(BookTestCase):
    """``sodiumtwist forget``"""

    def know(self, name: str, path: str | None) -> None:
        add_server(KnownServer(name, "example.org:5555", KEY, "ann", path))

    def make_key(self, name: str) -> str:
        os.makedirs(identities_folder(), exist_ok=True)
        path = os.path.join(identities_folder(), name)
        write_key_file(path, KeyPair.generate())
        return path

    def test_forget(self) -> None:
        """Of a key, it is told that it stays, and how it goes."""
        path = self.make_key("a b.key")
        self.know("home", path)
        self.assertEqual(
            self.run_it("forget", "home"),
            ["forgot home: ann@example.org:5555", f"its key stays: {path}; to delete it: rm '{path}'"],
        )
        self.assertEqual(read_servers(), {})
        self.assertTrue(os.path.exists(path))

    def test_no_key(self) -> None:
        self.know("home", None)
        self.assertEqual(self.run_it("forget", "home:"), ["forgot home: ann@example.org:5555"])

    def test_delete_key(self) -> None:
        """With --delete-key it is deleted, when join has made it and no other server has the same."""
        path = self.make_key("home.key")
        self.know("home", path)
        self.know("other", path)
        self.assertEqual(
            self.run_it("forget", "--delete-key", "other")[1], f"its key stays, for home has the same: {path}"
        )
        self.assertEqual(self.run_it("forget", "home", "--delete-key")[1], f"its key is deleted: {path}")
        self.assertFalse(os.path.exists(path))

    def test_own_key(self) -> None:
        """A key of the user's own is not deleted."""
        path = self.path("own.key")
        write_key_file(path, KeyPair.generate())
        self.know("home", path)
        self.assertEqual(
            self.run_it("forget", "--delete-key", "home")[1],
            f"its key stays, for sodiumtwist join has not made it: {path}",
        )
        self.assertTrue(os.path.exists(path))

    def test_key_that_is_gone(self) -> None:
        """The server is forgotten all the same."""
        path = self.make_key("home.key")
        self.know("home", path)
        os.unlink(path)
        self.assertEqual(self.run_it("forget", "--delete-key", "home")[1], f"its key is gone already: {path}")

    def test_unknown(self) -> None:
        self.assertIn("NAME is missing", self.fails("forget"))
        self.assertIn("no server is known by a name", self.fails("forget", "home"))
        self.know("home", None)
        self.assertIn("no server is known by the name 'hom', but home", self.fails("forget", "hom"))
