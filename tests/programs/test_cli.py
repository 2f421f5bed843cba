"""
The command line of ``sodiumtwist``.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios

from sodiumtwist import KeyPair
from sodiumtwist.contacts.keyfiles import read_key_file, read_public_key_file
from sodiumtwist.describe.fingerprints import fingerprint

from ..processes import PUBLIC, SECRET, SODIUMTWIST, ProcessTestCase, Running, clean_environment, wait_until


class KeyTests(ProcessTestCase):
    """``keygen`` and ``pubkey``"""

    def test_keygen(self) -> None:
        """It prints a pair that belongs together, and its fingerprint."""
        command = self.run_process([*SODIUMTWIST, "keygen"])
        self.assertEqual((command.wait(), command.errors), (0, []))
        secret = command.output[0].removeprefix("private key: ")
        public = KeyPair.from_hex(secret).public
        self.assertEqual(command.output[1:], [f"public key: {public.hex()}", f"fingerprint {fingerprint(public)}"])

    def test_keygen_output(self) -> None:
        """With --output the private key goes to a new file of mode 0600 and nowhere else, the public one beside it."""
        status, output, errors = self.call("keygen", "--output", self.path("k"))
        self.assertEqual((status, errors), (0, []))
        pair = read_key_file(self.path("k"))
        self.assertEqual(
            output,
            [
                f"private key in {self.path('k')}, for its owner alone",
                f"public key in {self.path('k.pub')}, for everybody",
                f"public key: {pair.public.hex()}",
                f"fingerprint {fingerprint(pair.public)}",
            ],
        )
        self.assertEqual(read_public_key_file(self.path("k.pub")), pair.public)
        self.assertEqual(os.stat(self.path("k")).st_mode & 0o777, 0o600)

    def test_keygen_overwrites_nothing(self) -> None:
        """Neither file, whichever is there; and what is there of an earlier release gets its public key's file."""
        for there, cure in (("k", ", or: sodiumtwist pubkey .*/k > .*/k.pub makes its public"), ("k.pub", "")):
            self.make_file(there, 3)
            status, output, errors = self.call("keygen", "--output", self.path("k"))
            self.assertEqual((status, output), (1, []))
            self.assert_one_line(
                errors, f"^sodiumtwist: .*/{there} exists and is not overwritten; choose another name{cure}"
            )
            self.assertEqual(os.listdir(self.directory), [there])
            os.unlink(self.path(there))
        for there in ("k", "k.pub"):
            self.make_file(there, 3)
        self.assert_one_line(
            self.call("keygen", "--output", self.path("k"))[2], "overwritten; choose another name; see "
        )
        status, output, errors = self.call("keygen", "--output", self.path("new.pub"))
        self.assertEqual((status, output), (1, []))
        self.assert_one_line(errors, "--output names the file of the private key; that of the public key gets .pub")

    def test_pubkey(self) -> None:
        """It prints the public key of a file, of either kind; the fingerprint goes elsewhere, for scripts."""
        for name, mode, text in (("k", 0o600, SECRET), ("k.pub", 0o644, f"public key: {PUBLIC}\n")):
            with open(self.path(name), "w") as file:
                file.write(text)
            os.chmod(self.path(name), mode)
            shown = self.call("pubkey", self.path(name))
            self.assertEqual(shown, (0, [PUBLIC], [f"sodiumtwist: fingerprint {fingerprint(bytes.fromhex(PUBLIC))}"]))

    def test_pubkey_mistakes(self) -> None:
        """One line, status 1."""
        self.make_file("open", 64, 0o644)
        for name, line in (("missing", "missing: No such file"), ("open", "chmod 600 open")):
            command = self.run_process([*SODIUMTWIST, "pubkey", name])
            self.assertEqual((command.wait(), command.output), (1, []))
            self.assert_one_line(command.errors, line)


