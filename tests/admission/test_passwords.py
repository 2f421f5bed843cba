"""
Files of logins and Argon2id strings.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import threading
import time

from nacl import pwhash
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import LocalProtocolError
from sodiumtwist.admission import updating
from sodiumtwist.admission.files import LIST_FILE_LIMIT
from sodiumtwist.admission.passwords import (
    BY_KEY,
    add_key_login,
    check_login,
    delete_password,
    hash_passphrase,
    make_decoy,
    parse_passwords,
    read_passwords,
    set_password,
    verification_cost,
    verify_passphrase,
)


def cheap(passphrase: str) -> str:
    """The string of a passphrase at the lowest cost."""
    made = pwhash.argon2id.str(passphrase.encode(), pwhash.argon2id.OPSLIMIT_MIN, pwhash.argon2id.MEMLIMIT_MIN)
    return made.rstrip(b"\0").decode()


RIGHT = cheap("right")


class StringTests(SynchronousTestCase):
    def test_hash(self) -> None:
        """At libsodium's interactive cost, another salt each time."""
        first, second = hash_passphrase("p\u00e4ss"), hash_passphrase("p\u00e4ss")
        self.assertNotEqual(first, second)
        self.assertEqual(verification_cost(first), (2, 65536))
        self.assertTrue(verify_passphrase(first, "p\u00e4ss".encode()))
        self.assertFalse(verify_passphrase(first, b"pass"))

    def test_passphrases_that_do_not_fit(self) -> None:
        for passphrase in ("", "x" * 4097, "a\0b"):
            error = self.assertRaises(LocalProtocolError, hash_passphrase, passphrase)
            self.assertNotIn("xx", str(error))

    def test_longest_passphrase(self) -> None:
        """A token of version 2, all of which is looked at."""
        string = hash_passphrase("x" * 4096)
        self.assertTrue(verify_passphrase(string, b"x" * 4096))
        self.assertFalse(verify_passphrase(string, b"x" * 4095 + b"y"))

    def test_decoy(self) -> None:
        """It has the form and the cost of others, and libsodium takes it for real."""
        made = {make_decoy(1, 8) for _ in range(5)}
        self.assertEqual(len(made), 5)
        for string in made:
            self.assertEqual(verification_cost(string), (1, 8))
            self.assertFalse(verify_passphrase(string, b"right"))

    def test_a_decoy_is_worked_on(self) -> None:
        """It costs as much as a real one: libsodium gives no time back for its form."""
        string = make_decoy(1, 8)
        salted = string.rpartition("$")[0]
        # With the right digest behind its own salt it would match, so all of it is calculated.
        self.assertEqual(string.count("$"), 5)
        self.assertRegex(salted, r"^\$argon2id\$v=19\$m=8,t=1,p=1\$[A-Za-z0-9+/]{22}$")

    def test_too_dear(self) -> None:
        for settings in ("m=7,t=1", "m=1048577,t=1", "m=8,t=0", "m=8,t=65"):
            string = re.sub("m=.*,p", f"{settings},p", RIGHT)
            self.assertRaises(LocalProtocolError, verification_cost, string)

    def test_odd_forms(self) -> None:
        """What libsodium would refuse without a calculation, which a clock would tell, is no string."""
        for odd in (
            RIGHT.replace("t=1", "t=01"),
            RIGHT.replace("t=1", "t=\u0661"),
            RIGHT.replace("m=8", "m=08"),
            RIGHT[:-1] + "B",
            re.sub(r"(p=1\$.{21}).", r"\1B", RIGHT),
        ):
            self.assertRaises(LocalProtocolError, verification_cost, odd)

    def test_logins(self) -> None:
        for login in ("ann", "a b", "a:b", "\u00e4", "x" * 255, "a#"):
            check_login(login)
        for login in ("", "#a", " a", "a ", "a\n", "a\x1b", "x" * 256, "a\u202e", f"a:{RIGHT}"):
            self.assertRaises(LocalProtocolError, check_login, login)


