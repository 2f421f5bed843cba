"""
Where uploads go, on real files and pipes.
"""

from __future__ import annotations

import errno
import os
import pty
import shutil
import sys
import tempfile
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IWriteDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import LocalProtocolError
from sodiumtwist.describe import describe_size
from sodiumtwist.transfer import partials
from sodiumtwist.transfer.disk import Disk
from sodiumtwist.transfer.stores import ClosedStore, DirectoryStore, FileStore, Store, StreamStore, open_store
from sodiumtwist.transfer.uploads import FileUpload, StreamUpload, Upload, unfinished

from ..wall_clock import WallReactor


class PipeReactor(Clock):
    """A clock that remembers who waits for writing."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[IWriteDescriptor] = set()

    def addWriter(self, writer: IWriteDescriptor) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        self.writers.discard(writer)


class WallPipeReactor(PipeReactor, WallReactor):
    """The same, with a wall clock that can be set."""


class UploadTestCase(SynchronousTestCase):
    """Has a directory of its own."""

    def setUp(self) -> None:
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="sodiumtwist-test-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def open(self, store: Store, login: str = "login") -> Upload:
        return self.successResultOf(store.open(login))

    def read(self, name: str) -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()

    def mode(self, name: str) -> int:
        return os.stat(self.path(name)).st_mode & 0o7777


class FileStoreTests(UploadTestCase):
    """One file."""

    def test_grows_beside_its_place(self) -> None:
        """Until it is finished only a temporary file is there, which others can't read."""
        upload = self.open(FileStore(self.path("out")))
        self.successResultOf(upload.write([b"one", b"", b"two"]))
        (temporary,) = os.listdir(self.directory)
        self.assertRegex(temporary, r"^\.out\.[0-9a-f]{8}\.part$")
        self.assertEqual((self.read(temporary), self.mode(temporary)), (b"onetwo", 0o600))
        self.assertEqual(self.successResultOf(upload.finish()), f"6 B in {self.path('out')}")
        self.assertEqual(os.listdir(self.directory), ["out"])
        self.assertEqual(self.read("out"), b"onetwo")

    def test_abandoned(self) -> None:
        """A broken upload is kept as partial, in place of an earlier one; the target stays."""
        for name in ("out", "out.partial"):
            with open(self.path(name), "w") as file:
                file.write("before")
        upload = self.open(FileStore(self.path("out")))
        self.successResultOf(upload.write([b"some"]))
        self.assertEqual(self.successResultOf(upload.abandon()), f"4 B in {self.path('out.partial')}")
        self.assertEqual((self.read("out"), self.read("out.partial")), (b"before", b"some"))
        self.assertEqual(sorted(os.listdir(self.directory)), ["out", "out.partial"])

    def test_keeps_mode(self) -> None:
        """A file that is replaced keeps its mode."""
        with open(self.path("out"), "w"):
            pass
        os.chmod(self.path("out"), 0o4644)  # but no set-user-ID for what others sent
        self.open(FileStore(self.path("out"))).finish()
        self.assertEqual(self.mode("out"), 0o644)

    def test_no_file_in_its_place(self) -> None:
        """What is no regular file gives no mode: a directory, and a link that came later."""
        for make in (
            lambda: os.mkdir(self.path("out"), 0o755),
            lambda: os.symlink(self.path("other"), self.path("out")),
        ):
            with open(self.path("other"), "w"):
                pass
            os.chmod(self.path("other"), 0o666)
            upload = self.open(FileStore(self.path("out")))
            self.successResultOf(upload.write([b"some"]))
            make()
            finished: list[str] = []
            # What fails here is that nothing can take the place of a directory.
            upload.finish().addCallback(finished.append).addErrback(
                lambda reason: reason.trap(IsADirectoryError) and None
            )
            if finished:
                self.assertEqual(self.mode("out"), 0o600)
            else:
                self.successResultOf(upload.abandon())
                self.assertEqual(self.mode("out.partial"), 0o600)
                os.rmdir(self.path("out"))
        self.assertFalse(os.path.islink(self.path("out")))

    def test_owner(self) -> None:
        """The owner is that of the file that is replaced. Where that can't be had, the log is told."""
        given: list[tuple[int, int]] = []
        for refused in (False, True):
            with open(self.path("out"), "w"):
                pass
            os.chmod(self.path("out"), 0o640)
            old = os.stat(self.path("out"))
            fields = [*old[:4], old.st_uid + 1, old.st_gid + 1, *old[6:10]]
            self.patch(os, "lstat", lambda path, fields=fields: os.stat_result(fields))

            def give(fd: int, uid: int, gid: int, refused: bool = refused) -> None:
                given.append((uid, gid))
                if refused:
                    raise PermissionError

            self.patch(os, "fchown", give)
            upload = self.open(FileStore(self.path("out")))
            said = self.successResultOf(upload.finish())
            self.assertRegex(said, rf"; of the file that it replaces it could not keep owner {old.st_uid + 1}, now ")
            self.assertEqual(self.mode("out"), 0o600)
        self.assertEqual(given, [(-1, old.st_gid + 1), (old.st_uid + 1, -1)] * 2)

    def test_owner_of_an_earlier_part(self) -> None:
        """It stays, too: whoever could read the part that was there can read the one that comes."""
        upload = self.open(FileStore(self.path("out")))
        self.successResultOf(upload.write([b"some"]))
        with open(self.path("out.partial"), "w"):
            pass
        os.chmod(self.path("out.partial"), 0o640)
        upload.abandon()
        self.assertEqual((self.mode("out.partial"), self.read("out.partial")), (0o640, b"some"))

    def test_unfinished(self) -> None:
        """The names of what grows are found, of one target or of all; other names are not."""
        self.assertEqual(unfinished(self.directory), [])
        long = "n" * 80
        for name in ("out", long):
            self.open(FileStore(self.path(name)))
        for other in (
            ".out.12345678.part2",
            ".out.part",
            "out.12345678.part",
            ".out.1234567g.part",
            ".outer.12345678.part",
        ):
            with open(self.path(other), "w"):
                pass
        self.assertEqual(len(unfinished(self.directory)), 3)
        for name in ("out", long):
            (found,) = unfinished(self.directory, name)
            self.assertTrue(found.startswith(f".{name[:50]}."))

    def test_link(self) -> None:
        """Through a link, the file that it names is replaced."""
        os.mkdir(self.path("elsewhere"))
        os.symlink(self.path("elsewhere/real"), self.path("out"))
        upload = self.open(FileStore(self.path("out")))
        self.successResultOf(upload.write([b"x"]))
        upload.finish()
        self.assertTrue(os.path.islink(self.path("out")))
        self.assertEqual(os.listdir(self.path("elsewhere")), ["real"])

    def test_cannot_open(self) -> None:
        """A directory that has gone is an OSError."""
        store = FileStore(self.path("missing/out"))
        self.failureResultOf(store.open("login"), FileNotFoundError)

    def test_cannot_finish(self) -> None:
        """When the target has become a directory, the upload can still be kept as partial."""
        upload = self.open(FileStore(self.path("out")))
        self.successResultOf(upload.write([b"some"]))
        os.mkdir(self.path("out"))
        self.failureResultOf(upload.finish(), OSError)
        self.assertEqual(self.successResultOf(upload.abandon()), f"4 B in {self.path('out.partial')}")
        self.assertEqual(self.read("out.partial"), b"some")

    def test_cannot_abandon(self) -> None:
        """When not even that works, nothing is left over: each that breaks off would leave one more."""
        os.mkdir(self.path("out.partial"))
        upload = self.open(FileStore(self.path("out")))
        self.successResultOf(upload.write([b"some"]))
        why = f"as {self.path('out.partial')} cannot be made: Is a directory"
        self.assertEqual(self.successResultOf(upload.abandon()), f"nothing, {why}")
        self.assertEqual(os.listdir(self.directory), ["out.partial"])
        # With such a name no part can ever be made.
        upload = self.open(FileStore(self.path("n" * 255)))
        self.successResultOf(upload.write([b"some"]))
        self.assertRegex(self.successResultOf(upload.abandon()), "^nothing, as .* cannot be made: File name too long$")
        self.assertEqual(os.listdir(self.directory), ["out.partial"])

    def test_cannot_remove_abandoned(self) -> None:
        """When it can't be removed either, the log names the file where the bytes are."""

        def refuse(*paths: str) -> None:
            raise OSError(errno.EROFS, "read-only")

        upload = self.open(FileStore(self.path("out")))
        self.successResultOf(upload.write([b"some"]))
        self.patch(os, "replace", refuse)
        self.patch(os, "unlink", refuse)
        outcome = self.successResultOf(upload.abandon())
        self.assertRegex(outcome, r"^4 B in .*\.part, as .*out\.partial cannot be made: read-only$")

    def test_temporary_file_gone(self) -> None:
        """Nothing is kept then, no descriptor either, and the log does not claim it."""
        before = os.listdir("/dev/fd")
        upload = self.open(FileStore(self.path("out")))
        (temporary,) = os.listdir(self.directory)
        os.unlink(self.path(temporary))
        self.successResultOf(upload.write([b"some"]))
        self.assertEqual(self.successResultOf(upload.abandon()), f"nothing, as {self.path(temporary)} is gone")
        self.assertEqual((os.listdir(self.directory), os.listdir("/dev/fd")), ([], before))

    def test_long_name(self) -> None:
        """A name as long as a name may be."""
        self.open(FileStore(self.path("n" * 255))).finish()
        self.assertEqual(os.listdir(self.directory), ["n" * 255])

    def test_closes(self) -> None:
        """No descriptor stays open, however it ends."""
        before = os.listdir("/dev/fd")
        self.open(FileStore(self.path("out"))).finish()
        self.open(FileStore(self.path("out"))).abandon()
        self.assertEqual(os.listdir("/dev/fd"), before)


