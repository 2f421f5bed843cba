"""
What ``twistd sodium`` does with files: where they go, how much of them, and which are offered.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
import time
from typing import Any
from unittest import skipIf

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.python import usage

from sodiumtwist.programs import places, services
from sodiumtwist.programs.leftovers import PARTIAL_AGE
from sodiumtwist.programs.services import UploadService
from sodiumtwist.programs.shown_commands import get_command, list_command, send_command
from sodiumtwist.programs.tap import Options, makeService
from sodiumtwist.protocol.draining import DRAIN_TIMEOUT
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.stores import ClosedStore
from sodiumtwist.transfer.tree.names import temporary_name
from sodiumtwist.transfer.tree.on_stored import ON_STORED_SECONDS
from sodiumtwist.transfer.tree.place import Files

from ..logs import logged
from ..processes import PUBLIC, SECRET
from ..threads import HereAndNow
from .test_tap import TapTestCase, only


class PlaceOptionsTests(TapTestCase):
    """The options about files."""

    def test_defaults(self) -> None:
        """What is not said."""
        settings = self.parse("--directory", "up").settings
        self.assertEqual(
            (settings.existing, settings.quota, settings.share, settings.on_stored), ("rename",) + (None,) * 3
        )
        self.assertEqual((settings.share_per_login, settings.partial_age), (False, PARTIAL_AGE))
        self.assertEqual(settings.on_stored_seconds, ON_STORED_SECONDS)

    def test_given(self) -> None:
        """What is said."""
        settings = self.parse(
            *("--directory", "up", "--existing", "refuse", "--quota", "10G", "--share", "pub", "--share-per-login"),
            *("--on-stored", "true 'a b'", "--limit", "partial-age=3.5", "--limit", "on-stored-seconds=2"),
        ).settings
        self.assertEqual((settings.directory, settings.existing, settings.quota), ("up", "refuse", 10 << 30))
        self.assertEqual((settings.share, settings.share_per_login), ("pub", True))
        assert settings.on_stored is not None
        program, *words = settings.on_stored
        self.assertTrue(os.path.isabs(program))
        self.assertEqual((os.path.basename(program), words), ("true", ["a b"]))
        self.assertEqual((settings.partial_age, settings.on_stored_seconds), (3.5, 2))

    def test_together(self) -> None:
        """--share stands alone or beside a place for uploads."""
        for arguments in (
            ["--share", "pub"],
            ["--share", "pub", "--directory", "up"],
            ["--share", "pub", "--file", "out"],
            ["--share", "pub", "--discard"],
            ["--share", "up", "--directory", "up", "--share-per-login"],
        ):
            self.parse(*arguments)

    def test_mistakes(self) -> None:
        """Each is one line."""
        for arguments, line in [
            (["--share", "pub", "--forward", "tcp:h:1"], "--share and --forward exclude each other; give one"),
            (["--directory", "up", "--discard"], "--directory and --discard exclude each other; give one"),
            (["--file", "out", "--existing", "rename"], "--existing goes with --directory"),
            (["--share", "pub", "--quota", "1G"], "--quota goes with --directory"),
            (["--directory", "up", "--quota", "0"], "--quota takes a size from 1, such as 500M or 10G, not '0'"),
            (["--directory", "up", "--quota", "much"], "--quota takes a size from 1"),
            (["--directory", "up", "--existing", "keep"], "--existing takes rename, replace or refuse, not 'keep'"),
            (["--directory", "up", "--share-per-login"], "--share-per-login goes with --share"),
            (["--discard", "--on-stored", "true"], "--on-stored goes with --directory or --file"),
            (["--file", "-", "--on-stored", "true"], "--on-stored is for files, and standard output is none"),
            (["--directory", "up", "--on-stored", ""], "--on-stored: the command is empty"),
            (["--directory", "up", "--on-stored", "no-such-thing"], "there is no program 'no-such-thing'"),
            (
                ["--directory", "up", "--limit", "partial-age=-1"],
                "--limit partial-age= takes a number of seconds from 0",
            ),
            (["--directory", "up", "--limit", "partial-age=nan"], "--limit partial-age= takes"),
            (["--directory", "up", "--limit", "on-stored-seconds=0"], "seconds= takes a number of seconds over 0"),
            (["--share", "pub", "--protocol", "1"], "--share is for version 2, which --protocol 1 excludes"),
        ]:
            error = self.assertRaises(SystemExit, self.parse, *arguments)
            self.assertRegex(str(error), r"^sodium: [^\n]*; see twistd sodium --help$")
            self.assertIn(line, str(error))

    def test_nothing(self) -> None:
        """Without a place it does not start, and says all that there is."""
        error = self.assertRaises(SystemExit, Options().parseOptions, ["-k", SECRET])
        self.assertEqual(
            str(error),
            "sodium: nothing says where uploads go; give --directory, --file, --forward, or --discard to keep none, or "
            "--share alone to offer files and take none; see twistd sodium --help",
        )


class FakeOnStored:
    """
    What runs commands.

    :ivar is_idle: whether none runs.
    :ivar stopped: whether it was stopped.
    :ivar patience: for how long it was waited at most.
    """

    lines = None
    is_idle = False
    unfinished = 3
    stopped = False
    patience: float | None = None

    def finish(self, seconds: float) -> Deferred[None]:
        self.patience = seconds
        self.finished: Deferred[None] = Deferred()
        return succeed(None) if self.is_idle else self.finished

    def end(self) -> None:
        """The last one is over."""
        self.is_idle = True
        self.finished.callback(None)

    def stop(self) -> None:
        self.stopped = True


class PlacesTests(TapTestCase):
    """What is made of them."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = os.path.realpath(self.directory)
        self.patch(services, "DiskThread", HereAndNow)
        self.events = logged(self)

    def path(self, *names: str) -> str:
        return os.path.join(self.directory, *names)

    def make(self, *arguments: str) -> UploadService:
        self.reactor = MemoryReactorClock()
        service = makeService(self.parse("-k", SECRET, *arguments), self.reactor)
        assert isinstance(service, UploadService)
        return service

    def files(self, *arguments: str) -> Files:
        factory = self.make(*arguments)._factory
        assert isinstance(factory, UploadFactory)
        files: Files = factory.files
        return files

    def said(self) -> list[str]:
        said = [formatEvent(event) or "" for event in self.events]
        self.events.clear()
        return said

    def test_files(self) -> None:
        """The server's factory has what was asked for, with whole paths."""
        os.mkdir("pub")
        files = self.files(
            *("--directory", "up", "--existing", "replace", "--share", "pub", "--share-per-login", "--no-sync"),
            *("--max-upload", "5M"),
        )
        self.assertEqual((files.directory, files.existing), (self.path("up"), "replace"))
        self.assertEqual((files.share, files.share_per_login), (self.path("pub"), True))
        self.assertEqual((files.sync, files.max_size, files.on_stored), (False, 5 << 20, None))
        self.assertEqual(self.files("--file", "out"), Files())
        self.assertEqual(self.files("--share", "pub"), Files(share=self.path("pub")))
        # Each gets back what it has stored, from the first start on.
        self.assertEqual(self.files("--directory", "new", "--share", "new").share, self.path("new"))

    def test_room(self) -> None:
        """Quota and floor are asked for, each login for itself."""
        files = self.files("--directory", "up", "--quota", "1K", "--min-free", "0")
        assert files.room is not None
        take = files.room("ann")
        take(1024)
        self.assertRaises(OSError, take, 1)
        files.room("bob")(1024)
        files = self.files("--directory", "up", "--min-free", "1000000T")
        assert files.room is not None
        self.assertRaises(OSError, files.room("ann"), 1)

    def test_share_alone(self) -> None:
        """Nothing is thrown away: what comes is refused."""
        os.mkdir("pub")
        service = self.make("--share", "pub")
        assert isinstance(service._factory, UploadFactory)
        store = service._factory.store
        self.assertIsInstance(store, ClosedStore)
        self.assertEqual(service._factory.message, "Welcome.")
        self.failureResultOf(store.open("ann"), OSError)
        self.assertEqual(os.listdir("pub"), [])

    def test_bad_share(self) -> None:
        """What can't be shared is told at the start."""
        with open("file", "w"):
            pass
        for name, why in [
            ("missing", f"{self.path('missing')}: No such file or directory"),
            ("file", f"{self.path('file')}: it is no directory"),
        ]:
            error = self.assertRaises(SystemExit, self.make, "--share", name)
            self.assertEqual(str(error), f"sodium: cannot share {why}")

    def test_share_that_is_made(self) -> None:
        """The directory for uploads can be shared, also when it is made at this start."""
        service = self.make("--directory", "up", "--share", "up", "--share-per-login")
        assert isinstance(service._factory, UploadFactory)
        self.assertEqual(service._factory.files.share, self.path("up"))

    def test_unreadable_share(self) -> None:
        """Also what may not be read. Root may, so the system is not asked."""
        os.mkdir("pub")
        self.patch(places, "may", lambda path, what: False)
        error = self.assertRaises(SystemExit, self.make, "--share", "pub")
        self.assertEqual(str(error), f"sodium: cannot share {self.path('pub')}: may not read and enter it")

    def test_on_stored(self) -> None:
        """It hears of what is stored in either version; what is no file has none."""
        for place in ("--directory", "--file"):
            service = self.make(place, f"at{place}", "--on-stored", "true x", "--limit", "on-stored-seconds=7")
            assert isinstance(service._factory, UploadFactory)
            on_stored: Any = service._on_stored
            self.assertIs(service._factory.store.on_stored, on_stored)
            self.assertIs(service._factory.files.on_stored, on_stored)
            self.assertIs(on_stored.lines, service._factory.admission.lines.uploads)
            self.assertEqual((on_stored._words[1:], on_stored._seconds), (("x",), 7))
        os.mkfifo("fifo")
        for name in ("fifo", "/dev/null"):
            error = self.assertRaises(SystemExit, self.make, "--file", name, "--on-stored", "true")
            self.assertEqual(str(error), f"sodium: --on-stored is for files, and {name} is none")

    def test_announced(self) -> None:
        """The log tells what is kept where, and what is shared."""
        os.mkdir("pub")
        up, pub = self.path("up"), self.path("pub")
        kept = f"uploads go to the directory {up}"
        folders = "clients of version 2 have a folder each there, by their login; a file whose name is taken "
        for arguments, lines in [
            (["--directory", "up", "--protocol", "2"], [kept, f"{folders}gets a number behind its name"]),
            (["--directory", "up", "--existing", "replace"], [f"{folders}takes the place of that one"]),
            (["--directory", "up", "--existing", "refuse"], [f"{folders}is refused"]),
            (
                ["--directory", "up", "--quota", "1M"],
                [
                    "the folder of a login may have 1 MiB",
                    "uploads of version 1 count towards no quota; --protocol 2 takes none of them",
                ],
            ),
            (["--directory", "up", "--on-stored", f"{sys.executable} -c secret"], [f"this runs: {sys.executable}"]),
            (
                ["--share", "pub"],
                ["uploads go nowhere: they are refused", f"clients may get and list all that is in {pub}"],
            ),
            (
                ["--discard", "--share", "pub", "--share-per-login"],
                [
                    "uploads go nowhere: they are acknowledged and discarded, and clients are told",
                    f"each login may get and list what is in its own folder in {pub}",
                ],
            ),
        ]:
            self.make(*arguments).startService()
            said = "\n".join(self.said())
            for line in lines:
                self.assertIn(line, said)
            self.assertNotIn("secret", said)
        self.make("--directory", "up", "--protocol", "2", "--quota", "1M").startService()
        self.assertNotIn("version 1", "\n".join(self.said()))
        self.make("--directory", "up", "--protocol", "1").startService()
        said = "\n".join(self.said())
        self.assertIn(kept, said)
        self.assertNotIn("version 2", said)

    def test_any_login(self) -> None:
        """Where a key decides alone and has no login, folders keep nobody apart, which the log tells."""
        for line, place, checker, warned in [
            (PUBLIC, ["--directory", "up"], ["--auth", "none"], True),
            (PUBLIC, ["--share", ".", "--share-per-login"], ["--auth", "none"], True),
            (PUBLIC, ["--share", "."], ["--auth", "none"], False),
            (PUBLIC, ["--file", "out"], ["--auth", "none"], False),
            (PUBLIC, ["--directory", "up"], [], False),
            (f"{PUBLIC} ann", ["--directory", "up"], ["--auth", "none"], False),
        ]:
            self.write("keys", f"{line}\n")
            self.make(*place, *checker, "--authorized-keys", "keys").startService()
            told = f"no login in its line of {self.path('keys')} may give any" in "\n".join(self.said())
            self.assertEqual(told, warned, (line, place))

    def test_commands(self) -> None:
        """Commands to copy, for what the server does."""
        os.mkdir("pub")
        address = IPv4Address("TCP", "127.0.0.1", 1)
        begin = f"--to 127.0.0.1:1 --server-key {PUBLIC}"
        for arguments, version, argument in [
            (["--directory", "up"], 0, "PATH..."),
            (["--directory", "up", "--protocol", "1"], 1, "FILE"),
            (["--file", "out"], 0, "FILE"),
        ]:
            settings = self.parse("-k", SECRET, *arguments).settings
            protocol = only(version) if version else ""
            self.assertEqual(send_command("tcp:1", address, settings), f"sodiumtwist send {begin}{protocol} {argument}")
        settings = self.parse("-k", SECRET, "-U", "me", "-P", "geheim", "--share", "pub").settings
        credentials = "--user me --passphrase-file PASSPHRASEFILE"
        self.assertEqual(get_command("tcp:1", address, settings), f"sodiumtwist get {begin} {credentials} REMOTE")
        self.assertEqual(list_command("tcp:1", address, settings), f"sodiumtwist list {begin} {credentials}")

    def test_commands_announced(self) -> None:
        """Each command stands in the log where it is of use, and nowhere else."""
        os.mkdir("pub")
        send, get, listing = (
            "to send {} here: sodiumtwist send",
            "to get files from here: sodiumtwist get",
            "to list them: ",
        )
        for arguments, expected in [
            (["--directory", "up"], [send.format("files")]),
            (["--file", "out"], [send.format("a file")]),
            (["--share", "pub"], [get, listing]),
            (["--directory", "up", "--share", "pub"], [send.format("files"), get, listing]),
        ]:
            self.make(*arguments).startService()
            said = [line for line in self.said() if line.startswith("to ")]
            self.assertEqual(len(said), len(expected), said)
            for line, start in zip(said, expected, strict=True):
                self.assertTrue(line.startswith(start), line)

    def partial(self, *names: str, age: float = 0) -> str:
        """Make what a broken transfer leaves of a file."""
        *folders, name = names
        folder = self.path(*folders)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, os.fsdecode(temporary_name(name.encode())))
        with open(path, "w") as file:
            file.write("x")
        return path

    def test_leftovers(self) -> None:
        """What is old is removed when the server starts, and named; what is young is counted."""
        first, second = self.partial("up", "ann", "a", "x"), self.partial("up", "ann", "y")
        self.make("--directory", "up").startService()
        kept = f"2 unfinished files of logins are in {self.path('up')}; their clients can go on with them"
        self.assertIn(kept, self.said())
        later = time.time() + PARTIAL_AGE - 60
        self.patch(time, "time", lambda: later)
        self.make("--directory", "up").startService()
        self.assertIn(kept, self.said())
        self.make("--directory", "up", "--limit", "partial-age=604700").startService()
        names = ", ".join(sorted(os.path.relpath(path, "up") for path in (first, second)))
        self.assertIn(
            f"removed 2 unfinished files in {self.path('up')}, with which nobody has gone on for 604700 seconds: "
            f"{names}",
            self.said(),
        )
        self.assertFalse(os.path.exists(first) or os.path.exists(second))
        self.make("--directory", "up").startService()
        self.assertNotIn("unfinished", "\n".join(self.said()))

    def test_cannot_look(self) -> None:
        """What can't be looked through is told, and the server runs; what may only be written to is all right."""
        for error, told in [(PermissionError(13, "no"), False), (OSError(5, "the disk is broken"), True)]:

            def clean(*arguments: object, error: OSError = error) -> None:
                raise error

            self.patch(services, "clean_directory", clean)
            self.make("--directory", "up").startService()
            self.assertEqual("the disk is broken" in "\n".join(self.said()), told)

    def stopping(self) -> tuple[UploadService, FakeOnStored, Deferred[None]]:
        """A service that stops while a command runs."""
        service = self.make("--directory", "up", "--on-stored", "true")
        service.startService()
        service._on_stored = on_stored = FakeOnStored()  # type: ignore[assignment]
        return service, on_stored, service.stopService()

    def test_commands_may_end(self) -> None:
        """A command that runs when the server stops may end."""
        service, on_stored, stopped = self.stopping()
        self.reactor.advance(1)
        self.assertNoResult(stopped)
        self.assertEqual((on_stored.patience, on_stored.stopped), (DRAIN_TIMEOUT, False))
        line = "files whose command of --on-stored gets 10 seconds to end, unless SIGTERM or Ctrl-C comes again: 3"
        self.assertIn(f"stopping; {line}", self.said())
        on_stored.end()
        self.reactor.advance(1)
        self.assertIsNone(self.successResultOf(stopped))

    def test_commands_are_ended(self) -> None:
        """One that takes longer is killed; so are all when somebody can't wait."""
        service, on_stored, stopped = self.stopping()
        on_stored.finished.callback(None)
        self.assertTrue(on_stored.stopped)
        self.reactor.advance(1)
        self.assertNoResult(stopped)
        on_stored.is_idle = True
        self.reactor.advance(1)
        self.assertIsNone(self.successResultOf(stopped))
        service, on_stored, stopped = self.stopping()
        service.hurry()
        self.assertTrue(on_stored.stopped)
        on_stored.end()
        self.reactor.advance(1)
        self.assertIsNone(self.successResultOf(stopped))


