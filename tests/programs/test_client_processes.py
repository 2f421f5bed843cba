"""
The real thing: ``sodiumtwist send`` and ``ping`` as processes, over loopback, to a server process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading

from sodiumtwist import KeyPair
from sodiumtwist.contacts.keyfiles import write_key_file
from sodiumtwist.describe.fingerprints import fingerprint

from ..known_servers import know
from ..processes import PUBLIC, SECRET, SODIUMTWIST, TWISTD, ProcessTestCase, wait_until

WRONG_KEY = KeyPair.from_hex("a" * 64).public.hex()


class SendTests(ProcessTestCase):
    """Files that arrive."""

    def test_large_file(self) -> None:
        """100 MB arrive as they were; the memory of both ends stays far below that."""
        size = 100_000_000
        path = self.make_file("in", size)
        server = self.start_server("--file", "out")
        client = self.start_client("send", "--json", path)
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertEqual(json.loads(client.output[-1])["bytes"], size)
        self.assertTrue(self.read("out") == self.read("in"))
        self.assertLess(server.peak_memory(), 90_000_000)
        server.wait_for(r"upload of 'username' from 127\.0\.0\.1:\d+: 100\.0 MB in .*/out")

    def test_closing_line(self) -> None:
        """One line says bytes, seconds and rate; without a terminal there is no progress bar."""
        self.start_server("--directory", "uploads")
        client = self.start_client("send", self.make_file("in", 1000))
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assert_one_line(client.output, r"^sent 1 file, 1.0 kB in \d+\.\d+ s \([\d.]+ [kMG]?B/s\)$")

    def test_by_name(self) -> None:
        """A server that is known needs no option."""
        self.start_server("--directory", "uploads")
        know(self, self.directory, home={"endpoint": self.endpoint})
        client = self.run_process([*SODIUMTWIST, "send", "--quiet", self.make_file("in", 1000), "home:there"])
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertEqual(self.read("uploads/username/there"), self.read("in"))

    def test_growing_file(self) -> None:
        """What is appended while a file is sent is not sent. That is told, and does not change the status."""
        os.mkfifo(self.path("to"))
        self.start_server("--file", "to")
        client = self.start_client("send", "--json", self.make_file("in", 30_000_000))
        expected = self.read("in")
        with open(self.path("to"), "rb") as reader:
            received = reader.read(1000)
            # More than pipe, sockets and both ends hold is still to be read.
            with open(self.path("in"), "ab") as file:
                file.write(b"more")
            received += reader.read()
        self.assertEqual(client.wait(), 0)
        self.assert_one_line(client.errors, "^sodiumtwist: .*/in grew while it was sent; its last 4 B came too late$")
        self.assertEqual(json.loads(client.output[0])["grown"], 4)
        self.assertTrue(received == expected)

    def test_in_place_when_confirmed(self) -> None:
        """When the client has ended well, the upload stands under its name, and nothing else does."""
        self.start_server("--file", "out")
        for size in (0, 1, 130_954, 130_955, 300_000):
            client = self.start_client("send", self.make_file("in", size))
            self.assertEqual((client.wait(), client.errors), (0, []))
            self.assertEqual(sorted(os.listdir(self.directory)), ["in", "out"])
            self.assertTrue(self.read("out") == self.read("in"))

    def test_directory(self) -> None:
        """Version 1: each session makes a file of its own, named after time and login, that only we can read."""
        server = self.start_server("--directory", "uploads", "--user", "a/../b c", "--passphrase", "p")
        us = ["--protocol", "1", "--user", "a/../b c", "--passphrase", "p"]
        for _ in range(2):
            client = self.start_client("send", *us, self.make_file("in", 10))
            self.assertEqual((client.wait(), client.errors), (0, []))
        names = os.listdir(self.path("uploads"))
        self.assertEqual(len(names), 2)
        for name in names:
            self.assertRegex(name, r"^\d{8}T\d{6}Z-a____b_c-[0-9a-f]{8}$")
            self.assertEqual(os.stat(self.path("uploads", name)).st_mode & 0o777, 0o600)
            server.wait_for(f"10 B in .*/{name}")
        self.assertEqual(os.stat(self.path("uploads")).st_mode & 0o777, 0o700)

    def test_folder_of_a_login(self) -> None:
        """Version 2: each login has a folder, where files have their names, and only we can read them."""
        server = self.start_server("--directory", "uploads", "--user", "a/../b c", "--passphrase", "p")
        for size in (10, 11):
            path = self.make_file("in", size)
            client = self.start_client("send", "--user", "a/../b c", "--passphrase", "p", path)
            self.assertEqual((client.wait(), client.errors), (0, []))
        mine = self.path("uploads", "a%2F..%2Fb%20c")
        self.assertEqual(os.listdir(self.path("uploads")), [os.path.basename(mine)])
        self.assertEqual(sorted(os.listdir(mine)), ["in", "in.1"])
        self.assertEqual(os.stat(mine).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(os.path.join(mine, "in.1")).st_mode & 0o777, 0o600)
        server.wait_for(r"files of 'a/\.\./b c' from 127\.0\.0\.1:\d+: stored in\.1, 11 B")

    def test_fifo_to_fifo(self) -> None:
        """A FIFO is read to its writer's end, and the other FIFO's reader sees the end too."""
        os.mkfifo(self.path("from"))
        os.mkfifo(self.path("to"))
        self.start_server("--file", "to")
        sent = os.urandom(3_000_000)
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(self.read("to")))
        client = self.start_client("send", "from")
        writer = threading.Thread(target=self._write, args=("from", sent))
        writer.start()
        reader.start()
        self.assertEqual((client.wait(), client.errors), (0, []))
        reader.join()
        writer.join()
        self.assertTrue(received == [sent])

    def _write(self, name: str, data: bytes) -> None:
        with open(self.path(name), "wb") as file:
            file.write(data)

    def test_fifo_without_reader_waits(self) -> None:
        """An upload waits for the FIFO's reader instead of failing or blocking the server."""
        os.mkfifo(self.path("to"))
        server = self.start_server("--file", "to")
        client = self.start_client("send", self.make_file("in", 200_000))
        server.wait_for("has no reader yet")
        self.assertEqual(self.start_client("ping", "--count", "1").wait(), 0)
        self.assertTrue(self.read("to") == self.read("in"))
        self.assertEqual(client.wait(), 0)

    def test_standard_input_to_standard_output(self) -> None:
        """``-`` on both ends; the log keeps out of the server's standard output."""
        server = self.run_process(
            [*TWISTD, "-n", "--pidfile=", "sodium", "-k", SECRET, "-e", "tcp:0:interface=127.0.0.1", "-f", "-"]
        )
        self.find_endpoint(server)
        for text in (b"first\n", b"second\n"):
            client = self.start_client("send", "-", stdin=subprocess.PIPE)
            client.stdin.write(text)
            client.stdin.close()
            self.assertEqual((client.wait(), client.errors), (0, []))
        server.stop()
        self.assertEqual(server.output, ["first", "second"])

    def test_two_at_once_on_one_file(self) -> None:
        """Both uploads are whole; the one that ends last stays."""
        self.start_server("--file", "out")
        first = self.start_client("send", "-", stdin=subprocess.PIPE)
        first.stdin.write(b"first" * 50_000)
        first.stdin.flush()
        wait_until(lambda: any(name.endswith(".part") for name in os.listdir(self.directory)), "the first upload")
        second = self.start_client("send", self.make_file("in", 400_000))
        self.assertEqual((second.wait(), second.errors), (0, []))
        self.assertTrue(self.read("out") == self.read("in"))
        first.stdin.close()
        self.assertEqual((first.wait(), first.errors), (0, []))
        self.assertTrue(self.read("out") == b"first" * 50_000)
        self.assertEqual(sorted(os.listdir(self.directory)), ["in", "out"])

    def test_unix_socket(self) -> None:
        """UNIX sockets work, and count as local with the default login."""
        server = self.run_process([*TWISTD, "-n", "--pidfile=", "sodium", "-k", SECRET, "-e", "unix:s", "-f", "out"])
        server.wait_for("to send a file here: .* --to unix:s .* FILE")
        self.endpoint = "unix:s"
        self.assertEqual(self.start_client("send", self.make_file("in", 100_000)).wait(), 0)
        self.assertTrue(self.read("out") == self.read("in"))

    def test_nowhere(self) -> None:
        """With --discard uploads are acknowledged and kept nowhere: the log, the message and the status say so."""
        server = self.start_server("--discard")
        client = self.start_client("send", "--json", self.make_file("in", 100_000))
        self.assertEqual(client.wait(), 5)
        self.assert_one_line(client.errors, "^sodiumtwist: acknowledged, but not stored: this server discards uploads$")
        self.assertIs(json.loads(client.output[-1])["stored"], False)
        server.wait_for("uploads go nowhere: they are acknowledged and discarded, and clients are told")
        server.wait_for("100.0 kB, discarded")
        self.assertEqual(os.listdir(self.directory), ["in"])


