"""
The real thing: a server process and client processes over loopback.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import threading

from .processes import (
    PUBLIC,
    SECRET,
    SODIUMTWIST,
    TWIST,
    TWISTD,
    ProcessTestCase,
    Running,
    clean_environment,
    wait_until,
)

WRONG_KEY = "a" * 63 + "0"


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
        server.wait_for(rf"upload of 'username' from 127\.0\.0\.1:\d+: {size} bytes in .*/out")

    def test_closing_line(self) -> None:
        """One line says bytes, seconds and rate; without a terminal there is no progress bar."""
        self.start_server("--directory", "uploads")
        client = self.start_client("send", self.make_file("in", 1000))
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assert_one_line(client.output, r"^sent 1000 bytes in \d+\.\d+ s \(\d+\.\d+ MB/s\)$")

    def test_in_place_when_confirmed(self) -> None:
        """When the client has ended well, the upload stands under its name, and nothing else does."""
        self.start_server("--file", "out")
        for size in (0, 1, 130_954, 130_955, 300_000):
            client = self.start_client("send", self.make_file("in", size))
            self.assertEqual((client.wait(), client.errors), (0, []))
            self.assertEqual(sorted(os.listdir(self.directory)), ["in", "out"])
            self.assertTrue(self.read("out") == self.read("in"))

    def test_directory(self) -> None:
        """Each session makes a file of its own, named after time and login, that only we can read."""
        server = self.start_server("--directory", "uploads", "--user", "a/../b c", "--passphrase", "p")
        for _ in range(2):
            client = self.start_client("send", "--user", "a/../b c", "--passphrase", "p", self.make_file("in", 10))
            self.assertEqual((client.wait(), client.errors), (0, []))
        names = os.listdir(self.path("uploads"))
        self.assertEqual(len(names), 2)
        for name in names:
            self.assertRegex(name, r"^\d{8}T\d{6}Z-a____b_c-[0-9a-f]{8}$")
            self.assertEqual(os.stat(self.path("uploads", name)).st_mode & 0o777, 0o600)
            server.wait_for(f"10 bytes in .*/{name}")
        self.assertEqual(os.stat(self.path("uploads")).st_mode & 0o777, 0o700)

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
            client.process.stdin.write(text)
            client.process.stdin.close()
            self.assertEqual((client.wait(), client.errors), (0, []))
        server.stop()
        self.assertEqual(server.output, ["first", "second"])

    def test_two_at_once_on_one_file(self) -> None:
        """Both uploads are whole; the one that ends last stays."""
        self.start_server("--file", "out")
        first = self.start_client("send", "-", stdin=subprocess.PIPE)
        first.process.stdin.write(b"first" * 50_000)
        first.process.stdin.flush()
        wait_until(lambda: any(name.endswith(".part") for name in os.listdir(self.directory)), "the first upload")
        second = self.start_client("send", self.make_file("in", 400_000))
        self.assertEqual((second.wait(), second.errors), (0, []))
        self.assertTrue(self.read("out") == self.read("in"))
        first.process.stdin.close()
        self.assertEqual((first.wait(), first.errors), (0, []))
        self.assertTrue(self.read("out") == b"first" * 50_000)
        self.assertEqual(sorted(os.listdir(self.directory)), ["in", "out"])

    def test_unix_socket(self) -> None:
        """UNIX sockets work, and count as local with the default login."""
        server = self.run_process([*TWISTD, "-n", "--pidfile=", "sodium", "-k", SECRET, "-e", "unix:s", "-f", "out"])
        server.wait_for("to send a file here: .* --endpoint unix:s FILE")
        self.endpoint = "unix:s"
        self.assertEqual(self.start_client("send", self.make_file("in", 100_000)).wait(), 0)
        self.assertTrue(self.read("out") == self.read("in"))

    def test_nowhere(self) -> None:
        """Without --file and --directory uploads are acknowledged and discarded, which the log says."""
        server = self.start_server()
        self.assertEqual(self.start_client("send", self.make_file("in", 100_000)).wait(), 0)
        server.wait_for("uploads go to nowhere: they are acknowledged and discarded")
        server.wait_for("100000 bytes, discarded")
        self.assertEqual(os.listdir(self.directory), ["in"])


class RefusedTests(ProcessTestCase):
    """Clients that do not come in, or do not get there."""

    def test_wrong_passphrase(self) -> None:
        """Exit status 3, a line on each side, and no file."""
        server = self.start_server("--file", "out")
        client = self.start_client("send", "--passphrase", "wr0ng", self.make_file("in", 10))
        self.assertEqual((client.wait(), client.output), (3, []))
        self.assert_one_line(client.errors, "^sodiumtwist: refused by tcp:.*wrong server key, login or passphrase$")
        server.wait_for(r"refused 127\.0\.0\.1:\d+ as 'username': login or passphrase is wrong")
        self.assertEqual(os.listdir(self.directory), ["in"])
        self.assertNotIn("wr0ng", "".join(server.output + server.errors))

    def test_wrong_key(self) -> None:
        """Exit status 3, a line on each side, and no file; the server is silent until time is up."""
        server = self.start_server("--file", "out", "--auth-timeout", "1")
        client = self.start_client("send", self.make_file("in", 10), key=WRONG_KEY)
        self.assertEqual((client.wait(), client.output), (3, []))
        line = r"^sodiumtwist: refused by tcp:.*login or passphrase \(no passphrase was given"
        self.assert_one_line(client.errors, line)
        server.wait_for(r"refused 127\.0\.0\.1:\d+: the first packet does not open")
        self.assertEqual(os.listdir(self.directory), ["in"])

    def test_nobody_there(self) -> None:
        """Exit status 2 when nothing listens."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.endpoint = f"tcp:127.0.0.1:{free.getsockname()[1]}"
            for client in (self.start_client("send", self.make_file("in", 1)), self.start_client("ping")):
                self.assertEqual((client.wait(), client.output), (2, []))
                self.assert_one_line(client.errors, "^sodiumtwist: cannot connect to tcp:127.0.0.1:.*refused")

    def test_weak_key(self) -> None:
        """A key that is no key at all is a usage error."""
        self.endpoint = "tcp:127.0.0.1:1"
        client = self.start_client("send", self.make_file("in", 1), key="0" * 64)
        self.assertEqual((client.wait(), client.output), (1, []))
        self.assert_one_line(client.errors, "weak point")


