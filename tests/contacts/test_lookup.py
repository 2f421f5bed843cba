"""
Which server a text means.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.contacts.lookup import (
    can_be_name,
    check_same_key,
    look_up,
    read_identity,
    read_kept_passphrase,
)
from sodiumtwist.contacts.servers import KnownServer, ServerKeyChanged, servers_path
from sodiumtwist.core.errors import LocalProtocolError
from sodiumtwist.describe.fingerprints import fingerprint

from ..known_servers import know
from ..pair import SERVER_PAIR
from ..processes import PUBLIC

URL = f"sodium://ann@example.org:5555/#{PUBLIC}"


class LookUpTests(SynchronousTestCase):
    """Names and URLs; all else is an address, or something of its own."""

    def setUp(self) -> None:
        know(self, self.mktemp(), home={"endpoint": "example.org:5555", "login": "ann"})

    def test_names(self) -> None:
        """With or without what endpoint strings have before it."""
        home = KnownServer("home", "example.org:5555", bytes.fromhex(PUBLIC), "ann")
        self.assertEqual(look_up("home"), home)
        self.assertEqual(look_up("sodium:home"), home)
        for text in ("work", "home:", "Home", "./home", "tcp:home:5555", "", "sodium:", "tcp", PUBLIC):
            self.assertIsNone(look_up(text), text)

    def test_urls(self) -> None:
        """They have no name, though the server may be known by one."""
        self.assertEqual(look_up(URL), KnownServer("", "example.org:5555", bytes.fromhex(PUBLIC), "ann"))
        tls = look_up(f"sodium+tls://[::1]:443/#{PUBLIC}")
        self.assertEqual(tls, KnownServer("", r"tls:\:\:1:443", bytes.fromhex(PUBLIC)))
        self.assertRaises(LocalProtocolError, look_up, URL[:-1])

    def test_invitation(self) -> None:
        """It is for ``join`` alone, and the line that says so does not show the secret."""
        secret = "0123456789abcdef" * 2
        line = str(self.assertRaises(LocalProtocolError, look_up, f"{URL}.{secret}"))
        self.assertEqual(line, "this is an invitation; run: sodiumtwist join 'URL'")

    def test_file_with_mistakes(self) -> None:
        """It is in the way of names alone, and of nobody who can do without."""
        with open(servers_path(), "a") as file:
            file.write("nonsense\n")
        error = self.assertRaises(LocalProtocolError, look_up, "home")
        said: list[str] = []
        self.assertIsNone(look_up("localhost", said.append))
        self.assertEqual(said, [str(error)])
        self.assertIsNone(look_up("tcp:home:5555"))
        self.assertIsNotNone(look_up(URL))

    def test_file_that_cannot_be_read(self) -> None:
        os.unlink(servers_path())
        os.mkdir(servers_path())
        said: list[str] = []
        self.assertRaises(OSError, look_up, "home")
        self.assertIsNone(look_up("home", said.append))
        self.assertEqual(len(said), 1)
        self.assertIn(servers_path(), said[0])

    def test_names_that_cannot_be(self) -> None:
        """What endpoint strings begin with, and what is a key."""
        for text in ("home", "a.b-c_d", "5", "x" * 64):
            self.assertTrue(can_be_name(text), text)
        for text in ("tcp", "sodium", "", "a:b", "a/b", "-a", "x" * 65, PUBLIC, "käse"):
            self.assertFalse(can_be_name(text), text)


class KeptTests(SynchronousTestCase):
    """What is kept for a server."""

    def test_same_key(self) -> None:
        server = KnownServer("home", "h", SERVER_PAIR.public)
        check_same_key(server, SERVER_PAIR.public)
        other = KeyPair.generate().public
        line = str(self.assertRaises(ServerKeyChanged, check_same_key, server, other))
        for said in ("home", fingerprint(other), fingerprint(SERVER_PAIR.public)):
            self.assertIn(said, line)

    def test_files(self) -> None:
        """Our key and our passphrase, where there are any."""
        directory = self.mktemp()
        os.mkdir(directory)
        identity, passphrase = os.path.join(directory, "k"), os.path.join(directory, "p")
        pair = KeyPair.generate()
        write_key_file(identity, pair)
        with open(passphrase, "w") as file:
            file.write("geheim\n")
        os.chmod(passphrase, 0o644)
        server = KnownServer("home", "h", SERVER_PAIR.public, "", identity, passphrase)
        self.assertEqual(read_identity(server), pair)
        kept, warning = read_kept_passphrase(server)
        self.assertEqual(kept, "geheim")
        self.assertIn("chmod 600", warning or "")
        for nothing in (None, KnownServer("home", "h", SERVER_PAIR.public)):
            self.assertIsNone(read_identity(nothing))
            self.assertEqual(read_kept_passphrase(nothing), (None, None))