class ParseTests(SynchronousTestCase):
    def test_file(self) -> None:
        """Comments, blank lines, logins with colons, lines that end as Windows does."""
        text = f"# the office\n\nann:{RIGHT}\r\n   \na:b:{RIGHT}\n#bob:{RIGHT}\nj\u00fcrgen:{RIGHT}"
        self.assertEqual(parse_passwords(text), {"ann": RIGHT, "a:b": RIGHT, "j\u00fcrgen": RIGHT})
        self.assertEqual(parse_passwords(""), {})

    def test_marks(self) -> None:
        """They stand where earlier releases, which want a string behind the last colon, find none."""
        line = f"bob:{RIGHT} protocol=2"
        found = parse_passwords(f"ann:{RIGHT}\n{line}\r\na:b:{RIGHT} protocol=2\n")
        self.assertEqual(found, {"ann": RIGHT, "bob": RIGHT, "a:b": RIGHT})
        self.assertEqual(found.marked, {"bob", "a:b"})
        self.assertRaises(LocalProtocolError, verification_cost, line.rpartition(":")[2])

    def test_mistakes(self) -> None:
        """Each is told with its line, and no string is shown."""
        for line, told in [
            ("ann", "no Argon2id string"),
            ("ann:secret", "no Argon2id string"),
            (f"ann:{RIGHT} ", "no Argon2id string"),
            (f"ann:{RIGHT.replace('argon2id', 'argon2i')}", "no Argon2id string"),
            (f"ann:{RIGHT.replace('m=8', 'm=9999999')}", "asks for m=9999999"),
            (f"ann:{RIGHT.replace('m=8', 'm=7')}", "from m=8,t=1 to m=1048576,t=64 is allowed"),
            (f":{RIGHT}", "is no login"),
            (f" ann:{RIGHT}", "is no login"),
            (f"{RIGHT} :{RIGHT}", "is no login"),
            (f"bob:{RIGHT}", "'bob' stands in line 2 already"),
            (f"bob:{RIGHT} protocol=2", "'bob' stands in line 2 already"),
            (f"ann:{RIGHT} protocol=1", "alone or with the mark protocol=2"),
            (f"ann:{RIGHT}  protocol=2", "alone or with the mark protocol=2"),
            (f"ann:{RIGHT}:protocol=2", "alone or with the mark protocol=2"),
            (f"protocol=2 ann:{RIGHT}", "protocol=2 stands behind the string"),
            ("ann:$key", "no Argon2id string"),
        ]:
            error = self.assertRaises(LocalProtocolError, parse_passwords, f"# first\nbob:{RIGHT}\n{line}\n")
            self.assertTrue(str(error).startswith("line 3: "), error)
            self.assertIn(told, str(error))
            self.assertNotIn("$", str(error))
            self.assertNotIn("secret", str(error))

    def test_by_key(self) -> None:
        """A login without a passphrase is for version 2 alone. Earlier releases find no string there."""
        found = parse_passwords(f"ann:{BY_KEY} protocol=2\nbob:{RIGHT}\n")
        self.assertEqual(found, {"ann": BY_KEY, "bob": RIGHT})
        self.assertEqual(found.marked, {"ann"})
        error = self.assertRaises(LocalProtocolError, parse_passwords, f"ann:{BY_KEY}\n")
        self.assertEqual(str(error), "line 1: behind $key$ stands protocol=2")
        self.assertRaises(LocalProtocolError, verification_cost, f"{BY_KEY} protocol=2")


class UpdateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="sodiumtwist-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = os.path.join(self.directory, "users")

    def write(self, text: str) -> None:
        with open(self.path, "w", newline="") as file:
            file.write(text)

    def text(self) -> str:
        with open(self.path, newline="") as file:
            return file.read()

    def test_new_file(self) -> None:
        """It is ours alone, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        self.assertFalse(set_password(self.path, "ann", RIGHT))
        self.assertEqual(read_passwords(self.path), {"ann": RIGHT})
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_comments_and_order_stay(self) -> None:
        other = cheap("other")
        self.write(f"# one\nann:{RIGHT}\n\n# two\nbob:{RIGHT}\r\ncid:{RIGHT}")
        self.assertTrue(set_password(self.path, "bob", other))
        self.assertFalse(set_password(self.path, "dan", other))
        delete_password(self.path, "ann")
        self.assertEqual(self.text(), f"# one\n\n# two\nbob:{other}\ncid:{RIGHT}\ndan:{other}\n")

    def test_marks_stay(self) -> None:
        """A change of the passphrase does not take the mark away, nor a change of another login."""
        other = cheap("other")
        self.write(f"ann:{RIGHT} protocol=2\r\nbob:{RIGHT}\ncid:{RIGHT} protocol=2\n")
        self.assertTrue(set_password(self.path, "ann", other))
        self.assertTrue(set_password(self.path, "bob", other))
        self.assertFalse(set_password(self.path, "dan", other, mark=True))
        lines = [f"ann:{other} protocol=2", f"bob:{other}", f"cid:{RIGHT} protocol=2", f"dan:{other} protocol=2"]
        self.assertEqual(self.text().splitlines(), lines)
        self.assertTrue(set_password(self.path, "bob", other, mark=True))
        self.assertEqual(read_passwords(self.path).marked, {"ann", "bob", "cid", "dan"})
        delete_password(self.path, "dan")
        self.assertEqual(read_passwords(self.path).marked, {"ann", "bob", "cid"})

    def test_add_key_login(self) -> None:
        """It is added where it is not there, in any form of its letters; one with a passphrase keeps that."""
        self.write(f"bob:{RIGHT}\n\u00e9t\u00e9:{RIGHT}\n")
        self.assertFalse(add_key_login(self.path, "ann"))
        self.assertFalse(add_key_login(self.path, "ann"))
        for login in ("bob", "\u00e9t\u00e9", "e\u0301te\u0301"):
            self.assertTrue(add_key_login(self.path, login), login)
        self.assertEqual(self.text(), f"bob:{RIGHT}\n\u00e9t\u00e9:{RIGHT}\nann:{BY_KEY} protocol=2\n")
        self.assertRaises(LocalProtocolError, add_key_login, self.path, "#ann")
        # It can be given a passphrase later.
        self.assertTrue(set_password(self.path, "ann", RIGHT))
        self.assertTrue(self.text().endswith(f"\nann:{RIGHT} protocol=2\n"))

    def test_cannot_be_written(self) -> None:
        """The error names the file, not the one that was to take its place."""
        self.path = os.path.join(os.path.realpath(self.directory), "x" * 250)  # the other one's name is longer
        error = self.assertRaises(OSError, set_password, self.path, "ann", RIGHT)
        self.assertEqual(error.filename, self.path)
        self.assertIn("it can't be written: File name too long", str(error))
        self.assertEqual(os.listdir(self.directory), [])

    def test_delete_unknown(self) -> None:
        self.write(f"ann:{RIGHT}\n")
        error = self.assertRaises(LocalProtocolError, delete_password, self.path, "bob")
        self.assertIn("has no login 'bob'", str(error))
        self.assertEqual(self.text(), f"ann:{RIGHT}\n")

    def test_broken_file_is_not_touched(self) -> None:
        self.write("nonsense\n")
        error = self.assertRaises(LocalProtocolError, set_password, self.path, "ann", RIGHT)
        self.assertIn("line 1", str(error))
        self.assertEqual(self.text(), "nonsense\n")

    def test_full_disk(self) -> None:
        """The old file is as it was, and nothing lies beside it."""
        self.write(f"ann:{RIGHT}\n")

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        self.assertRaises(OSError, set_password, self.path, "bob", RIGHT)
        self.assertEqual(os.listdir(self.directory), ["users"])
        self.assertEqual(self.text(), f"ann:{RIGHT}\n")

    def test_folder_not_synced(self) -> None:
        """The new file is in its place then, and the error says so."""

        def broken(path: str) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(updating, "sync_directory", broken)
        error = self.assertRaises(OSError, set_password, self.path, "ann", RIGHT)
        self.assertEqual(error.filename, os.path.realpath(self.path))
        self.assertEqual(error.strerror, "it is changed, but a loss of power may undo that: Input/output error")
        self.assertEqual(read_passwords(self.path), {"ann": RIGHT})

    def lock(self) -> int:
        """Lock the folder, as any user who can read it can."""
        fd = os.open(self.directory, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_SH)
        return fd

    def test_locked(self) -> None:
        """Nobody is waited for without end. The line tells what is locked, and how to see by whom."""
        self.write(f"ann:{RIGHT}\n")
        self.addCleanup(os.close, self.lock())
        slept: list[float] = []
        self.patch(time, "sleep", slept.append)
        self.patch(time, "monotonic", lambda: 7 + 5 * len(slept) / 100)
        path, directory = os.path.realpath(self.path), os.path.realpath(self.directory)
        for change in (
            lambda: set_password(self.path, "bob", RIGHT),
            lambda: delete_password(self.path, "ann"),
        ):
            slept.clear()
            error = self.assertRaises(LocalProtocolError, change)
            self.assertEqual(
                str(error),
                f"{path} was not changed, for another program has its folder locked for 5 seconds; "
                f"see which: fuser -v {directory}",
            )
            self.assertEqual(len(slept), 100)
        self.assertEqual(self.text(), f"ann:{RIGHT}\n")
        self.assertEqual(os.listdir(self.directory), ["users"])

    def test_locked_for_a_moment(self) -> None:
        """Another program that changes a file there is waited for."""
        held = self.lock()
        self.patch(time, "sleep", lambda seconds: os.close(held))
        set_password(self.path, "ann", RIGHT)
        self.assertEqual(read_passwords(self.path), {"ann": RIGHT})

    def test_many(self) -> None:
        """A hundred thousand logins fit, as long as they may be. One that would not fit is refused, and told why."""
        self.assertLess(100_000 * len(f"{'x' * 128}:{RIGHT}\n"), LIST_FILE_LIMIT)
        self.patch(updating, "LIST_FILE_LIMIT", 150)
        set_password(self.path, "ann", RIGHT)
        error = self.assertRaises(LocalProtocolError, set_password, self.path, "bob", RIGHT)
        size = 2 * len(f"ann:{RIGHT}\n")
        self.assertIn(f" would have {size} B, and servers read 150 B at most; delete logins", str(error))
        self.assertEqual(list(read_passwords(self.path)), ["ann"])

    def test_symbolic_link(self) -> None:
        """The file behind it is replaced, not the link."""
        self.write(f"ann:{RIGHT}\n")
        link = os.path.join(self.directory, "link")
        os.symlink("users", link)
        set_password(link, "bob", RIGHT)
        self.assertTrue(os.path.islink(link))
        self.assertEqual(list(read_passwords(self.path)), ["ann", "bob"])

    def test_mode_of_the_old_file(self) -> None:
        """A file that others could read is readable for its owner alone afterwards; one they can write is refused."""
        self.write("")
        os.chmod(self.path, 0o644)
        set_password(self.path, "ann", RIGHT)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        os.chmod(self.path, 0o666)
        self.assertRaises(LocalProtocolError, set_password, self.path, "bob", RIGHT)

    def test_owner_of_the_old_file(self) -> None:
        """It stays where that can be done. Where not, the caller is told: a server may not be able to read it now."""
        self.write("")
        old = os.stat(self.path)
        fields = [*old[:4], old.st_uid + 1, old.st_gid, *old[6:10]]
        self.patch(os, "lstat", lambda path: os.stat_result(fields))
        given: list[tuple[int, int]] = []
        self.patch(os, "fchown", lambda fd, uid, gid: given.append((uid, gid)))
        told: list[str] = []
        set_password(self.path, "ann", RIGHT, told.append)
        delete_password(self.path, "ann", told.append)
        # Who does not ask is not told.
        set_password(self.path, "ann", RIGHT)
        self.assertEqual(given, [(old.st_uid + 1, -1)] * 3)
        line = (
            f"{os.path.realpath(self.path)} could not keep owner {old.st_uid + 1}, now {old.st_uid}, mode 600; "
            "a server that runs as another user may not be able to read it any more"
        )
        self.assertEqual(told, [line] * 2)

    def test_at_once(self) -> None:
        """Whoever changes it at the same time, nothing is lost."""
        self.write("# all of us\n")
        errors: list[Exception] = []

        def add(number: int) -> None:
            try:
                for part in range(5):
                    set_password(self.path, f"{number}-{part}", RIGHT)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.assertEqual(len(read_passwords(self.path)), 40)
        self.assertEqual(os.listdir(self.directory), ["users"])

    def test_no_file(self) -> None:
        self.assertRaises(FileNotFoundError, read_passwords, self.path)
        self.assertRaises(OSError, set_password, os.path.join(self.directory, "no", "users"), "ann", RIGHT)
        self.assertRaises(OSError, set_password, self.directory, "ann", RIGHT)
        fifo = os.path.join(self.directory, "fifo")
        os.mkfifo(fifo)
        self.assertRaises(LocalProtocolError, set_password, fifo, "ann", RIGHT)