class BrokenTests(ProcessTestCase):
    """Transfers that do not come to their end."""

    def begin(self, *options: str, size: int = 200_000, **keywords: object) -> tuple[Running, Running]:
        """A transfer whose first bytes have arrived and that waits for more to send."""
        server = self.start_server("--file", "out", *options, **keywords)
        client = self.start_client("send", "-", stdin=subprocess.PIPE)
        client.process.stdin.write(os.urandom(size))
        client.process.stdin.flush()
        wait_until(lambda: self.arrived() == size, "the first bytes")
        return server, client

    def arrived(self) -> int:
        return sum(os.stat(self.path(name)).st_size for name in os.listdir(self.directory) if name.endswith(".part"))

    def assert_partial(self, server: Running, size: int = 200_000) -> None:
        server.wait_for(rf"broke off: .*; kept {size} bytes in .*/out\.partial")
        self.assertEqual(os.listdir(self.directory), ["out.partial"])
        self.assertEqual(os.stat(self.path("out.partial")).st_size, size)

    def test_client_killed(self) -> None:
        """What a killed client sent is kept as partial, though its end came between two PDUs."""
        server, client = self.begin()
        client.stop(signal.SIGKILL)
        self.assert_partial(server)

    def test_client_interrupted(self) -> None:
        """Ctrl-C ends the client with 130 and one line; the server keeps a partial upload."""
        server, client = self.begin()
        self.assertEqual(client.stop(signal.SIGINT), 130)
        self.assert_one_line(client.errors, "^sodiumtwist: interrupted, 200000 bytes acknowledged$")
        self.assertEqual(client.output, [])
        self.assert_partial(server)

    def test_client_terminated(self) -> None:
        """SIGTERM likewise, with its own status."""
        server, client = self.begin()
        self.assertEqual(client.stop(signal.SIGTERM), 143)
        self.assert_partial(server)

    def test_server_killed(self) -> None:
        """The client ends with 4 and says how much was acknowledged."""
        server, client = self.begin()
        server.stop(signal.SIGKILL)
        self.assertEqual(client.wait(), 4)
        self.assert_one_line(client.errors, "^sodiumtwist: broken on the way, 200000 bytes acknowledged: ")

    def test_server_stopped(self) -> None:
        """SIGTERM and Ctrl-C end the server at once; the upload under way is kept as partial."""
        for number in (signal.SIGTERM, signal.SIGINT):
            server, client = self.begin()
            server.stop(number)
            self.assertEqual(client.wait(), 4)
            self.assert_partial(server)
            os.unlink(self.path("out.partial"))

    def test_directory(self) -> None:
        """In a directory the partial file has the name that the whole one would have had."""
        server = self.start_server("--directory", "up")
        client = self.start_client("send", "-", stdin=subprocess.PIPE)
        client.process.stdin.write(b"some")
        client.process.stdin.flush()
        wait_until(lambda: any(os.stat(self.path("up", name)).st_size for name in os.listdir(self.path("up"))), "bytes")
        client.stop(signal.SIGKILL)
        name = server.wait_for(r"broke off: .*; kept 4 bytes in .*/up/(.*)$")[1]
        self.assertRegex(name, r"^\d{8}T\d{6}Z-username-[0-9a-f]{8}\.partial$")
        self.assertEqual(os.listdir(self.path("up")), [name])

    def test_existing_file_survives(self) -> None:
        """A broken upload leaves what the target held before."""
        self.make_file("out", 77)
        before = self.read("out")
        server, client = self.begin()
        client.stop(signal.SIGKILL)
        server.wait_for("broke off")
        self.assertEqual(self.read("out"), before)

    def test_disk_full(self) -> None:
        """The client is cut off, the log says why, and other sessions live on."""
        limit = 1_000_000
        server = self.start_server(
            "--file", "out", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        )
        other = self.start_client("send", "-", stdin=subprocess.PIPE)
        other.process.stdin.write(b"x")
        other.process.stdin.flush()
        wait_until(lambda: self.arrived() == 1, "the other session")
        client = self.start_client("send", self.make_file("in", 5_000_000))
        self.assertEqual((client.wait(), client.output), (4, []))
        acknowledged = int(client.errors[0].partition("way, ")[2].partition(" bytes")[0])
        self.assertLessEqual(acknowledged, limit)
        server.wait_for("cannot store an upload of 'username' .*: File too large")
        server.wait_for(rf"kept {limit} bytes in .*/out\.partial")
        self.assertTrue(self.read("in").startswith(self.read("out.partial")))
        other.process.stdin.close()
        self.assertEqual((other.wait(), other.errors), (0, []))
        self.assertEqual(self.read("out"), b"x")

    def test_device_full(self) -> None:
        """A device that takes nothing: the client is cut off and can't believe the data is safe."""
        server = self.start_server("--file", "/dev/full")
        client = self.start_client("send", self.make_file("in", 100_000))
        self.assertEqual(client.wait(), 4)
        self.assert_one_line(client.errors, "broken on the way, 0 bytes acknowledged")
        server.wait_for("cannot store an upload .*: No space left on device")

    def test_fifo_reader_leaves(self) -> None:
        """A reader that goes away breaks the upload and not the server."""
        os.mkfifo(self.path("to"))
        server = self.start_server("--file", "to")
        client = self.start_client("send", self.make_file("in", 10_000_000))
        with open(self.path("to"), "rb") as reader:
            reader.read(100_000)
        self.assertEqual(client.wait(), 4)
        server.wait_for("cannot store an upload .*: Broken pipe")
        self.assertEqual(self.start_client("ping", "--count", "1").wait(), 0)

    def test_server_stops_while_fifo_is_stuck(self) -> None:
        """A FIFO whose reader sleeps does not keep the server from stopping."""
        os.mkfifo(self.path("to"))
        server = self.start_server("--file", "to")
        client = self.start_client("send", self.make_file("in", 10_000_000))
        with open(self.path("to"), "rb") as reader:
            reader.read(1)
            server.stop()
            self.assertEqual(client.wait(), 4)
        server.wait_for("broke off")

    def test_unreadable_input(self) -> None:
        """What can't be read is a usage error, before anything is connected."""
        self.endpoint = "tcp:127.0.0.1:1"
        for name, why in (("missing", "No such file"), (".", "Is a directory")):
            client = self.start_client("send", name)
            self.assertEqual((client.wait(), client.output), (1, []))
            self.assert_one_line(client.errors, f"^sodiumtwist: cannot read {name}: {why}")


