"""
Server processes that start, and those that do not.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import subprocess
import termios
from functools import partial
from hashlib import blake2b

from sodiumtwist import KeyPair
from sodiumtwist.describe.fingerprints import fingerprint

from ..processes import (
    PUBLIC,
    SECRET,
    SODIUMTWIST,
    TWIST,
    TWISTD,
    ProcessTestCase,
    clean_environment,
    unmeasured,
    wait_until,
)


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
        self.assertRegex(log, f"public key: {PUBLIC}\n.*\\[.*[]] fingerprint {fingerprint(bytes.fromhex(PUBLIC))}\n")
        self.assertRegex(
            log,
            rf"sodiumtwist send --to 127\.0\.0\.1:\d+ --server-key {PUBLIC} "
            """--user 'o'"'"'neil' --passphrase-file PASSPHRASEFILE PATH\.\.\.""",
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

    def test_on_stored(self) -> None:
        """
        The command of --on-stored runs for files of both versions, without the server's secrets. When it fails, the
        client is told, and the file stays.
        """
        with open(self.path("run"), "w") as file:
            file.write('#!/bin/sh\nenv | grep ^SODIUMTWIST_ >>"$PWD/ran"; echo no good >&2; exit 3\n')
            os.fchmod(file.fileno(), 0o700)
        server = self.start_server(
            *("--directory", "up", "--on-stored", "./run x"), env=clean_environment(SODIUMTWIST_PASSPHRASE="geheim")
        )
        path = self.make_file("a b", 100)
        client = self.start_client("send", "--passphrase", "geheim", path)
        self.assertEqual(client.wait(), 0)
        self.assert_one_line(client.errors, "a b: it is stored, but what the server does then has failed: .* status 3")
        client = self.start_client("send", "--protocol", "1", "--passphrase", "geheim", path)
        self.assertEqual((client.wait(), client.errors), (0, []))
        server.wait_for("the command of --on-stored failed for .*/up/2.*-username-.*; it said: no good")
        server.stop()
        content = self.read("a b")
        self.assertTrue(self.read("up/username/a b") == content)
        (name,) = (name for name in os.listdir(self.path("up")) if name != "username")
        digest = blake2b(content, digest_size=32).hexdigest()
        expected = [
            [f"PATH={self.path('up', *names)}", f"NAME={names[-1]}", "LOGIN=username", f"DIGEST={digest}", "SIZE=100"]
            for names in (["username", "a b"], [name])
        ]
        lines = self.read("ran").decode().splitlines()
        self.assertEqual(sorted(lines), sorted(f"SODIUMTWIST_{line}" for lines in expected for line in lines))

    def test_key_from_environment(self) -> None:
        """SODIUMTWIST_KEY and SODIUMTWIST_PASSPHRASE do what the options do."""
        environment = clean_environment(SODIUMTWIST_KEY=SECRET)
        server = self.run_process(
            [*TWISTD, "-n", "--pidfile=", "sodium", "--discard", "-e", "tcp:0:interface=127.0.0.1", "-P", "p"],
            env=environment,
        )
        self.find_endpoint(server)
        environment = clean_environment(SODIUMTWIST_PASSPHRASE="p")
        self.assertEqual(self.start_client("ping", "-c", "1", env=environment).wait(), 0)

    def test_fresh_key(self) -> None:
        """Without a key the server makes one for the run and says so."""
        server = self.run_process(
            [*TWISTD, "-n", "--pidfile=", "sodium", "--discard", "-e", "tcp:0:interface=127.0.0.1"]
        )
        server.wait_for("no private key was given, so this one is for this run only")
        key = server.wait_for("public key: ([0-9a-f]{64})$")[1]
        self.find_endpoint(server)
        self.assertEqual(self.start_client("ping", "-c", "1", key=key).wait(), 0)

    def test_timeouts(self) -> None:
        """The times of the command line are those of the connections."""
        times = ("--auth-timeout", "0.2", "--ping-interval", "0.1", "--inactivity-timeout", "0.5")
        server = self.start_server("--discard", *times)
        with socket.create_connection(("127.0.0.1", int(self.endpoint.rpartition(":")[2])), 60) as silent:
            self.assertEqual(silent.recv(1), b"")
        server.wait_for("refused .*: not authenticated within 0.2 seconds")
        client = self.start_client("ping", "--count", "2", "--interval", "60")
        client.wait_for("seq=1")
        client.process.send_signal(signal.SIGSTOP)
        server.wait_for("dropped .*: (nothing valid was received for 0.5 s|3 PINGs stayed un|a PING has waited )")

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
        """
        Daemonized: pid file, log file, uploads, SIGTERM. It is started without standard input, as by some schedulers:
        a daemon closes what has these three numbers, which the reactor must not have taken.
        """
        started = self.run_process(
            ["sh", "-c", 'exec "$@" <&-', "sh", *TWISTD, "--pidfile=pid", "--logfile=log", "sodium"]
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
        """One line, not status 0, no traceback, no stale pid file, nor a socket or lock; with twist, too."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            for command in ([*TWISTD, "-n", "--pidfile=pid"], TWIST):
                server = self.run_process(
                    [*command, "sodium", "--discard", "-k", SECRET, "-e", "unix:sock", "-e", endpoint]
                )
                self.assertNotIn(server.wait(), (0, None))
                said = [line for line in server.output + server.errors if "cannot listen" in line]
                self.assert_one_line(said, f"sodium: cannot listen on {endpoint}: .*in use")
                self.assertNotIn("Traceback", "".join(server.output + server.errors))
                self.assertEqual(os.listdir(self.directory), [])

    def write(self, name: str, text: str) -> None:
        with open(self.path(name), "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)

    def test_hangup(self) -> None:
        """SIGHUP has it read its files again, and go on; under nohup it does nothing."""
        self.write("key", SECRET)
        command = [*TWISTD, "-n", "--pidfile=pid", "sodium", "--discard", "--key-file", "key", "-e", "unix:sock"]
        server = self.run_process(command)
        server.wait_for("listening on 'sock'")
        other = KeyPair.generate()
        self.write("key", other.secret.hex())
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(f"public key: {other.public.hex()}$")
        server.wait_for("read again what files say")
        self.write("key", "nonsense")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("not all could be read again, .*: key.*8 characters")
        self.assertEqual(server.stop(signal.SIGTERM), -signal.SIGTERM)
        self.assertNotIn("Traceback", "".join(server.output + server.errors))
        self.assertEqual(os.listdir(self.directory), ["key"])
        self.write("key", SECRET)
        # Coverage has a function of its own for SIGTERM, which ends the process at once while the reactor does not run.
        ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
        server = self.run_process(command, preexec_fn=ignore, env=unmeasured())
        server.wait_for("listening on 'sock'")
        server.process.send_signal(signal.SIGHUP)
        self.assertEqual(server.stop(signal.SIGTERM), -signal.SIGTERM)
        self.assertNotIn("read again", "".join(server.output))
        self.assertEqual(os.listdir(self.directory), ["key"])

    def test_terminal(self) -> None:
        """One that closes ends what was started from it, in order."""
        ours, its = pty.openpty()

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(its, termios.TIOCSCTTY, 0)

        command = [*TWISTD, "-n", "--pidfile=pid", "sodium", "--discard", "-k", SECRET, "-e", "unix:sock"]
        server = self.run_process(command, preexec_fn=take_terminal)
        os.close(its)
        server.wait_for("listening on 'sock'")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("read again what files say")
        os.close(ours)
        self.assertEqual(server.wait(), -signal.SIGHUP)
        server.wait_for("the terminal is gone, which ends sodium in order")
        self.assertEqual(os.listdir(self.directory), [])

    def test_killed(self) -> None:
        """What is left of one that was killed the next one names, each thing in a line."""
        own = KeyPair.generate()
        self.write("own", own.secret.hex())
        self.write("keys", f"{own.public.hex()}\n")
        # As it would be while somebody joins.
        self.write(".keys.0123456789ab", "")
        command = [*TWISTD, "-n", "--pidfile=pid", "sodium", "-k", SECRET, "-P", "geheim", "--authorized-keys", "keys"]
        command += ["-e", "unix:sock", "-e", "tcp:0:interface=127.0.0.1", "-d", "up", "--replay-db", "db"]
        server = self.run_process(command)
        self.find_endpoint(server)
        who = ["--passphrase", "geheim", "--identity", "own", "--protocol", "1", "-"]
        client = self.start_client("send", *who, stdin=subprocess.PIPE)
        client.stdin.write(b"some")
        client.stdin.flush()
        wait_until(lambda: any(os.stat(self.path("up", name)).st_size for name in os.listdir(self.path("up"))), "bytes")
        server.stop(signal.SIGKILL)
        client.wait()
        next_one = self.run_process(command)
        self.find_endpoint(next_one)
        next_one.stop()
        log = "\n".join(next_one.output + next_one.errors)
        for line in (
            "[Rr]emoving stale pidfile",
            r"1 unfinished uploads in \S*/up, for instance '\..*\.part': of a server that was killed",
            "the socket 'sock' and its lock are left of process [0-9]+, which was killed",
            "db was not closed, since a server was killed",
            r"1 changes of keys that were never finished in \S*, for instance '\.keys\.0123456789ab'",
        ):
            self.assertRegex(log, line)

    def test_path_in_use(self) -> None:
        """A UNIX socket's, of which Twisted tells why in a way of its own."""
        endpoint = f"unix:{self.path('socket')}"
        first = self.run_process([*TWISTD, "-n", "--pidfile=", "sodium", "--discard", "-k", SECRET, "-e", endpoint])
        first.wait_for("listening on")
        second = self.run_process([*TWISTD, "-n", "--pidfile=", "sodium", "--discard", "-k", SECRET, "-e", endpoint])
        self.assertEqual(second.wait(), 1)
        self.assertIn(
            f"cannot listen on {endpoint}: Cannot acquire lock; process {first.pid} holds {self.path('socket.lock')}",
            "".join(second.output),
        )
        # Where it is no socket, Twisted has taken the lock before it finds that out.
        other = f"unix:{self.make_file('file', 0)}"
        third = self.run_process([*TWISTD, "-n", "--pidfile=", "sodium", "--discard", "-k", SECRET, "-e", other])
        self.assertEqual(third.wait(), 1)
        self.assertEqual(sorted(os.listdir(self.directory)), ["file", "socket", "socket.lock"])
        self.assertNotIn("Traceback", "".join(second.output + second.errors))

    def test_daemon_port_in_use(self) -> None:
        """The command that starts a daemon reports it, with status 1 and no pid file left."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            command = [*TWISTD, "--pidfile=pid", "--logfile=log", "sodium", "-k", SECRET, "-e", endpoint, "--discard"]
            server = self.run_process(command)
            self.assertEqual(server.wait(), 1)
            self.assertRegex(server.errors[0], f"sodium: cannot listen on {endpoint}")
            wait_until(lambda: b"cannot listen" in self.read("log"), "the log")
            # The daemon ends a moment after the command, which knows the reason first.
            wait_until(lambda: os.listdir(self.directory) == ["log"], "the pid file to go")
            self.assertNotIn(b"Traceback", self.read("log"))

    def test_refused_starts(self) -> None:
        """
        A mistake ends the server with one line on standard error and status 1, whether it is found in the options or
        when the service is made. Which there are, :mod:`tests.programs.test_tap` tells.
        """
        for command in ([*TWISTD, "-n", "--pidfile="], TWIST):
            for options, line in [
                (["-k", "zz", "--discard"], "the private key has 2 characters; it is 64 hex digits"),
                (["-e", "tcp:5555", "--discard"], "choose one with --passphrase-file"),
            ]:
                server = self.run_process([*command, "sodium", *options])
                self.assertEqual((server.wait(), server.output), (1, []), options)
                self.assert_one_line(server.errors, f"^sodium: .*{line}")
