"""
Workers as processes: real sockets, signals and deaths. What each part does has tests of its own.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from sodiumtwist.core.connection import ClientConnection

from ..processes import PUBLIC, ProcessTestCase, Running, wait_until
from ..transfer.tree.forked import Forked
from ..transfer.tree.test_processes import FilesTestCase


def workers_of(server: Running | Forked) -> list[int]:
    """The numbers of a server's workers' processes that run."""
    with open(f"/proc/{server.pid}/task/{server.pid}/children") as file:
        return [int(number) for number in file.read().split()]


class WorkerProcessTests(ProcessTestCase):
    def start_workers(self, *options: str) -> Running:
        """Start a server with two workers, and wait until both serve."""
        server = self.start_server("--workers", "2", *options)
        server.wait_for("worker 1 serves")
        server.wait_for("worker 2 serves")
        return server

    def ask(self, server: Running, path: str) -> str:
        """Get a page of the site."""
        where = server.wait_for(r"metrics, health and a page are at (127\.0\.0\.1:\d+)")[1]
        with urllib.request.urlopen(f"http://{where}{path}", timeout=60) as answer:
            return str(answer.read(), "utf-8")

    def descriptors(self, pid: int) -> list[str]:
        """What a process has open."""
        folder = f"/proc/{pid}/fd"
        return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]

    def test_life(self) -> None:
        """
        Two processes serve one port, and no secret is on their command lines. One that is killed is replaced; the
        others go on. SIGTERM ends all.
        """
        server = self.start_workers("--discard", "--passphrase", "geheim", "-e", "unix:sock:mode=600", "--metrics", "0")
        first, second = workers_of(server)
        for pid in (first, second):
            for name in ("cmdline", "environ"):
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    self.assertNotIn(b"geheim", file.read())
            # Each listening socket once: what a port closes is closed then, and newcomers are refused.
            sockets = [link for link in self.descriptors(pid) if link.startswith("socket:")]
            self.assertEqual(len(sockets), len(set(sockets)))
        # With no other worker, each serves.
        for stopped in (first, second):
            os.kill(stopped, signal.SIGSTOP)
            self.assertEqual(self.start_client("ping", "--passphrase", "geheim", "-c", "1").wait(), 0)
            os.kill(stopped, signal.SIGCONT)
        self.assertEqual(self.ask(server, "/healthz"), "ok\n")
        numbers = self.ask(server, "/metrics")
        self.assertIn("\nsodiumtwist_workers 2.0\n", numbers)
        self.assertIn("\nsodiumtwist_connections_accepted_total 2.0\n", numbers)
        os.kill(first, signal.SIGKILL)
        server.wait_for("worker 1 is lost after .* seconds: it was ended by SIGKILL; another one starts in 0.1 seconds")
        wait_until(lambda: sum("worker 1 serves" in line for line in server.output) == 2, "another worker 1")
        self.assertEqual(os.stat(self.path("sock")).st_mode & 0o777, 0o600)
        others = workers_of(server)
        os.kill(second, signal.SIGSTOP)
        self.assertEqual(self.start_client("ping", "--passphrase", "geheim", "-c", "1").wait(), 0)
        os.kill(second, signal.SIGCONT)
        server.stop()
        self.assertEqual([pid for pid in others if os.path.exists(f"/proc/{pid}")], [])
        self.assertFalse(os.path.exists(self.path("sock")))
        log = "\n".join(server.output + server.errors)
        self.assertIn("is authenticated as 'username'", log)
        self.assertNotIn("Traceback", log)
        self.assertNotIn("geheim", log)


class TogetherTests(FilesTestCase):
    """What two workers do as if they were one, and what becomes of one that is killed at work."""

    def serve_by_two(self, *options: str) -> tuple[Forked, int, int]:
        """Start a server with two workers; return it, and the numbers of their processes."""
        server = self.serve("--workers", "2", *options)
        server.wait_for(" serves", 2)
        first, second = workers_of(server)
        return server, first, second

    @contextmanager
    def standing_still(self, worker: int) -> Iterator[None]:
        """Have a worker stand still: whoever comes goes to the other one."""
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def ping(self, passphrase: str = "passphrase") -> Forked:
        return self.client("ping", "-c", "1", "--passphrase", passphrase)

    def test_killed_at_work(self) -> None:
        """Its sessions break, and no others; an upload goes on where it was."""
        self.make_file("large", 60_000_000)
        server, first, second = self.serve_by_two("--directory", "place")
        with self.standing_still(second):
            sending = self.client("send", "large")
            wait_until(lambda: self._size_there() > 5_000_000, "some of the upload")
            os.kill(first, signal.SIGSTOP)
        pinging = self.client("ping", "-c", "5000", "--interval", "0.05")
        pinging.wait_for("seq=1 ")
        there = self._size_there()
        os.kill(first, signal.SIGKILL)
        self.assertEqual(sending.wait(), 4)
        pinging.wait_for("seq=", len(pinging.lines()) + 2)
        sending = self.client("send", "--json", "large")
        self.assertEqual((sending.wait(), sending.errors), (0, []))
        self.assertLessEqual(sending.events[-1]["bytes"], 60_000_000 - there)
        self.assertTrue(self.read("place/username/large") == self.read("large"))
        # SIGTERM reaches the sessions, which are told.
        server.kill(signal.SIGTERM)
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assertNotEqual(pinging.wait(), 0)
        self.assertIn("the server is shutting down", pinging.errors[-1])

    def _size_there(self) -> int:
        try:
            (name,) = os.listdir(self.path("place", "username"))
            return os.stat(self.path("place", "username", name)).st_size
        except (FileNotFoundError, ValueError):
            return 0

    def test_one_memory(self) -> None:
        """
        A handshake of version 1 that was accepted by one is not by the other, both take another passphrase when files
        are read again, and who fails too often at one is refused by the other.
        """
        self.write("pass", b"first")
        os.chmod(self.path("pass"), 0o600)
        limit = ("--limit", "failures-per-address=2")
        server, first, second = self.serve_by_two("--discard", "--passphrase-file", "pass", *limit)
        client = ClientConnection(bytes.fromhex(PUBLIC), "username", "first", 0.0, version=1)
        client.initiate()
        packet, port = client.data_to_send(), int(self.endpoint.rpartition(":")[2])
        for standing in (first, second):
            with self.standing_still(standing), socket.create_connection(("127.0.0.1", port), 60) as recorded:
                recorded.sendall(packet)
                # What is accepted is answered.
                self.assertEqual(bool(recorded.recv(1)), standing == first)
        self.write("pass", b"another")
        server.kill(signal.SIGHUP)
        server.wait_for("read again what files say")
        for standing in (first, second):
            with self.standing_still(standing):
                wait_until(lambda: self.ping("another").wait() == 0, "the other passphrase")
        with self.standing_still(first):
            for _ in range(2):
                self.assertEqual(self.ping("wrong").wait(), 3)
        with self.standing_still(second):
            refused = self.ping("another")
            self.assertNotEqual(refused.wait(), 0)
            self.assertIn("too many logins have failed", refused.errors[-1])
        folders = [name for name in os.listdir(tempfile.gettempdir()) if f"-workers-{server.pid}-" in name]
        self.assertEqual(len(folders), 1)
        # Nobody would write the log, nor start another worker.
        server.kill()
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in (first, second)), "the workers' end")
        self.assertFalse(os.path.exists(os.path.join(tempfile.gettempdir(), folders[0])))

    def test_one_fifo(self) -> None:
        """One upload at a time goes there, whichever worker has it."""
        os.mkfifo(self.path("to"))
        self.make_file("one", 3_000_000)
        self.make_file("two", 3_000_000)
        server, first, second = self.serve_by_two("--file", "to")
        reader = os.open(self.path("to"), os.O_RDONLY | os.O_NONBLOCK)
        with self.standing_still(second):
            one = self.client("send", "one")
            wait_until(lambda: select.select([reader], [], [], 0)[0], "some of one")
        with self.standing_still(first):
            two = self.client("send", "two")
            server.wait_for("is authenticated", 2)
        os.set_blocking(reader, True)
        with os.fdopen(reader, "rb") as whole:
            self.assertTrue(whole.read() == self.read("one"))
        self.assertEqual((one.wait(), one.errors), (0, []))
        with open(self.path("to"), "rb") as whole:
            self.assertTrue(whole.read() == self.read("two"))
        self.assertEqual((two.wait(), two.errors), (0, []))