class DurableTests(UploadTestCase):
    """What the disk has, and when."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[str] = []
        #: What a call raises, by its name.
        self.errors: dict[str, OSError] = {}
        self.patch(os, "fsync", self.fsync)
        self.patch(os, "replace", self.replace)

    def fsync(self, fd: int) -> None:
        path = os.path.realpath(f"/dev/fd/{fd}")
        self.call("folder" if path == self.directory else "file" if path.endswith(".part") else path)

    def replace(self, source: str, target: str) -> None:
        self.call("replace")
        os.rename(source, target)

    def call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.errors:
            raise self.errors[name]

    def start(self, disk: Disk | None = None) -> Upload:
        upload = self.open(FileStore(self.path("out"), disk))
        self.successResultOf(upload.write([b"some"]))
        self.calls.clear()
        return upload

    def test_order(self) -> None:
        """First the file, then its name, then the folder that has the name; and only then it is told."""
        self.successResultOf(self.start().finish())
        self.assertEqual(self.calls, ["file", "replace", "folder"])

    def test_in_a_thread(self) -> None:
        """Nothing of it holds up the reactor, and nothing is told before."""
        works: list[Callable[[], object]] = []
        waiting: Deferred[object] = Deferred()

        def call(work: Callable[[], object]) -> Deferred[object]:
            works.append(work)
            return waiting

        for name in ("finish", "abandon", "remove"):
            ending = getattr(self.start(Disk(call)), name)()
            self.assertEqual((self.calls, len(works)), ([], 1))
            self.assertNoResult(ending)
            works.pop()()

    def test_no_sync(self) -> None:
        """Whoever wants speed has it."""
        for name in ("finish", "abandon"):
            self.successResultOf(getattr(self.start(Disk(sync=False)), name)())
            self.assertEqual(self.calls, ["replace"])

    def test_disk_refuses(self) -> None:
        """What the disk refuses is not whole, keeps its name off, and is not said to be safe."""
        for number in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            self.errors["file"] = OSError(number, os.strerror(number))
            upload = self.start()
            self.failureResultOf(upload.finish(), OSError)
            kept = f"4 B in {self.path('out.partial')}, which the disk may not have: {os.strerror(number)}"
            self.assertEqual(self.successResultOf(upload.abandon()), kept)
            # Asked again, a disk may say that all is well.
            self.assertEqual(self.calls, ["file", "replace"])
            self.assertEqual(os.listdir(self.directory), ["out.partial"])

    def test_folder_refuses(self) -> None:
        """Neither is one whose name the disk refuses, though it can't be taken back."""
        self.errors["folder"] = OSError(errno.EIO, "broken")
        for name in ("abandon", "remove"):
            upload = self.start()
            self.failureResultOf(upload.finish(), OSError)
            kept = f"4 B in {self.path('out')}, where they may be lost with the power"
            self.assertEqual(self.successResultOf(getattr(upload, name)()), kept)
            self.assertEqual(self.read("out"), b"some")

    def test_partial(self) -> None:
        """An earlier part does not give way to one that the disk does not have."""
        self.successResultOf(self.start().abandon())
        self.assertEqual(self.calls, ["file", "replace"])
        self.errors["file"] = OSError(errno.EIO, "broken")
        outcome = self.successResultOf(self.start().abandon())
        self.assertEqual(outcome, f"4 B in {self.path('out.partial')}, which the disk may not have: broken")

    def test_new_directory(self) -> None:
        """A directory that is made is there after a loss of power, with all that is confirmed in it."""
        DirectoryStore(self.path("up"))
        self.assertEqual(self.calls, ["folder"])
        DirectoryStore(self.path("up"))
        DirectoryStore(self.path("quick"), disk=Disk(sync=False))
        self.assertEqual(self.calls, ["folder"])

    def test_streams(self) -> None:
        """Standard output that is a file is synced; what has no disk is not, and that is no error."""
        fd = os.open(self.path("out"), os.O_WRONLY | os.O_CREAT)
        self.addCleanup(os.close, fd)
        upload = self.open(StreamStore("standard output", PipeReactor(), 1, fd))
        self.assertEqual(self.successResultOf(upload.finish()), "0 B to standard output")
        self.assertEqual(self.calls, [self.path("out")])
        self.errors["/dev/null"] = OSError(errno.EINVAL, "no disk")
        self.successResultOf(self.open(StreamStore("/dev/null", PipeReactor(), 1)).finish())
        self.successResultOf(self.open(StreamStore("/dev/null", PipeReactor(), 1, disk=Disk(sync=False))).finish())
        self.assertEqual(self.calls[1:], ["/dev/null"])
        self.errors["/dev/null"] = OSError(errno.EIO, "broken")
        store = StreamStore("/dev/null", PipeReactor(), 1)
        upload = self.open(store)
        self.failureResultOf(upload.finish(), OSError)
        self.successResultOf(upload.abandon())
        self.open(store)


