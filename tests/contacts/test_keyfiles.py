"""
Keys and passphrases in files.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import InvalidKey, KeyPair, LocalProtocolError
from sodiumtwist.admission.authorized import AuthorizedKeysFile
from sodiumtwist.contacts import keyfiles, servers
from sodiumtwist.contacts.keyfiles import (
    read_key,
    read_key_file,
    read_passphrase,
    read_passphrase_file,
    read_public_key_file,
    write_key_file,
)
from sodiumtwist.contacts.servers import KnownServer
from sodiumtwist.describe.fingerprints import fingerprint

from ..processes import PUBLIC, SECRET

FINGERPRINT = "2gn7-h4ec-pawi-pn4d-7zyt"

#: A private key that could be a public one by its form: 1 in 32 can.
LOOKS_PUBLIC = PUBLIC


class KeyFilesTests(SynchronousTestCase):
    """A private key, and its public one beside it."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.public = f"{self.path}.pub"
        self.addCleanup(os.umask, os.umask(0o022))

    def write(self, text: str, mode: int = 0o600, path: str | None = None) -> str:
        path = path or self.path
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def refused(self, read: Callable[[str], object], path: str) -> str:
        """What the error says of a file, which shows no key."""
        error = self.assertRaises((InvalidKey, LocalProtocolError), read, path)
        # The name of a temporary folder may look like one.
        self.assertNotRegex(str(error).replace(path, ""), "[0-9a-f]{8}")
        return str(error)

    def test_round_trip(self) -> None:
        """What is written is read; its owner alone can read the private key, and all can read the public one."""
        pair = KeyPair.generate()
        write_key_file(self.path, pair)
        self.assertEqual(read_key_file(self.path), pair)
        self.assertEqual(read_public_key_file(self.public), pair.public)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.public).st_mode & 0o777, 0o644)

    def test_modes(self) -> None:
        """A umask can take from the public key's file. It can't make one that the group may write to."""
        for mask, private, public in ((0o077, 0o600, 0o600), (0o002, 0o600, 0o644), (0, 0o600, 0o644)):
            os.umask(mask)
            path = self.mktemp()
            write_key_file(path, KeyPair.generate())
            modes = [os.stat(name).st_mode & 0o777 for name in (path, f"{path}.pub")]
            self.assertEqual(modes, [private, public])
            read_key_file(path)
            read_public_key_file(f"{path}.pub")

    def test_what_they_say(self) -> None:
        """Each says what it is, of when, and by which fingerprint people know it."""
        self.patch(time, "gmtime", lambda: time.struct_time((2026, 11, 29, 23, 59, 59, 6, 333, 0)))
        write_key_file(self.path, KeyPair.from_hex(SECRET))
        with open(self.path) as private, open(self.public) as public:
            self.assertEqual(
                private.read(),
                "# sodiumtwist: a private key, made 2026-11-29. Show it to nobody.\n"
                f"# fingerprint {FINGERPRINT}\nprivate key: {SECRET}\n",
            )
            self.assertEqual(
                public.read(),
                "# sodiumtwist: a public key, made 2026-11-29. It is no secret.\n"
                f"# fingerprint {FINGERPRINT}\npublic key: {PUBLIC}\n",
            )

    def test_listed(self) -> None:
        """The public key's file is one for --authorized-keys as it is."""
        pair = KeyPair.generate()
        write_key_file(self.path, pair)
        self.assertTrue(AuthorizedKeysFile(self.public).allows(pair.public, "ann"))

    def test_never_overwrites(self) -> None:
        """A key that exists stays, and so does a file that has the name of the public key's. Nothing is left then."""
        for there in ([self.path], [self.public], [self.path, self.public]):
            for path in there:
                self.write("there", path=path)
            error = self.assertRaises(FileExistsError, write_key_file, self.path, KeyPair.generate())
            self.assertEqual(error.filename, there[0])
            self.assertEqual([path for path in (self.path, self.public) if os.path.exists(path)], there)
            for path in there:
                self.assertEqual(Path(path).read_text(), "there")
                os.unlink(path)

    def test_a_link_that_leads_nowhere(self) -> None:
        """It is not followed."""
        for path in (self.path, self.public):
            os.symlink("nowhere", path)
            self.assertRaises(FileExistsError, write_key_file, self.path, KeyPair.generate())
            os.unlink(path)
            self.assertFalse(os.path.exists(self.path) or os.path.exists(self.public))

    def test_disk_full(self) -> None:
        """No file stays behind whose key is missing: it would never be overwritten. The error names the one."""

        self.full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, self.full)
        for named in (self.path, self.public):
            full: list[int] = [self.full] if named == self.path else [-1, self.full]

            def open_full(fd: int, mode: str, full: list[int] = full) -> object:
                if (disk := full.pop(0)) >= 0:
                    os.dup2(disk, fd)
                return open(fd, mode)

            # In the place of the builtin.
            vars(keyfiles)["open"] = open_full
            self.addCleanup(vars(keyfiles).pop, "open", None)
            error = self.assertRaises(OSError, write_key_file, self.path, KeyPair.generate())
            self.assertEqual((error.errno, error.filename), (errno.ENOSPC, named))
            self.assertFalse(os.path.exists(self.path) or os.path.exists(self.public))

    def test_interrupted(self) -> None:
        """Ctrl-C leaves nothing, either."""
        for before in range(3):
            synced = iter([None] * before)

            def interrupt(fd: int, synced: Iterator[None] = synced) -> None:
                if next(synced, fd) == fd:
                    raise KeyboardInterrupt

            self.patch(os, "fsync", interrupt)
            self.assertRaises(KeyboardInterrupt, write_key_file, self.path, KeyPair.generate())
            self.assertEqual(list(synced), [])
            self.assertFalse(os.path.exists(self.path) or os.path.exists(self.public))

    def test_killed_between(self) -> None:
        """What is there then is the private key, whole, from which the public one can be had."""
        pair = KeyPair.generate()

        def die(fd: int) -> NoReturn:
            raise SystemExit  # when the private key is written, and before the public one is begun

        self.patch(os, "fsync", die)
        # Who is gone cleans up nothing.
        self.patch(os, "unlink", lambda path: None)
        self.assertRaises(SystemExit, write_key_file, self.path, pair)
        self.assertEqual(read_key_file(self.path), pair)
        self.assertFalse(os.path.exists(self.public))

    def test_digits_alone(self) -> None:
        """Files of earlier releases are read as before, with blanks and the end of a line from Windows."""
        for text in (SECRET, f"{SECRET}\n", f" {SECRET.upper()}\r\n", f"private key: {SECRET}\npublic key: {PUBLIC}\n"):
            self.assertEqual(read_key_file(self.write(text)).secret.hex(), SECRET)
        for text in (PUBLIC, f"{PUBLIC}\n", f"# of the office\n{PUBLIC}\n", f"public key: {PUBLIC}\r\n"):
            self.assertEqual(read_public_key_file(self.write(text, 0o644)).hex(), PUBLIC)

    def test_public_for_private(self) -> None:
        """Its mode is not what is wrong with it."""
        pair = KeyPair.generate()
        write_key_file(self.path, pair)
        says = f"{self.public} holds a public key, and the private one is wanted"
        for mode in (0o644, 0o600):
            os.chmod(self.public, mode)
            self.assertEqual(self.refused(read_key_file, self.public), f"{says}: {self.path}")
        # What "pubkey" printed into such a file has no word in it. Its name has.
        self.write(pair.public.hex(), 0o644, self.public)
        self.assertEqual(self.refused(read_key_file, self.public), f"{says}: {self.path}")
        os.unlink(self.path)
        self.assertEqual(self.refused(read_key_file, self.public), says)
        # Under a name that tells nothing, digits alone may be a private key.
        self.write(SECRET, 0o644)
        self.assertIn("chmod 600", self.refused(read_key_file, self.path))

    def test_private_for_public(self) -> None:
        """It is refused, with the name of the file that is meant, or how to make it."""
        for pair in (KeyPair.from_hex(SECRET), KeyPair.from_hex(LOOKS_PUBLIC)):
            path = self.mktemp()
            write_key_file(path, pair)
            says = f"{path} holds a private key, and the public one is wanted: "
            self.assertEqual(self.refused(read_public_key_file, path), f"{says}{path}.pub")
            os.unlink(f"{path}.pub")
            for text in (f"private key: {pair.secret.hex()}\n", pair.secret.hex()):
                self.write(text, 0o600, path)
                self.assertEqual(self.refused(read_public_key_file, path), f"{says}sodiumtwist pubkey {path} prints it")

    def test_others_can_read(self) -> None:
        """A key that others can read is refused, with the command that mends it."""
        write_key_file(self.path, KeyPair.generate())
        for mode in (0o640, 0o604):
            os.chmod(self.path, mode)
            self.assertIn(f"chmod 600 {self.path}", self.refused(read_key_file, self.path))
        os.chmod(self.path, 0o400)
        self.assertIsInstance(read_key_file(self.path), KeyPair)

    def test_others_can_write(self) -> None:
        """Whoever can write to a server's public key can put their own there."""
        write_key_file(self.path, KeyPair.generate())
        for mode in (0o664, 0o646):
            os.chmod(self.public, mode)
            self.assertIn(f"chmod go-w {self.public}", self.refused(read_public_key_file, self.public))

    def test_owner(self) -> None:
        """A server's public key may also belong to the user that a service will run as, and to nobody else."""
        pair = KeyPair.generate()
        write_key_file(self.path, pair)
        fstat = os.fstat

        def theirs(fd: int) -> os.stat_result:
            fields = list(fstat(fd))
            fields[stat.ST_UID] = 4_000_000
            return os.stat_result(fields)

        self.patch(os, "fstat", theirs)
        self.assertIn("belongs to 4000000, who can change it", self.refused(read_public_key_file, self.public))
        read = keyfiles.read_server_key
        self.assertRaises(LocalProtocolError, read, self.public, "server key")
        self.assertEqual(read(self.public, "server key", owners=[4_000_000]), pair.public)

    def test_no_key(self) -> None:
        """Other contents are refused, without showing them."""
        for contents in ("", "ab" * 31, "xy" * 32, "a" * 5000, "# private key: " + SECRET, f"{SECRET}\n{PUBLIC}"):
            self.write(contents)
            for read in (read_key_file, read_public_key_file):
                line = self.refused(read, self.path)
                self.assertIn(self.path, line)
                self.assertNotIn("xyxy", line)
        self.assertEqual(self.refused(read_key_file, self.write("\n")), f"{self.path} is empty, and holds no key")
        with open(self.path, "wb") as file:
            file.write(b"\xff" * 64)
        for read in (read_key_file, read_public_key_file):
            self.assertIn("is not UTF-8", self.refused(read, self.path))

    def test_two_keys(self) -> None:
        """Which of two is meant nobody knows. One that stands there twice is one."""
        twice = f"private key: {SECRET}\n" * 2
        self.assertEqual(read_key_file(self.write(twice)).secret.hex(), SECRET)
        self.write(f"{twice}private key: {LOOKS_PUBLIC}\n")
        self.assertIn("2 different private keys; give one", self.refused(read_key_file, self.path))

    def test_fifo(self) -> None:
        """What a FIFO gives is read once, and is said to be the wrong key as well."""
        for text, read, says in (
            (f"private key: {SECRET}\n", read_key_file, None),
            (f"public key: {PUBLIC}\n", read_public_key_file, None),
            (f"public key: {PUBLIC}\n", read_key_file, "holds a public key"),
            (f"private key: {SECRET}\n", read_public_key_file, "holds a private key"),
        ):
            path = self.mktemp()
            os.mkfifo(path, 0o600)
            writer = threading.Thread(target=Path(path).write_text, args=(text,))
            writer.start()
            self.addCleanup(writer.join)
            if says is None:
                read(path)
            else:
                self.assertIn(says, self.refused(read, path))


