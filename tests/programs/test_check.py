"""
``--check``: what would run is tried and shown, and nothing runs or changes.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import closing

from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]  # which one, depends on the platform

from sodiumtwist import KeyPair, ReplayDatabase
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.programs import output, tap, tunneltap
from sodiumtwist.programs.configuration import LIMIT
from sodiumtwist.programs.service_options import ServiceOptions

from ..processes import PUBLIC, SECRET, with_place
from .test_tap import TapTestCase


class CheckTestCase(TapTestCase):
    """Checks command lines."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(sys, "stderr", errors := io.StringIO())
        self.errors = errors

    def everything(self) -> dict[str, tuple[int, int, int]]:
        """All that is in the working directory, with what would change."""
        found = {}
        for folder, folders, names in os.walk("."):
            for name in [*folders, *names]:
                status = os.stat(path := os.path.join(folder, name))
                found[path] = (status.st_mode, status.st_size, status.st_mtime_ns)
        return found

    def check(self, *words: str, kind: type[ServiceOptions] = tap.Options) -> tuple[object, str]:
        """Check a command line: how it ends, and what is printed."""
        before = self.everything()
        self.patch(sys, "stdout", said := io.StringIO())
        ended = self.assertRaises(SystemExit, kind().parseOptions, ["--check", *words])
        self.assertEqual(self.everything(), before)
        return ended.code, said.getvalue()

    def shown(self, *words: str, kind: type[ServiceOptions] = tap.Options) -> str:
        """What is printed of a command line that is right."""
        code, output = self.check(*words, kind=kind)
        self.assertEqual(code, 0, code)
        self.assertTrue(output.startswith(f"# twistd {kind.program}: all is well"), output)
        return output

    def fault(self, *words: str, kind: type[ServiceOptions] = tap.Options) -> str:
        """What is said of one that is wrong; nothing is shown of it."""
        code, output = self.check(*words, kind=kind)
        self.assertEqual(output, "")
        assert isinstance(code, str)
        return code


class ShownTests(CheckTestCase):
    """What is printed."""

    def test_again(self) -> None:
        """It is a configuration file that says the same."""
        write_key_file("server.key", KeyPair.from_hex(SECRET))
        words = [
            "--key-file",
            "server.key",
            "-d",
            "here",
            "--quota=5M",
            "-e",
            "127.0.0.1:0",
            "-e",
            "unix:s",
            "--no-sync",
        ]
        words += ["--limit", "connections=9", "--limit", "failure-seconds=0.5", "--message", 'a "b" \\ c', "-U", "007"]
        first = self.shown(*words)
        self.assertIn(f"\n# public key: {PUBLIC}\n# fingerprint ", first)
        self.write("c.toml", first)
        again = self.shown("--config", "c.toml")
        self.assertIn("\n# Some of them stand in c.toml.\n", again)
        self.assertIn(f'\nkey-file = "{os.getcwd()}/server.key"\n', again)
        parsed, expected = tap.Options(), tap.Options()
        parsed.parseOptions(["--config", "c.toml"])
        expected.parseOptions(words)
        for name in (
            "endpoints",
            "pair",
            "limits",
            "timeouts",
            "message",
            "user",
            "quota",
            "sync",
            "rekey",
            "tolerance",
        ):
            self.assertEqual(getattr(parsed.settings, name), getattr(expected.settings, name), name)
        self.assertEqual(parsed.settings.directory, os.path.abspath("here"))

    def test_all_limits(self) -> None:
        """Each has its line, given or not."""
        said = self.shown("--discard", "--limit", "replays=5").partition(f"[{LIMIT}]\n")[2]
        self.assertEqual([line.partition(" =")[0] for line in said.splitlines()], [*tap.LIMITS])
        self.assertIn("\nreplays = 5\n", said)
        self.assertIn("\nconnections = 7\n", self.shown("--discard", "--limit", "connections=7"))
        self.assertIn(
            "\nfailure-seconds = 1234567.25\n", self.shown("--discard", "--limit", "failure-seconds=1234567.25")
        )
        tunnel = ["--listen=7000", "--to=127.0.0.1:5", "--server-key", PUBLIC]
        self.assertIn("\nlines = 20\n", self.shown(*tunnel, kind=tunneltap.Options))

    def test_secrets(self) -> None:
        """None is shown, wherever it stands."""
        for words in (
            ["-k", SECRET, "-P", "open sesame"],
            ["--auth", "memory:ann:open sesame"],
            ["--on-stored", "/bin/true token=a secret=sesame", "--directory", "."],
            ["--on-stored", "/bin/true -u me:sesame -H 'Authorization: Bearer sesame'", "--directory", "."],
        ):
            said = self.shown(*with_place(words))
            self.assertNotIn("sesame", said)
            self.assertNotIn(SECRET, said)
            self.assertIn("…" if "-k" not in words else "# passphrase is given, and not shown", said)

        self.assertNotIn("sesame", self.fault("--on-stored", "/bin/true -u me:sesame' x", "--directory", "."))
        self.assertIn('on-stored = "/bin/true"\n', self.shown("--on-stored", "/bin/true", "--directory", "."))

    def test_notes(self) -> None:
        """What no option says."""
        said = self.shown("--discard")
        self.assertIn("# No private key is given: it would make one for the run.", said)
        self.assertIn("# The passphrase is the default one, which everybody knows.", said)
        self.assertIn('endpoint = ["127.0.0.1:5555"]', said)
        tunnel = ["--listen=7000", "--to=127.0.0.1:5", "--server-key", PUBLIC]
        self.assertRegex(self.shown(*tunnel, kind=tunneltap.Options), "# The server is 127.0.0.1:5, with the finger")

    def test_warnings(self) -> None:
        """What the log would warn of is told on standard error."""
        self.write("new.db.00000000.new", "")
        self.shown("--discard", "--replay-db", "new.db")
        self.assertRegex(
            self.errors.getvalue(), "(?m)^sodium: warning: 1 files of databases that were never finished in "
        )

    def test_of_twistd(self) -> None:
        """Without -n, too: it ends before there is a daemon. A server that runs already is no fault."""
        self.write("twistd.pid", f"{os.getppid()}\n")
        self.patch(sys, "stdout", io.StringIO())
        options = ServerOptions()
        ended = self.assertRaises(SystemExit, options.parseOptions, ["sodium", "--check", "--discard"])
        self.assertEqual(ended.code, 0)
        self.assertEqual(os.listdir("."), ["twistd.pid"])

    def test_log(self) -> None:
        """The log file that a service of another user would need is not made."""
        self.patch(sys, "stdout", io.StringIO())
        words = ["--uid", str(os.getuid()), "--logfile", "new.log", "sodium", "--discard"]
        ended = self.assertRaises(SystemExit, ServerOptions().parseOptions, [*words, "--check"])
        self.assertEqual((ended.code, os.listdir(".")), (0, []))
        ServerOptions().parseOptions(words)
        self.assertEqual(os.listdir("."), ["new.log"])

    def test_nobody_reads(self) -> None:
        """What can't be printed is a failure."""

        class Full(io.StringIO):
            def write(self, text: str) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(sys, "stdout", Full())
        # That would be the tests' own.
        self.patch(output, "discard_standard_output", lambda: None)
        ended = self.assertRaises(SystemExit, tap.Options().parseOptions, ["--check", "--discard"])
        self.assertEqual(ended.code, 6)
        self.assertIn("sodium: standard output: No space left on device\n", self.errors.getvalue())