class RoomTests(UploadTestCase):
    """What uploads may take."""

    def free(self, size: int) -> None:
        """Say that so many bytes are free, of very many."""
        self.patch(os, "statvfs", lambda path: os.statvfs_result((1, 1, 1 << 50, size, size, 0, 0, 0, 0, 0)))

    def test_floor(self) -> None:
        """What would leave too little is not written."""
        self.free((1 << 30) + 10)
        upload = self.open(FileStore(self.path("out")))
        self.successResultOf(upload.write([b"x" * 10]))
        self.free(1 << 30)
        reason = self.failureResultOf(upload.write([b"x"]), OSError)
        self.assertEqual(reason.value.errno, errno.ENOSPC)
        self.assertEqual(self.successResultOf(upload.remove()), "nothing, to make room")
        self.assertEqual(os.listdir(self.directory), [])

    def test_none_left(self) -> None:
        """Then no upload begins, and no file is left of it."""
        self.free(1 << 20)
        for store in (FileStore(self.path("out")), DirectoryStore(self.directory)):
            reason = self.failureResultOf(store.open("login"), OSError)
            self.assertIn("less than 1 GiB would stay free, see --min-free", str(reason.value))
        self.assertEqual(os.listdir(self.directory), [])

    def test_shared(self) -> None:
        """All uploads of a store share one look at what is free."""
        self.free((1 << 30) + 10)
        store = DirectoryStore(self.directory)
        first, second = self.open(store), self.open(store)
        self.successResultOf(first.write([b"x" * 9]))
        self.free((1 << 30) + 1)
        self.failureResultOf(second.write([b"x" * 9]), OSError)

    def test_standard_output(self) -> None:
        """Standard output that is a file leaves as much free as any other; a pipe takes no room."""
        self.free((1 << 30) + 4)
        fd = os.open(self.path("out"), os.O_WRONLY | os.O_CREAT)
        self.addCleanup(os.close, fd)
        upload = self.open(StreamStore("standard output", PipeReactor(), 1, fd))
        self.successResultOf(upload.write([b"some"]))
        self.free(1 << 30)
        reason = self.failureResultOf(upload.write([b"more"]), OSError)
        self.assertEqual((reason.value.errno, reason.value.filename), (errno.ENOSPC, None))
        self.assertEqual(self.successResultOf(upload.remove()), "4 B to standard output, where they stay")
        for end in os.pipe():
            self.addCleanup(os.close, end)
        self.successResultOf(self.open(StreamStore("standard output", PipeReactor(), 1, end)).write([b"more"]))

    def test_removed(self) -> None:
        """To remove what is gone, or can't be removed, says so."""
        upload = self.open(FileStore(self.path("out")))
        (temporary,) = os.listdir(self.directory)
        os.unlink(self.path(temporary))
        self.assertEqual(self.successResultOf(upload.remove()), "nothing, to make room")
        os.mkdir(self.path(temporary))
        upload = self.open(FileStore(self.path("out")))
        assert isinstance(upload, FileUpload)
        os.unlink(upload._temporary)
        upload._temporary = self.path(temporary)
        self.assertRegex(self.successResultOf(upload.remove()), r"\.part, which cannot be removed: ")
        self.assertEqual(self.successResultOf(self.open(Store()).remove()), "nothing")

    def test_partials(self) -> None:
        """A directory keeps the newest of the broken uploads; the log names what goes for them."""
        self.patch(partials, "PARTIALS", 2)
        clock = iter(range(10**9, 10**9 + 9))
        store = DirectoryStore(self.directory, lambda: next(clock))
        outcomes = []
        for _ in range(3):
            upload = self.open(store)
            self.successResultOf(upload.write([b"some"]))
            outcomes.append(self.successResultOf(upload.abandon()))
        self.assertRegex(outcomes[1], r"^4 B in .*\.partial$")
        self.assertRegex(outcomes[2], r"^4 B in .*\.partial, and removed the oldest: 20010909T014640Z-.*\.partial$")
        self.assertEqual(len(os.listdir(self.directory)), 2)
        self.patch(partials, "PARTIALS_SIZE", 3)
        upload = self.open(store)
        self.successResultOf(upload.write([b"some"]))
        kept = "nothing, as 4 B are more than is kept of broken uploads"
        self.assertEqual(self.successResultOf(upload.abandon()), kept)
        self.assertEqual(len(os.listdir(self.directory)), 2)

    def test_partials_unreadable(self) -> None:
        """A directory that can't be looked at keeps them, and the log says so."""

        def refuse(path: str) -> None:
            raise OSError(errno.EIO, "no")

        self.patch(os, "scandir", refuse)
        upload = self.open(DirectoryStore(self.directory))
        self.successResultOf(upload.write([b"some"]))
        outcome = self.successResultOf(upload.abandon())
        self.assertRegex(outcome, r"^4 B in .*\.partial; what else is kept there can't be looked at: no$")