class GivenKeyTests(SynchronousTestCase):
    """A private key of an option or the environment."""

    def read(self, text: str, source: str = "--key") -> tuple[KeyPair | None, list[str]]:
        warnings: list[str] = []
        if source == "--key":
            return read_key(None, "--key-file", text, "--key", warn=warnings.append), warnings
        self.patch(os, "environ", {source[1:]: text})
        return read_key(None, "--key-file", warn=warnings.append), warnings

    def test_mistakes(self) -> None:
        """What else it may be is named, and no key is shown."""
        path = self.mktemp()
        write_key_file(path, KeyPair.from_hex(SECRET))
        for source in ("--key", "$SODIUMTWIST_KEY"):
            for text, says in (
                (f"public key: {PUBLIC}", f"{source} is a public key, and the private one is wanted"),
                (f"sodium://host/#{PUBLIC}", f"{source} is a URL, which has a public key; the private one is wanted"),
                (path, f"{source} takes the private key itself; name its file by --key-file"),
                (SECRET[:-1], "the private key has 63 characters; it is 64 hex digits"),
            ):
                error = self.assertRaises(InvalidKey, self.read, text, source)
                self.assertEqual(str(error), says)

    def test_may_be_public(self) -> None:
        """
        A public key without a word is taken, since 1 in 32 private keys of earlier releases could be one as well; but a
        line says so.
        """
        pair = KeyPair.from_hex(LOOKS_PUBLIC)
        for source in ("--key", "$SODIUMTWIST_KEY"):
            read, warnings = self.read(LOOKS_PUBLIC, source)
            self.assertEqual(read, pair)
            self.assertEqual(len(warnings), 1)
            self.assertIn(f"know the server by the fingerprint {fingerprint(pair.public)}", warnings[0])
            self.assertEqual(self.read(f"private key: {LOOKS_PUBLIC}", source), (pair, []))
            self.assertEqual(self.read(SECRET, source), (KeyPair.from_hex(SECRET), []))
        self.patch(os, "environ", {})
        path = self.mktemp()
        Path(path).write_text(LOOKS_PUBLIC)
        os.chmod(path, 0o600)
        warnings = []
        self.assertEqual(read_key(path, "--key-file", warn=warnings.append), pair)
        self.assertEqual(len(warnings), 1)
        os.unlink(path)
        write_key_file(path, pair)
        self.assertEqual(read_key(path, "--key-file", warn=warnings.append), pair)
        self.assertEqual(len(warnings), 1)


