"""
Three servers of one key behind HAProxy, of which one drains and one is killed.
"""

from __future__ import annotations

import os
import signal

from ..processes import PUBLIC
from ..transfer.tree.forked import Forked
from .balanced import SERVERS, BalancedTestCase
from .carrying_on import PASSPHRASE


class FilesTests(BalancedTestCase):
    """Files, which three servers keep in one folder."""

    told = False

    def start_all(self, *options: str) -> None:
        """
        Start the servers, and HAProxy.

        :param options: of the servers.
        """
        for name in SERVERS:
            self.group.serve(name, "--directory", "place", *options)
        self.group.balance()

    def send(self, *arguments: str, host: str = "") -> Forked:
        """
        Begin to send.

        :param host: the address to connect from.
        """
        endpoint = f"{self.group.endpoint}:bindAddress={host}" if host else self.group.endpoint
        return self.start(
            "sodiumtwist",
            *("send", "--key", PUBLIC, "--endpoint", endpoint, "--passphrase", PASSPHRASE, "--json", *arguments),
        )

    def test_one_is_killed(self) -> None:
        """The same command again goes on at another server, with what has come of the file."""
        self.start_all()
        self.make_file("large", 60_000_000)
        client = self.send("large")
        first = self.group.with_client()
        self.servers[first].wait_for_written(5_000_000)
        self.servers[first].kill()
        self.assertEqual(client.wait(), 4)
        (partial,) = os.listdir(self.path("place", "username"))
        there = os.stat(self.path("place", "username", partial)).st_size
        client = self.send("large")
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertEqual(client.events[-1]["bytes"], 60_000_000 - there)
        self.assertTrue(self.read("place/username/large") == self.read("large"))
        self.assertEqual(os.listdir(self.path("place", "username")), ["large"])

    def test_one_drains(self) -> None:
        """What is on its way when a server drains comes to its end there, and who comes goes elsewhere at once."""
        self.start_all()
        self.make_file("large", 60_000_000)
        self.write("small", b"small")
        client = self.send("large")
        first = self.group.with_client()
        self.servers[first].wait_for_written(5_000_000)
        self.servers[first].kill(signal.SIGTERM)
        other = self.send("small")
        self.assertEqual((other.wait(), other.errors), (0, []))
        # All is stored, and then the server asks its clients to leave.
        self.assertEqual(client.wait(), 9)
        self.assert_one_line(client.errors, "1 file and 60.0 MB stored: the server is shutting down; the same command ")
        self.assertTrue(self.read("place/username/large") == self.read("large"))
        self.assertEqual(self.servers[first].wait(), -signal.SIGTERM)
        client = self.send("large")
        self.assertEqual((client.wait(), client.events[-1]["bytes"], client.errors), (0, 0, []))

    def test_addresses(self) -> None:
        """The log has the clients' addresses, and those are counted for the limits."""
        self.start_all("--limit", "per-address=1")
        for name in ("two", "three"):
            self.group.tell(f"set server sodium/{name} state maint")
        self.make_file("large", 200_000_000)
        here, there = f"{self.group.network}.101", f"{self.group.network}.102"
        client = self.send("large", host=here)
        server = self.servers[self.group.with_client()]
        server.wait_for_written(1_000_000)
        self.write("small", b"small")
        other = self.send("small", host=here)
        self.assertEqual(other.wait(), 2)
        self.assert_one_line(other.errors, "behind a proxy it may be full")
        server.wait_for(f"{here}:")
        other = self.send("small", host=there)
        self.assertEqual((other.wait(), other.errors), (0, []))
        self.assertIn(f" of 'username' from {there}:", server.wait_for(there))
        client.kill()


class CarryOnTests(BalancedTestCase):
    """Clients that connect again."""

    told = False

    def test_requests(self) -> None:
        """None is acted on twice, and none is lost of which the client has an answer."""
        for name in SERVERS:
            self.group.answer(name, "journal")
        self.group.balance()
        client = self.program("ask", self.group.endpoint, PUBLIC, "a", "20")
        client.wait_for("answered", 100)
        killed = self.group.with_client()
        self.servers[killed].kill()
        client.wait_for("answered", len(client.lines()) + 100)
        failed = [line for line in client.lines() if line.startswith("failed")]
        self.assertLessEqual(len(failed), 20)
        drained = self.group.with_client(killed)
        self.servers[drained].kill(signal.SIGTERM)
        self.servers[drained].wait()
        client.wait_for("answered", len(client.lines()) + 100)
        client.kill(signal.SIGINT)
        client.wait()
        answered = [line.split()[1] for line in client.lines() if line.startswith("answered ")]
        done = self.read("journal").decode().splitlines()
        self.assertEqual(len(set(done)), len(done), "acted on twice")
        self.assertEqual(len(set(answered)), len(answered), "answered twice")
        self.assertEqual(set(answered) - set(done), set(), "lost")
        # Those that the killed one had: nobody knows what became of them, and they were not made again.
        self.assertEqual([line for line in client.lines() if line.startswith("failed")], failed)
        self.assertLessEqual({line.split()[2] for line in failed}, {"ConnectionCut"})

    def test_streams(self) -> None:
        """
        Programs that connect again go on, by a ``ClientService`` and by a tunnel. A server that drains lets the streams
        go on that it has, and tells the clients; nobody new comes to it.
        """
        echo = self.program("echo", "tcp:0:interface=127.0.0.1")
        service = echo.wait_for("listening on").split()[-1]
        for name in SERVERS:
            self.group.serve(name, "--forward", service)
        self.group.balance()
        self.write("pass", f"{PASSPHRASE}\n".encode())
        os.chmod(self.path("pass"), 0o600)
        tunnel = self.start(
            "twistd",
            *(
                "-n",
                "--pidfile=",
                "sodium-tunnel",
                "--listen",
                "tcp:0:interface=127.0.0.1",
                "--to",
                self.group.endpoint,
            ),
            *("--server-key", PUBLIC, "--passphrase-file", "pass"),
        )
        entrance = tunnel.wait_for("listening on 127.0.0.1:").split()[-1]
        login = f"serverKey={PUBLIC}:login=username:passphraseFile={self.path('pass')}"
        talkers = [
            self.program("talk", f"sodium:{self.group.endpoint}:{login}"),
            self.program("talk", f"tcp:{entrance}"),
        ]
        for talker in talkers:
            talker.wait_for("said", 5)
        killed = self.group.with_client()
        self.servers[killed].kill()
        for talker in talkers:
            talker.wait_for("said", len(talker.lines()) + 5)
        drained = self.group.with_client(killed)
        self.servers[drained].kill(signal.SIGTERM)
        for talker in talkers:
            talker.wait_for("said", len(talker.lines()) + 5)
            self.assertNotIn("wrong", "".join(talker.lines()))
        # What goes on there ends now.
        self.servers[drained].kill(signal.SIGTERM)
        for talker in talkers:
            talker.wait_for("said", len(talker.lines()) + 5)
            talker.kill(signal.SIGINT)
            talker.wait()
