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

from twisted.trial.unittest import SkipTest

from ...processes import PUBLIC, SECRET, ProcessTestCase, wait_until
from .forked import Forked, forking
from .trees import differences, files_below, make_tree


class FilesTestCase(ProcessTestCase):
    """Starts servers that keep files, and clients of the last one."""

    def start(self, program: str, *arguments: str, without_rights: bool = False, largest_file: int = 0) -> Forked:
        """Start a program, see :meth:`Forking.start`. It ends with the test."""
        started = forking().start(
            self.directory, program, *arguments, without_rights=without_rights, largest_file=largest_file
        )
        self.addCleanup(started.wait)
        self.addCleanup(started.kill)
        return started

    def serve(self, *options: str, without_rights: bool = False, largest_file: int = 0) -> Forked:
        """
        Start a server.

        :param without_rights: see :meth:`start`.
        :param largest_file: the same.
        """
        command = ["-n", "--pidfile=", "sodium", "--key", SECRET, "--endpoint", "tcp:0:interface=127.0.0.1"]
        server = self.start("twistd", *command, *options, without_rights=without_rights, largest_file=largest_file)
        where = re.search(r"127\.0\.0\.1:(\d+)", server.wait_for("listening on 127.0.0.1:"))
        assert where is not None
        self.endpoint = f"tcp:{where[0]}"
        return server

    def client(self, command: str, *arguments: str) -> Forked:
        """Start a client's command."""
        return self.start("sodiumtwist", command, "--key", PUBLIC, "--endpoint", self.endpoint, *arguments)

    def write(self, name: str, data: bytes) -> None:
        """Make a file, and the folders above it."""
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as file:
            file.write(data)

    def files(self, name: str) -> dict[str, bytes]:
        """What is in all files of a folder, those with temporary names among them, by their paths in it."""
        found = (os.fsdecode(path) for path, _ in files_below(self.path(name)))
        return {path: self.read(os.path.join(name, path)) for path in found}


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
            client = self.client("send", "--json", "tree")
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
        client = self.client("send", "--json", "tree")
        self.assertEqual((client.wait(), client.errors), (0, []))
        stored.update(client.stored)
        self.assertEqual(self.differences("place/username/tree"), [])
        self.assertEqual([name for name, times in stored.items() if times > 1], [])
        fetched = self.client("get", "tree", "there")
        self.assertEqual((fetched.wait(), fetched.errors), (0, []))
        self.assertEqual(self.differences("there/tree"), [])

    def test_within_a_file(self) -> None:
        """Of a large file that was broken off, what is missing goes, and nothing else."""
        self.make_file("large", 60_000_000)
        server = self.serve("--directory", "place")
        client = self.client("send", "large")
        server.wait_for_written(5_000_000)
        server.kill()
        self.assertEqual(client.wait(), 4)
        self.assert_one_line(client.errors, "; the same command goes on from there$")
        (partial,) = os.listdir(self.path("place", "username"))
        there = os.stat(self.path("place", "username", partial)).st_size
        self.assertTrue(0 < there < 60_000_000, there)
        self.serve("--directory", "place")
        client = self.client("send", "--json", "large")
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertEqual(client.events[-1]["bytes"], 60_000_000 - there)
        self.assertTrue(self.read("place/username/large") == self.read("large"))
        self.assertEqual(os.listdir(self.path("place", "username")), ["large"])

    def differences(self, copied: str) -> list[str]:
        """How a copy differs from the tree, as we see it and as ``diff`` does."""
        command = ["diff", "-r", "tree", copied]
        seen = subprocess.run(command, cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
        return [*differences(self.path("tree"), self.path(copied)), *seen.decode("utf-8", "replace").splitlines()]


class RoomTests(FilesTestCase):
    """Where there is room for a part of the files, that part is stored, and the others are named."""

    def test_full_disk(self) -> None:
        """The disk is full in the middle: of a file that does not fit nothing is left, and smaller ones go on."""
        os.mkdir(self.path("disk"))
        mounting = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", self.path("disk")]
        limit = 0
        if subprocess.run(mounting, stderr=subprocess.DEVNULL).returncode:
            # Who may not mount limits the files of the server instead: the system refuses to write on in the middle.
            limit = 1_500_000
        else:
            self.addCleanup(subprocess.run, ["umount", "-l", self.path("disk")], check=True)
        sizes = {"a": 10, "b": 1_400_000, "c": 2_000_000, "d": 20, "e": 100_000}
        files = {name: os.urandom(size) for name, size in sizes.items()}
        for name, data in files.items():
            self.write(f"tree/{name}", data)
        self.serve("--directory", "disk/place", "--min-free", "0", largest_file=limit)
        client = self.client("send", "tree")
        self.assertEqual(client.wait(), 5)
        del files["c"]
        self.assertEqual(self.files("disk/place/username/tree"), files)
        self.assert_one_line(client.errors, "^sodiumtwist: .*tree/c.*: .*")
        self.assert_one_line(client.lines(), r"^sent 4 files, .* 1 file failed$")

    def test_quota(self) -> None:
        """A login has its quota, which its files take up in all sessions."""
        self.serve("--directory", "place", "--quota", "1M")
        files = {name: os.urandom(size) for name, size in {"a": 400_000, "b": 500_000, "c": 300_000, "d": 5}.items()}
        for name, data in files.items():
            self.write(f"tree/{name}", data)
        del files["c"]
        for _ in range(2):
            client = self.client("send", "tree")
            self.assertEqual(client.wait(), 5)
            self.assert_one_line(client.errors, "^sodiumtwist: .*tree/c.*quota")
            self.assertEqual(self.files("place/username/tree"), files)

    def test_no_rights(self) -> None:
        """A server that may not write into the folder says so for each file, and serves on."""
        os.makedirs(self.path("place", "username"), 0o700)
        self.write("tree/a", b"a")
        os.chmod(self.path("place", "username"), 0o500)
        server = self.serve("--directory", "place", without_rights=True)
        client = self.client("send", "tree")
        self.assertEqual(client.wait(), 5)
        for line in client.errors:
            self.assertNotIn(self.directory, line)
        self.assertTrue([line for line in client.errors if "tree" in line], client.errors)
        os.chmod(self.path("place", "username"), 0o700)
        client = self.client("send", "tree")
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertEqual(self.files("place/username"), {"tree/a": b"a"})
        self.assertFalse(server.ended)


class MeetingTests(FilesTestCase):
    """Things that happen at the same time, at one server."""

    def setUp(self) -> None:
        super().setUp()
        self.serve("--directory", "place", "--no-sync")

    def test_same_name(self) -> None:
        """Two clients that send files of one name at once each have theirs stored whole."""
        sent = [os.urandom(2_000_000) for _ in range(2)]
        for number, data in enumerate(sent):
            self.write(f"{number}/x", data)
        clients = [self.client("send", f"{number}/x") for number in range(2)]
        for client in clients:
            self.assertEqual((client.wait(), client.errors), (0, []))
        stored = self.files("place/username")
        self.assertEqual(sorted(stored), ["x", "x.1"])
        self.assertEqual(sorted(stored.values()), sorted(sent))

    def test_holes(self) -> None:
        """Of a file of 5 GiB with 3 MB in it, 3 MB are sent and stored, and its holes stay holes."""
        size, pieces = 5 << 30, {0: b"begin", 3 << 30: os.urandom(3_000_000), (5 << 30) - 1: b"e"}
        with open(self.path("sparse"), "wb") as file:
            for offset, data in pieces.items():
                file.seek(offset)
                file.write(data)
        if os.stat(self.path("sparse")).st_blocks * 512 > 100_000_000:
            raise SkipTest("this file system has no holes")
        client = self.client("send", "sparse")
        self.assertEqual((client.wait(), client.errors), (0, []))
        path = self.path("place", "username", "sparse")
        self.assertEqual(os.stat(path).st_size, size)
        self.assertLess(os.stat(path).st_blocks * 512, 10_000_000)
        with open(path, "rb") as file:
            for offset, data in pieces.items():
                file.seek(offset)
                self.assertEqual(file.read(len(data)), data)
            file.seek(2 << 30)
            self.assertEqual(file.read(1_000_000), bytes(1_000_000))

    def test_link_swapped_in(self) -> None:
        """A link that somebody puts where a folder was, while files for it are on their way, leads nowhere."""
        os.mkdir(self.path("outside"))
        self.write("tree/a", os.urandom(30_000_000))
        for number in range(50):
            self.write(f"tree/folder/{number}", b"inside")
        client = self.client("send", "tree")
        folder = self.path("place", "username", "tree", "folder")
        wait_until(lambda: os.path.isdir(folder), "the folder")
        os.rename(folder, f"{folder} was here")
        os.symlink(self.path("outside"), folder)
        status = client.wait()
        self.assertEqual(os.listdir(self.path("outside")), [])
        # What was confirmed before that is in the folder that was moved. All else is refused by name, wherever it is.
        inside = self.files("place/username/tree/folder was here")
        self.assertEqual(set(inside.values()) - {b"inside"}, set())
        refused = [line for line in client.errors if re.search("tree/folder/.*a link is there", line)]
        self.assertEqual((status, len(refused) > 0), (5, True) if len(inside) < 50 or refused else (0, False))
        client = self.client("send", "tree")
        self.assertEqual(client.wait(), 5)
        self.assertIn("a link", "".join(client.errors))
        self.assertEqual(os.listdir(self.path("outside")), [])
