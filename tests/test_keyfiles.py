"""
Keys and passphrases in files.
"""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import InvalidKey, KeyPair, LocalProtocolError, keyfiles
from sodiumtwist.keyfiles import read_key, read_key_file, read_passphrase, read_passphrase_file, write_key_file


class KeyFileTests(SynchronousTestCase):
    """Private keys."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        os.umask(os.umask(0o022))

    def test_round_trip(self) -> None:
        """What is written is read, and only its owner can read it."""
        pair = KeyPair.generate()
        write_key_file(self.path, pair)
        self.assertEqual(read_key_file(self.path), pair)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_never_overwrites(self) -> None:
        """A key that exists stays."""
        pair = KeyPair.generate()
        write_key_file(self.path, pair)
        self.assertRaises(FileExistsError, write_key_file, self.path, KeyPair.generate())
        self.assertEqual(read_key_file(self.path), pair)

    def test_disk_full(self) -> None:
        """No empty key file stays behind, which would never be overwritten."""

        def open_full(fd: int, mode: str) -> object:
            os.dup2(self.full, fd)
            return open(fd, mode)

        self.full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, self.full)
        # In the place of the builtin.
        vars(keyfiles)["open"] = open_full
        self.addCleanup(vars(keyfiles).pop, "open")
        error = self.assertRaises(OSError, write_key_file, self.path, KeyPair.generate())
        self.assertEqual((error.errno, error.filename), (errno.ENOSPC, self.path))
        self.assertFalse(os.path.exists(self.path))

    def test_others_can_read(self) -> None:
        """A key that others can read is refused, with the command that mends it."""
        write_key_file(self.path, KeyPair.generate())
        for mode in (0o640, 0o604):
            os.chmod(self.path, mode)
            error = self.assertRaises(LocalProtocolError, read_key_file, self.path)
            self.assertIn(f"chmod 600 {self.path}", str(error))
        os.chmod(self.path, 0o400)
        self.assertIsInstance(read_key_file(self.path), KeyPair)

    def test_no_key(self) -> None:
        """Other contents are refused, without showing them."""
        for contents in (b"", b"ab" * 31, b"xy" * 32, b"\xff" * 64, b"a" * 5000):
            with open(self.path, "wb") as file:
                file.write(contents)
            os.chmod(self.path, 0o600)
            error = self.assertRaises((InvalidKey, LocalProtocolError), read_key_file, self.path)
            self.assertIn(self.path, str(error))
            self.assertNotIn("xyxy", str(error))


class ServerKeyTests(SynchronousTestCase):
    """A server's public key, given as text."""

    def test_mistakes(self) -> None:
        """Each other key that it may be is named; none is shown."""
        us, server = KeyPair.from_hex("11" * 32), KeyPair.from_hex("12" * 32)
        path = self.mktemp()
        write_key_file(path, server)
        for text, says in (
            (path, "the server key is the name of a file; give the key itself"),
            (us.secret.hex(), "the server key is our own private key"),
            (us.public.hex(), "the server key is our own public key"),
            (f"private key: {server.secret.hex()}", "has to be a public key"),
            (server.secret.hex(), "a private key was given in its place"),
            (f"{path}.no", "characters; it is 64 hex digits"),
            ("a\0b", "has 3 characters"),
        ):
            error = self.assertRaises(InvalidKey, keyfiles.read_server_key, text, "server key", us)
            self.assertIn(says, str(error))
            self.assertNotIn("1111", str(error))
            self.assertNotIn("1212", str(error))
        for pair in (us, None):
            line = f"public key: {server.public.hex()}"
            self.assertEqual(keyfiles.read_server_key(line, "server key", pair), server.public)


class PassphraseFileTests(SynchronousTestCase):
    """Passphrases."""

    def write(self, contents: bytes, mode: int = 0o600) -> str:
        path: str = self.mktemp()
        with open(path, "wb") as file:
            file.write(contents)
        os.chmod(path, mode)
        return path

    def test_first_line(self) -> None:
        """The first line counts; spaces in it, too."""
        for contents in (b" a b ", b" a b \n", b" a b \r\nmore\n"):
            self.assertEqual(read_passphrase_file(self.write(contents)), (" a b ", None))

    def test_empty(self) -> None:
        """An empty line is refused: it is more likely a mistake than a passphrase."""
        for contents in (b"", b"\n", b"\nsecond"):
            self.assertRaises(LocalProtocolError, read_passphrase_file, self.write(contents))

    def test_empty_anywhere(self) -> None:
        """So is one from the environment or the command line, and so is a key."""
        for variable, what, read in (
            ("SODIUMTWIST_PASSPHRASE", "passphrase", read_passphrase),
            ("SODIUMTWIST_KEY", "private key", read_key),
        ):
            error = self.assertRaises(LocalProtocolError, read, None, "--file", "", "--text")
            self.assertEqual(str(error), f"--text is empty; give a {what}, or leave it out")
            self.patch(os, "environ", {variable: ""})
            error = self.assertRaises(LocalProtocolError, read, None, "--file")
            self.assertEqual(str(error), f"${variable} is empty; give a {what}, or leave it out")

    def test_others_can_read(self) -> None:
        """That is warned of."""
        passphrase, warning = read_passphrase_file(self.write(b"secret", 0o644))
        self.assertEqual(passphrase, "secret")
        self.assertIn("chmod 600", warning)
        self.assertNotIn("secret", warning)