@skipIf(os.geteuid(), "only root can become another user")
class RightsTests(TapTestCase):
    """What is used later is checked as the user that the service runs as."""

    def setUp(self) -> None:
        super().setUp()
        os.chmod(self.directory, 0o755)

    def refused(self, *arguments: str) -> str:
        def start() -> None:
            nobody = pwd.getpwnam("nobody")
            options = Options()
            options.parent = usage.Options()
            options.parent.update({"uid": nobody.pw_uid, "gid": nobody.pw_gid, "nodaemon": True})
            options.parseOptions(["-k", SECRET, *arguments])
            makeService(options, MemoryReactorClock())

        return str(self.assertRaises(SystemExit, start))

    def test_share(self) -> None:
        """A share that they can't read."""
        os.mkdir("pub", 0o700)
        where = os.path.realpath("pub")
        self.assertEqual(
            self.refused("--share", "pub"),
            f"sodium: cannot share {where}: user nobody, as whom the service runs, may not read and enter it",
        )
        os.mkdir("pub/below", 0o755)
        self.assertIn(f"who can't enter {where}; put it where they can", self.refused("--share", "pub/below"))

    def test_directory(self) -> None:
        """A directory that they can't write to: the server does not start."""
        os.mkdir("up", 0o755)
        line = self.refused("--directory", "up", "--share", ".")
        self.assertRegex(line, r"^sodium: cannot write to \S*/up: .* for user nobody, .*; run: chmod|chown")

    def test_command(self) -> None:
        """A program that they can't run."""
        with open("run", "w") as file:
            os.fchmod(file.fileno(), stat.S_IRWXU)
        self.assertIn(
            "--on-stored, as user nobody: './run' can't be run",
            self.refused("--directory", "up", "--on-stored", "./run"),
        )
