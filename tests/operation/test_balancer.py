"""
Three servers of one key behind HAProxy, of which one drains and one is killed.
"""

from __future__ import annotations

import os
import signal

from ..processes import PUBLIC, wait_until
from ..transfer.tree.forked import Forked
from .balanced import SERVERS, BalancedTestCase
from .carrying_on import PASSPHRASE


class FilesTests(BalancedTestCase):
    """Files, which three servers keep in one folder."""

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

    def test_carry_on(self) -> None:
        """
        What is on its way when a server drains comes to its end there, and who comes goes elsewhere at once. When one
        is killed, the same command again goes on at another server, with what has come of the file.
        """
        for name in SERVERS:
            self.group.serve(name, "--directory", "place", "--drain-timeout", "60")
        self.group.balance()
        drained = self.drain_one()
        self.make_file("large", 60_000_000)
        client = self.send("large")
        killed = self.group.with_client(drained)
        self.servers[killed].wait_for_written(5_000_000)
        self.servers[killed].kill()
        self.assertEqual(client.wait(), 4)
        (partial,) = (name for name in os.listdir(self.path("place", "username")) if name.endswith(".part"))
        there = os.stat(self.path("place", "username", partial)).st_size
        client = self.send("large")
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertEqual(client.events[-1]["bytes"], 60_000_000 - there)
        self.assertTrue(self.read("place/username/large") == self.read("large"))
        self.assertEqual(sorted(os.listdir(self.path("place", "username"))), ["large", "small", "stream"])

    def drain_one(self) -> str:
        """Have a server drain while a client sends a stream to it, and return its name."""
        os.mkfifo(self.path("pipe"))
        self.write("small", b"small")
        first_part, rest = os.urandom(1_000_000), os.urandom(1_000_000)
        before = {name: server.written for name, server in self.servers.items()}
        client = self.send("--name", "stream", "pipe")
        with open(self.path("pipe"), "wb", buffering=0) as pipe:
            pipe.write(first_part)
            drained = self.group.with_client()
            server = self.servers[drained]
            wait_until(lambda: server.written > before[drained] + len(first_part) / 2, "some of it")
            server.kill(signal.SIGTERM)
            # Its /healthz says so. Whoever is connected stays.
            self.group.wait_for(drained, "DOWN")
            self.assertEqual(self.group.known()[drained]["scur"], "1")
            other = self.send("small")
            self.assertEqual((other.wait(), other.errors), (0, []))
            pipe.write(rest)
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertTrue(self.read("place/username/stream") == first_part + rest)
        self.assertEqual(server.wait(), -signal.SIGTERM)
        return drained

    def test_addresses(self) -> None:
        """The log has the clients' addresses, and those are counted for the limits."""
        server = self.group.serve("one", "--directory", "place", "--limit", "per-address=1")
        self.group.balance()
        self.write("small", b"small")
        here, there = f"{self.group.network}.101", f"{self.group.network}.102"
        os.mkfifo(self.path("pipe"))
        client = self.send("--name", "stream", "pipe", host=here)
        with open(self.path("pipe"), "wb", buffering=0) as pipe:
            self.group.with_client()
            other = self.send("small", host=here)
            self.assertEqual(other.wait(), 2)
            self.assert_one_line(other.errors, "behind a proxy it may be full")
            other = self.send("small", host=there)
            self.assertEqual((other.wait(), other.errors), (0, []))
            pipe.write(b"stream")
        self.assertEqual((client.wait(), client.errors), (0, []))
        for host in (here, there):
            server.wait_for(f" of 'username' from {host}:")


class RequestTests(BalancedTestCase):
    """Requests, to servers that are programs of somebody's own: of those HAProxy knows whether they listen."""

    told = False

    def test_carry_on(self) -> None:
        """
        None is acted on twice, and none is lost of which the client has an answer: not when a server is killed, not
        when one drains, and not when there is none for a while.
        """
        for name in SERVERS:
            self.group.answer(name, "journal")
        self.group.balance()
        client = self.program("ask", self.group.endpoint, PUBLIC, "a", "20", "0")
        client.wait_for("answered", 100)
        killed = self.group.with_client()
        # When it has acted on some that it has not answered.
        wait_until(lambda: len(self.read("journal").split()) > len(client.lines()), "requests that were acted on")
        self.servers[killed].kill()
        client.wait_for("answered", len(client.lines()) + 100)
        failed = [line for line in client.lines() if line.startswith("failed")]
        self.assertLessEqual(len(failed), 20)
        drained = self.group.with_client(killed)
        self.servers[drained].kill(signal.SIGTERM)
        self.servers[drained].wait()
        client.wait_for("answered", len(client.lines()) + 100)
        # Now there is none for a while.
        last = self.group.with_client(killed, drained)
        self.servers[last].kill(signal.SIGTERM)
        self.group.wait_for(last, "DOWN")
        self.group.answer(killed, "journal")
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


class StreamTests(BalancedTestCase):
    """Streams, handed on to a service."""

    def test_carry_on(self) -> None:
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
            self.program("talk", f"sodium:{self.group.endpoint}:{login}", "0.01"),
            self.program("talk", f"tcp:{entrance}", "0.01"),
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
