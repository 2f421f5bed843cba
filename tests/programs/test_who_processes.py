"""
Who may come in, with real processes over loopback.
"""

from __future__ import annotations

import base64
import os
import resource
import signal
import socket
import sqlite3
import threading
from contextlib import closing

from sodiumtwist import KeyPair
from sodiumtwist.admission.passwords import read_passwords

from ..admission.test_passwords import cheap
from ..processes import PATIENCE, PUBLIC, SECRET, SODIUMTWIST, TWISTD, ProcessTestCase, Running, wait_until
from ..vectors import load_session


class WhoTestCase(ProcessTestCase):
    def write(self, name: str, text: str) -> str:
        with open(self.path(name), "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)
        return name

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", int(self.endpoint.rpartition(":")[2])), PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def passwd(self, *options: str) -> Running:
        command = self.run_process([*SODIUMTWIST, "passwd", *options])
        command.wait()
        return command

    def send(self, *options: str, key: str = PUBLIC) -> Running:
        """Send a small file; return the client when it has ended."""
        client = self.start_client("send", *options, self.make_file("in", 1000), key=key)
        client.wait()
        return client


class RecordedTestCase(WhoTestCase):
    """Has the session that the reference server took, byte for byte."""

    def setUp(self) -> None:
        super().setUp()
        self.session = load_session("server")
        self.key = self.write("key", self.session.server_secret_key.hex())

    def start(self, *options: str) -> Running:
        command = [*TWISTD, "-n", "--pidfile=", "sodium", "--key-file", self.key, "--auth-timeout", "1", *options]
        server = self.run_process([*command, "--endpoint", "tcp:0:interface=127.0.0.1"])
        self.find_endpoint(server)
        return server

    def play(self) -> int:
        """Send it; return how many bytes came back."""
        with self.connect() as connection:
            threading.Thread(target=connection.sendall, args=(self.session.wire_to("server"),)).start()
            received = 0
            expected = len(self.session.wire_to("client"))
            while received < expected and (data := connection.recv(65536)):
                received += len(data)
            return received


class ReplayTests(RecordedTestCase):
    """That session again."""

    def test_restart(self) -> None:
        """With a database it is refused by another server, and after a restart; no file comes of it."""
        database = ("--replay-db", "handshakes", "--directory", "uploads")
        server = self.start(*database)
        self.assertEqual(self.play(), len(self.session.wire_to("client")))
        server.wait_for("5 B in|131.4 kB in|upload of 'username'")
        self.assertEqual(len(os.listdir(self.path("uploads"))), 1)
        other = self.start(*database)
        self.assertEqual(self.play(), 0)
        other.wait_for("refused .* as 'username': the handshake was accepted before")
        for process in (server, other):
            process.stop()
            process.wait_for("Server Shut Down")
        again = self.start(*database)
        for _ in range(2):
            self.assertEqual(self.play(), 0)
        again.wait_for("refused .* as 'username': the handshake was accepted before")
        self.assertEqual(len(os.listdir(self.path("uploads"))), 1)
        self.assertEqual(os.stat(self.path("handshakes")).st_mode & 0o777, 0o600)

    def test_killed(self) -> None:
        """Also by SIGKILL right behind its hello."""
        server = self.start("--discard", "--replay-db", "handshakes")
        with self.connect() as connection:
            connection.sendall(self.session.sent_to("server")[0].wire)
            self.assertEqual(len(connection.recv(236, socket.MSG_WAITALL)), 236)
            server.stop(signal.SIGKILL)
        self.start("--discard", "--replay-db", "handshakes")
        self.assertEqual(self.play(), 0)

    def test_without_a_database(self) -> None:
        """As long as the server runs."""
        self.start("--discard")
        self.assertEqual(self.play(), len(self.session.wire_to("client")))
        self.assertEqual(self.play(), 0)

    def test_limit(self) -> None:
        """``--limit replays=`` holds for the database, too."""
        server = self.start("--discard", "--replay-db", "handshakes", "--limit", "replays=2")
        for _ in range(4):
            client = self.run_process(
                [*SODIUMTWIST, "ping", "-c", "1", "--protocol", "1", "--endpoint", self.endpoint, "--key"]
                + [KeyPair.from_secret(self.session.server_secret_key).public.hex()]
            )
            self.assertEqual(client.wait(), 0)
        server.wait_for("more than 2 handshakes were accepted")
        with closing(sqlite3.connect(self.path("handshakes"))) as database:
            self.assertEqual(list(database.execute("SELECT count(*) FROM handshakes")), [(2,)])

    def test_no_database(self) -> None:
        """A file that is something else is not written to, and ends the program with a line."""
        self.write("notes", "dear diary " * 100)
        server = self.run_process([*TWISTD, "-n", "--pidfile=", "sodium", "--discard", "--replay-db", "notes"])
        self.assertEqual(server.wait(), 1)
        self.assert_one_line(server.errors, "^sodium: .*notes is no database of handshakes")


class Argon2Tests(WhoTestCase):
    """``--auth argon2:FILE``, whose file ``sodiumtwist passwd`` writes."""

    def test_whole_story(self) -> None:
        """Added, let in, changed while the server runs, deleted."""
        for name in ("first", "second"):
            self.write(name, f"the {name} passphrase\n")
        added = self.passwd("--passphrase-file", "first", "users", "ann")
        self.assertEqual((added.output, added.errors), (["added 'ann'"], []))
        server = self.start_server("--directory", "uploads", "--auth", "argon2:users:concurrency=1")
        server.wait_for("--user LOGIN --passphrase-file PASSPHRASEFILE PATH")
        as_ann = ("--user", "ann", "--passphrase-file")
        self.assertEqual(self.send(*as_ann, "first").errors, [])
        # The default login is nobody's here.
        for options in ((), (*as_ann, "second"), ("--user", "bob", "--passphrase-file", "first")):
            self.assertEqual(self.send(*options).wait(), 3)
        self.assertEqual(self.passwd("--passphrase-file", "second", "users", "ann").output, ["changed 'ann'"])
        self.assertEqual(self.send(*as_ann, "second").errors, [])
        self.assertEqual(self.send(*as_ann, "first").wait(), 3)
        self.assertEqual(self.passwd("--delete", "users", "ann").output, ["deleted 'ann'"])
        self.assertEqual(self.send(*as_ann, "second").wait(), 3)
        self.write("users", "nonsense\n")
        self.assertEqual(self.send(*as_ann, "second").wait(), 3)
        server.wait_for("users: line 1: no Argon2id string")
        self.assertEqual(sorted(os.listdir(self.path("uploads", "ann"))), ["in", "in.1"])

    def test_besides_a_login(self) -> None:
        """Any that accepts lets in."""
        self.write("users", f"ann:{cheap('of ann')}\n")
        self.write("more", f"bob:{cheap('of bob')}\n")
        self.start_server(
            "--directory", "uploads", "--auth", "argon2:users", "--auth", "argon2:more", "--user", "me",
            "--passphrase", "of me",
        )  # fmt: skip
        for login in ("ann", "bob", "me"):
            self.assertEqual(self.send("--user", login, "--passphrase", f"of {login}").errors, [])
            self.assertEqual(self.send("--user", login, "--passphrase", "of nobody").wait(), 3)

    def test_off_loopback(self) -> None:
        """With logins of its own the server listens anywhere; the default passphrase does not count then."""
        self.write("users", "")
        server = self.run_process(
            [*TWISTD, "-n", "--pidfile=", "sodium", "--discard", "--auth", "argon2:users"]
            + ["--endpoint", "tcp:0:interface=0.0.0.0"]
        )
        server.wait_for("listening on 0.0.0.0")

    def test_help(self) -> None:
        """``--help-auth`` lists it, ``--help-auth-type`` explains it."""
        for options, words in (
            (["--help-auth"], r"argon2\s+FILE"),
            (["--help-auth-type", "argon2"], "sodiumtwist passwd"),
        ):
            shown = self.run_process([*TWISTD, "sodium", *options])
            self.assertEqual(shown.wait(), 0)
            shown.wait_for(words)


class KeyTests(WhoTestCase):
    """``--authorized-keys`` and ``--identity``."""

    def setUp(self) -> None:
        super().setUp()
        self.identity = KeyPair.generate()
        self.write("me.key", self.identity.secret.hex())
        self.write("other.key", KeyPair.generate().secret.hex())

    def test_key_decides(self) -> None:
        """With ``--auth none`` nothing else counts."""
        self.write("keys", f"# laptops\n{self.identity.public.hex()}\n")
        server = self.start_server("--directory", "uploads", "--authorized-keys", "keys", "--auth", "none")
        server.wait_for("--identity KEYFILE PATH")
        self.assertEqual(self.send("--identity", "me.key").errors, [])
        self.assertEqual(self.send("--identity", "me.key", "--user", "x", "--passphrase", "y").errors, [])
        for options in ((), ("--identity", "other.key")):
            self.assertEqual(self.send(*options).wait(), 3)
        server.wait_for("the key [0-9a-f]{64} is not authorized")
        pinged = self.start_client("ping", "--identity", "me.key", "-c", "1")
        self.assertEqual(pinged.wait(), 0)
        self.assertEqual(len(os.listdir(self.path("uploads"))), 2)
        self.write("keys", "")
        self.assertEqual(self.send("--identity", "me.key").wait(), 3)

    def test_key_and_login(self) -> None:
        """Both count, and a key may be bound to a login."""
        self.write("keys", f"{self.identity.public.hex()} username # mine\n")
        self.start_server("--directory", "uploads", "--authorized-keys", "keys", "--passphrase", "p")
        self.assertEqual(self.send("--identity", "me.key", "--passphrase", "p").errors, [])
        for options in (
            ("--passphrase", "p"),
            ("--identity", "me.key"),
            ("--identity", "me.key", "--passphrase", "p", "--user", "ann"),
        ):
            self.assertEqual(self.send(*options).wait(), 3)

    def test_tunnel(self) -> None:
        """Through both services, with the key alone; the backend speaks first."""
        self.write("keys", f"{self.identity.public.hex()}\n")
        with socket.create_server(("127.0.0.1", 0)) as backend:
            backend.settimeout(PATIENCE)
            self.start_server(
                "--forward", f"tcp:127.0.0.1:{backend.getsockname()[1]}", "--authorized-keys", "keys", "--auth", "none"
            )
            tunnel = self.run_process(
                [*TWISTD, "-n", "--pidfile=", "sodium-tunnel", "--listen", "tcp:127.0.0.1:0", "--to", self.endpoint]
                + ["--server-key", PUBLIC, "--identity", "me.key"]
            )
            port = int(tunnel.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                accepted, _ = backend.accept()
                with accepted:
                    accepted.sendall(b"welcome")
                    self.assertEqual(client.recv(7, socket.MSG_WAITALL), b"welcome")


class HostileTests(WhoTestCase):
    """What is left of strangers."""

    def test_behind_haproxy(self) -> None:
        """The log has the client's address, not the proxy's."""
        server = self.run_process(
            [*TWISTD, "-n", "--pidfile=", "sodium", "--discard", "--key", SECRET, "--auth-timeout", "1"]
            + ["--endpoint", "haproxy:tcp:0:interface=127.0.0.1"]
        )
        self.find_endpoint(server)
        with self.connect() as connection:
            connection.sendall(b"PROXY TCP4 192.0.2.77 192.0.2.1 4711 5555\r\n" + bytes(400))
            self.assertEqual(connection.recv(1), b"")
        server.wait_for(r"refused 192\.0\.2\.77:4711: the first packet does not open")

    def test_rekeying(self) -> None:
        """A server that takes a new key at every PDU, and a client that knows nothing of it."""
        self.start_server("--directory", "uploads", "--limit", "rekey-size=1")
        client = self.start_client("send", self.make_file("in", 5_000_000))
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertTrue(self.read("uploads/username/in") == self.read("in"))

    def test_out_of_descriptors(self) -> None:
        """It is survived, without a flood in the log, and afterwards clients get in."""

        def few_descriptors() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))

        server = self.start_server("--directory", "uploads", "--auth-timeout", "3", preexec_fn=few_descriptors)
        strangers = [self.connect() for _ in range(100)]
        # Those that it can't take are closed, in the order in which they came.
        closed = 0
        for stranger in strangers[60:]:
            try:
                closed += stranger.recv(1) == b""
            except ConnectionResetError:
                closed += 1
        self.assertEqual(closed, 40)
        for stranger in strangers:
            stranger.close()
        wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) < 30, "the strangers' descriptors")
        self.assertEqual(self.send().errors, [])
        self.assertLess(len(server.output), 300)
        self.assertFalse([line for line in server.output if "Traceback" in line])