class PingTests(ProcessTestCase):
    """``sodiumtwist ping``"""

    def test_ping(self) -> None:
        """Each round-trip time and a summary."""
        self.start_server("--message", "Hello.")
        client = self.start_client("ping", "--count", "3", "--interval", "0")
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertRegex(client.output[0], r"^PING tcp:127\.0\.0\.1:\d+: Hello\.$")
        for number, line in enumerate(client.output[1:4], 1):
            self.assertRegex(line, rf"^seq={number} time=\d+\.\d{{3}} ms$")
        self.assertRegex(client.output[4], r"^3 sent, 3 answered, min/avg/max [\d.]+/[\d.]+/[\d.]+ ms$")
        self.assertEqual(len(client.output), 5)

    def test_interrupted(self) -> None:
        """Ctrl-C: the summary, one line, 130."""
        self.start_server()
        client = self.start_client("ping", "--count", "100", "--interval", "60")
        client.wait_for("seq=1")
        self.assertEqual(client.stop(signal.SIGINT), 130)
        self.assertRegex(client.output[-1], "^1 sent, 1 answered")
        self.assert_one_line(client.errors, "^sodiumtwist: interrupted$")

    def test_server_leaves(self) -> None:
        """Exit status 4 when the server goes away between two PINGs."""
        server = self.start_server()
        client = self.start_client("ping", "--count", "100000", "--interval", "0.1")
        client.wait_for("seq=1")
        server.stop(signal.SIGKILL)
        self.assertEqual(client.wait(), 4)
        self.assert_one_line(client.errors, "^sodiumtwist: broken on the way, \\d+ PINGs answered")

    def test_refused(self) -> None:
        """Exit status 3."""
        self.start_server()
        client = self.start_client("ping", "--user", "nobody")
        self.assertEqual((client.wait(), client.output), (3, []))