class DirectoryStoreTests(UploadTestCase):
    """A file for each upload."""

    def test_names(self) -> None:
        """Time, login made safe, and a part that no other upload has."""
        store = DirectoryStore(self.path("up"), lambda: 1_700_000_000)
        self.assertEqual(self.mode("up"), 0o700)
        for login, safe in [
            ("a.b", "a_b"),
            ("../../etc", "______etc"),
            ("", "_"),
            ("\u00e4\n\0", "___"),
            ("x" * 99, "x" * 64),
        ]:
            self.open(store, login).finish()
            (name,) = os.listdir(self.path("up"))
            self.assertRegex(name, rf"^20231114T221320Z-{safe}-[0-9a-f]{{8}}$")
            os.unlink(os.path.join(self.path("up"), name))
        for _ in range(10):
            self.open(store).finish()
        self.assertEqual(len(os.listdir(self.path("up"))), 10)

    def test_existing(self) -> None:
        """A directory that is there is used as it is."""
        os.mkdir(self.path("up"), 0o750)
        DirectoryStore(self.path("up"))
        self.assertEqual(self.mode("up"), 0o750)


class OnStoredTests(UploadTestCase):
    """Who wants to know hears of uploads that have become files."""

    def test_told(self) -> None:
        """When they are in their place; not of those that broke off, or could not be put there."""
        told: list[tuple[object, ...]] = []

        def tell(login: str, path: str, digest: None, size: int) -> None:
            told.append((login, path, digest, size, os.path.getsize(path)))

        def refuse(*paths: str) -> None:
            raise PermissionError(errno.EACCES, "no")

        for store in (FileStore(self.path("out")), DirectoryStore(self.path("up"))):
            store.on_stored = tell
            self.successResultOf(self.open(store, "ann").abandon())
            upload = self.open(store, "ann")
            self.successResultOf(upload.write([b"some"]))
            self.assertEqual(told, [])
            self.successResultOf(upload.finish())
            ((login, path, *rest),) = told
            self.assertEqual((login, rest), ("ann", [None, 4, 4]))
            self.assertTrue(str(path).startswith(self.path("")), path)
            told.clear()
            upload = self.open(store, "ann")
            self.successResultOf(upload.write([b"some"]))
            replacing = self.patch(os, "replace", refuse)
            self.failureResultOf(upload.finish(), OSError)
            replacing.restore()
            self.successResultOf(upload.remove())
            self.assertEqual(told, [])

    def test_fails(self) -> None:
        """Its failure is in the log, and the file is stored: its client is not told otherwise."""
        store = FileStore(self.path("out"))
        store.on_stored = lambda *arguments: 1 / 0
        upload = self.open(store, "ann")
        self.successResultOf(upload.write([b"some"]))
        self.assertEqual(self.successResultOf(upload.finish()), f"4 B in {self.path('out')}")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ClosedStoreTests(UploadTestCase):
    """No place at all."""

    def test_refuses(self) -> None:
        """What comes is refused, and why; nothing says that it was thrown away."""
        error = self.failureResultOf(ClosedStore().open("ann"), OSError).value
        self.assertEqual(error.strerror, "this server takes no files")
        self.assertEqual((ClosedStore.keeps, ClosedStore.takes), (True, False))