class TriedTests(CheckTestCase):
    """What is tried, and left as it is."""

    def test_directory(self) -> None:
        """One that would be made is not; one that can't be made is told."""
        self.assertIn('directory = "new"', self.shown("--directory", "new", "--share", "new"))
        self.assertRegex(self.fault("--directory", "no/new"), "^sodium: cannot write to .*/no: No such file")
        self.write("file", "")
        self.assertRegex(self.fault("--directory", "file"), "^sodium: cannot write to .*/file: it is no directory")
        self.patch(os, "access", lambda path, mode, effective_ids=False: False)
        self.assertRegex(self.fault("--directory", "new"), "^sodium: cannot write to .*: files can't be made there")

    def test_file(self) -> None:
        """Standard output stays what it is."""
        self.assertIn('file = "-"', self.shown("--file", "-"))
        self.assertIn('file = "new"', self.shown("--file", "new"))
        self.assertRegex(self.fault("--file", "no/new"), "^sodium: cannot write to .*/no: No such file")
        self.assertRegex(self.fault("--share", "no"), "^sodium: cannot share .*/no: No such file")

    def test_database(self) -> None:
        """None is made. One that is there is looked at."""
        words = ["--discard", "--replay-db"]
        self.assertIn("\nreplays = 10000000\n", self.shown(*words, "new.db"))
        self.assertRegex(self.fault(*words, "no/new.db"), "^sodium: .*/no: No such file or directory")
        database = ReplayDatabase("own.db")
        self.addCleanup(database.close)
        self.shown(*words, "own.db")
        for data, why in (
            (b"", "is no database of handshakes; name another file"),
            (b"SQLite format 3\0" + bytes(84), "is no database of handshakes but another one"),
            (b"SQLite format 3\0" + bytes(47) + b"\2" + bytes(4) + b"Sodm", "of version 2, where this program knows 1"),
        ):
            with closing(open("other.db", "wb")) as file:
                file.write(data)
            os.chmod("other.db", 0o600)
            self.assertRegex(self.fault(*words, "other.db"), f"^sodium: /.*/other.db .*{why}")
        os.chmod("other.db", 0o666)
        self.assertRegex(self.fault(*words, "other.db"), "^sodium: others can write to the database of handshakes")

    def test_endpoints(self) -> None:
        """They are understood, and nothing is listened on."""
        self.assertRegex(self.fault("--discard", "-e", "tcp:x"), "^sodium: --endpoint: bad endpoint string 'tcp:x'")
        self.assertRegex(self.fault("--discard", "-e", "0.0.0.0:0"), "^sodium: .* the passphrase is the default one")
        self.assertRegex(self.fault("--forward", "nowhere:x:y"), "^sodium: --forward: bad endpoint string")
        self.shown("--discard", "-e", "unix:s")
        tunnel = ["--to=127.0.0.1:5", "--server-key", PUBLIC]
        said = self.fault("--listen=a:b", *tunnel, kind=tunneltap.Options)
        self.assertRegex(said, "^sodium-tunnel: --listen: bad endpoint string")

    def test_files(self) -> None:
        """Those that are read are read."""
        self.assertRegex(
            self.fault("--discard", "--key-file", "k"), "^sodium: k: No such file or directory; to make it"
        )
        self.assertRegex(self.fault("--discard", "--limit", "connections=0"), "^sodium: the limit connections takes")
        self.write("c.toml", "mesage = 1\n")
        self.assertRegex(self.fault("--config", "c.toml"), "^sodium: c.toml: line 1: there is no option 'mesage'; did")
