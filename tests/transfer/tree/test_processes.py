"""
Files under their names by real processes, which are killed, run out of room, meet each other, and are tricked.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from collections import Counter

from ...processes import PUBLIC, SECRET, ProcessTestCase
from .forked import Forked, Forking
from .trees import differences, make_tree


class FilesTestCase(ProcessTestCase):
    """Starts servers that keep files, and clients of the last one."""

    def setUp(self) -> None:
        super().setUp()
        self.forking = Forking(self.directory)
        self.addCleanup(self.forking.close)

    def serve(self, *options: str, without_rights: bool = False) -> Forked:
        """Start a server."""
        command = ["-n", "--pidfile=", "sodium", "--key", SECRET, "--endpoint", "tcp:0:interface=127.0.0.1"]
        server = self.forking.start("twistd", *command, *options, without_rights=without_rights)
        where = re.search(r"127\.0\.0\.1:(\d+)", server.wait_for("listening on 127.0.0.1:"))
        assert where is not None
        self.endpoint = f"tcp:{where[0]}"
        return server

    def client(self, command: str, *arguments: str) -> Forked:
        """Start a client's command."""
        return self.forking.start(
            "sodiumtwist", command, "--key", PUBLIC, "--endpoint", self.endpoint, "--json", *arguments
        )


class BrokenTests(FilesTestCase):
    """A tree of all that there is, which is broken off again and again."""

    def test_ten_times(self) -> None:
        """
        Either end is killed, or interrupted, at any moment; the same command again goes on. In the end the trees are
        equal, on a third machine, too, and nothing that was confirmed was sent again.
        """
        make_tree(self.path("tree"), 2000, seed=20)
        chance = random.Random(20)
        os.mkdir(self.path("place"))
        options = ["--directory", "place", "--share", "place", "--share-per-login"]
        server = self.serve(*options)
        stored: Counter[str] = Counter()
        statuses = []
        breaks = 0
        for turn in range(10):
            client = self.client("send", "tree")
            after = chance.randrange(1, 60)
            client.wait_for_stored(after)
            how = ("client killed", "interrupted", "server killed")[turn % 3]
            if how == "server killed":
                server.kill()
            else:
                client.kill(signal.SIGKILL if how == "client killed" else signal.SIGINT)
            statuses.append(client.wait())
            stored.update(client.stored)
            if how == "server killed":
                server.wait()
                server = self.serve(*options)
                breaks = 0
            else:
                breaks += 1
                # It writes what has come.
                server.wait_for("; it broke off", breaks)
        client = self.client("send", "tree")
        self.assertEqual((client.wait(), client.errors), (0, []))
        stored.update(client.stored)
        print(statuses, len(stored))
        self.assertEqual(differences(self.path("tree"), self.path("place", "username", "tree")), [])
        self.assertEqual(
            subprocess.run(["diff", "-r", "tree", "place/username/tree"], cwd=self.directory).returncode, 0
        )
        self.assertEqual([name for name, times in stored.items() if times > 1], [])
        self.assertEqual(client.events[-1]["event"], "summary")
        fetched = self.client("get", "tree", "there")
        self.assertEqual((fetched.wait(), fetched.errors), (0, []))
        self.assertEqual(differences(self.path("tree"), self.path("there", "tree")), [])
