"""
Who else can read and change a file.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import AuthorizedKeysFile, KeyPair, LocalProtocolError, ReplayDatabase
from sodiumtwist.admission.argon2 import Argon2File
from sodiumtwist.admission.checker_strings import checker_from_string
from sodiumtwist.admission.files import check_file, readers_warning
from sodiumtwist.admission.passwords import read_passwords, set_password
from sodiumtwist.contacts.keyfiles import read_key_file, read_passphrase_file

from .test_passwords import cheap

SECRET = "5e" * 32

#: Everything that reads such a file: what is in it, what the errors call it, who reads it, and whether others may.
READERS: dict[str, tuple[str, str, Callable[[str], object], bool]] = {
    "key": (SECRET, "key file", read_key_file, False),
    "passphrase": ("secret", "passphrase file", read_passphrase_file, True),
    "list of keys": (f"{SECRET}\n", "list of clients' keys", AuthorizedKeysFile, True),
    "list of logins": ("", "password file", Argon2File, False),
    "list of logins, for passwd": ("", "password file", read_passwords, True),
    "list of logins, changed": ("", "password file", lambda path: set_password(path, "ann", cheap("x")), True),
    "list of plain passphrases": (
        "ann:secret\n",
        "password file",
        lambda path: checker_from_string(f"file:{path}"),
        False,
    ),
}


def status(mode: int, uid: int, like: os.stat_result) -> os.stat_result:
    """The status of a file that has another mode or owner."""
    return os.stat_result((mode, *like[1:4], uid, *like[5:]))


class ReaderTests(SynchronousTestCase):
    """All that read such a file follow one rule."""

    def make(self, text: str, mode: int = 0o600) -> str:
        path: str = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def test_others(self) -> None:
        """Where others can write, and with secrets where others can read, the error tells how it is mended."""
        for name, (text, what, read, others_may_read) in READERS.items():
            for mode in range(0o600, 0o700):
                # Each bit of the group and of the others alone, and all of them.
                if mode.bit_count() > 3 and mode != 0o677:
                    continue
                path = self.make(text, mode)
                if mode & 0o022:
                    verb = "write to"
                elif mode & 0o044 and not others_may_read:
                    verb = "read"
                else:
                    read(path)
                    continue
                line = str(self.assertRaises(LocalProtocolError, read, path))
                self.assertRegex(
                    line,
                    rf"others can {verb} the {what} {path} \(mode {mode:o}(, group .*)?\); run: chmod \S+ {path}$",
                    name,
                )
                cure = line.partition("; run: chmod ")[2].split()[0]
                os.chmod(path, 0o600 if cure == "600" else mode & ~0o022)
                read(path)

    def test_credential(self) -> None:
        """
        Those of systemd have an access list for the service's user, and so the bit of a group, which says nothing of a
        group. Others still must not read them, and nobody else write to them; nor is it so elsewhere.
        """
        folder, elsewhere = (os.path.abspath(self.mktemp()) for _ in range(2))
        for name in (folder, elsewhere):
            os.mkdir(name, 0o750)
        self.patch(os, "environ", {**os.environ, "CREDENTIALS_DIRECTORY": folder})
        for directory, mode, taken in (
            (folder, 0o440, True),
            (folder, 0o400, True),
            (folder, 0o444, False),
            (folder, 0o460, False),
            (elsewhere, 0o440, False),
        ):
            path = os.path.join(directory, f"{mode:o}")
            for text, read in ((SECRET, read_key_file), ("x\n", read_passphrase_file)):
                with open(path, "w") as file:
                    file.write(text)
                os.chmod(path, mode)
                if taken:
                    self.assertIn(read(path), (KeyPair.from_hex(SECRET), ("x", None)))
                elif read is read_key_file:
                    self.assertRaises(LocalProtocolError, read, path)
                os.unlink(path)

    def test_database(self) -> None:
        """So do the files of the database of handshakes, also those beside it."""
        path = os.path.abspath(self.mktemp())
        ReplayDatabase(path)
        for name in (path, f"{path}-wal", f"{path}-shm"):
            with open(name, "ab"):
                pass
            os.chmod(name, 0o660)
            error = self.assertRaises(LocalProtocolError, ReplayDatabase, path)
            group = grp.getgrgid(os.stat(name).st_gid).gr_name
            self.assertEqual(
                str(error),
                f"others can write to the database of handshakes {name} (mode 660, group {group}); "
                f"run: chmod go-w {name}",
            )
            os.chmod(name, 0o600)

    def test_passphrase_that_others_can_read(self) -> None:
        """There is a warning."""
        path = self.make("secret", 0o644)
        self.assertEqual(
            read_passphrase_file(path)[1],
            f"others can read the passphrase file {path} (mode 644); run: chmod 600 {path}",
        )

    def test_folder(self) -> None:
        """Nor may others put another file in its place."""
        for name, (text, what, read, _) in READERS.items():
            path = self.make(text)
            folder = os.path.dirname(path)
            os.chmod(folder, 0o777)
            line = str(self.assertRaises(LocalProtocolError, read, path))
            expected = f"others can replace the {what} {path}, for they can write to its folder (mode 777); "
            self.assertIn(f"{expected}run: chmod o-w {folder}", line, name)
            for mode in (0o1777, 0o755):
                os.chmod(folder, mode)
                read(path)

    def test_link(self) -> None:
        """What a link names counts."""
        path, link = self.make(SECRET, 0o644), os.path.abspath(self.mktemp())
        os.symlink(path, link)
        self.assertRaises(LocalProtocolError, read_key_file, link)
        os.chmod(path, 0o600)
        self.assertEqual(read_key_file(link), KeyPair.from_hex(SECRET))


class OwnerTests(SynchronousTestCase):
    """Whose a file is."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        with open(self.path, "w"):
            pass
        self.stranger = pwd.getpwnam("nobody").pw_uid
        self.theirs = status(stat.S_IFREG | 0o600, self.stranger, os.stat(self.path))

    def test_stranger(self) -> None:
        """Who owns a file can change it, whatever its mode."""
        for us, run in ((0, "run"), (4711, "run as root")):
            self.patch(os, "geteuid", lambda us=us: us)
            self.patch(os, "getuid", os.geteuid)
            error = self.assertRaises(LocalProtocolError, check_file, self.path, self.theirs, "list")
            whom = "root" if us == 0 else "4711"
            self.assertEqual(
                str(error),
                f"the list {self.path} belongs to nobody, who can change it (mode 600); "
                f"{run}: chown {whom} {self.path}",
            )

    def test_trusted(self) -> None:
        """Root's and our own are good, and those of whom a service runs as."""
        self.patch(os, "getuid", lambda: 4711)
        self.patch(os, "geteuid", lambda: 4712)
        for uid in (0, 4711, 4712):
            check_file(self.path, status(stat.S_IFREG | 0o600, uid, self.theirs), "list")
        check_file(self.path, self.theirs, "list", owners=[self.stranger])

    def test_no_such_user(self) -> None:
        """A number will do."""
        theirs = status(stat.S_IFREG | 0o600, 4_000_000_000, self.theirs)
        self.assertIn(" 4000000000,", str(self.assertRaises(LocalProtocolError, check_file, self.path, theirs, "list")))