class ServerKeyTests(SynchronousTestCase):
    """A server's public key, given as text."""

    def test_mistakes(self) -> None:
        """Each other key that it may be is named; none is shown."""
        us, server = KeyPair.from_hex("11" * 32), KeyPair.from_hex("12" * 32)
        path = self.mktemp()
        write_key_file(path, server)
        ours = self.mktemp()
        write_key_file(ours, us)
        url = f"sodium://ann@127.0.0.1:5555/#{server.public.hex()}"
        for text, says in (
            (path, f"{path} holds a private key, and the public one is wanted: {path}.pub"),
            (us.secret.hex(), "the server key is our own private key"),
            (us.public.hex(), "the server key is our own public key"),
            (f"{ours}.pub", "the server key is our own public key"),
            (f"private key: {server.secret.hex()}", "has to be a public key"),
            (server.secret.hex(), "a private key was given in its place"),
            (f"{path}.no", "characters; it is 64 hex digits, a .pub file, a URL or the name of a known server"),
            ("a\0b", "has 3 characters"),
            (os.path.dirname(path) or ".", "characters; it is 64 hex digits"),
            (f"fingerprint {fingerprint(server.public)}", "the server key is a fingerprint"),
            (fingerprint(server.public), "is a fingerprint, which only serves to compare; give the key itself"),
            (f"{url}.{'12' * 16}", "the server key is an invitation; run: sodiumtwist join 'URL'"),
            (url[:-1], "the URL is not whole"),
        ):
            error = self.assertRaises(
                (InvalidKey, LocalProtocolError), keyfiles.read_server_key, text, "server key", us
            )
            self.assertIn(says, str(error))
            self.assertNotIn("1111", str(error))
            self.assertNotIn("1212", str(error))

    def test_forms(self) -> None:
        """The digits, a line of a log, a file, a URL."""
        us, server = KeyPair.from_hex("11" * 32), KeyPair.from_hex("12" * 32)
        path = self.mktemp()
        write_key_file(path, server)
        key = server.public.hex()
        for pair in (us, None):
            for text in (
                key,
                f"public key: {key}",
                f"2026-11-29T07:00:00+0000 [-] public key: {key}",
                f"{path}.pub",
                f"sodium://127.0.0.1:5555/#{key}",
                f"sodium://127.0.0.1:5555/#public key: {key}",
                f"sodium+tls://ann@[::1]/#{key}",
            ):
                self.assertEqual(keyfiles.read_server_key(text, "server key", pair), server.public)

    def test_name(self) -> None:
        """A known server's. It goes before a file of that name, as in all commands; ./NAME is the file."""
        server, other = KeyPair.from_hex("11" * 32), KeyPair.from_hex("12" * 32)
        asked: list[str] = []

        def read_servers() -> dict[str, KnownServer]:
            asked.append("")
            return {"home": KnownServer("home", "127.0.0.1", server.public)}

        self.patch(servers, "read_servers", read_servers)
        self.assertEqual(keyfiles.read_server_key("home", "server key"), server.public)
        self.assertRaises(InvalidKey, keyfiles.read_server_key, "work", "server key")
        self.assertEqual(len(asked), 2)
        # Nothing else needs what is known, so nothing that is wrong with it is in the way.
        write_key_file("home", other)
        self.addCleanup(os.unlink, "home")
        self.addCleanup(os.unlink, "home.pub")
        for text in (other.public.hex(), "./home.pub", "home.pub"):
            self.assertEqual(keyfiles.read_server_key(text, "server key"), other.public)
        self.assertEqual(len(asked), 2)
        self.assertEqual(keyfiles.read_server_key("home", "server key"), server.public)
        self.assertRaises(InvalidKey, keyfiles.read_server_key, "./home", "server key")


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

    def test_key_file(self) -> None:
        """One of keys is not taken for one with a passphrase, which all who read a first line would know."""
        path = self.mktemp()
        write_key_file(path, KeyPair.generate())
        for name in (path, f"{path}.pub"):
            error = self.assertRaises(LocalProtocolError, read_passphrase_file, name)
            self.assertEqual(str(error), f"{name} is a key file, and no passphrase file")

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
            self.assertEqual(str(error), f"${variable} is empty; give a {what}, or unset it")

    def test_others_can_read(self) -> None:
        """That is warned of."""
        passphrase, warning = read_passphrase_file(self.write(b"secret", 0o644))
        self.assertEqual(passphrase, "secret")
        self.assertIn("chmod 600", warning)
        self.assertNotIn("secret", warning)
