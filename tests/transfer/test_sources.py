"""
Reading what is to be sent, on real files and pipes.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sodiumtwist.protocol.sockets import CHUNK_SIZE
from sodiumtwist.transfer.sources import FileSource, PipeSource, RegularSource, Source, open_source


@implementer(IReactorFDSet)
class ReadReactor:
    """Remembers who waits for reading, and what is to be called in the next turn."""

    def __init__(self) -> None:
        self.readers: set[IReadDescriptor] = set()
        self._later: list[Callable[[], object]] = []

    def callLater(self, delay: float, call: Callable[..., object], *arguments: Any) -> None:
        assert delay == 0
        self._later.append(partial(call, *arguments))

    def turn(self) -> None:
        """Call what was asked for in the turn before."""
        later, self._later = self._later, []
        for call in later:
            call()

    def addReader(self, reader: IReadDescriptor) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        raise NotImplementedError

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        raise NotImplementedError

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        raise NotImplementedError

    def getReaders(self) -> list[IReadDescriptor]:
        return list(self.readers)

    def getWriters(self) -> list[IWriteDescriptor]:
        return []


class SourceTestCase(SynchronousTestCase):
    """Collects what a source delivers."""

    def setUp(self) -> None:
        self.reactor = ReadReactor()
        self.chunks: list[bytes] = []
        self.ends: list[OSError | None] = []

    def start(self, source: Source) -> None:
        self.source = source
        self.addCleanup(source.close)
        source.start(self.chunks.append, self.ends.append)

    def take_and_pause(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.source.pause()

    def errors(self) -> list[int | None]:
        """The numbers of the errors at the ends."""
        return [None if error is None else error.errno for error in self.ends]


class FileSourceTests(SourceTestCase):
    """Files."""

    def open_file(self, content: bytes) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        self.path = path
        self.start(open_source(path, self.reactor))
        self.assertIsInstance(self.source, RegularSource)

    def append(self, content: bytes) -> None:
        with open(self.path, "ab") as file:
            file.write(content)

    def test_all(self) -> None:
        """All of it comes in chunks, then the end, once."""
        content = os.urandom(2 * CHUNK_SIZE + 1)
        self.open_file(content)
        self.assertEqual((self.source.size, self.chunks), (len(content), []))
        self.source.resume()
        self.assertEqual([len(chunk) for chunk in self.chunks], [CHUNK_SIZE, CHUNK_SIZE, 1])
        self.assertEqual((b"".join(self.chunks), self.ends), (content, [None]))

    def test_paused_while_delivering(self) -> None:
        """A pause takes effect at once, and a resumption goes on behind it."""
        self.open_file(bytes(3 * CHUNK_SIZE))
        self.source.start(self.take_and_pause, self.ends.append)
        for count in (1, 2, 3):
            self.source.resume()
            self.assertEqual((len(self.chunks), self.ends), (count, []))
        self.source.resume()
        self.assertEqual((len(self.chunks), self.ends), (3, [None]))

    def test_read_error(self) -> None:
        """An error of reading is the end."""
        self.open_file(b"x")
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.source._fd)
        self.source.resume()
        self.assertEqual((self.chunks, self.errors()), ([], [errno.EBADF]))

    def test_cut_short(self) -> None:
        """A file that lost bytes while it was read is not taken for whole."""
        self.open_file(bytes(2 * CHUNK_SIZE))
        self.source.start(self.take_and_pause, self.ends.append)
        self.source.resume()
        os.truncate(f"/dev/fd/{self.source._fd}", CHUNK_SIZE)
        self.source.resume()
        self.assertEqual((len(self.chunks), self.errors()), (1, [errno.EIO]))

    def test_grows(self) -> None:
        """A file that grows as fast as it is read is read as far as it went at the start, and the rest is told."""
        self.open_file(bytes(2 * CHUNK_SIZE + 1))

        def take_and_append(chunk: bytes) -> None:
            self.chunks.append(chunk)
            self.append(bytes(2 * len(chunk)))

        self.source.start(take_and_append, self.ends.append)
        self.source.resume()
        self.assertEqual([len(chunk) for chunk in self.chunks], [CHUNK_SIZE, CHUNK_SIZE, 1])
        self.assertEqual((self.ends, self.source.grown), ([None], 4 * CHUNK_SIZE + 2))

    def test_shrinks_behind(self) -> None:
        """A file that lost bytes which were read already is whole; that is told, too."""
        self.open_file(bytes(CHUNK_SIZE))
        self.source.start(self.take_and_pause, self.ends.append)
        self.source.resume()
        os.truncate(self.path, 1)
        self.source.resume()
        self.assertEqual((len(self.chunks), self.ends, self.source.grown), (1, [None], 1 - CHUNK_SIZE))

    def read_one_chunk(self, content: bytes) -> None:
        """Open a file that is older than this test, and read its first chunk."""
        self.open_file(content)
        os.utime(self.path, ns=(1_000, 1_000))
        self.chunks, self.ends = [], []
        self.start(open_source(self.path, self.reactor))
        self.source.start(self.take_and_pause, self.ends.append)
        self.source.resume()
        self.source.start(self.chunks.append, self.ends.append)

    def read_on(self) -> list[str | None]:
        self.source.resume()
        return [None if error is None else error.strerror for error in self.ends]

    def test_written_in_place(self) -> None:
        """Of two versions the mixture is no file: with the same size, a larger and a smaller one."""
        size = 3 * CHUNK_SIZE
        mixed = "the file was written to while it was read, so what was sent may be of two versions; send it again"
        for contents in (b"2" * size, b"1" * 2 * CHUNK_SIZE + b"2" * CHUNK_SIZE, b"2" * (size + 1)):
            self.read_one_chunk(b"1" * size)
            # As programs do that empty a file and write it anew, with both flags.
            with open(self.path, "r+b") as file:
                file.write(contents)
            self.assertEqual(self.read_on(), [mixed])
        self.read_one_chunk(b"1" * size)
        self.source.start(self.take_and_pause, self.ends.append)
        self.source.resume()
        self.source.resume()
        with open(self.path, "wb") as file:
            file.write(b"2")
        self.assertEqual(self.read_on(), [mixed])

    def test_replaced(self) -> None:
        """Another file under its name, or another name, changes nothing of what is open: it is whole."""
        size = 2 * CHUNK_SIZE
        for change in (
            lambda: os.rename(self.path, f"{self.path}~"),
            lambda: os.unlink(self.path),
            lambda: os.link(self.path, f"{self.path}~"),
            lambda: os.chmod(self.path, 0o640),
        ):
            self.read_one_chunk(b"1" * size)
            change()
            self.assertEqual((self.read_on(), b"".join(self.chunks)), ([None], b"1" * size))

    def test_time_set_back(self) -> None:
        """That does not hide it."""

        def status(seconds: int, **fields: int) -> os.stat_result:
            found = os.stat(self.path)
            values = [fields.get(name, getattr(found, name)) for name in ("st_mode", "st_ino", "st_dev", "st_nlink")]
            return os.stat_result((*values, *found[4:]), {"st_mtime_ns": 1_000, "st_ctime_ns": seconds * 10**9})

        for after, whole in (({}, False), ({"st_nlink": 2}, True), ({"st_mode": 0o100400}, True)):
            for path in (self.mktemp(), None):
                self.open_file(b"content")
                with MonkeyPatcher((os, "fstat", lambda fd: status(1))):
                    source = RegularSource(os.open(self.path, os.O_RDONLY), path and self.path)
                self.chunks, self.ends = [], []
                self.start(source)
                with MonkeyPatcher((os, "fstat", lambda fd, after=after: status(2, **after))):
                    self.source.resume()
                self.assertEqual(self.ends == [None], whole)

    def test_nominal_size(self) -> None:
        """What a file of the system says of its size is no promise: it is sent as it is read."""
        for path, content in (("/sys/kernel/mm/transparent_hugepage/enabled", None), ("/proc/version", None)):
            if not os.path.exists(path):  # the kernel of the machine has the say
                continue
            with open(path, "rb") as file:
                content = file.read()
            self.chunks, self.ends = [], []
            self.start(open_source(path, self.reactor))
            self.source.resume()
            self.assertEqual((b"".join(self.chunks), self.ends, self.source.grown), (content, [None], 0), path)

    def test_any_nominal_size(self) -> None:
        """The same of a file whose size is set here: too large, unknown, too small."""
        self.open_file(b"1500\n")
        assert isinstance(self.source, RegularSource)
        for nominal, chunks in ((4096, [b"1500\n"]), (0, [b"1500\n"]), (3, [b"150", b"0\n"])):
            status = os.stat_result((0,) * 6 + (nominal,) + (0,) * 3)
            self.patch(os, "fstat", lambda fd, status=status: status)
            self.chunks, self.ends = [], []
            self.start(RegularSource(os.open(self.path, os.O_RDONLY)))
            self.source.resume()
            self.assertEqual((self.chunks, self.ends, self.source.grown), (chunks, [None], 0))

    def test_empty_that_grows(self) -> None:
        """A file that was empty does not pass for one of unknown size when it gets one."""
        self.open_file(b"")
        self.assertIsNone(self.source.size)
        self.append(b"more")
        self.source.resume()
        self.assertEqual((self.chunks, self.ends, self.source.grown), ([], [None], 4))

    def test_begins_behind(self) -> None:
        """Of standard input that was read in part the rest is sent, even when that is nothing."""
        for position, rest in ((2, [b"llo"]), (5, []), (7, [])):
            self.open_file(b"hello")
            os.lseek(self.source._fd, position, os.SEEK_SET)
            self.chunks, self.ends = [], []
            self.start(RegularSource(os.dup(self.source._fd)))
            self.source.resume()
            self.assertEqual((self.source.size, self.chunks, self.ends), (sum(map(len, rest)), rest, [None]))

    def test_cannot_ask(self) -> None:
        """When the size at the end can't be had, nobody knows whether it is whole."""
        self.open_file(b"x")

        def fail(fd: int) -> os.stat_result:
            raise OSError(errno.ESTALE, "stale")

        self.patch(os, "fstat", fail)
        self.source.resume()
        self.assertEqual(self.errors(), [errno.ESTALE])

    def test_no_waiting(self) -> None:
        """What has nothing to read now, and can't be waited for, is an error and no endless loop."""
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        os.set_blocking(read, False)
        self.start(FileSource(read))
        self.source.resume()
        self.assertEqual([type(error) for error in self.ends], [BlockingIOError])

    def test_close(self) -> None:
        """Closing twice does no harm."""
        self.open_file(b"x")
        self.source.close()
        self.source.close()
        self.assertEqual(self.source._fd, -1)

    def test_cannot_open(self) -> None:
        """What is missing or a directory is an OSError, and leaves no descriptor."""
        before = os.listdir("/dev/fd")
        self.assertRaises(FileNotFoundError, open_source, self.mktemp(), self.reactor)
        self.assertRaises(IsADirectoryError, open_source, ".", self.reactor)
        self.assertEqual(os.listdir("/dev/fd"), before)

    def test_device(self) -> None:
        """A device has no size, and an end."""
        self.start(open_source("/dev/null", self.reactor))
        self.assertIsNone(self.source.size)
        self.source.resume()
        self.assertEqual((self.chunks, self.ends), ([], [None]))