class SecretTests(WhoTestCase):
    """A whole run of everything, and what of it can be seen."""

    forked = False  # the list of processes shows how each was started

    def test_output(self) -> None:
        """No key and no passphrase, in any form, in what any program prints or in the list of processes."""
        server_key, identity = KeyPair.generate(), KeyPair.generate()
        self.write("server.key", server_key.secret.hex())
        self.write("me.key", identity.secret.hex())
        self.write("keys", f"{identity.public.hex()}\n")
        for name in ("ann", "wrong"):
            self.write(name, f"Pa55phrase-of-{name}\n")
        processes = [self.passwd("--passphrase-file", "ann", "users", "ann")]
        server = self.run_process(
            [*TWISTD, "-n", "--pidfile=", "sodium", "--key-file", "server.key", "--directory", "uploads"]
            + ["--auth", "argon2:users", "--authorized-keys", "keys", "--replay-db", "replays", "--auth-timeout", "1"]
            + ["--endpoint", "tcp:0:interface=127.0.0.1"]
        )
        self.find_endpoint(server)
        processes.append(server)
        with self.connect() as stranger:
            stranger.sendall(os.urandom(400))
            self.assertEqual(stranger.recv(1), b"")
        public = server_key.public.hex()
        for options, key, status in (
            (("--user", "ann", "--passphrase-file", "ann", "--identity", "me.key"), public, 0),
            (("--user", "ann", "--passphrase-file", "wrong", "--identity", "me.key"), public, 3),
            (("--user", "ann", "--passphrase-file", "ann"), public, 3),
            (("--user", "ann", "--passphrase-file", "ann", "--identity", "me.key"), PUBLIC, 2),
            (("--user", "ann", "--passphrase-file", "ann", "--identity", "ann"), public, 1),
        ):
            processes.append(self.send(*options, key=key))
            self.assertEqual(processes[-1].wait(), status, processes[-1].errors + server.output)
        with open(f"/proc/{server.pid}/cmdline", "rb") as file:
            shown = file.read()
        server.stop()
        server.wait_for("Server Shut Down")
        for process in processes:
            shown += "\n".join(process.output + process.errors).encode()
        self.assertIn(b"'ann'", shown)
        argon2_string = read_passwords(self.path("users"))["ann"].encode()
        secrets = [b"Pa55phrase-of-ann", b"Pa55phrase-of-wrong", server_key.secret, identity.secret, argon2_string]
        for secret in secrets:
            forms = (secret, repr(secret)[2:-1].encode(), secret.hex().encode(), base64.b64encode(secret).rstrip(b"="))
            for form in forms:
                self.assertNotIn(form, shown)
        for name in ("users", "replays"):
            self.assertEqual(os.stat(self.path(name)).st_mode & 0o777, 0o600)
