"""
What the options of ``twistd sodium`` about files do to clients: from the command line to what is on the disk, in this
process and over loopback.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor

from sodiumtwist import SingleLogin
from sodiumtwist.programs.places import open_places
from sodiumtwist.programs.tap import Options
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.tree.names import login_folder

from ..pair import LOGIN, PASSPHRASE, SERVER_PAIR
from .test_files import FilesTestCase


class ServedFilesTests(FilesTestCase):
    """Each option, as a client meets it."""

    def start(self, *arguments: str) -> None:
        """Start a server with options about files. It syncs nothing."""
        options = Options()
        options.parseOptions(["--no-sync", *arguments])
        places = open_places(reactor, options.settings)
        checker = SingleLogin(LOGIN, PASSPHRASE)
        self.server = UploadFactory(places.store, SERVER_PAIR, checker, files=places.files)
        # Its type knows no factory of Twisted whose protocols have one of ours.
        port: Any = cast(Any, reactor).listenTCP(0, self.server, interface="127.0.0.1")
        self.endpoint = f"tcp:127.0.0.1:{port.getHost().port}"
        self.addCleanup(self.stop, port)

    def kept(self, where: str = "up") -> dict[str, int]:
        """The sizes of what is in the client's folder."""
        folder = Path(where) / login_folder(LOGIN)
        return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}

    async def test_quota(self) -> None:
        """What is too much fails by name, and leaves nothing; what fits beside it is stored, also later."""
        self.start("--directory", "up", "--quota", "300K")
        for name, size in (("a", 200_000), ("b", 200_000), ("c", 10_000), ("d", 97_200), ("e", 1)):
            Path(name).write_bytes(b"x" * size)
        self.assertEqual(await self.send("a", "b", "c"), 5)
        self.assert_line(self.errors, r"\bb: the disk quota is used up$")
        self.assertEqual(self.kept(), {"a": 200_000, "c": 10_000})
        # All of it is used up by that.
        self.assertEqual(await self.send("d"), 0)
        self.assertEqual(await self.send("e"), 5)
        # What somebody has taken away is noticed.
        (Path("up") / login_folder(LOGIN) / "a").unlink()
        self.assertEqual(await self.send("b", "e"), 5)
        self.assert_line(self.errors, r"\be: the disk quota is used up$")

    async def test_existing(self) -> None:
        """A name that is taken, by each of the rules."""
        for existing, status, kept in [
            ("rename", 0, {"a": 3, "a.1": 5}),
            ("replace", 0, {"a": 5}),
            ("refuse", 5, {"a": 3}),
        ]:
            self.start("--directory", existing, "--existing", existing)
            for content in (b"one", b"three"):
                Path("a").write_bytes(content)
                self.assertEqual(await self.send("a"), 0 if content == b"one" else status)
            self.assertEqual(self.kept(existing), kept)

    async def test_own_folder(self) -> None:
        """With --share-per-login a client gets what is its own, and has no way to what is not."""
        self.start("--directory", "up", "--share", "up", "--share-per-login")
        os.mkdir("up/other")
        Path("up/other/secret").write_bytes(b"secret")
        Path("a").write_bytes(b"mine")
        self.assertEqual(await self.send("a"), 0)
        self.assertEqual(await self.listed(), 0)
        self.assert_line(self.lines, r" a$")
        self.assertEqual(await self.get(b"a"), 0)
        self.assertEqual(Path("into/a").read_bytes(), b"mine")
        os.symlink("../other/secret", f"up/{login_folder(LOGIN)}/link")
        for remote in (b"../other/secret", b"other/secret", b"/etc/passwd", b"link"):
            self.assertNotEqual(await self.get(remote), 0)
        self.assertEqual(os.listdir("into"), ["a"])

    async def test_share_for_all(self) -> None:
        """With --share alone all that is in it is for all, and nothing is taken."""
        os.mkdir("pub")
        Path("pub/a").write_bytes(b"for all")
        self.start("--share", "pub")
        self.assertEqual(await self.get(b"a"), 0)
        self.assertEqual(Path("into/a").read_bytes(), b"for all")
        self.assertNotEqual(await self.send("into/a"), 0)
        self.assert_line(self.errors, "this server takes no files")
        self.assertEqual(os.listdir("pub"), ["a"])

    async def test_floor(self) -> None:
        """Where too little would stay free, nothing is stored."""
        self.start("--directory", "up", "--min-free", "1000000T")
        Path("a").write_bytes(b"x")
        self.assertEqual(await self.send("a"), 5)
        self.assert_line(self.errors, r"\ba: the disk is full$")
        self.assertEqual(self.kept(), {})

    async def test_too_large(self) -> None:
        """A file above --max-upload is refused before it is sent."""
        self.start("--directory", "up", "--max-upload", "1K")
        for name, size in (("a", 1024), ("b", 1025)):
            Path(name).write_bytes(b"x" * size)
        self.assertEqual(await self.send("a", "b"), 5)
        self.assert_line(self.errors, r"\bb: it is larger than 1 KiB$")
        self.assertEqual(self.kept(), {"a": 1024})