class PipeSourceTests(SourceTestCase):
    """FIFOs."""

    def setUp(self) -> None:
        super().setUp()
        path = self.mktemp()
        os.mkfifo(path)
        pipe = open_source(path, self.reactor)
        self.start(pipe)
        assert isinstance(pipe, PipeSource)
        self.pipe = pipe
        self.writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        self.addCleanup(self.close_writer)

    def close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
        self.writer = -1

    def test_waits(self) -> None:
        """Nothing is read before the reactor says so; reading too early is no end."""
        self.source.resume()
        self.assertEqual(self.reactor.readers, {self.source})
        self.pipe.doRead()
        self.assertEqual((self.chunks, self.ends), ([], []))
        os.write(self.writer, b"some")
        self.pipe.doRead()
        self.assertEqual((self.chunks, self.ends), ([b"some"], []))
        self.close_writer()
        self.pipe.doRead()
        self.assertEqual((self.ends, self.reactor.readers), ([], set()))
        self.reactor.turn()
        self.source.resume()
        self.assertEqual((self.ends, self.reactor.readers), ([], set()))
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual((self.ends, self.reactor.readers), ([None], set()))

    def test_closed_at_end(self) -> None:
        """Whoever was interrupted while its writer was does not take the end for the end of all."""
        self.source.resume()
        self.close_writer()
        self.pipe.doRead()
        self.reactor.turn()
        self.source.close()
        self.reactor.turn()
        self.assertEqual(self.ends, [])

    def test_pause(self) -> None:
        """Paused, it waits for nothing."""
        self.source.resume()
        self.source.pause()
        self.assertEqual(self.reactor.readers, set())

    def test_hang_up(self) -> None:
        """When the reactor reports the writer's end instead of something to read, all is still read."""
        self.source.resume()
        os.write(self.writer, bytes(CHUNK_SIZE // 2))
        self.close_writer()
        self.reactor.readers.clear()
        self.pipe.connectionLost(Failure(CONNECTION_DONE))
        self.assertEqual((len(self.chunks), self.ends), (1, []))
        self.assertEqual(self.reactor.readers, {self.source})
        self.pipe.connectionLost(Failure(CONNECTION_DONE))
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual(self.ends, [None])

    def test_failure_to_take_a_chunk(self) -> None:
        """It is no end: the reactor gives up on what has raised, with a chunk read that nobody has."""
        self.source.resume()
        os.write(self.writer, b"the rest")
        self.pipe.connectionLost(Failure(MemoryError("no room for it")))
        self.assertEqual((self.chunks, self.errors()), ([], [errno.EIO]))
        self.assertEqual(self.reactor.readers, set())


#: Ctrl-C, and in the same turn the end of a pipe whose writer that has ended.
INTERRUPTED = """
import os, signal
from twisted.internet import reactor
from sodiumtwist.transfer.sources import PipeSource

read, write = os.pipe()
source = PipeSource(read, reactor)
source.start(print, lambda error: print("all"))

def interrupt():
    source.resume()
    os.kill(os.getpid(), signal.SIGINT)
    os.close(write)

# Within a turn, as all but the first moment is.
reactor.callLater(0, interrupt)
reactor.addSystemEventTrigger("before", "shutdown", lambda: (print("interrupted"), source.close()))
reactor.run()
"""


class InterruptedPipelineTests(SynchronousTestCase):
    """A terminal sends Ctrl-C to all programs of a pipeline."""

    def test_no_end(self) -> None:
        """The end of one that ended by that is not taken for the end of what is sent. The reactor is a real one."""
        ended = subprocess.run([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(ended.stdout, "interrupted\n")