class StartTests(ProcessTestCase):
    """Servers that start, in every way there is, and servers that do not."""

    def test_start_log(self) -> None:
        """The public key, each address and the command to copy; neither secret nor passphrase."""
        self.make_file("pass", 0)
        with open(self.path("pass"), "w") as file:
            file.write("geheim\n")
        server = self.start_server("--passphrase-file", "pass", "--user", "o'neil", "-e", "unix:sock", "-d", "up")
        server.wait_for("listening on 'sock'")
        server.stop()
        log = "\n".join(server.output + server.errors)
        self.assertIn(f"public key: {PUBLIC}", log)
        self.assertRegex(
            log,
            rf"sodiumtwist send --key {PUBLIC} --endpoint tcp:127\.0\.0\.1:\d+ "
            """--user 'o'"'"'neil' --passphrase-file PASSPHRASEFILE FILE""",
        )
        self.assertNotIn(SECRET, log)
        self.assertNotIn("geheim", log)

    def test_command_can_be_copied(self) -> None:
        """The logged command, with a file in the place of FILE, sends it."""
        server = self.start_server("--file", "out")
        command = server.wait_for("to send a file here: sodiumtwist (.*) FILE")[1]
        client = self.run_process([*SODIUMTWIST, *command.split(), self.make_file("in", 100)])
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertTrue(self.read("out") == self.read("in"))

    def test_key_from_environment(self) -> None:
        """SODIUMTWIST_KEY and SODIUMTWIST_PASSPHRASE do what the options do."""
        environment = clean_environment(SODIUMTWIST_KEY=SECRET)
        server = self.run_process(
            [*TWISTD, "-n", "--pidfile=", "sodium", "-e", "tcp:0:interface=127.0.0.1", "-P", "p"], env=environment
        )
        self.find_endpoint(server)
        environment = clean_environment(SODIUMTWIST_PASSPHRASE="p")
        self.assertEqual(self.start_client("ping", "-c", "1", env=environment).wait(), 0)

    def test_fresh_key(self) -> None:
        """Without a key the server makes one for the run and says so."""
        server = self.run_process([*TWISTD, "-n", "--pidfile=", "sodium", "-e", "tcp:0:interface=127.0.0.1"])
        server.wait_for("no private key was given, so this one is for this run only")
        key = server.wait_for("public key: ([0-9a-f]{64})$")[1]
        self.find_endpoint(server)
        self.assertEqual(self.start_client("ping", "-c", "1", key=key).wait(), 0)

    def test_timeouts(self) -> None:
        """The times of the command line are those of the connections."""
        server = self.start_server("--auth-timeout", "0.2", "--ping-interval", "0.1", "--inactivity-timeout", "0.5")
        with socket.create_connection(("127.0.0.1", int(self.endpoint.rpartition(":")[2])), 60) as silent:
            self.assertEqual(silent.recv(1), b"")
        server.wait_for("refused .*: not authenticated within 0.2 seconds")
        client = self.start_client("ping", "--count", "2", "--interval", "60")
        client.wait_for("seq=1")
        client.process.send_signal(signal.SIGSTOP)
        server.wait_for("dropped .*: (nothing valid was received for 0.5 seconds|3 PINGs stayed unanswered)")

    def test_twist(self) -> None:
        """The server works under twist, which starts services in another way."""
        command = [*TWIST, "--log-format=text", "sodium", "-k", SECRET, "-e", "tcp:0:interface=127.0.0.1"]
        server = self.run_process([*command, "-f", "out"])
        self.find_endpoint(server)
        self.assertEqual(self.start_client("send", self.make_file("in", 100)).wait(), 0)
        self.assertTrue(self.read("out") == self.read("in"))
        server.stop()
        self.assertNotIn("Traceback", "".join(server.output + server.errors))

    def test_daemon(self) -> None:
        """Daemonized: pid file, log file, uploads, SIGTERM."""
        started = self.run_process(
            [*TWISTD, "--pidfile=pid", "--logfile=log", "sodium"]
            + ["-k", SECRET, "-e", "tcp:0:interface=127.0.0.1", "-f", "out"]
        )
        self.assertEqual(started.wait(), 0)
        pid = int(self.read("pid"))
        self.addCleanup(self._kill, pid)
        log = self.read("log").decode()
        port = log.partition("listening on 127.0.0.1:")[2].partition("\n")[0]
        self.endpoint = f"tcp:127.0.0.1:{port}"
        self.assertEqual(self.start_client("send", self.make_file("in", 100)).wait(), 0)
        self.assertTrue(self.read("out") == self.read("in"))
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not os.path.exists(self.path("pid")), "the daemon's end")

    def _kill(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def test_port_in_use(self) -> None:
        """One line, not status 0, no traceback, no stale pid file; with twist, too."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            for command in ([*TWISTD, "-n", "--pidfile=pid"], TWIST):
                server = self.run_process([*command, "sodium", "-k", SECRET, "-e", endpoint])
                self.assertNotIn(server.wait(), (0, None))
                said = [line for line in server.output + server.errors if "cannot listen" in line]
                self.assert_one_line(said, f"sodium: cannot listen on {endpoint}: .*in use")
                self.assertNotIn("Traceback", "".join(server.output + server.errors))
                self.assertEqual(os.listdir(self.directory), [])

    def test_daemon_port_in_use(self) -> None:
        """The command that starts a daemon reports it, with status 1 and no pid file left."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            command = [*TWISTD, "--pidfile=pid", "--logfile=log", "sodium", "-k", SECRET, "-e", endpoint]
            server = self.run_process(command)
            self.assertEqual(server.wait(), 1)
            self.assertRegex(server.errors[0], f"sodium: cannot listen on {endpoint}")
            wait_until(lambda: b"cannot listen" in self.read("log"), "the log")
            self.assertNotIn(b"Traceback", self.read("log"))
            self.assertEqual(os.listdir(self.directory), ["log"])

    def test_refused_starts(self) -> None:
        """A mistake ends the server with one line on standard error and status 1."""
        for command in ([*TWISTD, "-n", "--pidfile="], TWIST):
            for options, line in [
                (["-k", "zz"], "the private key has 2 characters; it is 64 hex digits"),
                (["-e", "nonsense:1"], "bad endpoint string 'nonsense:1'"),
                (["-e", "tcp:5555"], "choose one with --passphrase-file"),
            ]:
                server = self.run_process([*command, "sodium", *options])
                self.assertEqual((server.wait(), server.output), (1, []), options)
                self.assert_one_line(server.errors, f"^sodium: .*{line}")