class KindTests(SynchronousTestCase):
    """What is no regular file. Nothing that is wrong is told of it, such as a chmod of ``/dev/null``."""

    def refused(self, path: str, what: str = "list") -> str:
        return str(self.assertRaises(LocalProtocolError, check_file, path, os.stat(path), what))

    def test_lists(self) -> None:
        """A list is read again and again, so it is a regular file."""
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        fifo = os.path.join(directory, "fifo")
        os.mkfifo(fifo)
        with socket.socket(socket.AF_UNIX) as listening:
            here = os.getcwd()
            os.chdir(directory)
            try:
                listening.bind("socket")
            finally:
                os.chdir(here)
        for path, kind in (
            (directory, "a directory"),
            (fifo, "a FIFO"),
            (os.path.join(directory, "socket"), "a socket"),
            ("/dev/null", "a device"),
        ):
            self.assertEqual(self.refused(path), f"the list {path} is no regular file but {kind}")

    def test_devices(self) -> None:
        """A device keeps nothing: its mode is no matter. That it has nothing to read, or no end, is said."""
        self.assertEqual(
            str(self.assertRaises(LocalProtocolError, read_passphrase_file, "/dev/null")),
            "the passphrase file /dev/null begins with an empty line",
        )
        self.assertNotIn("chmod", str(self.assertRaises(ValueError, read_key_file, "/dev/null")))
        self.assertIn("is over 4 KiB", str(self.assertRaises(LocalProtocolError, read_key_file, "/dev/zero")))

    def test_directory(self) -> None:
        for read in (read_key_file, read_passphrase_file):
            self.assertIsInstance(self.assertRaises(OSError, read, "/"), IsADirectoryError)

    def test_pipe(self) -> None:
        """What the shell makes for ``<(…)`` is taken, also when it is of the user who ran sudo."""
        for uid in (os.getuid(), 4711):
            reading, writing = os.pipe()
            os.write(writing, SECRET.encode())
            os.close(writing)
            path = f"/dev/fd/{reading}"
            check_file(
                path, status(stat.S_IFIFO | 0o622, uid, os.fstat(reading)), "key file", secret=True, streams=True
            )
            self.assertEqual(read_key_file(path), KeyPair.from_hex(SECRET))
            os.close(reading)

    def test_fifo(self) -> None:
        """One with a name is for its owner alone, too. To change its mode would be too late for who has it open."""
        path = os.path.abspath(self.mktemp())
        os.mkfifo(path)
        for mode in (0o644, 0o622):
            os.chmod(path, mode)
            error = self.assertRaises(
                LocalProtocolError, check_file, path, os.stat(path), "key file", secret=True, streams=True
            )
            self.assertRegex(str(error), rf"{path} \(mode {mode:o}\); make one for you alone, with: mkfifo -m 600$")
        os.chmod(path, 0o600)
        check_file(path, os.stat(path), "key file", secret=True, streams=True)

    def test_standard_input(self) -> None:
        """The name of a descriptor can't be mended; the file's own name is told, if it has one."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w+") as file:
            file.write(SECRET)
            file.flush()
            os.chmod(path, 0o644)
            descriptor = f"/dev/fd/{file.fileno()}"
            line = str(self.assertRaises(LocalProtocolError, read_key_file, descriptor))
            self.assertEqual(line, f"others can read the key file {path} (mode 644); run: chmod 600 {path}")
            os.unlink(path)
            line = str(self.assertRaises(LocalProtocolError, read_key_file, descriptor))
            self.assertEqual(line, f"others can read the key file {descriptor} (mode 644); name a file of mode 600")
            self.assertIsNone(readers_warning("/dev/null", os.stat("/dev/null"), "key file"))
