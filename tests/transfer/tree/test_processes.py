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
        make_tree(self.path("tree"), 2000, seed=20, mean=25_000)
        chance = random.Random(20)
        os.mkdir(self.path("place"))
        options = ["--directory", "place", "--share", "place", "--share-per-login"]
        server = self.serve(*options)
        stored: Counter[str] = Counter()
        for turn in range(10):
            client = self.client("send", "tree")
            server.wait_for_written(chance.randrange(10_000, 3_000_000))
            # What waits in sockets reaches the server when its client has gone, so that is done less often.
            if turn in (2, 5, 8):
                number = signal.SIGINT if turn == 5 else signal.SIGKILL
                client.kill(number)
                self.assertEqual(client.wait(), 130 if turn == 5 else -signal.SIGKILL)
                # The server writes what has come.
                server.wait_for("; it broke off")
            else:
                server.kill()
                self.assertEqual((client.wait(), server.wait()), (4, -signal.SIGKILL), client.errors[-12:])
                server = self.serve(*options)
            stored.update(client.stored)
        client = self.client("send", "tree")
        self.assertEqual((client.wait(), client.errors), (0, []))
        stored.update(client.stored)
        self.assertEqual(self.differences("place/username/tree"), [])
        self.assertEqual([name for name, times in stored.items() if times > 1], [])
        fetched = self.client("get", "tree", "there")
        self.assertEqual((fetched.wait(), fetched.errors), (0, []))
        self.assertEqual(self.differences("there/tree"), [])

    def differences(self, copied: str) -> list[str]:
        """How a copy differs from the tree, as we see it and as ``diff`` does."""
        command = ["diff", "-r", "tree", copied]
        seen = subprocess.run(command, cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
        return [*differences(self.path("tree"), self.path(copied)), *seen.decode("utf-8", "replace").splitlines()]