class StreamStoreTests(UploadTestCase):
    """FIFOs, devices and descriptors."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = PipeReactor()
        self.fifo = self.path("fifo")
        os.mkfifo(self.fifo)
        self.store = StreamStore(self.fifo, self.reactor, 180)

    def reader(self) -> int:
        fd = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(self.close, fd)
        return fd

    def close(self, fd: int) -> None:
        try:
            os.close(fd)
        except OSError as error:
            self.assertEqual(error.errno, errno.EBADF)

    def test_replaced_by_a_file(self) -> None:
        """A regular file in the place of a FIFO is not written to: it would keep the end of what was longer."""
        before = os.listdir("/dev/fd")
        os.unlink(self.fifo)
        with open(self.fifo, "wb") as file:
            file.write(b"something longer")
        reason = self.failureResultOf(self.store.open("login"), OSError)
        self.assertIn("a regular file has taken its place", str(reason.value))
        self.assertEqual((self.read("fifo"), os.listdir("/dev/fd")), (b"something longer", before))
        os.unlink(self.fifo)
        os.mkfifo(self.fifo)
        self.reader()
        self.open(self.store)

    def test_waits_for_reader(self) -> None:
        """A FIFO without a reader is looked at until it has one."""
        opening = self.store.open("login")
        self.reactor.advance(100)
        self.assertNoResult(opening)
        fd = self.reader()
        self.reactor.advance(1)
        upload = self.successResultOf(opening)
        self.successResultOf(upload.write([b"some"]))
        self.assertEqual(self.successResultOf(upload.finish()), f"4 B to {self.fifo}")
        self.assertEqual((os.read(fd, 99), os.read(fd, 99)), (b"some", b""))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_reader_in_time(self) -> None:
        """Patience has an end."""
        opening = self.store.open("login")
        self.reactor.pump([0.1] * 1799)
        self.assertNoResult(opening)
        self.reactor.advance(1)
        self.assertEqual(self.failureResultOf(opening, OSError).value.strerror, "no reader within 180 seconds")
        self.reader()
        self.open(self.store)

    def test_cancelled(self) -> None:
        """Waiting can be cancelled, and makes room for the next."""
        opening = self.store.open("login")
        opening.cancel()
        self.failureResultOf(opening, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reader()
        self.open(self.store)

    def test_one_after_the_other(self) -> None:
        """The second upload begins when the first has ended."""
        fd = self.reader()
        first = self.open(self.store)
        second = self.store.open("login")
        third = self.store.open("login")
        self.successResultOf(first.write([b"one"]))
        self.assertNoResult(second)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertNoResult(third)
        first.abandon()
        self.successResultOf(self.successResultOf(third).write([b"two"]))
        self.assertEqual(os.read(fd, 99), b"onetwo")

    def fill(self) -> tuple[int, Upload, Deferred[None]]:
        """A write that the pipe has not room for."""
        fd = self.reader()
        upload = self.open(self.store)
        writing = upload.write([b"a" * 500_000, b"b" * 500_000])
        self.assertNoResult(writing)
        self.assertEqual(len(self.reactor.writers), 1)
        return fd, upload, writing

    def test_slow_reader(self) -> None:
        """A write ends when the reader has made room for all of it."""
        fd, upload, writing = self.fill()
        received = b""
        while self.reactor.writers:
            self.assertNoResult(writing)
            received += os.read(fd, 50_000)
            for writer in list(self.reactor.writers):
                writer.doWrite()
        self.successResultOf(writing)
        self.assertEqual(upload.size, 1_000_000)
        upload.finish()
        while block := os.read(fd, 50_000):
            received += block
        self.assertTrue(received == b"a" * 500_000 + b"b" * 500_000)

    def test_reader_leaves(self) -> None:
        """The write fails, whether the reactor notices it by writing or by polling."""
        for notice in (lambda writer: writer.doWrite(), lambda writer: writer.connectionLost(Failure(CONNECTION_LOST))):
            fd, upload, writing = self.fill()
            os.close(fd)
            for writer in list(self.reactor.writers):
                notice(writer)
            self.failureResultOf(writing, BrokenPipeError)
            upload.abandon()
            self.assertEqual(self.reactor.writers, set())

    def test_reader_takes_nothing(self) -> None:
        """Patience counts from the last byte that was taken."""
        fd, upload, writing = self.fill()
        self.reactor.advance(179)
        os.read(fd, 65536)
        for writer in list(self.reactor.writers):
            writer.doWrite()
        self.reactor.advance(179)
        self.assertNoResult(writing)
        self.reactor.advance(1)
        self.assertEqual(self.failureResultOf(writing, OSError).value.strerror, "its reader takes nothing")
        upload.abandon()
        self.assertEqual((self.reactor.writers, self.reactor.getDelayedCalls()), (set(), []))

    def test_late(self) -> None:
        """When patience was over because the process stood still, the reader may have taken much."""
        fd, upload, writing = self.fill()
        os.read(fd, 65536)
        self.reactor.advance(10_000)
        self.assertNoResult(writing)
        self.reactor.advance(179)
        self.assertNoResult(writing)
        self.reactor.advance(1)
        self.failureResultOf(writing, OSError)
        self.successResultOf(upload.abandon())
        os.close(fd)
        fd, upload, writing = self.fill()
        os.close(fd)
        self.reactor.advance(10_000)
        self.failureResultOf(writing, BrokenPipeError)
        self.successResultOf(upload.abandon())
        self.assertEqual((self.reactor.writers, self.reactor.getDelayedCalls()), (set(), []))

    def test_slow_reader_is_not_the_senders_fault(self) -> None:
        """Who has sent more than the pipe takes does not give way to those who wait; who sends nothing does."""
        fd, upload, writing = self.fill()
        given_way: list[str] = []
        upload.make_way = given_way.append
        waiting = self.store.open("login")
        self.reactor.advance(30)
        self.assertEqual(given_way, [])
        while self.reactor.writers:
            os.read(fd, 50_000)
            for writer in list(self.reactor.writers):
                writer.doWrite()
        self.successResultOf(writing)
        self.reactor.advance(30)
        self.assertEqual(given_way, [])
        self.reactor.advance(29)
        self.successResultOf(upload.abandon())
        self.successResultOf(self.successResultOf(waiting).abandon())
        upload = self.open(self.store)
        upload.make_way = given_way.append
        waiting = self.store.open("login")
        self.reactor.advance(30)
        self.assertEqual(len(given_way), 1)
        self.successResultOf(upload.abandon())
        self.successResultOf(waiting)

    def test_wall_clock_is_set(self) -> None:
        """Nobody has less patience for it, or more: who waits for a reader, or for a turn, or who writes."""
        for step in (3600, -3600):
            self.reactor = reactor = WallPipeReactor()
            reactor.be_the_reactor(self)
            self.store = StreamStore(self.fifo, reactor, 180)
            no_reader, no_turn = self.store.open("login"), self.store.open("login")
            reactor.let_pass(1)
            reactor.set_and_wake(step)
            reactor.watch()
            reactor.let_pass(177)
            self.assertNoResult(no_reader)
            self.assertNoResult(no_turn)
            reactor.let_pass(2)
            self.failureResultOf(no_reader, OSError)
            if no_turn.called:  # it came at the very end, and there is no reader
                self.failureResultOf(no_turn, OSError)
            else:
                no_turn.cancel()
                self.failureResultOf(no_turn, CancelledError)
            fd, upload, writing = self.fill()
            reactor.set_and_wake(step)
            reactor.watch()
            reactor.let_pass(178)
            self.assertNoResult(writing)
            reactor.let_pass(1)
            self.failureResultOf(writing, OSError)
            upload.abandon()
            os.close(fd)

    def test_turn_does_not_come(self) -> None:
        """Waiting for another upload has an end, too."""
        self.reader()
        first = self.open(self.store)
        second = self.store.open("login")
        self.reactor.advance(180)
        reason = self.failureResultOf(second, OSError)
        self.assertEqual(reason.value.strerror, "another upload held it for 180 seconds")
        first.finish()
        self.open(self.store).finish()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_terminal(self) -> None:
        """A terminal that takes no more is waited for like a pipe."""
        main, terminal = pty.openpty()
        for fd in (main, terminal):
            self.addCleanup(os.close, fd)
        upload = self.open(StreamStore(os.ttyname(terminal), self.reactor, 180))
        writing = upload.write([b"x" * 100_000])
        self.assertNoResult(writing)
        upload.interrupt()
        self.failureResultOf(writing, OSError)
        upload.abandon()

    def test_interrupted(self) -> None:
        """A write that waits can be made to fail."""
        fd, upload, writing = self.fill()
        upload.interrupt()
        self.failureResultOf(writing, OSError)
        size = describe_size(len(os.read(fd, 500_000)))
        self.assertEqual(self.successResultOf(upload.abandon()), f"{size} to {self.fifo}, where they stay")
        self.assertEqual(self.reactor.writers, set())

    def test_turn_passes_on_after_an_error(self) -> None:
        """An upload whose descriptor can't be closed in order does not keep the stream for ever."""
        self.reader()
        upload = self.open(self.store)
        assert isinstance(upload, StreamUpload) and upload._pipe is not None
        os.close(upload._pipe._fd)
        self.failureResultOf(upload.finish(), OSError)
        self.open(self.store)

    def test_device(self) -> None:
        """A device is written to as it comes; an error of writing is the upload's."""
        upload = self.open(StreamStore("/dev/null", self.reactor, 1))
        self.successResultOf(upload.write([b"some"]))
        upload.finish()
        upload = self.open(StreamStore("/dev/full", self.reactor, 1))
        self.assertEqual(self.failureResultOf(upload.write([b"some"]), OSError).value.errno, errno.ENOSPC)
        upload.abandon()