class RefusedTests(ProcessTestCase):
    """Clients that do not come in, or do not get there."""

    def test_wrong_passphrase(self) -> None:
        """Exit status 3, a line on each side, and no file."""
        server = self.start_server("--file", "out")
        path = self.make_file("in", 10)
        for version, line in (
            ("1", "wrong login or passphrase; else [^;]*"),
            ("2", "login, passphrase or key refused"),
        ):
            client = self.start_client("send", "--protocol", version, "--passphrase", "wr0ng", path)
            self.assertEqual((client.wait(), client.output), (3, []))
            line = rf"^sodiumtwist: refused by tcp:\S*: {line}; no --identity was given, [^;]*$"
            self.assert_one_line(client.errors, line)
        server.wait_for(r"refused 127\.0\.0\.1:\d+ as 'username': login or passphrase is wrong")
        self.assertEqual(os.listdir(self.directory), ["in"])
        self.assertNotIn("wr0ng", "".join(server.output + server.errors))

    def test_wrong_key(self) -> None:
        """
        Exit status 3, a line on each side, and no file; the server is silent until time is up. In version 2, where its
        time is much shorter than the client's, this looks like a server that has just stopped behind a proxy: status 2.
        """
        server = self.start_server("--file", "out", "--auth-timeout", "1")
        path = self.make_file("in", 10)
        for version, status, line in (
            ("1", 3, "refused by tcp:.*: wrong server key, login or passphrase; else "),
            (
                "2",
                2,
                "cannot connect to tcp:.*: the server left without an answer; behind a proxy .*: .* another key, .*; "
                "only to a C program, .* --protocol 1$",
            ),
        ):
            client = self.start_client("send", "--protocol", version, path, key=WRONG_KEY)
            self.assertEqual((client.wait(), client.output), (status, []))
            self.assert_one_line(client.errors, f"^sodiumtwist: {line}")
        server.wait_for(r"refused 127\.0\.0\.1:\d+: the first packet does not open")
        self.assertEqual(os.listdir(self.directory), ["in"])

    def test_unknown_identity(self) -> None:
        """Whoever has given a key is told which, and for whom it may not be listed, and nothing of a passphrase."""
        pair = KeyPair.generate()
        write_key_file(self.path("me.key"), pair)
        with open(self.path("keys"), "w") as file:
            file.write(f"{pair.public.hex()} ann\n")
        server = self.start_server("--discard", "--authorized-keys", "keys", "--auth", "none")
        for version, login, line in (
            ("1", "username", "wrong login or passphrase, or our key is not listed .*; else [^;]*"),
            ("2", "bob", "login, passphrase or key refused"),
        ):
            client = self.start_client("ping", "--protocol", version, "--identity", "me.key", "--user", login)
            self.assertEqual((client.wait(), client.output), (3, []))
            whose = f"our key is that of me.key, fingerprint {fingerprint(pair.public)}"
            question = f"{whose}; is it listed there, for the login {login}[?]$"
            self.assert_one_line(client.errors, rf"^sodiumtwist: refused by tcp:\S*: {line}; {question}")
        server.wait_for(
            rf"refused .* as 'bob': the key {pair.public.hex()} is not authorized, or not for this login; its "
            f"fingerprint is {fingerprint(pair.public)}$"
        )

    def test_nobody_there(self) -> None:
        """Exit status 2 when nothing listens."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.endpoint = f"tcp:127.0.0.1:{free.getsockname()[1]}"
            for client in (self.start_client("send", self.make_file("in", 1)), self.start_client("ping")):
                self.assertEqual((client.wait(), client.output), (2, []))
                self.assert_one_line(
                    client.errors, "^sodiumtwist: cannot connect to tcp:127.0.0.1:.*: nothing listens there"
                )

    def test_weak_key(self) -> None:
        """A key that is no key at all is a usage error."""
        self.endpoint = "tcp:127.0.0.1:1"
        client = self.start_client("send", self.make_file("in", 1), key="0" * 64)
        self.assertEqual((client.wait(), client.output), (1, []))
        self.assert_one_line(client.errors, "weak point")


class PingTests(ProcessTestCase):
    """``sodiumtwist ping``"""

    def test_ping(self) -> None:
        """Each round-trip time and a summary."""
        self.start_server("--directory", "up", "--message", "Hello.")
        client = self.start_client("ping", "--count", "3", "--interval", "0", "--protocol", "2")
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertRegex(client.output[0], r"^PING tcp:127\.0\.0\.1:\d+ by protocol version 2: Hello\.$")
        self.assertEqual(client.output[1], f"fingerprint {fingerprint(bytes.fromhex(PUBLIC))}")
        for number, line in enumerate(client.output[2:5], 1):
            self.assertRegex(line, rf"^seq={number} time=\d+\.\d{{3}} ms$")
        self.assertRegex(client.output[5], r"^3 sent, 3 answered, min/avg/max [\d.]+/[\d.]+/[\d.]+ ms$")
        self.assertEqual(len(client.output), 6)

    def test_interrupted(self) -> None:
        """Ctrl-C: the summary, one line, 130."""
        self.start_server("--discard")
        client = self.start_client("ping", "--count", "100", "--interval", "60")
        client.wait_for("seq=1")
        self.assertEqual(client.stop(signal.SIGINT), 130)
        self.assertRegex(client.output[-1], "^1 sent, 1 answered")
        self.assert_one_line(client.errors, "^sodiumtwist: interrupted$")

    def test_server_leaves(self) -> None:
        """Exit status 4 when the server goes away between two PINGs."""
        server = self.start_server("--discard")
        client = self.start_client("ping", "--count", "100000", "--interval", "0.1")
        client.wait_for("seq=1")
        server.stop(signal.SIGKILL)
        self.assertEqual(client.wait(), 4)
        self.assert_one_line(client.errors, "^sodiumtwist: broken on the way, \\d+ PINGs answered")

    def test_refused(self) -> None:
        """Exit status 3."""
        self.start_server("--discard")
        client = self.start_client("ping", "--user", "nobody")
        self.assertEqual((client.wait(), client.output), (3, []))
