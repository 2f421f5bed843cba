"""
Two ends of the file dialogue that are connected in memory, and a disk that works when the test lets it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sodiumtwist import SingleLogin, SodiumClientFactory
from sodiumtwist.transfer.receiver import UploadFactory, UploadReceiver
from sodiumtwist.transfer.stores import Store
from sodiumtwist.transfer.tree.client import FileClient
from sodiumtwist.transfer.tree.disk_thread import DiskThread
from sodiumtwist.transfer.tree.place import Files
from sodiumtwist.transfer.tree.report import FileResult, Report
from sodiumtwist.transfer.tree.walking import Root, Walk

from ...pair import Pair
from ...uploads import PAIR, MemoryStore

T = TypeVar("T")


class StandInThread(DiskThread):
    """
    Does what it was asked to do when the test lets it.

    :ivar calls: what it was asked to do.
    :ivar closed: whether it was ended.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.calls: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self.closed = False

    def call(self, work: Callable[[], T]) -> Deferred[T]:
        assert not self.closed
        called: Deferred[T] = Deferred()
        self.calls.append((work, called))
        return called

    def close(self) -> None:
        self.closed = True

    def work(self) -> bool:
        """Do one call; tell whether there was one."""
        if not self.calls:
            return False
        work, called = self.calls.popleft()
        try:
            result = work()
        except Exception:
            called.errback(Failure())
        else:
            called.callback(result)
        return True


class Threads:
    """
    Those of one end.

    :ivar made: all of them.
    """

    def __init__(self) -> None:
        self.made: list[StandInThread] = []

    def make(self) -> StandInThread:
        self.made.append(StandInThread())
        return self.made[-1]

    def work(self) -> bool:
        """Let each do one call; tell whether there was any."""
        return any([thread.work() for thread in self.made])

    @property
    def open(self) -> list[StandInThread]:
        return [thread for thread in self.made if not thread.closed]


class Told(Report):
    """
    Keeps what it was told.

    :ivar results: of files, by their paths.
    """

    def __init__(self) -> None:
        self.results: dict[bytes, FileResult] = {}
        self.out: list[tuple[bytes, str]] = []
        self.bytes_written = self.files_found = 0
        self.begun: list[tuple[bytes, int, int]] = []

    def found(self, files: int, size: int) -> None:
        self.files_found += files

    def begins(self, path: bytes, size: int, offset: int) -> None:
        self.begun.append((path, size, offset))

    def written(self, size: int) -> None:
        self.bytes_written += size

    def settled(self, result: FileResult) -> None:
        assert result.path not in self.results, result
        self.results[result.path] = result

    def left_out(self, path: bytes, why: str) -> None:
        self.out.append((path, why))

    @property
    def outcomes(self) -> dict[bytes, str]:
        return {path: result.outcome for path, result in self.results.items()}


class FilesPair(Pair[UploadReceiver, FileClient]):
    """
    A server that has files and its client.

    :param files: what the server does with files.
    """

    def __init__(
        self,
        files: Files | None,
        store: Store | None = None,
        clock: Clock | None = None,
        login: str = "l",
        factory: UploadFactory | None = None,
        read_size: Callable[[], int] | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.server_threads, self.client_threads = Threads(), Threads()
        self.factory = factory or UploadFactory(
            store or MemoryStore(),
            PAIR,
            SingleLogin(login, "p"),
            clock=self.clock,
            files=files,
            make_thread=self.server_threads.make,
        )
        client = SodiumClientFactory(
            PAIR.public, login, "p", lambda: FileClient(self.client_threads.make), clock=self.clock
        )
        super().__init__(self.factory, client, *([] if read_size is None else [read_size]))

    def settle(self) -> None:
        """Let both ends and their disks do all that they have to do."""
        while self.advance():
            pass

    def advance(self) -> bool:
        """Let one thing happen, on the network before the disks; tell whether anything did."""
        return self.step() or self.server_threads.work() or self.client_threads.work()

    def cut(self) -> None:
        """Cut the connection, and let the disks end what they do."""
        for transport in (self.client_transport, self.server_transport):
            if not transport.disconnected:
                transport.lose(ConnectionLost())
        self.settle()

    @property
    def left(self) -> list[object]:
        """What is left that belongs to the connection; nothing when it is over."""
        return [*self.factory.receiving, *self.server_threads.open, *self.client_threads.open]

    def result_of(self, deferred: Deferred[T]) -> T:
        """Let all be done, and give what has come of it."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.settle()
        assert results, "nothing has come of it"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return cast(T, results[0])


def walk(*paths: str | Path) -> Walk:
    """Walk what a person has named."""
    return Walk([Root(os.fsencode(os.path.basename(path)), os.fsencode(path)) for path in paths])


def make_tree(path: Path, files: dict[str, bytes]) -> Path:
    """Make a folder with files in it; names that end with a slash are folders."""
    path.mkdir(parents=True, exist_ok=True)
    for index, (name, content) in enumerate(files.items()):
        inner = path / name
        if name.endswith("/"):
            inner.mkdir(parents=True)
        else:
            inner.parent.mkdir(parents=True, exist_ok=True)
            inner.write_bytes(content)
            os.utime(inner, ns=(10**18 + index, 10**18 + index))
    return path


def tree(path: Path) -> dict[str, tuple[bytes, int] | None]:
    """What is in a folder: content and time of each file, and folders."""
    found: dict[str, tuple[bytes, int] | None] = {}
    for each in sorted(path.rglob("*")):
        name = str(each.relative_to(path))
        found[name] = (each.read_bytes(), each.stat().st_mtime_ns) if each.is_file() else None
    return found