class UsageTests(ProcessTestCase):
    """What is said of the command line itself."""

    def test_mistakes(self) -> None:
        """Each mistake is one line on standard error and status 1; none shows a secret."""
        self.make_file("in", 1)
        self.make_file("empty", 0)
        key = ["--key", PUBLIC]
        mistakes = [
            (["nonsense"], "there is no command 'nonsense'; see sodiumtwist --help"),
            (["send"], "PATH is missing"),
            (["send", "in"], "no server is known by a name; .* sodiumtwist join .*; or give --to and --server-key"),
            (["send", "--to", "tcp:h:1", "in"], "--server-key is missing"),
            (
                ["ping", "home"],
                "no server is known by a name; .* sodiumtwist join .*; if it is a host's name, --server-key is missing",
            ),
            (["send", "--key", "abc", "in"], "the server's public key has 3 characters; it is 64 hex digits"),
            (["send", *key, "-P", "geheim", "--passphrase-file", "f", "in"], "the passphrase comes from --passphrase"),
            (["send", *key, "--passphrase-file", "empty", "in"], "begins with an empty line"),
            (["send", *key, "--protocol", "2", "-P", "geheim" * 700, "in"], "the passphrase is 4200 bytes long"),
            (["send", *key, "--protocol", "2", "-U", "x" * 256, "in"], "the login is 256 bytes long"),
            (
                ["send", *key, "--protocol", "1", "-P", "geheim" * 30, "in"],
                "the passphrase is 180 bytes long as UTF-8; at most 128 bytes fit with --protocol 1; version 2 takes ",
            ),
            (["ping", *key, "--protocol", "1", "-U", "x" * 129], "the login is 129 bytes long"),
            (["ping", *key, "--protocol", "two"], "--protocol takes 1 or 2, not 'two'"),
            (["ping", *key, "--count", "0"], "--count takes a whole number from 1"),
            (["ping", *key, "--count", "many"], "--count takes a whole number from 1"),
            (["ping", *key, "--interval", "-1"], "--interval takes a number of seconds from 0 to 60"),
            (["ping", *key, "one", "two"], "unexpected argument 'two'"),
        ]
        for arguments, line in mistakes:
            status, output, errors = self.call(*arguments)
            self.assertEqual((status, output), (1, []), arguments)
            self.assert_one_line(errors, f"^sodiumtwist: .*{line}")
            self.assertNotIn("geheim", errors[0])

    def test_mistakes_in_the_reactor(self) -> None:
        """So it is for what is found when the reactor runs."""
        self.make_file("in", 1)
        key = ["--key", PUBLIC, "--passphrase", "p"]
        mistakes = [
            (["send", *key, "--to", "nonsense:x", "in"], "--to: bad endpoint string 'nonsense:x'"),
            (["ping", *key, "--to", "tcp:host"], "'tcp:host': it lacks 'port'; a right one is .* HOST:5555"),
            (["send", *key, "missing"], "cannot read missing: No such file or directory"),
            (["demo", "missing"], "missing is not a file"),
        ]
        commands = [self.run_process([*SODIUMTWIST, *arguments]) for arguments, _ in mistakes]
        for command, (arguments, line) in zip(commands, mistakes, strict=True):
            self.assertEqual((command.wait(), command.output), (1, []), arguments)
            self.assert_one_line(command.errors, f"^sodiumtwist: .*{line}")

    def test_two_passphrases(self) -> None:
        """The environment counts as a source as well."""
        status, _, errors = self.call("send", "--key", PUBLIC, "-P", "b", "in", SODIUMTWIST_PASSPHRASE="a")
        self.assertEqual(status, 1)
        self.assert_one_line(errors, r"from --passphrase and from \$SODIUMTWIST_PASSPHRASE; use one")

    def test_output_gone(self) -> None:
        """Nobody reads the output: no traceback, and a status as after SIGPIPE."""
        read, write = os.pipe()
        os.close(read)
        command = subprocess.run(
            [*SODIUMTWIST, "keygen"], stdout=write, stderr=subprocess.PIPE, env=clean_environment(), timeout=60
        )
        os.close(write)
        self.assertEqual((command.returncode, command.stderr), (141, b""))


