"""
``send``, ``get`` and ``list`` by version 2, in this process and over loopback, from the settings to the last line.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from sodiumtwist import SingleLogin
from sodiumtwist.programs import files, output, sessions, streams
from sodiumtwist.programs.exits import CommandFailed
from sodiumtwist.programs.settings import Credentials, GetSettings, ListSettings, SendSettings
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.stores import DirectoryStore, FileStore, Store
from sodiumtwist.transfer.tree import folders
from sodiumtwist.transfer.tree.client import FileClient
from sodiumtwist.transfer.tree.place import Files

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR
from .test_output import Broken

US = Credentials(LOGIN, PASSPHRASE, False, None)

#: A name that is not UTF-8, and how it is told.
ODD, ODD_SHOWN = b"odd\xff", r"odd\xff"


class FilesTestCase(TestCase):
    """
    Has a folder of its own, which is the current one, and a server that stores files in ``up``.

    :ivar lines: of standard output.
    :ivar errors: of standard error, as the last command has left them.
    :ivar full: whether standard output takes nothing.
    """

    full = False

    def setUp(self) -> None:
        where = os.path.realpath(self.mktemp())
        os.mkdir(where)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(where)
        self.lines: list[str] = []
        self.errors: list[str] = []

    def serve(self, store: Store | None = None, **keywords: Any) -> None:
        """Start a server; it keeps files in ``up`` unless a store is given, and ``keywords`` are of :class:`Files`."""
        if store is None:
            store = DirectoryStore("up")
            keywords = {"directory": os.path.realpath("up"), "sync": False, **keywords}
        self.server = UploadFactory(store, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), files=Files(**keywords))
        # Its type knows no factory of Twisted whose protocols have one of ours.
        port: Any = cast(Any, reactor).listenTCP(0, self.server, interface="127.0.0.1")
        self.endpoint = f"tcp:127.0.0.1:{port.getHost().port}"
        self.addCleanup(self.stop, port)

    async def _gone(self) -> None:
        while self.server.connections or self.server.receiving:
            await deferLater(reactor, 0.001)

    def stop(self, port: Any) -> Deferred[None]:
        port.stopListening()
        return ensureDeferred(self._gone())

    @property
    def mine(self) -> Path:
        """Where our files are on the server."""
        (folder,) = Path("up").iterdir()
        return folder

    def call(self, command: Callable[[Any, Any], Coroutine[Any, Any, None]], settings: Any) -> Deferred[int]:
        """Run a command; fires with its status."""

        async def calling() -> int:
            printed = Broken(errno.ENOSPC) if self.full else io.StringIO()
            errors, status = io.StringIO(), 0
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
                try:
                    await command(reactor, settings)
                except CommandFailed as failed:
                    status = failed.status
                    if str(failed):
                        print(failed, file=sys.stderr)
            self.lines = printed.getvalue().splitlines()
            self.errors = errors.getvalue().splitlines()
            return status

        return ensureDeferred(calling())

    def send(self, *paths: str, **keywords: Any) -> Deferred[int]:
        settings = SendSettings(self.endpoint, SERVER_PAIR.public, US, 2, paths, **keywords)
        return self.call(files.send, settings)

    def get(self, *remotes: bytes, into: str = "into", **keywords: Any) -> Deferred[int]:
        settings = GetSettings(self.endpoint, SERVER_PAIR.public, US, 2, remotes, into, **keywords)
        return self.call(files.get, settings)

    def listed(self, remote: bytes = b"", **keywords: Any) -> Deferred[int]:
        return self.call(files.list_files, ListSettings(self.endpoint, SERVER_PAIR.public, US, 2, remote, **keywords))

    def make_tree(self) -> None:
        """Make a folder with a few files, one of them with an odd name."""
        os.makedirs("photos/deep/empty")
        for path, content in (("photos/a", b"a" * 100_000), ("photos/deep/b", b"bb"), ("photos/none", b"")):
            Path(path).write_bytes(content)
        Path(os.fsdecode(b"photos/" + ODD)).write_bytes(b"odd")

    def assert_same(self, one: Path, other: Path) -> None:
        """Check that two trees have the same names, contents and times."""
        self.assertEqual(*(sorted(os.listdir(os.fsencode(folder))) for folder in (one, other)))
        for each in one.iterdir():
            there = other / each.name
            if each.is_dir():
                self.assert_same(each, there)
            else:
                self.assertEqual(each.read_bytes(), there.read_bytes())
            self.assertEqual(each.stat().st_mtime_ns, there.stat().st_mtime_ns, each)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def assert_line(self, lines: Sequence[str], pattern: str) -> None:
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], pattern)


class SendTests(FilesTestCase):
    """``sodiumtwist send``"""

    async def test_tree(self) -> None:
        """A folder and a file beside it arrive under their names; sent again, all is there."""
        self.serve()
        self.make_tree()
        Path("notes").write_bytes(b"n")
        self.assertEqual(await self.send("photos", "notes"), 0)
        self.assert_line(self.lines, r"^sent 5 files, 100.0 kB in \d+\.\d{3} s \([\d.]+ [kMG]?B/s\)$")
        self.assertEqual(self.errors, [])
        self.assert_same(Path("photos"), self.mine / "photos")
        self.assertEqual(await self.send("photos/", "./notes"), 0)
        self.assert_line(self.lines, r"^sent 0 files, 0 B in .*; 5 files were there already$")

    async def test_verbose(self) -> None:
        """A line for each; what is not followed is told."""
        self.serve()
        self.make_tree()
        os.symlink("a", "photos/link")
        os.mkfifo("photos/pipe")
        self.assertEqual(await self.send("photos", verbose=True), 0)
        self.assertEqual(
            sorted(self.lines[:-1]),
            [
                "stored photos/a (100.0 kB)",
                "stored photos/deep/b (2 B)",
                "stored photos/none (0 B)",
                f"stored photos/{ODD_SHOWN} (3 B)",
            ],
        )
        self.assertRegex(self.lines[-1], "; 1 link and 1 other were left out$")
        self.assertEqual(
            sorted(self.errors),
            [
                "sodiumtwist: left out photos/link: a link, which is not followed",
                "sodiumtwist: left out photos/pipe: a device, a socket or the like",
            ],
        )

    async def test_link_on_the_command_line(self) -> None:
        """What the user has named is followed, under the name of the link."""
        self.serve()
        self.make_tree()
        os.symlink("photos", "album")
        self.assertEqual(await self.send("album"), 0)
        self.assert_same(Path("photos"), self.mine / "album")

    async def test_new_name(self) -> None:
        """Another file of that name stays; the new name is told."""
        self.serve()
        for content in (b"one", b"three"):
            Path("in").write_bytes(content)
            self.assertEqual(await self.send("in"), 0)
        self.assert_line(self.lines, r"; stored as in\.1$")
        self.assertEqual((self.mine / "in.1").read_bytes(), b"three")

    async def test_json(self) -> None:
        """An object for each file, with its digest, and the sum at the end."""
        self.serve()
        self.make_tree()
        self.assertEqual(await self.send("photos", json=True), 0)
        *told, summary = self.events()
        self.assertEqual({event["event"] for event in told}, {"file"})
        by_name = {event["name"]: event for event in told}
        odd = by_name[f"photos/{ODD_SHOWN}"]
        self.assertEqual(base64.b64decode(odd["name_base64"]), b"photos/" + ODD)
        self.assertEqual((odd["bytes"], odd["outcome"], odd["stored_as"]), (3, "stored", odd["name"]))
        self.assertRegex(odd["digest"], "^[0-9a-f]{64}$")
        self.assertEqual((summary["event"], summary["files"], summary["bytes"]), ("summary", 4, 100_005))
        self.assertEqual((summary["stored"], summary["grown"], summary["protocol"]), (True, 0, 2))
        self.assertGreater(summary["bytes_per_second"], 0)

    async def test_dry_run(self) -> None:
        """What would go is told, and nothing is made."""
        self.serve()
        Path("in").write_bytes(b"12345")
        self.assertEqual(await self.send("in", dry_run=True), 0)
        self.assertEqual(self.lines, ["would send in (5 B)", "would send 1 file, 5 B"])
        self.assertEqual(os.listdir("up"), [])

    async def test_missing(self) -> None:
        """One that is not there is told, the others are sent, and the status says so; without any, nothing begins."""
        self.serve()
        Path("in").write_bytes(b"12345")
        self.assertEqual(await self.send("gone", "in"), 5)
        self.assertEqual(self.errors, ["sodiumtwist: cannot read gone: No such file or directory"])
        self.assert_line(self.lines, "^sent 1 file, 5 B in .*; 1 file failed$")
        self.assertEqual(await self.send("gone", "lost"), 1)
        self.assertEqual(
            self.errors,
            ["sodiumtwist: cannot read gone: No such file or directory", "cannot read lost: No such file or directory"],
        )
        self.assertEqual(self.lines, [])

    async def test_refused(self) -> None:
        """Each file that the server refuses is named, the others are stored."""
        self.serve(max_size=10)
        os.mkdir("in")
        Path("in/large").write_bytes(b"1" * 11)
        Path("in/small").write_bytes(b"1")
        self.assertEqual(await self.send("in", json=True), 5)
        (error,) = (event for event in self.events() if event["event"] == "error")
        self.assertEqual(error["name"], "in/large")
        self.assert_line(self.errors, "^sodiumtwist: (refused|failed) in/large: ")
        self.assertEqual((self.events()[-1]["stored"], self.events()[-1]["failed"]), (False, 1))
        self.assertEqual(os.listdir(self.mine / "in"), ["small"])

    async def test_fifo(self) -> None:
        """It goes alone, without a name unless it is given one."""
        self.serve()
        os.mkfifo("pipe")
        Path("in").write_bytes(b"1")
        self.assertEqual(await self.send("pipe", "in"), 1)
        self.assert_line(self.errors, "^pipe is no file and no folder; such goes alone$")
        for keywords, pattern in (({"name": "stream"}, r"^sent 1 file, 5 B in [^;]*$"), ({}, "; stored as 20")):
            sending = self.send("pipe", **keywords)
            with open("pipe", "wb") as pipe:
                pipe.write(b"12345")
            self.assertEqual(await sending, 0)
            self.assert_line(self.lines, pattern)
        self.assertEqual((self.mine / "stream").read_bytes(), b"12345")

    async def test_sizes_that_are_no_sizes(self) -> None:
        """A file of the system has more in it than its size says."""
        self.serve()
        self.assertEqual(await self.send("/proc/self/cmdline"), 0)
        self.assertGreater(len((self.mine / "cmdline").read_bytes()), 0)

    async def test_not_let_in(self) -> None:
        """The line of the failure is an object, too, and behind it is the sum."""
        self.serve()
        Path("in").write_bytes(b"1")
        wrong = Credentials(LOGIN, "wrong", False, SERVER_PAIR)
        settings = SendSettings(self.endpoint, SERVER_PAIR.public, wrong, 2, ("in",), json=True)
        self.assertEqual(await self.call(files.send, settings), 3)
        self.assert_line(self.errors, "^refused by tcp:.*login, passphrase or key refused$")
        error, summary = self.events()
        self.assertEqual((error["event"], error["status"], error["text"]), ("error", 3, self.errors[0]))
        self.assertEqual((summary["event"], summary["stored"], summary["files"]), ("summary", False, 0))

    async def assert_goes_on(self, end: Callable[[Deferred[int]], object], status: int, line: str) -> None:
        """Send a large file, end that in the middle, and send the rest."""
        self.serve()
        size = 24 * 1024 * 1024
        Path("in").write_bytes(os.urandom(1024 * 1024) * 24)
        sending = self.send("in")
        while not (os.listdir("up") and sum(each.stat().st_size for each in self.mine.iterdir())):
            await deferLater(reactor, 0.001)
        end(sending)
        self.assertEqual(await sending, status)
        self.assert_line(self.errors, line)
        self.assertEqual(self.lines, [])
        await self._gone()
        self.assertEqual(await self.send("in", json=True), 0)
        self.assertLess(self.events()[-1]["bytes"], size)
        self.assertTrue((self.mine / "in").read_bytes() == Path("in").read_bytes())

    async def test_interrupted(self) -> None:
        """Ctrl-C: one line, which says that the same command goes on; then it does."""
        line = r"^interrupted, 0 files and [\d.]+ k?M?B stored; the same command goes on from there$"
        await self.assert_goes_on(lambda sending: sending.cancel(), 130, line)

    async def test_server_goes(self) -> None:
        """So it is when the server goes away."""

        def abort(sending: Deferred[int]) -> None:
            for connection in self.server.connections:
                connection.abort()

        line = r"^broken on the way, 0 files and [\d.]+ k?M?B stored: .*; the same command goes on from there$"
        await self.assert_goes_on(abort, 4, line)

    async def test_interrupted_early(self) -> None:
        """Before it is let in, nothing can have come."""
        self.serve()
        Path("in").write_bytes(b"1")
        sending = self.send("in")
        sending.cancel()
        self.assertEqual(await sending, 130)
        self.assert_line(self.errors, "^interrupted, 0 files and 0 B stored$")

    async def test_interrupted_stream(self) -> None:
        """Of a stream, the part that has come is not kept, and nothing is promised."""
        self.serve()
        os.mkfifo("pipe")
        sending = self.send("pipe")
        with open("pipe", "wb") as pipe:
            pipe.write(b"1" * 1000)
            pipe.flush()
            while not (os.listdir("up") and os.listdir(self.mine)):
                await deferLater(reactor, 0.001)
            sending.cancel()
            self.assertEqual(await sending, 130)
        self.assert_line(self.errors, r"^interrupted, 0 files and [\d.]+ k?M?B stored$")

    async def test_names_as_they_are(self) -> None:
        """On the command line, too, a name need not be UTF-8."""
        self.serve()
        path = os.fsdecode(ODD)
        Path(path).write_bytes(b"odd")
        self.assertEqual(await self.send(path), 0)
        self.assertEqual(os.listdir(os.fsencode(self.mine)), [ODD])
        os.unlink(path)
        self.assertEqual(await self.send(path), 1)
        self.assertEqual(len(self.errors), 1)

    async def test_disk_fails_at_the_end(self) -> None:
        """The disk does not take the name of a folder: not all is stored. Another status is of a stream alone."""

        def fail(fd: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        os.makedirs("photos/empty")
        self.serve(sync=True)
        self.patch(folders, "sync_if_possible", fail)
        self.assertEqual(await self.send("photos"), 5)
        self.assert_line(self.errors, "^refused by .*: Input/output error$")


class StreamTests(FilesTestCase):
    """Servers that do not keep files under their names."""

    async def test_one_file(self) -> None:
        """It is sent as one stream, over the same connection."""
        self.serve(FileStore("out"))
        Path("in").write_bytes(b"12345" * 100_000)
        self.assertEqual(await self.send("in"), 0)
        self.assert_line(self.lines, r"^sent 500.0 kB in \d+\.\d+ s \([\d.]+ [kMG]?B/s\)$")
        self.assertEqual(Path("out").read_bytes(), Path("in").read_bytes())
        os.mkfifo("pipe")
        sending = self.send("pipe", json=True)
        with open("pipe", "wb") as pipe:
            pipe.write(b"abc")
        self.assertEqual(await sending, 0)
        self.assertEqual(Path("out").read_bytes(), b"abc")
        (summary,) = self.events()
        self.assertEqual((summary["event"], summary["bytes"], summary["stored"]), ("summary", 3, True))

    async def test_interrupted(self) -> None:
        """What is acknowledged is told."""
        self.serve(FileStore("out"))
        os.mkfifo("pipe")
        sending = self.send("pipe")
        with open("pipe", "wb"):
            while not self.server.receiving:
                await deferLater(reactor, 0.001)
            sending.cancel()
            self.assertEqual(await sending, 130)
        self.assert_line(self.errors, "^interrupted, 0 B acknowledged$")
        await self._gone()
        self.assertEqual(os.listdir("."), ["pipe"])

    async def test_more(self) -> None:
        """Nothing is sent of what the server has no place for."""
        self.make_tree()
        Path("in").write_bytes(b"1")
        self.serve(FileStore("out"))
        for paths in (("photos",), ("in", "photos/a")):
            self.assertEqual(await self.send(*paths), 5)
            self.assert_line(
                self.errors,
                "^nothing was sent: this server stores one file at a time, and no folders; an archive is one: "
                r"tar c PATH[.]{3} \| sodiumtwist send … -$",
            )
        self.assertFalse(os.path.exists("out"))

    async def test_dry_run(self) -> None:
        """Nothing is sent."""
        Path("in").write_bytes(b"12")
        self.serve(FileStore("out"))
        self.assertEqual(await self.send("in", dry_run=True), 0)
        self.assertEqual(self.lines, ["would send in (2 B)", "would send 1 file, 2 B"])
        self.assertFalse(os.path.exists("out"))

    async def test_discarded(self) -> None:
        """The status says that nothing is kept, and so do the objects."""
        Path("in").write_bytes(b"12")
        self.serve(Store())
        self.assertEqual(await self.send("in", json=True), 5)
        self.assert_line(self.errors, "^acknowledged, but not stored: this server discards uploads$")
        error, summary = self.events()
        self.assertEqual((error["event"], error["status"]), ("error", 5))
        self.assertIs(summary["stored"], False)
        self.assertEqual(await self.send("in", dry_run=True), 5)
        self.assert_line(self.errors, "^nothing would be stored: this server discards uploads$")
        self.make_tree()
        self.assertEqual(await self.send("photos"), 5)
        self.assert_line(self.errors, "^nothing was sent: this server throws away what comes$")

    async def test_version_1(self) -> None:
        """It sends one file, as it always did, and its failures are objects, too."""
        self.serve()
        os.mkdir("photos")
        Path("in").write_bytes(b"12")
        settings = SendSettings(self.endpoint, SERVER_PAIR.public, US, 1, ("photos",), json=True)
        self.assertEqual(await self.call(streams.send, settings), 1)
        self.assert_line(
            self.errors,
            "^cannot read photos: Is a directory; --protocol 1 sends no folders; send an archive: tar c photos ",
        )
        self.assertEqual(self.events()[0]["status"], 1)
        settings = SendSettings(self.endpoint, SERVER_PAIR.public, US, 1, ("in",), json=True)
        self.assertEqual(await self.call(streams.send, settings), 0)
        self.assertEqual(self.events()[0]["protocol"], 1)
        (name,) = os.listdir("up")
        self.assertRegex(name, r"^\d{8}T\d{6}Z-")


class GetTests(FilesTestCase):
    """``sodiumtwist get`` and ``list``"""

    def serve_tree(self) -> None:
        os.mkdir("shared")
        os.chdir("shared")
        self.make_tree()
        os.chdir("..")
        self.serve(Store(), share=os.path.realpath("shared"))

    async def test_get(self) -> None:
        """A folder comes under its name, into one that is made; got again, all is there."""
        self.serve_tree()
        self.assertEqual(await self.get(b"photos", into="new/into"), 0)
        self.assert_line(self.lines, r"^got 4 files, 100.0 kB in \d+\.\d+ s \([\d.]+ [kMG]?B/s\), into new/into$")
        self.assert_same(Path("shared/photos"), Path("new/into/photos"))
        self.assertEqual(await self.get(b"photos", into="new/into"), 0)
        self.assert_line(self.lines, "^got 0 files, 0 B in .*; 4 files were there already$")
        self.assertEqual(await self.get(b"", into="all"), 0)
        self.assert_same(Path("shared"), Path("all"))

    async def test_part(self) -> None:
        """What is deep in a folder comes under its last name."""
        self.serve_tree()
        self.assertEqual(await self.get(b"photos/deep/b", b"photos/" + ODD, verbose=True), 0)
        self.assertEqual(sorted(os.listdir(b"into")), [b"b", ODD])
        self.assertEqual(sorted(self.lines[:-1]), ["stored b (2 B)", f"stored {ODD_SHOWN} (3 B)"])

    async def test_disk_fails_at_the_end(self) -> None:
        """Our disk does not take the name of a folder: not all is stored."""

        def fail(fd: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        os.makedirs("shared/photos/empty")
        self.serve(Store(), share=os.path.realpath("shared"))
        self.patch(folders, "sync_if_possible", fail)
        self.assertEqual(await self.get(b"photos"), 5)
        self.assert_line(self.errors, "^not all is stored, .*: Input/output error; the same command goes on")

    async def test_missing(self) -> None:
        """What is not there is told, and the rest comes."""
        self.serve_tree()
        os.symlink("a", "shared/photos/link")
        self.assertEqual(await self.get(b"photos", b"gone"), 5)
        self.assert_line(self.errors, "^sodiumtwist: cannot read gone: ")
        self.assert_line(self.lines, "^got 4 files, .*; 1 file failed; 1 link was left out$")

    async def test_unreadable_there(self) -> None:
        """What the server can't read is told and counted once."""
        self.serve_tree()
        os.makedirs("shared/photos/" + "d/" * 70)
        self.assertEqual(await self.get(b"photos"), 5)
        self.assertEqual(len(self.errors), 1, self.errors)
        self.assert_line(self.errors, "^sodiumtwist: cannot read photos/d/d/.*: ")
        self.assert_line(self.lines, "^got 4 files, .*; 1 file failed$")

    async def test_dry_run(self) -> None:
        """What would come is told, and no folder is made."""
        self.serve_tree()
        self.assertEqual(await self.get(b"photos", dry_run=True), 0)
        self.assertIn("would get photos/a (100.0 kB)", self.lines)
        self.assertEqual(self.lines[-1], "would get 4 files, 100.0 kB, into into")
        self.assertFalse(os.path.exists("into"))

    async def test_existing(self) -> None:
        """What is there stays, or is replaced, or has the new one refused."""
        self.serve_tree()
        os.mkdir("into")
        for existing, status, names in (("refuse", 5, ["a"]), ("rename", 0, ["a", "a.1"]), ("replace", 0, ["a"])):
            for name in os.listdir("into"):
                os.unlink(f"into/{name}")
            Path("into/a").write_bytes(b"other")
            self.assertEqual(await self.get(b"photos/a", existing=existing), status, existing)
            self.assertEqual(sorted(os.listdir("into")), names)
            self.assertEqual(Path("into/a").stat().st_size, 100_000 if existing == "replace" else 5)

    async def test_into_a_file(self) -> None:
        """It is no folder."""
        self.serve_tree()
        Path("into").write_bytes(b"")
        self.assertEqual(await self.get(b"photos"), 1)
        self.assert_line(self.errors, "^into is no folder; what is got goes into one, the last argument$")
        self.assertEqual(await self.get(b"photos", into="into/deep"), 1)
        self.assert_line(self.errors, "^cannot make the folder into/deep: Not a directory$")

    async def test_interrupted(self) -> None:
        """What has come is kept, and the same command goes on."""
        os.mkdir("shared")
        Path("shared/in").write_bytes(os.urandom(1024 * 1024) * 20)
        self.serve(Store(), share=os.path.realpath("shared"))
        getting = self.get(b"in")
        while not (os.path.isdir("into") and any(each.stat().st_size for each in Path("into").iterdir())):
            await deferLater(reactor, 0.001)
        getting.cancel()
        self.assertEqual(await getting, 130)
        self.assert_line(
            self.errors, r"^interrupted, 0 files and [\d.]+ k?M?B stored; the same command goes on from there$"
        )
        self.assertEqual(await self.get(b"in", json=True), 0)
        self.assertLess(self.events()[-1]["bytes"], 20 * 1024 * 1024)
        self.assertTrue(Path("into/in").read_bytes() == Path("shared/in").read_bytes())

    async def test_disk_hangs(self) -> None:
        """Whoever ends the command does not wait for it."""
        self.serve_tree()
        Path("into").write_bytes(b"")
        self.patch(sessions, "LEAVING", 0.001)
        # So it is as long as the disk works for what is over.
        self.patch(FileClient, "connection_lost", lambda client, reason: None)
        self.assertEqual(await self.get(b"photos"), 1)

    async def test_nothing_shared(self) -> None:
        """The server says so, and no folder is left behind."""
        self.serve()
        self.assertEqual(await self.get(b"photos", json=True), 3)
        self.assert_line(self.errors, "^refused by tcp:.*: this server shares no files$")
        self.assertEqual([event["event"] for event in self.events()], ["error", "summary"])
        self.assertEqual(await self.listed(), 3)
        self.assert_line(self.errors, "^refused by tcp:.*: this server shares no files$")

    async def test_list(self) -> None:
        """Bytes, time and name of each; of a file, its own."""
        self.serve_tree()
        self.assertEqual(await self.listed(b"photos"), 0)
        self.assertEqual([line.split()[-1] for line in self.lines], ["a", "deep/", "none", ODD_SHOWN])
        self.assertRegex(self.lines[0], r"^      100.0 kB  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  a$")
        self.assertRegex(self.lines[1], r"^             -  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  deep/$")
        self.assertEqual(await self.listed(b"photos/deep/b"), 0)
        self.assert_line(self.lines, "^ +2 .* b$")

    async def test_list_as_json(self) -> None:
        """An object for each."""
        self.serve_tree()
        self.assertEqual(await self.listed(b"photos", json=True), 0)
        events = self.events()
        self.assertEqual([event["kind"] for event in events], ["file", "folder", "file", "file"])
        self.assertEqual(base64.b64decode(events[-1]["name_base64"]), ODD)
        first = events[0]
        mtime = os.stat("shared/photos/a").st_mtime_ns
        self.assertEqual((first["event"], first["name"], first["bytes"]), ("entry", "a", 100_000))
        self.assertEqual((first["mtime_ns"], first["executable"]), (mtime, False))

    async def test_list_in_parts(self) -> None:
        """A large folder comes in parts, and is listed whole."""
        os.mkdir("shared")
        for number in range(1500):
            os.close(os.open(f"shared/{number:04}", os.O_CREAT))
        self.serve(Store(), share=os.path.realpath("shared"))
        self.assertEqual(await self.listed(), 0)
        self.assertEqual([line.split()[-1] for line in self.lines], [f"{number:04}" for number in range(1500)])

    async def test_list_what_is_not_there(self) -> None:
        """It is told."""
        self.serve_tree()
        self.assertEqual(await self.listed(b"gone", json=True), 5)
        self.assert_line(self.errors, "^cannot read gone: ")
        self.assertEqual(self.events()[0]["status"], 5)

    async def test_output_lost(self) -> None:
        """What was got is there, whatever becomes of the last line. To list does nothing else: it ends."""
        self.serve_tree()
        self.patch(output, "discard_standard_output", lambda: None)
        self.full = True
        self.assertEqual(await self.get(b"photos"), 0)
        self.assert_same(Path("shared/photos"), Path("into/photos"))
        self.assert_line(self.errors, "^sodiumtwist: warning: standard output: No space left on device; ")
        self.assertEqual(await self.listed(), 6)

    def test_times(self) -> None:
        """Any time that a server may tell is shown, or that it can't be."""
        self.assertRegex(files.time_of(0), r"^19(70-01-01|69-12-31) \d\d:\d\d:\d\d$")
        for mtime in (-(1 << 63), (1 << 63) - 1):
            self.assertRegex(files.time_of(mtime), r"^\d{4}-\d\d-\d\d|\?$")
