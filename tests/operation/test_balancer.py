"""
Three servers of one key behind HAProxy, of which one drains and one is killed.
"""

from __future__ import annotations

import os
import re
import signal

from ..processes import PUBLIC, wait_until
from ..transfer.tree.forked import Forked
from .balanced import PASSPHRASE, SERVERS, BalancedTestCase


class FilesTests(BalancedTestCase):
    """Files, which three servers keep in one folder."""

    def setUp(self) -> None:
        super().setUp()
        for name in SERVERS:
            self.serve_as(name, "--directory", "place")
        self.balancer = self.balance(told=False)

    def send(self, *arguments: str, host: str = "") -> Forked:
        """
        Begin to send.

        :param host: the address to connect from.
        """
        endpoint = f"{self.endpoint}:bindAddress={host}" if host else self.endpoint
        return self.start(
            "sodiumtwist",
            *("send", "--key", PUBLIC, "--endpoint", endpoint, "--passphrase", PASSPHRASE, "--json", *arguments),
        )

    def receiving(self) -> str:
        """Wait until one of the servers has a client; return the server's name."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [name for name, row in self.balancer.servers().items() if int(row["scur"])]
            return bool(found)

        wait_until(look, "a client at a server")
        return found[0]

    def test_killed(self) -> None:
        """The same command again goes on at another server, with what has come of the file."""
        self.make_file("large", 60_000_000)
        client = self.send("large")
        first = self.receiving()
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