class OpenStoreTests(UploadTestCase):
    """Which store the command line means."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = PipeReactor()

    def test_kinds(self) -> None:
        """By what the path is."""
        os.mkfifo(self.path("fifo"))
        for directory, file, kind in [
            (None, None, Store),
            (self.path("up"), None, DirectoryStore),
            (None, self.path("new"), FileStore),
            (None, self.path("fifo"), StreamStore),
            (None, "/dev/null", StreamStore),
            (None, "/dev/zero", StreamStore),
        ]:
            store = open_store(Clock(), 1, directory=directory, file=file, discard=kind is Store)
            self.assertIs(type(store), kind)
            self.assertEqual(store.keeps, kind is not Store and file not in ("/dev/null", "/dev/zero"))
        self.assertEqual(sorted(os.listdir(self.directory)), ["fifo", "up"])

    def test_one_place(self) -> None:
        """Nothing is thrown away because something was left out, and nothing has two places."""
        self.assertRaises(LocalProtocolError, open_store, Clock(), 1)
        self.assertRaises(LocalProtocolError, open_store, Clock(), 1, file=self.path("out"), discard=True)
        self.assertRaises(LocalProtocolError, open_store, Clock(), 1, self.path("out"), self.path("up"))
        self.assertEqual(os.listdir(self.directory), [])

    def test_cannot_write(self) -> None:
        """A FIFO that is not for us, and a file that only its owner may replace, are told at the start."""
        os.mkfifo(self.path("fifo"))
        self.patch(os, "access", lambda path, mode, effective_ids=False: False)
        error = self.assertRaises(PermissionError, open_store, PipeReactor(), 1, self.path("fifo"))
        self.assertEqual(error.filename, self.path("fifo"))
        self.patch(os, "access", lambda path, mode, effective_ids=False: True)
        with open(self.path("out"), "w"):
            pass
        os.chmod(self.directory, 0o1777)
        self.assertIsInstance(open_store(PipeReactor(), 1, self.path("out")), FileStore)
        self.patch(os, "geteuid", lambda: os.stat(self.directory).st_uid + 1)
        self.assertIsInstance(open_store(PipeReactor(), 1, self.path("new")), FileStore)
        error = self.assertRaises(PermissionError, open_store, PipeReactor(), 1, self.path("out"))
        self.assertEqual(error.filename, self.path("out"))

    def test_no_name(self) -> None:
        """An empty name, and a standard output that is closed, are errors."""
        self.assertRaises(OSError, open_store, Clock(), 1, file="")
        self.patch(sys, "__stdout__", None)
        self.assertRaises(OSError, open_store, Clock(), 1, file="-")

    def test_blocks_for_nobody_else(self) -> None:
        """The pipe that standard output is stays a blocking one for those who share it."""
        read, write = os.pipe()
        for fd in (read, write):
            self.addCleanup(os.close, fd)
        store = StreamStore("standard output", self.reactor, 1, os.dup(write))
        assert store._fd is not None
        self.addCleanup(os.close, store._fd)
        self.open(store)
        self.assertTrue(os.get_blocking(write))

    def test_standard_output_without_errors(self) -> None:
        """Without a standard error the log goes nowhere, and no descriptor is left over."""
        read, write = os.pipe()
        for fd in (read, write):
            self.addCleanup(os.close, fd)
        self.patch(sys, "__stderr__", None)
        before = len(os.listdir("/dev/fd"))
        store = open_store(PipeReactor(), 1, file="-", stdout=write)
        assert isinstance(store, StreamStore) and store._fd is not None
        self.addCleanup(os.close, store._fd)
        self.assertEqual(len(os.listdir("/dev/fd")), before + 1)
        self.assertTrue(os.path.samestat(os.fstat(write), os.stat(os.devnull)))

    def test_standard_output(self) -> None:
        """What is printed later does not mix with uploads."""
        read, write = os.pipe()
        for fd in (read, write):
            self.addCleanup(os.close, fd)
        store = open_store(PipeReactor(), 1, file="-", stdout=write)
        assert isinstance(store, StreamStore) and store._fd is not None
        self.addCleanup(os.close, store._fd)
        upload = self.open(store)
        os.write(write, b"")
        self.successResultOf(upload.write([b"some"]))
        upload.finish()
        self.successResultOf(self.open(store).write([b"more"]))
        self.assertEqual(os.read(read, 99), b"somemore")
        self.assertEqual(os.fstat(write).st_ino, os.fstat(2).st_ino)