class DescriptorTests(ProcessTestCase):
    """Closed and full standard descriptors: a status and an end, and no traceback."""

    def shell(self, command: str, *arguments: str) -> Running:
        """Run the command line with the shell's redirections."""
        return self.run_process(["sh", "-c", f'exec "$@" {command}', "sh", *SODIUMTWIST, *arguments])

    def test_full_output(self) -> None:
        """
        A line names standard output. For what there was to do besides, the status is that of success; where there was
        nothing, it has a status of its own.
        """
        self.start_server("--file", "out")
        key = ["--key", PUBLIC, "--endpoint", self.endpoint]
        path = self.make_file("in", 100)
        for arguments, status in (
            (["keygen"], 6),
            (["keygen", "-o", "k"], 0),
            (["send", *key, path], 0),
            (["ping", "-c", "1", *key], 6),
            (["demo", path], 6),
        ):
            command = self.shell(">/dev/full", *arguments)
            self.assertEqual((command.wait(), command.output), (status, []), arguments)
            warning = "" if status else "warning: "
            self.assert_one_line(command.errors, f"^sodiumtwist: {warning}standard output: No space left on device")
        self.assertTrue(os.path.exists(self.path("k")))
        self.assertEqual(self.read("out"), self.read("in"))

    def test_closed_output(self) -> None:
        """Without standard output or standard error nothing is printed there."""
        self.start_server("--file", "out")
        key = ["--key", PUBLIC, "--endpoint", self.endpoint]
        path = self.make_file("in", 100)
        for redirection in (">&-", "2>&-"):
            for arguments in (["keygen", "-o", f"k{redirection[0]}"], ["send", *key, path], ["ping", "-c", "1", *key]):
                command = self.shell(redirection, *arguments)
                self.assertEqual((command.wait(), command.errors), (0, []), arguments)
                self.assertEqual(bool(command.output), redirection == "2>&-")

    def test_key_not_lost(self) -> None:
        """A private key that nobody would see is not made."""
        command = self.shell(">&-", "keygen")
        self.assertEqual(command.wait(), 1)
        self.assert_one_line(command.errors, "standard output is closed.*use --output")

    def test_key_that_others_can_read(self) -> None:
        """A file that the shell made is warned of when it is not ours alone."""
        for mode, warned in ((0o644, True), (0o640, True), (0o600, False)):
            self.make_file("k", 0, mode)
            command = self.shell(">k", "keygen")
            self.assertEqual(command.wait(), 0)
            self.assertIn(b"private key: ", self.read("k"))
            if warned:
                self.assert_one_line(command.errors, "^sodiumtwist: warning: others can read .*; use --output FILE$")
            else:
                self.assertEqual(command.errors, [])

    def test_closed_input(self) -> None:
        """Standard input that is closed is not an empty file."""
        self.start_server("--file", "out")
        command = self.shell("<&-", "send", "--key", PUBLIC, "--endpoint", self.endpoint, "-")
        self.assertEqual((command.wait(), command.output), (1, []))
        self.assert_one_line(command.errors, "cannot read -: standard input is closed")
        self.assertFalse(os.path.exists(self.path("out")))

    def test_name_with_control_characters(self) -> None:
        """What a terminal could take for a command is not printed."""
        command = self.run_process([*SODIUMTWIST, "send", "--key", PUBLIC, "a\x1b[2J\nb"])
        self.assertEqual(command.wait(), 1)
        self.assert_one_line(command.errors, r"cannot read a\?\[2J\?b: No such file")


class ProgressTests(ProcessTestCase):
    """The progress bar."""

    def send_on_terminal(self, *options: str, place: tuple[str, str] = ("--file", "out")) -> bytes:
        """What is seen on a terminal that is the client's standard error."""
        self.start_server(*place)
        main, terminal = pty.openpty()
        self.addCleanup(os.close, main)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = [*SODIUMTWIST, "send", "--key", PUBLIC, "--endpoint", self.endpoint, *options]
        client = subprocess.Popen(
            [*command, self.make_file("in", 3_000_000)],
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            env=clean_environment(),
        )
        os.close(terminal)
        self.addCleanup(client.kill)
        seen = b""
        try:
            while block := os.read(main, 4096):
                seen += block
        except OSError:
            pass  # as Linux says that nobody has the terminal open any more
        self.assertEqual(client.wait(60), 0)
        return seen

    def test_on_terminal(self) -> None:
        """On a terminal there is a bar that ends at all bytes."""
        self.assertIn(b"3.0 MB/3.0 MB", self.send_on_terminal())

    def test_files(self) -> None:
        """So it is for files under their names, whose last one stands behind the bar."""
        seen = self.send_on_terminal(place=("--directory", "up"))
        self.assertRegex(seen, rb"3\.0 MB/3\.0 MB .*, in\]")

    def test_quiet(self) -> None:
        """--quiet leaves it out."""
        self.assertEqual(self.send_on_terminal("--quiet"), b"")


class DemoTests(ProcessTestCase):
    """``sodiumtwist demo``"""

    def start(self, *arguments: str) -> Running:
        os.mkdir(self.path("tmp"))
        environment = clean_environment(TMPDIR=self.path("tmp"))
        return self.run_process([*SODIUMTWIST, "demo", *arguments], env=environment)

    def assert_clean(self, server: int) -> None:
        """The temporary files are gone, and the server is."""
        self.assertEqual(os.listdir(self.path("tmp")), [])
        self.assertRaises(ProcessLookupError, os.kill, server, 0)

    def test_demo(self) -> None:
        """A file goes to a real server and is the same there; nothing stays behind."""
        demo = self.start(self.make_file("in", 2_000_000))
        server = int(demo.wait_for(r"twistd in process (\d+)")[1])
        self.assertEqual((demo.wait(), demo.errors), (0, []))
        demo.wait_for("sent 1 file, 2.0 MB")
        demo.wait_for("with the same SHA-256 [0-9a-f]{64}")
        demo.wait_for("^ +twistd -n sodium --key-file server.key .* --endpoint tcp:5555 ")
        demo.wait_for(r"^ +sodiumtwist send PATH\.\.\. home:$")
        self.assert_clean(server)
        self.assertEqual(sorted(os.listdir(self.directory)), ["in", "tmp"])

    def test_interrupted(self) -> None:
        """Ctrl-C: 130, one line, and nothing stays behind."""
        demo = self.start()
        server = int(demo.wait_for(r"twistd in process (\d+)")[1])
        status = demo.stop(signal.SIGINT)
        self.assert_clean(server)
        if status != 0:  # it may have been done before the signal came
            self.assertEqual(status, 130)
            self.assert_one_line(demo.errors, "^sodiumtwist: interrupted")

    def test_ended_at_any_moment(self) -> None:
        """SIGHUP, SIGTERM and SIGINT, early or late, leave nothing behind."""
        # Each signal and each moment: what is done at a moment is the same for all signals.
        for number, sign in (
            (signal.SIGHUP, "sample"),
            (signal.SIGTERM, "server.key"),
            (signal.SIGINT, "uploads"),
            (signal.SIGTERM, "uploads"),
        ):
            demo = self.start() if not os.path.exists(self.path("tmp")) else self.restart()
            self.wait_for_file(sign, demo)
            status = demo.stop(number)
            self.assertIn(status, (0, 128 + number))
            self.assertEqual(os.listdir(self.path("tmp")), [])

    def test_stubborn_server(self) -> None:
        """A server that does not stop is killed, and Ctrl-C, even twice, ends nothing halfway."""
        demo = self.start(self.make_file("in", 1000))
        server = int(demo.wait_for(r"twistd in process (\d+)")[1])
        os.kill(server, signal.SIGSTOP)
        for _ in range(2):
            demo.process.send_signal(signal.SIGINT)
        self.assertIn(demo.wait(), (0, 130))
        self.assertLessEqual(len(demo.errors), 1)
        self.assert_clean(server)

    def restart(self) -> Running:
        return self.run_process([*SODIUMTWIST, "demo"], env=clean_environment(TMPDIR=self.path("tmp")))

    def wait_for_file(self, name: str, demo: Running) -> None:
        wait_until(lambda: self.is_there(name) or demo.process.poll() is not None, name)

    def is_there(self, name: str) -> bool:
        return any(os.path.exists(self.path("tmp", made, name)) for made in os.listdir(self.path("tmp")))

    def test_server_does_not_start(self) -> None:
        """The demo says why, and cleans up."""
        os.mkdir(self.path("broken"))
        with open(self.path("broken", "sitecustomize.py"), "w") as file:
            file.write("import sys\nif sys.argv[0] == '-c': sys.exit('no server today')\n")
        os.mkdir(self.path("tmp"))
        environment = clean_environment(TMPDIR=self.path("tmp"), PYTHONPATH=self.path("broken"))
        demo = self.run_process([*SODIUMTWIST, "demo"], env=environment)
        self.assertEqual(demo.wait(), 4)
        self.assert_one_line(demo.errors, "the server did not start: .*no server today")
        self.assertEqual(os.listdir(self.path("tmp")), [])
